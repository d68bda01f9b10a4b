"""What must be observed and what must be in effect, worked out in the simplest way.

A model of one connection by object id, kept beside the console: it is told what the
tenant holds, what is held back and what was agreed to, and never how the console does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupNesting,
    HeldChange,
    State,
)
from directory.sync.holds import Hold, stored_hold
from tests.directory.syncing import Contents, Story, transitive

Pair = tuple[str, str]
# Of a person: user name and whether enabled; of a group: its name; of one who is not in
# the directory (any more), None.
Row = Any


@dataclass(slots=True)
class Side:
    """Rows and memberships, those of people and groups who left included."""

    people: dict[str, Row] = field(default_factory=dict)
    groups: dict[str, Row] = field(default_factory=dict)
    # Group and member.
    direct: set[Pair] = field(default_factory=set)
    nesting: set[Pair] = field(default_factory=set)

    @property
    def visible(self) -> Contents:
        people = {each: row for each, row in self.people.items() if row is not None}
        groups = {each: row for each, row in self.groups.items() if row is not None}
        direct = {(g, m) for g, m in self.direct if g in groups and m in people}
        nesting = {(g, m) for g, m in self.nesting if g in groups and m in groups}
        return Contents(
            people=people,
            groups=groups,
            direct=frozenset(direct),
            nesting=frozenset(nesting),
            transitive=transitive(direct, nesting),
        )

    def parts(self) -> tuple[tuple[dict[str, Row], set[Pair]], ...]:
        """Rows of members with the pairs they are members by."""
        return (self.people, self.direct), (self.groups, self.nesting)

    def copy(self) -> Side:
        return Side(
            dict(self.people), dict(self.groups), set(self.direct), set(self.nesting)
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is held: whose rows, whose memberships wait with them, and which."""

    rows: frozenset[str]
    # Those of `rows` who come or go: nobody's membership of theirs takes effect alone.
    moving: frozenset[str]
    direct: frozenset[Pair]
    nesting: frozenset[Pair]

    def freed(self, chosen: set[str]) -> Waiting:
        """What takes effect when these people and groups are agreed to."""

        def free(pairs: frozenset[Pair]) -> frozenset[Pair]:
            return frozenset(
                pair
                for pair in pairs
                if self.moving.intersection(pair) <= chosen
                and (pair[0] in chosen or pair[1] in self.moving)
            )

        rows = self.rows & chosen
        return Waiting(rows, self.moving, free(self.direct), free(self.nesting))

    def __bool__(self) -> bool:
        return bool(self.rows or self.direct or self.nesting)


def waiting(
    effect: Side,
    observed: Side,
    holds_row: Callable[[str], bool],
    holds_members: Callable[[str], bool],
) -> Waiting:
    """The differences that do not take effect, given what is held back."""
    rows, moving = set(), set()
    for mine, theirs in (
        (effect.people, observed.people),
        (effect.groups, observed.groups),
    ):
        for each, row in theirs.items():
            if (each not in mine or mine[each] != row) and holds_row(each):
                rows.add(each)
                if each not in mine or (mine[each] is not None and row is None):
                    moving.add(each)

    def held(mine: set[Pair], theirs: set[Pair]) -> frozenset[Pair]:
        return frozenset(
            pair
            for pair in mine ^ theirs
            if moving.intersection(pair) or holds_members(pair[0])
        )

    return Waiting(
        frozenset(rows),
        frozenset(moving),
        held(effect.direct, observed.direct),
        held(effect.nesting, observed.nesting),
    )


class Model:
    """Observed and in effect."""

    def __init__(self, effect: Side, observed: Side) -> None:
        self.effect, self.observed = effect, observed

    def observe(self, tenant: Contents) -> None:
        """Take what the tenant holds. Whoever left keeps what was said of them last."""
        now = Side(
            people=dict(tenant.people),
            groups=dict(tenant.groups),
            direct=set(tenant.direct),
            nesting=set(tenant.nesting),
        )
        for (rows, pairs), (rows_before, pairs_before) in zip(
            now.parts(), self.observed.parts(), strict=True
        ):
            pairs |= {
                (group, member)
                for group, member in pairs_before
                if tenant.groups.get(group) is None or rows.get(member) is None
            }
            rows |= {each: None for each in rows_before if each not in rows}
        self.observed = now

    def hear_of(self, here: Stored, tenant: Contents, dormant: set[Pair]) -> None:
        """Take from the console what groups said of the deleted.

        Some reads are told who left a group while deleted, and whom a group holds who
        was never listed. `dormant` is who would come back to which group.
        """
        known = self.observed.people
        for mine, theirs in (
            (self.observed, here.observed),
            (self.effect, here.effect),
        ):
            mine.direct -= {
                (group, member)
                for group, member in mine.direct - theirs.direct
                if member not in tenant.people
                and (member not in known or (group, member) not in dormant)
            }
            mine.direct |= {
                (group, member)
                for group, member in theirs.direct - mine.direct
                if member not in tenant.people and member not in known
            }

    def take_effect(self, held: Waiting, freed: Waiting) -> None:
        """Let everything that is observed take effect but what is held and not freed."""
        before, after = self.effect, self.observed.copy()
        for mine, was in (
            (after.people, before.people),
            (after.groups, before.groups),
        ):
            for each in (held.rows - freed.rows) & mine.keys():
                if each in was:
                    mine[each] = was[each]
                else:
                    del mine[each]
        after.direct ^= held.direct - freed.direct
        after.nesting ^= held.nesting - freed.nesting
        self.effect = after


