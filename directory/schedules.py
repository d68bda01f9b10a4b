"""When a connection is read: changes every few minutes, everything once a day."""

from datetime import datetime, time, timedelta

from django.conf import settings
from django.utils import timezone

from directory.models import CloudIdentityProvider, SyncRun

# Minutes to choose from. A revocation has to take effect within ten of Graph showing it.
DELTA_MINUTES = (1, 2, 5, 10, 15, 30, 60)
SLOWEST_REVOCATION = 10
# The hour at which everything is read, unless another one is chosen: few people work.
FULL_READ_HOUR = 3
# A full read that failed does not keep changes from being read meanwhile.
FULL_READ_AGAIN_AFTER = timedelta(hours=1)


def delta_minutes(cloud_idp: CloudIdentityProvider) -> int:
    minutes: int = cloud_idp.delta_minutes or settings.SYNC_DELTA_MINUTES
    return minutes


def delta_every(cloud_idp: CloudIdentityProvider) -> timedelta:
    return timedelta(minutes=delta_minutes(cloud_idp))


def full_read_hour(cloud_idp: CloudIdentityProvider) -> int:
    hour = cloud_idp.full_read_hour
    return FULL_READ_HOUR if hour is None else hour


def _at_hour(cloud_idp: CloudIdentityProvider, now: datetime, days: int) -> datetime:
    zone = timezone.get_default_timezone()
    day = now.astimezone(zone).date() + timedelta(days=days)
    return datetime.combine(day, time(full_read_hour(cloud_idp)), tzinfo=zone)


def last_full_read_due(cloud_idp: CloudIdentityProvider, *, now: datetime) -> datetime:
    """Return when everything should have been read last: at its hour, once a day."""
    today = _at_hour(cloud_idp, now, 0)
    return today if today <= now else _at_hour(cloud_idp, now, -1)


def next_full_read_due(cloud_idp: CloudIdentityProvider, *, now: datetime) -> datetime:
    today = _at_hour(cloud_idp, now, 0)
    return today if today > now else _at_hour(cloud_idp, now, 1)


def is_full_read_due(cloud_idp: CloudIdentityProvider, *, now: datetime) -> bool:
    """Whether the next read has to be of everything.

    Not again at once where the last one came to nothing: a revocation must not wait for
    it.
    """
    read_at = cloud_idp.last_full_read_at
    due = last_full_read_due(cloud_idp, now=now)
    if cloud_idp.first_complete_read_at is None or read_at is None:
        return True
    if read_at >= due:
        return False
    return not SyncRun.objects.filter(
        cloud_idp=cloud_idp,
        dry_run=False,
        kind=SyncRun.Kind.FULL,
        state__in=[SyncRun.State.FAILED, SyncRun.State.CANCELED],
        created_at__gte=due,
        finished_at__gt=now - FULL_READ_AGAIN_AFTER,
    ).exists()
