"""Continuous access evaluation: long tokens that Graph can end at any moment."""

import base64
import json
import re
from typing import Any

import jwt
import msal

from tests.cast import FERNHILL
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import (
    GRAPH_SCOPE,
    Graph,
    app_token,
    consent,
    secure_session,
)

CAPABLE = json.dumps({"access_token": {"xms_cc": {"values": ["CP1"]}}})


def capable(sandbox: Sandbox) -> msal.ConfidentialClientApplication:
    return msal.ConfidentialClientApplication(
        sandbox.application["client_id"],
        authority=f"{sandbox.url}/{FERNHILL.tenant_id}",
        client_credential=sandbox.application["client_secret"],
        client_capabilities=["CP1"],
        instance_discovery=False,
        http_client=secure_session(sandbox),
    )


def token_of(answer: dict[str, Any]) -> str:
    assert "access_token" in answer, answer
    return str(answer["access_token"])


def end_tokens(sandbox: Sandbox) -> None:
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "PATCH",
        f"tenants/{FERNHILL.tenant_id}/consents/{client_id}",
        {"end_tokens": True},
    )


def test_a_client_that_handles_challenges_gets_a_token_for_a_day(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)

    long = capable(sandbox).acquire_token_for_client([GRAPH_SCOPE])
    short = jwt.decode(app_token(sandbox), options={"verify_signature": False})

    claims = jwt.decode(token_of(long), options={"verify_signature": False})
    assert long["expires_in"] == 86_399
    assert claims["exp"] - claims["iat"] == 86_399
    assert claims["xms_cc"] == ["CP1"]
    assert short["exp"] - short["iat"] == 3599
    assert "xms_cc" not in short


def test_a_challenge_ends_a_token_and_its_answer_begins_another(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)
    app = capable(sandbox)
    old = Graph(sandbox, token_of(app.acquire_token_for_client([GRAPH_SCOPE])))
    assert old.call("GET", "/organization").status == 200

    end_tokens(sandbox)
    refused = old.call("GET", "/organization")
    header = refused.headers["WWW-Authenticate"]
    packed = re.search(r'claims="([^"]+)"', header)
    assert packed is not None
    challenge = base64.b64decode(packed[1]).decode()
    answer = app.acquire_token_for_client([GRAPH_SCOPE], claims_challenge=challenge)

    assert refused.status == 401
    assert refused.body["error"]["code"] == "InvalidAuthenticationToken"
    assert header.startswith('Bearer realm=""')
    assert 'error="insufficient_claims"' in header
    assert json.loads(challenge)["access_token"]["nbf"]["essential"] is True
    new = Graph(sandbox, token_of(answer))
    assert new.call("GET", "/organization").status == 200
    assert old.call("GET", "/organization").status == 401
    asked = sandbox.control("GET", "journal?plane=login")["entries"][-1]
    assert "nbf" in asked["parameters"]["claims"]


def test_other_clients_are_never_challenged(sandbox: Sandbox, graph: Graph) -> None:
    end_tokens(sandbox)

    refused = graph.call("GET", "/organization")

    assert refused.status == 401
    assert "insufficient_claims" not in refused.headers["WWW-Authenticate"]


def test_claims_that_are_no_json_are_refused(sandbox: Sandbox) -> None:
    consent(sandbox)
    answer = secure_session(sandbox).post(
        f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": sandbox.application["client_id"],
            "client_secret": sandbox.application["client_secret"],
            "scope": GRAPH_SCOPE,
            "claims": CAPABLE[:-1],
        },
        timeout=10,
    )

    assert answer.status_code == 400
    assert answer.json()["error_codes"] == [9002313]
