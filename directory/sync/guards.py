"""Which parts of a plan wait until somebody agrees: the rules, and nothing else.

Pure: facts in, held parts out. A guard never looks at what a loss means for privileges:
those are lost whether or not the loss is held, see HeldChange.

Of small numbers a percentage says nothing: one of four members is a quarter of them, and
people do leave. A percentage counts only from a few lost on (`Limit.few`), the absolute
number always. What was lost in the last 24 hours counts with what this run would lose,
against what there was then; so what a run loses alone needs no rule of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pyroaring import BitMap

from directory.dependents import Gives
from directory.models import DirectoryObject
from directory.sync.bitmaps import union
from directory.sync.differences import PRESENT, Change, MemberChange, Plan
from directory.sync.holds import Held, HeldSet

# A full read that leaves out this part of what is known is no answer to believe.
SUSPICIOUS_PERCENT = 50
SUSPICIOUS_FEW = 2
# A changed group of these columns has other members by itself.
RULE_COLUMNS = frozenset({"membership_rule", "is_dynamic", "kind"})


class Guard(StrEnum):
    """What holds a change; the value stands in HeldChange.guards."""

    PEOPLE_LOST = "people-lost"
    MEMBERSHIPS_LOST = "memberships-lost"
    MEMBERS_LOST = "members-lost"
    ANSWER_SMALL = "answer-small"
    AFTER_ERROR = "after-error"
    TOLD_AFTER_ERROR = "told-after-error"
    AFTER_RESTORE = "after-restore"
    SELECTION_CHANGED = "selection-changed"
    FULL_ACCESS = "full-access"
    NEW_NESTING = "new-nesting"
    CHANGED_RULE = "changed-rule"
    UNCONFIRMED = "unconfirmed"
    RUN_FAILED = "run-failed"
    REJECTED = "rejected"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Limit:
    """From when on a loss is held: whichever is met first."""

    percent: int
    absolute: int
    few: int

    def met(self, lost: int, *, of: int) -> bool:
        if not lost:
            return False
        if lost >= self.absolute:
            return True
        return lost >= self.few and lost * 100 >= self.percent * of

    def enough(self, lost: int) -> int:
        """Return of how many it is not met by the percentage; of more neither."""
        return lost * 100 // self.percent + 1 if self.percent else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    people: Limit = Limit(10, 500, few=5)
    memberships: Limit = Limit(5, 2000, few=10)
    # Of each group that a scope or privilege uses.
    members: Limit = Limit(20, 10, few=3)


@dataclass(slots=True)
class Tally:
    """What was lost; `members` by group in use."""

    people: int = 0
    memberships: int = 0
    members: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A group in use, and who counts for it before and after the plan."""

    group: int
    gives: Gives = Gives.NOTHING
    nested: bool = False
    # Groups whose members count for it now, itself included.
    below: BitMap
    before: BitMap = field(default_factory=BitMap)
    after: BitMap = field(default_factory=BitMap)

    @property
    def lost(self) -> BitMap:
        return self.before - self.after


@dataclass(slots=True)
class Lost:
    """What a plan takes away. Whoever is lost takes their memberships along: these are
    counted with the person."""

    people: BitMap = field(default_factory=BitMap)
    groups: BitMap = field(default_factory=BitMap)
    users: dict[int, BitMap] = field(default_factory=dict)
    nesting: dict[int, BitMap] = field(default_factory=dict)
    memberships: int = 0

    def __bool__(self) -> bool:
        return bool(self.people or self.groups or self.users or self.nesting)


