"""Sites, buildings, departments, network segments."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from scoping.models import Building, Department, NetworkSegment, Site
from tests.scoping_factories import (
    make_building,
    make_department,
    make_device,
    make_network_segment,
    make_site,
)

pytestmark = pytest.mark.django_db

MODELS: dict[str, type[Model]] = {
    "site": Site,
    "building": Building,
    "department": Department,
    "networksegment": NetworkSegment,
}
ROUTES = list(MODELS)
RANGE = {"starting_address": "10.0.0.1", "ending_address": "10.0.0.9"}


def make(route: str, name: str) -> Any:
    makers: dict[str, Any] = {
        "site": make_site,
        "building": make_building,
        "department": make_department,
        "networksegment": make_network_segment,
    }
    return makers[route](name)


@pytest.mark.parametrize("route", ROUTES)
def test_each_kind_is_created_renamed_and_deleted_with_history(
    console: Client, administrator: User, route: str
) -> None:
    created = console.post(
        reverse(f"scoping:{route}-new"), {"name": " Mill House ", **RANGE}
    )
    row: Any = MODELS[route]._default_manager.get()
    assert created.status_code == 302
    assert row.name == "Mill House"

    console.post(
        reverse(f"scoping:{route}-edit", args=[row.pk]), {"name": "Mill", **RANGE}
    )
    row.refresh_from_db()
    assert row.name == "Mill"
    assert "Mill" in console.get(reverse(f"scoping:{route}-list")).content.decode()

    address = reverse(f"scoping:{route}-delete", args=[row.pk])
    assert console.post(address, {"confirm": "Mil"}).status_code == 422
    assert console.post(address, {"confirm": "Mill"}).status_code == 302
    assert not type(row).objects.exists()
    notes = ObjectHistory.objects.filter(
        object_label=row._meta.label_lower, object_pk=str(row.pk), actor=administrator
    )
    assert [entry.action for entry in notes.order_by("pk")] == [
        "added",
        "changed",
        "deleted",
    ]


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("site", "Site of 1 device"),
        ("building", "Building of 1 device"),
        ("department", "Department of 1 device"),
        ("networksegment", "Network segment, 10.0.0.1 to 10.0.0.9"),
    ],
)
def test_the_page_of_each_kind_says_what_depends_on_it(
    console: Client, route: str, said: str
) -> None:
    console.post(reverse(f"scoping:{route}-new"), {"name": "Mill House", **RANGE})
    row: Any = MODELS[route]._default_manager.get()
    if route != "networksegment":
        make_device(**{route: row})

    page = console.get(reverse(f"scoping:{route}-detail", args=[row.pk]))
    shown = " ".join(page.content.decode().split())
    assert said in shown
    assert "Mill House" in shown
    lists = f'href="{reverse("scoping:computer-list")}?{route}={row.pk}"'
    assert (lists in shown) == (route != "networksegment")
    assert "Nothing that you may see" not in shown or route == "networksegment"


@pytest.mark.parametrize("route", ROUTES)
def test_a_name_that_is_taken_is_refused_next_to_the_name(
    console: Client, route: str
) -> None:
    make(route, "Mill House")

    answer = console.post(
        reverse(f"scoping:{route}-new"), {"name": "MILL house", **RANGE}
    )

    assert answer.status_code == 422
    assert "is named Mill House" in answer.context["form"].errors["name"][0]
    assert "MILL house" in answer.content.decode()


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        pytest.param("10.0.0.9", "10.0.0.1", "comes before", id="order"),
        pytest.param("10.0.0.9", "10.0.0.10", "", id="order by number, not by text"),
        pytest.param("10.0.0.1", "2001:db8::1", "one version", id="versions"),
        pytest.param("10.0.0", "10.0.0.1", "valid IPv4", id="no address"),
        pytest.param("2001:db8::1", "2001:db8::1", "", id="one address"),
    ],
)
def test_a_range_has_two_ends_of_one_version_in_order(
    console: Client, first: str, last: str, says: str
) -> None:
    answer = console.post(
        reverse("scoping:networksegment-new"),
        {"name": "Studio", "starting_address": first, "ending_address": last},
    )

    if says:
        assert answer.status_code == 422
        assert says in answer.content.decode()
        assert not NetworkSegment.objects.exists()
    else:
        assert NetworkSegment.objects.get().starting_address == first


def test_a_site_in_use_is_not_deleted_and_says_by_what(console: Client) -> None:
    site = make_site("Studio")
    make_device(site=site)
    make_device(site=site)
    address = reverse("scoping:site-delete", args=[site.pk])

    shown = console.get(address).content.decode()
    answer = console.post(address, {"confirm": "Studio"})

    assert "2 devices" in shown
    assert answer.status_code == 422
    assert "2 devices belong to it" in answer.content.decode()
    assert Site.objects.exists()
    assert not ObjectHistory.objects.filter(action="deleted").exists()


def test_deleting_a_building_leaves_its_devices_without_one(console: Client) -> None:
    building = make_building()
    device = make_device(building=building)
    address = reverse("scoping:building-delete", args=[building.pk])

    assert "1 device<" in console.get(address).content.decode()
    console.post(address, {"confirm": building.name})

    device.refresh_from_db()
    assert device.building is None


@pytest.mark.parametrize("route", ROUTES)
def test_the_lists_ask_as_often_for_many_as_for_few(
    console: Client, route: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        part = make(route, f"Part {number}")
        if route != "networksegment":
            make_device(**{route: part})

    with django_assert_max_num_queries(8):
        page = console.get(reverse(f"scoping:{route}-list"))

    assert len(page.context["rows"]) == 20
    found = console.get(reverse(f"scoping:{route}-list"), {"q": "part 19"})
    assert [row.name for row in found.context["rows"]] == ["Part 19"]


@pytest.fixture
def site_administrator(db: None) -> tuple[Client, Site]:
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


def test_a_foreign_site_is_not_found(site_administrator: tuple[Client, Site]) -> None:
    client, _ = site_administrator
    foreign = make_site("Elsewhere")

    answers = {
        view: client.get(reverse(f"scoping:site-{view}", args=[foreign.pk])).status_code
        for view in ("detail", "edit", "delete")
    }

    # A privilege that Site Access cannot hold refuses before anything is looked up.
    assert set(answers.values()) <= {403, 404}
    assert Site.objects.count() == 2


def test_counts_of_a_building_are_of_devices_one_may_see(
    site_administrator: tuple[Client, Site],
) -> None:
    client, site = site_administrator
    building = make_building()
    make_device(building=building, site=site)
    make_device(building=building, site=make_site("Elsewhere"))
    make_device(building=building)

    answer = client.get(reverse("scoping:building-list"))

    if answer.status_code == 200:
        assert [row.device_count for row in answer.context["rows"]] == [1]
    else:
        assert answer.status_code == 403


@pytest.mark.parametrize("route", ["building", "department", "networksegment"])
def test_what_belongs_to_everybody_is_not_changed_by_a_site(
    site_administrator: tuple[Client, Site], route: str
) -> None:
    client, _ = site_administrator
    part = make(route, "Mill House")

    for view, arguments in (("new", []), ("edit", [part.pk]), ("delete", [part.pk])):
        answer = client.post(
            reverse(f"scoping:{route}-{view}", args=arguments),
            {"name": "Other", "confirm": "Mill House", **RANGE},
        )
        assert answer.status_code == 403, view
    part.refresh_from_db()
    assert part.name == "Mill House"
    assert type(part).objects.count() == 1


def test_a_part_deleted_in_another_tab_is_said_and_what_was_typed_stays(
    console: Client,
) -> None:
    building = make_building()
    console.post(
        reverse("scoping:building-delete", args=[building.pk]),
        {"confirm": building.name},
    )

    answer = console.post(
        reverse("scoping:building-edit", args=[building.pk]), {"name": "Typed name"}
    )

    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Mill House was deleted by" in page
    assert "Typed name" in page
