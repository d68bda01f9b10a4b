"""What follows from members and nesting: closure, bitmaps, counts.

Works from a plan after guards have taken their parts: everything here is in effect.
Only groups that a change can reach are looked at. Nothing here writes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    State,
)
from directory.planned import PackedUsers
from directory.sync.bitmaps import pack, union, unpack
from directory.sync.differences import PRESENT, WITHOUT_MEMBERS, Plan
from directory.sync.nesting import closure
from directory.sync.observe import DEPARTED
from directory.sync.rows import read
from directory.sync.stored import in_state, sets_of, stored_nesting

Pair = tuple[int, int]
# From this many people on it is cheaper to read once who is present than to ask.
MANY = 5_000


def packed(members: BitMap, direct: BitMap, transitive: BitMap) -> PackedUsers:
    return PackedUsers(
        pack(members),
        None if direct == members else pack(direct),
        None if transitive == direct else pack(transitive),
    )


@dataclass(slots=True)
class Derived:
    """Differences in derived rows, by group."""

    closure_added: list[Pair] = field(default_factory=list)
    closure_removed: list[Pair] = field(default_factory=list)
    bitmaps_added: dict[int, PackedUsers] = field(default_factory=dict)
    bitmaps_changed: dict[int, PackedUsers] = field(default_factory=dict)
    bitmaps_removed: BitMap = field(default_factory=BitMap)
    # The counts of a group's row that differ, by column; of new groups all.
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    closure_changed: BitMap = field(default_factory=BitMap)

    @property
    def affected(self) -> BitMap:
        """Groups that hold other people than before, or by other ways."""
        return union(
            [
                self.closure_changed,
                BitMap(self.bitmaps_added),
                BitMap(self.bitmaps_changed),
                self.bitmaps_removed,
            ]
        )


@dataclass(slots=True)
class _Sets:
    """A group's bitmaps as they stand."""

    members: BitMap = field(default_factory=BitMap)
    direct: BitMap = field(default_factory=BitMap)
    transitive: BitMap = field(default_factory=BitMap)


@dataclass(slots=True)
class _Standing:
    """A group's row as it stands, as far as it matters here."""

    state: str
    counts: dict[str, int]


def derive(plan: Plan) -> Derived:
    """Work out what the plan changes in closure, bitmaps and counts."""
    derived = Derived()
    groups = _Groups(plan)
    derived.bitmaps_removed = groups.ended
    below = _rewire(plan, groups, derived)
    people = _People(plan)

    touched = _touched(plan, groups, people) - groups.ended
    # A group that holds nobody any more may stay where it is nested.
    above = _above(touched | groups.ended, below)
    reached = (touched | above | derived.closure_changed) - groups.ended
    if below is None:
        below = _stored_below(reached)
    stored = _stored_sets(reached)
    groups.look_at(reached)
    people.look_at(union(change.joined for change in plan.users.values()))

    members: dict[int, BitMap] = {}
    direct: dict[int, BitMap] = dict.fromkeys(groups.ended, _NOBODY)
    for group in touched:
        sets = stored.get(group)
        members[group] = _members(plan, group, sets)
        direct[group] = _direct(plan, groups, people, group, members[group], sets)
    under = union(below.get(group, _NOBODY) for group in reached) - BitMap(direct)
    for group, sets in stored.items():
        direct.setdefault(group, sets.direct)
    for group, sets in _stored_sets(under - BitMap(stored)).items():
        direct[group] = sets.direct

    for group in reached:
        if not (group in stored or groups.holds(group) or members.get(group)):
            continue
        has = direct.get(group, _NOBODY)
        everybody = has
        if groups.holds(group):
            parts = [direct[each] for each in below.get(group, ()) if each in direct]
            everybody = union([has, *parts]) if parts else has
        sets = stored.get(group)
        mine = members[group] if group in members else (sets or _Sets()).members
        if sets is None:
            derived.bitmaps_added[group] = packed(mine, has, everybody)
        elif (mine, has, everybody) != (sets.members, sets.direct, sets.transitive):
            derived.bitmaps_changed[group] = packed(mine, has, everybody)
        groups.count(derived, group, len(has), len(everybody))
    for group in groups.ended - plan.groups.forgotten:
        groups.count(derived, group, 0, 0)
    _count_others(plan, groups, derived)
    return derived


