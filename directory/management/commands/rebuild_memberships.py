"""`manage.py rebuild_memberships`: derive closure and bitmaps from the rows again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from directory.models import CloudIdentityProvider, SyncRun
from directory.sync.rebuild import rebuild


class Command(BaseCommand):
    help = (
        "Derive the group-in-group closure, the membership bitmaps and the counts from "
        "the rows again, and say how many differed. With --check nothing is written, "
        "and a difference is a failure."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="Compare only; change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        check = bool(options["check"])
        differing = 0
        for cloud_idp in CloudIdentityProvider.objects.order_by("pk"):
            if not check and SyncRun.objects.active().filter(cloud_idp=cloud_idp):
                raise CommandError(
                    f"{cloud_idp} is being read. Try again when the run has ended."
                )
            found = rebuild(cloud_idp, write=not check)
            differing += found
            self.stdout.write(f"{cloud_idp}: {found:,} groups differed")
        if check and differing:
            raise CommandError(
                f"{differing:,} groups differ from their rows. Run this command "
                "without --check."
            )
