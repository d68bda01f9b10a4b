"""Seal stored secrets with the newest key of ENCRYPTION_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from directory import reencryption
from jamfidp import crypto
from jamfidp.accounts import authenticator_app


class Command(BaseCommand):
    help = (
        "Seal the application's credentials and the secrets of authenticator apps with "
        "the first key of ENCRYPTION_KEYS. Afterwards the older keys can be taken out "
        "of the setting."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                done = reencryption.reencrypt(now=timezone.now())
                done += authenticator_app.reencrypt()
        except crypto.KeyUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{done.moved} sealed anew, {done.kept} were new already.")
        if done.unreadable:
            raise CommandError(
                f"{done.unreadable} could not be read and stay as they are: their key is "
                "not in ENCRYPTION_KEYS. Keep the older keys until they are, or enter "
                "these credentials, and enroll these apps, anew."
            )
