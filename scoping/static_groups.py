"""Static groups: lists of devices that somebody keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from directory.dependents import Use
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.history.record import record
from scoping.models import (
    Device,
    DeviceKind,
    ScopeEntry,
    Site,
    SmartGroupCriterion,
    StaticGroup,
)
from scoping.objects import NameTaken
from scoping.recompute import counted, criteria_of, recompute
from scoping.uses import device_group_key, uses_of_device_group

# How many devices a line of history names; beyond that it counts.
NAMED = 20


class GroupGone(Exception):
    """The group was deleted meanwhile."""


class GroupChanged(Exception):
    """Somebody saved the group since the form was opened."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Somebody saved {name} while you were editing it. Nothing of yours was"
            " saved and what you entered is kept below. Save again to replace what they"
            " saved, or discard it and look at the group."
        )


class GroupInUse(Exception):
    """The group cannot be deleted while something names it; `uses` says what."""

    def __init__(self, name: str, uses: Collection[Use]) -> None:
        names = ", ".join(f"{use.kind.lower()} {use.name}" for use in uses)
        super().__init__(
            f"{name} was not deleted, because it is used by: {names}. Take it out of"
            " them first."
        )
        self.uses = tuple(uses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """What a list of serial numbers led to."""

    devices: tuple[Device, ...]
    missing: tuple[str, ...]


def word(kind: str) -> str:
    """The name in privileges and routes."""
    return (
        "staticcomputergroup"
        if kind == DeviceKind.COMPUTER
        else "staticmobiledevicegroup"
    )


def candidates(
    kind: str, *, site_id: int | None, viewer: ConsoleUser | None
) -> QuerySet[Device]:
    """The devices a group of this kind and site may hold."""
    devices = Device.objects.filter(kind=kind)
    if site_id is not None:
        devices = devices.filter(site_id=site_id)
    if viewer is not None:
        name = "computer" if kind == DeviceKind.COMPUTER else "mobiledevice"
        devices = visible_to(devices, viewer, f"scoping.view_{name}")
    return devices


def by_serial_number(text: str, devices: QuerySet[Device]) -> Pasted:
    """Find pasted serial numbers, separated by anything but letters and digits.

    Case does not count. Those of devices that are not among `devices` are missing.
    """
    wanted = {each.upper(): each for each in re.split(r"[\s,;]+", text.strip()) if each}
    found = {
        row.serial_number.upper(): row
        for row in devices.filter(
            serial_number__in=[*wanted, *wanted.values()]
        ).order_by("name")
    }
    return Pasted(
        devices=tuple(found.values()),
        missing=tuple(shown for key, shown in wanted.items() if key not in found),
    )


def save_static_group(
    *,
    kind: str,
    name: str,
    site: Site | None,
    device_ids: Collection[int],
    group: StaticGroup | None = None,
    seen: str = "",
    actor: Any,
    now: datetime,
) -> StaticGroup:
    """Create or change a group; `device_ids` are all its members from now on.

    Devices of another kind or site are left out. `seen` is the `mark_of` the group
    as the person saw it.

    Raises:
        NameTaken: another static group of this kind has the name.
        GroupGone: it was deleted meanwhile.
        GroupChanged: it is another than was seen.
    """
    with transaction.atomic():
        if group is None:
            row = StaticGroup(kind=kind)
        else:
            stored = StaticGroup.objects.select_for_update().filter(pk=group.pk).first()
            if stored is None:
                raise GroupGone(
                    f"{group.name} was deleted meanwhile. Nothing was saved."
                )
            row = stored
            if seen and seen != mark_of(row):
                raise GroupChanged(row.name)
        before = (row.name, str(row.site or ""))
        row.name, row.site = name, site
        try:
            with transaction.atomic():
                row.save()
        except IntegrityError as error:
            raise NameTaken(f"Another static group is named {name}.") from error
        old = set(row.devices.values_list("pk", flat=True))
        allowed = candidates(kind, site_id=row.site_id, viewer=None)
        new = set(allowed.filter(pk__in=list(device_ids)).values_list("pk", flat=True))
        row.devices.set(new)
        _record(
            row,
            is_new=group is None,
            before=before,
            old=old,
            new=new,
            actor=actor,
            now=now,
        )
        if group is not None and before[0] != name:
            SmartGroupCriterion.objects.filter(
                device_group=device_group_key(row)
            ).update(value=name)
        changed = old ^ new
        if changed:
            relying = {
                pk
                for pk, criteria in criteria_of(kind).items()
                if criteria and device_group_key(row) in criteria.device_groups
            }
            recompute(
                kind,
                now=now,
                devices=changed,
                groups=relying,
                scopes=scopes_naming(row),
                because=f"after a change of the static group {name}",
            )
    return row


def mark_of(group: StaticGroup) -> str:
    """A short mark that is another one once the group is changed."""
    ids = sorted(group.devices.order_by().values_list("pk", flat=True))
    text = json.dumps([group.name, group.site_id, ids])
    return sha256(text.encode()).hexdigest()[:16]


def scopes_naming(group: StaticGroup) -> set[int]:
    return set(
        ScopeEntry.objects.filter(
            kind=ScopeEntry.Kind.STATIC_GROUP, ref_id=group.pk
        ).values_list("scope_id", flat=True)
    )


def _record(
    group: StaticGroup,
    *,
    is_new: bool,
    before: tuple[str, str],
    old: set[int],
    new: set[int],
    actor: Any,
    now: datetime,
) -> None:
    changes = []
    if not is_new:
        after = (group.name, str(group.site or ""))
        for label, was, value in zip(("Name", "Site"), before, after, strict=True):
            if was != value:
                changes.append([label, was, value])
    for label, ids in (("Added", new - old), ("Removed", old - new)):
        if ids:
            names = Device.objects.filter(pk__in=ids).order_by("name")
            shown = ", ".join(names.values_list("name", flat=True)[:NAMED])
            more = len(ids) - NAMED
            text = f"{shown} and {more:,} more" if more > 0 else shown
            pair = ["", text] if label == "Added" else [text, ""]
            changes.append([label, *pair])
    if is_new or changes:
        note = (
            f"Created the static group with {counted(len(new), group.kind)}"
            if is_new
            else "Changed the static group"
        )
        record(
            obj=group,
            actor=actor,
            note=note,
            action="added" if is_new else "changed",
            details={"changes": changes},
            now=now,
        )


def delete_static_group(*, group: StaticGroup, actor: Any, now: datetime) -> None:
    """Delete a group that nothing names. Raises GroupInUse."""
    with transaction.atomic():
        uses = uses_of_device_group(group)
        if uses:
            raise GroupInUse(group.name, uses)
        record(
            obj=group,
            actor=actor,
            note="Deleted the static group",
            action="deleted",
            now=now,
        )
        group.delete()
