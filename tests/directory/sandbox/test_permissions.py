"""Which permission opens what: the table that Microsoft publishes, at the socket."""

from typing import Any

import pytest

from tests.cast import (
    ANA,
    BUILD_AUTOMATION,
    FRONTEND,
    GRACE,
    MAC_ADMINS,
    MILO,
    STUDIO,
    STUDIO_MACS_GROUP,
)
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    answered,
    app_token,
    application,
    consent,
    finish_flow,
    sign_in,
    start_flow,
)

PERSON, GROUP = f"/users/{ANA.object_id}", f"/groups/{MAC_ADMINS.object_id}"
EVERYTHING = {"securityEnabledOnly": False}
USERS, MEMBERS, DIRECTORY = (
    "User.Read.All",
    "GroupMember.Read.All",
    "Directory.Read.All",
)

# https://github.com/microsoftgraph/microsoft-graph-devx-content: which of the three
# is enough for an application, everything else being absent.
OPENED_BY: dict[tuple[str, str], set[str]] = {
    ("GET", "/organization"): {USERS, DIRECTORY},
    ("GET", "/users"): {USERS, DIRECTORY},
    ("GET", "/users/delta"): {USERS, DIRECTORY},
    ("GET", PERSON): {USERS, DIRECTORY},
    ("GET", f"{PERSON}/memberOf"): {DIRECTORY},
    ("GET", f"{PERSON}/transitiveMemberOf"): {USERS, MEMBERS, DIRECTORY},
    ("POST", f"{PERSON}/getMemberGroups"): {USERS, MEMBERS, DIRECTORY},
    ("POST", f"{PERSON}/getMemberObjects"): {USERS, MEMBERS, DIRECTORY},
    ("GET", "/groups"): {MEMBERS, DIRECTORY},
    ("GET", "/groups/delta"): {MEMBERS, DIRECTORY},
    ("GET", GROUP): {MEMBERS, DIRECTORY},
    ("GET", f"{GROUP}/members"): {MEMBERS, DIRECTORY},
    ("GET", f"{GROUP}/transitiveMembers"): {MEMBERS, DIRECTORY},
    ("GET", f"{GROUP}/memberOf"): {MEMBERS, DIRECTORY},
    ("GET", f"{GROUP}/transitiveMemberOf"): {DIRECTORY},
    ("GET", f"/directoryObjects/{ANA.object_id}"): {DIRECTORY},
    ("POST", f"/directoryObjects/{ANA.object_id}/getMemberGroups"): {
        USERS,
        MEMBERS,
        DIRECTORY,
    },
}


@pytest.mark.parametrize(
    "role", [USERS, MEMBERS, DIRECTORY, "Member.Read.Hidden", None]
)
def test_each_read_is_opened_by_what_microsofts_table_says(
    sandbox: Sandbox, role: str | None
) -> None:
    consent(sandbox, roles=[role] if role else [])
    graph = Graph(sandbox, app_token(sandbox))

    statuses = {
        (method, path): graph.call(
            method, path, body=EVERYTHING if method == "POST" else None
        ).status
        for method, path in OPENED_BY
    }

    assert statuses == {
        read: 200 if role in opened else 403 for read, opened in OPENED_BY.items()
    }


def only_with(sandbox: Sandbox, *roles: str) -> Graph:
    consent(sandbox, roles=list(roles))
    return Graph(sandbox, app_token(sandbox))


@pytest.mark.parametrize(
    ("roles", "shown"),
    [
        ([MEMBERS], {"user": False, "group": True, "device": False}),
        ([MEMBERS, USERS], {"user": True, "group": True, "device": False}),
        (
            [MEMBERS, "Device.Read.All"],
            {"user": False, "group": True, "device": True},
        ),
        ([DIRECTORY], {"user": True, "group": True, "device": True}),
    ],
    ids=str,
)
def test_members_of_a_closed_type_come_as_id_and_nulls(
    sandbox: Sandbox, roles: list[str], shown: dict[str, bool]
) -> None:
    graph = only_with(sandbox, *roles)
    select = "$select=id,displayName,mail"

    found = graph.all(f"/groups/{STUDIO_MACS_GROUP.object_id}/members?{select}")
    found += graph.all(f"/groups/{FRONTEND.object_id}/members?{select}")

    for item in found:
        kind = item.pop("@odata.type").removeprefix("#microsoft.graph.")
        assert item.pop("id")
        if shown[kind]:
            assert item["displayName"]
        else:
            assert set(item.values()) == {None}


