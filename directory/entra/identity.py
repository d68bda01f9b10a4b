"""Tokens from Microsoft's identity platform, all of them through MSAL.

MSAL has no types and validates nothing in an ID token; it is wrapped here once.
"""

import logging
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

import msal
import orjson
import requests

from directory.entra import errors
from directory.entra.clouds import Cloud
from directory.entra.credentials import Credential, fingerprint
from directory.entra.errors import IdTokenReason
from directory.entra.id_token import refuse
from directory.entra.ids import tenant_id
from directory.entra.metadata import SignInMetadata
from directory.entra.sign_in import (
    SIGN_IN_SCOPES,
    Discovery,
    answer_error,
    json_object,
)
from directory.entra.transport import EntraSession


class _WithoutEvents(logging.Filter):
    """Drop the events that MSAL's token cache writes at DEBUG.

    They hold authorization codes and code verifiers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG


logging.getLogger("msal.token_cache").addFilter(_WithoutEvents())

# Continuous access evaluation: Graph may answer with a claims challenge.
_CLIENT_CAPABILITIES = ["CP1"]
# A token is asked for anew when it has less than this to live, in seconds, as MSAL does.
TOKEN_MARGIN = 300.0
# Directory.Read.All and its kind.
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class AccessToken:
    """An app-only access token that cannot be printed, logged or pickled."""

    __slots__ = ("_value", "expires_in", "just_issued")

    def __init__(
        self, value: str, expires_in: int, *, just_issued: bool = False
    ) -> None:
        self._value = value
        self.expires_in = expires_in
        self.just_issued = just_issued
        """Whether Microsoft issued it for this call; else it was in the cache."""

    def reveal(self) -> str:
        """Return the token itself, for an Authorization header and nothing else."""
        return self._value

    def roles(self) -> frozenset[str] | None:
        """Return the application permissions that Entra wrote into it; None: unreadable.

        To be shown and for nothing else: to a client a token for Graph is opaque, its
        signature was not looked at, and what it allows is known by trying.
        """
        try:
            payload = self._value.split(".")[1]
            claims = orjson.loads(
                urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            )
            roles = claims.get("roles", [])
        except (IndexError, ValueError, AttributeError):
            return None
        if not isinstance(roles, list):
            return None
        named = (role for role in roles if isinstance(role, str))
        return frozenset(role for role in named if _ROLE.fullmatch(role))

    def __repr__(self) -> str:
        return f"<AccessToken valid for {self.expires_in} s>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an access token does not leave the process")


class TokenProvider(Protocol):
    """What the Graph client asks for tokens."""

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        """Return a token; `fresh` and `claims` bypass every cache."""
        ...


class KeptTokens:
    """The tokens of a source, each kept for as long as that would give it out again.

    For whoever sends thousands of requests: MSAL looks through its cache for each.
    """

    def __init__(self, source: TokenProvider) -> None:
        self._source = source
        self._kept: tuple[AccessToken, float] | None = None

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        if self._kept is not None and not fresh and claims is None:
            token, until = self._kept
            if time.monotonic() < until:
                return token
        token = self._source.token(fresh=fresh, claims=claims)
        until = time.monotonic() + token.expires_in - TOKEN_MARGIN
        # What is kept was issued once.
        self._kept = AccessToken(token.reveal(), token.expires_in), until
        return token


class _Published:
    """An answer of Microsoft's as MSAL reads it, from what was checked before."""

    status_code = 200
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, discovery: Discovery) -> None:
        self.text = orjson.dumps(
            {
                "issuer": discovery.issuer,
                "authorization_endpoint": discovery.authorization_endpoint,
                "token_endpoint": discovery.token_endpoint,
                "jwks_uri": discovery.jwks_uri,
            }
        ).decode()


class _MsalHttp:
    """The session as MSAL sees it.

    MSAL asks for the OpenID configuration each time it is built, and believes it; it
    is given the one that was checked. It logs the text of an answer that is not
    JSON: those are refused before it sees them.
    """

    def __init__(self, session: EntraSession, discovery: Discovery) -> None:
        self._session = session
        self._discovery = discovery

    def get(self, url: str, **kwargs: Any) -> _Published:
        return _Published(self._discovery)

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
        json_object(response)
        return response

    def close(self) -> None:
        """The session belongs to the caller."""


