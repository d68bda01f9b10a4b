"""Smart groups: devices that meet criteria, calculated whenever something changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from directory.models import DirectoryGroup
from directory.sync.bitmaps import unpack
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.history.record import record
from scoping.criteria import (
    CircularGroups,
    Criteria,
    CriteriaError,
    Criterion,
    Family,
    Problem,
    fields_for,
    parse,
)
from scoping.facts import Fleet
from scoping.models import (
    DeviceKind,
    Site,
    SmartGroup,
    SmartGroupCriterion,
    StaticGroup,
)
from scoping.objects import NameTaken
from scoping.recompute import (
    counted,
    criteria_of,
    criterion_of,
    inventory_of,
    order_of,
    recompute,
)
from scoping.scopes import Preview, compare
from scoping.static_groups import GroupChanged, GroupGone, GroupInUse
from scoping.uses import device_group_key, uses_of_device_group

__all__ = ["GroupGone", "GroupInUse", "NameTaken", "delete_smart_group", "preview"]


CRITERION_COLUMNS = (
    "and_or",
    "name",
    "search_type",
    "value",
    "opening_paren",
    "closing_paren",
    "tenant_id",
    "object_id",
    "nested",
    "device_group",
)


def word(kind: str) -> str:
    """The name in privileges and routes."""
    return (
        "smartcomputergroup"
        if kind == DeviceKind.COMPUTER
        else "smartmobiledevicegroup"
    )


def stored_criteria(group: SmartGroup) -> list[Criterion]:
    return [criterion_of(row) for row in group.criteria.order_by("priority")]


def device_groups(
    kind: str, *, viewer: ConsoleUser | None, site_id: int | None = None
) -> dict[str, str]:
    """The groups that a criterion may name, by key, with their names."""
    found: dict[str, str] = {}
    static_word = word(kind).replace("smart", "static", 1)
    for sort, model, name in (
        ("smart", SmartGroup, word(kind)),
        ("static", StaticGroup, static_word),
    ):
        rows: QuerySet[Any] = model._default_manager.filter(kind=kind)
        if viewer is not None:
            rows = visible_to(rows, viewer, f"scoping.view_{name}")
        for pk, label in rows.order_by("name").values_list("pk", "name"):
            found[f"{sort}:{pk}"] = label
    return found


def check(
    criteria: Sequence[Criterion],
    *,
    kind: str,
    group: SmartGroup | None = None,
    viewer: ConsoleUser | None = None,
) -> tuple[Criteria, list[Criterion]]:
    """The criteria ready to evaluate, and as they are stored, with current names.

    What the group named before may stay, even when it is gone. Raises CriteriaError
    with every problem, circular reliance included.
    """
    ordered = [
        replace(each, priority=position) for position, each in enumerate(criteria)
    ]
    saved = stored_criteria(group) if group is not None else []
    ordered = [_tidied(each, kind) for each in ordered]
    problems: list[Problem] = []
    parsed: Criteria | None = None
    try:
        parsed = parse(ordered, inventory=inventory_of(kind))
    except CriteriaError as error:
        problems += error.problems
    known_groups = device_groups(kind, viewer=viewer)
    kept_groups = {each.device_group: each.value for each in saved if each.device_group}
    kept_refs = {each.ref: each.value for each in saved if each.ref is not None}
    names = _directory_group_names(ordered)
    for position, each in enumerate(ordered):
        if each.device_group:
            name = known_groups.get(each.device_group) or kept_groups.get(
                each.device_group
            )
            if name is None:
                problems.append(
                    Problem(position, "device_group", "This group does not exist here.")
                )
            else:
                ordered[position] = replace(each, value=name)
        if each.ref is not None:
            name = names.get(each.ref.object_id, {}).get(each.ref.tenant_id)
            if name is None and each.ref not in kept_refs:
                problems.append(
                    Problem(
                        position,
                        "ref",
                        "This group is in no directory that is connected and read."
                        " Choose it from the search.",
                    )
                )
            label = name or kept_refs.get(each.ref) or each.value
            ordered[position] = replace(each, value=label[:255])
    if parsed is not None:
        problems += _circle(parsed, kind, group)
    if problems or parsed is None:
        raise CriteriaError(sorted(problems))
    return parse(ordered, inventory=inventory_of(kind)), ordered


def _tidied(criterion: Criterion, kind: str) -> Criterion:
    """Only what the criterion's family uses; the rest of a form row is dropped."""
    families = {each.name: each.family for each in fields_for(inventory_of(kind))}
    family = families.get(criterion.name)
    return replace(
        criterion,
        ref=criterion.ref if family is Family.DIRECTORY_GROUP else None,
        device_group=criterion.device_group if family is Family.GROUP else "",
    )


