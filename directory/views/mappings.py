"""The Mappings tab of a connection: mappings, their preview, what others would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from directory import freshness, lookup, mapping_drafts, tasks
from directory.attributes import (
    GROUP_FIELDS,
    LABELS,
    REFUSED,
    USER_FIELDS,
    by_heading,
    defaults,
)
from directory.dependents import NameConsequence, registered_mapped_names
from directory.forms import MappingsForm, PreviewForm
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryUser,
    MappingDraft,
)
from directory.views.connections import CHANGE, VIEW
from directory.views.connections import _connection as connection_of
from directory.views.connections import _frame as connection_frame
from directory.views.run_statistics import took
from directory.views.saving import see_other
from jamfidp.access import privilege, refuse
from jamfidp.htmx import ConsoleRequest, page_or_fragment

PLACES = {"department": "departments", "building": "buildings"}
PEOPLE = "directory.view_directoryuser"
FEW = 12
WAITING_TOO_LONG = timedelta(seconds=15)
GONE = (
    "These mappings are no longer there: they were saved or dropped, somebody proposed "
    "others, or a day has passed."
)


def _mappings_url(pk: int) -> str:
    return reverse("directory:cloud-idp-mappings", args=[pk])


@privilege(VIEW)
@require_http_methods(["GET", "POST"])
def cloud_idp_mappings(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Choose other mappings. Nothing is saved here: the next page says what they do."""
    cloud_idp = connection_of(pk)
    may_change = request.user.has_perm(CHANGE)
    if request.method != "POST":
        form = MappingsForm(instance=cloud_idp.mappings) if may_change else None
        return _mappings_page(request, cloud_idp, form)
    if not may_change:
        return refuse(request, CHANGE)
    form = MappingsForm(request.POST, instance=connection_of(pk).mappings)
    if not form.is_valid():
        return _mappings_page(request, cloud_idp, form, status=422)
    if "preview" in request.POST:
        return _preview(request, cloud_idp, form)
    now = timezone.now()
    try:
        draft = mapping_drafts.propose(
            form.save(commit=False), actor=request.user, now=now
        )
    except mapping_drafts.NothingChanges:
        messages.info(
            request, "These are the mappings that stand. Nothing was changed."
        )
        return see_other(_mappings_url(pk))
    transaction.on_commit(lambda: tasks.announce_draft(draft, now=now))
    return see_other(draft.get_absolute_url())


def _preview(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider, form: MappingsForm
) -> HttpResponse:
    if not request.user.has_perm(PEOPLE):
        return refuse(request, PEOPLE)
    person = PreviewForm(request.POST)
    if not person.is_valid():
        return _mappings_page(request, cloud_idp, form, person=person, status=422)
    preview = lookup.preview_person(
        cloud_idp,
        text=person.cleaned_data["person"],
        proposed=form.save(commit=False),
    )
    return _mappings_page(request, cloud_idp, form, person=person, preview=preview)


def _mappings_page(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    form: MappingsForm | None,
    *,
    person: PreviewForm | None = None,
    preview: lookup.Preview | None = None,
    status: int = 200,
) -> HttpResponse:
    standard = defaults()
    return page_or_fragment(
        request,
        page="directory/cloud_idp_mappings.html",
        fragments={"mapping-preview": "directory/_mapping_preview.html"},
        context={
            **connection_frame(request, cloud_idp, "Mappings"),
            "form": form,
            "person": person or PreviewForm(),
            "may_preview": request.user.has_perm(PEOPLE),
            "preview": preview,
            "draft": MappingDraft.objects.filter(cloud_idp=cloud_idp).first(),
            "rows": [
                (LABELS[name], getattr(cloud_idp.mappings, name), standard[name])
                for name in (*USER_FIELDS, *GROUP_FIELDS)
            ],
        },
        status=status,
    )


