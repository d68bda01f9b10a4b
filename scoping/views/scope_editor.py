"""The scope editor: three columns, pickers, and what the draft would do to devices.

The draft lives in the form, so that nothing typed is lost by an error, a reload of a
part of the page, or a browser without JavaScript.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from django.contrib import messages
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from pyroaring import BitMap

from directory.dependents import ObjectRef
from directory.freshness import as_of
from directory.models import DirectoryGroup
from directory.search import matching
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.components import Amount, Crumb
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from scoping import facts, scopes
from scoping.drafts import Draft, EntryDraft, allowed_kinds, draft_of
from scoping.facts import Fleet
from scoping.forms.scopes import ScopeForm, read_scope_form
from scoping.inventory import SECTIONS
from scoping.matching import fold
from scoping.models import (
    Device,
    DeviceKind,
    Scope,
    ScopeEntry,
    SmartGroup,
    StaticGroup,
)
from scoping.objects import ObjectGone, ObjectKind
from scoping.recompute import ScopedObject, counted
from scoping.verdict import Link
from scoping.views.derivations import link_url
from scoping.views.listing import visible_ids
from scoping.views.objects import crumbs, get_object, gone, url

Kind = ScopeEntry.Kind
Role = ScopeEntry.Role

SHOWN = 20
NAMED = 60
COLUMNS = {
    Role.TARGET: ("Targets", "Which devices get it. Any target is enough."),
    Role.LIMITATION: (
        "Limitations",
        "Of the targets, only those that match. Each heading must match.",
    ),
    Role.EXCLUSION: ("Exclusions", "Never these, whatever else matches."),
}
ICONS = {
    Kind.DEVICE: "device-laptop",
    Kind.SMART_GROUP: "filter-cog",
    Kind.STATIC_GROUP: "list-details",
    Kind.BUILDING: "building",
    Kind.DEPARTMENT: "sitemap",
    Kind.NETWORK_SEGMENT: "network",
    Kind.DIRECTORY_USER: "user",
    Kind.DIRECTORY_GROUP: "users-group",
}
CONSEQUENCES = {
    "gained": "come into scope",
    "lost": "leave the scope",
    "unknown": "unknown: they stay as they are",
    "unchanged": "in scope as before",
}
DIRECTORY_PERMS = {
    Kind.DIRECTORY_USER: "directory.view_directoryuser",
    Kind.DIRECTORY_GROUP: "directory.view_directorygroup",
}


def kind_label(kind: str, device_kind: str, *, plural: bool = True) -> str:
    """Jamf Pro's name of a kind of entry."""
    device = "Computer" if device_kind == DeviceKind.COMPUTER else "Mobile Device"
    single = {
        Kind.DEVICE: device,
        Kind.SMART_GROUP: f"Smart {device} Group",
        Kind.STATIC_GROUP: f"Static {device} Group",
        Kind.BUILDING: "Building",
        Kind.DEPARTMENT: "Department",
        Kind.NETWORK_SEGMENT: "Network Segment",
        Kind.DIRECTORY_USER: "Directory Service/Local User",
        Kind.DIRECTORY_GROUP: "Directory Service User Group",
    }[Kind(kind)]
    return f"{single}s" if plural else single


