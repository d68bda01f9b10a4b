"""Rows as the pure rules of scoping want them, and the same rules over many devices.

`Fleet` reads the devices of one kind with a number of queries that does not grow with
devices, groups or entries. One device is judged by `scoping.evaluate`; a whole fleet is
judged by set operations on bitmaps of device ids, which give the same verdicts.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone
from pyroaring import BitMap

from directory import held_words
from directory.dependents import ObjectRef
from directory.models import (
    UNKNOWN_STATES,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupClosure,
    GroupNesting,
    State,
)
from directory.planned import PlannedChange
from directory.sync.bitmaps import unpack
from jamfidp.compiled import Compiled
from scoping import evaluate, matching_rows
from scoping.criteria import Criteria, DeviceValues, Unknown, Value
from scoping.criteria import evaluate as evaluate_criteria
from scoping.evaluate import Channel, DeviceFacts, EntryKind
from scoping.matching import fold
from scoping.models import (
    Building,
    Department,
    Device,
    DeviceKind,
    InventoryUser,
    LastLogin,
    NetworkSegment,
    ScopeEntry,
    SmartGroup,
    SmartGroupCriterion,
    StaticGroup,
)
from scoping.principal import (
    Broken,
    Description,
    MembershipAnswer,
    NeverReported,
    Nobody,
    NotInDirectory,
    PathStep,
    Person,
    Principal,
)
from scoping.verdict import Derivation, Link, Verdict

# What a person or group that is not in the directory leaves of a reference.
_BROKEN: dict[str, tuple[Broken, str]] = {
    State.DELETED: (
        Broken.DELETED,
        "It was deleted in Entra and can be restored there.",
    ),
    State.GONE: (Broken.DELETED, "It was deleted in Entra for good."),
    State.FILTERED: (Broken.FILTERED, ""),
    State.UNREADABLE: (
        Broken.UNREADABLE,
        "Entra still names it and no longer hands it over.",
    ),
    State.MENTIONED: (
        Broken.UNREADABLE,
        "Entra names it, but it was never read.",
    ),
}

NEVER_REPORTED = Unknown(reason="The device has never reported it")


def device_kind(kind: str) -> evaluate.DeviceKind:
    """The pure kind of a stored one."""
    return (
        evaluate.DeviceKind.COMPUTER
        if kind == DeviceKind.COMPUTER
        else evaluate.DeviceKind.MOBILE_DEVICE
    )


# Three-valued sets ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """Devices that are in, and devices of which it is not known; all others are out."""

    inside: BitMap
    unknown: BitMap

    def __and__(self, other: Known) -> Known:
        inside = self.inside & other.inside
        possible = (self.inside | self.unknown) & (other.inside | other.unknown)
        return Known(inside, possible - inside)

    def __or__(self, other: Known) -> Known:
        inside = self.inside | other.inside
        return Known(inside, (self.unknown | other.unknown) - inside)

    def complement(self, universe: BitMap) -> Known:
        return Known(universe - self.inside - self.unknown, self.unknown)

    def within(self, devices: BitMap) -> Known:
        """The same for these devices; all others are out."""
        return Known(self.inside & devices, self.unknown & devices)

    def verdict(self, device_id: int) -> Verdict:
        if device_id in self.unknown:
            return Verdict.UNKNOWN
        return Verdict.of(device_id in self.inside)


def nothing() -> Known:
    return Known(BitMap(), BitMap())


def any_of(sets: Iterable[Known]) -> Known:
    return reduce(lambda left, right: left | right, sets, nothing())


# The directory -------------------------------------------------------------------


class DirectoryRows:
    """What is in effect of the directory, for the references given. Read once.

    `names` are the names last known of references, for those whose rows are gone.
    With `paths`, membership says through which groups it is held; that asks the
    database for each answer, so leave it off for more than a device or two. With
    `planned`, all of it is as it will be once that plan is applied.
    """

    def __init__(
        self,
        names: Mapping[ObjectRef, str],
        *,
        paths: bool = False,
        planned: PlannedChange | None = None,
    ) -> None:
        self._names = names
        self._planned = planned
        self._paths = paths
        self._connections = {
            row.tenant_id: row
            for row in CloudIdentityProvider.objects.only(
                "tenant_id",
                "display_name",
                "enabled",
                "first_complete_read_at",
                "last_good_read_at",
                "transitive_directory_membership_enabled",
            )
        }
        tenant_of = {row.pk: row.tenant_id for row in self._connections.values()}
        objects = sorted({ref.object_id for ref in names})
        self._groups: dict[ObjectRef, DirectoryGroup] = {}
        self._users: dict[ObjectRef, DirectoryUser] = {}
        self._unreadable: dict[int, str] = {}
        if objects:
            for group in DirectoryGroup.objects.filter(
                cloud_idp__in=list(tenant_of), object_id__in=objects
            ).select_related("bitmap"):
                ref = ObjectRef(tenant_of[group.cloud_idp_id], group.object_id)
                self._groups[ref] = group
            for user in DirectoryUser.objects.filter(
                cloud_idp__in=list(tenant_of), object_id__in=objects
            ).only(
                "cloud_idp_id",
                "object_id",
                "state",
                "display_name",
                "user_principal_name",
            ):
                ref = ObjectRef(tenant_of[user.cloud_idp_id], user.object_id)
                self._users[ref] = user
        self._members: dict[tuple[ObjectRef, bool], BitMap] = {}
        self._descriptions: dict[ObjectRef, Description] = {}
        if planned is not None:
            self._foresee(planned, objects)
        elif self._groups:
            below = GroupClosure.objects.filter(
                Q(descendant__hidden_membership=True)
                | Q(descendant__state__in=UNKNOWN_STATES)
                | Q(descendant__kind=DirectoryGroup.Kind.UNKNOWN),
                ancestor__in=[group.pk for group in self._groups.values()],
            ).values_list("ancestor_id", "descendant__display_name")
            for ancestor, name in below:
                self._unreadable.setdefault(ancestor, name)
        self._people: dict[ObjectRef, int] = {
            ref: user.pk for ref, user in self._users.items()
        }

    def _foresee(self, planned: PlannedChange, objects: Sequence[str]) -> None:
        """Take what a plan makes of these objects in the place of their rows."""
        tenant = planned.tenant_id
        for known in (self._groups, self._users):
            for ref in [ref for ref in known if ref.tenant_id == tenant]:
                del known[ref]
        for group in planned.groups_after(object_ids=objects):
            self._groups[ObjectRef(tenant, group.object_id)] = group
        for user in planned.people_after(object_ids=objects):
            self._users[ObjectRef(tenant, user.object_id)] = user
        below = planned.below_after(group.pk for group in self._groups.values())
        reached = BitMap.union(BitMap(), *below.values())
        unreadable = {
            row.pk: row.display_name
            for row in planned.rows_after(reached)
            if row.hidden_membership
            or row.state in UNKNOWN_STATES
            or row.kind == DirectoryGroup.Kind.UNKNOWN
        }
        for ancestor, descendants in below.items():
            for number in descendants:
                if number in unreadable:
                    self._unreadable.setdefault(ancestor, unreadable[number])
        connection = self._connections.get(tenant)
        if planned.first and connection is not None:
            connection.first_complete_read_at = planned.began_at or timezone.now()

    def expect(self, users: Iterable[InventoryUser]) -> None:
        """As `learn`, from the verdicts on these instances and the plan."""
        planned = self._planned
        refs = {
            ObjectRef(user.tenant_id, user.object_id)
            for user in users
            if user.match == InventoryUser.Match.MATCHED
        }
        if planned is None:
            return
        tenant_of = {
            row.pk: row.tenant_id
            for row in self._connections.values()
            if row.pk != planned.cloud_idp_id
        }
        ids = sorted({ref.object_id for ref in refs})
        for at in range(0, len(ids), 1000):
            for pk, cloud_idp_id, object_id in DirectoryUser.objects.filter(
                cloud_idp__in=list(tenant_of), object_id__in=ids[at : at + 1000]
            ).values_list("pk", "cloud_idp_id", "object_id"):
                self._people[ObjectRef(tenant_of[cloud_idp_id], object_id)] = pk
        mine = {ref.object_id for ref in refs if ref.tenant_id == planned.tenant_id}
        for row in planned.people_after(object_ids=mine):
            self._people[ObjectRef(planned.tenant_id, row.object_id)] = row.pk

    def learn(self, users: QuerySet[InventoryUser]) -> None:
        """Read the row ids of the people whom these names lead to."""
        matched = users.order_by().filter(match=InventoryUser.Match.MATCHED)
        tenant_of = {row.pk: row.tenant_id for row in self._connections.values()}
        for pk, cloud_idp_id, object_id in DirectoryUser.objects.filter(
            cloud_idp__in=list(tenant_of),
            object_id__in=matched.values("object_id"),
        ).values_list("pk", "cloud_idp_id", "object_id"):
            self._people[ObjectRef(tenant_of[cloud_idp_id], object_id)] = pk

    def person_id(self, ref: ObjectRef) -> int | None:
        return self._people.get(ref)

    def describe(self, ref: ObjectRef) -> Description:
        found = self._descriptions.get(ref)
        if found is None:
            found = self._descriptions[ref] = self._describe(ref)
        return found

    def _describe(self, ref: ObjectRef) -> Description:
        connection = self._connections.get(ref.tenant_id)
        row = self._groups.get(ref) or self._users.get(ref)
        name = str(row) if row is not None else self._names.get(ref) or ref.object_id
        if connection is None:
            return Description(
                name=name,
                broken=Broken.DELETED,
                reason=f"Its connection was deleted (tenant {ref.tenant_id}).",
            )
        kind = (
            "directory_group" if isinstance(row, DirectoryGroup) else "directory_user"
        )
        broken, reason = self._broken(connection, row)
        return Description(
            name=name,
            broken=broken,
            reason=reason,
            link=Link(kind, str(row.pk)) if row is not None else None,
            as_of=connection.last_good_read_at,
        )

    def _broken(
        self,
        connection: CloudIdentityProvider,
        row: DirectoryGroup | DirectoryUser | None,
    ) -> tuple[Broken | None, str]:
        if not connection.enabled:
            return (
                Broken.CONNECTION_DISABLED,
                f"Its connection {connection.display_name} is disabled.",
            )
        if not connection.completely_read:
            return (
                Broken.NEVER_READ,
                f"Its connection {connection.display_name} was never read completely.",
            )
        if row is None:
            return Broken.DELETED, "It is no longer in the directory."
        if row.state in _BROKEN:
            return _BROKEN[row.state]
        if not isinstance(row, DirectoryGroup):
            return None, ""
        if row.hidden_membership:
            return Broken.HIDDEN, ""
        if row.kind == DirectoryGroup.Kind.UNKNOWN:
            return Broken.UNREADABLE, ""
        if not hasattr(row, "bitmap") and row.transitive_users:
            return Broken.NEVER_READ, "Its members have not been counted yet."
        return None, ""

    def group(self, ref: ObjectRef) -> DirectoryGroup | None:
        return self._groups.get(ref)

    def user(self, ref: ObjectRef) -> DirectoryUser | None:
        return self._users.get(ref)

    def connection(self, ref: ObjectRef) -> CloudIdentityProvider | None:
        return self._connections.get(ref.tenant_id)

    def counts_nested(self, ref: ObjectRef) -> bool:
        """Whether the connection counts members of nested groups at all."""
        connection = self._connections.get(ref.tenant_id)
        return bool(connection and connection.transitive_directory_membership_enabled)

    def members(self, ref: ObjectRef, *, nested: bool) -> BitMap:
        """The row ids of the group's people."""
        nested = nested and self.counts_nested(ref)
        found = self._members.get((ref, nested))
        if found is None:
            bitmap = getattr(self._groups.get(ref), "bitmap", None)
            found = BitMap() if bitmap is None else bitmap.users(nested=nested)
            self._members[ref, nested] = found
        return found

    def not_all_readable(self, ref: ObjectRef, *, nested: bool) -> str:
        """Why somebody who is not found may be a member all the same; "" if not."""
        group = self._groups.get(ref)
        if group is None or not nested or not self.counts_nested(ref):
            return ""
        if group.pk not in self._unreadable:
            return ""
        name = self._unreadable[group.pk] or "A group"
        return f"{name}, nested in {group}, does not show its members."

    def membership(
        self, ref: ObjectRef, principal: Person, nested: bool
    ) -> MembershipAnswer:
        as_of = self.describe(ref).as_of
        person = self._people.get(principal.ref)
        if person is None:
            return MembershipAnswer(
                verdict=Verdict.UNKNOWN,
                reason=f"{principal.name} has not been read yet.",
                as_of=as_of,
            )
        if person in self.members(ref, nested=nested):
            path = self._path(ref, person) if self._paths else ()
            return MembershipAnswer(
                verdict=Verdict.IN,
                path=path,
                note=self._differs(ref, person),
                as_of=as_of,
            )
        reason = self.not_all_readable(ref, nested=nested)
        return MembershipAnswer(
            verdict=Verdict.UNKNOWN if reason else Verdict.OUT,
            reason=reason,
            note=self._differs(ref, person),
            as_of=as_of,
        )

    def _differs(self, ref: ObjectRef, person: int) -> str:
        """Where a derivation rests on what Entra says otherwise."""
        group = self._groups.get(ref)
        if not self._paths or group is None:
            return ""
        return held_words.note_of(person, group)

    def _path(self, ref: ObjectRef, person: int) -> tuple[PathStep, ...]:
        """The groups of a shortest way from the person up to the group."""
        group = self._groups[ref]
        direct = set(
            DirectoryMembership.objects.filter(user_id=person).values_list(
                "group_id", flat=True
            )
        )
        if group.pk in direct:
            return ()
        below = [
            group.pk,
            *GroupClosure.objects.filter(ancestor=group).values_list(
                "descendant_id", flat=True
            ),
        ]
        children: dict[int, list[int]] = {}
        for parent, child in GroupNesting.objects.filter(
            parent__in=below, child__in=below
        ).values_list("parent_id", "child_id"):
            children.setdefault(parent, []).append(child)
        came_from: dict[int, int] = {group.pk: group.pk}
        waiting = deque([group.pk])
        while waiting:
            at = waiting.popleft()
            if at in direct:
                return self._steps(at, group.pk, came_from)
            for child in children.get(at, ()):
                if child not in came_from:
                    came_from[child] = at
                    waiting.append(child)
        return ()

    @staticmethod
    def _steps(
        at: int, goal: int, came_from: Mapping[int, int]
    ) -> tuple[PathStep, ...]:
        ids = []
        while at != goal:
            ids.append(at)
            at = came_from[at]
        rows = DirectoryGroup.objects.select_related("cloud_idp").in_bulk(ids)
        return tuple(
            PathStep(
                str(rows[pk]),
                ObjectRef(rows[pk].cloud_idp.tenant_id, rows[pk].object_id),
            )
            for pk in ids
        )


