"""One tenant's directory: objects, direct memberships, and the log of changes.

The seed is never mutated: a change replaces what it touches, so going back to the
seed is a shallow copy. Every change gets a sequence number; delta queries read the
log from a sequence number on.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Properties = dict[str, Any]


class Kind(StrEnum):
    USER = "user"
    GROUP = "group"
    DEVICE = "device"
    SERVICE_PRINCIPAL = "servicePrincipal"
    ORG_CONTACT = "orgContact"
    DIRECTORY_ROLE = "directoryRole"


@dataclass(frozen=True, slots=True)
class DirectoryObject:
    """An object and its properties; a property that is not set is null in Graph."""

    id: str
    kind: Kind
    properties: Properties
    deleted_at: str | None = None


class What(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    RESTORED = "restored"
    PURGED = "purged"
    MEMBER_ADDED = "member added"
    MEMBER_REMOVED = "member removed"


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the log. ``member_kind`` outlives a member that is purged."""

    sequence: int
    object_id: str
    kind: Kind
    what: What
    properties: tuple[str, ...] = ()
    member_id: str = ""
    member_kind: Kind | None = None


class DirectoryError(Exception):
    """A change that the directory refuses; the message says why."""


class NotFoundError(DirectoryError):
    """No such object in this tenant."""


@dataclass(slots=True)
class Seed:
    """What a tenant starts from. Not to be mutated once the tenant exists."""

    tenant_id: str
    domain: str
    initial_domain: str
    display_name: str
    created_at: str
    objects: dict[str, DirectoryObject]
    members: dict[str, dict[str, None]]
    roles: dict[str, str]


