"""Who sees a notice, once, and what they have read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from lxml import html

from jamfidp.history.models import ObjectHistory
from jamfidp.notices import mail, reading
from jamfidp.notices.announce import resolve
from jamfidp.notices.kinds import (
    LOCAL_SIGN_IN,
    OWN_ACCOUNT,
    PRIVILEGES,
)
from jamfidp.notices.models import (
    KindSetting,
    MailOptOut,
    Notice,
    NoticeMail,
    NoticeRead,
    Severity,
)
from tests import factories

pytestmark = pytest.mark.django_db


def signed_in(account: Any) -> Client:
    client = Client(SERVER_NAME="localhost")
    client.force_login(account)
    return client


def titles(account: Any) -> list[str]:
    # Anew: what an account holds is decided once for each instance.
    account = get_user_model().objects.get(pk=account.pk)
    return [one.title for one in reading.visible_to(account)]


def bell(client: Client) -> str:
    page = html.fromstring(client.get("/settings/").content)
    (link,) = page.cssselect("a.bell")
    return str(link.get("aria-label"))


# --- Announcing ------------------------------------------------------------------


def test_the_same_thing_is_announced_once_while_it_lasts() -> None:
    first = factories.notice(key="connection-1-unreachable")
    again = factories.notice("Fernhill Studio still does not answer", key=first.key)

    assert again == first
    assert Notice.objects.get().title == "Fernhill Studio does not answer"


def test_what_has_ended_is_announced_anew_when_it_comes_back() -> None:
    first = factories.notice(key="connection-1-unreachable")

    assert resolve(first.key, "no such key", now=timezone.now()) == 1
    assert resolve(first.key, now=timezone.now()) == 0

    assert factories.notice(key=first.key) != first


def test_events_without_a_key_are_announced_each_time() -> None:
    assert factories.notice() != factories.notice()


@pytest.mark.django_db(transaction=True)
def test_two_who_announce_at_the_same_moment_announce_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = factories.notice(key="the-same")
    # The second one looked before the first had written.
    monkeypatch.setattr(
        Notice.objects, "filter", lambda **_: Notice.objects.none(), raising=True
    )

    assert factories.notice(key="the-same") == first
    monkeypatch.undo()
    assert Notice.objects.count() == 1


def test_a_notice_is_part_of_the_transaction_that_has_something_to_tell() -> None:
    with transaction.atomic():
        factories.notice()
        transaction.set_rollback(True)

    assert not Notice.objects.exists()


# --- Who sees it -----------------------------------------------------------------


def test_only_who_holds_the_privilege_of_the_kind_sees_it() -> None:
    factories.notice("Connection")
    factories.notice("Sign-in", kind=LOCAL_SIGN_IN)

    assert titles(factories.administrator()) == ["Sign-in", "Connection"]
    assert titles(factories.custom_account("mara", "Read LDAP Servers")) == [
        "Connection"
    ]
    assert titles(factories.custom_account("nils", "Read Policies")) == []


def test_a_notice_about_ones_own_account_is_for_that_account_alone() -> None:
    ana, milo = factories.local_account("ana"), factories.local_account("milo")
    factories.notice("A passkey was added", kind=OWN_ACCOUNT, accounts=[ana])

    assert titles(ana) == ["A passkey was added"]
    assert titles(milo) == []
    assert titles(factories.administrator()) == []


def test_a_notice_names_accounts_besides_those_with_the_privilege_once() -> None:
    admin = factories.administrator()
    lena = factories.local_account("lena")
    factories.notice("Signed in", kind=LOCAL_SIGN_IN, accounts=[admin, lena])

    assert titles(admin) == ["Signed in"]
    assert titles(lena) == ["Signed in"]


def test_a52_a_notice_about_an_object_of_a_site_is_for_that_site() -> None:
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    account = factories.local_account("berlin")
    factories.account_group("Berlin administrators", account, site=berlin)
    for place in (berlin, paris, None):
        values: dict[str, Any] = {"site": place} if place else {}
        group = factories.account_group(f"Group {place}", **values)
        factories.notice(f"About {place}", kind=PRIVILEGES, about=group)

    assert titles(account) == ["About Berlin"]
    assert len(titles(factories.administrator())) == 3


def test_the_number_of_queries_does_not_grow_with_the_notices(
    console: Client,
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as caught:
            assert console.get("/notices/").status_code == 200
        return len(caught)

    factories.notice("One")
    few = queries()
    for number in range(20):
        factories.notice(f"Notice {number}")

    assert queries() == few


# --- Reading ---------------------------------------------------------------------


def test_the_bell_counts_what_this_person_has_not_read(console: Client) -> None:
    first, _ = factories.notice("One"), factories.notice("Two")
    assert bell(console) == "Notices: 2 not read"

    console.post(f"/notices/{first.pk}/read/")
    assert bell(console) == "Notices: 1 not read"
    console.post(f"/notices/{first.pk}/read/")
    assert NoticeRead.objects.count() == 1

    other = factories.administrator("other")
    assert bell(signed_in(other)) == "Notices: 2 not read"


def test_opening_the_page_marks_nothing_as_read(console: Client) -> None:
    factories.notice()

    assert "Fernhill Studio does not answer" in console.get("/notices/").text

    assert not NoticeRead.objects.exists()


def test_all_are_marked_as_read_up_to_what_the_page_showed(console: Client) -> None:
    factories.notice("Seen")
    newest = factories.notice("Seen as well")
    factories.notice("Came later")

    answer = console.post("/notices/read/", {"newest": newest.pk, "show": "unread"})

    assert answer["Location"] == "/notices/?show=unread"
    page = console.get("/notices/?show=unread").text
    assert "Came later" in page
    assert "Seen" not in page


def test_what_has_ended_is_counted_no_more_and_stays_to_be_looked_up(
    console: Client,
) -> None:
    factories.notice("It failed", key="k")
    resolve("k", now=timezone.now())

    assert bell(console) == "Notices"
    assert "Nothing needs you" in console.get("/notices/").text
    page = console.get("/notices/?show=all").text
    assert "It failed" in page
    assert "Ended" in page


def test_the_dashboard_shows_what_needs_attention_worst_first(console: Client) -> None:
    factories.notice("A warning that lasts", key="w")
    factories.notice("Only for information", severity=Severity.INFO)
    factories.notice("A warning that was read")
    worst = factories.notice("The worst", severity=Severity.CRITICAL)
    for one in Notice.objects.exclude(pk=worst.pk):
        console.post(f"/notices/{one.pk}/read/")

    page = html.fromstring(console.get("/").content)

    shown = [
        one.text_content() for one in page.cssselect("#panel-notices .notice-line")
    ]
    assert shown == ["The worst", "A warning that lasts"]


def test_pages_of_notices_follow_each_other(console: Client) -> None:
    for number in range(60):
        factories.notice(f"Number {number:02}")

    page = html.fromstring(console.get("/notices/?show=all").content)
    (older,) = page.cssselect(".paging a")
    rest = console.get(f"/notices/{older.get('href')}").text

    assert "Number 09" in rest
    assert "Number 10" not in rest


@pytest.mark.parametrize("before", ["x", "9" * 30, "-1"])
def test_a_position_that_cannot_be_read_is_the_first_page(
    console: Client, before: str
) -> None:
    factories.notice("One")

    assert "One" in console.get(f"/notices/?before={before}&show=nonsense").text


def test_old_notices_are_forgotten_unless_their_cause_lasts() -> None:
    long_ago = timezone.now() - mail.KEPT - timedelta(days=1)
    factories.notice("Event", now=long_ago)
    factories.notice("Ended", key="ended", now=long_ago)
    resolve("ended", now=long_ago)
    factories.notice("Lasts", key="lasts", now=long_ago)
    factories.notice("New event")

    mail.clear_leftovers(now=timezone.now())

    assert [one.title for one in Notice.objects.all()] == ["New event", "Lasts"]


# --- Settings --------------------------------------------------------------------


def fields_of(client: Client) -> dict[str, str]:
    page = html.fromstring(client.get("/settings/notifications/").content)
    (form,) = [
        one for one in page.forms if one.action == "/settings/notifications/save/"
    ]
    return {
        name: str(value)
        for name, value in form.form_values()
        if name != "csrfmiddlewaretoken"
    }


def test_an_administrator_chooses_what_goes_by_mail_and_where_to(
    console: Client,
) -> None:
    fields = fields_of(console)
    fields["to-connection-status"] = "ops@fernhill.example, soc@fernhill.example"
    del fields["mail-held-changes"]

    console.post("/settings/notifications/save/", fields)

    assert KindSetting.objects.get(kind="connection-status").addresses == [
        "ops@fernhill.example",
        "soc@fernhill.example",
    ]
    assert not KindSetting.objects.get(kind="held-changes").by_mail
    assert KindSetting.objects.count() == 2
    notes = [one.note for one in ObjectHistory.objects.all()]
    assert "Changed the notifications: Connection needs attention" in notes
    assert fields_of(console) == fields | {
        "to-connection-status": "ops@fernhill.example, soc@fernhill.example"
    }


def test_saving_without_a_difference_writes_nothing(console: Client) -> None:
    console.post("/settings/notifications/save/", fields_of(console))

    assert not KindSetting.objects.exists()
    assert not ObjectHistory.objects.exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ops@fernhill.example, nobody", "nobody is no mail address."),
        (
            " ".join(f"a{number}@fernhill.example" for number in range(21)),
            "At most 20 addresses.",
        ),
        ("a@fernhill.example\r\nBcc: b@evil.example", "Bcc: is no mail address."),
    ],
)
def test_a_wrong_address_is_refused_and_stays_typed(
    console: Client, typed: str, said: str
) -> None:
    fields = fields_of(console) | {"to-connection-status": typed}

    answer = console.post("/settings/notifications/save/", fields)

    assert answer.status_code == 422
    page = html.fromstring(answer.content)
    (field,) = page.cssselect("input[name=to-connection-status]")
    assert str(field.get("value")).split() == typed.split()
    assert said in answer.text
    assert not KindSetting.objects.exists()


def test_who_may_only_read_the_settings_finds_no_button_and_is_refused() -> None:
    client = signed_in(factories.custom_account("mara", "Read SMTP Server"))

    page = client.get("/settings/notifications/").text
    refused = client.post("/settings/notifications/save/", {})
    tested = client.post("/settings/notifications/test/", {"address": "a@b.example"})

    assert "Update SMTP Server" in page
    assert 'type="submit">Save' not in page
    assert refused.status_code == tested.status_code == 403
    assert not NoticeMail.objects.exists()


def test_each_person_chooses_what_comes_to_them() -> None:
    mara = factories.custom_account(
        "mara", "Read LDAP Servers", "Read Accounts", email="mara@fernhill.example"
    )
    client = signed_in(mara)
    text = client.get("/account/notifications/").text
    assert "mara@fernhill.example" in text
    assert "Connection needs attention" in text
    assert "Credential expires" not in text

    client.post("/account/notifications/", {"kind": ["connection-status"]})

    kept = set(MailOptOut.objects.values_list("kind", flat=True))
    assert kept == {"local-sign-in", "sign-in-switches"}
    page = html.fromstring(client.get("/account/notifications/").content)
    ticked = [one.get("value") for one in page.cssselect("input:checked[name=kind]")]
    assert ticked == ["connection-status"]


def test_choosing_keeps_what_was_chosen_for_kinds_that_are_out_of_sight_now() -> None:
    mara = factories.custom_account("mara", "Read LDAP Servers")
    MailOptOut.objects.create(account=mara, kind="held-changes")

    signed_in(mara).post("/account/notifications/", {"kind": ["connection-status"]})

    assert [one.kind for one in MailOptOut.objects.all()] == ["held-changes"]


def test_an_account_without_an_address_is_told_so(console: Client) -> None:
    assert (
        "Your account has no mail address"
        in console.get("/account/notifications/").text
    )
