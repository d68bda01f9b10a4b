"""Transactions that nobody has to wait for the disk for."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


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
                cursor.execute("SET LOCAL synchronous_commit TO OFF")
        yield
