"""Django's sessions, kept in rows under a hash of the key that the cookie holds.

Whoever reads the database finds no key that opens a session. A session ends a fixed
time after its sign-in, and earlier when nothing was done in it for long. A session
that somebody ended stays for a while, so that its browser can be told why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import (
    CreateError,
    SessionBase,
    UpdateError,
)
from django.db import IntegrityError, OperationalError, connection, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from jamfidp.accounts.models import AccountSession

# Where the sign-in leaves what the row says of it: how, from where, in which browser.
SIGN_IN = "sign_in"
# Activity is written down at most this often.
TOUCHED_EVERY = timedelta(minutes=1)
# Of a session that is over, for telling its browser why.
KEPT = timedelta(days=7)


def hash_of(key: str) -> str:
    # The key has 160 random bits: nothing to gain from a slow hash.
    return hashlib.sha256(key.encode()).hexdigest()


def lifetime() -> timedelta:
    """How long a session lasts from its sign-in, whatever is done in it."""
    return timedelta(seconds=settings.SESSION_COOKIE_AGE)


def idle_limit() -> timedelta:
    """After how long without activity a session ends."""
    return timedelta(minutes=settings.SESSION_IDLE_MINUTES)


class SessionStore(SessionBase):
    """One session. `row` is its row when it was loaded from one."""

    row: AccountSession | None = None

    def load(self) -> dict[str, Any]:
        if self.session_key:
            row = AccountSession.objects.filter(
                key_hash=hash_of(self.session_key)
            ).first()
            if row is not None and why_over(row, now=timezone.now()) is None:
                self.row = row
                return self.decode(row.data)
        self._session_key = None
        return {}

    def exists(self, session_key: str) -> bool:
        return AccountSession.objects.filter(key_hash=hash_of(session_key)).exists()

    def create(self) -> None:
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]
            with suppress(CreateError):
                self.save(must_create=True)
                self.modified = True
                return

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            self.create()
            return
        content = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        key_hash = hash_of(self.session_key)
        if not must_create:
            # Nothing is written to a session that was ended meanwhile.
            kept = AccountSession.objects.filter(key_hash=key_hash, ended_at=None)
            if not kept.update(data=self.encode(content), **_facts(content)):
                raise UpdateError
            return
        now = timezone.now()
        try:
            with transaction.atomic():
                self.row = AccountSession.objects.create(
                    key_hash=key_hash,
                    data=self.encode(content),
                    signed_in_at=now,
                    last_seen_at=now,
                    expires_at=now + lifetime(),
                    **_facts(content),
                )
        except IntegrityError:
            raise CreateError from None

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            AccountSession.objects.filter(key_hash=hash_of(key)).delete()

    @classmethod
    def clear_expired(cls) -> None:
        forgotten = timezone.now() - KEPT
        AccountSession.objects.filter(expires_at__lt=forgotten).delete()
        AccountSession.objects.filter(ended_at__lt=forgotten).delete()


def _facts(content: dict[str, Any]) -> dict[str, Any]:
    """What the row says of the session, beside its content."""
    account_id = content.get(SESSION_KEY)
    sign_in = content.get(SIGN_IN, {})
    return {
        "account_id": int(account_id) if account_id is not None else None,
        "how": sign_in.get("how", ""),
        "address": sign_in.get("address"),
        "browser": sign_in.get("browser", ""),
    }


def why_over(row: AccountSession, *, now: datetime) -> AccountSession.Over | None:
    """Return why a session is over, or None while it lasts."""
    if row.ended_at is not None:
        return AccountSession.Over.ENDED
    if now >= row.expires_at:
        return AccountSession.Over.LIMIT
    if now >= row.last_seen_at + idle_limit():
        return AccountSession.Over.IDLE
    return None


def row_of_cookie(request: HttpRequest) -> AccountSession | None:
    """Return the row of the session that the browser comes with, over or not."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    return AccountSession.objects.filter(key_hash=hash_of(key)).first() if key else None


def touch(row: AccountSession, *, now: datetime) -> None:
    """Write down that something was done in a session; never wait for it.

    Where a sync holds SQLite's only write lock, the next request writes it down.
    """
    if now - row.last_seen_at < TOUCHED_EVERY:
        return
    waits = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        if waits:
            cursor.execute("PRAGMA busy_timeout = 0")
        try:
            with suppress(OperationalError):
                AccountSession.objects.filter(pk=row.pk, ended_at=None).update(
                    last_seen_at=now
                )
        finally:
            if waits:
                milliseconds = (
                    settings.DATABASES["default"]["OPTIONS"]["timeout"] * 1000
                )
                cursor.execute(f"PRAGMA busy_timeout = {int(milliseconds)}")


class ActivityMiddleware:
    """Notice what people do; a page that asks for news by itself is no activity."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        by_itself = request.method == "GET" and "HX-Request" in request.headers
        if not by_itself and request.user.is_authenticated:
            # The session is loaded by now.
            row = getattr(request.session, "row", None)
            if row is not None:
                touch(row, now=timezone.now())
        return self.get_response(request)
