"""Held changes in words: what is held of whom, by which guard, and what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils import timezone
from pyroaring import BitMap

from directory.dependents import ObjectRef
from directory.models import (
    CloudIdentityProvider,
    Decision,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    EverythingHeld,
    GroupClosure,
    HeldChange,
    State,
)
from directory.sync.bitmaps import unpack
from directory.sync.guards import WORDS

NAMED = 50
_COLUMNS = {
    "account_enabled": "Enabled",
    "user_type": "Type",
    "display_name": "Name",
    "user_principal_name": "User principal name",
    "user_name": "Username",
    "real_name": "Full name",
    "email": "Email address",
    "department": "Department",
    "building": "Building",
    "room": "Room",
    "phone": "Phone",
    "position": "Position",
    "description": "Description",
    "mail": "Mail",
    "kind": "Group type",
    "is_dynamic": "Dynamic",
    "membership_rule": "Membership rule",
    "hidden_membership": "Hidden membership",
    "is_assignable_to_role": "Roles can be assigned",
}
_BECOMES = {
    State.DELETED: "deleted, and can be restored",
    State.GONE: "deleted for good",
    State.FILTERED: "filtered out",
    State.UNREADABLE: "no longer readable",
    State.MENTIONED: "named as a member, and not read yet",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A person or group, with its page where it has one."""

    name: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Members:
    """Members that join or leave: how many, and the first of them by name."""

    label: str
    count: int
    named: Sequence[Named]

    @property
    def more(self) -> int:
        return self.count - len(self.named)


@dataclass(frozen=True, slots=True)
class Described:
    """One held change for a page."""

    held: HeldChange
    subject: Named
    is_person: bool
    what: str
    why: Sequence[tuple[str, str]]
    differences: Sequence[Difference] = ()
    members: Sequence[Members] = ()

    @property
    def decision(self) -> Decision | None:
        return self.held.decision

    @property
    def what_within(self) -> str:
        """What is held, as it stands within a sentence."""
        return f"{self.what[:1].lower()}{self.what[1:]}"

    @property
    def status(self) -> tuple[str, str]:
        """The badge's state and text."""
        if self.held.closed_at is not None:
            return "neutral", self.held.get_outcome_display()
        if self.held.decision is None:
            return "attention", "Waits for a decision"
        if self.held.decision.verdict == Decision.Verdict.APPROVED:
            return "progress", "Approved, applied by the next sync"
        return "neutral", "Rejected"


def describe(
    changes: Iterable[HeldChange], *, people: bool, groups: bool, whole: bool = False
) -> list[Described]:
    """Put held changes into words. Names are given to whoever may see people or groups.

    With `whole` the differences and members as well.
    """
    changes = list(changes)
    numbers = BitMap(each.number for each in changes)
    sets = {each.pk: _sets(each) for each in changes}
    if whole:
        for some in sets.values():
            for _label, members, _kind in some:
                numbers.update(list(members)[:NAMED])
    names = _names(numbers, people=people, groups=groups)
    rows: dict[int, DirectoryUser | DirectoryGroup] = {}
    for kind, model in (
        (DirectoryObject.Kind.USER, DirectoryUser),
        (DirectoryObject.Kind.GROUP, DirectoryGroup),
    ):
        held = [each.number for each in changes if each.kind == kind and each.observed]
        for row in model._default_manager.filter(pk__in=held):
            rows[row.pk] = row
    return [
        _described(each, sets[each.pk], names, rows.get(each.number), whole=whole)
        for each in changes
    ]


def _sets(held: HeldChange) -> list[tuple[str, BitMap, str]]:
    return [
        (label, unpack(packed), kind)
        for label, packed, kind in (
            ("People who leave", held.users_left, "user"),
            ("People who join", held.users_joined, "user"),
            ("Nested groups that leave", held.groups_left, "group"),
            ("Nested groups that join", held.groups_joined, "group"),
        )
        if packed is not None
    ]


