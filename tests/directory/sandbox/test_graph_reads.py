from itertools import pairwise
from typing import Any

import pytest

from tests.cast import (
    ALL_STAFF,
    ANA,
    ANA_IMPOSTOR,
    BUILD_AUTOMATION,
    BUILD_ROBOT,
    CONSOLE_ADMINISTRATORS,
    CONTRACTORS_DESIGN,
    CONTRACTORS_IT,
    DAN,
    DESIGN_LEADS,
    DESIGN_SYSTEMS,
    DESIGNERS,
    ENGINEERING,
    ENGINEERING_LEADS,
    FERNHILL,
    FINANCE_APPROVERS,
    FRONTEND,
    GRACE,
    HELPDESK,
    HELPDESK_NIGHT,
    LAYLA,
    MAC_ADMINS,
    MILO,
    NOOR,
    ON_CALL,
    PAT,
    PLATFORM,
    PRINCIPALS,
    QUARREL,
    REORGANIZATION,
    SIOBHAN,
    STUDIO,
    STUDIO_LEADS,
    STUDIO_MACS,
    STUDIO_MACS_GROUP,
    WREN,
)
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import Graph, app_token, consent


def ids(items: list[Any]) -> set[str]:
    return {item["id"] for item in items}


def test_organization_is_one_row_of_the_tokens_tenant(graph: Graph) -> None:
    whole = graph.get("/organization")
    chosen = graph.get("/organization?$select=id,displayName,verifiedDomains")

    (row,) = chosen["value"]
    assert row["id"] == FERNHILL.tenant_id
    assert row["displayName"] == "Fernhill Studio"
    assert [domain["name"] for domain in row["verifiedDomains"]] == [
        FERNHILL.domain,
        FERNHILL.initial_domain,
    ]
    assert set(row) == {"id", "displayName", "verifiedDomains"}
    assert whole["value"][0]["businessPhones"] == []


def test_users_come_by_hundreds_and_every_one_once(graph: Graph) -> None:
    pages = list(graph.pages("/users"))

    assert [len(page["value"]) for page in pages] == [100] * 10
    assert len(ids([user for page in pages for user in page["value"]])) == 1000


def test_users_show_ten_properties_by_default(graph: Graph) -> None:
    user = graph.get(f"/users/{ANA.object_id}")

    assert set(user) - {"@odata.context"} == {
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
        "id",
    }


def test_select_shows_what_is_asked_and_null_where_nothing_is_set(graph: Graph) -> None:
    asked = "id,displayName,department,employeeId,accountEnabled,userType,mail"
    wren = graph.get(f"/users/{WREN.upn}?$select={asked}")

    assert wren["department"] is None
    assert wren["mail"] is None
    assert wren["accountEnabled"] is True
    assert set(wren) - {"@odata.context"} == set(asked.split(","))


def test_any_property_of_a_person_can_be_asked_for(graph: Graph) -> None:
    extension = "extension_0123456789abcdef0123456789abcdef_costCenter"
    asked = (
        "onPremisesSamAccountName,onPremisesExtensionAttributes,employeeOrgData,"
        f"mailNickname,assignedLicenses,faxNumber,{extension}"
    )
    path = f"/users/{ANA.object_id}?$select={asked}"
    unset = graph.get(path)
    graph.sandbox.control(
        "PATCH",
        f"tenants/{FERNHILL.tenant_id}/users/{ANA.upn}",
        {
            "employeeOrgData": {"division": "Web", "costCenter": None},
            "onPremisesExtensionAttributes": {"extensionAttribute1": "blue"},
            extension: "4711",
        },
    )
    given = graph.get(path)

    assert unset["assignedLicenses"] == []
    assert unset["employeeOrgData"] is None
    assert set(unset["onPremisesExtensionAttributes"].values()) == {None}
    assert extension not in unset
    assert given["employeeOrgData"]["division"] == "Web"
    assert given["onPremisesExtensionAttributes"]["extensionAttribute1"] == "blue"
    assert given[extension] == "4711"


@pytest.mark.parametrize(
    "path", ["/users/?$select=skills", "/users/delta?$select=id,aboutMe"]
)
def test_what_is_kept_outside_the_directory_is_shown_of_one_person_alone(
    graph: Graph, path: str
) -> None:
    assert graph.error(path) == (501, "NotImplemented")
    assert graph.get(f"/users/{ANA.object_id}?$select=skills,aboutMe")["skills"] == []


