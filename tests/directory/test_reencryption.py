"""Changing the encryption key: what is sealed moves to the newest one."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from directory import certificates, credentials
from directory.models import ApplicationCredential, ApplicationRegistration
from jamfidp.history.record import entries_for

pytestmark = pytest.mark.django_db

OLD = "old:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
NEW = "new:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="


@pytest.fixture
def secret(settings: Any) -> ApplicationCredential:
    """A secret, beside a certificate and an assertion, which has nothing sealed."""
    settings.ENCRYPTION_KEYS = [OLD]
    now = timezone.now()
    found = ApplicationRegistration.objects.create(cloud="PUBLIC", changed_at=now)
    pair = certificates.generate("Console", now=now)
    credentials.add_certificate(found, pair, actor=None, now=now)
    ApplicationCredential.objects.create(
        registration=found, kind="ASSERTION", assertion_file="/x", added_at=now
    )
    return credentials.add_secret(
        found, secret="the secret", expires_at=None, actor=None, now=now
    )


def test_reencrypting_lets_the_old_key_go(
    secret: ApplicationCredential, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    before = entries_for(secret.registration).count()
    printed = StringIO()

    call_command("reencrypt", stdout=printed)

    settings.ENCRYPTION_KEYS = [NEW]
    secret.refresh_from_db()
    assert secret.unseal() == "the secret"
    assert credentials.readable(secret.registration)
    assert "2 sealed anew" in printed.getvalue()
    assert entries_for(secret.registration).count() == before + 2


def test_reencrypting_twice_changes_nothing(
    secret: ApplicationCredential, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    call_command("reencrypt", stdout=StringIO())
    secret.refresh_from_db()
    before = secret.sealed

    call_command("reencrypt", stdout=StringIO())

    secret.refresh_from_db()
    assert secret.sealed == before


def test_what_cannot_be_read_is_kept_and_reported(
    secret: ApplicationCredential, settings: Any
) -> None:
    before = secret.sealed
    settings.ENCRYPTION_KEYS = [NEW]

    with pytest.raises(CommandError, match="2 could not be read"):
        call_command("reencrypt", stdout=StringIO())

    secret.refresh_from_db()
    assert secret.sealed == before
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert secret.unseal() == "the secret"


def test_without_any_key_it_says_so(
    secret: ApplicationCredential, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []

    with pytest.raises(CommandError):
        call_command("reencrypt", stdout=StringIO())
