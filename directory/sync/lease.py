"""Who works on a run: a lease with a fencing token, kept in the run's row.

Each claim raises the token. A worker that was thought dead and comes back holds an
old one, and nothing it writes takes effect.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Coalesce

from directory.models import SyncRun
from jamfidp.durability import may_be_lost

# Renewed with every page and every wait, and longer than one request can take.
READ_LEASE = timedelta(minutes=3)
# Planning and applying a large directory; longer than the transaction's bound.
APPLY_LEASE = timedelta(minutes=15)


class LeaseLost(Exception):
    """Another worker has the run, or it has ended."""


class Canceled(Exception):
    """Somebody canceled the run."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one run."""

    run_id: int
    token: int

    def write(self, **columns: Any) -> bool:
        """Change the run's row; False means that the lease is lost."""
        return bool(
            SyncRun.objects.active()
            .filter(pk=self.run_id, fencing_token=self.token)
            .update(**columns)
        )

    def renew(self, **columns: Any) -> None:
        """Change the run's row unless somebody canceled it.

        Raises:
            LeaseLost, Canceled
        """
        held = SyncRun.objects.active().filter(pk=self.run_id, fencing_token=self.token)
        # How far it is. What matters is written after it, and with that it is on disk.
        with may_be_lost():
            renewed = held.filter(cancel_requested=False).update(**columns)
        if renewed:
            return
        if held.exists():
            raise Canceled
        raise LeaseLost

    def hold(self, *, now: datetime) -> bool:
        """Confirm the lease while applying; the row stays locked to the commit."""
        return bool(
            SyncRun.objects.filter(
                pk=self.run_id,
                fencing_token=self.token,
                state=SyncRun.State.APPLYING,
                cancel_requested=False,
            ).update(heartbeat_at=now)
        )


def claim(run_id: int, *, now: datetime) -> Lease | None:
    """Take a run that waits or whose worker fell silent; None when there is none.

    One conditional UPDATE: of two workers one gets it.
    """
    taken = (
        SyncRun.objects.filter(pk=run_id)
        .filter(
            Q(state=SyncRun.State.QUEUED)
            | Q(state__in=[SyncRun.State.READING, SyncRun.State.APPLYING])
            & Q(lease_expires_at__lt=now)
        )
        .update(
            state=SyncRun.State.READING,
            phase="Starting",
            fencing_token=F("fencing_token") + 1,
            lease_expires_at=now + READ_LEASE,
            heartbeat_at=now,
            started_at=Coalesce("started_at", now),
        )
    )
    if not taken:
        return None
    token = SyncRun.objects.values_list("fencing_token", flat=True).get(pk=run_id)
    return Lease(run_id, token)
