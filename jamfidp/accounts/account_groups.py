"""Changes of account groups and of what binds them to Entra; each writes history."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet

from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser
from jamfidp.accounts import alarms, sessions, standing, validity
from jamfidp.accounts.explanations import Explanation, explain
from jamfidp.accounts.grants import suspension
from jamfidp.accounts.models import AccessLevel, AccountGroup, DirectoryBinding, User
from jamfidp.accounts.user_accounts import Privileges, check_covers, check_place
from jamfidp.history.record import record


class DirectoryTypeRefused(Exception):
    """Entra has account groups of the standard type only."""

    def __init__(self) -> None:
        super().__init__(
            "With Entra ID, account groups are of the standard type: made here, and "
            "bound to directory groups. The directory type is for LDAP servers."
        )


class UnsafeBinding(Exception):
    """The binding needs a second confirmation; `warnings` say why."""

    def __init__(self, warnings: Sequence[str]) -> None:
        super().__init__(" ".join(warnings))
        self.warnings = warnings


@transaction.atomic
def create_group(
    *,
    display_name: str,
    privileges: Privileges,
    accounts: Sequence[User],
    actor: User,
    now: datetime,
) -> AccountGroup:
    """Make an account group of the standard type.

    Raises:
        ValidationError: another group has the name.
        MoreThanYouHold
    """
    check_place(actor, "accounts.add_accountgroup", privileges)
    check_covers(actor, privileges)
    group = AccountGroup(display_name=display_name)
    privileges.put_on(group)
    group.full_clean()
    group.save()
    _set_accounts(group, accounts)
    validity.follow(groups=[group.pk], by=str(actor), now=now)
    record(
        obj=group,
        actor=actor,
        action="created",
        note=f"Created the account group {group.display_name}.",
        details={
            "privileges": ["", privileges.words()],
            "accounts": ["", _names(accounts)],
        },
        now=now,
    )
    return group


@transaction.atomic
def change_group(
    group: AccountGroup,
    *,
    display_name: str,
    privileges: Privileges,
    accounts: Sequence[User],
    actor: User,
    now: datetime,
    confirmed: bool = False,
) -> None:
    """Change name, privileges and assigned accounts. Raises as `create_group`.

    Raises:
        UnsafeBinding: the group would give more, by Full Access, to the members of
            bound directory groups that are no safe source; it was not confirmed.
    """
    check_place(actor, "accounts.change_accountgroup", privileges)
    check_covers(actor, Privileges.of(group))
    check_covers(actor, privileges)
    warnings = warnings_of_change(group, privileges, now=now)
    if warnings and not confirmed:
        raise UnsafeBinding(warnings)
    before = _facts(group)
    group.display_name = display_name
    privileges.put_on(group)
    group.full_clean()
    group.save()
    _set_accounts(group, accounts)
    validity.follow(groups=[group.pk], by=str(actor), now=now)
    sessions.end_where_nothing_is_held(sessions.signed_in_accounts(now), now=now)
    after = _facts(group)
    changes = {
        name: [before[name], after[name]]
        for name in after
        if before[name] != after[name]
    }
    if changes:
        record(
            obj=group,
            actor=actor,
            action="changed",
            note=f"Changed the account group {group.display_name}."
            + (" Confirmed in spite of warnings." if warnings else ""),
            details=changes
            | ({"warnings": ["", " ".join(warnings)]} if warnings else {}),
            now=now,
        )
    if before["privileges"] != after["privileges"]:
        alarms.full_access_given(
            f"What the account group {group.display_name} gives was changed",
            to=group,
            actor=actor,
            now=now,
        )


@transaction.atomic
def delete_group(group: AccountGroup, *, actor: User, now: datetime) -> None:
    """Delete a group with its bindings. Raises MoreThanYouHold."""
    check_covers(actor, Privileges.of(group))
    facts = _facts(group)
    facts["bound directory groups"] = ", ".join(
        f"{one} ({one.object_id})" for one in group.bindings.all()
    )
    record(
        obj=group,
        actor=actor,
        action="deleted",
        note=f"Deleted the account group {group.display_name}.",
        details={name: [value, ""] for name, value in facts.items()},
        now=now,
    )
    number = group.pk
    group.delete()
    validity.follow(groups=[number], by=str(actor), now=now)
    sessions.end_where_nothing_is_held(sessions.signed_in_accounts(now), now=now)


@transaction.atomic
def bind(
    group: AccountGroup,
    directory_group: DirectoryGroup,
    *,
    nested: bool,
    confirmed: bool,
    actor: User,
    now: datetime,
    replaces: DirectoryBinding | None = None,
) -> DirectoryBinding:
    """Let the members of a directory group be members of the account group.

    `replaces` is a binding whose directory group is gone: it is removed.

    Raises:
        UnsafeBinding: a warning was not confirmed.
        ValidationError: bound already, or the directory group is gone.
        MoreThanYouHold
    """
    check_covers(actor, Privileges.of(group))
    if directory_group.state != DirectoryGroup.State.PRESENT:
        raise ValidationError("This directory group is no longer in the directory.")
    warnings = warnings_for(group, directory_group, nested=nested)
    if warnings and not confirmed:
        raise UnsafeBinding(warnings)
    if replaces is not None:
        replaces.delete()
    binding = DirectoryBinding(
        account_group=group,
        tenant_id=directory_group.cloud_idp.tenant_id,
        object_id=directory_group.object_id,
        nested=nested,
        name_when_bound=str(directory_group)[:256],
        bound_by_name=str(actor)[:255],
        bound_at=now,
    )
    try:
        binding.full_clean()
    except ValidationError as error:
        raise ValidationError(
            f"{directory_group} is bound to {group} already."
        ) from error
    binding.save()
    validity.follow(groups=[group.pk], by=str(actor), now=now)
    record(
        obj=group,
        actor=actor,
        action="bound",
        note=f"Bound the directory group {directory_group}"
        + (" with the groups nested in it." if nested else ".")
        + (" Confirmed in spite of warnings." if warnings else ""),
        details={
            "tenant id": ["", binding.tenant_id],
            "object id": ["", binding.object_id],
            **({"warnings": ["", " ".join(warnings)]} if warnings else {}),
            **({"replaces": [str(replaces), ""]} if replaces else {}),
        },
        now=now,
    )
    alarms.full_access_given(
        f"The directory group {directory_group} was bound to {group}",
        to=group,
        actor=actor,
        now=now,
    )
    return binding


@transaction.atomic
def unbind(binding: DirectoryBinding, *, actor: User, now: datetime) -> None:
    """Remove a binding. Raises MoreThanYouHold."""
    group = binding.account_group
    check_covers(actor, Privileges.of(group))
    record(
        obj=group,
        actor=actor,
        action="unbound",
        note=f"Removed the directory group {binding}.",
        details={"object id": [binding.object_id, ""]},
        now=now,
    )
    binding.delete()
    validity.follow(groups=[group.pk], by=str(actor), now=now)
    sessions.end_where_nothing_is_held(sessions.signed_in_accounts(now), now=now)


def warnings_for(
    group: AccountGroup, directory_group: DirectoryGroup, *, nested: bool
) -> list[str]:
    """Return what makes a directory group unsafe as a source of Full Access.

    Only role-assignable groups are out of reach of lower administrators of a tenant.
    https://learn.microsoft.com/entra/identity/role-based-access-control/groups-concept
    """
    if group.access_level != AccessLevel.FULL:
        return []
    warnings = []
    if directory_group.is_dynamic:
        warnings.append(
            "Its members follow from a rule: whoever can change the attributes in the "
            "rule, sometimes the people themselves, decides who gets these privileges."
        )
    if directory_group.kind == DirectoryGroup.Kind.MICROSOFT_365:
        warnings.append(
            "It is a Microsoft 365 group: its owners, who need not be administrators, "
            "choose its members."
        )
    if not directory_group.is_assignable_to_role:
        warnings.append(
            "It is not role-assignable: owners, group administrators and applications "
            "of the tenant can add members."
        )
    if directory_group.hidden_membership:
        warnings.append("Its members are hidden; the console may not see them.")
    if nested:
        warnings.append(
            "Nested groups count: whoever can put a group into it, or a person into a "
            "nested group, gives Full Access."
        )
    return warnings


def warnings_of_change(
    group: AccountGroup, after: Privileges, *, now: datetime
) -> list[str]:
    """Return what makes bound directory groups unsafe for more than they give now.

    Bound while the group gave little, they would else become a source of Full Access
    that nobody was warned of.
    """
    before = Privileges.of(group)
    if after.access_level != AccessLevel.FULL or (
        before.access_level == AccessLevel.FULL and after.names <= before.names
    ):
        return []
    raised = copy(group)
    after.put_on(raised)
    return [
        f"{state.binding}: {warning}"
        for state in states_of(raised, now=now)
        for warning in state.warnings
    ]


@dataclass(frozen=True, slots=True)
class BindingState:
    """A binding as a page shows it: its directory group today, drift, what is wrong."""

    binding: DirectoryBinding
    connection: CloudIdentityProvider | None
    directory_group: DirectoryGroup | None
    warnings: Sequence[str]
    # Why nobody holds anything by it at the moment.
    suspended: Explanation | None

    @property
    def broken(self) -> bool:
        return self.directory_group is None

    @property
    def where(self) -> str:
        """What tells the group from others of its name: mail or ID, and connection."""
        group = self.directory_group
        known = group.mail if group is not None else self.binding.object_id
        connection = self.connection or f"tenant {self.binding.tenant_id}"
        return ", ".join(filter(None, (known, str(connection))))

    @property
    def renamed(self) -> bool:
        return (
            self.directory_group is not None
            and str(self.directory_group) != self.binding.name_when_bound
        )


def states_of(group: AccountGroup, *, now: datetime) -> list[BindingState]:
    bindings = list(group.bindings.order_by("name_when_bound", "pk"))
    connections = {
        one.tenant_id: one
        for one in CloudIdentityProvider.objects.filter(
            tenant_id__in={binding.tenant_id for binding in bindings}
        )
    }
    found = {
        (one.cloud_idp_id, one.object_id): one
        for one in DirectoryGroup.objects.present()
        .select_related("cloud_idp")
        .filter(
            cloud_idp__in=connections.values(),
            object_id__in={binding.object_id for binding in bindings},
        )
    }
    states = []
    for binding in bindings:
        connection = connections.get(binding.tenant_id)
        directory_group = (
            found.get((connection.pk, binding.object_id)) if connection else None
        )
        suspended = suspension(
            standing.connection_facts(connection),
            freshness=standing.freshness(),
            now=now,
        )
        states.append(
            BindingState(
                binding,
                connection,
                directory_group,
                warnings_for(group, directory_group, nested=binding.nested)
                if directory_group
                else (),
                explain(suspended) if suspended else None,
            )
        )
    return states


def people_in(
    directory_group: DirectoryGroup, *, nested: bool
) -> QuerySet[DirectoryUser]:
    """The people who hold what a binding of the group gives: active, and no guests."""
    member = Q(memberships__group=directory_group)
    if nested and directory_group.cloud_idp.transitive_membership_enabled:
        member |= Q(
            memberships__group__ancestors__ancestor=directory_group,
            memberships__group__state=DirectoryGroup.State.PRESENT,
        )
    return (
        DirectoryUser.objects.present()
        .filter(member, account_enabled=True)
        .exclude(user_type="")
        .exclude(user_type__iexact="guest")
        .distinct()
        .order_by("display_name", "pk")
    )


def same_name(states: Sequence[BindingState]) -> Sequence[str]:
    """Directory groups that are merely called like a bound one, for an alarm.

    Anybody who may make groups can take the name of a bound group; it gives nothing.
    """
    bound = {
        (state.binding.tenant_id, state.binding.object_id): state.binding
        for state in states
    }
    names = {state.binding.name_when_bound for state in states}
    alike = (
        DirectoryGroup.objects.present()
        .filter(display_name__in=names)
        .select_related("cloud_idp")
    )
    return [
        f"{one.display_name} ({one.object_id})"
        for one in alike
        if (one.cloud_idp.tenant_id, one.object_id) not in bound
    ]


def _set_accounts(group: AccountGroup, accounts: Sequence[User]) -> None:
    group.accounts.set(accounts)  # type: ignore[attr-defined]


def _facts(group: AccountGroup) -> dict[str, str]:
    return {
        "name": group.display_name,
        "privileges": Privileges.of(group).words(),
        "accounts": _names(group.accounts.all()),
    }


def _names(accounts: Sequence[User] | QuerySet[User]) -> str:
    return ", ".join(sorted(account.username for account in accounts))


def holders(
    group: AccountGroup, *, now: datetime
) -> tuple[list[User], list[DirectoryUser]]:
    """Return the accounts assigned, and the people held through bindings now."""
    people: dict[int, DirectoryUser] = {}
    for state in states_of(group, now=now):
        if state.directory_group is not None and not state.suspended:
            for person in people_in(state.directory_group, nested=state.binding.nested):
                people[person.pk] = person
    return list(group.accounts.all()), sorted(
        people.values(), key=lambda person: (person.display_name, person.pk)
    )
