"""Where somebody is signed in, and ending it."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from jamfidp.access import get_visible_or_404, privilege, signed_in
from jamfidp.accounts import session_store, sessions, user_accounts
from jamfidp.accounts.middleware import without_privileges
from jamfidp.accounts.models import AccountSession, User
from jamfidp.accounts.user_accounts import MoreThanYouHold
from jamfidp.htmx import ConsoleRequest


def this_session(request: ConsoleRequest) -> AccountSession | None:
    """The row of the session that the request belongs to."""
    row: AccountSession | None = getattr(request.session, "row", None)
    return row


@signed_in("everybody may know where they are signed in")
@without_privileges
@require_safe
def my_sessions(request: ConsoleRequest) -> HttpResponse:
    return render(
        request,
        "accounts/my_sessions.html",
        {
            "sessions": sessions.lines(
                request.user, now=timezone.now(), this=this_session(request)
            ),
            "hours": settings.SESSION_COOKIE_AGE // 3600,
            "idle_minutes": settings.SESSION_IDLE_MINUTES,
        },
    )


@signed_in("everybody may end their own sessions")
@without_privileges
@require_POST
def end_my_sessions(request: ConsoleRequest) -> HttpResponse:
    """End one session of one's own, or all but this one."""
    own = AccountSession.objects.filter(account=request.user)
    chosen = request.POST.get("session", "")
    if chosen:
        own = own.filter(pk=chosen if chosen.isdecimal() and len(chosen) < 19 else 0)
    count = sessions.end(
        own,
        because="You ended this session from another one.",
        now=timezone.now(),
        but=this_session(request),
    )
    noun = "session" if count == 1 else "sessions"
    messages.success(request, f"Ended {count} {noun}.")
    return redirect("accounts:my-sessions")


@signed_in("somebody who reads for long stays signed in")
@without_privileges
@require_POST
def keep_session(request: ConsoleRequest) -> HttpResponse:
    """Count as activity: sent by the button of the warning before the end."""
    row = this_session(request)
    if row is None:
        raise Http404
    session_store.touch(row, now=timezone.now())
    return HttpResponse(status=204)


@privilege("accounts.view_user", "accounts.change_user")
@require_POST
def end_sessions_of(request: ConsoleRequest, pk: int) -> HttpResponse:
    account = get_visible_or_404(
        User.objects.all(), request.user, "accounts.change_user", pk=pk
    )
    try:
        count = user_accounts.end_sessions(
            account,
            actor=request.user,
            now=timezone.now(),
            but=this_session(request),
        )
    except MoreThanYouHold as refused:
        messages.error(request, str(refused))
    else:
        noun = "session" if count == 1 else "sessions"
        messages.success(request, f"Ended {count} {noun} of {account.username}.")
    return redirect(account)
