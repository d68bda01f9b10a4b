"""Signing keys: published, rotated, retired, of other issuers."""

from typing import Any

import jwt
import pytest

from directory.sandbox.keyring import KeyRing
from tests.cast import CONSUMERS, FERNHILL, QUARREL
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    app_token,
    consent,
    secure_session,
)
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.tokens import id_token


def published(sandbox: Sandbox, name: str = FERNHILL.tenant_id) -> list[Any]:
    answer = secure_session(sandbox).get(
        f"{sandbox.url}/{name}/discovery/v2.0/keys", timeout=10
    )
    keys: list[Any] = answer.json()["keys"]
    return keys


def kids(sandbox: Sandbox, name: str = FERNHILL.tenant_id) -> list[str]:
    return [key["kid"] for key in published(sandbox, name)]


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_f30_a_key_is_published_before_it_signs_and_retired_after(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    (first,) = kids(sandbox)
    next_one = sandbox.control("POST", "keys", {})["kid"]

    assert kids(sandbox) == [first, next_one]
    assert kid_of(id_token(sandbox, browser)) == first
    sandbox.control("POST", "keys/rotate", {"keep_old": True})
    assert kids(sandbox) == [next_one, first]
    assert kid_of(id_token(sandbox, browser)) == next_one
    sandbox.control("DELETE", f"keys/{first}")
    assert kids(sandbox) == [next_one]
    states = {
        key["kid"]: key["state"] for key in sandbox.control("GET", "keys")["keys"]
    }
    assert (states[first], states[next_one]) == ("retired", "signing")


def test_a_token_of_a_published_key_goes_on_and_of_a_retired_one_does_not(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)
    graph = Graph(sandbox, app_token(sandbox))
    (old,) = kids(sandbox)

    sandbox.control("POST", "keys/rotate", {})
    kept = graph.call("GET", "/organization").status
    sandbox.control("DELETE", f"keys/{old}")

    assert kept == 200
    assert graph.error("/organization") == (401, "InvalidAuthenticationToken")
    assert Graph(sandbox, app_token(sandbox)).call("GET", "/organization").status == 200


def test_a_key_can_be_published_for_another_issuer(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    other = f"{sandbox.url}/{QUARREL.tenant_id}/v2.0"
    kid = sandbox.control("POST", "keys", {"issuer": other})["kid"]

    issuers = {key["kid"]: key["issuer"] for key in published(sandbox)}
    assert issuers[kid] == other
    sandbox.control("POST", "forge", {"signed_by": kid})
    assert kid_of(id_token(sandbox, browser)) == kid


def test_keys_of_several_issuers_stand_together_in_common(sandbox: Sandbox) -> None:
    templated = f"{sandbox.url}/{{tenantid}}/v2.0"
    personal = f"{sandbox.url}/{CONSUMERS.tenant_id}/v2.0"

    def issuers(name: str) -> list[str]:
        return [key["issuer"] for key in published(sandbox, name)]

    assert issuers("organizations") == [templated]
    assert issuers("common") == [templated, personal]
    assert issuers("consumers") == issuers(CONSUMERS.tenant_id) == [personal]
    assert kids(sandbox, "consumers") != kids(sandbox, "organizations")


@pytest.mark.parametrize("which", ["signing", "unknown"])
def test_only_a_key_that_does_not_sign_can_be_retired(
    sandbox: Sandbox, which: str
) -> None:
    kid = kids(sandbox)[0] if which == "signing" else "no-such-key"

    status, message = refused(sandbox, "DELETE", f"keys/{kid}")

    assert status == (400 if which == "signing" else 404)
    assert message


def test_a_reset_leaves_the_signing_key_alone(sandbox: Sandbox) -> None:
    sandbox.control("POST", "keys/rotate", {})
    sandbox.control("POST", "keys", {"issuer": "https://issuer.example"})
    (signing, *_rest) = kids(sandbox)

    sandbox.reset()

    assert kids(sandbox) == [signing]


def test_keys_outlive_the_process(tmp_path: Any) -> None:
    ring = KeyRing(tmp_path)
    ring.rotate(keep_old=True)
    ring.add(issuer="https://issuer.example")
    ring.add()
    ring.rotate(keep_old=False)

    again = KeyRing(tmp_path)

    assert [(each.key.kid, each.state, each.issuer) for each in again.known] == [
        (each.key.kid, each.state, each.issuer) for each in ring.known
    ]
    assert (tmp_path / "signing-keys.json").stat().st_mode & 0o077 == 0
