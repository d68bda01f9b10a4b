"""Who is in scope: one device against one scope, as a verdict and as its derivation.

Pure. A device is in scope when it is in any target, and for every kind of limitation
present it matches at least one entry of that kind, and it matches no exclusion. Nothing
here reads a database, a clock or a network: facts and the directory come as arguments.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scoping.matching import fold
from scoping.principal import (
    Directory,
    DirectoryJudgement,
    NeverReported,
    Nobody,
    NotInDirectory,
    Person,
    Principal,
    judge_membership,
    judge_user,
    reported_at,
    standing,
)
from scoping.verdict import (
    Derivation,
    Joined,
    Link,
    Verdict,
    all_of,
    any_of,
    conjunction,
    disjunction,
    mark_decisive,
    none_of,
)

if TYPE_CHECKING:  # the seam knows Django; a type does not need it
    from directory.dependents import ObjectRef

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class DeviceKind(StrEnum):
    COMPUTER = "computer"
    MOBILE_DEVICE = "mobile_device"

    @property
    def noun(self) -> str:
        return self.value.replace("_", " ")

    @property
    def plural(self) -> str:
        return f"{self.noun}s"


class Channel(StrEnum):
    """What delivers an object, and so whose log-in counts, as in Jamf Pro."""

    AGENT = "agent"
    MDM = "mdm"
    SELF_SERVICE = "self_service"


class PrincipalRule(StrEnum):
    """Whose user directory entries are held against. Mobile devices: the assigned."""

    LOGGED_IN = "logged_in"
    ASSIGNED = "assigned"


class Role(StrEnum):
    TARGET = "target"
    LIMITATION = "limitation"
    EXCLUSION = "exclusion"


class EntryKind(StrEnum):
    ALL_DEVICES = "all_devices"
    DEVICE = "device"
    SMART_GROUP = "smart_group"
    STATIC_GROUP = "static_group"
    BUILDING = "building"
    DEPARTMENT = "department"
    DIRECTORY_USER = "directory_user"
    DIRECTORY_GROUP = "directory_group"
    NETWORK_SEGMENT = "network_segment"


class LimitationKind(StrEnum):
    """Kinds that must each be met. Directory users and groups are one together."""

    DIRECTORY_SERVICE = "Directory Service"
    NETWORK_SEGMENTS = "Network Segments"


_LIMITATION_KIND = {
    EntryKind.DIRECTORY_USER: LimitationKind.DIRECTORY_SERVICE,
    EntryKind.DIRECTORY_GROUP: LimitationKind.DIRECTORY_SERVICE,
    EntryKind.NETWORK_SEGMENT: LimitationKind.NETWORK_SEGMENTS,
}

ALLOWED: Mapping[Role, frozenset[EntryKind]] = {
    Role.TARGET: frozenset(EntryKind) - frozenset(_LIMITATION_KIND),
    Role.LIMITATION: frozenset(_LIMITATION_KIND),
    Role.EXCLUSION: frozenset(EntryKind) - {EntryKind.ALL_DEVICES},
}


class EntryNotAllowed(ValueError):
    """An entry of this kind cannot stand in this column of a scope."""


class AddressRange(NamedTuple):
    """An inclusive range of addresses, both of one version."""

    first: IPAddress
    last: IPAddress

    @classmethod
    def parse(cls, first: str, last: str) -> AddressRange:
        """Raises ValueError, in words, for what is not a range."""
        begin, end = _address(first), _address(last)
        if begin.version != end.version:
            raise ValueError(f"{first} and {last} are not of the same IP version.")
        if int(begin) > int(end):
            raise ValueError(f"{first} comes after {last}.")
        return cls(begin, end)

    def holds(self, address: IPAddress) -> bool:
        same = address.version == self.first.version
        return same and int(self.first) <= int(address) <= int(self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a scope.

    Directory entries carry `ref` (and groups `nested`), network segments `ranges`, all
    others `id`; all devices carries none. A user without `ref` is a local user, whose
    name is `label`. `label` is the name last known. `broken` says
    why an entry that is not of the directory cannot be evaluated any more.
    """

    kind: EntryKind
    role: Role
    label: str = ""
    id: int | None = None
    ref: ObjectRef | None = None
    nested: bool = True
    ranges: tuple[AddressRange, ...] = ()
    broken: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ALLOWED[self.role]:
            raise EntryNotAllowed(
                f"{self.kind.replace('_', ' ').capitalize()} cannot be"
                f" {'an' if self.role is Role.EXCLUSION else 'a'} {self.role}."
            )
        directory = _LIMITATION_KIND.get(self.kind) is LimitationKind.DIRECTORY_SERVICE
        local = self.kind is EntryKind.DIRECTORY_USER and self.label.strip()
        if directory and self.ref is None and not local:
            raise EntryNotAllowed(f"{self.label} names nobody in the directory.")
        if not directory and self.kind is not EntryKind.ALL_DEVICES and self.id is None:
            raise EntryNotAllowed(f"{self.label} names no object.")


