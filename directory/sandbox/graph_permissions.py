"""Which permission opens which read, and which kind of object it lets one see.

Taken from Microsoft's own table, of which the documentation is made, as of 2026-08-07:
https://github.com/microsoftgraph/microsoft-graph-devx-content (permissions.json, MIT).
Permissions that the sandbox cannot consent to are left out.
"""

from dataclasses import dataclass

from directory.sandbox.directory_object import Kind

_DIRECTORY = frozenset({"Directory.Read.All", "Directory.ReadWrite.All"})
_USERS = _DIRECTORY | {"User.Read.All", "User.ReadWrite.All"}
_BASIC_USERS = _USERS | {"User.ReadBasic.All"}
_GROUPS = _DIRECTORY | {
    "GroupMember.Read.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
}
_MEMBERS = frozenset(
    {
        "GroupMember.Read.All",
        "GroupMember.ReadWrite.All",
        "Group.Read.All",
        "Group.ReadWrite.All",
        "Directory.Read.All",
    }
)
_ACTION = _GROUPS | {"User.Read.All", "Device.Read.All", "Application.Read.All"}
_OWN = frozenset({"User.Read"})


@dataclass(frozen=True, slots=True)
class Needs:
    """Any one of these is enough: for an application, and acting for a person."""

    application: frozenset[str]
    delegated: frozenset[str]


def _needs(
    application: frozenset[str], delegated: frozenset[str] = frozenset()
) -> Needs:
    return Needs(application, application | delegated)


_READ_GROUPS = frozenset({"GroupMember.Read.All", "Group.Read.All"})

NEEDS: dict[str, Needs] = {
    "GET /organization": _needs(
        _DIRECTORY | {"User.Read.All", "Organization.Read.All"}, _OWN
    ),
    "GET /users": _needs(_BASIC_USERS),
    "GET /users/delta": _needs(_USERS),
    "GET /users/{id}": _needs(_BASIC_USERS, _OWN),
    "GET /users/{id}/memberOf": _needs(_DIRECTORY, _OWN | {"GroupMember.Read.All"}),
    "GET /users/{id}/transitiveMemberOf": _needs(
        _DIRECTORY | _READ_GROUPS | {"User.Read.All"}, _OWN
    ),
    "POST /users/{id}/getMemberGroups": _needs(_ACTION),
    "POST /users/{id}/checkMemberGroups": _needs(_ACTION | {"User.ReadWrite.All"}),
    "POST /users/{id}/getMemberObjects": _needs(_ACTION | {"User.ReadWrite.All"}, _OWN),
    "POST /users/{id}/checkMemberObjects": _needs(
        _ACTION | {"User.ReadWrite.All"}, _OWN
    ),
    "GET /groups": _needs(_GROUPS),
    "GET /groups/delta": _needs(_GROUPS),
    "GET /groups/{id}": _needs(_GROUPS),
    "GET /groups/{id}/members": _needs(_MEMBERS),
    "GET /groups/{id}/transitiveMembers": _needs(_MEMBERS),
    "GET /groups/{id}/memberOf": _needs(_DIRECTORY | _READ_GROUPS),
    "GET /groups/{id}/transitiveMemberOf": _needs(_DIRECTORY, _READ_GROUPS),
    "POST /groups/{id}/getMemberGroups": _needs(_ACTION),
    "POST /groups/{id}/checkMemberGroups": _needs(_ACTION | {"User.ReadWrite.All"}),
    "GET /directoryObjects/{id}": _needs(frozenset({"Directory.Read.All"})),
    "POST /directoryObjects/getByIds": _needs(frozenset({"Directory.Read.All"})),
    "POST /directoryObjects/{id}/getMemberGroups": _needs(_ACTION),
    "POST /directoryObjects/{id}/checkMemberGroups": _needs(
        _ACTION | {"User.ReadWrite.All"}
    ),
    "POST /directoryObjects/{id}/getMemberObjects": _needs(
        _ACTION | {"User.ReadWrite.All"}, _OWN
    ),
    "POST /directoryObjects/{id}/checkMemberObjects": _needs(
        _ACTION | {"User.ReadWrite.All"}, _OWN
    ),
}

# What shows an object of a kind with its properties; without it, its id alone.
# https://learn.microsoft.com/graph/permissions-overview#limited-information-returned-for-inaccessible-member-objects
_SHOWN_BY: dict[Kind, frozenset[str]] = {
    Kind.USER: _USERS,
    Kind.GROUP: _GROUPS | _MEMBERS,
    Kind.DEVICE: _DIRECTORY | {"Device.Read.All"},
    Kind.SERVICE_PRINCIPAL: _DIRECTORY | {"Application.Read.All"},
    Kind.ORG_CONTACT: _DIRECTORY | {"OrgContact.Read.All"},
    Kind.DIRECTORY_ROLE: _DIRECTORY | {"RoleManagement.Read.Directory"},
}
_BASIC = frozenset(
    {"id", "displayName", "givenName", "surname", "mail", "userPrincipalName"}
)
NOTHING: frozenset[str] = frozenset()


def shown(kind: Kind, permissions: frozenset[str]) -> frozenset[str] | None:
    """Return the properties of a kind that may be seen; None stands for all."""
    if permissions & _SHOWN_BY[kind]:
        return None
    if kind is Kind.USER and "User.ReadBasic.All" in permissions:
        return _BASIC
    return NOTHING


def is_own_only(held: frozenset[str]) -> bool:
    """Say whether what is held reaches no further than the signed-in person."""
    return held <= _OWN
