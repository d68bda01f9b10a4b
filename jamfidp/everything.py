"""Search everything: what the person may see, by name, a few of each kind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from directory import search as directory_search
from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.templatetags.navigation import NAVIGATION
from scoping import matching
from scoping.models import (
    ConfigurationProfile,
    Device,
    DeviceKind,
    Policy,
    SmartGroup,
    StaticGroup,
)

HITS_PER_KIND = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    name: str
    url: str
    icon: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    label: str
    hits: Sequence[Hit]


def find(text: str, user: ConsoleUser) -> Sequence[Section]:
    """At most HITS_PER_KIND of each kind; lists behind them show all."""
    wanted = text.strip()
    if not wanted:
        return ()
    found = (
        Section(label="People", hits=list(_people(wanted, user))),
        Section(label="Groups", hits=list(_groups(wanted, user))),
        Section(label="Devices", hits=list(_devices(wanted, user))),
        Section(label="Objects", hits=list(_objects(wanted, user))),
        Section(label="Pages", hits=list(_pages(wanted, user))),
    )
    return [section for section in found if section.hits]


def _people(text: str, user: ConsoleUser) -> Iterable[Hit]:
    if not user.has_perm("directory.view_directoryuser"):
        return
    rows = directory_search.matching(DirectoryUser.objects.present(), text)
    where = _connections()
    for row in rows.order_by("sort_key", "pk")[:HITS_PER_KIND]:
        yield Hit(
            name=str(row),
            url=row.get_absolute_url(),
            icon="user",
            detail=", ".join(
                filter(None, (row.user_principal_name, where.get(row.cloud_idp_id)))
            ),
        )


def _groups(text: str, user: ConsoleUser) -> Iterable[Hit]:
    if not user.has_perm("directory.view_directorygroup"):
        return
    rows = directory_search.matching(DirectoryGroup.objects.present(), text)
    where = _connections()
    for row in rows.order_by("sort_key", "pk")[:HITS_PER_KIND]:
        yield Hit(
            name=str(row),
            url=row.get_absolute_url(),
            icon="users-group",
            detail=", ".join(
                filter(
                    None,
                    (
                        row.mail or row.get_kind_display(),
                        where.get(row.cloud_idp_id),
                    ),
                )
            ),
        )


def _connections() -> Mapping[int, str]:
    """The names of connections where there are several: names alone say too little."""
    names = dict(CloudIdentityProvider.objects.values_list("pk", "display_name"))
    return names if len(names) > 1 else {}


def _devices(text: str, user: ConsoleUser) -> Iterable[Hit]:
    for kind, perm, icon in (
        (DeviceKind.COMPUTER, "scoping.view_computer", "device-laptop"),
        (DeviceKind.MOBILE, "scoping.view_mobiledevice", "device-ipad"),
    ):
        if not user.has_perm(perm):
            continue
        rows = visible_to(Device.objects.filter(kind=kind), user, perm).filter(
            search__contains=matching.fold(text)
        )
        for row in rows.select_related("assigned_user")[:HITS_PER_KIND]:
            yield Hit(
                name=row.name,
                url=row.get_absolute_url(),
                icon=icon,
                detail=f"{row.serial_number} {row.assigned_user or ''}".strip(),
            )


def _objects(text: str, user: ConsoleUser) -> Iterable[Hit]:
    computer, mobile = DeviceKind.COMPUTER, DeviceKind.MOBILE
    for rows, perm, icon, detail in (
        (Policy.objects.all(), "policy", "checklist", "Policy"),
        (
            ConfigurationProfile.objects.filter(kind=computer),
            "macosconfigurationprofile",
            "adjustments-horizontal",
            "Configuration profile, computers",
        ),
        (
            ConfigurationProfile.objects.filter(kind=mobile),
            "iosconfigurationprofile",
            "adjustments-horizontal",
            "Configuration profile, devices",
        ),
        (
            SmartGroup.objects.filter(kind=computer),
            "smartcomputergroup",
            "filter-cog",
            "Smart computer group",
        ),
        (
            SmartGroup.objects.filter(kind=mobile),
            "smartmobiledevicegroup",
            "filter-cog",
            "Smart device group",
        ),
        (
            StaticGroup.objects.filter(kind=computer),
            "staticcomputergroup",
            "list-details",
            "Static computer group",
        ),
        (
            StaticGroup.objects.filter(kind=mobile),
            "staticmobiledevicegroup",
            "list-details",
            "Static device group",
        ),
    ):
        if user.has_perm(f"scoping.view_{perm}"):
            seen: QuerySet[Any] = visible_to(rows, user, f"scoping.view_{perm}")
            for row in seen.filter(name__icontains=text)[:HITS_PER_KIND]:
                yield Hit(
                    name=str(row), url=row.get_absolute_url(), icon=icon, detail=detail
                )


def _pages(text: str, user: ConsoleUser) -> Iterable[Hit]:
    for group in NAVIGATION:
        for item in group.items:
            allowed = not item.permissions or any(map(user.has_perm, item.permissions))
            url = reverse(item.url_name)
            if allowed and text.casefold() in f"{group.label} {item.label}".casefold():
                yield Hit(
                    name=item.label,
                    url=url,
                    icon=item.icon,
                    detail=group.label,
                )
