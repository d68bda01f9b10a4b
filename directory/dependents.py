"""What the directory must know of the features above it, through one seam.

Features implement `Dependents` and register in their AppConfig.ready(). The directory
asks: who uses this group, what depends on this connection, what would follow from this
plan; and tells: a read was applied. It never imports them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, Protocol

from pyroaring import BitMap

from directory.planned import PlannedChange
from jamfidp.access import ConsoleUser
from jamfidp.compiled import Question


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
    # Of a read of one person or group: which. It says nothing of the others.
    asked: int | None = None
    began_at: datetime | None = None
    user_ids: Collection[int] = field(default_factory=frozenset)
    group_ids: Collection[int] = field(default_factory=frozenset)


class ConsequenceKind(StrEnum):
    """What can follow from a plan, the gravest first: pages list it in this order."""

    PRIVILEGES_GAINED = "privileges gained"
    PRIVILEGES_LOST = "privileges lost"
    REFERENCE_BREAKS = "reference breaks"
    REFERENCE_RETURNS = "reference returns"
    DEVICE_CHANGES = "device changes"
    GROUP_ENTERED = "smart group entered"
    GROUP_LEFT = "smart group left"
    SCOPE_ENTERED = "scope entered"
    SCOPE_LEFT = "scope left"


class Subject(StrEnum):
    """What the numbers of a consequence are row ids of."""

    PERSON = "person"
    COMPUTER = "computer"
    MOBILE_DEVICE = "mobile device"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOfConsole:
    """An object of the console, and with which privilege at which site one sees it."""

    app: str
    kind: str
    pk: int
    name: str
    url: str
    permission: str
    site_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """One thing that follows from a plan, and to whom or what it happens.

    `numbers` may be many: pages count them first and name them by the page.
    """

    kind: ConsequenceKind
    # What it happens in: the smart group, the object in whose scope, the account or
    # account group. None for changes of devices themselves.
    about: ObjectOfConsole | None = None
    subject: Subject
    numbers: BitMap = field(default_factory=BitMap)
    # Privileges by name, or the one field of the devices that changes.
    what: Sequence[str] = ()
    # Why, in one sentence: the path of a privilege, the reason of a broken reference.
    detail: str = ""
    # Before and after, of changes of devices, by row id.
    differences: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    # The directory groups that it comes through, by row id.
    groups: BitMap = field(default_factory=BitMap)
    # Of privileges gained: some at every site, through Full Access.
    full_access: bool = False

    @property
    def is_privilege(self) -> bool:
        return self.kind in (
            ConsequenceKind.PRIVILEGES_GAINED,
            ConsequenceKind.PRIVILEGES_LOST,
        )

    @property
    def count(self) -> int:
        return len(self.numbers)


class Gives(IntEnum):
    """What being a member of a group, or being a person, gives in the console."""

    NOTHING = 0
    PRIVILEGES = 1
    FULL_ACCESS = 2
    # Full Access with every privilege, where others have Full Access to less.
    ADMINISTRATOR = 3


@dataclass(frozen=True, slots=True)
class GroupInUse:
    """A directory group that scopes or privileges rest on, whoever looks."""

    object_id: str
    # Whether members of groups inside it count as well.
    nested: bool
    gives: Gives = Gives.NOTHING
    # Of Full Access: which privileges.
    everywhere: frozenset[str] = frozenset()


class Step(StrEnum):
    """Where a run asks every feature one after the other."""

    GUARDS = "what is in use"
    CONSEQUENCES = "what would follow"
    APPLIED = "what was applied"


@dataclass(frozen=True, slots=True)
class Moment:
    """A connection that was read, and when; `began_at` is as in AppliedChange."""

    cloud_idp_id: int
    tenant_id: str
    now: datetime
    began_at: datetime | None = None


class Dependents(Protocol):
    """A feature that builds on directory rows."""

    # Of which subjects of consequences it holds the rows.
    subjects: Collection[Subject]

    def questions(self, step: Step, moment: Moment) -> Sequence[Question]:
        """What it asks of the database in a step, whatever was planned. What others ask
        is asked together with it, so nothing that they write may change an answer."""
        ...

    def groups_in_use(self, tenant_id: str) -> Sequence[GroupInUse]:
        """The groups of a tenant that something here rests on; guards ask for them."""
        ...

    def people_in_use(self, tenant_id: str) -> Mapping[str, Gives]:
        """People of a tenant who hold privileges of their own, by object id."""
        ...

    def people_named(self, tenant_id: str) -> Collection[str]:
        """Object ids of the people of a tenant whom something here names."""
        ...

    def uses_of_group(
        self, ref: ObjectRef, *, viewer: ConsoleUser
    ) -> Sequence[Use]: ...

    def uses_of_user(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]: ...

    def uses_of_connection(
        self, tenant_id: str, *, viewer: ConsoleUser
    ) -> Sequence[Use]: ...

    def shows_all_uses(self, *, viewer: ConsoleUser) -> bool:
        """Whether the viewer may see everything that could be a use."""
        ...

    def user_fragments(self, ref: ObjectRef) -> Sequence[Fragment]: ...

    def group_fragments(self, ref: ObjectRef) -> Sequence[Fragment]: ...

    def consequences(
        self, planned: PlannedChange, *, now: datetime
    ) -> Sequence[Consequence]:
        """What would follow from a plan. Reads through it and writes nothing."""
        ...

    def sees_subjects(self, subject: Subject, *, viewer: ConsoleUser) -> bool:
        """Whether the viewer may see any of its subjects."""
        ...

    def visible_subjects(
        self, subject: Subject, numbers: BitMap, *, viewer: ConsoleUser
    ) -> BitMap:
        """Which of its subjects the viewer may see; those that are gone are not."""
        ...

    def subject_lines(
        self, subject: Subject, numbers: Sequence[int]
    ) -> Mapping[int, Use]:
        """A line for each of these that is still there, for pages."""
        ...

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


def questions_of(step: Step, moment: Moment) -> list[Question]:
    """Return what all features ask in a step."""
    return [
        question
        for dependents in registered()
        for question in dependents.questions(step, moment)
    ]


# --- Other mappings, before they are saved -------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A person under the user name that other mappings would give."""

    object_id: str
    display_name: str
    user_name: str
    disabled: bool


