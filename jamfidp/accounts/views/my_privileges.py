"""What may I do here: the privileges of the person who asks, and their paths."""

from django.http import HttpResponse
from django.shortcuts import render

from jamfidp.access import signed_in
from jamfidp.accounts import presentation, standing
from jamfidp.accounts.middleware import without_privileges
from jamfidp.htmx import ConsoleRequest


@signed_in("everybody may know their own privileges")
@without_privileges
def my_privileges(request: ConsoleRequest) -> HttpResponse:
    held = standing.of(request.user)
    return render(
        request,
        "accounts/my_privileges.html",
        {
            "account": request.user,
            "held": presentation.held(held, request.user, you=True),
        },
    )
