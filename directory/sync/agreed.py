"""Decisions about held changes, as a run heeds them.

An approval is bound to what is held and to all that follows from it; a rejection to what
is held. Where one of these is another now, the decision is void.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import orjson
from pyroaring import BitMap

from directory.dependents import Consequence
from directory.models import (
    CloudIdentityProvider,
    DecidedChange,
    Decision,
    HeldChange,
)
from directory.sync.bitmaps import union
from directory.sync.differences import Plan
from directory.sync.foresee import foresee
from directory.sync.guards import Guard
from directory.sync.holds import Held, open_holds
from directory.sync.settle import release

VOID_CHANGED = "changed"
VOID_CONSEQUENCES = "consequences"
ENDED = "ended"
# Applied, but for memberships that wait for somebody else who is held.
APPLIED = "applied"


def what_follows(
    cloud_idp: CloudIdentityProvider, chosen: BitMap, *, now: datetime
) -> tuple[Plan, Sequence[Consequence]]:
    """Return what approving these held changes would apply, and what would follow."""
    plan = Plan(
        cloud_idp=cloud_idp,
        full=False,
        now=now,
        generation=cloud_idp.generation,
        holds=open_holds(cloud_idp),
    )
    release(plan, chosen)
    return plan, foresee(plan).consequences


def hash_of(consequences: Iterable[Consequence]) -> str:
    """Name exactly what follows; words about it do not count."""
    said = sorted(
        orjson.dumps(
            [
                each.kind.value,
                [each.about.app, each.about.kind, each.about.pk] if each.about else [],
                each.subject.value,
                list(each.numbers),
                list(each.what),
                sorted((n, *pair) for n, pair in each.differences.items()),
                list(each.groups),
                each.full_access,
            ]
        )
        for each in consequences
    )
    return hashlib.sha256(b"\n".join(said)).hexdigest()


def decisions_of(
    cloud_idp: CloudIdentityProvider,
) -> dict[Decision, dict[int, HeldChange]]:
    """Return the decisions in force, each with the changes it is about, by number."""
    found: dict[Decision, dict[int, HeldChange]] = defaultdict(dict)
    for held in HeldChange.objects.filter(
        cloud_idp=cloud_idp, closed_at=None, decision__isnull=False
    ).select_related("decision"):
        if held.decision is not None:
            found[held.decision][held.number] = held
    return found


def heed(plan: Plan, held: Held, *, applying: bool = True) -> None:
    """Hold what was rejected, and let go of what was approved once the holds stand.

    While everything is held, no approval is heeded.
    """
    # Decisions are about what is held.
    decisions = decisions_of(plan.cloud_idp) if plan.holds_before else {}
    if not decisions:
        return
    for decision, changes in decisions.items():
        if decision.verdict != Decision.Verdict.REJECTED:
            continue
        if decision.ends_at is not None and decision.ends_at <= plan.now:
            plan.decisions_over |= {each.pk: ENDED for each in changes.values()}
        else:
            for number in changes:
                hold_all_of(plan, held, number, [Guard.REJECTED])
    if applying:
        held.agreed = lambda settled: _agreed(settled, decisions)


def hold_all_of(plan: Plan, held: Held, number: int, guards: Iterable[str]) -> None:
    """Hold every difference of one object."""
    for guard in guards:
        if number in plan.people.changes or number in plan.people.new.numbers:
            held.hold_people([number], guard)
        if number in plan.groups.changes or number in plan.groups.new.numbers:
            held.hold_groups([number], guard)
        users, nesting = plan.users.get(number), plan.nesting.get(number)
        if users is not None:
            held.hold_users(number, guard, joined=users.joined, left=users.left)
        if nesting is not None:
            held.hold_nesting(number, guard, joined=nesting.joined, left=nesting.left)


def _agreed(
    plan: Plan, decisions: Mapping[Decision, Mapping[int, HeldChange]]
) -> BitMap:
    """Return what is approved and still the same; note which decisions are void."""
    agreed: list[BitMap] = []
    decided = _as_decided(decisions)
    for decision, changes in decisions.items():
        # What is stored may have changed since: while everything was held, or by a run
        # that failed.
        other = [
            held
            for number, held in changes.items()
            if number in plan.holds
            and plan.holds[number].payload_hash != decided[decision.pk].get(held.pk)
        ]
        if decision.verdict == Decision.Verdict.REJECTED:
            plan.decisions_over |= {
                held.pk: VOID_CHANGED
                for held in other
                if held.pk not in plan.decisions_over
            }
            continue
        here = BitMap(number for number in changes if number in plan.holds)
        if not here:
            continue
        gone = len(decided[decision.pk]) > len(here)
        if other or gone:
            plan.decisions_over |= {held.pk: VOID_CHANGED for held in changes.values()}
            continue
        _, consequences = what_follows(plan.cloud_idp, here, now=plan.now)
        if hash_of(consequences) != decision.consequences_hash:
            plan.decisions_over |= {
                held.pk: VOID_CONSEQUENCES for held in changes.values()
            }
        else:
            agreed.append(here)
    return union(agreed)


def _as_decided(decisions: Iterable[Decision]) -> dict[int, dict[int, str]]:
    """Return what each decision was about: the hash of each held change, as it was."""
    found: dict[int, dict[int, str]] = defaultdict(dict)
    for each in DecidedChange.objects.filter(decision__in=decisions):
        found[each.decision_id][each.held_id] = each.payload_hash
    return found
