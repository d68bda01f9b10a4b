"""Make a console that was restored from a backup safe to use."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from jamfidp.accounts import restoring


class Command(BaseCommand):
    help = (
        "Run once after the database was restored from a backup, before the console is "
        "opened: ends every session, voids open sign-ins, consents and approvals, "
        "suspends privileges held through a directory until a good read, and makes the "
        "next read of each connection a full one."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done = restoring.after_restore(now=timezone.now())
        self.stdout.write(
            f"Ended: {done.sessions} sessions, {done.sign_ins} sign-ins, "
            f"{done.directory.consents} consents. Void: {done.directory.approvals} "
            f"approvals. Suspended until a full read: {done.directory.connections} "
            "connections."
        )
