"""Observed and in effect: what guards hold stays out, and what is observed goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyroaring import BitMap

from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupNesting,
    HeldChange,
    State,
)
from directory.sync.differences import Plan
from directory.sync.filters import ReadFilter
from directory.sync.holds import Held, hold_nothing, open_holds
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

ANA, MILO, NOOR, FRONTEND, STUDIO = map(guid, ("ana", "milo", "noor", "fe", "st"))
Outcome = HeldChange.Outcome


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Ana and Milo in Frontend, which is nested in Studio; read completely."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(idp, full=True, **everything())
    return idp


def everything(**other: Any) -> dict[str, Any]:
    return {
        "users": [user(ANA), user(MILO)],
        "groups": [
            group(FRONTEND, member(ANA), member(MILO)),
            group(STUDIO, member(FRONTEND, "group")),
        ],
    } | other


def hold_losses(plan: Plan) -> Held:
    """A guard against the loss of anybody and of any membership."""
    held = Held()
    lost = [n for n, c in plan.people.changes.items() if c.state_before == "PRESENT"]
    held.hold_people(lost, "people lost")
    held.hold_groups(
        [n for n, c in plan.groups.changes.items() if c.state_before == "PRESENT"],
        "groups lost",
    )
    for number, change in plan.users.items():
        held.hold_users(number, "memberships lost", left=change.left)
    for number, change in plan.nesting.items():
        held.hold_nesting(number, "nesting lost", left=change.left)
    return held


def hold_gains(plan: Plan) -> Held:
    held = Held()
    held.hold_people(plan.people.new.numbers, "people new")
    held.hold_groups(plan.groups.new.numbers, "groups new")
    for number, change in plan.users.items():
        held.hold_users(number, "memberships new", joined=change.joined)
    for number, change in plan.nesting.items():
        held.hold_nesting(number, "nesting new", joined=change.joined)
    return held


def hold_people(plan: Plan) -> Held:
    """A guard that looks at people alone, and at nobody's memberships."""
    held = Held()
    held.hold_people(plan.people.changes, "people changed")
    return held


def hold_members(plan: Plan) -> Held:
    """A guard that looks at memberships alone, and at nobody themselves."""
    held = Held()
    for number, change in plan.users.items():
        held.hold_users(number, "members", joined=change.joined, left=change.left)
    for number, change in plan.nesting.items():
        held.hold_nesting(number, "members", joined=change.joined, left=change.left)
    return held


def members(object_id: str = FRONTEND) -> set[str]:
    found = DirectoryGroup.objects.get(object_id=object_id)
    return set(
        DirectoryUser.objects.filter(
            pk__in=list(found.bitmap.users(nested=True))
        ).values_list("object_id", flat=True)
    )


def hold_of(idp: CloudIdentityProvider, object_id: str) -> HeldChange:
    return HeldChange.objects.get(number=number_of(idp, object_id), closed_at=None)


def test_a_held_person_stays_and_heals_when_entra_takes_it_back(
    fernhill: CloudIdentityProvider,
) -> None:
    plan = take(fernhill, users=[removed(ANA)], decide=hold_losses)

    assert members() == {ANA, MILO}
    assert DirectoryUser.objects.get(object_id=ANA).state == State.PRESENT
    held = hold_of(fernhill, ANA)
    assert held.observed is not None
    assert (held.observed["state"], held.told) == ("DELETED", True)
    assert held.guards == ["people lost"]
    assert plan.counts["held"] == 1

    take(fernhill, users=[user(ANA)], decide=hold_losses)

    held.refresh_from_db()
    assert held.outcome == Outcome.HEALED
    assert held.closed_at is not None
    assert members() == {ANA, MILO}


def test_a_hold_that_does_not_change_is_left_as_it_is(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, users=[removed(ANA)], decide=hold_losses)
    before = HeldChange.objects.values().get()

    take(fernhill, users=[user(NOOR)], decide=hold_losses)
    take(
        fernhill,
        full=True,
        **everything(users=[user(MILO), user(NOOR)]),
        decide=hold_losses,
    )

    assert HeldChange.objects.values().get() == before
    assert DirectoryUser.objects.get(object_id=NOOR).is_active, "nothing else is held"


