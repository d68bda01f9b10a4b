"""Who holds what, by the rules alone: no rows, no requests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from directory.dependents import ObjectRef
from jamfidp.access import SiteAccess
from jamfidp.accounts import grants
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.privileges import CATALOGUE

NOW = datetime(2026, 11, 3, 14, 2, tzinfo=UTC)
DAY = timedelta(hours=24)
BERLIN, PARIS = 1, 2
ANA = ObjectRef("tenant", "ana")

ADMINISTRATORS = grants.GroupFacts(
    pk=1, name="Administrators", access_level="FULL", privilege_set="ADMINISTRATOR"
)
AUDITORS = grants.GroupFacts(
    pk=2, name="Auditors", access_level="FULL", privilege_set="AUDITOR"
)
BERLIN_POLICIES = grants.GroupFacts(
    pk=3,
    name="Berlin policies",
    access_level="SITE",
    privilege_set="CUSTOM",
    custom=["Read Policies", "Update Policies"],
    site_id=BERLIN,
)
PARIS_READERS = grants.GroupFacts(
    pk=4,
    name="Paris readers",
    access_level="SITE",
    privilege_set="CUSTOM",
    custom=["Read Policies"],
    site_id=PARIS,
)
CONNECTION = grants.ConnectionFacts(
    name="Fernhill Studio",
    enabled=True,
    completely_read=True,
    last_good_read_at=NOW - timedelta(minutes=4),
)
BOUND = grants.BindingFacts(
    group=ADMINISTRATORS, ref=ObjectRef("tenant", "group"), name="IT", direct=True
)
PERSON = grants.PersonFacts()
INHERITS = grants.AccountFacts(enabled=True, access_level="GROUP", ref=ANA)
LOCAL = grants.AccountFacts(enabled=True, access_level="GROUP")


def decide(account: grants.AccountFacts, **facts: Any) -> grants.Standing:
    given: dict[str, Any] = {"freshness": DAY, "now": NOW} | facts
    return grants.decide(account, **given)


def of_ana(**facts: Any) -> grants.Standing:
    return decide(
        INHERITS,
        **{"connection": CONNECTION, "person": PERSON, "bindings": [BOUND]} | facts,
    )


def test_a_direct_member_of_a_bound_group_holds_its_privileges_and_the_path() -> None:
    held = of_ana()

    assert held.by_name.keys() == CATALOGUE.keys()
    assert held.grants[0].path.directory_group == "IT"
    assert held.grants[0].path.account_group == ADMINISTRATORS


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param(
            {"connection": None}, Reason.NO_CONNECTION, id="deleted connection"
        ),
        pytest.param(
            {"connection": replace(CONNECTION, enabled=False)},
            Reason.CONNECTION_DISABLED,
            id="disabled connection",
        ),
        pytest.param(
            {"connection": replace(CONNECTION, completely_read=False)},
            Reason.NEVER_READ,
            id="connection never completely read",
        ),
        pytest.param(
            {"connection": replace(CONNECTION, last_good_read_at=None)},
            Reason.NEVER_READ,
            id="no good read",
        ),
        pytest.param(
            {
                "connection": replace(
                    CONNECTION, last_good_read_at=NOW - DAY - timedelta(seconds=1)
                )
            },
            Reason.STALE,
            id="one second beyond the freshness limit",
        ),
        pytest.param({"person": None}, Reason.NOT_SEEN, id="person never read"),
        pytest.param(
            {"person": replace(PERSON, present=False)},
            Reason.NOT_SEEN,
            id="person merely mentioned as a member",
        ),
        pytest.param(
            {"person": replace(PERSON, present=False, deleted=True)},
            Reason.PERSON_DELETED,
            id="person deleted",
        ),
        pytest.param(
            {"person": replace(PERSON, enabled=False)},
            Reason.PERSON_DISABLED,
            id="person disabled",
        ),
        pytest.param(
            {"person": replace(PERSON, enabled=None)},
            Reason.ENABLED_UNKNOWN,
            id="not known whether the person is enabled",
        ),
        pytest.param(
            {"person": replace(PERSON, guest=True)}, Reason.GUEST, id="A25 guest"
        ),
        pytest.param(
            {"person": replace(PERSON, guest=None)},
            Reason.TYPE_UNKNOWN,
            id="not known whether the person is a guest",
        ),
        pytest.param(
            {"bindings": [replace(BOUND, direct=False)]},
            Reason.NOT_MEMBER,
            id="no member",
        ),
        pytest.param(
            {"bindings": [replace(BOUND, direct=False, hidden=True)]},
            Reason.GROUP_HIDDEN,
            id="hidden membership is unknown",
        ),
        pytest.param(
            {"bindings": [replace(BOUND, present=False)]},
            Reason.GROUP_GONE,
            id="A31 bound group gone",
        ),
        pytest.param(
            {"bindings": [replace(BOUND, direct=False, through=["Frontend"])]},
            Reason.NOT_MEMBER,
            id="A32 nested member of a binding that is not nested",
        ),
        pytest.param(
            {
                "bindings": [
                    replace(BOUND, direct=False, nested=True, through=["Frontend"])
                ],
                "connection": replace(CONNECTION, transitive=False),
            },
            Reason.NOT_MEMBER,
            id="nested member where the connection's transitive switch is off",
        ),
        pytest.param({"bindings": []}, Reason.NO_GROUP, id="no bound group"),
    ],
)
def test_unknown_is_no_and_the_reason_is_told(
    facts: dict[str, Any], reason: Reason
) -> None:
    held = of_ana(**facts)

    assert held.holds_nothing
    assert [one.reason for one in held.withheld] == [reason]


def test_a_read_exactly_at_the_freshness_limit_still_counts() -> None:
    held = of_ana(connection=replace(CONNECTION, last_good_read_at=NOW - DAY))

    assert not held.holds_nothing


def test_a_nested_binding_names_the_group_between() -> None:
    binding = replace(BOUND, direct=False, nested=True, through=["Frontend"])

    held = of_ana(bindings=[binding])

    assert held.grants[0].path.through == "Frontend"
    assert "contains Frontend" in held.grants[0].path.sentence


def test_a_disabled_account_holds_nothing() -> None:
    held = decide(
        grants.AccountFacts(
            enabled=False, access_level="FULL", privilege_set="ADMINISTRATOR"
        )
    )

    assert held.holds_nothing
    assert held.withheld[0].reason is Reason.ACCOUNT_DISABLED


def test_own_full_access_is_the_accounts_own_privileges_alone() -> None:
    account = grants.AccountFacts(
        enabled=True,
        access_level="FULL",
        privilege_set="CUSTOM",
        custom=["Read Policies"],
    )

    held = decide(account, assigned=[ADMINISTRATORS])

    assert held.by_name == {"Read Policies": SiteAccess(everywhere=True)}


def test_own_site_access_leaves_out_what_needs_full_access() -> None:
    account = grants.AccountFacts(
        enabled=True, access_level="SITE", privilege_set="ADMINISTRATOR", site_id=BERLIN
    )

    held = decide(account, assigned=[ADMINISTRATORS])

    assert held.access("scoping.change_policy") == SiteAccess(
        everywhere=False, site_ids=frozenset({BERLIN})
    )
    assert not held.holds("directory.change_cloudidentityprovider")
    assert not held.holds("scoping.change_building")


def test_site_access_without_a_site_is_nothing_and_not_everything() -> None:
    account = grants.AccountFacts(
        enabled=True, access_level="SITE", privilege_set="ADMINISTRATOR", site_id=None
    )

    assert decide(account).holds_nothing


def test_a_local_account_is_no_member_of_a_directory_group() -> None:
    held = decide(LOCAL, bindings=[BOUND], connection=CONNECTION, person=PERSON)

    assert held.holds_nothing


def test_own_privileges_of_a_person_end_when_entra_disables_them() -> None:
    account = replace(INHERITS, access_level="FULL", privilege_set="ADMINISTRATOR")

    held = decide(account, connection=CONNECTION, person=replace(PERSON, enabled=False))

    assert held.holds_nothing


def test_an_assigned_group_of_a_person_is_suspended_with_the_connection() -> None:
    held = of_ana(
        assigned=[AUDITORS], connection=replace(CONNECTION, enabled=False), bindings=[]
    )

    assert held.holds_nothing


def test_everywhere_and_sites_are_united() -> None:
    held = decide(LOCAL, assigned=[AUDITORS, BERLIN_POLICIES, PARIS_READERS])

    assert held.access("scoping.view_policy").everywhere
    assert held.access("scoping.change_policy").site_ids == {BERLIN}
    assert held.access("scoping.change_policy").may_see(BERLIN)
    assert not held.access("scoping.change_policy").may_see(PARIS)
    assert not held.access("scoping.change_policy").may_see(None)


def test_several_sites_each_keep_their_own_privileges() -> None:
    held = decide(LOCAL, assigned=[BERLIN_POLICIES, PARIS_READERS])

    assert held.access("scoping.view_policy").site_ids == {BERLIN, PARIS}
    assert held.access("scoping.change_policy").site_ids == {BERLIN}


def test_shared_objects_are_seen_with_site_access_and_changed_with_full_access() -> (
    None
):
    group = replace(BERLIN_POLICIES, privilege_set="ADMINISTRATOR")

    held = decide(LOCAL, assigned=[group])

    assert held.access("directory.view_directorygroup").everywhere
    assert not held.holds("directory.view_cloudidentityprovider")
    assert not held.holds("directory.export_directory")


@pytest.mark.parametrize(
    "permission",
    ["scoping.view_polici", "directory.write_entra", "accounts", ""],
)
def test_a_permission_that_no_privilege_gives_is_held_by_nobody(
    permission: str,
) -> None:
    assert not of_ana().holds(permission)


def test_what_is_held_at_a_site_does_not_cover_a_grant_everywhere() -> None:
    held = decide(LOCAL, assigned=[BERLIN_POLICIES])

    assert held.covers(["Read Policies"], site_id=BERLIN)
    assert held.lacks(["Read Policies"], site_id=None) == ["Read Policies"]
    assert held.lacks(["Read Policies"], site_id=PARIS) == ["Read Policies"]
    assert held.lacks(["Delete Policies"], site_id=BERLIN) == ["Delete Policies"]
