"""Smart group criteria: the grammar of Jamf Pro, checked, and evaluated in three values.

Pure. Criteria are read by priority from left to right: `and` and `or` bind alike, and
only parentheses group. Text compares whole, NFC and without case. A value that is known
to be empty compares as empty text; a value that is not known makes a criterion unknown.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scoping.matching import fold
from scoping.principal import Directory, NeverReported, Principal, judge_membership
from scoping.verdict import (
    Derivation,
    Joined,
    Link,
    Verdict,
    all_of,
    any_of,
    conjunction,
    disjunction,
    mark_decisive,
)

if TYPE_CHECKING:  # the seam knows Django; a type does not need it
    from directory.dependents import ObjectRef

# Jamf Pro's own limit for a criterion's name and value.
VALUE_LIMIT = 255
# The longest text a pattern is tried on; what is longer makes the criterion unknown.
SUBJECT_LIMIT = 255
# Python's engine backtracks and cannot be stopped, so the choices a pattern leaves
# open are added up beforehand, in powers of two. See `check_pattern`.
PATTERN_BUDGET = 18
OPEN_REPEAT = 6


class Family(StrEnum):
    TEXT = "text"
    VERSION = "version"
    DATE = "date"
    BOOLEAN = "boolean"
    GROUP = "group"
    DIRECTORY_GROUP = "directory group"


class Operator(StrEnum):
    """Jamf Pro's search types."""

    IS = "is"
    IS_NOT = "is not"
    LIKE = "like"
    NOT_LIKE = "not like"
    MATCHES_REGEX = "matches regex"
    DOES_NOT_MATCH_REGEX = "does not match regex"
    MORE_THAN = "more than"
    GREATER_THAN = "greater than"
    LESS_THAN = "less than"
    GREATER_THAN_OR_EQUAL = "greater than or equal"
    LESS_THAN_OR_EQUAL = "less than or equal"
    BEFORE = "before (yyyy-mm-dd)"
    AFTER = "after (yyyy-mm-dd)"
    MORE_THAN_DAYS_AGO = "more than x days ago"
    LESS_THAN_DAYS_AGO = "less than x days ago"
    MEMBER_OF = "member of"
    NOT_MEMBER_OF = "not member of"


_NEGATIONS = {
    Operator.IS_NOT: Operator.IS,
    Operator.NOT_LIKE: Operator.LIKE,
    Operator.DOES_NOT_MATCH_REGEX: Operator.MATCHES_REGEX,
    Operator.NOT_MEMBER_OF: Operator.MEMBER_OF,
}
_PATTERNS = {Operator.MATCHES_REGEX, Operator.DOES_NOT_MATCH_REGEX}
_DAYS_AGO = {Operator.MORE_THAN_DAYS_AGO, Operator.LESS_THAN_DAYS_AGO}
_TEXT = (
    Operator.IS,
    Operator.IS_NOT,
    Operator.LIKE,
    Operator.NOT_LIKE,
    Operator.MATCHES_REGEX,
    Operator.DOES_NOT_MATCH_REGEX,
)
_ORDER: Mapping[Operator, Callable[[int], bool]] = {
    Operator.MORE_THAN: lambda sign: sign > 0,
    Operator.GREATER_THAN: lambda sign: sign > 0,
    Operator.LESS_THAN: lambda sign: sign < 0,
    Operator.GREATER_THAN_OR_EQUAL: lambda sign: sign >= 0,
    Operator.LESS_THAN_OR_EQUAL: lambda sign: sign <= 0,
}

OPERATORS: Mapping[Family, tuple[Operator, ...]] = {
    Family.TEXT: _TEXT,
    Family.VERSION: (*_TEXT, *_ORDER),
    Family.DATE: (
        Operator.BEFORE,
        Operator.AFTER,
        Operator.MORE_THAN_DAYS_AGO,
        Operator.LESS_THAN_DAYS_AGO,
    ),
    Family.BOOLEAN: (Operator.IS,),
    Family.GROUP: (Operator.MEMBER_OF, Operator.NOT_MEMBER_OF),
    Family.DIRECTORY_GROUP: (Operator.MEMBER_OF, Operator.NOT_MEMBER_OF),
}
BOOLEAN_VALUES: Mapping[str, bool] = {
    "managed": True,
    "true": True,
    "unmanaged": False,
    "false": False,
}


