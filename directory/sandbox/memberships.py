"""Reads of memberships, direct and transitive."""

from collections.abc import Sequence
from typing import Any

from directory.sandbox import query
from directory.sandbox.calls import (
    Answer,
    GraphRequest,
    Json,
    count,
    next_link,
    paging,
)
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import GraphError, bad_request, denied, unsupported
from directory.sandbox.objects import GUID, conditions, entity_of, group_of
from directory.sandbox.schema import DEFAULTS, declared

_MOST_GROUP_IDS = 20


_MOST_MEMBER_GROUPS = 11_000


_MOST_BY_IDS = 1_000


_ENTITY_SETS: dict[Kind | None, str] = {
    Kind.USER: "users",
    Kind.GROUP: "groups",
    Kind.DEVICE: "devices",
}


def _closed(request: GraphRequest, group: DirectoryObject) -> bool:
    """Say whether the group's membership is to be shown as empty.

    Raises: GraphError 403 when the sandbox is set to refuse it.
    """
    if group.number not in request.hidden():
        return False
    if request.sandbox.behavior.hidden_membership == "forbidden":
        raise denied()
    return True


def _narrowed(
    request: GraphRequest, found: Sequence[int], kind: Kind | None
) -> Sequence[int]:
    """Apply $filter, $search and $orderby, which ask for the advanced form here."""
    tests = conditions(request, kind or Kind.USER)
    if not request.advanced and {"$filter", "$orderby"} & set(request.parameters):
        raise unsupported(
            "The specified filter to the reference property query is currently not "
            "supported."
        )
    text = request.parameters.get("$orderby")
    if not tests and not text:
        return found
    entries = [
        entry
        for entry in request.tenant.listed(found)
        if all(test(entry) for test in tests)
    ]
    if text:
        order = query.order(text, kind or Kind.USER)
        entries.sort(key=order.key, reverse=order.down)
    return [entry.number for entry in entries]


def _objects(request: GraphRequest, found: Sequence[int], *, cast: str) -> Answer:
    """Page through directory objects of mixed kinds, or of one kind with a cast."""
    tenant = request.tenant
    kind = next((kind for kind in Kind if kind.lower() == cast.lower()), None)
    if kind is not None:
        if not (request.advanced or (request.eventual and request.counts_only)):
            raise unsupported(
                "The specified cast is not supported because the required parameters "
                "might be missing. Try adding $count=true query parameter and "
                "ConsistencyLevel:eventual header."
            )
        found = tenant.of_kind(kind, found)
    names = _mixed_names(request.parameters.get("$select"))
    found = _narrowed(request, found, kind)
    if request.counts_only:
        return count(request, len(found))
    size, start = paging(request)
    value = []
    for entry in tenant.listed(found[start : start + size]):
        known = declared(entry.kind)
        chosen = [known[name] for name in names if name in known]
        value.append(
            query.view(
                entry,
                chosen if names else DEFAULTS[entry.kind],
                typed=kind is None,
                only=request.shown(entry),
            )
        )
    entity_set = _ENTITY_SETS.get(kind) or "directoryObjects"
    if kind is not None and kind not in _ENTITY_SETS:
        entity_set += f"/microsoft.graph.{kind}"
    shown = (
        tuple(part.strip() for part in request.parameters["$select"].split(","))
        if names
        else ()
    )
    body: Json = {"@odata.context": request.context(entity_set, shown)}
    if request.advanced and start == 0:
        body["@odata.count"] = len(found)
    if start + size < len(found):
        body["@odata.nextLink"] = next_link(request, start + size)
    body["value"] = value
    return Answer(body)