class Tenant:
    """The directory as it stands. Tokens of another ``generation`` are worthless."""

    def __init__(self, seed: Seed) -> None:
        self.seed = seed
        self.id = seed.tenant_id
        self.by_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        self._seed_by_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        self._seed_member_of: dict[str, tuple[str, ...]] = {}
        self._seed_upns: dict[str, str] = {}
        self._index_seed()
        self.generation = ""
        self._sorted: tuple[dict[str, None], list[str]] | None = None
        self.reset()

    def _index_seed(self) -> None:
        member_of: dict[str, list[str]] = {}
        for group_id, members in self.seed.members.items():
            for member_id in members:
                member_of.setdefault(member_id, []).append(group_id)
        self._seed_member_of = {key: tuple(value) for key, value in member_of.items()}
        for entry in self.seed.objects.values():
            self._seed_by_kind[entry.kind].append(entry.id)
            if entry.kind is Kind.USER:
                upn = entry.properties["userPrincipalName"].casefold()
                self._seed_upns[upn] = entry.id

    def reset(self) -> None:
        """Go back to the seed and forget the log."""
        self.display_name = self.seed.display_name
        self.domain = self.seed.domain
        self.initial_domain = self.seed.initial_domain
        self.objects = dict(self.seed.objects)
        self.members = dict(self.seed.members)
        self.member_of = dict(self._seed_member_of)
        self.upns = dict(self._seed_upns)
        self.roles = dict(self.seed.roles)
        self.by_kind = {kind: list(ids) for kind, ids in self._seed_by_kind.items()}
        self.log: list[Change] = []

    @property
    def sequence(self) -> int:
        return len(self.log)

    @property
    def domains(self) -> tuple[str, str]:
        return self.domain, self.initial_domain

    def find(self, key: str, *kinds: Kind) -> DirectoryObject | None:
        """Find a present object by id, or a user by UPN. Soft-deleted ones are absent."""
        entry = self.find_even_deleted(key, *kinds)
        return entry if entry is not None and entry.deleted_at is None else None

    def find_even_deleted(self, key: str, *kinds: Kind) -> DirectoryObject | None:
        entry = self.objects.get(key.lower())
        if entry is None and "@" in key:
            entry = self.objects.get(self.upns.get(key.casefold(), ""))
        if entry is not None and kinds and entry.kind not in kinds:
            return None
        return entry

    def need(self, key: str, *kinds: Kind, deleted: bool = False) -> DirectoryObject:
        entry = self.find_even_deleted(key, *kinds)
        if entry is None or (entry.deleted_at is not None) is not deleted:
            state = "deleted " if deleted else ""
            raise NotFoundError(f"There is no {state}object '{key}'.")
        return entry

    def present(self, kind: Kind) -> list[DirectoryObject]:
        found = (self.objects.get(key) for key in self.by_kind[kind])
        return [entry for entry in found if entry and entry.deleted_at is None]

    def direct_members(self, group_id: str) -> list[DirectoryObject]:
        found = (self.objects.get(key) for key in self.members.get(group_id, ()))
        return [entry for entry in found if entry and entry.deleted_at is None]

    def sorted_members(self, group_id: str) -> list[str]:
        """Return the direct members' ids in order, remembered for the last group."""
        members = self.members.get(group_id, {})
        # Memberships are replaced, never mutated: the same dict has the same order.
        if self._sorted is None or self._sorted[0] is not members:
            self._sorted = (members, sorted(members))
        return self._sorted[1]

    def transitive_members(
        self, group_id: str, *, closed: frozenset[str] = frozenset()
    ) -> list[DirectoryObject]:
        """Return every member, direct or nested, each once; cycles end by themselves.

        A group that is part of a cycle is its own transitive member in the closure;
        it is left out, as nobody asks for it. ``closed`` groups are not opened.
        """
        seen: dict[str, DirectoryObject] = {}
        waiting = [group_id]
        while waiting:
            for member in self.direct_members(waiting.pop()):
                if member.id in seen or member.id == group_id:
                    continue
                seen[member.id] = member
                if member.kind is Kind.GROUP and member.id not in closed:
                    waiting.append(member.id)
        return list(seen.values())

    def groups_of(self, member_id: str) -> list[DirectoryObject]:
        """Return every group the object is in, directly or nested, each once."""
        seen: dict[str, DirectoryObject] = {}
        waiting = [member_id]
        while waiting:
            for group_id in self.member_of.get(waiting.pop(), ()):
                entry = self.objects.get(group_id)
                if entry is None or entry.deleted_at or group_id in seen:
                    continue
                seen[group_id] = entry
                waiting.append(group_id)
        seen.pop(member_id, None)
        return list(seen.values())

    def role_of(self, user_id: str) -> str | None:
        return self.roles.get(user_id)

    def create(self, kind: Kind, object_id: str, properties: Properties) -> None:
        if object_id in self.objects:
            raise DirectoryError(f"The id '{object_id}' is taken.")
        if kind is Kind.USER:
            self._claim_upn(object_id, str(properties["userPrincipalName"]))
        self.objects[object_id] = DirectoryObject(object_id, kind, properties)
        self.by_kind[kind].append(object_id)
        if kind is Kind.GROUP:
            self.members[object_id] = {}
        self._record(object_id, kind, What.CREATED)

    def change(self, key: str, kind: Kind, properties: Properties) -> None:
        entry = self.need(key, kind)
        if kind is Kind.USER and "userPrincipalName" in properties:
            self._claim_upn(entry.id, str(properties["userPrincipalName"]))
            old = str(entry.properties["userPrincipalName"]).casefold()
            if old != str(properties["userPrincipalName"]).casefold():
                del self.upns[old]
        merged = {**entry.properties, **properties}
        self.objects[entry.id] = DirectoryObject(entry.id, kind, merged)
        self._record(entry.id, kind, What.CHANGED, properties=tuple(properties))

    def delete(self, key: str, kind: Kind, *, at: str, permanently: bool) -> None:
        """Delete an object; users and Microsoft 365 groups can be restored.

        A soft-deleted object keeps its memberships; a purge removes them.
        """
        entry = self.find_even_deleted(key, kind)
        if entry is None:
            raise NotFoundError(f"There is no object '{key}'.")
        restorable = kind is Kind.USER or "Unified" in entry.properties.get(
            "groupTypes", ()
        )
        if permanently or not restorable:
            self._purge(entry)
        elif entry.deleted_at:
            raise DirectoryError(f"'{key}' is deleted already.")
        else:
            self.objects[entry.id] = DirectoryObject(
                entry.id, kind, entry.properties, deleted_at=at
            )
            self._record(entry.id, kind, What.DELETED)

    def restore(self, key: str, kind: Kind) -> None:
        entry = self.need(key, kind, deleted=True)
        self.objects[entry.id] = DirectoryObject(entry.id, kind, entry.properties)
        self._record(entry.id, kind, What.RESTORED)

    def add_member(self, group_key: str, member_key: str) -> None:
        group = self.need(group_key, Kind.GROUP)
        member = self.need(member_key)
        members = self.members.get(group.id, {})
        if member.id in members:
            raise DirectoryError("It is a member already.")
        self.members[group.id] = {**members, member.id: None}
        self.member_of[member.id] = (*self.member_of.get(member.id, ()), group.id)
        self._record_member(group, member, What.MEMBER_ADDED)

    def remove_member(self, group_key: str, member_key: str) -> None:
        group = self.need(group_key, Kind.GROUP)
        member = self.find_even_deleted(member_key)
        if member is None or member.id not in self.members.get(group.id, {}):
            raise NotFoundError(f"'{member_key}' is no member.")
        self._unlink(group, member)

    def _unlink(self, group: DirectoryObject, member: DirectoryObject) -> None:
        rest = dict(self.members[group.id])
        del rest[member.id]
        self.members[group.id] = rest
        self.member_of[member.id] = tuple(
            key for key in self.member_of[member.id] if key != group.id
        )
        self._record_member(group, member, What.MEMBER_REMOVED)

    def _purge(self, entry: DirectoryObject) -> None:
        for group_id in self.member_of.get(entry.id, ()):
            self._unlink(self.objects[group_id], entry)
        for member_id in list(self.members.get(entry.id, ())):
            self.member_of[member_id] = tuple(
                key for key in self.member_of[member_id] if key != entry.id
            )
        self.members.pop(entry.id, None)
        self.member_of.pop(entry.id, None)
        self.roles.pop(entry.id, None)
        del self.objects[entry.id]
        if entry.kind is Kind.USER:
            self.upns.pop(str(entry.properties["userPrincipalName"]).casefold(), None)
        self._record(entry.id, entry.kind, What.PURGED)

    def _claim_upn(self, object_id: str, upn: str) -> None:
        holder = self.upns.get(upn.casefold(), object_id)
        if holder != object_id:
            raise DirectoryError(f"The user principal name '{upn}' is taken.")
        self.upns[upn.casefold()] = object_id

    def _record(
        self,
        object_id: str,
        kind: Kind,
        what: What,
        *,
        properties: tuple[str, ...] = (),
    ) -> None:
        self.log.append(
            Change(self.sequence + 1, object_id, kind, what, properties=properties)
        )

    def _record_member(
        self, group: DirectoryObject, member: DirectoryObject, what: What
    ) -> None:
        self.log.append(
            Change(
                self.sequence + 1,
                group.id,
                Kind.GROUP,
                what,
                member_id=member.id,
                member_kind=member.kind,
            )
        )
