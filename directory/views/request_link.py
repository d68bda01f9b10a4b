"""The pages of a request's link: for somebody without an account of this console.

They show who asks and what for, lead to Microsoft, verify the answer, and end at 'Done,
close this page'. Nothing else of the console is seen there.
"""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from directory import clouds, connect, sent_requests
from directory.connector.unkept import unkept
from directory.entra import errors
from directory.models import ConsentRequest, SentRequest
from directory.permissions import PERMISSIONS
from directory.sent_requests import LinkRefusal
from directory.views.consent import failure_title, verification_checks
from directory.views.link_browser import (
    browser_of_link,
    keep_browser,
    keep_link,
    link_of,
    new_browser,
)
from directory.views.saving import see_other
from jamfidp import crypto
from jamfidp.access import public
from jamfidp.htmx import ConsoleRequest, page_or_fragment

_PUBLIC = "for a Global Administrator without an account; the link is the permission"

LINK_REFUSALS = {
    LinkRefusal.UNKNOWN: (
        "This link is not known here",
        "It is incomplete, or the request behind it was deleted long ago.",
    ),
    LinkRefusal.EXPIRED: (
        "This link has expired",
        "It could be opened for 72 hours after it was made.",
    ),
    LinkRefusal.REVOKED: (
        "This request was revoked",
        "Whoever sent it, or another administrator of the console, took it back.",
    ),
    LinkRefusal.USED: (
        "This link was opened already",
        "It works once, in the browser in which it was opened first. If that was not "
        "you, tell whoever sent it.",
    ),
    LinkRefusal.WITHDRAWN: (
        "This request does not hold any more",
        "Whoever sent it may no longer connect tenants to this console.",
    ),
}


@public(_PUBLIC)
@require_http_methods(["GET", "POST"])
def request_page(request: ConsoleRequest) -> HttpResponse:
    """Where the request stands; a POST opens it."""
    if "token" in request.GET:
        return _without_token(request)
    if request.method == "POST":
        return _open(request)
    return _page(request)


@unkept
def _without_token(request: ConsoleRequest) -> HttpResponse:
    """Take the token out of the address: no history, log or Referer keeps it."""
    response = see_other(reverse("directory:request-page"))
    keep_link(response, request.GET["token"][:200])
    return response


@never_cache
def _page(request: ConsoleRequest) -> HttpResponse:
    attempt = sent_requests.attempt_in(browser_of_link(request))
    followed = sent_requests.find(link_of(request))
    if attempt is not None and (followed is None or followed == attempt.sent_request):
        return _attempt_page(request, attempt)
    try:
        sent = sent_requests.check(followed, now=timezone.now())
    except sent_requests.LinkRefused as refused:
        return _refused(request, refused.refusal)
    return _asking_page(request, sent)


def _asking_page(
    request: ConsoleRequest, sent: SentRequest, *, problem: str = ""
) -> HttpResponse:
    return render(
        request,
        "directory/request_asks.html",
        {
            "sent": sent,
            "console_url": settings.CONSOLE_URL,
            "permissions": PERMISSIONS,
            "login_root": _login_root(sent.cloud),
            "problem": problem,
        },
        status=422 if problem else 200,
    )


def _login_root(cloud_key: str) -> str:
    try:
        cloud = clouds.cloud(cloud_key)
    except clouds.CloudUnavailable:
        return ""
    # The sandbox tenant stands in for Microsoft, at addresses that say nothing.
    return "" if cloud.loopback else cloud.login_root


def _open(request: ConsoleRequest) -> HttpResponse:
    token = link_of(request)
    browser = new_browser()
    try:
        sent_requests.open_link(token, browser=browser, now=timezone.now())
    except sent_requests.LinkRefused:
        # The page says why; or it is the one that was opened in this browser.
        return see_other(reverse("directory:request-page"))
    except (errors.EntraError, crypto.KeyUnavailable):
        sent = sent_requests.find(token)
        if sent is None:
            return see_other(reverse("directory:request-page"))
        return _asking_page(
            request,
            sent,
            problem="The console cannot ask Microsoft now. The link stays valid: tell "
            "whoever sent it, and open it again later.",
        )
    response = see_other(reverse("directory:request-page"))
    keep_browser(response, browser)
    return response


def _refused(request: ConsoleRequest, refusal: LinkRefusal) -> HttpResponse:
    title, sentence = LINK_REFUSALS[refusal]
    return render(
        request,
        "directory/request_refused.html",
        {"title": title, "sentence": sentence},
        status=404 if refusal is LinkRefusal.UNKNOWN else 410,
    )


def _attempt_page(request: ConsoleRequest, attempt: ConsentRequest) -> HttpResponse:
    now = timezone.now()
    ended = attempt.step in (connect.Step.FAILED, connect.Step.SAVED)
    if not ended and not sent_requests.still_asked(attempt):
        return _refused(request, LinkRefusal.WITHDRAWN)
    match attempt.step:
        case connect.Step.STARTED:
            return _continue_page(request, attempt)
        case connect.Step.ANSWERED:
            return _verification_page(request, attempt)
    if attempt.session_ended_at is None and "stay" not in request.GET:
        return render(
            request,
            "directory/request_end.html",
            {"end_url": connect.end_url(attempt, now=now)},
        )
    return render(
        request,
        "directory/request_done.html"
        if attempt.step != connect.Step.FAILED
        else "directory/request_failed.html",
        {
            "sent": attempt.sent_request,
            "title": failure_title(attempt),
            "failure": attempt.failure,
            "session_kept": attempt.session_ended_at is None,
        },
    )


def _continue_page(request: ConsoleRequest, attempt: ConsentRequest) -> HttpResponse:
    try:
        start_url = connect.start_url(attempt, now=timezone.now())
    except connect.AttemptOver:
        return render(
            request,
            "directory/request_refused.html",
            {
                "title": "The ten minutes are over",
                "sentence": "Microsoft's answer has to come within ten minutes after "
                "the link was opened.",
            },
            status=410,
        )
    except errors.EntraError as error:
        return render(
            request,
            "directory/request_refused.html",
            {"title": "This cannot go on", "sentence": error.message},
            status=410,
        )
    return render(
        request,
        "directory/request_continue.html",
        {"start_url": start_url, "sent": attempt.sent_request},
    )


def _verification_page(
    request: ConsoleRequest, attempt: ConsentRequest
) -> HttpResponse:
    return page_or_fragment(
        request,
        page="directory/request_verify.html",
        fragments={"verification": "directory/_consent_verification.html"},
        context={
            "verify_url": reverse("directory:request-verify"),
            "checks": verification_checks(attempt),
            "tries": attempt.verified.get("tries", 0),
        },
    )


@public(_PUBLIC)
@require_POST
def request_verify(request: ConsoleRequest) -> HttpResponse:
    """Do the next check (by htmx, which shows each), or all that are left."""
    attempt = sent_requests.attempt_in(browser_of_link(request))
    page = reverse("directory:request-page")
    by_htmx = bool(request.htmx and request.htmx.target == "verification")
    if attempt is not None and sent_requests.still_asked(attempt):
        if by_htmx:
            sent_requests.verify_next(attempt, now=timezone.now())
            if attempt.step == connect.Step.ANSWERED:
                return _verification_page(request, attempt)
        else:
            sent_requests.verify(attempt, now=timezone.now())
    return HttpResponse(headers={"HX-Redirect": page}) if by_htmx else see_other(page)
