"""What the directory must know of the features above it, through one seam.

Features implement `Dependents` and register in their AppConfig.ready(). The directory
asks: who uses this group, what depends on this connection; and tells: a read was
applied. It never imports them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from jamfidp.access import ConsoleUser


class ObjectRef(NamedTuple):
    """A person or group of Entra, wherever one is referred to."""

    tenant_id: str
    object_id: str


@dataclass(frozen=True, slots=True)
class Use:
    """One thing of the console that depends on a person, group or connection."""

    kind: str
    name: str
    url: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a directory page, served by the feature that owns it (by htmx)."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """What a sync run changed in effect, by row id of this console."""

    cloud_idp_id: int
    full: bool
    user_ids: Collection[int] = field(default_factory=frozenset)
    group_ids: Collection[int] = field(default_factory=frozenset)


class Dependents(Protocol):
    """A feature that builds on directory rows."""

    def uses_of_group(
        self, ref: ObjectRef, *, viewer: ConsoleUser
    ) -> Sequence[Use]: ...

    def uses_of_user(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]: ...

    def uses_of_connection(
        self, tenant_id: str, *, viewer: ConsoleUser
    ) -> Sequence[Use]: ...

    def user_fragments(self, ref: ObjectRef) -> Sequence[Fragment]: ...

    def group_fragments(self, ref: ObjectRef) -> Sequence[Fragment]: ...

    def after_apply(self, change: AppliedChange, *, now: datetime) -> None:
        """Runs inside the transaction that applies; may raise to undo all of it."""
        ...

    def after_connection_change(self, tenant_id: str, *, now: datetime) -> None:
        """A connection was enabled, disabled, deleted, or its mappings changed."""
        ...


_registered: list[Dependents] = []


def register(dependents: Dependents) -> None:
    """Called once by each feature, when Django starts."""
    if not any(type(known) is type(dependents) for known in _registered):
        _registered.append(dependents)


def registered() -> Sequence[Dependents]:
    return tuple(_registered)
