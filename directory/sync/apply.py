"""Writing a plan: one transaction, differences only, guarded by the fencing token."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.urls import reverse
from pyroaring import BitMap

from directory import schema
from directory.dependents import (
    AppliedChange,
    Moment,
    Step,
    questions_of,
    registered,
)
from directory.models import (
    CloudIdentityProvider,
    DecidedChange,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    HeldChange,
    ObservedHash,
    SyncRun,
    UnconfirmedLoss,
)
from directory.schedules import delta_every
from directory.sync import agreed, first_people, guards, intervals, rows
from directory.sync.attributes import GroupRow, Row, UserRow
from directory.sync.derive import Derived
from directory.sync.differences import Change, MemberChange, Objects, Plan
from directory.sync.fetch import Clock, DeltaLinks
from directory.sync.first_people import Packing
from directory.sync.holds import Hold
from directory.sync.lease import Lease, LeaseLost
from directory.sync.renames import announce_renames
from directory.sync.selection import same_mappings, selection_of
from directory.sync.stored_plans import Prepared
from jamfidp.compiled import (
    Compiled,
    CompiledChange,
    CompiledObjects,
    Question,
    asked_together,
)
from jamfidp.gathered import gathered, later
from jamfidp.notices.announce import announce, end
from jamfidp.notices.kinds import HELD_CHANGES

# With fewer it is not worth asking whether the table is empty.
FEW_GROUPS = 100


class PlanOutdated(Exception):
    """The rows changed since the plan was made; make it again."""


@dataclass(slots=True)
class Written:
    """What applying wrote: rows by table, and for how long nobody else could write."""

    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, model: type[Model], number: int) -> None:
        if number:
            name = model.__name__
            self.rows[name] = self.rows.get(name, 0) + number


def apply_plan(
    plan: Plan,
    derived: Derived,
    *,
    lease: Lease,
    delta_links: DeltaLinks | None,
    selection: str,
    clock: Clock,
    columns: Mapping[str, Any],
    prepared: Prepared | None = None,
) -> Written:
    """Write the plan, save the delta links and end the run, all or nothing.

    `selection` is the signature of what the plan was made by; `columns` are written
    to the run's row with its end, and `prepared` is what is kept of the plan. Without
    delta links it was a read of one object, which says nothing of the others.

    Raises:
        LeaseLost: another worker has taken the run over, or it was canceled.
        OtherVersion: the console was upgraded meanwhile.
        PlanOutdated: the connection was applied to, remapped or deleted meanwhile.
    """
    now, written = plan.now, Written()
    with transaction.atomic(), gathered():
        if plan.full and not plan.cloud_idp.completely_read:
            rows.wait_for_first_loads()
        # First a write: it takes the lock that a second worker would have to wait for.
        held = lease.hold(now=now)
        schema.check()
        if not held.rows:
            raise LeaseLost
        locked_at = time.monotonic()
        with asked_together(_asked(plan)):
            cloud_idp = _LOCKED.first(plan.cloud_idp.pk)
            if (
                cloud_idp is None
                or cloud_idp.generation != plan.generation
                or selection_of(cloud_idp).signature != selection
            ):
                raise PlanOutdated
            remembered = _write(
                cloud_idp, plan, derived, lease.run_id, delta_links, selection, written
            )
        change = AppliedChange(
            cloud_idp_id=cloud_idp.pk,
            full=plan.full,
            asked=plan.asked,
            began_at=plan.began_at,
            user_ids=_affected_people(plan),
            group_ids=_affected_groups(plan, derived),
        )
        moment = Moment(cloud_idp.pk, cloud_idp.tenant_id, now, plan.began_at)
        with asked_together(questions_of(Step.APPLIED, moment)):
            for dependents in registered():
                dependents.after_apply(change, now=now)
        if prepared:
            prepared.write(lease.run_id)
        _finish(
            lease,
            plan,
            written,
            clock(),
            {
                **columns,
                "remembered": remembered,
                "plan_stored": bool(prepared),
            },
        )
    written.seconds = round(time.monotonic() - locked_at, 3)
    return written


def _write(
    cloud_idp: CloudIdentityProvider,
    plan: Plan,
    derived: Derived,
    run_id: int,
    delta_links: DeltaLinks | None,
    selection: str,
    written: Written,
) -> bool:
    """Write the rows of the directory; return whether something earlier is remembered."""
    # Of a connection that was taken up again, rows are known before it is read.
    known_before = (
        cloud_idp.completely_read
        or ObservedHash.objects.filter(cloud_idp=cloud_idp).exists()
    )
    with first_people.packing(plan.people.new) as packing:
        _write_memberships(plan, derived, written)
        _write_bitmaps(derived, written)
        _write_groups(plan, derived, written)
        _write_people(plan, packing, written)
    _write_observed(plan, run_id)
    remembered = False
    if known_before:
        remapped = not same_mappings(cloud_idp.delta_selection, selection)
        remembered = intervals.remember(plan, run=run_id, remapped=remapped)
        if not remapped:
            announce_renames(plan, run_id)
    if delta_links is None:
        cloud_idp.generation += 1
        if plan.full_read_reason:
            cloud_idp.full_read_reason = plan.full_read_reason
        cloud_idp.save(update_fields=["generation", "full_read_reason"])
    else:
        _save_connection(cloud_idp, plan, delta_links, selection)
    return remembered


def _asked(plan: Plan) -> list[Question]:
    """Return what is asked while the plan is written, none of which that changes."""
    idp = plan.cloud_idp.pk
    # Locked first: what others write of the connection is seen, or waits.
    asked = [_LOCKED.with_(idp), _UNCONFIRMED.with_(idp)]
    return [*asked, *intervals.asked(plan)]


_LOCKED = CompiledObjects(
    lambda cloud_idp: (
        CloudIdentityProvider.objects.select_for_update(of=("self",))
        .select_related("mappings")
        .filter(pk=cloud_idp)
        .order_by()
    )
)


def _affected_people(plan: Plan) -> frozenset[int]:
    return frozenset(
        plan.people.new.numbers | plan.people.forgotten | BitMap(plan.people.changes)
    )


def _affected_groups(plan: Plan, derived: Derived) -> frozenset[int]:
    return frozenset(
        derived.affected
        | plan.groups.forgotten
        | BitMap(plan.groups.changes)
        | plan.groups.new.numbers
    )


def _write_people(plan: Plan, packing: Packing | None, written: Written) -> None:
    _write_objects(
        plan,
        DirectoryUser,
        UserRow._fields,
        plan.people,
        lambda _number, row: row,
        written,
        packing,
    )


_COUNTS = ("other_members", "direct_users", "transitive_users")


def _write_groups(plan: Plan, derived: Derived, written: Written) -> None:
    def counted(number: int, row: GroupRow) -> tuple[Any, ...]:
        counts = derived.counts.get(number, {})
        return (*row, *(counts.get(name, 0) for name in _COUNTS))

    columns = (*GroupRow._fields, *_COUNTS)
    _write_objects(plan, DirectoryGroup, columns, plan.groups, counted, written)
    # Counts follow from other rows: the group itself did not change by them.
    by_columns: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for number, counts in derived.counts.items():
        if number not in plan.groups.new.numbers:
            by_columns[tuple(counts)].append((*counts.values(), number))
    for names, values in by_columns.items():
        written.count(DirectoryGroup, rows.update(DirectoryGroup, names, values))


def _write_objects(
    plan: Plan,
    model: type[Model],
    columns: Sequence[str],
    objects: Objects[Row],
    values: Callable[[int, Row], Sequence[Any]],
    written: Written,
    packing: Packing | None = None,
) -> None:
    """Write rows of people, or of groups; a row begins with its state and since when."""
    for some in rows.chunks(objects.forgotten):
        model._default_manager.filter(pk__in=some).delete()
    written.count(model, len(objects.forgotten))
    if objects.new.numbers:
        new = objects.new
        with rows.first_load(model):
            if packing is not None:
                written.count(model, packing.insert(plan.cloud_idp, plan.now))
            rest = new.rows() if packing is None else new.kept_rows()
            written.count(model, _insert(plan, model, columns, rest, values))
    written.count(model, _update(model, objects.changes, rows.moment(plan.now)))


def _insert(
    plan: Plan,
    model: type[Model],
    columns: Sequence[str],
    new: Iterable[tuple[int, str, Row]],
    values: Callable[[int, Row], Sequence[Any]],
) -> int:
    # As texts, which a moment is on both databases. Most came into their state at the
    # same one.
    at = cache(lambda moment: None if moment is None else str(rows.moment(moment)))
    now, idp = at(plan.now), plan.cloud_idp.pk
    names = ["id", "cloud_idp_id", "object_id", *columns, "first_seen_at", "changed_at"]

    def stored() -> Iterable[Sequence[Any]]:
        for number, object_id, row in new:
            state, since, *rest = values(number, row)
            yield (number, idp, object_id, state, at(since), *rest, now, now)

    return rows.insert_plain(model, names, stored())


def _at(value: datetime | None) -> Any:
    return None if value is None else rows.moment(value)


def _update(model: type[Model], changes: Mapping[int, Change], now: Any) -> int:
    """Write the columns that differ, objects with the same ones together."""
    by_columns: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for number, change in changes.items():
        values = [
            _at(value) if name == "state_since" else value
            for name, value in change.after.items()
        ]
        by_columns[tuple(change.after)].append((*values, now, number))
    return sum(
        rows.update(model, (*columns, "changed_at"), values)
        for columns, values in by_columns.items()
    )


def _write_memberships(plan: Plan, derived: Derived, written: Written) -> None:
    for model, columns, changes in (
        (DirectoryMembership, ("group_id", "user_id"), plan.users),
        (GroupNesting, ("parent_id", "child_id"), plan.nesting),
        (GroupOtherMember, ("group_id", "member_id"), plan.others),
    ):
        left = _pairs(changes, lambda change: change.left)
        written.count(model, rows.delete(model, columns, left))
        written.count(model, _insert_pairs(model, columns, changes))
    pair = ("ancestor_id", "descendant_id")
    written.count(
        GroupClosure, rows.delete(GroupClosure, pair, derived.closure_removed)
    )
    written.count(
        GroupClosure, rows.insert_missing(GroupClosure, pair, derived.closure_added)
    )


def _pairs(
    changes: Mapping[int, MemberChange], side: Callable[[MemberChange], Iterable[int]]
) -> list[tuple[int, int]]:
    return [
        (group, member) for group, change in changes.items() for member in side(change)
    ]


def _insert_pairs(
    model: type[Model], columns: tuple[str, str], changes: Mapping[int, MemberChange]
) -> int:
    joined = [change for change in changes.values() if change.joined]
    if not joined:
        return 0
    if len(joined) < FEW_GROUPS or model._default_manager.exists():
        pairs = _pairs(changes, lambda change: change.joined)
        return rows.insert_missing(model, columns, pairs)
    # In the order of the key, which an empty table takes quickest.
    with rows.first_load(model):
        return rows.insert_sets(
            model,
            columns,
            ((group, changes[group].joined) for group in sorted(changes)),
        )


def _write_bitmaps(derived: Derived, written: Written) -> None:
    removed = list(derived.bitmaps_removed)
    written.count(
        GroupBitmap, rows.delete(GroupBitmap, ("group_id",), [(pk,) for pk in removed])
    )
    columns = ("group_id", "members", "direct", "transitive")
    stored = [
        (pk, *packed)
        for bitmaps in (derived.bitmaps_added, derived.bitmaps_changed)
        for pk, packed in bitmaps.items()
    ]
    if len(stored) >= FEW_GROUPS and not GroupBitmap.objects.exists():
        count = rows.insert(GroupBitmap, columns, stored)
    else:
        count = rows.upsert(GroupBitmap, columns, stored, key=("group_id",))
    written.count(GroupBitmap, count)


_OUTCOMES = {
    agreed.VOID_CHANGED: DecidedChange.Outcome.VOID,
    agreed.VOID_CONSEQUENCES: DecidedChange.Outcome.VOID,
    agreed.ENDED: DecidedChange.Outcome.ENDED,
    agreed.APPLIED: DecidedChange.Outcome.APPLIED,
}


def _write_observed(plan: Plan, run_id: int) -> None:
    """Advance what is observed: hashes, and the differences that are held."""
    idp = plan.cloud_idp.pk
    rows.delete(
        ObservedHash,
        ("cloud_idp_id", "number"),
        [(idp, number) for number, value in plan.hashes.items() if value is None],
    )
    known = [(idp, n, value) for n, value in plan.hashes.items() if value is not None]
    columns = ("cloud_idp_id", "number", "value")
    if plan.full and not ObservedHash.objects.exists():
        with rows.first_load(ObservedHash):
            rows.insert_plain(ObservedHash, columns, sorted(known))
    else:
        rows.upsert(ObservedHash, columns, known, key=("cloud_idp_id", "number"))
    write_unconfirmed(plan)
    write_holds(plan, plan.holds.values(), run_id)
    for number, hold in plan.holds_before.items():
        if number not in plan.holds and hold.pk is not None:
            outcome = (
                HeldChange.Outcome.APPLIED
                if _applied(plan, number)
                else HeldChange.Outcome.HEALED
            )
            HeldChange.objects.filter(pk=hold.pk).update(
                closed_at=plan.now, closed_by=run_id, outcome=outcome
            )
            _end_decision([hold.pk], outcome.value, now=plan.now)
    for why, came_of_it in _OUTCOMES.items() if plan.decisions_over else ():
        over = [pk for pk, reason in plan.decisions_over.items() if reason == why]
        _end_decision(over, came_of_it.value, now=plan.now)
        HeldChange.objects.filter(pk__in=over).update(decision=None)
    if plan.holds or plan.holds_before:
        announce_held(plan.cloud_idp, now=plan.now)


def _end_decision(held: Sequence[int], outcome: str, *, now: datetime) -> None:
    DecidedChange.objects.filter(held__in=held, outcome="").update(
        outcome=outcome, ended_at=now
    )


def announce_held(cloud_idp: CloudIdentityProvider, *, now: datetime) -> None:
    """Tell that changes wait for a decision, once, until none does; then tell that."""
    waiting = HeldChange.objects.filter(
        cloud_idp=cloud_idp, closed_at=None, decision=None
    ).exclude(guards=guards.ENDS_BY_ITSELF)
    key = f"held-changes:{cloud_idp.pk}"
    if not waiting.exists():
        end(
            key,
            kind=HELD_CHANGES,
            title=f"No change of {cloud_idp} waits for a decision any more",
            body="What was held is approved or rejected, or Entra took it back. What was "
            "decided, by whom and why stands in the console.",
            link=f"{reverse('directory:heldchange-list')}?connection={cloud_idp.pk}",
            about=cloud_idp,
            now=now,
        )
        return
    announce(
        kind=HELD_CHANGES,
        title=f"Changes of {cloud_idp} are held",
        body="A sync holds changes of the directory back until somebody approves or "
        "rejects them. Everything else is applied, and losses of privileges are never "
        "held.",
        link=f"{reverse('directory:heldchange-list')}?connection={cloud_idp.pk}",
        about=cloud_idp,
        key=key,
        now=now,
    )


def write_unconfirmed(plan: Plan) -> None:
    """Keep which losses of privileges wait to be confirmed, and since when."""
    # Most often none does.
    if not (plan.unconfirmed or _UNCONFIRMED.any(plan.cloud_idp.pk)):
        return
    waiting = UnconfirmedLoss.objects.filter(cloud_idp=plan.cloud_idp)
    known = {(loss.person_id, loss.group_id): loss for loss in waiting}
    over = [known[each].pk for each in known.keys() - plan.unconfirmed.keys()]
    for some in rows.chunks(over):
        waiting.filter(pk__in=some).delete()
    UnconfirmedLoss.objects.bulk_create(
        UnconfirmedLoss(
            cloud_idp=plan.cloud_idp,
            person_id=person,
            group_id=group,
            since=plan.now,
            answer=answer,
        )
        for (person, group), answer in plan.unconfirmed.items()
        if (person, group) not in known
    )


_UNCONFIRMED = Compiled(
    lambda cloud_idp: (
        UnconfirmedLoss.objects.filter(cloud_idp=cloud_idp)
        .order_by()
        .values_list("pk")[:1]
    )
)


def _applied(plan: Plan, number: int) -> bool:
    """Whether something of an object takes effect, which was held until now."""
    return (
        number in plan.people.changes
        or number in plan.groups.changes
        or number in plan.users
        or number in plan.nesting
        or number in plan.people.new.numbers
        or number in plan.groups.new.numbers
    )


def write_holds(plan: Plan, holds: Iterable[Hold], run_id: int) -> None:
    """Store what is held: new ones together, others where they are another now."""
    new = []
    for hold in holds:
        columns = {
            "guards": list(hold.guards),
            "payload_hash": hold.payload_hash,
            "changed_at": plan.now,
            "changed_by": run_id,
            **hold.payload,
        }
        if hold.pk is None:
            new.append(
                HeldChange(
                    cloud_idp_id=plan.cloud_idp.pk,
                    number=hold.number,
                    kind=hold.kind,
                    opened_at=plan.now,
                    opened_by=run_id,
                    **columns,
                )
            )
        elif (columns["payload_hash"], hold.guards) != (
            hold.stored_hash,
            hold.stored_guards,
        ):
            HeldChange.objects.filter(pk=hold.pk).update(**columns)
    HeldChange.objects.bulk_create(new, batch_size=500)


def _save_connection(
    cloud_idp: CloudIdentityProvider,
    plan: Plan,
    delta_links: DeltaLinks,
    selection: str,
) -> None:
    columns: dict[str, Any] = {
        "users_delta_link": delta_links.users,
        "groups_delta_link": delta_links.groups,
        "delta_selection": selection,
        "generation": cloud_idp.generation + 1,
        "last_good_read_at": plan.now,
        "next_sync_at": plan.now + delta_every(cloud_idp),
    }
    if plan.full or plan.full_read_reason:
        columns["full_read_reason"] = plan.full_read_reason
    if plan.full:
        columns["last_full_read_at"] = plan.now
        first = cloud_idp.first_complete_read_at or plan.now
        columns["first_complete_read_at"] = first
    later(*_CONNECTION.told(cloud_idp.pk, **columns))


_CONNECTION = CompiledChange(
    lambda number: CloudIdentityProvider.objects.filter(pk=number)
)


def _finish(
    lease: Lease,
    plan: Plan,
    written: Written,
    now: datetime,
    columns: Mapping[str, Any],
) -> None:
    held = lease.write(
        state=SyncRun.State.SUCCEEDED,
        phase="",
        changes=plan.counts,
        losses=plan.losses,
        rows_written=written.rows,
        finished_at=now,
        heartbeat_at=now,
        lease_expires_at=None,
        **columns,
    )
    if not held:
        raise LeaseLost
