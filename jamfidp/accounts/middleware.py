"""Who is not signed in, and who holds no privilege at all, see what to do."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from jamfidp.access import View
from jamfidp.accounts import presentation, session_store, standing
from jamfidp.accounts.models import AccountSession, User
from jamfidp.errors import page_of_form, session_ended

# What the sign-in page is told of the session before; signed, so that only the console
# puts words into it.
ENDED = "ended"


class SignInRequiredMiddleware(LoginRequiredMiddleware):
    """Lead whoever is not signed in to the sign-in page, and back to their place.

    A form that comes after its session ended is given back as it was typed: its
    address alone may show nothing, or do something, when it is opened later.
    """

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Any
    ) -> HttpResponseBase:
        because = why_session_ended(request)
        if request.method not in {"GET", "HEAD"}:
            return session_ended(request, because)
        page = page_of_form(request) if "HX-Request" in request.headers else ""
        response = redirect_to_login(
            page or request.get_full_path(), settings.LOGIN_URL
        )
        if because:
            words = signing.dumps(because, salt=ENDED, compress=True)
            response["Location"] += f"&{urlencode({ENDED: words})}"
        return response


def why_session_ended(request: HttpRequest) -> str:
    """Return what the person reads of the session that their browser came with."""
    row = session_store.row_of_cookie(request)
    if row is None or row.account_id is None:
        return ""
    match session_store.why_over(row, now=timezone.now()):
        case AccountSession.Over.ENDED:
            return row.ended_because
        case AccountSession.Over.IDLE:
            return (
                f"Your session ended after {settings.SESSION_IDLE_MINUTES} minutes "
                "without activity."
            )
        case AccountSession.Over.LIMIT:
            hours = settings.SESSION_COOKIE_AGE // 3600
            return f"Your session ended {hours} hours after you signed in."
        case _:
            return ""


def without_privileges(view: View[Any]) -> View[Any]:
    """Keep a view open to people who are signed in and hold nothing."""
    view.without_privileges = True  # type: ignore[attr-defined]
    return view


class NoPrivilegesMiddleware:
    """Answer every page with the reason while the account holds nothing.

    A session outlives the privileges: they can come back with the next sync.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        if hasattr(view, "public") or hasattr(view, "without_privileges"):
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        held = standing.of(user)
        if not held.holds_nothing:
            return None
        return render(
            request,
            "accounts/no_privileges.html",
            {"held": presentation.held(held, user, you=True)},
            status=403,
        )
