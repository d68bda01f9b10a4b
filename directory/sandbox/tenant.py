"""One tenant's directory as it stands: its seed, and what was changed since.

Objects go by number inside the sandbox. Every change gets a sequence number; delta
queries read the log from a sequence number on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

from pyroaring import BitMap

from directory.sandbox.crowd import Stretch
from directory.sandbox.directory_log import DirectoryLog, What
from directory.sandbox.directory_object import (
    DirectoryError,
    DirectoryObject,
    Kind,
    NotFoundError,
    Properties,
)
from directory.sandbox.overlay import Overlay
from directory.sandbox.rendered_pages import RenderedPages
from directory.sandbox.seed import Seed

_NO_NUMBERS = BitMap()
_MOST_REMEMBERED = 8
_Made = TypeVar("_Made")


class Tenant:
    """The directory as it stands. Tokens of another ``generation`` are worthless.

    ``pages`` keeps what was rendered of the seed, where that is worth it.
    """

    def __init__(
        self,
        seed: Seed,
        *,
        overlay: Overlay | None = None,
        pages: RenderedPages | None = None,
    ) -> None:
        self.seed = seed
        self.pages = pages
        self.id = seed.tenant_id
        self.generation = ""
        self.overlay = overlay or Overlay.over(seed)
        self._remembered: dict[Any, Any] = {}

    @cached_property
    def untouched(self) -> "Tenant":
        """Return the tenant as it is without any change."""
        return Tenant(self.seed)

    def copy(self) -> "Tenant":
        """Return a tenant that is as this one and goes its own way from here."""
        made = Tenant(self.seed, overlay=self.overlay.copy(), pages=self.pages)
        made.generation = self.generation
        return made

    def reset(self) -> None:
        """Go back to the seed and forget the log."""
        self.overlay = Overlay.over(self.seed)
        self._remembered.clear()

    def go_back(self, overlay: Overlay) -> None:
        """Be as this overlay has it; what the log told meanwhile is taken back."""
        overlay.log.go_on_from(self.sequence)
        self.overlay = overlay
        self._remembered.clear()

    def remembered(self, key: Any, make: Callable[[], _Made]) -> _Made:
        """Return what ``make`` made for this key, which only a reset may outdate.

        The last few are kept.
        """
        found: _Made | None = self._remembered.pop(key, None)
        if found is None:
            found = make()
        self._remembered[key] = found
        if len(self._remembered) > _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return found

    @property
    def next_number(self) -> int:
        """Return the number that the next created object gets."""
        return self.seed.count + len(self.overlay.made)

    @property
    def display_name(self) -> str:
        return self.overlay.display_name

    @property
    def domain(self) -> str:
        return self.overlay.domain

    @property
    def initial_domain(self) -> str:
        return self.overlay.initial_domain

    @property
    def domains(self) -> tuple[str, str]:
        return self.domain, self.initial_domain

    @property
    def log(self) -> DirectoryLog:
        return self.overlay.log

    @property
    def sequence(self) -> int:
        return self.overlay.log.sequence

    @property
    def hidden(self) -> frozenset[int]:
        """Return the groups whose membership only some applications may see."""
        return self.overlay.hidden

    @property
    def ruled(self) -> Mapping[int, str]:
        """Return the dynamic groups that are there, with their rules."""
        return {
            group: rule
            for group, rule in self.overlay.ruled.items()
            if group not in self.overlay.deleted
        }

    @property
    def deleted(self) -> BitMap:
        """Return what was deleted and can be restored."""
        return self.overlay.deleted

    def kind_of(self, number: int) -> Kind:
        """Return the kind of an object that is there or was."""
        made = number - self.seed.count
        return self.seed.kind_of(number) if made < 0 else self.overlay.made[made][1]

    def id_of(self, number: int) -> str:
        """Return the id of an object that is there or was."""
        made = number - self.seed.count
        return self.seed.ids.of(number) if made < 0 else self.overlay.made[made][0]

    def object(self, number: int) -> DirectoryObject | None:
        """Return the object, soft-deleted too, or None when it is gone."""
        entry = self.overlay.objects.get(number)
        if entry is not None:
            return entry
        if number in self.overlay.purged:
            return None
        return self.seed.object(number)

    def find(self, key: str, *kinds: Kind) -> DirectoryObject | None:
        """Find a present object by id, or a user by UPN. Soft-deleted ones are absent."""
        entry = self.find_even_deleted(key, *kinds)
        return entry if entry is not None and entry.deleted_at is None else None

    def find_even_deleted(self, key: str, *kinds: Kind) -> DirectoryObject | None:
        number = self.number_of(key.lower())
        if number is None and "@" in key:
            number = self.user_named(key)
        entry = None if number is None else self.object(number)
        if entry is not None and kinds and entry.kind not in kinds:
            return None
        return entry

    def need(self, key: str, *kinds: Kind, deleted: bool = False) -> DirectoryObject:
        entry = self.find_even_deleted(key, *kinds)
        if entry is None or (entry.deleted_at is not None) is not deleted:
            state = "deleted " if deleted else ""
            raise NotFoundError(f"There is no {state}object '{key}'.")
        return entry

    def number_of(self, object_id: str) -> int | None:
        """Return the number of what has a lower-case id, or had it before a purge."""
        number = self.overlay.made_numbers.get(object_id)
        return self.seed.ids.number(object_id) if number is None else number

    def user_named(self, upn: str) -> int | None:
        """Return the number of the user with a principal name, whatever its case."""
        lowered = upn.casefold()
        if lowered in self.overlay.upns:
            return self.overlay.upns[lowered]
        return self.seed.user_named(upn)

    def is_named(self, user_id: str, upn: str) -> bool:
        number = self.user_named(upn)
        return number is not None and self.id_of(number) == user_id

    def positions(self, kind: Kind) -> "Positions":
        """Return the numbers of all that ever was of a kind, in an order that stays."""
        return Positions(self.seed.numbers[kind], self.overlay.made_of_kind[kind])

    def crowd(self, kind: Kind) -> "Positions":
        """Return the positions of a kind without those of the named cast."""
        return Positions(self.seed.crowd[kind], self.overlay.made_of_kind[kind])

    def count(self, kind: Kind) -> int:
        """Say how many there are of a kind, without the soft-deleted ones."""
        return len(self.positions(kind)) - self.overlay.absent[kind]

    def present(self, kind: Kind) -> Iterator[DirectoryObject]:
        for _place, entry in self.walk(self.positions(kind)):
            if entry.deleted_at is None:
                yield entry

    def walk(
        self, numbers: Sequence[int], start: int = 0
    ) -> Iterator[tuple[int, DirectoryObject]]:
        """Yield neighboring objects, each with the place after it; none that is gone.

        It shares work among neighbors, as ``listed`` does not.
        """
        near: Stretch | None = None
        for place in range(start, len(numbers)):
            number = numbers[place]
            entry = self.overlay.objects.get(number)
            if entry is None and number not in self.overlay.purged:
                near = self.seed.near(number, near)
                entry = self.seed.object(number, near)
            if entry is not None:
                yield place + 1, entry

    def listed(self, numbers: Iterable[int]) -> Iterator[DirectoryObject]:
        """Yield the objects of these numbers, without those that are gone."""
        return (entry for entry in map(self.object, numbers) if entry is not None)

    def of_kind(self, kind: Kind, numbers: Iterable[int]) -> list[int]:
        of_seed, made = self.seed.numbers[kind], set(self.overlay.made_of_kind[kind])
        return [number for number in numbers if number in of_seed or number in made]

    def seed_members(self, group: int) -> memoryview | tuple[int, ...]:
        """Return the members that the group had in the seed, ascending."""
        return self.seed.members(group) if group < self.seed.count else ()

    def lost_members(self, group: int) -> BitMap:
        """Return those of the seed's members that are in the group no longer."""
        return self.overlay.members.removed.get(group, _NO_NUMBERS)

    def added_members(self, group: int) -> BitMap:
        """Return the members that the group did not have in the seed."""
        return self.overlay.members.added.get(group, _NO_NUMBERS)

    def members(self, group: int) -> Sequence[int]:
        """Return the direct members, without the soft-deleted ones."""
        found: Sequence[int] = self.seed_members(group)
        gone = self.lost_members(group) | self.overlay.deleted
        added = self.added_members(group)
        if gone:
            found = [number for number in found if number not in gone]
            added = added - gone
        return [*found, *added] if added else found

    def member_count(self, group: int) -> int:
        """Say how many direct members a group has, soft-deleted ones too."""
        kept = len(self.seed_members(group)) - len(self.lost_members(group))
        return kept + len(self.added_members(group))

    def membership_count(self) -> int:
        """Say how many direct memberships all groups have, soft-deleted ones too."""
        changes, groups = self.overlay.members, self.seed.numbers[Kind.GROUP]
        gone = (number for number in self.overlay.purged if number in groups)
        return (
            len(self.seed.member_links)
            + sum(map(len, changes.added.values()))
            - sum(map(len, changes.removed.values()))
            - sum(len(self.seed_members(group)) for group in gone)
        )

    def is_member(self, group: int, number: int) -> bool:
        return number in self.added_members(group) or (
            self._was_member(group, number) and number not in self.lost_members(group)
        )

    def _was_member(self, group: int, number: int) -> bool:
        known = group < self.seed.count and number < self.seed.count
        return known and self.seed.is_member(group, number)

    def transitive_members(
        self, group: int, *, closed: frozenset[int] = frozenset()
    ) -> list[int]:
        """Return every member, direct or nested, each once; cycles end by themselves.

        A group that is part of a cycle is its own transitive member in the closure;
        it is left out, as nobody asks for it. ``closed`` groups are not opened.
        """
        seen: dict[int, None] = {}
        waiting = [group]
        while waiting:
            for member in self.members(waiting.pop()):
                if member in seen or member == group:
                    continue
                seen[member] = None
                if member not in closed and self.kind_of(member) is Kind.GROUP:
                    waiting.append(member)
        return list(seen)

    def groups_holding(self, number: int) -> list[int]:
        """Return the groups the object is directly in, soft-deleted ones too."""
        of_seed = self.seed.groups_of(number) if number < self.seed.count else ()
        gone = (
            self.overlay.groups.removed.get(number, _NO_NUMBERS) | self.overlay.purged
        )
        added = self.overlay.groups.added.get(number, _NO_NUMBERS) - self.overlay.purged
        return [*(group for group in of_seed if group not in gone), *added]

    def groups_of(self, number: int) -> list[int]:
        """Return every group the object is in, directly or nested, each once."""
        seen: dict[int, None] = {}
        waiting = [number]
        while waiting:
            for group in self.groups_holding(waiting.pop()):
                if group not in seen and group not in self.overlay.deleted:
                    seen[group] = None
                    waiting.append(group)
        seen.pop(number, None)
        return list(seen)

    def role_of(self, user_id: str) -> str | None:
        return self.overlay.roles.get(user_id)

    def give_role(self, user_id: str, role: str | None) -> None:
        if role:
            self.overlay.roles[user_id] = role
        else:
            self.overlay.roles.pop(user_id, None)

    def rename(self, *, display_name: str, domain: str) -> None:
        self.overlay.display_name = display_name
        self.overlay.domain = domain

    def create(self, kind: Kind, object_id: str, properties: Properties) -> int:
        """Create an object and return its number. Raises DirectoryError."""
        if self.find_even_deleted(object_id) is not None:
            raise DirectoryError(f"The id '{object_id}' is taken.")
        overlay, number = self.overlay, self.next_number
        if kind is Kind.USER:
            self._claim_upn(number, str(properties["userPrincipalName"]))
        overlay.made.append((object_id, kind))
        overlay.made_of_kind[kind].append(number)
        overlay.made_numbers[object_id] = number
        self._put(DirectoryObject(number, object_id, kind, properties))
        self.log.add(kind, number, What.CREATED)
        return number

    def change(self, key: str, kind: Kind, properties: Properties) -> None:
        entry = self.need(key, kind)
        if kind is Kind.USER and "userPrincipalName" in properties:
            old, new = (
                entry.properties["userPrincipalName"],
                str(properties["userPrincipalName"]),
            )
            self._claim_upn(entry.number, new)
            if old.casefold() != new.casefold():
                self.overlay.upns[old.casefold()] = None
        self._put(entry._replace(properties={**entry.properties, **properties}))
        self.log.add(kind, entry.number, What.CHANGED, names=frozenset(properties))

    def _put(self, entry: DirectoryObject) -> None:
        """Let an object be so from now on."""
        overlay = self.overlay
        overlay.objects[entry.number] = entry
        overlay.touched.add(entry.number)
        if entry.kind is not Kind.GROUP:
            return
        if rule := entry.properties.get("membershipRule"):
            overlay.ruled[entry.number] = rule
        else:
            overlay.ruled.pop(entry.number, None)
        if entry.properties.get("visibility") == "HiddenMembership":
            overlay.hidden |= {entry.number}
        else:
            overlay.hidden -= {entry.number}

    def delete(self, key: str, kind: Kind, *, at: str, permanently: bool) -> None:
        """Delete an object; users and Microsoft 365 groups can be restored.

        A soft-deleted object keeps its memberships; a purge removes them.
        """
        entry = self.find_even_deleted(key, kind)
        if entry is None:
            raise NotFoundError(f"There is no object '{key}'.")
        restorable = kind is Kind.USER or "Unified" in entry.properties.get(
            "groupTypes", ()
        )
        if permanently or not restorable:
            self._purge(entry)
        elif entry.deleted_at:
            raise DirectoryError(f"'{key}' is deleted already.")
        else:
            self._put(entry._replace(deleted_at=at))
            self.overlay.deleted.add(entry.number)
            self.overlay.absent[kind] += 1
            self._touch_groups_of(entry.number)
            self.log.add(kind, entry.number, What.DELETED)

    def restore(self, key: str, kind: Kind) -> None:
        entry = self.need(key, kind, deleted=True)
        self._put(entry._replace(deleted_at=None))
        self.overlay.deleted.remove(entry.number)
        self.overlay.absent[kind] -= 1
        self.log.add(kind, entry.number, What.RESTORED)

    def _touch_groups_of(self, number: int) -> None:
        self.overlay.touched.update(self.groups_holding(number))

    def add_member(self, group_key: str, member_key: str) -> None:
        group = self.need(group_key, Kind.GROUP)
        member = self.need(member_key)
        self.link(group.number, member.number)

    def remove_member(self, group_key: str, member_key: str) -> None:
        group = self.need(group_key, Kind.GROUP)
        member = self.find_even_deleted(member_key)
        if member is None or not self.is_member(group.number, member.number):
            raise NotFoundError(f"'{member_key}' is no member.")
        self.unlink(group.number, member.number)

    def link(self, group: int, member: int) -> None:
        """Make a present object a member. Raises DirectoryError when it is one."""
        if self.is_member(group, member):
            raise DirectoryError("It is a member already.")
        overlay = self.overlay
        in_seed = self._was_member(group, member)
        overlay.members.link(group, member, in_seed=in_seed)
        overlay.groups.link(member, group, in_seed=in_seed)
        if not in_seed and group not in overlay.is_extended:
            overlay.is_extended.add(group)
            overlay.extended.append(group)
        self.log.add(Kind.GROUP, group, What.MEMBER_ADDED, member=member)

    def unlink(self, group: int, member: int) -> None:
        """End a membership that exists."""
        overlay = self.overlay
        in_seed = self._was_member(group, member)
        overlay.members.unlink(group, member, in_seed=in_seed)
        overlay.groups.unlink(member, group, in_seed=in_seed)
        if in_seed:
            overlay.touched.add(group)
        self.log.add(Kind.GROUP, group, What.MEMBER_REMOVED, member=member)

    def _purge(self, entry: DirectoryObject) -> None:
        overlay, number = self.overlay, entry.number
        for group in self.groups_holding(number):
            self.unlink(group, number)
        # Whoever was in a group that is gone finds it among the purged.
        overlay.members.forget(number)
        overlay.groups.forget(number)
        overlay.roles.pop(entry.id, None)
        overlay.objects.pop(number, None)
        overlay.ruled.pop(number, None)
        overlay.hidden -= {number}
        overlay.purged.add(number)
        overlay.touched.add(number)
        if number in overlay.deleted:
            overlay.deleted.remove(number)
        else:
            overlay.absent[entry.kind] += 1
        if entry.kind is Kind.USER:
            overlay.upns[str(entry.properties["userPrincipalName"]).casefold()] = None
        self.log.add(entry.kind, number, What.PURGED)

    def _claim_upn(self, number: int, upn: str) -> None:
        holder = self.user_named(upn)
        if holder is not None and holder != number:
            raise DirectoryError(f"The user principal name '{upn}' is taken.")
        self.overlay.upns[upn.casefold()] = number


class Positions(Sequence[int]):
    """The numbers of the seed's objects, then of those that were made since."""

    def __init__(self, numbers: range, made: list[int]) -> None:
        self._numbers = numbers
        self._made = made

    def first(self, count: int) -> Sequence[int]:
        """Return those that were there when there were so many."""
        if count <= len(self._numbers):
            return self._numbers[:count]
        return Positions(self._numbers, self._made[: count - len(self._numbers)])

    def __len__(self) -> int:
        return len(self._numbers) + len(self._made)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        if 0 <= at < len(self._numbers):
            return self._numbers[at]
        return self._made[at - len(self._numbers)]
