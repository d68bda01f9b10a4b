"""A status that tells the truth: each one is produced at the sandbox, and then healed.

What Microsoft does to a connection is done at the sandbox; the console asks with a
token issued for it, and its page says what is so, since when, what works meanwhile and
what to do.
"""

from __future__ import annotations

import html
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
import lxml.html
import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from directory import (
    checking,
    clouds,
    connections,
    credentials,
    deletion,
    registrations,
    sent_requests,
    status,
    status_table,
    tasks,
    tokens,
)
from directory.entra import EntraSession, TokenCache, errors
from directory.models import (
    ApplicationCredential,
    CloudIdentityProvider,
    DirectoryUser,
    SyncRun,
)
from directory.status_table import DISABLED, MEANINGS, Remedy, status_for
from jamfidp.accounts.models import PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from jamfidp.notices import mail as notice_mail
from jamfidp.notices.models import Notice
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import browser_for
from tests.directory.statuses import (
    CASES,
    consent,
    secret,
    secret_again,
    throttle,
    working,
)
from tests.directory.syncing import Story

pytestmark = pytest.mark.django_db

Status = CloudIdentityProvider.Status


@pytest.fixture
def story(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Story:
    """A tenant that is connected and works; no token of another test is at hand."""
    monkeypatch.setattr(tokens, "_TOKENS", TokenCache(clouds.METADATA))
    return working(sandbox)


def text_of(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return html.unescape(" ".join(response.content.decode().split()))


def panel_of(browser: Client, cloud_idp: CloudIdentityProvider) -> dict[str, str]:
    """What the page says of the status, by label."""
    response = browser.get(cloud_idp.get_absolute_url())
    page = lxml.html.fromstring(response.content.decode())
    (facts,) = page.cssselect(".status-facts")
    return {
        row.cssselect("dt")[0].text_content(): " ".join(
            row.cssselect("dd")[0].text_content().split()
        )
        for row in facts.cssselect("div")
    }


def buttons_of(browser: Client, cloud_idp: CloudIdentityProvider) -> dict[str, str]:
    """The buttons of the status, by label, with where they lead."""
    response = browser.get(cloud_idp.get_absolute_url())
    page = lxml.html.fromstring(response.content.decode())
    return {
        each.text_content().strip(): str(
            each.get("href") or each.xpath("string(../@action)")
        )
        for each in page.cssselect(".status-panel .btn")
    }


@pytest.mark.parametrize("name", CASES)
def test_f25_f26_f28_f29_f43_each_status_is_told_in_full_and_heals(
    story: Story, administrator: User, name: str
) -> None:
    case, browser = CASES[name], browser_for(administrator)
    people = factories.directory_user("Ana", story.cloud_idp)
    case.happens(story)

    assert not checking.check(story.cloud_idp, now=timezone.now())

    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.status == name
    assert story.cloud_idp.status_code == case.code
    meaning, told = MEANINGS[name], panel_of(browser, story.cloud_idp)
    page = text_of(browser, story.cloud_idp.get_absolute_url())
    assert meaning.sentence in page
    assert case.evidence in told["Evidence"]
    assert case.code in told["Evidence"]
    assert story.cloud_idp.status_request_id in told["Evidence"]
    assert told["Since"]
    assert meaning.works in told["What still works"]
    assert "Privileges held through it last until" in told["What still works"]
    assert meaning.advice in told["What to do"]
    assert ("Older tokens" in told) == meaning.older_tokens
    assert tuple(buttons_of(browser, story.cloud_idp)) == case.buttons
    assert DirectoryUser.objects.get() == people, "nothing is deleted"

    case.heals(story)
    story.cloud_idp.refresh_from_db()
    assert checking.check(story.cloud_idp, now=timezone.now())

    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.status == Status.ACTIVE
    page = text_of(browser, story.cloud_idp.get_absolute_url())
    assert "status-panel" not in page
    assert "Consent given by" in page
    notes = [
        entry.note
        for entry in ObjectHistory.objects.filter(
            object_label="directory.cloudidentityprovider", action="status"
        ).order_by("pk")
    ]
    assert len(notes) == 2
    assert notes[0].startswith(f"Status became '{Status(name).label}'")
    assert notes[1] == "Status became 'Active'"


def test_a_lost_key_is_a_status_with_its_way_out(
    story: Story, administrator: User, settings: Any
) -> None:
    good = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = [f"other:{'QUFB' * 10}QUE="]

    assert not checking.check(story.cloud_idp, now=timezone.now())

    browser = browser_for(administrator)
    assert story.cloud_idp.status == Status.KEY_UNAVAILABLE
    told = panel_of(browser, story.cloud_idp)
    assert "cannot be read" in told["Evidence"]
    assert "ENCRYPTION_KEYS" in told["What to do"]
    assert "Go to the credentials" in buttons_of(browser, story.cloud_idp)

    settings.ENCRYPTION_KEYS = good
    assert checking.check(story.cloud_idp, now=timezone.now())


def test_disabled_here_says_who_did_it_and_asks_microsoft_nothing(
    story: Story, administrator: User
) -> None:
    CloudIdentityProvider.objects.update(status=Status.TENANT_GONE)
    story.cloud_idp.refresh_from_db()
    connections.set_enabled(
        story.cloud_idp, enabled=False, actor=administrator, now=timezone.now()
    )
    story.sandbox.control("DELETE", "journal")
    browser = browser_for(administrator)

    with pytest.raises(checking.Disabled):
        checking.check(story.cloud_idp, now=timezone.now())
    tasks.check_due(now=timezone.now() + timedelta(days=1))
    tasks.check_connection(story.cloud_idp.pk)

    told = panel_of(browser, story.cloud_idp)
    assert told["Evidence"] == "Switched off by Local Administrator."
    assert told["Since"]
    assert "neither gives nor takes" in told["What still works"]
    (enable,) = buttons_of(browser, story.cloud_idp).items()
    assert enable[0] == "Enable"
    page = text_of(browser, story.cloud_idp.get_absolute_url())
    assert "Disabled here" in page
    assert MEANINGS[Status.TENANT_GONE].sentence not in page
    assert requests_of(story) == []

    assert browser.post(enable[1]).status_code == 303
    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp in checking.due(now=timezone.now())


def test_an_auditor_is_told_everything_and_given_no_button(story: Story) -> None:
    auditor = factories.administrator("auditor", privilege_set=PrivilegeSet.AUDITOR)
    consent(story, "PATCH", enabled=False)
    checking.check(story.cloud_idp, now=timezone.now())
    browser = browser_for(auditor)

    assert "AADSTS7000112" in panel_of(browser, story.cloud_idp)["Evidence"]
    assert buttons_of(browser, story.cloud_idp) == {}
    assert "Ask an administrator of this console" in text_of(
        browser, story.cloud_idp.get_absolute_url()
    )


def test_a_request_that_waits_takes_the_place_of_another(
    story: Story, administrator: User
) -> None:
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())
    sent = sent_requests.send(
        registration=registrations.registration("SANDBOX"),
        cloud_idp=story.cloud_idp,
        recipient="",
        actor=administrator,
        now=timezone.now(),
    )
    browser = browser_for(administrator)

    buttons = buttons_of(browser, story.cloud_idp)
    assert buttons["Look at the request that was sent"] == sent.get_absolute_url()
    assert "Send a request" not in buttons
    # The list says of the request what it waits for, beside the connection's status.
    listed = text_of(browser, "/settings/cloud-idps/")
    assert "consent again" in listed
    assert "Pending consent" in listed


def test_what_is_done_at_microsoft_has_a_way_to_its_portal(
    administrator: User, settings: Any
) -> None:
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"
    settings.ENTRA_SANDBOX_CA_FILE = str(Path(certifi.where()))
    public = factories.cloud_idp(cloud="PUBLIC", status=Status.BLOCKED)
    browser = browser_for(administrator)

    buttons = buttons_of(browser, public)
    assert (
        buttons["Open Microsoft's portal"]
        == f"https://portal.azure.com/{public.tenant_id}"
    )
    # The sandbox has none, and a cloud that is not there neither.
    for cloud in ("SANDBOX", "GERMANY"):
        CloudIdentityProvider.objects.update(cloud=cloud)
        assert list(buttons_of(browser, public)) == ["Check now"]


# --- The table -----------------------------------------------------------------------

ERRORS: list[tuple[errors.EntraError, str | None]] = [
    (credentials.CredentialsUnreadable("x"), Status.KEY_UNAVAILABLE),
    (registrations.NoRegistration("x"), Status.CREDENTIALS_MISSING),
    (errors.AssertionUnavailable("x"), Status.CREDENTIALS_MISSING),
    (errors.CredentialsRefused("x"), Status.CREDENTIALS),
    (errors.CredentialsRefused("x", expired=True), Status.CREDENTIALS_EXPIRED),
    (errors.PermissionMissing("x", permission="y"), Status.PERMISSIONS_MISSING),
    (errors.ConsentMissing("x"), Status.CONSENT_WITHDRAWN),
    (errors.ApplicationRemoved("x"), Status.APPLICATION_REMOVED),
    (errors.ApplicationNotFound("x"), Status.APPLICATION_REMOVED),
    (errors.ApplicationDisabled("x"), Status.APPLICATION_DISABLED),
    (errors.ConditionalAccessBlocked("x"), Status.BLOCKED),
    (errors.WrongCloud("x"), Status.WRONG_CLOUD),
    (errors.TenantNotFound("x"), Status.TENANT_GONE),
    (errors.SignInThrottled("x"), Status.THROTTLED),
    (errors.SignInUnavailable("x", status=429), Status.THROTTLED),
    (errors.GraphUnavailable("x", status=429), Status.THROTTLED),
    (errors.SignInUnavailable("x", status=503), Status.UNREACHABLE),
    (errors.GraphUnavailable("x"), Status.UNREACHABLE),
    (errors.TlsRefused("x"), Status.UNREACHABLE),
    (errors.ForeignAnswer("x"), Status.UNREACHABLE),
    (errors.RedirectRefused("x"), Status.UNREACHABLE),
    (errors.DiscoveryRefused("x"), Status.UNREACHABLE),
    (clouds.CloudUnavailable("SANDBOX"), Status.UNREACHABLE),
    (errors.TokenRefused("x"), Status.REFUSED),
    (errors.SignInRefused("x"), Status.REFUSED),
    (errors.DirectoryObjectNotFound("x"), None),
    (errors.DeltaExpired("x"), None),
    (errors.QueryRefused("x"), None),
]


@pytest.mark.parametrize(
    ("error", "wanted"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS]
)
def test_each_error_has_its_status(
    error: errors.EntraError, wanted: str | None
) -> None:
    assert status_for(error) == wanted


def test_the_table_knows_every_status_and_each_asks_for_something() -> None:
    assert set(MEANINGS) == {*Status.values, DISABLED}
    produced = {*CASES, Status.ACTIVE, Status.KEY_UNAVAILABLE, DISABLED}
    assert produced == set(MEANINGS), "each is produced by a test"
    for name, meaning in MEANINGS.items():
        assert meaning.remedies, name
        sentences = (meaning.sentence, meaning.works, meaning.advice)
        assert all(text.endswith(".") for text in sentences), name
    # What a tenant takes away is given again by consent; what the console lacks, here.
    for name in (
        Status.PENDING_CONSENT,
        Status.PERMISSIONS_MISSING,
        Status.CONSENT_WITHDRAWN,
        Status.APPLICATION_REMOVED,
    ):
        assert MEANINGS[name].remedies[0] == Remedy.CONSENT
    for name in Status.values:
        if "CREDENTIALS" in name or name == Status.KEY_UNAVAILABLE:
            assert MEANINGS[name].remedies[0] == Remedy.CREDENTIALS


def test_what_a_check_cannot_place_is_still_no_success(story: Story) -> None:
    status.record_failure(
        story.cloud_idp,
        errors.QueryRefused("No.", code="Request_BadRequest"),
        now=timezone.now(),
        checked=True,
    )

    assert story.cloud_idp.status == Status.REFUSED
    assert story.cloud_idp.status_code == "Request_BadRequest"


# --- Older tokens ----------------------------------------------------------------------


def test_f26_an_older_token_reads_on_and_does_not_heal_what_was_withdrawn(
    story: Story, administrator: User
) -> None:
    story.read(SyncRun.Kind.FULL)
    assert story.cloud_idp.token_expires_at is not None
    consent(story, "PATCH", enabled=False)
    checking.check(story.cloud_idp, now=timezone.now())

    run = story.sync()

    assert run.state == SyncRun.State.SUCCEEDED, "the token was issued before"
    assert story.cloud_idp.status == Status.APPLICATION_DISABLED
    told = panel_of(browser_for(administrator), story.cloud_idp)
    ends = timezone.localtime(story.cloud_idp.token_expires_at)
    assert f"may be accepted until {ends:%-d %B %Y, %H:%M}" in told["Older tokens"]


def test_a_token_issued_since_then_heals_with_the_read_that_uses_it(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent(story, "DELETE")
    assert story.sync(SyncRun.Kind.FULL).state == SyncRun.State.FAILED
    assert story.cloud_idp.status == Status.APPLICATION_REMOVED
    consent(story, "PUT")

    story.read(SyncRun.Kind.FULL)

    assert story.cloud_idp.status == Status.ACTIVE


def test_a_check_that_fails_takes_the_token_of_look_ups_from_nobody(
    story: Story,
) -> None:
    with EntraSession(clouds.cloud("SANDBOX")) as session:
        before = tokens.for_connection(story.cloud_idp, session=session).token()
        consent(story, "DELETE")
        checking.check(story.cloud_idp, now=timezone.now())
        after = tokens.for_connection(story.cloud_idp, session=session).token()

    assert after.reveal() == before.reveal()


def test_the_end_of_older_tokens_is_said_once_it_has_come(
    story: Story, administrator: User
) -> None:
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())
    browser = browser_for(administrator)
    CloudIdentityProvider.objects.update(
        token_expires_at=timezone.now() - timedelta(minutes=1)
    )
    assert "have ended" in panel_of(browser, story.cloud_idp)["Older tokens"]

    CloudIdentityProvider.objects.update(
        token_expires_at=None, last_good_read_at=timezone.now() - timedelta(days=3)
    )
    told = panel_of(browser, story.cloud_idp)
    assert told["Older tokens"] == "No token is known that was issued before."
    assert "suspended since" in told["What still works"]


def test_f25_an_expired_certificate_is_expired_whatever_the_number_says(
    story: Story,
) -> None:
    """Microsoft has a number for expired secrets alone."""
    secret(story, "DELETE")
    ApplicationCredential.objects.update(expires_at=timezone.now() - timedelta(days=1))

    checking.check(story.cloud_idp, now=timezone.now())
    assert story.cloud_idp.status == Status.CREDENTIALS_EXPIRED

    # The kept refusal of a credential that rests says the same.
    checking.check_by_itself(story.cloud_idp, now=timezone.now())
    assert story.cloud_idp.status == Status.CREDENTIALS_EXPIRED


# --- By itself, and never too often ------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The connections that workers were told to check."""
    told: list[int] = []
    monkeypatch.setattr(
        tasks.check_connection, "apply_async", lambda args: told.append(args[0])
    )
    return told


def requests_of(story: Story) -> list[str]:
    """What Microsoft was asked for, since the journal was cleared."""
    entries = story.sandbox.control("GET", "journal")["entries"]
    return [each["path"] for each in entries if each["plane"] != "control"]


def token_requests(story: Story) -> int:
    return sum(path.endswith("/token") for path in requests_of(story))


def test_a_connection_that_works_is_checked_every_half_hour(
    story: Story, asked: list[int]
) -> None:
    now = timezone.now()
    tasks.check_due(now=now + timedelta(minutes=29))
    assert asked == []

    tasks.check_due(now=now + timedelta(minutes=31))
    tasks.check_due(now=now + timedelta(minutes=31, seconds=5))
    assert asked == [story.cloud_idp.pk], "of two ticks one tells a worker"

    # A message that was lost is sent again.
    tasks.check_due(now=now + timedelta(minutes=37))
    assert len(asked) == 2


def test_the_tick_has_due_connections_checked_with_a_fresh_token(
    story: Story, asked: list[int]
) -> None:
    CloudIdentityProvider.objects.update(next_check_at=None, next_sync_at=next_week())
    tasks.tick()
    assert asked == [story.cloud_idp.pk]
    story.sandbox.control("DELETE", "journal")

    tasks.check_connection(story.cloud_idp.pk)
    tasks.check_connection(404)

    assert token_requests(story) == 1
    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.next_check_at is not None
    assert story.cloud_idp.next_check_at > timezone.now() + timedelta(minutes=29)


def next_week() -> datetime:
    return timezone.now() + timedelta(days=7)


def test_f26_a_connection_that_fails_for_a_day_is_asked_about_once_an_hour(
    story: Story,
) -> None:
    consent(story, "DELETE")
    story.sandbox.control("DELETE", "journal")
    began = now = timezone.now()
    CloudIdentityProvider.objects.update(next_check_at=now)
    gaps: list[timedelta] = []

    while now < began + timedelta(days=1):
        assert checking.claim(story.cloud_idp, now=now)
        checking.check_by_itself(story.cloud_idp, now=now)
        due = story.cloud_idp.next_check_at
        assert due is not None
        gaps.append(due - now)
        now = due

    assert [gap // timedelta(minutes=1) for gap in gaps[:6]] == [5, 10, 20, 40, 60, 60]
    assert token_requests(story) == len(gaps) <= 28
    # All of them said the same: one entry of history, one notice.
    assert Notice.objects.filter(key=status.notice_key(story.cloud_idp)).count() == 1
    assert ObjectHistory.objects.filter(action="status").count() == 1


def test_f1_microsoft_is_not_asked_before_the_time_it_asks_to_wait(
    story: Story, asked: list[int], administrator: User
) -> None:
    throttle(story)
    now = timezone.now()
    checking.check(story.cloud_idp, now=now)
    assert story.cloud_idp.asked_to_wait_until == now + timedelta(seconds=900)
    story.sandbox.control("DELETE", "journal")

    # Neither a tick nor a person nor a read asks.
    CloudIdentityProvider.objects.update(next_check_at=None, next_sync_at=None)
    tasks.check_due(now=now + timedelta(minutes=14))
    tasks.request_due(now=now + timedelta(minutes=14))
    browser = browser_for(administrator)
    base = story.cloud_idp.get_absolute_url()
    assert browser.post(f"{base}check/").status_code == 303
    assert "it asked the console to wait until" in text_of(browser, base)
    assert "left alone" in panel_of(browser, story.cloud_idp)["What to do"]
    tasks.check_connection(story.cloud_idp.pk)

    assert asked == []
    assert not SyncRun.objects.exists()
    assert requests_of(story) == []

    tasks.check_due(now=now + timedelta(minutes=16))
    tasks.request_due(now=now + timedelta(minutes=16))
    assert asked == [story.cloud_idp.pk]
    assert SyncRun.objects.exists()


def test_f26_what_a_read_was_refused_is_looked_into_at_once(story: Story) -> None:
    consent(story, "PATCH", roles=["User.Read.All", "GroupMember.Read.All"])
    later = timezone.now() + timedelta(minutes=20)
    CloudIdentityProvider.objects.update(next_check_at=later)

    story.sync(SyncRun.Kind.FULL)

    # A read meets one permission; only the check knows that none is left.
    assert story.cloud_idp.status == Status.PERMISSIONS_MISSING
    assert story.cloud_idp in checking.due(now=timezone.now())
    checking.check_by_itself(story.cloud_idp, now=timezone.now())
    assert story.cloud_idp.status == Status.CONSENT_WITHDRAWN

    # The next read does not turn it back.
    story.sync(SyncRun.Kind.FULL)
    assert story.cloud_idp.status == Status.CONSENT_WITHDRAWN


def test_f26_a_read_that_knows_less_does_not_hide_a_refusal(story: Story) -> None:
    """Else the status would change with every read and every check, and be announced."""
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())
    (notice,) = open_notices()
    for error in (
        errors.TokenRefused("The token is refused."),
        errors.PermissionMissing("Missing.", permission="User.Read.All"),
        errors.Unreachable("No answer."),
        errors.GraphUnavailable("Slow down.", status=429, retry_after=900),
    ):
        status.record_failure(story.cloud_idp, error, now=timezone.now())

        assert story.cloud_idp.status == Status.APPLICATION_REMOVED
        assert story.cloud_idp.status_code == "AADSTS7000229"
        assert open_notices() == [notice]
    assert story.cloud_idp.asked_to_wait_until is not None

    # What Microsoft says to a request for a token is as good as a check.
    refused = errors.ConditionalAccessBlocked("Blocked.")
    status.record_failure(story.cloud_idp, refused, now=timezone.now())
    assert story.cloud_idp.status == Status.BLOCKED


def test_another_credential_or_application_is_tried_at_once(story: Story) -> None:
    later = timezone.now() + timedelta(minutes=20)
    CloudIdentityProvider.objects.update(next_check_at=later)

    secret_again(story)

    assert story.cloud_idp in checking.due(now=timezone.now())


def test_what_is_heard_of_a_connection_switched_off_meanwhile_is_not_told(
    story: Story,
) -> None:
    CloudIdentityProvider.objects.update(enabled=False)

    error = errors.TenantNotFound("x")
    status.record_failure(story.cloud_idp, error, now=timezone.now(), checked=True)

    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.status == Status.ACTIVE
    assert open_notices() == []


def test_a_connection_deleted_meanwhile_stays_deleted(story: Story) -> None:
    gone = CloudIdentityProvider.objects.get()
    CloudIdentityProvider.objects.all().delete()

    status.record_failure(gone, errors.TenantNotFound("x"), now=timezone.now())
    status.record_success(gone, now=timezone.now(), checked=True)

    assert not CloudIdentityProvider.objects.exists()


# --- Notices -----------------------------------------------------------------------------


def open_notices() -> list[Notice]:
    return list(Notice.objects.filter(kind="connection-status", resolved_at=None))


def test_a_bad_status_is_announced_by_mail_and_ends_when_it_heals(
    story: Story, administrator: User
) -> None:
    User.objects.filter(pk=administrator.pk).update(email="admin@fernhill.example")
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())
    notice_mail.plan(now=timezone.now())
    notice_mail.deliver(now=timezone.now())

    (bad,) = open_notices()
    assert bad.severity == "CRITICAL"
    assert bad.title.endswith(": Application removed")
    assert bad.link == story.cloud_idp.get_absolute_url()
    (sent,) = mail.outbox
    assert "AADSTS7000229" in sent.body
    assert story.cloud_idp.status_request_id in sent.body
    assert "People, groups and memberships stay" in sent.body
    assert "What to do: Have a Global Administrator" in sent.body
    bell = text_of(browser_for(administrator), "/")
    assert "Application removed" in bell

    consent(story, "PUT")
    checking.check(story.cloud_idp, now=timezone.now())
    notice_mail.plan(now=timezone.now())
    notice_mail.deliver(now=timezone.now())

    bad.refresh_from_db()
    assert bad.resolved_at is not None
    assert "works again" in mail.outbox[-1].subject
    assert "'Application removed' since" in mail.outbox[-1].body


