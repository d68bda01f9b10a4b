"""What Microsoft may answer to a sync: late, broken, old, repeated, odd.

Each case is scripted in the sandbox and met by a whole run. What the client makes of the
same answers, moment by moment, is in tests/directory/entra.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from directory.entra import EntraSession
from directory.models import (
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    HeldChange,
    MembershipInterval,
    StagedPage,
    SyncRun,
)
from directory.sync import lines
from tests import factories
from tests.directory.syncing import Story, held, truth
from tests.directory.test_sync_faults import page_by_page
from tests.directory.test_sync_pages import text

FULL = SyncRun.Kind.FULL
FAILED = SyncRun.State.FAILED
USERS = "/v1.0/users/delta"
GROUPS = "/v1.0/groups/delta"
ANA = "ana.ruiz@fernhill.example"
SLOW_DOWN = "Microsoft Graph asked the console to slow down."


# F1 to F3: throttling


def test_f1_a_sync_waits_for_the_seconds_that_are_asked_for(story: Story) -> None:
    story.fault(USERS, nth=2, status=429, headers={"Retry-After": "1"}, times=2)
    began = time.monotonic()

    run = story.read(FULL)

    assert run.waits == [{"reason": SLOW_DOWN, "times": 2, "seconds": 2.0}]
    assert time.monotonic() - began >= 2.0
    assert held(story) == truth(story)


def test_f1_a_sync_comes_back_when_it_is_asked_to_wait_for_long(known: Story) -> None:
    before = held(known)
    known.fault(USERS, status=429, headers={"Retry-After": "700"}, times=0)

    run = known.sync()

    assert run.state == FAILED
    assert run.error == "Microsoft Graph is limiting the requests of the console."
    assert run.waits == [], "it is no use to hold a worker for so long"
    assert run.finished_at is not None
    assert known.cloud_idp.next_sync_at == run.finished_at + timedelta(seconds=700)
    assert known.cloud_idp.status == "THROTTLED"
    assert held(known) == before


def test_f2_a_sync_waits_until_the_date_that_is_asked_for(story: Story) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    story.fault(
        USERS,
        nth=2,
        status=429,
        headers={"Retry-After": format_datetime(until, usegmt=True)},
    )

    run = story.read(FULL)

    assert datetime.now(UTC) >= until
    (wait,) = run.waits
    assert (wait["reason"], wait["times"]) == (SLOW_DOWN, 1)
    assert 0 < wait["seconds"] <= 3
    assert held(story) == truth(story)


def test_f3_a_sync_that_is_told_no_time_waits_longer_each_time(story: Story) -> None:
    story.fault(USERS, nth=2, status=429, times=3)

    run = story.read(FULL)

    (wait,) = run.waits
    assert wait["times"] == 3
    # Half of 1, 2 and 4 seconds at least, and not more than all of them.
    assert 3.5 <= wait["seconds"] <= 7.1
    assert held(story) == truth(story)


# F5 to F7: a service that is down, breaks off, or drips


@pytest.mark.parametrize("status", [503, 504])
def test_f5_a_short_burst_is_outlived(story: Story, status: int) -> None:
    at_once = {"Retry-After": "0"}
    for path in (USERS, GROUPS):
        story.fault(path, nth=3, status=status, headers=at_once, times=3)

    run = story.read(FULL)

    assert run.retries == 6
    assert held(story) == truth(story)


def test_f5_a_long_burst_ends_the_run_and_the_next_goes_on_at_its_page(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_by_page(monkeypatch)
    story.unavailable(USERS, nth=4)

    run = story.sync(FULL)

    assert run.state == FAILED
    assert run.error == "Microsoft Graph is not available at the moment."
    assert run.error_code == "HTTP 503"
    assert run.retries == 4, "five attempts, and no more"
    kept = StagedPage.objects.filter(run=run)
    assert kept.filter(resource="USERS").count() == 3

    story.sandbox.control("DELETE", "faults")
    story.sandbox.control("DELETE", "journal")
    pages = kept.count()
    again = story.read(FULL)
    entries = story.sandbox.control("GET", "journal?plane=graph")["entries"]
    assert again.pages == len(entries), "each page that was missing, once"
    story.sandbox.control("DELETE", "journal")
    assert story.read(FULL).pages == pages + again.pages
    assert held(story) == truth(story)


@pytest.mark.parametrize(
    "broken", [{"truncate": 900}, {"truncate": 900, "reset": True}]
)
@pytest.mark.parametrize("path", [USERS, GROUPS])
def test_f6_a_page_that_breaks_off_is_read_again_whole(
    story: Story, path: str, broken: dict[str, Any]
) -> None:
    story.fault(path, nth=2, **broken)

    run = story.read(FULL)

    assert run.retries == 1
    assert run.waits[0]["reason"] == "The connection to Microsoft broke."
    assert held(story) == truth(story)


def test_f7_a_body_that_drips_without_end_ends_the_run_at_the_limit(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(known)
    usual = EntraSession.__init__.__kwdefaults__
    assert usual is not None
    monkeypatch.setitem(usual, "total_seconds", 1.5)
    lines.close_idle()
    known.fault(USERS, drip=1, drip_every=0.3, times=0)
    known.control("DELETE", f"groups/Frontend/members/{ANA}")
    began = time.monotonic()

    run = known.sync(FULL)

    assert time.monotonic() - began < 15, "the whole answer would take minutes"
    assert run.state == FAILED
    assert run.error in {
        "Microsoft's answer took too long to arrive.",
        "Microsoft did not answer in time.",
    }
    assert known.cloud_idp.status == "UNREACHABLE"
    assert held(known) == before
    known.sandbox.control("DELETE", "faults")
    # What is lost after an error waits for a second read.
    known.read()
    known.read()
    assert held(known) == truth(known)


# F11 and F12: where the last sync ended is no longer known


ELSEWHERE = "https://graph.example.com/v1.0/users/delta"
EXPIRED: list[dict[str, Any]] = [
    {"status": 410, "headers": {"Location": ELSEWHERE}},
    {
        "status": 400,
        "body": {"error": {"code": "syncStateNotFound", "message": "x"}},
    },
]


@pytest.mark.parametrize("answer", EXPIRED, ids=["410", "syncStateNotFound"])
def test_f11_f12_nobody_is_lost_before_the_pass_is_complete(
    known: Story, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    before = held(known)
    known.control("DELETE", f"users/{ANA}?permanently=true")
    known.fault(USERS, query="$deltatoken", **answer)
    unharmed = []
    with monkeypatch.context() as patched:
        page_by_page(patched, lambda _taken: unharmed.append(held(known) == before))
        run = known.read()

    assert run.kind == FULL
    assert "Everything is read again." in run.kind_reason
    assert len(unharmed) > 10
    assert all(unharmed)
    assert ANA not in {upn for upn, _ in held(known).people.values()}
    assert held(known) == truth(known)
    assert known.read().kind == SyncRun.Kind.DELTA


@pytest.mark.parametrize("answer", EXPIRED, ids=["410", "syncStateNotFound"])
def test_f11_f12_a_pass_that_breaks_off_loses_nobody(
    known: Story, answer: dict[str, Any]
) -> None:
    before = held(known)
    known.control("DELETE", f"users/{ANA}?permanently=true")
    known.fault(USERS, query="$deltatoken", times=2, **answer)
    known.fault(USERS, nth=3, status=403)

    run = known.sync()

    assert (run.state, run.kind) == (FAILED, FULL)
    assert held(known) == before
    assert known.read().kind == FULL
    # What the pass after an error leaves out, a person agrees to.
    assert held(known) == before
    (waiting,) = HeldChange.objects.filter(closed_at=None, kind="U")
    assert waiting.guards == ["after-error"]


# F13 to F15: replays, one group on many pages, members before people

switches = st.fixed_dictionaries(
    {
        "shuffle_delta": st.booleans(),
        "repeat_in_delta": st.booleans(),
        "empty_pages": st.booleans(),
        "delta_page_size": st.sampled_from([60, 113, 400]),
        "member_slice": st.sampled_from([5, 40, 500]),
    }
)


@settings(
    max_examples=8,
    deadline=None,
    # A failure is shown as it came: each example is two or three whole reads.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(first=switches, then=switches)
def test_f13_f14_f15_however_pages_come_they_give_the_same_directory(
    known: Story, first: dict[str, Any], then: dict[str, Any]
) -> None:
    known.behave(**first)
    again = known.read(FULL)
    assert held(known) == truth(known)
    assert not any(again.changes.values()), "what is said anew is no change"

    known.control("DELETE", f"groups/Frontend/members/{ANA}")
    known.behave(**then)
    known.read()
    assert held(known) == truth(known)

    known.control("PUT", f"groups/Frontend/members/{ANA}")
    known.behave(**first)
    known.read()
    assert held(known) == truth(known)


# F16 and F17: @removed


def removal(known: Story, object_id: str, reason: str) -> None:
    known.fault(
        USERS,
        method="GET",
        merge={"value": [{"id": object_id, "@removed": {"reason": reason}}]},
    )


@pytest.mark.parametrize(
    ("reason", "state"), [("changed", "DELETED"), ("deleted", "GONE")]
)
def test_f16_removed_is_what_its_reason_says(
    known: Story, reason: str, state: str
) -> None:
    """'changed' can be restored for 30 days, 'deleted' is for good."""
    ana = known.user(ANA)
    groups = ana.memberships.count()
    removal(known, ana.object_id, reason)

    known.read()

    ana.refresh_from_db()
    assert (ana.state, ana.is_active) == (state, False)
    assert ana.memberships.count() == (groups if reason == "changed" else 0)
    assert ANA not in known.members("Engineering")


@pytest.mark.parametrize("reason", ["changed", "deleted"])
def test_f16_a_removal_of_somebody_unknown_is_ignored(
    known: Story, reason: str
) -> None:
    before = held(known)
    people = DirectoryUser.objects.count()
    removal(known, factories.guid("nobody ever saw"), reason)

    run = known.read()

    assert held(known) == before
    assert DirectoryUser.objects.count() == people
    assert not any(run.changes.values())
    known.read(FULL)
    assert held(known) == truth(known)


@pytest.mark.parametrize("way", [SyncRun.Kind.DELTA, FULL])
def test_f17_somebody_restored_within_30_days_is_who_they_were(
    known: Story, way: SyncRun.Kind
) -> None:
    """The same row, number and history, whichever kind of read brings them back."""
    ana = known.user(ANA)
    known.control("PATCH", f"users/{ANA}", {"department": "Films"})
    known.control("DELETE", f"groups/Frontend/members/{ANA}")
    known.read()
    intervals = set(
        MembershipInterval.objects.filter(member_id=ana.pk).values_list("pk", flat=True)
    )
    earlier = set(
        EarlierValue.objects.filter(number=ana.pk).values_list("pk", flat=True)
    )
    assert intervals
    assert earlier
    known.control("DELETE", f"users/{ANA}")
    known.read(way)
    ana.refresh_from_db()
    assert ana.state == "DELETED"
    first_seen = ana.first_seen_at

    known.control("POST", f"users/{ana.object_id}/restore")
    known.read(way)

    restored = known.user(ANA)
    assert (restored.pk, restored.object_id) == (ana.pk, ana.object_id)
    assert restored.first_seen_at == first_seen
    assert restored.is_active
    assert DirectoryObject.objects.filter(object_id=ana.object_id).count() == 1
    assert intervals <= set(
        MembershipInterval.objects.filter(member_id=ana.pk).values_list("pk", flat=True)
    )
    assert earlier <= set(
        EarlierValue.objects.filter(number=ana.pk).values_list("pk", flat=True)
    )
    assert held(known) == truth(known)


# F35 and F36: odd values

LONG = "Wolkenkratzer" * 23 + "x"
FOX = "🦊 Füchsin\u200d👩‍👩‍👧"
SAME = "reception@fernhill.example"
ODD: dict[str, dict[str, Any]] = {
    "nothing": {"userPrincipalName": "nothing@fernhill.example"},
    "long": {"displayName": LONG, "mail": SAME, "department": LONG},
    "emoji": {"displayName": FOX, "mail": SAME.upper(), "jobTitle": FOX},
    "twin": {"displayName": FOX, "mail": SAME},
}


def odd_people(story: Story) -> dict[str, str]:
    """People with odd values, by what is odd: their object ids."""
    made = {}
    for name, values in ODD.items():
        person = {
            "displayName": "Nobody",
            "userPrincipalName": f"{name}@fernhill.example",
            "accountEnabled": True,
            **values,
        }
        made[name] = story.control("POST", "users", person)["id"]
    return made


def test_f35_f36_odd_values_are_stored_shown_and_nobody_is_merged(
    console: Client, known: Story
) -> None:
    made = odd_people(known)
    known.fault(
        USERS,
        method="GET",
        merge={
            "value": [
                {"id": made[name], "accountEnabled": True, **values}
                if name != "nothing"
                else dict.fromkeys(
                    ("displayName", "userPrincipalName", "mail", "userType")
                )
                | {"id": made[name], "accountEnabled": None}
                for name, values in ODD.items()
            ]
        },
    )

    known.read()

    assert len(set(made.values())) == len(ODD)
    people = {
        name: DirectoryUser.objects.get(object_id=object_id)
        for name, object_id in made.items()
    }
    assert len({person.pk for person in people.values()}) == len(ODD), "never merged"
    assert people["emoji"].display_name == people["twin"].display_name == FOX
    assert people["long"].display_name == LONG[:256]
    assert people["long"].department == LONG
    assert people["long"].email == people["twin"].email == SAME
    nobody = people["nothing"]
    assert (nobody.display_name, nobody.user_principal_name, nobody.email) == ("",) * 3
    assert str(nobody) == made["nothing"], "who has no name is shown by their id"
    for name, person in people.items():
        page = text(console, person.get_absolute_url())
        assert str(person) in page, name
    found = text(console, f"{reverse('directory:user-list')}?q={FOX.split()[1][:4]}")
    assert found.count(FOX) >= 2, "both are listed"

    known.read(FULL)
    assert held(known) == truth(known)
    for name, person in people.items():
        person.refresh_from_db()
        assert person.object_id == made[name]
