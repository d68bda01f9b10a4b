"""Settings > User accounts and groups: account groups and their bindings."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from directory import held_words
from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider, DirectoryGroup
from directory.search import matching
from jamfidp.access import get_visible_or_404, privilege, visible_to
from jamfidp.accounts import account_groups, consequences, presentation
from jamfidp.accounts.account_groups import UnsafeBinding
from jamfidp.accounts.forms import AccountGroupForm, BindingForm
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    DirectoryBinding,
    PrivilegeSet,
)
from jamfidp.accounts.user_accounts import MoreThanYouHold, Privileges
from jamfidp.accounts.views.pages import history_entries, kept_fields, section_tabs
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment

LIST = "accounts:accountgroup-list"
CANDIDATES = 25
PEOPLE_SHOWN = 25


@privilege("accounts.view_accountgroup")
def accountgroup_list(request: ConsoleRequest) -> HttpResponse:
    groups = visible_to(
        AccountGroup.objects.select_related("site").prefetch_related(
            "bindings", "accounts"
        ),
        request.user,
        "accounts.view_accountgroup",
    )
    query = request.GET.get("q", "").strip()
    if query:
        groups = groups.filter(display_name__icontains=query)
    return page_or_fragment(
        request,
        page="accounts/accountgroup_list.html",
        fragments={"group-list": "accounts/_accountgroup_list.html"},
        context={
            "rows": [(group, _given(group)) for group in groups],
            "query": query,
            "tabs": section_tabs(request.user, "groups"),
            "may_add": request.user.has_perm("accounts.add_accountgroup"),
        },
    )


@privilege("accounts.view_accountgroup", "accounts.add_accountgroup")
def accountgroup_new(request: ConsoleRequest) -> HttpResponse:
    source = _directory_group(request)
    form = AccountGroupForm(
        request.POST if request.method == "POST" else None,
        actor=request.user,
        initial={
            "kind": "STANDARD",
            "display_name": str(source) if source else "",
            "access_level": AccessLevel.FULL,
            "privilege_set": PrivilegeSet.AUDITOR,
        },
    )
    if request.method == "POST" and form.is_valid():
        try:
            group = account_groups.create_group(
                display_name=form.cleaned_data["display_name"],
                privileges=form.chosen(),
                accounts=form.resulting_accounts(),
                actor=request.user,
                now=timezone.now(),
            )
        except (ValidationError, MoreThanYouHold) as refused:
            _show(form, refused)
        else:
            messages.success(request, f"Created the account group {group}.")
            if source is not None:
                return redirect(
                    f"{reverse('accounts:binding-new', args=[group.pk])}"
                    f"?directory_group={source.pk}"
                )
            return redirect(group)
    return render(
        request,
        "accounts/accountgroup_form.html",
        {"form": form, "group": None, "source": source, "crumbs": _crumbs()},
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_accountgroup")
def accountgroup_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    group = _visible(request, pk, "accounts.view_accountgroup")
    states = account_groups.states_of(group, now=timezone.now())
    accounts, people = account_groups.holders(group, now=timezone.now())
    may_see_people = request.user.has_perm("directory.view_directoryuser")
    return render(
        request,
        "accounts/accountgroup_detail.html",
        {
            "group": group,
            "given": _given(group),
            "names": sorted(Privileges.of(group).names),
            "states": states,
            "alike": account_groups.same_name(states),
            "differing": held_words.touching(
                (
                    ObjectRef(state.binding.tenant_id, state.binding.object_id),
                    state.binding.nested,
                )
                for state in states
            ),
            "accounts": accounts,
            "people": people[:PEOPLE_SHOWN] if may_see_people else [],
            "people_count": len(people),
            "entries": history_entries(group),
            "crumbs": _crumbs(),
            "may_change": request.user.has_perm("accounts.change_accountgroup", group),
            "may_delete": request.user.has_perm("accounts.delete_accountgroup", group),
        },
    )


@privilege("accounts.view_accountgroup", "accounts.change_accountgroup")
def accountgroup_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    group = _visible(request, pk, "accounts.change_accountgroup")
    form = AccountGroupForm(
        request.POST if request.method == "POST" else None,
        actor=request.user,
        group=group,
    )
    if request.method == "POST" and form.is_valid():
        accounts, people = account_groups.holders(group, now=timezone.now())
        change = consequences.of_change(
            Privileges.of(group), form.chosen(), people=[*accounts, *people]
        )
        now = timezone.now()
        warnings = account_groups.warnings_of_change(group, form.chosen(), now=now)
        reviewed = "reviewed" in request.POST
        confirmed = "confirmed" in request.POST
        if change is not None and (not reviewed or (warnings and not confirmed)):
            return render(
                request,
                "accounts/review.html",
                {
                    "subject": group,
                    "change": change,
                    "warnings": warnings,
                    "unconfirmed": reviewed,
                    "kept": kept_fields(request),
                    "crumbs": _crumbs(group),
                },
                status=422 if reviewed else 200,
            )
        try:
            account_groups.change_group(
                group,
                display_name=form.cleaned_data["display_name"],
                privileges=form.chosen(),
                accounts=form.resulting_accounts(),
                actor=request.user,
                now=now,
                confirmed=confirmed,
            )
        except (ValidationError, MoreThanYouHold) as refused:
            group.refresh_from_db()
            _show(form, refused)
        else:
            messages.success(request, f"Saved the account group {group}.")
            return redirect(group)
    return render(
        request,
        "accounts/accountgroup_form.html",
        {"form": form, "group": group, "source": None, "crumbs": _crumbs(group)},
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_accountgroup", "accounts.delete_accountgroup")
def accountgroup_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    group = _visible(request, pk, "accounts.delete_accountgroup")
    error = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() != group.display_name:
            error = "That is not the name of this account group."
        else:
            name = str(group)
            try:
                account_groups.delete_group(
                    group, actor=request.user, now=timezone.now()
                )
            except MoreThanYouHold as refused:
                error = str(refused)
            else:
                messages.success(request, f"Deleted the account group {name}.")
                return redirect(LIST)
    accounts, people = account_groups.holders(group, now=timezone.now())
    return render(
        request,
        "accounts/accountgroup_delete.html",
        {
            "group": group,
            "names": sorted(Privileges.of(group).names),
            "accounts": accounts,
            "people_count": len(people),
            "bindings": group.bindings.count(),
            "error": error,
            "crumbs": _crumbs(group),
        },
        status=422 if error else 200,
    )


@privilege(
    "accounts.view_accountgroup",
    "accounts.change_accountgroup",
    "directory.view_directorygroup",
)
def binding_new(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Choose a directory group, then read what binding it means, then bind it."""
    group = _visible(request, pk, "accounts.change_accountgroup")
    source = _directory_group(request)
    replaces = group.bindings.filter(pk=_number(request, "replaces")).first()
    if source is None:
        return _choose(request, group, replaces)
    form = BindingForm(
        request.POST if request.method == "POST" else None,
        # Off for Full Access: whoever can nest a group would give it.
        initial={"nested": group.access_level != AccessLevel.FULL},
    )
    nested = bool(form["nested"].value())
    warnings = account_groups.warnings_for(group, source, nested=nested)
    if request.method == "POST" and form.is_valid():
        try:
            account_groups.bind(
                group,
                source,
                nested=form.cleaned_data["nested"],
                confirmed=form.cleaned_data["confirmed"],
                actor=request.user,
                now=timezone.now(),
                replaces=replaces,
            )
        except UnsafeBinding:
            form.add_error(
                "confirmed",
                "Read the warnings and confirm, or choose another directory group.",
            )
        except ValidationError as refused:
            form.add_error(None, refused.messages[0])
        except MoreThanYouHold as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"Bound {source} to {group}.")
            return redirect(group)
    direct = account_groups.people_in(source, nested=False)
    every = account_groups.people_in(source, nested=True)
    return render(
        request,
        "accounts/binding_form.html",
        {
            "form": form,
            "group": group,
            "given": _given(group),
            "source": source,
            "replaces": replaces,
            "warnings": warnings,
            "direct_count": direct.count(),
            "every_count": every.count(),
            "people": every[:PEOPLE_SHOWN]
            if request.user.has_perm("directory.view_directoryuser")
            else [],
            "crumbs": _crumbs(group),
        },
        status=422 if form.errors else 200,
    )


