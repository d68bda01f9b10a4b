"""Mail of notices, to a real mail server on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.test import Client
from django.utils import timezone

from jamfidp.notices import mail, mail_choices, tasks
from jamfidp.notices.announce import resolve
from jamfidp.notices.kinds import CONNECTION_STATUS, LOCAL_SIGN_IN, OWN_ACCOUNT
from jamfidp.notices.models import (
    KindSetting,
    MailOptOut,
    MailServer,
    NoticeMail,
)
from tests import factories

pytestmark = pytest.mark.django_db

State = NoticeMail.State


@dataclass
class Inbox:
    """What the mail server took, and what it refuses."""

    received: list[Message] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refused:
            return "550 no such mailbox, and here is what you said: hunter2"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        self.received.append(message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def addressed(self) -> list[str]:
        return sorted(str(one["To"]) for one in self.received)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def server(inbox: Inbox, settings: Any) -> Iterator[Controller]:
    """A mail server that is down until a test starts it."""
    port = free_port()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    yield controller
    if not controller.loop.is_closed():
        controller.loop.close()


@pytest.fixture
def running(server: Controller) -> Iterator[Controller]:
    server.start()
    yield server
    server.stop()


def send(*, now: datetime | None = None) -> None:
    now = now or timezone.now()
    mail.plan(now=now)
    mail.deliver(now=now)


def states() -> dict[str, str]:
    return dict(NoticeMail.objects.values_list("address", "state"))


# --- Who gets mail ---------------------------------------------------------------


def test_mail_goes_to_accounts_with_the_privilege_and_to_addresses_of_the_settings(
    inbox: Inbox, running: Controller
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    factories.custom_account("ben", "Read LDAP Servers", email="ben@fernhill.example")
    factories.custom_account("cy", "Read Policies", email="cy@fernhill.example")
    factories.administrator("dee", email="dee@fernhill.example", is_active=False)
    factories.administrator("eve")
    fay = factories.administrator("fay", email="fay@fernhill.example")
    MailOptOut.objects.create(account=fay, kind=CONNECTION_STATUS.name)
    KindSetting.objects.create(
        kind=CONNECTION_STATUS.name,
        by_mail=True,
        addresses=["soc@fernhill.example", "Ada@Fernhill.example"],
    )
    factories.notice()

    send()

    assert inbox.addressed == [
        "ada@fernhill.example",
        "ben@fernhill.example",
        "soc@fernhill.example",
    ]


def test_a52_mail_about_an_object_of_a_site_goes_to_that_site(
    inbox: Inbox, running: Controller
) -> None:
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    for place in (berlin, paris):
        account = factories.local_account(str(place), email=f"{place}@fernhill.example")
        factories.account_group(f"{place} administrators", account, site=place)
    about = factories.custom_account(
        "lena", "Read Policies", access_level="SITE", site=berlin
    )
    factories.notice(kind=LOCAL_SIGN_IN, about=about)

    send()

    assert inbox.addressed == ["Berlin@fernhill.example"]


def test_a_kind_that_does_not_go_by_mail_does_not(
    inbox: Inbox, running: Controller
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    KindSetting.objects.create(
        kind=CONNECTION_STATUS.name, by_mail=False, addresses=["soc@fernhill.example"]
    )
    factories.notice()

    send()

    assert inbox.received == []
    assert not NoticeMail.objects.exists()


def test_news_of_ones_own_account_comes_whatever_one_chose(
    inbox: Inbox, running: Controller
) -> None:
    lena = factories.local_account("lena", email="lena@fernhill.example")
    MailOptOut.objects.create(account=lena, kind=OWN_ACCOUNT.name)
    factories.notice("A passkey was added", kind=OWN_ACCOUNT, accounts=[lena])

    send()

    assert inbox.addressed == ["lena@fernhill.example"]


def test_who_loses_the_privilege_meanwhile_gets_no_mail(
    inbox: Inbox, server: Controller
) -> None:
    ada = factories.administrator("ada", email="ada@fernhill.example")
    factories.notice()
    mail.plan(now=timezone.now())
    ada.access_level, ada.privilege_set = "GROUP", "CUSTOM"
    ada.save()

    mail.deliver(now=timezone.now())

    assert states() == {"ada@fernhill.example": State.WITHDRAWN}


# --- What it says ----------------------------------------------------------------


def test_a_mail_says_what_happened_where_to_look_and_why_it_came(
    inbox: Inbox, running: Controller, settings: Any
) -> None:
    settings.DEFAULT_FROM_EMAIL = "console@fernhill.example"
    factories.administrator("ada", email="ada@fernhill.example")
    factories.notice(
        "The secret expires\r\nBcc: everybody@evil.example",
        body="It expires in 7 days.\n\nEnter a new one.",
        link="/settings/entra-application/",
    )

    send()

    (got,) = inbox.received
    assert got["Subject"] == (
        "[localhost:8000] The secret expires Bcc: everybody@evil.example"
    )
    assert got["Bcc"] is None
    assert got["From"] == "console@fernhill.example"
    assert got["Auto-Submitted"] == "auto-generated"
    text = got.get_payload(decode=True)
    assert isinstance(text, bytes)
    for part in (
        "It expires in 7 days.",
        "http://localhost:8000/settings/entra-application/",
        "http://localhost:8000/account/notifications/",
    ):
        assert part in text.decode()


def test_a_storm_of_notices_is_one_mail(inbox: Inbox, running: Controller) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    for number in range(30):
        factories.notice(f"Group {number} was renamed")

    send()

    (got,) = inbox.received
    assert got["Subject"] == "[localhost:8000] 30 notices"
    assert set(NoticeMail.objects.values_list("state", flat=True)) == {State.SENT}


# --- The mail server -------------------------------------------------------------


def test_f45_a_mail_server_that_is_down_holds_mail_back_and_nothing_else(
    inbox: Inbox, server: Controller, console: Client
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    began = timezone.now()
    factories.notice(now=began)

    tasks.tick()

    assert states() == {"ada@fernhill.example": State.QUEUED}
    page = console.get("/settings/system/").text
    assert "Mail cannot be sent. The mail server refused the connection." in page
    assert "1 message waits" in page
    assert "Fernhill Studio does not answer" in console.get("/notices/").text

    server.start()
    try:
        send(now=timezone.now())
        assert inbox.received == [], "it was tried before its time"
        send(now=timezone.now() + mail.FIRST_WAIT)
    finally:
        server.stop()
    assert inbox.addressed == ["ada@fernhill.example"]
    assert states() == {"ada@fernhill.example": State.SENT}
    assert "Mail cannot be sent" not in console.get("/settings/system/").text


def test_f45_a_mail_server_that_stays_down_is_tried_at_growing_intervals(
    server: Controller,
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    began = now = timezone.now()
    factories.notice(now=now)
    waits = []

    for _ in range(10):
        send(now=now)
        row = MailServer.objects.get()
        assert row.failing_since == began
        assert row.next_attempt_at
        waits.append((row.next_attempt_at - now).total_seconds())
        now = row.next_attempt_at

    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_f45_mail_that_waited_for_three_days_is_given_up(
    inbox: Inbox, running: Controller
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    now = timezone.now()
    factories.notice(now=now - mail.GIVEN_UP_AFTER - timedelta(seconds=1))

    send(now=now)

    assert inbox.received == []
    assert states() == {"ada@fernhill.example": State.GIVEN_UP}


def test_a_refused_address_does_not_hold_up_the_others(
    inbox: Inbox, running: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    factories.administrator("ben", email="ben@fernhill.example")
    inbox.refused.add("ada@fernhill.example")
    now = timezone.now()
    factories.notice(now=now)

    send(now=now)

    assert inbox.addressed == ["ben@fernhill.example"]
    waiting = NoticeMail.objects.get(state=State.QUEUED)
    assert waiting.error == "The mail server refused the address (550)."
    assert waiting.due_at == now + mail.FIRST_WAIT
    assert "hunter2" not in caplog.text
    assert MailServer.objects.get().failing_since is None


def test_a_cause_that_ended_before_its_mail_could_go_sends_none(
    inbox: Inbox, running: Controller
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    factories.notice(key="k")
    mail.plan(now=timezone.now())
    resolve("k", now=timezone.now())

    mail.deliver(now=timezone.now())

    assert inbox.received == []
    assert states() == {"ada@fernhill.example": State.WITHDRAWN}


def test_a_mail_that_a_worker_has_taken_is_not_sent_by_another(
    inbox: Inbox, running: Controller
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    now = timezone.now()
    factories.notice(now=now)
    mail.plan(now=now)
    NoticeMail.objects.update(due_at=now + mail.LEASE)

    mail.deliver(now=now)
    assert inbox.received == []

    # That worker died.
    mail.deliver(now=now + mail.LEASE)
    assert inbox.addressed == ["ada@fernhill.example"]


def test_repeating_the_tick_repeats_no_mail(inbox: Inbox, running: Controller) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    factories.notice()

    tasks.tick()
    tasks.tick()

    assert inbox.addressed == ["ada@fernhill.example"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(), "The host name of the mail server is not known."),
        (TimeoutError(), "The mail server did not answer in time."),
        (OSError("disk"), "The mail server could not be used (OSError)."),
    ],
)
def test_what_the_mail_server_did_is_said_in_words(error: Exception, said: str) -> None:
    assert mail.reason(error) == said


def test_without_a_mail_server_the_pages_say_where_mail_goes(
    console: Client, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

    for page in ("/settings/system/", "/settings/notifications/"):
        assert "No mail server is set" in console.get(page).text


# --- Test mail -------------------------------------------------------------------


def test_a_test_mail_goes_the_way_of_every_notice(
    console: Client, inbox: Inbox, running: Controller
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    answer = console.post(
        "/settings/notifications/test/", {"address": "me@fernhill.example"}
    )
    assert answer.status_code == 302
    assert "Waiting" in console.get("/settings/notifications/").text

    send()

    assert inbox.addressed == ["me@fernhill.example"]
    assert "Sent" in console.get("/settings/notifications/").text


def test_a_test_mail_to_no_address_is_refused(console: Client) -> None:
    answer = console.post("/settings/notifications/test/", {"address": "me"})

    assert answer.status_code == 422
    assert "Enter a valid email address." in answer.text
    assert not NoticeMail.objects.exists()


def test_every_kind_has_a_choice_in_force() -> None:
    assert all(choice.by_mail for choice in mail_choices.choices().values())
