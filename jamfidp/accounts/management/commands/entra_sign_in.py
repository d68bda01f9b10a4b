"""Stop sign-in with Entra, or allow it again, when the console's pages are no help."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone

from directory.models import CloudIdentityProvider
from jamfidp.accounts import switches


class Command(BaseCommand):
    help = (
        "Stop sign-in with Entra, or allow it again: by one connection or by all. "
        "Local accounts sign in as before."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["stop", "allow", "show"])
        parser.add_argument("--reason", default="", help="kept in the history")
        parser.add_argument("--connection", help="display name or tenant id; else all")
        parser.add_argument(
            "--end-sessions",
            action="store_true",
            help="also end the sessions of people who signed in with Entra",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        cloud_idp = _connection(options["connection"])
        if options["what"] == "show":
            for stop in switches.stops():
                where = stop.tenant_id or "all connections"
                self.stdout.write(
                    f"Stopped for {where} since {stop.stopped_at:%Y-%m-%d %H:%M} UTC "
                    f"by {stop.stopped_by_name}: {stop.reason}"
                )
            if not switches.stops().exists():
                self.stdout.write("Sign-in with Entra is allowed everywhere.")
            return
        if not options["reason"].strip():
            raise CommandError("Say why: --reason 'what is going on'.")
        now = timezone.now()
        try:
            if options["what"] == "stop":
                switches.stop_entra(
                    cloud_idp,
                    reason=options["reason"],
                    end_sessions=options["end_sessions"],
                    actor=None,
                    now=now,
                )
            else:
                switches.allow_entra(
                    cloud_idp, reason=options["reason"], actor=None, now=now
                )
        except switches.AlreadySo as refused:
            raise CommandError(str(refused)) from None
        done = "stopped" if options["what"] == "stop" else "allowed again"
        self.stdout.write(f"Sign-in with Entra is {done}: {cloud_idp or 'all'}.")


def _connection(name: str | None) -> CloudIdentityProvider | None:
    if name is None:
        return None
    found = CloudIdentityProvider.objects.filter(
        Q(display_name=name) | Q(tenant_id=name.lower())
    ).first()
    if found is None:
        raise CommandError(f"No connection has the name or tenant id {name}.")
    return found
