import base64
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.cast import ANA, FERNHILL, QUARREL
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    GRAPH_SCOPE,
    REDIRECT_URI,
    answered,
    application,
    consent,
    finish_flow,
    secure_session,
    sign_in,
    start_flow,
)
from tests.directory.sandbox.tokens import (
    app_only,
    ask,
    certificate,
    code_for,
    redeem,
)


def test_msal_gets_an_app_only_token_by_secret(sandbox: Sandbox) -> None:
    consent(sandbox)

    result = application(sandbox).acquire_token_for_client([GRAPH_SCOPE])

    claims = jwt.decode(result["access_token"], options={"verify_signature": False})
    assert claims["roles"] == ["GroupMember.Read.All", "User.Read.All"]
    assert claims["tid"] == FERNHILL.tenant_id
    assert claims["idtyp"] == "app"
    assert result["expires_in"] == 3599


@pytest.mark.parametrize("form", ["PS256 x5t#S256", "RS256 x5t", "RS256 x5t with x5c"])
def test_msal_gets_a_token_by_certificate(sandbox: Sandbox, form: str) -> None:
    consent(sandbox)
    private, public = certificate()
    client_id = sandbox.application["client_id"]
    sandbox.control("POST", f"applications/{client_id}/certificates", {"pem": public})
    thumbprint = (
        x509.load_pem_x509_certificate(public.encode())
        .fingerprint(hashes.SHA1())  # noqa: S303 Entra's thumbprint
        .hex()
    )
    credential = {
        "PS256 x5t#S256": {"private_key": private, "public_certificate": public},
        "RS256 x5t": {"private_key": private, "thumbprint": thumbprint},
        "RS256 x5t with x5c": {
            "private_key": private,
            "thumbprint": thumbprint,
            "public_certificate": public,
        },
    }[form]

    result = application(sandbox, credential=credential).acquire_token_for_client(
        [GRAPH_SCOPE]
    )

    assert "access_token" in result, result


def test_an_unregistered_certificate_is_700027(sandbox: Sandbox) -> None:
    consent(sandbox)
    private, public = certificate()
    _, registered = certificate()
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "POST", f"applications/{client_id}/certificates", {"pem": registered}
    )

    result = application(
        sandbox, credential={"private_key": private, "public_certificate": public}
    ).acquire_token_for_client([GRAPH_SCOPE])

    assert result["error"] == "invalid_client"
    assert result["error_codes"] == [700027]


