"""Connecting a tenant, over a real sandbox: the good path and each refusal."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from directory import connect
from directory.connector import messages
from directory.connector.keys import signing_key
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    ConsentRequest,
    SyncRun,
)
from jamfidp.accounts.models import PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, answer_of, browser_for, local, register

Step = ConsentRequest.Step


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.0)


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def text_of(client: Client, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, response.content.decode()
    return " ".join(response.content.decode().split())


def failed(journey: Journey, page: str, kind: str) -> str:
    """The attempt ended with this failure, nothing was saved, and the page says it."""
    attempt = journey.attempt(page)
    assert attempt.step == Step.FAILED
    assert attempt.failure["kind"] == kind
    assert not CloudIdentityProvider.objects.exists()
    journey.sign_out(page)
    return text_of(journey.console, page)


# --- The good path -----------------------------------------------------------------


def test_a_tenant_is_connected_from_new_to_its_first_read(journey: Journey) -> None:
    fernhill = journey.sandbox.tenants[0]

    page = journey.verified()

    shown = text_of(journey.console, page)
    assert fernhill["id"] in shown
    assert fernhill["domain"] in shown
    assert fernhill["global_admin"]["upn"] in shown
    assert not CloudIdentityProvider.objects.exists()

    response = journey.save(page, display_name="  Fernhill   main ", building="city")

    cloud_idp = CloudIdentityProvider.objects.get()
    assert response["Location"] == cloud_idp.get_absolute_url()
    assert cloud_idp.pk >= 1001
    assert cloud_idp.display_name == "Fernhill main"
    assert cloud_idp.tenant_id == fernhill["id"]
    assert cloud_idp.tenant_name == fernhill["display_name"]
    assert cloud_idp.verified_domains[0] == fernhill["domain"]
    assert cloud_idp.consented_by_upn == fernhill["global_admin"]["upn"]
    assert cloud_idp.status == CloudIdentityProvider.Status.ACTIVE
    assert {
        entry["permission"]: entry["granted"] for entry in cloud_idp.permissions_probed
    } == {"User.Read": True, "User.Read.All": True, "GroupMember.Read.All": True}
    assert cloud_idp.mappings.building == "city"
    assert cloud_idp.mappings.user_name == "userPrincipalName"
    run = SyncRun.objects.get()
    assert (run.kind, run.trigger, run.state) == ("FULL", "CONNECTED", "QUEUED")
    assert ObjectHistory.objects.filter(
        object_label="directory.cloudidentityprovider",
        object_pk=str(cloud_idp.pk),
        action="created",
        actor_name="Local Administrator",
    ).exists()


def test_saving_nothing_but_the_name_keeps_jamfs_default_mappings(
    journey: Journey,
) -> None:
    page = journey.verified()

    shown = text_of(journey.console, page)
    journey.save(page)

    mappings = AttributeMappings.objects.get()
    fresh = AttributeMappings()
    for name in ("user_name", "real_name", "email", "phone", "position", "group_name"):
        assert getattr(mappings, name) == getattr(fresh, name)
        assert f'value="{getattr(fresh, name)}" selected' in shown


def test_what_is_asked_is_named_before_microsoft_asks(journey: Journey) -> None:
    shown = text_of(
        journey.console, "/settings/cloud-idps/new/entra/permissions/?cloud=SANDBOX"
    )

    for name in ("User.Read", "User.Read.All", "GroupMember.Read.All"):
        assert f"<code>{name}</code>" in shown
    assert "Directory.Read.All" not in shown
    assert "Sign in and read user profile" in shown
    assert "Read directory data" in shown
    assert "Global Administrator" in shown
    assert "ends your session with Microsoft" in shown


def test_the_administrators_session_is_ended_after_success_and_failure(
    journey: Journey,
) -> None:
    page = journey.verified()
    assert journey.attempt(page).session_ended_at is not None

    # Signed out: Microsoft asks who is there, instead of sending a code at once.
    _, microsoft = journey.consent_page()
    assert 'name="username"' in journey.pages.open(microsoft).text


def test_no_answer_from_the_logout_page_is_no_dead_end(journey: Journey) -> None:
    page = journey.answered()
    journey.verify(page)
    ending = journey.go(page)

    assert 'http-equiv="refresh"' in text_of(journey.console, ending)
    # Coming back by hand, the page does not send the browser away again.
    assert 'http-equiv="refresh"' not in text_of(journey.console, ending)
    journey.console.post(ending)

    assert "still open in this browser" in text_of(journey.console, page)


def test_each_check_is_shown_as_it_is_done(journey: Journey) -> None:
    page = journey.answered()
    headers = {"HX-Request": "true", "HX-Target": "verification"}

    responses = [
        journey.console.post(f"{page}verify/", headers=headers) for _ in range(3)
    ]

    assert [response.content.decode().count("step-done") for response in responses] == [
        1,
        2,
        0,
    ]
    assert responses[-1]["HX-Redirect"] == page
    assert journey.attempt(page).step == Step.VERIFIED


def test_consent_that_takes_effect_late_is_waited_for(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = journey.sandbox.tenants[0]["id"]
    client_id = journey.sandbox.application["client_id"]
    page = journey.answered()
    journey.sandbox.control(
        "PATCH",
        f"tenants/{tenant}/consents/{client_id}",
        {"roles": ["GroupMember.Read.All"]},
    )

    def in_effect(_: float) -> None:
        journey.sandbox.control("PUT", f"tenants/{tenant}/consents/{client_id}")

    monkeypatch.setattr("directory.connect.time.sleep", in_effect)
    journey.verify(page)

    assert journey.attempt(page).step == Step.VERIFIED


def test_nothing_of_the_attempt_stays_but_what_was_proven(journey: Journey) -> None:
    page = journey.verified()

    attempt = journey.attempt(page)

    assert attempt.flow_sealed == ""
    assert set(attempt.verified) == {
        "tenant_id",
        "person",
        "tenant_name",
        "domains",
        "permissions",
        "roles",
        "used",
        "done",
        "tries",
    }


# --- What Microsoft's pages can answer ---------------------------------------------


def test_declined_consent_saves_nothing_and_says_so(journey: Journey) -> None:
    page, microsoft = journey.consent_page()

    back = journey.consent(microsoft, action="cancel")
    assert "admin_consent=True" in back  # A38: it comes together with the error
    journey.go(local(journey.go(local(back))))

    shown = failed(journey, page, "ConsentDeclined")
    assert "Consent was declined" in shown
    assert "AADSTS65004" in shown
    assert "Start again" in shown


def test_consent_by_somebody_who_is_no_global_administrator_is_refused(
    journey: Journey,
) -> None:
    page, microsoft = journey.consent_page()

    back = journey.consent(
        microsoft, upn="usha.menon@fernhill.example", action="cancel"
    )
    journey.go(local(journey.go(local(back))))

    shown = failed(journey, page, "AdministratorRequired")
    assert "A Global Administrator is needed" in shown
    assert "Need admin approval" in shown


def test_a_redirect_uri_that_is_not_registered_stays_at_microsoft(
    journey: Journey,
) -> None:
    client_id = journey.sandbox.application["client_id"]
    journey.sandbox.control("PATCH", f"applications/{client_id}", {"redirect_uris": []})

    page, microsoft = journey.consent_page()

    assert "AADSTS50011" in journey.pages.open(microsoft).text
    shown = text_of(journey.console, page)
    assert "AADSTS50011" in shown
    assert "http://localhost:8000/connector/consent/" in shown


def test_a_swapped_tenant_in_the_consent_answer_is_not_trusted(
    journey: Journey,
) -> None:
    """A37: the tenant of the answer is proven by the ID token, or refused."""
    page, microsoft = journey.consent_page()
    back = journey.consent(microsoft)
    ours, other = (tenant["id"] for tenant in journey.sandbox.tenants[:2])

    authorize = journey.go(local(back.replace(ours, other)))

    assert f"/{other}/" in authorize
    # Nobody of the swapped tenant is signed in: Microsoft gives no code for it.
    assert 'name="username"' in journey.pages.open(authorize).text
    assert journey.attempt(page).step == Step.STARTED


def test_consent_without_a_tenant_is_no_consent(journey: Journey) -> None:
    page, microsoft = journey.consent_page()
    back = re.sub(r"tenant=[^&]+&", "", journey.consent(microsoft))

    journey.go(local(journey.go(local(back))))

    failed(journey, page, "ConsentIncomplete")


def test_consent_for_a_tenant_that_does_not_exist_is_refused(journey: Journey) -> None:
    page, microsoft = journey.consent_page()
    ours = journey.sandbox.tenants[0]["id"]
    back = journey.consent(microsoft).replace(
        ours, "11111111-2222-3333-4444-555555555555"
    )

    journey.go(local(journey.go(local(back))))

    assert "AADSTS90002" in failed(journey, page, "TenantNotFound")


def test_a_sign_in_that_is_declined_after_consent_connects_nothing(
    journey: Journey,
) -> None:
    page, microsoft = journey.consent_page()
    code_answer = journey.code(journey.consent(microsoft))
    state = answer_of(code_answer)["state"]
    declined = urlencode(
        {
            "error": "access_denied",
            "error_description": "AADSTS65004: <b>forged words</b>",
            "state": state,
        }
    )

    journey.go(local(journey.go(f"/connector/code/?{declined}")))

    shown = failed(journey, page, "ConsentDeclined")
    assert "AADSTS65004" in shown
    # Whoever writes the description cannot put words on the console's page.
    assert "forged words" not in shown


def test_a_sign_in_without_a_code_connects_nothing(journey: Journey) -> None:
    page, microsoft = journey.consent_page()
    state = answer_of(journey.code(journey.consent(microsoft)))["state"]

    journey.go(local(journey.go(f"/connector/code/?{urlencode({'state': state})}")))

    failed(journey, page, "SignInResponseError")


def test_every_page_before_microsoft_opens(journey: Journey) -> None:
    new = "/settings/cloud-idps/new/"
    assert "Microsoft Entra ID" in text_of(journey.console, new)
    # Without a choice the cloud that is ready is taken, and never another one.
    assert 'value="SANDBOX" selected' in text_of(journey.console, f"{new}entra/")
    for page in ("entra/", "entra/permissions/"):
        assert journey.console.get(f"{new}{page}?cloud=MOON").status_code == 404
    started = journey.console.post(f"{new}entra/start/", {"cloud": "MOON"})
    assert started.status_code == 404
    assert not ConsentRequest.objects.exists()


def test_the_verification_page_does_the_checks_with_and_without_javascript(
    journey: Journey,
) -> None:
    page = journey.answered()

    shown = text_of(journey.console, page)

    assert f'hx-post="{page}verify/"' in shown
    assert "<noscript>" in shown
    # Nothing to end yet.
    assert journey.go(f"{page}end-session/") == page


# --- The callback ------------------------------------------------------------------


CALLBACK = "/settings/cloud-idps/consent/callback/"


def refused(client: Client, address: str, reason: str) -> str:
    """A refusal leads to a clean address, which answers 400."""
    response = client.get(address)
    assert response.status_code == 303
    assert response["Location"].endswith(f"/refused/{reason}/")
    assert "?" not in response["Location"]
    return text_of(client, response["Location"], status=400)


def test_a_callback_without_an_answer_is_refused(journey: Journey) -> None:
    """A1"""
    page = journey.begin()

    refused(journey.console, CALLBACK, "no-answer")
    refused(journey.console, f"{CALLBACK}?code=x", "no-answer")

    assert journey.attempt(page).step == Step.STARTED
    assert ObjectHistory.objects.filter(action="refused").count() == 2


def test_an_answer_that_somebody_else_signed_is_refused(journey: Journey) -> None:
    """A forged callback: right state, wrong key; and unsigned."""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    sent = answer_of(callback)
    answer = connect.read_answer(sent["answer"], now=timezone.now())
    forged = messages.sign_answer(
        answer,
        connector_id="http://localhost:8000/connector",
        console_id="http://localhost:8000",
        key=signing_key("console"),
        now=timezone.now(),
    )
    header, _, rest = sent["answer"].partition(".")
    payload = rest.partition(".")[0]

    for token, reason in (
        (forged, "unknown-key"),
        (f"{header}.{payload}.", "forged"),
        ("rubbish", "forged"),
        (f"eyJhbGciOiJub25lIn0.{payload}.", "forged"),
    ):
        address = f"{CALLBACK}?{urlencode({'answer': token, 'code': sent['code']})}"
        refused(journey.console, address, reason)

    assert journey.attempt(page).step == Step.STARTED


def test_an_answer_for_another_console_is_refused(journey: Journey) -> None:
    answer = messages.sign_answer(
        messages.Answer(state="x", tenant="y", code_hash="z"),
        connector_id="http://localhost:8000/connector",
        console_id="https://other.example.com",
        key=signing_key("connector"),
        now=timezone.now(),
    )

    refused(
        journey.console, f"{CALLBACK}?{urlencode({'answer': answer})}", "other-console"
    )


def test_a_request_is_not_taken_for_an_answer(journey: Journey) -> None:
    start = answer_of(journey.start_link(journey.begin()))["request"]

    refused(journey.console, f"{CALLBACK}?{urlencode({'answer': start})}", "forged")


def test_an_answer_of_another_browser_is_refused_and_leaves_the_attempt(
    journey: Journey, administrator: User
) -> None:
    """A2: the same person, in another session."""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))

    refused(browser_for(administrator), callback, "other-browser")

    assert journey.go(callback) == page


def test_an_answer_for_another_person_is_refused(journey: Journey) -> None:
    """A39: the session is the victim's, the attempt the attacker's."""
    _, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    mallory = factories.administrator("mallory")
    journey.console.force_login(mallory)
    session = journey.console.session
    session["consent_browser"] = "stolen"
    session.save()

    refused(journey.console, callback, "other-browser")


def test_the_same_browser_with_another_person_is_refused(
    journey: Journey, administrator: User
) -> None:
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    mallory = factories.administrator("mallory")
    ConsentRequest.objects.update(started_by=mallory)

    refused(journey.console, callback, "other-person")

    assert journey.attempt(page).step == Step.STARTED


def test_nobody_signed_in_keeps_the_code_out_of_the_sign_in_address(
    journey: Journey, client: Client
) -> None:
    _, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))

    refused(Client(HTTP_HOST="localhost:8000"), callback, "not-signed-in")


def test_a_state_works_once(journey: Journey) -> None:
    """A3"""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    assert journey.go(callback) == page

    refused(journey.console, callback, "replayed")
    journey.verify(page)

    assert journey.attempt(page).step == Step.VERIFIED


def test_two_answers_at_the_same_moment_are_taken_once(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A3, A8: another request takes the answer between the look and the claim."""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    original = connect.browser_hash

    def meanwhile(browser: str) -> str:
        ConsentRequest.objects.update(step=Step.ANSWERED)
        return original(browser)

    monkeypatch.setattr(connect, "browser_hash", meanwhile)

    refused(journey.console, callback, "replayed")
    assert journey.attempt(page).answer_id is None


