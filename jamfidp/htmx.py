"""One address, one view: the whole page, or the part of it that htmx asked for."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails


class ConsoleRequest(HttpRequest):
    """A request as the console's views receive it."""

    htmx: HtmxDetails
    # The account model belongs to a layer that this one does not know.
    user: Any


def page_or_fragment(
    request: HttpRequest,
    *,
    page: str,
    fragments: dict[str, str],
    context: dict[str, Any],
    status: int = 200,
) -> HttpResponse:
    """Render the fragment htmx named in HX-Target, else the whole page.

    `fragments` maps the id of an element to the template that fills it.
    """
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    target = htmx.target if htmx and not htmx.history_restore_request else None
    template_name = fragments.get(target or "", page)
    response = render(request, template_name, context, status=status)
    # Without this a cache or the back button shows the fragment as the page.
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response
