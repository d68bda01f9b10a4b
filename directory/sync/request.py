"""Asking for a read: one active run per connection, whoever asks."""

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    StagedPage,
    SyncRun,
)
from jamfidp.compiled import Compiled, told_of_new
from jamfidp.durability import key_that_may_be_lost
from jamfidp.history import record


def request_sync(
    *,
    cloud_idp: CloudIdentityProvider,
    kind: SyncRun.Kind,
    trigger: SyncRun.Trigger,
    actor: Any | None,
    now: datetime,
    dry_run: bool = False,
) -> SyncRun:
    """Return the connection's active run, making one when there is none.

    A dry run reads and plans like any other and applies nothing. Whether the run that
    is returned is one, the caller has to look.

    The row alone is the request: a worker finds it with its next tick. Whoever wants
    it sooner sends `directory.tasks.run_sync` after the commit.
    """
    active = _active(cloud_idp)
    if active is not None:
        return _widened(active, kind)
    run = SyncRun(
        cloud_idp=cloud_idp,
        kind=kind,
        trigger=trigger,
        requested_by=actor,
        created_at=now,
        dry_run=dry_run,
    )
    try:
        if trigger == SyncRun.Trigger.SCHEDULE and actor is None:
            # Asked for again with the next tick, if it is lost.
            run.pk = key_that_may_be_lost(*told_of_new(run))
            run._state.adding = False
            return run
        with transaction.atomic():
            run.save(force_insert=True)
            if actor is not None:
                record.record(
                    obj=cloud_idp,
                    actor=actor,
                    note=f"{run.what} requested",
                    action="sync",
                    details={"sync_run": run.pk},
                    now=now,
                )
    except IntegrityError:
        # Somebody asked at the same moment; the constraint let one of us through.
        active = _active(cloud_idp)
        if active is None:
            raise
        return _widened(active, kind)
    return run


def cancel_sync(*, run: SyncRun, actor: Any, now: datetime) -> bool:
    """Ask that the run stops, applying nothing; False when it has ended.

    A run that waits ends at once, one that reads with its next page.
    """
    with transaction.atomic():
        if not SyncRun.objects.active().filter(pk=run.pk).update(cancel_requested=True):
            return False
        SyncRun.objects.filter(pk=run.pk, state=SyncRun.State.QUEUED).update(
            state=SyncRun.State.CANCELED, phase="", finished_at=now
        )
        record.record(
            obj=run.cloud_idp,
            actor=actor,
            note=f"{run.what} canceled",
            action="sync",
            details={"sync_run": run.pk},
            now=now,
        )
    return True


def _widened(run: SyncRun, kind: SyncRun.Kind) -> SyncRun:
    """Make a run that still waits a full one when a full read is asked for.

    Not one that has pages, its own or those of a run before it: they are answers of
    changes alone, and whoever they do not name would count as gone.
    """
    if kind == SyncRun.Kind.FULL and run.kind != kind and not run.dry_run:
        pages = StagedPage.objects.filter(run=OuterRef("pk"))
        waiting = SyncRun.objects.filter(pk=run.pk, state=SyncRun.State.QUEUED)
        if waiting.filter(~Exists(pages), pages=0).update(kind=kind):
            run.kind = kind
    return run


def request_object(
    *,
    target: DirectoryUser | DirectoryGroup,
    trigger: SyncRun.Trigger,
    actor: Any | None,
    now: datetime,
) -> SyncRun:
    """Return the active read of one person or group, making one when there is none.

    It goes beside reads of the whole directory.
    """
    active = SyncRun.objects.active().filter(
        cloud_idp=target.cloud_idp_id, object_number=target.pk
    )
    found = active.first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            run = SyncRun.objects.create(
                cloud_idp_id=target.cloud_idp_id,
                kind=SyncRun.Kind.OBJECT,
                object_number=target.pk,
                trigger=trigger,
                requested_by=actor,
                created_at=now,
            )
            if actor is not None:
                record.record(
                    obj=run.cloud_idp,
                    actor=actor,
                    note=f"Sync of {target} requested",
                    action="sync",
                    details={"sync_run": run.pk, "object_id": target.object_id},
                    now=now,
                )
    except IntegrityError:
        # Somebody asked at the same moment.
        found = active.first()
        if found is None:
            raise
        return found
    return run


_ACTIVE = Compiled(
    lambda cloud_idp: (
        SyncRun.objects.active()
        .reads()
        .filter(cloud_idp=cloud_idp)
        .values_list("pk")[:1]
    )
)


def _active(cloud_idp: CloudIdentityProvider) -> SyncRun | None:
    # Asked by number first: most often there is none.
    for (number,) in _ACTIVE.rows(cloud_idp.pk):
        return SyncRun.objects.active().filter(pk=number).first()
    return None
