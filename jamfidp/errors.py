"""Pages for requests that no view answers: refused before it, or come too late.

Whoever sent a form gets back what they typed, whatever became of it.
"""

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render, resolve_url

from jamfidp.access import public

# Fields that are never shown again, by the end of their names.
SECRET = ("password", "password_again", "secret", "code", "certificate", "key", "token")
# What a form carries for the console and not for people.
INTERNAL = {"csrfmiddlewaretoken", "next", "reviewed", "confirmed", "version"}
LONGEST = 5000


def unsent(request: HttpRequest) -> list[tuple[str, str]]:
    """Return what a person typed into the form of this request, without secrets."""
    try:
        sent = request.POST
    except (SuspiciousOperation, MultiPartParserError, UnreadablePostError):
        return []  # it cannot be read, at an address where nothing else would say so
    return [
        (name.replace("_", " ").replace("-", " ").capitalize(), value[:LONGEST])
        for name, values in sent.lists()
        if name not in INTERNAL and not name.endswith(SECRET)
        for value in values
        if value.strip()
    ]


def page_of_form(request: HttpRequest) -> str:
    """Return the path of the page that a form stood on; empty for other sites."""
    said = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    try:
        page = urlsplit(said)
        own = page.netloc == request.get_host()
    except (SuspiciousOperation, ValueError):  # not our own host; no address at all
        return ""
    if not own:
        return ""
    return f"{page.path or '/'}{'?' + page.query if page.query else ''}"


def session_ended(request: HttpRequest, because: str = "") -> HttpResponse:
    """A form that arrives after its session ended: nothing is done with it."""
    page = page_of_form(request) or "/"
    login = resolve_url(settings.LOGIN_URL)
    return render(
        request,
        "session_ended.html",
        {
            "because": because,
            "unsent": unsent(request),
            "login_url": f"{login}?{urlencode({'next': page})}",
        },
        status=403,
    )


@public("shown by Django in place of a view")
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was opened before the last sign-in, or sent by another site."""
    page = page_of_form(request)
    return render(
        request,
        "403_csrf.html",
        # What another site sends is not shown under our name.
        {"page": page, "unsent": unsent(request) if page else []},
        status=403,
    )


@public("shown by Django in place of a view")
def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Damaged, too large, or sent to a host name that is not the console's."""
    return render(None, "400.html", {"console_url": settings.CONSOLE_URL}, status=400)