@pytest.mark.parametrize("top", ["0", "1000", "many"])
def test_top_is_between_1_and_999(graph: Graph, top: str) -> None:
    assert graph.error(f"/users?$top={top}") == (400, "Request_UnsupportedQuery")
    assert len(graph.get("/users?$top=999")["value"]) == 999


def test_an_unknown_property_is_a_bad_request(graph: Graph) -> None:
    assert graph.error("/users?$select=shoeSize") == (400, "BadRequest")
    assert graph.error("/organization?$select=shoeSize") == (400, "BadRequest")
    assert graph.error(f"/groups/{STUDIO.object_id}/members?$select=shoeSize") == (
        400,
        "BadRequest",
    )
    assert graph.error("/users?$filter=shoeSize eq '1'") == (400, "Request_BadRequest")


@pytest.mark.parametrize(
    ("person", "key"),
    [
        (SIOBHAN, "siobhan.o'neill@fernhill.example"),
        (SIOBHAN, "SIOBHAN.O'NEILL@fernhill.example"),
        (PAT, PAT.upn.replace("#", "%23")),
        (LAYLA, LAYLA.object_id.upper()),
    ],
)
def test_a_user_is_found_by_id_or_principal_name(
    graph: Graph, person: Any, key: str
) -> None:
    found = graph.get(f"/users/{key}")

    assert found["id"] == person.object_id
    assert found["displayName"] == person.display_name


def test_an_unescaped_hash_cuts_the_path_as_it_does_at_microsoft(graph: Graph) -> None:
    assert graph.error(f"/users/{PAT.upn}") == (404, "Request_ResourceNotFound")


def test_mail_is_no_key(graph: Graph) -> None:
    assert graph.error("/users/pat@vendor.example")[0] == 404


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("displayName eq 'Ana Ruiz'", {ANA}),
        ("displayName eq 'ana ruiz'", {ANA}),
        ("surname eq 'O''Neill' and department eq 'IT'", {SIOBHAN}),
        (f"id in ('{ANA.object_id}', '{MILO.object_id}')", {ANA, MILO}),
        ("startsWith(userPrincipalName,'milo.')", {MILO}),
        (f"mail eq '{LAYLA.mail}' or mail eq '{NOOR.mail}'", {LAYLA, NOOR}),
        (
            "accountEnabled eq false and startswith(displayName, 'Dan L')",
            {DAN},
        ),
        (
            "(displayName eq 'Wren' or displayName eq 'Ana Ruiz') and "
            "department eq null",
            {WREN},
        ),
    ],
)
def test_filter_finds_people(graph: Graph, text: str, expected: set[Any]) -> None:
    found = graph.all(f"/users?$filter={text}&$select=id")

    assert ids(found) == {person.object_id for person in expected}


@pytest.mark.parametrize(
    "text",
    [
        "displayName",
        "displayName eq",
        "displayName like 'x'",
        "(displayName eq 'x'",
        "displayName eq 'x' displayName",
        "startswith(displayName",
        "displayName eq 'x' and §",
    ],
)
def test_a_malformed_filter_is_a_bad_request(graph: Graph, text: str) -> None:
    assert graph.error(f"/users?$filter={text}")[1] == "Request_BadRequest"


def test_advanced_operators_need_the_header_and_the_count(graph: Graph) -> None:
    for text in (
        "endsWith(mail,'partner.example')",
        "department ne 'IT'",
        "not startsWith(mail,'a')",
    ):
        path = f"/users?$filter={text}&$top=5"
        assert graph.error(path) == (400, "Request_UnsupportedQuery")
        assert graph.error(path, ConsistencyLevel="eventual")[0] == 400
        assert graph.error(f"{path}&$count=true")[0] == 400
        found = graph.get(f"{path}&$count=true", ConsistencyLevel="eventual")
        assert found["@odata.count"] > 5
        assert len(found["value"]) == 5
    assert graph.error("/users?$filter=contains(displayName,'a')")[0] == 400


def test_count_stands_on_the_first_page_and_only_with_the_header(graph: Graph) -> None:
    path = "/users?$count=true&$top=600"

    silent = graph.get(path)
    first, second = graph.pages(path, ConsistencyLevel="eventual")

    assert "@odata.count" not in silent
    assert first["@odata.count"] == 1000
    assert "@odata.count" not in second
    assert graph.error(first["@odata.nextLink"]) == (
        400,
        "Directory_ExpiredPageToken",
    )


