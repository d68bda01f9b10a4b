"""Who was in a group on a day, and by which way: memberships as they were in effect.

Current rows say what is; intervals and earlier values say what ended or began since the
first complete read. A way counts where all its steps were there at the same moment.
Times are those of the runs that brought a change: Entra does not say when it was made.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from django.db import connection
from django.db.models import F, Model, Q, QuerySet, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lead
from django.utils import timezone
from pyroaring import BitMap

from directory.models import (
    UNKNOWN_STATES,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    GroupNesting,
    MembershipInterval,
    State,
    SyncRun,
)
from directory.sync.bitmaps import union
from directory.sync.intervals import text
from directory.sync.observe import DEPARTED
from directory.sync.retention import RUNS_KEPT, intervals_kept
from directory.sync.rows import chunks
from directory.sync.stored import stored_users
from jamfidp.history.record import entries_for

M = TypeVar("M", bound=Model)
# The number of a sync run, or the name of a person of the console.
Cause = int | str | None
PRESENT = State.PRESENT.value
NOT_READ = "the directory had not been read for too long"
RESTORED = "the console’s database was restored"
UNKNOWN = frozenset(state.value for state in UNKNOWN_STATES)


# When an interval began and by which run, when it ended and by which.
_Ends = tuple[datetime | None, int | None, datetime | None, int | None]


@dataclass(frozen=True, slots=True)
class Period:
    """From when until when, and by which run, or person by name, it began and ended.

    Without a beginning it is since before anything was remembered; without an end it
    lasts.
    """

    since: datetime | None = None
    since_by: Cause = None
    until: datetime | None = None
    until_by: Cause = None

    def meets(self, other: "Period") -> "Period | None":
        """Return the time that both have in common, or None."""
        first, last = self, self
        if other.since is not None and (self.since is None or other.since > self.since):
            first = other
        if other.until is not None and (self.until is None or other.until < self.until):
            last = other
        since, until = first.since, last.until
        if since is not None and until is not None and since >= until:
            return None
        return Period(since, first.since_by, until, last.until_by)

    def covers(self, other: "Period") -> bool:
        """Whether all of the other is within this one."""
        begins = self.since is None or (
            other.since is not None and self.since <= other.since
        )
        ends = self.until is None or (
            other.until is not None and other.until <= self.until
        )
        return begins and ends


ALWAYS = Period()


@dataclass(frozen=True, slots=True)
class Day:
    """One day in the console's time zone, as far as the console knows of it."""

    date: date
    begins: datetime
    ends: datetime

    @property
    def period(self) -> Period:
        return Period(self.begins, None, self.ends, None)

    @property
    def has_begun(self) -> bool:
        return self.begins < self.ends


_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_NEVER = Day(_LONG_AGO.date(), _LONG_AGO, _LONG_AGO)


def day_of(when: date, *, now: datetime) -> Day:
    """Return a day; today ends now, and a day to come is empty."""
    zone = timezone.get_default_timezone()
    begins = datetime.combine(when, time.min, tzinfo=zone)
    ends = datetime.combine(when + timedelta(days=1), time.min, tzinfo=zone)
    return Day(when, begins, max(min(ends, now), begins))


def known_from(cloud_idp: CloudIdentityProvider, *, now: datetime) -> datetime | None:
    """Return since when memberships of a connection are known; None: not at all."""
    first = cloud_idp.first_complete_read_at
    return None if first is None else max(first, now - intervals_kept())


def enabled_periods(cloud_idp: CloudIdentityProvider, day: Day) -> list[Period]:
    """Return when a connection was switched on, by its history."""
    switched = entries_for(cloud_idp).filter(action__in=["enabled", "disabled"])
    return _was(
        cloud_idp.enabled,
        [
            (entry.at, entry.actor_name, entry.action == "disabled")
            for entry in switched.filter(at__gt=day.begins).order_by("at", "pk")
        ],
    )