def test_another_bad_status_takes_the_place_of_the_first(story: Story) -> None:
    consent(story, "PATCH", enabled=False)
    checking.check(story.cloud_idp, now=timezone.now())
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())

    (notice,) = open_notices()
    assert notice.title.endswith(": Application removed")


@pytest.mark.parametrize("name", [Status.THROTTLED, Status.UNREACHABLE])
def test_what_passes_by_itself_is_announced_only_when_it_lasts(
    story: Story, name: str
) -> None:
    began = timezone.now()
    error: errors.EntraError = (
        errors.GraphUnavailable("Slow down.", status=429)
        if name == Status.THROTTLED
        else errors.Unreachable("No answer.")
    )

    for minutes in (0, 5, 9):
        now = began + timedelta(minutes=minutes)
        status.record_failure(story.cloud_idp, error, now=now, checked=minutes > 0)
    assert story.cloud_idp.status == name
    assert open_notices() == []

    status.record_failure(story.cloud_idp, error, now=began + timedelta(minutes=11))
    (notice,) = open_notices()
    assert notice.severity == "WARNING"

    # A read that succeeds is proof enough, whatever its token.
    status.record_success(story.cloud_idp, now=began + timedelta(minutes=12))
    assert story.cloud_idp.status == Status.ACTIVE
    assert notice not in open_notices()