class NameWatch(Protocol):
    """Is shown everybody once, under other user names; keeps what concerns it."""

    def take(self, person: Proposed) -> None: ...

    def findings(self) -> dict[str, Any]:
        """What it came to, as JSON. It is kept until the mappings are saved or not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NameConsequence:
    """What other mappings would do to one kind of thing that the viewer may see."""

    sentence: str
    count: int
    lost: bool = False
    # Names with their pages; `more` says how many are not listed.
    names: Sequence[tuple[str, str]] = ()
    more: int = 0


class MappedNames(Protocol):
    """A feature that matches user names, or names of departments and buildings."""

    def watch_names(self, tenant_id: str) -> NameWatch: ...

    def consequences(
        self,
        findings: Mapping[str, Any],
        *,
        tenant_id: str,
        unmapped: Collection[str],
        viewer: ConsoleUser,
    ) -> Sequence[NameConsequence]:
        """Say what a watch found, and who loses a value of unmapped attributes."""
        ...

    def without_counterpart(self, field: str, values: Collection[str]) -> Sequence[str]:
        """Return those of the values of department or building that are not here."""
        ...

    def may_create(self, field: str, viewer: ConsoleUser) -> bool: ...

    def create_counterparts(
        self, field: str, values: Collection[str], *, actor: Any, now: datetime
    ) -> int:
        """Create them; whoever waits for one of the name gets it. Returns how many."""
        ...


_mapped: list[MappedNames] = []


def register_mapped_names(feature: MappedNames) -> None:
    """Called once by a feature, when Django starts."""
    if not any(type(known) is type(feature) for known in _mapped):
        _mapped.append(feature)


def registered_mapped_names() -> Sequence[MappedNames]:
    return tuple(_mapped)
