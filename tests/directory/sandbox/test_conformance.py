"""The requests of Microsoft's examples, sent to the sandbox and held against a schema.

The examples and the checker are not part of the project. CONFORMANCE_DIR names a
folder with `examples/index.json`, the examples it lists, and `validate_graph.py`,
which takes files of bodies and `--strict`; `make conformance CONFORMANCE=folder`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.cast import ANA, FERNHILL, FRONTEND, MAC_ADMINS, STUDIO
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    Reply,
    answered,
    app_token,
    application,
    consent,
    finish_flow,
    secure_session,
    sign_in,
    start_flow,
)
from tests.directory.sandbox.test_claims_challenge import (
    capable,
    end_tokens,
    token_of,
)

FOLDER = os.environ.get("CONFORMANCE_DIR", "")
TENANT = f"tenants/{FERNHILL.tenant_id}"

# What is not sent, and why.
NOT_SENT = {
    "None None": "an answer that is quoted without its request",
    "/$batch": "the example asks OneDrive and Planner, which the sandbox is not",
}


def cases() -> list[Any]:
    if not FOLDER:
        return [pytest.param({}, id="none")]
    listed = json.loads((Path(FOLDER) / "examples" / "index.json").read_text())
    return [pytest.param(case, id=Path(case["file"]).stem) for case in listed]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    listed: dict[str, Any] = request.param
    if not listed:
        pytest.skip("CONFORMANCE_DIR names no folder of examples")
    for part, reason in NOT_SENT.items():
        if listed["request"].endswith(part):
            pytest.skip(f"Not sent: {reason}.")
    example: dict[str, Any] = json.loads(
        (Path(FOLDER) / "examples" / listed["file"]).read_text()
    )
    return example


def check(body: Any, tmp_path: Path) -> None:
    """Hold a body against the schema; what the schema does not cover fails too."""
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body))
    done = subprocess.run(
        [
            sys.executable,
            str(Path(FOLDER) / "validate_graph.py"),
            "--strict",
            str(file),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def is_graph(example: dict[str, Any]) -> bool:
    return str(example["request"]["url"]).startswith("https://graph.")


@pytest.mark.parametrize("case", cases(), indirect=True)
def test_the_sandbox_answers_microsofts_example(
    case: dict[str, Any],
    sandbox: Sandbox,
    graph: Graph,
    browser: Browser,
    tmp_path: Path,
) -> None:
    if not is_graph(case):
        same_form_as_recorded(case, sandbox)
        return
    reply = send(case, sandbox, graph, browser)

    expected = case["response"]["status"]
    assert reply.status == (expected or 200), reply
    if reply.headers["content-type"].startswith("text/plain"):
        assert isinstance(reply.body, int)
    else:
        check(reply.body, tmp_path)
        same_members(case["response"].get("body"), reply.body)
        if case.get("kind") == "recorded":
            same_properties(case["response"]["body"], reply.body)
    for name in ("request-id", "client-request-id"):
        assert reply.headers[name]


def same_members(theirs: Any, ours: Any) -> None:
    """Microsoft's annotations of the whole answer have to stand in ours as well."""
    if not isinstance(theirs, dict) or "error" in theirs:
        assert not isinstance(theirs, dict) or "error" in ours
        return
    links = {"@odata.nextLink", "@odata.deltaLink"}
    wanted = {name for name in theirs if name.startswith("@")} - links
    if "@odata.context" in wanted and "value" in theirs:
        wanted.add("value")
    assert wanted - {"@odata.type"} <= set(ours)
    if "@odata.context" in theirs and "(" not in theirs["@odata.context"]:
        fragment = theirs["@odata.context"].partition("#")[2]
        assert (
            ours["@odata.context"]
            .partition("#")[2]
            .startswith(fragment.partition("/")[0].partition("(")[0])
        )


# A property that Microsoft has taken back since the recording.
RETIRED = {"creationOptions"}


def same_properties(theirs: Any, ours: Any) -> None:
    """A recorded object is whole: ours has its properties, no more and no fewer."""
    recorded = [theirs] if "id" in theirs else theirs.get("value", [])
    found = [ours] if "id" in ours else ours.get("value", [])
    for item in recorded:
        if isinstance(item, dict):
            kind = item.get("@odata.type")
            alike = [each for each in found if each.get("@odata.type") == kind]
            assert alike
            assert set(alike[0]) == set(item) - RETIRED


