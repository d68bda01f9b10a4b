"""How the bench judges what it measures. `make check` runs the bench itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jamfidp.bench import goals
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