class Part(NamedTuple):
    """A piece of a sentence; `entry` is set where the piece is an entry's name."""

    text: str
    entry: Entry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Targets, limitations and exclusions of one object."""

    device_kind: DeviceKind
    entries: tuple[Entry, ...] = ()
    principal_rule: PrincipalRule = PrincipalRule.LOGGED_IN
    channel: Channel = Channel.AGENT

    def having(self, role: Role) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.role is role)

    @property
    def targets(self) -> tuple[Entry, ...]:
        return self.having(Role.TARGET)

    @property
    def exclusions(self) -> tuple[Entry, ...]:
        return self.having(Role.EXCLUSION)

    @property
    def limitations(self) -> Mapping[LimitationKind, tuple[Entry, ...]]:
        """Only the kinds present: a kind without entries does not limit."""
        found: dict[LimitationKind, tuple[Entry, ...]] = {}
        for entry in self.having(Role.LIMITATION):
            kind = _LIMITATION_KIND[entry.kind]
            found[kind] = (*found.get(kind, ()), entry)
        return found

    @property
    def uses_assigned_user(self) -> bool:
        """Nobody logs in to a mobile device, so there it is always the assigned."""
        return (
            self.device_kind is DeviceKind.MOBILE_DEVICE
            or self.principal_rule is PrincipalRule.ASSIGNED
        )

    def sentence(self) -> tuple[Part, ...]:
        """The scope as one sentence, without its full stop, in parts for emphasis."""
        parts = _target_parts(self.device_kind, self.targets)
        for kind, entries in self.limitations.items():
            so_far = any(part.text.startswith(", limited to") for part in parts)
            start = ", and to " if so_far else ", limited to "
            parts += [Part(start), *_listed(entries, "or", limiting=True)]
            if kind is LimitationKind.DIRECTORY_SERVICE and (
                self.uses_assigned_user
                and self.device_kind is not DeviceKind.MOBILE_DEVICE
            ):
                parts.append(Part(" as the assigned user"))
        if self.exclusions:
            parts += [Part(", except "), *_listed(self.exclusions, "and")]
        return tuple(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What is known of one device.

    A smart group without a verdict, and a channel without a principal, are unknown.
    `smart_group_derivations` only adds the reasons below a smart group's verdict.
    """

    id: int
    kind: DeviceKind
    name: str
    smart_groups: Mapping[int, Verdict] = field(default_factory=dict)
    smart_groups_as_of: datetime | None = None
    smart_group_derivations: Mapping[int, Derivation] = field(default_factory=dict)
    static_groups: frozenset[int] = frozenset()
    building_id: int | None = None
    department_id: int | None = None
    inventory_as_of: datetime | None = None
    last_reported_ip: str | None = None
    ip_reported_at: datetime | None = None
    assigned: Principal = field(default_factory=NeverReported)
    logged_in: Mapping[Channel, Principal] = field(default_factory=dict)


def evaluate(scope: Scope, facts: DeviceFacts, directory: Directory) -> Verdict:
    """The verdict alone: what `derive` says at its root, without the words."""
    if facts.kind is not scope.device_kind:
        return Verdict.OUT

    def any_matches(entries: Sequence[Entry]) -> Verdict:
        return disjunction(_matches(e, scope, facts, directory) for e in entries)

    verdict = any_matches(scope.targets)
    if verdict is Verdict.OUT:
        return verdict
    limits = (any_matches(entries) for entries in scope.limitations.values())
    verdict = verdict & conjunction(limits)
    if verdict is Verdict.OUT:
        return verdict
    return verdict & ~any_matches(scope.exclusions)


