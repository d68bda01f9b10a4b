"""What was: the members of a group on a day, earlier names and values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_POST
from pyroaring import BitMap

from directory import lists, past
from directory.models import (
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    State,
    SyncRun,
)
from directory.search import matching
from directory.sync.retention import RUNS_KEPT
from directory.views.export import file_of, remember
from jamfidp.access import privilege
from jamfidp.components import Crumb, Tab
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page

# Of people who were erased nothing is left to show but a number of them.
ERASED_SHOWN = 50
EARLIER_SHOWN = 50
EARLIER_ON_PAGE = 5
LABELS = {
    "state": "State",
    "account_enabled": "Enabled",
    "user_type": "Type",
    "display_name": "Name",
    "user_principal_name": "User principal name",
    "user_name": "Username",
    "email": "Email address",
    "department": "Department",
    "building": "Building",
    "position": "Position",
    "kind": "Kind",
    "is_dynamic": "Dynamic membership",
    "membership_rule": "Membership rule",
    "is_assignable_to_role": "Role-assignable",
    "hidden_membership": "Hidden membership",
}
_YES_NO = {"true": "yes", "false": "no", "": "not known"}
_WORDS: dict[str, dict[Any, Any]] = {
    "state": dict(State.choices),
    "kind": dict(DirectoryGroup.Kind.choices),
    "account_enabled": _YES_NO,
    "is_dynamic": _YES_NO,
    "is_assignable_to_role": _YES_NO,
    "hidden_membership": _YES_NO,
}
_IN_STATE = {
    State.PRESENT: "in the directory",
    State.DELETED: "deleted, and could be restored: nobody was in it",
    State.GONE: "deleted for good: nobody was in it",
    State.FILTERED: "filtered out: its members were not read, and are not known",
    State.UNREADABLE: "no longer readable: its members are not known",
    State.MENTIONED: "named by another group and not read: its members are not known",
}


@dataclass(frozen=True, slots=True)
class DayPage:
    """What is known of a group on a day, before anybody is named."""

    day: past.Day
    # Why nothing is known, or why there is nobody: a title and a text.
    verdict: str = ""
    title: str = ""
    text: str = ""
    # What was otherwise for a part of the day.
    parts: Sequence[str] = ()
    known_from: datetime | None = None


def look_at_day(group: DirectoryGroup, when: date, *, now: datetime) -> DayPage:
    """Say what can be known of a group's members on a day; never 'nobody' for unknown."""
    day = past.day_of(when, now=now)
    if not day.has_begun:
        return DayPage(
            day, "unknown", "This day has not begun", "Choose today or an earlier day."
        )
    known = past.known_from(group.cloud_idp, now=now)
    if known is None or day.ends <= known:
        since = (
            f"Memberships of {group.cloud_idp} are known since "
            f"{timezone.localtime(known):%-d %B %Y, %H:%M}: "
            "its first complete read, or as far back as they are kept."
            if known
            else f"{group.cloud_idp} has not been read completely yet."
        )
        return DayPage(day, "unknown", "Who was in it on that day is not known", since)
    begun_late = known > day.begins
    if begun_late:
        day = replace(day, begins=known)
    if group.first_seen_at >= day.ends:
        return DayPage(
            day,
            "unknown",
            "Who was in it on that day is not known",
            "The console first saw this group on "
            f"{timezone.localtime(group.first_seen_at):%-d %B %Y, %H:%M}.",
        )
    pieces = past.standings(group, day)
    if all(each.hidden and each.state == State.PRESENT for each in pieces):
        return DayPage(
            day,
            "hidden",
            "Hidden membership",
            "Entra hid who was in this group. The console did not know its members.",
        )
    if all(each.state != State.PRESENT or each.hidden for each in pieces):
        last = pieces[-1]
        known_empty = all(each.members_known for each in pieces)
        return DayPage(
            day,
            "absent" if known_empty else "unknown",
            "Nobody was in it on that day"
            if known_empty
            else "Who was in it on that day is not known",
            f"The group was {_IN_STATE[State(last.state)]}.",
        )
    parts = [
        f"{_until(each.period, day)} its members were hidden."
        if each.hidden and each.state == State.PRESENT
        else f"{_until(each.period, day)} it was {_IN_STATE[State(each.state)]}."
        for each in pieces
        if each.hidden or each.state != State.PRESENT
    ]
    return DayPage(day, "known", parts=parts, known_from=known if begun_late else None)


