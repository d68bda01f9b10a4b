"""What a Graph object says, as the columns of its row."""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
# What is read of a person, in the order in which pages keep it.
USER_VALUES = (
    "account_enabled",
    "user_type",
    "display_name",
    "user_principal_name",
    *USER_ATTRIBUTES,
)
_TEXT_LIMIT = 1024
_NAME_LIMIT = 256
_TYPE_LIMIT = 20
_KEY_LIMIT = 512
_LONG_TEXT_LIMIT = 100_000


class UserRow(NamedTuple):
    """The columns of a person that a read can change, in their order in SQL."""

    state: str
    state_since: datetime | None
    state_told: bool
    account_enabled: bool | None = None
    user_type: str = ""
    display_name: str = ""
    user_principal_name: str = ""
    user_name: str = ""
    real_name: str = ""
    email: str = ""
    department: str = ""
    building: str = ""
    room: str = ""
    phone: str = ""
    position: str = ""
    user_name_key: str = ""
    sort_key: str = ""
    search: str = ""


class GroupRow(NamedTuple):
    """The columns of a group that a read can change, in their order in SQL."""

    state: str
    state_since: datetime | None
    state_told: bool
    display_name: str = ""
    description: str = ""
    mail: str = ""
    kind: str = DirectoryGroup.Kind.UNKNOWN.value
    mail_enabled: bool | None = None
    security_enabled: bool | None = None
    is_dynamic: bool = False
    membership_rule: str = ""
    is_assignable_to_role: bool | None = None
    hidden_membership: bool = False
    sort_key: str = ""
    search: str = ""


NEW_USER = UserRow(state=State.MENTIONED.value, state_since=None, state_told=True)
NEW_GROUP = GroupRow(state=State.MENTIONED.value, state_since=None, state_told=True)

Row = TypeVar("Row", UserRow, GroupRow)


class _WithoutMarks(dict[int, int | None]):
    """A table for str.translate that leaves marks out, and learns as it goes."""

    def __missing__(self, code: int) -> int | None:
        kept = self[code] = None if unicodedata.combining(chr(code)) else code
        return kept


_WITHOUT_MARKS = _WithoutMarks()


