"""Directory users: the list, and one person with everything that follows from them."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone

from directory import freshness, held_words, lists
from directory.dependents import ObjectRef, registered
from directory.memberships import HeldGroup, groups_of
from directory.models import DirectoryUser
from directory.views.past import earlier_summary
from directory.views.sync_runs import may_sync
from jamfidp.access import privilege
from jamfidp.components import Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment

GROUPS_SHOWN = 200


@privilege("directory.view_directoryuser")
def user_list(request: ConsoleRequest) -> HttpResponse:
    listing = lists.users(request.GET)
    rows = listing.rows(DirectoryUser.objects.connected().select_related("cloud_idp"))
    page = listing.page(rows)
    return page_or_fragment(
        request,
        page="directory/user_list.html",
        fragments={"user-list": "directory/_user_list_swap.html"},
        context={
            "listing": listing,
            "users": page.rows,
            "total": rows.count(),
            "newer_url": listing.url(before=page.previous) if page.previous else "",
            "older_url": listing.url(after=page.next) if page.next else "",
            "as_of": freshness.as_of(timezone.now()),
            "may_export": request.user.has_perm("directory.export_directory"),
        },
    )


@privilege("directory.view_directoryuser")
def user_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(
        DirectoryUser.objects.connected().select_related("cloud_idp__mappings"), pk=pk
    )
    held = groups_of(user)
    ref = ObjectRef(user.cloud_idp.tenant_id, user.object_id)
    may_see_groups = request.user.has_perm("directory.view_directorygroup")
    return render(
        request,
        "directory/user_detail.html",
        {
            "person": user,
            "may_sync": may_sync(request.user, user.cloud_idp),
            "crumbs": [Crumb("Directory users", reverse("directory:user-list"))],
            "attributes": attributes_of(user),
            "direct": [each.group for each in held if each.direct],
            "effective": [way_in(each, user) for each in held[:GROUPS_SHOWN]],
            "effective_count": len(held),
            "effective_left": max(len(held) - GROUPS_SHOWN, 0),
            "may_see_groups": may_see_groups,
            "uses": [
                use
                for dependents in registered()
                for use in dependents.uses_of_user(ref, viewer=request.user)
            ],
            "fragments": [
                fragment
                for dependents in registered()
                for fragment in dependents.user_fragments(ref)
            ],
            "as_of": freshness.as_of(timezone.now(), [user.cloud_idp]),
            "held": held_words.held_of(user.pk),
            "held_memberships": held_words.held_memberships_of(user)
            if may_see_groups
            else [],
            **earlier_summary(user.pk),
        },
    )


def attributes_of(user: DirectoryUser) -> Sequence[tuple[str, str, str]]:
    """Return Jamf Pro's attributes: label, value, and the Graph property behind it."""
    mappings = user.cloud_idp.mappings
    found = []
    for name in (
        "user_name",
        "real_name",
        "email",
        "department",
        "building",
        "room",
        "phone",
        "position",
    ):
        label = str(mappings._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
        found.append(
            (
                label[:1].upper() + label[1:],
                getattr(user, name),
                getattr(mappings, name),
            )
        )
    return found


def way_in(held: HeldGroup, user: DirectoryUser) -> dict[str, Any]:
    """Return a group with the path by which a person is in it, for the page."""
    through = " and ".join(str(group) for group in held.path[:-1])
    return {
        "group": held.group,
        "direct": held.direct,
        "path": [
            Crumb(str(user)),
            *(Crumb(str(group), group.get_absolute_url()) for group in held.path),
        ],
        "sentence": f"{user} is in {held.group} through {through}"
        if through
        else f"{user} is a direct member of {held.group}",
    }
