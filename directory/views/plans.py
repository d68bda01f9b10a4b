"""The plan of a run: what follows, what differs, one difference, and a copy of all."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import F
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from pyroaring import BitMap

from directory import held_words, plans
from directory.dependents import Subject, Use
from directory.models import DirectoryGroup, DirectoryUser, SyncRun
from directory.sync.numbers import object_ids
from directory.sync.stored_plans import (
    Difference,
    Section,
    difference_of,
    differences,
)
from directory.views.past import LABELS, value_in_words
from jamfidp.access import ConsoleUser, privilege, refuse
from jamfidp.components import Crumb
from jamfidp.history.record import record
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page
from jamfidp.spreadsheet import lines as csv_lines

CONSEQUENCES_SHOWN = 50
DIFFERENCES_SHOWN = 50
SUBJECTS_SHOWN = 50
GROUPS_SHOWN = 100
VALUES_IN_LIST = 3
PLAN_LABELS = LABELS | {
    "real_name": "Full name",
    "room": "Room",
    "phone": "Phone",
    "description": "Description",
    "mail": "Mail",
    "mail_enabled": "Mail-enabled",
    "security_enabled": "Security-enabled",
    "state_told": "Entra said so itself",
}
EXPORT_HEADINGS = (
    "Part",
    "What",
    "Name",
    "Object ID",
    "Attribute or member",
    "Before",
    "After",
)


@privilege("directory.view_syncrun")
def plan(request: ConsoleRequest, pk: int) -> HttpResponse:
    """What follows from a run, the gravest first, and how much differs."""
    run = _run(pk)
    rows, hidden = plans.visible_consequences(run, request.user)
    kind = request.GET.get("kind", "")
    kinds = sorted(
        set(rows.order_by().values_list("kind", flat=True).distinct()),
        key=[each.value for each in plans.Kind].index,
    )
    chosen = rows.filter(kind=kind) if kind in kinds else rows
    page = keyset_page(
        chosen,
        by=F("position"),
        descending=False,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=CONSEQUENCES_SHOWN,
    )
    return page_or_fragment(
        request,
        page="directory/plan.html",
        fragments={"plan-consequences": "directory/_plan_consequences.html"},
        context={
            **_frame(run),
            "summary": plans.summary(run, request.user),
            "lines": [plans.line_of(row, request.user) for row in page.rows],
            "total": chosen.count(),
            "everything": rows.count(),
            "hidden": hidden,
            "kind": kind if kind in kinds else "",
            "kinds": kinds,
            "previous_position": page.previous,
            "next_position": page.next,
            "sections": plans.sections(run),
            "may_export": _may_export(request.user),
        },
    )


@privilege("directory.view_syncrun")
def consequence(request: ConsoleRequest, pk: int, position: int) -> HttpResponse:
    """One consequence: to whom or what it happens, by name."""
    run = _run(pk)
    rows, _ = plans.visible_consequences(run, request.user)
    row = get_object_or_404(rows, position=position)
    line = plans.line_of(row, request.user)
    after = _number(request.GET.get("after")) or -1
    numbers = list(islice((n for n in line.visible if n > after), SUBJECTS_SHOWN + 1))
    shown = numbers[:SUBJECTS_SHOWN]
    names = plans.names_of(line.consequence.subject, shown, run)
    groups = list(line.consequence.groups)[:GROUPS_SHOWN]
    may_see_groups = request.user.has_perm("directory.view_directorygroup")
    return page_or_fragment(
        request,
        page="directory/plan_consequence.html",
        fragments={"plan-subjects": "directory/_plan_subjects.html"},
        context={
            **_frame(run, line.title, plan_crumb=True),
            "line": line,
            "subjects": [
                (names[number], line.consequence.differences.get(number))
                for number in shown
            ],
            "total": len(line.visible),
            "noun": plans.subject_noun(line.consequence.subject, len(line.visible)),
            "next_position": shown[-1] if len(numbers) > SUBJECTS_SHOWN else "",
            "first": after < 0,
            "groups": list(plans.group_lines(groups, run).values())
            if may_see_groups
            else [],
            "people": line.consequence.subject is Subject.PERSON,
        },
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A difference in a list."""

    use: Use
    url: str
    sort: str
    label: str
    values: Sequence[tuple[str, str, str]]
    more: int
    difference: Difference


