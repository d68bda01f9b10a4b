"""What an application registration proves itself with: secret, certificate, assertion."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_never

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from directory.entra import errors

# Tokens of Kubernetes and of the clouds have one or two thousand bytes.
MAX_ASSERTION_BYTES = 16 * 1024


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionClaims:
    """What an assertion says of itself; its signature is Microsoft's to check.

    A federated identity credential at Microsoft has to repeat the first three.
    """

    issuer: str
    subject: str
    audience: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class FederatedAssertion:
    """A token that the platform puts into a file and replaces before it expires.

    The file is read at each use and never kept.
    https://learn.microsoft.com/entra/workload-id/workload-identity-federation
    """

    path: Path

    def for_msal(self) -> dict[str, Callable[[], str]]:
        # Now as well: a file that cannot be used is said before anything is asked.
        self.read()
        return {"client_assertion": self.read}

    def read(self) -> str:
        """Return the token. Raises AssertionUnavailable."""
        return self._token()[0]

    def claims(self) -> AssertionClaims:
        """Return what the token says of itself. Raises AssertionUnavailable."""
        return self._token()[1]

    def _token(self) -> tuple[str, AssertionClaims]:
        token = self._content()
        claims = _claims_of(token, self.path)
        if claims.expires_at <= datetime.now(UTC):
            raise errors.AssertionUnavailable(
                f"The assertion in {self.path} expired on "
                f"{claims.expires_at:%-d %B %Y at %H:%M} UTC and was not replaced.",
                advice="Look why the platform does not refresh the file.",
            )
        return token, claims

    def _content(self) -> str:
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_ASSERTION_BYTES + 1)
        except FileNotFoundError:
            raise errors.AssertionUnavailable(
                f"There is no file {self.path} with an assertion.",
                advice="Check that the platform provides it to this process.",
            ) from None
        except OSError as error:
            raise errors.AssertionUnavailable(
                f"The file {self.path} with the assertion cannot be read: "
                f"{error.strerror or 'unknown fault'}.",
                advice="Let the user that the console runs as read it.",
            ) from None
        try:
            if len(content) > MAX_ASSERTION_BYTES:
                raise _no_token(self.path)
            return content.decode("ascii").strip()
        except UnicodeDecodeError:
            raise _no_token(self.path) from None


def _claims_of(token: str, path: Path) -> AssertionClaims:
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        texts = (claims["iss"], claims["sub"], audience)
        if not all(isinstance(text, str) and text for text in texts):
            raise _no_token(path)
        return AssertionClaims(
            issuer=claims["iss"],
            subject=claims["sub"],
            audience=audience,
            expires_at=datetime.fromtimestamp(claims["exp"], tz=UTC),
        )
    except errors.AssertionUnavailable:
        raise
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, OSError):
        # What stands in the file is never quoted: it may be something else.
        raise _no_token(path) from None


def _no_token(path: Path) -> errors.AssertionUnavailable:
    return errors.AssertionUnavailable(
        f"The file {path} holds no assertion: a JSON web token with an issuer, a "
        "subject, one audience and an end.",
        advice="Name the file that the platform writes the token to.",
    )


Credential = ClientSecret | CertificateCredential | FederatedAssertion


def fingerprint(credential: Credential) -> str:
    """Return what tells credentials apart in memory; it is never stored."""
    match credential:
        case ClientSecret(value=text):
            pass
        case CertificateCredential(private_key_pem=key, certificate_pem=certificate):
            text = key + certificate
        case FederatedAssertion(path=path):
            # The token in the file changes; whom it speaks for does not.
            text = f"assertion {path}"
        case _:
            assert_never(credential)
    return hashlib.sha256(text.encode()).hexdigest()
