"""Application registrations: the deployment's, one per Microsoft cloud, and others.

A connection uses the deployment's registration of its cloud, unless it has one of its
own. Which credentials a registration holds is a matter of `directory.credentials`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from directory import clouds
from directory.entra import errors, is_guid
from directory.models import ApplicationRegistration, CloudIdentityProvider
from jamfidp.compiled import CompiledObjects
from jamfidp.history.record import record
from jamfidp.notices.announce import resolve


class NoRegistration(errors.InvalidCredential):
    """There is no application registration, or it has no credential."""

    advice = "Enter the application registration under Settings > Entra ID application."


class RegistrationRefused(Exception):
    """A change was refused; `field` is the form's field to correct."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class RedirectUri:
    """An address that a registration has to list, and what comes back to it."""

    address: str
    purpose: str


def redirect_uris() -> list[RedirectUri]:
    """Return the addresses to enter at Microsoft, letter by letter."""
    return [
        RedirectUri(
            f"{settings.CONNECTOR_URL}/consent/",
            "the answer to the request for consent",
        ),
        RedirectUri(
            f"{settings.CONNECTOR_URL}/code/",
            "the authorization code",
        ),
        RedirectUri(
            f"{settings.CONNECTOR_URL}/signed-out/",
            "the end of the session with Microsoft",
        ),
        RedirectUri(
            f"{settings.CONSOLE_URL}/login/entra/callback/",
            "signing in to the console with Entra ID",
        ),
        RedirectUri(
            f"{settings.CONSOLE_URL}/login/entra/signed-out/",
            "signing out of the console and at Microsoft",
        ),
    ]


def find_registration(cloud_key: str) -> ApplicationRegistration | None:
    """Return the deployment's registration in a cloud, or None."""
    return _OF_DEPLOYMENT.first(cloud_key)


_OF_DEPLOYMENT = CompiledObjects(
    lambda cloud_key: ApplicationRegistration.objects.filter(
        cloud=cloud_key, for_one_connection=False
    ).order_by("pk")[:1]
)


def registration(cloud_key: str) -> ApplicationRegistration:
    """Return the deployment's registration in a cloud. Raises NoRegistration."""
    found = find_registration(cloud_key)
    if found is None:
        raise NoRegistration(
            "The console has no application registration in this cloud."
        )
    return found


def registration_of(cloud_idp: CloudIdentityProvider) -> ApplicationRegistration:
    """Return the registration a connection uses. Raises NoRegistration."""
    return cloud_idp.own_registration or registration(cloud_idp.cloud)


def connections_of(found: ApplicationRegistration) -> Sequence[CloudIdentityProvider]:
    """Return the connections that use a registration, by display name."""
    every = CloudIdentityProvider.objects.order_by("display_name", "pk")
    if found.for_one_connection:
        return list(every.filter(own_registration=found))
    return list(every.filter(cloud=found.cloud, own_registration=None))


def have_checked(found: ApplicationRegistration, *, now: datetime) -> None:
    """Have the connections checked at once that use a registration: it was changed."""
    for cloud_idp in connections_of(found):
        CloudIdentityProvider.objects.filter(pk=cloud_idp.pk).update(next_check_at=now)


def unused(cloud_key: str) -> Sequence[ApplicationRegistration]:
    """Return registrations for one connection that no connection uses yet."""
    return list(
        ApplicationRegistration.objects.filter(
            cloud=cloud_key, for_one_connection=True, cloud_idp=None
        ).order_by("client_id")
    )


@transaction.atomic
def save_client_id(
    *,
    cloud_key: str,
    client_id: str,
    connections_confirmed: bool,
    actor: Any,
    now: datetime,
) -> ApplicationRegistration:
    """Create the deployment's registration in a cloud, or change its client ID.

    Raises:
        RegistrationRefused: not a GUID; entered already for one connection; or
            connections rely on the present one and nobody confirmed that they will
            need consent again.
        clouds.CloudUnavailable
    """
    clouds.cloud(cloud_key)
    client_id = _checked(client_id)
    found = find_registration(cloud_key)
    if found is None:
        return _create(
            cloud_key, client_id, for_one_connection=False, actor=actor, now=now
        )
    return change_client_id(
        found,
        client_id=client_id,
        connections_confirmed=connections_confirmed,
        actor=actor,
        now=now,
    )


