"""Statements that are sent together with the next one."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from directory.models import CloudIdentityProvider
from jamfidp.gathered import gathered, later, send
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="PostgreSQL's own"
)
TABLE = CloudIdentityProvider._meta.db_table
RAISE = f"UPDATE {TABLE} SET generation = generation + %s"  # noqa: S608
NAME = f"UPDATE {TABLE} SET provider_name = %s"  # noqa: S608


@pytest.fixture
def idp() -> CloudIdentityProvider:
    return factories.cloud_idp()


def generation() -> int:
    return CloudIdentityProvider.objects.values_list("generation", flat=True).get()


def test_all_of_it_takes_effect_in_its_order(idp: CloudIdentityProvider) -> None:
    with transaction.atomic(), gathered():
        first = later(RAISE, [1])
        later(f"UPDATE {TABLE} SET generation = generation * %s", [10])  # noqa: S608
        # Whoever reads sees what was written before.
        assert generation() == 10 * (idp.generation + 1)
        assert first.rows == 1
        last = later(f"{RAISE} WHERE id = 0", [5])
        later(NAME, ["100 % of them"])

    assert last.rows == 0
    idp.refresh_from_db()
    assert idp.provider_name == "100 % of them"
    assert idp.generation == 10


def test_where_nothing_is_gathered_it_is_executed_at_once(
    idp: CloudIdentityProvider,
) -> None:
    assert later(RAISE, [3]).rows == 1
    send()
    assert generation() == idp.generation + 3


@postgresql
def test_it_goes_with_the_next_statement_in_one_message(
    idp: CloudIdentityProvider,
) -> None:
    with CaptureQueriesContext(connection) as asked, transaction.atomic(), gathered():
        later(RAISE, [1])
        later(NAME, ["A"])
        assert CloudIdentityProvider.objects.filter(provider_name="A").count() == 1
        with connection.cursor() as cursor:
            later(RAISE, [1])
            # Without parameters a sign of percentage stands for itself.
            cursor.execute("SELECT 'a' LIKE '%'")
            assert cursor.fetchall() == [(True,)]

    messages = [
        each["sql"] for each in asked.captured_queries if "UPDATE" in each["sql"]
    ]
    assert len(messages) == 2
    assert messages[0].count("UPDATE") == 2
    assert "COUNT" in messages[0]
    assert generation() == idp.generation + 2


@postgresql
def test_what_cannot_be_sent_together_comes_after_it(
    idp: CloudIdentityProvider,
) -> None:
    with transaction.atomic(), gathered():
        later(RAISE, [1])
        rows = CloudIdentityProvider.objects.values_list("generation", flat=True)
        # Read by a cursor with a name.
        assert list(rows.iterator(chunk_size=1)) == [idp.generation + 1]
        later(RAISE, [1])
        with connection.cursor() as cursor:
            cursor.executemany(f"{RAISE} * 0 + 7 WHERE id = %s", [(1, idp.pk)])
        later(RAISE, [1])
        send()
        with (
            connection.cursor() as cursor,
            cursor.copy(
                f"COPY (SELECT generation FROM {TABLE}) TO STDOUT"  # noqa: S608
            ) as copy,
        ):
            assert [int(line[0]) for line in copy.rows()] == [idp.generation + 10]


def test_an_error_of_it_undoes_the_whole_transaction(
    idp: CloudIdentityProvider,
) -> None:
    def refused() -> None:
        with transaction.atomic(), gathered():
            CloudIdentityProvider.objects.update(provider_name="B")
            later(f"UPDATE {TABLE} SET cloud = NULL", [])  # noqa: S608
            later(RAISE, [1])

    with pytest.raises(IntegrityError):
        refused()
    before = (idp.provider_name, idp.generation)
    idp.refresh_from_db()
    assert (idp.provider_name, idp.generation) == before


def test_what_waits_is_undone_with_the_rest(idp: CloudIdentityProvider) -> None:
    def stopped() -> None:
        with transaction.atomic(), gathered():
            later(RAISE, [1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopped()
    assert generation() == idp.generation
