"""Asking the sandbox's token endpoint by hand, without MSAL."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.cast import ANA, FERNHILL, Person
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    GRAPH_SCOPE,
    REDIRECT_URI,
    answered,
    authorize_url,
    secure_session,
    sign_in,
)

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
VERIFIER = "v" * 64
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest())
    .rstrip(b"=")
    .decode()
)


def ask(
    sandbox: Sandbox, tenant: str = FERNHILL.tenant_id, **form: str
) -> tuple[int, dict[str, Any]]:
    answer = secure_session(sandbox).post(
        f"{sandbox.url}/{tenant}/oauth2/v2.0/token",
        data={name: value for name, value in form.items() if value},
        timeout=10,
    )
    body: dict[str, Any] = answer.json()
    if "error" in body:
        (code,) = body["error_codes"]
        assert body["error_description"].startswith(f"AADSTS{code}: ")
        assert "\r\nTrace ID: " in body["error_description"]
        assert body["error_uri"].endswith(f"/error?code={code}")
        assert body["trace_id"] in body["error_description"]
    return answer.status_code, body


def app_only(sandbox: Sandbox, **changes: str) -> tuple[int, dict[str, Any]]:
    tenant = changes.pop("tenant", FERNHILL.tenant_id)
    form = {
        "grant_type": "client_credentials",
        "client_id": sandbox.application["client_id"],
        "client_secret": sandbox.application["client_secret"],
        "scope": GRAPH_SCOPE,
    } | changes
    return ask(sandbox, tenant, **form)


def code_for(
    sandbox: Sandbox, browser: Browser, person: Person = ANA, **changes: str
) -> str:
    url = authorize_url(
        sandbox,
        **{
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "scope": "openid profile email offline_access User.Read",
        }
        | changes,
    )
    return answered(sign_in(browser, url, person)).values["code"]


def redeem(sandbox: Sandbox, code: str, **changes: str) -> tuple[int, dict[str, Any]]:
    tenant = changes.pop("tenant", FERNHILL.tenant_id)
    form = {
        "grant_type": "authorization_code",
        "client_id": sandbox.application["client_id"],
        "client_secret": sandbox.application["client_secret"],
        "code": code,
        "redirect_uri": REDIRECT_URI,
        "code_verifier": VERIFIER,
    } | changes
    return ask(sandbox, tenant, **form)


def certificate(*, days: int = 30) -> tuple[str, str]:
    """Return a private key and its certificate, valid since yesterday."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "console")])
    start = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private.decode(), made.public_bytes(serialization.Encoding.PEM).decode()


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def id_token(
    sandbox: Sandbox, browser: Browser, person: Person = ANA, **changes: str
) -> str:
    """Sign somebody in and return the ID token."""
    _status, body = redeem(sandbox, code_for(sandbox, browser, person, **changes))
    assert "id_token" in body, body
    return str(body["id_token"])
