"""Held changes: what waits, why, what would follow; approving, rejecting, holding all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from directory import decisions, held_words, hold_everything, limits, tasks
from directory.decisions import DECIDE
from directory.dependents import Consequence
from directory.forms import GuardLimitsForm
from directory.models import CloudIdentityProvider, EverythingHeld, HeldChange
from directory.plans import title_of
from directory.sync.guards import WORDS
from directory.views.connections import _frame as connection_frame
from jamfidp.access import ConsoleUser, privilege
from jamfidp.components import Crumb, Tab
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page

SHOWN = 50
TABS = (
    ("", "Waiting"),
    ("rejected", "Rejected"),
    ("approved", "Approved"),
    ("closed", "Closed"),
)


@privilege("directory.view_syncrun")
def held_change_list(request: ConsoleRequest) -> HttpResponse:
    state = request.GET.get("state", "")
    state = state if state in dict(TABS) else ""
    connection = _number(request.GET.get("connection"))
    guard = request.GET.get("guard", "")
    rows = _narrowed(_in_state(state), connection, guard)
    page = keyset_page(
        rows.select_related("cloud_idp", "decision"),
        by=F("opened_at"),
        descending=True,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=SHOWN,
    )
    used = {
        each
        for guards in _in_state(state).values_list("guards", flat=True)
        for each in guards
    }
    return page_or_fragment(
        request,
        page="directory/heldchange_list.html",
        fragments={"heldchange-list": "directory/_heldchange_list.html"},
        context={
            "tabs": [
                Tab(label, f"?state={key}" if key else "?", key == state, count)
                for key, label in TABS
                for count in [None if key == "closed" else _in_state(key).count()]
            ],
            "state": state,
            "connection": connection,
            "connections": CloudIdentityProvider.objects.order_by("display_name"),
            "guard": guard if guard in used else "",
            "narrowed": not page.rows and _in_state(state).exists(),
            "guards": [(each, WORDS[each][0]) for each in WORDS if each in used],
            "changes": _described(request.user, page.rows),
            "total": rows.count(),
            "previous_position": page.previous,
            "next_position": page.next,
            "may_decide": request.user.has_perm(DECIDE),
            "everything": held_words.everything_held(),
        },
    )


def _in_state(state: str) -> QuerySet[HeldChange]:
    match state:
        case "rejected" | "approved":
            return HeldChange.objects.filter(
                closed_at=None, decision__verdict=state.upper()
            )
        case "closed":
            return HeldChange.objects.exclude(closed_at=None)
    return held_words.waiting()


def _narrowed(
    rows: QuerySet[HeldChange], connection: int | None, guard: str
) -> QuerySet[HeldChange]:
    if connection is not None:
        rows = rows.filter(cloud_idp=connection)
    if guard in WORDS:
        # A JSON list holds the guard as a quoted word on both databases.
        named = [
            pk for pk, guards in rows.values_list("pk", "guards") if guard in guards
        ]
        rows = rows.filter(pk__in=named)
    return rows


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _described(
    viewer: ConsoleUser, rows: Sequence[HeldChange], *, whole: bool = False
) -> list[held_words.Described]:
    return held_words.describe(
        rows,
        people=viewer.has_perm("directory.view_directoryuser"),
        groups=viewer.has_perm("directory.view_directorygroup"),
        whole=whole,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A consequence in one line."""

    kind: str
    title: str
    url: str
    detail: str
    full_access: bool
    grave: bool


def lines_of(
    consequences: Sequence[Consequence], viewer: ConsoleUser
) -> tuple[list[Line], int]:
    """The consequences that the viewer may see, and how many others there are."""
    found: list[Line] = []
    hidden = 0
    for each in consequences:
        about = each.about
        if about is not None and not viewer.sites_with(about.permission).may_see(
            about.site_id
        ):
            hidden += 1
            continue
        privileges = ", ".join(each.what[:3]) if each.is_privilege else ""
        if privileges and len(each.what) > 3:
            privileges += f" and {len(each.what) - 3} more"
        found.append(
            Line(
                kind=each.kind.value,
                title=title_of(each),
                url=about.url if about else "",
                detail=". ".join(
                    part.rstrip(".") for part in (privileges, each.detail) if part
                ),
                full_access=each.full_access,
                grave=each.is_privilege,
            )
        )
    return found, hidden


@privilege("directory.view_syncrun")
def held_change_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    """One held change: what, why, what would follow, and what was decided of it."""
    context = _as_it_is(request, pk)
    while not _still_so(context["change"].held):
        # A sync applied it, or somebody decided, between two questions.
        context = _as_it_is(request, pk)
    return render(request, "directory/heldchange_detail.html", context)


def _as_it_is(request: ConsoleRequest, pk: int) -> dict[str, Any]:
    held = get_object_or_404(
        HeldChange.objects.select_related("cloud_idp", "decision"), pk=pk
    )
    (described,) = _described(request.user, [held], whole=True)
    decided = list(held.decided.select_related("decision").order_by("-pk"))
    waits = held.closed_at is None and held.decision is None
    return {
        "change": described,
        "crumbs": [Crumb("Held changes", reverse("directory:heldchange-list"))],
        "decided": decided,
        "void": decided[0] if waits and decided and decided[0].is_void else None,
        **_review_context(request, held.cloud_idp, [held]),
    }


def _still_so(held: HeldChange) -> bool:
    rows = HeldChange.objects.filter(pk=held.pk, payload_hash=held.payload_hash)
    return rows.filter(closed_at=held.closed_at, decision=held.decision_id).exists()