def _names(numbers: BitMap, *, people: bool, groups: bool) -> dict[int, Named]:
    found: dict[int, Named] = {}
    wanted = list(numbers)
    for allowed, model in ((people, DirectoryUser), (groups, DirectoryGroup)):
        for at in range(0, len(wanted) if allowed else 0, 1000):
            rows = model._default_manager.filter(pk__in=wanted[at : at + 1000])
            for row in rows:
                found[row.pk] = Named(str(row), row.get_absolute_url())
    missing = [number for number in wanted if number not in found]
    for at in range(0, len(missing), 1000):
        for seen in DirectoryObject.objects.filter(pk__in=missing[at : at + 1000]):
            person = seen.kind == DirectoryObject.Kind.USER
            if people if person else groups:
                found[seen.pk] = Named(f"{seen.get_kind_display()} {seen.object_id}")
            else:
                found[seen.pk] = Named("A person" if person else "A group")
    return found


def _described(
    held: HeldChange,
    sets: Sequence[tuple[str, BitMap, str]],
    names: Mapping[int, Named],
    row: DirectoryUser | DirectoryGroup | None,
    *,
    whole: bool,
) -> Described:
    is_person = held.kind == DirectoryObject.Kind.USER
    subject = names[held.number]
    observed = held.observed
    if observed and not subject.url and subject.name not in ("A person", "A group"):
        subject = Named(observed.get("display_name") or subject.name)
    differences = _differences(row, observed) if observed and whole else []
    parts = [_what_of_row(row, observed)] if observed else []
    parts += [
        f"{len(members):,} {_noun(label, len(members))}" for label, members, _ in sets
    ]
    return Described(
        held=held,
        subject=subject,
        is_person=is_person,
        what=_sentence(parts),
        why=[WORDS[guard] for guard in held.guards if guard in WORDS],
        differences=differences,
        members=[
            Members(
                label,
                len(members),
                [names[number] for number in list(members)[:NAMED] if number in names],
            )
            for label, members, _ in sets
        ]
        if whole
        else [],
    )


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}"


def _noun(label: str, count: int) -> str:
    one = count == 1
    return {
        "People who leave": "person leaves" if one else "people leave",
        "People who join": "person joins" if one else "people join",
        "Nested groups that leave": "nested group leaves" if one else "groups leave",
        "Nested groups that join": "nested group joins" if one else "groups join",
    }[label]


def _what_of_row(
    row: DirectoryUser | DirectoryGroup | None, observed: Mapping[str, object]
) -> str:
    state = str(observed.get("state"))
    if row is None:
        return "new in the directory"
    if state != row.state:
        if state == State.PRESENT:
            return "in the directory again"
        return _BECOMES.get(State(state), "changed")
    changed = [each.label for each in _differences(row, observed)]
    return f"{', '.join(changed[:3])} changed" if changed else "changed"


def _differences(
    row: DirectoryUser | DirectoryGroup | None, observed: Mapping[str, object]
) -> list[Difference]:
    found = []
    for column, label in _COLUMNS.items():
        if column not in observed:
            continue
        before = getattr(row, column, None) if row is not None else None
        if observed[column] != before and (observed[column] or before):
            found.append(Difference(label, _value(before), _value(observed[column])))
    return found


def _value(value: object) -> str:
    if value in (None, ""):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# --- What pages of people, groups and memberships say


def waiting(cloud_idp: CloudIdentityProvider | None = None) -> QuerySet[HeldChange]:
    """Open changes that nobody has decided."""
    rows = HeldChange.objects.filter(
        closed_at=None, decision=None, cloud_idp__deleted_at=None
    )
    return rows if cloud_idp is None else rows.filter(cloud_idp=cloud_idp)


def held_of(number: int) -> HeldChange | None:
    """Return what is held of a person or group."""
    return (
        HeldChange.objects.filter(number=number, closed_at=None)
        .select_related("decision")
        .first()
    )


