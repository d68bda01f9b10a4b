"""What a tenant starts from, and goes back to. Nothing here ever changes.

Objects have numbers: users first, then groups, then the other kinds, the named cast
first among each. The properties of the cast are kept; those of the crowd are worked
out when they are asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap

from directory.sandbox.crowd import People, Projects, Stretch
from directory.sandbox.directory_object import DirectoryObject, Kind, Properties
from directory.sandbox.links import Links
from directory.sandbox.object_ids import ObjectIds

Column = bytes | mmap
_NEIGHBORS = 256


@dataclass(frozen=True, slots=True)
class Columns:
    """The parts of a seed that grow with it: bytes, which a file can hold."""

    ids: Column
    people: Column
    projects: Column
    member_offsets: Column
    members: Column
    group_offsets: Column
    groups: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A tenant as it was made.

    ``numbers`` are all of a kind and ``crowd`` those that are not of the cast.
    ``ruled`` are the dynamic groups with their rules.
    """

    tenant_id: str
    domain: str
    initial_domain: str
    display_name: str
    created_at: str
    numbers: Mapping[Kind, range]
    crowd: Mapping[Kind, range]
    ids: ObjectIds
    named: Mapping[int, Properties]
    people: People
    projects: Projects
    member_links: Links
    group_links: Links
    upns: Mapping[str, int]
    roles: Mapping[str, str]
    ruled: Mapping[int, str]
    hidden: frozenset[int]

    @property
    def count(self) -> int:
        return self.ids.count

    def kind_of(self, number: int) -> Kind:
        for kind, numbers in self.numbers.items():
            if number < numbers.stop:
                return kind
        raise IndexError(number)

    def object(self, number: int, near: Stretch | None = None) -> DirectoryObject:
        """Return an object; one of the crowd shares the work with those ``near``."""
        kind, key = self.kind_of(number), self.ids.of(number)
        properties = self.named.get(number)
        if properties is None:
            position = number - self.crowd[kind].start
            if kind is not Kind.USER:
                properties = self.projects.properties(position, key)
            else:
                near = near or self.people.stretch(position, 1)
                properties = near.properties(position)
        return DirectoryObject(number, key, kind, properties)

    def near(self, number: int, last: Stretch | None) -> Stretch | None:
        """Return the neighbors of a user of the crowd: the last ones, or the next."""
        crowd = self.crowd[Kind.USER]
        if number not in crowd:
            return None
        position = number - crowd.start
        if last is not None and position in last.positions:
            return last
        return self.people.stretch(position, _NEIGHBORS)

    def user_named(self, upn: str) -> int | None:
        """Return the number of the user with a principal name, whatever its case."""
        number = self.upns.get(upn.casefold())
        if number is not None:
            return number
        position = self.people.position_of(upn)
        return None if position is None else self.crowd[Kind.USER][position]

    def members(self, group: int) -> memoryview:
        """Return the numbers of a group's direct members, ascending."""
        return self.member_links.row(group - self.numbers[Kind.GROUP].start)

    def groups_of(self, number: int) -> memoryview:
        """Return the numbers of the groups an object is directly in, ascending."""
        return self.group_links.row(number)

    def is_member(self, group: int, number: int) -> bool:
        return self.member_links.holds(group - self.numbers[Kind.GROUP].start, number)
