"""Scripted faults: each kind, where it strikes, how often, and how it is taken back."""

import json
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.cast import ANA, FERNHILL
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import (
    Graph,
    app_token,
    consent,
    secure_session,
)

PERSON = f"/users/{ANA.object_id}"


def break_next(graph: Graph, path: str = "/v1.0/users", **fault: Any) -> None:
    graph.sandbox.control("POST", "faults", {"path": path} | fault)


def test_a_fault_answers_the_nth_request_and_is_spent(graph: Graph) -> None:
    graph.sandbox.control(
        "POST",
        "faults",
        {
            "method": "GET",
            "path": "/v1.0/users",
            "nth": 2,
            "status": 429,
            "headers": {"Retry-After": "7"},
        },
    )

    statuses = [graph.call("GET", "/users?$top=1") for _ in range(3)]
    other = graph.call("GET", "/groups?$top=1")

    assert [reply.status for reply in statuses] == [200, 429, 200]
    assert statuses[1].headers["Retry-After"] == "7"
    assert statuses[1].body["error"]["code"] == "TooManyRequests"
    assert other.status == 200
    (entry,) = (
        entry
        for entry in graph.sandbox.control("GET", "journal")["entries"]
        if entry["fault"]
    )
    assert entry["status"] == 429


def test_a_fault_can_carry_its_own_body_for_the_login_plane(sandbox: Sandbox) -> None:
    consent(sandbox)
    sandbox.control(
        "POST",
        "faults",
        {
            "method": "POST",
            "path": f"/{FERNHILL.tenant_id}/oauth2/",
            "status": 503,
            "body": "<html>busy</html>",
        },
    )

    answer = secure_session(sandbox).post(
        f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token", timeout=10
    )

    assert (answer.status_code, answer.text) == (503, "<html>busy</html>")
    assert app_token(sandbox)


def test_a_fault_can_cut_the_answer_or_the_connection(graph: Graph) -> None:
    control = graph.sandbox.control
    control("POST", "faults", {"path": "/v1.0/users", "truncate": 100})
    with pytest.raises(requests.RequestException):
        graph.call("GET", "/users")

    control("POST", "faults", {"path": "/v1.0/users", "reset": True})
    with pytest.raises(requests.ConnectionError):
        graph.call("GET", "/users")

    control("POST", "faults", {"path": "/v1.0/users", "delay": 0.3})
    started = time.monotonic()
    assert graph.call("GET", "/users?$top=1").status == 200
    assert time.monotonic() - started >= 0.3


def test_faults_can_be_taken_back(graph: Graph) -> None:
    graph.sandbox.control("POST", "faults", {"path": "/", "status": 500})
    graph.sandbox.control("DELETE", "faults")

    assert graph.call("GET", "/users?$top=1").status == 200


def test_a_fault_goes_on_until_it_is_taken_back(graph: Graph) -> None:
    break_next(graph, status=503, times=0, nth=2)

    statuses = [graph.call("GET", "/users?$top=1").status for _ in range(5)]
    graph.sandbox.control("DELETE", "faults")

    assert statuses == [200, 503, 503, 503, 503]
    assert graph.call("GET", "/users?$top=1").status == 200


def test_a_fault_can_wait_for_a_query(graph: Graph) -> None:
    break_next(graph, query="$skiptoken", status=500)

    first = graph.get("/users?$top=500")
    second = graph.error(first["@odata.nextLink"])

    assert second == (500, "InternalServerError")
    assert len(graph.get(first["@odata.nextLink"])["value"]) == 500


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 429, 500, 501, 502])
def test_a_fault_says_what_graph_says_and_carries_its_ids(
    graph: Graph, status: int
) -> None:
    break_next(graph, status=status)

    reply = graph.call("GET", "/users", client_request_id="mine-9")

    assert reply.status == status
    inner = reply.body["error"]["innerError"]
    assert reply.body["error"]["code"]
    assert reply.headers["client-request-id"] == inner["client-request-id"] == "mine-9"
    assert reply.headers["request-id"] == inner["request-id"]
    (entry,) = graph.sandbox.control("GET", "journal?plane=graph")["entries"]
    assert (entry["status"], entry["fault"]) == (status, True)


@pytest.mark.parametrize(
    ("status", "number"), [(429, 90055), (503, 90033), (500, 90033)]
)
def test_a_fault_of_the_sign_in_service_has_its_form(
    sandbox: Sandbox, status: int, number: int
) -> None:
    where = f"/{FERNHILL.tenant_id}/oauth2/v2.0/token"
    sandbox.control("POST", "faults", {"path": where, "status": status})

    answer = secure_session(sandbox).post(f"{sandbox.url}{where}", timeout=10)

    assert answer.status_code == status
    assert answer.json()["error_codes"] == [number]
    assert answer.json()["trace_id"]


