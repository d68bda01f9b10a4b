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
from directory.sandbox.applications import Application
from directory.sandbox.assertions import verify_assertion
from directory.sandbox.errors import (
    LoginError,
    application_not_found,
    missing_parameter,
)
from directory.sandbox.minting import (
    Form,
    access_token,
    graph_resources,
    tokens_for_user,
)
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
    form = _with_basic(form, authorization)
    grant_type = form.get("grant_type")
    if not grant_type:
        raise missing_parameter("grant_type")
    client_id = form.get("client_id")
    if not client_id:
        raise missing_parameter("client_id")
    application = sandbox.applications.get(client_id.lower())
    tenant = sandbox.tenants.get(where)
    if application is None:
        raise application_not_found(client_id, tenant.display_name if tenant else name)
    if not application.enabled:
        raise LoginError(
            7000112,
            "unauthorized_client",
            f"Application '{client_id}'({application.display_name}) is disabled.",
        )
    _authenticate(sandbox, application, form, name)
    match grant_type:
        case "client_credentials":
            return _client_credentials(sandbox, application, tenant, form)
        case "authorization_code":
            return _authorization_code(sandbox, application, where, form)
        case "refresh_token":
            return _refresh(sandbox, application, where, form)
        case _:
            raise LoginError(
                70003,
                "unsupported_grant_type",
                f"The app requested an unsupported grant type '{grant_type}'.",
            )


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
            raise missing_parameter("client_assertion_type")
        base = f"{sandbox.url}/{name}"
        where = discovery.authority(sandbox, name)
        verify_assertion(
            form["client_assertion"],
            client_id=application.client_id,
            certificates=application.certificates,
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
        raise LoginError(
            7000218,
            "invalid_client",
            "The request body must contain the following parameter: "
            "'client_assertion' or 'client_secret'.",
            status=401,
        )
    matching = [
        secret
        for secret in application.secrets
        if hmac.compare_digest(secret.value.encode(), given.encode())
    ]
    if not matching:
        raise LoginError(
            7000215,
            "invalid_client",
            "Invalid client secret provided. Ensure the secret being sent in the "
            "request is the client secret value, not the client secret ID, for a "
            f"secret added to app '{application.client_id}'.",
            status=401,
        )
    if all(secret.expires_at and secret.expires_at <= now for secret in matching):
        raise LoginError(
            7000222,
            "invalid_client",
            f"The provided client secret keys for app '{application.client_id}' are "
            "expired. Visit the Azure portal to create new keys for your app: "
            "https://aka.ms/NewClientSecret, or consider using certificate "
            "credentials for added security: https://aka.ms/certCreds.",
            status=401,
        )


def _client_credentials(
    sandbox: Sandbox, application: Application, tenant: Tenant | None, form: Form
) -> dict[str, Any]:
    if tenant is None:
        raise LoginError(
            50059,
            "invalid_request",
            "No tenant-identifying information found in either the request or implied "
            "by any provided credentials.",
        )
    scope = form.get("scope", "")
    if not scope.endswith("/.default") or " " in scope:
        raise LoginError(
            70011,
            "invalid_scope",
            "The provided request must include a 'scope' input parameter. The "
            "provided value for the input parameter 'scope' is not valid. The scope "
            f"{scope} is not valid.",
        )
    resource = scope.removesuffix("/.default").rstrip("/")
    if resource not in graph_resources(sandbox):
        raise LoginError(
            500011,
            "invalid_resource",
            f"The resource principal named {resource} was not found in the tenant "
            f"named {tenant.display_name}.",
        )
    principal = sandbox.principal(tenant.id, application.client_id)
    if principal is None:
        raise LoginError(
            7000229,
            "invalid_client",
            f"The client application {application.client_id} is missing service "
            f"principal in the tenant {tenant.id}. See instructions here: "
            "https://go.microsoft.com/fwlink/?linkid=2225119",
            status=401,
        )
    if not principal.enabled:
        raise LoginError(
            7000112,
            "unauthorized_client",
            f"Application '{application.client_id}'({application.display_name}) is "
            "disabled.",
        )
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
        raise missing_parameter("code")
    grant = sandbox.codes.get(code)
    if grant is None:
        raise LoginError(
            9002313,
            "invalid_request",
            "Invalid request. Request is malformed or invalid.",
        )
    if grant.client_id != application.client_id:
        raise LoginError(
            70000, "invalid_grant", "Provided grant is invalid or malformed."
        )
    if grant.authority != where:
        raise LoginError(
            700005,
            "invalid_grant",
            "Provided Authorization Code is intended to use against other tenant, "
            "thus rejected.",
        )
    if grant.redeemed:
        raise LoginError(
            54005,
            "invalid_grant",
            "OAuth2 Authorization code was already redeemed, please retry with a new "
            "valid code or use an existing refresh token.",
        )
    if sandbox.clock.now() > grant.issued_at + CODE_LIFETIME:
        raise LoginError(
            70008,
            "invalid_grant",
            "The provided authorization code or refresh token has expired due to "
            "inactivity. Send a new interactive authorization request for this user "
            "and resource.",
        )
    if form.get("redirect_uri") != grant.redirect_uri:
        raise LoginError(
            500112,
            "invalid_client",
            f"The reply address '{form.get('redirect_uri', '')}' does not match the "
            f"reply address '{grant.redirect_uri}' provided when requesting "
            "Authorization code.",
        )
    _check_verifier(grant, form.get("code_verifier", ""))
    grant.redeemed = True
    return tokens_for_user(sandbox, application, grant, form, grant.scopes)


def _check_verifier(grant: Grant, verifier: str) -> None:
    # A verifier for a code that was asked for without a challenge is refused too:
    # otherwise PKCE could be stripped from the first leg unnoticed.
    digest = b64url(hashlib.sha256(verifier.encode()).digest()) if verifier else ""
    if not hmac.compare_digest(digest, grant.challenge):
        raise LoginError(
            501481,
            "invalid_grant",
            "The Code_Verifier does not match the code_challenge supplied in the "
            "authorization request.",
        )


def _refresh(
    sandbox: Sandbox, application: Application, where: str, form: Form
) -> dict[str, Any]:
    token = form.get("refresh_token")
    if not token:
        raise missing_parameter("refresh_token")
    grant = sandbox.refresh_tokens.get(token)
    if grant is None or grant.client_id != application.client_id:
        raise LoginError(
            9002313,
            "invalid_request",
            "Invalid request. Request is malformed or invalid.",
        )
    if where not in (grant.tenant_id, *ALIASES):
        raise LoginError(
            700005,
            "invalid_grant",
            "Provided Authorization Code is intended to use against other tenant, "
            "thus rejected.",
        )
    if sandbox.clock.now() > grant.issued_at + _REFRESH_LIFETIME:
        raise LoginError(
            700082,
            "invalid_grant",
            "The refresh token has expired due to inactivity.",
        )
    asked = tuple(form.get("scope", "").split()) or grant.scopes
    scopes = tuple(scope for scope in asked if scope in grant.scopes) or grant.scopes
    return tokens_for_user(sandbox, application, grant, form, scopes)
