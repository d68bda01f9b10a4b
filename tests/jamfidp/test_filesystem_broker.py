"""A message is there whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection

from jamfidp import filesystem_broker


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Any]:
    filesystem_broker.install()
    for name in ("messages", "control"):
        (tmp_path / name).mkdir()
    with Connection(
        "filesystem://",
        transport_options={
            "data_folder_in": str(tmp_path / "messages"),
            "data_folder_out": str(tmp_path / "messages"),
            "control_folder": str(tmp_path / "control"),
        },
    ) as connection:
        yield connection.channel()


def test_the_console_uses_this_transport(channel: Any) -> None:
    assert isinstance(channel, filesystem_broker.Channel)


def test_a_message_comes_out_as_it_went_in(channel: Any) -> None:
    channel._put("people", {"body": "é", "n": 1})

    assert channel._get("people") == {"body": "é", "n": 1}
    with pytest.raises(Empty):
        channel._get("people")


def test_a_reader_that_polls_all_the_time_never_meets_half_a_message(
    channel: Any,
) -> None:
    wanted = 400
    writer = threading.Thread(
        target=lambda: [channel._put("people", {"n": n}) for n in range(wanted)]
    )
    seen: list[int] = []

    writer.start()
    while writer.is_alive() or len(seen) < wanted:
        try:
            seen.append(channel._get("people")["n"])
        except Empty:
            continue
    writer.join()

    assert sorted(seen) == list(range(wanted))
