"""How long what is no longer in effect is kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from directory import tasks
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    HeldChange,
    MembershipInterval,
    StagedPage,
    SyncRun,
)
from directory.sync.differences import Plan
from directory.sync.holds import Held
from tests import factories
from tests.directory.rounds import (
    group,
    guid,
    left,
    member,
    number_of,
    removed,
    take,
    user,
)
from tests.directory.syncing import Story, held, truth
from tests.directory.test_sync_faults import page_by_page

ANA, MILO, NOOR, FRONTEND = map(guid, ("ana", "milo", "noor", "fe"))


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[user(ANA), user(MILO)],
        groups=[group(FRONTEND, member(ANA), member(MILO))],
    )
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED, finished_at=timezone.now())
    return idp


def hold_joining(plan: Plan) -> Held:
    joining = Held()
    for number, change in plan.users.items():
        joining.hold_users(number, "memberships new", joined=change.joined)
    return joining


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def test_whoever_is_gone_for_good_is_erased_after_thirty_days_and_not_before(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, users=[user(ANA, displayName="Ana Ruiz")])
    take(fernhill, users=[removed(ANA, "deleted")])
    ana = DirectoryUser.objects.get(object_id=ANA)
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED)

    DirectoryUser.objects.filter(pk=ana.pk).update(state_since=days_ago(29))
    tasks.clear_past()
    assert DirectoryUser.objects.filter(pk=ana.pk).exists()
    assert EarlierValue.objects.filter(number=ana.pk).exists()

    DirectoryUser.objects.filter(pk=ana.pk).update(state_since=days_ago(31))
    tasks.clear_past()

    assert not DirectoryUser.objects.filter(pk=ana.pk).exists()
    left_of_her = EarlierValue.objects.filter(number=ana.pk)
    assert set(left_of_her.values_list("attribute", "value")) == {
        ("state", "PRESENT"),
        ("account_enabled", "true"),
        ("user_type", "Member"),
    }, "nothing that says who she was"
    interval = MembershipInterval.objects.get(member_id=ana.pk)
    assert interval.to_at is not None, "that somebody was there is remembered"
    assert DirectoryObject.objects.filter(pk=ana.pk).exists()
    assert DirectoryUser.objects.filter(object_id=MILO).exists()


def test_nobody_is_erased_while_their_connection_is_read(
    fernhill: CloudIdentityProvider,
) -> None:
    DirectoryUser.objects.filter(object_id=ANA).update(
        state="GONE", state_since=days_ago(31)
    )
    SyncRun.objects.create(
        cloud_idp=fernhill,
        kind="DELTA",
        trigger="SCHEDULE",
        state="READING",
        created_at=timezone.now(),
    )

    tasks.clear_past()

    assert DirectoryUser.objects.filter(object_id=ANA).exists()


def test_what_ended_long_ago_is_forgotten_and_its_numbers_with_it(
    fernhill: CloudIdentityProvider, settings: Any
) -> None:
    settings.DIRECTORY_INTERVAL_DAYS = 10
    ana = number_of(fernhill, ANA)
    take(fernhill, groups=[group(FRONTEND, left(ANA))])
    take(fernhill, users=[removed(ANA, "deleted"), user(MILO, displayName="M")])
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED)
    DirectoryUser.objects.filter(pk=ana).update(state_since=days_ago(31))

    tasks.clear_past()
    assert MembershipInterval.objects.filter(member_id=ana).exists()
    assert DirectoryObject.objects.filter(pk=ana).exists()

    MembershipInterval.objects.update(to_at=days_ago(11))
    EarlierValue.objects.update(to_at=days_ago(11))
    tasks.clear_past()

    assert not MembershipInterval.objects.exists()
    assert not EarlierValue.objects.exists()
    assert not DirectoryObject.objects.filter(pk=ana).exists()
    assert DirectoryObject.objects.filter(object_id=MILO).exists()


def test_what_a_failed_read_kept_is_gone_on_from_after_the_hourly_clearing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_by_page(monkeypatch)
    story.fault("/v1.0/groups/delta", method="GET", nth=4, status=403)
    assert story.sync(SyncRun.Kind.FULL).state == SyncRun.State.FAILED
    assert StagedPage.objects.exists()

    tasks.clear_past()
    story.read(SyncRun.Kind.FULL)

    assert held(story) == truth(story)


def test_whose_joining_is_held_keeps_their_number(
    fernhill: CloudIdentityProvider,
) -> None:
    """They may be known by that alone: somebody whom the console may not read."""
    take(fernhill, groups=[group(FRONTEND, member(NOOR))], decide=hold_joining)
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED)
    assert not DirectoryUser.objects.filter(object_id=NOOR).exists()

    tasks.clear_past()
    take(fernhill)

    assert NOOR in set(
        DirectoryUser.objects.filter(
            pk__in=DirectoryMembership.objects.values("user_id")
        ).values_list("object_id", flat=True)
    )


def test_runs_are_kept_ninety_days_and_longer_while_an_interval_names_them(
    fernhill: CloudIdentityProvider, settings: Any
) -> None:
    def run(days: float, *, remembered: bool) -> int:
        return SyncRun.objects.create(
            cloud_idp=fernhill,
            kind="DELTA",
            trigger="SCHEDULE",
            state="SUCCEEDED",
            created_at=days_ago(days),
            finished_at=days_ago(days),
            remembered=remembered,
        ).pk

    runs = {
        (days, remembered): run(days, remembered=remembered)
        for days in (89, 91, 399, 401)
        for remembered in (True, False)
    }

    tasks.clear_past()

    kept = set(SyncRun.objects.values_list("pk", flat=True))
    assert {key for key, pk in runs.items() if pk in kept} == {
        (89, True),
        (89, False),
        (91, True),
        (399, True),
    }


def test_closed_holds_are_forgotten_with_the_past(
    fernhill: CloudIdentityProvider,
) -> None:
    for number, closed in ((1, days_ago(401)), (2, days_ago(399)), (3, None)):
        HeldChange.objects.create(
            cloud_idp=fernhill,
            number=number,
            kind="U",
            opened_at=days_ago(500),
            changed_at=days_ago(500),
            closed_at=closed,
        )

    tasks.clear_past()

    assert set(HeldChange.objects.values_list("number", flat=True)) == {2, 3}
