"""How often each permission was used, and by which feature: one number a day.

Written when a conversation with Microsoft has ended, not with its requests.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F, Sum
from django.utils import timezone

from directory.entra import GraphClient
from directory.models import CloudIdentityProvider, PermissionUse
from directory.permissions import Feature
from jamfidp.durability import may_be_lost
from jamfidp.history.record import record

logger = logging.getLogger(__name__)

LOOKED_BACK = timedelta(days=30)
KEPT = timedelta(days=90)


def note(
    cloud_idp: CloudIdentityProvider,
    feature: Feature,
    used: Mapping[str, int],
    *,
    now: datetime,
) -> None:
    """Add to the numbers of the day. That it cannot be counted fails nothing."""
    try:
        with may_be_lost():
            for permission, times in sorted(used.items()):
                _add(cloud_idp.pk, permission, feature, times, now)
    except DatabaseError:
        logger.warning("The use of permissions could not be counted", exc_info=True)


@contextmanager
def counted(
    cloud_idp: CloudIdentityProvider, feature: Feature, graph: GraphClient
) -> Iterator[GraphClient]:
    """Note what a conversation used when it has ended, well or not."""
    try:
        yield graph
    finally:
        note(cloud_idp, feature, graph.used, now=timezone.now())


def _add(
    cloud_idp_id: int, permission: str, feature: Feature, times: int, now: datetime
) -> None:
    of_the_day = {
        "cloud_idp_id": cloud_idp_id,
        "permission": permission,
        "feature": feature.value,
        "day": timezone.localdate(now),
    }
    rows = PermissionUse.objects.filter(**of_the_day)
    if rows.update(times=F("times") + times):
        return
    try:
        with transaction.atomic():
            PermissionUse.objects.create(**of_the_day, times=times)
    except IntegrityError:
        # Somebody else was the first of the day at the same moment, or the connection
        # was erased meanwhile: then there is no row to add to.
        rows.update(times=F("times") + times)


@transaction.atomic
def saw_roles(
    cloud_idp: CloudIdentityProvider, roles: Collection[str] | None, *, now: datetime
) -> None:
    """Keep which permissions Entra wrote into a token; the history says what changed."""
    if roles is None:
        return
    before, after = cloud_idp.roles_granted, sorted(roles)
    cloud_idp.roles_granted, cloud_idp.roles_seen_at = after, now
    cloud_idp.save(update_fields=["roles_granted", "roles_seen_at"])
    if before is None or before == after:
        return
    more, less = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    said = [
        *([f"granted {', '.join(more)}"] if more else []),
        *([f"took away {', '.join(less)}"] if less else []),
    ]
    record(
        obj=cloud_idp,
        actor=None,
        action="consent",
        note=f"In Entra somebody {' and '.join(said)}",
        details={"permissions": [before, after]},
        now=now,
    )


def counts(
    cloud_idp: CloudIdentityProvider, *, now: datetime
) -> Mapping[tuple[str, str], int]:
    """Return how often each permission was used by each feature, of late."""
    since = timezone.localdate(now - LOOKED_BACK)
    rows = (
        PermissionUse.objects.filter(cloud_idp=cloud_idp, day__gt=since)
        .values_list("permission", "feature")
        .annotate(Sum("times"))
        .order_by()
    )
    found: Counter[tuple[str, str]] = Counter()
    for permission, feature, times in rows:
        found[permission, feature] += times
    return found


def clear(*, now: datetime) -> None:
    """Forget what is looked back at no more."""
    PermissionUse.objects.filter(day__lt=timezone.localdate(now - KEPT)).delete()
