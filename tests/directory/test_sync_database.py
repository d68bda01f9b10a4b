"""A database that is locked, full or read-only while a directory is read.

Each is the database's own doing, on a connection of the worker's; nothing is pretended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from directory import tasks
from directory.models import StagedPage, SyncRun
from directory.sync import fetch, rows
from directory.sync import run as run_module
from directory.sync.apply import apply_plan
from directory.sync.run import work
from directory.sync.stage import store_pages
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth
from tests.directory.test_sync_faults import abandon, page_by_page

FULL = SyncRun.Kind.FULL
ACTIVE = SyncRun.ACTIVE
Trouble = Callable[[], AbstractContextManager[None]]
MOST_PAGES = 4_294_967_294


@pytest.fixture
def known(
    transactional_db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Story]:
    """A tenant that was read, and much that is new in it."""
    story = connected(sandbox)
    story.read(FULL)
    story.control("DELETE", "groups/Frontend/members/ana.ruiz@fernhill.example")
    story.control("POST", "bulk/create-users", {"count": 400})
    monkeypatch.setattr(rows, "LOCK_SECONDS", 0.3)
    yield story
    connection.close()


def on_sqlite() -> bool:
    return connection.vendor == "sqlite"


def say(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


@contextmanager
def locked() -> Iterator[None]:
    """Somebody else writes, and does not come to an end."""
    if on_sqlite():
        say("PRAGMA busy_timeout = 300")
        other = sqlite3.connect(
            connection.settings_dict["NAME"], isolation_level=None, timeout=0.1
        )
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()
        return
    parameters = connection.get_connection_params()
    with psycopg.connect(
        **{name: parameters[name] for name in ("dbname", "user", "host", "port")}
    ) as other_one:
        for table in ("directoryuser", "stagedpage"):
            other_one.execute(f"LOCK TABLE directory_{table} IN EXCLUSIVE MODE")
        try:
            yield
        finally:
            other_one.rollback()


@contextmanager
def full() -> Iterator[None]:
    """Nothing that is new finds room."""
    if on_sqlite():
        say(f"PRAGMA max_page_count = {say('PRAGMA page_count')[0]}")
        try:
            yield
        finally:
            say(f"PRAGMA max_page_count = {MOST_PAGES}")
        return
    say(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device'"
        " USING ERRCODE = 'disk_full'; END $$"
    )
    for table in ("directoryuser", "stagedpage"):
        say(
            f"CREATE TRIGGER no_room BEFORE INSERT ON directory_{table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION no_room()"
        )
    try:
        yield
    finally:
        say("DROP FUNCTION no_room CASCADE")


@contextmanager
def read_only() -> Iterator[None]:
    """Nothing is written at all, not even that it failed."""
    on, off = (
        ("PRAGMA query_only = ON", "PRAGMA query_only = OFF")
        if on_sqlite()
        else (
            "SET default_transaction_read_only = on",
            "SET default_transaction_read_only = off",
        )
    )
    say(on)
    try:
        yield
    finally:
        say(off)


def make_room_scarce() -> None:
    """Rows of other tests have left pages free in the file."""
    if on_sqlite():
        say("VACUUM")


def meets(
    trouble: AbstractContextManager[None],
    run: SyncRun,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """Work on the run; the trouble comes at its second page, or before it applies."""
    with monkeypatch.context() as patched:
        if when == "storing":
            page_by_page(
                patched, lambda taken: trouble.__enter__() if taken == 1 else None
            )
        else:

            def applying(*args: Any, **named: Any) -> Any:
                trouble.__enter__()
                return apply_plan(*args, **named)

            patched.setattr(run_module, "apply_plan", applying)
        try:
            work(run.pk)
        finally:
            trouble.__exit__(None, None, None)


@pytest.mark.parametrize("when", ["storing", "applying"])
@pytest.mark.parametrize("trouble", [locked, full, read_only])
def test_f22_a_database_that_takes_nothing_fails_cleanly_and_is_tried_again(
    known: Story, monkeypatch: pytest.MonkeyPatch, trouble: Trouble, when: str
) -> None:
    before, link = held(known), known.cloud_idp.users_delta_link
    make_room_scarce()
    run = known.request()

    meets(trouble(), run, monkeypatch, when)

    run.refresh_from_db()
    known.cloud_idp.refresh_from_db()
    assert run.state != SyncRun.State.SUCCEEDED
    assert held(known) == before, "no half state"
    assert known.cloud_idp.users_delta_link == link
    assert "directory_" not in f"{run.error} {run.advice}", "in words for people"
    if run.state == SyncRun.State.FAILED:
        assert run.error.startswith("The console's database did not take the changes.")
        assert known.cloud_idp.next_sync_at is not None
        assert known.cloud_idp.next_sync_at > timezone.now(), "it is tried again"
        run = known.request()
    else:
        # Not even that could be written: its lease runs out.
        assert run.state in ACTIVE
        abandon(run)
    work(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, run.error
    # What the first read after an error takes away waits for a second one.
    known.read()
    assert held(known) == truth(known)
    assert not StagedPage.objects.exists()


def test_f22_where_its_end_can_be_written_a_run_says_that_it_failed(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is gone by then, or there is room for a few letters."""
    run = known.request()
    trouble = locked()
    fail = run_module._fail

    def released(*args: Any, **named: Any) -> None:
        trouble.__exit__(None, None, None)
        fail(*args, **named)

    def applying(*args: Any, **named: Any) -> Any:
        trouble.__enter__()
        return apply_plan(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "apply_plan", applying)
        patched.setattr(run_module, "_fail", released)
        work(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.FAILED
    assert run.error_code == "console:database"
    assert "free disk space" in run.advice
    known.read()
    # What the first read after an error takes away waits for a second one.
    known.read()
    assert held(known) == truth(known)


def test_f22_a_run_that_nobody_can_claim_waits(known: Story) -> None:
    run = known.request()

    with read_only():
        work(run.pk)
        with suppress(Exception):
            tasks.run_sync(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.QUEUED
    work(run.pk)
    assert held(known) == truth(known)


def test_a_first_read_that_cannot_be_analyzed_is_applied_all_the_same(
    db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is told what it holds after the commit: nothing depends on it."""

    def refuse(_model: Any) -> None:
        raise OperationalError("somebody else writes")

    monkeypatch.setattr(run_module, "analyze_keys", refuse)
    story = connected(sandbox)

    run = story.read(FULL)

    assert held(story) == truth(story)
    assert run.write_lock_seconds is not None, "what comes after it was done"
    assert not StagedPage.objects.exists()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's own")
def test_storing_what_was_read_waits_for_no_copy_of_sqlites_log(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied_after = []

    def store(pages: Sequence[StagedPage]) -> None:
        copied_after.append(say("PRAGMA wal_autocheckpoint")[0])
        store_pages(pages)

    monkeypatch.setattr(fetch, "store_pages", store)

    known.read(FULL)

    assert set(copied_after) == {0}, "no commit of its own copies anything"
    assert say("PRAGMA wal_autocheckpoint") == (1000,), "small ones do, as ever"
