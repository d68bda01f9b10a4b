"""Merging what a run read onto what was observed, and comparing with what is in effect.

Observed is what Entra said last: what is in effect, but for what is held. Nothing here
writes, and nothing here decides.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic

from pyroaring import BitMap

from directory.entra import Removed
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupBitmap,
    GroupNesting,
    State,
)
from directory.sync import attributes, observe, returned
from directory.sync.attributes import NEW_GROUP, NEW_USER, GroupRow, Row, UserRow
from directory.sync.bitmaps import union, unpack
from directory.sync.differences import (
    GONE,
    NO_ANSWER,
    PRESENT,
    Among,
    Came,
    Change,
    MemberChange,
    Objects,
    Plan,
)
from directory.sync.holds import HeldSet, Hold, open_holds
from directory.sync.numbers import Register, object_ids
from directory.sync.returned import Returned
from directory.sync.rows import chunks, read
from directory.sync.selection import Selection
from directory.sync.stage import Resource, Round, Sides
from directory.sync.stored import (
    rows_of,
    standing_of,
    stored_nesting,
    stored_others,
    stored_sets,
)

Kind = DirectoryObject.Kind
RETURNED = "Somebody or something came back that the filter had left out."
RESTORED = "A group was restored, or may have been, and who is in it is not certain."


@dataclass(frozen=True, slots=True)
class _Sort(Generic[Row]):
    """How people are compared, or groups."""

    kind: Kind
    resource: Resource
    model: type[DirectoryUser] | type[DirectoryGroup]
    new: Row
    # The row of one that is in the directory: before, and what came of it.
    answered: Callable[[Row, Any], Row]
    # Whether what came is all there is, so that no row before it matters.
    is_whole: Callable[[Any], bool]
    absent: Callable[[Row, bool], Row | None]
    # Whether the filter keeps one, and what it makes of one that it does not keep.
    keeps: Callable[[str, Row], bool]
    left_out: Callable[[Row, Row], Row]
    now: datetime

    def rows(self, numbers: Iterable[int]) -> dict[int, Row]:
        return rows_of(self.model, type(self.new), numbers)

    def observed(self, row: Row | None, hold: Hold | None) -> Row | None:
        """What Entra said last: what is held, else what is in effect."""
        held = None if hold is None else hold.row
        return held if isinstance(held, type(self.new)) else row


def _people(selection: Selection, now: datetime) -> _Sort[UserRow]:
    def answered(before: UserRow, what: Any) -> UserRow:
        if isinstance(what, list):
            return attributes.whole_user_row(before, what, now=now)
        return attributes.user_row(before, what, now=now)

    return _Sort(
        Kind.USER,
        Resource.USERS,
        DirectoryUser,
        NEW_USER,
        answered,
        lambda what: isinstance(what, list),
        lambda before, member: observe.absent_person(before, member=member, now=now),
        lambda _object_id, row: selection.filter.keeps_person(row),
        lambda before, after: observe.filtered_person(before, after, now=now),
        now,
    )


def _groups(selection: Selection, now: datetime) -> _Sort[GroupRow]:
    return _Sort(
        Kind.GROUP,
        Resource.GROUPS,
        DirectoryGroup,
        NEW_GROUP,
        lambda before, what: attributes.group_row(
            before, what, selection.group_name, now=now
        ),
        lambda _what: False,
        lambda before, member: observe.absent_group(before, member=member, now=now),
        selection.filter.keeps_group,
        lambda before, after: observe.filtered_group(before, after, now=now),
        now,
    )


class Comparison:
    """The steps of one plan and what they hand to each other."""

    def __init__(
        self,
        cloud_idp: CloudIdentityProvider,
        round_: Round,
        register: Register,
        selection: Selection,
        now: datetime,
        fresh: BitMap | None = None,
        ask: returned.Ask | None = None,
        asked: int | None = None,
    ) -> None:
        self._selection = selection
        self._ask = ask
        # Who or what alone this is a read of: all that is known of them came.
        self._asked = asked
        # What Microsoft said of the groups of people who were deleted and are back, and
        # those of whom it said nothing for certain.
        self._returned = Returned()
        self._unsure: BitMap = BitMap()
        # Of these, whom Microsoft did not know when it was asked.
        self._unfound: BitMap = BitMap()
        # Read one by one since this round began: what it says of them may be older.
        self.fresh = fresh or BitMap()
        self.cloud_idp = cloud_idp
        self.round = round_
        self.register = register
        self.holds = open_holds(cloud_idp)
        self.plan = Plan(
            cloud_idp=cloud_idp,
            full=round_.full,
            now=now,
            generation=cloud_idp.generation,
            holds_before=self.holds,
        )
        # Observed as deleted or gone: nobody lists them as members any more.
        self.departed = {Kind.USER: BitMap(), Kind.GROUP: BitMap()}
        # Of these, gone for good: what still names them comes late.
        self.gone = {Kind.USER: BitMap(), Kind.GROUP: BitMap()}
        members = round_.members
        self.named = {
            Kind.USER: union(members.users.joined.values()),
            Kind.GROUP: union(members.groups.joined.values()),
        }
        self.seen = union(round_.seen.values()) | self.fresh
        # Whose members are not read.
        self._filtered: BitMap = BitMap()
        # Whom a read of everything did not list in a group that held them.
        self._missing: BitMap = BitMap()
        # Groups that it left out.
        self._absent: BitMap = BitMap()

    # --- People and groups

    def compare_people(self) -> None:
        sort = _people(self._selection, self.plan.now)
        self._compare_objects(sort, self.plan.people)

    def compare_groups(self) -> None:
        sort = _groups(self._selection, self.plan.now)
        self._compare_objects(sort, self.plan.groups)

    def _compare_objects(self, sort: _Sort[Row], objects: Objects[Row]) -> None:
        """Compare what was answered, and of a full read what was left out."""
        first = (
            self.round.full
            and not sort.model._default_manager.filter(
                cloud_idp=self.cloud_idp
            ).exists()
        )
        if first:
            objects.new.stream = lambda among: self._stream(sort, among)
        taken = self._take_first(sort, objects) if first else None
        answered: BitMap = taken or BitMap()
        back: dict[int, tuple[str, Row | None, Row | None, Row | None]] = {}
        new: BitMap = BitMap()
        for some in chunks(() if taken else self.round.entries(sort.resource)):
            numbers = [entry[0] for entry in some]
            answered.update(numbers)
            known = {} if first else sort.rows(numbers)
            for number, value, what, object_id in some:
                if number in self.fresh:
                    answered.discard(number)
                    continue
                if first and sort.is_whole(what):
                    # Of a first read nobody is compared: the page has it all.
                    objects.new.numbers.add(number)
                    if self._is_kept(sort, object_id, what):
                        objects.new.present.add(number)
                    self.plan.hashes[number] = value
                    continue
                row, hold = known.get(number), self.holds.get(number)
                observed = sort.observed(row, hold)
                removed = isinstance(what, str)
                self.plan.hashes[number] = None if removed else value or NO_ANSWER
                after = self._answered(sort, number, object_id, observed, what)
                if self._is_back(observed, after):
                    back[number] = (object_id, row, observed, after)
                    continue
                if self._is_new(number, observed, after):
                    new.add(number)
                self._note(sort, objects, number, object_id, row, after, told=True)
        if sort.kind == Kind.USER and (back or new):
            self._ask_about_back(BitMap(back), new)
        elif back or self._are_restored(new):
            # Which groups they are in, a read of everything says alone.
            self.plan.full_read_reason = RESTORED
            waits = BitMap(group for group in back if not self._may_be_back(group))
            self._unsure = self._unsure | waits
        for number, (object_id, row, observed, after) in back.items():
            told = True
            if self._stays_deleted(number):
                hold = self.holds.get(number)
                after, told = observed, hold is None or hold.told
                unsure = number in self._unsure
                self.plan.hashes[number] = NO_ANSWER if unsure else None
            self._note(sort, objects, number, object_id, row, after, told=told)
        for number, object_id, row, hold in self._left_out(sort, answered):
            observed = after = sort.observed(row, hold)
            told = hold is None or hold.told
            if observed is not None and self.round.full and number not in self.seen:
                after = sort.absent(observed, number in self.named[sort.kind])
                told = told and after == observed
                self.plan.hashes[number] = None
                if sort.kind == Kind.GROUP and observed.state == PRESENT:
                    self._absent.add(number)
            self._note(sort, objects, number, object_id, row, after, told=told)

    def _take_first(self, sort: _Sort[Row], objects: Objects[Row]) -> BitMap | None:
        """Take everybody of a first read as they came; none if some need a look."""
        people = self.round.whole_people() if sort.kind == Kind.USER else None
        if people is None or self.fresh or self._selection.filter.picks_people:
            return None
        numbers = BitMap(people.numbers)
        objects.new.numbers |= numbers
        objects.new.present |= numbers
        if len(numbers) == len(people.numbers):
            objects.new.came = Came(numbers, self.round.pages)
        self.plan.hashes.update(zip(people.numbers, people.hashes, strict=True))
        return numbers

    def _is_back(self, observed: Row | None, after: Row | None) -> bool:
        """Whether somebody was restored, and no read says which groups hold them, or a
        group, and no read of changes says who joined or left before it was deleted, or
        which groups it is still in.

        Whom the filter left out may have been, and nobody asked.
        """
        if not (
            self._ask is not None
            and observed is not None
            and after is not None
            and after.state == PRESENT
        ):
            return False
        if self.round.full:
            return observed.state in observe.DEPARTED and isinstance(after, UserRow)
        return observed.state in {*observe.DEPARTED, State.FILTERED}

    def _may_be_back(self, group: int) -> bool:
        """Whether nothing that a group was in before can be wrong by now: it is read
        alone, which says who is in it, and it was in no other group."""
        if group != self._asked:
            return False
        nested = GroupNesting.objects.filter(child_id=group).exists()
        return not nested and not any(
            group in hold.groups.joined for hold in self.holds.values()
        )

    def _ask_about_back(self, people: BitMap, new: BitMap) -> None:
        """Ask about those who are back, and those who may be, unless they are many."""
        if len(people) + len(new) > returned.PEOPLE:
            new = _NOBODY
        self._ask_about(people | new, new)
        unsure = people - self._returned.certain
        if self.round.full:
            # Others were back before this read began, which they waited for.
            hashes = self.register.hashes
            unsure = BitMap(n for n in unsure if hashes.get(n) != NO_ANSWER)
        self._unsure = unsure
        # Deleted again, or it is said of them later than in what was read.
        self._unfound = unsure & self._returned.gone
        if self._unfound or (unsure and not self.round.full):
            self.plan.full_read_reason = returned.REASON

    def _ask_about_missing(self) -> bool:
        """Ask about those whom a read of everything did not list where they were, and
        about those whom nobody knew.

        It lists nobody who is deleted: whoever was, while groups were read, and is
        restored is in no group by its account, and no read of changes says better.
        Another one of everything does, which is not asked about again.

        A read that leaves out groups that are there is not whole: all that it takes
        away is for the guards to judge.
        """
        again = self.cloud_idp.full_read_reason == returned.KEPT
        if again or not (self.round.full and self.cloud_idp.completely_read):
            return False
        missing = self._missing | self.plan.people.new.present
        missing -= self.departed[Kind.USER] | self.fresh | self._returned.certain
        if not missing or self._absent - self._are_gone(self._absent):
            return False
        before = len(self._returned.certain)
        self._ask_about(missing)
        return len(self._returned.certain) > before

    def _is_new(self, number: int, observed: Row | None, after: Row | None) -> bool:
        """Whether a read of changes brings somebody who was not known, or a group: they
        may have been deleted when everything was read, and be back."""
        if (
            self.round.full
            or after is None
            or after.state != PRESENT
            or (observed is not None and observed.state not in observe.NAMED)
        ):
            return False
        if isinstance(after, GroupRow):
            restorable = after.kind in observe.RESTORABLE_GROUPS
            return restorable and not after.hidden_membership and number != self._asked
        return True

    def _are_restored(self, groups: BitMap) -> bool:
        """Whether some of the groups that were not known may have been deleted."""
        if not groups or self._ask is None:
            return False
        sides = self.round.members
        told = {
            group: sides.users.joined.get(group, _NOBODY)
            | sides.groups.joined.get(group, _NOBODY)
            | sides.others.joined.get(group, _NOBODY)
            for group in groups
        }
        return not self._ask(returned.Question(self.cloud_idp, groups=told)).whole

    def _are_gone(self, groups: BitMap) -> BitMap:
        """Return those of some groups of which Microsoft says so, unless they are
        many."""
        if self._ask is None or not 0 < len(groups) <= returned.GROUPS:
            return _NOBODY
        return self._ask(returned.Question(self.cloud_idp, absent=groups)).gone

    def _ask_about(self, people: BitMap, new: BitMap | None = None) -> None:
        """Ask in which groups people are, unless they are many. Of those who are new
        most often all was told."""
        if self._ask is None or not 0 < len(people) <= returned.PEOPLE:
            return
        members: dict[int, BitMap] = defaultdict(BitMap)
        pair = ("group_id", "user_id")
        for group, person in read(DirectoryMembership, pair, "user_id", people):
            members[group].add(person)
        nesting = dict(self.round.members.groups.joined)
        held: BitMap = BitMap()
        for group, hold in self.holds.items():
            if concerned := (hold.users.joined | hold.users.left) & people:
                members[group] |= hold.users.joined & concerned
                members[group] -= hold.users.left
            if hold.groups.joined:
                nesting[group] = nesting.get(group, _NOBODY) | hold.groups.joined
            if isinstance(row := hold.row, GroupRow) and (
                row.state == PRESENT and not row.hidden_membership
            ):
                held.add(group)
        sides = self.round.members.users
        for group, joined in sides.joined.items():
            if joined.intersect(people):
                members[group] |= joined & people
        for group, left in sides.left.items():
            if left.intersect(people):
                members[group] -= left
        question = returned.Question(
            cloud_idp=self.cloud_idp,
            people=people,
            new=new or _NOBODY,
            members=members,
            nesting=nesting,
            read=self.round.seen[Resource.GROUPS],
            held=held,
        )
        self._returned.add(self._ask(question))

    def _stays_deleted(self, number: int) -> bool:
        """Whether somebody or something that is back is left as it was: nobody says
        which groups hold them, but a read of everything, which lists them."""
        return number in (self._unfound if self.round.full else self._unsure)

    def _stream(
        self, sort: _Sort[Row], among: Among | None
    ) -> Iterator[tuple[int, str, Row]]:
        new = attributes.in_state(sort.new, State.PRESENT, now=sort.now)
        for number, _value, what, object_id in self.round.entries(sort.resource):
            if sort.is_whole(what) and (among is None or among(number, object_id)):
                row = sort.answered(new, what)
                kept = sort.keeps(object_id, row)
                yield number, object_id, row if kept else sort.left_out(sort.new, row)

    def _is_kept(self, sort: _Sort[Row], object_id: str, what: Any) -> bool:
        picks = self._selection.filter.picks_people
        return not picks or sort.keeps(object_id, sort.answered(sort.new, what))

    def _answered(
        self,
        sort: _Sort[Row],
        number: int,
        object_id: str,
        observed: Row | None,
        what: Any,
    ) -> Row | None:
        if not isinstance(what, str):
            return self._listed(sort, number, object_id, observed or sort.new, what)
        member = number in self.named[sort.kind]
        after = observe.removed(observed, sort.new, what, member=member, now=sort.now)
        if after is None:
            self._depart(sort.kind, number, gone=what == Removed.DELETED)
        return after

    def _listed(
        self, sort: _Sort[Row], number: int, object_id: str, before: Row, what: Any
    ) -> Row:
        """Return the row of one that Entra lists, if the filter keeps it."""
        after = sort.answered(before, what)
        if not sort.keeps(object_id, after):
            return sort.left_out(before, after)
        if before.state == State.FILTERED and not self._may_return(sort, what):
            # Who is in such a group, or the rest of such a person, is not known.
            self.plan.full_read_reason = RETURNED
            self.plan.hashes[number] = NO_ANSWER
            return sort.left_out(before, after)
        return after

    def _may_return(self, sort: _Sort[Row], what: Any) -> bool:
        """Whether all came of one that the filter left out until now."""
        if self.round.full:
            return True
        return sort.kind == Kind.USER and sort.is_whole(what)

    def _note(
        self,
        sort: _Sort[Row],
        objects: Objects[Row],
        number: int,
        object_id: str,
        row: Row | None,
        after: Row | None,
        *,
        told: bool,
    ) -> None:
        """Note the difference between a row in effect and what is observed now."""
        if after is not None and after.state in observe.DEPARTED:
            self._depart(sort.kind, number, gone=after.state == GONE)
        if row is not None and after is not None and after.state == row.state:
            # Held meanwhile and taken back: in effect the state never ended.
            after = after._replace(state_since=row.state_since)
        if row is None:
            if after is not None:
                objects.new.add(number, object_id, after)
        elif after is None:
            objects.forgotten.add(number)
        elif after != row:
            objects.changes[number] = _change(row, after, told=told)

    def _depart(self, kind: Kind, number: int, *, gone: bool) -> None:
        self.departed[kind].add(number)
        if gone:
            self.gone[kind].add(number)

    def _left_out(
        self, sort: _Sort[Row], answered: BitMap
    ) -> Iterator[tuple[int, str, Row | None, Hold | None]]:
        """Yield what no answer was about: all that is held, and of a full read all
        that it left out."""
        numbers = BitMap(n for n, hold in self.holds.items() if hold.kind == sort.kind)
        if self.round.full:
            numbers |= self.register.listed[sort.kind] - self.seen
            elsewhere = sort.model._default_manager.filter(
                cloud_idp=self.cloud_idp
            ).exclude(state__in=[State.PRESENT, State.GONE])
            numbers |= BitMap(elsewhere.values_list("pk", flat=True)) - self.seen
        for some in chunks(numbers - answered):
            known, names = sort.rows(some), object_ids(some)
            for number in some:
                hold = self.holds.get(number)
                if number in known or hold is not None:
                    yield number, names[number], known.get(number), hold

    # --- Members

    def compare_members(self) -> None:
        members = self.round.members
        self._filtered = self._filtered_groups(
            union(
                BitMap(side)
                for sides in (members.users, members.groups, members.others)
                for side in (sides.joined, sides.left)
            )
        )
        self._compare_users()
        if self._ask_about_missing():
            self.plan.users.clear()
            self._compare_users()
        self._compare(
            members.groups,
            Kind.GROUP,
            self.plan.nesting,
            self._stored_nesting,
            lambda hold: hold.groups,
        )
        self._compare_others(members.others)

    def _compare_users(self) -> None:
        self._compare(
            self.round.members.users,
            Kind.USER,
            self.plan.users,
            self._stored_users,
            lambda hold: hold.users,
        )

    def _compare(
        self,
        sides: Sides,
        kind: Kind,
        changes: dict[int, MemberChange],
        stored: Callable[[BitMap], dict[int, BitMap]],
        held: Callable[[Hold], HeldSet],
    ) -> None:
        plan = self.plan
        unread = self.fresh | self._filtered
        # A person who was read alone was asked for their groups; a group for its
        # members, and not for the groups that it is in.
        fresh = self.fresh if kind == Kind.USER else _NOBODY
        # Of groups that were not here nobody who is read alone is asked.
        unheard = self._new_groups() if fresh else _NOBODY
        concerned = (BitMap(sides.joined) | BitMap(sides.left)) - unread
        concerned |= BitMap(number for number, hold in self.holds.items() if held(hold))
        asked = self._returned if kind == Kind.USER else Returned()
        concerned |= (BitMap(asked.joined) | BitMap(asked.left)) - self._filtered
        listed: BitMap = BitMap()
        if self.round.full:
            listed = self.round.seen[Resource.GROUPS] - self.departed[Kind.GROUP]
            listed -= unread
            concerned |= listed
        concerned -= self.gone[Kind.GROUP]
        before = stored(concerned)
        departed, gone = self.departed[kind], self.gone[kind]
        # What is neither held nor left out by a full read is as it was told, unless
        # somebody was asked about.
        plain = not (self.round.full or fresh or unread or self.holds or gone)
        plain = plain and not (asked.joined or asked.left)
        for group in concerned:
            had = before.get(group, _NOBODY)
            if plain:
                told = sides.left.get(group, _NOBODY)
                joined = sides.joined.get(group, _NOBODY) - had
                change = MemberChange(joined - told if told else joined, told & had)
                if change:
                    changes[group] = change
                continue
            joined, told = _NOBODY, _NOBODY
            if group not in unread:
                joined = sides.joined.get(group, _NOBODY)
                told = sides.left.get(group, _NOBODY)
                if fresh and group not in unheard:
                    known = fresh - self._held_already(group, joined & fresh)
                    joined, told = joined - known, told - fresh
            if group not in self._filtered:
                # Asked after all that was read, and after a group that was read alone:
                # that said nothing of whoever was deleted.
                came = asked.joined.get(group)
                # Whoever left since they were named will be told of: what is said of a
                # person follows what is said of groups by minutes.
                went = asked.left.get(group, _NOBODY) - joined
                if came:
                    joined, told = joined | came, told - came
                if went:
                    told = told | went
            hold = self.holds.get(group)
            sets = held(hold) if hold is not None else None
            if group in listed and not sets and joined == had and not fresh:
                continue
            observed, inferred = had, _NOBODY
            if sets:
                # Of a group that is filtered now, nobody says who joined it.
                never = sets.joined if group in self._filtered else gone
                observed = sets.observed(had, never=never)
                inferred = sets.inferred
            if group in listed:
                stay = departed | fresh | asked.certain
                after = (joined - gone) | ((observed & stay) - told)
                absent = observed - after
                inferred = inferred | absent
                if kind == Kind.USER:
                    self._missing |= absent - told
                if absent.intersect(self._unsure):
                    # Back since the groups were read, perhaps.
                    plan.full_read_reason = returned.REASON
                elif (observed & asked.certain) - joined - told:
                    # Or through another group that was nested since, or who left just
                    # before: what is said of a person follows.
                    plan.full_read_reason = returned.KEPT
            else:
                after = (observed | (joined - gone)) - told
            left = had - after
            change = MemberChange(after - had, left, (left & inferred) - told)
            if change:
                changes[group] = change
        if kind == Kind.USER:
            plan.users_before = before
        else:
            plan.nesting_before = before

    def _held_already(self, group: int, people: BitMap) -> BitMap:
        """Return whom a group holds, through others at least: whether they are direct
        members of it as well, nobody asks when they are read alone."""
        if not people:
            return people
        bitmap = GroupBitmap.objects.filter(group=group).first()
        return people & bitmap.users(nested=True) if bitmap is not None else _NOBODY

    def _new_groups(self) -> BitMap:
        changes = self.plan.groups.changes.items()
        back = (n for n, change in changes if change.state_after == PRESENT)
        return self.plan.groups.new.numbers | BitMap(back)

    def _filtered_groups(self, named: BitMap) -> BitMap:
        """Return the groups that the filter leaves out, as observed; of a read of
        changes among those whose members were named."""
        if self.round.full:
            rows = DirectoryGroup.objects.filter(
                cloud_idp=self.cloud_idp, state=State.FILTERED
            )
            found = BitMap(rows.values_list("pk", flat=True))
        else:
            self.plan.groups_before = standing_of(named)
            found = BitMap(
                number
                for number, row in self.plan.groups_before.items()
                if row[0] == State.FILTERED
            )
        for number, change in self.plan.groups.changes.items():
            if change.state_after == State.FILTERED:
                found.add(number)
            elif change.state_after is not None:
                found.discard(number)
        found |= BitMap(
            number
            for number, (_object_id, row) in self.plan.groups.new.kept.items()
            if row.state == State.FILTERED
        )
        return found

    def _stored_users(self, groups: BitMap) -> dict[int, BitMap]:
        if self.round.full:
            found = GroupBitmap.objects.filter(group__cloud_idp=self.cloud_idp)
            return {
                group: unpack(members)
                for group, members in found.values_list("group_id", "members").iterator(
                    2000
                )
            }
        # Read whole: what follows from their members is worked out from the same.
        self.plan.sets_before = stored_sets(groups)
        return {group: sets.members for group, sets in self.plan.sets_before.items()}

    def _stored_nesting(self, groups: BitMap) -> dict[int, BitMap]:
        return stored_nesting(self.cloud_idp, None if self.round.full else groups)

    def _compare_others(self, sides: Sides) -> None:
        """Devices, applications and contacts: counted, each once; nothing holds them."""
        concerned = BitMap(sides.joined) | BitMap(sides.left)
        if self.round.full:
            stored = stored_others(self.cloud_idp, None)
            concerned |= BitMap(stored) & self.round.seen[Resource.GROUPS]
        else:
            stored = stored_others(self.cloud_idp, concerned)
        for group in concerned - self.gone[Kind.GROUP] - self.fresh - self._filtered:
            had = stored.get(group, _NOBODY)
            joined = sides.joined.get(group, _NOBODY)
            if self.round.full:
                after = joined
            else:
                after = (had | joined) - sides.left.get(group, _NOBODY)
            change = MemberChange(after - had, had - after)
            if change:
                self.plan.others[group] = change


_NOBODY = BitMap()


def _change(before: Row, after: Row, *, told: bool) -> Change:
    names = [
        name
        for name, old, new in zip(before._fields, before, after, strict=True)
        if old != new
    ]
    return Change(
        before={name: getattr(before, name) for name in names},
        after={name: getattr(after, name) for name in names},
        told=told,
    )
