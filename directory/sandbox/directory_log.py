"""The log of changes to a tenant's directory: some bytes each, whatever was changed."""

import copy
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from directory.sandbox.directory_object import Kind

_NOBODY = 0xFFFFFFFF
_NO_NAMES: frozenset[str] = frozenset()


class What(IntEnum):
    CREATED = 0
    CHANGED = 1
    DELETED = 2
    RESTORED = 3
    PURGED = 4
    MEMBER_ADDED = 5
    MEMBER_REMOVED = 6


class Change(NamedTuple):
    """An entry of the log: what became of an object, or of a member of a group."""

    number: int
    what: What
    names: frozenset[str]
    member: int


class DirectoryLog:
    """Changes in the order they were made; delta queries read them by kind.

    Each change has a sequence number, the first is 1. Going back to an earlier state
    leaves a gap in them, so that no number ever stands for two changes.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self._gaps: list[range] = []
        self._sequences = array("Q")
        self._numbers = array("I")
        self._whats = array("B")
        self._members = array("I")
        self._names = array("I")
        self._name_sets = {_NO_NAMES: 0}
        self._of_kind = {kind: array("I") for kind in Kind}

    def add(
        self,
        kind: Kind,
        number: int,
        what: What,
        *,
        names: frozenset[str] = _NO_NAMES,
        member: int = _NOBODY,
    ) -> None:
        self.sequence += 1
        self._of_kind[kind].append(len(self._sequences))
        self._sequences.append(self.sequence)
        self._numbers.append(number)
        self._whats.append(what)
        self._members.append(member)
        self._names.append(self._name_sets.setdefault(names, len(self._name_sets)))

    def between(self, kind: Kind, after: int, until: int) -> Iterator[Change]:
        """Yield the changes to objects of a kind with after < sequence <= until."""
        indexes = self._of_kind[kind]
        start = bisect_left(indexes, bisect_right(self._sequences, after))
        end = bisect_left(indexes, bisect_right(self._sequences, until))
        name_sets, whats = list(self._name_sets), list(What)
        for index in indexes[start:end]:
            yield Change(
                self._numbers[index],
                whats[self._whats[index]],
                name_sets[self._names[index]],
                self._members[index],
            )

    def knows(self, sequence: int) -> bool:
        """Say whether the log stood there, on the way to where it stands now."""
        return 0 <= sequence <= self.sequence and not any(
            sequence in gap for gap in self._gaps
        )

    def copy(self) -> "DirectoryLog":
        return copy.deepcopy(self)

    def go_on_from(self, sequence: int) -> None:
        """Number what follows after ``sequence``: what stood between is taken back."""
        if sequence > self.sequence:
            self._gaps.append(range(self.sequence + 1, sequence + 1))
            self.sequence = sequence + 1
