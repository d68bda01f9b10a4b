"""The first read after an error: what it would take away waits, privileges do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory.models import HeldChange, State, SyncRun
from directory.sync.guards import Guard
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from jamfidp.notices import mail
from jamfidp.notices.models import Notice
from tests import factories
from tests.cast import ANA, MILO
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected

FULL = SyncRun.Kind.FULL


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    story = connected(sandbox)
    story.read(FULL)
    return story


@pytest.fixture
def ana(story: Story) -> User:
    """Ana holds privileges as a member of Frontend."""
    factories.bind(
        factories.account_group("Operators", site=factories.site()),
        story.group("Frontend"),
    )
    account = factories.entra_account(story.user(ANA.upn))
    assert may_work(account)
    return account


def may_work(account: User) -> bool:
    held = standing.read(account, now=timezone.now())
    return held.holds("scoping.change_policy")


def outage(story: Story) -> None:
    """One sync fails, since Microsoft Graph is down."""
    story.unavailable("/v1.0/")
    assert story.sync().state == SyncRun.State.FAILED
    story.sandbox.control("DELETE", "faults")


def open_guards() -> list[list[str]]:
    changes = HeldChange.objects.filter(closed_at=None)
    return [each.guards for each in changes]


LEAVING: dict[str, Callable[[Story], Any]] = {
    "left": lambda story: story.control("DELETE", f"groups/Frontend/members/{ANA.upn}"),
    "deleted": lambda story: story.control("DELETE", f"users/{ANA.upn}"),
    "gone": lambda story: story.control("DELETE", f"users/{ANA.upn}?permanently=true"),
}


@pytest.mark.parametrize("way", LEAVING)
def test_what_entra_says_after_an_error_waits_for_a_second_read(
    story: Story, ana: User, way: str
) -> None:
    outage(story)
    LEAVING[way](story)

    story.read()

    assert ANA.upn in story.direct_members("Frontend")
    assert story.user(ANA.upn).state == State.PRESENT
    assert open_guards() == [[Guard.TOLD_AFTER_ERROR]] * len(open_guards())
    assert not may_work(ana), "a loss of privilege is never held"

    story.read()

    assert not open_guards()
    assert HeldChange.objects.filter(outcome=HeldChange.Outcome.APPLIED).exists()
    assert ANA.upn not in story.direct_members("Frontend")


def test_a_group_that_is_deleted_after_an_error_waits_as_well(story: Story) -> None:
    alumni = story.group("Alumni")
    outage(story)
    story.control("DELETE", "groups/Alumni")
    story.read()
    alumni.refresh_from_db()
    assert alumni.state == State.PRESENT

    story.read()
    alumni.refresh_from_db()
    assert alumni.state == State.GONE


def test_what_entra_takes_back_before_the_second_read_was_never_lost(
    story: Story, ana: User
) -> None:
    outage(story)
    LEAVING["left"](story)
    story.read()
    story.control("PUT", f"groups/Frontend/members/{ANA.upn}")
    story.read()

    (held,) = HeldChange.objects.all()
    assert held.outcome == HeldChange.Outcome.HEALED
    assert ANA.upn in story.direct_members("Frontend")
    assert may_work(ana)


def test_a_second_error_makes_it_wait_for_longer(story: Story) -> None:
    outage(story)
    LEAVING["left"](story)
    story.read()
    outage(story)
    story.read()
    assert ANA.upn in story.direct_members("Frontend")

    story.read()
    assert ANA.upn not in story.direct_members("Frontend")


def test_whoever_comes_after_an_error_waits_for_nothing(story: Story) -> None:
    outage(story)
    story.control("PUT", f"groups/Frontend/members/{MILO.upn}")
    story.read()

    assert MILO.upn in story.direct_members("Frontend")
    assert not open_guards()


def test_what_a_full_read_left_out_after_an_error_waits_for_a_person(
    story: Story,
) -> None:
    outage(story)
    link = f"{story.sandbox.url}/v1.0/groups/delta?$deltatoken=none"
    story.fault(
        "/v1.0/groups/delta",
        method="GET",
        status=200,
        body={"value": [], "@odata.deltaLink": link},
    )
    story.read(FULL)
    story.sandbox.control("POST", "delta/expire", {"shape": "gone"})
    assert all(Guard.AFTER_ERROR in guards for guards in open_guards())
    assert open_guards()


def test_nobody_is_written_to_about_what_ends_by_itself(
    story: Story, console: Client, mailoutbox: list[Any]
) -> None:
    User.objects.filter(username="admin").update(email="admin@fernhill.example")
    outage(story)
    LEAVING["left"](story)
    story.read()
    now = timezone.now() + timedelta(seconds=1)
    mail.plan(now=now)
    mail.deliver(now=now)

    assert not Notice.objects.filter(kind="held-changes").exists()
    assert not [one for one in mailoutbox if "held" in one.subject]
    page = console.get("/activity/held-changes/").content.decode()
    assert "First read after an error, told by Entra" in page