@privilege("accounts.view_accountgroup", "accounts.change_accountgroup")
def binding_delete(request: ConsoleRequest, pk: int, binding_pk: int) -> HttpResponse:
    group = _visible(request, pk, "accounts.change_accountgroup")
    state = next(
        (
            one
            for one in account_groups.states_of(group, now=timezone.now())
            if one.binding.pk == binding_pk
        ),
        None,
    )
    if state is None:
        raise Http404
    error = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() != state.binding.name_when_bound:
            error = "That is not the name of the directory group."
        else:
            try:
                account_groups.unbind(
                    state.binding, actor=request.user, now=timezone.now()
                )
            except MoreThanYouHold as refused:
                error = str(refused)
            else:
                messages.success(
                    request, f"{state.binding} no longer belongs to {group}."
                )
                return redirect(group)
    losing = (
        account_groups.people_in(
            state.directory_group, nested=state.binding.nested
        ).count()
        if state.directory_group is not None
        else 0
    )
    return render(
        request,
        "accounts/binding_delete.html",
        {
            "group": group,
            "state": state,
            "losing": losing,
            "error": error,
            "crumbs": _crumbs(group),
        },
        status=422 if error else 200,
    )


@privilege(
    "accounts.view_accountgroup",
    "accounts.add_accountgroup",
    "directory.view_directorygroup",
)
def accountgroup_from_directory(request: ConsoleRequest) -> HttpResponse:
    """Choose the directory group that a new account group begins with."""
    return _choose(request, None, None)


