"""ID tokens: what they say of people, and the forgeries that tests order."""

from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from tests.cast import (
    ANA,
    CONSUMERS,
    CONTRACTORS_DESIGN,
    DAN,
    FERNHILL,
    FRONTEND,
    GRACE,
    MAC_ADMINS,
    MILO,
    PASSWORD,
    PAT,
    PIA,
    QUARREL,
    STUDIO,
)
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    answered,
    authorize_url,
    consent,
    secure_session,
    shown,
)
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.tokens import (
    CHALLENGE,
    app_only,
    claims_of,
    code_for,
    id_token,
    redeem,
)

TENANT = f"tenants/{FERNHILL.tenant_id}"


def register(sandbox: Sandbox, **values: Any) -> Any:
    client_id = sandbox.application["client_id"]
    return sandbox.control("PATCH", f"applications/{client_id}", values)


def test_the_header_names_the_key_and_nothing_else(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)

    header = jwt.get_unverified_header(id_token(sandbox, browser))

    assert set(header) == {"typ", "alg", "kid"}
    assert header["alg"] == "RS256"


# What the registration may ask for in addition.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("upn", ANA.upn),
        ("email", ANA.mail),
        ("given_name", ANA.given_name),
        ("family_name", ANA.surname),
        ("acct", 0),
        ("xms_edov", True),
        ("verified_primary_email", [ANA.mail]),
        ("tenant_region_scope", "EU"),
    ],
)
def test_optional_claims_come_when_the_registration_asks(
    sandbox: Sandbox, browser: Browser, name: str, value: Any
) -> None:
    consent(sandbox)
    plain = claims_of(id_token(sandbox, browser, scope="openid profile"))
    register(sandbox, optional_claims=[name])

    asked = claims_of(id_token(sandbox, browser, scope="openid profile"))

    assert name not in plain
    assert asked[name] == value


