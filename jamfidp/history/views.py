"""Activity > History: every change, filterable."""

from django.db.models import Q
from django.http import HttpResponse

from jamfidp.access import privilege, visible_to
from jamfidp.history.models import ObjectHistory
from jamfidp.htmx import ConsoleRequest, page_or_fragment

PAGE_SIZE = 50


@privilege("history.view_objecthistory")
def history_list(request: ConsoleRequest) -> HttpResponse:
    """Newest first; pages begin after the id in `before` or end before `after`."""
    entries = visible_to(
        ObjectHistory.objects.all(), request.user, "history.view_objecthistory"
    )
    person = request.GET.get("actor", "").strip()
    text = request.GET.get("q", "").strip()
    if person:
        entries = entries.filter(actor_name__icontains=person)
    if text:
        entries = entries.filter(
            Q(note__icontains=text) | Q(object_name__icontains=text)
        )
    total = entries.count()
    before, after = _id(request, "before"), _id(request, "after")
    if after:
        rows = list(entries.filter(pk__gt=after).order_by("pk")[: PAGE_SIZE + 1])
        has_newer = len(rows) > PAGE_SIZE
        rows = rows[:PAGE_SIZE][::-1]
        has_older = True
    else:
        older = entries.filter(pk__lt=before) if before else entries
        rows = list(older.order_by("-pk")[: PAGE_SIZE + 1])
        has_older = len(rows) > PAGE_SIZE
        rows = rows[:PAGE_SIZE]
        has_newer = bool(before)
    return page_or_fragment(
        request,
        page="history/list.html",
        fragments={"history-list": "history/_list.html"},
        context={
            "rows": rows,
            "total": total,
            "q": text,
            "actor": person,
            "newer_url": _address(request, after=rows[0].pk)
            if has_newer and rows
            else "",
            "older_url": _address(request, before=rows[-1].pk)
            if has_older and rows
            else "",
        },
    )


def _id(request: ConsoleRequest, name: str) -> int | None:
    value = request.GET.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 19 else None


def _address(request: ConsoleRequest, **position: int) -> str:
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    for name, value in position.items():
        query[name] = str(value)
    return f"?{query.urlencode()}"
