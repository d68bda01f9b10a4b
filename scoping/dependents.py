"""What the directory asks of scoping, and tells it (`directory.dependents`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse
from pyroaring import BitMap

from directory.dependents import (
    AppliedChange,
    Consequence,
    Fragment,
    Gives,
    GroupInUse,
    Moment,
    ObjectRef,
    Step,
    Subject,
    Use,
)
from directory.models import CloudIdentityProvider, DirectoryUser
from directory.planned import CHUNK, PlannedChange
from jamfidp.access import ConsoleUser
from jamfidp.compiled import Question
from scoping import (
    changes,
    consequences,
    facts,
    inventory,
    matching_rows,
    objects,
    recompute,
    user_location,
    uses,
)
from scoping.models import Device, DeviceKind, InventoryUser, LastLogin


class ScopingDependents:
    """Devices and scopes that build on people, groups and connections."""

    label = "Scoping"
    subjects: Collection[Subject] = tuple(consequences.SUBJECTS.values())

    def questions(self, step: Step, moment: Moment) -> Sequence[Question]:
        match step:
            case Step.GUARDS:
                return [each.with_(moment.tenant_id) for each in uses.GROUPS_NAMED]
            case Step.CONSEQUENCES:
                return [
                    *(each.with_() for each in facts.NAMED),
                    matching_rows.ANY.with_(),
                ]
            case Step.APPLIED:
                return [
                    matching_rows.ANY.with_(),
                    *(each.with_() for each in recompute.RELYING),
                ]

    def groups_in_use(self, tenant_id: str) -> Sequence[GroupInUse]:
        return uses.groups_in_use(tenant_id)

    def people_named(self, tenant_id: str) -> Collection[str]:
        return uses.people_named(tenant_id)

    def people_in_use(self, tenant_id: str) -> Mapping[str, Gives]:
        return {}

    def uses_of_group(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]:
        return uses.uses_of_group(ref, viewer=viewer)

    def uses_of_user(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]:
        """Scopes that name the person; their devices are a part of their own."""
        return uses.uses_of_user(ref, viewer=viewer)

    def uses_of_connection(
        self, tenant_id: str, *, viewer: ConsoleUser
    ) -> Sequence[Use]:
        # While it is disabled or deleted nobody matches, and who did is remembered.
        stands = CloudIdentityProvider.objects.filter(
            tenant_id=tenant_id, enabled=True
        ).exists()
        names = InventoryUser.objects.filter(tenant_id=tenant_id)
        if stands:
            names = names.filter(match=InventoryUser.Match.MATCHED)
        used = Q(assigned_user__in=names.values("pk")) | Q(
            pk__in=LastLogin.objects.filter(user__in=names.values("pk")).values(
                "device"
            )
        )
        found = list(uses.uses_of_connection(tenant_id, viewer=viewer))
        for section in inventory.SECTIONS.values():
            if not viewer.has_perm(section.perm("view")):
                continue
            count = inventory.visible_devices(section, viewer).filter(used).count()
            if count:
                found.append(
                    Use(
                        kind=section.title,
                        name=f"{count:,} "
                        f"{section.noun if count == 1 else section.plural}",
                        url=reverse(f"scoping:{section.route}-list"),
                        detail="their users are people of this connection"
                        if stands
                        else "their users were people of this connection",
                    )
                )
        return found

    def shows_all_uses(self, *, viewer: ConsoleUser) -> bool:
        return all(
            viewer.sites_with(perm).everywhere
            for perm in (
                *(section.perm("view") for section in inventory.SECTIONS.values()),
                *(kind.perm("view") for kind in objects.KINDS),
                *(
                    f"scoping.view_{uses.smart_group_word(kind)}"
                    for kind in DeviceKind.values
                ),
            )
        )

    def user_fragments(self, ref: ObjectRef) -> Sequence[Fragment]:
        query = urlencode(ref._asdict())
        return [
            Fragment(title=title, url=f"{reverse(f'scoping:{route}')}?{query}")
            for title, route in (
                ("Devices", "directoryuser-devices-fragment"),
                ("In scope of", "directoryuser-objects-fragment"),
            )
        ]

    def group_fragments(self, ref: ObjectRef) -> Sequence[Fragment]:
        return ()

    def consequences(
        self, planned: PlannedChange, *, now: datetime
    ) -> Sequence[Consequence]:
        return consequences.of_plan(planned, now=now)

    def sees_subjects(self, subject: Subject, *, viewer: ConsoleUser) -> bool:
        return viewer.has_perm(_section_of(subject).perm("view"))

    def visible_subjects(
        self, subject: Subject, numbers: BitMap, *, viewer: ConsoleUser
    ) -> BitMap:
        section = _section_of(subject)
        if not viewer.has_perm(section.perm("view")):
            return BitMap()
        found = BitMap()
        wanted = list(numbers)
        devices = inventory.visible_devices(section, viewer).order_by()
        for at in range(0, len(wanted), CHUNK):
            some = devices.filter(pk__in=wanted[at : at + CHUNK])
            found.update(some.values_list("pk", flat=True))
        return found

    def subject_lines(
        self, subject: Subject, numbers: Sequence[int]
    ) -> Mapping[int, Use]:
        return {
            device.pk: Use(
                subject.value, device.name, device.get_absolute_url(), _owner(device)
            )
            for device in Device.objects.filter(pk__in=numbers).select_related(
                "assigned_user"
            )
        }

    def after_apply(self, change: AppliedChange, *, now: datetime) -> None:
        if not matching_rows.any_names():
            # No device has a user, so none of them follows the directory.
            nobody: frozenset[int] = frozenset()
            self._settled(nobody, nobody, changes.Change(directory=change), now)
            return
        changed = matching_rows.rematch(matching_rows.users_touched_by(change), now=now)
        people = DirectoryUser.objects.filter(cloud_idp=change.cloud_idp_id)
        if not change.full and len(change.user_ids) <= matching_rows.MANY_PEOPLE:
            people = people.filter(pk__in=list(change.user_ids))
        known = InventoryUser.objects.filter(
            match=InventoryUser.Match.MATCHED,
            object_id__in=people.order_by().values("object_id"),
        )
        self._settled(
            changed | frozenset(known.values_list("pk", flat=True)),
            changed,
            changes.Change(directory=change),
            now,
        )

    def after_connection_change(self, tenant_id: str, *, now: datetime) -> None:
        changed = matching_rows.rematch(now=now)
        emptied = user_location.forget_unmapped(tenant_id, now=now)
        # The mappings may say something else of everybody of this tenant.
        known = InventoryUser.objects.filter(
            tenant_id=tenant_id, match=InventoryUser.Match.MATCHED
        )
        self._settled(
            changed | frozenset(known.values_list("pk", flat=True)),
            changed,
            changes.Change(tenant_id=tenant_id, devices=emptied),
            now,
        )

    def _settled(
        self,
        followed: frozenset[int],
        rematched: frozenset[int],
        change: changes.Change,
        now: datetime,
    ) -> None:
        """Let User and Location follow, then tell who computes scopes, once."""
        devices = user_location.follow_users(followed, now=now)
        devices |= matching_rows.devices_of(rematched) | change.devices
        changes.announce(
            changes.Change(
                devices=devices, directory=change.directory, tenant_id=change.tenant_id
            ),
            now=now,
        )


def _section_of(subject: Subject) -> inventory.Section:
    kinds = {sort: kind for kind, sort in consequences.SUBJECTS.items()}
    return inventory.SECTIONS[kinds[subject]]


def _owner(device: Device) -> str:
    user = device.assigned_user
    return f"{device.serial_number} · {user.username}" if user else device.serial_number


def devices_of_person(
    ref: ObjectRef, *, viewer: ConsoleUser
) -> Sequence[tuple[Device, str]]:
    """The devices that name a person, of those the viewer may see, and how."""
    names = InventoryUser.objects.filter(
        tenant_id=ref.tenant_id,
        object_id=ref.object_id,
        match=InventoryUser.Match.MATCHED,
    ).values("pk")
    found: list[tuple[Device, str]] = []
    for section in inventory.SECTIONS.values():
        if not viewer.has_perm(section.perm("view")):
            continue
        devices = inventory.visible_devices(section, viewer)
        ways: dict[int, list[str]] = {}
        rows: dict[int, Device] = {}
        for device in devices.filter(assigned_user__in=names):
            rows[device.pk] = device
            ways[device.pk] = ["assigned"]
        logged_in = devices.filter(last_logins__user__in=names).distinct()
        for device in logged_in:
            rows[device.pk] = device
            ways.setdefault(device.pk, []).append("last logged in")
        found += [(rows[pk], ", ".join(ways[pk])) for pk in rows]
    return found