def test_links_to_next_pages_age(graph: Graph) -> None:
    graph.sandbox.control("PATCH", "behavior", {"page_lifetime": 60})
    link = graph.get("/users?$top=5")["@odata.nextLink"]
    assert graph.get(link)["value"]

    graph.sandbox.control("PUT", "clock", {"offset_seconds": 61})

    assert graph.error(link) == (400, "Directory_ExpiredPageToken")


def test_search_needs_the_header_and_matches_beginnings_of_words(graph: Graph) -> None:
    path = '/users?$search="displayName:ana ru"&$select=id,displayName'

    assert graph.error(path) == (400, "Request_UnsupportedQuery")
    found = graph.all(path, ConsistencyLevel="eventual")
    both = graph.all(
        '/users?$search="displayName:Wren" OR "mail:milo.brandt"',
        ConsistencyLevel="eventual",
    )
    arabic = graph.all('/users?$search="displayName:ليلى"', ConsistencyLevel="eventual")

    assert ids(found) == {ANA.object_id}
    assert ids(both) == {WREN.object_id, MILO.object_id}
    assert LAYLA.object_id in ids(arabic)
    for bad in ("displayName:x", '"displayName"', '"shoeSize:4"'):
        assert (
            graph.error(f"/users?$search={bad}", ConsistencyLevel="eventual")[0] == 400
        )


def test_orderby_sorts_both_ways_and_pages(graph: Graph) -> None:
    path = "/users?$orderby=displayName&$select=displayName&$top=400"
    names = [user["displayName"].casefold() for user in graph.all(path)]
    backwards = graph.get("/users?$orderby=displayName desc&$top=1")["value"]

    assert len(names) == 1000
    assert all(one <= other for one, other in pairwise(names))
    assert backwards[0]["displayName"].casefold() == names[-1]
    assert graph.error("/users?$orderby=shoeSize")[0] == 400
    assert graph.error("/users?$orderby=displayName&$filter=surname eq 'x'")[0] == 400


def test_skip_and_expand_are_refused(graph: Graph) -> None:
    assert graph.error("/users?$skip=5")[0] == 400
    assert graph.error("/groups?$expand=members")[0] == 400


def test_groups_of_one_name_differ_by_mail_and_id(graph: Graph) -> None:
    found = graph.all("/groups?$filter=displayName eq 'Contractors'")

    assert {(group["id"], group["mail"]) for group in found} == {
        (CONTRACTORS_IT.object_id, CONTRACTORS_IT.mail),
        (CONTRACTORS_DESIGN.object_id, CONTRACTORS_DESIGN.mail),
    }


def test_kinds_of_group_show_in_their_properties(graph: Graph) -> None:
    def kind(group: Any) -> tuple[Any, ...]:
        found = graph.get(f"/groups/{group.object_id}")
        return (
            found["groupTypes"],
            found["mailEnabled"],
            found["securityEnabled"],
            found["isAssignableToRole"],
            found["membershipRule"],
        )

    assert kind(MAC_ADMINS) == ([], False, True, None, None)
    assert kind(CONTRACTORS_DESIGN) == (["Unified"], True, False, None, None)
    assert kind(FINANCE_APPROVERS) == ([], True, True, None, None)
    assert kind(CONSOLE_ADMINISTRATORS) == ([], False, True, True, None)
    assert kind(DESIGNERS)[0] == ["DynamicMembership"]
    assert kind(DESIGNERS)[4] == 'user.department -eq "Design"'


def test_groups_can_be_filtered_by_type(graph: Graph) -> None:
    found = graph.all("/groups?$filter=groupTypes/any(c:c eq 'DynamicMembership')")

    assert ids(found) == {ALL_STAFF.object_id, DESIGNERS.object_id}


def test_members_are_direct_and_typed(graph: Graph) -> None:
    found = graph.all(f"/groups/{FRONTEND.object_id}/members?$select=id,displayName")

    kinds = {item["id"]: item["@odata.type"] for item in found}
    assert kinds[ANA.object_id] == "#microsoft.graph.user"
    assert kinds[DESIGN_SYSTEMS.object_id] == "#microsoft.graph.group"
    assert LAYLA.object_id not in kinds


def test_disabled_people_and_guests_are_members_like_others(graph: Graph) -> None:
    found = graph.all(f"/groups/{MAC_ADMINS.object_id}/members")

    assert ids(found) == {MILO.object_id, DAN.object_id, PAT.object_id}


