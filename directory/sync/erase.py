"""Erasing what was read through a connection, with the connection."""

from django.db import transaction
from django.db.models import F, Model

from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    EarlierValue,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    MembershipInterval,
    SyncRun,
)

# Tables without foreign keys in the database, and the column that names a group.
_BY_GROUP: tuple[tuple[type[Model], str], ...] = (
    (DirectoryMembership, "group_id"),
    (GroupOtherMember, "group_id"),
    (GroupNesting, "parent_id"),
    (GroupClosure, "ancestor_id"),
    (GroupBitmap, "group_id"),
    (MembershipInterval, "group_id"),
)


@transaction.atomic
def erase(cloud_idp: CloudIdentityProvider) -> None:
    """Delete the connection and every row that was read through it."""
    # Locked first: a worker that reads it meanwhile finds its lease gone.
    SyncRun.objects.filter(cloud_idp=cloud_idp).update(
        fencing_token=F("fencing_token") + 1
    )
    groups = DirectoryGroup.objects.filter(cloud_idp=cloud_idp).values("pk")
    for model, column in _BY_GROUP:
        model._default_manager.filter(**{f"{column}__in": groups}).delete()
    objects = DirectoryObject.objects.filter(cloud_idp=cloud_idp).values("pk")
    EarlierValue.objects.filter(number__in=objects).delete()
    cloud_idp.delete()
