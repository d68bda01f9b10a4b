"""The Filters tab of a connection: which people and groups are read."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from directory import connections, picking, tasks
from directory.filter_preview import NAMES_SHOWN, Preview, preview
from directory.forms import FilterForm
from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser, State
from directory.sync.filters import ReadFilter
from directory.views.connections import CHANGE, VIEW
from directory.views.connections import _connection as connection_of
from directory.views.connections import _frame as connection_frame
from directory.views.saving import see_other
from jamfidp.access import privilege, refuse
from jamfidp.htmx import ConsoleRequest


@privilege(VIEW)
@require_http_methods(["GET", "POST"])
def cloud_idp_filters(request: ConsoleRequest, pk: int) -> HttpResponse:
    cloud_idp = connection_of(pk)
    current = ReadFilter.from_json(cloud_idp.read_filter)
    may_change = request.user.has_perm(CHANGE)
    if request.method == "POST":
        if not may_change:
            return refuse(request, CHANGE)
        return _chosen(request, cloud_idp, current)
    return _page(
        request, cloud_idp, current, FilterForm.of(current) if may_change else None
    )


def _chosen(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider, current: ReadFilter
) -> HttpResponse:
    form = FilterForm(request.POST)
    if not form.is_valid() or {"back", "search"} & request.POST.keys():
        status = 422 if form.errors else 200
        return _page(request, cloud_idp, current, form, status=status)
    chosen = form.chosen()
    if chosen.signature == current.signature:
        messages.info(request, "This filter is in force already.")
        return see_other(_address(cloud_idp))
    found = preview(cloud_idp, chosen, viewer=request.user)
    error = ""
    if "reviewed" in request.POST:
        typed = request.POST.get("confirm", "").strip()
        if not found.drops_much or typed == cloud_idp.display_name:
            return _save(request, cloud_idp, chosen)
        error = "That is not the name of this connection."
    return _review(request, cloud_idp, chosen, found, form, error)


def _save(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider, chosen: ReadFilter
) -> HttpResponse:
    run = connections.save_filter(
        cloud_idp, chosen, actor=request.user, now=timezone.now()
    )
    if run is not None:
        transaction.on_commit(lambda: tasks.announce(run, now=timezone.now()))
        messages.success(
            request, "The filter was saved. The whole directory is read again with it."
        )
    else:
        messages.success(request, "The filter was saved.")
    return see_other(_address(cloud_idp))


def _review(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    chosen: ReadFilter,
    found: Preview,
    form: FilterForm,
    error: str,
) -> HttpResponse:
    kept = [
        (name, value)
        for name, values in request.POST.lists()
        if name in form.fields
        for value in values
    ]
    return render(
        request,
        "directory/cloud_idp_filters_review.html",
        {
            **connection_frame(request, cloud_idp, "Filters"),
            "found": found,
            "words": chosen.words(),
            "kept": kept,
            "error": error,
            "names_shown": NAMES_SHOWN,
            "freshness_hours": settings.DIRECTORY_FRESHNESS_HOURS,
            "action": _address(cloud_idp),
        },
        status=422 if error else 200,
    )


def _page(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    current: ReadFilter,
    form: FilterForm | None,
    *,
    status: int = 200,
) -> HttpResponse:
    out: dict[str, Any] = {
        "people_out": DirectoryUser.objects.filter(
            cloud_idp=cloud_idp, state=State.FILTERED
        ).count(),
        "groups_out": DirectoryGroup.objects.filter(
            cloud_idp=cloud_idp, state=State.FILTERED
        ).count(),
    }
    return render(
        request,
        "directory/cloud_idp_filters.html",
        {
            **connection_frame(request, cloud_idp, "Filters"),
            "form": form,
            **(_picker(request, cloud_idp, form) if form else {}),
            "words": current.words(),
            **out,
        },
        status=status,
    )


def _picker(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider, form: FilterForm
) -> dict[str, Any]:
    """The groups to tick: those that are, first, and what the search finds.

    Whoever may not see groups has their object ids as lines instead.
    """
    if not request.user.has_perm("directory.view_directorygroup"):
        return {"may_pick": False}
    field = form.fields["group_ids"]
    value = field.prepare_value(form["group_ids"].value())
    chosen = picking.chosen_groups(cloud_idp.pk, field.to_python(value) or ())
    field.widget.picked = frozenset(each.object_id for each in chosen)
    query = request.POST.get("q", "")
    found = picking.group_choices(query, chosen=chosen, known_of=cloud_idp.pk)
    return found | {"field_name": "group_ids", "several": True, "may_pick": True}


def _address(cloud_idp: CloudIdentityProvider) -> str:
    return reverse("directory:cloud-idp-filters", args=[cloud_idp.pk])
