"""Reads of the organization, of users and of groups."""

import re
from collections.abc import Sequence
from typing import Any

from directory.sandbox import filters, query
from directory.sandbox.calls import (
    Answer,
    GraphRequest,
    Json,
    count,
    next_link,
    paging,
)
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import GraphError, bad_request, not_found, unsupported
from directory.sandbox.schema import DEFAULTS, ORGANIZATION, ORGANIZATION_COLLECTIONS
from directory.sandbox.tenant import Tenant

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def organization(request: GraphRequest) -> Answer:
    tenant = request.tenant
    chosen = _organization_names(request.parameters.get("$select"))
    values: Json = {
        "displayName": tenant.display_name,
        "createdDateTime": tenant.seed.created_at,
        "tenantType": "AAD",
        "countryLetterCode": "GB",
        "verifiedDomains": [
            {
                "capabilities": "Email, OfficeCommunicationsOnline",
                "isDefault": domain == tenant.domain,
                "isInitial": domain == tenant.initial_domain,
                "name": domain,
                "type": "Managed",
            }
            for domain in tenant.domains
        ],
    }
    row: Json = {"id": tenant.id}
    for name in chosen or ORGANIZATION:
        if name != "id":
            empty: Any = [] if name in ORGANIZATION_COLLECTIONS else None
            row[name] = values.get(name, empty)
    return Answer(
        {"@odata.context": request.context("organization", chosen), "value": [row]}
    )


def _organization_names(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    known = {name.lower(): name for name in ("id", *ORGANIZATION)}
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name.lower() not in known:
            raise GraphError(
                400,
                "BadRequest",
                "Parsing OData Select and Expand failed: Could not find a property "
                f"named '{name}' on type 'microsoft.graph.organization'.",
            )
    return tuple(known[name.lower()] for name in names)


def _list(request: GraphRequest, kind: Kind, entity_set: str) -> Answer:
    names = query.selected(request.parameters.get("$select"), kind)
    tenant = request.tenant
    tests = conditions(request, kind)
    if request.counts_only:
        return count(request, _count(tenant, kind, tests))
    numbers: Sequence[int] = tenant.positions(kind)
    if order := request.parameters.get("$orderby"):
        if "$filter" in request.parameters and not request.advanced:
            raise unsupported("Sorting not supported for current query.")
        numbers = _ordered(request, kind, order, tests)
    size, start = paging(request)
    value: list[Json] = []
    position = len(numbers)
    for place, entry in tenant.walk(numbers, start):
        if entry.deleted_at or not _meets(entry, tests):
            continue
        value.append(
            query.view(
                entry, names or DEFAULTS[kind], typed=False, only=request.shown(entry)
            )
        )
        if len(value) == size:
            position = place
            break
    body: Json = {"@odata.context": request.context(entity_set, names)}
    if request.advanced and start == 0:
        body["@odata.count"] = _count(tenant, kind, tests)
    if position < len(numbers):
        body["@odata.nextLink"] = next_link(request, position)
    body["value"] = value
    return Answer(body)


def conditions(request: GraphRequest, kind: Kind) -> list[filters.Predicate]:
    tests = []
    if text := request.parameters.get("$filter"):
        tests.append(filters.filtered(text, kind, advanced=request.advanced))
    if text := request.parameters.get("$search"):
        if not request.eventual:
            raise unsupported(
                "Request with $search query parameter only works through MSGraph with "
                "a special request header: 'ConsistencyLevel: eventual'"
            )
        tests.append(filters.searched(text, kind))
    for name in ("$skip", "$expand"):
        if name in request.parameters:
            raise bad_request(f"'{name}' is not supported by this sandbox.")
    return tests


def _meets(entry: DirectoryObject, tests: list[filters.Predicate]) -> bool:
    return all(test(entry) for test in tests)


def _count(tenant: Tenant, kind: Kind, tests: list[filters.Predicate]) -> int:
    if not tests:
        return tenant.count(kind)
    return sum(_meets(entry, tests) for entry in tenant.present(kind))


def _ordered(
    request: GraphRequest, kind: Kind, text: str, tests: list[filters.Predicate]
) -> list[int]:
    """Sort what matches, once for all pages."""
    tenant, parameters = request.tenant, request.parameters
    order = query.order(text, kind)

    def make() -> list[int]:
        found = (entry for entry in tenant.present(kind) if _meets(entry, tests))
        ranked = sorted(found, key=order.key, reverse=order.down)
        return [entry.number for entry in ranked]

    asked = tuple(parameters.get(name) for name in ("$filter", "$search"))
    return tenant.remembered((kind, text, asked, tenant.sequence), make)


def users(request: GraphRequest) -> Answer:
    return _list(request, Kind.USER, "users")


def groups(request: GraphRequest) -> Answer:
    return _list(request, Kind.GROUP, "groups")


def user_of(request: GraphRequest) -> DirectoryObject:
    user = request.tenant.find(request.keys[0], Kind.USER)
    if user is None:
        raise not_found(request.keys[0])
    return user


def group_of(request: GraphRequest) -> DirectoryObject:
    return _found(request, Kind.GROUP)


def _found(request: GraphRequest, *kinds: Kind) -> DirectoryObject:
    key = request.keys[0]
    if not GUID.fullmatch(key):
        raise bad_request(f"Invalid object identifier '{key}'.")
    entry = request.tenant.find(key, *kinds)
    if entry is None:
        raise not_found(key)
    return entry


def entity_of(request: GraphRequest) -> DirectoryObject:
    """Return the object that the path begins with: a user, a group, or any."""
    match request.path.split("/")[1].lower():
        case "groups":
            return group_of(request)
        case "directoryobjects":
            return _found(request)
        case _:
            return user_of(request)


def _one(request: GraphRequest, entry: DirectoryObject, entity_set: str) -> Answer:
    names = query.selected(request.parameters.get("$select"), entry.kind, single=True)
    # Graph writes users(displayName)/$entity
    chosen = f"({','.join(names)})" if names else ""
    body: Json = {
        "@odata.context": request.context(f"{entity_set}{chosen}/$entity"),
        **query.view(
            entry,
            names or DEFAULTS[entry.kind],
            typed=False,
            only=request.shown(entry),
        ),
    }
    return Answer(body)


def one_user(request: GraphRequest) -> Answer:
    return _one(request, user_of(request), "users")


def one_group(request: GraphRequest) -> Answer:
    return _one(request, group_of(request), "groups")
