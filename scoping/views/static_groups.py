"""Pages of static groups, for computers and for mobile devices."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, F, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from pyroaring import BitMap

from jamfidp.access import get_visible_or_404, visible_to
from jamfidp.components import Chip, Crumb, Tab
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page
from scoping import static_groups
from scoping.facts import Known
from scoping.forms.groups import StaticGroupForm
from scoping.inventory import SECTIONS
from scoping.matching import fold
from scoping.models import Device, DeviceKind, StaticGroup
from scoping.objects import NameTaken
from scoping.recompute import counted
from scoping.static_groups import (
    GroupChanged,
    GroupGone,
    GroupInUse,
    by_serial_number,
    candidates,
    delete_static_group,
    save_static_group,
)
from scoping.uses import uses_of_device_group
from scoping.views.listing import (
    MEMBERS,
    PAGE_SIZE,
    address,
    choices,
    device_list,
    history_of,
    sees_devices,
    sees_everything,
    site_options,
    sort_of,
    sorted_headings,
    visible_ids,
)

SORTS = {"name": F("name"), "members": F("number")}
FOUND = 20


def perm(kind: str, action: str) -> str:
    return f"scoping.{action}_{static_groups.word(kind)}"


def url(kind: str, page: str, *args: Any) -> str:
    return reverse(f"scoping:{static_groups.word(kind)}-{page}", args=args)


def title(kind: str) -> str:
    computers = kind == DeviceKind.COMPUTER
    return "Static computer groups" if computers else "Static mobile device groups"


def get_group(
    request: ConsoleRequest, kind: str, pk: int, action: str = "view"
) -> StaticGroup:
    rows = StaticGroup.objects.filter(kind=kind).select_related("site")
    group = get_visible_or_404(rows, request.user, perm(kind, "view"), pk=pk)
    if action != "view":
        get_visible_or_404(rows, request.user, perm(kind, action), pk=pk)
    return group


def _may(request: ConsoleRequest, kind: str, action: str, group: StaticGroup) -> bool:
    name = perm(kind, action)
    return bool(
        request.user.has_perm(name)
        and request.user.sites_with(name).may_see(group.site_id)
    )


def group_list(request: ConsoleRequest, *, kind: str) -> HttpResponse:
    """All static groups of a kind that the person may see."""
    rows = visible_to(
        StaticGroup.objects.filter(kind=kind), request.user, perm(kind, "view")
    )
    q = request.GET.get("q", "").strip()
    pairs = site_options(request.user, perm(kind, "view"))
    asked, options = choices(request, "site", pairs)
    chips = []
    if asked:
        rows = rows.filter(site=None if asked == "none" else int(asked))
        chips.append(Chip("Site", dict(pairs)[asked], address(request, site="")))
    if q:
        rows = rows.filter(name__icontains=q)
    name, descending = sort_of(request, SORTS)
    if not sees_everything(request.user, kind):
        seen = visible_to(
            Device.objects.filter(kind=kind),
            request.user,
            SECTIONS[DeviceKind(kind)].perm("view"),
        )
        numbered = rows.annotate(
            number=Count("devices", filter=_among(seen), distinct=True)
        )
    else:
        numbered = rows.annotate(number=Count("devices"))
    page = keyset_page(
        numbered.select_related("site"),
        by=SORTS[name],
        descending=descending,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PAGE_SIZE,
    )
    return page_or_fragment(
        request,
        page="scoping/staticgroup_list.html",
        fragments={"group-list": "scoping/_staticgroup_list.html"},
        context={
            "title": title(kind),
            "section": SECTIONS[DeviceKind(kind)],
            "groups": page.rows,
            "total": rows.count(),
            "q": q,
            "filters": [{"name": "site", "label": "Site", "choices": options}]
            if options
            else [],
            "chips": chips,
            "clear_url": request.path,
            "is_filtered": bool(q or chips),
            "sort": request.GET.get("sort", ""),
            "headings": sorted_headings(
                request,
                [
                    ("Name", "name", False),
                    ("Site", "", False),
                    ("Members", "members", True),
                ],
                name,
                descending,
            ),
            "previous_url": address(request, before=page.previous)
            if page.previous
            else "",
            "next_url": address(request, after=page.next) if page.next else "",
            "new_url": url(kind, "new")
            if request.user.has_perm(perm(kind, "add"))
            else "",
        },
    )


def _among(devices: Any) -> Any:
    return Q(devices__in=devices.values("pk"))


def _page(
    request: ConsoleRequest, kind: str, group: StaticGroup, tab: str
) -> dict[str, Any]:
    uses = uses_of_device_group(group, viewer=request.user)
    members = _members(group)
    return {
        "group": group,
        "tab": tab,
        "section": SECTIONS[DeviceKind(kind)],
        "crumbs": [Crumb(title(kind), url(kind, "list"))],
        "tabs": [
            Tab(
                "Members",
                url(kind, "detail", group.pk),
                tab == "members",
                len(members & visible_ids(request.user, kind)),
            ),
            Tab("Where used", url(kind, "uses", group.pk), tab == "uses", len(uses)),
            Tab("History", url(kind, "history", group.pk), tab == "history"),
        ],
        "uses": uses,
        "edit_url": url(kind, "edit", group.pk)
        if _may(request, kind, "change", group)
        else "",
        "delete_url": url(kind, "delete", group.pk)
        if _may(request, kind, "delete", group)
        else "",
    }


def _members(group: StaticGroup) -> BitMap:
    return BitMap(list(group.devices.order_by().values_list("pk", flat=True)))


def group_detail(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Which devices are in the group."""
    group = get_group(request, kind, pk)
    members = _members(group)
    found = device_list(
        request,
        kind=kind,
        known=Known(members, BitMap()),
        decided=members,
        default="in",
        words=MEMBERS,
    )
    return page_or_fragment(
        request,
        page="scoping/staticgroup_detail.html",
        fragments={"scope-devices": "scoping/_scope_devices.html"},
        context=_page(request, kind, group, "members")
        | {
            "list": found,
            "lines": found.lines,
            "is_list": True,
            "may_see_devices": sees_devices(request.user, kind),
        },
    )


