"""What a connection's status becomes after a conversation with Microsoft.

Nothing is deleted and nobody loses a group by a failure: the status and its
evidence change, and the next success changes them back.
"""

from datetime import datetime

from django.db import transaction

from directory import credentials, tokens
from directory.clouds import CloudUnavailable
from directory.entra import errors
from directory.models import CloudIdentityProvider
from jamfidp.history.record import record

Status = CloudIdentityProvider.Status

# From subclass to base: the first that fits counts.
_STATUSES: tuple[tuple[type[errors.EntraError], str], ...] = (
    (credentials.CredentialsUnreadable, Status.KEY_UNAVAILABLE),
    (errors.InvalidCredential, Status.CREDENTIALS),
    (errors.CredentialsRefused, Status.CREDENTIALS),
    (errors.PermissionMissing, Status.PERMISSIONS_MISSING),
    (errors.ConsentMissing, Status.CONSENT_WITHDRAWN),
    (errors.ApplicationNotFound, Status.CONSENT_WITHDRAWN),
    (errors.ApplicationDisabled, Status.APPLICATION_DISABLED),
    (errors.ConditionalAccessBlocked, Status.BLOCKED),
    (errors.TenantNotFound, Status.TENANT_GONE),
    (errors.WrongCloud, Status.TENANT_GONE),
    (errors.ServiceUnavailable, Status.UNREACHABLE),
    (errors.Unreachable, Status.UNREACHABLE),
    (errors.RedirectRefused, Status.UNREACHABLE),
    (CloudUnavailable, Status.UNREACHABLE),
    (errors.TokenRefused, Status.REFUSED),
    (errors.IdentityError, Status.REFUSED),
)


def status_for(error: errors.EntraError) -> str | None:
    """Return the status an error puts a connection in.

    None for errors that say nothing about the connection: an object that does not
    exist, a delta link that is too old, a query Graph does not accept.
    """
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), None)


@transaction.atomic
def record_failure(
    cloud_idp: CloudIdentityProvider, error: errors.EntraError, *, now: datetime
) -> None:
    """Store what went wrong and since when; history gets an entry when it is new."""
    status = status_for(error)
    if status is None:
        return
    if isinstance(error, errors.PermissionMissing):
        tokens.forget(cloud_idp)
    before = cloud_idp.get_status_display()
    changed = cloud_idp.status != status
    cloud_idp.status = status
    if changed:
        cloud_idp.status_since = now
    cloud_idp.status_detail = " ".join(filter(None, (error.message, error.advice)))
    cloud_idp.status_code = error.code[:60]
    cloud_idp.status_request_id = error.request_id[:64]
    _save(cloud_idp)
    if changed:
        record(
            obj=cloud_idp,
            actor=None,
            action="status",
            note=f"Status became '{cloud_idp.get_status_display()}': {error.message}",
            details={
                "status": [before, cloud_idp.get_status_display()],
                "reference": ["", error.reference],
            },
            now=now,
        )


@transaction.atomic
def record_success(cloud_idp: CloudIdentityProvider, *, now: datetime) -> None:
    """Microsoft answered and everything needed was granted."""
    if cloud_idp.status == Status.ACTIVE and not cloud_idp.status_detail:
        return
    before = cloud_idp.get_status_display()
    changed = cloud_idp.status != Status.ACTIVE
    cloud_idp.status = Status.ACTIVE
    if changed:
        cloud_idp.status_since = now
    cloud_idp.status_detail = ""
    cloud_idp.status_code = ""
    cloud_idp.status_request_id = ""
    _save(cloud_idp)
    if changed:
        record(
            obj=cloud_idp,
            actor=None,
            action="status",
            note="Status became 'Active'",
            details={"status": [before, cloud_idp.get_status_display()]},
            now=now,
        )


def _save(cloud_idp: CloudIdentityProvider) -> None:
    # These columns alone: a sync and a person may be at the same row.
    cloud_idp.save(
        update_fields=[
            "status",
            "status_since",
            "status_detail",
            "status_code",
            "status_request_id",
        ]
    )
