"""What an account holds, read from the rows anew for every request.

Nothing is cached beyond the request: who leaves a group loses its privileges at the
next request after the sync that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from directory import observed
from directory.dependents import ObjectRef
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupClosure,
)
from jamfidp.access import SiteAccess
from jamfidp.accounts import grants
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    Block,
    DirectoryBinding,
    SignInConfirmation,
    User,
)
from jamfidp.accounts.privileges import BY_PERMISSION, Reach

_CACHE = "_standing"


def freshness() -> timedelta:
    """How old the last good read may be for privileges held through the directory."""
    return timedelta(hours=settings.DIRECTORY_FRESHNESS_HOURS)


def of(user: User, *, now: datetime | None = None) -> grants.Standing:
    """Return what the account holds; decided once for each instance of the row.

    The session makes a new instance for every request.
    """
    known: grants.Standing | None = getattr(user, _CACHE, None)
    if known is None:
        known = read(user, now=now or timezone.now())
        setattr(user, _CACHE, known)
    return known


def read(user: User, *, now: datetime) -> grants.Standing:
    """Decide from the rows, with a number of queries that does not grow with them."""
    inherits = user.access_level == AccessLevel.GROUP
    account = grants.AccountFacts(
        enabled=user.is_active,
        access_level=user.access_level,
        privilege_set=user.privilege_set,
        custom=user.privileges,
        site_id=user.site_id,
        ref=ref_of(user),
        blocked=not user.let_in and _is_blocked(ref_of(user), user),
    )
    assigned = (
        [group_facts(group) for group in user.groups.all()]
        if inherits and user.pk is not None
        else []
    )
    if account.ref is None:
        return grants.decide(account, assigned=assigned, freshness=freshness(), now=now)
    return _of_person(account, account.ref, assigned, bindings=inherits, now=now)


def of_person(ref: ObjectRef, *, now: datetime) -> grants.Standing:
    """Return what a person of Entra without an account would hold by signing in."""
    account = grants.AccountFacts(
        enabled=True,
        access_level=AccessLevel.GROUP,
        ref=ref,
        blocked=_is_blocked(ref),
    )
    return _of_person(account, ref, [], bindings=True, now=now)


def _is_blocked(ref: ObjectRef | None, user: User | None = None) -> bool:
    whom = Q(pk__in=())
    if user is not None and user.pk is not None:
        whom |= Q(account=user)
    if ref is not None:
        whom |= Q(tenant_id=ref.tenant_id, object_id=ref.object_id)
    return Block.objects.in_force().filter(whom).exists()


def ref_of(user: User) -> ObjectRef | None:
    """The person of Entra whom the account belongs to, or None for a local account."""
    if user.is_local:
        return None
    return ObjectRef(tenant_id=user.tenant_id, object_id=user.object_id)


def group_facts(group: AccountGroup) -> grants.GroupFacts:
    return grants.GroupFacts(
        pk=group.pk,
        name=group.display_name,
        access_level=group.access_level,
        privilege_set=group.privilege_set,
        custom=group.privileges,
        site_id=group.site_id,
    )


def _of_person(
    account: grants.AccountFacts,
    ref: ObjectRef,
    assigned: Sequence[grants.GroupFacts],
    *,
    bindings: bool,
    now: datetime,
) -> grants.Standing:
    cloud_idp = CloudIdentityProvider.objects.filter(tenant_id=ref.tenant_id).first()
    person = (
        DirectoryUser.objects.filter(
            cloud_idp=cloud_idp, object_id=ref.object_id
        ).first()
        if cloud_idp is not None
        else None
    )
    live = SignInConfirmation.objects.filter(
        tenant_id=ref.tenant_id, object_id=ref.object_id
    ).first()
    lost = observed.NOTHING
    facts = _bindings(cloud_idp, person, live) if bindings else []
    if person is not None:
        lost = observed.of_person(
            person,
            {each.number for each in facts if each.number is not None},
            wait=freshness(),
            now=now,
        )
    in_effect = person_facts(person)
    if lost.row is not None:
        in_effect = grants.smaller(in_effect, person_facts(lost.row))

    def decided(live: SignInConfirmation | None) -> grants.Standing:
        shown = in_effect
        if live is not None:
            shown = live_facts(live)
            if lost.row is not None:
                shown = grants.smaller(in_effect, shown)
        return grants.decide(
            account,
            assigned=assigned,
            connection=connection_facts(cloud_idp),
            person=shown,
            bindings=[each.facts(live, lost) for each in facts],
            freshness=freshness(),
            now=now,
        )

    held = decided(live)
    if live is None or not held.grants:
        return held
    return grants.without_unagreed(held, decided(None))


def connection_facts(
    cloud_idp: CloudIdentityProvider | None,
) -> grants.ConnectionFacts | None:
    return None if cloud_idp is None else facts_of(cloud_idp)


def facts_of(cloud_idp: CloudIdentityProvider) -> grants.ConnectionFacts:
    return grants.ConnectionFacts(
        name=cloud_idp.display_name,
        enabled=cloud_idp.enabled,
        completely_read=cloud_idp.completely_read,
        last_good_read_at=cloud_idp.last_good_read_at,
        transitive=cloud_idp.transitive_membership_enabled,
        restored_at=cloud_idp.restored_at,
    )


def person_facts(person: DirectoryUser | None) -> grants.PersonFacts | None:
    if person is None:
        return None
    return grants.PersonFacts(
        present=person.state == DirectoryUser.State.PRESENT,
        deleted=person.state == DirectoryUser.State.DELETED,
        enabled=person.account_enabled,
        # Graph's userType decides: '#EXT#' in a name and `idp` in a token are hints
        # only, since a tenant can make an outsider a member on purpose. Some old
        # accounts have no type: then it is not known.
        guest=person.is_guest if person.user_type else None,
    )


def live_facts(live: SignInConfirmation) -> grants.PersonFacts:
    return grants.PersonFacts(
        enabled=live.enabled,
        guest=live.user_type.casefold() == "guest" if live.user_type else None,
    )


def _bindings(
    cloud_idp: CloudIdentityProvider | None,
    person: DirectoryUser | None,
    live: SignInConfirmation | None,
) -> list[_Binding]:
    if cloud_idp is None or (person is None and live is None):
        return []
    rows = list(
        DirectoryBinding.objects.filter(tenant_id=cloud_idp.tenant_id)
        .select_related("account_group")
        .order_by("account_group__display_name", "name_when_bound", "pk")
    )
    directory_groups = {
        group.object_id: group
        for group in DirectoryGroup.objects.filter(
            cloud_idp=cloud_idp,
            state=DirectoryGroup.State.PRESENT,
            object_id__in={row.object_id for row in rows},
        )
    }
    group_ids = [group.pk for group in directory_groups.values()]
    direct = set(
        DirectoryMembership.objects.filter(
            user=person, group_id__in=group_ids
        ).values_list("group_id", flat=True)
    )
    through: dict[int, list[str]] = {}
    for ancestor_id, name in (
        GroupClosure.objects.filter(
            ancestor_id__in=group_ids,
            descendant__memberships__user=person,
            descendant__state=DirectoryGroup.State.PRESENT,
        )
        .order_by("descendant__display_name")
        .values_list("ancestor_id", "descendant__display_name")
    ):
        through.setdefault(ancestor_id, []).append(name)
    facts = []
    for row in rows:
        group = directory_groups.get(row.object_id)
        number = group.pk if group else None
        facts.append(
            _Binding(
                row=row,
                group=group,
                direct=number in direct,
                through=through.get(number, ()) if number else (),
            )
        )
    return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binding:
    """A binding, its group if that is in the directory, and how it holds the person."""

    row: DirectoryBinding
    group: DirectoryGroup | None
    direct: bool
    through: Sequence[str]

    @property
    def number(self) -> int | None:
        return self.group.pk if self.group else None

    def facts(
        self, live: SignInConfirmation | None, lost: observed.Lost
    ) -> grants.BindingFacts:
        row, group = self.row, self.group
        confirmed = row.object_id in live.group_ids if live is not None else None
        there = group is not None and group.pk not in lost.gone
        return grants.BindingFacts(
            group=group_facts(row.account_group),
            ref=ObjectRef(row.tenant_id, row.object_id),
            name=group.display_name if group else row.name_when_bound,
            nested=row.nested,
            present=there or bool(confirmed and group is None),
            hidden=group is not None and group.hidden_membership,
            direct=self.direct,
            through=self.through,
            left=bool(self.direct or self.through) and self.number in lost.left,
            live=confirmed,
        )


def has_perm(user: User, perm: str, obj: Any = None) -> bool:
    """Tell whether the privilege is held: for an object at its site, else anywhere.

    Privileges that Site Access does not carry need Full Access by their nature.
    """
    held = of(user)
    privilege = BY_PERMISSION.get(perm)
    if obj is None or privilege is None or privilege.reach is Reach.SHARED:
        return held.holds(perm)
    return held.access(perm).may_see(getattr(obj, "site_id", None))


def has_module_perms(user: User, app_label: str) -> bool:
    """Tell whether anything of an app is held."""
    held = of(user)
    return any(
        permission.startswith(f"{app_label}.") and held.holds(permission)
        for permission in BY_PERMISSION
    )


def sites_with(user: User, perm: str) -> SiteAccess:
    """Where the privilege is held, narrowed to the site the person looks at."""
    access = of(user).access(perm)
    privilege = BY_PERMISSION.get(perm)
    site = user.chosen_site
    if site is None or privilege is None or privilege.reach is not Reach.SITE:
        return access
    return SiteAccess(
        everywhere=False,
        site_ids=frozenset({site.pk} if access.may_see(site.pk) else ()),
    )
