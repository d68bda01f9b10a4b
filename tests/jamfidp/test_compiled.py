"""Questions whose SQL is put together once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Exists, F, QuerySet
from django.test.utils import CaptureQueriesContext

from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    StagedPage,
    SyncRun,
)
from jamfidp.compiled import (
    Added,
    Compiled,
    CompiledChange,
    CompiledObjects,
    CompiledUpdate,
    asked_together,
    told_of_new,
)
from jamfidp.durability import key_that_may_be_lost
from jamfidp.gathered import gathered, later
from tests import factories

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_it_answers_as_the_query_set_does_for_each_parameter() -> None:
    first = factories.cloud_idp()
    second = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    for cloud_idp, hours, lost in ((first, 1, 1), (first, 3, 3), (second, 1, 2)):
        SyncRun.objects.create(
            cloud_idp=cloud_idp,
            kind=SyncRun.Kind.FULL,
            state=SyncRun.State.SUCCEEDED,
            created_at=NOW,
            finished_at=NOW - timedelta(hours=hours),
            losses={"people": lost},
            dry_run=lost == 3,
        )

    def ended(
        cloud_idp: int, kind: str, since: datetime
    ) -> QuerySet[SyncRun, tuple[Any, ...]]:
        return SyncRun.objects.filter(
            cloud_idp=cloud_idp, kind=kind, finished_at__gt=since
        ).values_list("losses", "dry_run", "finished_at")

    compiled = Compiled(ended)

    for cloud_idp in (first, second):
        for kind in (SyncRun.Kind.FULL, "FULL", SyncRun.Kind.DELTA):
            for hours in (2, 4):
                asked = (cloud_idp.pk, kind, NOW - timedelta(hours=hours))
                assert compiled.rows(*asked) == list(ended(*asked))
    assert len(compiled.rows(first.pk, "FULL", NOW - timedelta(hours=4))) == 2


def test_it_is_put_together_once() -> None:
    built = []

    def build(number: int) -> QuerySet[SyncRun, tuple[int]]:
        built.append(number)
        return SyncRun.objects.filter(pk=number).values_list("pk")[:1]

    compiled = Compiled(build)
    with CaptureQueriesContext(connection) as asked:
        assert not compiled.any(1)
        assert not compiled.any(2)

    assert len(built) == 1
    assert [each["sql"] for each in asked.captured_queries][1].count(" 2") == 1


def test_it_refuses_what_is_not_compared_as_it_is() -> None:
    prefixed = Compiled(
        lambda text: SyncRun.objects.filter(phase__startswith=text).values_list("pk")
    )
    with pytest.raises(ValueError, match="not compared as it is"):
        prefixed.rows("Reading")


def run_of(cloud_idp: CloudIdentityProvider) -> SyncRun:
    return SyncRun.objects.create(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.FULL,
        created_at=NOW,
        losses={"people": 3},
    )


def test_objects_come_with_what_is_selected_along() -> None:
    runs = [
        run_of(factories.cloud_idp()),
        run_of(factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)),
    ]
    for run in runs:
        AttributeMappings.objects.create(cloud_idp_id=run.cloud_idp_id, room="city")
    compiled = CompiledObjects(
        lambda number: (
            SyncRun.objects.select_related("cloud_idp__mappings")
            .annotate(any_pages=Exists(StagedPage.objects.all()))
            .filter(pk=number)
        )
    )

    assert compiled.first(0) is None
    for run in runs:
        (found,) = compiled.all(run.pk)
        expected = SyncRun.objects.get(pk=run.pk)
        assert {
            name: vars(found)[name] for name in vars(expected) if name != "_state"
        } == {name: value for name, value in vars(expected).items() if name != "_state"}
        assert vars(found)["any_pages"] is False
        with CaptureQueriesContext(connection) as more:
            assert found.cloud_idp.pk == run.cloud_idp_id
            assert found.cloud_idp.mappings.room == "city"
        assert not more.captured_queries
        found.losses = {}
        found.save()
        assert SyncRun.objects.get(pk=run.pk).losses == {}


def test_an_update_sets_what_it_is_given() -> None:
    run = run_of(factories.cloud_idp())
    compiled = CompiledUpdate(
        lambda number, phase, at: (
            SyncRun.objects.filter(pk=number),
            {"phase": phase, "heartbeat_at": at, "pages": F("pages") + 1},
        )
    )

    for hours in (1, 2):
        at = NOW + timedelta(hours=hours)
        assert later(*compiled.told(run.pk, f"{hours} %", at)).rows == 1
        run.refresh_from_db()
        assert (run.phase, run.heartbeat_at, run.pages) == (f"{hours} %", at, hours)
    assert later(*compiled.told(0, "none", NOW)).rows == 0


def test_a_change_sets_whatever_columns_it_is_told() -> None:
    run, other = (
        run_of(factories.cloud_idp()),
        run_of(factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)),
    )
    compiled = CompiledChange(
        lambda number, token: SyncRun.objects.active().filter(
            pk=number, fencing_token=token
        )
    )

    def change(token: int, **columns: Any) -> int | None:
        return later(*compiled.told(run.pk, token, **columns)).rows

    assert change(0, pages=Added(2), waits=[{"times": 1}], error="100 %") == 1
    assert change(0, pages=Added(3), heartbeat_at=NOW) == 1
    assert change(1, pages=Added(5)) == 0
    assert change(0, state=SyncRun.State.FAILED, heartbeat_at=None) == 1
    # It has ended now.
    assert change(0, pages=Added(7)) == 0

    before = other.pages, other.waits, other.heartbeat_at, other.state
    for each in (run, other):
        each.refresh_from_db()
    assert (run.pages, run.waits, run.error) == (5, [{"times": 1}], "100 %")
    assert (run.heartbeat_at, run.state) == (None, "FAILED")
    assert (other.pages, other.waits, other.heartbeat_at, other.state) == before


def test_questions_that_are_asked_together_take_one_message() -> None:
    run = run_of(factories.cloud_idp())
    losses = Compiled(
        lambda kind: SyncRun.objects.filter(kind=kind).values_list("losses", "pk")
    )
    count = Compiled(lambda: CloudIdentityProvider.objects.values_list("pk"))
    together = [losses.with_("FULL"), count.with_(), losses.with_("DELTA")]

    with CaptureQueriesContext(connection) as asked, asked_together(together):
        assert losses.rows("FULL") == [({"people": 3}, run.pk)]
        assert losses.rows("DELTA") == []
        assert count.rows() == [(run.cloud_idp_id,)]
    assert len(asked) == (1 if connection.vendor == "postgresql" else 3)

    with asked_together(together):
        assert losses.rows("FULL") != []
        SyncRun.objects.all().delete()
        # An answer is taken once: whoever asks again hears what is.
        assert losses.rows("FULL") == []
    assert losses.rows("FULL") == []


PEOPLE_LOST = Compiled(
    lambda kind: SyncRun.objects.filter(kind=kind).values_list("losses")
)


def test_what_is_asked_together_goes_with_the_first_statement_inside() -> None:
    run = run_of(factories.cloud_idp())
    change = CompiledChange(lambda number: SyncRun.objects.filter(pk=number))

    together = [PEOPLE_LOST.with_("FULL"), PEOPLE_LOST.with_("DELTA")]
    with CaptureQueriesContext(connection) as asked, asked_together(together):
        assert not asked.captured_queries, "nothing is asked for its own sake"
        assert later(*change.told(run.pk, phase="100 %")).rows == 1
        # Inside another one, which asks for nothing that is asked already.
        with asked_together([PEOPLE_LOST.with_("FULL")]):
            assert PEOPLE_LOST.rows("FULL") == [({"people": 3},)]
        assert PEOPLE_LOST.rows("DELTA") == []

    run.refresh_from_db()
    assert run.phase == "100 %"
    if connection.vendor == "postgresql":
        (message,) = (each["sql"] for each in asked.captured_queries)
        assert message.index("SELECT") < message.index("UPDATE")


def test_what_was_taken_inside_is_asked_again_outside() -> None:
    run_of(factories.cloud_idp())

    with asked_together([PEOPLE_LOST.with_("FULL")]):
        with asked_together([PEOPLE_LOST.with_("DELTA")]):
            assert PEOPLE_LOST.rows("FULL") != []
        SyncRun.objects.all().delete()
        assert PEOPLE_LOST.rows("FULL") == []


def test_where_statements_are_gathered_questions_come_after_them() -> None:
    run = run_of(factories.cloud_idp())
    change = CompiledChange(lambda number: SyncRun.objects.filter(pk=number))

    with transaction.atomic(), gathered():
        later(*change.told(run.pk, losses={"people": 4}))
        with asked_together([PEOPLE_LOST.with_("FULL")]):
            later(*change.told(run.pk, losses={"people": 5}))
            assert PEOPLE_LOST.rows("FULL") == [
                ({"people": 4 if connection.vendor == "postgresql" else 5},)
            ]
    run.refresh_from_db()
    assert run.losses == {"people": 5}


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_a_failing_statement_took_along_is_asked_for_again() -> None:
    run_of(factories.cloud_idp())

    with asked_together([PEOPLE_LOST.with_("FULL")]):
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")
        assert PEOPLE_LOST.rows("FULL") == [({"people": 3},)]


def test_a_new_object_is_stored_as_it_is() -> None:
    cloud_idp = factories.cloud_idp()
    row = SyncRun(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.FULL,
        phase="100 %",
        created_at=NOW,
        waits=[{"times": 1}],
        write_lock_seconds=0.5,
    )

    row.pk = key_that_may_be_lost(*told_of_new(row))

    stored = SyncRun.objects.get()
    assert {n: v for n, v in vars(stored).items() if n != "_state"} == {
        n: v for n, v in vars(row).items() if n != "_state"
    }
    with pytest.raises(IntegrityError):
        key_that_may_be_lost(*told_of_new(SyncRun(cloud_idp=cloud_idp)))
    assert SyncRun.objects.count() == 1
