"""What the documents say is true: commands, settings, files and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_named_in_a_document_exists(document: str) -> None:
    text = (ROOT / document).read_text()

    # As code: at the start of an indented line, or between backticks.
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text, re.MULTILINE))

    assert named <= TARGETS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_links_to_exists(document: str) -> None:
    folder = (ROOT / document).parent
    text = (ROOT / document).read_text()

    linked = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if not link.startswith(("http", "#", "mailto:"))
    ]

    assert [link for link in linked if not (folder / link).exists()] == []


def test_every_screenshot_is_shown_somewhere() -> None:
    shown = " ".join((ROOT / document).read_text() for document in DOCUMENTS)

    taken = [path.name for path in (ROOT / "docs" / "screenshots").glob("*.png")]

    assert [name for name in taken if name not in shown] == []


def test_the_example_settings_are_settings_and_hold_no_secret() -> None:
    readers = set(
        re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', _source("jamfidp/settings.py"))
    )

    example = re.findall(r"^#?([A-Z_]+)=(.*)$", _source(".env.example"), re.MULTILINE)

    assert {name for name, _ in example} <= readers
    assert [v for name, v in example if name in {"SECRET_KEY", "ENCRYPTION_KEYS"}] == [
        "",
        "",
    ]


def test_the_locks_hold_hashes_and_no_address() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = _source(lock)
        pins = re.findall(r"^([a-z0-9_.-]+)==", text, re.MULTILINE | re.IGNORECASE)
        assert len(pins) > 20
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text
        assert not re.search(r"^--", text, re.MULTILINE)
    assert '"resolved"' not in _source("package-lock.json")


def test_every_dependency_says_what_it_is_for() -> None:
    listed = re.findall(r'^  "([A-Za-z][^"]*)",(.*)$', _source("pyproject.toml"), re.M)
    dependencies = [(name, rest) for name, rest in listed if re.search(r"[=<>]", name)]

    assert len(dependencies) > 30
    assert [name for name, rest in dependencies if "# " not in rest] == []


def _source(path: str) -> str:
    return (ROOT / path).read_text()
