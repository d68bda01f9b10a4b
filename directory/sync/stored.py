"""Rows as they stand, in the form in which runs compare them."""

from collections import defaultdict
from collections.abc import Iterable

from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    GroupBitmap,
    GroupNesting,
    GroupOtherMember,
)
from directory.sync.attributes import Row
from directory.sync.bitmaps import unpack
from directory.sync.rows import chunks


def rows_of(
    model: type[DirectoryUser] | type[DirectoryGroup],
    row_class: type[Row],
    numbers: Iterable[int],
) -> dict[int, Row]:
    """Return the rows in effect of these people or groups."""
    return {
        number: row_class._make(columns)
        for some in chunks(numbers)
        for number, *columns in model._default_manager.filter(pk__in=some).values_list(
            "pk", *row_class._fields
        )
    }


def stored_users(groups: Iterable[int]) -> dict[int, BitMap]:
    """Return who has a row of membership in each of these groups."""
    return {
        group: unpack(members)
        for some in chunks(groups)
        for group, members in GroupBitmap.objects.filter(group_id__in=some).values_list(
            "group_id", "members"
        )
    }


def stored_nesting(
    cloud_idp: CloudIdentityProvider, groups: BitMap | None
) -> dict[int, BitMap]:
    """Return the groups nested directly in each group; None means in all."""
    found: dict[int, list[int]] = defaultdict(list)
    if groups is None:
        edges = GroupNesting.objects.filter(parent__cloud_idp=cloud_idp)
        for parent, child in edges.values_list("parent_id", "child_id"):
            found[parent].append(child)
    else:
        for some in chunks(groups):
            edges = GroupNesting.objects.filter(parent_id__in=some)
            for parent, child in edges.values_list("parent_id", "child_id"):
                found[parent].append(child)
    return {parent: BitMap(children) for parent, children in found.items()}


def stored_others(
    cloud_idp: CloudIdentityProvider, groups: BitMap | None
) -> dict[int, BitMap]:
    """Return the members of each group that are neither people nor groups."""
    found: dict[int, list[int]] = defaultdict(list)
    rows = GroupOtherMember.objects.all()
    if groups is None:
        chosen = [rows.filter(group__cloud_idp=cloud_idp)]
    else:
        chosen = [rows.filter(group_id__in=some) for some in chunks(groups)]
    for part in chosen:
        for group, member in part.values_list("group_id", "member_id"):
            found[group].append(member)
    return {group: BitMap(members) for group, members in found.items()}
