"""A scope as it is written: what a form carries and what rows hold, entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from directory.dependents import ObjectRef
from scoping import evaluate
from scoping.evaluate import AddressRange, Channel, EntryKind, PrincipalRule, Role
from scoping.facts import Names, device_kind
from scoping.matching import fold
from scoping.models import DeviceKind, Scope, ScopeEntry

if TYPE_CHECKING:
    pass

__all__ = ["Draft", "EntryDraft", "UnreadableEntry", "draft_of", "drafts_of"]

GONE: Mapping[str, str] = {
    ScopeEntry.Kind.SMART_GROUP: "This smart group was deleted.",
    ScopeEntry.Kind.STATIC_GROUP: "This static group was deleted.",
    ScopeEntry.Kind.BUILDING: "This building was deleted.",
    ScopeEntry.Kind.DEPARTMENT: "This department was deleted.",
    ScopeEntry.Kind.NETWORK_SEGMENT: "This network segment was deleted.",
}


class UnreadableEntry(ValueError):
    """A form carried an entry that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDraft:
    """One target, limitation or exclusion. `kind` and `role` are the rows' values."""

    role: str
    kind: str
    ref_id: int | None = None
    ref: ObjectRef | None = None
    nested: bool = True
    label: str = ""

    @property
    def key(self) -> str:
        """What tells entries apart, in forms too: ROLE|KIND|what it names."""
        if self.ref is not None:
            named = f"{self.ref.tenant_id}/{self.ref.object_id}"
        elif self.ref_id is not None:
            named = str(self.ref_id)
        else:
            named = f"={fold(self.label)}"
        return f"{self.role}|{self.kind}|{named}"

    @property
    def is_local_user(self) -> bool:
        return self.kind == ScopeEntry.Kind.DIRECTORY_USER and self.ref is None

    @classmethod
    def read(cls, text: str) -> EntryDraft:
        """Read what `key` wrote. Raises UnreadableEntry."""
        role, _, rest = text.partition("|")
        kind, _, named = rest.partition("|")
        if role not in ScopeEntry.Role.values or kind not in ScopeEntry.Kind.values:
            raise UnreadableEntry(f"{text!r} is not an entry of a scope.")
        if kind not in allowed_kinds(role):
            raise UnreadableEntry(
                f"{ScopeEntry.Kind(kind).label} cannot be"
                f" {'an' if role == ScopeEntry.Role.EXCLUSION else 'a'}"
                f" {ScopeEntry.Role(role).label.lower()}."
            )
        if kind == ScopeEntry.Kind.DIRECTORY_USER and named.startswith("="):
            name = named[1:].strip()
            if not name or len(name) > 255:
                raise UnreadableEntry("A local user needs a name of 1 to 255 letters.")
            return cls(role=role, kind=kind, label=name)
        if kind in ScopeEntry.DIRECTORY:
            tenant_id, _, object_id = named.partition("/")
            if not (0 < len(tenant_id) <= 36 and 0 < len(object_id) <= 36):
                raise UnreadableEntry(f"{named!r} names nobody in a directory.")
            return cls(
                role=role,
                kind=kind,
                ref=ObjectRef(tenant_id.lower(), object_id.lower()),
            )
        if not (named.isdecimal() and named.isascii() and len(named) < 19):
            raise UnreadableEntry(f"{named!r} is not the number of an object.")
        return cls(role=role, kind=kind, ref_id=int(named))

    @classmethod
    def of(cls, row: ScopeEntry) -> EntryDraft:
        ref = ObjectRef(row.tenant_id, row.object_id) if row.object_id else None
        return cls(
            role=row.role,
            kind=row.kind,
            ref_id=row.ref_id,
            ref=ref,
            nested=row.nested,
            label=row.label,
        )

    def row(self, scope: Scope) -> ScopeEntry:
        tenant_id, object_id = self.ref or ("", "")
        return ScopeEntry(
            scope=scope,
            role=self.role,
            kind=self.kind,
            ref_id=self.ref_id,
            tenant_id=tenant_id,
            object_id=object_id,
            nested=self.nested,
            label=self.label,
        )

    def pure(self, names: Names) -> evaluate.Entry:
        """The entry for the rules: under the name it has now, broken when it is gone."""
        kind, role = EntryKind[self.kind], Role[self.role]
        if self.kind in ScopeEntry.DIRECTORY:
            return evaluate.Entry(
                kind=kind, role=role, label=self.label, ref=self.ref, nested=self.nested
            )
        name = names.of(self.kind, self.ref_id)
        # A device that was deleted is nobody's device: it needs no verdict.
        broken = GONE.get(self.kind, "") if name is None else ""
        ranges: tuple[AddressRange, ...] = ()
        if self.kind == ScopeEntry.Kind.NETWORK_SEGMENT and not broken:
            segment = names.segments[self.ref_id or 0]
            ranges = (
                AddressRange.parse(segment.starting_address, segment.ending_address),
            )
        return evaluate.Entry(
            kind=kind,
            role=role,
            label=name or self.label or f"Number {self.ref_id}",
            id=self.ref_id,
            ranges=ranges,
            broken=broken,
        )


