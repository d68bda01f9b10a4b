"""Which person a reported user name leads to.

Pure. A name is only the way to a person: what is kept is (tenant id, object id), and a
name that later leads to somebody else is not believed until a person confirms it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from scoping.principal import (
    Ambiguous,
    NeverReported,
    Nobody,
    NotInDirectory,
    Person,
    Principal,
    Unconfirmed,
    Unresolved,
)

if TYPE_CHECKING:  # the seam knows Django; a type does not need it
    from directory.dependents import ObjectRef


def fold(user_name: str) -> str:
    """The form in which two user names are the same: trimmed, NFC, without case."""
    return unicodedata.normalize(
        "NFC", unicodedata.normalize("NFC", user_name.strip()).casefold()
    )


def domain_of(user_name: str) -> str:
    """What follows the last @, folded; empty for a name without a domain."""
    _, separator, domain = fold(user_name).rpartition("@")
    return domain if separator else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchingConnection:
    """How one connection takes part. No domains: it answers for every domain.

    A name without a domain is looked for only where `takes_bare_names` was chosen.
    """

    tenant_id: str
    name: str
    enabled: bool = True
    completely_read: bool = True
    domains: frozenset[str] = frozenset()
    takes_bare_names: bool = False

    def answers_for(self, user_name: str) -> bool:
        domain = domain_of(user_name)
        if not domain:
            return self.takes_bare_names
        return not self.domains or domain in {fold(each) for each in self.domains}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A person of the directory under the user name the mappings give them."""

    ref: ObjectRef
    name: str
    user_name: str
    disabled: bool = False
    deleted: bool = False


class NameIndex(Protocol):
    """Where people are looked up. Rows of every connection may be in it."""

    def by_user_name(self, folded: str) -> Iterable[Candidate]:
        """Those whose whole user name folds to this."""
        ...

    def by_ref(self, ref: ObjectRef) -> Candidate | None: ...


class CandidateIndex:
    """A `NameIndex` over people already in memory."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._by_name: dict[str, list[Candidate]] = {}
        self._by_ref: dict[ObjectRef, Candidate] = {}
        for candidate in candidates:
            self._by_name.setdefault(fold(candidate.user_name), []).append(candidate)
            self._by_ref[candidate.ref] = candidate

    def by_user_name(self, folded: str) -> Sequence[Candidate]:
        return self._by_name.get(folded, ())

    def by_ref(self, ref: ObjectRef) -> Candidate | None:
        return self._by_ref.get(ref)


def match_user_name(
    *,
    reported: str | None,
    index: NameIndex,
    connections: Iterable[MatchingConnection],
    earlier: ObjectRef | None = None,
    reported_at: datetime | None = None,
) -> Principal:
    """Who the reported name is.

    `reported` is None when nothing was ever reported and empty when nobody is the
    user. `earlier` is the person this name led to before, as stored or confirmed. It
    keeps holding for somebody who was renamed since: people are bound by object id.
    """
    if reported is None:
        return NeverReported()
    if not fold(reported):
        return Nobody(reported_at=reported_at)
    connections = tuple(connections)
    asked = [each for each in connections if each.enabled]
    asked = [each for each in asked if each.answers_for(reported)]
    tenants = {each.tenant_id for each in asked}
    found = [
        _person(candidate, reported, reported_at)
        for candidate in index.by_user_name(fold(reported))
        if candidate.ref.tenant_id in tenants
    ]
    # Entra frees the name of a deleted person for somebody new.
    found = [person for person in found if not person.deleted] or found
    if len(found) > 1:
        ordered = sorted(found, key=lambda person: person.ref)
        return Ambiguous(
            reported_user_name=reported,
            candidates=tuple(ordered),
            reported_at=reported_at,
        )
    if found:
        (person,) = found
        if earlier is not None and earlier != person.ref:
            return Unconfirmed(
                reported_user_name=reported,
                earlier=earlier,
                found=person,
                reported_at=reported_at,
            )
        return person
    return _nobody_found(reported, reported_at, earlier, index, connections, asked)


def _nobody_found(
    reported: str,
    reported_at: datetime | None,
    earlier: ObjectRef | None,
    index: NameIndex,
    connections: Sequence[MatchingConnection],
    asked: Sequence[MatchingConnection],
) -> Principal:
    if earlier is not None:
        home = [each for each in connections if each.tenant_id == earlier.tenant_id]
        closed = [each.name for each in home if not each.enabled]
        if closed:
            return Unresolved(
                reported_user_name=reported,
                reason=f"The connection {closed[0]} is disabled.",
                reported_at=reported_at,
            )
        known = index.by_ref(earlier) if home else None
        if known is not None and not known.deleted:
            return _person(known, reported, reported_at)
    unread = sorted(each.name for each in asked if not each.completely_read)
    if unread:
        return Unresolved(
            reported_user_name=reported,
            reason=f"{', '.join(unread)} was never read completely.",
            reported_at=reported_at,
        )
    return NotInDirectory(reported_user_name=reported, reported_at=reported_at)


def _person(
    candidate: Candidate, reported: str, reported_at: datetime | None
) -> Person:
    return Person(
        ref=candidate.ref,
        name=candidate.name,
        reported_user_name=reported,
        reported_at=reported_at,
        disabled=candidate.disabled,
        deleted=candidate.deleted,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchCounts:
    """How many devices' users are whom, for the mapping page and every scope."""

    matched: int = 0
    unmatched: int = 0
    ambiguous: int = 0
    unconfirmed: int = 0
    unresolved: int = 0
    nobody: int = 0
    never_reported: int = 0


def count_matches(principals: Iterable[Principal]) -> MatchCounts:
    kinds = [type(principal) for principal in principals]
    return MatchCounts(
        matched=kinds.count(Person),
        unmatched=kinds.count(NotInDirectory),
        ambiguous=kinds.count(Ambiguous),
        unconfirmed=kinds.count(Unconfirmed),
        unresolved=kinds.count(Unresolved),
        nobody=kinds.count(Nobody),
        never_reported=kinds.count(NeverReported),
    )
