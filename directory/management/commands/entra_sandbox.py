"""Run the sandbox tenant."""

import argparse
import json
import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from directory.sandbox import measure, server
from directory.sandbox.behavior import Behavior
from directory.sandbox.company import FERNHILL
from directory.sandbox.sizes import SCALE_SWITCHES, SCALES, Sizes, sizes_of


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return int(text)


def _switch(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class Command(BaseCommand):
    help = (
        "Run a pretend Microsoft Entra tenant on this computer: login pages, tokens, "
        "Graph. For tests and the demo. It is deliberately insecure."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=_port, default=8443, help="TLS; 0: a free one"
        )
        parser.add_argument(
            "--pages-port",
            type=_port,
            default=8480,
            help="plain http, for the pages people see; 0: a free one",
        )
        parser.add_argument("--state-dir", type=Path, default=Path("var/sandbox"))
        parser.add_argument(
            "--host", default=server.HOST, help="127.0.0.1; anything else is refused"
        )
        parser.add_argument(
            "--redirect-uri",
            action="append",
            default=[],
            help="a redirect URI of the application; may be repeated",
        )
        parser.add_argument(
            "--keep",
            action="store_true",
            help="keep changes and consents in the state folder over a restart",
        )
        parser.add_argument(
            "--scale",
            choices=SCALES,
            help="of the first tenant, with large pages: "
            + ", ".join(
                f"{name} {size.users:,} people" for name, size in SCALES.items()
            ),
        )
        parser.add_argument("--users", type=_positive, help="of the first tenant")
        parser.add_argument("--groups", type=_positive)
        parser.add_argument("--memberships", type=_positive)
        parser.add_argument(
            "--nestings", type=_positive, help="of generated groups in one another"
        )
        parser.add_argument("--seed", type=int)
        parser.add_argument(
            "--delay-ms", type=_positive, help="before each answer of Graph"
        )
        parser.add_argument(
            "--switch",
            action="append",
            type=_switch,
            default=[],
            metavar="NAME=VALUE",
            help="a switch of docs/sandbox.md, as JSON; may be repeated",
        )

        parser.add_argument(
            "--measure",
            action="store_true",
            help="measure how fast a sandbox of these options serves, and end",
        )
        parser.add_argument(
            "--rounds", type=_positive, default=5, help="of a measurement"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["host"] != server.HOST:
            raise CommandError("The sandbox listens on 127.0.0.1 only.")
        logging.basicConfig(format="%(message)s")
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("directory.sandbox").setLevel(
            logging.WARNING if options["verbosity"] == 0 else logging.INFO
        )
        try:
            sizes, switches = _sizes(options), _switches(options)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if options["measure"]:
            self._measure(sizes, switches, options["rounds"])
            return
        try:
            server.run(
                server.Options(
                    port=options["port"],
                    pages_port=options["pages_port"],
                    state_dir=options["state_dir"],
                    redirect_uris=tuple(options["redirect_uri"]),
                    sizes=sizes,
                    switches=switches,
                    keep=options["keep"],
                )
            )
        except OSError as error:
            raise CommandError(f"The sandbox cannot listen: {error}") from error

    def _measure(
        self, sizes: Sizes | None, switches: dict[str, Any], rounds: int
    ) -> None:
        given = (
            [f"--{name}={value}" for name, value in asdict(sizes).items() if value]
            if sizes
            else []
        )
        given += [
            f"--switch={name}={json.dumps(value)}" for name, value in switches.items()
        ]
        command = [
            sys.executable,
            str(settings.BASE_DIR / "manage.py"),
            "entra_sandbox",
        ]
        try:
            measure.run(
                [*command, "--port=0", "--pages-port=0", "--verbosity=0", *given],
                rounds=rounds,
                say=self.stdout.write,
            )
        except RuntimeError as error:
            raise CommandError(str(error)) from error


def _sizes(options: dict[str, Any]) -> Sizes | None:
    names = ("users", "groups", "memberships", "nestings", "seed")
    given = {name: options[name] for name in names if options[name] is not None}
    if options["scale"]:
        return replace(SCALES[options["scale"]], **given)
    return replace(sizes_of(FERNHILL), **given) if given else None


def _switches(options: dict[str, Any]) -> dict[str, Any]:
    """Return the switches to start with. Raises ValueError when one is none."""
    switches: dict[str, Any] = {}
    if options["scale"]:
        switches |= SCALE_SWITCHES
    if options["delay_ms"]:
        switches["answer_delay"] = options["delay_ms"]
    switches |= dict(options["switch"])
    Behavior().update(switches)
    return switches
