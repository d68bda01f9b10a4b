"""Where Microsoft's sign-in service is, and what a person is sent there with.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import requests

from directory.entra import errors
from directory.entra.aadsts import sign_in_error
from directory.entra.answers import foreign_answer, is_json, json_value
from directory.entra.clouds import Cloud, home_cloud, is_loopback_host, origin
from directory.entra.ids import is_guid
from directory.entra.transport import EntraSession, request_id

SIGN_IN_SCOPES = ("openid", "profile")

_TENANT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")

Prompt = Literal["login", "none", "consent", "select_account"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInSecrets:
    """The three values of one sign-in that stay with the console.

    Microsoft sees `state`, `nonce_hash` and `code_challenge` only.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)

    @property
    def nonce_hash(self) -> str:
        return nonce_hash(self.nonce)

    @property
    def code_challenge(self) -> str:
        """The S256 challenge: https://www.rfc-editor.org/rfc/rfc7636#section-4.2"""
        digest = hashlib.sha256(self.code_verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def new_sign_in_secrets() -> SignInSecrets:
    return SignInSecrets(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        code_verifier=secrets.token_urlsafe(64),
    )


def nonce_hash(nonce: str) -> str:
    """Return what is sent as `nonce`, and what the ID token must repeat.

    It is the form MSAL uses, so that MSAL and this module check the same value.
    """
    return hashlib.sha256(nonce.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """A validated OpenID configuration."""

    cloud: Cloud
    tenant: str
    """The path segment of the endpoints: a GUID, or `organizations`."""
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str

    @property
    def admin_consent_endpoint(self) -> str:
        base = self.authorization_endpoint.removesuffix("/oauth2/v2.0/authorize")
        return f"{base}/v2.0/adminconsent"


def discover(cloud: Cloud, tenant: str, session: EntraSession) -> Discovery:
    """Fetch and check the OpenID configuration of a tenant.

    `tenant` is a tenant ID, a verified domain or `organizations`.

    Raises:
        TenantNotFound, WrongCloud, DiscoveryRefused and what the session raises.
    """
    if not _TENANT_NAME.fullmatch(tenant) or tenant.lower() in ("common", "consumers"):
        raise errors.TenantNotFound(
            "This is neither a tenant ID nor a domain name.",
            advice="Enter the tenant ID or a verified domain of the tenant.",
        )
    response = session.get(
        f"{cloud.login_root}/{tenant}/v2.0/.well-known/openid-configuration"
    )
    if response.status_code != 200:
        raise response_error(response)
    return checked_discovery(cloud, tenant, json_object(response))


def checked_discovery(
    cloud: Cloud, tenant: str, document: Mapping[str, Any]
) -> Discovery:
    """Check an OpenID configuration against the cloud and the tenant asked for.

    Raises:
        WrongCloud: the document belongs to another Microsoft cloud.
        DiscoveryRefused: anything in it points elsewhere than it must.
    """
    fields: dict[str, str] = {}
    for name in (
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "end_session_endpoint",
    ):
        value = document.get(name)
        if not isinstance(value, str):
            raise errors.DiscoveryRefused(
                f"Microsoft's OpenID configuration has no {name}."
            )
        fields[name] = value
    _check_cloud(cloud, document)
    # Microsoft does not publish the methods; whoever does has to know ours.
    methods = document.get("code_challenge_methods_supported", ["S256"])
    if not isinstance(methods, list) or "S256" not in methods:
        raise errors.DiscoveryRefused(
            "Microsoft's OpenID configuration does not offer PKCE with S256."
        )

    prefix, suffix = f"{cloud.login_root}/", "/v2.0"
    issuer = fields["issuer"]
    segment = issuer.removeprefix(prefix).removesuffix(suffix)
    expected = segment
    if tenant == "organizations":
        expected = "{tenantid}"
    elif is_guid(tenant):
        expected = tenant.lower()
    elif not is_guid(segment):
        expected = ""
    if segment != expected or issuer != f"{prefix}{expected}{suffix}":
        raise errors.DiscoveryRefused(
            "Microsoft's OpenID configuration names another issuer."
        )
    path = "organizations" if expected == "{tenantid}" else expected
    _check_endpoint(cloud, fields, "token_endpoint", f"/{path}/oauth2/v2.0/token")
    _check_endpoint(cloud, fields, "jwks_uri", f"/{path}/discovery/v2.0/keys")
    _check_page(
        cloud, fields, "authorization_endpoint", f"/{path}/oauth2/v2.0/authorize"
    )
    _check_page(cloud, fields, "end_session_endpoint", f"/{path}/oauth2/v2.0/logout")
    return Discovery(cloud=cloud, tenant=path, **fields)


def _check_cloud(cloud: Cloud, document: Mapping[str, Any]) -> None:
    """Refuse a discovery document of a tenant in another cloud.

    Raises:
        WrongCloud: it names the cloud that the tenant is in.
    """
    home = home_cloud(document)
    if home is None or home.key == cloud.key:
        return
    sub_scope = document.get("tenant_region_sub_scope")
    if home.login_root == cloud.login_root and sub_scope not in home.region_sub_scopes:
        # Which of the two it is, the document does not say.
        return
    raise errors.WrongCloud(
        f"The tenant belongs to another cloud: {home.name}.",
        advice="Choose the cloud of the tenant, and start again.",
        cloud_key=home.key,
    )


def _check_endpoint(
    cloud: Cloud, fields: Mapping[str, str], name: str, path: str
) -> None:
    if fields[name] != cloud.login_root + path:
        raise errors.DiscoveryRefused(
            f"Microsoft's OpenID configuration names an unexpected {name}."
        )


def _check_page(cloud: Cloud, fields: Mapping[str, str], name: str, path: str) -> None:
    """Check an address that only browsers visit.

    A loopback cloud may serve it on another port and over plain http.
    """
    try:
        parts = urlsplit(fields[name])
        same_origin = origin(fields[name]) == origin(cloud.login_root)
        on_loopback = (
            cloud.loopback
            and parts.scheme in ("http", "https")
            and is_loopback_host(parts.hostname)
        )
        plain = parts.path == path and not parts.query and not parts.fragment
    except ValueError:
        same_origin = on_loopback = plain = False
    if not plain or not (same_origin or on_loopback):
        raise errors.DiscoveryRefused(
            f"Microsoft's OpenID configuration names an unexpected {name}."
        )


def authorization_url(
    discovery: Discovery,
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    nonce_hash: str,
    code_challenge: str,
    prompt: Prompt | None = None,
    login_hint: str = "",
    domain_hint: str = "",
) -> str:
    """Return the address at which a person signs in.

    The answer comes back as a query: a session cookie with SameSite=Lax does not
    come with a cross-site POST. `offline_access` is not asked for, so that no
    refresh token exists.
    """
    parameters = {
        "client_id": client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "response_mode": "query",
        "scope": " ".join(SIGN_IN_SCOPES),
        "state": state,
        "nonce": nonce_hash,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
        "prompt": prompt or "",
        "login_hint": login_hint,
        "domain_hint": domain_hint,
    }
    return _with_query(discovery.authorization_endpoint, parameters)


def admin_consent_url(
    discovery: Discovery, *, client_id: str, redirect_uri: str, state: str
) -> str:
    """Return the address at which a Global Administrator consents for the tenant.

    Application permissions are asked for by `.default` alone.
    https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
    """
    parameters = {
        "client_id": client_id,
        "scope": discovery.cloud.scope,
        "redirect_uri": redirect_uri,
        "state": state,
    }
    return _with_query(discovery.admin_consent_endpoint, parameters)


def logout_url(
    discovery: Discovery, *, post_logout_redirect_uri: str, logout_hint: str = ""
) -> str:
    """Return the address that ends the session with Microsoft in a browser.

    https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc
    """
    parameters = {
        "post_logout_redirect_uri": post_logout_redirect_uri,
        "logout_hint": logout_hint,
    }
    return _with_query(discovery.end_session_endpoint, parameters)


def _with_query(endpoint: str, parameters: Mapping[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return f"{endpoint}?{urlencode(given)}"


def json_object(response: requests.Response) -> dict[str, Any]:
    """Return the object that Microsoft's sign-in service answered with.

    Raises:
        ForeignAnswer, SignInResponseError
    """
    if not is_json(response):
        raise foreign_answer(response, "Microsoft's sign-in service")
    document = json_value(response)
    if not isinstance(document, dict):
        raise errors.SignInResponseError(
            "An answer of Microsoft's sign-in service is not a JSON object.",
            status=response.status_code,
            request_id=request_id(response),
        )
    return document


def response_error(response: requests.Response) -> errors.IdentityError:
    return answer_error(json_object(response), status=response.status_code)


def answer_error(
    answer: Mapping[str, Any], *, status: int | None
) -> errors.IdentityError:
    numbers = answer.get("error_codes")
    trace = answer.get("trace_id")
    return sign_in_error(
        error=str(answer.get("error", "")),
        description=str(answer.get("error_description", "")),
        numbers=[n for n in numbers if isinstance(n, int)]
        if isinstance(numbers, list)
        else (),
        status=status,
        trace_id=trace if isinstance(trace, str) and is_guid(trace) else "",
    )
