"""Who a device's user is, as a value, and what scoping asks the directory.

Pure. `scoping.matching` makes these values from reported names; scopes and criteria
judge them through the `Directory` protocol, which the models implement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from scoping.verdict import Link, Verdict

if TYPE_CHECKING:  # the seam knows Django; a type does not need it
    from directory.dependents import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A reported name that leads to one person.

    Disabled people count as members in scopes; deleted ones do not.
    """

    ref: ObjectRef
    name: str
    reported_user_name: str = ""
    reported_at: datetime | None = None
    disabled: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Nobody:
    """Known: nobody is logged in, or nobody is assigned. Matches nothing."""

    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverReported:
    """The device has never said who its user is. Unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInDirectory:
    """Known: nobody in any connection has this name. Matches nothing."""

    reported_user_name: str
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """Several people have this name. Unknown, whoever they are."""

    reported_user_name: str
    candidates: tuple[Person, ...]
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """The name led to one person and now leads to another. Unknown until confirmed."""

    reported_user_name: str
    earlier: ObjectRef
    found: Person
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """Nobody was found, and not everything could be searched. Unknown."""

    reported_user_name: str
    reason: str
    reported_at: datetime | None = None


Principal: TypeAlias = (
    Person
    | Nobody
    | NeverReported
    | NotInDirectory
    | Ambiguous
    | Unconfirmed
    | Unresolved
)


class Broken(StrEnum):
    """Why a reference cannot be evaluated until a person removes or rebinds it."""

    DELETED = "deleted"
    UNREADABLE = "unreadable"
    HIDDEN = "hidden"
    FILTERED = "filtered"
    CONNECTION_DISABLED = "connection disabled"
    NEVER_READ = "never read"

    @property
    def sentence(self) -> str:
        return _BROKEN[self]


_BROKEN = {
    Broken.DELETED: "It was deleted in Entra.",
    Broken.UNREADABLE: "Entra does not let the console read it.",
    Broken.HIDDEN: "Its membership is hidden.",
    Broken.FILTERED: "The connection's filter leaves it out.",
    Broken.CONNECTION_DISABLED: "Its connection is disabled.",
    Broken.NEVER_READ: "Its connection was never read completely.",
}


class PathStep(NamedTuple):
    """A group on the way from a person to the group that was asked about."""

    name: str
    ref: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipAnswer:
    """Whether a person is a member.

    `path` holds the groups between person and group, nearest the person first, the
    group itself left out: empty for a direct member. `reason` says why an unknown one
    is unknown, `note` where what is in effect differs from Entra.
    """

    verdict: Verdict
    path: tuple[PathStep, ...] = ()
    reason: str = ""
    note: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a reference: its name now or last, and whether it is broken.

    `reason` replaces the standard sentence of `broken` where more is known.
    """

    name: str
    broken: Broken | None = None
    reason: str = ""
    link: Link | None = None
    as_of: datetime | None = None

    @property
    def why_broken(self) -> str:
        if self.broken is None:
            return ""
        return self.reason or self.broken.sentence


class Directory(Protocol):
    """What scoping asks of the directory. It answers from what is in effect."""

    def membership(
        self, ref: ObjectRef, principal: Person, nested: bool
    ) -> MembershipAnswer: ...

    def describe(self, ref: ObjectRef) -> Description: ...


class Standing(NamedTuple):
    """What is known of a principal before any group is asked.

    `verdict` is None for a person, whose membership has to be looked up.
    """

    verdict: Verdict | None
    claim: str
    settle: str = ""


def standing(principal: Principal, *, assigned: bool) -> Standing:
    """Say what a principal decides by itself, for assigned or logged-in users."""
    match principal:
        case Person():
            return Standing(None, _person_sentence(principal, assigned=assigned))
        case Nobody():
            who = "assigned to" if assigned else "logged in to"
            return Standing(Verdict.OUT, f"Nobody is {who} this device")
        case NeverReported():
            return Standing(
                Verdict.UNKNOWN,
                "This device has never reported its user",
                "Wait until the device reports its user",
            )
        case NotInDirectory():
            return Standing(
                Verdict.OUT,
                f"{principal.reported_user_name} is not a directory user",
            )
        case Ambiguous():
            names = ", ".join(_told_apart(person) for person in principal.candidates)
            return Standing(
                Verdict.UNKNOWN,
                f"{principal.reported_user_name} could be any of: {names}",
                f"Make {principal.reported_user_name} lead to one person: limit"
                " connections to domains or change a user name",
            )
        case Unconfirmed():
            return Standing(
                Verdict.UNKNOWN,
                f"{principal.reported_user_name} was another person before and now"
                f" leads to {principal.found.name}; nobody has confirmed it",
                f"Confirm that {principal.reported_user_name} is"
                f" {principal.found.name}",
            )
        case Unresolved():
            return Standing(
                Verdict.UNKNOWN,
                f"Who {principal.reported_user_name} is cannot be known:"
                f" {principal.reason}",
                f"Find out who {principal.reported_user_name} is: {principal.reason}",
            )


