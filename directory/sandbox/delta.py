"""Delta queries over users and groups: tokens, rounds, expiry.

A token names the log position a round started from. A full round walks the objects
there were then; what changes meanwhile is told by the next round, which replays some
of it: clients merge by id.
https://learn.microsoft.com/graph/delta-query-overview
"""

import re

from directory.sandbox import change_round, full_round, query
from directory.sandbox.delta_request import DeltaPage, DeltaRequest, Entries, Json
from directory.sandbox.directory_object import Kind
from directory.sandbox.errors import GraphError, bad_request, unsupported

_IDS = re.compile(r"id\s+eq\s+'([^']+)'", re.IGNORECASE)
_MOST_IDS = 50


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
        "count": len(request.tenant.positions(request.kind)),
        "extended": len(request.tenant.overlay.extended),
        "ids": _ids(request.parameters.get("$filter")),
        "at": 0,
        "slice": 0,
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
        or not request.tenant.log.knows(token["to"])
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
    round_ = full_round if token["mode"] == "full" else change_round
    value, rest = round_.page(request, token)
    if request.behavior.repeat_in_delta and isinstance(value, list) and value:
        value.append(value[0])
    if rest is None:
        return _last(request, token, value)
    return _next(request, token | rest, value)


def _next(request: DeltaRequest, token: Json, value: Entries) -> DeltaPage:
    sealed = request.sealer.seal(token | {"issued": request.now})
    return DeltaPage(value, sealed, None, tuple(token["select"]))


def _last(request: DeltaRequest, token: Json, value: Entries) -> DeltaPage:
    keep = ("kind", "select", "members", "generation", "tenant", "to", "ids")
    content = {name: token[name] for name in keep}
    sealed = request.sealer.seal(content | {"issued": request.now})
    return DeltaPage(value, None, sealed, tuple(token["select"]))
