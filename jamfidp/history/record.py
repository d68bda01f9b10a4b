"""Write and read object history."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from jamfidp.history.models import ObjectHistory

CONSOLE = "Console"


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
    person = actor if actor is not None and actor.pk is not None else None
    return ObjectHistory.objects.create(
        at=now or timezone.now(),
        actor=person,
        actor_name=str(person) if person is not None else CONSOLE,
        object_label=obj._meta.label_lower,
        object_pk=str(obj.pk),
        object_name=str(obj)[:255],
        site_id=getattr(obj, "site_id", None),
        action=action,
        note=note,
        details=dict(details or {}),
    )


def entries_for(obj: Model) -> QuerySet[ObjectHistory]:
    """Return the object's history, newest first."""
    return ObjectHistory.objects.filter(
        object_label=obj._meta.label_lower, object_pk=str(obj.pk)
    )
