"""A CSV file of devices: read it, say what it would do, do exactly that.

Rows are told apart by serial number, so that the same file can be brought again and
changes nothing. A file is checked against the inventory when it is uploaded and once
more when it is applied.
"""

from __future__ import annotations

import csv
import io
import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import transaction
from django.db.models import CharField
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from jamfidp.access import ConsoleUser
from jamfidp.history.record import NewEntry, record, record_many
from jamfidp.spreadsheet import restored
from scoping import changes, inventory, matching_rows, user_location
from scoping.matching import MatchCounts, count_matches, fold
from scoping.models import (
    Building,
    Department,
    Device,
    DeviceKind,
    InventoryImport,
    InventoryUser,
    Site,
)

MAX_BYTES = 5 * 1024 * 1024
MAX_ROWS = 20_000
# The word of Jamf's own Mass Update Tool: an empty cell leaves a value as it is.
CLEAR = "CLEAR!"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# An upload that nobody confirmed is forgotten with the next one after this time.
FORGET_AFTER = timedelta(days=1)
TRUE = {"managed", "true", "yes", "1"}
FALSE = {"unmanaged", "false", "no", "0"}


class FileRefused(Exception):
    """The file as a whole cannot be read; the text says why and what to do."""


class AlreadyApplied(Exception):
    """The import was confirmed before, in another tab or by a second click."""


