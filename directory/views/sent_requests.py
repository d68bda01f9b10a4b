"""Requests for consent to a Global Administrator without an account: the sender's side."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory import clouds, credentials, registrations, sent_requests
from directory.entra import errors
from directory.forms import RequestForm
from directory.models import (
    ApplicationRegistration,
    CloudIdentityProvider,
    ConsentRequest,
    SentRequest,
)
from directory.permissions import PERMISSIONS
from directory.sent_requests import ADD, CHANGE, PENDING, State
from directory.views.consent import choice_of, failure_title, steps
from directory.views.saving import save_new, save_renewed, see_other
from directory.views.wizard import (
    chosen_cloud,
    chosen_registration,
    in_the_way,
    renewed_registration,
)
from jamfidp import crypto
from jamfidp.access import privilege, refuse
from jamfidp.components import Check, Crumb, Step
from jamfidp.htmx import ConsoleRequest

VIEW = "directory.view_cloudidentityprovider"

# The look and the words of where a request stands.
LOOKS: dict[State, tuple[str, str]] = {
    State.OPEN: ("attention", "Pending consent"),
    State.OPENED: ("progress", "Pending consent, opened"),
    State.ANSWERED: ("progress", "Consent being verified"),
    State.VERIFIED: ("attention", "Consent given, not saved"),
    State.SAVED: ("good", "Saved"),
    State.FAILED: ("bad", "Not granted"),
    State.REVOKED: ("neutral", "Revoked"),
    State.EXPIRED: ("neutral", "Expired"),
    State.LAPSED: ("neutral", "Not finished in time"),
}
SENTENCES: dict[State, str] = {
    State.OPEN: "The link waits to be opened. It works once, in one browser.",
    State.OPENED: "Somebody opened the link and was led to Microsoft. The answer has to "
    "come within ten minutes after that.",
    State.ANSWERED: "Microsoft's answer is being verified in the browser that opened the "
    "link.",
    State.VERIFIED: "Consent was given and the tenant is verified. Nothing is saved "
    "before you choose Save.",
    State.SAVED: "What came of it was saved.",
    State.FAILED: "Consent was not granted. The link is used up; nothing was changed.",
    State.REVOKED: "The link leads nowhere any more; nothing was saved.",
    State.EXPIRED: "Nobody opened the link within 72 hours. Nothing was changed.",
    State.LAPSED: "The link was opened, and not everything was finished in time. Nothing "
    "was changed; whether consent was given, Microsoft knows.",
}


def _look_of(sent: SentRequest) -> tuple[str, str]:
    """The look and the word for where a listed request stands now."""
    attempt = getattr(sent, "attempt", None)
    return LOOKS[sent_requests.standing(sent, attempt, now=timezone.now())]


def pending() -> Sequence[tuple[SentRequest, str, str]]:
    """Requests that something can still come of, with look and word."""
    return [
        (sent, *_look_of(sent)) for sent in sent_requests.pending(now=timezone.now())
    ]


def checks_of(cloud_idp: CloudIdentityProvider) -> Sequence[Check]:
    """What was asked for a connection and is not settled, as lines of evidence."""
    return [
        Check(
            "Request for consent",
            "attention",
            f"{word}. Sent by {sent.started_by_name}",
            sent.get_absolute_url(),
            as_of=sent.created_at,
        )
        for sent, _, word in pending()
        if sent.cloud_idp_id == cloud_idp.pk
    ]


def _crumbs(*, beneath_list: bool) -> list[Crumb]:
    found = [Crumb("Cloud identity providers", reverse("directory:cloud-idp-list"))]
    if beneath_list:
        found.append(Crumb("Requests", reverse("directory:sent-request-list")))
    return found


# --- Sending -----------------------------------------------------------------------


@privilege(ADD)
@require_http_methods(["GET", "POST"])
def sent_request_new(request: ConsoleRequest) -> HttpResponse:
    """Ask for consent to connect a new tenant."""
    cloud = chosen_cloud(request, clouds.available())
    registration = chosen_registration(request, cloud)
    choice = choice_of(cloud.key, registration)
    checks = in_the_way(request, cloud, registration)
    context = {
        "cloud_idp": None,
        "choice": choice,
        "checks": checks,
        "steps": steps(3, choice=choice),
        "cancel_url": reverse("directory:cloud-idp-new-permissions")
        + f"?{urlencode(choice)}",
    }
    return _send(request, None if checks else registration, None, context)


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def sent_request_renew(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Ask for consent again, for the tenant of a connection."""
    cloud_idp = get_object_or_404(CloudIdentityProvider, pk=pk)
    try:
        registration = renewed_registration(request, cloud_idp)
    except registrations.NoRegistration:
        registration = None
    sent = request.POST if request.method == "POST" else request.GET
    named = sent.get("registration", "")
    context: dict[str, Any] = {
        "cloud_idp": cloud_idp,
        "choice": {"registration": named} if named else {},
        "checks": [],
        "steps": [],
        "cancel_url": cloud_idp.get_absolute_url(),
    }
    return _send(request, registration, cloud_idp, context)


