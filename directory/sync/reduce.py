"""From a page of Graph's JSON to what of it has to be kept until it is applied.

Most of a full read is as it was: then an object's hash is all that is looked at.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson
from pyroaring import BitMap

from directory.entra import MemberType, Removed
from directory.entra.errors import GraphResponseError
from directory.entra.objects import (
    check_group,
    check_user,
    member_type,
    members_delta,
    removed_reason,
    unreadable,
)
from directory.models import DirectoryObject, StagedPage
from directory.sync import attributes
from directory.sync.numbers import Register
from directory.sync.selection import Selection

Json = dict[str, Any]
Kind = DirectoryObject.Kind

# Graph's types of members, as they come.
_USER = "#microsoft.graph.user"
_KINDS = {MemberType.USER: Kind.USER, MemberType.GROUP: Kind.GROUP}
_ID, _TYPE = itemgetter("id"), itemgetter("@odata.type")
# Of an entry of `members@delta`: its type and id; a third key says that it left.
_PLAIN = 2

# What of a group is kept, by Graph's names.
_GROUP_PROPERTIES = (
    "displayName",
    "description",
    "mail",
    "membershipRule",
    "mailEnabled",
    "securityEnabled",
    "isAssignableToRole",
    "visibility",
    "groupTypes",
)


@dataclass(slots=True)
class Reduced:
    """A page, reduced.

    An entry is [number, hash or null, what, object id]: what is the list of a person's
    values in the order of USER_VALUES where all of them came, a dict where some did (of
    a group: Graph's properties), and Graph's reason where the object was removed.
    `members` is an array for `stage.MemberSets`.
    """

    seen: BitMap
    entries: list[list[Any]] = field(default_factory=list)
    members: array[int] = field(default_factory=lambda: array("I"))
    members_joined: int = 0


@dataclass(slots=True)
class Answers:
    """Number and hash of each person of whom something was kept, in small.

    A first read is compared with nothing: that is all of it that is looked at.
    """

    numbers: array[int] = field(default_factory=lambda: array("I"))
    hashes: array[int] = field(default_factory=lambda: array("q"))
    # Of somebody less came than everything there is.
    partial: bool = False

    def add(self, entry: Sequence[Any]) -> None:
        number, value, what = entry[:3]
        if isinstance(what, list):
            self.numbers.append(number)
            self.hashes.append(value)
        else:
            self.partial = True


@dataclass(slots=True)
class Reducer:
    """Reduces the pages of one run; `whole` says that everything was asked for."""

    selection: Selection
    register: Register
    whole: bool
    # Those of which something was kept: their hash no longer says what is.
    touched: BitMap = field(default_factory=BitMap)
    # Of these, those of which something was kept more than once.
    repeated: BitMap = field(default_factory=BitMap)
    people: Answers = field(default_factory=Answers)
    _base: Any = field(init=False)
    _read: attributes.ReadValues = field(init=False)
    _names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._base = hashlib.blake2b(self.selection.digest, digest_size=8)
        self._read = attributes.values_reader(self.selection.mapped)
        self._names = self.selection.outer_properties

    def users(self, items: Sequence[Json]) -> Reduced:
        """Reduce a page of people.

        Raises:
            GraphResponseError: something is not what Graph answers.
        """
        ids = _ids(items, "user")
        self.register.know(dict.fromkeys(ids, Kind.USER))
        numbers = list(map(self.register.numbers.__getitem__, ids))
        self.register.know_hashes(numbers)
        reduced = Reduced(seen=BitMap(numbers))
        hash_of, known = self._hash, self.register.hashes.get
        for number, item in zip(numbers, items, strict=True):
            if "@removed" in item:
                entry = self._removal(number, item, "user")
            else:
                value = hash_of(item)
                if known(number) == value and number not in self.touched:
                    continue
                entry = self._user(number, value, item)
            self.touch(number)
            self.people.add(entry)
            reduced.entries.append([*entry, item["id"].lower()])
        return reduced

    def take_up(self, resource: str, entries: Iterable[Sequence[Any]]) -> None:
        """Know what an earlier worker of the run reduced."""
        for entry in entries:
            self.touch(entry[0])
            if resource == StagedPage.Resource.USERS:
                self.people.add(entry)

    def touch(self, number: int) -> None:
        """Note that something of an object was kept."""
        if number in self.touched:
            self.repeated.add(number)
        self.touched.add(number)

    def groups(self, items: Sequence[Json]) -> Reduced:
        """Reduce a page of groups and slices of groups. Raises as `users`."""
        ids = _ids(items, "group")
        members = [members_delta(item) for item in items]
        numbers, named = self._know_all(ids, members)
        self.register.know_hashes(numbers)
        reduced = Reduced(seen=BitMap(numbers))
        at = 0
        for number, item, entries in zip(numbers, items, members, strict=True):
            item.pop("members@delta", None)
            entry = (
                self._removal(number, item, "group")
                if "@removed" in item
                else self._group(number, item)
            )
            if entry is not None:
                self.touch(number)
                reduced.entries.append([*entry, item["id"].lower()])
            if entries:
                end = at + len(entries)
                _members(number, entries, named[at:end], reduced)
                at = end
        return reduced

    def _removal(self, number: int, item: Json, what: str) -> list[Any]:
        reason = removed_reason(item, what) or Removed.CHANGED
        return [number, None, reason.value]

    def _hash(self, item: Json) -> int:
        digest = self._base.copy()
        digest.update(orjson.dumps(item, option=orjson.OPT_SORT_KEYS))
        return int.from_bytes(digest.digest(), "big", signed=True)

    def _unchanged(self, number: int, value: int) -> bool:
        return self.register.hashes.get(number) == value and number not in self.touched

    def _user(self, number: int, value: int, item: Json) -> list[Any]:
        check_user(item)
        if self.whole or self._names <= item.keys():
            return [number, value, self._read(item)]
        came = attributes.came(item, self.selection.mapped)
        values = dict(zip(attributes.USER_VALUES, self._read(item), strict=True))
        return [number, None, {column: values[column] for column in came}]

    def _group(self, number: int, item: Json) -> list[Any] | None:
        value = self._hash(item)
        if self._unchanged(number, value):
            return None
        check_group(item)
        names = {*_GROUP_PROPERTIES, self.selection.group_name}
        known = {name: item[name] for name in names & item.keys()}
        complete = self.whole or names <= item.keys()
        return [number, value if complete else None, known]

    # --- Members

    def _know_all(
        self, ids: list[str], members: list[list[Json]]
    ) -> tuple[list[int], array[int]]:
        """Return the numbers of the groups of a page, and of everybody they name."""
        numbers = self.register.numbers
        everybody = list(chain.from_iterable(members))
        wanted = dict.fromkeys(ids, Kind.GROUP)
        try:
            # Members are most often known, and looked up together, in C.
            named = list(map(_ID, everybody))
            found: list[Any] = list(map(numbers.get, named))
        except (KeyError, TypeError):
            raise _unreadable_member() from None
        missing = [at for at, number in enumerate(found) if number is None]
        for at in missing:
            if type(named[at]) is not str:
                raise _unreadable_member()
            wanted.setdefault(named[at], _kind(everybody[at]))
        self.register.know(wanted)
        for at in missing:
            found[at] = numbers[named[at]]
        return list(map(numbers.__getitem__, ids)), array("I", found)


def _members(
    group: int, entries: list[Json], numbers: array[int], reduced: Reduced
) -> None:
    """Append what one slice says, as the array of `stage.MemberSets`."""
    types = _types(entries)
    if types == {_USER} and set(map(len, entries)) == {_PLAIN}:
        # By far the most: people who are in a group.
        reduced.members.extend((group, len(numbers), 0, 0, 0, 0, 0))
        reduced.members.extend(numbers)
        reduced.members_joined += len(numbers)
        return
    joins = {odata_type: 2 * _SIDES[_kind_of(odata_type)] for odata_type in types}
    # The last word on a membership counts.
    last = {
        number: joins[entry["@odata.type"]] + ("@removed" in entry)
        for number, entry in zip(numbers, entries, strict=True)
    }
    sides: list[list[int]] = [[] for _ in range(2 * len(_SIDES))]
    for number, side in last.items():
        sides[side].append(number)
    reduced.members.extend((group, *map(len, sides)))
    for side_numbers in sides:
        reduced.members.extend(side_numbers)
    reduced.members_joined += sum(map(len, sides[::2]))


_SIDES = {Kind.USER: 0, Kind.GROUP: 1, Kind.OTHER: 2}


def _types(entries: list[Json]) -> set[str]:
    """Return Graph's types of the members in a slice."""
    try:
        types = set(map(_TYPE, entries))
    except (KeyError, TypeError):
        raise _without_type() from None
    if set(map(type, types)) != {str}:
        raise _without_type()
    return types


def _without_type() -> GraphResponseError:
    return unreadable("a member without @odata.type")


def _unreadable_member() -> GraphResponseError:
    return unreadable("id of a member: it is missing or not a GUID")


def _ids(items: Sequence[Json], what: str) -> list[str]:
    try:
        ids: list[str] = list(map(_ID, items))
    except KeyError:
        ids = []
    if len(ids) < len(items) or not set(map(type, ids)) <= {str}:
        raise unreadable(f"id of a {what}: it is missing or not a GUID")
    return ids


def _kind(entry: Json) -> Kind:
    odata_type = entry.get("@odata.type")
    if not isinstance(odata_type, str):
        raise _without_type()
    return _kind_of(odata_type)


@lru_cache(maxsize=100)
def _kind_of(odata_type: str) -> Kind:
    return _KINDS.get(member_type(odata_type), Kind.OTHER)
