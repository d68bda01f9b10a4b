"""What a run planned, for reading: consequences that a viewer may see, differences.

An object of a foreign site is not shown; how many were left out is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db.models import Count, Q, QuerySet
from pyroaring import BitMap

from directory.dependents import (
    Consequence,
    ConsequenceKind,
    Subject,
    Use,
    registered,
)
from directory.models import (
    DirectoryGroup,
    DirectoryUser,
    PlanConsequence,
    PlanPart,
    State,
    SyncRun,
)
from directory.search import matching
from directory.sync.bitmaps import unpack
from directory.sync.stored_plans import (
    Difference,
    Section,
    consequence_of,
    counts_of,
    difference_of,
    differences,
    entries_of,
)
from jamfidp.access import ConsoleUser

Kind = ConsequenceKind
PRIVILEGES = (Kind.PRIVILEGES_GAINED, Kind.PRIVILEGES_LOST)
REFERENCES = (Kind.REFERENCE_BREAKS, Kind.REFERENCE_RETURNS)
# The sorts of differences, and what each is called for people and groups.
SORTS: Mapping[str, str] = {
    "added": "Added",
    "changed": "Changed",
    "disabled": "Disabled",
    "enabled": "Enabled again",
    "deleted": "Deleted",
    "gone": "Deleted for good",
    "filtered": "Filtered out",
    "restored": "Restored",
    "unknown": "No longer readable",
    "mentioned": "Named and not read",
    "forgotten": "No longer named by anybody",
    "held": "Held",
}
NOUNS: Mapping[str, tuple[str, str]] = {
    Section.PEOPLE: ("person", "people"),
    Section.GROUPS: ("group", "groups"),
    Section.MEMBERS: ("group", "groups"),
    Section.HELD: ("change", "changes"),
}


# Consequences --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A consequence as a page lists it."""

    position: int
    title: str
    consequence: Consequence
    # Of its people or devices: those that the viewer may see, and how many more.
    visible: BitMap
    hidden: int

    @property
    def kind(self) -> str:
        return self.consequence.kind.value

    @property
    def heading(self) -> str:
        if self.consequence.kind in PRIVILEGES:
            return "Privileges"
        if self.consequence.kind in REFERENCES:
            return "References"
        return "Devices"


def visible_consequences(
    run: SyncRun, viewer: ConsoleUser
) -> tuple[QuerySet[PlanConsequence], int]:
    """The consequences in objects that the viewer may see, and how many others."""
    rows = PlanConsequence.objects.filter(run=run)
    allowed = Q()
    hidden = 0
    places = rows.values_list("permission", "site_id", "subject").annotate(Count("pk"))
    for permission, site_id, subject, count in places.order_by():
        if permission:
            seen = viewer.sites_with(permission).may_see(site_id)
        else:
            seen = may_see_some(Subject(subject), viewer)
        if seen:
            allowed |= Q(permission=permission, site_id=site_id, subject=subject)
        else:
            hidden += count
    return (rows.filter(allowed) if allowed else rows.none()), hidden


def may_see_some(subject: Subject, viewer: ConsoleUser) -> bool:
    return any(
        each.sees_subjects(subject, viewer=viewer)
        for each in registered()
        if subject in each.subjects
    )


def line_of(row: PlanConsequence, viewer: ConsoleUser) -> Line:
    consequence = consequence_of(row)
    visible = visible_subjects(consequence.subject, consequence.numbers, viewer)
    return Line(
        row.position,
        title_of(consequence),
        consequence,
        visible,
        consequence.count - len(visible),
    )


def visible_subjects(subject: Subject, numbers: BitMap, viewer: ConsoleUser) -> BitMap:
    """Which of these people or devices the viewer may see."""
    if not numbers:
        return BitMap()
    if subject is Subject.PERSON:
        seen = viewer.has_perm("directory.view_directoryuser")
        return numbers if seen else BitMap()
    for each in registered():
        if subject in each.subjects:
            return each.visible_subjects(subject, numbers, viewer=viewer)
    return BitMap()


def names_of(subject: Subject, numbers: Sequence[int], run: SyncRun) -> dict[int, Use]:
    """A line for each of these people or devices, also of those that are gone."""
    found: dict[int, Use] = {}
    if subject is Subject.PERSON:
        found = people_lines(numbers, run)
    else:
        for each in registered():
            if subject in each.subjects:
                found = dict(each.subject_lines(subject, numbers))
    for number in numbers:
        if number not in found:
            found[number] = Use(subject.value, f"{subject.value} {number}", "", "gone")
    return found


def counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def subject_noun(subject: Subject, count: int) -> str:
    if count == 1:
        return subject.value
    return {Subject.PERSON: "people"}.get(subject, f"{subject.value}s")


