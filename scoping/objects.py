"""Policies and configuration profiles: create, change, clone, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from jamfidp.history.record import record
from scoping.models import (
    ConfigurationProfile,
    DeviceKind,
    LastLogin,
    Policy,
    Scope,
    ScopeEntry,
    Site,
)
from scoping.recompute import ScopedObject, recompute

FIELDS = ("name", "category", "enabled", "site", "payload")
LABELS = {"payload": "Description"}


class NameTaken(Exception):
    """Another object of this kind has the name."""


class ObjectGone(Exception):
    """The object was deleted meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKind:
    """A kind of object that is deployed: its words, its routes, its privileges."""

    key: str
    noun: str
    plural: str
    title: str
    device_kind: DeviceKind
    channel: LastLogin.Channel
    icon: str
    payload_label: str

    @property
    def model(self) -> type[ScopedObject]:
        return Policy if self.key == "policy" else ConfigurationProfile

    def perm(self, action: str) -> str:
        return f"scoping.{action}_{self.key}"

    def rows(self) -> QuerySet[Any]:
        """All objects of this kind, of every site."""
        if self.key == "policy":
            return Policy.objects.all()
        return ConfigurationProfile.objects.filter(kind=self.device_kind)


POLICY = ObjectKind(
    key="policy",
    noun="policy",
    plural="policies",
    title="Policies",
    device_kind=DeviceKind.COMPUTER,
    channel=LastLogin.Channel.AGENT,
    icon="checklist",
    payload_label="What it does",
)
MACOS_PROFILE = ObjectKind(
    key="macosconfigurationprofile",
    noun="configuration profile",
    plural="configuration profiles",
    title="Computer configuration profiles",
    device_kind=DeviceKind.COMPUTER,
    channel=LastLogin.Channel.MDM,
    icon="adjustments-horizontal",
    payload_label="What it sets",
)
IOS_PROFILE = ObjectKind(
    key="iosconfigurationprofile",
    noun="configuration profile",
    plural="configuration profiles",
    title="Mobile device configuration profiles",
    device_kind=DeviceKind.MOBILE,
    channel=LastLogin.Channel.MDM,
    icon="adjustments-horizontal",
    payload_label="What it sets",
)
KINDS = (POLICY, MACOS_PROFILE, IOS_PROFILE)


def kind_of(obj: ScopedObject) -> ObjectKind:
    if isinstance(obj, Policy):
        return POLICY
    return MACOS_PROFILE if obj.kind == DeviceKind.COMPUTER else IOS_PROFILE


def create_object(
    *,
    kind: ObjectKind,
    name: str,
    category: str = "",
    enabled: bool = True,
    site: Site | None = None,
    payload: str = "",
    actor: Any,
    now: datetime,
) -> ScopedObject:
    """Create an object that reaches nobody yet. Raises NameTaken."""
    with transaction.atomic():
        scope = Scope.objects.create(
            kind=kind.device_kind,
            channel=kind.channel,
            principal=Scope.Principal.ASSIGNED
            if kind.device_kind == DeviceKind.MOBILE
            else Scope.Principal.LOGGED_IN,
            computed_at=now,
        )
        obj = _new(kind, scope)
        obj.name, obj.category, obj.enabled = name, category, enabled
        obj.site, obj.payload = site, payload
        _save(obj, kind)
        record(
            obj=obj,
            actor=actor,
            note=f"Created the {kind.noun}",
            action="added",
            now=now,
        )
    return obj


def _new(kind: ObjectKind, scope: Scope) -> ScopedObject:
    if kind.key == "policy":
        return Policy(scope=scope)
    return ConfigurationProfile(kind=kind.device_kind, scope=scope)


def _save(obj: ScopedObject, kind: ObjectKind) -> None:
    try:
        with transaction.atomic():
            obj.save()
    except IntegrityError as error:
        raise NameTaken(f"Another {kind.noun} is named {obj.name}.") from error


def update_object(
    *, obj: ScopedObject, changes: Mapping[str, Any], actor: Any, now: datetime
) -> ScopedObject:
    """Change fields of `FIELDS`; a changed site is judged at once.

    Raises:
        NameTaken: another object of this kind has the name.
        ObjectGone: it was deleted meanwhile.
    """
    kind = kind_of(obj)
    with transaction.atomic():
        row: ScopedObject | None = (
            kind.rows().select_for_update().filter(pk=obj.pk).first()
        )
        if row is None:
            raise ObjectGone(f"{obj.name} was deleted meanwhile. Nothing was saved.")
        changed = []
        for name in FIELDS:
            if name in changes and getattr(row, name) != changes[name]:
                label = LABELS.get(name, name.capitalize())
                before, after = getattr(row, name), changes[name]
                changed.append([label, _shown(before), _shown(after)])
                setattr(row, name, after)
        if not changed:
            return row
        moved = any(label == "Site" for label, _, _ in changed)
        _save(row, kind)
        record(
            obj=row,
            actor=actor,
            note=f"Changed the {kind.noun}",
            details={"changes": changed},
            now=now,
        )
        if moved:
            recompute(
                kind.device_kind,
                now=now,
                groups=(),
                scopes=[row.scope_id],
                because="after a change of the site",
            )
    return row


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def delete_object(*, obj: ScopedObject, actor: Any, now: datetime) -> None:
    """Delete the object with its scope; its history stays. Raises ObjectGone."""
    kind = kind_of(obj)
    with transaction.atomic():
        row = kind.rows().select_for_update().filter(pk=obj.pk).first()
        if row is None:
            raise ObjectGone(f"{obj.name} was deleted meanwhile.")
        scope = Scope.objects.get(pk=row.scope_id)
        record(
            obj=row,
            actor=actor,
            note=f"Deleted the {kind.noun}, which reached {scope.decided_count:,}"
            f" {'device' if scope.decided_count == 1 else 'devices'}",
            action="deleted",
            now=now,
        )
        row.delete()
        scope.delete()


def clone_object(
    *, obj: ScopedObject, name: str, actor: Any, now: datetime
) -> ScopedObject:
    """Copy an object with its scope, switched off. Raises NameTaken."""
    kind = kind_of(obj)
    with transaction.atomic():
        copy = create_object(
            kind=kind,
            name=name,
            category=obj.category,
            enabled=False,
            site=obj.site,
            payload=obj.payload,
            actor=actor,
            now=now,
        )
        original = obj.scope
        copy.scope.principal = original.principal
        copy.scope.all_devices = original.all_devices
        copy.scope.save(update_fields=["principal", "all_devices"])
        ScopeEntry.objects.bulk_create(
            ScopeEntry(
                scope=copy.scope,
                role=row.role,
                kind=row.kind,
                ref_id=row.ref_id,
                tenant_id=row.tenant_id,
                object_id=row.object_id,
                nested=row.nested,
                label=row.label,
            )
            for row in original.entries.order_by("pk")
        )
        recompute(
            kind.device_kind,
            now=now,
            groups=(),
            scopes=[copy.scope_id],
            because=f"as a copy of {obj.name}",
        )
    return copy


def name_for_copy(obj: ScopedObject) -> str:
    """A free name: 'FileVault copy', 'FileVault copy 2'."""
    taken = {
        name.casefold() for name in kind_of(obj).rows().values_list("name", flat=True)
    }
    base = f"{obj.name[:230]} copy"
    name, number = base, 1
    while name.casefold() in taken:
        number += 1
        name = f"{base} {number}"
    return name
