"""Sync runs: the list, one run as it goes on, and asking for a read."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from directory import freshness, held_words, tasks
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    SyncRun,
)
from directory.sync import cancel_sync, request_object, request_sync
from directory.views.connections import _frame as connection_frame
from directory.views.run_statistics import end_of, took, work_of
from directory.views.schedule import beside_runs
from jamfidp.access import ConsoleUser, privilege
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page

RUNS_SHOWN = 50
RUNS_ON_TAB = 10
_CHANGES = (
    ("users_added", "Users added"),
    ("users_changed", "Users changed"),
    ("users_deleted", "Users deleted"),
    ("users_restored", "Users restored"),
    ("users_unknown", "Users no longer read"),
    ("groups_added", "Groups added"),
    ("groups_changed", "Groups changed"),
    ("groups_deleted", "Groups deleted"),
    ("groups_restored", "Groups restored"),
    ("groups_unknown", "Groups no longer read"),
    ("memberships_added", "Memberships added"),
    ("memberships_removed", "Memberships removed"),
    ("nesting_added", "Nested groups added"),
    ("nesting_removed", "Nested groups removed"),
    ("held", "Held"),
)


def _runs() -> QuerySet[SyncRun]:
    """The runs of connections that were not deleted."""
    rows = SyncRun.objects.filter(cloud_idp__deleted_at=None)
    return rows.select_related("cloud_idp", "requested_by")


@privilege("directory.view_syncrun")
def sync_run_list(request: ConsoleRequest) -> HttpResponse:
    rows = _runs()
    state = request.GET.get("state", "")
    if state in SyncRun.State.values:
        rows = rows.filter(state=state)
    page = keyset_page(
        rows,
        by=F("created_at"),
        descending=True,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=RUNS_SHOWN,
    )
    return page_or_fragment(
        request,
        page="directory/syncrun_list.html",
        fragments={"syncrun-list": "directory/_syncrun_list.html"},
        context={
            "runs": page.rows,
            "subjects": subjects_of(page.rows, request.user),
            "total": rows.count(),
            "state": state if state in SyncRun.State.values else "",
            "states": SyncRun.State.choices,
            "previous_position": page.previous,
            "next_position": page.next,
            "workers": freshness.workers(timezone.now()),
            "as_of": freshness.as_of(timezone.now()),
        },
    )


@privilege("directory.view_syncrun")
def sync_run_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    """One run. While it goes on the page asks again by itself, and stops at its end."""
    run = get_object_or_404(_runs(), pk=pk)
    now = timezone.now()
    return page_or_fragment(
        request,
        page="directory/syncrun_detail.html",
        fragments={"syncrun-state": "directory/_syncrun_swap.html"},
        context={
            "run": run,
            "subject": subject_of(run),
            "crumbs": [Crumb("Sync runs", reverse("directory:syncrun-list"))],
            "reference": reference(run),
            "privileges_until": freshness.privileges_until(run.cloud_idp),
            "now": now,
            "progress": progress(run, now),
            "changes": changes(run),
            "work": work_of(run),
            "held": held_words.of_connection(run.cloud_idp) if run.dry_run else [],
            "workers": freshness.workers(now),
            "waiting_too_long": run.state == SyncRun.State.QUEUED
            and run.created_at < now - timedelta(seconds=15),
            "may_sync": request.user.has_perm("directory.sync_cloudidentityprovider"),
        },
    )


def reference(run: SyncRun) -> str:
    """Return Microsoft's names for a failure; a failure of the console has none."""
    code = "" if run.error_code.startswith("console:") else run.error_code
    request = f"request {run.request_id}" if run.request_id else ""
    return ", ".join(part for part in (code, request) if part)


def progress(run: SyncRun, now: datetime) -> dict[str, Any]:
    """Return what the progress component shows of a run."""
    end = run.finished_at or now
    seconds = (end - run.started_at).total_seconds() if run.started_at else 0.0
    objects = run.users_read + run.groups_read + run.memberships_read
    reading = run.state == SyncRun.State.READING
    return {
        "phase": run.phase or run.get_state_display(),
        "counts": [
            *(
                [
                    ("Pages", run.pages),
                    ("Users", run.users_read),
                    ("Groups", run.groups_read),
                    ("Memberships", run.memberships_read),
                ]
                if run.is_read
                else []
            ),
            ("Requests", run.requests),
        ],
        "rate": f"{objects / seconds:,.0f} a second"
        if reading and seconds >= 1 and objects
        else "",
        "elapsed": took(seconds) if run.started_at else "",
        **end_of(run, now=now),
    }


def changes(run: SyncRun) -> list[tuple[str, int]]:
    """Return what a run changed, in words, without the noughts."""
    return [
        (label, run.changes[key]) for key, label in _CHANGES if run.changes.get(key)
    ]


