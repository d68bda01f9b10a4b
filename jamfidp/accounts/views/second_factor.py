"""The second step of signing in, and what it is made of: apps, passkeys, codes.

Some pages serve two people: one who is signed in and has just proved who they are,
and one whose password was right and who has to enroll a factor before they get in.
"""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jamfidp import crypto
from jamfidp.access import get_visible_or_404, privilege, public, signed_in
from jamfidp.accounts import (
    authenticator_app,
    local_sign_in,
    passkeys,
    second_factor,
    user_accounts,
)
from jamfidp.accounts.forms import AccountPasswordForm
from jamfidp.accounts.middleware import without_privileges
from jamfidp.accounts.models import User
from jamfidp.accounts.passkeys import PasskeyRefused
from jamfidp.accounts.second_factor import CodeRefused, StillNeeded
from jamfidp.accounts.sign_in_forms import (
    CodeForm,
    PasskeyForm,
    PasswordForm,
    RecoveryCodeForm,
)
from jamfidp.accounts.throttle import TooManyFailures
from jamfidp.accounts.user_accounts import MoreThanYouHold
from jamfidp.accounts.views import entering
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest

CHALLENGE = "passkey_challenge"


def _challenge_of(request: HttpRequest) -> str:
    """Take the challenge that the browser was asked to sign: it works once."""
    challenge: str = request.session.pop(CHALLENGE, "")
    return challenge


def _refused(error: Exception) -> int:
    return 429 if isinstance(error, TooManyFailures) else 422


# --- The second step ----------------------------------------------------------------


@public("comes between the password and the session")
@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def factor_page(request: HttpRequest) -> HttpResponse:
    half = entering.half_of(request)
    if half is None:
        return redirect("accounts:login")
    recovery = "recovery" in (request.POST or request.GET)
    form = (RecoveryCodeForm if recovery else CodeForm)(
        request.POST if request.method == "POST" else None
    )
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            check = (
                second_factor.check_recovery_code
                if recovery
                else second_factor.check_code
            )
            try:
                name = check(
                    half.account,
                    form.cleaned_data["code"],
                    browser=entering.known_browser(request),
                    address=request.META.get("REMOTE_ADDR"),
                    now=timezone.now(),
                )
            except (CodeRefused, TooManyFailures) as refused:
                form.add_error("code", str(refused))
                status = _refused(refused)
            else:
                return entering.complete(request, half, name)
    return _factor_page(request, half, form, recovery=recovery, status=status)


