"""Deleting a connection: what stays, what is erased and when, and coming back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from directory import deletion, tasks
from directory.entra.tls import TlsInUse
from directory.models import (
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    ConsentRequest,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    EarlierValue,
    MembershipInterval,
    SentRequest,
    StagedPage,
    SyncRun,
)
from directory.sync import request_sync
from directory.sync.lease import Lease, LeaseLost, claim
from directory.tls import note
from jamfidp.accounts import standing
from jamfidp.accounts.models import SignInConfirmation, User
from jamfidp.history.models import ObjectHistory
from jamfidp.notices.announce import announce
from jamfidp.notices.kinds import CONNECTION_STATUS
from jamfidp.notices.models import Notice
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, register
from tests.directory.rounds import group, guid, left, member, removed, take, user
from tests.directory.syncing import Story
from tests.directory.test_connection_page import notes, text_of
from tests.scoping.inventory_rows import device, limited_to, scoped
from tests.scoping.test_scopes import verdicts

ANA, MILO, FRONTEND, STUDIO, PRINTER = map(guid, ("ana", "milo", "fe", "st", "pr"))
LIST = "/settings/cloud-idps/"
KEPT = timedelta(days=30)


def tenant(name: str, tenant_id: str) -> CloudIdentityProvider:
    """A connection whose directory was read, with one person and one group."""
    idp = factories.cloud_idp(name, tenant_id=tenant_id, first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


@pytest.fixture
def quarrel(db: None) -> CloudIdentityProvider:
    idp = tenant("Quarrel", factories.OTHER_TENANT)
    maya, wood = guid("maya"), guid("wood")
    take(idp, full=True, users=[user(maya)], groups=[group(wood, member(maya))])
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED, finished_at=timezone.now())
    return idp


@pytest.fixture
def fernhill(quarrel: CloudIdentityProvider) -> CloudIdentityProvider:
    idp = tenant("Fernhill Studio", factories.TENANT)
    take(
        idp,
        full=True,
        users=[user(ANA, displayName="Ana Ruiz"), user(MILO)],
        groups=[
            group(FRONTEND, member(ANA), member(MILO), member(PRINTER, "device")),
            group(STUDIO, member(FRONTEND, "group")),
        ],
    )
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED, finished_at=timezone.now())
    return idp


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


def delete(
    idp: CloudIdentityProvider,
    actor: User,
    *,
    at_once: bool = False,
    now: datetime | None = None,
) -> None:
    deletion.delete(
        idp,
        typed_name=idp.display_name,
        at_once=at_once,
        actor=actor,
        now=now or timezone.now(),
    )


def erase_all() -> None:
    """What ticks and workers do together, until nothing is due."""
    for pk in deletion.claim_due(now=timezone.now()):
        tasks.erase_deleted(pk)


# --- The page ----------------------------------------------------------------------


def test_deleting_offers_disabling_asks_for_the_name_and_says_what_depends_on_it(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    factories.bind(factories.account_group("Mac Admins"), frontend)
    scoped("FileVault", limited_to(frontend), everything=True)
    device("ana-mac", user=f"{ANA[:8]}@fernhill.example")
    address = f"{fernhill.get_absolute_url()}delete/"

    page = text_of(browser, address)

    assert "Disable instead" in page
    assert "2 people and 2 groups were read from the tenant" in page
    assert "FileVault" in page
    assert "Mac Admins" in page
    assert "1 computer" in page
    assert "After 30 days" in page
    for typed in ("", "fernhill studio", "Fernhill"):
        response = browser.post(address, {"confirm": typed, "erase": "now"})
        assert response.status_code == 422
        refused = " ".join(response.content.decode().split())
        assert "Nothing was deleted" in refused
        assert 'id="erase-now" checked' in refused
    assert CloudIdentityProvider.objects.filter(pk=fernhill.pk).exists()

    response = browser.post(address, {"confirm": " Fernhill Studio "})

    assert response["Location"] == fernhill.get_absolute_url()
    assert "Consent still stands in Entra" in text_of(browser, response["Location"])
    entry = ObjectHistory.objects.get(action="deleted")
    assert entry.actor_name == "Local Administrator"
    assert entry.object_name == "Fernhill Studio"
    assert "2 people and 2 groups are erased on" in entry.note


def test_a_deleted_connection_is_shown_with_its_day_and_opens_nothing_else(
    fernhill: CloudIdentityProvider, browser: Client, administrator: User
) -> None:
    base = fernhill.get_absolute_url()
    ana = DirectoryUser.objects.get(object_id=ANA)
    run = SyncRun.objects.filter(cloud_idp=fernhill).latest("pk")
    device("ana-mac", user=ana)
    delete(fernhill, administrator)
    day = timezone.localtime(timezone.now() + KEPT)

    assert f"Deleted, erased on {day:%-d %B %Y}" in text_of(browser, LIST)
    page = text_of(browser, base)
    assert f"erased on {day:%-d %B %Y}" in page
    assert "Erase now" in page
    assert "Deleted the connection to Fernhill Studio" in page
    assert "<bdi>1 computer</bdi>" in page
    assert "their users were people of this connection" in page
    for tab in ("edit", "mappings", "test", "permissions", "history", "sync"):
        assert browser.get(f"{base}{tab}/").status_code == 404, tab
    for action in ("check", "enable", "disable", "delete", "consent-again", "sync"):
        assert browser.post(f"{base}{action}/").status_code == 404, action
    for gone in (ana.get_absolute_url(), run.get_absolute_url()):
        assert browser.get(gone).status_code == 404
    assert CloudIdentityProvider.with_deleted.get(pk=fernhill.pk).erase_at is not None


@pytest.mark.parametrize(
    "address",
    [
        "/users/",
        "/groups/",
        "/users/export/",
        "/groups/export/",
        "/directory/picker/users/?q=",
        "/directory/picker/groups/?q=",
        "/search/?q=",
    ],
)
def test_nobody_of_a_deleted_connection_is_listed_found_or_offered(
    fernhill: CloudIdentityProvider,
    browser: Client,
    administrator: User,
    address: str,
) -> None:
    names = [ANA[:8], MILO[:8]] if "users" in address else [FRONTEND[:8], STUDIO[:8]]

    def shown(name: str) -> bool:
        # Half of the name is asked for: the page repeats it.
        asked = f"{address}{name[:4]}" if address.endswith("=") else address
        ask = browser.post if "export" in address else browser.get
        response = ask(asked)
        content = b"".join(response) if response.streaming else response.content
        assert response.status_code == 200, asked
        return name in content.decode()

    there = [name for name in names if shown(name)]
    delete(fernhill, administrator)

    assert there, "without a deletion they are there"
    assert not [name for name in there if shown(name)]


def test_only_who_may_delete_connections_erases_and_types_the_name(
    fernhill: CloudIdentityProvider, browser: Client, administrator: User
) -> None:
    delete(fernhill, administrator)
    address = f"{fernhill.get_absolute_url()}erase/"
    reader = factories.custom_account("reader", "Read LDAP Servers")

    assert browser_for(reader).post(address, {"confirm": "x"}).status_code == 403
    assert "Erase now" not in text_of(browser_for(reader), fernhill.get_absolute_url())
    response = browser.post(address, {"confirm": "Fernhill"})
    assert response.status_code == 422
    assert "Nothing was erased" in response.content.decode()
    erase_all()
    assert DirectoryUser.objects.filter(object_id=ANA).exists()

    assert browser.post(address, {"confirm": "Fernhill Studio"}).status_code == 303
    assert "is being erased" in text_of(browser, fernhill.get_absolute_url())
    browser.post(address, {"confirm": "Fernhill Studio"})
    erase_all()

    assert not DirectoryUser.objects.filter(object_id=ANA).exists()
    assert browser.get(fernhill.get_absolute_url()).status_code == 404
    assert browser.post(address, {"confirm": "Fernhill Studio"}).status_code == 404
    assert notes(fernhill)[:2] == [
        "Erased what was read of Fernhill Studio",
        "Asked to erase what was read at once",
    ]
    assert "Fernhill Studio" in text_of(browser, "/activity/history/")


def test_a_viewer_who_sees_one_site_reads_that_others_may_depend_on_it(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    factories.site("Berlin")
    address = f"{fernhill.get_absolute_url()}disable/"
    sentence = "Only what you may see is listed"
    assert sentence not in text_of(browser, address)
    keeper = factories.custom_account(
        "keeper", "Read LDAP Servers", "Update LDAP Servers"
    )

    assert sentence in text_of(browser_for(keeper), address)


# --- What stops at once ------------------------------------------------------------


def test_a_deleted_connection_grants_nothing_and_is_read_no_more(
    fernhill: CloudIdentityProvider,
    administrator: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks.run_sync, "apply_async", lambda **_: None)
    ana = DirectoryUser.objects.get(object_id=ANA)
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    factories.bind(factories.account_group("Mac Admins"), frontend)
    account = factories.entra_account(ana)
    SignInConfirmation.objects.create(
        tenant_id=fernhill.tenant_id,
        object_id=ANA,
        at=timezone.now(),
        enabled=True,
        user_type="Member",
        group_ids=[FRONTEND],
    )
    assert account.has_perm("directory.view_directoryuser")
    announce(
        kind=CONNECTION_STATUS,
        title="Fernhill does not answer",
        about=fernhill,
        key="x",
        now=timezone.now(),
    )

    delete(fernhill, administrator)
    CloudIdentityProvider.with_deleted.update(next_sync_at=None)
    tasks.tick()

    held = standing.read(User.objects.get(pk=account.pk), now=timezone.now())
    assert [each.reason.name for each in held.withheld] == ["NO_CONNECTION"]
    assert not held.grants
    assert not SignInConfirmation.objects.exists()
    assert not SyncRun.objects.active().filter(cloud_idp=fernhill).exists()
    assert not Notice.objects.filter(resolved_at=None).exists()


def test_deleting_ends_attempts_requests_and_the_connections_own_application(
    fernhill: CloudIdentityProvider, administrator: User
) -> None:
    own = ApplicationRegistration.objects.create(
        cloud="SANDBOX",
        client_id="x",
        for_one_connection=True,
        changed_at=timezone.now(),
    )
    fernhill.own_registration = own
    fernhill.save()
    given = {
        "registration": own,
        "cloud": "SANDBOX",
        "cloud_idp": fernhill,
        "created_at": timezone.now(),
        "expires_at": timezone.now() + timedelta(hours=1),
    }
    ConsentRequest.objects.create(
        state_hash="x", browser_hash="x", started_by=administrator, **given
    )
    SentRequest.objects.create(token_hash="x", started_by_name="x", **given)

    delete(fernhill, administrator)

    assert not ConsentRequest.objects.exists()
    assert not ApplicationRegistration.objects.exists()
    assert not SentRequest.objects.filter(revoked_at=None).exists()


def test_a_worker_in_the_middle_of_a_read_stores_nothing_after_the_deletion(
    fernhill: CloudIdentityProvider, administrator: User
) -> None:
    run = request_sync(
        cloud_idp=fernhill,
        kind=SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.PERSON,
        actor=None,
        now=timezone.now(),
    )
    lease = claim(run.pk, now=timezone.now())
    assert isinstance(lease, Lease)
    factories.staged_page(run)

    delete(fernhill, administrator)

    with pytest.raises(LeaseLost):
        lease.renew(phase="Reading")
    assert not lease.hold(now=timezone.now()).rows
    assert not StagedPage.objects.exists()
    idp = CloudIdentityProvider.with_deleted.get(pk=fernhill.pk)
    assert (idp.users_delta_link, idp.groups_delta_link) == ("", "")


# --- Erasing -----------------------------------------------------------------------


def test_what_was_read_is_erased_when_its_day_has_come_and_not_before(
    fernhill: CloudIdentityProvider,
    administrator: User,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(
        tasks.erase_deleted, "apply_async", lambda args: sent.append(args[0])
    )
    monkeypatch.setattr(tasks.run_sync, "apply_async", lambda **_: None)
    settings.DELETED_CONNECTION_DAYS = 7
    delete(fernhill, administrator, now=timezone.now() - timedelta(days=6, hours=23))

    tasks.tick()
    tasks.erase_deleted(fernhill.pk)
    assert sent == []
    assert DirectoryUser.objects.filter(object_id=ANA).exists()

    CloudIdentityProvider.with_deleted.filter(pk=fernhill.pk).update(
        erase_at=timezone.now()
    )
    tasks.tick()
    tasks.tick()
    assert sent == [fernhill.pk], "one worker is asked, not one with every tick"
    tasks.erase_deleted(fernhill.pk)

    assert not CloudIdentityProvider.with_deleted.filter(pk=fernhill.pk).exists()
    assert not DirectoryUser.objects.filter(object_id=ANA).exists()


def test_f19_an_erasure_that_is_cut_off_is_finished_by_the_next_worker(
    fernhill: CloudIdentityProvider,
    administrator: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("directory.sync.rows.CHUNK", 2)
    delete(fernhill, administrator, at_once=True)
    due = deletion.claim_due(now=timezone.now())
    assert due == [fernhill.pk]

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deletion.erase(fernhill.pk, now=timezone.now, heard=killed)
    assert 0 < DirectoryObject.objects.filter(cloud_idp=fernhill).count() < 5
    assert deletion.claim_due(now=timezone.now()) == []

    later = timezone.now() + timedelta(minutes=6)
    assert deletion.claim_due(now=later) == due
    # A slice that is over leaves the rest to the next tick.
    assert not deletion.erase(fernhill.pk, now=timezone.now, seconds=0)
    erase_all()

    assert not DirectoryObject.objects.filter(cloud_idp=fernhill).exists()
    assert not CloudIdentityProvider.with_deleted.filter(pk=fernhill.pk).exists()


# What tells of a deletion, and is meant to stay: the history, notices, and where
# numbers begin.
TOLD = {
    "history_objecthistory",
    "notices_notice",
    "sqlite_sequence",
    "django_session",
    "directory_workerheartbeat",
}


def everything() -> dict[str, list[str]]:
    """Every row of every table, but the inner tables of SQLite's search index."""
    found = {}
    with database.cursor() as cursor:
        names = database.introspection.table_names(cursor)
        if database.vendor == "sqlite":
            names = [*names, "sqlite_sequence"]
        for name in names:
            if name in TOLD or "_trigrams" in name:
                continue
            cursor.execute(f'SELECT * FROM "{name}"')  # noqa: S608
            found[name] = sorted(repr(row) for row in cursor.fetchall())
    return found


