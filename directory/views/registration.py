"""Settings > Entra ID application: the deployment's registrations, and others."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory import clouds, credentials, registrations
from directory.entra import Cloud
from directory.models import ApplicationRegistration, CloudIdentityProvider
from directory.permissions import GRAPH_RESOURCE_ID, PERMISSIONS
from directory.registration_forms import ClientIdForm
from directory.views.connections import cloud_name, history_of
from directory.views.credentials import (
    CHANGE,
    VIEW,
    registration_state,
    shown_credentials,
)
from directory.views.saving import see_other
from directory.views.wizard import chosen_cloud
from jamfidp import crypto
from jamfidp.access import privilege
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest


def crumbs() -> list[Crumb]:
    return [
        Crumb("Entra ID application", reverse("directory:application-registration"))
    ]


@privilege(VIEW)
@require_GET
def registration_list(request: ConsoleRequest) -> HttpResponse:
    now = timezone.now()
    rows = []
    for cloud in clouds.available():
        found = registrations.find_registration(cloud.key)
        state, word = registration_state(found, now=now)
        rows.append(
            {
                "cloud": cloud,
                "registration": found,
                "state": state,
                "word": word,
                "first": credentials.first(found, now=now) if found else None,
                "connections": len(registrations.connections_of(found)) if found else 0,
            }
        )
    # Ready ones first; the order of the clouds else.
    rows.sort(key=lambda row: row["registration"] is None)
    own = []
    for found in ApplicationRegistration.objects.filter(
        for_one_connection=True
    ).select_related("cloud_idp"):
        state, word = registration_state(found, now=now)
        own.append(
            {
                "registration": found,
                "cloud_name": cloud_name(found.cloud),
                "state": state,
                "word": word,
                "first": credentials.first(found, now=now),
                "connection": getattr(found, "cloud_idp", None),
            }
        )
    return render(
        request, "directory/registration_list.html", {"rows": rows, "own": own}
    )


def _cloud(key: str) -> Cloud:
    try:
        return clouds.cloud(key)
    except clouds.CloudUnavailable:
        raise Http404 from None


@privilege(VIEW)
@require_GET
def registration_page(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    cloud = _cloud(cloud_key)
    return render_registration(
        request, cloud, registrations.find_registration(cloud.key)
    )


def render_registration(
    request: ConsoleRequest,
    cloud: Cloud,
    found: ApplicationRegistration | None,
    *,
    meant_for: CloudIdentityProvider | None = None,
    client_form: ClientIdForm | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page of a registration; `found` is None before the first client ID."""
    state, word = registration_state(found, now=timezone.now())
    connections = registrations.connections_of(found) if found else []
    return render(
        request,
        "directory/registration.html",
        {
            "cloud": cloud,
            "registration": found,
            "own": found is not None and found.for_one_connection,
            "state": state,
            "word": word,
            "crumbs": crumbs(),
            "client_form": client_form
            or ClientIdForm(initial={"client_id": found.client_id if found else ""}),
            "client_url": _client_url(cloud, found),
            "credentials": shown_credentials(found) if found else [],
            "problem": problem,
            "keys_available": crypto.keys_available(),
            "unreadable": found is not None and not credentials.readable(found),
            "redirect_uris": registrations.redirect_uris(),
            "permissions": PERMISSIONS,
            "graph_resource_id": GRAPH_RESOURCE_ID,
            "connections": connections,
            "meant_for": meant_for,
            "entries": history_of(found) if found else [],
            "may_change": request.user.has_perm(CHANGE),
        },
        status=status,
    )


def _client_url(cloud: Cloud, found: ApplicationRegistration | None) -> str:
    if found is not None and found.for_one_connection:
        return reverse("directory:own-registration-client", args=[found.pk])
    return reverse("directory:application-registration-client", args=[cloud.key])


