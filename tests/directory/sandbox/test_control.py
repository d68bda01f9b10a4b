import time
from typing import Any

import pytest

from tests.cast import ALUMNI, ANA, BERTRAM, FERNHILL, MAC_ADMINS, MILO
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    consent,
    consent_url,
    secure_session,
    shown,
    sign_in,
)

TENANT = f"tenants/{FERNHILL.tenant_id}"


def refused(
    sandbox: Sandbox, method: str, path: str, body: Any = None
) -> tuple[int, str]:
    answer = secure_session(sandbox).request(
        method,
        f"{sandbox.url}/control/{path}",
        json=body,
        headers={"X-Sandbox-Key": sandbox.control_key},
        timeout=10,
    )
    return answer.status_code, answer.json()["error"]


def test_reset_goes_back_to_the_seed_and_is_quick(sandbox: Sandbox) -> None:
    consent(sandbox)
    before = sandbox.control("GET", "")
    sandbox.control("DELETE", f"{TENANT}/users/{ANA.upn}?permanently=true")
    sandbox.control("PATCH", TENANT, {"display_name": "Renamed"})
    sandbox.control("PATCH", "behavior", {"page_size": 3})
    sandbox.control("POST", "faults", {"path": "/", "status": 500, "times": 99})
    sandbox.control("POST", "applications", {"display_name": "Another"})

    started = time.monotonic()
    sandbox.reset()
    elapsed = time.monotonic() - started

    after = sandbox.control("GET", "")
    assert elapsed < 0.5
    (one, _other) = after["tenants"]
    assert one["users"] == before["tenants"][0]["users"]
    assert one["display_name"] == "Fernhill Studio"
    assert one["consents"] == []
    assert sandbox.control("GET", "faults")["faults"] == []
    assert sandbox.control("GET", "behavior")["page_size"] == 100
    assert len(sandbox.control("GET", "applications")["applications"]) == 1


def test_people_are_made_changed_deleted_and_restored(graph: Graph) -> None:
    control = graph.sandbox.control
    made = control(
        "POST",
        f"{TENANT}/users",
        {"displayName": "Zoë Q", "userPrincipalName": "zoe.q@fernhill.example"},
    )
    key = made["id"]
    control(
        "PATCH",
        f"{TENANT}/users/zoe.q@fernhill.example",
        {"userPrincipalName": "zoe@fernhill.example"},
    )

    assert graph.get("/users/zoe@fernhill.example")["id"] == key
    assert graph.error("/users/zoe.q@fernhill.example")[0] == 404
    control("DELETE", f"{TENANT}/users/{key}")
    assert graph.error(f"/users/{key}")[0] == 404
    assert control("GET", f"{TENANT}/users/{key}")["deletedDateTime"]
    control("POST", f"{TENANT}/users/{key}/restore")
    assert graph.get(f"/users/{key}")["displayName"] == "Zoë Q"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{TENANT}/users", {"displayName": "No UPN"}, 400),
        (
            "POST",
            f"{TENANT}/users",
            {"displayName": "Twin", "userPrincipalName": ANA.upn.upper()},
            400,
        ),
        ("POST", f"{TENANT}/groups", {}, 400),
        (
            "POST",
            f"{TENANT}/groups",
            {"displayName": "X", "membershipRule": "device.x -eq 1"},
            400,
        ),
        ("POST", f"{TENANT}/devices", {}, 404),
        ("GET", f"{TENANT}/users/nobody@fernhill.example", None, 404),
        ("GET", "tenants/nowhere.example", None, 404),
        ("DELETE", f"{TENANT}/groups/Contractors", None, 400),
        ("DELETE", f"{TENANT}/users/Mac%20Admins", None, 404),
        ("PUT", f"{TENANT}/groups/{MAC_ADMINS.object_id}/members/{MILO.upn}", {}, 400),
        (
            "DELETE",
            f"{TENANT}/groups/{MAC_ADMINS.object_id}/members/{ANA.upn}",
            None,
            404,
        ),
        ("POST", f"{TENANT}/groups/{MAC_ADMINS.object_id}/members", {}, 400),
        ("POST", f"{TENANT}/users/{ANA.upn}/restore", {}, 404),
        ("PATCH", "behavior", {"no_such_switch": 1}, 400),
        ("PATCH", "behavior", {"page_size": "many"}, 400),
        ("PATCH", "behavior", {"delta_expiry": "never"}, 400),
        ("POST", "delta/expire", {"shape": "never"}, 400),
        ("POST", "faults", {"status": 500}, 400),
        ("POST", "faults", {"path": "/", "weather": "bad"}, 400),
        ("POST", "faults", {"path": "/", "times": "often"}, 400),
        ("POST", "faults", {"path": "/", "drip": 0}, 400),
        ("POST", "faults", {"path": "/", "status": 99}, 400),
        ("POST", "faults", {"path": "/", "headers": {"Retry-After": 1}}, 400),
        ("GET", "journal?after=yesterday", None, 400),
        ("POST", "faults", {"path": "/", "number": 1}, 400),
        ("PUT", "clock", {}, 400),
        ("PUT", "clock", {"time": "noon"}, 400),
        ("PUT", "clock", {"offset_seconds": "many"}, 400),
        ("PUT", "clock", {"tempo": 2}, 400),
        ("POST", "applications", {}, 400),
        ("GET", "applications/nothing", None, 404),
        ("POST", "applications/nothing/secrets", {}, 404),
        ("PUT", f"{TENANT}/consents/nothing", {}, 404),
        ("PATCH", f"{TENANT}/consents/nothing", {}, 404),
        ("DELETE", f"{TENANT}/consents/nothing", None, 404),
        ("GET", f"{TENANT}/consents/nothing", None, 404),
        ("POST", "reset", [], 200),
    ],
)
def test_a_wrong_control_call_is_refused(
    sandbox: Sandbox, method: str, path: str, body: Any, status: int
) -> None:
    if status == 200:
        sandbox.control(method, path, body)
        return
    got, message = refused(sandbox, method, path, body)

    assert got == status
    assert message