def derive(scope: Scope, facts: DeviceFacts, directory: Directory) -> Derivation:
    """The verdict with all it rests on; the deciding path is marked."""
    link = Link(facts.kind, str(facts.id))
    if facts.kind is not scope.device_kind:
        return Derivation(
            claim=f"{facts.name} is not in scope",
            verdict=Verdict.OUT,
            fact=f"The scope is for {scope.device_kind.plural};"
            f" {facts.name} is a {facts.kind.noun}",
            link=link,
            decisive=True,
        )

    def each(entries: Sequence[Entry]) -> list[Derivation]:
        return [_entry_derivation(e, scope, facts, directory) for e in entries]

    conditions = [_targets(facts, each(scope.targets))]
    conditions += [
        _limitation(kind, each(entries)) for kind, entries in scope.limitations.items()
    ]
    if scope.exclusions:
        conditions.append(_exclusions(each(scope.exclusions)))
    whole = all_of("", conditions)
    claim = {
        Verdict.IN: f"{facts.name} is in scope",
        Verdict.OUT: f"{facts.name} is not in scope",
        Verdict.UNKNOWN: f"Whether {facts.name} is in scope is not known",
    }[whole.verdict]
    return mark_decisive(replace(whole, claim=claim, link=link))


def decide(previous_decided: bool, verdict: Verdict) -> bool:
    """Whether the device is in the decided set from now on.

    Unknown leaves a decided device as it is and never brings in an undecided one.
    """
    return previous_decided if verdict is Verdict.UNKNOWN else verdict is Verdict.IN


def _targets(facts: DeviceFacts, children: list[Derivation]) -> Derivation:
    node = any_of("", children)
    claim = {
        Verdict.IN: "It is in a target",
        Verdict.OUT: "It is in no target" if children else "The scope has no targets",
        Verdict.UNKNOWN: "Whether it is in a target is not known",
    }[node.verdict]
    return any_of(claim, children, turn_in=f"Add {facts.name} to the targets")


def _limitation(kind: LimitationKind, children: list[Derivation]) -> Derivation:
    node = any_of("", children)
    claim = {
        Verdict.IN: f"It matches the limitation {kind.value}",
        Verdict.OUT: f"It matches no entry of the limitation {kind.value}",
        Verdict.UNKNOWN: f"Whether it matches the limitation {kind.value} is not known",
    }[node.verdict]
    return any_of(claim, children)


def _exclusions(children: list[Derivation]) -> Derivation:
    node = none_of("", children)
    claim = {
        Verdict.IN: "It matches no exclusion",
        Verdict.OUT: "It matches an exclusion",
        Verdict.UNKNOWN: "Whether it matches an exclusion is not known",
    }[node.verdict]
    return none_of(claim, children)


def _principal(scope: Scope, facts: DeviceFacts) -> Principal:
    if scope.uses_assigned_user:
        return facts.assigned
    return facts.logged_in.get(scope.channel, NeverReported())


def _judge(
    entry: Entry, ref: ObjectRef, scope: Scope, facts: DeviceFacts, directory: Directory
) -> DirectoryJudgement:
    principal = _principal(scope, facts)
    assigned = scope.uses_assigned_user
    if entry.kind is EntryKind.DIRECTORY_USER:
        return judge_user(ref, principal, directory, assigned=assigned)
    return judge_membership(
        ref, principal, directory, nested=entry.nested, assigned=assigned
    )


def _matches(
    entry: Entry, scope: Scope, facts: DeviceFacts, directory: Directory
) -> Verdict:
    if entry.ref is not None:
        return _judge(entry, entry.ref, scope, facts, directory).verdict
    if entry.kind is EntryKind.DIRECTORY_USER and not entry.broken:
        return _local_user_verdict(entry, _principal(scope, facts))
    return _inventory_verdict(entry, facts)


def _local_user_verdict(entry: Entry, principal: Principal) -> Verdict:
    """A local user is in no directory: the reported name alone says who it is."""
    if isinstance(principal, NeverReported):
        return Verdict.UNKNOWN
    if isinstance(principal, Nobody | Person):
        return Verdict.OUT
    if fold(principal.reported_user_name) != fold(entry.label):
        return Verdict.OUT
    known = isinstance(principal, NotInDirectory)
    return Verdict.IN if known else Verdict.UNKNOWN