class Inventory(StrEnum):
    """Which inventory a smart group is over."""

    COMPUTERS = "computers"
    MOBILE_DEVICES = "mobile devices"


_COMPUTERS = frozenset({Inventory.COMPUTERS})
_MOBILE = frozenset({Inventory.MOBILE_DEVICES})
_BOTH = _COMPUTERS | _MOBILE


class Field(NamedTuple):
    """A criterion that can be chosen, under Jamf Pro's name for it."""

    name: str
    family: Family
    inventories: frozenset[Inventory] = _BOTH
    help: str = ""


FIELDS: tuple[Field, ...] = (
    Field("Computer Name", Family.TEXT, _COMPUTERS),
    Field("Display Name", Family.TEXT, _MOBILE),
    Field("Serial Number", Family.TEXT),
    Field("Model", Family.TEXT),
    Field("Operating System Version", Family.VERSION, _COMPUTERS),
    Field("OS Version", Family.VERSION, _MOBILE),
    Field("Managed", Family.BOOLEAN),
    Field("Site", Family.TEXT),
    Field("Building", Family.TEXT),
    Field("Department", Family.TEXT),
    Field("Last Reported IP Address", Family.TEXT, _COMPUTERS),
    Field("IP Address", Family.TEXT, _MOBILE),
    Field("Username", Family.TEXT),
    Field("Full Name", Family.TEXT),
    Field("Email Address", Family.TEXT),
    Field("Position", Family.TEXT),
    Field("Room", Family.TEXT),
    Field("Phone Number", Family.TEXT),
    Field("Computer Group", Family.GROUP, _COMPUTERS),
    Field("Mobile Device Group", Family.GROUP, _MOBILE),
    Field(
        "Directory group",
        Family.DIRECTORY_GROUP,
        help="Looks at the assigned user, not at the user who is logged in.",
    ),
    Field("Last Inventory Update", Family.DATE),
)
_FIELDS_BY_NAME = {fold(each.name): each for each in FIELDS}


