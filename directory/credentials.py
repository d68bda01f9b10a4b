"""The deployment's application registrations and the credentials they hold.

A registration belongs to the deployment, one per Microsoft cloud. Its secret and
private key are sealed, write-only, and leave this module only as a `Credential`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.db import transaction

from directory import clouds
from directory.entra import (
    CertificateCredential,
    ClientSecret,
    Credential,
    EntraSession,
    GraphClient,
    TokenCache,
    TokenSource,
    errors,
    is_guid,
)
from directory.entra.transport import Priority
from directory.models import ApplicationRegistration, CloudIdentityProvider
from jamfidp import crypto
from jamfidp.history.record import record

# Microsoft recommends to renew credentials within a year.
CERTIFICATE_LIFETIME = timedelta(days=365)
EXPIRES_SOON = timedelta(days=30)
MINIMUM_KEY_BITS = 2048

_TOKENS = TokenCache(clouds.METADATA)


class NoRegistration(errors.InvalidCredential):
    """The deployment has no application registration in this cloud."""

    advice = "Enter the application registration under Settings > Entra ID application."


class CredentialsUnreadable(errors.InvalidCredential):
    """The stored credential does not decrypt: the key is lost, or another one."""

    advice = (
        "Set ENCRYPTION_KEYS to the key that sealed them, or enter them anew under "
        "Settings > Entra ID application. Nothing was deleted, and local sign-in "
        "works."
    )


class RegistrationRefused(Exception):
    """A change of a registration was refused; `field` is the field to correct."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


# --- Reading ---------------------------------------------------------------------


def find_registration(cloud_key: str) -> ApplicationRegistration | None:
    return ApplicationRegistration.objects.filter(cloud=cloud_key).first()


def registration(cloud_key: str) -> ApplicationRegistration:
    """Return the registration for a cloud. Raises NoRegistration."""
    found = find_registration(cloud_key)
    if found is None or not (found.has_certificate or found.has_secret):
        raise NoRegistration(
            "The console has no application registration with a credential in this "
            "cloud."
        )
    return found


def credential(found: ApplicationRegistration) -> Credential:
    """Return the credential in use: the certificate where there is one.

    Raises:
        NoRegistration: it has neither secret nor certificate.
        CredentialsUnreadable: the encryption key is missing or another one.
    """
    try:
        if found.has_certificate:
            return CertificateCredential(
                private_key_pem=found.unseal("private_key"),
                certificate_pem=found.certificate_pem,
            )
        if found.has_secret:
            return ClientSecret(found.unseal("client_secret"))
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        # Not chained: the cause names keys.
        raise CredentialsUnreadable(
            "The credentials of the Entra ID application cannot be read."
        ) from None
    raise NoRegistration("The Entra ID application has no secret and no certificate.")


def readable(found: ApplicationRegistration) -> bool:
    """Tell whether the credential in use decrypts. True when there is none."""
    try:
        credential(found)
    except CredentialsUnreadable:
        return False
    except NoRegistration:
        return True
    return True


def token_source(
    cloud_idp: CloudIdentityProvider, *, session: EntraSession
) -> TokenSource:
    """Return app-only tokens for a connection's tenant; tokens are shared per process.

    Raises:
        NoRegistration, CredentialsUnreadable, clouds.CloudUnavailable
    """
    found = registration(cloud_idp.cloud)
    return TokenSource(
        cloud=clouds.cloud(cloud_idp.cloud),
        tenant=cloud_idp.tenant_id,
        client_id=found.client_id,
        credential=credential(found),
        session=session,
        cache=_TOKENS,
    )


def forget_tokens(cloud_idp: CloudIdentityProvider) -> None:
    """Have the next call of this process ask for a new token.

    A token lacks, for as long as it lives, what was consented to after it was issued.
    """
    try:
        found = registration(cloud_idp.cloud)
        _TOKENS.forget(
            clouds.cloud(cloud_idp.cloud),
            cloud_idp.tenant_id,
            found.client_id,
            credential(found),
        )
    except errors.EntraError:
        # Without a credential there is no token either.
        return


def graph_client(
    cloud_idp: CloudIdentityProvider,
    *,
    session: EntraSession,
    priority: Priority = "normal",
) -> GraphClient:
    """Return Microsoft Graph for a connection's tenant. Raises as `token_source`."""
    return GraphClient(
        cloud=clouds.cloud(cloud_idp.cloud),
        tokens=token_source(cloud_idp, session=session),
        session=session,
        priority=priority,
    )


@dataclass(frozen=True, slots=True)
class RedirectUri:
    """An address that the registration has to list, and what comes back to it."""

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
    ]


# --- Changing --------------------------------------------------------------------


