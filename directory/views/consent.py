"""An attempt to connect: Microsoft's answer, its verification, and Save."""

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory import clouds, connect, registrations, sent_requests
from directory.connector.messages import Answer
from directory.connector.unkept import unkept
from directory.entra import errors
from directory.models import (
    ApplicationRegistration,
    CloudIdentityProvider,
    ConsentRequest,
    SentRequest,
)
from directory.permissions import PERMISSIONS
from directory.views.link_browser import browser_of_link
from directory.views.saving import save_new, save_renewed, see_other
from jamfidp.access import public, refuse, signed_in
from jamfidp.components import Step
from jamfidp.htmx import ConsoleRequest, page_or_fragment

ADD = "directory.add_cloudidentityprovider"
CHANGE = "directory.change_cloudidentityprovider"
VIEW = "directory.view_cloudidentityprovider"

# Held by the session of this browser alone; an attempt stores its hash.
BROWSER_KEY = "consent_browser"
# Attempts whose session with Microsoft could not be ended, or was left by choice.
KEPT_KEY, VISITED_KEY = "consent_session_kept", "consent_end_visited"

STEPS = (
    "Provider",
    "Preconditions",
    "Permissions",
    "Microsoft",
    "Verification",
    "Name and mappings",
)

FAILURES = {
    "AdministratorRequired": "A Global Administrator is needed",
    "AlreadyConnected": "This tenant is already connected",
    "ApplicationNotFound": "Microsoft does not know the application",
    "ApplicationDisabled": "The application is disabled",
    "ApplicationRemoved": "Consent has not taken effect",
    "CodeRefused": "Microsoft refused the authorization code",
    "CodeSwapped": "The answer was changed on its way",
    "ConditionalAccessBlocked": "Conditional Access blocked the sign-in",
    "ConsentDeclined": "Consent was declined",
    "ConsentIncomplete": "Consent was not given",
    "ConsentMissing": "Consent has not taken effect",
    "CredentialsRefused": "Microsoft refused the application's credential",
    "CredentialsUnreadable": "Credentials cannot be read",
    "IdTokenRefused": "The sign-in could not be proven",
    "NoRegistration": "The application registration is missing",
    "OtherTenant": "This is another tenant",
    "PermissionMissing": "A permission is missing",
    "Revoked": "The request was revoked",
    "RedirectUriRefused": "A redirect URI is missing in the registration",
    "SignInUnavailable": "Microsoft is not available",
    "SignInThrottled": "Microsoft limits requests",
    "GraphUnavailable": "Microsoft is not available",
    "TenantNotFound": "Microsoft does not know the tenant",
    "TlsRefused": "Microsoft could not be reached",
    "Unreachable": "Microsoft could not be reached",
    "WrongCloud": "The tenant belongs to another Microsoft cloud",
}

REFUSALS = {
    connect.Refusal.NO_ANSWER: (
        "The answer is missing",
        "This address takes the answer of the Cloud Connector, and none came with the "
        "request.",
    ),
    connect.Refusal.FORGED: (
        "The answer was not made by the Cloud Connector",
        "Its signature is missing or wrong.",
    ),
    connect.Refusal.UNKNOWN_KEY: (
        "The answer was signed with a key that this console does not know",
        "It was not made by the Cloud Connector, or the connector has a new key. Then "
        "its public key has to be entered here as CONNECTOR_PUBLIC_KEY; both may stand "
        "there while it is replaced.",
    ),
    connect.Refusal.OTHER_CONSOLE: (
        "The answer was made for another console",
        "The Cloud Connector made it for a console at another address. Somebody may "
        "have sent it on.",
    ),
    connect.Refusal.TOO_OLD: (
        "The answer is too old",
        "The answer of the Cloud Connector is valid for one minute.",
    ),
    connect.Refusal.UNKNOWN: (
        "The answer belongs to no attempt",
        "No attempt to connect a tenant was begun for it in this console, it ended long "
        "ago, or its connection was deleted meanwhile.",
    ),
    connect.Refusal.OTHER_BROWSER: (
        "The answer belongs to another browser",
        "A tenant is connected in the browser in which it was begun. Somebody may have "
        "sent you a link.",
    ),
    connect.Refusal.OTHER_PERSON: (
        "The answer belongs to another person",
        "A tenant is connected by the person who began.",
    ),
    connect.Refusal.EXPIRED: (
        "The attempt has expired",
        "Microsoft's answer has to come within ten minutes.",
    ),
    connect.Refusal.REPLAYED: (
        "The answer was already used",
        "Each answer works once, and this one has been taken.",
    ),
    connect.Refusal.CODE_SWAPPED: (
        "The answer was changed on its way",
        "The authorization code is not the one that the Cloud Connector passed on.",
    ),
}
NOT_SIGNED_IN = (
    "You are not signed in to the console",
    "The answer came to a browser in which nobody is signed in to this console.",
)