def fields_for(inventory: Inventory) -> tuple[Field, ...]:
    return tuple(each for each in FIELDS if inventory in each.inventories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One line of a smart group, as Jamf Pro's API carries it.

    A group criterion binds by `device_group`, a key that tells smart and static groups
    apart, a directory group by `ref`; `value` is then
    only the name last known.
    """

    name: str
    search_type: str
    value: str = ""
    priority: int = 0
    and_or: str = "and"
    opening_paren: bool = False
    closing_paren: bool = False
    device_group: str = ""
    ref: ObjectRef | None = None
    nested: bool = True


class Problem(NamedTuple):
    """What is wrong with one criterion: its place, the part, and a sentence."""

    position: int
    part: str
    message: str


class CriteriaError(ValueError):
    """The criteria cannot be used; `problems` says why, one by one."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class PatternRefused(ValueError):
    """A regular expression is wrong, or could take too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A value that is not known, and why."""

    reason: str


Value: TypeAlias = str | bool | datetime | Unknown | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceValues:
    """What criteria may look at.

    `values` goes by field name; None is known to be empty, a missing one is unknown.
    `groups` holds smart and static groups by key; a missing one is unknown.
    """

    name: str
    values: Mapping[str, Value] = field(default_factory=dict)
    groups: Mapping[str, Verdict] = field(default_factory=dict)
    assigned: Principal = field(default_factory=NeverReported)
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Test:
    """A checked criterion, ready to be evaluated."""

    __test__ = False  # not a test case of pytest's

    criterion: Criterion
    field: Field
    operator: Operator
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Parts joined from left to right; each word joins a part with all before it."""

    parts: tuple[Test | Run, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Criteria:
    """Criteria that were checked. Without any: all managed devices."""

    inventory: Inventory
    tree: Run | None
    tests: tuple[Test, ...] = ()

    @property
    def device_groups(self) -> frozenset[str]:
        """The groups that must be calculated before this one."""
        tests = [test for test in self.tests if test.field.family is Family.GROUP]
        return frozenset(test.criterion.device_group for test in tests)

    @property
    def directory_refs(self) -> frozenset[ObjectRef]:
        family = Family.DIRECTORY_GROUP
        tests = [test for test in self.tests if test.field.family is family]
        refs = (test.criterion.ref for test in tests)
        return frozenset(each for each in refs if each is not None)


class CircularGroups(ValueError):
    """Smart groups rely on one another in a circle; `circle` holds their keys."""

    def __init__(self, circle: Sequence[str]) -> None:
        super().__init__("These smart groups rely on one another.")
        self.circle = tuple(circle)


def calculation_order(relies_on: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The groups, each after those it relies on. Raises CircularGroups."""
    try:
        return tuple(TopologicalSorter(relies_on).static_order())
    except CycleError as error:
        raise CircularGroups(error.args[1]) from error


def parse(criteria: Iterable[Criterion], *, inventory: Inventory) -> Criteria:
    """Check criteria and build what evaluates them.

    Raises CriteriaError with every problem found.
    """
    ordered = sorted(criteria, key=lambda each: each.priority)
    problems = _check_order(ordered)
    tests: list[Test] = []
    for position, criterion in enumerate(ordered):
        checked = _check(criterion, position, inventory)
        if isinstance(checked, Test):
            tests.append(checked)
        else:
            problems.append(checked)
    problems += _check_parentheses(ordered)
    if problems:
        raise CriteriaError(sorted(problems))
    tree = _build(tests) if tests else None
    return Criteria(inventory, tree, tuple(tests))


def _check_order(ordered: Sequence[Criterion]) -> list[Problem]:
    problems = []
    for position, criterion in enumerate(ordered):
        if criterion.priority != position:
            problems.append(
                Problem(
                    position,
                    "priority",
                    f"{_nth(position, criterion)} has the priority"
                    f" {criterion.priority}; it must be {position}, because priorities"
                    " count from 0 without gaps.",
                )
            )
        if criterion.and_or not in {"and", "or"}:
            problems.append(
                Problem(
                    position,
                    "and_or",
                    f"{_nth(position, criterion)} is joined with"
                    f" '{criterion.and_or}'; use 'and' or 'or'.",
                )
            )
    return problems


def _check_parentheses(ordered: Sequence[Criterion]) -> list[Problem]:
    opened: list[int] = []
    for position, criterion in enumerate(ordered):
        if criterion.opening_paren:
            opened.append(position)
        if criterion.closing_paren:
            if not opened:
                return [
                    Problem(
                        position,
                        "closing_paren",
                        f"{_nth(position, criterion)} closes a parenthesis that was"
                        " not opened.",
                    )
                ]
            opened.pop()
    return [
        Problem(
            position,
            "opening_paren",
            f"{_nth(position, ordered[position])} opens a parenthesis that is not"
            " closed.",
        )
        for position in opened
    ]


def _nth(position: int, criterion: Criterion) -> str:
    return f"Criterion {position + 1} ({criterion.name or 'without a name'})"


def _check(criterion: Criterion, position: int, inventory: Inventory) -> Test | Problem:
    start = _nth(position, criterion)
    chosen = _FIELDS_BY_NAME.get(fold(criterion.name))
    if chosen is None:
        return Problem(position, "name", f"{start} is not a criterion of this console.")
    if inventory not in chosen.inventories:
        return Problem(position, "name", f"{start} does not apply to {inventory}.")
    try:
        operator = Operator(criterion.search_type)
    except ValueError:
        operator = None
    if operator is None or operator not in OPERATORS[chosen.family]:
        allowed = ", ".join(OPERATORS[chosen.family])
        return Problem(
            position,
            "search_type",
            f"{start} cannot use '{criterion.search_type}'; it takes: {allowed}.",
        )
    if len(criterion.value) > VALUE_LIMIT:
        return Problem(
            position,
            "value",
            f"{start} has a value of {len(criterion.value)} characters; at most"
            f" {VALUE_LIMIT} are allowed.",
        )
    try:
        return _with_value(criterion, chosen, operator)
    except ValueError as error:
        return Problem(position, "value", f"{start}: {error}")


def _with_value(criterion: Criterion, chosen: Field, operator: Operator) -> Test:
    """Raises ValueError, in words, for a value that the operator cannot use."""
    value = criterion.value.strip()
    if chosen.family is Family.DIRECTORY_GROUP and criterion.ref is None:
        raise ValueError("choose a directory group.")
    if chosen.family is Family.GROUP and not criterion.device_group:
        raise ValueError("choose a group.")
    if chosen.family is Family.BOOLEAN and fold(value) not in BOOLEAN_VALUES:
        raise ValueError("the value must be Managed or Unmanaged.")
    if operator in _PATTERNS:
        return Test(criterion, chosen, operator, check_pattern(criterion.value))
    if operator in _ORDER and version_key(value) is None:
        raise ValueError(f"'{value}' is not a version, such as 14.6.1.")
    if operator in _DAYS_AGO:
        _days(value)
    elif chosen.family is Family.DATE:
        _date(value)
    return Test(criterion, chosen, operator)


def _days(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= 36_500):
        raise ValueError(f"'{value}' is not a number of days from 0 to 36500.")
    return int(value)


def _date(value: str) -> date:
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise ValueError(f"'{value}' is not a date, such as 2026-11-23.") from error


def version_key(text: str) -> tuple[int, ...] | None:
    """A version as numbers, so that 14.10 comes after 14.9 and 14.0 equals 14.

    A build in parentheses is left out. None when it is not a version.
    """
    bare = re.sub(r"\s*\([^()]*\)\s*$", "", text.strip())
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}", bare):
        return None
    numbers = [int(each) for each in bare.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def check_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression that cannot take long; case does not count.

    Python's engine has no time limit, so patterns are held small instead: 255
    characters on texts of at most 255; no look-around, back-reference, inline flag or
    repeat within a repeat; and a budget for open choices. An open repeat, and the
    search for a beginning where the pattern has no ^ before it, count 6 each; an
    optional part or an alternative counts 1; all together at most 18.

    Raises PatternRefused, in words.
    """
    if len(pattern) > VALUE_LIMIT:
        raise PatternRefused(
            f"the regular expression is longer than {VALUE_LIMIT} characters."
        )
    scanner = _PatternScanner(pattern)
    cost = scanner.alternatives()
    if not pattern.startswith("^") or scanner.top_level_bars:
        cost += OPEN_REPEAT
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternRefused(f"this is not a regular expression: {error}.") from error
    if cost > PATTERN_BUDGET:
        raise PatternRefused(
            "the regular expression has too many repeats and alternatives; use fewer,"
            " or begin it with ^."
        )
    return compiled


class _PatternScanner:
    """Adds up the choices of a pattern; what is malformed is left to `re`."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.top_level_bars = 0

    def alternatives(self, depth: int = 0) -> int:
        """The cost of everything up to the parenthesis that closes this level."""
        if depth > 20:
            raise PatternRefused("the regular expression is nested too deeply.")
        cost = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == ")":
                break
            if char == "|":
                cost += 1
                self.top_level_bars += depth == 0
                continue
            cost += self._repeated(self._atom(char, depth))
        return cost

    def _atom(self, char: str, depth: int) -> int:
        if char == "(":
            if self._take("?") and not self._take(":"):
                raise PatternRefused(
                    "parentheses that begin with (? are not allowed, except (?:."
                )
            return self.alternatives(depth + 1)
        if char == "[":
            self._skip_set()
        elif char == "\\":
            following = self.text[self.at : self.at + 1]
            if following.isdigit() and following != "0":
                raise PatternRefused("back-references are not allowed.")
            self.at += 1
        return 0

    def _repeated(self, inner: int) -> int:
        found = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}").match(self.text, self.at)
        if found is None:
            return inner
        self.at = found.end()
        self._take("?") or self._take("+")
        sign, least, comma, most = found[0], found[1], found[2], found[3]
        if sign == "?":
            return inner + 1
        low = int(least or 0) if least is not None else 0
        if max(low, int(most or 0)) > VALUE_LIMIT:
            raise PatternRefused(f"a repeat may count to {VALUE_LIMIT} at most.")
        if sign not in "*+" and not comma:
            return inner * low
        if inner:
            raise PatternRefused(
                "a repeat around another repeat or an alternative is not allowed."
            )
        if sign in "*+" or not most:
            return OPEN_REPEAT
        spread = max(1, int(most) - low) + 1
        return min(OPEN_REPEAT, math.ceil(math.log2(spread)))

    def _skip_set(self) -> None:
        self._take("^")
        self._take("]")
        while self.at < len(self.text) and self.text[self.at] != "]":
            if self.text[self.at] == "[" or self.text[self.at : self.at + 2] in {
                "--",
                "&&",
                "||",
                "~~",
            }:
                raise PatternRefused(
                    "inside [ ], write \\[ for a bracket and no sign twice."
                )
            self.at += 2 if self.text[self.at] == "\\" else 1
        self.at += 1

    def _take(self, char: str) -> bool:
        taken = self.text.startswith(char, self.at)
        self.at += taken
        return taken


