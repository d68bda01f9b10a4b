"""Forwarded headers, believed from the reverse proxies named in TRUSTED_PROXIES alone."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")


class ForwardedHeadersMiddleware:
    """Set the client's address and scheme from a trusted proxy; drop the headers else.

    The right-most address that is no trusted proxy is the client: everything left of
    it was written by the client itself.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if meta.get("REMOTE_ADDR") in settings.TRUSTED_PROXIES:
            hops = [hop.strip() for hop in meta.get(FORWARDED[0], "").split(",")]
            clients = [h for h in hops if h and h not in settings.TRUSTED_PROXIES]
            if clients:
                meta["REMOTE_ADDR"] = clients[-1]
            if meta.get(FORWARDED[1]) == "https":
                meta["wsgi.url_scheme"] = "https"
                request.environ["wsgi.url_scheme"] = "https"  # type: ignore[attr-defined]
        for header in FORWARDED:
            meta.pop(header, None)
        return self.get_response(request)
