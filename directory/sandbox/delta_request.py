"""A call of a delta function, free of HTTP, and what it answers."""

from dataclasses import dataclass
from typing import Any

from directory.sandbox.behavior import Behavior
from directory.sandbox.directory_object import Kind
from directory.sandbox.page_tokens import TokenSealer
from directory.sandbox.rendered_pages import Rows
from directory.sandbox.schema import DEFAULTS
from directory.sandbox.tenant import Tenant

Json = dict[str, Any]
Entries = list[Json] | Rows


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """One delta call. ``hidden`` groups do not show their members."""

    tenant: Tenant
    kind: Kind
    behavior: Behavior
    sealer: TokenSealer
    now: float
    valid_from: float
    base: str
    hidden: frozenset[int]
    parameters: dict[str, str]
    minimal: bool

    def names(self, token: Json) -> tuple[str, ...]:
        return tuple(token["select"]) or DEFAULTS[self.kind]

    def numbers(self, token: Json) -> frozenset[int] | None:
        """Return the objects the round is limited to, or None when it is to all."""
        if token["ids"] is None:
            return None
        found = (self.tenant.number_of(each) for each in token["ids"])
        return frozenset(number for number in found if number is not None)


@dataclass(frozen=True, slots=True)
class DeltaPage:
    """What a call answers: entries and exactly one of the two tokens."""

    value: Entries
    skip_token: str | None
    delta_token: str | None
    select: tuple[str, ...]
