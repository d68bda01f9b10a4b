"""A console that cannot start says so in one sentence, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CHECK = (sys.executable, "manage.py", "check")
WEB_SERVER = (sys.executable, "-m", "gunicorn", "--check-config", "jamfidp.wsgi")
WORKER = (sys.executable, "-m", "celery", "--app=jamfidp", "report")
SANDBOX = {
    "ENTRA_SANDBOX_URL": "https://127.0.0.1:8443",
    "ENTRA_SANDBOX_CA_FILE": "ca.pem",
}


def start(
    tmp_path: Path, /, *command: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "VAR_DIR": str(tmp_path / "var"),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'console.sqlite3'}",
        **settings,
    }
    return subprocess.run(
        command or CHECK,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SECRET_KEY": ""}, "Set it in the environment or in .env"),
        ({"CONSOLE_URL": "http://console.example"}, "has to be an https address"),
        (
            SANDBOX | {"ENTRA_SANDBOX_URL": "https://10.0.0.5:8443"},
            "is not on this machine",
        ),
    ],
    ids=["no secret key", "plain http", "a sandbox elsewhere"],
)
def test_a_setting_that_cannot_be_is_said_without_a_traceback(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    ended = start(tmp_path, **settings)

    assert ended.returncode == 1
    assert "The console cannot start." in ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", [CHECK, WEB_SERVER, WORKER], ids=lambda c: c[2])
def test_a22_no_process_of_a_console_in_production_starts_with_a_sandbox(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    production = {"CONSOLE_URL": "https://console.example.com"}

    ended = start(tmp_path, *command, **production, **SANDBOX)

    assert ended.returncode != 0
    assert "this console is in production" in ended.stdout + ended.stderr


PLAIN = {
    "database": (
        {"DATABASE_URL": "postgres://console:canary@db.example.com/console"},
        "The database at db.example.com is reached without TLS",
    ),
    "broker": (
        {"BROKER_URL": "redis://:canary@broker.example.com:6379/0"},
        "The message broker at broker.example.com is reached without TLS",
    ),
}


@pytest.mark.parametrize(
    ("what", "command"),
    [("database", CHECK), ("database", WEB_SERVER), ("broker", WORKER)],
    ids=["database of a command", "database of the web server", "broker of a worker"],
)
def test_no_process_of_a_console_in_production_starts_with_a_plain_connection(
    tmp_path: Path, what: str, command: tuple[str, ...]
) -> None:
    settings, says = PLAIN[what]

    ended = start(
        tmp_path, *command, CONSOLE_URL="https://console.example.com", **settings
    )

    assert ended.returncode != 0
    assert says in ended.stdout + ended.stderr
    assert "canary" not in ended.stdout + ended.stderr


def test_a_console_on_this_machine_starts_with_plain_connections(
    tmp_path: Path,
) -> None:
    settings = PLAIN["database"][0] | PLAIN["broker"][0]

    ended = start(tmp_path, sys.executable, "manage.py", "diffsettings", **settings)

    assert ended.returncode == 0, ended.stderr


def test_a_proxy_that_cannot_be_used_is_said_without_its_password(
    tmp_path: Path,
) -> None:
    """Named by a file, as container platforms hand secrets over."""
    file = tmp_path / "proxy"
    file.write_text("socks5://operator:canary@proxy.example.com:1080")

    ended = start(tmp_path, HTTPS_PROXY_FILE=str(file), OUTGOING_CA_FILE="missing.pem")

    assert ended.returncode == 1
    assert "HTTPS_PROXY is not the http or https address of a proxy" in ended.stderr
    assert "OUTGOING_CA_FILE cannot be read" in ended.stderr
    assert "canary" not in ended.stdout + ended.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file in its place")

    ended = start(tmp_path)

    assert ended.returncode == 1
    assert f"It cannot write to {tmp_path / 'var'}" in ended.stderr
    assert "VAR_DIR" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("keys", ["", "broken", "id:bm90IDMyIGJ5dGVz"])
def test_a_console_without_a_usable_key_starts(tmp_path: Path, keys: str) -> None:
    ended = start(tmp_path, ENCRYPTION_KEYS=keys)

    assert ended.returncode == 0, ended.stderr
