"""Signing in, admin consent and tokens: Microsoft's identity platform.

MSAL has no types and validates nothing in an ID token; it is wrapped here once.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Literal, NewType, NoReturn, Protocol
from urllib.parse import urlencode, urlsplit

import jwt
import msal
import orjson
import requests
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from directory.entra import errors
from directory.entra.aadsts import sign_in_error
from directory.entra.clouds import CLOUDS, Cloud, is_loopback_host, origin
from directory.entra.errors import IdTokenReason
from directory.entra.transport import EntraSession, request_id

TenantId = NewType("TenantId", str)
"""A tenant's GUID in lower case."""
ObjectId = NewType("ObjectId", str)
"""The GUID of a user or group in lower case."""

PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of personal Microsoft accounts."""

SIGN_IN_SCOPES = ("openid", "profile")
CLOCK_SKEW = timedelta(seconds=120)
MAX_ID_TOKEN_AGE = timedelta(hours=1)
KEYS_LIFETIME = timedelta(hours=24)
KEYS_REFETCH_INTERVAL = timedelta(minutes=5)

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TENANT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")
_CLIENT_CAPABILITIES = ["CP1"]

Prompt = Literal["login", "none", "consent", "select_account"]


def is_guid(text: str) -> bool:
    """Tell whether a text is a GUID in Microsoft's usual form."""
    return _GUID.fullmatch(text) is not None


def tenant_id(text: str) -> TenantId:
    """Return a tenant id in the one form in which tenants are compared.

    Raises:
        ValueError: not a GUID.
    """
    if not is_guid(text):
        raise ValueError("not a tenant ID")
    return TenantId(text.lower())


# --- Credentials -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The secret of an application registration."""

    value: str = field(repr=False)

    def for_msal(self) -> str:
        if not self.value.strip():
            raise errors.InvalidCredential(
                "The client secret is empty.", advice="Enter the secret's value."
            )
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateCredential:
    """A certificate of an application registration with its private key, in PEM."""

    private_key_pem: str = field(repr=False)
    certificate_pem: str
    passphrase: str | None = field(default=None, repr=False)

    def for_msal(self) -> dict[str, str]:
        self.check()
        credential = {
            "private_key": self.private_key_pem,
            "public_certificate": self.certificate_pem,
        }
        if self.passphrase:
            credential["passphrase"] = self.passphrase
        return credential

    def check(self) -> x509.Certificate:
        """Return the certificate, having made sure that key and certificate match.

        MSAL would fail late and with other words.

        Raises:
            InvalidCredential: unreadable, wrong passphrase, not RSA, no match.
        """
        advice = "Paste the certificate and its private key in PEM form."
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_pem.encode())
        except ValueError:
            raise errors.InvalidCredential(
                "The certificate cannot be read.", advice=advice
            ) from None
        password = self.passphrase.encode() if self.passphrase else None
        try:
            key = load_pem_private_key(self.private_key_pem.encode(), password)
        except TypeError:
            raise errors.InvalidCredential(
                "The private key and the passphrase do not go together.",
                advice="Enter a passphrase if the key is encrypted, and none if not.",
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise errors.InvalidCredential(
                "The private key cannot be read, or the passphrase is wrong.",
                advice=advice,
            ) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise errors.InvalidCredential(
                "The private key is not an RSA key.",
                advice="Microsoft accepts RSA certificates only.",
            )
        if key.public_key() != certificate.public_key():
            raise errors.InvalidCredential(
                "The private key does not belong to the certificate.", advice=advice
            )
        return certificate

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate, in upper-case hexadecimal."""
        return self.check().fingerprint(SHA256()).hex().upper()

    @property
    def expires_at(self) -> datetime:
        return self.check().not_valid_after_utc


Credential = ClientSecret | CertificateCredential


# --- What is sent with a person to Microsoft -------------------------------------


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


# --- Discovery -------------------------------------------------------------------


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
        raise _response_error(response)
    return checked_discovery(cloud, tenant, _object(response))


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
    _check_cloud(cloud, fields["token_endpoint"])

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


def _check_cloud(cloud: Cloud, token_endpoint: str) -> None:
    for other in CLOUDS.values():
        if other.login_root == cloud.login_root:
            continue
        if token_endpoint.startswith(other.login_root + "/"):
            raise errors.WrongCloud(
                f"The tenant belongs to another cloud: {other.name}.",
                advice="Choose the cloud of the tenant, and start again.",
                cloud_key=other.key,
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
    parts = urlsplit(fields[name])
    try:
        same_origin = origin(fields[name]) == origin(cloud.login_root)
        on_loopback = (
            cloud.loopback
            and parts.scheme in ("http", "https")
            and is_loopback_host(parts.hostname)
        )
    except ValueError:
        same_origin = on_loopback = False
    plain = parts.path == path and not parts.query and not parts.fragment
    if not plain or not (same_origin or on_loopback):
        raise errors.DiscoveryRefused(
            f"Microsoft's OpenID configuration names an unexpected {name}."
        )


# --- Addresses of Microsoft's pages ----------------------------------------------


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


# --- MSAL ------------------------------------------------------------------------


class AccessToken:
    """An app-only access token that cannot be printed, logged or pickled."""

    __slots__ = ("_value", "expires_in")

    def __init__(self, value: str, expires_in: int) -> None:
        self._value = value
        self.expires_in = expires_in

    def reveal(self) -> str:
        """Return the token itself, for an Authorization header and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"<AccessToken valid for {self.expires_in} s>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an access token does not leave the process")


