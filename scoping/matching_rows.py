"""Who the user names of the inventory are: `scoping.matching`, applied to rows.

A verdict is stored with each name and renewed when a name appears, when a read is
applied and when a connection changes. The number of queries does not grow with the
number of names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet

from directory.dependents import AppliedChange, ObjectRef
from directory.models import CloudIdentityProvider, DirectoryUser
from directory.planned import PlannedChange
from jamfidp.compiled import Compiled
from jamfidp.history.record import record
from scoping.matching import (
    Candidate,
    CandidateIndex,
    MatchCounts,
    MatchingConnection,
    fold,
    match_user_name,
)
from scoping.models import Device, InventoryUser, LastLogin
from scoping.principal import (
    Ambiguous,
    NeverReported,
    Nobody,
    NotInDirectory,
    Person,
    Principal,
    Unconfirmed,
    Unresolved,
)

# How many values one query names; both databases take far more.
CHUNK = 1000
# Beyond this many changed people, every name is matched again.
MANY_PEOPLE = 2000
NOT_LOOKED_UP = "It has not been looked up yet."

Match = InventoryUser.Match


def connections() -> tuple[MatchingConnection, ...]:
    """Every connection, as matching sees it."""
    return tuple(
        MatchingConnection(
            tenant_id=idp.tenant_id,
            name=idp.display_name,
            enabled=idp.enabled,
            completely_read=idp.completely_read,
            domains=frozenset(idp.match_domains),
            takes_bare_names=idp.match_names_without_domain,
        )
        for idp in CloudIdentityProvider.objects.order_by("display_name")
    )


def _tenants() -> dict[int, str]:
    return dict(
        CloudIdentityProvider.objects.filter(enabled=True).values_list(
            "pk", "tenant_id"
        )
    )


# The states in which somebody may be whom a name leads to.
_TO_BE_FOUND = frozenset([DirectoryUser.State.PRESENT, DirectoryUser.State.DELETED])


def _candidate(row: DirectoryUser, tenant_id: str) -> Candidate:
    return Candidate(
        ref=ObjectRef(tenant_id, row.object_id),
        name=str(row),
        user_name=row.user_name,
        disabled=row.account_enabled is False,
        deleted=row.state == DirectoryUser.State.DELETED,
    )


def _candidates(condition: Q) -> list[Candidate]:
    # State and connection are looked at here: an index by one of them would be taken
    # for the condition's own, and everybody read.
    tenants = _tenants()
    rows = DirectoryUser.objects.filter(condition).only(
        "cloud_idp_id",
        "object_id",
        "state",
        "account_enabled",
        "display_name",
        "user_principal_name",
        "user_name",
    )
    return [
        _candidate(row, tenants[row.cloud_idp_id])
        for row in rows
        if row.cloud_idp_id in tenants and row.state in _TO_BE_FOUND
    ]


def _with_ids(object_ids: Any) -> Q:
    enabled = CloudIdentityProvider.objects.filter(enabled=True)
    return Q(cloud_idp__in=enabled.values("pk"), object_id__in=object_ids)


def candidates_of(users: Iterable[InventoryUser]) -> list[Candidate]:
    """Everybody whom these names could lead to, or led to, as the rows have it."""
    users = list(users)
    keys = _chunks([user.key for user in users])
    ids = _chunks([user.object_id for user in users if user.object_id])
    conditions = [
        *(Q(user_name_key__in=some) for some in keys),
        *(Q(object_id__in=some) for some in ids),
    ]
    found = (each for condition in conditions for each in _candidates(condition))
    return list({each.ref: each for each in found}.values())


def _index(*conditions: Q) -> CandidateIndex:
    found = (each for condition in conditions for each in _candidates(condition))
    # A person found by name and by reference is one person.
    return CandidateIndex({each.ref: each for each in found}.values())


def _index_for(users: QuerySet[InventoryUser]) -> CandidateIndex:
    plain = users.order_by()
    return _index(
        Q(user_name_key__in=plain.values("key")),
        _with_ids(plain.exclude(object_id="").values("object_id")),
    )


def _index_after(
    planned: PlannedChange, *, keys: Collection[str], object_ids: Collection[str]
) -> CandidateIndex:
    """Whom names and references lead to once a plan is applied."""
    found: dict[ObjectRef, Candidate] = {}
    elsewhere = ~Q(cloud_idp=planned.cloud_idp_id)
    conditions = [Q(user_name_key__in=chunk) for chunk in _chunks(list(keys))]
    conditions += [_with_ids(chunk) for chunk in _chunks(list(object_ids))]
    for condition in conditions:
        for each in _candidates(elsewhere & condition):
            found[each.ref] = each
    if planned.cloud_idp_id in _tenants():
        for row in planned.people_after(object_ids=object_ids, keys=keys):
            if row.state in _TO_BE_FOUND:
                each = _candidate(row, planned.tenant_id)
                found[each.ref] = each
    return CandidateIndex(found.values())


def _earlier(user: InventoryUser) -> ObjectRef | None:
    return ObjectRef(user.tenant_id, user.object_id) if user.object_id else None


def _stored(person: Person) -> dict[str, Any]:
    return {
        "tenant_id": person.ref.tenant_id,
        "object_id": person.ref.object_id,
        "name": person.name,
        "disabled": person.disabled,
        "deleted": person.deleted,
    }


def _verdict(principal: Principal) -> tuple[Match, list[dict[str, Any]], str]:
    match principal:
        case Person():
            return Match.MATCHED, [], ""
        case Ambiguous():
            return Match.AMBIGUOUS, [_stored(each) for each in principal.candidates], ""
        case Unconfirmed():
            return Match.CHANGED, [_stored(principal.found)], ""
        case Unresolved():
            return Match.UNKNOWN, [], principal.reason
    return Match.NONE, [], ""


def _settle(user: InventoryUser, principal: Principal, now: datetime) -> bool:
    """Store the verdict on the instance; say whether it is another than before."""
    verdict, candidates, reason = _verdict(principal)
    ref = principal.ref if isinstance(principal, Person) else _earlier(user)
    tenant_id, object_id = ref or ("", "")
    after = (verdict, tenant_id, object_id, candidates, reason)
    before = (
        user.match,
        user.tenant_id,
        user.object_id,
        user.candidates,
        user.reason,
    )
    if user.matched_at is not None and after == before:
        return False
    user.match, user.tenant_id, user.object_id, user.candidates, user.reason = after
    user.matched_at = now
    return True


STORED = ("match", "tenant_id", "object_id", "candidates", "reason", "matched_at")


def rematch(
    users: QuerySet[InventoryUser] | None = None, *, now: datetime
) -> frozenset[int]:
    """Match names again, all of them by default; return the ids whose verdict changed.

    Call it in a transaction. A name that leads to another person than before enters
    the history.
    """
    chosen = InventoryUser.objects.all() if users is None else users
    names = list(chosen.order_by("pk"))
    if not names:
        return frozenset()
    index = _index_for(chosen)
    known = connections()
    changed: list[InventoryUser] = []
    for user in names:
        principal = match_user_name(
            reported=user.username,
            index=index,
            connections=known,
            earlier=_earlier(user),
        )
        was = user.match
        if not _settle(user, principal, now):
            continue
        changed.append(user)
        if user.match == Match.CHANGED and was != Match.CHANGED:
            record(
                obj=user,
                actor=None,
                note=(
                    f"The name leads to {user.candidates[0]['name']} now, another"
                    " person than before. Unknown until somebody confirms it."
                ),
                action="matched",
                now=now,
            )
    # An insert that meets its own row: many times faster than an update by cases.
    InventoryUser.objects.bulk_create(
        changed,
        batch_size=CHUNK,
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=STORED,
    )
    return frozenset(user.pk for user in changed)


class Rematched(NamedTuple):
    """A name as it is and as it will be, and to whom it leads, in words."""

    now: InventoryUser
    then: InventoryUser
    before: str
    after: str


def rematched_by(planned: PlannedChange, *, now: datetime) -> dict[int, Rematched]:
    """The names that lead elsewhere once a plan is applied. Nothing is stored."""
    users = list(_users_touched_by(planned))
    if not users:
        return {}
    index = _index_after(
        planned,
        keys={user.key for user in users},
        object_ids={user.object_id for user in users if user.object_id},
    )
    known = [
        replace(each, completely_read=True)
        if planned.first and each.tenant_id == planned.tenant_id
        else each
        for each in connections()
    ]
    changed: list[tuple[InventoryUser, InventoryUser]] = []
    for user in users:
        after = copy(user)
        principal = match_user_name(
            reported=user.username,
            index=index,
            connections=known,
            earlier=_earlier(user),
        )
        if _settle(after, principal, now):
            changed.append((user, after))
    names = _names_of(user for user, _ in changed)
    found = {}
    for user, after in changed:
        ref = _earlier(after)
        person = index.by_ref(ref) if ref else None
        then = {ref: person.name} if ref and person else names
        found[user.pk] = Rematched(
            user, after, in_words(user, names), in_words(after, then)
        )
    return found


def _names_of(users: Iterable[InventoryUser]) -> dict[ObjectRef, str]:
    refs = {ref for user in users if (ref := _earlier(user))}
    ids = sorted({ref.object_id for ref in refs})
    rows = DirectoryUser.objects.select_related("cloud_idp")
    return {
        ObjectRef(row.cloud_idp.tenant_id, row.object_id): str(row)
        for chunk in _chunks(ids)
        for row in rows.filter(object_id__in=chunk)
    }


def in_words(user: InventoryUser, names: Mapping[ObjectRef, str]) -> str:
    """To whom a stored verdict leads."""
    ref = _earlier(user)
    match Match(user.match):
        case Match.MATCHED:
            return names.get(ref, "one person") if ref else "one person"
        case Match.AMBIGUOUS:
            return "unknown: several people have the name"
        case Match.CHANGED:
            return "unknown: the name leads to somebody else than before"
        case Match.NONE:
            return "not a directory user"
    return f"unknown: {user.reason}" if user.reason else "unknown"


def _users_touched_by(planned: PlannedChange) -> QuerySet[InventoryUser]:
    everybody = InventoryUser.objects.all()
    people = planned.people.changing("user_name_key", "state")
    if not (people or planned.first):
        return everybody.none()
    if planned.first or len(people) > MANY_PEOPLE or people & planned.people.forgotten:
        return everybody
    before = DirectoryUser.objects.filter(pk__in=list(people))
    keys = set(before.values_list("user_name_key", flat=True))
    after = planned.people_after(numbers=people)
    return everybody.filter(
        Q(key__in=keys | {row.user_name_key for row in after})
        | Q(object_id__in={row.object_id for row in after})
        | ~Q(match__in=[Match.MATCHED, Match.NONE])
    )


ANY = Compiled(lambda: InventoryUser.objects.order_by().values_list("pk")[:1])


def any_names() -> bool:
    """Whether the inventory has reported any user name."""
    return ANY.any()


def users_touched_by(change: AppliedChange) -> QuerySet[InventoryUser]:
    """The names whose verdict a read may have changed."""
    everybody = InventoryUser.objects.all()
    if change.full or len(change.user_ids) > MANY_PEOPLE:
        return everybody
    people = list(
        DirectoryUser.objects.filter(pk__in=list(change.user_ids)).values_list(
            "user_name_key", "object_id"
        )
    )
    if len(people) != len(change.user_ids):
        # A row that is gone no longer says under which name it was known.
        return everybody
    return everybody.filter(
        Q(key__in=[key for key, _ in people])
        | Q(object_id__in=[object_id for _, object_id in people])
        # A candidate who was renamed away is not found under the name they left.
        | ~Q(match__in=[Match.MATCHED, Match.NONE])
    )


def ensure_users(names: Iterable[str], *, now: datetime) -> dict[str, InventoryUser]:
    """The rows of these user names by folded name, made and matched where missing."""
    spelled: dict[str, str] = {}
    for name in names:
        if fold(name):
            spelled.setdefault(fold(name), name.strip())
    found = _by_key(spelled)
    missing = [
        InventoryUser(username=name, key=key)
        for key, name in spelled.items()
        if key not in found
    ]
    if missing:
        InventoryUser.objects.bulk_create(
            missing, batch_size=CHUNK, ignore_conflicts=True
        )
        rematch(InventoryUser.objects.filter(matched_at=None), now=now)
        found = _by_key(spelled)
    return found


def provisional_users(
    names: Iterable[str], *, now: datetime
) -> dict[str, InventoryUser]:
    """As `ensure_users`, but names that are new stand in unsaved. Writes nothing."""
    spelled = {fold(name): name.strip() for name in names if fold(name)}
    found = _by_key(spelled)
    missing = {key: name for key, name in spelled.items() if key not in found}
    for key, principal in match_names(missing.values()).items():
        found[key] = InventoryUser(username=missing[key], key=key)
        _settle(found[key], principal, now)
    return found


def _by_key(keys: Iterable[str]) -> dict[str, InventoryUser]:
    return {
        user.key: user
        for chunk in _chunks(list(keys))
        for user in InventoryUser.objects.filter(key__in=chunk)
    }


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))


def match_names(names: Iterable[str]) -> Mapping[str, Principal]:
    """Who these names are, by folded name, without storing anything."""
    spelled = {fold(name): name for name in names if fold(name)}
    stored = _by_key(spelled)
    refs = [user.object_id for user in stored.values() if user.object_id]
    index = _index(
        *(Q(user_name_key__in=chunk) for chunk in _chunks(list(spelled))),
        *(Q(object_id__in=chunk) for chunk in _chunks(refs)),
    )
    known = connections()
    return {
        key: match_user_name(
            reported=name,
            index=index,
            connections=known,
            earlier=_earlier(stored[key]) if key in stored else None,
        )
        for key, name in spelled.items()
    }


def principals(users: QuerySet[InventoryUser]) -> Mapping[int, Principal]:
    """Who each name is, by row id, from the stored verdicts. Constant queries.

    When it was reported is not part of them: `reported` adds it.
    """
    matched = users.order_by().filter(match=Match.MATCHED)
    index = _index(Q(object_id__in=matched.values("object_id")))
    return {user.pk: _principal(user, index) for user in users}


def principals_after(
    planned: PlannedChange, users: Iterable[InventoryUser]
) -> Mapping[int, Principal]:
    """Who each name will be once a plan is applied, from the verdicts on these
    instances."""
    users = list(users)
    index = _index_after(
        planned,
        keys=(),
        object_ids={user.object_id for user in users if user.match == Match.MATCHED},
    )
    return {user.pk: _principal(user, index) for user in users}


def principal_for(
    user: InventoryUser | None, *, reported_at: datetime | None = None
) -> Principal:
    """Who one name is, from its stored verdict; None stands for nobody."""
    if user is None:
        return Nobody(reported_at=reported_at)
    index = _index(Q(object_id=user.object_id)) if user.object_id else _index()
    return reported(_principal(user, index), reported_at)


def reported(principal: Principal, at: datetime | None) -> Principal:
    """The same principal as of a report."""
    if isinstance(principal, NeverReported):
        return principal
    return replace(principal, reported_at=at)


def _principal(user: InventoryUser, index: CandidateIndex) -> Principal:
    def person(stored: Mapping[str, Any]) -> Person:
        return Person(
            ref=ObjectRef(stored["tenant_id"], stored["object_id"]),
            name=stored["name"],
            reported_user_name=user.username,
            disabled=stored["disabled"],
            deleted=stored["deleted"],
        )

    ref = _earlier(user)
    if user.match == Match.MATCHED and ref:
        known = index.by_ref(ref)
        if known:
            return Person(
                ref=ref,
                name=known.name,
                reported_user_name=user.username,
                disabled=known.disabled,
                deleted=known.deleted,
            )
    if user.match == Match.NONE:
        return NotInDirectory(reported_user_name=user.username)
    if user.match == Match.AMBIGUOUS:
        return Ambiguous(
            reported_user_name=user.username,
            candidates=tuple(person(each) for each in user.candidates),
        )
    if user.match == Match.CHANGED and ref:
        return Unconfirmed(
            reported_user_name=user.username,
            earlier=ref,
            found=person(user.candidates[0]),
        )
    return Unresolved(
        reported_user_name=user.username, reason=user.reason or NOT_LOOKED_UP
    )


def person_url(ref: ObjectRef) -> str:
    """The page of a person; empty when their row is gone."""
    row = (
        DirectoryUser.objects.connected()
        .filter(cloud_idp__tenant_id=ref.tenant_id, object_id=ref.object_id)
        .first()
    )
    return row.get_absolute_url() if row else ""


def match_counts(
    devices: QuerySet[Device], *, channel: LastLogin.Channel | None = None
) -> MatchCounts:
    """How the users of these devices match: assigned, or last logged in on a channel.

    Pass devices the viewer may see. Counts devices, not people.
    """
    counts: dict[str | None, int]
    if channel is None:
        assigned = devices.order_by().values_list("assigned_user__match")
        counts, never = dict(assigned.annotate(Count("pk"))), 0
    else:
        logins = LastLogin.objects.filter(
            device__in=devices.order_by(), channel=channel
        ).order_by()
        counts = dict(logins.values_list("user__match").annotate(Count("pk")))
        never = devices.count() - sum(counts.values())
    return MatchCounts(
        matched=counts.get(Match.MATCHED, 0),
        unmatched=counts.get(Match.NONE, 0),
        ambiguous=counts.get(Match.AMBIGUOUS, 0),
        unconfirmed=counts.get(Match.CHANGED, 0),
        unresolved=counts.get(Match.UNKNOWN, 0),
        nobody=counts.get(None, 0),
        never_reported=never,
    )


def devices_of(user_ids: Iterable[int]) -> frozenset[int]:
    """The devices that name one of these users, assigned or logged in."""
    ids = list(user_ids)
    found: set[int] = set()
    for at in range(0, len(ids), CHUNK):
        chunk = ids[at : at + CHUNK]
        found.update(
            Device.objects.filter(assigned_user__in=chunk).values_list("pk", flat=True)
        )
        found.update(
            LastLogin.objects.filter(user__in=chunk).values_list("device", flat=True)
        )
    return frozenset(found)
