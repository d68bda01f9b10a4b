"""Federated identity credentials, and the foreign issuers that the sandbox plays."""

from dataclasses import dataclass
from typing import Any

import jwt

from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import FederatedCredential
from directory.sandbox.tokens import SigningKey, uuid_string

_SKEW = 300
AUDIENCE = "api://AzureADTokenExchange"


@dataclass(slots=True)
class ForeignIssuer:
    """Somebody else's issuer of tokens, such as a cluster or a build service."""

    url: str
    key: SigningKey

    @classmethod
    def new(cls, url: str) -> "ForeignIssuer":
        return cls(url, SigningKey.new())

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.key.jwk(self.url)]}

    def assertion(
        self, *, subject: str, audience: str, now: float, lifetime: float
    ) -> str:
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": audience,
            "jti": uuid_string(),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + lifetime),
        }
        return self.key.sign(claims)


def verify(
    assertion: str, credentials: list[FederatedCredential], *, now: float
) -> None:
    """Accept a foreign token that one of the credentials trusts.

    Issuer, subject and audience have to match to the letter.

    Raises: LoginError 700211, 700213, 7002138 or 700212 for what does not match,
    50013 for a signature by another key, 700024 outside its times.
    """
    claims = jwt.decode(assertion, options={"verify_signature": False})
    issuer, subject = str(claims.get("iss", "")), str(claims.get("sub", ""))
    audience = claims.get("aud")
    audiences = (
        {str(each) for each in audience}
        if isinstance(audience, list)
        else {str(audience or "")}
    )
    trusted = [each for each in credentials if each.issuer == issuer]
    if not trusted:
        raise aadsts(700211, issuer=issuer)
    named = [each for each in trusted if each.subject == subject]
    if not named:
        folded = any(each.subject.lower() == subject.lower() for each in trusted)
        raise aadsts(7002138 if folded else 700213, subject=subject)
    meant = [each for each in named if audiences & set(each.audiences)]
    if not meant:
        raise aadsts(700212, audience=", ".join(sorted(audiences)))
    if not any(_is_signed(assertion, each.jwks) for each in meant):
        raise aadsts(50013)
    if not is_within(claims, now):
        raise aadsts(700024)


def is_within(claims: dict[str, Any], now: float) -> bool:
    """Say whether a token's times hold now, with five minutes of skew."""
    expires, starts = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(expires, int | float) or not isinstance(starts, int | float):
        return False
    return starts - _SKEW <= now < expires + _SKEW


def _is_signed(assertion: str, jwks: dict[str, Any]) -> bool:
    kid = jwt.get_unverified_header(assertion).get("kid")
    try:
        keys = jwt.PyJWKSet.from_dict(jwks).keys
    except (jwt.PyJWTError, TypeError, ValueError):
        return False
    for each in keys:
        if kid is not None and each.key_id not in (None, kid):
            continue
        try:
            jwt.decode(
                assertion,
                each,
                algorithms=["RS256", "ES256"],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError:
            continue
        return True
    return False