@privilege("directory.view_syncrun")
def plan_differences(request: ConsoleRequest, pk: int, section: str) -> HttpResponse:
    """The people, groups or memberships that differ."""
    run, section = _run(pk), _section(section)
    if not _may_see(section, request.user):
        return _refused(request, section)
    text, sort = request.GET.get("q", "").strip(), request.GET.get("sort", "")
    counts = next((e for e in plans.sections(run) if e.section == section), None)
    sorts = counts.sorts if counts is not None else ()
    chosen = (
        frozenset([sort]) if sort in [name for name, _, _ in sorts] else frozenset()
    )
    page = plans.page_of(
        run,
        section,
        after=_number(request.GET.get("after")),
        before=_number(request.GET.get("before")),
        sorts=chosen,
        text=text,
        size=DIFFERENCES_SHOWN,
    )
    label = str(Section(section).label)
    return page_or_fragment(
        request,
        page="directory/plan_differences.html",
        fragments={"plan-differences": "directory/_plan_differences.html"},
        context={
            **_frame(run, label, plan_crumb=True),
            "section": section,
            "label": label,
            "rows": _rows(run, section, page.rows),
            "query": text,
            "sort": sort if chosen else "",
            "sorts": sorts,
            "total": counts.total
            if counts is not None and not (chosen or text)
            else None,
            "noun": counts.noun if counts is not None else "changes",
            "members": section == Section.MEMBERS,
            "previous_position": page.previous,
            "next_position": page.next,
        },
    )


@privilege("directory.view_syncrun")
def plan_difference(
    request: ConsoleRequest, pk: int, section: str, number: int
) -> HttpResponse:
    """One person or group: before and after, memberships, what follows for them."""
    run, section = _run(pk), _section(section)
    if not _may_see(section, request.user):
        return _refused(request, section)
    found = difference_of(run, section, number)
    members = (
        difference_of(run, Section.MEMBERS, number)
        if section in (Section.GROUPS, Section.MEMBERS)
        else found
        if section == Section.HELD
        else None
    )
    of_group = section in (Section.GROUPS, Section.MEMBERS) or (
        found is not None and found.kind == "G"
    )
    joins, leaves = plans.member_changes_of(run, number)
    if found is None and members is None and not (joins or leaves):
        raise Http404
    (use,) = (
        plans.group_lines([number], run)
        if of_group
        else plans.people_lines([number], run)
    ).values()
    rows, _ = plans.visible_consequences(run, request.user)
    if section == Section.MEMBERS and of_group:
        found = difference_of(run, Section.GROUPS, number)
    return render(
        request,
        "directory/plan_difference.html",
        {
            **_frame(run, use.name, plan_crumb=True),
            "use": use,
            "object": _object(number, of_group=of_group),
            "difference": found,
            "label": plans.SORTS.get(found.sort, "") if found is not None else "",
            "values": _values(found),
            "numbers_only": found is not None
            and found.sort in ("added", "mentioned", "filtered")
            and not found.values,
            "sides": _sides(run, members, request.user),
            "joins": _groups(run, joins, request.user),
            "leaves": _groups(run, leaves, request.user),
            "joins_count": len(joins),
            "leaves_count": len(leaves),
            "lines": plans.consequences_for(
                rows, number, request.user, limit=GROUPS_SHOWN
            ),
        },
    )


