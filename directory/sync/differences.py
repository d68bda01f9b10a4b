"""A plan: the differences between what Entra says and what is in effect.

Everything is named by number, see DirectoryObject.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple

from pyroaring import BitMap

from directory.models import CloudIdentityProvider, State
from directory.sync.attributes import GroupRow, Row, UserRow
from directory.sync.holds import Hold
from directory.sync.stage import Pages

PRESENT = State.PRESENT.value
GONE = State.GONE.value
# Of a group in these states no members are known.
WITHOUT_MEMBERS = frozenset({State.GONE.value, State.FILTERED.value})


# Whether somebody is wanted, by number and object id.
Among = Callable[[int, str], bool]


@dataclass(slots=True)
class Change:
    """How a person or group that has a row will differ: the columns that do."""

    before: dict[str, Any]
    after: dict[str, Any]
    # False where a full read left it out, without Entra saying so.
    told: bool = True

    @property
    def state_before(self) -> str | None:
        """The state that ends, or None when the state stays."""
        return self.before.get("state")

    @property
    def state_after(self) -> str | None:
        return self.after.get("state")


# The hash of somebody who is present and of whom more is known than came: no answer
# has it, so that the next one is looked at.
NO_ANSWER = 0


@dataclass(slots=True)
class MemberChange:
    """Members that a group gains and loses; `inferred` as in HeldSet."""

    joined: BitMap = field(default_factory=BitMap)
    left: BitMap = field(default_factory=BitMap)
    inferred: BitMap = field(default_factory=BitMap)

    def __bool__(self) -> bool:
        return bool(self.joined or self.left)


class Came(NamedTuple):
    """Who came on pages of which all is taken as it came, each of them once."""

    numbers: BitMap
    pages: Pages


@dataclass(slots=True)
class NewObjects(Generic[Row]):
    """People or groups who will get a row. Of a first read they stay in their pages."""

    numbers: BitMap = field(default_factory=BitMap)
    # Those that are in the directory; the others are deleted, filtered or mentioned.
    present: BitMap = field(default_factory=BitMap)
    kept: dict[int, tuple[str, Row]] = field(default_factory=dict)
    # Given which of them are wanted, before their rows are made.
    stream: Callable[[Among | None], Iterator[tuple[int, str, Row]]] | None = None
    # The same of those who need no look, where that is everybody.
    came: Came | None = None

    def rows(self, among: Among | None = None) -> Iterator[tuple[int, str, Row]]:
        """Yield number, object id and row: all, or those among them that are wanted."""
        yield from self.kept_rows(among)
        for number, object_id, row in self.stream(among) if self.stream else ():
            if number in self.numbers and number not in self.kept:
                yield number, object_id, row

    def kept_rows(self, among: Among | None = None) -> Iterator[tuple[int, str, Row]]:
        """Yield of these the ones that are in no page."""
        for number, (object_id, row) in self.kept.items():
            if number in self.numbers and (among is None or among(number, object_id)):
                yield number, object_id, row

    def add(self, number: int, object_id: str, row: Row) -> None:
        self.numbers.add(number)
        self.kept[number] = (object_id, row)
        if row.state == PRESENT:
            self.present.add(number)

    def discard(self, numbers: BitMap) -> None:
        self.numbers -= numbers
        self.present -= numbers


@dataclass(slots=True)
class Objects(Generic[Row]):
    """What a plan does to people, or to groups."""

    changes: dict[int, Change] = field(default_factory=dict)
    new: NewObjects[Row] = field(default_factory=NewObjects)
    # Rows of whom nothing was known but that somebody named them, and nobody does.
    forgotten: BitMap = field(default_factory=BitMap)


class UserSets(NamedTuple):
    """The bitmaps of a group's people as they stand; see GroupBitmap."""

    members: BitMap = BitMap()
    direct: BitMap = BitMap()
    transitive: BitMap = BitMap()


@dataclass(slots=True)
class Plan:
    """Differences between observed and in effect, by number.

    After `settle` what is held stands in `holds` and nowhere else.
    """

    cloud_idp: CloudIdentityProvider
    full: bool
    now: datetime
    generation: int
    # When the read began.
    began_at: datetime | None = None
    # Of a read of one person or group: which.
    asked: int | None = None
    # Objects that have a row, as far as that is known without asking.
    listed: BitMap = field(default_factory=BitMap)
    people: Objects[UserRow] = field(default_factory=Objects)
    groups: Objects[GroupRow] = field(default_factory=Objects)
    # Members that change by group: people, groups, and what is neither.
    users: dict[int, MemberChange] = field(default_factory=dict)
    nesting: dict[int, MemberChange] = field(default_factory=dict)
    others: dict[int, MemberChange] = field(default_factory=dict)
    # What stood before: the members and nested groups of those that change.
    users_before: dict[int, BitMap] = field(default_factory=dict)
    nesting_before: dict[int, BitMap] = field(default_factory=dict)
    # Of a read of changes all bitmaps of the groups that it compared.
    sets_before: dict[int, UserSets] = field(default_factory=dict)
    # States and counts of groups as they stand, and states of people, as far as they
    # were read; see `stored.standing_of`.
    groups_before: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    people_before: dict[int, str] = field(default_factory=dict)
    hashes: dict[int, int | None] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    holds_before: dict[int, Hold] = field(default_factory=dict)
    # Losses of privileges that nobody confirmed: a person and the group, or None for the
    # person themselves, with what Microsoft said.
    unconfirmed: dict[tuple[int, int | None], str] = field(default_factory=dict)
    # Decisions that no longer hold: the held change, by primary key, and why.
    decisions_over: dict[int, str] = field(default_factory=dict)
    # What is lost, for the limits of the next 24 hours.
    losses: dict[str, Any] = field(default_factory=dict)
    # What `foresee` found, where a guard has asked.
    foreseen: Any = None
    # Why changes alone do not do any more: the next read has to be a full one.
    full_read_reason: str = ""
    # In words of the run's page: what changed, counted.
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether somebody or something comes, changes, or joins or leaves a group."""
        return bool(
            self.people.changes
            or self.groups.changes
            or self.users
            or self.nesting
            or self.people.new.numbers
        )

    def member_changes(self) -> Iterator[tuple[int, MemberChange]]:
        yield from self.users.items()
        yield from self.nesting.items()
