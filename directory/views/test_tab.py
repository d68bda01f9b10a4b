"""The Test tab of a connection."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from directory import live_test
from directory.forms import GroupLookupForm, MembershipLookupForm, UserLookupForm
from directory.views.connections import VIEW
from directory.views.connections import _connection as connection_of
from directory.views.connections import _frame as connection_frame
from jamfidp.access import privilege
from jamfidp.components import Tab
from jamfidp.htmx import ConsoleRequest

FORMS: dict[str, Callable[..., forms.Form]] = {
    "user": UserLookupForm,
    "group": GroupLookupForm,
    "membership": MembershipLookupForm,
}


@privilege(VIEW, "directory.view_directoryuser", "directory.view_directorygroup")
@require_http_methods(["GET", "POST"])
def cloud_idp_test(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Test a user, a group or a membership, live through Microsoft Graph."""
    cloud_idp = connection_of(pk)
    kind = request.POST.get("kind") or request.GET.get("kind") or "user"
    if kind not in FORMS:
        raise Http404
    form = FORMS[kind](request.POST if request.method == "POST" else None)
    result, status = None, 200
    if form.is_bound:
        if form.is_valid():
            result = _tested(request, cloud_idp, kind, form.cleaned_data)
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
                for each in FORMS
            ],
            "form": form,
            "result": result,
        },
        status=status,
    )


def _tested(
    request: ConsoleRequest, cloud_idp: Any, kind: str, entered: dict[str, str]
) -> live_test.Result:
    result = live_test.TESTS[kind](cloud_idp, entered)
    live_test.remember(cloud_idp, kind, result, actor=request.user, now=timezone.now())
    return result
