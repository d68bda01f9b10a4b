"""What application registrations prove themselves with: added, put in use, removed.

Two credentials may be in use, so that one can be replaced without a gap. Secrets and
private keys are sealed, write-only, and leave this module only as a `Credential`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from django.conf import settings
from django.db import transaction

from directory import certificates
from directory.certificates import KeyPair
from directory.entra import (
    CertificateCredential,
    ClientSecret,
    Credential,
    FederatedAssertion,
    errors,
    is_guid,
)
from directory.models import ApplicationCredential, ApplicationRegistration
from directory.registrations import (
    NoRegistration,
    RegistrationRefused,
    connections_of,
    have_checked,
)
from jamfidp import crypto
from jamfidp.compiled import CompiledObjects
from jamfidp.history.record import record
from jamfidp.notices.announce import resolve

Kind = ApplicationCredential.Kind

MOST_IN_USE = 2
EXPIRES_SOON = timedelta(days=30)


class CredentialsUnreadable(errors.InvalidCredential):
    """The stored credential does not decrypt: the key is lost, or another one."""

    advice = (
        "Set ENCRYPTION_KEYS to the key that sealed them, or enter them anew under "
        "Settings > Entra ID application. Nothing was deleted, and local sign-in "
        "works."
    )


# --- Reading ---------------------------------------------------------------------


def load(row: ApplicationCredential) -> Credential:
    """Return a credential, opened.

    Raises:
        CredentialsUnreadable: the encryption key is missing or another one.
        errors.AssertionUnavailable: the settings do not name its file any more.
    """
    if row.kind == Kind.ASSERTION:
        return assertion(row.assertion_file)
    try:
        plain = row.unseal()
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        # Not chained: the cause names keys.
        raise CredentialsUnreadable(
            "The credentials of the Entra ID application cannot be read."
        ) from None
    if row.kind == Kind.SECRET:
        return ClientSecret(plain)
    return CertificateCredential(
        private_key_pem=plain, certificate_pem=row.certificate_pem
    )


def assertion(file: str) -> FederatedAssertion:
    """Return the assertion of a file that the settings name.

    The console reads no other file: who may enter credentials may not look around on
    the server. Raises errors.AssertionUnavailable.
    """
    if file not in settings.FEDERATED_TOKEN_FILES:
        raise errors.AssertionUnavailable(
            f"FEDERATED_TOKEN_FILES does not name the file {file}.",
            advice="Name it there and restart the console, or enter another credential.",
        )
    return FederatedAssertion(Path(file))


class State(StrEnum):
    """How a credential stands; the worst that is known of it."""

    WAITING = "waiting"
    UNREADABLE = "unreadable"
    UNAVAILABLE = "unavailable"
    EXPIRED = "expired"
    REFUSED = "refused"
    EXPIRES_SOON = "expires-soon"
    GOOD = "good"


# States in which a credential can still be the one that works.
USABLE = frozenset({State.EXPIRES_SOON, State.GOOD})


def state_of(row: ApplicationCredential, *, now: datetime) -> State:
    """Return how a credential stands, without asking Microsoft."""
    problem = problem_of(row)
    if isinstance(problem, CredentialsUnreadable):
        return State.UNREADABLE
    if problem is not None:
        return State.UNAVAILABLE
    if row.expires_at is not None and row.expires_at <= now:
        return State.EXPIRED
    if not row.in_use:
        return State.WAITING
    if row.refused_at is not None:
        return State.REFUSED
    if row.expires_at is not None and row.expires_at <= now + EXPIRES_SOON:
        return State.EXPIRES_SOON
    return State.GOOD


def problem_of(row: ApplicationCredential) -> errors.InvalidCredential | None:
    """Return why a credential cannot be used here, or None."""
    try:
        loaded = load(row)
        if isinstance(loaded, FederatedAssertion):
            loaded.read()
    except errors.InvalidCredential as error:
        return error
    return None


_OF_REGISTRATION = CompiledObjects(
    lambda registration: ApplicationCredential.objects.filter(registration=registration)
)


def of(found: ApplicationRegistration) -> list[ApplicationCredential]:
    """Return the credentials of a registration."""
    rows = _OF_REGISTRATION.all(found.pk)
    for row in rows:
        row.registration = found
    return rows


def in_order(
    rows: Iterable[ApplicationCredential], *, now: datetime
) -> Sequence[ApplicationCredential]:
    """Return the credentials in use, in the order in which they are tried.

    The newest first; those that Microsoft refused and those that have expired last.
    """

    def rank(row: ApplicationCredential) -> tuple[bool, bool, float, int]:
        expired = row.expires_at is not None and row.expires_at <= now
        return (
            row.refused_at is not None,
            expired,
            -row.added_at.timestamp(),
            -row.pk,
        )

    return sorted((row for row in rows if row.in_use), key=rank)


def first(
    found: ApplicationRegistration, *, now: datetime
) -> ApplicationCredential | None:
    """Return the credential that is tried first, or None when none is in use."""
    return next(iter(in_order(found.credentials.all(), now=now)), None)


def require_one(found: ApplicationRegistration) -> None:
    """Raise unless one credential in use at least can be used here.

    Raises:
        NoRegistration: none is in use.
        CredentialsUnreadable, errors.AssertionUnavailable
    """
    problems = [problem_of(row) for row in found.credentials.all() if row.in_use]
    if not problems:
        raise NoRegistration(
            "The Entra ID application has no secret, certificate or assertion."
        )
    if None not in problems:
        raise next(filter(None, problems))


def readable(found: ApplicationRegistration) -> bool:
    """Tell whether what is in use decrypts. True when there is none."""
    return not any(
        isinstance(problem_of(row), CredentialsUnreadable)
        for row in found.credentials.all()
        if row.in_use
    )


# --- Changing --------------------------------------------------------------------


@transaction.atomic
def add_secret(
    found: ApplicationRegistration,
    *,
    secret: str,
    expires_at: datetime | None,
    actor: Any,
    now: datetime,
) -> ApplicationCredential:
    """Add a client secret; from now on it is tried first.

    Raises:
        RegistrationRefused: empty, the secret's ID instead of its value, expired, two
            credentials are in use already.
        crypto.KeyUnavailable: no encryption key is configured.
    """
    secret = secret.strip()
    if not secret:
        raise RegistrationRefused("client_secret", "Enter the secret's value.")
    if is_guid(secret):
        raise RegistrationRefused(
            "client_secret",
            "This is the ID of a secret. Copy the column 'Value'; Microsoft shows it "
            "once, when the secret is made.",
        )
    if expires_at is not None and expires_at <= now:
        raise RegistrationRefused(
            "expires_on", "This date has passed: Microsoft would refuse the secret."
        )
    return _add(
        found,
        Kind.SECRET,
        plain=secret,
        actor=actor,
        now=now,
        fingerprint=crypto.fingerprint(secret),
        expires_at=expires_at,
    )


@transaction.atomic
def add_certificate(
    found: ApplicationRegistration, pair: KeyPair, *, actor: Any, now: datetime
) -> ApplicationCredential:
    """Add a certificate with its private key; from now on it is tried first.

    Raises:
        RegistrationRefused: two credentials are in use already.
        crypto.KeyUnavailable: no encryption key is configured.
    """
    return _add(
        found,
        Kind.CERTIFICATE,
        plain=pair.private_key_pem,
        actor=actor,
        now=now,
        certificate_pem=pair.certificate_pem,
        fingerprint=pair.thumbprint,
        expires_at=pair.certificate.not_valid_after_utc,
    )


@transaction.atomic
def generate_certificate(
    found: ApplicationRegistration, *, actor: Any, now: datetime
) -> ApplicationCredential:
    """Make a key and a certificate that waits to be uploaded and put in use.

    The private key never leaves the console.

    Raises:
        RegistrationRefused: another generated certificate waits.
        crypto.KeyUnavailable: no encryption key is configured.
    """
    if found.credentials.filter(in_use=False).exists():
        raise RegistrationRefused(
            "__all__",
            "A generated certificate waits already. Put it in use, or discard it.",
        )
    host = urlsplit(settings.CONSOLE_URL).hostname or "console"
    pair = certificates.generate(f"Entra ID connector {host}", now=now)
    return _add(
        found,
        Kind.CERTIFICATE,
        plain=pair.private_key_pem,
        actor=actor,
        now=now,
        note="Generated a key and a certificate",
        in_use=False,
        certificate_pem=pair.certificate_pem,
        fingerprint=pair.thumbprint,
        expires_at=pair.certificate.not_valid_after_utc,
    )


@transaction.atomic
def add_assertion(
    found: ApplicationRegistration, *, file: str, actor: Any, now: datetime
) -> ApplicationCredential:
    """Add the assertion of a file; from now on it is tried first.

    Raises:
        RegistrationRefused: the settings do not name the file, it holds no valid
            assertion, it is in use already, two credentials are in use already.
    """
    try:
        assertion(file).read()
    except errors.AssertionUnavailable as error:
        raise RegistrationRefused(
            "assertion_file", f"{error.message} {error.advice}"
        ) from None
    if found.credentials.filter(assertion_file=file).exists():
        raise RegistrationRefused(
            "assertion_file", "The assertion of this file is in use already."
        )
    return _add(found, Kind.ASSERTION, actor=actor, now=now, assertion_file=file)


@transaction.atomic
def put_in_use(row: ApplicationCredential, *, actor: Any, now: datetime) -> None:
    """Put a generated certificate in use; from now on it is tried first.

    Raises:
        RegistrationRefused: it is in use, has expired, or two others are in use.
        CredentialsUnreadable: its key cannot be read.
    """
    if row.in_use:
        raise RegistrationRefused("__all__", "This certificate is in use already.")
    try:
        load(row)
    except CredentialsUnreadable:
        raise CredentialsUnreadable(
            "The generated key cannot be read.",
            advice="Discard it and generate another one.",
        ) from None
    certificates.check_fit(
        x509.load_pem_x509_certificate(row.certificate_pem.encode()),
        field="__all__",
        now=now,
    )
    _refuse_a_third(row.registration, now=now)
    row.in_use = True
    row.added_at = now
    row.save(update_fields=["in_use", "added_at"])
    have_checked(row.registration, now=now)
    _record(row, actor=actor, now=now, note=f"Put in use the {row}")


@transaction.atomic
def save_expiry(
    row: ApplicationCredential,
    *,
    expires_at: datetime | None,
    actor: Any,
    now: datetime,
) -> None:
    """Correct when a secret expires, as Microsoft shows it.

    Raises:
        RegistrationRefused: a certificate says so itself.
    """
    if row.kind != Kind.SECRET:
        raise RegistrationRefused("expires_on", "Only secrets are told when they end.")
    if row.expires_at == expires_at:
        return
    before = row.expires_at
    row.expires_at = expires_at
    # Another date is announced anew.
    row.announced_days = None
    row.save(update_fields=["expires_at", "announced_days"])
    resolve(row.expiry_key, now=now)
    _record(
        row,
        actor=actor,
        now=now,
        note=f"Changed when the {row} expires",
        details={
            "expires": [
                before.date().isoformat() if before else "",
                expires_at.date().isoformat() if expires_at else "",
            ]
        },
    )


@transaction.atomic
def remove(row: ApplicationCredential, *, actor: Any, now: datetime) -> None:
    """Erase a credential.

    Raises:
        RegistrationRefused: connections rely on it, and no other is in use.
    """
    found = row.registration
    relying = len(connections_of(found))
    if row.in_use and relying and not _others(row).exists():
        raise RegistrationRefused(
            "__all__",
            f"{relying} {'connection relies' if relying == 1 else 'connections rely'} "
            "on it. Add another credential first.",
        )
    note = f"Removed the {row}" if row.in_use else f"Discarded the generated {row}"
    _record(row, actor=actor, now=now, note=note, details={row.kind: [_name(row), ""]})
    resolve(*row.notice_keys, now=now)
    row.delete()


def _others(row: ApplicationCredential) -> Any:
    return row.registration.credentials.filter(in_use=True).exclude(pk=row.pk)


def _refuse_a_third(found: ApplicationRegistration, *, now: datetime) -> None:
    """Two overlap for a rotation; what cannot work any more does not count."""
    working = [
        row
        for row in found.credentials.filter(in_use=True)
        if state_of(row, now=now) in USABLE | {State.REFUSED}
    ]
    if len(working) >= MOST_IN_USE:
        raise RegistrationRefused(
            "__all__",
            "Two credentials are in use already, so that one can replace the other. "
            "Remove the older one first.",
        )


def _add(
    found: ApplicationRegistration,
    kind: ApplicationCredential.Kind,
    *,
    plain: str = "",
    actor: Any,
    now: datetime,
    note: str = "",
    **values: Any,
) -> ApplicationCredential:
    if values.get("in_use", True):
        _refuse_a_third(found, now=now)
    row = ApplicationCredential(
        registration=found, kind=kind, added_at=now, added_by=actor, **values
    )
    row.save()
    if plain:
        # Sealed for this row: its number has to be known.
        row.sealed = row.seal(plain)
        row.save(update_fields=["sealed"])
    if row.in_use:
        have_checked(found, now=now)
    _record(
        row,
        actor=actor,
        now=now,
        note=note or f"Added the {row}",
        details={kind.value: ["", _name(row)]},
    )
    return row


def _name(row: ApplicationCredential) -> str:
    """What can be shown of a credential: never the credential."""
    return row.fingerprint or row.assertion_file


def _record(
    row: ApplicationCredential,
    *,
    actor: Any,
    now: datetime,
    note: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    found = row.registration
    found.changed_at = now
    found.save(update_fields=["changed_at"])
    record(obj=found, actor=actor, note=note, details=details, now=now)