# What entries refer to -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """Names of what entries of scopes and criteria refer to, by row id."""

    devices: Mapping[int, str]
    smart_groups: Mapping[int, str]
    static_groups: Mapping[int, str]
    buildings: Mapping[int, str]
    departments: Mapping[int, str]
    segments: Mapping[int, NetworkSegment]

    def of(self, kind: str, ref_id: int | None) -> str | None:
        """The name now, None for what is not there (any more)."""
        if ref_id is None:
            return None
        if kind == ScopeEntry.Kind.NETWORK_SEGMENT:
            segment = self.segments.get(ref_id)
            return None if segment is None else segment.name
        return {
            str(ScopeEntry.Kind.DEVICE): self.devices,
            str(ScopeEntry.Kind.SMART_GROUP): self.smart_groups,
            str(ScopeEntry.Kind.STATIC_GROUP): self.static_groups,
            str(ScopeEntry.Kind.BUILDING): self.buildings,
            str(ScopeEntry.Kind.DEPARTMENT): self.departments,
        }[str(kind)].get(ref_id)


def names(kind: str, device_ids: Iterable[int] = ()) -> Names:
    """Read the names; of devices only those asked for, since there are many."""
    wanted = set(device_ids)
    devices = Device.objects.filter(kind=kind, pk__in=wanted) if wanted else None
    return Names(
        devices=dict(devices.values_list("pk", "name")) if devices is not None else {},
        smart_groups=dict(
            SmartGroup.objects.filter(kind=kind).order_by().values_list("pk", "name")
        ),
        static_groups=dict(
            StaticGroup.objects.filter(kind=kind).order_by().values_list("pk", "name")
        ),
        buildings=dict(Building.objects.order_by().values_list("pk", "name")),
        departments=dict(Department.objects.order_by().values_list("pk", "name")),
        segments={row.pk: row for row in NetworkSegment.objects.order_by()},
    )


