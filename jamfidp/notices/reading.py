"""Which notices a person sees, and which of them they have read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from jamfidp.access import ConsoleUser
from jamfidp.notices.kinds import KINDS, Kind
from jamfidp.notices.models import Notice, NoticeRead, Severity

DASHBOARD_SHOWS = 5


def kinds_of(user: ConsoleUser) -> list[Kind]:
    """The kinds that this person's privileges let them see, somewhere at least."""
    return [
        kind
        for kind in KINDS.values()
        if not kind.privilege or user.has_perm(kind.privilege)
    ]


def visible_to(user: ConsoleUser) -> QuerySet[Notice]:
    """Notices of what the person may see, and those that name the person."""
    named = Notice.accounts.through.objects.filter(
        notice_id=OuterRef("pk"), user_id=user.pk
    )
    seen = Q(Exists(named))
    for privilege in sorted({one.privilege for one in KINDS.values()} - {""}):
        access = user.sites_with(privilege)
        if not access.everywhere and not access.site_ids:
            continue
        kinds = [one.name for one in KINDS.values() if one.privilege == privilege]
        of_kinds = Q(kind__in=kinds)
        if not access.everywhere:
            of_kinds &= Q(site_id__in=access.site_ids)
        seen |= of_kinds
    return Notice.objects.filter(seen)


def read_by(user: ConsoleUser) -> Exists:
    """The condition that this person has read a notice."""
    return Exists(NoticeRead.objects.filter(notice=OuterRef("pk"), account_id=user.pk))


def unread(user: ConsoleUser) -> QuerySet[Notice]:
    """Notices that nobody has ended and the person has not read: what the bell counts."""
    return visible_to(user).filter(~read_by(user), resolved_at=None)


def needing_attention(user: ConsoleUser) -> list[Notice]:
    """For the dashboard: causes that last, and warnings not read yet; worst first."""
    found = visible_to(user).filter(resolved_at=None)
    lasting = ~Q(read_by(user)) | ~Q(key="")
    severities = [Severity.CRITICAL, Severity.WARNING]
    shown: list[Notice] = []
    for severity in severities:
        rows = found.filter(lasting, severity=severity)
        shown += rows[: DASHBOARD_SHOWS - len(shown)]
    return shown


def mark_read(notices: Iterable[Notice], user: ConsoleUser, *, now: datetime) -> None:
    """Mark as read; what was read stays as it was."""
    NoticeRead.objects.bulk_create(
        [NoticeRead(notice=one, account_id=user.pk, at=now) for one in notices],
        ignore_conflicts=True,
        batch_size=500,
    )
