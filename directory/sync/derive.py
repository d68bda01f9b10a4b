"""What follows from members and nesting: closure, bitmaps, counts.

Works from a plan after guards have taken their parts: everything here is in effect.
Only groups that a change can reach are looked at. Nothing here writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupClosure,
    State,
)
from directory.planned import PackedUsers
from directory.sync.bitmaps import pack, union
from directory.sync.differences import PRESENT, WITHOUT_MEMBERS, Plan, UserSets
from directory.sync.nesting import closure
from directory.sync.observe import DEPARTED
from directory.sync.rows import read
from directory.sync.stored import (
    COUNTS,
    asked_below,
    asked_sets,
    asked_standing,
    in_state,
    sets_of,
    standing_of,
    states_of,
    stored_above,
    stored_below,
    stored_nesting,
    stored_sets,
)
from jamfidp.compiled import asked_together

Pair = tuple[int, int]
# From this many people on it is cheaper to read once who is present than to ask.
MANY = 5_000
# Of so many groups all answers are held in memory together.
FEW = 500


def packed(members: BitMap, direct: BitMap, transitive: BitMap) -> PackedUsers:
    return PackedUsers(
        pack(members),
        None if direct is members or direct == members else pack(direct),
        None if transitive is direct or transitive == direct else pack(transitive),
    )


@dataclass(slots=True)
class Derived:
    """Differences in derived rows, by group."""

    closure_added: list[Pair] = field(default_factory=list)
    closure_removed: list[Pair] = field(default_factory=list)
    bitmaps_added: dict[int, PackedUsers] = field(default_factory=dict)
    bitmaps_changed: dict[int, PackedUsers] = field(default_factory=dict)
    bitmaps_removed: BitMap = field(default_factory=BitMap)
    # The counts of a group's row to write, by column; of new groups all.
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


def derive(plan: Plan) -> Derived:
    """Work out what the plan changes in closure, bitmaps and counts."""
    derived = Derived()
    groups = _Groups(plan)
    derived.bitmaps_removed = groups.ended
    rewired = _rewire(plan, groups, derived)
    people = _People(plan)

    touched = _touched(plan, groups, people) - groups.ended
    # A group that holds nobody any more may stay where it is nested.
    above = rewired.above(touched | groups.ended)
    reached = (touched | above | derived.closure_changed) - groups.ended
    questions = [
        asked_below(reached - BitMap(rewired.anew)),
        asked_sets(reached - BitMap(plan.sets_before)),
        asked_standing(groups.unknown(reached)),
    ]
    with asked_together(questions if len(reached) <= FEW else ()):
        below = rewired.below(reached)
        stored = _sets_before(plan, reached)
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
    for group, sets in _sets_before(plan, under - BitMap(stored)).items():
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
        mine = members.get(group, (sets or _NO_SETS).members)
        if sets is None:
            derived.bitmaps_added[group] = packed(mine, has, everybody)
        elif (mine, has, everybody) != sets:
            derived.bitmaps_changed[group] = packed(mine, has, everybody)
        groups.count(derived, group, len(has), len(everybody))
    for group in groups.ended - plan.groups.forgotten:
        groups.count(derived, group, 0, 0)
    _count_others(plan, groups, derived)
    return derived


_NOBODY = BitMap()
_NO_SETS = UserSets()


class _Groups:
    """The states of groups, before and after a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # State and counts of a group's row as it stands.
        self._standing = dict(plan.groups_before)
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
        self._standing.update(standing_of(self.unknown(numbers)))

    def unknown(self, numbers: BitMap) -> BitMap:
        """Return the groups whose rows would have to be read to look at these."""
        wanted = numbers | self.ended | BitMap(self._plan.others)
        return wanted - self._plan.groups.new.numbers - BitMap(self._standing)

    def holds(self, number: int) -> bool:
        """Whether the group is in the directory after the plan: then it holds people."""
        if number in self.came:
            return True
        standing = self._standing.get(number)
        change = self._plan.groups.changes.get(number)
        if change is not None and change.state_after is not None:
            return False
        return standing is not None and standing[0] == PRESENT

    def count(
        self, derived: Derived, number: int, direct: int, transitive: int
    ) -> None:
        self._set(derived, number, (direct, transitive))

    def count_others(self, derived: Derived, number: int, more: int) -> None:
        standing = self._standing.get(number)
        before = standing[_OTHERS] if standing is not None else 0
        self._set(derived, number, (before + more,), _OTHERS)

    def _set(
        self, derived: Derived, number: int, counts: tuple[int, ...], first: int = 1
    ) -> None:
        """Note counts that stand together, if one of them is another now."""
        standing = self._standing.get(number)
        before = standing[first : first + len(counts)] if standing is not None else ()
        if before != counts:
            names = COUNTS[first - 1 : first - 1 + len(counts)]
            derived.counts.setdefault(number, {}).update(
                zip(names, counts, strict=True)
            )

    def departed(self, among: BitMap | None = None) -> BitMap:
        """Groups that count for nobody above them, after the plan: of some, or all."""
        if among is None:
            stored = DirectoryGroup.objects.filter(
                cloud_idp=self._plan.cloud_idp, state__in=DEPARTED
            )
            found = BitMap(stored.values_list("pk", flat=True))
        else:
            states = states_of(DirectoryGroup, among).items()
            found = BitMap(number for number, state in states if state in DEPARTED)
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


