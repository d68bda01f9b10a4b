"""Reads of memberships, direct and transitive."""

from typing import Any

from directory.sandbox import filters, query
from directory.sandbox.calls import (
    Answer,
    GraphRequest,
    Json,
    next_link,
    paging,
)
from directory.sandbox.errors import GraphError, bad_request, denied, unsupported
from directory.sandbox.objects import GUID, group_of, user_of
from directory.sandbox.schema import DEFAULTS, declared
from directory.sandbox.tenant import DirectoryObject, Kind

_MOST_GROUP_IDS = 20


_MOST_MEMBER_GROUPS = 11_000


def _closed(request: GraphRequest, group: DirectoryObject) -> bool:
    """Say whether the group's membership is to be shown as empty.

    Raises: GraphError 403 when the sandbox is set to refuse it.
    """
    if group.id not in request.hidden():
        return False
    if request.sandbox.behavior.hidden_membership == "forbidden":
        raise denied()
    return True


def _objects(
    request: GraphRequest, found: list[DirectoryObject], *, cast: str
) -> Answer:
    """Page through directory objects of mixed kinds, or of one kind with a cast."""
    kind = Kind(cast) if cast else None
    if kind is not None:
        if not request.advanced:
            raise unsupported(
                "The specified cast is not supported because the required parameters "
                "might be missing. Try adding $count=true query parameter and "
                "ConsistencyLevel:eventual header."
            )
        found = [entry for entry in found if entry.kind is kind]
    names = _mixed_names(request.parameters.get("$select"))
    if text := request.parameters.get("$filter"):
        test = filters.filtered(text, kind or Kind.USER, advanced=request.advanced)
        found = [entry for entry in found if test(entry)]
    size, start = paging(request)
    value = []
    for entry in found[start : start + size]:
        known = declared(entry.kind)
        chosen = [known[name] for name in names if name in known]
        value.append(
            query.view(
                entry,
                chosen if names else DEFAULTS[entry.kind],
                typed=kind is None,
                readable=request.may_read(entry.kind),
            )
        )
    entity_set = {Kind.USER: "users", Kind.GROUP: "groups"}.get(
        kind or Kind.DEVICE, "directoryObjects"
    )
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
    found = [] if _closed(request, group) else request.tenant.direct_members(group.id)
    return _objects(request, found, cast=_cast(request))


def transitive_members(request: GraphRequest) -> Answer:
    group = group_of(request)
    found = (
        []
        if _closed(request, group)
        else request.tenant.transitive_members(group.id, closed=request.hidden())
    )
    return _objects(request, found, cast=_cast(request))


def _visible_groups_of(
    request: GraphRequest, user: DirectoryObject
) -> list[DirectoryObject]:
    hidden = request.hidden()
    groups = request.tenant.groups_of(user.id)
    return [group for group in groups if group.id not in hidden]


def transitive_member_of(request: GraphRequest) -> Answer:
    user = user_of(request)
    found = _visible_groups_of(request, user)
    role = request.tenant.role_of(user.id)
    if role:
        found += [
            entry
            for entry in request.tenant.present(Kind.DIRECTORY_ROLE)
            if entry.properties["displayName"] == role
        ]
    return _objects(request, found, cast=_cast(request))


def _string_collection(request: GraphRequest, ids: list[str]) -> Answer:
    context = request.context("Collection(Edm.String)")
    return Answer({"@odata.context": context, "value": ids})


def get_member_groups(request: GraphRequest) -> Answer:
    user = user_of(request)
    only_security = _body_value(request, "securityEnabledOnly", bool)
    ids = [
        group.id
        for group in _visible_groups_of(request, user)
        if not only_security or group.properties.get("securityEnabled")
    ]
    if len(ids) > _MOST_MEMBER_GROUPS:
        raise GraphError(
            400,
            "Directory_ResultSizeLimitExceeded",
            "The specified result size limit is exceeded.",
        )
    return _string_collection(request, ids)


def check_member_groups(request: GraphRequest) -> Answer:
    user = user_of(request)
    asked = _body_value(request, "groupIds", list)
    if len(asked) > _MOST_GROUP_IDS:
        raise bad_request("The number of groupIds is more than 20.")
    for key in asked:
        if not isinstance(key, str) or not GUID.fullmatch(key):
            raise bad_request(f"Invalid GUID: {key}")
    held = {group.id for group in _visible_groups_of(request, user)}
    ids = [key.lower() for key in asked if key.lower() in held]
    return _string_collection(request, ids)


def _body_value(request: GraphRequest, name: str, kind: type) -> Any:
    value = request.body.get(name) if isinstance(request.body, dict) else None
    if not isinstance(value, kind):
        raise bad_request(f"The value of '{name}' is missing or invalid.")
    return value
