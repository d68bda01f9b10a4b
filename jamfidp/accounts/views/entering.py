"""From a proven password or answer of Microsoft to a session, over a second factor."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from jamfidp.accounts import local_sign_in, second_factor
from jamfidp.accounts.models import User, not_blocked
from jamfidp.accounts.session_store import SIGN_IN
from jamfidp.accounts.sessions import browser_words
from jamfidp.accounts.throttle import Browser

BACKEND = "jamfidp.accounts.backends.ConsoleBackend"
KNOWN_BROWSER = "known_browser"
KNOWN_BROWSER_SECONDS = 180 * 24 * 3600
ACCOUNTS_PER_BROWSER = 10
# What a sign-in request keeps of where to go.
LONGEST_PATH = 2048
# In the session of somebody whose password was right and whose second factor is to come.
HALF = "half_signed_in"
HALF_LASTS = timedelta(minutes=10)
# When the person last proved who they are; changes to how one signs in ask for it.
PROVED = "proved_at"
PROOF_LASTS = timedelta(minutes=10)


class SeeOther(HttpResponseRedirect):
    """The next request is a GET, and the address of this one is left behind.

    https://www.rfc-editor.org/rfc/rfc9700#section-4.12
    """

    status_code = 303


def local_path(candidate: str) -> str:
    """Return where to go after signing in: a path of this console, or its first page."""
    local = (
        candidate.startswith("/")
        and len(candidate) <= LONGEST_PATH
        and url_has_allowed_host_and_scheme(candidate, allowed_hosts=None)
    )
    return candidate if local else reverse("dashboard")


@dataclass(frozen=True, slots=True)
class Half:
    """Somebody whose password was right a moment ago.

    `confirms` when they are signed in and prove it anew; `proved` names the factor
    that they enrolled meanwhile, which proves them as well.
    """

    account: User
    next_path: str
    confirms: bool
    proved: str


def after_password(request: HttpRequest, account: User, path: str) -> HttpResponse:
    """Ask for the second factor, have one enrolled, or open the session."""
    has_one = second_factor.of(account).any
    if not has_one and not second_factor.is_required(account, now=timezone.now()):
        return enter(request, account, path, how="Password")
    request.session.cycle_key()
    _keep_half(request, account, path, confirms=False)
    return SeeOther(reverse("accounts:second-factor" if has_one else "accounts:enroll"))


def after_password_again(
    request: HttpRequest, account: User, path: str
) -> HttpResponse:
    """The same for somebody who is signed in and proves it anew."""
    if not second_factor.of(account).any:
        return _proved(request, path)
    _keep_half(request, account, path, confirms=True)
    return SeeOther(reverse("accounts:second-factor"))


def _keep_half(
    request: HttpRequest, account: User, path: str, *, confirms: bool
) -> None:
    request.session[HALF] = {
        "account": account.pk,
        # A password that is changed meanwhile ends it.
        "hash": account.get_session_auth_hash(),
        "at": timezone.now().isoformat(),
        "next": path,
        "confirms": confirms,
    }


def half_of(request: HttpRequest) -> Half | None:
    """Return who is half signed in with this browser, while that lasts."""
    kept: dict[str, Any] | None = request.session.get(HALF)
    if kept is None:
        return None
    if timezone.now() - datetime.fromisoformat(kept["at"]) > HALF_LASTS:
        return None
    account = User.objects.filter(
        not_blocked(), pk=kept["account"], is_active=True
    ).first()
    if account is None or not constant_time_compare(
        kept["hash"], account.get_session_auth_hash()
    ):
        return None
    if kept["confirms"] and request.user != account:
        return None
    return Half(
        account=account,
        next_path=kept["next"],
        confirms=kept["confirms"],
        proved=kept.get("proved", ""),
    )


def prove_half(request: HttpRequest, factor: str) -> None:
    """Remember that a factor was enrolled, and so proven, during the sign-in."""
    request.session[HALF] = request.session[HALF] | {"proved": factor}


def complete(request: HttpRequest, half: Half, factor: str) -> HttpResponse:
    """Open the session, or note that the person proved themselves anew."""
    del request.session[HALF]
    if half.confirms:
        return _proved(request, half.next_path)
    return enter(request, half.account, half.next_path, how=f"Password and {factor}")


def _proved(request: HttpRequest, path: str) -> HttpResponse:
    request.session[PROVED] = timezone.now().isoformat()
    return SeeOther(path)


def is_proved(request: HttpRequest) -> bool:
    """Whether the person proved who they are a moment ago."""
    at = request.session.get(PROVED, "")
    return bool(at) and timezone.now() - datetime.fromisoformat(at) < PROOF_LASTS


def ask_again(request: HttpRequest, *, back_to: str) -> HttpResponse:
    """Lead to the page that asks for the password again, and back."""
    query = urlencode({"next": back_to})
    return SeeOther(f"{reverse('accounts:prove')}?{query}")


def enter(request: HttpRequest, account: User, path: str, *, how: str) -> HttpResponse:
    """Open a session under a new key, and remember that the browser was here."""
    now, address = timezone.now(), request.META.get("REMOTE_ADDR")
    known = known_browser(request)
    # Whoever knew the key of the session before cannot use it now.
    login(request, account, backend=BACKEND)
    request.session[SIGN_IN] = {
        "how": how,
        "address": address,
        "browser": browser_words(request.headers.get("User-Agent", "")),
    }
    if account.is_local:
        request.session[PROVED] = now.isoformat()
        local_sign_in.signed_in(account, how=how, address=address, now=now)
    response = SeeOther(path)
    others = [pk for pk in known.account_ids if pk != account.pk]
    set_cookie(
        response,
        KNOWN_BROWSER,
        signing.dumps(
            {
                "id": known.id or secrets.token_urlsafe(16),
                "accounts": [account.pk, *others][:ACCOUNTS_PER_BROWSER],
            },
            salt=KNOWN_BROWSER,
        ),
        seconds=KNOWN_BROWSER_SECONDS,
        path=reverse("accounts:login"),
    )
    return response


def known_browser(request: HttpRequest) -> Browser:
    try:
        content = signing.loads(
            request.COOKIES.get(KNOWN_BROWSER, ""),
            salt=KNOWN_BROWSER,
            max_age=KNOWN_BROWSER_SECONDS,
        )
    except signing.BadSignature:
        return Browser()
    return Browser(id=content["id"], account_ids=content["accounts"])


def set_cookie(
    response: HttpResponse, name: str, value: str, *, seconds: int, path: str
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )
