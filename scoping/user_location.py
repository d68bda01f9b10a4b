"""User and Location from the directory, by the connection's attribute mappings.

A look-up fills the fields of a device from the person its assigned user name leads to.
Fields filled that way follow the directory at every read; fields that a person typed
or a file brought do not. Departments and buildings are matched to those that exist and
never created (Jamf Pro does the same).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from directory.models import (
    UNKNOWN_STATES,
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryUser,
)
from directory.planned import PlannedChange
from jamfidp.history.record import record
from scoping import changes
from scoping.models import Building, Department, Device, InventoryUser

Source = Device.Source

# Jamf Pro's names and order; each is a column of Device and of DirectoryUser alike.
FIELDS: Mapping[str, str] = {
    "real_name": "Full name",
    "email": "Email address",
    "phone": "Phone number",
    "position": "Position",
    "department": "Department",
    "building": "Building",
    "room": "Room",
}
TABLES: Mapping[str, type[Department] | type[Building]] = {
    "department": Department,
    "building": Building,
}
STORED = (*FIELDS, "assigned_user", "sources", "search")


class LookUpImpossible(Exception):
    """Why there is nobody to take values from; the text is for the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldState:
    """One field of User and Location, as the device's page shows it.

    `elsewhere` is what Entra says when no department or building has that name.
    """

    field: str
    label: str
    value: str
    origin: str = ""
    source: str = ""
    by: str = ""
    at: datetime | None = None
    elsewhere: str = ""

    @property
    def follows_directory(self) -> bool:
        return self.origin == Source.DIRECTORY

    @property
    def is_reference(self) -> bool:
        return self.field in TABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a look-up would do to one field."""

    now: FieldState
    entra: str
    becomes: str
    # The connection's mappings name a property for it.
    mapped: bool = True

    @property
    def unmatched(self) -> bool:
        """Entra has a value, and nothing here has that name."""
        return self.now.is_reference and bool(self.entra) and not self.becomes

    @property
    def differs(self) -> bool:
        return self.now.value != self.becomes

    @property
    def suggested(self) -> bool:
        """Take it unless somebody typed a value that this would replace."""
        typed = self.now.value and not self.now.follows_directory
        return not typed or not self.differs


def plain(name: str) -> str:
    """The form in which two names of departments or buildings are the same."""
    return unicodedata.normalize("NFC", name.strip().casefold())


def mark(
    source: Device.Source, *, actor: Any | None, now: datetime, **more: str
) -> dict[str, str]:
    """What `Device.sources` holds for one field."""
    by = {"by": str(actor)} if actor is not None else {}
    return {"source": source.value, "at": now.isoformat(), **by, **more}


def state(device: Device, field: str) -> FieldState:
    """One field with its value and where that comes from."""
    value = getattr(device, field)
    held = device.sources.get(field, {})
    origin = held.get("source", "")
    by = held.get("by", "")
    elsewhere = held.get("entra", "") if origin == Source.DIRECTORY else ""
    if origin == Source.DIRECTORY:
        words = "from Entra"
    elif origin == Source.PERSON:
        words = f"typed by {by}" if by else "typed"
    elif origin == Source.IMPORT:
        words = f"imported by {by}" if by else "imported"
    else:
        words = ""
    labels = {**FIELDS, "assigned_user": "Username"}
    return FieldState(
        field=field,
        label=labels[field],
        value=str(value) if value else "",
        origin=origin,
        source=words,
        by=by,
        at=parse_datetime(held["at"]) if "at" in held else None,
        elsewhere="" if value else elsewhere,
    )


def states(device: Device) -> Sequence[FieldState]:
    """Every field of User and Location, the user name first."""
    return [state(device, field) for field in ("assigned_user", *FIELDS)]


class _Names:
    """Departments and buildings by name, read once."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {
            field: {plain(row.name): row for row in model.objects.all()}
            for field, model in TABLES.items()
        }

    def value(self, field: str, entra: str) -> Any:
        """What the device holds for what Entra says."""
        if field not in self._rows:
            return entra.strip()
        return self._rows[field].get(plain(entra))


def _person(user: InventoryUser | None) -> DirectoryUser:
    if user is None:
        raise LookUpImpossible(
            "Nobody is assigned to this device. Enter a user name first."
        )
    if user.match == InventoryUser.Match.MATCHED:
        row = (
            DirectoryUser.objects.connected()
            .filter(cloud_idp__tenant_id=user.tenant_id, object_id=user.object_id)
            .first()
        )
        if row is not None:
            return row
    sentence = {
        InventoryUser.Match.NONE: "No connection has a user of this name.",
        InventoryUser.Match.AMBIGUOUS: "Several directory users have this name.",
        InventoryUser.Match.CHANGED: (
            "It led to somebody else before; confirm who it is under Users, Who is who."
        ),
    }.get(InventoryUser.Match(user.match), user.reason or "The directory was not read.")
    raise LookUpImpossible(
        f"{user.username} does not lead to one directory user. {sentence}"
    )


