"""Pages of a seed that were rendered once and are read from files afterwards.

What was changed since the seed is never told from here: see ``full_round``.
"""

import hashlib
import shutil
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from directory.sandbox import compression
from directory.sandbox.tls import write_private

_MOST_VIEWS = 4
Place = tuple[int, int]


class View:
    """The pages of one way to read a seed: what is shown of an object, and how much.

    ``ends`` holds where the page after a page begins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends: dict[Place, Any] = {}

    def rows(self, at: Place, render: Callable[[], bytes]) -> "Rows":
        path = f"{self.folder}/{at[0]}-{at[1]}"
        return Rows(path, _kept(f"{path}.json", render))


class Rows:
    """A JSON array as text, and packed as a part of a gzip member."""

    def __init__(self, path: str, text: bytes) -> None:
        self.text = text
        self._path = path

    def packed(self) -> bytes:
        return _kept(f"{self._path}.deflate", lambda: compression.part(self.text))


class RenderedPages:
    """The views of a seed that were asked for last; others are forgotten."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._views: dict[Hashable, View] = {}

    def view(self, key: Hashable) -> View:
        """Return the view for a key, which has to say all that tells it from others."""
        found = self._views.get(key)
        if found is None:
            name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
            found = self._views[key] = View(self._folder / name)
            found.folder.mkdir(parents=True, exist_ok=True)
            found.folder.touch()
            self._drop_eldest()
        return found

    def _drop_eldest(self) -> None:
        by_age = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in by_age[:-_MOST_VIEWS]:
            shutil.rmtree(path)
            self._views = {
                key: view for key, view in self._views.items() if view.folder != path
            }


def _kept(path: str, make: Callable[[], bytes]) -> bytes:
    try:
        with open(path, "rb", buffering=0) as stream:
            return stream.read()
    except FileNotFoundError:
        made = make()
        write_private(Path(path), made)
        return made
