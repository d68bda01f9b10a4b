"""Certificate authorities for far ends, and what recordings came to."""

from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.directory.entra.recordings import REPLAYED


def _file(authority: trustme.CA, folder: Path) -> str:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    return _file(authority, tmp_path)


@pytest.fixture(scope="session")
def rsa_authority() -> trustme.CA:
    """For suites that need an RSA certificate."""
    return trustme.CA(key_type=trustme.KeyType.RSA)


@pytest.fixture
def rsa_ca_file(rsa_authority: trustme.CA, tmp_path: Path) -> str:
    return _file(rsa_authority, tmp_path)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what each recording came to; skipped ones are named with their reasons."""
    said = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == REPLAYED
    ]
    if said:
        terminalreporter.section(f"{len(said)} replayed through the client")
        for line in said:
            terminalreporter.line(line)
