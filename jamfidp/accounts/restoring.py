"""After the database was restored from a backup: nothing that was lost meanwhile returns.

What the backup holds is of a day in the past. Sessions and half-finished sign-ins end,
approvals are void, and nothing read before the restore gives a privilege until a read
that began later was applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from directory import restored
from jamfidp.accounts import sessions
from jamfidp.accounts.models import AccountSession, SignInConfirmation, SignInRequest


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, for the person at the terminal."""

    sessions: int
    sign_ins: int
    directory: restored.Done


@transaction.atomic
def after_restore(*, now: datetime) -> Done:
    ended = sessions.end(
        AccountSession.objects.all(),
        because="The console was restored from a backup.",
        now=now,
    )
    sign_ins, _ = SignInRequest.objects.all().delete()
    SignInConfirmation.objects.all().delete()
    return Done(ended, sign_ins, restored.after_restore(now=now))