def searchable() -> list[str]:
    """What the search indexes of SQLite hold; PostgreSQL's are no tables."""
    found: list[str] = []
    if database.vendor != "sqlite":
        return found
    with database.cursor() as cursor:
        for model in (DirectoryUser, DirectoryGroup):
            index = f"{model._meta.db_table}_trigrams"
            cursor.execute(f"SELECT block FROM {index}_data WHERE id > 10")  # noqa: S608
            found += [repr(bytes(row[0])) for row in cursor.fetchall()]
    return found


def test_nothing_of_an_erased_connection_stays_in_any_table(
    quarrel: CloudIdentityProvider, administrator: User
) -> None:
    before = everything()
    fernhill = tenant("Fernhill Studio", factories.TENANT)
    whole = [user(ANA, displayName="Zsófia Zelenka"), user(MILO)]
    take(
        fernhill,
        full=True,
        users=whole,
        groups=[
            group(FRONTEND, member(ANA), member(MILO), member(PRINTER, "device")),
            group(STUDIO, member(FRONTEND, "group")),
        ],
    )
    take(fernhill, users=[user(ANA, displayName="Zsófia Ruiz")])
    take(fernhill, groups=[group(FRONTEND, left(MILO))])
    # Of a group that is gone for good and forgotten, the past is still remembered.
    take(fernhill, groups=[removed(STUDIO, "deleted")])
    DirectoryGroup.objects.filter(object_id=STUDIO).delete()
    run = SyncRun.objects.filter(cloud_idp=fernhill).latest("pk")
    factories.staged_page(run)
    note(
        fernhill,
        TlsInUse(host="graph.example", protocol="TLSv1.3", cipher="x", issuer="y"),
    )
    SignInConfirmation.objects.create(
        tenant_id=fernhill.tenant_id, object_id=ANA, at=timezone.now()
    )
    assert EarlierValue.objects.exists()
    assert MembershipInterval.objects.exists()

    delete(fernhill, administrator, at_once=True)
    erase_all()

    after = everything()
    assert {name: rows for name, rows in after.items() if rows != before[name]} == {}
    assert not [block for block in searchable() if "zso" in block or "zel" in block]
    told = ObjectHistory.objects.filter(object_name="Fernhill Studio")
    assert not [entry for entry in told if ANA in entry.note or "Zs" in entry.note]


