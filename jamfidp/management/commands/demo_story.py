"""Write the rows of the demo story into this console's database."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from jamfidp.demo import story


class Command(BaseCommand):
    help = "Write the demo story: administrator, application, sites, devices, objects."

    def handle(self, *args: Any, **options: Any) -> None:
        facts = json.loads((settings.VAR_DIR / "sandbox" / "sandbox.json").read_text())
        story.write(
            now=timezone.now(),
            sandbox_application=facts["application"],
            password=(settings.VAR_DIR / "administrator-password").read_text(),
        )
