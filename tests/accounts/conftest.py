import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher


@pytest.fixture(autouse=True)
def _quick_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real algorithm with few rounds: a sign-in would take a third of a second."""
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)
