"""The people and groups around the named cast, worked out from their position.

Nothing is kept of them but a few random bytes each: a property is computed when it is
asked for, so a million people cost some megabytes.
"""

import itertools
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from directory.sandbox import names
from directory.sandbox.company import DEPARTMENTS, QUARREL, Company, Group, GroupKind
from directory.sandbox.directory_object import Computed, Properties
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


_GUEST, _MAIL, _DISABLED = _below(0.03), _below(0.97), _below(0.02)
_DEPARTMENT, _MOBILE, _OFFICE = _below(0.95), _below(0.6), _below(0.8)
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
        self.columns = [draws[count * each : count * (each + 1)] for each in Draw]
        self._first = self._first_of_each_name()

    def properties(self, position: int) -> Properties:
        return Computed(_PERSON, self, position)

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
        known = 0 <= position < self.count
        return (
            position
            if known and _upn(self, position).casefold() == upn.casefold()
            else None
        )

    def name(self, position: int) -> str:
        """Return the part of the names that is written in ASCII: given.surname."""
        given = _pick(names.GIVEN_NAMES, self.columns[Draw.GIVEN_NAME][position])
        surname = _pick(names.SURNAMES, self.columns[Draw.SURNAME][position])
        return f"{given[1]}.{surname[1]}"

    def local(self, position: int) -> str:
        """Return what stands before the @: the name, numbered unless it is the first."""
        name = self.name(position)
        return name if self._first[name] == position else f"{name}{position + 2}"

    def _first_of_each_name(self) -> dict[str, int]:
        # Nobody of the crowd gets the address of one of the cast.
        first = {person.upn.partition("@")[0]: -1 for person in self.company.people}
        left = {
            f"{given}.{surname}"
            for (_, given), (_, surname) in itertools.product(
                names.GIVEN_NAMES, names.SURNAMES
            )
        } - first.keys()
        for position in range(self.count):
            if not left:
                break
            name = self.name(position)
            if name in left:
                left.remove(name)
                first[name] = position
        return first


def _pick(choices: Any, byte: int) -> Any:
    return choices[byte % len(choices)]


def _is_guest(people: People, position: int) -> bool:
    return people.columns[Draw.IS_GUEST][position] < _GUEST


def _given_name(people: People, position: int) -> str:
    byte = people.columns[Draw.GIVEN_NAME][position]
    return names.GIVEN_NAMES[byte % len(names.GIVEN_NAMES)][0]


def _surname(people: People, position: int) -> str:
    byte = people.columns[Draw.SURNAME][position]
    return names.SURNAMES[byte % len(names.SURNAMES)][0]


def _display_name(people: People, position: int) -> str:
    return f"{_given_name(people, position)} {_surname(people, position)}"


def _upn(people: People, position: int) -> str:
    local = people.local(position)
    if _is_guest(people, position):
        return f"{local}_partner.example#EXT#@{people.company.initial_domain}"
    return f"{local}@{people.company.domain}"


def _mail(people: People, position: int) -> str | None:
    if people.columns[Draw.HAS_MAIL][position] >= _MAIL:
        return None
    guest = _is_guest(people, position)
    domain = "partner.example" if guest else people.company.domain
    return f"{people.local(position)}@{domain}"


def _department(people: People, position: int) -> str | None:
    if people.columns[Draw.HAS_DEPARTMENT][position] >= _DEPARTMENT:
        return None
    byte = people.columns[Draw.DEPARTMENT][position]
    return people.departments[byte % len(people.departments)]


def _job_title(people: People, position: int) -> str | None:
    department = _department(people, position)
    if department is None:
        return None
    titles = names.JOB_TITLES[department]
    return titles[people.columns[Draw.JOB_TITLE][position] % len(titles)]


def _mobile_phone(people: People, position: int) -> str | None:
    if people.columns[Draw.HAS_MOBILE_PHONE][position] >= _MOBILE:
        return None
    return f"+44 7700 {position % 1_000_000:06d}"


def _office(people: People, position: int) -> str | None:
    if people.columns[Draw.HAS_OFFICE][position] >= _OFFICE:
        return None
    office = names.OFFICES[people.columns[Draw.OFFICE][position] % len(names.OFFICES)]
    return f"{office} {1 + position % 5}.{position % 40:02d}"


def _created_at(_people: People, position: int) -> str:
    moment = _EPOCH + timedelta(minutes=7 * (position % 250_000))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_members(
    maker: Callable[[People, int], Any],
) -> Callable[[People, int], Any]:
    return lambda people, position: (
        None if _is_guest(people, position) else maker(people, position)
    )


def _of_guests(value: str) -> Callable[[People, int], str | None]:
    return lambda people, position: value if _is_guest(people, position) else None


_PERSON: Mapping[str, Callable[[People, int], Any]] = {
    "displayName": _display_name,
    "givenName": _given_name,
    "surname": _surname,
    "userPrincipalName": _upn,
    "mail": _mail,
    "mailNickname": lambda people, position: people.local(position),
    "accountEnabled": lambda people, position: (
        people.columns[Draw.IS_ENABLED][position] >= _DISABLED
    ),
    "userType": lambda people, position: (
        "Guest" if _is_guest(people, position) else "Member"
    ),
    "createdDateTime": _created_at,
    "externalUserState": _of_guests("Accepted"),
    "creationType": _of_guests("Invitation"),
    "companyName": _of_members(lambda people, _position: people.company.display_name),
    "employeeId": _of_members(lambda _people, position: f"E-{position + 100:06d}"),
    "department": _department,
    "jobTitle": _job_title,
    "mobilePhone": _mobile_phone,
    "officeLocation": _office,
}


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
