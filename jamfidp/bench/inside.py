"""What is measured, in a process of its own: `python -m jamfidp.bench.inside STEP`.

It is told what to do as JSON on its standard input, and answers in JSON.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django

from jamfidp.bench import floors

Given = dict[str, Any]


def main(name: str, given: Given) -> dict[str, Any]:
    if name == "floor":
        return _floor(given)
    django.setup()
    from jamfidp.bench import synced

    steps: dict[str, Callable[[Given], dict[str, Any]]] = {
        "initial": synced.initial,
        "steady": synced.steady,
    }
    measured = steps[name](given)
    measured["peak_mb"] = _peak_mb()
    return measured


def _floor(given: Given) -> dict[str, Any]:
    address = urlsplit(given["database"])
    tables: floors.Tables
    if address.scheme == "sqlite":
        tables = floors.SqliteTables(address.path)
    else:
        tables = floors.PostgresTables(given["database"])
    connection = floors.connect(given["facts"])
    return floors.initial(connection, given["token"], given["starts"], tables)


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    # Where a process counts the memory of the one it was forked from.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jamfidp.settings")
    sys.stdout.write(json.dumps(main(sys.argv[1], json.load(sys.stdin))))
