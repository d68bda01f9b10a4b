"""Microsoft Graph v1.0, as far as a reader of users and groups needs it.

The list of reads below is the sandbox's own: whatever is not on it answers 403 and
is marked in the journal.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from directory.sandbox import delta, query
from directory.sandbox.applications import ServicePrincipal
from directory.sandbox.errors import (
    GraphError,
    bad_request,
    denied,
    not_found,
    unsupported,
)
from directory.sandbox.journal import Entry
from directory.sandbox.schema import (
    DEFAULTS,
    ORGANIZATION,
    ORGANIZATION_COLLECTIONS,
    declared,
)
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import DirectoryObject, Kind, Tenant
from directory.sandbox.token_endpoint import graph_resources
from directory.sandbox.tokens import GRAPH_APP_ID

Json = dict[str, Any]

_CONTENT_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)
_MOST_GROUP_IDS = 20
_MOST_MEMBER_GROUPS = 11_000
_MOST_IN_BATCH = 20
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_READ_USERS = frozenset({"User.Read.All", "Directory.Read.All"})
_READ_GROUPS = frozenset({"GroupMember.Read.All", "Group.Read.All"}) | {
    "Directory.Read.All"
}
_READ_ORGANIZATION = frozenset(
    {"User.Read.All", "Organization.Read.All", "Directory.Read.All"}
)


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """A call that has a valid token and stands on the list of reads."""

    sandbox: Sandbox
    tenant: Tenant
    roles: frozenset[str]
    path: str
    keys: tuple[str, ...]
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def eventual(self) -> bool:
        return self.headers.get("consistencylevel", "").lower() == "eventual"

    @property
    def counts(self) -> bool:
        return self.parameters.get("$count", "").lower() == "true"

    @property
    def advanced(self) -> bool:
        return self.eventual and self.counts

    def may_read(self, kind: Kind) -> bool:
        if kind is Kind.USER:
            return bool(self.roles & _READ_USERS)
        if kind in (Kind.GROUP, Kind.DIRECTORY_ROLE):
            return bool(self.roles & _READ_GROUPS)
        return "Directory.Read.All" in self.roles

    def hidden(self) -> frozenset[str]:
        """Return the groups whose membership this application may not see."""
        if (
            self.sandbox.behavior.hidden_membership == "shown"
            or "Member.Read.Hidden" in self.roles
        ):
            return frozenset()
        return frozenset(
            group.id
            for group in self.tenant.present(Kind.GROUP)
            if group.properties.get("visibility") == "HiddenMembership"
        )

    def context(self, fragment: str, names: tuple[str, ...] = ()) -> str:
        chosen = f"({','.join(names)})" if names else ""
        return f"{self.sandbox.url}/v1.0/$metadata#{fragment}{chosen}"


@dataclass(frozen=True, slots=True)
class Answer:
    body: Json
    units: int
    is_action: bool = False


Handler = Callable[[GraphRequest], Answer]


@dataclass(frozen=True, slots=True)
class Read:
    """One line of the list of reads; any of the permissions is enough."""

    method: str
    template: str
    pattern: re.Pattern[str]
    permissions: frozenset[str]
    handler: Handler


_DELTA = r"(?:microsoft\.graph\.)?delta(?:\(\))?"
_KEY = r"([^/]+)"


def _sealer(request: GraphRequest) -> query.TokenSealer:
    return query.TokenSealer(request.sandbox.identity.page_key)


def _user(request: GraphRequest) -> DirectoryObject:
    user = request.tenant.find(request.keys[0], Kind.USER)
    if user is None:
        raise not_found(request.keys[0])
    return user


def _group(request: GraphRequest) -> DirectoryObject:
    key = request.keys[0]
    if not _GUID.fullmatch(key):
        raise bad_request(f"Invalid object identifier '{key}'.")
    group = request.tenant.find(key, Kind.GROUP)
    if group is None:
        raise not_found(key)
    return group


def _organization(request: GraphRequest) -> Answer:
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
        {"@odata.context": request.context("organization", chosen), "value": [row]}, 1
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
    keys = request.tenant.by_kind[kind]
    tests = _tests(request, kind)
    found: list[DirectoryObject] | None = None
    if order := request.parameters.get("$orderby"):
        if "$filter" in request.parameters and not request.advanced:
            raise unsupported("Sorting not supported for current query.")
        found = _matching(request.tenant.present(kind), tests)
        query.ordered(order, found, kind)
    size, start = _paging(request)
    value: list[Json] = []
    position = start
    total = len(keys) if found is None else len(found)
    while position < total and len(value) < size:
        entry = request.tenant.objects.get(keys[position]) if found is None else None
        entry = found[position] if found is not None else entry
        position += 1
        if entry is None or entry.deleted_at:
            continue
        if found is None and not all(test(entry.properties) for test in tests):
            continue
        value.append(query.view(entry, names or DEFAULTS[kind], typed=False))
    body: Json = {"@odata.context": request.context(entity_set, names)}
    if request.advanced and start == 0:
        matching = _matching(request.tenant.present(kind), tests)
        body["@odata.count"] = len(matching)
    if position < total:
        body["@odata.nextLink"] = _next_link(request, position)
    body["value"] = value
    return Answer(body, _units(request, 2 if kind is Kind.USER else 1))


def _tests(request: GraphRequest, kind: Kind) -> list[query.Predicate]:
    tests = []
    if text := request.parameters.get("$filter"):
        tests.append(query.filtered(text, kind, advanced=request.advanced))
    if text := request.parameters.get("$search"):
        if not request.eventual:
            raise unsupported(
                "Request with $search query parameter only works through MSGraph with "
                "a special request header: 'ConsistencyLevel: eventual'"
            )
        tests.append(query.searched(text, kind))
    for name in ("$skip", "$expand"):
        if name in request.parameters:
            raise bad_request(f"'{name}' is not supported by this sandbox.")
    return tests


def _matching(
    entries: list[DirectoryObject], tests: list[query.Predicate]
) -> list[DirectoryObject]:
    return [entry for entry in entries if all(test(entry.properties) for test in tests)]


def _paging(request: GraphRequest) -> tuple[int, int]:
    """Return (page size, where to start). Raises GraphError on a bad page token."""
    default = request.sandbox.behavior.page_size
    size = query.page_size(request.parameters.get("$top"), default)
    text = request.parameters.get("$skiptoken")
    if text is None:
        return size, 0
    token = _sealer(request).open(text)
    if token is None or token["path"] != request.path:
        raise bad_request("The skip token is invalid.")
    if (
        token["tenant"] != request.tenant.id
        or token["generation"] != request.tenant.generation
        or (token["eventual"] and not request.eventual)
    ):
        raise GraphError(
            400, "Directory_ExpiredPageToken", "The specified page token has expired."
        )
    return size, int(token["at"])


def _next_link(request: GraphRequest, position: int) -> str:
    token = _sealer(request).seal(
        {
            "path": request.path,
            "at": position,
            "tenant": request.tenant.id,
            "generation": request.tenant.generation,
            "eventual": request.eventual,
        }
    )
    given = {
        name: value
        for name, value in request.parameters.items()
        if name != "$skiptoken"
    }
    return _link(request, given | {"$skiptoken": token})


def _link(request: GraphRequest, parameters: Mapping[str, str]) -> str:
    encoded = "&".join(
        f"{name}={quote(value, safe=',')}" for name, value in parameters.items()
    )
    return f"{request.sandbox.url}/v1.0{quote(request.path)}?{encoded}"


def _users(request: GraphRequest) -> Answer:
    return _list(request, Kind.USER, "users")


def _groups(request: GraphRequest) -> Answer:
    return _list(request, Kind.GROUP, "groups")


def _one(request: GraphRequest, entry: DirectoryObject, entity_set: str) -> Answer:
    names = query.selected(request.parameters.get("$select"), entry.kind)
    # Graph writes users(displayName)/$entity
    chosen = f"({','.join(names)})" if names else ""
    body: Json = {
        "@odata.context": request.context(f"{entity_set}{chosen}/$entity"),
        **query.view(entry, names or DEFAULTS[entry.kind], typed=False),
    }
    return Answer(body, 1)


def _one_user(request: GraphRequest) -> Answer:
    return _one(request, _user(request), "users")


def _one_group(request: GraphRequest) -> Answer:
    return _one(request, _group(request), "groups")


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
    request: GraphRequest, found: list[DirectoryObject], *, cast: str, units: int
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
        test = query.filtered(text, kind or Kind.USER, advanced=request.advanced)
        found = [entry for entry in found if test(entry.properties)]
    size, start = _paging(request)
    value = []
    for entry in found[start : start + size]:
        known = declared(entry.kind)
        chosen = [known[name] for name in names if name in known]
        value.append(
            query.view(
                entry,
                chosen or DEFAULTS[entry.kind] if not names else chosen,
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
        body["@odata.nextLink"] = _next_link(request, start + size)
    body["value"] = value
    return Answer(body, _units(request, units))


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


def _members(request: GraphRequest) -> Answer:
    group = _group(request)
    found = [] if _closed(request, group) else request.tenant.direct_members(group.id)
    return _objects(request, found, cast=_cast(request), units=3)


def _transitive_members(request: GraphRequest) -> Answer:
    group = _group(request)
    found = (
        []
        if _closed(request, group)
        else request.tenant.transitive_members(group.id, closed=request.hidden())
    )
    return _objects(request, found, cast=_cast(request), units=5)


def _visible_groups_of(
    request: GraphRequest, user: DirectoryObject
) -> list[DirectoryObject]:
    hidden = request.hidden()
    groups = request.tenant.groups_of(user.id)
    return [group for group in groups if group.id not in hidden]


def _transitive_member_of(request: GraphRequest) -> Answer:
    user = _user(request)
    found = _visible_groups_of(request, user)
    role = request.tenant.role_of(user.id)
    if role:
        found += [
            entry
            for entry in request.tenant.present(Kind.DIRECTORY_ROLE)
            if entry.properties["displayName"] == role
        ]
    return _objects(request, found, cast=_cast(request), units=2)


def _string_collection(request: GraphRequest, ids: list[str], units: int) -> Answer:
    context = request.context("Collection(Edm.String)")
    return Answer({"@odata.context": context, "value": ids}, units, is_action=True)


def _get_member_groups(request: GraphRequest) -> Answer:
    user = _user(request)
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
    return _string_collection(request, ids, 2)


def _check_member_groups(request: GraphRequest) -> Answer:
    user = _user(request)
    asked = _body_value(request, "groupIds", list)
    if len(asked) > _MOST_GROUP_IDS:
        raise bad_request("The number of groupIds is more than 20.")
    for key in asked:
        if not isinstance(key, str) or not _GUID.fullmatch(key):
            raise bad_request(f"Invalid GUID: {key}")
    held = {group.id for group in _visible_groups_of(request, user)}
    ids = [key.lower() for key in asked if key.lower() in held]
    return _string_collection(request, ids, 4)


def _body_value(request: GraphRequest, name: str, kind: type) -> Any:
    value = request.body.get(name) if isinstance(request.body, dict) else None
    if not isinstance(value, kind):
        raise bad_request(f"The value of '{name}' is missing or invalid.")
    return value


def _delta(request: GraphRequest, kind: Kind, entity_set: str) -> Answer:
    sandbox = request.sandbox
    prefer = request.headers.get("prefer", "").replace(" ", "").lower()
    page = delta.page(
        delta.DeltaRequest(
            tenant=request.tenant,
            kind=kind,
            behavior=sandbox.behavior,
            sealer=_sealer(request),
            now=sandbox.clock.now(),
            valid_from=sandbox.delta_valid_from,
            base=f"{sandbox.url}/v1.0/{entity_set}/delta",
            hidden=request.hidden() if kind is Kind.GROUP else frozenset(),
            parameters=dict(request.parameters),
            minimal="return=minimal" in prefer,
        )
    )
    body: Json = {"@odata.context": request.context(entity_set, page.select)}
    if page.skip_token:
        body["@odata.nextLink"] = _link(request, {"$skiptoken": page.skip_token})
    if page.delta_token:
        body["@odata.deltaLink"] = _link(request, {"$deltatoken": page.delta_token})
    body["value"] = page.value
    return Answer(body, 1)


def _users_delta(request: GraphRequest) -> Answer:
    return _delta(request, Kind.USER, "users")


def _groups_delta(request: GraphRequest) -> Answer:
    return _delta(request, Kind.GROUP, "groups")


def _units(request: GraphRequest, cost: int) -> int:
    if "$select" in request.parameters:
        cost -= 1
    top = request.parameters.get("$top", "")
    if top.isdigit() and int(top) < 20:
        cost -= 1
    return max(1, cost)


def _read(
    method: str,
    template: str,
    pattern: str,
    permissions: frozenset[str],
    handler: Handler,
) -> Read:
    return Read(method, template, re.compile(pattern), permissions, handler)


_CAST = r"(?:/(?:microsoft\.)?graph\.(user|group))?"
_BOTH = _READ_USERS | _READ_GROUPS

READS: tuple[Read, ...] = (
    _read("GET", "/organization", "/organization", _READ_ORGANIZATION, _organization),
    _read("GET", "/users", "/users", _READ_USERS, _users),
    _read("GET", "/users/delta", f"/users/{_DELTA}", _READ_USERS, _users_delta),
    _read("GET", "/users/{id}", f"/users/{_KEY}", _READ_USERS, _one_user),
    _read(
        "GET",
        "/users/{id}/transitiveMemberOf",
        f"/users/{_KEY}/transitiveMemberOf{_CAST}",
        _BOTH,
        _transitive_member_of,
    ),
    _read(
        "POST",
        "/users/{id}/getMemberGroups",
        f"/users/{_KEY}/(?:microsoft\\.graph\\.)?getMemberGroups",
        _BOTH,
        _get_member_groups,
    ),
    _read(
        "POST",
        "/users/{id}/checkMemberGroups",
        f"/users/{_KEY}/(?:microsoft\\.graph\\.)?checkMemberGroups",
        _BOTH,
        _check_member_groups,
    ),
    _read("GET", "/groups", "/groups", _READ_GROUPS, _groups),
    _read("GET", "/groups/delta", f"/groups/{_DELTA}", _READ_GROUPS, _groups_delta),
    _read("GET", "/groups/{id}", f"/groups/{_KEY}", _READ_GROUPS, _one_group),
    _read(
        "GET",
        "/groups/{id}/members",
        f"/groups/{_KEY}/members{_CAST}",
        _READ_GROUPS,
        _members,
    ),
    _read(
        "GET",
        "/groups/{id}/transitiveMembers",
        f"/groups/{_KEY}/transitiveMembers{_CAST}",
        _READ_GROUPS,
        _transitive_members,
    ),
)


def find_read(method: str, path: str) -> tuple[Read, tuple[str, ...]] | None:
    for read in READS:
        if read.method == method and (match := read.pattern.fullmatch(path)):
            return read, tuple(key for key in match.groups() if key is not None)
    return None


class GraphPlane:
    """Answers everything under /v1.0."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def handle(self, request: Request) -> Response:
        entry: Entry = request.state.entry
        entry.plane = "graph"
        path = request.scope["path"].removeprefix("/v1.0").rstrip("/")
        raw = await request.body()
        parameters = dict(parse_qsl(request.url.query, keep_blank_values=True))
        request_id = str(uuid.uuid4())
        client_request_id = request.headers.get("client-request-id") or request_id
        headers = {
            "request-id": request_id,
            "client-request-id": client_request_id,
            "strict-transport-security": "max-age=31536000",
            "cache-control": "no-cache",
            "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Sandbox"}}',
        }
        lowered = {name.lower(): value for name, value in request.headers.items()}
        try:
            if request.method == "POST" and path == "/$batch":
                entry.template = "/v1.0/$batch"
                answer = self._batch(raw, lowered, entry)
            else:
                answer = self._answer(
                    request.method, path, parameters, lowered, raw, entry
                )
        except GraphError as error:
            return Response(
                orjson.dumps(
                    error.body(self.sandbox.clock, request_id, client_request_id)
                ),
                status_code=error.status,
                media_type="application/json",
                headers=headers | error.headers,
            )
        headers |= {
            "odata-version": "4.0",
            "x-ms-resource-unit": str(answer.units),
            "vary": "Accept-Encoding",
            "content-type": _CONTENT_TYPE,
        }
        if answer.is_action:
            headers["location"] = self.sandbox.url
        return Response(orjson.dumps(answer.body), headers=headers)

    def _answer(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        raw: bytes,
        entry: Entry,
    ) -> Answer:
        found = find_read(method, path)
        if found is None:
            entry.refused = True
            raise denied()
        read, keys = found
        entry.template = f"/v1.0{read.template}"
        tenant, principal, roles = self._who(headers.get("authorization", ""))
        entry.tenant_id, entry.client_id = tenant.id, principal.client_id
        if not roles & read.permissions:
            raise denied()
        return read.handler(
            GraphRequest(
                sandbox=self.sandbox,
                tenant=tenant,
                roles=roles,
                path=path,
                keys=keys,
                parameters=parameters,
                headers=headers,
                body=_json(raw) if method == "POST" else None,
            )
        )

    def _who(
        self, authorization: str
    ) -> tuple[Tenant, ServicePrincipal, frozenset[str]]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("Access token is empty.")
        try:
            claims = self.sandbox.keys.read(token)
        except jwt.InvalidTokenError:
            raise _unauthorized("IDX14100: JWT is not well formed.") from None
        now = self.sandbox.clock.now()
        if not claims["nbf"] - 300 <= now < claims["exp"]:
            raise _unauthorized("Lifetime validation failed, the token is expired.")
        if claims["aud"] not in graph_resources(self.sandbox):
            raise _unauthorized("Access token validation failure. Invalid audience.")
        tenant = self.sandbox.tenants[claims["tid"]]
        principal = self.sandbox.principal(tenant.id, claims["appid"])
        if principal is None or claims["iat"] < principal.tokens_not_before:
            raise _unauthorized("The identity of the calling application is unknown.")
        return tenant, principal, frozenset(claims.get("roles", ()))

    def _batch(self, raw: bytes, headers: Mapping[str, str], entry: Entry) -> Answer:
        """Answer each item as if it came alone; a write inside is refused alone."""
        body = _json(raw)
        items = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(items, list) or len(items) > _MOST_IN_BATCH:
            raise bad_request("A batch holds an array of at most 20 requests.")
        self._who(headers.get("authorization", ""))
        names = [str(item.get("id", "")).lower() for item in items]
        if "" in names or len(set(names)) != len(names):
            raise bad_request("The ids of a batch must be present and unique.")
        return Answer(
            {"responses": [self._batch_item(item, headers, entry) for item in items]},
            1,
        )

    def _batch_item(self, item: Json, headers: Mapping[str, str], entry: Entry) -> Json:
        url = urlsplit("/" + str(item.get("url", "")).lstrip("/"))
        inner = {
            "authorization": headers.get("authorization", ""),
            **{
                str(name).lower(): str(value)
                for name, value in (item.get("headers") or {}).items()
            },
        }
        request_id = str(uuid.uuid4())
        template = entry.template
        try:
            answer = self._answer(
                str(item.get("method", "GET")).upper(),
                url.path,
                dict(parse_qsl(url.query, keep_blank_values=True)),
                inner,
                json.dumps(item.get("body")).encode(),
                entry,
            )
            status, body = 200, answer.body
            more = {"Content-Type": _CONTENT_TYPE}
        except GraphError as error:
            status = error.status
            body = error.body(self.sandbox.clock, request_id, request_id)
            more = {"Content-Type": "application/json"} | error.headers
        entry.template = template
        return {"id": str(item["id"]), "status": status, "headers": more, "body": body}


def _unauthorized(message: str) -> GraphError:
    return GraphError(
        401,
        "InvalidAuthenticationToken",
        message,
        headers={
            "WWW-Authenticate": 'Bearer realm="", authorization_uri='
            '"https://login.microsoftonline.com/common/oauth2/authorize", '
            f'client_id="{GRAPH_APP_ID}"'
        },
    )


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw or b"null")
    except ValueError:
        raise bad_request("Unable to read JSON request payload.") from None
