"""What of a tenant differs from its seed. It costs what was changed, not what there is."""

import copy
from dataclasses import dataclass, field

from pyroaring import BitMap

from directory.sandbox.directory_log import DirectoryLog
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.seed import Seed


@dataclass(slots=True)
class LinkChanges:
    """Numbers that were added to rows of the seed's links, or taken from them."""

    added: dict[int, BitMap] = field(default_factory=dict)
    removed: dict[int, BitMap] = field(default_factory=dict)

    def link(self, row: int, number: int, *, in_seed: bool) -> None:
        if in_seed:
            self.removed[row].remove(number)
        else:
            self.added.setdefault(row, BitMap()).add(number)

    def unlink(self, row: int, number: int, *, in_seed: bool) -> None:
        if in_seed:
            self.removed.setdefault(row, BitMap()).add(number)
        else:
            self.added[row].remove(number)

    def forget(self, row: int) -> None:
        self.added.pop(row, None)
        self.removed.pop(row, None)

    def copy(self) -> "LinkChanges":
        return LinkChanges(
            {row: numbers.copy() for row, numbers in self.added.items()},
            {row: numbers.copy() for row, numbers in self.removed.items()},
        )


@dataclass(slots=True)
class Overlay:
    """Changed, created and deleted objects and memberships of a tenant.

    ``objects`` are the changed and created ones as they are now. Of the others
    ``deleted`` can be restored and ``purged`` is gone. ``touched`` is what a full
    round no longer tells as the seed has it. ``extended`` are the groups that were
    given a member, in the order in which they first were.
    """

    display_name: str
    domain: str
    initial_domain: str
    roles: dict[str, str]
    ruled: dict[int, str]
    hidden: frozenset[int]
    objects: dict[int, DirectoryObject] = field(default_factory=dict)
    deleted: BitMap = field(default_factory=BitMap)
    purged: BitMap = field(default_factory=BitMap)
    touched: BitMap = field(default_factory=BitMap)
    made: list[tuple[str, Kind]] = field(default_factory=list)
    made_of_kind: dict[Kind, list[int]] = field(
        default_factory=lambda: {kind: [] for kind in Kind}
    )
    made_numbers: dict[str, int] = field(default_factory=dict)
    absent: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    upns: dict[str, int | None] = field(default_factory=dict)
    members: LinkChanges = field(default_factory=LinkChanges)
    groups: LinkChanges = field(default_factory=LinkChanges)
    extended: list[int] = field(default_factory=list)
    is_extended: BitMap = field(default_factory=BitMap)
    log: DirectoryLog = field(default_factory=DirectoryLog)

    @classmethod
    def over(cls, seed: Seed) -> "Overlay":
        return cls(
            display_name=seed.display_name,
            domain=seed.domain,
            initial_domain=seed.initial_domain,
            roles=dict(seed.roles),
            ruled=dict(seed.ruled),
            hidden=seed.hidden,
        )

    def copy(self) -> "Overlay":
        made = copy.copy(self)
        for name in ("deleted", "purged", "touched", "is_extended"):
            setattr(made, name, getattr(self, name).copy())
        for name in ("roles", "ruled", "objects", "made_numbers", "absent", "upns"):
            setattr(made, name, dict(getattr(self, name)))
        made.made, made.extended = list(self.made), list(self.extended)
        made.made_of_kind = {
            kind: list(numbers) for kind, numbers in self.made_of_kind.items()
        }
        made.members, made.groups = self.members.copy(), self.groups.copy()
        made.log = self.log.copy()
        return made
