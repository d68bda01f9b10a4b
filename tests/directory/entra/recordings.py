"""Answers of Microsoft's services, replayed through the client.

A recording is a request and its answer. `replay` says, by the request and the status
alone, what Microsoft's text means by it, and asserts that the client makes that of it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import orjson
import pytest

from directory.entra import (
    PUBLIC,
    ClientSecret,
    EntraSession,
    GraphClient,
    Group,
    GroupsPage,
    MemberRef,
    TokenSource,
    User,
    UsersPage,
    discover,
    errors,
    is_guid,
)
from tests.directory.entra.fakes import (
    CLIENT_ID,
    PERSON,
    SECRET,
    TENANT,
    TOKEN,
    Answering,
    FakeTime,
    FixedTokens,
    Reply,
    configuration,
)

REPLAYED = "replayed"
"""The property under which a test says what a recording came to."""


class NotReplayed(Exception):
    """It cannot be replayed, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One answer; `url` is empty where the request was not recorded."""

    name: str
    method: str = ""
    url: str = ""
    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    @classmethod
    def from_json(cls, case: Mapping[str, Any]) -> Recording:
        request, response = case.get("request") or {}, case["response"]
        return cls(
            name=case["id"],
            method=request.get("method") or "",
            url=request.get("url") or "",
            status=response["status"],
            headers=response.get("headers") or {},
            body=response["body"],
        )

    @property
    def sequence(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def path(self) -> str:
        return urlsplit(self.url).path.rstrip("/")

    @property
    def query(self) -> str:
        return urlsplit(self.url).query

    @property
    def resource(self) -> str:
        """`users` or `groups` for a page of a delta round, else empty."""
        links = [self.url, *(self.body or {}).values()] if self.is_page else [self.url]
        found = [
            match.group(1)
            for link in links
            if isinstance(link, str)
            and (match := re.search(r"/v1\.0/(users|groups)/delta\b", link))
        ]
        return found[0] if found else ""

    @property
    def is_page(self) -> bool:
        return isinstance(self.body, dict) and "value" in self.body

    def reply(self) -> Reply:
        status = self.status or 200
        # Lengths are those of the text as it was printed.
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() != "content-length"
        }
        return Reply(status, orjson.dumps(with_guids(self.body)), headers)


def with_guids(body: Any) -> Any:
    """Give placeholders of ids the form of ids; the same ones stay the same.

    Links whose token was left out get one each.
    """
    if isinstance(body, list):
        return [with_guids(each) for each in body]
    if not isinstance(body, dict):
        return body
    changed: dict[str, Any] = {}
    for name, value in body.items():
        if name == "id" and isinstance(value, str) and not value.isdigit():
            changed[name] = value if is_guid(value) else made_guid(value)
        elif name == "value" and isinstance(value, list):
            changed[name] = [
                made_guid(each)
                if isinstance(each, str) and not is_guid(each)
                else with_guids(each)
                for each in value
            ]
        elif isinstance(value, str) and value.endswith("token="):
            changed[name] = value + made_guid(orjson.dumps(body).decode())
        else:
            changed[name] = with_guids(value)
    return changed


def made_guid(text: str) -> str:
    return str(uuid5(NAMESPACE_URL, text))


# Clients


@dataclass
class Client:
    """A client whose every request is answered by recordings, in their order."""

    far_end: Answering
    time: FakeTime = field(default_factory=FakeTime)
    tokens: FixedTokens = field(default_factory=FixedTokens)

    @property
    def session(self) -> EntraSession:
        session = EntraSession(
            PUBLIC,
            attempts=2,
            sleep=self.time.sleep,
            clock=self.time.clock,
            wall_clock=self.time.wall_clock,
        )
        session.mount("https://", self.far_end)
        return session

    @property
    def graph(self) -> GraphClient:
        return GraphClient(cloud=PUBLIC, tokens=self.tokens, session=self.session)

    @property
    def token_source(self) -> TokenSource:
        return TokenSource(
            cloud=PUBLIC,
            tenant=TENANT,
            client_id=CLIENT_ID,
            credential=ClientSecret(SECRET),
            session=self.session,
            clock=lambda: datetime.now(UTC),
        )


def client(*recordings: Recording) -> Client:
    return Client(Answering(*(each.reply() for each in recordings)))


def raised(
    kind: type[errors.EntraError], call: Callable[[], object], recording: Recording
) -> errors.EntraError:
    """Assert the error, its status, its words and that Microsoft's own are not shown."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    assert error.message
    assert error.advice
    assert not error.retryable
    assert error.status in (recording.status, None)
    told = (recording.body.get("error_description") or "").partition("\r\n")[0]
    assert not told or told not in error.sentences()
    assert "<guid>" not in error.sentences()
    return error


