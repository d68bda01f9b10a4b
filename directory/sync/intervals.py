"""Remembering what was: memberships that began or ended, and earlier values.

Current rows stay slim; what changes after the first complete read of a connection is
written beside them, in the same transaction.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pyroaring import BitMap

from directory.models import EarlierValue, MembershipInterval
from directory.sync import rows
from directory.sync.differences import Change, Plan
from jamfidp.compiled import Question, answers_to

# Attributes whose earlier values are worth looking back at.
PEOPLE = (
    "state",
    "account_enabled",
    "user_type",
    "display_name",
    "user_principal_name",
    "user_name",
    "email",
    "department",
    "building",
    "position",
)
GROUPS = (
    "state",
    "display_name",
    "kind",
    "is_dynamic",
    "membership_rule",
    "is_assignable_to_role",
    "hidden_membership",
)
# Of so many groups all that is open is held in memory beside what is written.
FEW = 500
# Filled by mappings: other mappings change them without any change in Entra.
MAPPED = frozenset({"user_name", "email", "department", "building", "position"})


def remember(plan: Plan, *, run: int, remapped: bool) -> bool:
    """Write what the plan ends and begins. Returns whether there was anything.

    `remapped` says that attributes are filled by other properties than before.
    """
    people = [name for name in PEOPLE if not (remapped and name in MAPPED)]
    values = [
        *_earlier(plan.people.changes, people, run, plan.now),
        *_earlier(plan.groups.changes, GROUPS, run, plan.now),
    ]
    rows.insert(
        EarlierValue, ("number", "attribute", "value", "to_run", "to_at"), values
    )
    joined, left = [], []
    for group, change in plan.member_changes():
        joined += [(group, member) for member in change.joined]
        left += [(group, member) for member in change.left]
    _begin(joined, run, plan.now)
    _end(_by_group(plan), left, run, plan.now)
    return bool(values or joined or left)


def text(value: Any) -> str:
    """Return a value as it is remembered: texts as they are, yes, no, and not known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _earlier(
    changes: Mapping[int, Change], names: Iterable[str], run: int, now: datetime
) -> Iterable[tuple[Any, ...]]:
    at = rows.moment(now)
    names = tuple(names)
    for number, change in changes.items():
        for name in names:
            if name in change.before:
                yield number, name, text(change.before[name]), run, at


def _by_group(plan: Plan) -> dict[int, BitMap]:
    found: dict[int, BitMap] = {}
    for group, change in plan.member_changes():
        if change.left:
            found[group] = found.get(group, BitMap()) | change.left
    return found


def asked(plan: Plan) -> list[Question]:
    """Return what `remember` will ask, where it is of few groups."""
    left = _by_group(plan)
    return [_asked(left)] if len(left) <= FEW else []


def _asked(groups: Iterable[int]) -> Question:
    columns = ("id", "group_id", "member_id")
    return rows.reading(MembershipInterval, columns, "group_id", groups, to_at=None)


def _begin(pairs: list[tuple[int, int]], run: int, now: datetime) -> None:
    at = rows.moment(now)
    rows.insert_missing(
        MembershipInterval,
        ("group_id", "member_id", "from_run", "from_at"),
        [(group, member, run, at) for group, member in pairs],
    )


def _end(
    left: Mapping[int, BitMap],
    pairs: list[tuple[int, int]],
    run: int,
    now: datetime,
) -> None:
    """Close what is open; of whoever was there from the beginning write a closed one."""
    at = rows.moment(now)
    opened: dict[tuple[int, int], int] = {}
    for pk, group, member in answers_to(_asked(left)):
        if member in left[group]:
            opened[group, member] = pk
    rows.update(
        MembershipInterval,
        ("to_run", "to_at"),
        [(run, at, pk) for pk in opened.values()],
    )
    rows.insert(
        MembershipInterval,
        ("group_id", "member_id", "to_run", "to_at"),
        [(*pair, run, at) for pair in pairs if pair not in opened],
    )
