"""What was taken from a person and is held here: privileges are lost all the same.

Privileges use the smaller of what is in effect and what is observed. Scopes use what is
in effect.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pyroaring import BitMap

from directory.models import (
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupClosure,
    GroupNesting,
    HeldChange,
    State,
    UnconfirmedLoss,
)

# How many values one query names.
CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Lost:
    """What is held of a person's losses. `row` is the person as Entra has them."""

    row: DirectoryUser | None = None
    # Groups of those asked about that the person no longer counts for.
    left: frozenset[int] = frozenset()
    # Groups of those asked about that are no longer in the directory.
    gone: frozenset[int] = frozenset()


NOTHING = Lost()


def of_person(
    person: DirectoryUser, groups: Collection[int], *, wait: timedelta, now: datetime
) -> Lost:
    """Return what a person has lost of these groups, nested ones counted.

    What rests on absence in a full read alone, and was not confirmed, waits for as long
    as `wait` says. So long counts as well what a filter leaves out: who is in a group
    that is not read any more is known for no longer.
    """
    held = HeldChange.objects.filter(cloud_idp_id=person.cloud_idp_id, closed_at=None)
    if not held.exists():
        return NOTHING
    waiting = _waiting(person, since=now - wait)
    row = held.filter(number=person.pk).exclude(observed=None).first()
    changed = _Changed()
    own = _own_groups(person)
    # Of a large directory much may be held that is not about this person: looked at are
    # the groups that the person counts for, and of the others whether they are there.
    for number, observed, users, nested, opened_at in _in_chunks(
        held.filter(kind=DirectoryObject.Kind.GROUP), own.counted
    ):
        lapsed = opened_at <= now - wait
        changed.note(number, observed, users, nested, person.pk, lapsed=lapsed)
    left: frozenset[int] = frozenset()
    if changed:
        left = _no_longer(own, groups, changed).difference(waiting)
    for number, observed, opened_at in _rows_of_others(held, groups, own.counted):
        lapsed = opened_at <= now - wait
        changed.note(number, observed, None, None, person.pk, lapsed=lapsed)
    stays = row is None or None in waiting
    observed_row = None if row is None or stays else _as_row(person, row)
    if (
        row is not None
        and observed_row is not None
        and observed_row.state == State.FILTERED
        and row.opened_at > now - wait
    ):
        # What else Entra says of the person counts at once: disabled, a guest.
        observed_row.state = person.state
    gone = frozenset(changed.gone & BitMap(groups)).difference(waiting)
    return Lost(observed_row, left, gone)


def _waiting(person: DirectoryUser, *, since: datetime) -> set[int | None]:
    losses = UnconfirmedLoss.objects.filter(
        cloud_idp_id=person.cloud_idp_id, person_id=person.pk, since__gt=since
    )
    return set(losses.values_list("group_id", flat=True))


def _as_row(person: DirectoryUser, held: HeldChange) -> DirectoryUser:
    known = {field.attname for field in DirectoryUser._meta.concrete_fields}
    columns: dict[str, Any] = held.observed or {}
    row = DirectoryUser(
        pk=person.pk, cloud_idp_id=person.cloud_idp_id, object_id=person.object_id
    )
    for name in known & columns.keys():
        setattr(row, name, columns[name])
    return row


@dataclass(slots=True)
class _Changed:
    """Of groups: those the person left, nesting that ended, those that are gone."""

    left: BitMap = field(default_factory=BitMap)
    edges: dict[int, BitMap] = field(default_factory=dict)
    gone: BitMap = field(default_factory=BitMap)

    def __bool__(self) -> bool:
        return bool(self.left or self.edges or self.gone)

    def note(
        self,
        group: int,
        observed: dict[str, Any] | None,
        users: bytes | None,
        nested: bytes | None,
        person: int,
        *,
        lapsed: bool,
    ) -> None:
        state = State.PRESENT if observed is None else observed.get("state")
        if state == State.FILTERED and not lapsed:
            # The console's own filter: Entra took nothing away, as far as it was read.
            state = State.PRESENT
        if state != State.PRESENT:
            self.gone.add(group)
        if users is not None and person in BitMap.deserialize(bytes(users)):
            self.left.add(group)
        if nested is not None:
            self.edges[group] = BitMap.deserialize(bytes(nested))


def _in_chunks(
    held: Any, numbers: BitMap
) -> Iterable[tuple[int, Any, Any, Any, datetime]]:
    wanted = list(numbers)
    for at in range(0, len(wanted), CHUNK):
        yield from held.filter(number__in=wanted[at : at + CHUNK]).values_list(
            "number", "observed", "users_left", "groups_left", "opened_at"
        )


def _rows_of_others(
    held: Any, groups: Collection[int], counted: BitMap
) -> Iterable[tuple[int, Any, datetime]]:
    """What is held of the rows of groups that the person does not count for."""
    others = list(BitMap(groups) - counted)
    for at in range(0, len(others), CHUNK):
        yield from (
            held.filter(
                kind=DirectoryObject.Kind.GROUP, number__in=others[at : at + CHUNK]
            )
            .exclude(observed=None)
            .values_list("number", "observed", "opened_at")
        )


@dataclass(frozen=True, slots=True)
class _Own:
    """The groups that a person is directly in, and all that they count for by these."""

    direct: BitMap
    counted: BitMap


def _own_groups(person: DirectoryUser) -> _Own:
    direct = BitMap(
        DirectoryMembership.objects.filter(
            user=person, group__state=DirectoryGroup.State.PRESENT
        ).values_list("group_id", flat=True)
    )
    counted = direct.copy()
    wanted = list(direct)
    for at in range(0, len(wanted), CHUNK):
        pairs = GroupClosure.objects.filter(descendant_id__in=wanted[at : at + CHUNK])
        counted.update(pairs.values_list("ancestor_id", flat=True))
    return _Own(direct, counted)


def _no_longer(own: _Own, groups: Collection[int], changed: _Changed) -> frozenset[int]:
    """The groups that the person counts for in effect, and not as Entra has it."""
    edges: dict[int, list[int]] = defaultdict(list)
    children = list(own.counted)
    for at in range(0, len(children), CHUNK):
        # Whatever leads to a group of the person is a group that the person counts for:
        # the rest of the nesting does not matter.
        for parent, child in GroupNesting.objects.filter(
            child_id__in=children[at : at + CHUNK]
        ).values_list("parent_id", "child_id"):
            if child not in changed.edges.get(parent, ()):
                edges[parent].append(child)
    still = own.direct - changed.left - changed.gone
    lost = set()
    for group in groups:
        reached, open_ = BitMap([group]), [group]
        while open_:
            for child in edges[open_.pop()]:
                if child not in reached and child not in changed.gone:
                    reached.add(child)
                    open_.append(child)
        if not reached.intersect(still):
            lost.add(group)
    return frozenset(lost)