def _build(tests: Sequence[Test]) -> Run:
    """Nest balanced tests; each level keeps its parts and the words between them."""
    levels: list[tuple[list[Test | Run], list[str]]] = [([], [])]
    for test in tests:
        parts, words = levels[-1]
        if parts:
            words.append(test.criterion.and_or)
        if test.criterion.opening_paren:
            levels.append(([], []))
        levels[-1][0].append(test)
        if test.criterion.closing_paren:
            inner, between = levels.pop()
            levels[-1][0].append(Run(tuple(inner), tuple(between)))
    parts, words = levels[0]
    return Run(tuple(parts), tuple(words))


def evaluate(
    criteria: Criteria, device: DeviceValues, directory: Directory, *, now: datetime
) -> Verdict:
    """The verdict alone: what `derive` says at its root, without the words."""
    if criteria.tree is None:
        return _managed(device)
    return _run_verdict(criteria.tree, device, directory, now)


def derive(
    criteria: Criteria, device: DeviceValues, directory: Directory, *, now: datetime
) -> Derivation:
    """The verdict with all it rests on; the deciding path is marked."""
    if criteria.tree is None:
        return mark_decisive(_managed_derivation(criteria, device))
    root = _run_derivation(criteria.tree, device, directory, now)
    claim = {
        Verdict.IN: f"{device.name} meets the criteria",
        Verdict.OUT: f"{device.name} does not meet the criteria",
        Verdict.UNKNOWN: f"Whether {device.name} meets the criteria is not known",
    }[root.verdict]
    if root.joined is Joined.FACT or not root.children:
        root = all_of("", [root])
    return mark_decisive(replace(root, claim=claim))


