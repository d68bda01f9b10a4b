"""ID tokens: who signed in, in v2.0 claims.

https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
https://learn.microsoft.com/entra/identity-platform/optional-claims-reference
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from directory.sandbox import discovery
from directory.sandbox.applications import Application, GroupClaims, ServicePrincipal
from directory.sandbox.company import CONSUMERS, ROLE_TEMPLATES
from directory.sandbox.directory_object import DirectoryObject
from directory.sandbox.store import Grant, Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import b64url, pairwise_subject, unique_token_id

# Every person has this role template in `wids`.
_MEMBER = "b79fbf4d-3ef9-4689-8143-76b194e85509"
_LIFETIME = 3600


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a token is about, and for whom it is made."""

    sandbox: Sandbox
    tenant: Tenant
    user: DirectoryObject
    application: Application
    principal: ServicePrincipal
    grant: Grant

    @property
    def is_guest(self) -> bool:
        return self.user.properties.get("userType") == "Guest"


def id_token(subject: Subject, scopes: tuple[str, ...], access: str) -> str:
    """Mint an ID token, or the forged one that a test ordered."""
    sandbox = subject.sandbox
    claims = _claims(subject, scopes)
    if sandbox.forged:
        order = sandbox.forged.pop(0)
        return order.token(claims, _of_version_1(subject), sandbox.keys, access)
    if subject.tenant.id == CONSUMERS.tenant_id:
        return sandbox.keys.personal().sign(claims)
    return sandbox.keys.signing.sign(claims)


def _claims(subject: Subject, scopes: tuple[str, ...]) -> dict[str, Any]:
    sandbox, grant = subject.sandbox, subject.grant
    tenant, properties = subject.tenant, subject.user.properties
    now = int(sandbox.clock.now())
    claims: dict[str, Any] = {
        "aud": subject.application.client_id,
        "iss": discovery.issuer(sandbox, tenant.id),
        "iat": now,
        "nbf": now,
        "exp": now + _LIFETIME,
        "rh": f"1.A{b64url(hashlib.sha256(tenant.id.encode()).digest())[:40]}.",
        "sid": grant.session_id,
        "sub": pairwise_subject(subject.application.client_id, subject.user.id),
        "tid": tenant.id,
        "uti": unique_token_id(),
        "ver": "2.0",
    }
    if grant.nonce:
        claims["nonce"] = grant.nonce
    if "profile" in scopes:
        claims["oid"] = subject.user.id
        claims["name"] = properties.get("displayName")
        claims["preferred_username"] = (
            properties.get("mail") if subject.is_guest else None
        ) or properties["userPrincipalName"]
    if "email" in scopes and properties.get("mail"):
        claims["email"] = properties["mail"]
    if subject.is_guest:
        claims["idp"] = home_issuer(sandbox, properties.get("mail") or "")
    claims |= _groups(subject)
    for name in subject.application.optional_claims:
        value = OPTIONAL[name](subject)
        if value is not None:
            claims[name] = value
    return claims


def _of_version_1(subject: Subject) -> dict[str, Any]:
    name = subject.user.properties["userPrincipalName"]
    return {
        "iss": f"https://sts.windows.net/{subject.tenant.id}/",
        "ver": "1.0",
        "unique_name": name,
        "upn": name,
    }


def home_issuer(sandbox: Sandbox, mail: str) -> str:
    """Return who vouches for a guest: the home tenant, or `live.com`."""
    domain = mail.rpartition("@")[2].lower()
    if domain == CONSUMERS.domain:
        return "live.com"
    home = sandbox.tenant_named(domain)
    tenant_id = home.id if home else str(uuid.uuid5(uuid.NAMESPACE_DNS, domain))
    return f"https://sts.windows.net/{tenant_id}/"


def _groups(subject: Subject) -> dict[str, Any]:
    """Name the groups, or where to ask for them when there are too many for a token.

    https://learn.microsoft.com/security/zero-trust/develop/configure-tokens-group-claims-app-roles
    """
    kind = subject.application.group_claims
    if kind is GroupClaims.NONE:
        return {}
    claims: dict[str, Any] = {}
    if kind in (GroupClaims.ALL, GroupClaims.DIRECTORY_ROLES):
        role = subject.tenant.role_of(subject.user.id)
        claims["wids"] = [_MEMBER, *([ROLE_TEMPLATES[role]] if role else [])]
    if kind is GroupClaims.DIRECTORY_ROLES:
        return claims
    tenant = subject.tenant
    held = list(tenant.listed(tenant.groups_of(subject.user.number)))
    if kind is GroupClaims.SECURITY:
        held = [group for group in held if group.properties.get("securityEnabled")]
    elif kind is GroupClaims.ASSIGNED:
        held = [group for group in held if group.id in subject.principal.assigned]
    if len(held) <= subject.sandbox.behavior.group_claim_limit:
        return claims | {"groups": sorted(group.id for group in held)}
    # The address is one of the old Graph, as Microsoft still sends it.
    where = (
        f"https://graph.windows.net/{subject.tenant.id}/users/{subject.user.id}"
        "/getMemberObjects"
    )
    return claims | {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": where}},
    }


def _property(name: str) -> Callable[[Subject], Any]:
    return lambda subject: subject.user.properties.get(name)


def _upn(subject: Subject) -> str | None:
    # For guests it takes a property of the claim that the sandbox does not have.
    name = str(subject.user.properties["userPrincipalName"])
    return None if subject.is_guest else name


def _is_domain_verified(subject: Subject) -> bool:
    mail = str(subject.user.properties.get("mail") or "")
    return mail.rpartition("@")[2].lower() in subject.tenant.domains


OPTIONAL: dict[str, Callable[[Subject], Any]] = {
    "acct": lambda subject: 1 if subject.is_guest else 0,
    "auth_time": lambda subject: int(subject.grant.authenticated_at),
    "ctry": _property("usageLocation"),
    "email": _property("mail"),
    "family_name": _property("surname"),
    "given_name": _property("givenName"),
    "ipaddr": lambda _subject: "127.0.0.1",
    "login_hint": lambda subject: b64url(
        f"O.{subject.grant.session_id}.{subject.user.id}".encode()
    ),
    "tenant_ctry": lambda _subject: "GB",
    "tenant_region_scope": lambda _subject: "EU",
    "upn": _upn,
    "verified_primary_email": lambda subject: [
        mail for mail in (subject.user.properties.get("mail"),) if mail
    ],
    "xms_edov": _is_domain_verified,
    "xms_pl": _property("preferredLanguage"),
    "xms_tpl": lambda _subject: "en",
}
