"""Users, groups and memberships as values, and how Graph's JSON becomes them.

Parsing is strict: what must be there and is not, or is of another kind, raises a
GraphResponseError that names the field. What may be missing becomes None, which
means unknown and never empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from directory.entra import errors
from directory.entra.ids import ObjectId, TenantId, is_guid

USER_PROPERTIES = (
    "id",
    "displayName",
    "userPrincipalName",
    "mail",
    "accountEnabled",
    "userType",
)
# What is asked for of everybody. More than that is asked for only where it is used.
LISTED_USER_PROPERTIES = (
    "id",
    "displayName",
    "userPrincipalName",
    "accountEnabled",
    "userType",
)
GROUP_PROPERTIES = (
    "id",
    "displayName",
    "description",
    "mail",
    "mailEnabled",
    "securityEnabled",
    "groupTypes",
    "membershipRule",
    "isAssignableToRole",
    "visibility",
)
MEMBER_PROPERTIES = ("id", "displayName", "userPrincipalName")


class MemberType(StrEnum):
    """The kinds of directory object that can be members of a group."""

    USER = "user"
    GROUP = "group"
    DEVICE = "device"
    CONTACT = "orgContact"
    SERVICE_PRINCIPAL = "servicePrincipal"
    OTHER = "other"


class Removed(StrEnum):
    """Why a delta answer says that an object is gone."""

    CHANGED = "changed"
    """Deleted softly: can be restored for 30 days, memberships remain."""
    DELETED = "deleted"
    """Gone for good, memberships included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user, as far as the answer says.

    `properties` holds what came, by Graph's names, so that 'came as null' and 'did
    not come' can be told apart. With `removed` set only `id` is known.
    """

    id: ObjectId
    user_principal_name: str | None
    display_name: str | None
    mail: str | None
    account_enabled: bool | None
    user_type: str | None
    properties: Mapping[str, object]
    removed: Removed | None

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "User":
        return cls(
            id=_object_id(item, "user"),
            user_principal_name=_text(item, "userPrincipalName", "user"),
            display_name=_text(item, "displayName", "user"),
            mail=_text(item, "mail", "user"),
            account_enabled=_flag(item, "accountEnabled", "user"),
            user_type=_text(item, "userType", "user"),
            properties=_properties(item),
            removed=_removed(item, "user"),
        )

    @property
    def is_guest(self) -> bool | None:
        return None if self.user_type is None else self.user_type.lower() == "guest"

    def value(self, name: str) -> object:
        """Return a property by its Graph name, or None.

        `onPremisesExtensionAttributes.extensionAttribute1` looks into the nested
        object.
        """
        return _nested(self.properties, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRef:
    """A member of a group, or with `removed` one that left it.

    A member of a kind that the application may not read comes with nothing but
    its id and type.
    """

    id: ObjectId
    type: MemberType
    odata_type: str
    display_name: str | None = None
    user_principal_name: str | None = None
    removed: bool = False

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "MemberRef":
        odata_type = item.get("@odata.type")
        if not isinstance(odata_type, str):
            raise unreadable("a member without @odata.type")
        return cls(
            id=_object_id(item, "member"),
            type=member_type(odata_type),
            odata_type=odata_type,
            display_name=_text(item, "displayName", "member"),
            user_principal_name=_text(item, "userPrincipalName", "member"),
            removed="@removed" in item,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group, as far as the answer says.

    `members` holds the entries of `members@delta` in the order received, and None
    where the answer says nothing about members. A large group comes in several
    slices over several pages.
    """

    id: ObjectId
    display_name: str | None
    description: str | None
    mail: str | None
    mail_enabled: bool | None
    security_enabled: bool | None
    group_types: tuple[str, ...] | None
    membership_rule: str | None
    is_assignable_to_role: bool | None
    visibility: str | None
    properties: Mapping[str, object]
    members: tuple[MemberRef, ...] | None
    removed: Removed | None

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Group":
        members = item.get("members@delta")
        if members is not None and not isinstance(members, list):
            raise unreadable("members@delta of a group")
        return cls(
            id=_object_id(item, "group"),
            display_name=_text(item, "displayName", "group"),
            description=_text(item, "description", "group"),
            mail=_text(item, "mail", "group"),
            mail_enabled=_flag(item, "mailEnabled", "group"),
            security_enabled=_flag(item, "securityEnabled", "group"),
            group_types=_texts(item, "groupTypes", "group"),
            membership_rule=_text(item, "membershipRule", "group"),
            is_assignable_to_role=_flag(item, "isAssignableToRole", "group"),
            visibility=_text(item, "visibility", "group"),
            properties=_properties(item),
            members=None
            if members is None
            else tuple(MemberRef.from_json(_mapping(m, "member")) for m in members),
            removed=_removed(item, "group"),
        )

    @property
    def is_microsoft_365(self) -> bool | None:
        return None if self.group_types is None else "Unified" in self.group_types

    @property
    def is_dynamic(self) -> bool | None:
        if self.group_types is None:
            return None
        return "DynamicMembership" in self.group_types

    @property
    def has_hidden_membership(self) -> bool:
        return self.visibility == "HiddenMembership"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedDomain:
    name: str
    is_default: bool
    is_initial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """The tenant itself; `id` is the tenant id."""

    id: TenantId
    display_name: str | None
    verified_domains: tuple[VerifiedDomain, ...]

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Organization":
        domains = item.get("verifiedDomains")
        if not isinstance(domains, list):
            raise unreadable("verifiedDomains of an organization")
        return cls(
            id=TenantId(_object_id(item, "organization")),
            display_name=_text(item, "displayName", "organization"),
            verified_domains=tuple(_domain(_mapping(d, "domain")) for d in domains),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersPage:
    """One page. Of a delta round the last one alone has a `delta_link`.

    `items` are Graph's own objects, not looked at yet: of most of a full read nothing
    but a hash is needed. `users` parses them; `check_user` and `removed_reason` are as
    strict without making an object of each.
    """

    items: list[dict[str, Any]]
    next_link: str | None
    delta_link: str | None

    @property
    def users(self) -> tuple[User, ...]:
        return tuple(User.from_json(item) for item in self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsPage:
    """One page, as UsersPage; `check_group` goes with it."""

    items: list[dict[str, Any]]
    next_link: str | None
    delta_link: str | None

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(Group.from_json(item) for item in self.items)


_TEXT_OR_NULL = frozenset({str, type(None)})


def check_user(item: Mapping[str, Any]) -> None:
    """Refuse a user whose properties are of another kind than Graph's.

    Raises:
        GraphResponseError
    """
    get = item.get
    # Asked for all at once: it is done for everybody who is new.
    if (
        not {
            type(get("displayName")),
            type(get("userPrincipalName")),
            type(get("mail")),
            type(get("userType")),
        }
        <= _TEXT_OR_NULL
    ):
        for name in ("displayName", "userPrincipalName", "mail", "userType"):
            _text(item, name, "user")
    _flag(item, "accountEnabled", "user")


def check_group(item: Mapping[str, Any]) -> None:
    """Refuse a group whose properties are of another kind than Graph's.

    Raises:
        GraphResponseError
    """
    for name in ("displayName", "description", "mail", "membershipRule", "visibility"):
        _text(item, name, "group")
    for name in ("mailEnabled", "securityEnabled", "isAssignableToRole"):
        _flag(item, name, "group")
    _texts(item, "groupTypes", "group")


def members_delta(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a group's `members@delta`, empty where there are none.

    Raises:
        GraphResponseError: it is not a list of objects.
    """
    members = item.get("members@delta")
    if members is None:
        return []
    if not isinstance(members, list) or not set(map(type, members)) <= {dict}:
        raise unreadable("members@delta of a group")
    return members


def removed_reason(item: Mapping[str, Any], what: str) -> Removed | None:
    """Return why a delta answer says that an object is gone; None where it is not.

    Raises:
        GraphResponseError: the reason is none of Graph's.
    """
    return _removed(item, what)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersPage:
    members: tuple[MemberRef, ...]
    next_link: str | None


def unreadable(
    what: str, *, status: int | None = None, request_id: str = ""
) -> errors.GraphResponseError:
    return errors.GraphResponseError(
        f"The console does not understand an answer from Microsoft Graph: {what}.",
        status=status,
        request_id=request_id,
    )


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unreadable(f"a {what} that is not an object")
    return value


def values(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = body.get("value")
    if not isinstance(rows, list):
        raise unreadable("value: it is missing or not a list")
    if not set(map(type, rows)) <= {dict}:
        raise unreadable("a row of value that is not an object")
    return rows


def ids(body: Mapping[str, Any]) -> frozenset[ObjectId]:
    rows = body.get("value")
    if not isinstance(rows, list) or not all(
        isinstance(row, str) and is_guid(row) for row in rows
    ):
        raise unreadable("value: it is not a list of ids")
    return frozenset(ObjectId(row.lower()) for row in rows)


def _object_id(item: Mapping[str, Any], what: str) -> ObjectId:
    value = item.get("id")
    if not isinstance(value, str) or not is_guid(value):
        raise unreadable(f"id of a {what}: it is missing or not a GUID")
    return ObjectId(value.lower())


def _text(item: Mapping[str, Any], name: str, what: str) -> str | None:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise unreadable(f"{name} of a {what}: it is not a text")
    return value


def _flag(item: Mapping[str, Any], name: str, what: str) -> bool | None:
    value = item.get(name)
    if value is not None and not isinstance(value, bool):
        raise unreadable(f"{name} of a {what}: it is neither true nor false")
    return value


def _texts(item: Mapping[str, Any], name: str, what: str) -> tuple[str, ...] | None:
    value = item.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise unreadable(f"{name} of a {what}: it is not a list of texts")
    return tuple(value)


def _removed(item: Mapping[str, Any], what: str) -> Removed | None:
    if "@removed" not in item:
        return None
    note = item["@removed"]
    reason = note.get("reason") if isinstance(note, dict) else None
    try:
        return Removed(str(reason))
    except ValueError:
        raise unreadable(f"@removed of a {what}: the reason is unknown") from None


def _properties(item: Mapping[str, Any]) -> Mapping[str, object]:
    return MappingProxyType(
        {name: value for name, value in item.items() if "@" not in name}
    )


def _nested(properties: Mapping[str, object], name: str) -> object:
    outer, _, inner = name.partition(".")
    value = properties.get(outer)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, Mapping) else None


def member_type(odata_type: str) -> MemberType:
    try:
        return MemberType(odata_type.removeprefix("#microsoft.graph."))
    except ValueError:
        return MemberType.OTHER


def _domain(item: Mapping[str, Any]) -> VerifiedDomain:
    name = _text(item, "name", "domain")
    if not name:
        raise unreadable("name of a domain: it is missing")
    return VerifiedDomain(
        name=name,
        is_default=bool(_flag(item, "isDefault", "domain")),
        is_initial=bool(_flag(item, "isInitial", "domain")),
    )
