import copy
from typing import Any

import pytest

from tests.cast import (
    ALL_STAFF,
    ALUMNI,
    ANA,
    CONTRACTORS_DESIGN,
    DAN,
    DESIGNERS,
    FERNHILL,
    FRONTEND,
    HELPDESK,
    INTERNS,
    LAYLA,
    MAC_ADMINS,
    MILO,
    NOOR,
    PAT,
    QUARREL,
    REORGANIZATION,
    TOMAS,
)
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import Graph, app_token, consent

USERS = "/users/delta?$select=displayName,department,accountEnabled"
GROUPS = "/groups/delta?$select=displayName,members"
TENANT = f"tenants/{FERNHILL.tenant_id}"
Memberships = dict[str, set[str]]


def apply(items: list[Any], into: Memberships) -> Memberships:
    """Merge group entries as a client does: in order, by id."""
    for item in items:
        if "@removed" in item:
            into.pop(item["id"], None)
            continue
        members = into.setdefault(item["id"], set())
        for member in item.get("members@delta", []):
            if "@removed" in member:
                members.discard(member["id"])
            else:
                members.add(member["id"])
    return into


def names(items: list[Any]) -> set[str]:
    return {item["id"] for item in items}


def test_a_full_round_tells_everybody_and_a_quiet_one_nobody(graph: Graph) -> None:
    items, link = graph.round(USERS)
    quiet, next_link = graph.round(link)

    assert len(items) == len(names(items)) == 1000
    assert set(items[0]) == {"id", "displayName", "department", "accountEnabled"}
    assert quiet == []
    assert next_link != ""


@pytest.mark.parametrize(
    "path", ["delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"]
)
def test_every_form_of_the_function_is_understood(graph: Graph, path: str) -> None:
    assert graph.get(f"/groups/{path}?$select=displayName")["value"]


def test_select_and_filter_live_on_in_the_token(graph: Graph) -> None:
    path = f"/users/delta?$select=jobTitle&$filter=id eq '{ANA.object_id}' or id eq '{MILO.object_id}'"
    first, link = graph.round(path)
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"jobTitle": "Lead"})
    graph.sandbox.control("PATCH", f"{TENANT}/users/{TOMAS.upn}", {"jobTitle": "Lead"})

    second, _link = graph.round(link)

    assert names(first) == {ANA.object_id, MILO.object_id}
    assert second == [{"id": ANA.object_id, "jobTitle": "Lead"}]
    assert graph.error("/users/delta?$filter=displayName eq 'Ana'")[0] == 400
    many = " or ".join(f"id eq '{ANA.object_id}'" for _ in range(51))
    assert graph.error(f"/users/delta?$filter={many}")[0] == 400


def test_latest_gives_a_link_without_data(graph: Graph) -> None:
    page = graph.get(f"{USERS}&$deltatoken=latest")
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": "IT"})

    items, _link = graph.round(page["@odata.deltaLink"])

    assert page["value"] == []
    assert items == [
        {
            "id": ANA.object_id,
            "displayName": "Ana Ruiz",
            "department": "IT",
            "accountEnabled": True,
        }
    ]


def test_a_change_outside_the_selection_is_not_told(graph: Graph) -> None:
    _items, link = graph.round(USERS)
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"jobTitle": "Lead"})

    assert graph.round(link)[0] == []


def test_minimal_answers_hold_only_what_changed(graph: Graph) -> None:
    _items, link = graph.round(USERS)
    graph.sandbox.control("PATCH", f"{TENANT}/users/{ANA.upn}", {"department": None})

    items, _link = graph.round(link, Prefer="return=minimal")

    assert items == [{"id": ANA.object_id, "department": None}]


def test_an_object_changed_twice_is_told_once_with_its_last_state(graph: Graph) -> None:
    _items, link = graph.round(USERS)
    for department in ("IT", "Legal"):
        graph.sandbox.control(
            "PATCH", f"{TENANT}/users/{ANA.upn}", {"department": department}
        )

    items, _link = graph.round(link)

    assert [item["department"] for item in items] == ["Legal"]


