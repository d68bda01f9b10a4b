"""200 runs whose worker gets SIGKILL at moments of chance; all end as if nothing was.

Two consoles read the same sandbox tenant, which changes before each run: one is left
alone, the workers of the other are killed, from outside at a moment of chance or by
themselves at a statement of chance, and taken over by others. Afterwards both hold the
same, row by row. What is held back is drawn by chance in half of the runs, and decided
by the console's own guards in the others.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from directory import tasks
from directory.models import CloudIdentityProvider, SyncRun
from directory.sync import fetch, retention
from directory.sync.differences import Plan
from directory.sync.holds import Decide, Held
from directory.sync.lease import APPLY_LEASE
from directory.sync.numbers import object_ids
from directory.sync.run import work
from tests.conftest import Sandbox, start_sandbox, stop
from tests.directory.snapshot import differing, snapshot
from tests.directory.syncing import Story, connected
from tests.kills.consoles import Databases, Worker, call
from tests.kills.turmoil import Turmoil

# From time to time both begin anew, so that first reads are killed as well.
ANEW_EVERY = 20
FULL_EVERY = 3
# Then a run may come to its end.
MOST_KILLS = 4
_NAMES = ("alone", "killed")


def held_by_chance(salt: int) -> Decide:
    """Hold a quarter of everything: the same of the same plan, whatever its numbers."""

    def drawn(names: dict[int, str], number: int) -> bool:
        said = f"{salt} {names[number]}".encode()
        return hashlib.blake2b(said, digest_size=1).digest()[0] < 64

    def decide(plan: Plan) -> Held:
        held = Held()
        people = [*plan.people.changes, *plan.people.new.kept]
        groups = list(plan.groups.changes)
        names = object_ids({*people, *groups, *plan.users, *plan.nesting})
        held.hold_people([n for n in people if drawn(names, n)], "chance")
        held.hold_groups([n for n in groups if drawn(names, n)], "chance")
        for number, change in plan.users.items():
            if drawn(names, number):
                held.hold_users(
                    number, "chance", joined=change.joined, left=change.left
                )
        for number, change in plan.nesting.items():
            if drawn(names, number):
                held.hold_nesting(
                    number, "chance", joined=change.joined, left=change.left
                )
        return held

    return decide


@dataclass
class Console:
    """A console with a database of its own; each call is another process."""

    database: str
    sandbox: Sandbox
    killed_at: Counter[str] = field(default_factory=Counter)

    def connect(self) -> None:
        def do() -> None:
            connected(self.sandbox)

        call(self.database, do)

    def request(self, kind: SyncRun.Kind) -> int:
        return int(call(self.database, lambda: self._story().request(kind).pk))

    def _story(self) -> Story:
        idp = CloudIdentityProvider.objects.get()
        return Story(self.sandbox, idp.tenant_id, idp)

    def undisturbed(self, run: int, decide: Decide | None) -> float:
        """Return the seconds it took."""

        def do() -> float:
            began = time.monotonic()
            work(run, **_deciding(decide))
            return time.monotonic() - began

        return float(call(self.database, do))

    def disturbed(
        self, run: int, decide: Decide | None, seconds: float, chance: random.Random
    ) -> int:
        """Kill whoever works on the run; return how many were."""
        ahead = timedelta()
        for kills in range(MOST_KILLS + 1):
            do = _work(run, decide, ahead)
            if kills == MOST_KILLS:
                Worker(self.database, do).wait()
                return kills
            if chance.random() < 0.5:
                killed = Worker(self.database, do).kill(chance.random() * seconds * 1.2)
            else:
                at = int(chance.triangular(1, 120, 20))
                killed = Worker(self.database, _ending_at(at, do)).wait()
            if not killed:
                return kills
            phase = call(self.database, lambda: SyncRun.objects.get(pk=run).state)
            self.killed_at[phase] += 1
            ahead += APPLY_LEASE + timedelta(minutes=1)
        raise AssertionError

    def snapshot(self) -> dict[str, Any]:
        def do() -> dict[str, Any]:
            # As every tick does: pages of a run that has ended are of no use.
            retention.clear_pages(now=timezone.now())
            return snapshot(CloudIdentityProvider.objects.get())

        found: dict[str, Any] = call(self.database, do)
        return found


def _deciding(decide: Decide | None) -> dict[str, Any]:
    """Without a word the console decides by its own guards."""
    return {} if decide is None else {"decide": decide}


def _work(run: int, decide: Decide | None, ahead: timedelta) -> Callable[[], None]:
    def clock() -> datetime:
        return timezone.now() + ahead

    def do() -> None:
        # As the tick of a worker does: leases that ran out are given up.
        tasks.give_up_silent_runs(now=clock())
        work(run, clock=clock, **_deciding(decide))

    return do


def _ending_at(number: int, do: Callable[[], None]) -> Callable[[], None]:
    """Get SIGKILL at a statement: before it, or when it is done."""

    def counted() -> None:
        left = number

        def execute(
            run: Callable[..., Any], statement: str, given: Any, many: bool, about: Any
        ) -> Any:
            nonlocal left
            left -= 1
            if not left and number % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            done = run(statement, given, many, about)
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        with connection.execute_wrapper(execute):
            do()

    return counted


def main(runs: int, seed: int) -> int:
    # Stored in small parts, so that there is something to go on with.
    fetch.FLUSH_PAGES = 2
    chance = random.Random(seed)  # noqa: S311 not a secret
    passed, failed, kills = 0, 0, 0
    at: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        state = folder / "sandbox"
        state.mkdir()
        sandbox = start_sandbox(
            state,
            *("--users=1000", "--groups=130", "--memberships=3000", "--verbosity=0"),
            *("--switch=delta_page_size=100", "--switch=throttling=false"),
        )
        settings.ENTRA_SANDBOX_URL = sandbox.url
        settings.ENTRA_SANDBOX_CA_FILE = sandbox.ca_file
        tenant = sandbox.tenants[0]["id"]
        turmoil = Turmoil(
            lambda verb, path, body: sandbox.control(
                verb, f"tenants/{tenant}/{path}", body
            ),
            chance,
        )
        databases = Databases(folder)
        alone, killed = (Console(databases.copy(each), sandbox) for each in _NAMES)
        try:
            for number in range(runs):
                if number % ANEW_EVERY == 0:
                    alone, killed = (
                        Console(databases.copy(each), sandbox) for each in _NAMES
                    )
                    alone.connect()
                    killed.connect()
                turmoil.change()
                kind = (
                    SyncRun.Kind.FULL
                    if number % FULL_EVERY == 0
                    else SyncRun.Kind.DELTA
                )
                decide = held_by_chance(number) if number % 2 else None
                seconds = alone.undisturbed(alone.request(kind), decide)
                kills += killed.disturbed(killed.request(kind), decide, seconds, chance)
                at += killed.killed_at
                killed.killed_at.clear()
                wrong = differing(alone.snapshot(), killed.snapshot())
                if wrong:
                    failed += 1
                    print(f"run {number} of seed {seed} differs: {', '.join(wrong)}")
                else:
                    passed += 1
                if (number + 1) % ANEW_EVERY == 0:
                    print(f"{number + 1} runs, {kills} workers killed", flush=True)
        finally:
            databases.close()
            stop(sandbox.process)
    print(
        f"{connection.vendor}, seed {seed}: {kills} workers killed, of runs that were "
        + ", ".join(f"{state.lower()} {count}" for state, count in sorted(at.items()))
    )
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