def _send(
    request: ConsoleRequest,
    registration: ApplicationRegistration | None,
    cloud_idp: CloudIdentityProvider | None,
    context: dict[str, Any],
) -> HttpResponse:
    form = RequestForm(request.POST if request.method == "POST" else None)
    problem = ""
    if registration is None and not context["checks"]:
        problem = "No application registration is entered for this cloud."
    elif registration is not None and request.method == "POST" and form.is_valid():
        now = timezone.now()
        try:
            sent = sent_requests.send(
                registration=registration,
                cloud_idp=cloud_idp,
                recipient=form.cleaned_data["recipient"],
                actor=request.user,
                now=now,
            )
        except errors.EntraError as error:
            problem = error.sentences()
        except crypto.KeyUnavailable as error:
            problem = str(error)
        else:
            if sent.recipient:
                _mail(request, sent)
            return see_other(sent.get_absolute_url())
    return render(
        request,
        "directory/sent_request_new.html",
        {
            **context,
            "registration": registration,
            "form": form,
            "problem": problem,
            "can_mail": sent_requests.can_mail(),
            "permissions": PERMISSIONS,
            "crumbs": _crumbs(beneath_list=False),
        },
        status=422 if problem or context["checks"] or form.errors else 200,
    )


def _mail(request: ConsoleRequest, sent: SentRequest) -> None:
    """Mail the link; the page says whether that worked."""
    try:
        sent_requests.mail(sent, actor=request.user, now=timezone.now())
    except (sent_requests.NotMailed, credentials.CredentialsUnreadable):
        messages.error(
            request,
            f"The mail to {sent.recipient} could not be sent: the mail server did not "
            "take it. Copy the link below and pass it on yourself.",
        )
    except sent_requests.LinkRefused:
        messages.error(request, "The link is not open any more, and was not mailed.")
    else:
        messages.success(request, f"The link was mailed to {sent.recipient}.")


# --- The list and one request -------------------------------------------------------


@privilege(VIEW)
@require_GET
def sent_request_list(request: ConsoleRequest) -> HttpResponse:
    rows = [(sent, *_look_of(sent)) for sent in sent_requests.listed()]
    return render(
        request,
        "directory/sent_request_list.html",
        {
            "rows": rows,
            "crumbs": _crumbs(beneath_list=False),
            "may_add": request.user.has_perm(ADD),
        },
    )


def _sent(pk: int) -> SentRequest:
    return get_object_or_404(
        SentRequest.objects.select_related("cloud_idp", "registration", "started_by"),
        pk=pk,
    )


@privilege(VIEW)
@never_cache
@require_http_methods(["GET", "POST"])
def sent_request_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    """One request: its link while it is open, what came of it, and Save."""
    sent = _sent(pk)
    may_act = request.user.has_perm(sent_requests.privilege_for(sent.cloud_idp))
    if request.method == "POST" and not may_act:
        return refuse(request, sent_requests.privilege_for(sent.cloud_idp))
    state = sent_requests.state_of(sent, now=timezone.now())
    attempt = sent_requests.attempt_of(sent)
    context = _detail_context(sent, state, attempt, may_act=may_act)
    status = 200
    if attempt is not None and may_act and state is State.VERIFIED:
        found = _save(request, sent, attempt)
        if isinstance(found, HttpResponse):
            return found
        context |= found
        status = 422 if request.method == "POST" else 200
    elif request.method == "POST":
        context["problem"] = "There is nothing to save: " + SENTENCES[state]
        status = 422
    return render(request, "directory/sent_request_detail.html", context, status=status)


