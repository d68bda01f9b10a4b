"""Write and read object history."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from jamfidp.history.models import ObjectHistory

CONSOLE = "Console"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """One entry of many that one person or one run writes at once."""

    obj: Model
    note: str
    action: str = "changed"
    details: Mapping[str, Any] = field(default_factory=dict)


def record(
    *,
    obj: Model,
    actor: Any | None,
    note: str,
    action: str = "changed",
    details: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> ObjectHistory:
    """Write one entry, in the transaction of the change it describes.

    `actor` is the console user, or None when the console itself acted. `details`
    holds before and after values that can be shown; a secret never goes in.
    """
    entry = NewEntry(obj=obj, note=note, action=action, details=details or {})
    row = _row(entry, actor, now or timezone.now())
    row.save(force_insert=True)
    return row


def record_many(
    entries: Iterable[NewEntry], *, actor: Any | None, now: datetime
) -> None:
    """Write the entries of a change of many objects, as `record` would, in bulk."""
    ObjectHistory.objects.bulk_create(
        [_row(entry, actor, now) for entry in entries], batch_size=500
    )


def _row(entry: NewEntry, actor: Any | None, now: datetime) -> ObjectHistory:
    person = actor if actor is not None and actor.pk is not None else None
    return ObjectHistory(
        at=now,
        actor=person,
        actor_name=str(person) if person is not None else CONSOLE,
        object_label=entry.obj._meta.label_lower,
        object_pk=str(entry.obj.pk),
        object_name=str(entry.obj)[:255],
        site_id=getattr(entry.obj, "site_id", None),
        action=entry.action,
        note=entry.note,
        details=dict(entry.details),
    )


def entries_for(obj: Model) -> QuerySet[ObjectHistory]:
    """Return the object's history, newest first."""
    return ObjectHistory.objects.filter(
        object_label=obj._meta.label_lower, object_pk=str(obj.pk)
    )
