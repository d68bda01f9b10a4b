"""Connecting a tenant when something on the way is not as it should be.

What tests/directory/test_connect.py proves (declined, forged, replayed, second
connection, wrong and expired secret) is not repeated here.
"""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from django.test import Client
from kombu.pools import ProducerPool

from directory import connect
from directory.models import CloudIdentityProvider, ConsentRequest, SyncRun
from directory.tasks import run_sync
from jamfidp import filesystem_broker
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, register

pytestmark = pytest.mark.django_db

GUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.0)


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def text_of(client: Client, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, response.content.decode()
    return html.unescape(" ".join(response.content.decode().split()))


def failure(journey: Journey, page: str) -> str:
    """What the page of an attempt says that ended without a connection."""
    journey.verify(page)
    attempt = journey.attempt(page)
    assert attempt.step == ConsentRequest.Step.FAILED, attempt.verified
    assert not CloudIdentityProvider.objects.exists()
    assert not attempt.flow_sealed
    assert ObjectHistory.objects.filter(note__startswith="Not connected").count() == 1
    journey.sign_out(page)
    return text_of(journey.console, page)


def refuse_tokens(journey: Journey, number: int, error: str, status: int = 400) -> None:
    tenant = journey.sandbox.tenants[0]["id"]
    journey.sandbox.control(
        "POST",
        "faults",
        {
            "path": f"/{tenant}/oauth2/v2.0/token",
            "times": 50,
            "status": status,
            "body": {
                "error": error,
                "error_description": f"AADSTS{number}: Words. Trace ID: {GUID}",
                "error_codes": [number],
                "trace_id": GUID,
                "correlation_id": GUID,
            },
        },
    )


@pytest.mark.parametrize("offset", [-7200, 3600])
def test_a_clock_that_differs_is_named_as_the_reason(
    journey: Journey, offset: int
) -> None:
    page = journey.answered()
    journey.sandbox.control("POST", "forge", {"shift": offset})

    shown = failure(journey, page)

    assert "Check the clock of the console's server" in shown


@pytest.mark.parametrize(
    ("number", "error", "says", "advises"),
    [
        (53003, "access_denied", "Conditional Access policy", "sign-in logs"),
        (7000112, "unauthorized_client", "is disabled", "Enable sign-in"),
        (700016, "unauthorized_client", "not known in this tenant", "client) ID"),
        (900382, "invalid_request", "another Microsoft cloud", "Choose the cloud"),
        (999999, "invalid_request", "does not know", "Search Microsoft's"),
    ],
)
def test_what_microsoft_refuses_is_told_with_its_number_and_saves_nothing(
    journey: Journey, number: int, error: str, says: str, advises: str
) -> None:
    page = journey.answered()
    refuse_tokens(journey, number, error)

    shown = failure(journey, page)

    assert says in shown
    assert advises in shown
    assert f"AADSTS{number}" in shown
    assert GUID in shown


def test_a_connection_deleted_while_its_consent_is_renewed_is_not_made_anew(
    journey: Journey,
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    again = journey.console.post(f"{cloud_idp.get_absolute_url()}consent-again/")
    page = str(again["Location"])
    link = journey.start_link(page)
    deleted = journey.console.post(
        f"{cloud_idp.get_absolute_url()}delete/", {"confirm": cloud_idp.display_name}
    )
    assert deleted.status_code == 303

    assert journey.console.get(page).status_code == 404
    callback = journey.to_callback(journey.code(journey.consent(journey.go(link))))
    answer = journey.console.get(callback)

    shown = html.unescape(answer.content.decode())
    if answer.status_code == 303:
        shown = html.unescape(journey.console.get(answer["Location"]).content.decode())
    assert "its connection was deleted meanwhile" in shown
    assert "nothing was saved" in shown
    assert not CloudIdentityProvider.objects.exists()


# --- Nobody there to read it -------------------------------------------------------


def test_a_connection_is_saved_without_a_worker_and_its_first_read_waits(
    journey: Journey,
) -> None:
    response = journey.connect()

    run = SyncRun.objects.get()
    assert run.state == SyncRun.State.QUEUED
    page = str(response["Location"])
    assert "No worker is running; reads wait until one starts" in text_of(
        journey.console, page
    )
    tab = text_of(journey.console, f"{page}sync/")
    assert "No task worker is running" in tab
    assert "What was asked for waits and begins when one starts" in tab
    assert "celery --app=jamfidp worker" in tab
    assert "The first read waits for a task worker, and none is running" in text_of(
        journey.console, "/users/"
    )


@pytest.mark.parametrize("broken", ["no folder", "a file in its place"])
@pytest.mark.django_db(transaction=True)
def test_work_is_kept_when_the_broker_takes_no_messages(
    journey: Journey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    folder = tmp_path / "messages"
    if broken == "a file in its place":
        folder.write_text("")
    # The folder of the settings belongs to every test that runs now.
    monkeypatch.setattr(filesystem_broker.Channel, "data_folder_out", str(folder))
    # A channel that an earlier test opened knows its folder already.
    fresh = run_sync.app.connection_for_write().Pool(limit=1)
    monkeypatch.setattr(
        run_sync.app.amqp, "_producer_pool", ProducerPool(fresh, limit=1)
    )

    response = journey.connect()
    asked = journey.console.post(f"{response['Location']}sync/request/")

    assert SyncRun.objects.get().state == SyncRun.State.QUEUED
    assert asked.status_code == 302
    assert "could not be announced to the workers" in caplog.text
    assert "Waiting for a worker" in text_of(journey.console, asked["Location"])
