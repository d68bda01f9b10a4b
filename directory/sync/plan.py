"""What applying a run will change: differences alone, worked out beforehand.

Guards say which parts of the differences are held; the rest, with what follows from it,
will be applied. Nothing here writes. A plan is valid while the connection's generation
is the one it was made from.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from pyroaring import BitMap

from directory.models import CloudIdentityProvider
from directory.sync import agreed, observe
from directory.sync.compare import Comparison
from directory.sync.differences import PRESENT, Change, Plan
from directory.sync.holds import Decide, Held, hold_nothing
from directory.sync.numbers import Register
from directory.sync.returned import Ask
from directory.sync.selection import Selection
from directory.sync.settle import complete, let_go_of_what_ends, release, settle
from directory.sync.stage import Round

Report = Callable[[str], None]


def make_plan(
    *,
    cloud_idp: CloudIdentityProvider,
    round_: Round,
    register: Register,
    selection: Selection,
    now: datetime,
    decide: Decide = hold_nothing,
    report: Report = lambda _phase: None,
    began_at: datetime | None = None,
    asked: int | None = None,
    fresh: BitMap | None = None,
    ask: Ask | None = None,
) -> Plan:
    """Plan what will be applied. `report` is told each step in words.

    What was read of `fresh` people and groups is left alone: it may be older than what
    is in effect. `ask` is asked which groups hold people who are back; without it they
    come back to those that held them.
    """
    plan, held = settled_plan(
        cloud_idp=cloud_idp,
        round_=round_,
        register=register,
        selection=selection,
        now=now,
        decide=decide,
        report=report,
        began_at=began_at,
        asked=asked,
        fresh=fresh,
        ask=ask,
    )
    if held.agreed is not None:
        chosen = held.agreed(plan)
        release(plan, chosen)
        plan.decisions_over |= {
            pk: agreed.APPLIED
            for number in chosen & BitMap(plan.holds)
            if (pk := plan.holds[number].pk) is not None
        }
    complete(plan, plan.listed)
    let_go_of_what_ends(plan)
    plan.counts = counted(plan)
    return plan


def settled_plan(
    *,
    cloud_idp: CloudIdentityProvider,
    round_: Round,
    register: Register,
    selection: Selection,
    now: datetime,
    decide: Decide,
    report: Report = lambda _phase: None,
    began_at: datetime | None = None,
    asked: int | None = None,
    fresh: BitMap | None = None,
    ask: Ask | None = None,
) -> tuple[Plan, Held]:
    """Compare what was read with the rows, and take out of it what is held."""
    comparison = Comparison(
        cloud_idp, round_, register, selection, now, fresh, ask, asked
    )
    report("Comparing people")
    comparison.compare_people()
    report("Comparing groups")
    comparison.compare_groups()
    report("Comparing memberships")
    comparison.compare_members()
    report("Deciding what is held")
    plan = comparison.plan
    plan.began_at, plan.asked = began_at, asked
    plan.listed = BitMap(register.hashes)
    held = decide(plan)
    plan.losses = held.losses
    settle(plan, held)
    return plan, held


def counted(plan: Plan) -> dict[str, int]:
    """Count what changes, in the words of the run's page."""
    counts = {
        **_counted_objects("users", plan.people.changes.values()),
        **_counted_objects("groups", plan.groups.changes.values()),
    }
    counts["users_added"] += len(plan.people.new.present)
    counts["groups_added"] += len(plan.groups.new.present)
    counts.update(
        memberships_added=sum(len(each.joined) for each in plan.users.values()),
        memberships_removed=sum(len(each.left) for each in plan.users.values()),
        nesting_added=sum(len(each.joined) for each in plan.nesting.values()),
        nesting_removed=sum(len(each.left) for each in plan.nesting.values()),
        held=len(plan.holds),
    )
    return counts


def _counted_objects(what: str, changes: Iterable[Change]) -> dict[str, int]:
    counts = dict.fromkeys(("added", "changed", "deleted", "restored", "unknown"), 0)
    for change in changes:
        counts[_sort(change)] += 1
    return {f"{what}_{name}": count for name, count in counts.items()}


def _sort(change: Change) -> str:
    before, after = change.state_before, change.state_after
    if after is None:
        return "changed"
    if after == PRESENT:
        return "restored" if before in observe.DEPARTED else "added"
    if before == PRESENT:
        return "deleted" if after in observe.DEPARTED else "unknown"
    return "changed"
