"""Raise a notice, and end it when its cause has ended.

Both are part of the transaction that has something to tell. Mail is queued with it
and sent by a worker; nothing waits for a mail server.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Model

from jamfidp.notices.kinds import Kind
from jamfidp.notices.models import Notice, NoticeMail, Severity


@transaction.atomic
def announce(
    *,
    kind: Kind,
    title: str,
    body: str = "",
    severity: Severity = Severity.WARNING,
    link: str = "",
    about: Model | None = None,
    accounts: Collection[Model] = (),
    key: str = "",
    now: datetime,
) -> Notice:
    """Tell those who hold the privilege of the kind, and the accounts named.

    With a `key` the same thing is announced once: while a notice with this key is
    open, it is returned as it stands. `title` and `body` are plain text and go out by
    mail: no secret stands in them. `link` is a path of this console. Of an object
    `about` that has a site, only those hear who may see that site.
    """
    if key:
        known = Notice.objects.filter(key=key, resolved_at=None).first()
        if known is not None:
            return known
    notice = Notice(
        kind=kind.name,
        severity=severity,
        title=" ".join(title.split())[:200],
        body=body.strip(),
        link=link,
        key=key,
        raised_at=now,
        **_object(about),
    )
    try:
        with transaction.atomic():
            notice.save(force_insert=True)
    except IntegrityError:
        # Somebody else announced it at the same moment.
        return Notice.objects.get(key=key, resolved_at=None)
    notice.accounts.set(accounts)
    return notice


def resolve(*keys: str, now: datetime) -> int:
    """End the open notices with these keys; return how many there were."""
    return Notice.objects.filter(key__in=keys, resolved_at=None).update(resolved_at=now)


def end(
    key: str,
    *,
    kind: Kind,
    title: str,
    body: str = "",
    link: str = "",
    about: Model | None = None,
    now: datetime,
) -> None:
    """End the open notice with this key, and say so if mail of it went out.

    What was over before anybody was written to needs no second notice.
    """
    written = Notice.objects.filter(
        key=key, resolved_at=None, mails__state=NoticeMail.State.SENT
    ).exists()
    if resolve(key, now=now) and written:
        announce(
            kind=kind,
            severity=Severity.INFO,
            title=title,
            body=body,
            link=link,
            about=about,
            now=now,
        )


def resolve_about(obj: Model, *, now: datetime) -> int:
    """End the open notices about an object that is no more; return how many."""
    return Notice.objects.filter(
        object_label=obj._meta.label_lower, object_pk=str(obj.pk), resolved_at=None
    ).update(resolved_at=now)


def _object(about: Model | None) -> dict[str, Any]:
    if about is None:
        return {}
    return {
        "object_label": about._meta.label_lower,
        "object_pk": str(about.pk),
        "object_name": str(about)[:255],
        "site_id": getattr(about, "site_id", None),
    }
