"""Who calls Graph: what an access token proves, and when it proves nothing any more."""

import base64
import json
from dataclasses import dataclass

import jwt

from directory.sandbox.directory_object import Kind
from directory.sandbox.errors import GraphError
from directory.sandbox.minting import graph_resources
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import GRAPH_APP_ID

_SKEW = 300


@dataclass(frozen=True, slots=True)
class Caller:
    """An application in a tenant; ``user_id`` is empty unless it acts for a person."""

    tenant: Tenant
    client_id: str
    permissions: frozenset[str]
    user_id: str = ""

    @property
    def is_delegated(self) -> bool:
        return bool(self.user_id)


def identify(sandbox: Sandbox, authorization: str) -> Caller:
    """Return who calls. Raises GraphError 401, also as a claims challenge."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("Access token is empty.")
    try:
        claims = sandbox.keys.read(token)
    except jwt.InvalidTokenError:
        raise unauthorized("IDX14100: JWT is not well formed.") from None
    now = sandbox.clock.now()
    if not claims["nbf"] - _SKEW <= now < claims["exp"]:
        raise unauthorized("Lifetime validation failed, the token is expired.")
    if claims["aud"] not in graph_resources(sandbox):
        raise unauthorized("Access token validation failure. Invalid audience.")
    tenant = sandbox.tenant(claims["tid"])
    if sandbox.policies[tenant.id].gone:
        raise unauthorized("The tenant of this token does not exist.")
    principal = sandbox.principal(tenant.id, claims["appid"])
    if principal is None:
        raise unknown_application()
    if claims["issued_at"] < principal.tokens_not_before:
        if "CP1" in claims.get("xms_cc", ()):
            raise challenged(principal.tokens_not_before)
        raise unauthorized("Access token has been revoked.")
    if claims["idtyp"] == "app":
        return Caller(tenant, claims["appid"], frozenset(claims.get("roles", ())))
    if tenant.find(claims["oid"], Kind.USER) is None:
        raise unauthorized("The user or administrator of this token is gone.")
    scopes = frozenset(claims["scp"].split())
    return Caller(tenant, claims["appid"], scopes, claims["oid"])


def unauthorized(message: str, challenge: str = "") -> GraphError:
    return GraphError(
        401,
        "InvalidAuthenticationToken",
        message,
        headers={
            "WWW-Authenticate": 'Bearer realm="", authorization_uri='
            '"https://login.microsoftonline.com/common/oauth2/authorize", '
            f'client_id="{GRAPH_APP_ID}"{challenge}'
        },
    )


def challenged(not_before: float) -> GraphError:
    """Ask for a token that was issued later, as continuous access evaluation does.

    https://learn.microsoft.com/entra/identity-platform/claims-challenge
    """
    claims = {
        "access_token": {"nbf": {"essential": True, "value": str(int(not_before))}}
    }
    packed = base64.b64encode(json.dumps(claims).encode()).decode()
    return unauthorized(
        "Continuous access evaluation resulted in challenge with result: "
        "InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp",
        f', error="insufficient_claims", claims="{packed}"',
    )


def unknown_application() -> GraphError:
    return GraphError(
        401,
        "Authorization_IdentityNotFound",
        "The identity of the calling application could not be established.",
    )