def _choose(
    request: ConsoleRequest,
    group: AccountGroup | None,
    replaces: DirectoryBinding | None,
) -> HttpResponse:
    query = request.GET.get("q", "").strip()
    found = (
        DirectoryGroup.objects.present()
        .filter(cloud_idp__enabled=True)
        .select_related("cloud_idp")
        .order_by("display_name", "pk")
    )
    bound = (
        set(group.bindings.values_list("tenant_id", "object_id")) if group else set()
    )
    rows = list(matching(found, query)[: CANDIDATES + 1])
    target = (
        reverse("accounts:binding-new", args=[group.pk])
        if group
        else reverse("accounts:accountgroup-new")
    )
    return page_or_fragment(
        request,
        page="accounts/binding_choose.html",
        fragments={"candidates": "accounts/_candidates.html"},
        context={
            "group": group,
            "replaces": replaces,
            "query": query,
            "target": target,
            "rows": [
                (one, (one.cloud_idp.tenant_id, one.object_id) in bound)
                for one in rows[:CANDIDATES]
            ],
            "more": len(rows) > CANDIDATES,
            "connected": CloudIdentityProvider.objects.filter(enabled=True).exists(),
            "crumbs": _crumbs(group),
        },
    )


def _directory_group(request: ConsoleRequest) -> DirectoryGroup | None:
    pk = _number(request, "directory_group")
    if not pk:
        return None
    if not request.user.has_perm("directory.view_directorygroup"):
        raise Http404
    found = (
        DirectoryGroup.objects.present()
        .select_related("cloud_idp")
        .filter(pk=pk, cloud_idp__enabled=True)
        .first()
    )
    if found is None:
        raise Http404
    return found


def _number(request: ConsoleRequest, name: str) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _visible(request: ConsoleRequest, pk: int, permission: str) -> AccountGroup:
    return get_visible_or_404(
        AccountGroup.objects.select_related("site"), request.user, permission, pk=pk
    )


def _given(group: AccountGroup) -> str:
    level = AccessLevel(group.access_level).label
    place = f" ({group.site})" if group.site else ""
    names = Privileges.of(group).names
    return f"{level}{place}, {presentation.summary(group.privilege_set, names)}"


def _crumbs(group: AccountGroup | None = None) -> list[Crumb]:
    crumbs = [
        Crumb("User accounts", reverse("accounts:user-list")),
        Crumb("Account groups", reverse(LIST)),
    ]
    if group is not None:
        crumbs.append(Crumb(str(group), group.get_absolute_url()))
    return crumbs


def _show(form: AccountGroupForm, refused: Exception) -> None:
    """Put a refusal next to the name where it is about the name."""
    if isinstance(refused, ValidationError):
        message = refused.messages[0]
        form.add_error("display_name" if "name" in message else None, message)
    else:
        form.add_error(None, str(refused))
