"""Which privileges an account holds, where, by which path, and what is withheld.

Pure: facts in, decision out. Unknown is no: a privilege is given only where every
fact that it rests on is known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from directory.dependents import ObjectRef
from jamfidp.access import SiteAccess
from jamfidp.accounts.levels import AccessLevel
from jamfidp.accounts.privileges import BY_PERMISSION, Reach, in_reach, names_of


class Reason(StrEnum):
    """Why something that could be granted is not."""

    ACCOUNT_DISABLED = "account disabled"
    BLOCKED = "blocked here"
    NO_CONNECTION = "no connection"
    CONNECTION_DISABLED = "connection disabled"
    NEVER_READ = "never completely read"
    STALE = "directory too old"
    RESTORED = "not read since a restore"
    NOT_SEEN = "person not read"
    PERSON_DELETED = "person deleted"
    PERSON_DISABLED = "person disabled"
    ENABLED_UNKNOWN = "not known whether enabled"
    GUEST = "guest"
    TYPE_UNKNOWN = "not known whether guest"
    GROUP_GONE = "directory group gone"
    GROUP_HIDDEN = "membership hidden"
    DIRECT_UNKNOWN = "not known whether a direct member"
    NOT_MEMBER = "not a member"
    LEFT = "left, and held here"
    NOT_AGREED = "not agreed to"
    NO_GROUP = "no account group"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """An account group as far as it decides."""

    pk: int
    name: str
    access_level: str
    privilege_set: str
    custom: Collection[str] = ()
    site_id: int | None = None

    @property
    def names(self) -> frozenset[str]:
        return in_reach(
            names_of(self.privilege_set, self.custom),
            at_site=self.access_level == AccessLevel.SITE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """The account. `ref` is the person of Entra, or None for a local account."""

    enabled: bool
    access_level: str
    privilege_set: str = ""
    custom: Collection[str] = ()
    site_id: int | None = None
    ref: ObjectRef | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFacts:
    name: str
    enabled: bool
    completely_read: bool
    last_good_read_at: datetime | None
    # Jamf Pro's switch "Transitive groups for Single Sign-On".
    transitive: bool = True
    # When the console was restored from a backup; what was read before gives nothing.
    restored_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """What the directory says of a person. `enabled` and `guest` None: not known."""

    present: bool = True
    deleted: bool = False
    enabled: bool | None = True
    guest: bool | None = False


def smaller(one: PersonFacts | None, other: PersonFacts | None) -> PersonFacts | None:
    """Return what is the case by both; what one does not know is not known."""
    if one is None or other is None:
        return None
    return PersonFacts(
        present=one.present and other.present,
        deleted=one.deleted or other.deleted,
        enabled=_least(one.enabled, other.enabled, False),
        guest=_least(one.guest, other.guest, True),
    )


def _least(one: bool | None, other: bool | None, least: bool) -> bool | None:
    if least in (one, other):
        return least
    return None if None in (one, other) else one


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingFacts:
    """A binding, and what the directory says of its group and this person.

    `through` names the groups nested in it that have the person as a direct member.
    `left` says that Entra took the person out, while the change is held here.
    `live` is what Microsoft Graph said at the sign-in, nested groups included; None
    where the rows are newer.
    """

    group: GroupFacts
    ref: ObjectRef
    name: str
    nested: bool = False
    present: bool = True
    hidden: bool = False
    direct: bool = False
    through: Sequence[str] = ()
    left: bool = False
    live: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """By which way a privilege is held: own, an account group, a directory group."""

    account_group: GroupFacts | None = None
    directory_group: str = ""
    directory_ref: ObjectRef | None = None
    through: str = ""
    # By which way is not known yet: Microsoft said so at the sign-in.
    live: bool = False

    @property
    def sentence(self) -> str:
        if self.account_group is None:
            return "Granted to the account itself."
        group = self.account_group.name
        if not self.directory_group:
            return f"Assigned to the account group {group}."
        if self.live:
            return (
                f"In the account group {group}: at the sign-in, Microsoft said that the "
                f"directory group {self.directory_group} holds the person, directly or "
                f"through a nested group."
            )
        if self.through:
            return (
                f"In the account group {group}, because the directory group "
                f"{self.directory_group} belongs to it and contains {self.through}, "
                f"which has the person as a member."
            )
        return (
            f"In the account group {group}, as a member of the directory group "
            f"{self.directory_group}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Privileges at one site, or everywhere (`site_id` None), by one path."""

    names: frozenset[str]
    site_id: int | None
    path: Path
    privilege_set: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """Something that does not count, and why; `subject` names the group concerned."""

    reason: Reason
    subject: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """All that an account holds, and what it would hold but for a reason."""

    grants: Sequence[Grant] = ()
    withheld: Sequence[Withheld] = ()
    by_name: Mapping[str, SiteAccess] = field(default_factory=dict)

    @property
    def holds_nothing(self) -> bool:
        return not self.by_name

    def access(self, permission: str) -> SiteAccess:
        """Where a permission is held; one that no privilege gives is held nowhere."""
        privilege = BY_PERMISSION.get(permission)
        if privilege is None:
            return SiteAccess(everywhere=False)
        held = self.by_name.get(privilege.name, SiteAccess(everywhere=False))
        if privilege.reach is Reach.SHARED and held.site_ids:
            return SiteAccess(everywhere=True)
        return held

    def holds(self, permission: str) -> bool:
        """Held everywhere or at some site."""
        access = self.access(permission)
        return access.everywhere or bool(access.site_ids)

    def covers(self, names: Collection[str], *, site_id: int | None) -> bool:
        """Tell whether everything named is held where it would be granted."""
        return not self.lacks(names, site_id=site_id)

    def lacks(self, names: Collection[str], *, site_id: int | None) -> list[str]:
        """Return the names that are not held everywhere, or not at the site."""
        nowhere = SiteAccess(everywhere=False)
        return sorted(
            name
            for name in names
            if not self.by_name.get(name, nowhere).may_see(site_id)
        )