def steps(
    current: int, *, choice: Mapping[str, str] | None = None, failed: bool = False
) -> list[Step]:
    """The wizard's steps; `choice` is what their addresses hand on."""
    query = f"?{urlencode(choice)}" if choice else ""
    urls = {
        0: reverse("directory:cloud-idp-new"),
        1: reverse("directory:cloud-idp-new-entra") + query,
        2: reverse("directory:cloud-idp-new-permissions") + query,
    }
    return [
        Step(
            label,
            "done"
            if number < current
            else ("failed" if failed else "current")
            if number == current
            else "todo",
            # After Microsoft's page there is no way back, only a new start.
            url=urls.get(number, "") if number < current <= 3 else "",
        )
        for number, label in enumerate(STEPS)
    ]


def choice_of(
    cloud_key: str, registration: ApplicationRegistration | None
) -> dict[str, str]:
    """What the steps of the wizard hand on in their addresses and forms."""
    if registration is None or not registration.for_one_connection:
        return {"cloud": cloud_key}
    return {"cloud": cloud_key, "registration": str(registration.pk)}


def browser_of(request: ConsoleRequest) -> str:
    """The secret that only this browser's session holds."""
    if BROWSER_KEY not in request.session:
        request.session[BROWSER_KEY] = secrets.token_urlsafe(32)
    return str(request.session[BROWSER_KEY])


# --- The answer --------------------------------------------------------------------


@public("an answer without a person must not end in an address that holds a code")
@unkept
@require_GET
def callback(request: ConsoleRequest) -> HttpResponse:
    """Take the connector's answer and go on at once to an address without it."""
    now = timezone.now()
    try:
        answer = connect.read_answer(request.GET.get("answer", ""), now=now)
    except connect.AnswerRefused as refused:
        return _turn_away(request, refused)
    attempt = connect.attempt_of(answer)
    if attempt is not None and attempt.sent_request is not None:
        return _take_sent(request, answer, attempt.sent_request)
    if not request.user.is_authenticated:
        return _refused("not-signed-in")
    browser = browser_of(request)
    try:
        if answer.reference:
            attempt = connect.take_ending(
                answer, browser=browser, actor=request.user, now=now
            )
            if answer.problem is not None:
                _keep_session(request, attempt)
        else:
            attempt = connect.take_answer(
                answer,
                code=request.GET.get("code", ""),
                browser=browser,
                actor=request.user,
                now=now,
            )
    except connect.AnswerRefused as refused:
        return _turn_away(request, refused)
    return see_other(reverse("directory:consent-attempt", args=[attempt.pk]))


def _take_sent(
    request: ConsoleRequest, answer: Answer, sent: SentRequest
) -> HttpResponse:
    """Take an answer to a request's link; its browser is known by a cookie."""
    now = timezone.now()
    page = reverse("directory:request-page")
    browser = browser_of_link(request)
    try:
        if answer.reference:
            connect.take_ending(answer, browser=browser, actor=None, now=now)
            return see_other(f"{page}?stay=1" if answer.problem else page)
        sent_requests.take_answer(
            answer, code=request.GET.get("code", ""), browser=browser, now=now
        )
    except connect.AnswerRefused as refused:
        connect.record_refusal(refused, obj=sent.cloud_idp or sent, actor=None, now=now)
        return _refused(refused.refusal.value)
    except sent_requests.LinkRefused:
        # The page says why.
        return see_other(page)
    return see_other(page)


def _turn_away(request: ConsoleRequest, refused: connect.AnswerRefused) -> HttpResponse:
    """Refuse an answer; the history keeps it, of the person it came to."""
    if not request.user.is_authenticated:
        return _refused(refused.refusal.value)
    connect.record_refusal(
        refused, obj=request.user, actor=request.user, now=timezone.now()
    )
    return _refused(refused.refusal.value)


def _refused(reason: str) -> HttpResponse:
    return see_other(reverse("directory:consent-refused", args=[reason]))


