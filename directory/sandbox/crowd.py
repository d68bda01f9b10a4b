"""The people and groups around the named cast, worked out from their position.

Nothing is kept of them but a few random bytes each: a property is computed when it is
asked for, so a million people cost some megabytes.
"""

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from directory.sandbox import names
from directory.sandbox.company import DEPARTMENTS, QUARREL, Company, Group, GroupKind
from directory.sandbox.directory_object import Properties
from directory.sandbox.properties import group_properties

_EPOCH = datetime(2021, 3, 1, 9, 0, tzinfo=UTC)
_NUMBERED = re.compile(r"(?P<name>.*?)(?P<turn>[0-9]{0,9})", re.DOTALL)


class Draw(IntEnum):
    """What chance decides of a person: a byte for each."""

    GIVEN_NAME = 0
    SURNAME = 1
    DEPARTMENT = 2
    JOB_TITLE = 3
    OFFICE = 4
    IS_GUEST = 5
    HAS_MAIL = 6
    IS_ENABLED = 7
    HAS_DEPARTMENT = 8
    HAS_MOBILE_PHONE = 9
    HAS_OFFICE = 10


def _below(share: float) -> int:
    """Return the byte below which that share of all bytes is."""
    return round(share * 256)


def _by_byte(choices: Sequence[str]) -> list[str]:
    return [choices[byte % len(choices)] for byte in range(256)]


_GUEST, _MAIL, _DISABLED = _below(0.03), _below(0.97), _below(0.02)
_DEPARTMENT, _MOBILE, _OFFICE = _below(0.95), _below(0.6), _below(0.8)
# What a drawn byte stands for.
_GIVEN, _GIVEN_IN_ASCII = (
    _by_byte(each) for each in zip(*names.GIVEN_NAMES, strict=True)
)
_SURNAME, _SURNAME_IN_ASCII = (
    _by_byte(each) for each in zip(*names.SURNAMES, strict=True)
)
_OFFICES = _by_byte(names.OFFICES)
_TITLES = {
    department: _by_byte(titles) for department, titles in names.JOB_TITLES.items()
}
_STRETCH = 4_096
_MICROSOFT_365, _MAIL_ENABLED = _below(0.25), _below(0.35)


def draw_people(count: int, source: random.Random) -> bytes:
    return source.randbytes(len(Draw) * count)


def draw_projects(count: int, source: random.Random) -> bytes:
    return source.randbytes(count)


class People:
    """The crowd of a company. ``draws`` holds a column of bytes for each Draw."""

    def __init__(self, company: Company, count: int, draws: memoryview) -> None:
        self.company = company
        self.count = count
        self.departments = ("Office",) if company is QUARREL else DEPARTMENTS
        self._columns = [draws[count * each : count * (each + 1)] for each in Draw]
        self._first = self._first_of_each_name()

    def drawn(self, draw: Draw, positions: range) -> memoryview:
        return self._columns[draw][positions.start : positions.stop]

    def stretch(self, position: int, count: int) -> "Stretch":
        return Stretch(self, range(position, min(position + count, self.count)))

    def position_of(self, upn: str) -> int | None:
        """Return who has a principal name; its case does not matter."""
        local = upn.casefold().rpartition("@")[0].removesuffix("_partner.example#ext#")
        found = _NUMBERED.fullmatch(local)
        if found is None:
            return None
        if found["turn"]:
            position = int(found["turn"]) - 2
        else:
            position = self._first.get(found["name"], -1)
        if not 0 <= position < self.count:
            return None
        (actual,) = _upns(self, range(position, position + 1))
        return position if actual.casefold() == upn.casefold() else None

    def locals(self, positions: range) -> list[str]:
        """Return what stands before the @: the name, numbered unless it is the first."""
        first = self._first
        return [
            name if first[name] == position else f"{name}{position + 2}"
            for position, name in zip(positions, self._names(positions), strict=True)
        ]

    def _names(self, positions: range) -> list[str]:
        """Return the names as they are written in ASCII: given.surname."""
        return [
            f"{_GIVEN_IN_ASCII[given]}.{_SURNAME_IN_ASCII[surname]}"
            for given, surname in zip(
                self.drawn(Draw.GIVEN_NAME, positions),
                self.drawn(Draw.SURNAME, positions),
                strict=True,
            )
        ]

    def _first_of_each_name(self) -> dict[str, int]:
        # Nobody of the crowd gets the address of one of the cast.
        first = {person.upn.partition("@")[0]: -1 for person in self.company.people}
        left = {
            f"{given}.{surname}"
            for given, surname in itertools.product(_GIVEN_IN_ASCII, _SURNAME_IN_ASCII)
        } - first.keys()
        for start in range(0, self.count, _STRETCH):
            positions = range(start, min(start + _STRETCH, self.count))
            for position, name in zip(positions, self._names(positions), strict=True):
                first.setdefault(name, position)
            left -= first.keys()
            if not left:
                break
        return first


