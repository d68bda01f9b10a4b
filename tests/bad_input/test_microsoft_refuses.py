"""Microsoft refuses between two reads: said at the run, the connection and the Test tab.

Each refusal is the real answer of a sandbox that was made to give it. What the console
knows of the directory stays as it was.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import registrations, tokens
from directory.entra import TokenCache
from directory.models import SyncRun
from directory.status_table import what_to_do
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held

pytestmark = pytest.mark.django_db

GUID = "11111111-2222-3333-4444-555555555555"


def text_of(response: Any) -> str:
    return html.unescape(" ".join(response.content.decode().split()))


@pytest.fixture
def known(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Read once; then every token has to be asked for anew."""
    story = connected(sandbox)
    story.read(SyncRun.Kind.FULL)
    monkeypatch.setattr(tokens, "_TOKENS", TokenCache())
    return story


def consent(story: Story, method: str, **values: Any) -> None:
    client_id = story.sandbox.application["client_id"]
    story.control(method, f"consents/{client_id}", values or None)


def application(story: Story, **values: Any) -> None:
    client_id = story.sandbox.application["client_id"]
    story.sandbox.control("PATCH", f"applications/{client_id}", values)


def refuse_tokens(story: Story, number: int, error: str, status: int = 400) -> None:
    """The token endpoint answers with this number, in Microsoft's shape."""
    story.fault(
        f"/{story.tenant}/oauth2/v2.0/token",
        method="POST",
        times=50,
        status=status,
        body={
            "error": error,
            "error_description": f"AADSTS{number}: A sentence of Microsoft's. "
            f"Trace ID: {GUID} Correlation ID: {GUID} Timestamp: 2026-11-23 12:00:00Z",
            "error_codes": [number],
            "timestamp": "2026-11-23 12:00:00Z",
            "trace_id": GUID,
            "correlation_id": GUID,
        },
    )


@dataclass(frozen=True)
class Case:
    make: Callable[[Story], None]
    says: str
    advises: str
    status: str
    code: str


