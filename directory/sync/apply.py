"""Writing a plan: one transaction, differences only, guarded by the fencing token."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from directory.dependents import AppliedChange, registered
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    SyncRun,
)
from directory.sync import rows
from directory.sync.attributes import GroupRow, UserRow, mappings_signature
from directory.sync.lease import Lease, LeaseLost
from directory.sync.plan import Plan


class PlanOutdated(Exception):
    """The rows changed since the plan was made; make it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaLinks:
    """Where the next reads of changes begin."""

    users: str
    groups: str


def apply_plan(
    plan: Plan, *, lease: Lease, delta_links: DeltaLinks, mappings: str, now: datetime
) -> None:
    """Write the plan, save the delta links and end the run, all or nothing.

    `mappings` names the attribute mappings that the plan was made with.

    Raises:
        LeaseLost: another worker has taken the run over, or it was canceled.
        PlanOutdated: the connection was applied to, remapped or deleted meanwhile.
    """
    with transaction.atomic():
        # First a write: it takes the lock that a second worker would have to wait for.
        if not lease.hold(now=now):
            raise LeaseLost
        cloud_idp = (
            CloudIdentityProvider.objects.select_for_update(of=("self",))
            .select_related("mappings")
            .filter(pk=plan.cloud_idp_id)
            .first()
        )
        if (
            cloud_idp is None
            or cloud_idp.generation != plan.generation
            or mappings_signature(cloud_idp.mappings) != mappings
        ):
            raise PlanOutdated
        _write_people(plan, now)
        _write_groups(plan, now)
        _write_memberships(plan)
        _write_bitmaps(plan)
        _save_connection(cloud_idp, plan, delta_links, mappings, now)
        change = AppliedChange(
            cloud_idp_id=plan.cloud_idp_id,
            full=plan.full,
            user_ids=frozenset(plan.affected_users),
            group_ids=frozenset(plan.affected_groups),
        )
        for dependents in registered():
            dependents.after_apply(change, now=now)
        _finish(lease, plan.changes, now)


def _write_people(plan: Plan, now: datetime) -> None:
    for removed in rows.chunks(plan.users_removed):
        DirectoryMembership.objects.filter(user_id__in=removed).delete()
        DirectoryUser.objects.filter(pk__in=removed).delete()
    rows.insert(
        DirectoryUser,
        (
            "id",
            "cloud_idp_id",
            "object_id",
            *UserRow._fields,
            "first_seen_at",
            "changed_at",
        ),
        [
            (pk, plan.cloud_idp_id, object_id, *row, now, now)
            for pk, object_id, row in plan.users_added
        ],
    )
    rows.update(
        DirectoryUser,
        (*UserRow._fields, "changed_at"),
        [(*row, now, pk) for pk, row in plan.users_changed],
    )


def _write_groups(plan: Plan, now: datetime) -> None:
    for removed in rows.chunks(plan.groups_removed):
        DirectoryMembership.objects.filter(group_id__in=removed).delete()
        GroupOtherMember.objects.filter(group_id__in=removed).delete()
        GroupBitmap.objects.filter(group_id__in=removed).delete()
        DirectoryGroup.objects.filter(pk__in=removed).delete()
    rows.insert(
        DirectoryGroup,
        (
            "id",
            "cloud_idp_id",
            "object_id",
            *GroupRow._fields,
            "first_seen_at",
            "changed_at",
        ),
        [
            (pk, plan.cloud_idp_id, object_id, *row, now, now)
            for pk, object_id, row in plan.groups_added
        ],
    )
    rows.update(
        DirectoryGroup,
        (*GroupRow._fields, "changed_at"),
        [(*row, now, pk) for pk, row in plan.groups_changed],
    )


def _write_memberships(plan: Plan) -> None:
    rows.delete(DirectoryMembership, ("group_id", "user_id"), plan.memberships_removed)
    rows.insert(DirectoryMembership, ("group_id", "user_id"), plan.memberships_added)
    rows.delete(GroupOtherMember, ("group_id", "member_id"), plan.others_removed)
    rows.insert(GroupOtherMember, ("group_id", "member_id"), plan.others_added)
    rows.delete(GroupNesting, ("parent_id", "child_id"), plan.nesting_removed)
    rows.insert(GroupNesting, ("parent_id", "child_id"), plan.nesting_added)
    rows.delete(GroupClosure, ("ancestor_id", "descendant_id"), plan.closure_removed)
    rows.insert(GroupClosure, ("ancestor_id", "descendant_id"), plan.closure_added)


def _write_bitmaps(plan: Plan) -> None:
    rows.delete(GroupBitmap, ("group_id",), [(pk,) for pk in plan.bitmaps_removed])
    rows.insert(GroupBitmap, ("group_id", "direct", "transitive"), plan.bitmaps_added)
    rows.update(
        GroupBitmap,
        ("direct", "transitive"),
        [(direct, transitive, pk) for pk, direct, transitive in plan.bitmaps_changed],
        key="group_id",
    )


def _save_connection(
    cloud_idp: CloudIdentityProvider,
    plan: Plan,
    delta_links: DeltaLinks,
    mappings: str,
    now: datetime,
) -> None:
    cloud_idp.users_delta_link = delta_links.users
    cloud_idp.groups_delta_link = delta_links.groups
    cloud_idp.delta_mappings = mappings
    cloud_idp.generation += 1
    cloud_idp.last_good_read_at = now
    if plan.full:
        cloud_idp.last_full_read_at = now
        cloud_idp.first_complete_read_at = cloud_idp.first_complete_read_at or now
    cloud_idp.next_sync_at = now + timedelta(minutes=settings.SYNC_DELTA_MINUTES)
    cloud_idp.save(
        update_fields=[
            "users_delta_link",
            "groups_delta_link",
            "delta_mappings",
            "generation",
            "last_good_read_at",
            "last_full_read_at",
            "first_complete_read_at",
            "next_sync_at",
        ]
    )


def _finish(lease: Lease, changes: Mapping[str, int], now: datetime) -> None:
    held = lease.write(
        state=SyncRun.State.SUCCEEDED,
        phase="",
        changes=dict(changes),
        finished_at=now,
        heartbeat_at=now,
        lease_expires_at=None,
    )
    if not held:
        raise LeaseLost