@privilege("directory.view_syncrun", "directory.export_directory")
@require_POST
def export_plan(request: ConsoleRequest, pk: int) -> HttpResponseBase:
    """All that differs, as CSV or JSON lines. A POST, since it leaves a history entry."""
    run = _run(pk)
    as_json = request.POST.get("form") == "jsonl"
    with transaction.atomic():
        record(
            obj=run.cloud_idp,
            actor=request.user,
            action="exported",
            note=f"Exported the plan of run {run.pk} as {'JSON' if as_json else 'CSV'}",
            details={"sync_run": run.pk},
        )
    stream: Iterator[str] = (
        (
            json.dumps(dict(zip(_KEYS, row, strict=True))) + "\n"
            for row in _all(run, request.user)
        )
        if as_json
        else csv_lines(EXPORT_HEADINGS, _all(run, request.user))
    )
    content_type = "application/jsonl" if as_json else "text/csv"
    response = StreamingHttpResponse(
        stream, content_type=f"{content_type}; charset=utf-8"
    )
    day = timezone.localtime().date().isoformat()
    name = f"plan-of-run-{run.pk}-{day}.{'jsonl' if as_json else 'csv'}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


_KEYS = ("part", "what", "name", "object_id", "attribute", "before", "after")


def _all(run: SyncRun, viewer: ConsoleUser) -> Iterator[tuple[str, ...]]:
    rows, _ = plans.visible_consequences(run, viewer)
    for row in rows.order_by("position").iterator(chunk_size=200):
        line = plans.line_of(row, viewer)
        about = line.consequence.about
        yield (
            line.heading,
            line.kind,
            about.name if about is not None else "",
            "",
            line.title,
            "",
            line.consequence.detail,
        )
    for section in Section.values:
        if not _may_see(section, viewer):
            continue
        found = differences(run, section)
        while some := list(islice(found, 500)):
            yield from _exported(run, section, some, viewer)


def _exported(
    run: SyncRun, section: str, some: Sequence[Difference], viewer: ConsoleUser
) -> Iterator[tuple[str, ...]]:
    names = _names(run, section, some)
    ids = object_ids(BitMap([each.number for each in some]))
    label = str(Section(section).label)
    may_see_people = viewer.has_perm("directory.view_directoryuser")
    for each in some:
        name = names[each.number].name
        object_id = ids.get(each.number, each.object_id)
        what = plans.SORTS.get(each.sort, each.sort)
        sides = [
            (word, "users" in kind, side)
            for word, sets in (("joins", each.joined), ("leaves", each.left))
            for kind, side in sets.items()
            if side
        ]
        if not (each.values or sides or any(each.others)):
            yield (label, what, name, object_id, "", "", "")
        for column, before, after in _values(each):
            yield (label, what, name, object_id, column, before, after)
        for word, people, side in sides:
            if people and not may_see_people:
                yield (label, what, name, object_id, f"{len(side):,} people", "", word)
                continue
            member_ids = object_ids(side)
            for number in side:
                yield (
                    label,
                    what,
                    name,
                    object_id,
                    member_ids.get(number, str(number)),
                    "" if word == "joins" else "member",
                    "member" if word == "joins" else "",
                )
        for word, count in zip(("join", "leave"), each.others, strict=True):
            if count:
                yield (label, what, name, object_id, f"{count:,} others", "", word)


# Parts ---------------------------------------------------------------------------


def _run(pk: int) -> SyncRun:
    return get_object_or_404(SyncRun.objects.select_related("cloud_idp"), pk=pk)


def _section(name: str) -> str:
    if name.upper() not in Section.values:
        raise Http404
    return name.upper()


NEEDED = {
    Section.PEOPLE: "directory.view_directoryuser",
    Section.GROUPS: "directory.view_directorygroup",
    Section.MEMBERS: "directory.view_directorygroup",
    Section.HELD: "directory.view_directoryuser",
}


def _may_see(section: str, viewer: ConsoleUser) -> bool:
    return viewer.has_perm(NEEDED[Section(section)])


def _refused(request: ConsoleRequest, section: str) -> HttpResponse:
    return refuse(request, NEEDED[Section(section)])


