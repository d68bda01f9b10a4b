"""The directory as it will be once a plan is applied, over the rows as they are.

An overlay in memory: whoever evaluates what follows from a plan reads through it, and
nothing is written or locked for that. People and groups are named by row id; those
that are new have theirs already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db.models import QuerySet
from pyroaring import BitMap

from directory.models import (
    DirectoryGroup,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
)

# How many values one query names.
CHUNK = 1000
Row = TypeVar("Row", DirectoryUser, DirectoryGroup)


class PackedUsers(NamedTuple):
    """A row of GroupBitmap: each null where it equals the one before it."""

    members: bytes
    direct: bytes | None
    transitive: bytes | None


Among = Callable[[int, str], bool]


def _no_rows(_among: Among | None = None) -> Iterator[tuple[int, str, Any]]:
    return iter(())


@dataclass(frozen=True, slots=True)
class PlannedRows:
    """People, or groups: what becomes of their rows."""

    # The columns that get another value, with it.
    changed: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    new: BitMap = field(default_factory=BitMap)
    # Number, object id and columns of the new ones, all or those that are wanted. Of a
    # first read they are read from its pages anew with each call: ask once.
    new_rows: Callable[[Among | None], Iterator[tuple[int, str, Any]]] = _no_rows
    # Rows that go.
    forgotten: BitMap = field(default_factory=BitMap)

    @property
    def touched(self) -> BitMap:
        return BitMap(self.changed) | self.new | self.forgotten

    def changing(self, *columns: str) -> BitMap:
        """Those whose row comes, goes, or changes in one of these columns."""
        return (
            self.new
            | self.forgotten
            | BitMap(
                number
                for number, values in self.changed.items()
                if any(column in values for column in columns)
            )
        )

    def __bool__(self) -> bool:
        return bool(self.changed or self.new or self.forgotten)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """What a plan does to the directory of one connection, in effect."""

    cloud_idp_id: int
    tenant_id: str
    full: bool
    # The read that is planned completes the connection for the first time.
    first: bool = False
    # Of a read of one person or group: which. It overtakes nothing of the others.
    asked: int | None = None
    # When the read began: what was asked of Microsoft before is overtaken by it.
    began_at: datetime | None = None
    people: PlannedRows = field(default_factory=PlannedRows)
    groups: PlannedRows = field(default_factory=PlannedRows)
    # Groups that get other people, or by other ways, as GroupBitmap keeps them.
    users: Mapping[int, PackedUsers] = field(default_factory=dict)
    without_users: BitMap = field(default_factory=BitMap)
    # Pairs of (ancestor, descendant).
    closure_added: Sequence[tuple[int, int]] = ()
    closure_removed: Sequence[tuple[int, int]] = ()

    def __bool__(self) -> bool:
        return bool(
            self.first
            or self.people
            or self.groups
            or self.users
            or self.without_users
            or self.closure_added
            or self.closure_removed
        )

    @property
    def groups_touched(self) -> BitMap:
        """Groups whose row or people become other."""
        touched = self.groups.touched | BitMap(self.users) | self.without_users
        return touched | BitMap(ancestor for ancestor, _ in self.closure_added)

    # --- Rows as they will be

    def people_after(
        self,
        *,
        object_ids: Collection[str] = (),
        keys: Collection[str] = (),
        numbers: BitMap | None = None,
    ) -> list[DirectoryUser]:
        """People of the connection with one of these object ids, folded user names or
        row ids, as they will be. The instances are not to be saved."""
        found = {
            row.pk: row
            for column, values in (("object_id", object_ids), ("user_name_key", keys))
            for row in self._stored(DirectoryUser, column, values)
        }
        wanted = BitMap(
            number
            for number, values in self.people.changed.items()
            if values.get("user_name_key") in keys and number not in found
        )
        for row in self._stored(DirectoryUser, "pk", [*wanted, *(numbers or ())]):
            found[row.pk] = row
        after = self._after(self.people, found.values())
        object_ids, keys = frozenset(object_ids), frozenset(keys)
        by_number = numbers or BitMap()
        if self.people.new and (object_ids or keys or by_number & self.people.new):
            # By user name only the rows themselves tell who is wanted.
            among = (
                None
                if keys
                else lambda number, object_id: (
                    number in by_number or object_id in object_ids
                )
            )
            for number, object_id, row in self.people.new_rows(among):
                if (
                    object_id in object_ids
                    or row.user_name_key in keys
                    or number in by_number
                ):
                    after.append(self._new(DirectoryUser, number, object_id, row))
        return [
            row
            for row in after
            if row.object_id in object_ids
            or row.user_name_key in keys
            or row.pk in by_number
        ]

    def groups_after(self, *, object_ids: Collection[str]) -> list[DirectoryGroup]:
        """Groups of the connection with these object ids and their bitmaps, as they
        will be. The instances are not to be saved."""
        stored = self._stored(DirectoryGroup, "object_id", object_ids)
        after = self._after(self.groups, stored)
        if self.groups.new:
            wanted = frozenset(object_ids)
            after += [
                self._new(DirectoryGroup, number, object_id, row)
                for number, object_id, row in self.groups.new_rows(
                    lambda _number, object_id: object_id in wanted
                )
            ]
        for row in after:
            self._give_users(row)
        return after

    def below_after(self, groups: Iterable[int]) -> dict[int, BitMap]:
        """Every group whose members will count for these through nesting."""
        below = {group: BitMap() for group in groups}
        wanted = list(below)
        for at in range(0, len(wanted), CHUNK):
            pairs = GroupClosure.objects.filter(
                ancestor_id__in=wanted[at : at + CHUNK]
            ).values_list("ancestor_id", "descendant_id")
            for ancestor, descendant in pairs:
                below[ancestor].add(descendant)
        for ancestor, descendant in self.closure_removed:
            if ancestor in below:
                below[ancestor].discard(descendant)
        for ancestor, descendant in self.closure_added:
            if ancestor in below:
                below[ancestor].add(descendant)
        return below

    def rows_after(self, numbers: BitMap) -> list[DirectoryGroup]:
        """Groups by row id, as they will be, without their bitmaps."""
        stored = self._stored(DirectoryGroup, "pk", list(numbers))
        after = self._after(self.groups, stored)
        if numbers.intersect(self.groups.new):
            after += [
                self._new(DirectoryGroup, number, object_id, row)
                for number, object_id, row in self.groups.new_rows(
                    lambda number, _object_id: number in numbers
                )
            ]
        return after

    def _stored(
        self, model: type[Row], column: str, values: Collection[Any]
    ) -> Iterator[Row]:
        wanted = list(values)
        rows: QuerySet[Any] = model._default_manager.filter(
            cloud_idp_id=self.cloud_idp_id
        )
        if model is DirectoryGroup and column == "object_id":
            rows = rows.select_related("bitmap")
        for at in range(0, len(wanted), CHUNK):
            yield from rows.filter(**{f"{column}__in": wanted[at : at + CHUNK]})

    @staticmethod
    def _after(planned: PlannedRows, rows: Iterable[Row]) -> list[Row]:
        after = []
        for row in rows:
            if row.pk in planned.forgotten:
                continue
            values = planned.changed.get(row.pk)
            if values:
                for column, value in values.items():
                    setattr(row, column, value)
            after.append(row)
        return after

    def _new(self, model: type[Row], number: int, object_id: str, row: Any) -> Row:
        return model(
            pk=number,
            cloud_idp_id=self.cloud_idp_id,
            object_id=object_id,
            **row._asdict(),
        )

    def _give_users(self, group: DirectoryGroup) -> None:
        if group.pk in self.users:
            packed = self.users[group.pk]
            group.bitmap = GroupBitmap(group_id=group.pk, **packed._asdict())
        elif group.pk in self.without_users or group.pk in self.groups.new:
            # As Django keeps that there is none.
            group._state.fields_cache["bitmap"] = None
