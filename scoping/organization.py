"""Sites, buildings, departments and network segments: what devices are divided by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.db import models, transaction
from django.db.models import ProtectedError

from jamfidp.history.record import record
from scoping import changes, user_location
from scoping.models import (
    Building,
    Department,
    NetworkSegment,
    ScopeEntry,
    Site,
    SmartGroupCriterion,
)

Part: TypeAlias = Site | Building | Department | NetworkSegment

ENTRY_KINDS: Mapping[type[models.Model], ScopeEntry.Kind] = {
    Building: ScopeEntry.Kind.BUILDING,
    Department: ScopeEntry.Kind.DEPARTMENT,
    NetworkSegment: ScopeEntry.Kind.NETWORK_SEGMENT,
}


class StillUsed(Exception):
    """A site cannot be deleted while something belongs to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """Things of one kind that depend on a part: how many, and what becomes of them."""

    count: int
    noun: str
    consequence: str
    # A deletion is refused while there are any.
    protects: bool = False

    def __str__(self) -> str:
        return f"{self.count:,} {self.noun}"


def dependents_of(part: Part) -> Sequence[Dependent]:
    """What depends on it, of every feature, before it is deleted."""
    found = [
        _relation(part, relation)
        for relation in part._meta.related_objects
        if isinstance(relation, models.ManyToOneRel)
    ]
    kind = ENTRY_KINDS.get(type(part))
    if kind is not None:
        scopes = ScopeEntry.objects.filter(kind=kind, ref_id=part.pk)
        found.append(
            Dependent(
                count=scopes.count(),
                noun="entries of scopes",
                consequence="stay, are marked broken and count as unknown",
            )
        )
    if isinstance(part, Building | Department):
        groups = SmartGroupCriterion.objects.filter(
            name=part._meta.object_name, value=part.name
        )
        found.append(
            Dependent(
                count=groups.values("group").distinct().count(),
                noun="smart groups by this name",
                consequence="keep the criterion, which no device will meet",
            )
        )
    return [each for each in found if each.count]


def _relation(part: Part, relation: models.ManyToOneRel) -> Dependent:
    model: Any = relation.related_model
    protects = relation.on_delete is models.PROTECT
    count = model._base_manager.filter(**{relation.field.name: part.pk}).count()
    return Dependent(
        count=count,
        noun=str(
            model._meta.verbose_name if count == 1 else model._meta.verbose_name_plural
        ),
        consequence=(
            "to move to another site first" if protects else "without a value then"
        ),
        protects=protects,
    )


def save(*, part: Part, before: Mapping[str, Any], actor: Any, now: datetime) -> Part:
    """Create a part or keep its changes. `before` holds its earlier values, by field.

    A department or building that Entra named before it existed is filled in on the
    devices that wait for it.
    """
    is_new = part.pk is None
    noun = part._meta.verbose_name
    with transaction.atomic():
        part.save()
        changed = [
            [name.replace("_", " ").capitalize(), str(old or ""), new]
            for name, old in before.items()
            if (new := str(getattr(part, name))) != str(old or "")
        ]
        if is_new or changed:
            record(
                obj=part,
                actor=actor,
                note=f"Created the {noun}" if is_new else f"Changed the {noun}",
                action="added" if is_new else "changed",
                details={"changes": [] if is_new else changed},
                now=now,
            )
            _announce(part, now, named=True)
    return part


def delete(*, part: Part, actor: Any, now: datetime) -> None:
    """Delete a part.

    Raises:
        StillUsed: it is a site, and something belongs to it.
    """
    try:
        with transaction.atomic():
            record(
                obj=part,
                actor=actor,
                note=f"Deleted the {part._meta.verbose_name}",
                action="deleted",
                details={"dependents": [str(each) for each in dependents_of(part)]},
                now=now,
            )
            gone = type(part)(pk=part.pk)
            devices = _devices_in(part)
            part.delete()
            _announce(gone, now, devices=devices)
    except ProtectedError as error:
        used = ", ".join(str(each) for each in dependents_of(part))
        raise StillUsed(
            f"{part} was not deleted: {used} belong to it. Move them to another site"
            " first."
        ) from error


def _devices_in(part: Part) -> frozenset[int]:
    if isinstance(part, Building | Department):
        return frozenset(part.devices.values_list("pk", flat=True))
    return frozenset()


def _announce(
    part: Part,
    now: datetime,
    *,
    devices: frozenset[int] = frozenset(),
    named: bool = False,
) -> None:
    ids = frozenset({part.pk})
    match part:
        case NetworkSegment():
            changes.announce(changes.Change(network_segments=ids), now=now)
        case Department():
            if named:
                devices |= user_location.settle_names("department", now=now)
            changes.announce(changes.Change(departments=ids, devices=devices), now=now)
        case Building():
            if named:
                devices |= user_location.settle_names("building", now=now)
            changes.announce(changes.Change(buildings=ids, devices=devices), now=now)
        case Site():
            pass