def test_deleted_people_are_changed_first_and_deleted_when_purged(graph: Graph) -> None:
    _users, users_link = graph.round(USERS)
    _groups, groups_link = graph.round(GROUPS)

    graph.sandbox.control("DELETE", f"{TENANT}/users/{ANA.upn}")
    soft, users_link = graph.round(users_link)
    soft_groups, groups_link = graph.round(groups_link)
    missing = graph.error(f"/users/{ANA.object_id}")
    graph.sandbox.control("DELETE", f"{TENANT}/users/{ANA.object_id}?permanently=true")
    hard, _link = graph.round(users_link)
    hard_groups, _link = graph.round(groups_link)

    assert soft == [{"id": ANA.object_id, "@removed": {"reason": "changed"}}]
    assert soft_groups == []
    assert missing == (404, "Request_ResourceNotFound")
    assert hard == [{"id": ANA.object_id, "@removed": {"reason": "deleted"}}]
    left = {item["id"]: item["members@delta"] for item in hard_groups}
    assert left[FRONTEND.object_id] == [
        {
            "@odata.type": "#microsoft.graph.user",
            "id": ANA.object_id,
            "@removed": {"reason": "deleted"},
        }
    ]


def test_a_restored_person_comes_back_without_membership_entries(graph: Graph) -> None:
    _items, users_link = graph.round(USERS)
    _items, groups_link = graph.round(GROUPS)
    graph.sandbox.control("DELETE", f"{TENANT}/users/{ANA.upn}")
    graph.sandbox.control("POST", f"{TENANT}/users/{ANA.object_id}/restore")

    users, _link = graph.round(users_link)
    groups, _link = graph.round(groups_link)

    assert [user.get("displayName") for user in users] == ["Ana Ruiz"]
    assert groups == []
    members = graph.all(f"/groups/{FRONTEND.object_id}/members?$select=id")
    assert ANA.object_id in names(members)


def test_a_deleted_person_is_no_listed_member_meanwhile(graph: Graph) -> None:
    graph.sandbox.control("DELETE", f"{TENANT}/users/{MILO.upn}")

    members = graph.all(f"/groups/{MAC_ADMINS.object_id}/members?$select=id")
    full = apply(graph.round(GROUPS)[0], {})
    graph.sandbox.control("PATCH", "behavior", {"deleted_in_full_round": True})
    with_deleted = apply(graph.round(GROUPS)[0], {})
    users = graph.round(USERS)[0]

    assert names(members) == {DAN.object_id, PAT.object_id}
    assert MILO.object_id not in full[MAC_ADMINS.object_id]
    assert MILO.object_id in with_deleted[MAC_ADMINS.object_id]
    assert {"id": MILO.object_id, "@removed": {"reason": "changed"}} in users


def test_security_groups_are_gone_at_once_and_microsoft_365_groups_are_not(
    graph: Graph,
) -> None:
    _items, link = graph.round(GROUPS)
    graph.sandbox.control("DELETE", f"{TENANT}/groups/{INTERNS.object_id}")
    graph.sandbox.control("DELETE", f"{TENANT}/groups/{CONTRACTORS_DESIGN.object_id}")

    items, link = graph.round(link)
    graph.sandbox.control(
        "POST", f"{TENANT}/groups/{CONTRACTORS_DESIGN.object_id}/restore"
    )
    restored, _link = graph.round(link)

    reasons = {item["id"]: item["@removed"]["reason"] for item in items}
    assert reasons == {
        INTERNS.object_id: "deleted",
        CONTRACTORS_DESIGN.object_id: "changed",
    }
    assert [item["displayName"] for item in restored] == ["Contractors"]


