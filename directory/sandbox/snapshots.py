"""The whole state of the sandbox at one moment, kept in memory to come back to."""

import copy
from dataclasses import dataclass, fields
from typing import Any

from directory.sandbox.keyring import KnownKey
from directory.sandbox.overlay import Overlay
from directory.sandbox.store import Sandbox

# What a snapshot copies as it is; the directory, keys and clock have ways of their own.
_COPIED = (
    "behavior",
    "faults",
    "applications",
    "principals",
    "browsers",
    "codes",
    "refresh_tokens",
    "forged",
    "policies",
    "delta_valid_from",
)
# What goes on as it is: who the sandbox is, what was asked of it, ways through pages.
_LEFT = frozenset(
    {
        "state_dir",
        "identity",
        "redirect_uris",
        "switches",
        "url",
        "pages_url",
        "journal",
        "flows",
        "issuers",
        "throttle",
        "replication",
        "token_requests",
    }
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `restore` puts back."""

    at: str
    directories: dict[str, Overlay]
    keys: list[KnownKey]
    clock: tuple[float, float | None]
    copied: dict[str, Any]


def take(sandbox: Sandbox) -> Snapshot:
    tenants = {**sandbox.tenants, sandbox.consumers.id: sandbox.consumers}
    return Snapshot(
        at=sandbox.clock.zulu(),
        directories={key: tenant.overlay.copy() for key, tenant in tenants.items()},
        keys=sandbox.keys.taken(),
        clock=(sandbox.clock.offset, sandbox.clock.stopped_at),
        copied={name: copy.deepcopy(getattr(sandbox, name)) for name in _COPIED},
    )


def restore(sandbox: Sandbox, snapshot: Snapshot) -> None:
    """Go back to a snapshot, which can be gone back to again.

    Delta links from before the snapshot work; those issued after it have expired.
    """
    for key, overlay in snapshot.directories.items():
        sandbox.tenant(key).go_back(overlay.copy())
    sandbox.keys.put([copy.copy(known) for known in snapshot.keys])
    sandbox.clock.offset, sandbox.clock.stopped_at = snapshot.clock
    for name, value in snapshot.copied.items():
        setattr(sandbox, name, copy.deepcopy(value))
    sandbox.flows.clear()
    sandbox.throttle.clear()
    sandbox.replication.clear()
    sandbox.token_requests.clear()


def everything_has_its_place() -> bool:
    """Say whether each part of the state is either copied or left on purpose."""
    own = {"tenants", "consumers", "keys", "clock"}
    names = {entry.name for entry in fields(Sandbox)}
    return names == {*_COPIED, *_LEFT, *own}
