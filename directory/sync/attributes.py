"""What a Graph object says, as the columns of its row."""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from directory.models import AttributeMappings, DirectoryGroup, State

# The mapped attributes of people: Jamf Pro's names, each filled by one Graph property.
USER_ATTRIBUTES = (
    "user_name",
    "real_name",
    "email",
    "department",
    "building",
    "room",
    "phone",
    "position",
)
_TEXT_LIMIT = 1024
_NAME_LIMIT = 256
_KEY_LIMIT = 512


class UserRow(NamedTuple):
    """The columns of a person that a read can change, in their order in SQL."""

    state: str
    state_since: datetime | None
    state_told: bool
    account_enabled: bool | None
    user_type: str
    display_name: str
    user_principal_name: str
    user_name: str
    real_name: str
    email: str
    department: str
    building: str
    room: str
    phone: str
    position: str
    user_name_key: str
    sort_key: str
    search: str


class GroupRow(NamedTuple):
    """The columns of a group that a read can change, in their order in SQL."""

    state: str
    state_since: datetime | None
    state_told: bool
    display_name: str
    description: str
    mail: str
    kind: str
    mail_enabled: bool | None
    security_enabled: bool | None
    is_dynamic: bool
    membership_rule: str
    is_assignable_to_role: bool | None
    hidden_membership: bool
    other_members: int
    direct_users: int
    transitive_users: int
    sort_key: str
    search: str


NEW_USER = UserRow(
    state=State.MENTIONED.value,
    state_since=None,
    state_told=True,
    account_enabled=None,
    user_type="",
    display_name="",
    user_principal_name="",
    user_name="",
    real_name="",
    email="",
    department="",
    building="",
    room="",
    phone="",
    position="",
    user_name_key="",
    sort_key="",
    search="",
)
NEW_GROUP = GroupRow(
    state=State.MENTIONED.value,
    state_since=None,
    state_told=True,
    display_name="",
    description="",
    mail="",
    kind=DirectoryGroup.Kind.UNKNOWN.value,
    mail_enabled=None,
    security_enabled=None,
    is_dynamic=False,
    membership_rule="",
    is_assignable_to_role=None,
    hidden_membership=False,
    other_members=0,
    direct_users=0,
    transitive_users=0,
    sort_key="",
    search="",
)


