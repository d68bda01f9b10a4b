"""A credential that expires is announced, once for each threshold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from directory import credentials, expiry, registrations, tasks, tokens
from directory.entra import errors
from directory.models import ApplicationCredential, ApplicationRegistration
from jamfidp.notices.models import Notice, Severity
from tests import factories

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "reached"),
    [
        (61, None),
        (60, 60),
        (59.9, 60),
        (30.01, 60),
        (30, 30),
        (7, 7),
        (1.5, 7),
        (1, 1),
        (0.01, 1),
        (0, 0),
        (-400, 0),
    ],
)
def test_the_last_threshold_that_was_reached_counts(
    days: float, reached: int | None
) -> None:
    assert expiry.threshold(NOW + timedelta(days=days), now=NOW) == reached


@pytest.fixture
def secret(db: None) -> ApplicationCredential:
    """Added with 90 days to go."""
    found = ApplicationRegistration.objects.create(
        cloud="PUBLIC", client_id=factories.guid("application"), changed_at=NOW
    )
    return credentials.add_secret(
        found,
        secret="canary-of-the-secret",
        expires_at=NOW + timedelta(days=90),
        actor=None,
        now=NOW,
    )


def announced(secret: ApplicationCredential, *days_left: float) -> list[str]:
    """Let the workers look at these times before the end; return new titles."""
    assert secret.expires_at is not None
    before = set(Notice.objects.values_list("pk", flat=True))
    for days in days_left:
        expiry.announce_expiries(now=secret.expires_at - timedelta(days=days))
    fresh = Notice.objects.exclude(pk__in=before).order_by("pk")
    return [notice.title.partition("application ")[2] for notice in fresh]


def test_each_threshold_is_announced_once(secret: ApplicationCredential) -> None:
    assert announced(secret, 90, 61) == []
    assert announced(secret, 60, 59, 45) == ["expires in 60 days"]
    assert announced(secret, 30, 30, 8) == ["expires in 30 days"]
    assert announced(secret, 7, 2) == ["expires in 7 days"]
    assert announced(secret, 1, 0.5) == ["expires in 1 day"]
    assert announced(secret, 0, -1, -100) == ["has expired"]

    assert Notice.objects.count() == 5
    # The nearer one replaces the farther: one is open.
    (last,) = Notice.objects.filter(resolved_at=None)
    assert last.severity == Severity.CRITICAL
    assert last.link == "/settings/entra-application/PUBLIC/"
    severities = Notice.objects.order_by("pk").values_list("severity", flat=True)
    assert list(severities) == [
        Severity.INFO,
        Severity.WARNING,
        Severity.WARNING,
        Severity.CRITICAL,
        Severity.CRITICAL,
    ]


def test_after_a_long_silence_the_last_threshold_alone_is_announced(
    secret: ApplicationCredential,
) -> None:
    assert announced(secret, 5) == ["expires in 5 days"]


def test_two_workers_at_once_announce_it_once(secret: ApplicationCredential) -> None:
    assert secret.expires_at is not None
    now = secret.expires_at - timedelta(days=7)
    stale = ApplicationCredential.objects.get()

    expiry.announce_expiries(now=now)
    expiry._announce_when_due(stale, secret.expires_at, now=now)

    assert Notice.objects.count() == 1


def test_what_it_means_and_what_to_do_is_said_without_the_secret(
    secret: ApplicationCredential,
) -> None:
    factories.cloud_idp("Fernhill", cloud="PUBLIC")
    announced(secret, 7)

    body = Notice.objects.get().body
    assert "canary" not in body
    assert secret.fingerprint in body
    assert secret.registration.client_id in body
    assert "Then nothing is read" in body
    assert "Add another credential" in body
    assert "Fernhill" in body


def test_another_credential_that_lasts_longer_takes_the_alarm_out(
    secret: ApplicationCredential,
) -> None:
    other = credentials.add_secret(
        secret.registration, secret="x", expires_at=None, actor=None, now=NOW
    )
    announced(secret, 7)
    assert "nothing stops" in Notice.objects.get().body

    credentials.remove(other, actor=None, now=NOW)
    announced(secret, 1)
    assert "No other credential lasts longer" in Notice.objects.first().body  # type: ignore[union-attr]


def test_another_date_is_announced_anew_and_removing_ends_the_notice(
    secret: ApplicationCredential,
) -> None:
    announced(secret, 7)
    secret.refresh_from_db()
    credentials.save_expiry(
        secret, expires_at=NOW + timedelta(days=400), actor=None, now=NOW
    )
    assert not Notice.objects.filter(resolved_at=None).exists()

    assert announced(secret, 61) == []
    assert announced(secret, 60) == ["expires in 60 days"]
    credentials.remove(secret, actor=None, now=NOW)
    assert not Notice.objects.filter(resolved_at=None).exists()


def test_what_waits_or_never_expires_is_not_announced(
    secret: ApplicationCredential,
) -> None:
    ApplicationCredential.objects.update(in_use=False)
    assert announced(secret, 1) == []
    ApplicationCredential.objects.update(in_use=True, expires_at=None)
    assert announced(secret, 1) == []


def test_the_workers_tick_announces(secret: ApplicationCredential) -> None:
    now = timezone.now()
    ApplicationCredential.objects.update(expires_at=now + timedelta(days=29))

    tasks.tick()

    assert Notice.objects.get().title.endswith("expires in 29 days")


def test_a_refusal_is_announced_until_microsoft_accepts_the_credential(
    secret: ApplicationCredential,
) -> None:
    refused = errors.CredentialsRefused(
        "The client secret of the application is wrong.",
        code="AADSTS7000215",
        request_id="r",
    )
    for _ in range(3):
        tokens.note_refusal(secret, refused, now=NOW)

    notice = Notice.objects.get()
    assert "Microsoft refuses a credential" in notice.title
    assert "AADSTS7000215" in notice.body
    assert notice.resolved_at is None

    tokens.note_acceptance(secret, now=NOW)
    notice.refresh_from_db()
    assert notice.resolved_at is not None


def test_an_application_that_is_removed_takes_its_notices_with_it(
    secret: ApplicationCredential,
) -> None:
    announced(secret, 1)
    found = secret.registration
    ApplicationRegistration.objects.update(for_one_connection=True)
    found.refresh_from_db()

    registrations.delete_own(found, actor=None, now=NOW)

    assert not Notice.objects.filter(resolved_at=None).exists()
