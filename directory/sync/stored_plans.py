"""What a run planned, as it is kept for reading: packed, in few rows.

A page of differences is read from one or two parts. Of a first read, which brings
everybody, people and groups are named by number alone: their values are in their rows.
A dry run brings no rows, and keeps the values as well.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from django.db.models import Model
from pyroaring import BitMap

from directory.dependents import (
    Consequence,
    ConsequenceKind,
    ObjectOfConsole,
    Subject,
)
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    PlanConsequence,
    PlanPart,
    State,
    SyncRun,
)
from directory.sync import observe
from directory.sync.attributes import GroupRow, Row, UserRow
from directory.sync.bitmaps import pack, unpack
from directory.sync.differences import (
    PRESENT,
    Change,
    MemberChange,
    NewObjects,
    Objects,
    Plan,
)
from directory.sync.rows import chunks, insert
from directory.sync.stored import rows_of

Section = PlanPart.Section
Json = dict[str, Any]

# Differences in one part; of numbers alone a part holds many more.
IN_PART = 500
NUMBERS_IN_PART = 20_000
# Fast rather than small: it is done in every run that changes something.
LEVEL = 1
# Columns that follow from others.
DERIVED = frozenset({"user_name_key", "sort_key", "search", "state_since"})


class Difference(NamedTuple):
    """One person or group: before and after by column; of members the sets.

    `before` is None of one that is new, and both are empty where only the number was
    kept. `joined` and `left` are by kind: users, groups, others (counted alone).
    """

    number: int
    sort: str
    told: bool
    values: Mapping[str, tuple[Any, Any]]
    joined: Mapping[str, BitMap]
    left: Mapping[str, BitMap]
    others: tuple[int, int] = (0, 0)
    kind: str = ""
    guards: Sequence[str] = ()
    object_id: str = ""

    @property
    def joined_count(self) -> int:
        return sum(map(len, self.joined.values())) + self.others[0]

    @property
    def left_count(self) -> int:
        return sum(map(len, self.left.values())) + self.others[1]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows that are ready to be written, made before anything is locked."""

    parts: Sequence[tuple[Any, ...]] = ()
    consequences: Sequence[tuple[Any, ...]] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.parts or self.consequences)

    def write(self, run_id: int) -> None:
        """Store them for a run. Call it in the transaction that ends it."""
        for model, columns, stored in (
            (PlanPart, _PART, self.parts),
            (PlanConsequence, _CONSEQUENCE, self.consequences),
        ):
            if stored:
                insert(model, columns, ((run_id, *row) for row in stored))


_PART = ("run_id", "section", "first", "last", "counts", "numbers_only", "body")
_CONSEQUENCE = (
    "run_id",
    "position",
    "kind",
    "subject",
    "about",
    "permission",
    "site_id",
    "what",
    "detail",
    "full_access",
    "count",
    "numbers",
    "groups",
    "differences",
)


def prepare(
    plan: Plan, consequences: Sequence[Consequence], *, with_values: bool = False
) -> Prepared:
    """Pack a plan after its guards. `with_values` keeps those of new ones as well,
    however many they are."""
    parts = [
        *_of_objects(Section.PEOPLE, plan.people, with_values=with_values),
        *_of_objects(Section.GROUPS, plan.groups, with_values=with_values),
        *_of_members(plan),
        *_of_holds(plan),
    ]
    return Prepared(
        parts=parts,
        consequences=[
            _consequence(position, each) for position, each in enumerate(consequences)
        ],
    )


# Packing -------------------------------------------------------------------------


