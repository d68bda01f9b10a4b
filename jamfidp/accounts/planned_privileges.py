"""Which privileges a plan of a directory would give and take, and which bindings break.

The decision of `grants` over the directory as it will be. People whose facts are alike
are decided once, however many they are; nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pyroaring import BitMap

from directory.dependents import (
    Consequence,
    ConsequenceKind,
    ObjectOfConsole,
    ObjectRef,
    Subject,
)
from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser
from directory.planned import CHUNK, PlannedChange
from jamfidp.accounts import grants, standing
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    Block,
    DirectoryBinding,
    SignInConfirmation,
    User,
)
from jamfidp.compiled import Compiled

# Columns of a person that decide.
DECIDING = ("state", "account_enabled", "user_type")
# How many groups a sentence names.
NAMED = 3


# Groups that are bound, and people who have an account.
CONCERNED = Compiled(
    lambda tenant_id: (
        DirectoryBinding.objects.filter(tenant_id=tenant_id)
        .order_by()
        .values_list("pk")
        .union(
            User.objects.filter(tenant_id=tenant_id).order_by().values_list("pk"),
            all=True,
        )[:1]
    )
)


def of_plan(planned: PlannedChange, *, now: datetime) -> list[Consequence]:
    """Return who would gain or lose what, and which bindings break or return."""
    if not CONCERNED.any(planned.tenant_id):
        return []
    bindings = list(
        DirectoryBinding.objects.filter(tenant_id=planned.tenant_id)
        .select_related("account_group__site")
        .order_by("account_group__display_name", "name_when_bound", "pk")
    )
    accounts = {
        account.object_id: account
        for account in User.objects.filter(tenant_id=planned.tenant_id)
        .select_related("site")
        .prefetch_related("groups")
    }
    cloud_idp = CloudIdentityProvider.objects.filter(pk=planned.cloud_idp_id).first()
    if cloud_idp is None:
        return []
    look = _Look(planned, cloud_idp, bindings, accounts, now)
    return [*look.references(), *look.privileges()]


@dataclass(slots=True)
class _Groups:
    """The bound groups at one time, by object id."""

    rows: dict[str, DirectoryGroup] = field(default_factory=dict)
    direct: dict[str, BitMap] = field(default_factory=dict)
    everybody: dict[str, BitMap] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[DirectoryGroup]) -> _Groups:
        found = cls()
        for row in rows:
            if row.state != DirectoryGroup.State.PRESENT:
                continue
            found.rows[row.object_id] = row
            bitmap = getattr(row, "bitmap", None)
            for known, nested in ((found.direct, False), (found.everybody, True)):
                known[row.object_id] = (
                    BitMap() if bitmap is None else bitmap.users(nested=nested)
                )
        return found

    def holds(self, object_id: str) -> BitMap:
        return self.everybody.get(object_id, BitMap())


@dataclass(slots=True)
class _People:
    """What the directory says of some people at one time: facts, and who has them."""

    by_facts: dict[grants.PersonFacts | None, BitMap] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[DirectoryUser], asked: BitMap) -> _People:
        found = cls()
        numbers: dict[grants.PersonFacts | None, list[int]] = {}
        for row in rows:
            numbers.setdefault(standing.person_facts(row), []).append(row.pk)
        found.by_facts = {facts: BitMap(some) for facts, some in numbers.items()}
        unknown = asked - BitMap.union(BitMap(), *found.by_facts.values())
        if unknown:
            found.by_facts[None] = unknown
        return found

    def facts(self, number: int) -> grants.PersonFacts | None:
        return next(
            (facts for facts, some in self.by_facts.items() if number in some), None
        )


@dataclass(frozen=True, slots=True)
class _Who:
    """People whose privileges are decided alike: one account, or people without."""

    numbers: BitMap
    account: User | None = None
    ref: ObjectRef | None = None
    blocked: bool = False
    live: SignInConfirmation | None = None


class _Look:
    """One plan against the account groups and accounts of its tenant."""

    def __init__(
        self,
        planned: PlannedChange,
        cloud_idp: CloudIdentityProvider,
        bindings: Sequence[DirectoryBinding],
        accounts: Mapping[str, User],
        now: datetime,
    ) -> None:
        self._planned = planned
        self._bindings = bindings
        self._accounts = accounts
        self._now = now
        # Age is not what the plan changes: both times are decided as if just read.
        facts = standing.facts_of(cloud_idp)
        self._connection_now = replace(
            facts,
            last_good_read_at=now if facts.completely_read else None,
            restored_at=None,
        )
        self._connection_then = replace(
            facts,
            completely_read=facts.completely_read or planned.first,
            last_good_read_at=now,
            restored_at=None,
        )
        bound = {each.object_id for each in bindings}
        self._now_groups = _Groups.of(
            DirectoryGroup.objects.filter(
                cloud_idp=cloud_idp, object_id__in=bound
            ).select_related("bitmap")
        )
        self._then_groups = _Groups.of(planned.groups_after(object_ids=bound))

    # --- References

    def references(self) -> Iterator[Consequence]:
        for binding in self._bindings:
            was = self._now_groups.rows.get(binding.object_id)
            then = self._then_groups.rows.get(binding.object_id)
            before, after = _broken(was), _broken(then)
            if self._planned.first or bool(before) == bool(after):
                continue
            row = then or was
            yield Consequence(
                kind=ConsequenceKind.REFERENCE_BREAKS
                if after
                else ConsequenceKind.REFERENCE_RETURNS,
                about=of_account_group(binding.account_group),
                subject=Subject.PERSON,
                what=(str(row or binding),),
                detail=after or "Its members count again.",
                groups=BitMap([row.pk]) if row is not None else BitMap(),
            )

    # --- Privileges

    def privileges(self) -> Iterator[Consequence]:
        concerned = self._concerned()
        if not concerned:
            return
        now, then = self._people(concerned)
        found: dict[tuple[object, ...], tuple[BitMap, BitMap, Consequence]] = {}
        for who in self._parts(concerned, now, then):
            for consequence in self._of(who, now, then):
                key = (
                    consequence.kind,
                    who.account and who.account.pk,
                    tuple(consequence.what),
                    consequence.detail,
                    consequence.full_access,
                )
                people, groups, _ = found.setdefault(
                    key, (BitMap(), BitMap(), consequence)
                )
                people |= consequence.numbers
                groups |= consequence.groups
        for people, groups, consequence in found.values():
            yield replace(consequence, numbers=people, groups=groups)

    def _concerned(self) -> BitMap:
        """The people whose privileges the plan can touch."""
        planned = self._planned
        bound = {each.object_id for each in self._bindings}
        concerned, holding = BitMap(), BitMap()
        for object_id in bound:
            was, then = (
                self._now_groups.holds(object_id),
                self._then_groups.holds(object_id),
            )
            direct_was = self._now_groups.direct.get(object_id, BitMap())
            direct_then = self._then_groups.direct.get(object_id, BitMap())
            concerned |= (was ^ then) | (direct_was ^ direct_then)
            holding |= was | then
        decided = planned.people.changing(*DECIDING)
        if planned.first:
            return holding | self._with_accounts()
        concerned |= holding & decided
        return concerned | (self._with_accounts() & (decided | self._confirmed()))

    def _with_accounts(self) -> BitMap:
        """Row ids of the people to whom accounts belong, before or after."""
        if not self._accounts:
            return BitMap()
        found = BitMap()
        ids = sorted(self._accounts)
        for at in range(0, len(ids), CHUNK):
            found.update(
                DirectoryUser.objects.filter(
                    cloud_idp_id=self._planned.cloud_idp_id,
                    object_id__in=ids[at : at + CHUNK],
                ).values_list("pk", flat=True)
            )
        for row in self._planned.people_after(object_ids=ids):
            found.add(row.pk)
        return found

    def _confirmed(self) -> BitMap:
        """People of whom what Microsoft said at their sign-in counts no more."""
        overtaken = list(self._lives())
        found = BitMap()
        for row in self._planned.people_after(object_ids=overtaken):
            found.add(row.pk)
        return found

    def _lives(self) -> dict[str, SignInConfirmation]:
        rows = SignInConfirmation.objects.filter(tenant_id=self._planned.tenant_id)
        return {row.object_id: row for row in rows}

    def _people(self, concerned: BitMap) -> tuple[_People, _People]:
        rows: list[DirectoryUser] = []
        numbers = list(concerned)
        for at in range(0, len(numbers), CHUNK):
            rows += DirectoryUser.objects.filter(pk__in=numbers[at : at + CHUNK]).only(
                "pk", "object_id", *DECIDING
            )
        now = _People.of(rows, concerned)
        then = _People.of(self._planned.people_after(numbers=concerned), concerned)
        return now, then

    def _parts(self, concerned: BitMap, now: _People, then: _People) -> Iterator[_Who]:
        """Divide the people: those with an account, a block or an answer of
        Microsoft's each alone, the rest into those of whom everything is alike."""
        blocked = set(
            Block.objects.in_force()
            .filter(tenant_id=self._planned.tenant_id)
            .exclude(object_id="")
            .values_list("object_id", flat=True)
        )
        blocked_accounts = set(
            Block.objects.in_force().values_list("account_id", flat=True)
        )
        lives = self._lives()
        alone = {*self._accounts, *blocked, *lives}
        singles = {
            row.pk: row.object_id
            for row in DirectoryUser.objects.filter(
                cloud_idp_id=self._planned.cloud_idp_id, object_id__in=alone
            ).only("pk", "object_id")
        }
        for row in self._planned.people_after(object_ids=alone):
            singles[row.pk] = row.object_id
        for number, object_id in singles.items():
            if number in concerned:
                account = self._accounts.get(object_id)
                yield _Who(
                    numbers=BitMap([number]),
                    account=account,
                    ref=ObjectRef(self._planned.tenant_id, object_id),
                    blocked=object_id in blocked
                    or (account is not None and account.pk in blocked_accounts),
                    live=lives.get(object_id),
                )
        parts = [concerned - BitMap(singles)]
        sets = [*now.by_facts.values(), *then.by_facts.values()]
        for groups in (self._now_groups, self._then_groups):
            sets += [*groups.direct.values(), *groups.everybody.values()]
        for some in sets:
            parts = [
                part for each in parts for part in (each & some, each - some) if part
            ]
        for part in parts:
            if part:
                yield _Who(numbers=part)

    def _of(self, who: _Who, now: _People, then: _People) -> Iterator[Consequence]:
        number = who.numbers.min()
        overtaken = (
            who.live is not None
            and self._planned.began_at is not None
            and who.live.at < self._planned.began_at
            and self._planned.asked in (None, number)
        )
        before = self._standing(
            who, self._connection_now, now.facts(number), self._now_groups, who.live
        )
        after = self._standing(
            who,
            self._connection_then,
            then.facts(number),
            self._then_groups,
            None if overtaken else who.live,
        )
        gained, lost = _differing(before, after), _differing(after, before)
        if gained:
            yield self._consequence(
                ConsequenceKind.PRIVILEGES_GAINED, who, gained, after, before
            )
        if lost:
            yield self._consequence(
                ConsequenceKind.PRIVILEGES_LOST, who, lost, before, after
            )

    def _standing(
        self,
        who: _Who,
        connection: grants.ConnectionFacts,
        person: grants.PersonFacts | None,
        groups: _Groups,
        live: SignInConfirmation | None,
    ) -> grants.Standing:
        ref = who.ref or ObjectRef(self._planned.tenant_id, "")
        account = who.account
        facts = grants.AccountFacts(
            enabled=account is None or account.is_active,
            access_level=AccessLevel.GROUP if account is None else account.access_level,
            privilege_set="" if account is None else account.privilege_set,
            custom=() if account is None else account.privileges,
            site_id=None if account is None else account.site_id,
            ref=ref,
            blocked=who.blocked and not (account is not None and account.let_in),
        )
        inherits = facts.access_level == AccessLevel.GROUP
        assigned = (
            [standing.group_facts(group) for group in account.groups.all()]
            if account is not None and inherits
            else []
        )
        number = who.numbers.min()
        bindings = [
            _binding_facts(binding, groups, number, ref, live)
            for binding in self._bindings
        ]
        return grants.decide(
            facts,
            assigned=assigned,
            connection=connection,
            person=person if live is None else standing.live_facts(live),
            bindings=bindings if inherits and (person or live) else [],
            freshness=standing.freshness(),
            now=self._now,
        )

    def _consequence(
        self,
        kind: ConsequenceKind,
        who: _Who,
        names: Mapping[str, bool],
        having: grants.Standing,
        lacking: grants.Standing,
    ) -> Consequence:
        known = {_way(grant.path) for grant in lacking.grants}
        paths = [
            grant.path
            for grant in having.grants
            if grant.names & names.keys() and _way(grant.path) not in known
        ] or [grant.path for grant in having.grants if grant.names & names.keys()]
        if kind is ConsequenceKind.PRIVILEGES_LOST and not lacking.grants:
            reasons = ", ".join(
                dict.fromkeys(str(each.reason) for each in lacking.withheld)
            )
        else:
            reasons = ""
        sentences = dict.fromkeys(path.sentence for path in paths)
        detail = " ".join([*sentences][:NAMED])
        if reasons:
            detail = f"{detail} No longer: {reasons}.".strip()
        groups = BitMap()
        for path in paths:
            if path.directory_ref is not None:
                row = self._then_groups.rows.get(
                    path.directory_ref.object_id
                ) or self._now_groups.rows.get(path.directory_ref.object_id)
                if row is not None:
                    groups.add(row.pk)
        about = None
        if who.account is not None:
            about = of_account(who.account)
        else:
            account_groups = [path.account_group for path in paths]
            first = next((each for each in account_groups if each is not None), None)
            rows = [each.account_group for each in self._bindings]
            group = next((row for row in rows if first and row.pk == first.pk), None)
            about = of_account_group(group) if group is not None else None
        return Consequence(
            kind=kind,
            about=about,
            subject=Subject.PERSON,
            numbers=BitMap(who.numbers),
            what=sorted(names),
            detail=detail,
            groups=groups,
            full_access=kind is ConsequenceKind.PRIVILEGES_GAINED
            and any(names.values()),
        )


