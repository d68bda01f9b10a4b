"""Hints to look at rows. Nothing here is lost or doubled when a message is.

`people` is the queue that somebody waits for: reads of a directory. `background`
holds ticks alone, which take milliseconds, so that a worker with two slots always
has one for `people` soon.
"""

import logging
import socket
import time
from datetime import datetime, timedelta
from typing import Any

from celery import shared_task
from celery.signals import worker_init
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from kombu.exceptions import KombuError

from directory import (
    checking,
    connect,
    decisions,
    deletion,
    expiry,
    mapping_drafts,
    permission_use,
    preconditions,
    public_address,
    schedules,
    schema,
    sent_requests,
)
from directory.models import (
    CloudIdentityProvider,
    MappingDraft,
    SyncRun,
    WorkerHeartbeat,
)
from directory.sync import request_sync, retention
from directory.sync.erase import tidy_search
from directory.sync.run import work
from jamfidp.durability import may_be_lost

# So long the hourly task rewrites the index for searching at most.
TIDY_SECONDS = 20.0

logger = logging.getLogger(__name__)

# A run that nobody took after this time is announced again.
ANNOUNCED_AGAIN_AFTER = timedelta(seconds=30)


@worker_init.connect
def remember_version(**_named: Any) -> None:
    """Before the worker forks: its processes are all of the version it started with."""
    schema.known()


@shared_task(name="directory.tasks.run_sync")
def run_sync(run_id: int) -> None:
    """Work on one run, if nobody else does."""
    if not at_work():
        return
    work(run_id, heard=heard)
    run = SyncRun.objects.select_related("cloud_idp").filter(pk=run_id).first()
    if run is not None and not run.is_active:
        decisions.tell_if_nobody_may_approve(run.cloud_idp, now=timezone.now())


@shared_task(name="directory.tasks.work_out_mappings")
def work_out_mappings(draft_id: int) -> None:
    """Work out what other mappings would do, if nobody else does."""
    if not at_work():
        return
    mapping_drafts.work(draft_id, heard=heard)


@shared_task(name="directory.tasks.tick")
def tick() -> None:
    """Look at the rows: what is due, abandoned, waiting or left over."""
    now = timezone.now()
    if not at_work():
        return
    give_up_silent_runs(now=now)
    request_due(now=now)
    check_due(now=now)
    announce_waiting(now=now)
    mapping_drafts.give_up_silent(now=now)
    announce_drafts(now=now)
    expiry.announce_expiries(now=now)
    look_if_due(now=now)
    erase_due(now=now)
    clear_leftovers(now=now)


@shared_task(name="directory.tasks.clear_past")
def clear_past() -> None:
    """Let go of what was kept long enough: hourly, since nothing waits for it."""
    if not at_work():
        return
    now = timezone.now()
    retention.clear_past(now=now)
    permission_use.clear(now=now)
    retention.clear_runs(now=now)
    retention.clear_plans(now=now)
    for cloud_idp in CloudIdentityProvider.objects.all():
        retention.let_go(cloud_idp, now=now)
    # Names that were erased or are no longer mapped leave the index last.
    ends_at = time.monotonic() + TIDY_SECONDS
    tidy_search(lambda: time.monotonic() < ends_at)


def at_work() -> bool:
    """Say that this worker is alive, unless the database is of another version.

    Pages then say that no worker runs, until one of that version does.
    """
    if not schema.fits():
        logger.warning("This worker is of another version than the database: end it")
        return False
    heard()
    return True


def heard() -> None:
    """Say that this worker is alive."""
    WorkerHeartbeat.objects.update_or_create(
        name=socket.gethostname(), defaults={"at": timezone.now()}
    )


@shared_task(name="directory.tasks.check_hosts")
def check_hosts(cloud_key: str) -> None:
    """Say whether this worker reaches Microsoft's hosts; the wizard asks for it."""
    heard()
    preconditions.record_hosts(
        worker=socket.gethostname(), cloud_key=cloud_key, now=timezone.now()
    )


@shared_task(name="directory.tasks.look_at_public_address")
def look_at_public_address() -> None:
    """Look at the console's own address from this worker."""
    heard()
    public_address.look_and_keep(by=socket.gethostname(), now=timezone.now())


@shared_task(name="directory.tasks.check_connection")
def check_connection(cloud_idp_id: int) -> None:
    """Try a connection with a token issued for it."""
    heard()
    cloud_idp = CloudIdentityProvider.objects.filter(pk=cloud_idp_id).first()
    if cloud_idp is None:
        return
    try:
        checking.check_by_itself(cloud_idp, now=timezone.now())
    except (checking.Disabled, checking.AskedToWait):
        # Since the tick that found it due.
        return


def check_due(*, now: datetime) -> None:
    """Have a worker check the connections whose time has come."""
    for cloud_idp in checking.due(now=now):
        if not checking.claim(cloud_idp, now=now):
            continue
        try:
            check_connection.apply_async(args=(cloud_idp.pk,))
        except (KombuError, OSError):
            logger.warning(
                "No worker could be told to check connection %s", cloud_idp.pk
            )


def look_if_due(*, now: datetime) -> None:
    """Have a worker look at the console's own address once a day."""
    if not public_address.claim_due(now=now):
        return
    try:
        look_at_public_address.apply_async()
    except (KombuError, OSError):
        logger.warning("No worker could be asked to look at the console's address")


