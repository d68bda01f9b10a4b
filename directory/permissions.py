"""The Graph permissions the console asks for: exactly these three, and what for.

https://learn.microsoft.com/graph/permissions-reference
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

GRAPH_RESOURCE_ID = "00000003-0000-0000-c000-000000000000"


class Feature(StrEnum):
    """What of the console speaks with Microsoft; its use is counted by these."""

    CONSENT = "consent"
    SIGN_IN = "sign-in"
    SYNC = "sync"
    LOOK_UP = "look-up"
    MAPPINGS = "mappings"
    CHECK = "check"


FEATURE_NAMES = {
    Feature.CONSENT: "Connecting the tenant",
    Feature.SIGN_IN: "Signing in with Entra ID",
    Feature.SYNC: "Reading the directory",
    Feature.LOOK_UP: "Looking up one at a time",
    Feature.MAPPINGS: "Previewing other mappings",
    Feature.CHECK: "Checking the connection",
}


@dataclass(frozen=True, slots=True)
class Need:
    """That a feature needs a permission, and what for."""

    feature: Feature
    what: str


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission of Microsoft Graph.

    `heading` is what Jamf Pro calls the set it belongs to, `id` what a manifest names.
    """

    name: str
    kind: str
    heading: str
    id: str
    needs: Sequence[Need]

    @property
    def features(self) -> Sequence[str]:
        """What it is for, as the wizard and the request for consent say it."""
        return [need.what for need in self.needs]


SIGN_IN, READ = "Sign in and read user profile", "Read directory data"
DELEGATED, APPLICATION = "Delegated", "Application"

PERMISSIONS = (
    Permission(
        "User.Read",
        DELEGATED,
        SIGN_IN,
        "e1fe6dd8-ba31-4d61-89e7-88639da4683d",
        (
            Need(Feature.CONSENT, "Proves who gives consent, and from which tenant"),
            Need(Feature.SIGN_IN, "Signing in to the console with Entra ID"),
        ),
    ),
    Permission(
        "User.Read.All",
        APPLICATION,
        READ,
        "df021288-bdef-4463-88db-98f22de89214",
        (
            Need(
                Feature.SYNC,
                "Looking up users for inventory: name, email, department, phone, "
                "position",
            ),
            Need(Feature.SIGN_IN, "Seeing at a sign-in that the account is enabled"),
            Need(Feature.LOOK_UP, "Finding one user on the Test tab"),
            Need(Feature.MAPPINGS, "Showing whom other mappings change, and how"),
            Need(Feature.CONSENT, "Reading the tenant's name and verified domains"),
            Need(Feature.CHECK, "Trying the connection and this permission"),
        ),
    ),
    Permission(
        "GroupMember.Read.All",
        APPLICATION,
        READ,
        "98830695-27a2-44f7-8c18-0c3ebc9698f6",
        (
            Need(
                Feature.SYNC,
                "Looking up groups and their members, for scopes and smart groups",
            ),
            Need(Feature.SIGN_IN, "Mapping groups to privileges in the console"),
            Need(Feature.LOOK_UP, "Finding one group or membership on the Test tab"),
            Need(Feature.MAPPINGS, "Showing which group names other mappings change"),
            Need(Feature.CONSENT, "Trying this permission before anything is saved"),
            Need(Feature.CHECK, "Trying this permission"),
        ),
    ),
)
NEEDED_ROLES = frozenset(each.name for each in PERMISSIONS if each.kind == APPLICATION)


@dataclass(frozen=True, slots=True)
class Use:
    """What a feature needs a permission for, and how often it used it of late."""

    feature: str
    what: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one permission that is needed."""

    permission: Permission
    # good, attention, bad or unknown.
    state: str
    word: str
    evidence: str
    at: datetime | None
    reference: str = ""
    uses: Sequence[Use] = ()

    @property
    def missing(self) -> bool:
        return self.state == "bad"


def seen_through(
    *,
    probes: Mapping[str, Mapping[str, Any]],
    roles: Collection[str] | None,
    counts: Mapping[tuple[str, str], int],
) -> Sequence[Seen]:
    """Return each needed permission with what was granted, tried and used of it.

    What was tried decides; `roles` are what Entra wrote into the last token, and None
    where it could not be read. A read that works without its permission works by a
    wider one.
    """
    return [_seen(each, probes.get(each.name), roles, counts) for each in PERMISSIONS]


def _seen(
    permission: Permission,
    probe: Mapping[str, Any] | None,
    roles: Collection[str] | None,
    counts: Mapping[tuple[str, str], int],
) -> Seen:
    uses = [
        Use(
            FEATURE_NAMES[need.feature],
            need.what,
            counts.get((permission.name, need.feature.value), 0),
        )
        for need in permission.needs
    ]
    if probe is None:
        state, word = "unknown", "Not tried"
    elif not probe["granted"]:
        state, word = "bad", "Missing"
    elif (
        permission.kind == APPLICATION
        and roles is not None
        and permission.name not in roles
    ):
        state, word = "attention", "Covered by a wider one"
    else:
        state, word = "good", "Granted"
    return Seen(
        permission=permission,
        state=state,
        word=word,
        evidence=probe["what"] if probe else "",
        at=datetime.fromisoformat(probe["at"]) if probe else None,
        reference=probe.get("reference", "") if probe else "",
        uses=uses,
    )


def not_needed(roles: Collection[str] | None) -> Sequence[str]:
    """Return the permissions that Entra grants and the console never uses."""
    return sorted(set(roles or ()) - NEEDED_ROLES)