def test_an_assertion_signed_by_another_key_under_a_registered_name_is_700027(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)
    private, _public = certificate()
    _, registered = certificate()
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "POST", f"applications/{client_id}/certificates", {"pem": registered}
    )

    result = application(
        sandbox, credential={"private_key": private, "public_certificate": registered}
    ).acquire_token_for_client([GRAPH_SCOPE])

    assert result["error_codes"] == [700027]


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"aud": "https://evil.example/"}, 700023, id="audience"),
        pytest.param({"sub": "somebody"}, 700021, id="subject"),
        pytest.param({"exp": 1}, 700024, id="expired"),
        pytest.param({}, None, id="right"),
    ],
)
def test_the_claims_of_an_assertion_are_checked(
    sandbox: Sandbox, claims: dict[str, Any], code: int | None
) -> None:
    consent(sandbox)
    private, public = certificate()
    client_id = sandbox.application["client_id"]
    sandbox.control("POST", f"applications/{client_id}/certificates", {"pem": public})
    fingerprint = x509.load_pem_x509_certificate(public.encode()).fingerprint(
        hashes.SHA256()
    )
    now = datetime.now(UTC).timestamp()
    assertion = jwt.encode(
        {
            "aud": f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token",
            "iss": client_id,
            "sub": client_id,
            "exp": now + 600,
        }
        | claims,
        private,
        algorithm="PS256",
        headers={"x5t#S256": base64.urlsafe_b64encode(fingerprint).decode()},
    )

    _status, body = app_only(
        sandbox,
        client_secret="",
        client_assertion=assertion,
        client_assertion_type=(
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        ),
    )

    assert body.get("error_codes", [None]) == [code]


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        pytest.param(
            {"client_secret": "wrong"}, 401, "invalid_client", 7000215, id="secret"
        ),
        pytest.param({"client_secret": ""}, 401, "invalid_client", 7000218, id="none"),
        pytest.param(
            {"client_id": "00000000-0000-0000-0000-000000000001"},
            400,
            "unauthorized_client",
            700016,
            id="unknown application",
        ),
        pytest.param(
            {"tenant": "nowhere.example"}, 400, "invalid_request", 90002, id="tenant"
        ),
        pytest.param(
            {"scope": "User.Read.All"}, 400, "invalid_scope", 70011, id="scope"
        ),
        pytest.param(
            {"scope": "https://other.example/.default"},
            400,
            "invalid_resource",
            500011,
            id="resource",
        ),
        pytest.param(
            {"grant_type": "password"}, 400, "unsupported_grant_type", 70003, id="grant"
        ),
        pytest.param({"grant_type": ""}, 400, "invalid_request", 900144, id="no grant"),
        pytest.param({"client_id": ""}, 400, "invalid_request", 900144, id="no client"),
        pytest.param(
            {"tenant": "organizations"}, 400, "invalid_request", 50059, id="no tenant"
        ),
        pytest.param(
            {"tenant": QUARREL.tenant_id}, 401, "invalid_client", 7000229, id="consent"
        ),
    ],
)
def test_client_credentials_fail_in_microsofts_words(
    sandbox: Sandbox, changes: dict[str, str], status: int, error: str, code: int
) -> None:
    consent(sandbox)

    got, body = app_only(sandbox, **changes)

    assert (got, body["error"], body["error_codes"]) == (status, error, [code])
    assert sandbox.application["client_secret"] not in str(body)


def test_a_secret_expires_and_another_one_works(sandbox: Sandbox) -> None:
    consent(sandbox)
    client_id = sandbox.application["client_id"]
    made = sandbox.control("POST", f"applications/{client_id}/secrets", {})

    sandbox.control(
        "PATCH", f"applications/{client_id}/secrets/sandbox", {"expires_in": -1}
    )
    status, old = app_only(sandbox)
    _status, new = app_only(sandbox, client_secret=made["value"])
    sandbox.control("DELETE", f"applications/{client_id}/secrets/{made['key_id']}")
    _status, gone = app_only(sandbox, client_secret=made["value"])

    assert (status, old["error_codes"]) == (401, [7000222])
    assert "access_token" in new
    assert gone["error_codes"] == [7000215]


def test_disabled_applications_are_7000112(sandbox: Sandbox) -> None:
    consent(sandbox)
    client_id = sandbox.application["client_id"]
    where = f"tenants/{FERNHILL.domain}/consents/{client_id}"

    sandbox.control("PATCH", where, {"enabled": False})
    in_tenant = app_only(sandbox)[1]
    sandbox.control("PATCH", where, {"enabled": True})
    sandbox.control("PATCH", f"applications/{client_id}", {"enabled": False})
    everywhere = app_only(sandbox)[1]

    assert in_tenant["error_codes"] == [7000112]
    assert everywhere["error_codes"] == [7000112]


def test_credentials_may_come_by_basic_authentication(sandbox: Sandbox) -> None:
    consent(sandbox)

    answer = secure_session(sandbox).post(
        f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token",
        data={"grant_type": "client_credentials", "scope": GRAPH_SCOPE},
        auth=(sandbox.application["client_id"], sandbox.application["client_secret"]),
        timeout=10,
    )

    assert "access_token" in answer.json()
    assert answer.headers["Cache-Control"] == "no-store, no-cache"


