"""Changing a connection: options, mappings, on and off, delete."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from directory import schedules, status
from directory.dependents import Use, registered
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    SyncRun,
)
from directory.sync import request_sync
from directory.sync.filters import ReadFilter
from directory.sync.forget import forget_attributes
from jamfidp.access import ConsoleUser
from jamfidp.history.record import record

OPTIONS = (
    "display_name",
    "search_timeout",
    "transitive_membership_enabled",
    "transitive_directory_membership_enabled",
    "match_domains",
    "match_names_without_domain",
)
SCHEDULE = ("delta_minutes", "full_read_hour")


def uses(cloud_idp: CloudIdentityProvider, *, viewer: ConsoleUser) -> list[Use]:
    """Return everything of the console that depends on a connection."""
    return [
        use
        for dependents in registered()
        for use in dependents.uses_of_connection(cloud_idp.tenant_id, viewer=viewer)
    ]


def shows_all_uses(viewer: ConsoleUser) -> bool:
    """Whether `uses` names everything, or leaves out what the viewer may not see."""
    return all(each.shows_all_uses(viewer=viewer) for each in registered())


@transaction.atomic
def save_options(
    changed: CloudIdentityProvider, *, actor: Any, now: datetime
) -> Mapping[str, Any]:
    """Store display name, search timeout, transitive switches, matching.

    Returns what changed, as (before, after); nothing is written when nothing did.
    """
    before = CloudIdentityProvider.objects.select_for_update().get(pk=changed.pk)
    changes = _changes(before, changed, OPTIONS)
    if not changes:
        return {}
    changed.save(update_fields=list(OPTIONS))
    record(obj=changed, actor=actor, note="Changed options", details=changes, now=now)
    _tell(changed, now=now)
    return changes


@transaction.atomic
def save_mappings(
    changed: AttributeMappings, *, actor: Any, now: datetime
) -> SyncRun | None:
    """Store the attribute mappings; other mappings need everything read again.

    What filled an attribute before is erased. In the rows of people who are in the
    directory an attribute that is mapped still keeps its value until that read.

    Returns the full read that was requested, or None when nothing changed or the
    connection is disabled.
    """
    before = AttributeMappings.objects.select_for_update().get(pk=changed.pk)
    names = [
        field.name for field in AttributeMappings._meta.fields if not field.is_relation
    ]
    changes = _changes(before, changed, [name for name in names if name != "id"])
    if not changes:
        return None
    changed.save()
    cloud_idp = changed.cloud_idp
    record(
        obj=cloud_idp,
        actor=actor,
        note="Changed attribute mappings",
        details=changes,
        now=now,
    )
    forget_attributes(
        cloud_idp, {name: after for name, (_before, after) in changes.items()}, now=now
    )
    _tell(cloud_idp, now=now)
    if not cloud_idp.enabled:
        return None
    return request_sync(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.FULL,
        trigger=SyncRun.Trigger.PERSON,
        actor=actor,
        now=now,
    )


@transaction.atomic
def save_schedule(
    changed: CloudIdentityProvider, *, actor: Any, now: datetime
) -> Mapping[str, Any]:
    """Store how often changes are read, and at which hour everything.

    Returns what changed, as (before, after); nothing is written when nothing did.
    """
    before = CloudIdentityProvider.objects.select_for_update().get(pk=changed.pk)
    changes = _changes(before, changed, SCHEDULE)
    if not changes:
        return {}
    changed.save(update_fields=list(SCHEDULE))
    if before.enabled and before.last_good_read_at is not None:
        due = before.last_good_read_at + schedules.delta_every(changed)
        CloudIdentityProvider.objects.filter(pk=changed.pk).update(next_sync_at=due)
    record(
        obj=changed, actor=actor, note="Changed the schedule", details=changes, now=now
    )
    return changes


@transaction.atomic
def save_filter(
    cloud_idp: CloudIdentityProvider, chosen: ReadFilter, *, actor: Any, now: datetime
) -> SyncRun | None:
    """Store which people and groups are read; another filter needs everything read.

    Nothing is changed in the rows: whoever is left out is so by the next full read.

    Returns the full read that was requested, or None when nothing changed or the
    connection is disabled.
    """
    current = CloudIdentityProvider.objects.select_for_update().get(pk=cloud_idp.pk)
    before = ReadFilter.from_json(current.read_filter)
    if before.signature == chosen.signature:
        return None
    current.read_filter = cloud_idp.read_filter = chosen.to_json()
    current.save(update_fields=["read_filter"])
    words, earlier = chosen.words(), before.words()
    picked = [", ".join(sorted(each.group_ids)) for each in (before, chosen)]
    record(
        obj=current,
        actor=actor,
        note="Changed which people and groups are read",
        details={
            name: [earlier[name], words[name]]
            for name in words
            if earlier[name] != words[name]
        }
        | ({"picked groups": picked} if picked[0] != picked[1] else {}),
        now=now,
    )
    if not current.enabled:
        return None
    return request_sync(
        cloud_idp=current,
        kind=SyncRun.Kind.FULL,
        trigger=SyncRun.Trigger.PERSON,
        actor=actor,
        now=now,
    )


@transaction.atomic
def set_enabled(
    cloud_idp: CloudIdentityProvider, *, enabled: bool, actor: Any, now: datetime
) -> SyncRun | None:
    """Switch a connection on or off.

    Off, nothing is read and what depends on it becomes unknown, which neither gives
    nor takes anything; privileges held through it are suspended. Returns the read
    that was requested on switching on.
    """
    current = CloudIdentityProvider.objects.select_for_update().get(pk=cloud_idp.pk)
    if current.enabled == enabled:
        return None
    current.enabled = cloud_idp.enabled = enabled
    # What Microsoft said before it was switched off may be long past.
    current.next_check_at = now
    current.save(update_fields=["enabled", "next_check_at"])
    status.end_notice(current, now=now)
    record(
        obj=current,
        actor=actor,
        action="enabled" if enabled else "disabled",
        note="Enabled" if enabled else "Disabled",
        now=now,
    )
    _tell(current, now=now)
    if not enabled:
        return None
    return request_sync(
        cloud_idp=current,
        kind=SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.PERSON,
        actor=actor,
        now=now,
    )


def _changes(before: Any, after: Any, names: Sequence[str]) -> dict[str, Any]:
    return {
        name: [getattr(before, name), getattr(after, name)]
        for name in names
        if getattr(before, name) != getattr(after, name)
    }


def _tell(cloud_idp: CloudIdentityProvider, *, now: datetime) -> None:
    for dependents in registered():
        dependents.after_connection_change(cloud_idp.tenant_id, now=now)
