"""Two credentials overlap: which is tried, what a refusal changes, and no more of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from directory import checking, clouds, credentials, tokens
from directory.entra import EntraSession, TokenCache, errors
from directory.models import (
    ApplicationCredential,
    ApplicationRegistration,
    CloudIdentityProvider,
)
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from jamfidp.history.record import entries_for
from jamfidp.notices.models import Notice
from tests.conftest import Sandbox
from tests.directory import syncing
from tests.directory.journey import browser_for

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WRONG = "canary-of-a-wrong-secret"
Status = CloudIdentityProvider.Status


# --- The order -----------------------------------------------------------------------


def row(number: int, **values: Any) -> ApplicationCredential:
    return ApplicationCredential(
        pk=number,
        **{
            "kind": "SECRET",
            "added_at": NOW + timedelta(days=number),
            "expires_at": NOW + timedelta(days=90),
        }
        | values,
    )


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        pytest.param([row(1), row(2)], [2, 1], id="the newest first"),
        pytest.param(
            [row(1), row(2, refused_at=NOW)], [1, 2], id="a refused one is last"
        ),
        pytest.param(
            [row(1), row(2, expires_at=NOW)], [1, 2], id="an expired one is last"
        ),
        pytest.param(
            [row(1, refused_at=NOW), row(2, expires_at=NOW)],
            [2, 1],
            id="expired before refused: a date can be wrong",
        ),
        pytest.param(
            [row(1, expires_at=None), row(2, in_use=False)],
            [1],
            id="what waits is not tried",
        ),
        pytest.param(
            [row(1, added_at=NOW), row(2, added_at=NOW)], [2, 1], id="at the same time"
        ),
        pytest.param([], [], id="none"),
    ],
)
def test_the_order_in_which_credentials_are_tried(
    rows: list[ApplicationCredential], order: list[int]
) -> None:
    assert [each.pk for each in credentials.in_order(rows, now=NOW)] == order


@pytest.mark.parametrize(
    ("refusals", "minutes"), [(1, 1), (2, 5), (3, 15), (4, 60), (9, 60), (0, 1)]
)
def test_a_refused_credential_rests_longer_each_time(
    refusals: int, minutes: int
) -> None:
    refused = row(1, refused_at=NOW, refusals=refusals)

    assert tokens.rests_until(refused) == NOW + timedelta(minutes=minutes)
    assert tokens.rests_until(row(1)) is None


# --- Falling back --------------------------------------------------------------------


@pytest.fixture
def story(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> syncing.Story:
    monkeypatch.setattr(tokens, "_TOKENS", TokenCache())
    return syncing.connected(sandbox)


@pytest.fixture
def registration(story: syncing.Story) -> ApplicationRegistration:
    return ApplicationRegistration.objects.get()


def add(found: ApplicationRegistration, secret: str) -> ApplicationCredential:
    return credentials.add_secret(
        found, secret=secret, expires_at=None, actor=None, now=timezone.now()
    )


def ask(story: syncing.Story, **options: Any) -> str:
    cloud = clouds.cloud("SANDBOX")
    with EntraSession(cloud, total_seconds=20) as session:
        source = tokens.for_connection(story.cloud_idp, session=session, **options)
        return source.token().reveal()


def token_requests(sandbox: Sandbox) -> int:
    return sum(
        entry["path"].endswith("/oauth2/v2.0/token")
        for entry in sandbox.control("GET", "journal")["entries"]
    )


@pytest.fixture
def counted(sandbox: Sandbox) -> Callable[[], int]:
    """How often Microsoft was asked for a token since the last question."""
    seen = [token_requests(sandbox)]

    def since() -> int:
        before, seen[0] = seen[0], token_requests(sandbox)
        return seen[0] - before

    return since


def test_f25_the_other_credential_is_used_when_microsoft_refuses_the_newest(
    story: syncing.Story,
    registration: ApplicationRegistration,
    counted: Callable[[], int],
) -> None:
    good = registration.credentials.get()
    wrong = add(registration, WRONG)

    assert ask(story)
    assert counted() == 2

    wrong.refresh_from_db()
    good.refresh_from_db()
    assert wrong.refused_code == "AADSTS7000215"
    assert wrong.refused_request_id
    assert "wrong" in wrong.refused_detail
    assert good.refused_at is None
    # From now on the one that works is asked first: its token is in the cache.
    assert ask(story)
    assert counted() == 0
    notes = [
        entry.note for entry in entries_for(registration) if entry.action == "refused"
    ]
    assert notes == [
        f"Microsoft refused the {wrong}: The client secret of the application is wrong."
    ]
    assert WRONG not in repr(list(ObjectHistory.objects.values()))


def test_f25_an_expired_secret_falls_back_as_well(
    story: syncing.Story, registration: ApplicationRegistration, sandbox: Sandbox
) -> None:
    application = f"applications/{registration.client_id}"
    other = sandbox.control("POST", f"{application}/secrets", {"display_name": "two"})
    add(registration, other["value"])
    sandbox.control(
        "PATCH", f"{application}/secrets/{other['key_id']}", {"expires_in": -1}
    )

    assert ask(story)

    newest = registration.credentials.first()
    assert newest is not None
    assert newest.refused_code == "AADSTS7000222"


def test_f25_no_storm_when_every_credential_is_refused(
    story: syncing.Story,
    registration: ApplicationRegistration,
    counted: Callable[[], int],
) -> None:
    registration.credentials.all().delete()
    add(registration, WRONG)
    add(registration, f"{WRONG}-two")

    for _ in range(5):
        with pytest.raises(errors.CredentialsRefused, match="is wrong"):
            ask(story)

    assert counted() == 2
    with pytest.raises(errors.CredentialsRefused) as caught:
        ask(story)
    assert caught.value.code == "AADSTS7000215"
    assert caught.value.request_id
    assert "not asked with it again before" in caught.value.advice

    # After the rest each is tried once more, and rests longer.
    ApplicationCredential.objects.update(
        refused_at=timezone.now() - timedelta(minutes=2)
    )
    for _ in range(3):
        with pytest.raises(errors.CredentialsRefused):
            ask(story)
    assert counted() == 2
    assert set(registration.credentials.values_list("refusals", flat=True)) == {2}
    # The history says it once for each, however often it is tried.
    refused = [each for each in entries_for(registration) if each.action == "refused"]
    assert len(refused) == 2


def test_a_person_who_waits_has_them_tried_at_once_and_what_works_recovers(
    story: syncing.Story,
    registration: ApplicationRegistration,
    administrator: User,
) -> None:
    """Right after it was added, Microsoft may not know a credential everywhere yet."""
    only = registration.credentials.get()
    tokens.note_refusal(
        only, errors.CredentialsRefused("Refused.", code="x"), now=timezone.now()
    )
    with pytest.raises(errors.CredentialsRefused):
        ask(story)

    assert checking.check(story.cloud_idp, now=timezone.now())

    only.refresh_from_db()
    assert only.refused_at is None
    assert only.refusals == 0
    assert only.refused_code == ""
    assert ask(story)
    actions = [entry.action for entry in entries_for(registration)]
    assert actions[:2] == ["accepted", "refused"]


def test_a_credential_refused_in_mid_conversation_hands_over_to_the_other(
    story: syncing.Story, registration: ApplicationRegistration, sandbox: Sandbox
) -> None:
    application = f"applications/{registration.client_id}"
    other = sandbox.control("POST", f"{application}/secrets", {"display_name": "two"})
    newest = add(registration, other["value"])
    with EntraSession(clouds.cloud("SANDBOX"), total_seconds=20) as session:
        source = tokens.for_connection(story.cloud_idp, session=session)
        source.token()
        sandbox.control("DELETE", f"{application}/secrets/{other['key_id']}")

        assert source.token(fresh=True).reveal()
        assert source.token(fresh=True).reveal()

    newest.refresh_from_db()
    assert newest.refused_code == "AADSTS7000215"
    assert newest.refusals == 1


def test_a_credential_that_cannot_be_read_is_passed_over(
    story: syncing.Story, registration: ApplicationRegistration
) -> None:
    broken = add(registration, WRONG)
    ApplicationCredential.objects.filter(pk=broken.pk).update(sealed="v1:gone:AAAA")

    assert ask(story)

    broken.refresh_from_db()
    assert broken.refused_at is None
    registration.credentials.exclude(pk=broken.pk).delete()
    with pytest.raises(credentials.CredentialsUnreadable):
        ask(story)


def test_two_processes_that_see_a_refusal_count_it_once(
    registration: ApplicationRegistration,
) -> None:
    one = registration.credentials.get()
    other = registration.credentials.get()
    refused = errors.CredentialsRefused("Refused.", code="AADSTS7000215")

    tokens.note_refusal(one, refused, now=timezone.now())
    tokens.note_refusal(other, refused, now=timezone.now())

    stored = registration.credentials.get()
    assert stored.refusals == 1
    assert [e.action for e in entries_for(registration)].count("refused") == 1


def test_a_refusal_that_says_nothing_about_the_credential_marks_none(
    story: syncing.Story, registration: ApplicationRegistration, sandbox: Sandbox
) -> None:
    sandbox.control(
        "DELETE", f"tenants/{story.tenant}/consents/{registration.client_id}"
    )

    with pytest.raises(errors.ConsentMissing):
        ask(story)

    assert registration.credentials.get().refused_at is None


def test_a_connection_that_falls_back_stays_active_and_says_so(
    story: syncing.Story, registration: ApplicationRegistration, administrator: User
) -> None:
    add(registration, WRONG)

    assert checking.check(story.cloud_idp, now=timezone.now())

    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.status == Status.ACTIVE
    browser = browser_for(administrator)
    page = browser.get(story.cloud_idp.get_absolute_url()).content.decode()
    assert "Microsoft refuses the other credential" in page
    page = browser.get(registration.get_absolute_url()).content.decode()
    assert "Refused by Microsoft" in page
    assert "AADSTS7000215" in page
    assert "tried when the first is refused" in page


# --- A federated assertion -----------------------------------------------------------

ISSUER, SUBJECT = "https://cluster.example", "system:serviceaccount:console:console"


@dataclass
class Platform:
    """A cluster that vouches for the console: it writes a token, and renews it."""

    sandbox: Sandbox
    file: Path

    def write(self, **changes: Any) -> str:
        asked = {
            "issuer": ISSUER,
            "subject": SUBJECT,
            "audience": "api://AzureADTokenExchange",
        } | changes
        token = self.sandbox.control("POST", "issuers/assertion", asked)["assertion"]
        self.file.write_text(token)
        return str(token)


@pytest.fixture
def platform(
    registration: ApplicationRegistration,
    sandbox: Sandbox,
    settings: Any,
    tmp_path: Path,
) -> Platform:
    """The registration trusts the cluster; the console uses its assertion first."""
    for issuer in (ISSUER, "https://other.example"):
        sandbox.control("POST", "issuers", {"issuer": issuer})
    sandbox.control(
        "POST",
        f"applications/{registration.client_id}/federated",
        {"issuer": ISSUER, "subject": SUBJECT},
    )
    platform = Platform(sandbox, tmp_path / "token")
    settings.FEDERATED_TOKEN_FILES = [str(platform.file)]
    platform.write()
    credentials.add_assertion(
        registration, file=str(platform.file), actor=None, now=timezone.now()
    )
    return platform


def test_an_assertion_of_the_platform_reads_the_tenant_without_any_secret(
    story: syncing.Story, registration: ApplicationRegistration, platform: Platform
) -> None:
    application = f"applications/{registration.client_id}"
    platform.sandbox.control("DELETE", f"{application}/secrets/sandbox")
    registration.credentials.filter(kind="SECRET").delete()

    assert checking.check(story.cloud_idp, now=timezone.now())
    # What the platform writes counts from the next token on.
    platform.write(subject="system:serviceaccount:console:other")
    assert not checking.check(story.cloud_idp, now=timezone.now())
    platform.write()
    assert checking.check(story.cloud_idp, now=timezone.now())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"issuer": "https://other.example"}, "AADSTS700211"),
        ({"subject": "system:serviceaccount:console:other"}, "AADSTS700213"),
        ({"subject": SUBJECT.upper()}, "AADSTS7002138"),
        ({"audience": "api://another"}, "AADSTS700212"),
    ],
    ids=["issuer", "subject", "upper case", "audience"],
)
def test_f25_an_assertion_that_is_refused_falls_back_and_says_what_to_compare(
    story: syncing.Story,
    registration: ApplicationRegistration,
    platform: Platform,
    changes: dict[str, str],
    code: str,
) -> None:
    token = platform.write(**changes)

    assert ask(story)

    refused = registration.credentials.get(kind="ASSERTION")
    assert refused.refused_code == code
    notice = Notice.objects.get()
    assert "letter by letter" in notice.body
    for kept in (repr(ApplicationCredential.objects.values()), notice.body):
        assert token not in kept


def test_f25_an_assertion_that_is_not_there_falls_back_without_asking(
    story: syncing.Story,
    registration: ApplicationRegistration,
    platform: Platform,
    counted: Callable[[], int],
) -> None:
    platform.file.unlink()

    assert ask(story)

    assert counted() == 1
    # Nobody refused it: it is used again as soon as the platform writes it.
    assert registration.credentials.get(kind="ASSERTION").refused_at is None
    platform.write()
    assert ask(story)
    assert counted() == 1


# --- Trying one by hand --------------------------------------------------------------


def test_a_credential_is_tried_by_hand_and_the_answer_is_said(
    story: syncing.Story, registration: ApplicationRegistration, administrator: User
) -> None:
    browser = browser_for(administrator)

    def tried(credential: ApplicationCredential) -> str:
        response = browser.post(
            f"/settings/entra-application/credentials/{credential.pk}/prove/"
        )
        return browser.get(response["Location"]).content.decode()

    good = registration.credentials.get()
    assert "Microsoft accepts the client secret" in tried(good)
    wrong = add(registration, WRONG)
    assert "AADSTS7000215" in tried(wrong)
    wrong.refresh_from_db()
    assert wrong.refused_at is not None

    CloudIdentityProvider.objects.update(enabled=False)
    assert "No enabled connection uses this application" in tried(good)
