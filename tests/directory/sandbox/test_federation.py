"""Federated identity credentials: tokens of a foreign issuer in place of a secret."""

from typing import Any

import msal
import pytest

from tests.cast import FERNHILL
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import (
    GRAPH_SCOPE,
    consent,
    secure_session,
)
from tests.directory.sandbox.test_control import refused
from tests.directory.sandbox.tokens import ASSERTION_TYPE, app_only

CLUSTER = "https://cluster.example/issuer"
WORKLOAD = "system:serviceaccount:console:worker"
AUDIENCE = "api://AzureADTokenExchange"


def trust(sandbox: Sandbox, **values: Any) -> str:
    client_id = sandbox.application["client_id"]
    made = sandbox.control(
        "POST",
        f"applications/{client_id}/federated",
        {"issuer": CLUSTER, "subject": WORKLOAD} | values,
    )
    return str(made["key_id"])


def assertion(sandbox: Sandbox, **values: Any) -> str:
    made = sandbox.control(
        "POST",
        "issuers/assertion",
        {"issuer": CLUSTER, "subject": WORKLOAD} | values,
    )
    return str(made["assertion"])


def ask(sandbox: Sandbox, token: str) -> tuple[int, Any]:
    return app_only(
        sandbox,
        client_secret="",
        client_assertion=token,
        client_assertion_type=ASSERTION_TYPE,
    )


@pytest.fixture
def cluster(sandbox: Sandbox) -> Sandbox:
    consent(sandbox)
    sandbox.control("POST", "issuers", {"issuer": CLUSTER})
    return sandbox


def test_a_trusted_token_of_a_foreign_issuer_is_credential_enough(
    cluster: Sandbox,
) -> None:
    trust(cluster)

    app = msal.ConfidentialClientApplication(
        cluster.application["client_id"],
        authority=f"{cluster.url}/{FERNHILL.tenant_id}",
        client_credential={"client_assertion": lambda: assertion(cluster)},
        instance_discovery=False,
        http_client=secure_session(cluster),
    )
    result = app.acquire_token_for_client([GRAPH_SCOPE])

    assert "access_token" in result, result


@pytest.mark.parametrize(
    ("presented", "number"),
    [
        ({"subject": "system:serviceaccount:other:worker"}, 700213),
        ({"subject": WORKLOAD.upper()}, 7002138),
        ({"audience": "api://somewhere-else"}, 700212),
        ({"lifetime": -900}, 700024),
    ],
    ids=["subject", "subject in another case", "audience", "expired"],
)
def test_what_does_not_match_to_the_letter_is_refused(
    cluster: Sandbox, presented: dict[str, Any], number: int
) -> None:
    trust(cluster)

    status, body = ask(cluster, assertion(cluster, **presented))

    assert (status, body["error"]) == (401, "invalid_client")
    assert body["error_codes"] == [number]


def test_an_issuer_that_nobody_trusts_is_refused(cluster: Sandbox) -> None:
    token = assertion(cluster)
    unregistered = ask(cluster, token)[1]
    key_id = trust(cluster)
    trusted = ask(cluster, token)[0]
    client_id = cluster.application["client_id"]

    cluster.control("DELETE", f"applications/{client_id}/federated/{key_id}")

    assert unregistered["error_codes"] == [700211]
    assert trusted == 200
    assert ask(cluster, token)[1]["error_codes"] == [700211]
    assert (
        refused(cluster, "DELETE", f"applications/{client_id}/federated/{key_id}")[0]
        == 404
    )


def test_a_token_signed_by_another_key_is_refused(cluster: Sandbox) -> None:
    other = cluster.control("POST", "issuers", {"issuer": "https://other.example"})
    trust(cluster, jwks=other["jwks"])

    assert ask(cluster, assertion(cluster))[1]["error_codes"] == [50013]


def test_a_credential_names_an_audience_of_its_own(cluster: Sandbox) -> None:
    trust(cluster, audiences=["api://console"])

    assert ask(cluster, assertion(cluster))[1]["error_codes"] == [700212]
    assert ask(cluster, assertion(cluster, audience="api://console"))[0] == 200


def test_a_secret_goes_on_beside_it(cluster: Sandbox) -> None:
    trust(cluster)

    assert app_only(cluster)[0] == 200
    listed = cluster.control("GET", f"applications/{cluster.application['client_id']}")[
        "federated"
    ]
    assert [(each["issuer"], each["subject"]) for each in listed] == [
        (CLUSTER, WORKLOAD)
    ]


def test_an_issuer_that_is_not_played_brings_its_own_keys(sandbox: Sandbox) -> None:
    client_id = sandbox.application["client_id"]

    assert (
        refused(
            sandbox,
            "POST",
            f"applications/{client_id}/federated",
            {"issuer": "https://unknown.example", "subject": "x"},
        )[0]
        == 400
    )
    assert (
        refused(
            sandbox, "POST", "issuers/assertion", {"issuer": CLUSTER, "subject": "x"}
        )[0]
        == 404
    )
