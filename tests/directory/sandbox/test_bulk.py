from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cast import (
    ALL_STAFF,
    ALUMNI,
    ANA,
    DESIGNERS,
    FERNHILL,
    MAC_ADMINS,
    MILO,
    TOMAS,
)
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import Graph, app_token, consent, running
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.test_delta import GROUPS, USERS, apply, names

TENANT = f"tenants/{FERNHILL.tenant_id}"
BULK = f"{TENANT}/bulk"


def bulk(sandbox: Sandbox, action: str, **given: Any) -> int:
    changed = sandbox.control("POST", f"{BULK}/{action}", given)["changed"]
    assert isinstance(changed, int)
    return changed


def test_many_people_change_at_once_and_a_round_tells_just_them(graph: Graph) -> None:
    _items, link = graph.round("/users/delta?$select=jobTitle")

    changed = bulk(
        graph.sandbox, "change-users", count=300, properties={"jobTitle": "Moved {n}"}
    )

    items, _link = graph.round(link)
    assert changed == len(items) == len(names(items)) == 300
    assert len({item["jobTitle"] for item in items}) == 300


def test_the_cast_is_never_drawn_and_dynamic_groups_follow(graph: Graph) -> None:
    everybody = 1000 - len(FERNHILL.people)

    changed = bulk(
        graph.sandbox,
        "change-users",
        count=everybody,
        properties={"department": "Design"},
    )

    assert changed == everybody
    members = names(graph.all(f"/groups/{DESIGNERS.object_id}/members?$select=id"))
    assert len(members) >= everybody
    assert TOMAS.object_id not in members
    assert refused(
        graph.sandbox, "POST", f"{BULK}/change-users", {"count": everybody + 1}
    ) == (400, f"There are only {everybody} besides those of the named cast.")


def test_the_same_seed_draws_the_same(sandbox: Sandbox) -> None:
    drawn = []
    for seed in (5, 5, 6):
        sandbox.reset()
        bulk(sandbox, "delete-users", count=20, seed=seed)
        users = sandbox.control("GET", f"{TENANT}/users")["value"]
        drawn.append({user["id"] for user in users})

    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 980


def test_people_are_created_deleted_restored_and_purged_in_bulk(graph: Graph) -> None:
    sandbox = graph.sandbox
    _items, link = graph.round(USERS)

    bulk(sandbox, "create-users", count=50, properties={"department": "Legal"})
    created, link = graph.round(link)
    deleted = bulk(sandbox, "delete-users", count=40)
    gone, link = graph.round(link)
    restored = bulk(sandbox, "restore-users", count=15)
    back, link = graph.round(link)
    bulk(sandbox, "delete-users", keys=[ANA.upn, MILO.object_id], permanently=True)
    purged, link = graph.round(link)

    assert len(created) == 50
    assert {item["department"] for item in created} == {"Legal"}
    assert deleted == len(gone) == 40
    assert {item["@removed"]["reason"] for item in gone} == {"changed"}
    assert restored == len(back) == 15
    assert names(back) < names(gone)
    assert {(item["id"], item["@removed"]["reason"]) for item in purged} == {
        (ANA.object_id, "deleted"),
        (MILO.object_id, "deleted"),
    }
    assert sandbox.control("GET", TENANT)["users"] == 1000 + 50 - 40 + 15 - 2


def test_memberships_come_and_go_in_bulk(graph: Graph) -> None:
    sandbox = graph.sandbox
    before, link = graph.round(GROUPS)
    held = apply(before, {})
    count = sandbox.control("GET", TENANT)["memberships"]

    added = bulk(sandbox, "add-memberships", count=700)
    more, link = graph.round(link)
    removed = bulk(sandbox, "remove-memberships", count=400)
    less, link = graph.round(link)

    assert (added, removed) == (700, 400)
    told = [member for item in more for member in item["members@delta"]]
    assert len(told) == 700
    told = [member for item in less for member in item["members@delta"]]
    assert len(told) == 400
    assert all(member["@removed"] == {"reason": "deleted"} for member in told)
    assert sandbox.control("GET", TENANT)["memberships"] == count + 300
    assert apply(less, apply(more, held)) == apply(graph.round(GROUPS)[0], {})


