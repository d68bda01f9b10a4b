"""Reduced pages as they are kept until a run is applied, and merging them.

Merging is free of order between people and groups, and idempotent: an object may come
several times, the last word counts.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from isal import isal_zlib
from pyroaring import BitMap

from directory.models import StagedPage, SyncRun
from directory.sync import rows
from directory.sync.attributes import USER_VALUES
from directory.sync.bitmaps import pack, unpack
from directory.sync.reduce import Answers, Reduced

Resource = StagedPage.Resource
_BOTH = (Resource.USERS, Resource.GROUPS)
_ENTRIES = ("objects_changed",)
# Pages that are read back with one question to the database.
AT_ONCE = 8
# Entries of fewer bytes are stored as they are.
WORTH_COMPRESSING = 4 * 1024
# Fast rather than small: of people a quarter is left.
LEVEL = 1
# Bytes of stored pages that a run has at hand, and need not read back.
KEPT_BYTES = 32 * 1024 * 1024

# Of a record of members: the group and six counts.
_HEAD = 7
# Raise it with every change of how pages are packed that the next line does not see.
LAYOUT = 2
# Pages that another version packed are read again instead of being taken for these.
FORMAT = hashlib.blake2b(
    orjson.dumps([LAYOUT, _HEAD, USER_VALUES]), digest_size=8
).hexdigest()


def staged(
    run: SyncRun,
    resource: Resource,
    number: int,
    reduced: Reduced,
    *,
    next_link: str,
    delta_link: str,
    now: datetime,
) -> StagedPage:
    """Return a page as it is stored; nothing is written."""
    return StagedPage(
        run=run,
        format=FORMAT,
        resource=resource,
        number=number,
        seen=pack(reduced.seen),
        objects_changed=_compressed(reduced.entries) if reduced.entries else b"",
        members=reduced.members.tobytes(),
        next_link=next_link,
        delta_link=delta_link,
        staged_at=now,
    )


def _compressed(entries: list[list[Any]]) -> bytes:
    text = orjson.dumps(entries)
    if len(text) < WORTH_COMPRESSING:
        return text
    return isal_zlib.compress(text, LEVEL)


_COLUMNS = (
    "run_id",
    "format",
    "resource",
    "number",
    "seen",
    "objects_changed",
    "members",
    "next_link",
    "delta_link",
)


def store_pages(pages: Sequence[StagedPage]) -> None:
    """Store pages that are not stored yet. Call it in a transaction."""
    rows.insert(
        StagedPage,
        (*_COLUMNS, "staged_at"),
        [
            (*(getattr(page, c) for c in _COLUMNS), rows.moment(page.staged_at))
            for page in pages
        ],
    )


def entries_of(page: StagedPage) -> list[list[Any]]:
    stored = bytes(page.objects_changed)
    if not stored:
        return []
    # A list in JSON begins with a bracket, which nothing compressed does.
    text = stored if stored.startswith(b"[") else isal_zlib.decompress(stored)
    entries: list[list[Any]] = orjson.loads(text)
    return entries


@dataclass(slots=True)
class Sides:
    """Who joined and who left, by group, as the last word on each says."""

    joined: dict[int, BitMap] = field(default_factory=dict)
    left: dict[int, BitMap] = field(default_factory=dict)

    def take(self, group: int, joined: BitMap, left: BitMap) -> None:
        """Merge one slice; what it says comes after all that came before."""
        if joined:
            if group in self.left:
                self.left[group] -= joined
            if group in self.joined:
                self.joined[group] |= joined
            else:
                self.joined[group] = joined
        if left:
            if group in self.joined:
                self.joined[group] -= left
            if group in self.left:
                self.left[group] |= left
            else:
                self.left[group] = left

    def forget(self, group: int) -> None:
        self.joined.pop(group, None)
        self.left.pop(group, None)


@dataclass(slots=True)
class MemberSets:
    """The members of all groups that a run read, by kind."""

    users: Sides = field(default_factory=Sides)
    groups: Sides = field(default_factory=Sides)
    others: Sides = field(default_factory=Sides)

    def take(self, packed: bytes) -> None:
        """Merge a page: records of a group, six counts, and as many numbers.

        The counts are of users, groups and others that joined and left.
        """
        numbers = array("I")
        numbers.frombytes(packed)
        at = 0
        while at < len(numbers):
            group, *counts = numbers[at : at + _HEAD]
            at += _HEAD
            sets = []
            for count in counts:
                sets.append(BitMap(numbers[at : at + count]) if count else _NOBODY)
                at += count
            self.users.take(group, sets[0], sets[1])
            self.groups.take(group, sets[2], sets[3])
            self.others.take(group, sets[4], sets[5])


_NOBODY = BitMap()


@dataclass(slots=True)
class Round:
    """Everything a run read. Large parts are read from their pages when asked for."""

    full: bool
    pages: "Pages"
    # Objects with more than one entry, where that is known without looking.
    again: BitMap | None = None
    # What is known of people without looking, of a read of everything.
    people: Answers | None = None
    members: MemberSets = field(default_factory=MemberSets)
    seen: dict[Resource, BitMap] = field(
        default_factory=lambda: {resource: BitMap() for resource in Resource}
    )
    # Their entries, merged beforehand, since they may stand far apart. They are few, unless a directory repeats itself throughout.
    repeated: dict[int, list[Any]] = field(default_factory=dict)

    def merge(self) -> None:
        """Read all pages once, few in memory at a time."""
        for page in self.pages.of(*_BOTH, columns=("seen", "members")):
            resource = Resource(page.resource)
            self.seen[resource] |= unpack(page.seen)
            if page.members:
                self.members.take(bytes(page.members))
        again = self._find_repeated() if self.again is None else self.again
        if again:
            self._merge_repeated(again)

    def _find_repeated(self) -> BitMap:
        once: BitMap = BitMap()
        again: BitMap = BitMap()
        for page in self.pages.of(*_BOTH, columns=_ENTRIES):
            numbers = [entry[0] for entry in entries_of(page)]
            on_page = BitMap(numbers)
            again |= once & on_page
            if len(on_page) < len(numbers):
                again.update(_twice(numbers))
            once |= on_page
        return again

    def _merge_repeated(self, again: BitMap) -> None:
        # Groups come in slices, people hardly ever more than once.
        people = self.whole_people()
        once = people is not None and not again & BitMap(people.numbers)
        resources = (Resource.GROUPS,) if once else _BOTH
        for page in self.pages.of(*resources, columns=_ENTRIES):
            for entry in entries_of(page):
                if entry[0] in again:
                    self.repeated[entry[0]] = merged(self.repeated.get(entry[0]), entry)

    def whole_people(self) -> Answers | None:
        """Return who came, if all that came of people was everything there is.

        Of whoever came more than once the last answer counts, as it does in entries.
        """
        return None if self.people is None or self.people.partial else self.people

    def entries(self, resource: Resource) -> Iterator[list[Any]]:
        """Yield one entry for each object of which something was kept."""
        given: set[int] = set()
        for page in self.pages.of(resource, columns=_ENTRIES):
            for entry in entries_of(page):
                number = entry[0]
                if number not in self.repeated:
                    yield entry
                elif number not in given:
                    given.add(number)
                    yield self.repeated[number]


def merged(before: list[Any] | None, entry: list[Any]) -> list[Any]:
    """Return two entries of one object as one; the second came later."""
    if before is None or not isinstance(entry[2], dict):
        return entry
    said = before[2]
    if isinstance(said, dict):
        return [entry[0], entry[1], said | entry[2], entry[3]]
    if isinstance(said, list):
        # A whole answer and then a part of one: the part is laid over it.
        whole = dict(zip(USER_VALUES, said, strict=True))
        return [entry[0], None, whole | entry[2], entry[3]]
    return entry


def _twice(numbers: Iterable[int]) -> set[int]:
    return {number for number, times in Counter(numbers).items() if times > 1}


class Pages:
    """The pages of a run: those stored, and those that are about to be.

    Of those that were stored here the first ones stay at hand, up to KEPT_BYTES.
    """

    def __init__(self, run: SyncRun) -> None:
        self.run = run
        self.unstored: list[StagedPage] = []
        self.any_stored = False
        self._kept: dict[Resource, list[StagedPage]] = {
            resource: [] for resource in Resource
        }
        self._room = KEPT_BYTES

    def are_stored(self) -> None:
        """Take those that were about to be stored for stored: the transaction ended."""
        self.any_stored = self.any_stored or bool(self.unstored)
        for page in self.unstored:
            self._room -= len(page.objects_changed) + len(page.members)
            # Those of a chain that are at hand follow one another.
            if self._room >= 0:
                self._kept[Resource(page.resource)].append(page)
        self.unstored = []

    def of(
        self, *resources: Resource, columns: Sequence[str] = ()
    ) -> Iterator[StagedPage]:
        """Yield pages in the order in which they were read, few in memory at a time.

        Pages are large: with `columns` no others are read of those that are stored.
        """
        for resource in resources:
            kept = self._kept[resource]
            if kept:
                yield from self._stored(resource, columns, number__lt=kept[0].number)
                yield from kept
                if self._room < 0:
                    yield from self._stored(
                        resource, columns, number__gt=kept[-1].number
                    )
            elif self.any_stored:
                yield from self._stored(resource, columns)
            yield from (page for page in self.unstored if page.resource == resource)

    def at_hand(self, resource: Resource) -> list[StagedPage]:
        """Return the pages of a chain that need not be read back."""
        return [
            *self._kept[resource],
            *(page for page in self.unstored if page.resource == resource),
        ]

    def _stored(
        self, resource: Resource, columns: Sequence[str], **among: int
    ) -> Iterator[StagedPage]:
        if among.get("number__lt") == _FIRST:
            return
        stored = StagedPage.objects.filter(run=self.run, resource=resource, **among)
        if columns:
            stored = stored.only("resource", "number", *columns)
        yield from stored.order_by("number").iterator(chunk_size=AT_ONCE)


# Pages of a chain are numbered from here.
_FIRST = 1