@dataclass(slots=True, kw_only=True)
class Facts:
    """All that the rules decide by."""

    plan: Plan
    limits: Limits = field(default_factory=Limits)
    # How many there are in effect; where there are more than `enough`, these.
    people: int = 0
    memberships: int = 0
    # People in each group that the plan loses.
    members_of_lost: Mapping[int, BitMap] = field(default_factory=dict)
    # Lost in the last 24 hours, without what somebody agreed to.
    recent: Tally = field(default_factory=Tally)
    used: Sequence[Used] = ()
    # People to whom the plan gives Full Access.
    given_full_access: BitMap = field(default_factory=BitMap)
    # Losses of privileges that rest on absence and that Microsoft did not confirm: of
    # people, and of members by the group that gives the privileges.
    unconfirmed_people: BitMap = field(default_factory=BitMap)
    unconfirmed_members: Mapping[int, BitMap] = field(default_factory=dict)
    after_error: bool = False
    after_restore: bool = False
    selection_changed: bool = False
    lost: Lost = field(init=False)
    # What a full read left out without Entra saying so.
    inferred: Lost = field(init=False)

    def __post_init__(self) -> None:
        self.lost = losses(self.plan, self.members_of_lost)
        self.inferred = losses(self.plan, self.members_of_lost, inferred=True)


def is_lost(change: Change) -> bool:
    return change.state_before == PRESENT and change.state_after != PRESENT


def losses(
    plan: Plan, members_of_lost: Mapping[int, BitMap], *, inferred: bool = False
) -> Lost:
    """Return what the plan takes away; with `inferred` what rests on absence alone."""

    def picked(changes: Mapping[int, Change]) -> BitMap:
        return BitMap(
            number
            for number, change in changes.items()
            if is_lost(change) and not (inferred and change.told)
        )

    gone = BitMap(n for n, change in plan.people.changes.items() if is_lost(change))
    lost = Lost(people=picked(plan.people.changes), groups=picked(plan.groups.changes))
    lost.users = _left(plan.users, without=gone, inferred=inferred)
    lost.nesting = _left(plan.nesting, without=BitMap(), inferred=inferred)
    lost.memberships = sum(map(len, lost.users.values()))
    for group in lost.groups:
        members = members_of_lost.get(group, _NOBODY) - gone
        lost.memberships += len(members - lost.users.get(group, _NOBODY))
    return lost


_NOBODY = BitMap()


def _left(
    changes: Mapping[int, MemberChange], *, without: BitMap, inferred: bool
) -> dict[int, BitMap]:
    found = {}
    for group, change in changes.items():
        left = change.left
        if inferred:
            left = left & change.inferred if change.inferred else _NOBODY
        if without and left:
            left = left - without
        if left:
            found[group] = left
    return found


@dataclass(frozen=True, slots=True)
class Enough:
    """How many people and memberships there may be and still be of weight: rules judge
    no other where there are more."""

    people: int
    memberships: int


def enough(facts: Facts) -> Enough:
    """Say how far to count what is in effect, which in a large directory takes long."""
    suspicious = Limit(SUSPICIOUS_PERCENT, 0, few=SUSPICIOUS_FEW)
    limits, lost, recent = facts.limits, facts.lost, facts.recent
    return Enough(
        people=max(
            limits.people.enough(len(lost.people) + recent.people),
            suspicious.enough(len(facts.inferred.people)),
        ),
        memberships=max(
            limits.memberships.enough(lost.memberships + recent.memberships),
            suspicious.enough(facts.inferred.memberships),
        ),
    )


def judge(facts: Facts) -> Held:
    """Apply every rule, and keep held what was held as a loss and is still one."""
    held = Held()
    for rule in RULES:
        rule.hold(facts, held)
    _keep(facts, held)
    return held


# --- Losses


def _people_lost(facts: Facts, held: Held) -> None:
    lost, recent = len(facts.lost.people), facts.recent.people
    if lost and facts.limits.people.met(lost + recent, of=facts.people + recent):
        held.hold_people(facts.lost.people, Guard.PEOPLE_LOST)


def _memberships_lost(facts: Facts, held: Held) -> None:
    lost, recent = facts.lost.memberships, facts.recent.memberships
    limit = facts.limits.memberships
    if lost and limit.met(lost + recent, of=facts.memberships + recent):
        _hold_memberships(facts.lost, held, Guard.MEMBERSHIPS_LOST)


def _members_lost(facts: Facts, held: Held) -> None:
    for used in facts.used:
        lost, recent = len(used.lost), facts.recent.members.get(used.group, 0)
        of = len(used.before) + recent
        if lost and facts.limits.members.met(lost + recent, of=of):
            hold_loss_of(used, facts.lost, held)


