"""Shapes that directories grow into: cycles, depth, diamonds, and very large groups.

How often the database is asked is counted. How long it takes is not judged here: that is
what the bench is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from directory.models import DirectoryGroup, DirectoryUser, GroupClosure, SyncRun
from directory.sync import fetch
from tests.directory.syncing import Story, held, truth
from tests.directory.test_sync_pages import text

FULL = SyncRun.Kind.FULL
ANA = "ana.ruiz@fernhill.example"
DEPTH = 60
TITLE = {"jobTitle": "Moved {n}"}
MEMBERS = 100_000
GROUPS = 5_000

# Stated: how often the database is asked at most, whichever it is.
# By a run that meets 67 nested groups, or a ring of 60.
TO_NEST = 140
# By the first read of 101,000 people, of whom 100,000 are in one group: one for 200.
TO_READ_MANY = 500
# By a run in which somebody joins 5,000 groups that are new.
TO_JOIN_MANY = 180
# By a run in which three of 100,000 leave, or one leaves one of 5,000 groups.
TO_CHANGE = 120
# By a run in which one person changes, one joins a group and another leaves one: messages
# to PostgreSQL, without those that begin and end transactions.
TO_CHANGE_LITTLE = 26
# By the page of any of these people and groups.
TO_LOOK = 45


@pytest.fixture(autouse=True)
def flushed_by_pages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run stores because a second has passed depends on the machine."""
    monkeypatch.setattr(fetch, "FLUSH_AFTER", timedelta(days=1))


def made(story: Story, name: str, count: int) -> list[str]:
    """So many groups more, called by a name and a number: their object ids."""
    before = {group["id"] for group in story.control("GET", "groups")["value"]}
    names = {"displayName": f"{name} {{n}}"}
    story.control("POST", "bulk/create-groups", {"count": count, "properties": names})
    groups = story.control("GET", "groups")["value"]
    return [group["id"] for group in groups if group["id"] not in before]


def link(story: Story, *pairs: tuple[str, str]) -> None:
    story.control("POST", "bulk/add-memberships", {"memberships": list(pairs)})


@contextmanager
def at_most(queries: int) -> Iterator[None]:
    with CaptureQueriesContext(connection) as captured:
        yield
    assert len(captured) <= queries


def group(object_id: str) -> DirectoryGroup:
    return DirectoryGroup.objects.get(object_id=object_id)


def looked_at(console: Client, row: DirectoryGroup | DirectoryUser, most: int) -> str:
    with at_most(most):
        return text(console, row.get_absolute_url())


def test_f32_cycles_depth_and_diamonds_come_to_an_end(
    console: Client, known: Story
) -> None:
    deep = made(known, "Deep", DEPTH)
    link(known, *pairwise(deep), (deep[-1], ANA))
    top, left, right, bottom = made(known, "Diamond", 4)
    link(known, (top, left), (top, right), (left, bottom), (right, bottom))
    link(known, (bottom, ANA), (top, ANA))
    ring = made(known, "Ring", 3)
    link(known, *pairwise([*ring, ring[0]]), (ring[1], ANA))

    with at_most(TO_NEST):
        known.read()

    assert held(known) == truth(known)
    call_command("rebuild_memberships", "--check")
    below = GroupClosure.objects.filter(ancestor_id=group(deep[0]).pk)
    assert below.count() == DEPTH - 1
    for object_id in (deep[0], top, *ring):
        assert group(object_id).transitive_users == 1, "counted once, whatever the ways"
    ana = known.user(ANA)
    for row in (ana, group(deep[0]), group(top), group(ring[0])):
        assert str(ana) in looked_at(console, row, TO_LOOK)

    # The deepest group holds the highest: now everybody is in all of them.
    link(known, (deep[-1], deep[0]))
    with at_most(TO_NEST):
        known.read()
    assert held(known) == truth(known)
    call_command("rebuild_memberships", "--check")
    assert str(ana) in looked_at(console, ana, TO_LOOK)


def test_f33_a_group_with_100_000_members_is_read_and_shown(
    console: Client, story: Story
) -> None:
    story.control("POST", "bulk/create-users", {"count": MEMBERS})
    (crowd,) = made(story, "Crowd", 1)
    story.control("POST", "bulk/add-memberships", {"group": crowd, "count": MEMBERS})
    story.behave(delta_page_size=5000, member_slice=5000)

    with at_most(TO_READ_MANY):
        story.read(FULL)

    assert group(crowd).direct_users == group(crowd).transitive_users == MEMBERS
    assert "100,000" in looked_at(console, group(crowd), TO_LOOK)

    story.control("POST", "bulk/remove-memberships", {"group": crowd, "count": 3})
    with at_most(TO_CHANGE):
        story.read()
    assert group(crowd).direct_users == MEMBERS - 3


def test_f33_a_person_in_5_000_groups_is_read_and_shown(
    console: Client, known: Story
) -> None:
    groups = made(known, "Circle", GROUPS)
    link(known, *((object_id, ANA) for object_id in groups))
    known.behave(delta_page_size=1000)

    with at_most(TO_JOIN_MANY):
        known.read()

    assert held(known) == truth(known)
    ana = known.user(ANA)
    assert ana.memberships.count() >= GROUPS
    assert "Circle" in looked_at(console, ana, TO_LOOK)

    known.control("DELETE", f"groups/{groups[0]}/members/{ANA}")
    with at_most(TO_CHANGE):
        known.read()
    assert group(groups[0]).transitive_users == 0


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's own")
def test_a_little_changes_with_few_messages_to_the_database(known: Story) -> None:
    known.read()
    messages: list[str] = []

    # Of the first time statements are put together, and more is looked up for it.
    for _ in range(2):
        known.control("POST", "bulk/change-users", {"count": 1, "properties": TITLE})
        known.control("POST", "bulk/add-memberships", {"count": 1})
        known.control("POST", "bulk/remove-memberships", {"count": 1})
        with CaptureQueriesContext(connection) as captured:
            run = known.read()
        # Those of the savepoints stand for the two of a transaction of its own.
        messages = [
            each["sql"]
            for each in captured.captured_queries
            if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))
        ]
        assert run.changes["memberships_added"] == 1
        assert run.changes["memberships_removed"] == 1
        assert held(known) == truth(known)

    assert len(messages) <= TO_CHANGE_LITTLE, messages
