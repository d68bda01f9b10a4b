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
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    State,
)
from directory.sync.attributes import Row
from directory.sync.bitmaps import unpack
from directory.sync.differences import UserSets
from directory.sync.rows import chunks, read, reading
from jamfidp.compiled import Question, answers_to


def rows_of(
    model: type[DirectoryUser] | type[DirectoryGroup],
    row_class: type[Row],
    numbers: Iterable[int],
) -> dict[int, Row]:
    """Return the rows in effect of these people or groups."""
    if connection.vendor == "postgresql":
        # Which keeps values as they are meant, so that nothing has to convert them.
        found = answers_to(asked_rows(model, row_class, numbers))
        return {number: row_class._make(values) for number, *values in found}
    return {
        number: row_class._make(columns)
        for some in chunks(numbers)
        for number, *columns in model._default_manager.filter(pk__in=some).values_list(
            "pk", *row_class._fields
        )
    }


def asked_rows(
    model: type[DirectoryUser] | type[DirectoryGroup],
    row_class: type[Row],
    numbers: Iterable[int],
) -> Question:
    """Return what `rows_of` asks of PostgreSQL."""
    fields: Any = row_class
    return reading(model, ("id", *fields._fields), "id", numbers)


# Counts of a group's row, in the order in which they stand behind its state.
COUNTS = ("direct_users", "transitive_users", "other_members")
_STANDING = ("id", "state", *COUNTS)


def asked_standing(groups: Iterable[int]) -> Question:
    return reading(DirectoryGroup, _STANDING, "id", groups)


def standing_of(groups: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """Return the state of each of these groups, and its counts."""
    found = answers_to(asked_standing(groups))
    return {row[0]: row[1:] for row in found}


def asked_states(
    model: type[DirectoryUser] | type[DirectoryGroup], numbers: Iterable[int]
) -> Question:
    return reading(model, _STATE, "id", numbers)


def states_of(
    model: type[DirectoryUser] | type[DirectoryGroup], numbers: Iterable[int]
) -> dict[int, str]:
    """Return the state of each of the people or groups that has a row."""
    return dict(answers_to(asked_states(model, numbers)))


_STATE = ("id", "state")


def in_state(
    model: type[DirectoryUser] | type[DirectoryGroup],
    state: State,
    numbers: Iterable[int],
) -> BitMap:
    """Return those of the people or groups that are in a state."""
    # Compared here: for a condition on the state SQLite would take its index, and read
    # everybody.
    known = states_of(model, numbers).items()
    return BitMap(number for number, found in known if found == state.value)


def stored_users(groups: Iterable[int]) -> dict[int, BitMap]:
    """Return who has a row of membership in each of these groups."""
    stored = read(GroupBitmap, ("group_id", "members"), "group_id", groups)
    return {group: unpack(members) for group, members in stored}


_SETS = ("group_id", "members", "direct", "transitive")


def asked_sets(groups: Iterable[int]) -> Question:
    return reading(GroupBitmap, _SETS, "group_id", groups)


def stored_sets(groups: Iterable[int]) -> dict[int, UserSets]:
    """Return the bitmaps of each of these groups."""
    found = {}
    for group, *stored in answers_to(asked_sets(groups)):
        members = unpack(stored[0])
        direct = members if stored[1] is None else unpack(stored[1])
        transitive = direct if stored[2] is None else unpack(stored[2])
        found[group] = UserSets(members, direct, transitive)
    return found


_CLOSURE = ("ancestor_id", "descendant_id")


def asked_above(groups: Iterable[int]) -> Question:
    return reading(GroupClosure, _CLOSURE[:1], "descendant_id", groups, distinct=True)


def stored_above(groups: Iterable[int]) -> BitMap:
    """Return the groups that any of these are nested in, through others as well."""
    found = answers_to(asked_above(groups))
    return BitMap(group for (group,) in found)


def asked_below(groups: Iterable[int]) -> Question:
    return reading(GroupClosure, _CLOSURE, "ancestor_id", groups)


def stored_below(groups: Iterable[int]) -> dict[int, BitMap]:
    """Return the groups nested in each of these, through others as well."""
    return sets_of(answers_to(asked_below(groups)))


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
