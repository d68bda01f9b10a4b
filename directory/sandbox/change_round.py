"""A later round of a delta query: what the log holds between two positions."""

import random
from typing import NamedTuple

from directory.sandbox import query
from directory.sandbox.delta_request import DeltaRequest, Json
from directory.sandbox.directory_log import What
from directory.sandbox.schema import DEFAULTS

_MEMBER_CHANGES = (What.MEMBER_ADDED, What.MEMBER_REMOVED)


class Changed(NamedTuple):
    """What became of an object: ``whole`` when it came, went or came back."""

    number: int
    names: frozenset[str]
    whole: bool
    members: list[tuple[int, What]]


def page(request: DeltaRequest, token: Json) -> tuple[list[Json], Json | None]:
    """Return the entries of a page, and where the next one goes on."""
    behavior = request.behavior
    changed = _changed(request, token)
    value: list[Json] = []
    room = behavior.member_slice
    position, offset = int(token["at"]), int(token["slice"])
    while position < len(changed):
        if len(value) >= behavior.delta_page_size or room <= 0:
            return value, {"at": position, "slice": offset}
        state = changed[position]
        item = _item(request, token, state)
        value.append(item)
        end = offset
        if "@removed" not in item and state.members:
            end = min(offset + room, len(state.members))
            item["members@delta"] = [
                _member(request, number, what)
                for number, what in state.members[offset:end]
            ]
            if end < len(state.members):
                return value, {"at": position, "slice": end}
        room -= end - offset
        position, offset = position + 1, 0
    return value, None


def _changed(request: DeltaRequest, token: Json) -> list[Changed]:
    """Sum up the log, once for all pages of a round."""
    key = (
        request.kind,
        token["from"],
        token["to"],
        tuple(token["select"]),
        token["members"],
        request.hidden,
        request.numbers(token),
    )
    changed = request.tenant.remembered(key, lambda: _gather(request, token))
    if not request.behavior.shuffle_delta:
        return changed
    return request.tenant.remembered(("shuffled", *key), lambda: _shuffled(changed))


def _shuffled(changed: list[Changed]) -> list[Changed]:
    """Put changes, and those of members within each, in an order of chance."""
    source = random.Random(len(changed))  # noqa: S311 not a secret
    shuffled = source.sample(changed, len(changed))
    return [
        each._replace(members=source.sample(each.members, len(each.members)))
        for each in shuffled
    ]


def _gather(request: DeltaRequest, token: Json) -> list[Changed]:
    """Sum up the log between two positions, in the order of each last change."""
    selected = frozenset(token["select"] or DEFAULTS[request.kind])
    only = request.numbers(token)
    found: dict[int, tuple[set[str], list[What], dict[int, What]]] = {}
    log = request.tenant.log
    for number, what, names, member in log.between(
        request.kind, token["from"], token["to"]
    ):
        if only is not None and number not in only:
            continue
        about_member = what in _MEMBER_CHANGES
        if about_member and (not token["members"] or number in request.hidden):
            continue
        if what is What.CHANGED and selected.isdisjoint(names):
            continue
        state = found.pop(number, None) or (set(), [], {})
        if about_member:
            state[2].pop(member, None)
            state[2][member] = what
        elif what is What.CHANGED:
            state[0].update(names & selected)
        else:
            state[1].append(what)
        found[number] = state
    return [
        Changed(number, frozenset(names), bool(whole), list(members.items()))
        for number, (names, whole, members) in found.items()
        # An id that was given again stands for what has it now.
        if request.tenant.number_of(request.tenant.id_of(number)) == number
    ]


def _item(request: DeltaRequest, token: Json, state: Changed) -> Json:
    tenant = request.tenant
    entry = tenant.object(state.number)
    if entry is None:
        return {"id": tenant.id_of(state.number), "@removed": {"reason": "deleted"}}
    if entry.deleted_at:
        return {"id": entry.id, "@removed": {"reason": "changed"}}
    names = request.names(token)
    if request.minimal and not state.whole:
        names = tuple(name for name in names if name in state.names)
    return query.view(entry, names, typed=False)


def _member(request: DeltaRequest, number: int, what: What) -> Json:
    tenant = request.tenant
    item: Json = {
        "@odata.type": f"#microsoft.graph.{tenant.kind_of(number)}",
        "id": tenant.id_of(number),
    }
    if what is What.MEMBER_REMOVED:
        # Leaving a group is always reason 'deleted', whatever became of the member.
        item["@removed"] = {"reason": "deleted"}
    return item
