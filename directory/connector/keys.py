"""Signing keys of the connector and of the console, EC P-256 (ES256).

A key comes from a setting, or is derived from SECRET_KEY, so that every process of
a deployment has the same one without storing it. Keys of SECRET_KEY_FALLBACKS still
verify.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

_END = "-----END PUBLIC KEY-----"

Role = Literal["console", "connector"]
# The order of the group of P-256: https://www.secg.org/sec2-v2.pdf, section 2.4.2
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def signing_key(role: Role) -> ec.EllipticCurvePrivateKey:
    """Return the key that signs now.

    Raises:
        ImproperlyConfigured: the setting holds something else than such a key.
    """
    name, pem = _setting(role)
    if not pem:
        return _derived(settings.SECRET_KEY, role)
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(f"{name} is not a private key in PEM.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise ImproperlyConfigured(f"{name} is not an EC key on the curve P-256.")
    return key


def _setting(role: Role) -> tuple[str, str]:
    if role == "console":
        return "CONSOLE_SIGNING_KEY", settings.CONSOLE_SIGNING_KEY
    return "CONNECTOR_SIGNING_KEY", settings.CONNECTOR_SIGNING_KEY


def verifying_keys(role: Role) -> Sequence[ec.EllipticCurvePublicKey]:
    """Return every public key that a message of this role may be signed with.

    Raises:
        ImproperlyConfigured: a setting holds something else than such a key.
    """
    if role == "connector" and settings.CONNECTOR_PUBLIC_KEY:
        return public_keys(settings.CONNECTOR_PUBLIC_KEY, source="CONNECTOR_PUBLIC_KEY")
    keys = [signing_key(role)]
    if not _setting(role)[1]:
        keys += [_derived(old, role) for old in settings.SECRET_KEY_FALLBACKS]
    return [key.public_key() for key in keys]


def public_key(pem: str, *, source: str) -> ec.EllipticCurvePublicKey:
    """Read a public key. Raises ImproperlyConfigured, naming the source."""
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise ImproperlyConfigured(
            f"{source} is not a public EC key on the curve P-256 in PEM."
        )
    return key


def public_keys(pems: str, *, source: str) -> list[ec.EllipticCurvePublicKey]:
    """Read one or more public keys, one after the other: while a key is replaced,
    messages of both are taken. Raises ImproperlyConfigured, naming the source.
    """
    return [
        public_key(f"{begin}{_END}\n", source=source)
        for begin in pems.split(_END)[:-1] or [pems]
    ]


def public_pem(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()[:16]


def cookie_key() -> bytes:
    """Return the key that encrypts the connector's cookies (AES-256)."""
    private = signing_key("connector").private_numbers().private_value
    return _expand(private.to_bytes(32, "big"), b"cloud connector cookies", 32)


def _derived(secret: str, role: Role) -> ec.EllipticCurvePrivateKey:
    # 48 bytes for an order of 32: the remainder is as good as uniform (FIPS 186-5,
    # A.2.1).
    number = int.from_bytes(_expand(secret.encode(), f"es256 {role}".encode(), 48))
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


def _expand(secret: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(
        algorithm=hashes.SHA256(), length=length, salt=None, info=purpose
    ).derive(secret)
