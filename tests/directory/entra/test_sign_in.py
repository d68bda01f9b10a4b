import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from directory.entra import (
    PUBLIC,
    US_GOV_L4,
    US_GOV_L5,
    Cloud,
    admin_consent_url,
    authorization_url,
    discover,
    errors,
    logout_url,
    new_sign_in_secrets,
    sandbox_cloud,
)
from directory.entra.sign_in import checked_discovery
from tests.directory.entra.fakes import (
    CLIENT_ID,
    CONFIGURATION_URL,
    LOGIN,
    OTHER_TENANT,
    TENANT,
    configuration,
    discovery,
    session_for,
    sign_in_failure,
)

RETURN = "http://localhost:8000/settings/cloud-idps/consent/callback/"
SANDBOX = "https://127.0.0.1:9443"
PAGES = "http://127.0.0.1:9080"


def sandbox() -> Cloud:
    return sandbox_cloud(SANDBOX, "ca.pem")


def sandbox_configuration(**changes: str) -> dict[str, Any]:
    document = configuration(root=SANDBOX)
    document["authorization_endpoint"] = f"{PAGES}/{TENANT}/oauth2/v2.0/authorize"
    document["end_session_endpoint"] = f"{PAGES}/{TENANT}/oauth2/v2.0/logout"
    return {**document, **changes}


def query(url: str) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}


@responses.activate
def test_a_tenant_is_discovered_by_its_id() -> None:
    responses.get(CONFIGURATION_URL, json=configuration())

    found = discover(PUBLIC, TENANT, session_for())

    assert found.tenant == TENANT
    assert found.token_endpoint == f"{LOGIN}/{TENANT}/oauth2/v2.0/token"
    assert found.admin_consent_endpoint == f"{LOGIN}/{TENANT}/v2.0/adminconsent"


@responses.activate
def test_a_tenant_is_discovered_by_a_domain_and_known_by_its_id() -> None:
    responses.get(
        f"{LOGIN}/fernhill.example/v2.0/.well-known/openid-configuration",
        json=configuration(),
    )

    assert discover(PUBLIC, "fernhill.example", session_for()).tenant == TENANT


@responses.activate
def test_any_work_tenant_is_discovered_by_organizations() -> None:
    responses.get(
        f"{LOGIN}/organizations/v2.0/.well-known/openid-configuration",
        json=configuration("organizations"),
    )

    found = discover(PUBLIC, "organizations", session_for())

    assert found.tenant == "organizations"
    assert found.issuer == f"{LOGIN}/{{tenantid}}/v2.0"


@responses.activate
def test_an_unknown_tenant_is_named_so() -> None:
    responses.get(
        f"{LOGIN}/{OTHER_TENANT}/v2.0/.well-known/openid-configuration",
        status=400,
        json=sign_in_failure(90002, "invalid_tenant"),
    )

    with pytest.raises(errors.TenantNotFound) as caught:
        discover(PUBLIC, OTHER_TENANT, session_for())

    assert caught.value.code == "AADSTS90002"
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "tenant", ["common", "consumers", "Common", "a/b", "../x", "a b", "", "é.example"]
)
def test_what_is_no_tenant_is_not_asked_for(tenant: str) -> None:
    with pytest.raises(errors.TenantNotFound):
        discover(PUBLIC, tenant, session_for())


@responses.activate
@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'"text"'])
def test_a_discovery_answer_that_is_no_object_is_refused(body: bytes) -> None:
    responses.get(CONFIGURATION_URL, body=body, content_type="application/json")

    with pytest.raises(errors.SignInResponseError):
        discover(PUBLIC, TENANT, session_for())


