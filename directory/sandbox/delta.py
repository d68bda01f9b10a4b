"""Delta queries over users and groups: full rounds, changes, expiry.

A token names the log position a round started from. A full round walks the objects
there were then; what changes meanwhile is told by the next round, which replays some
of it: clients merge by id.
https://learn.microsoft.com/graph/delta-query-overview
"""

import bisect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from directory.sandbox import query
from directory.sandbox.behavior import Behavior
from directory.sandbox.errors import GraphError, bad_request, unsupported
from directory.sandbox.page_tokens import TokenSealer
from directory.sandbox.schema import DEFAULTS
from directory.sandbox.tenant import Change, DirectoryObject, Kind, Tenant, What

Json = dict[str, Any]

_IDS = re.compile(r"id\s+eq\s+'([^']+)'", re.IGNORECASE)
_MOST_IDS = 50


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """One delta call, free of HTTP. ``hidden`` groups do not show their members."""

    tenant: Tenant
    kind: Kind
    behavior: Behavior
    sealer: TokenSealer
    now: float
    valid_from: float
    base: str
    hidden: frozenset[str]
    parameters: dict[str, str]
    minimal: bool


@dataclass(frozen=True, slots=True)
class DeltaPage:
    """What a call answers: entries and exactly one of the two tokens."""

    value: list[Json]
    skip_token: str | None
    delta_token: str | None
    select: tuple[str, ...]


def page(request: DeltaRequest) -> DeltaPage:
    """Answer one call. Raises GraphError, in the chosen shape when a token expired."""
    skip = request.parameters.get("$skiptoken")
    delta = request.parameters.get("$deltatoken")
    if skip:
        return _continue(request, _open(request, skip))
    if delta and delta != "latest":
        token = _open(request, delta)
        token |= {
            "mode": "changes",
            "from": token["to"],
            "to": request.tenant.sequence,
            "at": 0,
            "slice": 0,
        }
        return _continue(request, token)
    token = _first(request)
    if delta == "latest":
        return _last(request, token, [])
    return _continue(request, token)


def _first(request: DeltaRequest) -> Json:
    names: list[str] = []
    wants_members = request.kind is Kind.GROUP
    if select := request.parameters.get("$select"):
        parts = [part.strip() for part in select.split(",")]
        wants_members = wants_members and "members" in parts
        rest = ",".join(part for part in parts if part != "members")
        names = list(query.selected(rest, request.kind))
    return {
        "kind": request.kind.value,
        "mode": "full",
        "select": names,
        "members": wants_members,
        "generation": request.tenant.generation,
        "tenant": request.tenant.id,
        "to": request.tenant.sequence,
        "count": len(request.tenant.by_kind[request.kind]),
        "ids": _ids(request.parameters.get("$filter")),
        "at": 0,
        "slice": "",
    }


def _ids(text: str | None) -> list[str] | None:
    if not text:
        return None
    parts = re.split(r"\s+or\s+", text.strip(), flags=re.IGNORECASE)
    found = [_IDS.fullmatch(part.strip()) for part in parts]
    if len(found) > _MOST_IDS:
        raise bad_request(f"At most {_MOST_IDS} ids can be filtered by.")
    ids = [match[1].lower() for match in found if match]
    if len(ids) != len(found):
        raise unsupported("Only 'id eq' is supported in $filter of a delta query.")
    return ids


def _open(request: DeltaRequest, text: str) -> Json:
    token = request.sealer.open(text)
    if token is None or token.get("kind") != request.kind:
        raise bad_request("Invalid delta or skip token.")
    if token["tenant"] != request.tenant.id:
        raise bad_request("Invalid delta or skip token.")
    too_old = request.now - token["issued"] > request.behavior.delta_lifetime
    if (
        too_old
        or token["issued"] < request.valid_from
        or token["generation"] != request.tenant.generation
        or token["to"] > request.tenant.sequence
    ):
        raise expired(request)
    return token


def expired(request: DeltaRequest) -> GraphError:
    """Return the expiry of a token in the shape that is switched on."""
    match request.behavior.delta_expiry:
        case "gone":
            return GraphError(
                410,
                "resyncRequired",
                "Resync required. Replace any local items with the server's version.",
                headers={"Location": f"{request.base}?$deltatoken="},
            )
        case "older-than-30-days":
            return unsupported("DeltaLink older than 30 days is not supported.")
        case "resync-required":
            return GraphError(
                400, "resyncRequired", "Resync is required: start a full round."
            )
        case _:
            return GraphError(
                400,
                "syncStateNotFound",
                "The sync state generation is not found. The delta token is expired "
                "and data must be synchronized again.",
            )


def _continue(request: DeltaRequest, token: Json) -> DeltaPage:
    if request.behavior.empty_pages and not token.get("after_empty"):
        return _next(request, token | {"after_empty": True}, [])
    token["after_empty"] = False
    maker = _full_page if token["mode"] == "full" else _changes_page
    value, rest = maker(request, token)
    if request.behavior.repeat_in_delta and value:
        value.append(value[0])
    if rest is None:
        return _last(request, token, value)
    return _next(request, token | rest, value)


def _next(request: DeltaRequest, token: Json, value: list[Json]) -> DeltaPage:
    sealed = request.sealer.seal(token | {"issued": request.now})
    return DeltaPage(value, sealed, None, tuple(token["select"]))