def _directory_group_names(
    criteria: Sequence[Criterion],
) -> Mapping[str, Mapping[str, str]]:
    objects = [each.ref.object_id for each in criteria if each.ref is not None]
    found: dict[str, dict[str, str]] = {}
    if objects:
        for row in (
            DirectoryGroup.objects.present()
            .filter(object_id__in=objects, cloud_idp__enabled=True)
            .select_related("cloud_idp")
        ):
            found.setdefault(row.object_id, {})[row.cloud_idp.tenant_id] = str(row)
    return found


def _circle(parsed: Criteria, kind: str, group: SmartGroup | None) -> list[Problem]:
    """A group must not rely on itself, not even through others."""
    if group is None:
        return []
    everything = {**criteria_of(kind), group.pk: parsed}
    try:
        order_of(everything)
    except CircularGroups as error:
        pks = [int(key.partition(":")[2]) for key in error.circle]
        names = dict(SmartGroup.objects.filter(pk__in=pks).values_list("pk", "name"))
        shown = " → ".join(names[pk] for pk in pks if pk in names)
        position = next(
            (
                position
                for position, test in enumerate(parsed.tests)
                if test.criterion.device_group in error.circle
            ),
            0,
        )
        return [
            Problem(
                position,
                "device_group",
                f"These smart groups would rely on one another: {shown}. Choose another"
                " group.",
            )
        ]
    return []


def preview(
    *,
    kind: str,
    site_id: int | None,
    criteria: Criteria,
    group: SmartGroup | None = None,
    now: datetime,
) -> Preview:
    """Who would come and go with these criteria. Nothing is saved."""
    refs = {
        test.criterion.ref: test.criterion.value
        for test in criteria.tests
        if test.criterion.ref is not None
    }
    fleet = Fleet(kind, names_of=refs)
    known = fleet.judge_criteria(criteria, site_id=site_id, now=now)
    before = unpack((group.members or None) if group is not None else None)
    return compare(before, known)


def in_words(criteria: Sequence[Criterion], kind: str) -> str:
    """Criteria as one line of text."""
    if not criteria:
        noun = "computers" if kind == DeviceKind.COMPUTER else "mobile devices"
        return f"all managed {noun}"
    parts = []
    for position, each in enumerate(criteria):
        if position:
            parts.append(each.and_or)
        text = f"{each.name} {each.search_type} {each.value or 'empty'}"
        if each.ref is not None and each.nested:
            text += " (nested)"
        opening, closing = "(" * each.opening_paren, ")" * each.closing_paren
        parts.append(f"{opening}{text}{closing}")
    return " ".join(parts)


def mark_of(group: SmartGroup) -> str:
    """A short mark that is another one once the group is changed."""
    rows = group.criteria.order_by("priority").values_list(*CRITERION_COLUMNS)
    text = json.dumps([group.name, group.site_id, [list(row) for row in rows]])
    return sha256(text.encode()).hexdigest()[:16]