def _managed(device: DeviceValues) -> Verdict:
    value = device.values.get("Managed", Unknown(reason="never reported"))
    return Verdict.of(value) if isinstance(value, bool) else Verdict.UNKNOWN


def _managed_derivation(criteria: Criteria, device: DeviceValues) -> Derivation:
    verdict = _managed(device)
    claim = {
        Verdict.IN: f"{device.name} is managed",
        Verdict.OUT: f"{device.name} is not managed",
        Verdict.UNKNOWN: f"Whether {device.name} is managed is not known",
    }[verdict]
    return Derivation(
        claim=claim,
        verdict=verdict,
        fact=f"Without criteria the group holds all managed {criteria.inventory}",
        as_of=device.as_of,
        turn_in=f"Manage {device.name}",
        turn_out=f"Stop managing {device.name}",
        settle=f"Wait until {device.name} updates its inventory",
    )


def _run_verdict(
    part: Test | Run, device: DeviceValues, directory: Directory, now: datetime
) -> Verdict:
    if isinstance(part, Test):
        return _test(part, device, directory, now)[0]
    result = _run_verdict(part.parts[0], device, directory, now)
    for word, following in zip(part.words, part.parts[1:], strict=True):
        verdict = _run_verdict(following, device, directory, now)
        result = result & verdict if word == "and" else result | verdict
    return result


