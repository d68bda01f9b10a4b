"""Why one device is in scope or in a smart group: the derivation over rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from directory.sync.bitmaps import unpack
from scoping import criteria as rules
from scoping import evaluate, facts
from scoping.drafts import Draft, draft_of
from scoping.facts import Fleet, device_kind
from scoping.models import Device, ScopeEntry, Site, SmartGroup
from scoping.recompute import ScopedObject, criteria_of
from scoping.verdict import (
    Derivation,
    Link,
    Verdict,
    oldest_decisive_fact,
    smallest_change,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A derivation, what would turn it, its age, and what was decided before."""

    root: Derivation
    change: tuple[str, ...]
    as_of: datetime | None
    decided: bool

    @property
    def verdict(self) -> Verdict:
        return self.root.verdict


def explain_scope(
    obj: ScopedObject, device: Device, *, now: datetime, draft: Draft | None = None
) -> Explanation:
    """Why a device is in the scope of an object, judged now. A constant of queries."""
    scope = obj.scope
    draft = draft or draft_of(scope)
    decided = device.pk in unpack(scope.decided or None)
    if obj.site_id is not None and device.site_id != obj.site_id:
        return _explained(_of_another_site(device, obj.site, "scope"), decided)
    fleet = Fleet(scope.kind, only=[device.pk], names_of=draft.refs, paths=True)
    named = {
        entry.ref_id
        for entry in draft.entries
        if entry.kind == ScopeEntry.Kind.SMART_GROUP and entry.ref_id is not None
    }
    pure = draft.pure(
        kind=scope.kind,
        channel=scope.channel,
        names=facts.names(scope.kind, draft.device_ids),
    )
    # Whether a group decides depends on the scope: its own marks are taken off.
    reasons = {
        pk: _unmarked(each)
        for pk, each in _smart_groups(fleet, device, named, now).items()
    }
    root = evaluate.derive(pure, fleet.facts(device.pk, reasons), fleet.directory)
    return _explained(root, decided)


def explain_group(group: SmartGroup, device: Device, *, now: datetime) -> Explanation:
    """Why a device is in a smart group, judged now."""
    decided = device.pk in unpack(group.members or None)
    fleet = Fleet(group.kind, only=[device.pk], paths=True)
    reasons = _smart_groups(fleet, device, {group.pk}, now)
    return _explained(reasons[group.pk], decided)


def _smart_groups(
    fleet: Fleet, device: Device, wanted: set[int], now: datetime
) -> dict[int, Derivation]:
    if not wanted:
        return {}
    criteria = criteria_of(fleet.kind)
    sites = {
        group.pk: group.site
        for group in SmartGroup.objects.filter(pk__in=wanted).select_related("site")
    }
    found = {}
    for pk in wanted & set(sites):
        site, parsed = sites[pk], criteria[pk]
        if site is not None and device.site_id != site.pk:
            found[pk] = _of_another_site(device, site, "group")
        elif parsed is None:
            found[pk] = Derivation(
                claim="The criteria of this group cannot be read",
                verdict=Verdict.UNKNOWN,
                settle="Edit the criteria of the group",
                decisive=True,
            )
        else:
            found[pk] = rules.derive(
                parsed, fleet.values(device.pk), fleet.directory, now=now
            )
    return found


def _unmarked(root: Derivation) -> Derivation:
    return replace(
        root,
        decisive=False,
        children=tuple(_unmarked(child) for child in root.children),
    )


def _of_another_site(device: Device, site: Site | None, what: str) -> Derivation:
    """An object with a site reaches only devices of that site."""
    belongs = f"belongs to {device.site}" if device.site_id else "belongs to no site"
    return Derivation(
        claim=f"{device.name} is not in the {what}",
        verdict=Verdict.OUT,
        fact=f"The {what} is for devices of the site {site}; {device.name} {belongs}",
        link=Link(device_kind(device.kind), str(device.pk)),
        decisive=True,
        turn_in=f"Move {device.name} to the site {site}",
    )


def _explained(root: Derivation, decided: bool) -> Explanation:
    return Explanation(
        root=root,
        change=smallest_change(root),
        as_of=oldest_decisive_fact(root),
        decided=decided,
    )