@public("says why an answer was refused, and nothing else")
@require_GET
def refused_page(request: ConsoleRequest, reason: str) -> HttpResponse:
    known = {refusal.value: words for refusal, words in REFUSALS.items()}
    title, sentence = known.get(reason, NOT_SIGNED_IN)
    return render(
        request,
        "directory/consent_refused.html",
        {"title": title, "sentence": sentence},
        status=400,
    )


# --- An attempt --------------------------------------------------------------------


def _own_attempt(request: ConsoleRequest, pk: int) -> ConsentRequest:
    """The attempt of this person and this browser; to others it does not exist."""
    attempt = (
        ConsentRequest.objects.select_related("cloud_idp", "registration")
        .filter(
            pk=pk,
            started_by=request.user,
            browser_hash=connect.browser_hash(browser_of(request)),
        )
        .first()
    )
    if attempt is None:
        raise Http404
    return attempt


def _privilege_for(attempt: ConsentRequest) -> str:
    renews = attempt.cloud_idp is not None and attempt.step != connect.Step.SAVED
    return CHANGE if renews else ADD


@signed_in("only the person who began; the privilege to begin is asked for again")
@never_cache
@require_http_methods(["GET", "POST"])
def attempt_page(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Where the attempt stands: one address from 'Continue' to 'Save'."""
    attempt = _own_attempt(request, pk)
    if not request.user.has_perm(_privilege_for(attempt)):
        return refuse(request, _privilege_for(attempt))
    match attempt.step:
        case connect.Step.STARTED:
            return _continue_page(request, attempt)
        case connect.Step.ANSWERED:
            return _verification_page(request, attempt)
        case connect.Step.SAVED if attempt.cloud_idp is not None:
            return see_other(attempt.cloud_idp.get_absolute_url())
    if request.method == "GET" and not _session_settled(request, attempt):
        return see_other(reverse("directory:consent-end", args=[attempt.pk]))
    if attempt.step == connect.Step.VERIFIED:
        return _save_page(request, attempt)
    return _failure_page(request, attempt)


def _continue_page(request: ConsoleRequest, attempt: ConsentRequest) -> HttpResponse:
    context = {
        "attempt": attempt,
        "steps": steps(3, choice=choice_of(attempt.cloud, attempt.registration)),
        "permissions": PERMISSIONS,
        "redirect_uris": registrations.redirect_uris(),
        "start_url": "",
        "problem": "",
    }
    try:
        cloud = clouds.cloud(attempt.cloud)
        context["cloud"] = cloud
        context["start_url"] = connect.start_url(attempt, now=timezone.now())
    except connect.AttemptOver:
        context["problem"] = (
            "The ten minutes of this attempt are over. Nothing was saved."
        )
    except errors.EntraError as error:
        context["problem"] = error.sentences()
    return render(request, "directory/consent_continue.html", context)


CHECKS = (
    (
        connect.SIGN_IN,
        "Authorization code redeemed, ID token proven",
        "signature, issuer, audience, nonce, times and tenant",
    ),
    (
        connect.TENANT,
        "Tenant read with the application's own token",
        "Microsoft Graph has to answer with the same tenant ID",
    ),
    (
        connect.PERMISSIONS,
        "Each permission tried",
        "one small read for User.Read.All and for GroupMember.Read.All",
    ),
)


def verification_checks(attempt: ConsentRequest) -> list[Step]:
    """What is checked of Microsoft's answer, and how far that is."""
    current = connect.next_check(attempt)
    done = attempt.verified.get("done", [])
    return [
        Step(
            label,
            "done" if name in done else "current" if name == current else "todo",
            note=note,
        )
        for name, label, note in CHECKS
    ]


def _verification_page(
    request: ConsoleRequest, attempt: ConsentRequest
) -> HttpResponse:
    return page_or_fragment(
        request,
        page="directory/consent_verify.html",
        fragments={"verification": "directory/_consent_verification.html"},
        context={
            "attempt": attempt,
            "steps": steps(4),
            "verify_url": reverse("directory:consent-verify", args=[attempt.pk]),
            "checks": verification_checks(attempt),
            "tries": attempt.verified.get("tries", 0),
        },
    )


@signed_in("only the person who began; the privilege to begin is asked for again")
@require_POST
def verify(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Do the next check (by htmx, which shows each), or all that are left."""
    attempt = _own_attempt(request, pk)
    if not request.user.has_perm(_privilege_for(attempt)):
        return refuse(request, _privilege_for(attempt))
    page = reverse("directory:consent-attempt", args=[attempt.pk])
    if request.htmx and request.htmx.target == "verification":
        connect.verify_next(attempt, now=timezone.now())
        if attempt.step == connect.Step.ANSWERED:
            return _verification_page(request, attempt)
        return HttpResponse(headers={"HX-Redirect": page})
    connect.verify(attempt, now=timezone.now())
    return see_other(page)


# --- The end of the session with Microsoft -----------------------------------------


def _session_settled(request: ConsoleRequest, attempt: ConsentRequest) -> bool:
    return attempt.session_ended_at is not None or attempt.pk in request.session.get(
        KEPT_KEY, []
    )


def _keep_session(request: ConsoleRequest, attempt: ConsentRequest) -> None:
    request.session[KEPT_KEY] = [*request.session.get(KEPT_KEY, []), attempt.pk][-20:]


@signed_in("only the person who began")
@never_cache
@require_http_methods(["GET", "POST"])
def end_session(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Go through Microsoft's sign-out page and come back; or leave it be."""
    attempt = _own_attempt(request, pk)
    page = reverse("directory:consent-attempt", args=[attempt.pk])
    if request.method == "POST":
        _keep_session(request, attempt)
        return see_other(page)
    if _session_settled(request, attempt) or attempt.step in (
        connect.Step.STARTED,
        connect.Step.ANSWERED,
    ):
        return see_other(page)
    visited = request.session.get(VISITED_KEY, [])
    request.session[VISITED_KEY] = [*visited, attempt.pk][-20:]
    return render(
        request,
        "directory/consent_end.html",
        {
            "attempt": attempt,
            "end_url": connect.end_url(attempt, now=timezone.now()),
            # By itself once: whoever came back by hand decides.
            "by_itself": attempt.pk not in visited,
        },
    )


# --- Save --------------------------------------------------------------------------


def _save_page(request: ConsoleRequest, attempt: ConsentRequest) -> HttpResponse:
    if attempt.cloud_idp is not None:
        return _renew_page(request, attempt)
    found = save_new(
        request,
        attempt.verified,
        partial(connect.save, attempt, actor=request.user),
    )
    if isinstance(found, HttpResponse):
        return found
    return render(
        request,
        "directory/consent_save.html",
        {
            "attempt": attempt,
            "steps": steps(5),
            "session_kept": attempt.session_ended_at is None,
            **found,
        },
        status=422 if request.method == "POST" else 200,
    )


def _renew_page(request: ConsoleRequest, attempt: ConsentRequest) -> HttpResponse:
    problem = save_renewed(
        request, partial(connect.save_renewed, attempt, actor=request.user)
    )
    if isinstance(problem, HttpResponse):
        return problem
    return render(
        request,
        "directory/consent_renew.html",
        {
            "attempt": attempt,
            "cloud_idp": attempt.cloud_idp,
            "verified": attempt.verified,
            "problem": problem,
            "session_kept": attempt.session_ended_at is None,
        },
        status=422 if problem else 200,
    )


def failure_title(attempt: ConsentRequest) -> str:
    return FAILURES.get(attempt.failure.get("kind", ""), "The tenant was not connected")


def _failure_page(request: ConsoleRequest, attempt: ConsentRequest) -> HttpResponse:
    failure: dict[str, Any] = attempt.failure
    existing = None
    if failure.get("connection"):
        existing = CloudIdentityProvider.objects.filter(
            pk=failure["connection"]
        ).first()
    reference = [failure.get("code", "")]
    if failure.get("request_id"):
        reference.append(f"request {failure['request_id']}")
    about_credentials = failure.get("kind") in (
        "CredentialsRefused",
        "CredentialsUnreadable",
        "NoRegistration",
        "ApplicationNotFound",
        "RedirectUriRefused",
    )
    # An attempt that never reached the tenant failed at Microsoft's pages.
    reached = 4 if attempt.verified.get("done") is not None else 3
    return render(
        request,
        "directory/consent_failed.html",
        {
            "attempt": attempt,
            "title": failure_title(attempt),
            "failure": failure,
            "reference": ", ".join(part for part in reference if part),
            "existing": existing,
            "about_credentials": about_credentials,
            "steps": steps(reached, failed=True),
            "session_kept": attempt.session_ended_at is None,
        },
    )
