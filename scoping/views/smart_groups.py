"""Pages of smart groups, for computers and for mobile devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from directory import held_words
from directory.dependents import ObjectRef
from directory.freshness import as_of
from directory.models import DirectoryGroup
from directory.search import matching
from directory.sync.bitmaps import unpack
from jamfidp.access import get_visible_or_404, visible_to
from jamfidp.components import Amount, Chip, Crumb, Tab
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.keyset import page as keyset_page
from scoping import smart_groups
from scoping.criteria import Criteria, CriteriaError, Criterion, fields_for
from scoping.derivations import explain_group
from scoping.facts import DirectoryRows
from scoping.forms.groups import (
    CriteriaForm,
    CriterionRow,
    GroupForm,
    read_criteria_form,
    rows_of,
)
from scoping.inventory import SECTIONS
from scoping.models import Device, DeviceKind, SmartGroup
from scoping.objects import NameTaken
from scoping.recompute import counted, inventory_of
from scoping.smart_groups import delete_smart_group, save_smart_group, stored_criteria
from scoping.static_groups import GroupChanged, GroupGone, GroupInUse
from scoping.uses import uses_of_device_group
from scoping.verdict import Verdict
from scoping.views.derivations import change_in_words, node
from scoping.views.listing import (
    MEMBERS,
    PAGE_SIZE,
    DeviceLine,
    address,
    choices,
    device_list,
    history_of,
    known_of,
    sees_devices,
    sees_everything,
    site_options,
    sort_of,
    sorted_headings,
    visible_ids,
)
from scoping.views.scope_editor import Names, names_behind

SORTS = {"name": F("name"), "members": F("member_count"), "unknown": F("unknown_count")}
FOUND = 10
SEARCH_PERM = "directory.view_directorygroup"


@dataclass(frozen=True)
class GroupLine:
    """A group and its numbers of devices, of those that the person may see."""

    group: SmartGroup
    members: int
    unknown: int
    criteria: str


def perm(kind: str, action: str) -> str:
    return f"scoping.{action}_{smart_groups.word(kind)}"


def url(kind: str, page: str, *args: Any) -> str:
    return reverse(f"scoping:{smart_groups.word(kind)}-{page}", args=args)


def title(kind: str) -> str:
    computers = kind == DeviceKind.COMPUTER
    return "Smart computer groups" if computers else "Smart mobile device groups"


def get_group(
    request: ConsoleRequest, kind: str, pk: int, action: str = "view"
) -> SmartGroup:
    rows = SmartGroup.objects.filter(kind=kind).select_related("site")
    group = get_visible_or_404(rows, request.user, perm(kind, "view"), pk=pk)
    if action != "view":
        get_visible_or_404(rows, request.user, perm(kind, action), pk=pk)
    return group


def _may(request: ConsoleRequest, kind: str, action: str, group: SmartGroup) -> bool:
    name = perm(kind, action)
    return bool(
        request.user.has_perm(name)
        and request.user.sites_with(name).may_see(group.site_id)
    )


def group_list(request: ConsoleRequest, *, kind: str) -> HttpResponse:
    """All smart groups of a kind that the person may see."""
    rows = visible_to(
        SmartGroup.objects.filter(kind=kind), request.user, perm(kind, "view")
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
    page = keyset_page(
        rows.select_related("site").prefetch_related("criteria"),
        by=SORTS[name],
        descending=descending,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PAGE_SIZE,
    )
    everything = sees_everything(request.user, kind)
    visible = None if everything else visible_ids(request.user, kind)
    lines = []
    for group in page.rows:
        numbers = (group.member_count, group.unknown_count)
        if visible is not None:
            numbers = (
                len(unpack(group.members or None) & visible),
                len(unpack(group.unknown or None) & visible),
            )
        lines.append(GroupLine(group, *numbers, _in_words(group)))
    return page_or_fragment(
        request,
        page="scoping/smartgroup_list.html",
        fragments={"group-list": "scoping/_smartgroup_list.html"},
        context={
            "title": title(kind),
            "section": SECTIONS[DeviceKind(kind)],
            "lines": lines,
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
                    ("Criteria", "", False),
                    ("Site", "", False),
                    ("Members", "members", True),
                    ("Unknown", "unknown", True),
                    ("Calculated", "", False),
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


def _in_words(group: SmartGroup) -> str:
    rows = sorted(group.criteria.all(), key=lambda row: row.priority)
    criteria = [
        Criterion(
            name=row.name,
            search_type=row.search_type,
            value=row.value,
            priority=row.priority,
            and_or=row.and_or,
            opening_paren=row.opening_paren,
            closing_paren=row.closing_paren,
            ref=ObjectRef(row.tenant_id, row.object_id) if row.object_id else None,
            nested=row.nested,
        )
        for row in rows
    ]
    text = smart_groups.in_words(criteria, group.kind)
    return text[:1].upper() + text[1:]


def _page(
    request: ConsoleRequest, kind: str, group: SmartGroup, tab: str
) -> dict[str, Any]:
    criteria = stored_criteria(group)
    refs = {each.ref: each.value for each in criteria if each.ref is not None}
    directory = DirectoryRows(refs)
    broken = [directory.describe(ref) for ref in refs]
    uses = uses_of_device_group(group, viewer=request.user)
    visible = visible_ids(request.user, kind)
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
                len(unpack(group.members or None) & visible),
            ),
            Tab("Where used", url(kind, "uses", group.pk), tab == "uses", len(uses)),
            Tab("History", url(kind, "history", group.pk), tab == "history"),
        ],
        "criteria": _in_words(group),
        "over_assigned": bool(refs),
        "differing": held_words.touching(
            (each.ref, each.nested) for each in criteria if each.ref is not None
        ),
        "broken": [(each.name, each.why_broken) for each in broken if each.broken],
        "uses": uses,
        "directory_as_of": as_of(timezone.now()) if refs else None,
        "edit_url": url(kind, "edit", group.pk)
        if _may(request, kind, "change", group)
        else "",
        "delete_url": url(kind, "delete", group.pk)
        if _may(request, kind, "delete", group)
        else "",
    }


def group_detail(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Which devices are in the group."""
    group = get_group(request, kind, pk)
    found = device_list(
        request,
        kind=kind,
        known=known_of(group.members, group.unknown),
        decided=unpack(group.members or None),
        default="in",
        words=MEMBERS,
    )
    context = _page(request, kind, group, "members") | {
        "list": found,
        "may_see_devices": sees_devices(request.user, kind),
        "lines": [
            DeviceLine(
                line.device,
                line.verdict,
                line.decided,
                url(kind, "derivation", group.pk, line.device.pk),
                line.text,
            )
            for line in found.lines
        ],
    }
    return page_or_fragment(
        request,
        page="scoping/smartgroup_detail.html",
        fragments={"scope-devices": "scoping/_scope_devices.html"},
        context=context,
    )