@transaction.atomic
def save_client_id(
    *,
    cloud_key: str,
    client_id: str,
    connections_confirmed: bool,
    actor: Any,
    now: datetime,
) -> ApplicationRegistration:
    """Create the registration of a cloud, or change its client ID.

    Raises:
        RegistrationRefused: not a GUID; or connections rely on the present one and
            nobody confirmed that they will need consent again.
    """
    clouds.cloud(cloud_key)
    if not is_guid(client_id):
        raise RegistrationRefused(
            "client_id",
            "This is not an application (client) ID. It has 32 hexadecimal digits in "
            "five groups; copy it from the Overview page of the registration.",
        )
    client_id = client_id.lower()
    found = ApplicationRegistration.objects.filter(cloud=cloud_key).first()
    if found is None:
        found = ApplicationRegistration.objects.create(
            cloud=cloud_key, client_id=client_id, changed_at=now
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
    if found.client_id == client_id:
        return found
    relying = CloudIdentityProvider.objects.filter(cloud=cloud_key).count()
    if relying and not connections_confirmed:
        raise RegistrationRefused(
            "client_id",
            f"{relying} {'connection relies' if relying == 1 else 'connections rely'} "
            "on the present application. With another one each needs consent again "
            "before it can be read. Confirm below to change it.",
        )
    before = found.client_id
    found.client_id = client_id
    _save(
        found,
        actor=actor,
        now=now,
        note="Changed the application (client) ID",
        details={"client_id": [before, client_id]},
    )
    return found


@transaction.atomic
def save_secret(
    found: ApplicationRegistration,
    *,
    secret: str,
    expires_at: datetime | None,
    actor: Any,
    now: datetime,
) -> None:
    """Store a client secret in place of the one before.

    Raises:
        RegistrationRefused: empty, the secret's ID instead of its value, expired.
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
    before = found.client_secret_fingerprint
    found.client_secret_sealed = found.seal("client_secret", secret)
    found.client_secret_fingerprint = crypto.fingerprint(secret)
    found.client_secret_expires_at = expires_at
    _save(
        found,
        actor=actor,
        now=now,
        note="Replaced the client secret" if before else "Entered a client secret",
        details={"client_secret": [before, found.client_secret_fingerprint]},
    )


@transaction.atomic
def save_secret_expiry(
    found: ApplicationRegistration,
    *,
    expires_at: datetime | None,
    actor: Any,
    now: datetime,
) -> None:
    """Correct when the present secret expires, as Microsoft shows it."""
    if not found.has_secret or found.client_secret_expires_at == expires_at:
        return
    before = found.client_secret_expires_at
    found.client_secret_expires_at = expires_at
    _save(
        found,
        actor=actor,
        now=now,
        note="Changed the expiry of the client secret",
        details={
            "expires": [
                before.date().isoformat() if before else "",
                expires_at.date().isoformat() if expires_at else "",
            ]
        },
    )


@transaction.atomic
def save_certificate(
    found: ApplicationRegistration,
    *,
    certificate_pem: str,
    private_key_pem: str,
    passphrase: str,
    actor: Any,
    now: datetime,
) -> None:
    """Store a certificate with its private key; from now on it is the one in use.

    Raises:
        RegistrationRefused: unreadable, expired, not RSA, key and certificate do
            not match.
        crypto.KeyUnavailable: no encryption key is configured.
    """
    certificate = _checked_certificate(
        certificate_pem, private_key_pem, passphrase, now=now
    )
    key = load_pem_private_key(
        private_key_pem.encode(), passphrase.encode() if passphrase else None
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _put_certificate(
        found,
        certificate,
        private_key_sealed=found.seal("private_key", plain.decode()),
        actor=actor,
        now=now,
    )


@transaction.atomic
def generate_certificate(
    found: ApplicationRegistration, *, actor: Any, now: datetime
) -> None:
    """Make a key pair and a self-signed certificate, to be put in use later.

    The private key never leaves the console. The credential in use stays until
    `use_next_certificate`, so that the certificate can be uploaded before.

    Raises:
        crypto.KeyUnavailable: no encryption key is configured.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    host = urlsplit(settings.CONSOLE_URL).hostname or "console"
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Entra ID connector {host}"[:64])]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + CERTIFICATE_LIFETIME)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    found.next_private_key_sealed = found.seal("next_private_key", plain.decode())
    found.next_certificate_pem = certificate.public_bytes(Encoding.PEM).decode()
    _save(
        found,
        actor=actor,
        now=now,
        note="Generated a key and a certificate",
        details={"next_certificate": ["", thumbprint(certificate)]},
    )


@transaction.atomic
def use_next_certificate(
    found: ApplicationRegistration, *, actor: Any, now: datetime
) -> None:
    """Put the generated certificate in use.

    Raises:
        RegistrationRefused: there is none, or it has expired meanwhile.
        CredentialsUnreadable: its key cannot be read.
    """
    if not found.next_private_key_sealed:
        raise RegistrationRefused(
            "__all__", "There is no generated certificate. Generate one first."
        )
    try:
        plain = found.unseal("next_private_key")
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        raise CredentialsUnreadable(
            "The generated key cannot be read.",
            advice="Discard it and generate another one.",
        ) from None
    certificate = _checked_certificate(found.next_certificate_pem, plain, "", now=now)
    found.next_private_key_sealed = ""
    found.next_certificate_pem = ""
    _put_certificate(
        found,
        certificate,
        private_key_sealed=found.seal("private_key", plain),
        actor=actor,
        now=now,
    )


@transaction.atomic
def discard_next_certificate(
    found: ApplicationRegistration, *, actor: Any, now: datetime
) -> None:
    found.next_private_key_sealed = ""
    found.next_certificate_pem = ""
    _save(found, actor=actor, now=now, note="Discarded the generated certificate")


@transaction.atomic
def remove_secret(found: ApplicationRegistration, *, actor: Any, now: datetime) -> None:
    """Erase the client secret. Raises RegistrationRefused when it is in use."""
    _refuse_if_last(found, other=found.has_certificate)
    before = found.client_secret_fingerprint
    found.client_secret_sealed = ""
    found.client_secret_fingerprint = ""
    found.client_secret_expires_at = None
    _save(
        found,
        actor=actor,
        now=now,
        note="Removed the client secret",
        details={"client_secret": [before, ""]},
    )


@transaction.atomic
def remove_certificate(
    found: ApplicationRegistration, *, actor: Any, now: datetime
) -> None:
    """Erase certificate and key. Raises RegistrationRefused when nothing remains."""
    _refuse_if_last(found, other=found.has_secret)
    before = found.certificate_fingerprint
    found.private_key_sealed = ""
    found.certificate_pem = ""
    found.certificate_fingerprint = ""
    found.certificate_expires_at = None
    _save(
        found,
        actor=actor,
        now=now,
        note="Removed the certificate",
        details={"certificate": [before, ""]},
    )


def _refuse_if_last(found: ApplicationRegistration, *, other: bool) -> None:
    relying = CloudIdentityProvider.objects.filter(cloud=found.cloud).count()
    if relying and not other:
        raise RegistrationRefused(
            "__all__",
            f"{relying} {'connection relies' if relying == 1 else 'connections rely'} "
            "on it. Enter another credential first.",
        )


def _checked_certificate(
    certificate_pem: str, private_key_pem: str, passphrase: str, *, now: datetime
) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError:
        raise RegistrationRefused(
            "certificate_pem",
            "This is not a certificate in PEM form. It begins with "
            "-----BEGIN CERTIFICATE-----.",
        ) from None
    try:
        CertificateCredential(
            private_key_pem=private_key_pem,
            certificate_pem=certificate_pem,
            passphrase=passphrase or None,
        ).check()
    except errors.InvalidCredential as refused:
        raise RegistrationRefused(
            "private_key_pem", f"{refused.message} {refused.advice}"
        ) from None
    if certificate.not_valid_after_utc <= now:
        raise RegistrationRefused(
            "certificate_pem",
            f"This certificate expired on {certificate.not_valid_after_utc:%-d %B %Y}. "
            "Microsoft would refuse it.",
        )
    if certificate.not_valid_before_utc > now:
        raise RegistrationRefused(
            "certificate_pem",
            "This certificate is not valid before "
            f"{certificate.not_valid_before_utc:%-d %B %Y}.",
        )
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < MINIMUM_KEY_BITS:
        raise RegistrationRefused(
            "certificate_pem",
            f"The key has {public.key_size} bits. Use {MINIMUM_KEY_BITS} or more.",
        )
    return certificate


def _put_certificate(
    found: ApplicationRegistration,
    certificate: x509.Certificate,
    *,
    private_key_sealed: str,
    actor: Any,
    now: datetime,
) -> None:
    before = found.certificate_fingerprint
    found.private_key_sealed = private_key_sealed
    # The certificate alone: a file that was pasted may hold other things.
    found.certificate_pem = certificate.public_bytes(Encoding.PEM).decode()
    found.certificate_fingerprint = thumbprint(certificate)
    found.certificate_expires_at = certificate.not_valid_after_utc
    _save(
        found,
        actor=actor,
        now=now,
        note="Replaced the certificate" if before else "Put a certificate in use",
        details={"certificate": [before, found.certificate_fingerprint]},
    )


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256, as Microsoft's portal shows it."""
    return certificate.fingerprint(hashes.SHA256()).hex().upper()


def next_certificate(found: ApplicationRegistration) -> x509.Certificate | None:
    """Return the generated certificate that is not in use yet."""
    if not found.next_certificate_pem:
        return None
    return x509.load_pem_x509_certificate(found.next_certificate_pem.encode())


def _save(
    found: ApplicationRegistration,
    *,
    actor: Any,
    now: datetime,
    note: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    found.changed_at = now
    found.save()
    record(obj=found, actor=actor, note=note, details=details, now=now)
