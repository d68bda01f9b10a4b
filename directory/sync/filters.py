"""Which people and groups of a tenant are read: the rules of a connection's filter.

Pure. What cannot be known of somebody does not leave them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import orjson

from directory.models import DirectoryGroup
from directory.sync.attributes import GroupRow, UserRow, fold

Kind = DirectoryGroup.Kind


class GroupType(StrEnum):
    """Types of groups to choose from. A group can be of several."""

    SECURITY = "SECURITY"
    MICROSOFT_365 = "MICROSOFT_365"
    MAIL_ENABLED = "MAIL_ENABLED"
    DYNAMIC = "DYNAMIC"
    ROLE_ASSIGNABLE = "ROLE_ASSIGNABLE"

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    GroupType.SECURITY: "Security",
    GroupType.MICROSOFT_365: "Microsoft 365",
    GroupType.MAIL_ENABLED: "Mail-enabled security and distribution",
    GroupType.DYNAMIC: "Dynamic membership",
    GroupType.ROLE_ASSIGNABLE: "Role-assignable",
}
_MAIL_ENABLED = (Kind.MAIL_ENABLED_SECURITY, Kind.DISTRIBUTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFilter:
    """What a connection reads; as it is made, everything.

    Groups: those that are picked, and those whose name matches one of the patterns, if
    there are any, and who are of one of the types, if there are any. Nothing of the
    three reads every group.
    """

    group_ids: Sequence[str] = ()
    # With * and ?, without regard to letter case and marks.
    name_patterns: Sequence[str] = ()
    group_types: Sequence[str] = ()
    members: bool = True
    guests: bool = True
    only_enabled: bool = False

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ReadFilter":
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
            if name in known
        }
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return what differs from reading everything."""
        usual = ReadFilter()
        return {
            field.name: list(value) if isinstance(value, tuple | list) else value
            for field in fields(self)
            if (value := getattr(self, field.name)) != getattr(usual, field.name)
        }

    @property
    def signature(self) -> str:
        """The filter as text; empty where everything is read."""
        stored = self.to_json()
        for name in ("group_ids", "name_patterns", "group_types"):
            if name in stored:
                stored[name] = sorted(stored[name])
        return (
            orjson.dumps(stored, option=orjson.OPT_SORT_KEYS).decode() if stored else ""
        )

    @property
    def picks_groups(self) -> bool:
        return bool(self.group_ids or self.name_patterns or self.group_types)

    @property
    def picks_people(self) -> bool:
        return not (self.members and self.guests) or self.only_enabled

    def keeps_person(self, row: UserRow) -> bool:
        if self.only_enabled and row.account_enabled is False:
            return False
        if not row.user_type:
            return True
        return self.guests if row.user_type.lower() == "guest" else self.members

    def keeps_group(self, object_id: str, row: GroupRow) -> bool:
        if not self.picks_groups or object_id in self.group_ids:
            return True
        if not (self.name_patterns or self.group_types):
            return False
        return self._named(row.display_name) and self._typed(row)

    def _named(self, name: str) -> bool:
        folded = fold(name)
        return not self.name_patterns or any(
            fnmatchcase(folded, _pattern(pattern)) for pattern in self.name_patterns
        )

    def _typed(self, row: GroupRow) -> bool:
        return (
            not self.group_types
            or row.kind == Kind.UNKNOWN
            or bool(types_of(row).intersection(self.group_types))
        )

    def words(self) -> dict[str, str]:
        """Say what is read, for pages and the history."""
        if not self.picks_groups:
            groups = "every group"
        else:
            parts = []
            if self.name_patterns:
                parts.append(f"named {' or '.join(self.name_patterns)}")
            if self.group_types:
                named = (GroupType(each).label for each in self.group_types)
                parts.append(f"of the type {' or '.join(named)}")
            chosen = [f"groups {' and '.join(parts)}"] if parts else []
            if self.group_ids:
                picked = len(self.group_ids)
                chosen.append(f"{picked} picked group{'' if picked == 1 else 's'}")
            groups = " and ".join(chosen)
        kinds = [
            name
            for name, read in (("members", self.members), ("guests", self.guests))
            if read
        ]
        people = " and ".join(kinds) or "nobody whose type is known"
        return {
            "groups": groups,
            "people": f"{people}, enabled alone" if self.only_enabled else people,
        }


def _pattern(typed: str) -> str:
    """Return a pattern of * and ?; brackets are no sets, as in Entra's own filters."""
    return fold(typed).replace("[", "[[]")


def types_of(row: GroupRow) -> set[str]:
    found = set()
    if row.kind == Kind.SECURITY:
        found.add(GroupType.SECURITY.value)
    elif row.kind == Kind.MICROSOFT_365:
        found.add(GroupType.MICROSOFT_365.value)
    elif row.kind in _MAIL_ENABLED:
        found.add(GroupType.MAIL_ENABLED.value)
    if row.is_dynamic:
        found.add(GroupType.DYNAMIC.value)
    if row.is_assignable_to_role:
        found.add(GroupType.ROLE_ASSIGNABLE.value)
    return found
