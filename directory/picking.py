"""Choosing people and groups in forms of other features.

A choice is "tenant id/object id": what binds, whatever becomes of names.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from directory.dependents import ObjectRef
from directory.entra import is_guid
from directory.models import DirectoryGroup, DirectoryUser
from directory.search import matching

SHOWN = 20


class NotAChoice(ValueError):
    """The text is not what a picker hands out."""


def choice(tenant_id: str, object_id: str) -> str:
    return f"{tenant_id}/{object_id}"


def parse(text: str) -> ObjectRef:
    """Read a choice. Raises NotAChoice; whether it exists is another question."""
    tenant_id, _, object_id = text.strip().lower().partition("/")
    if not (is_guid(tenant_id) and is_guid(object_id)):
        raise NotAChoice("Choose a person or a group from the list.")
    return ObjectRef(tenant_id, object_id)


def group_choices(text: str) -> dict[str, Any]:
    """Return the context of directory/_picker_groups.html for what was typed."""
    rows = matching(DirectoryGroup.objects.present().select_related("cloud_idp"), text)
    groups = list(rows.order_by("sort_key", "pk")[: SHOWN + 1])
    return {
        "groups": groups[:SHOWN],
        "twins": names_shared(groups),
        "more": len(groups) > SHOWN,
        "picker_query": text.strip(),
    }


def user_choices(text: str) -> dict[str, Any]:
    """Return the context of directory/_picker_users.html for what was typed."""
    rows = matching(DirectoryUser.objects.present().select_related("cloud_idp"), text)
    users = list(rows.order_by("sort_key", "pk")[: SHOWN + 1])
    return {
        "users": users[:SHOWN],
        "more": len(users) > SHOWN,
        "picker_query": text.strip(),
    }


def names_shared(groups: Iterable[DirectoryGroup]) -> frozenset[str]:
    """Return the names among these that more than one present group has."""
    names = {group.display_name for group in groups}
    counted = Counter(
        DirectoryGroup.objects.present()
        .filter(display_name__in=names)
        .values_list("display_name", flat=True)
    )
    return frozenset(name for name, count in counted.items() if count > 1)
