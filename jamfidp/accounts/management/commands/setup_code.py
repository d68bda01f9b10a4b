"""Print the code that makes the console's first administrator."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from django.utils import timezone

from jamfidp.accounts import first_administrator


class Command(BaseCommand):
    help = "Print a new one-time code for the set-up page of a console without accounts"

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            code = first_administrator.new_code(now=timezone.now())
        except first_administrator.AlreadySetUp as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(f"Set-up code: {code}")
        self.stdout.write(
            f"Works once, for 24 hours, at {settings.CONSOLE_URL}"
            f"{reverse('accounts:setup')}"
        )
