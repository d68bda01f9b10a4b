"""Remembering who was given what, and by what: intervals beside the current rows.

Whoever changes an account, an account group or a binding calls `follow` in the same
transaction. It compares the rows with the intervals that are open, so that what was
changed by another way is found later, and never lost.
"""

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet

from directory.sync.retention import intervals_kept
from jamfidp.accounts.models import (
    AccountGroup,
    AssignmentInterval,
    BindingInterval,
    DirectoryBinding,
    PrivilegesInterval,
    User,
    Validity,
)

V = TypeVar("V", bound=Validity)
Terms = dict[str, Any]
# Whoever runs commands on the console's server has no account there.
SERVER = "the console’s server"
# What was changed past every function that says who did it.
UNKNOWN = "not recorded"

_PRIVILEGES = ("access_level", "privilege_set", "privileges", "site_id")
# What may change without another interval: it is a matter of showing.
_SHOWN = frozenset({"name", "site_name"})


def follow(
    *,
    by: str,
    now: datetime,
    accounts: Iterable[int] = (),
    groups: Iterable[int] = (),
) -> None:
    """Follow these accounts and account groups; `by` is who changed them."""
    account_ids, group_ids = list(accounts), list(groups)
    of_accounts = Q(account_id__in=account_ids)
    of_groups = Q(account_group_id__in=group_ids)
    _follow(
        PrivilegesInterval.objects.filter(of_accounts | of_groups),
        _given(
            User.objects.filter(pk__in=account_ids),
            AccountGroup.objects.filter(pk__in=group_ids),
        ),
        key=("account_id", "account_group_id"),
        by=by,
        now=now,
    )
    _follow(
        BindingInterval.objects.filter(of_groups),
        _bound(DirectoryBinding.objects.filter(account_group_id__in=group_ids)),
        key=("account_group_id", "tenant_id", "object_id"),
        by=by,
        now=now,
    )
    concerned = Q(user_id__in=account_ids) | Q(accountgroup_id__in=group_ids)
    _follow(
        AssignmentInterval.objects.filter(of_accounts | of_groups),
        _assigned(User.groups.through.objects.filter(concerned)),
        key=("account_id", "account_group_id"),
        by=by,
        now=now,
    )


@transaction.atomic
def follow_all(*, now: datetime, by: str = UNKNOWN) -> None:
    """Follow everything: what some other way changed, and what was there before."""
    _follow(
        PrivilegesInterval.objects.all(),
        _given(User.objects.all(), AccountGroup.objects.all()),
        key=("account_id", "account_group_id"),
        by=by,
        now=now,
    )
    _follow(
        BindingInterval.objects.all(),
        _bound(DirectoryBinding.objects.all()),
        key=("account_group_id", "tenant_id", "object_id"),
        by=by,
        now=now,
    )
    _follow(
        AssignmentInterval.objects.all(),
        _assigned(User.groups.through.objects.all()),
        key=("account_id", "account_group_id"),
        by=by,
        now=now,
    )


def forget(*, now: datetime) -> None:
    """Forget what ended longer ago than memberships are remembered."""
    horizon = now - intervals_kept()
    for model in (PrivilegesInterval, BindingInterval, AssignmentInterval):
        model._default_manager.filter(to_at__lt=horizon).delete()


def remembered_since(*, now: datetime) -> datetime:
    """Return since when it is known who was given what."""
    begun = [
        interval.from_at
        for model in (PrivilegesInterval, BindingInterval, AssignmentInterval)
        if (
            interval := model._default_manager.filter(earlier=True)
            .order_by("-from_at")
            .first()
        )
    ]
    return max([now - intervals_kept(), *begun])


def _given(accounts: QuerySet[User], groups: QuerySet[AccountGroup]) -> Iterable[Terms]:
    for account in accounts.select_related("site"):
        yield {
            "account_id": account.pk,
            "account_group_id": None,
            "name": account.full_name or account.username,
            "enabled": account.is_active,
            "tenant_id": account.tenant_id,
            "object_id": account.object_id,
            "site_name": str(account.site or ""),
            **{name: getattr(account, name) for name in _PRIVILEGES},
        }
    for group in groups.select_related("site"):
        yield {
            "account_id": None,
            "account_group_id": group.pk,
            "name": group.display_name,
            "site_name": str(group.site or ""),
            **{name: getattr(group, name) for name in _PRIVILEGES},
        }


def _bound(bindings: QuerySet[DirectoryBinding]) -> Iterable[Terms]:
    for binding in bindings:
        yield {
            "account_group_id": binding.account_group_id,
            "tenant_id": binding.tenant_id,
            "object_id": binding.object_id,
            "nested": binding.nested,
            "name": binding.name_when_bound,
        }


def _assigned(through: QuerySet[Any]) -> Iterable[Terms]:
    for account, group in through.values_list("user_id", "accountgroup_id"):
        yield {"account_id": account, "account_group_id": group}


def _follow(
    intervals: QuerySet[V],
    current: Iterable[Terms],
    *,
    key: tuple[str, ...],
    by: str,
    now: datetime,
) -> None:
    """End the intervals whose terms are no longer so, and begin those that are new."""
    opened = {
        tuple(getattr(each, name) for name in key): each
        for each in intervals.filter(to_at=None)
    }
    by = by[:255]
    new: list[V] = []
    for terms in current:
        interval = opened.pop(_key(terms, key), None)
        if interval is not None:
            differing = [n for n, v in terms.items() if getattr(interval, n) != v]
            if not differing:
                continue
            if _SHOWN.issuperset(differing):
                for name in differing:
                    setattr(interval, name, terms[name])
                interval.save(update_fields=differing)
                continue
            interval.to_at, interval.to_by_name = now, by
            interval.save(update_fields=["to_at", "to_by_name"])
        new.append(intervals.model(from_at=now, from_by_name=by, **terms))
    for interval in opened.values():
        interval.to_at, interval.to_by_name = now, by
        interval.save(update_fields=["to_at", "to_by_name"])
    intervals.model._default_manager.bulk_create(new)


def _key(terms: Mapping[str, Any], key: tuple[str, ...]) -> tuple[Hashable, ...]:
    return tuple(terms[name] for name in key)
