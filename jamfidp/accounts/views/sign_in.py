"""Signing in and out, and the set-up of a console without accounts."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth import logout
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory.models import CloudIdentityProvider
from jamfidp.access import public, signed_in
from jamfidp.accounts import entra_sign_in, first_administrator, local_sign_in
from jamfidp.accounts.middleware import ENDED, without_privileges
from jamfidp.accounts.sign_in_forms import SetUpForm, SignInForm
from jamfidp.accounts.throttle import TooManyFailures
from jamfidp.accounts.views import entering

FLOW_BROWSER = "sign_in_browser"
FLOW_PATH = "/login/entra/"
REFUSAL = "sign_in_refused"
# Cookies of a way to Microsoft: the address typed, and whose session was ended here.
CHOSEN = "sign_in_chosen"
SIGNED_OUT_OF = "signed_out_of"
TEN_MINUTES = 600


@public("everybody signs in here")
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def login_page(request: HttpRequest) -> HttpResponse:
    if first_administrator.needed():
        return redirect("accounts:setup")
    next_path = entering.local_path(
        request.POST.get("next") or request.GET.get("next", "")
    )
    if request.user.is_authenticated:
        return entering.SeeOther(next_path)
    form = SignInForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                account = local_sign_in.check_password(
                    username=form.cleaned_data["username"],
                    password=form.cleaned_data["password"],
                    browser=entering.known_browser(request),
                    address=request.META.get("REMOTE_ADDR"),
                    now=timezone.now(),
                )
            except local_sign_in.SignInRefused as refused:
                form.add_error(None, str(refused))
            except TooManyFailures as refused:
                form.add_error(None, str(refused))
                status = 429
            else:
                return entering.after_password(request, account, next_path)
    return render(
        request,
        "accounts/login.html",
        {
            "form": form,
            "next": next_path,
            "ended": _why_ended(request),
            "connections": entra_sign_in.connections(),
            "clouds": entra_sign_in.clouds_to_choose(),
            "stopped": entra_sign_in.is_stopped(),
            "signed_out": request.GET.get("signed-out", ""),
        },
        status=status,
    )


@signed_in("whoever is signed in may sign out")
@without_privileges
@require_POST
def logout_page(request: HttpRequest) -> HttpResponse:
    tenant_id = getattr(request.user, "tenant_id", "")
    logout(request)
    login = reverse("accounts:login")
    if not tenant_id:
        return entering.SeeOther(f"{login}?signed-out=1")
    response = entering.SeeOther(f"{login}?signed-out=entra")
    entering.set_cookie(
        response,
        SIGNED_OUT_OF,
        signing.dumps(tenant_id, salt=SIGNED_OUT_OF),
        seconds=TEN_MINUTES,
        path=FLOW_PATH,
    )
    return response


@public("leads to the end of the session at Microsoft")
@never_cache
@require_GET
def entra_sign_out(request: HttpRequest) -> HttpResponse:
    """End the session at Microsoft as well, of whoever just signed out here."""
    try:
        tenant_id = signing.loads(
            request.COOKIES.get(SIGNED_OUT_OF, ""),
            salt=SIGNED_OUT_OF,
            max_age=TEN_MINUTES,
        )
        address = entra_sign_in.sign_out_address(tenant_id, now=timezone.now())
    except signing.BadSignature:
        return redirect("accounts:login")
    except entra_sign_in.SignInRefused as refused:
        return _refuse(refused)
    return entering.SeeOther(address)


@public("says what was ended")
@never_cache
@require_GET
def entra_signed_out(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/entra_signed_out.html")


@public("a person says which organization they belong to")
@never_cache
@require_POST
def entra_choose(request: HttpRequest) -> HttpResponse:
    """Take the work address to Microsoft, by a page of ours.

    The policy of the pages keeps browsers from following a form to another origin.
    """
    response = entering.SeeOther(
        f"{reverse('accounts:entra-continue')}?"
        + urlencode({"next": entering.local_path(request.POST.get("next", ""))})
    )
    entering.set_cookie(
        response,
        CHOSEN,
        signing.dumps(
            {
                "address": request.POST.get("address", "").strip()[:320],
                "cloud": request.POST.get("cloud", "")[:20],
            },
            salt=CHOSEN,
        ),
        seconds=TEN_MINUTES,
        path=FLOW_PATH,
    )
    return response


@public("goes on to Microsoft's sign-in page")
@never_cache
@require_GET
def entra_continue(request: HttpRequest) -> HttpResponse:
    query = urlencode({"next": entering.local_path(request.GET.get("next", ""))})
    return render(
        request,
        "accounts/entra_continue.html",
        {"address": f"{reverse('accounts:entra-start')}?{query}"},
    )


@public("leads to Microsoft's sign-in page")
@never_cache
@require_GET
def entra_start(request: HttpRequest) -> HttpResponse:
    # One value for all tabs of the browser: two sign-ins at once do not disturb.
    browser = request.COOKIES.get(FLOW_BROWSER) or secrets.token_urlsafe(32)
    try:
        door = _door(request)
        if door is None:
            return redirect("accounts:login")
        address = entra_sign_in.begin(
            door,
            browser=browser,
            address=request.META.get("REMOTE_ADDR"),
            next_path=entering.local_path(request.GET.get("next", "")),
            now=timezone.now(),
        )
    except entra_sign_in.TooManyBegun as refused:
        return render(
            request, "accounts/entra_refused.html", _words(refused), status=429
        )
    except entra_sign_in.SignInRefused as refused:
        return _refuse(refused)
    response = entering.SeeOther(address)
    entering.set_cookie(
        response, FLOW_BROWSER, browser, seconds=TEN_MINUTES, path=FLOW_PATH
    )
    return response


def _door(request: HttpRequest) -> entra_sign_in.Door | None:
    """Where the sign-in begins: the only connection, or what the person chose."""
    if "connection" in request.GET:
        enabled = CloudIdentityProvider.objects.filter(enabled=True)
        # Among several, an address must not tell which ones there are.
        if enabled.count() != 1:
            raise Http404
        cloud_idp = get_object_or_404(enabled, pk=_number(request, "connection"))
        return entra_sign_in.Door(cloud_idp.cloud, cloud_idp)
    try:
        chosen = signing.loads(
            request.COOKIES.get(CHOSEN, ""), salt=CHOSEN, max_age=TEN_MINUTES
        )
    except signing.BadSignature:
        return None
    return entra_sign_in.door_for(chosen["address"], chosen["cloud"])


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
    return entering.enter(
        request, done.account, entering.local_path(done.next_path), how="Entra"
    )


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
                return entering.after_password(request, account, reverse("dashboard"))
    return render(request, "accounts/setup.html", {"form": form}, status=status)


def _why_ended(request: HttpRequest) -> str:
    try:
        words = signing.loads(
            request.GET.get(ENDED, ""), salt=ENDED, max_age=TEN_MINUTES
        )
    except signing.BadSignature:
        return ""
    return str(words)


def _refuse(refused: entra_sign_in.SignInRefused) -> HttpResponse:
    """Go to an address without the code; the words travel in a signed cookie.

    Nothing is stored for people who are not signed in.
    """
    response = entering.SeeOther(reverse("accounts:entra-refused"))
    entering.set_cookie(
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


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
