"""The connector's memory: one encrypted cookie per attempt, in the browser.

What a cookie holds is encrypted and authenticated together with its name
(AES-256-GCM), so that it cannot be read, changed or used for another attempt. Codes
pass through here and nowhere else: not through addresses that stay in a history.
"""

import base64
import binascii
import json
import os
import zlib
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from directory.connector.keys import cookie_key

LIFETIME = timedelta(minutes=10)
# Browsers keep about 4,096 bytes of a cookie, its name and attributes included.
MAX_BYTES = 3900


class TooLarge(Exception):
    """What has to be kept does not fit into a cookie."""


def keep(
    response: HttpResponseBase, name: str, content: dict[str, Any], *, now: datetime
) -> None:
    """Store `content` in the browser for ten minutes. Raises TooLarge."""
    plain = json.dumps(
        {**content, "expires": int((now + LIFETIME).timestamp())}
    ).encode()
    nonce = os.urandom(12)
    sealed = AESGCM(cookie_key()).encrypt(nonce, zlib.compress(plain), name.encode())
    value = base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()
    if len(value) > MAX_BYTES:
        raise TooLarge
    response.set_cookie(
        name,
        value,
        max_age=LIFETIME,
        path=_path(),
        secure=_is_https(),
        httponly=True,
        samesite="Lax",
    )


def read(request: HttpRequest, name: str, *, now: datetime) -> dict[str, Any] | None:
    """Return what this browser kept, or None: absent, changed, or too old."""
    value = request.COOKIES.get(name, "")
    try:
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        plain = AESGCM(cookie_key()).decrypt(raw[:12], raw[12:], name.encode())
        content = json.loads(zlib.decompress(plain))
    except (binascii.Error, ValueError, InvalidTag, zlib.error):
        return None
    if not isinstance(content, dict) or now.timestamp() >= content["expires"]:
        return None
    return content


def forget(response: HttpResponseBase, name: str) -> None:
    response.delete_cookie(name, path=_path(), samesite="Lax")


def _path() -> str:
    return urlsplit(str(settings.CONNECTOR_URL)).path.rstrip("/") + "/"


def _is_https() -> bool:
    return urlsplit(str(settings.CONNECTOR_URL)).scheme == "https"
