"""What of a plan takes effect: without what is held, with what follows."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pyroaring import BitMap

from directory.models import (
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
)
from directory.sync import observe
from directory.sync.attributes import NEW_GROUP, NEW_USER, GroupRow, Row, UserRow
from directory.sync.bitmaps import union
from directory.sync.differences import (
    GONE,
    PRESENT,
    WITHOUT_MEMBERS,
    Change,
    MemberChange,
    Objects,
    Plan,
)
from directory.sync.holds import Held, HeldSet, Hold
from directory.sync.numbers import object_ids
from directory.sync.rows import read
from directory.sync.stored import (
    rows_of,
    states_of,
    stored_nesting,
    stored_others,
    stored_users,
)

Kind = DirectoryObject.Kind
Guards: TypeAlias = dict[int, set[str]]
Model: TypeAlias = type[DirectoryUser] | type[DirectoryGroup]


def settle(plan: Plan, held: Held) -> None:
    """Take what is held out of the plan, with what follows from it, into its holds.

    Whoever is not in effect is in no group, and whose loss is held loses no membership.
    """
    people = _hold_objects(
        plan, Kind.USER, plan.people, DirectoryUser, UserRow, held.people
    )
    groups = _hold_objects(
        plan, Kind.GROUP, plan.groups, DirectoryGroup, GroupRow, held.groups
    )
    for changes, sets in ((plan.users, held.users), (plan.nesting, held.nesting)):
        objects, why = (
            (people, held.people) if sets is held.users else (groups, held.groups)
        )
        _follow(changes, sets, held.members, objects, why)
        for group in groups & BitMap(changes):
            change = changes[group]
            sets[group] = HeldSet(BitMap(change.joined), BitMap(change.left))
            held.members.setdefault(group, set()).update(held.groups[group])
    _hold_members(plan, plan.users, held.users, lambda hold: hold.users)
    _hold_members(plan, plan.nesting, held.nesting, lambda hold: hold.groups)
    for number, guards in held.members.items():
        if number in plan.holds:
            hold = plan.holds[number]
            hold.guards = tuple(sorted({*hold.guards, *guards}))


def release(plan: Plan, chosen: BitMap) -> None:
    """Put what is held of these objects back into the plan, with what follows from it.

    A membership waits as long as the member or the group is held itself.
    """
    follow = {kind: BitMap() for kind in Kind}
    for kind, model in ((Kind.USER, DirectoryUser), (Kind.GROUP, DirectoryGroup)):
        rows = {n: h.row for n, h in plan.holds.items() if h.kind == kind and h.row}
        states = states_of(model, rows)
        for number, row in rows.items():
            before = states.get(number)
            if before is None or (before == PRESENT != row.state):
                follow[kind].add(number)
    _release_rows(plan, Kind.USER, plan.people, DirectoryUser, UserRow, chosen)
    _release_rows(plan, Kind.GROUP, plan.groups, DirectoryGroup, GroupRow, chosen)
    for number, hold in list(plan.holds.items()):
        itself = number in follow[Kind.GROUP]
        if not itself or number in chosen:
            for kind, held, changes in (
                (Kind.USER, hold.users, plan.users),
                (Kind.GROUP, hold.groups, plan.nesting),
            ):
                waiting = follow[kind] - chosen
                freed = follow[kind] & chosen
                if number in chosen:
                    freed |= (held.joined | held.left) - waiting
                _release_members(changes, number, held, freed)
        if hold.row is None and not hold.users and not hold.groups:
            del plan.holds[number]


def _release_rows(
    plan: Plan,
    kind: Kind,
    objects: Objects[Row],
    model: Model,
    row_class: type[Row],
    chosen: BitMap,
) -> None:
    holds = {
        number: hold
        for number in chosen
        if (hold := plan.holds.get(number)) is not None
        and hold.kind == kind
        and hold.row is not None
    }
    stored, names = rows_of(model, row_class, holds), object_ids(holds)
    for number, hold in holds.items():
        row, before = hold.row, stored.get(number)
        assert isinstance(row, row_class)  # noqa: S101 - the kind says so
        hold.row = None
        if before is None:
            objects.new.add(number, names[number], row)
            continue
        changed = [n for n in row._fields if getattr(row, n) != getattr(before, n)]
        objects.changes[number] = Change(
            before={name: getattr(before, name) for name in changed},
            after={name: getattr(row, name) for name in changed},
            told=hold.told,
        )


def _release_members(
    changes: dict[int, MemberChange], group: int, held: HeldSet, members: BitMap
) -> None:
    joined, left = held.joined & members, held.left & members
    if not (joined or left):
        return
    change = changes.setdefault(group, MemberChange())
    change.joined |= joined
    change.left |= left
    change.inferred |= held.inferred & left
    held.joined -= joined
    held.left -= left
    held.inferred -= left


def _hold(plan: Plan, number: int, kind: Kind) -> Hold:
    """Return the hold of an object in this plan; it keeps the row it is stored in."""
    if number not in plan.holds:
        hold = plan.holds[number] = Hold(number=number, kind=kind)
        before = plan.holds_before.get(number)
        if before is not None:
            hold.pk = before.pk
            hold.stored_hash = before.stored_hash
            hold.stored_guards = before.stored_guards
    return plan.holds[number]


def _hold_objects(
    plan: Plan,
    kind: Kind,
    objects: Objects[Row],
    model: Model,
    row_class: type[Row],
    guards: Guards,
) -> BitMap:
    """Move the rows that are held; return the objects whose memberships go along.

    Raises:
        ValueError: a guard holds what does not change, which is a defect of it.
    """
    wanted = BitMap(guards)
    changed, new = wanted & BitMap(objects.changes), wanted & objects.new.numbers
    if wanted - changed - new:
        raise ValueError("a guard holds an object that does not change")
    stored = rows_of(model, row_class, changed)
    follow = BitMap(new)
    for number in changed:
        change = objects.changes.pop(number)
        hold = _hold(plan, number, kind)
        hold.row = row_class(**{**stored[number]._asdict(), **change.after})
        hold.told = change.told
        if change.state_before == PRESENT:
            follow.add(number)
    if new:
        for number, _object_id, row in objects.new.rows():
            if number in new:
                _hold(plan, number, kind).row = row
        objects.new.discard(new)
    for number, names in guards.items():
        plan.holds[number].guards = tuple(sorted(names))
    return follow


def _follow(
    changes: Mapping[int, MemberChange],
    sets: dict[int, HeldSet],
    members: Guards,
    objects: BitMap,
    why: Guards,
) -> None:
    """Hold what is said about the membership of objects that are held themselves."""
    if not objects:
        return
    for group, change in changes.items():
        joined, left = change.joined & objects, change.left & objects
        if joined or left:
            held = sets.setdefault(group, HeldSet())
            held.joined |= joined
            held.left |= left
            for number in joined | left:
                members.setdefault(group, set()).update(why[number])


def _hold_members(
    plan: Plan,
    changes: dict[int, MemberChange],
    sets: Mapping[int, HeldSet],
    part: Callable[[Hold], HeldSet],
) -> None:
    for group, wanted in sets.items():
        change = changes.get(group, MemberChange())
        joined, left = change.joined & wanted.joined, change.left & wanted.left
        if not (joined or left):
            continue
        held = part(_hold(plan, group, Kind.GROUP))
        held.joined, held.left = joined, left
        held.inferred = change.inferred & left
        change.joined -= joined
        change.left -= left
        change.inferred -= left
        if not change:
            del changes[group]


# --- What follows from what takes effect


def complete(plan: Plan, listed: BitMap) -> None:
    """Add what follows: memberships that end, and rows for whom a group names.

    `listed` are objects that have a row, as far as that is known without asking.
    """
    _end_memberships_of_people(plan)
    _end_memberships_of_groups(plan)
    _mention(plan, listed)


def _end_memberships_of_people(plan: Plan) -> None:
    """Whoever is gone for good is in no group."""
    told = {
        number: change.told
        for number, change in plan.people.changes.items()
        if change.state_after == GONE
    }
    told |= dict.fromkeys(plan.people.forgotten, True)
    pair = ("group_id", "user_id")
    for group, user in read(DirectoryMembership, pair, "user_id", told):
        _end(plan.users, group, BitMap([user]), told=told[user])
    missing = BitMap(plan.users) - BitMap(plan.users_before)
    plan.users_before.update(stored_users(missing))


def _end_memberships_of_groups(plan: Plan) -> None:
    """A group that is gone, or whose members are not read, holds nobody."""
    ended: dict[int, Change] = {
        number: change
        for number, change in plan.groups.changes.items()
        if change.state_after in WITHOUT_MEMBERS
    }
    forgotten = plan.groups.forgotten
    if not ended and not forgotten:
        return
    numbers = BitMap(ended)
    before = stored_users(numbers)
    plan.users_before.update(before)
    for group, members in before.items():
        _end(plan.users, group, members, told=ended[group].told)
    # Where it is nested itself stays, unless it is gone: then its members are unknown.
    gone = forgotten | BitMap(
        number for number, change in ended.items() if change.state_after == GONE
    )
    plan.nesting_before = stored_nesting(plan.cloud_idp, None)
    for parent, children in plan.nesting_before.items():
        if parent in numbers:
            _end(plan.nesting, parent, children, told=ended[parent].told)
        for child in children & gone:
            told = child in forgotten or ended[child].told
            _end(plan.nesting, parent, BitMap([child]), told=told)
    for group, others in stored_others(plan.cloud_idp, numbers).items():
        _end(plan.others, group, others, told=True)


def _end(
    changes: dict[int, MemberChange], group: int, members: BitMap, *, told: bool
) -> None:
    if not members:
        return
    change = changes.setdefault(group, MemberChange())
    change.joined -= members
    change.left |= members
    if not told:
        change.inferred |= members


def let_go_of_what_ends(plan: Plan) -> None:
    """Hold no loss of a membership that ends all the same, with somebody who is gone.

    Nobody could decide about it: there is nothing left to take away.
    """
    for number, hold in list(plan.holds.items()):
        for held, change in (
            (hold.users, plan.users.get(number)),
            (hold.groups, plan.nesting.get(number)),
        ):
            if change is not None:
                held.left -= change.left
                held.inferred -= change.left
        if hold.row is None and not hold.users and not hold.groups:
            del plan.holds[number]


def _mention(plan: Plan, listed: BitMap) -> None:
    """Give a row to whoever is named as a member and has none yet."""
    known = listed - BitMap(plan.holds)
    for number, object_id in _nameless(
        plan.users, DirectoryUser, plan.people, known, plan.people_before
    ):
        person = observe.mentioned(NEW_USER, now=plan.now)
        plan.people.new.add(number, object_id, person)
    for number, object_id in _nameless(
        plan.nesting, DirectoryGroup, plan.groups, known, {}
    ):
        group = observe.mentioned(NEW_GROUP, now=plan.now)
        plan.groups.new.add(number, object_id, group)


def _nameless(
    changes: Mapping[int, MemberChange],
    model: Model,
    objects: Objects[Row],
    known: BitMap,
    states: dict[int, str],
) -> list[tuple[int, str]]:
    """Those named who have no row, with their object ids; `states` of whoever has one
    are kept for what follows."""
    named = union(change.joined for change in changes.values())
    named -= known | objects.new.numbers
    named -= BitMap(states)
    states.update(states_of(model, named))
    return list(object_ids(named - BitMap(states)).items())