def test_the_real_answer_can_come_with_a_wrong_content_type(graph: Graph) -> None:
    break_next(graph, headers={"Content-Type": "text/html", "request-id": None})

    reply = graph.call("GET", "/users?$top=1")

    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html"
    assert "request-id" not in reply.headers
    assert len(reply.body["value"]) == 1


def test_f10_the_real_answer_can_be_changed_in_places(graph: Graph) -> None:
    break_next(graph, merge={"value": [], "@odata.nextLink": None, "@more": {"a": 1}})

    emptied = graph.get("/users")
    whole = graph.get("/users")

    assert emptied["value"] == []
    assert "@odata.nextLink" not in emptied
    assert emptied["@odata.context"] == whole["@odata.context"]
    assert emptied["@more"] == {"a": 1}
    assert len(whole["value"]) == 100


def read_raw(graph: Graph, path: str) -> tuple[bytes, list[float]]:
    """Read an answer as it comes: its bytes, and when each piece arrived."""
    parts = urlsplit(graph.sandbox.url)
    context = ssl.create_default_context(cafile=graph.sandbox.ca_file)
    received, times = b"", []
    with (
        socket.create_connection(("127.0.0.1", parts.port or 0), timeout=10) as raw,
        context.wrap_socket(
            raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as connection,
    ):
        token = graph.session.headers["Authorization"]
        connection.sendall(
            f"GET /v1.0{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: {token!s}\r\nConnection: close\r\n\r\n".encode()
        )
        while piece := connection.recv(65536):
            received += piece
            times.append(time.monotonic())
    return received, times


def test_f7_a_body_can_drip(graph: Graph) -> None:
    whole = json.dumps(graph.get("/organization?$select=id"))
    break_next(graph, "/v1.0/organization", drip=40, drip_every=0.05)

    received, times = read_raw(graph, "/organization?$select=id")

    body = received.partition(b"\r\n\r\n")[2]
    assert json.loads(body) == json.loads(whole)
    assert len(times) >= len(body) // 40
    assert times[-1] - times[0] >= 0.05 * (len(body) // 40 - 1)


def test_f6_an_answer_can_break_off_by_a_reset(graph: Graph) -> None:
    break_next(graph, truncate=50, reset=True)

    # OpenSSL makes one error of a reset and of an end without TLS's good-bye.
    with pytest.raises(OSError, match=r"EOF|reset"):
        read_raw(graph, "/users")

    break_next(graph, truncate=50)
    received, _times = read_raw(graph, "/users")
    assert len(received.partition(b"\r\n\r\n")[2]) == 50


def test_a_scripted_answer_can_break_off_too(graph: Graph) -> None:
    break_next(graph, status=500, truncate=5)

    with pytest.raises(requests.RequestException):
        graph.call("GET", "/users")


def batch(graph: Graph, *urls: str) -> dict[str, Any]:
    items = [
        {"id": str(number), "method": "GET", "url": url}
        for number, url in enumerate(urls)
    ]
    reply = graph.call("POST", "/$batch", body={"requests": items})
    assert reply.status == 200
    return {item["id"]: item for item in reply.body["responses"]}


def test_f4_a_fault_can_strike_one_item_of_a_batch(graph: Graph) -> None:
    break_next(graph, item="1", status=429, headers={"Retry-After": "7"})
    break_next(graph, "/v1.0/groups", item="*", status=503)

    found = batch(graph, PERSON, PERSON, "/groups", "/organization")
    again = batch(graph, PERSON, PERSON, "/groups", "/organization")

    assert [item["status"] for item in found.values()] == [200, 429, 503, 200]
    assert found["1"]["headers"]["Retry-After"] == "7"
    assert found["1"]["body"]["error"]["code"] == "TooManyRequests"
    assert [item["status"] for item in again.values()] == [200] * 4
    noted = graph.sandbox.control("GET", "journal?plane=graph")["entries"][0]["items"]
    assert [item["fault"] for item in noted] == [False, True, True, False]


def test_a_fault_of_an_item_leaves_whole_requests_alone(graph: Graph) -> None:
    break_next(graph, item="*", status=500, times=0)

    assert graph.call("GET", "/users?$top=1").status == 200
    assert batch(graph, "/users")["0"]["status"] == 500


def test_an_items_real_answer_can_be_changed(graph: Graph) -> None:
    break_next(graph, item="0", merge={"displayName": "Somebody else"})

    found = batch(graph, PERSON)["0"]

    assert found["status"] == 200
    assert found["body"]["displayName"] == "Somebody else"
    assert found["body"]["id"] == ANA.object_id


def test_control_calls_are_never_struck(graph: Graph) -> None:
    break_next(graph, "/", reset=True, times=0)

    assert graph.sandbox.control("GET", "faults")["faults"][0]["times"] == 0
    with pytest.raises(requests.ConnectionError):
        graph.call("GET", "/users")