class TokenCache:
    """Keeps app-only tokens in memory, for as long as a process lives.

    Share one between token sources so that look-ups do not fetch a token each.
    Tokens are kept apart by credential: a replaced secret gets its own. `metadata`
    is where the tenants' OpenID configurations are kept.
    """

    def __init__(self, metadata: SignInMetadata | None = None) -> None:
        self.metadata = metadata or SignInMetadata()
        self._caches: dict[tuple[str, str, str, str], msal.TokenCache] = {}
        self._lock = Lock()

    def cache_for(
        self, cloud: Cloud, tenant: str, client_id: str, credential: Credential
    ) -> Any:
        key = (cloud.login_root, tenant, client_id, fingerprint(credential))
        with self._lock:
            return self._caches.setdefault(key, msal.TokenCache())

    def forget(
        self, cloud: Cloud, tenant: str, client_id: str, credential: Credential
    ) -> None:
        key = (cloud.login_root, tenant, client_id, fingerprint(credential))
        with self._lock:
            self._caches.pop(key, None)


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
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
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
                self._cache.metadata.discovery(
                    self._cloud,
                    self._tenant,
                    self._session,
                    now=self._clock(),
                    afresh=fresh,
                ),
                self._client_id,
                self._credential,
                self._session,
                capabilities=_CLIENT_CAPABILITIES,
                token_cache=self._cache.cache_for(
                    self._cloud, self._tenant, self._client_id, self._credential
                ),
            )
        try:
            answer = _call_msal(
                lambda: self._application.acquire_token_for_client(
                    scopes=[self._cloud.scope], claims_challenge=claims
                )
            )
        except errors.EntraError:
            raise
        except Exception:  # noqa: BLE001 - MSAL raises whatever its parsing meets
            raise errors.SignInResponseError(
                "Microsoft's answer to a token request cannot be read."
            ) from None
        value, lifetime = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(value, str) or not value or not isinstance(lifetime, int):
            raise errors.SignInResponseError(
                "Microsoft's answer to a token request has no access token."
            )
        return AccessToken(
            value,
            lifetime,
            just_issued=answer.get("token_source") == "identity_provider",
        )


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
    application = _application(discovery, client_id, credential, session)
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
    except errors.EntraError:
        # Some are ValueErrors as well: they say more than what follows.
        raise
    except RuntimeError:
        # MSAL's text quotes both nonces.
        refuse(IdTokenReason.NONCE)
    except Exception:  # noqa: BLE001 - MSAL raises whatever its parsing meets
        refuse(IdTokenReason.MALFORMED)
    raw = answer.get("id_token")
    if not isinstance(raw, str):
        raise errors.SignInResponseError(
            "Microsoft's answer to the authorization code has no ID token."
        )
    return raw


def _application(
    discovery: Discovery,
    client_id: str,
    credential: Credential,
    session: EntraSession,
    *,
    capabilities: list[str] | None = None,
    token_cache: Any = None,
) -> Any:
    """Build MSAL's application for the tenant of a checked OpenID configuration."""
    prepared = credential.for_msal()
    try:
        return msal.ConfidentialClientApplication(
            client_id,
            client_credential=prepared,
            authority=f"{discovery.cloud.login_root}/{discovery.tenant}",
            # Else MSAL asks Microsoft's public cloud about every other one.
            instance_discovery=False,
            azure_region=False,
            http_client=_MsalHttp(session, discovery),
            client_capabilities=capabilities,
            token_cache=token_cache,
        )
    except (ValueError, KeyError, TypeError):
        raise errors.InvalidCredential(
            "The credential of the application cannot be used.",
            advice="Enter it anew under Settings > Entra ID application.",
        ) from None


def _call_msal(call: Callable[[], Any]) -> dict[str, Any]:
    answer: dict[str, Any] = call()
    if "error" in answer:
        raise answer_error(answer, status=None)
    return answer