def _local_user(entry: Entry, scope: Scope, facts: DeviceFacts) -> Derivation:
    principal = _principal(scope, facts)
    verdict = _local_user_verdict(entry, principal)
    known = standing(principal, assigned=scope.uses_assigned_user)
    claim = {
        Verdict.IN: f"The user is the local user {entry.label}",
        Verdict.OUT: f"The user is not the local user {entry.label}",
        Verdict.UNKNOWN: f"Whether the user is the local user {entry.label} is not"
        " known",
    }[verdict]
    return Derivation(
        claim=claim,
        verdict=verdict,
        fact=known.claim,
        as_of=reported_at(principal),
        turn_in=f"Let {entry.label} be the user of this device",
        turn_out=f"Let somebody other than {entry.label} be the user of this device",
        settle=known.settle,
    )


def _inventory_verdict(entry: Entry, facts: DeviceFacts) -> Verdict:
    if entry.broken:
        return Verdict.UNKNOWN
    match entry.kind:
        case EntryKind.ALL_DEVICES:
            return Verdict.IN
        case EntryKind.DEVICE:
            return Verdict.of(entry.id == facts.id)
        case EntryKind.SMART_GROUP:
            return facts.smart_groups.get(entry.id or 0, Verdict.UNKNOWN)
        case EntryKind.STATIC_GROUP:
            return Verdict.of(entry.id in facts.static_groups)
        case EntryKind.BUILDING:
            return Verdict.of(entry.id == facts.building_id)
        case EntryKind.DEPARTMENT:
            return Verdict.of(entry.id == facts.department_id)
        case _:
            return _segment_verdict(entry, facts)


def _segment_verdict(entry: Entry, facts: DeviceFacts) -> Verdict:
    if not facts.last_reported_ip:
        return Verdict.UNKNOWN
    try:
        address = _address(facts.last_reported_ip)
    except ValueError:
        return Verdict.UNKNOWN
    return Verdict.of(any(each.holds(address) for each in entry.ranges))


