"""What guards hold: one table of the rules, and each of them through real rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pyroaring import BitMap

from directory.dependents import Gives
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    GuardLimits,
    HeldChange,
    SyncRun,
)
from directory.sync.attributes import NEW_USER
from directory.sync.decide import Circumstances, gather, recent
from directory.sync.differences import Change, MemberChange, Plan
from directory.sync.guards import (
    Facts,
    Guard,
    Limits,
    Tally,
    Used,
    enough,
    judge,
    tally,
)
from directory.sync.holds import Decide, Held, Hold
from scoping.models import Scope, ScopeEntry
from tests import factories
from tests.directory.rounds import (
    group,
    guid,
    left,
    member,
    number_of,
    removed,
    take,
    user,
)

TEAM, OTHER = 1001, 1002


def plan_of(
    *,
    people: int = 0,
    memberships: int = 0,
    told: bool = True,
    joined: dict[int, BitMap] | None = None,
) -> Plan:
    """A plan that loses so many people (1, 2, ...) and memberships (501, ... in TEAM)."""
    plan = Plan(
        cloud_idp=CloudIdentityProvider(), full=True, now=timezone.now(), generation=1
    )
    for number in range(1, people + 1):
        plan.people.changes[number] = Change(
            {"state": "PRESENT"}, {"state": "DELETED"}, told=told
        )
    gone = BitMap(range(501, 501 + memberships))
    if gone:
        inferred = BitMap() if told else gone
        plan.users[TEAM] = MemberChange(left=gone, inferred=inferred)
    for number, some in (joined or {}).items():
        plan.users[number] = MemberChange(joined=some)
    return plan


def guards_of(held: Held) -> set[str]:
    return {
        guard
        for names in (held.people, held.groups, held.members)
        for some in names.values()
        for guard in some
    }


@pytest.mark.parametrize(
    ("lost", "of", "recently", "is_held"),
    [
        # Ten percent, from five on.
        (99, 1000, 0, False),
        (100, 1000, 0, True),
        (4, 10, 0, False),
        (5, 50, 0, True),
        (5, 51, 0, False),
        # 500, however many there are.
        (499, 1_000_000, 0, False),
        (500, 1_000_000, 0, True),
        # What was lost in the last 24 hours counts, and was there then.
        (1, 1_000_000, 498, False),
        (1, 1_000_000, 499, True),
        (1, 91, 9, True),
        (1, 92, 9, False),
        (0, 10, 5000, False),
    ],
)
def test_f39_people_lost(lost: int, of: int, recently: int, is_held: bool) -> None:
    facts = Facts(plan=plan_of(people=lost), people=of, recent=Tally(people=recently))
    held = judge(facts)

    assert (Guard.PEOPLE_LOST in guards_of(held)) == is_held
    assert len(held.people) == (lost if is_held else 0)
    assert tally(facts, held).people == (0 if is_held else lost)
    counted = replace(facts, people=min(of, enough(facts).people))
    assert guards_of(judge(counted)) == guards_of(held)


@pytest.mark.parametrize(
    ("lost", "of", "recently", "is_held"),
    [
        # Five percent, from ten on.
        (49, 1000, 0, False),
        (50, 1000, 0, True),
        (9, 20, 0, False),
        (10, 200, 0, True),
        (10, 201, 0, False),
        # 2,000, however many there are.
        (1999, 1_000_000, 0, False),
        (2000, 1_000_000, 0, True),
        (1, 1_000_000, 1998, False),
        (1, 1_000_000, 1999, True),
    ],
)
def test_f39_memberships_lost(lost: int, of: int, recently: int, is_held: bool) -> None:
    facts = Facts(
        plan=plan_of(memberships=lost),
        memberships=of,
        recent=Tally(memberships=recently),
    )
    held = judge(facts)

    assert (Guard.MEMBERSHIPS_LOST in guards_of(held)) == is_held
    assert len(held.users[TEAM].left if is_held else ()) == (lost if is_held else 0)
    assert tally(facts, held).memberships == (0 if is_held else lost)
    counted = replace(facts, memberships=min(of, enough(facts).memberships))
    assert guards_of(judge(counted)) == guards_of(held)


@pytest.mark.parametrize(
    ("lost", "of", "recently", "is_held"),
    [
        # Twenty percent, from three on.
        (2, 2, 0, False),
        (3, 15, 0, True),
        (3, 16, 0, False),
        # Ten, however many there are.
        (9, 1000, 0, False),
        (10, 1000, 0, True),
        (1, 1000, 8, False),
        (1, 1000, 9, True),
    ],
)
def test_f39_members_lost_of_a_group_in_use(
    lost: int, of: int, recently: int, is_held: bool
) -> None:
    before = BitMap(range(501, 501 + of))
    used = Used(
        group=TEAM,
        below=BitMap([TEAM]),
        before=before,
        after=before - BitMap(range(501, 501 + lost)),
    )
    facts = Facts(
        plan=plan_of(memberships=lost),
        memberships=1_000_000,
        recent=Tally(members={TEAM: recently}),
        used=[used],
    )
    held = judge(facts)

    assert (Guard.MEMBERS_LOST in guards_of(held)) == is_held
    assert tally(facts, held).members == ({} if is_held else {TEAM: lost})


@pytest.mark.parametrize(
    ("facts", "guards"),
    [
        # Half of what is known is left out.
        (
            {"plan": plan_of(people=2, told=False), "people": 4},
            {Guard.ANSWER_SMALL},
        ),
        ({"plan": plan_of(people=2, told=False), "people": 5}, set()),
        ({"plan": plan_of(people=2), "people": 4}, set()),
        ({"plan": plan_of(people=1, told=False), "people": 1}, set()),
        (
            {"plan": plan_of(memberships=4, told=False), "memberships": 8},
            {Guard.ANSWER_SMALL},
        ),
        # After an error a full read is not believed about what it leaves out.
        (
            {
                "plan": plan_of(people=1, told=False),
                "people": 900,
                "after_error": True,
            },
            {Guard.AFTER_ERROR},
        ),
        # What Entra itself says waits for a second read.
        (
            {"plan": plan_of(people=1), "people": 900, "after_error": True},
            {Guard.TOLD_AFTER_ERROR},
        ),
        (
            {
                "plan": plan_of(memberships=1),
                "memberships": 900,
                "after_error": True,
            },
            {Guard.TOLD_AFTER_ERROR},
        ),
        (
            {
                "plan": plan_of(memberships=1, told=False),
                "memberships": 900,
                "after_restore": True,
            },
            {Guard.AFTER_RESTORE},
        ),
        # A changed mapping or filter makes nobody leave.
        (
            {"plan": plan_of(people=1), "people": 900, "selection_changed": True},
            {Guard.SELECTION_CHANGED},
        ),
        (
            {
                "plan": plan_of(joined={TEAM: BitMap([7])}),
                "selection_changed": True,
            },
            set(),
        ),
        # Full Access is given by nothing without somebody's agreement.
        (
            {
                "plan": plan_of(joined={TEAM: BitMap([7, 8])}),
                "used": [
                    Used(group=TEAM, gives=Gives.FULL_ACCESS, below=BitMap([TEAM]))
                ],
                "given_full_access": BitMap([7]),
            },
            {Guard.FULL_ACCESS},
        ),
        # Other privileges are given to who joins.
        (
            {
                "plan": plan_of(joined={TEAM: BitMap([7])}),
                "used": [
                    Used(group=TEAM, gives=Gives.PRIVILEGES, below=BitMap([TEAM]))
                ],
            },
            set(),
        ),
    ],
)
def test_what_is_held_besides(facts: dict[str, Any], guards: set[str]) -> None:
    asked = Facts(**facts)
    assert guards_of(judge(asked)) == guards
    # Of a directory that is counted no further than it matters, the same is held.
    most = enough(asked)
    counted = replace(
        asked,
        people=min(asked.people, most.people),
        memberships=min(asked.memberships, most.memberships),
    )
    assert guards_of(judge(counted)) == guards


def test_of_two_who_join_only_the_one_who_gets_full_access_is_held() -> None:
    held = judge(
        Facts(
            plan=plan_of(joined={TEAM: BitMap([7, 8])}),
            used=[Used(group=TEAM, gives=Gives.FULL_ACCESS, below=BitMap([TEAM]))],
            given_full_access=BitMap([7]),
        )
    )
    assert held.users[TEAM].joined == BitMap([7])


@pytest.mark.parametrize(
    ("gives", "nested", "is_held"),
    [
        (Gives.PRIVILEGES, True, True),
        (Gives.PRIVILEGES, False, False),
        (Gives.NOTHING, True, False),
    ],
)
def test_new_nesting(gives: Gives, nested: bool, is_held: bool) -> None:
    plan = plan_of()
    plan.nesting[OTHER] = MemberChange(joined=BitMap([77]))
    used = Used(group=TEAM, gives=gives, nested=nested, below=BitMap([TEAM, OTHER]))

    held = judge(Facts(plan=plan, used=[used]))

    assert guards_of(held) == ({Guard.NEW_NESTING} if is_held else set())


@pytest.mark.parametrize(
    ("changed", "gives", "is_held"),
    [
        ({"membership_rule": "all"}, Gives.PRIVILEGES, True),
        ({"kind": "MICROSOFT_365"}, Gives.PRIVILEGES, True),
        ({"is_dynamic": True}, Gives.PRIVILEGES, True),
        ({"display_name": "Team"}, Gives.PRIVILEGES, False),
        ({"membership_rule": "all"}, Gives.NOTHING, False),
        # Read for the first time, it is not another one.
        ({"state": "PRESENT", "kind": "SECURITY"}, Gives.PRIVILEGES, False),
    ],
)
def test_a_changed_rule_or_type(
    changed: dict[str, Any], gives: Gives, is_held: bool
) -> None:
    plan = plan_of(joined={TEAM: BitMap([7])})
    plan.groups.changes[TEAM] = Change(dict.fromkeys(changed, "before"), changed)
    used = Used(group=TEAM, gives=gives, below=BitMap([TEAM]))

    held = judge(Facts(plan=plan, used=[used]))

    assert guards_of(held) == ({Guard.CHANGED_RULE} if is_held else set())
    assert (TEAM in held.users) == is_held, "whoever joins by it waits with it"


def test_fewer_losses_are_no_agreement_to_the_rest() -> None:
    """Two of the six whose loss was held came back; four are below every limit."""
    plan = plan_of(people=4)
    for number in range(1, 7):
        plan.holds_before[number] = Hold(
            number,
            DirectoryObject.Kind.USER,
            row=NEW_USER,
            guards=(Guard.PEOPLE_LOST,),
        )
    assert set(judge(Facts(plan=plan, people=1000)).people) == {1, 2, 3, 4}


# --- Through real rows

ANA, MILO, NOOR, IDA, BEA = map(guid, ("ana", "milo", "noor", "ida", "bea"))
FRONTEND, STUDIO = map(guid, ("fe", "st"))
NAMES = (ANA, MILO, NOOR, IDA)


def guarded(**follows: bool) -> Decide:
    def decide(plan: Plan) -> Held:
        return judge(gather(plan, Circumstances(**follows)))

    return decide


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Four people in Frontend, which is nested in Studio, read for the first time."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[*map(user, NAMES), user(BEA, accountEnabled=False)],
        groups=[
            group(FRONTEND, *map(member, NAMES)),
            group(STUDIO, member(FRONTEND, "group"), member(BEA)),
        ],
        decide=guarded(),
    )
    assert not HeldChange.objects.exists(), "nothing is in effect before a first read"
    return idp


def people_in(object_id: str) -> set[str]:
    found = DirectoryGroup.objects.get(object_id=object_id)
    numbers = list(found.bitmap.users(nested=True))
    people = DirectoryUser.objects.filter(pk__in=numbers)
    return set(people.values_list("object_id", flat=True))


def scope_on(idp: CloudIdentityProvider, object_id: str) -> None:
    ScopeEntry.objects.create(
        scope=Scope.objects.create(),
        role=ScopeEntry.Role.LIMITATION,
        kind=ScopeEntry.Kind.DIRECTORY_GROUP,
        tenant_id=idp.tenant_id,
        object_id=object_id,
    )


def bound(object_id: str, *, full: bool = True, nested: bool = True) -> None:
    """Members of the group get Full Access, or privileges at one site."""
    where: dict[str, Any] = {} if full else {"site": factories.site()}
    factories.bind(
        factories.account_group("Administrators", **where),
        DirectoryGroup.objects.get(object_id=object_id),
        nested=nested,
    )


def everybody_leaves(idp: CloudIdentityProvider) -> None:
    take(idp, groups=[group(FRONTEND, *map(left, NAMES))], decide=guarded())


def frontend_leaves(idp: CloudIdentityProvider) -> None:
    take(idp, groups=[group(STUDIO, left(FRONTEND, "group"))], decide=guarded())


def frontend_is_deleted(idp: CloudIdentityProvider) -> None:
    take(
        idp,
        groups=[
            removed(FRONTEND, "deleted"),
            group(STUDIO, left(FRONTEND, "group")),
        ],
        decide=guarded(),
    )


def everybody_is_deleted(idp: CloudIdentityProvider) -> None:
    take(idp, users=[removed(each) for each in NAMES], decide=guarded())


@pytest.mark.parametrize(
    "happens",
    [
        everybody_leaves,
        frontend_leaves,
        frontend_is_deleted,
        everybody_is_deleted,
    ],
)
def test_a_scope_keeps_its_people_by_whichever_way_they_are_lost(
    fernhill: CloudIdentityProvider,
    happens: Callable[[CloudIdentityProvider], None],
) -> None:
    scope_on(fernhill, STUDIO)
    happens(fernhill)

    assert people_in(STUDIO) == {*NAMES, BEA}
    assert HeldChange.objects.filter(closed_at=None).exists()


@pytest.mark.parametrize("happens", [everybody_leaves, frontend_leaves])
def test_a_group_that_nothing_uses_may_lose_a_few(
    fernhill: CloudIdentityProvider,
    happens: Callable[[CloudIdentityProvider], None],
) -> None:
    happens(fernhill)
    assert people_in(STUDIO) == {BEA}


def test_one_of_a_few_leaves_at_once(fernhill: CloudIdentityProvider) -> None:
    scope_on(fernhill, STUDIO)
    take(fernhill, groups=[group(FRONTEND, left(ANA))], decide=guarded())
    assert people_in(STUDIO) == {MILO, NOOR, IDA, BEA}


GAINS: dict[str, dict[str, Any]] = {
    "joins": {"groups": [group(STUDIO, member(ANA))]},
    "joins below": {
        "users": [user(guid("new"))],
        "groups": [group(FRONTEND, member(guid("new")))],
    },
    "is enabled": {"users": [user(BEA, accountEnabled=True)]},
}


@pytest.mark.parametrize("way", GAINS)
def test_full_access_is_given_by_no_way_alone(
    fernhill: CloudIdentityProvider, way: str
) -> None:
    bound(STUDIO, nested=way != "joins")
    take(fernhill, **GAINS[way], decide=guarded())
    held = HeldChange.objects.get(closed_at=None)
    assert held.guards == [Guard.FULL_ACCESS]

    take(fernhill, decide=guarded())
    held.refresh_from_db()
    assert held.closed_at is None


def full_access(
    name: str, object_id: str, privilege_set: str, *privileges: str
) -> None:
    factories.bind(
        factories.account_group(
            name,
            privilege_set=privilege_set,
            privileges=privileges or ["View Sync Runs"],
        ),
        DirectoryGroup.objects.get(object_id=object_id),
    )


@pytest.mark.parametrize("privilege_set", ["AUDITOR", "CUSTOM"])
def test_an_administrator_is_made_of_nobody_who_has_less_full_access_alone(
    fernhill: CloudIdentityProvider, privilege_set: str
) -> None:
    """Approving held changes needs Full Access: whoever may must not rise by Entra."""
    full_access("Reviewers", FRONTEND, privilege_set)
    full_access("Administrators", STUDIO, "ADMINISTRATOR")
    take(fernhill, groups=[group(STUDIO, member(ANA))], decide=guarded())

    held = HeldChange.objects.get(closed_at=None)
    assert held.number == number_of(fernhill, STUDIO)
    assert held.guards == [Guard.FULL_ACCESS]


RISES: dict[str, tuple[dict[str, Any], str]] = {
    "joins": ({"groups": [group(STUDIO, member(ANA))]}, STUDIO),
    "changes over": (
        {"groups": [group(STUDIO, member(ANA)), group(FRONTEND, left(ANA))]},
        STUDIO,
    ),
    "is enabled": ({"users": [user(BEA, accountEnabled=True)]}, BEA),
}


@pytest.mark.parametrize("way", RISES)
@pytest.mark.parametrize("less", ["AUDITOR", "CUSTOM", "SITE"])
def test_whoever_has_privileges_is_given_no_further_full_access_alone(
    fernhill: CloudIdentityProvider, way: str, less: str
) -> None:
    """Neither gives what an administrator has: one may be trusted with much more."""
    if less == "SITE":
        bound(FRONTEND, full=False)
    else:
        full_access("Readers", FRONTEND, less)
    full_access("Holders", STUDIO, "CUSTOM", "View Sync Runs", "Approve Held Changes")
    happens, who = RISES[way]
    take(fernhill, **happens, decide=guarded())

    held = HeldChange.objects.get(closed_at=None)
    assert held.number == number_of(fernhill, who)
    assert held.guards == [Guard.FULL_ACCESS]


def test_whoever_has_the_same_full_access_already_joins(
    fernhill: CloudIdentityProvider,
) -> None:
    full_access("Administrators of old", FRONTEND, "ADMINISTRATOR")
    full_access("Administrators", STUDIO, "ADMINISTRATOR")
    lab = guid("lab")
    take(fernhill, groups=[group(lab, displayName="Lab")], decide=guarded())
    full_access("Reviewers", lab, "AUDITOR")
    take(
        fernhill,
        groups=[group(STUDIO, member(ANA)), group(lab, member(MILO))],
        decide=guarded(),
    )
    assert not HeldChange.objects.exists()


@pytest.mark.parametrize("way", GAINS)
def test_other_privileges_are_given_to_whoever_joins(
    fernhill: CloudIdentityProvider, way: str
) -> None:
    bound(STUDIO, full=False, nested=way != "joins")
    take(fernhill, **GAINS[way], decide=guarded())
    assert not HeldChange.objects.exists()


def test_a_group_in_a_group_that_gives_privileges_waits(
    fernhill: CloudIdentityProvider,
) -> None:
    lab = guid("lab")
    bound(STUDIO, full=False)
    take(
        fernhill,
        groups=[group(lab), group(FRONTEND, member(lab, "group"))],
        decide=guarded(),
    )
    held = HeldChange.objects.get(closed_at=None)
    assert held.number == number_of(fernhill, FRONTEND)
    assert held.guards == [Guard.NEW_NESTING]


def test_who_joins_by_another_rule_waits_with_the_rule(
    fernhill: CloudIdentityProvider,
) -> None:
    bound(FRONTEND, full=False)
    ruled = {"groupTypes": ["DynamicMembership"], "membershipRule": "user.x -eq 1"}
    take(fernhill, groups=[group(FRONTEND, **ruled)], decide=guarded())
    assert not DirectoryGroup.objects.get(object_id=FRONTEND).is_dynamic

    take(fernhill, groups=[group(FRONTEND, member(BEA), **ruled)], decide=guarded())
    assert people_in(FRONTEND) == set(NAMES)


@pytest.mark.parametrize("circumstance", ["after_error", "selection_changed"])
def test_a_full_read_after_an_error_or_by_other_mappings_takes_nothing_away(
    fernhill: CloudIdentityProvider, circumstance: str
) -> None:
    take(
        fernhill,
        full=True,
        users=[*map(user, NAMES)],
        groups=[
            group(FRONTEND, *map(member, NAMES[1:])),
            group(STUDIO, member(FRONTEND, "group")),
        ],
        decide=guarded(**{circumstance: True}),
    )
    assert people_in(STUDIO) == {*NAMES, BEA}
    assert DirectoryUser.objects.get(object_id=BEA).state == "PRESENT"


def test_a_mapping_that_empties_user_names_changes_nobody(
    fernhill: CloudIdentityProvider,
) -> None:
    fernhill.mappings.user_name = "employeeId"
    fernhill.mappings.save()
    take(
        fernhill,
        full=True,
        users=[*map(user, NAMES), user(BEA)],
        groups=[
            group(FRONTEND, *map(member, NAMES)),
            group(STUDIO, member(FRONTEND, "group"), member(BEA)),
        ],
        decide=guarded(selection_changed=True),
    )
    assert not DirectoryUser.objects.filter(user_name="").exists()


def test_limits_are_those_of_the_connection(fernhill: CloudIdentityProvider) -> None:
    GuardLimits.objects.create(
        cloud_idp=fernhill,
        people_percent=100,
        people_absolute=1,
        memberships_percent=100,
        memberships_absolute=1000,
        members_percent=100,
        members_absolute=1000,
    )
    take(fernhill, users=[removed(ANA)], decide=guarded())
    assert HeldChange.objects.get().guards == [Guard.PEOPLE_LOST]
    assert Limits().people.absolute == 500


def test_f39_what_was_lost_within_a_day_is_added_up(
    fernhill: CloudIdentityProvider,
) -> None:
    now = timezone.now()
    for hours, lost in ((1, 3), (23, 4), (25, 50)):
        SyncRun.objects.create(
            cloud_idp=fernhill,
            kind=SyncRun.Kind.DELTA,
            trigger=SyncRun.Trigger.SCHEDULE,
            state=SyncRun.State.SUCCEEDED,
            created_at=now,
            finished_at=now - timedelta(hours=hours),
            losses={"people": lost, "members": {"7": 1}},
        )
    plan = Plan(cloud_idp=fernhill, full=False, now=now, generation=1)
    found = recent(plan)
    assert (found.people, found.memberships, found.members) == (7, 0, {7: 2})
