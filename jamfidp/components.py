"""What views hand to the components of templates/components/.

Each class is the argument of the component of the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Verdict = Literal["in", "out", "unknown"]
StepState = Literal["done", "current", "todo", "failed"]


@dataclass(frozen=True)
class Crumb:
    """A page or a group on the way to this one."""

    label: str
    url: str = ""


@dataclass(frozen=True)
class Tab:
    """A tab; `count` None shows no number, since 0 is a fact."""

    label: str
    url: str
    current: bool = False
    count: int | None = None


@dataclass(frozen=True)
class Chip:
    """A filter in force and the address of the page without it."""

    label: str
    value: str
    remove_url: str


@dataclass(frozen=True)
class Step:
    """A step of a wizard; only steps with a `url` can be gone back to."""

    label: str
    state: StepState
    url: str = ""
    note: str = ""


@dataclass(frozen=True)
class Check:
    """A line of evidence. `state` is good, attention, bad or unknown."""

    label: str
    state: Literal["good", "attention", "bad", "unknown"]
    evidence: str
    url: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True)
class Node:
    """A claim of a derivation, the fact it rests on, and what decides it."""

    claim: str
    verdict: Verdict
    fact: str = ""
    url: str = ""
    as_of: datetime | None = None
    deciding: bool = False
    children: Sequence[Node] = ()


@dataclass(frozen=True)
class Branch:
    """A group in a tree of nested groups; `cut` says why it ends here."""

    label: str
    url: str = ""
    count: int | None = None
    cut: str = ""
    children: Sequence[Branch] = ()


@dataclass(frozen=True)
class Entry:
    """A line of history. `changes` are (field, before, after)."""

    at: datetime
    actor: str
    note: str
    url: str = ""
    changes: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Amount:
    """A number of consequence and the address of the names behind it.

    `kind` is gained, lost, unchanged or unknown.
    """

    kind: Literal["gained", "lost", "unchanged", "unknown"]
    count: int
    url: str = ""
    label: str = ""
