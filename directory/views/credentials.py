"""The credentials of an application registration: added, proven, replaced, removed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory import credentials, tokens
from directory.credentials import State
from directory.entra import AssertionClaims, FederatedAssertion, errors
from directory.models import ApplicationCredential, ApplicationRegistration
from directory.registration_forms import (
    AssertionForm,
    CertificateForm,
    ExpiryForm,
    SecretForm,
)
from directory.registrations import RegistrationRefused, connections_of
from directory.views.saving import see_other
from jamfidp import crypto
from jamfidp.access import privilege
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest

VIEW = "directory.view_applicationregistration"
CHANGE = "directory.change_applicationregistration"

Kind = ApplicationCredential.Kind

ICONS = {Kind.SECRET: "key", Kind.CERTIFICATE: "certificate", Kind.ASSERTION: "id"}

# --- What a page shows of a credential ----------------------------------------------

_LOOKS = {
    State.WAITING: ("attention", "Waits to be put in use"),
    State.UNREADABLE: ("bad", "Cannot be read"),
    State.UNAVAILABLE: ("bad", "No assertion"),
    State.EXPIRED: ("bad", "Expired"),
    State.REFUSED: ("bad", "Refused by Microsoft"),
    State.EXPIRES_SOON: ("attention", "Expires soon"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCredential:
    """A credential as the registration's page lists it; nothing of it is secret."""

    row: ApplicationCredential
    icon: str
    state: str
    word: str
    role: str
    problem: str
    claims: AssertionClaims | None

    @property
    def can_be_proven(self) -> bool:
        return self.row.in_use


def shown_credentials(found: ApplicationRegistration) -> Sequence[ShownCredential]:
    """Return those in use in the order in which they are tried, then what waits."""
    now = timezone.now()
    rows = list(found.credentials.select_related("added_by"))
    in_use = credentials.in_order(rows, now=now)
    waiting = [row for row in rows if not row.in_use]
    return [
        *(_shown(row, number, now=now) for number, row in enumerate(in_use)),
        *(_shown(row, None, now=now) for row in waiting),
    ]


def _shown(
    row: ApplicationCredential, number: int | None, *, now: datetime
) -> ShownCredential:
    state = credentials.state_of(row, now=now)
    look, word = _LOOKS.get(state, ("good", "In use" if number == 0 else "In reserve"))
    problem = credentials.problem_of(row)
    role = ""
    if number is not None:
        role = "tried first" if number == 0 else "tried when the first is refused"
    return ShownCredential(
        row=row,
        icon=ICONS[Kind(row.kind)],
        state=look,
        word=word,
        role=role,
        problem=f"{problem.message} {problem.advice}" if problem else "",
        claims=_claims(row),
    )


def _claims(row: ApplicationCredential) -> AssertionClaims | None:
    if row.kind != Kind.ASSERTION:
        return None
    try:
        loaded = credentials.load(row)
        return loaded.claims() if isinstance(loaded, FederatedAssertion) else None
    except errors.AssertionUnavailable:
        return None


def registration_state(
    found: ApplicationRegistration | None, *, now: datetime
) -> tuple[str, str]:
    """The look and the word of a registration: those of its best credential."""
    if found is None:
        return "neutral", "Not entered"
    in_use = [row for row in found.credentials.all() if row.in_use]
    if not in_use:
        return "attention", "No credential"
    states = {credentials.state_of(row, now=now) for row in in_use}
    if State.GOOD in states:
        return "good", "Ready"
    for state in (
        State.EXPIRES_SOON,
        State.REFUSED,
        State.EXPIRED,
        State.UNAVAILABLE,
        State.UNREADABLE,
    ):
        if state in states:
            return _LOOKS[state]
    raise AssertionError("unreachable: those in use never wait")


# --- Adding ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to give the registration a credential: its form and what to know of it."""

    title: str
    form: type[forms.Form]
    template: str
    add: Callable[..., ApplicationCredential]
    done: str


def _add_secret(
    found: ApplicationRegistration, form: SecretForm, **who: Any
) -> ApplicationCredential:
    return credentials.add_secret(
        found,
        secret=form.cleaned_data["client_secret"],
        expires_at=form.expires_at(),
        **who,
    )


def _add_certificate(
    found: ApplicationRegistration, form: CertificateForm, **who: Any
) -> ApplicationCredential:
    return credentials.add_certificate(found, form.pair(now=who["now"]), **who)


def _add_assertion(
    found: ApplicationRegistration, form: AssertionForm, **who: Any
) -> ApplicationCredential:
    return credentials.add_assertion(
        found, file=form.cleaned_data["assertion_file"], **who
    )


def _generate(
    found: ApplicationRegistration, form: forms.Form, **who: Any
) -> ApplicationCredential:
    return credentials.generate_certificate(found, **who)


WAYS = {
    "generate": Way(
        title="Generate a certificate",
        form=forms.Form,
        template="directory/credential_generate.html",
        add=_generate,
        done="A key and a certificate were generated. Download the certificate, upload "
        "it to the registration, then put it in use here.",
    ),
    "certificate": Way(
        title="Enter a certificate and its key",
        form=CertificateForm,
        template="directory/credential_certificate.html",
        add=_add_certificate,
        done="The certificate is in use.",
    ),
    "secret": Way(
        title="Enter a client secret",
        form=SecretForm,
        template="directory/credential_secret.html",
        add=_add_secret,
        done="The secret is in use.",
    ),
    "assertion": Way(
        title="Use a federated assertion",
        form=AssertionForm,
        template="directory/credential_assertion.html",
        add=_add_assertion,
        done="The assertion is in use.",
    ),
}


