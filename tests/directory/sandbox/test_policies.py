"""Conditional Access, assignment and consent: what administrators put in the way."""

import json
from typing import Any

import pytest

from tests.cast import (
    ANA,
    ENGINEERING,
    FERNHILL,
    FRONTEND,
    GRACE,
    MAC_ADMINS,
    MILO,
    QUARREL,
)
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.directory.sandbox.conftest import (
    Graph,
    answered,
    app_token,
    authorize_url,
    consent,
    consent_url,
    shown,
    sign_in,
)
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.tokens import app_only, code_for, redeem

TENANT = f"tenants/{FERNHILL.tenant_id}"
POLICIES = f"{TENANT}/conditional-access"


def block(sandbox: Sandbox, whom: str, **values: Any) -> Any:
    return sandbox.control("POST", POLICIES, {"for": whom, **values})


def principal(sandbox: Sandbox) -> str:
    return f"{TENANT}/consents/{sandbox.application['client_id']}"


def test_f29_an_application_is_blocked_with_the_claims_it_would_need(
    sandbox: Sandbox,
) -> None:
    consent(sandbox)
    graph = Graph(sandbox, app_token(sandbox))
    policy = block(sandbox, "applications")

    status, body = app_only(sandbox)

    assert (status, body["error"]) == (400, "invalid_grant")
    assert body["error_codes"] == [53003]
    assert body["suberror"] == "message_only"
    claims = json.loads(body["claims"])["access_token"]["capolids"]
    assert claims == {"essential": True, "values": [policy["id"]]}
    # Older tokens go on for as long as they live.
    assert graph.call("GET", "/organization").status == 200
    sandbox.control("DELETE", f"{POLICIES}/{policy['id']}")
    assert app_only(sandbox)[0] == 200


def test_a_policy_can_be_for_one_application_or_one_tenant(sandbox: Sandbox) -> None:
    consent(sandbox)
    consent(sandbox, QUARREL)
    block(sandbox, "applications", client_id="another-application")
    assert app_only(sandbox)[0] == 200

    block(sandbox, "applications", client_id=sandbox.application["client_id"])

    assert app_only(sandbox)[0] == 400
    assert app_only(sandbox, tenant=QUARREL.tenant_id)[0] == 200
    assert len(sandbox.control("GET", POLICIES)["policies"]) == 2
    sandbox.control("DELETE", POLICIES)
    assert app_only(sandbox)[0] == 200


@pytest.mark.parametrize(
    ("control", "number"),
    [("block", 53003), ("compliant-device", 53000), ("known-device", 53001)],
)
def test_people_are_stopped_on_microsofts_page(
    sandbox: Sandbox, browser: Browser, control: str, number: int
) -> None:
    consent(sandbox)
    block(sandbox, "users", control=control, users=[ANA.upn])

    stopped = shown(sign_in(browser, authorize_url(sandbox), ANA))
    silent = answered(browser.open(authorize_url(sandbox, prompt="none")))
    other = sign_in(Browser(sandbox.pages_url), authorize_url(sandbox), MILO)

    assert f"AADSTS{number}" in stopped.text
    assert silent.values["error"] == "interaction_required"
    assert f"AADSTS{number}" in silent.values["error_description"]
    assert "code" in answered(other).values
    assert app_only(sandbox)[0] == 200


def test_a_code_is_worthless_once_its_person_is_blocked(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser)
    policy = block(sandbox, "users")

    status, body = redeem(sandbox, code)

    assert (status, body["error"]) == (400, "interaction_required")
    assert body["error_codes"] == [53003]
    assert policy["id"] in body["claims"]


def test_an_administrator_who_is_blocked_consents_to_nothing(
    sandbox: Sandbox, browser: Browser
) -> None:
    block(sandbox, "users")

    page = shown(sign_in(browser, consent_url(sandbox), GRACE))

    assert "AADSTS53003" in page.text


