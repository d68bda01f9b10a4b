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


# Each has its row in docs/reliability.md: a fault, what happens, where, and its tests.
FAULTS = {
    *range(1, 8),
    *range(10, 18),
    *range(19, 23),
    *range(24, 27),
    *range(28, 41),
    *range(42, 46),
}


def _reliability_rows() -> list[list[str]]:
    lines = re.findall(r"^\|(.*)\|$", _source("docs/reliability.md"), re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row in rows if row[1] not in {"fault", "---"}]


def test_every_fault_has_a_row_with_code_and_tests() -> None:
    rows = _reliability_rows()

    assert len(rows) > 50
    assert [row for row in rows if len(row) != 5 or not all(row[1:])] == []
    numbers = {int(n) for row in rows for n in re.findall(r"\bF(\d+)\b", row[0])}
    assert numbers == FAULTS
    for row in rows:
        files = re.findall(r"`([a-z_]+/[\w/.]+)`", row[3])
        assert files, row[1]
        assert [name for name in files if not (ROOT / name).is_file()] == []
        assert re.search(r"`tests/[\w/]+\.py", row[4]), row[1]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    named = re.findall(
        r"`(tests/[\w/]+\.py)(?:::(\w+))?", (ROOT / document).read_text()
    )

    missing = [
        (path, name)
        for path, name in named
        if not (ROOT / path).is_file() or (name and f"def {name}(" not in _source(path))
    ]

    assert missing == []


def test_a_test_that_names_a_fault_stands_in_its_row() -> None:
    """By number; what the client or the sandbox makes of it alone need not."""
    rows = _reliability_rows()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        if "/sandbox/" in name or "/entra/" in name:
            continue
        for test in re.findall(r"^def (test_f\d+\w*)\(", path.read_text(), re.M):
            standing = [row for row in rows if f"{name}::{test}`" in row[4]]
            numbers = set(re.findall(r"(?:_|^test_)f(\d+)(?=_)", test))
            held = {n for row in standing for n in re.findall(r"F(\d+)", row[0])}
            assert numbers <= held, f"{name}::{test}"


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
