"""Signing in and out, and the set-up of a console without accounts."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import login, logout
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory.models import CloudIdentityProvider
from jamfidp.access import public, signed_in
from jamfidp.accounts import entra_sign_in, first_administrator, local_sign_in
from jamfidp.accounts.middleware import ENDED, without_privileges
from jamfidp.accounts.models import User
from jamfidp.accounts.session_store import SIGN_IN
from jamfidp.accounts.sessions import browser_words
from jamfidp.accounts.sign_in_forms import SetUpForm, SignInForm
from jamfidp.accounts.throttle import Browser, TooManyFailures

BACKEND = "jamfidp.accounts.backends.ConsoleBackend"
KNOWN_BROWSER = "known_browser"
KNOWN_BROWSER_SECONDS = 180 * 24 * 3600
ACCOUNTS_PER_BROWSER = 10
FLOW_BROWSER = "sign_in_browser"
FLOW_PATH = "/login/entra/"
REFUSAL = "sign_in_refused"
TEN_MINUTES = 600
# What a sign-in request keeps of where to go.
LONGEST_PATH = 2048


class SeeOther(HttpResponseRedirect):
    """The next request is a GET, and the address of this one is left behind.

    https://www.rfc-editor.org/rfc/rfc9700#section-4.12
    """

    status_code = 303


def local_path(candidate: str) -> str:
    """Return where to go after signing in: a path of this console, or its first page."""
    local = (
        candidate.startswith("/")
        and len(candidate) <= LONGEST_PATH
        and url_has_allowed_host_and_scheme(candidate, allowed_hosts=None)
    )
    return candidate if local else reverse("dashboard")


@public("everybody signs in here")
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def login_page(request: HttpRequest) -> HttpResponse:
    if first_administrator.needed():
        return redirect("accounts:setup")
    next_path = local_path(request.POST.get("next") or request.GET.get("next", ""))
    if request.user.is_authenticated:
        return SeeOther(next_path)
    form = SignInForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                account = local_sign_in.sign_in(
                    username=form.cleaned_data["username"],
                    password=form.cleaned_data["password"],
                    browser=_known_browser(request),
                    address=request.META.get("REMOTE_ADDR"),
                    now=timezone.now(),
                )
            except local_sign_in.SignInRefused as refused:
                form.add_error(None, str(refused))
            except TooManyFailures as refused:
                form.add_error(None, str(refused))
                status = 429
            else:
                return _enter(request, account, next_path, how="Password")
    return render(
        request,
        "accounts/login.html",
        {
            "form": form,
            "next": next_path,
            "ended": _why_ended(request),
            "connections": entra_sign_in.connections(),
        },
        status=status,
    )


@signed_in("whoever is signed in may sign out")
@without_privileges
@require_POST
def logout_page(request: HttpRequest) -> HttpResponse:
    logout(request)
    return SeeOther(f"{reverse('accounts:login')}?signed-out=1")


@public("leads to Microsoft's sign-in page")
@never_cache
@require_GET
def entra_start(request: HttpRequest) -> HttpResponse:
    cloud_idp = get_object_or_404(
        CloudIdentityProvider, pk=_number(request, "connection"), enabled=True
    )
    # One value for all tabs of the browser: two sign-ins at once do not disturb.
    browser = request.COOKIES.get(FLOW_BROWSER) or secrets.token_urlsafe(32)
    try:
        address = entra_sign_in.begin(
            cloud_idp,
            browser=browser,
            next_path=local_path(request.GET.get("next", "")),
            now=timezone.now(),
        )
    except entra_sign_in.SignInRefused as refused:
        return _refuse(refused)
    response = SeeOther(address)
    _set_cookie(response, FLOW_BROWSER, browser, seconds=TEN_MINUTES, path=FLOW_PATH)
    return response


@public("Microsoft's answer arrives with the person's browser")
@never_cache
@require_GET
def entra_callback(request: HttpRequest) -> HttpResponse:
    try:
        done = entra_sign_in.finish(
            request.GET.dict(),
            browser=request.COOKIES.get(FLOW_BROWSER, ""),
            address=request.META.get("REMOTE_ADDR"),
            now=timezone.now(),
        )
    except entra_sign_in.NotOurs as refused:
        return render(
            request, "accounts/entra_refused.html", _words(refused), status=400
        )
    except entra_sign_in.SignInRefused as refused:
        return _refuse(refused)
    return _enter(request, done.account, local_path(done.next_path), how="Entra")


@public("says why somebody was not signed in")
@never_cache
@require_GET
def entra_refused(request: HttpRequest) -> HttpResponse:
    try:
        words = signing.loads(
            request.COOKIES.get(REFUSAL, ""), salt=REFUSAL, max_age=TEN_MINUTES
        )
    except signing.BadSignature:
        return redirect("accounts:login")
    return render(request, "accounts/entra_refused.html", words, status=403)


@public("there is no account to sign in with yet")
@never_cache
@sensitive_post_parameters("password", "password_again", "code")
@require_http_methods(["GET", "HEAD", "POST"])
def setup(request: HttpRequest) -> HttpResponse:
    if not first_administrator.needed():
        return redirect("accounts:login")
    form = SetUpForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                account = first_administrator.set_up(
                    code=form.cleaned_data["code"],
                    username=form.cleaned_data["username"],
                    full_name=form.cleaned_data["full_name"],
                    password=form.cleaned_data["password"],
                    address=request.META.get("REMOTE_ADDR"),
                    now=timezone.now(),
                )
            except first_administrator.CodeRefused as refused:
                form.add_error("code", str(refused))
            except TooManyFailures as refused:
                form.add_error(None, str(refused))
                status = 429
            except first_administrator.AlreadySetUp:
                return redirect("accounts:login")
            else:
                return _enter(request, account, reverse("dashboard"), how="Password")
    return render(request, "accounts/setup.html", {"form": form}, status=status)


def _enter(request: HttpRequest, account: User, path: str, *, how: str) -> HttpResponse:
    """Open a session under a new key, and remember that the browser was here."""
    known = _known_browser(request)
    # Whoever knew the key of the session before cannot use it now.
    login(request, account, backend=BACKEND)
    request.session[SIGN_IN] = {
        "how": how,
        "address": request.META.get("REMOTE_ADDR"),
        "browser": browser_words(request.headers.get("User-Agent", "")),
    }
    response = SeeOther(path)
    others = [pk for pk in known.account_ids if pk != account.pk]
    _set_cookie(
        response,
        KNOWN_BROWSER,
        signing.dumps(
            {
                "id": known.id or secrets.token_urlsafe(16),
                "accounts": [account.pk, *others][:ACCOUNTS_PER_BROWSER],
            },
            salt=KNOWN_BROWSER,
        ),
        seconds=KNOWN_BROWSER_SECONDS,
        path=reverse("accounts:login"),
    )
    return response


def _why_ended(request: HttpRequest) -> str:
    try:
        words = signing.loads(
            request.GET.get(ENDED, ""), salt=ENDED, max_age=TEN_MINUTES
        )
    except signing.BadSignature:
        return ""
    return str(words)


def _known_browser(request: HttpRequest) -> Browser:
    try:
        content = signing.loads(
            request.COOKIES.get(KNOWN_BROWSER, ""),
            salt=KNOWN_BROWSER,
            max_age=KNOWN_BROWSER_SECONDS,
        )
    except signing.BadSignature:
        return Browser()
    return Browser(id=content["id"], account_ids=content["accounts"])


def _refuse(refused: entra_sign_in.SignInRefused) -> HttpResponse:
    """Go to an address without the code; the words travel in a signed cookie.

    Nothing is stored for people who are not signed in.
    """
    response = SeeOther(reverse("accounts:entra-refused"))
    _set_cookie(
        response,
        REFUSAL,
        signing.dumps(_words(refused), salt=REFUSAL),
        seconds=TEN_MINUTES,
        path=FLOW_PATH,
    )
    return response


def _words(refused: entra_sign_in.SignInRefused) -> dict[str, Any]:
    return {
        "what": refused.what,
        "advice": [sentence for sentence in refused.advice if sentence],
        "reference": refused.reference,
    }


def _set_cookie(
    response: HttpResponse, name: str, value: str, *, seconds: int, path: str
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
