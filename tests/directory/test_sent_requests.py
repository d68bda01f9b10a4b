"""A request, sent to a Global Administrator who has no account of this console."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from lxml import html

from directory import (
    checking,
    connect,
    credentials,
    deletion,
    sent_requests,
    tasks,
)
from directory.models import (
    CloudIdentityProvider,
    ConsentRequest,
    SentRequest,
    SyncRun,
)
from directory.sent_requests import LinkRefusal, State
from directory.views import link_browser
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from jamfidp.notices.models import Notice, Severity
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import (
    CONSOLE,
    Journey,
    Pages,
    browser_for,
    local,
    register,
    saving,
)

Step = ConsentRequest.Step
REQUESTS = "/settings/cloud-idps/requests/"
LINK = "/settings/cloud-idps/consent/request/"
CALLBACK = "/settings/cloud-idps/consent/callback/"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.0)


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    """The console's administrator; the Global Administrator is somebody else."""
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def text_of(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status, response.content.decode()
    return unescape(" ".join(response.content.decode().split()))


def send(journey: Journey, **values: Any) -> SentRequest:
    """Press 'Make the link'."""
    response = journey.console.post(f"{REQUESTS}new/", {"cloud": "SANDBOX"} | values)
    assert response.status_code == 303, response.content.decode()
    return SentRequest.objects.get(pk=int(response["Location"].split("/")[-2]))


def link_of(journey: Journey, sent: SentRequest) -> str:
    """The link as its page offers it to be copied."""
    page = journey.console.get(sent.get_absolute_url()).content.decode()
    match = re.search(r'data-copy="(http[^"]+token=[^"]+)"', page)
    assert match, page
    return match.group(1)


@dataclass
class Outsider:
    """A Global Administrator with a browser of their own, and no account here."""

    sandbox: Sandbox
    browser: Client = field(default_factory=lambda: Client(HTTP_HOST="localhost:8000"))
    pages: Pages = field(default_factory=Pages)

    def follow(self, link: str) -> str:
        """Open the link: it leads at once to an address without the token."""
        response = self.browser.get(local(link))
        assert response.status_code == 303
        assert response["Location"] == LINK
        return text_of(self.browser, LINK)

    def open(self) -> str:
        """Press 'Continue'; returns the connector's address for Microsoft."""
        assert self.browser.post(LINK).status_code == 303
        page = self.browser.get(LINK).content.decode()
        match = re.search(r'href="([^"]*/connector/start/[^"]*)"', page)
        assert match, page
        return match.group(1).replace("&amp;", "&")

    def go(self, address: str) -> str:
        response = self.browser.get(local(address))
        assert response.status_code == 303, response.content.decode()
        return str(response["Location"])

    def consent(
        self, start: str, *, tenant: int = 0, upn: str = "", action: str = "accept"
    ) -> str:
        """At Microsoft; returns the address of the answer to consent."""
        admin = self.sandbox.tenants[tenant]["global_admin"]
        shown = self.pages.sign_in(
            self.go(start), upn or admin["upn"], admin["password"]
        )
        back = self.pages.send(shown, step="consent", action=action)
        return str(back.headers["Location"])

    def to_callback(self, consent_answer: str) -> str:
        code = self.pages.open(self.go(consent_answer)).headers["Location"]
        waiting = self.go(code)
        page = self.browser.get(waiting).content.decode()
        match = re.search(r'href="([^"]*/go/)"', page)
        assert match, page
        return self.go(f"{CONSOLE}{match.group(1)}")

    def answer(self, start: str, **options: Any) -> str:
        """Consent; the answer is taken, not verified. Returns the callback."""
        callback = self.to_callback(self.consent(start, **options))
        assert self.browser.get(local(callback))["Location"] == LINK
        return callback

    def verify(self) -> None:
        assert self.browser.post(f"{LINK}verify/").status_code == 303

    def sign_out(self) -> str:
        """Through Microsoft's sign-out; returns the last page."""
        page = self.browser.get(LINK).content.decode()
        match = re.search(r'href="([^"]*/connector/end/[^"]*)"', page)
        assert match, page
        back = self.pages.open(self.go(match.group(1).replace("&amp;", "&")))
        ended = self.go(self.go(back.headers["Location"]))
        return text_of(self.browser, ended)

    def everything(self, link: str, **options: Any) -> str:
        self.follow(link)
        self.answer(self.open(), **options)
        self.verify()
        return self.sign_out()


@pytest.fixture
def grace(sandbox: Sandbox) -> Outsider:
    return Outsider(sandbox)


# --- The good path -------------------------------------------------------------------


def test_a_tenant_is_connected_by_somebody_without_an_account(
    journey: Journey, grace: Outsider, administrator: User
) -> None:
    fernhill = journey.sandbox.tenants[0]
    sent = send(journey)
    link = link_of(journey, sent)
    pending = text_of(journey.console, "/settings/cloud-idps/")
    assert "Pending consent" in pending

    asked = grace.follow(link)
    assert CONSOLE in asked
    assert "Local Administrator" in asked
    for permission in ("User.Read", "User.Read.All", "GroupMember.Read.All"):
        assert f"<code>{permission}</code>" in asked
    grace.answer(grace.open())
    verification = text_of(grace.browser, LINK)
    assert "the answer is verified" in verification
    grace.verify()
    done = grace.sign_out()

    assert "Done. Close this page." in done
    assert "Your session with Microsoft was ended" in done
    # Nothing is saved before somebody of the console saves it.
    assert not CloudIdentityProvider.objects.exists()
    notice = Notice.objects.get()
    assert notice.title == f"Consent was given for {fernhill['display_name']}: save it"
    assert notice.link == sent.get_absolute_url()
    assert set(notice.accounts.all()) == {administrator}
    listed = text_of(journey.console, "/settings/cloud-idps/")
    assert "Consent given, not saved" in listed
    shown = text_of(journey.console, sent.get_absolute_url())
    for fact in (
        fernhill["id"],
        fernhill["domain"],
        fernhill["display_name"],
        fernhill["global_admin"]["upn"],
        "GroupMember.Read.All",
    ):
        assert fact in shown

    saved = journey.console.post(sent.get_absolute_url(), saving())

    cloud_idp = CloudIdentityProvider.objects.get()
    assert saved["Location"] == cloud_idp.get_absolute_url()
    assert cloud_idp.consented_by_upn == fernhill["global_admin"]["upn"]
    assert cloud_idp.connected_by == administrator
    assert SyncRun.objects.get().trigger == "CONNECTED"
    assert checking.check(cloud_idp, now=timezone.now())
    notice.refresh_from_db()
    assert notice.resolved_at is not None
    assert "Saved" in text_of(journey.console, sent.get_absolute_url())
    assert "Pending" not in text_of(journey.console, "/settings/cloud-idps/")


def test_the_person_sees_nothing_of_the_console(
    journey: Journey, grace: Outsider
) -> None:
    factories.cloud_idp("Another connection", tenant_id=factories.OTHER_TENANT)
    sent = send(journey)
    link = link_of(journey, sent)
    pages = [grace.follow(link)]
    start = grace.open()
    pages.append(text_of(grace.browser, LINK))
    grace.answer(start)
    pages.append(text_of(grace.browser, LINK))
    grace.verify()
    pages.append(text_of(grace.browser, LINK))
    pages.append(grace.sign_out())

    for page in pages:
        document = html.fromstring(page)
        addresses = {urlsplit(each).path for each in document.xpath("//a/@href")}
        assert addresses <= {"", LINK, "/connector/start/", "/connector/end/"}
        assert "Another connection" not in page
        assert not document.xpath("//nav[@aria-label='Console']")
    assert "sessionid" not in grace.browser.cookies
    for address in ("/", "/settings/cloud-idps/", sent.get_absolute_url()):
        assert "/login/" in grace.browser.get(address)["Location"]


def test_consent_is_renewed_by_a_link_for_the_same_tenant(
    journey: Journey, grace: Outsider
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    page = f"/settings/cloud-idps/{cloud_idp.pk}/request/"
    assert page in text_of(journey.console, cloud_idp.get_absolute_url())
    assert "for Fernhill Studio and no other" in text_of(journey.console, page)

    response = journey.console.post(page)
    sent = SentRequest.objects.get()
    assert response["Location"] == sent.get_absolute_url()
    assert "Request for consent" in text_of(
        journey.console, cloud_idp.get_absolute_url()
    )
    asked = grace.follow(link_of(journey, sent))
    assert cloud_idp.tenant_id in asked
    grace.answer(grace.open())
    grace.verify()
    grace.sign_out()
    before = cloud_idp.consented_at

    saved = journey.console.post(sent.get_absolute_url())

    assert saved["Location"] == cloud_idp.get_absolute_url()
    cloud_idp.refresh_from_db()
    assert cloud_idp.consented_at > before
    assert CloudIdentityProvider.objects.count() == 1


def test_another_tenant_in_a_renewal_is_refused_and_both_are_told(
    journey: Journey, grace: Outsider
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    journey.console.post(f"/settings/cloud-idps/{cloud_idp.pk}/request/")
    sent = SentRequest.objects.get()
    grace.follow(link_of(journey, sent))
    ours, other = (tenant["id"] for tenant in journey.sandbox.tenants[:2])
    back = grace.consent(grace.open()).replace(ours, other)
    grace.go(grace.go(back))

    told = grace.sign_out()

    assert "This is another tenant" in told
    assert other in told
    shown = text_of(journey.console, sent.get_absolute_url())
    assert "Not granted" in shown
    assert other in shown
    assert Notice.objects.get().severity == Severity.WARNING


def test_a_wrong_tenant_for_a_new_connection_is_seen_before_it_is_saved(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.everything(link_of(journey, sent), tenant=1)

    shown = text_of(journey.console, sent.get_absolute_url())
    assert journey.sandbox.tenants[1]["display_name"] in shown
    response = journey.console.post(f"{sent.get_absolute_url()}revoke/")

    assert response.status_code == 303
    assert not CloudIdentityProvider.objects.exists()
    assert "Revoked" in text_of(journey.console, sent.get_absolute_url())
    assert journey.console.post(sent.get_absolute_url(), saving()).status_code == 422
    assert not Notice.objects.filter(resolved_at=None).exists()


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({"action": "cancel"}, "Consent was declined"),
        (
            {"upn": "usha.menon@fernhill.example", "action": "cancel"},
            "A Global Administrator is needed",
        ),
    ],
    ids=["declined", "no Global Administrator"],
)
def test_a_refusal_is_told_to_both_and_another_link_is_offered(
    journey: Journey, grace: Outsider, options: dict[str, Any], title: str
) -> None:
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    back = grace.consent(grace.open(), **options)
    grace.go(grace.go(back))

    told = grace.sign_out()

    assert title in told
    assert "AADSTS" in told
    assert "can send you another link" in told
    shown = text_of(journey.console, sent.get_absolute_url())
    assert title in shown
    assert f"{REQUESTS}new/?cloud=SANDBOX" in shown
    notice = Notice.objects.get()
    assert "was not granted" in notice.title
    assert "AADSTS" in notice.body


def test_a_tenant_that_is_connected_already_is_told(
    journey: Journey, grace: Outsider
) -> None:
    journey.connect()
    sent = send(journey)

    told = grace.everything(link_of(journey, sent))

    assert "already connected" in told
    assert "already connected" in text_of(journey.console, sent.get_absolute_url())


def test_verification_shows_each_check_and_works_without_javascript(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    grace.answer(grace.open())
    page = text_of(grace.browser, LINK)
    assert "<noscript>" in page
    assert f'hx-post="{LINK}verify/"' in page
    headers = {"HX-Request": "true", "HX-Target": "verification"}

    responses = [
        grace.browser.post(f"{LINK}verify/", headers=headers) for _ in range(3)
    ]

    assert [each.content.decode().count("step-done") for each in responses] == [1, 2, 0]
    assert responses[-1]["HX-Redirect"] == LINK
    assert sent_requests.state_of(sent, now=timezone.now()) is State.VERIFIED


def test_a_session_that_cannot_be_ended_is_no_dead_end(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    grace.answer(grace.open())
    grace.verify()

    assert 'http-equiv="refresh"' in text_of(grace.browser, LINK)
    done = text_of(grace.browser, f"{LINK}?stay=1")

    assert "Done. Close this page." in done
    assert "still open in this browser" in done


# --- Attacks on the link -------------------------------------------------------------


def refused(browser: Client, link: str, title: str, status: int = 410) -> None:
    browser.get(local(link))
    shown = text_of(browser, LINK, status)
    assert title in shown
    assert browser.post(LINK).status_code == 303
    assert title in text_of(browser, LINK, status)


def test_a_link_that_is_guessed_is_refused_and_says_nothing(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    link = link_of(journey, sent)
    token = link.partition("token=")[2]
    assert len(token) >= 43
    assert token not in repr(SentRequest.objects.values())

    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), "", "x" * 5000):
        other = Client(HTTP_HOST="localhost:8000")
        refused(
            other,
            f"{CONSOLE}{LINK}?{urlencode({'token': wrong})}",
            "This link is not known here",
            404,
        )
    refused(
        Client(HTTP_HOST="localhost:8000"),
        f"{CONSOLE}{LINK}?token={sent.token_hash}",
        "This link is not known here",
        404,
    )
    assert sent_requests.state_of(sent, now=timezone.now()) is State.OPEN


def test_looking_at_a_link_does_not_open_it(journey: Journey, grace: Outsider) -> None:
    """Mail scanners and previews follow links; none of them presses 'Continue'."""
    sent = send(journey)
    link = link_of(journey, sent)

    for _ in range(3):
        Outsider(journey.sandbox).follow(link)

    assert not ConsentRequest.objects.exists()
    assert "Done" in grace.everything(link)


def test_a_link_works_in_the_browser_that_opened_it_first(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    link = link_of(journey, sent)
    other = Outsider(journey.sandbox)
    grace.follow(link)
    other.follow(link)

    start = grace.open()

    refused(other.browser, link, "This link was opened already")
    refused(Client(HTTP_HOST="localhost:8000"), link, "This link was opened already")
    # Whoever opened it goes on, also by the link itself.
    assert "Going on to Microsoft" in grace.follow(link)
    callback = grace.to_callback(grace.consent(start))
    answer = other.browser.get(local(callback))
    assert answer["Location"].endswith("/refused/other-browser/")
    assert "another browser" in text_of(other.browser, answer["Location"], 400)
    assert ObjectHistory.objects.filter(action="refused").count() == 1
    assert grace.browser.get(local(callback))["Location"] == LINK


def test_two_browsers_at_the_same_moment_open_it_once(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(journey)
    token = link_of(journey, sent).partition("token=")[2]
    original = sent_requests.check

    def meanwhile(found: SentRequest | None, *, now: datetime) -> SentRequest:
        checked = original(found, now=now)
        SentRequest.objects.update(opened_at=now)
        return checked

    monkeypatch.setattr(sent_requests, "check", meanwhile)

    with pytest.raises(sent_requests.LinkRefused) as caught:
        sent_requests.open_link(token, browser="b", now=timezone.now())

    assert caught.value.refusal is LinkRefusal.USED
    assert not ConsentRequest.objects.exists()


def test_a_link_does_not_work_after_its_use(journey: Journey, grace: Outsider) -> None:
    sent = send(journey)
    link = link_of(journey, sent)
    grace.everything(link)

    refused(Client(HTTP_HOST="localhost:8000"), link, "This link was opened already")
    # It is not offered any more either, and nowhere stored.
    page = journey.console.get(sent.get_absolute_url()).content.decode()
    assert "token=" not in page
    sent.refresh_from_db()
    assert sent.token_sealed == ""


def test_a_link_does_not_work_after_72_hours(journey: Journey, grace: Outsider) -> None:
    sent = send(journey)
    link = link_of(journey, sent)
    SentRequest.objects.update(expires_at=timezone.now())

    refused(grace.browser, link, "This link has expired")

    assert "Expired" in text_of(journey.console, sent.get_absolute_url())
    assert sent.expires_at - sent.created_at == timedelta(hours=72)


def test_a_link_does_not_work_after_it_was_revoked(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    link = link_of(journey, sent)
    grace.follow(link)

    journey.console.post(f"{sent.get_absolute_url()}revoke/")

    refused(grace.browser, link, "This request was revoked")
    response = journey.console.post(f"{sent.get_absolute_url()}revoke/")
    assert "nothing to revoke" in text_of(journey.console, response["Location"])


def test_revoking_stops_an_attempt_that_is_under_way(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    callback = grace.to_callback(grace.consent(grace.open()))

    journey.console.post(f"{sent.get_absolute_url()}revoke/")

    assert grace.browser.get(local(callback))["Location"] == LINK
    grace.verify()
    assert "The request was revoked" in grace.sign_out()
    assert sent_requests.attempt_of(sent).step == Step.FAILED  # type: ignore[union-attr]
    assert not CloudIdentityProvider.objects.exists()


def test_what_was_verified_while_it_was_revoked_is_not_saved(
    journey: Journey, grace: Outsider, administrator: User
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    journey.console.post(f"/settings/cloud-idps/{cloud_idp.pk}/request/")
    sent = SentRequest.objects.get()
    grace.everything(link_of(journey, sent))
    before = cloud_idp.consented_at
    # The verification ended after the request was revoked: it left its mark last.
    SentRequest.objects.update(revoked_at=timezone.now())
    assert sent_requests.attempt_of(sent).step == Step.VERIFIED  # type: ignore[union-attr]

    with pytest.raises(connect.AttemptOver):
        sent_requests.save_renewed(sent, actor=administrator, now=timezone.now())
    journey.console.post(sent.get_absolute_url())

    cloud_idp.refresh_from_db()
    assert cloud_idp.consented_at == before
    assert "Revoked" in text_of(journey.console, sent.get_absolute_url())


def test_the_ten_minutes_begin_when_the_link_is_opened(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    SentRequest.objects.update(created_at=timezone.now() - timedelta(hours=71))
    grace.follow(link_of(journey, sent))
    start = grace.open()
    attempt = sent_requests.attempt_of(sent)
    assert attempt is not None
    assert attempt.expires_at - attempt.created_at == timedelta(minutes=10)
    callback = grace.to_callback(grace.consent(start))
    ConsentRequest.objects.update(expires_at=timezone.now())

    answer = grace.browser.get(local(callback))

    assert answer["Location"].endswith("/refused/expired/")
    assert "The ten minutes are over" in text_of(grace.browser, LINK, 410)
    assert "Not finished in time" in text_of(journey.console, sent.get_absolute_url())


@pytest.mark.parametrize("moment", ["before it is opened", "before the answer"])
@pytest.mark.parametrize("fate", ["deleted", "demoted", "disabled"])
def test_a_link_of_somebody_who_may_not_ask_any_more_leads_nowhere(
    sandbox: Sandbox, administrator: User, grace: Outsider, fate: str, moment: str
) -> None:
    register(sandbox, administrator)
    sender = factories.administrator("sender")
    journey = Journey(browser_for(sender), sandbox)
    sent = send(journey)
    link = link_of(journey, sent)
    grace.follow(link)
    callback = ""
    if moment == "before the answer":
        callback = grace.to_callback(grace.consent(grace.open()))
    match fate:
        case "deleted":
            sender.delete()
        case "disabled":
            User.objects.filter(pk=sender.pk).update(is_active=False)
        case _:
            User.objects.filter(pk=sender.pk).update(
                access_level=AccessLevel.FULL, privilege_set=PrivilegeSet.AUDITOR
            )

    if callback:
        assert grace.browser.get(local(callback))["Location"] == LINK
        assert grace.browser.post(f"{LINK}verify/").status_code == 303
        page = text_of(grace.browser, LINK, 410)
        assert "This request does not hold any more" in page
    else:
        refused(grace.browser, link, "This request does not hold any more")

    attempt = sent_requests.attempt_of(sent)
    assert attempt is None or attempt.step == Step.STARTED
    assert not CloudIdentityProvider.objects.exists()


def test_an_answer_to_a_link_is_taken_once(journey: Journey, grace: Outsider) -> None:
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    callback = grace.answer(grace.open())

    replayed = grace.browser.get(local(callback))

    assert replayed["Location"].endswith("/refused/replayed/")
    refused_page = text_of(grace.browser, replayed["Location"], 400)
    assert "already used" in refused_page
    assert "/settings/cloud-idps/new/" not in refused_page


def test_the_attempt_of_a_link_is_nobodys_in_the_console(
    journey: Journey, grace: Outsider
) -> None:
    """Its page belongs to the browser; the administrator has the request's page."""
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    callback = grace.to_callback(grace.consent(grace.open()))
    attempt = sent_requests.attempt_of(sent)
    assert attempt is not None

    page = f"/settings/cloud-idps/consent/{attempt.pk}/"
    assert journey.console.get(page).status_code == 404
    played = journey.console.get(local(callback))
    assert played["Location"].endswith("/refused/other-browser/")
    # And an attempt of a person is not opened by the cookie of a link.
    own = journey.attempt(journey.begin())
    assert sent_requests.attempt_in("consent") is None
    grace.browser.cookies[link_browser.BROWSER] = "guessed"
    assert "not known" in text_of(grace.browser, LINK, 404)
    assert own.step == Step.STARTED


def test_a57_a_link_is_opened_by_its_own_form_alone(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    strict = Client(HTTP_HOST="localhost:8000", enforce_csrf_checks=True)
    strict.get(local(link_of(journey, sent)))
    page = strict.get(LINK)

    assert strict.post(LINK).status_code == 403
    assert strict.post(f"{LINK}verify/").status_code == 403
    assert sent_requests.state_of(sent, now=timezone.now()) is State.OPEN
    token = html.fromstring(page.content).xpath(
        "//input[@name='csrfmiddlewaretoken']/@value"
    )[0]
    assert strict.post(LINK, {"csrfmiddlewaretoken": token}).status_code == 303
    assert sent_requests.state_of(sent, now=timezone.now()) is State.OPENED


def test_a46_the_token_reaches_no_log_referer_cache_history_or_notice(
    journey: Journey, grace: Outsider, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in (None, "django", "directory", "jamfidp"):
        caplog.set_level(logging.DEBUG, logger=logger)
    sent = send(journey, recipient="grace@fernhill.example")
    link = link_of(journey, sent)
    token = link.partition("token=")[2]
    first = grace.browser.get(local(link))

    assert first["Referrer-Policy"] == "no-referrer"
    assert "no-store" in first["Cache-Control"]
    assert token not in first["Location"] + first.content.decode()
    cookie = grace.browser.cookies[link_browser.LINK]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/settings/cloud-idps/consent/"
    page = grace.browser.get(LINK)
    assert token not in page.content.decode()
    assert page["Referrer-Policy"] in {"same-origin", "no-referrer"}
    assert "no-store" in page["Cache-Control"]
    grace.answer(grace.open())
    grace.verify()
    grace.sign_out()
    # Opened, the browser has nothing of the link any more.
    assert grace.browser.cookies[link_browser.LINK].value == ""
    everywhere = " ".join(
        [
            caplog.text,
            repr(list(ObjectHistory.objects.values())),
            repr(list(Notice.objects.values())),
            repr(list(SentRequest.objects.values())),
            repr(list(ConsentRequest.objects.values())),
        ]
    )
    at = everywhere.find(token)
    assert at < 0, everywhere[max(0, at - 300) : at + 100]
    # The mail alone carries it.
    assert token in mail.outbox[0].body


def test_cookies_of_a_link_are_for_https_where_the_console_is(settings: Any) -> None:
    from django.http import HttpResponse

    settings.SESSION_COOKIE_SECURE = True
    response = HttpResponse()
    link_browser.keep_browser(response, link_browser.new_browser())
    assert response.cookies[link_browser.BROWSER]["secure"]


# --- Mail ----------------------------------------------------------------------------


def test_the_link_goes_by_mail_and_can_always_be_copied(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey, recipient="grace@fernhill.example")

    (message,) = mail.outbox
    assert message.to == ["grace@fernhill.example"]
    assert link_of(journey, sent) in message.body
    for part in (CONSOLE, "Local Administrator", "User.Read.All", "72"):
        assert part in message.body or part == "72"
    assert "do not expect this" in message.body.replace("\n", " ")
    shown = text_of(journey.console, sent.get_absolute_url())
    assert "Mailed to grace@fernhill.example" in shown

    journey.console.post(f"{sent.get_absolute_url()}mail/")
    assert len(mail.outbox) == 2
    assert "Done" in grace.everything(link_of(journey, sent))
    journey.console.post(f"{sent.get_absolute_url()}mail/")
    assert len(mail.outbox) == 2


@pytest.mark.parametrize(
    "recipient", ["nobody", "a@b.example\nBcc: c@d.example", "a@b.example, c@d.example"]
)
def test_an_address_that_is_none_is_refused_and_kept(
    journey: Journey, recipient: str
) -> None:
    response = journey.console.post(
        f"{REQUESTS}new/", {"cloud": "SANDBOX", "recipient": recipient}
    )

    assert response.status_code == 422
    assert "Enter a valid email address" in response.content.decode()
    assert not SentRequest.objects.exists()
    assert mail.outbox == []


def test_a_mail_server_that_fails_leaves_the_link_to_be_copied(
    journey: Journey, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9

    sent = send(journey, recipient="grace@fernhill.example")

    shown = text_of(journey.console, sent.get_absolute_url())
    assert "could not be sent" in shown
    assert link_of(journey, sent)
    assert link_of(journey, sent).partition("token=")[2] not in caplog.text
    assert sent.mailed_at is None


def test_without_a_mail_server_no_link_is_written_to_a_log(
    journey: Journey, settings: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "No mail server is set" in text_of(
        journey.console, f"{REQUESTS}new/?cloud=SANDBOX"
    )

    sent = send(journey, recipient="grace@fernhill.example")

    token = link_of(journey, sent).partition("token=")[2]
    assert token not in "".join(capfd.readouterr())


# --- Who may, and what stands in the way ---------------------------------------------


def test_whoever_may_only_look_sees_no_link_and_changes_nothing(
    journey: Journey,
) -> None:
    sent = send(journey)
    page = sent.get_absolute_url()
    auditor = browser_for(factories.custom_account("auditor", "Read LDAP Servers"))

    shown = text_of(auditor, page)
    assert "Pending consent" in shown
    assert "token=" not in shown
    assert "revoke/" not in shown
    for address in (page, f"{page}revoke/", f"{page}mail/"):
        assert auditor.post(address).status_code == 403
    for address in (f"{REQUESTS}new/", f"{REQUESTS}"):
        expected = 200 if address == REQUESTS else 403
        assert auditor.get(address).status_code == expected
    assert sent_requests.state_of(sent, now=timezone.now()) is State.OPEN


def test_another_administrator_saves_what_came_of_it(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.everything(link_of(journey, sent))
    other = factories.administrator("other")

    saved = browser_for(other).post(sent.get_absolute_url(), saving())

    assert saved.status_code == 303
    assert CloudIdentityProvider.objects.get().connected_by == other


def test_what_was_typed_is_kept_when_saving_is_refused(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.everything(link_of(journey, sent))
    factories.cloud_idp("Taken", tenant_id=factories.OTHER_TENANT)

    response = journey.console.post(
        sent.get_absolute_url(), saving(display_name="taken", building="city")
    )

    assert response.status_code == 422
    page = response.content.decode()
    assert "Another cloud identity provider has this display name" in page
    assert 'value="city" selected' in page


def test_a_request_cannot_be_made_without_a_credential_or_key(
    journey: Journey, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []
    page = f"{REQUESTS}new/"
    response = journey.console.post(page, {"cloud": "SANDBOX"})
    assert response.status_code == 422
    assert "No encryption key is configured" in response.content.decode()
    response = journey.console.post(page, {"cloud": "PUBLIC"})
    assert response.status_code == 422
    assert "No application registration is entered" in response.content.decode()
    cloud_idp = factories.cloud_idp(cloud="GCC_HIGH")
    response = journey.console.post(f"/settings/cloud-idps/{cloud_idp.pk}/request/")
    assert response.status_code == 422
    assert not SentRequest.objects.exists()


def test_a_link_stays_valid_when_the_console_cannot_ask_now(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.follow(link_of(journey, sent))
    credential = sent.registration.credentials.get()
    sealed = credential.sealed
    credential.sealed = "v1:gone:AAAA"
    credential.save()

    response = grace.browser.post(LINK)

    assert response.status_code == 422
    assert "The link stays valid" in response.content.decode()
    credential.sealed = sealed
    credential.save()
    assert grace.open()


def test_a_link_whose_key_is_lost_is_said_and_can_be_revoked(
    journey: Journey, settings: Any
) -> None:
    sent = send(journey)
    settings.ENCRYPTION_KEYS = ["other:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="]

    shown = text_of(journey.console, sent.get_absolute_url())

    assert "The link of this request cannot be read" in shown
    with pytest.raises(credentials.CredentialsUnreadable):
        sent_requests.link(sent)
    assert journey.console.post(f"{sent.get_absolute_url()}revoke/").status_code == 303


def test_a_request_for_an_application_of_its_own_asks_for_that_one(
    journey: Journey, administrator: User
) -> None:
    from directory import registrations

    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    own = registrations.create_own(
        cloud_key="SANDBOX",
        client_id=factories.guid("own"),
        actor=administrator,
        now=timezone.now(),
    )
    credentials.add_secret(
        own, secret="x", expires_at=None, actor=None, now=timezone.now()
    )
    page = f"/settings/cloud-idps/{cloud_idp.pk}/request/"

    journey.console.post(page, {"registration": own.pk})

    sent = SentRequest.objects.get()
    assert sent.registration == own
    journey.console.post(f"{sent.get_absolute_url()}revoke/")
    shown = text_of(journey.console, sent.get_absolute_url())
    assert f"{page}?registration={own.pk}" in shown
    assert journey.console.get(f"{page}?registration=999").status_code == 404


# --- The list and its end ------------------------------------------------------------


def test_the_list_shows_where_each_request_stands(
    journey: Journey, grace: Outsider, django_assert_num_queries: Any
) -> None:
    assert "No request was sent" in text_of(journey.console, REQUESTS)
    grace.everything(link_of(journey, send(journey)))
    revoked = send(journey)
    journey.console.post(f"{revoked.get_absolute_url()}revoke/")
    send(journey, recipient="grace@fernhill.example")

    shown = text_of(journey.console, REQUESTS)

    for word in ("Consent given, not saved", "Revoked", "Pending consent"):
        assert word in shown
    assert "grace@fernhill.example" in shown
    with django_assert_num_queries(1):
        rows = list(sent_requests.listed())
        now = timezone.now()
        for sent in rows:
            sent_requests.standing(sent, getattr(sent, "attempt", None), now=now)
    assert len(rows) == 3


NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER, BEFORE = NOW + timedelta(minutes=1), NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("request_values", "attempt_values", "state"),
    [
        ({"expires_at": LATER}, None, State.OPEN),
        ({"expires_at": NOW}, None, State.EXPIRED),
        ({"expires_at": LATER, "revoked_at": BEFORE}, None, State.REVOKED),
        ({"expires_at": BEFORE, "revoked_at": BEFORE}, None, State.REVOKED),
        ({}, {"step": Step.STARTED, "expires_at": LATER}, State.OPENED),
        ({}, {"step": Step.STARTED, "expires_at": NOW}, State.LAPSED),
        ({}, {"step": Step.ANSWERED, "expires_at": BEFORE}, State.ANSWERED),
        ({}, {"step": Step.VERIFIED, "expires_at": LATER}, State.VERIFIED),
        ({}, {"step": Step.VERIFIED, "expires_at": NOW}, State.LAPSED),
        ({}, {"step": Step.FAILED, "expires_at": BEFORE}, State.FAILED),
        ({}, {"step": Step.SAVED, "expires_at": BEFORE}, State.SAVED),
        (
            {"revoked_at": BEFORE},
            {"step": Step.VERIFIED, "expires_at": LATER},
            State.REVOKED,
        ),
    ],
)
def test_where_a_request_stands(
    request_values: dict[str, Any],
    attempt_values: dict[str, Any] | None,
    state: State,
) -> None:
    sent = SentRequest(**{"expires_at": BEFORE} | request_values)
    attempt = ConsentRequest(**attempt_values) if attempt_values else None

    assert sent_requests.standing(sent, attempt, now=NOW) is state


def test_what_came_of_a_request_waits_72_hours_for_save_and_is_kept_30_days(
    journey: Journey, grace: Outsider
) -> None:
    sent = send(journey)
    grace.everything(link_of(journey, sent))
    attempt = sent_requests.attempt_of(sent)
    assert attempt is not None
    assert attempt.expires_at > timezone.now() + timedelta(hours=71)

    # The sweep of old attempts leaves it alone until the request itself is old.
    long_ago = timezone.now() - timedelta(days=29)
    ConsentRequest.objects.update(expires_at=long_ago)
    SentRequest.objects.update(expires_at=long_ago)
    tasks.clear_leftovers(now=timezone.now())
    assert ConsentRequest.objects.exists()
    assert "Not finished in time" in text_of(journey.console, sent.get_absolute_url())
    SentRequest.objects.update(expires_at=timezone.now() - timedelta(days=31))
    tasks.clear_leftovers(now=timezone.now())
    assert not SentRequest.objects.exists()
    assert not ConsentRequest.objects.exists()


def test_deleting_the_connection_ends_its_requests(
    journey: Journey, administrator: User, grace: Outsider
) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    journey.console.post(f"/settings/cloud-idps/{cloud_idp.pk}/request/")
    link = link_of(journey, SentRequest.objects.get())

    deletion.delete(
        cloud_idp,
        typed_name=cloud_idp.display_name,
        at_once=False,
        actor=administrator,
        now=timezone.now(),
    )

    refused(grace.browser, link, "was revoked")


def test_the_history_has_every_step(journey: Journey, grace: Outsider) -> None:
    sent = send(journey, recipient="grace@fernhill.example")
    grace.everything(link_of(journey, sent))
    journey.console.post(sent.get_absolute_url(), saving())

    notes = list(
        ObjectHistory.objects.filter(action="consent")
        .order_by("pk")
        .values_list("actor_name", "note")
    )

    assert [note for _, note in notes] == [
        f"Made request {sent.pk} for consent, for grace@fernhill.example",
        f"Mailed request {sent.pk} to grace@fernhill.example",
        f"The link of request {sent.pk} was opened to connect a tenant",
        f"Verified the tenant {journey.sandbox.tenants[0]['id']}",
    ]
    assert [actor for actor, _ in notes] == [
        "Local Administrator",
        "Local Administrator",
        "Console",
        "Console",
    ]
