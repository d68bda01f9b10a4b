"""How often each permission was used, and by which feature: one number a day.

Written when a conversation with Microsoft has ended, not with its requests.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Sum
from django.utils import timezone

from directory.entra import GraphClient
from directory.models import CloudIdentityProvider, PermissionUse
from directory.permissions import Feature
from jamfidp.durability import execute_that_may_be_lost
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
    if not used:
        return
    day = connection.ops.adapt_datefield_value(timezone.localdate(now))
    rows = ", ".join(["(%s, %s, %s, %s, %s)"] * len(used))
    try:
        execute_that_may_be_lost(
            _ADD.format(rows=rows),
            [
                value
                for permission, times in sorted(used.items())
                for value in (cloud_idp.pk, permission, feature.value, day, times)
            ],
        )
    except IntegrityError:
        # The connection was erased meanwhile: then there is nothing to add to.
        return
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


_ADD = (
    f"INSERT INTO {PermissionUse._meta.db_table}"  # noqa: S608
    " (cloud_idp_id, permission, feature, day, times) VALUES {rows}"
    " ON CONFLICT (cloud_idp_id, day, permission, feature)"
    f" DO UPDATE SET times = {PermissionUse._meta.db_table}.times + excluded.times"
)


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
