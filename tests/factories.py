"""Rows for tests: plain functions with overrides.

Directory rows are written here as a finished sync would leave them; nothing else
outside directory.sync writes them.
"""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from django.utils import timezone
from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GuardLimits,
    StagedPage,
    SyncRun,
)
from directory.sync.attributes import fold
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    DirectoryBinding,
    PrivilegeSet,
    User,
)
from jamfidp.notices.announce import announce
from jamfidp.notices.kinds import CONNECTION_STATUS
from jamfidp.notices.models import Notice
from scoping.models import Site

PASSWORD = "correct horse battery staple"
_serial = count(1)


def guid(name: str) -> str:
    """A GUID that is the same in every run."""
    return str(uuid5(NAMESPACE_DNS, name))


TENANT = guid("fernhill.example")
OTHER_TENANT = guid("quarrel.example")


def cloud_idp(
    display_name: str = "Fernhill Studio",
    *,
    tenant_id: str = TENANT,
    read_at: datetime | None = None,
    **values: Any,
) -> CloudIdentityProvider:
    """A connection that was completely read, just now unless `read_at` says when."""
    read_at = read_at or timezone.now()
    return CloudIdentityProvider.objects.create(
        **{
            "display_name": display_name,
            "cloud": "SANDBOX",
            "tenant_id": tenant_id,
            "tenant_name": display_name,
            "consented_by_name": "Gloria Admin",
            "consented_by_upn": "gloria@fernhill.example",
            "consented_by_object_id": guid("gloria"),
            "consented_at": read_at,
            "status_since": read_at,
            "first_complete_read_at": read_at,
            "last_full_read_at": read_at,
            "last_good_read_at": read_at,
        }
        | values
    )


def number(
    cloud_idp: CloudIdentityProvider, object_id: str, kind: DirectoryObject.Kind
) -> int:
    """The number of an object, given when a sync first saw it."""
    seen, _new = DirectoryObject.objects.get_or_create(
        cloud_idp=cloud_idp, object_id=object_id, defaults={"kind": kind}
    )
    return seen.pk


def directory_user(
    name: str, cloud_idp: CloudIdentityProvider, **values: Any
) -> DirectoryUser:
    """An enabled member of the tenant."""
    upn = values.pop(
        "user_principal_name", f"{name.lower().replace(' ', '.')}@fernhill.example"
    )
    now = timezone.now()
    object_id = values.pop("object_id", guid(f"{cloud_idp.tenant_id}/{name}"))
    return DirectoryUser.objects.create(
        **{
            "id": number(cloud_idp, object_id, DirectoryObject.Kind.USER),
            "cloud_idp": cloud_idp,
            "object_id": object_id,
            "state": DirectoryUser.State.PRESENT,
            "state_since": now,
            "account_enabled": True,
            "user_type": "Member",
            "display_name": name,
            "real_name": name,
            "user_principal_name": upn,
            "user_name": upn,
            "user_name_key": upn.casefold(),
            "email": upn,
            "sort_key": fold(name),
            "search": f"{name} {upn}".casefold(),
            "first_seen_at": now,
            "changed_at": now,
        }
        | values
    )


def directory_group(
    name: str,
    cloud_idp: CloudIdentityProvider,
    *members: DirectoryUser | DirectoryGroup,
    **values: Any,
) -> DirectoryGroup:
    """A security group that can hold roles, with people and groups as members."""
    now = timezone.now()
    object_id = values.pop(
        "object_id", guid(f"{cloud_idp.tenant_id}/{name}/{next(_serial)}")
    )
    group = DirectoryGroup.objects.create(
        **{
            "id": number(cloud_idp, object_id, DirectoryObject.Kind.GROUP),
            "cloud_idp": cloud_idp,
            "object_id": object_id,
            "state": DirectoryGroup.State.PRESENT,
            "state_since": now,
            "display_name": name,
            "kind": DirectoryGroup.Kind.SECURITY,
            "mail_enabled": False,
            "security_enabled": True,
            "is_assignable_to_role": True,
            "sort_key": fold(name),
            "search": name.casefold(),
            "first_seen_at": now,
            "changed_at": now,
        }
        | values
    )
    for member in members:
        if isinstance(member, DirectoryUser):
            DirectoryMembership.objects.create(group=group, user=member)
        else:
            GroupNesting.objects.create(parent=group, child=member)
    derive(cloud_idp)
    return group


def join(user: DirectoryUser, group: DirectoryGroup) -> None:
    """As after a sync that saw the person enter the group."""
    DirectoryMembership.objects.create(group=group, user=user)
    derive(group.cloud_idp)


def leave(user: DirectoryUser, group: DirectoryGroup) -> None:
    """As after a sync that saw the person leave the group."""
    DirectoryMembership.objects.filter(group=group, user=user).delete()
    derive(group.cloud_idp)


def nest(child: DirectoryGroup, parent: DirectoryGroup) -> None:
    GroupNesting.objects.create(parent=parent, child=child)
    derive(parent.cloud_idp)


