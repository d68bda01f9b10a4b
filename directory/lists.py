"""Lists of people and groups: filters that stand in the address, order, chips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import F, Model, Q, QuerySet
from django.http import QueryDict
from django.utils.functional import SimpleLazyObject

from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser
from directory.search import holding
from jamfidp.components import Chip
from jamfidp.keyset import Page, page

M = TypeVar("M", bound=Model)
PAGE_SIZE = 50
CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a filter: how it reads and which rows it keeps."""

    value: str
    label: str
    keep: Q


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a list; without a value in the address `default` is kept.

    Without choices it is not shown.
    """

    name: str
    label: str
    choices: Sequence[Choice]
    any_label: str
    default: Q = field(default_factory=Q)


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; `field` is what it sorts by, and empty where it does not."""

    key: str
    label: str
    field: str = ""
    number: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A column's head as it stands now: where a click leads, and the present order."""

    label: str
    url: str
    order: str
    number: bool


@dataclass(frozen=True, slots=True)
class Select:
    """A filter's control and its present value."""

    name: str
    label: str
    any_label: str
    options: Sequence[tuple[str, str]]
    value: str


@dataclass(slots=True)
class Listing(Generic[M]):
    """What an address asks of a list, read leniently: an unknown value is none.

    `shown` are the fields that a page of it reads.
    """

    filters: Sequence[Filter]
    columns: Sequence[Column]
    shown: Sequence[str]
    query: QueryDict
    text: str = ""
    chosen: Mapping[str, Choice] = field(default_factory=dict)
    sort: Column = field(init=False)
    descending: bool = False

    def __post_init__(self) -> None:
        self.text = self.query.get("q", "").strip()
        self.chosen = {
            each.name: choice
            for each in self.filters
            if (value := self.query.get(each.name))
            for choice in each.choices
            if choice.value == value
        }
        wanted = self.query.get("sort", "")
        self.descending = wanted.startswith("-")
        sortable = [column for column in self.columns if column.field]
        self.sort = next(
            (column for column in sortable if column.key == wanted.lstrip("-")),
            sortable[0],
        )

    def rows(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Keep what the filters and the search ask for."""
        kept = [
            self.chosen[each.name].keep if each.name in self.chosen else each.default
            for each in self.filters
        ]
        kept.append(holding(rows.model, self.text))
        return rows.filter(*filter(None, kept))

    def ordered(self, rows: QuerySet[M]) -> QuerySet[M]:
        sign = "-" if self.descending else ""
        return rows.order_by(f"{sign}{self.sort.field}", f"{sign}pk")

    def page(self, rows: QuerySet[M], *, size: int = PAGE_SIZE) -> Page[M]:
        return page(
            rows.only(*self.shown, self.sort.field),
            by=F(self.sort.field),
            descending=self.descending,
            after=self.query.get("after", ""),
            before=self.query.get("before", ""),
            size=size,
        )

    @property
    def order(self) -> str:
        """The order as the address names it; empty for the usual one."""
        if not self.query.get("sort"):
            return ""
        return ("-" if self.descending else "") + self.sort.key

    def url(self, **changes: str) -> str:
        """Return this list's address with parameters changed; "" takes one out."""
        kept = {name: choice.value for name, choice in self.chosen.items()}
        if self.text:
            kept["q"] = self.text
        kept["sort"] = self.order
        kept.update(changes)
        kept = {name: value for name, value in kept.items() if value}
        return f"?{urlencode(kept)}"

    @property
    def several_connections(self) -> bool:
        """Whether a row has to say which connection it is of."""
        return any(each.name == CONNECTION and each.choices for each in self.filters)

    def chips(self) -> Sequence[Chip]:
        chips = [
            Chip(each.label, self.chosen[each.name].label, self.url(**{each.name: ""}))
            for each in self.filters
            if each.name in self.chosen
        ]
        if self.text:
            chips.insert(0, Chip("Search", self.text, self.url(q="")))
        return chips

    def selects(self) -> Sequence[Select]:
        return [
            Select(
                each.name,
                each.label,
                each.any_label,
                [(choice.value, choice.label) for choice in each.choices],
                self.chosen[each.name].value if each.name in self.chosen else "",
            )
            for each in self.filters
            if each.choices
        ]

    def headings(self) -> Sequence[Heading]:
        headings = []
        for column in self.columns:
            order, url = "", ""
            if column.field:
                current = column == self.sort
                order = (
                    ""
                    if not current
                    else "descending"
                    if self.descending
                    else "ascending"
                )
                back = current and not self.descending
                url = self.url(sort=f"{'-' if back else ''}{column.key}")
            headings.append(Heading(column.label, url, order, column.number))
        return headings

    def described(self) -> dict[str, str]:
        """Name what is in force, for a history entry."""
        named = {chip.label: chip.value for chip in self.chips()}
        return named | {"Order": self.sort.label}


_PRESENT = Q(state="PRESENT")


def _state(value: str, label: str) -> Choice:
    return Choice(value, label, Q(state=value.upper()))


# Who is not in the directory, or of whom that is not known: each is another thing.
_ELSEWHERE = [
    _state("deleted", "Deleted, can be restored"),
    _state("gone", "Deleted for good"),
    _state("filtered", "Filtered out"),
    _state("unreadable", "No longer readable"),
    _state("mentioned", "Not read yet"),
]


def _connections() -> list[Choice]:
    """The connections, where there is a choice."""
    names = list(
        CloudIdentityProvider.objects.order_by("display_name").values_list(
            "pk", "display_name"
        )
    )
    if len(names) < 2:
        return []
    return [Choice(str(pk), name, Q(cloud_idp_id=pk)) for pk, name in names]


def _by_connection() -> Filter:
    """The filter by connection; its choices are read when they are looked at."""
    choices: Any = SimpleLazyObject(_connections)
    return Filter(CONNECTION, "Connection", choices, "All connections")


USER_COLUMNS = (
    Column("name", "Name", "sort_key"),
    Column("user-name", "Username", "user_name_key"),
    Column("department", "Department", "department"),
    Column("position", "Position", "position"),
    Column("status", "Status"),
)
USERS_SHOWN = (
    "object_id",
    "state",
    "account_enabled",
    "user_type",
    "display_name",
    "user_principal_name",
    "user_name",
    "department",
    "position",
    "cloud_idp__display_name",
)
USER_FILTERS = (
    Filter(
        "status",
        "Status",
        [
            Choice("enabled", "Enabled", _PRESENT & Q(account_enabled=True)),
            Choice("disabled", "Disabled", _PRESENT & Q(account_enabled=False)),
            *_ELSEWHERE,
        ],
        "In the directory",
        _PRESENT,
    ),
    Filter(
        "type",
        "Type",
        [
            Choice("member", "Member", Q(user_type__iexact="member")),
            Choice("guest", "Guest", Q(user_type__iexact="guest")),
        ],
        "Members and guests",
    ),
)
GROUP_COLUMNS = (
    Column("name", "Name", "sort_key"),
    Column("kind", "Kind", "kind"),
    Column("mail", "Mail", "mail"),
    Column("direct", "Direct", "direct_users", number=True),
    Column("members", "Members", "transitive_users", number=True),
    Column("changed", "Changed", "changed_at"),
)
GROUPS_SHOWN = (
    "object_id",
    "state",
    "display_name",
    "mail",
    "kind",
    "is_dynamic",
    "is_assignable_to_role",
    "hidden_membership",
    "direct_users",
    "transitive_users",
    "changed_at",
    "cloud_idp__display_name",
)
GROUP_FILTERS = (
    Filter(
        "kind",
        "Kind",
        [
            Choice(value.lower(), label, Q(kind=value))
            for value, label in DirectoryGroup.Kind.choices
        ],
        "Every kind",
    ),
    Filter(
        "membership",
        "Membership",
        [
            Choice("dynamic", "Dynamic", Q(is_dynamic=True)),
            Choice("assigned", "Assigned", Q(is_dynamic=False)),
            Choice("hidden", "Hidden", Q(hidden_membership=True)),
        ],
        "Assigned and dynamic",
    ),
    Filter("status", "Status", _ELSEWHERE, "In the directory", _PRESENT),
)


def users(query: QueryDict) -> Listing[DirectoryUser]:
    """Read what an address asks of the list of people."""
    filters = (*USER_FILTERS, _by_connection())
    return Listing(filters, USER_COLUMNS, USERS_SHOWN, query)


def groups(query: QueryDict) -> Listing[DirectoryGroup]:
    """Read what an address asks of the list of groups."""
    filters = (*GROUP_FILTERS, _by_connection())
    return Listing(filters, GROUP_COLUMNS, GROUPS_SHOWN, query)