def test_transitive_members_go_down_four_levels(graph: Graph) -> None:
    found = ids(graph.all(f"/groups/{STUDIO.object_id}/transitiveMembers?$top=999"))

    assert {
        ENGINEERING.object_id,
        FRONTEND.object_id,
        DESIGN_SYSTEMS.object_id,
        ANA.object_id,
        LAYLA.object_id,
    } <= found


def test_a_cycle_ends_and_a_diamond_counts_once(graph: Graph) -> None:
    cycle = graph.all(f"/groups/{PLATFORM.object_id}/transitiveMembers")
    diamond = graph.all(f"/groups/{STUDIO_LEADS.object_id}/transitiveMembers")

    assert ids(cycle) == {ON_CALL.object_id, NOOR.object_id, MILO.object_id}
    assert len(diamond) == len(ids(diamond))
    assert ids(diamond) == {
        DESIGN_LEADS.object_id,
        ENGINEERING_LEADS.object_id,
        PRINCIPALS.object_id,
        LAYLA.object_id,
        ANA.object_id,
    }


def test_a_cast_needs_the_advanced_form(graph: Graph) -> None:
    for cast in ("microsoft.graph.user", "graph.user"):
        path = f"/groups/{FRONTEND.object_id}/members/{cast}?$count=true&$select=id"
        assert graph.error(path) == (400, "Request_UnsupportedQuery")
        found = graph.get(path, ConsistencyLevel="eventual")
        assert "#users" in found["@odata.context"]
        assert DESIGN_SYSTEMS.object_id not in ids(found["value"])
        assert ANA.object_id in ids(found["value"])
    groups = graph.get(
        f"/groups/{FRONTEND.object_id}/transitiveMembers/microsoft.graph.group"
        "?$count=true",
        ConsistencyLevel="eventual",
    )
    assert ids(groups["value"]) == {DESIGN_SYSTEMS.object_id}


@pytest.mark.parametrize("cast", ["", "/microsoft.graph.user"])
def test_members_are_filtered_searched_and_sorted_in_the_advanced_form_alone(
    graph: Graph, cast: str
) -> None:
    path = f"/groups/{MAC_ADMINS.object_id}/members{cast}?$count=true"
    eventual = {"ConsistencyLevel": "eventual"}

    for option in ("$filter=displayName eq 'Dan Leaver'", "$orderby=displayName"):
        assert graph.error(f"{path}&{option}") == (400, "Request_UnsupportedQuery")
    (dan,) = graph.all(f"{path}&$filter=startswith(displayName, 'dan')", **eventual)
    (same,) = graph.all(f'{path}&$search="displayName:Dan"', **eventual)
    everybody = graph.get(f"{path}&$orderBy=displayName", **eventual)

    assert dan["id"] == same["id"] == DAN.object_id
    assert [one["id"] for one in everybody["value"]] == [
        DAN.object_id,
        MILO.object_id,
        PAT.object_id,
    ]
    assert everybody["@odata.count"] == 3


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/users/$count", "1000"),
        ("/groups/$count", "120"),
        ("/users/$count?$filter=startsWith(displayName,'Ana Ruiz')", "1"),
        (f"/groups/{MAC_ADMINS.object_id}/members/$count", "3"),
        (f"/groups/{FRONTEND.object_id}/members/microsoft.graph.group/$count", "1"),
        (f"/groups/{PLATFORM.object_id}/transitiveMembers/$count", "3"),
    ],
)
def test_a_count_alone_is_text_and_needs_the_header(
    graph: Graph, path: str, number: str
) -> None:
    reply = graph.call("GET", path, ConsistencyLevel="eventual")

    assert graph.error(path)[0] == 400
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain"
    assert str(reply.body) == number


def test_names_in_paths_and_options_are_taken_in_any_case(graph: Graph) -> None:
    path = f"/Groups/{MAC_ADMINS.object_id}/transitivemembers?$Select=id&$TOP=2"

    first, second = graph.pages(path)

    assert [len(page["value"]) for page in (first, second)] == [2, 1]


def test_devices_and_service_principals_come_as_id_and_nulls(graph: Graph) -> None:
    found = graph.all(f"/groups/{STUDIO_MACS_GROUP.object_id}/members")
    robot = graph.all(f"/groups/{BUILD_AUTOMATION.object_id}/members")

    devices = [item for item in found if item["@odata.type"].endswith(".device")]
    assert ids(devices) == {mac.object_id for mac in STUDIO_MACS}
    assert {device["displayName"] for device in devices} == {None}
    (principal,) = (
        item for item in robot if item["@odata.type"].endswith(".servicePrincipal")
    )
    assert principal["id"] == BUILD_ROBOT.object_id
    assert principal["displayName"] is None


