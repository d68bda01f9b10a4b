"""Change a scope: what a draft would do to devices, and saving it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import EllipsisType
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet
from pyroaring import BitMap

from directory.dependents import ObjectRef
from directory.models import DirectoryGroup, DirectoryUser
from directory.sync.bitmaps import pack, unpack
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.history.record import entries_for, record
from scoping import facts
from scoping.drafts import Draft, EntryDraft, draft_of
from scoping.evaluate import Part
from scoping.facts import Fleet, Known
from scoping.models import (
    Building,
    Department,
    Device,
    DeviceKind,
    NetworkSegment,
    Scope,
    ScopeEntry,
    SmartGroup,
    StaticGroup,
)
from scoping.objects import ObjectGone, kind_of
from scoping.recompute import ScopedObject, counted, settled

GROUP_WORDS = {
    (ScopeEntry.Kind.SMART_GROUP, DeviceKind.COMPUTER): "smartcomputergroup",
    (ScopeEntry.Kind.SMART_GROUP, DeviceKind.MOBILE): "smartmobiledevicegroup",
    (ScopeEntry.Kind.STATIC_GROUP, DeviceKind.COMPUTER): "staticcomputergroup",
    (ScopeEntry.Kind.STATIC_GROUP, DeviceKind.MOBILE): "staticmobiledevicegroup",
    (ScopeEntry.Kind.DEVICE, DeviceKind.COMPUTER): "computer",
    (ScopeEntry.Kind.DEVICE, DeviceKind.MOBILE): "mobiledevice",
}


class ScopeChanged(Exception):
    """Somebody saved the scope since the draft was begun."""


class EntryProblem(NamedTuple):
    """Why one entry of a draft cannot be saved; `key` names it in forms."""

    key: str
    message: str


class ScopeRefused(Exception):
    """The draft names what is not there; `problems` says which and why."""

    def __init__(self, problems: Sequence[EntryProblem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class Ended(NamedTuple):
    """A kind of limitation that the draft no longer has, and who comes in by that."""

    kind: str
    gained: BitMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What saving would do, in device ids.

    `unknown` stay as they are: those of `held` stay in scope, the others stay out.
    """

    decided: BitMap
    gained: BitMap
    lost: BitMap
    unchanged: BitMap
    unknown: BitMap
    held: BitMap
    ended: tuple[Ended, ...] = ()
    sentence: tuple[Part, ...] = ()

    def within(self, visible: BitMap) -> Preview:
        """The same for the devices that somebody may see."""
        return Preview(
            decided=self.decided & visible,
            gained=self.gained & visible,
            lost=self.lost & visible,
            unchanged=self.unchanged & visible,
            unknown=self.unknown & visible,
            held=self.held & visible,
            ended=tuple(Ended(each.kind, each.gained & visible) for each in self.ended),
            sentence=self.sentence,
        )


def fleet_for(draft: Draft, kind: str) -> Fleet:
    return Fleet(kind, names_of=draft.refs)


def compare(before: BitMap, known: Known) -> Preview:
    """What a set that was judged anew gains and loses."""
    decided = settled(before, known, None)
    return Preview(
        decided=decided,
        gained=decided - before,
        lost=before - decided,
        unchanged=(decided & before) - known.unknown,
        unknown=known.unknown,
        held=known.unknown & before,
    )


def preview(
    *,
    obj: ScopedObject,
    draft: Draft,
    fleet: Fleet | None = None,
    site_id: int | EllipsisType | None = ...,
) -> Preview:
    """What this draft would change for devices. Nothing is saved.

    `site_id` is the site that the object would have, where it is not the stored one.
    """
    scope = obj.scope
    site_id = obj.site_id if site_id is ... else site_id
    fleet = fleet or fleet_for(draft, scope.kind)
    names = facts.names(scope.kind, draft.device_ids)
    pure = draft.pure(kind=scope.kind, channel=scope.channel, names=names)
    known = fleet.judge(pure, site_id=site_id)
    before = unpack(scope.decided or None)
    compared = compare(before, known)
    saved = draft_of(scope)
    was = saved.pure(kind=scope.kind, channel=scope.channel, names=names)
    ended = []
    for kind, entries in was.limitations.items():
        if kind in pure.limitations:
            continue
        limited = type(pure)(
            device_kind=pure.device_kind,
            entries=(*pure.entries, *entries),
            principal_rule=pure.principal_rule,
            channel=pure.channel,
        )
        kept_out = known.inside - fleet.judge(limited, site_id=site_id).inside
        ended.append(Ended(kind.value, kept_out - before))
    return Preview(
        decided=compared.decided,
        gained=compared.gained,
        lost=compared.lost,
        unchanged=compared.unchanged,
        unknown=compared.unknown,
        held=compared.held,
        ended=tuple(ended),
        sentence=pure.sentence(),
    )


