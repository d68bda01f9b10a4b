"""Move what is sealed with an older key to the newest one."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from directory.models import ApplicationRegistration
from jamfidp import crypto
from jamfidp.history.record import record

# Flows of attempts to connect or sign in live ten minutes: they are left to end.
SEALED_FIELDS = ("client_secret", "private_key", "next_private_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How many secrets were moved, were new already, or could not be read."""

    moved: int
    kept: int
    unreadable: int


@transaction.atomic
def reencrypt(*, now: datetime) -> Outcome:
    """Seal every stored credential with the first key of ENCRYPTION_KEYS.

    What cannot be read stays as it is: its key may come back.

    Raises:
        crypto.KeyUnavailable: no key is configured.
    """
    moved = kept = unreadable = 0
    for registration in ApplicationRegistration.objects.select_for_update():
        changed = []
        for field in SEALED_FIELDS:
            column = f"{field}_sealed"
            sealed = getattr(registration, column)
            if not sealed:
                continue
            if crypto.is_sealed_with_newest_key(sealed):
                kept += 1
                continue
            try:
                plaintext = registration.unseal(field)
            except (crypto.KeyUnavailable, crypto.DecryptionFailed):
                unreadable += 1
                continue
            setattr(registration, column, registration.seal(field, plaintext))
            changed.append(column)
        if changed:
            moved += len(changed)
            registration.save(update_fields=changed)
            record(
                obj=registration,
                actor=None,
                note="Sealed the credentials with the newest encryption key",
                action="re-encrypted",
                now=now,
            )
    return Outcome(moved=moved, kept=kept, unreadable=unreadable)
