"""What lists of objects and groups share: address, sorting, filters, devices by verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from pyroaring import BitMap

from directory.sync.bitmaps import unpack
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.components import Entry
from jamfidp.history.record import entries_for
from jamfidp.htmx import ConsoleRequest
from scoping.facts import Known
from scoping.inventory import SECTIONS
from scoping.matching import fold
from scoping.models import Device, DeviceKind, Site
from scoping.verdict import Verdict

PAGE_SIZE = 50
HISTORY_SIZE = 100
VERDICTS = {"in": "In scope", "unknown": "Unknown", "out": "Not in scope"}
MEMBERS = {"in": "Member", "unknown": "Unknown", "out": "Not a member"}


@dataclass(frozen=True)
class Choice:
    """An option of a filter."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True)
class Heading:
    """A column; `direction` is aria-sort's word, `url` sorts by it."""

    label: str
    direction: str = ""
    url: str = ""
    is_number: bool = False


def address(request: ConsoleRequest, **changes: str) -> str:
    """The page's own address with parameters changed; paging starts over."""
    query: QueryDict = request.GET.copy()
    for name in ("after", "before", *changes):
        query.pop(name, None)
    for name, value in changes.items():
        if value:
            query[name] = value
    return f"{request.path}?{query.urlencode()}" if query else request.path


def choices(
    request: ConsoleRequest, name: str, options: Iterable[tuple[str, str]]
) -> tuple[str, list[Choice]]:
    """What the address asks of a filter ("" for what is no option), and its options."""
    pairs = list(options)
    asked = request.GET.get(name, "")
    asked = asked if asked in {value for value, _ in pairs} else ""
    return asked, [Choice(value, label, value == asked) for value, label in pairs]


def site_options(user: ConsoleUser, perm: str) -> list[tuple[str, str]]:
    """The sites that a list can be narrowed to by this person."""
    access = user.sites_with(perm)
    sites = Site.objects.all()
    if not access.everywhere:
        sites = sites.filter(pk__in=access.site_ids)
    named = [(str(site.pk), site.name) for site in sites]
    return [("none", "No site"), *named] if access.everywhere and named else named


def sorted_headings(
    request: ConsoleRequest,
    columns: Sequence[tuple[str, str, bool]],
    current: str,
    descending: bool,
) -> list[Heading]:
    """Headings from (label, sort, is a number); without a sort it cannot be clicked."""
    found = []
    for label, name, is_number in columns:
        if not name:
            found.append(Heading(label, is_number=is_number))
            continue
        turned = f"-{name}" if name == current and not descending else name
        direction = ("descending" if descending else "ascending") * (name == current)
        found.append(
            Heading(label, direction, address(request, sort=turned), is_number)
        )
    return found


def sort_of(request: ConsoleRequest, sorts: Iterable[str]) -> tuple[str, bool]:
    asked = request.GET.get("sort", "name")
    name = asked.removeprefix("-")
    return (name, asked.startswith("-")) if name in sorts else ("name", False)


# Devices -------------------------------------------------------------------------


def sees_devices(user: ConsoleUser, kind: str) -> bool:
    return user.has_perm(SECTIONS[DeviceKind(kind)].perm("view"))


def visible_devices(user: ConsoleUser, kind: str) -> Any:
    """The devices of a kind that this person may see; none without the privilege."""
    devices = Device.objects.filter(kind=kind)
    if not sees_devices(user, kind):
        return devices.none()
    return visible_to(devices, user, SECTIONS[DeviceKind(kind)].perm("view"))


def visible_ids(user: ConsoleUser, kind: str) -> BitMap:
    return BitMap(
        list(visible_devices(user, kind).order_by().values_list("pk", flat=True))
    )


def sees_everything(user: ConsoleUser, kind: str) -> bool:
    perm = SECTIONS[DeviceKind(kind)].perm("view")
    return user.has_perm(perm) and user.sites_with(perm).everywhere