def nested_periods(cloud_idp: CloudIdentityProvider, day: Day) -> list[Period]:
    """Return when nested groups counted for those who sign in, by the history."""
    option = "transitive_membership_enabled"
    changed = entries_for(cloud_idp).filter(details__has_key=option)
    return _was(
        cloud_idp.transitive_membership_enabled,
        [
            (entry.at, entry.actor_name, bool(entry.details[option][0]))
            for entry in changed.filter(at__gt=day.begins).order_by("at", "pk")
        ],
    )


def runs_known_from(*, now: datetime) -> datetime:
    """Return since when it is known when directories were read."""
    return now - RUNS_KEPT


def unread_periods(
    cloud_idp: CloudIdentityProvider, *, longer_than: timedelta, now: datetime
) -> list[Period]:
    """Return when a connection had not been read for so long, or not since a restore.

    As far as its runs are kept; before that nothing is said.
    """
    known = runs_known_from(now=now)
    good = SyncRun.objects.reads().filter(
        cloud_idp=cloud_idp,
        state=SyncRun.State.SUCCEEDED,
        dry_run=False,
        finished_at__gt=known,
    )
    unread = [
        Period(at + longer_than, NOT_READ, following, following_run)
        for at, following, following_run in good.annotate(
            following=Window(Lead("finished_at"), order_by=["finished_at", "pk"]),
            following_run=Window(Lead("pk"), order_by=["finished_at", "pk"]),
        )
        .filter(
            Q(following=None) | Q(following__gt=F("finished_at") + longer_than),
        )
        .order_by("finished_at")
        .values_list("finished_at", "following", "following_run")
        if at is not None and at + longer_than < now
    ]
    restored = cloud_idp.restored_at
    if restored is not None and restored > known:
        until, until_by = (
            good.filter(finished_at__gt=restored)
            .order_by("finished_at")
            .values_list("finished_at", "pk")
            .first()
        ) or (None, None)
        unread.append(Period(restored, RESTORED, until, until_by))
    return unread


def _was(now: bool, changes: Iterable[tuple[datetime, str, bool]]) -> list[Period]:
    """Return when something was so, from what it was before each change."""
    found: list[Period] = []
    since: datetime | None = None
    since_by: Cause = None
    for at, by, before in changes:
        if before:
            found.append(Period(since, since_by, at, by))
        since, since_by = at, by
    return [*found, Period(since, since_by)] if now else found


@dataclass(frozen=True, slots=True)
class Way:
    """How a person was in a group, and for how long all of it held.

    `path` are numbers of groups, nearest the person first, the group itself last.
    """

    path: Sequence[int]
    period: Period

    @property
    def direct(self) -> bool:
        return len(self.path) == 1


@dataclass(frozen=True, slots=True)
class _Reach:
    """A group whose members counted for the group asked about, during a period."""

    group: int
    period: Period
    above: "_Reach | None" = None

    @property
    def path(self) -> tuple[int, ...]:
        rest = () if self.above is None else self.above.path
        return (self.group, *rest)


@dataclass(slots=True)
class MembersOn:
    """The members of a group on a day.

    `unknown` are groups whose own members are not known for some of that time: a
    reason why there may have been more.
    """

    numbers: BitMap = field(default_factory=BitMap)
    unknown: BitMap = field(default_factory=BitMap)
    # Named as members and not in effect: deleted then, filtered out, not readable.
    not_in_effect: BitMap = field(default_factory=BitMap)
    # Of the members, those who are not in the directory now: no row says so.
    departed: BitMap = field(default_factory=BitMap)
    # Who was directly in each of the groups that counted, while it was reached.
    _reaches: list[tuple[_Reach, BitMap]] = field(default_factory=list)
    _stays: "_Stays" = field(default_factory=lambda: _Stays(_NEVER))
    _present: Mapping[int, Sequence[Period]] = field(default_factory=dict)

    def way(self, number: int) -> Way | None:
        """Return the shortest way in that held for some time of that day."""
        return next(iter(self.ways(number)), None)

    def ways(self, number: int) -> Iterator[Way]:
        """Yield the ways in, the shortest first."""
        present = self._present.get(number, (ALWAYS,))
        for reach, people in self._reaches:
            if number not in people:
                continue
            stays = common([reach.period], self._stays.of(reach.group, number))
            for period in common(stays, present):
                if period.meets(self._stays.day.period):
                    yield Way(reach.path, period)


