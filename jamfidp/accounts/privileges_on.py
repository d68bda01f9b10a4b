"""Who held which privileges on a day, and by which way.

Put together from intervals: what accounts and account groups were given, what was
bound and assigned, who was a member of the bound directory groups, who was active and
not blocked. A way counts where all of that was so at the same moment.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from django.db.models import Q
from pyroaring import BitMap

from directory import past
from directory.dependents import ObjectRef
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
)
from directory.past import Day, Period, common, without
from jamfidp.access import ConsoleUser
from jamfidp.accounts.levels import AccessLevel, PrivilegeSet
from jamfidp.accounts.models import (
    AssignmentInterval,
    BindingInterval,
    Block,
    PrivilegesInterval,
    Validity,
)
from jamfidp.accounts.privileges import in_reach, names_of
from jamfidp.accounts.standing import freshness

V = TypeVar("V", bound=Validity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One way by which somebody held privileges, as long as all of it was so.

    `path` are numbers of directory groups, nearest the person first. Without an
    account the person would have had one at the first sign-in.
    """

    name: str
    account_id: int | None
    person: int | None
    object_id: str = ""
    given: PrivilegesInterval
    account_group: str = ""
    assigned: bool = False
    path: Sequence[int] = ()
    period: Period

    @property
    def names(self) -> frozenset[str]:
        return names_given(self.given)

    @property
    def words(self) -> str:
        """'Full Access, Auditor', 'Site Access (Berlin), Custom'."""
        level = str(AccessLevel(self.given.access_level).label)
        if self.given.site_name:
            level = f"{level} ({self.given.site_name})"
        return f"{level}, {PrivilegeSet(self.given.privilege_set).label}"

    @property
    def position(self) -> str:
        """Where it stands in the list, and in no other place."""
        who = f"{self.name.casefold()}\t{self.account_id}\t{self.person}"
        way = ",".join(map(str, self.path))
        since = self.period.since.isoformat() if self.period.since else ""
        return f"{who}\t{self.given.pk}\t{way}\t{since}"


@dataclass(slots=True)
class HeldOn:
    """All ways of a day, by name, and why there may have been more, or less: a sentence
    each."""

    held: list[Held] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    less: list[str] = field(default_factory=list)


def names_given(given: PrivilegesInterval) -> frozenset[str]:
    return in_reach(
        names_of(given.privilege_set, given.privileges),
        at_site=given.access_level == AccessLevel.SITE,
    )


