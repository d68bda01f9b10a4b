"""Forms that come too late: after the session, the object or the token is gone."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from directory.models import CloudIdentityProvider
from jamfidp.accounts.models import AccountGroup, User
from scoping.models import InventoryImport, Site
from tests import factories

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery staple"


def text(response: Any) -> str:
    return str(response.content.decode())


# --- The session -------------------------------------------------------------------


@pytest.mark.usefixtures("without_second_factor")
def test_a_form_sent_after_the_session_ended_is_given_back_and_leads_to_its_page(
    console: Client, administrator: User
) -> None:
    """Typed, ended, sent, signed in again: nothing changed, and at the same place."""
    page = "/settings/sites/new/"
    assert console.get(page).status_code == 200
    console.session.flush()

    answer = console.post(
        page, {"name": "Lisbon studio"}, headers={"Referer": f"http://localhost{page}"}
    )

    assert answer.status_code == 403
    assert "Your session has ended" in text(answer)
    assert "Nothing was changed" in text(answer)
    assert "Lisbon studio" in text(answer)
    assert not Site.objects.exists()
    login = "/login/?next=%2Fsettings%2Fsites%2Fnew%2F"
    assert login in text(answer)
    back = console.post(
        login, {"username": "admin", "password": PASSWORD, "next": page}
    )
    assert (back.status_code, back["Location"]) == (303, page)


def test_an_action_is_not_repeated_by_signing_in_again(console: Client) -> None:
    """What was a button is not an address to go to after the sign-in."""
    cloud_idp = factories.cloud_idp()
    page = cloud_idp.get_absolute_url()
    console.session.flush()

    answer = console.post(
        f"{page}sync/request/", headers={"Referer": f"http://localhost{page}sync/"}
    )

    assert "sync%2F" in text(answer)
    assert "sync-now" not in text(answer)


def test_a_form_of_another_site_leads_to_no_address_of_it(console: Client) -> None:
    console.session.flush()

    answer = console.post(
        "/settings/sites/new/",
        {"name": "x"},
        headers={"Referer": "https://evil.example/settings/sites/new/"},
    )

    assert "evil.example" not in text(answer)
    assert "/login/?next=%2F" in text(answer)


def test_secrets_are_never_given_back(console: Client) -> None:
    console.session.flush()

    answer = console.post(
        "/settings/accounts/new/",
        {
            "username": "zoe",
            "password": "typed-password-1",
            "client_secret": "typed-secret-2",
            "private_key": "typed-key-3",
            "csrfmiddlewaretoken": "typed-token-4",
        },
    )

    assert "zoe" in text(answer)
    assert "typed-" not in text(answer)


def test_a_part_of_a_page_asked_for_without_a_session_leads_back_to_the_page(
    console: Client,
) -> None:
    console.session.flush()

    answer = console.get(
        "/search/?q=ana",
        headers={
            "HX-Request": "true",
            "HX-Current-URL": "http://localhost/users/?q=ana",
        },
    )

    assert answer.status_code == 302
    assert answer["Location"] == "/login/?next=/users/%3Fq%3Dana"


def test_a_form_opened_before_the_last_sign_in_is_given_back(
    administrator: User,
) -> None:
    browser = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
    browser.force_login(administrator)
    page = "/settings/sites/new/"

    answer = browser.post(
        page,
        {"name": "Lisbon studio", "csrfmiddlewaretoken": "x" * 64},
        headers={"Referer": f"http://localhost{page}"},
    )

    assert answer.status_code == 403
    assert "The form was opened too long ago" in text(answer)
    assert "Lisbon studio" in text(answer)
    assert f'href="{page}"' in text(answer)
    assert not Site.objects.exists()


def test_what_another_site_sends_is_not_shown_under_the_consoles_name(
    administrator: User,
) -> None:
    browser = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
    browser.force_login(administrator)

    answer = browser.post(
        "/settings/sites/new/",
        {"name": "Call this number"},
        headers={"Referer": "https://evil.example/"},
    )

    assert answer.status_code == 403
    assert "Call this number" not in text(answer)


# --- The object --------------------------------------------------------------------


def test_options_of_a_connection_deleted_in_another_tab_are_given_back(
    console: Client,
) -> None:
    cloud_idp = factories.cloud_idp("Fernhill Studio")
    page = f"{cloud_idp.get_absolute_url()}edit/"
    assert console.get(page).status_code == 200
    console.post(
        f"{cloud_idp.get_absolute_url()}delete/", {"confirm": "Fernhill Studio"}
    )
    assert not CloudIdentityProvider.objects.exists()

    answer = console.post(
        page, {"display_name": "Fernhill of Lisbon", "search_timeout": "45"}
    )

    assert answer.status_code == 404
    assert "What this form belongs to is not there" in text(answer)
    assert "Somebody deleted it" in text(answer)
    assert "Fernhill of Lisbon" in text(answer)
    assert not CloudIdentityProvider.objects.exists()


def test_an_account_group_deleted_in_another_tab_gives_back_what_was_typed(
    console: Client,
) -> None:
    group = factories.account_group("Helpdesk")
    page = f"{group.get_absolute_url()}edit/"
    assert console.get(page).status_code == 200
    AccountGroup.objects.all().delete()

    answer = console.post(page, {"display_name": "Helpdesk of Lisbon"})

    assert answer.status_code == 404
    assert "Somebody deleted it" in text(answer)
    assert "Helpdesk of Lisbon" in text(answer)
    assert not AccountGroup.objects.exists()


# --- The address -------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "console.attacker.example"])
def test_another_host_name_is_refused_naming_the_consoles_own(
    administrator: User, host: str
) -> None:
    answer = Client(HTTP_HOST=host).get("/login/")

    assert answer.status_code == 400
    assert "under a name that is not its own" in text(answer)
    assert "http://localhost:8000" in text(answer)
    assert 'href="http://localhost:8000/"' in text(answer)
    assert host not in text(answer)


def test_a_file_that_is_too_large_is_refused_next_to_the_field(console: Client) -> None:
    large = SimpleUploadedFile("fleet.csv", b"Serial Number\n" + b"A" * 6_000_000)

    answer = console.post("/computers/import/", {"file": large, "look_up": "on"})

    assert answer.status_code == 422
    assert "The file is too large: up to 5 MB are read" in text(answer)
    assert "Split it into several files" in text(answer)
    assert not InventoryImport.objects.exists()