def _save(
    request: ConsoleRequest, sent: SentRequest, attempt: ConsentRequest
) -> HttpResponse | dict[str, Any]:
    """The way to what was saved, or the forms and what stands in the way."""
    if attempt.cloud_idp is None:
        return save_new(
            request,
            attempt.verified,
            partial(sent_requests.save, sent, actor=request.user),
        )
    problem = save_renewed(
        request, partial(sent_requests.save_renewed, sent, actor=request.user)
    )
    if isinstance(problem, HttpResponse):
        return problem
    return {"verified": attempt.verified, "problem": problem}


def _detail_context(
    sent: SentRequest,
    state: State,
    attempt: ConsentRequest | None,
    *,
    may_act: bool,
) -> dict[str, Any]:
    look, word = LOOKS[state]
    link, link_problem = "", ""
    if may_act and state is State.OPEN:
        try:
            link = sent_requests.link(sent)
        except credentials.CredentialsUnreadable as error:
            link_problem = error.sentences()
    failed = attempt is not None and state is State.FAILED
    return {
        "sent": sent,
        "attempt": attempt,
        "stands": state.value,
        "state": look,
        "word": word,
        "sentence": SENTENCES[state],
        "verified": attempt.verified if attempt and state is State.VERIFIED else None,
        "failure": attempt.failure if attempt and failed else None,
        "failure_title": failure_title(attempt) if attempt and failed else "",
        "problem": "",
        "existing": None,
        "progress": _progress(sent, state),
        "link": link,
        "link_problem": link_problem,
        "can_mail": sent_requests.can_mail(),
        "pending": state in PENDING,
        "may_act": may_act,
        "again_url": _again_url(sent),
        "crumbs": _crumbs(beneath_list=True),
    }


def _again_url(sent: SentRequest) -> str:
    """Where to make another request like this one."""
    own = sent.registration.for_one_connection
    if sent.cloud_idp is not None:
        uses_it = sent.cloud_idp.own_registration_id == sent.registration_id
        address = reverse("directory:cloud-idp-request", args=[sent.cloud_idp.pk])
        if uses_it or not own:
            return address
        return f"{address}?{urlencode({'registration': sent.registration_id})}"
    query = choice_of(sent.cloud, sent.registration)
    return f"{reverse('directory:sent-request-new')}?{urlencode(query)}"


def _progress(sent: SentRequest, state: State) -> list[Step]:
    """From the link to Save, as steps."""
    labels = ("Link made", "Link opened", "Answered and verified", "Saved")
    reached = {
        State.OPEN: 1,
        State.EXPIRED: 1,
        State.OPENED: 2,
        State.LAPSED: 2,
        State.ANSWERED: 2,
        State.FAILED: 2,
        State.VERIFIED: 3,
        State.SAVED: 4,
        State.REVOKED: 1 if sent.opened_at is None else 2,
    }[state]
    ended = state in {State.EXPIRED, State.LAPSED, State.FAILED, State.REVOKED}
    return [
        Step(
            label,
            "done"
            if number < reached
            else "todo"
            if number > reached
            else "failed"
            if ended
            else "current",
        )
        for number, label in enumerate(labels)
    ]


@privilege(VIEW)
@require_POST
def sent_request_revoke(request: ConsoleRequest, pk: int) -> HttpResponse:
    sent = _sent(pk)
    needed = sent_requests.privilege_for(sent.cloud_idp)
    if not request.user.has_perm(needed):
        return refuse(request, needed)
    if sent_requests.revoke(sent, actor=request.user, now=timezone.now()):
        messages.success(request, "The request was revoked. Its link leads nowhere.")
    else:
        messages.warning(request, "There was nothing to revoke any more.")
    return see_other(sent.get_absolute_url())


@privilege(VIEW)
@require_POST
def sent_request_mail(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Mail the link, again or for the first time, to the address that was entered."""
    sent = _sent(pk)
    needed = sent_requests.privilege_for(sent.cloud_idp)
    if not request.user.has_perm(needed):
        return refuse(request, needed)
    _mail(request, sent)
    return see_other(sent.get_absolute_url())
