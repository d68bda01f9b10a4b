"""An upgrade while a run is under way, with a plan that waits and pages that are kept."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from pyroaring import BitMap

from directory import freshness, schema, tasks
from directory.models import (
    DirectoryUser,
    HeldChange,
    PlanPart,
    StagedPage,
    SyncRun,
)
from directory.sync import run as run_module
from directory.sync import stage
from directory.sync.apply import apply_plan
from directory.sync.attributes import USER_VALUES
from directory.sync.reduce import Reduced
from directory.sync.run import work
from tests import factories
from tests.directory.rounds import removed
from tests.directory.syncing import Story, held, truth
from tests.directory.test_decisions import (
    ANA,
    MILO,
    approve,
    members,
    synced,
)
from tests.directory.test_decisions import ada as ada
from tests.directory.test_decisions import fernhill as fernhill
from tests.directory.test_plan_pages import address
from tests.directory.test_plan_pages import run as run
from tests.directory.test_sync_faults import Killed, abandon, kill_after, page_by_page
from tests.directory.test_sync_pages import text

FULL = SyncRun.Kind.FULL
# How a page is packed: the layout's number, who was seen, what differs, members.
PINNED = (
    2,
    "3a300000010000000000020010000000030005008403",
    b'[[3,17,[true,"Member","Ana","ana@x"],"id"],[5,null,{},"id"]]'.hex(),
    array("I", (7, 2, 0, 0, 0, 0, 0, 3, 5)).tobytes().hex(),
)
LATER = ("directory", "9999_of_a_later_version")


def upgrade() -> None:
    """The database becomes that of a later version, and this process stays."""
    MigrationRecorder(connection).record_applied(*LATER)


def become_new() -> None:
    """From here on this process is of the later version."""
    MigrationRecorder(connection).record_unapplied(*LATER)


def pack_otherwise() -> None:
    """Pages as a version before had them, that kept names the other way round."""
    name, upn = (
        USER_VALUES.index(each) for each in ("display_name", "user_principal_name")
    )
    for page in StagedPage.objects.filter(resource="USERS"):
        entries = stage.entries_of(page)
        for entry in entries:
            values = entry[2]
            values[name], values[upn] = values[upn], values[name]
        page.objects_changed = orjson.dumps(entries)
        page.save()
    StagedPage.objects.update(format="of the version")


# Pages


def killed(story: Story, monkeypatch: pytest.MonkeyPatch) -> SyncRun:
    run = story.request(FULL)
    with monkeypatch.context() as patched:
        kill_after(6, patched)
        with pytest.raises(Killed):
            work(run.pk)
    abandon(run)
    return run


def failed(story: Story, monkeypatch: pytest.MonkeyPatch) -> SyncRun:
    with monkeypatch.context() as patched:
        page_by_page(patched)
        story.fault("/v1.0/users/delta", method="GET", nth=4, status=403)
        assert story.sync(FULL).state == SyncRun.State.FAILED
    return story.request(FULL)


@pytest.mark.parametrize("interrupted", [killed, failed])
def test_f42_pages_of_the_version_before_are_read_again(
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    interrupted: Callable[[Story, pytest.MonkeyPatch], SyncRun],
) -> None:
    run = interrupted(story, monkeypatch)
    assert StagedPage.objects.filter(resource="USERS").exists()
    pack_otherwise()

    work(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, run.error
    assert held(story) == truth(story)
    assert not StagedPage.objects.exists()


def test_f42_whoever_packs_pages_otherwise_gives_the_format_another_name(
    known: Story,
) -> None:
    """If this fails, how pages are packed has changed: raise stage.LAYOUT, and write
    here what the new layout makes of this page."""
    reduced = Reduced(
        seen=BitMap([3, 5, 900]),
        entries=[[3, 17, [True, "Member", "Ana", "ana@x"], "id"], [5, None, {}, "id"]],
        members=array("I", (7, 2, 0, 0, 0, 0, 0, 3, 5)),
        members_joined=2,
    )

    page = stage.staged(
        known.request(),
        StagedPage.Resource.USERS,
        1,
        reduced,
        next_link="",
        delta_link="",
        now=datetime(2026, 11, 3, tzinfo=UTC),
    )

    packed = (page.seen, page.objects_changed, page.members)
    assert (stage.LAYOUT, *(bytes(part).hex() for part in packed)) == PINNED
    assert page.format == stage.FORMAT


def test_f42_a_version_that_knows_no_format_can_still_store_pages(
    known: Story,
) -> None:
    page = factories.staged_page(known.request())
    columns = ", ".join(
        connection.ops.quote_name(each.column)
        for each in StagedPage._meta.concrete_fields
        if each.name not in {"id", "format", "number"}
    )

    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO directory_stagedpage ({columns}, number)"  # noqa: S608
            f" SELECT {columns}, 2 FROM directory_stagedpage WHERE id = %s",
            [page.pk],
        )

    assert StagedPage.objects.get(number=2).format == ""


# Workers of the version before


def test_f42_a_worker_of_the_version_before_leaves_a_run_at_its_page(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = story.request(FULL)
    with monkeypatch.context() as patched:
        page_by_page(patched, lambda taken: upgrade() if taken == 5 else None)
        work(run.pk)
    run.refresh_from_db()
    assert run.state == SyncRun.State.QUEUED
    assert "upgraded" in run.phase
    assert StagedPage.objects.filter(run=run).count() == 5
    assert not DirectoryUser.objects.exists()
    story.sandbox.control("DELETE", "journal")

    become_new()
    work(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, run.error
    assert held(story) == truth(story)
    asked = story.sandbox.control("GET", "journal?plane=graph")["entries"]
    assert len(asked) < run.requests, "it goes on where the other one stopped"


def test_f42_a_worker_of_the_version_before_applies_nothing(
    known: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.control("PUT", "groups/Alumni/members/ana.ruiz@fernhill.example")
    before = held(known)
    run = known.request()

    def upgraded_before(*args: Any, **named: Any) -> Any:
        upgrade()
        return apply_plan(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "apply_plan", upgraded_before)
        work(run.pk)

    run.refresh_from_db()
    assert (run.state, held(known)) == (SyncRun.State.QUEUED, before)
    become_new()
    work(run.pk)
    assert held(known) == truth(known)


@pytest.mark.parametrize("way", ["a later version's", "not migrated yet"])
def test_f42_a_worker_of_another_version_takes_no_work(
    known: Story, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    recorder = MigrationRecorder(connection)
    last = max(name for app, name in schema.known()[0] if app == "directory")
    if way == "not migrated yet":
        recorder.record_unapplied("directory", last)
    else:
        upgrade()
    run = known.request()

    tasks.run_sync(run.pk)
    work(run.pk)
    tasks.tick()
    tasks.clear_past()

    run.refresh_from_db()
    assert (run.state, run.fencing_token) == (SyncRun.State.QUEUED, 0)
    assert run.heartbeat_at is None, "nobody is told of it either"
    assert not freshness.workers(timezone.now()).running, "pages say so"

    recorder.record_applied("directory", last)
    become_new()
    tasks.run_sync(run.pk)
    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED
    assert freshness.workers(timezone.now()).running


# Plans that wait


def test_f42_what_is_held_and_approved_outlives_an_upgrade(
    fernhill: Any, ada: Any
) -> None:
    """The version before knew one column less of people, and one that is no more."""
    synced(fernhill, users=[removed(ANA, "deleted")])
    approve(fernhill, ada)
    SyncRun.objects.filter(state="QUEUED").delete()
    waiting = HeldChange.objects.get(kind="U", closed_at=None)
    assert waiting.observed is not None
    waiting.observed["pronouns"] = waiting.observed.pop("position")
    waiting.payload_hash = "of the version before"
    waiting.save()
    waiting.decided.update(payload_hash=waiting.payload_hash)

    synced(fernhill)

    assert DirectoryUser.objects.get(object_id=ANA).state == "PRESENT"
    assert members() == {ANA, MILO}
    still = HeldChange.objects.get(kind="U", closed_at=None)
    assert still.pk == waiting.pk
    assert still.decision is None, "what was approved may read otherwise now"

    approve(fernhill, ada)
    SyncRun.objects.filter(state="QUEUED").delete()
    synced(fernhill)
    assert DirectoryUser.objects.get(object_id=ANA).state == "GONE"
    assert members() == {MILO}


def test_f42_a_stored_plan_of_the_version_before_can_be_read(
    console: Client, run: SyncRun
) -> None:
    part = PlanPart.objects.get(run=run, section="PEOPLE")
    (entry,) = orjson.loads(zlib.decompress(bytes(part.body)))
    number, sort, told, before, after, *_later = entry
    before["pronouns"], after["pronouns"] = "", "she/her"
    part.body = zlib.compress(orjson.dumps([[number, sort, told, before, after]]))
    part.save()

    page = text(console, address(run, "-differences", "people"))
    opened = text(console, address(run, "-difference", "people", number))

    assert "Ana Ruiz" in page
    assert "pronouns" in opened
    assert "she/her" in opened
