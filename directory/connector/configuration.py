"""Which consoles the connector serves, as data.

A console that mounts the connector provides its own entry; a connector that is
served alone reads CONNECTOR_CONSOLES_FILE:

    {"consoles": [{"id": "https://console.example.com",
                   "return_url":
                       "https://console.example.com/settings/cloud-idps/consent/callback/",
                   "public_keys": ["-----BEGIN PUBLIC KEY-----..."],
                   "client_ids": ["00000000-0000-0000-0000-000000000000"]}]}
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from directory.connector.keys import public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """One console: answers go to exactly this address, for these applications."""

    id: str
    return_url: str
    public_keys: Sequence[ec.EllipticCurvePublicKey]
    client_ids: frozenset[str]


_provider: Callable[[], Sequence[Console]] | None = None


def provide(consoles: Callable[[], Sequence[Console]]) -> None:
    """Serve what this returns: called by the console that mounts the connector."""
    global _provider
    _provider = consoles


def connector_id() -> str:
    """The connector's name in messages: its address."""
    return str(settings.CONNECTOR_URL)


def find_console(console_id: str) -> Console | None:
    """Return the console of this id, or None when the connector does not serve it.

    Raises:
        ImproperlyConfigured: the file cannot be read.
    """
    if settings.CONNECTOR_CONSOLES_FILE:
        consoles = from_file(Path(settings.CONNECTOR_CONSOLES_FILE))
    else:
        consoles = _provider() if _provider is not None else ()
    return next((known for known in consoles if known.id == console_id), None)


def from_file(path: Path) -> Sequence[Console]:
    """Read the consoles of a file. Raises ImproperlyConfigured."""
    try:
        entries = json.loads(path.read_text())["consoles"]
        return [_console(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ImproperlyConfigured(
            "CONNECTOR_CONSOLES_FILE cannot be read; directory/connector/"
            "configuration.py shows its form."
        ) from None


def _console(entry: dict[str, Any]) -> Console:
    return Console(
        id=str(entry["id"]),
        return_url=str(entry["return_url"]),
        public_keys=[
            public_key(pem, source="CONNECTOR_CONSOLES_FILE")
            for pem in entry["public_keys"]
        ],
        client_ids=frozenset(str(each).lower() for each in entry["client_ids"]),
    )
