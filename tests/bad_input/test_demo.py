"""The demo's processes: taken ports, a second start, a killed demo, a killed worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jamfidp.demo import processes
from jamfidp.demo.processes import Installation

SECONDS = 20
SLEEPER = [sys.executable, "-c", "import time; time.sleep(120)"]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return processes.prepare(tmp_path, processes.free_ports())


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def alive(pid: int) -> bool:
    """Whether it still runs; what ended and waits for its parent does not."""
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start(installation: Installation, command: list[str], name: str = "worker") -> int:
    processes._start(installation, name, command, lambda: True)
    return installation.running[name].pid


def forget(installation: Installation, name: str = "worker") -> None:
    """Wait for what ended, as init does once the demo itself is gone."""
    installation.running.pop(name).wait(timeout=SECONDS)


def test_a_second_demo_in_the_folder_is_told_where_the_first_one_is(
    installation: Installation,
) -> None:
    with (
        processes.sole_use(installation.folder),
        pytest.raises(processes.InUse) as refused,
        processes.sole_use(installation.folder),
    ):
        pass

    assert installation.console_url in str(refused.value)
    assert f"process {os.getpid()}" in str(refused.value)
    with processes.sole_use(installation.folder):
        pass


def test_what_a_killed_demo_left_running_is_found_and_ended(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 1)
    stubborn = (
        "import signal, subprocess, sys, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'],"
        " close_fds=False).pid, flush=True); time.sleep(120)"
    )
    leader = start(installation, [sys.executable, "-c", stubborn])
    log = installation.log("worker")
    assert until(lambda: log.read_text().strip().isdecimal())
    child = int(log.read_text())

    assert processes.leftovers(installation.folder) == {"worker": leader}
    with pytest.raises(processes.DidNotStart, match=f"still runs .process {leader}"):
        start(installation, SLEEPER)
    processes.end_leftovers(installation.folder)

    forget(installation)
    assert processes.leftovers(installation.folder) == {}
    assert not alive(leader)
    assert until(lambda: not alive(child))


def test_a_number_that_belongs_to_somebody_else_now_is_left_alone(
    installation: Installation,
) -> None:
    start(installation, [sys.executable, "-c", "pass"])
    forget(installation)
    stranger = subprocess.Popen(SLEEPER)
    try:
        (installation.folder / "running" / "worker").write_text(str(stranger.pid))

        assert processes.leftovers(installation.folder) == {}
        processes.end_leftovers(installation.folder)

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_children_that_outlive_a_killed_process_are_ended_with_it(
    installation: Installation,
) -> None:
    parent = (
        "import subprocess, sys, time;"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])"
        ".pid, flush=True); time.sleep(120)"
    )
    leader = start(installation, [sys.executable, "-c", parent])
    log = installation.log("worker")
    assert until(lambda: log.read_text().strip().isdecimal())
    child = int(log.read_text())
    os.kill(leader, signal.SIGKILL)
    assert until(lambda: not alive(leader))
    assert alive(child)

    processes.stop(installation, "worker")

    assert until(lambda: not alive(child))


def test_a_process_that_ends_at_once_is_reported_with_its_own_log_alone(
    installation: Installation,
) -> None:
    installation.log("worker").write_text("what an earlier start wrote\n")

    with pytest.raises(processes.DidNotStart) as refused:
        processes._start(
            installation,
            "worker",
            [sys.executable, "-c", "raise SystemExit('no memory left')"],
            lambda: False,
        )

    assert "The worker did not start" in str(refused.value)
    assert "no memory left" in str(refused.value)
    assert "earlier start" not in str(refused.value)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_somebody_listens_on_is_not_free(
    family: socket.AddressFamily,
) -> None:
    with socket.socket(family) as taken:
        try:
            taken.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        except OSError:
            pytest.skip("This machine has no IPv6 on loopback.")
        taken.listen()
        port = taken.getsockname()[1]

        assert not processes.is_free(port)
    assert processes.is_free(port)


def test_keys_and_password_of_a_folder_are_made_once(
    installation: Installation,
) -> None:
    before = (installation.folder / "env").read_text().splitlines()[:2]
    password = installation.administrator_password

    again = processes.prepare(installation.folder, processes.free_ports())

    assert (again.folder / "env").read_text().splitlines()[:2] == before
    assert again.administrator_password == password
    assert again.console_url != installation.console_url
    assert again.environment()["CONSOLE_URL"] == again.console_url
