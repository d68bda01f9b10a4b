"""How a person is in a group, and which groups are in a group.

Rows answer 'why'. Everything here reads what is in effect: people and groups that
are in the directory now, nesting as the last read left it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from directory.models import (
    UNKNOWN_STATES,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
)
from directory.sync.rows import chunks

PRESENT = DirectoryGroup.State.PRESENT
# A tree is for reading; beyond this many lines nobody reads it.
TREE_LINES = 400
TREE_DEPTH = 40


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """A group that holds a person, and the shortest way in.

    `path` begins with the group that holds the person directly and ends with `group`;
    a direct membership has only the group itself.
    """

    group: DirectoryGroup
    path: Sequence[DirectoryGroup]

    @property
    def direct(self) -> bool:
        return len(self.path) == 1


def groups_of(user: DirectoryUser) -> list[HeldGroup]:
    """Return every group that holds the person, by name. Five queries at most.

    A person who is deleted is in no group until restored.
    """
    if user.state != DirectoryUser.State.PRESENT:
        return []
    return held_groups(_direct_groups(user))


def held_groups(direct: Iterable[int]) -> list[HeldGroup]:
    """Return the groups that a member of these groups is in, with the way up."""
    direct = list(direct)
    way: dict[int, int | None] = dict.fromkeys(direct)
    above = _parents(direct)
    waiting = deque(direct)
    # Breadth first: the first way found is a shortest one.
    while waiting:
        child = waiting.popleft()
        for parent in above.get(child, ()):
            if parent not in way:
                way[parent] = child
                waiting.append(parent)
    groups = _by_key(way)
    held = []
    for pk in way:
        path, step = [], pk
        while True:
            path.append(groups[step])
            below = way[step]
            if below is None:
                break
            step = below
        held.append(HeldGroup(groups[pk], tuple(reversed(path))))
    return sorted(held, key=lambda each: (str(each.group).casefold(), each.group.pk))


def membership_path(
    user: DirectoryUser, group: DirectoryGroup
) -> Sequence[DirectoryGroup] | None:
    """Return the shortest way from a person to a group, or None without one.

    Nearest the person first, the group itself last.
    """
    for held in groups_of(user):
        if held.group.pk == group.pk:
            return held.path
    return None


def _direct_groups(user: DirectoryUser) -> list[int]:
    return list(
        DirectoryMembership.objects.filter(user=user, group__state=PRESENT)
        .order_by("group__sort_key", "group_id")
        .values_list("group_id", flat=True)
    )


def _parents(groups: Sequence[int]) -> dict[int, list[int]]:
    """Return who nests whom, among everything above these groups."""
    reached = set(groups)
    for some in chunks(groups):
        reached.update(
            GroupClosure.objects.filter(descendant_id__in=some).values_list(
                "ancestor_id", flat=True
            )
        )
    found: dict[int, list[int]] = {}
    for some in chunks(sorted(reached)):
        edges = GroupNesting.objects.filter(child_id__in=some, parent__state=PRESENT)
        for parent, child in edges.order_by("parent__sort_key").values_list(
            "parent_id", "child_id"
        ):
            if parent in reached:
                found.setdefault(child, []).append(parent)
    return found


def _by_key(keys: Iterable[int]) -> dict[int, DirectoryGroup]:
    return {
        group.pk: group
        for some in chunks(keys)
        for group in DirectoryGroup.objects.filter(pk__in=some)
    }


@dataclass(frozen=True, slots=True)
class NestedGroup:
    """A line in the tree of nested groups; `cut` says why nothing stands below."""

    group: DirectoryGroup
    children: Sequence["NestedGroup"] = ()
    cut: str = ""


def nested_tree(group: DirectoryGroup) -> Sequence[NestedGroup]:
    """Return the groups in a group as a tree, each opened once. Three queries.

    A group on its own way up is a cycle, marked and cut; one that stands elsewhere
    in the tree is named again and not opened again.
    """
    below = list(
        GroupClosure.objects.filter(ancestor=group).values_list(
            "descendant_id", flat=True
        )
    )
    groups = _by_key([*below, group.pk])
    children: dict[int, list[int]] = {}
    for some in chunks([group.pk, *below]):
        edges = GroupNesting.objects.filter(parent_id__in=some)
        for parent, child in edges.values_list("parent_id", "child_id"):
            if child in groups:
                children.setdefault(parent, []).append(child)
    opened: set[int] = set()
    lines = 0

    def branches(parent: int, way: tuple[int, ...]) -> list[NestedGroup]:
        nonlocal lines
        found: list[NestedGroup] = []
        opened.add(parent)
        ordered = sorted(
            children.get(parent, ()), key=lambda pk: (str(groups[pk]).casefold(), pk)
        )
        for pk in ordered:
            lines += 1
            child = groups[pk]
            if lines > TREE_LINES or len(way) > TREE_DEPTH:
                left = len(ordered) - len(found)
                found.append(NestedGroup(child, cut=f"{left} more not shown"))
                break
            if pk in way:
                found.append(NestedGroup(child, cut="a cycle: it contains this group"))
            elif pk in opened:
                cut = "already shown" if children.get(pk) else ""
                found.append(NestedGroup(child, cut=cut))
            else:
                found.append(NestedGroup(child, branches(pk, (*way, pk))))
        return found

    return branches(group.pk, (group.pk,))


def hidden_below(group: DirectoryGroup) -> list[DirectoryGroup]:
    """Return nested groups whose members are not known: the group may hold more."""
    return list(
        DirectoryGroup.objects.filter(ancestors__ancestor=group)
        .filter(Q(hidden_membership=True) | Q(state__in=UNKNOWN_STATES))
        .order_by("sort_key", "pk")
    )


def parents_of(group: DirectoryGroup) -> QuerySet[DirectoryGroup]:
    """Return the groups that a group is a direct member of."""
    return DirectoryGroup.objects.filter(nested__child=group, state=PRESENT).order_by(
        "sort_key", "pk"
    )


def direct_members(group: DirectoryGroup) -> QuerySet[DirectoryUser]:
    """Return everybody who is a direct member and in the directory."""
    return DirectoryUser.objects.present().filter(memberships__group=group)


def effective_members(group: DirectoryGroup) -> QuerySet[DirectoryUser]:
    """Return everybody in the group or in a group nested in it, each once."""
    below = GroupClosure.objects.filter(ancestor=group).values("descendant_id")
    holding = DirectoryMembership.objects.filter(
        Q(group=group) | Q(group__in=below)
    ).values("user_id")
    return DirectoryUser.objects.present().filter(pk__in=holding)


def member_ids(group: DirectoryGroup, *, nested: bool) -> frozenset[int]:
    """Return the row ids of a group's members, from its bitmap."""
    bitmap = GroupBitmap.objects.filter(group=group).first()
    return frozenset() if bitmap is None else frozenset(bitmap.users(nested=nested))