def test_the_time_of_signing_in_and_a_hint_can_be_asked_for(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    register(sandbox, optional_claims=["auth_time", "login_hint", "ctry"])
    id_token(sandbox, browser)
    sandbox.control("PUT", "clock", {"offset_seconds": 1800})

    claims = claims_of(id_token(sandbox, browser))

    assert claims["iat"] - claims["auth_time"] in range(1795, 1810)
    assert claims["login_hint"]
    assert "ctry" not in claims


def test_an_optional_claim_that_there_is_not_is_refused(sandbox: Sandbox) -> None:
    client_id = sandbox.application["client_id"]

    for values in (
        {"optional_claims": ["shoe_size"]},
        {"group_claims": "Everything"},
        {"audience": "Everybody"},
        {"audience": "AzureADMyOrg"},
    ):
        assert refused(sandbox, "PATCH", f"applications/{client_id}", values)[0] == 400


# Guests and personal accounts.


def test_a25_a_guest_is_told_by_who_vouches_for_them(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    register(sandbox, optional_claims=["upn", "acct", "email"])

    guest = claims_of(id_token(sandbox, browser, PAT))
    member = claims_of(id_token(sandbox, Browser(sandbox.pages_url), MILO))

    assert guest["oid"] == PAT.object_id
    assert guest["tid"] == FERNHILL.tenant_id
    assert guest["idp"].startswith("https://sts.windows.net/")
    assert (guest["acct"], member["acct"]) == (1, 0)
    assert guest["preferred_username"] == guest["email"] == PAT.mail
    assert "upn" not in guest
    assert "idp" not in member


@pytest.mark.parametrize(
    ("mail", "idp"),
    [
        (f"guest@{QUARREL.domain}", f"https://sts.windows.net/{QUARREL.tenant_id}/"),
        (PIA.upn, "live.com"),
    ],
    ids=["another tenant", "a personal account"],
)
def test_a_guests_home_is_named(
    sandbox: Sandbox, browser: Browser, mail: str, idp: str
) -> None:
    consent(sandbox)
    sandbox.control(
        "POST",
        f"{TENANT}/users",
        {
            "displayName": "A Guest",
            "userPrincipalName": f"guest#EXT#@{FERNHILL.initial_domain}",
            "mail": mail,
            "userType": "Guest",
        },
    )
    url = authorize_url(sandbox, code_challenge=CHALLENGE, code_challenge_method="S256")

    answer = answered(browser.sign_in(url, upn=mail, password=PASSWORD))
    claims = claims_of(redeem(sandbox, answer.values["code"])[1]["id_token"])

    assert claims["tid"] == FERNHILL.tenant_id
    assert claims["idp"] == idp


@pytest.mark.parametrize("where", ["organizations", "common", FERNHILL.tenant_id])
def test_a17_a_personal_account_is_no_account_of_an_organization(
    sandbox: Sandbox, browser: Browser, where: str
) -> None:
    page = shown(browser.open(authorize_url(sandbox, tenant=where)))

    told = shown(browser.submit(page, press="Next", username=PIA.upn))

    assert "AADSTS500200" in told.text


def test_a17_a_registration_for_everybody_gets_tokens_of_personal_accounts(
    sandbox: Sandbox, browser: Browser
) -> None:
    register(sandbox, audience="AzureADandPersonalMicrosoftAccount")
    url = authorize_url(
        sandbox,
        tenant="common",
        code_challenge=CHALLENGE,
        code_challenge_method="S256",
    )

    page = shown(browser.sign_in(url, upn=PIA.upn, password=PASSWORD))
    answer = answered(browser.submit(page, press="Accept"))
    _status, body = redeem(sandbox, answer.values["code"], tenant="common")

    claims = claims_of(body["id_token"])
    assert claims["tid"] == CONSUMERS.tenant_id
    assert claims["iss"] == f"{sandbox.url}/{CONSUMERS.tenant_id}/v2.0"
    assert claims["preferred_username"] == PIA.upn
    keys = secure_session(sandbox).get(f"{sandbox.url}/common/discovery/v2.0/keys")
    issuers = {key["kid"]: key["issuer"] for key in keys.json()["keys"]}
    assert issuers[jwt.get_unverified_header(body["id_token"])["kid"]] == claims["iss"]
    assert (
        Graph(sandbox, body["access_token"]).get("/me")["displayName"]
        == PIA.display_name
    )


def test_consumers_are_no_place_for_work_accounts(
    sandbox: Sandbox, browser: Browser
) -> None:
    url = authorize_url(sandbox, tenant="consumers")
    unserved = shown(browser.open(url))
    register(sandbox, audience="AzureADandPersonalMicrosoftAccount")
    page = shown(browser.open(url))
    nobody = shown(browser.submit(page, press="Next", username="no@outlook.example"))

    assert "AADSTS700016" in unserved.text
    assert page.heading == "Sign in"
    assert "AADSTS50034" in nobody.text


# Groups.


def test_groups_are_named_as_the_registration_asks(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    team = CONTRACTORS_DESIGN.object_id
    sandbox.control("PUT", f"{TENANT}/groups/{team}/members/{ANA.upn}")

    def groups(kind: str) -> set[str]:
        register(sandbox, group_claims=kind)
        return set(claims_of(id_token(sandbox, browser)).get("groups", ()))

    assert groups("None") == set()
    security = groups("SecurityGroup")
    assert {FRONTEND.object_id, STUDIO.object_id} <= security
    assert team not in security
    assert security | {team} <= groups("All")
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "PUT",
        f"{TENANT}/consents/{client_id}/assignments",
        {"principals": ["Studio", MAC_ADMINS.object_id]},
    )
    assert groups("ApplicationGroup") == {STUDIO.object_id}


def test_roles_are_named_by_their_templates(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    register(sandbox, group_claims="DirectoryRole")

    claims = claims_of(id_token(sandbox, browser, GRACE))

    assert "62e90394-69f5-4237-9190-012177145e10" in claims["wids"]
    assert "groups" not in claims


def test_a27_a28_too_many_groups_leave_an_address_of_somebody_else(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    register(sandbox, group_claims="SecurityGroup")
    whole = claims_of(id_token(sandbox, browser))["groups"]
    sandbox.control("PATCH", "behavior", {"group_claim_limit": len(whole)})
    at_the_limit = claims_of(id_token(sandbox, browser))
    sandbox.control("PATCH", "behavior", {"group_claim_limit": len(whole) - 1})

    beyond = claims_of(id_token(sandbox, browser))

    assert at_the_limit["groups"] == whole
    assert "groups" not in beyond
    assert beyond["_claim_names"] == {"groups": "src1"}
    endpoint = beyond["_claim_sources"]["src1"]["endpoint"]
    assert endpoint == (
        f"https://graph.windows.net/{FERNHILL.tenant_id}/users/{ANA.object_id}"
        "/getMemberObjects"
    )


def test_two_hundred_groups_fit_into_a_token(
    sandbox: Sandbox, browser: Browser
) -> None:
    assert sandbox.control("GET", "behavior")["group_claim_limit"] == 200


# Forgeries.


@pytest.mark.parametrize(
    ("signed_by", "algorithm"),
    [
        ("published", "RS256"),
        ("unknown", "RS256"),
        ("none", "none"),
        ("hmac", "HS256"),
    ],
)
def test_the_next_id_token_can_be_forged(
    sandbox: Sandbox, browser: Browser, signed_by: str, algorithm: str
) -> None:
    consent(sandbox)
    sandbox.control(
        "POST",
        "forge",
        {
            "claims": {"aud": "somebody else", "extra": [1]},
            "remove": ["oid"],
            "header": {"jku": "https://evil.example/"},
            "signed_by": signed_by,
            "shift": -7200,
        },
    )

    def redeemed() -> str:
        token: str = redeem(sandbox, code_for(sandbox, browser))[1]["id_token"]
        return token

    forged, honest = redeemed(), redeemed()

    header = jwt.get_unverified_header(forged)
    claims = jwt.decode(forged, options={"verify_signature": False})
    assert header["alg"] == algorithm
    assert header["jku"] == "https://evil.example/"
    assert claims["aud"] == "somebody else"
    assert claims["extra"] == [1]
    assert "oid" not in claims
    assert claims["exp"] < datetime.now(UTC).timestamp()
    real = jwt.decode(honest, options={"verify_signature": False})
    assert real["aud"] == sandbox.application["client_id"]


def test_a_token_signed_by_the_published_key_verifies_and_by_another_does_not(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    keys = jwt.PyJWKSet.from_dict(
        secure_session(sandbox)
        .get(f"{sandbox.url}/{FERNHILL.tenant_id}/discovery/v2.0/keys")
        .json()
    )
    client_id = sandbox.application["client_id"]
    honest = redeem(sandbox, code_for(sandbox, browser))[1]["id_token"]
    sandbox.control("POST", "forge", {"signed_by": "unknown"})
    forged = redeem(sandbox, code_for(sandbox, browser))[1]["id_token"]

    key = keys[jwt.get_unverified_header(honest)["kid"]]
    assert jwt.decode(honest, key, algorithms=["RS256"], audience=client_id)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, key, algorithms=["RS256"], audience=client_id)


def test_a_forgery_can_be_of_version_1(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    sandbox.control("POST", "forge", {"version": "1.0"})

    claims = claims_of(id_token(sandbox, browser))

    assert claims["iss"] == f"https://sts.windows.net/{FERNHILL.tenant_id}/"
    assert claims["ver"] == "1.0"
    assert claims["upn"] == claims["unique_name"] == ANA.upn


@pytest.mark.parametrize(
    ("mangle", "parts"),
    [("truncated", 3), ("extra-part", 4), ("signature", 3), ("payload", 3)],
)
def test_a13_a_forgery_can_be_broken(
    sandbox: Sandbox, browser: Browser, mangle: str, parts: int
) -> None:
    consent(sandbox)
    key = jwt.PyJWK.from_dict(
        secure_session(sandbox)
        .get(f"{sandbox.url}/{FERNHILL.tenant_id}/discovery/v2.0/keys")
        .json()["keys"][0]
    )
    sandbox.control("POST", "forge", {"mangle": mangle})

    token = id_token(sandbox, browser)

    assert len(token.split(".")) == parts
    with pytest.raises(jwt.InvalidTokenError):
        jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=sandbox.application["client_id"],
        )


def test_a21_the_access_token_or_any_text_can_stand_in_its_place(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sandbox.control("POST", "forge", {"access_token": True})
    sandbox.control("POST", "forge", {"raw": "anything at all"})

    _status, first = redeem(sandbox, code_for(sandbox, browser))
    second = id_token(sandbox, browser)

    assert first["id_token"] == first["access_token"]
    assert second == "anything at all"


def test_a_retired_key_can_sign(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    (old,) = sandbox.control("GET", "keys")["kids"]
    sandbox.control("POST", "keys/rotate", {"keep_old": False})
    sandbox.control("POST", "forge", {"signed_by": "retired"})

    header = jwt.get_unverified_header(id_token(sandbox, browser))

    assert header["kid"] == old
    assert old not in sandbox.control("GET", "keys")["kids"]


def test_a_forgery_can_be_ordered_several_times(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    ordered = sandbox.control("POST", "forge", {"claims": {"oid": "x"}, "times": 2})

    found = [claims_of(id_token(sandbox, browser))["oid"] for _ in range(3)]

    assert ordered == {"waiting": 2}
    assert found == ["x", "x", ANA.object_id]


@pytest.mark.parametrize(
    "order",
    [
        {"claim": {}},
        {"mangle": "folded"},
        {"version": "3.0"},
        {"signed_by": "no-such-key"},
        {"signed_by": "retired"},
        {"shift": "long ago"},
        {"times": "often"},
    ],
    ids=str,
)
def test_a_forgery_that_cannot_be_made_is_refused(
    sandbox: Sandbox, order: dict[str, Any]
) -> None:
    assert refused(sandbox, "POST", "forge", order)[0] == 400
    consent(sandbox)
    assert app_only(sandbox)[0] == 200


def test_a_disabled_person_gets_no_id_token(sandbox: Sandbox, browser: Browser) -> None:
    consent(sandbox)
    url = authorize_url(sandbox)

    page = shown(browser.sign_in(url, upn=DAN.upn, password=PASSWORD))

    assert "AADSTS50057" in page.text
