"""Certificate assertions: how an application proves itself without a secret."""

from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.sandbox import federation
from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import Application
from directory.sandbox.errors import LoginError
from directory.sandbox.tokens import b64url


def verify_assertion(
    assertion: str,
    *,
    application: Application,
    audiences: set[str],
    now: float,
) -> None:
    """Check a client assertion: by certificate, or by a foreign issuer.

    A certificate's is PS256 with x5t#S256 or RS256 with x5t.
    https://learn.microsoft.com/entra/identity-platform/certificate-credentials

    Raises: LoginError 700027 when no registered certificate signed it or the one that
    did has expired, 700024 when it is outside its times, 50027 when it is malformed,
    700021/700023 when issuer or audience are wrong; and those of ``federation``.
    """
    client_id = application.client_id
    try:
        header = jwt.get_unverified_header(assertion)
    except jwt.InvalidTokenError:
        raise aadsts(50027) from None
    if _issuer(assertion) != client_id:
        federation.verify(assertion, application.federated, now=now)
        return
    thumbprint = str(header.get("x5t#S256") or header.get("x5t") or "")
    for pem in application.certificates:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        if thumbprint.rstrip("=") not in _thumbprints(certificate):
            continue
        if not _is_current(certificate, now):
            raise aadsts(700027, reason="The key used is expired.", app=client_id)
        public = certificate.public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            continue
        try:
            claims = jwt.decode(
                assertion,
                public,
                algorithms=["PS256", "RS256"],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError:
            raise _bad_assertion(client_id) from None
        _check_claims(claims, client_id, audiences, now)
        return
    raise _bad_assertion(client_id)


def _issuer(assertion: str) -> str:
    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise aadsts(50027) from None
    return str(claims.get("iss", ""))


def _is_current(certificate: x509.Certificate, now: float) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def _bad_assertion(client_id: str) -> LoginError:
    return aadsts(700027, reason="The key was not found.", app=client_id)


def _check_claims(
    claims: dict[str, Any], client_id: str, audiences: set[str], now: float
) -> None:
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise aadsts(700021)
    if str(claims.get("aud")) not in audiences:
        raise aadsts(700023)
    # MSAL writes times with a fraction.
    if not federation.is_within(claims, now):
        raise aadsts(700024)


def _thumbprints(certificate: x509.Certificate) -> set[str]:
    return {
        b64url(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 Entra's x5t
        b64url(certificate.fingerprint(hashes.SHA256())),
    }