def test_a_code_is_redeemed_once(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser)

    _status, first = redeem(sandbox, code)
    status, second = redeem(sandbox, code)

    claims = jwt.decode(first["id_token"], options={"verify_signature": False})
    assert claims["nonce"] == "nonce-1"
    assert claims["email"] == ANA.mail
    assert status == 400
    assert (second["error"], second["error_codes"]) == ("invalid_grant", [54005])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"code_verifier": "w" * 64}, 501481, id="wrong verifier"),
        pytest.param({"code_verifier": ""}, 501481, id="no verifier"),
        pytest.param({"tenant": QUARREL.tenant_id}, 700005, id="other tenant"),
        pytest.param({"tenant": "organizations"}, 700005, id="alias"),
        pytest.param(
            {"redirect_uri": "http://localhost:8000/connector/code/"},
            500112,
            id="redirect uri",
        ),
        pytest.param({"code": "1.Anything"}, 9002313, id="unknown code"),
        pytest.param({"code": ""}, 900144, id="no code"),
    ],
)
def test_a_code_is_bound_to_its_request(
    sandbox: Sandbox, browser: Browser, changes: dict[str, str], code: int
) -> None:
    consent(sandbox)
    issued = code_for(sandbox, browser)

    _status, refused = redeem(sandbox, **({"code": issued} | changes))
    _status, right = redeem(sandbox, issued)

    assert refused["error_codes"] == [code]
    assert "id_token" in right


def test_a_code_lives_ten_minutes(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    young, old = code_for(sandbox, browser), code_for(sandbox, browser)

    sandbox.control("PUT", "clock", {"offset_seconds": 590})
    assert "id_token" in redeem(sandbox, young)[1]
    sandbox.control("PUT", "clock", {"offset_seconds": 610})
    _status, body = redeem(sandbox, old)

    assert (body["error"], body["error_codes"]) == ("invalid_grant", [70008])


def test_a_verifier_for_a_code_asked_without_pkce_is_refused(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser, code_challenge="", code_challenge_method="")

    assert redeem(sandbox, code)[1]["error_codes"] == [501481]
    assert "id_token" in redeem(sandbox, code, code_verifier="")[1]


def test_another_application_cannot_redeem_the_code(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    other = sandbox.control("POST", "applications", {"display_name": "Another"})
    secret = sandbox.control(
        "POST", f"applications/{other['client_id']}/secrets", {"value": "another"}
    )
    code = code_for(sandbox, browser)

    _status, body = redeem(
        sandbox, code, client_id=other["client_id"], client_secret=secret["value"]
    )

    assert body["error_codes"] == [70000]


def test_a_refresh_token_gives_new_tokens_until_it_ages(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    _status, first = redeem(sandbox, code_for(sandbox, browser))
    form = {
        "grant_type": "refresh_token",
        "client_id": sandbox.application["client_id"],
        "client_secret": sandbox.application["client_secret"],
        "refresh_token": first["refresh_token"],
        "scope": "openid profile User.Read",
    }

    _status, again = ask(sandbox, **form)
    _status, elsewhere = ask(sandbox, QUARREL.tenant_id, **form)
    sandbox.control("PUT", "clock", {"offset_seconds": 25 * 3600})
    _status, late = ask(sandbox, **form)
    _status, unknown = ask(sandbox, **(form | {"refresh_token": "1.Anything"}))
    _status, missing = ask(sandbox, **(form | {"refresh_token": ""}))

    assert "id_token" in again
    assert elsewhere["error_codes"] == [700005]
    assert late["error_codes"] == [700082]
    assert unknown["error_codes"] == [9002313]
    assert missing["error_codes"] == [900144]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"accountEnabled": False}, 50057, id="disabled"),
        pytest.param(None, 50034, id="deleted"),
    ],
)
def test_somebody_who_left_meanwhile_gets_no_tokens(
    sandbox: Sandbox, browser: Browser, change: dict[str, Any] | None, code: int
) -> None:
    consent(sandbox)
    issued = code_for(sandbox, browser)
    path = f"tenants/{FERNHILL.tenant_id}/users/{ANA.upn}"
    sandbox.control("DELETE" if change is None else "PATCH", path, change)

    assert redeem(sandbox, issued)[1]["error_codes"] == [code]


