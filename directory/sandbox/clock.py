"""The sandbox's own time, which tests can move."""

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since the epoch plus an offset set through the control plane."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def zulu(self) -> str:
        return zulu(self.now())


def zulu(seconds: float) -> str:
    """Write a time as Graph does: 2026-01-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
