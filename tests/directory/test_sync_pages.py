"""What a person sees of reads: progress, ends in words, asking for one."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import tasks
from directory.models import AttributeMappings, CloudIdentityProvider, SyncRun
from directory.views.run_statistics import took
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from tests import factories
from tests.directory.journey import browser_for

RUN_TARGET = {"HX-Request": "true", "HX-Target": "syncrun-state"}


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp()
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs: list[int] = []
    monkeypatch.setattr(
        tasks.run_sync, "apply_async", lambda args: runs.append(args[0])
    )
    return runs


def run_of(idp: CloudIdentityProvider, **values: Any) -> SyncRun:
    now = timezone.now()
    return SyncRun.objects.create(
        **{
            "cloud_idp": idp,
            "kind": SyncRun.Kind.DELTA,
            "trigger": SyncRun.Trigger.SCHEDULE,
            "created_at": now,
        }
        | values
    )


def text(client: Client, address: str, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def test_a_run_that_goes_on_shows_phase_counts_and_rate_and_asks_again(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    run = run_of(
        fernhill,
        state=SyncRun.State.READING,
        phase="Reading users",
        started_at=timezone.now() - timedelta(seconds=10),
        pages=4,
        users_read=3000,
    )

    page = text(console, run.get_absolute_url())

    assert "Reading users" in page
    assert "<dd>3,000</dd>" in page
    assert re.search(r"(2\d\d|300) a second", page)
    assert 'hx-trigger="every 1s"' in page
    assert f'action="/activity/sync-runs/{run.pk}/cancel/"' in page
    part = text(console, run.get_absolute_url(), **RUN_TARGET)
    assert "<html" not in part
    assert 'id="syncrun-facts" hx-swap-oob="true"' in part


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_the_page_of_an_ended_run_stops_asking(
    console: Client, fernhill: CloudIdentityProvider, state: str
) -> None:
    run = run_of(fernhill, state=state, finished_at=timezone.now(), error="No.")

    part = text(console, run.get_absolute_url(), **RUN_TARGET)

    assert "hx-trigger" not in part


def test_a_failed_run_says_what_happened_what_to_do_and_the_reference(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    run = run_of(
        fernhill,
        state=SyncRun.State.FAILED,
        error="The client secret of the application has expired.",
        advice="Enter a new one.",
        error_code="AADSTS7000222",
        request_id="abc-123",
        finished_at=timezone.now(),
    )

    page = text(console, run.get_absolute_url())

    for part in (run.error, run.advice, "AADSTS7000222", "request abc-123"):
        assert part in page
    assert "people keep the groups of the last good read" in page


def test_a_run_that_waits_without_a_worker_says_so(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    run = run_of(fernhill, created_at=timezone.now() - timedelta(minutes=1))

    assert "No task worker is running" in text(console, run.get_absolute_url())

    tasks.heard()
    assert "No task worker is running" not in text(console, run.get_absolute_url())


def test_what_changed_is_listed_without_noughts(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    run = run_of(
        fernhill,
        state=SyncRun.State.SUCCEEDED,
        changes={"users_added": 3, "users_deleted": 0},
        finished_at=timezone.now(),
    )

    page = text(console, run.get_absolute_url())

    assert "Users added" in page
    assert "Users deleted" not in page


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("kind", "made"), [("changes", "DELTA"), ("full", "FULL")])
def test_a_person_asks_for_a_read_and_lands_on_its_progress(
    console: Client, sent: list[int], kind: str, made: str
) -> None:
    idp = factories.cloud_idp()
    AttributeMappings.objects.create(cloud_idp=idp)

    answer = console.post(
        f"/settings/cloud-idps/{idp.pk}/sync/request/", {"kind": kind}
    )

    run = SyncRun.objects.get()
    assert run.kind == made
    assert run.requested_by is not None
    assert answer["Location"] == run.get_absolute_url()
    assert sent == [run.pk]


def test_asking_while_a_read_goes_on_shows_that_one(
    console: Client, fernhill: CloudIdentityProvider, sent: list[int]
) -> None:
    run = run_of(fernhill, state=SyncRun.State.READING)

    answer = console.post(
        f"/settings/cloud-idps/{fernhill.pk}/sync/request/", {"kind": "full"}
    )

    assert answer["Location"] == run.get_absolute_url()
    assert SyncRun.objects.count() == 1


def test_a_disabled_connection_is_not_read_on_request(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    CloudIdentityProvider.objects.update(enabled=False)

    answer = console.post(
        f"/settings/cloud-idps/{fernhill.pk}/sync/request/", follow=True
    )

    assert not SyncRun.objects.exists()
    assert "is disabled, so it is not read" in answer.content.decode()


def test_canceling_from_the_page_ends_a_waiting_run(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    run = run_of(fernhill)

    console.post(f"/activity/sync-runs/{run.pk}/cancel/")

    run.refresh_from_db()
    assert run.state == SyncRun.State.CANCELED


def test_who_may_only_look_neither_asks_nor_cancels(
    fernhill: CloudIdentityProvider,
) -> None:
    auditor = User.objects.create(
        username="auditor",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.AUDITOR,
        created_at=timezone.now(),
    )
    client = Client(SERVER_NAME="localhost")
    client.force_login(auditor)
    run = run_of(fernhill)

    page = text(client, run.get_absolute_url())
    tab = text(client, f"/settings/cloud-idps/{fernhill.pk}/sync/")

    assert "/cancel/" not in page
    assert "Sync now" not in tab
    assert client.post(f"/activity/sync-runs/{run.pk}/cancel/").status_code == 403
    refused = client.post(f"/settings/cloud-idps/{fernhill.pk}/sync/request/")
    assert refused.status_code == 403


def test_the_sync_tab_shows_the_last_runs_and_the_active_one(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    failed = run_of(
        fernhill, state=SyncRun.State.FAILED, error="Microsoft cannot be reached."
    )
    tab = text(console, f"/settings/cloud-idps/{fernhill.pk}/sync/")
    assert f"Run {failed.pk}" in tab
    assert "Microsoft cannot be reached." in tab
    assert "every 2s" not in tab

    run_of(fernhill, state=SyncRun.State.READING, phase="Reading users")
    tab = text(console, f"/settings/cloud-idps/{fernhill.pk}/sync/")
    assert "Reading users" in tab
    assert "every 2s" in tab


def test_the_list_of_runs_pages_and_filters(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    for number in range(60):
        run_of(
            fernhill,
            state=SyncRun.State.SUCCEEDED,
            created_at=timezone.now() - timedelta(minutes=number),
        )
    run_of(
        fernhill,
        state=SyncRun.State.FAILED,
        created_at=timezone.now() - timedelta(hours=9),
    )

    first = text(console, "/activity/sync-runs/")
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = text(console, "/activity/sync-runs/" + older[1].replace("&amp;", "&"))

    assert "50 of 61 runs" in first
    assert second.count('<th scope="row">') == 11
    failed = text(console, "/activity/sync-runs/?state=FAILED")
    assert failed.count('<th scope="row">') == 1


def test_a_run_of_one_person_is_listed_by_name_to_whoever_may_see_people(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)
    team = factories.directory_group("Team", fernhill)
    for each in (ana, team):
        run_of(
            fernhill,
            kind=SyncRun.Kind.OBJECT,
            object_number=each.pk,
            state=SyncRun.State.SUCCEEDED,
        )
    for address in ("/activity/sync-runs/", f"{fernhill.get_absolute_url()}sync/"):
        page = text(console, address)
        assert (
            f'<a href="{ana.get_absolute_url()}"><bdi>Ana Ruiz</bdi></a> alone' in page
        )
        assert f'<a href="{team.get_absolute_url()}"><bdi>Team</bdi></a> alone' in page

    reader = browser_for(factories.custom_account("rea", "View Sync Runs"))
    page = text(reader, "/activity/sync-runs/")
    assert page.count("One person or group") == 2
    assert "Ana Ruiz" not in page
    assert "Team" not in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4 s"), (12.9, "12 s"), (185, "3 min 5 s"), (3725, "1 h 2 min")],
)
def test_durations_are_said_in_words(seconds: float, words: str) -> None:
    assert took(seconds) == words
