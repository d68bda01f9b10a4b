"""Secrets at rest: AES-256-GCM, bound to the row and field they belong to.

Keys come from the ENCRYPTION_KEYS setting, never from the database. The first key
encrypts; every key listed decrypts, so that keys can be rotated. The ciphertext of
one row does not decrypt in another (its model, primary key and field are
authenticated with it).
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

VERSION = "v1"


class KeyUnavailable(Exception):
    """No encryption key is configured, or the one this secret needs is missing."""


class DecryptionFailed(Exception):
    """The key is there but the ciphertext was changed or belongs to another row."""


def _keys() -> Mapping[str, bytes]:
    keys: dict[str, bytes] = {}
    for entry in settings.ENCRYPTION_KEYS:
        key_id, separator, encoded = entry.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise KeyUnavailable(
                f"ENCRYPTION_KEYS: the key {key_id!r} is not base64."
            ) from error
        if not separator or not key_id or len(key) != 32:
            raise KeyUnavailable(
                "ENCRYPTION_KEYS: each key is an id, a colon and 32 bytes in base64."
            )
        keys[key_id] = key
    return keys


def keys_available() -> bool:
    """Return whether a secret could be encrypted now."""
    try:
        return bool(_keys())
    except KeyUnavailable:
        return False


def _context(*, model: str, pk: str, field: str) -> bytes:
    return "\x1f".join((VERSION, model, pk, field)).encode()


def encrypt(plaintext: str, *, model: str, pk: str, field: str) -> str:
    """Encrypt with the newest key. Raises KeyUnavailable when there is none."""
    keys = _keys()
    if not keys:
        raise KeyUnavailable(
            "No encryption key is configured. Set ENCRYPTION_KEYS; README.md says how."
        )
    key_id, key = next(iter(keys.items()))
    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(
        nonce, plaintext.encode(), _context(model=model, pk=pk, field=field)
    )
    return f"{VERSION}:{key_id}:{base64.b64encode(nonce + sealed).decode()}"


def decrypt(ciphertext: str, *, model: str, pk: str, field: str) -> str:
    """Return the plaintext.

    Raises KeyUnavailable when the key that sealed it is not configured, and
    DecryptionFailed when the ciphertext does not belong to this row and field.
    """
    version, _, rest = ciphertext.partition(":")
    key_id, _, encoded = rest.partition(":")
    if version != VERSION or not encoded:
        raise DecryptionFailed("The stored secret has an unknown form.")
    key = _keys().get(key_id)
    if key is None:
        raise KeyUnavailable(
            f"The encryption key {key_id!r} that sealed this secret is not configured."
        )
    sealed = base64.b64decode(encoded)
    try:
        plaintext = AESGCM(key).decrypt(
            sealed[:12], sealed[12:], _context(model=model, pk=pk, field=field)
        )
    except InvalidTag as error:
        raise DecryptionFailed(
            "The stored secret does not decrypt: it was changed or moved, or the key "
            "of this name is another one."
        ) from error
    return plaintext.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """How many secrets were moved to the newest key, were new, or could not be read."""

    moved: int = 0
    kept: int = 0
    unreadable: int = 0

    def __add__(self, other: Resealed) -> Resealed:
        return Resealed(
            moved=self.moved + other.moved,
            kept=self.kept + other.kept,
            unreadable=self.unreadable + other.unreadable,
        )


def is_sealed_with_newest_key(ciphertext: str) -> bool:
    """Return whether re-encryption would change nothing but the nonce."""
    newest = next(iter(_keys()), None)
    return newest is not None and ciphertext.startswith(f"{VERSION}:{newest}:")


def fingerprint(secret: str) -> str:
    """Return a short name for a secret, safe to show: 12 hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]