def group_uses(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Which scopes and smart groups name the group."""
    group = get_group(request, kind, pk)
    return render(
        request, "scoping/staticgroup_detail.html", _page(request, kind, group, "uses")
    )


def group_history(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Who changed the group."""
    group = get_group(request, kind, pk)
    return render(
        request,
        "scoping/staticgroup_detail.html",
        _page(request, kind, group, "history") | {"entries": history_of(group)},
    )


def group_new(request: ConsoleRequest, *, kind: str) -> HttpResponse:
    """Create a static group."""
    return _edit(request, kind, None)


def group_edit(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Change a static group: name, site, members."""
    return _edit(request, kind, get_group(request, kind, pk, "change"))


def _edit(
    request: ConsoleRequest, kind: str, group: StaticGroup | None
) -> HttpResponse:
    """The members are in the form, `member` by `member`, until it is saved."""
    access = request.user.sites_with(perm(kind, "change" if group else "add"))
    form = StaticGroupForm(
        request.POST or None,
        rows=StaticGroup.objects.filter(kind=kind),
        access=access,
        group=group,
    )
    saved = set(_members(group)) if group is not None else set()
    visible = set(visible_ids(request.user, kind))
    chosen, refused, changed = saved & visible, False, ""
    if request.method == "POST":
        chosen = _posted(request) & visible
        refused = not form.is_valid() and "save" in request.POST
        site = (
            form.cleaned_data.get("site") if form.is_bound and form.is_valid() else None
        )
        pasted = by_serial_number(
            request.POST.get("serial_numbers", ""),
            candidates(kind, site_id=site.pk if site else None, viewer=request.user),
        )
        chosen |= {row.pk for row in pasted.devices}
        if "save" not in request.POST:
            # Found ones are members now: left here, they could not be removed again.
            data = request.POST.copy()
            data["serial_numbers"] = "\n".join(pasted.missing)
            form.data = data
        if pasted.missing:
            form.add_error(
                "serial_numbers",
                f"No device here has: {', '.join(pasted.missing)}. Correct or remove"
                " them.",
            )
            refused = refused or "save" in request.POST
        if "save" in request.POST and not refused:
            try:
                row = save_static_group(
                    kind=kind,
                    name=form.cleaned_data["name"],
                    site=site,
                    # Members that the person may not see stay.
                    device_ids=chosen | (saved - visible),
                    group=group,
                    seen=request.POST.get("seen", ""),
                    actor=request.user,
                    now=timezone.now(),
                )
            except NameTaken as error:
                form.add_error("name", str(error))
                refused = True
            except GroupChanged as error:
                changed = str(error)
            except GroupGone as error:
                messages.error(request, str(error))
                return redirect(url(kind, "list"))
            else:
                messages.success(
                    request,
                    f"{row.name} was saved with {counted(row.devices.count(), kind)}.",
                )
                return redirect(row)
    return _editor(
        request,
        kind,
        group,
        form,
        chosen,
        saved & visible,
        refused=refused,
        changed=changed,
    )


def _posted(request: ConsoleRequest) -> set[int]:
    def numbers(name: str) -> set[int]:
        return {
            int(text)
            for text in request.POST.getlist(name)
            if text.isdecimal() and text.isascii() and len(text) < 19
        }

    return (numbers("member") | numbers("add")) - numbers("drop")


def _editor(
    request: ConsoleRequest,
    kind: str,
    group: StaticGroup | None,
    form: StaticGroupForm,
    chosen: set[int],
    saved: set[int],
    *,
    refused: bool,
    changed: str,
) -> HttpResponse:
    q = request.POST.get("q", "").strip()
    allowed = candidates(kind, site_id=None, viewer=request.user)
    found = (
        list(
            allowed.filter(search__contains=fold(q))
            .exclude(pk__in=chosen)
            .order_by("name", "pk")[: FOUND + 1]
        )
        if q
        else []
    )
    members = Device.objects.filter(pk__in=chosen).order_by("name", "pk")
    page = "edit" if group is not None else "new"
    crumbs = [Crumb(title(kind), url(kind, "list"))]
    if group is not None:
        crumbs.append(Crumb(group.name, group.get_absolute_url()))
    return page_or_fragment(
        request,
        page="scoping/staticgroup_form.html",
        fragments={"group-editor": "scoping/_staticgroup_form.html"},
        context={
            "group": group,
            "seen": _seen(request, group, changed),
            "changed": changed,
            "section": SECTIONS[DeviceKind(kind)],
            "form": form,
            "is_bound": refused,
            "members": members,
            "added": len(chosen - saved),
            "removed": len(saved - chosen),
            "uses": uses_of_device_group(group, viewer=request.user) if group else [],
            "q": q,
            "found": found[:FOUND],
            "more": len(found) > FOUND,
            "edit_url": url(kind, page, group.pk) if group else url(kind, page),
            "cancel_url": group.get_absolute_url() if group else url(kind, "list"),
            "crumbs": crumbs,
        },
        status=409 if changed else 422 if refused else 200,
    )


def _seen(request: ConsoleRequest, group: StaticGroup | None, changed: str) -> str:
    """The mark of the group as the person has seen it."""
    if group is None:
        return ""
    known = "" if changed else request.POST.get("seen", "")
    return known or static_groups.mark_of(group)


def group_delete(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Delete a group that nothing names."""
    group = get_group(request, kind, pk, "delete")
    refusal, status = "", 200
    if request.method == "POST":
        name = group.name
        try:
            delete_static_group(group=group, actor=request.user, now=timezone.now())
        except GroupInUse as error:
            refusal, status = str(error), 422
        else:
            messages.success(request, f"{name} was deleted.")
            return redirect(url(kind, "list"))
    everything = uses_of_device_group(group)
    seen = uses_of_device_group(group, viewer=request.user)
    return render(
        request,
        "scoping/group_delete.html",
        {
            "group": group,
            "what": "static group",
            "devices": counted(group.devices.count(), kind),
            "uses": seen,
            "others": len(everything) - len(seen),
            "is_used": bool(everything),
            "refusal": refusal if len(everything) == len(seen) else "",
            "crumbs": [
                Crumb(title(kind), url(kind, "list")),
                Crumb(group.name, group.get_absolute_url()),
            ],
            "cancel_url": group.get_absolute_url(),
        },
        status=status,
    )
