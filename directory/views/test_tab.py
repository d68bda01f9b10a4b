"""The Test tab of a connection."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from directory import lookup
from directory.forms import GroupLookupForm, MembershipLookupForm, UserLookupForm
from directory.models import CloudIdentityProvider
from directory.views.connections import VIEW
from directory.views.connections import _connection as connection_of
from directory.views.connections import _frame as connection_frame
from jamfidp.access import privilege
from jamfidp.components import Tab
from jamfidp.htmx import ConsoleRequest

LOOKUPS = ("user", "group", "membership")


@privilege(VIEW, "directory.view_directoryuser", "directory.view_directorygroup")
@require_http_methods(["GET", "POST"])
def cloud_idp_test(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Look up a user, a group or a membership, live through Microsoft Graph."""
    cloud_idp = connection_of(pk)
    kind = request.POST.get("kind") or request.GET.get("kind") or "user"
    if kind not in LOOKUPS:
        raise Http404
    form = _lookup_form(kind, request.POST if request.method == "POST" else None)
    outcome, status = None, 200
    if form.is_bound:
        if form.is_valid():
            outcome = _lookup(cloud_idp, kind, form.cleaned_data)
        else:
            status = 422
    return render(
        request,
        "directory/cloud_idp_test.html",
        {
            **connection_frame(request, cloud_idp, "Test"),
            "kind": kind,
            "kinds": [
                Tab(
                    each.capitalize(),
                    f"{reverse('directory:cloud-idp-test', args=[pk])}?kind={each}",
                    current=each == kind,
                )
                for each in LOOKUPS
            ],
            "form": form,
            "outcome": outcome,
        },
        status=status,
    )


def _lookup_form(kind: str, sent: Any) -> forms.Form:
    makers: dict[str, Callable[..., forms.Form]] = {
        "user": UserLookupForm,
        "group": GroupLookupForm,
        "membership": MembershipLookupForm,
    }
    return makers[kind](sent)


def _lookup(
    cloud_idp: CloudIdentityProvider, kind: str, entered: dict[str, str]
) -> lookup.Outcome:
    if kind == "user":
        return lookup.find_user(cloud_idp, text=entered["user"])
    if kind == "group":
        return lookup.find_group(cloud_idp, text=entered["group"])
    return lookup.find_membership(
        cloud_idp, user_text=entered["user"], group_text=entered["group"]
    )
