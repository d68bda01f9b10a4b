"""The tokens a successful request is answered with."""

import json
from collections.abc import Mapping
from typing import Any

from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import OIDC_SCOPES, Application, ServicePrincipal
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import LoginError
from directory.sandbox.id_tokens import Subject, id_token
from directory.sandbox.store import Grant, Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import (
    GRAPH_APP_ID,
    GRAPH_RESOURCE,
    b64url,
    opaque,
    pairwise_subject,
    unique_token_id,
)

Form = Mapping[str, str]


def graph_resources(sandbox: Sandbox) -> tuple[str, ...]:
    port = sandbox.url.rpartition(":")[2]
    return (
        GRAPH_RESOURCE,
        sandbox.url,
        f"https://localhost:{port}",
        GRAPH_APP_ID,
    )


def access_token(
    sandbox: Sandbox,
    tenant: Tenant,
    application: Application,
    form: Form,
    more: dict[str, Any],
) -> tuple[str, int]:
    """Return an access token for Graph and its seconds of life.

    A client that says it can handle claims challenges (CP1) gets a token that lives
    a day, since Graph can end it at any moment.
    https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation
    """
    behavior, now = sandbox.behavior, int(sandbox.clock.now())
    capabilities = _capabilities(form.get("claims", ""))
    lifetime = behavior.token_lifetime
    if "CP1" in capabilities:
        lifetime = behavior.cae_token_lifetime
    claims = {
        "aud": GRAPH_RESOURCE,
        "iss": v1_issuer(tenant.id),
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "app_displayname": application.display_name,
        "appid": application.client_id,
        "tid": tenant.id,
        "uti": unique_token_id(),
        "ver": "1.0",
        # Finer than iat, so that consent taken and given in one second differ.
        "issued_at": sandbox.clock.now(),
        **more,
    }
    if capabilities:
        claims["xms_cc"] = capabilities
    return sandbox.keys.sign(claims), lifetime


def v1_issuer(tenant_id: str) -> str:
    """Return the issuer of v1.0 tokens, which Graph's access tokens are."""
    return f"https://sts.windows.net/{tenant_id}/"


def _capabilities(text: str) -> list[str]:
    """Return what the `claims` parameter declares in xms_cc. Raises LoginError."""
    if not text:
        return []
    try:
        wanted = json.loads(text).get("access_token", {}).get("xms_cc", {})
        return [str(value) for value in wanted.get("values", ())]
    except (ValueError, AttributeError, TypeError):
        raise aadsts(9002313, detail=" 'claims' is no JSON.") from None


def tokens_for_user(
    sandbox: Sandbox,
    application: Application,
    grant: Grant,
    form: Form,
    scopes: tuple[str, ...],
) -> dict[str, Any]:
    tenant = sandbox.tenant(grant.tenant_id)
    user = tenant.find(grant.user_id, Kind.USER)
    if user is None:
        raise aadsts(50034, tenant=tenant.display_name)
    if not user.properties.get("accountEnabled"):
        raise aadsts(50057)
    principal = sandbox.principal(tenant.id, application.client_id)
    if principal is None or not principal.enabled:
        raise aadsts(
            65001, app=application.client_id, app_name=application.display_name
        )
    if not is_assigned(tenant, principal, user):
        raise not_assigned(application, user)
    refusal = sandbox.policies[tenant.id].refusal(
        application.client_id, user_id=user.id, multifactor=grant.multifactor
    )
    if refusal is not None:
        raise refusal
    consented = principal.scopes_for(user.id)
    asked = {short for short in map(short_scope, scopes) if short != ".default"}
    if asked - consented - OIDC_SCOPES.keys():
        raise aadsts(
            65001, app=application.client_id, app_name=application.display_name
        )
    granted = sorted(asked | (consented if _asks_default(scopes) else set()))
    access, lifetime = access_token(
        sandbox,
        tenant,
        application,
        form,
        {
            "idtyp": "user",
            "oid": user.id,
            "sub": pairwise_subject(GRAPH_APP_ID, user.id),
            "scp": " ".join(granted),
        },
    )
    body: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": " ".join(
            scope if scope in OIDC_SCOPES else f"{GRAPH_RESOURCE}/{scope}"
            for scope in granted
        ),
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": access,
    }
    if "offline_access" in scopes:
        body["refresh_token"] = opaque()
        sandbox.refresh_tokens[body["refresh_token"]] = grant
    if "openid" in scopes:
        subject = Subject(sandbox, tenant, user, application, principal, grant)
        body["id_token"] = id_token(subject, scopes, access)
    if form.get("client_info") == "1":
        info = {"uid": user.id, "utid": tenant.id}
        body["client_info"] = b64url(json.dumps(info).encode())
    return body


def short_scope(scope: str) -> str:
    return scope.rpartition("/")[2] if "://" in scope else scope


def _asks_default(scopes: tuple[str, ...]) -> bool:
    return any(scope.endswith("/.default") for scope in scopes)


def is_assigned(
    tenant: Tenant, principal: ServicePrincipal, user: DirectoryObject
) -> bool:
    """Say whether a person may use an application that asks for assignment.

    Members of an assigned group may, members of groups inside it may not.
    https://learn.microsoft.com/entra/identity-platform/howto-restrict-your-app-to-a-set-of-users
    """
    if not principal.assignment_required:
        return True
    holding = (tenant.id_of(group) for group in tenant.groups_holding(user.number))
    return bool(principal.assigned & {user.id, *holding})


def not_assigned(application: Application, user: DirectoryObject) -> LoginError:
    return aadsts(
        50105,
        app=application.client_id,
        app_name=application.display_name,
        user=user.properties["userPrincipalName"],
    )
