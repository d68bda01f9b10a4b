"""A full round of a delta query: every object there was when it began.

The seed's objects and memberships are cut into pages at places that never move,
whatever is changed meanwhile. Memberships that came later are told after all objects:
a group may come several times in a round.
"""

import random
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import orjson
from pyroaring import BitMap

from directory.sandbox import query
from directory.sandbox.delta_request import DeltaRequest, Entries, Json
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.object_ids import LENGTH
from directory.sandbox.tenant import Tenant

_ALL = 1 << 31
_USER = b'{"@odata.type":"#microsoft.graph.user","id":"'


class Part(NamedTuple):
    """An object on a page, and the members told with it, as a part of all there are.

    ``more`` is where the next part of the same object goes on, or 0.
    """

    number: int
    members: Sequence[int]
    more: int


def page(request: DeltaRequest, token: Json) -> tuple[Entries, Json | None]:
    """Return the entries of a page, and where the next one goes on."""
    pages, behavior = request.tenant.pages, request.behavior
    if pages is None or behavior.repeat_in_delta or behavior.shuffle_delta:
        return _items(request, token)
    view = pages.view(_view(request, token))
    at = token["at"], token["slice"]
    if at not in view.ends:
        view.ends[at] = _cut(_of_the_seed(request), token)[1]
    rest = view.ends[at]
    if not _is_as_in_seed(request, token, rest):
        return _items(request, token)

    def render() -> bytes:
        return orjson.dumps(_items(_of_the_seed(request), token)[0])

    return view.rows(at, render), rest


def _of_the_seed(request: DeltaRequest) -> DeltaRequest:
    return replace(request, tenant=request.tenant.untouched)


def _items(request: DeltaRequest, token: Json) -> tuple[list[Json], Json | None]:
    parts, rest = _cut(request, token)
    entries = {
        entry.number: entry
        for _place, entry in request.tenant.walk([part.number for part in parts])
    }
    return [
        _item(request, token, part, entries.get(part.number)) for part in parts
    ], rest


def _view(request: DeltaRequest, token: Json) -> tuple[Hashable, ...]:
    """Return all that decides what a page of the seed looks like, and where it ends."""
    return (
        request.kind.value,
        request.names(token),
        token["members"],
        tuple(sorted(request.hidden)),
        request.behavior.delta_page_size,
        request.behavior.member_slice,
    )


def _is_as_in_seed(request: DeltaRequest, token: Json, rest: Json | None) -> bool:
    """Say whether a page tells of the seed alone, and nothing of it was touched."""
    numbers = request.tenant.seed.numbers[request.kind]
    all_parts = token["count"] + (token["extended"] if token["members"] else 0)
    start, end = int(token["at"]), int(rest["at"]) if rest else all_parts
    if token["ids"] is not None or end > len(numbers):
        return False
    end += bool(rest and rest["slice"])
    touched = request.tenant.overlay.touched
    return not touched.range_cardinality(numbers.start + start, numbers.start + end)


def _cut(request: DeltaRequest, token: Json) -> tuple[list[Part], Json | None]:
    """Take as many objects and memberships as a page has room for."""
    objects, extended = _objects(request, token), _extended(request, token)
    if request.behavior.shuffle_delta:
        return _cut_shuffled(request, token, objects, extended)
    parts: list[Part] = []
    room = request.behavior.member_slice
    at, offset = int(token["at"]), int(token["slice"])
    while at < len(objects) + len(extended):
        if len(parts) >= request.behavior.delta_page_size or room <= 0:
            return parts, {"at": at, "slice": offset}
        if at < len(objects):
            part = _of_seed(request, token, objects[at], offset, room)
        else:
            part = _added(request, extended[at - len(objects)], offset, room)
        if part is not None:
            parts.append(part)
            room -= len(part.members)
            if part.more:
                return parts, {"at": at, "slice": part.more}
        at, offset = at + 1, 0
    return parts, None


def _cut_shuffled(
    request: DeltaRequest,
    token: Json,
    objects: Sequence[int],
    extended: Sequence[int],
) -> tuple[list[Part], Json | None]:
    """Take parts from anywhere: those of a large group come pages apart."""
    places = _shuffled(request, token, objects, extended)
    parts: list[Part] = []
    room = request.behavior.member_slice
    for at in range(int(token["at"]), len(places)):
        if len(parts) >= request.behavior.delta_page_size or room <= 0:
            return parts, {"at": at, "slice": 0}
        place, offset = places[at]
        if place < len(objects):
            size = request.behavior.member_slice
            part = _of_seed(request, token, objects[place], offset, size)
        else:
            part = _added(request, extended[place - len(objects)], 0, _ALL)
        if part is not None:
            parts.append(part)
            room -= len(part.members)
    return parts, None


