"""What reading cost: requests, waits with their causes, failures, phases."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from directory.entra.transport import Exchange
from directory.models import SyncRun
from jamfidp.compiled import Added

# Microsoft says how much of its limit is used from 80 % on, and counts in windows of ten
# seconds. Background work slows down before it is refused.
# https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits
PACED_FROM = 0.8
WINDOW = 10.0
PACED = "Microsoft’s limit is nearly used up: others come first."

# Where the templates of Graph's addresses begin.
GRAPH = "/v1.0/"

# Of failures the last ones are of use; a directory that is down fails often.
FAILURES_KEPT = 20
WAITS_KEPT = 20


def pause(used: float) -> float:
    """Return how long background work waits when so much of the limit is used.

    Nothing below 80 %, a whole window from 100 % on, and in between the more the fuller.
    """
    if used < PACED_FROM:
        return 0.0
    share = (used - PACED_FROM) / (1.0 - PACED_FROM)
    return max(0.5, WINDOW * min(share, 1.0))


@dataclass(slots=True)
class Traffic:
    """Watches the sessions of a run; they report from threads of their own.

    `waits` is called with the sentence of a wait, in the thread that waits.
    """

    waits: Callable[[str], None] = lambda sentence: None
    requests: int = 0
    retries: int = 0
    bytes_received: int = 0
    resource_units: int = 0
    waited: dict[str, tuple[int, float]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    # How much of Microsoft's limit is used, as it said last (1.0 = all).
    used: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, run: SyncRun) -> "Traffic":
        """Go on counting where a run stands, whichever worker had it before."""
        waited = {
            wait["reason"]: (wait["times"], wait["seconds"]) for wait in run.waits
        }
        return cls(waited=waited, failures=list(run.failures))

    def exchanged(self, exchange: Exchange) -> None:
        with self._lock:
            self.requests += 1
            self.bytes_received += exchange.bytes_received
            self.resource_units += exchange.resource_units
            if exchange.status is not None and exchange.template.startswith(GRAPH):
                # Said only where much is used; an answer of Graph without it says that
                # it is not, and one of the sign-in service says nothing.
                self.used = exchange.throttle_percentage or 0.0
            if exchange.status is None or exchange.status >= 400:
                self.failures.append(
                    {
                        "status": exchange.status,
                        "template": exchange.template,
                        "request_id": exchange.request_id,
                    }
                )
                del self.failures[:-FAILURES_KEPT]

    def waiting(self, seconds: float, reason: str) -> None:
        with self._lock:
            # After every wait the request is sent again.
            self.retries += 1
        self._note_wait(seconds, reason)

    def unpaced(self) -> bool:
        """Whether the next page may be asked for at once."""
        return not pause(self.used)

    def pace(self) -> float:
        """Return how long to wait before the next page, by what Microsoft said last.

        The wait is noted, with its cause; it is no retry.
        """
        seconds = pause(self.used)
        if seconds:
            self._note_wait(seconds, PACED)
        return seconds

    def _note_wait(self, seconds: float, reason: str) -> None:
        with self._lock:
            times, total = self.waited.get(reason, (0, 0.0))
            if reason in self.waited or len(self.waited) < WAITS_KEPT:
                self.waited[reason] = (times + 1, total + seconds)
        self.waits(f"Waiting {seconds:.0f} s. {reason}"[:100])

    def take(self) -> dict[str, Any]:
        """Return what came since the last call, as additions to the run's row.

        Waits and failures are whole: a run has few of them.
        """
        with self._lock:
            added: dict[str, Any] = {
                "requests": Added(self.requests),
                "retries": Added(self.retries),
                "bytes_read": Added(self.bytes_received),
                "resource_units": Added(self.resource_units),
            }
            if self.waited:
                added["waits"] = [
                    {"reason": reason, "times": times, "seconds": round(seconds, 1)}
                    for reason, (times, seconds) in self.waited.items()
                ]
            if self.failures:
                added["failures"] = list(self.failures)
            self.requests = self.retries = 0
            self.bytes_received = self.resource_units = 0
            return added


class Stopwatch:
    """How long each phase of a run took, in the order of the work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self.phases: list[tuple[str, float]] = []

    def lap(self, phase: str) -> None:
        """End a phase; the next one begins."""
        now = self._clock()
        self.phases.append((phase, round(now - self._since, 3)))
        self._since = now
