"""What a connection's status becomes after a conversation with Microsoft.

Nothing is deleted and nobody loses a group by a failure: the status and its
evidence change, and the next success changes them back. Whoever is to know hears of
it by a notice, which ends when the cause does.

A token that was issued before can work for hours after the cause of a refusal came
about. So a read that succeeds heals a refusal only when Microsoft has issued a token
since then; a check, which has a token issued for it, always decides.
"""

from datetime import datetime, timedelta

from django.db import transaction

from directory import tokens
from directory.entra import errors
from directory.models import CloudIdentityProvider
from directory.registrations import NoRegistration, registration_of
from directory.status_table import MEANINGS, status_for, what_to_do
from jamfidp.compiled import Compiled
from jamfidp.history.record import record
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import CONNECTION_STATUS
from jamfidp.notices.models import Severity

Status = CloudIdentityProvider.Status

# How often a connection that works is checked with a token of its own.
CHECKED_EVERY = timedelta(minutes=30)
# After the first failed check in a row, the second, and so on.
CHECK_PAUSES = (
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=20),
    timedelta(minutes=40),
    timedelta(minutes=60),
)
# What passes by itself, or was said to a read alone, is announced when it lasts.
ANNOUNCED_AFTER = timedelta(minutes=10)

_CONSENT_LOST = (
    Status.CONSENT_WITHDRAWN,
    Status.APPLICATION_REMOVED,
)
# What this module decides of a row.
COLUMNS = (
    "status",
    "status_since",
    "status_detail",
    "status_advice",
    "status_code",
    "status_request_id",
    "status_seen_at",
    "checked_at",
    "next_check_at",
    "failed_checks",
    "asked_to_wait_until",
    "consented_client_id",
)


def notice_key(cloud_idp: CloudIdentityProvider) -> str:
    return f"connection-status:{cloud_idp.pk}"


def is_passing(status: str) -> bool:
    return MEANINGS[status].passing


@transaction.atomic
def record_failure(
    cloud_idp: CloudIdentityProvider,
    error: errors.EntraError,
    *,
    now: datetime,
    checked: bool = False,
) -> None:
    """Store what went wrong and since when; history gets an entry when it is new.

    `checked` says that a token was issued for it, or refused: the strongest evidence.
    """
    status = status_for(error)
    if status is None and checked:
        status = Status.REFUSED
    row = _locked(cloud_idp)
    if status is None or row is None:
        return
    status = _sharpened(row, status)
    if isinstance(error, errors.PermissionMissing) and not checked:
        # It was issued before the permission was granted, as long as it lives.
        tokens.forget(row)
    if not checked and _says_less(row, status, error):
        _space(row, getattr(error, "retry_after", None), False, False, now=now)
        _save(row, cloud_idp)
        return
    before = row.get_status_display()
    changed = row.status != status
    row.status = status
    if changed:
        row.status_since = now
    row.status_detail = error.message
    row.status_advice = error.advice
    row.status_code = error.code[:60]
    row.status_request_id = error.request_id[:64]
    row.status_seen_at = now
    _space(row, getattr(error, "retry_after", None), changed, checked, now=now)
    _save(row, cloud_idp)
    if changed:
        record(
            obj=row,
            actor=None,
            action="status",
            note=f"Status became '{row.get_status_display()}': {error.message}",
            details={
                "status": [before, row.get_status_display()],
                "reference": ["", error.reference],
            },
            now=now,
        )
    _announce(row, changed=changed, checked=checked, now=now)


def record_success(
    cloud_idp: CloudIdentityProvider, *, now: datetime, checked: bool = False
) -> None:
    """Microsoft answered, and a read or, with `checked`, each permission succeeded."""
    if checked or not _is_active(cloud_idp):
        _record_success(cloud_idp, now=now, checked=checked)


@transaction.atomic
def _record_success(
    cloud_idp: CloudIdentityProvider, *, now: datetime, checked: bool
) -> None:
    row = _locked(cloud_idp)
    if row is None:
        return
    if checked:
        row.checked_at = now
        row.next_check_at = now + CHECKED_EVERY
        row.failed_checks = 0
        # Consent stands, whichever way it came about.
        row.consented_client_id = _client_id(row)
    elif not _proves(row):
        return
    row.asked_to_wait_until = None
    heal(row, now=now)
    _save(row, cloud_idp)


def heal(row: CloudIdentityProvider, *, now: datetime) -> None:
    """Make a connection active; the caller saves it. Those who were told hear of it."""
    before, since = row.get_status_display(), row.status_since
    changed = row.status != Status.ACTIVE
    row.status = Status.ACTIVE
    if changed:
        row.status_since = now
    row.status_detail = row.status_advice = ""
    row.status_code = row.status_request_id = ""
    row.status_seen_at = now
    if not changed:
        return
    record(
        obj=row,
        actor=None,
        action="status",
        note="Status became 'Active'",
        details={"status": [before, row.get_status_display()]},
        now=now,
    )
    if end_notice(row, now=now):
        announce(
            kind=CONNECTION_STATUS,
            severity=Severity.INFO,
            title=f"{row} works again",
            body=f"The connection to {row.tenant_name} was '{before}' since "
            f"{since:%-d %B %Y, %H:%M} UTC. Microsoft answers again, and nothing was "
            "deleted meanwhile.",
            link=row.get_absolute_url(),
            about=row,
            now=now,
        )


