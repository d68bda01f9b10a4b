"""Directory groups: the list, one group, and the pickers that other pages use."""

from collections.abc import Sequence
from typing import Any

from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone

from directory import freshness, held_words, lists, picking
from directory.dependents import ObjectRef, registered
from directory.memberships import (
    NestedGroup,
    direct_members,
    effective_members,
    hidden_below,
    nested_tree,
    parents_of,
    ways_in,
)
from directory.models import DirectoryGroup
from directory.search import matching
from directory.views.past import earlier_summary
from directory.views.sync_runs import may_sync
from jamfidp.access import privilege
from jamfidp.components import Branch, Crumb, Tab
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page


@privilege("directory.view_directorygroup")
def group_list(request: ConsoleRequest) -> HttpResponse:
    listing = lists.groups(request.GET)
    rows = listing.rows(DirectoryGroup.objects.connected().select_related("cloud_idp"))
    page = listing.page(rows)
    return page_or_fragment(
        request,
        page="directory/group_list.html",
        fragments={"group-list": "directory/_group_list_swap.html"},
        context={
            "listing": listing,
            "groups": page.rows,
            "twins": picking.names_shared(page.rows),
            "total": rows.count(),
            "newer_url": listing.url(before=page.previous) if page.previous else "",
            "older_url": listing.url(after=page.next) if page.next else "",
            "as_of": freshness.as_of(timezone.now()),
            "may_export": request.user.has_perm("directory.export_directory"),
        },
    )


@privilege("directory.view_directorygroup")
def group_detail(request: ConsoleRequest, pk: int) -> HttpResponse:
    """One group; its members need the privilege to see people as well."""
    group = get_object_or_404(
        DirectoryGroup.objects.connected().select_related("cloud_idp"), pk=pk
    )
    ref = ObjectRef(group.cloud_idp.tenant_id, group.object_id)
    tree = nested_tree(group)
    may_see_users = request.user.has_perm("directory.view_directoryuser")
    return page_or_fragment(
        request,
        page="directory/group_detail.html",
        fragments={"group-members": "directory/_group_members.html"},
        context={
            "group": group,
            "may_sync": may_sync(request.user, group.cloud_idp),
            "crumbs": [Crumb("Directory groups", reverse("directory:group-list"))],
            "twins": _twins(group),
            "tree": [branch(nested) for nested in tree],
            "nested_count": group.descendants.count(),
            "hidden_below": hidden_below(group),
            "parents": list(parents_of(group)),
            "may_see_users": may_see_users,
            "uses": [
                use
                for dependents in registered()
                for use in dependents.uses_of_group(ref, viewer=request.user)
            ],
            "fragments": [
                fragment
                for dependents in registered()
                for fragment in dependents.group_fragments(ref)
            ],
            "as_of": freshness.as_of(timezone.now(), [group.cloud_idp]),
            "held": held_words.held_of(group.pk),
            **earlier_summary(group.pk),
            **(members_of(request, group) if may_see_users else {}),
        },
    )


def members_of(request: ConsoleRequest, group: DirectoryGroup) -> dict[str, Any]:
    """Return one page of a group's members, direct or effective, and the way in."""
    nested = request.GET.get("members") != "direct"
    text = request.GET.get("q", "").strip()
    everybody = effective_members(group) if nested else direct_members(group)
    rows = matching(everybody, text)
    page = keyset_page(
        rows,
        by=F("sort_key"),
        descending=False,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=lists.PAGE_SIZE,
    )
    ways = ways_in(group, page.rows) if nested else {}
    leaving = held_words.leaving(group)
    return {
        "members": [
            {
                "user": user,
                "held": leaving.get(user.pk),
                "path": [
                    Crumb(str(through), through.get_absolute_url())
                    for through in ways.get(user.pk, ())
                ],
            }
            for user in page.rows
        ],
        "members_nested": nested,
        "members_query": text,
        "members_total": rows.count() if text else None,
        "members_tabs": [
            Tab("Effective", "?members=effective", nested, group.transitive_users),
            Tab("Direct", "?members=direct", not nested, group.direct_users),
        ],
        "previous_position": page.previous,
        "next_position": page.next,
    }


def _twins(group: DirectoryGroup) -> Sequence[DirectoryGroup]:
    return list(
        DirectoryGroup.objects.present()
        .filter(display_name=group.display_name)
        .exclude(pk=group.pk)
        .select_related("cloud_idp")[:10]
    )


def branch(nested: NestedGroup) -> Branch:
    group = nested.group
    hidden = group.hidden_membership or group.state != DirectoryGroup.State.PRESENT
    return Branch(
        label=str(group),
        url=group.get_absolute_url(),
        count=None if hidden else group.transitive_users,
        cut=nested.cut or ("Hidden membership" if group.hidden_membership else ""),
        children=[branch(child) for child in nested.children],
    )


@privilege("directory.view_directorygroup")
def pick_groups(request: ConsoleRequest) -> HttpResponse:
    """A fragment to choose a group from, for forms of other pages.

    A form with many choices sends them along, so that what is ticked stays.
    """
    given = request.POST if request.method == "POST" else request.GET
    controls = _controls(request)
    connection = request.GET.get("connection", "")
    known_of = (
        int(connection) if connection.isascii() and connection.isdigit() else None
    )
    chosen: list[DirectoryGroup] = []
    if known_of is not None:
        ticked = given.getlist(controls["field_name"])
        ids = [each.rpartition("/")[2] for each in ticked if "/" in each]
        chosen = picking.chosen_groups(known_of, ids[: picking.CHOSEN_LIMIT])
    found = picking.group_choices(given.get("q", ""), chosen=chosen, known_of=known_of)
    return render(request, "directory/_picker_groups.html", found | controls)


@privilege("directory.view_directoryuser")
def pick_users(request: ConsoleRequest) -> HttpResponse:
    """A fragment to choose a person from, for forms of other pages."""
    found = picking.user_choices(request.GET.get("q", ""))
    return render(request, "directory/_picker_users.html", found | _controls(request))


def _controls(request: ConsoleRequest) -> dict[str, Any]:
    # The name goes into HTML, so only an identifier is taken.
    name = request.GET.get("field", "")
    return {
        "field_name": name if name.isidentifier() and name.isascii() else "picked",
        "several": request.GET.get("several") == "1",
    }
