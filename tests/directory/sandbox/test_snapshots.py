"""Snapshots: the whole state of the sandbox, gone back to as often as one likes."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from directory.sandbox import snapshots
from tests.cast import ANA, FERNHILL, MAC_ADMINS, MILO, TOMAS
from tests.conftest import Sandbox, start_sandbox, stop
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    answered,
    app_token,
    authorize_url,
    consent,
    shown,
    sign_in,
)
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.tokens import app_only, code_for, redeem

TENANT = f"tenants/{FERNHILL.tenant_id}"
GROUP = f"{TENANT}/groups/{MAC_ADMINS.object_id}/members"


def keep(sandbox: Sandbox, name: str = "before") -> None:
    sandbox.control("PUT", f"snapshots/{name}")


def go_back(sandbox: Sandbox, name: str = "before") -> None:
    sandbox.control("POST", f"snapshots/{name}/restore")


def test_the_directory_comes_back_and_its_delta_links_with_it(graph: Graph) -> None:
    sandbox = graph.sandbox
    sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})
    _items, earlier = graph.round("/users/delta?$select=department")
    keep(sandbox)
    before = graph.get(f"/users/{ANA.object_id}?$select=department")
    sandbox.control("DELETE", f"{TENANT}/users/{ANA.upn}?permanently=true")
    sandbox.control("PUT", f"{GROUP}/{TOMAS.upn}")
    sandbox.control("PATCH", TENANT, {"display_name": "Renamed"})
    _items, meanwhile = graph.round("/users/delta?$select=department")

    go_back(sandbox)

    again = graph.get(f"/users/{ANA.object_id}?$select=department")
    assert again == before
    members = graph.all(f"/groups/{MAC_ADMINS.object_id}/members?$select=id")
    assert TOMAS.object_id not in {member["id"] for member in members}
    assert graph.get("/organization")["value"][0]["displayName"] == "Fernhill Studio"
    assert graph.round(earlier)[0] == []
    assert graph.error(meanwhile)[0] == 400
    sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Finance"})
    assert [item["department"] for item in graph.round(earlier)[0]] == ["Finance"]


def test_a_link_of_the_time_taken_back_never_tells_of_another(graph: Graph) -> None:
    sandbox = graph.sandbox
    keep(sandbox)
    for department in ("One", "Two"):
        sandbox.control(
            "PATCH", f"{TENANT}/users/{ANA.upn}", {"department": department}
        )
    _items, meanwhile = graph.round("/users/delta?$select=department")
    go_back(sandbox)
    for person in (MILO, TOMAS, ANA):
        sandbox.control("PATCH", f"{TENANT}/users/{person.upn}", {"department": "X"})

    assert graph.error(meanwhile)[0] == 400


def test_consents_credentials_keys_switches_and_clock_come_back(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)
    code = code_for(sandbox, browser)
    client_id = sandbox.application["client_id"]
    sandbox.control("PATCH", "behavior", {"page_size": 7})
    sandbox.control("PUT", "clock", {"offset_seconds": 100})
    keys = sandbox.control("GET", "keys")["kids"]
    sandbox.control("POST", "faults", {"path": "/nowhere", "status": 500})
    keep(sandbox)

    sandbox.control("PATCH", "behavior", {"page_size": 8, "token_limit": 5})
    sandbox.control("PUT", "clock", {"offset_seconds": 999_999})
    sandbox.control("POST", "keys/rotate", {"keep_old": False})
    sandbox.control("DELETE", f"applications/{client_id}/secrets/sandbox")
    sandbox.control("DELETE", f"{TENANT}/consents/{client_id}")
    sandbox.control("POST", f"{TENANT}/conditional-access", {"for": "users"})
    sandbox.control("DELETE", "sessions")
    sandbox.control("DELETE", "faults")
    assert app_only(sandbox)[0] == 401
    go_back(sandbox)

    behavior = sandbox.control("GET", "behavior")
    assert (behavior["page_size"], behavior["token_limit"]) == (7, 0)
    assert sandbox.control("GET", "clock")["offset_seconds"] == 100
    assert sandbox.control("GET", "keys")["kids"] == keys
    assert len(sandbox.control("GET", "faults")["faults"]) == 1
    assert app_only(sandbox)[0] == 200
    assert redeem(sandbox, code)[0] == 200
    assert "code" in answered(browser.open(authorize_url(sandbox))).values


def test_a_snapshot_is_not_changed_by_what_follows(sandbox: Sandbox) -> None:
    client_id = sandbox.application["client_id"]
    keep(sandbox)
    for _ in range(2):
        consent(sandbox)
        sandbox.control("PATCH", f"applications/{client_id}", {"redirect_uris": []})
        go_back(sandbox)
        assert app_only(sandbox)[1]["error_codes"] == [7000229]
        assert sandbox.control("GET", f"applications/{client_id}")["redirect_uris"]


def test_a_snapshot_outlives_a_reset(graph: Graph) -> None:
    sandbox = graph.sandbox
    sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})
    _items, earlier = graph.round("/users/delta?$select=department")
    keep(sandbox)
    sandbox.reset()

    go_back(sandbox)

    again = Graph(sandbox, app_token(sandbox))
    assert again.get(f"/users/{ANA.upn}?$select=department")["department"] == "Legal"
    # The log was begun anew, so no link of before can be trusted.
    assert again.error(earlier)[0] == 400


def test_ways_through_pages_end(sandbox: Sandbox, browser: Browser) -> None:
    page = shown(browser.open(authorize_url(sandbox)))
    keep(sandbox)
    go_back(sandbox)

    ended = shown(browser.submit(page, press="Next", username=ANA.upn))

    assert "start again" in ended.text


def test_snapshots_are_listed_replaced_and_dropped(sandbox: Sandbox) -> None:
    keep(sandbox, "one")
    keep(sandbox, "two")
    keep(sandbox, "one")

    def names() -> list[Any]:
        listed = sandbox.control("GET", "snapshots")["snapshots"]
        return [each["name"] for each in listed if each["name"] in ("one", "two")]

    assert names() == ["one", "two"]
    sandbox.control("DELETE", "snapshots/one")
    assert names() == ["two"]
    sandbox.control("DELETE", "snapshots/two")
    assert refused(sandbox, "DELETE", "snapshots/two")[0] == 404
    assert refused(sandbox, "POST", "snapshots/two/restore")[0] == 404


def test_what_is_kept_over_a_restart_follows_a_restore(tmp_path: Path) -> None:
    first = start_sandbox(tmp_path, "--keep")
    try:
        consent(first)
        keep(first)
        graph = Graph(first, app_token(first))
        for department in ("Legal", "Finance"):
            changed = {"department": department}
            first.control("PATCH", f"{TENANT}/users/{ANA.upn}", changed)
        _items, taken_back = graph.round("/users/delta?$select=department")
        go_back(first)
        first.control("PATCH", f"{TENANT}/users/{MILO.upn}", {"department": "Ops"})
        _items, link = graph.round("/users/delta?$select=department")
    finally:
        stop(first.process)

    second = start_sandbox(tmp_path, "--keep", f"--port={urlsplit(first.url).port}")
    try:
        graph = Graph(second, app_token(second))
        ana = graph.get(f"/users/{ANA.upn}?$select=department")["department"]
        milo = graph.get(f"/users/{MILO.upn}?$select=department")["department"]
        assert (ana, milo) == (ANA.department, "Ops")
        assert graph.round(link)[0] == []
        assert graph.error(taken_back)[0] == 400
    finally:
        stop(second.process)


def test_what_is_kept_over_a_restart_follows_a_restore_after_a_reset(
    tmp_path: Path,
) -> None:
    first = start_sandbox(tmp_path, "--keep")
    try:
        consent(first)
        keep(first)
        first.reset()
        go_back(first)
    finally:
        stop(first.process)

    second = start_sandbox(tmp_path, "--keep", f"--port={urlsplit(first.url).port}")
    try:
        assert app_only(second)[0] == 200
    finally:
        stop(second.process)


def test_every_part_of_the_state_is_copied_or_left_on_purpose() -> None:
    assert snapshots.everything_has_its_place()
