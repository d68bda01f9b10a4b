"""Tenants that are gone or elsewhere, registrations that are gone or too narrow."""

from typing import Any

import pytest

from tests.cast import ANA, FERNHILL, QUARREL
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    app_token,
    application,
    authorize_url,
    consent,
    consent_url,
    secure_session,
    shown,
    sign_in,
)
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.tokens import app_only, certificate, code_for, redeem

TENANT = f"tenants/{FERNHILL.tenant_id}"


def registration(sandbox: Sandbox) -> str:
    return f"applications/{sandbox.application['client_id']}"


def discovery(sandbox: Sandbox, path: str = "v2.0/") -> tuple[int, Any]:
    answer = secure_session(sandbox).get(
        f"{sandbox.url}/{FERNHILL.tenant_id}/{path}.well-known/openid-configuration",
        timeout=10,
    )
    return answer.status_code, answer.json()


def test_f28_a_tenant_that_is_gone_is_found_nowhere(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    graph = Graph(sandbox, app_token(sandbox))

    sandbox.control("PATCH", TENANT, {"gone": True})
    metadata = discovery(sandbox)
    token = app_only(sandbox)
    page = shown(browser.open(authorize_url(sandbox)))
    read = graph.error("/users")
    sandbox.control("PATCH", TENANT, {"gone": False})

    assert (metadata[0], metadata[1]["error"]) == (400, "invalid_tenant")
    assert metadata[1]["error_codes"] == [90002]
    assert (token[0], token[1]["error"]) == (400, "invalid_request")
    assert token[1]["error_codes"] == [90002]
    assert "AADSTS90002" in page.text
    assert read == (401, "InvalidAuthenticationToken")
    assert app_only(sandbox)[0] == 200


@pytest.mark.parametrize(
    ("cloud", "host", "sub_scope"),
    [
        ("GCC_HIGH", "login.microsoftonline.us", "DODCON"),
        ("DOD", "login.microsoftonline.us", "DOD"),
        ("CHINA", "login.partner.microsoftonline.cn", None),
    ],
)
def test_f43_a_tenant_of_another_cloud_says_so_in_its_metadata(
    sandbox: Sandbox, browser: Browser, cloud: str, host: str, sub_scope: str | None
) -> None:
    consent(sandbox)
    sandbox.control("PATCH", TENANT, {"cloud": cloud})

    _status, found = discovery(sandbox)
    status, body = app_only(sandbox)
    page = shown(browser.open(consent_url(sandbox)))

    assert found["issuer"] == f"https://{host}/{FERNHILL.tenant_id}/v2.0"
    assert found["token_endpoint"].startswith(f"https://{host}/")
    assert found["tenant_region_sub_scope"] == sub_scope
    assert (status, body["error_codes"]) == (400, [900382])
    assert "AADSTS900382" in page.text
    assert sandbox.control("GET", TENANT)["cloud"] == cloud
    assert refused(sandbox, "PATCH", TENANT, {"cloud": "MOON"})[0] == 400


def test_a19_metadata_of_version_1_names_another_issuer(sandbox: Sandbox) -> None:
    _status, found = discovery(sandbox, "")

    assert found["issuer"] == f"https://sts.windows.net/{FERNHILL.tenant_id}/"
    assert found["jwks_uri"] == f"{sandbox.url}/common/discovery/keys"
    keys = secure_session(sandbox).get(found["jwks_uri"], timeout=10).json()["keys"]
    assert keys


def test_f26_a_registration_that_is_deleted_is_found_no_more(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    graph = Graph(sandbox, app_token(sandbox))
    code = code_for(sandbox, browser)

    sandbox.control("DELETE", registration(sandbox))
    status, body = app_only(sandbox)

    assert (status, body["error"]) == (400, "unauthorized_client")
    assert body["error_codes"] == [700016]
    assert redeem(sandbox, code)[1]["error_codes"] == [700016]
    assert "AADSTS700016" in shown(browser.open(authorize_url(sandbox))).text
    # Its tokens go on for as long as they live.
    assert graph.call("GET", "/organization").status == 200


@pytest.mark.parametrize(
    ("number", "status", "error"),
    [("7000229", 401, "invalid_client"), ("700016", 400, "unauthorized_client")],
)
def test_f26_a_missing_enterprise_application_has_two_faces(
    sandbox: Sandbox, number: str, status: int, error: str
) -> None:
    sandbox.control("PATCH", "behavior", {"missing_principal": number})

    got, body = app_only(sandbox)

    assert (got, body["error"], body["error_codes"]) == (status, error, [int(number)])


def test_an_application_of_one_organization_serves_that_one(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    consent(sandbox, QUARREL)
    sandbox.control(
        "PATCH",
        registration(sandbox),
        {"audience": "AzureADMyOrg", "home_tenant": FERNHILL.domain},
    )

    at_home = app_only(sandbox)
    elsewhere = app_only(sandbox, tenant=QUARREL.tenant_id)
    everywhere = app_only(sandbox, tenant="organizations")
    page = shown(browser.open(authorize_url(sandbox, tenant="common")))

    assert at_home[0] == 200
    assert elsewhere[1]["error_codes"] == [700016]
    assert everywhere[1]["error_codes"] == [50194]
    assert "AADSTS50194" in page.text


def test_f25_a_certificate_that_has_expired_or_is_taken_away_is_700027(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)
    private, public = certificate()
    where = f"{registration(sandbox)}/certificates"
    sandbox.control("POST", where, {"pem": public})
    (listed,) = sandbox.control("GET", registration(sandbox))["certificates"]
    credential = {"private_key": private, "public_certificate": public}

    def errors() -> Any:
        app = application(sandbox, credential=credential)
        return app.acquire_token_for_client(
            ["https://graph.microsoft.com/.default"]
        ).get("error_codes")

    before = errors()
    sandbox.control("PUT", "clock", {"offset_seconds": 31 * 86_400})
    # MSAL writes the time of this machine into its assertion.
    expired = errors()
    sandbox.control("PUT", "clock", {"offset_seconds": 0})
    sandbox.control("DELETE", f"{where}/{listed['thumbprint']}")

    assert before is None
    assert expired == [700027]
    assert errors() == [700027]
    assert refused(sandbox, "DELETE", f"{where}/{listed['thumbprint']}")[0] == 404


@pytest.mark.parametrize(
    ("answer", "status", "number"),
    [("too-many-requests", 429, None), ("tenant", 429, 90055), ("loop", 400, 50196)],
)
def test_who_asks_for_tokens_too_often_is_refused(
    sandbox: Sandbox, answer: str, status: int, number: int | None
) -> None:
    consent(sandbox)
    sandbox.control(
        "PATCH", "behavior", {"token_limit": 2, "token_limit_answer": answer}
    )
    url = f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials",
        "client_id": sandbox.application["client_id"],
        "client_secret": sandbox.application["client_secret"],
        "scope": "https://graph.microsoft.com/.default",
    }

    replies = [
        secure_session(sandbox).post(url, data=form, timeout=10) for _ in range(3)
    ]
    sandbox.control("PUT", "clock", {"offset_seconds": 60})
    later = secure_session(sandbox).post(url, data=form, timeout=10)

    assert [reply.status_code for reply in replies] == [200, 200, status]
    if number is None:
        assert replies[2].text == "Too Many Requests"
    else:
        assert replies[2].json()["error_codes"] == [number]
    assert replies[2].headers.get("Retry-After") == (None if answer == "loop" else "60")
    assert later.status_code == 200


def test_the_token_endpoint_takes_posts_alone(sandbox: Sandbox) -> None:
    answer = secure_session(sandbox).get(
        f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token", timeout=10
    )

    assert answer.status_code == 400
    assert answer.json()["error_codes"] == [900561]


def test_an_error_echoes_the_correlation_id_and_leads_to_its_explanation(
    sandbox: Sandbox,
) -> None:
    session = secure_session(sandbox)
    mine = "11111111-2222-3333-4444-555555555555"
    answer = session.post(
        f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token",
        headers={"client-request-id": mine},
        timeout=10,
    )
    body = answer.json()

    assert body["correlation_id"] == mine
    assert f"Correlation ID: {mine}" in body["error_description"]
    assert answer.headers["x-ms-request-id"]
    assert answer.headers["Cache-Control"] == "no-store, no-cache"
    explained = session.get(body["error_uri"], timeout=10).text
    assert explained.startswith("AADSTS900144: ")
    assert "not known" in session.get(f"{sandbox.url}/error?code=1", timeout=10).text
    entry = sandbox.control("GET", "journal?plane=login")["entries"][0]
    assert entry["code"] == "AADSTS900144"


def test_any_number_can_be_scripted(sandbox: Sandbox) -> None:
    where = f"/{FERNHILL.tenant_id}/oauth2/v2.0/token"
    sandbox.control("POST", "faults", {"path": where, "aadsts": 70021})

    status, body = app_only(sandbox)

    assert (status, body["error"], body["error_codes"]) == (
        400,
        "invalid_request",
        [70021],
    )
    assert refused(sandbox, "POST", "faults", {"path": where, "aadsts": 1})[0] == 400


def test_somebody_of_a_tenant_that_is_gone_is_signed_out(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sign_in(browser, authorize_url(sandbox), ANA)
    sandbox.control("PATCH", TENANT, {"gone": True})

    page = shown(browser.open(authorize_url(sandbox, tenant="organizations")))

    assert page.heading == "Sign in"
