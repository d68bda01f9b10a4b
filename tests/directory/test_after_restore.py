"""A restored backup gives nobody back what they lost since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from directory.models import (
    CloudIdentityProvider,
    DecidedChange,
    Decision,
    HeldChange,
    SyncRun,
)
from jamfidp.accounts import standing
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.models import AccountSession, User
from jamfidp.history.models import ObjectHistory
from tests import factories
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected

FULL = SyncRun.Kind.FULL
ANA = "ana.ruiz@fernhill.example"
MILO = "milo.brandt@fernhill.example"
Backup = dict[str, tuple[list[str], list[tuple[Any, ...]]]]


def backup() -> Backup:
    """Every row of every table, as a dump of the database has them."""
    found: Backup = {}
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            table = model._meta.db_table
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - own table names
            names = [column[0] for column in cursor.description]
            found[table] = (names, cursor.fetchall())
    return found


def restore(kept: Backup) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for table in kept:
            cursor.execute(f'DELETE FROM "{table}"')  # noqa: S608
        for table, (names, rows) in kept.items():
            columns = ", ".join(f'"{name}"' for name in names)
            marks = ", ".join(["%s"] * len(names))
            if rows:
                cursor.executemany(
                    f'INSERT INTO "{table}" ({columns}) VALUES ({marks})',  # noqa: S608
                    rows,
                )


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    story = connected(sandbox)
    story.read(FULL)
    factories.bind(
        factories.account_group("Operators", site=factories.site()),
        story.group("Frontend"),
    )
    # The backup is ten days old when it is restored.
    ten_days_ago = timezone.now() - timedelta(days=10)
    CloudIdentityProvider.objects.update(last_good_read_at=ten_days_ago)
    return story


def holds(account: User) -> bool:
    return standing.read(account, now=timezone.now()).holds("scoping.change_policy")


def restored(story: Story, kept: Backup) -> None:
    restore(kept)
    call_command("after_restore", stdout=StringIO())
    story.cloud_idp.refresh_from_db()


MEANWHILE: dict[str, Callable[[Story], Any]] = {
    "left": lambda story: story.control("DELETE", f"groups/Frontend/members/{ANA}"),
    "disabled": lambda story: story.control(
        "PATCH", f"users/{ANA}", {"accountEnabled": False}
    ),
    "deleted": lambda story: story.control("DELETE", f"users/{ANA}?permanently=true"),
}


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("way", MEANWHILE)
def test_nobody_gets_back_a_privilege_that_was_lost_meanwhile(
    story: Story, way: str, answered: bool
) -> None:
    ana = factories.entra_account(story.user(ANA))
    milo = factories.entra_account(story.user(MILO))
    story.control("PUT", f"groups/Frontend/members/{MILO}")
    story.read()
    CloudIdentityProvider.objects.update(
        last_good_read_at=timezone.now() - timedelta(days=10)
    )
    kept = backup()
    MEANWHILE[way](story)
    story.read()
    assert not holds(ana)

    restored(story, kept)
    if not answered:
        for path in ("/v1.0/$batch", "/v1.0/users/"):
            story.unavailable(path, method="POST")
    assert not holds(ana)
    assert not holds(milo), "suspended until the directory was read"
    (withheld,) = standing.read(milo, now=timezone.now()).withheld
    assert withheld.reason == Reason.RESTORED

    run = story.read()
    assert (run.kind, run.kind_reason) == (
        FULL,
        "The console was restored from a backup.",
    )
    assert not holds(ana)
    assert holds(milo)
    story.read()
    assert not holds(ana)


def test_what_was_open_is_void(story: Story) -> None:
    ada = factories.administrator("ada")
    now = timezone.now()
    AccountSession.objects.create(
        key_hash="x" * 64,
        account=ada,
        data="kept",
        signed_in_at=now,
        last_seen_at=now,
        expires_at=now + timedelta(hours=1),
    )
    decision = Decision.objects.create(
        cloud_idp=story.cloud_idp, verdict="APPROVED", reason="Yes", at=now
    )
    held = HeldChange.objects.create(
        cloud_idp=story.cloud_idp,
        number=story.user(ANA).pk,
        kind="U",
        payload_hash="a",
        opened_at=now,
        changed_at=now,
        decision=decision,
    )
    DecidedChange.objects.create(decision=decision, held=held, payload_hash="a")
    waiting = story.request()

    restored(story, backup())

    session = AccountSession.objects.get()
    assert session.ended_at is not None
    assert not session.data
    assert HeldChange.objects.get(pk=held.pk).decision is None
    assert held.decided.get().outcome == DecidedChange.Outcome.VOID
    waiting.refresh_from_db()
    assert waiting.state == SyncRun.State.CANCELED
    assert ObjectHistory.objects.filter(action="restored").exists()
