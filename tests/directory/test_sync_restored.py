"""Whoever is restored in Entra comes back to the groups that hold them there."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directory import hold_everything
from directory.models import (
    DirectoryGroup,
    DirectoryUser,
    EverythingHeld,
    HeldChange,
    State,
    SyncRun,
)
from directory.sync import compare, request_object, returned, single
from directory.sync.bitmaps import unpack
from directory.sync.decide import decider
from directory.sync.differences import Plan
from directory.sync.fetch import Fetch
from directory.sync.filters import ReadFilter
from directory.sync.holds import Held
from directory.sync.run import work
from directory.sync.selection import selection_of
from directory.sync.stage import Round
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from tests import factories
from tests.directory.expectation import stored
from tests.directory.syncing import Story, held, truth

FULL, DELTA = SyncRun.Kind.FULL, SyncRun.Kind.DELTA
# She is in Frontend, which is nested in Engineering.
ANA = "ana.ruiz@fernhill.example"
PERMISSION = "scoping.change_policy"


def bound(known: Story, name: str, *, nested: bool = False) -> User:
    """Ana's account, which has what the members of a group are given."""
    factories.bind(
        factories.account_group("Operators", site=factories.site()),
        known.group(name),
        nested=nested,
    )
    account = factories.entra_account(known.user(ANA))
    assert holds(account)
    return account


def holds(account: User) -> bool:
    return standing.read(account, now=timezone.now()).holds(PERMISSION)


def read_alone(known: Story, name: str) -> None:
    read_alone_(known, known.group(name))


def read_alone_(known: Story, target: DirectoryUser | DirectoryGroup) -> None:
    run = request_object(
        target=target,
        trigger=SyncRun.Trigger.PERSON,
        actor=None,
        now=timezone.now(),
    )
    work(run.pk)
    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.steps}"


def leave_while_deleted(known: Story, group: str = "Frontend") -> None:
    """A full read comes between: no read of changes after it says that she left."""
    known.control("DELETE", f"users/{ANA}")
    known.read()
    object_id = known.user(ANA).object_id
    known.control("DELETE", f"groups/{group}/members", {"members": [object_id]})
    known.read(FULL)


def restore(known: Story) -> None:
    known.control("POST", f"users/{known.user(ANA).object_id}/restore")


@pytest.mark.parametrize("kind", [DELTA, FULL])
def test_whoever_left_a_group_while_deleted_comes_back_without_it(
    known: Story, kind: SyncRun.Kind
) -> None:
    account = bound(known, "Frontend")
    leave_while_deleted(known)
    restore(known)
    known.read(kind)

    assert known.user(ANA).state == State.PRESENT
    assert held(known) == truth(known)
    assert not holds(account)


def test_whoever_left_it_directly_alone_is_asked_for_in_the_group(
    known: Story,
) -> None:
    """Engineering holds her through Frontend all the same."""
    known.control("PUT", f"groups/Engineering/members/{ANA}")
    known.read()
    account = bound(known, "Engineering")
    leave_while_deleted(known, "Engineering")
    restore(known)
    known.read()

    assert ANA in known.members("Engineering")
    assert held(known) == truth(known)
    assert not holds(account)


@pytest.mark.parametrize("group", ["Alumni", "Engineering"])
def test_whoever_joined_a_group_that_was_read_without_them_comes_back_to_it(
    known: Story, group: str
) -> None:
    known.control("PUT", f"groups/{group}/members/{ANA}")
    known.control("DELETE", f"users/{ANA}")
    known.read(FULL)
    restore(known)
    known.read()

    assert ANA in known.direct_members(group)
    assert held(known) == truth(known)


@pytest.mark.parametrize("read", [True, False])
def test_a_group_that_was_read_alone_first_takes_no_membership_of_the_deleted(
    known: Story, read: bool
) -> None:
    """`read`: her deletion is, before she is back."""
    account = bound(known, "Frontend")
    known.control("DELETE", f"users/{ANA}")
    read_alone(known, "Frontend")
    assert not holds(account)
    if read:
        known.read()
    restore(known)
    known.read()

    assert held(known) == truth(known)
    assert holds(account)