def end_notice(cloud_idp: CloudIdentityProvider, *, now: datetime) -> bool:
    """End what was announced of a connection's status; tell whether there was any."""
    return resolve(notice_key(cloud_idp), now=now) > 0


def _locked(cloud_idp: CloudIdentityProvider) -> CloudIdentityProvider | None:
    """Return the row as it is now: a read, a check and a person may be at it at once.

    None when it was deleted or switched off meanwhile: nobody is to hear of it then.
    """
    return (
        CloudIdentityProvider.objects.select_for_update(of=("self",))
        .select_related("own_registration")
        .filter(pk=cloud_idp.pk, enabled=True)
        .first()
    )


_ACTIVE = Compiled(
    lambda cloud_idp: (
        CloudIdentityProvider.objects.filter(pk=cloud_idp, status=Status.ACTIVE)
        .order_by()
        .values_list("pk")[:1]
    )
)


def _is_active(cloud_idp: CloudIdentityProvider) -> bool:
    return _ACTIVE.any(cloud_idp.pk)


def _client_id(row: CloudIdentityProvider) -> str:
    try:
        return registration_of(row).client_id
    except NoRegistration:
        return row.consented_client_id


def _sharpened(row: CloudIdentityProvider, status: str) -> str:
    """Tell consent that was taken back from consent that was never given."""
    lost = status in _CONSENT_LOST
    if lost and row.consented_client_id not in ("", _client_id(row)):
        return Status.PENDING_CONSENT
    return status


def _says_less(
    row: CloudIdentityProvider, status: str, error: errors.EntraError
) -> bool:
    """Tell whether a read that failed says less than is known of a refusal.

    A read with an older token, or one that did not get through, says nothing about it,
    and the check has tried every permission where a read meets one at a time.
    """
    if status == row.status or row.status == Status.ACTIVE or is_passing(row.status):
        return False
    none_granted = row.status in (Status.CONSENT_WITHDRAWN, Status.PENDING_CONSENT)
    if is_passing(status) or (none_granted and status == Status.PERMISSIONS_MISSING):
        return True
    return not isinstance(error, errors.IdentityError) and not _proves(row)


def _proves(row: CloudIdentityProvider) -> bool:
    """Tell whether a read that succeeded says more than an older token can."""
    if is_passing(row.status):
        return True
    seen = row.status_seen_at or row.status_since
    return row.token_issued_at is not None and row.token_issued_at > seen


def _space(
    row: CloudIdentityProvider,
    retry_after: float | None,
    changed: bool,
    checked: bool,
    *,
    now: datetime,
) -> None:
    """Set when the connection is checked again: later with each failure in a row."""
    if retry_after:
        row.asked_to_wait_until = now + timedelta(seconds=retry_after)
    if checked:
        row.checked_at = now
        pause = CHECK_PAUSES[min(row.failed_checks, len(CHECK_PAUSES) - 1)]
        row.failed_checks = min(row.failed_checks + 1, len(CHECK_PAUSES))
        row.next_check_at = now + pause
    elif changed and not is_passing(row.status):
        # What a read was refused is looked into at once.
        row.next_check_at = now
    if row.asked_to_wait_until and row.next_check_at:
        row.next_check_at = max(row.next_check_at, row.asked_to_wait_until)


def _announce(
    row: CloudIdentityProvider, *, changed: bool, checked: bool, now: datetime
) -> None:
    if changed:
        end_notice(row, now=now)
    meaning = MEANINGS[row.status]
    lasting = now - row.status_since >= ANNOUNCED_AFTER
    if not lasting and (meaning.passing or not checked):
        return
    reference = ", ".join(
        part
        for part in (
            row.status_code,
            f"request {row.status_request_id}" if row.status_request_id else "",
        )
        if part
    )
    announce(
        kind=CONNECTION_STATUS,
        severity=Severity.WARNING if meaning.passing else Severity.CRITICAL,
        title=f"{row}: {row.get_status_display()}",
        body="\n\n".join(
            [
                f"{meaning.sentence} So since {row.status_since:%-d %B %Y, %H:%M} UTC.",
                row.status_detail + (f" Reference: {reference}." if reference else ""),
                meaning.works,
                f"What to do: {what_to_do(row)}",
            ]
        ),
        link=row.get_absolute_url(),
        about=row,
        key=notice_key(row),
        now=now,
    )


def _save(row: CloudIdentityProvider, given: CloudIdentityProvider) -> None:
    # These columns alone: a sync and a person may be at the same row.
    row.save(update_fields=COLUMNS)
    for name in COLUMNS:
        setattr(given, name, getattr(row, name))
