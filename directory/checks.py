"""System checks: what must not start, or not be deployed, this way."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured

from directory.connector import keys
from directory.entra.tls import tls_context
from jamfidp import crypto


@register()
def the_way_out_is_usable(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """A proxy and authorities that cannot be used keep the console from Microsoft."""
    found: list[CheckMessage] = []
    # The address may hold a password: it is never repeated.
    if settings.OUTGOING_PROXY and not _is_proxy(settings.OUTGOING_PROXY):
        found.append(
            Error(
                "HTTPS_PROXY is not the http or https address of a proxy.",
                hint="Write it as http://proxy.example.com:3128. SOCKS is not "
                "supported.",
                id="directory.E004",
            )
        )
    if settings.OUTGOING_CA_FILE:
        try:
            tls_context().load_verify_locations(cafile=settings.OUTGOING_CA_FILE)
        except OSError:
            found.append(
                Error(
                    "OUTGOING_CA_FILE cannot be read, or holds no certificate in PEM "
                    "form.",
                    hint="Name a file that the console may read.",
                    id="directory.E005",
                )
            )
    return found


def _is_proxy(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and parts.path in ("", "/")
            and not parts.query
            and not parts.fragment
        )
    except ValueError:
        return False


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


@register()
def the_connector_elsewhere_is_known(
    app_configs: Any, **kwargs: Any
) -> Sequence[CheckMessage]:
    """Its answers are verified by its public key, which nobody can guess."""
    mounted = f"{settings.CONSOLE_URL}/connector"
    if mounted == settings.CONNECTOR_URL or settings.CONNECTOR_PUBLIC_KEY:
        return []
    return [
        Error(
            "CONNECTOR_URL names a connector elsewhere, and CONNECTOR_PUBLIC_KEY is not "
            "set: no answer of it could be verified.",
            hint="`python -m directory.connector` prints it where the connector runs.",
            id="directory.E004",
        )
    ]


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