def subjects_in_words(subject: Subject, count: int) -> str:
    return f"{count:,} {subject_noun(subject, count)}"


def title_of(each: Consequence) -> str:
    """One consequence as a sentence."""
    name = each.about.name if each.about is not None else ""
    who = subjects_in_words(each.subject, each.count)
    one = each.count == 1
    match each.kind:
        case Kind.PRIVILEGES_GAINED | Kind.PRIVILEGES_LOST:
            gains = each.kind is Kind.PRIVILEGES_GAINED
            what = counted(len(each.what), "privilege", "privileges")
            if each.about is not None and each.about.kind == "account":
                return f"{name} {'gains' if gains else 'loses'} {what}"
            verb = ("gain" if gains else "lose") + ("s" if one else "")
            group = f" of the account group {name}" if name else ""
            return f"{who} without an account {verb} {what}{group}"
        case Kind.REFERENCE_BREAKS:
            return f"{each.what[0]} can no longer be used by {name}"
        case Kind.REFERENCE_RETURNS:
            return f"{each.what[0]} can be used by {name} again"
        case Kind.DEVICE_CHANGES:
            return f"{each.what[0]} changes for {who}"
        case Kind.GROUP_ENTERED | Kind.SCOPE_ENTERED:
            verb = "comes" if one else "come"
            where = "into scope of" if each.kind is Kind.SCOPE_ENTERED else "into"
            return f"{who} {verb} {where} {name}"
    verb = "leaves" if one else "leave"
    where = "the scope of " if each.kind is Kind.SCOPE_LEFT else ""
    return f"{who} {verb} {where}{name}"


# Differences ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """How many differences of a section there are, by sort."""

    section: str
    label: str
    noun: str
    total: int
    sorts: Sequence[tuple[str, str, int]]


def sections(run: SyncRun) -> list[Counts]:
    found = []
    for section, counter in counts_of(run).items():
        total = sum(counter.values())
        if not total:
            continue
        one, many = NOUNS[section]
        sorts = (
            [(sort, SORTS.get(sort, sort), counter[sort]) for sort in SORTS]
            if section in (Section.PEOPLE, Section.GROUPS)
            else []
        )
        found.append(
            Counts(
                section,
                str(Section(section).label),
                one if total == 1 else many,
                total,
                [each for each in sorts if each[2]],
            )
        )
    return found


def summary(run: SyncRun, viewer: ConsoleUser) -> str:
    """The plan in one sentence."""
    changes = run.changes
    parts = [
        words
        for words in (
            _people_in_words(changes, "users", "person", "people"),
            _people_in_words(changes, "groups", "group", "groups"),
            _sum_in_words(
                changes,
                ("memberships_added", "nesting_added"),
                ("membership begins", "memberships begin"),
            ),
            _sum_in_words(
                changes,
                ("memberships_removed", "nesting_removed"),
                ("membership ends", "memberships end"),
            ),
        )
        if words
    ]
    rows, _ = visible_consequences(run, viewer)
    kinds = dict(rows.values_list("kind").annotate(Count("pk")).order_by())
    for kind, one, many in (
        (Kind.PRIVILEGES_GAINED, "gain of privileges", "gains of privileges"),
        (Kind.PRIVILEGES_LOST, "loss of privileges", "losses of privileges"),
        (Kind.REFERENCE_BREAKS, "broken reference", "broken references"),
    ):
        if kinds.get(kind.value):
            parts.append(counted(kinds[kind.value], one, many))
    scopes = kinds.get(Kind.SCOPE_ENTERED.value, 0) + kinds.get(
        Kind.SCOPE_LEFT.value, 0
    )
    if scopes:
        parts.append(counted(scopes, "change of a scope", "changes of scopes"))
    if changes.get("held"):
        parts.append(f"{changes['held']:,} held")
    if not parts:
        return "Nothing differs from what is in effect."
    return f"{'; '.join(parts)}."


def _people_in_words(changes: Mapping[str, int], what: str, one: str, many: str) -> str:
    words = {
        "added": "added",
        "changed": "changed",
        "deleted": "deleted",
        "restored": "restored",
        "unknown": "no longer read",
    }
    found = [
        (changes[f"{what}_{sort}"], word)
        for sort, word in words.items()
        if changes.get(f"{what}_{sort}")
    ]
    parts = [f"{count:,} {word}" for count, word in found[1:]]
    first = [f"{counted(count, one, many)} {word}" for count, word in found[:1]]
    return ", ".join(first + parts)


def _sum_in_words(
    changes: Mapping[str, int], keys: Iterable[str], words: tuple[str, str]
) -> str:
    total = sum(changes.get(key, 0) for key in keys)
    return counted(total, *words) if total else ""