def test_membership_changes_are_added_and_removed_entries(graph: Graph) -> None:
    _items, link = graph.round(GROUPS)
    members = f"{TENANT}/groups/{MAC_ADMINS.object_id}/members"
    graph.sandbox.control("PUT", f"{members}/{ANA.upn}")
    graph.sandbox.control("DELETE", f"{members}/{DAN.upn}")
    graph.sandbox.control("PUT", f"{members}/{INTERNS.object_id}")
    graph.sandbox.control("PUT", f"{members}/{NOOR.upn}")
    graph.sandbox.control("DELETE", f"{members}/{NOOR.upn}")

    (item,), _link = graph.round(link)

    assert item["id"] == MAC_ADMINS.object_id
    assert item["displayName"] == "Mac Admins"
    gone = {"@removed": {"reason": "deleted"}}
    user = {"@odata.type": "#microsoft.graph.user"}
    assert item["members@delta"] == [
        {**user, "id": ANA.object_id},
        {**user, "id": DAN.object_id, **gone},
        {"@odata.type": "#microsoft.graph.group", "id": INTERNS.object_id},
        {**user, "id": NOOR.object_id, **gone},
    ]


def test_members_are_told_only_when_selected(graph: Graph) -> None:
    bare = graph.get("/groups/delta?$select=displayName")["value"]
    _items, link = graph.round("/groups/delta?$select=displayName")
    graph.sandbox.control(
        "PUT", f"{TENANT}/groups/{ALUMNI.object_id}/members/{ANA.upn}"
    )
    everything = graph.get("/groups/delta")["value"]

    assert not any("members@delta" in item for item in bare)
    assert graph.round(link)[0] == []
    assert any("members@delta" in item for item in everything)


def test_large_groups_are_cut_over_several_pages(graph: Graph) -> None:
    graph.sandbox.control("PATCH", "behavior", {"member_slice": 300})

    pages = list(graph.pages(GROUPS))

    appearances = [
        page
        for page in pages
        if any(item["id"] == ALL_STAFF.object_id for item in page["value"])
    ]
    assert len(appearances) >= 3
    full = apply([item for page in pages for item in page["value"]], {})
    listed = graph.all(f"/groups/{ALL_STAFF.object_id}/members?$top=999&$select=id")
    assert full[ALL_STAFF.object_id] == names(listed)


def test_large_changes_are_cut_over_several_pages(graph: Graph) -> None:
    _items, link = graph.round(GROUPS)
    staff = [user["id"] for user in graph.all("/users?$select=id")][:50]
    graph.sandbox.control("PATCH", "behavior", {"member_slice": 20})
    members = f"{TENANT}/groups/{ALUMNI.object_id}/members"
    graph.sandbox.control("POST", members, {"members": staff})

    pages = list(graph.pages(link))

    assert len(pages) == 3
    found = apply([item for page in pages for item in page["value"]], {})
    assert found[ALUMNI.object_id] == set(staff)


def test_changes_during_a_round_are_not_lost(graph: Graph) -> None:
    graph.sandbox.control("PATCH", "behavior", {"member_slice": 200})
    before: Memberships = apply(graph.round(GROUPS)[0], {})
    items: list[Any] = []
    link = ""
    for number, page in enumerate(graph.pages(GROUPS)):
        items += page["value"]
        link = page.get("@odata.deltaLink", "")
        victim = sorted(before[ALL_STAFF.object_id])[number * 7]
        graph.sandbox.control(
            "DELETE", f"{TENANT}/groups/{ALL_STAFF.object_id}/members/{victim}"
        )

    during = apply(items, {})
    after = apply(graph.round(link)[0], during)

    assert after == apply(graph.round(GROUPS)[0], {})
    assert len(after[ALL_STAFF.object_id]) < len(before[ALL_STAFF.object_id])


def test_a_group_deleted_while_it_is_cut_takes_no_other_members_along(
    graph: Graph,
) -> None:
    graph.sandbox.control("PATCH", "behavior", {"member_slice": 50})
    items: list[Any] = []
    link, deleted = "", ""
    for page in graph.pages(GROUPS):
        items += page["value"]
        link = page.get("@odata.deltaLink", "")
        last = page["value"][-1]
        if not deleted and len(last.get("members@delta", ())) == 50:
            deleted = last["id"]
            graph.sandbox.control("DELETE", f"{TENANT}/groups/{deleted}")

    after = apply(graph.round(link)[0], apply(items, {}))

    assert deleted
    assert after == apply(graph.round(GROUPS)[0], {})


