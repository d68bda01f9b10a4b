"""What other mappings would do to the people of a directory.

Everybody is looked at once, by the properties of both mappings, and only counted. Of
values those are kept that need a name on the page: user names that collide, departments
and buildings.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pyroaring import BitMap

from directory.dependents import NameWatch, Proposed
from directory.models import DirectoryUser
from directory.sync.attributes import (
    NEW_USER,
    USER_ATTRIBUTES,
    USER_VALUES,
    Properties,
    UserRow,
    name_key,
    values_reader,
)
from directory.sync.filters import ReadFilter
from directory.sync.rows import chunks

# A page shows that many of what is counted exactly.
NAMES_SHOWN = 50
# More different departments than that are none; they are no longer counted.
VALUES_KEPT = 2000
PLACES = ("department", "building")
# What the rows hold besides the mapped attributes.
_COLUMNS = {
    "displayName": "display_name",
    "userPrincipalName": "user_principal_name",
    "userType": "user_type",
}
_FIRST = USER_VALUES.index(USER_ATTRIBUTES[0])
_ENABLED = USER_VALUES.index("account_enabled")
_TYPE = USER_VALUES.index("user_type")
_DISPLAY_NAME = USER_VALUES.index("display_name")
_UPN = USER_VALUES.index("user_principal_name")
_USER_NAME = USER_ATTRIBUTES.index("user_name")
_KEYS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Change:
    """Of one attribute: how many get another value, one at last, or none any more."""

    changed: int = 0
    filled: int = 0
    emptied: int = 0


@dataclass(slots=True)
class Tally:
    """Adds up everybody, shown one by one, each once."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    watches: Sequence[NameWatch] = ()
    # Of the connections whose people could have the same user names.
    elsewhere: Sequence[int] = ()
    people: int = 0
    concerned: int = 0
    nameless: int = 0
    shared: int = 0
    changes: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in USER_ATTRIBUTES}
    )
    places: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in PLACES}
    )
    _seen: set[bytes] = field(default_factory=set)
    # Hashes of the keys of user names, and beside them the object IDs.
    _keys: array[int] = field(default_factory=lambda: array("q"))
    _ids: bytearray = field(default_factory=bytearray)
    # Whatever came twice is in here, by the first 32 bits; by chance more than that.
    _short: BitMap = field(default_factory=BitMap)
    _twice: dict[int, str] = field(default_factory=dict)
    _asked: list[str] = field(default_factory=list)

    def take(self, object_id: str, before: Sequence[Any], after: Sequence[Any]) -> None:
        """Look at a person: both are values in the order of USER_VALUES.

        A directory repeats itself; whoever was looked at is not counted again.
        """
        identity = bytes.fromhex(object_id.replace("-", ""))
        if identity in self._seen:
            return
        self._seen.add(identity)
        self.people += 1
        old, new = before[_FIRST:], after[_FIRST:]
        if old != new:
            self.concerned += 1
            for name, was, is_ in zip(USER_ATTRIBUTES, old, new, strict=True):
                if was != is_:
                    kind = "changed" if was and is_ else "filled" if is_ else "emptied"
                    self.changes[name][kind] += 1
        for name in PLACES:
            self._place(name, new[USER_ATTRIBUTES.index(name)].strip())
        self._name(identity, new[_USER_NAME])
        for watch in self.watches:
            watch.take(
                Proposed(
                    object_id=object_id,
                    display_name=after[_DISPLAY_NAME] or after[_UPN] or object_id,
                    user_name=new[_USER_NAME],
                    disabled=after[_ENABLED] is False,
                )
            )

    def _place(self, name: str, value: str) -> None:
        counted = self.places[name]
        if value and (value in counted or len(counted) <= VALUES_KEPT):
            counted[value] += 1

    def _name(self, identity: bytes, user_name: str) -> None:
        key = name_key(user_name)
        if not key:
            self.nameless += 1
            return
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        hashed = int.from_bytes(digest, "big", signed=True)
        short = int.from_bytes(digest[:4], "big")
        self._keys.append(hashed)
        self._ids.extend(identity)
        if short not in self._short:
            self._short.add(short)
        elif len(self._twice) < VALUES_KEPT:
            self._twice.setdefault(hashed, user_name)
        if self.elsewhere:
            self._asked.append(key)
            if len(self._asked) >= _KEYS_AT_ONCE:
                self._ask_elsewhere()

    def _ask_elsewhere(self) -> None:
        if not self._asked:
            return
        people = DirectoryUser.objects.present().filter(cloud_idp__in=self.elsewhere)
        for some in chunks(self._asked):
            found = people.filter(user_name_key__in=some).values("user_name_key")
            self.shared += found.distinct().count()
        self._asked = []

    def findings(self) -> dict[str, Any]:
        """What it came to, as JSON."""
        self._ask_elsewhere()
        return {
            "people": self.people,
            "concerned": self.concerned,
            "nameless": self.nameless,
            "shared": self.shared,
            "changes": {name: dict(kinds) for name, kinds in self.changes.items()},
            "places": {
                name: {
                    "too_many": len(counted) > VALUES_KEPT,
                    "values": {} if len(counted) > VALUES_KEPT else dict(counted),
                }
                for name, counted in self.places.items()
            },
            "collisions": self._collisions(),
            "watched": [watch.findings() for watch in self.watches],
        }

    def _collisions(self) -> dict[str, Any]:
        keys = self._keys
        names = people = 0
        shown: list[dict[str, Any]] = []
        for key, positions in groupby(
            sorted(range(len(keys)), key=keys.__getitem__), key=keys.__getitem__
        ):
            holders = list(positions)
            if len(holders) == 1:
                continue
            names += 1
            people += len(holders)
            if len(shown) < NAMES_SHOWN and key in self._twice:
                shown.append(
                    {
                        "name": self._twice[key],
                        "people": len(holders),
                        "ids": [self._id_at(at) for at in holders[:5]],
                    }
                )
        shown.sort(key=lambda each: (-each["people"], each["name"]))
        return {"names": names, "people": people, "shown": shown}

    def _id_at(self, position: int) -> str:
        text = self._ids[16 * position : 16 * position + 16].hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def stored_in(mapped: Mapping[str, str]) -> dict[str, str]:
    """Return which column of the rows holds which property, by the mappings read by."""
    return _COLUMNS | {graph_name: name for name, graph_name in mapped.items()}


