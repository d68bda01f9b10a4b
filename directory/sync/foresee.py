"""What follows from a plan for the features above, before anything is written.

Guards ask it of everything that was read; the run asks it again of what is left to be
applied. Nothing here writes, and nothing is asked where nothing changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyroaring import BitMap

from directory.dependents import (
    Consequence,
    Moment,
    Step,
    questions_of,
    registered,
)
from directory.planned import PlannedChange, PlannedRows
from directory.sync.attributes import Row
from directory.sync.derive import Derived, derive
from directory.sync.differences import MemberChange, NewObjects, Objects, Plan
from directory.sync.settle import complete
from jamfidp.compiled import asked_together


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A plan with all that follows from it, as if nothing of it were held."""

    plan: Plan
    derived: Derived
    planned: PlannedChange
    consequences: Sequence[Consequence]


def foresee(plan: Plan) -> Foreseen:
    """Work out everything that the plan would do, leaving the plan as it is."""
    whole = _copy(plan)
    complete(whole, plan.listed)
    found = Foreseen(whole, *_followed(whole))
    plan.foreseen = found
    return found


def after_guards(plan: Plan) -> tuple[Derived, Sequence[Consequence]]:
    """What follows from what is left of a plan: as foreseen, where nothing is held."""
    seen = plan.foreseen
    if isinstance(seen, Foreseen) and not plan.holds:
        return seen.derived, seen.consequences
    derived, _planned, consequences = _followed(plan)
    return derived, consequences


def _followed(plan: Plan) -> tuple[Derived, PlannedChange, Sequence[Consequence]]:
    idp = plan.cloud_idp
    questions = questions_of(Step.CONSEQUENCES, Moment(idp.pk, idp.tenant_id, plan.now))
    with asked_together(questions if plan.moves else ()):
        derived = derive(plan)
        planned = planned_change(plan, derived)
        return derived, planned, consequences_of(planned, plan)


def consequences_of(planned: PlannedChange, plan: Plan) -> Sequence[Consequence]:
    """Ask every feature what would follow; the gravest comes first."""
    if not planned:
        return ()
    found = [
        each
        for dependents in registered()
        for each in dependents.consequences(planned, now=plan.now)
    ]
    order = list(type(found[0].kind)) if found else []
    return sorted(found, key=lambda each: (order.index(each.kind), -each.count))


def planned_change(plan: Plan, derived: Derived) -> PlannedChange:
    """The plan as features read it."""
    cloud_idp = plan.cloud_idp
    return PlannedChange(
        cloud_idp_id=cloud_idp.pk,
        tenant_id=cloud_idp.tenant_id,
        full=plan.full,
        first=plan.full and not cloud_idp.completely_read,
        asked=plan.asked,
        began_at=plan.began_at,
        people=_rows(plan.people),
        groups=_rows(plan.groups),
        users={
            **derived.bitmaps_added,
            **derived.bitmaps_changed,
        },
        without_users=derived.bitmaps_removed,
        closure_added=derived.closure_added,
        closure_removed=derived.closure_removed,
    )


def _rows(objects: Objects[Row]) -> PlannedRows:
    return PlannedRows(
        changed={number: change.after for number, change in objects.changes.items()},
        new=objects.new.numbers,
        new_rows=objects.new.rows,
        forgotten=objects.forgotten,
    )


def _copy(plan: Plan) -> Plan:
    return replace(
        plan,
        people=_copied(plan.people),
        groups=_copied(plan.groups),
        users=_copied_members(plan.users),
        nesting=_copied_members(plan.nesting),
        others=_copied_members(plan.others),
        users_before=dict(plan.users_before),
        nesting_before=dict(plan.nesting_before),
    )


def _copied(objects: Objects[Row]) -> Objects[Row]:
    new = objects.new
    return Objects(
        changes=dict(objects.changes),
        new=NewObjects(
            numbers=BitMap(new.numbers),
            present=BitMap(new.present),
            kept=dict(new.kept),
            stream=new.stream,
        ),
        forgotten=BitMap(objects.forgotten),
    )


def _copied_members(changes: dict[int, MemberChange]) -> dict[int, MemberChange]:
    return {
        group: MemberChange(
            BitMap(change.joined), BitMap(change.left), BitMap(change.inferred)
        )
        for group, change in changes.items()
    }
