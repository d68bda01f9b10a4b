"""Working on one run from its claim to its end."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from directory import clouds, status, tls, tokens
from directory.entra import EntraSession, GraphClient, errors
from directory.models import (
    CloudIdentityProvider,
    DirectoryUser,
    StagedPage,
    SyncRun,
)
from directory.sync.apply import DeltaLinks, PlanOutdated, apply_plan
from directory.sync.attributes import mappings_signature
from directory.sync.fetch import Canceled, Clock, Fetch, Traffic, merge
from directory.sync.lease import APPLY_LEASE, Lease, LeaseLost, claim
from directory.sync.plan import make_plan
from directory.sync.stage import Snapshot

logger = logging.getLogger(__name__)

# A connection that keeps failing is asked less and less often.
LONGEST_PAUSE = timedelta(hours=1)

OpenGraph = Callable[[CloudIdentityProvider, Traffic], GraphClient]


class SyncFailed(Exception):
    """A run cannot go on for a reason that is not Microsoft's answer alone."""

    def __init__(self, message: str, *, advice: str, code: str) -> None:
        super().__init__(message)
        self.advice = advice
        self.code = code


def open_graph(cloud_idp: CloudIdentityProvider, traffic: Traffic) -> GraphClient:
    """Open Microsoft Graph for a sync: low priority, so that people come first."""
    session = EntraSession(
        clouds.cloud(cloud_idp.cloud),
        observer=traffic,
        tls_observer=tls.noting(cloud_idp),
    )
    return tokens.graph_client(cloud_idp, session=session, priority="low")


