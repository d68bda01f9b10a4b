"""Whatever Microsoft, or somebody in its place, answers: nothing but EntraErrors."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from directory.entra import (
    PUBLIC,
    AccessToken,
    ClientSecret,
    EntraSession,
    GraphClient,
    SigningKeys,
    TokenSource,
    discover,
    errors,
    redeem_code,
    validate_id_token,
)
from directory.entra.graph_errors import claims_challenge
from directory.entra.transport import retry_after
from tests.directory.entra.fakes import (
    CLIENT_ID,
    CODE,
    GRAPH,
    NOW,
    PERSON,
    SECRET,
    TENANT,
    Answering,
    FixedTokens,
    Reply,
    Signer,
    configuration,
    discovery,
)

GROUP = "22222222-3333-4444-8555-666666666666"
SIGNER = Signer()


def session(reply: Reply) -> EntraSession:
    found = EntraSession(PUBLIC, attempts=2, sleep=lambda seconds: None)
    found.mount("https://", Answering(reply))
    return found


def graph(reply: Reply) -> GraphClient:
    return GraphClient(cloud=PUBLIC, tokens=FixedTokens(), session=session(reply))


def few(pages: Any) -> None:
    """Read on for a while: an answer may say that there is always more."""
    for _page, _number in zip(pages, range(3), strict=False):
        pass


CALLS: dict[str, Callable[[Reply], object]] = {
    "organization": lambda r: graph(r).organization(),
    "probe_permissions": lambda r: graph(r).probe_permissions(),
    "get_user": lambda r: graph(r).get_user(PERSON, properties=["a.b"]),
    "find_users": lambda r: graph(r).find_users("mail", "x"),
    "search_users": lambda r: graph(r).search_users("x"),
    "users_delta": lambda r: few(graph(r).users_delta()),
    "get_group": lambda r: graph(r).get_group(GROUP),
    "find_groups": lambda r: graph(r).find_groups("x"),
    "search_groups": lambda r: graph(r).search_groups("x"),
    "group_names": lambda r: few(graph(r).group_names()),
    "groups_delta": lambda r: few(graph(r).groups_delta()),
    "members": lambda r: few(graph(r).members(GROUP)),
    "transitive_members": lambda r: few(graph(r).transitive_members(GROUP)),
    "transitive_member_of": lambda r: few(graph(r).transitive_member_of(PERSON)),
    "get_member_groups": lambda r: graph(r).get_member_groups(PERSON),
    "check_member_groups": lambda r: graph(r).check_member_groups(PERSON, [GROUP]),
    "look_up_users": lambda r: graph(r).look_up_users([PERSON]),
    "look_up_groups": lambda r: graph(r).look_up_groups([GROUP]),
    "groups_of_users": lambda r: graph(r).groups_of_users([PERSON]),
    "confirm_memberships": lambda r: graph(r).confirm_memberships({PERSON: [GROUP]}),
    "discover": lambda r: discover(PUBLIC, TENANT, session(r)),
    "signing_keys": lambda r: SigningKeys(discovery(), session(r)).find("x", now=NOW),
    "token": lambda r: token_source(r).token(),
    "redeem_code": lambda r: redeem(r),
}


def token_source(reply: Reply) -> TokenSource:
    """A token source whose tenant is known already."""
    source = TokenSource(
        cloud=PUBLIC,
        tenant=TENANT,
        client_id=CLIENT_ID,
        credential=ClientSecret(SECRET),
        session=session(Reply(body=orjson.dumps(configuration()))),
    )
    source._cache.metadata.discovery(
        PUBLIC, TENANT, source._session, now=datetime.now(UTC)
    )
    source._session.mount("https://", Answering(reply))
    return source


def redeem(reply: Reply) -> str:
    return redeem_code(
        discovery(),
        client_id=CLIENT_ID,
        credential=ClientSecret(SECRET),
        code=CODE,
        redirect_uri="http://localhost:8000/login/entra/callback/",
        code_verifier="verifier",
        nonce="nonce",
        session=session(reply),
    )


# Answers that are nearly right

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from([PERSON, GROUP, TENANT, "deleted", "#microsoft.graph.user"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = [
    *("id", "displayName", "userPrincipalName", "mail", "accountEnabled", "userType"),
    *("groupTypes", "securityEnabled", "visibility", "verifiedDomains", "name"),
    *("members@delta", "@odata.type", "@removed", "reason"),
    *("access_token", "expires_in", "token_type", "id_token", "client_info", "scope"),
    *("refresh_in", "refresh_token", "error", "error_description", "error_codes"),
    *("code", "message", "innerError", "kid", "kty", "n", "e", "use", "issuer"),
    *("responses", "status", "headers", "body", "value", "keys", "suberror", "claims"),
]
thing = st.dictionaries(st.sampled_from(NAMES), anything, max_size=8)
LINKS = st.sampled_from(
    [
        f"{GRAPH}/users/delta?$skiptoken=a",
        f"{GRAPH}/groups/delta?$deltatoken=b",
        "https://evil.example/v1.0/users",
        "https://[::1",
        "",
    ]
)
body = st.one_of(
    anything,
    thing,
    st.fixed_dictionaries(
        {},
        optional={
            "value": st.lists(thing | anything, max_size=3),
            "@odata.nextLink": LINKS | anything,
            "@odata.deltaLink": LINKS | anything,
            "error": thing | anything,
            "error_codes": st.lists(anything, max_size=3),
            "error_description": st.text(max_size=40) | anything,
            "keys": st.lists(thing | anything, max_size=3),
            "responses": st.lists(
                st.fixed_dictionaries(
                    {"id": st.sampled_from(["1", "2", 1]), "status": anything},
                    optional={"headers": thing | anything, "body": thing | anything},
                )
                | anything,
                max_size=3,
            ),
            "access_token": anything,
            "expires_in": anything,
            "id_token": anything,
            "client_info": anything,
            "token_endpoint": st.text() | st.just("https://[::1"),
            **{
                name: st.just(value) | anything
                for name, value in configuration().items()
            },
        },
    ),
)
headers = st.dictionaries(
    st.sampled_from(
        [
            *("Content-Type", "Content-Encoding", "Retry-After", "WWW-Authenticate"),
            *("request-id", "x-ms-resource-unit", "x-ms-throttle-limit-percentage"),
            *("Location", "Set-Cookie", "Content-Length", "Transfer-Encoding"),
        ]
    ),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40)
    | st.sampled_from(
        [
            "gzip",
            "application/json",
            "text/html",
            'Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="',
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "99999999999999999999",
            "nan",
            "inf",
        ]
    ),
    max_size=4,
)
statuses = st.sampled_from(
    [
        *(200, 200, 200, 201, 204, 206, 301, 304, 400, 401, 403, 404, 409, 410, 418),
        *(429, 500, 501, 503, 504, 511, 999),
    ]
)

hostile = settings(
    max_examples=int(os.environ.get("HOSTILE_ANSWERS", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def survives(call: Callable[[Reply], object], reply: Reply) -> None:
    with suppress(errors.EntraError):
        call(reply)


@hostile
@given(name=st.sampled_from(sorted(CALLS)), answer=body, status=statuses, more=headers)
def test_an_answer_that_is_nearly_right_is_an_error_of_ours(
    name: str, answer: Any, status: int, more: dict[str, str]
) -> None:
    survives(CALLS[name], Reply(status, orjson.dumps(answer), more))


@hostile
@given(
    name=st.sampled_from(sorted(CALLS)),
    content=st.binary(max_size=200),
    status=statuses,
    more=headers,
)
def test_bytes_that_mean_nothing_are_an_error_of_ours(
    name: str, content: bytes, status: int, more: dict[str, str]
) -> None:
    survives(CALLS[name], Reply(status, content, more))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("content", "more"),
    [
        pytest.param(b"\x1f\x8b", {"Content-Encoding": "gzip"}, id="half a gzip"),
        pytest.param(b"[" * 100_000, {}, id="deep lists"),
        pytest.param(b'{"value":' * 2_000, {}, id="deep objects"),
        pytest.param(b'{"value":[{"id":"\xed\xa0\x80"}]}', {}, id="a surrogate"),
        pytest.param(b'"\\ud800"', {}, id="an escaped surrogate"),
        pytest.param(b"NaN", {}, id="NaN"),
        pytest.param(b"9" * 5_000, {}, id="a long number"),
        pytest.param(b'{"expires_in":1e400,"access_token":"a"}', {}, id="infinity"),
        pytest.param(b'{"expires_in":"a","access_token":"a"}', {}, id="no seconds"),
        pytest.param(b"<html>", {"Content-Type": "text/html"}, id="HTML"),
        pytest.param(b"{}", {"Content-Type": "\xff"}, id="no type"),
    ],
)
def test_bytes_that_mean_harm_are_an_error_of_ours(
    name: str, content: bytes, more: dict[str, str]
) -> None:
    survives(CALLS[name], Reply(200, content, more))


@hostile
@given(
    changes=st.dictionaries(
        st.sampled_from(
            [
                *("aud", "iss", "tid", "oid", "sub", "nonce", "exp", "iat", "nbf"),
                *("azp", "scp", "idtyp", "ver", "name", "auth_time"),
            ]
        ),
        anything,
        max_size=5,
    ),
    head=st.dictionaries(st.sampled_from(["typ", "crit", "kid", "x"]), scalars),
)
def test_a_signed_token_with_any_claims_is_an_error_of_ours(
    changes: dict[str, Any], head: dict[str, Any]
) -> None:
    reply = Reply(body=orjson.dumps({"keys": [SIGNER.jwk()]}))
    with suppress(TypeError, ValueError, jwt.PyJWTError):
        # What cannot be signed cannot be met.
        raw = SIGNER.sign(changes, headers=head)
        survives(lambda r: validate(raw, r), reply)


@hostile
@given(raw=st.text(max_size=80) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_any_text_in_place_of_a_token_is_an_error_of_ours(raw: str) -> None:
    survives(
        lambda r: validate(raw, r), Reply(body=orjson.dumps({"keys": [SIGNER.jwk()]}))
    )


def validate(raw: str, reply: Reply) -> object:
    return validate_id_token(
        raw,
        cloud=PUBLIC,
        client_id=CLIENT_ID,
        nonce="nonce",
        jwks=SigningKeys(discovery(), session(reply)),
        now=NOW,
    )


@given(st.text() | st.text("bearer=\"claims_error ,'"))
def test_any_header_is_a_challenge_or_none(header: str) -> None:
    found = claims_challenge(header)

    assert found is None or isinstance(orjson.loads(found), dict)


@given(st.text(st.characters(codec="latin-1")))
@example("Mon, 02 Mar 10000 09:00:10 GMT")
@example("Mon, 00 Mar 2026 09:00:10 GMT")
@example("Mon, 02 Mar 2026 09:00:10 +9999")
def test_any_retry_after_is_a_bounded_number_or_none(value: str) -> None:
    found = retry_after({"Retry-After": value}, NOW.timestamp())

    assert found is None or 0 <= found <= 24 * 3600


def test_every_call_of_the_graph_client_is_in_the_list() -> None:
    public = {name for name in vars(GraphClient) if not name.startswith("_")}

    assert public <= CALLS.keys()
    assert isinstance(FixedTokens().token(), AccessToken)
