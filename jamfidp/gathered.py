"""Statements that PostgreSQL is sent together with the next one, in one message.

Where little changes, a transaction of many small statements spends more time on
messages there and back than on what they say.
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import connection


@contextmanager
def gathered() -> Iterator[None]:
    """Have statements of `later` wait for the next one, and for the end at most.

    Call it inside a transaction, all of which is undone by an error: an error of what
    waits comes up where it is sent.
    """
    if connection.vendor != "postgresql":
        yield
        return
    waiting = _Waiting()
    with connection.execute_wrapper(waiting):
        yield
        waiting.send()


@contextmanager
def asking() -> Iterator[None]:
    """Have questions of `ask_later` wait for the next statement, whatever it is.

    Nothing else waits for it. Where statements are gathered they wait with those.
    """
    if connection.vendor != "postgresql" or is_gathering():
        yield
        return
    with connection.execute_wrapper(_Waiting(questions_alone=True)):
        yield


class _Sent(Protocol):
    """What takes its part of what is answered to a message."""

    def take(self, cursor: Any) -> None: ...


@dataclass(slots=True)
class Outcome:
    """How many rows a statement met; None before it was sent."""

    rows: int | None = None

    def take(self, cursor: Any) -> None:
        self.rows = cursor.rowcount


@dataclass(slots=True)
class Answer:
    """The rows that a question found; None before it was sent, or if it failed."""

    rows: list[tuple[Any, ...]] | None = None

    def take(self, cursor: Any) -> None:
        self.rows = cursor.fetchall()


def later(statement: str, values: Sequence[Any]) -> Outcome:
    """Execute a statement with the next one, or now where nothing is gathered."""
    outcome, waiting = Outcome(), _open()
    if waiting is not None:
        waiting.add(statement, values, outcome)
        return outcome
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        outcome.rows = cursor.rowcount
    return outcome


def ask_later(question: str, values: Sequence[Any]) -> Answer:
    """Ask with the next statement, see `asking`."""
    answer, waiting = Answer(), _open(for_questions=True)
    if waiting is not None:
        waiting.add(question, values, answer)
        return answer
    with connection.cursor() as cursor:
        cursor.execute(question, values)
        answer.take(cursor)
    return answer


def is_gathering() -> bool:
    """Whether a statement would wait for the next one."""
    return _open() is not None


def send() -> None:
    """Send what waits, before something that goes by another way than a statement."""
    for wrapper in connection.execute_wrappers:
        if isinstance(wrapper, _Waiting):
            wrapper.send()


def _open(*, for_questions: bool = False) -> "_Waiting | None":
    """Return what waits; of several the innermost."""
    for wrapper in reversed(connection.execute_wrappers):
        if isinstance(wrapper, _Waiting) and (
            for_questions or not wrapper.questions_alone
        ):
            return wrapper
    return None


class _Waiting:
    """Puts what waits before whatever is executed; see Django's execute wrappers."""

    def __init__(self, *, questions_alone: bool = False) -> None:
        self.questions_alone = questions_alone
        self._statements: list[str] = []
        self._values: list[Any] = []
        self._outcomes: list[_Sent] = []

    def add(self, statement: str, values: Sequence[Any], outcome: _Sent) -> None:
        self._statements.append(statement)
        self._values += values
        self._outcomes.append(outcome)

    def send(self) -> None:
        if not self._statements:
            return
        statements, values, outcomes = self._take()
        with connection.cursor() as cursor:
            cursor.execute("; ".join(statements), values)
            for outcome in outcomes:
                outcome.take(cursor)
                cursor.nextset()

    def _take(self) -> tuple[list[str], list[Any], list[_Sent]]:
        taken = self._statements, self._values, self._outcomes
        self._statements, self._values, self._outcomes = [], [], []
        return taken

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: Any,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        if not self._statements:
            return execute(sql, params, many, context)
        cursor = context["cursor"]
        # A cursor with a name is declared: nothing can stand before that.
        named = getattr(cursor.cursor, "name", "")
        if many or named or not isinstance(sql, str) or isinstance(params, dict):
            self.send()
            return execute(sql, params, many, context)
        statements, values, outcomes = self._take()
        last = sql.replace("%", "%%") if params is None else sql
        done = execute(
            "; ".join([*statements, last]), [*values, *(params or ())], many, context
        )
        for outcome in outcomes:
            outcome.take(cursor)
            cursor.nextset()
        return done