@privilege(CHANGE)
@require_POST
def save_client(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    """Store the client ID of the deployment's registration in a cloud."""
    cloud = _cloud(cloud_key)
    return _client_saved(
        request,
        cloud,
        registrations.find_registration(cloud.key),
        partial(registrations.save_client_id, cloud_key=cloud.key),
    )


def _client_saved(
    request: ConsoleRequest,
    cloud: Cloud,
    found: ApplicationRegistration | None,
    save: Callable[..., ApplicationRegistration],
) -> HttpResponse:
    """Save the client ID of the form; the page again, with why, where it is refused."""
    form = ClientIdForm(request.POST)
    if form.is_valid():
        try:
            saved = save(
                client_id=form.cleaned_data["client_id"],
                connections_confirmed=form.cleaned_data["connections_confirmed"],
                actor=request.user,
                now=timezone.now(),
            )
        except registrations.RegistrationRefused as refused:
            form.add_error(refused.field, str(refused))
        else:
            messages.success(request, "The client ID was saved.")
            return see_other(saved.get_absolute_url())
    return render_registration(request, cloud, found, client_form=form, status=422)


# --- For one connection alone --------------------------------------------------------


def _own(pk: int) -> ApplicationRegistration:
    return get_object_or_404(ApplicationRegistration, pk=pk, for_one_connection=True)


def _meant_for(request: ConsoleRequest) -> CloudIdentityProvider | None:
    """The connection that `connection` names, in form or address; None without one."""
    named = request.POST.get("connection") or request.GET.get("connection", "")
    if not named:
        return None
    if not (named.isdecimal() and len(named) < 19):
        raise Http404
    found = CloudIdentityProvider.objects.filter(pk=int(named)).first()
    if found is None:
        raise Http404
    return found


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def own_registration_new(request: ConsoleRequest) -> HttpResponse:
    """Enter a registration that one connection is to use; it has to be consented to."""
    cloud_idp = _meant_for(request)
    cloud = (
        _cloud(cloud_idp.cloud)
        if cloud_idp
        else chosen_cloud(request, clouds.available())
    )
    form = ClientIdForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            found = registrations.create_own(
                cloud_key=cloud.key,
                client_id=form.cleaned_data["client_id"],
                actor=request.user,
                now=timezone.now(),
            )
        except registrations.RegistrationRefused as refused:
            form.add_error(refused.field, str(refused))
        else:
            query = f"?connection={cloud_idp.pk}" if cloud_idp else ""
            return see_other(found.get_absolute_url() + query)
    return render(
        request,
        "directory/own_registration_new.html",
        {
            "cloud": cloud,
            "cloud_idp": cloud_idp,
            "form": form,
            "redirect_uris": registrations.redirect_uris(),
            "permissions": PERMISSIONS,
            "graph_resource_id": GRAPH_RESOURCE_ID,
            "crumbs": crumbs(),
        },
        status=422 if form.is_bound else 200,
    )


@privilege(VIEW)
@require_GET
def own_registration_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    found = _own(pk)
    return render_registration(
        request, _cloud(found.cloud), found, meant_for=_meant_for(request)
    )


@privilege(CHANGE)
@require_POST
def own_registration_client(request: ConsoleRequest, pk: int) -> HttpResponse:
    found = _own(pk)
    return _client_saved(
        request,
        _cloud(found.cloud),
        found,
        partial(registrations.change_client_id, found),
    )


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def own_registration_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    found = _own(pk)
    problem = ""
    if request.method == "POST":
        try:
            registrations.delete_own(found, actor=request.user, now=timezone.now())
        except registrations.RegistrationRefused as refused:
            problem = str(refused)
        else:
            messages.success(
                request, "The application and its credentials were removed."
            )
            return see_other(reverse("directory:application-registration"))
    context: dict[str, Any] = {
        "registration": found,
        "crumbs": [*crumbs(), Crumb(found.client_id, found.get_absolute_url())],
        "problem": problem,
    }
    return render(
        request,
        "directory/own_registration_delete.html",
        context,
        status=422 if problem else 200,
    )
