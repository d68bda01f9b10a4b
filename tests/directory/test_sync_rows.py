"""From what Graph says to the columns of rows: attributes, and odd values."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from directory.sync import attributes
from directory.sync.attributes import (
    NEW_GROUP,
    NEW_USER,
    USER_VALUES,
    UserRow,
    fold,
    name_key,
)

NOW = datetime(2026, 11, 3, 9, tzinfo=UTC)
group_row = partial(attributes.group_row, now=NOW)


def user_row(
    before: UserRow, properties: dict[str, Any], mapped: dict[str, str]
) -> UserRow:
    """The row after a part of a person came."""
    values = dict(
        zip(
            attributes.USER_VALUES,
            attributes.values_reader(mapped)(properties),
            strict=True,
        )
    )
    came = {name: values[name] for name in attributes.came(properties, mapped)}
    return attributes.user_row(before, came, now=NOW)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ingrid Åström", "ingrid astrom"),
        ("STRASSE Straße", "strasse strasse"),
        ("Ｆｕｌｌ", "full"),
        ("ﬁne", "fine"),
        ("Ελλάς", "ελλασ"),
        ("اَلْعَرَبِيَّة", "العربية"),
        ("🦊 Fox", "🦊 fox"),
        ("", ""),
    ],
)
def test_folding_takes_off_marks_and_letter_case_in_every_script(
    text: str, folded: str
) -> None:
    assert fold(text) == folded


def test_a_name_key_keeps_marks_and_joins_their_two_spellings() -> None:
    assert name_key(" Ana.Di\u0301az@X ") == name_key("ana.d\u00edaz@x")
    assert name_key("díaz") != name_key("diaz")


MAPPED = {"user_name": "userPrincipalName", "room": "businessPhones", "email": "mail"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (["1", "2"], "1, 2"),
        (True, "true"),
        (7, "7"),
        ("a\x00b", "ab"),
        ("x" * 3000, "x" * 1024),
    ],
)
def test_any_value_of_a_property_becomes_text_that_fits(value: Any, text: str) -> None:
    assert user_row(NEW_USER, {"businessPhones": value}, MAPPED).room == text


def test_a_property_that_did_not_come_stays_and_an_unmapped_one_empties() -> None:
    before = NEW_USER._replace(email="a@x", phone="1")

    row = user_row(before, {"displayName": "Ana"}, MAPPED)

    assert row.email == "a@x"
    assert row.phone == ""


def test_a_whole_person_has_the_row_that_its_parts_add_up_to() -> None:
    properties = {
        "displayName": "Ana Ruiz",
        "userPrincipalName": "Ana.Ruiz@fernhill.example",
        "accountEnabled": False,
        "userType": "Guest",
        "mail": None,
        "businessPhones": ["4.01"],
    }

    whole = attributes.whole_user_row(
        NEW_USER, attributes.values_reader(MAPPED)(properties), now=NOW
    )

    assert whole == user_row(NEW_USER, properties, MAPPED)
    assert whole.account_enabled is False
    assert (whole.user_name_key, whole.sort_key) == (
        "ana.ruiz@fernhill.example",
        "ana ruiz",
    )
    assert whole.search == "ana ruiz\nana.ruiz@fernhill.example"
    assert whole.state_since == NOW
    assert UserRow._fields[3 : 3 + len(USER_VALUES)] == USER_VALUES


def test_a_nested_property_is_found() -> None:
    mapped = {"room": "onPremisesExtensionAttributes.extensionAttribute1"}
    properties = {"onPremisesExtensionAttributes": {"extensionAttribute1": "4.01"}}

    assert user_row(NEW_USER, properties, mapped).room == "4.01"
    emptied = {"onPremisesExtensionAttributes": None}
    assert user_row(NEW_USER._replace(room="4.01"), emptied, mapped).room == ""


def test_a_null_property_of_a_group_is_unknown_and_changes_nothing() -> None:
    before = group_row(
        NEW_GROUP,
        {
            "displayName": "Frontend",
            "description": "d",
            "mail": "f@x",
            "mailEnabled": True,
            "securityEnabled": True,
            "isAssignableToRole": True,
            "groupTypes": ["DynamicMembership"],
            "membershipRule": "r",
            "visibility": "HiddenMembership",
        },
        "displayName",
    )

    nothing = dict.fromkeys(
        (
            "displayName",
            "description",
            "mail",
            "mailEnabled",
            "securityEnabled",
            "isAssignableToRole",
            "groupTypes",
            "membershipRule",
            "visibility",
        )
    )

    assert group_row(before, nothing, "displayName") == before


def test_a_group_of_which_nothing_is_known_has_no_kind() -> None:
    assert group_row(NEW_GROUP, {"displayName": "X"}, "displayName").kind == "UNKNOWN"


def test_a_group_that_is_no_longer_dynamic_loses_its_rule() -> None:
    before = NEW_GROUP._replace(is_dynamic=True, membership_rule="r")

    row = group_row(before, {"groupTypes": []}, "displayName")

    assert (row.is_dynamic, row.membership_rule) == (False, "")


def test_a_groups_name_follows_its_mapping_and_falls_back() -> None:
    properties = {"displayName": "Frontend", "mailNickname": "fe"}

    assert group_row(NEW_GROUP, properties, "mailNickname").display_name == "fe"
    assert group_row(NEW_GROUP, properties, "other").display_name == "Frontend"