def send(
    case: dict[str, Any], sandbox: Sandbox, graph: Graph, browser: Browser
) -> Reply:
    """Send the example's request, with the sandbox's own objects and tokens in it."""
    request = case["request"]
    parts = urlsplit(request["url"])
    path = parts.path.removeprefix("/v1.0")
    query = f"?{parts.query}" if parts.query else ""
    for theirs, ours in OWN_NAMES.items():
        query = query.replace(theirs, ours)
    headers = {
        name.replace("-", "_"): str(value)
        for name, value in (request.get("headers") or {}).items()
        if name.lower() in ("consistencylevel", "prefer")
    }
    status = case["response"]["status"]
    for matches, prepare in PREPARED:
        if matches(path, query, status):
            return prepare(sandbox, graph, browser, path, query)
    if "$count=true" in unquote(query) and "ConsistencyLevel" not in headers:
        headers["ConsistencyLevel"] = "eventual"
    body = request.get("body")
    if isinstance(body, dict):
        body = body | ({"groupIds": [STUDIO.object_id]} if "groupIds" in body else {})
    if status != 404:
        path = with_own_ids(path)
    return graph.call(request["method"], path + query, body=body, **headers)


OWN_NAMES = {"testgroup000001": FRONTEND.display_name}
_ID = re.compile(
    r"(?P<set>/(?:users|groups|directoryObjects)/)"
    r"(?P<key>\{[^}]*\}|[0-9a-f]{8}-[0-9a-f-]{27}|[^/]*@[^/]*)"
)


def with_own_ids(path: str) -> str:
    own = {
        "/users/": ANA.object_id,
        "/groups/": FRONTEND.object_id,
        "/directoryObjects/": ANA.object_id,
    }
    return _ID.sub(lambda found: found["set"] + own[found["set"]], path)


def in_mid_round(
    sandbox: Sandbox, graph: Graph, _browser: Browser, path: str, query: str
) -> Reply:
    """Follow the sandbox's own link of the kind that the example has."""
    sandbox.control("PATCH", "behavior", {"delta_page_size": 20})
    select = "displayName,description,members" if "groups" in path else "displayName"
    if "$skiptoken" in query:
        first = graph.get(f"{path}?$select={select}")
        return graph.call("GET", first["@odata.nextLink"])
    _items, link = graph.round(f"{path}?$select={select}")
    sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"displayName": "Ana R."})
    sandbox.control("PUT", f"{TENANT}/groups/Alumni/members/{ANA.upn}")
    sandbox.control("DELETE", f"{TENANT}/groups/{MAC_ADMINS.object_id}")
    return graph.call("GET", link)


def expired(
    sandbox: Sandbox, graph: Graph, _browser: Browser, path: str, _query: str
) -> Reply:
    _items, link = graph.round(path)
    sandbox.control("POST", "delta/expire", {"shape": "older-than-30-days"})
    return graph.call("GET", link)


def challenged(
    sandbox: Sandbox, _graph: Graph, _browser: Browser, _path: str, _query: str
) -> Reply:
    token = token_of(
        capable(sandbox).acquire_token_for_client(
            ["https://graph.microsoft.com/.default"]
        )
    )
    end_tokens(sandbox)
    reply = Graph(sandbox, token).call("GET", "/organization")
    assert 'error="insufficient_claims"' in reply.headers["WWW-Authenticate"]
    return reply


def without_permission(
    sandbox: Sandbox, _graph: Graph, _browser: Browser, path: str, query: str
) -> Reply:
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "PATCH",
        f"{TENANT}/consents/{client_id}",
        {"roles": ["User.Read.All", "GroupMember.Read.All"]},
    )
    return Graph(sandbox, app_token(sandbox)).call("GET", path + query)


def as_a_person(
    sandbox: Sandbox, _graph: Graph, browser: Browser, path: str, _query: str
) -> Reply:
    scopes = ["User.Read", "GroupMember.Read.All"]
    consent(sandbox, scopes=scopes)
    app = application(sandbox)
    flow = start_flow(app, scopes=scopes)
    answer = answered(sign_in(browser, flow["auth_uri"], ANA))
    token = finish_flow(app, flow, answer)["access_token"]
    return Graph(sandbox, token).call("POST", path, body={"securityEnabledOnly": True})