Column = Callable[[People, range], Sequence[Any]]


def _guests(people: People, positions: range) -> list[bool]:
    return [byte < _GUEST for byte in people.drawn(Draw.IS_GUEST, positions)]


def _given_names(people: People, positions: range) -> list[str]:
    return [_GIVEN[byte] for byte in people.drawn(Draw.GIVEN_NAME, positions)]


def _surnames(people: People, positions: range) -> list[str]:
    return [_SURNAME[byte] for byte in people.drawn(Draw.SURNAME, positions)]


def _display_names(people: People, positions: range) -> list[str]:
    return [
        f"{_GIVEN[given]} {_SURNAME[surname]}"
        for given, surname in zip(
            people.drawn(Draw.GIVEN_NAME, positions),
            people.drawn(Draw.SURNAME, positions),
            strict=True,
        )
    ]


def _upns(people: People, positions: range) -> list[str]:
    member = f"@{people.company.domain}"
    guest = f"_partner.example#EXT#@{people.company.initial_domain}"
    return [
        local + (guest if byte < _GUEST else member)
        for local, byte in zip(
            people.locals(positions),
            people.drawn(Draw.IS_GUEST, positions),
            strict=True,
        )
    ]


def _mails(people: People, positions: range) -> list[str | None]:
    member, guest = f"@{people.company.domain}", "@partner.example"
    return [
        local + (guest if is_guest < _GUEST else member) if has_mail < _MAIL else None
        for local, is_guest, has_mail in zip(
            people.locals(positions),
            people.drawn(Draw.IS_GUEST, positions),
            people.drawn(Draw.HAS_MAIL, positions),
            strict=True,
        )
    ]


def _departments(people: People, positions: range) -> list[str | None]:
    known = people.departments
    return [
        known[byte % len(known)] if has_department < _DEPARTMENT else None
        for byte, has_department in zip(
            people.drawn(Draw.DEPARTMENT, positions),
            people.drawn(Draw.HAS_DEPARTMENT, positions),
            strict=True,
        )
    ]


def _job_titles(people: People, positions: range) -> list[str | None]:
    return [
        _TITLES[department][byte] if department else None
        for department, byte in zip(
            _departments(people, positions),
            people.drawn(Draw.JOB_TITLE, positions),
            strict=True,
        )
    ]


def _mobile_phones(people: People, positions: range) -> list[str | None]:
    return [
        f"+44 7700 {position % 1_000_000:06d}" if byte < _MOBILE else None
        for position, byte in zip(
            positions, people.drawn(Draw.HAS_MOBILE_PHONE, positions), strict=True
        )
    ]


def _offices(people: People, positions: range) -> list[str | None]:
    return [
        f"{_OFFICES[byte]} {1 + position % 5}.{position % 40:02d}"
        if has_office < _OFFICE
        else None
        for position, byte, has_office in zip(
            positions,
            people.drawn(Draw.OFFICE, positions),
            people.drawn(Draw.HAS_OFFICE, positions),
            strict=True,
        )
    ]


