"""The Test tab: named steps, each with what it asked, and nothing taken for absent."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import live_test
from directory.live_test import Result, Step
from directory.models import CloudIdentityProvider, DirectoryUser, SyncRun
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from tests import cast, factories
from tests.conftest import Sandbox
from tests.directory.journey import browser_for
from tests.directory.syncing import Story, connected

pytestmark = pytest.mark.django_db

ANA = "ana.ruiz@fernhill.example"


@pytest.fixture
def story(sandbox: Sandbox) -> Story:
    story = connected(sandbox)
    CloudIdentityProvider.objects.update(search_timeout=5)
    story.cloud_idp.refresh_from_db()
    return story


@pytest.fixture
def known(story: Story) -> Story:
    story.read(SyncRun.Kind.FULL)
    return story


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


def steps(result: Result) -> dict[str, Step]:
    return {step.name: step for step in result.steps}


def states(result: Result) -> list[str]:
    return [step.state for step in result.steps]


def of_user(story: Story, text: str = ANA) -> Result:
    return live_test.of_user(story.cloud_idp, text=text)


# --- A person ------------------------------------------------------------------------


def test_every_step_of_a_person_says_what_it_asked_and_how_long_it_took(
    known: Story,
) -> None:
    result = of_user(known)

    assert states(result) == ["passed"] * 6
    asked = [(one.method, one.address) for step in result.steps for one in step.asked]
    assert [method for method, _ in asked].count("POST") == 2
    assert any("/oauth2/v2.0/token" in address for _, address in asked)
    assert any(f"$filter=userPrincipalName eq '{ANA}'" in a for _, a in asked)
    assert any(address.endswith("/getMemberGroups") for _, address in asked)
    for step in result.steps:
        assert step.seconds is not None
        for one in step.asked:
            assert one.status == 200
            assert len(one.request_id) == 36
    assert not steps(result)["Map"].asked, "it maps what was found"
    shown = {each.label: each.value for each in steps(result)["Map"].attributes}
    assert (shown["Username"], shown["Position"]) == (ANA, "Frontend Engineer")
    ways = {way.group: way.path for way in steps(result)["Membership"].ways}
    assert ways["Engineering"] == ["Frontend", "Engineering"]


@pytest.mark.parametrize(
    "text", ["siobhan.o'neill@fernhill.example", "SIOBHAN.O'NEILL@fernhill.example"]
)
def test_a51_an_apostrophe_in_a_name_is_part_of_the_name(
    story: Story, text: str
) -> None:
    assert steps(of_user(story, text))["Find"].state == "passed"


@pytest.mark.parametrize(
    "text",
    ["x') or 1 eq 1 or startswith(displayName,'", "nobody@fernhill.example", "*"],
)
def test_a51_who_is_not_there_is_not_found(known: Story, text: str) -> None:
    result = of_user(known, text)

    assert states(result) == [
        "passed",
        "failed",
        "not tried",
        "not tried",
        "not tried",
        "unknown",
    ]
    assert text in steps(result)["Find"].sentence
    assert steps(result)["Find"].advice


def test_a_user_is_found_by_object_id_and_by_another_mapping(known: Story) -> None:
    object_id = of_user(known).object_id
    assert "object ID" in steps(of_user(known, object_id))["Find"].sentence
    assert steps(of_user(known, known.tenant))["Find"].state == "failed"
    known.cloud_idp.mappings.user_name = "onPremisesSamAccountName"
    known.control("PATCH", f"users/{ANA}", {"onPremisesSamAccountName": "aruiz"})

    by_mapping = steps(of_user(known, "aruiz"))["Find"]
    by_upn = steps(of_user(known))["Find"]

    assert "found by onPremisesSamAccountName" in by_mapping.sentence
    assert "found by userPrincipalName" in by_upn.sentence


def test_what_differs_is_shown_side_by_side(known: Story) -> None:
    known.control("PATCH", f"users/{ANA}", {"jobTitle": "Principal Engineer"})
    known.control("PUT", f"groups/Alumni/members/{ANA}")

    result = of_user(known)

    assert steps(result)["Console"].state == "differs"
    assert steps(result)["Console"].differences == [
        ("Position", "Frontend Engineer", "Principal Engineer")
    ]
    notes = {way.group: way.note for way in steps(result)["Membership"].ways}
    assert notes["Alumni"] == "in Entra, and not yet here"


def test_user_names_that_several_have_lead_to_nobody(known: Story) -> None:
    known.cloud_idp.mappings.user_name = "employeeType"
    for upn in (ANA, "milo.brandt@fernhill.example"):
        known.control("PATCH", f"users/{upn}", {"employeeType": "twin"})

    step = steps(of_user(known))["Match"]

    assert step.state == "differs"
    assert "2 users have the user name 'twin'" in step.sentence
    assert len(step.several) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"match_domains": ["other.example"]},
            "a domain that this connection does not",
        ),
        ({}, "Only this user has"),
    ],
)
def test_the_match_step_says_what_the_options_do(
    known: Story, options: dict[str, Any], sentence: str
) -> None:
    CloudIdentityProvider.objects.update(**options or {"search_timeout": 5})
    known.cloud_idp.refresh_from_db()

    assert sentence in steps(of_user(known))["Match"].sentence


# --- Groups --------------------------------------------------------------------------


def test_every_step_of_a_group_is_taken(known: Story) -> None:
    result = live_test.of_group(known.cloud_idp, text="Engineering")

    assert states(result) == ["passed"] * 6
    assert "Direct members in Entra" in steps(result)["Membership"].sentence
    assert "Frontend" in {way.group for way in steps(result)["Membership"].ways}


def test_two_groups_of_one_name_are_told_apart_not_chosen(known: Story) -> None:
    result = live_test.of_group(known.cloud_idp, text="Contractors")

    assert states(result)[1:] == ["failed", *["not tried"] * 3, "unknown"]
    several = steps(result)["Find"].several
    assert len({each.object_id for each in several}) == 2
    chosen = live_test.of_group(known.cloud_idp, text=several[0].object_id)
    assert states(chosen) == ["passed"] * 6
    assert "1 other group has the same name" in steps(chosen)["Match"].sentence


def test_a_group_that_changed_in_entra_differs(known: Story) -> None:
    known.control("PATCH", "groups/Engineering", {"description": "All who build"})

    console = steps(live_test.of_group(known.cloud_idp, text="Engineering"))["Console"]

    assert [what for what, _, _ in console.differences] == ["Description"]


# --- Memberships ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "group", "state", "sentence", "path"),
    [
        ("ana.ruiz", "Frontend", "passed", "a direct member", ["Frontend"]),
        (
            "ana.ruiz",
            "Engineering",
            "passed",
            "through other groups",
            ["Frontend", "Engineering"],
        ),
        ("ana.ruiz", "Interns", "passed", "not a member", None),
        ("nobody", "Interns", "not tried", "", None),
        ("ana.ruiz", "Nowhere", "not tried", "", None),
        ("tomas.ibarra", "Reorganization", "unknown", "hides its members", None),
    ],
)
def test_a_membership_is_yes_with_its_way_or_no_or_not_known(
    known: Story,
    user: str,
    group: str,
    state: str,
    sentence: str,
    path: list[str] | None,
) -> None:
    assert cast.REORGANIZATION.display_name == "Reorganization"
    result = live_test.of_membership(
        known.cloud_idp, user_text=f"{user}@fernhill.example", group_text=group
    )

    step = steps(result)["Membership"]
    assert step.state == state
    assert sentence in step.sentence
    assert [list(way.path) for way in step.ways] == ([path] if path else [])


def test_a_membership_that_the_console_lacks_differs(known: Story) -> None:
    known.control("PUT", f"groups/Alumni/members/{ANA}")

    console = steps(
        live_test.of_membership(known.cloud_idp, user_text=ANA, group_text="Alumni")
    )["Console"]

    assert console.state == "differs"
    assert "is not a member" in console.sentence


# --- When Microsoft does not answer ---------------------------------------------------


def test_a_failure_says_what_to_do_and_what_comes_after_is_not_tried(
    known: Story,
) -> None:
    known.control(
        "PATCH",
        f"consents/{known.sandbox.application['client_id']}",
        {"roles": ["User.Read.All"], "end_tokens": True},
    )

    result = of_user(known)

    assert states(result) == ["failed", *["not tried"] * 4, "unknown"]
    connect = steps(result)["Connect"]
    assert "User.Read.All" in connect.sentence
    assert connect.advice
    assert connect.reference
    console = steps(result)["Console"]
    assert "Not compared" in console.sentence
    assert "Ana Ruiz" in {each.value for each in console.attributes}


def test_the_token_is_new_so_that_a_credential_refused_is_seen(
    known: Story,
) -> None:
    """The one of before would still work for an hour."""
    client_id = known.sandbox.application["client_id"]
    known.control("PATCH", f"consents/{client_id}", {"enabled": False})

    connect = steps(of_user(known))["Connect"]

    assert connect.failed
    assert "/token" in connect.asked[-1].address


def test_steps_together_take_no_longer_than_the_search_timeout(
    known: Story, sandbox: Sandbox
) -> None:
    sandbox.control("POST", "faults", {"path": "/v1.0/users", "delay": 30, "times": 10})
    started = timezone.now()

    result = of_user(known)

    assert states(result)[1] == "failed"
    assert (timezone.now() - started).total_seconds() < 8


def test_a_disabled_connection_asks_nothing_and_shows_what_it_holds(
    known: Story,
) -> None:
    known.cloud_idp.enabled = False
    known.sandbox.control("DELETE", "journal")

    result = of_user(known)

    assert states(result) == ["failed", *["not tried"] * 4, "unknown"]
    assert "disabled" in steps(result)["Connect"].sentence
    assert steps(result)["Console"].attributes
    entries = known.sandbox.control("GET", "journal")["entries"]
    assert [each for each in entries if each["plane"] != "control"] == []


# --- The tab -------------------------------------------------------------------------


def test_the_tab_shows_the_steps_and_the_history_no_name(
    known: Story, browser: Client
) -> None:
    address = f"{known.cloud_idp.get_absolute_url()}test/"

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
    assert "checkMemberGroups" in page or "getMemberGroups" in page
    entry = ObjectHistory.objects.filter(action="tested").get()
    assert entry.note == "Tested a membership: every step was taken"
    layla = DirectoryUser.objects.get(
        user_principal_name="layla.haddad@fernhill.example"
    )
    assert layla.object_id in str(entry.details)
    for personal in ("layla", "ليلى", "Interns"):
        assert personal not in f"{entry.note} {entry.details}"
    assert browser.post(address, {"kind": "user", "user": ""}).status_code == 422
    assert browser.get(f"{address}?kind=other").status_code == 404
    for kind in ("user", "group", "membership"):
        assert browser.get(f"{address}?kind={kind}").status_code == 200
    assert ObjectHistory.objects.filter(action="tested").count() == 1


def test_a50_names_from_the_directory_are_escaped(
    story: Story, browser: Client
) -> None:
    story.control("PATCH", f"users/{ANA}", {"displayName": "<script>alert(1)</script>"})

    page = browser.post(
        f"{story.cloud_idp.get_absolute_url()}test/", {"kind": "user", "user": ANA}
    ).content.decode()

    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_a46_a_test_shows_no_token_and_no_secret(known: Story) -> None:
    result = of_user(known)

    shown = str(result)
    assert known.sandbox.application["client_secret"] not in shown
    assert "Bearer" not in shown
    assert "eyJ" not in shown


def test_without_the_privilege_to_read_people_nothing_is_tested(story: Story) -> None:
    viewer = factories.custom_account("settings", "Read LDAP Servers")

    response = browser_for(viewer).post(
        f"{story.cloud_idp.get_absolute_url()}test/", {"kind": "user", "user": ANA}
    )

    assert response.status_code == 403
    assert not ObjectHistory.objects.filter(action="tested").exists()
