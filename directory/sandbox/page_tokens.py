"""The opaque tokens of nextLink and deltaLink."""

import base64
import binascii
import hashlib
import hmac
from typing import Any

import orjson

_MAC = 12


class TokenSealer:
    """Makes the opaque tokens of nextLink and deltaLink, and reads them back."""

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def seal(self, content: dict[str, Any]) -> str:
        packed = orjson.dumps(content)
        return base64.urlsafe_b64encode(self._mac(packed) + packed).decode().rstrip("=")

    def open(self, token: str) -> dict[str, Any] | None:
        """Return the content, or None for a token this folder's sandbox never made."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(self._mac(raw[_MAC:]), raw[:_MAC]):
            return None
        content: dict[str, Any] = orjson.loads(raw[_MAC:])
        return content

    def _mac(self, packed: bytes) -> bytes:
        return hashlib.blake2b(packed, key=self._key, digest_size=_MAC).digest()