def test_service_principals_need_their_own_permission(sandbox: Sandbox) -> None:
    path = f"/groups/{BUILD_AUTOMATION.object_id}/members?$select=id,displayName"

    closed = only_with(sandbox, MEMBERS, USERS).all(path)
    opened = only_with(sandbox, MEMBERS, USERS, "Application.Read.All").all(path)

    def robot(items: list[Any]) -> Any:
        (found,) = (
            item for item in items if item["@odata.type"].endswith("servicePrincipal")
        )
        return found["displayName"]

    assert robot(closed) is None
    assert robot(opened)


def test_groups_of_a_person_are_ids_for_whoever_reads_people_alone(
    sandbox: Sandbox,
) -> None:
    graph = only_with(sandbox, USERS)

    found = graph.all(f"{PERSON}/transitiveMemberOf?$select=id,displayName")

    assert STUDIO.object_id in {item["id"] for item in found}
    assert {item["displayName"] for item in found} == {None}


def test_basic_profiles_hold_a_few_properties(sandbox: Sandbox) -> None:
    graph = only_with(sandbox, "User.ReadBasic.All")

    person = graph.get(
        f"{PERSON}?$select=id,displayName,mail,department,accountEnabled"
    )

    assert person["displayName"] == ANA.display_name
    assert person["mail"] == ANA.mail
    assert person["department"] is None
    assert person["accountEnabled"] is None
    assert graph.error("/users/delta")[0] == 403
    assert len(graph.get("/users?$top=5")["value"]) == 5


@pytest.fixture
def as_ana(sandbox: Sandbox, browser: Browser) -> Graph:
    """Graph with a token of Ana's: User.Read, delegated."""
    consent(sandbox)
    app = application(sandbox)
    flow = start_flow(app)
    result = finish_flow(app, flow, answered(sign_in(browser, flow["auth_uri"], ANA)))
    return Graph(sandbox, result["access_token"])


def test_a_delegated_token_reads_its_own_person_alone(as_ana: Graph) -> None:
    me = as_ana.get("/me?$select=id,displayName,department")

    assert me["id"] == ANA.object_id
    assert me["department"] == ANA.department
    assert as_ana.get(PERSON)["displayName"] == ANA.display_name
    assert as_ana.get("/organization")["value"]
    assert FRONTEND.object_id in {
        group["id"] for group in as_ana.all("/me/transitiveMemberOf")
    }
    assert as_ana.error(f"/users/{MILO.object_id}")[0] == 403
    assert as_ana.error(f"/users/{GRACE.upn}/memberOf")[0] == 403
    for closed in ("/users", "/users/delta", "/groups", "/groups/delta"):
        assert as_ana.error(closed) == (403, "Authorization_RequestDenied")
    assert as_ana.call("POST", "/me/getMemberGroups", body=EVERYTHING).status == 403


def test_more_delegated_permissions_open_more(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox, scopes=["User.Read", "GroupMember.Read.All"])
    app = application(sandbox)
    flow = start_flow(app, scopes=["User.Read", "GroupMember.Read.All"])
    result = finish_flow(app, flow, answered(sign_in(browser, flow["auth_uri"], ANA)))
    graph = Graph(sandbox, result["access_token"])

    held = graph.call("POST", "/me/getMemberGroups", body=EVERYTHING)

    assert STUDIO.object_id in held.body["value"]
    assert graph.get("/groups?$top=1")["value"]
    assert graph.error("/users")[0] == 403


def test_an_application_has_no_me(sandbox: Sandbox) -> None:
    graph = only_with(sandbox, USERS, MEMBERS)

    assert graph.error("/me") == (400, "Request_BadRequest")


def test_the_token_of_somebody_deleted_reads_nothing(as_ana: Graph) -> None:
    as_ana.sandbox.control("DELETE", f"tenants/fernhill.example/users/{ANA.upn}")

    assert as_ana.error("/me") == (401, "InvalidAuthenticationToken")