# --- What is held back, drawn by object id


def is_drawn(salt: int, what: str, object_id: str) -> bool:
    """Whether something is held; nothing is with salt 0."""
    said = f"{salt} {what} {object_id}".encode()
    return bool(salt) and hashlib.blake2b(said, digest_size=1).digest()[0] < 100


# --- What the console has stored


class Payload(NamedTuple):
    """Exactly what is held of one person or group: a decision is about this."""

    row: Any
    told: bool
    users: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]


def payload_of(hold: Hold) -> Payload:
    users, groups = (
        (tuple(each.joined), tuple(each.left), tuple(each.inferred))
        for each in (hold.users, hold.groups)
    )
    row = None if hold.row is None else tuple(hold.row)
    return Payload(row, hold.told, users, groups)


@dataclass(frozen=True)
class Stored:
    """Both sides as the console's rows say, with what is open of held changes."""

    effect: Side
    observed: Side
    names: Mapping[int, str]
    # By primary key.
    holds: Mapping[int, HeldChange]
    # Where the next read of changes begins, and how often something was applied.
    at: tuple[str, str, int]

    def waiting(self) -> Waiting:
        """What the open held changes say."""
        rows = {self.names[h.number] for h in self.holds.values() if h.observed}
        mine = self.effect.people | self.effect.groups
        theirs = self.observed.people | self.observed.groups
        return Waiting(
            frozenset(rows),
            frozenset(
                each
                for each in rows
                if each not in mine or (mine[each] is not None and theirs[each] is None)
            ),
            frozenset(self.effect.direct ^ self.observed.direct),
            frozenset(self.effect.nesting ^ self.observed.nesting),
        )


def stored(story: Story) -> Stored:
    idp = story.cloud_idp
    names = dict(
        DirectoryObject.objects.filter(cloud_idp=idp).values_list("id", "object_id")
    )
    effect = Side(
        people={
            object_id: (name, bool(enabled)) if state == State.PRESENT else None
            for object_id, state, name, enabled in DirectoryUser.objects.filter(
                cloud_idp=idp
            ).values_list(
                "object_id", "state", "user_principal_name", "account_enabled"
            )
        },
        groups={
            object_id: name if state == State.PRESENT else None
            for object_id, state, name in DirectoryGroup.objects.filter(
                cloud_idp=idp
            ).values_list("object_id", "state", "display_name")
        },
        direct=_pairs(
            names,
            DirectoryMembership.objects.filter(group__cloud_idp=idp).values_list(
                "group_id", "user_id"
            ),
        ),
        nesting=_pairs(
            names,
            GroupNesting.objects.filter(parent__cloud_idp=idp).values_list(
                "parent_id", "child_id"
            ),
        ),
    )
    holds = HeldChange.objects.filter(cloud_idp=idp, closed_at=None).in_bulk()
    observed = effect.copy()
    for held in holds.values():
        _lay_over(observed, held, names)
    at = CloudIdentityProvider.objects.values_list(
        "users_delta_link", "groups_delta_link", "generation"
    ).get(pk=idp.pk)
    return Stored(effect, observed, names, holds, at)


def _lay_over(observed: Side, held: HeldChange, names: Mapping[int, str]) -> None:
    hold, name = stored_hold(held), names[held.number]
    said = held.observed
    if said is not None:
        present = said["state"] == State.PRESENT
        if held.kind == DirectoryObject.Kind.USER:
            person = (said["user_principal_name"], bool(said["account_enabled"]))
            observed.people[name] = person if present else None
        else:
            observed.groups[name] = said["display_name"] if present else None
    for pairs, sets in ((observed.direct, hold.users), (observed.nesting, hold.groups)):
        pairs |= {(name, names[n]) for n in sets.joined}
        pairs -= {(name, names[n]) for n in sets.left}


def _pairs(names: Mapping[int, str], pairs: Iterable[tuple[int, int]]) -> set[Pair]:
    return {(names[group], names[member]) for group, member in pairs}
