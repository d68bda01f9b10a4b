"""Keep smart groups and decided scopes true after anything beneath them changed.

Runs inside the transaction of the change. Smart groups are calculated before what
relies on them. Unknown leaves a device as it was, in groups and in scopes alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from django.db import transaction
from pyroaring import BitMap

from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider
from directory.sync.bitmaps import pack, unpack
from jamfidp.compiled import Compiled
from jamfidp.history.record import record
from scoping import criteria as rules
from scoping.changes import Change
from scoping.criteria import (
    CircularGroups,
    Criteria,
    CriteriaError,
    Criterion,
    Inventory,
    calculation_order,
)
from scoping.drafts import Draft, drafts_of
from scoping.facts import Fleet, Known, names
from scoping.models import (
    ConfigurationProfile,
    Device,
    DeviceKind,
    Policy,
    Scope,
    ScopeEntry,
    SmartGroup,
    SmartGroupCriterion,
)

ScopedObject: TypeAlias = Policy | ConfigurationProfile

# How many devices a line of history names; beyond that it counts.
NAMED_IN_HISTORY = 20
HOUR = timedelta(hours=1)


def inventory_of(kind: str) -> Inventory:
    return (
        Inventory.COMPUTERS if kind == DeviceKind.COMPUTER else Inventory.MOBILE_DEVICES
    )


def criterion_of(row: SmartGroupCriterion) -> Criterion:
    """A stored criterion as the rules read it."""
    return Criterion(
        name=row.name,
        search_type=row.search_type,
        value=row.value,
        priority=row.priority,
        and_or=row.and_or,
        opening_paren=row.opening_paren,
        closing_paren=row.closing_paren,
        device_group=row.device_group,
        ref=ObjectRef(row.tenant_id, row.object_id) if row.object_id else None,
        nested=row.nested,
    )


def criteria_of(kind: str) -> dict[int, Criteria | None]:
    """The criteria of all smart groups of a kind; None where they cannot be read."""
    rows: dict[int, list[Criterion]] = {
        pk: []
        for pk in SmartGroup.objects.filter(kind=kind)
        .order_by("pk")
        .values_list("pk", flat=True)
    }
    for row in SmartGroupCriterion.objects.filter(group__kind=kind).order_by(
        "priority"
    ):
        rows[row.group_id].append(criterion_of(row))
    found: dict[int, Criteria | None] = {}
    for pk, criteria in rows.items():
        try:
            found[pk] = rules.parse(criteria, inventory=inventory_of(kind))
        except CriteriaError:
            found[pk] = None
    return found


def order_of(criteria: Mapping[int, Criteria | None]) -> list[int]:
    """Group ids, each after those it relies on.

    Raises CircularGroups, with the keys of the groups.
    """
    relies_on = {
        f"smart:{pk}": each.device_groups if each is not None else frozenset[str]()
        for pk, each in criteria.items()
    }
    ordered = (
        int(key.partition(":")[2])
        for key in calculation_order(relies_on)
        if key.startswith("smart:")
    )
    return [pk for pk in ordered if pk in criteria]


def relying_on(
    groups: Iterable[int], criteria: Mapping[int, Criteria | None]
) -> set[int]:
    """These groups and all that rely on them, however far away."""
    found = set(groups)
    grown = True
    while grown:
        keys = {f"smart:{pk}" for pk in found}
        more = {
            pk
            for pk, each in criteria.items()
            if each is not None and pk not in found and each.device_groups & keys
        }
        grown = bool(more)
        found |= more
    return found


def objects_by_scope(kind: str) -> dict[int, ScopedObject]:
    """Every object of a kind of device, by the id of its scope."""
    found: dict[int, ScopedObject] = {}
    for profile in ConfigurationProfile.objects.filter(kind=kind).order_by():
        found[profile.scope_id] = profile
    if kind == DeviceKind.COMPUTER:
        for policy in Policy.objects.order_by():
            found[policy.scope_id] = policy
    return found


def recompute(
    kind: str,
    *,
    now: datetime,
    devices: Collection[int] | None = None,
    groups: Collection[int] | None = None,
    scopes: Collection[int] | None = None,
    because: str = "",
) -> None:
    """Calculate smart groups, then decide scopes. Call it in a transaction.

    `devices` limits the work to these, deleted ones included. `groups` and `scopes`
    limit it to these and to what relies on them; None means all. `because` is said in
    the history of objects whose devices changed.
    """
    with transaction.atomic():
        # Locked before anything is read, so that two changes never overwrite each other.
        stored_groups = {
            row.pk: row
            for row in SmartGroup.objects.select_for_update()
            .filter(kind=kind)
            .order_by("pk")
        }
        stored_scopes = {
            row.pk: row
            for row in Scope.objects.select_for_update()
            .filter(kind=kind)
            .order_by("pk")
        }
        criteria = criteria_of(kind)
        chosen_groups = (
            set(criteria) if groups is None else relying_on(groups, criteria)
        )
        drafts = drafts_of(list(stored_scopes.values()))
        chosen_scopes = (
            set(stored_scopes)
            if scopes is None
            else {pk for pk in scopes if pk in stored_scopes}
            | scopes_naming(chosen_groups, drafts)
        )
        if not (chosen_groups or chosen_scopes):
            return
        ages = [stored_groups[pk].computed_at for pk in chosen_groups]
        ages += [stored_scopes[pk].computed_at for pk in chosen_scopes]
        calculated = None not in ages
        only = None if devices is None or not calculated else frozenset(devices)
        fleet = Fleet(kind, only=only)
        touched = None if only is None else BitMap(only)
        _calculate_groups(
            fleet, stored_groups, chosen_groups, criteria, touched=touched, now=now
        )
        _decide_scopes(
            fleet,
            [stored_scopes[pk] for pk in sorted(chosen_scopes)],
            drafts,
            touched=touched,
            now=now,
            because=because,
        )


def scopes_naming(groups: set[int], drafts: Mapping[int, Draft]) -> set[int]:
    kind = ScopeEntry.Kind.SMART_GROUP
    return {
        pk
        for pk, draft in drafts.items()
        if any(each.kind == kind and each.ref_id in groups for each in draft.entries)
    }


def settled(before: BitMap, known: Known, touched: BitMap | None) -> BitMap:
    """Who is decided from now on; `touched` are the devices judged, None all."""
    decided = known.inside | (before & known.unknown)
    return decided if touched is None else decided | (before - touched)


class Judged(NamedTuple):
    """Who is in a smart group or scope from now on, and who was."""

    inside: BitMap
    unknown: BitMap
    before: BitMap
    unsure: BitMap

    @property
    def changed(self) -> bool:
        return (self.inside, self.unknown) != (self.before, self.unsure)

    @classmethod
    def of(
        cls,
        known: Known,
        stored: bytes | memoryview,
        stored_unknown: bytes | memoryview,
        touched: BitMap | None,
    ) -> Judged:
        before, unsure = unpack(stored or None), unpack(stored_unknown or None)
        unknown = (
            known.unknown if touched is None else known.unknown | (unsure - touched)
        )
        return cls(settled(before, known, touched), unknown, before, unsure)


def judged_groups(
    fleet: Fleet,
    rows: Mapping[int, SmartGroup],
    chosen: Collection[int],
    criteria: Mapping[int, Criteria | None],
    *,
    touched: BitMap | None,
    now: datetime,
) -> Iterator[tuple[SmartGroup, Judged]]:
    """Judge smart groups, each after those it relies on. Writes nothing but what the
    fleet knows of them."""
    try:
        order = order_of(criteria)
    except CircularGroups:
        # Refused at every save; were it ever stored, nothing about it would be known.
        order = sorted(criteria)
        criteria = {**criteria, **dict.fromkeys(chosen)}
    for pk in order:
        if pk not in chosen:
            continue
        row = rows[pk]
        known = fleet.judge_criteria(criteria[pk], site_id=row.site_id, now=now)
        fleet.smart_groups[pk] = known
        fleet.smart_groups_as_of[pk] = now
        yield row, Judged.of(known, row.members, row.unknown, touched)


def judged_scopes(
    fleet: Fleet,
    scopes: Iterable[Scope],
    drafts: Mapping[int, Draft],
    *,
    touched: BitMap | None,
) -> Iterator[tuple[Scope, ScopedObject, Judged]]:
    """Judge scopes that belong to an object. Writes nothing."""
    objects = objects_by_scope(fleet.kind)
    known_names = names(fleet.kind)
    for scope in scopes:
        obj = objects.get(scope.pk)
        if obj is None:
            continue
        pure = drafts[scope.pk].pure(
            kind=scope.kind, channel=scope.channel, names=known_names
        )
        known = fleet.judge(pure, site_id=obj.site_id)
        yield scope, obj, Judged.of(known, scope.decided, scope.unknown, touched)


def _calculate_groups(
    fleet: Fleet,
    rows: Mapping[int, SmartGroup],
    chosen: set[int],
    criteria: Mapping[int, Criteria | None],
    *,
    touched: BitMap | None,
    now: datetime,
) -> None:
    changed = []
    for row, judged in judged_groups(
        fleet, rows, chosen, criteria, touched=touched, now=now
    ):
        if judged.changed:
            members, unknown = judged.inside, judged.unknown
            row.members, row.unknown = pack(members), pack(unknown)
            row.member_count, row.unknown_count = len(members), len(unknown)
            changed.append(row)
    if changed:
        SmartGroup.objects.bulk_update(
            changed, ["members", "unknown", "member_count", "unknown_count"]
        )
    if touched is None and chosen:
        SmartGroup.objects.filter(pk__in=sorted(chosen)).update(computed_at=now)


def _decide_scopes(
    fleet: Fleet,
    scopes: Sequence[Scope],
    drafts: Mapping[int, Draft],
    *,
    touched: BitMap | None,
    now: datetime,
    because: str,
) -> None:
    changed = []
    for scope, obj, judged in judged_scopes(fleet, scopes, drafts, touched=touched):
        if not judged.changed:
            continue
        decided, unknown, before = judged.inside, judged.unknown, judged.before
        if decided != before:
            _record(fleet, obj, decided - before, before - decided, now, because)
        scope.decided, scope.unknown = pack(decided), pack(unknown)
        scope.decided_count, scope.unknown_count = len(decided), len(unknown)
        changed.append(scope)
    if changed:
        Scope.objects.bulk_update(
            changed, ["decided", "unknown", "decided_count", "unknown_count"]
        )
    if touched is None and scopes:
        Scope.objects.filter(pk__in=[each.pk for each in scopes]).update(
            computed_at=now
        )


def counted(count: int, kind: str) -> str:
    """'1 computer', '1,204 mobile devices'."""
    noun = "computer" if kind == DeviceKind.COMPUTER else "mobile device"
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _record(
    fleet: Fleet,
    obj: ScopedObject,
    gained: BitMap,
    lost: BitMap,
    now: datetime,
    because: str,
) -> None:
    parts = []
    if gained:
        parts.append(f"{counted(len(gained), fleet.kind)} came into scope")
    if lost:
        parts.append(f"{counted(len(lost), fleet.kind)} left the scope")
    note = " and ".join(parts) + (f" {because}" if because else "")
    record(
        obj=obj,
        actor=None,
        note=note,
        action="scope changed",
        details={
            "changes": [
                [label, "", _named(fleet, ids)]
                for label, ids in (("Gained", gained), ("Lost", lost))
                if ids
            ]
        },
        now=now,
    )


def _named(fleet: Fleet, ids: BitMap) -> str:
    rows = [fleet.rows[pk].name for pk in ids if pk in fleet.rows]
    shown = sorted(rows)[:NAMED_IN_HISTORY]
    more = len(ids) - len(shown)
    text = ", ".join(shown)
    if more:
        text += f" and {more:,} more" if shown else f"{more:,} that were deleted"
    return text


# What calls it -------------------------------------------------------------------


def after_change(change: Change, now: datetime) -> None:
    """Listens to `scoping.changes`: inventory, matching, directory, organization."""
    rest = change.devices | change.deleted_devices
    in_directory = change.directory is not None or bool(change.tenant_id)
    groups = _GROUPS_RELYING.rows() if in_directory else []
    scopes = _SCOPES_RELYING.rows() if in_directory else []
    for kind in DeviceKind.values:
        if change.buildings or change.departments or change.network_segments:
            recompute(kind, now=now, because="after a change of the organization")
            continue
        if in_directory:
            _relying_on_directory(
                kind,
                {group for of, group in groups if of == kind},
                {scope for of, scope in scopes if of == kind},
                change,
                now,
            )
        if rest and (
            change.deleted_devices
            or Device.objects.filter(kind=kind, pk__in=rest).exists()
        ):
            recompute(
                kind, now=now, devices=rest, because="after a change of the inventory"
            )


# Smart groups and scopes that name somebody of a directory, with their kind.
_GROUPS_RELYING = Compiled(
    lambda: (
        SmartGroupCriterion.objects.exclude(object_id="")
        .order_by()
        .values_list("group__kind", "group_id")
    )
)
_SCOPES_RELYING = Compiled(
    lambda: (
        ScopeEntry.objects.filter(kind__in=ScopeEntry.DIRECTORY)
        .order_by()
        .values_list("scope__kind", "scope_id")
    )
)


# What `after_change` asks where the directory changed.
RELYING = (_GROUPS_RELYING, _SCOPES_RELYING)


def _relying_on_directory(
    kind: str, groups: set[int], scopes: set[int], change: Change, now: datetime
) -> None:
    if not (groups or scopes):
        return
    connection = (
        CloudIdentityProvider.objects.filter(pk=change.directory.cloud_idp_id).first()
        if change.directory is not None
        else CloudIdentityProvider.objects.filter(tenant_id=change.tenant_id).first()
    )
    name = connection.display_name if connection is not None else "a directory"
    what = "a read of" if change.directory is not None else "a change of the connection"
    recompute(
        kind,
        now=now,
        groups=groups,
        scopes=scopes,
        because=f"after {what} {name}",
    )


def after_time_passed(*, now: datetime) -> None:
    """Calculate groups whose criteria count days back, once they are an hour old.

    Repeating it changes nothing; leaving it out makes them older.
    """
    counting = SmartGroupCriterion.objects.filter(
        search_type__in=[
            rules.Operator.MORE_THAN_DAYS_AGO,
            rules.Operator.LESS_THAN_DAYS_AGO,
        ]
    )
    for kind in DeviceKind.values:
        due = SmartGroup.objects.filter(
            kind=kind, pk__in=counting.values("group"), computed_at__lte=now - HOUR
        )
        groups = set(due.order_by().values_list("pk", flat=True))
        if groups:
            recompute(
                kind, now=now, groups=groups, scopes=(), because="as time went by"
            )
