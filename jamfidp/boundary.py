"""What holds for every request that comes in and every page that goes out."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpRequest, UnreadablePostError
from django.http.response import HttpResponseBase
from django.utils.http import parse_header_parameters

NUL = "\x00"
UTF_8 = {"utf-8", "utf8"}


class ReadAsUtf8(WSGIRequest):
    """A request that is read as UTF-8, whatever it says of itself.

    Django reads the address with whatever codec of Python's the request names, also
    with those that are none of texts, and before anything can refuse it: what fails
    there is an error of the server's and no page.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            kind, parameters = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (LookupError, ValueError):
            kind, parameters = "", {"charset": "unreadable"}
        self.content_type, self.content_params = kind, parameters


class Handler(WSGIHandler):
    """The console, or a connector that is served alone, for a WSGI server."""

    request_class = ReadAsUtf8


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


class DamagedRefusedMiddleware:
    """Refuse what no page of ours can have sent, before anything reads it.

    NUL in addresses and forms: PostgreSQL's texts cannot hold it. Forms refuse it
    field by field; what views take from an address, or from a form without fields of
    its own, would be an error of the database.

    Another encoding than UTF-8: no page of ours is in another.

    A form that breaks off: its browser has gone.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.lower() not in UTF_8:
            raise BadRequest("not in UTF-8")
        if NUL in request.path_info or any(map(_holds_nul, request.GET.lists())):
            raise BadRequest("NUL in the address")
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> None:
        try:
            fields = request.POST.lists()
        except UnreadablePostError:
            raise BadRequest("a form that breaks off") from None
        if any(map(_holds_nul, fields)):
            raise BadRequest("NUL in the form")


def _holds_nul(field: tuple[str, list[Any]]) -> bool:
    name, values = field
    return NUL in name or any(NUL in str(value) for value in values)
