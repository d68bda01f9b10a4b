"""Databases for the bench, and the processes that are measured.

Everything is made for the bench and thrown away: the console's own database is never
opened.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from psycopg import sql

from directory.sandbox.measure import Running
from directory.sandbox.sizes import SCALE_SWITCHES, Sizes


class Failed(Exception):
    """Something of the bench did not work; the message holds what was said."""


class Databases(Protocol):
    """A kind of database: each call gives another one with the console's schema."""

    kind: str

    def fresh(self) -> str:
        """Return the address of a new database with an empty console."""
        ...

    def scratch(self) -> str:
        """Return the address of a new database with nothing in it."""
        ...


class SqliteDatabases:
    """Files in a folder, copied from one that was migrated."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._empty = folder / "empty.sqlite3"
        _manage(folder, f"sqlite:///{self._empty}", "migrate", "--verbosity=0")

    def scratch(self) -> str:
        for before in self._folder.glob("scratch*"):
            before.unlink()
        self._made += 1
        return f"sqlite:///{self._folder}/scratch{self._made}.sqlite3"

    def fresh(self) -> str:
        for before in self._folder.glob("console*"):
            before.unlink()
        self._made += 1
        file = self._folder / f"console{self._made}.sqlite3"
        shutil.copy(self._empty, file)
        return f"sqlite:///{file}"


class PostgresDatabases:
    """Databases of a server, made from one that was migrated, dropped at the end."""

    kind = "postgres"

    def __init__(self, folder: Path, server: str) -> None:
        self._server = server
        self._name = f"bench_{os.getpid()}_{secrets.token_hex(3)}"
        self._made: list[str] = []
        self._connection = psycopg.connect(server, autocommit=True)
        self._empty = self._create("empty")
        _manage(folder, self._empty, "migrate", "--verbosity=0")

    def scratch(self) -> str:
        self._drop("scratch")
        return self._create("scratch")

    def fresh(self) -> str:
        self._drop("console")
        return self._create("console", template="empty")

    def close(self) -> None:
        for name in list(self._made):
            self._drop(name)
        self._connection.close()

    def _create(self, name: str, template: str = "") -> str:
        statement = sql.SQL("CREATE DATABASE {}").format(self._identifier(name))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(self._identifier(template))
        self._connection.execute(statement)
        self._made.append(name)
        address = urlsplit(self._server)
        return address._replace(path=f"/{self._name}_{name}").geturl()

    def _drop(self, name: str) -> None:
        if name in self._made:
            self._made.remove(name)
            self._connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(self._identifier(name))
            )

    def _identifier(self, name: str) -> sql.Identifier:
        return sql.Identifier(f"{self._name}_{name}")


@contextmanager
def databases(kind: str, folder: Path, postgres_url: str) -> Iterator[Databases]:
    """Give databases of a kind for as long as the bench takes.

    Raises Failed when there is no server.
    """
    if kind == "sqlite":
        yield SqliteDatabases(folder)
        return
    try:
        made = PostgresDatabases(folder, postgres_url)
    except psycopg.OperationalError as error:
        raise Failed(f"PostgreSQL cannot be reached: {error}") from error
    try:
        yield made
    finally:
        made.close()


@contextmanager
def sandbox(folder: Path, sizes: Sizes) -> Iterator[Running]:
    """Run a sandbox tenant of these sizes, with the pages of a large one."""
    folder.mkdir()
    given = {
        "users": sizes.users,
        "groups": sizes.groups,
        "memberships": sizes.memberships,
        "nestings": sizes.nestings or None,
        "seed": sizes.seed,
    }
    switches = {**SCALE_SWITCHES, "throttling": False}
    running = Running(
        folder,
        [
            *(sys.executable, str(settings.BASE_DIR / "manage.py"), "entra_sandbox"),
            *("--port=0", "--pages-port=0", "--verbosity=0"),
            *(f"--{name}={value}" for name, value in given.items() if value),
            *(f"--switch={n}={json.dumps(value)}" for n, value in switches.items()),
        ],
    )
    try:
        yield running
    finally:
        running.stop()


def step(
    name: str, given: dict[str, Any], *, folder: Path, database: str, tenant: Running
) -> dict[str, Any]:
    """Run one step of `inside` in a process of its own and return what it measured.

    Raises Failed when it ends badly.
    """
    told = {
        "database": database,
        "token": tenant.token(),
        "facts": tenant.facts,
        **given,
    }
    done = subprocess.run(  # noqa: S603 our own module
        [sys.executable, "-m", "jamfidp.bench.inside", name],
        input=json.dumps(told),
        cwd=settings.BASE_DIR,
        env=_environment(folder, database, tenant.facts),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"The step '{name}' failed; see above.")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


_KEYS = {
    "SECRET_KEY": secrets.token_urlsafe(48),
    "ENCRYPTION_KEYS": "bench:" + base64.b64encode(secrets.token_bytes(32)).decode(),
}


def _environment(
    folder: Path, database: str, facts: dict[str, Any] | None = None
) -> dict[str, str]:
    values = {
        **os.environ,
        **_KEYS,
        "ENV_FILE": os.devnull,
        "VAR_DIR": str(folder),
        "DATABASE_URL": database,
        "CONSOLE_URL": "http://localhost:8000",
        "LOG_LEVEL": "ERROR",
    }
    if facts:
        values["ENTRA_SANDBOX_URL"] = facts["url"]
        values["ENTRA_SANDBOX_CA_FILE"] = facts["ca_file"]
    return values


def _manage(folder: Path, database: str, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 our own command line
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=_environment(folder, database),
        check=False,
    )
    if done.returncode:
        raise Failed(f"manage.py {arguments[0]} failed; see above.")
