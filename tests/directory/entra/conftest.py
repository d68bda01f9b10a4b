"""Certificate authorities for far ends."""

from pathlib import Path

import pytest
import trustme


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
