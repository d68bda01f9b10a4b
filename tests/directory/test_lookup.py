"""The Test tab: live look-ups, and the three things they can come to."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from directory import lookup
from directory.models import AttributeMappings, CloudIdentityProvider
from jamfidp.accounts.models import User
from tests import cast
from tests.conftest import Sandbox
from tests.directory.journey import browser_for, register


@pytest.fixture
def connection(sandbox: Sandbox, administrator: User) -> CloudIdentityProvider:
    """Fernhill, connected and consented to, without the way through the pages."""
    register(sandbox, administrator)
    tenant = sandbox.tenants[0]
    sandbox.control(
        "PUT", f"tenants/{tenant['id']}/consents/{sandbox.application['client_id']}"
    )
    now = timezone.now()
    cloud_idp = CloudIdentityProvider.objects.create(
        display_name="Fernhill Studio",
        cloud="SANDBOX",
        tenant_id=tenant["id"],
        tenant_name=tenant["display_name"],
        verified_domains=[tenant["domain"]],
        consented_by_name="Grace Okafor",
        consented_by_upn="grace.okafor@fernhill.example",
        consented_by_object_id="00000000-0000-0000-0000-000000000001",
        consented_at=now,
        status_since=now,
        search_timeout=5,
    )
    AttributeMappings.objects.create(cloud_idp=cloud_idp)
    return cloud_idp


def values(found: lookup.Found) -> dict[str, str]:
    return {attribute.label: attribute.value for attribute in found.attributes}


# --- Users -------------------------------------------------------------------------


def test_a_user_is_found_with_the_mapped_attributes(
    connection: CloudIdentityProvider,
) -> None:
    connection.mappings.building = "city"
    connection.mappings.save()

    outcome = lookup.find_user(connection, text="ana.ruiz@fernhill.example")

    assert outcome.verdict == "in"
    shown = values(outcome.found[0])
    assert shown["Username"] == "ana.ruiz@fernhill.example"
    assert shown["Real name"] == "Ana Ruiz"
    assert shown["Position"] == "Frontend Engineer"
    assert shown["Room"] == ""
    assert shown["User ID"] == outcome.found[0].object_id
    assert len(outcome.request_id) == 36


@pytest.mark.parametrize(
    "text",
    ["siobhan.o'neill@fernhill.example", "SIOBHAN.O'NEILL@fernhill.example"],
)
def test_an_apostrophe_in_a_name_is_part_of_the_name(
    connection: CloudIdentityProvider, text: str
) -> None:
    """A51"""
    assert lookup.find_user(connection, text=text).verdict == "in"


@pytest.mark.parametrize(
    "text",
    ["x') or 1 eq 1 or startswith(displayName,'", "nobody@fernhill.example", "*"],
)
def test_who_is_not_there_is_not_there(
    connection: CloudIdentityProvider, text: str
) -> None:
    outcome = lookup.find_user(connection, text=text)

    assert outcome.verdict == "out"
    assert text in outcome.sentence


def test_a_user_is_found_by_object_id_and_by_another_mapping(
    connection: CloudIdentityProvider,
) -> None:
    by_name = lookup.find_user(connection, text="ana.ruiz@fernhill.example")
    object_id = by_name.found[0].object_id
    assert lookup.find_user(connection, text=object_id).verdict == "in"
    assert lookup.find_user(connection, text=connection.tenant_id).verdict == "out"

    connection.mappings.user_name = "mailNickname"
    connection.mappings.save()

    # The mapped name first; a user principal name still finds its owner.
    assert (
        lookup.find_user(connection, text="ana.ruiz@fernhill.example").verdict == "in"
    )


# --- Groups and memberships --------------------------------------------------------


def test_two_groups_of_one_name_are_told_apart_not_chosen(
    connection: CloudIdentityProvider,
) -> None:
    outcome = lookup.find_group(connection, text="Contractors")

    assert outcome.verdict == "unknown"
    assert len(outcome.several) == 2
    assert len({each.object_id for each in outcome.several}) == 2

    chosen = lookup.find_group(connection, text=outcome.several[0].object_id)
    assert values(chosen.found[0])["Group name"] == "Contractors"


def test_a_group_that_is_not_there_is_not_there(
    connection: CloudIdentityProvider,
) -> None:
    assert lookup.find_group(connection, text="Nowhere").verdict == "out"


@pytest.mark.parametrize(
    ("user", "group", "verdict", "sentence"),
    [
        ("ana.ruiz", "Frontend", "in", "direct member"),
        ("ana.ruiz", "Engineering", "in", "through other groups"),
        ("ana.ruiz", "Interns", "out", "not a member"),
        ("nobody", "Interns", "out", "no user"),
        ("ana.ruiz", "Nowhere", "out", "no group"),
        ("ana.ruiz", "Contractors", "unknown", "Several objects"),
    ],
)
def test_a_membership_is_yes_no_or_not_known(
    connection: CloudIdentityProvider,
    user: str,
    group: str,
    verdict: str,
    sentence: str,
) -> None:
    outcome = lookup.find_membership(
        connection, user_text=f"{user}@fernhill.example", group_text=group
    )

    assert outcome.verdict == verdict
    assert sentence in outcome.sentence


def test_transitive_groups_switched_off_count_direct_members_alone(
    connection: CloudIdentityProvider,
) -> None:
    connection.transitive_directory_membership_enabled = False
    who = "ana.ruiz@fernhill.example"

    direct = lookup.find_membership(connection, user_text=who, group_text="Frontend")
    nested = lookup.find_membership(connection, user_text=who, group_text="Engineering")

    assert (direct.verdict, nested.verdict) == ("in", "out")
    assert "switched off" in nested.sentence


def test_a_group_that_hides_its_members_is_not_known(
    connection: CloudIdentityProvider, sandbox: Sandbox
) -> None:
    outcome = lookup.find_membership(
        connection,
        user_text="tomas.ibarra@fernhill.example",
        group_text=cast.REORGANIZATION.display_name,
    )

    assert outcome.verdict == "unknown"
    assert "hides its members" in outcome.sentence


# --- What Microsoft could not be asked is not absent -------------------------------


def test_a_failure_is_unknown_with_its_reference(
    connection: CloudIdentityProvider, sandbox: Sandbox
) -> None:
    sandbox.control(
        "PATCH",
        f"tenants/{connection.tenant_id}/consents/{sandbox.application['client_id']}",
        {"roles": ["User.Read.All"], "end_tokens": True},
    )

    outcome = lookup.find_user(connection, text="ana.ruiz@fernhill.example")

    assert outcome.verdict == "unknown"
    assert "User.Read.All" in outcome.sentence
    assert outcome.reference


def test_a_permission_granted_again_counts_at_the_next_look_up(
    connection: CloudIdentityProvider, sandbox: Sandbox
) -> None:
    """The token of before, which lacks the permission, is not used for its hour."""
    consent = (
        f"tenants/{connection.tenant_id}/consents/{sandbox.application['client_id']}"
    )
    sandbox.control("PATCH", consent, {"roles": ["User.Read.All"], "end_tokens": True})
    who = "ana.ruiz@fernhill.example"
    assert lookup.find_user(connection, text=who).verdict == "unknown"

    sandbox.control("PUT", consent)

    assert lookup.find_user(connection, text=who).verdict == "in"


def test_an_answer_slower_than_the_search_timeout_is_unknown(
    connection: CloudIdentityProvider, sandbox: Sandbox
) -> None:
    sandbox.control("POST", "faults", {"path": "/v1.0/users", "delay": 30, "times": 10})
    started = timezone.now()

    outcome = lookup.find_user(connection, text="ana.ruiz@fernhill.example")

    assert outcome.verdict == "unknown"
    assert (timezone.now() - started).total_seconds() < 8


def test_a_disabled_connection_asks_nothing(
    connection: CloudIdentityProvider, sandbox: Sandbox
) -> None:
    connection.enabled = False
    sandbox.control("DELETE", "journal")

    outcome = lookup.find_group(connection, text="Frontend")

    assert outcome.verdict == "unknown"
    assert "disabled" in outcome.sentence
    entries = sandbox.control("GET", "journal")["entries"]
    assert [each for each in entries if each["plane"] != "control"] == []


# --- The tab -----------------------------------------------------------------------


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


def test_the_tab_shows_what_came_and_keeps_what_was_typed(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    address = f"{connection.get_absolute_url()}test/"

    page = browser.post(
        address,
        {
            "kind": "membership",
            "user": "layla.haddad@fernhill.example",
            "group": "Interns",
        },
    ).content.decode()

    assert "ليلى حداد" in page
    assert 'value="Interns"' in page
    assert "Microsoft Graph request" in page
    assert browser.post(address, {"kind": "user", "user": ""}).status_code == 422
    assert browser.get(f"{address}?kind=other").status_code == 404
    for kind in ("user", "group", "membership"):
        assert browser.get(f"{address}?kind={kind}").status_code == 200


def test_names_from_the_directory_are_escaped(
    connection: CloudIdentityProvider, browser: Client, sandbox: Sandbox
) -> None:
    """A50"""
    sandbox.control(
        "PATCH",
        f"tenants/{connection.tenant_id}/users/ana.ruiz@fernhill.example",
        {"displayName": "<script>alert(1)</script>"},
    )

    page = browser.post(
        f"{connection.get_absolute_url()}test/",
        {"kind": "user", "user": "ana.ruiz@fernhill.example"},
    ).content.decode()

    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
