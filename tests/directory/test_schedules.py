"""When a connection is read, how fast, and what its runs tell about it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from directory import freshness, schedules, tasks
from directory.entra import UsersPage
from directory.entra.transport import Exchange
from directory.models import AttributeMappings, CloudIdentityProvider, SyncRun
from directory.sync.fetch import _follow_chain
from directory.sync.lines import Desk
from directory.sync.stage import Resource
from directory.sync.traffic import PACED, Traffic, pause
from directory.views.run_statistics import changes_by_day, end_of
from jamfidp.history.models import ObjectHistory
from tests import factories

FULL, DELTA = SyncRun.Kind.FULL, SyncRun.Kind.DELTA


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp(read_at=timezone.now() - timedelta(days=40))
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


def run_of(idp: CloudIdentityProvider, **values: Any) -> SyncRun:
    now = timezone.now()
    return SyncRun.objects.create(
        **{
            "cloud_idp": idp,
            "kind": DELTA,
            "trigger": SyncRun.Trigger.SCHEDULE,
            "state": SyncRun.State.SUCCEEDED,
            "created_at": now,
            "started_at": now,
            "finished_at": now,
        }
        | values
    )


@pytest.mark.parametrize(
    ("now", "due", "following"),
    [
        pytest.param(
            "2026-11-03T04:00", "2026-11-03T04:00", "2026-11-04T04:00", id="at"
        ),
        pytest.param(
            "2026-11-03T03:59", "2026-11-02T04:00", "2026-11-03T04:00", id="before"
        ),
        pytest.param(
            "2026-11-03T23:00", "2026-11-03T04:00", "2026-11-04T04:00", id="after"
        ),
    ],
)
def test_everything_is_due_at_its_hour_in_the_time_zone_of_the_console(
    settings: Any, now: str, due: str, following: str
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    zone = ZoneInfo("Europe/Berlin")
    idp = CloudIdentityProvider(full_read_hour=4)

    def at(written: str) -> datetime:
        return datetime.fromisoformat(written).replace(tzinfo=zone)

    asked = at(now).astimezone(UTC)
    assert schedules.last_full_read_due(idp, now=asked) == at(due)
    assert schedules.next_full_read_due(idp, now=asked) == at(following)


def test_a_full_read_that_failed_lets_changes_through_for_an_hour(
    fernhill: CloudIdentityProvider,
) -> None:
    """Whoever left a group must not keep its privileges because the night failed."""
    now = timezone.now()
    due = schedules.last_full_read_due(fernhill, now=now)
    fernhill.last_full_read_at = due - timedelta(days=1)
    assert schedules.is_full_read_due(fernhill, now=now)

    failed = run_of(
        fernhill, kind=FULL, state="FAILED", created_at=now, finished_at=now
    )
    assert not schedules.is_full_read_due(fernhill, now=now)
    failed.finished_at = now - timedelta(minutes=61)
    failed.save()
    assert schedules.is_full_read_due(fernhill, now=now)


def test_a_connection_is_due_again_after_its_own_interval(
    fernhill: CloudIdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.run_sync, "apply_async", lambda args: None)
    now = timezone.now()
    CloudIdentityProvider.objects.filter(pk=fernhill.pk).update(
        delta_minutes=15, next_sync_at=None, last_full_read_at=now
    )

    tasks.request_due(now=now)

    fernhill.refresh_from_db()
    assert fernhill.next_sync_at == now + timedelta(minutes=15)
    assert SyncRun.objects.get().kind == DELTA
    assert freshness.stale_after(fernhill) == timedelta(minutes=45)


def test_the_schedule_is_chosen_in_the_sync_tab_and_stands_in_the_history(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    tab = f"/settings/cloud-idps/{fernhill.pk}/sync/"
    before = console.get(tab).content.decode()
    assert "every 5 minutes" in before
    assert "time zone, UTC." in before

    console.post(f"{tab}schedule/", {"delta_minutes": "2", "full_read_hour": "23"})

    fernhill.refresh_from_db()
    assert (fernhill.delta_minutes, fernhill.full_read_hour) == (2, 23)
    read_at = fernhill.last_good_read_at
    assert read_at is not None
    assert fernhill.next_sync_at == read_at + timedelta(minutes=2)
    assert ObjectHistory.objects.filter(note="Changed the schedule").count() == 1


@pytest.mark.parametrize("sent", [{"delta_minutes": "0"}, {"full_read_hour": "24"}])
def test_a_schedule_that_is_not_offered_is_refused(
    console: Client, fernhill: CloudIdentityProvider, sent: dict[str, str]
) -> None:
    usual = {"delta_minutes": "5", "full_read_hour": "3"}

    console.post(f"/settings/cloud-idps/{fernhill.pk}/sync/schedule/", usual | sent)

    fernhill.refresh_from_db()
    assert (fernhill.delta_minutes, fernhill.full_read_hour) == (None, None)


# --- Pacing


@pytest.mark.parametrize(
    ("used", "seconds"),
    [(0.0, 0), (0.79, 0), (0.8, 0.5), (0.9, 5), (1.0, 10), (1.8, 10)],
)
def test_the_fuller_microsofts_limit_the_longer_background_work_waits(
    used: float, seconds: float
) -> None:
    assert pause(used) == pytest.approx(seconds)


def test_a_wait_for_others_is_noted_with_its_cause_and_is_no_retry() -> None:
    traffic = Traffic()
    traffic.exchanged(exchange(throttle_percentage=0.9))

    assert not traffic.unpaced(), "nor is a page asked for ahead of its time"
    assert traffic.pace() == pytest.approx(5)

    (wait,) = traffic.take()["waits"]
    assert (wait["reason"], wait["times"], wait["seconds"]) == (PACED, 1, 5.0)
    assert traffic.retries == 0
    traffic.exchanged(exchange(throttle_percentage=None))
    assert traffic.unpaced()
    assert traffic.pace() == 0.0, "an answer that does not say so: there is room again"


def exchange(**values: Any) -> Exchange:
    given: dict[str, Any] = {
        "method": "GET",
        "template": "/v1.0/users/delta",
        "status": 200,
        "seconds": 0.1,
        "bytes_received": 10,
        "resource_units": 1,
        "throttle_percentage": None,
        "request_id": "",
        "client_request_id": "",
    }
    return Exchange(**given | values)


def test_a_chain_waits_between_pages_and_not_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rested: list[float] = []
    monkeypatch.setattr(Desk, "rest", lambda self, seconds: rested.append(seconds))
    pages = [
        UsersPage(items=[], next_link="a", delta_link=None),
        UsersPage(items=[], next_link="b", delta_link=None),
        UsersPage(items=[], next_link=None, delta_link="d"),
    ]

    _follow_chain(Resource.USERS, lambda: iter(pages), Desk(10), pace=lambda: 3.0)

    assert rested == [3.0, 3.0]


# --- What a run tells


def test_the_page_of_a_run_tells_what_it_took(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    now = timezone.now()
    run = run_of(
        fernhill,
        kind=FULL,
        started_at=now - timedelta(seconds=75),
        finished_at=now,
        requests=1234,
        retries=3,
        resource_units=2345,
        bytes_read=5_000_000,
        phases=[["Reading", 60.2], ["Comparing", 4.5]],
        waits=[{"reason": "Microsoft is busy.", "times": 2, "seconds": 14.5}],
        failures=[
            {"status": 429, "template": "/v1.0/users/delta", "request_id": "r-1"},
            {"status": None, "template": "/v1.0/groups/delta", "request_id": ""},
        ],
        rows_written={"DirectoryUser": 40, "DirectoryMembership": 12345},
        write_lock_seconds=0.25,
    )

    page = text(console, run.get_absolute_url())

    for said in (
        "1 min 15 s",
        "1,234",
        "2,345",
        "4.8 MB",
        "1 min 0 s",
        "Microsoft is busy.",
        "14 s",
        "r-1",
        "none that was complete",
        "12,345",
        "0.2 s",
    ):
        assert said in page.replace("\xa0", " "), said


def test_a_full_read_says_how_much_is_left_by_what_the_last_one_read(
    fernhill: CloudIdentityProvider,
) -> None:
    now = timezone.now()
    run_of(fernhill, kind=FULL, users_read=600, memberships_read=400)
    run = run_of(
        fernhill,
        kind=FULL,
        state="READING",
        finished_at=None,
        started_at=now - timedelta(seconds=20),
        users_read=250,
    )

    assert end_of(run, now=now) == {"total": 1000, "done": 250, "estimate": "1 min 0 s"}
    run.dry_run = True
    assert end_of(run, now=now)["estimate"] == "1 min 0 s", "it reads as much"


OBJECT = SyncRun.Kind.OBJECT


@pytest.mark.parametrize("kind", [DELTA, OBJECT, FULL])
def test_what_else_a_run_does_is_estimated_by_how_long_such_runs_took(
    console: Client, fernhill: CloudIdentityProvider, kind: SyncRun.Kind
) -> None:
    now = timezone.now()
    ana, milo = (
        factories.directory_user(name, fernhill) for name in ("Ana Ruiz", "Milo Brandt")
    )
    team = factories.directory_group("Team", fernhill)
    run = run_of(
        fernhill,
        kind=kind,
        state="APPLYING" if kind == FULL else "READING",
        finished_at=None,
        started_at=now - timedelta(seconds=8),
        object_number=ana.pk if kind == OBJECT else None,
    )
    assert end_of(run, now=now) == {}, "nothing like it has been done before"

    def earlier(seconds: int, **values: Any) -> None:
        began = now - timedelta(hours=1)
        run_of(
            fernhill,
            started_at=began,
            finished_at=began + timedelta(seconds=seconds),
            **{"kind": kind, "object_number": milo.pk if kind == OBJECT else None}
            | values,
        )

    earlier(500, state="FAILED", error="No.")
    earlier(500, kind=OBJECT if kind == DELTA else DELTA, object_number=team.pk)
    if kind == OBJECT:
        earlier(500, object_number=team.pk)
    assert end_of(run, now=now) == {}, "what failed or did something else is no measure"

    for seconds in (20, 28, 400):
        earlier(seconds)
    assert end_of(run, now=now) == {"estimate": "20 s"}
    page = console.get(run.get_absolute_url()).content.decode()
    assert "Left, about" in page

    later = now + timedelta(seconds=21)
    assert end_of(run, now=later) == {}, "it takes longer than usual"


def test_changes_of_a_day_are_added_up_and_the_first_read_is_none(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    now = timezone.now()
    first = now - timedelta(days=3)
    CloudIdentityProvider.objects.filter(pk=fernhill.pk).update(
        first_complete_read_at=first
    )
    fernhill.refresh_from_db()
    run_of(
        fernhill,
        created_at=first - timedelta(minutes=1),
        finished_at=first,
        changes={"users_added": 9999},
    )
    yesterday = now - timedelta(days=1)
    run_of(
        fernhill,
        created_at=yesterday,
        finished_at=yesterday,
        changes={"users_added": 2, "users_changed": 1, "memberships_removed": 7},
    )
    run_of(
        fernhill,
        created_at=yesterday,
        finished_at=yesterday,
        changes={"users_deleted": 1, "groups_changed": 4},
    )
    run_of(fernhill, state="FAILED", changes={"users_added": 500})

    days = dict(changes_by_day(fernhill, now=now))

    assert days[timezone.localtime(yesterday).date()] == [4, 4, 7]
    assert sum(sum(numbers) for numbers in days.values()) == 15
    page = text(console, f"/settings/cloud-idps/{fernhill.pk}/sync/")
    drawn = re.search(r'<script id="changes-data"[^>]*>(.*?)</script>', page)
    assert drawn is not None
    data = json.loads(drawn[1])
    assert [sum(values) for values in data["values"]] == [4, 4, 7]
    row = re.search(r"Memberships</th></tr></thead> <tbody> <tr>(.*?)</tr>", page)
    assert row is not None
    assert re.findall(r'<td class="number">(\d+)</td>', row[1]) == ["4", "4", "7"]


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())
