"""What somebody holds, arranged for a page: by site, with path and sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.urls import reverse

from directory.dependents import ObjectRef
from directory.models import DirectoryGroup
from jamfidp.access import ConsoleUser
from jamfidp.accounts import grants
from jamfidp.accounts.explanations import ABOUT_GROUPS, Explanation, explain
from jamfidp.accounts.models import PrivilegeSet
from jamfidp.accounts.privileges import (
    ACTIONS,
    OBJECTS,
    SETTINGS,
    ObjectPrivileges,
)
from jamfidp.components import Crumb
from scoping.models import Site

VERBS = ("Create", "Read", "Update", "Delete")


@dataclass(frozen=True, slots=True)
class GrantLine:
    """One grant: what it gives, by which path, and the links on the way."""

    summary: str
    sentence: str
    path: Sequence[Crumb]


@dataclass(frozen=True, slots=True)
class Cell:
    verb: str
    held: bool


@dataclass(frozen=True, slots=True)
class ObjectLine:
    label: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class PlaceHeld:
    """What is held at one site, or everywhere."""

    name: str
    everywhere: bool
    count: int
    grants: Sequence[GrantLine]
    objects: Sequence[ObjectLine]
    others: Sequence[str]

    @property
    def amount(self) -> str:
        return f"{self.count} privilege{'' if self.count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Held:
    places: Sequence[PlaceHeld]
    reasons: Sequence[Explanation]
    not_through: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Links:
    """Addresses of account groups by key, and of directory groups by what they are."""

    accounts: Mapping[int, str]
    directory: Mapping[ObjectRef, str]


def held(standing: grants.Standing, viewer: ConsoleUser, *, you: bool = False) -> Held:
    """Arrange a standing for a viewer, who gets links to what they may open.

    `you` is said where the viewer reads of themselves.
    """
    links = _links(standing, viewer)
    site_ids = {grant.site_id for grant in standing.grants if grant.site_id is not None}
    names = dict(Site.objects.filter(pk__in=site_ids).values_list("pk", "name"))
    places = []
    if any(grant.site_id is None for grant in standing.grants):
        places.append(_place(standing, None, "Everywhere", links))
    places.extend(
        _place(standing, site_id, names[site_id], links)
        for site_id in sorted(names, key=lambda pk: names[pk])
    )
    return Held(
        places=places,
        reasons=[
            explain(one, you=you)
            for one in standing.withheld
            if one.reason not in ABOUT_GROUPS
        ],
        not_through=sorted(
            {
                explain(one, you=you).what
                for one in standing.withheld
                if one.reason in ABOUT_GROUPS
            }
        ),
    )


def summary(privilege_set: str, names: Sequence[str] | frozenset[str]) -> str:
    """Say what a privilege set gives: 'Auditor', 'Custom, 3 privileges'."""
    label = PrivilegeSet(privilege_set).label
    if privilege_set != PrivilegeSet.CUSTOM:
        return str(label)
    count = len(names)
    return f"{label}, {count} privilege{'' if count == 1 else 's'}"


def _place(
    standing: grants.Standing, site_id: int | None, name: str, links: _Links
) -> PlaceHeld:
    own = [grant for grant in standing.grants if grant.site_id == site_id]
    # At a site count the grants everywhere as well.
    counting = [grant for grant in standing.grants if grant.site_id in {None, site_id}]
    names = frozenset().union(*(grant.names for grant in counting))
    return PlaceHeld(
        name=name,
        everywhere=site_id is None,
        count=len(names),
        grants=[_line(grant, links) for grant in own],
        objects=[
            line
            for line in (_object_line(one, names) for one in OBJECTS)
            if any(cell.held for cell in line.cells)
        ],
        others=[one.name for one in (*SETTINGS, *ACTIONS) if one.name in names],
    )


def _object_line(kind: ObjectPrivileges, names: frozenset[str]) -> ObjectLine:
    return ObjectLine(
        kind.label, [Cell(verb, f"{verb} {kind.label}" in names) for verb in VERBS]
    )


def _line(grant: grants.Grant, links: _Links) -> GrantLine:
    path = grant.path
    crumbs: list[Crumb] = []
    if path.account_group is not None:
        if path.through:
            crumbs.append(Crumb(path.through))
        if path.directory_ref is not None:
            crumbs.append(
                Crumb(path.directory_group, links.directory.get(path.directory_ref, ""))
            )
        crumbs.append(
            Crumb(
                path.account_group.name, links.accounts.get(path.account_group.pk, "")
            )
        )
    return GrantLine(summary(grant.privilege_set, grant.names), path.sentence, crumbs)


def _links(standing: grants.Standing, viewer: ConsoleUser) -> _Links:
    """Return the addresses of what the viewer may open."""
    access = viewer.sites_with("accounts.view_accountgroup")
    accounts = {
        group.pk: reverse("accounts:accountgroup-detail", args=[group.pk])
        for grant in standing.grants
        if (group := grant.path.account_group) is not None
        and access.may_see(group.site_id)
    }
    refs = {
        ref
        for grant in standing.grants
        if (ref := grant.path.directory_ref) is not None
    }
    directory: dict[ObjectRef, str] = {}
    if refs and viewer.has_perm("directory.view_directorygroup"):
        # An object id names a group within its tenant alone.
        directory = {
            ref: group.get_absolute_url()
            for group in DirectoryGroup.objects.filter(
                cloud_idp__tenant_id__in={ref.tenant_id for ref in refs},
                object_id__in={ref.object_id for ref in refs},
            ).select_related("cloud_idp")
            if (ref := ObjectRef(group.cloud_idp.tenant_id, group.object_id)) in refs
        }
    return _Links(accounts, directory)
