"""Computers > Inventory and Devices > Inventory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db import models
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from directory import freshness
from directory.dependents import ObjectRef
from jamfidp import keyset
from jamfidp.access import get_visible_or_404, privilege
from jamfidp.components import Chip, Crumb, Entry, Tab
from jamfidp.history.models import ObjectHistory
from jamfidp.history.record import entries_for, record
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.spreadsheet import lines
from scoping import importing, inventory, matching_rows, user_location
from scoping.dependents import devices_of_person
from scoping.forms.inventory import DeviceForm, LoginReportForm, UserAndLocationForm
from scoping.inventory import COMPUTERS, MOBILE_DEVICES, Section
from scoping.matching import fold
from scoping.models import (
    Building,
    Department,
    Device,
    InventoryUser,
    LastLogin,
    Site,
)
from scoping.principal import Person, Principal
from scoping.views.gone import deletion

PAGE_SIZE = 50
HISTORY_SIZE = 50
NEVER = datetime(1, 1, 2, tzinfo=UTC)

SORTS: dict[str, Any] = {
    "name": F("name"),
    "serial": F("serial_number"),
    "model": F("model"),
    "os": F("os_version"),
    "user": Coalesce(F("assigned_user__key"), Value("")),
    "site": Coalesce(F("site__name"), Value("")),
    "inventory": Coalesce(
        F("last_inventory_at"), Value(NEVER), output_field=models.DateTimeField()
    ),
}
MATCH_BADGES = {
    InventoryUser.Match.MATCHED: "good",
    InventoryUser.Match.NONE: "neutral",
    InventoryUser.Match.AMBIGUOUS: "unknown",
    InventoryUser.Match.UNKNOWN: "unknown",
    InventoryUser.Match.CHANGED: "attention",
}


@dataclass(frozen=True)
class Choice:
    """An option of a filter."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True)
class Filter:
    """A select above the list."""

    name: str
    label: str
    choices: Sequence[Choice]


@dataclass(frozen=True)
class Heading:
    """A column that the list can be sorted by; `direction` is aria-sort's word."""

    label: str
    sort: str
    direction: str
    url: str


@dataclass
class Selection:
    """The devices that an address asks for, and what it asked."""

    devices: QuerySet[Device]
    q: str = ""
    filters: list[Filter] = field(default_factory=list)
    chips: list[Chip] = field(default_factory=list)


def _address(request: ConsoleRequest, **changes: str) -> str:
    query = request.GET.copy()
    for name in ("after", "before"):
        query.pop(name, None)
    for name, value in changes.items():
        query.pop(name, None)
        if value:
            query[name] = value
    return f"{request.path}?{query.urlencode()}" if query else request.path


def _select(request: ConsoleRequest, section: Section) -> Selection:
    devices = inventory.visible_devices(section, request.user)
    access = request.user.sites_with(section.perm("view"))
    sites = Site.objects.all()
    if not access.everywhere:
        sites = sites.filter(pk__in=access.site_ids)
    q = request.GET.get("q", "").strip()
    chosen = Selection(devices, q=q)
    if q:
        chosen.devices = devices.filter(search__contains=fold(q))
    none = [("none", "None")]
    options: list[tuple[str, str, str, Iterable[tuple[str, str]]]] = [
        (
            "managed",
            "Managed",
            "managed",
            [("yes", "Managed"), ("no", "Unmanaged")],
        ),
        (
            "site",
            "Site",
            "site",
            [*(none if access.everywhere else []), *_named(sites)],
        ),
        (
            "building",
            "Building",
            "building",
            [*none, *_named(Building.objects.all())],
        ),
        (
            "department",
            "Department",
            "department",
            [*none, *_named(Department.objects.all())],
        ),
        (
            "match",
            "Assigned user",
            "assigned_user__match",
            [*InventoryUser.Match.choices, ("none", "Nobody assigned")],
        ),
    ]
    for name, label, column, pairs in options:
        pairs = list(pairs)
        asked = request.GET.get(name, "")
        words = dict(pairs)
        if asked not in words:
            asked = ""
        chosen.filters.append(
            Filter(
                name=name,
                label=label,
                choices=[Choice(value, text, value == asked) for value, text in pairs],
            )
        )
        if asked:
            chosen.devices = chosen.devices.filter(_condition(column, asked))
            chosen.chips.append(
                Chip(label, words[asked], _address(request, **{name: ""}))
            )
    return chosen


