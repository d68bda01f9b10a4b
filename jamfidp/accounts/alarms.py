"""What those who look after privileges have to hear of: who may now do everything, and
groups in Entra that look like one that gives privileges.

A name gives nothing here. Whoever gives a group the name of a bound one may hope that
it does, or that somebody binds the wrong one.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models.functions import Lower

from directory.models import CloudIdentityProvider, DirectoryGroup
from jamfidp.accounts.levels import AccessLevel
from jamfidp.accounts.models import AccountGroup, DirectoryBinding, User
from jamfidp.compiled import Compiled, Question
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import PRIVILEGES
from jamfidp.notices.models import Notice, Severity


def full_access_given(
    what: str, *, to: AccountGroup | User, actor: User, now: datetime
) -> None:
    """Tell that somebody may now do something everywhere; nothing of Site Access."""
    if to.access_level != AccessLevel.FULL:
        return
    announce(
        kind=PRIVILEGES,
        severity=Severity.INFO,
        title=what,
        body=f"By {actor}. It gives Full Access: privileges at every site.",
        link=to.get_absolute_url(),
        about=to,
        now=now,
    )


_LOOK_ALIKE = "look-alike/"
_BOUND = Compiled(
    lambda tenant_id: (
        DirectoryBinding.objects.filter(tenant_id=tenant_id)
        .order_by()
        .values_list("pk")[:1]
    )
)
_ANNOUNCED = Compiled(
    lambda: (
        Notice.objects.filter(key__startswith=_LOOK_ALIKE)
        .order_by()
        .values_list("pk")[:1]
    )
)


def questions(tenant_id: str) -> list[Question]:
    """Return what `may_be_look_alikes` asks."""
    return [_BOUND.with_(tenant_id), _ANNOUNCED.with_()]


def may_be_look_alikes(tenant_id: str) -> bool:
    """Whether a group of the tenant is bound, or any was announced that looks alike."""
    return _BOUND.any(tenant_id) or _ANNOUNCED.any()


def look_for_look_alikes(
    cloud_idp: CloudIdentityProvider,
    *,
    changed: Collection[int] | None = None,
    now: datetime,
) -> None:
    """Announce groups with the name of a bound one, and end what is over.

    Among the changed groups, or all of the connection.
    """
    bindings = list(
        DirectoryBinding.objects.filter(tenant_id=cloud_idp.tenant_id).select_related(
            "account_group"
        )
    )
    prefix = f"{_LOOK_ALIKE}{cloud_idp.tenant_id}/"
    bound_ids = {one.object_id for one in bindings}
    names = {
        group.object_id: group.display_name
        for group in DirectoryGroup.objects.present().filter(
            cloud_idp=cloud_idp, object_id__in=bound_ids
        )
    }
    # The name it was bound by counts as well: it may be a name to inherit.
    wanted: dict[str, DirectoryBinding] = {}
    for one in bindings:
        for name in (one.name_when_bound, names.get(one.object_id, "")):
            if name:
                wanted.setdefault(name.casefold(), one)
    groups = (
        DirectoryGroup.objects.present()
        .filter(cloud_idp=cloud_idp)
        .exclude(object_id__in=bound_ids)
        .annotate(name_key=Lower("display_name"))
        .filter(name_key__in=[*wanted, *map(str.lower, wanted)])
    )
    for group in groups if changed is None else groups.filter(pk__in=changed):
        binding = wanted.get(group.display_name.casefold())
        if binding is not None:
            announce(
                kind=PRIVILEGES,
                title=f"Another directory group is called {group.display_name}",
                body=f"{cloud_idp} has a group with the name of the one that is bound to "
                f"the account group {binding.account_group}. It gives nothing: groups "
                f"are bound by their object id, and this one is {group.object_id}. "
                "Somebody may hope otherwise: ask who made or renamed it.",
                link=group.get_absolute_url(),
                about=binding.account_group,
                key=f"{prefix}{group.object_id}",
                now=now,
            )
    _end(prefix, {f"{prefix}{group.object_id}" for group in groups}, now=now)


def forget(tenant_id: str, *, now: datetime) -> None:
    """End what was announced of a tenant that is connected no more."""
    _end(f"{_LOOK_ALIKE}{tenant_id}/", (), now=now)


def _end(prefix: str, lasting: Collection[str], *, now: datetime) -> None:
    open_keys = Notice.objects.filter(
        key__startswith=prefix, resolved_at=None
    ).values_list("key", flat=True)
    resolve(*(key for key in open_keys if key not in lasting), now=now)