def fold(text: str) -> str:
    """Fold a text for searching: marks off, letter case away, in every script."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", text).translate(_WITHOUT_MARKS).casefold()


def name_key(user_name: str) -> str:
    """Return the whole key by which a reported user name is matched.

    A name too long to be indexed has none and matches nobody: cut, two would be one.
    """
    if user_name.isascii():
        key = user_name.strip().lower()
    else:
        key = unicodedata.normalize("NFC", user_name.strip()).casefold()
    return key if len(key) <= _KEY_LIMIT else ""


def sort_key(*names: str) -> str:
    """Return what a list sorts by: the first of these that there is, folded."""
    return fold(next(filter(None, names), ""))[:_NAME_LIMIT]


def in_state(row: Row, state: State, *, now: datetime, told: bool = True) -> Row:
    """Return the row in a state, with when it came into it.

    `told` is false for what was concluded from an answer that left the object out.
    """
    if row.state == state and row.state_since is not None:
        return row._replace(state_told=True) if told and not row.state_told else row
    return row._replace(state=state.value, state_since=now, state_told=told)


def blank(row: Row, state: State, *, now: datetime) -> Row:
    """Return the row without a single value: it is known by its number alone."""
    empty = type(row)(row.state, row.state_since, row.state_told)
    return in_state(empty, state, now=now)


def mapped_properties(mappings: AttributeMappings) -> dict[str, str]:
    """Return which Graph property fills which attribute, without the unmapped."""
    pairs = ((name, getattr(mappings, name).strip()) for name in USER_ATTRIBUTES)
    return {name: graph_name for name, graph_name in pairs if graph_name}


Properties = Mapping[str, Any]
ReadValues = Callable[[Properties], list[Any]]


def values_reader(mapped: Mapping[str, str]) -> ReadValues:
    """Return a function from a person's properties to USER_VALUES, null as empty.

    Compiled once for a run: it is called for every person that changed.
    """
    readers = [(USER_VALUES.index(name), *_split(mapped[name])) for name in mapped]

    empty = [""] * len(USER_ATTRIBUTES)

    def read(properties: Properties) -> list[Any]:
        get = properties.get
        values: list[Any] = [
            get("accountEnabled"),
            _text(get("userType"), _TYPE_LIMIT),
            _text(get("displayName"), _NAME_LIMIT),
            _text(get("userPrincipalName")),
            *empty,
        ]
        for at, outer, inner in readers:
            value = get(outer)
            if inner:
                value = value.get(inner) if isinstance(value, Mapping) else None
            # Nearly always a short text: this is done a million times.
            if type(value) is str and len(value) <= _TEXT_LIMIT and "\x00" not in value:
                values[at] = value
            else:
                values[at] = _text(value)
        return values

    return read


def came(properties: Properties, mapped: Mapping[str, str]) -> list[str]:
    """Return the columns of USER_VALUES of which a partial answer says something.

    An attribute that is no longer mapped is empty, whatever came.
    """
    found = [
        column
        for column, name in (
            ("account_enabled", "accountEnabled"),
            ("user_type", "userType"),
            ("display_name", "displayName"),
            ("user_principal_name", "userPrincipalName"),
        )
        if name in properties
    ]
    return found + [
        name
        for name in USER_ATTRIBUTES
        if name not in mapped or _split(mapped[name])[0] in properties
    ]


def user_row(before: UserRow, values: Mapping[str, Any], *, now: datetime) -> UserRow:
    """Return the row of a person that is in the directory, with these values.

    A value that did not come stays.
    """
    row = in_state(before._replace(**values), State.PRESENT, now=now)
    key, sort, search = _derived(
        row.display_name,
        row.user_principal_name,
        row.user_name,
        row.real_name,
        row.email,
    )
    return row._replace(user_name_key=key, sort_key=sort, search=search)


def without(row: UserRow, names: Collection[str]) -> UserRow:
    """Return the row of a person without what filled these attributes."""
    emptied: dict[str, Any] = dict.fromkeys(names, "")
    row = row._replace(**emptied)
    key, sort, search = _derived(
        row.display_name,
        row.user_principal_name,
        row.user_name,
        row.real_name,
        row.email,
    )
    return row._replace(user_name_key=key, sort_key=sort, search=search)


def whole_user_row(before: UserRow, values: Sequence[Any], *, now: datetime) -> UserRow:
    """Return the row of a person of whom everything came, in the order of USER_VALUES."""
    row = in_state(before, State.PRESENT, now=now)
    return UserRow._make([*row[:3], *values, *derived_of(values)])


def derived_of(values: Sequence[Any]) -> tuple[str, str, str]:
    """Return user_name_key, sort_key and search of a person, from USER_VALUES."""
    name, upn, user_name, real_name, email = values[2:7]
    return _derived(name, upn, user_name, real_name, email)


def _derived(
    name: str, upn: str, user_name: str, real_name: str, email: str
) -> tuple[str, str, str]:
    """Return user_name_key, sort_key and search."""
    # Some of them are most often the same: each text is folded once.
    folded: dict[str, str] = {}
    for text in (name, real_name, upn, user_name, email):
        if text and text not in folded:
            folded[text] = fold(text)
    return (
        name_key(user_name),
        folded.get(name or upn, "")[:_NAME_LIMIT],
        _lines(folded.values()),
    )


def group_row(
    before: GroupRow, properties: Properties, name_property: str, *, now: datetime
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
        values["description"] = _text(known["description"], _LONG_TEXT_LIMIT)
    if "mail" in known:
        values["mail"] = _text(known["mail"])
    if "membershipRule" in known:
        values["membership_rule"] = _text(known["membershipRule"], _LONG_TEXT_LIMIT)
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


def _split(name: str) -> tuple[str, str]:
    outer, _, inner = name.partition(".")
    return outer, inner


def _text(value: Any, limit: int = _TEXT_LIMIT) -> str:
    """Return a property as text: lists joined, NUL left out (PostgreSQL has none)."""
    if value is None:
        return ""
    if type(value) is str:
        return (value.replace("\x00", "") if "\x00" in value else value)[:limit]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = ", ".join(_text(item) for item in value)
    return str(value).replace("\x00", "")[:limit]


def _search(*texts: str) -> str:
    return _lines(map(fold, dict.fromkeys(filter(None, texts))))


def _lines(folded: Iterable[str]) -> str:
    """Return folded texts, one line each and each line once: a search never matches
    across two of them."""
    once = dict.fromkeys(folded)
    search = "\n".join(once)
    if search.count("\n") < len(once):
        return search
    # One of them has a line break of its own.
    return "\n".join(dict.fromkeys(search.split("\n")))
