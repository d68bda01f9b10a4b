"""The token endpoint: authorization_code, client_credentials, refresh_token.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any
from urllib.parse import unquote

from directory.sandbox import discovery
from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import Application
from directory.sandbox.assertions import verify_assertion
from directory.sandbox.minting import (
    Form,
    access_token,
    graph_resources,
    tokens_for_user,
)
from directory.sandbox.registrations import find_application
from directory.sandbox.store import ALIASES, Grant, Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import b64url

CODE_LIFETIME = 600


_REFRESH_LIFETIME = 24 * 3600


_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def answer(
    sandbox: Sandbox, name: str, form: Form, authorization: str
) -> dict[str, Any]:
    """Answer a token request. Raises LoginError."""
    where = discovery.authority(sandbox, name, error="invalid_request")
    discovery.refuse_other_cloud(sandbox, where)
    form = _with_basic(form, authorization)
    grant_type = form.get("grant_type")
    if not grant_type:
        raise aadsts(900144, parameter="grant_type")
    client_id = form.get("client_id")
    if not client_id:
        raise aadsts(900144, parameter="client_id")
    application = find_application(sandbox, client_id, where)
    tenant = sandbox.tenants.get(where)
    _authenticate(sandbox, application, form, name)
    match grant_type:
        case "client_credentials":
            return _client_credentials(sandbox, application, tenant, form)
        case "authorization_code":
            return _authorization_code(sandbox, application, where, form)
        case "refresh_token":
            return _refresh(sandbox, application, where, form)
        case _:
            raise aadsts(70003, grant_type=grant_type)


def _with_basic(form: Form, authorization: str) -> Form:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return form
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return form
    return {
        **form,
        "client_id": unquote(user),
        "client_secret": unquote(password),
    }


def _authenticate(
    sandbox: Sandbox, application: Application, form: Form, name: str
) -> None:
    now = sandbox.clock.now()
    if "client_assertion" in form:
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise aadsts(900144, parameter="client_assertion_type")
        base = f"{sandbox.url}/{name}"
        where = discovery.authority(sandbox, name)
        verify_assertion(
            form["client_assertion"],
            application=application,
            audiences={
                f"{base}/oauth2/v2.0/token",
                f"{base}/v2.0",
                f"{sandbox.url}/{where}/oauth2/v2.0/token",
            },
            now=now,
        )
        return
    given = form.get("client_secret", "")
    if not given:
        raise aadsts(7000218)
    matching = [
        secret
        for secret in application.secrets
        if hmac.compare_digest(secret.value.encode(), given.encode())
    ]
    if not matching:
        raise aadsts(7000215, app=application.client_id)
    if all(secret.expires_at and secret.expires_at <= now for secret in matching):
        raise aadsts(7000222, app=application.client_id)


def _client_credentials(
    sandbox: Sandbox, application: Application, tenant: Tenant | None, form: Form
) -> dict[str, Any]:
    if tenant is None:
        raise aadsts(50059)
    scope = form.get("scope", "")
    if not scope.endswith("/.default") or " " in scope:
        raise aadsts(70011, scope=scope)
    resource = scope.removesuffix("/.default").rstrip("/")
    if resource not in graph_resources(sandbox):
        raise aadsts(500011, resource=resource, tenant=tenant.display_name)
    principal = sandbox.principal(tenant.id, application.client_id)
    if principal is None:
        number = int(sandbox.behavior.missing_principal)
        where = tenant.id if number == 7000229 else tenant.display_name
        raise aadsts(number, app=application.client_id, tenant=where)
    if not principal.enabled:
        raise aadsts(
            7000112, app=application.client_id, app_name=application.display_name
        )
    refusal = sandbox.policies[tenant.id].refusal(application.client_id)
    if refusal is not None:
        raise refusal
    claims: dict[str, Any] = {
        "idtyp": "app",
        "oid": principal.object_id,
        "sub": principal.object_id,
    }
    if principal.roles:
        claims["roles"] = sorted(principal.roles)
    token, lifetime = access_token(sandbox, tenant, application, form, claims)
    return {
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": token,
    }


def _authorization_code(
    sandbox: Sandbox, application: Application, where: str, form: Form
) -> dict[str, Any]:
    code = form.get("code")
    if not code:
        raise aadsts(900144, parameter="code")
    grant = sandbox.codes.get(code)
    if grant is None:
        raise aadsts(9002313)
    if grant.client_id != application.client_id:
        raise aadsts(70000)
    if grant.authority != where:
        raise aadsts(700005)
    if grant.redeemed:
        raise aadsts(54005)
    if sandbox.clock.now() > grant.issued_at + CODE_LIFETIME:
        raise aadsts(70008)
    if form.get("redirect_uri") != grant.redirect_uri:
        raise aadsts(
            500112, given=form.get("redirect_uri", ""), expected=grant.redirect_uri
        )
    _check_verifier(grant, form.get("code_verifier", ""))
    grant.redeemed = True
    return tokens_for_user(sandbox, application, grant, form, grant.scopes)


def _check_verifier(grant: Grant, verifier: str) -> None:
    # A verifier for a code that was asked for without a challenge is refused too:
    # otherwise PKCE could be stripped from the first leg unnoticed.
    digest = b64url(hashlib.sha256(verifier.encode()).digest()) if verifier else ""
    if not hmac.compare_digest(digest, grant.challenge):
        raise aadsts(501481)


def _refresh(
    sandbox: Sandbox, application: Application, where: str, form: Form
) -> dict[str, Any]:
    token = form.get("refresh_token")
    if not token:
        raise aadsts(900144, parameter="refresh_token")
    grant = sandbox.refresh_tokens.get(token)
    if grant is None or grant.client_id != application.client_id:
        raise aadsts(9002313)
    if where not in (grant.tenant_id, *ALIASES):
        raise aadsts(700005)
    if sandbox.clock.now() > grant.issued_at + _REFRESH_LIFETIME:
        raise aadsts(700082)
    asked = tuple(form.get("scope", "").split()) or grant.scopes
    scopes = tuple(scope for scope in asked if scope in grant.scopes) or grant.scopes
    return tokens_for_user(sandbox, application, grant, form, scopes)