NAMED = [
    Compiled(
        lambda: (
            ScopeEntry.objects.exclude(object_id="")
            .order_by()
            .values_list("tenant_id", "object_id", "label")
        )
    ),
    Compiled(
        lambda: (
            SmartGroupCriterion.objects.exclude(object_id="")
            .order_by()
            .values_list("tenant_id", "object_id", "value")
        )
    ),
]


def directory_names() -> dict[ObjectRef, str]:
    """Every reference that scopes and criteria hold, with the name last known."""
    found: dict[ObjectRef, str] = {}
    for named in NAMED:
        for tenant_id, object_id, label in named.rows():
            found[ObjectRef(tenant_id, object_id)] = label
    return found


# Devices -------------------------------------------------------------------------


class DeviceRow(NamedTuple):
    """The columns of a device that scopes and criteria look at."""

    pk: int
    name: str
    serial_number: str
    model: str
    os_version: str
    managed: bool
    site_id: int | None
    site: str | None
    last_reported_ip: str | None
    last_inventory_at: datetime | None
    assigned_user_id: int | None
    assigned_user: str | None
    real_name: str
    email: str
    phone: str
    position: str
    room: str
    building_id: int | None
    building: str | None
    department_id: int | None
    department: str | None


_COLUMNS = (
    "pk",
    "name",
    "serial_number",
    "model",
    "os_version",
    "managed",
    "site_id",
    "site__name",
    "last_reported_ip",
    "last_inventory_at",
    "assigned_user_id",
    "assigned_user__username",
    "real_name",
    "email",
    "phone",
    "position",
    "room",
    "building_id",
    "building__name",
    "department_id",
    "department__name",
)