def proposals(device: Device) -> tuple[DirectoryUser, Sequence[Proposal]]:
    """What the directory says of the assigned user, field by field.

    Raises:
        LookUpImpossible: there is no one person to ask about.
    """
    person = _person(device.assigned_user)
    names = _Names()
    mapped = _mapped()[person.cloud_idp_id]
    found = []
    for field in FIELDS:
        entra = getattr(person, field)
        value = names.value(field, entra)
        found.append(
            Proposal(
                now=state(device, field),
                entra=entra,
                becomes=str(value) if value else "",
                mapped=field in mapped,
            )
        )
    return person, found


def _mapped() -> Mapping[int, frozenset[str]]:
    """The fields that each connection has a property for; nothing is said of others."""
    rows = {row.cloud_idp_id: row for row in AttributeMappings.objects.all()}
    return {
        pk: frozenset(
            field for field in FIELDS if pk not in rows or getattr(rows[pk], field)
        )
        for pk in CloudIdentityProvider.objects.values_list("pk", flat=True)
    }


def _take(
    device: Device,
    fields: Iterable[str],
    person: DirectoryUser,
    names: _Names,
    now: datetime,
) -> list[list[str]]:
    """Set fields from the person. Returns what changed."""
    changed = []
    for field in fields:
        entra = getattr(person, field)
        before, after = state(device, field), names.value(field, entra)
        unmatched = entra if field in TABLES and entra and after is None else ""
        if (
            before.follows_directory
            and before.value == (str(after) if after else "")
            and before.elsewhere == unmatched
        ):
            continue
        setattr(device, field, after)
        more = {"entra": unmatched} if unmatched else {}
        device.sources = {
            **device.sources,
            field: mark(Source.DIRECTORY, actor=None, now=now, **more),
        }
        if before.value != state(device, field).value:
            changed.append([FIELDS[field], before.value, state(device, field).value])
    return changed


def look_up(
    *, device: Device, fields: Iterable[str], actor: Any, now: datetime
) -> Sequence[Sequence[str]]:
    """Take these fields from the directory, from now on at every read.

    Returns (field, before, after) of each value that changed.

    Raises:
        LookUpImpossible: there is no one person to take values from.
    """
    wanted = [field for field in FIELDS if field in set(fields)]
    with transaction.atomic():
        row = (
            Device.objects.select_for_update(of=("self",))
            .select_related("assigned_user", "department", "building")
            .get(pk=device.pk)
        )
        person = _person(row.assigned_user)
        mapped = _mapped()[person.cloud_idp_id]
        wanted = [field for field in wanted if field in mapped]
        if not wanted:
            raise LookUpImpossible(
                "The connection's mappings have no property for that field."
            )
        changed = _take(row, wanted, person, _Names(), now)
        row.save()
        record(
            obj=row,
            actor=actor,
            note=(
                f"Looked up {person} in the directory:"
                f" {', '.join(FIELDS[field].lower() for field in wanted)}"
            ),
            action="looked up",
            details={"changes": changed},
            now=now,
        )
        changes.announce(changes.Change(devices=frozenset({row.pk})), now=now)
    return changed


def following() -> QuerySet[Device]:
    """Devices with at least one field that follows the directory."""
    condition = Q()
    for field in FIELDS:
        condition |= Q(**{f"sources__{field}__source": Source.DIRECTORY.value})
    return Device.objects.filter(condition)


def fill(
    devices: Iterable[Device],
    *,
    now: datetime,
    fields: Iterable[str] | None = None,
    planned: PlannedChange | None = None,
) -> list[tuple[Device, list[list[str]]]]:
    """Renew the fields that follow the directory on these instances, unsaved.

    `fields` starts to follow for them as well, where nothing was typed or imported.
    Devices whose user does not lead to one person stay as they are: unknown is not
    no, and somebody who left was still at that desk. Constant queries. The instances
    need `assigned_user`, `department` and `building` selected. With `planned` people
    say what they will say once that plan is applied.
    """
    devices = list(devices)
    names, people, mapped = _Names(), _people(devices, planned), _mapped()
    started = set(fields or ())
    found = []
    for device in devices:
        person = people.get(device.pk)
        if person is None:
            continue
        wanted = [
            field
            for field in FIELDS
            if field in mapped[person.cloud_idp_id]
            and (
                state(device, field).follows_directory
                or (field in started and _is_free(device, field, person))
            )
        ]
        sources = device.sources
        changed = _take(device, wanted, person, names, now)
        if changed or device.sources is not sources:
            found.append((device, changed))
    return found


def _is_free(device: Device, field: str, person: DirectoryUser) -> bool:
    """Nobody said what it is, and the directory takes nothing away."""
    now = state(device, field)
    return not now.origin and bool(getattr(person, field) or not now.value)


