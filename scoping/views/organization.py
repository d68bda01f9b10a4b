"""Settings > Sites, Buildings, Departments, Network segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from jamfidp.access import privilege, refuse
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from scoping import organization
from scoping.forms.organization import (
    BuildingForm,
    DepartmentForm,
    NamedForm,
    NetworkSegmentForm,
    SiteForm,
)
from scoping.models import Building, Department, NetworkSegment, Site
from scoping.organization import Part
from scoping.views.devices import history
from scoping.views.gone import deletion


@dataclass(frozen=True)
class Kind:
    """One of the four lists: words, model and form."""

    route: str
    noun: str
    plural: str
    title: str
    icon: str
    intro: str
    model: type[Any]
    form: type[NamedForm]

    def perm(self, action: str) -> str:
        return f"scoping.{action}_{self.route}"


SITE = Kind(
    route="site",
    noun="site",
    plural="sites",
    title="Sites",
    icon="sitemap",
    intro="A site is a part of the fleet with administrators of its own.",
    model=Site,
    form=SiteForm,
)
BUILDING = Kind(
    route="building",
    noun="building",
    plural="buildings",
    title="Buildings",
    icon="building",
    intro=(
        "Where devices are. A value from Entra is matched to the building of that"
        " name; buildings are never created by themselves."
    ),
    model=Building,
    form=BuildingForm,
)
DEPARTMENT = Kind(
    route="department",
    noun="department",
    plural="departments",
    title="Departments",
    icon="hierarchy-2",
    intro=(
        "Whose devices they are. A value from Entra is matched to the department of"
        " that name; departments are never created by themselves."
    ),
    model=Department,
    form=DepartmentForm,
)
NETWORK_SEGMENT = Kind(
    route="networksegment",
    noun="network segment",
    plural="network segments",
    title="Network segments",
    icon="network",
    intro=(
        "Ranges of addresses, both ends included. Scopes compare them with the"
        " address a device last reported."
    ),
    model=NetworkSegment,
    form=NetworkSegmentForm,
)


def _visible(request: ConsoleRequest, kind: Kind) -> QuerySet[Any]:
    """Sites are seen by their people; the others belong to the whole console."""
    rows = kind.model.objects.all()
    access = request.user.sites_with(kind.perm("view"))
    if kind is SITE and not access.everywhere:
        return cast("QuerySet[Any]", rows.filter(pk__in=access.site_ids))
    return cast("QuerySet[Any]", rows.all())


def _counted(request: ConsoleRequest, kind: Kind, rows: QuerySet[Any]) -> QuerySet[Any]:
    """With the number of devices, of those the person may see."""
    if kind is NETWORK_SEGMENT:
        return rows
    visible = Q()
    for route, device_kind in (("computer", "COMPUTER"), ("mobiledevice", "MOBILE")):
        access = request.user.sites_with(f"scoping.view_{route}")
        of_kind = Q(**{f"{_devices(kind)}__kind": device_kind})
        if access.everywhere:
            visible |= of_kind
        else:
            visible |= of_kind & Q(**{f"{_devices(kind)}__site__in": access.site_ids})
    counted = rows.annotate(device_count=Count(_devices(kind), filter=visible))
    return cast("QuerySet[Any]", counted)


def _devices(kind: Kind) -> str:
    return "device" if kind is SITE else "devices"


def _changeable(request: ConsoleRequest, kind: Kind, action: str) -> bool:
    """What belongs to everybody is changed by those who see everything."""
    return bool(request.user.sites_with(kind.perm(action)).everywhere)


def _list(request: ConsoleRequest, kind: Kind) -> HttpResponse:
    rows = _counted(request, kind, _visible(request, kind))
    q = request.GET.get("q", "").strip()
    if q:
        rows = rows.filter(name__icontains=q)
    found = list(rows)
    return page_or_fragment(
        request,
        page="scoping/organization_list.html",
        fragments={"part-list": "scoping/_organization_list.html"},
        context={
            "kind": kind,
            "rows": found,
            "q": q,
            "has_devices": kind is not NETWORK_SEGMENT,
            "has_addresses": kind is NETWORK_SEGMENT,
            "detail_route": f"scoping:{kind.route}-detail",
            "new_url": reverse(f"scoping:{kind.route}-new")
            if _changeable(request, kind, "add")
            else "",
        },
    )


def _crumbs(kind: Kind, part: Part | None = None) -> list[Crumb]:
    crumbs = [Crumb(kind.title, reverse(f"scoping:{kind.route}-list"))]
    if part is not None:
        detail = reverse(f"scoping:{kind.route}-detail", args=[part.pk])
        crumbs.append(Crumb(str(part), detail))
    return crumbs


def _get(request: ConsoleRequest, kind: Kind, pk: int) -> Any:
    part = _counted(request, kind, _visible(request, kind)).filter(pk=pk).first()
    if part is None:
        raise Http404
    return part


def _device_lists(
    request: ConsoleRequest, kind: Kind, part: Part
) -> Sequence[tuple[str, str]]:
    if kind is NETWORK_SEGMENT:
        return []
    return [
        (label, f"{reverse(f'scoping:{route}-list')}?{kind.route}={part.pk}")
        for label, route in (
            ("Computers", "computer"),
            ("Mobile devices", "mobiledevice"),
        )
        if request.user.has_perm(f"scoping.view_{route}")
    ]


def _detail(request: ConsoleRequest, kind: Kind, pk: int) -> HttpResponse:
    part = _get(request, kind, pk)
    everywhere = _changeable(request, kind, "view")
    return render(
        request,
        "scoping/organization_detail.html",
        {
            "kind": kind,
            "part": part,
            "crumbs": _crumbs(kind),
            # Counts over all sites are for those who see all sites.
            "dependents": organization.dependents_of(part) if everywhere else [],
            "device_lists": _device_lists(request, kind, part),
            "has_devices": kind is not NETWORK_SEGMENT,
            "has_addresses": kind is NETWORK_SEGMENT,
            "edit_url": reverse(f"scoping:{kind.route}-edit", args=[pk])
            if _changeable(request, kind, "change")
            else "",
            "delete_url": reverse(f"scoping:{kind.route}-delete", args=[pk])
            if _changeable(request, kind, "delete")
            else "",
            "entries": history(part)
            if request.user.has_perm("history.view_objecthistory")
            else [],
        },
    )


def _edit(request: ConsoleRequest, kind: Kind, pk: int | None) -> HttpResponse:
    action = "add" if pk is None else "change"
    if pk is not None and request.method == "POST":
        sentence = deletion(request, kind.model, pk, kind.perm(action))
        if sentence:
            return _gone(request, kind, sentence)
    stored = None if pk is None else _get(request, kind, pk)
    if not _changeable(request, kind, action):
        return refuse(request, kind.perm(action))
    fields = kind.form.Meta.fields  # type: ignore[attr-defined]
    before = {name: getattr(stored, name, "") for name in fields}
    name = str(stored) if stored else ""
    form = kind.form(
        request.POST or None,
        instance=stored,
        initial={"name": request.GET.get("name", "")} if stored is None else None,
    )
    if request.method == "POST" and form.is_valid():
        part = organization.save(
            part=form.instance, before=before, actor=request.user, now=timezone.now()
        )
        messages.success(request, f"{part} was saved.")
        return redirect(f"scoping:{kind.route}-detail", pk=part.pk)
    return render(
        request,
        "scoping/organization_form.html",
        {
            "kind": kind,
            "name": name,
            "form": form,
            "has_addresses": kind is NETWORK_SEGMENT,
            "crumbs": _crumbs(kind, stored and _get(request, kind, stored.pk)),
            "cancel_url": reverse(f"scoping:{kind.route}-detail", args=[pk])
            if pk
            else reverse(f"scoping:{kind.route}-list"),
        },
        status=422 if request.method == "POST" else 200,
    )


def _gone(request: ConsoleRequest, kind: Kind, sentence: str) -> HttpResponse:
    """Keep what was typed for a part that was deleted meanwhile."""
    return render(
        request,
        "scoping/organization_form.html",
        {
            "kind": kind,
            "gone": sentence,
            "form": kind.form(request.POST),
            "crumbs": _crumbs(kind),
            "again_url": reverse(f"scoping:{kind.route}-new")
            if _changeable(request, kind, "add")
            else "",
            "cancel_url": reverse(f"scoping:{kind.route}-list"),
        },
        status=422,
    )


def _delete(request: ConsoleRequest, kind: Kind, pk: int) -> HttpResponse:
    part = _get(request, kind, pk)
    if not _changeable(request, kind, "delete"):
        return refuse(request, kind.perm("delete"))
    error = refusal = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() != part.name:
            error = f"That is not the name of this {kind.noun}. Nothing was deleted."
        else:
            try:
                organization.delete(part=part, actor=request.user, now=timezone.now())
            except organization.StillUsed as used:
                refusal = str(used)
            else:
                messages.success(request, f"{part} was deleted.")
                return redirect(f"scoping:{kind.route}-list")
    dependents = organization.dependents_of(part)
    return render(
        request,
        "scoping/organization_delete.html",
        {
            "kind": kind,
            "part": part,
            "crumbs": _crumbs(kind, part),
            "dependents": dependents,
            "device_lists": _device_lists(request, kind, part),
            "protected": any(each.protects for each in dependents),
            "error": error,
            "refusal": refusal,
            "cancel_url": reverse(f"scoping:{kind.route}-detail", args=[pk]),
        },
        status=422 if error or refusal else 200,
    )


@require_GET
@privilege("scoping.view_site")
def site_list(request: ConsoleRequest) -> HttpResponse:
    return _list(request, SITE)


@privilege("scoping.add_site")
def site_new(request: ConsoleRequest) -> HttpResponse:
    return _edit(request, SITE, None)


@require_GET
@privilege("scoping.view_site")
def site_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _detail(request, SITE, pk)


@privilege("scoping.change_site")
def site_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _edit(request, SITE, pk)


@privilege("scoping.delete_site")
def site_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _delete(request, SITE, pk)


@require_GET
@privilege("scoping.view_building")
def building_list(request: ConsoleRequest) -> HttpResponse:
    return _list(request, BUILDING)


@privilege("scoping.add_building")
def building_new(request: ConsoleRequest) -> HttpResponse:
    return _edit(request, BUILDING, None)


@require_GET
@privilege("scoping.view_building")
def building_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _detail(request, BUILDING, pk)


@privilege("scoping.change_building")
def building_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _edit(request, BUILDING, pk)


@privilege("scoping.delete_building")
def building_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _delete(request, BUILDING, pk)


@require_GET
@privilege("scoping.view_department")
def department_list(request: ConsoleRequest) -> HttpResponse:
    return _list(request, DEPARTMENT)


@privilege("scoping.add_department")
def department_new(request: ConsoleRequest) -> HttpResponse:
    return _edit(request, DEPARTMENT, None)


@require_GET
@privilege("scoping.view_department")
def department_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _detail(request, DEPARTMENT, pk)


@privilege("scoping.change_department")
def department_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _edit(request, DEPARTMENT, pk)


@privilege("scoping.delete_department")
def department_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _delete(request, DEPARTMENT, pk)


@require_GET
@privilege("scoping.view_networksegment")
def networksegment_list(request: ConsoleRequest) -> HttpResponse:
    return _list(request, NETWORK_SEGMENT)


@privilege("scoping.add_networksegment")
def networksegment_new(request: ConsoleRequest) -> HttpResponse:
    return _edit(request, NETWORK_SEGMENT, None)


@require_GET
@privilege("scoping.view_networksegment")
def networksegment_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _detail(request, NETWORK_SEGMENT, pk)


@privilege("scoping.change_networksegment")
def networksegment_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _edit(request, NETWORK_SEGMENT, pk)


@privilege("scoping.delete_networksegment")
def networksegment_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _delete(request, NETWORK_SEGMENT, pk)