def hold_loss_of(
    used: Used,
    lost: Lost,
    held: Held,
    guard: Guard = Guard.MEMBERS_LOST,
    people: BitMap | None = None,
) -> None:
    """Hold all by which the group would lose people, or some of them."""
    people = used.lost if people is None else people
    held.hold_people(lost.people & people, guard)
    held.hold_groups(lost.groups & used.below, guard)
    for group, left in lost.users.items():
        if group in used.below and left.intersect(people):
            held.hold_users(group, guard, left=left & people)
    for group, left in lost.nesting.items():
        if used.nested and group in used.below:
            held.hold_nesting(group, guard, left=left)


def _unconfirmed(facts: Facts, held: Held) -> None:
    held.hold_people(
        facts.unconfirmed_people & facts.inferred.people, Guard.UNCONFIRMED
    )
    for used in facts.used:
        people = facts.unconfirmed_members.get(used.group)
        if people:
            hold_loss_of(used, facts.inferred, held, Guard.UNCONFIRMED, people)


def _answer_small(facts: Facts, held: Held) -> None:
    inferred = facts.inferred
    for lost, of in (
        (len(inferred.people), facts.people),
        (inferred.memberships, facts.memberships),
    ):
        if lost >= SUSPICIOUS_FEW and lost * 100 >= SUSPICIOUS_PERCENT * of:
            _hold_all(inferred, held, Guard.ANSWER_SMALL)


def _after_error(facts: Facts, held: Held) -> None:
    # What a full read leaves out may be the error going on: somebody has to look.
    if facts.after_error and facts.plan.full:
        _hold_all(facts.inferred, held, Guard.AFTER_ERROR)


def _told_after_error(facts: Facts, held: Held) -> None:
    """Let what Entra itself says wait for a second read without an error.

    Most errors are outages that heal by themselves, and people leave meanwhile: if
    each of them waited for a person, nobody would look any more. A read that comes
    well after this one has had the chance to say otherwise; what it leaves standing is
    applied by it.
    """
    if not facts.after_error:
        return
    lost, inferred = facts.lost, facts.inferred
    guard = Guard.TOLD_AFTER_ERROR
    held.hold_people(lost.people - inferred.people, guard)
    held.hold_groups(lost.groups - inferred.groups, guard)
    for group, left in lost.users.items():
        if told := left - inferred.users.get(group, _NOBODY):
            held.hold_users(group, guard, left=told)
    for group, left in lost.nesting.items():
        if told := left - inferred.nesting.get(group, _NOBODY):
            held.hold_nesting(group, guard, left=told)


def _after_restore(facts: Facts, held: Held) -> None:
    if facts.after_restore:
        _hold_all(facts.inferred, held, Guard.AFTER_RESTORE)


def _selection_changed(facts: Facts, held: Held) -> None:
    # Nothing need have changed in Entra: what is lost now, the new selection loses.
    if not facts.selection_changed:
        return
    _hold_all(facts.lost, held, Guard.SELECTION_CHANGED)
    held.hold_people(_unnamed(facts.plan), Guard.SELECTION_CHANGED)


def _unnamed(plan: Plan) -> BitMap:
    """People who lose the user name that devices are matched by."""
    return BitMap(
        number
        for number, change in plan.people.changes.items()
        if change.before.get("user_name") and change.after.get("user_name") == ""
    )


def _hold_all(lost: Lost, held: Held, guard: Guard) -> None:
    held.hold_people(lost.people, guard)
    _hold_memberships(lost, held, guard)


def _hold_memberships(lost: Lost, held: Held, guard: Guard) -> None:
    held.hold_groups(lost.groups, guard)
    for group, left in lost.users.items():
        held.hold_users(group, guard, left=left)
    for group, left in lost.nesting.items():
        held.hold_nesting(group, guard, left=left)


# --- Gains of privileges