def add_stored(
    tally: Tally, people: Iterable[DirectoryUser], columns: Mapping[str, str]
) -> None:
    """Look at rows; `columns` holds every property of the new mappings."""
    moved = [
        columns[tally.after[name]] if name in tally.after else ""
        for name in USER_ATTRIBUTES
    ]
    for person in people:
        before = [getattr(person, name) for name in USER_VALUES]
        after = [*before[:_FIRST], *(getattr(person, c) if c else "" for c in moved)]
        tally.take(person.object_id, before, after)


class Reader:
    """Shows a tally the people that Graph lists."""

    def __init__(self, tally: Tally, read_filter: ReadFilter) -> None:
        self._tally = tally
        self._filter = read_filter if read_filter.picks_people else None
        self._before = values_reader(tally.before)
        self._after = values_reader(tally.after)

    def add(self, items: Iterable[Properties]) -> None:
        for item in items:
            if "@removed" in item:
                continue
            before, after = self._before(item), self._after(item)
            if self._filter is None or self._filter.keeps_person(_row(after)):
                self._tally.take(str(item["id"]).lower(), before, after)


def _row(values: Sequence[Any]) -> UserRow:
    """As much of a person's row as a filter looks at."""
    return NEW_USER._replace(account_enabled=values[_ENABLED], user_type=values[_TYPE])
