"""Replication delay: who reads Graph sees the directory as it was some time ago.

Changes are made at once to the directory that the sign-in service and the control
plane see. Readers have a copy that follows it, change by change, when the sandbox's
clock has gone on far enough. The log they read delta from holds what they can see: a
change that a link came too early for is told by a later round. Users can follow later
than the rest, so that members are told before their users.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from directory.sandbox.behavior import Behavior
from directory.sandbox.tenant import Tenant

Tenants = Mapping[str, Tenant]
Change = Callable[[Tenants], object]
_USERS, _OTHERS = "users", "others"


@dataclass(slots=True)
class Follower:
    """A copy of the tenants, and the changes that it has yet to make, with their time."""

    tenants: dict[str, Tenant]
    waiting: deque[tuple[float, Change]] = field(default_factory=deque)

    def catch_up(self, now: float) -> None:
        """Make the changes that are due, each after those before it."""
        while self.waiting and self.waiting[0][0] <= now:
            _due, change = self.waiting.popleft()
            change(self.tenants)


class Replication:
    """The copies that readers see, while there is a delay."""

    def __init__(self) -> None:
        self._followers: dict[str, Follower] = {}

    def clear(self) -> None:
        """Show everything at once."""
        self._followers.clear()

    def begin(self, tenants: Tenants, behavior: Behavior) -> None:
        """Copy the tenants as they are before a change, where a delay is switched on."""
        for plane, delay in _delays(behavior).items():
            if delay and plane not in self._followers:
                copies = {key: tenant.copy() for key, tenant in tenants.items()}
                self._followers[plane] = Follower(copies)

    def expect(self, change: Change, behavior: Behavior, now: float) -> None:
        delays = _delays(behavior)
        for plane, follower in self._followers.items():
            follower.waiting.append((now + delays[plane], change))

    def seen(self, tenant: Tenant, path: str, behavior: Behavior, now: float) -> Tenant:
        """Return a tenant as a read of this path sees it now."""
        plane = _USERS if path.lower().startswith(("/users", "/me")) else _OTHERS
        follower = self._followers.get(plane)
        if follower is None or tenant.id not in follower.tenants:
            return tenant
        follower.catch_up(now)
        if not follower.waiting and not _delays(behavior)[plane]:
            # It has seen everything, and is to see the rest at once.
            del self._followers[plane]
            return tenant
        return follower.tenants[tenant.id]


def _delays(behavior: Behavior) -> dict[str, int]:
    delay = behavior.replication_delay
    return {_USERS: delay + behavior.users_replication_delay, _OTHERS: delay}
