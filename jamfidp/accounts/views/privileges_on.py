"""Settings > User accounts and groups: who held which privilege on a day."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_POST

from directory import past
from directory.models import DirectoryGroup, SyncRun
from directory.views.export import file_of, remember
from directory.views.past import typed_day
from jamfidp.access import privilege
from jamfidp.accounts import validity
from jamfidp.accounts.privileges import CATALOGUE
from jamfidp.accounts.privileges_on import Held, HeldOn, held_on
from jamfidp.accounts.views.pages import PAST, section_tabs
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment

PAGE_SIZE = 50


@privilege(*PAST)
def privileges_on(request: ConsoleRequest) -> HttpResponse:
    """Who held which privilege on that day, and by which way."""
    now = timezone.now()
    asked = request.GET.get("day", "")
    typed = typed_day(asked)
    day = past.day_of(typed or timezone.localdate(), now=now)
    wanted = request.GET.get("privilege", "")
    wanted = wanted if wanted in CATALOGUE else ""
    text = request.GET.get("q", "").strip()
    since = validity.remembered_since(now=now)
    known = day.has_begun and since < day.ends
    found = (
        held_on(day, viewer=request.user, now=now, privilege=wanted)
        if known
        else HeldOn()
    )
    held = [one for one in found.held if text.casefold() in one.name.casefold()]
    page, newer, older = _page(
        held, after=request.GET.get("after", ""), before=request.GET.get("before", "")
    )
    kept = {"day": day.date.isoformat(), "privilege": wanted, "q": text}
    return page_or_fragment(
        request,
        page="accounts/privileges_on.html",
        fragments={"held-list": "accounts/_privileges_on_list.html"},
        context={
            "day": day.date,
            "today": timezone.localdate(),
            "day_error": bool(asked) and typed is None,
            "begun": day.has_begun,
            "known": known,
            "since": since,
            "partly": known and since > day.begins,
            "unknown": found.unknown,
            "less": found.less,
            "lines": _lines(page),
            "total": len(held),
            "people_count": len({(one.account_id, one.object_id) for one in held}),
            "query": text,
            "wanted": wanted,
            "names": sorted(CATALOGUE),
            "newer_url": _url(kept, before=newer) if newer else "",
            "older_url": _url(kept, after=older) if older else "",
            "export_query": _url(kept),
            "may_export": request.user.has_perm("directory.export_directory"),
            "tabs": section_tabs(request.user, "past"),
        },
    )


def _url(kept: dict[str, str], **more: str) -> str:
    values = {name: value for name, value in (kept | more).items() if value}
    return f"?{urlencode(values)}"


def _page(
    held: Sequence[Held], *, after: str, before: str
) -> tuple[Sequence[Held], str, str]:
    """Return a page of ways, and the positions before and after it; "" at an end."""
    start, end = 0, min(PAGE_SIZE, len(held))
    if (position := _read(after)) is not None:
        start = sum(one.position <= position for one in held)
        end = min(start + PAGE_SIZE, len(held))
    elif (position := _read(before)) is not None:
        end = sum(one.position < position for one in held)
        start = max(end - PAGE_SIZE, 0)
    page = held[start:end]
    return (
        page,
        _write(page[0].position) if page and start else "",
        _write(page[-1].position) if page and end < len(held) else "",
    )


def _write(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode()


def _read(position: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(position.encode()).decode() or None
    except ValueError:
        return None


def _lines(held: Sequence[Held]) -> list[dict[str, Any]]:
    groups = past.names_of({step for one in held for step in one.path})
    runs = _runs(held)
    return [
        {
            "held": one,
            "privileges": sorted(one.names),
            "path": [_crumb(step, groups) for step in one.path],
            **_ends(one, runs),
        }
        for one in held
    ]


def _ends(one: Held, runs: dict[int, SyncRun]) -> dict[str, Any]:
    """Say of both ends which run it was, or which person."""
    ends: dict[str, Any] = {}
    for side, cause in (("since", one.period.since_by), ("until", one.period.until_by)):
        ends[f"{side}_run"] = runs.get(cause) if isinstance(cause, int) else None
        ends[f"{side}_by"] = cause if isinstance(cause, str) else ""
    return ends


def _runs(held: Iterable[Held]) -> dict[int, SyncRun]:
    wanted = {
        cause
        for one in held
        for cause in (one.period.since_by, one.period.until_by)
        if isinstance(cause, int)
    }
    return {run.pk: run for run in SyncRun.objects.filter(pk__in=wanted)}


def _crumb(number: int, groups: dict[int, DirectoryGroup]) -> Crumb:
    group = groups.get(number)
    if group is None:
        return Crumb("a group that was erased")
    return Crumb(str(group), group.get_absolute_url())


HEADINGS = (
    "Name",
    "Object ID",
    "Given",
    "Privileges",
    "Account group",
    "Way",
    "Since",
    "Since by",
    "Until",
    "Until by",
)


@privilege(*PAST, "directory.export_directory")
@require_POST
def privileges_on_export(request: ConsoleRequest) -> HttpResponseBase:
    """Every way by which somebody held privileges on a day, as CSV."""
    now = timezone.now()
    day = past.day_of(
        typed_day(request.GET.get("day", "")) or timezone.localdate(), now=now
    )
    wanted = request.GET.get("privilege", "")
    wanted = wanted if wanted in CATALOGUE else ""
    known = day.has_begun and validity.remembered_since(now=now) < day.ends
    found = (
        held_on(day, viewer=request.user, now=now, privilege=wanted)
        if known
        else HeldOn(unknown=["What was given on that day is not known."])
    )
    remember(
        request,
        f"ways in which privileges were held on {day.date:%-d %B %Y}",
        len(found.held),
        {"day": day.date.isoformat(), "privilege": wanted or "all"},
    )
    groups = past.names_of({step for one in found.held for step in one.path})
    rows: list[Sequence[Any]] = [
        (
            one.name,
            one.object_id,
            one.words,
            ", ".join(sorted(one.names)),
            one.account_group,
            " > ".join(_crumb(step, groups).label for step in one.path)
            or ("assigned" if one.assigned else "the account itself"),
            one.period.since.isoformat() if one.period.since else "not remembered",
            _by(one.period.since_by),
            one.period.until.isoformat() if one.period.until else "still",
            _by(one.period.until_by),
        )
        for one in found.held
    ]
    rows += [(f"Not known: {sentence}",) for sentence in (*found.unknown, *found.less)]
    return file_of(f"privileges-{day.date.isoformat()}", HEADINGS, rows)


def _by(cause: past.Cause) -> str:
    return f"sync run {cause}" if isinstance(cause, int) else cause or ""
