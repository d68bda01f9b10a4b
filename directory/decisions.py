"""Deciding about held changes: what would follow, who may, and writing it down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.urls import reverse
from pyroaring import BitMap

from directory.dependents import Consequence, ConsequenceKind
from directory.models import (
    CloudIdentityProvider,
    DecidedChange,
    Decision,
    DirectoryUser,
    HeldChange,
    SyncRun,
)
from directory.sync import request_sync
from directory.sync.agreed import hash_of, what_follows
from directory.sync.apply import announce_held
from directory.sync.differences import Plan
from directory.sync.guards import Guard
from jamfidp.history.record import record
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import HELD_CHANGES
from jamfidp.notices.models import Severity

# For how long a rejection holds: by default, and at most.
REJECTED_DAYS = 7
REJECTED_DAYS_LIMIT = 365
# What gives somebody privileges.
_GIVING = frozenset({Guard.FULL_ACCESS, Guard.NEW_NESTING, Guard.CHANGED_RULE})
DECIDE = "directory.decide_heldchange"
# Held by a limit: approving asks for the name of the connection.
_BY_LIMIT = frozenset(
    {
        Guard.PEOPLE_LOST,
        Guard.MEMBERSHIPS_LOST,
        Guard.MEMBERS_LOST,
        Guard.ANSWER_SMALL,
    }
)


class CannotDecide(Exception):
    """The decision is not taken; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Held changes of one connection, and what approving them would do."""

    cloud_idp: CloudIdentityProvider
    changes: Sequence[HeldChange]
    plan: Plan
    consequences: Sequence[Consequence]
    # Whether it gives a privilege to whoever looks.
    gives_to_viewer: bool

    @property
    def asks_for_name(self) -> bool:
        return any(_BY_LIMIT.intersection(each.guards) for each in self.changes)

    @property
    def applies_something(self) -> bool:
        plan = self.plan
        return bool(
            plan.people.changes
            or plan.people.new.numbers
            or plan.groups.changes
            or plan.groups.new.numbers
            or plan.users
            or plan.nesting
        )

    @property
    def consequences_hash(self) -> str:
        return hash_of(self.consequences)

    @property
    def seal(self) -> str:
        """Names all that a person sees here; another one means look again."""
        parts = sorted(f"{each.pk}:{each.payload_hash}" for each in self.changes)
        said = "\n".join([*parts, self.consequences_hash])
        return hashlib.sha256(said.encode()).hexdigest()


def review(
    cloud_idp: CloudIdentityProvider,
    changes: Sequence[HeldChange],
    *,
    viewer: Any,
    now: datetime,
) -> Review:
    plan, consequences = what_follows(
        cloud_idp, BitMap(each.number for each in changes), now=now
    )
    return Review(
        cloud_idp=cloud_idp,
        changes=changes,
        plan=plan,
        consequences=consequences,
        gives_to_viewer=_gives_to(viewer, cloud_idp, consequences),
    )


def _gives_to(
    viewer: Any, cloud_idp: CloudIdentityProvider, consequences: Sequence[Consequence]
) -> bool:
    """Whether the viewer is a person of this tenant who would gain a privilege."""
    object_id = getattr(viewer, "object_id", "")
    if not object_id or getattr(viewer, "tenant_id", "") != cloud_idp.tenant_id:
        return False
    number = (
        DirectoryUser.objects.filter(cloud_idp=cloud_idp, object_id=object_id)
        .values_list("pk", flat=True)
        .first()
    )
    return number is not None and any(
        each.kind is ConsequenceKind.PRIVILEGES_GAINED and number in each.numbers
        for each in consequences
    )


def tell_if_nobody_may_approve(
    cloud_idp: CloudIdentityProvider, *, now: datetime
) -> None:
    """Tell when what waits gives privileges to all who may approve it and get mail.

    Nobody approves what gives a privilege to themselves. A local administrator always
    can, but one without an address would not hear of it.
    """
    key = f"held-changes-nobody:{cloud_idp.pk}"
    giving = BitMap(
        number
        for number, guards in HeldChange.objects.filter(
            cloud_idp=cloud_idp, closed_at=None, decision=None
        ).values_list("number", "guards")
        if _GIVING.intersection(guards)
    )
    if not giving or _somebody_may_approve(cloud_idp, giving, now=now):
        resolve(key, now=now)
        return
    announce(
        kind=HELD_CHANGES,
        severity=Severity.CRITICAL,
        title=f"Nobody who gets mail may approve what {cloud_idp} would give",
        body="Changes that are held would give privileges to everybody who may decide "
        "about them and has a mail address. Nobody approves what gives a privilege to "
        "themselves. A local administrator can decide, or somebody else who is given the "
        "privilege 'Approve Held Changes'.",
        link=f"{reverse('directory:heldchange-list')}?connection={cloud_idp.pk}",
        about=cloud_idp,
        key=key,
        now=now,
    )


def _somebody_may_approve(
    cloud_idp: CloudIdentityProvider, numbers: BitMap, *, now: datetime
) -> bool:
    _plan, consequences = what_follows(cloud_idp, numbers, now=now)
    # Accounts of no tenant come first: nothing that a directory gives is theirs.
    accounts = get_user_model().objects.filter(is_active=True).exclude(email="")
    return any(
        account.has_perm(DECIDE) and not _gives_to(account, cloud_idp, consequences)
        for account in accounts.order_by("tenant_id", "pk")
    )


@transaction.atomic
def approve(
    *,
    cloud_idp: CloudIdentityProvider,
    pks: Sequence[int],
    seal: str,
    typed: str,
    reason: str,
    actor: Any,
    now: datetime,
) -> SyncRun | None:
    """Approve held changes as they were seen; return the run that will apply them.

    Raises:
        CannotDecide
    """
    shown = _locked(cloud_idp, pks, actor=actor, reason=reason, now=now)
    if seal != shown.seal:
        raise CannotDecide(
            "What is held, or what follows from it, has changed since you looked at it. "
            "Nothing was approved. Look at it again below."
        )
    if shown.gives_to_viewer:
        raise CannotDecide(
            "It would give you privileges in this console. Ask another administrator to "
            "decide."
        )
    if not shown.applies_something:
        raise CannotDecide(
            "It follows from other held changes alone. Decide those, and it is decided "
            "with them."
        )
    if shown.asks_for_name and typed.strip() != cloud_idp.display_name:
        raise CannotDecide(
            f"Type the name of the connection, {cloud_idp.display_name}, to approve "
            "changes above its limits."
        )
    _write(
        shown, Decision.Verdict.APPROVED, reason=reason, actor=actor, now=now, ends=None
    )
    if not cloud_idp.enabled:
        return None
    return request_sync(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.PERSON,
        actor=actor,
        now=now,
    )


@transaction.atomic
def reject(
    *,
    cloud_idp: CloudIdentityProvider,
    pks: Sequence[int],
    days: int,
    reason: str,
    actor: Any,
    now: datetime,
) -> None:
    """Keep everything as it is here for so many days.

    Raises:
        CannotDecide
    """
    shown = _locked(cloud_idp, pks, actor=actor, reason=reason, now=now)
    if not 1 <= days <= REJECTED_DAYS_LIMIT:
        raise CannotDecide(
            f"A rejection ends after 1 to {REJECTED_DAYS_LIMIT} days. Say how many."
        )
    _write(
        shown,
        Decision.Verdict.REJECTED,
        reason=reason,
        actor=actor,
        now=now,
        ends=now + timedelta(days=days),
    )


def _locked(
    cloud_idp: CloudIdentityProvider,
    pks: Sequence[int],
    *,
    actor: Any,
    reason: str,
    now: datetime,
) -> Review:
    """Look again, with nobody applying meanwhile."""
    if not reason.strip():
        raise CannotDecide("Say why: the reason stands in the history.")
    CloudIdentityProvider.objects.select_for_update(of=("self",)).get(pk=cloud_idp.pk)
    changes = list(
        HeldChange.objects.filter(
            cloud_idp=cloud_idp, pk__in=pks, closed_at=None
        ).order_by("pk")
    )
    if len(changes) < len(set(pks)) or not changes:
        raise CannotDecide(
            "Some of it is no longer held: Entra took it back, or somebody decided. "
            "Nothing was decided now. Look at what is left."
        )
    return review(cloud_idp, changes, viewer=actor, now=now)


def _write(
    shown: Review,
    verdict: Decision.Verdict,
    *,
    reason: str,
    actor: Any,
    now: datetime,
    ends: datetime | None,
) -> Decision:
    approved = verdict == Decision.Verdict.APPROVED
    decision = Decision.objects.create(
        cloud_idp=shown.cloud_idp,
        verdict=verdict,
        actor=actor,
        actor_name=str(actor),
        reason=reason.strip(),
        at=now,
        ends_at=ends,
        consequences_hash=shown.consequences_hash if approved else "",
    )
    held = [each.pk for each in shown.changes]
    DecidedChange.objects.filter(held__in=held, outcome="").update(
        outcome=DecidedChange.Outcome.REPLACED, ended_at=now
    )
    DecidedChange.objects.bulk_create(
        DecidedChange(decision=decision, held=each, payload_hash=each.payload_hash)
        for each in shown.changes
    )
    HeldChange.objects.filter(pk__in=held).update(decision=decision)
    count = len(held)
    record(
        obj=shown.cloud_idp,
        actor=actor,
        action="approved" if approved else "rejected",
        note=f"{decision.get_verdict_display()} {count} held "
        f"change{'' if count == 1 else 's'}: {decision.reason}",
        details={
            "held_changes": held,
            "payload_hashes": [each.payload_hash for each in shown.changes],
            "consequences_hash": decision.consequences_hash,
            "until": ends.isoformat() if ends else "",
        },
        now=now,
    )
    announce_held(shown.cloud_idp, now=now)
    return decision
