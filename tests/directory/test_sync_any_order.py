"""Any sequence of changes, reads, faults, holds, decisions, kills and restarts.

A model beside the console holds both what the sandbox tenant says and what must be in
effect. After every read that ends well both agree, with closure and bitmaps; after
every step, however it ended, nothing was taken away that the tenant had not. People
approve and reject through `directory.decisions`, as the pages do.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)

from directory import decisions, hold_everything, tasks
from directory.models import (
    Decision,
    DirectoryGroup,
    DirectoryUser,
    EverythingHeld,
    HeldChange,
    SyncRun,
)
from directory.sync import guards, request_object
from directory.sync.decide import decider
from directory.sync.differences import Plan
from directory.sync.holds import Decide, Held, stored_hold
from directory.sync.numbers import object_ids
from directory.sync.rebuild import rebuild
from directory.sync.run import work
from directory.sync.selection import selection_of
from tests import factories
from tests.conftest import Sandbox
from tests.directory.expectation import (
    Model,
    Payload,
    Stored,
    Waiting,
    is_drawn,
    payload_of,
    stored,
    waiting,
)
from tests.directory.syncing import Contents, Story, connected, held, truth

QUARREL = 1
# Beyond it a lease has run out.
STEP = timedelta(minutes=20)
# Whoever was deleted for longer cannot be restored any more.
LONGEST = timedelta(days=20)
DELTA, FULL = SyncRun.Kind.DELTA, SyncRun.Kind.FULL
NOTHING = Waiting(frozenset(), frozenset(), frozenset(), frozenset())


class Killed(BaseException):
    """Ends a worker in the middle: nothing of the console catches it."""


class Drawn:
    """The one rule of the guards: holds what is drawn, whatever it is."""

    salt = 0

    def hold(self, facts: guards.Facts, held_: Held) -> None:
        plan, salt = facts.plan, self.salt
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


@dataclass(frozen=True)
class Decided:
    """A decision as the model knows it: about these changes, as they were then."""

    pk: int
    approved: bool
    # By primary key of the held change: who it is about, and what was held.
    changes: dict[int, tuple[int, Payload]]
    ends_at: datetime | None = None


@dataclass(frozen=True)
class Look:
    """What somebody has on the screen before they decide."""

    seal: str
    changes: dict[int, tuple[int, Payload]]


@dataclass
class Judged:
    """What a run would hold if nobody had decided anything, and what it left behind."""

    holds: dict[int, tuple[int | None, Payload]] | None = None
    left: Stored | None = None


def _of(held_: HeldChange) -> tuple[int, Payload]:
    return held_.number, payload_of(stored_hold(held_))


# --- The machine

seeds = st.integers(0, 2**24)
kinds = st.sampled_from([DELTA, DELTA, FULL])
# Of what is held: as before, or from now on something else, with 0 nothing. Only what is
# held twice in the same way can be decided in between.
salts = st.sampled_from([None, None, None, None, None, 0, 1, 2])
moments = st.integers(1, 140)


class Console(RuleBasedStateMachine):
    story: Story
    drawn: Drawn
    began: datetime

    def __init__(self) -> None:
        super().__init__()
        self.undone = transaction.atomic()
        self.undone.__enter__()
        self.story.sandbox.control("POST", "snapshots/read/restore")
        self.story.cloud_idp.refresh_from_db()
        self.now = self.began
        self.administrator = factories.administrator("ada")
        self.observed = truth(self.story)
        # All that the tenant said since the last read that ended well.
        self.said = [self.observed]
        self.effect = held(self.story)
        self.last = stored(self.story)
        self.model = Model(self.last.effect, self.last.observed)
        # What a run that did not end has read is of these moments: as it began, and
        # whenever it went on.
        self.begun: list[Contents] = []
        self.deleted: list[str] = []
        self.made = self.days = 0
        self.salt = 1
        self.decided: dict[int, Decided] = {}
        # Which decision holds for a held change, by primary key.
        self.in_force: dict[int, int] = {}
        self.everything: EverythingHeld | None = None
        self.looked: Look | None = None
        # Happens once in the next plan, between its comparison and its end.
        self.meanwhile: Callable[[Plan], None] | None = None
        # Somebody was read alone since the last read that ended well.
        self.read_alone = False

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undone.__exit__(None, None, None)

    # --- The tenant changes

    def go_on(self, seed: int) -> None:
        """Let things happen: mostly several in the tenant, and people decide."""
        self.days += 1
        chance = random.Random(f"{seed} {self.days}")  # noqa: S311 - for a test
        most = 2 if self.begun else 5
        happen = chance.choices(CHANGES, k=chance.randint(0, most))
        happen += chance.choices(DECISIONS, k=chance.randint(0, 1))
        if self.now - self.began < LONGEST and chance.random() < 0.25:
            # A rejection ends after one to three days.
            self.now += timedelta(hours=chance.choice([13, 25, 50, 75]))
        chance.shuffle(happen)
        for what in happen:
            what(self, chance)
            if what in CHANGES:
                self.observed = truth(self.story)
                self.said.append(self.observed)

    def person(self, chance: random.Random) -> str:
        return chance.choice(sorted(self.observed.people))

    def group(self, chance: random.Random) -> str:
        return chance.choice(sorted(self.observed.groups))

    def disable_or_enable(self, chance: random.Random) -> None:
        person = self.person(chance)
        _name, enabled = self.observed.people[person]
        body = {"accountEnabled": not enabled, "department": chance.choice("ABC")}
        self.story.control("PATCH", f"users/{person}", body)

    def rename_a_group(self, chance: random.Random) -> None:
        body = {"displayName": f"Group {chance.randint(0, 99)}"}
        self.story.control("PATCH", f"groups/{self.group(chance)}", body)

    def join_or_leave(self, chance: random.Random) -> None:
        self.turn(self.group(chance), self.person(chance), self.observed.direct)

    def leave(self, chance: random.Random) -> None:
        pairs = sorted(self.observed.direct)
        if pairs:
            self.turn(*chance.choice(pairs), self.observed.direct)

    def nest_or_take_out(self, chance: random.Random) -> None:
        group, other = self.group(chance), self.group(chance)
        if group != other:
            self.turn(group, other, self.observed.nesting)

    def take_out(self, chance: random.Random) -> None:
        pairs = sorted(self.observed.nesting)
        if pairs:
            self.turn(*chance.choice(pairs), self.observed.nesting)

    def turn(self, group: str, member: str, pairs: frozenset[tuple[str, str]]) -> None:
        verb = "DELETE" if (group, member) in pairs else "POST"
        path = f"groups/{group}/members"
        self.story.control(verb, path, {"members": [member]})

    def change_what_was_decided(self, chance: random.Random) -> None:
        """What somebody approved or rejected is another before the next read."""
        decided = {
            number
            for each in self.decided.values()
            for pk, (number, _payload) in each.changes.items()
            if self.in_force.get(pk) == each.pk
        }
        names = sorted(object_ids(decided).values())
        groups = [each for each in names if each in self.observed.groups]
        people = [each for each in names if each in self.observed.people]
        if groups:
            group = chance.choice(groups)
            self.turn(group, self.person(chance), self.observed.direct)
            body = {"displayName": f"Decided {chance.randint(0, 99)}"}
            self.story.control("PATCH", f"groups/{group}", body)
        if people:
            person = chance.choice(people)
            enabled = not self.observed.people[person][1]
            self.story.control("PATCH", f"users/{person}", {"accountEnabled": enabled})

    def take_back(self, chance: random.Random) -> None:
        """The tenant is again as it is here in something that is held."""
        effect, observed, tenant = self.last.effect, self.last.observed, self.observed
        for mine, theirs, now, members in (
            (effect.direct, observed.direct, tenant.direct, tenant.people),
            (effect.nesting, observed.nesting, tenant.nesting, tenant.groups),
        ):
            pairs = sorted(
                (group, member)
                for group, member in mine ^ theirs
                if group in tenant.groups
                and member in members
                and ((group, member) in mine) != ((group, member) in now)
            )
            if pairs:
                self.turn(*chance.choice(pairs), now)
        for person, row in sorted(tenant.people.items()):
            was = effect.people.get(person)
            if was is not None and was != row:
                body = {"accountEnabled": was[1]}
                self.story.control("PATCH", f"users/{person}", body)
                return

    def delete_a_person(self, chance: random.Random) -> None:
        if len(self.observed.people) < 30:
            return
        # Somebody in a group as often as anybody.
        members = sorted({member for _group, member in self.observed.direct})
        person = self.person(chance)
        if members and chance.random() < 0.5:
            person = chance.choice(members)
        self.delete(person, for_good=chance.random() < 0.3)

    def delete(self, person: str, *, for_good: bool) -> None:
        path = f"users/{person}?permanently={str(for_good).lower()}"
        self.story.control("DELETE", path)
        if not for_good:
            self.deleted.append(person)

    def leave_while_deleted(self, chance: random.Random) -> None:
        """Whoever comes back comes back to a group less."""
        if not self.deleted:
            return
        person = chance.choice(self.deleted)
        groups = self.story.control("GET", f"users/{person}")["groups"]
        if there := sorted(self.observed.groups.keys() & set(groups)):
            path = f"groups/{chance.choice(there)}/members"
            self.story.control("DELETE", path, {"members": [person]})

    def restore_a_person(self, chance: random.Random) -> None:
        if self.deleted:
            person = self.deleted.pop(chance.randrange(len(self.deleted)))
            self.story.control("POST", f"users/{person}/restore")

    def delete_a_group(self, chance: random.Random) -> None:
        if len(self.observed.groups) > 4:
            path = f"groups/{self.group(chance)}?permanently=true"
            self.story.control("DELETE", path)

    def create_a_person_and_a_group_of_them(self, chance: random.Random) -> None:
        self.made += 1
        name = f"new{self.made}"
        person = {"displayName": name, "userPrincipalName": f"{name}@quarrel.example"}
        made = self.story.control("POST", "users", person)
        members = [made["id"], self.person(chance), self.group(chance)]
        body: dict[str, Any] = {"displayName": name, "members": members}
        self.story.control("POST", "groups", body)

    # --- People decide

    def open_changes(self) -> list[HeldChange]:
        return list(
            HeldChange.objects.filter(
                cloud_idp=self.story.cloud_idp, closed_at=None
            ).order_by("pk")
        )

    def look_at(self, chance: random.Random) -> Look | None:
        """Open some of the held changes; nothing where nothing is held."""
        open_ = self.open_changes()
        if not open_:
            return None
        # One, a few, or all: what nobody has to wait for, and what belongs together.
        some = chance.choice([1, 1, min(2, len(open_)), len(open_)])
        chosen = chance.sample(open_, some)
        review = decisions.review(
            self.story.cloud_idp, chosen, viewer=self.administrator, now=self.now
        )
        return Look(review.seal, {each.pk: _of(each) for each in chosen})

    def look(self, chance: random.Random) -> None:
        self.looked = self.look_at(chance)

    def approve(self, chance: random.Random) -> None:
        if seen := self.look_at(chance):
            self.approve_as_seen(seen)

    def approve_what_was_seen_before(self, _chance: random.Random) -> None:
        if self.looked is not None:
            looked, self.looked = self.looked, None
            self.approve_as_seen(looked)

    def approve_as_seen(self, look: Look) -> None:
        now_held = {each.pk: _of(each) for each in self.open_changes()}
        same = {pk: now_held.get(pk) for pk in look.changes} == look.changes
        here = stored(self.story)
        chosen = {here.names[number] for number, _payload in look.changes.values()}
        applies = bool(here.waiting().freed(chosen))
        refused = ""
        try:
            decisions.approve(
                cloud_idp=self.story.cloud_idp,
                pks=list(look.changes),
                seal=look.seal,
                typed="",
                reason="As seen",
                actor=self.administrator,
                now=self.now,
            )
        except decisions.CannotDecide as why:
            refused = str(why)
        assert bool(refused) != (same and applies), refused or "it was not refused"
        if not refused:
            self.note_decision(look.changes, approved=True)

    def reject(self, chance: random.Random) -> None:
        seen, days = self.look_at(chance), chance.randint(1, 3)
        if seen is None:
            return
        decisions.reject(
            cloud_idp=self.story.cloud_idp,
            pks=list(seen.changes),
            days=days,
            reason="Not ours to lose",
            actor=self.administrator,
            now=self.now,
        )
        self.note_decision(
            seen.changes, approved=False, ends_at=self.now + timedelta(days=days)
        )

    def note_decision(
        self,
        changes: dict[int, tuple[int, Payload]],
        *,
        approved: bool,
        ends_at: datetime | None = None,
    ) -> None:
        pk = Decision.objects.order_by("-pk").values_list("pk", flat=True)[0]
        self.decided[pk] = Decided(pk, approved, changes, ends_at)
        self.in_force |= dict.fromkeys(changes, pk)

    @rule(seed=seeds)
    def hold_or_release_everything(self, seed: int) -> None:
        if self.everything is None and seed % 4:
            # Now and then: meanwhile no decision takes effect.
            return
        actor, now = self.administrator, self.now
        if self.everything is None:
            self.everything = hold_everything.hold(
                cloud_idp=self.story.cloud_idp, reason="Attack", actor=actor, now=now
            )
        else:
            hold_everything.release(
                self.everything, reason="Over", actor=actor, now=now
            )
            self.everything = None

    # --- The console reads

    @rule(seed=seeds, kind=kinds, salt=salts)
    def read(self, seed: int, kind: SyncRun.Kind, salt: int | None) -> None:
        self.go_on(seed)
        self.work(kind, salt, lambda do, _run: do())
        self.has_ended_well()

    @rule(
        seed=seeds,
        kind=kinds,
        salt=salts,
        at=st.one_of(st.none(), st.none(), st.integers(1, 60)),
    )
    def meet_a_read_of_one(
        self, seed: int, kind: SyncRun.Kind, salt: int | None, at: int | None
    ) -> None:
        """Somebody is read alone while a read goes on: at any moment, or when its plan
        is compared and not yet applied."""
        chance = random.Random(f"{seed} alone")  # noqa: S311 - for a test

        def live(do: Callable[[], None], _run: SyncRun) -> None:
            if at is None:
                self.meanwhile = lambda plan: self.read_one(chance, plan)
                do()
                self.meanwhile = None
            else:
                _at_statement(at, lambda: self.read_one(chance), do, between=True)

        self.go_on(seed)
        self.work(kind, salt, live)
        self.has_ended_well()

    def read_one(self, chance: random.Random, plan: Plan | None = None) -> None:
        """Change a group, or somebody's being in it, and read that alone."""
        here = self.last.effect
        groups = {each for each in self.observed.groups if here.groups.get(each)}
        if plan is not None and plan.users and chance.random() < 0.8:
            # What the plan takes for as it was.
            groups = groups & set(object_ids(plan.users).values()) or groups
        people = {each for each in self.observed.people if here.people.get(each)}
        if not groups or not people:
            return
        group, person = chance.choice(sorted(groups)), chance.choice(sorted(people))
        self.turn(group, person, self.observed.direct)
        others = sorted(
            m for g, m in self.observed.direct if g == group and m != person
        )
        if others and len(people) > 30 and chance.random() < 0.3:
            # Not listed any more, and still a member once restored.
            self.delete(chance.choice(others), for_good=False)
        self.observed = truth(self.story)
        self.said.append(self.observed)
        target = (
            DirectoryUser.objects.get(cloud_idp=self.story.cloud_idp, object_id=person)
            if chance.random() < 0.3
            else DirectoryGroup.objects.get(
                cloud_idp=self.story.cloud_idp, object_id=group
            )
        )
        self.work_on_one(
            request_object(
                target=target, trigger=SyncRun.Trigger.PERSON, actor=None, now=self.now
            )
        )
        if isinstance(target, DirectoryGroup):
            joined = (group, person) in self.observed.direct
            assert ((group, person) in self.last.observed.direct) == joined
        self.read_alone = True

    def work_on_one(self, run: SyncRun) -> None:
        judged = Judged()
        work(run.pk, clock=self.clock, decide=self.decide(run, judged))
        run.refresh_from_db()
        assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.steps}"
        self.look_for_losses()
        self.last = stored(self.story)
        self.after_decisions(judged, self.last)

    def has_ended_well(self) -> None:
        """Nothing kept the last read from its end but days that went by in it."""
        run = SyncRun.objects.reads().filter(cloud_idp=self.story.cloud_idp).first()
        assert run is not None
        if run.error_code != "console:deadline":
            assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.advice}"

    @rule(seed=seeds, kind=kinds, salt=salts, at=moments)
    def be_killed(
        self, seed: int, kind: SyncRun.Kind, salt: int | None, at: int
    ) -> None:
        def die() -> None:
            raise Killed

        self.go_on(seed)
        self.work(kind, salt, lambda do, _run: _at_statement(at, die, do))

    @rule(seed=seeds, kind=kinds, salt=salts, at=moments)
    def be_taken_for_dead(
        self, seed: int, kind: SyncRun.Kind, salt: int | None, at: int
    ) -> None:
        def lose_the_lease() -> None:
            tasks.give_up_silent_runs(now=self.now + STEP)

        self.go_on(seed)
        self.work(kind, salt, lambda do, _run: _at_statement(at, lose_the_lease, do))

    @rule(seed=seeds, kind=kinds, salt=salts, at=st.integers(1, 60))
    def be_overtaken(
        self, seed: int, kind: SyncRun.Kind, salt: int | None, at: int
    ) -> None:
        """Another worker ends the run; the first knows nothing of it and goes on."""
        second = Judged()

        def live(do: Callable[[], None], run: SyncRun) -> None:
            def overtake() -> None:
                run.refresh_from_db()
                if run.state not in SyncRun.ACTIVE:
                    # Its work is done: what is decided from now on is for the next run.
                    return
                tasks.give_up_silent_runs(now=self.now + STEP)
                self.go_on(seed)
                self.now += STEP
                work(run.pk, clock=self.clock, decide=self.decide(run, second))
                second.left = stored(self.story)

            _at_statement(at, overtake, do, between=True)

        self.go_on(seed)
        self.work(kind, salt, live, second)

    @rule(
        seed=seeds,
        kind=kinds,
        salt=salts,
        path=st.sampled_from(["/v1.0/users/delta", "/v1.0/groups/delta"]),
        fault=st.sampled_from(
            [
                {"status": 403},
                {"status": 410},
                {"status": 200, "body": "<html>"},
                {"truncate": 40},
            ]
        ),
        nth=st.integers(1, 3),
    )
    def meet_a_fault(
        self,
        seed: int,
        kind: SyncRun.Kind,
        salt: int | None,
        path: str,
        fault: dict[str, Any],
        nth: int,
    ) -> None:
        self.go_on(seed)
        self.story.fault(path, nth=nth, **fault)
        self.work(kind, salt, lambda do, _run: do())
        self.story.sandbox.control("DELETE", "faults")

    def work(
        self,
        kind: SyncRun.Kind,
        salt: int | None,
        live: Callable[[Callable[[], None], SyncRun], None],
        second: Judged | None = None,
    ) -> None:
        """Work on the run that waits, or on a new one, and look at what became of it."""
        self.now += STEP
        self.salt = self.salt if salt is None else salt
        self.drawn.salt = self.salt
        tasks.give_up_silent_runs(now=self.now)
        run = self.story.request(kind, now=self.now)
        self.begun.append(self.observed)
        first = Judged()

        def do() -> None:
            work(run.pk, clock=self.clock, decide=self.decide(run, first))

        with suppress(Killed):
            live(do, run)
        self.story.cloud_idp.refresh_from_db()
        run.refresh_from_db()
        self.look_for_losses()
        before, self.last = self.last, stored(self.story)
        if second is not None and second.left is not None:
            assert self.last == second.left, "written by one who had lost the run"
        now_stored = self.last
        if run.state != SyncRun.State.SUCCEEDED:
            assert now_stored.effect == before.effect, "applied by a run without an end"
            return
        judged = second if second and second.holds is not None else first
        agreed, rejected = self.after_decisions(judged, now_stored)
        blurred = self.read_alone or any(each != self.observed for each in self.begun)
        self.begun, self.read_alone = [], False
        if blurred:
            # It had read the one part before a change and the other after it.
            for once_more in SyncRun.objects.active().filter(kind=SyncRun.Kind.OBJECT):
                self.work_on_one(once_more)
            self.model = Model(self.last.effect, self.last.observed)
            self.said = [*self.said[-1:]]
            self.work(DELTA, None, lambda do, _run: do())
            return
        self.said = [self.observed]
        self.compare(agreed, rejected, now_stored)

    def dormant(self) -> set[tuple[str, str]]:
        """In which groups the deleted are when they are restored."""
        return {
            (group, person)
            for person in self.deleted
            for group in self.story.control("GET", f"users/{person}")["groups"]
        }

    def compare(self, agreed: set[str], rejected: set[str], now_stored: Stored) -> None:
        """Let the model take what the run took, and hold both side by side."""
        salt = self.salt
        everything = self.everything is not None
        model = self.model
        model.observe(self.observed)
        waits = waiting(
            model.effect,
            model.observed,
            lambda each: everything or each in rejected or is_drawn(salt, "row", each),
            lambda each: (
                everything or each in rejected or is_drawn(salt, "members", each)
            ),
        )
        model.take_effect(waits, waits.freed(agreed))
        model.hear_of(now_stored, self.observed, self.dormant())
        assert now_stored.observed.visible == self.observed
        assert now_stored.effect.visible == model.effect.visible
        assert self.effect == model.effect.visible

    def decide(self, run: SyncRun, judged: Judged) -> Decide:
        """What decides in a run: the guards and what people decided. It is noted what
        would be held if nobody had."""
        decide = decider(run, selection_of(self.story.cloud_idp))

        def noted(plan: Plan) -> Held:
            if (meanwhile := self.meanwhile) is not None:
                self.meanwhile = None
                meanwhile(plan)
            held_ = decide(plan)
            agreed = held_.agreed

            def note(settled: Plan) -> Any:
                judged.holds = {
                    number: (hold.pk, payload_of(hold))
                    for number, hold in settled.holds.items()
                }
                assert agreed is not None
                return agreed(settled)

            if agreed is not None:
                held_.agreed = note
            return held_

        return noted

    def after_decisions(
        self, judged: Judged, now_stored: Stored
    ) -> tuple[set[str], set[str]]:
        """Work out which decisions hold after a run, and what they did in it.

        Returns who was agreed to and who was rejected, by object id.
        """
        agreed: set[str] = set()
        rejected: set[str] = set()
        ends: set[int] = set()
        names = now_stored.names
        for decision in self.decided.values():
            linked = [
                pk for pk in decision.changes if self.in_force.get(pk) == decision.pk
            ]
            if not linked:
                continue
            if decision.ends_at is not None:
                if decision.ends_at <= self.now:
                    ends.update(linked)
                    continue
                rejected |= {names[decision.changes[pk][0]] for pk in linked}
            if self.everything is not None:
                # Nobody is asked; whatever changes meanwhile is looked at afterwards.
                continue
            assert judged.holds is not None, "decisions hold, and nobody asked for them"
            other = {
                pk
                for pk, (number, payload) in decision.changes.items()
                if judged.holds.get(number) != (pk, payload)
            }
            if not decision.approved:
                ends |= other.intersection(linked)
            elif other or len(linked) < len(decision.changes):
                ends.update(linked)
            else:
                agreed |= {names[number] for number, _ in decision.changes.values()}
                ends.update(linked)
        self.in_force = {
            pk: decision
            for pk, decision in self.in_force.items()
            if pk not in ends and pk in now_stored.holds
        }
        in_force = {
            pk: each.decision_id
            for pk, each in now_stored.holds.items()
            if each.decision_id is not None
        }
        assert in_force == self.in_force, "decisions that hold"
        return agreed, rejected

    def clock(self) -> datetime:
        return self.now

    def look_for_losses(self) -> None:
        """Whoever lost something had lost it in the tenant."""
        before, self.effect = self.effect, held(self.story)
        assert rebuild(self.story.cloud_idp, write=False) == 0
        lost = _things(before) - _things(self.effect)
        for contents in self.said:
            lost &= _things(contents)
        assert not lost, "taken away, and the tenant had not"


