"""What is held: the stored differences, and what guards hold of a plan."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from django.utils.dateparse import parse_datetime
from pyroaring import BitMap

from directory.models import CloudIdentityProvider, DirectoryObject, HeldChange
from directory.sync.attributes import GroupRow, UserRow
from directory.sync.bitmaps import pack, unpack
from jamfidp.compiled import Compiled, Question

if TYPE_CHECKING:
    from directory.sync.differences import Plan

Kind = DirectoryObject.Kind


@dataclass(slots=True)
class HeldSet:
    """Members that joined or left according to Entra, and not here.

    `inferred` are those of `left` that a full read left out, without Entra saying so.
    """

    joined: BitMap = field(default_factory=BitMap)
    left: BitMap = field(default_factory=BitMap)
    inferred: BitMap = field(default_factory=BitMap)

    def __bool__(self) -> bool:
        return bool(self.joined or self.left)

    def observed(self, in_effect: BitMap, *, never: BitMap) -> BitMap:
        """The members that Entra said last, without those who `never` join any more."""
        return (in_effect | (self.joined - never)) - self.left


@dataclass(slots=True)
class Hold:
    """The difference that is held of one object; `pk` is None before it is stored."""

    number: int
    kind: Kind
    row: UserRow | GroupRow | None = None
    told: bool = True
    users: HeldSet = field(default_factory=HeldSet)
    groups: HeldSet = field(default_factory=HeldSet)
    guards: tuple[str, ...] = ()
    pk: int | None = None
    stored_hash: str = ""
    stored_guards: tuple[str, ...] = ()

    @property
    def payload(self) -> dict[str, Any]:
        """The columns of HeldChange that say what is held."""
        return {
            "observed": None if self.row is None else _row_to_json(self.row),
            "told": self.told,
            "users_joined": _packed(self.users.joined),
            "users_left": _packed(self.users.left),
            "users_inferred": _packed(self.users.inferred),
            "groups_joined": _packed(self.groups.joined),
            "groups_left": _packed(self.groups.left),
            "groups_inferred": _packed(self.groups.inferred),
        }

    @property
    def payload_hash(self) -> str:
        """Names exactly what is held; a decision about it is bound to this."""
        sets = (part for held in (self.users, self.groups) for part in _parts(held))
        said = [
            self.number,
            None if self.row is None else _row_to_json(self.row),
            self.told,
            [list(part) for part in sets],
        ]
        return hashlib.sha256(orjson.dumps(said)).hexdigest()


def _parts(held: HeldSet) -> tuple[BitMap, BitMap, BitMap]:
    return held.joined, held.left, held.inferred


def _packed(numbers: BitMap) -> bytes | None:
    return pack(numbers) if numbers else None


def _row_to_json(row: UserRow | GroupRow) -> dict[str, Any]:
    stored = row._asdict()
    stored["state_since"] = row.state_since and row.state_since.isoformat()
    return stored


def _row_from_json(kind: Kind, stored: Mapping[str, Any]) -> UserRow | GroupRow:
    cls = UserRow if kind == Kind.USER else GroupRow
    # A column that a later version added has its default.
    known = {name: value for name, value in stored.items() if name in cls._fields}
    since = known.get("state_since")
    known["state_since"] = since and parse_datetime(since)
    return cls(**known)


def stored_hold(held: HeldChange) -> Hold:
    """Return what a row says is held."""
    return Hold(
        number=held.number,
        kind=Kind(held.kind),
        row=held.observed and _row_from_json(Kind(held.kind), held.observed),
        told=held.told,
        users=HeldSet(
            unpack(held.users_joined),
            unpack(held.users_left),
            unpack(held.users_inferred),
        ),
        groups=HeldSet(
            unpack(held.groups_joined),
            unpack(held.groups_left),
            unpack(held.groups_inferred),
        ),
        guards=tuple(held.guards),
        pk=held.pk,
        stored_hash=held.payload_hash,
        stored_guards=tuple(held.guards),
    )


_OPEN = Compiled(
    lambda cloud_idp: (
        HeldChange.objects.filter(cloud_idp=cloud_idp, closed_at=None)
        .order_by()
        .values_list("pk")[:1]
    )
)


def asked_open(cloud_idp: CloudIdentityProvider) -> Question:
    """Return the question whether anything is held."""
    return _OPEN.with_(cloud_idp.pk)


def open_holds(cloud_idp: CloudIdentityProvider) -> dict[int, Hold]:
    """Return what is held of a connection, by number."""
    # Most often nothing is.
    if not _OPEN.any(cloud_idp.pk):
        return {}
    return {
        held.number: stored_hold(held)
        for held in HeldChange.objects.filter(cloud_idp=cloud_idp, closed_at=None)
    }


@dataclass(slots=True)
class Held:
    """The parts of a plan that guards hold, each with the names of its guards.

    A person's or group's row is held as a whole, members one by one. Whoever holds the
    loss of a person or group holds with it what follows: the plan sees to that.
    """

    people: dict[int, set[str]] = field(default_factory=dict)
    groups: dict[int, set[str]] = field(default_factory=dict)
    users: dict[int, HeldSet] = field(default_factory=dict)
    nesting: dict[int, HeldSet] = field(default_factory=dict)
    # Guards of members, by group.
    members: dict[int, set[str]] = field(default_factory=dict)
    # Asked once the holds stand: the numbers of those that somebody agreed to.
    agreed: Callable[["Plan"], BitMap] | None = None
    # What takes effect of the losses, as SyncRun.losses keeps it.
    losses: dict[str, Any] = field(default_factory=dict)

    def hold_people(self, numbers: Iterable[int], guard: str) -> None:
        for number in numbers:
            self.people.setdefault(number, set()).add(guard)

    def hold_groups(self, numbers: Iterable[int], guard: str) -> None:
        for number in numbers:
            self.groups.setdefault(number, set()).add(guard)

    def hold_users(
        self,
        group: int,
        guard: str,
        *,
        joined: BitMap | None = None,
        left: BitMap | None = None,
    ) -> None:
        """Hold that these people joined or left a group."""
        _add(self.users, group, joined, left)
        self.members.setdefault(group, set()).add(guard)

    def hold_nesting(
        self,
        group: int,
        guard: str,
        *,
        joined: BitMap | None = None,
        left: BitMap | None = None,
    ) -> None:
        """Hold that these groups joined or left a group."""
        _add(self.nesting, group, joined, left)
        self.members.setdefault(group, set()).add(guard)


def _add(
    held: dict[int, HeldSet], group: int, joined: BitMap | None, left: BitMap | None
) -> None:
    sides = held.setdefault(group, HeldSet())
    if joined:
        sides.joined |= joined
    if left:
        sides.left |= left


Decide = Callable[["Plan"], Held]


def hold_nothing(_plan: "Plan") -> Held:
    """The guard of a console without guards."""
    return Held()