def _with_location(row: DeviceRow, device: Device) -> DeviceRow:
    building, department = device.building, device.department
    return row._replace(
        real_name=device.real_name,
        email=device.email,
        phone=device.phone,
        position=device.position,
        room=device.room,
        building_id=device.building_id,
        building=building.name if building is not None else None,
        department_id=device.department_id,
        department=department.name if department is not None else None,
    )


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a plan makes of the facts, in memory: names that will lead elsewhere, by
    row id, and devices whose User and Location will be other."""

    planned: PlannedChange
    users: Mapping[int, InventoryUser]
    devices: Sequence[Device]


@dataclass(slots=True)
class Principals:
    """Who the users of the fleet's devices are, in one way of looking at them."""

    by_device: dict[int, Principal] = field(default_factory=dict)
    # Devices by the row id of their person; deleted people are members of nothing.
    people: dict[int, BitMap] = field(default_factory=dict)
    by_ref: dict[ObjectRef, BitMap] = field(default_factory=dict)
    everybody: BitMap = field(default_factory=BitMap)
    # A person whose row was not found: asked for membership, nothing is known.
    unread: BitMap = field(default_factory=BitMap)
    unknown: BitMap = field(default_factory=BitMap)
    never_reported: BitMap = field(default_factory=BitMap)
    # By folded name as reported: certainly nobody of the directory, or perhaps.
    local: dict[str, BitMap] = field(default_factory=dict)
    perhaps_local: dict[str, BitMap] = field(default_factory=dict)

    def add(self, device_id: int, principal: Principal, person: int | None) -> None:
        self.by_device[device_id] = principal
        match principal:
            case Person():
                if principal.deleted:
                    return
                self.by_ref.setdefault(principal.ref, BitMap()).add(device_id)
                if person is None:
                    self.unread.add(device_id)
                else:
                    self.people.setdefault(person, BitMap()).add(device_id)
                    self.everybody.add(person)
            case Nobody():
                pass
            case NotInDirectory():
                key = fold(principal.reported_user_name)
                self.local.setdefault(key, BitMap()).add(device_id)
            case NeverReported():
                self.never_reported.add(device_id)
                self.unknown.add(device_id)
            case _:
                key = fold(principal.reported_user_name)
                self.perhaps_local.setdefault(key, BitMap()).add(device_id)
                self.unknown.add(device_id)


