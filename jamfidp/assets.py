"""Which files of the npm packages the console serves, by the name it serves them.

The packages hold fifty megabytes, some of it with references to files they do
not ship, at which a manifest storage stops; so each file is named here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.checks import CheckMessage, Error
from django.core.files.storage import FileSystemStorage, Storage

TABLER = "@tabler/core/dist/css"
FILES = {
    "tabler/tabler.min.css": f"{TABLER}/tabler.min.css",
    "tabler/tabler.min.css.map": f"{TABLER}/tabler.min.css.map",
    "uplot/uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uplot/uPlot.iife.min.js": "uplot/dist/uPlot.iife.min.js",
}


def packages() -> Path:
    """The folder into which `npm ci` installs."""
    return Path(settings.BASE_DIR) / "node_modules"


class NpmStorage(FileSystemStorage):
    """Reads a file by the name it is served under."""

    def path(self, name: str) -> str:
        return str(packages() / FILES[name])


class NpmFinder(BaseFinder):
    """Finds the files of FILES and nothing else of node_modules."""

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        missing = [path for path in FILES.values() if not (packages() / path).exists()]
        return [
            Error(
                f"Static file {path} is missing from node_modules.",
                hint="Run `npm ci`.",
                id="jamfidp.E001",
            )
            for path in missing
        ]

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        source = packages() / FILES[path] if path in FILES else None
        found = [str(source)] if source is not None and source.exists() else []
        return found[0] if found and not find_all else found

    def list(
        self, ignore_patterns: Iterable[str] | None
    ) -> Iterator[tuple[str, Storage]]:
        storage = NpmStorage()
        for name in FILES:
            yield name, storage
