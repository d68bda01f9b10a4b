"""Looking at one site alone."""

import pytest
from django.test import Client
from django.utils import timezone

from jamfidp.accounts.models import AccessLevel, AccountGroup, PrivilegeSet, User
from scoping.models import Site
from tests.scoping_factories import make_device, make_site

pytestmark = pytest.mark.django_db


@pytest.fixture
def sites() -> tuple[Site, Site]:
    bristol, lisbon = make_site("Bristol"), make_site("Lisbon")
    make_device(name="FH-bristol", site=bristol)
    make_device(name="FH-lisbon", site=lisbon)
    make_device(name="FH-nowhere", site=None)
    return bristol, lisbon


def listed(client: Client) -> set[str]:
    page = client.get("/computers/").content.decode()
    return {name for name in ("FH-bristol", "FH-lisbon", "FH-nowhere") if name in page}


def test_choosing_a_site_shows_that_site_alone_until_all_are_chosen_again(
    console: Client, sites: tuple[Site, Site]
) -> None:
    console.post("/account/site/", {"site": sites[0].pk})
    assert listed(console) == {"FH-bristol"}

    console.post("/account/site/", {"site": ""})
    assert listed(console) == {"FH-bristol", "FH-lisbon", "FH-nowhere"}


def test_the_choice_gives_nothing_that_is_not_held(sites: tuple[Site, Site]) -> None:
    client = Client(SERVER_NAME="localhost")
    client.force_login(site_reader(sites[0]))

    answer = client.post("/account/site/", {"site": sites[1].pk}, follow=True)

    assert "You hold nothing at this site" in answer.content.decode()
    assert listed(client) == {"FH-bristol"}


def test_a_choice_left_in_the_session_gives_nothing_after_the_privilege_went(
    sites: tuple[Site, Site],
) -> None:
    user = site_reader(sites[0])
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    client.post("/account/site/", {"site": sites[0].pk})

    user.groups.set([reading_group(sites[1])])

    assert "FH-bristol" not in client.get("/computers/").content.decode()


def test_a_chosen_site_that_was_deleted_shows_everything_again(
    console: Client, sites: tuple[Site, Site]
) -> None:
    empty = make_site("Porto")
    console.post("/account/site/", {"site": empty.pk})
    assert listed(console) == set()

    empty.delete()

    assert listed(console) == {"FH-bristol", "FH-lisbon", "FH-nowhere"}


def test_somebody_with_one_site_is_not_asked(sites: tuple[Site, Site]) -> None:
    client = Client(SERVER_NAME="localhost")
    client.force_login(site_reader(sites[0]))

    assert "All sites" not in client.get("/computers/").content.decode()


@pytest.mark.parametrize(
    "address", ["//evil.example/", "https://evil.example/", "\\\\evil"]
)
def test_the_way_back_stays_in_the_console(console: Client, address: str) -> None:
    answer = console.post("/account/site/", {"site": "", "next": address})

    assert answer["Location"] == "/"


def reading_group(site: Site) -> AccountGroup:
    return AccountGroup.objects.create(
        display_name=f"Readers of {site}",
        access_level=AccessLevel.SITE,
        site=site,
        privilege_set=PrivilegeSet.CUSTOM,
        privileges=["Read Computers"],
    )


def site_reader(site: Site) -> User:
    user = User.objects.create(
        username="reader", access_level=AccessLevel.GROUP, created_at=timezone.now()
    )
    user.groups.add(reading_group(site))
    return user