def _named(rows: QuerySet[Any]) -> list[tuple[str, str]]:
    return [(str(pk), name) for pk, name in rows.values_list("pk", "name")]


def _condition(column: str, asked: str) -> models.Q:
    if column == "managed":
        return models.Q(managed=asked == "yes")
    if asked == "none":
        return models.Q(**{f"{column.partition('__')[0]}__isnull": True})
    return models.Q(**{column: asked})


def _sort(request: ConsoleRequest) -> tuple[str, bool]:
    asked = request.GET.get("sort", "name")
    name = asked.removeprefix("-")
    return (name, asked.startswith("-")) if name in SORTS else ("name", False)


def _headings(
    request: ConsoleRequest, columns: Sequence[tuple[str, str]]
) -> list[Heading]:
    current, descending = _sort(request)
    found = []
    for label, name in columns:
        is_current = name == current
        turned = f"-{name}" if is_current and not descending else name
        direction = ("descending" if descending else "ascending") if is_current else ""
        found.append(Heading(label, name, direction, _address(request, sort=turned)))
    return found


def _device_list(request: ConsoleRequest, section: Section) -> HttpResponse:
    chosen = _select(request, section)
    name, descending = _sort(request)
    page = keyset.page(
        chosen.devices.select_related("site", "assigned_user"),
        by=SORTS[name],
        descending=descending,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PAGE_SIZE,
    )
    total = chosen.devices.count()
    route = f"scoping:{section.route}"
    query = request.GET.copy()
    for parameter in ("after", "before", "sort"):
        query.pop(parameter, None)
    may_add = request.user.has_perm(section.perm("add"))
    return page_or_fragment(
        request,
        page="scoping/device_list.html",
        fragments={"device-list": "scoping/_device_list.html"},
        context={
            "section": section,
            "as_of": freshness.as_of(timezone.now()),
            "devices": page.rows,
            "badges": MATCH_BADGES,
            "total": total,
            "known": inventory.visible_devices(section, request.user).count()
            if chosen.q or chosen.chips
            else total,
            "q": chosen.q,
            "filters": chosen.filters,
            "chips": chosen.chips,
            "sort": request.GET.get("sort", ""),
            "clear_url": request.path,
            "headings": _headings(
                request,
                [
                    ("Name", "name"),
                    ("Serial number", "serial"),
                    ("Model", "model"),
                    ("OS", "os"),
                    ("Assigned user", "user"),
                    ("Site", "site"),
                    ("Inventory", "inventory"),
                ],
            ),
            "previous_url": _address(request, before=page.previous)
            if page.previous
            else "",
            "next_url": _address(request, after=page.next) if page.next else "",
            "list_url": reverse(f"{route}-list"),
            "new_url": reverse(f"{route}-new") if may_add else "",
            "import_url": reverse(f"{route}-import")
            if may_add and request.user.has_perm(section.perm("change"))
            else "",
            "export_url": f"{reverse(f'{route}-export')}?{query.urlencode()}",
            "is_filtered": bool(chosen.q or chosen.chips),
        },
    )


@require_GET
@privilege("scoping.view_computer")
def computer_list(request: ConsoleRequest) -> HttpResponse:
    return _device_list(request, COMPUTERS)


@require_GET
@privilege("scoping.view_mobiledevice")
def mobiledevice_list(request: ConsoleRequest) -> HttpResponse:
    return _device_list(request, MOBILE_DEVICES)


def _cells(device: Device) -> dict[str, Any]:
    user = device.assigned_user
    seen = device.last_inventory_at
    return {
        "serial_number": device.serial_number,
        "name": device.name,
        "model": device.model,
        "os_version": device.os_version,
        "managed": "Managed" if device.managed else "Unmanaged",
        "site": device.site,
        "last_reported_ip": device.last_reported_ip,
        "last_inventory_at": timezone.localtime(seen).isoformat() if seen else "",
        "username": user.username if user else "",
        **{name: getattr(device, name) for name in user_location.FIELDS},
        "match": user.get_match_display() if user else "Nobody assigned",
    }


