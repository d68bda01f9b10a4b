"""Routes of objects and groups: the same pages for each kind, each with its privilege."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_http_methods

from jamfidp.access import privilege
from scoping.inventory import SECTIONS
from scoping.models import DeviceKind
from scoping.objects import IOS_PROFILE, MACOS_PROFILE, POLICY, ObjectKind
from scoping.smart_groups import word as smart_word
from scoping.static_groups import word as static_word
from scoping.views import (
    derivations,
    objects,
    scope_editor,
    smart_groups,
    static_groups,
)

reads = require_GET
edits = require_http_methods(["GET", "HEAD", "POST"])


def object_routes(kind: ObjectKind, prefix: str) -> list[URLPattern]:
    """The pages of policies or of one kind of configuration profile."""
    device = SECTIONS[kind.device_kind].perm("view")

    def page(
        route: str, name: str, view: Any, *perms: str, changes: bool = False
    ) -> URLPattern:
        guarded = privilege(*perms)(partial(view, kind=kind))
        method: Any = edits if changes else reads
        found: URLPattern = path(
            f"{prefix}{route}", method(guarded), name=f"{kind.key}-{name}"
        )
        return found

    view, add = kind.perm("view"), kind.perm("add")
    change, delete = kind.perm("change"), kind.perm("delete")
    return [
        page("", "list", objects.object_list, view),
        page("new/", "new", objects.object_new, add, changes=True),
        page("<int:pk>/", "detail", objects.object_detail, view),
        page("<int:pk>/edit/", "edit", objects.object_edit, change, changes=True),
        page("<int:pk>/clone/", "clone", objects.object_clone, add, changes=True),
        page("<int:pk>/delete/", "delete", objects.object_delete, delete, changes=True),
        page("<int:pk>/history/", "history", objects.object_history, view),
        page("<int:pk>/scope/", "scope", objects.object_scope, view),
        page("<int:pk>/scope/export/", "export", objects.object_export, view, device),
        page(
            "<int:pk>/scope/edit/",
            "scope-edit",
            scope_editor.scope_edit,
            change,
            changes=True,
        ),
        page(
            "<int:pk>/scope/picker/",
            "scope-picker",
            scope_editor.scope_picker,
            change,
            changes=True,
        ),
        page(
            "<int:pk>/scope/devices/<int:device_pk>/",
            "derivation",
            derivations.object_derivation,
            view,
            device,
        ),
    ]


def group_routes(
    views: Any, word: str, kind: DeviceKind, prefix: str
) -> list[URLPattern]:
    """The pages of smart or static groups of one kind of device."""

    def page(route: str, name: str, view: Any, action: str) -> URLPattern:
        guarded = privilege(f"scoping.{action}_{word}")(partial(view, kind=kind))
        method: Any = reads if action == "view" else edits
        found: URLPattern = path(
            f"{prefix}{route}", method(guarded), name=f"{word}-{name}"
        )
        return found

    return [
        page("", "list", views.group_list, "view"),
        page("new/", "new", views.group_new, "add"),
        page("<int:pk>/", "detail", views.group_detail, "view"),
        page("<int:pk>/uses/", "uses", views.group_uses, "view"),
        page("<int:pk>/history/", "history", views.group_history, "view"),
        page("<int:pk>/edit/", "edit", views.group_edit, "change"),
        page("<int:pk>/delete/", "delete", views.group_delete, "delete"),
    ]


def _derivation(kind: DeviceKind, prefix: str) -> URLPattern:
    word = smart_word(kind)
    guarded = privilege(f"scoping.view_{word}", SECTIONS[kind].perm("view"))(
        partial(smart_groups.group_derivation, kind=kind)
    )
    return path(
        f"{prefix}<int:pk>/devices/<int:device_pk>/",
        reads(guarded),
        name=f"{word}-derivation",
    )


COMPUTER, MOBILE = DeviceKind.COMPUTER, DeviceKind.MOBILE
urlpatterns: list[URLPattern] = [
    *object_routes(POLICY, "computers/policies/"),
    *object_routes(MACOS_PROFILE, "computers/profiles/"),
    *group_routes(
        smart_groups, smart_word(COMPUTER), COMPUTER, "computers/smart-groups/"
    ),
    _derivation(COMPUTER, "computers/smart-groups/"),
    *group_routes(
        static_groups, static_word(COMPUTER), COMPUTER, "computers/static-groups/"
    ),
    *object_routes(IOS_PROFILE, "devices/profiles/"),
    *group_routes(smart_groups, smart_word(MOBILE), MOBILE, "devices/smart-groups/"),
    _derivation(MOBILE, "devices/smart-groups/"),
    *group_routes(static_groups, static_word(MOBILE), MOBILE, "devices/static-groups/"),
    path(
        "inventory/<int:pk>/scopes/",
        derivations.device_scopes,
        name="device-scopes-fragment",
    ),
    path(
        "users/objects/",
        derivations.directoryuser_objects,
        name="directoryuser-objects-fragment",
    ),
]
