"""What of the directory must not count after a restore from a backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F

from directory.models import (
    CloudIdentityProvider,
    ConsentRequest,
    DecidedChange,
    Decision,
    HeldChange,
    SentRequest,
    StagedPage,
    SyncRun,
    UnconfirmedLoss,
)
from jamfidp.history.record import record

REASON = "The console was restored from a backup."


@dataclass(frozen=True, slots=True)
class Done:
    connections: int
    approvals: int
    consents: int


@transaction.atomic
def after_restore(*, now: datetime) -> Done:
    """Void approvals and half-finished consents, suspend privileges, plan full reads."""
    approved = HeldChange.objects.filter(
        closed_at=None, decision__verdict=Decision.Verdict.APPROVED
    )
    DecidedChange.objects.filter(held__in=approved.values("pk"), outcome="").update(
        outcome=DecidedChange.Outcome.VOID, ended_at=now
    )
    approvals = approved.update(decision=None)
    consents, _ = ConsentRequest.objects.exclude(
        step=ConsentRequest.Step.SAVED
    ).delete()
    # One that was revoked since the backup would work again.
    SentRequest.objects.filter(revoked_at=None).update(revoked_at=now)
    UnconfirmedLoss.objects.all().delete()
    StagedPage.objects.all().delete()
    SyncRun.objects.active().update(
        state=SyncRun.State.CANCELED,
        phase="",
        finished_at=now,
        lease_expires_at=None,
        fencing_token=F("fencing_token") + 1,
    )
    # A deleted one may be taken up again.
    connections = CloudIdentityProvider.with_deleted.all()
    for cloud_idp in connections:
        record(
            obj=cloud_idp,
            actor=None,
            action="restored",
            note=f"{REASON} Privileges through the directory are suspended until it is "
            "read.",
            now=now,
        )
    connections.update(restored_at=now, full_read_reason=REASON, next_sync_at=now)
    return Done(len(connections), approvals, consents)
