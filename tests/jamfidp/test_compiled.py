"""Questions whose SQL is put together once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from directory.models import SyncRun
from jamfidp.compiled import Compiled
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
