"""Secrets that the suite uses, and a watch over where they must not come to stand.

Whatever the console takes, makes or seals as a secret is noted as it happens: every
password that is set, every plaintext that is sealed, session keys, states, nonces,
verifiers, codes, tokens. From then on, in every test that is watched, it must not appear

- in a log line, or the traceback of one,
- in what is written to any table (each INSERT and UPDATE is looked at),
- in a page, unless the page is there to show it once,
- in a mail.

Tokens are also known by their looks: no log line and no row holds one at all.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.core import mail
from django.db import connections
from django.db.backends.signals import connection_created
from django.test import Client

SHORTEST = 10
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]+")
RANDOM = re.compile(r"[A-Za-z0-9_-]{32,}")
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Pages that show what they make: to whom it is for, this once, or while it works.
SHOWN = re.compile(r"^/(account/sign-in|settings/cloud-idps/requests)/")
# What travels in addresses: a page can hold a link that carries it.
CARRIED = {"state", "nonce"}


@dataclass
class Watch:
    secrets: dict[str, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def note(self, kind: str, secret: Any) -> None:
        """Take notice of a secret. Short ones would be found by chance."""
        if isinstance(secret, str) and len(secret) >= SHORTEST:
            self.secrets.setdefault(secret, kind)

    def look(self, where: str, text: str, *, tokens: bool = False) -> None:
        for secret, kind in self.secrets.items():
            if secret in text:
                self.found.append(f"{kind} in {where}")
        if tokens and TOKEN.search(text):
            self.found.append(f"token in {where}")

    def look_at_page(self, path: str, text: str) -> None:
        for secret, kind in self.secrets.items():
            if kind not in CARRIED and secret in text:
                self.found.append(f"{kind} on the page {path}")

    def forget(self) -> None:
        self.secrets.clear()
        self.found.clear()


watch = Watch()


class _Lines(logging.Handler):
    """Every line that is logged, with its traceback, as it would be written."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(TypeError, ValueError):
            line = self.format(record)
            watch.look(f"the log of {record.name}", line, tokens=True)


def _rows(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if sql[:6] in {"INSERT", "UPDATE"} and params:
        table = sql.split('"', 2)[1] if '"' in sql else sql[:40]
        written = [one for row in params for one in row] if many else params
        text = "\x1f".join(one for one in written if isinstance(one, str))
        watch.look(f"the table {table}", text, tokens=True)
    return execute(sql, params, many, context)


def _watch_connection(connection: Any, **_: Any) -> None:
    if _rows not in connection.execute_wrappers:
        connection.execute_wrappers.append(_rows)


def _before(owner: Any, name: str, notice: Callable[..., Any]) -> Callable[[], None]:
    """Have `notice` see the arguments of a function each time it is called."""
    original = getattr(owner, name)

    @wraps(original)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        notice(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, noticed)
    return lambda: setattr(owner, name, original)


def _after(owner: Any, name: str, notice: Callable[[Any], Any]) -> Callable[[], None]:
    """Have `notice` see the result of a function each time it is called."""
    original = getattr(owner, name)

    @wraps(original)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        notice(result)
        return result

    setattr(owner, name, noticed)
    return lambda: setattr(owner, name, original)


def _sealed(plaintext: str, **_: Any) -> None:
    """A secret, or several with what goes with them, as the secrets of a flow."""
    watch.note("sealed secret", plaintext)
    with suppress(ValueError):
        content = json.loads(plaintext)
        for name, value in content.items() if isinstance(content, dict) else ():
            if RANDOM.fullmatch(str(value)) and not GUID.fullmatch(str(value)):
                watch.note(name if name in CARRIED else "sealed secret", value)


def _codes(codes: list[str]) -> None:
    for code in codes:
        watch.note("recovery code", code)
        watch.note("recovery code", code.replace("-", ""))


def _secrets(secrets: Any) -> None:
    watch.note("state", secrets.state)
    watch.note("nonce", secrets.nonce)
    watch.note("verifier", secrets.code_verifier)


def _page(self: Client, response: Any) -> None:
    if not getattr(response, "streaming", True):
        path = response.wsgi_request.path
        if not SHOWN.match(path):
            watch.look_at_page(path, response.content.decode(errors="replace"))


@pytest.fixture(scope="session", autouse=True)
def everything_is_watched(django_db_setup: None) -> Iterator[None]:
    from directory import connect
    from directory.entra import identity, sign_in
    from jamfidp import crypto
    from jamfidp.accounts import entra_sign_in, first_administrator, recovery_codes
    from jamfidp.accounts.session_store import SessionStore

    handler = _Lines()
    handler.setFormatter(logging.Formatter())
    logging.getLogger().addHandler(handler)
    connection_created.connect(_watch_connection)
    for connection in connections.all():
        _watch_connection(connection)
    ask = Client.request

    def request(self: Client, **given: Any) -> Any:
        response = ask(self, **given)
        _page(self, response)
        return response

    undo = [
        _before(
            AbstractBaseUser,
            "set_password",
            lambda _, raw: watch.note("password", raw),
        ),
        _before(crypto, "encrypt", _sealed),
        _after(
            SessionStore,
            "_get_new_session_key",
            lambda key: watch.note("session key", key),
        ),
        _after(recovery_codes, "make", _codes),
        _after(
            first_administrator,
            "new_code",
            lambda code: watch.note("set-up code", code),
        ),
        _after(entra_sign_in, "new_sign_in_secrets", _secrets),
        _after(sign_in, "new_sign_in_secrets", _secrets),
        _after(connect, "new_sign_in_secrets", _secrets),
        _after(entra_sign_in, "redeem_code", lambda raw: watch.note("ID token", raw)),
        _before(
            identity.AccessToken,
            "__init__",
            lambda _, value, *rest, **more: watch.note("access token", value),
        ),
    ]
    Client.request = request  # type: ignore[method-assign]
    yield
    Client.request = ask  # type: ignore[method-assign]
    for one in undo:
        one()
    logging.getLogger().removeHandler(handler)
    connection_created.disconnect(_watch_connection)


@pytest.fixture(autouse=True)
def no_secret_is_left_anywhere() -> Iterator[None]:
    """Fails the test in which a secret comes to stand where it must not."""
    watch.forget()
    yield
    for message in getattr(mail, "outbox", []):
        watch.look("a mail", f"{message.subject}\n{message.body}", tokens=True)
    found = sorted(set(watch.found))
    watch.forget()
    assert not found, "Secrets were left: " + ", ".join(found)
