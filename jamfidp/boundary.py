"""What holds for every request that comes in and every page that goes out."""

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase

NUL, ENCODED_NUL = "\x00", b"%00"
FORM = "application/x-www-form-urlencoded"


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
        query = request.META.get("QUERY_STRING", "")
        if NUL in request.path_info or ENCODED_NUL.decode() in query or NUL in query:
            raise BadRequest("NUL in the address")
        if request.content_type == FORM and (
            ENCODED_NUL in request.body or NUL.encode() in request.body
        ):
            raise BadRequest("NUL in the form")
        return self.get_response(request)