def _part(
    section: str, entries: list[list[Any]], *, sorts: Iterable[str]
) -> tuple[Any, ...]:
    return (
        section,
        entries[0][0],
        entries[-1][0],
        _json(Counter(sorts)),
        False,
        zlib.compress(orjson.dumps(entries, default=_plain), LEVEL),
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _plain(value: Any) -> Any:
    """What JSON has no form for: bitmaps, as lists of numbers."""
    if isinstance(value, BitMap):
        return value.to_array().tolist()
    raise TypeError(type(value))


def _of_objects(
    section: str, objects: Objects[Row], *, with_values: bool
) -> Iterator[tuple[Any, ...]]:
    if objects.new.stream is not None and not with_values:
        # Nobody was there before: new ones are all there is.
        yield from _numbers(section, objects.new)
        return
    # As bytes at once: of a dry run before the first read they are everybody.
    entries = [
        (int(entry[0]), str(entry[1]), orjson.dumps(entry))
        for entry in _entries(objects)
    ]
    entries.sort(key=lambda entry: entry[0])
    for some in chunks(entries, IN_PART):
        yield (
            section,
            some[0][0],
            some[-1][0],
            _json(Counter(sort for _, sort, _ in some)),
            False,
            zlib.compress(b"[" + b",".join(said for _, _, said in some) + b"]", LEVEL),
        )


def _entries(objects: Objects[Row]) -> Iterator[list[Any]]:
    yield from _new(objects)
    yield from _changed(objects.changes)
    for number in objects.forgotten:
        yield [number, "forgotten", True, {}, {}]


# Of a first read: who is in the directory, who is named and not read, who is left out.
_OF_A_FIRST_READ = ("added", "mentioned", "filtered")


def _numbers(section: str, new: NewObjects[Any]) -> Iterator[tuple[Any, ...]]:
    mentioned = BitMap(new.kept) - new.present
    for some in chunks(new.numbers, NUMBERS_IN_PART):
        numbers = BitMap(some)
        sides = (
            numbers & new.present,
            numbers & mentioned,
            numbers - new.present - mentioned,
        )
        counts = dict(zip(_OF_A_FIRST_READ, map(len, sides), strict=True))
        yield (
            section,
            some[0],
            some[-1],
            _json({sort: count for sort, count in counts.items() if count}),
            True,
            _framed([(0, [[pack(side) for side in sides]], [0, 0])]),
        )


def _new(objects: Objects[Row]) -> Iterator[list[Any]]:
    for number, object_id, row in objects.new.rows():
        after = {
            name: value
            for name, value in row._asdict().items()
            if name not in DERIVED and value not in ("", None)
        }
        yield [number, _sort_of_new(row.state), True, None, after, object_id]


def _changed(changes: Mapping[int, Change]) -> Iterator[list[Any]]:
    for number, change in changes.items():
        yield [number, sort_of(change), change.told, *_both(change)]


def _both(change: Change) -> tuple[Json, Json]:
    names = [name for name in change.after if name not in DERIVED]
    return (
        {name: change.before[name] for name in names},
        {name: change.after[name] for name in names},
    )


def sort_of(change: Change) -> str:
    """What becomes of a person or group, in the words of the plan's page."""
    before, after = change.state_before, change.state_after
    if after is None:
        if change.after.get("account_enabled") is False:
            return "disabled"
        if change.after.get("account_enabled") and "account_enabled" in change.before:
            return "enabled"
        return "changed"
    if after == PRESENT:
        return "restored" if before in observe.DEPARTED else "added"
    return _BY_STATE.get(after, "unknown")


_BY_STATE = {
    State.DELETED.value: "deleted",
    State.GONE.value: "gone",
    State.FILTERED.value: "filtered",
    State.UNREADABLE.value: "unknown",
    State.MENTIONED.value: "mentioned",
}


def _sort_of_new(state: str) -> str:
    return "added" if state == PRESENT else _BY_STATE.get(state, "mentioned")


def _of_members(plan: Plan) -> Iterator[tuple[Any, ...]]:
    groups = sorted({*plan.users, *plan.nesting, *plan.others})
    for some in chunks(groups, IN_PART):
        entries = []
        for group in some:
            sets = [plan.users.get(group), plan.nesting.get(group)]
            others = plan.others.get(group)
            entries.append(
                (
                    group,
                    [_packed(change) for change in sets],
                    [len(others.joined), len(others.left)] if others else [0, 0],
                )
            )
        yield (
            Section.MEMBERS,
            some[0],
            some[-1],
            _json({"changed": len(some)}),
            False,
            _framed(entries),
        )


def _packed(change: MemberChange | None) -> tuple[bytes, bytes]:
    if change is None:
        return b"", b""
    return tuple(  # type: ignore[return-value]
        pack(side) if side else b"" for side in (change.joined, change.left)
    )


def _framed(entries: Iterable[tuple[int, Any, list[int]]]) -> bytes:
    """A header in JSON with the lengths of the bitmaps, and these one after another."""
    header, body = [], bytearray()
    for group, sets, others in entries:
        lengths = []
        for side in (side for pair in sets for side in pair):
            lengths.append(len(side))
            body += side
        header.append([group, lengths, others])
    head = orjson.dumps(header)
    return len(head).to_bytes(4, "big") + head + bytes(body)


def _unframed(stored: bytes) -> Iterator[tuple[int, list[BitMap], list[int]]]:
    size = int.from_bytes(stored[:4], "big")
    at = 4 + size
    for group, lengths, others in orjson.loads(stored[4:at]):
        sets = []
        for length in lengths:
            sets.append(unpack(stored[at : at + length]) if length else BitMap())
            at += length
        yield group, sets, others


def _of_holds(plan: Plan) -> Iterator[tuple[Any, ...]]:
    if not plan.holds:
        return
    before: dict[int, Any] = {}
    models: tuple[tuple[Any, Any], ...] = (
        (DirectoryUser, UserRow),
        (DirectoryGroup, GroupRow),
    )
    for model, row_class in models:
        before |= rows_of(model, row_class, BitMap(plan.holds))
    entries = []
    for number in sorted(plan.holds):
        hold = plan.holds[number]
        was = before.get(number)
        values: list[Json | None] = [{}, {}]
        if hold.row is not None:
            then = hold.row._asdict()
            now: Json = was._asdict() if was is not None else {}
            names = [
                name
                for name, value in then.items()
                if name not in DERIVED and value != now.get(name, "")
            ]
            values = [
                {name: now.get(name) for name in names} if was is not None else None,
                {name: then[name] for name in names},
            ]
        entries.append(
            [
                number,
                "held",
                hold.told,
                *values,
                "",
                hold.kind,
                hold.guards,
                [hold.users.joined, hold.users.left],
                [hold.groups.joined, hold.groups.left],
            ]
        )
    for some in chunks(entries, IN_PART):
        yield _part(Section.HELD, some, sorts=["held"] * len(some))


def _consequence(position: int, each: Consequence) -> tuple[Any, ...]:
    about = each.about
    return (
        position,
        each.kind.value,
        each.subject.value,
        None
        if about is None
        else _json([about.app, about.kind, about.pk, about.name, about.url]),
        "" if about is None else about.permission,
        None if about is None else about.site_id,
        _json(list(each.what)),
        each.detail,
        each.full_access,
        each.count,
        pack(BitMap(each.numbers)),
        pack(BitMap(each.groups)),
        zlib.compress(orjson.dumps(sorted(each.differences.items())), LEVEL)
        if each.differences
        else b"",
    )


# Reading -------------------------------------------------------------------------


def differences(
    run: SyncRun,
    section: str,
    *,
    after: int = -1,
    before: int | None = None,
    sorts: frozenset[str] = frozenset(),
    among: BitMap | None = None,
) -> Iterator[Difference]:
    """Yield differences in the order of their numbers, after one; with `before` those
    before it, the nearest first. `sorts` and `among` limit them."""
    parts = PlanPart.objects.filter(run=run, section=section)
    if before is None:
        parts = parts.filter(last__gt=after).order_by("first", "numbers_only")
    else:
        parts = parts.filter(first__lt=before).order_by("-first", "-numbers_only")
    for part in parts.iterator(chunk_size=1):
        if sorts and not sorts & part.counts.keys():
            continue
        found = entries_of(part)
        if before is not None:
            found = reversed(list(found))
        for each in found:
            if each.number <= after or (before is not None and each.number >= before):
                continue
            if (not sorts or each.sort in sorts) and (
                among is None or each.number in among
            ):
                yield each


def difference_of(run: SyncRun, section: str, number: int) -> Difference | None:
    """The difference of one person or group in a section."""
    parts = PlanPart.objects.filter(
        run=run, section=section, first__lte=number, last__gte=number
    )
    for part in parts:
        for each in entries_of(part):
            if each.number == number:
                return each
    return None


def entries_of(part: PlanPart) -> Iterator[Difference]:
    body = bytes(part.body)
    if part.numbers_only:
        for _, sides, _ in _unframed(body):
            sort_of_number = {
                number: sort
                for sort, side in zip(_OF_A_FIRST_READ, sides, strict=False)
                for number in side
            }
            for number in sorted(sort_of_number):
                yield Difference(number, sort_of_number[number], True, {}, {}, {})
    elif part.section == Section.MEMBERS:
        for group, sets, others in _unframed(body):
            yield Difference(
                group,
                "changed",
                True,
                {},
                {"users": sets[0], "groups": sets[2]},
                {"users": sets[1], "groups": sets[3]},
                (others[0], others[1]),
            )
    else:
        for entry in orjson.loads(zlib.decompress(body)):
            yield _difference(*entry)


def _difference(
    number: int,
    sort: str,
    told: bool,
    before: Json | None,
    after: Json,
    object_id: str = "",
    kind: str = "",
    guards: Sequence[str] = (),
    users: Sequence[Sequence[int]] = ((), ()),
    groups: Sequence[Sequence[int]] = ((), ()),
) -> Difference:
    return Difference(
        number,
        sort,
        told,
        {name: ((before or {}).get(name), value) for name, value in after.items()},
        {"users": BitMap(users[0]), "groups": BitMap(groups[0])},
        {"users": BitMap(users[1]), "groups": BitMap(groups[1])},
        (0, 0),
        kind,
        tuple(guards),
        object_id,
    )


def counts_of(run: SyncRun) -> dict[str, Counter[str]]:
    """How many differences there are, by section and sort."""
    found: dict[str, Counter[str]] = {section: Counter() for section in Section.values}
    for section, counts in PlanPart.objects.filter(run=run).values_list(
        "section", "counts"
    ):
        found[section].update(counts)
    return found


def consequence_of(row: PlanConsequence) -> Consequence:
    about = None
    if row.about is not None:
        app, kind, pk, name, url = row.about
        about = ObjectOfConsole(
            app=app,
            kind=kind,
            pk=pk,
            name=name,
            url=url,
            permission=row.permission,
            site_id=row.site_id,
        )
    stored = bytes(row.differences)
    pairs = orjson.loads(zlib.decompress(stored)) if stored else []
    return Consequence(
        kind=ConsequenceKind(row.kind),
        about=about,
        subject=Subject(row.subject),
        numbers=unpack(row.numbers),
        what=row.what,
        detail=row.detail,
        groups=unpack(row.groups),
        full_access=row.full_access,
        differences={number: (was, now) for number, (was, now) in pairs},
    )


def forget_values(
    cloud_idp: CloudIdentityProvider,
    *,
    numbers: BitMap | None = None,
    columns: Collection[str] = (),
) -> None:
    """Erase what plans say of these people and groups, or in these columns.

    That something was planned for them stays, by number alone.
    """
    parts = PlanPart.objects.filter(run__cloud_idp=cloud_idp, numbers_only=False)
    parts = parts.exclude(section=Section.MEMBERS)
    if numbers:
        parts = parts.filter(first__lte=numbers.max(), last__gte=numbers.min())
    for part in parts.iterator(chunk_size=1):
        entries = orjson.loads(zlib.decompress(bytes(part.body)))
        if sum(_silence(entry, numbers, columns) for entry in entries):
            part.body = zlib.compress(orjson.dumps(entries), LEVEL)
            part.save(update_fields=["body"])


# Where a packed difference of a person or group has what.
_BEFORE, _AFTER, _OBJECT_ID = 3, 4, 5


def _silence(
    entry: list[Any], numbers: BitMap | None, columns: Collection[str]
) -> bool:
    """Take values out of one packed difference; say whether there were any."""
    gone = numbers is not None and entry[0] in numbers
    silenced = False
    for at in (_BEFORE, _AFTER):
        values = entry[at] or {}
        kept = {} if gone else {k: v for k, v in values.items() if k not in columns}
        if kept != values:
            entry[at], silenced = kept, True
    if gone and len(entry) > _OBJECT_ID and entry[_OBJECT_ID]:
        entry[_OBJECT_ID], silenced = "", True
    return silenced


def forget_device_values(cloud_idp: CloudIdentityProvider) -> None:
    """Erase which values devices would have got from people of the connection.

    Of all fields: a plan does not say which attribute a value came from. Which devices
    would have changed stays.
    """
    PlanConsequence.objects.filter(
        run__cloud_idp=cloud_idp, kind=ConsequenceKind.DEVICE_CHANGES.value
    ).update(differences=b"")


def clear(*, older_than: datetime) -> None:
    """Delete plans of runs that ended before; the runs stay."""
    old = SyncRun.objects.filter(plan_stored=True, finished_at__lt=older_than)
    models: tuple[type[Model], ...] = (PlanPart, PlanConsequence)
    for model in models:
        model._default_manager.filter(run__in=old.values("pk")).delete()
    old.update(plan_stored=False)