def work(
    run_id: int,
    *,
    clock: Clock = timezone.now,
    open_graph: OpenGraph = open_graph,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Take the run if it is free and bring it to an end.

    Every end is written to the row. A process that is killed leaves the lease to run
    out; the next worker goes on at the last page kept.
    """
    lease = claim(run_id, now=clock())
    if lease is None:
        return
    run = SyncRun.objects.select_related("cloud_idp__mappings").get(pk=run_id)
    try:
        _work(run, lease, clock, open_graph, heard)
    except Canceled:
        _end(run, lease, SyncRun.State.CANCELED, now=clock())
    except LeaseLost:
        if _cancel_requested(run):
            _end(run, lease, SyncRun.State.CANCELED, now=clock())
        else:
            logger.info("Sync run %s was taken over; nothing was applied", run.pk)
    except errors.EntraError as error:
        _fail(
            run,
            lease,
            message=error.message,
            advice=error.advice,
            code=error.code,
            request_id=error.request_id,
            retry_after=getattr(error, "retry_after", None),
            now=clock(),
        )
        status.record_failure(run.cloud_idp, error, now=clock())
    except SyncFailed as failure:
        _fail(
            run,
            lease,
            message=str(failure),
            advice=failure.advice,
            code=failure.code,
            now=clock(),
        )
    except (DatabaseError, OSError):
        logger.exception("Sync run %s failed in the console", run.pk)
        _fail(
            run,
            lease,
            message="The console's database did not take the changes. Nothing was "
            "applied.",
            advice="Look at free disk space and at the worker's log. The console tries "
            "again by itself.",
            code="console:database",
            now=clock(),
        )
    except Exception:
        logger.exception("Sync run %s failed by a defect", run.pk)
        _fail(
            run,
            lease,
            message="The console met a defect of its own. Nothing was applied.",
            advice="Report it with the worker's log. The console tries again by itself.",
            code="console:defect",
            now=clock(),
        )
    else:
        status.record_success(run.cloud_idp, now=clock())
    finally:
        StagedPage.objects.filter(run__pk=run.pk).exclude(
            run__state__in=SyncRun.ACTIVE
        ).delete()


def _work(
    run: SyncRun,
    lease: Lease,
    clock: Clock,
    open_graph: OpenGraph,
    heard: Callable[[], None],
) -> None:
    if not run.cloud_idp.enabled:
        raise SyncFailed(
            "The connection is disabled.",
            advice="Enable it to read the directory again.",
            code="console:disabled",
        )
    mappings = mappings_signature(run.cloud_idp.mappings)
    _choose_kind(run, lease, mappings)
    traffic = Traffic(lease, clock)
    graph = open_graph(run.cloud_idp, traffic)
    fetch = Fetch(run, lease, graph, traffic, clock, heard)
    try:
        links = fetch.read()
    except errors.DeltaExpired as expired:
        # Once in a run: a directory that forgets at once is a failure.
        logger.info("Sync run %s begins again with a full read: %s", run.pk, expired)
        _begin_again(run, lease, expired)
        links = fetch.read()
    _apply(run, lease, links, mappings, clock)


def _choose_kind(run: SyncRun, lease: Lease, mappings: str) -> None:
    """Make a read of changes a full one where changes alone cannot do."""
    if run.kind == SyncRun.Kind.FULL:
        return
    cloud_idp = run.cloud_idp
    if not (cloud_idp.users_delta_link and cloud_idp.groups_delta_link):
        reason = "The directory has not been read completely yet."
    elif cloud_idp.delta_mappings != mappings:
        reason = "The attribute mappings changed."
    else:
        return
    _become_full(run, lease, reason)


def _become_full(run: SyncRun, lease: Lease, reason: str) -> None:
    run.kind = SyncRun.Kind.FULL
    run.kind_reason = reason
    if not lease.write(kind=run.kind, kind_reason=reason):
        raise LeaseLost


def _begin_again(run: SyncRun, lease: Lease, expired: errors.DeltaExpired) -> None:
    if not lease.write(users_read=0, groups_read=0, memberships_read=0):
        raise LeaseLost
    StagedPage.objects.filter(run=run).delete()
    _become_full(run, lease, f"{expired.message} Everything is read again."[:255])


def _apply(
    run: SyncRun, lease: Lease, links: DeltaLinks, mappings: str, clock: Clock
) -> None:
    # Recorded before it begins, with a lease that outlasts it.
    now = clock()
    applying = lease.write(
        state=SyncRun.State.APPLYING,
        phase="Comparing",
        heartbeat_at=now,
        lease_expires_at=now + APPLY_LEASE,
    )
    if not applying:
        raise LeaseLost

    def report(phase: str) -> None:
        if not lease.write(phase=phase, heartbeat_at=clock()):
            raise LeaseLost

    snapshot = merge(run)
    # Pages repeat objects, a large group for each slice: now each is counted once.
    lease.write(users_read=len(snapshot.users), groups_read=len(snapshot.groups))
    _check_not_empty(run, snapshot)
    plan = make_plan(
        cloud_idp=run.cloud_idp, snapshot=snapshot, now=clock(), report=report
    )
    report("Applying")
    try:
        apply_plan(plan, lease=lease, delta_links=links, mappings=mappings, now=clock())
    except PlanOutdated:
        raise SyncFailed(
            "The connection was changed while its directory was read. Nothing was "
            "applied.",
            advice="The next sync reads with the new settings.",
            code="console:outdated",
        ) from None
    logger.info("Sync run %s applied: %s", run.pk, plan.changes)


def _check_not_empty(run: SyncRun, snapshot: Snapshot) -> None:
    """Refuse a full read without a single person where people are known.

    A directory always holds at least the administrator who consented.
    """
    if not snapshot.full or snapshot.users_present:
        return
    known = DirectoryUser.objects.present().filter(cloud_idp=run.cloud_idp).count()
    if known:
        raise SyncFailed(
            f"Microsoft answered with no people at all, where {known:,} are known. "
            "Nothing was deleted; everybody keeps the groups of the last good read.",
            advice="Look at the tenant in Microsoft's portal. If its people are there, "
            "start a full read again.",
            code="console:empty",
        )


def _cancel_requested(run: SyncRun) -> bool:
    return SyncRun.objects.filter(pk=run.pk, cancel_requested=True).exists()


def _end(
    run: SyncRun, lease: Lease, state: SyncRun.State, *, now: datetime, **more: str
) -> bool:
    return lease.write(
        state=state,
        phase="",
        finished_at=now,
        heartbeat_at=now,
        lease_expires_at=None,
        **more,
    )


def _fail(
    run: SyncRun,
    lease: Lease,
    *,
    message: str,
    advice: str,
    code: str,
    now: datetime,
    request_id: str = "",
    retry_after: float | None = None,
) -> None:
    ended = _end(
        run,
        lease,
        SyncRun.State.FAILED,
        now=now,
        error=message,
        advice=advice,
        error_code=code,
        request_id=request_id,
    )
    if ended:
        CloudIdentityProvider.objects.filter(pk=run.cloud_idp_id).update(
            next_sync_at=now + _pause(run.cloud_idp_id, retry_after)
        )


def _pause(cloud_idp_id: int, retry_after: float | None) -> timedelta:
    """Return how long to wait after a failure: longer with each one in a row."""
    states = SyncRun.objects.filter(cloud_idp_id=cloud_idp_id).values_list(
        "state", flat=True
    )[:10]
    in_a_row = 0
    for state in states:
        if state != SyncRun.State.FAILED:
            break
        in_a_row += 1
    usual = timedelta(minutes=settings.SYNC_DELTA_MINUTES)
    pause: timedelta = usual * (1 << max(in_a_row - 1, 0))
    asked = timedelta(seconds=retry_after or 0)
    return max(min(pause, LONGEST_PAUSE), asked)
