"""Devices and the people who use them, as rows, for the tests of scopes."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

from django.utils import timezone

from directory.dependents import ObjectRef
from directory.models import DirectoryGroup, DirectoryUser
from scoping import matching_rows
from scoping.criteria import Criterion
from scoping.drafts import Draft, EntryDraft
from scoping.models import Device, DeviceKind, InventoryUser, LastLogin, StaticGroup
from scoping.objects import POLICY, ObjectKind, create_object
from scoping.recompute import ScopedObject, recompute
from scoping.scopes import save

_serial = count(1)
NOBODY = "nobody"


def named(user_name: str) -> InventoryUser:
    """The row of a user name, matched."""
    now = timezone.now()
    (row,) = matching_rows.ensure_users([user_name], now=now).values()
    return row


def device(
    name: str,
    *,
    kind: str = DeviceKind.COMPUTER,
    user: DirectoryUser | str | None = None,
    logged_in: DirectoryUser | str | None = None,
    channel: str = LastLogin.Channel.AGENT,
    **values: Any,
) -> Device:
    """A managed device; `user` is assigned, `logged_in` reported (NOBODY: nobody)."""
    row = Device.objects.create(
        **{
            "kind": kind,
            "name": name,
            "serial_number": f"C02{next(_serial):07}",
            "model": "MacBook Pro",
            "os_version": "15.1",
            "last_inventory_at": timezone.now(),
            "assigned_user": None if user is None else named(_name(user)),
        }
        | values
    )
    if logged_in is not None:
        log_in(row, logged_in, channel=channel)
    return row


def log_in(
    row: Device, user: DirectoryUser | str, *, channel: str = LastLogin.Channel.AGENT
) -> None:
    who = None if user == NOBODY else named(_name(user))
    LastLogin.objects.update_or_create(
        device=row,
        channel=channel,
        defaults={"user": who, "reported_at": timezone.now()},
    )


def _name(user: DirectoryUser | str) -> str:
    return user if isinstance(user, str) else user.user_name


def ref_of(row: DirectoryUser | DirectoryGroup) -> ObjectRef:
    return ObjectRef(row.cloud_idp.tenant_id, row.object_id)


def entry(role: str, what: Any, *, nested: bool = True) -> EntryDraft:
    """An entry that names a row; a plain string is a local user."""
    if isinstance(what, str):
        return EntryDraft(role=role, kind="DIRECTORY_USER", label=what)
    kind = {
        "device": "DEVICE",
        "smartgroup": "SMART_GROUP",
        "staticgroup": "STATIC_GROUP",
        "building": "BUILDING",
        "department": "DEPARTMENT",
        "networksegment": "NETWORK_SEGMENT",
        "directoryuser": "DIRECTORY_USER",
        "directorygroup": "DIRECTORY_GROUP",
    }[what._meta.model_name]
    if kind in {"DIRECTORY_USER", "DIRECTORY_GROUP"}:
        return EntryDraft(
            role=role, kind=kind, ref=ref_of(what), nested=nested, label=str(what)
        )
    return EntryDraft(role=role, kind=kind, ref_id=what.pk, label=str(what))


def target(what: Any) -> EntryDraft:
    return entry("TARGET", what)


def limited_to(what: Any, *, nested: bool = True) -> EntryDraft:
    return entry("LIMITATION", what, nested=nested)


def except_for(what: Any, *, nested: bool = True) -> EntryDraft:
    return entry("EXCLUSION", what, nested=nested)


def draft(
    *entries: EntryDraft, everything: bool = False, principal: str = "LOGGED_IN"
) -> Draft:
    return Draft(all_devices=everything, principal=principal, entries=entries)


def scoped(
    name: str,
    *entries: EntryDraft,
    everything: bool = False,
    principal: str = "LOGGED_IN",
    kind: ObjectKind = POLICY,
    **values: Any,
) -> ScopedObject:
    """An object whose scope was saved and decided."""
    now = timezone.now()
    obj = create_object(kind=kind, name=name, actor=None, now=now, **values)
    save(
        obj=obj,
        draft=draft(*entries, everything=everything, principal=principal),
        version=obj.scope.version,
        actor=None,
        now=now,
    )
    return obj


def again(kind: str = DeviceKind.COMPUTER, *, now: datetime | None = None) -> None:
    """As after a change: names matched and everything judged again."""
    now = now or timezone.now()
    matching_rows.rematch(now=now)
    recompute(kind, now=now)


def static_group(name: str, *devices: Device, **values: Any) -> StaticGroup:
    group = StaticGroup.objects.create(
        **{"kind": devices[0].kind if devices else "COMPUTER", "name": name} | values
    )
    group.devices.set(devices)
    return group


def in_directory_group(group: DirectoryGroup, *, nested: bool = True) -> Criterion:
    return Criterion(
        name="Directory group",
        search_type="member of",
        value=group.display_name,
        ref=ref_of(group),
        nested=nested,
    )


def like(name: str, value: str, *, search_type: str = "is", **more: Any) -> Criterion:
    return Criterion(name=name, search_type=search_type, value=value, **more)
