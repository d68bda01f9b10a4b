from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from jamfidp.proxies import ForwardedHeadersMiddleware


def seen_by_views(**headers: str) -> HttpRequest:
    requests: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        requests.append(request)
        return HttpResponse()

    ForwardedHeadersMiddleware(view)(RequestFactory().get("/", **headers))  # type: ignore[arg-type]
    return requests[0]


@pytest.fixture(autouse=True)
def one_proxy(settings: Any) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.5"]


def test_a_stranger_cannot_claim_an_address_scheme_or_host() -> None:
    request = seen_by_views(
        REMOTE_ADDR="203.0.113.9",
        HTTP_X_FORWARDED_FOR="127.0.0.1",
        HTTP_X_FORWARDED_PROTO="https",
        HTTP_X_FORWARDED_HOST="evil.example",
    )

    assert request.META["REMOTE_ADDR"] == "203.0.113.9"
    assert request.scheme == "http"
    assert "HTTP_X_FORWARDED_HOST" not in request.META


def test_a_trusted_proxy_names_the_client_and_the_scheme() -> None:
    request = seen_by_views(
        REMOTE_ADDR="10.0.0.5",
        HTTP_X_FORWARDED_FOR="198.51.100.7",
        HTTP_X_FORWARDED_PROTO="https",
    )

    assert request.META["REMOTE_ADDR"] == "198.51.100.7"
    assert request.scheme == "https"


def test_what_the_client_wrote_left_of_the_proxy_is_not_believed() -> None:
    request = seen_by_views(
        REMOTE_ADDR="10.0.0.5",
        HTTP_X_FORWARDED_FOR="127.0.0.1, 198.51.100.7, 10.0.0.5",
    )

    assert request.META["REMOTE_ADDR"] == "198.51.100.7"
