"""Whoever holds no privilege at all sees why, whatever page they open."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from jamfidp.access import View
from jamfidp.accounts import presentation, standing
from jamfidp.accounts.models import User


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
