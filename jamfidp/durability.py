"""Transactions that nobody has to wait for the disk for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.sql import UpdateQuery

_NOT_WAITING = "SET LOCAL synchronous_commit TO OFF"


@contextmanager
def may_be_lost() -> Iterator[None]:
    """A transaction whose loss would harm nobody, when the database server crashes.

    It is seen by everybody at once, and all or nothing as ever; PostgreSQL writes it
    to disk within a second. SQLite with a write-ahead log waits for no disk anyhow.
    https://www.postgresql.org/docs/current/wal-async-commit.html
    """
    with transaction.atomic():
        if connection.vendor == "postgresql" and not connection.savepoint_ids:
            with connection.cursor() as cursor:
                cursor.execute(_NOT_WAITING)
        yield


def update_that_may_be_lost(rows: QuerySet[Model], **columns: Any) -> int:
    """Update rows in a transaction as `may_be_lost`; return how many were there.

    It takes one message to PostgreSQL and back, where that takes four: statements of
    one message are a transaction.
    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return rows.update(**columns)
    query = cast("UpdateQuery", rows.query.chain(UpdateQuery))
    query.add_update_values(columns)
    statement, values = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(f"{_NOT_WAITING}; {statement}", values)
        cursor.nextset()
        return int(cursor.rowcount)