def members_on(group: DirectoryGroup, day: Day, *, nested: bool) -> MembersOn:
    """Return who was a member of a group at any time of a day, as was in effect then.

    Deleted people were in no group; a deleted group held nobody, and passed on nobody
    to the groups above it.
    """
    stays = _Stays(day)
    found = MembersOn(_stays=stays)
    whole = _Reach(group.pk, ALWAYS)
    found._reaches = [
        (reach, stays.people(reach))
        for reach in _reaches(whole, stays, found, nested=nested)
    ]
    found.numbers = union(people for _reach, people in found._reaches)
    there = _now(found.numbers, Q(state=PRESENT))
    # By far the most were there all day: what is remembered of the others is read.
    doubtful = (found.numbers - there) | _changed(found.numbers, ["state"], day)
    found._present = present_periods(doubtful, day)
    for number in BitMap(found._present):
        if found.way(number) is None:
            found.numbers.discard(number)
            found.not_in_effect.add(number)
    found.departed = found.numbers - there
    return found


def _now(people: BitMap, is_so: Q) -> BitMap:
    """Return those of the people of whom something is so now."""
    rows = DirectoryUser.objects.filter(is_so)
    return BitMap(pk for (pk,) in _pairs(rows, "pk", people, "pk"))


def _changed(people: BitMap, attributes: Sequence[str], day: Day) -> BitMap:
    """Return those of the people of whom one of the attributes has changed since."""
    earlier = EarlierValue.objects.filter(
        attribute__in=attributes, to_at__gt=day.begins
    )
    return BitMap(number for (number,) in _pairs(earlier, "number", people, "number"))


def _reaches(
    whole: _Reach, stays: "_Stays", found: MembersOn, *, nested: bool
) -> list[_Reach]:
    """Follow nesting downwards, breadth first; a cycle adds no time and ends there."""
    day = stays.day.period
    holding: list[_Reach] = []
    reached: dict[int, list[Period]] = defaultdict(list)
    reached[whole.group].append(day)
    frontier = [whole]
    while frontier:
        numbers = BitMap(reach.group for reach in frontier)
        stays.load(numbers)
        states = _states(DirectoryGroup, numbers, stays.day)
        hidden = _hidden(numbers, stays.day)
        below: list[_Reach] = []
        for reach in frontier:
            there = states.get(reach.group, ())
            holding += [
                _Reach(reach.group, period, reach.above)
                for period in common(
                    [reach.period], [each for each, state in there if state == PRESENT]
                )
                if period.meets(day)
            ]
            unknown = [each for each, state in there if state in UNKNOWN]
            unknown += hidden.get(reach.group, ())
            if any(each.meets(day) for each in common([reach.period], unknown)):
                found.unknown.add(reach.group)
            if not nested:
                continue
            passing = common(
                [reach.period],
                [each for each, state in there if state not in DEPARTED],
            )
            below += [
                _Reach(child, period, reach)
                for child, stay in stays.groups(reach.group)
                for period in common(passing, [stay])
                if period.meets(day)
            ]
        frontier = []
        for reach in below:
            known = reached[reach.group]
            today = reach.period.meets(day)
            if today is None or any(each.covers(today) for each in known):
                continue
            known.append(today)
            frontier.append(reach)
    return holding


def common(some: Iterable[Period], others: Iterable[Period]) -> list[Period]:
    """Return the times that one of the first and one of the others have in common."""
    others = list(others)
    met = (one.meets(other) for one in some for other in others)
    return [period for period in met if period is not None]


def without(some: Iterable[Period], others: Iterable[Period]) -> list[Period]:
    """Return the times without those of the others."""
    left = list(some)
    for other in others:
        outside = []
        if other.since is not None:
            outside.append(Period(None, None, other.since, other.since_by))
        if other.until is not None:
            outside.append(Period(other.until, other.until_by))
        left = common(left, outside)
    return left


