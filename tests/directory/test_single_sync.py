"""Reading one person or one group now: as true as a read, beside it and before it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from directory import tasks
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    HeldChange,
    PlanConsequence,
    State,
    SyncRun,
)
from directory.sync import request_object, single
from directory.sync.differences import Plan
from directory.sync.holds import Held
from directory.sync.run import work
from directory.sync.single import fresh
from jamfidp.accounts.models import SignInConfirmation
from tests import factories
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth
from tests.directory.test_sync_pages import text

ANA = "ana.ruiz@fernhill.example"


@pytest.fixture
def known(sandbox: Sandbox, db: None) -> Story:
    story = connected(sandbox)
    story.read(SyncRun.Kind.FULL)
    return story


def sync(
    story: Story, target: DirectoryUser | DirectoryGroup, **options: Any
) -> SyncRun:
    run = request_object(
        target=target,
        trigger=SyncRun.Trigger.PERSON,
        actor=None,
        now=timezone.now(),
    )
    work(run.pk, **options)
    run.refresh_from_db()
    return run


def done(run: SyncRun) -> SyncRun:
    assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.steps}"
    return run


def test_a_person_is_read_in_named_steps_with_their_requests(known: Story) -> None:
    known.control("PATCH", f"users/{ANA}", {"department": "Space"})
    links = known.cloud_idp.users_delta_link

    run = done(sync(known, known.user(ANA)))

    assert known.user(ANA).department == "Space"
    names = [step["name"] for step in run.steps]
    assert names[0] == "Look the person up in Microsoft Graph"
    assert names[-4:] == [
        "Compare with what is in effect",
        "Ask the guards",
        "Work out what follows",
        "Apply",
    ]
    assert all(step["state"] == "done" for step in run.steps)
    (request,) = [
        each for each in run.steps[0]["requests"] if "/users/" in each["request"]
    ]
    assert request["status"] == 200
    assert request["request_id"]
    known.cloud_idp.refresh_from_db()
    assert known.cloud_idp.users_delta_link == links
    assert run.plan_stored


def test_whoever_left_a_group_loses_what_it_gave_before_the_next_read(
    known: Story,
) -> None:
    frontend = known.group("Frontend")
    factories.bind(factories.account_group("Mac Admins"), frontend)
    account = factories.entra_account(known.user(ANA))
    assert account.has_perm("scoping.view_computer")
    known.control("DELETE", f"groups/Frontend/members/{ANA}")

    run = done(sync(known, known.user(ANA)))

    assert ANA not in known.direct_members("Frontend")
    again = type(account).objects.get(pk=account.pk)
    assert not again.has_perm("scoping.view_computer")
    assert PlanConsequence.objects.filter(run=run, kind="privileges lost").exists()
    assert held(known) == truth(known)
    # The round of changes says the same once more.
    known.read()
    assert held(known) == truth(known)


def test_a_person_who_joined_is_in_the_group_and_those_above_it(known: Story) -> None:
    known.control("PUT", f"groups/Alumni/members/{ANA}")

    done(sync(known, known.user(ANA)))

    assert ANA in known.direct_members("Alumni")
    assert held(known) == truth(known)


def test_a_member_of_a_nested_group_does_not_become_a_direct_one(
    known: Story,
) -> None:
    direct = set(
        DirectoryMembership.objects.filter(user=known.user(ANA)).values_list(
            "group__display_name", flat=True
        )
    )
    assert "Engineering" not in direct

    done(sync(known, known.user(ANA)))

    assert held(known) == truth(known)


def test_who_joined_a_nested_group_is_no_direct_member_of_the_one_above(
    known: Story,
) -> None:
    """Microsoft names both groups, and nothing that is known here explains either."""
    inner, outer = (
        known.control(
            "POST",
            "groups",
            {
                "displayName": name,
                "mailEnabled": False,
                "securityEnabled": True,
                "groupTypes": [],
            },
        )["id"]
        for name in ("Inner", "Outer")
    )
    known.control("PUT", f"groups/{outer}/members/{inner}")
    known.read()
    known.control("PUT", f"groups/{inner}/members/{ANA}")

    done(sync(known, known.user(ANA)))

    assert ANA in known.direct_members("Inner")
    assert ANA not in known.direct_members("Outer")
    assert ANA in known.members("Outer")
    assert held(known) == truth(known)


def test_who_left_a_group_directly_and_is_in_it_through_another_is_no_direct_member(
    known: Story,
) -> None:
    known.control("PUT", f"groups/Engineering/members/{ANA}")
    known.read()
    assert ANA in known.direct_members("Engineering")
    known.control("DELETE", f"groups/Engineering/members/{ANA}")

    done(sync(known, known.user(ANA)))

    assert ANA not in known.direct_members("Engineering")
    assert ANA in known.members("Engineering")
    assert held(known) == truth(known)


def test_a_person_who_cannot_be_found_is_deleted_and_can_return(known: Story) -> None:
    ana = known.user(ANA)
    known.control("DELETE", f"users/{ANA}")

    done(sync(known, ana))

    ana.refresh_from_db()
    assert ana.state == State.DELETED
    assert ana.state_told


def test_a_group_is_read_with_all_its_members(known: Story) -> None:
    known.control("DELETE", f"groups/Frontend/members/{ANA}")
    known.control("PATCH", "groups/Frontend", {"description": "Sites and shops"})

    done(sync(known, known.group("Frontend")))

    assert known.group("Frontend").description == "Sites and shops"
    assert held(known) == truth(known)


def test_what_microsoft_said_of_others_at_their_sign_in_still_counts(
    known: Story,
) -> None:
    now = timezone.now()
    ana, milo = known.user(ANA), known.user("milo.brandt@fernhill.example")
    for person in (ana, milo):
        SignInConfirmation.objects.create(
            tenant_id=known.tenant,
            object_id=person.object_id,
            at=now,
            enabled=True,
            user_type="Member",
            group_ids=[],
        )

    done(sync(known, ana))

    (left,) = SignInConfirmation.objects.all()
    assert left.object_id == milo.object_id


def test_a_read_of_one_person_is_no_read_of_the_directory(
    known: Story, console: Client
) -> None:
    read_at = known.cloud_idp.last_good_read_at
    known.fault(f"/v1.0/users/{known.user(ANA).object_id}", status=403, times=9)

    sync(known, known.user(ANA))

    known.cloud_idp.refresh_from_db()
    assert known.cloud_idp.last_good_read_at == read_at
    assert known.cloud_idp.status == CloudIdentityProvider.Status.ACTIVE
    page = text(console, known.cloud_idp.get_absolute_url())
    assert "Full read: Succeeded" in page


def test_guards_hold_of_it_as_of_any_read(known: Story) -> None:
    ana = known.user(ANA)
    known.control("PATCH", f"users/{ANA}", {"department": "Space"})

    def hold(plan: Plan) -> Held:
        held = Held()
        held.hold_people(list(plan.people.changes), "people changed")
        return held

    run = done(sync(known, ana, decide=hold))

    assert known.user(ANA).department != "Space"
    assert HeldChange.objects.filter(number=ana.pk, closed_at=None).exists()
    guards = next(step for step in run.steps if step["name"] == "Ask the guards")
    assert guards["detail"] == "1 held."


def test_a_group_whose_deletion_is_held_is_not_back_when_a_member_is_read(
    known: Story,
) -> None:
    def hold(plan: Plan) -> Held:
        held = Held()
        held.hold_groups(list(plan.groups.changes), "a group is lost")
        return held

    known.control("DELETE", "groups/Frontend?permanently=true")
    frontend, before = known.group("Frontend"), held(known)
    work(known.request().pk, decide=hold)
    open_ = HeldChange.objects.filter(closed_at=None).order_by("pk")
    waits = list(open_.values_list("number", "payload_hash"))
    assert frontend.pk in dict(waits)

    done(sync(known, known.user(ANA), decide=hold))

    assert list(open_.values_list("number", "payload_hash")) == waits
    assert held(known) == before
    known.read()
    assert held(known) == truth(known)


@pytest.mark.parametrize("is_held", [False, True])
def test_whoever_is_deleted_comes_back_to_a_group_that_was_read_meanwhile(
    known: Story, is_held: bool
) -> None:
    """Microsoft lists no deleted member, and says nothing of them when they return."""

    def hold(plan: Plan) -> Held:
        held = Held()
        held.hold_people(list(plan.people.changes), "somebody is lost")
        return held

    ana = known.user(ANA)
    known.control("DELETE", f"users/{ANA}")
    if is_held:
        work(known.request().pk, decide=hold)
        done(sync(known, known.group("Frontend"), decide=hold))
    else:
        known.read()
        done(sync(known, known.group("Frontend")))

    known.control("POST", f"users/{ana.object_id}/restore")
    known.read()

    assert ANA in known.direct_members("Frontend")
    assert held(known) == truth(known)


def test_microsoft_does_not_answer_and_nothing_changes(known: Story) -> None:
    before, due = held(known), known.cloud_idp.next_sync_at
    known.fault(f"/v1.0/users/{known.user(ANA).object_id}", status=403, times=9)

    run = sync(known, known.user(ANA))

    assert run.state == SyncRun.State.FAILED
    assert run.steps[0]["state"] == "failed"
    assert held(known) == before
    known.cloud_idp.refresh_from_db()
    assert known.cloud_idp.next_sync_at == due


def test_a_read_that_goes_on_meanwhile_does_not_undo_it(known: Story) -> None:
    """The full read has read Ana as a member; she leaves, and is read alone, before it
    is applied."""
    once: list[SyncRun] = []

    def decide(plan: Plan) -> Held:
        if plan.full and not once:
            known.control("DELETE", f"groups/Frontend/members/{ANA}")
            known.control("PATCH", f"users/{ANA}", {"department": "Space"})
            once.append(done(sync(known, known.user(ANA))))
        return Held()

    run = known.request(SyncRun.Kind.FULL)
    work(run.pk, decide=decide)

    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, run.error
    assert ANA not in known.direct_members("Frontend")
    assert known.user(ANA).department == "Space"
    assert set(fresh(run)) == {known.user(ANA).pk}
    # What she became in between is asked once more.
    again = SyncRun.objects.active().get(kind=SyncRun.Kind.OBJECT)
    assert again.object_number == known.user(ANA).pk


@pytest.mark.parametrize("kind", [SyncRun.Kind.DELTA, SyncRun.Kind.FULL])
@pytest.mark.parametrize("nested", [False, True])
def test_where_a_group_that_is_read_alone_is_nested_comes_with_the_read_that_goes_on(
    known: Story, kind: SyncRun.Kind, nested: bool
) -> None:
    """It is asked for its members alone, and no later read of changes says it again."""
    if nested:
        known.control("PUT", "groups/Alumni/members/Frontend")
        known.read()
    known.control("DELETE" if nested else "PUT", "groups/Alumni/members/Frontend")
    once: list[SyncRun] = []

    def decide(plan: Plan) -> Held:
        if plan.asked is None and not once:
            once.append(done(sync(known, known.group("Frontend"))))
        return Held()

    work(known.request(kind).pk, decide=decide)

    assert once
    assert held(known) == truth(known)


@pytest.mark.parametrize("kind", [SyncRun.Kind.DELTA, SyncRun.Kind.FULL])
def test_who_joins_directly_a_group_that_holds_them_comes_with_the_read_that_goes_on(
    known: Story, kind: SyncRun.Kind
) -> None:
    """Read alone, nobody asks: Engineering holds Ana through Frontend all the same."""
    known.control("PUT", f"groups/Engineering/members/{ANA}")
    once: list[SyncRun] = []

    def decide(plan: Plan) -> Held:
        if plan.asked is None and not once:
            once.append(done(sync(known, known.user(ANA))))
        return Held()

    work(known.request(kind).pk, decide=decide)

    assert once
    assert ANA in known.direct_members("Engineering")
    assert held(known) == truth(known)


@pytest.mark.parametrize("kind", [SyncRun.Kind.DELTA, SyncRun.Kind.FULL])
def test_who_is_in_a_group_that_the_read_that_goes_on_brings_is_in_it(
    known: Story, kind: SyncRun.Kind
) -> None:
    """Read alone, nobody asks about a group that is not here; afterwards Frontend, which
    is nested in it, seems to be why it holds Ana."""
    frontend, ana = known.group("Frontend"), known.user(ANA)
    members = [ana.object_id, frontend.object_id]
    known.control("POST", "groups", {"displayName": "Guild", "members": members})
    once: list[SyncRun] = []

    def decide(plan: Plan) -> Held:
        if plan.asked is None and not once:
            once.append(done(sync(known, ana)))
        return Held()

    work(known.request(kind).pk, decide=decide)
    work(SyncRun.objects.active().get(kind=SyncRun.Kind.OBJECT).pk)

    assert once
    assert ANA in known.direct_members("Guild")
    assert held(known) == truth(known)


def test_one_read_of_a_person_at_a_time_beside_a_read_of_all(known: Story) -> None:
    full = known.request(SyncRun.Kind.FULL)
    ana = known.user(ANA)
    first = request_object(
        target=ana, trigger=SyncRun.Trigger.PERSON, actor=None, now=timezone.now()
    )
    second = request_object(
        target=ana, trigger=SyncRun.Trigger.PERSON, actor=None, now=timezone.now()
    )
    assert first == second
    assert full != first
    assert known.request() == full


def test_the_button_leads_to_the_steps(
    known: Story, console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.run_sync, "apply_async", lambda args: work(args[0]))
    ana = known.user(ANA)
    assert "Sync now" in text(console, ana.get_absolute_url())

    answer = console.post(reverse("directory:user-sync-request", args=[ana.pk]))
    run = SyncRun.objects.get(kind=SyncRun.Kind.OBJECT)
    tasks.announce_waiting(now=timezone.now())

    page = text(console, answer["Location"])
    assert run.get_absolute_url() == answer["Location"]
    assert "Ana Ruiz" in page
    assert "Look the person up in Microsoft Graph" in page
    assert "GET /v1.0/users/{}" in page


def test_without_the_privilege_there_is_no_button_and_no_request(
    known: Story, client: Client
) -> None:
    client.force_login(factories.custom_account("vera", "Read Directory Users"))
    ana = known.user(ANA)
    assert "Sync now" not in text(client, ana.get_absolute_url())
    address = reverse("directory:user-sync-request", args=[ana.pk])
    assert client.post(address).status_code == 403


@pytest.mark.parametrize("kind", [SyncRun.Kind.DELTA, SyncRun.Kind.FULL])
@pytest.mark.parametrize("beside", [False, True])
def test_of_whom_more_is_uncertain_than_is_asked_everything_is_read_next(
    known: Story, monkeypatch: pytest.MonkeyPatch, kind: SyncRun.Kind, beside: bool
) -> None:
    """What a read that goes on has read of them it leaves out, and nobody says again."""
    monkeypatch.setattr(single, "ASKED", 1)
    for name in ("Alumni", "Backend", "Interns"):
        known.control("PUT", f"groups/{name}/members/{ANA}")
    once: list[SyncRun] = []

    def decide(plan: Plan) -> Held:
        if beside and plan.asked is None and not once:
            once.append(done(sync(known, known.user(ANA))))
        return Held()

    if not beside:
        once.append(done(sync(known, known.user(ANA))))
    run = known.request(kind)
    work(run.pk, decide=decide)
    (asked,) = [s for s in once[0].steps if "not certain" in s["name"]]
    assert "full one" in asked["detail"]
    for again in SyncRun.objects.active().filter(kind=SyncRun.Kind.OBJECT):
        work(again.pk)

    if beside:
        run = known.read()
        assert run.kind_reason == single.REASON
    run.refresh_from_db()
    assert run.kind == SyncRun.Kind.FULL
    assert held(known) == truth(known)


def test_where_a_group_refuses_to_say_its_members_everything_is_read_next(
    known: Story,
) -> None:
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    members = f"/v1.0/groups/{known.group('Alumni').object_id}/members"
    known.fault(members, status=403, times=1)

    run = done(sync(known, known.user(ANA)))

    (asked,) = [s for s in run.steps if "not certain" in s["name"]]
    assert "1 did not answer" in asked["detail"]
    assert ANA not in known.direct_members("Alumni")
    again = known.read()
    assert (again.kind, again.kind_reason) == (SyncRun.Kind.FULL, single.REASON)
    assert held(known) == truth(known)
