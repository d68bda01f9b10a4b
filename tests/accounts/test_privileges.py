"""The catalogue of privileges and the privilege sets."""

import pytest

from jamfidp.accounts.privileges import (
    BY_PERMISSION,
    CATALOGUE,
    Reach,
    in_reach,
    names_of,
)


def test_every_permission_belongs_to_exactly_one_privilege() -> None:
    permissions = [p for one in CATALOGUE.values() for p in one.permissions]

    assert len(permissions) == len(set(permissions)) == len(BY_PERMISSION)


def test_administrator_is_every_privilege() -> None:
    assert names_of("ADMINISTRATOR", []) == CATALOGUE.keys()


def test_auditor_reads_everything_and_changes_nothing() -> None:
    names = names_of("AUDITOR", [])
    permissions = {p for name in names for p in CATALOGUE[name].permissions}

    assert {p.partition(".")[2].partition("_")[0] for p in permissions} == {"view"}
    assert permissions == {p for p in BY_PERMISSION if ".view_" in p}


def test_enrollment_only_reads_and_deletes_device_records() -> None:
    permissions = {
        p for name in names_of("ENROLLMENT", []) for p in CATALOGUE[name].permissions
    }

    assert permissions == {
        "scoping.view_computer",
        "scoping.delete_computer",
        "scoping.view_mobiledevice",
        "scoping.delete_mobiledevice",
    }


def test_custom_is_what_was_ticked_and_an_unknown_name_gives_nothing() -> None:
    assert names_of("CUSTOM", ["Read Policies", "Rule The World"]) == {"Read Policies"}


def test_a_custom_list_counts_for_the_set_custom_alone() -> None:
    assert "Update Policies" not in names_of("AUDITOR", ["Update Policies"])


@pytest.mark.parametrize(
    "name", [one.name for one in CATALOGUE.values() if one.reach is Reach.FULL]
)
def test_what_needs_full_access_is_never_held_at_a_site(name: str) -> None:
    assert in_reach([name], at_site=True) == frozenset()
    assert in_reach([name], at_site=False) == {name}