def _run_derivation(
    part: Test | Run, device: DeviceValues, directory: Directory, now: datetime
) -> Derivation:
    if isinstance(part, Test):
        return _test_derivation(part, device, directory, now)
    so_far = [_run_derivation(part.parts[0], device, directory, now)]
    word = "and"
    for following_word, following in zip(part.words, part.parts[1:], strict=True):
        if following_word != word and len(so_far) > 1:
            so_far = [_joined(word, so_far)]
        word = following_word
        so_far.append(_run_derivation(following, device, directory, now))
    return so_far[0] if len(so_far) == 1 else _joined(word, so_far)


def _joined(word: str, children: Sequence[Derivation]) -> Derivation:
    verdicts = [child.verdict for child in children]
    if word == "and":
        claim = {
            Verdict.IN: "All of these hold",
            Verdict.OUT: "Not all of these hold",
            Verdict.UNKNOWN: "Whether all of these hold is not known",
        }[conjunction(verdicts)]
        return all_of(claim, children)
    claim = {
        Verdict.IN: "At least one of these holds",
        Verdict.OUT: "None of these holds",
        Verdict.UNKNOWN: "Whether one of these holds is not known",
    }[disjunction(verdicts)]
    return any_of(claim, children)


class _Found(NamedTuple):
    verdict: Verdict
    fact: str
    as_of: datetime | None = None
    link: Link | None = None
    turn_in: str = ""
    turn_out: str = ""
    settle: str = ""
    claim: str = ""


def _test(
    test: Test, device: DeviceValues, directory: Directory, now: datetime
) -> _Found:
    positive = _NEGATIONS.get(test.operator)
    if positive is None:
        return _positive(test, device, directory, now)
    found = _positive(replace(test, operator=positive), device, directory, now)
    return found._replace(
        verdict=~found.verdict, turn_in=found.turn_out, turn_out=found.turn_in
    )


def _positive(
    test: Test, device: DeviceValues, directory: Directory, now: datetime
) -> _Found:
    criterion = test.criterion
    if criterion.ref is not None and test.field.family is Family.DIRECTORY_GROUP:
        judged = judge_membership(
            criterion.ref,
            device.assigned,
            directory,
            nested=criterion.nested,
            assigned=True,
        )
        return _Found(
            verdict=judged.verdict,
            fact=judged.fact,
            as_of=judged.as_of,
            link=judged.link,
            turn_in=judged.turn_in,
            turn_out=judged.turn_out,
            settle=judged.settle,
            claim=judged.claim,
        )
    if test.field.family is Family.GROUP:
        return _group(criterion, criterion.device_group, device)
    value = device.values.get(test.field.name, Unknown(reason="It was never reported"))
    if isinstance(value, Unknown):
        return _Found(
            Verdict.UNKNOWN, value.reason, settle=f"Find out the {test.field.name}"
        )
    verdict = _compare(test, value, now)
    shown = "empty" if value in (None, "") else _shown(value)
    return _Found(
        verdict,
        f"{test.field.name} is {shown}",
        as_of=device.as_of,
        turn_in=f"Let {_words(test)} be true",
        turn_out=f"Let {_words(test)} no longer be true",
        settle=f"Let {test.field.name} be a value that can be compared",
    )