class State(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the file: Jamf Pro's word for it, and what may stand in it."""

    name: str
    field: str
    help: str
    required: bool = False
    other_names: tuple[str, ...] = ()


def columns_for(kind: DeviceKind) -> Sequence[Column]:
    """The columns a file may have, in the order of the template."""
    section = inventory.SECTIONS[kind]
    return (
        Column(
            name="Serial Number",
            field="serial_number",
            help="Which device the row is about. Every row needs one.",
            required=True,
        ),
        Column(
            name=section.name_label,
            field="name",
            help="Needed for a device that is not in the inventory yet.",
            other_names=("Name", "Device Name"),
        ),
        Column(name="Model", field="model", help="Any text."),
        Column(
            name=section.os_label,
            field="os_version",
            help="For example 15.5.",
            other_names=("OS Version", "Operating System Version"),
        ),
        Column(
            name="Managed",
            field="managed",
            help="Managed or Unmanaged; also true, false, yes, no. New devices: Managed.",
        ),
        Column(
            name="Site",
            field="site",
            help="The name of a site that exists.",
        ),
        Column(
            name=section.ip_label,
            field="last_reported_ip",
            help="An IPv4 or IPv6 address.",
            other_names=("IP Address", "Last Reported IP Address"),
        ),
        Column(
            name="Last Inventory Update",
            field="last_inventory_at",
            help="A date and time, for example 2026-11-03 14:02 or 2026-11-03T14:02Z.",
        ),
        Column(
            name="Username",
            field="username",
            help="The assigned user, as in Entra, for example ana.ruiz@fernhill.example.",
        ),
        Column(name="Full Name", field="real_name", help="Of the assigned user."),
        Column(name="Email Address", field="email", help="Of the assigned user."),
        Column(name="Phone Number", field="phone", help="Of the assigned user."),
        Column(name="Position", field="position", help="Of the assigned user."),
        Column(
            name="Department",
            field="department",
            help="The name of a department that exists.",
        ),
        Column(
            name="Building",
            field="building",
            help="The name of a building that exists.",
        ),
        Column(name="Room", field="room", help="Any text."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """One row of the file: its line number and what stands in it, by field."""

    line: int
    values: Mapping[str, str]
    # Why the row cannot be read at all.
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A file as it was read."""

    encoding: str
    delimiter: str
    columns: Sequence[str]
    unknown_columns: Sequence[str]
    rows: Sequence[Cells]


@dataclass(slots=True, kw_only=True)
class Plan:
    """What one row would do."""

    line: int
    state: State
    serial_number: str
    name: str
    changes: Sequence[Sequence[str]] = ()
    reasons: Sequence[str] = ()
    username: str = ""
    # Unsaved, with the values set; None when refused.
    device: Device | None = None
    # What the device held before, as `inventory.values_of` says it.
    before: Mapping[str, str] = field(default_factory=dict)
    # Fields of User and Location change, or begin to follow the directory.
    looked_up: bool = False

    def stored(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "state": self.state.value,
            "serial_number": self.serial_number,
            "name": self.name,
            "changes": [list(each) for each in self.changes],
            "reasons": list(self.reasons),
        }


def _heading(text: str) -> str:
    return " ".join(text.replace("_", " ").split()).casefold()


def _decode(content: bytes) -> tuple[str, str]:
    if content.startswith(b"PK\x03\x04"):
        raise FileRefused(
            "This is an Excel workbook, not a CSV file. Save it as 'CSV UTF-8' and"
            " upload that file."
        )
    if content.startswith(b"\xef\xbb\xbf"):
        return content.decode("utf-8-sig", errors="replace"), "UTF-8 with a mark"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16"), "UTF-16"
        except UnicodeDecodeError as error:
            raise FileRefused(
                "The file begins like UTF-16 and is cut or damaged. Save it again as"
                " 'CSV UTF-8'."
            ) from error
    if b"\x00" in content:
        raise FileRefused(
            "This is not a text file. Save the list as 'CSV UTF-8' and upload that file."
        )
    try:
        return content.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "Latin-1"


def read(content: bytes, *, kind: DeviceKind) -> Reading:
    """Read the bytes of a file.

    Raises:
        FileRefused: too large, not text, no heading line, or no serial numbers.
    """
    if len(content) > MAX_BYTES:
        raise FileRefused(
            # No more than one byte above the limit was read.
            f"The file is too large: up to {MAX_BYTES // 1024 // 1024} MB are read."
            " Split it into several files."
        )
    text, encoding = _decode(content)
    if "\x00" in text:
        raise FileRefused(
            "The file holds characters that are no text. Save the list as 'CSV UTF-8'"
            " and upload that file."
        )
    if not text.strip():
        raise FileRefused(
            "The file is empty. Export the list again, or begin with the template."
        )
    known = {
        _heading(name): column.field
        for column in columns_for(kind)
        for name in (*column.other_names, column.name)
    }
    first_line = text.lstrip().splitlines()[0]
    delimiter = max(
        DELIMITERS,
        key=lambda each: sum(
            _heading(name) in known
            for name in next(csv.reader([first_line], delimiter=each))
        ),
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        headings = [name.strip() for name in _first_filled(reader)]
        fields = [known.get(_heading(name), "") for name in headings]
        _check_headings(headings, fields)
        rows = list(_rows(reader, fields))
    except csv.Error as error:
        raise FileRefused(
            f"Line {reader.line_num} is not CSV: {error}. A quotation mark may be"
            " missing. Nothing of the file was read."
        ) from error
    if not rows:
        raise FileRefused("The file has a heading line and no rows.")
    return Reading(
        encoding=encoding,
        delimiter=DELIMITERS[delimiter],
        columns=[name for name, field in zip(headings, fields, strict=True) if field],
        unknown_columns=[
            name
            for name, field in zip(headings, fields, strict=True)
            if not field and name
        ],
        rows=rows,
    )


def _first_filled(reader: Iterable[list[str]]) -> list[str]:
    return next((row for row in reader if any(cell.strip() for cell in row)), [])


def _check_headings(headings: Sequence[str], fields: Sequence[str]) -> None:
    if "serial_number" not in fields:
        shown = ", ".join(name for name in headings[:6] if name) or "nothing"
        raise FileRefused(
            "No column is named Serial Number. The first line has to hold the names of"
            f" the columns; it holds {shown}."
        )
    twice = [field for field, n in Counter(filter(None, fields)).items() if n > 1]
    if twice:
        names = [
            name
            for name, field in zip(headings, fields, strict=True)
            if field == twice[0]
        ]
        raise FileRefused(
            f"Two columns say the same: {' and '.join(names)}. Remove one of them."
        )


def _rows(reader: Any, fields: Sequence[str]) -> Iterable[Cells]:
    count, line = 0, reader.line_num + 1
    for row in reader:
        if any(cell.strip() for cell in row):
            count += 1
            if count > MAX_ROWS:
                raise FileRefused(
                    f"The file has more than {MAX_ROWS:,} rows. Split it into several."
                )
            problem = ""
            if any(cell.strip() for cell in row[len(fields) :]):
                problem = (
                    f"The row has {len(row)} cells and the heading line {len(fields)}."
                    " A cell that holds the delimiter needs quotation marks."
                )
            values = {
                field: restored(cell.strip())
                for field, cell in zip(fields, row, strict=False)
                if field
            }
            yield Cells(line=line, values=values, problem=problem)
        line = reader.line_num + 1


class _Known:
    """What rows are held against, read once for all of them."""

    def __init__(
        self,
        *,
        kind: DeviceKind,
        serials: Iterable[str],
        actor: ConsoleUser,
        lock: bool,
    ) -> None:
        section = inventory.SECTIONS[kind]
        self.kind = kind
        self.add = actor.sites_with(section.perm("add"))
        self.change = actor.sites_with(section.perm("change"))
        self.sites = {user_location.plain(s.name): s for s in Site.objects.all()}
        self.tables: Mapping[str, Mapping[str, Any]] = {
            "department": {
                user_location.plain(each.name): each
                for each in Department.objects.all()
            },
            "building": {
                user_location.plain(each.name): each for each in Building.objects.all()
            },
        }
        wanted = list(serials)
        devices = Device.objects.select_related(
            "site", "assigned_user", "department", "building"
        )
        if lock:
            devices = devices.select_for_update(of=("self",))
        self.devices = {
            device.serial_number: device
            for at in range(0, len(wanted), 1000)
            for device in devices.filter(serial_number__in=wanted[at : at + 1000])
        }


_LENGTHS = {
    field.name: field.max_length
    for field in Device._meta.get_fields()
    if isinstance(field, CharField) and field.max_length
}


class _Refused(Exception):
    """Why one cell cannot be used."""


def _cell(field: str, text: str, known: _Known) -> Any:
    """The value of one filled cell."""
    clear = text == CLEAR
    if clear and field in {"serial_number", "name", "managed"}:
        raise _Refused(f"{_label(field, known)} cannot be cleared.")
    if field == "managed":
        if text.casefold() in TRUE | FALSE:
            return text.casefold() in TRUE
        raise _Refused(f"Managed is '{text}'; use Managed or Unmanaged.")
    if field == "last_reported_ip":
        if clear:
            return None
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            raise _Refused(f"'{text}' is not an IP address.") from None
    if field == "last_inventory_at":
        return None if clear else _moment(text)
    if field == "site":
        return None if clear else _named(known.sites, text, "site")
    if field in known.tables:
        return None if clear else _named(known.tables[field], text, field)
    limit = 255 if field == "username" else _LENGTHS[field]
    if len(text) > limit:
        raise _Refused(
            f"{_label(field, known)} has {len(text)} characters; up to {limit} fit."
        )
    return "" if clear else text


def _label(field: str, known: _Known) -> str:
    return next(c.name for c in columns_for(known.kind) if c.field == field)


def _named(rows: Mapping[str, Any], text: str, noun: str) -> Any:
    try:
        return rows[user_location.plain(text)]
    except KeyError:
        raise _Refused(f"There is no {noun} named '{text}'. Create it first.") from None


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
        if moment is None:
            day = parse_date(text)
            moment = datetime(day.year, day.month, day.day) if day else None  # noqa: DTZ001
    except ValueError:
        moment = None
    if moment is None:
        raise _Refused(f"'{text}' is not a date and time such as 2026-11-03 14:02.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def plan(
    rows: Sequence[Cells],
    *,
    kind: DeviceKind,
    site: Site | None,
    actor: ConsoleUser,
    now: datetime,
    look_up: bool = False,
    users: Mapping[str, InventoryUser] | None = None,
    lock: bool = False,
) -> list[Plan]:
    """What each row would do to the inventory as it is now. Constant queries.

    `site` is for new devices whose row names none. `users` are the rows of the user
    names, by folded name; without them, names that are new stand in unsaved. With
    `look_up`, User and Location follows the directory where nothing else was said.
    `lock` keeps the devices as they are until the transaction ends.
    """
    serials = [row.values.get("serial_number", "").upper() for row in rows]
    known = _Known(kind=kind, serials=serials, actor=actor, lock=lock)
    if users is None:
        names = (row.values.get("username", "") for row in rows)
        users = matching_rows.provisional_users(
            (name for name in names if name != CLEAR), now=now
        )
    first_line: dict[str, int] = {}
    plans = []
    for row, serial in zip(rows, serials, strict=True):
        plans.append(
            _plan_row(
                row,
                serial=serial,
                earlier_line=first_line.get(serial) if serial else None,
                known=known,
                site=site,
                actor=actor,
                now=now,
                users=users,
            )
        )
        first_line.setdefault(serial, row.line)
    _look_up(plans, user_location.FIELDS if look_up else (), now)
    for each in plans:
        if each.device is not None:
            each.changes = inventory.differences(each.before, each.device)
            if each.changes and each.state == State.UNCHANGED:
                each.state = State.CHANGED
    return plans


def _plan_row(
    row: Cells,
    *,
    serial: str,
    earlier_line: int | None,
    known: _Known,
    site: Site | None,
    actor: ConsoleUser,
    now: datetime,
    users: Mapping[str, InventoryUser],
) -> Plan:
    values, reasons = _values(row, known)
    device = known.devices.get(serial)
    section = inventory.SECTIONS[known.kind]
    if not serial:
        reasons.insert(0, "The row has no serial number.")
    if earlier_line is not None:
        reasons.insert(0, f"Line {earlier_line} has the same serial number.")
    if device is not None and device.kind != known.kind:
        other = inventory.SECTIONS[DeviceKind(device.kind)].noun
        reasons.append(f"The device with this serial number is a {other}.")
        device = None
    elif device is None:
        values.setdefault("site", site)
        if not row.values.get("name"):
            reasons.append(
                f"The {section.noun} is new and its row has no {section.name_label}."
            )
    if device is not None and not known.change.may_see(device.site_id):
        # A foreign site: nothing of the device is shown.
        reasons = ["You may not change the device with this serial number."]
        device = None
        values = {}
    elif not reasons and "site" in values:
        allowed = known.change if device else known.add
        target = values["site"]
        if not allowed.may_see(target.pk if target else None):
            where = f"at the site {target}" if target else "without a site"
            reasons.append(f"You may not keep {section.plural} {where}.")
    name = row.values.get("name") or (device.name if device else "")
    if reasons:
        return Plan(
            line=row.line,
            state=State.REFUSED,
            serial_number=serial,
            name=name,
            reasons=reasons,
        )
    is_new = device is None
    if device is None:
        device = Device(kind=known.kind, serial_number=serial)
    before = inventory.values_of(device)
    inventory.apply_values(
        device,
        values,
        user=users.get(fold(values.get("username", ""))),
        source=Device.Source.IMPORT,
        actor=actor,
        now=now,
    )
    return Plan(
        line=row.line,
        state=State.NEW if is_new else State.UNCHANGED,
        serial_number=serial,
        name=device.name,
        before=before,
        username=device.assigned_user.username if device.assigned_user else "",
        device=device,
    )


def _values(row: Cells, known: _Known) -> tuple[dict[str, Any], list[str]]:
    reasons = [row.problem] if row.problem else []
    values: dict[str, Any] = {}
    for name, text in row.values.items():
        if not text or name == "serial_number":
            continue
        try:
            values[name] = _cell(name, text, known)
        except _Refused as refused:
            reasons.append(str(refused))
    serial = row.values.get("serial_number", "")
    if len(serial) > _LENGTHS["serial_number"] or serial == CLEAR:
        reasons.append(f"'{serial[:80]}' is not a serial number.")
    return values, reasons


def _look_up(plans: Sequence[Plan], fields: Iterable[str], now: datetime) -> None:
    """Let the directory fill what follows it, and what begins to with `fields`."""
    owners = {id(plan.device): plan for plan in plans if plan.device is not None}
    devices = [plan.device for plan in owners.values() if plan.device]
    for device, _ in user_location.fill(devices, now=now, fields=fields):
        owners[id(device)].looked_up = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an import went."""

    new: int
    changed: int
    unchanged: int
    refused: int


def upload(
    *,
    content: bytes,
    file_name: str,
    kind: DeviceKind,
    site: Site | None,
    look_up: bool,
    actor: Any,
    now: datetime,
) -> InventoryImport:
    """Read and check a file, and keep what it would do until it is confirmed.

    Raises:
        FileRefused: the file as a whole cannot be read.
    """
    reading = read(content, kind=kind)
    row = InventoryImport(
        uploaded_by=actor,
        uploaded_at=now,
        file_name=file_name[:255],
        kind=kind,
        site=site,
        reading={
            "encoding": reading.encoding,
            "delimiter": reading.delimiter,
            "columns": list(reading.columns),
            "unknown_columns": list(reading.unknown_columns),
            "look_up": look_up,
            "site": str(site or ""),
            "cells": [asdict(cells) for cells in reading.rows],
        },
    )
    _preview(row, actor=actor, now=now)
    with transaction.atomic():
        InventoryImport.objects.filter(
            uploaded_by=actor, applied_at=None, uploaded_at__lt=now - FORGET_AFTER
        ).delete()
        row.save()
    return row


def _cells(row: InventoryImport) -> list[Cells]:
    return [Cells(**stored) for stored in row.reading["cells"]]


def _preview(
    row: InventoryImport, *, actor: ConsoleUser, now: datetime, lock: bool = False
) -> None:
    """Set what the file would do now on the instance."""
    plans = plan(
        _cells(row),
        kind=DeviceKind(row.kind),
        site=row.site,
        actor=actor,
        now=now,
        look_up=row.reading["look_up"],
        lock=lock,
    )
    row.rows = [each.stored() for each in plans]
    row.reading = {
        **row.reading,
        "users": _user_counts(each.username for each in plans if each.device),
    }


def _user_counts(names: Iterable[str]) -> dict[str, int]:
    """Of the assigned users in a file, each counted once, how many lead to whom."""
    found: MatchCounts = count_matches(matching_rows.match_names(names).values())
    return {
        "matched": found.matched,
        "unmatched": found.unmatched,
        "ambiguous": found.ambiguous,
        "unconfirmed": found.unconfirmed,
        "unresolved": found.unresolved,
    }


class PreviewOutdated(Exception):
    """The inventory changed since the preview; the import holds a new preview."""


def apply(*, row: InventoryImport, actor: Any, now: datetime) -> Outcome:
    """Do what the preview says, in one transaction.

    Raises:
        AlreadyApplied: it was confirmed before.
        PreviewOutdated: rows would do something else now. Nothing was changed but the
            preview, which a person has to look at again.
    """
    with transaction.atomic():
        kept = InventoryImport.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if kept.applied_at is not None:
            raise AlreadyApplied(
                f"{kept.file_name} was imported already. Nothing was changed again."
            )
        promised = kept.rows
        _preview(kept, actor=actor, now=now, lock=True)
        if kept.rows == promised:
            return _carry_out(kept, actor=actor, now=now)
        kept.save(update_fields=["rows", "reading"])
    differing = sum(
        before != after for before, after in zip(promised, kept.rows, strict=True)
    )
    raise PreviewOutdated(
        f"The inventory changed since the preview: {differing:,}"
        f" row{'' if differing == 1 else 's'} would do something else now."
        " Nothing was imported. Look at the new preview and confirm again."
    )


def _carry_out(row: InventoryImport, *, actor: Any, now: datetime) -> Outcome:
    cells = _cells(row)
    names = (each.values.get("username", "") for each in cells)
    users = matching_rows.ensure_users(
        (name for name in names if name != CLEAR), now=now
    )
    plans = plan(
        cells,
        kind=DeviceKind(row.kind),
        site=row.site,
        actor=actor,
        now=now,
        look_up=row.reading["look_up"],
        users=users,
    )
    new = [each.device for each in plans if each.state == State.NEW and each.device]
    # A field that begins to follow the directory is written even when its value stays.
    old = [
        each.device
        for each in plans
        if each.device
        and (
            each.state == State.CHANGED
            or (each.state == State.UNCHANGED and each.looked_up)
        )
    ]
    for device in (*new, *old):
        device.fill_search()
    Device.objects.bulk_create(new, batch_size=500)
    user_location.store(old, inventory.STORED)
    record_many(
        [
            NewEntry(
                obj=each.device,
                note=(
                    f"{'Added' if each.state == State.NEW else 'Changed'} by import of"
                    f" {row.file_name}, line {each.line}"
                ),
                action="imported",
                details={"changes": each.changes},
            )
            for each in plans
            if each.device and each.state in {State.NEW, State.CHANGED}
        ],
        actor=actor,
        now=now,
    )
    counted = Counter(each.state for each in plans)
    outcome = Outcome(
        new=counted[State.NEW],
        changed=counted[State.CHANGED],
        unchanged=counted[State.UNCHANGED],
        refused=counted[State.REFUSED],
    )
    record(
        obj=row,
        actor=actor,
        note=(
            f"Imported {row.file_name}: {outcome.new:,} new, {outcome.changed:,}"
            f" changed, {outcome.unchanged:,} unchanged, {outcome.refused:,} refused"
        ),
        action="imported",
        now=now,
    )
    row.applied_at, row.site = now, None
    row.reading = {name: row.reading[name] for name in row.reading if name != "cells"}
    row.save(update_fields=["applied_at", "site", "rows", "reading"])
    touched = frozenset(device.pk for device in (*new, *old))
    if touched:
        changes.announce(changes.Change(devices=touched), now=now)
    return outcome


def drop(*, row: InventoryImport, actor: Any) -> None:
    """Forget an upload that nobody confirmed; the inventory stays as it is."""
    InventoryImport.objects.filter(
        pk=row.pk, uploaded_by=actor, applied_at=None
    ).delete()


def counts(row: InventoryImport) -> Mapping[State, int]:
    """How many rows of a preview have each state."""
    found = Counter(each["state"] for each in row.rows)
    return {state: found[state.value] for state in State}
