"""Smart and static groups as forms; criteria are rows that grow and shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import QueryDict

from directory.dependents import ObjectRef
from jamfidp.access import SiteAccess
from scoping.criteria import (
    OPERATORS,
    Criterion,
    Family,
    Field,
    Operator,
    Problem,
    fields_for,
)
from scoping.forms.objects import SiteField
from scoping.models import SmartGroup, StaticGroup
from scoping.recompute import inventory_of

# Jamf Pro's interface stops where a person loses the overview; so does the form.
MOST_CRITERIA = 50
DAYS = {Operator.MORE_THAN_DAYS_AGO, Operator.LESS_THAN_DAYS_AGO}


class GroupForm(forms.Form):
    """Name and site of a smart or static group."""

    name = forms.CharField(max_length=255)

    def __init__(
        self,
        data: Any = None,
        *,
        rows: QuerySet[Any],
        access: SiteAccess,
        group: SmartGroup | StaticGroup | None = None,
    ) -> None:
        self.rows, self.group = rows, group
        initial = (
            {"name": group.name, "site": group.site_id} if group is not None else {}
        )
        super().__init__(data, initial=initial)
        self.fields["site"] = SiteField(access=access)
        self.fields[
            "site"
        ].help_text = "A group with a site holds devices of that site."

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        others = self.rows.filter(name__iexact=name)
        if self.group is not None:
            others = others.exclude(pk=self.group.pk)
        if others.exists():
            raise ValidationError(f"Another group of this kind is named {name}.")
        return name


class StaticGroupForm(GroupForm):
    """A static group: its members are in the page, serial numbers can be pasted."""

    serial_numbers = forms.CharField(
        label="Add by serial number",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="Separated by spaces, commas or lines.",
    )


@dataclass(frozen=True)
class CriterionRow:
    """One line of the criteria editor: what is chosen, what can be, what is wrong."""

    index: int
    criterion: Criterion
    fields: Sequence[Field]
    operators: Sequence[Operator]
    family: Family
    errors: Mapping[str, str] = field(default_factory=dict)
    # Typed into the search for a directory group.
    q: str = ""

    @property
    def value_type(self) -> str:
        """Which control holds the value: text, date, days, boolean, group, directory."""
        match self.family:
            case Family.BOOLEAN:
                return "boolean"
            case Family.GROUP:
                return "group"
            case Family.DIRECTORY_GROUP:
                return "directory"
            case Family.DATE:
                return "days" if self.criterion.search_type in DAYS else "date"
            case _:
                return "text"

    @property
    def picked(self) -> str:
        ref = self.criterion.ref
        return f"{ref.tenant_id}/{ref.object_id}" if ref is not None else ""

    @property
    def is_first(self) -> bool:
        return self.index == 0

    @property
    def field_help(self) -> str:
        name = self.criterion.name
        return next((each.help for each in self.fields if each.name == name), "")

    @property
    def error(self) -> str:
        return " ".join(self.errors.values())


@dataclass(frozen=True)
class CriteriaForm:
    """The posted criteria, and what a button asked for."""

    rows: tuple[CriterionRow, ...]
    wants_to_save: bool = False
    # The row that was just added or changed: the keyboard goes on there.
    touched: int = -1

    @property
    def criteria(self) -> list[Criterion]:
        return [row.criterion for row in self.rows]

    def with_problems(self, problems: Sequence[Problem]) -> CriteriaForm:
        """The same with each problem at its row."""
        found: dict[int, dict[str, str]] = {}
        for position, part, message in problems:
            # 'Criterion 2 (Model): …' stands beside that criterion already.
            _, separator, rest = message.partition("): ")
            text = rest[:1].upper() + rest[1:] if separator else message
            found.setdefault(position, {})[part] = text
        rows = tuple(replace(row, errors=found.get(row.index, {})) for row in self.rows)
        return replace(self, rows=rows)


def rows_of(criteria: Sequence[Criterion], *, kind: str) -> tuple[CriterionRow, ...]:
    """Criteria as rows of the form."""
    fields = fields_for(inventory_of(kind))
    families = {each.name: each.family for each in fields}
    found = []
    for index, criterion in enumerate(criteria):
        family = families.get(criterion.name, Family.TEXT)
        operators = OPERATORS[family]
        chosen = replace(criterion, priority=index)
        if chosen.search_type not in operators:
            chosen = replace(chosen, search_type=operators[0])
        found.append(
            CriterionRow(
                index=index,
                criterion=chosen,
                fields=fields,
                operators=operators,
                family=family,
            )
        )
    return tuple(found)


def read_criteria_form(data: QueryDict, *, kind: str) -> CriteriaForm:
    """Read the rows, and apply what `add`, `drop`, `up` or `pick` asked for."""
    count = _number(data.get("criteria-count", "0"), MOST_CRITERIA)
    criteria = [_criterion(data, f"criteria-{index}") for index in range(count)]
    queries = [data.get(f"criteria-{index}-q", "").strip() for index in range(count)]
    touched = -1
    remove = _number(data.get("drop", ""), count - 1, missing=-1)
    if remove >= 0:
        del criteria[remove], queries[remove]
        touched = min(remove, len(criteria) - 1)
    up = _number(data.get("up", ""), count - 1, missing=-1)
    if up > 0 and remove < 0:
        criteria[up - 1], criteria[up] = criteria[up], criteria[up - 1]
        queries[up - 1], queries[up] = queries[up], queries[up - 1]
        touched = up - 1
    picked, _, value = data.get("pick", "").partition(":")
    position = _number(picked, count - 1, missing=-1)
    if position >= 0 and remove < 0:
        criteria[position] = replace(criteria[position], ref=_ref(value))
        queries[position] = ""
        touched = position
    if "add" in data and len(criteria) < MOST_CRITERIA:
        first = fields_for(inventory_of(kind))[0]
        name = data.get("new_criterion", "") or first.name
        criteria.append(Criterion(name=name, search_type=""))
        queries.append("")
        touched = len(criteria) - 1
    rows = rows_of(criteria, kind=kind)
    return CriteriaForm(
        rows=tuple(replace(row, q=q) for row, q in zip(rows, queries, strict=True)),
        wants_to_save="save" in data,
        touched=touched,
    )


def _criterion(data: QueryDict, prefix: str) -> Criterion:
    def text(name: str) -> str:
        return data.get(f"{prefix}-{name}", "")

    return Criterion(
        name=text("name"),
        search_type=text("search_type"),
        value=text("value"),
        and_or="or" if text("and_or") == "or" else "and",
        opening_paren=bool(text("opening_paren")),
        closing_paren=bool(text("closing_paren")),
        device_group=text("device_group"),
        ref=_ref(text("directory_group")),
        nested=bool(text("nested")),
    )


def _ref(text: str) -> ObjectRef | None:
    tenant_id, _, object_id = text.partition("/")
    if not (0 < len(tenant_id) <= 36 and 0 < len(object_id) <= 36):
        return None
    return ObjectRef(tenant_id.lower(), object_id.lower())


def _number(text: str, most: int, *, missing: int = 0) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) < 6):
        return missing
    return int(text) if int(text) <= most else missing
