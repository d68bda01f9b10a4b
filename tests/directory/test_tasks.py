"""The tick: rows are looked at, messages are only hints."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from directory import freshness, tasks
from directory.models import (
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    ConsentRequest,
    StagedPage,
    SyncRun,
    WorkerHeartbeat,
)
from directory.sync import request_sync
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that workers were told of."""
    runs: list[int] = []
    monkeypatch.setattr(
        tasks.run_sync, "apply_async", lambda args: runs.append(args[0])
    )
    return runs


def connection(**values: Any) -> CloudIdentityProvider:
    idp = factories.cloud_idp(**values)
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


def run_of(idp: CloudIdentityProvider, **values: Any) -> SyncRun:
    return SyncRun.objects.create(
        **{
            "cloud_idp": idp,
            "kind": SyncRun.Kind.DELTA,
            "trigger": SyncRun.Trigger.SCHEDULE,
            "created_at": timezone.now(),
        }
        | values
    )


def test_a_connection_whose_time_has_come_is_read(sent: list[int]) -> None:
    idp = connection(next_sync_at=timezone.now() - timedelta(seconds=1))

    tasks.tick()

    run = SyncRun.objects.get(cloud_idp=idp)
    assert run.kind == SyncRun.Kind.DELTA
    assert run.trigger == SyncRun.Trigger.SCHEDULE
    assert sent == [run.pk]
    assert freshness.workers(timezone.now()).running


def test_a_connection_that_was_never_read_is_read_completely(sent: list[int]) -> None:
    connection(first_complete_read_at=None)

    tasks.tick()

    run = SyncRun.objects.get()
    assert run.kind == SyncRun.Kind.FULL
    assert run.trigger == SyncRun.Trigger.CONNECTED


def test_everything_is_read_again_once_a_day(sent: list[int]) -> None:
    connection(last_full_read_at=timezone.now() - timedelta(days=1, minutes=1))

    tasks.tick()

    run = SyncRun.objects.get()
    assert run.kind == SyncRun.Kind.FULL
    assert run.trigger == SyncRun.Trigger.SCHEDULE


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"enabled": False}, id="disabled"),
        pytest.param(
            {"next_sync_at": timezone.now() + timedelta(days=1)}, id="not yet due"
        ),
    ],
)
def test_a_connection_is_left_alone(sent: list[int], values: dict[str, Any]) -> None:
    connection(**values)

    tasks.tick()

    assert not SyncRun.objects.exists()
    assert sent == []


def test_a_connection_is_not_read_twice_at_once(sent: list[int]) -> None:
    idp = connection()
    active = run_of(
        idp,
        state=SyncRun.State.READING,
        lease_expires_at=timezone.now() + timedelta(minutes=1),
    )

    tasks.tick()

    assert list(SyncRun.objects.all()) == [active]
    assert sent == []


def test_a_run_that_waits_is_announced_again_when_nobody_took_it(
    sent: list[int],
) -> None:
    run = run_of(connection(next_sync_at=timezone.now() + timedelta(hours=1)))

    tasks.tick()
    tasks.tick()
    assert sent == [run.pk]

    SyncRun.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    tasks.tick()
    assert sent == [run.pk, run.pk]


def test_a_broker_that_is_gone_loses_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_named: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(tasks.run_sync, "apply_async", refuse)
    run = run_of(connection(next_sync_at=timezone.now() + timedelta(hours=1)))

    tasks.announce(run, now=timezone.now())

    run.refresh_from_db()
    assert run.state == SyncRun.State.QUEUED


@pytest.mark.parametrize("state", [SyncRun.State.READING, SyncRun.State.APPLYING])
def test_a_run_whose_worker_fell_silent_goes_back_into_the_queue(
    sent: list[int], state: SyncRun.State
) -> None:
    idp = connection(next_sync_at=timezone.now() + timedelta(hours=1))
    run = run_of(
        idp,
        state=state,
        fencing_token=1,
        heartbeat_at=timezone.now() - timedelta(minutes=4),
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )

    tasks.tick()

    run.refresh_from_db()
    assert run.state == SyncRun.State.QUEUED
    assert run.fencing_token == 2
    assert sent == [run.pk]


def test_a_canceled_run_whose_worker_fell_silent_ends() -> None:
    run = run_of(
        connection(next_sync_at=timezone.now() + timedelta(hours=1)),
        state=SyncRun.State.READING,
        cancel_requested=True,
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )

    tasks.tick()

    run.refresh_from_db()
    assert run.state == SyncRun.State.CANCELED
    assert run.finished_at is not None


def test_what_ended_runs_and_attempts_leave_is_cleared(administrator: User) -> None:
    idp = connection(next_sync_at=timezone.now() + timedelta(hours=1))
    ended = run_of(idp, state=SyncRun.State.FAILED)
    active = run_of(
        idp,
        state=SyncRun.State.READING,
        lease_expires_at=timezone.now() + timedelta(minutes=1),
    )
    canceled = run_of(idp, state=SyncRun.State.CANCELED)
    earlier = run_of(idp, state=SyncRun.State.FAILED)
    for run, hours in ((ended, 23), (active, 25), (canceled, 0), (earlier, 25)):
        factories.staged_page(run, staged_at=timezone.now() - timedelta(hours=hours))
    registration = ApplicationRegistration.objects.create(
        cloud="SANDBOX", changed_at=timezone.now()
    )
    for name, age in (("old", timedelta(days=2)), ("new", timedelta(minutes=1))):
        ConsentRequest.objects.create(
            state_hash=name,
            browser_hash="b",
            started_by=administrator,
            cloud="SANDBOX",
            registration=registration,
            created_at=timezone.now(),
            expires_at=timezone.now() - age,
        )

    tasks.tick()

    kept = StagedPage.objects.order_by("pk").values_list("run", flat=True)
    assert list(kept) == [ended.pk, active.pk]
    assert ConsentRequest.objects.get().state_hash == "new"


def test_a_worker_is_silent_after_a_minute() -> None:
    assert not freshness.workers(timezone.now()).running

    tasks.heard()

    assert freshness.workers(timezone.now()).running
    WorkerHeartbeat.objects.update(at=timezone.now() - timedelta(seconds=61))
    workers = freshness.workers(timezone.now())
    assert not workers.running
    assert workers.last_heard_at is not None


def test_asking_twice_is_one_run(administrator: User) -> None:
    idp = connection()

    def ask(kind: SyncRun.Kind) -> SyncRun:
        return request_sync(
            cloud_idp=idp,
            kind=kind,
            trigger=SyncRun.Trigger.PERSON,
            actor=administrator,
            now=timezone.now(),
        )

    first = ask(SyncRun.Kind.DELTA)
    second = ask(SyncRun.Kind.DELTA)

    assert first == second
    assert ObjectHistory.objects.filter(action="sync").count() == 1

    # A run that waits can still become a full one; one that reads cannot.
    assert ask(SyncRun.Kind.FULL).kind == SyncRun.Kind.FULL
    SyncRun.objects.update(kind=SyncRun.Kind.DELTA, state=SyncRun.State.READING)
    assert ask(SyncRun.Kind.FULL).kind == SyncRun.Kind.DELTA
    assert SyncRun.objects.count() == 1


def test_reads_and_ticks_have_queues_of_their_own() -> None:
    from jamfidp.celery import app

    router = app.amqp.router

    reads = router.route({}, "directory.tasks.run_sync")["queue"].name
    ticks = router.route({}, "directory.tasks.tick")["queue"].name

    assert (reads, ticks) == ("people", "background")
