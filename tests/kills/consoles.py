"""Consoles with databases of their own, worked on by processes that can be killed.

A worker is forked from a process that has loaded Django and opened nothing, so that it
is there at once. It is a process like any other: it gets SIGKILL, and what it had not
stored is gone.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connection
from psycopg import sql


def call(database: str, do: Callable[[], Any]) -> Any:
    """Do something in a process of its own and return what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _leave(database, do, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError("A process ended badly; see above.")
    return pickle.loads(told)  # noqa: S301 our own child


@dataclass
class Worker:
    """A process that does one thing and may be killed before it is done."""

    database: str
    do: Callable[[], Any]
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.pid = os.fork()
        if not self.pid:
            _leave(self.database, self.do, None)

    def kill(self, after: float) -> bool:
        """Kill it after so many seconds; False when it was done before."""
        deadline = time.monotonic() + after
        while time.monotonic() < deadline:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                return _was_killed(status)
            time.sleep(0.0005)
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        return _was_killed(status)

    def wait(self) -> bool:
        """Wait until it is done; whether it was killed, by itself."""
        _, status = os.waitpid(self.pid, 0)
        return _was_killed(status)


def _was_killed(status: int) -> bool:
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    if os.WEXITSTATUS(status):
        raise RuntimeError("A worker ended badly; see above.")
    return False


def _leave(database: str, do: Callable[[], Any], told: int | None) -> None:
    """Be the child: use the database, do it, and end without a word to the parent."""
    status = 1
    try:
        connection.settings_dict["NAME"] = database
        result = do()
        if told is not None:
            with os.fdopen(told, "wb") as pipe:
                pickle.dump(result, pipe)
        connection.close()
        status = 0
    except BaseException:  # noqa: BLE001 - said, and shown by the status
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


class Databases:
    """A migrated database, and copies of it by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = connection.settings_dict
        self._postgres = connection.vendor == "postgresql"
        self._made: list[str] = []
        self._empty = self._make("empty")
        call(self._empty, lambda: call_command("migrate", verbosity=0))

    def copy(self, name: str) -> str:
        """Return a database with an empty console, in place of one of that name."""
        if self._postgres:
            self._drop(self._name(name))
            return self._make(name, template=self._empty)
        for file in self._folder.glob(f"{name}.sqlite3*"):
            file.unlink()
        made = self._make(name)
        shutil.copy(self._empty, made)
        return made

    def close(self) -> None:
        for name in list(self._made):
            self._drop(name)

    def _name(self, name: str) -> str:
        return f"kills_{os.getpid()}_{name}"

    def _make(self, name: str, template: str = "") -> str:
        if not self._postgres:
            return str(self._folder / f"{name}.sqlite3")
        made = self._name(name)
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._execute(statement)
        self._made.append(made)
        return made

    def _drop(self, made: str) -> None:
        if made in self._made:
            self._made.remove(made)
            self._execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made))
            )

    def _execute(self, statement: sql.Composed) -> None:
        given = self._settings
        with psycopg.connect(
            host=given["HOST"],
            port=given["PORT"] or None,
            user=given["USER"],
            password=given["PASSWORD"] or None,
            dbname="postgres",
            autocommit=True,
        ) as server:
            server.execute(statement)