def held_memberships_of(
    person: DirectoryUser,
) -> list[tuple[DirectoryGroup, HeldChange]]:
    """The groups that a person left according to Entra, or joined, and not here."""
    groups = HeldChange.objects.filter(
        cloud_idp_id=person.cloud_idp_id,
        closed_at=None,
        kind=DirectoryObject.Kind.GROUP,
    ).exclude(users_left=None, users_joined=None)
    found = {
        held.number: held
        for held in groups.select_related("decision")
        if person.pk in unpack(held.users_left)
        or person.pk in unpack(held.users_joined)
    }
    rows = DirectoryGroup.objects.filter(pk__in=found).order_by("sort_key")
    return [(row, found[row.pk]) for row in rows]


def leaving(group: DirectoryGroup) -> dict[int, HeldChange]:
    """People who left this group, or one nested in it, according to Entra alone."""
    below = GroupClosure.objects.filter(ancestor=group).values_list(
        "descendant_id", flat=True
    )
    found: dict[int, HeldChange] = {}
    for held in (
        HeldChange.objects.filter(closed_at=None, number__in=[group.pk, *below])
        .exclude(users_left=None)
        .select_related("decision")
    ):
        found |= dict.fromkeys(unpack(held.users_left), held)
    return found


def touching(
    named_by: Iterable[tuple[ObjectRef, bool]],
) -> list[tuple[str, HeldChange]]:
    """What is held of people and groups, each with the name of the one meant.

    A group whose nested groups count (True) is touched by what is held of these, too.
    """
    refs: dict[ObjectRef, bool] = {}
    for ref, counts_nested in named_by:
        refs[ref] = counts_nested or refs.get(ref, False)
    named: dict[int, str] = {}
    nested: dict[int, str] = {}
    objects = [ref.object_id for ref in refs]
    for model in (DirectoryUser, DirectoryGroup):
        rows = model._default_manager.filter(object_id__in=objects)
        for row in rows.select_related("cloud_idp"):
            ref = ObjectRef(row.cloud_idp.tenant_id, row.object_id)
            if ref in refs:
                named[row.pk] = str(row)
                if refs[ref]:
                    nested[row.pk] = str(row)
    below = GroupClosure.objects.filter(ancestor__in=list(nested))
    for ancestor, descendant in below.values_list("ancestor_id", "descendant_id"):
        named.setdefault(descendant, nested[ancestor])
    open_changes = HeldChange.objects.filter(closed_at=None, number__in=list(named))
    return [
        (named[each.number], each)
        for each in open_changes.select_related("decision").order_by("opened_at", "pk")
    ]


def note_of(person: int, group: DirectoryGroup) -> str:
    """Say where a membership in effect differs from Entra; empty where it does not."""
    below = GroupClosure.objects.filter(ancestor=group).values_list(
        "descendant_id", flat=True
    )
    for held in HeldChange.objects.filter(
        closed_at=None, number__in=[person, group.pk, *below]
    ).select_related("decision"):
        moved = unpack(held.users_left) | unpack(held.users_joined)
        if held.number != person and held.observed is None and person not in moved:
            continue
        if held.decision is not None and held.decision.ends_at is not None:
            since = timezone.localtime(held.decision.at)
            return (
                f"Differs from Entra by decision of {held.decision.actor_name} since "
                f"{since:%-d %B, %H:%M}"
            )
        since = timezone.localtime(held.opened_at)
        return f"Entra says otherwise since {since:%-d %B, %H:%M}; the change is held"
    return ""


def everything_held() -> list[EverythingHeld]:
    return list(
        EverythingHeld.objects.filter(released_at=None).select_related("cloud_idp")
    )


def of_connection(cloud_idp: CloudIdentityProvider) -> list[EverythingHeld]:
    return list(
        EverythingHeld.objects.filter(released_at=None).filter(
            Q(cloud_idp=cloud_idp) | Q(cloud_idp=None)
        )
    )
