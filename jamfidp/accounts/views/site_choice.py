"""The switch at the top of the console: one site, or all of them."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from jamfidp.access import signed_in
from jamfidp.accounts import site_choice
from jamfidp.htmx import ConsoleRequest


@require_POST
@signed_in("everybody chooses among the sites where they hold something")
def choose_site(request: ConsoleRequest) -> HttpResponse:
    wanted = request.POST.get("site", "")
    try:
        site_choice.choose(
            request.session, request.user, int(wanted) if wanted.isdecimal() else None
        )
    except site_choice.NotYourSite as error:
        messages.error(request, str(error))
    back = request.POST.get("next", "")
    # The page may show an object of another site: it says so itself, or answers 404.
    safe = url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if safe and back.startswith("/") else "dashboard")