def allowed_kinds(role: str) -> tuple[ScopeEntry.Kind, ...]:
    """The kinds that may stand in a column, in the order in which it shows them."""
    allowed = {each.name for each in evaluate.ALLOWED[Role[role]]}
    return tuple(kind for kind in ScopeEntry.Kind if kind.value in allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A whole scope, saved or not."""

    all_devices: bool = False
    principal: str = Scope.Principal.LOGGED_IN
    entries: tuple[EntryDraft, ...] = ()

    @property
    def refs(self) -> Mapping[ObjectRef, str]:
        """The directory references, with the name last known of each."""
        return {each.ref: each.label for each in self.entries if each.ref is not None}

    @property
    def device_ids(self) -> frozenset[int]:
        kind = ScopeEntry.Kind.DEVICE
        ids = (each.ref_id for each in self.entries if each.kind == kind)
        return frozenset(pk for pk in ids if pk is not None)

    def with_entry(self, entry: EntryDraft) -> Draft:
        if entry.key in {each.key for each in self.entries}:
            return self
        return replace(self, entries=(*self.entries, entry))

    def without(self, key: str) -> Draft:
        kept = tuple(each for each in self.entries if each.key != key)
        return replace(self, entries=kept)

    def pure(self, *, kind: str, channel: str, names: Names) -> evaluate.Scope:
        """The scope as the rules judge it."""
        everything = evaluate.Entry(kind=EntryKind.ALL_DEVICES, role=Role.TARGET)
        entries = tuple(each.pure(names) for each in self.entries)
        assigned = kind == DeviceKind.MOBILE or self.principal == "ASSIGNED"
        rule = PrincipalRule.ASSIGNED if assigned else PrincipalRule.LOGGED_IN
        return evaluate.Scope(
            device_kind=device_kind(kind),
            entries=(everything, *entries) if self.all_devices else entries,
            principal_rule=rule,
            channel=Channel[channel],
        )


def draft_of(scope: Scope, entries: Iterable[ScopeEntry] | None = None) -> Draft:
    """The scope as it is saved."""
    rows = scope.entries.order_by("pk") if entries is None else entries
    return Draft(
        all_devices=scope.all_devices,
        principal=scope.principal,
        entries=tuple(EntryDraft.of(row) for row in rows),
    )


def drafts_of(scopes: Sequence[Scope]) -> dict[int, Draft]:
    """Several scopes as they are saved, by id, with one query."""
    entries: dict[int, list[ScopeEntry]] = {scope.pk: [] for scope in scopes}
    for row in ScopeEntry.objects.filter(scope__in=list(entries)).order_by("pk"):
        entries[row.scope_id].append(row)
    return {scope.pk: draft_of(scope, entries[scope.pk]) for scope in scopes}
