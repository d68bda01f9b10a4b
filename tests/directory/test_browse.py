"""Lists and pages of people, groups and sync runs."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
)
from directory.sync.attributes import fold
from tests import factories

HTMX = {"HX-Request": "true"}


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp()
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


def person(idp: CloudIdentityProvider, name: str, **values: object) -> DirectoryUser:
    return factories.directory_user(name, idp, search=fold(name), **values)


def group(
    idp: CloudIdentityProvider,
    name: str,
    *members: DirectoryUser | DirectoryGroup,
    **values: object,
) -> DirectoryGroup:
    return factories.directory_group(
        name, idp, *members, **{"search": fold(name)} | values
    )


def text(client: Client, address: str, status: int = 200, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == status
    return re.sub(r"\s+", " ", answer.content.decode())


def names(client: Client, address: str) -> list[str]:
    """The names in the first column, in their order."""
    return re.findall(
        r'<th scope="row"><a href="[^"]*"><bdi>([^<]*)</bdi>', text(client, address)
    )


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        pytest.param("ruiz", ["Ana Ruiz"], id="letter case does not matter"),
        pytest.param("ANA", ["Ana Ruiz", "Joana Lima"], id="within a word"),
        pytest.param("astrom", ["Ingrid Åström"], id="marks do not matter"),
        pytest.param("Åström", ["Ingrid Åström"], id="marks may be typed"),
        pytest.param("حداد", ["ليلى حداد"], id="right-to-left script"),
        pytest.param("ruiz ana", ["Ana Ruiz"], id="words in any order"),
        pytest.param("100%", [], id="a percent sign is a percent sign"),
        pytest.param("o'neill", ["Siobhán O'Neill"], id="an apostrophe"),
    ],
)
def test_people_are_found_as_one_types(
    console: Client, fernhill: CloudIdentityProvider, typed: str, found: list[str]
) -> None:
    for name in (
        "Ana Ruiz",
        "Joana Lima",
        "Ingrid Åström",
        "ليلى حداد",
        "Siobhán O'Neill",
    ):
        person(fernhill, name)

    shown = names(console, f"/users/?q={typed.replace('%', '%25')}")

    assert [name.replace("&#x27;", "'") for name in shown] == found


def test_a_person_is_found_by_object_id(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz")
    person(fernhill, "Milo Brandt")

    assert names(console, f"/users/?q={ana.object_id.upper()}") == ["Ana Ruiz"]


def test_the_list_of_people_filters_by_status_type_and_connection(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    person(fernhill, "Enabled")
    person(fernhill, "Disabled", account_enabled=False)
    person(fernhill, "Guest", user_type="Guest")
    person(fernhill, "Gone", state="DELETED")
    person(quarrel, "Elsewhere")

    assert names(console, "/users/") == ["Disabled", "Elsewhere", "Enabled", "Guest"]
    assert names(console, "/users/?status=disabled") == ["Disabled"]
    assert names(console, "/users/?status=deleted") == ["Gone"]
    assert names(console, "/users/?type=guest") == ["Guest"]
    assert names(console, f"/users/?connection={quarrel.pk}") == ["Elsewhere"]
    assert names(console, "/users/?status=nonsense") == names(console, "/users/")


def test_a_filter_in_force_is_a_chip_that_removes_it(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    person(fernhill, "Ana Ruiz", account_enabled=False)

    page = text(console, "/users/?status=disabled&q=ana&sort=-name")

    assert (
        'href="?status=disabled&amp;sort=-name" aria-label="Remove the filter Search ana"'
        in page
    )
    assert (
        'href="?q=ana&amp;sort=-name" aria-label="Remove the filter Status Disabled"'
        in page
    )


def test_pages_of_people_are_stable_while_people_come_and_go(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    for number in range(120):
        person(fernhill, f"Person {number:03}")
    first = text(console, "/users/?sort=name")
    next_url = re.search(r'rel="next" href="([^"]+)"', first)
    assert next_url is not None
    assert "50 of 120 users" in first

    person(fernhill, "Aaron First")
    second_address = "/users/" + next_url[1].replace("&amp;", "&")

    shown = names(console, second_address)
    assert shown == [f"Person {number:03}" for number in range(50, 100)]
    back = re.search(r'rel="prev" href="([^"]+)"', text(console, second_address))
    assert back is not None
    before = names(console, "/users/" + back[1].replace("&amp;", "&"))
    assert before == [f"Person {number:03}" for number in range(50)]


def test_people_sort_by_every_column_that_says_so(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    person(fernhill, "Ana", department="Z", position="B")
    person(fernhill, "Bo", department="A", position="C")

    assert names(console, "/users/?sort=department") == ["Bo", "Ana"]
    assert names(console, "/users/?sort=-position") == ["Bo", "Ana"]
    assert names(console, "/users/?sort=-name") == ["Bo", "Ana"]
    assert 'aria-sort="descending"' in text(console, "/users/?sort=-name")


def test_typing_fetches_the_list_alone(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    person(fernhill, "Ana Ruiz")

    answer = console.get("/users/?q=ana", headers={**HTMX, "HX-Target": "user-list"})

    assert answer.content.decode().lstrip().startswith('<div id="user-list"')
    # What stands outside of the list and follows from it comes along.
    assert 'id="user-count" hx-swap-oob="true">1</span>' in answer.content.decode()
    assert 'action="/users/export/?q=ana"' in answer.content.decode()
    assert "HX-Target" in answer["Vary"]


def test_typing_fetches_the_list_of_groups_alone(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    factories.directory_group("Frontend", fernhill)
    factories.directory_group("Backend", fernhill)

    answer = console.get(
        "/groups/?q=front", headers={**HTMX, "HX-Target": "group-list"}
    )

    page = answer.content.decode()
    assert page.lstrip().startswith('<div id="group-list"')
    assert "Backend" not in page
    assert 'id="group-count" hx-swap-oob="true">1</span>' in page
    assert 'action="/groups/export/?q=front"' in page


@pytest.mark.parametrize("address", ["/users/", "/groups/"])
def test_a_list_asks_the_database_as_often_for_many_rows_as_for_few(
    console: Client, fernhill: CloudIdentityProvider, address: str
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            text(console, address)
        return len(asked)

    person(fernhill, "One")
    group(fernhill, "One")
    few = queries()
    for number in range(30):
        person(fernhill, f"Person {number}")
        group(fernhill, f"Group {number}")

    assert queries() == few


def test_a_person_shows_each_group_with_the_path_by_which_it_is_held(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz")
    frontend = group(fernhill, "Frontend", ana)
    group(fernhill, "Engineering", frontend)

    page = text(console, ana.get_absolute_url())

    assert "Ana Ruiz is in Engineering through Frontend" in page
    assert "Ana Ruiz is a direct member of Frontend" in page


def test_a_person_page_does_not_ask_more_with_more_groups(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz")

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            text(console, ana.get_absolute_url())
        return len(asked)

    inner = group(fernhill, "Inner", ana)
    group(fernhill, "Outer", inner)
    few = queries()
    for number in range(20):
        inner = group(fernhill, f"Inner {number}", ana)
        group(fernhill, f"Outer {number}", inner)

    assert queries() == few


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"state": "DELETED"}, "This person was deleted in Entra."),
        ({"state": "MENTIONED", "account_enabled": None}, "has not been read yet"),
        ({"account_enabled": False}, "This account is disabled in Entra."),
        ({"user_type": "Guest"}, "This person is a guest of the tenant."),
        ({"account_enabled": None}, "Enabled: not known"),
    ],
)
def test_a_person_page_says_what_the_state_means(
    console: Client,
    fernhill: CloudIdentityProvider,
    values: dict[str, object],
    says: str,
) -> None:
    ana = person(fernhill, "Ana Ruiz", **values)

    assert says in text(console, ana.get_absolute_url())


def test_a_deleted_person_is_in_no_group(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz", state="DELETED")
    group(fernhill, "Frontend", ana)

    assert "Frontend" not in text(console, ana.get_absolute_url())


def test_groups_of_one_name_are_told_apart(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    first = group(fernhill, "Contractors", mail="it@fernhill.example")
    second = group(fernhill, "Contractors")
    group(fernhill, "Alone", mail="alone@fernhill.example")

    page = text(console, "/groups/")

    assert "it@fernhill.example, Fernhill Studio" in page
    assert f"{second.object_id}, Fernhill Studio" in page
    assert "alone@fernhill.example, Fernhill Studio" not in page
    twin = text(console, first.get_absolute_url())
    assert "Other groups have the same name." in twin
    assert second.object_id in twin


def test_groups_filter_by_kind_and_membership(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    group(fernhill, "Rule", is_dynamic=True)
    group(fernhill, "News", kind=DirectoryGroup.Kind.MICROSOFT_365)
    group(fernhill, "Secret", hidden_membership=True)

    assert names(console, "/groups/?membership=dynamic") == ["Rule"]
    assert names(console, "/groups/?kind=microsoft_365") == ["News"]
    assert names(console, "/groups/?membership=hidden") == ["Secret"]
    assert names(console, "/groups/?sort=-name") == ["Secret", "Rule", "News"]


def test_hidden_membership_is_never_shown_as_nobody(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    secret = group(fernhill, "Secret", hidden_membership=True)

    listed = text(console, "/groups/")
    page = text(console, secret.get_absolute_url())

    assert (
        '<td data-label="Members" class="number"> <span class="text-secondary">hidden'
        in listed
    )
    assert "Entra hides who is in this group." in page
    assert "Nobody is in this group" not in page


def test_a_group_with_a_hidden_group_in_it_has_at_least_its_members(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    secret = group(fernhill, "Secret", hidden_membership=True)
    inner = group(fernhill, "Inner", secret)
    outer = group(fernhill, "Outer", inner, person(fernhill, "Ana Ruiz"))
    alone = group(fernhill, "Alone", person(fernhill, "Milo Brandt"))

    claim = "The effective members are at least these."

    assert claim in text(console, outer.get_absolute_url())
    assert claim not in text(console, alone.get_absolute_url())


def test_a_group_shows_effective_members_with_the_way_in_and_direct_ones(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    frontend = group(fernhill, "Frontend", person(fernhill, "Ana Ruiz"))
    engineering = group(
        fernhill, "Engineering", frontend, person(fernhill, "Milo Brandt")
    )

    effective = names(console, engineering.get_absolute_url())
    direct = names(console, f"{engineering.get_absolute_url()}?members=direct")
    searched = names(console, f"{engineering.get_absolute_url()}?q=ana")

    assert effective == ["Ana Ruiz", "Milo Brandt"]
    assert direct == ["Milo Brandt"]
    assert searched == ["Ana Ruiz"]
    page = text(console, engineering.get_absolute_url())
    through = page[page.index("Ana Ruiz") : page.index("Milo Brandt")]
    assert "Frontend" in through


def test_a_person_in_several_nested_groups_is_one_member(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz")
    left, right = group(fernhill, "Left", ana), group(fernhill, "Right", ana)
    top = group(fernhill, "Top", left, right, ana)

    assert names(console, top.get_absolute_url()) == ["Ana Ruiz"]


def test_a_cycle_of_groups_is_marked_once_and_cut(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    platform = group(fernhill, "Platform")
    on_call = group(fernhill, "On Call", platform)
    factories.nest(on_call, platform)

    page = text(console, platform.get_absolute_url())

    assert page.count("a cycle: it contains this group") == 1


def test_a_deep_chain_of_groups_is_shown(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    below = group(fernhill, "Level 60", person(fernhill, "Ana Ruiz"))
    for level in range(59, -1, -1):
        below = group(fernhill, f"Level {level:02}", below)

    page = text(console, below.get_absolute_url())

    assert "Level 39" in page
    assert names(console, below.get_absolute_url()) == ["Ana Ruiz"]


def test_every_page_says_how_old_its_directory_data_is(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz")
    frontend = group(fernhill, "Frontend", ana)

    for address in (
        "/users/",
        "/groups/",
        ana.get_absolute_url(),
        frontend.get_absolute_url(),
    ):
        page = text(console, address)
        assert "Directory as of" in page
        assert "was last read" not in page


def test_old_unread_and_disabled_directories_are_cautioned_about(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    CloudIdentityProvider.objects.update(
        last_good_read_at=timezone.now() - timedelta(hours=5)
    )
    assert "Fernhill Studio was last read 5 hours ago" in text(console, "/users/")

    CloudIdentityProvider.objects.update(enabled=False)
    assert "Fernhill Studio is disabled" in text(console, "/users/")

    CloudIdentityProvider.objects.update(enabled=True, first_complete_read_at=None)
    page = text(console, "/users/")
    assert "has not been read completely yet" in page
    assert "The directory has not been read yet" in page


def test_an_empty_console_says_what_to_do_next(console: Client, db: None) -> None:
    page = text(console, "/users/")

    assert "No directory is connected" in page
    assert "/settings/cloud-idps/new/" in page


def test_pickers_hand_out_tenant_and_object_id(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    ana = person(fernhill, "Ana Ruiz")
    frontend = group(fernhill, "Frontend", ana)
    group(fernhill, "Backend")

    groups = text(console, "/directory/picker/groups/?q=front")
    users = text(console, "/directory/picker/users/?q=ana&several=1&field=people")

    assert f'value="{factories.TENANT}/{frontend.object_id}"' in groups
    assert 'type="radio" name="picked"' in groups
    assert "Backend" not in groups
    assert f'value="{factories.TENANT}/{ana.object_id}"' in users
    assert 'type="checkbox" name="people"' in users


def test_a_picker_takes_no_markup_for_the_name_of_its_controls(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    group(fernhill, "Frontend")

    page = text(console, "/directory/picker/groups/?field=%22%3E%3Cscript%3E")

    assert 'name="picked"' in page
    assert "<script>" not in page