def _last(request: DeltaRequest, token: Json, value: list[Json]) -> DeltaPage:
    keep = ("kind", "select", "members", "generation", "tenant", "to", "ids")
    content = {name: token[name] for name in keep}
    sealed = request.sealer.seal(content | {"issued": request.now})
    return DeltaPage(value, None, sealed, tuple(token["select"]))


def _member(member_id: str, kind: Kind) -> Json:
    return {"@odata.type": f"#microsoft.graph.{kind}", "id": member_id}


def _names(request: DeltaRequest, token: Json) -> tuple[str, ...]:
    return tuple(token["select"]) or DEFAULTS[request.kind]


def _full_page(request: DeltaRequest, token: Json) -> tuple[list[Json], Json | None]:
    tenant, behavior = request.tenant, request.behavior
    keys = tenant.by_kind[request.kind]
    names = _names(request, token)
    value: list[Json] = []
    room = behavior.member_slice
    position, after = int(token["at"]), str(token["slice"])
    while position < token["count"]:
        if len(value) >= behavior.delta_page_size or room <= 0:
            return value, {"at": position, "slice": after}
        entry = tenant.objects.get(keys[position])
        position += 1
        # Where a group was cut counts for that group only, which may be gone by now.
        resume, after = after, ""
        if entry is None or (token["ids"] and entry.id not in token["ids"]):
            continue
        if entry.deleted_at:
            if behavior.deleted_in_full_round:
                value.append({"id": entry.id, "@removed": {"reason": "changed"}})
            continue
        item = query.view(entry, names, typed=False)
        value.append(item)
        if not token["members"] or entry.id in request.hidden:
            continue
        # One more than there is room for tells whether the group goes on.
        members = list(
            itertools.islice(_members(tenant, entry.id, behavior, resume), room + 1)
        )
        if members:
            item["members@delta"] = [
                _member(member.id, member.kind) for member in members[:room]
            ]
        if len(members) > room:
            return value, {"at": position - 1, "slice": members[room - 1].id}
        room -= len(members)
    return value, None


def _members(
    tenant: Tenant, group_id: str, behavior: Behavior, after: str
) -> Iterator[DirectoryObject]:
    """Yield members by id, so that a round goes on rightly while they change."""
    keys = tenant.sorted_members(group_id)
    for position in range(bisect.bisect_right(keys, after), len(keys)):
        key = keys[position]
        member = tenant.objects.get(key)
        if member and (member.deleted_at is None or behavior.deleted_in_full_round):
            yield member


@dataclass(slots=True)
class _Changed:
    properties: set[str]
    whole: bool
    members: dict[str, Change]


def _gather(request: DeltaRequest, token: Json) -> dict[str, _Changed]:
    """Sum up the log between two positions, in the order of each last change."""
    selected = set(token["select"]) or set(DEFAULTS[request.kind])
    found: dict[str, _Changed] = {}
    for change in request.tenant.log[token["from"] : token["to"]]:
        if change.kind is not request.kind:
            continue
        if token["ids"] and change.object_id not in token["ids"]:
            continue
        is_member_change = change.what in (What.MEMBER_ADDED, What.MEMBER_REMOVED)
        if is_member_change and not (
            token["members"] and change.object_id not in request.hidden
        ):
            continue
        if change.what is What.CHANGED and not selected & set(change.properties):
            continue
        state = found.pop(change.object_id, None) or _Changed(set(), False, {})
        if is_member_change:
            state.members.pop(change.member_id, None)
            state.members[change.member_id] = change
        elif change.what is What.CHANGED:
            state.properties |= set(change.properties) & selected
        else:
            state.whole = True
        found[change.object_id] = state
    return found


def _changes_page(request: DeltaRequest, token: Json) -> tuple[list[Json], Json | None]:
    behavior = request.behavior
    changed = list(_gather(request, token).items())
    value: list[Json] = []
    room = behavior.member_slice
    position, offset = int(token["at"]), int(token["slice"] or 0)
    while position < len(changed):
        if len(value) >= behavior.delta_page_size or room <= 0:
            return value, {"at": position, "slice": offset}
        object_id, state = changed[position]
        position += 1
        start, offset = offset, 0
        item = _changed_item(request, token, object_id, state)
        value.append(item)
        if "@removed" in item:
            continue
        members = list(state.members.values())[start : start + room]
        if members:
            item["members@delta"] = [_member_change(change) for change in members]
        if len(state.members) > start + room:
            return value, {"at": position - 1, "slice": start + room}
        room -= len(members)
    return value, None


def _changed_item(
    request: DeltaRequest, token: Json, object_id: str, state: _Changed
) -> Json:
    entry = request.tenant.objects.get(object_id)
    if entry is None:
        return {"id": object_id, "@removed": {"reason": "deleted"}}
    if entry.deleted_at:
        return {"id": object_id, "@removed": {"reason": "changed"}}
    names = _names(request, token)
    if request.minimal and not state.whole:
        names = tuple(name for name in names if name in state.properties)
    return query.view(entry, names, typed=False)


def _member_change(change: Change) -> Json:
    assert change.member_kind is not None  # noqa: S101 set for every member change
    item = _member(change.member_id, change.member_kind)
    if change.what is What.MEMBER_REMOVED:
        # Leaving a group is always reason 'deleted', whatever became of the member.
        item["@removed"] = {"reason": "deleted"}
    return item
