"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from django.utils import timezone
from xdist.remote import Producer

from directory import clouds
from directory.sync import lines
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from tests.scheduling import BrowserTogether

# The addresses of the suite's console, before a test takes settings of another one.
importlib.import_module(settings.ROOT_URLCONF)

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
SANDBOX = (sys.executable, "manage.py", "entra_sandbox")


def pytest_configure() -> None:
    # Page tests need no hashed file names; the browser tests run the real server with
    # its collected files.
    settings.STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    # The real algorithm with few rounds: each account would cost a third of a second.
    PBKDF2PasswordHasher.iterations = 1000
    if "COVERAGE_RUN" in os.environ:
        # Lines of templates are counted only while Django keeps track of them.
        options: Any = settings.TEMPLATES[0]["OPTIONS"]
        options["debug"] = True


@dataclass
class Sandbox:
    """A sandbox tenant in a process of its own, and its control plane."""

    url: str
    pages_url: str
    ca_file: str
    control_key: str
    tenants: list[dict[str, Any]]
    application: dict[str, str]
    process: subprocess.Popen[bytes]
    state_dir: Path

    def control(self, method: str, path: str, json: Any = None) -> Any:
        """Call the control plane; a refusal fails the test."""
        session = requests.Session()
        session.trust_env = False
        answer = session.request(
            method,
            f"{self.url}/control/{path.lstrip('/')}",
            json=json,
            headers={"X-Sandbox-Key": self.control_key},
            verify=self.ca_file,
            timeout=60,
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def reset(self) -> None:
        """Back to the seed: people, groups, consents, faults, journal."""
        self.control("POST", "reset")


def start_sandbox(
    state_dir: Path, *options: str, command: Sequence[str] = SANDBOX
) -> Sandbox:
    """Start `manage.py entra_sandbox` on free ports and wait until it listens."""
    ready = state_dir / "sandbox.json"
    ready.unlink(missing_ok=True)
    with (state_dir / "sandbox.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *command,
                "--port=0",
                "--pages-port=0",
                f"--state-dir={state_dir}",
                "--redirect-uri=http://localhost:8000/connector/consent/",
                "--redirect-uri=http://localhost:8000/connector/code/",
                "--redirect-uri=http://localhost:8000/connector/signed-out/",
                "--redirect-uri=http://localhost:8000/login/entra/callback/",
                "--redirect-uri=http://localhost:8000/login/entra/signed-out/",
                *options,
            ],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ.copy(),
        )
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(
                "The sandbox did not start:\n" + (state_dir / "sandbox.log").read_text()
            )
        time.sleep(0.05)
    facts = json.loads(ready.read_text())
    return Sandbox(
        url=facts["url"],
        pages_url=facts["pages_url"],
        ca_file=facts["ca_file"],
        control_key=facts["control_key"],
        tenants=facts["tenants"],
        application=facts["application"],
        process=process,
        state_dir=state_dir,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end; kill it when it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield sandbox
    stop(sandbox.process)


@pytest.fixture
def sandbox(sandbox_process: Sandbox, settings: Any) -> Sandbox:
    """The sandbox tenant in its seed state, and a console that is told to trust it."""
    sandbox_process.reset()
    # Of another test's sandbox: keys may have been rotated since.
    clouds.METADATA.forget()
    lines.close_idle()
    settings.ENTRA_SANDBOX_URL = sandbox_process.url
    settings.ENTRA_SANDBOX_CA_FILE = sandbox_process.ca_file
    return sandbox_process


@pytest.fixture
def without_second_factor(settings: Any) -> None:
    """As in the demo: the password alone signs in, also to Full Access."""
    settings.SECOND_FACTOR_REQUIRED = False


@pytest.fixture
def administrator(db: None) -> User:
    """A local Full Access administrator."""
    user = User(
        username="admin",
        full_name="Local Administrator",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        created_at=timezone.now(),
    )
    user.set_password("correct horse battery staple")
    user.save()
    return user


@pytest.fixture
def console(administrator: User) -> Client:
    """A browser without JavaScript, signed in as the local administrator."""
    client = Client(SERVER_NAME="localhost")
    client.force_login(administrator)
    return client


def uses_database(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return item.get_closest_marker("django_db") is not None or any(
        name in names for name in ("db", "transactional_db")
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if os.environ.get("TEST_DATABASE") == "postgres":
        # What touches no database was tried with SQLite.
        config.hook.pytest_deselected(
            items=[item for item in items if not uses_database(item)]
        )
        items[:] = filter(uses_database, items)


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> BrowserTogether | None:
    return BrowserTogether(config, log) if config.option.dist == "loadgroup" else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in the last lines which tests did not run, and what the fuzzer did."""
    fuzzed = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", ())
        if name == "fuzzed"
    ]
    if "FUZZ_REQUESTS" in os.environ and fuzzed:
        terminalreporter.section("requests to what answers without a session")
        for line in sorted(fuzzed):
            terminalreporter.line(line)
    skipped = [
        report.nodeid
        for report in terminalreporter.stats.get("skipped", [])
        if "Chromium is not installed" in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("browser tests did not run")
        for nodeid in sorted(set(skipped)):
            terminalreporter.line(f"  {nodeid}")
        terminalreporter.line(
            "Install Chromium to run them (Debian: apt-get install chromium), or name "
            "one: CHROMIUM=/path/to/chromium make test"
        )
