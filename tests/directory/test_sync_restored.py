"""Whoever is restored in Entra comes back to the groups that hold them there."""

from __future__ import annotations

import pytest
from django.utils import timezone

from directory import hold_everything
from directory.models import HeldChange, State, SyncRun
from directory.sync import request_object, returned, single
from directory.sync.bitmaps import unpack
from directory.sync.decide import decider
from directory.sync.differences import Plan
from directory.sync.holds import Held
from directory.sync.run import work
from directory.sync.selection import selection_of
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from tests import factories
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth

FULL, DELTA = SyncRun.Kind.FULL, SyncRun.Kind.DELTA
ANA = "ana.ruiz@fernhill.example"
PERMISSION = "scoping.change_policy"


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    """Ana is in Frontend, which is nested in Engineering."""
    story = connected(sandbox)
    story.read(FULL)
    return story


def bound(story: Story, name: str) -> User:
    """Ana's account, which has what the members of a group are given."""
    factories.bind(
        factories.account_group("Operators", site=factories.site()), story.group(name)
    )
    account = factories.entra_account(story.user(ANA))
    assert holds(account)
    return account


def holds(account: User) -> bool:
    return standing.read(account, now=timezone.now()).holds(PERMISSION)


def read_alone(story: Story, name: str) -> None:
    run = request_object(
        target=story.group(name),
        trigger=SyncRun.Trigger.PERSON,
        actor=None,
        now=timezone.now(),
    )
    work(run.pk)
    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.steps}"


def leave_while_deleted(story: Story, group: str = "Frontend") -> None:
    """A full read comes between: no read of changes after it says that she left."""
    story.control("DELETE", f"users/{ANA}")
    story.read()
    object_id = story.user(ANA).object_id
    story.control("DELETE", f"groups/{group}/members", {"members": [object_id]})
    story.read(FULL)


def restore(story: Story) -> None:
    story.control("POST", f"users/{story.user(ANA).object_id}/restore")


@pytest.mark.parametrize("kind", [DELTA, FULL])
def test_whoever_left_a_group_while_deleted_comes_back_without_it(
    story: Story, kind: SyncRun.Kind
) -> None:
    account = bound(story, "Frontend")
    leave_while_deleted(story)
    restore(story)
    story.read(kind)

    assert story.user(ANA).state == State.PRESENT
    assert held(story) == truth(story)
    assert not holds(account)


def test_whoever_left_it_directly_alone_is_asked_for_in_the_group(
    story: Story,
) -> None:
    """Engineering holds her through Frontend all the same."""
    story.control("PUT", f"groups/Engineering/members/{ANA}")
    story.read()
    account = bound(story, "Engineering")
    leave_while_deleted(story, "Engineering")
    restore(story)
    story.read()

    assert ANA in story.members("Engineering")
    assert held(story) == truth(story)
    assert not holds(account)


@pytest.mark.parametrize("group", ["Alumni", "Engineering"])
def test_whoever_joined_a_group_that_was_read_without_them_comes_back_to_it(
    story: Story, group: str
) -> None:
    story.control("PUT", f"groups/{group}/members/{ANA}")
    story.control("DELETE", f"users/{ANA}")
    story.read(FULL)
    restore(story)
    story.read()

    assert ANA in story.direct_members(group)
    assert held(story) == truth(story)


@pytest.mark.parametrize("read", [True, False])
def test_a_group_that_was_read_alone_first_takes_no_membership_of_the_deleted(
    story: Story, read: bool
) -> None:
    """`read`: her deletion is, before she is back."""
    account = bound(story, "Frontend")
    story.control("DELETE", f"users/{ANA}")
    read_alone(story, "Frontend")
    assert not holds(account)
    if read:
        story.read()
    restore(story)
    story.read()

    assert held(story) == truth(story)
    assert holds(account)


def test_of_more_people_than_are_asked_about_everything_is_read_next(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "PEOPLE_ASKED", 0)
    account = bound(story, "Frontend")
    story.control("DELETE", f"users/{ANA}")
    read_alone(story, "Frontend")
    assert not holds(account)
    restore(story)

    run = story.read()
    assert (run.kind, run.kind_reason) == (FULL, single.REASON)
    assert held(story) == truth(story)


def test_a_group_that_is_deleted_as_well_is_not_left(story: Story) -> None:
    """It holds nobody until it is restored, too."""
    made = story.control(
        "POST",
        "groups",
        {"displayName": "Choir", "groupTypes": ["Unified"], "mailEnabled": True},
    )["id"]
    story.control("PUT", f"groups/{made}/members/{ANA}")
    story.read()
    story.control("DELETE", f"users/{ANA}")
    story.read()
    restore(story)
    story.control("DELETE", f"groups/{made}")
    story.read()
    story.control("POST", f"groups/{made}/restore")
    story.read()

    assert ANA in story.direct_members("Choir")
    assert held(story) == truth(story)


@pytest.mark.parametrize("why", ["no answer", "many people", "many groups"])
def test_who_is_back_waits_for_a_read_of_everything_where_nothing_is_certain(
    story: Story, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = bound(story, "Frontend")
    story.control("PUT", f"groups/Alumni/members/{ANA}")
    leave_while_deleted(story)
    restore(story)
    if why == "no answer":
        for path in ("/v1.0/$batch", "/v1.0/users/"):
            story.unavailable(path, method="POST")
    elif why == "many people":
        monkeypatch.setattr(returned, "PEOPLE", 0)
    else:
        monkeypatch.setattr(returned, "GROUPS", 0)
    story.read()

    assert story.user(ANA).state == State.DELETED
    assert not holds(account)

    run = story.read()
    assert run.kind == FULL
    assert run.kind_reason == returned.REASON
    assert story.user(ANA).state == State.PRESENT
    assert held(story) == truth(story)
    assert not holds(account)
    story.cloud_idp.refresh_from_db()
    assert not story.cloud_idp.full_read_reason


@pytest.mark.parametrize("kind", [DELTA, FULL])
def test_whoever_comes_back_beside_a_read_of_the_group_they_left_is_not_in_it(
    story: Story, kind: SyncRun.Kind
) -> None:
    """Read alone, the group says nothing of her: she is still deleted."""
    account = bound(story, "Frontend")
    leave_while_deleted(story)
    restore(story)
    run = story.request(kind)
    decide = decider(run, selection_of(story.cloud_idp))
    beside = [lambda: read_alone(story, "Frontend")]

    def meanwhile(plan: Plan) -> Held:
        if beside:
            beside.pop()()
        return decide(plan)

    work(run.pk, decide=meanwhile)

    assert story.user(ANA).state == State.PRESENT
    assert held(story) == truth(story)
    assert not holds(account)


def test_whose_return_is_held_is_told_of_by_a_group_that_is_read_alone(
    story: Story,
) -> None:
    story.control("DELETE", f"users/{ANA}")
    story.read()
    hold_everything.hold(
        cloud_idp=story.cloud_idp,
        reason="Attack",
        actor=factories.administrator(),
        now=timezone.now(),
    )
    restore(story)
    story.read()
    ana = story.user(ANA)
    assert ana.state == State.DELETED, "her return is held"
    story.control("DELETE", f"groups/Frontend/members/{ANA}")

    read_alone(story, "Frontend")

    waiting = HeldChange.objects.get(number=story.group("Frontend").pk, closed_at=None)
    assert ana.pk in unpack(waiting.users_left)
