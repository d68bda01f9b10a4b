"""Deriving closure, bitmaps and counts from the rows, which are the truth."""

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
)
from directory.sync import rows
from directory.sync.bitmaps import pack, union
from directory.sync.nesting import closure

PRESENT = DirectoryGroup.State.PRESENT
DELETED = DirectoryGroup.State.DELETED


def rebuild(cloud_idp: CloudIdentityProvider, *, write: bool) -> int:
    """Return how many groups' derived data differed from the rows.

    With `write` it is put right, in one transaction, and the connection's generation
    grows, so that nothing worked out before is used any more.
    """
    with transaction.atomic():
        locked = CloudIdentityProvider.objects.select_for_update().get(pk=cloud_idp.pk)
        below = _derived_closure(locked)
        bitmaps = _derived_bitmaps(locked, below)
        differing = _differing(locked, below, bitmaps)
        if differing and write:
            _write(locked, below, bitmaps, differing)
            locked.generation += 1
            locked.save(update_fields=["generation"])
    return len(differing)


Bitmaps = dict[int, tuple[BitMap, BitMap]]
Closure = dict[int, frozenset[int]]


def _derived_closure(cloud_idp: CloudIdentityProvider) -> Closure:
    edges = (
        GroupNesting.objects.filter(parent__cloud_idp=cloud_idp)
        .exclude(parent__state=DELETED)
        .exclude(child__state=DELETED)
    )
    return closure(edges.values_list("parent_id", "child_id"))


def _derived_bitmaps(cloud_idp: CloudIdentityProvider, below: Closure) -> Bitmaps:
    present = DirectoryGroup.objects.filter(cloud_idp=cloud_idp, state=PRESENT)
    direct = {pk: BitMap() for pk in present.values_list("pk", flat=True)}
    members = DirectoryMembership.objects.filter(
        group__cloud_idp=cloud_idp,
        group__state=PRESENT,
        user__state=DirectoryUser.State.PRESENT,
    )
    for group, user in members.values_list("group_id", "user_id").iterator(10_000):
        direct[group].add(user)
    return {
        pk: (
            users,
            union([users, *(direct[b] for b in below.get(pk, ()) if b in direct)]),
        )
        for pk, users in direct.items()
    }


def _differing(
    cloud_idp: CloudIdentityProvider, below: Closure, bitmaps: Bitmaps
) -> set[int]:
    stored_below: dict[int, set[int]] = {}
    for above, group in GroupClosure.objects.filter(
        ancestor__cloud_idp=cloud_idp
    ).values_list("ancestor_id", "descendant_id"):
        stored_below.setdefault(above, set()).add(group)
    differing = {
        pk
        for pk in below.keys() | stored_below.keys()
        if below.get(pk, frozenset()) != stored_below.get(pk, set())
    }
    stored = {
        bitmap.group_id: (
            bytes(bitmap.direct),
            None if bitmap.transitive is None else bytes(bitmap.transitive),
            bitmap.group.direct_users,
            bitmap.group.transitive_users,
        )
        for bitmap in GroupBitmap.objects.filter(
            group__cloud_idp=cloud_idp
        ).select_related("group")
    }
    differing |= {
        pk
        for pk, (direct, transitive) in bitmaps.items()
        if stored.get(pk)
        != (*_packed(direct, transitive), len(direct), len(transitive))
    }
    return differing | (stored.keys() - bitmaps.keys())


def _packed(direct: BitMap, transitive: BitMap) -> tuple[bytes, bytes | None]:
    return pack(direct), None if transitive == direct else pack(transitive)


def _write(
    cloud_idp: CloudIdentityProvider,
    below: Closure,
    bitmaps: Bitmaps,
    differing: set[int],
) -> None:
    groups = sorted(differing)
    for some in rows.chunks(groups):
        GroupClosure.objects.filter(ancestor_id__in=some).delete()
        GroupBitmap.objects.filter(group_id__in=some).delete()
    rows.insert(
        GroupClosure,
        ("ancestor_id", "descendant_id"),
        [(pk, group) for pk in groups for group in sorted(below.get(pk, ()))],
    )
    rows.insert(
        GroupBitmap,
        ("group_id", "direct", "transitive"),
        [(pk, *_packed(*bitmaps[pk])) for pk in groups if pk in bitmaps],
    )
    rows.update(
        DirectoryGroup,
        ("direct_users", "transitive_users"),
        [
            (len(bitmaps[pk][0]), len(bitmaps[pk][1]), pk)
            for pk in groups
            if pk in bitmaps
        ],
    )
