"""MSAL for Python: tokens by secret and certificate, sign-in, errors, challenges."""

from __future__ import annotations

import warnings
from typing import Any

import msal
import requests

from tests.witness.checks import (
    AUTHORITY,
    CLIENT_ID,
    FACTS,
    GRAPH_SCOPE,
    SECRET,
    TENANT,
    administrator,
    check,
    control,
    leave,
)

CONSENT = f"tenants/{TENANT['id']}/consents/{CLIENT_ID}"


def application(credential: Any = SECRET, **more: Any) -> Any:
    session = requests.Session()
    session.trust_env = False
    session.verify = FACTS["ca_file"]
    return msal.ConfidentialClientApplication(
        CLIENT_ID,
        authority=more.pop("authority", AUTHORITY),
        client_credential=credential,
        instance_discovery=False,
        http_client=session,
        **more,
    )


def answer(app: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = app.acquire_token_for_client([GRAPH_SCOPE], **more)
    return found


def has_token(found: dict[str, Any]) -> bool:
    if "access_token" not in found:
        raise AssertionError(found)
    return True


def refused(found: dict[str, Any], number: int) -> bool:
    return bool(found.get("error_codes") == [number])


def sign_in(authority: str = AUTHORITY) -> dict[str, Any]:
    app = application(authority=authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = app.initiate_auth_code_flow(
            ["User.Read"],
            redirect_uri=FACTS["redirect_uri"],
            response_mode="query",
        )
    values = administrator().sign_in(flow["auth_uri"])
    found: dict[str, Any] = app.acquire_token_by_auth_code_flow(flow, values)
    has_token(found)
    accounts = app.get_accounts()
    silent = app.acquire_token_silent(["User.Read"], account=accounts[0])
    return found | {"silent": silent, "again": refresh(app, found)}


def refresh(app: Any, found: dict[str, Any]) -> dict[str, Any]:
    again: dict[str, Any] = app.acquire_token_by_refresh_token(
        found["refresh_token"], ["User.Read"]
    )
    return again


def challenge() -> bool:
    app = application(client_capabilities=["CP1"])
    first = answer(app)
    control("PATCH", CONSENT, {"end_tokens": True})
    second = answer(app, claims_challenge='{"access_token":{"nbf":{"value":"1"}}}')
    return bool(
        first["expires_in"] > 80_000 and first["access_token"] != second["access_token"]
    )


def main() -> None:
    private, public = FACTS["private_key"], FACTS["certificate"]
    thumbprint = control("GET", f"applications/{CLIENT_ID}")["certificates"][0]
    check("msal: a token by secret", lambda: has_token(answer(application())))
    check("msal: the second one from its cache", lambda: _is_cached(application()))
    check(
        "msal: a token by certificate (PS256, x5t#S256)",
        lambda: has_token(
            answer(application({"private_key": private, "public_certificate": public}))
        ),
    )
    check(
        "msal: a token by certificate (RS256, x5t)",
        lambda: has_token(answer(application({"private_key": private, **thumbprint}))),
    )
    check(
        "msal: a token by a foreign issuer's assertion",
        lambda: has_token(
            answer(application({"client_assertion": lambda: FACTS["assertion"]}))
        ),
    )
    found = check("msal: a person signs in with PKCE", sign_in) or {}
    check(
        "msal: the ID token is the person's",
        lambda: (
            found["id_token_claims"]["preferred_username"]
            == TENANT["global_admin"]["upn"]
        ),
    )
    check("msal: the account is cached", lambda: has_token(found["silent"]))
    check("msal: a refresh token works", lambda: has_token(found["again"]))
    check(
        "msal: a person signs in at organizations",
        lambda: (
            sign_in(f"{FACTS['url']}/organizations")["id_token_claims"]["tid"]
            == TENANT["id"]
        ),
    )
    check(
        "msal: a wrong secret is refused",
        lambda: refused(answer(application("no")), 7000215),
    )
    control(
        "POST", f"tenants/{TENANT['id']}/conditional-access", {"for": "applications"}
    )
    check(
        "msal: Conditional Access is told",
        lambda: refused(answer(application()), 53003),
    )
    control("DELETE", f"tenants/{TENANT['id']}/conditional-access")
    check("msal: a claims challenge brings a new token", challenge)
    control("DELETE", CONSENT)
    check(
        "msal: missing consent is told", lambda: refused(answer(application()), 7000229)
    )
    control("PUT", CONSENT, {})
    leave()


def _is_cached(app: Any) -> bool:
    first = answer(app)
    return bool(answer(app)["access_token"] == first["access_token"])


if __name__ == "__main__":
    main()