def _address(text: str) -> IPAddress:
    """Raises ValueError. An IPv4 address written as IPv6 counts as IPv4."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError as error:
        raise ValueError(f"{text} is not an IP address.") from error
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


def _entry_derivation(
    entry: Entry, scope: Scope, facts: DeviceFacts, directory: Directory
) -> Derivation:
    if (
        entry.ref is None
        and entry.kind is EntryKind.DIRECTORY_USER
        and not entry.broken
    ):
        return _local_user(entry, scope, facts)
    if entry.ref is None:
        return _inventory_derivation(entry, facts)
    judged = _judge(entry, entry.ref, scope, facts, directory)
    return Derivation(
        claim=judged.claim,
        verdict=judged.verdict,
        fact=judged.fact,
        as_of=judged.as_of,
        link=judged.link,
        turn_in=judged.turn_in,
        turn_out=judged.turn_out,
        settle=judged.settle,
    )


def _inventory_derivation(entry: Entry, facts: DeviceFacts) -> Derivation:
    verdict = _inventory_verdict(entry, facts)
    if entry.broken:
        return Derivation(
            claim=f"{entry.label} cannot be evaluated",
            verdict=verdict,
            fact=entry.broken,
            settle=f"Remove or rebind {entry.label}",
        )
    link = Link(entry.kind, str(entry.id)) if entry.id is not None else None
    negation = {Verdict.IN: "", Verdict.OUT: "not "}.get(verdict, "")
    column = f"{entry.role}s"
    match entry.kind:
        case EntryKind.ALL_DEVICES:
            return Derivation(
                claim=f"All {facts.kind.plural} are in the targets",
                verdict=verdict,
                turn_out=f"Remove all {facts.kind.plural} from the targets",
            )
        case EntryKind.DEVICE:
            return Derivation(
                claim=f"{facts.name} is {negation}{entry.label}",
                verdict=verdict,
                fact=f"{entry.label} is listed in the {column}",
                link=link,
                turn_out=f"Remove {entry.label} from the {column}",
            )
        case EntryKind.SMART_GROUP:
            return _smart_group(entry, verdict, facts, link)
        case EntryKind.NETWORK_SEGMENT:
            return _segment(entry, verdict, facts, link)
        case EntryKind.STATIC_GROUP:
            claim = f"{facts.name} is {negation}in the static group {entry.label}"
            turn_in = f"Add {facts.name} to the static group {entry.label}"
            turn_out = f"Remove {facts.name} from the static group {entry.label}"
        case _:
            claim = f"{facts.name} is {negation}in the {entry.kind} {entry.label}"
            turn_in = f"Set the {entry.kind} of {facts.name} to {entry.label}"
            turn_out = f"Change the {entry.kind} of {facts.name}"
    return Derivation(
        claim=claim,
        verdict=verdict,
        fact="Inventory",
        as_of=facts.inventory_as_of,
        link=link,
        turn_in=turn_in,
        turn_out=turn_out,
    )


def _smart_group(
    entry: Entry, verdict: Verdict, facts: DeviceFacts, link: Link | None
) -> Derivation:
    name = entry.label
    why = facts.smart_group_derivations.get(entry.id or 0)
    children = (why,) if why is not None and why.verdict is verdict else ()
    calculated = entry.id in facts.smart_groups
    claim = {
        Verdict.IN: f"{facts.name} is in the smart group {name}",
        Verdict.OUT: f"{facts.name} is not in the smart group {name}",
        Verdict.UNKNOWN: f"Whether {facts.name} is in the smart group {name}"
        " is not known",
    }[verdict]
    return Derivation(
        claim=claim,
        verdict=verdict,
        fact=f"Criteria of {name}"
        if calculated
        else f"{name} has not been calculated for this device",
        as_of=facts.smart_groups_as_of if calculated else None,
        link=link,
        children=children,
        joined=Joined.ALL if children else Joined.FACT,
        turn_in=f"Let {facts.name} meet the criteria of {name}",
        turn_out=f"Let {facts.name} no longer meet the criteria of {name}",
        settle=f"Settle what is not known in the criteria of {name}"
        if calculated
        else f"Recalculate {name}",
    )


def _segment(
    entry: Entry, verdict: Verdict, facts: DeviceFacts, link: Link | None
) -> Derivation:
    reported = facts.last_reported_ip
    claim = {
        Verdict.IN: f"{reported} is in the network segment {entry.label}",
        Verdict.OUT: f"{reported} is not in the network segment {entry.label}",
        Verdict.UNKNOWN: f"Whether {facts.name} is in the network segment"
        f" {entry.label} is not known",
    }[verdict]
    if not reported:
        fact = "This device has never reported an IP address"
    elif verdict is Verdict.UNKNOWN:
        fact = f"{reported} is not an IP address"
    else:
        fact = f"The last reported IP address is {reported}"
    return Derivation(
        claim=claim,
        verdict=verdict,
        fact=fact,
        as_of=facts.ip_reported_at,
        link=link,
        turn_in=f"Let {facts.name} report from {entry.label}",
        turn_out=f"Let {facts.name} report from outside {entry.label}",
        settle=f"Wait until {facts.name} reports its IP address",
    )


def _named(entry: Entry, *, limiting: bool) -> list[Part]:
    before = {
        EntryKind.BUILDING: "the building ",
        EntryKind.DEPARTMENT: "the department ",
        EntryKind.NETWORK_SEGMENT: "addresses in ",
        EntryKind.DIRECTORY_GROUP: "members of " if limiting else "",
    }.get(entry.kind, "")
    parts = [Part(before)] if before else []
    parts.append(Part(entry.label, entry))
    if entry.kind is EntryKind.DIRECTORY_GROUP and entry.nested:
        parts.append(Part(" (nested)"))
    return parts


def _listed(
    entries: Sequence[Entry], word: str, *, limiting: bool = False
) -> list[Part]:
    parts: list[Part] = []
    for position, entry in enumerate(entries):
        if position:
            last = position == len(entries) - 1
            parts.append(Part(f" {word} " if last else ", "))
        parts += _named(entry, limiting=limiting)
    return parts


def _target_parts(kind: DeviceKind, targets: Sequence[Entry]) -> list[Part]:
    if any(entry.kind is EntryKind.ALL_DEVICES for entry in targets):
        return [Part(f"All {kind.plural}")]
    devices = [entry for entry in targets if entry.kind is EntryKind.DEVICE]
    others = [entry for entry in targets if entry.kind is not EntryKind.DEVICE]
    if not targets:
        return [Part(f"No {kind.plural}")]
    noun = kind.noun if len(devices) == 1 else kind.plural
    parts: list[Part] = []
    if others:
        parts += [Part(f"All {kind.plural} in "), *_listed(others, "or")]
    if devices:
        start = f", and the {noun} " if others else f"The {noun} "
        parts += [Part(start), *_listed(devices, "and")]
    return parts
