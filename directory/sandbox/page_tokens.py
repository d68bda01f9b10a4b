"""The opaque tokens of nextLink and deltaLink."""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from typing import Any


class TokenSealer:
    """Makes the opaque tokens of nextLink and deltaLink, and reads them back."""

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def seal(self, content: dict[str, Any]) -> str:
        packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 6)
        mac = hmac.new(self._key, packed, hashlib.sha256).digest()[:12]
        return base64.urlsafe_b64encode(mac + packed).decode().rstrip("=")

    def open(self, token: str) -> dict[str, Any] | None:
        """Return the content, or None for a token this folder's sandbox never made."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            return None
        mac = hmac.new(self._key, raw[12:], hashlib.sha256).digest()[:12]
        if not hmac.compare_digest(mac, raw[:12]):
            return None
        content: dict[str, Any] = json.loads(zlib.decompress(raw[12:]))
        return content