CHANGES: Sequence[Callable[[Console, random.Random], None]] = (
    Console.disable_or_enable,
    Console.rename_a_group,
    Console.change_what_was_decided,
    Console.change_what_was_decided,
    Console.take_back,
    Console.take_back,
    Console.join_or_leave,
    Console.leave,
    Console.leave,
    Console.leave,
    Console.take_out,
    Console.nest_or_take_out,
    Console.take_out,
    Console.delete_a_person,
    Console.leave_while_deleted,
    Console.restore_a_person,
    Console.restore_a_person,
    Console.delete_a_group,
    Console.create_a_person_and_a_group_of_them,
)


DECISIONS: Sequence[Callable[[Console, random.Random], None]] = (
    Console.approve,
    Console.approve,
    Console.reject,
    Console.reject,
    Console.look,
    Console.approve_what_was_seen_before,
)


def _things(contents: Contents) -> set[Any]:
    """All that somebody can lose; not what follows from it."""
    return {
        *contents.people,
        *contents.groups,
        *contents.direct,
        *contents.nesting,
    }


def _at_statement(
    number: int,
    what: Callable[[], None],
    do: Callable[[], None],
    *,
    between: bool = False,
) -> None:
    """Have something happen before one statement of a worker.

    Or before the next one where a real database would be as it is here: the worker's
    own transaction is a savepoint of the test's, which what Django saves by itself is
    not. `between`: outside a transaction, since within one nobody else gets to write.
    """
    left = number
    depth = len(connection.savepoint_ids)

    def execute(
        run: Callable[..., Any], statement: str, given: Any, many: bool, about: Any
    ) -> Any:
        nonlocal left
        own = connection.savepoint_ids[depth:]
        whole = not own if between else not own or own[0] is not None
        if left > 1 or (left == 1 and whole):
            left -= 1
            if not left:
                what()
        return run(statement, given, many, about)

    with connection.execute_wrapper(execute):
        do()


