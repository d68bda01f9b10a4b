"""What nobody waits for the disk for."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from directory.models import CloudIdentityProvider
from jamfidp.compiled import CompiledChange
from jamfidp.durability import (
    MANY_ROWS,
    checkpointed_beside,
    rows_changed_that_may_be_lost,
)
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's own")
postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="PostgreSQL's own"
)


ALL = CompiledChange(
    lambda other: CloudIdentityProvider.objects.exclude(provider_name=other)
)
ONE = CompiledChange(lambda number: CloudIdentityProvider.objects.filter(pk=number))


def test_an_update_that_may_be_lost_says_how_many_rows_there_were() -> None:
    ours = factories.cloud_idp()
    factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)

    def changed(*told: Any) -> int:
        return rows_changed_that_may_be_lost(*told)

    assert changed(*ALL.told("B", provider_name="A")) == 2
    assert changed(*ONE.told(ours.pk, generation=7)) == 1
    assert changed(*ONE.told(0, generation=8)) == 0
    with transaction.atomic():
        assert changed(*ONE.told(ours.pk, generation=9)) == 1
        transaction.set_rollback(True)

    ours.refresh_from_db()
    assert (ours.provider_name, ours.generation) == ("A", 7)


@postgresql
def test_it_takes_one_message_after_which_others_wait_for_the_disk_again() -> None:
    with CaptureQueriesContext(connection) as asked:
        rows_changed_that_may_be_lost(*ONE.told(1, generation=7))

    (message,) = (each["sql"] for each in asked.captured_queries)
    assert message.startswith("SET LOCAL synchronous_commit TO OFF; UPDATE")
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)


@sqlite
def test_many_rows_are_copied_into_the_file_after_their_commit_returned() -> None:
    file = Path(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE large (id integer PRIMARY KEY, body blob)")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = file.stat().st_size
        cursor.execute("PRAGMA freelist_count")
        # What other tests gave back is used first.
        free = 4096 * cursor.fetchone()[0]
        with checkpointed_beside():
            with transaction.atomic():
                cursor.executemany(
                    "INSERT INTO large (body) VALUES (zeroblob(%s))",
                    [(8192 + free // MANY_ROWS,)] * (MANY_ROWS + 1),
                )
            assert file.stat().st_size == before
        for thread in threading.enumerate():
            if thread.name == "checkpoint":
                thread.join()
        assert file.stat().st_size > before + MANY_ROWS * 8192
        cursor.execute("PRAGMA wal_autocheckpoint")
        assert cursor.fetchone() == (1000,)
        cursor.execute("DROP TABLE large")
