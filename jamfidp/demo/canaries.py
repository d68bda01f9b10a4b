"""Secrets of a finished run, and where they must not stand: logs, database, messages,
pages.

Not searched are the sandbox's own files, which stand for Microsoft, and the files that
hold the console's keys.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from jamfidp.demo.browsing import Browser
from jamfidp.demo.processes import Installation

# What travels in addresses and works for whoever has it.
CARRIED = {"code", "state", "answer", "request", "nonce", "token"}
SESSION = "sessionid"
SHORTEST = 12
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.")

# What it is, and the secret itself.
Secret = tuple[str, str]


def carried(addresses: Iterable[str]) -> Iterator[Secret]:
    """Return name and value of the secrets that stood in these addresses."""
    for address in addresses:
        for name, value in parse_qsl(urlsplit(address).query):
            if name in CARRIED and len(value) >= SHORTEST:
                yield name, value


def of_run(installation: Installation, browsers: Collection[Browser]) -> set[Secret]:
    """Return what a run with these browsers has used: keys, codes, passwords."""
    application = installation.sandbox_facts["application"]
    secrets = {
        ("application secret", str(application["client_secret"])),
        ("administrator's password", installation.administrator_password),
    }
    for browser in browsers:
        secrets.update(carried(browser.visited))
        secrets.update(
            ("session key", value)
            for name, value in browser.cookies
            if name == SESSION and len(value) >= SHORTEST
        )
    return secrets


def left_behind(
    installation: Installation, secrets: Collection[Secret]
) -> Iterator[str]:
    """Tell where in the files of an installation a secret, or any token, was found."""
    for file in _files(installation.folder):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            # The console goes on meanwhile: SQLite ends its log, workers take messages.
            continue
        where = file.relative_to(installation.folder)
        for name, value in sorted(secrets):
            if value.encode() in content:
                yield f"{name} in {where}"
        if TOKEN.search(content):
            yield f"token in {where}"


def shown(
    installation: Installation,
    browsers: Collection[Browser],
    secrets: Collection[Secret],
) -> Iterator[str]:
    """Tell which pages of the console showed a secret.

    What travels in addresses stands in the links that carry it on.
    """
    for browser in browsers:
        for page in browser.shown:
            if not page.url.startswith(installation.console_url):
                continue
            for name, value in sorted(secrets):
                if name not in CARRIED and value in page.source:
                    yield f"{name} on {page}"


def _files(folder: Path) -> Iterator[Path]:
    # The log (-wal) before the database that it is written into.
    yield from sorted(folder.glob("console.sqlite3*"), reverse=True)
    for name in ("log", "broker"):
        yield from (one for one in (folder / name).rglob("*") if one.is_file())