@dataclass(frozen=True, slots=True)
class Page:
    """Differences of one page; `previous` and `next` are numbers to go on from."""

    rows: Sequence[Difference]
    previous: int | None
    next: int | None


def page_of(
    run: SyncRun,
    section: str,
    *,
    after: int | None,
    before: int | None,
    sorts: frozenset[str],
    text: str,
    size: int,
) -> Page:
    among = numbers_matching(run, section, text) if text else None
    if before is not None and after is None:
        found = _some(
            differences(run, section, before=before, sorts=sorts, among=among), size
        )
        more = len(found) > size
        rows = found[:size][::-1]
        return Page(
            rows,
            rows[0].number if rows and more else None,
            rows[-1].number if rows else None,
        )
    start = -1 if after is None else after
    found = _some(
        differences(run, section, after=start, sorts=sorts, among=among), size
    )
    rows = found[:size]
    return Page(
        rows,
        rows[0].number if rows and after is not None else None,
        rows[-1].number if len(found) > size else None,
    )


def _some(found: Iterator[Difference], size: int) -> list[Difference]:
    return list(islice(found, size + 1))


def numbers_matching(run: SyncRun, section: str, text: str) -> BitMap:
    """People or groups whose name holds the text: by their rows, and by what the plan
    itself says of those that have none."""
    numbers = BitMap()
    models: tuple[type[DirectoryUser] | type[DirectoryGroup], ...] = (
        (DirectoryUser,)
        if section == Section.PEOPLE
        else (DirectoryUser, DirectoryGroup)
        if section == Section.HELD
        else (DirectoryGroup,)
    )
    for model in models:
        rows: QuerySet[Any] = matching(
            model._default_manager.filter(cloud_idp=run.cloud_idp_id), text
        )
        numbers.update(rows.values_list("pk", flat=True))
    if run.dry_run and section in (Section.PEOPLE, Section.GROUPS):
        wanted = text.casefold()
        for each in differences(run, section, sorts=frozenset(["added", "mentioned"])):
            said = (after for _, after in each.values.values())
            if any(wanted in str(value).casefold() for value in said):
                numbers.add(each.number)
    return numbers


def people_lines(numbers: Sequence[int], run: SyncRun) -> dict[int, Use]:
    """Names of people by number, from their rows or from what was planned of them."""
    return _lines(DirectoryUser, Section.PEOPLE, numbers, run)


def group_lines(numbers: Sequence[int], run: SyncRun) -> dict[int, Use]:
    return _lines(DirectoryGroup, Section.GROUPS, numbers, run)


def _lines(
    model: type[DirectoryUser] | type[DirectoryGroup],
    section: str,
    numbers: Sequence[int],
    run: SyncRun,
) -> dict[int, Use]:
    found = {}
    word = "person" if model is DirectoryUser else "group"
    for row in model._default_manager.filter(pk__in=numbers):
        detail = row.user_principal_name if isinstance(row, DirectoryUser) else row.mail
        state = "" if row.state == State.PRESENT else str(State(row.state).label)
        found[row.pk] = Use(
            word,
            str(row),
            row.get_absolute_url(),
            " · ".join(filter(None, (detail, state))),
        )
    for number in numbers:
        if number in found:
            continue
        planned = difference_of(run, section, number)
        values = planned.values if planned is not None else {}
        name = values.get("display_name", ("", ""))[1] or (
            planned.object_id if planned is not None else ""
        )
        upn = values.get("user_principal_name", ("", ""))[1]
        found[number] = Use(word, str(name or f"{word} {number}"), "", str(upn or ""))
    return found


# One object ----------------------------------------------------------------------


def member_changes_of(run: SyncRun, number: int) -> tuple[list[int], list[int]]:
    """The groups that a person or group joins and leaves by the plan."""
    joined, left = [], []
    for part in PlanPart.objects.filter(run=run, section=Section.MEMBERS).iterator(
        chunk_size=1
    ):
        for each in entries_of(part):
            if any(number in side for side in each.joined.values()):
                joined.append(each.number)
            if any(number in side for side in each.left.values()):
                left.append(each.number)
    return joined, left


def consequences_for(
    rows: QuerySet[PlanConsequence],
    number: int,
    viewer: ConsoleUser,
    *,
    limit: int,
    wanted: Callable[[PlanConsequence], BitMap] = lambda row: unpack(row.numbers),
) -> list[Line]:
    """Consequences for one person."""
    found: list[Line] = []
    for row in rows.filter(subject=Subject.PERSON).iterator(chunk_size=200):
        if number in wanted(row):
            found.append(line_of(row, viewer))
            if len(found) >= limit:
                break
    return found
