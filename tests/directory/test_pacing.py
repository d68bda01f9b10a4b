"""Syncs and Microsoft's resource units: who comes last, who slows down, what it cost."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory.entra import EntraSession
from directory.entra.ahead import WAITING
from directory.models import StagedPage, SyncRun
from directory.sync import fetch, lines, request_sync, traffic
from directory.sync import run as run_module
from directory.sync.lease import Lease
from directory.sync.lines import Desk
from directory.sync.plan import make_plan
from directory.sync.request import request_object
from directory.sync.run import work
from directory.sync.traffic import PACED
from directory.tasks import request_due
from tests import factories
from tests.cast import ANA
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth

DELTA, FULL = SyncRun.Kind.DELTA, SyncRun.Kind.FULL
PERSON, SCHEDULE = SyncRun.Trigger.PERSON, SyncRun.Trigger.SCHEDULE


class Time:
    """The sandbox's time stands still, and passes when the console waits."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self.offset = 0.0
        self.waited: list[float] = []
        sandbox.control("PUT", "clock", {"stopped": True})
        shown = sandbox.control("GET", "clock")["time"]
        self._began = datetime.fromisoformat(shown).timestamp()

    def pass_by(self, seconds: float) -> None:
        with self._lock:
            self.waited.append(seconds)
            self.offset += seconds
            self._sandbox.control("PUT", "clock", {"offset_seconds": self.offset})

    def now(self) -> float:
        return self._began + self.offset


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    story = connected(sandbox)
    story.behave(delta_page_size=3, member_slice=10)
    return story


@pytest.fixture
def time_(story: Story, monkeypatch: pytest.MonkeyPatch) -> Time:
    """Waiting takes no time here, and as long as it says over there."""
    time_ = Time(story.sandbox)
    monkeypatch.setattr(Desk, "rest", lambda _desk, seconds: time_.pass_by(seconds))
    monkeypatch.setattr(
        lines,
        "EntraSession",
        partial(EntraSession, sleep=time_.pass_by, wall_clock=time_.now),
    )
    lines.close_idle()
    return time_


def asked_of_graph(story: Story) -> list[dict[str, Any]]:
    journal = story.sandbox.control("GET", "journal?plane=graph")
    entries: list[dict[str, Any]] = journal["entries"]
    return entries


def read(story: Story, trigger: SyncRun.Trigger, kind: SyncRun.Kind = FULL) -> SyncRun:
    """Read from an empty journal on; a run that does not succeed fails the test."""
    story.sandbox.control("DELETE", "journal")
    run = request_sync(
        cloud_idp=story.cloud_idp,
        kind=kind,
        trigger=trigger,
        actor=None,
        now=timezone.now(),
    )
    work(run.pk)
    run.refresh_from_db()
    story.cloud_idp.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.advice}"
    return run


def no_groups(story: Story) -> None:
    """Let the next read of groups answer well, and without a single one."""
    link = f"{story.sandbox.url}/v1.0/groups/delta?$deltatoken=none"
    story.fault(
        "/v1.0/groups/delta",
        method="GET",
        status=200,
        body={"value": [], "@odata.deltaLink": link},
    )


def priorities(entries: list[dict[str, Any]]) -> set[str]:
    return {each["priority"] for entry in entries for each in entry["items"] or [entry]}


def units(entries: list[dict[str, Any]]) -> int:
    return sum(entry["units"] for entry in entries)


# --- Who comes last


