"""What a failed run had read of losses of privileges: they take effect all the same.

Nothing of the run is applied. The losses are stored as held changes, which privileges
heed at once; the next run that succeeds applies or heals them.
"""

from django.db import transaction

from directory.dependents import Gives, registered
from directory.models import CloudIdentityProvider, ObservedHash
from directory.sync import observe, rows, usage
from directory.sync.agreed import hold_all_of
from directory.sync.apply import write_holds
from directory.sync.differences import NO_ANSWER, Plan
from directory.sync.fetch import Clock, Fetch
from directory.sync.guards import Guard, hold_loss_of, losses
from directory.sync.holds import Held, Hold
from directory.sync.lease import Lease
from directory.sync.plan import settled_plan
from directory.sync.returned import Returned
from directory.sync.selection import Selection
from directory.sync.stage import Round


def keep_losses_of_privileges(
    *, fetch: Fetch, lease: Lease, selection: Selection, clock: Clock
) -> None:
    """Store what was read of them, if the run still has its lease.

    What the pages of a full read say of an object itself counts; what they leave out
    does not, since they are not complete.
    """
    cloud_idp = CloudIdentityProvider.objects.select_related("mappings").get(
        pk=fetch.run.cloud_idp_id
    )
    if not cloud_idp.completely_read:
        return
    round_ = Round(full=False, pages=fetch.pages)
    round_.merge()
    plan, _held = settled_plan(
        cloud_idp=cloud_idp,
        round_=round_,
        register=fetch.register,
        selection=selection,
        now=clock(),
        decide=_losses_of_privileges,
        # Nobody is asked: whoever is back stays as they were until a run asks.
        ask=lambda _question: Returned(),
    )
    changed = [
        hold
        for hold in plan.holds.values()
        if hold.pk is None or hold.payload_hash != hold.stored_hash
    ]
    if not changed:
        return
    with transaction.atomic():
        if not lease.write(heartbeat_at=plan.now):
            return
        same = CloudIdentityProvider.objects.select_for_update(of=("self",)).filter(
            pk=cloud_idp.pk, generation=plan.generation
        )
        if not same.exists():
            return
        # Whoever is new on a page that was not stored may be named here.
        fetch.register.store()
        write_holds(plan, changed, lease.run_id)
        # What is observed of them is another now: the answer of before, should it come
        # again, says something new. Whoever departed has none.
        rows.update(
            ObservedHash,
            ("value",),
            [(NO_ANSWER, hold.number) for hold in changed if _is_here(hold)],
            key="number",
        )
        gone = [h.number for h in changed if h.row is not None and not _is_here(h)]
        columns = ("cloud_idp_id", "number")
        rows.delete(ObservedHash, columns, [(cloud_idp.pk, n) for n in gone])
        for dependents in registered():
            dependents.after_connection_change(cloud_idp.tenant_id, now=plan.now)


def _is_here(hold: Hold) -> bool:
    return hold.row is not None and hold.row.state not in observe.DEPARTED


def _losses_of_privileges(plan: Plan) -> Held:
    held = Held()
    own = usage.people_in_use(plan.cloud_idp)
    used, _given = usage.used_groups(plan, usage.groups_in_use(plan.cloud_idp))
    lost = losses(plan, {})
    for one in used:
        if one.gives >= Gives.PRIVILEGES:
            hold_loss_of(one, lost, held, Guard.RUN_FAILED)
            held.hold_people(usage.deactivated(plan, one.before), Guard.RUN_FAILED)
    held.hold_people(usage.deactivated(plan, own), Guard.RUN_FAILED)
    _hold_what_is_held(plan, held)
    return held


def _hold_what_is_held(plan: Plan, held: Held) -> None:
    for number, hold in plan.holds_before.items():
        hold_all_of(plan, held, number, hold.guards)
