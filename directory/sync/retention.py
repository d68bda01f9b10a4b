"""How long what is no longer in effect is kept, and letting go of it."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

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
from directory.sync.rows import chunks

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
    """Delete pages that nobody will apply any more."""
    StagedPage.objects.filter(
        run__state__in=[SyncRun.State.SUCCEEDED, SyncRun.State.CANCELED]
    ).delete()
    StagedPage.objects.filter(staged_at__lt=now - pages_kept()).exclude(
        run__state__in=SyncRun.ACTIVE
    ).delete()


def clear_runs(*, now: datetime) -> None:
    """Delete old runs, but those that intervals name as long as there are such."""
    ended = SyncRun.objects.exclude(state__in=SyncRun.ACTIVE)
    ended.filter(finished_at__lt=now - RUNS_KEPT, remembered=False).delete()
    ended.filter(finished_at__lt=now - max(RUNS_KEPT, intervals_kept())).delete()


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
def erase_gone(cloud_idp: CloudIdentityProvider, *, now: datetime) -> int:
    """Erase people and groups that were deleted for good long ago; return how many.

    Their numbers stay as long as anything names them. Call it while no run of the
    connection is being applied.
    """
    horizon = now - gone_kept()
    erased = 0
    for model in (DirectoryUser, DirectoryGroup):
        gone = model._default_manager.filter(
            cloud_idp=cloud_idp, state=State.GONE, state_since__lt=horizon
        )
        numbers = list(gone.values_list("pk", flat=True))
        for some in chunks(numbers):
            EarlierValue.objects.filter(number__in=some).delete()
        gone.delete()
        erased += len(numbers)
    return erased


def forget_numbers(cloud_idp: CloudIdentityProvider) -> None:
    """Delete the object ids of a connection that nothing here names any more."""
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
    unnamed.delete()
