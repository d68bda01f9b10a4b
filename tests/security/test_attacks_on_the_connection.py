"""Attacks on connecting a tenant and on signing in, through the real sandbox.

The rows are those of docs/security.md.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from directory import connect
from directory.entra.sign_in import nonce_hash
from directory.models import CloudIdentityProvider, ConsentRequest
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from scoping import importing
from scoping.models import DeviceKind, InventoryImport
from tests import cast, factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, local, register
from tests.directory.sandbox.browser import Answer, Browser, Page

pytestmark = [pytest.mark.django_db, pytest.mark.processes]


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def test_a39_a_start_request_opened_by_somebody_else_connects_nothing(
    journey: Journey,
) -> None:
    """The attacker sends his link; the victim, an administrator too, consents."""
    page = journey.begin()
    link = journey.start_link(page)
    victim = Journey(browser_for(factories.administrator("victim")), journey.sandbox)

    microsoft = victim.go(link)
    callback = victim.to_callback(victim.code(victim.consent(microsoft)))
    refused = victim.go(callback)

    assert refused.endswith("/refused/other-browser/")
    assert journey.attempt(page).step == ConsentRequest.Step.STARTED
    assert not CloudIdentityProvider.objects.exists()
    assert ObjectHistory.objects.filter(action="refused").count() == 1


def test_a5_the_nonce_of_another_attempt_connects_nothing(journey: Journey) -> None:
    other = journey.attempt(journey.begin())
    nonce = connect._unseal(other)["nonce"]
    page = journey.answered()
    journey.sandbox.control("POST", "forge", {"claims": {"nonce": nonce_hash(nonce)}})

    journey.verify(page)

    assert journey.attempt(page).step == ConsentRequest.Step.FAILED
    assert not CloudIdentityProvider.objects.exists()


def test_a5_the_nonce_of_another_sign_in_signs_nobody_in(
    journey: Journey, administrator: User
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    person = Client(SERVER_NAME="localhost")

    def begin(client: Client) -> str:
        response = client.get("/login/entra/", {"connection": cloud_idp.pk})
        return str(response["Location"])

    def query(address: str) -> dict[str, list[str]]:
        return parse_qs(urlsplit(address).query)

    other = query(begin(Client(SERVER_NAME="localhost")))["nonce"][0]
    pages = Browser(journey.sandbox.pages_url)
    answer = pages.sign_in(begin(person), upn=cast.ANA.upn, password=cast.PASSWORD)
    if isinstance(answer, Page):
        answer = pages.submit(answer, press="Accept")
    assert isinstance(answer, Answer)
    journey.sandbox.control("POST", "forge", {"claims": {"nonce": other}})

    response = person.get("/login/entra/callback/", answer.values)

    assert response["Location"] == "/login/entra/refused/"
    assert "_auth_user_id" not in person.session
    assert "id_token:nonce" in person.get(response["Location"]).content.decode()


def test_a40_the_end_of_the_microsoft_session_leads_to_the_console_alone(
    journey: Journey,
) -> None:
    page = journey.answered()
    journey.verify(page)
    ending = journey.console.get(journey.go(page)).content.decode()
    start = ending.index("/connector/end/")
    link = ending[start : ending.index('"', start)].replace("&amp;", "&")
    microsoft = journey.go(link + "&post_logout_redirect_uri=https://evil.example")
    back = journey.pages.open(microsoft)

    way = journey.go(local(back.headers["Location"]) + "?next=//evil.example")

    assert "evil.example" not in microsoft
    assert way.startswith("http://localhost:8000/settings/cloud-idps/consent/callback/")


def test_a53_cookies_of_the_connector_stay_with_the_connector(journey: Journey) -> None:
    journey.go(journey.start_link(journey.begin()))

    cookies: Any = journey.console.cookies
    flows = [one for name, one in cookies.items() if name.startswith("connector_flow")]
    assert flows
    for cookie in flows:
        assert cookie["path"] == "/connector/"
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"


# --- Files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbfSerial Number\nC02T\x00\n", id="NUL behind a mark"),
        pytest.param("Serial Number\nC0\x00T\n".encode("utf-16"), id="NUL in UTF-16"),
        pytest.param(b"Serial Number\n" + b"x" * importing.MAX_BYTES, id="too large"),
        pytest.param(b"Serial Number\n" + b"x" * 200_000, id="one endless cell"),
    ],
)
def test_a51_a_file_that_is_no_list_is_refused_whole(
    content: bytes, administrator: User
) -> None:
    with pytest.raises(importing.FileRefused):
        importing.upload(
            content=content,
            file_name="devices.csv",
            kind=DeviceKind.COMPUTER,
            site=None,
            look_up=False,
            actor=administrator,
            now=timezone.now(),
        )

    assert not InventoryImport.objects.exists()