class Talk(Story):
    """A story that keeps its line to the control plane open."""

    def __init__(self, story: Story) -> None:
        super().__init__(story.sandbox, story.tenant, story.cloud_idp)
        self._line = requests.Session()
        self._line.trust_env = False
        self._line.verify = self.sandbox.ca_file
        self._line.headers["X-Sandbox-Key"] = self.sandbox.control_key

    def control(self, method: str, path: str, body: Any = None) -> Any:
        address = f"{self.sandbox.url}/control/tenants/{self.tenant}/{path}"
        answer = self._line.request(method, address, json=body, timeout=60)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


# A worker that is killed closes no cursor of its own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.django_db
def test_in_any_order_nothing_is_lost_and_all_ends_right(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SYNC_EXAMPLES=300 tries so many sequences, longer ones, by chance."""
    drawn = Drawn()
    rules: Sequence[guards.Rule] = (
        guards.Rule("x", "", "", drawn.hold, loss=False),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(guards, "RULES", rules)
    # Small pages, each stored at once: a restart has something to go on with.
    monkeypatch.setattr("directory.sync.fetch.FLUSH_PAGES", 1)
    sandbox.control("PATCH", "behavior", {"delta_page_size": 12})
    # Read once; each sequence goes back to what came of that.
    story = Talk(connected(sandbox, QUARREL))
    story.read(FULL)
    sandbox.control("PUT", "snapshots/read")
    examples = int(os.environ.get("SYNC_EXAMPLES", "0"))
    machine = type(
        "Machine",
        (Console,),
        {"story": story, "drawn": drawn, "began": timezone.now()},
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples or 4,
            stateful_step_count=15 if examples else 12,
            # The same sequences each time in CI, others each time when asked for.
            derandomize=not examples,
            database=None,
            deadline=None,
            # A sequence that fails is printed as it is: shrinking it takes too long.
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