@dataclass(frozen=True)
class Rebinding:
    """Another group of the same name that a broken entry could mean now."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class EntryLine:
    """An entry as the editor shows it."""

    key: str
    name: str
    kind_label: str
    icon: str
    detail: str = ""
    url: str = ""
    may_nest: bool = False
    nested: bool = False
    nesting_off: bool = False
    broken: str = ""
    error: str = ""
    rebindings: Sequence[Rebinding] = ()


@dataclass(frozen=True)
class Section:
    """The entries of one kind under their heading."""

    heading: str
    lines: Sequence[EntryLine]


@dataclass(frozen=True)
class Option:
    """Something that the search of a picker found."""

    key: str
    name: str
    kind_label: str
    icon: str
    detail: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class Picker:
    """The search below a column."""

    role: str
    kinds: Sequence[tuple[str, str]]
    kind: str
    q: str
    options: Sequence[Option] = ()
    more: bool = False
    searched: bool = False
    refusal: str = ""
    label: str = ""


@dataclass(frozen=True)
class Column:
    """Targets, Limitations or Exclusions."""

    role: str
    title: str
    help: str
    sections: Sequence[Section]
    picker: Picker
    empty: str
    touched: bool = False


@dataclass(frozen=True)
class Names:
    """Devices by name behind a number, and how many more there are."""

    kind: str
    label: str
    count: int
    devices: Sequence[Device] = field(default_factory=tuple)

    @property
    def more(self) -> int:
        return self.count - len(self.devices)


# Details of what entries name ----------------------------------------------------


def _details(
    entries: Sequence[EntryDraft], kind: str, fleet: Fleet
) -> Mapping[str, str]:
    """What tells the things of a name apart, and how many they hold, by entry key."""
    ids: dict[str, list[int]] = {}
    for entry in entries:
        if entry.ref_id is not None:
            ids.setdefault(entry.kind, []).append(entry.ref_id)
    found: dict[tuple[str, int], str] = {}
    for row in Device.objects.filter(pk__in=ids.get(Kind.DEVICE, [])):
        found[Kind.DEVICE, row.pk] = row.serial_number
    for group in SmartGroup.objects.filter(pk__in=ids.get(Kind.SMART_GROUP, [])):
        text = counted(group.member_count, kind)
        if group.unknown_count:
            text += f", {group.unknown_count:,} unknown"
        found[Kind.SMART_GROUP, group.pk] = text
    for static in StaticGroup.objects.filter(
        pk__in=ids.get(Kind.STATIC_GROUP, [])
    ).annotate(number=Count("devices")):
        found[Kind.STATIC_GROUP, static.pk] = counted(static.number, kind)
    for sort, rows in (
        (Kind.BUILDING, fleet.buildings),
        (Kind.DEPARTMENT, fleet.departments),
    ):
        for pk in ids.get(sort, []):
            found[sort, pk] = counted(len(rows.get(pk, ())), kind)
    segments = facts.names(kind).segments
    for pk in ids.get(Kind.NETWORK_SEGMENT, []):
        if pk in segments:
            segment = segments[pk]
            found[Kind.NETWORK_SEGMENT, pk] = (
                f"{segment.starting_address} – {segment.ending_address}"
            )
    details = {
        entry.key: found.get((entry.kind, entry.ref_id or 0), "") for entry in entries
    }
    for entry in entries:
        if entry.ref is not None:
            details[entry.key] = _directory_detail(entry, fleet)
        elif entry.is_local_user:
            details[entry.key] = "local user"
    return details


def _directory_detail(entry: EntryDraft, fleet: Fleet) -> str:
    assert entry.ref is not None  # noqa: S101 - the caller's condition, for the types
    connection = fleet.directory.connection(entry.ref)
    where = connection.display_name if connection else f"tenant {entry.ref.tenant_id}"
    if entry.kind == Kind.DIRECTORY_USER:
        user = fleet.directory.user(entry.ref)
        name = user.user_principal_name if user is not None else entry.ref.object_id
        return f"{name} · {where}"
    group = fleet.directory.group(entry.ref)
    if group is None:
        return f"{entry.ref.object_id} · {where}"
    return f"{_members(group, nested=entry.nested)}{_apart(group)} · {where}"


def _members(group: DirectoryGroup, *, nested: bool) -> str:
    if group.hidden_membership:
        return "hidden members"
    number = group.transitive_users if nested else group.direct_users
    return f"{number:,} {'member' if number == 1 else 'members'}"


def _apart(group: DirectoryGroup) -> str:
    return f" · {group.mail}" if group.mail else f" · {group.object_id}"


def _link(entry: EntryDraft, kind: str, viewer: ConsoleUser, fleet: Fleet) -> str:
    if entry.ref is not None:
        link = fleet.directory.describe(entry.ref).link
        return link_url(link, viewer=viewer, device_kind=kind)
    if entry.ref_id is None:
        return ""
    link = Link(Kind(entry.kind).value.lower(), str(entry.ref_id))
    return link_url(link, viewer=viewer, device_kind=kind)


def _lines(
    draft: Draft,
    kind: str,
    fleet: Fleet,
    viewer: ConsoleUser,
    errors: Mapping[str, str],
) -> dict[str, list[tuple[EntryDraft, EntryLine]]]:
    details = _details(draft.entries, kind, fleet)
    names = facts.names(kind, draft.device_ids)
    found: dict[str, list[tuple[EntryDraft, EntryLine]]] = {}
    for entry in draft.entries:
        if entry.key in errors:
            refused = _refused(entry, kind, errors[entry.key])
            found.setdefault(entry.role, []).append((entry, refused))
            continue
        broken, rebindings = "", list[Rebinding]()
        name = entry.label
        if entry.ref is not None:
            described = fleet.directory.describe(entry.ref)
            name, broken = described.name, described.why_broken
            if broken and entry.kind == Kind.DIRECTORY_GROUP:
                rebindings = _rebindings(entry, name)
        elif not entry.is_local_user:
            current = names.of(entry.kind, entry.ref_id)
            if current is None:
                noun = kind_label(entry.kind, kind, plural=False).lower()
                broken = f"This {noun} was deleted."
            name = current or entry.label or f"Number {entry.ref_id}"
        line = EntryLine(
            key=entry.key,
            name=name,
            kind_label=kind_label(entry.kind, kind, plural=False),
            icon=_icon(entry.kind, kind),
            detail=details.get(entry.key, ""),
            url=_link(entry, kind, viewer, fleet),
            may_nest=entry.kind == Kind.DIRECTORY_GROUP,
            nested=entry.nested,
            nesting_off=entry.ref is not None
            and not fleet.directory.counts_nested(entry.ref),
            broken=broken,
            rebindings=rebindings,
        )
        found.setdefault(entry.role, []).append((entry, line))
    return found


def _refused(entry: EntryDraft, kind: str, error: str) -> EntryLine:
    """An entry that may not be saved, without a word of what it names."""
    number = entry.ref.object_id if entry.ref is not None else str(entry.ref_id)
    label = kind_label(entry.kind, kind, plural=False)
    return EntryLine(
        key=entry.key,
        name=f"{label} {number}",
        kind_label=label,
        icon=_icon(entry.kind, kind),
        error=error,
    )


def _icon(kind: str, device_kind: str) -> str:
    if kind == Kind.DEVICE and device_kind == DeviceKind.MOBILE:
        return "device-ipad"
    return ICONS[Kind(kind)]


def _rebindings(entry: EntryDraft, name: str) -> list[Rebinding]:
    """Groups of the same name: never taken by themselves, only offered."""
    rows = (
        scopes.choices(Kind.DIRECTORY_GROUP, "", site_id=None, viewer=None)
        .filter(display_name__iexact=name)
        .select_related("cloud_idp")[:5]
    )
    found = []
    for row in rows:
        ref = ObjectRef(row.cloud_idp.tenant_id, row.object_id)
        if ref == entry.ref:
            continue
        new = EntryDraft(role=entry.role, kind=entry.kind, ref=ref)
        found.append(
            Rebinding(
                value=f"{entry.key}>{new.key}",
                label=str(row),
                detail=f"{_members(row, nested=True)}{_apart(row)}"
                f" · {row.cloud_idp.display_name}",
            )
        )
    return found


# Pickers -------------------------------------------------------------------------


def picker(
    request: ConsoleRequest,
    obj: ScopedObject,
    role: str,
    data: Mapping[str, Any],
    draft: Draft,
) -> Picker:
    """The search of a column: its kinds, what was typed and what was found."""
    kind = obj.scope.kind
    kinds = [(each.value, kind_label(each, kind)) for each in allowed_kinds(role)]
    chosen = str(data.get(f"pick_kind_{role}", ""))
    if chosen not in dict(kinds):
        default = Kind.DIRECTORY_GROUP if role != Role.TARGET else Kind.SMART_GROUP
        chosen = default.value
    q = str(data.get(f"pick_q_{role}", "")).strip()
    asked = f"pick_q_{role}" in data
    label = dict(kinds)[chosen]
    if not asked:
        return Picker(role, kinds, chosen, "", label=label)
    perm = DIRECTORY_PERMS.get(Kind(chosen))
    if perm and not request.user.has_perm(perm):
        name = getattr(request.user, "privilege_name", str)(perm)
        refusal = f"Searching the directory needs a privilege that you lack: {name}."
        options, more = _local_user(role, chosen, q, draft), False
        return Picker(role, kinds, chosen, q, options, more, True, refusal, label)
    options, more = _options(request.user, obj, role, chosen, q, draft)
    return Picker(role, kinds, chosen, q, options, more, True, "", label)


def _options(
    viewer: ConsoleUser, obj: ScopedObject, role: str, kind: str, q: str, draft: Draft
) -> tuple[list[Option], bool]:
    device_kind = obj.scope.kind
    rows = scopes.choices(kind, device_kind, site_id=obj.site_id, viewer=viewer)
    if kind in ScopeEntry.DIRECTORY:
        rows = matching(rows, q).select_related("cloud_idp").order_by("sort_key")
    elif kind == Kind.DEVICE:
        rows = rows.filter(search__contains=fold(q)).order_by("name", "pk")
    else:
        rows = rows.filter(name__icontains=q).order_by("name")
    if kind == Kind.STATIC_GROUP:
        rows = rows.annotate(number=Count("devices"))
    if kind in {Kind.BUILDING, Kind.DEPARTMENT}:
        rows = rows.annotate(number=Count("devices"))
    found = list(rows[: SHOWN + 1])
    known = {each.key for each in draft.entries}
    options = []
    for row in found[:SHOWN]:
        entry = EntryDraft(
            role=role,
            kind=kind,
            ref=ObjectRef(row.cloud_idp.tenant_id, row.object_id)
            if kind in ScopeEntry.DIRECTORY
            else None,
            ref_id=None if kind in ScopeEntry.DIRECTORY else row.pk,
        )
        options.append(
            Option(
                key=entry.key,
                name=str(row),
                kind_label=kind_label(kind, device_kind, plural=False),
                icon=_icon(kind, device_kind),
                detail=_option_detail(row, kind, device_kind),
                chosen=entry.key in known,
            )
        )
    if kind == Kind.DIRECTORY_USER:
        options += _local_user(role, kind, q, draft)
    return options, len(found) > SHOWN


def _local_user(role: str, kind: str, q: str, draft: Draft) -> list[Option]:
    if kind != Kind.DIRECTORY_USER or not q or len(q) > 255:
        return []
    entry = EntryDraft(role=role, kind=kind, label=q)
    return [
        Option(
            key=f"{role}|{kind}|={q}",
            name=q,
            kind_label="Local user",
            icon="user",
            detail="a local user: matched by this user name, where no directory has it",
            chosen=entry.key in {each.key for each in draft.entries},
        )
    ]


def _option_detail(row: Any, kind: str, device_kind: str) -> str:
    match Kind(kind):
        case Kind.DEVICE:
            return " · ".join(filter(None, [row.serial_number, row.model]))
        case Kind.SMART_GROUP:
            return counted(row.member_count, device_kind)
        case Kind.STATIC_GROUP | Kind.BUILDING | Kind.DEPARTMENT:
            return f"{row.number:,} {'device' if row.number == 1 else 'devices'}"
        case Kind.NETWORK_SEGMENT:
            return f"{row.starting_address} – {row.ending_address}"
        case Kind.DIRECTORY_GROUP:
            return (
                f"{_members(row, nested=True)}{_apart(row)}"
                f" · {row.cloud_idp.display_name}"
            )
        case Kind.DIRECTORY_USER:
            state = " · disabled" if row.account_enabled is False else ""
            return f"{row.user_principal_name}{state} · {row.cloud_idp.display_name}"


def scope_picker(request: ConsoleRequest, *, kind: ObjectKind, pk: int) -> HttpResponse:
    """What a search in one column finds; a part of the editor."""
    obj = get_object(request, kind, pk, "change")
    role = request.GET.get("role", "")
    role = role if role in Role.values else Role.TARGET.value
    data = request.POST or request.GET
    draft = read_scope_form(data, kind=kind.device_kind).draft
    return render(
        request,
        "scoping/_scope_picker.html",
        {
            "picker": picker(request, obj, role, data, draft),
            "edit_url": url(kind, "scope-edit", obj.pk),
        },
    )


# The page ------------------------------------------------------------------------


def scope_edit(request: ConsoleRequest, *, kind: ObjectKind, pk: int) -> HttpResponse:
    """Edit the scope of an object. GET shows it, POST changes the draft or saves it."""
    if request.method != "POST":
        obj = get_object(request, kind, pk, "change")
        form = ScopeForm(draft=draft_of(obj.scope), version=obj.scope.version)
        return _editor(request, kind, obj, form)
    form = read_scope_form(request.POST, kind=kind.device_kind)
    try:
        obj = get_object(request, kind, pk, "change")
    except Http404:
        return gone(request, kind, _in_words(request, kind, form.draft))
    if not form.wants_to_save or form.problems:
        return _editor(request, kind, obj, form, status=422 if form.problems else 200)
    try:
        done = scopes.save(
            obj=obj,
            draft=form.draft,
            version=form.version,
            actor=request.user,
            now=timezone.now(),
            viewer=request.user,
        )
    except scopes.ScopeRefused as error:
        errors = {problem.key: problem.message for problem in error.problems}
        return _editor(request, kind, obj, form, errors=errors, status=422)
    except scopes.ScopeChanged as error:
        obj = get_object(request, kind, pk, "change")
        # The next save is made knowingly, over the scope that is shown.
        current = ScopeForm(draft=form.draft, version=obj.scope.version)
        return _editor(request, kind, obj, current, conflict=str(error), status=409)
    except ObjectGone:
        return gone(request, kind, _in_words(request, kind, form.draft))
    visible = done.within(visible_ids(request.user, kind.device_kind))
    messages.success(
        request,
        f"The scope was saved: {counted(len(visible.gained), kind.device_kind)} gained,"
        f" {len(visible.lost):,} lost, {len(visible.unknown):,} unknown.",
    )
    return redirect(url(kind, "scope", obj.pk))


def _in_words(
    request: ConsoleRequest, kind: ObjectKind, draft: Draft
) -> list[tuple[str, str]]:
    """The draft of an object that is not there (any more), for the person to keep."""
    named = scopes.labelled(draft, kind.device_kind, Draft(), viewer=request.user)
    found = []
    if draft.all_devices:
        plural = SECTIONS[kind.device_kind].plural
        found.append(("Target", f"All {plural}"))
    for entry in named.entries:
        label = kind_label(entry.kind, kind.device_kind, plural=False)
        number = entry.ref.object_id if entry.ref is not None else entry.ref_id
        found.append((f"{Role(entry.role).label}, {label}", entry.label or str(number)))
    return found


def _editor(
    request: ConsoleRequest,
    kind: ObjectKind,
    obj: ScopedObject,
    form: ScopeForm,
    *,
    errors: Mapping[str, str] | None = None,
    conflict: str = "",
    status: int = 200,
) -> HttpResponse:
    device_kind = kind.device_kind
    saved = draft_of(obj.scope)
    if errors is None:
        # What cannot be saved is said as soon as it is in the draft.
        problems = scopes.check(
            draft=form.draft,
            saved=saved,
            kind=device_kind,
            site_id=obj.site_id,
            viewer=request.user,
        )
        errors = {problem.key: problem.message for problem in problems}
    draft = scopes.labelled(form.draft, device_kind, saved)
    fleet = scopes.fleet_for(draft, device_kind)
    # What may not be chosen is neither named nor judged: it may be of a foreign site.
    allowed = replace(
        draft, entries=tuple(each for each in draft.entries if each.key not in errors)
    )
    preview = scopes.preview(obj=obj, draft=allowed, fleet=fleet).within(
        visible_ids(request.user, device_kind)
    )
    lines = _lines(draft, device_kind, fleet, request.user, errors)
    changed = (
        {(each.key, each.nested) for each in draft.entries}
        != {(each.key, each.nested) for each in saved.entries}
        or draft.all_devices != saved.all_devices
        or draft.principal != saved.principal
    )
    section = SECTIONS[device_kind]
    amounts, names = names_behind(preview, device_kind, request.user, CONSEQUENCES)
    context = {
        "kind": kind,
        "object": obj,
        "section": section,
        "crumbs": [*crumbs(kind, obj), _scope_crumb(kind, obj)],
        "edit_url": url(kind, "scope-edit", obj.pk),
        "picker_url": url(kind, "scope-picker", obj.pk),
        "cancel_url": url(kind, "scope", obj.pk),
        "version": form.version,
        "draft": draft,
        "columns": [
            _column(request, obj, role, draft, lines.get(role, []), form.touched)
            for role in Role
        ],
        "is_mobile": device_kind == DeviceKind.MOBILE,
        "principals": _principals(obj, draft),
        "sentence": preview.sentence,
        "saved_sentence": scopes.sentence_of(obj.scope, saved) if conflict else (),
        "amounts": amounts,
        "names": names,
        "held": counted(len(preview.held), device_kind),
        "not_held": len(preview.unknown) - len(preview.held),
        "ended": [
            (each.kind, counted(len(each.gained), device_kind))
            for each in preview.ended
        ],
        "device_route": f"scoping:{section.route}-detail",
        "changed": changed,
        "conflict": conflict,
        "directory_as_of": as_of(timezone.now()),
        "form_problems": form.problems,
        "has_errors": bool(errors),
    }
    return page_or_fragment(
        request,
        page="scoping/scope_editor.html",
        fragments={"scope-editor": "scoping/_scope_editor.html"},
        context=context,
        status=status,
    )


def _scope_crumb(kind: ObjectKind, obj: ScopedObject) -> Crumb:
    return Crumb("Scope", url(kind, "scope", obj.pk))


def _column(
    request: ConsoleRequest,
    obj: ScopedObject,
    role: Role,
    draft: Draft,
    lines: Sequence[tuple[EntryDraft, EntryLine]],
    touched: str,
) -> Column:
    kind = obj.scope.kind
    noun = SECTIONS[DeviceKind(kind)].plural
    title, help_text = COLUMNS[role]
    order = [
        *(each for each in allowed_kinds(role) if each not in ScopeEntry.DIRECTORY),
        *(each for each in allowed_kinds(role) if each in ScopeEntry.DIRECTORY),
    ]
    if role == Role.LIMITATION:
        order.reverse()
        order.sort(key=lambda each: each not in ScopeEntry.DIRECTORY)
    sections = [
        Section(kind_label(each, kind), found)
        for each in order
        if (found := [line for entry, line in lines if entry.kind == each])
    ]
    empty = {
        Role.TARGET: f"All {noun}."
        if draft.all_devices
        else "No target: nobody gets it.",
        Role.LIMITATION: "Not limited.",
        Role.EXCLUSION: "Nobody is excluded.",
    }[role]
    return Column(
        role=role.value,
        title=title,
        help=help_text,
        sections=sections,
        picker=picker(request, obj, role, request.POST, draft),
        empty=empty,
        touched=touched == role,
    )


def _principals(obj: ScopedObject, draft: Draft) -> list[tuple[str, str, str, bool]]:
    channel = {
        "AGENT": "as the agent last reported, since the agent runs policies",
        "MDM": "as MDM last reported, since MDM installs profiles",
        "SELF_SERVICE": "as Self Service last reported",
    }[obj.scope.channel]
    helps = {
        Scope.Principal.LOGGED_IN: f"Whoever was logged in, {channel}. Nobody logged in"
        " matches nothing; a computer that never reported is unknown.",
        Scope.Principal.ASSIGNED: "The user assigned under User and Location, whoever"
        " is logged in.",
    }
    return [
        (choice.value, choice.label, helps[choice], draft.principal == choice)
        for choice in Scope.Principal
    ]


def names_behind(
    preview: scopes.Preview,
    kind: DeviceKind,
    viewer: ConsoleUser,
    words: Mapping[str, str],
) -> tuple[list[Amount], list[Names]]:
    """The numbers of a preview, each leading to the devices behind it by name."""
    sets: Mapping[Literal["gained", "lost", "unknown", "unchanged"], BitMap] = {
        "gained": preview.gained,
        "lost": preview.lost,
        "unknown": preview.unknown,
        "unchanged": preview.unchanged,
    }
    perm = SECTIONS[kind].perm("view")
    names, amounts = [], []
    for name, ids in sets.items():
        amounts.append(Amount(name, len(ids), f"#devices-{name}" * bool(ids)))
        if not ids:
            continue
        rows = visible_to(Device.objects.filter(kind=kind), viewer, perm)
        # The numbers are known; nobody reads all the names of a large fleet here.
        devices = rows.filter(pk__in=list(ids)).order_by("name", "pk")[:NAMED]
        names.append(Names(name, words[name], len(ids), tuple(devices)))
    return amounts, names
