"""The Mappings tab of a connection, and the catalogue of what can be mapped."""

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from directory import connections, tasks
from directory.attributes import (
    GROUP_FIELDS,
    LABELS,
    REFUSED,
    USER_FIELDS,
    by_heading,
    defaults,
)
from directory.forms import MappingsForm
from directory.models import CloudIdentityProvider
from directory.views.connections import CHANGE, VIEW
from directory.views.connections import _connection as connection_of
from directory.views.connections import _frame as connection_frame
from directory.views.saving import see_other
from jamfidp.access import privilege, refuse
from jamfidp.htmx import ConsoleRequest


@privilege(VIEW)
@require_http_methods(["GET", "POST"])
def cloud_idp_mappings(request: ConsoleRequest, pk: int) -> HttpResponse:
    cloud_idp = connection_of(pk)
    may_change = request.user.has_perm(CHANGE)
    if request.method == "POST":
        if not may_change:
            return refuse(request, CHANGE)
        return _save_mappings(request, cloud_idp)
    return _mappings_page(
        request,
        cloud_idp,
        MappingsForm(instance=cloud_idp.mappings) if may_change else None,
    )


def _save_mappings(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider
) -> HttpResponse:
    form = MappingsForm(request.POST, instance=connection_of(cloud_idp.pk).mappings)
    if not form.is_valid():
        return _mappings_page(request, cloud_idp, form, status=422)
    run = connections.save_mappings(
        form.save(commit=False), actor=request.user, now=timezone.now()
    )
    if run is not None:
        transaction.on_commit(lambda: tasks.announce(run, now=timezone.now()))
        messages.success(
            request,
            "The mappings were saved. The whole directory is read again; until then "
            "the attributes are those of the last read.",
        )
    else:
        messages.success(request, "The mappings were saved.")
    return see_other(reverse("directory:cloud-idp-mappings", args=[cloud_idp.pk]))


def _mappings_page(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    form: MappingsForm | None,
    *,
    status: int = 200,
) -> HttpResponse:
    standard = defaults()
    return render(
        request,
        "directory/cloud_idp_mappings.html",
        {
            **connection_frame(request, cloud_idp, "Mappings"),
            "form": form,
            "rows": [
                (LABELS[name], getattr(cloud_idp.mappings, name), standard[name])
                for name in (*USER_FIELDS, *GROUP_FIELDS)
            ],
        },
        status=status,
    )


@privilege(VIEW)
@require_GET
def mapping_properties(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Every property that can be mapped, and which cannot, and why."""
    return render(
        request,
        "directory/mapping_properties.html",
        {
            **connection_frame(request, connection_of(pk), "Mappings"),
            "headings": by_heading(),
            "refused": REFUSED,
        },
    )