class _Stays:
    """When whom was a direct member of the groups looked at, on one day."""

    def __init__(self, day: Day) -> None:
        self.day = day
        # Members, people and groups, of whom no interval tells: they always were.
        self._always: dict[int, BitMap] = {}
        # The ends of the intervals that meet the day; few of them are looked at.
        self._told: dict[int, dict[int, list[_Ends]]] = {}
        self._groups: BitMap = BitMap()

    def load(self, numbers: BitMap) -> None:
        wanted = numbers - BitMap(self._always)
        current = stored_users(wanted)
        for parent, child in _pairs(
            GroupNesting.objects.all(), "parent_id", wanted, "parent_id", "child_id"
        ):
            current.setdefault(parent, BitMap()).add(child)
            self._groups.add(child)
        told: dict[int, dict[int, list[_Ends]]] = defaultdict(dict)
        begun: dict[int, list[int]] = defaultdict(list)
        lasting = MembershipInterval.objects.exclude(to_at__lte=self.day.begins)
        for group, member in _pairs(
            lasting.filter(to_at=None, from_at__gte=self.day.ends),
            "group_id",
            wanted,
            "group_id",
            "member_id",
        ):
            begun[group].append(member)
        for group, member, *ends in _pairs(
            lasting.exclude(from_at__gte=self.day.ends),
            "group_id",
            wanted,
            "group_id",
            "member_id",
            "from_at",
            "from_run",
            "to_at",
            "to_run",
        ):
            since, since_by, until, until_by = ends
            if until is None:
                begun[group].append(member)
            elif since == until:
                continue
            told[group].setdefault(member, []).append(
                (since, since_by, until, until_by)
            )
        named = union(BitMap(members) for members in told.values())
        self._groups |= BitMap(
            pk
            for (pk,) in _pairs(
                DirectoryObject.objects.filter(kind=DirectoryObject.Kind.GROUP),
                "pk",
                named,
                "pk",
            )
        )
        for group in wanted:
            self._always[group] = current.get(group, BitMap()) - BitMap(begun[group])
            self._told[group] = dict(told[group])

    def of(self, group: int, member: int) -> Iterator[Period]:
        if member in self._always[group]:
            yield ALWAYS
        for ends in self._told[group].get(member, ()):
            yield Period(*ends)

    def people(self, reach: _Reach) -> BitMap:
        """Return who was a direct member while the group was reached."""
        told = self._told[reach.group]
        if reach.period.covers(self.day.period):
            return (self._always[reach.group] | BitMap(told)) - self._groups
        during = reach.period.meets(self.day.period)
        met = BitMap(
            member
            for member, stays in told.items()
            if during and any(during.meets(Period(*ends)) for ends in stays)
        )
        return (self._always[reach.group] | met) - self._groups

    def groups(self, group: int) -> Iterator[tuple[int, Period]]:
        members = (self._always[group] | BitMap(self._told[group])) & self._groups
        for member in members:
            for period in self.of(group, member):
                yield member, period


def present_periods(people: BitMap, day: Day) -> dict[int, list[Period]]:
    """Return when these people were in the directory, of those who were not always."""
    return {
        number: [period for period, state in states if state == PRESENT]
        for number, states in _states(DirectoryUser, people, day, but=PRESENT).items()
    }


def active_periods(people: BitMap, day: Day) -> dict[int, list[Period]]:
    """Return when these people were enabled members of the tenant, and not guests.

    What is not known is no.
    """
    active = _now(
        people,
        Q(state=PRESENT, account_enabled=True)
        & ~Q(user_type="")
        & ~Q(user_type__iexact="guest"),
    ) - _changed(people, ["state", "account_enabled", "user_type"], day)
    always = {number: [ALWAYS] for number in active}
    return always | _active_periods(people - active, day)