def test_directory_read_all_shows_what_others_do_not(sandbox: Sandbox) -> None:
    consent(sandbox, roles=["Directory.Read.All"])
    graph = Graph(sandbox, app_token(sandbox))

    found = graph.all(f"/groups/{STUDIO_MACS_GROUP.object_id}/members")
    roles = graph.get(
        f"/users/{GRACE.upn}/memberOf/microsoft.graph.directoryRole?$count=true",
        ConsistencyLevel="eventual",
    )
    direct = graph.all(f"/users/{NOOR.object_id}/memberOf?$select=id")
    one = graph.get(f"/directoryObjects/{STUDIO_MACS[0].object_id}")
    several = graph.call(
        "POST",
        "/directoryObjects/getByIds",
        body={
            "ids": [
                ANA.object_id,
                STUDIO.object_id,
                ANA.object_id,
                PAT.object_id[::-1],
            ],
            "types": ["user", "group"],
        },
    )

    assert [role["displayName"] for role in roles["value"]] == ["Global Administrator"]
    assert HELPDESK_NIGHT.object_id in ids(direct)
    assert HELPDESK.object_id not in ids(direct)
    assert one["displayName"] == STUDIO_MACS[0].display_name
    assert [item["id"] for item in several.body["value"]] == [
        ANA.object_id,
        STUDIO.object_id,
    ]
    assert several.headers["x-ms-resource-unit"] == "3"

    assert {mac.display_name for mac in STUDIO_MACS} <= {
        item["displayName"] for item in found
    }


def test_groups_of_a_person_include_nested_ones_and_roles(graph: Graph) -> None:
    noor = graph.all(f"/users/{NOOR.object_id}/transitiveMemberOf")
    grace = graph.all(f"/users/{GRACE.upn}/transitiveMemberOf?$select=displayName")
    direct = graph.error(f"/users/{NOOR.object_id}/memberOf")

    assert direct == (403, "Authorization_RequestDenied")
    assert {HELPDESK.object_id, HELPDESK_NIGHT.object_id} <= ids(noor)
    role = [
        item
        for item in grace
        if item["@odata.type"] == "#microsoft.graph.directoryRole"
    ]
    # A role is of a type that these permissions do not open.
    assert [item["displayName"] for item in role] == [None]


def test_member_groups_are_transitive_ids(graph: Graph) -> None:
    path = f"/users/{ANA.object_id}"
    every = graph.call(
        "POST", f"{path}/getMemberGroups", body={"securityEnabledOnly": False}
    )
    secure = graph.call(
        "POST", f"{path}/getMemberGroups", body={"securityEnabledOnly": True}
    )
    some = graph.call(
        "POST",
        f"{path}/checkMemberGroups",
        body={"groupIds": [STUDIO.object_id.upper(), MAC_ADMINS.object_id]},
    )

    assert {FRONTEND.object_id, ENGINEERING.object_id, STUDIO.object_id} <= set(
        every.body["value"]
    )
    assert set(secure.body["value"]) < set(every.body["value"])
    assert some.body["value"] == [STUDIO.object_id]
    assert some.body["@odata.context"].endswith("$metadata#Collection(Edm.String)")
    assert some.headers["x-ms-resource-unit"] == "4"


def test_any_object_can_be_asked_for_its_groups(graph: Graph) -> None:
    user, group = ANA.object_id, FRONTEND.object_id
    all_of_them = {"securityEnabledOnly": False}
    groups = graph.call("POST", f"/groups/{group}/getMemberGroups", body=all_of_them)
    by_id = graph.call(
        "POST",
        f"/directoryObjects/{user}/checkMemberGroups",
        body={"groupIds": [STUDIO.object_id, MAC_ADMINS.object_id]},
    )
    objects = graph.call(
        "POST", f"/users/{GRACE.object_id}/getMemberObjects", body=all_of_them
    )
    own = graph.call(
        "POST", f"/users/{GRACE.object_id}/getMemberGroups", body=all_of_them
    )

    assert {ENGINEERING.object_id, STUDIO.object_id} <= set(groups.body["value"])
    assert by_id.body["value"] == [STUDIO.object_id]
    (role,) = set(objects.body["value"]) - set(own.body["value"])
    held = graph.call(
        "POST",
        f"/users/{GRACE.object_id}/checkMemberObjects",
        body={"ids": [role, MAC_ADMINS.object_id]},
    )
    assert held.body["value"] == [role]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("getMemberGroups", {}),
        ("getMemberGroups", None),
        ("getMemberGroups", {"securityEnabledOnly": "no"}),
        ("checkMemberGroups", {"groupIds": ["not a guid"]}),
        ("checkMemberGroups", {"groupIds": [STUDIO.object_id] * 21}),
        ("checkMemberGroups", {"groupIds": STUDIO.object_id}),
    ],
)
def test_a_bad_action_body_is_a_bad_request(
    graph: Graph, action: str, body: Any
) -> None:
    reply = graph.call("POST", f"/users/{ANA.object_id}/{action}", body=body)

    assert (reply.status, reply.body["error"]["code"]) == (400, "Request_BadRequest")