class TokenProvider(Protocol):
    """What the Graph client asks for tokens."""

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        """Return a token; `fresh` and `claims` bypass every cache."""
        ...


class _MsalHttp:
    """The session as MSAL sees it.

    MSAL logs the text of an answer that is not JSON and quotes discovery answers
    in exceptions; both are refused before it sees them.
    """

    def __init__(self, session: EntraSession) -> None:
        self._session = session

    def get(
        self, url: str, params: Any = None, headers: Any = None, **kwargs: Any
    ) -> requests.Response:
        response = self._session.get(url, params=params, headers=headers, **kwargs)
        if response.status_code != 200:
            raise _response_error(response)
        document = _object(response)
        _check_cloud(self._session.cloud, str(document.get("token_endpoint", "")))
        return response

    def post(
        self,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        **kwargs: Any,
    ) -> requests.Response:
        response = self._session.post(
            url, params=params, data=data, headers=headers, **kwargs
        )
        _object(response)
        return response

    def close(self) -> None:
        """The session belongs to the caller."""


class TokenCache:
    """Keeps app-only tokens in memory, for as long as a process lives.

    Share one between token sources so that look-ups do not fetch a token each.
    Tokens are kept apart by credential: a replaced secret gets its own.
    """

    def __init__(self) -> None:
        self._caches: dict[tuple[str, str, str, str], msal.TokenCache] = {}
        self._lock = Lock()

    def cache_for(
        self, cloud: Cloud, tenant: str, client_id: str, credential: Credential
    ) -> Any:
        key = (cloud.login_root, tenant, client_id, _fingerprint(credential))
        with self._lock:
            return self._caches.setdefault(key, msal.TokenCache())

    def forget(
        self, cloud: Cloud, tenant: str, client_id: str, credential: Credential
    ) -> None:
        key = (cloud.login_root, tenant, client_id, _fingerprint(credential))
        with self._lock:
            self._caches.pop(key, None)


def _fingerprint(credential: Credential) -> str:
    text = (
        credential.value
        if isinstance(credential, ClientSecret)
        else credential.private_key_pem + credential.certificate_pem
    )
    return hashlib.sha256(text.encode()).hexdigest()