# --- Coming back -------------------------------------------------------------------


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def read(journey: Journey) -> Story:
    idp = CloudIdentityProvider.objects.get()
    story = Story(journey.sandbox, idp.tenant_id, idp)
    story.read(SyncRun.Kind.FULL)
    return story


def test_references_heal_when_the_tenant_is_connected_again_erased_or_not(
    journey: Journey, administrator: User
) -> None:
    journey.connect(room="city", search_timeout="45")
    story = read(journey)
    frontend = story.group("Frontend")
    upn = sorted(story.direct_members("Frontend"))[0]
    computer = device("mac", user=upn, logged_in=upn)
    policy = scoped("FileVault", limited_to(frontend), everything=True)
    # Not Full Access: what gives that is held until somebody approves it.
    helpers = factories.account_group("Helpdesk", site=factories.site())
    factories.bind(helpers, frontend)
    account = factories.entra_account(story.user(upn))
    assert verdicts(policy)[computer.name] == "in"
    assert holds(account)
    first = story.cloud_idp.pk

    delete(story.cloud_idp, administrator)
    assert verdicts(policy)[computer.name] == "held"
    assert not holds(account)

    # Before it is erased: mappings, options and history are taken up.
    page = journey.verified()
    assert "This tenant was connected before" in text_of(journey.console, page)
    form = journey.console.get(page).context
    assert form["form"]["search_timeout"].value() == 45
    journey.save(page, **sent(form))
    again = CloudIdentityProvider.objects.get()
    assert again.pk == first
    assert (again.mappings.room, again.search_timeout) == ("city", 45)
    assert "Connected the tenant Fernhill Studio again" in notes(again)
    assert "Deleted the connection to Fernhill Studio" in " ".join(notes(again))
    assert verdicts(policy)[computer.name] == "held", "not read again yet"
    assert not holds(account)
    story.control("DELETE", f"groups/{frontend.object_id}/members/{upn}")
    story = read(journey)
    assert verdicts(policy)[computer.name] == "out", "as Entra has it now"
    assert MembershipInterval.objects.filter(
        group_id=frontend.pk, to_at__isnull=False
    ).exists(), "that the member left meanwhile is remembered"
    story.control("PUT", f"groups/{frontend.object_id}/members/{upn}")
    story.read()
    assert verdicts(policy)[computer.name] == "in"
    assert holds(account)

    # After it is erased: the same, from nothing.
    delete(story.cloud_idp, administrator, at_once=True)
    erase_all()
    assert not DirectoryUser.objects.exists()
    assert verdicts(policy)[computer.name] == "held"
    journey.connect()
    assert CloudIdentityProvider.objects.get().pk != first
    read(journey)
    assert verdicts(policy)[computer.name] == "in"
    assert holds(account)


def sent(context: Any) -> dict[str, str]:
    """What a browser sends of the page's forms as they are filled in."""
    return {
        bound.html_name: "on" if bound.value() is True else str(bound.value() or "")
        for form in (context["form"], context["mappings"])
        for bound in form
    }


def holds(account: User) -> bool:
    return bool(standing.read(account, now=timezone.now()).grants)


def test_a_tenant_can_be_connected_anew_while_its_old_rows_are_being_erased(
    journey: Journey, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("directory.sync.rows.CHUNK", 5)
    journey.connect()
    old = read(journey).cloud_idp
    delete(old, administrator, at_once=True)
    deletion.claim_due(now=timezone.now())
    assert not deletion.erase(old.pk, now=timezone.now, seconds=0)

    journey.connect()
    story = read(journey)
    people = story.cloud_idp.users.count()
    assert story.cloud_idp.pk != old.pk
    assert old.users.exists()
    ana = story.user("ana.ruiz@fernhill.example")
    page = journey.console.get(f"/users/?q={ana.object_id}")
    assert page.context["total"] == 1
    erase_all()

    assert not old.users.exists()
    assert story.cloud_idp.users.count() == people
    assert story.user("ana.ruiz@fernhill.example").pk == ana.pk