@transaction.atomic
def create_own(
    *, cloud_key: str, client_id: str, actor: Any, now: datetime
) -> ApplicationRegistration:
    """Enter a registration that one connection will use, once it has consent.

    Raises:
        RegistrationRefused: not a GUID, or entered already.
        clouds.CloudUnavailable
    """
    clouds.cloud(cloud_key)
    return _create(
        cloud_key, _checked(client_id), for_one_connection=True, actor=actor, now=now
    )


@transaction.atomic
def change_client_id(
    found: ApplicationRegistration,
    *,
    client_id: str,
    connections_confirmed: bool,
    actor: Any,
    now: datetime,
) -> ApplicationRegistration:
    """Store another client ID. Raises RegistrationRefused as `save_client_id` does."""
    client_id = _checked(client_id)
    if found.client_id == client_id:
        return found
    _refuse_if_taken(found.cloud, client_id)
    relying = len(connections_of(found))
    if relying and not connections_confirmed:
        raise RegistrationRefused(
            "client_id",
            f"{relying} {'connection relies' if relying == 1 else 'connections rely'} "
            "on the present application. With another one each needs consent again "
            "before it can be read. Confirm below to change it.",
        )
    before = found.client_id
    found.client_id = client_id
    found.changed_at = now
    found.save(update_fields=["client_id", "changed_at"])
    have_checked(found, now=now)
    record(
        obj=found,
        actor=actor,
        note="Changed the application (client) ID",
        details={"client_id": [before, client_id]},
        now=now,
    )
    return found


@transaction.atomic
def delete_own(found: ApplicationRegistration, *, actor: Any, now: datetime) -> None:
    """Erase a registration that was meant for one connection, with its credentials.

    Raises:
        RegistrationRefused: a connection uses it, or it is the deployment's.
    """
    if not found.for_one_connection or connections_of(found):
        raise RegistrationRefused(
            "__all__",
            "A connection uses this application. Give it consent with the deployment's "
            "application first.",
        )
    record(
        obj=found,
        actor=actor,
        action="deleted",
        note=f"Removed the application {found.client_id} and its credentials",
        details={"client_id": [found.client_id, ""]},
        now=now,
    )
    for row in found.credentials.all():
        resolve(*row.notice_keys, now=now)
    found.delete()


def _checked(client_id: str) -> str:
    client_id = client_id.strip().lower()
    if not is_guid(client_id):
        raise RegistrationRefused(
            "client_id",
            "This is not an application (client) ID. It has 32 hexadecimal digits in "
            "five groups; copy it from the Overview page of the registration.",
        )
    return client_id


def _refuse_if_taken(cloud_key: str, client_id: str) -> None:
    other = ApplicationRegistration.objects.filter(
        cloud=cloud_key, client_id=client_id
    ).first()
    if other is None:
        return
    raise RegistrationRefused(
        "client_id",
        "This application is entered already, for one connection."
        if other.for_one_connection
        else "This is the deployment's application. Connections use it by themselves.",
    )


def _create(
    cloud_key: str,
    client_id: str,
    *,
    for_one_connection: bool,
    actor: Any,
    now: datetime,
) -> ApplicationRegistration:
    _refuse_if_taken(cloud_key, client_id)
    found = ApplicationRegistration.objects.create(
        cloud=cloud_key,
        client_id=client_id,
        for_one_connection=for_one_connection,
        changed_at=now,
    )
    record(
        obj=found,
        actor=actor,
        note="Entered the application (client) ID",
        action="created",
        details={"client_id": ["", client_id]},
        now=now,
    )
    return found
