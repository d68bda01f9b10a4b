"""From what Graph says to rows: merging pages, attributes, and odd values."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from directory.entra import Group, Removed, User
from directory.sync import attributes
from directory.sync.attributes import NEW_GROUP, NEW_USER, fold, name_key
from directory.sync.stage import Snapshot, group_item, members_in, user_item
from tests.factories import guid

NOW = datetime(2026, 11, 3, 9, tzinfo=UTC)
user_row = partial(attributes.user_row, now=NOW)
group_row = partial(attributes.group_row, now=NOW)

ANA, MILO, LAB = guid("ana"), guid("milo"), guid("lab")
GROUP = guid("frontend")


def group(*members: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A staged group, by way of the client's own parsing."""
    return group_item(
        Group.from_json({"id": GROUP, **properties, "members@delta": list(members)})
    )


def member(object_id: str, kind: str = "user", *, left: bool = False) -> dict[str, Any]:
    entry = {"@odata.type": f"#microsoft.graph.{kind}", "id": object_id}
    return entry | ({"@removed": {"reason": "deleted"}} if left else {})


def merged(*items: dict[str, Any]) -> tuple[set[str], set[str]]:
    snapshot = Snapshot(full=False)
    for item in items:
        snapshot.take_groups([item])
    change = snapshot.groups[GROUP]
    names = snapshot.numbers.names
    return set(names(change.users.joined)), set(names(change.users.left))


@pytest.mark.parametrize(
    ("items", "joined", "left"),
    [
        pytest.param([group(member(ANA))], {ANA}, set(), id="joined"),
        pytest.param(
            [group(member(ANA)), group(member(ANA, left=True))],
            set(),
            {ANA},
            id="joined and left again",
        ),
        pytest.param(
            [group(member(ANA, left=True)), group(member(ANA))],
            {ANA},
            set(),
            id="left and joined again",
        ),
        pytest.param(
            [group(member(ANA), member(ANA)), group(member(ANA))],
            {ANA},
            set(),
            id="said three times",
        ),
        pytest.param(
            [group(member(ANA)), group(member(MILO))],
            {ANA, MILO},
            set(),
            id="a group in slices",
        ),
    ],
)
def test_the_last_word_on_a_membership_counts(
    items: list[dict[str, Any]], joined: set[str], left: set[str]
) -> None:
    assert merged(*items) == (joined, left)


def test_members_of_each_kind_are_kept_apart() -> None:
    item = group(
        member(ANA), member(LAB, "group"), member(MILO, "device"), member(GROUP, "x")
    )

    assert item["users"] == [ANA]
    assert item["groups"] == [LAB]
    assert item["others"] == [MILO, GROUP]
    assert members_in(item) == 4


def test_a_person_removed_and_restored_in_one_round_is_there() -> None:
    snapshot = Snapshot(full=False)
    gone = User.from_json({"id": ANA, "@removed": {"reason": "changed"}})
    back = User.from_json({"id": ANA, "displayName": "Ana Ruiz"})

    snapshot.take_users([user_item(gone), user_item(back)])
    assert snapshot.users[ANA].removed is None
    assert snapshot.users[ANA].properties == {"displayName": "Ana Ruiz"}

    snapshot.take_users([user_item(gone)])
    assert snapshot.users[ANA].removed is Removed.CHANGED


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
