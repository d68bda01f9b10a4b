"""Seal stored credentials with the newest key of ENCRYPTION_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from directory import reencryption
from jamfidp import crypto


class Command(BaseCommand):
    help = (
        "Seal stored credentials with the first key of ENCRYPTION_KEYS. Afterwards the "
        "older keys can be taken out of the setting."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = reencryption.reencrypt(now=timezone.now())
        except crypto.KeyUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{done.moved} sealed anew, {done.kept} were new already.")
        if done.unreadable:
            raise CommandError(
                f"{done.unreadable} could not be read and stay as they are: their key is "
                "not in ENCRYPTION_KEYS. Keep the older keys until they are, or enter "
                "these credentials anew."
            )
