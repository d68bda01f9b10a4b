"""Where groups and people are used: scopes, smart groups, objects in scope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from directory.dependents import GroupInUse, ObjectRef, Use
from directory.sync.bitmaps import unpack
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.compiled import Compiled
from scoping.models import (
    Device,
    DeviceKind,
    InventoryUser,
    Scope,
    ScopeEntry,
    SmartGroup,
    SmartGroupCriterion,
    StaticGroup,
)
from scoping.objects import KINDS, ObjectKind
from scoping.recompute import ScopedObject
from scoping.verdict import Verdict

ROLES = {
    ScopeEntry.Role.TARGET: "target",
    ScopeEntry.Role.LIMITATION: "limitation",
    ScopeEntry.Role.EXCLUSION: "exclusion",
}


def device_group_key(group: SmartGroup | StaticGroup) -> str:
    """How criteria name a smart or static group."""
    sort = "smart" if isinstance(group, SmartGroup) else "static"
    return f"{sort}:{group.pk}"


def smart_group_word(kind: str) -> str:
    return (
        "smartcomputergroup"
        if kind == DeviceKind.COMPUTER
        else "smartmobiledevicegroup"
    )


def uses_of_group(ref: ObjectRef, *, viewer: ConsoleUser) -> list[Use]:
    """Scopes and smart groups that name a directory group, as the viewer may see."""
    return _uses_of_ref(ref, viewer, (ScopeEntry.Kind.DIRECTORY_GROUP,)) + [
        Use(
            kind="Smart group",
            name=group.name,
            url=group.get_absolute_url(),
            detail="criterion 'Directory group'",
        )
        for kind in DeviceKind.values
        if viewer.has_perm(f"scoping.view_{smart_group_word(kind)}")
        for group in visible_to(
            SmartGroup.objects.filter(
                kind=kind,
                pk__in=SmartGroupCriterion.objects.filter(
                    tenant_id=ref.tenant_id, object_id=ref.object_id
                ).values("group"),
            ),
            viewer,
            f"scoping.view_{smart_group_word(kind)}",
        )
    ]


_GROUPS_SCOPED = Compiled(
    lambda tenant_id: (
        ScopeEntry.objects.filter(
            tenant_id=tenant_id, kind=ScopeEntry.Kind.DIRECTORY_GROUP
        )
        .order_by()
        .values_list("object_id", "nested")
    )
)
_GROUPS_ASKED = Compiled(
    lambda tenant_id: (
        SmartGroupCriterion.objects.filter(tenant_id=tenant_id)
        .order_by()
        .values_list("object_id", "nested")
    )
)


# What `groups_in_use` asks.
GROUPS_NAMED = (_GROUPS_SCOPED, _GROUPS_ASKED)


def groups_in_use(tenant_id: str) -> list[GroupInUse]:
    """The directory groups of a tenant that scopes and smart groups name."""
    named = {*_GROUPS_SCOPED.rows(tenant_id), *_GROUPS_ASKED.rows(tenant_id)}
    return [GroupInUse(object_id, nested) for object_id, nested in sorted(named)]


def people_named(tenant_id: str) -> set[str]:
    """The people of a tenant whom scopes name."""
    entries = ScopeEntry.objects.filter(
        tenant_id=tenant_id, kind=ScopeEntry.Kind.DIRECTORY_USER
    )
    return set(entries.values_list("object_id", flat=True))


def uses_of_user(ref: ObjectRef, *, viewer: ConsoleUser) -> list[Use]:
    """Scopes that name this person."""
    return _uses_of_ref(ref, viewer, (ScopeEntry.Kind.DIRECTORY_USER,))


def uses_of_connection(tenant_id: str, *, viewer: ConsoleUser) -> list[Use]:
    """Scopes and smart groups that name anything of a tenant."""
    entries = ScopeEntry.objects.filter(tenant_id=tenant_id)
    found = _objects_with(entries, viewer)
    for kind in DeviceKind.values:
        perm = f"scoping.view_{smart_group_word(kind)}"
        if not viewer.has_perm(perm):
            continue
        criteria = SmartGroupCriterion.objects.filter(tenant_id=tenant_id)
        groups = SmartGroup.objects.filter(kind=kind, pk__in=criteria.values("group"))
        found += [
            Use(
                kind="Smart group",
                name=group.name,
                url=group.get_absolute_url(),
                detail="criterion 'Directory group'",
            )
            for group in visible_to(groups, viewer, perm)
        ]
    return found


def uses_of_device_group(
    group: SmartGroup | StaticGroup, *, viewer: ConsoleUser | None = None
) -> list[Use]:
    """What names a smart or static group; without a viewer everything."""
    kind = (
        ScopeEntry.Kind.SMART_GROUP
        if isinstance(group, SmartGroup)
        else ScopeEntry.Kind.STATIC_GROUP
    )
    found = _objects_with(ScopeEntry.objects.filter(kind=kind, ref_id=group.pk), viewer)
    groups = SmartGroup.objects.filter(
        pk__in=SmartGroupCriterion.objects.filter(
            device_group=device_group_key(group)
        ).values("group")
    )
    if viewer is not None:
        perm = f"scoping.view_{smart_group_word(group.kind)}"
        if not viewer.has_perm(perm):
            return found
        groups = visible_to(groups, viewer, perm)
    return found + [
        Use(
            kind="Smart group",
            name=each.name,
            url=each.get_absolute_url(),
            detail="in its criteria",
        )
        for each in groups
    ]


def _uses_of_ref(
    ref: ObjectRef, viewer: ConsoleUser, kinds: Iterable[str]
) -> list[Use]:
    entries = ScopeEntry.objects.filter(
        kind__in=list(kinds), tenant_id=ref.tenant_id, object_id=ref.object_id
    )
    return _objects_with(entries, viewer)


def _objects_with(
    entries: Iterable[ScopeEntry], viewer: ConsoleUser | None
) -> list[Use]:
    roles: dict[int, list[str]] = {}
    for entry in entries:
        role = ROLES[ScopeEntry.Role(entry.role)]
        nested = (
            " (nested)"
            if entry.kind == ScopeEntry.Kind.DIRECTORY_GROUP and entry.nested
            else ""
        )
        roles.setdefault(entry.scope_id, []).append(role + nested)
    if not roles:
        return []
    return [
        Use(
            kind=kind.noun.capitalize(),
            name=obj.name,
            url=obj.get_absolute_url(),
            detail=", ".join(sorted(set(roles[obj.scope_id]))),
        )
        for kind in KINDS
        for obj in _seen(kind, viewer, list(roles))
    ]


def _seen(
    kind: ObjectKind, viewer: ConsoleUser | None, scopes: Sequence[int]
) -> list[ScopedObject]:
    rows = kind.rows().filter(scope__in=scopes)
    if viewer is None:
        return list(rows)
    if not viewer.has_perm(kind.perm("view")):
        return []
    return list(visible_to(rows, viewer, kind.perm("view")))


# Objects in scope ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InScope:
    """One object and one device: the verdict, and whether the device has it now."""

    kind: ObjectKind
    object: ScopedObject
    device: Device
    verdict: Verdict
    decided: bool


def objects_for_device(
    device: Device, *, viewer: ConsoleUser, everything: bool = False
) -> list[InScope]:
    """The objects a device has or may have; with `everything`, those it has not too."""
    return _in_scope([device], viewer, everything=everything)


def objects_for_user(ref: ObjectRef, *, viewer: ConsoleUser) -> list[InScope]:
    """The objects in scope for the devices that name a person, assigned or logged in."""
    names = InventoryUser.objects.filter(
        tenant_id=ref.tenant_id,
        object_id=ref.object_id,
        match=InventoryUser.Match.MATCHED,
    ).values("pk")
    devices: list[Device] = []
    for kind, word in (
        (DeviceKind.COMPUTER, "computer"),
        (DeviceKind.MOBILE, "mobiledevice"),
    ):
        if not viewer.has_perm(f"scoping.view_{word}"):
            continue
        mine = Device.objects.filter(kind=kind)
        mine = mine.filter(assigned_user__in=names) | mine.filter(
            last_logins__user__in=names
        )
        devices += visible_to(mine.distinct(), viewer, f"scoping.view_{word}")
    return _in_scope(devices, viewer, everything=False)


def _in_scope(
    devices: Sequence[Device], viewer: ConsoleUser, *, everything: bool
) -> list[InScope]:
    found = []
    for kind in KINDS:
        mine = [each for each in devices if each.kind == kind.device_kind]
        if not mine or not viewer.has_perm(kind.perm("view")):
            continue
        rows = visible_to(kind.rows(), viewer, kind.perm("view"))
        for obj in rows.select_related("scope").order_by("name"):
            sets = (
                unpack(obj.scope.decided or None),
                unpack(obj.scope.unknown or None),
            )
            found += [
                InScope(
                    kind=kind,
                    object=obj,
                    device=device,
                    verdict=_verdict(sets, obj.scope, device.pk),
                    decided=device.pk in sets[0],
                )
                for device in mine
                if everything or device.pk in sets[0] or device.pk in sets[1]
            ]
    return found


def _verdict(sets: tuple[BitMap, BitMap], scope: Scope, device_id: int) -> Verdict:
    if scope.computed_at is None or device_id in sets[1]:
        return Verdict.UNKNOWN
    return Verdict.of(device_id in sets[0])