# The login host

REFUSALS: Mapping[int, tuple[type[errors.IdentityError], str]] = {
    50034: (errors.PersonRefused, "does not exist in the tenant"),
    53003: (errors.ConditionalAccessBlocked, "Conditional Access"),
    65001: (errors.ConsentMissing, "consented"),
    90002: (errors.TenantNotFound, "No tenant"),
    700016: (errors.ApplicationNotFound, "not known in this tenant"),
    7000215: (errors.CredentialsRefused, "secret of the application is wrong"),
    7000222: (errors.CredentialsRefused, "has expired"),
    7000229: (errors.ApplicationRemoved, "missing in the tenant"),
}


def _login(recording: Recording) -> str:
    if recording.path.endswith("/discovery/instance"):
        raise NotReplayed("the client asks no host which hosts to trust: it has a list")
    if recording.path.endswith("/openid-configuration"):
        return _discovery(recording)
    if not recording.path.endswith("/oauth2/v2.0/token"):
        raise NotReplayed("the client does not ask the login host for this")
    published = Recording(name="discovery", body=configuration())
    source = client(published, recording).token_source
    if recording.status == 200:
        token = source.token()
        assert token.reveal() == recording.body["access_token"]
        assert token.expires_in == recording.body["expires_in"]
        return f"a token for {token.expires_in} s"
    return _refusal(recording, source.token)


def _discovery(recording: Recording) -> str:
    tenant = recording.path.split("/")[1]
    if recording.status != 200:
        return _refusal(
            recording, lambda: discover(PUBLIC, tenant, client(recording).session)
        )
    found = discover(PUBLIC, tenant, client(recording).session)
    for name in (
        *("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"),
        "end_session_endpoint",
    ):
        assert getattr(found, name) == recording.body[name]
    return f"the configuration of {found.issuer}"


def _refusal(recording: Recording, call: Callable[[], object]) -> str:
    (number,) = recording.body["error_codes"]
    if number not in REFUSALS:
        raise NotReplayed(f"nobody has written down what AADSTS{number} means")
    kind, words = REFUSALS[number]
    error = raised(kind, call, recording)
    assert error.code == f"AADSTS{number}"
    assert words in error.message
    if isinstance(error, errors.CredentialsRefused):
        assert error.expired is (number == 7000222)
    return f"{kind.__name__}, {error.code}"


# Graph


def _graph(recording: Recording) -> str:
    if recording.status != 200:
        return _graph_error(recording)
    if not isinstance(recording.body, dict):
        raise NotReplayed("a number without JSON: the client does not ask for counts")
    for pattern, meaning in MEANINGS:
        if re.fullmatch(pattern, f"{recording.method} {recording.path}"):
            return meaning(recording)
    raise NotReplayed(f"the client never asks for {recording.method} {recording.path}")


def _graph_error(recording: Recording) -> str:
    code = recording.body["error"]["code"]
    if recording.status == 429:
        return _throttled(recording)
    if recording.status == 401:
        return _challenged(recording)
    graph = client(recording).graph
    object_id = recording.path.rpartition("/")[2]
    kind, call = {
        (400, "Request_UnsupportedQuery"): (
            errors.DeltaExpired,
            lambda: list(graph.users_delta(f"{DELTA}?$deltatoken=old")),
        ),
        (403, "Authorization_RequestDenied"): (
            errors.PermissionMissing,
            lambda: graph.find_users("mail", "x"),
        ),
        (404, "Request_ResourceNotFound"): (
            errors.DirectoryObjectNotFound,
            lambda: graph.get_group(object_id),
        ),
        (501, "NotImplemented"): (
            errors.QueryRefused,
            lambda: graph.find_users("mail", "x", properties=["skills"]),
        ),
    }[recording.status or 0, code]
    error = raised(kind, call, recording)
    assert error.code == code
    assert error.request_id == recording.headers.get("request-id", "")
    return f"{kind.__name__}, {code}"


