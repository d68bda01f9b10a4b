"""What Microsoft publishes, kept with an age.

Microsoft advises to keep serving on cached metadata while it cannot be had.
https://learn.microsoft.com/entra/architecture/resilience-client-app
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock
from typing import Generic, TypeVar

from directory.entra import errors

ASKED_ANEW_AFTER = timedelta(hours=1)
SERVES_FOR = timedelta(hours=24)
"""How old it may be when Microsoft cannot be asked."""
FORCED_EVERY = timedelta(minutes=5)
ASKED_IN_VAIN_EVERY = timedelta(seconds=30)

T = TypeVar("T")
Fetch = Callable[[], T]


class Kept(Generic[T]):
    """One thing that is fetched, kept, and fetched again; safe between threads.

    A failure is remembered for half a minute: pages that anybody can open must not
    make the console ask Microsoft each time.
    """

    def __init__(self) -> None:
        self._value: T | None = None
        self._fetched_at: datetime | None = None
        self._forced_at: datetime | None = None
        self._failure: errors.EntraError | None = None
        self._failed_at: datetime | None = None
        self._lock = Lock()

    def get(self, fetch: Fetch[T], *, now: datetime, afresh: bool = False) -> T:
        """Return it, asked for anew when it is an hour old, or `afresh`.

        Raises:
            EntraError: it cannot be had, and what is at hand is a day old or there is
                none; or Microsoft answered that it is not there or not acceptable.
        """
        with self._lock:
            value = self._value
            if (
                value is not None
                and not afresh
                and _within(ASKED_ANEW_AFTER, self._fetched_at, now)
            ):
                return value
            try:
                if not afresh:
                    self._spare_microsoft(now)
                return self._fetch(fetch, now)
            except errors.EntraError as error:
                if (
                    value is not None
                    and _passing(error)
                    and _within(SERVES_FOR, self._fetched_at, now)
                ):
                    return value
                raise

    def again(self, fetch: Fetch[T], *, now: datetime) -> T:
        """Return it asked for anew, but at most every five minutes.

        Raises:
            EntraError: it cannot be had now, whatever is at hand.
        """
        with self._lock:
            self._spare_microsoft(now)
            if self._value is not None and _within(FORCED_EVERY, self._forced_at, now):
                return self._value
            found = self._fetch(fetch, now)
            self._forced_at = now
            return found

    def age(self, now: datetime) -> timedelta | None:
        """Return how long ago it was fetched, or None."""
        return None if self._fetched_at is None else now - self._fetched_at

    def _spare_microsoft(self, now: datetime) -> None:
        if self._failure is not None and _within(
            ASKED_IN_VAIN_EVERY, self._failed_at, now
        ):
            raise self._failure.with_traceback(None)

    def _fetch(self, fetch: Fetch[T], now: datetime) -> T:
        try:
            found = fetch()
        except errors.EntraError as error:
            self._failure, self._failed_at = error, now
            raise
        self._value, self._fetched_at = found, now
        self._failure = self._failed_at = None
        return found


def _within(limit: timedelta, since: datetime | None, now: datetime) -> bool:
    """Tell whether less than `limit` has passed; a clock that was set back counts not."""
    return since is not None and timedelta(0) <= now - since < limit


def _passing(error: errors.EntraError) -> bool:
    """Tell a service that cannot be had from one that says no."""
    if isinstance(error, errors.DiscoveryRefused):
        return False
    return isinstance(
        error,
        errors.Unreachable
        | errors.ServiceUnavailable
        | errors.RedirectRefused
        | errors.SignInResponseError,
    )
