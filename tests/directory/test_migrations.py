"""Migrations that move data, forward and back, with rows in the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from directory import certificates
from directory.models import ApplicationCredential
from jamfidp import crypto

BEFORE = ("directory", "0006_tls_connections")
AFTER = ("directory", "0010_announced_credentials")
OLD = "directory.applicationregistration"
OTHER_KEY = "other:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(target: tuple[str, str]) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate([target])
    return MigrationExecutor(connection).loader.project_state([target]).apps


@pytest.fixture
def before() -> Iterator[Any]:
    """The models as they were, on an empty schema of that time."""
    yield migrate(BEFORE)
    call_command("migrate", verbosity=0)


def sealed(field: str, text: str) -> str:
    return crypto.encrypt(text, model=OLD, pk="PUBLIC", field=field)


def test_credentials_move_to_rows_and_back(before: Any, settings: Any) -> None:
    now = timezone.now()
    pair, waiting = (certificates.generate("Console", now=now) for _ in range(2))
    Registration = before.get_model("directory", "ApplicationRegistration")  # noqa: N806
    Registration.objects.create(
        cloud="PUBLIC",
        client_id="0a6d5c1e-93f4-4c2b-8e57-1d2f9b7c3a40",
        client_secret_sealed=sealed("client_secret", "the secret"),
        client_secret_fingerprint="f" * 12,
        client_secret_expires_at=now,
        private_key_sealed=sealed("private_key", pair.private_key_pem),
        certificate_pem=pair.certificate_pem,
        certificate_fingerprint=pair.thumbprint,
        certificate_expires_at=pair.certificate.not_valid_after_utc,
        next_private_key_sealed=sealed("next_private_key", waiting.private_key_pem),
        next_certificate_pem=waiting.certificate_pem,
        changed_at=now,
    )
    Registration.objects.create(cloud="GCC_HIGH", client_id="x", changed_at=now)

    migrate(AFTER)

    rows = {(row.kind, row.in_use): row for row in ApplicationCredential.objects.all()}
    assert set(rows) == {
        ("SECRET", True),
        ("CERTIFICATE", True),
        ("CERTIFICATE", False),
    }
    secret = rows["SECRET", True]
    assert secret.unseal() == "the secret"
    assert secret.fingerprint == "f" * 12
    assert secret.expires_at == now
    assert rows["CERTIFICATE", True].unseal() == pair.private_key_pem
    assert rows["CERTIFICATE", True].fingerprint == pair.thumbprint
    assert rows["CERTIFICATE", False].unseal() == waiting.private_key_pem
    assert rows["CERTIFICATE", False].fingerprint == waiting.thumbprint
    # The certificate was used before the secret, and is tried first.
    assert rows["CERTIFICATE", True].pk > secret.pk

    back = migrate(BEFORE).get_model("directory", "ApplicationRegistration")

    row = back.objects.get(cloud="PUBLIC")
    for field, text in (
        ("client_secret", "the secret"),
        ("private_key", pair.private_key_pem),
        ("next_private_key", waiting.private_key_pem),
    ):
        column = getattr(row, f"{field}_sealed")
        assert crypto.decrypt(column, model=OLD, pk="PUBLIC", field=field) == text
    assert row.client_secret_expires_at == now
    assert row.certificate_fingerprint == pair.thumbprint
    assert row.next_certificate_pem == waiting.certificate_pem


def test_a_secret_whose_key_is_lost_is_not_lost_with_it(
    before: Any, settings: Any
) -> None:
    """It cannot be sealed for its row; going back, with the key, brings it back."""
    known = list(settings.ENCRYPTION_KEYS)
    ciphertext = sealed("client_secret", "the secret")
    before.get_model("directory", "ApplicationRegistration").objects.create(
        cloud="PUBLIC",
        client_id="x",
        client_secret_sealed=ciphertext,
        changed_at=timezone.now(),
    )
    settings.ENCRYPTION_KEYS = [OTHER_KEY]

    migrate(AFTER)

    row = ApplicationCredential.objects.get()
    settings.ENCRYPTION_KEYS = known
    with pytest.raises(crypto.DecryptionFailed):
        row.unseal()
    back = migrate(BEFORE).get_model("directory", "ApplicationRegistration")
    assert back.objects.get().client_secret_sealed == ciphertext


def test_numbers_of_connections_go_on_where_they_were(before: Any) -> None:
    now = timezone.now()

    def connect(apps: Any, name: str) -> int:
        row = apps.get_model("directory", "CloudIdentityProvider").objects.create(
            display_name=name,
            cloud="PUBLIC",
            tenant_id=name,
            consented_at=now,
            status_since=now,
        )
        return int(row.pk)

    numbers = [connect(before, name) for name in ("a", "b", "c")]
    before.get_model("directory", "CloudIdentityProvider").objects.filter(
        pk=numbers[-1]
    ).delete()

    after = migrate(AFTER)

    assert numbers[0] >= 1001
    # The number of the one that was deleted is not given again.
    assert connect(after, "d") == numbers[-1] + 1