_NOBODY = BitMap()


class _Groups:
    """The states of groups, before and after a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._standing: dict[int, _Standing] = {}
        # Groups that begin or cease to hold people, and those without members at all.
        self.came, self.went = BitMap(), BitMap()
        self.ended = BitMap(plan.groups.forgotten)
        # Whose members begin or cease to count for the groups above them.
        self.crossed = bool(plan.groups.forgotten)
        for number, change in plan.groups.changes.items():
            after = change.state_after
            if after is None:
                continue
            self.crossed |= (change.state_before in DEPARTED) != (after in DEPARTED)
            if after == PRESENT:
                self.came.add(number)
            elif change.state_before == PRESENT:
                self.went.add(number)
            if after in WITHOUT_MEMBERS:
                self.ended.add(number)
        self.came |= plan.groups.new.present

    def look_at(self, numbers: BitMap) -> None:
        """Read the rows of these groups, which later questions are about."""
        wanted = numbers | self.ended | BitMap(self._plan.others)
        wanted -= self._plan.groups.new.numbers
        for number, state, *counts in read(
            DirectoryGroup, ("id", "state", *_COUNTS), "id", wanted
        ):
            named = dict(zip(_COUNTS, counts, strict=True))
            self._standing[number] = _Standing(state, named)

    def holds(self, number: int) -> bool:
        """Whether the group is in the directory after the plan: then it holds people."""
        if number in self.came:
            return True
        standing = self._standing.get(number)
        change = self._plan.groups.changes.get(number)
        if change is not None and change.state_after is not None:
            return False
        return standing is not None and standing.state == PRESENT

    def count(
        self, derived: Derived, number: int, direct: int, transitive: int
    ) -> None:
        self.set(derived, number, direct_users=direct, transitive_users=transitive)

    def set(self, derived: Derived, number: int, **counts: int) -> None:
        standing = self._standing.get(number)
        before = standing.counts if standing is not None else {}
        differing = {
            name: count for name, count in counts.items() if before.get(name) != count
        }
        if differing:
            derived.counts.setdefault(number, {}).update(differing)

    def other_members(self, number: int) -> int:
        standing = self._standing.get(number)
        return standing.counts["other_members"] if standing is not None else 0

    @property
    def departed(self) -> BitMap:
        """Groups that count for nobody above them, after the plan."""
        stored = DirectoryGroup.objects.filter(
            cloud_idp=self._plan.cloud_idp, state__in=DEPARTED
        )
        found = BitMap(stored.values_list("pk", flat=True))
        for number, change in self._plan.groups.changes.items():
            if change.state_after in DEPARTED:
                found.add(number)
            elif change.state_after is not None:
                found.discard(number)
        found |= BitMap(
            number
            for number, _object_id, row in self._plan.groups.new.rows()
            if row.state in DEPARTED
        )
        return found | self._plan.groups.forgotten


_COUNTS = ("direct_users", "transitive_users", "other_members")


class _People:
    """Who is in the directory, before and after a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # Whose rows were looked at, and who of them is in the directory as it stands.
        self._looked_at, self._there = BitMap(), BitMap()
        self._all = False
        self.gained, self.lost = BitMap(), BitMap()
        for number, change in plan.people.changes.items():
            if change.state_after == PRESENT:
                self.gained.add(number)
            elif change.state_before == PRESENT:
                self.lost.add(number)

    def present(self, people: BitMap) -> BitMap:
        """Return those of them who are in the directory after the plan."""
        new = self._plan.people.new
        asked = people - new.numbers
        stored = self._stored(asked) if asked else _NOBODY
        gained = people & (self.gained | new.present)
        return (stored | gained) - self.lost

    def look_at(self, people: BitMap) -> None:
        """Read at once the rows that later questions are about."""
        missing = people - self._looked_at - self._plan.people.new.numbers
        if self._all or not missing:
            return
        if len(missing) > MANY:
            mine = DirectoryUser.objects.filter(
                state=PRESENT, cloud_idp=self._plan.cloud_idp
            )
            self._there.update(mine.values_list("pk", flat=True).iterator(10_000))
            self._all = True
            return
        self._there |= in_state(DirectoryUser, State.PRESENT, missing)
        self._looked_at |= missing

    def _stored(self, asked: BitMap) -> BitMap:
        self.look_at(asked)
        return asked & self._there