def test_a_second_proof_is_asked_for_and_remembered(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    block(sandbox, "users", control="multifactor")

    page = shown(sign_in(browser, authorize_url(sandbox), ANA))
    silent = answered(browser.open(authorize_url(sandbox, prompt="none")))
    answer = answered(browser.submit(page, press="Approve"))
    again = answered(browser.open(authorize_url(sandbox, prompt="none")))

    assert page.heading == "Approve sign in request"
    assert "AADSTS50076" in silent.values["error_description"]
    assert "code" in answer.values
    assert "code" in again.values
    assert redeem(sandbox, code_for(sandbox, browser))[0] == 200


def test_a_second_proof_cannot_be_given_before_the_first(
    sandbox: Sandbox, browser: Browser
) -> None:
    block(sandbox, "users", control="multifactor")
    page = shown(browser.open(authorize_url(sandbox)))

    answer = browser.session.post(
        f"{sandbox.pages_url}{page.forms[0].action}",
        data={"step": "multifactor"},
        timeout=10,
    )

    assert "Email or user name" in answer.text


@pytest.mark.parametrize(
    "values",
    [
        {"for": "devices"},
        {"for": "users", "control": "shout"},
        {"for": "applications", "control": "multifactor"},
        {"for": "users", "users": ["nobody@fernhill.example"]},
        {"who": "everybody"},
    ],
    ids=str,
)
def test_a_policy_that_there_is_not_is_refused(
    sandbox: Sandbox, values: dict[str, Any]
) -> None:
    assert refused(sandbox, "POST", POLICIES, values)[0] in (400, 404)
    assert sandbox.control("GET", POLICIES)["policies"] == []


def test_only_who_is_assigned_signs_in_where_assignment_is_required(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    sandbox.control("PATCH", principal(sandbox), {"assignment_required": True})
    silent = authorize_url(sandbox, prompt="none")

    stopped = shown(sign_in(browser, authorize_url(sandbox), ANA))
    silently = answered(browser.open(silent))
    assignments = f"{principal(sandbox)}/assignments"
    # Ana is in Frontend, which is in Engineering: nesting does not count.
    sandbox.control("PUT", assignments, {"principals": [ENGINEERING.object_id]})
    nested = answered(browser.open(silent)).values
    sandbox.control("PUT", assignments, {"principals": [FRONTEND.object_id]})
    by_group = answered(browser.open(silent)).values
    sandbox.control(
        "DELETE",
        assignments,
        {"principals": [FRONTEND.object_id, MAC_ADMINS.object_id]},
    )
    shown_again = sandbox.control("PUT", assignments, {"principals": [ANA.upn]})

    assert "AADSTS50105" in stopped.text
    assert "AADSTS50105" in silently.values["error_description"]
    assert nested["error"] == "interaction_required"
    assert "code" in by_group
    assert shown_again["assigned"] == sorted([ENGINEERING.object_id, ANA.object_id])
    assert "code" in answered(browser.open(silent)).values
    # Applications are not people.
    assert app_only(sandbox)[0] == 200


def test_a_code_of_somebody_who_was_assigned_is_worthless(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser)
    sandbox.control("PATCH", principal(sandbox), {"assignment_required": True})

    status, body = redeem(sandbox, code)

    assert (status, body["error"]) == (400, "invalid_grant")
    assert body["error_codes"] == [50105]


def test_people_may_be_kept_from_consenting(sandbox: Sandbox, browser: Browser) -> None:
    sandbox.control("PATCH", TENANT, {"user_consent": False})

    page = shown(sign_in(browser, authorize_url(sandbox), ANA))
    administrator = shown(
        sign_in(Browser(sandbox.pages_url), authorize_url(sandbox), GRACE)
    )

    assert page.heading == "Need admin approval"
    assert administrator.heading == "Permissions requested"


def test_f26_consent_taken_back_ends_the_code(
    sandbox: Sandbox, browser: Browser
) -> None:
    consent(sandbox)
    code = code_for(sandbox, browser)
    sandbox.control("PATCH", principal(sandbox), {"scopes": ["User.Read"]})

    _status, body = redeem(sandbox, code)

    assert body["error_codes"] == [65001]
    assert body["suberror"] == "consent_required"


def test_f26_partial_consent_gives_a_token_with_what_is_left(sandbox: Sandbox) -> None:
    consent(sandbox, roles=["User.Read.All"])

    graph = Graph(sandbox, app_token(sandbox))

    assert graph.call("GET", "/users?$top=1").status == 200
    assert graph.error("/groups") == (403, "Authorization_RequestDenied")
    sandbox.control("PATCH", principal(sandbox), {"roles": ["User.Read.All"]})
    assert Graph(sandbox, app_token(sandbox)).error("/users")[0] == 403
