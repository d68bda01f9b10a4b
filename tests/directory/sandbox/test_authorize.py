import pytest

from tests.cast import ANA, DAN, FERNHILL, GRACE, MILO, PASSWORD, PAT, QUARREL, SIOBHAN
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    REDIRECT_URI,
    answered,
    application,
    authorize_url,
    consent,
    finish_flow,
    shown,
    sign_in,
    start_flow,
)


def test_a_person_signs_in_consents_and_msal_redeems_the_code(
    sandbox: Sandbox, browser: Browser
) -> None:
    app = application(sandbox)
    flow = start_flow(app)

    page = shown(sign_in(browser, flow["auth_uri"], SIOBHAN))
    assert page.heading == "Permissions requested"
    assert "Sign in and read user profile" in page.text
    answer = answered(browser.submit(page, press="Accept"))
    result = finish_flow(app, flow, answer)

    claims = result["id_token_claims"]
    assert claims["oid"] == SIOBHAN.object_id
    assert claims["tid"] == FERNHILL.tenant_id
    assert claims["preferred_username"] == "siobhan.o'neill@fernhill.example"
    assert claims["name"] == "Siobhán O'Neill"
    assert claims["aud"] == sandbox.application["client_id"]
    assert claims["iss"] == f"{sandbox.url}/{FERNHILL.tenant_id}/v2.0"
    assert claims["ver"] == "2.0"
    assert claims["exp"] - claims["iat"] == 3600
    assert {"sub", "uti", "sid", "nbf"} <= set(claims)
    assert "upn" not in claims
    assert "email" not in claims
    assert "refresh_token" in result


def test_consent_is_asked_once_and_the_session_signs_in_silently(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, authorize_url(sandbox), ANA))
    browser.submit(page, press="Accept")

    answer = answered(browser.open(authorize_url(sandbox, state="again")))

    assert answer.values["state"] == "again"
    assert "code" in answer.values


def test_admin_consent_spares_everybody_the_question(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)

    answer = answered(sign_in(browser, authorize_url(sandbox), ANA))

    assert answer.address == REDIRECT_URI
    assert set(answer.values) == {"code", "state", "session_state"}


def test_declining_goes_back_with_access_denied(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, authorize_url(sandbox), ANA))

    answer = answered(browser.submit(page, press="Cancel"))

    assert answer.values["error"] == "access_denied"
    assert "AADSTS65004" in answer.values["error_description"]
    assert answer.values["state"] == "state-1"


def test_an_administrator_can_consent_for_everybody(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, authorize_url(sandbox), GRACE))
    browser.submit(page, press="Accept", for_all="1")

    answered(sign_in(Browser(sandbox.pages_url), authorize_url(sandbox), MILO))


def test_an_employee_cannot_consent_for_everybody(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, authorize_url(sandbox), MILO))
    assert "on behalf of your organization" not in page.text
    browser.submit(page, press="Accept", for_all="1")

    other = shown(sign_in(Browser(sandbox.pages_url), authorize_url(sandbox), ANA))

    assert other.heading == "Permissions requested"


def test_a_permission_for_administrators_needs_their_approval(
    sandbox: Sandbox, browser: Browser
) -> None:
    url = authorize_url(sandbox, scope="openid User.Read.All")

    page = shown(sign_in(browser, url, MILO))

    assert page.heading == "Need admin approval"


def test_wrong_password_and_disabled_account_stay_on_the_page(
    sandbox: Sandbox, browser: Browser
) -> None:
    url = authorize_url(sandbox)

    wrong = shown(browser.sign_in(url, upn=ANA.upn, password="wrong"))
    disabled = shown(browser.sign_in(url, upn=DAN.upn, password=PASSWORD))
    unknown = shown(browser.open(url))
    unknown = shown(
        browser.submit(unknown, press="Next", username="nobody@fernhill.example")
    )

    assert "AADSTS50126" in wrong.text
    assert "AADSTS50057" in disabled.text
    assert "AADSTS50034" in unknown.text


