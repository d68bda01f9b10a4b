"""Three-valued verdicts, and the trees of sentences that say why.

Pure. Smart group criteria and scopes both answer with these; a page shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """In, out, or not known, with Kleene's strong connectives as `&`, `|`, `~`."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"

    def __and__(self, other: Verdict) -> Verdict:
        if Verdict.OUT in (self, other):
            return Verdict.OUT
        return Verdict.UNKNOWN if Verdict.UNKNOWN in (self, other) else Verdict.IN

    def __or__(self, other: Verdict) -> Verdict:
        return ~(~self & ~other)

    def __invert__(self) -> Verdict:
        match self:
            case Verdict.IN:
                return Verdict.OUT
            case Verdict.OUT:
                return Verdict.IN
            case Verdict.UNKNOWN:
                return Verdict.UNKNOWN

    @classmethod
    def of(cls, known: bool) -> Verdict:
        return cls.IN if known else cls.OUT


def conjunction(verdicts: Iterable[Verdict]) -> Verdict:
    """All of them; in when there are none. Stops at the first out."""
    result = Verdict.IN
    for verdict in verdicts:
        result = result & verdict
        if result is Verdict.OUT:
            break
    return result


def disjunction(verdicts: Iterable[Verdict]) -> Verdict:
    """Any of them; out when there are none. Stops at the first in."""
    result = Verdict.OUT
    for verdict in verdicts:
        result = result | verdict
        if result is Verdict.IN:
            break
    return result


class Link(NamedTuple):
    """What a sentence is about: a kind ('directory-group') and that object's id.

    The view turns it into an address; a kind it has no page for is shown unlinked.
    """

    kind: str
    id: str


class Joined(StrEnum):
    """How a node's verdict follows from its children."""

    FACT = "fact"
    ALL = "all"
    ANY = "any"
    NOT = "not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """One claim with its verdict, and the claims it rests on.

    `as_of` is the time the fact was last known to be true, None when it has none.
    `turn_in`, `turn_out` and `settle` are the changes that would make this node in,
    out, or known; an empty one means that nothing at this node alone would do it.
    A FACT node may have children: they explain it and take no part in the verdict.
    """

    claim: str
    verdict: Verdict
    fact: str = ""
    as_of: datetime | None = None
    link: Link | None = None
    children: tuple[Derivation, ...] = ()
    joined: Joined = Joined.FACT
    decisive: bool = False
    turn_in: str = ""
    turn_out: str = ""
    settle: str = ""


def all_of(
    claim: str, children: Iterable[Derivation], turn_in: str = "", turn_out: str = ""
) -> Derivation:
    kept = tuple(children)
    verdict = conjunction(child.verdict for child in kept)
    return Derivation(
        claim=claim,
        verdict=verdict,
        children=kept,
        joined=Joined.ALL,
        turn_in=turn_in,
        turn_out=turn_out,
    )


def any_of(
    claim: str, children: Iterable[Derivation], turn_in: str = "", turn_out: str = ""
) -> Derivation:
    kept = tuple(children)
    verdict = disjunction(child.verdict for child in kept)
    return Derivation(
        claim=claim,
        verdict=verdict,
        children=kept,
        joined=Joined.ANY,
        turn_in=turn_in,
        turn_out=turn_out,
    )


def none_of(
    claim: str, children: Iterable[Derivation], turn_in: str = "", turn_out: str = ""
) -> Derivation:
    """In when every child is out: what exclusions say."""
    kept = tuple(children)
    verdict = ~disjunction(child.verdict for child in kept)
    return Derivation(
        claim=claim,
        verdict=verdict,
        children=kept,
        joined=Joined.NOT,
        turn_in=turn_in,
        turn_out=turn_out,
    )


def mark_decisive(root: Derivation) -> Derivation:
    """The same tree with the deciding path marked.

    Where one child is enough, every child that would be enough alone is marked, so
    that nobody removes one cause and wonders why nothing changed.
    """
    cause = ~root.verdict if root.joined is Joined.NOT else root.verdict
    return replace(
        root,
        decisive=True,
        children=tuple(
            mark_decisive(child)
            if root.joined is Joined.FACT or child.verdict is cause
            else child
            for child in root.children
        ),
    )


def nodes(root: Derivation) -> Iterator[Derivation]:
    """The root and everything below it, in reading order."""
    yield root
    for child in root.children:
        yield from nodes(child)


def oldest_decisive_fact(root: Derivation) -> datetime | None:
    """The age of a verdict: that of the oldest fact on its deciding path."""
    ages = [n.as_of for n in nodes(root) if n.decisive and n.as_of is not None]
    return min(ages, default=None)


def smallest_change(root: Derivation) -> tuple[str, ...]:
    """The fewest sentences that together would turn the verdict.

    From in to out, from out to in. From unknown: everything that has to be settled
    before the verdict can be known. Empty when nothing the tree knows of would do it.
    """
    if root.verdict is Verdict.UNKNOWN:
        return tuple(dict.fromkeys(_to_settle(root)))
    return _changes(root, ~root.verdict) or ()


def _to_settle(node: Derivation) -> Iterator[str]:
    if node.joined is Joined.FACT and node.settle:
        yield node.settle
    for child in node.children:
        if child.verdict is Verdict.UNKNOWN and node.joined is not Joined.FACT:
            yield from _to_settle(child)


def _changes(node: Derivation, goal: Verdict) -> tuple[str, ...] | None:
    if node.verdict is goal:
        return ()
    sentence = node.turn_in if goal is Verdict.IN else node.turn_out
    if node.verdict is Verdict.UNKNOWN and node.settle:
        sentence = node.settle
    own = (sentence,) if sentence else None
    inner = _changes_below(node, goal)
    if inner is None:
        return own
    return own if own is not None and len(own) < len(inner) else inner


def _changes_below(node: Derivation, goal: Verdict) -> tuple[str, ...] | None:
    if node.joined is Joined.FACT:
        return None
    wanted = ~goal if node.joined is Joined.NOT else goal
    one_is_enough = wanted is (Verdict.OUT if node.joined is Joined.ALL else Verdict.IN)
    ways = [_changes(child, wanted) for child in node.children]
    possible = [way for way in ways if way is not None]
    if one_is_enough:
        return min(possible, key=len, default=None)
    if len(possible) < len(ways):
        return None
    return tuple(dict.fromkeys(sentence for way in possible for sentence in way))