@responses.activate
@pytest.mark.parametrize("status", [200, 400, 403, 511])
def test_a_web_page_in_place_of_discovery_is_somebody_elses(status: int) -> None:
    responses.get(
        CONFIGURATION_URL, status=status, body=b"<html>", content_type="text/html"
    )

    with pytest.raises(errors.ForeignAnswer, match="text/html") as caught:
        discover(PUBLIC, TENANT, session_for())

    assert "sign-in page" in caught.value.advice


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"issuer": f"{LOGIN}/{OTHER_TENANT}/v2.0"}, id="other tenant"),
        pytest.param(
            {"issuer": f"https://evil.example/{TENANT}/v2.0"}, id="other host"
        ),
        pytest.param({"issuer": f"{LOGIN}/{{tenantid}}/v2.0"}, id="template"),
        pytest.param({"issuer": f"https://sts.windows.net/{TENANT}/"}, id="v1 issuer"),
        pytest.param({"issuer": f"{LOGIN}/{TENANT}/v2.0/"}, id="a slash more"),
        pytest.param({"issuer": f"http://login.microsoftonline.com/{TENANT}/v2.0"}),
        pytest.param(
            {"token_endpoint": f"https://evil.example/{TENANT}/oauth2/v2.0/token"},
            id="token endpoint elsewhere",
        ),
        pytest.param(
            {
                "token_endpoint": "http://login.microsoftonline.com"
                f"/{TENANT}/oauth2/v2.0/token"
            },
            id="token endpoint over http",
        ),
        pytest.param(
            {"token_endpoint": f"{LOGIN}/{OTHER_TENANT}/oauth2/v2.0/token"},
            id="token endpoint of another tenant",
        ),
        pytest.param(
            {"jwks_uri": f"https://evil.example/{TENANT}/discovery/v2.0/keys"},
            id="keys elsewhere",
        ),
        pytest.param(
            {"jwks_uri": f"{LOGIN}@evil.example/{TENANT}/discovery/v2.0/keys"},
            id="keys behind a user name",
        ),
        pytest.param(
            {
                "authorization_endpoint": "https://evil.example"
                f"/{TENANT}/oauth2/v2.0/authorize"
            },
            id="authorization elsewhere",
        ),
        pytest.param(
            {
                "authorization_endpoint": "http://login.microsoftonline.com"
                f"/{TENANT}/oauth2/v2.0/authorize"
            },
            id="authorization over http",
        ),
        pytest.param(
            {"authorization_endpoint": f"{PAGES}/{TENANT}/oauth2/v2.0/authorize"},
            id="authorization on loopback",
        ),
        pytest.param(
            {
                "authorization_endpoint": f"{LOGIN}/{TENANT}/oauth2/v2.0/authorize"
                "?redirect=x"
            },
            id="authorization with a query",
        ),
        pytest.param({"authorization_endpoint": "https://[::1"}, id="unreadable"),
        pytest.param({"end_session_endpoint": "https://evil.example/"}, id="logout"),
        pytest.param({"issuer": 7}, id="issuer is no text"),
        pytest.param({"jwks_uri": None}, id="no keys"),
    ],
)
def test_a43_a_discovery_document_that_points_elsewhere_is_refused(
    changes: dict[str, Any],
) -> None:
    document = {**configuration(), **changes}

    with pytest.raises(errors.DiscoveryRefused):
        checked_discovery(PUBLIC, TENANT, document)


@pytest.mark.parametrize("methods", [["plain"], [], "S256", None, {"S256": 1}])
def test_a7_a_service_that_does_not_know_s256_is_refused(methods: object) -> None:
    document = configuration() | {"code_challenge_methods_supported": methods}

    with pytest.raises(errors.DiscoveryRefused, match="S256"):
        checked_discovery(PUBLIC, TENANT, document)


def test_a7_a_service_that_knows_s256_among_others_is_used() -> None:
    document = configuration() | {"code_challenge_methods_supported": ["plain", "S256"]}

    assert checked_discovery(PUBLIC, TENANT, document).tenant == TENANT


def test_a_discovery_document_for_a_domain_must_name_a_tenant_id() -> None:
    document = configuration("fernhill.example")

    with pytest.raises(errors.DiscoveryRefused):
        checked_discovery(PUBLIC, "fernhill.example", document)


@pytest.mark.parametrize(
    ("asked", "root", "sub_scope", "key", "name"),
    [
        (PUBLIC, US_GOV_L4.login_root, "DODCON", "GCC_HIGH", "L4 (GCC High)"),
        (PUBLIC, US_GOV_L4.login_root, "DOD", "DOD", "L5 (DoD)"),
        (US_GOV_L4, US_GOV_L4.login_root, "DOD", "DOD", "L5 (DoD)"),
        (US_GOV_L5, US_GOV_L4.login_root, "DODCON", "GCC_HIGH", "L4 (GCC High)"),
        (PUBLIC, "https://login.chinacloudapi.cn", None, "CHINA", "21Vianet"),
        (US_GOV_L4, PUBLIC.login_root, None, "PUBLIC", "Microsoft Entra ID"),
    ],
    ids=lambda value: getattr(value, "key", value),
)
def test_f43_a_tenant_of_another_cloud_is_named(
    asked: Cloud, root: str, sub_scope: str | None, key: str, name: str
) -> None:
    document = configuration(root=root) | {"tenant_region_sub_scope": sub_scope}

    with pytest.raises(errors.WrongCloud) as caught:
        checked_discovery(asked, TENANT, document)

    assert caught.value.cloud_key == key
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("asked", "sub_scope"),
    [(PUBLIC, "GCC"), (US_GOV_L4, None), (US_GOV_L5, None), (US_GOV_L5, "DOD")],
    ids=lambda value: getattr(value, "key", value),
)
def test_f43_what_the_document_leaves_open_is_not_another_cloud(
    asked: Cloud, sub_scope: str | None
) -> None:
    document = configuration(root=asked.login_root) | {
        "tenant_region_sub_scope": sub_scope
    }

    assert checked_discovery(asked, TENANT, document).tenant == TENANT


