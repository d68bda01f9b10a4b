"""Other mappings: proposed, their effect worked out by a worker, then saved or dropped.

A draft's row is the durable record of the work, as a SyncRun is of a read: a task is a
hint to look at it, its lease has a fencing token, and nothing takes effect before a
person who has seen the numbers saves.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F, Q
from django.utils import timezone

from directory import clouds, connections, permission_use, tls, tokens
from directory.attributes import GROUP_FIELDS, USER_FIELDS
from directory.dependents import registered_mapped_names
from directory.entra import EntraSession, errors
from directory.entra.transport import Exchange
from directory.mapping_effect import Reader, Tally, add_stored, stored_in
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    MappingDraft,
    SyncRun,
)
from directory.permissions import Feature
from directory.sync.attributes import mapped_properties
from directory.sync.fetch import Clock
from directory.sync.selection import selection_of

logger = logging.getLogger(__name__)

State = MappingDraft.State
FIELDS = (*USER_FIELDS, *GROUP_FIELDS)
# Longer than one request to Microsoft can take, waits included.
LEASE = timedelta(minutes=3)
KEPT = timedelta(days=1)
TOLD_AFTER = timedelta(seconds=1)
ROWS_AT_ONCE = 2000
# What of a read says that people are others than before.
_PEOPLE_CHANGED = ("added", "changed", "deleted", "restored", "unknown")


class NothingChanges(Exception):
    """The proposed mappings are those that stand."""


class Outdated(Exception):
    """What was counted is not what would happen now. The text is for the person."""


class NotKnown(Exception):
    """There is no effect to agree to, and nobody agreed to saving without one."""


class _Taken(Exception):
    """Another worker has the draft, or it was dropped or replaced."""


def as_dict(mappings: AttributeMappings) -> dict[str, str]:
    return {name: getattr(mappings, name).strip() for name in FIELDS}


def basis_of(cloud_idp: CloudIdentityProvider) -> dict[str, Any]:
    """Return what the numbers rest on besides the directory."""
    return {
        "mappings": as_dict(cloud_idp.mappings),
        "enabled": cloud_idp.enabled,
        "match_domains": cloud_idp.match_domains,
        "match_names_without_domain": cloud_idp.match_names_without_domain,
        "read_filter": cloud_idp.read_filter,
    }


@transaction.atomic
def propose(proposed: AttributeMappings, *, actor: Any, now: datetime) -> MappingDraft:
    """Have the effect of other mappings worked out; those proposed before are dropped.

    Raises:
        NothingChanges
    """
    cloud_idp = (
        CloudIdentityProvider.objects.select_for_update(of=("self",))
        .select_related("mappings")
        .get(pk=proposed.cloud_idp_id)
    )
    wanted, basis = as_dict(proposed), basis_of(cloud_idp)
    if wanted == basis["mappings"]:
        raise NothingChanges
    MappingDraft.objects.filter(cloud_idp=cloud_idp).delete()
    return MappingDraft.objects.create(
        cloud_idp=cloud_idp,
        mappings=wanted,
        basis=basis,
        created_at=now,
        created_by=actor,
    )


def drop(draft: MappingDraft) -> None:
    """Forget the draft. Nothing was in effect; a worker that reads for it stops."""
    MappingDraft.objects.filter(pk=draft.pk).delete()


def outdated(draft: MappingDraft) -> str:
    """Say why the numbers do not hold any more; empty while they do."""
    if draft.basis != basis_of(draft.cloud_idp):
        return (
            "The connection's mappings or its options were changed since these numbers "
            "were made."
        )
    if draft.generation is None:
        return ""
    changed = 0
    for run in SyncRun.objects.filter(
        cloud_idp=draft.cloud_idp,
        state=SyncRun.State.SUCCEEDED,
        dry_run=False,
        generation__gte=draft.generation,
    ):
        changed += sum(run.changes.get(f"users_{how}", 0) for how in _PEOPLE_CHANGED)
    if changed:
        return (
            f"Since these numbers were made the directory was read again, and {changed:,}"
            f" {'person is' if changed == 1 else 'people are'} not as before."
        )
    return ""


@transaction.atomic
def save(
    draft_id: int, *, without_effect: bool, actor: Any, now: datetime
) -> SyncRun | None:
    """Store the proposed mappings, as they were agreed to.

    `without_effect` agrees to save what could not be worked out. Returns the full read
    that was requested, if one was.

    Raises:
        MappingDraft.DoesNotExist: saved, dropped or replaced meanwhile.
        Outdated, NotKnown: nothing was saved.
    """
    draft = MappingDraft.objects.select_for_update().get(pk=draft_id)
    cloud_idp = (
        CloudIdentityProvider.objects.select_for_update(of=("self",))
        .select_related("mappings")
        .get(pk=draft.cloud_idp_id)
    )
    draft.cloud_idp = cloud_idp
    if draft.state != State.READY and not without_effect:
        raise NotKnown
    if draft.state == State.READY and (why := outdated(draft)):
        raise Outdated(why)
    mappings = cloud_idp.mappings
    for name, graph_property in draft.mappings.items():
        setattr(mappings, name, graph_property)
    draft.delete()
    return connections.save_mappings(mappings, actor=actor, now=now)


def needs_live(draft: MappingDraft) -> bool:
    """Whether the rows lack something of what the proposed mappings name."""
    cloud_idp = draft.cloud_idp
    selection = selection_of(cloud_idp)
    if (
        not cloud_idp.completely_read
        or cloud_idp.delta_selection != selection.signature
    ):
        return True
    known = stored_in(selection.mapped)
    wanted = mapped_properties(AttributeMappings(**draft.mappings))
    groups = draft.mappings["group_name"]
    return not set(wanted.values()) <= set(known) or groups not in (
        "mail",
        selection.group_name,
    )


# --- Working it out -----------------------------------------------------------------


def claim(draft_id: int, *, now: datetime) -> MappingDraft | None:
    """Take a draft that waits or whose worker fell silent; None when there is none."""
    taken = (
        MappingDraft.objects.filter(pk=draft_id)
        .filter(
            Q(state=State.WAITING) | Q(state=State.READING, lease_expires_at__lt=now)
        )
        .update(
            state=State.READING,
            phase="Starting",
            fencing_token=F("fencing_token") + 1,
            started_at=now,
            heartbeat_at=now,
            lease_expires_at=now + LEASE,
            pages=0,
            people_read=0,
        )
    )
    if not taken:
        return None
    return MappingDraft.objects.select_related("cloud_idp__mappings").get(pk=draft_id)


def work(
    draft_id: int,
    *,
    clock: Clock = timezone.now,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Work out the effect of a draft, if nobody else does. Every end is written."""
    draft = claim(draft_id, now=clock())
    if draft is None:
        return
    worker = _Worker(draft, clock, heard)
    try:
        effect = worker.effect()
    except _Taken:
        logger.info("Mapping draft %s was dropped or taken over", draft.pk)
    except errors.EntraError as error:
        worker.fail(error.message, error.advice, error.reference)
    except _Stopped as stopped:
        worker.fail(str(stopped), stopped.advice)
    except (DatabaseError, OSError):
        logger.exception("Mapping draft %s failed in the console", draft.pk)
        worker.fail(
            "The console's database did not answer.", "Look at the worker's log."
        )
    else:
        worker.end(state=State.READY, effect=effect)