def held_on(
    day: Day, *, viewer: ConsoleUser, now: datetime, privilege: str = ""
) -> HeldOn:
    """Return who held privileges at any time of a day, as far as the viewer may see it.

    `privilege` keeps the ways by which that one was held. Left out is what was suspended,
    since a connection was disabled or had not been read for as long as is allowed today.
    """
    found = _Found(day, now)
    ways = [*found.by_account(), *found.by_binding()]
    seen = {
        True: viewer.sites_with("accounts.view_accountgroup"),
        False: viewer.sites_with("accounts.view_user"),
    }
    held = [
        one
        for one in ways
        if seen[one.given.account_group_id is not None].may_see(one.given.site_id)
        and (one.names if not privilege else privilege in one.names)
    ]
    return HeldOn(
        sorted(held, key=lambda one: one.position), sorted(found.unknown), found.less
    )


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A connection that is still there, and the people asked about, by object id."""

    cloud_idp: CloudIdentityProvider
    known: bool
    numbers: Mapping[str, int]
    # When it gave anything, and when nested groups counted for those who sign in.
    in_force: Sequence[Period]
    nesting: Sequence[Period]


class _Found:
    """The intervals of a day, and what follows from them."""

    def __init__(self, day: Day, now: datetime) -> None:
        self.day = day
        self.unknown: set[str] = set()
        self.less: list[str] = []
        given = _during(PrivilegesInterval, day)
        self._accounts = [one for one in given if one.account_id is not None]
        self._groups: dict[int, list[PrivilegesInterval]] = defaultdict(list)
        for one in given:
            if one.account_group_id is not None:
                self._groups[one.account_group_id].append(one)
        self._assignments: dict[int, list[AssignmentInterval]] = defaultdict(list)
        for assignment in _during(AssignmentInterval, day):
            self._assignments[assignment.account_id].append(assignment)
        self._bindings = _during(BindingInterval, day)
        # Later ones too: they end what was held on the day.
        self._blocks = list(Block.objects.exclude(lifted_at__lte=day.begins))
        self._tenants = self._read_tenants(now)

    def _read_tenants(self, now: datetime) -> dict[str, _Tenant]:
        refs: dict[str, set[str]] = defaultdict(set)
        for account in self._accounts:
            if account.tenant_id:
                refs[account.tenant_id].add(account.object_id)
        for binding in self._bindings:
            refs[binding.tenant_id].add(binding.object_id)
        tenants = {}
        for cloud_idp in CloudIdentityProvider.objects.filter(tenant_id__in=refs):
            since = past.known_from(cloud_idp, now=now)
            numbers = DirectoryObject.objects.filter(
                cloud_idp=cloud_idp, object_id__in=refs[cloud_idp.tenant_id]
            )
            tenants[cloud_idp.tenant_id] = _Tenant(
                cloud_idp,
                since is not None and since < self.day.ends,
                dict(numbers.values_list("object_id", "pk")),
                without(
                    past.enabled_periods(cloud_idp, self.day),
                    past.unread_periods(cloud_idp, longer_than=freshness(), now=now),
                ),
                past.nested_periods(cloud_idp, self.day),
            )
            if since is None or since > self.day.begins:
                self.unknown.add(
                    f"Who was in the directory groups of {cloud_idp} is not known for "
                    f"{'all' if since is None or since >= self.day.ends else 'a part'} "
                    "of this day: memberships are known since its first complete read, "
                    "and as far back as they are kept."
                )
        if tenants and self.day.begins - freshness() < past.runs_known_from(now=now):
            self.less.append(
                "How often directories were read then is not kept any more. What was "
                "suspended because one had not been read for too long is listed here "
                "all the same."
            )
        for tenant_id in refs.keys() - tenants.keys():
            self.unknown.add(
                f"The connection to the tenant {tenant_id} was deleted, and with it "
                "what was known of its people and groups."
            )
        return tenants

    def by_account(self) -> Iterator[Held]:
        """Yield what accounts were given themselves, or by being assigned."""
        active = self._active_accounts()
        for account in self._accounts:
            if not account.enabled:
                continue
            free = without(
                [_period(account)], self._blocked(account.account_id, _ref(account))
            )
            if account.object_id:
                free = common(free, active.get(_ref(account), ()))
            for given, periods, group in self._given(account, free):
                for period in periods:
                    if period.meets(self.day.period):
                        yield Held(
                            name=account.name,
                            account_id=account.account_id,
                            person=self._number(_ref(account)),
                            object_id=account.object_id,
                            given=given,
                            account_group=group,
                            assigned=bool(group),
                            period=period,
                        )

    def _given(
        self, account: PrivilegesInterval, free: list[Period]
    ) -> Iterator[tuple[PrivilegesInterval, list[Period], str]]:
        """An account with Full or Site Access of its own inherits nothing."""
        if account.access_level != AccessLevel.GROUP:
            yield account, free, ""
            return
        for assignment in self._assignments[account.account_id or 0]:
            for group in self._groups[assignment.account_group_id]:
                periods = common(common(free, [_period(assignment)]), [_period(group)])
                yield group, periods, group.name

    def by_binding(self) -> Iterator[Held]:
        """Yield what people held as members of bound directory groups."""
        for binding in self._bindings:
            tenant = self._tenants.get(binding.tenant_id)
            if tenant is None or not tenant.known:
                continue
            number = tenant.numbers.get(binding.object_id)
            group = past.names_of([number] if number else []).get(number or 0)
            if group is None:
                self.unknown.add(
                    f"The directory group {binding.name} ({binding.object_id}) is not "
                    "in the console any more."
                )
                continue
            yield from self._members(binding, group, tenant)

    def _members(
        self, binding: BindingInterval, group: DirectoryGroup, tenant: _Tenant
    ) -> Iterator[Held]:
        nested = binding.nested and any(
            each.meets(self.day.period) for each in tenant.nesting
        )
        members = past.members_on(group, self.day, nested=nested)
        if members.unknown or group.first_seen_at >= self.day.ends:
            self.unknown.add(
                f"Who was in the directory group {group} is not known for all of this "
                "day: members were hidden or not read."
            )
        active = past.active_periods(members.numbers, self.day)
        people = DirectoryUser.objects.filter(pk__in=past.among(members.numbers))
        names = {person.pk: (str(person), person.object_id) for person in people}
        ids = _object_ids(members.numbers - BitMap(names))
        accounts = self._accounts_of(binding.tenant_id)
        given = [
            (one, period)
            for one in self._groups[binding.account_group_id]
            if (period := _period(one).meets(_period(binding)))
        ]
        for number in members.numbers:
            name, object_id = names.get(number, ("", ids.get(number, "")))
            ref = ObjectRef(binding.tenant_id, object_id)
            own = accounts.get(object_id, [])
            account_id = own[-1].account_id if own else None
            free = common(active.get(number, []), tenant.in_force)
            free = without(free, self._blocked(account_id, ref))
            free = without(
                free,
                [
                    _period(one)
                    for one in own
                    if not one.enabled or one.access_level != AccessLevel.GROUP
                ],
            )
            for way in members.ways(number):
                during = common(free, [way.period])
                if not way.direct:
                    during = common(during, tenant.nesting)
                for one, period in given:
                    for each in common(during, [period]):
                        if each.meets(self.day.period):
                            yield Held(
                                name=name or (own[-1].name if own else object_id),
                                account_id=account_id,
                                person=number if name else None,
                                object_id=object_id,
                                given=one,
                                account_group=one.name,
                                path=way.path,
                                period=each,
                            )

    def _active_accounts(self) -> dict[ObjectRef | None, list[Period]]:
        """Return when the people of accounts were active in Entra; unknown is no."""
        refs = {ref for one in self._accounts if (ref := _ref(one))}
        numbers = {ref: n for ref in refs if (n := self._number(ref)) is not None}
        active = past.active_periods(BitMap(numbers.values()), self.day)
        return {
            ref: common(active.get(number, []), tenant.in_force)
            for ref, number in numbers.items()
            if (tenant := self._tenants[ref.tenant_id]).known
        }

    def _number(self, ref: ObjectRef | None) -> int | None:
        tenant = self._tenants.get(ref.tenant_id) if ref else None
        return tenant.numbers.get(ref.object_id) if tenant and ref else None

    def _accounts_of(self, tenant_id: str) -> dict[str, list[PrivilegesInterval]]:
        found: dict[str, list[PrivilegesInterval]] = defaultdict(list)
        for one in self._accounts:
            if one.tenant_id == tenant_id:
                found[one.object_id].append(one)
        return found

    def _blocked(self, account_id: int | None, ref: ObjectRef | None) -> list[Period]:
        return [
            Period(
                block.blocked_at,
                block.blocked_by_name,
                block.lifted_at,
                "a lifted block",
            )
            for block in self._blocks
            if (account_id is not None and block.account_id == account_id)
            or (ref and (block.tenant_id, block.object_id) == ref)
        ]


def _ref(one: PrivilegesInterval) -> ObjectRef | None:
    return ObjectRef(one.tenant_id, one.object_id) if one.object_id else None


def _period(one: Validity) -> Period:
    if one.earlier:
        return Period(None, None, one.to_at, one.to_by_name)
    return Period(one.from_at, one.from_by_name, one.to_at, one.to_by_name)


def _during(model: type[V], day: Day) -> list[V]:
    rows = model._default_manager.filter(
        Q(to_at=None) | Q(to_at__gt=day.begins), from_at__lt=day.ends
    )
    return list(rows.order_by("from_at", "pk"))


def _object_ids(numbers: Iterable[int]) -> dict[int, str]:
    rows = DirectoryObject.objects.filter(pk__in=past.among(numbers))
    return dict(rows.values_list("pk", "object_id"))