class TokenSource:
    """App-only tokens for one tenant, by the client credentials flow."""

    def __init__(
        self,
        *,
        cloud: Cloud,
        tenant: str,
        client_id: str,
        credential: Credential,
        session: EntraSession,
        cache: TokenCache | None = None,
    ) -> None:
        self._cloud = cloud
        self._tenant = tenant_id(tenant)
        self._client_id = client_id
        self._credential = credential
        self._session = session
        self._cache = cache or TokenCache()
        self._application: Any = None

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        """Return a token, from the cache while it has five minutes to live.

        A token that was issued before consent lacks the permissions for as long
        as it lives: ask for a `fresh` one when verifying. `claims` answers a
        claims challenge of continuous access evaluation.

        Raises:
            IdentityError and its subclasses, and what the session raises.
        """
        if fresh:
            self._cache.forget(
                self._cloud, self._tenant, self._client_id, self._credential
            )
            self._application = None
        if self._application is None:
            self._application = _application(
                self._cloud,
                self._tenant,
                self._client_id,
                self._credential,
                self._session,
                capabilities=_CLIENT_CAPABILITIES,
                token_cache=self._cache.cache_for(
                    self._cloud, self._tenant, self._client_id, self._credential
                ),
            )
        answer = _call_msal(
            lambda: self._application.acquire_token_for_client(
                scopes=[self._cloud.scope], claims_challenge=claims
            )
        )
        value, lifetime = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(value, str) or not value or not isinstance(lifetime, int):
            raise errors.SignInResponseError(
                "Microsoft's answer to a token request has no access token."
            )
        return AccessToken(value, lifetime)


def app_only_token(
    cloud: Cloud,
    tenant: str,
    client_id: str,
    credential: Credential,
    *,
    session: EntraSession,
    fresh: bool = True,
) -> AccessToken:
    """Return one app-only token; keep a `TokenSource` where more are needed."""
    source = TokenSource(
        cloud=cloud,
        tenant=tenant,
        client_id=client_id,
        credential=credential,
        session=session,
    )
    return source.token(fresh=fresh)


def redeem_code(
    discovery: Discovery,
    *,
    client_id: str,
    credential: Credential,
    code: str,
    redirect_uri: str,
    code_verifier: str,
    nonce: str,
    session: EntraSession,
) -> str:
    """Redeem an authorization code and return the ID token, not yet validated.

    `discovery` has to be that of the tenant path at which the person signed in,
    and `state` has to be checked before. The access token that comes along is
    dropped: nothing is done in a person's name.

    Raises:
        CodeRefused, IdTokenRefused and other IdentityErrors, and what the session
        raises.
    """
    application = _application(
        discovery.cloud, discovery.tenant, client_id, credential, session
    )
    # MSAL compares the two states; the caller has compared the real ones.
    flow = {
        "state": "checked",
        "redirect_uri": redirect_uri,
        "scope": list(SIGN_IN_SCOPES),
        "code_verifier": code_verifier,
        "nonce": nonce,
    }
    try:
        answer = _call_msal(
            lambda: application.acquire_token_by_auth_code_flow(
                flow, {"state": "checked", "code": code}
            )
        )
    except RuntimeError:
        # MSAL's text quotes both nonces.
        _refuse(IdTokenReason.NONCE)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        _refuse(IdTokenReason.MALFORMED)
    raw = answer.get("id_token")
    if not isinstance(raw, str):
        raise errors.SignInResponseError(
            "Microsoft's answer to the authorization code has no ID token."
        )
    return raw


def _application(
    cloud: Cloud,
    tenant: str,
    client_id: str,
    credential: Credential,
    session: EntraSession,
    *,
    capabilities: list[str] | None = None,
    token_cache: Any = None,
) -> Any:
    """Build MSAL's application; this fetches the tenant's OpenID configuration."""
    try:
        return msal.ConfidentialClientApplication(
            client_id,
            client_credential=credential.for_msal(),
            authority=f"{cloud.login_root}/{tenant}",
            # Else MSAL asks Microsoft's public cloud about every other one.
            instance_discovery=False,
            azure_region=False,
            http_client=_MsalHttp(session),
            client_capabilities=capabilities,
            exclude_scopes=["offline_access"],
            token_cache=token_cache,
        )
    except (ValueError, KeyError) as error:
        if isinstance(error, errors.EntraError):
            raise
        raise errors.DiscoveryRefused(
            "Microsoft's OpenID configuration cannot be used."
        ) from None


