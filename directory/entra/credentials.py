"""What an application registration proves itself with: a secret or a certificate."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from directory.entra import errors


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


def fingerprint(credential: Credential) -> str:
    """Return what tells credentials apart in memory; it is never stored."""
    text = (
        credential.value
        if isinstance(credential, ClientSecret)
        else credential.private_key_pem + credential.certificate_pem
    )
    return hashlib.sha256(text.encode()).hexdigest()
