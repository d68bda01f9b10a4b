"""Settings > Cloud identity providers: the list, and the page of a connection."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory import (
    checking,
    clouds,
    connections,
    credentials,
    deletion,
    freshness,
    permission_use,
    permissions,
    registrations,
    tasks,
)
from directory.credentials import State
from directory.entra import errors
from directory.forms import OptionsForm
from directory.models import (
    ApplicationCredential,
    ApplicationRegistration,
    CloudIdentityProvider,
    DirectoryUser,
    SyncRun,
)
from directory.permissions import PERMISSIONS
from directory.status_table import meaning_of, shown_status, word_of
from directory.views.connection_status import check_of, sentence_of, status_shown
from directory.views.saving import see_other
from directory.views.sent_requests import checks_of, pending
from jamfidp.access import ConsoleUser, privilege
from jamfidp.components import Check, Crumb, Entry, Tab
from jamfidp.history.record import entries_for
from jamfidp.htmx import ConsoleRequest

VIEW = "directory.view_cloudidentityprovider"
CHANGE = "directory.change_cloudidentityprovider"
DELETE = "directory.delete_cloudidentityprovider"
HISTORY_SHOWN = 200
# Reads of changes come every few minutes; this late, something is wrong.
READ_LATE = timedelta(hours=1)
READ_TOO_LATE = timedelta(hours=24)

Status = CloudIdentityProvider.Status


def cloud_name(key: str) -> str:
    try:
        return clouds.cloud(key).name
    except clouds.CloudUnavailable:
        return f"{key} (not available in this console)"


def _connection(pk: int) -> CloudIdentityProvider:
    found = (
        CloudIdentityProvider.objects.select_related(
            "mappings", "connected_by", "own_registration"
        )
        .filter(pk=pk)
        .first()
    )
    if found is None:
        raise Http404
    return found


def consequences(
    cloud_idp: CloudIdentityProvider, viewer: ConsoleUser
) -> dict[str, Any]:
    """What depends on a connection: its people and groups, and what names them."""
    return {
        "people": cloud_idp.users.count(),
        "groups": cloud_idp.groups.count(),
        "uses": connections.uses(cloud_idp, viewer=viewer),
        "uses_are_all": connections.shows_all_uses(viewer),
    }


def state_of(cloud_idp: CloudIdentityProvider) -> str:
    """The look of a connection's status."""
    return meaning_of(cloud_idp).look


@privilege(VIEW)
@require_GET
def cloud_idp_list(request: ConsoleRequest) -> HttpResponse:
    rows = CloudIdentityProvider.objects.order_by("display_name", "pk")
    people = dict(
        DirectoryUser.objects.present()
        .values_list("cloud_idp")
        .annotate(count=Count("pk"))
    )
    return render(
        request,
        "directory/cloud_idp_list.html",
        {
            "rows": [
                (
                    row,
                    state_of(row),
                    word_of(row),
                    cloud_name(row.cloud),
                    people.get(row.pk, 0),
                )
                for row in rows
            ],
            "deleted": [(row, cloud_name(row.cloud)) for row in deletion.deleted()],
            "requests": [(*each, cloud_name(each[0].cloud)) for each in pending()],
            "may_add": request.user.has_perm("directory.add_cloudidentityprovider"),
            "has_application": ApplicationRegistration.objects.exists(),
        },
    )


# --- The frame of the page: status sentence, checks, tabs --------------------------


def deleted_page(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    *,
    error: str = "",
) -> HttpResponse:
    """A deleted connection until it is erased: when that is, and what it means."""
    now = timezone.now()
    return render(
        request,
        "directory/cloud_idp_deleted.html",
        {
            "cloud_idp": cloud_idp,
            "crumbs": [
                Crumb("Cloud identity providers", reverse("directory:cloud-idp-list"))
            ],
            "cloud_name": cloud_name(cloud_idp.cloud),
            "erasing": deletion.is_due(cloud_idp, now=now),
            "workers": freshness.workers(now),
            "entries": history_of(cloud_idp)
            if request.user.has_perm("history.view_objecthistory")
            else None,
            "may_delete": request.user.has_perm(DELETE),
            "may_add": request.user.has_perm("directory.add_cloudidentityprovider"),
            "error": error,
            **consequences(cloud_idp, request.user),
        },
        status=422 if error else 200,
    )


