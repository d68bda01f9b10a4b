"""What holds for every request that comes in and every page that goes out."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase

NUL = "\x00"


class PrivatePagesMiddleware:
    """Keep pages out of every cache: they show people, devices and privileges.

    Whoever signs out of a shared browser leaves nothing behind for 'Back'. Static
    files never come here. A view that says otherwise of its own answer is believed.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class NulRefusedMiddleware:
    """Refuse NUL in addresses and forms: PostgreSQL's texts cannot hold it.

    Forms refuse it field by field; what views take from an address, or from a form
    without fields of its own, would be an error of the database.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if NUL in request.path_info or any(map(_holds_nul, request.GET.lists())):
            raise BadRequest("NUL in the address")
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> None:
        if any(map(_holds_nul, request.POST.lists())):
            raise BadRequest("NUL in the form")


def _holds_nul(field: tuple[str, list[Any]]) -> bool:
    name, values = field
    return NUL in name or any(NUL in str(value) for value in values)