def _until(period: past.Period, day: past.Day) -> str:
    """Return a part of a day in words that begin a sentence."""
    since, until = period.since, period.until
    begun = since is not None and since > day.begins
    ended = until is not None and until < day.ends
    if begun and ended:
        return f"From {_time(since)} until {_time(until)}"
    return f"From {_time(since)} on" if begun else f"Until {_time(until)}"


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{timezone.localtime(moment):%H:%M:%S}"


@privilege("directory.view_directorygroup", "directory.view_directoryuser")
def group_day(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Who was in this group on that day, direct or effective, and by which way."""
    group = get_object_or_404(
        DirectoryGroup.objects.connected().select_related("cloud_idp"), pk=pk
    )
    now = timezone.now()
    asked = request.GET.get("day", "")
    typed = typed_day(asked)
    looked = look_at_day(group, typed or timezone.localdate(), now=now)
    nested = request.GET.get("members") != "direct"
    context: dict[str, Any] = {
        "group": group,
        "crumbs": [
            Crumb("Directory groups", reverse("directory:group-list")),
            Crumb(str(group), group.get_absolute_url()),
        ],
        "looked": looked,
        "day": looked.day.date,
        "is_today": looked.day.date == timezone.localdate(),
        "today": timezone.localdate(),
        "day_error": bool(asked) and typed is None,
        "nested": nested,
        "may_export": request.user.has_perm("directory.export_directory"),
    }
    if looked.verdict == "known":
        context |= _members(request, group, looked.day, nested=nested)
        context |= reads_of(group, looked.day, now=now)
    return page_or_fragment(
        request,
        page="directory/group_day.html",
        fragments={"day-members": "directory/_day_members.html"},
        context=context,
    )


def typed_day(text: str) -> date | None:
    try:
        day = parse_date(text.strip())
    except ValueError:
        return None
    return (
        day if day is not None and date(2000, 1, 1) <= day < date(3000, 1, 1) else None
    )


def _members(
    request: ConsoleRequest, group: DirectoryGroup, day: past.Day, *, nested: bool
) -> dict[str, Any]:
    found = past.members_on(group, day, nested=nested)
    text = request.GET.get("q", "").strip()
    everybody = _people(found)
    rows = matching(everybody, text)
    page = keyset_page(
        rows,
        by=F("sort_key"),
        descending=False,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=lists.PAGE_SIZE,
    )
    departed = DirectoryUser.objects.filter(pk__in=past.among(found.departed))
    erased = found.departed - BitMap(departed.values_list("pk", flat=True))
    shown = [user.pk for user in page.rows] + list(erased[:ERASED_SHOWN])
    ways = {number: way for number in shown if (way := found.way(number))}
    groups = past.names_of(
        {*found.unknown, *(step for way in ways.values() for step in way.path)}
    )
    runs = runs_of(ways.values())
    ids = _object_ids(
        [*erased[:ERASED_SHOWN], *(n for way in ways.values() for n in way.path)]
    )

    def line(number: int, user: DirectoryUser | None) -> dict[str, Any]:
        way = ways[number]
        return {
            "user": user,
            "object_id": ids.get(number, ""),
            "direct": way.direct,
            "path": [_crumb(step, groups, ids) for step in way.path],
            "period": way.period,
            "since_run": run_of(way.period.since_by, runs),
            "until_run": run_of(way.period.until_by, runs),
        }

    return {
        "members": [line(user.pk, user) for user in page.rows],
        "erased": [line(number, None) for number in erased[:ERASED_SHOWN]],
        "erased_count": len(erased),
        "total": rows.count() if text else len(found.numbers) - len(erased),
        "everybody_count": len(found.numbers),
        "query": text,
        "unknown": [groups[number] for number in found.unknown if number in groups],
        "not_in_effect_count": len(found.not_in_effect),
        "members_tabs": [
            Tab("Effective", _tab_url(day, "effective"), nested),
            Tab("Direct", _tab_url(day, "direct"), not nested),
        ],
        "previous_position": page.previous,
        "next_position": page.next,
    }


def _tab_url(day: past.Day, members: str) -> str:
    return f"?day={day.date.isoformat()}&members={members}"


def _people(found: past.MembersOn) -> QuerySet[DirectoryUser]:
    return DirectoryUser.objects.filter(pk__in=past.among(found.numbers))


def _crumb(
    number: int, groups: Mapping[int, DirectoryGroup], ids: Mapping[int, str]
) -> Crumb:
    group = groups.get(number)
    if group is None:
        return Crumb(f"a group that was erased ({ids.get(number, 'not known')})")
    return Crumb(str(group), group.get_absolute_url())


def _object_ids(numbers: Iterable[int]) -> dict[int, str]:
    rows = DirectoryObject.objects.filter(pk__in=past.among(set(numbers)))
    return dict(rows.values_list("pk", "object_id"))


def runs_of(ways: Iterable[past.Way]) -> dict[int, SyncRun]:
    """Return the runs by which ways began and ended, as far as they are kept."""
    wanted = {
        run
        for way in ways
        for run in (way.period.since_by, way.period.until_by)
        if isinstance(run, int)
    }
    return {run.pk: run for run in SyncRun.objects.filter(pk__in=wanted)}


def run_of(cause: past.Cause, runs: Mapping[int, SyncRun]) -> SyncRun | None:
    return runs.get(cause) if isinstance(cause, int) else None


def reads_of(group: DirectoryGroup, day: past.Day, *, now: datetime) -> dict[str, Any]:
    """Say whether the directory was read on a day: what changed unread shows later."""
    if day.begins < now - RUNS_KEPT:
        # Runs that changed nothing are not kept so long.
        return {}
    good = SyncRun.objects.reads().filter(
        cloud_idp=group.cloud_idp, state=SyncRun.State.SUCCEEDED, dry_run=False
    )
    if good.filter(finished_at__gte=day.begins, finished_at__lt=day.ends).exists():
        return {}
    return {
        "not_read": True,
        "next_read": good.filter(finished_at__gte=day.ends)
        .order_by("finished_at")
        .first(),
    }


DAY_HEADINGS = (
    "Name",
    "Username",
    "Object ID",
    "Tenant ID",
    "How",
    "Path",
    "Since",
    "Since sync run",
    "Until",
    "Until sync run",
)


@privilege(
    "directory.view_directorygroup",
    "directory.view_directoryuser",
    "directory.export_directory",
)
@require_POST
def group_day_export(request: ConsoleRequest, pk: int) -> HttpResponseBase:
    """Everybody who was in a group on a day. A POST: it leaves a history entry."""
    group = get_object_or_404(
        DirectoryGroup.objects.connected().select_related("cloud_idp"), pk=pk
    )
    now = timezone.now()
    when = typed_day(request.GET.get("day", "")) or timezone.localdate()
    looked = look_at_day(group, when, now=now)
    nested = request.GET.get("members") != "direct"
    found = (
        past.members_on(group, looked.day, nested=nested)
        if looked.verdict == "known"
        else past.MembersOn()
    )
    remember(
        request,
        f"members of {group} on {when:%-d %B %Y}",
        len(found.numbers),
        {
            "group": group.object_id,
            "day": when.isoformat(),
            "members": "effective" if nested else "direct",
            "known": looked.title or "yes",
        },
    )
    lines = list(_day_lines(group, found))
    if looked.title:
        lines = [(f"{looked.title}. {looked.text}",)]
    return file_of(f"members-{when.isoformat()}", DAY_HEADINGS, lines)


def _day_lines(group: DirectoryGroup, found: past.MembersOn) -> Iterable[Sequence[Any]]:
    ways = {n: way for n in found.numbers if (way := found.way(n))}
    steps = {step for way in ways.values() for step in way.path}
    groups = past.names_of(steps)
    people = {user.pk: user for user in _people(found).iterator(2000)}
    ids = _object_ids([*found.numbers, *steps])
    tenant = group.cloud_idp.tenant_id

    def order(number: int) -> tuple[bool, str, int]:
        user = people.get(number)
        return (user is None, user.sort_key if user else "", number)

    for number in sorted(ways, key=order):
        user, way = people.get(number), ways[number]
        period = way.period
        yield (
            str(user) if user else "erased",
            user.user_name if user else "",
            ids.get(number, ""),
            tenant,
            "direct" if way.direct else "nested",
            " > ".join(_crumb(step, groups, ids).label for step in way.path),
            period.since.isoformat() if period.since else "before it was remembered",
            period.since_by or "",
            period.until.isoformat() if period.until else "still",
            period.until_by or "",
        )


# --- Earlier names and values


def earlier_of(number: int) -> QuerySet[EarlierValue]:
    """Return what attributes of a person or group were, with when each began."""
    before = EarlierValue.objects.filter(
        number=OuterRef("number"),
        attribute=OuterRef("attribute"),
        to_at__lt=OuterRef("to_at"),
    ).order_by("-to_at")
    return EarlierValue.objects.filter(number=number).annotate(
        from_at=Subquery(before.values("to_at")[:1]),
        from_run=Subquery(before.values("to_run")[:1]),
    )


def earlier_lines(rows: Iterable[EarlierValue]) -> list[dict[str, Any]]:
    """Return earlier values in words, with the runs that are still kept."""
    rows = list(rows)
    wanted = {run for row in rows for run in (row.to_run, _from_run(row)) if run}
    runs = {run.pk: run for run in SyncRun.objects.filter(pk__in=wanted)}
    return [
        {
            "label": LABELS.get(row.attribute, row.attribute),
            "value": value_in_words(row.attribute, row.value),
            "from_at": _from_at(row),
            "from_run": runs.get(_from_run(row) or 0),
            "to_at": row.to_at,
            "to_run": runs.get(row.to_run or 0),
        }
        for row in rows
    ]


def _from_at(row: EarlierValue) -> datetime | None:
    at: datetime | None = row.from_at  # type: ignore[attr-defined]
    return at


def _from_run(row: EarlierValue) -> int | None:
    run: int | None = row.from_run  # type: ignore[attr-defined]
    return run


def value_in_words(attribute: str, value: str) -> str:
    return str(_WORDS.get(attribute, {}).get(value, value))


def earlier_summary(number: int) -> dict[str, Any]:
    """Return the last earlier values of a person or group, for its own page."""
    rows = earlier_of(number).order_by("-to_at", "-pk")
    return {
        "earlier": earlier_lines(rows[:EARLIER_ON_PAGE]),
        "earlier_count": EarlierValue.objects.filter(number=number).count(),
    }


@privilege("directory.view_directoryuser")
def user_earlier(request: ConsoleRequest, pk: int) -> HttpResponse:
    person = get_object_or_404(
        DirectoryUser.objects.connected().select_related("cloud_idp"), pk=pk
    )
    listed = Crumb("Directory users", reverse("directory:user-list"))
    return _earlier_page(request, person, listed)


@privilege("directory.view_directorygroup")
def group_earlier(request: ConsoleRequest, pk: int) -> HttpResponse:
    group = get_object_or_404(
        DirectoryGroup.objects.connected().select_related("cloud_idp"), pk=pk
    )
    listed = Crumb("Directory groups", reverse("directory:group-list"))
    return _earlier_page(request, group, listed)


def _earlier_page(
    request: ConsoleRequest, of: DirectoryUser | DirectoryGroup, listed: Crumb
) -> HttpResponse:
    rows = earlier_of(of.pk)
    page = keyset_page(
        rows,
        by=F("to_at"),
        descending=True,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=EARLIER_SHOWN,
    )
    kind = "user" if isinstance(of, DirectoryUser) else "group"
    return page_or_fragment(
        request,
        page="directory/earlier_values.html",
        fragments={"earlier-values": "directory/_earlier_values.html"},
        context={
            "of": of,
            "crumbs": [listed, Crumb(str(of), of.get_absolute_url())],
            "lines": earlier_lines(page.rows),
            "total": EarlierValue.objects.filter(number=of.pk).count(),
            "known_from": past.known_from(of.cloud_idp, now=timezone.now()),
            "export_url": reverse(f"directory:{kind}-earlier-export", args=[of.pk]),
            "may_export": request.user.has_perm("directory.export_directory"),
            "previous_position": page.previous,
            "next_position": page.next,
        },
    )


EARLIER_HEADINGS = ("Attribute", "Value", "From", "Until", "Until sync run")


@privilege("directory.view_directoryuser", "directory.export_directory")
@require_POST
def user_earlier_export(request: ConsoleRequest, pk: int) -> HttpResponseBase:
    return _earlier_file(
        request, get_object_or_404(DirectoryUser.objects.connected(), pk=pk)
    )


@privilege("directory.view_directorygroup", "directory.export_directory")
@require_POST
def group_earlier_export(request: ConsoleRequest, pk: int) -> HttpResponseBase:
    return _earlier_file(
        request, get_object_or_404(DirectoryGroup.objects.connected(), pk=pk)
    )


def _earlier_file(
    request: ConsoleRequest, of: DirectoryUser | DirectoryGroup
) -> HttpResponseBase:
    rows = earlier_of(of.pk).order_by("-to_at", "-pk")
    remember(request, f"earlier values of {of}", rows.count(), {"object": of.object_id})
    return file_of(
        "earlier-values",
        EARLIER_HEADINGS,
        (
            (
                LABELS.get(row.attribute, row.attribute),
                value_in_words(row.attribute, row.value),
                begun.isoformat() if begun else "before it was remembered",
                row.to_at.isoformat(),
                row.to_run or "",
            )
            for row in rows
            for begun in [_from_at(row)]
        ),
    )
