"""Microsoft's own recordings and documented examples, replayed through the client.

They are not part of the project. CONFORMANCE_DIR names a folder with
`examples/index.json` and the files that it lists; `make conformance
CONFORMANCE=folder` runs this and says what could not be replayed, and why.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.directory.entra.recordings import (
    REPLAYED,
    NotReplayed,
    Recording,
    delta_sequences,
    replay,
    replay_rounds,
)

FOLDER = os.environ.get("CONFORMANCE_DIR", "")
NO_FOLDER = "CONFORMANCE_DIR names no folder of examples"


def recordings() -> list[Recording]:
    if not FOLDER:
        return []
    examples = Path(FOLDER) / "examples"
    return [
        Recording.from_json(json.loads((examples / case["file"]).read_text()))
        for case in json.loads((examples / "index.json").read_text())
    ]


def sequences() -> list[Any]:
    return [
        pytest.param(rounds, id=name)
        for name, rounds in delta_sequences(recordings()).items()
    ]


NOTHING = [pytest.param(None, marks=pytest.mark.skip(reason=NO_FOLDER), id="none")]


@pytest.mark.parametrize(
    "recording",
    [pytest.param(each, id=each.name) for each in recordings()] or NOTHING,
)
def test_a_recording_means_to_the_client_what_microsoft_means_by_it(
    recording: Recording, request: pytest.FixtureRequest
) -> None:
    try:
        said = replay(recording)
    except NotReplayed as why:
        pytest.skip(f"{recording.name} was not replayed: {why}")
    request.node.user_properties.append((REPLAYED, f"{recording.name}: {said}"))


@pytest.mark.parametrize("rounds", sequences() or NOTHING)
def test_a_delta_sequence_leaves_behind_what_microsoft_says(
    rounds: list[list[Recording]], request: pytest.FixtureRequest
) -> None:
    seen, pages = replay_rounds(rounds)

    assert pages == sum(map(len, rounds))
    request.node.user_properties.append(
        (
            REPLAYED,
            f"{rounds[0][0].sequence}: {len(rounds)} rounds of {pages} pages leave "
            f"{len(seen.names)} objects, {len(seen.removed)} removed",
        )
    )
