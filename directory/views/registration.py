"""Settings > Entra ID application: the deployment's registration per cloud."""

from collections.abc import Callable

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from directory import clouds, credentials
from directory.entra import Cloud, errors
from directory.forms import CertificateForm, ClientForm
from directory.models import ApplicationRegistration, CloudIdentityProvider
from directory.permissions import GRAPH_RESOURCE_ID, PERMISSIONS
from directory.views.connections import history_of
from directory.views.consent import see_other
from jamfidp import crypto
from jamfidp.access import privilege
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest

VIEW = "directory.view_applicationregistration"
CHANGE = "directory.change_applicationregistration"


@privilege(VIEW)
@require_GET
def registration_list(request: ConsoleRequest) -> HttpResponse:
    rows = []
    for cloud in clouds.available():
        found = credentials.find_registration(cloud.key)
        state, word = _state(found)
        rows.append(
            {
                "cloud": cloud,
                "registration": found,
                "state": state,
                "word": word,
                "connections": CloudIdentityProvider.objects.filter(
                    cloud=cloud.key
                ).count(),
            }
        )
    # Ready ones first; the order of the clouds else.
    rows.sort(key=lambda row: row["registration"] is None)
    return render(request, "directory/registration_list.html", {"rows": rows})


def _state(found: ApplicationRegistration | None) -> tuple[str, str]:
    if found is None:
        return "neutral", "Not entered"
    try:
        credentials.credential(found)
    except credentials.CredentialsUnreadable:
        return "bad", "Cannot be read"
    except credentials.NoRegistration:
        return "attention", "No credential"
    until = (
        found.certificate_expires_at
        if found.has_certificate
        else found.client_secret_expires_at
    )
    now = timezone.now()
    if until is not None and until <= now:
        return "bad", "Expired"
    if until is not None and until <= now + credentials.EXPIRES_SOON:
        return "attention", "Expires soon"
    return "good", "Ready"


def _cloud(key: str) -> Cloud:
    try:
        return clouds.cloud(key)
    except clouds.CloudUnavailable:
        raise Http404 from None


def _existing(key: str) -> ApplicationRegistration:
    _cloud(key)
    found = credentials.find_registration(key)
    if found is None:
        raise Http404
    return found