def test_credentials_and_certificates_are_checked(sandbox: Sandbox) -> None:
    where = f"applications/{sandbox.application['client_id']}"

    assert refused(sandbox, "POST", f"{where}/certificates", {"pem": "no"})[0] == 400
    assert refused(sandbox, "PATCH", f"{where}/secrets/nothing", {})[0] == 404
    assert (
        refused(
            sandbox,
            "POST",
            "applications",
            {"display_name": "x", "client_id": sandbox.application["client_id"]},
        )[0]
        == 400
    )
    consent(sandbox)
    assert (
        refused(
            sandbox,
            "PATCH",
            f"{TENANT}/consents/{sandbox.application['client_id']}",
            {"weather": 1},
        )[0]
        == 400
    )
    shown_application = sandbox.control("GET", where)
    assert sandbox.application["client_secret"] not in str(shown_application)
    sandbox.control(
        "PATCH",
        where,
        {
            "display_name": "Other",
            "redirect_uris": [],
            "application": [],
            "delegated": ["User.Read"],
        },
    )
    changed = sandbox.control("GET", where)
    assert (changed["display_name"], changed["redirect_uris"]) == ("Other", [])
    sandbox.control(
        "POST", f"{where}/redirect-uris", {"uri": "https://console.example/x/"}
    )
    sandbox.control("DELETE", f"{where}/certificates")
    assert sandbox.control("GET", where)["redirect_uris"] == [
        "https://console.example/x/"
    ]


def test_bodies_that_are_no_json_object_are_refused(sandbox: Sandbox) -> None:
    session = secure_session(sandbox)
    for content in (b"{", b"[1]"):
        answer = session.patch(
            f"{sandbox.url}/control/behavior",
            data=content,
            headers={"X-Sandbox-Key": sandbox.control_key},
            timeout=10,
        )
        assert answer.status_code == 400


