"""One run of the bench: everything is measured beside its floor, in turns."""

import statistics
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from directory.entra.objects import GROUP_PROPERTIES, USER_PROPERTIES
from directory.sandbox.measure import Running
from directory.sandbox.sizes import SCALES, Sizes
from jamfidp.bench.consoles import Databases, sandbox, step
from jamfidp.bench.control import Control
from jamfidp.bench.goals import GOALS
from jamfidp.bench.sdk import page_seconds

Say = Callable[[str], None]
DELAY_MS = 20
ROUNDS = 5
# Of what takes long.
FEW_ROUNDS = 3

# What the client asks for, with the default mappings and those of `synced`.
STARTS = {
    "users": "/v1.0/users/delta?$select="
    + ",".join(
        [
            *USER_PROPERTIES,
            *("city", "department", "jobTitle", "mobilePhone", "officeLocation"),
        ]
    ),
    "groups": "/v1.0/groups/delta?$select=" + ",".join([*GROUP_PROPERTIES, "members"]),
}
_INITIAL = {"initial", "growth-initial", "peak", "peak-growth", "slow-initial"}
_GROWTH = {"peak-growth", "growth-initial", "growth-closure"}
_DELTAS = {"ten", "hundredth"}


def tenth(sizes: Sizes) -> Sizes:
    """Return a directory of a tenth of the people, as far as there are such small ones."""
    known = list(SCALES.values())
    if sizes in known[1:]:
        return known[known.index(sizes) - 1]
    return Sizes(
        users=1_000, groups=120, memberships=max(9_926, sizes.memberships // 10)
    )


@dataclass(slots=True)
class Bench:
    """A bench of one database; `measured` are ratios by the keys of goals."""

    folder: Path
    databases: Databases
    sizes: Sizes
    numbers: Collection[int]
    say: Say
    measured: dict[str, float] = field(default_factory=dict)
    locks: dict[str, float] = field(default_factory=dict)

    @property
    def wanted(self) -> set[str]:
        return {goal.key for goal in GOALS if goal.number in self.numbers}

    def run(self) -> None:
        with sandbox(self.folder / "sandbox", self.sizes) as tenant:
            _Scale(self, tenant, "").run(self.wanted)
            if "sdk" in self.wanted:
                self._sdk(tenant)
        if growth := self.wanted & _GROWTH:
            small = tenth(self.sizes)
            below = replace_measured(self)
            with sandbox(self.folder / "small", small) as tenant:
                _Scale(below, tenant, "a tenth: ").run(_below(growth))
            grown = self.sizes.memberships / small.memberships
            for key, of, by in (
                ("peak-growth", "peak", 1.0),
                ("growth-initial", "initial-seconds", grown),
                ("growth-closure", "closure-seconds", grown),
            ):
                if key in growth:
                    self.measured[key] = self.measured[of] / below.measured[of] / by

    def _sdk(self, tenant: Running) -> None:
        ours = self.measured["page-seconds"]
        theirs = page_seconds(tenant.facts, tenant.token(), STARTS["users"], self.say)
        if theirs is not None:
            self.say(
                f"  msgraph-sdk, a page: {theirs:.2f} s; ours {ours * 1000:.1f} ms"
            )
            self.measured["sdk"] = theirs / ours


def replace_measured(bench: Bench) -> Bench:
    return replace(bench, measured={}, locks={})


def _below(growth: set[str]) -> set[str]:
    """Return what has to be measured of a smaller directory."""
    wanted = {"initial"} if growth & {"peak-growth", "growth-initial"} else set()
    return wanted | ({"closure"} if "growth-closure" in growth else set())


@dataclass(slots=True)
class _Scale:
    """A directory of one size, read by consoles that are made for it."""

    bench: Bench
    tenant: Running
    prefix: str

    def run(self, wanted: set[str]) -> None:
        # The sandbox has its pages ready from now on, for everybody.
        floor = self._step("floor", self.bench.databases.scratch())
        database = ""
        if "slow-initial" in wanted:
            database = self._slow_initial(floor["longest_chain"])
        if wanted & _INITIAL - {"slow-initial"}:
            database = self._initial()
        if steady := self._steady_keys(wanted):
            if not database:
                database = self._first_read()[0]
            self._steady(database, steady, floor["longest_chain"])

    def _first_read(self) -> tuple[str, dict[str, Any]]:
        database = self.bench.databases.fresh()
        return database, self._step("initial", database)

    def _initial(self) -> str:
        database, ours, floors = "", [], []
        for _ in range(FEW_ROUNDS):
            floors.append(self._step("floor", self.bench.databases.scratch()))
            database, taken = self._first_read()
            ours.append(taken)
        counted = {name: f"{count:,}" for name, count in ours[-1]["counted"].items()}
        self._say(", ".join(f"{count} {name}" for name, count in counted.items()))
        measured = self.bench.measured
        seconds = _median(each["seconds"] for each in ours)
        fetch = _median(each["fetch"] for each in floors)
        write = _median(each["write"] for each in floors)
        self._say(f"initial sync {seconds:.2f} s: {_phases(ours[-1]['phases'])}")
        for promise in ours[-1]["costs"]:
            spent = _median(each["costs"][promise] for each in ours)
            self._say(f"of it, {promise} {_said(spent)}")
        self._say(
            f"its floor {fetch + write:.2f} s: fetch {fetch:.2f}, write {write:.2f}"
        )
        measured["initial-seconds"] = seconds
        measured["initial"] = seconds / (fetch + write)
        measured["peak"] = _median(each["peak_mb"] for each in ours)
        self._say(f"peak memory {measured['peak']:.0f} MB")
        self.bench.locks["initial sync"] = max(each["lock"] for each in ours)
        return database

    def _slow_initial(self, longest_chain: float) -> str:
        database, taken = "", []
        with Control(self.tenant.facts).delay(DELAY_MS):
            for _ in range(FEW_ROUNDS):
                database, measured = self._first_read()
                taken.append(measured["seconds"])
        chain = longest_chain * DELAY_MS / 1000
        self._say(
            f"initial sync, slow {_median(taken):.2f} s: longest chain {chain:.2f} s"
        )
        self.bench.measured["slow-initial"] = _median(taken) / chain
        return database

    def _steady_keys(self, wanted: set[str]) -> set[str]:
        keys = wanted - _INITIAL - _GROWTH - _DELTAS - {"sdk"}
        if wanted & _DELTAS:
            keys.add("deltas")
        if "sdk" in wanted:
            keys.add("fetch")
        if "growth-closure" in wanted:
            keys.add("closure")
        return keys

    def _steady(self, database: str, keys: set[str], longest_chain: float) -> None:
        rounds = FEW_ROUNDS if self.bench.sizes.users > 500_000 else ROUNDS
        steady = self._step(
            "steady",
            database,
            wanted=sorted(keys),
            rounds=rounds,
            longest_chain=longest_chain,
            delay_ms=DELAY_MS,
        )
        for what, seconds in steady["said"].items():
            self._say(f"{what} {_said(seconds)}")
        self.bench.measured |= steady["measured"]
        self.bench.locks |= steady["locks"]

    def _step(self, name: str, database: str, **given: Any) -> dict[str, Any]:
        return step(
            name,
            {"starts": STARTS, **given},
            folder=self.bench.folder,
            database=database,
            tenant=self.tenant,
        )

    def _say(self, sentence: str) -> None:
        self.bench.say(f"  {self.prefix}{sentence}")


def _median(values: Any) -> float:
    return float(statistics.median(values))


def _said(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def _phases(phases: list[tuple[str, float]]) -> str:
    return ", ".join(f"{name.lower()} {seconds:.2f}" for name, seconds in phases)
