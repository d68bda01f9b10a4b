"""Switches for a bad night: stopping sign-in with Entra, and keeping people out."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from directory.models import CloudIdentityProvider, DirectoryUser
from jamfidp.accounts import entra_sign_in, second_factor, standing, switches
from jamfidp.accounts.administrators import LastAdministrator
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.models import AccountSession, Block, EntraSignInStop, User
from jamfidp.history.models import ObjectHistory
from jamfidp.notices import mail
from jamfidp.notices.models import Notice, NoticeMail
from tests import factories

pytestmark = pytest.mark.django_db

PAGE = "/settings/single-sign-on/"


def client_of(account: User) -> Client:
    client = Client(SERVER_NAME="localhost")
    client.force_login(account)
    return client


def is_open(client: Client) -> bool:
    return client.get("/account/privileges/").status_code == 200


@pytest.fixture
def fernhill() -> CloudIdentityProvider:
    return factories.cloud_idp()


@pytest.fixture
def ana(fernhill: CloudIdentityProvider) -> DirectoryUser:
    """Ana, an administrator by a directory group, who has signed in before."""
    ana = factories.directory_user("Ana Ruiz", fernhill)
    factories.bind(
        factories.account_group("Mac Admins"),
        factories.directory_group("Mac Admins", fernhill, ana),
    )
    factories.entra_account(ana)
    return ana


def account_of(person: DirectoryUser) -> User:
    return User.objects.get(object_id=person.object_id)


# --- Stopping sign-in with Entra -------------------------------------------------------


def stop(client: Client, which: str = "all", **fields: str) -> Any:
    return client.post(
        f"{PAGE}{which}/stop/", {"reason": "A tenant was taken over"} | fields
    )


def test_stopping_says_what_will_be_so_and_needs_a_reason(
    console: Client, ana: DirectoryUser
) -> None:
    client_of(account_of(ana))
    shown = console.get(f"{PAGE}all/stop/").content.decode()
    assert "1 person is signed in that way now" in shown
    assert "1 local administrator can sign in" in shown

    refused = stop(console, reason=" ")

    assert refused.status_code == 422
    assert not EntraSignInStop.objects.exists()


def test_a_stop_is_announced_shown_and_kept_in_the_history(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    factories.administrator("other", email="other@fernhill.example")

    assert stop(console)["Location"] == PAGE

    assert "Nobody can sign in with Entra." in console.get(PAGE).content.decode()
    notice = Notice.objects.get()
    assert notice.title == "Sign-in with Entra is stopped: all connections"
    assert "A tenant was taken over" in notice.body
    assert notice.title in console.get("/").content.decode()
    entry = ObjectHistory.objects.get(action="stopped")
    assert "A tenant was taken over" in entry.note
    mail.plan(now=timezone.now())
    assert [one.address for one in NoticeMail.objects.all()] == [
        "other@fernhill.example"
    ]


def test_the_sign_in_page_offers_entra_no_more_and_does_not_say_why(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    stop(console)

    page = Client(SERVER_NAME="localhost").get("/login/").content.decode()

    assert "Sign-in with Entra is stopped." in page
    assert "Sign in with Entra: Fernhill" not in page
    assert "taken over" not in page


@pytest.mark.parametrize(("end", "stays"), [("", True), ("on", False)])
def test_who_is_signed_in_stays_unless_the_sessions_are_ended(
    console: Client, ana: DirectoryUser, end: str, stays: bool
) -> None:
    hers = client_of(account_of(ana))

    stop(console, **({"end_sessions": end} if end else {}))

    page = hers.get("/", follow=True).content.decode()
    assert ("Sign-in with Entra was stopped" in page) is not stays
    assert is_open(hers) is stays
    assert is_open(console)


def test_one_connection_is_stopped_and_the_other_is_not(
    console: Client, fernhill: CloudIdentityProvider, ana: DirectoryUser
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    bo = factories.directory_user("Bo", quarrel)
    factories.bind(
        factories.account_group("Quarrel admins"),
        factories.directory_group("Admins", quarrel, bo),
    )
    hers, his = client_of(account_of(ana)), client_of(factories.entra_account(bo))

    stop(console, str(quarrel.pk), end_sessions="on")

    assert [str(one) for one in entra_sign_in.connections()] == ["Fernhill Studio"]
    assert is_open(hers)
    assert not is_open(his)
    page = Client(SERVER_NAME="localhost").get("/login/").content.decode()
    assert "stopped it for some" in page


def test_a_stop_is_lifted_with_a_reason_and_its_notice_ends(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    stop(console)
    assert console.post(f"{PAGE}all/allow/", {"reason": ""}).status_code == 422

    console.post(f"{PAGE}all/allow/", {"reason": "It is over"})

    assert entra_sign_in.connections() == [fernhill]
    assert not entra_sign_in.is_stopped()
    stopped, allowed = Notice.objects.order_by("pk")
    assert stopped.resolved_at is not None
    assert allowed.title == "Sign-in with Entra is allowed again: all connections"
    assert "It is over" in ObjectHistory.objects.get(action="allowed").note


def test_a_switch_that_stands_so_already_says_so(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    allowed = console.post(f"{PAGE}all/allow/", {"reason": "x"})
    assert allowed.status_code == 422
    assert "is not stopped" in allowed.content.decode()

    stop(console)
    again = stop(console)

    assert again.status_code == 422
    assert "is stopped already" in again.content.decode()
    assert EntraSignInStop.objects.count() == 1


@pytest.mark.parametrize("which", ["999999", "9" * 40, "x"])
def test_a_connection_that_is_not_there_cannot_be_stopped(
    console: Client, which: str
) -> None:
    assert stop(console, which).status_code == 404


def test_reading_the_settings_is_not_changing_them(
    fernhill: CloudIdentityProvider,
) -> None:
    client = client_of(factories.custom_account("mara", "Read SSO Settings"))

    page = client.get(PAGE).content.decode()

    assert "Stop all sign-in" not in page
    assert "Blocked people" not in page
    assert stop(client).status_code == 403
    assert not EntraSignInStop.objects.exists()


# --- Blocking people -------------------------------------------------------------------


def block(client: Client, account: User, reason: str = "Lost laptop") -> Any:
    return client.post(f"/settings/accounts/{account.pk}/block/", {"reason": reason})


def test_a_block_ends_the_sessions_and_keeps_the_person_out(
    console: Client, ana: DirectoryUser
) -> None:
    account = account_of(ana)
    hers = client_of(account)

    assert block(console, account)["Location"] == account.get_absolute_url()

    page = hers.get("/", follow=True)
    assert page.request["PATH_INFO"] == "/login/"
    assert "You were blocked in this console." in page.content.decode()
    held = standing.read(account_of(ana), now=timezone.now())
    assert [one.reason for one in held.withheld] == [Reason.BLOCKED]
    shown = console.get(account.get_absolute_url()).content.decode()
    assert "This account is blocked." in shown
    assert "Lost laptop" in shown
    assert "Lost laptop" in console.get(PAGE).content.decode()
    assert Notice.objects.get().title == f"{account.username} was blocked"
    assert ObjectHistory.objects.filter(action="blocked").count() == 1


def test_a_session_that_appears_after_the_block_opens_nothing(
    console: Client, ana: DirectoryUser
) -> None:
    block(console, account_of(ana))

    assert not is_open(client_of(account_of(ana)))


@pytest.mark.usefixtures("without_second_factor")
def test_a_blocked_local_account_is_refused_as_any_wrong_password(
    console: Client,
) -> None:
    lena = factories.local_account("lena")
    block(console, lena)

    answer = Client(SERVER_NAME="localhost").post(
        "/login/", {"username": "lena", "password": factories.PASSWORD}
    )

    assert answer.status_code == 422
    assert "The user name or the password is wrong" in answer.content.decode()


def test_a_block_ends_half_a_sign_in(console: Client) -> None:
    lena = factories.administrator("lena")
    hers = Client(SERVER_NAME="localhost")
    hers.post("/login/", {"username": "lena", "password": factories.PASSWORD})
    assert hers.get("/account/sign-in/add/").status_code == 200

    block(console, lena)

    assert hers.get("/account/sign-in/add/")["Location"] == "/login/"


def test_the_block_of_a_person_outlives_the_account(
    console: Client, ana: DirectoryUser
) -> None:
    account = account_of(ana)
    block(console, account)

    console.post(
        f"/settings/accounts/{account.pk}/delete/", {"confirm": account.username}
    )

    ref = standing.ref_of(account)
    assert ref
    assert switches.block_of_person(ref) is not None
    assert standing.of_person(ref, now=timezone.now()).holds_nothing


def test_somebody_without_an_account_is_blocked_on_the_page_of_the_directory_user(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    bo = factories.directory_user("Bo Lund", fernhill)
    part = f"/settings/accounts/of-person/{fernhill.tenant_id}/{bo.object_id}/"
    assert "Block in this console" in console.get(part).content.decode()

    answer = console.post(f"{part}block/", {"reason": "Left the company"})

    assert answer["Location"] == bo.get_absolute_url()
    assert Block.objects.get().object_id == bo.object_id
    fragment = console.get(part).content.decode()
    assert "Block in this console" not in fragment
    assert "is blocked in this console" in fragment
    assert console.post(f"{part}block/", {"reason": "again"}).status_code == 422


def test_somebody_with_an_account_is_blocked_as_an_account(
    console: Client, ana: DirectoryUser
) -> None:
    part = f"/settings/accounts/of-person/{ana.cloud_idp.tenant_id}/{ana.object_id}/"

    answer = console.get(f"{part}block/")

    assert answer["Location"] == f"/settings/accounts/{account_of(ana).pk}/block/"


def test_a_block_is_lifted_and_the_person_signs_in_again(
    console: Client, ana: DirectoryUser
) -> None:
    account = account_of(ana)
    block(console, account)
    found = Block.objects.get()
    assert console.post(f"/settings/blocks/{found.pk}/lift/", {}).status_code == 422

    console.post(f"/settings/blocks/{found.pk}/lift/", {"reason": "Laptop found"})

    assert is_open(client_of(account_of(ana)))
    assert Notice.objects.filter(title__startswith="The block of").count() == 1
    assert console.get(f"/settings/blocks/{found.pk}/lift/").status_code == 404


def test_a35_nobody_blocks_or_lets_in_who_holds_more(console: Client) -> None:
    admin = factories.administrator("boss")
    mara = factories.custom_account("mara", "Read Accounts", "Update Accounts")
    hers = client_of(mara)

    assert block(hers, admin).status_code == 422
    block(console, admin)
    found = Block.objects.get()

    lifted = hers.post(f"/settings/blocks/{found.pk}/lift/", {"reason": "x"})
    assert lifted.status_code == 422
    assert Block.objects.in_force().exists()


def test_nobody_blocks_themselves(console: Client, administrator: User) -> None:
    factories.administrator("other")

    answer = block(console, administrator)

    assert answer.status_code == 422
    assert "You cannot block yourself" in answer.content.decode()


def test_a36_the_last_local_administrator_is_not_blocked(
    administrator: User, ana: DirectoryUser
) -> None:
    with pytest.raises(LastAdministrator):
        switches.block_account(
            administrator, reason="x", actor=account_of(ana), now=timezone.now()
        )

    assert not Block.objects.exists()


def test_a36_a_blocked_administrator_does_not_count(
    console: Client, administrator: User
) -> None:
    other = factories.administrator("other")
    block(console, other)
    page = console.get(f"/settings/accounts/{administrator.pk}/delete/")
    assert page.status_code == 200

    answer = console.post(
        f"/settings/accounts/{administrator.pk}/delete/", {"confirm": "admin"}
    )

    assert answer.status_code == 422
    assert User.objects.filter(username="admin").exists()


# --- On the server ---------------------------------------------------------------------


def run(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def test_the_server_stops_and_allows_sign_in_with_entra(
    fernhill: CloudIdentityProvider, ana: DirectoryUser
) -> None:
    hers = client_of(account_of(ana))
    with pytest.raises(CommandError, match="Say why"):
        run("entra_sign_in", "stop")

    run("entra_sign_in", "stop", "--reason", "Fire drill", "--end-sessions")

    assert not is_open(hers)
    assert "Fire drill" in run("entra_sign_in", "show")
    entry = ObjectHistory.objects.get(action="stopped")
    assert entry.actor_name == "Console"
    assert "the console's server" in Notice.objects.get().body
    with pytest.raises(CommandError, match="already"):
        run("entra_sign_in", "stop", "--reason", "again")
    run("entra_sign_in", "allow", "--reason", "Drill over")
    assert "allowed everywhere" in run("entra_sign_in", "show")


def test_the_server_stops_one_connection_by_its_name(
    fernhill: CloudIdentityProvider,
) -> None:
    with pytest.raises(CommandError, match="No connection"):
        run("entra_sign_in", "stop", "--reason", "x", "--connection", "Nowhere")

    run("entra_sign_in", "stop", "--reason", "x", "--connection", "Fernhill Studio")

    assert EntraSignInStop.objects.get().tenant_id == fernhill.tenant_id


def test_the_server_blocks_and_lets_in(
    fernhill: CloudIdentityProvider, ana: DirectoryUser
) -> None:
    hers = client_of(account_of(ana))
    bo = factories.directory_user("Bo", fernhill)

    run("block_person", account_of(ana).username, "--reason", "x")
    run("block_person", bo.object_id, "--reason", "x")

    assert not is_open(hers)
    assert Block.objects.in_force().count() == 2
    run("block_person", ana.object_id, "--reason", "x", "--lift")
    run("block_person", bo.object_id, "--reason", "x", "--lift")
    assert not Block.objects.in_force().exists()
    for words in (["nobody"], [bo.object_id, "--lift"]):
        with pytest.raises(CommandError):
            run("block_person", *words, "--reason", "x")


def test_the_server_unlocks_a_blocked_local_account(console: Client) -> None:
    lena = factories.administrator("lena")
    block(console, lena)

    assert "Lifted the block." in run("unlock_account", "lena")

    assert not Block.objects.in_force().exists()
    assert second_factor.is_required(lena, now=timezone.now())


def test_sessions_of_long_ago_do_not_count_as_signed_in(
    console: Client, ana: DirectoryUser
) -> None:
    client_of(account_of(ana))
    assert switches.signed_in_with_entra("", now=timezone.now()) == 1

    AccountSession.objects.update(last_seen_at=timezone.now() - timedelta(hours=2))

    assert switches.signed_in_with_entra("", now=timezone.now()) == 0