def test_a_code_that_is_being_redeemed_is_not_redeemed_twice(
    journey: Journey,
) -> None:
    """A8: a second tab waits; what was cut off ends the attempt."""
    page = journey.answered()
    attempt = journey.attempt(page)
    ConsentRequest.objects.update(flow_sealed="")

    connect.verify_next(attempt, now=timezone.now())
    assert journey.attempt(page).step == Step.ANSWERED
    connect.verify_next(attempt, now=timezone.now() + timedelta(seconds=61))

    assert (
        journey.attempt(page).failure["message"] == "The verification was interrupted."
    )


def test_graph_answering_for_another_tenant_connects_nothing(
    journey: Journey,
) -> None:
    """A37: what is read with the application's token has to be the same tenant."""
    page = journey.answered()
    other = journey.sandbox.tenants[1]["id"]
    journey.sandbox.control(
        "POST",
        "faults",
        {
            "path": "/v1.0/organization",
            "status": 200,
            "body": {
                "value": [{"id": other, "displayName": "Other", "verifiedDomains": []}]
            },
        },
    )

    journey.verify(page)

    failed(journey, page, "OtherTenant")


def test_an_ending_is_noted_for_its_own_browser_and_person(
    journey: Journey, administrator: User
) -> None:
    page = journey.answered()
    journey.verify(page)
    pk = journey.attempt(page).pk

    def ending(reference: str) -> str:
        answer = messages.sign_answer(
            messages.Answer(reference=reference),
            connector_id="http://localhost:8000/connector",
            console_id="http://localhost:8000",
            key=signing_key("connector"),
            now=timezone.now(),
        )
        return f"{CALLBACK}?{urlencode({'answer': answer})}"

    refused(browser_for(administrator), ending(str(pk)), "other-browser")
    refused(journey.console, ending("999999"), "unknown")
    refused(journey.console, ending("x"), "unknown")
    ConsentRequest.objects.update(started_by=factories.administrator("mallory"))
    refused(journey.console, ending(str(pk)), "other-person")
    assert journey.attempt(page).session_ended_at is None