@privilege(VIEW)
@require_GET
def mapping_properties(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Every property that can be mapped, and which cannot, and why."""
    return render(
        request,
        "directory/mapping_properties.html",
        {
            **connection_frame(request, connection_of(pk), "Mappings"),
            "headings": by_heading(),
            "refused": REFUSED,
        },
    )


# --- What the proposed mappings would do --------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Departments, or buildings, that people would have and the console does not."""

    field: str
    plural: str
    too_many: bool
    missing: Sequence[tuple[str, int]]
    known: int
    may_create: bool

    @property
    def few(self) -> bool:
        """Whether they are shown without being asked for."""
        return len(self.missing) <= FEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """A user name that several people would have; some of them with their pages."""

    name: str
    people: int
    shown: Sequence[DirectoryUser]


def _draft_of(cloud_idp: CloudIdentityProvider) -> MappingDraft | None:
    draft = (
        MappingDraft.objects.select_related("created_by")
        .filter(cloud_idp=cloud_idp)
        .first()
    )
    if draft is not None:
        draft.cloud_idp = cloud_idp
    return draft


@privilege(CHANGE)
@require_GET
def mapping_effect(request: ConsoleRequest, pk: int) -> HttpResponse:
    """How far a worker has come, then what it counted, and Save."""
    cloud_idp = connection_of(pk)
    draft = _draft_of(cloud_idp)
    if draft is None:
        return page_or_fragment(
            request,
            page="directory/mapping_effect.html",
            fragments={"mapping-effect": "directory/_mapping_effect.html"},
            context=connection_frame(request, cloud_idp, "Mappings"),
        )
    return _effect_page(request, cloud_idp, draft)


def _effect_page(
    request: ConsoleRequest,
    cloud_idp: CloudIdentityProvider,
    draft: MappingDraft,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    now = timezone.now()
    ready = draft.state == MappingDraft.State.READY
    return page_or_fragment(
        request,
        page="directory/mapping_effect.html",
        fragments={"mapping-effect": "directory/_mapping_effect.html"},
        context={
            **connection_frame(request, cloud_idp, "Mappings"),
            "draft": draft,
            "problem": problem,
            "differences": _differences(draft),
            "progress": _progress(draft, now),
            "workers": freshness.workers(now),
            "waiting_too_long": draft.state == MappingDraft.State.WAITING
            and draft.created_at < now - WAITING_TOO_LONG,
            "outdated": mapping_drafts.outdated(draft) if ready else "",
            **(_shown(draft, request.user) if ready else {}),
        },
        status=status,
    )


def _differences(draft: MappingDraft) -> list[tuple[str, str, str]]:
    before = draft.basis["mappings"]
    return [
        (LABELS[name], before[name], after)
        for name, after in draft.mappings.items()
        if before[name] != after
    ]


def _progress(draft: MappingDraft, now: datetime) -> dict[str, Any]:
    seconds = 0.0
    if draft.started_at is not None:
        seconds = ((draft.finished_at or now) - draft.started_at).total_seconds()
    return {
        "phase": draft.phase or draft.get_state_display(),
        "counts": [("Pages", draft.pages), ("People", draft.people_read)],
        "elapsed": took(seconds) if draft.started_at else "",
        "rate": f"{draft.people_read / seconds:,.0f} a second"
        if draft.is_active and seconds >= 1 and draft.people_read
        else "",
    }


def _shown(draft: MappingDraft, viewer: Any) -> dict[str, Any]:
    effect = draft.effect
    may_see = viewer.has_perm(PEOPLE)
    unmapped = {
        name
        for name, after in draft.mappings.items()
        if draft.basis["mappings"][name] and not after
    }
    consequences: list[NameConsequence] = []
    for at, feature in enumerate(registered_mapped_names()):
        watched = effect["watched"][at] if at < len(effect["watched"]) else {}
        consequences += feature.consequences(
            watched,
            tenant_id=draft.cloud_idp.tenant_id,
            unmapped=unmapped,
            viewer=viewer,
        )
    return {
        "effect": effect,
        "attributes": [
            (LABELS[name], kinds)
            for name, kinds in effect["changes"].items()
            if any(kinds.values())
        ],
        "collisions": _collisions(draft) if may_see else [],
        "may_see_people": may_see,
        "consequences": consequences,
        "places": [_place(field, effect["places"][field], viewer) for field in PLACES],
    }


def _collisions(draft: MappingDraft) -> list[Collision]:
    shown = draft.effect["collisions"]["shown"]
    ids = {object_id for each in shown for object_id in each["ids"]}
    people = {
        person.object_id: person
        for person in DirectoryUser.objects.filter(
            cloud_idp=draft.cloud_idp, object_id__in=ids
        )
    }
    return [
        Collision(
            name=each["name"],
            people=each["people"],
            shown=[people[one] for one in each["ids"] if one in people],
        )
        for each in shown
    ]


def _place(field: str, counted: dict[str, Any], viewer: Any) -> Place:
    values: dict[str, int] = counted["values"]
    missing: list[str] = list(values)
    may_create = False
    for feature in registered_mapped_names():
        missing = list(feature.without_counterpart(field, missing))
        may_create = may_create or feature.may_create(field, viewer)
    return Place(
        field=field,
        plural=PLACES[field],
        too_many=counted["too_many"],
        missing=sorted(
            ((value, values[value]) for value in missing),
            key=lambda pair: (-pair[1], pair[0]),
        ),
        known=len(values),
        may_create=may_create,
    )


def _same_draft(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider
) -> MappingDraft | None:
    """Return the draft that the page was about, unless it is gone or another one."""
    draft = _draft_of(cloud_idp)
    if draft is None or str(draft.pk) != request.POST.get("draft"):
        messages.error(request, f"{GONE} Nothing was changed.")
        return None
    return draft


@privilege(CHANGE)
@require_POST
def mapping_effect_save(request: ConsoleRequest, pk: int) -> HttpResponse:
    cloud_idp = connection_of(pk)
    draft = _same_draft(request, cloud_idp)
    if draft is None:
        return see_other(_mappings_url(pk))
    now = timezone.now()
    try:
        run = mapping_drafts.save(
            draft.pk,
            without_effect=request.POST.get("without_effect") == "on",
            actor=request.user,
            now=now,
        )
    except MappingDraft.DoesNotExist:
        messages.error(request, f"{GONE} Nothing was changed.")
        return see_other(_mappings_url(pk))
    except mapping_drafts.Outdated as outdated:
        problem = f"{outdated} Nothing was saved. Look again."
        return _effect_page(request, cloud_idp, draft, problem=problem, status=409)
    except mapping_drafts.NotKnown:
        problem = "What these mappings would do is not known. Nothing was saved."
        return _effect_page(request, cloud_idp, draft, problem=problem, status=422)
    if run is not None:
        transaction.on_commit(lambda: tasks.announce(run, now=now))
        messages.success(
            request,
            "The mappings were saved. The whole directory is read again; until then "
            "the attributes are those of the last read.",
        )
    else:
        messages.success(request, "The mappings were saved.")
    return see_other(_mappings_url(pk))


@privilege(CHANGE)
@require_POST
def mapping_effect_drop(request: ConsoleRequest, pk: int) -> HttpResponse:
    draft = _same_draft(request, connection_of(pk))
    if draft is not None:
        mapping_drafts.drop(draft)
        messages.success(request, "Nothing was changed.")
    return see_other(_mappings_url(pk))


@privilege(CHANGE)
@require_POST
def mapping_effect_again(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Have the same mappings looked at again."""
    cloud_idp = connection_of(pk)
    draft = _same_draft(request, cloud_idp)
    if draft is None:
        return see_other(_mappings_url(pk))
    now = timezone.now()
    proposed = AttributeMappings(cloud_idp=cloud_idp, **draft.mappings)
    try:
        again = mapping_drafts.propose(proposed, actor=request.user, now=now)
    except mapping_drafts.NothingChanges:
        mapping_drafts.drop(draft)
        messages.info(
            request, "These are the mappings that stand. Nothing was changed."
        )
        return see_other(_mappings_url(pk))
    transaction.on_commit(lambda: tasks.announce_draft(again, now=now))
    return see_other(again.get_absolute_url())


@privilege(CHANGE)
@require_POST
def mapping_effect_create(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Create the departments or buildings chosen among those that have no counterpart."""
    cloud_idp = connection_of(pk)
    field = request.POST.get("field", "")
    draft = _same_draft(request, cloud_idp)
    if draft is None or field not in PLACES or draft.state != MappingDraft.State.READY:
        return see_other(_mappings_url(pk))
    values = draft.effect["places"][field]["values"]
    chosen = [value for value in request.POST.getlist("value") if value in values]
    created = 0
    for feature in registered_mapped_names():
        if not feature.may_create(field, request.user):
            return refuse(request, f"scoping.add_{field}")
        created += feature.create_counterparts(
            field, chosen, actor=request.user, now=timezone.now()
        )
    noun = field if created == 1 else PLACES[field]
    messages.success(request, f"{created:,} {noun} created.")
    return see_other(draft.get_absolute_url())
