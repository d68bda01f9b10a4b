"""Pages for requests that the console refuses before a view sees them."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from jamfidp.access import public


@public("shown by Django in place of a view")
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was opened before the last sign-in, or sent by another site."""
    return render(request, "403_csrf.html", status=403)
