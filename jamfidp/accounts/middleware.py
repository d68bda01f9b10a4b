"""Who is not signed in, and who holds no privilege at all, see what to do."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from jamfidp.access import View
from jamfidp.accounts import presentation, standing
from jamfidp.accounts.models import User
from jamfidp.errors import page_of_form, session_ended


class SignInRequiredMiddleware(LoginRequiredMiddleware):
    """Lead whoever is not signed in to the sign-in page, and back to their place.

    A form that comes after its session ended is given back as it was typed: its
    address alone may show nothing, or do something, when it is opened later.
    """

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Any
    ) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"}:
            return session_ended(request)
        page = page_of_form(request) if "HX-Request" in request.headers else ""
        return redirect_to_login(page or request.get_full_path(), settings.LOGIN_URL)


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