def _frame(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider, current: str
) -> dict[str, Any]:
    now = timezone.now()
    return {
        "cloud_idp": cloud_idp,
        "crumbs": [
            Crumb("Cloud identity providers", reverse("directory:cloud-idp-list"))
        ],
        "state": state_of(cloud_idp),
        "word": word_of(cloud_idp),
        "sentence": sentence_of(cloud_idp, now),
        "shown": status_shown(cloud_idp, viewer=request.user, now=now),
        "checks": [*_checks(cloud_idp), *checks_of(cloud_idp)],
        "tabs": _tabs(cloud_idp, current),
        "may_change": request.user.has_perm(CHANGE),
        "may_delete": request.user.has_perm(DELETE),
        # Its own status says the same, with more.
        "key_lost": shown_status(cloud_idp) != Status.KEY_UNAVAILABLE
        and not _readable(cloud_idp),
    }


def _readable(cloud_idp: CloudIdentityProvider) -> bool:
    try:
        return credentials.readable(registrations.registration_of(cloud_idp))
    except registrations.NoRegistration:
        return True


def _checks(cloud_idp: CloudIdentityProvider) -> Sequence[Check]:
    return [
        check_of(cloud_idp),
        _credential_check(cloud_idp),
        _permission_check(cloud_idp),
        _read_check(cloud_idp),
        _worker_check(),
    ]


def _credential_check(cloud_idp: CloudIdentityProvider) -> Check:
    label = "Credentials"
    now = timezone.now()
    try:
        found = registrations.registration_of(cloud_idp)
    except registrations.NoRegistration:
        return Check(
            label,
            "bad",
            "The application registration of this cloud was removed.",
            reverse("directory:application-registration-cloud", args=[cloud_idp.cloud]),
        )
    url = found.get_absolute_url()
    try:
        credentials.require_one(found)
    except errors.InvalidCredential as error:
        return Check(label, "bad", error.message, url)
    states = [
        (row, credentials.state_of(row, now=now))
        for row in credentials.in_order(found.credentials.all(), now=now)
    ]
    row, state = next(
        (each for each in states if each[1] in credentials.USABLE), states[0]
    )
    kind = row.get_kind_display()
    expired = cloud_idp.status == Status.CREDENTIALS_EXPIRED
    if expired and row.expires_at is None:
        return Check(label, "bad", f"{kind} has expired, Microsoft says.", url)
    if not expired and (
        cloud_idp.status == Status.CREDENTIALS or state is State.REFUSED
    ):
        return Check(label, "bad", f"{kind} refused by Microsoft.", url)
    if any(each is State.REFUSED for _, each in states):
        return Check(
            label,
            "attention",
            f"{kind} in use; Microsoft refuses the other credential.",
            url,
        )
    if state is State.EXPIRED and row.expires_at is not None:
        return Check(label, "bad", f"{kind} expired on {_day(row.expires_at)}.", url)
    if row.kind == ApplicationCredential.Kind.ASSERTION:
        return Check(label, "good", f"{kind} in use; the platform renews it.", url)
    if row.expires_at is None:
        return Check(label, "good", f"{kind} in use; its expiry was not entered.", url)
    text = f"{kind} valid until {_day(row.expires_at)}."
    if state is State.EXPIRES_SOON:
        return Check(label, "attention", f"{text} Add another one before that.", url)
    return Check(label, "good", text, url)


def _day(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%-d %B %Y}"


_CONSENT_LOST: Mapping[str, str] = {
    Status.CONSENT_WITHDRAWN: "Consent was withdrawn in Entra.",
    Status.PENDING_CONSENT: "Consent to the present application is pending.",
    Status.APPLICATION_REMOVED: "The application is not in the tenant.",
}


def _permission_check(cloud_idp: CloudIdentityProvider) -> Check:
    url = reverse("directory:cloud-idp-permissions", args=[cloud_idp.pk])
    probed = {
        entry["permission"]: entry["granted"] for entry in cloud_idp.permissions_probed
    }
    missing = [each.name for each in PERMISSIONS if not probed.get(each.name)]
    lost = _CONSENT_LOST.get(cloud_idp.status)
    if lost is not None:
        return Check("Permissions", "bad", lost, url)
    if missing:
        return Check("Permissions", "bad", f"Missing: {', '.join(missing)}.", url)
    if cloud_idp.status == Status.PERMISSIONS_MISSING:
        return Check("Permissions", "bad", "Microsoft Graph refused a read.", url)
    return Check("Permissions", "good", "All three granted and tried.", url)


def _read_check(cloud_idp: CloudIdentityProvider) -> Check:
    at = cloud_idp.last_good_read_at
    if not cloud_idp.enabled:
        return Check("Directory", "unknown", "Not read while disabled.", as_of=at)
    if at is None:
        return Check("Directory", "unknown", "Not read yet.")
    age = timezone.now() - at
    if age > READ_TOO_LATE:
        return Check("Directory", "bad", "Last good read", as_of=at)
    if age > READ_LATE:
        return Check("Directory", "attention", "Last good read", as_of=at)
    return Check("Directory", "good", "Last good read", as_of=at)


