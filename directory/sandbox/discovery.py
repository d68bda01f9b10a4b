"""OpenID Connect discovery, published keys, instance discovery.

Discovery names the pages for people on plain http on loopback, so that no browser
meets the local certificate; everything machines call stays on TLS.
"""

from collections.abc import Callable
from typing import Any

from directory.sandbox.aadsts import aadsts
from directory.sandbox.store import ALIASES, Sandbox
from directory.sandbox.tokens import GRAPH_RESOURCE

Document = Callable[["Sandbox", str], dict[str, Any]]


def issuer(sandbox: Sandbox, tenant_id: str) -> str:
    return f"{sandbox.url}/{tenant_id}/v2.0"


def authority(sandbox: Sandbox, name: str, *, error: str = "invalid_tenant") -> str:
    """Return the tenant's GUID or the alias for a name in a path.

    Raises: LoginError 90002.
    """
    if name.lower() in ALIASES:
        return name.lower()
    tenant = sandbox.tenant_named(name)
    if tenant is None:
        raise aadsts(90002, error=error, tenant=name)
    return tenant.id


def configuration(sandbox: Sandbox, name: str) -> dict[str, Any]:
    where = authority(sandbox, name)
    is_alias = where in ALIASES
    base, pages = f"{sandbox.url}/{where}", f"{sandbox.pages_url}/{where}"
    host = sandbox.url.removeprefix("https://")
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        # With braces, literally, for aliases: the client puts in the token's tid.
        "issuer": issuer(sandbox, "{tenantid}" if is_alias else where),
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": f"{GRAPH_RESOURCE}/oidc/userinfo",
        "authorization_endpoint": f"{pages}/oauth2/v2.0/authorize",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{pages}/oauth2/v2.0/logout",
        "claims_supported": [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "preferred_username",
            "name",
            "tid",
            "ver",
            "email",
        ],
        "code_challenge_methods_supported": ["S256"],
        "tenant_region_scope": None if is_alias else "EU",
        "cloud_instance_name": host,
        "cloud_graph_host_name": host,
        "msgraph_host": host,
    }


def keys(sandbox: Sandbox, name: str) -> dict[str, Any]:
    where = authority(sandbox, name)
    for_issuer = issuer(sandbox, "{tenantid}" if where in ALIASES else where)
    return {"keys": [key.jwk(for_issuer) for key in sandbox.keys.keys]}


def instance(sandbox: Sandbox) -> dict[str, Any]:
    host = sandbox.url.removeprefix("https://")
    return {
        "tenant_discovery_endpoint": (
            f"{sandbox.url}/organizations/v2.0/.well-known/openid-configuration"
        ),
        "api-version": "1.1",
        "metadata": [
            {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
        ],
    }
