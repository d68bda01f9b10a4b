"""Print what a connector that is served alone has to know of this console."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from directory import connect


class Command(BaseCommand):
    help = (
        "Print this console's entry for the CONNECTOR_CONSOLES_FILE of a Cloud "
        "Connector that is served alone. It holds no secret."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        entries = [console.entry() for console in connect.served_consoles()]
        self.stdout.write(json.dumps({"consoles": entries}, indent=2))
