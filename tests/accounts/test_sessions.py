"""Sessions: what the database holds of them, and every way in which they end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as live_settings
from django.contrib.sessions.backends.base import UpdateError
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from lxml import html

from directory.dependents import AppliedChange, registered
from directory.models import CloudIdentityProvider, DirectoryUser
from jamfidp.accounts import session_store, sessions
from jamfidp.accounts.models import AccountSession, User
from jamfidp.accounts.session_store import SessionStore
from jamfidp.history.models import ObjectHistory
from tests import factories

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("without_second_factor"),
]

FIREFOX = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko Firefox/140.0"


def sign_in(username: str = "admin", **extra: Any) -> Client:
    client = Client(SERVER_NAME="localhost", HTTP_USER_AGENT=FIREFOX, **extra)
    client.post("/login/", {"username": username, "password": factories.PASSWORD})
    assert "_auth_user_id" in client.session
    return client


def is_open(client: Client) -> bool:
    return client.get("/account/privileges/").status_code == 200


def row_of(client: Client) -> AccountSession:
    key = client.cookies[live_settings.SESSION_COOKIE_NAME].value
    return AccountSession.objects.get(key_hash=session_store.hash_of(key))


def said_at_sign_in(client: Client, path: str = "/settings/") -> str:
    page = client.get(path, follow=True)
    assert page.request["PATH_INFO"] == "/login/"
    return str(page.content.decode())


# --- What is kept ----------------------------------------------------------------


def test_a53_the_key_of_a_session_stands_in_no_table(administrator: User) -> None:
    client = sign_in()
    key = client.cookies[live_settings.SESSION_COOKIE_NAME].value

    kept = "".join(
        str(list(model._default_manager.values_list())) for model in apps.get_models()
    )

    assert key not in kept
    assert session_store.hash_of(key) in kept


def test_a53_what_the_database_holds_opens_no_session(administrator: User) -> None:
    row = row_of(sign_in())
    thief = Client(SERVER_NAME="localhost")

    for stolen in (row.key_hash, row.key_hash[:32], row.data):
        thief.cookies[live_settings.SESSION_COOKIE_NAME] = stolen
        assert not is_open(thief)


def test_a_session_says_who_how_and_from_where(administrator: User) -> None:
    row = row_of(sign_in(REMOTE_ADDR="10.1.2.3"))

    assert row.account == administrator
    assert row.how == "Password"
    assert row.address == "10.1.2.3"
    assert row.browser == "Firefox, Mac"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("Mozilla (Windows NT 10.0) Chrome/140 Safari/537 Edg/140", "Edge, Windows"),
        ("Mozilla (X11; Linux) Chrome/140 Safari/537", "Chrome, Linux"),
        ("Mozilla (iPhone; CPU iPhone OS like Mac OS X) Safari/604", "Safari, iPhone"),
        ("", "A browser that says nothing of itself"),
        ("<script>", "A browser that says nothing of itself"),
    ],
)
def test_a_browser_is_named_in_two_words(user_agent: str, words: str) -> None:
    assert sessions.browser_words(user_agent) == words


# --- Limits ----------------------------------------------------------------------


def test_a_session_ends_when_nothing_is_done_in_it(administrator: User) -> None:
    client = sign_in()
    almost = session_store.idle_limit() - timedelta(seconds=30)
    AccountSession.objects.update(last_seen_at=timezone.now() - almost)
    assert is_open(client)

    AccountSession.objects.update(
        last_seen_at=timezone.now() - session_store.idle_limit()
    )

    assert "ended after 60 minutes without activity" in said_at_sign_in(client)


def test_what_is_done_is_written_down_at_most_once_a_minute(
    administrator: User,
) -> None:
    client = sign_in()
    for seconds, written in ((59, False), (61, True)):
        before = timezone.now() - timedelta(seconds=seconds)
        AccountSession.objects.update(last_seen_at=before)
        client.get("/settings/")
        assert (row_of(client).last_seen_at != before) is written


def test_a_page_that_asks_for_news_by_itself_is_no_activity(
    administrator: User,
) -> None:
    client = sign_in()
    before = timezone.now() - timedelta(minutes=5)
    AccountSession.objects.update(last_seen_at=before)

    client.get("/search/?q=x", headers={"HX-Request": "true"})
    assert row_of(client).last_seen_at == before

    assert client.post("/account/sessions/keep/").status_code == 204
    assert row_of(client).last_seen_at > before


def test_a_session_ends_hours_after_its_sign_in_whatever_is_done(
    administrator: User,
) -> None:
    client = sign_in()
    expires_at = row_of(client).expires_at
    client.post("/account/site/", {"site": ""})
    assert row_of(client).expires_at == expires_at

    AccountSession.objects.update(expires_at=timezone.now())

    assert "ended 12 hours after you signed in" in said_at_sign_in(client)


@pytest.mark.django_db(transaction=True)
def test_writing_down_activity_never_waits_for_the_database(
    administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sign_in()
    AccountSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    statements: list[str] = []

    def locked(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        if sql.startswith("UPDATE"):
            raise OperationalError("database is locked")
        return execute(sql, *rest)

    with connection.execute_wrapper(locked):
        assert is_open(client)

    assert any(sql.startswith("UPDATE") for sql in statements)
    if connection.vendor == "sqlite":
        assert [sql for sql in statements if "busy_timeout" in sql] == [
            "PRAGMA busy_timeout = 0",
            "PRAGMA busy_timeout = 30000",
        ]


def test_only_the_console_puts_words_on_the_sign_in_page(administrator: User) -> None:
    page = Client(SERVER_NAME="localhost").get("/login/?ended=Call+our+hotline")

    assert "hotline" not in page.content.decode()


def test_a_form_that_comes_too_late_is_given_back_with_the_reason(
    administrator: User,
) -> None:
    client = sign_in()
    AccountSession.objects.update(expires_at=timezone.now())

    answer = client.post("/settings/accounts/new/", {"full_name": "Ana Ruiz"})

    assert answer.status_code == 403
    text = answer.content.decode()
    assert "12 hours after you signed in" in text
    assert "Ana Ruiz" in text


def test_old_sessions_are_forgotten(administrator: User) -> None:
    client = sign_in()
    AccountSession.objects.update(
        expires_at=timezone.now() - session_store.KEPT - timedelta(seconds=1)
    )
    sign_in()

    SessionStore.clear_expired()

    assert AccountSession.objects.count() == 1
    assert not is_open(client)


# --- Ending them -----------------------------------------------------------------


def test_a_person_sees_and_ends_their_sessions(administrator: User) -> None:
    here, there = sign_in(), sign_in(REMOTE_ADDR="10.9.9.9")
    page = html.fromstring(here.get("/account/sessions/").content)
    assert "10.9.9.9" in page.text_content()
    (button,) = page.cssselect("button[name=session]")

    here.post("/account/sessions/end/", {"session": button.get("value")})

    assert is_open(here)
    assert "You ended this session from another one." in said_at_sign_in(there)


def test_a_person_ends_all_other_sessions_and_nobody_elses(
    administrator: User,
) -> None:
    factories.administrator("other")
    here, there, others = sign_in(), sign_in(), sign_in("other")

    here.post("/account/sessions/end/")
    here.post("/account/sessions/end/", {"session": row_of(others).pk})
    here.post("/account/sessions/end/", {"session": "9" * 40})

    assert is_open(here)
    assert not is_open(there)
    assert is_open(others)


def test_an_administrator_ends_the_sessions_of_an_account(administrator: User) -> None:
    lena = factories.custom_account("lena", "Read Policies")
    theirs, ours = sign_in("lena"), sign_in()
    assert "Firefox, Mac" in ours.get(f"/settings/accounts/{lena.pk}/").content.decode()

    ours.post(f"/settings/accounts/{lena.pk}/sessions/end/")

    assert "Local Administrator ended your sessions." in said_at_sign_in(theirs)
    assert ObjectHistory.objects.filter(action="sessions ended").count() == 1


def test_a35_nobody_ends_the_sessions_of_who_holds_more(administrator: User) -> None:
    factories.custom_account("mara", "Read Accounts", "Update Accounts")
    theirs, hers = sign_in(), sign_in("mara")

    answer = hers.post(
        f"/settings/accounts/{administrator.pk}/sessions/end/", follow=True
    )

    assert "You cannot give or manage privileges" in answer.content.decode()
    assert is_open(theirs)


def test_a_session_that_was_ended_while_it_was_answered_stays_ended(
    administrator: User,
) -> None:
    client = sign_in()
    store = SessionStore(client.cookies[live_settings.SESSION_COOKIE_NAME].value)
    store["site"] = 1
    sessions.end_all_of(administrator, because="Blocked.", now=timezone.now())

    with pytest.raises(UpdateError):
        store.save()

    assert row_of(client).data == ""


def test_disabling_an_account_ends_its_sessions_and_says_so(
    administrator: User,
) -> None:
    lena = factories.custom_account("lena", "Read Policies")
    theirs = sign_in("lena")
    ours = sign_in()
    page = html.fromstring(ours.get(f"/settings/accounts/{lena.pk}/edit/").content)
    fields = dict(page.forms[-1].form_values())
    del fields["enabled"]

    ours.post(f"/settings/accounts/{lena.pk}/edit/", fields | {"reviewed": "1"})

    assert "disabled in this console" in said_at_sign_in(theirs)


def test_deleting_an_account_deletes_its_sessions(administrator: User) -> None:
    lena = factories.custom_account("lena", "Read Policies")
    theirs = sign_in("lena")

    sign_in().post(f"/settings/accounts/{lena.pk}/delete/", {"confirm": "lena"})

    assert not is_open(theirs)
    assert not AccountSession.objects.filter(account__username="lena").exists()


def test_losing_the_last_account_group_ends_the_session(administrator: User) -> None:
    lena = factories.local_account("lena")
    group = factories.account_group("Readers", lena)
    theirs = sign_in("lena")

    sign_in().post(
        f"/settings/account-groups/{group.pk}/delete/", {"confirm": "Readers"}
    )

    assert "You hold no privileges any more." in said_at_sign_in(theirs)


@pytest.fixture
def ana() -> DirectoryUser:
    idp = factories.cloud_idp()
    ana = factories.directory_user("Ana Ruiz", idp)
    factories.bind(
        factories.account_group("Mac Admins"),
        factories.directory_group("Mac Admins", idp, ana),
    )
    factories.entra_account(ana)
    return ana


@pytest.fixture
def anas(ana: DirectoryUser) -> Client:
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(object_id=ana.object_id))
    return client


def applied(idp: CloudIdentityProvider) -> None:
    """As after a sync that changed something."""
    for one in registered():
        one.after_apply(
            AppliedChange(cloud_idp_id=idp.pk, full=False), now=timezone.now()
        )


def test_a26_a_sync_that_says_disabled_ends_the_session(
    ana: DirectoryUser, anas: Client
) -> None:
    applied(ana.cloud_idp)
    assert is_open(anas)

    DirectoryUser.objects.update(account_enabled=False)
    applied(ana.cloud_idp)

    said = said_at_sign_in(anas)
    assert "You hold no privileges any more." in said
    assert "Your account is disabled in Entra." in said


def test_privileges_that_are_only_suspended_end_no_session(
    ana: DirectoryUser, anas: Client
) -> None:
    CloudIdentityProvider.objects.update(
        last_good_read_at=timezone.now() - timedelta(hours=25)
    )

    applied(ana.cloud_idp)

    page = anas.get("/settings/")
    assert page.status_code == 403
    assert "suspended" in page.content.decode()


def test_a_disabled_connection_ends_the_sessions_of_its_people(
    ana: DirectoryUser, anas: Client, administrator: User
) -> None:
    ours = sign_in()
    CloudIdentityProvider.objects.update(enabled=False)
    for one in registered():
        one.after_connection_change(ana.cloud_idp.tenant_id, now=timezone.now())

    assert not is_open(anas)
    assert is_open(ours)
