"""Pages of policies and configuration profiles: one set of views for each kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import F, Q
from django.http import (
    Http404,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from directory import held_words
from directory.freshness import as_of
from directory.sync.bitmaps import unpack
from jamfidp.access import get_visible_or_404, visible_to
from jamfidp.components import Chip, Crumb, Tab
from jamfidp.history.record import record
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page
from jamfidp.spreadsheet import lines as csv_lines
from scoping import scopes
from scoping.drafts import GONE, draft_of
from scoping.facts import DirectoryRows, names
from scoping.forms.objects import ObjectForm
from scoping.inventory import SECTIONS
from scoping.matching import fold
from scoping.matching_rows import match_counts
from scoping.models import Device, LastLogin, Site
from scoping.objects import (
    NameTaken,
    ObjectGone,
    ObjectKind,
    clone_object,
    create_object,
    delete_object,
    name_for_copy,
    update_object,
)
from scoping.recompute import ScopedObject, counted
from scoping.verdict import Verdict
from scoping.views.listing import (
    PAGE_SIZE,
    DeviceLine,
    address,
    choices,
    device_list,
    history_of,
    known_of,
    sees_devices,
    sees_everything,
    site_options,
    sort_of,
    sorted_headings,
    visible_devices,
    visible_ids,
)

SORTS = {
    "name": F("name"),
    "category": F("category"),
    "in": F("scope__decided_count"),
    "unknown": F("scope__unknown_count"),
}


def get_object(
    request: ConsoleRequest, kind: ObjectKind, pk: int, action: str = "view"
) -> ScopedObject:
    """The object, as far as the person may see and then do this with it; else 404."""
    rows = kind.rows().select_related("scope", "site")
    obj: ScopedObject = get_visible_or_404(rows, request.user, kind.perm("view"), pk=pk)
    if action != "view":
        get_visible_or_404(rows, request.user, kind.perm(action), pk=pk)
    return obj


def gone(
    request: ConsoleRequest, kind: ObjectKind, kept: Sequence[tuple[str, str]]
) -> HttpResponse:
    """What was typed for an object that is not there, any more or for this person."""
    return render(
        request,
        "scoping/gone.html",
        {"noun": kind.noun, "kept": kept, "list_url": url(kind, "list")},
        status=404,
    )


def url(kind: ObjectKind, page: str, *args: Any) -> str:
    return reverse(f"scoping:{kind.key}-{page}", args=args)


def may(request: ConsoleRequest, kind: ObjectKind, action: str, obj: Any) -> bool:
    perm = kind.perm(action)
    return bool(
        request.user.has_perm(perm)
        and request.user.sites_with(perm).may_see(obj.site_id)
    )


def crumbs(kind: ObjectKind, obj: ScopedObject | None = None) -> list[Crumb]:
    found = [Crumb(kind.title, url(kind, "list"))]
    if obj is not None:
        found.append(Crumb(obj.name, url(kind, "detail", obj.pk)))
    return found


@dataclass(frozen=True)
class ObjectLine:
    """An object and its numbers of devices, of those that the person may see."""

    object: ScopedObject
    in_scope: int
    unknown: int
    scope_url: str


def _lines(
    request: ConsoleRequest, kind: ObjectKind, rows: Iterable[ScopedObject]
) -> list[ObjectLine]:
    everything = sees_everything(request.user, kind.device_kind)
    visible = None if everything else visible_ids(request.user, kind.device_kind)
    found = []
    for row in rows:
        scope = row.scope
        counts = (scope.decided_count, scope.unknown_count)
        if visible is not None:
            counts = (
                len(unpack(scope.decided or None) & visible),
                len(unpack(scope.unknown or None) & visible),
            )
        found.append(ObjectLine(row, *counts, url(kind, "scope", row.pk)))
    return found


def object_list(request: ConsoleRequest, *, kind: ObjectKind) -> HttpResponse:
    """All objects of a kind that the person may see."""
    rows = visible_to(kind.rows(), request.user, kind.perm("view"))
    everything = rows
    q = request.GET.get("q", "").strip()
    chips: list[Chip] = []
    filters = []
    options = {
        "enabled": ("State", [("yes", "Enabled"), ("no", "Disabled")]),
        "site": ("Site", site_options(request.user, kind.perm("view"))),
        "category": (
            "Category",
            [
                (name, name)
                for name in everything.exclude(category="")
                .order_by("category")
                .values_list("category", flat=True)
                .distinct()
            ],
        ),
    }
    for name, (label, pairs) in options.items():
        if not pairs:
            continue
        asked, found = choices(request, name, pairs)
        filters.append({"name": name, "label": label, "choices": found})
        if not asked:
            continue
        chips.append(Chip(label, dict(pairs)[asked], address(request, **{name: ""})))
        if name == "enabled":
            rows = rows.filter(enabled=asked == "yes")
        elif name == "site":
            rows = rows.filter(site=None if asked == "none" else int(asked))
        else:
            rows = rows.filter(category=asked)
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(category__icontains=q))
    name, descending = sort_of(request, SORTS)
    page = keyset_page(
        rows.select_related("scope", "site"),
        by=SORTS[name],
        descending=descending,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PAGE_SIZE,
    )
    return page_or_fragment(
        request,
        page="scoping/object_list.html",
        fragments={"object-list": "scoping/_object_list.html"},
        context={
            "kind": kind,
            "lines": _lines(request, kind, page.rows),
            "total": rows.count(),
            "q": q,
            "filters": filters,
            "chips": chips,
            "clear_url": request.path,
            "is_filtered": bool(q or chips),
            "sort": request.GET.get("sort", ""),
            "headings": sorted_headings(
                request,
                [
                    ("Name", "name", False),
                    ("Category", "category", False),
                    ("Site", "", False),
                    ("In scope", "in", True),
                    ("Unknown", "unknown", True),
                ],
                name,
                descending,
            ),
            "previous_url": address(request, before=page.previous)
            if page.previous
            else "",
            "next_url": address(request, after=page.next) if page.next else "",
            "new_url": url(kind, "new")
            if request.user.has_perm(kind.perm("add"))
            else "",
        },
    )


def _page(
    request: ConsoleRequest, kind: ObjectKind, obj: ScopedObject, tab: str
) -> dict[str, Any]:
    """What every page of one object shows around its tab."""
    (line,) = _lines(request, kind, [obj])
    actions = {
        action: may(request, kind, action, obj)
        for action in ("add", "change", "delete")
    }
    return {
        "kind": kind,
        "object": obj,
        "line": line,
        "tab": tab,
        "section": SECTIONS[kind.device_kind],
        "crumbs": crumbs(kind),
        "tabs": [
            Tab("General", url(kind, "detail", obj.pk), tab == "general"),
            Tab("Scope", url(kind, "scope", obj.pk), tab == "scope", line.in_scope),
            Tab("History", url(kind, "history", obj.pk), tab == "history"),
        ],
        "sentence": scopes.sentence_of(obj.scope),
        "edit_url": url(kind, "edit", obj.pk) if actions["change"] else "",
        "scope_edit_url": url(kind, "scope-edit", obj.pk) if actions["change"] else "",
        "clone_url": url(kind, "clone", obj.pk) if actions["add"] else "",
        "delete_url": url(kind, "delete", obj.pk) if actions["delete"] else "",
        "broken": broken_entries(obj),
        "directory_as_of": as_of(timezone.now()),
    }


def broken_entries(obj: ScopedObject) -> list[tuple[str, str]]:
    """The names of entries that cannot be evaluated, each with the reason."""
    draft = draft_of(obj.scope)
    directory = DirectoryRows(draft.refs)
    known = names(obj.scope.kind)
    found = []
    for entry in draft.entries:
        if entry.ref is not None:
            described = directory.describe(entry.ref)
            if described.broken is not None:
                found.append((described.name, described.why_broken))
        elif entry.kind in GONE and known.of(entry.kind, entry.ref_id) is None:
            found.append((entry.label, GONE[entry.kind]))
    return found


def object_detail(
    request: ConsoleRequest, *, kind: ObjectKind, pk: int
) -> HttpResponse:
    """What the object is."""
    obj = get_object(request, kind, pk)
    return render(
        request,
        "scoping/object_detail.html",
        _page(request, kind, obj, "general")
        | {"latest": history_of(obj)[:5], "scope_url": url(kind, "scope", obj.pk)},
    )


def object_history(
    request: ConsoleRequest, *, kind: ObjectKind, pk: int
) -> HttpResponse:
    """Who changed the object, and what came into and left its scope."""
    obj = get_object(request, kind, pk)
    return render(
        request,
        "scoping/object_history.html",
        _page(request, kind, obj, "history") | {"entries": history_of(obj)},
    )


def object_scope(request: ConsoleRequest, *, kind: ObjectKind, pk: int) -> HttpResponse:
    """Who is in scope of the object."""
    obj = get_object(request, kind, pk)
    known = known_of(obj.scope.decided, obj.scope.unknown)
    found = device_list(
        request,
        kind=kind.device_kind,
        known=known,
        decided=unpack(obj.scope.decided or None),
        default="in",
    )
    context = _page(request, kind, obj, "scope") | {
        "list": found,
        "lines": [
            DeviceLine(
                line.device,
                line.verdict,
                line.decided,
                url(kind, "derivation", obj.pk, line.device.pk),
                line.text,
            )
            for line in found.lines
        ],
        "may_see_devices": sees_devices(request.user, kind.device_kind),
        "export_allowed": True,
        "looks_at": looks_at(obj),
        "differing": held_words.touching(
            (each.ref, each.nested) for each in draft_of(obj.scope).entries if each.ref
        ),
        "matches": match_counts(
            visible_devices(request.user, kind.device_kind),
            channel=None
            if obj.scope.principal == "ASSIGNED"
            else LastLogin.Channel(obj.scope.channel),
        ),
    }
    return page_or_fragment(
        request,
        page="scoping/object_scope.html",
        fragments={"scope-devices": "scoping/_scope_devices.html"},
        context=context,
    )


def looks_at(obj: ScopedObject) -> str:
    """Whose user directory entries are held against, in words."""
    if obj.scope.kind == "MOBILE":
        return "the assigned user, since nobody logs in to a mobile device"
    if obj.scope.principal == "ASSIGNED":
        return "the assigned user"
    channel = {
        "AGENT": "the agent, which delivers policies",
        "MDM": "MDM, which delivers profiles",
        "SELF_SERVICE": "Self Service",
    }[obj.scope.channel]
    return f"the user last logged in, as reported by {channel}"


def object_export(
    request: ConsoleRequest, *, kind: ObjectKind, pk: int
) -> HttpResponseBase:
    """The devices of the scope as a CSV file, narrowed as the page is."""
    obj = get_object(request, kind, pk)
    known = known_of(obj.scope.decided, obj.scope.unknown)
    decided = unpack(obj.scope.decided or None)
    asked = request.GET.get("verdict", "in")
    devices = visible_devices(request.user, kind.device_kind).select_related(
        "site", "assigned_user"
    )
    q = request.GET.get("q", "").strip()
    if q:
        devices = devices.filter(search__contains=fold(q))
    words = {Verdict.IN: "In", Verdict.OUT: "Out", Verdict.UNKNOWN: "Unknown"}
    chosen = [
        (device, known.verdict(device.pk))
        for device in devices.order_by("name", "pk").iterator(chunk_size=1000)
        if asked not in {"in", "out", "unknown"} or known.verdict(device.pk) == asked
    ]
    record(
        obj=obj,
        actor=request.user,
        note=f"Exported {counted(len(chosen), kind.device_kind)} of the scope as a CSV"
        " file",
        action="exported",
    )
    headings = ["Name", "Serial Number", "Site", "Assigned User", "Verdict", "Decided"]

    def cells(device: Device, verdict: Verdict) -> list[Any]:
        return [
            device.name,
            device.serial_number,
            device.site or "",
            device.assigned_user or "",
            words[verdict],
            "In scope" if device.pk in decided else "Not in scope",
        ]

    return StreamingHttpResponse(
        csv_lines(headings, (cells(*each) for each in chosen)),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": (
                f'attachment; filename="scope-of-{kind.key}-{obj.pk}.csv"'
            )
        },
    )


def object_new(request: ConsoleRequest, *, kind: ObjectKind) -> HttpResponse:
    """Create an object; its scope comes next."""
    access = request.user.sites_with(kind.perm("add"))
    form = ObjectForm(request.POST or None, kind=kind, access=access)
    if request.method == "POST" and form.is_valid():
        try:
            obj = create_object(
                kind=kind,
                actor=request.user,
                now=timezone.now(),
                **{name: form.cleaned_data[name] for name in form.fields},
            )
        except NameTaken as error:
            form.add_error("name", str(error))
        else:
            messages.success(
                request, f"{obj.name} was created. It reaches no device yet."
            )
            if may(request, kind, "change", obj):
                return redirect(url(kind, "scope-edit", obj.pk))
            return redirect(obj)
    return render(
        request,
        "scoping/object_form.html",
        {
            "kind": kind,
            "form": form,
            "crumbs": crumbs(kind),
            "cancel_url": url(kind, "list"),
        },
        status=422 if request.method == "POST" else 200,
    )


def object_edit(request: ConsoleRequest, *, kind: ObjectKind, pk: int) -> HttpResponse:
    """Change what the object is. A new site says first what it does to devices."""
    try:
        obj = get_object(request, kind, pk, "change")
    except Http404:
        if request.method != "POST":
            raise
        return gone(request, kind, typed(request))
    access = request.user.sites_with(kind.perm("change"))
    form = ObjectForm(request.POST or None, kind=kind, access=access, obj=obj)
    preview, status = None, 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            site: Site | None = form.cleaned_data["site"]
            site_id = site.pk if site is not None else None
            confirmed = request.POST.get("confirmed_site", "") == str(site_id or "none")
            if site_id != obj.site_id and not confirmed:
                preview = scopes.preview(
                    obj=obj, draft=draft_of(obj.scope), site_id=site_id
                ).within(visible_ids(request.user, kind.device_kind))
                status = 200
            if preview is None or not (preview.gained or preview.lost):
                try:
                    update_object(
                        obj=obj,
                        changes=form.cleaned_data,
                        actor=request.user,
                        now=timezone.now(),
                    )
                except NameTaken as error:
                    form.add_error("name", str(error))
                    status = 422
                except ObjectGone:
                    return gone(request, kind, typed(request))
                else:
                    messages.success(request, f"{form.cleaned_data['name']} was saved.")
                    return redirect(url(kind, "detail", obj.pk))
    return render(
        request,
        "scoping/object_form.html",
        {
            "kind": kind,
            "form": form,
            "object": get_object(request, kind, pk),
            "preview": preview,
            "gained": counted(len(preview.gained), kind.device_kind) if preview else "",
            "lost": counted(len(preview.lost), kind.device_kind) if preview else "",
            "confirmed_site": request.POST.get("site", "") or "none",
            "crumbs": crumbs(kind, obj),
            "cancel_url": url(kind, "detail", obj.pk),
        },
        status=status,
    )


def typed(request: ConsoleRequest) -> list[tuple[str, str]]:
    """The text that a form was sent with."""
    names = ("name", "category", "payload")
    labels = {"payload": "Description"}
    return [
        (labels.get(name, name.capitalize()), value)
        for name in names
        if (value := request.POST.get(name, "").strip())
    ]


def object_clone(request: ConsoleRequest, *, kind: ObjectKind, pk: int) -> HttpResponse:
    """Copy the object with its scope; asks first, since devices come into scope."""
    obj = get_object(request, kind, pk, "add")
    if request.method == "POST":
        copy = clone_object(
            obj=obj,
            name=name_for_copy(obj),
            actor=request.user,
            now=timezone.now(),
        )
        messages.success(
            request,
            f"{copy.name} was made. It is disabled until you enable it.",
        )
        return redirect(copy)
    (line,) = _lines(request, kind, [obj])
    return render(
        request,
        "scoping/object_clone.html",
        {
            "kind": kind,
            "object": obj,
            "name": name_for_copy(obj),
            "devices": counted(line.in_scope, kind.device_kind),
            "sentence": scopes.sentence_of(obj.scope),
            "crumbs": crumbs(kind, obj),
            "cancel_url": obj.get_absolute_url(),
        },
    )


def object_delete(
    request: ConsoleRequest, *, kind: ObjectKind, pk: int
) -> HttpResponse:
    """Delete the object, having said whom it reached."""
    obj = get_object(request, kind, pk, "delete")
    if request.method == "POST":
        name = obj.name
        try:
            delete_object(obj=obj, actor=request.user, now=timezone.now())
        except ObjectGone as error:
            messages.warning(request, str(error))
        else:
            messages.success(request, f"{name} was deleted.")
        return redirect(url(kind, "list"))
    (line,) = _lines(request, kind, [obj])
    return render(
        request,
        "scoping/object_delete.html",
        {
            "kind": kind,
            "object": obj,
            "devices": counted(line.in_scope, kind.device_kind),
            "crumbs": crumbs(kind, obj),
            "scope_url": url(kind, "scope", obj.pk),
            "cancel_url": obj.get_absolute_url(),
        },
    )
