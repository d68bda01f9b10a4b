"""Activity > History: every change, filterable."""

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render

from jamfidp.access import privilege, visible_to
from jamfidp.history.models import ObjectHistory
from jamfidp.htmx import ConsoleRequest

PAGE_SIZE = 50


@privilege("history.view_objecthistory")
def history_list(request: ConsoleRequest) -> HttpResponse:
    entries = visible_to(
        ObjectHistory.objects.all(), request.user, "history.view_objecthistory"
    )
    person = request.GET.get("actor", "").strip()
    text = request.GET.get("q", "").strip()
    if person:
        entries = entries.filter(actor_name__icontains=person)
    if text:
        entries = entries.filter(note__icontains=text) | entries.filter(
            object_name__icontains=text
        )
    page = Paginator(entries, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(
        request, "history/list.html", {"page": page, "q": text, "actor": person}
    )