def test_who_lost_the_privilege_meanwhile_cannot_go_on(
    journey: Journey, administrator: User
) -> None:
    page = journey.verified()
    administrator.privilege_set = PrivilegeSet.AUDITOR
    administrator.save()

    assert journey.console.get(page).status_code == 403
    assert journey.console.post(f"{page}verify/").status_code == 403
    assert journey.save(page).status_code == 403
    assert not CloudIdentityProvider.objects.exists()


def test_renewed_consent_is_saved_once(journey: Journey) -> None:
    journey.connect()
    page = again(journey, CloudIdentityProvider.objects.get())
    microsoft = journey.go(journey.start_link(page))
    journey.go(journey.to_callback(journey.code(journey.consent(microsoft))))
    journey.verify(page)
    ConsentRequest.objects.update(expires_at=timezone.now())

    response = journey.console.post(page)

    assert response.status_code == 422
    assert "This attempt is over" in response.content.decode()


def test_an_answer_to_no_attempt_is_refused(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    ConsentRequest.objects.all().delete()

    refused(journey.console, callback, "unknown")


def test_an_attempt_without_a_key_that_was_changed_ends_at_the_answer(
    journey: Journey, settings: Any
) -> None:
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    settings.ENCRYPTION_KEYS = []

    assert journey.go(callback) == page

    failed(journey, page, "CredentialsUnreadable")


def test_renewed_consent_is_held_against_the_tenant_of_the_connection(
    journey: Journey,
) -> None:
    """Also where the connector is not the one to notice."""
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    page = again(journey, cloud_idp)
    microsoft = journey.go(journey.start_link(page))
    journey.go(journey.to_callback(journey.code(journey.consent(microsoft))))
    CloudIdentityProvider.objects.update(tenant_id=factories.OTHER_TENANT)

    journey.verify(page)

    assert journey.attempt(page).failure["kind"] == "OtherTenant"
    journey.sign_out(page)
    assert "Back to Fernhill Studio" in text_of(journey.console, page)


def test_an_answer_id_works_once(journey: Journey) -> None:
    """The same signed answer, although its state were open again."""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    answer = connect.read_answer(answer_of(callback)["answer"], now=timezone.now())
    ConsentRequest.objects.create(
        state_hash="x",
        browser_hash="x",
        started_by=journey.attempt(page).started_by,
        cloud="SANDBOX",
        registration=journey.attempt(page).registration,
        created_at=timezone.now(),
        expires_at=timezone.now(),
        answer_id=answer.id,
    )

    refused(journey.console, callback, "replayed")


def test_an_answer_after_ten_minutes_is_refused(journey: Journey) -> None:
    """A4: boundary exact."""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    attempt = journey.attempt(page)
    answer = connect.read_answer(answer_of(callback)["answer"], now=timezone.now())
    browser = journey.console.session["consent_browser"]
    late = attempt.created_at + timedelta(minutes=10)

    with pytest.raises(connect.AnswerRefused) as caught:
        connect.take_answer(
            answer,
            code=answer_of(callback)["code"],
            browser=browser,
            actor=attempt.started_by,
            now=late,
        )

    assert caught.value.refusal is connect.Refusal.EXPIRED
    taken = connect.take_answer(
        answer,
        code=answer_of(callback)["code"],
        browser=browser,
        actor=attempt.started_by,
        now=late - timedelta(seconds=1),
    )
    assert taken.step == Step.ANSWERED


def test_the_connectors_answer_is_good_for_a_minute(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    token = answer_of(callback)["answer"]

    with pytest.raises(connect.AnswerRefused) as caught:
        connect.read_answer(token, now=timezone.now() + timedelta(seconds=91))

    assert caught.value.refusal is connect.Refusal.TOO_OLD


def test_an_attempt_that_is_too_old_says_so_before_microsoft(journey: Journey) -> None:
    page = journey.begin()
    ConsentRequest.objects.update(expires_at=timezone.now())

    assert "The ten minutes of this attempt are over" in text_of(journey.console, page)


def test_another_code_than_the_connector_saw_is_refused(journey: Journey) -> None:
    """A6: a code of the attacker's own flow put into the victim's."""
    page, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    sent = answer_of(callback)

    address = f"{CALLBACK}?{urlencode({'answer': sent['answer'], 'code': 'other'})}"
    refused(journey.console, address, "code-swapped")

    attempt = journey.attempt(page)
    assert attempt.step == Step.FAILED
    assert not CloudIdentityProvider.objects.exists()


def test_an_attempt_does_not_exist_for_another_browser(
    journey: Journey, administrator: User
) -> None:
    page = journey.verified()
    other = browser_for(administrator)

    assert other.get(page).status_code == 404
    assert other.post(page).status_code == 404
    assert other.post(f"{page}verify/").status_code == 404
    assert other.get(f"{page}end-session/").status_code == 404


# --- The ID token ------------------------------------------------------------------


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param({"claims": {"nonce": "other"}}, id="A5 another nonce"),
        pytest.param({"remove": ["nonce"]}, id="A5 no nonce"),
        pytest.param({"signed_by": "none"}, id="A9 alg none"),
        pytest.param({"signed_by": "hmac"}, id="A10 HS256 with the public key"),
        pytest.param({"signed_by": "unknown"}, id="A11 unknown key"),
        pytest.param(
            {"claims": {"aud": "11111111-1111-1111-1111-111111111111"}},
            id="A14 another audience",
        ),
        pytest.param(
            {"claims": {"iss": "https://login.microsoftonline.com/common/v2.0"}},
            id="A15 another issuer",
        ),
        pytest.param({"remove": ["tid"]}, id="A16 no tenant"),
        pytest.param(
            {"claims": {"tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}},
            id="A17 personal account",
        ),
        pytest.param({"shift": -7200}, id="A20 expired"),
    ],
)
def test_a_forged_id_token_connects_nothing(
    journey: Journey, forgery: dict[str, Any]
) -> None:
    page = journey.answered()
    journey.sandbox.control("POST", "forge", forgery)

    journey.verify(page)

    shown = failed(journey, page, "IdTokenRefused")
    assert "The sign-in could not be proven" in shown
    assert "id_token:" in shown


def test_an_id_token_of_another_tenant_connects_nothing(journey: Journey) -> None:
    """A15, A37: tenant and issuer both of the other company."""
    page = journey.answered()
    other = journey.sandbox.tenants[1]["id"]
    journey.sandbox.control(
        "POST",
        "forge",
        {"claims": {"tid": other, "iss": f"{journey.sandbox.url}/{other}/v2.0"}},
    )

    journey.verify(page)

    # The tenant itself is what is refused, before any other trace of the forgery.
    assert "id_token:other_tenant" in failed(journey, page, "IdTokenRefused")


# --- Credentials and permissions ---------------------------------------------------


def test_a_wrong_secret_is_named_with_microsofts_number(
    sandbox: Sandbox, administrator: User
) -> None:
    register(sandbox, administrator, secret="wrong-but-plausible-secret")
    journey = Journey(browser_for(administrator), sandbox)
    page = journey.answered()

    journey.verify(page)

    shown = failed(journey, page, "CredentialsRefused")
    assert "AADSTS7000215" in shown
    assert "The client secret of the application is wrong" in shown
    assert "/settings/entra-application/SANDBOX/" in shown


def test_an_expired_secret_is_named_as_expired(journey: Journey) -> None:
    page = journey.answered()
    client_id = journey.sandbox.application["client_id"]
    journey.sandbox.control(
        "PATCH", f"applications/{client_id}/secrets/sandbox", {"expires_in": -1}
    )

    journey.verify(page)

    shown = failed(journey, page, "CredentialsRefused")
    assert "AADSTS7000222" in shown
    assert "expired" in shown


@pytest.mark.parametrize("missing", ["User.Read.All", "GroupMember.Read.All"])
def test_a_missing_permission_is_named(journey: Journey, missing: str) -> None:
    page = journey.answered()
    tenant = journey.sandbox.tenants[0]["id"]
    client_id = journey.sandbox.application["client_id"]
    journey.sandbox.control(
        "PATCH", f"tenants/{tenant}/consents/{client_id}", {"roles": [missing]}
    )

    journey.verify(page)

    shown = failed(journey, page, "PermissionMissing")
    assert missing in shown


def test_a_sandbox_that_does_not_answer_is_said(
    journey: Journey, settings: Any
) -> None:
    page = journey.begin()
    link = journey.start_link(page)
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"

    journey.go(local(journey.go(link)))

    attempt = journey.attempt(page)
    assert attempt.failure["kind"] == "Unreachable"
    # Signing out cannot work either, and is no dead end.
    ending = journey.go(page)
    text = journey.console.get(ending).content.decode()
    match = re.search(r'href="([^"]*/connector/end/[^"]*)"', text)
    assert match
    assert journey.go(local(journey.go(local(match.group(1))))) == page
    assert "could not be reached" in text_of(journey.console, page)


def test_a_lost_encryption_key_stops_before_microsoft(
    journey: Journey, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []

    response = journey.console.post(
        "/settings/cloud-idps/new/entra/start/", {"cloud": "SANDBOX"}
    )

    assert response.status_code == 422
    assert "No encryption key is configured" in response.content.decode()
    assert not ConsentRequest.objects.exists()


def test_a_key_lost_between_answer_and_verification_ends_the_attempt(
    journey: Journey, settings: Any
) -> None:
    page = journey.answered()
    settings.ENCRYPTION_KEYS = [
        "other:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    ]

    journey.verify(page)

    failed(journey, page, "CredentialsUnreadable")


# --- Save --------------------------------------------------------------------------


def test_a_second_connection_to_the_tenant_is_refused_naming_the_first(
    journey: Journey,
) -> None:
    journey.connect(display_name="Fernhill Studio")
    first = CloudIdentityProvider.objects.get()

    page = journey.answered()
    journey.verify(page)
    journey.sign_out(page)

    shown = text_of(journey.console, page)
    assert "This tenant is already connected" in shown
    assert "Fernhill Studio" in shown
    assert first.get_absolute_url() in shown
    assert CloudIdentityProvider.objects.count() == 1


def test_two_verified_attempts_for_one_tenant_save_one_connection(
    journey: Journey,
) -> None:
    one, two = journey.verified(), journey.verified()
    assert journey.save(one, display_name="First").status_code == 303

    response = journey.save(two, display_name="Second")

    assert response.status_code == 422
    shown = response.content.decode()
    assert "already connected as &#x27;First&#x27;" in shown
    assert 'value="Second"' in shown
    assert CloudIdentityProvider.objects.count() == 1


def test_a_display_name_is_unique_whatever_its_case(journey: Journey) -> None:
    factories.cloud_idp("Fernhill studio", tenant_id=factories.OTHER_TENANT)
    page = journey.verified()

    response = journey.save(page, display_name="FERNHILL Studio", search_timeout="45")

    assert response.status_code == 422
    shown = response.content.decode()
    assert "Another cloud identity provider has this display name" in shown
    assert 'value="45"' in shown
    assert CloudIdentityProvider.objects.count() == 1
    assert journey.save(page, display_name="Another name").status_code == 303


@pytest.mark.parametrize("timeout", ["4", "601", "soon", ""])
def test_a_search_timeout_out_of_range_is_refused(
    journey: Journey, timeout: str
) -> None:
    response = journey.save(journey.verified(), search_timeout=timeout)

    assert response.status_code == 422
    assert not CloudIdentityProvider.objects.exists()


def test_a_mapping_to_an_unknown_property_is_refused(journey: Journey) -> None:
    response = journey.save(journey.verified(), real_name="passwordProfile")

    assert response.status_code == 422
    assert not CloudIdentityProvider.objects.exists()


def test_a_tenant_verified_more_than_an_hour_ago_is_not_saved(
    journey: Journey,
) -> None:
    page = journey.verified()
    ConsentRequest.objects.update(expires_at=timezone.now())

    response = journey.save(page)

    assert response.status_code == 422
    assert "verified too long ago" in response.content.decode()
    assert not CloudIdentityProvider.objects.exists()


def test_saving_twice_makes_one_connection(journey: Journey) -> None:
    page = journey.verified()
    assert journey.save(page).status_code == 303

    assert journey.save(page, display_name="Twice").status_code == 303

    assert CloudIdentityProvider.objects.get().display_name == "Fernhill Studio"


# --- Consent again -----------------------------------------------------------------


def again(journey: Journey, cloud_idp: CloudIdentityProvider) -> str:
    response = journey.console.post(f"{cloud_idp.get_absolute_url()}consent-again/")
    assert response.status_code == 303, response.content.decode()
    return str(response["Location"])


def test_consent_is_renewed_in_place(journey: Journey) -> None:
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    CloudIdentityProvider.objects.update(
        status=CloudIdentityProvider.Status.CONSENT_WITHDRAWN, consented_by_upn="old"
    )

    page = again(journey, cloud_idp)
    microsoft = journey.go(journey.start_link(page))
    assert f"/{cloud_idp.tenant_id}/" in microsoft
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    journey.go(callback)
    journey.verify(page)
    journey.sign_out(page)
    assert "Renew the consent" in text_of(journey.console, page)
    cloud_idp.refresh_from_db()
    assert cloud_idp.consented_by_upn == "old"

    response = journey.console.post(page)

    assert response["Location"] == cloud_idp.get_absolute_url()
    cloud_idp.refresh_from_db()
    assert cloud_idp.status == CloudIdentityProvider.Status.ACTIVE
    assert cloud_idp.consented_by_upn != "old"


def test_renewed_consent_of_another_tenant_is_refused(journey: Journey) -> None:
    """A39: another tenant cannot be bound to the connection by consent."""
    journey.connect()
    cloud_idp = CloudIdentityProvider.objects.get()
    page = again(journey, cloud_idp)
    microsoft = journey.go(journey.start_link(page))
    back = journey.consent(microsoft)
    other = journey.sandbox.tenants[1]["id"]

    journey.go(local(journey.go(local(back.replace(cloud_idp.tenant_id, other)))))

    attempt = journey.attempt(page)
    assert attempt.failure["kind"] == "OtherTenant"
    cloud_idp.refresh_from_db()
    assert cloud_idp.tenant_id == journey.sandbox.tenants[0]["id"]


# --- Secrets -----------------------------------------------------------------------


def test_no_secret_code_or_token_is_ever_logged_or_kept(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    """A46: canaries over logs, history and rows of the whole flow."""
    caplog.set_level(logging.DEBUG)
    secret = journey.sandbox.application["client_secret"]

    page, microsoft = journey.consent_page()
    attempt = journey.attempt(page)
    flow = connect._unseal(attempt)
    code_answer = journey.code(journey.consent(microsoft))
    code = answer_of(code_answer)["code"]
    journey.go(journey.to_callback(code_answer))
    journey.verify(page)
    journey.sign_out(page)
    journey.save(page)

    canaries = [secret, code, flow["code_verifier"], flow["nonce"], flow["state"]]
    kept = repr(list(ObjectHistory.objects.values())) + repr(
        list(ConsentRequest.objects.values())
    )
    for canary in canaries:
        # The test client's own requests are logged by nobody; all others count.
        assert canary not in caplog.text
        assert canary not in kept
    assert "eyJ" not in caplog.text
    assert "eyJ" not in kept


def test_nothing_is_written_to_the_tenant(journey: Journey) -> None:
    journey.connect()

    entries = journey.sandbox.control("GET", "journal?plane=graph")["entries"]

    assert entries
    assert {entry["method"] for entry in entries} <= {"GET", "POST"}
    assert not [entry for entry in entries if entry.get("refused")]