def _device_export(request: ConsoleRequest, section: Section) -> HttpResponseBase:
    """The list as filtered, in the columns that an import reads."""
    devices = (
        _select(request, section)
        .devices.select_related("site", "assigned_user", "department", "building")
        .order_by("name", "pk")
    )
    columns = importing.columns_for(section.kind)
    record(
        obj=request.user,
        actor=request.user,
        note=f"Exported {devices.count():,} {section.plural} as a CSV file",
        action="exported",
        details={"filter": request.GET.urlencode()},
    )
    fields = [*(column.field for column in columns), "match"]
    rows = (
        [cells[name] for name in fields]
        for cells in map(_cells, devices.iterator(chunk_size=1000))
    )
    headings = [*(column.name for column in columns), "Directory Match"]
    return StreamingHttpResponse(
        lines(headings, rows),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": (
                f'attachment; filename="{section.plural.replace(" ", "-")}.csv"'
            )
        },
    )


@require_GET
@privilege("scoping.view_computer")
def computer_export(request: ConsoleRequest) -> HttpResponseBase:
    return _device_export(request, COMPUTERS)


@require_GET
@privilege("scoping.view_mobiledevice")
def mobiledevice_export(request: ConsoleRequest) -> HttpResponseBase:
    return _device_export(request, MOBILE_DEVICES)


def _get(request: ConsoleRequest, section: Section, pk: int, action: str) -> Device:
    rows = Device.objects.filter(kind=section.kind).select_related(
        "site", "assigned_user", "department", "building"
    )
    if action != "view":
        # Whoever may not see it is not told that it is there.
        get_visible_or_404(rows, request.user, section.perm("view"), pk=pk)
    return get_visible_or_404(rows, request.user, section.perm(action), pk=pk)


def _crumbs(section: Section, device: Device | None = None) -> list[Crumb]:
    crumbs = [Crumb(section.title, reverse(f"scoping:{section.route}-list"))]
    if device is not None:
        crumbs.append(Crumb(device.name, device.get_absolute_url()))
    return crumbs


def _device_new(request: ConsoleRequest, section: Section) -> HttpResponse:
    access = request.user.sites_with(section.perm("add"))
    form = DeviceForm(request.POST or None, kind=section.kind, access=access)
    location = UserAndLocationForm(request.POST or None)
    if request.method == "POST" and form.is_valid() & location.is_valid():
        device = inventory.add_device(
            kind=section.kind,
            values={**form.cleaned_data, **location.cleaned_data},
            actor=request.user,
            now=timezone.now(),
        )
        messages.success(request, f"{device} was added to the inventory.")
        return redirect(device)
    return render(
        request,
        "scoping/device_form.html",
        {
            "section": section,
            "form": form,
            "location": location,
            "crumbs": _crumbs(section),
            "cancel_url": reverse(f"scoping:{section.route}-list"),
        },
        status=422 if request.method == "POST" else 200,
    )


@privilege("scoping.add_computer")
def computer_new(request: ConsoleRequest) -> HttpResponse:
    return _device_new(request, COMPUTERS)


@privilege("scoping.add_mobiledevice")
def mobiledevice_new(request: ConsoleRequest) -> HttpResponse:
    return _device_new(request, MOBILE_DEVICES)


def _gone(
    request: ConsoleRequest, section: Section, pk: int, form: Any, page: str
) -> HttpResponse | None:
    """Keep what was typed for a device that was deleted meanwhile."""
    if request.method != "POST":
        return None
    sentence = deletion(request, Device, pk, section.perm("change"))
    if not sentence:
        return None
    may_add = request.user.has_perm(section.perm("add"))
    return render(
        request,
        page,
        {
            "section": section,
            "gone": sentence,
            "form": form,
            "crumbs": _crumbs(section),
            "again_url": reverse(f"scoping:{section.route}-new") if may_add else "",
            "cancel_url": reverse(f"scoping:{section.route}-list"),
        },
        status=422,
    )