@pytest.mark.parametrize(
    ("switch", "answer"),
    [("forbidden", (403, None)), ("empty", (200, 0)), ("shown", (200, 2))],
)
def test_hidden_membership_follows_its_switch(
    graph: Graph, switch: str, answer: tuple[int, int | None]
) -> None:
    graph.sandbox.control("PATCH", "behavior", {"hidden_membership": switch})

    reply = graph.call("GET", f"/groups/{REORGANIZATION.object_id}/members")
    held = graph.call(
        "POST",
        f"/users/{GRACE.object_id}/getMemberGroups",
        body={"securityEnabledOnly": False},
    )

    members = reply.body.get("value")
    assert (reply.status, None if members is None else len(members)) == answer
    assert (REORGANIZATION.object_id in held.body["value"]) is (switch == "shown")


def test_member_read_hidden_opens_hidden_groups(sandbox: Sandbox) -> None:
    consent(sandbox, roles=["GroupMember.Read.All", "Member.Read.Hidden"])
    graph = Graph(sandbox, app_token(sandbox))

    found = graph.get(f"/groups/{REORGANIZATION.object_id}/members")["value"]

    assert ids(found) == {GRACE.object_id, LAYLA.object_id}


def test_a_mail_of_the_other_tenant_belongs_to_somebody_else(sandbox: Sandbox) -> None:
    consent(sandbox, QUARREL)
    quarrel = Graph(sandbox, app_token(sandbox, QUARREL))

    (found,) = quarrel.all(f"/users?$filter=mail eq '{ANA.mail}'")

    assert found["id"] == ANA_IMPOSTOR.object_id
    assert found["mail"] == ANA.mail
    assert quarrel.error(f"/users/{ANA.object_id}")[0] == 404
    assert len(quarrel.all("/users")) == 40


def test_a_page_token_belongs_to_its_list(graph: Graph) -> None:
    link = graph.get("/users?$top=5")["@odata.nextLink"]

    assert graph.error(link.replace("/users?", "/groups?"))[0] == 400
    assert graph.error(link[:-3] + "AAA")[0] == 400
    assert graph.error("/users?$skiptoken=%C3%A9")[0] == 400


def test_answers_carry_graphs_headers(graph: Graph) -> None:
    reply = graph.call("GET", "/users?$top=1", client_request_id="mine-1")

    assert reply.headers["client-request-id"] == "mine-1"
    assert reply.headers["request-id"]
    assert reply.headers["odata-version"] == "4.0"
    assert reply.headers["x-ms-resource-unit"] == "1"
    assert reply.headers["content-type"].startswith("application/json;odata.metadata")


def test_answers_are_compressed_for_readers_that_ask(graph: Graph) -> None:
    packed = graph.call("GET", "/users", accept_encoding="gzip, deflate")
    plain = graph.call("GET", "/users", accept_encoding="identity")
    small = graph.call("GET", "/users?$top=1&$select=id", accept_encoding="gzip")

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.body["value"] == plain.body["value"]
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in small.headers


def test_some_properties_are_found_by_in_advanced_queries_alone(graph: Graph) -> None:
    """https://learn.microsoft.com/graph/aad-advanced-queries#user-properties"""
    for condition in (
        "officeLocation eq 'Bristol 2.14'",
        "onPremisesExtensionAttributes/extensionAttribute1 eq 'x'",
        "employeeOrgData/costCenter eq '4711'",
    ):
        refused = graph.error(f"/users?$filter={condition}")
        assert refused == (400, "Request_UnsupportedQuery"), condition
        graph.all(
            f"/users?$filter={condition}&$count=true", ConsistencyLevel="eventual"
        )
