"""The sandbox's own time, which tests can move and stop."""

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since the epoch plus an offset set through the control plane.

    A stopped clock shows the same time until it is set going or moved.
    """

    def __init__(self) -> None:
        self.offset = 0.0
        self.stopped_at: float | None = None

    def now(self) -> float:
        if self.stopped_at is not None:
            return self.stopped_at + self.offset
        return time.time() + self.offset

    def zulu(self) -> str:
        return zulu(self.now())

    def move_to(self, seconds: float) -> None:
        """Show this time from now on, standing still if stopped."""
        self.offset += seconds - self.now()

    def stop(self) -> None:
        if self.stopped_at is None:
            self.stopped_at = time.time()

    def go(self) -> None:
        """Go on from the time that is shown."""
        if self.stopped_at is not None:
            self.offset += self.stopped_at - time.time()
            self.stopped_at = None

    def reset(self) -> None:
        self.offset, self.stopped_at = 0.0, None


def zulu(seconds: float) -> str:
    """Write a time as Graph does: 2026-01-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
