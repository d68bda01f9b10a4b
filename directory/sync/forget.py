"""Erasing what filled an attribute, once the mappings take it from elsewhere or nowhere.

Nothing is kept that is not mapped: not in rows, not in what is remembered of earlier,
not in what is held or staged.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from directory.models import (
    CloudIdentityProvider,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    HeldChange,
    StagedPage,
    State,
    SyncRun,
)
from directory.sync import rows, stored_plans
from directory.sync.attributes import USER_ATTRIBUTES, UserRow, without
from directory.sync.holds import stored_hold
from directory.sync.stored import rows_of

# Attributes by which people are found: `search` holds them too.
_SEARCHED = frozenset({"user_name", "real_name", "email"})


@transaction.atomic
def forget_attributes(
    cloud_idp: CloudIdentityProvider, changes: Mapping[str, str], *, now: datetime
) -> None:
    """Erase what filled these attributes; `changes` names the property that does now.

    What is mapped to another property keeps its value in the rows of people whom the
    next full read replaces: without a user name nobody would match until then.
    """
    names = [name for name in USER_ATTRIBUTES if name in changes]
    if not names:
        return
    unmapped = [name for name in names if not changes[name]]
    people = DirectoryUser.objects.filter(cloud_idp=cloud_idp)
    _blank(people, unmapped, now=now)
    _blank(people.exclude(state=State.PRESENT), names, now=now)
    _forget_earlier(cloud_idp, names)
    _forget_held(cloud_idp, names)
    stored_plans.forget_values(cloud_idp, columns=names)
    stored_plans.forget_device_values(cloud_idp)
    # Pages of a run that is at work go when it ends: it finds other mappings then.
    StagedPage.objects.filter(run__cloud_idp=cloud_idp).exclude(
        run__state__in=SyncRun.ACTIVE
    ).delete()


def _blank(
    people: QuerySet[DirectoryUser], names: Collection[str], *, now: datetime
) -> None:
    if not names:
        return
    has_one = Q()
    for name in names:
        has_one |= ~Q(**{name: ""})
    concerned = people.filter(has_one)
    if _SEARCHED.isdisjoint(names):
        concerned.update(changed_at=now, **dict.fromkeys(names, ""))
        return
    columns = (*names, "user_name_key", "sort_key", "search", "changed_at")
    numbers = list(concerned.values_list("pk", flat=True))
    for some in rows.chunks(numbers, rows.WRITTEN_AT_ONCE):
        rows.update(DirectoryUser, columns, _emptied(some, names, columns, now))


def _emptied(
    numbers: Iterable[int],
    names: Collection[str],
    columns: Collection[str],
    now: datetime,
) -> list[list[object]]:
    at = rows.moment(now)
    found = []
    for number, row in rows_of(DirectoryUser, UserRow, numbers).items():
        emptied = without(row, names)._asdict() | {"changed_at": at}
        found.append([*(emptied[column] for column in columns), number])
    return found


def _forget_earlier(cloud_idp: CloudIdentityProvider, names: Collection[str]) -> None:
    people = DirectoryObject.objects.filter(
        cloud_idp=cloud_idp, kind=DirectoryObject.Kind.USER
    )
    EarlierValue.objects.filter(
        attribute__in=names, number__in=people.values("pk")
    ).delete()


def _forget_held(cloud_idp: CloudIdentityProvider, names: Collection[str]) -> None:
    """Of what is held, open or closed. A decision about it is void: it is another."""
    held = HeldChange.objects.filter(
        cloud_idp=cloud_idp, kind=DirectoryObject.Kind.USER
    ).exclude(observed=None)
    for change in held:
        hold = stored_hold(change)
        if isinstance(hold.row, UserRow):
            hold.row = without(hold.row, names)
            change.observed = hold.payload["observed"]
            change.payload_hash = hold.payload_hash
            change.save(update_fields=["observed", "payload_hash"])
