"""Make a local administrator, or give one back its password."""

import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from jamfidp.accounts import first_administrator
from jamfidp.accounts.models import User


class Command(BaseCommand):
    help = (
        "Make a local administrator and print the password. With --rescue, give an "
        "existing local account a new password and every privilege."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--full-name", default="")
        parser.add_argument("--rescue", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        username = options["username"]
        password = secrets.token_urlsafe(15)
        account = User.objects.filter(username__iexact=username).first()
        now = timezone.now()
        if options["rescue"]:
            if account is None or not account.is_local:
                raise CommandError(f"No local account has the user name {username}.")
            first_administrator.rescue(account, password=password, now=now)
        else:
            try:
                first_administrator.create_administrator(
                    username=username,
                    full_name=options["full_name"],
                    password=password,
                    now=now,
                )
            except ValidationError as refused:
                raise CommandError(" ".join(refused.messages)) from None
        self.stdout.write(f"User name: {username}")
        self.stdout.write(f"Password: {password}")