def as_administrator(
    sandbox: Sandbox, _graph: Graph, _browser: Browser, path: str, query: str
) -> Reply:
    consent(sandbox, roles=["Directory.Read.All"])
    graph = Graph(sandbox, app_token(sandbox))
    return graph.call("GET", with_own_ids(path) + query)


Prepare = Callable[[Sandbox, Graph, Browser, str, str], Reply]
PREPARED: tuple[tuple[Callable[[str, str, Any], bool], Prepare], ...] = (
    (lambda _path, query, status: "deltatoken" in query and status == 400, expired),
    (
        lambda _path, query, _status: "skiptoken" in query or "deltatoken" in query,
        in_mid_round,
    ),
    (lambda path, _query, status: status == 401 and path == "/...", challenged),
    (lambda _path, _query, status: status == 403, without_permission),
    (lambda path, _query, _status: path.startswith("/me/"), as_a_person),
    (lambda path, _query, _status: path.endswith("/memberOf"), as_administrator),
)


# The sign-in service: its answers have no published schema. They have to have the
# members that the recorded ones have, and the numbers.


def same_form_as_recorded(case: dict[str, Any], sandbox: Sandbox) -> None:
    recorded = case["response"]
    status, headers, body = ask_to_sign_in(case, sandbox)

    assert status == recorded["status"]
    theirs = recorded["body"]
    if "error" in theirs:
        assert set(theirs) == set(body)
        for name in ("error", "error_codes", "suberror"):
            assert body.get(name) == theirs.get(name)
        text = theirs["error_description"].partition(":")[0]
        assert body["error_description"].startswith(f"{text}: ")
    else:
        assert set(theirs) - NOT_IN_DISCOVERY <= set(body)
    for name in ("Cache-Control", "X-Content-Type-Options", "P3P"):
        assert headers[name] == recorded["headers"][name]


# Members of Microsoft's metadata that stand for endpoints the sandbox does not have.
NOT_IN_DISCOVERY = {
    "device_authorization_endpoint",
    "kerberos_endpoint",
    "rbac_url",
    "mtls_endpoint_aliases",
    "tls_client_certificate_bound_access_tokens",
}


def ask_to_sign_in(
    case: dict[str, Any], sandbox: Sandbox
) -> tuple[int, Any, dict[str, Any]]:
    session = secure_session(sandbox)
    recorded = case["response"]["body"]
    url = urlsplit(case["request"]["url"])
    if case["request"]["method"] == "GET":
        unknown = "error" in recorded
        own = url.path.replace(
            "12345678-1234-1234-1234-123456789012", FERNHILL.tenant_id
        )
        assert ("/tenant/" in own) is unknown
        answer = session.get(f"{sandbox.url}{own}?{url.query}", timeout=10)
        return answer.status_code, answer.headers, answer.json()
    consent(sandbox)
    number = recorded.get("error_codes", [0])[0]
    client_id = sandbox.application["client_id"]
    where = f"applications/{client_id}"
    tenant, form = FERNHILL.tenant_id, {}
    match number:
        case 90002:
            tenant = "12345678-1234-1234-1234-123456789012"
        case 700016:
            form = {"client_id": "00000000-0000-0000-0000-000000000001"}
        case 7000215:
            form = {"client_secret": "wrong"}
        case 7000222:
            sandbox.control("PATCH", f"{where}/secrets/sandbox", {"expires_in": -1})
        case 7000229:
            sandbox.control("DELETE", f"{TENANT}/consents/{client_id}")
        case 53003:
            sandbox.control(
                "POST", f"{TENANT}/conditional-access", {"for": "applications"}
            )
        case 0:
            pass
        case _:
            # Of flows that take a person: the form of the error is what counts.
            token = f"/{tenant}/oauth2/v2.0/token"
            sandbox.control("POST", "faults", {"path": token, "aadsts": number})
    answer = session.post(
        f"{sandbox.url}/{tenant}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": sandbox.application["client_secret"],
            "scope": "https://graph.microsoft.com/.default",
        }
        | form,
        timeout=10,
    )
    return answer.status_code, answer.headers, answer.json()
