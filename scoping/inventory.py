"""The inventory: what is known of computers and mobile devices, and who says so.

Facts come from devices, files and people. Every change is one transaction with its
history, and is announced to what computes scopes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from directory.sync.bitmaps import unpack
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.history.record import record
from scoping import changes, matching_rows, user_location
from scoping.matching import fold
from scoping.models import (
    Device,
    DeviceKind,
    InventoryUser,
    LastLogin,
    ScopeEntry,
    SmartGroup,
    StaticGroup,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Computers or mobile devices: words, routes and privileges of one of them."""

    kind: DeviceKind
    noun: str
    plural: str
    title: str
    # The first part of route names and the last of permission names.
    route: str
    icon: str
    name_label: str
    os_label: str
    ip_label: str

    def perm(self, action: str) -> str:
        return f"scoping.{action}_{self.route}"


COMPUTERS = Section(
    kind=DeviceKind.COMPUTER,
    noun="computer",
    plural="computers",
    title="Computers",
    route="computer",
    icon="device-laptop",
    name_label="Computer Name",
    os_label="Operating System Version",
    ip_label="Last Reported IP Address",
)
MOBILE_DEVICES = Section(
    kind=DeviceKind.MOBILE,
    noun="mobile device",
    plural="mobile devices",
    title="Mobile devices",
    route="mobiledevice",
    icon="device-ipad",
    name_label="Display Name",
    os_label="OS Version",
    ip_label="IP Address",
)
SECTIONS = {section.kind: section for section in (COMPUTERS, MOBILE_DEVICES)}

# Facts of the device itself, and what the interface calls them.
FACTS: Mapping[str, str] = {
    "name": "Name",
    "serial_number": "Serial number",
    "model": "Model",
    "os_version": "OS version",
    "managed": "Managed",
    "site": "Site",
    "last_reported_ip": "Last reported IP address",
    "last_inventory_at": "Last inventory update",
}
FIELDS = (*FACTS, *user_location.FIELDS)
# What `apply_values` may have set: for bulk_update.
STORED = (*FACTS, *user_location.STORED)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMembership:
    """A smart or static group and whether the device is in it."""

    group: SmartGroup | StaticGroup
    verdict: str
    as_of: datetime | None = None

    @property
    def kind(self) -> str:
        return "Smart group" if isinstance(self.group, SmartGroup) else "Static group"


def visible_devices(section: Section, viewer: ConsoleUser) -> QuerySet[Device]:
    """The devices of one kind that the viewer may see."""
    return visible_to(
        Device.objects.filter(kind=section.kind), viewer, section.perm("view")
    )


def shown(value: Any) -> str:
    """A value as history and previews write it."""
    if value is None or value == "":
        return ""
    if value is True:
        return "yes"
    if value is False:
        return "no"
    if isinstance(value, datetime):
        return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S %Z}"
    return str(value)


LABELS: Mapping[str, str] = {
    **FACTS,
    "assigned_user": "Username",
    **user_location.FIELDS,
}


def values_of(device: Device) -> dict[str, str]:
    """What a device holds, as history and previews write it, by field."""
    return {field: shown(getattr(device, field)) for field in LABELS}


def differences(before: Mapping[str, str], device: Device) -> list[list[str]]:
    """(label, before, after) of what is otherwise than in `values_of` before."""
    after = values_of(device)
    return [
        [label, before[field], after[field]]
        for field, label in LABELS.items()
        if before[field] != after[field]
    ]


def apply_values(
    device: Device,
    values: Mapping[str, Any],
    *,
    user: InventoryUser | None,
    source: Device.Source,
    actor: Any,
    now: datetime,
) -> None:
    """Set what differs on the unsaved instance. No queries.

    `values` holds fields of FIELDS; with the key `username` the device is given
    `user`. A field of User and Location that changes gets `source`; one that stays
    keeps the source it had. Follow it with `user_location.fill`, which gives the
    fields that follow the directory the values of another user. The instance needs
    its relations selected.
    """
    for field in FACTS:
        if field in values:
            setattr(device, field, values[field])
    held = {field: getattr(device, field) for field in user_location.FIELDS}
    if "username" in values:
        earlier = device.assigned_user
        if (earlier.key if earlier else "") != (user.key if user else ""):
            user_location.reassign(device, user, now=now)
            _mark(device, "assigned_user", source, actor, now)
            if source == Device.Source.IMPORT:
                # A file says what it says; a form also holds what was there before.
                held = {field: getattr(device, field) for field in held}
    for field in user_location.FIELDS:
        if field in values and values[field] != held[field]:
            setattr(device, field, values[field])
            _mark(device, field, source, actor, now)


def _mark(
    device: Device, field: str, source: Device.Source, actor: Any, now: datetime
) -> None:
    device.sources = {
        **device.sources,
        field: user_location.mark(source, actor=actor, now=now),
    }


def _type(
    device: Device, values: Mapping[str, Any], *, actor: Any, now: datetime
) -> None:
    name = values.get("username", "")
    apply_values(
        device,
        values,
        user=matching_rows.ensure_users([name], now=now).get(fold(name)),
        source=Device.Source.PERSON,
        actor=actor,
        now=now,
    )
    user_location.fill([device], now=now)