def _active_periods(people: BitMap, day: Day) -> dict[int, list[Period]]:
    there = values_on(DirectoryUser, "state", people, day)
    enabled = values_on(DirectoryUser, "account_enabled", people, day)
    types = values_on(DirectoryUser, "user_type", people, day)
    return {
        number: common(
            common(
                [period for period, state in pieces if state == PRESENT],
                [each for each, value in enabled.get(number, ()) if value == "true"],
            ),
            [
                each
                for each, value in types.get(number, ())
                if value and value.lower() != "guest"
            ],
        )
        for number, pieces in there.items()
    }


def values_on(
    model: type[DirectoryUser] | type[DirectoryGroup],
    attribute: str,
    numbers: BitMap,
    day: Day,
) -> dict[int, list[tuple[Period, str]]]:
    """Return what an attribute was on a day, as it is remembered, piece by piece.

    Of those who were erased only what `retention` left of it; who is not in the answer
    has never had it.
    """
    now = {
        number: text(value)
        for number, value in _pairs(
            model._default_manager.all(), "pk", numbers, "pk", attribute
        )
    }
    ended: dict[int, list[tuple[datetime, int | None, str]]] = defaultdict(list)
    earlier = EarlierValue.objects.filter(
        attribute=attribute, to_at__gt=day.begins
    ).order_by("to_at", "pk")
    for number, *rest in _pairs(
        earlier, "number", numbers, "number", "to_at", "to_run", "value"
    ):
        ended[number].append((rest[0], rest[1], rest[2]))
    found: dict[int, list[tuple[Period, str]]] = {}
    for number in BitMap(now) | BitMap(ended):
        since, since_by, pieces = None, None, []
        for at, run, value in ended.get(number, ()):
            pieces.append((Period(since, since_by, at, run), value))
            since, since_by = at, run
        if number in now:
            pieces.append((Period(since, since_by), now[number]))
        found[number] = pieces
    return found


def _states(
    model: type[DirectoryUser] | type[DirectoryGroup],
    numbers: BitMap,
    day: Day,
    *,
    but: str = "",
) -> dict[int, list[tuple[Period, str]]]:
    """Return the states of people or groups; without those that always were `but`."""
    found = values_on(model, "state", numbers, day)
    return {
        number: pieces
        for number, pieces in found.items()
        if len(pieces) > 1 or pieces[0][1] != but
    } | {number: [] for number in numbers - BitMap(found)}


def _hidden(groups: BitMap, day: Day) -> dict[int, list[Period]]:
    return {
        number: hidden
        for number, pieces in values_on(
            DirectoryGroup, "hidden_membership", groups, day
        ).items()
        if (hidden := [period for period, value in pieces if value == "true"])
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """What a group was at one time of a day: in a state, its members hidden or not."""

    period: Period
    state: str
    hidden: bool

    @property
    def members_known(self) -> bool:
        return self.state not in UNKNOWN and not self.hidden


def standings(group: DirectoryGroup, day: Day) -> list[Standing]:
    """Return what a group was on a day, one after the other."""
    numbers = BitMap([group.pk])
    hidden = values_on(DirectoryGroup, "hidden_membership", numbers, day)[group.pk]
    return [
        Standing(period, state, value == "true")
        for state_period, state in values_on(DirectoryGroup, "state", numbers, day)[
            group.pk
        ]
        for value_period, value in hidden
        if (period := state_period.meets(value_period)) and period.meets(day.period)
    ]


def _pairs(
    rows: QuerySet[M, Any], key: str, numbers: BitMap, *columns: str
) -> Iterator[tuple[Any, ...]]:
    """Yield columns of the rows whose key is among these numbers."""
    if not numbers:
        return
    yield from rows.filter(**{f"{key}__in": among(numbers)}).values_list(*columns)


def among(numbers: Iterable[int]) -> RawSQL:
    """Any amount of numbers as one parameter: databases limit how many there are."""
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::int[])", [list(numbers)])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(list(numbers))])


def names_of(numbers: Iterable[int]) -> dict[int, DirectoryGroup]:
    """Return the groups that still have a row, by number."""
    return {
        group.pk: group
        for some in chunks(numbers)
        for group in DirectoryGroup.objects.filter(pk__in=some)
    }
