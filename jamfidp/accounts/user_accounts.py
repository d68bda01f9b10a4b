"""Changes of console accounts by a person; each writes history.

Two rules hold for all of them. Nobody gives more than they hold, nor touches an
account that holds more. And one local administrator always remains.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from jamfidp.accounts import (
    alarms,
    second_factor,
    sessions,
    standing,
    throttle,
    validity,
)
from jamfidp.accounts.administrators import one_remains
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    AccountSession,
    PrivilegeSet,
    User,
)
from jamfidp.accounts.privileges import in_reach, names_of
from jamfidp.history.record import record
from scoping.models import Site

MANY = 5


class MoreThanYouHold(Exception):
    """The change would give, or take charge of, privileges the actor does not hold."""

    def __init__(self, lacking: Sequence[str], site: str = "") -> None:
        self.lacking = lacking
        shown = ", ".join(lacking[:MANY])
        more = f" and {len(lacking) - MANY} more" if len(lacking) > MANY else ""
        where = f" at {site}" if site else " everywhere"
        super().__init__(
            f"You cannot give or manage privileges that you do not hold yourself"
            f"{where}: {shown}{more}. Nothing was changed. Ask somebody who holds them."
        )


class OutsideYourSites(MoreThanYouHold):
    """The account or group would belong to a site that the actor does not manage."""

    def __init__(self) -> None:
        Exception.__init__(
            self,
            "With Site Access you manage accounts and account groups of your sites "
            "alone. Nothing was changed. Choose Site Access and one of your sites.",
        )
        self.lacking: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """Access level and privilege set, as an account or an account group has them."""

    access_level: str
    privilege_set: str = PrivilegeSet.CUSTOM
    custom: Sequence[str] = ()
    site: Site | None = None

    @property
    def names(self) -> frozenset[str]:
        if self.access_level == AccessLevel.GROUP:
            return frozenset()
        return in_reach(
            names_of(self.privilege_set, self.custom),
            at_site=self.access_level == AccessLevel.SITE,
        )

    @classmethod
    def of(cls, holder: User | AccountGroup) -> Privileges:
        return cls(
            access_level=holder.access_level,
            privilege_set=holder.privilege_set,
            custom=holder.privileges,
            site=holder.site,
        )

    def put_on(self, holder: User | AccountGroup) -> None:
        """Set the fields; what does not apply to the level is emptied."""
        at_site = self.access_level == AccessLevel.SITE
        own = self.access_level != AccessLevel.GROUP
        holder.access_level = self.access_level
        holder.privilege_set = self.privilege_set if own else PrivilegeSet.CUSTOM
        holder.site = self.site if at_site else None
        holder.privileges = (
            sorted(names_of(PrivilegeSet.CUSTOM, self.custom))
            if own and self.privilege_set == PrivilegeSet.CUSTOM
            else []
        )

    def words(self) -> str:
        """'Full Access, Auditor', 'Site Access (Berlin), Custom: Read Policies'."""
        level = str(AccessLevel(self.access_level).label)
        if self.access_level == AccessLevel.GROUP:
            return level
        if self.site is not None and self.access_level == AccessLevel.SITE:
            level = f"{level} ({self.site})"
        label = str(PrivilegeSet(self.privilege_set).label)
        if self.privilege_set == PrivilegeSet.CUSTOM:
            label = f"{label}: {', '.join(sorted(self.names)) or 'none'}"
        return f"{level}, {label}"


def check_covers(actor: User, given: Privileges) -> None:
    """Raises MoreThanYouHold."""
    site = given.site if given.access_level == AccessLevel.SITE else None
    lacking = standing.of(actor).lacks(given.names, site_id=site.pk if site else None)
    if lacking:
        raise MoreThanYouHold(lacking, str(site) if site else "")


def check_place(actor: User, permission: str, given: Privileges) -> None:
    """Keep what is made or changed within the sites of the actor.

    Raises:
        OutsideYourSites
    """
    site = given.site if given.access_level == AccessLevel.SITE else None
    if not actor.sites_with(permission).may_see(site.pk if site else None):
        raise OutsideYourSites


def check_may_manage(actor: User, account: User, *, now: datetime) -> None:
    """Raises MoreThanYouHold when the account has been given more than the actor holds.

    Judged by what it has been given, not by what it holds at the moment: a password
    that is set today opens what comes back tomorrow. What comes through directory
    groups counts besides: nobody shuts out an administrator who signs in with Entra.
    """
    check_covers(actor, Privileges.of(account))
    for group in account.groups.select_related("site"):
        check_covers(actor, Privileges.of(group))
    held = standing.of(actor)
    for grant in standing.read(account, now=now).grants:
        lacking = held.lacks(grant.names, site_id=grant.site_id)
        if lacking:
            raise MoreThanYouHold(lacking)


@transaction.atomic
def create_account(
    *,
    username: str,
    full_name: str,
    email: str,
    password: str,
    privileges: Privileges,
    groups: Collection[AccountGroup],
    actor: User,
    now: datetime,
) -> User:
    """Make a local account.

    Raises:
        ValidationError: another account has the user name.
        MoreThanYouHold
    """
    check_place(actor, "accounts.add_user", privileges)
    check_covers(actor, privileges)
    for group in groups:
        check_covers(actor, Privileges.of(group))
    account = User(username=username, full_name=full_name, email=email, created_at=now)
    privileges.put_on(account)
    account.set_password(password)
    account.full_clean(exclude=["password"])
    account.save()
    account.groups.set(groups)
    validity.follow(accounts=[account.pk], by=str(actor), now=now)
    record(
        obj=account,
        actor=actor,
        action="created",
        note=f"Created the account {account.username}.",
        details={"privileges": ["", privileges.words()], **_groups("", groups)},
        now=now,
    )
    alarms.full_access_given(
        f"The account {account.username} was created", to=account, actor=actor, now=now
    )
    return account


@transaction.atomic
def change_account(
    account: User,
    *,
    username: str,
    full_name: str,
    email: str,
    enabled: bool,
    privileges: Privileges,
    groups: Collection[AccountGroup],
    actor: User,
    now: datetime,
) -> None:
    """Change what an account is and may. Names of an Entra account stay Entra's.

    Raises:
        ValidationError: another account has the user name.
        MoreThanYouHold, LastAdministrator
    """
    check_place(actor, "accounts.change_user", privileges)
    check_may_manage(actor, account, now=now)
    check_covers(actor, privileges)
    for group in groups:
        check_covers(actor, Privileges.of(group))
    before = _facts(account)
    with one_remains():
        if account.is_local:
            account.username, account.full_name = username, full_name
            account.email = email
        account.is_active = enabled
        privileges.put_on(account)
        account.full_clean(exclude=["password"])
        account.save()
        account.groups.set(groups)
        validity.follow(accounts=[account.pk], by=str(actor), now=now)
    sessions.end_where_nothing_is_held([account], now=now)
    after = _facts(account)
    changes = {
        name: [before[name], after[name]]
        for name in after
        if before[name] != after[name]
    }
    if changes:
        record(
            obj=account,
            actor=actor,
            action="changed",
            note=f"Changed the account {account.username}.",
            details=changes,
            now=now,
        )
    if before["privileges"] != after["privileges"]:
        alarms.full_access_given(
            f"What {account.username} may do was changed",
            to=account,
            actor=actor,
            now=now,
        )


@transaction.atomic
def set_password(account: User, *, password: str, actor: User, now: datetime) -> None:
    """Give a local account another password; its other sessions end.

    Raises:
        ValidationError: the account signs in with Entra.
        MoreThanYouHold
    """
    if not account.is_local:
        raise ValidationError("This account signs in with Entra and has no password.")
    check_may_manage(actor, account, now=now)
    account.set_password(password)
    account.save(update_fields=["password"])
    sessions.end_all_of(account, because="Your password was changed.", now=now)
    record(
        obj=account,
        actor=actor,
        action="changed",
        note=f"Set a new password for {account.username}.",
        now=now,
    )
    second_factor.tell(
        account,
        title=f"The password of {account.username} was changed",
        body=f"By {actor}. If nobody should have done that, tell another administrator.",
        now=now,
    )


@transaction.atomic
def change_own_password(
    account: User, *, password: str, this: AccountSession | None, now: datetime
) -> None:
    """Give one's own local account another password; one's other sessions end."""
    account.set_password(password)
    account.save(update_fields=["password"])
    sessions.end_all_of(
        account, because="Your password was changed.", now=now, but=this
    )
    record(
        obj=account,
        actor=account,
        action="changed",
        note="Changed the own password.",
        now=now,
    )
    second_factor.tell(
        account,
        title=f"The password of {account.username} was changed",
        body="If it was not you, tell another administrator.",
        now=now,
    )


@transaction.atomic
def remove_second_factors(account: User, *, actor: User, now: datetime) -> None:
    """Remove what somebody lost; where one is needed, they enroll a new one.

    Raises:
        MoreThanYouHold
    """
    check_may_manage(actor, account, now=now)
    second_factor.remove_all(account, actor=actor, now=now)


@transaction.atomic
def unlock(account: User, *, forget_second_factor: bool, now: datetime) -> list[str]:
    """Let a local account in again, for whoever operates the console's server.

    Returns what was done, a sentence each.
    """
    passwords = throttle.forget(account.username)
    factors = second_factor.forget_refusals(account)
    done = [
        f"Forgot {passwords} refused passwords and {factors} refused second factors."
    ]
    if account.blocks.in_force().update(lifted_at=now):
        done.append("Lifted the block.")
    if not account.is_active:
        account.is_active = True
        account.save(update_fields=["is_active"])
        validity.follow(accounts=[account.pk], by=validity.SERVER, now=now)
        done.append("Enabled the account.")
    record(
        obj=account,
        actor=None,
        action="changed",
        note=f"Unlocked from the console's server. {' '.join(done)}",
        now=now,
    )
    if not forget_second_factor:
        done.append(
            "The second factor stays. If it is lost: --forget-second-factor."
            if second_factor.of(account).any
            else "It has no second factor."
        )
    elif second_factor.remove_all(account, actor=None, now=now):
        done.append("Removed all second factors.")
    return done


@transaction.atomic
def end_sessions(
    account: User, *, actor: User, now: datetime, but: AccountSession | None = None
) -> int:
    """End the sessions of an account, but for the actor's own; return how many.

    Raises:
        MoreThanYouHold
    """
    check_may_manage(actor, account, now=now)
    count = sessions.end_all_of(
        account, because=f"{actor} ended your sessions.", now=now, but=but
    )
    record(
        obj=account,
        actor=actor,
        action="sessions ended",
        note=f"Ended the sessions of {account.username}: {count}.",
        now=now,
    )
    return count


@transaction.atomic
def delete_account(account: User, *, actor: User, now: datetime) -> None:
    """Delete an account; its history stays. Raises MoreThanYouHold, LastAdministrator.

    A person of Entra comes back by signing in while a bound group holds them.
    """
    check_may_manage(actor, account, now=now)
    with one_remains():
        record(
            obj=account,
            actor=actor,
            action="deleted",
            note=f"Deleted the account {account.username}.",
            details={name: [value, ""] for name, value in _facts(account).items()},
            now=now,
        )
        number = account.pk
        account.delete()
        validity.follow(accounts=[number], by=str(actor), now=now)


def _facts(account: User) -> dict[str, str]:
    return {
        "username": account.username,
        "full name": account.full_name,
        "email": account.email,
        "enabled": "yes" if account.is_active else "no",
        "privileges": Privileges.of(account).words(),
        "account groups": _names(list(account.groups.all())),
    }


def _groups(before: str, groups: Collection[AccountGroup]) -> dict[str, list[str]]:
    return {"account groups": [before, _names(groups)]} if groups else {}


def _names(groups: Collection[AccountGroup]) -> str:
    return ", ".join(sorted(str(group) for group in groups))