def _call_msal(call: Callable[[], Any]) -> dict[str, Any]:
    answer = call()
    if not isinstance(answer, dict):
        raise errors.SignInResponseError("Microsoft gave no answer to a token request.")
    if "error" in answer:
        raise _answer_error(answer, status=None)
    return answer


def _object(response: requests.Response) -> dict[str, Any]:
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise errors.SignInResponseError(
            "An answer of Microsoft's sign-in service is not a JSON object.",
            status=response.status_code,
            request_id=request_id(response),
        )
    return document


def _response_error(response: requests.Response) -> errors.IdentityError:
    return _answer_error(_object(response), status=response.status_code)


def _answer_error(
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


# --- ID tokens -------------------------------------------------------------------


class SigningKeys:
    """Microsoft's signing keys, kept for a day.

    An unknown key id fetches them once more, at most every five minutes, so that
    forged tokens cannot make the console hammer Microsoft.
    """

    def __init__(self, discovery: Discovery, session: EntraSession) -> None:
        self._discovery = discovery
        self._session = session
        self._keys: dict[str, tuple[jwt.PyJWK, str | None]] = {}
        self._fetched_at: datetime | None = None
        self._refetched_at: datetime | None = None
        self._lock = Lock()

    def find(self, kid: str, *, now: datetime) -> tuple[jwt.PyJWK, str | None] | None:
        """Return a key and the issuer it is for, or None for an unknown id.

        Raises:
            IdentityError, Unreachable: the keys cannot be fetched, and those at
            hand are older than a day.
        """
        with self._lock:
            age = now - self._fetched_at if self._fetched_at is not None else None
            if (
                age is None
                or age >= KEYS_LIFETIME
                or (kid not in self._keys and age >= KEYS_REFETCH_INTERVAL)
            ):
                self._fetch(now)
            return self._keys.get(kid)

    def _fetch(self, now: datetime) -> None:
        response = self._session.get(self._discovery.jwks_uri)
        if response.status_code != 200:
            raise _response_error(response)
        entries = _object(response).get("keys")
        if not isinstance(entries, list):
            raise errors.SignInResponseError("Microsoft's signing keys cannot be read.")
        keys: dict[str, tuple[jwt.PyJWK, str | None]] = {}
        for entry in entries:
            if (
                not isinstance(entry, dict)
                or entry.get("kty") != "RSA"
                or entry.get("use", "sig") != "sig"
                or not isinstance(entry.get("kid"), str)
            ):
                continue
            try:
                key = jwt.PyJWK(entry, algorithm="RS256")
            except jwt.PyJWTError:
                continue
            issuer = entry.get("issuer")
            keys[entry["kid"]] = (key, issuer if isinstance(issuer, str) else None)
        self._keys = keys
        self._fetched_at = now


@dataclass(frozen=True, slots=True, kw_only=True)
class IdTokenClaims:
    """What a validated ID token proves. Only `validate_id_token` makes these.

    A person is `(tenant_id, object_id)`; the names are for showing alone.
    """

    tenant_id: TenantId
    object_id: ObjectId
    subject: str
    name: str
    preferred_username: str
    identity_provider: str
    """`idp`: who authenticated the person, where that is not the tenant."""
    session_id: str
    login_hint: str
    issued_at: datetime
    authenticated_at: datetime | None

    @property
    def looks_like_guest(self) -> bool:
        """A hint: whether somebody is a guest is what Graph says in `userType`."""
        return (
            bool(self.identity_provider) or "#EXT#" in self.preferred_username.upper()
        )


_REFUSALS: Mapping[IdTokenReason, str] = {
    IdTokenReason.MALFORMED: "The ID token from Microsoft cannot be read.",
    IdTokenReason.ALGORITHM: "The ID token is not signed with RS256.",
    IdTokenReason.UNKNOWN_KEY: "The ID token is signed with a key that Microsoft does "
    "not publish.",
    IdTokenReason.KEY_ISSUER: "The ID token is signed with the key of another issuer.",
    IdTokenReason.SIGNATURE: "The signature of the ID token is wrong.",
    IdTokenReason.NOT_AN_ID_TOKEN: "Microsoft's answer holds another kind of token.",
    IdTokenReason.VERSION: "The ID token is not of version 2.0.",
    IdTokenReason.AUDIENCE: "The ID token was issued for another application.",
    IdTokenReason.AUTHORIZED_PARTY: "The ID token was issued to another application.",
    IdTokenReason.TENANT_MISSING: "The ID token names no tenant.",
    IdTokenReason.PERSONAL_ACCOUNT: "This is a personal Microsoft account.",
    IdTokenReason.OTHER_TENANT: "The person signed in to another tenant than expected.",
    IdTokenReason.ISSUER: "The ID token was issued by somebody else than the tenant.",
    IdTokenReason.EXPIRED: "The ID token has expired.",
    IdTokenReason.NOT_YET_VALID: "The ID token is not valid yet.",
    IdTokenReason.ISSUED_AT: "The ID token was not issued just now.",
    IdTokenReason.NONCE: "The ID token does not belong to this sign-in.",
    IdTokenReason.SUBJECT: "The ID token does not say who signed in.",
}
_CLOCK_ADVICE = "Check the clock of the console's server, and start again."
_REFUSAL_ADVICE: Mapping[IdTokenReason, str] = {
    IdTokenReason.PERSONAL_ACCOUNT: "Sign in with a work or school account.",
    IdTokenReason.OTHER_TENANT: "Nothing was saved. Sign in with an account of the "
    "expected tenant.",
    IdTokenReason.EXPIRED: _CLOCK_ADVICE,
    IdTokenReason.NOT_YET_VALID: _CLOCK_ADVICE,
    IdTokenReason.ISSUED_AT: _CLOCK_ADVICE,
}


def _refuse(reason: IdTokenReason) -> NoReturn:
    raise errors.IdTokenRefused(
        _REFUSALS[reason], reason=reason, advice=_REFUSAL_ADVICE.get(reason, "")
    ) from None


def validate_id_token(
    raw: str,
    *,
    cloud: Cloud,
    client_id: str,
    nonce: str,
    jwks: SigningKeys,
    now: datetime,
    expected_tenant: str | None = None,
) -> IdTokenClaims:
    """Return what an ID token proves, having checked every claim that matters.

    `nonce` is the console's own value, whose hash was sent. Clocks may differ by
    two minutes.
    https://learn.microsoft.com/entra/identity-platform/claims-validation
    https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation

    Raises:
        IdTokenRefused: with the reason; and what `jwks` raises.
    """
    header = _header(raw)
    found = jwks.find(str(header["kid"]), now=now)
    if found is None:
        _refuse(IdTokenReason.UNKNOWN_KEY)
    key, key_issuer = found
    claims = _signed_claims(raw, key)

    if "scp" in claims or claims.get("idtyp") == "app":
        _refuse(IdTokenReason.NOT_AN_ID_TOKEN)
    # The audience is a text: a list would name others as well.
    if claims.get("aud") != client_id:
        _refuse(IdTokenReason.AUDIENCE)
    if "azp" in claims and claims["azp"] != client_id:
        _refuse(IdTokenReason.AUTHORIZED_PARTY)
    tenant = _tenant(claims, cloud, expected_tenant)
    if key_issuer is not None and key_issuer.replace("{tenantid}", tenant) != (
        f"{cloud.login_root}/{tenant}/v2.0"
    ):
        _refuse(IdTokenReason.KEY_ISSUER)
    if claims.get("ver") != "2.0":
        _refuse(IdTokenReason.VERSION)
    issued_at = _check_times(claims, now)
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(
        given.encode(), nonce_hash(nonce).encode()
    ):
        _refuse(IdTokenReason.NONCE)
    object_id, subject = claims.get("oid"), claims.get("sub")
    if (
        not isinstance(object_id, str)
        or not is_guid(object_id)
        or not isinstance(subject, str)
        or not subject
    ):
        _refuse(IdTokenReason.SUBJECT)
    return IdTokenClaims(
        tenant_id=tenant,
        object_id=ObjectId(object_id.lower()),
        subject=subject,
        name=_text(claims, "name"),
        preferred_username=_text(claims, "preferred_username"),
        identity_provider=_text(claims, "idp"),
        session_id=_text(claims, "sid"),
        login_hint=_text(claims, "login_hint"),
        issued_at=issued_at,
        authenticated_at=_moment(claims.get("auth_time")),
    )


def _header(raw: str) -> dict[str, Any]:
    if raw.count(".") != 2 or len(raw) > 64 * 1024:
        _refuse(IdTokenReason.MALFORMED)
    try:
        header = jwt.get_unverified_header(raw)
    except (jwt.PyJWTError, ValueError, binascii.Error):
        _refuse(IdTokenReason.MALFORMED)
    if header.get("alg") != "RS256":
        _refuse(IdTokenReason.ALGORITHM)
    if header.get("typ", "JWT") != "JWT" or "crit" in header:
        _refuse(IdTokenReason.NOT_AN_ID_TOKEN)
    if not isinstance(header.get("kid"), str):
        _refuse(IdTokenReason.UNKNOWN_KEY)
    return dict(header)


def _signed_claims(raw: str, key: jwt.PyJWK) -> dict[str, Any]:
    try:
        # Signature alone: PyJWT accepts lists of audiences and knows no tenants.
        return dict(
            jwt.decode(
                raw,
                key,
                algorithms=["RS256"],
                options={
                    "verify_signature": True,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        )
    except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
        _refuse(IdTokenReason.SIGNATURE)
    except jwt.PyJWTError:
        _refuse(IdTokenReason.MALFORMED)


def _tenant(
    claims: Mapping[str, Any], cloud: Cloud, expected_tenant: str | None
) -> TenantId:
    given = claims.get("tid")
    if not isinstance(given, str) or not is_guid(given):
        _refuse(IdTokenReason.TENANT_MISSING)
    tenant = tenant_id(given)
    if tenant == PERSONAL_TENANT:
        _refuse(IdTokenReason.PERSONAL_ACCOUNT)
    issuers = {f"{cloud.login_root}/{form}/v2.0" for form in (tenant, given)}
    if claims.get("iss") not in issuers:
        _refuse(IdTokenReason.ISSUER)
    if expected_tenant is not None and tenant != expected_tenant.lower():
        _refuse(IdTokenReason.OTHER_TENANT)
    return tenant


def _check_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    expires = _moment(claims.get("exp"))
    issued = _moment(claims.get("iat"))
    if expires is None or issued is None:
        _refuse(IdTokenReason.MALFORMED)
    if now >= expires + CLOCK_SKEW:
        _refuse(IdTokenReason.EXPIRED)
    if "nbf" in claims:
        begins = _moment(claims["nbf"])
        if begins is None:
            _refuse(IdTokenReason.MALFORMED)
        if now < begins - CLOCK_SKEW:
            _refuse(IdTokenReason.NOT_YET_VALID)
    if not issued - CLOCK_SKEW <= now < issued + MAX_ID_TOKEN_AGE + CLOCK_SKEW:
        _refuse(IdTokenReason.ISSUED_AT)
    return issued


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""