def test_a_role_can_be_given_and_taken(sandbox: Sandbox, browser: Browser) -> None:
    sandbox.control(
        "PUT", f"{TENANT}/users/{MILO.upn}/role", {"role": "Global Administrator"}
    )
    page = shown(sign_in(browser, consent_url(sandbox), MILO))
    assert page.heading == "Permissions requested"

    sandbox.control("PUT", f"{TENANT}/users/{MILO.upn}/role", {"role": None})
    page = shown(browser.submit(page, press="Accept"))

    assert page.heading == "Need admin approval"


def test_members_are_listed_and_changed_many_at_once(sandbox: Sandbox) -> None:
    members = f"{TENANT}/groups/Alumni/members"

    sandbox.control("POST", members, {"members": [ANA.upn, "Mac Admins"]})
    listed = sandbox.control("GET", members)["value"]
    sandbox.control("DELETE", members, {"members": [ANA.upn]})
    left = sandbox.control("GET", members)["value"]

    assert {item["id"] for item in listed} == {ANA.object_id, MAC_ADMINS.object_id}
    assert [item["displayName"] for item in left] == ["Mac Admins"]
    groups = sandbox.control("GET", f"{TENANT}/groups")["value"]
    assert len(groups) == 120
    assert ALUMNI.object_id in {group["id"] for group in groups}


def test_a_renamed_tenant_shows_in_organization(graph: Graph) -> None:
    graph.sandbox.control(
        "PATCH", TENANT, {"display_name": "Fernhill Ltd", "domain": "fern.example"}
    )

    (row,) = graph.get("/organization")["value"]

    assert row["displayName"] == "Fernhill Ltd"
    assert row["verifiedDomains"][0]["name"] == "fern.example"


def test_the_journal_can_be_emptied_and_read_from_a_number_on(graph: Graph) -> None:
    graph.get("/users?$top=1")
    last = graph.sandbox.control("GET", "journal")["entries"][-1]["number"]
    graph.get("/groups?$top=1")

    later = graph.sandbox.control("GET", f"journal?after={last}&plane=graph")["entries"]
    graph.sandbox.control("DELETE", "journal")
    emptied = graph.sandbox.control("GET", "journal?plane=graph")["entries"]

    assert [entry["template"] for entry in later] == ["/v1.0/groups"]
    assert emptied == []


def test_the_clock_is_moved_set_stopped_and_set_going(sandbox: Sandbox) -> None:
    moved = sandbox.control("PUT", "clock", {"time": "2030-01-01T12:00:00Z"})
    stopped = sandbox.control(
        "PUT", "clock", {"time": "2031-05-06T07:08:09+00:00", "stopped": True}
    )
    still = [sandbox.control("GET", "clock")["time"] for _ in range(3)]
    later = sandbox.control("PUT", "clock", {"time": "2031-05-06T08:00:00"})
    going = sandbox.control("PUT", "clock", {"stopped": False})
    sandbox.reset()

    assert moved["time"].startswith("2030-01-01T12:00:0")
    assert stopped["stopped"] is True
    assert set(still) == {"2031-05-06T07:08:09Z"}
    assert later["time"] == "2031-05-06T08:00:00Z"
    assert going["time"].startswith("2031-05-06T08:00:0")
    assert going["stopped"] is False
    assert sandbox.control("GET", "clock")["offset_seconds"] == 0.0


def test_sessions_can_be_ended_and_forgeries_taken_back(
    sandbox: Sandbox, browser: Browser
) -> None:
    sign_in(browser, consent_url(sandbox), ANA)
    sandbox.control("DELETE", "sessions")
    sandbox.control("POST", "forge", {"signed_by": "none"})
    sandbox.control("DELETE", "forge")

    assert shown(browser.open(consent_url(sandbox))).heading == "Sign in"


def test_the_front_page_lists_the_cast(browser: Browser) -> None:
    page = shown(browser.open(f"{browser.pages_url}/"))

    assert ANA.upn in page.text
    assert BERTRAM.upn in page.text
    missing = browser.session.get(f"{browser.pages_url}/assets/../base.html")
    assert missing.status_code == 404
    style = browser.session.get(f"{browser.pages_url}/assets/sandbox.css")
    assert style.headers["content-type"].startswith("text/css")
