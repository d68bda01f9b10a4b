"""Deriving closure, bitmaps and counts from the rows, which are the truth."""

from collections import defaultdict
from collections.abc import Mapping

from django.db import transaction
from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    State,
)
from directory.planned import PackedUsers
from directory.sync import rows
from directory.sync.bitmaps import union, unpack
from directory.sync.derive import packed
from directory.sync.nesting import closure
from directory.sync.observe import DEPARTED

PRESENT = State.PRESENT

Sets = tuple[BitMap, BitMap, BitMap]
Closure = dict[int, frozenset[int]]


def rebuild(cloud_idp: CloudIdentityProvider, *, write: bool) -> int:
    """Return how many groups' derived data differed from the rows.

    With `write` it is put right, in one transaction, and the connection's generation
    grows, so that nothing worked out before is used any more.
    """
    with transaction.atomic():
        locked = CloudIdentityProvider.objects.select_for_update().get(pk=cloud_idp.pk)
        below = _derived_closure(locked)
        sets = _derived_sets(locked, below)
        differing = _differing(locked, below, sets)
        if differing and write:
            _write(below, sets, differing)
            locked.generation += 1
            locked.save(update_fields=["generation"])
    return len(differing)


def _derived_closure(cloud_idp: CloudIdentityProvider) -> Closure:
    edges = (
        GroupNesting.objects.filter(parent__cloud_idp=cloud_idp)
        .exclude(parent__state__in=DEPARTED)
        .exclude(child__state__in=DEPARTED)
    )
    return closure(edges.values_list("parent_id", "child_id"))


def _derived_sets(cloud_idp: CloudIdentityProvider, below: Closure) -> dict[int, Sets]:
    """Work out members, direct and transitive users of every group that has any."""
    present = BitMap(
        DirectoryUser.objects.filter(cloud_idp=cloud_idp, state=PRESENT)
        .values_list("pk", flat=True)
        .iterator(10_000)
    )
    states = dict(
        DirectoryGroup.objects.filter(cloud_idp=cloud_idp).values_list("pk", "state")
    )
    found: dict[int, list[int]] = defaultdict(list)
    members = DirectoryMembership.objects.filter(group__cloud_idp=cloud_idp)
    for group, user in members.values_list("group_id", "user_id").iterator(10_000):
        found[group].append(user)
    rows_of = {
        group: BitMap(found.get(group, ()))
        for group, state in states.items()
        if state == PRESENT or group in found
    }
    direct = {
        group: users & present if states[group] == PRESENT else BitMap()
        for group, users in rows_of.items()
    }
    everybody = with_nested(direct, below)
    return {
        group: (
            rows_of[group],
            users,
            everybody[group] if states[group] == PRESENT else users,
        )
        for group, users in direct.items()
    }


def with_nested(direct: Mapping[int, BitMap], below: Closure) -> dict[int, BitMap]:
    """Return the users of each group with those of the groups nested in it."""
    return {
        group: union(
            [users, *(direct[each] for each in below[group] if each in direct)]
        )
        if group in below
        else users
        for group, users in direct.items()
    }


def _differing(
    cloud_idp: CloudIdentityProvider, below: Closure, sets: dict[int, Sets]
) -> set[int]:
    stored_below: dict[int, set[int]] = defaultdict(set)
    for above, group in GroupClosure.objects.filter(
        ancestor__cloud_idp=cloud_idp
    ).values_list("ancestor_id", "descendant_id"):
        stored_below[above].add(group)
    differing = {
        pk
        for pk in below.keys() | stored_below.keys()
        if below.get(pk, frozenset()) != stored_below.get(pk, set())
    }
    stored = {
        bitmap.group_id: (
            *_unpacked(bitmap),
            bitmap.group.direct_users,
            bitmap.group.transitive_users,
        )
        for bitmap in GroupBitmap.objects.filter(
            group__cloud_idp=cloud_idp
        ).select_related("group")
    }
    empty = (BitMap(), BitMap(), BitMap(), 0, 0)
    return differing | {
        pk
        for pk in sets.keys() | stored.keys()
        # A group that holds nobody may stand without a row of bitmaps or with one.
        if stored.get(pk, empty) != (_with_counts(sets[pk]) if pk in sets else empty)
    }


def _with_counts(sets: Sets) -> tuple[BitMap, BitMap, BitMap, int, int]:
    return (*sets, len(sets[1]), len(sets[2]))


def _unpacked(bitmap: GroupBitmap) -> Sets:
    members = unpack(bitmap.members)
    return members, bitmap.users(nested=False), bitmap.users(nested=True)


def _write(below: Closure, sets: dict[int, Sets], differing: set[int]) -> None:
    groups = sorted(differing)
    for some in rows.chunks(groups):
        GroupClosure.objects.filter(ancestor_id__in=some).delete()
        GroupBitmap.objects.filter(group_id__in=some).delete()
    rows.insert(
        GroupClosure,
        ("ancestor_id", "descendant_id"),
        [(pk, group) for pk in groups for group in sorted(below.get(pk, ()))],
    )
    stored: list[tuple[int, PackedUsers]] = [
        (pk, packed(*sets[pk])) for pk in groups if pk in sets
    ]
    rows.insert(
        GroupBitmap,
        ("group_id", "members", "direct", "transitive"),
        [(pk, *each) for pk, each in stored],
    )
    rows.update(
        DirectoryGroup,
        ("direct_users", "transitive_users"),
        [(len(sets[pk][1]), len(sets[pk][2]), pk) for pk in groups if pk in sets],
    )