DELTA = "https://graph.microsoft.com/v1.0/users/delta"
CALM = Recording(name="calm", body={"value": []})


def _throttled(recording: Recording) -> str:
    """Wait as long as it asks for, and go on."""
    asked = float(recording.headers["Retry-After"])
    throttled = client(recording, CALM)

    throttled.graph.find_users("mail", "x")

    assert throttled.time.slept == [asked]
    return f"waits {asked} s and goes on"


def _challenged(recording: Recording) -> str:
    """Answer the challenge once, with its claims, and go on."""
    header = {name.lower(): value for name, value in recording.headers.items()}
    quoted = re.search(r'claims="([^"]+)"', header["www-authenticate"])
    assert quoted is not None
    claims = base64.b64decode(quoted.group(1)).decode()
    challenged = client(recording, CALM)

    challenged.graph.find_users("mail", "x")

    assert challenged.tokens.asked == [(False, None), (False, claims)]
    bearers = [each.headers["Authorization"] for each in challenged.far_end.asked]
    assert bearers == [f"Bearer {TOKEN}-1", f"Bearer {TOKEN}-2"]
    return f"asks for a token with {claims}"


def rows(recording: Recording) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = with_guids(recording.body)["value"]
    return found


def named(recording: Recording) -> set[str]:
    """The ids that an answer is a list of."""
    found: set[str] = set(with_guids(recording.body)["value"])
    return found


def lacking(recording: Recording, call: Callable[[], object], what: str) -> str:
    """An example that leaves out what Graph always sends is refused by that name."""
    error = raised(errors.GraphResponseError, call, recording)
    assert what in error.message
    return f"refused: the example leaves out {what}"


def _objects(recording: Recording, name: str) -> list[dict[str, Any]]:
    return [row for row in rows(recording) if name in row]


def _users(recording: Recording) -> str:
    found = client(recording).graph.find_users("mail", "x")
    _same_users(found, rows(recording))
    return f"{len(found)} users"


def _groups(recording: Recording) -> str:
    found = client(recording).graph.find_groups("x")
    _same_groups(found, rows(recording))
    return f"{len(found)} groups"


def _user(recording: Recording) -> str:
    found = client(recording).graph.get_user(recording.path.rpartition("/")[2])
    _same_users([found], [recording.body])
    return f"the user {found.display_name}"


def _group(recording: Recording) -> str:
    found = client(recording).graph.get_group(recording.path.rpartition("/")[2])
    _same_groups([found], [recording.body])
    return f"the group {found.display_name}"


def _same_users(found: Sequence[User], given: Sequence[Mapping[str, Any]]) -> None:
    assert [each.id for each in found] == [row["id"].lower() for row in given]
    for user, row in zip(found, given, strict=True):
        assert user.display_name == row.get("displayName")
        assert user.user_principal_name == row.get("userPrincipalName")
        assert user.mail == row.get("mail")
        assert _removed(user) == _reason(row)
        # Null came, and what is not there did not.
        assert set(user.properties) == {name for name in row if "@" not in name}
        assert user.account_enabled is row.get("accountEnabled")


def _same_groups(found: Sequence[Group], given: Sequence[Mapping[str, Any]]) -> None:
    assert [each.id for each in found] == [row["id"].lower() for row in given]
    for group, row in zip(found, given, strict=True):
        assert group.display_name == row.get("displayName")
        assert group.description == row.get("description")
        assert group.is_assignable_to_role is row.get("isAssignableToRole")
        assert group.security_enabled is row.get("securityEnabled")
        assert _removed(group) == _reason(row)
        members = row.get("members@delta")
        assert (group.members is None) is (members is None)
        _same_members(group.members or (), members or [])


def _same_members(
    found: Sequence[MemberRef], given: Sequence[Mapping[str, Any]]
) -> None:
    assert [(each.id, each.odata_type, each.removed) for each in found] == [
        (row["id"].lower(), row["@odata.type"], "@removed" in row) for row in given
    ]


