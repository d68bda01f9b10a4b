"""Let a local account in that waits, is blocked or disabled, or lost its second factor."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from jamfidp.accounts import user_accounts
from jamfidp.accounts.models import User


class Command(BaseCommand):
    help = (
        "Let a local account in again: forget refused attempts, lift a block, and "
        "enable it. "
        "With --forget-second-factor, also remove its second factors and recovery "
        "codes; with Full Access, the next sign-in has to add a new one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--forget-second-factor", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        username = options["username"]
        account = User.objects.filter(username__iexact=username, object_id="").first()
        if account is None:
            raise CommandError(f"No local account has the user name {username}.")
        for line in user_accounts.unlock(
            account,
            forget_second_factor=options["forget_second_factor"],
            now=timezone.now(),
        ):
            self.stdout.write(line)
