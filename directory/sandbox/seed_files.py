"""Seeds kept in the state folder: drawn once, then mapped into memory.

A folder is named for the tenant, its sizes and the sandbox's code, so that no other
code ever reads it. It also holds what was rendered of the seed.
"""

import dataclasses
import hashlib
import mmap
import shutil
import tempfile
from functools import cache
from pathlib import Path

from directory.sandbox import generate
from directory.sandbox.company import Company
from directory.sandbox.seed import Column, Columns, Seed
from directory.sandbox.sizes import Sizes


def open_seed(folder: Path, company: Company, sizes: Sizes) -> tuple[Seed, Path]:
    """Return the seed and the folder of its files, which are made if they are missing."""
    sizes_named = "-".join(map(str, dataclasses.astuple(sizes)))
    place = folder / f"{company.domain}-{sizes_named}-{_code()}"
    if not place.exists():
        _forget_other_code(folder)
        _write(place, generate.draw(company, sizes))
    columns = Columns(
        **{
            field.name: _mapped(place / field.name)
            for field in dataclasses.fields(Columns)
        }
    )
    return generate.seed(company, sizes, columns), place


@cache
def _code() -> str:
    """Return what stands for the sandbox's code as it is."""
    read = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        read.update(path.read_bytes())
    return read.hexdigest()[:12]


def _forget_other_code(folder: Path) -> None:
    for place in folder.glob("*"):
        if not place.name.endswith(_code()):
            shutil.rmtree(place)


def _write(place: Path, columns: Columns) -> None:
    """Write a folder whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        made = Path(name) / place.name
        made.mkdir()
        for field in dataclasses.fields(columns):
            (made / field.name).write_bytes(getattr(columns, field.name))
        made.rename(place)


def _mapped(path: Path) -> Column:
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return b""
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