class Fleet:
    """The devices of one kind, all or some, with all that decides about them.

    `names_of` are directory references beyond the stored ones, for drafts. With
    `paths`, derivations say through which groups a membership is held.
    """

    def __init__(
        self,
        kind: str,
        *,
        only: Collection[int] | None = None,
        names_of: Mapping[ObjectRef, str] | None = None,
        paths: bool = False,
        foreseen: Foreseen | None = None,
    ) -> None:
        self.kind = kind
        devices = Device.objects.filter(kind=kind).order_by()
        if only is not None:
            devices = devices.filter(pk__in=list(only))
        logins = LastLogin.objects.filter(device__kind=kind).order_by()
        if only is not None:
            logins = logins.filter(device__in=list(only))
        self.rows: dict[int, DeviceRow] = {
            row[0]: DeviceRow(*row) for row in devices.values_list(*_COLUMNS)
        }
        self.universe = BitMap(self.rows)
        self.directory = DirectoryRows(
            {**directory_names(), **(names_of or {})},
            paths=paths,
            planned=None if foreseen is None else foreseen.planned,
        )
        users = InventoryUser.objects.filter(
            Q(pk__in=devices.values("assigned_user"))
            | Q(pk__in=logins.filter(user__isnull=False).values("user"))
        )
        if foreseen is None:
            self.directory.learn(users)
            self._known = matching_rows.principals(users)
        else:
            then = [foreseen.users.get(user.pk, user) for user in users]
            self.directory.expect(then)
            self._known = matching_rows.principals_after(foreseen.planned, then)
            for device in foreseen.devices:
                if device.pk in self.rows:
                    self.rows[device.pk] = _with_location(self.rows[device.pk], device)
        self._logins: dict[int, dict[str, tuple[int | None, datetime]]] = {}
        for device_id, channel, user_id, at in logins.values_list(
            "device_id", "channel", "user_id", "reported_at"
        ):
            self._logins.setdefault(device_id, {})[channel] = (user_id, at)
        self.static_groups = self._static_groups(only)
        self.smart_groups: dict[int, Known] = {}
        self.smart_groups_as_of: dict[int, datetime | None] = {}
        for pk, members, unknown, computed_at in SmartGroup.objects.filter(
            kind=kind
        ).values_list("pk", "members", "unknown", "computed_at"):
            self.smart_groups_as_of[pk] = computed_at
            stored = (
                Known(unpack(members or None), unpack(unknown or None))
                if computed_at is not None
                else Known(BitMap(), self.universe)
            )
            known = stored.within(self.universe)
            self.smart_groups[pk] = Known(known.inside - known.unknown, known.unknown)
        self._columns: dict[str, Principals] = {}
        self._values: dict[int, DeviceValues] = {}
        self._addresses: dict[evaluate.IPAddress, BitMap] | None = None
        self._without_address = BitMap()
        self.sites = self._grouped("site_id")
        self.buildings = self._grouped("building_id")
        self.departments = self._grouped("department_id")

    def _static_groups(self, only: Collection[int] | None) -> dict[int, BitMap]:
        through = StaticGroup.devices.through
        members: QuerySet[Any] = through._default_manager.filter(
            staticgroup__kind=self.kind
        )
        if only is not None:
            members = members.filter(device__in=list(only))
        existing = StaticGroup.objects.filter(kind=self.kind).order_by()
        found: dict[int, list[int]] = {
            pk: [] for pk in existing.values_list("pk", flat=True)
        }
        for group, device in members.values_list("staticgroup_id", "device_id"):
            found.setdefault(group, []).append(device)
        return {pk: BitMap(ids) & self.universe for pk, ids in found.items()}

    def _grouped(self, column: str) -> dict[int, BitMap]:
        found: dict[int, list[int]] = {}
        for row in self.rows.values():
            value = getattr(row, column)
            if value is not None:
                found.setdefault(value, []).append(row.pk)
        return {pk: BitMap(ids) for pk, ids in found.items()}

    # Principals

    def principals(self, channel: Channel | None) -> Principals:
        """Who is logged in, as the channel reported it; None: who is assigned."""
        key = "" if channel is None else channel.name
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = Principals()
            for pk in self.rows:
                principal = (
                    self.assigned(pk)
                    if channel is None
                    else self.logged_in(pk, channel)
                )
                person = (
                    self.directory.person_id(principal.ref)
                    if isinstance(principal, Person)
                    else None
                )
                found.add(pk, principal, person)
        return found

    def assigned(self, device_id: int) -> Principal:
        row = self.rows[device_id]
        if row.assigned_user_id is None:
            return Nobody()
        return self._known[row.assigned_user_id]

    def logged_in(self, device_id: int, channel: Channel) -> Principal:
        login = self._logins.get(device_id, {}).get(channel.name)
        if login is None:
            return NeverReported()
        user_id, at = login
        if user_id is None:
            return Nobody(reported_at=at)
        return matching_rows.reported(self._known[user_id], at)

    # One device, for the pure rules

    def facts(
        self, device_id: int, derivations: Mapping[int, Derivation] | None = None
    ) -> DeviceFacts:
        row = self.rows[device_id]
        calculated = {
            pk: known
            for pk, known in self.smart_groups.items()
            if self.smart_groups_as_of.get(pk) is not None
        }
        ages = [at for at in self.smart_groups_as_of.values() if at is not None]
        return DeviceFacts(
            id=row.pk,
            kind=device_kind(self.kind),
            name=row.name,
            smart_groups={
                pk: known.verdict(row.pk) for pk, known in calculated.items()
            },
            smart_groups_as_of=min(ages, default=None),
            smart_group_derivations=derivations or {},
            static_groups=frozenset(
                pk for pk, ids in self.static_groups.items() if row.pk in ids
            ),
            building_id=row.building_id,
            department_id=row.department_id,
            inventory_as_of=row.last_inventory_at,
            last_reported_ip=row.last_reported_ip,
            ip_reported_at=row.last_inventory_at,
            assigned=self.assigned(row.pk),
            logged_in={
                channel: self.logged_in(row.pk, channel)
                for channel in Channel
                if channel.name in self._logins.get(row.pk, {})
            },
        )

    def values(self, device_id: int) -> DeviceValues:
        row = self.rows[device_id]
        os_version: Value = row.os_version or NEVER_REPORTED
        address: Value = row.last_reported_ip or NEVER_REPORTED
        return DeviceValues(
            name=row.name,
            values={
                "Computer Name": row.name,
                "Display Name": row.name,
                "Serial Number": row.serial_number,
                "Model": row.model or NEVER_REPORTED,
                "Operating System Version": os_version,
                "OS Version": os_version,
                "Managed": row.managed,
                "Site": row.site,
                "Building": row.building,
                "Department": row.department,
                "Last Reported IP Address": address,
                "IP Address": address,
                "Username": row.assigned_user,
                "Full Name": row.real_name or None,
                "Email Address": row.email or None,
                "Position": row.position or None,
                "Room": row.room or None,
                "Phone Number": row.phone or None,
                "Last Inventory Update": row.last_inventory_at,
            },
            groups=_GroupVerdicts(self, row.pk),
            assigned=self.assigned(row.pk),
            as_of=row.last_inventory_at,
        )

    # Many devices at once: the same verdicts as evaluate.evaluate

    def reached(self, site_id: int | None) -> BitMap:
        """The devices that an object of this site may reach; without one, all."""
        if site_id is None:
            return self.universe
        return self.sites.get(site_id, BitMap())

    def judge_criteria(
        self, criteria: Criteria | None, *, site_id: int | None, now: datetime
    ) -> Known:
        """Who meets the criteria; None stands for criteria that cannot be read."""
        reached = self.reached(site_id)
        if criteria is None:
            return Known(BitMap(), BitMap(reached))
        inside, unknown = [], []
        for pk in reached:
            values = self._values.get(pk)
            if values is None:
                values = self._values[pk] = self.values(pk)
            match evaluate_criteria(criteria, values, self.directory, now=now):
                case Verdict.IN:
                    inside.append(pk)
                case Verdict.UNKNOWN:
                    unknown.append(pk)
        return Known(BitMap(inside), BitMap(unknown))

    def judge(self, scope: evaluate.Scope, *, site_id: int | None = None) -> Known:
        """Who is in scope, for every device of the fleet."""
        result = any_of(self._entry(entry, scope) for entry in scope.targets)
        for entries in scope.limitations.values():
            result = result & any_of(self._entry(each, scope) for each in entries)
        excluded = any_of(self._entry(entry, scope) for entry in scope.exclusions)
        result = result & excluded.complement(self.universe)
        return result.within(self.reached(site_id))

    def _entry(self, entry: evaluate.Entry, scope: evaluate.Scope) -> Known:
        if entry.broken:
            return Known(BitMap(), self.universe)
        number = entry.id or 0
        match entry.kind:
            case EntryKind.DIRECTORY_USER | EntryKind.DIRECTORY_GROUP:
                return self._directory_entry(entry, scope)
            case EntryKind.ALL_DEVICES:
                return Known(self.universe, BitMap())
            case EntryKind.DEVICE:
                return Known(BitMap([number]) & self.universe, BitMap())
            case EntryKind.SMART_GROUP:
                unknown = Known(BitMap(), self.universe)
                return self.smart_groups.get(number, unknown)
            case EntryKind.STATIC_GROUP:
                return Known(self.static_groups.get(number, BitMap()), BitMap())
            case EntryKind.BUILDING:
                return Known(self.buildings.get(number, BitMap()), BitMap())
            case EntryKind.DEPARTMENT:
                return Known(self.departments.get(number, BitMap()), BitMap())
            case EntryKind.NETWORK_SEGMENT:
                return self._segment(entry)

    def _directory_entry(self, entry: evaluate.Entry, scope: evaluate.Scope) -> Known:
        who = self.principals(None if scope.uses_assigned_user else scope.channel)
        if entry.ref is None:
            key = fold(entry.label)
            local = who.local.get(key, BitMap())
            perhaps = who.perhaps_local.get(key, BitMap())
            return Known(local, (perhaps | who.never_reported) - local)
        if self.directory.describe(entry.ref).broken is not None:
            return Known(BitMap(), self.universe)
        if entry.kind is EntryKind.DIRECTORY_USER:
            return Known(who.by_ref.get(entry.ref, BitMap()), who.unknown)
        members = self.directory.members(entry.ref, nested=entry.nested)
        inside = BitMap()
        for person in members & who.everybody:
            inside |= who.people[person]
        unknown = who.unknown | who.unread
        if self.directory.not_all_readable(entry.ref, nested=entry.nested):
            for person in who.everybody - members:
                unknown |= who.people[person]
        return Known(inside, unknown - inside)

    def _segment(self, entry: evaluate.Entry) -> Known:
        if self._addresses is None:
            self._addresses = {}
            for row in self.rows.values():
                address = _address(row.last_reported_ip)
                if address is None:
                    self._without_address.add(row.pk)
                else:
                    self._addresses.setdefault(address, BitMap()).add(row.pk)
        inside = BitMap()
        for address, devices in self._addresses.items():
            if any(each.holds(address) for each in entry.ranges):
                inside |= devices
        return Known(inside, BitMap(self._without_address))


class _GroupVerdicts(Mapping[str, Verdict]):
    """A device's groups by key, as calculated at the moment they are asked for."""

    def __init__(self, fleet: Fleet, device_id: int) -> None:
        self._fleet = fleet
        self._device_id = device_id

    def __getitem__(self, key: str) -> Verdict:
        sort, _, number = key.partition(":")
        pk = int(number) if number.isdecimal() else 0
        if sort == "static" and pk in self._fleet.static_groups:
            return Verdict.of(self._device_id in self._fleet.static_groups[pk])
        if sort == "smart" and self._fleet.smart_groups_as_of.get(pk) is not None:
            return self._fleet.smart_groups[pk].verdict(self._device_id)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        yield from (f"static:{pk}" for pk in self._fleet.static_groups)
        for pk, at in self._fleet.smart_groups_as_of.items():
            if at is not None:
                yield f"smart:{pk}"

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _address(text: str | None) -> evaluate.IPAddress | None:
    if not text:
        return None
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address