def group_uses(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Which scopes and groups name the group."""
    group = get_group(request, kind, pk)
    return render(
        request, "scoping/smartgroup_detail.html", _page(request, kind, group, "uses")
    )


def group_history(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Who changed the group."""
    group = get_group(request, kind, pk)
    return render(
        request,
        "scoping/smartgroup_detail.html",
        _page(request, kind, group, "history") | {"entries": history_of(group)},
    )


def group_derivation(
    request: ConsoleRequest, *, kind: str, pk: int, device_pk: int
) -> HttpResponse:
    """Why this device is, or is not, in the group."""
    group = get_group(request, kind, pk)
    section = SECTIONS[DeviceKind(kind)]
    device = get_visible_or_404(
        Device.objects.filter(kind=kind).select_related("site"),
        request.user,
        section.perm("view"),
        pk=device_pk,
    )
    explanation = explain_group(group, device, now=timezone.now())
    stays = "stays a member" if explanation.decided else "does not become a member"
    return render(
        request,
        "scoping/derivation_page.html",
        {
            "title": f"Why {device.name} "
            + {
                Verdict.IN: f"is in {group.name}",
                Verdict.OUT: f"is not in {group.name}",
                Verdict.UNKNOWN: f"may be in {group.name}",
            }[explanation.verdict],
            "device": device,
            "verdict": explanation.verdict.value,
            "node": node(explanation.root, viewer=request.user, device_kind=kind),
            "change": change_in_words(explanation),
            "decision": f"{device.name} {stays} while this is not known."
            if explanation.verdict is Verdict.UNKNOWN
            else "",
            "as_of": explanation.as_of,
            "directory_as_of": as_of(timezone.now()),
            "crumbs": [
                Crumb(title(kind), url(kind, "list")),
                Crumb(group.name, group.get_absolute_url()),
            ],
            "back_url": group.get_absolute_url(),
            "back_label": f"Members of {group.name}",
        },
    )


# The editor ----------------------------------------------------------------------


def group_new(request: ConsoleRequest, *, kind: str) -> HttpResponse:
    """Create a smart group."""
    return _edit(request, kind, None)


def group_edit(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Change a smart group and its criteria."""
    try:
        group = get_group(request, kind, pk, "change")
    except Http404:
        if request.method != "POST":
            raise
        return _gone(request, kind)
    return _edit(request, kind, group)


def _gone(request: ConsoleRequest, kind: str) -> HttpResponse:
    """What was typed for a group that is not there, any more or for this person."""
    criteria = read_criteria_form(request.POST, kind=kind).criteria
    return render(
        request,
        "scoping/gone.html",
        {
            "noun": "smart group",
            "kept": [
                ("Name", request.POST.get("name", "")),
                ("Criteria", _sentence(criteria, kind)),
            ],
            "list_url": url(kind, "list"),
        },
        status=404,
    )


def _edit(request: ConsoleRequest, kind: str, group: SmartGroup | None) -> HttpResponse:
    access = request.user.sites_with(perm(kind, "change" if group else "add"))
    form = GroupForm(
        request.POST or None,
        rows=SmartGroup.objects.filter(kind=kind),
        access=access,
        group=group,
    )
    if request.method != "POST":
        saved = stored_criteria(group) if group is not None else []
        return _editor(
            request, kind, group, form, CriteriaForm(rows_of(saved, kind=kind))
        )
    criteria = read_criteria_form(request.POST, kind=kind)
    if not criteria.wants_to_save:
        return _editor(request, kind, group, form, criteria)
    if form.is_valid():
        try:
            saved_group = save_smart_group(
                kind=kind,
                name=form.cleaned_data["name"],
                site=form.cleaned_data["site"],
                criteria=criteria.criteria,
                group=group,
                seen=request.POST.get("seen", ""),
                actor=request.user,
                now=timezone.now(),
                viewer=request.user,
            )
        except CriteriaError as error:
            criteria = criteria.with_problems(error.problems)
        except NameTaken as error:
            form.add_error("name", str(error))
        except GroupGone:
            return _gone(request, kind)
        except GroupChanged as error:
            return _editor(request, kind, group, form, criteria, changed=str(error))
        else:
            messages.success(
                request,
                f"{saved_group.name} was saved with"
                f" {counted(saved_group.member_count, kind)}.",
            )
            return redirect(saved_group)
    return _editor(request, kind, group, form, criteria, refused=True)


def _editor(
    request: ConsoleRequest,
    kind: str,
    group: SmartGroup | None,
    form: GroupForm,
    criteria: CriteriaForm,
    *,
    refused: bool = False,
    changed: str = "",
) -> HttpResponse:
    parsed, criteria = _check(request, kind, group, criteria, refused=refused)
    amounts, names = _preview(request, kind, group, form, parsed)
    groups = smart_groups.device_groups(kind, viewer=request.user)
    own = f"smart:{group.pk}" if group is not None else ""
    refs = {row.criterion.ref: row.criterion.value for row in criteria.rows}
    directory = DirectoryRows({ref: name for ref, name in refs.items() if ref})
    page = "edit" if group is not None else "new"
    section = SECTIONS[DeviceKind(kind)]
    crumbs = [Crumb(title(kind), url(kind, "list"))]
    if group is not None:
        crumbs.append(Crumb(group.name, group.get_absolute_url()))
    return page_or_fragment(
        request,
        page="scoping/smartgroup_form.html",
        fragments={"group-editor": "scoping/_smartgroup_form.html"},
        context={
            "group": group,
            "seen": _seen(request, group, changed),
            "changed": changed,
            "section": section,
            "form": form,
            "is_bound": request.method == "POST",
            "rows": [
                (row, _picked(row, directory), _found(request, row))
                for row in criteria.rows
            ],
            "touched": criteria.touched,
            "count": len(criteria.rows),
            "fields": fields_for(inventory_of(kind)),
            "device_groups": [
                (key, name) for key, name in groups.items() if key != own
            ],
            "may_search": request.user.has_perm(SEARCH_PERM),
            "search_privilege": getattr(request.user, "privilege_name", str)(
                SEARCH_PERM
            ),
            "amounts": amounts,
            "names": names,
            "device_route": f"scoping:{section.route}-detail",
            "sentence": _sentence(criteria.criteria, kind),
            "edit_url": url(kind, page, group.pk) if group else url(kind, page),
            "cancel_url": group.get_absolute_url() if group else url(kind, "list"),
            "crumbs": crumbs,
            "directory_as_of": as_of(timezone.now()),
        },
        status=409 if changed else 422 if refused else 200,
    )


def _seen(request: ConsoleRequest, group: SmartGroup | None, changed: str) -> str:
    """The mark of the group as the person has seen it."""
    if group is None:
        return ""
    known = "" if changed else request.POST.get("seen", "")
    return known or smart_groups.mark_of(group)


def _sentence(criteria: Sequence[Criterion], kind: str) -> str:
    text = smart_groups.in_words(criteria, kind)
    return text[:1].upper() + text[1:]


def _check(
    request: ConsoleRequest,
    kind: str,
    group: SmartGroup | None,
    criteria: CriteriaForm,
    *,
    refused: bool,
) -> tuple[Criteria | None, CriteriaForm]:
    """Whether the draft can be judged; errors are shown once it was to be saved."""
    try:
        parsed, _ = smart_groups.check(
            criteria.criteria, kind=kind, group=group, viewer=request.user
        )
    except CriteriaError as error:
        if refused:
            criteria = criteria.with_problems(error.problems)
        return None, criteria
    return parsed, criteria


def _preview(
    request: ConsoleRequest,
    kind: str,
    group: SmartGroup | None,
    form: GroupForm,
    parsed: Criteria | None,
) -> tuple[list[Amount], list[Names]]:
    if parsed is None:
        return [], []
    site_id = group.site_id if group is not None else None
    if form.is_bound and form.is_valid():
        site = form.cleaned_data["site"]
        site_id = site.pk if site is not None else None
    found = smart_groups.preview(
        kind=kind, site_id=site_id, criteria=parsed, group=group, now=timezone.now()
    ).within(visible_ids(request.user, kind))
    words: Mapping[str, str] = {
        "gained": "become members",
        "lost": "are no longer members",
        "unknown": "unknown: they stay as they are",
        "unchanged": "members as before",
    }
    return names_behind(found, DeviceKind(kind), request.user, words)


def _picked(row: CriterionRow, directory: DirectoryRows) -> dict[str, str] | None:
    ref = row.criterion.ref
    if ref is None:
        return None
    described = directory.describe(ref)
    group, connection = directory.group(ref), directory.connection(ref)
    parts = []
    if group is not None:
        number = group.transitive_users if row.criterion.nested else group.direct_users
        parts.append(f"{number:,} {'member' if number == 1 else 'members'}")
        parts.append(group.mail or group.object_id)
    else:
        parts.append(ref.object_id)
    parts.append(connection.display_name if connection else f"tenant {ref.tenant_id}")
    return {
        "name": described.name,
        "detail": " · ".join(parts),
        "broken": described.why_broken,
    }


def _found(request: ConsoleRequest, row: CriterionRow) -> list[dict[str, str]] | None:
    """The directory groups that a row's search found; None where nothing was typed."""
    if not row.q or not request.user.has_perm(SEARCH_PERM):
        return None
    groups = DirectoryGroup.objects.present().filter(
        cloud_idp__enabled=True, cloud_idp__first_complete_read_at__isnull=False
    )
    return [
        {
            "value": f"{group.cloud_idp.tenant_id}/{group.object_id}",
            "name": str(group),
            "detail": f"{group.transitive_users:,} members"
            f" · {group.mail or group.object_id} · {group.cloud_idp.display_name}",
        }
        for group in matching(groups, row.q)
        .select_related("cloud_idp")
        .order_by("sort_key")[:FOUND]
    ]


def group_delete(request: ConsoleRequest, *, kind: str, pk: int) -> HttpResponse:
    """Delete a group that nothing names, having said what it holds."""
    group = get_group(request, kind, pk, "delete")
    refusal, status = "", 200
    if request.method == "POST":
        name = group.name
        try:
            delete_smart_group(group=group, actor=request.user, now=timezone.now())
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
            "what": "smart group",
            "devices": counted(group.member_count, kind),
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
