"""From when on a sync of a connection holds losses: read and changed by people."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from django.db import transaction

from directory.models import CloudIdentityProvider, GuardLimits
from directory.sync.decide import limits_of
from directory.sync.guards import Limits
from jamfidp.history.record import record


def current(cloud_idp: CloudIdentityProvider) -> GuardLimits:
    """Return the limits that hold, as a row that may not be stored yet."""
    stored = GuardLimits.objects.filter(cloud_idp=cloud_idp).first()
    return stored or _row(cloud_idp, limits_of(cloud_idp))


def _row(cloud_idp: CloudIdentityProvider, limits: Limits) -> GuardLimits:
    row = GuardLimits(cloud_idp=cloud_idp)
    for what in fields(limits):
        limit = getattr(limits, what.name)
        setattr(row, f"{what.name}_percent", limit.percent)
        setattr(row, f"{what.name}_absolute", limit.absolute)
    return row


@transaction.atomic
def save(changed: GuardLimits, *, actor: Any, now: datetime) -> bool:
    """Store the limits; False where none is another."""
    CloudIdentityProvider.objects.select_for_update(of=("self",)).get(
        pk=changed.cloud_idp_id
    )
    before = current(changed.cloud_idp)
    changes = {
        field.name: [getattr(before, field.name), getattr(changed, field.name)]
        for field in GuardLimits._meta.fields
        if field.name not in ("id", "cloud_idp")
        and getattr(before, field.name) != getattr(changed, field.name)
    }
    if not changes:
        return False
    changed.pk = before.pk
    changed.save()
    record(
        obj=changed.cloud_idp,
        actor=actor,
        note="Changed from when on losses are held",
        details=changes,
        now=now,
    )
    return True
