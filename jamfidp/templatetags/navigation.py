"""The left navigation: what stands in it, who sees it, and which item is current."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse

register = template.Library()


@dataclass(frozen=True)
class Item:
    """An entry; it shows to whoever has one of the permissions, or to all."""

    label: str
    icon: str
    url_name: str
    permissions: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # other pages during which this entry is current
    count: str = ""  # the variable of every page that says how many wait there


@dataclass(frozen=True)
class Group:
    """A heading and what stands under it; `key` names it in the browser's memory."""

    key: str
    label: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Link:
    """An entry as one person sees it on one page."""

    label: str
    icon: str
    url: str
    current: bool
    count: str = ""


@dataclass(frozen=True)
class Section:
    """A group as one person sees it on one page; never empty."""

    key: str
    label: str
    links: tuple[Link, ...]


def _scoped(label: str, icon: str, model: str) -> Item:
    return Item(label, icon, f"scoping:{model}-list", (f"scoping.view_{model}",))


NAVIGATION = (
    Group("", "", (Item("Dashboard", "layout-dashboard", "dashboard"),)),
    Group(
        "computers",
        "Computers",
        (
            _scoped("Inventory", "device-laptop", "computer"),
            _scoped("Policies", "checklist", "policy"),
            _scoped(
                "Configuration profiles",
                "adjustments-horizontal",
                "macosconfigurationprofile",
            ),
            _scoped("Smart groups", "filter-cog", "smartcomputergroup"),
            _scoped("Static groups", "list-details", "staticcomputergroup"),
        ),
    ),
    Group(
        "devices",
        "Devices",
        (
            _scoped("Inventory", "device-ipad", "mobiledevice"),
            _scoped(
                "Configuration profiles",
                "adjustments-horizontal",
                "iosconfigurationprofile",
            ),
            _scoped("Smart groups", "filter-cog", "smartmobiledevicegroup"),
            _scoped("Static groups", "list-details", "staticmobiledevicegroup"),
        ),
    ),
    Group(
        "users",
        "Users",
        (
            Item(
                "Directory users",
                "users",
                "directory:user-list",
                ("directory.view_directoryuser",),
            ),
            Item(
                "Directory groups",
                "users-group",
                "directory:group-list",
                ("directory.view_directorygroup",),
            ),
            _scoped("Who is who", "user-question", "inventoryuser"),
        ),
    ),
    Group(
        "activity",
        "Activity",
        (
            Item(
                "Sync runs",
                "refresh",
                "directory:syncrun-list",
                ("directory.view_syncrun",),
            ),
            Item(
                "Held changes",
                "hand-stop",
                "directory:heldchange-list",
                ("directory.view_syncrun",),
                count="held_changes_waiting",
            ),
            Item(
                "History",
                "history",
                "history:list",
                ("history.view_objecthistory",),
            ),
        ),
    ),
    Group(
        "settings",
        "Settings",
        (
            Item(
                "Cloud identity providers",
                "cloud-lock",
                "directory:cloud-idp-list",
                ("directory.view_cloudidentityprovider",),
            ),
            Item(
                "Entra ID application",
                "key",
                "directory:application-registration",
                ("directory.view_applicationregistration",),
            ),
            Item(
                "User accounts and groups",
                "user-shield",
                "accounts:user-list",
                ("accounts.view_user", "accounts.view_accountgroup"),
                also=("accounts:accountgroup-list",),
            ),
            Item(
                "Single sign-on",
                "login-2",
                "accounts:single-sign-on",
                ("accounts.view_entrasigninstop",),
            ),
            _scoped("Sites", "map-pin", "site"),
            _scoped("Buildings", "building", "building"),
            _scoped("Departments", "sitemap", "department"),
            _scoped("Network segments", "network", "networksegment"),
            Item(
                "Notifications",
                "bell",
                "notices:settings",
                ("notices.view_kindsetting",),
            ),
            Item("System", "heartbeat", "system", ("jamfidp.view_system",)),
        ),
    ),
)


def address(url_name: str) -> str | None:
    """The page's address, or None in a console that does not serve the page."""
    try:
        return reverse(url_name)
    except NoReverseMatch:
        return None


def sections_for(
    user: Any, path: str, groups: tuple[Group, ...] = NAVIGATION
) -> tuple[Section, ...]:
    """The groups and entries this person sees on the page at this path."""
    seen = [
        (group, tuple(item for item in group.items if _may_see(user, item)))
        for group in groups
    ]
    covered = {item: _covers(item, path) for _, items in seen for item in items}
    longest = max(covered.values(), default=0)
    return tuple(
        Section(
            group.key,
            group.label,
            tuple(
                Link(
                    item.label,
                    item.icon,
                    reverse(item.url_name),
                    current=0 < longest == covered[item],
                    count=item.count,
                )
                for item in items
            ),
        )
        for group, items in seen
        if items
    )


def _may_see(user: Any, item: Item) -> bool:
    if address(item.url_name) is None:
        return False
    return not item.permissions or any(map(user.has_perm, item.permissions))


def _covers(item: Item, path: str) -> int:
    """How much of the path the entry's addresses cover; nothing is 0."""
    return max(
        (
            len(prefix)
            for prefix in map(address, (item.url_name, *item.also))
            # The dashboard's address begins every path.
            if prefix
            and (path == prefix or (prefix != "/" and path.startswith(prefix)))
        ),
        default=0,
    )


@register.simple_tag(takes_context=True)
def navigation(context: template.Context) -> tuple[Section, ...]:
    """The sections for the person of the request; none before sign-in."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or user is None or not user.is_authenticated:
        return ()
    return sections_for(user, request.path)


@register.simple_tag(takes_context=True)
def waiting(context: template.Context, name: str) -> int:
    """How many wait behind an entry; counted only here."""
    value = context.get(name)
    return int(value() if callable(value) else value or 0)
