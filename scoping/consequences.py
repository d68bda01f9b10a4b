"""What a plan of a directory would do to devices, smart groups and scopes.

The rules that `recompute` and `user_location` apply after a read, over the directory as
it will be. Only devices are judged that the plan can reach; nothing is written, and
nothing locked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyroaring import BitMap

from directory.dependents import (
    Consequence,
    ConsequenceKind,
    ObjectOfConsole,
    ObjectRef,
    Subject,
)
from directory.models import DirectoryUser
from directory.planned import CHUNK, PlannedChange
from scoping import matching_rows, user_location
from scoping.criteria import Criteria
from scoping.drafts import Draft, drafts_of
from scoping.facts import DirectoryRows, Fleet, Foreseen, directory_names
from scoping.models import (
    Device,
    DeviceKind,
    InventoryUser,
    Scope,
    ScopeEntry,
    SmartGroup,
    SmartGroupCriterion,
)
from scoping.objects import kind_of
from scoping.recompute import (
    Judged,
    ScopedObject,
    criteria_of,
    judged_groups,
    judged_scopes,
    objects_by_scope,
    relying_on,
    scopes_naming,
)

SUBJECTS = {
    DeviceKind.COMPUTER: Subject.COMPUTER,
    DeviceKind.MOBILE: Subject.MOBILE_DEVICE,
}
Match = InventoryUser.Match


def of_plan(planned: PlannedChange, *, now: datetime) -> list[Consequence]:
    """Return what would follow, as far as devices and what is scoped to them go."""
    references = _References(planned)
    named = matching_rows.any_names()
    rematched = matching_rows.rematched_by(planned, now=now) if named else {}
    after = {pk: each.then for pk, each in rematched.items()}
    followed = list(_followed(planned, after, now)) if named else []
    found = list(_of_devices(followed, rematched))
    found += references.consequences()
    foreseen = Foreseen(planned, after, [device for device, _ in followed])
    moved = references.moved | planned.people.changing("state", "user_type")
    touched = BitMap(device.pk for device, changed in followed if changed)
    touched |= BitMap(matching_rows.devices_of(after))
    if named:
        touched |= BitMap(matching_rows.devices_of(_names_of(planned, moved)))
    if not (touched or references.changed):
        return found
    for kind in DeviceKind:
        found += _of_groups_and_scopes(kind, foreseen, touched, references, now)
    return found


# Devices -------------------------------------------------------------------------


def _followed(
    planned: PlannedChange, rematched: Mapping[int, InventoryUser], now: datetime
) -> Iterator[tuple[Device, list[list[str]]]]:
    """Devices whose User and Location follow the directory elsewhere."""
    people = planned.people.changing("state", *user_location.FIELDS)
    if not (people or rematched):
        return
    names = set(_names_of(planned, people)) | set(rematched)
    chosen = sorted(names)
    for at in range(0, len(chosen), CHUNK):
        devices = user_location.following().filter(
            assigned_user__in=chosen[at : at + CHUNK]
        )
        instances = list(
            devices.select_related("assigned_user", "department", "building")
        )
        for device in instances:
            user = device.assigned_user
            if user is not None:
                device.assigned_user = rematched.get(user.pk, user)
        yield from user_location.fill(instances, now=now, planned=planned)


def _names_of(planned: PlannedChange, people: BitMap) -> list[int]:
    """The user names of the inventory that lead to these people now."""
    if not people:
        return []
    matched = InventoryUser.objects.filter(
        match=Match.MATCHED, tenant_id=planned.tenant_id
    ).order_by()
    mine = DirectoryUser.objects.filter(cloud_idp_id=planned.cloud_idp_id)
    found: list[int] = []
    if len(people) <= matching_rows.MANY_PEOPLE:
        numbers = list(people)
        for at in range(0, len(numbers), CHUNK):
            some = mine.filter(pk__in=numbers[at : at + CHUNK])
            names = matched.filter(object_id__in=some.values("object_id"))
            found += names.values_list("pk", flat=True)
        return found
    by_object: dict[str, list[int]] = {}
    for pk, object_id in matched.values_list("pk", "object_id"):
        by_object.setdefault(object_id, []).append(pk)
    for object_id, number in mine.filter(
        object_id__in=matched.values("object_id")
    ).values_list("object_id", "pk"):
        if number in people:
            found += by_object.get(object_id, ())
    return found


def _of_devices(
    followed: Sequence[tuple[Device, list[list[str]]]],
    rematched: Mapping[int, matching_rows.Rematched],
) -> Iterator[Consequence]:
    fields: dict[tuple[str, str], dict[int, tuple[str, str]]] = {}
    for device, changed in followed:
        for label, before, after in changed:
            fields.setdefault((device.kind, label), {})[device.pk] = (before, after)
    chosen = sorted(rematched)
    for at in range(0, len(chosen), CHUNK):
        named = Device.objects.filter(assigned_user__in=chosen[at : at + CHUNK])
        for pk, kind, user in named.values_list("pk", "kind", "assigned_user_id"):
            each = rematched[user or 0]
            if each.before != each.after:
                fields.setdefault((kind, "User"), {})[pk] = (each.before, each.after)
    for (kind, label), differences in fields.items():
        yield Consequence(
            kind=ConsequenceKind.DEVICE_CHANGES,
            subject=SUBJECTS[DeviceKind(kind)],
            numbers=BitMap(differences),
            what=(label,),
            differences=differences,
        )


# References ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reference:
    """How a reference of a scope or criterion is resolved: now, or after the plan."""

    broken: str
    unreadable: str


class _References:
    """The people and groups that scopes and criteria name: what becomes of them."""

    def __init__(self, planned: PlannedChange) -> None:
        self._planned = planned
        self.moved = BitMap()
        # References that everybody has to be judged anew for.
        self.changed: dict[ObjectRef, tuple[_Reference, _Reference]] = {}
        names = {
            ref: name
            for ref, name in directory_names().items()
            if ref.tenant_id == planned.tenant_id
        }
        if not names:
            return
        before = DirectoryRows(names)
        after = DirectoryRows(names, planned=planned)
        for ref in names:
            was, will_be = _resolved(before, ref), _resolved(after, ref)
            if was != will_be:
                self.changed[ref] = (was, will_be)
            for nested in (False, True):
                self.moved |= before.members(ref, nested=nested) ^ after.members(
                    ref, nested=nested
                )
        self._after = after

    def consequences(self) -> Iterator[Consequence]:
        refs = [ref for ref, (was, then) in self.changed.items() if was != then]
        for ref in refs:
            was, then = self.changed[ref]
            if bool(was.broken) == bool(then.broken):
                continue
            row = self._after.group(ref)
            name = self._after.describe(ref).name
            for obj in _objects_naming(ref):
                yield Consequence(
                    kind=ConsequenceKind.REFERENCE_BREAKS
                    if then.broken
                    else ConsequenceKind.REFERENCE_RETURNS,
                    about=obj,
                    subject=Subject.PERSON,
                    what=(name,),
                    detail=then.broken or "It can be read again.",
                    groups=BitMap([row.pk]) if row is not None else BitMap(),
                )


def _resolved(rows: DirectoryRows, ref: ObjectRef) -> _Reference:
    described = rows.describe(ref)
    broken = ""
    if described.broken is not None:
        broken = described.reason or f"It is {described.broken}."
    return _Reference(
        broken=broken,
        unreadable=rows.not_all_readable(ref, nested=True),
    )


def _objects_naming(ref: ObjectRef) -> Iterator[ObjectOfConsole]:
    named = {"tenant_id": ref.tenant_id, "object_id": ref.object_id}
    groups = SmartGroup.objects.filter(
        pk__in=SmartGroupCriterion.objects.filter(**named).values("group")
    )
    for group in groups:
        yield of_smart_group(group)
    scopes = set(ScopeEntry.objects.filter(**named).values_list("scope_id", flat=True))
    if scopes:
        for kind in DeviceKind:
            for scope, obj in objects_by_scope(kind).items():
                if scope in scopes:
                    yield of_scoped(obj)


# Smart groups and scopes ---------------------------------------------------------


def _of_groups_and_scopes(
    kind: DeviceKind,
    foreseen: Foreseen,
    touched: BitMap,
    references: _References,
    now: datetime,
) -> Iterator[Consequence]:
    # Of what was never calculated nothing can be said to change.
    rows = {
        row.pk: row
        for row in SmartGroup.objects.filter(kind=kind, computed_at__isnull=False)
    }
    scopes = {
        row.pk: row
        for row in Scope.objects.filter(kind=kind, computed_at__isnull=False)
    }
    if not (rows or scopes):
        return
    criteria = criteria_of(kind)
    drafts = drafts_of(list(scopes.values()))
    # Of what names a reference that breaks or returns, every device.
    wide_groups, wide_scopes = _naming(kind, references.changed, criteria, drafts)
    wide_groups &= set(rows)
    if wide_groups or wide_scopes:
        fleet = Fleet(kind, foreseen=foreseen)
        wide = (wide_groups, wide_scopes)
        yield from _judge(fleet, rows, scopes, drafts, criteria, wide, None, now)
    some = BitMap(
        Device.objects.filter(kind=kind).values_list("pk", flat=True)
        if len(touched) > CHUNK
        else Device.objects.filter(kind=kind, pk__in=list(touched)).values_list(
            "pk", flat=True
        )
    )
    some &= touched
    rest = (set(rows) - wide_groups, set(scopes) - wide_scopes)
    if some and (rest[0] or rest[1]):
        fleet = Fleet(kind, only=frozenset(some), foreseen=foreseen)
        # What relies on a group that was judged above needs its new verdicts.
        yield from _judge(
            fleet, rows, scopes, drafts, criteria, rest, some, now, wide_groups
        )


def _naming(
    kind: DeviceKind,
    refs: Collection[ObjectRef],
    criteria: Mapping[int, Criteria | None],
    drafts: Mapping[int, Draft],
) -> tuple[set[int], set[int]]:
    """Smart groups and scopes that rely on one of these references."""
    if not refs:
        return set(), set()
    wanted = set(refs)
    naming = {
        group
        for group, tenant, object_id in SmartGroupCriterion.objects.filter(
            group__kind=kind
        )
        .exclude(object_id="")
        .values_list("group_id", "tenant_id", "object_id")
        if ObjectRef(tenant, object_id) in wanted
    }
    groups = relying_on(naming, criteria) if naming else set()
    scopes = {
        pk
        for pk, draft in drafts.items()
        if any(each.ref in wanted for each in draft.entries if each.ref is not None)
    }
    return groups, scopes | scopes_naming(groups, drafts)


def _judge(
    fleet: Fleet,
    rows: Mapping[int, SmartGroup],
    scopes: Mapping[int, Scope],
    drafts: Mapping[int, Draft],
    criteria: Mapping[int, Criteria | None],
    chosen: tuple[set[int], set[int]],
    touched: BitMap | None,
    now: datetime,
    settled: Collection[int] = (),
) -> Iterator[Consequence]:
    wanted = chosen[0] | set(settled)
    for row, judged in judged_groups(
        fleet, rows, wanted, criteria, touched=touched, now=now
    ):
        if row.pk in chosen[0]:
            yield from _moves(
                of_smart_group(row),
                judged,
                fleet.kind,
                ConsequenceKind.GROUP_ENTERED,
                ConsequenceKind.GROUP_LEFT,
            )
    for _, obj, judged in judged_scopes(
        fleet, [scopes[pk] for pk in sorted(chosen[1])], drafts, touched=touched
    ):
        yield from _moves(
            of_scoped(obj),
            judged,
            fleet.kind,
            ConsequenceKind.SCOPE_ENTERED,
            ConsequenceKind.SCOPE_LEFT,
        )


def _moves(
    about: ObjectOfConsole,
    judged: Judged,
    kind: str,
    enters: ConsequenceKind,
    leaves: ConsequenceKind,
) -> Iterator[Consequence]:
    for sort, numbers in (
        (enters, judged.inside - judged.before),
        (leaves, judged.before - judged.inside),
    ):
        if numbers:
            yield Consequence(
                kind=sort,
                about=about,
                subject=SUBJECTS[DeviceKind(kind)],
                numbers=numbers,
            )


def of_smart_group(group: SmartGroup) -> ObjectOfConsole:
    word = "computer" if group.kind == DeviceKind.COMPUTER else "mobiledevice"
    return ObjectOfConsole(
        app="scoping",
        kind="smart group",
        pk=group.pk,
        name=group.name,
        url=group.get_absolute_url(),
        permission=f"scoping.view_smart{word}group",
        site_id=group.site_id,
    )


def of_scoped(obj: ScopedObject) -> ObjectOfConsole:
    kind = kind_of(obj)
    return ObjectOfConsole(
        app="scoping",
        kind=kind.noun,
        pk=obj.pk,
        name=obj.name,
        url=obj.get_absolute_url(),
        permission=kind.perm("view"),
        site_id=obj.site_id,
    )
