"""Settings > Single sign-on, and keeping people out."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider, DirectoryUser
from jamfidp.access import get_visible_or_404, privilege
from jamfidp.accounts import switches
from jamfidp.accounts.administrators import LastAdministrator, local_administrators
from jamfidp.accounts.forms import ReasonForm, StopForm
from jamfidp.accounts.models import Block, User
from jamfidp.accounts.switches import AlreadySo, NotYourself
from jamfidp.accounts.user_accounts import MoreThanYouHold
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest

VIEW, CHANGE = "accounts.view_entrasigninstop", "accounts.change_entrasigninstop"
PAGE = "accounts:single-sign-on"
ALL = "all"


@privilege(VIEW)
@require_safe
def single_sign_on(request: ConsoleRequest) -> HttpResponse:
    now = timezone.now()
    stops = {stop.tenant_id: stop for stop in switches.stops()}
    may_see_accounts = request.user.has_perm("accounts.view_user")
    return render(
        request,
        "accounts/single_sign_on.html",
        {
            "everywhere": stops.get(""),
            "signed_in": switches.signed_in_with_entra("", now=now),
            "rows": [
                (
                    cloud_idp,
                    stops.get(cloud_idp.tenant_id),
                    switches.signed_in_with_entra(cloud_idp.tenant_id, now=now),
                )
                for cloud_idp in CloudIdentityProvider.objects.order_by("display_name")
            ],
            "blocks": _visible_blocks(request) if may_see_accounts else [],
            "may_change": request.user.has_perm(CHANGE),
            "may_lift": request.user.has_perm("accounts.change_user"),
            "may_see_accounts": may_see_accounts,
        },
    )


def _visible_blocks(request: ConsoleRequest) -> list[Block]:
    access = request.user.sites_with("accounts.view_user")
    return [
        block
        for block in switches.blocks()
        if access.may_see(block.account.site_id if block.account else None)
    ]


def _connection(which: str) -> CloudIdentityProvider | None:
    """The connection of a switch; None stands for all of them."""
    if which == ALL:
        return None
    if not which.isdecimal() or len(which) > 18:
        raise Http404
    return get_object_or_404(CloudIdentityProvider, pk=int(which))


@privilege(VIEW, CHANGE)
@require_http_methods(["GET", "HEAD", "POST"])
def entra_stop(request: ConsoleRequest, which: str) -> HttpResponse:
    cloud_idp = _connection(which)
    form = StopForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            switches.stop_entra(
                cloud_idp,
                reason=form.cleaned_data["reason"],
                end_sessions=form.cleaned_data["end_sessions"],
                actor=request.user,
                now=timezone.now(),
            )
        except AlreadySo as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, "Sign-in with Entra is stopped.")
            return redirect(PAGE)
    tenant_id = cloud_idp.tenant_id if cloud_idp else ""
    return render(
        request,
        "accounts/entra_stop.html",
        {
            "form": form,
            "cloud_idp": cloud_idp,
            "signed_in": switches.signed_in_with_entra(tenant_id, now=timezone.now()),
            "administrators": local_administrators().count(),
            "crumbs": _crumbs(),
        },
        status=422 if form.errors else 200,
    )


@privilege(VIEW, CHANGE)
@require_http_methods(["GET", "HEAD", "POST"])
def entra_allow(request: ConsoleRequest, which: str) -> HttpResponse:
    cloud_idp = _connection(which)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            switches.allow_entra(
                cloud_idp,
                reason=form.cleaned_data["reason"],
                actor=request.user,
                now=timezone.now(),
            )
        except AlreadySo as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, "Sign-in with Entra is allowed again.")
            return redirect(PAGE)
    tenant_id = cloud_idp.tenant_id if cloud_idp else ""
    return render(
        request,
        "accounts/entra_allow.html",
        {
            "form": form,
            "cloud_idp": cloud_idp,
            "stop": switches.stops().filter(tenant_id=tenant_id).first(),
            "crumbs": _crumbs(),
        },
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_user", "accounts.change_user")
@require_http_methods(["GET", "HEAD", "POST"])
def user_block(request: ConsoleRequest, pk: int) -> HttpResponse:
    """End the sessions of an account and keep its person out."""
    account = get_visible_or_404(
        User.objects.all(), request.user, "accounts.change_user", pk=pk
    )
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            switches.block_account(
                account,
                reason=form.cleaned_data["reason"],
                actor=request.user,
                now=timezone.now(),
            )
        except (
            AlreadySo,
            NotYourself,
            MoreThanYouHold,
            LastAdministrator,
        ) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"Blocked {account.username}.")
            return redirect(account)
    return _block_page(
        request, form, name=str(account), back=account.get_absolute_url()
    )


@privilege("accounts.view_user", "accounts.change_user")
@require_http_methods(["GET", "HEAD", "POST"])
def person_block(
    request: ConsoleRequest, tenant_id: str, object_id: str
) -> HttpResponse:
    """Keep a person of Entra out, who may have no account here yet."""
    if not request.user.sites_with("accounts.change_user").everywhere:
        raise Http404
    person = get_object_or_404(
        DirectoryUser.objects.connected(),
        cloud_idp__tenant_id=tenant_id,
        object_id=object_id,
    )
    account = User.objects.filter(tenant_id=tenant_id, object_id=object_id).first()
    if account is not None:
        return redirect("accounts:user-block", account.pk)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            switches.block_person(
                ObjectRef(tenant_id, object_id),
                name=person.user_principal_name or str(person),
                reason=form.cleaned_data["reason"],
                actor=request.user,
                now=timezone.now(),
            )
        except AlreadySo as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"Blocked {person}.")
            return redirect(person)
    return _block_page(request, form, name=str(person), back=person.get_absolute_url())


def _block_page(
    request: ConsoleRequest, form: ReasonForm, *, name: str, back: str
) -> HttpResponse:
    return render(
        request,
        "accounts/block.html",
        {"form": form, "name": name, "back": back},
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_user", "accounts.change_user")
@require_http_methods(["GET", "HEAD", "POST"])
def block_lift(request: ConsoleRequest, pk: int) -> HttpResponse:
    block = get_object_or_404(switches.blocks(), pk=pk)
    site_id = block.account.site_id if block.account else None
    if not request.user.sites_with("accounts.change_user").may_see(site_id):
        raise Http404
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            switches.lift(
                block,
                reason=form.cleaned_data["reason"],
                actor=request.user,
                now=timezone.now(),
            )
        except (AlreadySo, MoreThanYouHold) as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"{block} can sign in again.")
            return redirect(block.account or PAGE)
    return render(
        request,
        "accounts/block_lift.html",
        {
            "form": form,
            # A name that templates do not give a meaning of their own.
            "kept_out": block,
            "back": block.account.get_absolute_url()
            if block.account
            else reverse(PAGE),
        },
        status=422 if form.errors else 200,
    )


def _crumbs() -> list[Crumb]:
    return [Crumb("Single sign-on", reverse(PAGE))]
