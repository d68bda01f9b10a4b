"""Announce that a credential of an application expires: 60, 30, 7 and 1 days before."""

import math
from datetime import datetime, timedelta

from django.db import transaction

from directory.models import ApplicationCredential
from directory.registrations import connections_of
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import CREDENTIAL_EXPIRY
from jamfidp.notices.models import Severity

# In days; 0 is when it has expired. Each is announced once for each credential.
THRESHOLDS = (60, 30, 7, 1, 0)


def threshold(expires_at: datetime, *, now: datetime) -> int | None:
    """Return the last threshold that was reached, in days; None before the first."""
    left = expires_at - now
    return min(
        (days for days in THRESHOLDS if left <= timedelta(days=days)), default=None
    )


def announce_expiries(*, now: datetime) -> None:
    """Announce what became due; of several thresholds at once the last alone."""
    first = now + timedelta(days=THRESHOLDS[0])
    expiring = ApplicationCredential.objects.filter(
        in_use=True, expires_at__lte=first
    ).select_related("registration")
    for row in expiring:
        if row.expires_at is not None:
            _announce_when_due(row, row.expires_at, now=now)


@transaction.atomic
def _announce_when_due(
    row: ApplicationCredential, expires_at: datetime, *, now: datetime
) -> None:
    due, before = threshold(expires_at, now=now), row.announced_days
    if due is None or (before is not None and due >= before):
        return
    # Of two workers one finds it still to be announced.
    still_due = ApplicationCredential.objects.filter(
        pk=row.pk, announced_days=before, expires_at=expires_at
    )
    if not still_due.update(announced_days=due):
        return
    # One open notice for each credential: the nearer date replaces the farther one.
    resolve(row.expiry_key, now=now)
    announce(
        kind=CREDENTIAL_EXPIRY,
        severity=_severity(due),
        title=f"The {row.get_kind_display().lower()} of an Entra ID application "
        f"{_when(expires_at, now)}",
        body=_body(row, expires_at, now),
        link=row.registration.get_absolute_url(),
        about=row.registration,
        key=row.expiry_key,
        now=now,
    )


def _severity(due: int) -> Severity:
    if due <= 1:
        return Severity.CRITICAL
    return Severity.WARNING if due <= 30 else Severity.INFO


def _when(expires_at: datetime, now: datetime) -> str:
    days = math.ceil((expires_at - now) / timedelta(days=1))
    if days <= 0:
        return "has expired"
    return f"expires in {days} {'day' if days == 1 else 'days'}"


def _body(row: ApplicationCredential, expires_at: datetime, now: datetime) -> str:
    found = row.registration
    over = expires_at <= now
    names = [str(each) for each in connections_of(found)]
    others = found.credentials.filter(in_use=True).exclude(pk=row.pk)
    another = others.exclude(expires_at__lte=expires_at).exists()
    if another:
        consequence = (
            "Another credential is in use and lasts longer: nothing stops. Remove this "
            "one when it is not needed."
        )
    else:
        consequence = (
            f"No other credential lasts longer. {'Now' if over else 'Then'} nothing is "
            "read and nobody signs in through Entra; people keep the groups of the last "
            "good read until the freshness limit. Add another credential before you "
            "remove this one: two may be in use."
        )
    relying = (
        f"Connections that use the application: {', '.join(names)}."
        if names
        else "No connection uses the application."
    )
    return "\n\n".join(
        [
            f"The {row} of the application {found.client_id} ({found.cloud}) "
            f"{'expired' if over else 'expires'} on "
            f"{expires_at:%-d %B %Y at %H:%M} UTC.",
            consequence,
            relying,
        ]
    )
