"""Settings > User accounts and groups: accounts."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters

from directory.models import CloudIdentityProvider
from jamfidp.access import get_visible_or_404, privilege, visible_to
from jamfidp.accounts import (
    consequences,
    presentation,
    second_factor,
    sessions,
    standing,
    switches,
    user_accounts,
)
from jamfidp.accounts.administrators import LastAdministrator
from jamfidp.accounts.forms import AccountForm, AccountPasswordForm, NewAccountForm
from jamfidp.accounts.models import AccessLevel, AccountGroup, PrivilegeSet, User
from jamfidp.accounts.user_accounts import MoreThanYouHold, Privileges
from jamfidp.accounts.views.pages import history_entries, kept_fields, section_tabs
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment

PAGE_SIZE = 50
LIST = "accounts:user-list"


@privilege("accounts.view_user")
def user_list(request: ConsoleRequest) -> HttpResponse:
    accounts = visible_to(
        User.objects.select_related("site").prefetch_related("groups__site"),
        request.user,
        "accounts.view_user",
    )
    total = accounts.count()
    query = request.GET.get("q", "").strip()
    source = request.GET.get("source", "")
    if query:
        accounts = accounts.filter(
            Q(username__icontains=query)
            | Q(full_name__icontains=query)
            | Q(email__icontains=query)
        )
    if source == "local":
        accounts = accounts.filter(object_id="")
    elif source == "entra":
        accounts = accounts.exclude(object_id="")
    after = request.GET.get("after", "")
    if after:
        accounts = accounts.filter(username__gt=after)
    found = list(accounts.order_by("username")[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    return page_or_fragment(
        request,
        page="accounts/user_list.html",
        fragments={"account-list": "accounts/_user_list.html"},
        context={
            "rows": [(account, _level(account)) for account in shown],
            "query": query,
            "source": source,
            "next_after": shown[-1].username if len(found) > PAGE_SIZE else "",
            "total": total,
            "tabs": section_tabs(request.user, "accounts"),
            "may_add": request.user.has_perm("accounts.add_user"),
        },
    )


@privilege("accounts.view_user", "accounts.add_user")
@sensitive_post_parameters("password")
def user_new(request: ConsoleRequest) -> HttpResponse:
    form = NewAccountForm(
        request.POST if request.method == "POST" else None,
        actor=request.user,
        initial={
            "access_level": AccessLevel.GROUP,
            "privilege_set": PrivilegeSet.AUDITOR,
        },
    )
    if request.method == "POST" and form.is_valid():
        try:
            account = user_accounts.create_account(
                username=form.cleaned_data["username"],
                full_name=form.cleaned_data["full_name"],
                email=form.cleaned_data["email"],
                password=form.cleaned_data["password"],
                privileges=form.chosen(),
                groups=form.resulting_groups(),
                actor=request.user,
                now=timezone.now(),
            )
        except (ValidationError, MoreThanYouHold) as refused:
            _show(form, refused)
        else:
            messages.success(request, f"Created the account {account.username}.")
            return redirect(account)
    return render(
        request,
        "accounts/user_form.html",
        {"form": form, "account": None, "crumbs": _crumbs()},
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_user")
def user_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    account = _visible(request, pk, "accounts.view_user")
    groups = visible_to(
        AccountGroup.objects.filter(accounts=account),
        request.user,
        "accounts.view_accountgroup",
    )
    return render(
        request,
        "accounts/user_detail.html",
        {
            "account": account,
            "level": _level(account),
            "held": presentation.held(
                standing.read(account, now=timezone.now()), request.user
            ),
            "groups": groups,
            "connection": CloudIdentityProvider.objects.filter(
                tenant_id=account.tenant_id
            ).first()
            if not account.is_local
            else None,
            "entries": history_entries(account),
            "kept_out": switches.block_of(account),
            "factors": second_factor.of(account),
            "factor_required": second_factor.is_required(account, now=timezone.now()),
            "sessions": sessions.lines(
                account, now=timezone.now(), this=getattr(request.session, "row", None)
            ),
            "crumbs": _crumbs(),
            "may_change": request.user.has_perm("accounts.change_user", account),
            "may_delete": request.user.has_perm("accounts.delete_user", account),
        },
    )


@privilege("accounts.view_user", "accounts.change_user")
def user_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    account = _visible(request, pk, "accounts.change_user")
    form = AccountForm(
        request.POST if request.method == "POST" else None,
        actor=request.user,
        account=account,
    )
    if request.method == "POST" and form.is_valid():
        before, after = Privileges.of(account), form.chosen()
        change = consequences.of_change(before, after, people=[account])
        if change is not None and "reviewed" not in request.POST:
            return render(
                request,
                "accounts/review.html",
                {
                    "subject": account,
                    "change": change,
                    "kept": kept_fields(request),
                    "crumbs": _crumbs(account),
                    "note": "With Group Access the privileges come from account groups."
                    if AccessLevel.GROUP in {before.access_level, after.access_level}
                    else "",
                },
            )
        try:
            user_accounts.change_account(
                account,
                username=form.cleaned_data["username"],
                full_name=form.cleaned_data["full_name"],
                email=form.cleaned_data["email"],
                enabled=form.cleaned_data["enabled"],
                privileges=after,
                groups=form.resulting_groups(),
                actor=request.user,
                now=timezone.now(),
            )
        except (ValidationError, MoreThanYouHold, LastAdministrator) as refused:
            account.refresh_from_db()
            _show(form, refused)
        else:
            messages.success(request, f"Saved the account {account.username}.")
            return redirect(account)
    return render(
        request,
        "accounts/user_form.html",
        {"form": form, "account": account, "crumbs": _crumbs(account)},
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_user", "accounts.change_user")
@sensitive_post_parameters("password", "password_again")
def user_password(request: ConsoleRequest, pk: int) -> HttpResponse:
    account = _visible(request, pk, "accounts.change_user")
    form = AccountPasswordForm(
        request.POST if request.method == "POST" else None, holder=account
    )
    if request.method == "POST" and form.is_valid():
        try:
            user_accounts.set_password(
                account,
                password=form.cleaned_data["password"],
                actor=request.user,
                now=timezone.now(),
            )
        except (ValidationError, MoreThanYouHold) as refused:
            _show(form, refused)
        else:
            messages.success(
                request,
                f"Set a new password for {account.username}. Its other sessions ended.",
            )
            return redirect(account)
    return render(
        request,
        "accounts/user_password.html",
        {"form": form, "account": account, "crumbs": _crumbs(account)},
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_user", "accounts.delete_user")
def user_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    account = _visible(request, pk, "accounts.delete_user")
    error = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() != account.username:
            error = "That is not the user name of this account."
        else:
            name = account.username
            try:
                user_accounts.delete_account(
                    account, actor=request.user, now=timezone.now()
                )
            except (MoreThanYouHold, LastAdministrator) as refused:
                error = str(refused)
                account = _visible(request, pk, "accounts.delete_user")
            else:
                messages.success(request, f"Deleted the account {name}.")
                return redirect(LIST)
    return render(
        request,
        "accounts/user_delete.html",
        {
            "account": account,
            "held": presentation.held(
                standing.read(account, now=timezone.now()), request.user
            ),
            "error": error,
            "crumbs": _crumbs(account),
        },
        status=422 if error else 200,
    )


def _visible(request: ConsoleRequest, pk: int, permission: str) -> User:
    return get_visible_or_404(
        User.objects.select_related("site"), request.user, permission, pk=pk
    )


def _level(account: User) -> str:
    """What the account may, in one line: 'Full Access, Administrator'."""
    if account.access_level == AccessLevel.GROUP:
        return "Group Access"
    given = Privileges.of(account)
    level = AccessLevel(account.access_level).label
    place = f" ({account.site})" if account.site else ""
    return f"{level}{place}, {presentation.summary(given.privilege_set, given.names)}"


def _crumbs(account: User | None = None) -> list[Crumb]:
    crumbs = [Crumb("User accounts", reverse(LIST))]
    if account is not None:
        crumbs.append(Crumb(str(account), account.get_absolute_url()))
    return crumbs


def _show(form: Any, refused: Exception) -> None:
    """Put a refusal next to the field it is about, else above the form."""
    if isinstance(refused, ValidationError):
        field = next(
            (
                name
                for name in getattr(refused, "error_dict", {})
                if name in form.fields
            ),
            None,
        )
        message = refused.messages[0]
        if field is None and "username" in message and "username" in form.fields:
            field = "username"
        form.add_error(field, message)
    else:
        form.add_error(None, str(refused))
