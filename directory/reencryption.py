"""Move what is sealed with an older key to the newest one."""

from datetime import datetime

from django.db import transaction

from directory.models import ApplicationCredential
from jamfidp import crypto
from jamfidp.history.record import record


@transaction.atomic
def reencrypt(*, now: datetime) -> crypto.Resealed:
    """Seal every stored credential with the first key of ENCRYPTION_KEYS.

    What cannot be read stays as it is: its key may come back. Flows of attempts to
    connect or sign in live ten minutes: they are left to end.

    Raises:
        crypto.KeyUnavailable: no key is configured.
    """
    moved = kept = unreadable = 0
    sealed = ApplicationCredential.objects.exclude(sealed="").select_related(
        "registration"
    )
    for row in sealed.select_for_update(of=("self",)):
        if crypto.is_sealed_with_newest_key(row.sealed):
            kept += 1
            continue
        try:
            row.sealed = row.seal(row.unseal())
        except (crypto.KeyUnavailable, crypto.DecryptionFailed):
            unreadable += 1
            continue
        moved += 1
        row.save(update_fields=["sealed"])
        record(
            obj=row.registration,
            actor=None,
            note=f"Sealed the {row} with the newest encryption key",
            action="re-encrypted",
            now=now,
        )
    return crypto.Resealed(moved=moved, kept=kept, unreadable=unreadable)
