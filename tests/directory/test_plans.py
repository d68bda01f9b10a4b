"""What a run planned is kept as it was, read page by page, and a dry run does no more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import dependents, hold_everything
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    PlanConsequence,
    PlanPart,
    SyncRun,
)
from directory.sync import stored_plans
from directory.sync.foresee import foresee
from directory.sync.forget import forget_attributes
from directory.sync.holds import Held
from directory.sync.retention import clear_plans, erase_gone
from directory.sync.stored_plans import Section, differences
from jamfidp.accounts.models import User
from tests import factories
from tests.conftest import Sandbox
from tests.directory.rounds import group, guid, left, member, removed, take, user
from tests.directory.syncing import Story, connected
from tests.directory.syncing import held as in_effect

ANA, MILO, NOOR, FRONTEND, STUDIO = map(guid, ("ana", "milo", "noor", "fe", "st"))


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[user(ANA), user(MILO)],
        groups=[
            group(FRONTEND, member(ANA), member(MILO)),
            group(STUDIO, member(FRONTEND, "group")),
        ],
    )
    return idp


def number(object_id: str) -> int:
    return DirectoryObject.objects.get(object_id=object_id).pk


def last_run() -> SyncRun:
    run = SyncRun.objects.order_by("-pk").first()
    assert run
    return run


def test_a_change_is_kept_with_before_and_after(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        users=[
            user(ANA, displayName="Ana Ruiz", accountEnabled=False),
            user(NOOR, displayName="Noor Haddad"),
            removed(MILO),
        ],
        groups=[group(FRONTEND, left(ANA), member(NOOR))],
    )

    run = last_run()
    assert run.plan_stored
    people = {each.number: each for each in differences(run, Section.PEOPLE)}
    assert people[number(ANA)].values == {
        "account_enabled": (True, False),
        "display_name": (ANA[:8], "Ana Ruiz"),
        "real_name": (ANA[:8], "Ana Ruiz"),
    }
    assert people[number(ANA)].sort == "disabled"
    assert people[number(MILO)].sort == "deleted"
    noor = people[number(NOOR)]
    assert (noor.sort, noor.object_id) == ("added", NOOR)
    assert noor.values["display_name"] == (None, "Noor Haddad")
    (frontend,) = differences(run, Section.MEMBERS)
    assert list(frontend.joined["users"]) == [number(NOOR)]
    assert list(frontend.left["users"]) == [number(ANA)]


def test_of_a_first_read_numbers_are_kept_and_of_a_read_without_changes_nothing(
    fernhill: CloudIdentityProvider,
) -> None:
    first = last_run()
    assert stored_plans.counts_of(first)["PEOPLE"] == {"added": 2}
    assert all(not each.values for each in differences(first, Section.PEOPLE))
    parts = PlanPart.objects.count()

    take(fernhill, users=[user(ANA)])

    assert not last_run().plan_stored
    assert PlanPart.objects.count() == parts


def test_of_a_first_read_who_is_left_out_and_who_is_only_named_are_told_apart(
    db: None,
) -> None:
    idp = factories.cloud_idp(
        first_complete_read_at=None, read_filter={"guests": False}
    )
    AttributeMappings.objects.create(cloud_idp=idp)

    take(
        idp,
        full=True,
        users=[user(ANA), user(MILO, userType="Guest")],
        groups=[group(FRONTEND, member(ANA), member(NOOR))],
    )

    sorts = {each.number: each.sort for each in differences(last_run(), Section.PEOPLE)}
    assert sorts == {
        number(ANA): "added",
        number(MILO): "filtered",
        number(NOOR): "mentioned",
    }


def test_pages_go_on_from_a_number_in_both_directions(
    fernhill: CloudIdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_plans, "IN_PART", 3)
    many = [guid(f"one {n}") for n in range(10)]
    take(fernhill, users=[user(each) for each in many] + [user(ANA, department="X")])
    run = last_run()

    everybody = [each.number for each in differences(run, Section.PEOPLE)]
    assert everybody == sorted(everybody)
    assert len(everybody) == 11
    after = [
        each.number for each in differences(run, Section.PEOPLE, after=everybody[4])
    ]
    assert after == everybody[5:]
    before = differences(run, Section.PEOPLE, before=everybody[4])
    assert [each.number for each in before] == everybody[:4][::-1]
    changed = differences(run, Section.PEOPLE, sorts=frozenset(["changed"]))
    assert [each.number for each in changed] == [number(ANA)]


def test_what_is_held_is_kept_apart_from_what_takes_effect(
    fernhill: CloudIdentityProvider,
) -> None:
    def hold(_plan: Any) -> Held:
        held = Held()
        held.hold_people([number(ANA)], "people changed")
        return held

    take(
        fernhill,
        users=[user(ANA, department="Design"), user(MILO, department="Design")],
        decide=hold,
    )

    run = last_run()
    assert [e.number for e in differences(run, Section.PEOPLE)] == [number(MILO)]
    (held,) = differences(run, Section.HELD)
    assert (held.number, held.guards) == (number(ANA), ("people changed",))
    assert held.values == {"department": ("", "Design")}


@pytest.mark.parametrize(
    ("round_", "sort"),
    [
        ({"users": [removed(ANA)]}, "deleted"),
        ({"users": [removed(ANA, "deleted")]}, "gone"),
        ({"users": [user(ANA, accountEnabled=False)]}, "disabled"),
        ({"full": True, "users": [user(MILO)]}, "deleted"),
        (
            {
                "full": True,
                "users": [user(MILO)],
                "groups": [group(FRONTEND, member(ANA))],
            },
            "unknown",
        ),
    ],
    ids=["deleted", "gone for good", "disabled", "left out", "named and left out"],
)
def test_ways_to_be_missing_are_told_apart(
    fernhill: CloudIdentityProvider, round_: dict[str, Any], sort: str
) -> None:
    ana = number(ANA)

    take(fernhill, **round_)

    (said,) = [e for e in differences(last_run(), Section.PEOPLE) if e.number == ana]
    assert said.sort == sort


def test_what_follows_from_what_is_held_is_no_part_of_what_was_applied(
    fernhill: CloudIdentityProvider,
) -> None:
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    factories.bind(factories.account_group(), frontend)
    seen: list[int] = []

    def hold(plan: Any) -> Held:
        seen.append(len(foresee(plan).consequences))
        held = Held()
        held.hold_users(
            frontend.pk, "gives Full Access", joined=plan.users[frontend.pk].joined
        )
        return held

    take(
        fernhill,
        users=[user(NOOR)],
        groups=[group(FRONTEND, member(NOOR))],
        decide=hold,
    )

    assert seen == [1]
    assert not PlanConsequence.objects.filter(run=last_run()).exists()


def test_a_plan_of_what_was_not_applied_is_not_kept(
    fernhill: CloudIdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("no")

    parts = PlanPart.objects.count()
    monkeypatch.setattr(dependents.registered()[0], "after_apply", refuse)

    with pytest.raises(RuntimeError):
        take(fernhill, users=[user(ANA, department="Design")])

    assert PlanPart.objects.count() == parts


def test_plans_are_kept_for_a_time_and_go_with_their_run(
    fernhill: CloudIdentityProvider, settings: Any
) -> None:
    settings.SYNC_PLAN_DAYS = 30
    run = last_run()
    now = timezone.now()
    clear_plans(now=now + timedelta(days=29))
    assert PlanPart.objects.filter(run=run).exists()

    clear_plans(now=now + timedelta(days=31))

    run.refresh_from_db()
    assert not run.plan_stored
    assert not PlanPart.objects.exists()


def test_of_whom_is_erased_a_plan_keeps_the_number_alone(
    fernhill: CloudIdentityProvider, settings: Any
) -> None:
    settings.DIRECTORY_GONE_DAYS = 30
    take(
        fernhill, users=[user(ANA, displayName="Ana Ruiz"), user(MILO, jobTitle="Dev")]
    )
    run = last_run()
    ana = number(ANA)
    take(fernhill, users=[removed(ANA, "deleted")])

    erase_gone(fernhill, now=timezone.now() + timedelta(days=31))

    said = {each.number: each.values for each in differences(run, Section.PEOPLE)}
    assert said[ana] == {}
    assert said[number(MILO)]["position"] == ("", "Dev")


def test_what_is_no_longer_mapped_is_no_longer_in_plans(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, users=[user(ANA, displayName="Ana Ruiz", jobTitle="Dev")])

    forget_attributes(fernhill, {"position": ""}, now=timezone.now())

    (said,) = differences(last_run(), Section.PEOPLE)
    assert "position" not in said.values
    assert "display_name" in said.values


# Dry runs ------------------------------------------------------------------------


@pytest.fixture
def known(sandbox: Sandbox, db: None) -> Story:
    story = connected(sandbox)
    story.read(SyncRun.Kind.FULL)
    return story


def test_a_dry_run_plans_everything_and_changes_nothing(known: Story) -> None:
    ana = known.user("ana.ruiz@fernhill.example")
    known.control("PATCH", "users/ana.ruiz@fernhill.example", {"department": "Space"})
    known.control("DELETE", "groups/Frontend/members/ana.ruiz@fernhill.example")
    before, links = in_effect(known), _links(known)

    run = known.dry_run()

    assert run.state == SyncRun.State.SUCCEEDED
    assert in_effect(known) == before
    assert DirectoryUser.objects.get(pk=ana.pk).department != "Space"
    assert _links(known) == links
    (difference,) = differences(run, Section.PEOPLE)
    assert difference.number == ana.pk
    assert difference.values["department"][1] == "Space"
    # What it read is still new to the next read.
    known.read()
    assert DirectoryUser.objects.get(pk=ana.pk).department == "Space"


def test_a_dry_run_while_everything_is_held_plans_everything_and_says_so(
    known: Story, console: Client, administrator: User
) -> None:
    known.control("PATCH", "users/ana.ruiz@fernhill.example", {"department": "Space"})
    held = hold_everything.hold(
        cloud_idp=None,
        reason="The tenant is being attacked",
        actor=administrator,
        now=timezone.now(),
    )
    before = in_effect(known)

    run = known.dry_run()

    assert run.state == SyncRun.State.SUCCEEDED, run.error
    assert in_effect(known) == before
    (difference,) = differences(run, Section.PEOPLE)
    assert difference.values["department"][1] == "Space"
    assert not list(differences(run, Section.HELD))
    addresses = [run.get_absolute_url(), f"{run.get_absolute_url()}plan/"]
    for address in addresses:
        page = " ".join(console.get(address).content.decode().split())
        assert "Applying is held." in page
        assert "The tenant is being attacked. Until it is released" in page

    hold_everything.release(
        held, reason="Over", actor=administrator, now=timezone.now()
    )
    for address in addresses:
        assert "Applying is held." not in console.get(address).content.decode()


def test_a_dry_run_before_the_first_read_plans_also_while_everything_is_held(
    sandbox: Sandbox, db: None, administrator: User
) -> None:
    story = connected(sandbox)
    hold_everything.hold(
        cloud_idp=story.cloud_idp,
        reason="Not yet",
        actor=administrator,
        now=timezone.now(),
    )
    run = story.dry_run()
    assert run.state == SyncRun.State.SUCCEEDED, run.error
    assert len(list(differences(run, Section.PEOPLE))) > 1


def test_a_dry_run_before_the_first_read_names_everybody_with_their_values(
    sandbox: Sandbox, db: None
) -> None:
    story = connected(sandbox)

    run = story.dry_run()

    assert not DirectoryUser.objects.exists()
    names = {e.values["display_name"][1] for e in differences(run, Section.PEOPLE)}
    assert "Ana Ruiz" in names
    story.cloud_idp.refresh_from_db()
    assert not story.cloud_idp.completely_read


def test_a_dry_run_that_fails_delays_no_read(known: Story) -> None:
    known.fault("/v1.0/users/delta", status=403)
    due = known.cloud_idp.next_sync_at

    run = known.dry_run()

    assert run.state == SyncRun.State.FAILED
    known.cloud_idp.refresh_from_db()
    assert known.cloud_idp.next_sync_at == due


def _links(story: Story) -> tuple[Any, ...]:
    story.cloud_idp.refresh_from_db()
    idp = story.cloud_idp
    return (
        idp.users_delta_link,
        idp.groups_delta_link,
        idp.generation,
        idp.last_good_read_at,
        idp.next_sync_at,
    )
