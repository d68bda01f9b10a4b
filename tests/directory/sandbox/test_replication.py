from typing import Any

from tests.cast import ALUMNI, ANA, FERNHILL, FRONTEND, MILO, PASSWORD, TOMAS
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import Graph, authorize_url, shown
from tests.directory.sandbox.test_delta import GROUPS, USERS, apply, names

TENANT = f"tenants/{FERNHILL.tenant_id}"


def delay(graph: Graph, **seconds: int) -> None:
    graph.sandbox.control("PUT", "clock", {"stopped": True})
    graph.sandbox.control("PATCH", "behavior", seconds)


def wait(graph: Graph, seconds: int) -> None:
    graph.sandbox.control("PUT", "clock", {"offset_seconds": seconds})


def department(graph: Graph, key: str) -> Any:
    return graph.get(f"/users/{key}?$select=department")["department"]


def test_a_change_is_seen_by_readers_after_the_delay(graph: Graph) -> None:
    delay(graph, replication_delay=60)
    members = f"/groups/{ALUMNI.object_id}/members?$select=id"

    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})
    graph.sandbox.control(
        "PUT", f"{TENANT}/groups/{ALUMNI.object_id}/members/{ANA.upn}"
    )
    at_once = department(graph, ANA.object_id), names(graph.all(members))
    wait(graph, 59)
    early = department(graph, ANA.object_id), names(graph.all(members))
    wait(graph, 60)
    late = department(graph, ANA.object_id), names(graph.all(members))

    assert at_once == early == ("Engineering", set())
    assert late == ("Legal", {ANA.object_id})
    shown_at_once = graph.sandbox.control("GET", f"{TENANT}/users/{ANA.upn}")
    assert shown_at_once["department"] == "Legal"


def test_a_change_that_a_link_came_too_early_for_is_told_by_a_later_round(
    graph: Graph,
) -> None:
    delay(graph, replication_delay=60)
    _items, link = graph.round(USERS)
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})

    missed, link = graph.round(link)
    wait(graph, 30)
    graph.sandbox.control(
        "PATCH", f"{TENANT}/users/{MILO.upn}", {"department": "Legal"}
    )
    wait(graph, 61)
    first, link = graph.round(link)
    wait(graph, 91)
    second, link = graph.round(link)
    nothing, _link = graph.round(link)

    assert missed == nothing == []
    assert names(first) == {ANA.object_id}
    assert names(second) == {MILO.object_id}


def test_the_directory_itself_changes_at_once(graph: Graph, browser: Browser) -> None:
    delay(graph, replication_delay=60)

    graph.sandbox.control(
        "PATCH", f"{TENANT}/users/{ANA.upn}", {"accountEnabled": False}
    )

    page = browser.sign_in(authorize_url(graph.sandbox), upn=ANA.upn, password=PASSWORD)
    assert "AADSTS50057" in shown(page).text
    enabled = graph.get(f"/users/{ANA.object_id}?$select=accountEnabled")
    assert enabled["accountEnabled"] is True


def test_members_can_arrive_before_their_users(graph: Graph) -> None:
    delay(graph, users_replication_delay=60)
    _items, users = graph.round(USERS)
    _items, groups = graph.round(GROUPS)
    made = graph.sandbox.control(
        "POST",
        f"{TENANT}/users",
        {"displayName": "Early Bird", "userPrincipalName": "early@fernhill.example"},
    )
    graph.sandbox.control(
        "PUT", f"{TENANT}/groups/{ALUMNI.object_id}/members/{made['id']}"
    )

    told, _link = graph.round(groups)
    nobody, users = graph.round(users)
    missing = graph.error(f"/users/{made['id']}")
    wait(graph, 60)
    somebody, _link = graph.round(users)

    assert apply(told, {})[ALUMNI.object_id] == {made["id"]}
    assert nobody == []
    assert missing == (404, "Request_ResourceNotFound")
    assert names(somebody) == {made["id"]}


def test_deletions_and_bulk_changes_wait_as_well(graph: Graph) -> None:
    delay(graph, replication_delay=60)
    _items, users = graph.round(USERS)
    _items, groups = graph.round(GROUPS)
    graph.sandbox.control("DELETE", f"{TENANT}/users/{ANA.upn}?permanently=true")
    body = {"count": 50, "properties": {"department": "Legal"}}
    graph.sandbox.control("POST", f"{TENANT}/bulk/change-users", body)

    before = graph.round(users)[0], graph.round(groups)[0]
    still = graph.get(f"/users/{ANA.object_id}?$select=id")
    wait(graph, 60)
    after, _link = graph.round(users)
    left = apply(graph.round(groups)[0], {FRONTEND.object_id: {ANA.object_id}})

    assert before == ([], [])
    assert still["id"] == ANA.object_id
    assert len(after) == 51
    assert {"id": ANA.object_id, "@removed": {"reason": "deleted"}} in after
    assert ANA.object_id not in left[FRONTEND.object_id]


def test_without_a_delay_what_waits_comes_in_its_time_and_then_all_at_once(
    graph: Graph,
) -> None:
    delay(graph, replication_delay=60)
    control = graph.sandbox.control
    control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})
    control("PATCH", "behavior", {"replication_delay": 0})
    control("PATCH", f"{TENANT}/users/{TOMAS.upn}", {"department": "Legal"})

    behind_it = department(graph, TOMAS.object_id)
    wait(graph, 60)
    caught_up = department(graph, ANA.object_id), department(graph, TOMAS.object_id)
    control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "IT"})

    assert behind_it == "Sales"
    assert caught_up == ("Legal", "Legal")
    assert department(graph, ANA.object_id) == "IT"


def test_a_snapshot_is_gone_back_to_without_a_delay(graph: Graph) -> None:
    graph.sandbox.control("PUT", "snapshots/before")
    delay(graph, replication_delay=60)
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "Legal"})
    wait(graph, 60)
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "IT"})
    seen = department(graph, ANA.object_id)

    graph.sandbox.control("POST", "snapshots/before/restore")

    assert seen == "Legal"
    assert department(graph, ANA.object_id) == "Engineering"
