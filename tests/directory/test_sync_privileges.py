"""A loss of privileges is never held: it takes effect while everything else waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone
from pyroaring import BitMap

from directory import hold_everything
from directory.models import (
    DirectoryObject,
    HeldChange,
    SyncRun,
    UnconfirmedLoss,
)
from directory.sync import confirm, fetch
from directory.sync import run as run_module
from directory.sync.bitmaps import unpack
from directory.sync.guards import Guard
from jamfidp.accounts import standing
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.models import User
from tests import factories
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected

FULL = SyncRun.Kind.FULL
ANA = "ana.ruiz@fernhill.example"
PERMISSION = "scoping.change_policy"


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    """Ana is in Frontend, which is nested in Engineering: its members have privileges."""
    story = connected(sandbox)
    story.read(FULL)
    return story


@pytest.fixture
def ana(story: Story) -> User:
    factories.bind(
        factories.account_group("Operators", site=factories.site()),
        story.group("Engineering"),
        nested=True,
    )
    ana = factories.entra_account(story.user(ANA))
    assert holds(ana)
    return ana


def holds(account: User, now: Any = None) -> bool:
    return standing.read(account, now=now or timezone.now()).holds(PERMISSION)


def hold_all_losses(story: Story) -> None:
    """One person lost is too many for this connection, and one membership too."""
    factories.guard_limits(story.cloud_idp, 1)


LOSSES: dict[str, Callable[[Story], Any]] = {
    "left": lambda story: story.control("DELETE", f"groups/Frontend/members/{ANA}"),
    "deleted": lambda story: story.control("DELETE", f"users/{ANA}"),
    "gone": lambda story: story.control("DELETE", f"users/{ANA}?permanently=true"),
    "nesting": lambda story: story.control(
        "DELETE", f"groups/Engineering/members/{story.group('Frontend').object_id}"
    ),
    "group": lambda story: story.control("DELETE", "groups/Engineering"),
}


@pytest.mark.parametrize("way", LOSSES)
def test_a_loss_that_entra_tells_ends_privileges_while_it_is_held(
    story: Story, ana: User, way: str
) -> None:
    hold_all_losses(story)
    LOSSES[way](story)
    story.read()

    assert HeldChange.objects.filter(closed_at=None).exists()
    assert ANA in story.members("Engineering"), "scopes go on with what is in effect"
    assert not holds(ana)


def test_a_disabled_person_is_never_held(story: Story, ana: User) -> None:
    hold_all_losses(story)
    story.control("PATCH", f"users/{ANA}", {"accountEnabled": False})
    story.read()
    assert not holds(ana)


def test_the_person_is_told_why(story: Story, ana: User) -> None:
    hold_all_losses(story)
    LOSSES["left"](story)
    story.read()

    (withheld,) = standing.read(ana, now=timezone.now()).withheld
    assert (withheld.reason, withheld.subject) == (Reason.LEFT, "Engineering")


def test_another_way_into_the_group_keeps_the_privileges(
    story: Story, ana: User
) -> None:
    hold_all_losses(story)
    story.control("PUT", f"groups/Engineering/members/{ANA}")
    story.read()
    LOSSES["left"](story)
    story.read()

    assert HeldChange.objects.filter(closed_at=None).exists()
    assert holds(ana)


def test_taken_back_in_entra_the_privileges_return(story: Story, ana: User) -> None:
    hold_all_losses(story)
    LOSSES["left"](story)
    story.read()
    story.control("PUT", f"groups/Frontend/members/{ANA}")
    story.read()

    assert not HeldChange.objects.filter(closed_at=None).exists()
    assert holds(ana)


# --- A run that fails


def test_a_loss_ends_privileges_although_the_run_fails(
    story: Story, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseError("disk full")

    LOSSES["left"](story)
    story.control("PATCH", "users/milo.brandt@fernhill.example", {"jobTitle": "Lead"})
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "apply_plan", refusing)
        assert story.sync().state == SyncRun.State.FAILED

    assert not holds(ana)
    held = HeldChange.objects.get()
    assert held.guards == [Guard.RUN_FAILED]
    assert ANA in story.members("Engineering")

    story.read()
    held.refresh_from_db()
    assert held.guards == [Guard.TOLD_AFTER_ERROR]
    assert not holds(ana)

    story.read()
    held.refresh_from_db()
    assert held.outcome == HeldChange.Outcome.APPLIED
    assert ANA not in story.members("Engineering")


def test_what_a_failed_run_kept_heals_when_entra_takes_it_back(
    story: Story, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseError("disk full")

    story.control("PATCH", f"users/{ANA}", {"accountEnabled": False})
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "apply_plan", refusing)
        assert story.sync().state == SyncRun.State.FAILED
    assert not holds(ana)

    # As it was before: the answer is the one that was last applied.
    story.control("PATCH", f"users/{ANA}", {"accountEnabled": True})
    story.read()

    assert HeldChange.objects.get().outcome == HeldChange.Outcome.HEALED
    assert holds(ana)


def test_a_failed_run_keeps_nothing_but_losses_of_privileges(
    story: Story, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseError("disk full")

    story.control("DELETE", "users/milo.brandt@fernhill.example")
    monkeypatch.setattr(run_module, "apply_plan", refusing)
    story.sync()

    assert not HeldChange.objects.filter(
        number=story.user("milo.brandt@fernhill.example").pk
    ).exists()


def test_whoever_a_failed_run_names_has_a_number_for_good(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next run gives another one, and the first is a member without a face."""

    def refusing(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseError("disk full")

    now, new = timezone.now(), "new.one@fernhill.example"
    hold_everything.hold(
        cloud_idp=None, reason="An attack", actor=factories.administrator(), now=now
    )
    story.control("PUT", f"groups/Engineering/members/{ANA}")
    story.read()
    story.control("POST", "users", {"displayName": "New", "userPrincipalName": new})
    story.control("PUT", f"groups/Engineering/members/{new}")
    with monkeypatch.context() as patched:
        patched.setattr(fetch, "store_pages", refusing)
        assert story.sync().state == SyncRun.State.FAILED

    held = HeldChange.objects.get(number=story.group("Engineering").pk, closed_at=None)
    joined = unpack(held.users_joined)
    assert len(joined) == 2
    assert DirectoryObject.objects.filter(pk__in=list(joined)).count() == 2


# --- Absence


def groups_missing(story: Story) -> None:
    """A full read that answers well, and without a single group."""
    link = f"{story.sandbox.url}/v1.0/groups/delta?$deltatoken=none"
    story.fault(
        "/v1.0/groups/delta",
        method="GET",
        status=200,
        body={"value": [], "@odata.deltaLink": link},
    )
    story.read(FULL)


def test_absence_that_microsoft_contradicts_waits_for_a_day(
    story: Story, ana: User
) -> None:
    groups_missing(story)

    waiting = UnconfirmedLoss.objects.get(person_id=story.user(ANA).pk)
    assert waiting.answer == UnconfirmedLoss.Answer.CONTRADICTED
    assert waiting.group_id == story.group("Engineering").pk
    assert ANA in story.members("Engineering")
    assert holds(ana)

    story.cloud_idp.last_good_read_at = timezone.now() + timedelta(hours=25)
    story.cloud_idp.save()
    assert holds(ana, timezone.now() + timedelta(hours=23))
    assert not holds(ana, timezone.now() + timedelta(hours=25))


def test_absence_without_an_answer_waits_for_a_day(story: Story, ana: User) -> None:
    for path in ("/v1.0/$batch", "/v1.0/users/"):
        story.unavailable(path, method="POST")
    groups_missing(story)

    answers = UnconfirmedLoss.objects.values_list("answer", flat=True)
    assert set(answers) == {UnconfirmedLoss.Answer.UNANSWERED}
    assert holds(ana)


def test_absence_that_microsoft_confirms_ends_privileges_at_once(
    story: Story, ana: User
) -> None:
    LOSSES["left"](story)
    groups_missing(story)

    assert not UnconfirmedLoss.objects.filter(person_id=story.user(ANA).pk).exists()
    assert ANA in story.members("Engineering"), "the rest of the read is held"
    assert not holds(ana)


def test_what_waited_ends_when_the_group_is_read_again(story: Story, ana: User) -> None:
    groups_missing(story)
    story.read(FULL)

    assert not UnconfirmedLoss.objects.exists()
    assert not HeldChange.objects.filter(closed_at=None).exists()
    assert holds(ana)


def test_people_and_direct_members_are_looked_up_each_in_their_way(
    story: Story,
) -> None:
    ana, milo = story.user(ANA), story.user("milo.brandt@fernhill.example")
    engineering = story.group("Engineering")
    story.control("DELETE", "users/milo.brandt@fernhill.example")

    found = confirm.ask(
        story.cloud_idp,
        confirm.Question(
            people=BitMap([ana.pk, milo.pk]),
            members={
                (engineering.pk, False): BitMap([ana.pk]),
                (story.group("Frontend").pk, True): BitMap([ana.pk, milo.pk]),
            },
        ),
    )

    assert found == {
        (ana.pk, None): confirm.Answer.CONTRADICTED,
        (ana.pk, story.group("Frontend").pk): confirm.Answer.CONTRADICTED,
    }, "Milo is gone, and Ana is in Engineering through Frontend alone"


def test_a_first_read_waits_while_everything_is_held(
    db: None, sandbox: Sandbox
) -> None:
    """There is nothing in effect yet that could be kept."""
    story = connected(sandbox)
    now = timezone.now()
    held = hold_everything.hold(
        cloud_idp=None, reason="An attack", actor=factories.administrator(), now=now
    )
    assert "first read waits" in story.sync(FULL).error

    hold_everything.release(held, reason="Over", actor=held.by, now=now)
    story.read(FULL)
    assert story.members("Engineering")