def _worker_check() -> Check:
    workers = freshness.workers(timezone.now())
    if workers.running:
        return Check("Worker", "good", "Running, heard", as_of=workers.last_heard_at)
    return Check(
        "Worker",
        "bad",
        "No worker is running; reads wait until one starts.",
        as_of=workers.last_heard_at,
    )


def _tabs(cloud_idp: CloudIdentityProvider, current: str) -> Sequence[Tab]:
    names = (
        ("Overview", "directory:cloud-idp-detail"),
        ("Mappings", "directory:cloud-idp-mappings"),
        ("Filters", "directory:cloud-idp-filters"),
        ("Test", "directory:cloud-idp-test"),
        ("Sync", "directory:cloud-idp-sync"),
        ("Permissions", "directory:cloud-idp-permissions"),
        ("History", "directory:cloud-idp-history"),
    )
    tabs = []
    for label, name in names:
        try:
            url = reverse(name, args=[cloud_idp.pk])
        except NoReverseMatch:
            continue
        tabs.append(Tab(label, url, current=label == current))
    return tabs


# --- Tabs --------------------------------------------------------------------------


@privilege(VIEW)
@require_GET
def cloud_idp_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    gone = deletion.deleted_connection(pk)
    if gone is not None:
        return deleted_page(request, gone)
    cloud_idp = _connection(pk)
    reads = SyncRun.objects.reads().filter(cloud_idp=cloud_idp, dry_run=False)
    latest = reads.first()
    return render(
        request,
        "directory/cloud_idp_detail.html",
        {
            **_frame(request, cloud_idp, "Overview"),
            "cloud_name": cloud_name(cloud_idp.cloud),
            "latest_run": latest,
            "people": cloud_idp.users.filter(state=DirectoryUser.State.PRESENT).count(),
            "groups": cloud_idp.groups.filter(
                state=DirectoryUser.State.PRESENT
            ).count(),
            "tls": cloud_idp.tls.all(),
            "uses": connections.uses(cloud_idp, viewer=request.user),
            "registration": cloud_idp.own_registration
            or registrations.find_registration(cloud_idp.cloud),
            "unused": registrations.unused(cloud_idp.cloud),
            "may_register": request.user.has_perm(CHANGE)
            and request.user.has_perm("directory.change_applicationregistration"),
        },
    )


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def cloud_idp_edit(request: ConsoleRequest, pk: int) -> HttpResponse:
    cloud_idp = _connection(pk)
    form = OptionsForm(request.POST or None, instance=_connection(pk))
    if request.method == "POST" and form.is_valid():
        changes = connections.save_options(
            form.save(commit=False), actor=request.user, now=timezone.now()
        )
        messages.success(
            request, "The options were saved." if changes else "Nothing was changed."
        )
        return see_other(cloud_idp.get_absolute_url())
    return render(
        request,
        "directory/cloud_idp_edit.html",
        {**_frame(request, cloud_idp, "Overview"), "form": form},
        status=422 if form.is_bound else 200,
    )


@privilege(VIEW)
@require_GET
def cloud_idp_permissions(request: ConsoleRequest, pk: int) -> HttpResponse:
    cloud_idp = _connection(pk)
    return render(
        request,
        "directory/cloud_idp_permissions.html",
        {
            **_frame(request, cloud_idp, "Permissions"),
            **seen_permissions(cloud_idp, now=timezone.now()),
        },
    )


def seen_permissions(
    cloud_idp: CloudIdentityProvider, *, now: datetime
) -> dict[str, Any]:
    """What the Permissions tab says: granted, needed, used, missing, and too much."""
    seen = permissions.seen_through(
        probes={each["permission"]: each for each in cloud_idp.permissions_probed},
        roles=cloud_idp.roles_granted,
        counts=permission_use.counts(cloud_idp, now=now),
    )
    try:
        found = registrations.registration_of(cloud_idp)
        portal = clouds.cloud(cloud_idp.cloud).portal_root
    except (registrations.NoRegistration, clouds.CloudUnavailable):
        found, portal = None, ""
    return {
        "permissions": seen,
        "missing": [each for each in seen if each.missing],
        "not_needed": permissions.not_needed(cloud_idp.roles_granted),
        "registration": found,
        "portal": portal,
        "days": permission_use.LOOKED_BACK.days,
    }


@privilege(VIEW, "history.view_objecthistory")
@require_GET
def cloud_idp_history(request: ConsoleRequest, pk: int) -> HttpResponse:
    cloud_idp = _connection(pk)
    return render(
        request,
        "directory/cloud_idp_history.html",
        {
            **_frame(request, cloud_idp, "History"),
            "entries": history_of(cloud_idp),
        },
    )


