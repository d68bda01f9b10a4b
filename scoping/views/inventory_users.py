"""Users > Who is who."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from directory import freshness
from directory.dependents import ObjectRef
from jamfidp import keyset
from jamfidp.access import privilege
from jamfidp.components import Chip, Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from scoping import matching_rows, who_is_who
from scoping.matching import fold
from scoping.models import DeviceKind, InventoryUser, LastLogin
from scoping.principal import Ambiguous, Person, Principal, Unconfirmed
from scoping.views.devices import MATCH_BADGES, history

PAGE_SIZE = 50
Match = InventoryUser.Match


@dataclass(frozen=True)
class Row:
    """A user name, whom it leads to, and how many devices name it."""

    user: InventoryUser
    badge: str
    people: list[Person]
    uses: who_is_who.Uses


@dataclass(frozen=True)
class Tally:
    """A verdict, how many names have it, and the list of those."""

    value: str
    label: str
    badge: str
    count: int
    url: str
    chosen: bool


def people_of(principal: Principal) -> list[Person]:
    """The people a name leads to, or may lead to."""
    match principal:
        case Person():
            return [principal]
        case Ambiguous():
            return list(principal.candidates)
        case Unconfirmed():
            return [principal.found]
    return []


def _address(request: ConsoleRequest, **changes: str) -> str:
    query = request.GET.copy()
    for name in ("after", "before", *changes):
        query.pop(name, None)
    for name, value in changes.items():
        if value:
            query[name] = value
    return f"{request.path}?{query.urlencode()}" if query else request.path


@require_GET
@privilege("scoping.view_inventoryuser")
def inventoryuser_list(request: ConsoleRequest) -> HttpResponse:
    users = who_is_who.visible_users(request.user)
    counts = who_is_who.counts(request.user)
    q = request.GET.get("q", "").strip()
    asked = request.GET.get("match", "")
    chosen = Match(asked) if asked in Match.values else None
    if q:
        users = users.filter(key__contains=fold(q))
    if chosen:
        users = users.filter(match=chosen)
    page = keyset.page(
        users,
        by=F("key"),
        descending=False,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PAGE_SIZE,
    )
    ids = [user.pk for user in page.rows]
    found = matching_rows.principals(InventoryUser.objects.filter(pk__in=ids))
    uses = who_is_who.uses(page.rows, request.user)
    return page_or_fragment(
        request,
        page="scoping/inventoryuser_list.html",
        fragments={"inventoryuser-list": "scoping/_inventoryuser_list.html"},
        context={
            "rows": [
                Row(
                    user=user,
                    badge=MATCH_BADGES[Match(user.match)],
                    people=people_of(found[user.pk]),
                    uses=uses[user.pk],
                )
                for user in page.rows
            ],
            "as_of": freshness.as_of(timezone.now()),
            "tallies": [
                Tally(
                    value=verdict.value,
                    label=verdict.label,
                    badge=MATCH_BADGES[verdict],
                    count=counts[verdict],
                    url=_address(request, match=verdict.value),
                    chosen=verdict == chosen,
                )
                for verdict in Match
            ],
            "known": sum(counts.values()),
            "total": users.count(),
            "q": q,
            "match": asked if chosen else "",
            "chips": [Chip("Match", chosen.label, _address(request, match=""))]
            if chosen
            else [],
            "previous_url": _address(request, before=page.previous)
            if page.previous
            else "",
            "next_url": _address(request, after=page.next) if page.next else "",
        },
    )


@require_GET
@privilege("scoping.view_inventoryuser")
def match_counts(request: ConsoleRequest) -> HttpResponse:
    """A part of the mapping page: how many devices' users are whom."""
    devices = who_is_who.visible_devices(request.user)
    computers = devices.filter(kind=DeviceKind.COMPUTER)
    counted = [("Assigned user", matching_rows.match_counts(devices))]
    counted += [
        (
            f"Last log-in, {label}",
            matching_rows.match_counts(computers, channel=LastLogin.Channel(channel)),
        )
        for channel, label in LastLogin.Channel.choices
    ]
    return render(request, "scoping/_match_counts.html", {"counted": counted})


def _get(request: ConsoleRequest, pk: int) -> InventoryUser:
    user = who_is_who.visible_users(request.user).filter(pk=pk).first()
    if user is None:
        raise Http404
    return user


@dataclass(frozen=True)
class Candidate:
    """Somebody the name leads to, or may."""

    person: Person
    url: str
    tenant: str


def _candidates(request: ConsoleRequest, people: list[Person]) -> list[Candidate]:
    may_open = request.user.has_perm("directory.view_directoryuser")
    names = {each.tenant_id: each.name for each in matching_rows.connections()}
    return [
        Candidate(
            person=person,
            url=matching_rows.person_url(person.ref) if may_open else "",
            tenant=names.get(person.ref.tenant_id, person.ref.tenant_id),
        )
        for person in people
    ]


def _detail(
    request: ConsoleRequest, user: InventoryUser, *, error: str = ""
) -> HttpResponse:
    principal = matching_rows.principal_for(user)
    devices = who_is_who.visible_devices(request.user)
    context: dict[str, Any] = {
        "inventory_user": user,
        "as_of": freshness.as_of(timezone.now()),
        "badge": MATCH_BADGES[Match(user.match)],
        "crumbs": [Crumb("Who is who", reverse("scoping:inventoryuser-list"))],
        "candidates": _candidates(request, people_of(principal)),
        "assigned": devices.filter(assigned_user=user).order_by("name", "pk")[:200],
        "logged_in": devices.filter(last_logins__user=user)
        .distinct()
        .order_by("name", "pk")[:200],
        "uses": who_is_who.uses([user], request.user)[user.pk],
        "may_confirm": request.user.has_perm(who_is_who.CHANGE),
        "entries": history(user)
        if request.user.has_perm("history.view_objecthistory")
        else [],
        "error": error,
    }
    if isinstance(principal, Unconfirmed):
        context["earlier_url"] = (
            matching_rows.person_url(principal.earlier)
            if request.user.has_perm("directory.view_directoryuser")
            else ""
        )
    return render(
        request,
        "scoping/inventoryuser_detail.html",
        context,
        status=422 if error else 200,
    )


@require_GET
@privilege("scoping.view_inventoryuser")
def inventoryuser_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _detail(request, _get(request, pk))


@privilege("scoping.view_inventoryuser", "scoping.change_inventoryuser")
def inventoryuser_confirm(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Say that a name which led to somebody else before is this person now."""
    user = _get(request, pk)
    if request.method != "POST":
        return redirect("scoping:inventoryuser-detail", pk=pk)
    ref = ObjectRef(
        request.POST.get("tenant_id", ""), request.POST.get("object_id", "")
    )
    try:
        who_is_who.confirm(user=user, ref=ref, actor=request.user, now=timezone.now())
    except (who_is_who.NothingToConfirm, who_is_who.OtherSites) as refused:
        return _detail(request, _get(request, pk), error=str(refused))
    messages.success(request, f"{user.username} is confirmed.")
    return redirect("scoping:inventoryuser-detail", pk=pk)
