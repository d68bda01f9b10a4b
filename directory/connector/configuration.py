"""Which consoles the connector serves, as data.

A console that mounts the connector provides its own entry; a connector that is
served alone reads CONNECTOR_CONSOLES_FILE, each time anew:

    {"consoles": [{"id": "https://console.example.com",
                   "return_url":
                       "https://console.example.com/settings/cloud-idps/consent/callback/",
                   "public_keys": ["-----BEGIN PUBLIC KEY-----..."],
                   "client_ids": ["00000000-0000-0000-0000-000000000000"]}]}

`manage.py connector_entry` prints the entry of a console.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from directory.connector.keys import public_key, public_pem
from directory.entra import is_guid

FILE = "CONNECTOR_CONSOLES_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """One console: answers go to exactly this address, for these applications."""

    id: str
    return_url: str
    public_keys: Sequence[ec.EllipticCurvePublicKey]
    client_ids: frozenset[str]

    def entry(self) -> dict[str, Any]:
        """The console as an entry of the file."""
        return {
            "id": self.id,
            "return_url": self.return_url,
            "public_keys": [public_pem(key) for key in self.public_keys],
            "client_ids": sorted(self.client_ids),
        }


_provider: Callable[[], Sequence[Console]] | None = None


def provide(consoles: Callable[[], Sequence[Console]]) -> None:
    """Serve what this returns: called by the console that mounts the connector."""
    global _provider
    _provider = consoles


def connector_id() -> str:
    """The connector's name in messages: its address."""
    return str(settings.CONNECTOR_URL)


def consoles() -> Sequence[Console]:
    """Return every console that the connector serves.

    Raises:
        ImproperlyConfigured: the file cannot be read.
    """
    if settings.CONNECTOR_CONSOLES_FILE:
        return from_file(Path(settings.CONNECTOR_CONSOLES_FILE))
    return _provider() if _provider is not None else ()


def find_console(console_id: str) -> Console | None:
    """Return the console of this id, or None when the connector does not serve it.

    Raises:
        ImproperlyConfigured: the file cannot be read.
    """
    return next((known for known in consoles() if known.id == console_id), None)


def from_file(path: Path) -> Sequence[Console]:
    """Read the consoles of a file. Raises ImproperlyConfigured, naming the entry."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ImproperlyConfigured(
            f"{FILE} cannot be read: {error.strerror or 'unknown fault'}."
        ) from None
    except ValueError:
        raise ImproperlyConfigured(f"{FILE} is not JSON.") from None
    entries = document.get("consoles") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ImproperlyConfigured(f'{FILE} has no list "consoles".')
    found = [_console(number, entry) for number, entry in enumerate(entries, start=1)]
    ids = [console.id for console in found]
    twice = next((each for each in ids if ids.count(each) > 1), None)
    if twice is not None:
        raise ImproperlyConfigured(f"{FILE} names the console {twice} twice.")
    return found


def _console(number: int, entry: Any) -> Console:
    where = f"{FILE}, console {number}"
    if not isinstance(entry, dict):
        raise ImproperlyConfigured(f"{where}: it is no object with fields.")
    console_id = _text(entry, "id", where)
    address, return_url = urlsplit(console_id), _text(entry, "return_url", where)
    local = address.scheme == "http" and address.hostname in {"localhost", "127.0.0.1"}
    if not (address.scheme == "https" or local) or address.path or address.query:
        raise ImproperlyConfigured(
            f"{where}: id has to be the https address of the console, without a path."
        )
    if not return_url.startswith(f"{console_id}/"):
        raise ImproperlyConfigured(
            f"{where}: return_url has to be an address of the console {console_id}."
        )
    client_ids = [each.lower() for each in _texts(entry, "client_ids", where)]
    if not all(map(is_guid, client_ids)):
        raise ImproperlyConfigured(f"{where}: a client ID is not a GUID.")
    return Console(
        id=console_id,
        return_url=return_url,
        public_keys=[
            public_key(pem, source=f"{where}: public_keys")
            for pem in _texts(entry, "public_keys", where)
        ],
        client_ids=frozenset(client_ids),
    )


def _text(entry: Mapping[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise ImproperlyConfigured(f"{where}: it has no {name}.")
    return value


def _texts(entry: Mapping[str, Any], name: str, where: str) -> list[str]:
    values = entry.get(name)
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(value, str) for value in values)
    ):
        raise ImproperlyConfigured(f"{where}: {name} has to be a list of texts.")
    return values