def test_a_group_is_filled_and_emptied_in_one_call(graph: Graph) -> None:
    members = f"/groups/{ALUMNI.object_id}/members?$select=id&$top=999"

    filled = bulk(graph.sandbox, "add-memberships", group="Alumni", count=200)
    some = names(graph.all(members))
    left = bulk(graph.sandbox, "remove-memberships", group="Alumni", count=50)
    fewer = names(graph.all(members))
    emptied = bulk(graph.sandbox, "remove-memberships", group="Alumni")

    assert (filled, left, emptied) == (200, 50, 150)
    assert len(some) == 200
    assert fewer < some
    assert graph.all(members) == []


def test_named_memberships_are_changed(graph: Graph) -> None:
    pairs = [[ALUMNI.object_id, ANA.upn], [ALUMNI.object_id, MAC_ADMINS.object_id]]
    path = f"/groups/{ALUMNI.object_id}/members?$select=id"

    bulk(graph.sandbox, "add-memberships", memberships=pairs)
    inside = names(graph.all(path))
    bulk(graph.sandbox, "remove-memberships", memberships=pairs[:1])

    assert inside == {ANA.object_id, MAC_ADMINS.object_id}
    assert names(graph.all(path)) == {MAC_ADMINS.object_id}


def test_groups_are_renamed_in_bulk(graph: Graph) -> None:
    _items, link = graph.round("/groups/delta?$select=displayName")

    bulk(
        graph.sandbox, "change-groups", count=60, properties={"displayName": "Team {n}"}
    )

    items, _link = graph.round(link)
    assert len(items) == 60
    assert all(item["displayName"].startswith("Team ") for item in items)


@pytest.mark.parametrize(
    ("action", "given", "status", "says"),
    [
        ("change-users", {}, 400, "'count' says how many"),
        ("change-users", {"count": "9"}, 400, "'count' is a number"),
        ("change-users", {"count": 1, "color": "red"}, 400, "'color' is not known"),
        ("change-users", {"keys": ["nobody@fernhill.example"]}, 404, "no object"),
        ("restore-users", {"count": 1}, 400, "only 0"),
        ("paint-users", {"count": 1}, 404, "no bulk action"),
        ("add-memberships", {"memberships": [["a"]]}, 400, "a list of pairs"),
        ("add-memberships", {"group": "Nowhere", "count": 1}, 404, "no object"),
        (
            "add-memberships",
            {
                "memberships": [
                    [ALUMNI.object_id, ANA.upn],
                    [MAC_ADMINS.object_id, MILO.upn],
                ]
            },
            400,
            "members already",
        ),
        (
            "remove-memberships",
            {
                "memberships": [
                    [MAC_ADMINS.object_id, MILO.upn],
                    [ALUMNI.object_id, ANA.upn],
                ]
            },
            404,
            "no members",
        ),
        (
            "create-users",
            {"count": 2, "properties": {"userPrincipalName": "one@fernhill.example"}},
            400,
            "needs {n}",
        ),
        (
            "change-users",
            {"keys": [MILO.upn], "properties": {"userPrincipalName": ANA.upn}},
            400,
            "is taken",
        ),
    ],
)
def test_a_wrong_call_changes_nothing(
    sandbox: Sandbox, action: str, given: dict[str, Any], status: int, says: str
) -> None:
    found, error = refused(sandbox, "POST", f"{BULK}/{action}", given)

    assert found == status
    assert says in error
    assert sandbox.control("GET", TENANT)["sequence"] == 0


def test_dynamic_groups_are_left_to_their_rules(sandbox: Sandbox) -> None:
    before = sandbox.control("GET", f"{TENANT}/groups/{ALL_STAFF.object_id}/members")

    bulk(sandbox, "remove-memberships", count=1500)

    after = sandbox.control("GET", f"{TENANT}/groups/{ALL_STAFF.object_id}/members")
    assert after == before


def test_bulk_changes_outlive_a_restart(tmp_path: Path) -> None:
    users = "/users/delta?$select=jobTitle"
    with running(tmp_path, "--keep") as first:
        consent(first)
        bulk(first, "change-users", count=30, properties={"jobTitle": "Kept {n}"})
        bulk(first, "create-groups", count=3)
        graph = Graph(first, app_token(first))
        before, link = graph.round(users)
        groups = graph.all("/groups?$select=id,displayName")
    port = f"--port={urlsplit(first.url).port}"
    with running(tmp_path, "--keep", port) as second:
        graph = Graph(second, app_token(second))
        assert graph.round(link)[0] == []
        assert graph.round(users)[0] == before
        assert graph.all("/groups?$select=id,displayName") == groups