def _binding_facts(
    binding: DirectoryBinding,
    groups: _Groups,
    number: int,
    ref: ObjectRef,
    live: SignInConfirmation | None,
) -> grants.BindingFacts:
    group = groups.rows.get(binding.object_id)
    confirmed = binding.object_id in live.group_ids if live is not None else None
    direct = number in groups.direct.get(binding.object_id, ())
    nested = not direct and number in groups.holds(binding.object_id)
    return grants.BindingFacts(
        group=standing.group_facts(binding.account_group),
        ref=ObjectRef(binding.tenant_id, binding.object_id),
        name=group.display_name if group else binding.name_when_bound,
        nested=binding.nested,
        present=group is not None or bool(confirmed),
        hidden=group is not None and group.hidden_membership,
        direct=direct,
        through=("a group nested in it",) if nested else (),
        live=confirmed,
    )


def _broken(group: DirectoryGroup | None) -> str:
    if group is None:
        return "It is no longer in the directory. It grants nothing."
    if group.hidden_membership:
        return "It hides its members. It grants nothing to anybody it does not show."
    return ""


def _differing(before: grants.Standing, after: grants.Standing) -> dict[str, bool]:
    """Names that are held in more places after, and whether everywhere."""
    found = {}
    for name, access in after.by_name.items():
        had = before.by_name.get(name)
        if had is None or (
            not had.everywhere and (access.everywhere or access.site_ids - had.site_ids)
        ):
            found[name] = access.everywhere
    return found


def _way(path: grants.Path) -> tuple[object, ...]:
    group = path.account_group
    return (group.pk if group else None, path.directory_ref)


def of_account_group(group: AccountGroup) -> ObjectOfConsole:
    return ObjectOfConsole(
        app="accounts",
        kind="account group",
        pk=group.pk,
        name=str(group),
        url=group.get_absolute_url(),
        permission="accounts.view_accountgroup",
        site_id=group.site_id,
    )


def of_account(account: User) -> ObjectOfConsole:
    return ObjectOfConsole(
        app="accounts",
        kind="account",
        pk=account.pk,
        name=str(account),
        url=account.get_absolute_url(),
        permission="accounts.view_user",
        site_id=account.site_id,
    )
