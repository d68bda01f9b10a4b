"""Hold everything: nothing is applied, of one connection or of all, until released."""

from datetime import datetime
from typing import Any

from django.db import transaction

from directory.decisions import CannotDecide
from directory.models import CloudIdentityProvider, EverythingHeld
from jamfidp.history.record import record
from jamfidp.notices.announce import announce, end
from jamfidp.notices.kinds import HELD_CHANGES
from jamfidp.notices.models import Severity


@transaction.atomic
def hold(
    *,
    cloud_idp: CloudIdentityProvider | None,
    reason: str,
    actor: Any,
    now: datetime,
) -> EverythingHeld:
    """Hold everything of a connection, or of all with None. Raises CannotDecide."""
    if not reason.strip():
        raise CannotDecide("Say why: every page shows it while everything is held.")
    known = EverythingHeld.objects.filter(cloud_idp=cloud_idp, released_at=None).first()
    if known is not None:
        raise CannotDecide(f"It is held already, by {known.by_name}: {known.reason}")
    held = EverythingHeld.objects.create(
        cloud_idp=cloud_idp, reason=reason.strip(), by=actor, by_name=str(actor), at=now
    )
    record(
        obj=cloud_idp or held,
        actor=actor,
        action="held",
        note=f"{held}: {held.reason}",
        now=now,
    )
    announce(
        kind=HELD_CHANGES,
        severity=Severity.CRITICAL,
        title=str(held),
        body=f"By {actor}: {held.reason}\n\nSyncs go on reading and planning, and apply "
        "nothing but losses of privileges.",
        about=cloud_idp,
        key=f"everything-held:{held.pk}",
        now=now,
    )
    return held


@transaction.atomic
def release(held: EverythingHeld, *, reason: str, actor: Any, now: datetime) -> None:
    """Let changes be applied again. Raises CannotDecide."""
    if not reason.strip():
        raise CannotDecide("Say why it is released: the reason stands in the history.")
    if not EverythingHeld.objects.filter(pk=held.pk, released_at=None).update(
        released_at=now, released_by_name=str(actor), release_reason=reason.strip()
    ):
        raise CannotDecide("It was released before.")
    record(
        obj=held.cloud_idp or held,
        actor=actor,
        action="released",
        note=f"Released what was held of {held.cloud_idp or 'all connections'}: "
        f"{reason.strip()}",
        now=now,
    )
    end(
        f"everything-held:{held.pk}",
        kind=HELD_CHANGES,
        title=f"Changes of {held.cloud_idp or 'all connections'} are applied again",
        body=f"Released by {actor}: {reason.strip()}",
        about=held.cloud_idp,
        now=now,
    )
