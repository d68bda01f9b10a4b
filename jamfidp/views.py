"""Pages that belong to the console as a whole."""

import socket
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from directory import clouds, freshness, public_address
from jamfidp import crypto, everything, in_transit, overview
from jamfidp.access import privilege, public, signed_in
from jamfidp.components import Check
from jamfidp.errors import unsent
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.notices import mail, reading


@signed_in("every account has a first page; its parts ask for their own privileges")
def dashboard(request: ConsoleRequest) -> HttpResponse:
    return render(
        request,
        "dashboard.html",
        {
            "notices": reading.needing_attention(request.user),
            "steps": overview.steps(request.user),
            "connections": overview.connections(request.user),
            "tallies": overview.counts(request.user),
            "workers": freshness.workers(timezone.now()),
        },
    )


@signed_in("results are filtered by the privileges of the person")
def search(request: ConsoleRequest) -> HttpResponse:
    text = request.GET.get("q", "")
    return page_or_fragment(
        request,
        page="search.html",
        fragments={"search-results": "_search_results.html"},
        context={"q": text.strip(), "sections": everything.find(text, request.user)},
    )


@signed_in("each entry is shown by its own privilege")
def settings_index(request: ConsoleRequest) -> HttpResponse:
    return render(request, "settings.html", {})


@privilege("jamfidp.view_system")
def system(request: ConsoleRequest) -> HttpResponse:
    """Health, keys and workers."""
    workers = freshness.workers(timezone.now())
    return render(
        request,
        "system.html",
        {
            "checks": [
                Check(
                    "Task worker",
                    "good" if workers.running else "bad",
                    f"{len(workers.alive)} running"
                    if workers.running
                    else "None is running: directories are not read.",
                    as_of=workers.last_heard_at,
                ),
                Check(
                    "Encryption key",
                    "good" if crypto.keys_available() else "bad",
                    "Secrets can be read and written."
                    if crypto.keys_available()
                    else "ENCRYPTION_KEYS is not set: no credential can be stored.",
                ),
                mail.check(),
                Check("Database", "good", in_transit.database_in_words(connection)),
            ],
            "database": connection.display_name,
            "broker": in_transit.broker_in_words(settings.CELERY_BROKER_URL),
            "egress": clouds.egress_in_words(),
            "console_url": settings.CONSOLE_URL,
            **public_address.as_shown(timezone.now()),
            "hosting_tier": settings.HOSTING_TIER.replace("_", " ").title(),
            "freshness_hours": settings.DIRECTORY_FRESHNESS_HOURS,
        },
    )


@privilege("jamfidp.view_system")
@require_POST
def address_check(request: ConsoleRequest) -> HttpResponse:
    """Look at the console's own address now, from the web server."""
    public_address.look_and_keep(by=socket.gethostname(), now=timezone.now())
    return HttpResponse(status=303, headers={"Location": reverse("system")})


@public(
    "for load balancers; says whether the database answers, and to a challenge that "
    "this console signed that it is this console"
)
def health(request: HttpRequest) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    answer = public_address.answer_to(request.GET.get("challenge", ""))
    return JsonResponse({"status": "ok", **({"answer": answer} if answer else {})})


@public("shown by Django in place of a view")
def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Also for a form whose object was deleted in another tab: it keeps its input."""
    was_sent = request.method == "POST"
    return render(
        request,
        "404.html",
        {"was_sent": was_sent, "unsent": unsent(request) if was_sent else []},
        status=404,
    )


@public("shown by Django in place of a view")
def server_error(request: HttpRequest) -> HttpResponse:
    return render(request, "500.html", status=500)
