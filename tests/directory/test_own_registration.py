"""An application for one connection alone, in place of the deployment's."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import checking, connect, credentials, deletion, registrations
from directory.models import ApplicationRegistration, CloudIdentityProvider
from jamfidp.accounts.models import User
from jamfidp.history.record import entries_for
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, answer_of, browser_for, register, saving

SETTINGS = "/settings/entra-application/"
REDIRECT_URIS = [
    "http://localhost:8000/connector/consent/",
    "http://localhost:8000/connector/code/",
    "http://localhost:8000/connector/signed-out/",
    "http://localhost:8000/login/entra/callback/",
    "http://localhost:8000/login/entra/signed-out/",
]


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def at_microsoft(sandbox: Sandbox) -> tuple[str, str]:
    """Register another application there; returns its client ID and a secret."""
    application = sandbox.control(
        "POST",
        "applications",
        {
            "display_name": "Fernhill's own",
            "redirect_uris": REDIRECT_URIS,
            "delegated": ["User.Read"],
            "application": ["User.Read.All", "GroupMember.Read.All"],
        },
    )
    client_id = application["client_id"]
    secret = sandbox.control("POST", f"applications/{client_id}/secrets", {})
    return client_id, secret["value"]


def enter(browser: Client, client_id: str, secret: str, **where: Any) -> str:
    """Enter it in the console; returns the address of its page."""
    response = browser.post(f"{SETTINGS}own/new/", {"client_id": client_id} | where)
    assert response.status_code == 303, response.content.decode()
    page = str(response["Location"])
    found = ApplicationRegistration.objects.get(client_id=client_id)
    added = browser.post(
        f"{SETTINGS}registrations/{found.pk}/add/secret/", {"client_secret": secret}
    )
    assert added.status_code == 303
    return page


def text_of(browser: Client, address: str, status: int = 200) -> str:
    response = browser.get(address)
    assert response.status_code == status, response.content.decode()
    return " ".join(response.content.decode().split())


def own(client_id: str) -> ApplicationRegistration:
    return ApplicationRegistration.objects.get(
        client_id=client_id, for_one_connection=True
    )


def through_microsoft(journey: Journey, page: str) -> str:
    """From an attempt that was begun to its verification; returns the start link."""
    link = journey.start_link(page)
    back = journey.consent(journey.go(link))
    assert journey.go(journey.to_callback(journey.code(back))) == page
    journey.verify(page)
    journey.sign_out(page)
    return link


def test_a_tenant_is_connected_read_and_signed_in_to_with_its_own_application(
    journey: Journey,
) -> None:
    client_id, secret = at_microsoft(journey.sandbox)
    browser = journey.console
    new = "/settings/cloud-idps/new/entra/"
    assert "application of its own?" in text_of(browser, new)
    assert "Mostly not" in text_of(browser, f"{SETTINGS}own/new/?cloud=SANDBOX")
    page = enter(browser, client_id, secret, cloud="SANDBOX")
    assert "Connect a tenant with it" in text_of(browser, page)
    chosen = {"cloud": "SANDBOX", "registration": own(client_id).pk}

    offered = text_of(browser, f"{new}?registration={chosen['registration']}")
    assert f"client ID {client_id}" in offered
    asked = text_of(browser, f"{new}permissions/?registration={chosen['registration']}")
    assert client_id in asked
    attempt = browser.post(f"{new}start/", chosen)["Location"]
    through_microsoft(journey, attempt)
    assert browser.post(attempt, saving()).status_code == 303

    cloud_idp = CloudIdentityProvider.objects.get()
    assert cloud_idp.own_registration == own(client_id)
    assert checking.check(cloud_idp, now=timezone.now())
    asked_for = {
        entry["client_id"]
        for entry in journey.sandbox.control("GET", "journal")["entries"]
        if entry.get("client_id")
    }
    # Consent, tokens, everything: the deployment's application was not asked for.
    assert asked_for == {client_id}
    sign_in = Client(HTTP_HOST="localhost:8000").get(
        "/login/entra/", {"connection": cloud_idp.pk}
    )
    assert answer_of(sign_in["Location"])["client_id"] == client_id
    shown = text_of(browser, cloud_idp.get_absolute_url())
    assert "an application of its own" in shown
    assert client_id in shown


def test_a_connection_changes_to_its_own_application_and_back(
    journey: Journey,
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    deployment = registrations.registration("SANDBOX")
    client_id, secret = at_microsoft(journey.sandbox)
    browser = journey.console
    again = f"/settings/cloud-idps/{cloud_idp.pk}/consent-again/"

    link = f"{SETTINGS}own/new/?connection={cloud_idp.pk}"
    assert link in text_of(browser, cloud_idp.get_absolute_url())
    assert "need an application of its own" in text_of(browser, link)
    page = enter(browser, client_id, secret, connection=cloud_idp.pk)
    assert "consent-again/" in text_of(browser, page)
    started = browser.post(again, {"registration": own(client_id).pk})["Location"]

    through_microsoft(journey, started)
    # Until it is saved, the present application stays.
    cloud_idp.refresh_from_db()
    assert cloud_idp.own_registration is None
    assert browser.post(started).status_code == 303

    cloud_idp.refresh_from_db()
    assert cloud_idp.own_registration == own(client_id)
    assert checking.check(cloud_idp, now=timezone.now())
    changed = entries_for(cloud_idp).filter(note="Renewed consent").latest("pk")
    assert changed.details["client_id"] == [deployment.client_id, client_id]

    assert "Use the deployment" in text_of(browser, cloud_idp.get_absolute_url())
    started = browser.post(again, {"registration": "deployment"})["Location"]
    through_microsoft(journey, started)
    assert browser.post(started).status_code == 303

    cloud_idp.refresh_from_db()
    assert cloud_idp.own_registration is None
    # What is not used any more stays until somebody removes it.
    page = f"{SETTINGS}own/{own(client_id).pk}/"
    assert "No connection uses it" in text_of(browser, page)
    assert client_id in text_of(browser, SETTINGS)
    assert "No connection uses it" in text_of(browser, f"{page}delete/")
    assert browser.post(f"{page}delete/").status_code == 303
    assert not ApplicationRegistration.objects.filter(client_id=client_id).exists()


def test_an_application_of_one_connection_serves_no_other(
    journey: Journey, administrator: User
) -> None:
    journey.connect()
    first = CloudIdentityProvider.objects.get()
    client_id, secret = at_microsoft(journey.sandbox)
    browser = journey.console
    enter(browser, client_id, secret, cloud="SANDBOX")
    found = own(client_id)
    # Begun while it was free, for another tenant.
    started = browser.post(
        "/settings/cloud-idps/new/entra/start/",
        {"cloud": "SANDBOX", "registration": found.pk},
    )["Location"]
    back = journey.consent(journey.go(journey.start_link(started)), tenant=1)
    journey.go(journey.to_callback(journey.code(back)))
    journey.verify(started)
    journey.sign_out(started)
    first.own_registration = found
    first.save(update_fields=["own_registration"])

    response = browser.post(started, saving(display_name="Quarrel"))

    assert response.status_code == 422
    assert "the own one of" in response.content.decode()
    assert CloudIdentityProvider.objects.count() == 1
    with pytest.raises(connect.RegistrationInUse):
        connect.begin(
            registration=found,
            cloud_idp=None,
            browser="b",
            actor=administrator,
            now=timezone.now(),
        )
    # The wizard does not offer it, and takes it from no form.
    for address in ("", "permissions/"):
        page = f"/settings/cloud-idps/new/entra/{address}?registration={found.pk}"
        assert browser.get(page).status_code == 404


def test_deleting_a_connection_erases_its_own_application(
    administrator: User,
) -> None:
    found = registrations.create_own(
        cloud_key="PUBLIC",
        client_id=factories.guid("own"),
        actor=administrator,
        now=timezone.now(),
    )
    credentials.add_secret(
        found, secret="x", expires_at=None, actor=None, now=timezone.now()
    )
    cloud_idp = factories.cloud_idp(cloud="PUBLIC", own_registration=found)
    with pytest.raises(registrations.RegistrationRefused):
        registrations.delete_own(found, actor=None, now=timezone.now())

    deletion.delete(
        cloud_idp,
        typed_name=cloud_idp.display_name,
        at_once=False,
        actor=administrator,
        now=timezone.now(),
    )

    assert not ApplicationRegistration.objects.exists()


@pytest.mark.parametrize(
    ("client_id", "sentence"),
    [
        ("nonsense", "not an application (client) ID"),
        (factories.guid("deployment"), "This is the deployment"),
        (factories.guid("taken"), "entered already, for one connection"),
    ],
)
def test_a_wrong_application_is_refused_beside_its_field(
    administrator: User, client_id: str, sentence: str
) -> None:
    browser = browser_for(administrator)
    now = timezone.now()
    registrations.save_client_id(
        cloud_key="PUBLIC",
        client_id=factories.guid("deployment"),
        connections_confirmed=False,
        actor=administrator,
        now=now,
    )
    registrations.create_own(
        cloud_key="PUBLIC",
        client_id=factories.guid("taken"),
        actor=administrator,
        now=now,
    )

    response = browser.post(
        f"{SETTINGS}own/new/", {"client_id": client_id, "cloud": "PUBLIC"}
    )

    assert response.status_code == 422
    page = response.content.decode()
    assert sentence in page
    assert f'value="{client_id}"' in page
    assert ApplicationRegistration.objects.count() == 2


def test_another_client_id_of_its_own_is_confirmed_while_it_is_in_use(
    administrator: User,
) -> None:
    browser = browser_for(administrator)
    found = registrations.create_own(
        cloud_key="PUBLIC",
        client_id=factories.guid("own"),
        actor=administrator,
        now=timezone.now(),
    )
    factories.cloud_idp(cloud="PUBLIC", own_registration=found)
    page = f"{SETTINGS}own/{found.pk}/"
    other = factories.guid("another")

    refused = browser.post(f"{page}client/", {"client_id": other})
    assert refused.status_code == 422
    assert "Confirm below" in refused.content.decode()
    confirmed = {"client_id": other, "connections_confirmed": "on"}
    assert browser.post(f"{page}client/", confirmed).status_code == 303
    found.refresh_from_db()
    assert found.client_id == other
    # Removing it is not offered, and is refused.
    assert "delete/" not in text_of(browser, page)
    assert browser.post(f"{page}delete/").status_code == 422


def test_a_connection_that_is_not_there_has_no_page(administrator: User) -> None:
    browser = browser_for(administrator)

    for named in ("9", "x", "9" * 30):
        address = f"{SETTINGS}own/new/?connection={named}"
        assert browser.get(address).status_code == 404
    assert browser.get(f"{SETTINGS}own/new/?cloud=MOON").status_code == 404
