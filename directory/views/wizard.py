"""The wizard before Microsoft: provider, preconditions, permissions, who consents."""

from collections.abc import Sequence

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from directory import clouds, connect, preconditions, registrations, tasks
from directory.entra import Cloud, errors
from directory.models import ApplicationRegistration, CloudIdentityProvider
from directory.permissions import PERMISSIONS
from directory.views.consent import (
    ADD,
    CHANGE,
    browser_of,
    choice_of,
    steps,
)
from directory.views.saving import see_other
from jamfidp import crypto
from jamfidp.access import privilege
from jamfidp.components import Check
from jamfidp.htmx import ConsoleRequest


def browser_address(request: ConsoleRequest) -> str:
    return f"{request.scheme}://{request.get_host()}"


def chosen_cloud(request: ConsoleRequest, offered: Sequence[Cloud]) -> Cloud:
    """The cloud that was chosen, else one that is ready, the sandbox before others."""
    sent = request.POST if request.method == "POST" else request.GET
    key = sent.get("cloud", "")
    for cloud in offered:
        if cloud.key == key:
            return cloud
    if key:
        # Another cloud than the one meant is never taken in its place.
        raise Http404
    ready = [
        cloud
        for cloud in offered
        if registrations.find_registration(cloud.key) is not None
    ]
    return ready[-1] if ready else offered[0]


def chosen_registration(
    request: ConsoleRequest, cloud: Cloud
) -> ApplicationRegistration | None:
    """The registration that was chosen, else the deployment's; None: there is none.

    `registration` names one that is meant for the connection that is being made.
    """
    sent = request.POST if request.method == "POST" else request.GET
    named = sent.get("registration", "")
    if not named:
        return registrations.find_registration(cloud.key)
    for found in registrations.unused(cloud.key):
        if str(found.pk) == named:
            return found
    raise Http404


@privilege(ADD)
@require_GET
def choose_provider(request: ConsoleRequest) -> HttpResponse:
    return render(request, "directory/wizard_provider.html", {"steps": steps(0)})


@privilege(ADD)
@require_GET
def check_preconditions(request: ConsoleRequest) -> HttpResponse:
    offered = clouds.available()
    cloud = chosen_cloud(request, offered)
    registration = chosen_registration(request, cloud)
    choice = choice_of(cloud.key, registration)
    found = preconditions.check(
        cloud,
        registration=registration,
        browser_address=browser_address(request),
        ask_worker=tasks.ask_hosts,
        now=timezone.now(),
    )
    return render(
        request,
        "directory/wizard_preconditions.html",
        {
            "steps": steps(1, choice=choice),
            "clouds": offered,
            "cloud": cloud,
            "registration": registration,
            "unused": registrations.unused(cloud.key),
            "choice": urlencode(choice),
            "preconditions": found,
            "may_register": request.user.has_perm(
                "directory.change_applicationregistration"
            ),
        },
    )


@privilege(ADD)
@require_GET
def explain_permissions(request: ConsoleRequest) -> HttpResponse:
    cloud = chosen_cloud(request, clouds.available())
    return permissions_page(request, cloud, chosen_registration(request, cloud))


def permissions_page(
    request: ConsoleRequest,
    cloud: Cloud,
    registration: ApplicationRegistration | None,
    *,
    problem: str = "",
    checks: Sequence[Check] = (),
    status: int = 200,
) -> HttpResponse:
    choice = choice_of(cloud.key, registration)
    return render(
        request,
        "directory/wizard_permissions.html",
        {
            "steps": steps(2, choice=choice),
            "cloud": cloud,
            "registration": registration,
            "permissions": PERMISSIONS,
            "choice": choice,
            "query": urlencode(choice),
            "problem": problem,
            "checks": checks,
        },
        status=status,
    )


def in_the_way(
    request: ConsoleRequest, cloud: Cloud, registration: ApplicationRegistration | None
) -> list[Check]:
    """What the console knows by itself to stand in the way of asking for consent."""
    found = preconditions.local(
        cloud,
        registration=registration,
        browser_address=browser_address(request),
        now=timezone.now(),
    )
    return [check for check in found if check.state == "bad"]


@privilege(ADD)
@require_POST
def start(request: ConsoleRequest) -> HttpResponse:
    cloud = chosen_cloud(request, clouds.available())
    registration = chosen_registration(request, cloud)
    checks = in_the_way(request, cloud, registration)
    if registration is None or checks:
        return permissions_page(
            request,
            cloud,
            registration,
            problem="A precondition is not met.",
            checks=checks,
            status=422,
        )
    try:
        attempt = connect.begin(
            registration=registration,
            cloud_idp=None,
            browser=browser_of(request),
            actor=request.user,
            now=timezone.now(),
        )
    except errors.EntraError as error:
        return permissions_page(
            request, cloud, registration, problem=error.sentences(), status=422
        )
    return see_other(reverse("directory:consent-attempt", args=[attempt.pk]))


@privilege(CHANGE)
@require_POST
def consent_again(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Begin to renew the consent of a connection, for the same tenant only.

    `registration` names the application to ask for, where it is to be another one:
    one that no connection uses, or the deployment's (`deployment`).
    """
    cloud_idp = CloudIdentityProvider.objects.filter(pk=pk).first()
    if cloud_idp is None:
        raise Http404
    try:
        attempt = connect.begin(
            registration=renewed_registration(request, cloud_idp),
            cloud_idp=cloud_idp,
            browser=browser_of(request),
            actor=request.user,
            now=timezone.now(),
        )
    except (errors.EntraError, crypto.KeyUnavailable) as error:
        sentence = (
            error.sentences() if isinstance(error, errors.EntraError) else str(error)
        )
        return render(
            request,
            "directory/consent_not_begun.html",
            {"cloud_idp": cloud_idp, "sentence": sentence},
            status=422,
        )
    return see_other(reverse("directory:consent-attempt", args=[attempt.pk]))


def renewed_registration(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider
) -> ApplicationRegistration:
    """Return the application to ask consent for: the present one unless one is named.

    Raises:
        registrations.NoRegistration
    """
    sent = request.POST if request.method == "POST" else request.GET
    named = sent.get("registration", "")
    if not named:
        return registrations.registration_of(cloud_idp)
    if named == "deployment":
        return registrations.registration(cloud_idp.cloud)
    for found in registrations.unused(cloud_idp.cloud):
        if str(found.pk) == named:
            return found
    raise Http404
