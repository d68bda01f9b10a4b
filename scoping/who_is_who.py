"""Users > Who is who: the user names of the inventory and the people they lead to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from directory.dependents import ObjectRef
from jamfidp.access import ConsoleUser
from jamfidp.history.record import record
from scoping import changes, matching_rows, user_location
from scoping.models import Device, InventoryUser, LastLogin

VIEW = "scoping.view_inventoryuser"
CHANGE = "scoping.change_inventoryuser"
Match = InventoryUser.Match


class NothingToConfirm(Exception):
    """The name does not lead to the person who was to be confirmed (any more)."""


class OtherSites(Exception):
    """Devices of sites that the person does not administer use the name too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """How many devices name a user, of those the viewer may see."""

    assigned: int = 0
    logged_in: int = 0


def visible_devices(viewer: ConsoleUser) -> QuerySet[Device]:
    """Devices whose users the viewer may see, of both kinds."""
    access = viewer.sites_with(VIEW)
    devices = Device.objects.all()
    return devices if access.everywhere else devices.filter(site__in=access.site_ids)


def visible_users(viewer: ConsoleUser) -> QuerySet[InventoryUser]:
    """A name has no site: it is seen with the devices that use it."""
    users = InventoryUser.objects.all()
    if viewer.sites_with(VIEW).everywhere:
        return users
    devices = visible_devices(viewer).order_by()
    return users.filter(
        Q(pk__in=devices.exclude(assigned_user=None).values("assigned_user"))
        | Q(
            pk__in=LastLogin.objects.filter(device__in=devices)
            .exclude(user=None)
            .values("user")
        )
    )


def uses(users: Sequence[InventoryUser], viewer: ConsoleUser) -> Mapping[int, Uses]:
    """Counts for a page of names, in two queries."""
    ids = [user.pk for user in users]
    devices = visible_devices(viewer).order_by()
    assigned = dict(
        devices.filter(assigned_user__in=ids)
        .values_list("assigned_user")
        .annotate(Count("pk"))
    )
    logged_in = dict(
        LastLogin.objects.filter(user__in=ids, device__in=devices)
        .order_by()
        .values_list("user")
        .annotate(Count("device", distinct=True))
    )
    return {
        pk: Uses(assigned=assigned.get(pk, 0), logged_in=logged_in.get(pk, 0))
        for pk in ids
    }


def counts(viewer: ConsoleUser) -> Mapping[str, int]:
    """How many names have each verdict, by value of `InventoryUser.Match`."""
    found = dict(
        visible_users(viewer).order_by().values_list("match").annotate(Count("pk"))
    )
    return {verdict.value: found.get(verdict.value, 0) for verdict in Match}


def confirm(
    *, user: InventoryUser, ref: ObjectRef, actor: ConsoleUser, now: datetime
) -> InventoryUser:
    """Believe that a name which led to somebody else before is this person now.

    Raises:
        NothingToConfirm: the name leads elsewhere meanwhile, or was settled.
        OtherSites: the actor may not decide it for every device that uses the name.
    """
    with transaction.atomic():
        row = InventoryUser.objects.select_for_update().get(pk=user.pk)
        found = row.candidates[0] if row.match == Match.CHANGED else None
        if found is None or ref != (found["tenant_id"], found["object_id"]):
            raise NothingToConfirm(
                f"{row.username} no longer waits for this confirmation. Nothing was"
                " changed. What is known now is shown here."
            )
        devices = matching_rows.devices_of([row.pk])
        if not _administers(actor, devices):
            raise OtherSites(
                f"Devices outside your sites use {row.username} too. Nothing was"
                " changed. Ask somebody with full access to confirm it."
            )
        before = row.object_id
        row.tenant_id, row.object_id = ref
        row.match, row.candidates, row.matched_at = Match.MATCHED, [], now
        row.save(update_fields=matching_rows.STORED)
        record(
            obj=row,
            actor=actor,
            note=f"Confirmed that {row.username} is {found['name']}",
            action="confirmed",
            details={"changes": [["Object id", before, row.object_id]]},
            now=now,
        )
        user_location.follow_users([row.pk], now=now)
        changes.announce(changes.Change(devices=devices), now=now)
    return row


def _administers(actor: ConsoleUser, device_ids: Iterable[int]) -> bool:
    access: Any = actor.sites_with(CHANGE)
    if access.everywhere:
        return True
    sites = Device.objects.filter(pk__in=list(device_ids)).values_list(
        "site", flat=True
    )
    return all(access.may_see(site) for site in sites.distinct().order_by())
