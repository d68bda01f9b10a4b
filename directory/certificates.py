"""Certificates with their keys: read from files and text, checked, generated.

Knows no rows. What it returns holds a private key in the clear: it is sealed at once.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from directory.entra import CertificateCredential, errors
from directory.registrations import RegistrationRefused

# Microsoft recommends to renew credentials within a year.
LIFETIME = timedelta(days=365)
MINIMUM_KEY_BITS, GENERATED_KEY_BITS = 2048, 3072
MAX_FILE_BYTES = 100 * 1024
_BEGINS_KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and the private key that belongs to it, in PEM."""

    certificate: x509.Certificate
    private_key_pem: str = field(repr=False)

    @property
    def certificate_pem(self) -> str:
        """The certificate alone: what was entered may hold a chain, or a key."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.certificate)


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256 in upper-case hexadecimal, as Microsoft's portal shows it."""
    return certificate.fingerprint(hashes.SHA256()).hex().upper()


def from_text(
    *, certificate_pem: str, private_key_pem: str, passphrase: str, now: datetime
) -> KeyPair:
    """Read what was pasted.

    Raises:
        RegistrationRefused: unreadable, expired, too weak, not RSA, no match.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError:
        raise RegistrationRefused(
            "certificate_pem",
            "This is not a certificate in PEM form. It begins with "
            "-----BEGIN CERTIFICATE-----.",
        ) from None
    try:
        CertificateCredential(
            private_key_pem=private_key_pem,
            certificate_pem=certificate_pem,
            passphrase=passphrase or None,
        ).check()
    except errors.InvalidCredential as refused:
        raise RegistrationRefused(
            "private_key_pem", f"{refused.message} {refused.advice}"
        ) from None
    check_fit(certificate, field="certificate_pem", now=now)
    key = load_pem_private_key(
        private_key_pem.encode(), passphrase.encode() if passphrase else None
    )
    # That it is an RSA key was checked above.
    return _pair(certificate, cast(rsa.RSAPrivateKey, key))


def from_file(content: bytes, *, passphrase: str, now: datetime) -> KeyPair:
    """Read a PKCS#12 file (.pfx, .p12), or a PEM file that holds both.

    Raises:
        RegistrationRefused: see `from_text`; a wrong passphrase names its field.
    """
    if len(content) > MAX_FILE_BYTES:
        raise RegistrationRefused(
            "file", "This file is too large to be a certificate with its key."
        )
    if _BEGINS_KEY in content:
        return _from_pem_file(content, passphrase=passphrase, now=now)
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(
            content, passphrase.encode() if passphrase else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library tells a wrong passphrase from a damaged file by its text alone.
        raise RegistrationRefused(
            "file",
            "This file cannot be read: it is no PKCS#12 file (.pfx, .p12) and no PEM "
            "file with certificate and key, or the passphrase is wrong.",
        ) from None
    if certificate is None or key is None:
        what = "certificate" if key is not None else "private key"
        raise RegistrationRefused(
            "file",
            f"This file holds no {what}. Export the certificate together with its "
            "private key.",
        )
    if not isinstance(key, rsa.RSAPrivateKey):
        raise RegistrationRefused(
            "file",
            "The private key is not an RSA key. Microsoft accepts RSA certificates "
            "only.",
        )
    check_fit(certificate, field="file", now=now)
    return _pair(certificate, key)


def _from_pem_file(content: bytes, *, passphrase: str, now: datetime) -> KeyPair:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise RegistrationRefused("file", "This PEM file is damaged.") from None
    try:
        return from_text(
            certificate_pem=text, private_key_pem=text, passphrase=passphrase, now=now
        )
    except RegistrationRefused as refused:
        raise RegistrationRefused("file", str(refused)) from None


def generate(common_name: str, *, now: datetime) -> KeyPair:
    """Make a key and a self-signed certificate, valid for a year."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=GENERATED_KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def check_fit(certificate: x509.Certificate, *, field: str, now: datetime) -> None:
    """Raise RegistrationRefused when Microsoft would not take the certificate now."""
    if certificate.not_valid_after_utc <= now:
        raise RegistrationRefused(
            field,
            f"This certificate expired on {certificate.not_valid_after_utc:%-d %B %Y}. "
            "Microsoft would refuse it.",
        )
    if certificate.not_valid_before_utc > now:
        raise RegistrationRefused(
            field,
            "This certificate is not valid before "
            f"{certificate.not_valid_before_utc:%-d %B %Y}.",
        )
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < MINIMUM_KEY_BITS:
        raise RegistrationRefused(
            field,
            f"The key has {public.key_size} bits. Use {MINIMUM_KEY_BITS} or more.",
        )


def _pair(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> KeyPair:
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(certificate=certificate, private_key_pem=plain.decode())