def _review_context(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    changes: Sequence[HeldChange],
    *,
    error: str = "",
) -> dict[str, Any]:
    context: dict[str, Any] = {
        "cloud_idp": cloud_idp,
        "may_decide": request.user.has_perm(DECIDE),
        "error": error,
        "reason": request.POST.get("reason", ""),
        "days": request.POST.get("days", decisions.REJECTED_DAYS),
        "days_limit": decisions.REJECTED_DAYS_LIMIT,
    }
    still = [each for each in changes if each.closed_at is None]
    if not still:
        return context
    shown = decisions.review(cloud_idp, still, viewer=request.user, now=timezone.now())
    lines, hidden = lines_of(shown.consequences, request.user)
    return context | {"review": shown, "lines": lines, "hidden_lines": hidden}


@privilege(DECIDE)
@require_http_methods(["GET", "POST"])
def held_change_review(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Several held changes of one connection at once: look, then approve or reject."""
    cloud_idp = get_object_or_404(
        CloudIdentityProvider.objects.select_related("mappings"), pk=pk
    )
    error = ""
    if request.method == "POST":
        try:
            return _decide(request, cloud_idp)
        except decisions.CannotDecide as refused:
            error = str(refused)
    given = request.POST if request.method == "POST" else request.GET
    chosen = [int(each) for each in given.getlist("change") if each.isdigit()]
    rows = HeldChange.objects.filter(cloud_idp=cloud_idp, closed_at=None)
    if chosen:
        rows = rows.filter(pk__in=chosen)
    else:
        rows = _narrowed(
            rows.filter(decision=None), cloud_idp.pk, given.get("guard", "")
        )
    changes = list(rows.select_related("cloud_idp", "decision").order_by("pk"))
    return render(
        request,
        "directory/heldchange_review.html",
        {
            "crumbs": [Crumb("Held changes", reverse("directory:heldchange-list"))],
            "changes": _described(request.user, changes[:SHOWN]),
            "total": len(changes),
            **_review_context(request, cloud_idp, changes, error=error),
        },
        status=400 if error else 200,
    )


def _decide(request: ConsoleRequest, cloud_idp: CloudIdentityProvider) -> HttpResponse:
    now = timezone.now()
    given: dict[str, Any] = {
        "cloud_idp": cloud_idp,
        "pks": [int(each) for each in request.POST.getlist("change") if each.isdigit()],
        "reason": request.POST.get("reason", ""),
        "actor": request.user,
        "now": now,
    }
    if request.POST.get("verdict") == "approve":
        run = decisions.approve(
            seal=request.POST.get("seal", ""),
            typed=request.POST.get("typed", ""),
            **given,
        )
        if run is not None:
            transaction.on_commit(lambda: tasks.announce(run, now=now))
        messages.success(
            request, "Approved. The next sync applies it; it is under way."
        )
    else:
        days = _number(request.POST.get("days")) or 0
        decisions.reject(days=days, **given)
        messages.success(
            request,
            f"Rejected for {days} day{'' if days == 1 else 's'}. It stays as it is.",
        )
    return redirect(f"{reverse('directory:heldchange-list')}?connection={cloud_idp.pk}")


# --- Limits


@privilege("directory.change_cloudidentityprovider")
@require_http_methods(["GET", "POST"])
def guard_limits(request: ConsoleRequest, pk: int) -> HttpResponse:
    """From when on a connection's losses are held."""
    cloud_idp = get_object_or_404(
        CloudIdentityProvider.objects.select_related("mappings"), pk=pk
    )
    form = GuardLimitsForm(request.POST or None, instance=limits.current(cloud_idp))
    if request.method == "POST" and form.is_valid():
        changed = limits.save(
            form.save(commit=False), actor=request.user, now=timezone.now()
        )
        messages.success(request, "Saved." if changed else "Nothing was changed.")
        return redirect("directory:cloud-idp-sync", pk)
    return render(
        request,
        "directory/cloud_idp_limits.html",
        {**connection_frame(request, cloud_idp, "Sync"), "form": form},
    )


# --- Hold everything


@privilege(DECIDE)
@require_http_methods(["GET", "POST"])
def hold_all(request: ConsoleRequest) -> HttpResponse:
    """Hold everything of one connection, or of all."""
    error = ""
    connection = _number(
        request.POST.get("connection") or request.GET.get("connection")
    )
    cloud_idp = CloudIdentityProvider.objects.filter(pk=connection or 0).first()
    if request.method == "POST":
        try:
            hold_everything.hold(
                cloud_idp=cloud_idp,
                reason=request.POST.get("reason", ""),
                actor=request.user,
                now=timezone.now(),
            )
        except decisions.CannotDecide as refused:
            error = str(refused)
        else:
            return redirect("directory:heldchange-list")
    return render(
        request,
        "directory/hold_everything.html",
        {
            "crumbs": [Crumb("Held changes", reverse("directory:heldchange-list"))],
            "connections": CloudIdentityProvider.objects.order_by("display_name"),
            "connection": connection,
            "error": error,
            "reason": request.POST.get("reason", ""),
        },
        status=400 if error else 200,
    )


@privilege(DECIDE)
@require_POST
def release_all(request: ConsoleRequest, pk: int) -> HttpResponse:
    held = get_object_or_404(EverythingHeld, pk=pk)
    try:
        hold_everything.release(
            held,
            reason=request.POST.get("reason", ""),
            actor=request.user,
            now=timezone.now(),
        )
    except decisions.CannotDecide as refused:
        messages.error(request, str(refused))
    else:
        messages.success(
            request, "Released. The next sync applies what was held by it."
        )
    return redirect("directory:heldchange-list")
