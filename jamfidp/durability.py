"""Transactions that nobody has to wait for the disk for, or not for all of it."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from django.db import connection, transaction

from jamfidp.gathered import Outcome, gathered, later

# Of fewer rows SQLite checkpoints with a commit, when it is time, and nobody notices.
MANY_ROWS = 1_000

_NOT_WAITING = "SET LOCAL synchronous_commit TO OFF"


@contextmanager
def may_be_lost() -> Iterator[None]:
    """A transaction whose loss would harm nobody, when the database server crashes.

    It is seen by everybody at once, and all or nothing as ever; PostgreSQL writes it
    to disk within a second. SQLite with a write-ahead log waits for no disk anyhow.
    https://www.postgresql.org/docs/current/wal-async-commit.html
    """
    with transaction.atomic():
        if connection.vendor != "postgresql" or connection.savepoint_ids:
            yield
            return
        with gathered():
            later(_NOT_WAITING, ())
            yield


def rows_changed(statement: str, values: Sequence[Any]) -> int:
    """Execute a statement; return how many rows it met."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def rows_changed_that_may_be_lost(statement: str, values: Sequence[Any]) -> int:
    """As `rows_changed`, in a transaction as `may_be_lost`.

    It takes one message to PostgreSQL and back, where that takes four: statements of
    one message are a transaction.
    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
    """
    alone = connection.vendor == "postgresql" and not connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute(f"{_NOT_WAITING}; {statement}" if alone else statement, values)
        if alone:
            cursor.nextset()
        return int(cursor.rowcount)


@contextmanager
def changed_with_the_next(statement: str, values: Sequence[Any]) -> Iterator[Outcome]:
    """As `rows_changed_that_may_be_lost`, in one message with whatever is executed first
    inside; only then it is known how many rows it met."""
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield later(statement, values)
        return
    with gathered():
        later(_NOT_WAITING, ())
        yield later(statement, values)


def execute_that_may_be_lost(statement: str, values: Sequence[Any]) -> None:
    """Execute one statement as `rows_changed_that_may_be_lost` does."""
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            with transaction.atomic():
                cursor.execute(statement, values)
        elif connection.vendor == "postgresql":
            cursor.execute(f"{_NOT_WAITING}; {statement}", values)
        else:
            cursor.execute(statement, values)


def key_that_may_be_lost(statement: str, values: Sequence[Any]) -> Any:
    """Execute a statement that answers with a key, as `execute_that_may_be_lost`."""
    alone = connection.vendor == "postgresql" and not connection.in_atomic_block
    around = transaction.atomic() if connection.in_atomic_block else nullcontext()
    with around, connection.cursor() as cursor:
        cursor.execute(f"{_NOT_WAITING}; {statement}" if alone else statement, values)
        if alone:
            cursor.nextset()
        return cursor.fetchone()[0]


@contextmanager
def checkpointed_beside() -> Iterator[None]:
    """Have SQLite copy many rows from its log into its file beside what comes next.

    Else the commit that fills the log does it before it returns: of 10,000 changes for
    as long as it takes to plan them. What is committed is committed either way.
    https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files
    """
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    before = connection.connection.total_changes
    _checkpoint_after(0)
    try:
        yield
    finally:
        _checkpoint_after(_PAGES)
        if connection.connection.total_changes - before > MANY_ROWS:
            threading.Thread(
                target=_checkpoint,
                args=(connection.settings_dict["NAME"],),
                name="checkpoint",
                daemon=True,
            ).start()


# SQLite's own default.
_PAGES = 1_000


def _checkpoint_after(pages: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA wal_autocheckpoint = {pages}")


def _checkpoint(file: Any) -> None:
    """Waits for nobody, and leaves alone what others still read."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
