"""What keeping its promises costs a sync: seconds in what keeps them.

The floors promise nothing: no way to go on after a crash, no plan, no history.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import Any

from directory.sync import fetch, intervals, numbers, run, stage, stored_plans

STAGING = "storing pages and numbers, and reading them again"
PLAN = "comparing, guards and what follows"
STORED_PLAN = "the stored plan"
HISTORY = "history"

_KEPT_BY: tuple[tuple[str, Any, str], ...] = (
    (STAGING, fetch, "store_pages"),
    (STAGING, numbers.Register, "store"),
    (STAGING, stage.Pages, "of"),
    (STAGING, stage, "entries_of"),
    (PLAN, run, "make_plan"),
    (PLAN, run, "after_guards"),
    (STORED_PLAN, run, "prepare"),
    (STORED_PLAN, stored_plans.Prepared, "write"),
    (HISTORY, intervals, "remember"),
)


class Costs:
    """Adds up seconds by promise; those of one inside another count for the inner."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def _spent_on(self, promise: str) -> Iterator[None]:
        self._lap()
        self._open.append(promise)
        try:
            yield
        finally:
            self._lap()
            self._open.pop()

    def _lap(self) -> None:
        now = perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def _timed(self, promise: str, do: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(do)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._spent_on(promise):
                made = do(*args, **kwargs)
            return self._each(promise, made) if isinstance(made, Iterator) else made

        return timed

    def _each(self, promise: str, values: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._spent_on(promise):
                try:
                    value = next(values)
                except StopIteration:
                    return
            yield value

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count meanwhile, in this thread alone."""
        before = [(owner, name, getattr(owner, name)) for _, owner, name in _KEPT_BY]
        for promise, owner, name in _KEPT_BY:
            setattr(owner, name, self._timed(promise, getattr(owner, name)))
        try:
            yield
        finally:
            for owner, name, do in before:
                setattr(owner, name, do)
