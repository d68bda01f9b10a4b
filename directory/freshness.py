"""How old what we know is, and whether anybody is there to renew it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings

from directory.models import CloudIdentityProvider, WorkerHeartbeat
from directory.schedules import delta_every

# A worker writes its heartbeat with every tick (5 s) and every page it reads.
WORKER_SILENT_AFTER = timedelta(seconds=60)


# Reads that fail are repeated; this many missed in a row are worth a word.
READS_MISSED = 3


@dataclass(frozen=True, slots=True)
class Caution:
    """Why what is shown of a directory may not be what it holds now."""

    title: str
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class AsOf:
    """How old the directory data on a page is: the oldest of what it shows."""

    at: datetime | None
    full_at: datetime | None
    connected: bool
    cautions: Sequence[Caution] = field(default=())


def as_of(
    now: datetime, connections: Iterable[CloudIdentityProvider] | None = None
) -> AsOf:
    """Return what a page has to say about the age of its directory data.

    Of all connections, unless the page shows only some.
    """
    if connections is None:
        connections = CloudIdentityProvider.objects.order_by("display_name")
    shown = list(connections)
    every = [idp for idp in shown if idp.completely_read]
    read = [idp for idp in every if idp.enabled] or every
    return AsOf(
        at=min(
            (idp.last_good_read_at for idp in read if idp.last_good_read_at),
            default=None,
        ),
        full_at=min(
            (idp.last_full_read_at for idp in read if idp.last_full_read_at),
            default=None,
        ),
        connected=bool(shown),
        cautions=[caution for idp in shown for caution in _cautions(idp, now)],
    )


def stale_after(cloud_idp: CloudIdentityProvider) -> timedelta:
    """Return the age from which a page says that its data is old."""
    missed = delta_every(cloud_idp) * READS_MISSED
    return max(missed, timedelta(minutes=15))


def _cautions(idp: CloudIdentityProvider, now: datetime) -> Iterable[Caution]:
    url = idp.get_absolute_url()
    if not idp.enabled:
        yield Caution(
            f"{idp} is disabled",
            "It is not read. What is shown of it is from its last read, and scopes and "
            "privileges that rest on it are unknown.",
            url,
        )
    elif not idp.completely_read:
        if idp.status_sentences:
            first = f"The first read failed. {idp.status_sentences}"
        elif workers(now).running:
            first = "The first read is running or about to begin."
        else:
            first = "The first read waits for a task worker, and none is running."
        yield Caution(
            f"{idp} has not been read completely yet",
            f"Somebody who is missing here may exist. {first}",
            url,
        )
    elif idp.last_good_read_at and idp.last_good_read_at < now - stale_after(idp):
        hours = (now - idp.last_good_read_at) // timedelta(hours=1)
        age = f"{hours} hours" if hours > 1 else "some time"
        yield Caution(
            f"{idp} was last read {age} ago",
            idp.status_sentences
            or "Changes in Entra since then are not shown. Look at its Sync tab.",
            url,
        )


def privileges_until(cloud_idp: CloudIdentityProvider) -> datetime | None:
    """Return when privileges held through it are suspended unless it is read again."""
    at = cloud_idp.last_good_read_at
    limit = timedelta(hours=settings.DIRECTORY_FRESHNESS_HOURS)
    return at + limit if at is not None else None


@dataclass(frozen=True, slots=True)
class Workers:
    """Task workers: those heard of lately, and when the last one was."""

    alive: Sequence[str]
    last_heard_at: datetime | None

    @property
    def running(self) -> bool:
        return bool(self.alive)


def workers(now: datetime) -> Workers:
    rows = list(WorkerHeartbeat.objects.order_by("-at")[:20])
    return Workers(
        alive=[row.name for row in rows if row.at > now - WORKER_SILENT_AFTER],
        last_heard_at=rows[0].at if rows else None,
    )