def test_a_loopback_cloud_may_show_its_pages_over_plain_http() -> None:
    found = checked_discovery(sandbox(), TENANT, sandbox_configuration())

    assert found.admin_consent_endpoint == f"{PAGES}/{TENANT}/v2.0/adminconsent"


@pytest.mark.parametrize(
    "changes",
    [
        {"authorization_endpoint": f"http://10.0.0.5/{TENANT}/oauth2/v2.0/authorize"},
        {"authorization_endpoint": f"ftp://127.0.0.1/{TENANT}/oauth2/v2.0/authorize"},
        {"token_endpoint": f"{PAGES}/{TENANT}/oauth2/v2.0/token"},
        {"jwks_uri": f"{PAGES}/{TENANT}/discovery/v2.0/keys"},
    ],
)
def test_a_loopback_cloud_may_do_so_for_pages_on_loopback_alone(
    changes: dict[str, str],
) -> None:
    with pytest.raises(errors.DiscoveryRefused):
        checked_discovery(sandbox(), TENANT, sandbox_configuration(**changes))


def test_signing_in_shows_microsoft_neither_nonce_nor_verifier() -> None:
    secrets = new_sign_in_secrets()

    url = authorization_url(
        discovery(),
        client_id=CLIENT_ID,
        redirect_uri=RETURN,
        state=secrets.state,
        nonce_hash=secrets.nonce_hash,
        code_challenge=secrets.code_challenge,
        prompt="select_account",
        login_hint="ada@fernhill.example",
    )

    assert url.startswith(f"{LOGIN}/{TENANT}/oauth2/v2.0/authorize?")
    assert query(url) == {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": RETURN,
        "response_mode": "query",
        "scope": "openid profile",
        "state": secrets.state,
        "nonce": hashlib.sha256(secrets.nonce.encode()).hexdigest(),
        "code_challenge": base64.urlsafe_b64encode(
            hashlib.sha256(secrets.code_verifier.encode()).digest()
        )
        .decode()
        .rstrip("="),
        "code_challenge_method": "S256",
        "prompt": "select_account",
        "login_hint": "ada@fernhill.example",
    }
    assert secrets.nonce not in url
    assert secrets.code_verifier not in url


def test_every_sign_in_has_secrets_of_its_own_that_are_not_printed() -> None:
    one, two = new_sign_in_secrets(), new_sign_in_secrets()

    assert len({one.state, one.nonce, one.code_verifier, two.state, two.nonce}) == 5
    assert 43 <= len(one.code_verifier) <= 128
    for value in (one.state, one.nonce, one.code_verifier):
        assert value not in repr(one)


def test_consent_is_asked_for_by_default_at_the_v2_endpoint() -> None:
    url = admin_consent_url(
        discovery(), client_id=CLIENT_ID, redirect_uri=RETURN, state="s&t"
    )

    assert url.startswith(f"{LOGIN}/{TENANT}/v2.0/adminconsent?")
    assert query(url) == {
        "client_id": CLIENT_ID,
        "scope": "https://graph.microsoft.com/.default",
        "redirect_uri": RETURN,
        "state": "s&t",
    }


def test_logging_out_names_where_to_return_to() -> None:
    url = logout_url(discovery(), post_logout_redirect_uri=RETURN, logout_hint="hint/1")

    assert url.startswith(f"{LOGIN}/{TENANT}/oauth2/v2.0/logout?")
    assert query(url) == {
        "post_logout_redirect_uri": RETURN,
        "logout_hint": "hint/1",
    }