def _factor_page(
    request: HttpRequest,
    half: entering.Half,
    form: CodeForm,
    *,
    recovery: bool = False,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    return render(
        request,
        "accounts/second_factor.html",
        {
            "form": form,
            "factors": second_factor.of(half.account),
            "recovery": recovery,
            "confirms": half.confirms,
            "error": error,
        },
        status=status,
    )


@public("comes between the password and the session")
@never_cache
@require_POST
def factor_questions(request: HttpRequest) -> HttpResponse:
    """What the browser is asked to sign with a passkey."""
    half = entering.half_of(request)
    if half is None:
        return JsonResponse({}, status=403)
    questions, request.session[CHALLENGE] = passkeys.questions_to_sign(half.account)
    return JsonResponse(json.loads(questions))


@public("comes between the password and the session")
@never_cache
@require_POST
def factor_passkey(request: HttpRequest) -> HttpResponse:
    half = entering.half_of(request)
    if half is None:
        return redirect("accounts:login")
    try:
        name = second_factor.check_passkey(
            half.account,
            answer=request.POST.get("answer", ""),
            challenge=_challenge_of(request),
            browser=entering.known_browser(request),
            address=request.META.get("REMOTE_ADDR"),
            now=timezone.now(),
        )
    except (PasskeyRefused, TooManyFailures) as refused:
        return _factor_page(
            request, half, CodeForm(), error=str(refused), status=_refused(refused)
        )
    return entering.complete(request, half, name)


# --- Proving who one is again --------------------------------------------------------


@signed_in("whoever changes how they sign in proves who they are again")
@without_privileges
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def prove(request: ConsoleRequest) -> HttpResponse:
    next_path = entering.local_path(
        request.POST.get("next") or request.GET.get("next", "")
    )
    if not request.user.is_local:
        return redirect("accounts:how-i-sign-in")
    form = PasswordForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                account = local_sign_in.check_password(
                    username=request.user.username,
                    password=form.cleaned_data["password"],
                    browser=entering.known_browser(request),
                    address=request.META.get("REMOTE_ADDR"),
                    now=timezone.now(),
                )
            except local_sign_in.SignInRefused:
                form.add_error("password", "The password is wrong.")
            except TooManyFailures as refused:
                form.add_error("password", str(refused))
                status = 429
            else:
                return entering.after_password_again(request, account, next_path)
    return render(
        request,
        "accounts/prove.html",
        {"form": form, "next": next_path},
        status=status,
    )


# --- How one signs in ----------------------------------------------------------------


@signed_in("everybody may know how they sign in")
@without_privileges
def how_i_sign_in(request: ConsoleRequest) -> HttpResponse:
    account = request.user
    return render(
        request,
        "accounts/how_i_sign_in.html",
        {
            "account": account,
            "factors": second_factor.of(account),
            "required": second_factor.is_required(account, now=timezone.now()),
        },
    )


@signed_in("everybody changes their own password")
@without_privileges
@never_cache
@sensitive_post_parameters("password", "password_again")
@require_http_methods(["GET", "HEAD", "POST"])
def my_password(request: ConsoleRequest) -> HttpResponse:
    if not request.user.is_local:
        return redirect("accounts:how-i-sign-in")
    if not entering.is_proved(request):
        return entering.ask_again(request, back_to=request.path)
    form = AccountPasswordForm(
        request.POST if request.method == "POST" else None, holder=request.user
    )
    if request.method == "POST" and form.is_valid():
        user_accounts.change_own_password(
            request.user,
            password=form.cleaned_data["password"],
            this=getattr(request.session, "row", None),
            now=timezone.now(),
        )
        update_session_auth_hash(request, request.user)
        messages.success(request, "Changed your password. Your other sessions ended.")
        return redirect("accounts:how-i-sign-in")
    return render(
        request,
        "accounts/my_password.html",
        {"form": form},
        status=422 if form.errors else 200,
    )


# --- Enrolling -----------------------------------------------------------------------


Subject = tuple[User, entering.Half | None]


def _subject(request: HttpRequest) -> Subject | HttpResponse:
    """Who may enroll a factor here, or where to send them first."""
    half = entering.half_of(request)
    if half is not None and not half.confirms:
        # Whoever has a factor shows it; a password alone adds none.
        if half.proved or not second_factor.of(half.account).any:
            return half.account, half
        return redirect("accounts:second-factor")
    account = request.user
    if not isinstance(account, User):
        return redirect("accounts:login")
    if not account.is_local:
        return redirect("accounts:how-i-sign-in")
    if not entering.is_proved(request):
        here = request.path if request.method == "GET" else ""
        return entering.ask_again(
            request, back_to=here or reverse("accounts:how-i-sign-in")
        )
    return account, None


@public("also for somebody who has to enroll a factor before they get in")
@never_cache
def enroll(request: HttpRequest) -> HttpResponse:
    """Choose what to add: an app or a passkey."""
    subject = _subject(request)
    if isinstance(subject, HttpResponse):
        return subject
    account, half = subject
    return render(
        request, "accounts/enroll.html", {"account": account, "half": half is not None}
    )


@public("also for somebody who has to enroll a factor before they get in")
@never_cache
@require_POST
def enroll_app_begin(request: HttpRequest) -> HttpResponse:
    subject = _subject(request)
    if isinstance(subject, HttpResponse):
        return subject
    account, half = subject
    try:
        authenticator_app.begin(account, now=timezone.now())
    except crypto.KeyUnavailable:
        return render(
            request,
            "accounts/enroll.html",
            {
                "account": account,
                "half": half is not None,
                "error": "The console has no encryption key, so it can keep no "
                "secret. Whoever operates it sets ENCRYPTION_KEYS. A passkey works "
                "without one.",
            },
            status=422,
        )
    return entering.SeeOther(reverse("accounts:enroll-app"))


@public("also for somebody who has to enroll a factor before they get in")
@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def enroll_app(request: HttpRequest) -> HttpResponse:
    """Show the secret of the new app, and take a first code of it."""
    subject = _subject(request)
    if isinstance(subject, HttpResponse):
        return subject
    account, half = subject
    app = authenticator_app.pending(account)
    if app is None:
        return redirect("accounts:enroll")
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            second_factor.confirm_app(
                account, form.cleaned_data["code"], now=timezone.now()
            )
        except CodeRefused as refused:
            form.add_error("code", str(refused))
        else:
            return _enrolled(request, account, half, "authenticator app")
    secret = authenticator_app.secret_of(app)
    return render(
        request,
        "accounts/enroll_app.html",
        {
            "form": form,
            "picture": mark_safe(  # noqa: S308 - drawn here, from our own secret
                authenticator_app.picture_of(authenticator_app.address_for(app))
            ),
            "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
            "half": half is not None,
        },
        status=422 if form.errors else 200,
    )


@public("also for somebody who has to enroll a factor before they get in")
@never_cache
@require_POST
def enroll_questions(request: HttpRequest) -> HttpResponse:
    """What the browser is asked to make a passkey for."""
    subject = _subject(request)
    if isinstance(subject, HttpResponse):
        return JsonResponse({}, status=403)
    questions, request.session[CHALLENGE] = passkeys.questions_to_create(subject[0])
    return JsonResponse(json.loads(questions))


@public("also for somebody who has to enroll a factor before they get in")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def enroll_passkey(request: HttpRequest) -> HttpResponse:
    subject = _subject(request)
    if isinstance(subject, HttpResponse):
        return subject
    account, half = subject
    form = PasskeyForm(request.POST if request.method == "POST" else None)
    error = ""
    if request.method == "POST" and form.is_valid():
        try:
            second_factor.add_passkey(
                account,
                name=form.cleaned_data["name"],
                answer=form.cleaned_data["answer"],
                challenge=_challenge_of(request),
                now=timezone.now(),
            )
        except PasskeyRefused as refused:
            error = str(refused)
        else:
            return _enrolled(request, account, half, "passkey")
    return render(
        request,
        "accounts/enroll_passkey.html",
        {"form": form, "error": error, "half": half is not None},
        status=422 if error or form.errors else 200,
    )


def _enrolled(
    request: HttpRequest, account: User, half: entering.Half | None, factor: str
) -> HttpResponse:
    """Go on: to the recovery codes where there are none, else to where one was."""
    if half is not None:
        entering.prove_half(request, factor)
    if second_factor.of(account).recovery_codes:
        messages.success(request, f"Added the {factor}.")
        return redirect("accounts:how-i-sign-in")
    return _recovery_codes(request, account, half)


def _recovery_codes(
    request: HttpRequest, account: User, half: entering.Half | None
) -> HttpResponse:
    """Show new codes, this once: they are kept as hashes."""
    return render(
        request,
        "accounts/recovery_codes.html",
        {
            "codes": second_factor.new_recovery_codes(account, now=timezone.now()),
            "account": account,
            "half": half is not None,
        },
    )


@public("after enrolling, before the session")
@never_cache
@require_POST
def enrolled(request: HttpRequest) -> HttpResponse:
    """The recovery codes are kept: open the session."""
    half = entering.half_of(request)
    if half is None or not half.proved:
        return redirect("accounts:login")
    return entering.complete(request, half, half.proved)


# --- Taking away ---------------------------------------------------------------------


def _own(request: ConsoleRequest) -> HttpResponse | None:
    """Send whoever has not just proved who they are to do so."""
    if request.user.is_local and entering.is_proved(request):
        return None
    return entering.ask_again(request, back_to=reverse("accounts:how-i-sign-in"))


@signed_in("everybody makes their own recovery codes")
@without_privileges
@never_cache
@require_POST
def recovery_codes_new(request: ConsoleRequest) -> HttpResponse:
    elsewhere = _own(request)
    if elsewhere is not None:
        return elsewhere
    if not second_factor.of(request.user).any:
        messages.error(request, "Add a second factor first: a code stands in for it.")
        return redirect("accounts:how-i-sign-in")
    return _recovery_codes(request, request.user, None)


@signed_in("everybody removes their own second factors")
@without_privileges
@require_POST
def app_remove(request: ConsoleRequest) -> HttpResponse:
    return _own(request) or _remove(request, authenticator_app.confirmed(request.user))


@signed_in("everybody removes their own second factors")
@without_privileges
@require_POST
def passkey_remove(request: ConsoleRequest, pk: int) -> HttpResponse:
    passkey = get_object_or_404(request.user.passkeys, pk=pk)
    return _own(request) or _remove(request, passkey)


def _remove(request: ConsoleRequest, factor: Any) -> HttpResponse:
    if factor is not None:
        try:
            second_factor.remove(factor, actor=request.user, now=timezone.now())
        except StillNeeded as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, f"Removed: {factor}.")
    return redirect("accounts:how-i-sign-in")


@privilege("accounts.view_user", "accounts.change_user")
@require_http_methods(["GET", "HEAD", "POST"])
def factors_of_account_remove(request: ConsoleRequest, pk: int) -> HttpResponse:
    """For somebody who lost their second factor: they enroll a new one."""
    account = get_visible_or_404(
        User.objects.filter(object_id=""), request.user, "accounts.change_user", pk=pk
    )
    if request.user.is_local and not entering.is_proved(request):
        return entering.ask_again(request, back_to=request.path)
    error = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() != account.username:
            error = "That is not the user name of this account."
        else:
            try:
                user_accounts.remove_second_factors(
                    account, actor=request.user, now=timezone.now()
                )
            except (MoreThanYouHold, ValidationError) as refused:
                error = str(refused)
            else:
                messages.success(
                    request, f"Removed the second factors of {account.username}."
                )
                return redirect(account)
    return render(
        request,
        "accounts/factors_remove.html",
        {
            "account": account,
            "factors": second_factor.of(account),
            "required": second_factor.is_required(account, now=timezone.now()),
            "error": error,
            "crumbs": [
                Crumb("User accounts", reverse("accounts:user-list")),
                Crumb(str(account), account.get_absolute_url()),
            ],
        },
        status=422 if error else 200,
    )
