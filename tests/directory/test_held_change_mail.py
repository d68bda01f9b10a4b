"""Mail about held changes: to those who may decide, once, and when it is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from directory import decisions, hold_everything, tasks
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    SyncRun,
)
from jamfidp.accounts.models import AccountGroup, User
from jamfidp.notices import mail
from jamfidp.notices.models import Notice
from tests import cast, factories
from tests.conftest import Sandbox
from tests.directory.rounds import group, left, member, user
from tests.directory.syncing import connected
from tests.directory.test_decisions import (
    ANA,
    MILO,
    NOOR,
    TEAM,
    ada,
    fernhill,
    reject,
    synced,
)

__all__ = ["ada", "fernhill"]

HELD = "Changes of Fernhill Studio are held"
OVER = "No change of Fernhill Studio waits for a decision any more"


@pytest.fixture(autouse=True)
def people(ada: User) -> None:
    """Ada may decide; Lena may look; Otto may neither."""
    User.objects.filter(pk=ada.pk).update(email="ada@fernhill.example")
    factories.custom_account("lena", "View Sync Runs", email="lena@fernhill.example")
    factories.local_account("otto", email="otto@fernhill.example")


def deciders() -> AccountGroup:
    """Who is in it may decide about held changes, and little else."""
    return factories.account_group(
        "Deciders",
        access_level="FULL",
        privilege_set="CUSTOM",
        privileges=["View Sync Runs", "Approve Held Changes"],
    )


def sent(mailoutbox: list[Any]) -> list[tuple[str, str]]:
    """Send what is due; return address and subject, without the console's name."""
    mailoutbox.clear()
    for seconds in (1, 2):
        now = timezone.now() + timedelta(seconds=seconds)
        mail.plan(now=now)
        mail.deliver(now=now)
    return sorted(
        (address, one.subject.partition("] ")[2])
        for one in mailoutbox
        for address in one.to
    )


def test_a_hold_is_told_once_to_whoever_may_decide_and_when_it_is_over(
    fernhill: CloudIdentityProvider, ada: User, mailoutbox: list[Any]
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    assert sent(mailoutbox) == [("ada@fernhill.example", HELD)]
    (message,) = mailoutbox
    assert f"/activity/held-changes/?connection={fernhill.pk}" in message.body

    synced(fernhill, groups=[group(TEAM, left(MILO))])
    assert sent(mailoutbox) == [], "it was told before"

    reject(fernhill, ada)
    assert sent(mailoutbox) == [("ada@fernhill.example", OVER)]
    assert sent(mailoutbox) == []


def test_what_entra_takes_back_is_told_as_well(
    fernhill: CloudIdentityProvider, mailoutbox: list[Any]
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    sent(mailoutbox)
    synced(fernhill, groups=[group(TEAM, member(ANA))])
    assert sent(mailoutbox) == [("ada@fernhill.example", OVER)]


def test_of_what_was_over_before_anybody_was_written_to_nobody_hears(
    fernhill: CloudIdentityProvider, mailoutbox: list[Any]
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    synced(fernhill, groups=[group(TEAM, member(ANA))])
    assert sent(mailoutbox) == []


def test_hold_everything_is_told_and_its_release(
    fernhill: CloudIdentityProvider, ada: User, mailoutbox: list[Any]
) -> None:
    held = hold_everything.hold(
        cloud_idp=None, reason="An attack", actor=ada, now=timezone.now()
    )
    assert [address for address, _ in sent(mailoutbox)] == ["ada@fernhill.example"]
    hold_everything.release(held, reason="Over", actor=ada, now=timezone.now())
    assert sent(mailoutbox) == [
        ("ada@fernhill.example", "Changes of all connections are applied again")
    ]


def test_where_all_who_hear_of_it_would_gain_by_it_they_are_told_so(
    fernhill: CloudIdentityProvider, ada: User, mailoutbox: list[Any]
) -> None:
    """Noor may decide and would get Full Access; Ada, who could, has no address."""
    User.objects.filter(pk=ada.pk).update(email="")
    noor = factories.entra_account(
        DirectoryUser.objects.get(object_id=NOOR), email="noor@fernhill.example"
    )
    noor.groups.add(deciders())
    factories.bind(
        factories.account_group("Administrators"),
        DirectoryGroup.objects.get(object_id=TEAM),
    )
    synced(fernhill, groups=[group(TEAM, member(NOOR))])
    decisions.tell_if_nobody_may_approve(fernhill, now=timezone.now())

    alone = "Nobody who gets mail may approve what Fernhill Studio would give"
    assert sent(mailoutbox) == [("noor@fernhill.example", "2 notices")]
    assert alone in mailoutbox[0].body

    User.objects.filter(pk=ada.pk).update(email="ada@fernhill.example")
    decisions.tell_if_nobody_may_approve(fernhill, now=timezone.now())
    decisions.tell_if_nobody_may_approve(fernhill, now=timezone.now())
    assert not [one for one in sent(mailoutbox) if alone in one[1]]


def test_nothing_is_said_where_somebody_else_may_approve(
    fernhill: CloudIdentityProvider, mailoutbox: list[Any]
) -> None:
    factories.bind(
        factories.account_group("Administrators"),
        DirectoryGroup.objects.get(object_id=TEAM),
    )
    synced(fernhill, users=[user(NOOR)], groups=[group(TEAM, member(NOOR))])
    decisions.tell_if_nobody_may_approve(fernhill, now=timezone.now())
    assert sent(mailoutbox) == [("ada@fernhill.example", HELD)]


def test_a_worker_looks_for_deciders_after_each_sync(
    ada: User, sandbox: Sandbox
) -> None:
    """Milo alone gets mail and may decide, and what is held would give it to Milo."""
    User.objects.filter(pk=ada.pk).update(email="")
    story = connected(sandbox)
    story.read(SyncRun.Kind.FULL)
    milo = factories.entra_account(
        story.user(cast.MILO.upn), email="milo@fernhill.example"
    )
    milo.groups.add(deciders())
    factories.bind(factories.account_group("Administrators"), story.group("Alumni"))
    story.control("PUT", f"groups/Alumni/members/{cast.MILO.upn}")

    tasks.run_sync(story.request().pk)

    key = f"held-changes-nobody:{story.cloud_idp.pk}"
    notice = Notice.objects.get(key=key)
    assert notice.resolved_at is None

    story.control("DELETE", f"groups/Alumni/members/{cast.MILO.upn}")
    tasks.run_sync(story.request().pk)
    notice.refresh_from_db()
    assert notice.resolved_at is not None