def _device_edit(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    typed = DeviceForm(
        request.POST or None,
        kind=section.kind,
        access=request.user.sites_with(section.perm("change")),
    )
    gone = _gone(request, section, pk, typed, "scoping/device_form.html")
    if gone is not None:
        return gone
    device = _get(request, section, pk, "change")
    access = request.user.sites_with(section.perm("change"))
    form = DeviceForm(
        request.POST or None, instance=device, kind=section.kind, access=access
    )
    if request.method == "POST" and form.is_valid():
        _say_changed(
            request,
            inventory.change_device(
                device=device,
                values=form.cleaned_data,
                actor=request.user,
                now=timezone.now(),
            ),
        )
        return redirect(device)
    stored = _get(request, section, pk, "change")
    return render(
        request,
        "scoping/device_form.html",
        {
            "section": section,
            "device": stored,
            "form": form,
            "crumbs": _crumbs(section, stored),
            "cancel_url": stored.get_absolute_url(),
        },
        status=422 if request.method == "POST" else 200,
    )


def _say_changed(request: ConsoleRequest, changed: Sequence[Sequence[str]]) -> None:
    if changed:
        messages.success(
            request, f"Saved: {', '.join(label.lower() for label, _, _ in changed)}."
        )
    else:
        messages.info(request, "Nothing was different, so nothing was changed.")


@privilege("scoping.change_computer")
def computer_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_edit(request, COMPUTERS, pk)


@privilege("scoping.change_mobiledevice")
def mobiledevice_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_edit(request, MOBILE_DEVICES, pk)


def _location_url(device: Device) -> str:
    return f"{device.get_absolute_url()}?tab=location"


def _device_location(
    request: ConsoleRequest, section: Section, pk: int
) -> HttpResponse:
    """Type User and Location."""
    gone = _gone(
        request,
        section,
        pk,
        UserAndLocationForm(request.POST),
        "scoping/device_location_form.html",
    )
    if gone is not None:
        return gone
    device = _get(request, section, pk, "change")
    user = device.assigned_user
    initial = {
        "username": user.username if user else "",
        **{name: getattr(device, name) for name in user_location.FIELDS},
    }
    form = UserAndLocationForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        _say_changed(
            request,
            inventory.change_device(
                device=device,
                values=form.cleaned_data,
                actor=request.user,
                now=timezone.now(),
            ),
        )
        return redirect(_location_url(device))
    return render(
        request,
        "scoping/device_location_form.html",
        {
            "section": section,
            "device": device,
            "form": form,
            "crumbs": _crumbs(section, device),
            "follows": [
                state.label.lower()
                for state in user_location.states(device)
                if state.follows_directory
            ],
            "cancel_url": _location_url(device),
        },
        status=422 if request.method == "POST" else 200,
    )


@privilege("scoping.change_computer")
def computer_location(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_location(request, COMPUTERS, pk)


@privilege("scoping.change_mobiledevice")
def mobiledevice_location(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_location(request, MOBILE_DEVICES, pk)


def _device_look_up(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    """What the directory says of the assigned user, and which of it to take."""
    device = _get(request, section, pk, "change")
    context: dict[str, Any] = {
        "section": section,
        "device": device,
        "crumbs": _crumbs(section, device),
        "edit_url": reverse(f"scoping:{section.route}-location", args=[pk]),
        "cancel_url": _location_url(device),
    }
    if request.method == "POST":
        fields = [
            f for f in request.POST.getlist("fields") if f in user_location.FIELDS
        ]
        if not fields:
            context["error"] = "Choose at least one field. Nothing was changed."
        else:
            try:
                changed = user_location.look_up(
                    device=device,
                    fields=fields,
                    actor=request.user,
                    now=timezone.now(),
                )
            except user_location.LookUpImpossible as refused:
                context["impossible"] = str(refused)
            else:
                names = ", ".join(user_location.FIELDS[f].lower() for f in fields)
                messages.success(
                    request,
                    f"From Entra from now on: {names}."
                    f" {len(changed)} value{'' if len(changed) == 1 else 's'} changed.",
                )
                return redirect(_location_url(device))
    try:
        person, proposals = user_location.proposals(device)
    except user_location.LookUpImpossible as refused:
        context["impossible"] = str(refused)
    else:
        context |= {
            "person": person,
            "proposals": proposals,
            "as_of": freshness.as_of(timezone.now(), [person.cloud_idp]),
            "tables": {
                name: reverse(f"scoping:{name}-new") for name in user_location.TABLES
            },
            "person_url": person.get_absolute_url()
            if request.user.has_perm("directory.view_directoryuser")
            else "",
        }
    return render(
        request,
        "scoping/device_look_up.html",
        context,
        status=422 if request.method == "POST" else 200,
    )


@privilege("scoping.change_computer")
def computer_look_up(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_look_up(request, COMPUTERS, pk)


@privilege("scoping.change_mobiledevice")
def mobiledevice_look_up(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_look_up(request, MOBILE_DEVICES, pk)


def _device_delete(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    device = _get(request, section, pk, "delete")
    error = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() == device.serial_number:
            inventory.delete_device(
                device=device, actor=request.user, now=timezone.now()
            )
            messages.success(request, f"{device} was deleted from the inventory.")
            return redirect(f"scoping:{section.route}-list")
        error = "That is not the serial number. Nothing was deleted."
    return render(
        request,
        "scoping/device_delete.html",
        {
            "section": section,
            "device": device,
            "crumbs": _crumbs(section, device),
            "error": error,
            "login_count": device.last_logins.count(),
            "group_count": device.static_groups.count(),
            "scope_count": inventory.scopes_naming(device),
        },
        status=422 if error else 200,
    )


@privilege("scoping.delete_computer")
def computer_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_delete(request, COMPUTERS, pk)


@privilege("scoping.delete_mobiledevice")
def mobiledevice_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_delete(request, MOBILE_DEVICES, pk)


@privilege("scoping.change_computer")
def computer_login(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Enter a log-in that a computer did not report itself."""
    device = _get(request, COMPUTERS, pk, "change")
    form = LoginReportForm(
        request.POST or None,
        initial={"reported_at": timezone.localtime(timezone.now())},
    )
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        inventory.report_logins(
            [
                inventory.LoginReport(
                    device=device,
                    channel=LastLogin.Channel(values["channel"]),
                    user_name=values["user_name"],
                    reported_at=values["reported_at"],
                )
            ],
            actor=request.user,
            now=timezone.now(),
        )
        messages.success(request, "The report was kept.")
        return redirect(f"{device.get_absolute_url()}?tab=logins")
    return render(
        request,
        "scoping/device_login_form.html",
        {
            "section": COMPUTERS,
            "device": device,
            "form": form,
            "crumbs": _crumbs(COMPUTERS, device),
            "cancel_url": f"{device.get_absolute_url()}?tab=logins",
        },
        status=422 if request.method == "POST" else 200,
    )


@dataclass(frozen=True)
class Login:
    """A channel of a computer and what it reported; None: never."""

    channel: str
    report: LastLogin | None
    who: Who | None


@dataclass(frozen=True)
class Who:
    """A user name of the inventory and the person it leads to."""

    user: InventoryUser
    badge: str
    person: Person | None
    person_url: str
    url: str


def _who(request: ConsoleRequest, user: InventoryUser, principal: Principal) -> Who:
    person = principal if isinstance(principal, Person) else None
    may_open = request.user.has_perm("directory.view_directoryuser")
    return Who(
        user=user,
        badge=MATCH_BADGES[InventoryUser.Match(user.match)],
        person=person,
        person_url=matching_rows.person_url(person.ref) if person and may_open else "",
        url=reverse("scoping:inventoryuser-detail", args=[user.pk])
        if request.user.has_perm("scoping.view_inventoryuser")
        else "",
    )


def _people(request: ConsoleRequest, users: Iterable[InventoryUser]) -> dict[int, Who]:
    by_id = {user.pk: user for user in users}
    found = matching_rows.principals(InventoryUser.objects.filter(pk__in=by_id))
    return {pk: _who(request, user, found[pk]) for pk, user in by_id.items()}


TABS = ("general", "location", "logins", "groups", "scopes", "history")


def _device_detail(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    device = _get(request, section, pk, "view")
    own = reverse(f"scoping:{section.route}-detail", args=[pk])
    logins = list(device.last_logins.select_related("user"))
    groups = inventory.groups_of(device, request.user)
    may_see_history = request.user.has_perm("history.view_objecthistory")
    try:
        scopes_url = reverse("scoping:device-scopes-fragment", args=[pk])
    except NoReverseMatch:
        scopes_url = ""
    offered: list[tuple[str, str, int | None]] = [
        ("general", "General", None),
        ("location", "User and Location", None),
    ]
    if section is COMPUTERS:
        offered.append(("logins", "Last log-ins", len(logins)))
    offered.append(("groups", "Groups", len(groups)))
    if scopes_url:
        offered.append(("scopes", "In scope of", None))
    if may_see_history:
        offered.append(("history", "History", entries_for(device).count()))
    names = [name for name, _, _ in offered]
    tab = request.GET.get("tab", "general")
    if tab not in names:
        tab = "general"
    users = [login.user for login in logins if login.user]
    if device.assigned_user:
        users.append(device.assigned_user)
    people = _people(request, users)
    by_channel = {login.channel: login for login in logins}
    may_change = request.user.sites_with(section.perm("change")).may_see(device.site_id)
    may_delete = request.user.sites_with(section.perm("delete")).may_see(device.site_id)
    route = f"scoping:{section.route}"
    return render(
        request,
        "scoping/device_detail.html",
        {
            "section": section,
            "device": device,
            "crumbs": _crumbs(section),
            "tab": tab,
            "tabs": [
                Tab(label, f"{own}?{urlencode({'tab': name})}", name == tab, count)
                for name, label, count in offered
            ],
            "assigned": people.get(device.assigned_user_id or 0),
            "states": user_location.states(device),
            "as_of": freshness.as_of(timezone.now()),
            "logins": [
                Login(
                    channel=label,
                    report=by_channel.get(channel),
                    who=people.get(by_channel[channel].user_id or 0)
                    if channel in by_channel
                    else None,
                )
                for channel, label in LastLogin.Channel.choices
            ],
            "groups": groups,
            "scopes_url": scopes_url,
            "entries": history(device) if tab == "history" else [],
            "latest": history(device, size=5) if may_see_history else [],
            "creatable": {
                name: reverse(f"scoping:{name}-new")
                for name in user_location.TABLES
                if request.user.sites_with(f"scoping.add_{name}").everywhere
            },
            "edit_url": reverse(f"{route}-edit", args=[pk]) if may_change else "",
            "location_url": reverse(f"{route}-location", args=[pk])
            if may_change
            else "",
            "look_up_url": reverse(f"{route}-look-up", args=[pk]) if may_change else "",
            "take_url": reverse(f"{route}-take", args=[pk]) if may_change else "",
            "login_url": reverse(f"{route}-login", args=[pk])
            if may_change and section is COMPUTERS
            else "",
            "delete_url": reverse(f"{route}-delete", args=[pk]) if may_delete else "",
        },
    )


def history(obj: Any, *, size: int = HISTORY_SIZE) -> list[Entry]:
    """The newest history of an object, for the history component."""
    return [_entry(row) for row in entries_for(obj)[:size]]


def _entry(row: ObjectHistory) -> Entry:
    changed = row.details.get("changes", [])
    return Entry(
        at=row.at,
        actor=row.actor_name,
        note=row.note,
        changes=[(str(name), str(old), str(new)) for name, old, new in changed],
    )


@require_GET
@privilege("scoping.view_computer")
def computer_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_detail(request, COMPUTERS, pk)


@require_GET
@privilege("scoping.view_mobiledevice")
def mobiledevice_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _device_detail(request, MOBILE_DEVICES, pk)


def _take(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    """Let one field follow the directory again."""
    device = _get(request, section, pk, "change")
    name = request.POST.get("field", "")
    if name in user_location.FIELDS:
        try:
            user_location.look_up(
                device=device, fields=[name], actor=request.user, now=timezone.now()
            )
        except user_location.LookUpImpossible as refused:
            messages.error(request, str(refused))
        else:
            messages.success(
                request,
                f"{user_location.FIELDS[name]} comes from Entra from now on.",
            )
    return redirect(_location_url(device))


@require_POST
@privilege("scoping.change_computer")
def computer_take(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _take(request, COMPUTERS, pk)


@require_POST
@privilege("scoping.change_mobiledevice")
def mobiledevice_take(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _take(request, MOBILE_DEVICES, pk)


@require_GET
@privilege("directory.view_directoryuser")
def directoryuser_devices(request: ConsoleRequest) -> HttpResponse:
    """A part of a person's page: the devices that name them."""
    ref = ObjectRef(request.GET.get("tenant_id", ""), request.GET.get("object_id", ""))
    return render(
        request,
        "scoping/_directoryuser_devices.html",
        {"devices": devices_of_person(ref, viewer=request.user)},
    )