def reported_at(principal: Principal) -> datetime | None:
    return None if isinstance(principal, NeverReported) else principal.reported_at


def _person_sentence(person: Person, *, assigned: bool) -> str:
    relation = "assigned to" if assigned else "logged in to"
    state = " (deleted in Entra)" if person.deleted else ""
    state = " (disabled in Entra)" if person.disabled and not state else state
    return f"{person.name}{state} is {relation} this device"


def _told_apart(person: Person) -> str:
    return f"{person.name} ({person.ref.object_id} in tenant {person.ref.tenant_id})"


class DirectoryJudgement(NamedTuple):
    """Whether a principal is, or is a member of, a reference; and in which words."""

    verdict: Verdict
    claim: str
    fact: str
    as_of: datetime | None
    link: Link | None
    turn_in: str
    turn_out: str
    settle: str


def _broken(description: Description) -> DirectoryJudgement:
    return DirectoryJudgement(
        verdict=Verdict.UNKNOWN,
        claim=f"{description.name} cannot be evaluated",
        fact=description.why_broken,
        as_of=description.as_of,
        link=description.link,
        turn_in="",
        turn_out="",
        settle=f"Remove or rebind {description.name}",
    )


def _without_person(
    description: Description,
    principal: Principal,
    known: Standing,
    verdict: Verdict,
    turn_in: str,
) -> DirectoryJudgement:
    return DirectoryJudgement(
        verdict=verdict,
        claim=f"{description.name} is not matched"
        if verdict is Verdict.OUT
        else f"Whether {description.name} is matched is not known",
        fact=known.claim,
        as_of=reported_at(principal),
        link=description.link,
        turn_in=turn_in,
        turn_out="",
        settle=known.settle,
    )


def judge_membership(
    ref: ObjectRef,
    principal: Principal,
    directory: Directory,
    *,
    nested: bool,
    assigned: bool,
) -> DirectoryJudgement:
    """Judge membership of a group.

    A broken reference is unknown for every device, whoever its user is: it stays so
    until a person removes or rebinds it. A deleted person is a member of nothing.
    """
    described = directory.describe(ref)
    if described.broken is not None:
        return _broken(described)
    known = standing(principal, assigned=assigned)
    if not isinstance(principal, Person):
        verdict = known.verdict or Verdict.UNKNOWN
        wish = _wish(f"a member of {described.name}", assigned=assigned)
        return _without_person(described, principal, known, verdict, wish)
    group = described.name
    if principal.deleted:
        return DirectoryJudgement(
            Verdict.OUT,
            f"{principal.name} is not a member of {group}",
            f"{principal.name} is deleted in Entra and counts as a member of nothing",
            described.as_of,
            described.link,
            f"Restore {principal.name} in Entra",
            "",
            "",
        )
    answer = directory.membership(ref, principal, nested)
    settle = ""
    fact = known.claim
    holder = answer.path[0].name if answer.path else group
    if answer.verdict is Verdict.UNKNOWN:
        claim = f"Whether {principal.name} is in {group} is not known"
        fact = answer.reason or known.claim
        settle = f"Read the members of {group}"
    elif answer.verdict is Verdict.IN:
        through = ", ".join(step.name for step in answer.path)
        claim = f"{principal.name} is in {group}"
        claim += f" through {through}" if through else ""
    else:
        claim = f"{principal.name} is not in {group}"
        claim += "" if nested else "; groups inside it are not counted"
    if answer.note:
        fact = f"{fact}. {answer.note}"
    return DirectoryJudgement(
        answer.verdict,
        claim,
        fact,
        answer.as_of,
        described.link,
        f"Add {principal.name} to {group} in Entra",
        f"Remove {principal.name} from {holder} in Entra",
        settle,
    )


def judge_user(
    ref: ObjectRef, principal: Principal, directory: Directory, *, assigned: bool
) -> DirectoryJudgement:
    """Judge whether the principal is this directory user."""
    described = directory.describe(ref)
    if described.broken is not None:
        return _broken(described)
    known = standing(principal, assigned=assigned)
    if not isinstance(principal, Person):
        verdict = known.verdict or Verdict.UNKNOWN
        wish = _wish(described.name, assigned=assigned)
        return _without_person(described, principal, known, verdict, wish)
    same = principal.ref == ref and not principal.deleted
    relation = "assigned to" if assigned else "logged in to"
    return DirectoryJudgement(
        Verdict.of(same),
        f"{described.name} is {'' if same else 'not '}{relation} this device",
        known.claim,
        principal.reported_at,
        described.link,
        _wish(described.name, assigned=assigned),
        _wish(f"somebody other than {described.name}", assigned=assigned),
        "",
    )


def _wish(who: str, *, assigned: bool) -> str:
    return (
        f"Assign this device to {who}"
        if assigned
        else f"Let {who} log in to this device"
    )
