"""What an ID token proves, and everything that makes it prove nothing."""

import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import jwt

from directory.entra import errors
from directory.entra.clouds import Cloud
from directory.entra.errors import IdTokenReason
from directory.entra.ids import ObjectId, TenantId, is_guid, tenant_id
from directory.entra.kept import Kept
from directory.entra.sign_in import Discovery, json_object, nonce_hash, response_error
from directory.entra.transport import EntraSession

PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of personal Microsoft accounts."""

CLOCK_SKEW = timedelta(seconds=120)
MAX_ID_TOKEN_AGE = timedelta(hours=1)


Keys = Mapping[str, tuple[jwt.PyJWK, str | None]]
"""By key id: the key, and the issuer it is for."""


class SigningKeys:
    """Microsoft's signing keys, kept for a day at most.

    They are asked for anew every hour, which finds a rollover and drops what was
    withdrawn. An unknown key id asks once more, at most every five minutes, so that
    forged tokens cannot make the console hammer Microsoft.
    https://learn.microsoft.com/entra/identity-platform/signing-key-rollover
    """

    def __init__(
        self,
        discovery: Discovery,
        session: EntraSession,
        *,
        kept: Kept[Keys] | None = None,
    ) -> None:
        self._discovery = discovery
        self._session = session
        self._kept: Kept[Keys] = kept or Kept()

    def find(self, kid: str, *, now: datetime) -> tuple[jwt.PyJWK, str | None] | None:
        """Return a key and the issuer it is for, or None for an unknown id.

        Raises:
            IdentityError, Unreachable: the keys cannot be fetched, and those at hand
                are older than a day or do not hold this one.
        """
        asked: list[datetime] = []

        def fetch() -> Keys:
            asked.append(now)
            return self._fetch()

        keys = self._kept.get(fetch, now=now)
        if kid not in keys and not asked:
            keys = self._kept.again(fetch, now=now)
        return keys.get(kid)

    def _fetch(self) -> Keys:
        response = self._session.get(self._discovery.jwks_uri)
        if response.status_code != 200:
            raise response_error(response)
        entries = json_object(response).get("keys")
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
        return keys


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


def refuse(reason: IdTokenReason) -> NoReturn:
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
        refuse(IdTokenReason.UNKNOWN_KEY)
    key, key_issuer = found
    claims = _signed_claims(raw, key)

    if "scp" in claims or claims.get("idtyp") == "app":
        refuse(IdTokenReason.NOT_AN_ID_TOKEN)
    # The audience is a text: a list would name others as well.
    if claims.get("aud") != client_id:
        refuse(IdTokenReason.AUDIENCE)
    if "azp" in claims and claims["azp"] != client_id:
        refuse(IdTokenReason.AUTHORIZED_PARTY)
    tenant = _tenant(claims, cloud, expected_tenant)
    if key_issuer is not None and key_issuer.replace("{tenantid}", tenant) != (
        f"{cloud.login_root}/{tenant}/v2.0"
    ):
        refuse(IdTokenReason.KEY_ISSUER)
    if claims.get("ver") != "2.0":
        refuse(IdTokenReason.VERSION)
    issued_at = _check_times(claims, now)
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(
        given.encode(), nonce_hash(nonce).encode()
    ):
        refuse(IdTokenReason.NONCE)
    object_id, subject = claims.get("oid"), claims.get("sub")
    if (
        not isinstance(object_id, str)
        or not is_guid(object_id)
        or not isinstance(subject, str)
        or not subject
    ):
        refuse(IdTokenReason.SUBJECT)
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
        refuse(IdTokenReason.MALFORMED)
    try:
        header = jwt.get_unverified_header(raw)
    except (jwt.PyJWTError, ValueError, binascii.Error):
        refuse(IdTokenReason.MALFORMED)
    if header.get("alg") != "RS256":
        refuse(IdTokenReason.ALGORITHM)
    if header.get("typ", "JWT") != "JWT" or "crit" in header:
        refuse(IdTokenReason.NOT_AN_ID_TOKEN)
    if not isinstance(header.get("kid"), str):
        refuse(IdTokenReason.UNKNOWN_KEY)
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
        refuse(IdTokenReason.SIGNATURE)
    except jwt.PyJWTError:
        refuse(IdTokenReason.MALFORMED)


def _tenant(
    claims: Mapping[str, Any], cloud: Cloud, expected_tenant: str | None
) -> TenantId:
    given = claims.get("tid")
    if not isinstance(given, str) or not is_guid(given):
        refuse(IdTokenReason.TENANT_MISSING)
    tenant = tenant_id(given)
    if tenant == PERSONAL_TENANT:
        refuse(IdTokenReason.PERSONAL_ACCOUNT)
    issuers = {f"{cloud.login_root}/{form}/v2.0" for form in (tenant, given)}
    if claims.get("iss") not in issuers:
        refuse(IdTokenReason.ISSUER)
    if expected_tenant is not None and tenant != expected_tenant.lower():
        refuse(IdTokenReason.OTHER_TENANT)
    return tenant


def _check_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    expires = _moment(claims.get("exp"))
    issued = _moment(claims.get("iat"))
    if expires is None or issued is None:
        refuse(IdTokenReason.MALFORMED)
    if now >= expires + CLOCK_SKEW:
        refuse(IdTokenReason.EXPIRED)
    if "nbf" in claims:
        begins = _moment(claims["nbf"])
        if begins is None:
            refuse(IdTokenReason.MALFORMED)
        if now < begins - CLOCK_SKEW:
            refuse(IdTokenReason.NOT_YET_VALID)
    if not issued - CLOCK_SKEW <= now < issued + MAX_ID_TOKEN_AGE + CLOCK_SKEW:
        refuse(IdTokenReason.ISSUED_AT)
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
    if not isinstance(value, str):
        return ""
    # JSON can hold what no database takes: NUL, and halves of characters.
    return value.replace("\x00", "").encode(errors="replace").decode()
