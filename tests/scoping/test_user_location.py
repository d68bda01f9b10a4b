"""User and Location: who says what, and what follows the directory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from directory import connections
from directory.dependents import AppliedChange
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryUser,
)
from jamfidp.accounts.models import User
from jamfidp.history.record import entries_for
from scoping import inventory, user_location
from scoping.dependents import ScopingDependents
from scoping.models import Building, Department, Device
from tests.factories import cloud_idp, directory_user
from tests.scoping_factories import make_building, make_department, make_device

pytestmark = pytest.mark.django_db
ANA = "ana.ruiz@fernhill.example"
NOW = datetime(2026, 11, 3, 14, 2, tzinfo=UTC)


@pytest.fixture
def idp(db: None) -> CloudIdentityProvider:
    return cloud_idp()


@pytest.fixture
def ana(idp: CloudIdentityProvider) -> DirectoryUser:
    return directory_user(
        "Ana Ruiz",
        idp,
        phone="+44 20 7946 0000",
        position="Lead designer",
        department=" design ",
        building="Mill House",
        room="4 East",
    )


@pytest.fixture
def device(ana: DirectoryUser) -> Device:
    return make_device("MBP-ANA", username=ANA)


def look_up(device: Device, actor: User, *fields: str) -> Device:
    user_location.look_up(
        device=device, fields=fields or user_location.FIELDS, actor=actor, now=NOW
    )
    device.refresh_from_db()
    return device


def read_applied(person: DirectoryUser, **values: str) -> None:
    DirectoryUser.objects.filter(pk=person.pk).update(**values)
    ScopingDependents().after_apply(
        AppliedChange(
            cloud_idp_id=person.cloud_idp_id, full=False, user_ids={person.pk}
        ),
        now=NOW,
    )


def test_a_look_up_fills_every_field_and_says_where_from(
    device: Device, administrator: User
) -> None:
    department, building = make_department("Design"), make_building("Mill House")

    look_up(device, administrator)

    assert device.real_name == "Ana Ruiz"
    assert device.email == ANA
    assert device.phone == "+44 20 7946 0000"
    assert device.position == "Lead designer"
    assert device.room == "4 East"
    assert (device.department, device.building) == (department, building)
    for state in user_location.states(device)[1:]:
        assert (state.source, state.at) == ("from Entra", NOW), state.field
    entry = entries_for(device).get()
    assert entry.actor == administrator
    assert ["Room", "", "4 East"] in entry.details["changes"]


def test_departments_and_buildings_are_never_created(
    device: Device, administrator: User
) -> None:
    look_up(device, administrator)

    assert not Department.objects.exists()
    assert not Building.objects.exists()
    state = user_location.state(device, "department")
    assert (state.value, state.elsewhere) == ("", " design ")


def test_a_department_created_later_is_filled_in(
    console: Client, device: Device, administrator: User
) -> None:
    look_up(device, administrator)
    page = console.get(f"{device.get_absolute_url()}?tab=location").content.decode()
    assert "no such department here" in page
    assert f"{reverse('scoping:department-new')}?name=" in page

    console.post(reverse("scoping:department-new"), {"name": "Design"})

    device.refresh_from_db()
    assert str(device.department) == "Design"
    assert user_location.state(device, "department").elsewhere == ""


def test_values_from_the_directory_follow_at_each_read(
    device: Device, ana: DirectoryUser, administrator: User
) -> None:
    look_up(device, administrator)

    read_applied(ana, room="5 West", position="")

    device.refresh_from_db()
    assert (device.room, device.position) == ("5 West", "")
    entry = entries_for(device).filter(actor=None).get()
    assert entry.details["changes"] == [
        ["Position", "Lead designer", ""],
        ["Room", "4 East", "5 West"],
    ]


def test_a_read_that_says_the_same_writes_nothing(
    device: Device, ana: DirectoryUser, administrator: User
) -> None:
    look_up(device, administrator)
    before = Device.objects.filter(pk=device.pk).values().get()

    read_applied(ana, display_name="Ana R.")

    assert Device.objects.filter(pk=device.pk).values().get() == before
    assert entries_for(device).count() == 1


def test_what_a_person_typed_does_not_follow(
    device: Device, ana: DirectoryUser, administrator: User
) -> None:
    look_up(device, administrator)
    inventory.change_device(
        device=device, values={"room": "Attic"}, actor=administrator, now=NOW
    )

    read_applied(ana, room="5 West", phone="1")

    device.refresh_from_db()
    assert (device.room, device.phone) == ("Attic", "1")
    state = user_location.state(device, "room")
    assert (state.source, state.at) == (f"typed by {administrator}", NOW)


def test_take_from_entra_returns_a_typed_field_to_the_directory(
    console: Client, device: Device, ana: DirectoryUser, administrator: User
) -> None:
    inventory.change_device(
        device=device, values={"room": "Attic"}, actor=administrator, now=NOW
    )
    page = console.get(f"{device.get_absolute_url()}?tab=location").content.decode()
    assert "Take from Entra" in page

    console.post(reverse("scoping:computer-take", args=[device.pk]), {"field": "room"})

    device.refresh_from_db()
    assert device.room == "4 East"
    read_applied(ana, room="5 West")
    device.refresh_from_db()
    assert device.room == "5 West"


def test_values_of_one_person_do_not_stay_under_the_name_of_another(
    device: Device, idp: CloudIdentityProvider, administrator: User
) -> None:
    look_up(device, administrator)
    directory_user("Tom Ellery", idp, room="Workshop")

    for username, room, email in (
        ("tom.ellery@fernhill.example", "Workshop", "tom.ellery@fernhill.example"),
        ("nobody@fernhill.example", "", ""),
        ("", "", ""),
    ):
        inventory.change_device(
            device=device,
            values={"username": username},
            actor=administrator,
            now=NOW,
        )
        device.refresh_from_db()
        assert (device.room, device.email) == (room, email), username


def test_somebody_who_left_leaves_the_device_as_it_was(
    device: Device, ana: DirectoryUser, administrator: User
) -> None:
    look_up(device, administrator)
    ana.delete()

    ScopingDependents().after_apply(
        AppliedChange(cloud_idp_id=ana.cloud_idp_id, full=True), now=NOW
    )

    device.refresh_from_db()
    assert device.room == "4 East"


def test_following_many_devices_takes_as_many_queries_as_few(
    idp: CloudIdentityProvider, django_assert_max_num_queries: Any
) -> None:
    devices = []
    for number in range(30):
        directory_user(f"Person {number}", idp, room="1")
        devices.append(make_device(username=f"person.{number}@fernhill.example"))
    filled = user_location.fill(
        Device.objects.select_related("assigned_user", "department", "building"),
        now=timezone.now(),
        fields=user_location.FIELDS,
    )
    Device.objects.bulk_update([each for each, _ in filled], user_location.STORED)
    assert len(filled) == 30

    with django_assert_max_num_queries(8):
        assert user_location.follow(Device.objects.all(), now=NOW) == frozenset()


def test_what_is_not_mapped_is_left_alone(
    console: Client, device: Device, ana: DirectoryUser, administrator: User
) -> None:
    look_up(device, administrator)
    AttributeMappings.objects.create(cloud_idp=ana.cloud_idp, room="", building="")

    read_applied(ana, room="", position="")
    page = console.get(reverse("scoping:computer-look-up", args=[device.pk]))
    refused = console.post(
        reverse("scoping:computer-look-up", args=[device.pk]), {"fields": ["room"]}
    )

    device.refresh_from_db()
    assert (device.room, device.position) == ("4 East", "")
    mapped = {each.now.field: each.mapped for each in page.context["proposals"]}
    assert (mapped["room"], mapped["building"], mapped["phone"]) == (False, False, True)
    assert "not mapped" in page.content.decode()
    assert refused.status_code == 422
    assert "have no property for that field" in refused.content.decode()


def test_an_attribute_taken_out_is_erased_from_the_devices_that_followed_it(
    idp: CloudIdentityProvider, device: Device, administrator: User
) -> None:
    """What somebody typed stays; what was erased is in no new line of history."""
    mappings = AttributeMappings.objects.create(
        cloud_idp=idp, room="officeLocation", building="city"
    )
    make_building("Mill House")
    look_up(device, administrator)
    Device.objects.filter(pk=device.pk).update(
        phone="+44 typed",
        sources={
            **device.sources,
            "phone": user_location.mark(
                Device.Source.PERSON, actor=administrator, now=NOW
            ),
        },
    )
    for field in ("room", "building", "phone"):
        setattr(mappings, field, "")

    connections.save_mappings(mappings, actor=administrator, now=NOW)

    device.refresh_from_db()
    assert (device.room, device.building, device.phone) == ("", None, "+44 typed")
    assert device.position == "Lead designer"
    newest = entries_for(device)[0]
    assert "Building, Room: what Entra said was erased" in newest.note
    assert "4 East" not in str(newest.details)

    mappings.room = "officeLocation"
    mappings.save()
    DirectoryUser.objects.update(room="5 West")
    ScopingDependents().after_connection_change(idp.tenant_id, now=NOW)
    device.refresh_from_db()
    assert device.room == "5 West", "it follows again"


def test_the_look_up_page_shows_before_and_after_and_spares_what_was_typed(
    console: Client, device: Device, administrator: User
) -> None:
    inventory.change_device(
        device=device, values={"room": "Attic"}, actor=administrator, now=NOW
    )

    answer = console.get(reverse("scoping:computer-look-up", args=[device.pk]))

    suggested = {each.now.field: each.suggested for each in answer.context["proposals"]}
    assert suggested.pop("room") is False
    assert all(suggested.values())
    device.refresh_from_db()
    assert device.phone == ""


def test_applying_a_look_up_takes_only_what_is_ticked(
    console: Client, device: Device
) -> None:
    address = reverse("scoping:computer-look-up", args=[device.pk])

    refused = console.post(address, {})
    applied = console.post(address, {"fields": ["phone", "room", "serial_number"]})

    assert refused.status_code == 422
    assert "at least one field" in refused.content.decode()
    assert applied.status_code == 302
    device.refresh_from_db()
    assert (device.phone, device.email) == ("+44 20 7946 0000", "")
    assert set(device.sources) == {"phone", "room"}


@pytest.mark.parametrize(
    ("username", "says"),
    [
        ("", "Nobody is assigned"),
        ("nobody@fernhill.example", "No connection has a user of this name"),
    ],
)
def test_without_one_person_the_look_up_says_why(
    console: Client, idp: CloudIdentityProvider, username: str, says: str
) -> None:
    device = make_device(username=username)
    address = reverse("scoping:computer-look-up", args=[device.pk])

    shown = console.get(address)
    refused = console.post(address, {"fields": ["email"]})

    assert says in shown.content.decode()
    assert refused.status_code == 422
    device.refresh_from_db()
    assert device.sources == {}


def test_typing_on_the_page_marks_only_what_was_changed(
    console: Client, device: Device, administrator: User
) -> None:
    look_up(device, administrator)
    form = {"username": ANA, "real_name": "Ana Ruiz", "email": ANA, "room": "Attic"}
    form |= {"phone": device.phone, "position": device.position}

    answer = console.post(reverse("scoping:computer-location", args=[device.pk]), form)

    assert answer.status_code == 302
    device.refresh_from_db()
    origins = {name: held["source"] for name, held in device.sources.items()}
    assert origins.pop("room") == Device.Source.PERSON
    assert set(origins.values()) == {Device.Source.DIRECTORY}


def test_a_wrong_form_keeps_what_was_typed(console: Client, device: Device) -> None:
    answer = console.post(
        reverse("scoping:computer-location", args=[device.pk]),
        {"username": "x" * 300, "room": "Attic"},
    )

    assert answer.status_code == 422
    assert "Attic" in answer.content.decode()
    device.refresh_from_db()
    assert device.room == ""
