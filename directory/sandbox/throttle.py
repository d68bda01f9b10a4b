"""Resource units: what an application may spend in a tenant, and who has to wait.

A token bucket for each application in each tenant, one for each application over all
tenants, as Microsoft describes them. Refused calls count too.
https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from directory.sandbox.behavior import Behavior
from directory.sandbox.errors import GraphError

# Units in a window of seconds, by the number of users in the tenant.
SMALL, MEDIUM, LARGE = 3_500, 5_000, 8_000
_WINDOW = 10
_MINUTE = 60
_OVER_ALL_TENANTS, _LONG_WINDOW = 150_000, 20

_TOLD_FROM, _TOLD_UP_TO = 0.8, 1.8
# Microsoft says that low priority is throttled first and high priority last.
_SHARE = {"low": 0.9, "normal": 1.0, "high": 1.1}


def limit_for(users: int) -> int:
    """Return the units that an application has in a tenant of this many users."""
    if users < 50:
        return SMALL
    return MEDIUM if users <= 500 else LARGE


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float

    def add(self, units: int, now: float, limit: int, window: int) -> float:
        """Drain, add, and return how full it is; 1.0 is the limit."""
        drained = max(0.0, now - self.at) * limit / window
        level = max(0.0, self.level - drained) + units
        self.level, self.at = min(level, limit * _TOLD_UP_TO), now
        return self.level / limit


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call was charged. ``refused`` is its 429, if there is one."""

    headers: dict[str, str]
    refused: GraphError | None = None


class Throttle:
    """The buckets of every application that has called."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def clear(self) -> None:
        self._buckets.clear()

    def charge(
        self,
        behavior: Behavior,
        *,
        now: float,
        client_id: str,
        tenant_id: str,
        users: int,
        units: int,
        priority: str,
    ) -> Charge:
        """Take the units of one call; ``priority`` is what the caller's header says."""
        if not behavior.throttling:
            return Charge({})
        share = _SHARE.get(priority.strip().lower(), 1.0)
        limit = behavior.tenant_unit_limit or limit_for(users)
        over_all = behavior.application_unit_limit or _OVER_ALL_TENANTS
        scopes = (
            (f"Tenant_Application/ReadWrite/{client_id}/{tenant_id}", limit, _WINDOW),
            (f"Application/ReadWrite/{client_id}", over_all, _LONG_WINDOW),
        )
        fullest = 0.0
        refused: GraphError | None = None
        for scope, most, window in scopes:
            bucket = self._buckets.setdefault((client_id, scope), _Bucket(0.0, now))
            used = bucket.add(units, now, most, window)
            fullest = max(fullest, used)
            if used > share and refused is None:
                # Enough for the same call once more.
                wait = (used - share + units / most) * window
                refused = too_many_requests(behavior, wait, now=now, scope=scope)
        headers = {}
        if fullest >= _TOLD_FROM:
            headers["x-ms-throttle-limit-percentage"] = f"{fullest:.2f}"
        if refused is not None:
            refused.headers.update(headers)
        return Charge(headers, refused)


class TokenRequests:
    """How often each application asked for tokens of a tenant in the last minute."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], list[float]] = {}

    def clear(self) -> None:
        self._asked.clear()

    def count(self, client_id: str, tenant_id: str, now: float) -> int:
        """Note a request, and return how many there were with it."""
        key = (client_id, tenant_id)
        kept = [at for at in self._asked.get(key, ()) if now - _MINUTE < at <= now]
        self._asked[key] = [*kept, now]
        return len(self._asked[key])


def too_many_requests(
    behavior: Behavior, wait: float, *, now: float, scope: str
) -> GraphError:
    """Return Graph's 429, with Retry-After as the switch says.

    https://learn.microsoft.com/graph/throttling#sample-response
    """
    headers = {
        "x-ms-throttle-scope": scope,
        "x-ms-throttle-information": "ResourceUnitLimitExceeded",
    }
    seconds = max(1, math.ceil(wait))
    match behavior.retry_after:
        case "seconds":
            headers["Retry-After"] = str(seconds)
        case "date":
            until = datetime.fromtimestamp(now + seconds, UTC)
            headers["Retry-After"] = format_datetime(until, usegmt=True)
        case "fraction":
            # Rounded up: who comes back then is not refused again.
            headers["Retry-After"] = f"{math.ceil(wait * 1000 + 1) / 1000:.3f}"
    return GraphError(
        429,
        "TooManyRequests",
        "Please retry again later.",
        headers=headers,
        inner={"code": "429", "message": "Please retry after", "status": "429"},
    )
