"""Everything a console holds of a directory, in words that do not depend on numbers.

Two consoles that read the same directory have the same snapshot, whatever happened to
them on the way; the moments at which things happened are left out.
"""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import orjson
from pyroaring import BitMap

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    HeldChange,
    MembershipInterval,
    ObservedHash,
    StagedPage,
    SyncRun,
)
from directory.sync.bitmaps import unpack
from directory.sync.rebuild import rebuild

_OWN = {"id", "cloud_idp", "object_id", "state_since", "first_seen_at", "changed_at"}
_MOMENTS = ("at", "issued", "issued_at", "time", "expires", "expires_at")


def snapshot(idp: CloudIdentityProvider) -> dict[str, Any]:
    names = dict(
        DirectoryObject.objects.filter(cloud_idp=idp).values_list("id", "object_id")
    )

    def pairs(model: Any, first: str, second: str) -> set[tuple[str, str]]:
        return {
            (names[one], names[other])
            for one, other in model.objects.values_list(first, second)
        }

    def named(stored: bytes | memoryview | BitMap | None) -> frozenset[str]:
        numbers = stored if isinstance(stored, BitMap) else unpack(stored)
        return frozenset(names[number] for number in numbers)

    idp.refresh_from_db()
    return {
        "people": _rows(DirectoryUser),
        "groups": _rows(DirectoryGroup),
        "memberships": pairs(DirectoryMembership, "group_id", "user_id"),
        "nesting": pairs(GroupNesting, "parent_id", "child_id"),
        "others": pairs(GroupOtherMember, "group_id", "member_id"),
        "closure": pairs(GroupClosure, "ancestor_id", "descendant_id"),
        "bitmaps": {
            names[each.pk]: (
                named(each.members),
                named(each.users(nested=False)),
                named(each.users(nested=True)),
            )
            for each in GroupBitmap.objects.all()
        },
        "differs from its rows": rebuild(idp, write=False),
        "hashes": {
            names[number]: value
            for number, value in ObservedHash.objects.values_list("number", "value")
        },
        "holds": Counter(
            _hold(each, names, named) for each in HeldChange.objects.all()
        ),
        "intervals": Counter(
            (names[group], names[member], began, ended)
            for group, member, began, ended in MembershipInterval.objects.values_list(
                "group_id", "member_id", "from_run", "to_run"
            )
        ),
        "earlier values": Counter(
            (names[number], *rest)
            for number, *rest in EarlierValue.objects.values_list(
                "number", "attribute", "value", "to_run"
            )
        ),
        "links": (place(idp.users_delta_link), place(idp.groups_delta_link)),
        "generation": idp.generation,
        "runs": list(
            SyncRun.objects.order_by("pk").values_list("pk", "kind", "state", "changes")
        ),
        "staged pages": StagedPage.objects.count(),
    }


def _rows(model: Any) -> dict[str, tuple[Any, ...]]:
    columns = [f.name for f in model._meta.concrete_fields if f.name not in _OWN]
    return {
        object_id: tuple(values)
        for object_id, *values in model.objects.values_list("object_id", *columns)
    }


def _hold(hold: HeldChange, names: dict[int, str], named: Any) -> tuple[Any, ...]:
    observed = dict(hold.observed or {})
    observed.pop("state_since", None)
    return (
        names[hold.number],
        hold.kind,
        orjson.dumps(observed, option=orjson.OPT_SORT_KEYS),
        hold.told,
        *map(
            named,
            (
                hold.users_joined,
                hold.users_left,
                hold.users_inferred,
                hold.groups_joined,
                hold.groups_left,
                hold.groups_inferred,
            ),
        ),
        tuple(hold.guards),
        hold.opened_by,
        hold.closed_by,
        hold.outcome,
    )


def place(link: str) -> Any:
    """Where in the sandbox's log a delta link goes on, without when it was given."""
    token = link.rpartition("token=")[2]
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    content = orjson.loads(sealed[12:])
    return {k: v for k, v in content.items() if k not in _MOMENTS}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Name the parts in which two snapshots differ."""
    return [part for part in one if one[part] != other[part]]
