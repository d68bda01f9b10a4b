"""Start the demo and say how to use it."""

import signal
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jamfidp.demo import processes, story
from jamfidp.demo.processes import Ports

PORTS = Ports(console=8000, sandbox=8443, pages=8480)


class Command(BaseCommand):
    help = "Start a sandbox tenant, a task worker and the console, with a fleet to look at."
    # The demo keeps its own database; the one of these settings is not looked at.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        taken = [
            f"{name} {port}"
            for name, port in (
                ("console", PORTS.console),
                ("sandbox", PORTS.sandbox),
                ("sandbox pages", PORTS.pages),
            )
            if not processes.is_free(port)
        ]
        ports = PORTS
        if taken:
            ports = processes.free_ports()
            self.stdout.write(
                f"These ports are in use: {', '.join(taken)}. Taking free ones."
            )
        installation = processes.prepare(
            Path(settings.BASE_DIR) / "var" / "demo", ports
        )
        with processes.stopped_at_the_end(installation):
            try:
                processes.start_everything(
                    installation, lambda line: self.stdout.write(f"==> {line}")
                )
            except processes.DidNotStart as error:
                raise CommandError(str(error)) from error
            self.stdout.write(story.how_to_sign_in(installation))
            self._wait(installation)

    def _wait(self, installation: processes.Installation) -> None:
        """Until Ctrl-C, SIGTERM, or one of the processes ends."""
        ended: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
        try:
            while not ended:
                for name, process in installation.running.items():
                    if process.poll() is not None:
                        raise CommandError(
                            f"The {name} ended by itself; {installation.log(name)} "
                            "says why."
                        )
                time.sleep(0.5)
        except KeyboardInterrupt:
            pass
        self.stdout.write(
            "\nStopping. What you did is kept; `make demo-reset` forgets it."
        )
