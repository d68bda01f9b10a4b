"""Reading users, groups and memberships through Microsoft Graph v1.0.

Lists are followed to their end, and every failure has a name: nothing is silently
partial.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import orjson
import requests

from directory.entra import errors
from directory.entra.ahead import Ahead, Found, next_link_of
from directory.entra.answers import foreign_answer, is_json, json_value
from directory.entra.batch import (
    ASKED_AGAIN,
    BatchAnswer,
    BatchItem,
    LiveAnswer,
    answers,
    envelope,
)
from directory.entra.clouds import Cloud
from directory.entra.graph_errors import (
    claims_challenge,
    error_code,
    graph_error,
    response_error,
)
from directory.entra.identity import AccessToken, TokenProvider
from directory.entra.ids import ObjectId, is_guid
from directory.entra.objects import (
    GROUP_PROPERTIES,
    LISTED_USER_PROPERTIES,
    MEMBER_PROPERTIES,
    USER_PROPERTIES,
    Group,
    GroupsPage,
    MemberRef,
    MembersPage,
    MemberType,
    Organization,
    User,
    UsersPage,
    ids,
    member_type,
    unreadable,
    values,
)
from directory.entra.transport import (
    BATCH_LIMIT,
    EntraSession,
    Priority,
    allowed_read,
    request_id,
)

USER_READ = "User.Read.All"
GROUP_READ = "GroupMember.Read.All"
HIDDEN_READ = "Member.Read.Hidden"
APPLICATION_PERMISSIONS = (USER_READ, GROUP_READ)
"""What the console asks a tenant for; see `GraphClient.probe_permissions`."""

PAGE_SIZE = 999
CHECK_LIMIT = 20
"""Most group ids in one checkMemberGroups request."""

# By these Graph finds people only with the parameters of advanced queries.
# https://learn.microsoft.com/graph/aad-advanced-queries#user-properties
_ADVANCED = frozenset(
    {
        "companyName",
        "employeeHireDate",
        "employeeOrgData",
        "employeeType",
        "faxNumber",
        "mobilePhone",
        "officeLocation",
        "onPremisesExtensionAttributes",
        "onPremisesSamAccountName",
        "postalCode",
        "preferredLanguage",
        "showInAddressList",
        "streetAddress",
    }
)

_PROPERTY = re.compile(r"[a-zA-Z][A-Za-z0-9_]*(?:\.[a-zA-Z][A-Za-z0-9_]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionProbe:
    """Whether a Graph permission was seen to work."""

    permission: str
    what: str
    granted: bool
    error: errors.PermissionMissing | None


Page = TypeVar("Page")
Object = TypeVar("Object", User, Group)
MayRun = Callable[[], bool]


def _never() -> bool:
    return False


class GraphClient:
    """Microsoft Graph for one tenant.

    Every method raises `GraphError`s, `IdentityError`s when a token cannot be had,
    and what the session raises. `priority` is what Microsoft uses to decide whom
    to slow down first: low for a sync, high for a person who waits.
    """

    def __init__(
        self,
        *,
        cloud: Cloud,
        tokens: TokenProvider,
        session: EntraSession,
        priority: Priority = "normal",
    ) -> None:
        self._cloud = cloud
        self._tokens = tokens
        self._session = session
        self._priority = priority
        self.used: Counter[str] = Counter()
        """How many answers each permission opened, for whoever looks afterwards."""

    def organization(self) -> Organization:
        """Return the tenant that the token is for. Needs User.Read.All.

        https://learn.microsoft.com/graph/api/organization-list
        """
        body = self._get(
            "/organization",
            {"$select": "id,displayName,verifiedDomains"},
            permission=USER_READ,
        )
        rows = values(body)
        if len(rows) != 1:
            raise unreadable("the organization: not exactly one")
        return Organization.from_json(rows[0])

    def probe_permissions(self) -> tuple[PermissionProbe, ...]:
        """Try one small read for each thing that consent must allow.

        A token's own list of roles is not looked at: Graph's tokens are opaque to
        clients. Only a 403 counts as missing; any other failure is raised.
        """
        probes: tuple[tuple[str, str, str, dict[str, str]], ...] = (
            (USER_READ, "Read users", "/users", {"$select": "id", "$top": "1"}),
            (GROUP_READ, "Read groups", "/groups", {"$select": "id", "$top": "1"}),
            (
                GROUP_READ,
                "Follow groups and their members",
                "/groups/delta",
                {"$select": "id,members"},
            ),
        )
        found = []
        for permission, what, path, query in probes:
            error: errors.PermissionMissing | None = None
            try:
                self._get(path, query, permission=permission)
            except errors.PermissionMissing as missing:
                error = missing
            found.append(
                PermissionProbe(
                    permission=permission, what=what, granted=not error, error=error
                )
            )
        return tuple(found)

    def get_user(self, id_or_upn: str, *, properties: Sequence[str] = ()) -> User:
        """Return one user. Needs User.Read.All.

        https://learn.microsoft.com/graph/api/user-get

        Raises:
            DirectoryObjectNotFound: no such user, or deleted.
        """
        body = self._get(
            f"/users/{_segment(id_or_upn)}",
            {"$select": _select(USER_PROPERTIES, properties)},
            permission=USER_READ,
            names_object=True,
        )
        found = User.from_json(body)
        # A name finds whoever has it; an id finds that one or nobody.
        return _same(found, id_or_upn) if is_guid(id_or_upn) else found

    def find_users(
        self, name: str, value: str, *, properties: Sequence[str] = (), limit: int = 25
    ) -> tuple[User, ...]:
        """Return users whose property equals a value. Needs User.Read.All.

        `limit` is at most 999; a look-up that has to know whether a value is
        unique asks for two.
        https://learn.microsoft.com/graph/api/user-list
        """
        return self._users(
            f"{_property(name)} eq {_literal(value)}",
            properties,
            limit,
            advanced=name.partition(".")[0] in _ADVANCED,
        )

    def search_users(
        self, text: str, *, properties: Sequence[str] = (), limit: int = 25
    ) -> tuple[User, ...]:
        """Return users whose name, UPN or mail begins with a text.

        Needs User.Read.All. https://learn.microsoft.com/graph/api/user-list
        """
        value = _literal(text)
        condition = " or ".join(
            f"startswith({name},{value})"
            for name in ("displayName", "userPrincipalName", "mail")
        )
        return self._users(condition, properties, limit)

    def users_delta(
        self,
        link: str | None = None,
        *,
        properties: Sequence[str] = (),
        ahead: MayRun = _never,
    ) -> Iterator[UsersPage]:
        """Yield the pages of one delta round. Needs User.Read.All.

        Without `link` a complete read begins; `properties` are then chosen for all
        rounds that follow from it. `link` continues from a stored delta link, or
        from the next link of a page whose data is already kept. While `ahead` says so
        the next page is asked for before the present one is parsed, in a thread: the
        observers of the session then run in that one.
        https://learn.microsoft.com/graph/api/user-delta

        Raises:
            DeltaExpired: begin again without `link`.
        """
        start = link or self._url(
            "/users/delta", {"$select": _select(LISTED_USER_PROPERTIES, properties)}
        )
        for body, next_link, delta_link in self._pages(
            start, permission=USER_READ, delta=True, ahead=ahead
        ):
            yield UsersPage(
                items=values(body),
                next_link=next_link,
                delta_link=delta_link,
            )

    def get_group(self, object_id: str) -> Group:
        """Return one group. Needs GroupMember.Read.All.

        https://learn.microsoft.com/graph/api/group-get

        Raises:
            DirectoryObjectNotFound: no such group, or deleted.
        """
        body = self._get(
            f"/groups/{_segment(object_id)}",
            {"$select": ",".join(GROUP_PROPERTIES)},
            permission=GROUP_READ,
            names_object=True,
        )
        return _same(Group.from_json(body), object_id)

    def find_groups(self, display_name: str, *, limit: int = 25) -> tuple[Group, ...]:
        """Return groups with exactly this name; names are not unique.

        Needs GroupMember.Read.All. https://learn.microsoft.com/graph/api/group-list
        """
        return self._groups(f"displayName eq {_literal(display_name)}", limit)

    def search_groups(self, text: str, *, limit: int = 25) -> tuple[Group, ...]:
        """Return groups whose name begins with a text.

        Needs GroupMember.Read.All. https://learn.microsoft.com/graph/api/group-list
        """
        return self._groups(f"startswith(displayName,{_literal(text)})", limit)

    def groups_delta(
        self, link: str | None = None, *, ahead: MayRun = _never
    ) -> Iterator[GroupsPage]:
        """Yield the pages of one delta round with `members@delta`.

        Needs GroupMember.Read.All; members of groups that hide them need
        Member.Read.Hidden. See `users_delta` for `link` and `ahead`.
        https://learn.microsoft.com/graph/api/group-delta

        Raises:
            DeltaExpired: begin again without `link`.
        """
        start = link or self._url(
            "/groups/delta", {"$select": ",".join((*GROUP_PROPERTIES, "members"))}
        )
        for body, next_link, delta_link in self._pages(
            start, permission=GROUP_READ, delta=True, ahead=ahead
        ):
            yield GroupsPage(
                items=values(body),
                next_link=next_link,
                delta_link=delta_link,
            )

    def group_names(self) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield pages of all groups, each with id, displayName and mail alone.

        Needs GroupMember.Read.All. https://learn.microsoft.com/graph/api/group-list
        """
        start = self._url(
            "/groups", {"$select": "id,displayName,mail", "$top": str(PAGE_SIZE)}
        )
        for body, _next, _delta in self._pages(start, permission=GROUP_READ):
            yield values(body)

    def members(self, group_id: str) -> Iterator[MembersPage]:
        """Yield the pages of a group's direct members.

        Needs GroupMember.Read.All, and Member.Read.Hidden for a group that hides
        its members. https://learn.microsoft.com/graph/api/group-list-members
        """
        return self._members(group_id, "members")

    def transitive_members(self, group_id: str) -> Iterator[MembersPage]:
        """Yield the pages of a group's members, through nested groups too.

        Permissions as for `members`.
        https://learn.microsoft.com/graph/api/group-list-transitivemembers
        """
        return self._members(group_id, "transitiveMembers")

    def transitive_member_of(self, user_id: str) -> Iterator[Group]:
        """Yield the groups that hold a user, through nested groups too.

        Directory roles and administrative units are left out. Needs User.Read.All
        or GroupMember.Read.All; `memberOf` would need Directory.Read.All.
        https://learn.microsoft.com/graph/api/user-list-transitivememberof
        """
        start = self._url(
            f"/users/{_segment(user_id)}/transitiveMemberOf",
            {"$select": ",".join(GROUP_PROPERTIES), "$top": str(PAGE_SIZE)},
        )
        for body, _next, _delta in self._pages(
            start, permission=GROUP_READ, names_object=True
        ):
            for item in values(body):
                odata_type = item.get("@odata.type")
                if not isinstance(odata_type, str):
                    raise unreadable("an object without @odata.type")
                if member_type(odata_type) is MemberType.GROUP:
                    yield Group.from_json(item)

    def get_member_groups(self, user_id: str) -> frozenset[ObjectId]:
        """Return the ids of all groups that hold a user, nested ones included.

        Needs User.Read.All and GroupMember.Read.All. Beyond 11,000 groups Graph
        refuses; the groups are then listed page by page.
        https://learn.microsoft.com/graph/api/directoryobject-getmembergroups
        """
        try:
            body = self._post(
                f"/users/{_segment(user_id)}/getMemberGroups",
                {"securityEnabledOnly": False},
                permission=GROUP_READ,
            )
        except errors.ResultTooLarge:
            return frozenset(group.id for group in self.transitive_member_of(user_id))
        return ids(body)

    def check_member_groups(
        self, user_id: str, group_ids: Iterable[str]
    ) -> frozenset[ObjectId]:
        """Return those of the groups that hold a user, nested ones included.

        A group that hides its members is never among them. Needs User.Read.All and
        GroupMember.Read.All.
        https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups

        Raises:
            ValueError: an id is not a GUID; Graph would fail the whole request.
        """
        wanted = _object_ids(group_ids)
        found: set[ObjectId] = set()
        for start in range(0, len(wanted), CHECK_LIMIT):
            body = self._post(
                f"/users/{_segment(user_id)}/checkMemberGroups",
                {"groupIds": wanted[start : start + CHECK_LIMIT]},
                permission=GROUP_READ,
            )
            found |= _asked_for(body, wanted)
        return frozenset(found)

    def look_up_users(
        self, object_ids: Iterable[str], *, properties: Sequence[str] = ()
    ) -> dict[ObjectId, LiveAnswer[User]]:
        """Return what Microsoft says now about each of several users.

        Needs User.Read.All. Twenty go into one request. Nothing is raised for a
        conversation that fails: whoever was not answered has its error.
        https://learn.microsoft.com/graph/json-batching

        Raises:
            ValueError: an id is not a GUID.
        """
        select = _select(USER_PROPERTIES, properties)
        return self._look_up(
            object_ids,
            lambda object_id: _Question(
                item=BatchItem(
                    method="GET",
                    path=_query(f"/users/{object_id}", {"$select": select}),
                ),
                parse=lambda body: _same(User.from_json(body), object_id),
            ),
            permission=USER_READ,
        )

    def look_up_groups(
        self, object_ids: Iterable[str]
    ) -> dict[ObjectId, LiveAnswer[Group]]:
        """Return what Microsoft says now about each of several groups.

        Needs GroupMember.Read.All; otherwise as `look_up_users`.
        """
        select = ",".join(GROUP_PROPERTIES)
        return self._look_up(
            object_ids,
            lambda object_id: _Question(
                item=BatchItem(
                    method="GET",
                    path=_query(f"/groups/{object_id}", {"$select": select}),
                ),
                parse=lambda body: _same(Group.from_json(body), object_id),
            ),
            permission=GROUP_READ,
        )

    def confirm_memberships(
        self, groups_of: Mapping[str, Iterable[str]]
    ) -> dict[ObjectId, LiveAnswer[frozenset[ObjectId]]]:
        """Return for each user which of the named groups hold them now.

        Nested groups count; a group that hides its members is never among them.
        Needs User.Read.All and GroupMember.Read.All. A user of whom one answer is
        missing has an error, and no groups. Nothing else is raised, as in
        `look_up_users`.
        https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups

        Raises:
            ValueError: an id is not a GUID.
        """
        people: list[ObjectId] = []
        questions: list[_Question[frozenset[ObjectId]]] = []
        found: dict[ObjectId, LiveAnswer[frozenset[ObjectId]]] = {}
        for user_id, wanted in groups_of.items():
            (person,), group_ids = _object_ids([user_id]), _object_ids(wanted)
            found[person] = LiveAnswer(value=frozenset())
            for start in range(0, len(group_ids), CHECK_LIMIT):
                people.append(person)
                questions.append(
                    _memberships(person, group_ids[start : start + CHECK_LIMIT])
                )
        outcomes = self._batched(questions, permission=GROUP_READ)
        for person, outcome in zip(people, outcomes, strict=True):
            before = found[person].value
            if before is None:
                continue
            found[person] = (
                outcome
                if outcome.value is None
                else LiveAnswer(value=before | outcome.value)
            )
        return found

    def groups_of_users(
        self, object_ids: Iterable[str]
    ) -> dict[ObjectId, LiveAnswer[frozenset[ObjectId]]]:
        """Return for each user the groups that hold them, nested ones included.

        Needs User.Read.All and GroupMember.Read.All; otherwise as `look_up_users`.
        Whoever is in more than 11,000 groups has an error.
        https://learn.microsoft.com/graph/api/directoryobject-getmembergroups
        """
        return self._look_up(
            object_ids,
            lambda object_id: _Question(
                item=BatchItem(
                    method="POST",
                    path=f"/users/{object_id}/getMemberGroups",
                    body={"securityEnabledOnly": False},
                ),
                parse=ids,
            ),
            permission=GROUP_READ,
        )

    def _look_up(
        self,
        object_ids: Iterable[str],
        question: Callable[[ObjectId], "_Question[Page]"],
        *,
        permission: str,
    ) -> dict[ObjectId, LiveAnswer[Page]]:
        wanted = _object_ids(object_ids)
        outcomes = self._batched(
            [question(object_id) for object_id in wanted], permission=permission
        )
        return dict(zip(wanted, outcomes, strict=True))

    def _batched(
        self, questions: Sequence["_Question[Page]"], *, permission: str
    ) -> list[LiveAnswer[Page]]:
        """Ask everything, twenty at a time, and again singly what was not answered.

        Once Microsoft cannot be asked at all, the rest is not tried.
        """
        found: list[LiveAnswer[Page]] = []
        stopped: errors.EntraError | None = None
        for start in range(0, len(questions), BATCH_LIMIT):
            chunk = questions[start : start + BATCH_LIMIT]
            if stopped is None:
                try:
                    answered = self._send_batch(chunk, permission=permission)
                    stopped = self._wait_for(answered)
                except errors.EntraError as error:
                    stopped, answered = error, [None] * len(chunk)
            else:
                answered = [None] * len(chunk)
            for question, answer in zip(chunk, answered, strict=True):
                if answer is not None and answer.status not in ASKED_AGAIN:
                    outcome = _outcome(answer, question, permission=permission)
                elif stopped is None:
                    outcome = self._ask_again(question, permission=permission)
                    if isinstance(outcome.error, _STOPS):
                        stopped = outcome.error
                else:
                    outcome = LiveAnswer(error=stopped)
                found.append(outcome)
        return found

    def _send_batch(
        self, questions: Sequence["_Question[Page]"], *, permission: str
    ) -> list[BatchAnswer | None]:
        body = self._send(
            "POST",
            self._url("/$batch", {}),
            permission=permission,
            body=envelope(
                [question.item for question in questions],
                headers={"x-ms-throttle-priority": self._priority},
            ),
        )
        return answers(body, count=len(questions))

    def _wait_for(
        self, answered: Sequence[BatchAnswer | None]
    ) -> errors.GraphUnavailable | None:
        """Wait as long as the throttled items ask for, before they are asked again."""
        throttled = [one for one in answered if one is not None and one.status == 429]
        asked = [self._session.asked_to_wait(one.headers) for one in throttled]
        longest = max((seconds for seconds in asked if seconds is not None), default=0)
        if not longest or self._session.pause(
            longest, "Microsoft Graph asked the console to slow down."
        ):
            return None
        return errors.GraphUnavailable(
            "Microsoft Graph is limiting the requests of the console.",
            retry_after=longest,
            status=429,
            code="HTTP 429",
            request_id=throttled[0].request_id,
        )

    def _ask_again(
        self, question: "_Question[Page]", *, permission: str
    ) -> LiveAnswer[Page]:
        item = question.item
        try:
            body = self._send(
                item.method,
                self._url(item.path, {}),
                permission=permission,
                body=None if item.body is None else orjson.dumps(item.body),
                names_object=True,
            )
            return LiveAnswer(value=question.parse(body))
        except errors.EntraError as error:
            return LiveAnswer(error=error)

    def _users(
        self,
        condition: str,
        properties: Sequence[str],
        limit: int,
        *,
        advanced: bool = False,
    ) -> tuple[User, ...]:
        return self._some(
            "/users",
            condition,
            _select(USER_PROPERTIES, properties),
            limit,
            permission=USER_READ,
            advanced=advanced,
            parse=User.from_json,
        )

    def _groups(self, condition: str, limit: int) -> tuple[Group, ...]:
        return self._some(
            "/groups",
            condition,
            ",".join(GROUP_PROPERTIES),
            limit,
            permission=GROUP_READ,
            parse=Group.from_json,
        )

    def _some(
        self,
        path: str,
        condition: str,
        select: str,
        limit: int,
        *,
        permission: str,
        parse: Callable[[Mapping[str, Any]], Page],
        advanced: bool = False,
    ) -> tuple[Page, ...]:
        """List up to `limit` matches; a page may be short without being the last."""
        start = self._url(
            path,
            {
                "$select": select,
                "$filter": condition,
                "$top": str(min(limit, PAGE_SIZE)),
                **({"$count": "true"} if advanced else {}),
            },
        )
        found: list[Page] = []
        for body, _next, _delta in self._pages(
            start, permission=permission, advanced=advanced
        ):
            found.extend(parse(item) for item in values(body))
            if len(found) >= limit:
                break
        return tuple(found[:limit])

    def _members(self, group_id: str, relation: str) -> Iterator[MembersPage]:
        start = self._url(
            f"/groups/{_segment(group_id)}/{relation}",
            {"$select": ",".join(MEMBER_PROPERTIES), "$top": str(PAGE_SIZE)},
        )
        for body, next_link, _delta in self._pages(
            start, permission=f"{GROUP_READ} or {HIDDEN_READ}", names_object=True
        ):
            yield MembersPage(
                members=tuple(MemberRef.from_json(item) for item in values(body)),
                next_link=next_link,
            )

    def _pages(
        self,
        start: str,
        *,
        permission: str,
        delta: bool = False,
        names_object: bool = False,
        advanced: bool = False,
        ahead: MayRun = _never,
    ) -> Iterator[tuple[dict[str, Any], str | None, str | None]]:
        """Follow next links to the end, however many there are.

        An empty page with a next link is an ordinary one. `advanced` sends what
        advanced queries need with each page.
        https://learn.microsoft.com/graph/paging
        """
        # A chain that runs ahead asks for no page twice; `seen` are those given out.
        asked: set[str] = set()

        def ask(url: str) -> Found:
            asked.add(url)
            response = self._answer(
                "GET",
                url,
                permission=permission,
                delta=delta,
                names_object=names_object,
                advanced=advanced,
            )
            following = self._probable_next(response) if ahead() else None
            return response, None if following in asked else following

        url: str | None = start
        seen: set[str] = set()
        chain: Ahead | None = None
        try:
            while url is not None:
                seen.add(url)
                if chain is not None:
                    response, following = chain.take()
                else:
                    response, following = ask(url)
                    if following is not None:
                        chain = Ahead(ask, following)
                body = self._body(response, permission=permission)
                next_link = self._link(body, "@odata.nextLink")
                delta_link = self._link(body, "@odata.deltaLink")
                if delta and (next_link is None) == (delta_link is None):
                    raise unreadable("a delta page: not exactly one link to go on with")
                if next_link in seen:
                    raise unreadable("@odata.nextLink: the same page again")
                if chain is not None and following != next_link:
                    chain.stop()
                    # The session is for one request at a time.
                    chain.wait()
                    chain = None
                yield body, next_link, delta_link
                url = next_link
        finally:
            if chain is not None:
                chain.stop()

    def _probable_next(self, response: requests.Response) -> str | None:
        """Return the next link of a page that is not parsed yet, if it is to be seen."""
        try:
            return self._link({"link": next_link_of(response.content)}, "link")
        except errors.GraphResponseError:
            # An error when the page is parsed, if it is its next link.
            return None

    def _link(self, body: Mapping[str, Any], name: str) -> str | None:
        link = body.get(name)
        if link is None:
            return None
        if not isinstance(link, str):
            raise unreadable(name)
        try:
            # Checked before anybody stores it: a token must never go elsewhere.
            read = allowed_read(self._cloud, "GET", link)
        except errors.NotAllowed:
            read = None
        if read is None or read.plane != "graph":
            raise unreadable(f"{name}: it leads to another address")
        return link

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._cloud.graph_root}/v1.0{_query(path, query)}"

    def _get(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        permission: str,
        names_object: bool = False,
    ) -> dict[str, Any]:
        return self._send(
            "GET",
            self._url(path, query),
            permission=permission,
            names_object=names_object,
        )

    def _post(
        self, path: str, body: Mapping[str, object], *, permission: str
    ) -> dict[str, Any]:
        return self._send(
            "POST",
            self._url(path, {}),
            permission=permission,
            body=orjson.dumps(body),
            names_object=True,
        )

    def _send(
        self,
        method: str,
        url: str,
        *,
        permission: str,
        body: bytes | None = None,
        names_object: bool = False,
    ) -> dict[str, Any]:
        response = self._answer(
            method, url, permission=permission, body=body, names_object=names_object
        )
        return self._body(response, permission=permission)

    def _answer(
        self,
        method: str,
        url: str,
        *,
        permission: str,
        body: bytes | None = None,
        delta: bool = False,
        names_object: bool = False,
        advanced: bool = False,
    ) -> requests.Response:
        """Send a request and return Graph's answer to it; any other is an error."""
        exchange = partial(self._exchange, method, url, body, advanced=advanced)
        response = exchange(self._tokens.token())
        if response.status_code == 401:
            # Once: either the token ran out on the way, or Microsoft asks for one
            # that answers its challenge.
            claims = claims_challenge(response.headers.get("WWW-Authenticate", ""))
            token = self._tokens.token(fresh=claims is None, claims=claims)
            response = exchange(token)
        if response.status_code != 200:
            raise response_error(
                response,
                permission=permission,
                delta_url=url if delta else None,
                names_object=names_object,
            )
        return response

    def _body(self, response: requests.Response, *, permission: str) -> dict[str, Any]:
        if not is_json(response):
            raise foreign_answer(response, "Microsoft Graph")
        answer = json_value(response)
        if not isinstance(answer, dict):
            raise unreadable(
                "the body: it is not a JSON object",
                status=response.status_code,
                request_id=request_id(response),
            )
        # Of 'this or that' the first is the one that the console asks for.
        self.used[permission.partition(" ")[0]] += 1
        return answer

    def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        token: AccessToken,
        *,
        advanced: bool = False,
    ) -> requests.Response:
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {token.reveal()}",
            "x-ms-throttle-priority": self._priority,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if advanced:
            headers["ConsistencyLevel"] = "eventual"
        # Without the cookies, hooks and credentials that a session would merge: there
        # are none, and looking for them takes a tenth of the time of a large page.
        request = requests.PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, None)
        request.prepare_headers({**self._session.headers, **headers})
        if body is not None:
            request.prepare_body(body, None)
        return self._session.send(request)