@pytest.mark.parametrize("way", ["disabled", "deleted"])
def test_the_notice_ends_with_the_connection(
    story: Story, administrator: User, way: str
) -> None:
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())
    assert open_notices()

    if way == "disabled":
        connections.set_enabled(
            story.cloud_idp, enabled=False, actor=administrator, now=timezone.now()
        )
    else:
        deletion.delete(
            story.cloud_idp,
            typed_name=story.cloud_idp.display_name,
            at_once=False,
            actor=administrator,
            now=timezone.now(),
        )

    assert open_notices() == []


def test_a_status_keeps_the_time_it_began_while_it_lasts(story: Story) -> None:
    began = timezone.now()
    for minutes in (0, 5, 10):
        status.record_failure(
            story.cloud_idp,
            errors.GraphUnavailable("Down.", code=f"c{minutes}"),
            now=began + timedelta(minutes=minutes),
        )

    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.status_since == began
    assert story.cloud_idp.status_seen_at == began + timedelta(minutes=10)
    assert story.cloud_idp.status_code == "c10"


# --- Tls: an authority that nobody knows is not 'not reached' without a reason -----------


def test_an_unknown_authority_is_named_as_the_evidence(
    story: Story, administrator: User, settings: Any
) -> None:
    settings.ENTRA_SANDBOX_CA_FILE = str(Path(certifi.where()))

    checking.check(story.cloud_idp, now=timezone.now())

    assert story.cloud_idp.status == Status.UNREACHABLE
    told = panel_of(browser_for(administrator), story.cloud_idp)
    assert "authority" in told["Evidence"]
    assert "certificate" in told["What to do"]
    assert "tls:" in told["Evidence"]


def test_the_list_shows_the_status_of_each(story: Story, administrator: User) -> None:
    consent(story, "DELETE")
    checking.check(story.cloud_idp, now=timezone.now())

    page = text_of(browser_for(administrator), "/settings/cloud-idps/")

    assert status_table.word_of(story.cloud_idp) == "Application removed"
    assert "Application removed" in page
