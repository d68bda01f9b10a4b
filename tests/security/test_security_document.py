"""docs/security.md and docs/reliability.md name tests and code that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
FAULTS = ROOT / "docs" / "reliability.md"
# The attacks that a release has to withstand.
REQUIRED = {1, 2, 3, 4, 5, 9, 14, 15, 17, 23, 29, 30, 31, 32, 35, 36, 37, 40, 52}


@pytest.mark.parametrize("document", [DOCUMENT, FAULTS], ids=lambda path: path.stem)
def test_every_test_that_the_document_names_exists(document: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text())
    missing = []

    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        known = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
        if name not in known:
            missing.append(f"{path}::{name}")

    assert len(named) > 25
    assert missing == []


@pytest.mark.parametrize("document", [DOCUMENT, FAULTS], ids=lambda path: path.stem)
def test_every_file_of_code_that_the_document_names_exists(document: Path) -> None:
    named = re.findall(
        r"`((?:directory|jamfidp|scoping)/[\w/]+\.py)`", document.read_text()
    )

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_attack_that_has_to_be_withstood_has_a_row() -> None:
    rows = re.findall(r"^\| ([A0-9, ]+) \|", DOCUMENT.read_text(), re.MULTILINE)

    found = {int(number) for row in rows for number in re.findall(r"A(\d+)", row)}

    assert found >= REQUIRED


def test_every_attack_of_the_table_says_where_it_is_defended() -> None:
    text = DOCUMENT.read_text()
    table, _, rest = text.partition("## Where each is defended")
    code = rest.partition("## ")[0]

    def attacks(part: str) -> set[int]:
        rows = re.findall(r"^\| (A[0-9, Ato]+) \|", part, re.MULTILINE)
        found: set[int] = set()
        for row in rows:
            for first, last in re.findall(r"A(\d+)(?: to A(\d+))?", row):
                found |= set(range(int(first), int(last or first) + 1))
        return found

    assert attacks(table)
    assert attacks(table) - attacks(code) == set()
