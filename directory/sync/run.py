"""Working on one run from its claim to its end."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, transaction
from django.utils import timezone

from directory import permission_use, schedules, schema, status
from directory.entra import errors
from directory.models import (
    CloudIdentityProvider,
    DirectoryObject,
    DirectoryUser,
    StagedPage,
    SyncRun,
)
from directory.permissions import Feature
from directory.sync import ahead, rescue, returned
from directory.sync.apply import PlanOutdated, apply_plan
from directory.sync.decide import decider, everything_held
from directory.sync.differences import Plan
from directory.sync.fetch import Clock, DeadlinePassed, Fetch
from directory.sync.foresee import after_guards
from directory.sync.holds import Decide
from directory.sync.lease import APPLY_LEASE, Canceled, Lease, LeaseLost, Taken, take
from directory.sync.lines import Lines, OpenLines
from directory.sync.plan import make_plan
from directory.sync.retention import pages_kept
from directory.sync.rows import analyze_keys, as_a_worker
from directory.sync.selection import Selection, same_mappings, selection_of
from directory.sync.single import NotKnown, fresh, look_again, read_one
from directory.sync.stage import FORMAT, MemberSets, Round
from directory.sync.stored_plans import Prepared, prepare
from directory.sync.traffic import Stopwatch
from jamfidp.compiled import Added, CompiledChange, asked_together
from jamfidp.durability import checkpointed_beside, rows_changed_that_may_be_lost

logger = logging.getLogger(__name__)

# A connection that keeps failing is asked less and less often.
LONGEST_PAUSE = timedelta(hours=1)
# Python looks for garbage after so many objects, and not after 700: a page of people is
# some thousands.
MADE_BEFORE_GARBAGE = 20_000
# A step that takes less is not worth a word.
SAID_AFTER = timedelta(seconds=1)
# How often a plan is made, where something else is applied before it.
PLANS = 5


class SyncFailed(Exception):
    """A run cannot go on for a reason that is not Microsoft's answer alone.

    With `resumable` the next run may go on with the pages of this one.
    """

    def __init__(
        self, message: str, *, advice: str, code: str, resumable: bool = False
    ) -> None:
        super().__init__(message)
        self.advice = advice
        self.code = code
        self.resumable = resumable


def work(
    run_id: int,
    *,
    clock: Clock = timezone.now,
    open_lines: OpenLines = Lines,
    heard: Callable[[], None] = lambda: None,
    decide: Decide | None = None,
) -> None:
    """Take the run if it is free and bring it to an end.

    Guards decide what of it waits, unless `decide` does.

    Every end is written to the row. A process that is killed leaves the lease to run
    out; the next worker goes on at the last page kept.
    """
    try:
        with ExitStack() as stack:
            with asked_together([schema.asked()]):
                stack.enter_context(as_a_worker())
                fits = schema.fits()
            if not fits:
                logger.warning(
                    "Sync run %s waits for a worker of the database's version", run_id
                )
                return
            stack.enter_context(_own_garbage_alone())
            _work_to_an_end(run_id, clock, open_lines, heard, decide)
    except DatabaseError:
        # Not even the end could be written. The lease runs out by itself, and the run
        # is gone on with then.
        logger.exception("Sync run %s: the console's database takes nothing", run_id)


@contextmanager
def _own_garbage_alone() -> Iterator[None]:
    """Have Python look for garbage among what a run made, and not in all that is loaded.

    Where much changes it would look through the whole process once or twice, which
    takes longer than comparing. And it looks less often: of what a page is made of,
    nearly all goes with the page.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(MADE_BEFORE_GARBAGE, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _work_to_an_end(
    run_id: int,
    clock: Clock,
    open_lines: OpenLines,
    heard: Callable[[], None],
    decide: Decide | None,
) -> None:
    taken = take(run_id, now=clock())
    if taken is None:
        return
    run, lease, _any_pages = taken
    try:
        _work(taken, clock, open_lines, heard, decide)
    except Canceled:
        _cancel(run, lease, now=clock())
    except LeaseLost:
        if _cancel_requested(run):
            _cancel(run, lease, now=clock())
        else:
            logger.info("Sync run %s was taken over; nothing was applied", run.pk)
    except schema.OtherVersion:
        _leave(run, lease)
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
        if run.is_read:
            status.record_failure(run.cloud_idp, error, now=clock())
    except SyncFailed as failure:
        failed = _fail(
            run,
            lease,
            message=str(failure),
            advice=failure.advice,
            code=failure.code,
            now=clock(),
        )
        if failed and not failure.resumable:
            _drop_pages(run)
    except (IntegrityError, DataError):
        # No want of the database's: it refuses what does not fit.
        logger.exception("Sync run %s failed by a defect", run.pk)
        _fail_by_a_defect(run, lease, now=clock())
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
        _fail_by_a_defect(run, lease, now=clock())
    else:
        if run.is_read:
            status.record_success(run.cloud_idp, now=clock())


def _fail_by_a_defect(run: SyncRun, lease: Lease, *, now: datetime) -> None:
    failed = _fail(
        run,
        lease,
        message="The console met a defect of its own. Nothing was applied.",
        advice="Report it with the worker's log. The console tries again by itself.",
        code="console:defect",
        now=now,
    )
    if failed:
        # What was read may be what it stumbled over.
        _drop_pages(run)


def _work(
    taken: Taken,
    clock: Clock,
    open_lines: OpenLines,
    heard: Callable[[], None],
    decide: Decide | None,
) -> None:
    run, lease, any_pages = taken
    if not run.cloud_idp.enabled:
        raise SyncFailed(
            "The connection is disabled.",
            advice="Enable it to read the directory again.",
            code="console:disabled",
        )
    first = not run.cloud_idp.completely_read and not run.dry_run
    if first and (everything := everything_held(run.cloud_idp)) is not None:
        # Nothing is in effect that a hold could keep: all there is would be held.
        raise SyncFailed(
            f"{everything}. This connection has not been read yet, and its first read "
            "waits until that is released.",
            advice="Release it under Activity > Held changes.",
            code="console:held",
        )
    selection = selection_of(run.cloud_idp)
    if run.kind == SyncRun.Kind.OBJECT:
        _read_one(run, lease, selection, clock, decide)
        return
    watch = Stopwatch()
    _begin(run, lease, selection, clock, any_pages=any_pages)
    fetch = _fetch(run, lease, selection, clock, open_lines, heard, any_pages)
    try:
        try:
            round_ = _read(fetch, clock)
        except errors.DeltaExpired as expired:
            # Once in a run: a directory that forgets at once is a failure.
            logger.info("Sync run %s begins again, reading all: %s", run.pk, expired)
            _begin_again(run, lease, expired)
            fetch = _fetch(run, lease, selection, clock, open_lines, heard)
            round_ = _read(fetch, clock)
        watch.lap("Reading")
        with checkpointed_beside():
            _apply(run, lease, fetch, round_, selection, clock, decide, watch)
    except (LeaseLost, Canceled, schema.OtherVersion):
        raise
    except Exception:
        if not run.dry_run:
            _rescue(fetch, lease, selection, clock)
        raise


def _rescue(fetch: Fetch, lease: Lease, selection: Selection, clock: Clock) -> None:
    """Let losses of privileges take effect that were read; the rest is not applied."""
    try:
        rescue.keep_losses_of_privileges(
            fetch=fetch, lease=lease, selection=selection, clock=clock
        )
    except Exception:
        logger.exception("Sync run %s: what it had read is lost", fetch.run.pk)


def _read(fetch: Fetch, clock: Clock) -> Round:
    try:
        return fetch.read()
    except DeadlinePassed:
        raise _too_late() from None
    finally:
        permission_use.note(fetch.run.cloud_idp, Feature.SYNC, fetch.used, now=clock())


def _too_late() -> SyncFailed:
    return SyncFailed(
        f"The sync took longer than {settings.SYNC_DEADLINE_MINUTES} minutes. "
        "Nothing was applied.",
        advice="The next sync goes on where this one stopped. If this happens "
        "again, raise SYNC_DEADLINE_MINUTES.",
        code="console:deadline",
        resumable=True,
    )


def _read_one(
    run: SyncRun,
    lease: Lease,
    selection: Selection,
    clock: Clock,
    decide: Decide | None,
) -> None:
    run.selection = selection.signature
    lease.renew(selection=run.selection)
    try:
        read_one(run, lease, clock=clock, decide=decide or decider(run, selection))
    except NotKnown:
        raise SyncFailed(
            "The console no longer knows this person or group.",
            advice="A full read finds everybody that the tenant has.",
            code="console:unknown-object",
        ) from None
    except PlanOutdated:
        raise SyncFailed(
            "The connection was changed meanwhile. Nothing was applied.",
            advice="Ask again.",
            code="console:outdated",
        ) from None


def _fetch(
    run: SyncRun,
    lease: Lease,
    selection: Selection,
    clock: Clock,
    open_lines: OpenLines,
    heard: Callable[[], None],
    any_pages: bool = False,
) -> Fetch:
    return Fetch(
        run=run,
        lease=lease,
        selection=selection,
        open_lines=open_lines,
        clock=clock,
        heard=heard,
        any_pages=any_pages,
    )


def _begin(
    run: SyncRun, lease: Lease, selection: Selection, clock: Clock, *, any_pages: bool
) -> None:
    """Choose what to read, and take up what an earlier run left behind."""
    cloud_idp = run.cloud_idp
    columns: dict[str, Any] = {}
    reason = _needs_everything(cloud_idp, selection)
    if run.kind == SyncRun.Kind.DELTA and reason:
        run.kind, run.kind_reason = SyncRun.Kind.FULL, reason
        columns = {"kind": run.kind, "kind_reason": reason}
    if run.deadline_at is None:
        # Of the whole run, however often its worker changes.
        run.deadline_at = clock() + timedelta(minutes=settings.SYNC_DEADLINE_MINUTES)
        columns["deadline_at"] = run.deadline_at
    if "kind" not in columns and not any_pages:
        # Nothing has to fit to it yet: it goes with what is written next.
        run.selection, run.generation = selection.signature, cloud_idp.generation
        lease.note(selection=run.selection, generation=run.generation, **columns)
        return
    same = "kind" not in columns and (run.selection, run.generation) == (
        selection.signature,
        cloud_idp.generation,
    )
    run.selection, run.generation = selection.signature, cloud_idp.generation
    # With what it reads goes what was read: the pages of a run are all of one kind and
    # selection, and whoever lost the lease leaves them to whoever has it.
    with transaction.atomic():
        lease.renew(selection=run.selection, generation=run.generation, **columns)
        if run.fencing_token > 1 and not same:
            _drop_pages(run)
        if run.fencing_token == 1:
            _take_over_pages(run, clock())
        if StagedPage.objects.filter(run=run).exclude(format=FORMAT).exists():
            # An upgrade came between: its pages say what they say to that version
            # alone.
            logger.info("Sync run %s reads again what another version read", run.pk)
            _drop_pages(run)


def _drop_pages(run: SyncRun) -> None:
    StagedPage.objects.filter(run=run).delete()


def _needs_everything(cloud_idp: CloudIdentityProvider, selection: Selection) -> str:
    """Say why changes alone cannot do; empty when they can."""
    if not (cloud_idp.users_delta_link and cloud_idp.groups_delta_link):
        return "The directory has not been read completely yet."
    if cloud_idp.delta_selection != selection.signature:
        same = same_mappings(cloud_idp.delta_selection, selection.signature)
        return "The filter changed." if same else "The attribute mappings changed."
    return cloud_idp.full_read_reason


def _take_over_pages(run: SyncRun, now: datetime) -> None:
    """Go on where a run stopped that failed, if it read the same for the same rows."""
    if not StagedPage.objects.exists():
        return
    earlier = (
        SyncRun.objects.filter(
            cloud_idp=run.cloud_idp,
            kind=run.kind,
            dry_run=run.dry_run,
            state=SyncRun.State.FAILED,
            selection=run.selection,
            generation=run.generation,
            staged_pages__staged_at__gt=now - pages_kept(),
        )
        .exclude(pk=run.pk)
        .order_by("-pk")
        .first()
    )
    if earlier is not None:
        StagedPage.objects.filter(run=run).delete()
        StagedPage.objects.filter(run=earlier).update(run=run)
        logger.info("Sync run %s goes on where run %s stopped", run.pk, earlier.pk)


def _begin_again(run: SyncRun, lease: Lease, expired: errors.DeltaExpired) -> None:
    run.refresh_from_db(fields=["waits", "failures"])
    run.kind = SyncRun.Kind.FULL
    run.kind_reason = f"{expired.message} Everything is read again."[:255]
    with transaction.atomic():
        lease.renew(
            kind=run.kind,
            kind_reason=run.kind_reason,
            users_read=0,
            groups_read=0,
            memberships_read=0,
        )
        _drop_pages(run)


def _apply(
    run: SyncRun,
    lease: Lease,
    fetch: Fetch,
    round_: Round,
    selection: Selection,
    clock: Clock,
    decide: Decide | None,
    watch: Stopwatch,
) -> None:
    # Recorded before it begins, with a lease that outlasts it; of pages at hand, which
    # are few and merged at once, with the first of what is asked.
    lease.note(
        state=SyncRun.State.READING if run.dry_run else SyncRun.State.APPLYING,
        phase="Comparing",
        **fetch.counted(),
    )
    for attempt in range(PLANS):
        now = clock()
        lease.note(heartbeat_at=now, lease_expires_at=now + APPLY_LEASE)
        if fetch.pages.any_stored:
            lease.renew()
        round_.merge()
        _check_not_empty(run, round_)
        try:
            _plan_and_apply(run, lease, fetch, round_, selection, clock, decide, watch)
        except PlanOutdated:
            if attempt == PLANS - 1 or not _may_plan_anew(run, selection):
                raise SyncFailed(
                    "The connection was changed while its directory was read. Nothing "
                    "was applied.",
                    advice="The next sync reads with the new settings.",
                    code="console:outdated",
                ) from None
            logger.info("Sync run %s plans anew", run.pk)
            if fetch.register.whole:
                fetch.register.load()
        else:
            break
    if fetch.pages.any_stored:
        _drop_pages(run)


def _may_plan_anew(run: SyncRun, selection: Selection) -> bool:
    """Whether what was read still fits: somebody was read alone meanwhile, or a hold
    was decided, and the connection reads what it read."""
    cloud_idp = (
        CloudIdentityProvider.objects.select_related("mappings")
        .filter(pk=run.cloud_idp_id, enabled=True)
        .first()
    )
    if cloud_idp is None or selection_of(cloud_idp).signature != selection.signature:
        return False
    run.cloud_idp = cloud_idp
    return True


def _plan_and_apply(
    run: SyncRun,
    lease: Lease,
    fetch: Fetch,
    round_: Round,
    selection: Selection,
    clock: Clock,
    decide: Decide | None,
    watch: Stopwatch,
) -> None:
    now = clock()
    with asked_together(ahead.questions(run, round_, fetch.register, now=now)):
        lease.renew(heartbeat_at=now)
        # Known before the comparison: what is read alone after this outdates the plan.
        read_alone = fresh(run)
        plan = make_plan(
            cloud_idp=run.cloud_idp,
            round_=round_,
            register=fetch.register,
            selection=selection,
            now=now,
            decide=decide or decider(run, selection, fetch.traffic),
            report=_reporter(lease, clock),
            began_at=run.started_at,
            fresh=read_alone,
            ask=partial(returned.ask, observer=fetch.traffic),
        )
        # Of a large directory these are most of what the process holds.
        fetch.register.forget()
        round_.members = MemberSets()
        if fetch.traffic.requests:
            # What was asked about losses is work of this run, too.
            lease.renew(**fetch.counted())
        watch.lap("Comparing")
        derived, consequences = after_guards(plan)
    prepared = prepare(plan, consequences, with_values=run.dry_run)
    watch.lap("Working out what follows")
    if run.deadline_at is not None and clock() > run.deadline_at:
        raise _too_late()
    if run.dry_run:
        _keep_plan(run, lease, plan, prepared, watch, now=clock())
        return
    written = apply_plan(
        plan,
        derived,
        lease=lease,
        delta_links=fetch.delta_links,
        selection=selection.signature,
        clock=clock,
        columns={"phases": watch.phases},
        prepared=prepared,
    )
    if not run.cloud_idp.completely_read:
        _analyze()
    # Known only now: the commit is part of both.
    watch.lap("Applying")
    rows_changed_that_may_be_lost(
        *_RUN.told(run.pk, phases=watch.phases, write_lock_seconds=written.seconds)
    )
    look_again(run, read_alone, now=clock())
    logger.info(
        "Sync run %s applied: %s, rows %s in %.1f s",
        run.pk,
        plan.counts,
        written.rows,
        written.seconds,
    )


_RUN = CompiledChange(lambda number: SyncRun.objects.filter(pk=number))


def _analyze() -> None:
    try:
        analyze_keys(DirectoryObject)
    except DatabaseError:
        # The read is applied; the next ones are slower until this comes about by itself.
        logger.warning("The table of object ids could not be analyzed", exc_info=True)


def _keep_plan(
    run: SyncRun,
    lease: Lease,
    plan: Plan,
    prepared: Prepared,
    watch: Stopwatch,
    *,
    now: datetime,
) -> None:
    """End a dry run: what it planned is stored, and nothing else is touched."""
    generation = CloudIdentityProvider.objects.filter(
        pk=run.cloud_idp_id, generation=plan.generation
    )
    with transaction.atomic():
        ended = lease.write(
            state=SyncRun.State.SUCCEEDED,
            phase="",
            changes=plan.counts,
            phases=watch.phases,
            plan_stored=bool(prepared),
            finished_at=now,
            heartbeat_at=now,
            lease_expires_at=None,
        )
        if not ended:
            raise LeaseLost
        if not generation.exists():
            raise PlanOutdated
        prepared.write(run.pk)
    _drop_pages(run)
    logger.info("Dry run %s planned: %s", run.pk, plan.counts)


def _reporter(lease: Lease, clock: Clock) -> Callable[[str], None]:
    """Say each step on the run's page, as long as steps take long enough to be seen."""
    said_at = clock()

    def report(phase: str) -> None:
        nonlocal said_at
        now = clock()
        if now - said_at >= SAID_AFTER:
            said_at = now
            lease.renew(phase=phase, heartbeat_at=now)

    return report


def _check_not_empty(run: SyncRun, round_: Round) -> None:
    """Refuse a full read without a single person where people are known.

    A directory always holds at least the administrator who consented.
    """
    if not round_.full or round_.seen[StagedPage.Resource.USERS]:
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


def _leave(run: SyncRun, lease: Lease) -> None:
    """Put the run back into the queue, for a worker of the version after this one."""
    lease.write(
        state=SyncRun.State.QUEUED,
        phase="The console was upgraded; a worker of its version goes on",
        heartbeat_at=None,
        lease_expires_at=None,
        fencing_token=Added(1),
    )
    logger.warning("Sync run %s is left to a worker of the new version", run.pk)


def _cancel_requested(run: SyncRun) -> bool:
    return SyncRun.objects.filter(pk=run.pk, cancel_requested=True).exists()


def _cancel(run: SyncRun, lease: Lease, *, now: datetime) -> None:
    if _end(run, lease, SyncRun.State.CANCELED, now=now):
        _drop_pages(run)


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
) -> bool:
    """End the run with an error; False where another worker has it by now, and with it
    the pages."""
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
    if ended and run.is_read and not run.dry_run:
        CloudIdentityProvider.objects.filter(pk=run.cloud_idp_id).update(
            next_sync_at=now + _pause(run.cloud_idp, retry_after)
        )
    return ended


def _pause(cloud_idp: CloudIdentityProvider, retry_after: float | None) -> timedelta:
    """Return how long to wait after a failure: longer with each one in a row."""
    runs = SyncRun.objects.reads().filter(cloud_idp=cloud_idp, dry_run=False)
    states = runs.values_list("state", flat=True)[:10]
    in_a_row = 0
    for state in states:
        if state != SyncRun.State.FAILED:
            break
        in_a_row += 1
    usual = schedules.delta_every(cloud_idp)
    pause: timedelta = usual * (1 << max(in_a_row - 1, 0))
    asked = timedelta(seconds=retry_after or 0)
    return max(min(pause, LONGEST_PAUSE), asked)
