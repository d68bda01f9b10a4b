"""What other mappings of a connection would do to devices, departments and buildings.

The directory shows everybody under the user names they would have
(`directory.dependents.MappedNames`); the names that devices report are matched to those
by the same rule as ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.urls import reverse

from directory.dependents import NameConsequence, NameWatch, ObjectRef, Proposed
from jamfidp.access import ConsoleUser
from scoping import inventory, matching_rows, organization, user_location
from scoping.matching import Candidate, CandidateIndex, fold, match_user_name
from scoping.models import Device, InventoryUser
from scoping.principal import Ambiguous, Person, Unconfirmed

Match = InventoryUser.Match
NAMES_SHOWN = 20
NAME_LIMIT = 255
# What becomes of the user names of devices, and in words; the first three are lost.
SENTENCES = {
    "nobody": "would lead to nobody: no user has that name any more",
    "several": "would lead to several users, which is unknown",
    "another": "would lead to another user, which is unknown until somebody confirms it",
    "kept": "keep the user they led to, though nobody has that name any more",
    "gained": "would lead to a user for the first time",
}
LOST = ("nobody", "several", "another")


class InventoryWatch:
    """Looks out for the user names of the inventory among everybody."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._users = list(InventoryUser.objects.order_by("pk"))
        self._keys = {fold(user.username) for user in self._users}
        self._known = {
            user.object_id for user in self._users if user.tenant_id == tenant_id
        }
        self._found: list[Candidate] = []

    def take(self, person: Proposed) -> None:
        if person.object_id in self._known or fold(person.user_name) in self._keys:
            self._found.append(
                Candidate(
                    ref=ObjectRef(self._tenant_id, person.object_id),
                    name=person.display_name,
                    user_name=person.user_name,
                    disabled=person.disabled,
                )
            )

    def findings(self) -> dict[str, Any]:
        elsewhere = [
            each
            for each in matching_rows.candidates_of(self._users)
            if each.ref.tenant_id != self._tenant_id
        ]
        index = CandidateIndex([*elsewhere, *self._found])
        connections = matching_rows.connections()
        found: dict[str, list[int]] = {name: [] for name in SENTENCES}
        for user in self._users:
            earlier = _earlier(user)
            principal = match_user_name(
                reported=user.username,
                index=index,
                connections=connections,
                earlier=earlier,
            )
            matched = user.match == Match.MATCHED
            match principal:
                case Person() if not matched:
                    found["gained"].append(user.pk)
                case Person() if earlier and not _leads_to(index, user, earlier):
                    found["kept"].append(user.pk)
                case Person():
                    pass
                case Ambiguous() if matched:
                    found["several"].append(user.pk)
                case Unconfirmed() if matched:
                    found["another"].append(user.pk)
                case _ if matched:
                    found["nobody"].append(user.pk)
        return found


def _earlier(user: InventoryUser) -> ObjectRef | None:
    return ObjectRef(user.tenant_id, user.object_id) if user.object_id else None


def _leads_to(index: CandidateIndex, user: InventoryUser, ref: ObjectRef) -> bool:
    return any(each.ref == ref for each in index.by_user_name(fold(user.username)))


class ScopingMappedNames:
    """Devices whose users are matched, and departments and buildings by name."""

    def watch_names(self, tenant_id: str) -> NameWatch:
        return InventoryWatch(tenant_id)

    def consequences(
        self,
        findings: Mapping[str, Any],
        *,
        tenant_id: str,
        unmapped: Collection[str],
        viewer: ConsoleUser,
    ) -> Sequence[NameConsequence]:
        found = []
        for section in inventory.SECTIONS.values():
            if not viewer.has_perm(section.perm("view")):
                continue
            devices = inventory.visible_devices(section, viewer)
            for name, sentence in SENTENCES.items():
                users = list(findings.get(name, ()))
                count, named = _devices_of(devices, users)
                if count:
                    found.append(
                        NameConsequence(
                            sentence=f"{section.plural if count != 1 else section.noun}"
                            f" whose user names {sentence}"
                            if count != 1
                            else f"{section.noun} whose user name {_single(sentence)}",
                            count=count,
                            lost=name in LOST,
                            names=_names(named, viewer),
                            more=max(0, len(named) - NAMES_SHOWN),
                        )
                    )
            found += _emptied(section, devices, tenant_id, unmapped)
        return found

    def without_counterpart(self, field: str, values: Collection[str]) -> Sequence[str]:
        known = {
            user_location.plain(name)
            for name in user_location.TABLES[field].objects.values_list(
                "name", flat=True
            )
        }
        return [
            value
            for value in values
            if user_location.plain(value) not in known and len(value) <= NAME_LIMIT
        ]

    def may_create(self, field: str, viewer: ConsoleUser) -> bool:
        return viewer.has_perm(f"scoping.add_{field}")

    def create_counterparts(
        self, field: str, values: Collection[str], *, actor: Any, now: datetime
    ) -> int:
        created = 0
        with transaction.atomic():
            for value in sorted(values, key=user_location.plain):
                # Two that differ in letter case are one department.
                if self.without_counterpart(field, [value]):
                    part = user_location.TABLES[field](name=value)
                    organization.save(part=part, before={}, actor=actor, now=now)
                    created += 1
        return created


def _single(sentence: str) -> str:
    return (
        "keeps" + sentence.removeprefix("keep") if sentence[:5] == "keep " else sentence
    )


def _devices_of(devices: Any, users: Sequence[int]) -> tuple[int, list[int]]:
    """Count the visible devices that name one of these users, and who is named."""
    pks: set[int] = set()
    named: set[int] = set()
    for at in range(0, len(users), matching_rows.CHUNK):
        some = users[at : at + matching_rows.CHUNK]
        for column in ("assigned_user", "last_logins__user"):
            pairs = devices.order_by().filter(**{f"{column}__in": some})
            for pk, user in pairs.values_list("pk", column):
                pks.add(pk)
                named.add(user)
    return len(pks), sorted(named)


def _names(users: Iterable[int], viewer: ConsoleUser) -> list[tuple[str, str]]:
    shown = InventoryUser.objects.filter(pk__in=list(users)[:NAMES_SHOWN])
    may_open = viewer.has_perm("scoping.view_inventoryuser")
    return [
        (
            user.username,
            reverse("scoping:inventoryuser-detail", args=[user.pk]) if may_open else "",
        )
        for user in shown
    ]


def _emptied(
    section: inventory.Section,
    devices: Any,
    tenant_id: str,
    unmapped: Collection[str],
) -> Iterable[NameConsequence]:
    """The devices whose User and Location loses what followed the directory."""
    for field, label in user_location.FIELDS.items():
        if field not in unmapped:
            continue
        has_one = ~Q(**{f"{field}": None if field in user_location.TABLES else ""})
        count = devices.filter(
            has_one,
            assigned_user__tenant_id=tenant_id,
            **{f"sources__{field}__source": Device.Source.DIRECTORY.value},
        ).count()
        if count:
            noun = section.noun if count == 1 else section.plural
            yield NameConsequence(
                sentence=f"{noun} whose {label} follows the directory: it is emptied",
                count=count,
                lost=True,
            )
