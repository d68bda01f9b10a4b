"""What a change of privileges will do to whom, shown above the button that does it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jamfidp.accounts.user_accounts import Privileges

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Consequence:
    """Privileges that come and go, and the people to whom it happens."""

    gained: Sequence[str]
    lost: Sequence[str]
    where_before: str
    where_after: str
    people: Sequence[str]

    @property
    def shown(self) -> Sequence[str]:
        return self.people[:SHOWN]

    @property
    def more(self) -> int:
        return max(0, len(self.people) - SHOWN)

    @property
    def moves(self) -> bool:
        return self.where_before != self.where_after


def of_change(
    before: Privileges, after: Privileges, *, people: Collection[object]
) -> Consequence | None:
    """Return what changes, or None when privileges and their place stay the same."""
    found = Consequence(
        gained=sorted(after.names - before.names),
        lost=sorted(before.names - after.names),
        where_before=_where(before),
        where_after=_where(after),
        people=[str(person) for person in people],
    )
    return found if found.gained or found.lost or found.moves else None


def _where(privileges: Privileges) -> str:
    return f"at {privileges.site}" if privileges.site is not None else "everywhere"