def test_of_more_people_than_are_asked_about_everything_is_read_next(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "PEOPLE_ASKED", 0)
    account = bound(known, "Frontend")
    known.control("DELETE", f"users/{ANA}")
    read_alone(known, "Frontend")
    assert not holds(account)
    restore(known)

    run = known.read()
    assert (run.kind, run.kind_reason) == (FULL, single.REASON)
    assert held(known) == truth(known)


def mailed(known: Story) -> str:
    """A group of hers that can be restored."""
    made: str = known.control(
        "POST",
        "groups",
        {
            "displayName": "Choir",
            "groupTypes": ["Unified"],
            "mailEnabled": True,
            "members": [ANA],
        },
    )["id"]
    known.read()
    return made


def read_everything_next(known: Story) -> None:
    known.read()
    run = known.read()
    assert (run.kind, run.kind_reason) == (FULL, compare.RESTORED)
    known.cloud_idp.refresh_from_db()
    assert not known.cloud_idp.full_read_reason


def test_a_group_that_is_deleted_as_well_is_not_left(known: Story) -> None:
    """It holds nobody until it is restored, too."""
    choir = mailed(known)
    known.control("DELETE", f"users/{ANA}")
    known.read()
    restore(known)
    known.control("DELETE", f"groups/{choir}")
    known.read()
    known.control("POST", f"groups/{choir}/restore")
    read_everything_next(known)

    assert ANA in known.direct_members("Choir")
    assert held(known) == truth(known)


@pytest.mark.parametrize("kind", [DELTA, FULL])
def test_whoever_left_a_group_before_it_was_deleted_is_not_in_it_once_it_is_back(
    known: Story, kind: SyncRun.Kind
) -> None:
    """Of a group that is deleted no read says who left it before."""
    choir = mailed(known)
    account = bound(known, "Choir")
    ana = known.user(ANA).object_id
    known.control("DELETE", f"groups/{choir}/members", {"members": [ana]})
    known.control("DELETE", f"groups/{choir}")
    known.read(kind)
    known.control("POST", f"groups/{choir}/restore")
    known.read()
    assert not holds(account)
    known.read()

    assert known.group("Choir").state == State.PRESENT
    assert held(known) == truth(known)
    assert not holds(account)


def test_whoever_left_it_while_deleted_and_came_back_before_it_is_not_in_it(
    known: Story,
) -> None:
    choir = mailed(known)
    leave_while_deleted(known, "Choir")
    known.control("DELETE", f"groups/{choir}")
    known.read()
    restore(known)
    known.read()
    known.control("POST", f"groups/{choir}/restore")
    read_everything_next(known)

    assert held(known) == truth(known)


def test_a_group_that_is_back_is_whole_where_it_is_read_alone(known: Story) -> None:
    choir = mailed(known)
    ana = known.user(ANA).object_id
    known.control("PUT", "groups/Choir/members/tomas.ibarra@fernhill.example")
    known.control("DELETE", f"groups/{choir}/members", {"members": [ana]})
    known.control("DELETE", f"groups/{choir}")
    known.read()
    known.control("POST", f"groups/{choir}/restore")
    read_alone(known, "Choir")

    assert held(known) == truth(known)


@pytest.mark.parametrize("nested", ["no longer", "unheard of"])
def test_a_group_that_is_back_is_nested_as_a_read_of_everything_says(
    known: Story, nested: str
) -> None:
    """Read alone, it is not asked for the groups that it is in."""
    choir = mailed(known)
    known.control("POST", "groups/Alumni/members", {"members": [choir]})
    account = None
    if nested == "no longer":
        known.read()
        account = bound(known, "Alumni", nested=True)
    known.control("DELETE", f"groups/{choir}")
    known.read()
    if nested == "no longer":
        known.control("DELETE", "groups/Alumni/members", {"members": [choir]})
    known.read(FULL)
    known.control("POST", f"groups/{choir}/restore")
    read_alone(known, "Choir")
    assert account is None or not holds(account)

    run = known.read()
    assert (run.kind, run.kind_reason) == (FULL, compare.RESTORED)
    assert held(known) == truth(known)


