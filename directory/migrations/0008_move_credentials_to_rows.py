"""Move each registration's secret and certificate to rows of their own.

A secret is sealed for the row it stands in, so that it is opened and sealed anew. One
whose key is not in ENCRYPTION_KEYS is moved as it is and has to be entered anew; going
back to 0007, with the key, brings it back.
"""

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from jamfidp import crypto

OLD, NEW = "directory.applicationregistration", "directory.applicationcredential"


def to_rows(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    registrations = apps.get_model("directory", "ApplicationRegistration")
    for registration in registrations.objects.all():
        if registration.client_secret_sealed:
            _to_row(
                registration,
                "client_secret",
                kind="SECRET",
                fingerprint=registration.client_secret_fingerprint,
                expires_at=registration.client_secret_expires_at,
            )
        # After the secret: newer credentials are tried first, and the certificate was.
        if registration.private_key_sealed:
            _to_row(
                registration,
                "private_key",
                kind="CERTIFICATE",
                certificate_pem=registration.certificate_pem,
                fingerprint=registration.certificate_fingerprint,
                expires_at=registration.certificate_expires_at,
            )
        if registration.next_private_key_sealed:
            _to_row(
                registration,
                "next_private_key",
                kind="CERTIFICATE",
                in_use=False,
                certificate_pem=registration.next_certificate_pem,
                **_facts(registration.next_certificate_pem),
            )
    # Attempts that wait for Microsoft's answer live ten minutes: they begin again.
    apps.get_model("directory", "ConsentRequest").objects.all().delete()


def to_columns(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """The newest of each kind; what was added since, and does not fit, is let go."""
    cloud_idps = apps.get_model("directory", "CloudIdentityProvider")
    cloud_idps.objects.update(own_registration=None)
    registrations = apps.get_model("directory", "ApplicationRegistration")
    registrations.objects.filter(for_one_connection=True).delete()
    credentials = apps.get_model("directory", "ApplicationCredential")
    for credential in credentials.objects.order_by("added_at", "pk"):
        registration = credential.registration
        if credential.kind == "SECRET":
            field = "client_secret"
            registration.client_secret_fingerprint = credential.fingerprint
            registration.client_secret_expires_at = credential.expires_at
        elif credential.kind != "CERTIFICATE":
            continue
        elif credential.in_use:
            field = "private_key"
            registration.certificate_pem = credential.certificate_pem
            registration.certificate_fingerprint = credential.fingerprint
            registration.certificate_expires_at = credential.expires_at
        else:
            field = "next_private_key"
            registration.next_certificate_pem = credential.certificate_pem
        sealed = _sealed_anew(
            credential.sealed,
            before={"model": NEW, "pk": str(credential.pk), "field": credential.kind},
            after={"model": OLD, "pk": registration.cloud, "field": field},
        )
        setattr(registration, f"{field}_sealed", sealed)
        registration.save()
    credentials.objects.all().delete()
    apps.get_model("directory", "ConsentRequest").objects.all().delete()


def _to_row(registration: Any, field: str, *, kind: str, **values: Any) -> None:
    row = registration.credentials.create(
        kind=kind, added_at=registration.changed_at, **values
    )
    row.sealed = _sealed_anew(
        getattr(registration, f"{field}_sealed"),
        before={"model": OLD, "pk": registration.cloud, "field": field},
        after={"model": NEW, "pk": str(row.pk), "field": kind},
    )
    row.save(update_fields=["sealed"])


def _sealed_anew(sealed: str, *, before: dict[str, str], after: dict[str, str]) -> str:
    try:
        return crypto.encrypt(crypto.decrypt(sealed, **before), **after)
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        return sealed


def _facts(certificate_pem: str) -> dict[str, Any]:
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    return {
        "fingerprint": certificate.fingerprint(SHA256()).hex().upper(),
        "expires_at": certificate.not_valid_after_utc,
    }


class Migration(migrations.Migration):
    dependencies = [("directory", "0007_application_credentials")]

    operations = [migrations.RunPython(to_rows, to_columns)]