def _removed(thing: User | Group) -> str | None:
    return thing.removed.value if thing.removed else None


def _reason(row: Mapping[str, Any]) -> str | None:
    note = row.get("@removed")
    return note["reason"] if note else None


def _members(relation: str) -> Callable[[Recording], str]:
    def meaning(recording: Recording) -> str:
        if "$count=" in recording.query:
            raise NotReplayed("the client neither counts nor filters members")
        graph = client(recording).graph
        call = graph.members if relation == "members" else graph.transitive_members
        if len(_objects(recording, "@odata.type")) < len(rows(recording)):
            return lacking(recording, lambda: list(call(PERSON)), "@odata.type")
        found = [each for page in call(PERSON) for each in page.members]
        _same_members(found, rows(recording))
        return f"{len(found)} members"

    return meaning


def _member_of(recording: Recording) -> str:
    """`memberOf` needs a permission that is not asked for; its form is the same."""
    found = list(client(recording).graph.transitive_member_of(PERSON))
    kept = [r for r in rows(recording) if r["@odata.type"] == "#microsoft.graph.group"]
    _same_groups(found, kept)
    return f"{len(found)} groups of a user"


def _member_groups(recording: Recording) -> str:
    found = set(map(str, client(recording).graph.get_member_groups(PERSON)))
    assert found == named(recording)
    return f"{len(found)} groups of a user"


def _check_member_groups(recording: Recording) -> str:
    asked = {*named(recording), made_guid("another")}
    answer = client(recording).graph.check_member_groups(PERSON, asked)
    found = set(map(str, answer))
    assert found == named(recording)
    return f"in {len(found)} of the groups asked about"


def _organization(recording: Recording) -> str:
    graph = client(recording).graph
    (row,) = rows(recording)
    for name in ("verifiedDomains", "id"):
        if name not in row:
            return lacking(recording, graph.organization, name)
    found = graph.organization()
    assert found.id == row["id"].lower()
    assert found.display_name == row["displayName"]
    return f"the tenant {found.display_name}"


def _batch(recording: Recording) -> str:
    """Each item by its own status, whatever the order; nothing is followed."""
    items = recording.body["responses"]
    wanted = [made_guid(str(number)) for number in range(1, len(items) + 1)]
    missing = Recording(
        name="missing", status=404, body={"error": {"code": "Request_ResourceNotFound"}}
    )
    asking = client(recording, missing)

    found = list(asking.graph.look_up_users(wanted).values())

    again = sum(item["status"] in (401, 424, 429, 503, 504) for item in items)
    assert all(answer.value is None for answer in found)
    assert sum(answer.gone for answer in found) == again
    hosts = {urlsplit(str(each.url)).hostname for each in asking.far_end.asked}
    assert hosts == {"graph.microsoft.com"}
    return f"{len(items)} items, {again} of them asked again singly"


def _page(recording: Recording) -> str:
    """The page alone; `rounds` follows a sequence to its end."""
    if len(_objects(recording, "id")) < len(rows(recording)):
        return lacking(recording, lambda: parsed(next(read([recording]))), "id of a")
    page = next(iter(read([recording])))
    _same_page(page, recording)
    return f"a page of {len(rows(recording))} {recording.resource}"


def read(
    pages: Sequence[Recording], link: str | None = None
) -> Iterator[UsersPage | GroupsPage]:
    graph = client(*pages).graph
    if pages[0].resource == "users":
        return graph.users_delta(link)
    return graph.groups_delta(link)


def parsed(page: UsersPage | GroupsPage) -> tuple[User, ...] | tuple[Group, ...]:
    return page.users if isinstance(page, UsersPage) else page.groups


def _same_page(page: UsersPage | GroupsPage, recording: Recording) -> None:
    body = with_guids(recording.body)
    assert page.next_link == body.get("@odata.nextLink")
    assert page.delta_link == body.get("@odata.deltaLink")
    if isinstance(page, UsersPage):
        _same_users(page.users, rows(recording))
    else:
        _same_groups(page.groups, rows(recording))