def _mixed_names(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    names = tuple(part.strip().lower() for part in text.split(","))
    for name in names:
        if not any(name in declared(kind) for kind in Kind):
            raise GraphError(
                400,
                "BadRequest",
                "Parsing OData Select and Expand failed: Could not find a property "
                f"named '{name}' on type 'microsoft.graph.directoryObject'.",
            )
    return names


def _cast(request: GraphRequest) -> str:
    return request.keys[1] if len(request.keys) > 1 else ""


def members(request: GraphRequest) -> Answer:
    group = group_of(request)
    found = [] if _closed(request, group) else request.tenant.members(group.number)
    return _objects(request, found, cast=_cast(request))


def transitive_members(request: GraphRequest) -> Answer:
    group = group_of(request)
    found = [] if _closed(request, group) else _transitive(request, group)
    return _objects(request, found, cast=_cast(request))


def _transitive(request: GraphRequest, group: DirectoryObject) -> list[int]:
    """Walk the groups once for all pages."""
    tenant, closed = request.tenant, request.hidden()
    return tenant.remembered(
        ("transitive", group.number, closed, tenant.sequence),
        lambda: tenant.transitive_members(group.number, closed=closed),
    )


def _visible_groups_of(request: GraphRequest, entry: DirectoryObject) -> list[int]:
    hidden = request.hidden()
    groups = request.tenant.groups_of(entry.number)
    return [group for group in groups if group not in hidden]


def transitive_member_of(request: GraphRequest) -> Answer:
    entry = entity_of(request)
    found = _visible_groups_of(request, entry) + _roles_of(request, entry)
    return _objects(request, found, cast=_cast(request))


def member_of(request: GraphRequest) -> Answer:
    """List the groups and roles that hold the object directly."""
    entry = entity_of(request)
    unseen = request.hidden().union(request.tenant.deleted)
    groups = request.tenant.groups_holding(entry.number)
    found = [group for group in groups if group not in unseen]
    return _objects(request, found + _roles_of(request, entry), cast=_cast(request))


def _roles_of(request: GraphRequest, entry: DirectoryObject) -> list[int]:
    role = request.tenant.role_of(entry.id)
    return [
        each.number
        for each in request.tenant.present(Kind.DIRECTORY_ROLE)
        if role and each.properties["displayName"] == role
    ]


def _string_collection(request: GraphRequest, ids: list[str]) -> Answer:
    context = request.context("Collection(Edm.String)")
    return Answer({"@odata.context": context, "value": ids})


def get_member_groups(request: GraphRequest) -> Answer:
    return _member_ids(request, [])


def get_member_objects(request: GraphRequest) -> Answer:
    """Answer like getMemberGroups, with directory roles as well."""
    return _member_ids(request, _roles_of(request, entity_of(request)))


def _member_ids(request: GraphRequest, more: list[int]) -> Answer:
    entry = entity_of(request)
    only_security = _body_value(request, "securityEnabledOnly", bool)
    ids = [
        group.id
        for group in request.tenant.listed(_visible_groups_of(request, entry))
        if not only_security or group.properties.get("securityEnabled")
    ]
    ids += map(request.tenant.id_of, more)
    if len(ids) > _MOST_MEMBER_GROUPS:
        raise GraphError(
            400,
            "Directory_ResultSizeLimitExceeded",
            "The specified result size limit is exceeded.",
        )
    return _string_collection(request, ids)


def check_member_groups(request: GraphRequest) -> Answer:
    return _check_members(request, "groupIds", [])


def check_member_objects(request: GraphRequest) -> Answer:
    """Answer like checkMemberGroups, with directory roles as well."""
    return _check_members(request, "ids", _roles_of(request, entity_of(request)))


def _check_members(request: GraphRequest, name: str, more: list[int]) -> Answer:
    entry = entity_of(request)
    asked = _body_value(request, name, list)
    if len(asked) > _MOST_GROUP_IDS:
        raise bad_request(f"The number of {name} is more than {_MOST_GROUP_IDS}.")
    for key in asked:
        if not isinstance(key, str) or not GUID.fullmatch(key):
            raise bad_request(f"Invalid GUID: {key}")
    held = set(map(request.tenant.id_of, (*_visible_groups_of(request, entry), *more)))
    ids = [key.lower() for key in asked if key.lower() in held]
    return _string_collection(request, ids)


def _body_value(request: GraphRequest, name: str, kind: type) -> Any:
    value = request.body.get(name) if isinstance(request.body, dict) else None
    if not isinstance(value, kind):
        raise bad_request(f"The value of '{name}' is missing or invalid.")
    return value


def directory_object(request: GraphRequest) -> Answer:
    """Show an object of any kind, found by its id alone."""
    entry = entity_of(request)
    names = _mixed_names(request.parameters.get("$select"))
    known = declared(entry.kind)
    chosen = tuple(known[name] for name in names if name in known)
    body: Json = {"@odata.context": request.context("directoryObjects/$entity")}
    return Answer(body | query.view(entry, chosen or DEFAULTS[entry.kind], typed=True))


def get_by_ids(request: GraphRequest) -> Answer:
    """Show up to a thousand objects of given ids; unknown ids are left out.

    https://learn.microsoft.com/graph/api/directoryobject-getbyids
    """
    ids = _body_value(request, "ids", list)
    if len(ids) > _MOST_BY_IDS:
        raise bad_request(f"The number of ids is more than {_MOST_BY_IDS}.")
    types = request.body.get("types") or [kind.value for kind in Kind]
    found = (request.tenant.find(str(key)) for key in dict.fromkeys(ids))
    value = [
        query.view(entry, DEFAULTS[entry.kind], typed=True)
        for entry in found
        if entry is not None and entry.kind in types
    ]
    return Answer(
        {"@odata.context": request.context("directoryObjects"), "value": value}
    )
