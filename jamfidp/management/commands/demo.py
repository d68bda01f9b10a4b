"""Start the demo and say how to use it."""

import shutil
import signal
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jamfidp.demo import processes, story
from jamfidp.demo.processes import Ports

PORTS = Ports(console=8000, sandbox=8443, pages=8480)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


class Command(BaseCommand):
    help = "Start a sandbox tenant, a task worker and the console, with a fleet to look at."
    # The demo keeps its own database; the one of these settings is not looked at.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--reset", action="store_true", help="Forget what the demo stored, and end."
        )

    def handle(self, *args: Any, reset: bool, **options: Any) -> None:
        folder = Path(settings.BASE_DIR) / "var" / "demo"
        # From the first process on: whoever ends us ends them all.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            with processes.sole_use(folder):
                self._end_leftovers(folder)
                if reset:
                    shutil.rmtree(folder)
                    self.stdout.write(f"==> Removed {folder}")
                else:
                    self._demonstrate(folder)
        except processes.InUse as error:
            raise CommandError(str(error)) from error

    def _end_leftovers(self, folder: Path) -> None:
        left = processes.leftovers(folder)
        if not left:
            return
        named = ", ".join(f"{name} {pid}" for name, pid in left.items())
        self.stdout.write(
            f"A demo was killed before it could stop its processes ({named}). "
            "Ending them."
        )
        processes.end_leftovers(folder)

    def _demonstrate(self, folder: Path) -> None:
        installation = processes.prepare(folder, self._ports())
        with processes.stopped_at_the_end(installation):
            try:
                processes.start_everything(
                    installation, lambda line: self.stdout.write(f"==> {line}")
                )
                self.stdout.write(story.how_to_sign_in(installation))
                self._wait(installation)
            except KeyboardInterrupt:
                # Once is enough; a second Ctrl-C would leave half of it running.
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                self.stdout.write(
                    "\nStopping. What you did is kept; `make demo-reset` forgets it."
                )
            except processes.DidNotStart as error:
                raise CommandError(str(error)) from error

    def _ports(self) -> Ports:
        taken = [
            f"{name} {port}"
            for name, port in (
                ("console", PORTS.console),
                ("sandbox", PORTS.sandbox),
                ("sandbox pages", PORTS.pages),
            )
            if not processes.is_free(port)
        ]
        if not taken:
            return PORTS
        self.stdout.write(
            f"Something else listens on these ports: {', '.join(taken)}. Taking free "
            "ones; the addresses below are the ones to use."
        )
        return processes.free_ports()

    def _wait(self, installation: processes.Installation) -> None:
        """Until Ctrl-C, SIGTERM, or one of the processes ends."""
        while True:
            for name, process in installation.running.items():
                status = process.poll()
                if status is not None:
                    how = f"signal {-status}" if status < 0 else f"exit status {status}"
                    raise CommandError(
                        f"The {name} ended by itself ({how}), so everything is "
                        f"stopped. {installation.log(name)} says why. What you did is "
                        "kept: start again with `make demo`."
                    )
            time.sleep(0.5)
