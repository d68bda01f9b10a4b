"""Who counts for a group in use, before a plan and after it.

What guards ask about groups that scopes and privileges rest on. Nothing here writes, and
only such groups are looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pyroaring import BitMap

from directory.dependents import Gives, registered
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    GroupBitmap,
    State,
)
from directory.sync.attributes import UserRow
from directory.sync.bitmaps import union, unpack
from directory.sync.differences import PRESENT, MemberChange, Plan
from directory.sync.guards import Used, is_lost
from directory.sync.rows import read
from directory.sync.stored import in_state, rows_of, stored_nesting

_NOBODY = BitMap()
Edges = Mapping[int, BitMap]
_FULL = (Gives.FULL_ACCESS, Gives.ADMINISTRATOR)


class Given(NamedTuple):
    """What the members of a group are given: the most, and of Full Access what."""

    gives: Gives = Gives.NOTHING
    everywhere: frozenset[str] = frozenset()

    def full_access(self) -> frozenset[str]:
        """All by which somebody may rise: the levels reached, and each privilege."""
        levels = (each for each in _FULL if self.gives >= each)
        return self.everywhere.union(f"{each:d}" for each in levels)


def groups_in_use(cloud_idp: CloudIdentityProvider) -> dict[tuple[int, bool], Given]:
    """Return the groups of a connection that something rests on, by number and whether
    nested groups count, with what their members are given."""
    uses = [
        use
        for dependents in registered()
        for use in dependents.groups_in_use(cloud_idp.tenant_id)
    ]
    numbers = _numbers(cloud_idp, (use.object_id for use in uses))
    found: dict[tuple[int, bool], Given] = {}
    for use in uses:
        if use.object_id in numbers:
            key = (numbers[use.object_id], use.nested)
            before = found.get(key, Given())
            found[key] = Given(
                max(before.gives, use.gives), before.everywhere | use.everywhere
            )
    return found


def people_in_use(cloud_idp: CloudIdentityProvider) -> dict[int, Gives]:
    """Return the people of a connection who hold privileges of their own, by number."""
    found: dict[str, Gives] = {}
    for dependents in registered():
        for object_id, gives in dependents.people_in_use(cloud_idp.tenant_id).items():
            found[object_id] = max(found.get(object_id, Gives.NOTHING), gives)
    numbers = _numbers(cloud_idp, found)
    return {number: found[object_id] for object_id, number in numbers.items()}


def _numbers(
    cloud_idp: CloudIdentityProvider, object_ids: Iterable[str]
) -> dict[str, int]:
    columns, wanted = ("object_id", "id"), set(object_ids)
    return dict(
        read(DirectoryObject, columns, "object_id", wanted, cloud_idp_id=cloud_idp.pk)
    )


def used_groups(
    plan: Plan, in_use: Mapping[tuple[int, bool], Given]
) -> tuple[list[Used], BitMap]:
    """Return the groups in use that the plan can change, and to whom it gives Full
    Access by them, or more of it than they have."""
    if not in_use:
        return [], BitMap()
    before = stored_nesting(plan.cloud_idp, None)
    after = dict(before)
    for parent, change in plan.nesting.items():
        after[parent] = (after.get(parent, _NOBODY) | change.joined) - change.left
    ways = {key: (_below(key, before), _below(key, after)) for key in in_use}
    everything = union(way for pair in ways.values() for way in pair)
    members, present = _stored_sets(everything)
    people = _People(plan)
    there_before, there_after = _present(plan, everything)
    rises = _rises(in_use)
    holders = {each: (BitMap(), BitMap()) for each in rises}
    found = []
    for (group, nested), given in in_use.items():
        below, below_after = ways[group, nested]
        had = has = _NOBODY
        if group in there_before:
            had = union(present.get(g, _NOBODY) for g in below & there_before)
        if group in there_after:
            has = union(
                people.after(plan.users.get(g), members.get(g, _NOBODY))
                if g not in there_before
                else people.moved(
                    plan.users.get(g),
                    members.get(g, _NOBODY),
                    present.get(g, _NOBODY),
                )
                for g in below_after & there_after
            )
        found.append(
            Used(
                group=group,
                gives=given.gives,
                nested=nested,
                below=below,
                before=had,
                after=has,
            )
        )
        for by, (full_before, full_after) in holders.items():
            if (group, nested) in by:
                full_before |= had
                full_after |= has
    return found, union(people.given(*pair) for pair in holders.values())


def _rises(
    in_use: Mapping[tuple[int, bool], Given],
) -> set[frozenset[tuple[int, bool]]]:
    """Return, for each thing that Full Access consists of, by which groups it is had.

    Most are had by the same groups; so these are few.
    """
    by: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for key, given in in_use.items():
        for each in given.full_access():
            by[each].append(key)
    return set(map(frozenset, by.values()))


def _stored_sets(groups: BitMap) -> tuple[dict[int, BitMap], dict[int, BitMap]]:
    """Who has a row of membership, and who of them is in the directory."""
    members, present = {}, {}
    columns = ("group_id", "members", "direct")
    for group, stored, direct in read(GroupBitmap, columns, "group_id", groups):
        members[group] = unpack(stored)
        present[group] = members[group] if direct is None else unpack(direct)
    return members, present


def _below(key: tuple[int, bool], edges: Edges) -> BitMap:
    """The group, and if nested ones count all below it, deleted ones included."""
    group, nested = key
    found, open_ = BitMap([group]), [group]
    while nested and open_:
        for child in edges.get(open_.pop(), _NOBODY) - found:
            found.add(child)
            open_.append(child)
    return found


def _present(plan: Plan, groups: BitMap) -> tuple[BitMap, BitMap]:
    """Those of the groups that are in the directory, before and after."""
    before = in_state(DirectoryGroup, State.PRESENT, groups)
    after = (before | (groups & plan.groups.new.present)) - plan.groups.forgotten
    for number, change in plan.groups.changes.items():
        if number in groups and change.state_after is not None:
            (after.add if change.state_after == PRESENT else after.discard)(number)
    return before, after


class _People:
    """Who is in the directory before and after, and who may hold privileges."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        changes = plan.people.changes
        self.gone = BitMap(n for n, change in changes.items() if is_lost(change))
        self.gone |= plan.people.forgotten
        self.come = plan.people.new.present | BitMap(
            n for n, change in changes.items() if change.state_after == PRESENT
        )

    def moved(
        self, change: MemberChange | None, members: BitMap, present: BitMap
    ) -> BitMap:
        """Who is present in a group after, of whom one knows who was before."""
        after = present | (members & self.come)
        if change is not None:
            after = (after | self._there(change.joined)) - change.left
        return after - self.gone

    def after(self, change: MemberChange | None, members: BitMap) -> BitMap:
        """Who is present after in a group that was not in the directory itself."""
        return self.moved(change, members, self._there(members))

    def _there(self, people: BitMap) -> BitMap:
        found = people & self.come
        rest = people - found - self._plan.people.new.numbers
        return found | in_state(DirectoryUser, State.PRESENT, rest)

    def given(self, before: BitMap, after: BitMap) -> BitMap:
        """Those who may hold privileges after, as members, and might not before."""
        moved = BitMap(
            number
            for number, change in self._plan.people.changes.items()
            if {"state", "account_enabled", "user_type"} & change.after.keys()
        )
        return self.active(after & ((after - before) | moved), before)

    def active(self, candidates: BitMap, before: BitMap) -> BitMap:
        """Those of the candidates who become active, or are and were no members."""
        found = BitMap()
        stored = rows_of(DirectoryUser, UserRow, candidates)
        for number, row in stored.items():
            change = self._plan.people.changes.get(number)
            then = row if change is None else UserRow(**row._asdict() | change.after)
            if is_active(then) and not (number in before and is_active(row)):
                found.add(number)
        new = candidates & self._plan.people.new.numbers
        if new:
            for number, _object_id, row in self._plan.people.new.rows(
                lambda number, _object_id: number in new
            ):
                if is_active(row):
                    found.add(number)
        return found


def is_active(row: UserRow) -> bool:
    """Whether the person may hold privileges: what is not known is no."""
    kind = row.user_type.casefold()
    return (
        row.state == PRESENT
        and row.account_enabled is True
        and kind
        not in (
            "",
            "guest",
        )
    )


def given_to_people(plan: Plan, people: Mapping[int, Gives]) -> BitMap:
    """Those who would hold Full Access of their own again."""
    full = BitMap(n for n, gives in people.items() if gives >= Gives.FULL_ACCESS)
    concerned = full & (BitMap(plan.people.changes) | plan.people.new.numbers)
    return _People(plan).active(concerned, concerned)


def deactivated(plan: Plan, people: Iterable[int]) -> BitMap:
    """Those of the people whom the plan leaves without the right to any privilege."""
    found = BitMap()
    for number in BitMap(people) & BitMap(plan.people.changes):
        after = plan.people.changes[number].after
        if (
            after.get("state", PRESENT) != PRESENT
            or after.get("account_enabled", True) is not True
            or after.get("user_type", "Member").casefold() in ("", "guest")
        ):
            found.add(number)
    return found
