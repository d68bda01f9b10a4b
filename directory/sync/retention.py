"""How long what is no longer in effect is kept, and letting go of it."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Model, OuterRef
from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    GroupNesting,
    GroupOtherMember,
    HeldChange,
    MembershipInterval,
    StagedPage,
    State,
    SyncRun,
)
from directory.sync import stored_plans
from directory.sync.bitmaps import union, unpack
from directory.sync.intervals import text
from directory.sync.rows import chunks

# Of people and groups that were erased: nothing of it tells who they were.
KEPT_OF_ERASED = ("state", "account_enabled", "user_type", "hidden_membership")
# Runs of which no interval tells are kept for looking back.
RUNS_KEPT = timedelta(days=90)


def pages_kept() -> timedelta:
    """How long pages of a run that failed are of use to the next one."""
    return timedelta(hours=settings.STAGED_PAGES_HOURS)


def gone_kept() -> timedelta:
    """How long people and groups are kept that were deleted for good."""
    return timedelta(days=settings.DIRECTORY_GONE_DAYS)


def intervals_kept() -> timedelta:
    """How far back memberships and earlier values are remembered."""
    return timedelta(days=settings.DIRECTORY_INTERVAL_DAYS)


def clear_pages(*, now: datetime) -> None:
    """Delete pages that nobody will apply any more.

    Of a run all or none: whoever is on a missing page would count as gone.
    """
    StagedPage.objects.filter(
        run__state__in=[SyncRun.State.SUCCEEDED, SyncRun.State.CANCELED]
    ).delete()
    waiting = StagedPage.objects.exclude(run__state__in=SyncRun.ACTIVE)
    old = waiting.filter(staged_at__lt=now - pages_kept())
    waiting.filter(run__in=old.values("run")).delete()


def clear_runs(*, now: datetime) -> None:
    """Delete old runs, but those that intervals name as long as there are such."""
    ended = SyncRun.objects.exclude(state__in=SyncRun.ACTIVE)
    ended.filter(finished_at__lt=now - RUNS_KEPT, remembered=False).delete()
    ended.filter(finished_at__lt=now - max(RUNS_KEPT, intervals_kept())).delete()


def clear_plans(*, now: datetime) -> None:
    """Delete what old runs planned, where plans are kept for less time than runs."""
    stored_plans.clear(older_than=now - timedelta(days=settings.SYNC_PLAN_DAYS))


def clear_past(*, now: datetime) -> None:
    """Forget intervals and earlier values that ended long ago, and closed holds.

    Of a membership that began before the horizon nothing is remembered but that it is
    there, as of those that began before the first complete read.
    """
    horizon = now - intervals_kept()
    EarlierValue.objects.filter(to_at__lt=horizon).delete()
    MembershipInterval.objects.filter(to_at__lt=horizon).delete()
    MembershipInterval.objects.filter(to_at=None, from_at__lt=horizon).delete()
    HeldChange.objects.filter(closed_at__lt=horizon).delete()


@transaction.atomic
def let_go(cloud_idp: CloudIdentityProvider, *, now: datetime) -> None:
    """Erase who was deleted for good long ago, and forget what nothing names.

    Not while the connection is read: a run knows numbers that nothing names yet.
    """
    # Whoever asks for a read meanwhile waits for this to end.
    CloudIdentityProvider.objects.select_for_update().filter(pk=cloud_idp.pk).first()
    if SyncRun.objects.active().filter(cloud_idp=cloud_idp).exists():
        return
    erase_gone(cloud_idp, now=now)
    forget_numbers(cloud_idp)


@transaction.atomic
def erase_gone(cloud_idp: CloudIdentityProvider, *, now: datetime) -> int:
    """Erase people and groups that were deleted for good long ago; return how many.

    Their numbers stay as long as anything names them, and until then what they were as
    far as it is no matter of theirs: without it nobody could say who was in which group
    on a day. Call it while no run of the connection is being applied.
    """
    horizon = now - gone_kept()
    erased = 0
    for model in (DirectoryUser, DirectoryGroup):
        gone = model._default_manager.filter(
            cloud_idp=cloud_idp, state=State.GONE, state_since__lt=horizon
        )
        numbers = list(gone.values_list("pk", flat=True))
        for some in chunks(numbers):
            earlier = EarlierValue.objects.filter(number__in=some)
            earlier.exclude(attribute__in=KEPT_OF_ERASED).delete()
            _keep_last_values(model, some)
        if numbers:
            stored_plans.forget_values(cloud_idp, numbers=BitMap(numbers))
        gone.delete()
        erased += len(numbers)
    return erased


def _keep_last_values(model: type[Model], numbers: list[int]) -> None:
    """Remember what somebody was last, whose row will not say it any more."""
    names = [f.name for f in model._meta.get_fields() if f.name in KEPT_OF_ERASED]
    rows = model._default_manager.filter(pk__in=numbers)
    EarlierValue.objects.bulk_create(
        EarlierValue(
            number=number, attribute=name, value=text(value), to_run=None, to_at=since
        )
        for number, since, *values in rows.values_list("pk", "state_since", *names)
        for name, value in zip(names, values, strict=True)
        if name != "state"
    )


def forget_numbers(cloud_idp: CloudIdentityProvider) -> None:
    """Delete the object ids of a connection that nothing here names any more.

    None while pages of a failed run are kept, which the next one goes on from. Call it
    while no run of the connection is at work.
    """
    if StagedPage.objects.filter(run__cloud_idp=cloud_idp).exists():
        return
    number = OuterRef("pk")
    named = (
        DirectoryUser.objects.filter(pk=number),
        DirectoryGroup.objects.filter(pk=number),
        DirectoryMembership.objects.filter(user_id=number),
        GroupNesting.objects.filter(child_id=number),
        GroupOtherMember.objects.filter(member_id=number),
        MembershipInterval.objects.filter(group_id=number),
        MembershipInterval.objects.filter(member_id=number),
        HeldChange.objects.filter(number=number, cloud_idp=cloud_idp),
    )
    unnamed = DirectoryObject.objects.filter(cloud_idp=cloud_idp)
    for rows in named:
        unnamed = unnamed.filter(~Exists(rows))
    numbers = BitMap(unnamed.values_list("pk", flat=True))
    for some in chunks(numbers - _held_members(cloud_idp)):
        DirectoryObject.objects.filter(pk__in=some).delete()


def _held_members(cloud_idp: CloudIdentityProvider) -> BitMap:
    """Whose joining is or was held: they need not be members of anything."""
    held = HeldChange.objects.filter(cloud_idp=cloud_idp).values_list(
        "users_joined", "groups_joined"
    )
    return union(unpack(joined) for both in held.iterator() for joined in both)