def derive(cloud_idp: CloudIdentityProvider) -> None:
    """Closure, bitmaps and counts from the rows of a connection."""
    groups = list(cloud_idp.groups.all())
    children: dict[int, set[int]] = {group.pk: set() for group in groups}
    for nesting in GroupNesting.objects.filter(parent__cloud_idp=cloud_idp):
        children[nesting.parent_id].add(nesting.child_id)
    direct: dict[int, set[int]] = {group.pk: set() for group in groups}
    for membership in DirectoryMembership.objects.filter(group__cloud_idp=cloud_idp):
        direct[membership.group_id].add(membership.user_id)
    GroupClosure.objects.filter(ancestor__cloud_idp=cloud_idp).delete()
    for group in groups:
        below: set[int] = set()
        frontier = set(children[group.pk])
        while frontier:
            below |= frontier
            frontier = {c for pk in frontier for c in children[pk]} - below
        below.discard(group.pk)
        GroupClosure.objects.bulk_create(
            GroupClosure(ancestor=group, descendant_id=pk) for pk in below
        )
        people = direct[group.pk].union(*(direct[pk] for pk in below))
        GroupBitmap.objects.update_or_create(
            group=group,
            defaults={
                "members": BitMap(direct[group.pk]).serialize(),
                "direct": None,
                "transitive": BitMap(people).serialize(),
            },
        )
        DirectoryGroup.objects.filter(pk=group.pk).update(
            direct_users=len(direct[group.pk]), transitive_users=len(people)
        )


def staged_page(run: SyncRun, **values: Any) -> StagedPage:
    """A page without anybody on it."""
    empty = BitMap().serialize()
    return StagedPage.objects.create(
        **{
            "run": run,
            "resource": StagedPage.Resource.USERS,
            "number": 1,
            "seen": empty,
            "objects_changed": b"",
            "members": b"",
            "staged_at": timezone.now(),
        }
        | values
    )


def site(name: str = "Berlin") -> Site:
    return Site.objects.create(name=name)


def local_account(
    username: str = "lena", *, password: str = PASSWORD, **values: Any
) -> User:
    """A local account; Group Access, and so without privileges, unless told."""
    user = User(**{"username": username, "created_at": timezone.now()} | values)
    user.set_password(password)
    user.save()
    return user


def administrator(username: str = "admin", **values: Any) -> User:
    return local_account(
        username,
        **{
            "access_level": AccessLevel.FULL,
            "privilege_set": PrivilegeSet.ADMINISTRATOR,
        }
        | values,
    )


def custom_account(username: str, *privileges: str, **values: Any) -> User:
    """A local account with privileges of its own, by Jamf Pro's names."""
    return local_account(
        username,
        **{
            "access_level": AccessLevel.FULL,
            "privilege_set": PrivilegeSet.CUSTOM,
            "privileges": list(privileges),
        }
        | values,
    )


def entra_account(person: DirectoryUser, **values: Any) -> User:
    """The account of somebody who has signed in with Entra."""
    user = User(
        **{
            "username": person.user_principal_name,
            "full_name": person.display_name,
            "tenant_id": person.cloud_idp.tenant_id,
            "object_id": person.object_id,
            "created_at": timezone.now(),
        }
        | values
    )
    user.set_unusable_password()
    user.save()
    return user


def account_group(
    display_name: str = "Design administrators", *accounts: User, **values: Any
) -> AccountGroup:
    """An account group; Full Access and Administrator unless told."""
    if "site" in values:
        values.setdefault("access_level", AccessLevel.SITE)
    group = AccountGroup.objects.create(
        **{
            "display_name": display_name,
            "access_level": AccessLevel.FULL,
            "privilege_set": PrivilegeSet.ADMINISTRATOR,
        }
        | values
    )
    for account in accounts:
        account.groups.add(group)
    return group


def guard_limits(cloud_idp: CloudIdentityProvider, absolute: int) -> GuardLimits:
    """Limits of a connection: so many lost are held, whatever the percentage."""
    return GuardLimits.objects.create(
        cloud_idp=cloud_idp,
        **{
            f"{what}_{sort}": value
            for what in ("people", "memberships", "members")
            for sort, value in (("percent", 100), ("absolute", absolute))
        },
    )


def bind(
    account_group: AccountGroup, group: DirectoryGroup, *, nested: bool = False
) -> DirectoryBinding:
    return DirectoryBinding.objects.create(
        account_group=account_group,
        tenant_id=group.cloud_idp.tenant_id,
        object_id=group.object_id,
        nested=nested,
        name_when_bound=group.display_name,
        bound_by_name="Local Administrator",
        bound_at=timezone.now(),
    )


def notice(title: str = "Fernhill Studio does not answer", **values: Any) -> Notice:
    """A notice about a connection, now, unless told otherwise."""
    given: dict[str, Any] = {"kind": CONNECTION_STATUS, "now": timezone.now()}
    return announce(title=title, **given | values)