def sentence_of(scope: Scope, draft: Draft | None = None) -> tuple[Part, ...]:
    """The scope as a sentence, in parts."""
    draft = draft or draft_of(scope)
    names = facts.names(scope.kind, draft.device_ids)
    return draft.pure(kind=scope.kind, channel=scope.channel, names=names).sentence()


def in_words(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts)


def check(
    *,
    draft: Draft,
    saved: Draft,
    kind: str,
    site_id: int | None = None,
    viewer: ConsoleUser | None = None,
) -> list[EntryProblem]:
    """What stands in the way of saving. Entries saved before may stay, broken or not.

    An object with a site takes devices and groups of that site alone; a viewer adds
    only what they may see.
    """
    known = {each.key for each in saved.entries}
    new = [each for each in draft.entries if each.key not in known]
    problems = []
    existing = _existing(new, kind, site_id, viewer)
    for entry in new:
        if entry.is_local_user:
            continue
        label = ScopeEntry.Kind(entry.kind).label
        if entry.ref is not None:
            if entry.ref not in existing.refs.get(entry.kind, {}):
                problems.append(
                    EntryProblem(
                        entry.key,
                        f"{label}: {entry.ref.object_id} is in no directory that is"
                        " connected and read. Choose it from the search.",
                    )
                )
        elif entry.ref_id not in existing.rows.get(entry.kind, {}):
            problems.append(
                EntryProblem(
                    entry.key,
                    f"{label} {entry.ref_id} does not exist here, or its site is"
                    " another. Choose one from the search.",
                )
            )
    return problems


class _Existing(NamedTuple):
    rows: Mapping[str, Mapping[int, str]]
    refs: Mapping[str, Mapping[ObjectRef, str]]


def choices(
    entry_kind: str,
    device_kind: str,
    *,
    site_id: int | None,
    viewer: ConsoleUser | None,
) -> QuerySet[Any]:
    """The rows that an entry of this kind may name, of those the viewer may see."""
    rows: QuerySet[Any]
    match ScopeEntry.Kind(entry_kind):
        case ScopeEntry.Kind.DEVICE:
            rows = Device.objects.filter(kind=device_kind)
        case ScopeEntry.Kind.SMART_GROUP:
            rows = SmartGroup.objects.filter(kind=device_kind)
        case ScopeEntry.Kind.STATIC_GROUP:
            rows = StaticGroup.objects.filter(kind=device_kind)
        case ScopeEntry.Kind.BUILDING:
            return Building.objects.all()
        case ScopeEntry.Kind.DEPARTMENT:
            return Department.objects.all()
        case ScopeEntry.Kind.NETWORK_SEGMENT:
            return NetworkSegment.objects.all()
        case ScopeEntry.Kind.DIRECTORY_USER:
            return DirectoryUser.objects.present().filter(
                cloud_idp__enabled=True, cloud_idp__first_complete_read_at__isnull=False
            )
        case ScopeEntry.Kind.DIRECTORY_GROUP:
            return DirectoryGroup.objects.present().filter(
                cloud_idp__enabled=True, cloud_idp__first_complete_read_at__isnull=False
            )
    if site_id is not None:
        reached = Q(site_id=site_id)
        if entry_kind != ScopeEntry.Kind.DEVICE:
            # A group of no site holds devices of every site; the object's own site
            # still bounds whom it reaches.
            reached |= Q(site=None)
        rows = rows.filter(reached)
    if viewer is not None:
        word = GROUP_WORDS[ScopeEntry.Kind(entry_kind), DeviceKind(device_kind)]
        rows = visible_to(rows, viewer, f"scoping.view_{word}")
    return rows


def _existing(
    entries: Sequence[EntryDraft],
    device_kind: str,
    site_id: int | None,
    viewer: ConsoleUser | None,
) -> _Existing:
    rows: dict[str, dict[int, str]] = {}
    refs: dict[str, dict[ObjectRef, str]] = {}
    for entry_kind in {each.kind for each in entries}:
        found = choices(entry_kind, device_kind, site_id=site_id, viewer=viewer)
        chosen = [each for each in entries if each.kind == entry_kind]
        if entry_kind in ScopeEntry.DIRECTORY:
            objects = [each.ref.object_id for each in chosen if each.ref is not None]
            refs[entry_kind] = {
                ObjectRef(row.cloud_idp.tenant_id, row.object_id): str(row)
                for row in found.filter(object_id__in=objects).select_related(
                    "cloud_idp"
                )
            }
        else:
            rows[entry_kind] = {
                row.pk: str(row)
                for row in found.filter(pk__in=[each.ref_id for each in chosen])
            }
    return _Existing(rows, refs)


