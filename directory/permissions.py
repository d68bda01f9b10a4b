"""The Graph permissions the console asks for: exactly these three, and why.

https://learn.microsoft.com/graph/permissions-reference
"""

from collections.abc import Sequence
from dataclasses import dataclass

GRAPH_RESOURCE_ID = "00000003-0000-0000-c000-000000000000"


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission of Microsoft Graph.

    `heading` is what Jamf Pro calls the set it belongs to, `id` what a manifest names.
    """

    name: str
    kind: str
    heading: str
    id: str
    features: Sequence[str]


SIGN_IN, READ = "Sign in and read user profile", "Read directory data"

PERMISSIONS = (
    Permission(
        "User.Read",
        "Delegated",
        SIGN_IN,
        "e1fe6dd8-ba31-4d61-89e7-88639da4683d",
        (
            "Proves who gives consent, and from which tenant",
            "Signing in to the console with Entra ID",
        ),
    ),
    Permission(
        "User.Read.All",
        "Application",
        READ,
        "df021288-bdef-4463-88db-98f22de89214",
        (
            "Looking up users for inventory: name, email, department, phone, position",
            "Reading the tenant's name and verified domains",
        ),
    ),
    Permission(
        "GroupMember.Read.All",
        "Application",
        READ,
        "98830695-27a2-44f7-8c18-0c3ebc9698f6",
        (
            "Looking up groups and their members, for scopes and smart groups",
            "Mapping groups to privileges in the console",
        ),
    ),
)