def test_what_is_observed_goes_on_behind_a_hold_and_changes_its_hash(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, users=[user(ANA, department="Design")], decide=hold_people)
    first = hold_of(fernhill, ANA)

    take(fernhill, users=[user(ANA, whole=False, jobTitle="Lead")], decide=hold_people)

    second = hold_of(fernhill, ANA)
    assert second.pk == first.pk
    assert second.payload_hash != first.payload_hash
    assert second.changed_by != second.opened_by == first.opened_by
    assert second.observed is not None
    assert (second.observed["department"], second.observed["position"]) == (
        "Design",
        "Lead",
    )
    assert DirectoryUser.objects.get(object_id=ANA).department == ""

    take(fernhill)

    ana = DirectoryUser.objects.get(object_id=ANA)
    assert (ana.department, ana.position) == ("Design", "Lead")
    second.refresh_from_db()
    assert second.outcome == Outcome.APPLIED


def test_held_memberships_stay_and_are_applied_when_released(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, groups=[group(FRONTEND, left(ANA))], decide=hold_losses)

    assert members() == members(STUDIO) == {ANA, MILO}
    hold = open_holds(fernhill)[number_of(fernhill, FRONTEND)]
    assert list(hold.users.left) == [number_of(fernhill, ANA)]
    assert not hold.users.inferred
    assert hold.row is None

    take(
        fernhill,
        groups=[group(FRONTEND, left(MILO), member(NOOR))],
        users=[user(NOOR)],
        decide=hold_losses,
    )
    assert members() == {ANA, MILO, NOOR}, "who joins is not held"
    hold = open_holds(fernhill)[number_of(fernhill, FRONTEND)]
    assert len(hold.users.left) == 2

    take(fernhill, groups=[group(FRONTEND, member(MILO))], decide=hold_losses)
    hold = open_holds(fernhill)[number_of(fernhill, FRONTEND)]
    assert list(hold.users.left) == [number_of(fernhill, ANA)], "Milo came back"

    take(fernhill)
    assert members() == members(STUDIO) == {MILO, NOOR}
    assert not open_holds(fernhill)


def test_a_full_read_knows_what_is_held_and_says_what_it_inferred(
    fernhill: CloudIdentityProvider,
) -> None:
    emptied = everything(groups=[group(FRONTEND), group(STUDIO)])
    take(fernhill, full=True, **emptied, decide=hold_losses)

    assert members() == members(STUDIO) == {ANA, MILO}
    hold = open_holds(fernhill)[number_of(fernhill, FRONTEND)]
    assert hold.users.left == hold.users.inferred
    nesting = open_holds(fernhill)[number_of(fernhill, STUDIO)]
    assert nesting.groups.left == nesting.groups.inferred

    take(fernhill, groups=[group(FRONTEND, left(ANA))], decide=hold_losses)
    hold = open_holds(fernhill)[number_of(fernhill, FRONTEND)]
    assert list(hold.users.inferred) == [number_of(fernhill, MILO)], "Ana was told"

    take(fernhill, full=True, **everything(), decide=hold_losses)
    assert not open_holds(fernhill)
    assert set(HeldChange.objects.values_list("outcome", flat=True)) == {"HEALED"}


def test_whoever_is_held_as_gone_keeps_every_membership(
    fernhill: CloudIdentityProvider,
) -> None:
    """Graph says both: gone for good, and out of the group. One is held, so both are."""
    gone: dict[str, Any] = {
        "users": [removed(ANA, "deleted")],
        "groups": [group(FRONTEND, left(ANA))],
    }
    take(fernhill, **gone, decide=hold_people)

    assert members() == members(STUDIO) == {ANA, MILO}
    assert hold_of(fernhill, FRONTEND).guards == ["people changed"]

    take(
        fernhill,
        full=True,
        users=[user(MILO)],
        groups=[
            group(FRONTEND, member(MILO)),
            group(STUDIO, member(FRONTEND, "group")),
        ],
        decide=hold_people,
    )
    assert members() == {ANA, MILO}

    take(fernhill)
    assert members() == {MILO}
    assert not DirectoryMembership.objects.filter(user__object_id=ANA).exists()