def _query(path: str, query: Mapping[str, str]) -> str:
    text = "&".join(f"{name}={quote(value, safe=',')}" for name, value in query.items())
    return f"{path}?{text}" if text else path


def _object_ids(texts: Iterable[str]) -> list[ObjectId]:
    """Return ids in lower case, each once.

    Raises:
        ValueError: one is not a GUID; Graph would fail more than that one.
    """
    found = list(dict.fromkeys(ObjectId(text.lower()) for text in texts))
    if not all(is_guid(text) for text in found):
        raise ValueError("an object id is not a GUID")
    return found


# After one of these the next request would fail in the same way.
_STOPS = (
    errors.ServiceUnavailable,
    errors.Unreachable,
    errors.IdentityError,
    errors.TokenRefused,
    errors.RedirectRefused,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question(Generic[Page]):
    """A request of a batch, and how its answer is read."""

    item: BatchItem
    parse: Callable[[Mapping[str, Any]], Page]


def _memberships(
    person: ObjectId, group_ids: Sequence[ObjectId]
) -> _Question[frozenset[ObjectId]]:
    return _Question(
        item=BatchItem(
            method="POST",
            path=f"/users/{person}/checkMemberGroups",
            body={"groupIds": group_ids},
        ),
        parse=lambda body: _asked_for(body, group_ids),
    )


def _outcome(
    answer: BatchAnswer, question: _Question[Page], *, permission: str
) -> LiveAnswer[Page]:
    if answer.status != 200:
        return LiveAnswer(
            error=graph_error(
                answer.status,
                error_code(answer.body),
                answer.request_id,
                permission=permission,
                names_object=True,
            )
        )
    if not isinstance(answer.body, dict):
        return LiveAnswer(
            error=unreadable("an item of a batch: its body is not a JSON object")
        )
    try:
        return LiveAnswer(value=question.parse(answer.body))
    except errors.EntraError as error:
        return LiveAnswer(error=error)


def _same(found: Object, object_id: str) -> Object:
    """Check that Graph answered about the object that was asked for.

    Raises:
        GraphResponseError
    """
    if found.id != object_id.lower():
        raise unreadable("an object: it is another one than was asked for")
    return found


def _asked_for(
    body: Mapping[str, Any], group_ids: Iterable[ObjectId]
) -> frozenset[ObjectId]:
    """Return the groups of an answer; none may be there that was not asked for.

    Raises:
        GraphResponseError
    """
    found = ids(body)
    if not found <= frozenset(group_ids):
        raise unreadable("value: it names a group that was not asked for")
    return found


def _literal(text: str) -> str:
    """Quote a text for `$filter`: a single quote is doubled.

    https://learn.microsoft.com/graph/query-parameters#escaping-single-quotes
    """
    return "'" + text.replace("'", "''") + "'"


def _segment(text: str) -> str:
    """Quote an id or UPN as one path segment; a guest's UPN contains a `#`."""
    if not text.strip() or text in (".", "..") or re.search(r"[/\\\x00-\x1f]", text):
        raise errors.DirectoryObjectNotFound("This is not the name of a user or group.")
    return quote(text, safe="@")


def _property(name: str) -> str:
    """Check a property name: it goes into a query as it is.

    Raises:
        ValueError: not the form of a property name.
    """
    if not _PROPERTY.fullmatch(name):
        raise ValueError("not the name of a Graph property")
    return name.replace(".", "/")


def _select(base: Sequence[str], more: Sequence[str]) -> str:
    names = [_property(name).partition("/")[0] for name in (*base, *more)]
    return ",".join(dict.fromkeys(names))
