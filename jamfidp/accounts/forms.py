"""The forms of Settings > User accounts and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from jamfidp.access import visible_to
from jamfidp.accounts.account_groups import DirectoryTypeRefused
from jamfidp.accounts.models import AccessLevel, AccountGroup, PrivilegeSet, User
from jamfidp.accounts.presentation import VERBS
from jamfidp.accounts.privileges import (
    ACTIONS,
    CATALOGUE,
    OBJECTS,
    SETTINGS,
    Privilege,
    Reach,
)
from jamfidp.accounts.sign_in_forms import NewPasswordForm
from jamfidp.accounts.user_accounts import Privileges
from scoping.models import Site

# The privilege sets as Jamf Pro describes them.
SETS = [
    (PrivilegeSet.ADMINISTRATOR.value, "Administrator: every privilege"),
    (PrivilegeSet.AUDITOR.value, "Auditor: reads everything, changes nothing"),
    (PrivilegeSet.ENROLLMENT.value, "Enrollment Only: reads and deletes devices"),
    (PrivilegeSet.CUSTOM.value, "Custom: the privileges ticked below"),
]
LEVELS = {
    AccessLevel.FULL: "Full Access: every site, and what belongs to no site",
    AccessLevel.SITE: "Site Access: the objects of one site",
    AccessLevel.GROUP: "Group Access: what its account groups give",
}


@dataclass(frozen=True, slots=True)
class Tick:
    """A privilege as a box to tick."""

    name: str
    verb: str
    ticked: bool
    id: str
    needs_full_access: bool


class PrivilegesForm(forms.Form):
    """Access level, site, privilege set and the privileges of the set Custom."""

    access_level = forms.ChoiceField(label="Access level", widget=forms.RadioSelect)
    site = forms.ModelChoiceField(
        Site.objects.none(),
        required=False,
        help_text="For Site Access.",
        empty_label="No site",
    )
    privilege_set = forms.ChoiceField(
        label="Privilege set",
        choices=SETS,
        required=False,
        help_text="For Full Access and Site Access.",
    )
    privileges = forms.MultipleChoiceField(
        choices=[(name, name) for name in CATALOGUE], required=False
    )

    levels: Sequence[AccessLevel] = (AccessLevel.FULL, AccessLevel.SITE)
    permission = "accounts.add_accountgroup"

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor = actor
        access = actor.sites_with(self.permission)
        sites = Site.objects.all()
        if not access.everywhere:
            sites = sites.filter(pk__in=access.site_ids)
        levels = [
            level
            for level in self.levels
            if level is AccessLevel.SITE or access.everywhere
        ]
        if not sites.exists():
            levels = [level for level in levels if level is not AccessLevel.SITE]
        self.fields["access_level"].choices = [  # type: ignore[attr-defined]
            (level.value, LEVELS[level]) for level in levels
        ]
        self.fields["site"].queryset = sites  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        level = cleaned.get("access_level")
        if level == AccessLevel.SITE and "site" in cleaned and not cleaned["site"]:
            self.add_error("site", "Site Access needs a site.")
        if level != AccessLevel.GROUP and not cleaned.get("privilege_set"):
            self.add_error("privilege_set", "Choose a privilege set.")
        if (
            level != AccessLevel.GROUP
            and cleaned.get("privilege_set") == PrivilegeSet.CUSTOM
            and not cleaned.get("privileges")
        ):
            self.add_error("privilege_set", "Custom needs at least one privilege.")
        return cleaned

    def chosen(self) -> Privileges:
        cleaned = self.cleaned_data
        return Privileges(
            access_level=cleaned["access_level"],
            privilege_set=cleaned["privilege_set"] or PrivilegeSet.CUSTOM,
            custom=cleaned["privileges"],
            site=cleaned["site"]
            if cleaned["access_level"] == AccessLevel.SITE
            else None,
        )

    @property
    def shows_custom(self) -> bool:
        """The boxes are in the way of whoever chose another privilege set."""
        return bool(self["privilege_set"].value() == PrivilegeSet.CUSTOM)

    # What the template shows of the field `privileges`, by Jamf Pro's tabs.

    def object_ticks(self) -> Sequence[tuple[str, Sequence[Tick | None]]]:
        return [
            (
                kind.label,
                [self._tick(CATALOGUE.get(f"{v} {kind.label}"), v) for v in VERBS],
            )
            for kind in OBJECTS
        ]

    def other_ticks(self) -> Sequence[tuple[str, Sequence[Tick | None]]]:
        return [
            ("Settings", [self._tick(one, one.name) for one in SETTINGS]),
            ("Actions", [self._tick(one, one.name) for one in ACTIONS]),
        ]

    def _tick(self, privilege: Privilege | None, verb: str) -> Tick | None:
        if privilege is None:
            return None
        return Tick(
            name=privilege.name,
            verb=verb,
            ticked=privilege.name in (self["privileges"].value() or ()),
            id=f"privilege-{privilege.name.replace(' ', '-').lower()}",
            needs_full_access=privilege.reach is Reach.FULL,
        )


class AccountForm(PrivilegesForm):
    """An account. The names of an account of Entra come from the directory."""

    username = forms.CharField(
        label="User name",
        max_length=255,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )
    full_name = forms.CharField(label="Full name", max_length=255, required=False)
    email = forms.EmailField(label="Email address", max_length=320, required=False)
    enabled = forms.BooleanField(required=False)
    groups = forms.ModelMultipleChoiceField(
        AccountGroup.objects.none(),
        label="Account groups",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Count with Group Access.",
    )

    field_order = ("username", "full_name", "email", "enabled")
    levels = tuple(AccessLevel)
    permission = "accounts.add_user"

    def __init__(
        self, *args: Any, actor: User, account: User | None = None, **kwargs: Any
    ) -> None:
        if account is not None:
            self.permission = "accounts.change_user"
            kwargs["initial"] = {
                "username": account.username,
                "full_name": account.full_name,
                "email": account.email,
                "enabled": account.is_active,
                "access_level": account.access_level,
                "site": account.site_id,
                "privilege_set": account.privilege_set,
                "privileges": account.privileges,
                "groups": account.groups.all(),
            }
        super().__init__(*args, actor=actor, **kwargs)
        self.instance = account
        self.fields["groups"].queryset = visible_to(  # type: ignore[attr-defined]
            AccountGroup.objects.all(), actor, "accounts.view_accountgroup"
        )
        if account is not None and not account.is_local:
            for name in ("username", "full_name", "email"):
                self.fields[name].disabled = True
        if account is None:
            del self.fields["enabled"]

    def resulting_groups(self) -> list[AccountGroup]:
        """The chosen groups, and those of other sites that the actor cannot see."""
        chosen: list[AccountGroup] = list(self.cleaned_data["groups"])
        if self.instance is None:
            return chosen
        shown: QuerySet[AccountGroup] = self.fields["groups"].queryset  # type: ignore[attr-defined]
        return chosen + list(self.instance.groups.exclude(pk__in=shown.values("pk")))


class NewAccountForm(AccountForm):
    """A new local account with its first password."""

    password = forms.CharField(
        max_length=1024,
        strip=False,
        help_text="At least 12 characters. Hand it over by a safe way.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    field_order = ("username", "full_name", "email", "password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("password"):
            try:
                validate_password(
                    cleaned["password"],
                    user=User(
                        username=cleaned.get("username", ""),
                        full_name=cleaned.get("full_name", ""),
                    ),
                )
            except ValidationError as refused:
                self.add_error("password", refused)
        return cleaned


class AccountPasswordForm(NewPasswordForm):
    """A new password for an account that exists."""

    def __init__(self, *args: Any, holder: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.holder = holder

    def account(self) -> User:
        return self.holder


class AccountGroupForm(PrivilegesForm):
    """An account group of the standard type."""

    kind = forms.ChoiceField(
        label="Type",
        choices=[("STANDARD", "Standard group"), ("DIRECTORY", "Directory group")],
        initial="STANDARD",
        widget=forms.RadioSelect,
        help_text="With Entra ID, a standard group is bound to directory groups.",
    )
    display_name = forms.CharField(label="Display name", max_length=255)
    accounts = forms.ModelMultipleChoiceField(
        User.objects.none(),
        label="Assigned accounts",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Directory groups are bound on the page of the account group.",
    )

    field_order = ("kind", "display_name")

    def __init__(
        self,
        *args: Any,
        actor: User,
        group: AccountGroup | None = None,
        **kwargs: Any,
    ) -> None:
        if group is not None:
            self.permission = "accounts.change_accountgroup"
            kwargs["initial"] = {
                "display_name": group.display_name,
                "access_level": group.access_level,
                "site": group.site_id,
                "privilege_set": group.privilege_set,
                "privileges": group.privileges,
                "accounts": group.accounts.all(),
            }
        super().__init__(*args, actor=actor, **kwargs)
        self.instance = group
        self.fields["accounts"].queryset = visible_to(  # type: ignore[attr-defined]
            # People of Entra come through directory groups, in numbers that no form
            # should show; one who is assigned all the same can be taken out.
            User.objects.filter(
                Q(access_level=AccessLevel.GROUP, object_id="")
                | Q(pk__in=group.accounts.values("pk") if group else ())
            ),
            actor,
            "accounts.view_user",
        )
        if group is not None:
            del self.fields["kind"]

    def clean_kind(self) -> str:
        if self.cleaned_data["kind"] == "DIRECTORY":
            raise ValidationError(str(DirectoryTypeRefused()))
        return "STANDARD"

    def resulting_accounts(self) -> list[User]:
        """The chosen accounts, and those assigned that the form does not show."""
        chosen: list[User] = list(self.cleaned_data["accounts"])
        if self.instance is None:
            return chosen
        shown: QuerySet[User] = self.fields["accounts"].queryset  # type: ignore[attr-defined]
        return chosen + list(self.instance.accounts.exclude(pk__in=shown.values("pk")))


class ReasonForm(forms.Form):
    """Why a switch is used: it stands in the history and in the notice."""

    reason = forms.CharField(
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Everybody who may see the accounts reads it.",
    )


class StopForm(ReasonForm):
    end_sessions = forms.BooleanField(
        label="Also end the sessions of everybody who signed in this way",
        required=False,
    )


class BindingForm(forms.Form):
    """How a directory group is bound."""

    nested = forms.BooleanField(
        label="Members of nested groups count as well",
        required=False,
    )
    confirmed = forms.BooleanField(
        label="I have read the warnings and bind the group in spite of them",
        required=False,
    )
