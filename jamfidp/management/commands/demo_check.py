"""Do the whole job over HTTP and say what passed."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from jamfidp.demo import check, processes


class Command(BaseCommand):
    help = "Do the whole job over HTTP, with free ports and in a temporary folder."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="demo-check-") as folder:
            installation = processes.prepare(Path(folder), processes.free_ports())
            with processes.stopped_at_the_end(installation):
                passed, failed = check.run(installation, self.stdout.write)
        self.stdout.write(f"{passed} passed, {failed} failed")
        if failed:
            sys.exit(1)
