"""Applications, their credentials, and what a tenant has consented to."""

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit


class PermissionKind(StrEnum):
    DELEGATED = "delegated"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True)
class Permission:
    value: str
    kind: PermissionKind
    display_name: str
    description: str
    admin_only: bool = True


_D = PermissionKind.DELEGATED
_A = PermissionKind.APPLICATION

# Names as Microsoft's consent page shows them.
# https://learn.microsoft.com/graph/permissions-reference
PERMISSIONS = (
    Permission(
        "User.Read",
        _D,
        "Sign in and read user profile",
        "Allows users to sign in to the app, and allows the app to read the profile "
        "of signed-in users. It also allows the app to read basic company "
        "information of signed-in users.",
        admin_only=False,
    ),
    Permission(
        "User.Read.All",
        _D,
        "Read all users' full profiles",
        "Allows the app to read the full set of profile properties of other users in "
        "your organization, on behalf of the signed-in user.",
    ),
    Permission(
        "GroupMember.Read.All",
        _D,
        "Read group memberships",
        "Allows the app to list groups, read basic group properties and read "
        "membership of all groups you have access to.",
    ),
    Permission(
        "Directory.Read.All",
        _D,
        "Read directory data",
        "Allows the app to read data in your organization's directory, such as "
        "users, groups and apps.",
    ),
    Permission(
        "User.Read.All",
        _A,
        "Read all users' full profiles",
        "Allows the app to read user profiles without a signed in user.",
    ),
    Permission(
        "User.ReadBasic.All",
        _A,
        "Read all users' basic profiles",
        "Allows the app to read a basic set of profile properties of other users in "
        "your organization without a signed-in user.",
    ),
    Permission(
        "GroupMember.Read.All",
        _A,
        "Read all group memberships",
        "Allows the app to read memberships and basic group properties for all "
        "groups without a signed-in user.",
    ),
    Permission(
        "Group.Read.All",
        _A,
        "Read all groups",
        "Allows the app to read group properties and memberships, and read "
        "conversations for all groups, without a signed-in user.",
    ),
    Permission(
        "Member.Read.Hidden",
        _A,
        "Read all hidden memberships",
        "Allows the app to read the memberships of hidden groups and administrative "
        "units without a signed-in user.",
    ),
    Permission(
        "Device.Read.All",
        _A,
        "Read all devices",
        "Allows the app to read your organization's devices' configuration "
        "information without a signed-in user.",
    ),
    Permission(
        "Application.Read.All",
        _A,
        "Read all applications",
        "Allows the app to read all applications and service principals without a "
        "signed-in user.",
    ),
    Permission(
        "OrgContact.Read.All",
        _A,
        "Read organizational contacts",
        "Allows the app to read all organizational contacts without a signed-in user.",
    ),
    Permission(
        "RoleManagement.Read.Directory",
        _A,
        "Read all directory RBAC settings",
        "Allows the app to read the role-based access control (RBAC) settings for "
        "your company's directory, without a signed-in user.",
    ),
    Permission(
        "User.ReadWrite.All",
        _A,
        "Read and write all users' full profiles",
        "Allows the app to read and update user profiles without a signed in user.",
    ),
    Permission(
        "GroupMember.ReadWrite.All",
        _A,
        "Read and write all group memberships",
        "Allows the app to list groups, read basic properties, read and update the "
        "membership of the groups this app has access to without a signed-in user.",
    ),
    Permission(
        "Group.ReadWrite.All",
        _A,
        "Read and write all groups",
        "Allows the app to create groups, read and update group properties and "
        "memberships, and delete groups, without a signed-in user.",
    ),
    Permission(
        "Organization.Read.All",
        _A,
        "Read organization information",
        "Allows the app to read the organization and related resources, without a "
        "signed-in user.",
    ),
    Permission(
        "Directory.Read.All",
        _A,
        "Read directory data",
        "Allows the app to read data in your organization's directory, such as "
        "users, groups and apps, without a signed-in user.",
    ),
    Permission(
        "Directory.ReadWrite.All",
        _A,
        "Read and write directory data",
        "Allows the app to read and write data in your organization's directory, "
        "such as users, and groups, without a signed-in user.",
    ),
)

OIDC_SCOPES = {
    "openid": "Sign users in",
    "profile": "View users' basic profile",
    "email": "View users' email address",
    "offline_access": "Maintain access to data you have given it access to",
}


def permission(value: str, kind: PermissionKind) -> Permission | None:
    for candidate in PERMISSIONS:
        if candidate.kind is kind and candidate.value.lower() == value.lower():
            return candidate
    return None


@dataclass(slots=True)
class Secret:
    key_id: str
    value: str
    display_name: str
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """Trust in the tokens of a foreign issuer: no secret of the application's own.

    ``jwks`` are the issuer's public keys; nothing is fetched from it.
    https://learn.microsoft.com/entra/workload-id/workload-identity-federation
    """

    key_id: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    jwks: dict[str, Any]


class Audience(StrEnum):
    """Whose accounts may sign in: the registration's signInAudience."""

    MY_ORGANIZATION = "AzureADMyOrg"
    ORGANIZATIONS = "AzureADMultipleOrgs"
    WITH_PERSONAL = "AzureADandPersonalMicrosoftAccount"


class GroupClaims(StrEnum):
    """Which groups a token names: the registration's groupMembershipClaims."""

    NONE = "None"
    SECURITY = "SecurityGroup"
    DIRECTORY_ROLES = "DirectoryRole"
    ASSIGNED = "ApplicationGroup"
    ALL = "All"


@dataclass(slots=True)
class Application:
    """A registration. One list of redirect URIs serves every tenant.

    ``home_tenant`` matters where the audience is that tenant alone.
    """

    client_id: str
    display_name: str
    publisher: str
    delegated: tuple[str, ...]
    application: tuple[str, ...]
    redirect_uris: list[str] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)
    federated: list[FederatedCredential] = field(default_factory=list)
    enabled: bool = True
    audience: Audience = Audience.ORGANIZATIONS
    home_tenant: str = ""
    group_claims: GroupClaims = GroupClaims.NONE
    optional_claims: tuple[str, ...] = ()

    def allows_redirect(self, uri: str) -> bool:
        """Match exactly; on http://localhost the port does not count.

        https://learn.microsoft.com/entra/identity-platform/reply-url
        """
        return any(_same_redirect(known, uri) for known in self.redirect_uris)


def _same_redirect(known: str, uri: str) -> bool:
    if known == uri:
        return True
    one, other = urlsplit(known), urlsplit(uri)
    if one.scheme != "http" or other.scheme != "http":
        return False
    if one.hostname != "localhost" or other.hostname != "localhost":
        return False
    if "@" in other.netloc:
        return False
    return (one.path, one.query, one.fragment) == (
        other.path,
        other.query,
        other.fragment,
    )


@dataclass(slots=True)
class ServicePrincipal:
    """The enterprise application in one tenant, and what was granted to it there.

    ``assigned`` are the users and groups it is assigned to.
    """

    object_id: str
    client_id: str
    enabled: bool = True
    roles: set[str] = field(default_factory=set)
    scopes: set[str] = field(default_factory=set)
    user_scopes: dict[str, set[str]] = field(default_factory=dict)
    tokens_not_before: float = 0.0
    assignment_required: bool = False
    assigned: set[str] = field(default_factory=set)

    def scopes_for(self, user_id: str) -> set[str]:
        return self.scopes | self.user_scopes.get(user_id, set())


def service_principal_id(tenant_id: str, client_id: str) -> str:
    return str(uuid.uuid5(uuid.UUID(tenant_id), client_id))
