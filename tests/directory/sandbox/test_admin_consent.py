import pytest

from tests.cast import BERTRAM, FERNHILL, GRACE, MILO, PASSWORD, QUARREL, USHA
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    GRAPH_SCOPE,
    REDIRECT_URI,
    answered,
    application,
    consent_url,
    shown,
    sign_in,
)


def consents(sandbox: Sandbox, tenant_id: str = FERNHILL.tenant_id) -> list[str]:
    found: list[str] = sandbox.control("GET", f"tenants/{tenant_id}")["consents"]
    return found


def test_accepting_creates_the_enterprise_application_with_what_was_asked(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, consent_url(sandbox), GRACE))

    assert "Sign in and read user profile" in page.text
    assert "Read all users' full profiles" in page.text
    assert "Read all group memberships" in page.text
    assert "JamfIDP Console (sandbox)" in page.text
    assert consents(sandbox) == []

    answer = answered(browser.submit(page, press="Accept"))

    assert answer.address == REDIRECT_URI
    assert answer.values["admin_consent"] == "True"
    assert answer.values["tenant"] == FERNHILL.tenant_id
    assert answer.values["state"] == "state-1"
    assert "https://graph.microsoft.com/GroupMember.Read.All" in answer.values["scope"]
    client_id = sandbox.application["client_id"]
    granted = sandbox.control(
        "GET", f"tenants/{FERNHILL.tenant_id}/consents/{client_id}"
    )
    assert granted["roles"] == ["GroupMember.Read.All", "User.Read.All"]
    assert granted["scopes"] == ["User.Read"]
    assert consents(sandbox, QUARREL.tenant_id) == []


def test_declining_redirects_with_admin_consent_true_and_an_error(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, consent_url(sandbox), GRACE))

    answer = answered(browser.submit(page, press="Cancel"))

    assert answer.values["admin_consent"] == "True"
    assert answer.values["error"] == "consent_required"
    assert answer.values["error_description"].startswith("AADSTS65004: ")
    assert answer.values["state"] == "state-1"
    assert "tenant" not in answer.values
    assert consents(sandbox) == []


@pytest.mark.parametrize("person", [MILO, USHA], ids=["employee", "lesser admin"])
def test_only_a_global_administrator_may_grant(
    sandbox: Sandbox, browser: Browser, person: object
) -> None:
    page = shown(sign_in(browser, consent_url(sandbox), person))  # type: ignore[arg-type]
    assert page.heading == "Need admin approval"

    # Somebody who forges the Accept button gets the same page again.
    forged = browser.session.post(
        f"{sandbox.pages_url}{page.forms[0].action}",
        data={"step": "consent", "action": "accept"},
        timeout=10,
    )
    assert "Need admin approval" in forged.text
    assert consents(sandbox) == []

    answer = answered(browser.submit(page, press="Return to the application"))
    assert answer.values["error"] == "access_denied"
    assert answer.values["error_subcode"] == "cancel"
    assert consents(sandbox) == []


def test_an_employee_can_hand_over_to_an_administrator(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, consent_url(sandbox), MILO))

    page = shown(browser.submit(page, press="Have an admin account"))
    page = shown(browser.submit(page, press="Next", username=GRACE.upn))
    page = shown(browser.submit(page, press="Sign in", password=PASSWORD))

    assert page.heading == "Permissions requested"


def test_an_unregistered_redirect_uri_is_shown_and_never_followed(
    sandbox: Sandbox, browser: Browser
) -> None:
    for uri in (
        "http://localhost:8000/elsewhere/",
        "http://localhost:8000/login/entra/callback",
        "http://localhost.evil.example/login/entra/callback/",
        "http://a@localhost:8000/login/entra/callback/",
        "https://localhost:8000/login/entra/callback/",
    ):
        page = shown(browser.open(consent_url(sandbox, redirect_uri=uri)))

        assert "AADSTS50011" in page.text
        assert page.status == 400


def test_the_port_of_a_localhost_redirect_uri_does_not_count(
    sandbox: Sandbox, browser: Browser
) -> None:
    uri = "http://localhost:61234/login/entra/callback/"
    page = shown(sign_in(browser, consent_url(sandbox, redirect_uri=uri), GRACE))

    assert answered(browser.submit(page, press="Accept")).address == uri


def test_an_administrator_of_another_tenant_cannot_sign_in_there(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(browser.open(consent_url(sandbox)))

    page = shown(browser.submit(page, press="Next", username=BERTRAM.upn))

    assert "AADSTS50020" in page.text


def test_organizations_consents_for_the_administrators_own_tenant(
    sandbox: Sandbox, browser: Browser
) -> None:
    url = consent_url(sandbox, tenant="organizations")
    page = shown(sign_in(browser, url, BERTRAM))

    answer = answered(browser.submit(page, press="Accept"))

    assert answer.values["tenant"] == QUARREL.tenant_id
    assert consents(sandbox) == []


def test_v2_refuses_common_and_a_missing_scope(
    sandbox: Sandbox, browser: Browser
) -> None:
    common = shown(browser.open(consent_url(sandbox, tenant="common")))
    no_scope = shown(browser.open(consent_url(sandbox, scope="")))

    assert "common" in common.text
    assert "AADSTS900144" in no_scope.text


def test_v1_has_no_scope_and_its_own_error(sandbox: Sandbox, browser: Browser) -> None:
    url = consent_url(sandbox).replace("/v2.0/adminconsent", "/adminconsent")

    page = shown(sign_in(browser, url, GRACE))
    declined = answered(browser.submit(page, press="Cancel"))
    page = shown(sign_in(browser, url, GRACE))
    accepted = answered(browser.submit(page, press="Accept"))

    assert declined.values == {
        "error": "permission_denied",
        "error_description": "The admin canceled the request",
        "state": "state-1",
    }
    assert accepted.values == {
        "admin_consent": "True",
        "tenant": FERNHILL.tenant_id,
        "state": "state-1",
    }


def test_tokens_follow_the_consent(sandbox: Sandbox, browser: Browser) -> None:
    before = application(sandbox).acquire_token_for_client([GRAPH_SCOPE])

    page = shown(sign_in(browser, consent_url(sandbox), GRACE))
    browser.submit(page, press="Accept")
    after = application(sandbox).acquire_token_for_client([GRAPH_SCOPE])

    assert before["error_codes"] == [7000229]
    assert "access_token" in after