def history_of(obj: Any) -> list[Entry]:
    """The newest entries of an object, as the component shows them."""
    return [
        Entry(
            at=entry.at,
            actor=entry.actor_name,
            note=entry.note,
            changes=[
                (name.replace("_", " ").capitalize(), _shown(pair[0]), _shown(pair[1]))
                for name, pair in entry.details.items()
                if isinstance(pair, list) and len(pair) == 2 and pair[0] != pair[1]
            ],
        )
        for entry in entries_for(obj)[:HISTORY_SHOWN]
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return "" if value is None else str(value)


# --- Actions -----------------------------------------------------------------------


@privilege(CHANGE)
@require_POST
def cloud_idp_check(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Try the connection now; the outcome becomes its status."""
    cloud_idp = _connection(pk)
    try:
        works = checking.check(cloud_idp, now=timezone.now())
    except checking.Disabled:
        messages.error(request, "The connection is disabled: Microsoft was not asked.")
    except checking.AskedToWait as asked:
        messages.warning(
            request,
            "Microsoft was not asked: it asked the console to wait until "
            f"{timezone.localtime(asked.until):%H:%M}. The connection is checked by "
            "itself then.",
        )
    else:
        if works:
            messages.success(
                request, "The connection works: each permission was tried."
            )
        else:
            # The page says the rest.
            messages.error(request, f"Checked: {word_of(cloud_idp)}.")
    return see_other(cloud_idp.get_absolute_url())


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def cloud_idp_disable(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Say what depends on it, then switch the connection off."""
    cloud_idp = _connection(pk)
    if request.method == "POST":
        connections.set_enabled(
            cloud_idp, enabled=False, actor=request.user, now=timezone.now()
        )
        return see_other(cloud_idp.get_absolute_url())
    return render(
        request,
        "directory/cloud_idp_disable.html",
        {
            **_frame(request, cloud_idp, "Overview"),
            **consequences(cloud_idp, request.user),
        },
    )


@privilege(CHANGE)
@require_http_methods(["GET", "POST"])
def cloud_idp_enable(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Say what counts again, then switch the connection on."""
    cloud_idp = _connection(pk)
    if request.method == "GET":
        return render(
            request,
            "directory/cloud_idp_enable.html",
            {
                **_frame(request, cloud_idp, "Overview"),
                **consequences(cloud_idp, request.user),
            },
        )
    run = connections.set_enabled(
        cloud_idp, enabled=True, actor=request.user, now=timezone.now()
    )
    if run is not None:
        transaction.on_commit(lambda: tasks.announce(run, now=timezone.now()))
    return see_other(cloud_idp.get_absolute_url())


@privilege(DELETE)
@require_http_methods(["GET", "POST"])
def cloud_idp_delete(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Say what depends on it and what is kept how long, then delete the connection."""
    cloud_idp = _connection(pk)
    at_once = request.POST.get("erase") == "now"
    error = ""
    if request.method == "POST":
        try:
            deletion.delete(
                cloud_idp,
                typed_name=request.POST.get("confirm", ""),
                at_once=at_once,
                actor=request.user,
                now=timezone.now(),
            )
        except deletion.NameNotTyped:
            error = (
                "This is not the display name of the connection. Nothing was deleted."
            )
        except CloudIdentityProvider.DoesNotExist:
            raise Http404 from None
        else:
            messages.success(
                request,
                f"The connection '{cloud_idp.display_name}' was deleted. Consent still "
                "stands in Entra; remove the enterprise application there to withdraw "
                "it.",
            )
            return see_other(cloud_idp.get_absolute_url())
    return render(
        request,
        "directory/cloud_idp_delete.html",
        {
            **_frame(request, cloud_idp, "Overview"),
            **consequences(cloud_idp, request.user),
            "days": deletion.kept().days,
            "at_once": at_once,
            "error": error,
        },
        status=422 if error else 200,
    )


@privilege(DELETE)
@require_POST
def cloud_idp_erase(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Erase what was read through a deleted connection without waiting for its day."""
    cloud_idp = deletion.deleted_connection(pk)
    if cloud_idp is None:
        raise Http404
    try:
        deletion.erase_now(
            cloud_idp,
            typed_name=request.POST.get("confirm", ""),
            actor=request.user,
            now=timezone.now(),
        )
    except deletion.NameNotTyped:
        return deleted_page(
            request,
            cloud_idp,
            error="This is not the display name of the connection. Nothing was erased.",
        )
    except CloudIdentityProvider.DoesNotExist:
        raise Http404 from None
    return see_other(cloud_idp.get_absolute_url())
