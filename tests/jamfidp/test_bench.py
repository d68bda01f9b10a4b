"""How the bench judges what it measures. `make check` runs the bench itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.management import CommandError, call_command

from directory.sync import run as sync_run
from directory.sync import stage as sync_stage
from jamfidp.bench import costs, goals
from jamfidp.bench.run import Bench


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.2, "stretch"), (1.21, "reach"), (1.61, "short")]
)
def test_a_ratio_is_judged_by_its_limits(ratio: float, verdict: str) -> None:
    assert goals.judged({"fetch": ratio}, "sqlite")[0].as_json()["verdict"] == verdict


def test_what_is_to_be_much_is_judged_the_other_way_round() -> None:
    found = [
        goals.judged({"sdk": ratio}, "sqlite")[0].as_json()["verdict"]
        for ratio in (2000, 1000, 999)
    ]
    assert found == ["stretch", "reach", "short"]


def test_each_database_has_its_own_limit_for_what_is_stored() -> None:
    reach = {
        kind: [each.goal.reach for each in goals.judged({"bytes": 60}, kind)]
        for kind in ("sqlite", "postgres")
    }
    assert reach == {"sqlite": [55], "postgres": [100]}


def test_the_file_holds_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(bench: Bench) -> None:
        bench.measured |= {"fetch": 1.25, "closure": 0.01}

    monkeypatch.setattr(Bench, "run", measure)
    monkeypatch.setattr("jamfidp.bench.consoles.SqliteDatabases", lambda _folder: None)
    call_command("bench", "--scale=s", "--only=1", f"--json={tmp_path / 'bench.json'}")
    assert json.loads((tmp_path / "bench.json").read_text()) == [
        {
            "goal": 1,
            "name": "fetch and parse people / http.client + orjson",
            "ratio": 1.25,
            "reach": 1.6,
            "stretch": 1.2,
            "unit": "x",
            "verdict": "reach",
        }
    ]


def test_a_goal_that_there_is_not_is_refused(capsys: Any) -> None:
    with pytest.raises(CommandError, match="goals are 1, 2, 3"):
        call_command("bench", "--scale=s", "--only=1,99")


def test_what_one_promise_costs_inside_another_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, stage = cast(Any, sync_run), cast(Any, sync_stage)
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    def read_again(*_page: Any) -> list[int]:
        spend(2)
        return []

    def plan() -> list[int]:
        spend(1)
        found = list(stage.Pages.of(None))
        stage.entries_of(None)
        spend(4)
        return found

    def pages(*_given: Any) -> Iterator[int]:
        for number in range(3):
            spend(0.5)
            yield number

    monkeypatch.setattr(costs, "perf_counter", lambda: now)
    monkeypatch.setattr(stage, "entries_of", read_again)
    monkeypatch.setattr(stage.Pages, "of", pages)
    monkeypatch.setattr(run, "make_plan", plan)
    counted = costs.Costs()

    with counted.counted():
        spend(8)
        found = run.make_plan()

    assert found == [0, 1, 2]
    assert counted.seconds == {costs.PLAN: 5, costs.STAGING: 3.5}
    assert run.make_plan is plan
    assert stage.Pages.of is pages