@privilege("directory.view_syncrun")
def cloud_idp_sync(request: ConsoleRequest, pk: int) -> HttpResponse:
    """The Sync tab of a connection: state, what can be asked for, the last runs."""
    cloud_idp = get_object_or_404(
        CloudIdentityProvider.objects.select_related("mappings"), pk=pk
    )
    now = timezone.now()
    runs = list(
        SyncRun.objects.filter(cloud_idp=cloud_idp).select_related("requested_by")[
            :RUNS_ON_TAB
        ]
    )
    active = next((run for run in runs if run.is_active and run.is_read), None)
    return page_or_fragment(
        request,
        page="directory/cloud_idp_sync.html",
        fragments={"cloud-idp-sync": "directory/_sync.html"},
        context={
            **connection_frame(request, cloud_idp, "Sync"),
            "runs": runs,
            "subjects": subjects_of(runs, request.user),
            "active": active,
            "progress": progress(active, now) if active else None,
            "workers": freshness.workers(now),
            "may_sync": request.user.has_perm("directory.sync_cloudidentityprovider"),
            **({} if request.htmx.target else beside_runs(request, cloud_idp)),
        },
    )


@privilege("directory.sync_cloudidentityprovider")
@require_POST
def request_run(request: ConsoleRequest, pk: int) -> HttpResponse:
    """'Sync now', 'Full read now' and 'Dry run': make a run, or show the active one."""
    cloud_idp = get_object_or_404(CloudIdentityProvider, pk=pk)
    if not cloud_idp.enabled:
        messages.error(
            request,
            f"{cloud_idp} is disabled, so it is not read. Enable it first.",
        )
        return redirect(cloud_idp)
    kind = request.POST.get("kind")
    full, dry_run = kind == "full", kind == "dry-run"
    now = timezone.now()
    run = request_sync(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.FULL if full or dry_run else SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.PERSON,
        actor=request.user,
        now=now,
        dry_run=dry_run,
    )
    transaction.on_commit(lambda: tasks.announce(run, now=now))
    if run.dry_run != dry_run:
        messages.info(
            request,
            "A dry run is under way. Ask again when it has ended, or cancel it."
            if run.dry_run
            else "A read is under way, and it is no dry run. Ask again when it has "
            "ended.",
        )
    elif full and run.kind != SyncRun.Kind.FULL:
        messages.info(
            request,
            "A read of changes is under way. Ask for the full read when it has ended.",
        )
    return redirect(run)


@privilege("directory.view_directoryuser", "directory.sync_cloudidentityprovider")
@require_POST
def sync_user(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _sync_one(request, get_object_or_404(DirectoryUser, pk=pk))


@privilege("directory.view_directorygroup", "directory.sync_cloudidentityprovider")
@require_POST
def sync_group(request: ConsoleRequest, pk: int) -> HttpResponse:
    return _sync_one(request, get_object_or_404(DirectoryGroup, pk=pk))


def _sync_one(
    request: ConsoleRequest, target: DirectoryUser | DirectoryGroup
) -> HttpResponse:
    """'Sync now' of one person or group; its steps are on the run's page."""
    if not target.cloud_idp.enabled:
        messages.error(
            request,
            f"{target.cloud_idp} is disabled, so Microsoft is not asked. Enable it "
            "first.",
        )
        return redirect(target)
    now = timezone.now()
    run = request_object(
        target=target, trigger=SyncRun.Trigger.PERSON, actor=request.user, now=now
    )
    transaction.on_commit(lambda: tasks.announce(run, now=now))
    return redirect(run)


def may_sync(viewer: ConsoleUser, cloud_idp: CloudIdentityProvider) -> bool:
    return cloud_idp.enabled and viewer.has_perm("directory.sync_cloudidentityprovider")


def subject_of(run: SyncRun) -> DirectoryUser | DirectoryGroup | None:
    """The person or group that a read of one object is about, if it is still known."""
    if run.is_read:
        return None
    number = run.object_number or 0
    return (
        DirectoryUser.objects.filter(pk=number).first()
        or DirectoryGroup.objects.filter(pk=number).first()
    )


def subjects_of(
    runs: Sequence[SyncRun], viewer: ConsoleUser
) -> dict[int, DirectoryUser | DirectoryGroup]:
    """The people and groups that runs are about, by number, as the viewer may see."""
    numbers = {each.object_number for each in runs if each.object_number is not None}
    found: dict[int, DirectoryUser | DirectoryGroup] = {}
    if numbers and viewer.has_perm("directory.view_directoryuser"):
        found |= DirectoryUser.objects.in_bulk(list(numbers))
    if numbers - found.keys() and viewer.has_perm("directory.view_directorygroup"):
        found |= DirectoryGroup.objects.in_bulk(list(numbers - found.keys()))
    return found


@privilege("directory.sync_cloudidentityprovider")
@require_POST
def cancel_run(request: ConsoleRequest, pk: int) -> HttpResponse:
    run = get_object_or_404(_runs(), pk=pk)
    if not cancel_sync(run=run, actor=request.user, now=timezone.now()):
        messages.info(request, "The run had ended before it could be canceled.")
    return redirect(run)
