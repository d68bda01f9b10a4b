"""What a run holds: the guards, with all that they ask about."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import Q
from pyroaring import BitMap

from directory.dependents import Moment, Step, questions_of
from directory.entra.transport import TransferObserver
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    EverythingHeld,
    GuardLimits,
    SyncRun,
)
from directory.sync import agreed, confirm, guards, usage
from directory.sync.differences import PRESENT, Plan
from directory.sync.guards import Facts, Limit, Limits, Tally
from directory.sync.holds import Decide, Held
from directory.sync.selection import Selection
from directory.sync.stored import stored_users
from jamfidp.compiled import Compiled, Question, asked_together

# Limits count what was lost within this time.
WINDOW = timedelta(hours=24)
# A hundred groups have some thousands of members, most often enough to judge by.
GROUPS_AT_ONCE = 100


def decider(
    run: SyncRun, selection: Selection, observer: TransferObserver | None = None
) -> Decide:
    """Return what decides for a run: the guards, knowing what it follows upon.

    `observer` watches what is asked of Microsoft for it. A dry run plans what would be
    applied if not everything were held: it applies nothing anyway.
    """
    ask = partial(confirm.ask, observer=observer)

    def decide(plan: Plan) -> Held:
        with asked_together(_questions(run, plan)):
            facts = gather(plan, circumstances(run, plan, selection), ask)
        held = guards.judge(facts)
        held.losses = _stored(guards.tally(facts, held))
        everything = not run.dry_run and everything_held(plan.cloud_idp) is not None
        if everything:
            hold_everything(plan, held)
        agreed.heed(plan, held, applying=not everything)
        return held

    return decide


def _questions(run: SyncRun, plan: Plan) -> list[Question]:
    if not plan.moves:
        return []
    left = any(change.left for change in plan.users.values())
    return asked(run, now=plan.now, left=left)


def asked(run: SyncRun, *, now: datetime, left: bool) -> list[Question]:
    """Return what guards ask where something changes; `left` says that somebody leaves
    a group."""
    cloud_idp = run.cloud_idp
    moment = Moment(cloud_idp.pk, cloud_idp.tenant_id, now)
    asked = [*questions_of(Step.GUARDS, moment), _LIMITS.with_(cloud_idp.pk)]
    if cloud_idp.completely_read:
        asked.append(_BEFORE.with_(cloud_idp.pk, run.pk))
    if left:
        asked += [
            _LOSSES.with_(cloud_idp.pk, now - WINDOW),
            _MEMBERS.with_(cloud_idp.pk, 0),
        ]
    return asked


_EVERYTHING_HELD = Compiled(
    lambda cloud_idp: (
        EverythingHeld.objects.filter(released_at=None)
        .filter(Q(cloud_idp=cloud_idp) | Q(cloud_idp=None))
        .values_list("pk")[:1]
    )
)


def everything_held(cloud_idp: CloudIdentityProvider) -> EverythingHeld | None:
    """Return who said that nothing of a connection, or of any, is to be applied."""
    for (number,) in _EVERYTHING_HELD.rows(cloud_idp.pk):
        return EverythingHeld.objects.filter(pk=number).first()
    return None


def hold_everything(plan: Plan, held: Held) -> None:
    """Hold all that the plan does. Privileges are lost all the same, see observed.py."""
    guard = guards.Guard.EVERYTHING
    held.hold_people(plan.people.changes, guard)
    held.hold_people(plan.people.new.numbers, guard)
    held.hold_groups(plan.groups.changes, guard)
    held.hold_groups(plan.groups.new.numbers, guard)
    for group, change in plan.users.items():
        held.hold_users(group, guard, joined=change.joined, left=change.left)
    for group, change in plan.nesting.items():
        held.hold_nesting(group, guard, joined=change.joined, left=change.left)
    held.losses = {}


_LIMITED = ("people", "memberships", "members")
_LIMITS = Compiled(
    lambda cloud_idp: GuardLimits.objects.filter(cloud_idp=cloud_idp).values_list(
        *(f"{name}_{how}" for name in _LIMITED for how in ("percent", "absolute"))
    )
)


def limits_of(cloud_idp: CloudIdentityProvider) -> Limits:
    usual = Limits()
    for chosen in _LIMITS.rows(cloud_idp.pk):
        return Limits(
            **{
                name: Limit(percent, absolute, few=getattr(usual, name).few)
                for name, percent, absolute in zip(
                    _LIMITED, chosen[::2], chosen[1::2], strict=True
                )
            }
        )
    return usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a read follows upon that makes it less believable."""

    after_error: bool = False
    after_restore: bool = False
    selection_changed: bool = False


_BEFORE = Compiled(
    lambda cloud_idp, run: (
        SyncRun.objects.reads()
        .filter(cloud_idp=cloud_idp, finished_at__isnull=False, dry_run=False)
        .exclude(pk=run)
        .exclude(state=SyncRun.State.CANCELED)
        .exclude(error_code="console:disabled")
        .values_list("state")[:1]
    )
)


