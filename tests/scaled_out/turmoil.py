"""Workers are killed, leases run out early, and every directory ends as it is.

A trigger in the database counts what was applied: a run that two workers applied would
be there twice, and its connection would be a generation ahead.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from psycopg import sql

from directory import tasks
from directory.models import CloudIdentityProvider, HeldChange, SyncRun
from directory.sync.rebuild import rebuild
from jamfidp.celery import app
from tests.conftest import ROOT, Sandbox, start_sandbox, stop
from tests.directory.syncing import Contents, Story, connected, held, truth
from tests.factories import guard_limits

# A round that takes longer hangs.
ROUND_SECONDS = 600
APPLIED = """
CREATE TABLE applied (run bigint NOT NULL);
CREATE FUNCTION note_applied() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO applied VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER note_applied AFTER UPDATE OF state ON directory_syncrun FOR EACH ROW
WHEN (NEW.state = 'SUCCEEDED') EXECUTE FUNCTION note_applied();
"""


@dataclass
class Workers:
    """Celery workers as in production, each with its children in a group of its own."""

    count: int
    folder: Path
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    killed: int = 0

    def start(self, number: int) -> None:
        with (self.folder / f"worker{number}.log").open("ab") as log:
            self.running[number] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "--app=jamfidp", "worker"),
                    *("--concurrency=2", "--queues=people,background"),
                    *(f"--hostname=worker{number}@scaled-out", "--loglevel=WARNING"),
                    *("--without-gossip", "--without-mingle"),
                ],
                cwd=ROOT,
                env=os.environ.copy(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_all(self) -> None:
        for number in range(self.count):
            self.start(number)

    def kill(self, number: int) -> None:
        """Kill a worker and what it forked; another one takes its place."""
        os.killpg(self.running[number].pid, signal.SIGKILL)
        self.running[number].wait()
        self.killed += 1

    def stop(self) -> None:
        for process in self.running.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def database() -> Iterator[None]:
    """Make the database that the settings name, and drop it."""
    given = connection.settings_dict
    name = sql.Identifier(str(given["NAME"]))
    server = psycopg.connect(
        host=given["HOST"],
        port=given["PORT"] or None,
        user=given["USER"],
        password=given["PASSWORD"] or None,
        dbname="postgres",
        autocommit=True,
    )
    server.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(APPLIED)
        yield
    finally:
        connection.close()
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        server.close()


@dataclass
class Turmoil:
    sandbox: Sandbox
    workers: Workers
    chance: random.Random
    stories: list[Story]
    expired: int = 0

    def change(self, story: Story) -> None:
        """Change a tenant in one call of each kind."""
        seed = self.chance.randrange(1 << 30)
        for action, count in (
            ("change-users", self.chance.randrange(4)),
            ("add-memberships", self.chance.randrange(4)),
            ("delete-users", self.chance.randrange(2)),
            ("create-users", self.chance.randrange(3)),
        ):
            body: dict[str, Any] = {"count": count, "seed": seed}
            if action == "change-users":
                body["properties"] = {"jobTitle": f"Moved {seed} {{n}}"}
            if action == "create-users":
                name = f"new{seed}.{{n}}@{story.cloud_idp.tenant_name}.example"
                body["properties"] = {"userPrincipalName": name.replace(" ", "")}
            if count:
                story.control("POST", f"bulk/{action}", body)

    def read_all(self, kind: SyncRun.Kind, *, quiet: bool) -> None:
        """Have everything read; whatever fails is asked for again."""
        before = {story: _succeeded(story) for story in map(_key, self.stories)}
        deadline = time.monotonic() + ROUND_SECONDS
        waiting = list(self.stories)
        while waiting:
            assert time.monotonic() < deadline, "a round hangs: see the workers' logs"
            for story in waiting:
                # Only asked: whether somebody hears it is another matter.
                tasks.announce(story.request(kind), now=timezone.now())
            tasks.tick.apply_async()
            if not quiet:
                self.disturb()
            time.sleep(0.5)
            waiting = [
                story
                for story in waiting
                if _succeeded(_key(story)) == before[_key(story)]
            ]

    def disturb(self) -> None:
        if self.chance.random() < 0.4:
            number = self.chance.randrange(self.workers.count)
            self.workers.kill(number)
            self.workers.start(number)
        if self.chance.random() < 0.8:
            # As if minutes had passed: of dead workers, and of some that live.
            active = SyncRun.objects.filter(state__in=["READING", "APPLYING"])
            some = [
                pk
                for pk in active.values_list("pk", flat=True)
                if self.chance.random() < 0.5
            ]
            self.expired += active.filter(pk__in=some).update(
                lease_expires_at=timezone.now() - timedelta(seconds=1)
            )

    def wrong(self) -> list[str]:
        """Say what is not as it should be."""
        found = []
        with connection.cursor() as cursor:
            cursor.execute("SELECT run FROM applied GROUP BY run HAVING count(*) > 1")
            found += [f"run {run} was applied twice" for (run,) in cursor.fetchall()]
        for story in self.stories:
            idp = CloudIdentityProvider.objects.get(pk=story.cloud_idp.pk)
            succeeded = _succeeded(idp.pk)
            if idp.generation != succeeded:
                found.append(f"{idp}: generation {idp.generation} of {succeeded} runs")
            if (here := held(story)) != (there := truth(story)):
                waiting = HeldChange.objects.filter(cloud_idp=idp, closed_at=None)
                found.append(
                    f"{idp}: holds something else than its tenant ({_difference(here, there)}"
                    f"; {waiting.count()} held changes)"
                )
            if rebuild(idp, write=False):
                found.append(f"{idp}: closure or bitmaps differ from the rows")
        return found


def _difference(here: Contents, there: Contents) -> str:
    """Say in which parts two directories differ, and by how much."""
    return ", ".join(
        f"{name}: {len(one - other)} too many, {len(other - one)} missing"
        for name in ("people", "groups", "direct", "nesting", "transitive")
        if (one := _as_set(here, name)) != (other := _as_set(there, name))
    )


def _as_set(contents: Contents, name: str) -> frozenset[Any]:
    part = getattr(contents, name)
    return frozenset(part.items() if isinstance(part, dict) else part)


def _key(story: Story) -> int:
    return int(story.cloud_idp.pk)


def _succeeded(cloud_idp_id: int) -> int:
    return SyncRun.objects.filter(
        cloud_idp_id=cloud_idp_id, state=SyncRun.State.SUCCEEDED
    ).count()


def main(
    *, rounds: int, connections: int, workers: int, chance: random.Random, seed: int
) -> int:
    with tempfile.TemporaryDirectory(prefix="scaled-out-") as name:
        folder = Path(name)
        sandbox = start_sandbox(
            folder,
            "--switch=throttling=false",
            "--switch=delta_page_size=20",
            command=[
                sys.executable,
                "-m",
                "tests.scaled_out.tenants",
                str(connections),
            ],
        )
        os.environ["ENTRA_SANDBOX_URL"] = settings.ENTRA_SANDBOX_URL = sandbox.url
        os.environ["ENTRA_SANDBOX_CA_FILE"] = sandbox.ca_file
        settings.ENTRA_SANDBOX_CA_FILE = sandbox.ca_file
        crew = Workers(workers, folder)
        try:
            with database():
                app.control.purge()
                stories = [connected(sandbox, number) for number in range(connections)]
                for story in stories:
                    # These tenants are so small that the guards would hold what a few
                    # rounds take away.
                    guard_limits(story.cloud_idp, 1_000_000)
                turmoil = Turmoil(sandbox, crew, chance, stories)
                crew.start_all()
                wrong: list[str] = []
                for number in range(rounds):
                    for story in stories:
                        turmoil.change(story)
                    kind = SyncRun.Kind.DELTA if number % 2 else SyncRun.Kind.FULL
                    turmoil.read_all(kind, quiet=False)
                    turmoil.read_all(SyncRun.Kind.DELTA, quiet=True)
                    wrong += (found := turmoil.wrong())
                    print(
                        f"round {number}: {'; '.join(found) or 'all right'}", flush=True
                    )
                runs = SyncRun.objects.count()
                crew.stop()
        finally:
            stop(sandbox.process)
    print(
        f"{workers} workers, {connections} connections, {runs} runs, {crew.killed} workers"
        f" killed, {turmoil.expired} leases ended early, seed {seed}:"
        f" {len(wrong)} wrong"
    )
    return 1 if wrong else 0