def test_what_is_read_by_schedule_comes_last_and_what_people_wait_for_does_not(
    story: Story,
) -> None:
    asked = read(story, PERSON)
    assert priorities(asked_of_graph(story)) == {"normal"}
    assert asked.resource_units == units(asked_of_graph(story)) > 0

    story.sandbox.control("DELETE", "journal")
    story.cloud_idp.next_sync_at = None
    story.cloud_idp.save()
    request_due(now=timezone.now())
    due = SyncRun.objects.get(state=SyncRun.State.QUEUED)
    work(due.pk)
    due.refresh_from_db()
    assert (due.trigger, due.state) == (SCHEDULE, SyncRun.State.SUCCEEDED)
    assert priorities(asked_of_graph(story)) == {"low"}
    assert due.resource_units == units(asked_of_graph(story)) > 0

    story.sandbox.control("DELETE", "journal")
    one = request_object(
        target=story.user(ANA.upn), trigger=PERSON, actor=None, now=timezone.now()
    )
    work(one.pk)
    one.refresh_from_db()
    assert one.state == SyncRun.State.SUCCEEDED
    assert priorities(asked_of_graph(story)) == {"high"}
    assert one.resource_units == units(asked_of_graph(story)) > 0


# --- Slowing down


def test_a_read_slows_down_before_it_is_refused_and_says_why(
    story: Story, time_: Time, console: Client
) -> None:
    story.behave(tenant_unit_limit=30)

    run = read(story, SCHEDULE)

    asked = asked_of_graph(story)
    assert {entry["status"] for entry in asked} == {200}, "it was refused"
    assert units(asked) > 30, "the limit was not near"
    assert run.resource_units == units(asked)
    (wait,) = run.waits
    assert wait["reason"] == PACED
    assert wait["times"] == len(time_.waited) > 0
    assert wait["seconds"] == pytest.approx(sum(time_.waited), abs=0.1)
    assert run.retries == 0
    assert held(story) == truth(story)
    page = console.get(f"/activity/sync-runs/{run.pk}/").content.decode()
    assert PACED in page