def _touched(plan: Plan, groups: _Groups, people: _People) -> BitMap:
    """Groups whose own members or presence change, or hold somebody who moves."""
    touched = BitMap(plan.users) | groups.came | groups.went
    moved = people.gained | people.lost
    if plan.full and len(moved) > MANY:
        touched |= BitMap(
            group
            for group, members in plan.users_before.items()
            if members.intersect(moved)
        )
        return touched
    holding = read(DirectoryMembership, ("group_id",), "user_id", moved, distinct=True)
    touched.update(group for (group,) in holding)
    return touched


def _members(plan: Plan, group: int, sets: _Sets | None) -> BitMap:
    change = plan.users.get(group)
    if sets is None:
        return _NOBODY if change is None else change.joined
    if change is None:
        return sets.members
    return (sets.members | change.joined) - change.left


def _direct(
    plan: Plan,
    groups: _Groups,
    people: _People,
    group: int,
    members: BitMap,
    sets: _Sets | None,
) -> BitMap:
    if not groups.holds(group):
        return _NOBODY
    if sets is None or group in groups.came:
        present = people.present(members)
        # Most often everybody is; then one set serves for both.
        return members if present == members else present
    direct = sets.direct | (members & people.gained)
    change = plan.users.get(group)
    if change is not None:
        direct = (direct | people.present(change.joined)) - change.left
    return direct - people.lost


def _rewire(plan: Plan, groups: _Groups, derived: Derived) -> dict[int, BitMap] | None:
    """Derive the closure anew where nesting changes; None where it stays."""
    if not (plan.nesting or groups.crossed):
        return None
    edges = dict(
        plan.nesting_before if plan.full else stored_nesting(plan.cloud_idp, None)
    )
    for group, change in plan.nesting.items():
        edges[group] = (edges.get(group, _NOBODY) | change.joined) - change.left
    departed = groups.departed
    below = {
        group: BitMap(found)
        for group, found in closure(
            (parent, child)
            for parent, children in edges.items()
            if parent not in departed
            for child in children - departed
        ).items()
    }
    before = _stored_closure(plan.cloud_idp)
    for group in below.keys() | before.keys():
        has, had = below.get(group, _NOBODY), before.get(group, _NOBODY)
        if has != had:
            derived.closure_changed.add(group)
            derived.closure_added += [(group, each) for each in has - had]
            derived.closure_removed += [(group, each) for each in had - has]
    return below


def _above(touched: BitMap, below: dict[int, BitMap] | None) -> BitMap:
    """Return the groups that count members of these through nesting."""
    if below is not None:
        return BitMap(
            group for group, found in below.items() if found.intersect(touched)
        )
    found = read(
        GroupClosure, ("ancestor_id",), "descendant_id", touched, distinct=True
    )
    return BitMap(group for (group,) in found)


def _stored_below(groups: Iterable[int]) -> dict[int, BitMap]:
    pair = ("ancestor_id", "descendant_id")
    return sets_of(read(GroupClosure, pair, "ancestor_id", groups))


def _stored_closure(cloud_idp: CloudIdentityProvider) -> dict[int, BitMap]:
    pairs = GroupClosure.objects.filter(ancestor__cloud_idp=cloud_idp)
    return sets_of(pairs.values_list("ancestor_id", "descendant_id"))


def _stored_sets(groups: Iterable[int]) -> dict[int, _Sets]:
    found = {}
    columns = ("group_id", "members", "direct", "transitive")
    for group, *stored in read(GroupBitmap, columns, "group_id", groups):
        members = unpack(stored[0])
        direct = members if stored[1] is None else unpack(stored[1])
        transitive = direct if stored[2] is None else unpack(stored[2])
        found[group] = _Sets(members, direct, transitive)
    return found


def _count_others(plan: Plan, groups: _Groups, derived: Derived) -> None:
    for group, change in plan.others.items():
        count = groups.other_members(group) + len(change.joined) - len(change.left)
        groups.set(derived, group, other_members=count)
