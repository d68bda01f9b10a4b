"""Reading users, groups and memberships through Microsoft Graph v1.0.

Lists are followed to their end, and every failure has a name: nothing is silently
partial.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import orjson
import requests

from directory.entra import errors
from directory.entra.clouds import Cloud
from directory.entra.identity import AccessToken, TokenProvider
from directory.entra.ids import ObjectId, is_guid
from directory.entra.objects import (
    GROUP_PROPERTIES,
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
from directory.entra.transport import EntraSession, Priority, allowed_read, request_id

USER_READ = "User.Read.All"
GROUP_READ = "GroupMember.Read.All"
HIDDEN_READ = "Member.Read.Hidden"
APPLICATION_PERMISSIONS = (USER_READ, GROUP_READ)
"""What the console asks a tenant for; see `GraphClient.probe_permissions`."""

PAGE_SIZE = 999
CHECK_LIMIT = 20
"""Most group ids in one checkMemberGroups request."""

_PROPERTY = re.compile(r"[a-zA-Z][A-Za-z0-9_]*(?:\.[a-zA-Z][A-Za-z0-9_]*)?")
_DELTA_GONE = frozenset({"syncstatenotfound", "resyncrequired"})
_PAGE_GONE = frozenset(
    {"directory_expiredpagetoken", "directorypagetokennotfoundexception"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionProbe:
    """Whether a Graph permission was seen to work."""

    permission: str
    what: str
    granted: bool
    error: errors.PermissionMissing | None


Page = TypeVar("Page")


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
        return User.from_json(body)

    def find_users(
        self, name: str, value: str, *, properties: Sequence[str] = (), limit: int = 25
    ) -> tuple[User, ...]:
        """Return users whose property equals a value. Needs User.Read.All.

        `limit` is at most 999; a look-up that has to know whether a value is
        unique asks for two.
        https://learn.microsoft.com/graph/api/user-list
        """
        return self._users(f"{_property(name)} eq {_literal(value)}", properties, limit)

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
        self, link: str | None = None, *, properties: Sequence[str] = ()
    ) -> Iterator[UsersPage]:
        """Yield the pages of one delta round. Needs User.Read.All.

        Without `link` a complete read begins; `properties` are then chosen for all
        rounds that follow from it. `link` continues from a stored delta link, or
        from the next link of a page whose data is already kept.
        https://learn.microsoft.com/graph/api/user-delta

        Raises:
            DeltaExpired: begin again without `link`.
        """
        start = link or self._url(
            "/users/delta", {"$select": _select(USER_PROPERTIES, properties)}
        )
        for body, next_link, delta_link in self._pages(
            start, permission=USER_READ, delta=True
        ):
            yield UsersPage(
                users=tuple(User.from_json(item) for item in values(body)),
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
        return Group.from_json(body)

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

    def groups_delta(self, link: str | None = None) -> Iterator[GroupsPage]:
        """Yield the pages of one delta round with `members@delta`.

        Needs GroupMember.Read.All; members of groups that hide them need
        Member.Read.Hidden. See `users_delta` for `link`.
        https://learn.microsoft.com/graph/api/group-delta

        Raises:
            DeltaExpired: begin again without `link`.
        """
        start = link or self._url(
            "/groups/delta", {"$select": ",".join((*GROUP_PROPERTIES, "members"))}
        )
        for body, next_link, delta_link in self._pages(
            start, permission=GROUP_READ, delta=True
        ):
            yield GroupsPage(
                groups=tuple(Group.from_json(item) for item in values(body)),
                next_link=next_link,
                delta_link=delta_link,
            )

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
        wanted = list(dict.fromkeys(group_id.lower() for group_id in group_ids))
        if not all(is_guid(group_id) for group_id in wanted):
            raise ValueError("a group id is not a GUID")
        found: set[ObjectId] = set()
        for start in range(0, len(wanted), CHECK_LIMIT):
            body = self._post(
                f"/users/{_segment(user_id)}/checkMemberGroups",
                {"groupIds": wanted[start : start + CHECK_LIMIT]},
                permission=GROUP_READ,
            )
            found |= ids(body)
        return frozenset(found)

    def _users(
        self, condition: str, properties: Sequence[str], limit: int
    ) -> tuple[User, ...]:
        return self._some(
            "/users",
            condition,
            _select(USER_PROPERTIES, properties),
            limit,
            permission=USER_READ,
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
    ) -> tuple[Page, ...]:
        """List up to `limit` matches; a page may be short without being the last."""
        start = self._url(
            path,
            {
                "$select": select,
                "$filter": condition,
                "$top": str(min(limit, PAGE_SIZE)),
            },
        )
        found: list[Page] = []
        for body, _next, _delta in self._pages(start, permission=permission):
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
    ) -> Iterator[tuple[dict[str, Any], str | None, str | None]]:
        """Follow next links to the end, however many there are.

        An empty page with a next link is an ordinary one.
        https://learn.microsoft.com/graph/paging
        """
        url: str | None = start
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            body = self._send(
                "GET",
                url,
                permission=permission,
                delta=delta,
                names_object=names_object,
            )
            next_link = self._link(body, "@odata.nextLink")
            delta_link = self._link(body, "@odata.deltaLink")
            if delta and (next_link is None) == (delta_link is None):
                raise unreadable("a delta page: not exactly one link to go on with")
            if next_link in seen:
                raise unreadable("@odata.nextLink: the same page again")
            yield body, next_link, delta_link
            url = next_link

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
        text = "&".join(
            f"{name}={quote(value, safe=',')}" for name, value in query.items()
        )
        return f"{self._cloud.graph_root}/v1.0{path}" + (f"?{text}" if text else "")

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
        delta: bool = False,
        names_object: bool = False,
    ) -> dict[str, Any]:
        response = self._exchange(method, url, body, self._tokens.token())
        if response.status_code == 401:
            # Once: either the token ran out on the way, or Microsoft asks for one
            # that answers its challenge.
            claims = claims_challenge(response.headers.get("WWW-Authenticate", ""))
            token = self._tokens.token(fresh=claims is None, claims=claims)
            response = self._exchange(method, url, body, token)
        if response.status_code != 200:
            raise _error(
                response,
                permission=permission,
                delta_url=url if delta else None,
                names_object=names_object,
            )
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise unreadable(
                "the body: it is not a JSON object",
                status=response.status_code,
                request_id=request_id(response),
            )
        return answer

    def _exchange(
        self, method: str, url: str, body: bytes | None, token: AccessToken
    ) -> requests.Response:
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {token.reveal()}",
            "x-ms-throttle-priority": self._priority,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._session.request(method, url, data=body, headers=headers)


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


_CLAIMS = re.compile(r'\bclaims="([A-Za-z0-9+/=_-]+)"')


def claims_challenge(header: str) -> str | None:
    """Return the claims that `WWW-Authenticate` asks for, as JSON, or None.

    https://learn.microsoft.com/entra/identity-platform/claims-challenge
    """
    match = _CLAIMS.search(header)
    if 'error="insufficient_claims"' not in header or match is None:
        return None
    text = match.group(1).rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=None)
        return raw.decode() if isinstance(orjson.loads(raw), dict) else None
    except (binascii.Error, UnicodeDecodeError, orjson.JSONDecodeError):
        return None


def _error_code(response: requests.Response) -> str:
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, str) or not re.fullmatch(r"[A-Za-z0-9_.]{1,80}", code):
        return ""
    return code


def _error(
    response: requests.Response,
    *,
    permission: str,
    delta_url: str | None,
    names_object: bool,
) -> errors.EntraError:
    """Choose the error by status and code; the message is for people and changes.

    https://learn.microsoft.com/graph/errors
    """
    code, status = _error_code(response), response.status_code
    reference = errors.Reference(
        status=status, code=code, request_id=request_id(response)
    )
    if delta_url is not None and _delta_expired(status, code.lower(), delta_url):
        return errors.DeltaExpired(
            "Microsoft no longer knows where the last sync ended.", **reference
        )
    if code == "Authorization_IdentityNotFound":
        return errors.ConsentMissing(
            "The enterprise application is missing in the tenant.", **reference
        )
    if status == 401:
        return errors.TokenRefused(
            "Microsoft Graph does not accept the console's access token.", **reference
        )
    if status == 403:
        reference["advice"] = (
            f"Ask a Global Administrator of the tenant to consent to {permission}."
        )
        return errors.PermissionMissing(
            f"Microsoft Graph does not let the console do this: {permission} is "
            "missing.",
            permission=permission,
            **reference,
        )
    if not code:
        return unreadable(
            f"an error {status} without a code",
            status=status,
            request_id=request_id(response),
        )
    if status == 404 and names_object:
        return errors.DirectoryObjectNotFound(
            "There is no such user or group in the tenant.", **reference
        )
    if code == "Directory_ResultSizeLimitExceeded":
        return errors.ResultTooLarge(
            "The answer is too large for one piece.", **reference
        )
    if code.lower() in _PAGE_GONE:
        return errors.PageExpired(
            "Microsoft no longer knows this page of a list.", **reference
        )
    if status in (400, 501):
        return errors.QueryRefused(
            "Microsoft Graph does not accept a request of the console.", **reference
        )
    reference["advice"] = "Nothing was changed. Try again later."
    return errors.GraphError(
        f"Microsoft Graph answered with the error {status}.", **reference
    )


def _delta_expired(status: int, code: str, url: str) -> bool:
    """Tell whether a delta answer asks to begin again, in any of its four shapes.

    https://learn.microsoft.com/graph/delta-query-overview#synchronization-reset
    """
    if status == 410:
        return True
    if not 400 <= status < 500:
        return False
    if code in _DELTA_GONE or code in _PAGE_GONE:
        return True
    # "DeltaLink older than 30 days is not supported." has a code that also means
    # other things, so it counts for a delta link alone.
    names = {name.lower() for name, _value in parse_qsl(urlsplit(url).query)}
    return code == "request_unsupportedquery" and bool(
        names & {"$deltatoken", "deltatoken"}
    )