def _people(
    devices: Sequence[Device], planned: PlannedChange | None = None
) -> Mapping[int, DirectoryUser]:
    matched = {
        device.pk: (user.tenant_id, user.object_id)
        for device in devices
        if (user := device.assigned_user) is not None
        and user.match == InventoryUser.Match.MATCHED
    }
    tenants = dict(CloudIdentityProvider.objects.values_list("pk", "tenant_id"))
    ids = sorted({object_id for _, object_id in matched.values()})
    rows = {
        (tenants[row.cloud_idp_id], row.object_id): row
        for at in range(0, len(ids), 1000)
        for row in DirectoryUser.objects.filter(
            cloud_idp__in=list(tenants), object_id__in=ids[at : at + 1000]
        ).exclude(state__in=UNKNOWN_STATES)
        if planned is None or row.cloud_idp_id != planned.cloud_idp_id
    }
    if planned is not None:
        rows |= {
            (planned.tenant_id, row.object_id): row
            for row in planned.people_after(object_ids=ids)
            if row.state not in UNKNOWN_STATES
        }
    return {pk: rows[ref] for pk, ref in matched.items() if ref in rows}


def follow(devices: QuerySet[Device], *, now: datetime) -> frozenset[int]:
    """Renew what follows the directory on these devices; return those that changed.

    Call it in a transaction. Each device that gets another value enters its history.
    """
    chosen = devices.select_related("assigned_user", "department", "building")
    # Locked: what a person types meanwhile waits, and is not written over.
    found = fill(chosen.select_for_update(of=("self",)), now=now)
    for device, changed in found:
        device.fill_search()
        if changed:
            record(
                obj=device,
                actor=None,
                note="Entra says something else of the assigned user",
                action="followed",
                details={"changes": changed},
                now=now,
            )
    store([device for device, _ in found], STORED)
    return frozenset(device.pk for device, changed in found if changed)


def store(devices: Sequence[Device], fields: Sequence[str]) -> None:
    """Write these fields of devices that exist, in bulk.

    As an insert that meets its own row: many times faster than an update by cases.
    Call it in the transaction that read the devices.
    """
    Device.objects.bulk_create(
        devices,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=fields,
    )


def settle_names(field: str, *, now: datetime) -> frozenset[int]:
    """A department or building appeared or was renamed: fill it in where Entra says so."""
    waiting = Device.objects.filter(
        **{
            f"{field}__isnull": True,
            f"sources__{field}__source": Source.DIRECTORY.value,
        }
    )
    return follow(waiting, now=now)


def follow_users(user_ids: Iterable[int], *, now: datetime) -> frozenset[int]:
    """`follow` for the devices assigned to these inventory users."""
    ids = list(user_ids)
    changed: set[int] = set()
    for at in range(0, len(ids), 1000):
        chunk = following().filter(assigned_user__in=ids[at : at + 1000])
        changed |= follow(chunk, now=now)
    return frozenset(changed)


def forget_unmapped(tenant_id: str, *, now: datetime) -> frozenset[int]:
    """Empty what followed a property that the connection no longer maps.

    Call it in a transaction. The fields follow again when they are mapped again. The
    history says that a value was taken out and not which.
    """
    cloud_idp = CloudIdentityProvider.objects.filter(tenant_id=tenant_id).first()
    if cloud_idp is None:
        return frozenset()
    unmapped = [field for field in FIELDS if field not in _mapped()[cloud_idp.pk]]
    condition = Q()
    for field in unmapped:
        condition |= Q(**{f"sources__{field}__source": Source.DIRECTORY.value})
    if not condition:
        return frozenset()
    chosen = Device.objects.filter(condition, assigned_user__tenant_id=tenant_id)
    found = []
    for device in chosen.select_related(
        "assigned_user", "department", "building"
    ).select_for_update(of=("self",)):
        emptied = [
            field
            for field in unmapped
            if (now_held := state(device, field)).follows_directory
            and (now_held.value or now_held.elsewhere)
        ]
        if not emptied:
            continue
        _empty(device, emptied, now)
        device.fill_search()
        found.append(device)
        record(
            obj=device,
            actor=None,
            note="No property is mapped any more to "
            f"{', '.join(FIELDS[field] for field in emptied)}: what Entra said was "
            "erased",
            action="followed",
            now=now,
        )
    store(found, STORED)
    return frozenset(device.pk for device in found)


def _empty(device: Device, fields: Iterable[str], now: datetime) -> None:
    for field in fields:
        setattr(device, field, None if field in TABLES else "")
        device.sources = {
            **device.sources,
            field: mark(Source.DIRECTORY, actor=None, now=now),
        }


def reassign(device: Device, user: InventoryUser | None, *, now: datetime) -> None:
    """Give the unsaved device another user and empty what follows the directory.

    Values of the earlier person do not stay under the name of the new one; `fill`
    brings those of the new one.
    """
    device.assigned_user = user
    followed = [field for field in FIELDS if state(device, field).follows_directory]
    _empty(device, followed, now)
