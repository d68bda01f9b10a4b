"""Rows as they stand, in the form in which runs compare them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    GroupBitmap,
    GroupNesting,
    GroupOtherMember,
    State,
)
from directory.sync.attributes import Row
from directory.sync.bitmaps import unpack
from directory.sync.differences import UserSets
from directory.sync.rows import chunks, read


def rows_of(
    model: type[DirectoryUser] | type[DirectoryGroup],
    row_class: type[Row],
    numbers: Iterable[int],
) -> dict[int, Row]:
    """Return the rows in effect of these people or groups."""
    if connection.vendor == "postgresql":
        # Which keeps values as they are meant, so that nothing has to convert them.
        fields: Any = row_class
        found = read(model, ("id", *fields._fields), "id", numbers)
        return {number: row_class._make(values) for number, *values in found}
    return {
        number: row_class._make(columns)
        for some in chunks(numbers)
        for number, *columns in model._default_manager.filter(pk__in=some).values_list(
            "pk", *row_class._fields
        )
    }


# Counts of a group's row, in the order in which they stand behind its state.
COUNTS = ("direct_users", "transitive_users", "other_members")


def standing_of(groups: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """Return the state of each of these groups, and its counts."""
    found = read(DirectoryGroup, ("id", "state", *COUNTS), "id", groups)
    return {row[0]: row[1:] for row in found}


def in_state(
    model: type[DirectoryUser] | type[DirectoryGroup],
    state: State,
    numbers: Iterable[int],
) -> BitMap:
    """Return those of the people or groups that are in a state."""
    # Compared here: for a condition on the state SQLite would take its index, and read
    # everybody.
    known = read(model, ("id", "state"), "id", numbers)
    return BitMap(number for number, found in known if found == state.value)


def stored_users(groups: Iterable[int]) -> dict[int, BitMap]:
    """Return who has a row of membership in each of these groups."""
    stored = read(GroupBitmap, ("group_id", "members"), "group_id", groups)
    return {group: unpack(members) for group, members in stored}


def stored_sets(groups: Iterable[int]) -> dict[int, UserSets]:
    """Return the bitmaps of each of these groups."""
    found = {}
    columns = ("group_id", "members", "direct", "transitive")
    for group, *stored in read(GroupBitmap, columns, "group_id", groups):
        members = unpack(stored[0])
        direct = members if stored[1] is None else unpack(stored[1])
        transitive = direct if stored[2] is None else unpack(stored[2])
        found[group] = UserSets(members, direct, transitive)
    return found


def stored_nesting(
    cloud_idp: CloudIdentityProvider, groups: BitMap | None
) -> dict[int, BitMap]:
    """Return the groups nested directly in each group; None means in all."""
    pair = ("parent_id", "child_id")
    edges: Iterable[tuple[int, ...]]
    if groups is None:
        edges = GroupNesting.objects.filter(parent__cloud_idp=cloud_idp).values_list(
            *pair
        )
    else:
        edges = read(GroupNesting, pair, "parent_id", groups)
    return sets_of(edges)


def sets_of(pairs: Iterable[Sequence[int]]) -> dict[int, BitMap]:
    """Gather pairs by the first of each."""
    found: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs:
        found[first].append(second)
    return {first: BitMap(seconds) for first, seconds in found.items()}


def stored_others(
    cloud_idp: CloudIdentityProvider, groups: BitMap | None
) -> dict[int, BitMap]:
    """Return the members of each group that are neither people nor groups."""
    pair = ("group_id", "member_id")
    members: Iterable[tuple[int, ...]]
    if groups is None:
        members = GroupOtherMember.objects.filter(
            group__cloud_idp=cloud_idp
        ).values_list(*pair)
    else:
        members = read(GroupOtherMember, pair, "group_id", groups)
    return sets_of(members)
