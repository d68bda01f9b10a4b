"""Why a device is in scope: derivations as pages, and the scopes of one device."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from directory.dependents import ObjectRef
from directory.freshness import as_of
from jamfidp.access import (
    ConsoleUser,
    get_visible_or_404,
    privilege,
    refuse,
    signed_in,
)
from jamfidp.components import Crumb, Node
from jamfidp.htmx import ConsoleRequest
from scoping.derivations import Explanation, explain_scope
from scoping.inventory import SECTIONS
from scoping.models import Device, DeviceKind, SmartGroup, StaticGroup
from scoping.objects import ObjectKind
from scoping.smart_groups import word as smart_word
from scoping.static_groups import word as static_word
from scoping.uses import InScope, objects_for_device, objects_for_user
from scoping.verdict import Derivation, Link, Verdict

# Kinds of link that lead to one page each: its route and the privilege to open it.
PAGES = {
    "computer": ("scoping:computer-detail", "scoping.view_computer"),
    "mobile_device": ("scoping:mobiledevice-detail", "scoping.view_mobiledevice"),
    "building": ("scoping:building-detail", "scoping.view_building"),
    "department": ("scoping:department-detail", "scoping.view_department"),
    "network_segment": (
        "scoping:networksegment-detail",
        "scoping.view_networksegment",
    ),
    "directory_group": ("directory:group-detail", "directory.view_directorygroup"),
    "directory_user": ("directory:user-detail", "directory.view_directoryuser"),
}


def link_url(link: Link | None, *, viewer: ConsoleUser, device_kind: str) -> str:
    """The address that a sentence leads to; "" where the viewer may not open it."""
    if link is None:
        return ""
    kind, number = link
    if kind == "device_group":
        sort, _, number = number.partition(":")
        kind = f"{sort}_group"
    if kind in {"smart_group", "static_group"}:
        word = (smart_word if kind == "smart_group" else static_word)(device_kind)
        route, perm = f"scoping:{word}-detail", f"scoping.view_{word}"
        model = SmartGroup if kind == "smart_group" else StaticGroup
        row = model._default_manager.filter(pk=number).first()
        if row is None or not viewer.sites_with(perm).may_see(row.site_id):
            return ""
    elif kind == "device":
        section = SECTIONS[DeviceKind(device_kind)]
        route, perm = f"scoping:{section.route}-detail", section.perm("view")
    elif kind in PAGES:
        route, perm = PAGES[kind]
    else:
        return ""
    if not viewer.has_perm(perm):
        return ""
    try:
        return reverse(route, args=[int(number)])
    except (NoReverseMatch, ValueError):
        return ""


def node(root: Derivation, *, viewer: ConsoleUser, device_kind: str) -> Node:
    """A derivation as the component shows it."""
    return Node(
        claim=root.claim,
        verdict=root.verdict.value,
        fact=root.fact,
        url=link_url(root.link, viewer=viewer, device_kind=device_kind),
        as_of=root.as_of,
        deciding=root.decisive,
        children=[
            node(child, viewer=viewer, device_kind=device_kind)
            for child in root.children
        ],
    )


def change_in_words(explanation: Explanation) -> str:
    """The smallest change as one sentence."""
    sentences = [each.rstrip(".") for each in explanation.change]
    if not sentences:
        return ""
    first, *others = sentences
    rest = [each[:1].lower() + each[1:] for each in others]
    return ", and ".join([first, *rest]) + "."


def decision_in_words(explanation: Explanation, name: str) -> str:
    """What is done while the verdict is what it is."""
    if explanation.verdict is not Verdict.UNKNOWN:
        return ""
    if explanation.decided:
        return (
            f"{name} stays in scope, as it was decided before: what is not known takes"
            " nothing away."
        )
    return f"{name} is not brought in: what is not known gives nothing."


def object_derivation(
    request: ConsoleRequest, *, kind: ObjectKind, pk: int, device_pk: int
) -> HttpResponse:
    """Why this device is, or is not, in the scope of this object."""
    obj = get_visible_or_404(
        kind.rows().select_related("scope", "site"),
        request.user,
        kind.perm("view"),
        pk=pk,
    )
    section = SECTIONS[kind.device_kind]
    device = get_visible_or_404(
        Device.objects.filter(kind=kind.device_kind).select_related("site"),
        request.user,
        section.perm("view"),
        pk=device_pk,
    )
    explanation = explain_scope(obj, device, now=timezone.now())
    return render(
        request,
        "scoping/derivation_page.html",
        {
            "title": f"Why {device.name} "
            + {
                Verdict.IN: f"is in scope of {obj.name}",
                Verdict.OUT: f"is not in scope of {obj.name}",
                Verdict.UNKNOWN: f"may be in scope of {obj.name}",
            }[explanation.verdict],
            "device": device,
            "verdict": explanation.verdict.value,
            "node": node(
                explanation.root, viewer=request.user, device_kind=kind.device_kind
            ),
            "change": change_in_words(explanation),
            "decision": decision_in_words(explanation, device.name),
            "as_of": explanation.as_of,
            "directory_as_of": as_of(timezone.now()),
            "crumbs": [
                Crumb(kind.title, reverse(f"scoping:{kind.key}-list")),
                Crumb(obj.name, obj.get_absolute_url()),
                Crumb("Scope", reverse(f"scoping:{kind.key}-scope", args=[obj.pk])),
            ],
            "back_url": reverse(f"scoping:{kind.key}-scope", args=[obj.pk]),
            "back_label": f"Who is in scope of {obj.name}",
        },
    )


@signed_in("It asks for the privilege of the device's kind, and for each object's.")
def device_scopes(request: ConsoleRequest, pk: int) -> HttpResponse:
    """The objects in scope for a device, a part of its page."""
    device = Device.objects.filter(pk=pk).first()
    if device is None:
        raise Http404
    section = SECTIONS[DeviceKind(device.kind)]
    if not request.user.has_perm(section.perm("view")):
        return refuse(request, section.perm("view"))
    get_visible_or_404(
        Device.objects.filter(kind=device.kind),
        request.user,
        section.perm("view"),
        pk=pk,
    )
    found = objects_for_device(device, viewer=request.user, everything=True)
    return render(
        request,
        "scoping/_object_verdicts.html",
        {
            "lines": _lines(found),
            "show_device": False,
            "empty": "No policy or configuration profile that you may see is for this"
            f" kind of device. Objects decide who gets {device.name} under their scope.",
        },
    )


def _lines(found: list[InScope]) -> list[dict[str, object]]:
    order = {Verdict.IN: 0, Verdict.UNKNOWN: 1, Verdict.OUT: 2}
    return [
        {
            "kind": each.kind,
            "object": each.object,
            "device": each.device,
            "verdict": each.verdict.value,
            "decided": each.decided,
            "why_url": reverse(
                f"scoping:{each.kind.key}-derivation",
                args=[each.object.pk, each.device.pk],
            ),
        }
        for each in sorted(
            found, key=lambda line: (order[line.verdict], line.object.name.casefold())
        )
    ]


@privilege("directory.view_directoryuser")
def directoryuser_objects(request: ConsoleRequest) -> HttpResponse:
    """The objects in scope for the devices of a person, a part of the person's page."""
    ref = ObjectRef(request.GET.get("tenant_id", ""), request.GET.get("object_id", ""))
    found = objects_for_user(ref, viewer=request.user)
    return render(
        request,
        "scoping/_object_verdicts.html",
        {
            "lines": _lines(found),
            "show_device": True,
            "empty": "No device that names this person has, or may have, a policy or"
            " configuration profile that you may see.",
        },
    )