def standing(grants: Sequence[Grant], withheld: Sequence[Withheld] = ()) -> Standing:
    """Sum up: at a site count the grants everywhere and those of that site."""
    everywhere: set[str] = set()
    sites: dict[str, set[int]] = {}
    for grant in grants:
        for name in grant.names:
            if grant.site_id is None:
                everywhere.add(name)
            else:
                sites.setdefault(name, set()).add(grant.site_id)
    by_name = {
        name: SiteAccess(
            everywhere=name in everywhere, site_ids=frozenset(sites.get(name, ()))
        )
        for name in everywhere | sites.keys()
    }
    return Standing(grants, withheld, by_name)


def decide(
    account: AccountFacts,
    *,
    assigned: Sequence[GroupFacts] = (),
    connection: ConnectionFacts | None = None,
    person: PersonFacts | None = None,
    bindings: Sequence[BindingFacts] = (),
    freshness: timedelta,
    now: datetime,
) -> Standing:
    """Return what the account holds now.

    Own Full or Site Access is the account's own privileges alone; Group Access
    inherits those of its account groups. Whoever signs in with Entra holds
    anything only while Entra is known to have them as an active member of the tenant,
    by a read that is not older than `freshness`.
    """
    if not account.enabled:
        return standing((), [Withheld(reason=Reason.ACCOUNT_DISABLED)])
    if account.blocked:
        return standing((), [Withheld(reason=Reason.BLOCKED)])
    if account.ref is not None:
        obstacle = _obstacle(connection, person, freshness=freshness, now=now)
        if obstacle is not None:
            return standing((), [obstacle])
    if account.access_level != AccessLevel.GROUP:
        own = names_of(account.privilege_set, account.custom)
        return standing(
            [
                _grant(
                    own,
                    Path(),
                    access_level=account.access_level,
                    privilege_set=account.privilege_set,
                    site_id=account.site_id,
                )
            ]
        )
    grants = [_group_grant(group, Path(account_group=group)) for group in assigned]
    withheld: list[Withheld] = []
    # Only who signs in with Entra is a member of a directory group.
    for binding in bindings if account.ref is not None else ():
        outcome = _through(binding, connection)
        if isinstance(outcome, Path):
            grants.append(_group_grant(binding.group, outcome))
        else:
            withheld.append(outcome)
    if not grants and not withheld:
        withheld.append(Withheld(reason=Reason.NO_GROUP))
    return standing(grants, withheld)


