"""End all sessions of a person and keep them out, or let them in again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from directory.dependents import ObjectRef
from directory.models import DirectoryUser
from jamfidp.accounts import switches
from jamfidp.accounts.administrators import LastAdministrator
from jamfidp.accounts.models import Block, User


class Command(BaseCommand):
    help = (
        "End all sessions of a person and keep them out of this console, or --lift "
        "that. PERSON is a user name, or the object id of somebody in Entra."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("person")
        parser.add_argument("--reason", required=True, help="kept in the history")
        parser.add_argument("--lift", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        name, now = options["person"], timezone.now()
        account = (
            User.objects.filter(username__iexact=name).first()
            or User.objects.filter(object_id=name.lower()).exclude(object_id="").first()
        )
        person = (
            DirectoryUser.objects.connected().filter(object_id=name.lower()).first()
        )
        try:
            if options["lift"]:
                switches.lift(
                    self._block(account, name),
                    reason=options["reason"],
                    actor=None,
                    now=now,
                )
            elif account is not None:
                switches.block_account(
                    account, reason=options["reason"], actor=None, now=now
                )
            elif person is not None:
                switches.block_person(
                    ObjectRef(person.cloud_idp.tenant_id, person.object_id),
                    name=person.user_principal_name or str(person),
                    reason=options["reason"],
                    actor=None,
                    now=now,
                )
            else:
                raise CommandError(f"Nobody is known here as {name}.")
        except (switches.AlreadySo, LastAdministrator) as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(
            f"The block of {name} was lifted."
            if options["lift"]
            else f"{name} is blocked, and the sessions were ended."
        )

    def _block(self, account: User | None, name: str) -> Block:
        found = (
            switches.block_of(account)
            if account is not None
            else switches.blocks().filter(object_id=name.lower()).first()
        )
        if found is None:
            raise CommandError(f"{name} is not blocked.")
        return found