def fold(text: str) -> str:
    """Fold a text for searching: marks off, letter case away, in every script."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return bare.casefold()


def name_key(user_name: str) -> str:
    """Return the whole key by which a reported user name is matched.

    A name too long to be indexed has none and matches nobody: cut, two would be one.
    """
    key = unicodedata.normalize("NFC", user_name.strip()).casefold()
    return key if len(key) <= _KEY_LIMIT else ""


def sort_key(*names: str) -> str:
    """Return what a list sorts by: the first of these that there is, folded."""
    return fold(next(filter(None, names), ""))[:_NAME_LIMIT]


Row = TypeVar("Row", "UserRow", "GroupRow")


def in_state(row: Row, state: State, *, now: datetime, told: bool = True) -> Row:
    """Return the row in a state, with when it came into it.

    `told` is false for what was concluded from an answer that left the object out.
    """
    if row.state == state and row.state_since is not None:
        return row
    return row._replace(state=state.value, state_since=now, state_told=told)


def mapped_properties(mappings: AttributeMappings) -> dict[str, str]:
    """Return which Graph property fills which attribute, without the unmapped."""
    pairs = ((name, getattr(mappings, name).strip()) for name in USER_ATTRIBUTES)
    return {name: graph_name for name, graph_name in pairs if graph_name}


def mappings_signature(mappings: AttributeMappings) -> str:
    """Name the mappings a read was made with; another name means another read."""
    named = {**mapped_properties(mappings), "group_name": mappings.group_name.strip()}
    return ";".join(f"{name}={graph}" for name, graph in sorted(named.items()))


def user_row(
    before: UserRow,
    properties: Mapping[str, Any],
    mapped: Mapping[str, str],
    *,
    now: datetime,
) -> UserRow:
    """Return the row of a person that is in the directory.

    A property that came is taken, null as empty; one that did not come stays.
    """
    values: dict[str, Any] = {}
    if "accountEnabled" in properties:
        values["account_enabled"] = properties["accountEnabled"]
    if "userType" in properties:
        values["user_type"] = _text(properties["userType"], 20)
    if "displayName" in properties:
        values["display_name"] = _text(properties["displayName"], _NAME_LIMIT)
    if "userPrincipalName" in properties:
        values["user_principal_name"] = _text(properties["userPrincipalName"])
    for attribute in USER_ATTRIBUTES:
        graph_name = mapped.get(attribute)
        if graph_name is None:
            values[attribute] = ""
        elif _has(properties, graph_name):
            values[attribute] = _text(_value(properties, graph_name))
    row = in_state(before._replace(**values), State.PRESENT, now=now)
    return row._replace(
        user_name_key=name_key(row.user_name),
        sort_key=sort_key(row.display_name, row.user_principal_name),
        search=_search(
            row.display_name,
            row.real_name,
            row.user_principal_name,
            row.user_name,
            row.email,
        ),
    )


def group_row(
    before: GroupRow,
    properties: Mapping[str, Any],
    name_property: str,
    *,
    now: datetime,
) -> GroupRow:
    """Return the row of a group that is in the directory.

    A null property of a group is unknown, never a change to empty: which ones
    GroupMember.Read.All lets us read is not published.
    """
    known = {name: value for name, value in properties.items() if value is not None}
    values: dict[str, Any] = {}
    name = known.get(name_property) or known.get("displayName")
    if name is not None:
        values["display_name"] = _text(name, _NAME_LIMIT)
    if "description" in known:
        values["description"] = _text(known["description"], 100_000)
    if "mail" in known:
        values["mail"] = _text(known["mail"])
    if "membershipRule" in known:
        values["membership_rule"] = _text(known["membershipRule"], 100_000)
    for column, graph_name in (
        ("mail_enabled", "mailEnabled"),
        ("security_enabled", "securityEnabled"),
        ("is_assignable_to_role", "isAssignableToRole"),
    ):
        if graph_name in known:
            values[column] = bool(known[graph_name])
    if "visibility" in known:
        values["hidden_membership"] = known["visibility"] == "HiddenMembership"
    types = known.get("groupTypes")
    if types is not None:
        values["is_dynamic"] = "DynamicMembership" in types
        if not values["is_dynamic"]:
            values["membership_rule"] = ""
    row = in_state(before._replace(**values), State.PRESENT, now=now)
    return row._replace(
        kind=_kind(row, types),
        sort_key=sort_key(row.display_name),
        search=_search(row.display_name, row.mail),
    )


def _kind(row: GroupRow, types: Any) -> str:
    """https://learn.microsoft.com/graph/api/resources/groups-overview"""
    if types is None:
        unified = row.kind == DirectoryGroup.Kind.MICROSOFT_365.value
    else:
        unified = "Unified" in types
    if unified:
        return DirectoryGroup.Kind.MICROSOFT_365.value
    if row.mail_enabled is None or row.security_enabled is None:
        return DirectoryGroup.Kind.UNKNOWN.value
    if row.mail_enabled:
        return (
            DirectoryGroup.Kind.MAIL_ENABLED_SECURITY.value
            if row.security_enabled
            else DirectoryGroup.Kind.DISTRIBUTION.value
        )
    return (
        DirectoryGroup.Kind.SECURITY.value
        if row.security_enabled
        else DirectoryGroup.Kind.UNKNOWN.value
    )


def _has(properties: Mapping[str, Any], name: str) -> bool:
    return name.partition(".")[0] in properties


def _value(properties: Mapping[str, Any], name: str) -> Any:
    outer, _, inner = name.partition(".")
    value = properties.get(outer)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, Mapping) else None


def _text(value: Any, limit: int = _TEXT_LIMIT) -> str:
    """Return a property as text: lists joined, NUL left out (PostgreSQL has none)."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = ", ".join(_text(item) for item in value)
    return str(value).replace("\x00", "")[:limit]


def _search(*texts: str) -> str:
    # One line each: a search never matches across two of them.
    return "\n".join(dict.fromkeys(fold(text) for text in texts if text))