def test_a_person_whom_a_full_read_leaves_out_is_held_as_inferred(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        full=True,
        users=[user(MILO)],
        groups=[
            group(FRONTEND, member(MILO)),
            group(STUDIO, member(FRONTEND, "group")),
        ],
        decide=hold_people,
    )

    held = hold_of(fernhill, ANA)
    assert held.observed is not None
    assert (held.observed["state"], held.told) == ("DELETED", False)
    assert members() == {ANA, MILO}

    take(fernhill, users=[removed(ANA)], decide=hold_people)
    assert hold_of(fernhill, ANA).told


def test_whoever_is_held_as_new_is_nowhere_yet(
    fernhill: CloudIdentityProvider,
) -> None:
    lab = guid("lab")
    news: dict[str, Any] = {
        "users": [user(NOOR)],
        "groups": [
            group(FRONTEND, member(NOOR)),
            group(lab, member(ANA)),
            group(STUDIO, member(lab, "group")),
        ],
    }
    take(fernhill, **news, decide=hold_gains)

    assert not DirectoryUser.objects.filter(object_id=NOOR).exists()
    assert not DirectoryGroup.objects.filter(object_id=lab).exists()
    assert members() == members(STUDIO) == {ANA, MILO}
    assert GroupNesting.objects.count() == 1
    assert len(open_holds(fernhill)) == 4

    take(fernhill)

    assert members() == {ANA, MILO, NOOR}
    assert members(lab) == {ANA}
    assert GroupNesting.objects.count() == 2
    assert not open_holds(fernhill)
    assert set(HeldChange.objects.values_list("outcome", flat=True)) == {"APPLIED"}


def test_a_held_new_person_who_disappears_again_leaves_no_trace(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        users=[user(NOOR)],
        groups=[group(FRONTEND, member(NOOR))],
        decide=hold_gains,
    )

    take(
        fernhill,
        users=[removed(NOOR, "deleted")],
        groups=[group(FRONTEND, left(NOOR))],
        decide=hold_gains,
    )
    take(fernhill)

    assert not open_holds(fernhill)
    assert members() == {ANA, MILO}


def test_a_group_that_is_held_as_deleted_goes_on_holding_its_people(
    fernhill: CloudIdentityProvider,
) -> None:
    gone: dict[str, Any] = {
        "groups": [
            removed(FRONTEND, "deleted"),
            group(STUDIO, left(FRONTEND, "group")),
        ]
    }

    def hold_the_group(plan: Plan) -> Held:
        held = Held()
        held.hold_groups(plan.groups.changes, "groups lost")
        return held

    take(fernhill, **gone, decide=hold_the_group)
    assert members() == members(STUDIO) == {ANA, MILO}

    take(fernhill)
    assert DirectoryGroup.objects.get(object_id=FRONTEND).state == State.GONE
    assert members(STUDIO) == set()
    assert not DirectoryMembership.objects.exists()
    assert not GroupNesting.objects.exists()


@pytest.mark.parametrize("before", [False, True])
def test_what_ends_with_somebody_who_is_gone_is_not_held(
    fernhill: CloudIdentityProvider, before: bool
) -> None:
    """Nobody can decide about it any more: it has taken effect."""
    if before:
        take(fernhill, groups=[group(FRONTEND, left(ANA))], decide=hold_members)
        assert members() == {ANA, MILO}
    take(
        fernhill,
        users=[removed(ANA, "deleted")],
        groups=[group(FRONTEND, left(ANA), left(MILO))],
        decide=hold_members,
    )

    assert members() == {MILO}
    held = open_holds(fernhill).pop(number_of(fernhill, FRONTEND))
    assert list(held.users.left) == [number_of(fernhill, MILO)]

    take(fernhill, users=[removed(MILO, "deleted")], decide=hold_members)
    assert members() == set()
    assert not open_holds(fernhill)


def test_what_ends_with_a_group_that_is_gone_is_not_held(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        groups=[
            removed(FRONTEND, "deleted"),
            group(STUDIO, left(FRONTEND, "group")),
        ],
        decide=hold_members,
    )

    assert not GroupNesting.objects.exists()
    assert not open_holds(fernhill)