@shared_task(name="directory.tasks.erase_deleted")
def erase_deleted(pk: int) -> None:
    """Erase what was read through a deleted connection, for a while."""
    if not at_work():
        return
    deletion.erase(pk, now=timezone.now, heard=heard)


def erase_due(*, now: datetime) -> None:
    """Have a worker erase each deleted connection whose day has come."""
    for pk in deletion.claim_due(now=now):
        try:
            erase_deleted.apply_async(args=(pk,))
        except (KombuError, OSError):
            logger.warning("No worker could be asked to erase connection %s", pk)


def ask_hosts(cloud_key: str) -> None:
    """Have a worker try the hosts of a cloud; it answers in its heartbeat's row."""
    try:
        check_hosts.apply_async(args=(cloud_key,))
    except (KombuError, OSError):
        logger.warning("No worker could be asked whether it reaches %s", cloud_key)


def announce(run: SyncRun, *, now: datetime) -> None:
    """Tell the workers of a run that waits, at most once in half a minute.

    A broker that cannot be reached is not an error: the row stays, and the tick of a
    worker finds it.
    """
    # While a run waits nobody works on it: its heartbeat is when it was announced.
    due = SyncRun.objects.filter(pk=run.pk, state=SyncRun.State.QUEUED).filter(
        Q(heartbeat_at=None) | Q(heartbeat_at__lt=now - ANNOUNCED_AGAIN_AFTER)
    )
    if not due.update(heartbeat_at=now):
        return
    try:
        run_sync.apply_async(args=(run.pk,))
    except (KombuError, OSError):
        logger.warning("Sync run %s could not be announced to the workers", run.pk)


def announce_drafts(*, now: datetime) -> None:
    """Tell the workers of mappings whose effect is asked for; see `announce`."""
    waiting = MappingDraft.objects.filter(state=MappingDraft.State.WAITING)
    for draft in waiting:
        announce_draft(draft, now=now)


def announce_draft(draft: MappingDraft, *, now: datetime) -> None:
    due = MappingDraft.objects.filter(
        pk=draft.pk, state=MappingDraft.State.WAITING
    ).filter(Q(heartbeat_at=None) | Q(heartbeat_at__lt=now - ANNOUNCED_AGAIN_AFTER))
    if not due.update(heartbeat_at=now):
        return
    try:
        work_out_mappings.apply_async(args=(draft.pk,))
    except (KombuError, OSError):
        logger.warning("Mapping draft %s could not be announced", draft.pk)


def give_up_silent_runs(*, now: datetime) -> None:
    """Put runs whose worker fell silent back into the queue, or end canceled ones.

    The new token shuts the silent worker out, should it come back.
    """
    silent = SyncRun.objects.filter(
        state__in=[SyncRun.State.READING, SyncRun.State.APPLYING],
        lease_expires_at__lt=now,
    )
    silent.filter(cancel_requested=True).update(
        state=SyncRun.State.CANCELED,
        phase="",
        finished_at=now,
        lease_expires_at=None,
        fencing_token=F("fencing_token") + 1,
    )
    silent.filter(cancel_requested=False).update(
        state=SyncRun.State.QUEUED,
        phase="The worker fell silent; another one goes on where it stopped",
        heartbeat_at=None,
        lease_expires_at=None,
        fencing_token=F("fencing_token") + 1,
    )


def request_due(*, now: datetime) -> None:
    """Request a read for each enabled connection whose time has come.

    Of changes; of everything the first time, and at its hour every day.
    """
    due = (
        CloudIdentityProvider.objects.filter(enabled=True)
        .filter(Q(next_sync_at=None) | Q(next_sync_at__lte=now))
        .filter(Q(asked_to_wait_until=None) | Q(asked_to_wait_until__lte=now))
        .exclude(pk__in=SyncRun.objects.active().reads().values("cloud_idp"))
    )
    for cloud_idp in due:
        first = not cloud_idp.completely_read
        full = schedules.is_full_read_due(cloud_idp, now=now)
        # Both are lost or neither, and what is lost is due with the next tick.
        with transaction.atomic() if first else may_be_lost():
            # Due again later even if this request comes to nothing.
            CloudIdentityProvider.objects.filter(pk=cloud_idp.pk).update(
                next_sync_at=now + schedules.delta_every(cloud_idp)
            )
            request_sync(
                cloud_idp=cloud_idp,
                kind=SyncRun.Kind.FULL if full else SyncRun.Kind.DELTA,
                trigger=SyncRun.Trigger.CONNECTED
                if first
                else SyncRun.Trigger.SCHEDULE,
                actor=None,
                now=now,
            )


def announce_waiting(*, now: datetime) -> None:
    for run in SyncRun.objects.filter(state=SyncRun.State.QUEUED).order_by(
        "created_at"
    ):
        announce(run, now=now)


def clear_leftovers(*, now: datetime) -> None:
    """Delete pages that nobody will apply, and attempts to connect."""
    retention.clear_pages(now=now)
    connect.forget_old_attempts(now=now)
    sent_requests.forget_old(now=now)
    mapping_drafts.forget_old(now=now)
