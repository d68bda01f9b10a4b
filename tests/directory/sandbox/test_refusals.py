from typing import Any

import pytest

from tests.cast import ANA, FERNHILL, MAC_ADMINS, QUARREL
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    answered,
    app_token,
    application,
    consent,
    consent_url,
    finish_flow,
    secure_session,
    sign_in,
    start_flow,
)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/users", 403, "Authorization_RequestDenied"),
        ("PATCH", f"/users/{ANA.object_id}", 403, "Authorization_RequestDenied"),
        (
            "DELETE",
            f"/groups/{MAC_ADMINS.object_id}",
            403,
            "Authorization_RequestDenied",
        ),
        (
            "POST",
            f"/groups/{MAC_ADMINS.object_id}/members/$ref",
            403,
            "Authorization_RequestDenied",
        ),
        ("PUT", "/users/delta", 403, "Authorization_RequestDenied"),
        ("POST", "/users/delta", 403, "Authorization_RequestDenied"),
        ("GET", "/directoryRoles", 400, "BadRequest"),
        ("GET", "/users/a/b/c", 400, "BadRequest"),
        ("GET", f"/users/{ANA.object_id}/$count", 400, "BadRequest"),
    ],
)
def test_what_is_not_on_the_list_of_reads_is_refused_and_recorded(
    graph: Graph, method: str, path: str, status: int, code: str
) -> None:
    reply = graph.call(method, path, body={})

    assert (reply.status, reply.body["error"]["code"]) == (status, code)
    (entry,) = graph.sandbox.control("GET", "journal?refused=true")["entries"]
    assert (entry["method"], entry["path"]) == (method, f"/v1.0{path}")
    assert graph.get(f"/users/{ANA.object_id}")["displayName"] == "Ana Ruiz"


@pytest.mark.parametrize("path", ["/beta/users", "/v2.0/users", "/robots.txt"])
def test_another_address_is_refused_and_recorded(graph: Graph, path: str) -> None:
    reply = graph.call("GET", f"{graph.sandbox.url}{path}")

    assert (reply.status, reply.body["error"]["code"]) == (400, "BadRequest")
    assert reply.headers["request-id"]
    (entry,) = graph.sandbox.control("GET", "journal?refused=true")["entries"]
    assert entry["path"] == path


def test_a_write_inside_a_batch_is_recorded_too(graph: Graph) -> None:
    item = {"id": "1", "method": "DELETE", "url": f"/users/{ANA.object_id}"}

    graph.call("POST", "/$batch", body={"requests": [item]})

    (entry,) = graph.sandbox.control("GET", "journal?refused=true")["entries"]
    assert entry["path"] == "/v1.0/$batch"
    (noted,) = entry["items"]
    assert (noted["method"], noted["refused"]) == ("DELETE", True)


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_a_token_that_is_none_is_401(sandbox: Sandbox, token: str) -> None:
    reply = Graph(sandbox, token).call("GET", "/users")

    assert reply.status == 401
    assert reply.body["error"]["code"] == "InvalidAuthenticationToken"
    assert reply.headers["WWW-Authenticate"].startswith('Bearer realm=""')


def test_a_token_expires(graph: Graph) -> None:
    graph.sandbox.control("PUT", "clock", {"offset_seconds": 3700})

    assert graph.error("/users") == (401, "InvalidAuthenticationToken")


def test_a_token_signed_by_a_withdrawn_key_is_401(graph: Graph) -> None:
    graph.sandbox.control("POST", "keys/rotate", {"keep_old": False})

    assert graph.error("/users") == (401, "InvalidAuthenticationToken")


def test_an_id_token_opens_nothing(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    app = application(sandbox)
    flow = start_flow(app)
    result = finish_flow(app, flow, answered(sign_in(browser, flow["auth_uri"], ANA)))

    assert Graph(sandbox, result["id_token"]).error("/users")[0] == 401


def test_revoking_shows_in_the_next_token_and_at_once_when_asked(
    sandbox: Sandbox, graph: Graph
) -> None:
    client_id = sandbox.application["client_id"]
    where = f"tenants/{FERNHILL.tenant_id}/consents/{client_id}"

    sandbox.control("PATCH", where, {"roles": ["User.Read.All"]})
    old_token = graph.call("GET", "/users").status
    new_token = Graph(sandbox, app_token(sandbox)).error("/users")
    sandbox.control("PATCH", where, {"end_tokens": True})
    ended = graph.error("/users")

    assert old_token == 200
    assert new_token == (403, "Authorization_RequestDenied")
    assert ended == (401, "InvalidAuthenticationToken")
    assert Graph(sandbox, app_token(sandbox)).call("GET", "/groups").status == 200


def test_removing_the_enterprise_application_ends_everything(
    sandbox: Sandbox, graph: Graph
) -> None:
    client_id = sandbox.application["client_id"]
    sandbox.control("DELETE", f"tenants/{FERNHILL.tenant_id}/consents/{client_id}")

    assert graph.error("/users") == (401, "Authorization_IdentityNotFound")
    result = application(sandbox).acquire_token_for_client(
        ["https://graph.microsoft.com/.default"]
    )
    assert result["error_codes"] == [7000229]


def test_a_token_of_one_tenant_reads_that_tenant_alone(
    sandbox: Sandbox, graph: Graph
) -> None:
    consent(sandbox, QUARREL)
    quarrel = Graph(sandbox, app_token(sandbox, QUARREL))

    assert graph.get("/organization")["value"][0]["id"] == FERNHILL.tenant_id
    assert quarrel.get("/organization")["value"][0]["id"] == QUARREL.tenant_id
    assert quarrel.error(f"/groups/{MAC_ADMINS.object_id}")[0] == 404


def test_the_journal_holds_no_secret_code_or_token(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = sign_in(browser, consent_url(sandbox), ANA)
    consent(sandbox)
    app = application(sandbox)
    flow = start_flow(app)
    answer = answered(browser.open(flow["auth_uri"]))
    result = finish_flow(app, flow, answer)
    token = app_token(sandbox)
    Graph(sandbox, token).get("/users?$select=id&$top=1", client_request_id="mine-7")

    entries: list[dict[str, Any]] = sandbox.control("GET", "journal")["entries"]

    text = str(entries)
    for secret in (
        sandbox.application["client_secret"],
        answer.values["code"],
        flow["code_verifier"],
        result["access_token"],
        token,
        "Sandbox-Tenant-1",
        flow["state"],
        flow["nonce"],
    ):
        assert secret not in text
    (read,) = (entry for entry in entries if entry["client_request_id"] == "mine-7")
    assert read["template"] == "/v1.0/users"
    assert read["query"] == ["$select", "$top"]
    assert read["status"] == 200
    assert read["tenant_id"] == FERNHILL.tenant_id
    assert read["parameters"]["authorization"].startswith("sha256:")
    redeemed = next(
        entry
        for entry in entries
        if entry["parameters"].get("grant_type") == "authorization_code"
    )
    assert redeemed["parameters"]["code"].startswith("sha256:")
    assert redeemed["plane"] == "login"
    assert page is not None


def test_control_needs_its_key(sandbox: Sandbox) -> None:
    session = secure_session(sandbox)
    for headers in ({}, {"X-Sandbox-Key": "wrong"}):
        answer = session.post(f"{sandbox.url}/control/reset", headers=headers)
        assert answer.status_code == 403
    assert session.get(f"{sandbox.pages_url}/control/").status_code == 404