@pytest.mark.parametrize("decide", [hold_members, hold_nothing])
def test_whoever_is_gone_joins_nothing_that_was_held(
    fernhill: CloudIdentityProvider, decide: Callable[[Plan], Held]
) -> None:
    lab = guid("lab")
    take(fernhill, users=[user(NOOR)], groups=[group(lab)])
    joins = [group(FRONTEND, member(NOOR)), group(STUDIO, member(lab, "group"))]
    take(fernhill, groups=joins, decide=hold_members)
    assert len(open_holds(fernhill)) == 2
    take(
        fernhill,
        users=[removed(NOOR, "deleted")],
        groups=[removed(lab, "deleted")],
        decide=decide,
    )

    assert not open_holds(fernhill)
    assert not DirectoryMembership.objects.filter(user__object_id=NOOR).exists()
    assert GroupNesting.objects.count() == 1


@pytest.mark.parametrize("decide", [hold_members, hold_nothing])
def test_nobody_joins_a_group_that_is_filtered_out_meanwhile(
    fernhill: CloudIdentityProvider, decide: Callable[[Plan], Held]
) -> None:
    fernhill.read_filter = ReadFilter(name_patterns=(f"{FRONTEND[:8]}*",)).to_json()
    fernhill.save(update_fields=["read_filter"])
    take(
        fernhill,
        users=[user(NOOR)],
        groups=[group(FRONTEND, member(NOOR), left(MILO))],
        decide=hold_members,
    )
    take(fernhill, groups=[group(FRONTEND, displayName="Web")], decide=decide)

    assert DirectoryGroup.objects.get(object_id=FRONTEND).state == State.FILTERED
    assert not DirectoryMembership.objects.exists()
    assert not open_holds(fernhill)


def test_a_rename_goes_on_while_the_memberships_of_the_group_are_held(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        groups=[group(FRONTEND, left(ANA), displayName="Web")],
        decide=hold_losses,
    )

    assert DirectoryGroup.objects.get(object_id=FRONTEND).display_name == "Web"
    assert members() == {ANA, MILO}


def test_a_guard_that_holds_what_does_not_change_is_a_defect(
    fernhill: CloudIdentityProvider,
) -> None:
    def confused(_plan: Plan) -> Held:
        held = Held()
        held.hold_people([number_of(fernhill, ANA)], "nonsense")
        return held

    with pytest.raises(ValueError, match="does not change"):
        take(fernhill, decide=confused)


@pytest.mark.parametrize("decide", [hold_losses, hold_gains, hold_people])
def test_a_full_read_of_the_same_directory_closes_every_hold_it_heals(
    fernhill: CloudIdentityProvider, decide: Callable[[Plan], Held]
) -> None:
    take(
        fernhill,
        users=[removed(ANA), user(MILO, department="Design"), user(NOOR)],
        groups=[
            group(FRONTEND, left(MILO), member(NOOR)),
            group(STUDIO, left(FRONTEND, "group")),
        ],
        decide=decide,
    )
    take(fernhill, full=True, **everything(), decide=decide)
    take(fernhill, full=True, **everything())

    assert not open_holds(fernhill)
    assert members() == members(STUDIO) == {ANA, MILO}


def test_the_hash_of_a_hold_names_what_is_held_and_not_by_whom(
    fernhill: CloudIdentityProvider,
) -> None:
    def twice(plan: Plan) -> Held:
        held = hold_people(plan)
        held.hold_people(plan.people.changes, "another guard")
        return held

    take(fernhill, users=[removed(ANA)], decide=hold_people)
    before = hold_of(fernhill, ANA)
    take(fernhill, decide=twice)

    after = hold_of(fernhill, ANA)
    assert after.payload_hash == before.payload_hash
    assert after.guards == ["another guard", "people changed"]


def test_numbers_stay_the_same_from_first_sight_on(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = number_of(fernhill, ANA)
    take(fernhill, users=[removed(ANA, "deleted")])

    assert DirectoryUser.objects.get(object_id=ANA).pk == ana
    assert BitMap([ana]) == BitMap([number_of(fernhill, ANA)])