@dataclass(frozen=True)
class DeviceLine:
    """A device of a list, its verdict, whether it is decided in, and where it is told."""

    device: Device
    verdict: Verdict
    decided: bool
    why_url: str = ""
    # The verdict as the list words it: 'Member' in a group, 'In scope' in a scope.
    text: str = ""


@dataclass(frozen=True)
class DeviceList:
    """One page of the devices of a scope or group, and how many there are of each."""

    lines: list[DeviceLine]
    q: str
    verdict: str
    choices: list[Choice]
    total: int
    counts: dict[str, int]
    previous_url: str
    next_url: str
    export_url: str
    is_filtered: bool
    clear_url: str


def known_of(decided: Any, unknown: Any) -> Known:
    """Stored bitmaps as a set in three values."""
    unsure = unpack(unknown or None)
    return Known(unpack(decided or None) - unsure, unsure)


def device_list(
    request: ConsoleRequest,
    *,
    kind: str,
    known: Known,
    decided: BitMap,
    default: str = "",
    words: Mapping[str, str] = VERDICTS,
) -> DeviceList:
    """The devices that the person may see, by verdict and search, one page of them.

    A page begins after the device in `after` or ends before the one in `before`.
    """
    devices = visible_devices(request.user, kind)
    visible = visible_ids(request.user, kind)
    sets = {
        "in": known.inside & visible,
        "unknown": known.unknown & visible,
        "out": visible - known.inside - known.unknown,
    }
    asked = request.GET.get("verdict", default)
    asked = asked if asked in sets else ""
    q = request.GET.get("q", "").strip()
    if q:
        devices = devices.filter(search__contains=fold(q))
    wanted = sets.get(asked, visible)
    ordered = devices.order_by("name", "pk").values_list("pk", flat=True)
    ids = [pk for pk in ordered if pk in wanted]
    chosen, has_previous, has_next = _slice(ids, request)
    rows = (
        Device.objects.filter(pk__in=chosen)
        .select_related("site", "assigned_user")
        .in_bulk()
    )
    lines = [
        DeviceLine(
            rows[pk], known.verdict(pk), pk in decided, text=words[known.verdict(pk)]
        )
        for pk in chosen
        if pk in rows
    ]
    query = request.GET.copy()
    for name in ("after", "before"):
        query.pop(name, None)
    return DeviceList(
        lines=lines,
        q=q,
        verdict=asked,
        choices=[
            Choice(value, label, value == asked) for value, label in words.items()
        ],
        total=len(ids),
        counts={name: len(each) for name, each in sets.items()},
        previous_url=address(request, before=str(chosen[0])) if has_previous else "",
        next_url=address(request, after=str(chosen[-1])) if has_next else "",
        export_url=f"export/?{query.urlencode()}" if query else "export/",
        is_filtered=bool(q or asked),
        clear_url=f"{request.path}?{urlencode({'verdict': 'any'})}",
    )


def _slice(ids: list[int], request: ConsoleRequest) -> tuple[list[int], bool, bool]:
    position = {str(pk): index for index, pk in enumerate(ids)}
    after, before = request.GET.get("after", ""), request.GET.get("before", "")
    start = 0
    if after in position:
        start = position[after] + 1
    elif before in position:
        start = max(0, position[before] - PAGE_SIZE)
    chosen = ids[start : start + PAGE_SIZE]
    return chosen, bool(chosen) and start > 0, start + PAGE_SIZE < len(ids)


def history_of(obj: Any) -> list[Entry]:
    """The object's history as the component shows it."""
    return [
        Entry(
            at=row.at,
            actor=row.actor_name,
            note=row.note,
            changes=[
                (str(name), str(was or ""), str(value or ""))
                for name, was, value in row.details.get("changes", [])
            ],
        )
        for row in entries_for(obj)[:HISTORY_SIZE]
    ]