def circumstances(run: SyncRun, plan: Plan, selection: Selection) -> Circumstances:
    cloud_idp = plan.cloud_idp
    if not cloud_idp.completely_read:
        return Circumstances()
    before = _BEFORE.rows(cloud_idp.pk, run.pk)
    return Circumstances(
        after_error=run.is_read and before == [(SyncRun.State.FAILED,)],
        after_restore=plan.full and not_read_since_restore(cloud_idp),
        selection_changed=cloud_idp.delta_selection != selection.signature,
    )


def not_read_since_restore(cloud_idp: CloudIdentityProvider) -> bool:
    restored, read = cloud_idp.restored_at, cloud_idp.last_good_read_at
    return restored is not None and (read is None or read <= restored)


def gather(
    plan: Plan,
    follows: Circumstances = Circumstances(),
    ask: confirm.Ask = lambda _cloud_idp, _asked: {},
) -> Facts:
    """Collect what the rules decide by; little where the plan takes nothing away.

    `ask` looks up losses of privileges that rest on absence. What it confirms, the plan
    then takes as told by Entra.
    """
    in_use = usage.groups_in_use(plan.cloud_idp) if plan.moves else {}
    own = usage.people_in_use(plan.cloud_idp) if plan.moves else {}
    used, given = usage.used_groups(plan, in_use)
    given |= usage.given_to_people(plan, own)
    asked = confirm.question(plan, used, own)
    unconfirmed = ask(plan.cloud_idp, asked) if asked else {}
    confirm.believe(plan, used, asked, unconfirmed)
    if not (follows.after_restore or _held_since_restore(plan)):
        plan.unconfirmed = {loss: str(answer) for loss, answer in unconfirmed.items()}
    members: dict[int, BitMap] = {}
    for number, group in unconfirmed:
        if group is not None:
            members.setdefault(group, BitMap()).add(number)
    facts = Facts(
        plan=plan,
        limits=limits_of(plan.cloud_idp),
        members_of_lost=stored_users(
            number
            for number, change in plan.groups.changes.items()
            if guards.is_lost(change)
        ),
        used=used,
        given_full_access=given,
        unconfirmed_people=BitMap(n for n, group in unconfirmed if group is None),
        unconfirmed_members=members,
        after_error=follows.after_error,
        after_restore=follows.after_restore,
        selection_changed=follows.selection_changed,
    )
    lost = facts.lost
    if lost:
        facts.recent = recent(plan)
        enough = guards.enough(facts)
        # Where none is lost no rule looks at how many there are.
        if lost.people:
            facts.people = _people(plan.cloud_idp, enough.people)
        if lost.memberships:
            facts.memberships = _memberships(plan.cloud_idp, enough.memberships)
    return facts


def _people(cloud_idp: CloudIdentityProvider, enough: int) -> int:
    """Count people in effect, up to so many."""
    present = DirectoryUser.objects.filter(cloud_idp=cloud_idp, state=PRESENT)
    return present[:enough].count()


_MEMBERS = Compiled(
    lambda cloud_idp, after: (
        DirectoryGroup.objects.filter(cloud_idp=cloud_idp, pk__gt=after)
        .order_by("pk")
        .values_list("pk", "direct_users")[:GROUPS_AT_ONCE]
    )
)


def _memberships(cloud_idp: CloudIdentityProvider, enough: int) -> int:
    """Add up the direct members in effect, until there are so many."""
    total = after = 0
    while total < enough:
        groups = _MEMBERS.rows(cloud_idp.pk, after)
        total += sum(members for _group, members in groups)
        if len(groups) < GROUPS_AT_ONCE:
            break
        after = groups[-1][0]
    return total


def _held_since_restore(plan: Plan) -> bool:
    """Whether losses are held that a backup did not know: none of them is waited for,
    since their privileges were suspended before."""
    restore = guards.Guard.AFTER_RESTORE
    return any(restore in hold.guards for hold in plan.holds_before.values())


_LOSSES = Compiled(
    lambda cloud_idp, since: (
        SyncRun.objects.filter(
            cloud_idp=cloud_idp, state=SyncRun.State.SUCCEEDED, finished_at__gt=since
        )
        .order_by()
        .values_list("losses")
    )
)


def recent(plan: Plan) -> Tally:
    """Add up what took effect of losses within the last 24 hours."""
    total = Tally()
    for (losses,) in _LOSSES.rows(plan.cloud_idp.pk, plan.now - WINDOW):
        total.people += losses.get("people", 0)
        total.memberships += losses.get("memberships", 0)
        for group, members in losses.get("members", {}).items():
            total.members[int(group)] = total.members.get(int(group), 0) + members
    return total


def _stored(tally: Tally) -> dict[str, Any]:
    """The tally as SyncRun.losses keeps it, without what is zero."""
    found: dict[str, int | Mapping[str, int]] = {
        "people": tally.people,
        "memberships": tally.memberships,
        "members": {str(group): lost for group, lost in tally.members.items()},
    }
    return {name: value for name, value in found.items() if value}