def without_unagreed(held: Standing, in_effect: Standing) -> Standing:
    """Take away Full Access that rests on what Microsoft said at the sign-in alone.

    Whoever is given it in Entra has it here once somebody agrees, by a sync.
    """
    agreed = {
        grant.path.account_group.pk
        for grant in in_effect.grants
        if grant.site_id is None and grant.path.account_group is not None
    }
    kept, taken = [], list(held.withheld)
    for grant in held.grants:
        group = grant.path.account_group
        everywhere = grant.site_id is None and grant.path.directory_ref is not None
        if everywhere and group is not None and group.pk not in agreed:
            name = grant.path.directory_group
            taken.append(Withheld(reason=Reason.NOT_AGREED, subject=name))
        else:
            kept.append(grant)
    return standing(kept, taken)


def _group_grant(group: GroupFacts, path: Path) -> Grant:
    return _grant(
        names_of(group.privilege_set, group.custom),
        path,
        access_level=group.access_level,
        privilege_set=group.privilege_set,
        site_id=group.site_id,
    )


def _grant(
    names: Collection[str],
    path: Path,
    *,
    access_level: str,
    privilege_set: str,
    site_id: int | None,
) -> Grant:
    at_site = access_level == AccessLevel.SITE
    if at_site and site_id is None:
        # The database refuses such a row; without a site it must not mean everywhere.
        names = ()
    return Grant(
        names=in_reach(names, at_site=at_site),
        site_id=site_id if at_site else None,
        path=path,
        privilege_set=privilege_set,
    )


def suspension(
    connection: ConnectionFacts | None, *, freshness: timedelta, now: datetime
) -> Withheld | None:
    """Return why a connection grants nothing to anybody now, or None when it does."""
    if connection is None:
        return Withheld(reason=Reason.NO_CONNECTION)
    if not connection.enabled:
        return Withheld(reason=Reason.CONNECTION_DISABLED, subject=connection.name)
    read_at = connection.last_good_read_at
    if not connection.completely_read or read_at is None:
        return Withheld(reason=Reason.NEVER_READ, subject=connection.name)
    if connection.restored_at is not None and read_at <= connection.restored_at:
        return Withheld(reason=Reason.RESTORED, subject=connection.name, at=read_at)
    if now - read_at > freshness:
        return Withheld(reason=Reason.STALE, subject=connection.name, at=read_at)
    return None


def _obstacle(
    connection: ConnectionFacts | None,
    person: PersonFacts | None,
    *,
    freshness: timedelta,
    now: datetime,
) -> Withheld | None:
    """Return what keeps a person of Entra from holding anything at all."""
    suspended = suspension(connection, freshness=freshness, now=now)
    if suspended is not None or connection is None:
        return suspended
    read_at = connection.last_good_read_at
    if person is None or not (person.present or person.deleted):
        return Withheld(reason=Reason.NOT_SEEN, subject=connection.name, at=read_at)
    for applies, reason in (
        (person.deleted, Reason.PERSON_DELETED),
        (person.enabled is False, Reason.PERSON_DISABLED),
        (person.enabled is None, Reason.ENABLED_UNKNOWN),
        (person.guest is True, Reason.GUEST),
        (person.guest is None, Reason.TYPE_UNKNOWN),
    ):
        if applies:
            return Withheld(reason=reason, subject=connection.name, at=read_at)
    return None


def _through(
    binding: BindingFacts, connection: ConnectionFacts | None
) -> Path | Withheld:
    if not binding.present:
        return Withheld(reason=Reason.GROUP_GONE, subject=binding.name)
    if binding.live is False:
        return Withheld(reason=Reason.NOT_MEMBER, subject=binding.name)
    if binding.left:
        return Withheld(reason=Reason.LEFT, subject=binding.name)
    nested = binding.nested and connection is not None and connection.transitive
    through = ""
    live = False
    if not binding.direct:
        if nested and binding.through:
            through = binding.through[0]
        elif nested and binding.live:
            live = True
        elif binding.live:
            return Withheld(reason=Reason.DIRECT_UNKNOWN, subject=binding.name)
        else:
            reason = Reason.GROUP_HIDDEN if binding.hidden else Reason.NOT_MEMBER
            return Withheld(reason=reason, subject=binding.name)
    return Path(
        account_group=binding.group,
        directory_group=binding.name,
        directory_ref=binding.ref,
        through=through,
        live=live,
    )
