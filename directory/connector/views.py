"""The connector's pages: start, Microsoft's two answers, 'Continue', sign out.

Nobody is redirected anywhere before the console's request was verified. Callbacks
answer 303 to addresses that hold nothing.
"""

import logging
import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from directory import clouds
from directory.connector import configuration, cookies, messages
from directory.connector.keys import signing_key
from directory.connector.messages import Answer, Problem, StartRequest
from directory.connector.unkept import unkept
from directory.entra import (
    EntraSession,
    admin_consent_url,
    authorization_url,
    callback_error,
    errors,
    is_guid,
    logout_url,
)
from jamfidp.access import public

logger = logging.getLogger(__name__)

DISCOVERY_SECONDS = 20.0
FLOW, END_COOKIE = "connector_flow_", "connector_end"

_PUBLIC = "a browser comes here from Microsoft; the console's signed request is checked"

REFUSALS = {
    "unreadable": "The request is damaged, or was not made by a console.",
    "unknown-sender": "The request comes from a console that this connector does not "
    "serve.",
    "unknown-key": "The request was signed with a key that this connector does not know "
    "for the console. If the key of the console was replaced, its new public key has to "
    "be entered here.",
    "signature": "The request was not signed by the console it names, or was changed on "
    "its way.",
    "audience": "The request was made for another connector.",
    "expired": "The request is older than ten minutes.",
    "return-address": "The request names a return address that does not belong to the "
    "console.",
    "application": "The request names an application that does not belong to the "
    "console.",
    "no-state": "Microsoft's answer does not say which request it belongs to.",
    "other-browser": "Microsoft's answer belongs to a request that this browser did "
    "not begin, or that is older than ten minutes.",
    "replayed": "Microsoft's answer to this step was already taken.",
    "configuration": "The list of consoles cannot be read. Tell whoever runs this "
    "connector; its log says what is wrong.",
    "too-long": "Microsoft's answer is too long for the browser to keep.",
}


def _see_other(address: str) -> HttpResponse:
    return HttpResponse(status=303, headers={"Location": address})


def _refuse(reason: str) -> HttpResponse:
    """Go to a page that says why, at an address that holds nothing else."""
    logger.warning("A request to the connector was refused: %s", reason)
    return _see_other(reverse("connector:refused", args=[reason]))


@public("says why a request was refused, and nothing else")
@unkept
@require_GET
def refused(request: HttpRequest, reason: str) -> HttpResponse:
    return _refused_page(request, REFUSALS.get(reason, REFUSALS["unreadable"]), 400)