def test_a_guest_signs_in_by_mail(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    app = application(sandbox)
    flow = start_flow(app)

    answer = browser.sign_in(
        flow["auth_uri"], upn="pat@vendor.example", password=PASSWORD
    )
    claims = finish_flow(app, flow, answered(answer))["id_token_claims"]

    assert claims["oid"] == PAT.object_id


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "x" * 43}, "invalid_request"),
        (
            {"code_challenge": "x" * 43, "code_challenge_method": "plain"},
            "invalid_request",
        ),
        (
            {"code_challenge": "short", "code_challenge_method": "S256"},
            "invalid_request",
        ),
        ({"scope": "openid Nothing.Read"}, "invalid_scope"),
        ({"scope": "https://other.example/.default"}, "invalid_resource"),
        ({"prompt": "dance"}, "invalid_request"),
        ({"response_mode": "pigeon"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
    ids=str,
)
def test_a_bad_request_goes_back_with_an_error(
    sandbox: Sandbox, browser: Browser, changes: dict[str, str], error: str
) -> None:
    answer = answered(browser.open(authorize_url(sandbox, **changes)))

    assert answer.values["error"] == error
    assert answer.values["state"] == "state-1"
    assert "code" not in answer.values


def test_who_is_not_known_is_told_on_a_page(sandbox: Sandbox, browser: Browser) -> None:
    no_tenant = shown(browser.open(authorize_url(sandbox, tenant="nowhere.example")))
    no_client = shown(
        browser.open(
            authorize_url(sandbox, client_id="00000000-0000-0000-0000-000000000001")
        )
    )
    no_address = shown(
        browser.open(authorize_url(sandbox, redirect_uri="https://evil.example/"))
    )

    assert "AADSTS90002" in no_tenant.text
    assert "AADSTS700016" in no_client.text
    assert "AADSTS50011" in no_address.text


def test_prompt_none_needs_a_session_consent_and_one_account(
    sandbox: Sandbox, browser: Browser
) -> None:
    quiet = authorize_url(sandbox, prompt="none")
    sign_in(browser, authorize_url(sandbox), ANA)
    unconsented = answered(browser.open(quiet)).values["error"]

    consent(sandbox)
    alone = answered(browser.open(quiet)).values
    sign_in(browser, authorize_url(sandbox, prompt="select_account"), MILO)
    several = answered(browser.open(quiet)).values["error"]
    hinted = answered(
        browser.open(authorize_url(sandbox, prompt="none", login_hint=MILO.upn))
    ).values

    assert unconsented == "interaction_required"
    assert "code" in alone
    assert several == "interaction_required"
    assert "code" in hinted


def test_select_account_offers_who_is_signed_in(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)

    page = shown(browser.open(authorize_url(sandbox, prompt="select_account")))
    assert page.heading == "Pick an account"
    answer = answered(browser.submit(page, press="Ana Ruiz"))

    assert "code" in answer.values


def test_prompt_login_asks_for_the_password_again(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)

    page = shown(
        browser.open(authorize_url(sandbox, prompt="login", login_hint=ANA.upn))
    )

    assert page.heading == "Enter password"


def test_fragment_and_form_post_carry_the_same_answer(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)

    fragment = answered(
        sign_in(browser, authorize_url(sandbox, response_mode="fragment"), ANA)
    )
    page = shown(browser.open(authorize_url(sandbox, response_mode="form_post")))

    assert "#code=" in fragment.url
    assert page.forms[0].action == REDIRECT_URI
    assert page.forms[0].fields["state"] == "state-1"
    assert page.forms[0].fields["code"]


def test_logout_ends_the_session_and_goes_only_to_registered_addresses(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)
    logout = f"{sandbox.pages_url}/{FERNHILL.tenant_id}/oauth2/v2.0/logout"

    back = answered(
        browser.open(f"{logout}?post_logout_redirect_uri={REDIRECT_URI}&state=s1")
    )
    evil = shown(
        browser.open(f"{logout}?post_logout_redirect_uri=https://evil.example/")
    )
    asked = shown(browser.open(authorize_url(sandbox)))

    assert back.url == f"{REDIRECT_URI}?state=s1"
    assert evil.heading == "You signed out"
    assert asked.heading == "Sign in"


def test_a_form_of_another_browser_is_refused(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(browser.open(authorize_url(sandbox)))

    stranger = Browser(sandbox.pages_url)
    stolen = shown(stranger.submit(page, press="Next", username=ANA.upn))

    assert "belongs to another browser" in stolen.text


def test_pages_are_closed_to_scripts_frames_and_referrers(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(browser.open(authorize_url(sandbox)))

    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "Sandbox tenant" in page.text


def test_a_user_of_the_other_tenant_cannot_sign_in_here(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(browser.open(authorize_url(sandbox, tenant=QUARREL.domain)))

    page = shown(browser.submit(page, press="Next", username=ANA.upn))

    assert "AADSTS50020" in page.text


def test_a_disabled_enterprise_application_signs_nobody_in(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "PATCH",
        f"tenants/{FERNHILL.tenant_id}/consents/{client_id}",
        {"enabled": False},
    )

    page = shown(sign_in(browser, authorize_url(sandbox), ANA))

    assert "AADSTS7000112" in page.text


def test_a_request_without_client_or_scope_is_told_so(
    sandbox: Sandbox, browser: Browser
) -> None:
    no_client = shown(browser.open(authorize_url(sandbox, client_id="")))
    no_scope = answered(browser.open(authorize_url(sandbox, scope="")))

    assert "AADSTS900144" in no_client.text
    assert "AADSTS900144" in no_scope.values["error_description"]


def test_a_disabled_application_cannot_ask(sandbox: Sandbox, browser: Browser) -> None:
    client_id = sandbox.application["client_id"]
    sandbox.control("PATCH", f"applications/{client_id}", {"enabled": False})

    page = shown(browser.open(authorize_url(sandbox)))

    assert "AADSTS7000112" in page.text


def test_a_login_hint_leads_to_the_password_of_that_person(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)

    page = shown(browser.open(authorize_url(sandbox, login_hint=MILO.upn)))

    assert page.heading == "Enter password"
    assert MILO.upn in page.text


def test_odd_entries_are_asked_again(sandbox: Sandbox, browser: Browser) -> None:
    page = shown(browser.open(authorize_url(sandbox, tenant="organizations")))

    empty = shown(browser.submit(page, press="Next", username=" "))
    nameless = shown(browser.submit(page, press="Next", username="ana"))
    stranger = shown(browser.submit(page, press="Next", username="a@b.example"))
    page = shown(browser.submit(page, press="Next", username=ANA.upn))
    swapped = shown(
        browser.submit(
            page, press="Sign in", username="nobody@fernhill.example", password="x"
        )
    )
    other = shown(browser.submit(page, press="Use another account"))
    lost = browser.session.post(
        f"{sandbox.pages_url}{page.forms[0].action}", data={"step": "?"}, timeout=10
    )

    assert "valid email" in empty.text
    assert "AADSTS50034" in nameless.text
    assert "AADSTS50034" in stranger.text
    assert "AADSTS50034" in swapped.text
    assert other.heading == "Sign in"
    assert "Sign in" in lost.text


def test_somebody_deleted_during_the_flow_ends_it(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(sign_in(browser, authorize_url(sandbox), ANA))
    sandbox.control("DELETE", f"tenants/{FERNHILL.tenant_id}/users/{ANA.upn}")

    ended = shown(browser.submit(page, press="Accept"))
    again = shown(browser.open(authorize_url(sandbox)))

    assert "start again" in ended.text
    assert again.heading == "Sign in"


def test_a_session_ends_by_age(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)
    sandbox.control("PUT", "clock", {"offset_seconds": 25 * 3600})

    assert shown(browser.open(authorize_url(sandbox))).heading == "Sign in"


def test_consent_cannot_be_posted_before_signing_in(
    sandbox: Sandbox, browser: Browser
) -> None:
    page = shown(browser.open(authorize_url(sandbox)))

    answer = browser.session.post(
        f"{sandbox.pages_url}{page.forms[0].action}",
        data={"step": "consent", "action": "accept"},
        timeout=10,
    )

    assert "AADSTS165000" in answer.text


def test_logout_takes_a_form_too(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)

    answer = browser.session.post(
        f"{sandbox.pages_url}/{FERNHILL.tenant_id}/oauth2/v2.0/logout",
        data={"post_logout_redirect_uri": REDIRECT_URI},
        allow_redirects=False,
        timeout=10,
    )

    assert answer.headers["location"] == REDIRECT_URI
    assert shown(browser.open(authorize_url(sandbox))).heading == "Sign in"
