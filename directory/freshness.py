"""How old what we know is, and whether anybody is there to renew it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from directory.models import CloudIdentityProvider, SyncRun, WorkerHeartbeat

# A worker writes its heartbeat with every tick (5 s) and every page it reads.
WORKER_SILENT_AFTER = timedelta(seconds=60)


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


def dashboard(now: datetime) -> Mapping[str, Any]:
    """What the first page says of each connection."""
    connections = list(CloudIdentityProvider.objects.order_by("display_name"))
    return {
        "connections": connections,
        "workers": workers(now),
        "latest_runs": [
            SyncRun.objects.filter(cloud_idp=idp).first() for idp in connections
        ],
    }
