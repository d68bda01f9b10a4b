"""How people are in groups: closure, paths, trees, and deriving them again."""

from __future__ import annotations

import itertools
import random

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from directory.memberships import (
    effective_members,
    groups_of,
    member_ids,
    membership_path,
    nested_tree,
    ways_in,
)
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    GroupBitmap,
    GroupClosure,
)
from directory.sync.bitmaps import FEW, union
from directory.sync.nesting import closure
from tests import factories


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    return factories.cloud_idp()


def reachable(edges: set[tuple[int, int]], start: int) -> frozenset[int]:
    """Everything below, found by walking: what the closure has to equal."""
    found: set[int] = set()
    waiting = [start]
    while waiting:
        group = waiting.pop()
        for parent, child in edges:
            if parent == group and child not in found:
                found.add(child)
                waiting.append(child)
    return frozenset(found - {start})


@settings(deadline=None)
@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
def test_the_closure_equals_a_walk_from_every_group(
    edges: set[tuple[int, int]],
) -> None:
    below = closure(edges)

    for group in range(13):
        assert below.get(group, frozenset()) == reachable(edges, group)


def test_a_chain_of_four_hundred_groups_has_a_closure() -> None:
    below = closure((number, number + 1) for number in range(400))

    assert len(below[0]) == 400


@pytest.mark.parametrize("count", [0, 1, 2, 3, FEW, FEW + 1, 40])
def test_a_union_holds_everybody_and_leaves_its_parts_as_they_were(count: int) -> None:
    parts = [BitMap(range(n, 200_000, 997 + n)) for n in range(count)]
    before = [set(part) for part in parts]

    united = union(parts)
    united.add(7_000_000)

    assert set(united) == {7_000_000}.union(*before)
    assert [set(part) for part in parts] == before


def test_the_shortest_way_into_a_group_is_named(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)
    frontend = factories.directory_group("Frontend", fernhill, ana)
    engineering = factories.directory_group("Engineering", fernhill, frontend)
    studio = factories.directory_group("Studio", fernhill, engineering)

    assert membership_path(ana, studio) == (frontend, engineering, studio)

    factories.join(ana, engineering)

    assert membership_path(ana, studio) == (engineering, studio)
    assert membership_path(ana, frontend) == (frontend,)


def test_a_person_in_a_cycle_is_in_each_of_its_groups_once(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)
    platform = factories.directory_group("Platform", fernhill, ana)
    on_call = factories.directory_group("On Call", fernhill, platform)
    factories.nest(on_call, platform)

    held = {each.group: each.path for each in groups_of(ana)}

    assert held == {platform: (platform,), on_call: (platform, on_call)}


def test_no_member_has_no_path(fernhill: CloudIdentityProvider) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)

    assert membership_path(ana, factories.directory_group("Empty", fernhill)) is None


def test_a_deleted_group_holds_nobody(fernhill: CloudIdentityProvider) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)
    factories.directory_group("Gone", fernhill, ana, state="DELETED")

    assert groups_of(ana) == []


def test_a_diamond_opens_its_lower_group_once(
    fernhill: CloudIdentityProvider,
) -> None:
    inner = factories.directory_group("Inner", fernhill)
    principals = factories.directory_group("Principals", fernhill, inner)
    left = factories.directory_group("Left", fernhill, principals)
    right = factories.directory_group("Right", fernhill, principals)
    top = factories.directory_group("Top", fernhill, left, right)

    under_left, under_right = nested_tree(top)

    assert [child.group for child in under_left.children[0].children] == [inner]
    assert under_right.children[0].group == principals
    assert under_right.children[0].children == ()
    assert under_right.children[0].cut == "already shown"


def test_paths_trees_and_bitmaps_agree_with_the_rows_in_random_nestings(
    fernhill: CloudIdentityProvider,
) -> None:
    rng = random.Random(7)  # noqa: S311 - a repeatable story, not a secret
    people = [factories.directory_user(f"P{n}", fernhill) for n in range(8)]
    groups = [
        factories.directory_group(f"G{n}", fernhill, *rng.sample(people, 1))
        for n in range(8)
    ]
    for parent in groups:
        for child in rng.sample(groups, 2):
            if child != parent:
                factories.nest(child, parent)

    for group in groups:
        everybody = set(effective_members(group))
        assert {user.pk for user in everybody} == member_ids(group, nested=True)
        assert set(ways_in(group, people)) == {user.pk for user in everybody}
        for user in people:
            path = membership_path(user, group)
            assert (path is not None) == (user in everybody)
            if path is not None:
                assert path[0].memberships.filter(user=user).exists()
                for child, parent in itertools.pairwise(path):
                    assert parent.nested.filter(child=child).exists()


def test_a_person_in_hundreds_of_groups_is_answered_in_few_queries(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)
    rows = [
        DirectoryGroup(
            id=1000 + number,
            cloud_idp=fernhill,
            object_id=factories.guid(f"g{number}"),
            state="PRESENT",
            state_since=ana.first_seen_at,
            display_name=f"Group {number}",
            kind="SECURITY",
            first_seen_at=ana.first_seen_at,
            changed_at=ana.first_seen_at,
        )
        for number in range(800)
    ]
    for group in DirectoryGroup.objects.bulk_create(rows):
        group.memberships.create(user=ana)

    with CaptureQueriesContext(connection) as asked:
        held = groups_of(ana)

    assert len(held) == 800
    assert len(asked) <= 5


def test_derived_memberships_are_checked_and_put_right(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill)
    frontend = factories.directory_group("Frontend", fernhill, ana)
    engineering = factories.directory_group("Engineering", fernhill, frontend)
    call_command("rebuild_memberships")
    generation = CloudIdentityProvider.objects.get().generation
    call_command("rebuild_memberships", "--check")

    GroupClosure.objects.all().delete()
    GroupBitmap.objects.filter(group=frontend).delete()
    with pytest.raises(CommandError, match="2 groups differ"):
        call_command("rebuild_memberships", "--check")
    assert not GroupClosure.objects.exists()

    call_command("rebuild_memberships")

    call_command("rebuild_memberships", "--check")
    assert member_ids(engineering, nested=True) == {ana.pk}
    assert member_ids(engineering, nested=False) == frozenset()
    assert CloudIdentityProvider.objects.get().generation == generation + 1
