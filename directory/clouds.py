"""The Microsoft clouds that this deployment may talk to, and by which way.

The sandbox is one of them only while a setting names it, only on loopback, and never
in production.
"""

from dataclasses import replace

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from directory.entra import (
    CLOUDS,
    SANDBOX_KEY,
    Cloud,
    Egress,
    SignInMetadata,
    sandbox_cloud,
)
from directory.entra.errors import EntraError, InvalidCloudAddress

METADATA = SignInMetadata()
"""What Microsoft's sign-in service publishes, kept once in each process."""


class CloudUnavailable(EntraError):
    """No cloud of this key: it is unknown, or the sandbox is not switched on."""

    def __init__(self, key: str) -> None:
        if key == SANDBOX_KEY:
            super().__init__(
                "The sandbox cloud is not switched on in this console.",
                advice="Set ENTRA_SANDBOX_URL, or delete what belongs to the sandbox.",
            )
        else:
            super().__init__("This Microsoft cloud is not known to the console.")
        self.key = key


def sandbox() -> Cloud | None:
    """Return the sandbox cloud, or None when it is not named or not on loopback."""
    if not settings.ENTRA_SANDBOX_URL or settings.PRODUCTION:
        return None
    try:
        return sandbox_cloud(settings.ENTRA_SANDBOX_URL, settings.ENTRA_SANDBOX_CA_FILE)
    except InvalidCloudAddress:
        # Start-up names the fault; to everything else there is no sandbox.
        return None


def refuse_a_misplaced_sandbox() -> None:
    """Stop the start of a console that is told to trust a sandbox it must not trust.

    It runs in every process that loads Django: web server, worker, commands.

    Raises:
        ImproperlyConfigured: the sandbox is not on this machine, or this console is
            in production, where anybody could sign in at a sandbox.
    """
    if not settings.ENTRA_SANDBOX_URL:
        return
    if settings.PRODUCTION:
        raise ImproperlyConfigured(
            "ENTRA_SANDBOX_URL is set, and this console is in production: CONSOLE_URL "
            "or CONNECTOR_URL is not on this machine. Anybody could sign in at a "
            "sandbox. Remove ENTRA_SANDBOX_URL from this deployment."
        )
    try:
        sandbox_cloud(settings.ENTRA_SANDBOX_URL, settings.ENTRA_SANDBOX_CA_FILE)
    except InvalidCloudAddress as error:
        raise ImproperlyConfigured(
            f"ENTRA_SANDBOX_URL: {error.message} {error.advice}"
        ) from None


def egress() -> Egress:
    """Return how requests to Microsoft leave this machine. The sandbox is on it."""
    return Egress(
        proxy_url=settings.OUTGOING_PROXY,
        no_proxy=settings.OUTGOING_NO_PROXY,
        ca_file=settings.OUTGOING_CA_FILE,
    )


def egress_in_words() -> str:
    """Return how Microsoft is reached, for the System page; no password stands in it."""
    way = egress()
    proxy = replace(way, no_proxy="").proxy_shown("")
    text = f"Through the proxy {proxy}" if proxy else "Directly"
    if proxy and way.no_proxy:
        text += f", and directly to {way.no_proxy}"
    if way.ca_file:
        text += (
            f"; the authorities in {way.ca_file} are trusted besides the public ones"
        )
    return text


def available() -> list[Cloud]:
    """Return every cloud a tenant can be connected in, the sandbox last."""
    local, way = sandbox(), egress()
    microsoft = [replace(known, egress=way) for known in CLOUDS.values()]
    return [*microsoft, *([local] if local else [])]


def cloud(key: str) -> Cloud:
    """Return the cloud of a key. Raises CloudUnavailable."""
    for known in available():
        if known.key == key:
            return known
    raise CloudUnavailable(key)