def test_without_the_enterprise_application_the_code_is_worthless(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    issued = code_for(sandbox, browser)
    client_id = sandbox.application["client_id"]
    sandbox.control("DELETE", f"tenants/{FERNHILL.domain}/consents/{client_id}")

    _status, body = redeem(sandbox, issued)

    assert body["error_codes"] == [65001]
    assert body["suberror"] == "consent_required"


def test_default_scope_at_sign_in_gives_the_delegated_permissions(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser, scope=f"openid profile {GRAPH_SCOPE}")

    _status, body = redeem(sandbox, code)

    assert "https://graph.microsoft.com/User.Read" in body["scope"]
    assert ".default" not in body["scope"]


def test_the_same_person_has_another_subject_in_another_application(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    other = sandbox.control(
        "POST",
        "applications",
        {"display_name": "Another", "redirect_uris": [REDIRECT_URI]},
    )
    sandbox.control(
        "POST", f"applications/{other['client_id']}/secrets", {"value": "another"}
    )
    sandbox.control(
        "PUT", f"tenants/{FERNHILL.domain}/consents/{other['client_id']}", {}
    )

    def subject(**client: str) -> str:
        names = {k: v for k, v in client.items() if k == "client_id"}
        code = code_for(sandbox, browser, ANA, **names)
        token = redeem(sandbox, code, **client)[1]["id_token"]
        return str(jwt.decode(token, options={"verify_signature": False})["sub"])

    mine = subject()
    theirs = subject(client_id=other["client_id"], client_secret="another")

    assert mine != theirs
    assert mine == subject()


def test_msal_redeems_with_pkce_against_organizations(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    app = application(sandbox, authority="organizations")
    flow = start_flow(app)

    answer = answered(sign_in(browser, flow["auth_uri"], ANA))
    claims = finish_flow(app, flow, answer)["id_token_claims"]

    assert claims["tid"] == FERNHILL.tenant_id
    assert claims["iss"].endswith(f"/{FERNHILL.tenant_id}/v2.0")


def test_a_malformed_assertion_and_a_wrong_kind_of_it_are_refused(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

    _status, malformed = app_only(
        sandbox,
        client_secret="",
        client_assertion="nonsense",
        client_assertion_type=kind,
    )
    _status, wrong_kind = app_only(
        sandbox,
        client_secret="",
        client_assertion="nonsense",
        client_assertion_type="saml",
    )

    assert malformed["error_codes"] == [50027]
    assert wrong_kind["error_codes"] == [900144]


def test_basic_authentication_that_cannot_be_read_is_no_credential(
    sandbox: Sandbox,
) -> None:
    answer = secure_session(sandbox).post(
        f"{sandbox.url}/{FERNHILL.tenant_id}/oauth2/v2.0/token",
        data={"grant_type": "client_credentials", "scope": GRAPH_SCOPE},
        headers={"Authorization": "Basic ****"},
        timeout=10,
    )

    assert answer.json()["error_codes"] == [900144]


def test_a_token_without_openid_or_refresh_is_an_access_token_alone(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser, scope="User.Read")

    _status, body = redeem(sandbox, code)

    assert "access_token" in body
    assert not {"id_token", "refresh_token", "client_info"} & set(body)


def test_without_profile_the_id_token_names_nobody(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser, scope="openid", nonce="")

    claims = jwt.decode(
        redeem(sandbox, code)[1]["id_token"], options={"verify_signature": False}
    )

    assert not {"oid", "name", "preferred_username", "nonce"} & set(claims)
    assert claims["sub"]
