"""The list of reads: what the sandbox answers, and what each read needs.

It is the sandbox's own list, not the client's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from directory.sandbox import compression, delta, memberships, objects
from directory.sandbox.calls import Answer, GraphRequest, Json, link, sealer
from directory.sandbox.delta_request import DeltaRequest
from directory.sandbox.directory_object import Kind
from directory.sandbox.graph_permissions import NEEDS, Needs
from directory.sandbox.rendered_pages import Rows

Handler = Callable[[GraphRequest], Answer]


@dataclass(frozen=True, slots=True)
class Read:
    """One line of the list of reads.

    ``cost`` is in resource units, before what the query adds or takes off.
    ``countable`` lists also answer ``/$count``; ``of_me`` reads are about whoever
    signed in.
    https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits
    """

    method: str
    template: str
    pattern: re.Pattern[str]
    handler: Handler
    needs: Needs
    cost: int
    countable: bool
    of_me: bool

    def units(self, parameters: Mapping[str, str]) -> int:
        cost = self.cost - ("$select" in parameters) + ("$expand" in parameters)
        top = parameters.get("$top", "")
        return max(1, cost - (top.isdigit() and int(top) < 20))


def _delta(request: GraphRequest, kind: Kind, entity_set: str) -> Answer:
    sandbox = request.sandbox
    prefer = request.headers.get("prefer", "").replace(" ", "").lower()
    page = delta.page(
        DeltaRequest(
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
    if isinstance(page.value, Rows):
        return _rendered(request, body, page.value)
    return Answer(body | {"value": page.value})


def _rendered(request: GraphRequest, head: Json, rows: Rows) -> Answer:
    """Put a page together from what goes before its rows, and the rows as text."""
    before, after = orjson.dumps(head)[:-1] + b',"value":', b"}"
    gzipped = None
    if "gzip" in request.headers.get("accept-encoding", ""):
        gzipped = compression.gzipped(before, rows.text, rows.packed(), after)
    return Answer(before + rows.text + after, gzipped)


def _users_delta(request: GraphRequest) -> Answer:
    return _delta(request, Kind.USER, "users")


def _groups_delta(request: GraphRequest) -> Answer:
    return _delta(request, Kind.GROUP, "groups")


_DELTA = r"(?:microsoft\.graph\.)?delta(?:\(\))?"


_KEY = r"([^/]+)"


_CAST = (
    r"(?:/(?:microsoft\.)?graph\."
    r"(user|group|device|orgContact|servicePrincipal|directoryRole))?"
)


_ACTION = r"(?:microsoft\.graph\.)?"


def _read(
    method: str,
    template: str,
    handler: Handler,
    *,
    pattern: str = "",
    cost: int = 1,
    countable: bool = False,
) -> tuple[Read, ...]:
    """Make the read of a template, and its twin under /me where there is one."""
    needs = NEEDS[f"{method} {template}"]
    pattern = (pattern or template).replace("{id}", _KEY)
    reads = [
        Read(
            method,
            template,
            re.compile(pattern, re.IGNORECASE),
            handler,
            needs,
            cost,
            countable,
            of_me=False,
        )
    ]
    if template.startswith("/users/{id}"):
        mine = re.compile(pattern.replace(f"/users/{_KEY}", "/me"), re.IGNORECASE)
        me = template.replace("/users/{id}", "/me")
        reads.append(
            Read(method, me, mine, handler, needs, cost, countable, of_me=True)
        )
    return tuple(reads)


def _members(template: str, handler: Handler, cost: int) -> tuple[Read, ...]:
    pattern = template + _CAST
    return _read("GET", template, handler, pattern=pattern, cost=cost, countable=True)


def _action(template: str, handler: Handler, cost: int) -> tuple[Read, ...]:
    head, _, name = template.rpartition("/")
    return _read(
        "POST", template, handler, pattern=f"{head}/{_ACTION}{name}", cost=cost
    )


def _actions(head: str) -> tuple[Read, ...]:
    return (
        *_action(f"{head}/getMemberGroups", memberships.get_member_groups, 2),
        *_action(f"{head}/checkMemberGroups", memberships.check_member_groups, 4),
    )


def _object_actions(head: str) -> tuple[Read, ...]:
    return (
        *_action(f"{head}/getMemberObjects", memberships.get_member_objects, 1),
        *_action(f"{head}/checkMemberObjects", memberships.check_member_objects, 1),
    )


READS: tuple[Read, ...] = (
    *_read("GET", "/organization", objects.organization),
    *_read("GET", "/users", objects.users, cost=2, countable=True),
    *_read("GET", "/users/delta", _users_delta, pattern=f"/users/{_DELTA}"),
    *_read("GET", "/users/{id}", objects.one_user),
    *_members("/users/{id}/memberOf", memberships.member_of, 2),
    *_members("/users/{id}/transitiveMemberOf", memberships.transitive_member_of, 2),
    *_actions("/users/{id}"),
    *_object_actions("/users/{id}"),
    *_read("GET", "/groups", objects.groups, countable=True),
    *_read("GET", "/groups/delta", _groups_delta, pattern=f"/groups/{_DELTA}"),
    *_read("GET", "/groups/{id}", objects.one_group),
    *_members("/groups/{id}/members", memberships.members, 3),
    *_members("/groups/{id}/transitiveMembers", memberships.transitive_members, 5),
    *_members("/groups/{id}/memberOf", memberships.member_of, 2),
    *_members("/groups/{id}/transitiveMemberOf", memberships.transitive_member_of, 2),
    *_actions("/groups/{id}"),
    *_action("/directoryObjects/getByIds", memberships.get_by_ids, 3),
    *_read("GET", "/directoryObjects/{id}", memberships.directory_object),
    *_actions("/directoryObjects/{id}"),
    *_object_actions("/directoryObjects/{id}"),
)


def find_read(method: str, path: str) -> tuple[Read, tuple[str, ...]] | None:
    for read in READS:
        if read.method == method and (match := read.pattern.fullmatch(path)):
            return read, tuple(key for key in match.groups() if key is not None)
    return None
