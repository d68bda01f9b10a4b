"""The same console over Redis: one setting, and nothing else changes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from jamfidp.demo import check, processes
from jamfidp.demo.check import Job
from jamfidp.demo.processes import Installation

pytestmark = pytest.mark.processes

BROKER = "redis://127.0.0.1:6379/15"
SECONDS = 60
# What the task engine writes there. Nobody else's keys are touched.
KEYS = ("_kombu*", "unacked*", "people*", "background*", "celery*")


def forget(server: redis.Redis) -> None:
    for pattern in KEYS:
        for key in server.scan_iter(pattern):
            server.delete(key)


@pytest.fixture
def installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    server = redis.Redis.from_url(BROKER, socket_timeout=5)
    try:
        server.ping()
    except redis.RedisError:
        reason = f"No Redis answers at {BROKER}: the console was not tried over it."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    forget(server)
    monkeypatch.setenv("BROKER_URL", BROKER)
    prepared = processes.prepare(tmp_path, processes.free_ports())
    with processes.stopped_at_the_end(prepared) as running:
        processes.start_everything(running)
        yield running
    forget(server)


def test_ticks_and_reads_come_through_redis(installation: Installation) -> None:
    job = Job(installation)
    check.sign_in_locally(job)

    # A tick of the scheduler reached the worker: it wrote its heartbeat.
    deadline = time.monotonic() + SECONDS
    while "No worker is running" in job.admin.open(job.at("/")).text:
        assert time.monotonic() < deadline, installation.log("worker").read_text()
        time.sleep(0.5)
    assert not list((installation.folder / "broker").rglob("*.msg"))
    check.consent_at_microsoft(job)
    check.verify_and_save(job)
    check.read_everything(job)
    check.sync_now(job)

    assert redis.Redis.from_url(BROKER).exists("_kombu.binding.people")