def labelled(
    draft: Draft, kind: str, saved: Draft, viewer: ConsoleUser | None = None
) -> Draft:
    """The draft with the name of everything it names, as it is now or was last.

    With a viewer, of rows with a site only those are named that the person may see.
    """
    kept = {each.key: each.label for each in saved.entries}
    existing = _existing(draft.entries, kind, None, viewer)
    entries = []
    for entry in draft.entries:
        if entry.is_local_user:
            label = entry.label
        elif entry.ref is not None:
            label = existing.refs[entry.kind].get(entry.ref, "")
        else:
            label = existing.rows[entry.kind].get(entry.ref_id or 0, "")
        label = label or kept.get(entry.key, "") or entry.label
        entries.append(
            EntryDraft(
                role=entry.role,
                kind=entry.kind,
                ref_id=entry.ref_id,
                ref=entry.ref,
                nested=entry.nested,
                label=label,
            )
        )
    return Draft(
        all_devices=draft.all_devices, principal=draft.principal, entries=tuple(entries)
    )


def save(
    *,
    obj: ScopedObject,
    draft: Draft,
    version: int,
    actor: Any,
    now: datetime,
    viewer: ConsoleUser | None = None,
) -> Preview:
    """Save a draft that was begun at `version`, decide devices by it, say what changed.

    `viewer` limits what may be added to what that person may see.

    Raises:
        ObjectGone: the object was deleted meanwhile.
        ScopeChanged: the scope was saved meanwhile by somebody.
        ScopeRefused: the draft names what is not there.
    """
    with transaction.atomic():
        scope = Scope.objects.select_for_update().filter(pk=obj.scope_id).first()
        row = kind_of(obj).rows().filter(pk=obj.pk).first()
        if scope is None or row is None:
            raise ObjectGone(f"{obj.name} was deleted meanwhile. Nothing was saved.")
        row.scope = scope
        if scope.version != version:
            raise ScopeChanged(_who_saved(row))
        saved = draft_of(scope)
        problems = check(
            draft=draft,
            saved=saved,
            kind=scope.kind,
            site_id=row.site_id,
            viewer=viewer,
        )
        if problems:
            raise ScopeRefused(problems)
        if scope.kind == DeviceKind.MOBILE:
            draft = Draft(
                all_devices=draft.all_devices,
                principal=Scope.Principal.ASSIGNED,
                entries=draft.entries,
            )
        draft = labelled(draft, scope.kind, saved)
        done = preview(obj=row, draft=draft)
        before, after = in_words(sentence_of(scope, saved)), in_words(done.sentence)
        _keep_entries(scope, draft)
        scope.all_devices, scope.principal = draft.all_devices, draft.principal
        scope.version += 1
        scope.decided, scope.unknown = pack(done.decided), pack(done.unknown)
        scope.decided_count = len(done.decided)
        scope.unknown_count = len(done.unknown)
        scope.computed_at = now
        scope.save()
        record(
            obj=row,
            actor=actor,
            note=f"Changed the scope: {_consequences(done, scope.kind)}",
            action="scope changed",
            details={"changes": _difference(saved, draft, before, after)},
            now=now,
        )
    obj.scope = scope
    return done


def _keep_entries(scope: Scope, draft: Draft) -> None:
    wanted = {each.key: each for each in draft.entries}
    stored = {EntryDraft.of(row).key: row for row in scope.entries.all()}
    ScopeEntry.objects.filter(
        pk__in=[row.pk for key, row in stored.items() if key not in wanted]
    ).delete()
    changed = []
    for key, row in stored.items():
        entry = wanted.get(key)
        if entry and (row.nested, row.label) != (entry.nested, entry.label):
            row.nested, row.label = entry.nested, entry.label
            changed.append(row)
    ScopeEntry.objects.bulk_update(changed, ["nested", "label"])
    ScopeEntry.objects.bulk_create(
        each.row(scope) for key, each in wanted.items() if key not in stored
    )


def _consequences(done: Preview, kind: str) -> str:
    parts = []
    if done.gained:
        parts.append(f"{counted(len(done.gained), kind)} gained")
    if done.lost:
        parts.append(f"{counted(len(done.lost), kind)} lost")
    if done.unknown:
        parts.append(f"{counted(len(done.unknown), kind)} unknown")
    parts += [f"no longer limited by {each.kind}" for each in done.ended]
    return ", ".join(parts) or "no device gained or lost"


def _difference(saved: Draft, draft: Draft, before: str, after: str) -> list[list[str]]:
    changes = [] if before == after else [["Scope", before, after]]
    if saved.principal != draft.principal:
        changes.append(
            [
                "Directory entries look at",
                Scope.Principal(saved.principal).label,
                Scope.Principal(draft.principal).label,
            ]
        )
    return changes


def _who_saved(obj: ScopedObject) -> str:
    entry = entries_for(obj).filter(action="scope changed", actor__isnull=False).first()
    who = entry.actor_name if entry is not None else "Somebody"
    return (
        f"{who} saved this scope while you were editing it. Nothing of yours was saved"
        " and your draft is kept below. Look at the scope as it is now, then save your"
        " draft over it or discard it."
    )
