"""What is aimed at, and how a measurement is judged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio that is to be at most `reach`, and better at most `stretch`.

    Goals of one number are parts of it, told apart by `key`.
    """

    number: int
    key: str
    name: str
    reach: float
    stretch: float
    unit: str = "x"
    # The other way round: as much as possible.
    at_least: bool = False
    # Of one database alone.
    database: str = ""

    def verdict(self, ratio: float) -> str:
        if self._is_met(ratio, self.stretch):
            return "stretch"
        return "reach" if self._is_met(ratio, self.reach) else "short"

    def _is_met(self, ratio: float, limit: float) -> bool:
        return ratio >= limit if self.at_least else ratio <= limit


GOALS = (
    Goal(
        number=1,
        key="fetch",
        name="fetch and parse people / http.client + orjson",
        reach=1.6,
        stretch=1.2,
    ),
    Goal(
        number=2,
        key="sdk",
        name="msgraph-sdk, a page / the console's client, a page",
        reach=1000,
        stretch=2000,
        at_least=True,
    ),
    Goal(
        number=3,
        key="initial",
        name="initial sync / floor of fetch, parse and insert",
        reach=2.0,
        stretch=1.4,
    ),
    Goal(
        number=4,
        key="unchanged",
        name="full resync without changes / floor of fetch and parse",
        reach=6,
        stretch=3.5,
    ),
    Goal(
        number=4,
        key="unchanged-rows",
        name="directory rows written by a full resync without changes",
        reach=0,
        stretch=0,
        unit="rows",
    ),
    Goal(
        number=5,
        key="ten",
        name="delta of 10 changes / full resync without changes",
        reach=1,
        stretch=0.3,
        unit="%",
    ),
    Goal(
        number=6,
        key="hundredth",
        name="delta of 1 % / full resync without changes",
        reach=20,
        stretch=8,
        unit="%",
    ),
    Goal(
        number=7,
        key="slow-unchanged",
        name="full resync without changes at 20 ms a page / longest chain",
        reach=1.35,
        stretch=1.1,
    ),
    Goal(
        number=7,
        key="slow-initial",
        name="initial sync at 20 ms a page / longest chain",
        reach=1.7,
        stretch=1.3,
    ),
    Goal(
        number=8,
        key="peak",
        name="peak memory of an initial sync",
        reach=250,
        stretch=150,
        unit="MB",
    ),
    Goal(
        number=8,
        key="peak-growth",
        name="peak memory of an initial sync / that of a tenth of the people",
        reach=3,
        stretch=2,
    ),
    Goal(
        number=9,
        key="closure",
        name="rebuild of closure and bitmaps / floor of fetch and parse",
        reach=0.2,
        stretch=0.08,
    ),
    Goal(
        number=10,
        key="bytes",
        name="stored for one direct membership",
        reach=55,
        stretch=28,
        unit="bytes",
        database="sqlite",
    ),
    Goal(
        number=10,
        key="bytes",
        name="stored for one direct membership",
        reach=100,
        stretch=90,
        unit="bytes",
        database="postgres",
    ),
    Goal(
        number=20,
        key="search",
        name="search of a rare text / scan by icontains",
        reach=0.05,
        stretch=0.01,
    ),
    Goal(
        number=21,
        key="depth",
        name="list page at 99.9 % / first page",
        reach=1.5,
        stretch=1.1,
    ),
    Goal(
        number=22,
        key="growth-initial",
        name="growth of the initial sync / growth of the directory",
        reach=1.6,
        stretch=1.2,
    ),
    Goal(
        number=22,
        key="growth-closure",
        name="growth of the closure / growth of the directory",
        reach=1.6,
        stretch=1.2,
    ),
    Goal(
        number=23,
        key="equal",
        name="groups whose bitmap = closure in SQL = recursive CTE",
        reach=100,
        stretch=100,
        unit="%",
        at_least=True,
    ),
)
NUMBERS = sorted({goal.number for goal in GOALS})


@dataclass(frozen=True, slots=True)
class Result:
    """A goal and what was measured."""

    goal: Goal
    ratio: float

    def as_json(self) -> dict[str, Any]:
        return {
            "goal": self.goal.number,
            "name": self.goal.name,
            "ratio": round(self.ratio, 4),
            "reach": self.goal.reach,
            "stretch": self.goal.stretch,
            "unit": self.goal.unit,
            "verdict": self.goal.verdict(self.ratio),
        }


def judged(measured: dict[str, float], database: str) -> list[Result]:
    """Return the goals of which something was measured, in their order."""
    return [
        Result(goal, measured[goal.key])
        for goal in GOALS
        if goal.key in measured and goal.database in ("", database)
    ]


def table(results: Sequence[Result]) -> Iterable[str]:
    """Write results as the lines of a table, which is Markdown as well."""
    yield "| # | goal | measured | reach | stretch | verdict |"
    yield "|---|---|---|---|---|---|"
    for each in results:
        goal = each.goal
        sign = "≥" if goal.at_least else "≤"
        unit = "" if goal.unit == "x" else f" {goal.unit}"
        yield (
            f"| {goal.number} | {goal.name} | {_said(each.ratio)}{unit} "
            f"| {sign} {goal.reach:g} | {sign} {goal.stretch:g} "
            f"| {goal.verdict(each.ratio)} |"
        )


def _said(number: float) -> str:
    if number >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.2f}" if number >= 0.1 else f"{number:.3f}"