def add_device(
    *, kind: DeviceKind, values: Mapping[str, Any], actor: Any, now: datetime
) -> Device:
    """Add a device by its typed facts; `values` as for `apply_values`."""
    with transaction.atomic():
        device = Device(kind=kind)
        before = values_of(device)
        _type(device, values, actor=actor, now=now)
        device.save()
        record(
            obj=device,
            actor=actor,
            note=f"Added the {SECTIONS[kind].noun}",
            action="added",
            details={"changes": differences(before, device)},
            now=now,
        )
        changes.announce(changes.Change(devices=frozenset({device.pk})), now=now)
    return device


def change_device(
    *, device: Device, values: Mapping[str, Any], actor: Any, now: datetime
) -> Sequence[Sequence[str]]:
    """Change typed facts; what stays as it was keeps its source.

    Returns (field, before, after) of what changed. Nothing changed writes nothing.
    """
    with transaction.atomic():
        row = (
            Device.objects.select_for_update(of=("self",))
            .select_related("site", "assigned_user", "department", "building")
            .get(pk=device.pk)
        )
        before = values_of(row)
        _type(row, values, actor=actor, now=now)
        changed = differences(before, row)
        if changed:
            row.save()
            record(
                obj=row,
                actor=actor,
                note=f"Changed {', '.join(label.lower() for label, _, _ in changed)}",
                details={"changes": changed},
                now=now,
            )
            changes.announce(changes.Change(devices=frozenset({row.pk})), now=now)
    return changed


def delete_device(*, device: Device, actor: Any, now: datetime) -> None:
    """Remove a device and its log-ins. What named it in a scope stays, as broken."""
    with transaction.atomic():
        record(
            obj=device,
            actor=actor,
            note=f"Deleted the {SECTIONS[DeviceKind(device.kind)].noun}",
            action="deleted",
            details={"serial_number": device.serial_number},
            now=now,
        )
        pk = device.pk
        device.delete()
        changes.announce(changes.Change(deleted_devices=frozenset({pk})), now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginReport:
    """What a channel of a computer says: who is logged in. Empty means nobody."""

    device: Device
    channel: LastLogin.Channel
    user_name: str
    reported_at: datetime


def report_logins(
    reports: Iterable[LoginReport], *, actor: Any | None, now: datetime
) -> None:
    """Keep who was last logged in, by device and channel. Bulk, constant queries.

    `actor` is the person who entered it, None when the devices reported. An older
    report than the one kept changes nothing.
    """
    newest: dict[tuple[int, str], LoginReport] = {}
    for report in reports:
        key = (report.device.pk, report.channel)
        if key not in newest or newest[key].reported_at <= report.reported_at:
            newest[key] = report
    with transaction.atomic():
        users = matching_rows.ensure_users(
            (report.user_name for report in newest.values()), now=now
        )
        ids = {report.device.pk for report in newest.values()}
        kept = {
            (row.device_id, row.channel): row
            for row in LastLogin.objects.filter(device__in=ids)
        }
        accepted = [
            (report, kept.get(key))
            for key, report in newest.items()
            if key not in kept or kept[key].reported_at <= report.reported_at
        ]
        LastLogin.objects.bulk_create(
            [
                LastLogin(
                    device=report.device,
                    channel=report.channel,
                    user=users.get(fold(report.user_name)),
                    reported_at=report.reported_at,
                )
                for report, _ in accepted
            ],
            batch_size=500,
            update_conflicts=True,
            unique_fields=["device", "channel"],
            update_fields=["user", "reported_at"],
        )
        if actor is not None:
            for report, _ in accepted:
                channel = LastLogin.Channel(report.channel).label
                record(
                    obj=report.device,
                    actor=actor,
                    note=(
                        f"Reported {report.user_name.strip() or 'nobody'} as logged in"
                        f" on {channel}"
                    ),
                    action="reported",
                    now=now,
                )
        devices = frozenset(report.device.pk for report, _ in accepted)
        if devices:
            changes.announce(changes.Change(devices=devices), now=now)


def scopes_naming(device: Device) -> int:
    """How many scopes name the device itself."""
    entries = ScopeEntry.objects.filter(kind=ScopeEntry.Kind.DEVICE, ref_id=device.pk)
    return entries.values("scope").distinct().count()


def groups_of(device: Device, viewer: ConsoleUser) -> Sequence[GroupMembership]:
    """The smart and static groups the device is in, or may be in, that one may see."""
    route = SECTIONS[DeviceKind(device.kind)].route
    found: list[GroupMembership] = []
    if viewer.has_perm(f"scoping.view_smart{route}group"):
        smart = visible_to(
            SmartGroup.objects.filter(kind=device.kind),
            viewer,
            f"scoping.view_smart{route}group",
        )
        for group in smart:
            for stored, verdict in ((group.unknown, "unknown"), (group.members, "in")):
                if stored and device.pk in unpack(stored):
                    found.append(
                        GroupMembership(
                            group=group, verdict=verdict, as_of=group.computed_at
                        )
                    )
                    break
    if viewer.has_perm(f"scoping.view_static{route}group"):
        static = visible_to(
            StaticGroup.objects.filter(kind=device.kind, devices=device),
            viewer,
            f"scoping.view_static{route}group",
        )
        found += [GroupMembership(group=group, verdict="in") for group in static]
    return found
