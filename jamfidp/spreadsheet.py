"""Lists as CSV files that no spreadsheet executes, and such files read back."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

# https://owasp.org/www-community/attacks/CSV_Injection
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
# Excel takes a file for UTF-8 by this mark.
MARK = "\ufeff"


def harmless(value: Any) -> str:
    """A cell that a spreadsheet shows and never computes."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(DANGEROUS) else text


def restored(cell: str) -> str:
    """The value of a cell that `harmless` may have written."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(DANGEROUS) else cell


class _Echo:
    def write(self, value: str) -> str:
        return value


def lines(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a CSV file, every cell harmless."""
    writer = csv.writer(_Echo())
    yield MARK + writer.writerow([harmless(name) for name in headings])
    for row in rows:
        yield writer.writerow([harmless(cell) for cell in row])
