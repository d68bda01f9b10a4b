"""Pages as they are kept until a run is applied, and merging them.

Staged is what was selected, not Graph's JSON. Merging is free of order between
people and groups, and idempotent: an object may come several times, the last word
counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap

from directory.entra import Group, MemberType, Removed, User

# One staged object: id, "removed" reason where there is one, properties that came.
Item = dict[str, Any]


def user_item(user: User) -> Item:
    if user.removed is not None:
        return {"id": user.id, "removed": user.removed.value}
    return {"id": user.id, "properties": _properties(user.properties)}


def group_item(group: Group) -> Item:
    if group.removed is not None:
        return {"id": group.id, "removed": group.removed.value}
    item: Item = {"id": group.id, "properties": _properties(group.properties)}
    for member in group.members or ():
        # A list for each kind, in the order received; '-' says that it left.
        kind = _KINDS.get(member.type, "others")
        item.setdefault(kind, []).append(f"{'-' if member.removed else ''}{member.id}")
    return item


def members_in(item: Item) -> int:
    return sum(
        not member.startswith("-")
        for kind in ("users", "groups", "others")
        for member in item.get(kind, ())
    )


_KINDS = {MemberType.USER: "users", MemberType.GROUP: "groups"}


def _properties(properties: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in properties.items() if name != "id"}


@dataclass(slots=True)
class ObjectChange:
    """What a round says of one object: how it left, or its properties, merged."""

    removed: Removed | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    def take(self, item: Item) -> None:
        reason = item.get("removed")
        if reason is None:
            self.removed = None
            self.properties.update(item["properties"])
        else:
            self.removed = Removed(reason)
            if self.removed is Removed.DELETED:
                self.properties = {}


@dataclass(slots=True)
class MemberChanges:
    """Who joined and who left, as numbers of `Snapshot.ids`."""

    joined: BitMap = field(default_factory=BitMap)
    left: BitMap = field(default_factory=BitMap)

    def take(self, members: Iterable[str], number: "Numbers") -> None:
        for member in members:
            if member.startswith("-"):
                which = number(member[1:])
                self.left.add(which)
                self.joined.discard(which)
            else:
                which = number(member)
                self.joined.add(which)
                self.left.discard(which)


class Numbers:
    """A small number for each object id: a million mentions cost bits, not texts."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.object_ids: list[str] = []

    def __call__(self, object_id: str) -> int:
        number = self.known.get(object_id)
        if number is None:
            number = self.known[object_id] = len(self.object_ids)
            self.object_ids.append(object_id)
        return number

    def names(self, numbers: BitMap) -> Iterable[str]:
        return (self.object_ids[number] for number in numbers)


@dataclass(slots=True)
class GroupChange(ObjectChange):
    users: MemberChanges = field(default_factory=MemberChanges)
    groups: MemberChanges = field(default_factory=MemberChanges)
    others: MemberChanges = field(default_factory=MemberChanges)

    def take_members(self, item: Item, numbers: Numbers) -> None:
        if item.get("removed") == Removed.DELETED.value:
            self.users, self.groups = MemberChanges(), MemberChanges()
            self.others = MemberChanges()
            return
        self.users.take(item.get("users", ()), numbers)
        self.groups.take(item.get("groups", ()), numbers)
        self.others.take(item.get("others", ()), numbers)


@dataclass(slots=True)
class Snapshot:
    """Everything a run read, merged."""

    full: bool
    users: dict[str, ObjectChange] = field(default_factory=dict)
    groups: dict[str, GroupChange] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)

    def take_users(self, items: Iterable[Item]) -> None:
        for item in items:
            self.users.setdefault(item["id"], ObjectChange()).take(item)

    def take_groups(self, items: Iterable[Item]) -> None:
        for item in items:
            change = self.groups.setdefault(item["id"], GroupChange())
            change.take(item)
            change.take_members(item, self.numbers)

    @property
    def users_present(self) -> int:
        return sum(change.removed is None for change in self.users.values())
