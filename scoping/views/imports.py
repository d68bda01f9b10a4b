"""Bringing devices from a CSV file: upload, look, confirm."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from jamfidp.access import privilege
from jamfidp.components import Crumb, Tab
from jamfidp.htmx import ConsoleRequest
from jamfidp.spreadsheet import lines
from scoping import importing
from scoping.forms.inventory import ImportForm
from scoping.importing import State
from scoping.inventory import COMPUTERS, MOBILE_DEVICES, Section
from scoping.models import InventoryImport

PAGE_SIZE = 100
LABELS = {
    State.NEW: "New",
    State.CHANGED: "Changed",
    State.UNCHANGED: "Unchanged",
    State.REFUSED: "Refused",
}


def _crumbs(section: Section, *, inside: bool = False) -> list[Crumb]:
    crumbs = [Crumb(section.title, reverse(f"scoping:{section.route}-list"))]
    if inside:
        crumbs.append(Crumb("Import", reverse(f"scoping:{section.route}-import")))
    return crumbs


def _upload(request: ConsoleRequest, section: Section) -> HttpResponse:
    access = request.user.sites_with(section.perm("add"))
    form = ImportForm(request.POST or None, request.FILES or None, access=access)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            row = importing.upload(
                # One byte more than allowed tells that it is too large.
                content=file.read(importing.MAX_BYTES + 1),
                file_name=file.name,
                kind=section.kind,
                site=form.cleaned_data["site"],
                look_up=form.cleaned_data["look_up"],
                actor=request.user,
                now=timezone.now(),
            )
        except importing.FileRefused as refused:
            form.add_error("file", str(refused))
        else:
            return redirect(f"scoping:{section.route}-import-preview", pk=row.pk)
    return render(
        request,
        "scoping/import_upload.html",
        {
            "section": section,
            "form": form,
            "columns": importing.columns_for(section.kind),
            "clear": importing.CLEAR,
            "crumbs": _crumbs(section),
            "template_url": reverse(f"scoping:{section.route}-import-template"),
            "cancel_url": reverse(f"scoping:{section.route}-list"),
        },
        status=422 if request.method == "POST" else 200,
    )


@privilege("scoping.add_computer", "scoping.change_computer")
def computer_import(request: ConsoleRequest) -> HttpResponse:
    return _upload(request, COMPUTERS)


@privilege("scoping.add_mobiledevice", "scoping.change_mobiledevice")
def mobiledevice_import(request: ConsoleRequest) -> HttpResponse:
    return _upload(request, MOBILE_DEVICES)


def _template(section: Section) -> HttpResponse:
    """An empty file with every column."""
    names = [column.name for column in importing.columns_for(section.kind)]
    name = f"{section.plural.replace(' ', '-')}-template.csv"
    return HttpResponse(
        "".join(lines(names, [])),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_GET
@privilege("scoping.add_computer")
def computer_import_template(request: ConsoleRequest) -> HttpResponse:
    return _template(COMPUTERS)


@require_GET
@privilege("scoping.add_mobiledevice")
def mobiledevice_import_template(request: ConsoleRequest) -> HttpResponse:
    return _template(MOBILE_DEVICES)


def _get(request: ConsoleRequest, section: Section, pk: int) -> InventoryImport:
    """An upload is seen by whoever brought it: it may hold rows of other sites."""
    return get_object_or_404(
        InventoryImport.objects.select_related("site"),
        pk=pk,
        kind=section.kind,
        uploaded_by=request.user.pk,
    )


def _preview(
    request: ConsoleRequest, section: Section, pk: int, *, error: str = ""
) -> HttpResponse:
    row = _get(request, section, pk)
    counts = importing.counts(row)
    filled = [state for state in State if counts[state]]
    asked = request.GET.get("rows", "")
    # What needs a look stands first.
    standard = State.REFUSED if State.REFUSED in filled else filled[0]
    shown = State(asked) if asked in set(State) else standard
    own = reverse(f"scoping:{section.route}-import-preview", args=[pk])
    pages = Paginator([r for r in row.rows if r["state"] == shown], PAGE_SIZE)
    page = pages.get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "section": section,
        "import": row,
        "reading": row.reading,
        "counts": {state.value: counts[state] for state in State},
        "will_change": counts[State.NEW] + counts[State.CHANGED],
        "shown": shown.value,
        "page": page,
        "previous_url": f"{own}?rows={shown}&page={page.previous_page_number()}"
        if page.has_previous()
        else "",
        "next_url": f"{own}?rows={shown}&page={page.next_page_number()}"
        if page.has_next()
        else "",
        "tabs": [
            Tab(LABELS[state], f"{own}?rows={state}", state == shown, counts[state])
            for state in State
        ],
        "crumbs": _crumbs(section, inside=True),
        "apply_url": reverse(f"scoping:{section.route}-import-apply", args=[pk]),
        "drop_url": reverse(f"scoping:{section.route}-import-drop", args=[pk]),
        "refused_url": reverse(f"scoping:{section.route}-import-refused", args=[pk]),
        "list_url": reverse(f"scoping:{section.route}-list"),
        "again_url": reverse(f"scoping:{section.route}-import"),
        "error": error,
    }
    return render(
        request, "scoping/import_preview.html", context, status=422 if error else 200
    )


@require_GET
@privilege("scoping.add_computer", "scoping.change_computer")
def computer_import_preview(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _preview(request, COMPUTERS, pk)


@require_GET
@privilege("scoping.add_mobiledevice", "scoping.change_mobiledevice")
def mobiledevice_import_preview(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _preview(request, MOBILE_DEVICES, pk)


def _apply(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    row = _get(request, section, pk)
    try:
        outcome = importing.apply(row=row, actor=request.user, now=timezone.now())
    except (importing.PreviewOutdated, importing.AlreadyApplied) as refused:
        return _preview(request, section, pk, error=str(refused))
    messages.success(
        request,
        f"{row.file_name} was imported: {outcome.new:,} new, {outcome.changed:,}"
        f" changed, {outcome.unchanged:,} unchanged, {outcome.refused:,} refused.",
    )
    return redirect(f"scoping:{section.route}-import-preview", pk=pk)


@require_POST
@privilege("scoping.add_computer", "scoping.change_computer")
def computer_import_apply(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _apply(request, COMPUTERS, pk)


@require_POST
@privilege("scoping.add_mobiledevice", "scoping.change_mobiledevice")
def mobiledevice_import_apply(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _apply(request, MOBILE_DEVICES, pk)


def _drop(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    row = _get(request, section, pk)
    importing.drop(row=row, actor=request.user)
    messages.info(request, f"{row.file_name} was dropped. The inventory is as it was.")
    return redirect(f"scoping:{section.route}-import")


@require_POST
@privilege("scoping.add_computer", "scoping.change_computer")
def computer_import_drop(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _drop(request, COMPUTERS, pk)


@require_POST
@privilege("scoping.add_mobiledevice", "scoping.change_mobiledevice")
def mobiledevice_import_drop(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _drop(request, MOBILE_DEVICES, pk)


def _refused(request: ConsoleRequest, section: Section, pk: int) -> HttpResponse:
    """The refused rows with their reasons, to correct the file by."""
    row = _get(request, section, pk)
    refused = [r for r in row.rows if r["state"] == State.REFUSED]
    return HttpResponse(
        "".join(
            lines(
                ["Line", "Serial Number", section.name_label, "Reason"],
                (
                    [r["line"], r["serial_number"], r["name"], " ".join(r["reasons"])]
                    for r in refused
                ),
            )
        ),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="refused-rows.csv"'},
    )


@require_GET
@privilege("scoping.add_computer", "scoping.change_computer")
def computer_import_refused(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _refused(request, COMPUTERS, pk)


@require_GET
@privilege("scoping.add_mobiledevice", "scoping.change_mobiledevice")
def mobiledevice_import_refused(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _refused(request, MOBILE_DEVICES, pk)
