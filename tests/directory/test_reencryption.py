from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from directory.models import ApplicationRegistration
from jamfidp.history.record import entries_for

pytestmark = pytest.mark.django_db

OLD = "old:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
NEW = "new:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="


@pytest.fixture
def registration(settings: Any) -> ApplicationRegistration:
    settings.ENCRYPTION_KEYS = [OLD]
    row = ApplicationRegistration(cloud="PUBLIC", changed_at=timezone.now())
    row.client_secret_sealed = row.seal("client_secret", "the secret")
    row.private_key_sealed = row.seal("private_key", "the key")
    row.save()
    return row


def test_reencrypting_lets_the_old_key_go(
    registration: ApplicationRegistration, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    printed = StringIO()

    call_command("reencrypt", stdout=printed)

    settings.ENCRYPTION_KEYS = [NEW]
    registration.refresh_from_db()
    assert registration.unseal("client_secret") == "the secret"
    assert registration.unseal("private_key") == "the key"
    assert "2 sealed anew" in printed.getvalue()
    assert entries_for(registration).count() == 1


def test_reencrypting_twice_changes_nothing(
    registration: ApplicationRegistration, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    call_command("reencrypt", stdout=StringIO())
    registration.refresh_from_db()
    before = registration.client_secret_sealed

    call_command("reencrypt", stdout=StringIO())

    registration.refresh_from_db()
    assert registration.client_secret_sealed == before


def test_what_cannot_be_read_is_kept_and_reported(
    registration: ApplicationRegistration, settings: Any
) -> None:
    before = registration.client_secret_sealed
    settings.ENCRYPTION_KEYS = [NEW]

    with pytest.raises(CommandError, match="2 could not be read"):
        call_command("reencrypt", stdout=StringIO())

    registration.refresh_from_db()
    assert registration.client_secret_sealed == before
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert registration.unseal("client_secret") == "the secret"


def test_without_any_key_it_says_so(
    registration: ApplicationRegistration, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []

    with pytest.raises(CommandError):
        call_command("reencrypt", stdout=StringIO())