def _creation_times(_people: People, positions: range) -> list[str]:
    moments = (
        _EPOCH + timedelta(minutes=7 * (position % 250_000)) for position in positions
    )
    return [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]


def _one_or_other(guest: str | None, member: str | None) -> Column:
    return lambda people, positions: [
        guest if is_guest else member for is_guest in _guests(people, positions)
    ]


def _company_names(people: People, positions: range) -> list[str | None]:
    company = people.company.display_name
    return [None if is_guest else company for is_guest in _guests(people, positions)]


def _employee_ids(people: People, positions: range) -> list[str | None]:
    return [
        None if is_guest else f"E-{position + 100:06d}"
        for position, is_guest in zip(
            positions, _guests(people, positions), strict=True
        )
    ]


_PERSON: Mapping[str, Column] = {
    "displayName": _display_names,
    "givenName": _given_names,
    "surname": _surnames,
    "userPrincipalName": _upns,
    "mail": _mails,
    "mailNickname": People.locals,
    "accountEnabled": lambda people, positions: [
        byte >= _DISABLED for byte in people.drawn(Draw.IS_ENABLED, positions)
    ],
    "userType": _one_or_other("Guest", "Member"),
    "createdDateTime": _creation_times,
    "externalUserState": _one_or_other("Accepted", None),
    "creationType": _one_or_other("Invitation", None),
    "companyName": _company_names,
    "employeeId": _employee_ids,
    "department": _departments,
    "jobTitle": _job_titles,
    "mobilePhone": _mobile_phones,
    "officeLocation": _offices,
}


class Stretch:
    """Neighbors in the crowd: a property is worked out for all of them at once."""

    __slots__ = ("_columns", "_people", "positions")

    def __init__(self, people: People, positions: range) -> None:
        self._people = people
        self.positions = positions
        self._columns: dict[str, Sequence[Any] | None] = {}

    def column(self, name: str) -> Sequence[Any] | None:
        """Return a property of each of them, or None when nobody has it."""
        try:
            return self._columns[name]
        except KeyError:
            column = _PERSON.get(name)
            made = column(self._people, self.positions) if column else None
            self._columns[name] = made
            return made

    def properties(self, position: int) -> "PersonProperties":
        return PersonProperties(self, position - self.positions.start)


class PersonProperties(Mapping[str, Any]):
    """What is known of one of the crowd, worked out when it is asked for."""

    __slots__ = ("_place", "_stretch")

    def __init__(self, stretch: Stretch, place: int) -> None:
        self._stretch = stretch
        self._place = place

    def get(self, name: str, default: Any = None) -> Any:
        # Mapping.get would raise and catch a KeyError for each unset property.
        column = self._stretch.column(name)
        value = None if column is None else column[self._place]
        return default if value is None else value

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _PERSON if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _name in self)


@dataclass(frozen=True, slots=True)
class Projects:
    """The groups without a purpose. ``draws`` holds a byte for each."""

    company: Company
    draws: memoryview

    def properties(self, position: int, object_id: str) -> Properties:
        return group_properties(self._group(position, object_id))

    def _group(self, position: int, object_id: str) -> Group:
        turn, tree = divmod(position, len(names.TREES))
        name = f"Project {names.TREES[tree]}" + (f" {turn + 1}" if turn else "")
        nickname = name.lower().replace(" ", "-")
        byte = self.draws[position]
        kind = GroupKind.SECURITY
        if byte < _MICROSOFT_365:
            kind = GroupKind.MICROSOFT_365
        elif byte < _MAIL_ENABLED:
            kind = GroupKind.MAIL_ENABLED_SECURITY
        mailed = kind is not GroupKind.SECURITY
        return Group(
            object_id=object_id,
            display_name=name,
            nickname=nickname,
            kind=kind,
            mail=f"{nickname}@{self.company.domain}" if mailed else None,
        )
