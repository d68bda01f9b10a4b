"""Secrets of a finished run, and where they must not stand: logs, database, messages.

Not searched are the sandbox's own files, which stand for Microsoft, and the files that
hold the console's keys.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from jamfidp.demo.processes import Installation

# What travels in addresses and works for whoever has it.
CARRIED = {"code", "state", "answer", "request", "nonce", "token"}
SHORTEST = 12
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.")


def carried(addresses: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return name and value of the secrets that stood in these addresses."""
    for address in addresses:
        for name, value in parse_qsl(urlsplit(address).query):
            if name in CARRIED and len(value) >= SHORTEST:
                yield name, value


def left_behind(
    installation: Installation, addresses: Iterable[str]
) -> tuple[int, list[str]]:
    """Return how many secrets were looked for, and where one was found."""
    secrets = {
        (
            "application secret",
            installation.sandbox_facts["application"]["client_secret"],
        ),
        ("administrator's password", installation.administrator_password),
        *carried(addresses),
    }
    found = []
    for file in _files(installation.folder):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            # The console goes on meanwhile: SQLite ends its log, workers take messages.
            continue
        where = file.relative_to(installation.folder)
        found += [
            f"{name} in {where}"
            for name, value in sorted(secrets)
            if value.encode() in content
        ]
        if TOKEN.search(content):
            found.append(f"token in {where}")
    return len(secrets), found


def _files(folder: Path) -> Iterator[Path]:
    # The log (-wal) before the database that it is written into.
    yield from sorted(folder.glob("console.sqlite3*"), reverse=True)
    for name in ("log", "broker"):
        yield from (one for one in (folder / name).rglob("*") if one.is_file())
