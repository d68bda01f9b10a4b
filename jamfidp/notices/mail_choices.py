"""Which kinds of notices go by mail: decided for all, and by each person for themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from jamfidp.history.record import record
from jamfidp.notices.kinds import CONFIGURABLE, Kind
from jamfidp.notices.models import KindSetting, MailOptOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is decided of one kind."""

    by_mail: bool
    addresses: Sequence[str] = ()

    @property
    def words(self) -> str:
        if not self.by_mail:
            return "not by mail"
        return ", ".join(("by mail to accounts", *self.addresses))


def choices() -> Mapping[str, Choice]:
    """What is in force for each kind that can be decided about, by its name."""
    kept = {row.kind: row for row in KindSetting.objects.all()}
    return {
        kind.name: Choice(by_mail=row.by_mail, addresses=row.addresses)
        if (row := kept.get(kind.name))
        else Choice(by_mail=kind.by_mail)
        for kind in CONFIGURABLE
    }


def choice_for(kind: Kind) -> Choice:
    if kind.always_by_mail:
        return Choice(by_mail=True)
    return choices()[kind.name]


@transaction.atomic
def save(wanted: Mapping[str, Choice], *, actor: Any, now: datetime) -> list[str]:
    """Decide about kinds; return the labels of those that changed."""
    before = choices()
    changed = []
    for kind in CONFIGURABLE:
        old, new = before[kind.name], wanted[kind.name]
        if old.by_mail == new.by_mail and list(old.addresses) == list(new.addresses):
            continue
        row, _ = KindSetting.objects.update_or_create(
            kind=kind.name,
            defaults={"by_mail": new.by_mail, "addresses": list(new.addresses)},
        )
        record(
            obj=row,
            actor=actor,
            note=f"Changed the notifications: {kind.label}",
            details={"mail": [old.words, new.words]},
            now=now,
        )
        changed.append(kind.label)
    return changed


def declined_by(account_id: int) -> frozenset[str]:
    """The kinds of which this account wants no mail."""
    return frozenset(
        MailOptOut.objects.filter(account_id=account_id).values_list("kind", flat=True)
    )


@transaction.atomic
def decline(account: Any, kinds: frozenset[str], *, now: datetime) -> bool:
    """Send this account no mail for these kinds, and mail for all others.

    Returns whether that changed anything.
    """
    before = declined_by(account.pk)
    if kinds == before:
        return False
    MailOptOut.objects.filter(account_id=account.pk).exclude(kind__in=kinds).delete()
    MailOptOut.objects.bulk_create(
        [MailOptOut(account_id=account.pk, kind=one) for one in kinds - before],
        ignore_conflicts=True,
    )
    record(
        obj=account,
        actor=account,
        note="Changed which notices come by mail",
        details={"no mail for": [", ".join(sorted(before)), ", ".join(sorted(kinds))]},
        now=now,
    )
    return True