CASES = {
    "consent withdrawn": Case(
        lambda story: consent(story, "DELETE"),
        "The enterprise application is missing in the tenant",
        "Ask a Global Administrator of the tenant to grant admin consent again",
        "APPLICATION_REMOVED",
        "AADSTS7000229",
    ),
    "enterprise application disabled": Case(
        lambda story: consent(story, "PATCH", enabled=False, end_tokens=True),
        "The application is disabled",
        "Enable sign-in for the enterprise application in the tenant",
        "APPLICATION_DISABLED",
        "AADSTS7000112",
    ),
    "registration disabled": Case(
        lambda story: application(story, enabled=False),
        "The application is disabled",
        "ask who owns the registration",
        "APPLICATION_DISABLED",
        "AADSTS7000112",
    ),
    "application removed": Case(
        lambda story: refuse_tokens(story, 700016, "unauthorized_client"),
        "The application is not known in this tenant",
        "Compare the application (client) ID",
        "APPLICATION_REMOVED",
        "AADSTS700016",
    ),
    "Conditional Access": Case(
        lambda story: refuse_tokens(story, 53003, "access_denied"),
        "A Conditional Access policy of the tenant blocks the sign-in",
        "look at the sign-in logs",
        "BLOCKED",
        "AADSTS53003",
    ),
    "tenant removed": Case(
        lambda story: refuse_tokens(story, 90002, "invalid_request"),
        "No tenant with this ID or domain exists in this cloud",
        "Check the tenant ID",
        "TENANT_GONE",
        "AADSTS90002",
    ),
    "a number nobody knows": Case(
        lambda story: refuse_tokens(story, 999999, "invalid_request"),
        "Microsoft refused the sign-in for a reason the console does not know",
        "Search Microsoft's documentation for the code",
        "REFUSED",
        "AADSTS999999",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_is_told_in_words_and_changes_nothing(
    known: Story, console: Client, case: Case
) -> None:
    before, link = held(known), known.cloud_idp.users_delta_link
    case.make(known)
    page = known.cloud_idp.get_absolute_url()

    run = known.sync()

    assert run.state == SyncRun.State.FAILED
    at_run = text_of(console.get(run.get_absolute_url()))
    at_connection = text_of(console.get(page))
    at_test = text_of(
        console.post(
            f"{page}test/", {"kind": "user", "user": "ana.ruiz@fernhill.example"}
        )
    )
    for shown in (at_run, at_connection, at_test):
        assert case.says in shown
        assert case.code in shown
    assert case.advises in at_run
    assert case.advises in at_test
    assert what_to_do(known.cloud_idp) in at_connection
    assert run.request_id
    assert run.request_id in at_run
    assert "people keep the groups of the last good read" in at_run
    read_at = known.cloud_idp.last_good_read_at
    assert read_at is not None
    suspended = f"{read_at + timedelta(hours=24):%-d %B %Y, %H:%M}"
    assert f"privileges held through this directory are suspended on {suspended}" in (
        at_run
    )
    assert 'value="ana.ruiz@fernhill.example"' in at_test
    assert known.cloud_idp.status == case.status
    assert known.cloud_idp.users_delta_link == link
    assert held(known) == before


# --- Out of reach ------------------------------------------------------------------


def test_a_sandbox_that_does_not_run_is_named_wherever_it_is_asked(
    known: Story, console: Client, settings: Any
) -> None:
    before = held(known)
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"
    page = known.cloud_idp.get_absolute_url()

    run = known.sync()
    asked = console.post(f"{page}check/")

    person = Client(SERVER_NAME="localhost")
    start = f"/login/entra/?connection={known.cloud_idp.pk}"
    shown = {
        "run": text_of(console.get(run.get_absolute_url())),
        "connection": text_of(console.get(page)),
        "check now": text_of(console.get(asked["Location"])),
        "test tab": text_of(console.post(f"{page}test/", {"user": "ana ruiz"})),
        "sign-in": text_of(person.get(person.get(start)["Location"])),
        "preconditions": text_of(
            console.get("/settings/cloud-idps/new/entra/?cloud=SANDBOX")
        ),
    }
    for where, text in shown.items():
        assert "The sandbox tenant cannot be reached" in text, where
        assert "make demo" in text, where
    assert 'value="ana ruiz"' in shown["test tab"]
    assert known.cloud_idp.status == "UNREACHABLE"
    assert held(known) == before


def test_throttling_that_does_not_end_is_told_and_the_wait_is_kept(
    known: Story, console: Client
) -> None:
    before = held(known)
    known.fault(
        "/v1.0/users/delta",
        method="GET",
        times=50,
        status=429,
        headers={"Retry-After": "1", "request-id": GUID},
    )

    run = known.sync()

    assert run.state == SyncRun.State.FAILED
    shown = text_of(console.get(run.get_absolute_url()))
    assert "Microsoft Graph is limiting the requests of the console" in shown
    assert "HTTP 429" in shown
    assert "The console tries again by itself" in shown
    assert GUID in shown
    assert known.cloud_idp.status == "THROTTLED"
    assert held(known) == before


# --- A lost key --------------------------------------------------------------------


@pytest.mark.usefixtures("without_second_factor")
def test_a_lost_key_is_told_everywhere_and_deletes_nothing(
    known: Story, console: Client, settings: Any
) -> None:
    before = held(known)
    settings.ENCRYPTION_KEYS = [f"other:{'QUFB' * 10}QUE="]
    page = known.cloud_idp.get_absolute_url()

    run = known.sync()

    assert run.state == SyncRun.State.FAILED
    at_connection = text_of(console.get(page))
    at_test = text_of(console.post(f"{page}test/", {"user": "ana ruiz"}))
    for text in (text_of(console.get(run.get_absolute_url())), at_connection, at_test):
        assert "cannot be read" in text
    assert "/settings/entra-application/SANDBOX/" in at_connection
    assert held(known) == before
    signed_in = Client(SERVER_NAME="localhost").post(
        "/login/", {"username": "admin", "password": "correct horse battery staple"}
    )
    assert (signed_in.status_code, signed_in["Location"]) == (303, "/")
    # Entered anew, everything goes on.
    found = registrations.registration("SANDBOX")
    entered = console.post(
        f"/settings/entra-application/registrations/{found.pk}/add/secret/",
        {"client_secret": known.sandbox.application["client_secret"]},
    )
    assert entered.status_code == 303
    known.read()
    assert known.cloud_idp.status == "ACTIVE"


# --- For how long ------------------------------------------------------------------


def test_a_failure_that_lasts_says_since_when_privileges_are_suspended(
    known: Story, console: Client
) -> None:
    consent(known, "DELETE")
    long_ago = timezone.now() - timedelta(hours=30)
    type(known.cloud_idp).objects.update(last_good_read_at=long_ago)

    run = known.sync()

    since = f"{long_ago + timedelta(hours=24):%-d %B %Y, %H:%M}"
    assert (
        f"Privileges held through this directory are suspended since {since}, until a "
        "read succeeds"
    ) in text_of(console.get(run.get_absolute_url()))


def test_a_first_read_that_failed_is_not_said_to_be_about_to_begin(
    sandbox: Sandbox, console: Client
) -> None:
    story = connected(sandbox)
    consent(story, "DELETE")
    story.sync()

    shown = text_of(console.get("/users/"))

    assert "The first read failed. The enterprise application is missing" in shown
    assert "about to begin" not in shown