def _may_export(viewer: ConsoleUser) -> bool:
    return viewer.has_perm("directory.export_directory")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None


def _frame(
    run: SyncRun, title: str = "", *, plan_crumb: bool = False
) -> dict[str, Any]:
    crumbs = [
        Crumb("Sync runs", reverse("directory:syncrun-list")),
        Crumb(f"Run {run.pk}", run.get_absolute_url()),
    ]
    if plan_crumb:
        crumbs.append(Crumb("Plan", reverse("directory:syncrun-plan", args=[run.pk])))
    return {
        "run": run,
        "crumbs": crumbs,
        "title": title,
        "held": held_words.of_connection(run.cloud_idp) if run.dry_run else [],
    }


def _names(run: SyncRun, section: str, found: Sequence[Difference]) -> dict[int, Use]:
    people = [
        each.number
        for each in found
        if section == Section.PEOPLE or (section == Section.HELD and each.kind == "U")
    ]
    groups = [each.number for each in found if each.number not in set(people)]
    return {**plans.people_lines(people, run), **plans.group_lines(groups, run)}


def _rows(run: SyncRun, section: str, found: Sequence[Difference]) -> list[Row]:
    names = _names(run, section, found)
    rows = []
    for each in found:
        values = _values(each) if each.sort != "added" else []
        rows.append(
            Row(
                use=names[each.number],
                url=reverse(
                    "directory:syncrun-plan-difference",
                    args=[run.pk, section.lower(), each.number],
                ),
                sort=each.sort,
                label=plans.SORTS.get(each.sort, each.sort),
                values=values[:VALUES_IN_LIST],
                more=max(0, len(values) - VALUES_IN_LIST),
                difference=each,
            )
        )
    return rows


def _values(found: Difference | None) -> list[tuple[str, str, str]]:
    """(attribute, before, after) in words."""
    if found is None:
        return []
    return [
        (PLAN_LABELS.get(name, name), _in_words(name, was), _in_words(name, then))
        for name, (was, then) in found.values.items()
        if name != "state_told"
    ]


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value_in_words(name, str(value))


@dataclass(frozen=True, slots=True)
class Side:
    """Members that join or leave: how many, and the first of them by name."""

    title: str
    count: int
    names: Sequence[Use]
    hidden: bool


def _sides(run: SyncRun, found: Difference | None, viewer: ConsoleUser) -> list[Side]:
    if found is None:
        return []
    sides = []
    may_see_people = viewer.has_perm("directory.view_directoryuser")
    for word, sets, others in (
        ("join", found.joined, found.others[0]),
        ("leave", found.left, found.others[1]),
    ):
        for kind, numbers in sets.items():
            if not numbers:
                continue
            people = kind == "users"
            shown = list(islice(numbers, GROUPS_SHOWN))
            lines = plans.people_lines if people else plans.group_lines
            noun = "People" if people else "Groups"
            hidden = people and not may_see_people
            sides.append(
                Side(
                    f"{noun} who {word}" if people else f"{noun} that {word}",
                    len(numbers),
                    [] if hidden else list(lines(shown, run).values()),
                    hidden,
                )
            )
        if others:
            sides.append(
                Side(
                    f"Devices, applications and contacts that {word}",
                    others,
                    [],
                    hidden=False,
                )
            )
    return sides


def _groups(run: SyncRun, numbers: Sequence[int], viewer: ConsoleUser) -> list[Use]:
    if not viewer.has_perm("directory.view_directorygroup"):
        return []
    return list(plans.group_lines(numbers[:GROUPS_SHOWN], run).values())


def _object(number: int, *, of_group: bool) -> DirectoryUser | DirectoryGroup | None:
    model: type[DirectoryUser] | type[DirectoryGroup] = (
        DirectoryGroup if of_group else DirectoryUser
    )
    return model._default_manager.filter(pk=number).first()
