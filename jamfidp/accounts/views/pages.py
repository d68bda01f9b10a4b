"""What the pages of accounts and of account groups have in common."""

from __future__ import annotations

from django.db.models import Model
from django.urls import reverse

from jamfidp.access import ConsoleUser, visible_to
from jamfidp.accounts.models import AccountGroup, User
from jamfidp.components import Entry, Tab
from jamfidp.history.record import entries_for
from jamfidp.htmx import ConsoleRequest

ENTRIES = 20
# What a person has to hold to see who held what on a day.
PAST = (
    "accounts.view_user",
    "accounts.view_accountgroup",
    "directory.view_directoryuser",
    "directory.view_directorygroup",
)
NOT_TYPED = {"csrfmiddlewaretoken", "reviewed", "confirmed"}


def section_tabs(viewer: ConsoleUser, current: str) -> list[Tab]:
    tabs = []
    if viewer.has_perm("accounts.view_user"):
        tabs.append(
            Tab(
                "Accounts",
                reverse("accounts:user-list"),
                current == "accounts",
                visible_to(User.objects.all(), viewer, "accounts.view_user").count(),
            )
        )
    if viewer.has_perm("accounts.view_accountgroup"):
        tabs.append(
            Tab(
                "Account groups",
                reverse("accounts:accountgroup-list"),
                current == "groups",
                visible_to(
                    AccountGroup.objects.all(), viewer, "accounts.view_accountgroup"
                ).count(),
            )
        )
    if all(map(viewer.has_perm, PAST)):
        tabs.append(
            Tab(
                "Privileges on a day",
                reverse("accounts:privileges-on"),
                current == "past",
            )
        )
    return tabs


def history_entries(obj: Model) -> list[Entry]:
    return [
        Entry(
            at=entry.at,
            actor=entry.actor_name,
            note=entry.note,
            changes=[
                (name, str(value[0]), str(value[1]))
                for name, value in entry.details.items()
                if isinstance(value, list) and len(value) == 2
            ],
        )
        for entry in entries_for(obj)[:ENTRIES]
    ]


def kept_fields(request: ConsoleRequest) -> list[tuple[str, str]]:
    """What was typed, to be sent again with the confirmation. Passwords never are."""
    return [
        (name, value)
        for name, values in request.POST.lists()
        if name not in NOT_TYPED and "password" not in name
        for value in values
    ]