def _crumbs(found: ApplicationRegistration) -> list[Crumb]:
    name = found.client_id if found.for_one_connection else found.cloud
    return [
        Crumb("Entra ID application", reverse("directory:application-registration")),
        Crumb(name, found.get_absolute_url()),
    ]


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def credential_add(request: ConsoleRequest, pk: int, way: str) -> HttpResponse:
    found = get_object_or_404(ApplicationRegistration, pk=pk)
    chosen = WAYS.get(way)
    if chosen is None:
        raise Http404
    sent = request.method == "POST"
    form = chosen.form(request.POST, request.FILES) if sent else chosen.form()
    if sent and form.is_valid():
        try:
            chosen.add(found, form, actor=request.user, now=timezone.now())
        except RegistrationRefused as refused:
            field = refused.field if refused.field in form.fields else None
            form.add_error(field, str(refused))
        except crypto.KeyUnavailable as error:
            form.add_error(None, f"{error} Nothing was stored.")
        else:
            messages.success(request, chosen.done)
            return see_other(found.get_absolute_url())
    return render(
        request,
        chosen.template,
        {
            "registration": found,
            "title": chosen.title,
            "form": form,
            "crumbs": _crumbs(found),
            "keys_available": crypto.keys_available(),
            "assertions": _offered_assertions() if way == "assertion" else [],
        },
        status=422 if sent else 200,
    )


def _offered_assertions() -> list[dict[str, Any]]:
    """Each file that the settings name, with what stands in it, or why nothing does."""
    offered: list[dict[str, Any]] = []
    for file in AssertionForm().fields["assertion_file"].choices:  # type: ignore[attr-defined]
        try:
            claims, problem = credentials.assertion(file[0]).claims(), ""
        except errors.AssertionUnavailable as error:
            claims, problem = None, f"{error.message} {error.advice}"
        offered.append({"file": file[0], "claims": claims, "problem": problem})
    return offered


# --- What is there ----------------------------------------------------------------


def _credential(pk: int) -> ApplicationCredential:
    return get_object_or_404(
        ApplicationCredential.objects.select_related("registration"), pk=pk
    )


@privilege(CHANGE)
@require_POST
def credential_use(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Put a generated certificate in use, if Microsoft knows it."""
    row = _credential(pk)
    try:
        proven = tokens.put_in_use(row, actor=request.user, now=timezone.now())
    except RegistrationRefused as refused:
        messages.error(request, str(refused))
    except credentials.CredentialsUnreadable as error:
        messages.error(request, error.sentences())
    else:
        messages.success(
            request,
            "Microsoft accepts the certificate. It is in use."
            if proven
            else "The certificate is in use. Microsoft could not be asked whether it "
            "knows it; the other credential stays in reserve.",
        )
    return see_other(row.registration.get_absolute_url())


@privilege(CHANGE)
@require_POST
def credential_prove(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Ask Microsoft for a token with this credential alone."""
    row = _credential(pk)
    try:
        tenant = tokens.prove(row, now=timezone.now())
    except errors.EntraError as error:
        messages.error(request, error.sentences())
    else:
        if tenant is None:
            messages.warning(
                request,
                "No enabled connection uses this application, so there is no tenant to "
                "ask in. Connect one first.",
            )
        else:
            messages.success(
                request, f"Microsoft accepts the {row} (asked in {tenant.tenant_name})."
            )
    return see_other(row.registration.get_absolute_url())


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def credential_expiry(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Say when a secret expires."""
    row = _credential(pk)
    if row.kind != Kind.SECRET:
        raise Http404
    initial = {"expires_on": row.expires_at.date() if row.expires_at else None}
    form = ExpiryForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        credentials.save_expiry(
            row,
            expires_at=form.expires_at(),
            actor=request.user,
            now=timezone.now(),
        )
        messages.success(request, "The date was saved.")
        return see_other(row.registration.get_absolute_url())
    return render(
        request,
        "directory/credential_expiry.html",
        {
            "row": row,
            "registration": row.registration,
            "form": form,
            "crumbs": _crumbs(row.registration),
        },
        status=422 if form.is_bound else 200,
    )


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def credential_remove(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Erase a credential, having said what is left to the connections."""
    row = _credential(pk)
    found = row.registration
    problem = ""
    if request.method == "POST":
        try:
            credentials.remove(row, actor=request.user, now=timezone.now())
        except RegistrationRefused as refused:
            problem = str(refused)
        else:
            messages.success(request, "The credential was removed.")
            return see_other(found.get_absolute_url())
    return render(
        request,
        "directory/credential_remove.html",
        {
            "row": row,
            "registration": found,
            "connections": connections_of(found),
            "others": [
                other
                for other in shown_credentials(found)
                if other.row.pk != row.pk and other.row.in_use
            ],
            "crumbs": _crumbs(found),
            "problem": problem,
        },
        status=422 if problem else 200,
    )


@privilege(VIEW)
@require_GET
def credential_download(request: ConsoleRequest, pk: int) -> HttpResponse:
    """The public certificate, to upload to the registration. Never the key."""
    row = _credential(pk)
    if not row.certificate_pem:
        raise Http404
    response = HttpResponse(row.certificate_pem, content_type="application/x-pem-file")
    response["Content-Disposition"] = (
        f'attachment; filename="entra-{row.registration.cloud.lower()}-'
        f'{row.fingerprint[:8].lower()}.cer"'
    )
    return response
