"""OpenID Connect discovery, published keys, instance discovery.

Discovery names the pages for people on plain http on loopback, so that no browser
meets the local certificate; everything machines call stays on TLS.
"""

from collections.abc import Callable
from typing import Any

from directory.sandbox.aadsts import aadsts
from directory.sandbox.clouds import OTHER_CLOUDS, OtherCloud
from directory.sandbox.company import CONSUMERS
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
    if tenant is None or sandbox.policies[tenant.id].gone:
        raise aadsts(90002, error=error, tenant=name)
    return tenant.id


def _issuer_tenant(where: str) -> str:
    if where == "consumers":
        return CONSUMERS.tenant_id
    return "{tenantid}" if where in ALIASES else where


def refuse_other_cloud(sandbox: Sandbox, where: str) -> None:
    """Send away who asks for tokens of a tenant that is in another cloud.

    Raises: LoginError 900382.
    """
    policy = sandbox.policies.get(where)
    if policy is not None and policy.cloud:
        raise aadsts(900382)


def configuration(sandbox: Sandbox, name: str) -> dict[str, Any]:
    where = authority(sandbox, name)
    is_alias = where in ALIASES
    policy = sandbox.policies.get(where)
    if policy is not None and policy.cloud:
        return _elsewhere(OTHER_CLOUDS[policy.cloud], where)
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
        "issuer": issuer(sandbox, _issuer_tenant(where)),
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
        "tenant_region_sub_scope": None,
        "cloud_instance_name": host,
        "cloud_graph_host_name": host,
        "msgraph_host": host,
    }


def _elsewhere(cloud: OtherCloud, tenant_id: str) -> dict[str, Any]:
    """Describe a tenant of another cloud: its addresses are all there."""
    base = f"https://{cloud.login_host}/{tenant_id}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "response_types_supported": ["code"],
        "tenant_region_scope": cloud.region_scope,
        "tenant_region_sub_scope": cloud.region_sub_scope,
        "cloud_instance_name": cloud.instance_name,
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": cloud.graph_host,
    }


def configuration_v1(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """Return the document of version 1.0: another issuer, other endpoints."""
    where = authority(sandbox, name)
    tenant = _issuer_tenant(where)
    base = f"{sandbox.url}/{where}"
    return configuration(sandbox, name) | {
        "issuer": f"https://sts.windows.net/{tenant}/",
        "token_endpoint": f"{base}/oauth2/token",
        "jwks_uri": f"{sandbox.url}/common/discovery/keys",
        "authorization_endpoint": f"{sandbox.pages_url}/{where}/oauth2/authorize",
        "end_session_endpoint": f"{sandbox.pages_url}/{where}/oauth2/logout",
    }


def keys(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """Publish the keys, each with the issuer whose tokens it may sign.

    Where accounts of several kinds sign in, keys of several issuers stand together.
    """
    where = authority(sandbox, name)
    ring = sandbox.keys
    personal_key = ring.personal().jwk(issuer(sandbox, CONSUMERS.tenant_id))
    if where in ("consumers", CONSUMERS.tenant_id):
        return {"keys": [personal_key]}
    ours = issuer(sandbox, _issuer_tenant(where))
    found = [known.key.jwk(known.issuer or ours) for known in ring.published()]
    return {"keys": [*found, *([personal_key] if where == "common" else [])]}


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