MEANINGS: Sequence[tuple[str, Callable[[Recording], str]]] = (
    (r"(GET )?/v1\.0/(users|groups)/delta", _page),
    (r"GET /v1\.0/users", _users),
    (r"GET /v1\.0/groups", _groups),
    (r"GET /v1\.0/users/[^/]+", _user),
    (r"GET /v1\.0/groups/[^/]+", _group),
    (r"GET /v1\.0/groups/[^/]+/members", _members("members")),
    (r"GET /v1\.0/groups/[^/]+/transitiveMembers", _members("transitiveMembers")),
    (r"GET /v1\.0/users/[^/]+/(memberOf|transitiveMemberOf)", _member_of),
    (r"POST /v1\.0/.+/getMemberGroups", _member_groups),
    (r"POST /v1\.0/.+/checkMemberGroups", _check_member_groups),
    (r"GET /v1\.0/organization", _organization),
    (r"POST /v1\.0/\$batch", _batch),
)


def replay(recording: Recording) -> str:
    """Replay one recording and return in words what it came to.

    Raises:
        NotReplayed: it cannot be replayed.
    """
    host = urlsplit(recording.url).hostname or ""
    if host.startswith("login."):
        return _login(recording)
    if isinstance(recording.body, dict) and "responses" in recording.body:
        return _batch(recording)
    if recording.status is None:
        raise NotReplayed("an answer that is quoted without a status")
    if recording.status != 200 or host:
        return _graph(recording)
    if recording.resource:
        return _page(recording)
    raise NotReplayed("an answer that is quoted without its request")


# Delta rounds


@dataclass(slots=True)
class Seen:
    """What a round leaves behind: who is there, who is gone, who is in what."""

    names: dict[str, str | None] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)

    def take_rows(self, recording: Recording) -> None:
        """From the JSON itself, as Microsoft's text says."""
        for row in rows(recording):
            if "@removed" in row:
                self.removed[row["id"]] = row["@removed"]["reason"]
                continue
            self.names[row["id"]] = row.get("displayName")
            held = self.members.setdefault(row["id"], set())
            for member in row.get("members@delta", []):
                if "@removed" in member:
                    held.discard(member["id"])
                else:
                    held.add(member["id"])

    def take_page(self, page: UsersPage | GroupsPage) -> None:
        """From what the client made of it."""
        for thing in parsed(page):
            if thing.removed is not None:
                self.removed[thing.id] = thing.removed.value
                continue
            self.names[thing.id] = thing.display_name
            held = self.members.setdefault(thing.id, set())
            for member in getattr(thing, "members", None) or ():
                if member.removed:
                    held.discard(member.id)
                else:
                    held.add(member.id)


def delta_sequences(
    recordings: Sequence[Recording],
) -> dict[str, list[list[Recording]]]:
    """Group pages into rounds: up to a delta link, or to the end of the sequence."""
    found: dict[str, list[list[Recording]]] = {}
    for recording in recordings:
        if not recording.resource or recording.status != 200 or not recording.is_page:
            continue
        if len(_objects(recording, "id")) < len(rows(recording)):
            continue
        rounds = found.setdefault(recording.sequence, [[]])
        if rounds[-1] and "@odata.deltaLink" in rounds[-1][-1].body:
            rounds.append([])
        rounds[-1].append(recording)
    return {
        name: rounds
        for name, rounds in found.items()
        if sum(map(len, rounds)) > 1 and rounds[0]
    }


def replay_rounds(rounds: Sequence[Sequence[Recording]]) -> tuple[Seen, int]:
    """Replay rounds one after the other, each from where the one before ended.

    Returns what is known afterwards, and how many pages were read. A round whose end
    is not recorded is read as far as it goes.
    """
    expected, seen = Seen(), Seen()
    link: str | None = None
    pages = 0
    for each in rounds:
        ended = "@odata.deltaLink" in each[-1].body
        if each[0].url and "token=" not in each[0].query:
            link = None
        for recording, page in zip(each, read(each, link), strict=False):
            pages += 1
            _same_page(page, recording)
            expected.take_rows(recording)
            seen.take_page(page)
        link = page.delta_link if ended else None
        assert (link is not None) is ended
    assert seen == expected
    return seen, pages