# Where the number of other members stands behind a row's state.
_OTHERS = 3


class _People:
    """Who is in the directory, before and after a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # Whose rows were looked at, and who of them is in the directory as it stands.
        states = plan.people_before
        self._looked_at = BitMap(states) | plan.people.new.numbers
        self._there = BitMap(n for n, state in states.items() if state == PRESENT)
        self._all = False
        self.gained, self.lost = BitMap(), BitMap()
        for number, change in plan.people.changes.items():
            if change.state_after == PRESENT:
                self.gained.add(number)
            elif change.state_before == PRESENT:
                self.lost.add(number)
        self._after = self._there_after()

    def present(self, people: BitMap) -> BitMap:
        """Return those of them who are in the directory after the plan."""
        self.look_at(people)
        return people & self._after

    def look_at(self, people: BitMap) -> None:
        """Read at once the rows that later questions are about."""
        if self._all or people <= self._looked_at:
            return
        missing = people - self._looked_at
        if len(missing) > MANY:
            mine = DirectoryUser.objects.filter(
                state=PRESENT, cloud_idp=self._plan.cloud_idp
            )
            self._there.update(mine.values_list("pk", flat=True).iterator(10_000))
            self._all = True
        else:
            self._there |= in_state(DirectoryUser, State.PRESENT, missing)
            self._looked_at |= missing
        self._after = self._there_after()

    def _there_after(self) -> BitMap:
        return (self._there | self.gained | self._plan.people.new.present) - self.lost


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


def _members(plan: Plan, group: int, sets: UserSets | None) -> BitMap:
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
    sets: UserSets | None,
) -> BitMap:
    if not groups.holds(group):
        return _NOBODY
    if sets is None or group in groups.came:
        present = people.present(members)
        # Most often everybody is; then one set serves for both.
        return members if present == members else present
    direct, change = sets.direct, plan.users.get(group)
    if people.gained:
        direct = direct | (members & people.gained)
    elif direct is sets.members and not people.lost:
        joined = _NOBODY if change is None else change.joined
        # Most often everybody is; then one set serves for both.
        if people.present(joined) == joined:
            return members
    if change is not None:
        direct = (direct | people.present(change.joined)) - change.left
    return direct - people.lost if people.lost else direct


@dataclass(slots=True)
class _Rewired:
    """What nesting amounts to after a plan.

    `anew` are the groups that were looked at again, with those below each; of all others
    what is stored stands.
    """

    anew: dict[int, BitMap] = field(default_factory=dict)

    def above(self, groups: BitMap) -> BitMap:
        """Return the groups that count members of these through nesting."""
        stored = stored_above(groups) - BitMap(self.anew)
        return stored | BitMap(
            group for group, found in self.anew.items() if found.intersect(groups)
        )

    def below(self, groups: BitMap) -> dict[int, BitMap]:
        """Return the groups whose members count for each of these through nesting."""
        anew = BitMap(self.anew)
        found = {group: self.anew[group] for group in groups & anew}
        return found | stored_below(groups - anew)


def _rewire(plan: Plan, groups: _Groups, derived: Derived) -> _Rewired:
    """Derive the closure anew as far as nesting may change it."""
    if plan.full or groups.crossed:
        if not (plan.nesting or groups.crossed):
            return _Rewired()
        below, before = _everything_below(plan, groups)
    elif plan.nesting:
        below, before = _below_changed(plan, groups)
    else:
        return _Rewired()
    anew = {}
    for group in below.keys() | before.keys():
        has = anew[group] = below.get(group, _NOBODY)
        had = before.get(group, _NOBODY)
        if has != had:
            derived.closure_changed.add(group)
            derived.closure_added += [(group, each) for each in has - had]
            derived.closure_removed += [(group, each) for each in had - has]
    return _Rewired(anew)


_Closure: TypeAlias = dict[int, BitMap]


def _everything_below(plan: Plan, groups: _Groups) -> tuple[_Closure, _Closure]:
    """Return the whole closure, and as it is stored."""
    edges = _changed(
        plan, plan.nesting_before if plan.full else stored_nesting(plan.cloud_idp, None)
    )
    return _closed(edges, groups.departed()), _stored_closure(plan.cloud_idp)


def _below_changed(plan: Plan, groups: _Groups) -> tuple[_Closure, _Closure]:
    """Return the closure of the groups that nesting changes, and as it is stored.

    These are the parents that change and all above them. Whatever else is nested in
    them leads to none of these, and has below it what is stored.
    """
    concerned = BitMap(plan.nesting)
    concerned |= stored_above(concerned)
    edges = _changed(plan, stored_nesting(plan.cloud_idp, concerned))
    children = union(edges.values())
    found = _closed(edges, groups.departed(concerned | children))
    rest = children - concerned
    further = stored_below(rest)
    for group, reached in found.items():
        found[group] = union(
            [reached, *(further[each] for each in reached & rest if each in further)]
        )
    return found, stored_below(concerned)


def _changed(plan: Plan, edges: Mapping[int, BitMap]) -> dict[int, BitMap]:
    """Return the groups nested directly in each, after the plan."""
    after = dict(edges)
    for group, change in plan.nesting.items():
        after[group] = (after.get(group, _NOBODY) | change.joined) - change.left
    return after


def _closed(edges: Mapping[int, BitMap], departed: BitMap) -> _Closure:
    found = closure(
        (parent, child)
        for parent, children in edges.items()
        if parent not in departed
        for child in children - departed
    )
    return {group: BitMap(groups) for group, groups in found.items()}


def _stored_closure(cloud_idp: CloudIdentityProvider) -> dict[int, BitMap]:
    pairs = GroupClosure.objects.filter(ancestor__cloud_idp=cloud_idp)
    return sets_of(pairs.values_list("ancestor_id", "descendant_id"))


def _sets_before(plan: Plan, groups: BitMap) -> dict[int, UserSets]:
    """The bitmaps of these groups as they stand, read unless the plan has them."""
    known = plan.sets_before
    found = {group: known[group] for group in groups & BitMap(known)}
    return found | stored_sets(groups - BitMap(known))


def _count_others(plan: Plan, groups: _Groups, derived: Derived) -> None:
    for group, change in plan.others.items():
        groups.count_others(derived, group, len(change.joined) - len(change.left))
