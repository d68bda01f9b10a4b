"""Who works on a run: a lease with a fencing token, kept in the run's row.

Each claim raises the token. A worker that was thought dead and comes back holds an
old one, and nothing it writes takes effect.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Exists, F, Q
from django.db.models.functions import Coalesce

from directory.models import StagedPage, SyncRun, SyncRunQuerySet
from jamfidp.compiled import CompiledChange, CompiledObjects, CompiledUpdate
from jamfidp.durability import (
    changed_with_the_next,
    rows_changed,
    rows_changed_that_may_be_lost,
)
from jamfidp.gathered import Outcome, later

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
    _noted: dict[str, Any] = field(default_factory=dict, compare=False)

    def note(self, **columns: Any) -> None:
        """Have the run's row changed with whatever is written to it next."""
        self._noted.update(columns)

    def write(self, **columns: Any) -> bool:
        """Change the run's row; False means that the lease is lost."""
        told = _MINE.told(self.run_id, self.token, **self._noted | columns)
        if not rows_changed(*told):
            return False
        # What is added to the row is added once.
        self._noted.clear()
        return True

    def renew(self, **columns: Any) -> None:
        """Change the run's row unless somebody canceled it.

        Raises:
            LeaseLost, Canceled
        """
        told = _NOT_CANCELED.told(self.run_id, self.token, **self._noted | columns)
        # How far it is. What matters is written after it, and with that it is on disk.
        if rows_changed_that_may_be_lost(*told):
            self._noted.clear()
            return
        if _mine(self.run_id, self.token).exists():
            raise Canceled
        raise LeaseLost

    def hold(self, *, now: datetime) -> Outcome:
        """Confirm the lease while applying; the row stays locked to the commit. Lost is
        what has no row, once that is known."""
        return later(*_HELD.told(self.run_id, self.token, now))


def _mine(run_id: int, token: int) -> SyncRunQuerySet:
    return SyncRun.objects.active().filter(pk=run_id, fencing_token=token)


_MINE = CompiledChange(_mine)
_NOT_CANCELED = CompiledChange(
    lambda run_id, token: _mine(run_id, token).filter(cancel_requested=False)
)
_HELD = CompiledUpdate(
    lambda run_id, token, now: (
        SyncRun.objects.filter(
            pk=run_id,
            fencing_token=token,
            state=SyncRun.State.APPLYING,
            cancel_requested=False,
        ),
        {"heartbeat_at": now},
    )
)


def claim(run_id: int, *, now: datetime) -> Lease | None:
    """Take a run that waits or whose worker fell silent; None when there is none.

    One conditional UPDATE: of two workers one gets it.
    """
    taken = take(run_id, now=now)
    return None if taken is None else taken.lease


class Taken(NamedTuple):
    """A run with its connection, the right to work on it, and whether pages of any run
    are stored."""

    run: SyncRun
    lease: Lease
    any_pages: bool


def take(run_id: int, *, now: datetime) -> Taken | None:
    """As `claim`, with all that is known of the run.

    A database that crashes may lose this, and with it the connection over which the
    worker would go on: what it wrote after this is on disk before it counts.
    """
    told = _TAKEN.told(run_id, now, now + READ_LEASE)
    with changed_with_the_next(*told) as taken:
        found = _WITH_CONNECTION.all(run_id)
    if not taken.rows:
        return None
    (run,) = found
    any_pages: bool = vars(run).pop("any_pages")
    return Taken(run, Lease(run.pk, run.fencing_token), any_pages)


_TAKEN = CompiledUpdate(
    lambda run_id, now, until: (
        SyncRun.objects.filter(pk=run_id).filter(
            Q(state=SyncRun.State.QUEUED)
            | Q(state__in=[SyncRun.State.READING, SyncRun.State.APPLYING])
            & Q(lease_expires_at__lt=now)
        ),
        {
            "state": SyncRun.State.READING,
            "phase": "Starting",
            "fencing_token": F("fencing_token") + 1,
            "lease_expires_at": until,
            "heartbeat_at": now,
            "started_at": Coalesce("started_at", now),
        },
    )
)
_WITH_CONNECTION = CompiledObjects(
    lambda run_id: (
        SyncRun.objects.select_related("cloud_idp__mappings")
        .annotate(any_pages=Exists(StagedPage.objects.all()))
        .filter(pk=run_id)
        .order_by()
    )
)
