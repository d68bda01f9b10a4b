"""Devices: lists, pages, facts typed by people, log-ins."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from jamfidp.history.record import entries_for
from scoping import changes, inventory
from scoping.models import Device, DeviceKind, InventoryUser, LastLogin
from tests.factories import cloud_idp, directory_user
from tests.scoping_factories import (
    make_building,
    make_department,
    make_device,
    make_login,
    make_mobile_device,
    make_site,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def site_administrator(db: None) -> tuple[Client, Any]:
    """An administrator of the site Studio alone, and the site."""
    site = make_site("Studio")
    user = User(
        username="studio-admin",
        access_level=AccessLevel.SITE,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        site=site,
        created_at=timezone.now(),
    )
    user.set_unusable_password()
    user.save()
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client, site


def names(answer: Any) -> list[str]:
    return [device.name for device in answer.context["devices"]]


def test_the_list_holds_one_kind_of_device(console: Client) -> None:
    make_device("MBP-ANA")
    make_mobile_device("IPAD-ANA")

    computers = console.get(reverse("scoping:computer-list"))
    mobile = console.get(reverse("scoping:mobiledevice-list"))

    assert names(computers) == ["MBP-ANA"]
    assert names(mobile) == ["IPAD-ANA"]


@pytest.mark.parametrize(
    "text", ["élodie", "ÉLODIE", "FOLD-01", "c02élo", "macbook élodie's"]
)
def test_search_finds_a_device_whatever_the_case(console: Client, text: str) -> None:
    make_device(
        "MacBook Élodie's", serial_number="C02ÉLO", username="elodie@fernhill.example"
    )
    make_device("fold-01", real_name="ÉLODIE")
    make_device("OTHER")

    found = names(console.get(reverse("scoping:computer-list"), {"q": text}))

    assert found
    assert "OTHER" not in found


def test_filters_narrow_the_list_and_stand_as_chips(console: Client) -> None:
    site, building = make_site(), make_building()
    department = make_department()
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    make_device(
        "RIGHT",
        site=site,
        building=building,
        department=department,
        managed=False,
        username="ana.ruiz@fernhill.example",
    )
    make_device("WRONG", username="nobody@fernhill.example")
    asked: dict[str, str | int] = {
        "managed": "no",
        "site": site.pk,
        "building": building.pk,
        "department": department.pk,
        "match": "MATCHED",
    }

    answer = console.get(reverse("scoping:computer-list"), asked)

    assert names(answer) == ["RIGHT"]
    assert [chip.value for chip in answer.context["chips"]] == [
        "Unmanaged",
        "Studio",
        "Mill House",
        "Design",
        "Matched",
    ]
    for name, value in asked.items():
        alone = console.get(reverse("scoping:computer-list"), {name: value})
        assert names(alone) == ["RIGHT"], name
    nobody = console.get(reverse("scoping:computer-list"), {"match": "NONE"})
    assert names(nobody) == ["WRONG"]


def test_pages_reach_every_device_once_in_either_direction(console: Client) -> None:
    for number in range(120):
        make_device(f"MBP-{number // 3:03}")
    expected = [device.pk for device in Device.objects.order_by("name", "pk")]
    address = reverse("scoping:computer-list")
    pages, last = [], ""
    while address:
        answer = console.get(address)
        pages.append([device.pk for device in answer.context["devices"]])
        address, last = answer.context["next_url"], answer.context["previous_url"]

    assert [pk for page in pages for pk in page] == expected
    assert len(pages) == 3
    back = console.get(last)
    assert [device.pk for device in back.context["devices"]] == pages[1]


@pytest.mark.parametrize(
    "column", ["name", "serial", "model", "os", "user", "site", "inventory"]
)
def test_each_column_sorts_both_ways_across_pages(console: Client, column: str) -> None:
    site = make_site()
    for number in range(60):
        make_device(
            f"M{number % 7}",
            model=f"Model {number % 3}",
            username=f"user{number % 5}@fernhill.example" if number % 2 else "",
            site=site if number % 3 else None,
            last_inventory_at=timezone.now() - timedelta(days=number)
            if number % 4
            else None,
        )
    for sort in (column, f"-{column}"):
        address = f"{reverse('scoping:computer-list')}?sort={sort}"
        seen: list[int] = []
        while address:
            answer = console.get(address)
            seen += [device.pk for device in answer.context["devices"]]
            address = answer.context["next_url"]
        assert len(seen) == len(set(seen)) == 60


def test_a_position_that_cannot_be_read_shows_the_first_page(console: Client) -> None:
    make_device("MBP-ANA")

    for nonsense in ("x", "W10", "eyJhIjoxfQ"):
        answer = console.get(reverse("scoping:computer-list"), {"after": nonsense})
        assert names(answer) == ["MBP-ANA"]


@pytest.mark.parametrize("route", ["computer", "mobiledevice"])
def test_the_list_asks_as_often_for_many_as_for_few(
    console: Client, route: str, django_assert_max_num_queries: Any
) -> None:
    kind = DeviceKind.COMPUTER if route == "computer" else DeviceKind.MOBILE
    site = make_site()
    for number in range(30):
        make_device(kind=kind, site=site, username=f"u{number}@fernhill.example")
    console.get(reverse(f"scoping:{route}-list"))

    with django_assert_max_num_queries(14):
        console.get(reverse(f"scoping:{route}-list"))


def test_as_you_type_only_the_list_is_sent(console: Client) -> None:
    make_device("MBP-ANA")

    answer = console.get(
        reverse("scoping:computer-list"),
        {"q": "ana"},
        headers={"HX-Request": "true", "HX-Target": "device-list"},
    )

    page = answer.content.decode()
    assert page.lstrip().startswith('<div id="device-list">')
    assert "MBP-ANA" in page


def test_the_export_holds_what_the_filter_holds_and_no_formulas(
    console: Client, administrator: User
) -> None:
    make_device("=HYPERLINK(1)", model="@SUM", phone="+44 20 7946 0000")
    make_device("LEFT-OUT", managed=False)

    answer = console.get(reverse("scoping:computer-export"), {"managed": "yes"})
    text = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text)))

    assert [row["Computer Name"] for row in rows] == ["'=HYPERLINK(1)"]
    assert rows[0]["Model"] == "'@SUM"
    assert rows[0]["Phone Number"] == "'+44 20 7946 0000"
    note = ObjectHistory.objects.get(action="exported")
    assert note.actor == administrator
    assert "1 computers" in note.note


def device_addresses(device: Device) -> list[str]:
    route = "computer" if device.kind == DeviceKind.COMPUTER else "mobiledevice"
    views = ["detail", "edit", "location", "look-up", "delete"]
    if route == "computer":
        views.append("login")
    return [reverse(f"scoping:{route}-{view}", args=[device.pk]) for view in views]


@pytest.mark.parametrize("kind", DeviceKind.values)
def test_a_device_of_a_foreign_site_is_not_found(
    site_administrator: tuple[Client, Any], kind: str
) -> None:
    client, site = site_administrator
    own = make_device("OWN", kind=DeviceKind(kind), site=site)
    foreign = make_device("FOREIGN", kind=DeviceKind(kind), site=make_site("Elsewhere"))
    without = make_device("WITHOUT", kind=DeviceKind(kind))

    for address in device_addresses(own):
        assert client.get(address).status_code == 200, address
    for device in (foreign, without):
        for address in device_addresses(device):
            assert client.get(address).status_code == 404, address
            assert client.post(address).status_code in {404, 405}, address
    route = "computer" if kind == DeviceKind.COMPUTER else "mobiledevice"
    taken = client.post(reverse(f"scoping:{route}-take", args=[foreign.pk]))
    assert taken.status_code == 404
    assert names(client.get(reverse(f"scoping:{route}-list"))) == ["OWN"]
    exported = client.get(reverse(f"scoping:{route}-export"))
    text = b"".join(exported.streaming_content).decode()  # type: ignore[attr-defined]
    assert "OWN" in text
    assert "FOREIGN" not in text
    assert "WITHOUT" not in text


def test_a_computer_is_not_served_as_a_mobile_device(console: Client) -> None:
    device = make_device()

    assert console.get(f"/devices/{device.pk}/").status_code == 404


FACTS = {
    "name": "MBP-ANA",
    "serial_number": "c02abc ",
    "managed": "on",
    "last_reported_ip": "10.20.0.7",
    "username": "Ana.Ruiz@fernhill.example",
    "email": "ana@fernhill.example",
}


def test_adding_a_device_keeps_facts_sources_and_history(
    console: Client, administrator: User
) -> None:
    answer = console.post(reverse("scoping:computer-new"), FACTS)

    device = Device.objects.get()
    assert answer.status_code == 302
    assert device.serial_number == "C02ABC"
    assert device.assigned_user is not None
    assert device.assigned_user.key == "ana.ruiz@fernhill.example"
    assert device.sources["email"]["source"] == Device.Source.PERSON
    assert device.sources["email"]["by"] == str(administrator)
    assert entries_for(device).get().note == "Added the computer"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("serial_number", "TAKEN", "in the inventory already"),
        ("serial_number", "taken", "in the inventory already"),
        ("name", "", "required"),
        ("last_reported_ip", "10.20.0", "valid IPv4 or IPv6"),
    ],
)
def test_a_wrong_fact_is_said_and_what_was_typed_stays(
    console: Client, field: str, value: str, says: str
) -> None:
    make_device(serial_number="TAKEN")

    answer = console.post(
        reverse("scoping:computer-new"), {**FACTS, "room": "4 East", field: value}
    )

    page = answer.content.decode()
    assert answer.status_code == 422
    assert says in page
    assert "4 East" in page
    assert Device.objects.count() == 1


def test_editing_says_what_changed_and_nothing_when_nothing_did(
    console: Client,
) -> None:
    device = make_device("MBP-OLD", last_inventory_at=None)
    address = reverse("scoping:computer-edit", args=[device.pk])
    facts = {
        "name": "MBP-NEW",
        "serial_number": device.serial_number,
        "model": device.model,
        "os_version": device.os_version,
        "managed": "on",
    }

    console.post(address, facts)
    console.post(address, facts)

    assert [entry.details for entry in entries_for(device)] == [
        {"changes": [["Name", "MBP-OLD", "MBP-NEW"]]}
    ]
    refused = console.post(address, {**facts, "name": ""})
    assert refused.status_code == 422
    assert "Edit MBP-NEW" in refused.content.decode()


def test_a_site_administrator_cannot_move_a_device_to_another_site(
    site_administrator: tuple[Client, Any],
) -> None:
    client, site = site_administrator
    elsewhere = make_site("Elsewhere")
    device = make_device(site=site)
    facts = {"name": "X", "serial_number": device.serial_number, "managed": "on"}

    for wanted in (elsewhere.pk, ""):
        answer = client.post(
            reverse("scoping:computer-edit", args=[device.pk]),
            {**facts, "site": wanted},
        )
        assert answer.status_code == 422
    device.refresh_from_db()
    assert device.site == site


def test_deleting_asks_for_the_serial_number(console: Client) -> None:
    device = make_device()
    address = reverse("scoping:computer-delete", args=[device.pk])

    refused = console.post(address, {"confirm": "something"})
    assert refused.status_code == 422
    assert Device.objects.filter(pk=device.pk).exists()

    console.post(address, {"confirm": device.serial_number})
    assert not Device.objects.filter(pk=device.pk).exists()
    assert ObjectHistory.objects.filter(
        object_pk=str(device.pk), action="deleted"
    ).exists()


def test_nobody_logged_in_is_kept_apart_from_never_reported(console: Client) -> None:
    device = make_device()
    address = reverse("scoping:computer-login", args=[device.pk])

    answer = console.post(
        address,
        {"channel": "MDM", "user_name": "", "reported_at": "2026-01-02T03:04"},
    )

    assert answer.status_code == 302
    login = LastLogin.objects.get()
    assert login.user is None
    page = console.get(f"{device.get_absolute_url()}?tab=logins").content.decode()
    assert "Nobody is logged in" in page
    assert page.count("Unknown: never reported") == 2


def test_an_older_report_changes_nothing() -> None:
    device, now = make_device(), timezone.now()
    make_login(device, "ana.ruiz@fernhill.example", at=now)

    make_login(device, "tom@fernhill.example", at=now - timedelta(hours=1))

    assert str(LastLogin.objects.get().user) == "ana.ruiz@fernhill.example"


def test_a_report_from_the_future_is_refused(console: Client) -> None:
    device = make_device()

    answer = console.post(
        reverse("scoping:computer-login", args=[device.pk]),
        {"channel": "MDM", "user_name": "ana", "reported_at": "2999-01-01T00:00"},
    )

    assert answer.status_code == 422
    assert "has not come yet" in answer.content.decode()
    assert not InventoryUser.objects.exists()


def test_reports_of_many_computers_take_as_many_queries_as_of_few(
    django_assert_max_num_queries: Any,
) -> None:
    devices = [make_device() for _ in range(60)]
    now = timezone.now()
    reports = [
        inventory.LoginReport(
            device=device,
            channel=LastLogin.Channel.AGENT,
            user_name=f"user{number}@fernhill.example",
            reported_at=now,
        )
        for number, device in enumerate(devices)
    ]

    with django_assert_max_num_queries(22):
        inventory.report_logins(reports, actor=None, now=now)

    assert LastLogin.objects.count() == 60


@pytest.mark.parametrize(
    "tab", ["general", "location", "logins", "groups", "history", "nonsense"]
)
def test_every_tab_of_a_device_opens(console: Client, tab: str) -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    device = make_device("MBP-ANA", username="ana.ruiz@fernhill.example")
    make_login(device, "ana.ruiz@fernhill.example")

    answer = console.get(f"{device.get_absolute_url()}?tab={tab}")

    assert answer.status_code == 200
    assert "MBP-ANA" in answer.content.decode()


def test_a_change_of_a_device_is_announced_inside_its_transaction(
    console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[changes.Change] = []

    def listen(change: changes.Change, now: Any) -> None:
        heard.append(change)
        raise RuntimeError("undo")

    device = make_device("MBP-OLD")
    monkeypatch.setattr(changes, "_listeners", [listen])

    with pytest.raises(RuntimeError, match="undo"):
        inventory.change_device(
            device=device, values={"name": "MBP-NEW"}, actor=None, now=timezone.now()
        )

    device.refresh_from_db()
    assert device.name == "MBP-OLD"
    assert heard[0].devices == {device.pk}


@pytest.mark.parametrize("view", ["edit", "location"])
def test_a_device_deleted_in_another_tab_is_said_and_what_was_typed_stays(
    console: Client, administrator: User, view: str
) -> None:
    device = make_device("MBP-ANA")
    pk = device.pk
    inventory.delete_device(device=device, actor=administrator, now=timezone.now())

    answer = console.post(
        reverse(f"scoping:computer-{view}", args=[pk]),
        {"name": "Typed name", "username": "Typed name"},
    )

    page = answer.content.decode()
    assert answer.status_code == 422
    assert f"MBP-ANA was deleted by {administrator}" in page
    assert "Nothing was saved" in page
    assert "Typed name" in page
    assert console.get(answer.request["PATH_INFO"]).status_code == 404


def test_a_deletion_at_a_foreign_site_is_not_told(
    site_administrator: tuple[Client, Any], administrator: User
) -> None:
    client, _ = site_administrator
    device = make_device("SECRET", site=make_site("Elsewhere"))
    pk = device.pk
    inventory.delete_device(device=device, actor=administrator, now=timezone.now())

    answer = client.post(reverse("scoping:computer-edit", args=[pk]), {"name": "x"})

    assert answer.status_code == 404
