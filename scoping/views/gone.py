"""What a page says when its object was deleted in another tab meanwhile."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from jamfidp.history.models import ObjectHistory
from jamfidp.htmx import ConsoleRequest


def deletion(request: ConsoleRequest, model: type[Model], pk: int, perm: str) -> str:
    """Who deleted the object, for those who could see it; empty for everybody else.

    An object of a foreign site stays as absent as one that never was.
    """
    entry: Any = ObjectHistory.objects.filter(
        object_label=model._meta.label_lower, object_pk=str(pk), action="deleted"
    ).first()
    if entry is None or model._default_manager.filter(pk=pk).exists():
        return ""
    if not request.user.sites_with(perm).may_see(entry.site_id):
        return ""
    return f"{entry.object_name} was deleted by {entry.actor_name} while this page was open."