class _Stopped(Exception):
    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class _Worker:
    """Works on one draft, under its fencing token."""

    def __init__(
        self, draft: MappingDraft, clock: Clock, heard: Callable[[], None]
    ) -> None:
        self._draft = draft
        self._heard = heard
        self._clock = clock
        self._told_at = clock()
        self._deadline = clock() + timedelta(minutes=settings.SYNC_DEADLINE_MINUTES)
        self._pages = 0

    def effect(self) -> dict[str, Any]:
        draft, cloud_idp = self._draft, self._draft.cloud_idp
        self._renew(live=needs_live(draft), generation=cloud_idp.generation)
        before = mapped_properties(cloud_idp.mappings)
        after = mapped_properties(AttributeMappings(**draft.mappings))
        renamed = before["user_name"] != after["user_name"]
        tally = Tally(
            before=before,
            after=after,
            # Whom a name leads to changes with names alone.
            watches=[
                feature.watch_names(cloud_idp.tenant_id)
                for feature in registered_mapped_names()
            ]
            if renamed
            else [],
            elsewhere=list(
                CloudIdentityProvider.objects.filter(enabled=True)
                .exclude(pk=cloud_idp.pk)
                .values_list("pk", flat=True)
            ),
        )
        if draft.live:
            groups = self._live(tally)
        else:
            self._stored(tally)
            groups = self._stored_groups()
        self._renew(phase="Counting", people_read=tally.people, pages=self._pages)
        return {**tally.findings(), "groups": groups}

    def _stored(self, tally: Tally) -> None:
        columns = stored_in(tally.before)
        people = DirectoryUser.objects.present().filter(cloud_idp=self._draft.cloud_idp)
        last = 0
        while some := list(people.filter(pk__gt=last).order_by("pk")[:ROWS_AT_ONCE]):
            add_stored(tally, some, columns)
            last = some[-1].pk
            self._told(tally.people, "Reading the console's own rows")

    def _stored_groups(self) -> int:
        """Count the groups whose name changes; a group without mail keeps its name."""
        if self._same_group_name:
            return 0
        groups = DirectoryGroup.objects.present().filter(
            cloud_idp=self._draft.cloud_idp
        )
        return groups.exclude(mail="").exclude(mail=F("display_name")).count()

    @property
    def _same_group_name(self) -> bool:
        before: Mapping[str, str] = self._draft.basis["mappings"]
        after: Mapping[str, str] = self._draft.mappings
        return before["group_name"] == after["group_name"]

    def _live(self, tally: Tally) -> int:
        cloud_idp = self._draft.cloud_idp
        if not cloud_idp.enabled:
            raise _Stopped(
                "The connection is disabled, so Microsoft was not asked.",
                advice="Enable it to see what these mappings would do.",
            )
        read_filter = selection_of(cloud_idp).filter
        reader = Reader(tally, read_filter)
        wanted = sorted({*tally.before.values(), *tally.after.values()})
        with EntraSession(
            clouds.cloud(cloud_idp.cloud),
            observer=_Observer(self),
            tls_observer=tls.noting(cloud_idp),
        ) as session:
            graph = tokens.graph_client(cloud_idp, session=session)
            with permission_use.counted(cloud_idp, Feature.MAPPINGS, graph):
                for page in graph.users_delta(properties=wanted):
                    reader.add(page.items)
                    self._pages += 1
                    self._told(tally.people, "Reading users")
                if self._same_group_name:
                    return 0
                changed = 0
                before, after = (
                    mappings["group_name"]
                    for mappings in (
                        self._draft.basis["mappings"],
                        self._draft.mappings,
                    )
                )
                kept = self._kept_groups() if read_filter.picks_groups else None
                for names in graph.group_names():
                    for group in names:
                        if kept is not None and group["id"] not in kept:
                            continue
                        old = group.get(before) or group.get("displayName")
                        changed += old != (group.get(after) or group.get("displayName"))
                    self._pages += 1
                    self._told(tally.people, "Reading groups")
                return changed

    def _kept_groups(self) -> set[str]:
        """Return the groups that the connection's filter let in at the last read."""
        groups = DirectoryGroup.objects.present().filter(
            cloud_idp=self._draft.cloud_idp
        )
        return set(groups.values_list("object_id", flat=True))

    def waiting(self, sentence: str) -> None:
        self._renew(phase=sentence[:100])

    def _told(self, people: int, phase: str) -> None:
        now = self._clock()
        if now > self._deadline:
            raise _Stopped(
                f"Reading took longer than {settings.SYNC_DEADLINE_MINUTES} minutes.",
                advice="Raise SYNC_DEADLINE_MINUTES and look again.",
            )
        if now - self._told_at >= TOLD_AFTER:
            self._told_at = now
            self._heard()
            self._renew(phase=phase, people_read=people, pages=self._pages)

    def _renew(self, **columns: Any) -> None:
        now = self._clock()
        if not self._write(heartbeat_at=now, lease_expires_at=now + LEASE, **columns):
            raise _Taken
        for name, value in columns.items():
            setattr(self._draft, name, value)

    def fail(self, message: str, advice: str, reference: str = "") -> None:
        self.end(
            state=State.FAILED,
            error=message,
            advice=advice,
            reference=reference[:150],
        )

    def end(self, **columns: Any) -> None:
        self._write(
            phase="", finished_at=self._clock(), lease_expires_at=None, **columns
        )

    def _write(self, **columns: Any) -> bool:
        return bool(
            MappingDraft.objects.filter(
                pk=self._draft.pk,
                state=State.READING,
                fencing_token=self._draft.fencing_token,
            ).update(**columns)
        )


class _Observer:
    """Says on the draft's page that Microsoft asked to wait."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    def exchanged(self, exchange: Exchange) -> None:
        """Pages are counted, not requests."""

    def waiting(self, seconds: float, reason: str) -> None:
        self._worker.waiting(f"Waiting {seconds:.0f} s. {reason}")


def give_up_silent(*, now: datetime) -> None:
    """Put drafts whose worker fell silent back into the queue."""
    MappingDraft.objects.filter(state=State.READING, lease_expires_at__lt=now).update(
        state=State.WAITING,
        phase="The worker fell silent; another one begins again",
        heartbeat_at=None,
        lease_expires_at=None,
        fencing_token=F("fencing_token") + 1,
    )


def forget_old(*, now: datetime) -> None:
    MappingDraft.objects.filter(created_at__lt=now - KEPT).delete()