def _full_access(facts: Facts, held: Held) -> None:
    given = facts.given_full_access
    if not given:
        return
    plan = facts.plan
    # In one run nobody is given it twice: holding the person is enough where they
    # themselves change, and holding the membership where that does.
    held.hold_people(_becoming(plan.people.changes, given), Guard.FULL_ACCESS)
    for used in _giving(facts, Gives.FULL_ACCESS):
        for group in used.below:
            joined = _change(plan.users, group).joined & given
            if joined:
                held.hold_users(group, Guard.FULL_ACCESS, joined=joined)
        back = {
            group: change
            for group, change in plan.groups.changes.items()
            if group in used.below and change.state_after == PRESENT
        }
        held.hold_groups(back, Guard.FULL_ACCESS)


def _becoming(changes: Mapping[int, Change], people: BitMap) -> BitMap:
    """Those of the people who change in what lets them hold privileges."""
    columns = {"state", "account_enabled", "user_type"}
    return BitMap(
        number
        for number, change in changes.items()
        if number in people and columns & change.after.keys()
    )


def _new_nesting(facts: Facts, held: Held) -> None:
    for used in _giving(facts, Gives.PRIVILEGES):
        for group in used.below if used.nested else ():
            joined = _change(facts.plan.nesting, group).joined
            if joined:
                held.hold_nesting(group, Guard.NEW_NESTING, joined=joined)


def _changed_rule(facts: Facts, held: Held) -> None:
    plan = facts.plan
    for used in _giving(facts, Gives.PRIVILEGES):
        for group in used.below:
            change = plan.groups.changes.get(group)
            if change is None or "state" in change.after:
                continue
            if not RULE_COLUMNS & change.after.keys():
                continue
            # Entra may need hours to follow a rule: whoever joins until somebody
            # agrees to the rule waits with it.
            held.hold_groups([group], Guard.CHANGED_RULE)
            joined = _change(plan.users, group).joined
            if joined:
                held.hold_users(group, Guard.CHANGED_RULE, joined=joined)


def _giving(facts: Facts, least: Gives) -> Iterable[Used]:
    return (used for used in facts.used if used.gives >= least)


def _change(changes: Mapping[int, MemberChange], group: int) -> MemberChange:
    return changes.get(group) or MemberChange()


# --- The table


@dataclass(frozen=True, slots=True)
class Rule:
    """One guard: what it is called, why it holds, and what."""

    guard: Guard
    title: str
    why: str
    hold: Callable[[Facts, Held], None]
    # Held as a loss: it stays held until Entra takes it back or somebody decides.
    loss: bool = True


RULES: Sequence[Rule] = (
    Rule(
        Guard.PEOPLE_LOST,
        "Many people lost",
        "More people would be lost, in this sync or within 24 hours, than the limit "
        "of the connection allows.",
        _people_lost,
    ),
    Rule(
        Guard.MEMBERSHIPS_LOST,
        "Many memberships lost",
        "More memberships would be lost, in this sync or within 24 hours, than the "
        "limit of the connection allows.",
        _memberships_lost,
    ),
    Rule(
        Guard.MEMBERS_LOST,
        "A group in use shrinks",
        "A group that a scope or a privilege uses would lose more of its members than "
        "the limit of the connection allows.",
        _members_lost,
    ),
    Rule(
        Guard.ANSWER_SMALL,
        "Suspiciously small answer",
        "A full read left out half of what is known, or more, and Entra did not say "
        "that it was removed.",
        _answer_small,
    ),
    Rule(
        Guard.AFTER_ERROR,
        "First read after an error",
        "The sync before failed, and this full read left it out without Entra saying "
        "that it was removed.",
        _after_error,
    ),
    Rule(
        Guard.TOLD_AFTER_ERROR,
        "First read after an error, told by Entra",
        "The sync before failed. Entra itself says that it was removed, so nobody has to "
        "decide: the next sync that succeeds applies it, unless Entra takes it back.",
        _told_after_error,
        loss=False,
    ),
    Rule(
        Guard.AFTER_RESTORE,
        "First read after a restore",
        "The console's database was restored from a backup, and this full read left it "
        "out without Entra saying that it was removed.",
        _after_restore,
    ),
    Rule(
        Guard.SELECTION_CHANGED,
        "Mapping or filter changed",
        "It was lost in the first read after the attribute mappings or the filters "
        "changed, so the change here may be the cause, and not Entra.",
        _selection_changed,
    ),
    Rule(
        Guard.UNCONFIRMED,
        "Not confirmed by Microsoft",
        "A full read left it out. Asked about it, Microsoft said otherwise or did not "
        "answer, so privileges that rest on it stay for as long as the directory may "
        "be old, and end then.",
        _unconfirmed,
        loss=False,
    ),
    Rule(
        Guard.FULL_ACCESS,
        "Gives Full Access",
        "It would give somebody Full Access to this console, or more of it than they "
        "have.",
        _full_access,
        loss=False,
    ),
    Rule(
        Guard.NEW_NESTING,
        "Gives privileges by nesting",
        "A group would newly be inside a group that gives privileges in this console.",
        _new_nesting,
        loss=False,
    ),
    Rule(
        Guard.CHANGED_RULE,
        "Gives privileges by another rule",
        "A group that gives privileges in this console has another membership rule or "
        "another type, and by it other members.",
        _changed_rule,
        loss=False,
    ),
)

