"""Choosing people and groups in forms of other features.

A choice is "tenant id/object id": what binds, whatever becomes of names.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from directory.dependents import ObjectRef
from directory.entra import is_guid
from directory.models import DirectoryGroup, DirectoryUser, State
from directory.search import matching

SHOWN = 20
# As many as a filter can name.
CHOSEN_LIMIT = 2000


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


def group_choices(
    text: str, *, chosen: Iterable[DirectoryGroup] = (), known_of: int | None = None
) -> dict[str, Any]:
    """Return the context of directory/_picker_groups.html for what was typed.

    What is chosen already stays in the list. With `known_of` the groups are those of
    one connection, and also those that its filter leaves out.
    """
    groups = DirectoryGroup.objects.present()
    if known_of is not None:
        groups = DirectoryGroup.objects.filter(
            cloud_idp=known_of, state__in=(State.PRESENT, State.FILTERED)
        )
    chosen = list(chosen)
    rows = groups.exclude(pk__in=[group.pk for group in chosen])
    found = list(
        matching(rows.select_related("cloud_idp"), text).order_by("sort_key", "pk")[
            : SHOWN + 1
        ]
    )
    return {
        "groups": found[:SHOWN],
        "chosen": chosen,
        "twins": names_shared([*chosen, *found]),
        "more": len(found) > SHOWN,
        "picker_query": text.strip(),
    }


def chosen_groups(known_of: int, object_ids: Iterable[str]) -> list[DirectoryGroup]:
    """Those of the groups that the console knows, by name."""
    return list(
        DirectoryGroup.objects.filter(
            cloud_idp=known_of,
            object_id__in=list(object_ids),
            state__in=(State.PRESENT, State.FILTERED),
        )
        .select_related("cloud_idp")
        .order_by("sort_key", "pk")
    )


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
