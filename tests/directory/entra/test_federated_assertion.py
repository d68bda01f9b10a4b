"""An assertion from a file: read at each use, never kept, and clear when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import responses

from directory.entra import (
    PUBLIC,
    FederatedAssertion,
    TokenSource,
    app_only_token,
    discover,
    errors,
    redeem_code,
)
from directory.entra.credentials import MAX_ASSERTION_BYTES
from tests.directory.entra.fakes import (
    CLIENT_ID,
    CODE,
    CONFIGURATION_URL,
    TENANT,
    TOKEN_URL,
    configuration,
    session_for,
)

Write = Callable[..., FederatedAssertion]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Put a token into the file, as the platform does."""

    def write(ends_in: float = 3600, **claims: Any) -> FederatedAssertion:
        body = {
            "iss": "https://issuer.example/cluster",
            "sub": "system:serviceaccount:console:console",
            "aud": "api://AzureADTokenExchange",
            "exp": int(time.time() + ends_in),
        } | claims
        file = tmp_path / "token"
        file.write_text(jwt.encode(body, "k" * 32) + "\n")
        return FederatedAssertion(file)

    return write


@pytest.fixture
def microsoft() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(CONFIGURATION_URL, json=configuration())
        yield mock


def grant(mock: responses.RequestsMock, expires_in: int) -> None:
    mock.post(
        TOKEN_URL,
        json={
            "token_type": "Bearer",
            "expires_in": expires_in,
            "access_token": "canary-token",
        },
    )


def sent(mock: responses.RequestsMock) -> list[dict[str, str]]:
    return [
        {name: value[0] for name, value in parse_qs(str(call.request.body)).items()}
        for call in mock.calls
        if call.request.method == "POST"
    ]


def test_what_the_assertion_says_of_itself_can_be_entered_at_microsoft(
    write: Write,
) -> None:
    claims = write(aud=["api://AzureADTokenExchange"], exp=4102444800).claims()

    assert claims.issuer == "https://issuer.example/cluster"
    assert claims.subject == "system:serviceaccount:console:console"
    assert claims.audience == "api://AzureADTokenExchange"
    assert claims.expires_at == datetime(2100, 1, 1, tzinfo=UTC)


def test_the_assertion_is_sent_in_place_of_a_secret(
    microsoft: responses.RequestsMock, write: Write
) -> None:
    grant(microsoft, 3599)
    assertion = write()

    app_only_token(PUBLIC, TENANT, CLIENT_ID, assertion, session=session_for())

    (request,) = sent(microsoft)
    assert request["client_assertion"] == assertion.read()
    assert request["client_assertion_type"].endswith(":jwt-bearer")
    assert "client_secret" not in request


def test_a_refreshed_file_is_read_at_the_next_use(
    microsoft: responses.RequestsMock, write: Write
) -> None:
    # Too short-lived to be cached: each use asks anew.
    grant(microsoft, 60)
    source = TokenSource(
        cloud=PUBLIC,
        tenant=TENANT,
        client_id=CLIENT_ID,
        credential=write(jti="one"),
        session=session_for(),
    )

    source.token()
    refreshed = write(jti="two").read()
    source.token()

    first, second = sent(microsoft)
    assert first["client_assertion"] != refreshed
    assert second["client_assertion"] == refreshed


def test_a_file_that_vanishes_while_tokens_are_fetched_says_so(
    microsoft: responses.RequestsMock, write: Write
) -> None:
    grant(microsoft, 60)
    assertion = write()
    source = TokenSource(
        cloud=PUBLIC,
        tenant=TENANT,
        client_id=CLIENT_ID,
        credential=assertion,
        session=session_for(),
    )
    source.token()
    assertion.path.unlink()

    with pytest.raises(errors.AssertionUnavailable, match="There is no file"):
        source.token()

    assert len(sent(microsoft)) == 1


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda file: file.unlink(), "There is no file"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read: Is a directory"),
        (lambda file: file.write_text(""), "holds no assertion"),
        (lambda file: file.write_text("root:x:0:0"), "holds no assertion"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "holds no assertion"),
        (
            lambda file: file.write_text("a" * (MAX_ASSERTION_BYTES + 1)),
            "holds no assertion",
        ),
    ],
    ids=["missing", "unreadable", "empty", "something else", "binary", "endless"],
)
def test_a_file_without_an_assertion_is_named_and_never_quoted(
    microsoft: responses.RequestsMock,
    write: Write,
    prepare: Callable[[Path], object],
    sentence: str,
) -> None:
    assertion = write()
    prepare(assertion.path)

    with pytest.raises(errors.AssertionUnavailable, match=sentence) as caught:
        app_only_token(PUBLIC, TENANT, CLIENT_ID, assertion, session=session_for())

    assert str(assertion.path) in caught.value.message
    assert caught.value.advice
    assert "root:x" not in caught.value.sentences()
    assert sent(microsoft) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": ""},
        {"sub": None},
        {"aud": ["one", "two"]},
        {"exp": "tomorrow"},
        {"exp": 10**30},
    ],
)
def test_a_token_of_another_shape_is_no_assertion(
    write: Write, claims: dict[str, Any]
) -> None:
    with pytest.raises(errors.AssertionUnavailable, match="holds no assertion"):
        write(**claims).read()


def test_an_expired_assertion_is_not_sent(
    microsoft: responses.RequestsMock, write: Write
) -> None:
    assertion = write(ends_in=-1)

    with pytest.raises(errors.AssertionUnavailable, match="was not replaced"):
        app_only_token(PUBLIC, TENANT, CLIENT_ID, assertion, session=session_for())

    assert sent(microsoft) == []


def test_a_code_is_not_spent_on_a_missing_assertion(
    microsoft: responses.RequestsMock, write: Write
) -> None:
    assertion = write()
    assertion.path.unlink()
    session = session_for()

    with pytest.raises(errors.AssertionUnavailable):
        redeem_code(
            discover(PUBLIC, TENANT, session),
            client_id=CLIENT_ID,
            credential=assertion,
            code=CODE,
            redirect_uri="https://console.example.com/back/",
            code_verifier="v" * 43,
            nonce="n",
            session=session,
        )

    assert sent(microsoft) == []