def test_a_wait_for_others_is_shown_while_it_lasts(
    story: Story, time_: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.behave(tenant_unit_limit=30)
    phases: list[str] = []
    renew = Lease.renew

    def watching(lease: Any, **columns: Any) -> None:
        renew(lease, **columns)
        phases.append(
            SyncRun.objects.values_list("phase", flat=True).get(pk=lease.run_id)
        )

    monkeypatch.setattr(Lease, "renew", watching)

    read(story, SCHEDULE)

    said = [phase for phase in phases if phase.startswith("Waiting")]
    assert said, phases
    assert all(phase.endswith(PACED) for phase in said)


# --- Refused


@pytest.mark.parametrize("form", ["seconds", "date", "fraction", "none"])
def test_a_read_that_is_refused_waits_as_long_as_asked_and_comes_to_its_end(
    story: Story, time_: Time, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """What slows it down before that is switched off, and one chain reads alone."""
    read(story, PERSON)
    no_groups(story)
    for number, user in enumerate(sorted(truth(story).people)[:27]):
        story.control("PATCH", f"users/{user}", {"jobTitle": f"Number {number}"})
    monkeypatch.setattr(traffic, "pause", lambda _used: 0.0)
    # All that was charged until now drains.
    time_.pass_by(3600)
    time_.waited.clear()
    story.behave(tenant_unit_limit=10, delta_page_size=2, retry_after=form)

    run = read(story, SCHEDULE, DELTA)

    asked = asked_of_graph(story)
    refused = [entry for entry in asked if entry["status"] == 429]
    assert len(refused) > 1
    assert run.resource_units == units(asked), "refused requests are charged, too"
    (wait,) = run.waits
    assert wait["reason"] == "Microsoft Graph asked the console to slow down."
    assert wait["times"] == run.retries == len(refused) == len(time_.waited)
    assert wait["seconds"] == pytest.approx(sum(time_.waited), abs=0.1)
    assert {failure["status"] for failure in run.failures} == {429}
    assert held(story) == truth(story)
    if form == "none":
        assert len(set(time_.waited)) == len(time_.waited), "all wait alike"
    elif form == "fraction":
        assert any(seconds % 1 for seconds in time_.waited)
    else:
        assert not any(seconds % 1 for seconds in time_.waited)
    if form != "none":
        again = [
            later["status"]
            for entry, later in pairwise(asked)
            if entry["status"] == 429 and later["path"] == entry["path"]
        ]
        assert set(again) == {200}, "it came back too early"


def test_what_is_waited_for_is_kept_when_the_read_begins_again(
    story: Story, time_: Time
) -> None:
    read(story, PERSON)
    time_.pass_by(1)
    story.sandbox.control("POST", "delta/expire", {"shape": "gone"})
    for nth, seconds in ((1, "7"), (3, "5")):
        story.fault(
            "/v1.0/users/delta",
            method="GET",
            nth=nth,
            status=429,
            headers={"Retry-After": seconds},
        )

    run = read(story, SCHEDULE, DELTA)

    assert run.kind == FULL, run.kind_reason
    assert [(wait["times"], wait["seconds"]) for wait in run.waits] == [(2, 12.0)]
    assert {failure["status"] for failure in run.failures} >= {429, 410}
    assert run.resource_units == units(asked_of_graph(story))


# --- What a run asks besides


def test_look_ups_of_losses_count_as_the_runs_and_are_not_pushed_aside(
    story: Story,
) -> None:
    read(story, PERSON)
    factories.bind(
        factories.account_group("Operators", site=factories.site()),
        story.group("Frontend"),
    )
    factories.entra_account(story.user(ANA.upn))
    no_groups(story)

    run = read(story, SCHEDULE)

    asked = asked_of_graph(story)
    pages = [entry for entry in asked if entry["template"].endswith("/delta")]
    looked_up = [entry for entry in asked if entry not in pages]
    assert any(entry["items"] for entry in looked_up)
    assert priorities(looked_up) == {"normal"}
    assert priorities(pages) == {"low"}
    assert run.resource_units == units(asked)
    assert run.requests >= len(asked)


# --- The deadline


def test_a_read_ends_at_its_deadline_whatever_it_waits_for(
    story: Story, time_: Time, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Each page is refused once and may come a minute later; the whole may not."""
    settings.SYNC_DEADLINE_MINUTES = 5
    monkeypatch.setattr(fetch, "FLUSH_PAGES", 1)
    for nth in range(2, 32):
        story.fault(
            "/v1.0/users/delta",
            method="GET",
            nth=nth,
            status=429,
            headers={"Retry-After": "60"},
        )
    began = timezone.now()

    def clock() -> datetime:
        return began + timedelta(seconds=time_.offset)

    run = story.request(FULL)
    work(run.pk, clock=clock)

    run.refresh_from_db()
    assert run.state == SyncRun.State.FAILED
    assert run.error_code == "console:deadline"
    assert run.error.startswith("The sync took longer than 5 minutes.")
    assert run.deadline_at == began + timedelta(minutes=5)
    assert run.finished_at is not None
    # Here waiting takes no time, so that pages are far ahead of whoever looks at the
    # clock: those on the desk, one that is not parsed, one that is asked for.
    ahead = fetch.WAITING_PAGES + WAITING + 1
    assert run.finished_at - run.deadline_at <= timedelta(minutes=ahead)
    assert not held(story).people
    kept = StagedPage.objects.filter(run=run).count()
    assert kept

    story.sandbox.control("DELETE", "faults")
    following = read(story, PERSON)

    assert following.pages < run.pages + following.pages
    assert held(story) == truth(story)


def test_what_is_not_compared_by_the_deadline_is_not_applied(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = timedelta()

    def clock() -> datetime:
        return timezone.now() + passed

    compare = make_plan

    def slow(**given: Any) -> Any:
        nonlocal passed
        plan = compare(**given)
        passed = timedelta(days=1)
        return plan

    monkeypatch.setattr(run_module, "make_plan", slow)
    run = story.request(FULL)
    work(run.pk, clock=clock)

    run.refresh_from_db()
    assert (run.state, run.error_code) == (SyncRun.State.FAILED, "console:deadline")
    assert not held(story).people
    assert StagedPage.objects.filter(run=run).exists(), "it would be read again"

    monkeypatch.undo()
    read(story, PERSON)
    assert held(story) == truth(story)
