"""What a browser keeps of a request's link: cookies, since nobody is signed in there.

First the link's token, taken out of the address at once; once the link is opened, a
secret that binds the attempt to this browser. Neither is readable by scripts, and both
go to the pages of consent alone.
"""

import secrets
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

LINK, BROWSER = "consent_link", "consent_link_browser"
# Long enough to read the page and to look at the outcome; the link itself lives longer.
LIFETIME = timedelta(hours=1)
LONGEST = 200


def keep_link(response: HttpResponseBase, token: str) -> None:
    _keep(response, LINK, token)


def link_of(request: HttpRequest) -> str:
    """Return the token of the link that was followed, or ""."""
    return request.COOKIES.get(LINK, "")[:LONGEST]


def new_browser() -> str:
    return secrets.token_urlsafe(32)


def keep_browser(response: HttpResponseBase, browser: str) -> None:
    """Bind the attempt that was opened to this browser; the link has done its part."""
    _keep(response, BROWSER, browser)
    response.delete_cookie(LINK, path=_path(), samesite="Lax")


def browser_of_link(request: HttpRequest) -> str:
    """Return the secret of the browser that opened a link, or ""."""
    return request.COOKIES.get(BROWSER, "")[:LONGEST]


def _keep(response: HttpResponseBase, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=LIFETIME,
        path=_path(),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _path() -> str:
    """The pages of the link, and the callback."""
    return reverse("directory:request-page").removesuffix("request/")
