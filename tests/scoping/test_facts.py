"""Bulk verdicts are those of the pure rules, at a cost that does not grow with rows."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pyroaring import BitMap

from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser
from directory.sync.bitmaps import pack, unpack
from scoping import evaluate, facts, matching_rows
from scoping.drafts import Draft, EntryDraft
from scoping.facts import Fleet
from scoping.models import (
    Building,
    Department,
    Device,
    DeviceKind,
    LastLogin,
    NetworkSegment,
    Scope,
    StaticGroup,
)
from scoping.principal import Person
from scoping.recompute import after_time_passed, recompute
from scoping.smart_groups import save_smart_group
from scoping.verdict import Verdict
from tests import factories
from tests.scoping.inventory_rows import (
    NOBODY,
    device,
    draft,
    entry,
    except_for,
    in_directory_group,
    like,
    limited_to,
    log_in,
    ref_of,
    scoped,
    static_group,
    target,
)

pytestmark = pytest.mark.django_db


class World:
    """A small company in which everything that can be odd is odd."""

    def __init__(self) -> None:
        self.idp = factories.cloud_idp()
        other = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
        disabled = factories.cloud_idp("Off", tenant_id=factories.guid("off"))
        self.people = [
            factories.directory_user(f"Person {number}", self.idp)
            for number in range(8)
        ]
        self.people[1].account_enabled = False
        self.people[1].save()
        gone = self.people[2]
        gone.state = DirectoryUser.State.DELETED
        gone.save()
        twin = self.people[3]
        factories.directory_user(
            "Twin", other, user_principal_name=twin.user_principal_name
        )
        hidden = factories.directory_group("Hidden", self.idp, hidden_membership=True)
        inner = factories.directory_group("Inner", self.idp, *self.people[:3])
        outer = factories.directory_group("Outer", self.idp, inner, self.people[4])
        murky = factories.directory_group("Murky", self.idp, hidden, self.people[5])
        empty = factories.directory_group("Empty", self.idp)
        deleted = factories.directory_group(
            "Deleted", self.idp, state=DirectoryGroup.State.DELETED
        )
        off = factories.directory_group("Off group", disabled)
        CloudIdentityProvider.objects.filter(pk=disabled.pk).update(enabled=False)
        self.groups = [hidden, inner, outer, murky, empty, deleted, off]
        self.buildings = [Building.objects.create(name=f"B{n}") for n in range(2)]
        self.departments = [Department.objects.create(name=f"D{n}") for n in range(2)]
        self.segments = [
            NetworkSegment.objects.create(
                name="v4", starting_address="10.0.0.0", ending_address="10.0.0.9"
            ),
            NetworkSegment.objects.create(
                name="v6", starting_address="2001:db8::", ending_address="2001:db8::ff"
            ),
        ]
        self.site = factories.site()
        self.devices = [self._device(number) for number in range(24)]
        self.statics = [
            static_group("Some", *self.devices[::3]),
            StaticGroup.objects.create(name="None", kind="COMPUTER"),
        ]
        now = timezone.now()
        self.smarts = [
            save_smart_group(
                kind="COMPUTER",
                name=name,
                site=None,
                criteria=criteria,
                actor=None,
                now=now,
            )
            for name, criteria in {
                "In outer": [in_directory_group(outer)],
                "In murky or old": [
                    in_directory_group(murky),
                    like(
                        "Operating System Version",
                        "15",
                        search_type="less than",
                        and_or="or",
                    ),
                ],
            }.items()
        ]

    def _device(self, number: int) -> Device:
        dice = random.Random(number)  # noqa: S311 - the same world in every run
        people: list[Any] = [*self.people, "labuser", NOBODY, None]
        who = dice.choice(people)
        row = device(
            f"Mac {number}",
            user=None if who == NOBODY else who,
            building=dice.choice([None, *self.buildings]),
            department=dice.choice([None, *self.departments]),
            site=dice.choice([None, self.site]),
            os_version=dice.choice(["14.9", "15.1", "", "beta"]),
            last_reported_ip=dice.choice(
                [None, "10.0.0.3", "10.0.1.1", "2001:db8::5", "::ffff:10.0.0.4"]
            ),
        )
        for channel in LastLogin.Channel.values:
            login = dice.choice(people)
            if login is not None:
                log_in(row, login, channel=channel)
        return row

    def refs(self) -> dict[ObjectRef, str]:
        found = {ref_of(row): str(row) for row in self.groups}
        return found | {ref_of(row): str(row) for row in self.people}

    def entries(self, role: str) -> list[EntryDraft]:
        """Every entry that may stand in this column, broken ones included."""
        inventory: list[Any] = [
            *self.devices[:2],
            *self.statics,
            *self.smarts,
            *self.buildings,
            *self.departments,
        ]
        limits: list[Any] = [
            *self.groups,
            *self.people[:5],
            *self.segments,
            "labuser",
        ]
        chosen = {
            "TARGET": inventory,
            "LIMITATION": limits,
            "EXCLUSION": [*inventory, *limits],
        }[role]
        made = [entry(role, each) for each in chosen]
        if role != "TARGET":
            made += [entry(role, each, nested=False) for each in self.groups]
        gone = EntryDraft(role=role, kind="BUILDING", ref_id=987654, label="Gone")
        return made if role == "LIMITATION" else [*made, gone]


def random_draft(world: World, dice: random.Random) -> Draft:
    chosen: list[EntryDraft] = []
    for role, most in (("TARGET", 2), ("LIMITATION", 3), ("EXCLUSION", 2)):
        some = dice.sample(world.entries(role), dice.randint(0, most))
        chosen += {each.key: each for each in some}.values()
    return draft(
        *chosen,
        everything=dice.random() < 0.5,
        principal=dice.choice(["LOGGED_IN", "ASSIGNED"]),
    )


def test_bulk_verdicts_are_those_of_evaluate_for_every_device_and_scope() -> None:
    world = World()
    dice = random.Random(7)  # noqa: S311 - the same scopes in every run
    fleet = Fleet(
        "COMPUTER",
        names_of=world.refs(),
    )
    names = facts.names("COMPUTER", [row.pk for row in world.devices])
    seen = set()
    for _ in range(400):
        pure = random_draft(world, dice).pure(
            kind="COMPUTER",
            channel=dice.choice(["AGENT", "MDM", "SELF_SERVICE"]),
            names=names,
        )
        known = fleet.judge(pure)
        for row in world.devices:
            expected = evaluate.evaluate(pure, fleet.facts(row.pk), fleet.directory)
            assert known.verdict(row.pk) is expected, (pure, row.name)
            seen.add(expected)
        derived = evaluate.derive(
            pure, fleet.facts(world.devices[0].pk), fleet.directory
        )
        assert derived.verdict is known.verdict(world.devices[0].pk)
    assert seen == set(Verdict), "scopes of every kind of answer were tried"


def test_some_devices_are_judged_as_the_whole_fleet_judges_them() -> None:
    world = World()
    chosen = [row.pk for row in world.devices[5:8]]
    refs = world.refs()
    everything = Fleet("COMPUTER", names_of=refs)
    some = Fleet("COMPUTER", only=chosen, names_of=refs)
    names = facts.names("COMPUTER")
    dice = random.Random(3)  # noqa: S311 - the same scopes in every run
    for _ in range(60):
        pure = random_draft(world, dice).pure(
            kind="COMPUTER", channel="AGENT", names=names
        )
        for pk in chosen:
            assert some.judge(pure).verdict(pk) is everything.judge(pure).verdict(pk)


def test_a_path_names_the_groups_between_a_person_and_the_group() -> None:
    idp = factories.cloud_idp()
    ana = factories.directory_user("Ana", idp)
    frontend = factories.directory_group("Frontend", idp, ana)
    web = factories.directory_group("Web", idp, frontend)
    engineering = factories.directory_group("Engineering", idp, web)
    factories.nest(engineering, frontend)  # a cycle, which is walked once
    device("Mac", user=ana)
    fleet = Fleet("COMPUTER", names_of={ref_of(engineering): "Engineering"}, paths=True)
    (row,) = Device.objects.all()
    person = fleet.assigned(row.pk)
    assert isinstance(person, Person)
    answer = fleet.directory.membership(ref_of(engineering), person, True)
    assert [step.name for step in answer.path] == ["Frontend", "Web"]
    assert answer.as_of == idp.last_good_read_at


def queries_of_a_recompute() -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        recompute("COMPUTER", now=timezone.now())
    return len(captured)


def test_the_number_of_queries_does_not_grow_with_devices_groups_or_entries() -> None:
    idp = factories.cloud_idp()

    def grow(tag: str, number: int) -> None:
        people = [factories.directory_user(f"{tag} {n}", idp) for n in range(number)]
        for n, person in enumerate(people):
            device(f"{tag} Mac {n}", user=person, logged_in=person)
        groups = [
            factories.directory_group(f"{tag} group {n}", idp, *people[n:])
            for n in range(number)
        ]
        for n, group in enumerate(groups):
            scoped(f"{tag} policy {n}", limited_to(group), everything=True)
            save_smart_group(
                kind="COMPUTER",
                name=f"{tag} smart {n}",
                site=None,
                criteria=[in_directory_group(group)],
                actor=None,
                now=timezone.now(),
            )

    grow("few", 2)
    few = queries_of_a_recompute()
    grow("many", 9)
    assert queries_of_a_recompute() == few


def test_criteria_over_days_follow_the_clock() -> None:
    mac = device("Mac")
    quiet = like("Last Inventory Update", "7", search_type="more than x days ago")
    group = save_smart_group(
        kind="COMPUTER",
        name="Quiet",
        site=None,
        criteria=[quiet],
        actor=None,
        now=timezone.now(),
    )
    obj = scoped("Wake up", target(group))
    assert group.member_count == 0
    after_time_passed(now=timezone.now() + timedelta(days=8))
    group.refresh_from_db()
    obj.scope.refresh_from_db()
    assert (group.member_count, group.unknown_count) == (1, 0)
    assert list(unpack(obj.scope.decided)) == [mac.pk]
    with CaptureQueriesContext(connection) as captured:
        after_time_passed(now=timezone.now() + timedelta(days=8))
    assert len(captured) == len(DeviceKind.values), "calculated within the hour: left"


def test_a_fleet_of_1200_devices_and_40_objects_is_judged_in_few_queries() -> None:
    now = timezone.now()
    idp = factories.cloud_idp()
    people = DirectoryUser.objects.bulk_create(
        DirectoryUser(
            id=1000 + n,
            cloud_idp=idp,
            object_id=factories.guid(f"person {n}"),
            state="PRESENT",
            state_since=now,
            display_name=f"Person {n}",
            user_name=f"p{n}@fernhill.example",
            user_name_key=f"p{n}@fernhill.example",
            first_seen_at=now,
            changed_at=now,
        )
        for n in range(1000)
    )
    names = [person.user_name for person in people]
    users = list(matching_rows.ensure_users(names, now=now).values())
    groups = [factories.directory_group(f"Group {n}", idp) for n in range(4)]
    for n, group in enumerate(groups):
        group.bitmap.members = pack(BitMap(each.pk for each in people[n::4]))
        group.bitmap.transitive = None
        group.bitmap.save()
    devices = Device.objects.bulk_create(
        Device(
            kind="COMPUTER",
            name=f"Mac {n}",
            serial_number=f"S{n}",
            model="Air",
            last_reported_ip=f"10.{n % 4}.{n % 250}.1",
            assigned_user=users[n % 1000],
        )
        for n in range(1200)
    )
    LastLogin.objects.bulk_create(
        LastLogin(device=row, channel="AGENT", user=users[n % 900], reported_at=now)
        for n, row in enumerate(devices)
    )
    segment = NetworkSegment.objects.create(
        name="Half", starting_address="10.0.0.0", ending_address="10.1.255.255"
    )
    smart = [
        save_smart_group(
            kind="COMPUTER",
            name=f"Smart {n}",
            site=None,
            criteria=[in_directory_group(groups[n]), like("Model", "Air")],
            actor=None,
            now=now,
        )
        for n in range(4)
    ]
    objects = [
        scoped(
            f"Object {n}",
            target(smart[n % 4]),
            limited_to(groups[n % 4]),
            limited_to(segment),
            except_for(groups[(n + 1) % 4]),
        )
        for n in range(40)
    ]
    Scope.objects.update(decided=b"", unknown=b"", decided_count=0)
    with CaptureQueriesContext(connection) as captured:
        recompute("COMPUTER", now=now)
    assert len(captured) < 80, "neither devices nor members cost a query"
    objects[0].scope.refresh_from_db()
    assert objects[0].scope.decided_count > 0
