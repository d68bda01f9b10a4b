"""Any sequence of changes, reads, faults, holds, approvals, kills and restarts.

A model beside the console holds both what the sandbox tenant says and what must be in
effect. After every read that ends well both agree, with closure and bitmaps; after
every step, however it ended, nothing was taken away that the tenant had not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from directory import tasks
from directory.models import SyncRun
from directory.sync.differences import Plan
from directory.sync.holds import Held, hold_nothing
from directory.sync.numbers import object_ids
from directory.sync.rebuild import rebuild
from directory.sync.run import work
from tests.conftest import Sandbox
from tests.directory.syncing import Contents, connected, held, transitive, truth

QUARREL = 1
# Beyond it a lease has run out.
STEP = timedelta(minutes=20)
DELTA, FULL = SyncRun.Kind.DELTA, SyncRun.Kind.FULL


class Killed(BaseException):
    """Ends a worker in the middle: nothing of the console catches it."""


# --- What is held, drawn by object id


def is_drawn(salt: int, what: str, object_id: str) -> bool:
    """Whether something is held; nothing is with salt 0, as if all were approved."""
    said = f"{salt} {what} {object_id}".encode()
    return bool(salt) and hashlib.blake2b(said, digest_size=1).digest()[0] < 80


def hold(salt: int) -> Callable[[Plan], Held]:
    def decide(plan: Plan) -> Held:
        held_ = Held()
        people = [*plan.people.changes, *plan.people.new.kept]
        groups = [*plan.groups.changes, *plan.groups.new.kept]
        names = object_ids({*people, *groups, *plan.users, *plan.nesting})
        held_.hold_people([n for n in people if is_drawn(salt, "row", names[n])], "x")
        held_.hold_groups([n for n in groups if is_drawn(salt, "row", names[n])], "x")
        for n, change in plan.users.items():
            if is_drawn(salt, "members", names[n]):
                held_.hold_users(n, "x", joined=change.joined, left=change.left)
        for n, change in plan.nesting.items():
            if is_drawn(salt, "members", names[n]):
                held_.hold_nesting(n, "x", joined=change.joined, left=change.left)
        return held_

    return decide if salt else hold_nothing


# --- The model


class Model:
    """What must be in effect, by object id, worked out in the simplest way.

    Pairs of whoever is not in the tenant stay: nobody said that they ended.
    """

    def __init__(self) -> None:
        self.people: dict[str, tuple[str, bool]] = {}
        self.groups: dict[str, str] = {}
        self.direct: set[tuple[str, str]] = set()
        self.nesting: set[tuple[str, str]] = set()
        # Everybody who was ever in effect: a row of theirs is there.
        self.known: set[str] = set()

    def take(self, observed: Contents, salt: int) -> None:
        """Let everything that is observed take effect, but for what is held."""
        stays = {
            each
            for mine, theirs in (
                (self.people, observed.people),
                (self.groups, observed.groups),
            )
            for each in {*mine, *theirs}
            if self._comes_or_goes(each, mine, theirs) and is_drawn(salt, "row", each)
        }
        for mine, theirs in (
            (self.direct, observed.direct),
            (self.nesting, observed.nesting),
        ):
            for pair in mine ^ theirs:
                group, member = pair
                if not (group in observed.groups and member in _everything(observed)):
                    continue
                if stays & set(pair) or is_drawn(salt, "members", group):
                    continue
                mine.symmetric_difference_update({pair})
        self.people = self._rows(self.people, observed.people, salt)
        self.groups = self._rows(self.groups, observed.groups, salt)
        self.known |= {*self.people, *self.groups}

    def _comes_or_goes(self, each: str, mine: Any, theirs: Any) -> bool:
        """Whether it gets its row or leaves: then its memberships wait with it."""
        if each in mine:
            return each not in theirs
        return each in theirs and each not in self.known

    def _rows(self, mine: Any, theirs: Any, salt: int) -> Any:
        after = {}
        for each in {*mine, *theirs}:
            found = mine if is_drawn(salt, "row", each) else theirs
            if each in found:
                after[each] = found[each]
        return after

    def contents(self) -> Contents:
        direct = {
            (group, user)
            for group, user in self.direct
            if group in self.groups and user in self.people
        }
        nesting = {
            (parent, child)
            for parent, child in self.nesting
            if parent in self.groups and child in self.groups
        }
        return Contents(
            people=dict(self.people),
            groups=dict(self.groups),
            direct=frozenset(direct),
            nesting=frozenset(nesting),
            transitive=transitive(direct, nesting),
        )


def _everything(contents: Contents) -> set[str]:
    return {*contents.people, *contents.groups}


def _things(contents: Contents) -> set[Any]:
    """All that somebody can lose; not what follows from it."""
    return {
        *contents.people,
        *contents.groups,
        *contents.direct,
        *contents.nesting,
    }


# --- The machine

numbers = st.integers(0, 10_000)
kinds = st.sampled_from([DELTA, DELTA, FULL])
# 0: nothing is held, and what was held is approved.
salts = st.sampled_from([0, 0, 1, 2, 3])
moments = st.integers(1, 140)


class Console(RuleBasedStateMachine):
    sandbox: Sandbox

    def __init__(self) -> None:
        super().__init__()
        self.undone = transaction.atomic()
        self.undone.__enter__()
        self.now = timezone.now()
        self.model = Model()
        self.deleted: list[str] = []
        self.made = 0

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undone.__exit__(None, None, None)

    @initialize()
    def read_for_the_first_time(self) -> None:
        self.sandbox.reset()
        self.sandbox.control("PATCH", "behavior", {"delta_page_size": 12})
        self.story = connected(self.sandbox, QUARREL)
        self.observed = truth(self.story)
        # All that the tenant said since the last read that ended well.
        self.said = [self.observed]
        self.effect: Contents | None = None
        # What a run that did not end has read is of this moment.
        self.begun: Contents | None = None
        self.doubtful: set[str] = set()
        self.read(FULL, 0)

    # --- The tenant changes

    def changed(self) -> None:
        self.observed = truth(self.story)
        self.said.append(self.observed)

    def person(self, number: int) -> str:
        return sorted(self.observed.people)[number % len(self.observed.people)]

    def group(self, number: int) -> str:
        return sorted(self.observed.groups)[number % len(self.observed.groups)]

    @rule(number=numbers, enabled=st.booleans())
    def disable(self, number: int, enabled: bool) -> None:
        body = {"accountEnabled": enabled, "department": f"D{number % 7}"}
        self.story.control("PATCH", f"users/{self.person(number)}", body)
        self.changed()

    @rule(number=numbers)
    def rename_a_group(self, number: int) -> None:
        body = {"displayName": f"Group {number}"}
        self.story.control("PATCH", f"groups/{self.group(number)}", body)
        self.changed()

    @rule(one=numbers, other=numbers)
    def join_or_leave(self, one: int, other: int) -> None:
        self.turn(self.group(one), self.person(other), self.observed.direct)

    @rule(one=numbers, other=numbers)
    def nest_or_take_out(self, one: int, other: int) -> None:
        if self.group(one) != self.group(other):
            self.turn(self.group(one), self.group(other), self.observed.nesting)

    def turn(self, group: str, member: str, pairs: frozenset[tuple[str, str]]) -> None:
        verb = "DELETE" if (group, member) in pairs else "POST"
        path = f"groups/{group}/members"
        self.story.control(verb, path, {"members": [member]})
        self.changed()

    @precondition(lambda self: len(self.observed.people) > 30)
    @rule(number=numbers, for_good=st.booleans())
    def delete_a_person(self, number: int, for_good: bool) -> None:
        person = self.person(number)
        if self.said[1:] or self.begun is not None:
            # What was said of them since the last read will not be said again.
            self.doubtful.add(person)
        path = f"users/{person}?permanently={str(for_good).lower()}"
        self.story.control("DELETE", path)
        if not for_good:
            self.deleted.append(person)
        self.changed()

    @precondition(lambda self: self.deleted)
    @rule()
    def restore_a_person(self) -> None:
        person = self.deleted.pop()
        self.story.control("POST", f"users/{person}/restore")
        self.changed()
        if person in self.doubtful:
            self.read(FULL, 0)

    @precondition(lambda self: len(self.observed.groups) > 3)
    @rule(number=numbers)
    def delete_a_group(self, number: int) -> None:
        path = f"groups/{self.group(number)}?permanently=true"
        self.story.control("DELETE", path)
        self.changed()

    @rule(one=numbers, other=numbers)
    def create_a_person_and_a_group_of_them(self, one: int, other: int) -> None:
        self.made += 1
        name = f"new{self.made}"
        person = {"displayName": name, "userPrincipalName": f"{name}@quarrel.example"}
        made = self.story.control("POST", "users", person)
        members = [made["id"], self.person(one)]
        if self.observed.groups:
            members.append(self.group(other))
        body: dict[str, Any] = {"displayName": name, "members": members}
        self.story.control("POST", "groups", body)
        self.changed()

    # --- The console reads

    @rule(kind=kinds, salt=salts)
    def read(self, kind: SyncRun.Kind, salt: int) -> None:
        self.work(kind, salt, lambda do: do())

    @rule(kind=kinds, salt=salts, at=moments)
    def be_killed(self, kind: SyncRun.Kind, salt: int, at: int) -> None:
        def die() -> None:
            raise Killed

        self.work(kind, salt, lambda do: _at_statement(at, die, do))

    @rule(kind=kinds, salt=salts, at=moments)
    def be_taken_for_dead(self, kind: SyncRun.Kind, salt: int, at: int) -> None:
        def lose_the_lease() -> None:
            tasks.give_up_silent_runs(now=self.now + STEP)

        self.work(kind, salt, lambda do: _at_statement(at, lose_the_lease, do))

    @rule(
        kind=kinds,
        path=st.sampled_from(["/v1.0/users/delta", "/v1.0/groups/delta"]),
        fault=st.sampled_from(
            [{"status": 403}, {"status": 200, "body": "<html>"}, {"truncate": 40}]
        ),
        nth=st.integers(1, 3),
    )
    def meet_a_fault(
        self, kind: SyncRun.Kind, path: str, fault: dict[str, Any], nth: int
    ) -> None:
        self.story.fault(path, nth=nth, **fault)
        self.work(kind, 0, lambda do: do())
        self.sandbox.control("DELETE", "faults")

    def work(
        self,
        kind: SyncRun.Kind,
        salt: int,
        live: Callable[[Callable[[], None]], None],
    ) -> None:
        """Work on the run that waits, or on a new one, and look at what became of it."""
        self.now += STEP
        tasks.give_up_silent_runs(now=self.now)
        run = self.story.request(kind, now=self.now)
        if self.begun is None:
            self.begun = self.observed
        stale = self.begun != self.observed

        def do() -> None:
            work(run.pk, clock=self.clock, decide=hold(0 if stale else salt))

        with suppress(Killed):
            live(do)
        self.story.cloud_idp.refresh_from_db()
        run.refresh_from_db()
        if run.state == SyncRun.State.SUCCEEDED:
            self.begun = None
            if stale:
                # It had read the one part before a change and the other after it.
                self.look_for_losses()
                self.work(DELTA, 0, lambda do: do())
                return
            self.model.take(self.observed, salt)
            self.look_for_losses()
            assert self.effect == self.model.contents()
            self.said = [self.observed]
        else:
            self.look_for_losses()

    def clock(self) -> datetime:
        return self.now

    def look_for_losses(self) -> None:
        """Whoever lost something had lost it in the tenant."""
        before, self.effect = self.effect, held(self.story)
        assert rebuild(self.story.cloud_idp, write=False) == 0
        if before is not None:
            lost = _things(before) - _things(self.effect)
            for contents in self.said:
                lost &= _things(contents)
            assert not lost, "taken away, and the tenant had not"


def _at_statement(
    number: int, what: Callable[[], None], do: Callable[[], None]
) -> None:
    """Have something happen before one statement of a worker."""
    left = number

    def execute(
        run: Callable[..., Any], statement: str, given: Any, many: bool, about: Any
    ) -> Any:
        nonlocal left
        left -= 1
        if not left:
            what()
        return run(statement, given, many, about)

    with connection.execute_wrapper(execute):
        do()


@pytest.mark.django_db
def test_in_any_order_nothing_is_lost_and_all_ends_right(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SYNC_EXAMPLES=300 tries so many sequences, longer ones, by chance."""
    # Small pages, each stored at once: a restart has something to go on with.
    monkeypatch.setattr("directory.sync.fetch.FLUSH_PAGES", 1)
    examples = int(os.environ.get("SYNC_EXAMPLES", "0"))
    machine = type("Machine", (Console,), {"sandbox": sandbox})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples or 3,
            stateful_step_count=40 if examples else 10,
            # The same sequences each time in CI, others each time when asked for.
            derandomize=not examples,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