def test_full_and_delta_reads_agree_after_many_changes(graph: Graph) -> None:
    items, link = graph.round(GROUPS)
    held = apply(items, {})
    control = graph.sandbox.control
    created = control(
        "POST",
        f"{TENANT}/groups",
        {"displayName": "Night Owls", "members": [ANA.upn, "Helpdesk"]},
    )
    control("DELETE", f"{TENANT}/users/{TOMAS.upn}?permanently=true")
    control("DELETE", f"{TENANT}/groups/{HELPDESK.object_id}")
    control("PATCH", f"{TENANT}/users/{LAYLA.upn}", {"department": "Legal"})
    control("PATCH", f"{TENANT}/groups/{created['id']}", {"displayName": "Owls"})

    held = apply(graph.round(link)[0], held)

    assert held == apply(graph.round(GROUPS)[0], {})
    assert held[created["id"]] == {ANA.object_id}
    assert LAYLA.object_id not in held[DESIGNERS.object_id]


def test_dynamic_groups_follow_their_rule(graph: Graph) -> None:
    control = graph.sandbox.control
    path = f"/groups/{DESIGNERS.object_id}/members?$select=id&$top=999"
    assert TOMAS.object_id not in names(graph.all(path))

    control("PATCH", f"{TENANT}/users/{TOMAS.upn}", {"department": "design"})
    joined = names(graph.all(path))
    control("PATCH", f"{TENANT}/users/{TOMAS.upn}", {"department": None})
    left = names(graph.all(path))
    made = control(
        "POST",
        f"{TENANT}/users",
        {
            "displayName": "New Designer",
            "userPrincipalName": "new.designer@fernhill.example",
            "department": "Design",
        },
    )

    assert TOMAS.object_id in joined
    assert TOMAS.object_id not in left
    assert made["id"] in names(graph.all(path))


def test_hidden_groups_tell_no_members(graph: Graph) -> None:
    items, link = graph.round(GROUPS)
    graph.sandbox.control(
        "PUT", f"{TENANT}/groups/{REORGANIZATION.object_id}/members/{ANA.upn}"
    )

    (item,) = (item for item in items if item["id"] == REORGANIZATION.object_id)
    assert "members@delta" not in item
    assert graph.round(link)[0] == []


@pytest.mark.parametrize(
    ("shape", "status", "code"),
    [
        ("gone", 410, "resyncRequired"),
        ("sync-state-not-found", 400, "syncStateNotFound"),
        ("older-than-30-days", 400, "Request_UnsupportedQuery"),
        ("resync-required", 400, "resyncRequired"),
    ],
)
def test_delta_links_expire_in_each_shape(
    graph: Graph, shape: str, status: int, code: str
) -> None:
    _items, link = graph.round(USERS)
    graph.sandbox.control("POST", "delta/expire", {"shape": shape})

    reply = graph.call("GET", link)
    restarted, new_link = graph.round(USERS)

    assert (reply.status, reply.body["error"]["code"]) == (status, code)
    assert len(restarted) == 1000
    assert graph.get(new_link)["value"] == []
    if shape == "gone":
        location = reply.headers["Location"]
        assert location.startswith(f"{graph.sandbox.url}/v1.0/users/delta?")
        assert graph.get(location)["value"]


def test_delta_links_age(graph: Graph) -> None:
    _items, link = graph.round(USERS)
    graph.sandbox.control("PUT", "clock", {"offset_seconds": 7 * 24 * 3600 + 60})
    fresh = Graph(graph.sandbox, app_token(graph.sandbox))

    assert fresh.error(link) == (400, "syncStateNotFound")


def test_a_reset_ends_every_delta_link(sandbox: Sandbox, graph: Graph) -> None:
    _items, link = graph.round(USERS)
    sandbox.reset()
    consent(sandbox)

    assert graph.error(link) == (400, "syncStateNotFound")


def test_a_delta_link_belongs_to_its_tenant_and_kind(
    sandbox: Sandbox, graph: Graph
) -> None:
    _items, link = graph.round(USERS)
    consent(sandbox, QUARREL)
    quarrel = Graph(sandbox, app_token(sandbox, QUARREL))

    assert quarrel.error(link) == (400, "Request_BadRequest")
    assert graph.error(link.replace("/users/", "/groups/"))[0] == 400
    assert graph.error("/users/delta?$deltatoken=nonsense")[0] == 400


