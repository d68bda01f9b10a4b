"""Measure syncs against floors."""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from directory.sandbox.sizes import SCALES
from jamfidp.bench import goals
from jamfidp.bench.consoles import Failed, databases
from jamfidp.bench.run import Bench

POSTGRES_URL = "postgres://postgres@127.0.0.1:5432/postgres"


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not set(numbers) <= set(goals.NUMBERS):
        known = ", ".join(map(str, goals.NUMBERS))
        raise argparse.ArgumentTypeError(f"goals are {known}")
    return numbers


class Command(BaseCommand):
    help = (
        "Measure how fast a directory is read and kept, each goal against its floor in "
        "the same run, with a sandbox tenant and databases of its own."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--scale", choices=SCALES, required=True)
        parser.add_argument(
            "--database", choices=("sqlite", "postgres"), default="sqlite"
        )
        parser.add_argument(
            "--only", type=_numbers, default=goals.NUMBERS, metavar="GOAL,..."
        )
        parser.add_argument("--json", type=Path, metavar="FILE")
        parser.add_argument(
            "--postgres-url",
            default=os.environ.get("BENCH_POSTGRES_URL", POSTGRES_URL),
            help="a server in which databases may be made; they are dropped",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kind = options["database"]
        self.stdout.write(f"Scale {options['scale']}, {kind}")
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            try:
                with databases(kind, folder, options["postgres_url"]) as made:
                    bench = Bench(
                        folder=folder,
                        databases=made,
                        sizes=SCALES[options["scale"]],
                        numbers=options["only"],
                        say=self.stdout.write,
                    )
                    bench.run()
            except Failed as failed:
                raise CommandError(str(failed)) from failed
        results = [
            each
            for each in goals.judged(bench.measured, kind)
            if each.goal.number in options["only"]
        ]
        for line in goals.table(results):
            self.stdout.write(line)
        for what, seconds in bench.locks.items():
            self.stdout.write(f"Longest write lock, {what}: {seconds * 1000:,.0f} ms")
        if options["json"]:
            found = [each.as_json() for each in results]
            options["json"].write_text(json.dumps(found, indent=2) + "\n")
