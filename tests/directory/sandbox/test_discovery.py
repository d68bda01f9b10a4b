import base64

import pytest
from cryptography import x509

from tests.cast import FERNHILL
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import Reply, secure_session


def read(sandbox: Sandbox, path: str, **headers: str) -> Reply:
    answer = secure_session(sandbox).get(f"{sandbox.url}{path}", headers=headers)
    return Reply(answer.status_code, answer.headers, answer.json())


@pytest.mark.parametrize("name", [FERNHILL.tenant_id, FERNHILL.domain])
def test_discovery_of_a_tenant_names_its_guid_whatever_name_was_asked(
    sandbox: Sandbox, name: str
) -> None:
    found = read(sandbox, f"/{name}/v2.0/.well-known/openid-configuration").body

    base = f"{sandbox.url}/{FERNHILL.tenant_id}"
    assert found["issuer"] == f"{base}/v2.0"
    assert found["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert found["jwks_uri"] == f"{base}/discovery/v2.0/keys"
    assert found["code_challenge_methods_supported"] == ["S256"]


@pytest.mark.parametrize("name", ["organizations", "common"])
def test_discovery_of_an_alias_has_an_issuer_with_braces(
    sandbox: Sandbox, name: str
) -> None:
    found = read(sandbox, f"/{name}/v2.0/.well-known/openid-configuration").body
    keys = read(sandbox, f"/{name}/discovery/v2.0/keys").body["keys"]

    assert found["issuer"] == f"{sandbox.url}/{{tenantid}}/v2.0"
    assert found["tenant_region_scope"] is None
    assert keys[0]["issuer"] == found["issuer"]


def test_pages_for_people_are_named_on_plain_http_and_the_rest_on_tls(
    sandbox: Sandbox,
) -> None:
    found = read(
        sandbox, f"/{FERNHILL.tenant_id}/v2.0/.well-known/openid-configuration"
    ).body

    for name in ("authorization_endpoint", "end_session_endpoint"):
        assert found[name].startswith(f"{sandbox.pages_url}/{FERNHILL.tenant_id}/")
        assert found[name].startswith("http://127.0.0.1:")
    for name in ("issuer", "token_endpoint", "jwks_uri"):
        assert found[name].startswith("https://127.0.0.1:")


def test_an_unknown_tenant_is_a_400_with_aadsts90002(sandbox: Sandbox) -> None:
    reply = read(
        sandbox,
        "/nowhere.example/v2.0/.well-known/openid-configuration",
        **{"client-request-id": "11111111-2222-3333-4444-555555555555"},
    )

    assert reply.status == 400
    assert reply.body["error"] == "invalid_tenant"
    assert reply.body["error_codes"] == [90002]
    assert reply.body["correlation_id"] == "11111111-2222-3333-4444-555555555555"
    assert reply.body["error_description"].startswith("AADSTS90002: Tenant 'nowhere")


def test_published_keys_carry_their_issuer_and_certificate(sandbox: Sandbox) -> None:
    (key,) = read(sandbox, f"/{FERNHILL.tenant_id}/discovery/v2.0/keys").body["keys"]

    assert key["issuer"] == f"{sandbox.url}/{FERNHILL.tenant_id}/v2.0"
    certificate = x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0]))
    numbers = certificate.public_key().public_numbers()  # type: ignore[union-attr]
    encoded = numbers.n.to_bytes(256, "big")  # type: ignore[union-attr]
    assert key["n"] == base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()
    assert key["kid"] == key["x5t"]


def test_rotation_can_keep_the_old_key_published(sandbox: Sandbox) -> None:
    path = f"/{FERNHILL.tenant_id}/discovery/v2.0/keys"
    before = [key["kid"] for key in read(sandbox, path).body["keys"]]

    sandbox.control("POST", "keys/rotate", {"keep_old": True})
    both = [key["kid"] for key in read(sandbox, path).body["keys"]]
    sandbox.control("POST", "keys/rotate", {"keep_old": False})
    after = [key["kid"] for key in read(sandbox, path).body["keys"]]

    assert both[1:] == before
    assert both[0] not in before
    assert len(after) == 1
    assert after[0] not in both


def test_instance_discovery_knows_this_host_alone(sandbox: Sandbox) -> None:
    found = read(sandbox, "/common/discovery/instance?api-version=1.1").body

    host = sandbox.url.removeprefix("https://")
    assert [entry["aliases"] for entry in found["metadata"]] == [[host]]