@privilege(VIEW)
@require_GET
def registration_page(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    return _page(request, _cloud(cloud_key))


def _page(
    request: ConsoleRequest,
    cloud: Cloud,
    *,
    client_form: ClientForm | None = None,
    certificate_form: CertificateForm | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    found = credentials.find_registration(cloud.key)
    state, word = _state(found)
    next_certificate = credentials.next_certificate(found) if found else None
    return render(
        request,
        "directory/registration.html",
        {
            "cloud": cloud,
            "registration": found,
            "state": state,
            "word": word,
            "crumbs": [
                Crumb(
                    "Entra ID application",
                    reverse("directory:application-registration"),
                )
            ],
            "client_form": client_form
            or ClientForm(
                initial={"client_id": found.client_id if found else ""},
                auto_id="client_%s",
            ),
            "certificate_form": certificate_form
            or CertificateForm(auto_id="certificate_%s"),
            "problem": problem,
            "keys_available": crypto.keys_available(),
            "unreadable": found is not None and not credentials.readable(found),
            "next_certificate": next_certificate,
            "next_thumbprint": credentials.thumbprint(next_certificate)
            if next_certificate
            else "",
            "redirect_uris": credentials.redirect_uris(),
            "permissions": PERMISSIONS,
            "graph_resource_id": GRAPH_RESOURCE_ID,
            "soon": timezone.now() + credentials.EXPIRES_SOON,
            "connections": CloudIdentityProvider.objects.filter(
                cloud=cloud.key
            ).order_by("display_name"),
            "entries": history_of(found) if found else [],
            "may_change": request.user.has_perm(CHANGE),
        },
        status=status,
    )


def _back(cloud_key: str) -> HttpResponse:
    return see_other(
        reverse("directory:application-registration-cloud", args=[cloud_key])
    )


@privilege(CHANGE)
@require_POST
def save_client(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    """Store the client ID and, when one was typed, the secret: both or neither."""
    cloud = _cloud(cloud_key)
    form = ClientForm(request.POST, auto_id="client_%s")
    if form.is_valid():
        now = timezone.now()
        entered = form.cleaned_data
        try:
            with transaction.atomic():
                found = credentials.save_client_id(
                    cloud_key=cloud.key,
                    client_id=entered["client_id"],
                    connections_confirmed=entered["connections_confirmed"],
                    actor=request.user,
                    now=now,
                )
                if entered["client_secret"]:
                    credentials.save_secret(
                        found,
                        secret=entered["client_secret"],
                        expires_at=form.expires_at(),
                        actor=request.user,
                        now=now,
                    )
                elif entered["expires_on"]:
                    credentials.save_secret_expiry(
                        found,
                        expires_at=form.expires_at(),
                        actor=request.user,
                        now=now,
                    )
        except credentials.RegistrationRefused as refused:
            form.add_error(refused.field, str(refused))
        except crypto.KeyUnavailable as error:
            form.add_error("client_secret", f"{error} The secret was not stored.")
        else:
            messages.success(request, "The application registration was saved.")
            return _back(cloud.key)
    return _page(request, cloud, client_form=form, status=422)


@privilege(CHANGE)
@require_POST
def save_certificate(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    found = _existing(cloud_key)
    form = CertificateForm(request.POST, auto_id="certificate_%s")
    if form.is_valid():
        try:
            credentials.save_certificate(
                found,
                certificate_pem=form.cleaned_data["certificate_pem"],
                private_key_pem=form.cleaned_data["private_key_pem"],
                passphrase=form.cleaned_data["passphrase"],
                actor=request.user,
                now=timezone.now(),
            )
        except credentials.RegistrationRefused as refused:
            form.add_error(refused.field, str(refused))
        except crypto.KeyUnavailable as error:
            form.add_error("private_key_pem", f"{error} The key was not stored.")
        else:
            messages.success(request, "The certificate is in use.")
            return _back(cloud_key)
    return _page(request, _cloud(cloud_key), certificate_form=form, status=422)


def _act(
    request: ConsoleRequest,
    cloud_key: str,
    action: Callable[..., None],
    success: str,
) -> HttpResponse:
    found = _existing(cloud_key)
    try:
        action(found, actor=request.user, now=timezone.now())
    except credentials.RegistrationRefused as refused:
        problem = str(refused)
    except errors.InvalidCredential as error:
        problem = error.sentences()
    except crypto.KeyUnavailable as error:
        problem = str(error)
    else:
        messages.success(request, success)
        return _back(cloud_key)
    return _page(request, _cloud(cloud_key), problem=problem, status=422)


@privilege(CHANGE)
@require_POST
def generate_certificate(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    return _act(
        request,
        cloud_key,
        credentials.generate_certificate,
        "A key and a certificate were generated. Upload the certificate to the "
        "registration, then put it in use here.",
    )


@privilege(CHANGE)
@require_POST
def use_next_certificate(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    return _act(
        request,
        cloud_key,
        credentials.use_next_certificate,
        "The generated certificate is in use.",
    )


@privilege(CHANGE)
@require_POST
def discard_next_certificate(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    return _act(
        request,
        cloud_key,
        credentials.discard_next_certificate,
        "The generated certificate was discarded.",
    )


@privilege(CHANGE)
@require_POST
def remove_secret(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    return _act(
        request, cloud_key, credentials.remove_secret, "The secret was removed."
    )


@privilege(CHANGE)
@require_POST
def remove_certificate(request: ConsoleRequest, cloud_key: str) -> HttpResponse:
    return _act(
        request,
        cloud_key,
        credentials.remove_certificate,
        "The certificate and its key were removed.",
    )


@privilege(VIEW)
@require_GET
def download_certificate(
    request: ConsoleRequest, cloud_key: str, which: str
) -> HttpResponse:
    """The public certificate, to upload to the registration. Never the key."""
    found = _existing(cloud_key)
    pem = found.next_certificate_pem if which == "next" else found.certificate_pem
    if not pem:
        raise Http404
    response = HttpResponse(pem, content_type="application/x-pem-file")
    response["Content-Disposition"] = (
        f'attachment; filename="entra-{cloud_key.lower()}-{which}.cer"'
    )
    return response
