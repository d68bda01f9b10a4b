"""The pages that belong to the console as a whole."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory.models import WorkerHeartbeat
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.record import record
from scoping.models import Device, DeviceKind, Site

pytestmark = pytest.mark.django_db


def make_device(name: str, site: Site | None = None) -> Device:
    return Device.objects.create(
        kind=DeviceKind.COMPUTER,
        name=name,
        serial_number=f"SERIAL-{name}",
        site=site,
    )


def site_reader(site: Site, *privileges: str) -> Client:
    user = User.objects.create(
        username="reader",
        access_level=AccessLevel.SITE,
        site=site,
        privilege_set=PrivilegeSet.CUSTOM,
        privileges=list(privileges),
        created_at=timezone.now(),
    )
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client


def test_an_empty_console_says_what_to_do_first(console: Client) -> None:
    page = console.get("/").content.decode()

    assert "Enter the Entra ID application" in page
    assert "No worker is running" in page


def test_the_first_page_counts_what_is_there(console: Client) -> None:
    make_device("FHC-0001")
    WorkerHeartbeat.objects.create(name="worker", at=timezone.now())

    page = console.get("/").content.decode()

    assert "1 managed" in page
    assert "No worker is running" not in page


def test_search_finds_a_device_and_a_page_by_name(console: Client) -> None:
    make_device("Render-Node")

    devices = console.get("/search/", {"q": "render"}).content.decode()
    pages = console.get("/search/", {"q": "network seg"}).content.decode()

    assert "Render-Node" in devices
    assert "Network segments" in pages


def test_search_finds_a_device_by_its_name_in_any_script_and_case(
    console: Client,
) -> None:
    make_device("RÉNDER-Ångström")

    assert (
        "RÉNDER-Ångström"
        in console.get("/search/", {"q": "rénder-ångs"}).content.decode()
    )


def test_search_as_you_type_answers_with_the_fragment_alone(console: Client) -> None:
    make_device("Render-Node")

    fragment = console.get(
        "/search/",
        {"q": "render"},
        headers={"HX-Request": "true", "HX-Target": "search-results"},
    ).content.decode()

    assert "Render-Node" in fragment
    assert "<html" not in fragment


def test_search_shows_nothing_of_a_foreign_site() -> None:
    mine, foreign = Site.objects.create(name="Mine"), Site.objects.create(name="Other")
    make_device("FH-mine", mine)
    make_device("FH-foreign", foreign)
    client = site_reader(mine, "Read Computers")

    page = client.get("/search/", {"q": "FH-"}).content.decode()

    assert "FH-mine" in page
    assert "FH-foreign" not in page


def test_search_without_a_hit_says_what_it_looks_at(console: Client) -> None:
    page = console.get("/search/", {"q": "zzz"}).content.decode()

    assert "serial number" in page


def test_system_says_that_no_worker_runs(console: Client) -> None:
    page = console.get("/settings/system/").content.decode()

    assert "None is running" in page
    assert "Secrets can be read and written" in page


def test_system_says_that_the_key_is_missing(console: Client, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = []

    assert (
        "no credential can be stored"
        in console.get("/settings/system/").content.decode()
    )


def test_history_lists_the_newest_first_and_pages_without_gaps(
    console: Client, administrator: User
) -> None:
    site = Site.objects.create(name="Bristol")
    for number in range(120):
        record(obj=site, actor=administrator, note=f"Change {number:03}")

    seen: list[str] = []
    response = console.get("/activity/history/")
    seen += [row.note for row in response.context["rows"]]
    for _ in range(2):
        response = console.get("/activity/history/" + response.context["older_url"])
        seen += [row.note for row in response.context["rows"]]

    assert seen == [f"Change {number:03}" for number in reversed(range(120))]
    assert response.context["older_url"] == ""
    back = console.get("/activity/history/" + response.context["newer_url"])
    assert [row.note for row in back.context["rows"]][-1] == "Change 020"


def test_history_is_filtered_by_text_and_by_author(
    console: Client, administrator: User
) -> None:
    site = Site.objects.create(name="Bristol")
    record(obj=site, actor=administrator, note="Renamed")
    record(obj=site, actor=None, note="Followed the directory")

    by_text = console.get("/activity/history/", {"q": "renamed"})
    by_author = console.get("/activity/history/", {"actor": "console"})

    assert [row.note for row in by_text.context["rows"]] == ["Renamed"]
    assert [row.note for row in by_author.context["rows"]] == ["Followed the directory"]


def test_history_of_a_foreign_site_is_not_shown(administrator: User) -> None:
    mine, foreign = Site.objects.create(name="Mine"), Site.objects.create(name="Other")
    record(obj=make_device("FH-mine", mine), actor=administrator, note="Mine changed")
    record(obj=make_device("FH-far", foreign), actor=administrator, note="Far changed")
    client = site_reader(mine, "Read Computers", "View Event Logs")

    response = client.get("/activity/history/")

    assert [row.note for row in response.context["rows"]] == ["Mine changed"]


def test_health_tells_a_load_balancer_nothing_but_that_it_lives() -> None:
    response = Client(SERVER_NAME="localhost").get("/health/")

    assert response.json() == {"status": "ok"}


def test_a_page_that_is_not_there_says_so_in_the_console_s_words(
    console: Client,
) -> None:
    response = console.get("/no-such-page/")

    assert response.status_code == 404
    assert "Device console" in response.content.decode()


def test_a_form_of_another_site_is_refused_with_what_to_do(administrator: User) -> None:
    client = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
    client.force_login(administrator)

    response = client.post("/logout/")

    assert response.status_code == 403
    assert "Device console" in response.content.decode()