def _group(criterion: Criterion, key: str, device: DeviceValues) -> _Found:
    verdict = device.groups.get(key, Verdict.UNKNOWN)
    known = key in device.groups
    return _Found(
        verdict,
        f"Members of {criterion.value}"
        if known
        else f"{criterion.value} has not been calculated for this device",
        as_of=device.as_of if known else None,
        link=Link("device_group", key),
        turn_in=f"Let {device.name} become a member of {criterion.value}",
        turn_out=f"Let {device.name} no longer be a member of {criterion.value}",
        settle=f"Settle whether {device.name} is a member of {criterion.value}",
    )


def _shown(value: Value) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, bool):
        return "Managed" if value else "Unmanaged"
    return str(value)


def _words(test: Test) -> str:
    inner = " (nested)" if test.criterion.nested else " (direct)"
    nested = inner if test.field.family is Family.DIRECTORY_GROUP else ""
    value = test.criterion.value or "empty"
    return f"{test.field.name} {test.operator} {value}{nested}"


def _test_derivation(
    test: Test, device: DeviceValues, directory: Directory, now: datetime
) -> Derivation:
    found = _test(test, device, directory, now)
    claim = {
        Verdict.IN: f"{_words(test)}: true",
        Verdict.OUT: f"{_words(test)}: false",
        Verdict.UNKNOWN: f"{_words(test)}: not known",
    }[found.verdict]
    fact = f"{found.claim}. {found.fact}" if found.claim else found.fact
    return Derivation(
        claim=claim,
        verdict=found.verdict,
        fact=fact,
        as_of=found.as_of,
        link=found.link,
        turn_in=found.turn_in,
        turn_out=found.turn_out,
        settle=found.settle,
    )


def _compare(test: Test, value: str | bool | datetime | None, now: datetime) -> Verdict:
    wanted = test.criterion.value
    if test.field.family is Family.BOOLEAN:
        if not isinstance(value, bool):
            return Verdict.UNKNOWN
        return Verdict.of(BOOLEAN_VALUES[fold(wanted)] is value)
    if test.field.family is Family.DATE:
        if not isinstance(value, datetime):
            return Verdict.OUT if value is None else Verdict.UNKNOWN
        return Verdict.of(_compare_dates(test.operator, value, wanted.strip(), now))
    text = _shown(value) if value is not None else ""
    if test.operator in _ORDER:
        return _compare_versions(test.operator, text, wanted)
    if test.pattern is not None:
        if len(text) > SUBJECT_LIMIT:
            return Verdict.UNKNOWN
        return Verdict.of(test.pattern.search(text) is not None)
    if test.operator is Operator.LIKE:
        return Verdict.of(fold(wanted) in fold(text))
    if test.field.family is Family.VERSION and text:
        known, asked = version_key(text), version_key(wanted)
        if known is not None and asked is not None:
            return Verdict.of(known == asked)
    return Verdict.of(_same_text(text, wanted))


def _same_text(text: str, wanted: str) -> bool:
    if fold(text) == fold(wanted):
        return True
    try:
        return ipaddress.ip_address(text) == ipaddress.ip_address(wanted)
    except ValueError:
        return False


def _compare_versions(operator: Operator, text: str, wanted: str) -> Verdict:
    if not text:
        return Verdict.OUT
    known, asked = version_key(text), version_key(wanted)
    if known is None or asked is None:
        return Verdict.UNKNOWN
    return Verdict.of(_ORDER[operator]((known > asked) - (known < asked)))


def _compare_dates(
    operator: Operator, value: datetime, wanted: str, now: datetime
) -> bool:
    """Dates are days in UTC; 'x days ago' counts hours back from now."""
    if operator is Operator.BEFORE:
        return value.astimezone(UTC).date() < _date(wanted)
    if operator is Operator.AFTER:
        return value.astimezone(UTC).date() > _date(wanted)
    limit = now - timedelta(days=_days(wanted))
    return value < limit if operator is Operator.MORE_THAN_DAYS_AGO else value > limit