@pytest.mark.parametrize(
    "why", ["no answer", "slow answers", "many people", "many groups"]
)
def test_who_is_back_waits_for_a_read_of_everything_where_nothing_is_certain(
    known: Story, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = bound(known, "Frontend")
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    leave_while_deleted(known)
    restore(known)
    if why == "no answer":
        for path in ("/v1.0/$batch", "/v1.0/users/"):
            known.unavailable(path, method="POST")
    elif why == "slow answers":
        # In time each by itself, and not together.
        monkeypatch.setattr(returned, "SECONDS", 1.0)
        known.fault("/v1.0/$batch", delay=0.7, times=0)
    elif why == "many people":
        monkeypatch.setattr(returned, "PEOPLE", 0)
    else:
        monkeypatch.setattr(returned, "GROUPS", 0)
    known.read()

    assert known.user(ANA).state == State.DELETED
    assert not holds(account)

    run = known.read()
    assert run.kind == FULL
    assert run.kind_reason == returned.REASON
    assert known.user(ANA).state == State.PRESENT
    assert held(known) == truth(known)
    assert not holds(account)
    known.cloud_idp.refresh_from_db()
    assert not known.cloud_idp.full_read_reason


@pytest.mark.parametrize("kind", [DELTA, FULL])
def test_whoever_comes_back_beside_a_read_of_the_group_they_left_is_not_in_it(
    known: Story, kind: SyncRun.Kind
) -> None:
    """Read alone, the group says nothing of her: she is still deleted."""
    account = bound(known, "Frontend")
    leave_while_deleted(known)
    restore(known)
    run = known.request(kind)
    decide = decider(run, selection_of(known.cloud_idp))
    beside = [lambda: read_alone(known, "Frontend")]

    def meanwhile(plan: Plan) -> Held:
        if beside:
            beside.pop()()
        return decide(plan)

    work(run.pk, decide=meanwhile)

    assert known.user(ANA).state == State.PRESENT
    assert held(known) == truth(known)
    assert not holds(account)


def test_whose_return_is_held_is_told_of_by_a_group_that_is_read_alone(
    known: Story,
) -> None:
    known.control("DELETE", f"users/{ANA}")
    known.read()
    hold_everything.hold(
        cloud_idp=known.cloud_idp,
        reason="Attack",
        actor=factories.administrator(),
        now=timezone.now(),
    )
    restore(known)
    known.read()
    ana = known.user(ANA)
    assert ana.state == State.DELETED, "her return is held"
    known.control("DELETE", f"groups/Frontend/members/{ANA}")

    read_alone(known, "Frontend")

    waiting = HeldChange.objects.get(number=known.group("Frontend").pk, closed_at=None)
    assert ana.pk in unpack(waiting.users_left)


def hold_all(known: Story) -> EverythingHeld:
    return hold_everything.hold(
        cloud_idp=known.cloud_idp,
        reason="Attack",
        actor=factories.administrator(),
        now=timezone.now(),
    )


def release_all(held_: EverythingHeld) -> None:
    hold_everything.release(held_, reason="Over", actor=held_.by, now=timezone.now())


def test_a_group_whose_creation_is_held_is_asked_about_as_well(known: Story) -> None:
    everything = hold_all(known)
    known.control("POST", "groups", {"displayName": "Choir", "members": [ANA]})
    known.read()
    leave_while_deleted(known, "Choir")
    restore(known)
    known.read()
    release_all(everything)
    known.read()

    assert held(known) == truth(known)


def test_a_group_whose_nesting_is_held_explains_a_membership(known: Story) -> None:
    """Alumni holds her through Frontend, and no longer directly."""
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    known.read()
    everything = hold_all(known)
    frontend = known.group("Frontend").object_id
    known.control("POST", "groups/Alumni/members", {"members": [frontend]})
    known.read()
    leave_while_deleted(known, "Alumni")
    restore(known)
    known.read()
    release_all(everything)
    known.read()

    assert held(known) == truth(known)


def test_a_group_that_hides_its_members_explains_a_membership(known: Story) -> None:
    """Alumni may hold her through it: whom it holds, nobody says."""
    choir = known.control(
        "POST",
        "groups",
        {
            "displayName": "Choir",
            "groupTypes": ["Unified"],
            "visibility": "HiddenMembership",
            "members": [ANA],
        },
    )["id"]
    known.control("POST", "groups/Alumni/members", {"members": [choir]})
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    known.read()
    leave_while_deleted(known, "Alumni")
    restore(known)
    known.read()

    assert held(known) == truth(known)


def fail_after(known: Story, resource: str, kind: SyncRun.Kind = DELTA) -> None:
    """A run that read the one chain, and was refused the other."""
    other = {"users": "groups", "groups": "users"}[resource]
    known.fault(f"/v1.0/{other}/delta", status=403, delay=0.5)
    run = known.sync(kind)
    assert run.state == SyncRun.State.FAILED
    assert run.users_read if resource == "users" else run.groups_read


def test_whose_return_a_run_that_failed_had_read_is_asked_about_by_the_next(
    known: Story,
) -> None:
    """Her deletion is held, and what is held is kept of such a run, too."""
    everything = hold_all(known)
    leave_while_deleted(known)
    restore(known)
    known.control("PATCH", f"users/{ANA}", {"department": "Sales"})
    fail_after(known, "users")
    known.read()
    release_all(everything)
    known.read()

    assert held(known) == truth(known)


def test_whose_deletion_a_run_that_failed_had_read_is_asked_about_when_back(
    known: Story,
) -> None:
    """She is back while everything is read, after the groups and before the people."""
    account = bound(known, "Frontend")
    known.control("DELETE", f"users/{ANA}")
    fail_after(known, "users")
    assert not holds(account)
    fail_after(known, "groups", FULL)
    restore(known)
    known.read(FULL)

    assert held(known) == truth(known)
    assert not HeldChange.objects.filter(closed_at=None).exists()
    assert holds(account)


def test_a_group_that_is_new_is_asked_about_where_it_was_read_without_her(
    known: Story,
) -> None:
    known.control("DELETE", f"users/{ANA}")
    known.read()
    restore(known)
    known.control("POST", "groups", {"displayName": "Choir", "members": [ANA]})
    known.control("DELETE", f"users/{ANA}")
    fail_after(known, "groups", FULL)
    restore(known)
    known.read(FULL)

    assert ANA in known.direct_members("Choir")
    assert held(known) == truth(known)


@pytest.mark.parametrize("joining", ["in effect", "held"])
def test_whoever_is_read_alone_beside_a_read_leaves_a_group_that_holds_them_otherwise(
    known: Story, joining: str
) -> None:
    """That Frontend is in Alumni is held: it explains why Alumni holds her."""
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    if joining == "in effect":
        known.read()
    everything = hold_all(known)
    frontend = known.group("Frontend").object_id
    known.control("POST", "groups/Alumni/members", {"members": [frontend]})
    known.read()
    known.control("DELETE", f"groups/Alumni/members/{ANA}")
    run = known.request()
    decide = decider(run, selection_of(known.cloud_idp))
    beside = [lambda: read_alone_(known, known.user(ANA))]

    def meanwhile(plan: Plan) -> Held:
        if beside:
            beside.pop()()
        return decide(plan)

    work(run.pk, decide=meanwhile)
    read_alone_(known, known.user(ANA))
    known.read()
    release_all(everything)
    known.read()

    assert held(known) == truth(known)


@pytest.mark.parametrize("who", ["known", "new", "waiting", "beside a deleted group"])
def test_whoever_was_deleted_only_while_groups_were_read_is_in_them(
    known: Story, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a read lists them as a person and in no group."""
    if who.startswith("beside"):
        known.control("DELETE", "groups/Alumni?permanently=true")
    account = None if who == "new" else bound(known, "Frontend")
    person = known.user(ANA).object_id
    if who == "new":
        ben = {"displayName": "Ben", "userPrincipalName": "ben@fernhill.example"}
        person = known.control("POST", "users", ben)["id"]
        known.control("PUT", f"groups/Frontend/members/{person}")
    elif who == "waiting":
        known.control("DELETE", f"users/{person}")
        known.read()
        known.control("POST", f"users/{person}/restore")
        with monkeypatch.context() as patch:
            patch.setattr(returned, "PEOPLE", 0)
            known.read()
        assert known.user(ANA).state == State.DELETED
    fail_after(known, "users", FULL)
    known.control("DELETE", f"users/{person}")
    read = Fetch.read

    def read_and_restore(fetch: Fetch) -> Round:
        round_ = read(fetch)
        known.control("POST", f"users/{person}/restore")
        return round_

    monkeypatch.setattr(Fetch, "read", read_and_restore)
    known.read(FULL)

    assert stored(known).observed.visible == truth(known)
    assert account is None or holds(account)


def test_whoever_is_in_a_group_through_another_since_it_was_read_has_left_it(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft says that Alumni holds her, and nobody knows yet through which."""
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    known.read()
    known.control("DELETE", f"groups/Alumni/members/{ANA}")
    frontend = known.group("Frontend").object_id
    read = Fetch.read

    def read_and_nest(fetch: Fetch) -> Round:
        round_ = read(fetch)
        known.control("POST", "groups/Alumni/members", {"members": [frontend]})
        return round_

    with monkeypatch.context() as patch:
        patch.setattr(Fetch, "read", read_and_nest)
        known.read(FULL)
    known.read()

    assert held(known) == truth(known)
    known.cloud_idp.refresh_from_db()
    assert not known.cloud_idp.full_read_reason


def test_what_is_said_of_somebody_counts_until_groups_are_listed_again(
    known: Story,
) -> None:
    """People follow groups by minutes: she left Frontend, and is said to be in it."""
    known.behave(users_replication_delay=600)
    known.control("DELETE", f"groups/Frontend/members/{ANA}")
    runs = [known.read(kind) for kind in (FULL, DELTA, DELTA)]

    assert [run.kind for run in runs] == [FULL, FULL, DELTA]
    assert runs[1].kind_reason == returned.KEPT
    assert stored(known).observed.visible == truth(known)


def unknown(known: Story, *groups: str) -> str:
    """Somebody of these groups, deleted before they were read."""
    upn = "lou.perrin@fernhill.example"
    made: str = known.control(
        "POST", "users", {"displayName": "Lou Perrin", "userPrincipalName": upn}
    )["id"]
    for group in groups:
        known.control("POST", f"groups/{group}/members", {"members": [made]})
    known.control("DELETE", f"users/{made}")
    known.read(FULL)
    assert not DirectoryUser.objects.filter(object_id=made).exists()
    return made


def test_whoever_is_restored_and_was_never_known_comes_to_the_groups_that_hold_them(
    known: Story,
) -> None:
    """Engineering holds them through Frontend as well."""
    lou = unknown(known, "Frontend", "Engineering", "Alumni")
    known.control("POST", f"users/{lou}/restore")
    known.read()

    assert held(known) == truth(known)


def test_whoever_is_new_is_asked_for_their_groups_and_no_group_for_them(
    known: Story,
) -> None:
    """What was told of them explains which groups hold them."""
    made = known.control(
        "POST",
        "users",
        {"displayName": "Lou", "userPrincipalName": "lou.perrin@fernhill.example"},
    )["id"]
    known.control("POST", "groups/Frontend/members", {"members": [made]})
    run = known.read()

    # One page of each chain, and one question.
    assert run.requests == 3
    assert held(known) == truth(known)


@pytest.mark.parametrize("restored", [True, False])
def test_a_group_that_was_never_known_holds_whom_it_held_before_it_was_deleted(
    known: Story, restored: bool
) -> None:
    """One that is new holds whom a read of changes says."""
    values = {"displayName": "Choir", "groupTypes": ["Unified"], "mailEnabled": True}
    choir = known.control("POST", "groups", values | {"members": [ANA]})["id"]
    if restored:
        known.control("DELETE", f"groups/{choir}")
        known.read(FULL)
        known.control("POST", f"groups/{choir}/restore")
    known.read()
    run = known.read()

    assert run.kind == (FULL if restored else DELTA)
    assert held(known) == truth(known)


@pytest.mark.parametrize("why", ["no answer", "many groups"])
def test_of_new_groups_that_nobody_looked_at_everything_is_read_next(
    known: Story, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may hold others than was told, where they had been deleted."""
    values = {"displayName": "Choir", "groupTypes": ["Unified"], "mailEnabled": True}
    choir = known.control("POST", "groups", values | {"members": [ANA]})["id"]
    if why == "no answer":
        known.unavailable(f"/v1.0/groups/{choir}/members")
    else:
        monkeypatch.setattr(returned, "GROUPS", 0)
    known.read()
    run = known.read()

    assert run.kind == FULL
    assert held(known) == truth(known)


def test_of_many_people_it_is_not_looked_up_where_they_were(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of thousands may have been emptied."""
    monkeypatch.setattr(returned, "PEOPLE", 0)
    known.control("DELETE", f"groups/Frontend/members/{ANA}")
    with CaptureQueriesContext(connection) as statements:
        known.read(FULL)

    of_people = 'FROM "directory_directorymembership" WHERE "user_id"'
    assert not [each for each in statements if of_people in each["sql"]]
    assert held(known) == truth(known)


@pytest.mark.parametrize("certain", [True, False])
@pytest.mark.parametrize("who", ["known", "new"])
def test_whoever_was_restored_while_the_filter_left_them_out_is_asked_about(
    known: Story, who: str, certain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not certain:
        monkeypatch.setattr(returned, "PEOPLE", 0)
    known.cloud_idp.read_filter = ReadFilter(only_enabled=True).to_json()
    known.cloud_idp.save(update_fields=["read_filter"])
    known.read()
    if who == "known":
        person = known.user(ANA).object_id
        known.control("PATCH", f"users/{person}", {"accountEnabled": False})
        known.read()
        leave_while_deleted(known)
    else:
        person = unknown(known, "Frontend")
    known.control("POST", f"users/{person}/restore")
    known.control("PATCH", f"users/{person}", {"accountEnabled": False})
    known.read()
    known.control("PATCH", f"users/{person}", {"accountEnabled": True})
    known.read()
    if not certain:
        assert person not in held(known).people
        assert known.read().kind == FULL

    assert person in held(known).people
    there, here = truth(known), held(known)
    assert (here.direct ^ there.direct).isdisjoint((g, person) for g in there.groups)


def test_what_gives_full_access_since_microsoft_was_asked_is_heeded(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.control("DELETE", f"users/{ANA}")
    known.read()
    restore(known)
    ask = returned.ask

    def bind_and_ask(question: returned.Question, **given: Any) -> returned.Returned:
        factories.bind(factories.account_group("Admins"), known.group("Frontend"))
        return ask(question, **given)

    monkeypatch.setattr(returned, "ask", bind_and_ask)
    known.read()

    assert known.user(ANA).state == State.DELETED, "her return is held"
    assert HeldChange.objects.filter(number=known.user(ANA).pk, closed_at=None).exists()


@pytest.mark.parametrize("who", ["new", "back"])
def test_whom_a_group_names_before_microsoft_says_it_of_them_is_in_it(
    known: Story, who: str
) -> None:
    """People follow groups by minutes, and no later read names them again."""
    person = known.user(ANA).object_id
    if who == "new":
        ben = {"displayName": "Ben", "userPrincipalName": "ben@fernhill.example"}
        person = known.control("POST", "users", ben)["id"]
    else:
        known.control("DELETE", f"users/{person}")
        known.read()
        restore(known)
    known.behave(users_replication_delay=600)
    known.control("PUT", f"groups/Alumni/members/{person}")
    known.read()

    assert held(known) == truth(known)


@pytest.mark.parametrize("said", ["late", "never", "by a group that is large"])
def test_whoever_is_read_alone_stays_in_the_group_that_still_lists_them(
    known: Story, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft says of them later than of the group that they joined it."""
    if said.startswith("by a group"):
        monkeypatch.setattr(single, "LARGE", 0)
    known.behave(users_replication_delay=600)
    known.control("PUT", f"groups/Alumni/members/{ANA}")
    known.read()
    if said == "never":
        known.control("DELETE", f"groups/Alumni/members/{ANA}")
    read_alone_(known, known.user(ANA))

    assert (ANA in known.direct_members("Alumni")) == (said == "late")


@pytest.mark.parametrize("kind", [DELTA, FULL])
def test_who_is_back_and_is_not_found_yet_waits_for_a_read_of_everything(
    known: Story, kind: SyncRun.Kind
) -> None:
    """What looks people up may follow what reads them, by minutes."""
    account = bound(known, "Frontend")
    known.control("DELETE", f"users/{ANA}")
    known.read()
    restore(known)
    known.fault(f"/v1.0/users/{known.user(ANA).object_id}", item="*", status=404)
    known.read(kind)
    assert known.user(ANA).state == State.DELETED

    runs = [known.read(), known.read()]

    assert [run.kind for run in runs] == [FULL, DELTA]
    assert runs[0].kind_reason == returned.REASON
    assert known.user(ANA).state == State.PRESENT
    assert held(known) == truth(known)
    assert holds(account)