# Written by a run that failed: what it had read of losses of privileges.
FAILED_RUN = (
    "Sync failed",
    "The sync that read it failed later on. Privileges are lost at once; the rest waits "
    "for the next sync that succeeds.",
)
WORDS: Mapping[str, tuple[str, str]] = {
    **{rule.guard.value: (rule.title, rule.why) for rule in RULES},
    Guard.RUN_FAILED.value: FAILED_RUN,
    Guard.REJECTED.value: (
        "Rejected",
        "Somebody decided that it stays as it was here, until the rejection ends.",
    ),
    Guard.EVERYTHING.value: (
        "Everything is held",
        "Somebody said that nothing is to be applied.",
    ),
}

# The guards of what ends with the next sync that succeeds: nobody is asked about it.
ENDS_BY_ITSELF = [Guard.TOLD_AFTER_ERROR.value]

_LOSSES = frozenset(rule.guard.value for rule in RULES if rule.loss)


def _keep(facts: Facts, held: Held) -> None:
    """Hold on to losses that were held: fewer of them are no agreement to the rest."""
    plan = facts.plan
    # Who was held themselves: what is held of their memberships follows from that.
    followed = {
        kind: BitMap(
            number
            for number, hold in plan.holds_before.items()
            if hold.kind == kind and hold.row is not None
        )
        for kind in DirectoryObject.Kind
    }
    for number, hold in plan.holds_before.items():
        for guard in _LOSSES.intersection(hold.guards):
            if number in facts.lost.people or (
                hold.row is not None and number in _unnamed(plan)
            ):
                held.hold_people([number], guard)
            elif hold.row is not None and number in facts.lost.groups:
                held.hold_groups([number], guard)
            users = facts.lost.users.get(number, _NOBODY) & hold.users.left
            users -= followed[DirectoryObject.Kind.USER]
            if users:
                held.hold_users(number, guard, left=users)
            groups = facts.lost.nesting.get(number, _NOBODY) & hold.groups.left
            groups -= followed[DirectoryObject.Kind.GROUP]
            if groups:
                held.hold_nesting(number, guard, left=groups)


def tally(facts: Facts, held: Held) -> Tally:
    """Count what takes effect of the losses, for the limits of the next 24 hours."""
    lost = facts.lost
    counted = Tally(people=len(lost.people - BitMap(held.people)))
    counted.memberships = sum(
        len(left - held.users.get(group, HeldSet()).left)
        for group, left in lost.users.items()
    )
    for group in lost.groups - BitMap(held.groups):
        left = facts.members_of_lost.get(group, _NOBODY) - lost.people
        counted.memberships += len(left - lost.users.get(group, _NOBODY))
    for used in facts.used:
        kept = union(held.users[g].left for g in used.below if g in held.users)
        members = len(used.lost - kept - BitMap(held.people))
        if members and not BitMap(held.groups).intersect(used.below):
            counted.members[used.group] = members
    return counted