def _shuffled(
    request: DeltaRequest,
    token: Json,
    objects: Sequence[int],
    extended: Sequence[int],
) -> list[tuple[int, int]]:
    """Return all places of a round, and from which member on, in an order of chance.

    It follows from nothing that changes meanwhile, so that all its pages agree.
    """

    def make() -> list[tuple[int, int]]:
        places = []
        for place, number in enumerate(objects):
            shown = token["members"] and number not in request.hidden
            size = len(request.tenant.seed_members(number)) if shown else 0
            step = request.behavior.member_slice
            places += [(place, offset) for offset in range(0, max(size, 1), step)]
        places += [(len(objects) + place, 0) for place in range(len(extended))]
        source = random.Random(f"{request.tenant.id}/{token['to']}")  # noqa: S311
        source.shuffle(places)
        return places

    only = request.numbers(token)
    key = ("shuffled", *_view(request, token), token["to"], len(extended), only)
    return request.tenant.remembered(key, make)


def _objects(request: DeltaRequest, token: Json) -> Sequence[int]:
    """Return the objects there were when the round began, gone ones too."""
    objects = request.tenant.positions(request.kind).first(token["count"])
    only = request.numbers(token)
    if only is None:
        return objects
    return sorted(
        number
        for number in only
        if number <= objects[-1] and request.tenant.kind_of(number) is request.kind
    )


def _extended(request: DeltaRequest, token: Json) -> Sequence[int]:
    """Return the groups that were given members before the round began."""
    if not token["members"]:
        return ()
    only = request.numbers(token)
    extended = request.tenant.overlay.extended[: token["extended"]]
    return extended if only is None else [each for each in extended if each in only]


def _shows_members(request: DeltaRequest, token: Json, number: int) -> bool:
    deleted = number in request.tenant.overlay.deleted
    return token["members"] and not deleted and number not in request.hidden


def _unseen(request: DeltaRequest) -> BitMap:
    """Return the soft-deleted objects, unless a full round tells of them."""
    if request.behavior.deleted_in_full_round:
        return BitMap()
    return request.tenant.overlay.deleted


def _of_seed(
    request: DeltaRequest, token: Json, number: int, offset: int, room: int
) -> Part | None:
    """Tell an object, and those of its members in the seed that there is room for."""
    tenant = request.tenant
    if number in tenant.overlay.purged or number in _unseen(request):
        return None
    members: Sequence[int] = ()
    if _shows_members(request, token, number):
        members = tenant.seed_members(number)
    end = offset + room
    return Part(number, members[offset:end], end if end < len(members) else 0)


def _added(request: DeltaRequest, number: int, offset: int, room: int) -> Part | None:
    """Tell a group again, with those of its new members that there is room for."""
    tenant = request.tenant
    gone = tenant.overlay.purged | tenant.overlay.deleted
    if number in request.hidden or number in gone:
        return None
    members = tenant.added_members(number) - _unseen(request)
    # A number and not a place: members may leave before the next page is asked for.
    first = members.rank(offset - 1) if offset else 0
    told = members[first : first + room]
    if not told:
        return None
    return Part(
        number, list(told), told.max() + 1 if first + room < len(members) else 0
    )


def _item(
    request: DeltaRequest, token: Json, part: Part, entry: DirectoryObject | None
) -> Json:
    tenant = request.tenant
    if entry is None or entry.deleted_at:
        return {"id": tenant.id_of(part.number), "@removed": {"reason": "changed"}}
    item = query.view(entry, request.names(token), typed=False)
    members = part.members
    if gone := tenant.lost_members(part.number) | _unseen(request):
        members = [number for number in members if number not in gone]
    if members:
        item["members@delta"] = orjson.Fragment(_entries(tenant, members))
    return item


def _entries(tenant: Tenant, numbers: Sequence[int]) -> bytes:
    """Write a JSON array of members; users, who are most of them, in one go."""
    table, users = tenant.seed.ids.table, tenant.seed.numbers[Kind.USER].stop
    others = bisect_left(numbers, users)
    ids = [
        table[LENGTH * number : LENGTH * (number + 1)] for number in numbers[:others]
    ]
    entries = [_USER + (b'"},' + _USER).join(ids) + b'"}'] if ids else []
    entries += [
        orjson.dumps(
            {
                "@odata.type": f"#microsoft.graph.{tenant.kind_of(number)}",
                "id": tenant.id_of(number),
            }
        )
        for number in numbers[others:]
    ]
    return b"[" + b",".join(entries) + b"]"
