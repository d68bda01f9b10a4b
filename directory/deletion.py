"""Deleting a connection, and erasing what was read through it.

Deleted, a connection is no more to everything else: it grants nothing, is not read,
and references to its people and groups are broken. What was read stays for some days,
so that connecting the tenant again takes it up; then a worker erases it.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from directory import registrations, sent_requests, tokens
from directory.dependents import registered
from directory.models import (
    CloudIdentityProvider,
    ConsentRequest,
    DirectoryObject,
    MappingDraft,
    SentRequest,
)
from directory.sync.erase import erase_some, stop_reading, tidy_search
from jamfidp.history.record import record
from jamfidp.notices.announce import resolve_about

# A worker erases for so long at a time, so that others get their turn.
SLICE_SECONDS = 20.0
# A worker that said nothing for so long is no longer erasing.
SILENT_AFTER = timedelta(minutes=5)

with_deleted = CloudIdentityProvider.with_deleted


class NameNotTyped(Exception):
    """The typed name is not the connection's display name."""


def kept() -> timedelta:
    """How long what was read through a deleted connection is kept."""
    return timedelta(days=settings.DELETED_CONNECTION_DAYS)


def deleted() -> Sequence[CloudIdentityProvider]:
    """Return deleted connections that are not erased yet, the latest first."""
    return list(
        with_deleted.filter(deleted_at__isnull=False).order_by("-deleted_at", "-pk")
    )


def deleted_connection(pk: int) -> CloudIdentityProvider | None:
    return with_deleted.filter(pk=pk, deleted_at__isnull=False).first()


def is_due(cloud_idp: CloudIdentityProvider, *, now: datetime) -> bool:
    """Whether its day has come: a worker erases it, and nothing takes it up again."""
    return cloud_idp.erase_at is not None and cloud_idp.erase_at <= now


@transaction.atomic
def delete(
    cloud_idp: CloudIdentityProvider,
    *,
    typed_name: str,
    at_once: bool,
    actor: Any,
    now: datetime,
) -> None:
    """Delete a connection; what was read is erased `at_once`, or after some days.

    Its own application goes with its credentials, and so does every request and
    attempt to renew its consent. Consent in Entra is not touched: the console never
    writes there.

    Raises:
        NameNotTyped
        CloudIdentityProvider.DoesNotExist: somebody else deleted it meanwhile.
    """
    locked = CloudIdentityProvider.objects.select_for_update().get(pk=cloud_idp.pk)
    _require_name(locked, typed_name)
    tokens.forget(locked)
    people, groups = locked.users.count(), locked.groups.count()
    for sent in SentRequest.objects.filter(cloud_idp=locked):
        sent_requests.revoke(sent, actor=actor, now=now)
    ConsentRequest.objects.filter(cloud_idp=locked).delete()
    MappingDraft.objects.filter(cloud_idp=locked).delete()
    stop_reading(locked, finished_at=now, error="The connection was deleted.")
    own, locked.own_registration = locked.own_registration, None
    locked.enabled = False
    locked.deleted_at = now
    locked.deleted_by_name = str(actor)
    locked.erase_at = now if at_once else now + kept()
    locked.save()
    if own is not None:
        registrations.delete_own(own, actor=actor, now=now)
    day = timezone.localtime(locked.erase_at)
    when = "at once" if at_once else f"on {day:%-d %B %Y}"
    record(
        obj=locked,
        actor=actor,
        action="deleted",
        note=f"Deleted the connection to {locked.tenant_name}; {_counted(people, groups)}"
        f" {'is' if people + groups == 1 else 'are'} erased {when}",
        details={"tenant_id": [locked.tenant_id, ""]},
        now=now,
    )
    resolve_about(locked, now=now)
    for dependents in registered():
        dependents.after_connection_change(locked.tenant_id, now=now)


@transaction.atomic
def erase_now(
    cloud_idp: CloudIdentityProvider, *, typed_name: str, actor: Any, now: datetime
) -> None:
    """Have a worker erase a deleted connection without waiting for its day.

    Raises:
        NameNotTyped
        CloudIdentityProvider.DoesNotExist: it is erased, or was taken up again.
    """
    locked = with_deleted.select_for_update().get(
        pk=cloud_idp.pk, deleted_at__isnull=False
    )
    _require_name(locked, typed_name)
    if is_due(locked, now=now):
        return
    locked.erase_at = now
    locked.save(update_fields=["erase_at"])
    record(
        obj=locked,
        actor=actor,
        action="deleted",
        note="Asked to erase what was read at once",
        now=now,
    )


def _require_name(cloud_idp: CloudIdentityProvider, typed_name: str) -> None:
    if typed_name.strip() != cloud_idp.display_name:
        raise NameNotTyped


def _counted(people: int, groups: int) -> str:
    return (
        f"{people:,} {'person' if people == 1 else 'people'} and "
        f"{groups:,} {'group' if groups == 1 else 'groups'}"
    )


def claim_due(*, now: datetime) -> Sequence[int]:
    """Return deleted connections whose day has come and that nobody is erasing."""
    due = with_deleted.filter(deleted_at__isnull=False, erase_at__lte=now).filter(
        Q(erasing_at=None) | Q(erasing_at__lt=now - SILENT_AFTER)
    )
    return [
        pk
        for pk in due.values_list("pk", flat=True)
        if due.filter(pk=pk).update(erasing_at=now)
    ]


def erase(
    pk: int,
    *,
    now: Callable[[], datetime],
    heard: Callable[[], None] = lambda: None,
    seconds: float = SLICE_SECONDS,
) -> bool:
    """Erase what was read through a deleted connection, then the connection itself.

    Returns whether nothing is left; otherwise the next tick has it go on.
    """
    ends_at = time.monotonic() + seconds
    due = with_deleted.filter(pk=pk, deleted_at__isnull=False, erase_at__lte=now())
    cloud_idp = due.first()
    if cloud_idp is None:
        return True
    while erase_some(cloud_idp):
        heard()
        if time.monotonic() > ends_at:
            due.update(erasing_at=None)
            return False
        due.update(erasing_at=now())
    tidy_search(lambda: time.monotonic() < ends_at)
    _finish(cloud_idp, now=now())
    return True


@transaction.atomic
def _finish(cloud_idp: CloudIdentityProvider, *, now: datetime) -> None:
    if not with_deleted.select_for_update().filter(pk=cloud_idp.pk).exists():
        return
    # Given by a worker between its last look at its lease and our last look.
    DirectoryObject.objects.filter(cloud_idp=cloud_idp).delete()
    record(
        obj=cloud_idp,
        actor=None,
        action="erased",
        note=f"Erased what was read of {cloud_idp.tenant_name}",
        now=now,
    )
    cloud_idp.delete()
