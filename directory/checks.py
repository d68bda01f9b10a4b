"""System checks: what must not start, or not be deployed, this way."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured

from directory.connector import keys
from jamfidp import crypto


@register()
def signing_keys_are_readable(
    app_configs: Any, **kwargs: Any
) -> Sequence[CheckMessage]:
    found: list[CheckMessage] = []
    for role in ("console", "connector"):
        try:
            keys.verifying_keys("console" if role == "console" else "connector")
            keys.signing_key("console" if role == "console" else "connector")
        except ImproperlyConfigured as error:
            found.append(
                Error(
                    str(error),
                    hint="openssl ecparam -name prime256v1 -genkey -noout makes one.",
                    id="directory.E003",
                )
            )
    return found


@register(deploy=True)
def secrets_can_be_kept(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Without a key the console starts, but no tenant can be connected."""
    if crypto.keys_available():
        return []
    return [
        CheckWarning(
            "ENCRYPTION_KEYS holds no usable key: no secret can be kept and no tenant "
            "connected.",
            hint='Set it to "id:" and the output of `openssl rand -base64 32`.',
            id="directory.W001",
        )
    ]
