"""The numbers of a tenant's objects: given at first sight, for good."""

from collections.abc import Iterable

from directory.models import CloudIdentityProvider, DirectoryObject
from directory.sync import rows


def numbered(
    cloud_idp: CloudIdentityProvider,
    object_ids: Iterable[str],
    kind: DirectoryObject.Kind,
) -> dict[str, int]:
    """Return the number of each object; those not seen before are given one."""
    wanted = list(object_ids)
    found: dict[str, int] = {}
    for some in rows.chunks(wanted):
        found.update(
            DirectoryObject.objects.filter(
                cloud_idp=cloud_idp, object_id__in=some
            ).values_list("object_id", "id")
        )
    new = [object_id for object_id in wanted if object_id not in found]
    given = dict(zip(new, rows.reserve_ids(DirectoryObject, len(new)), strict=True))
    rows.insert(
        DirectoryObject,
        ("id", "cloud_idp_id", "object_id", "kind"),
        [(pk, cloud_idp.pk, object_id, kind.value) for object_id, pk in given.items()],
    )
    return found | given