def test_empty_pages_and_repeats_can_be_switched_on(graph: Graph) -> None:
    graph.sandbox.control(
        "PATCH", "behavior", {"empty_pages": True, "repeat_in_delta": True}
    )

    pages = list(graph.pages(USERS))

    empty = [page for page in pages if not page["value"]]
    assert empty
    assert all("@odata.nextLink" in page for page in empty)
    found = [user["id"] for page in pages for user in page["value"]]
    assert len(set(found)) == 1000
    assert len(found) > 1000


def test_the_size_of_delta_pages_is_the_services_choice(graph: Graph) -> None:
    graph.sandbox.control("PATCH", "behavior", {"delta_page_size": 400})

    assert [len(page["value"]) for page in graph.pages(USERS)] == [400, 400, 200]


def test_entries_can_come_in_any_order_and_a_group_in_parts_that_lie_apart(
    graph: Graph,
) -> None:
    in_order = [item["id"] for item in graph.round(GROUPS)[0]]
    listed = apply(graph.round(GROUPS)[0], {})
    graph.sandbox.control(
        "PATCH", "behavior", {"shuffle_delta": True, "member_slice": 100}
    )

    items, _link = graph.round(GROUPS)
    again, _link = graph.round(GROUPS)

    ids = [item["id"] for item in items]
    assert ids != in_order
    assert items == again
    assert apply(items, {}) == listed
    places = [at for at, key in enumerate(ids) if key == ALL_STAFF.object_id]
    assert len(places) >= 9
    assert places[-1] - places[0] > len(places)


def test_changes_can_come_in_any_order(graph: Graph) -> None:
    items, link = graph.round(GROUPS)
    held = apply(items, {})
    bulk = f"{TENANT}/bulk"
    graph.sandbox.control("POST", f"{bulk}/add-memberships", {"count": 300})
    graph.sandbox.control(
        "POST", f"{bulk}/add-memberships", {"group": "Alumni", "count": 90}
    )
    graph.sandbox.control("POST", f"{bulk}/remove-memberships", {"count": 200})
    in_order, _link = graph.round(link)
    graph.sandbox.control(
        "PATCH", "behavior", {"shuffle_delta": True, "member_slice": 40}
    )

    shuffled, _link = graph.round(link)

    first_told = list(dict.fromkeys(item["id"] for item in shuffled))
    assert first_told != [item["id"] for item in in_order]
    wanted = apply(in_order, copy.deepcopy(held))
    assert apply(shuffled, held) == wanted
    # What was added since is told in a full round as well, whatever the order.
    assert apply(graph.round(GROUPS)[0], {}) == wanted


def test_a_shuffled_round_loses_nothing_that_changes_meanwhile(graph: Graph) -> None:
    graph.sandbox.control(
        "PATCH", "behavior", {"shuffle_delta": True, "member_slice": 200}
    )
    items: list[Any] = []
    link = ""
    for page in graph.pages(GROUPS):
        items += page["value"]
        link = page.get("@odata.deltaLink", "")
        bulk = f"{TENANT}/bulk"
        graph.sandbox.control("POST", f"{bulk}/remove-memberships", {"count": 5})
        graph.sandbox.control("POST", f"{bulk}/add-memberships", {"count": 5})
        graph.sandbox.control("POST", f"{bulk}/create-groups", {"count": 1})

    after = apply(graph.round(link)[0], apply(items, {}))

    assert after == apply(graph.round(GROUPS)[0], {})


def test_an_id_that_is_given_again_is_told_as_it_is_now(graph: Graph) -> None:
    _items, link = graph.round(USERS)
    graph.sandbox.control("DELETE", f"{TENANT}/users/{ANA.upn}?permanently=true")
    graph.sandbox.control(
        "POST",
        f"{TENANT}/users",
        {
            "id": ANA.object_id,
            "displayName": "Another Ana",
            "userPrincipalName": "another.ana@fernhill.example",
        },
    )

    items, _link = graph.round(link)

    assert [item["displayName"] for item in items] == ["Another Ana"]
