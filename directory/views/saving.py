"""Save a verified tenant: the forms, and what stands in the way."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.utils import timezone

from directory import connect, tasks
from directory.attributes import defaults
from directory.forms import ConnectionForm, MappingsForm
from directory.models import AttributeMappings, CloudIdentityProvider, SyncRun
from jamfidp.htmx import ConsoleRequest

OVER = (
    "This attempt is over: it was saved by somebody else or in another tab, revoked, or "
    "verified too long ago. Start again."
)


def see_other(address: str) -> HttpResponse:
    """Redirect with GET, whatever the method of the request was."""
    return HttpResponse(status=303, headers={"Location": address})


def save_new(
    request: ConsoleRequest,
    verified: Mapping[str, Any],
    save: Callable[..., SyncRun],
) -> HttpResponse | dict[str, Any]:
    """Return the way to the saved connection, or what its page shows until then.

    `save` takes cloud_idp, mappings and now, and raises what connect.save does.
    """
    name = verified["tenant_name"] or verified["tenant_id"]
    sent = request.POST if request.method == "POST" else None
    earlier = connect.deleted_connections(
        verified["tenant_id"], now=timezone.now()
    ).first()
    connection = CloudIdentityProvider(display_name=name)
    mapped = AttributeMappings(**defaults())
    if earlier is not None:
        for field in ConnectionForm.Meta.fields:
            setattr(connection, field, getattr(earlier, field))
        for field in MappingsForm.Meta.fields:
            setattr(mapped, field, getattr(earlier.mappings, field))
    form = ConnectionForm(sent, instance=connection)
    mappings = MappingsForm(sent, instance=mapped)
    problem, existing = "", None
    if sent is not None:
        valid = form.is_valid()
        if mappings.is_valid() and valid:
            try:
                run = save(
                    cloud_idp=form.save(commit=False),
                    mappings=mappings.save(commit=False),
                    now=timezone.now(),
                )
            except connect.AlreadyConnected as already:
                problem, existing = already.sentences(), already.cloud_idp
            except connect.RegistrationInUse as taken:
                problem = taken.sentences()
            except connect.AttemptOver:
                problem = OVER
            else:
                transaction.on_commit(lambda: tasks.announce(run, now=timezone.now()))
                return see_other(run.cloud_idp.get_absolute_url())
    return {
        "verified": verified,
        "form": form,
        "mappings": mappings,
        "problem": problem,
        "existing": existing,
        "earlier": earlier,
    }


def save_renewed(
    request: ConsoleRequest, save: Callable[..., CloudIdentityProvider]
) -> HttpResponse | str:
    """Return the way to the connection, or why consent was not saved ("": not asked).

    `save` takes now, and raises what connect.save_renewed does.
    """
    if request.method != "POST":
        return ""
    try:
        cloud_idp = save(now=timezone.now())
    except connect.RegistrationInUse as taken:
        return taken.sentences()
    except connect.AttemptOver:
        return OVER
    return see_other(cloud_idp.get_absolute_url())