def save_smart_group(
    *,
    kind: str,
    name: str,
    site: Site | None,
    criteria: Sequence[Criterion],
    group: SmartGroup | None = None,
    seen: str = "",
    actor: Any,
    now: datetime,
    viewer: ConsoleUser | None = None,
) -> SmartGroup:
    """Create or change a smart group, calculate it and all that relies on it.

    Priorities are given by the order of `criteria`. `viewer` limits which groups
    criteria may newly name; `seen` is the `mark_of` the group as the person saw it.

    Raises:
        CriteriaError: with every problem; circular reliance is one.
        NameTaken: another smart group of this kind has the name.
        GroupGone: it was deleted meanwhile.
        GroupChanged: it is another than was seen.
    """
    with transaction.atomic():
        row = SmartGroup(kind=kind)
        if group is not None:
            stored = SmartGroup.objects.select_for_update().filter(pk=group.pk).first()
            if stored is None:
                raise GroupGone(
                    f"{group.name} was deleted meanwhile. Nothing was saved."
                )
            row = stored
            if seen and seen != mark_of(row):
                raise GroupChanged(row.name)
        _, ordered = check(criteria, kind=kind, group=group, viewer=viewer)
        before = stored_criteria(row) if group is not None else []
        old = (row.name, str(row.site or ""), in_words(before, kind))
        members = unpack(row.members or None)
        row.name, row.site = name, site
        try:
            with transaction.atomic():
                row.save()
        except IntegrityError as error:
            raise NameTaken(f"Another smart group is named {name}.") from error
        row.criteria.all().delete()
        SmartGroupCriterion.objects.bulk_create(_row(each, row) for each in ordered)
        if group is not None and old[0] != name:
            SmartGroupCriterion.objects.filter(
                device_group=device_group_key(row)
            ).update(value=name)
        recompute(
            kind,
            now=now,
            groups=[row.pk],
            scopes=(),
            because=f"after a change of the smart group {name}",
        )
        row.refresh_from_db()
        _record(
            row,
            old=None if group is None else old,
            new=(name, str(site or ""), in_words(ordered, kind)),
            gained=len(unpack(row.members or None) - members),
            lost=len(members - unpack(row.members or None)),
            actor=actor,
            now=now,
        )
    return row


def _row(criterion: Criterion, group: SmartGroup) -> SmartGroupCriterion:
    tenant_id, object_id = criterion.ref or ("", "")
    return SmartGroupCriterion(
        group=group,
        priority=criterion.priority,
        and_or=criterion.and_or,
        name=criterion.name,
        search_type=criterion.search_type,
        value=criterion.value,
        opening_paren=criterion.opening_paren,
        closing_paren=criterion.closing_paren,
        tenant_id=tenant_id,
        object_id=object_id,
        nested=criterion.nested,
        device_group=criterion.device_group,
    )


def _record(
    group: SmartGroup,
    *,
    old: tuple[str, str, str] | None,
    new: tuple[str, str, str],
    gained: int,
    lost: int,
    actor: Any,
    now: datetime,
) -> None:
    if old is None:
        record(
            obj=group,
            actor=actor,
            note=f"Created the smart group with {counted(gained, group.kind)}",
            action="added",
            details={"changes": [["Criteria", "", new[2]]]},
            now=now,
        )
        return
    changes = [
        [label, was, value]
        for label, was, value in zip(
            ("Name", "Site", "Criteria"), old, new, strict=True
        )
        if was != value
    ]
    if not changes:
        return
    note = "Changed the smart group"
    if gained or lost:
        note += f": {counted(gained, group.kind)} gained, {lost:,} lost"
    record(
        obj=group,
        actor=actor,
        note=note,
        details={"changes": changes},
        now=now,
    )


def delete_smart_group(*, group: SmartGroup, actor: Any, now: datetime) -> None:
    """Delete a group that nothing names. Raises GroupInUse."""
    with transaction.atomic():
        uses = uses_of_device_group(group)
        if uses:
            raise GroupInUse(group.name, uses)
        record(
            obj=group,
            actor=actor,
            note="Deleted the smart group",
            action="deleted",
            now=now,
        )
        group.delete()