def _refused_page(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    return render(
        request, "connector/refused.html", {"sentence": sentence}, status=status
    )


class _NotConfigured(Exception):
    """The list of consoles cannot be read."""


def _console_for(token: str) -> configuration.Console:
    sender = messages.sender(token)
    try:
        console = configuration.find_console(sender)
    except ImproperlyConfigured as fault:
        logger.error("%s", fault)
        raise _NotConfigured from None
    if console is None:
        raise messages.MessageRefused(messages.Refusal.UNKNOWN_SENDER)
    return console


@public(_PUBLIC)
@unkept
@require_GET
def start(request: HttpRequest) -> HttpResponse:
    """Take a console's request and go to Microsoft's page for admin consent."""
    now = timezone.now()
    token = request.GET.get("request", "")
    try:
        console = _console_for(token)
        asked = messages.read_start(
            token,
            audience=configuration.connector_id(),
            keys=console.public_keys,
            now=now,
        )
    except messages.MessageRefused as refusal:
        return _refuse(refusal.refusal.value)
    except _NotConfigured:
        return _refuse("configuration")
    if asked.return_url != console.return_url:
        return _refuse("return-address")
    if asked.client_id not in console.client_ids:
        return _refuse("application")
    if asked.tenant and not is_guid(asked.tenant):
        return _refuse("unreadable")

    state = _new_state()
    try:
        cloud = clouds.cloud(asked.cloud)
        with EntraSession(cloud, total_seconds=DISCOVERY_SECONDS) as session:
            discovery = clouds.METADATA.discovery(
                cloud, asked.tenant or "organizations", session, now=now
            )
    except errors.EntraError as error:
        return _answer_problem(asked, problem_of(error), now=now)
    response = _see_other(
        admin_consent_url(
            discovery,
            client_id=asked.client_id,
            redirect_uri=f"{settings.CONNECTOR_URL}/consent/",
            state=state,
        )
    )
    _remember(response, state, "consent", _packed(asked), now=now)
    return response


@public(_PUBLIC)
@unkept
@require_GET
def consent(request: HttpRequest) -> HttpResponse:
    """Take the answer to the request for consent; have the tenant authorize us."""
    now = timezone.now()
    kept = _recall(request, "consent", now=now)
    if isinstance(kept, HttpResponse):
        return kept
    asked = _unpacked(kept)
    parameters = request.GET.dict()
    # First: an error answer says admin_consent=True as well.
    error = callback_error(parameters)
    if error is not None:
        problem = problem_of(error)
        if parameters.get("error_subcode") == "cancel":
            problem = _left_at_approval(problem)
        return _finish(request, asked, problem, now=now)
    tenant = parameters.get("tenant", "")
    if parameters.get("admin_consent", "").lower() != "true" or not is_guid(tenant):
        return _finish(
            request,
            asked,
            Problem(
                kind="ConsentIncomplete",
                message="Microsoft's answer does not say that consent was given, or "
                "for which tenant.",
                advice="Nothing was saved. Start again.",
            ),
            now=now,
        )
    tenant = tenant.lower()
    if asked.tenant and tenant != asked.tenant.lower():
        return _finish(request, asked, _other_tenant(tenant), now=now)
    try:
        cloud = clouds.cloud(asked.cloud)
        with EntraSession(cloud, total_seconds=DISCOVERY_SECONDS) as session:
            discovery = clouds.METADATA.discovery(cloud, tenant, session, now=now)
    except errors.EntraError as failure:
        return _finish(request, asked, problem_of(failure), now=now)
    state = _new_state(_flow_id(request.GET["state"]))
    response = _see_other(
        authorization_url(
            discovery,
            client_id=asked.client_id,
            redirect_uri=f"{settings.CONNECTOR_URL}/code/",
            state=state,
            nonce_hash=asked.nonce_hash,
            code_challenge=asked.code_challenge,
        )
    )
    _remember(response, state, "code", {**_packed(asked), "tenant": tenant}, now=now)
    return response


@public(_PUBLIC)
@unkept
@require_GET
def code(request: HttpRequest) -> HttpResponse:
    """Take the authorization code; keep it out of the address and the history."""
    now = timezone.now()
    kept = _recall(request, "code", now=now)
    if isinstance(kept, HttpResponse):
        return kept
    asked = _unpacked(kept)
    parameters = request.GET.dict()
    error = callback_error(parameters)
    if error is not None:
        return _finish(request, asked, problem_of(error), now=now)
    received = parameters.get("code", "")
    if not received:
        return _finish(
            request,
            asked,
            Problem(
                kind="SignInResponseError",
                message="Microsoft's answer has no authorization code.",
                advice="Nothing was saved. Start again.",
            ),
            now=now,
        )
    flow_id = _flow_id(request.GET["state"])
    response = _see_other(reverse("connector:continue", args=[flow_id]))
    try:
        _remember(
            response,
            request.GET["state"],
            "answered",
            {
                "console_id": asked.console_id,
                "return_url": asked.return_url,
                "console_state": asked.state,
                "tenant": asked.tenant,
                "code": received,
            },
            now=now,
        )
    except cookies.TooLarge:
        return _refuse("too-long")
    return response


@public(_PUBLIC)
@unkept
@require_GET
def continue_page(request: HttpRequest, flow_id: str) -> HttpResponse:
    """Show which console the answer will go to, and wait for the person."""
    kept = cookies.read(request, FLOW + flow_id, now=timezone.now())
    if kept is None or kept["step"] != "answered":
        return _refuse("other-browser")
    return render(
        request,
        "connector/continue.html",
        {
            "console": kept["console_id"],
            "tenant": kept["tenant"],
            "go_url": reverse("connector:go", args=[flow_id]),
        },
    )


@public(_PUBLIC)
@unkept
@require_GET
def go(request: HttpRequest, flow_id: str) -> HttpResponse:
    """Pass the code on, with a signed message that binds it to the request."""
    now = timezone.now()
    kept = cookies.read(request, FLOW + flow_id, now=now)
    if kept is None or kept["step"] != "answered":
        return _refuse("other-browser")
    answer = Answer(
        state=kept["console_state"],
        tenant=kept["tenant"],
        code_hash=messages.code_hash(kept["code"]),
    )
    response = _back(
        kept["console_id"], kept["return_url"], answer, code=kept["code"], now=now
    )
    cookies.forget(response, FLOW + flow_id)
    return response


@public(_PUBLIC)
@unkept
@require_GET
def end(request: HttpRequest) -> HttpResponse:
    """End the browser's session with Microsoft, then go back to the console."""
    now = timezone.now()
    token = request.GET.get("request", "")
    try:
        console = _console_for(token)
        asked = messages.read_end(
            token,
            audience=configuration.connector_id(),
            keys=console.public_keys,
            now=now,
        )
    except messages.MessageRefused as refusal:
        return _refuse(refusal.refusal.value)
    except _NotConfigured:
        return _refuse("configuration")
    if asked.return_url != console.return_url:
        return _refuse("return-address")
    try:
        cloud = clouds.cloud(asked.cloud)
        with EntraSession(cloud, total_seconds=DISCOVERY_SECONDS) as session:
            discovery = clouds.METADATA.discovery(
                cloud, asked.tenant or "organizations", session, now=now
            )
    except errors.EntraError as error:
        return _back(
            asked.console_id,
            asked.return_url,
            Answer(reference=asked.reference, problem=problem_of(error)),
            now=now,
        )
    response = _see_other(
        logout_url(
            discovery,
            post_logout_redirect_uri=f"{settings.CONNECTOR_URL}/signed-out/",
            logout_hint=asked.login_hint,
        )
    )
    cookies.keep(
        response,
        END_COOKIE,
        {
            "console_id": asked.console_id,
            "return_url": asked.return_url,
            "reference": asked.reference,
        },
        now=now,
    )
    return response


@public(_PUBLIC)
@unkept
@require_GET
def signed_out(request: HttpRequest) -> HttpResponse:
    """Microsoft comes here after the end of the session; go back to the console."""
    now = timezone.now()
    kept = cookies.read(request, END_COOKIE, now=now)
    if kept is None:
        return _refuse("other-browser")
    response = _back(
        kept["console_id"],
        kept["return_url"],
        Answer(reference=kept["reference"]),
        now=now,
    )
    cookies.forget(response, END_COOKIE)
    return response


# --- Between the steps -------------------------------------------------------------


def _new_state(flow_id: str = "") -> str:
    """Microsoft's `state`: which attempt, and that this step of it is meant."""
    return f"{flow_id or secrets.token_hex(8)}.{secrets.token_urlsafe(24)}"


def _flow_id(state: str) -> str:
    return state.partition(".")[0]


def _remember(
    response: HttpResponseBase,
    state: str,
    step: str,
    content: dict[str, Any],
    *,
    now: datetime,
) -> None:
    cookies.keep(
        response,
        FLOW + _flow_id(state),
        {**content, "step": step, "microsoft_state": state},
        now=now,
    )


def _recall(
    request: HttpRequest, step: str, *, now: datetime
) -> dict[str, Any] | HttpResponse:
    """Return what this browser kept for the step, or the way to a refusal."""
    state = request.GET.get("state", "")
    if not state:
        return _refuse("no-state")
    kept = cookies.read(request, FLOW + _flow_id(state), now=now)
    if kept is None:
        return _refuse("other-browser")
    if kept["step"] != step:
        return _refuse("replayed")
    if not secrets.compare_digest(kept["microsoft_state"].encode(), state.encode()):
        return _refuse("other-browser")
    return kept


def _packed(asked: StartRequest) -> dict[str, str]:
    return {
        "console_id": asked.console_id,
        "return_url": asked.return_url,
        "cloud": asked.cloud,
        "client_id": asked.client_id,
        "tenant": asked.tenant,
        "console_state": asked.state,
        "nonce_hash": asked.nonce_hash,
        "code_challenge": asked.code_challenge,
    }


def _unpacked(kept: dict[str, Any]) -> StartRequest:
    return StartRequest(
        console_id=kept["console_id"],
        return_url=kept["return_url"],
        cloud=kept["cloud"],
        client_id=kept["client_id"],
        tenant=kept["tenant"],
        state=kept["console_state"],
        nonce_hash=kept["nonce_hash"],
        code_challenge=kept["code_challenge"],
    )


# --- Back to the console -----------------------------------------------------------


def problem_of(error: errors.EntraError) -> Problem:
    return Problem(
        kind=type(error).__name__,
        message=error.message,
        advice=error.advice,
        code=error.code,
        request_id=error.request_id,
    )


def _left_at_approval(problem: Problem) -> Problem:
    """How 'Need admin approval' is left: the same answer as a canceled prompt."""
    return replace(
        problem,
        kind="AdministratorRequired",
        message="Consent was not given: the request was canceled, or Microsoft showed "
        "'Need admin approval' because the account is no Global Administrator.",
        advice="Nothing was saved. Start again, and sign in as a Global Administrator "
        "of the tenant.",
    )


def _other_tenant(tenant: str) -> Problem:
    return Problem(
        kind="OtherTenant",
        message=f"Consent was given for another tenant ({tenant}) than the one of this "
        "connection.",
        advice="Nothing was changed. Sign in as an administrator of the connection's "
        "tenant, or make a new connection.",
    )


def _answer_problem(
    asked: StartRequest, problem: Problem, *, now: datetime
) -> HttpResponse:
    return _back(
        asked.console_id,
        asked.return_url,
        Answer(state=asked.state, problem=problem),
        now=now,
    )


def _finish(
    request: HttpRequest, asked: StartRequest, problem: Problem, *, now: datetime
) -> HttpResponse:
    response = _answer_problem(asked, problem, now=now)
    cookies.forget(response, FLOW + _flow_id(request.GET["state"]))
    return response


def _back(
    console_id: str,
    return_url: str,
    answer: Answer,
    *,
    code: str = "",
    now: datetime,
) -> HttpResponse:
    signed = messages.sign_answer(
        answer,
        connector_id=configuration.connector_id(),
        console_id=console_id,
        key=signing_key("connector"),
        now=now,
    )
    query = {"answer": signed, **({"code": code} if code else {})}
    return _see_other(f"{return_url}?{urlencode(query)}")


# --- Where it is served alone --------------------------------------------------------


@public("for load balancers; says nothing but that the connector answers")
def health(request: HttpRequest) -> JsonResponse:
    """Answer without looking anything up: there is nothing to look up."""
    return JsonResponse({"status": "ok"})


@public("shown by Django in place of a view")
def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    # No request: its host name may be the fault.
    return render(
        None,
        "connector/refused.html",
        {"sentence": "The request is damaged, or came to a name that is not its own."},
        status=400,
    )


@public("shown by Django in place of a view")
def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return _refused_page(request, "There is nothing at this address.", 404)


@public("shown by Django in place of a view")
def server_error(request: HttpRequest) -> HttpResponse:
    return _refused_page(
        request, "The connector failed. Its log says what went wrong.", 500
    )
