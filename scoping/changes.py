"""What changed beneath scopes and smart groups, and who has to hear of it.

Inventory and matching announce; what computes scopes registers. Neither imports the
other, so that a device can be edited without knowing what is computed from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from directory.dependents import AppliedChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, in row ids of this console.

    `devices` holds those whose own facts changed, assigned user, log-ins and what
    their user names lead to included. `directory` is set when a read was applied and
    `tenant_id` when a connection was enabled, disabled, deleted or mapped anew: then
    memberships may differ for every device.
    """

    devices: frozenset[int] = frozenset()
    deleted_devices: frozenset[int] = frozenset()
    buildings: frozenset[int] = frozenset()
    departments: frozenset[int] = frozenset()
    network_segments: frozenset[int] = frozenset()
    directory: AppliedChange | None = None
    tenant_id: str = ""


Listener: TypeAlias = Callable[[Change, datetime], None]
_listeners: list[Listener] = []


def register(listener: Listener) -> None:
    """Called when Django starts; a second registration changes nothing."""
    if listener not in _listeners:
        _listeners.append(listener)


def announce(change: Change, *, now: datetime) -> None:
    """Tell every listener, inside the transaction of the change.

    A listener that raises undoes the change.
    """
    for listener in _listeners:
        listener(change, now)