def ways_in(
    group: DirectoryGroup, users: Iterable[DirectoryUser]
) -> dict[int, Sequence[DirectoryGroup]]:
    """Return for members of a group the shortest way in, by user id. Four queries.

    Nearest the person first; empty for direct members. People who are no members
    are left out.
    """
    ids = [user.pk for user in users]
    below = list(
        GroupClosure.objects.filter(ancestor=group).values_list(
            "descendant_id", flat=True
        )
    )
    # Downwards from the group: how many steps each nested group is away.
    children: dict[int, list[int]] = {}
    for some in chunks([group.pk, *below]):
        for parent, child in GroupNesting.objects.filter(
            parent_id__in=some
        ).values_list("parent_id", "child_id"):
            children.setdefault(parent, []).append(child)
    reachable = {group.pk, *below}
    up: dict[int, int | None] = {group.pk: None}
    waiting = deque([group.pk])
    while waiting:
        parent = waiting.popleft()
        for child in sorted(children.get(parent, ())):
            if child in reachable and child not in up:
                up[child] = parent
                waiting.append(child)
    rank = {pk: number for number, pk in enumerate(up)}
    nearest: dict[int, int] = {}
    memberships = DirectoryMembership.objects.filter(
        user_id__in=ids, group_id__in=reachable
    )
    for user_id, group_id in memberships.values_list("user_id", "group_id"):
        if group_id not in rank:
            continue
        if user_id not in nearest or rank[group_id] < rank[nearest[user_id]]:
            nearest[user_id] = group_id
    groups = _by_key(set(nearest.values()) | set(up))
    ways: dict[int, Sequence[DirectoryGroup]] = {}
    for user_id, first in nearest.items():
        path, step = [], first
        while step != group.pk:
            path.append(groups[step])
            above = up[step]
            if above is None:
                break
            step = above
        ways[user_id] = tuple(path)
    return ways
