"""Erasing what was read through a deleted connection, a few objects at a time.

Nothing shows a deleted connection's rows, so they may go in many small transactions:
no other writer waits long, and a worker that is killed leaves the rest to the next.
"""

from collections.abc import Callable

from django.db import connection, transaction
from django.db.models import F, Model

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
    MembershipInterval,
    ObservedHash,
    StagedPage,
    SyncRun,
)
from directory.sync import rows

# What names an object by its number, and the column. Of pairs the group's side is
# enough: its members are of the same tenant.
_BY_NUMBER: tuple[tuple[type[Model], str], ...] = (
    (DirectoryMembership, "group_id"),
    (GroupOtherMember, "group_id"),
    (GroupNesting, "parent_id"),
    (GroupClosure, "ancestor_id"),
    (GroupBitmap, "group_id"),
    (MembershipInterval, "group_id"),
    (EarlierValue, "number"),
    (DirectoryUser, "pk"),
    (DirectoryGroup, "pk"),
)
_SEARCHED = (DirectoryUser, DirectoryGroup)
MERGED_PAGES = 500


def stop_reading(cloud_idp: CloudIdentityProvider, **columns: object) -> None:
    """End the active run with these columns, and forget where to read on; unsaved.

    A worker that reads meanwhile finds its lease gone: what it would store goes with
    the transaction that asks for it. Call it in a transaction.
    """
    SyncRun.objects.active().filter(cloud_idp=cloud_idp).update(
        fencing_token=F("fencing_token") + 1,
        phase="",
        lease_expires_at=None,
        state=SyncRun.State.CANCELED,
        **columns,
    )
    StagedPage.objects.filter(run__cloud_idp=cloud_idp).delete()
    cloud_idp.users_delta_link = cloud_idp.groups_delta_link = ""
    cloud_idp.next_sync_at = None


@transaction.atomic
def erase_some(cloud_idp: CloudIdentityProvider) -> bool:
    """Erase the next objects with all that names them; False when none is left."""
    numbers = list(
        DirectoryObject.objects.filter(cloud_idp=cloud_idp).values_list(
            "pk", flat=True
        )[: rows.CHUNK]
    )
    for model, column in _BY_NUMBER:
        model._default_manager.filter(**{f"{column}__in": numbers}).delete()
    ObservedHash.objects.filter(cloud_idp=cloud_idp, number__in=numbers).delete()
    DirectoryObject.objects.filter(pk__in=numbers).delete()
    return bool(numbers)


def tidy_search(goes_on: Callable[[], bool]) -> None:
    """Rewrite SQLite's index for searching, which keeps what was deleted for a while.

    PostgreSQL does it when it vacuums. https://www.sqlite.org/fts5.html#the_merge_command
    """
    if connection.vendor != "sqlite":
        return
    for model in _SEARCHED:
        index = f"{model._meta.db_table}_trigrams"
        pages = -MERGED_PAGES
        with connection.cursor() as cursor:
            while goes_on():
                before = _changes(cursor)
                cursor.execute(
                    f"INSERT INTO {index} ({index}, rank)"  # noqa: S608
                    " VALUES ('merge', %s)",
                    [pages],
                )
                # Less than two changes: the merge had nothing left to do.
                if _changes(cursor) - before < 2:
                    break
                pages = MERGED_PAGES


def _changes(cursor: object) -> int:
    cursor.execute("SELECT total_changes()")  # type: ignore[attr-defined]
    return int(cursor.fetchone()[0])  # type: ignore[attr-defined]
