"""What applying a round will write: only differences, worked out beforehand.

Nothing here writes, except that primary keys of new rows are reserved. The plan is
valid while the connection's generation is the one it was made from.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pyroaring import BitMap

from directory.entra import Removed
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    State,
)
from directory.sync import attributes
from directory.sync.attributes import (
    NEW_GROUP,
    NEW_USER,
    GroupRow,
    UserRow,
    in_state,
)
from directory.sync.bitmaps import pack, union, unpack
from directory.sync.nesting import closure
from directory.sync.numbers import numbered
from directory.sync.rows import chunks
from directory.sync.stage import GroupChange, MemberChanges, Snapshot

# https://learn.microsoft.com/entra/fundamentals/users-restore: a deleted person or
# Microsoft 365 group can be restored for 30 days.
RESTORABLE = timedelta(days=30)

Pair = tuple[int, int]
Report = Callable[[str], None]

PRESENT = State.PRESENT.value
DELETED = State.DELETED.value
MENTIONED = State.MENTIONED.value


@dataclass(slots=True)
class Plan:
    """Differences by table. Rows are named by primary key, new ones included."""

    cloud_idp_id: int
    generation: int
    full: bool
    users_added: list[tuple[int, str, UserRow]] = field(default_factory=list)
    users_changed: list[tuple[int, UserRow]] = field(default_factory=list)
    users_removed: list[int] = field(default_factory=list)
    groups_added: list[tuple[int, str, GroupRow]] = field(default_factory=list)
    groups_changed: list[tuple[int, GroupRow]] = field(default_factory=list)
    groups_removed: list[int] = field(default_factory=list)
    memberships_added: list[Pair] = field(default_factory=list)
    memberships_removed: list[Pair] = field(default_factory=list)
    nesting_added: list[Pair] = field(default_factory=list)
    nesting_removed: list[Pair] = field(default_factory=list)
    closure_added: list[Pair] = field(default_factory=list)
    closure_removed: list[Pair] = field(default_factory=list)
    others_added: list[Pair] = field(default_factory=list)
    others_removed: list[Pair] = field(default_factory=list)
    bitmaps_added: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    bitmaps_changed: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    bitmaps_removed: list[int] = field(default_factory=list)
    # In words of the run's page: what changed, counted.
    changes: dict[str, int] = field(default_factory=dict)
    affected_users: set[int] = field(default_factory=set)
    affected_groups: set[int] = field(default_factory=set)


def make_plan(
    *,
    cloud_idp: CloudIdentityProvider,
    snapshot: Snapshot,
    now: datetime,
    report: Report = lambda _phase: None,
) -> Plan:
    """Compare what was read with the rows. `report` is told each step in words."""
    return _Planner(cloud_idp, snapshot, now, report).make()


@dataclass(slots=True)
class _Known:
    """A row as it stands: its key and its columns."""

    pk: int
    row: Any


class _Planner:
    """The steps of one plan and what they hand to each other."""

    def __init__(
        self,
        cloud_idp: CloudIdentityProvider,
        snapshot: Snapshot,
        now: datetime,
        report: Report,
    ) -> None:
        self.cloud_idp = cloud_idp
        self.snapshot = snapshot
        self.now = now
        self.report = report
        self.plan = Plan(
            cloud_idp_id=cloud_idp.pk,
            generation=cloud_idp.generation,
            full=snapshot.full,
        )
        # Present before and after this run, for those whose presence is of interest.
        self.present_now = BitMap()
        self.presence_gained = BitMap()
        self.presence_lost = BitMap()
        # Kept though a full read does not list them: deleted, and can be restored.
        self.users_kept = BitMap()
        self.groups_kept = BitMap()
        self.user_keys: dict[str, int] = {}
        self.group_keys: dict[str, int] = {}
        self.new_groups: dict[str, int] = {}
        self.groups_before: dict[str, _Known] = {}
        # The rows of groups that this round names, as they will be.
        self.group_rows: dict[int, GroupRow] = {}
        # Direct members by group: what stood, who joins, who leaves.
        self.stored_members: dict[int, BitMap] = {}
        self.joined: dict[int, BitMap] = {}
        self.left: dict[int, BitMap] = {}
        self.closure: dict[int, frozenset[int]] = {}
        self.closure_changed: set[int] = set()
        self.direct: dict[int, BitMap] = {}
        self.counts: dict[int, Pair] = {}

    def make(self) -> Plan:
        self.report("Comparing people")
        self._plan_users()
        self.report("Comparing groups")
        self._plan_groups()
        self.report("Comparing memberships")
        self._plan_memberships()
        self._plan_others()
        self.report("Working out nested groups")
        self._plan_nesting()
        self._plan_bitmaps()
        self._finish_groups()
        self._count()
        return self.plan

    # --- People

    def _plan_users(self) -> None:
        snapshot, plan = self.snapshot, self.plan
        mentioned = self._mentioned(lambda change: change.users)
        left = self._left(lambda change: change.users)
        wanted = snapshot.users.keys() | mentioned | left
        before = _user_rows(self.cloud_idp, None if snapshot.full else wanted)
        mapped = attributes.mapped_properties(self.cloud_idp.mappings)

        after: dict[str, UserRow | None] = {}
        for object_id, change in snapshot.users.items():
            known = before.get(object_id)
            if change.removed is Removed.DELETED:
                if known is not None:
                    after[object_id] = None
                continue
            base = known.row if known is not None else NEW_USER
            if snapshot.full:
                # Everything was asked for: what did not come has no value.
                base = NEW_USER._replace(
                    state=base.state,
                    state_since=base.state_since,
                    state_told=base.state_told,
                )
            row = attributes.user_row(base, change.properties, mapped, now=self.now)
            if change.removed is Removed.CHANGED:
                if known is None and object_id not in mentioned:
                    # Restorable, but nothing here ever named it.
                    continue
                row = in_state(
                    row if known is None else known.row, State.DELETED, now=self.now
                )
            after[object_id] = row
        for object_id in mentioned - snapshot.users.keys():
            known = before.get(object_id)
            if known is None:
                after[object_id] = NEW_USER._replace(state_since=self.now)
            elif snapshot.full and known.row.state != MENTIONED:
                # No longer listed, still somebody's member: deleted, restorable.
                after[object_id] = in_state(
                    known.row, State.DELETED, now=self.now, told=False
                )
        if snapshot.full:
            for object_id, known in before.items():
                if object_id in after or object_id in mentioned:
                    continue
                if self._restorable(known.row):
                    self.users_kept.add(known.pk)
                else:
                    after[object_id] = None

        new = [oid for oid, row in after.items() if oid not in before and row]
        keys = numbered(self.cloud_idp, new, DirectoryObject.Kind.USER)
        self.user_keys = {oid: known.pk for oid, known in before.items()} | keys
        for object_id, known in before.items():
            if object_id not in after and known.row.state == PRESENT:
                self.present_now.add(known.pk)
        for object_id, user in after.items():
            known = before.get(object_id)
            was_present = known is not None and known.row.state == PRESENT
            pk = self.user_keys[object_id]
            if user is None:
                plan.users_removed.append(pk)
            elif known is None:
                plan.users_added.append((pk, object_id, user))
            elif user != known.row:
                plan.users_changed.append((pk, user))
            is_present = user is not None and user.state == PRESENT
            if is_present:
                self.present_now.add(pk)
            if is_present and not was_present:
                self.presence_gained.add(pk)
            if was_present and not is_present:
                self.presence_lost.add(pk)
        self._count_users(before, after)

    def _mentioned(self, members: Callable[[GroupChange], MemberChanges]) -> set[str]:
        """Return who joined some group, but for those that are gone for good."""
        joined = union(
            members(change).joined
            for change in self.snapshot.groups.values()
            if change.removed is not Removed.DELETED
        )
        return {
            object_id
            for object_id in self.snapshot.numbers.names(joined)
            if not self._gone(object_id)
        }

    def _left(self, members: Callable[[GroupChange], MemberChanges]) -> set[str]:
        left = union(members(change).left for change in self.snapshot.groups.values())
        return set(self.snapshot.numbers.names(left))

    def _gone(self, object_id: str) -> bool:
        change = self.snapshot.users.get(object_id) or self.snapshot.groups.get(
            object_id
        )
        return change is not None and change.removed is Removed.DELETED

    def _restorable(self, row: UserRow | GroupRow) -> bool:
        return (
            row.state == DELETED
            and row.state_since is not None
            and row.state_since > self.now - RESTORABLE
        )

    # --- Groups

    def _plan_groups(self) -> None:
        snapshot = self.snapshot
        mentioned = self._mentioned(lambda change: change.groups)
        left = self._left(lambda change: change.groups)
        wanted = snapshot.groups.keys() | mentioned | left
        before = _group_rows(self.cloud_idp, None if snapshot.full else wanted)
        name_property = self.cloud_idp.mappings.group_name

        after: dict[str, GroupRow | None] = {}
        for object_id, change in snapshot.groups.items():
            known = before.get(object_id)
            if change.removed is Removed.DELETED:
                if known is not None:
                    after[object_id] = None
                continue
            base = known.row if known is not None else NEW_GROUP
            if change.removed is Removed.CHANGED:
                if known is not None:
                    after[object_id] = in_state(base, State.DELETED, now=self.now)
                continue
            after[object_id] = attributes.group_row(
                base, change.properties, name_property, now=self.now
            )
        for object_id in mentioned - snapshot.groups.keys():
            known = before.get(object_id)
            if known is None:
                after[object_id] = NEW_GROUP._replace(state_since=self.now)
            elif snapshot.full and known.row.state != MENTIONED:
                after[object_id] = in_state(
                    known.row, State.DELETED, now=self.now, told=False
                )
        if snapshot.full:
            for object_id, known in before.items():
                if object_id in after or object_id in mentioned:
                    continue
                if self._restorable(known.row):
                    self.groups_kept.add(known.pk)
                else:
                    after[object_id] = None

        new = [oid for oid, row in after.items() if oid not in before and row]
        keys = numbered(self.cloud_idp, new, DirectoryObject.Kind.GROUP)
        self.group_keys = {oid: known.pk for oid, known in before.items()} | keys
        self.groups_before = before
        for object_id, group in after.items():
            pk = self.group_keys[object_id]
            if group is None:
                self.plan.groups_removed.append(pk)
            else:
                self.group_rows[pk] = group
        self.new_groups = keys

    # --- Memberships

    def _changed_groups(self) -> Iterable[tuple[int, GroupChange]]:
        """Yield the groups of this round that still have a row, by key."""
        gone = set(self.plan.groups_removed)
        for object_id, change in self.snapshot.groups.items():
            pk = self.group_keys.get(object_id)
            if pk is not None and pk not in gone:
                yield pk, change

    def _keys(self, numbers: BitMap, keys: Mapping[str, int]) -> BitMap:
        found = (keys.get(name) for name in self.snapshot.numbers.names(numbers))
        return BitMap([key for key in found if key is not None])

    def _plan_memberships(self) -> None:
        plan, full = self.plan, self.snapshot.full
        # Rows of people who are gone leave with them.
        gone = BitMap(plan.users_removed)
        if full:
            self.stored_members = _stored_members(self.cloud_idp)
        joined: dict[int, BitMap] = {}
        left: dict[int, BitMap] = {}
        for pk, change in self._changed_groups():
            wanted = self._keys(change.users.joined, self.user_keys) - gone
            if full:
                had = self.stored_members.get(pk, BitMap())
                if change.removed is None:
                    joined[pk] = wanted - had
                    left[pk] = had - wanted - self.users_kept
            else:
                unwanted = self._keys(change.users.left, self.user_keys) - wanted
                had = _stored_among(pk, wanted | unwanted)
                joined[pk] = wanted - had
                left[pk] = had & unwanted
        self.joined = {pk: users for pk, users in joined.items() if users}
        self.left = {pk: users for pk, users in left.items() if users}
        for pk, users in self.joined.items():
            plan.memberships_added += [(pk, user) for user in users]
        for pk, users in self.left.items():
            plan.memberships_removed += [(pk, user) for user in users]

    def _plan_others(self) -> None:
        """Devices, applications and contacts: counted, each once."""
        plan, numbers = self.plan, self.snapshot.numbers
        changed = dict(self._changed_groups())
        concerned = [
            pk
            for pk, change in changed.items()
            if self.snapshot.full or change.others.joined or change.others.left
        ]
        named = union(
            part
            for pk in concerned
            for part in (changed[pk].others.joined, changed[pk].others.left)
        )
        known = numbered(
            self.cloud_idp, numbers.names(named), DirectoryObject.Kind.OTHER
        )
        stored: dict[int, set[int]] = {}
        for some in chunks(concerned):
            for pk, member in GroupOtherMember.objects.filter(
                group_id__in=some
            ).values_list("group_id", "member_id"):
                stored.setdefault(pk, set()).add(member)
        for pk in concerned:
            change = changed[pk]
            if self.snapshot.full and change.removed is not None:
                continue
            had = stored.get(pk, set())
            joined = {known[name] for name in numbers.names(change.others.joined)}
            left = {known[name] for name in numbers.names(change.others.left)}
            has = joined if self.snapshot.full else (had | joined) - left
            plan.others_added += [(pk, other) for other in sorted(has - had)]
            plan.others_removed += [(pk, other) for other in sorted(had - has)]
            if pk in self.group_rows:
                self.group_rows[pk] = self.group_rows[pk]._replace(
                    other_members=len(has)
                )

    # --- Nesting

    def _plan_nesting(self) -> None:
        plan, full = self.plan, self.snapshot.full
        changes = dict(self._changed_groups())
        states_changed = self._group_presence_changed()
        if not (
            full
            or states_changed
            or plan.groups_removed
            or any(
                change.groups.joined or change.groups.left
                for change in changes.values()
            )
        ):
            self.closure = _stored_closure(self.cloud_idp)
            return
        stored = set(
            GroupNesting.objects.filter(parent__cloud_idp=self.cloud_idp).values_list(
                "parent_id", "child_id"
            )
        )
        by_parent: dict[int, set[Pair]] = defaultdict(set)
        for pair in stored:
            by_parent[pair[0]].add(pair)
        gone = set(plan.groups_removed)
        edges = {
            (parent, child)
            for parent, child in stored
            if parent not in gone and child not in gone
        }
        for pk, change in changes.items():
            if change.removed is not None and full:
                continue
            joined = self._keys(change.groups.joined, self.group_keys)
            left = self._keys(change.groups.left, self.group_keys)
            if full:
                edges -= {
                    pair for pair in by_parent[pk] if pair[1] not in self.groups_kept
                }
            else:
                edges -= {(pk, child) for child in left}
            edges |= {(pk, child) for child in joined if child not in gone}
        plan.nesting_added = sorted(edges - stored)
        plan.nesting_removed = sorted(stored - edges)
        deleted = self._deleted_groups()
        self.closure = closure(
            (parent, child)
            for parent, child in edges
            if parent not in deleted and child not in deleted
        )
        before = _stored_closure(self.cloud_idp)
        self.closure_changed = {
            pk
            for pk in self.closure.keys() | before.keys()
            if self.closure.get(pk, frozenset()) != before.get(pk, frozenset())
        }
        for pk in self.closure_changed:
            has, had = self.closure.get(pk, frozenset()), before.get(pk, frozenset())
            plan.closure_added += [(pk, below) for below in sorted(has - had)]
            plan.closure_removed += [(pk, below) for below in sorted(had - has)]

    def _group_presence_changed(self) -> bool:
        return any(
            (known.row.state == DELETED) != (self.group_rows[known.pk].state == DELETED)
            for known in self.groups_before.values()
            if known.pk in self.group_rows
        )

    def _deleted_groups(self) -> set[int]:
        """Groups in the recycle bin: they hold nobody until they are restored."""
        stored = DirectoryGroup.objects.filter(
            cloud_idp=self.cloud_idp, state=DELETED
        ).values_list("pk", flat=True)
        deleted = {pk for pk in stored if pk not in self.group_rows}
        return deleted | {
            pk for pk, row in self.group_rows.items() if row.state == DELETED
        }

    # --- Bitmaps

    def _plan_bitmaps(self) -> None:
        full = self.snapshot.full
        moved = self.presence_gained | self.presence_lost
        holding = {} if full else _groups_holding(moved)
        returned = {
            pk
            for pk, row in self.group_rows.items()
            if row.state == PRESENT and not self._was_present(pk)
        }
        vanished = {
            pk
            for pk, row in self.group_rows.items()
            if row.state != PRESENT and self._was_present(pk)
        }
        if full:
            concerned = {
                pk for pk, row in self.group_rows.items() if row.state == PRESENT
            }
        else:
            concerned = (
                self.joined.keys() | self.left.keys() | holding.keys() | returned
            )
            concerned = {pk for pk in concerned if self._is_present(pk)}
        self.direct = self._direct_bitmaps(concerned, returned, holding)

        above = {
            pk
            for pk, below in self.closure.items()
            if not below.isdisjoint(self.direct)
        }
        touched = self.direct.keys() | above | self.closure_changed
        touched = {pk for pk in touched if self._is_present(pk)}
        self._load_direct(
            touched | {b for pk in touched for b in self.closure.get(pk, ())}
        )
        stored = _stored_bitmaps(touched)
        for pk in sorted(touched):
            direct = self.direct[pk]
            below = self.closure.get(pk, frozenset())
            transitive = union(
                [direct, *(self.direct[b] for b in below if b in self.direct)]
            )
            self.counts[pk] = (len(direct), len(transitive))
            packed = (pack(direct), None if transitive == direct else pack(transitive))
            had = stored.get(pk)
            if had is None:
                self.plan.bitmaps_added.append((pk, *packed))
                self.plan.affected_groups.add(pk)
            elif had != packed:
                self.plan.bitmaps_changed.append((pk, *packed))
                self.plan.affected_groups.add(pk)
        self.plan.bitmaps_removed = sorted(vanished)
        self.plan.affected_groups |= vanished | self.closure_changed

    def _was_present(self, pk: int) -> bool:
        return pk in self._present_before

    def _is_present(self, pk: int) -> bool:
        row = self.group_rows.get(pk)
        return pk in self._present_rest if row is None else row.state == PRESENT

    @cached_property
    def _present_before(self) -> set[int]:
        return {
            known.pk
            for known in self.groups_before.values()
            if known.row.state == PRESENT
        }

    @cached_property
    def _present_rest(self) -> set[int]:
        """Present groups that this round does not name."""
        stored = DirectoryGroup.objects.filter(cloud_idp=self.cloud_idp, state=PRESENT)
        return set(stored.values_list("pk", flat=True)) - set(self.plan.groups_removed)

    def _direct_bitmaps(
        self, concerned: set[int], returned: set[int], holding: Mapping[int, BitMap]
    ) -> dict[int, BitMap]:
        """Work out who is in each group directly and present."""
        if self.snapshot.full:
            result = {}
            for pk in concerned:
                had = self.stored_members.get(pk, BitMap())
                has = had | self.joined.get(pk, BitMap())
                has -= self.left.get(pk, BitMap())
                result[pk] = has & self.present_now
            return result
        stored = {
            pk: unpack(direct)
            for some in chunks(sorted(concerned - returned))
            for pk, direct in GroupBitmap.objects.filter(group_id__in=some).values_list(
                "group_id", "direct"
            )
        }
        for pk in returned & concerned:
            stored[pk] = BitMap(
                DirectoryMembership.objects.filter(
                    group_id=pk, user__state=PRESENT
                ).values_list("user_id", flat=True)
            )
        result = {}
        for pk in concerned:
            users = stored.get(pk, BitMap())
            users |= self.joined.get(pk, BitMap()) & self.present_now
            users |= holding.get(pk, BitMap()) & self.presence_gained
            users -= self.left.get(pk, BitMap())
            users -= self.presence_lost
            result[pk] = users
        return result

    def _load_direct(self, groups: set[int]) -> None:
        for some in chunks(sorted(groups - self.direct.keys())):
            found = GroupBitmap.objects.filter(
                group_id__in=some, group__state=PRESENT
            ).values_list("group_id", "direct")
            for pk, direct in found:
                if self._is_present(pk):
                    self.direct[pk] = unpack(direct)
        for pk in groups:
            if self._is_present(pk):
                self.direct.setdefault(pk, BitMap())

    # --- The end

    def _finish_groups(self) -> None:
        """Put counts into the rows of groups, and keep those that differ."""
        plan = self.plan
        missing = self.counts.keys() - self.group_rows.keys()
        by_pk = {known.pk: known.row for known in self.groups_before.values()}
        counted = dict(self.group_rows)
        for pk, row in _group_rows_by_key(missing):
            by_pk[pk] = row
            counted[pk] = row
        new = {pk: object_id for object_id, pk in self.new_groups.items()}
        for pk, row in counted.items():
            if pk in self.counts:
                direct, transitive = self.counts[pk]
                row = row._replace(direct_users=direct, transitive_users=transitive)
            if pk in new:
                plan.groups_added.append((pk, new[pk], row))
            elif row != by_pk[pk]:
                plan.groups_changed.append((pk, row))

    def _count_users(
        self,
        before: Mapping[str, _Known],
        after: Mapping[str, UserRow | None],
    ) -> None:
        counts = dict.fromkeys(
            ("users_added", "users_changed", "users_deleted", "users_restored"), 0
        )
        for object_id, row in after.items():
            known = before.get(object_id)
            old = known.row.state if known is not None else None
            new = row.state if row is not None else None
            if new == PRESENT and old == DELETED:
                counts["users_restored"] += 1
            elif new == PRESENT and old != PRESENT:
                counts["users_added"] += 1
            elif old == PRESENT and new != PRESENT:
                counts["users_deleted"] += 1
            elif new == PRESENT and known is not None and row != known.row:
                counts["users_changed"] += 1
        self.plan.changes.update(counts)

    def _count(self) -> None:
        plan = self.plan
        states = {known.pk: known.row.state for known in self.groups_before.values()}
        added = sum(row.state == PRESENT for _pk, _oid, row in plan.groups_added)
        changed = deleted = restored = 0
        for pk, row in plan.groups_changed:
            old = states.get(pk, PRESENT)
            if row.state == PRESENT and old == DELETED:
                restored += 1
            elif row.state == PRESENT and old == MENTIONED:
                added += 1
            elif row.state != PRESENT and old == PRESENT:
                deleted += 1
            elif pk in self.group_rows:
                changed += 1
        deleted += sum(states.get(pk) == PRESENT for pk in plan.groups_removed)
        plan.changes.update(
            groups_added=added,
            groups_changed=changed,
            groups_deleted=deleted,
            groups_restored=restored,
            memberships_added=len(plan.memberships_added),
            memberships_removed=len(plan.memberships_removed),
            nesting_added=len(plan.nesting_added),
            nesting_removed=len(plan.nesting_removed),
        )
        plan.affected_users |= {pk for pk, _oid, _row in plan.users_added}
        plan.affected_users |= {pk for pk, _row in plan.users_changed}
        plan.affected_users |= set(plan.users_removed)
        plan.affected_groups |= {pk for pk, _oid, _row in plan.groups_added}
        plan.affected_groups |= {pk for pk, _row in plan.groups_changed}
        plan.affected_groups |= set(plan.groups_removed)


# --- Rows as they stand


def _user_rows(
    cloud_idp: CloudIdentityProvider, object_ids: set[str] | None
) -> dict[str, _Known]:
    rows = DirectoryUser.objects.filter(cloud_idp=cloud_idp)
    columns = ("pk", "object_id", *UserRow._fields)
    if object_ids is None:
        found = rows.values_list(*columns).iterator(chunk_size=5000)
        return {row[1]: _Known(row[0], UserRow(*row[2:])) for row in found}
    return {
        row[1]: _Known(row[0], UserRow(*row[2:]))
        for some in chunks(sorted(object_ids))
        for row in rows.filter(object_id__in=some).values_list(*columns)
    }


def _group_rows(
    cloud_idp: CloudIdentityProvider, object_ids: set[str] | None
) -> dict[str, _Known]:
    rows = DirectoryGroup.objects.filter(cloud_idp=cloud_idp)
    columns = ("pk", "object_id", *GroupRow._fields)
    if object_ids is None:
        found = rows.values_list(*columns).iterator(chunk_size=5000)
        return {row[1]: _Known(row[0], GroupRow(*row[2:])) for row in found}
    return {
        row[1]: _Known(row[0], GroupRow(*row[2:]))
        for some in chunks(sorted(object_ids))
        for row in rows.filter(object_id__in=some).values_list(*columns)
    }


def _group_rows_by_key(keys: Iterable[int]) -> Iterable[tuple[int, GroupRow]]:
    for some in chunks(sorted(keys)):
        for row in DirectoryGroup.objects.filter(pk__in=some).values_list(
            "pk", *GroupRow._fields
        ):
            yield row[0], GroupRow(*row[1:])


def _stored_members(cloud_idp: CloudIdentityProvider) -> dict[int, BitMap]:
    found: dict[int, list[int]] = {}
    rows = DirectoryMembership.objects.filter(group__cloud_idp=cloud_idp)
    for group, user in rows.values_list("group_id", "user_id").iterator(10_000):
        found.setdefault(group, []).append(user)
    return {group: BitMap(users) for group, users in found.items()}


def _stored_among(group: int, users: BitMap) -> BitMap:
    found = BitMap()
    for some in chunks(users):
        found.update(
            DirectoryMembership.objects.filter(
                group_id=group, user_id__in=some
            ).values_list("user_id", flat=True)
        )
    return found


def _groups_holding(users: BitMap) -> dict[int, BitMap]:
    """Return the groups that hold any of these people directly, and which."""
    found: dict[int, BitMap] = {}
    for some in chunks(users):
        for group, user in DirectoryMembership.objects.filter(
            user_id__in=some
        ).values_list("group_id", "user_id"):
            found.setdefault(group, BitMap()).add(user)
    return found


def _stored_closure(cloud_idp: CloudIdentityProvider) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    for above, below in GroupClosure.objects.filter(
        ancestor__cloud_idp=cloud_idp
    ).values_list("ancestor_id", "descendant_id"):
        found.setdefault(above, set()).add(below)
    return {above: frozenset(below) for above, below in found.items()}


def _stored_bitmaps(groups: Iterable[int]) -> dict[int, tuple[bytes, bytes | None]]:
    return {
        pk: (bytes(direct), None if transitive is None else bytes(transitive))
        for some in chunks(sorted(groups))
        for pk, direct, transitive in GroupBitmap.objects.filter(
            group_id__in=some
        ).values_list("group_id", "direct", "transitive")
    }
