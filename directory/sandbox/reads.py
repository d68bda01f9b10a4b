"""The list of reads: what the sandbox answers, and what each read needs.

It is the sandbox's own list, not the client's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from directory.sandbox import delta, memberships, objects
from directory.sandbox.calls import (
    READ_GROUPS,
    READ_USERS,
    Answer,
    GraphRequest,
    Json,
    link,
    sealer,
)
from directory.sandbox.tenant import Kind

READ_ORGANIZATION = frozenset(
    {"User.Read.All", "Organization.Read.All", "Directory.Read.All"}
)


Handler = Callable[[GraphRequest], Answer]


@dataclass(frozen=True, slots=True)
class Read:
    """One line of the list of reads; any of the permissions is enough.

    ``cost`` is in resource units, before what the query adds or takes off.
    https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits
    """

    method: str
    template: str
    pattern: re.Pattern[str]
    permissions: frozenset[str]
    handler: Handler
    cost: int

    def units(self, parameters: Mapping[str, str]) -> int:
        cost = self.cost - ("$select" in parameters) + ("$expand" in parameters)
        top = parameters.get("$top", "")
        return max(1, cost - (top.isdigit() and int(top) < 20))


def _delta(request: GraphRequest, kind: Kind, entity_set: str) -> Answer:
    sandbox = request.sandbox
    prefer = request.headers.get("prefer", "").replace(" ", "").lower()
    page = delta.page(
        delta.DeltaRequest(
            tenant=request.tenant,
            kind=kind,
            behavior=sandbox.behavior,
            sealer=sealer(request),
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
        body["@odata.nextLink"] = link(request, {"$skiptoken": page.skip_token})
    if page.delta_token:
        body["@odata.deltaLink"] = link(request, {"$deltatoken": page.delta_token})
    body["value"] = page.value
    return Answer(body)


def _users_delta(request: GraphRequest) -> Answer:
    return _delta(request, Kind.USER, "users")


def _groups_delta(request: GraphRequest) -> Answer:
    return _delta(request, Kind.GROUP, "groups")


_DELTA = r"(?:microsoft\.graph\.)?delta(?:\(\))?"


_KEY = r"([^/]+)"


_CAST = r"(?:/(?:microsoft\.)?graph\.(user|group))?"


_BOTH = READ_USERS | READ_GROUPS


def _read(
    method: str,
    template: str,
    pattern: str,
    permissions: frozenset[str],
    handler: Handler,
    *,
    cost: int = 1,
) -> Read:
    return Read(method, template, re.compile(pattern), permissions, handler, cost)


READS: tuple[Read, ...] = (
    _read(
        "GET", "/organization", "/organization", READ_ORGANIZATION, objects.organization
    ),
    _read("GET", "/users", "/users", READ_USERS, objects.users, cost=2),
    _read("GET", "/users/delta", f"/users/{_DELTA}", READ_USERS, _users_delta),
    _read("GET", "/users/{id}", f"/users/{_KEY}", READ_USERS, objects.one_user),
    _read(
        "GET",
        "/users/{id}/transitiveMemberOf",
        f"/users/{_KEY}/transitiveMemberOf{_CAST}",
        _BOTH,
        memberships.transitive_member_of,
        cost=2,
    ),
    _read(
        "POST",
        "/users/{id}/getMemberGroups",
        f"/users/{_KEY}/(?:microsoft\\.graph\\.)?getMemberGroups",
        _BOTH,
        memberships.get_member_groups,
        cost=2,
    ),
    _read(
        "POST",
        "/users/{id}/checkMemberGroups",
        f"/users/{_KEY}/(?:microsoft\\.graph\\.)?checkMemberGroups",
        _BOTH,
        memberships.check_member_groups,
        cost=4,
    ),
    _read("GET", "/groups", "/groups", READ_GROUPS, objects.groups),
    _read("GET", "/groups/delta", f"/groups/{_DELTA}", READ_GROUPS, _groups_delta),
    _read("GET", "/groups/{id}", f"/groups/{_KEY}", READ_GROUPS, objects.one_group),
    _read(
        "GET",
        "/groups/{id}/members",
        f"/groups/{_KEY}/members{_CAST}",
        READ_GROUPS,
        memberships.members,
        cost=3,
    ),
    _read(
        "GET",
        "/groups/{id}/transitiveMembers",
        f"/groups/{_KEY}/transitiveMembers{_CAST}",
        READ_GROUPS,
        memberships.transitive_members,
        cost=5,
    ),
)


def find_read(method: str, path: str) -> tuple[Read, tuple[str, ...]] | None:
    for read in READS:
        if read.method == method and (match := read.pattern.fullmatch(path)):
            return read, tuple(key for key in match.groups() if key is not None)
    return None
