"""Resource units: what a call costs, when it is refused, and what it is told."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from directory.sandbox.throttle import limit_for
from tests.cast import ANA, MAC_ADMINS, QUARREL, STUDIO
from tests.conftest import Sandbox
from tests.directory.sandbox.conftest import Graph, Reply, app_token, consent

ONE_UNIT = "/organization"
PERSON = f"/users/{ANA.object_id}"


def throttle(sandbox: Sandbox, **switches: Any) -> None:
    """Switch, and stop the clock: buckets drain between calls otherwise."""
    sandbox.control("PUT", "clock", {"stopped": True})
    sandbox.control("PATCH", "behavior", switches)


def units(reply: Reply) -> str:
    return str(reply.headers["x-ms-resource-unit"])


# https://learn.microsoft.com/graph/throttling-limits#identity-and-access-service-limits
@pytest.mark.parametrize(
    ("users", "limit"), [(49, 3_500), (50, 5_000), (500, 5_000), (501, 8_000)]
)
def test_the_limit_grows_with_the_tenant(users: int, limit: int) -> None:
    assert limit_for(users) == limit


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("/users", "2"),
        ("/users?$select=id", "1"),
        ("/users?$top=19", "1"),
        ("/users?$top=20", "2"),
        ("/users?$select=id&$top=5", "1"),
        ("/users/delta", "1"),
        ("/groups", "1"),
        ("/groups/delta", "1"),
        (f"/groups/{STUDIO.object_id}/members", "3"),
        (f"/groups/{STUDIO.object_id}/transitiveMembers", "5"),
        (f"/groups/{STUDIO.object_id}/transitiveMembers?$top=5&$select=id", "3"),
        (f"{PERSON}/transitiveMemberOf", "2"),
        ("/users/nobody@fernhill.example", "1"),
    ],
)
def test_reads_cost_what_microsoft_says(graph: Graph, path: str, cost: str) -> None:
    assert units(graph.call("GET", path)) == cost


def test_actions_cost_what_microsoft_says(graph: Graph) -> None:
    held = graph.call(
        "POST", f"{PERSON}/getMemberGroups", body={"securityEnabledOnly": False}
    )
    checked = graph.call(
        "POST", f"{PERSON}/checkMemberGroups", body={"groupIds": [STUDIO.object_id]}
    )

    assert (units(held), units(checked)) == ("2", "4")


def test_f1_a_call_beyond_the_limit_is_told_how_long_to_wait(graph: Graph) -> None:
    throttle(graph.sandbox, tenant_unit_limit=5)

    replies = [graph.call("GET", ONE_UNIT) for _ in range(6)]

    assert [reply.status for reply in replies] == [200] * 5 + [429]
    refused = replies[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    assert refused.headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    scope = refused.headers["x-ms-throttle-scope"].split("/")
    client_id = graph.sandbox.application["client_id"]
    assert scope[:3] == ["Tenant_Application", "ReadWrite", client_id]
    error = refused.body["error"]
    assert error["code"] == "TooManyRequests"
    assert error["innerError"]["status"] == "429"
    assert error["innerError"]["request-id"] == refused.headers["request-id"]


def test_waiting_as_long_as_told_is_enough(graph: Graph) -> None:
    throttle(graph.sandbox, tenant_unit_limit=5)
    refused = [graph.call("GET", ONE_UNIT) for _ in range(6)][-1]

    graph.sandbox.control(
        "PUT", "clock", {"offset_seconds": int(refused.headers["Retry-After"])}
    )

    assert graph.call("GET", ONE_UNIT).status == 200


def test_refused_calls_count_too(graph: Graph) -> None:
    throttle(graph.sandbox, tenant_unit_limit=10)

    waits = [
        int(reply.headers["Retry-After"])
        for reply in (graph.call("GET", ONE_UNIT) for _ in range(14))
        if reply.status == 429
    ]

    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


def test_f2_a_time_to_wait_can_be_a_date_or_a_fraction(graph: Graph) -> None:
    def refusal(kind: str) -> Reply:
        throttle(graph.sandbox, tenant_unit_limit=1, retry_after=kind)
        return [graph.call("GET", ONE_UNIT) for _ in range(3)][-1]

    date = parsedate_to_datetime(refusal("date").headers["Retry-After"])
    fraction = refusal("fraction").headers["Retry-After"]

    assert 0 < (date - datetime.now(UTC)).total_seconds() < 20
    assert 0 < float(fraction) < 20
    assert "." in fraction


def test_f3_a_refusal_can_name_no_time(graph: Graph) -> None:
    throttle(graph.sandbox, tenant_unit_limit=1, retry_after="none")

    refused = [graph.call("GET", ONE_UNIT) for _ in range(3)][-1]

    assert refused.status == 429
    assert "Retry-After" not in refused.headers


def test_usage_is_told_from_eight_tenths_on(graph: Graph) -> None:
    throttle(graph.sandbox, tenant_unit_limit=20)

    told = [
        graph.call("GET", ONE_UNIT).headers.get("x-ms-throttle-limit-percentage")
        for _ in range(60)
    ]

    assert told[:14] == [None] * 14
    values = [float(value) for value in told if value]
    assert 0.8 <= values[0] < 0.9
    assert max(values) > 1.7
    assert max(values) <= 1.8


def test_low_priority_is_refused_first_and_high_priority_last(graph: Graph) -> None:
    def refused_at(priority: str) -> int:
        throttle(graph.sandbox, tenant_unit_limit=40)
        graph.sandbox.control("PUT", "clock", {"offset_seconds": next(later)})
        for number in range(60):
            reply = graph.call("GET", ONE_UNIT, x_ms_throttle_priority=priority)
            if reply.status == 429:
                return number
        raise AssertionError("never refused")

    later = iter((100, 200, 300, 400))

    low, normal, high, unknown = map(refused_at, ("low", "normal", "high", "??"))

    assert low < normal < high
    assert unknown == normal


def test_one_application_has_a_limit_over_all_tenants(
    sandbox: Sandbox, graph: Graph
) -> None:
    consent(sandbox, QUARREL)
    quarrel = Graph(sandbox, app_token(sandbox, QUARREL))
    throttle(sandbox, application_unit_limit=4)

    statuses = [each.call("GET", ONE_UNIT).status for each in (graph, quarrel) * 3]
    refused = quarrel.call("GET", ONE_UNIT)

    assert statuses == [200] * 4 + [429] * 2
    client_id = sandbox.application["client_id"]
    scope = refused.headers["x-ms-throttle-scope"]
    assert scope == f"Application/ReadWrite/{client_id}"


def test_another_tenant_has_units_of_its_own(sandbox: Sandbox, graph: Graph) -> None:
    consent(sandbox, QUARREL)
    quarrel = Graph(sandbox, app_token(sandbox, QUARREL))
    throttle(sandbox, tenant_unit_limit=1)

    first = [graph.call("GET", ONE_UNIT).status for _ in range(2)]

    assert first == [200, 429]
    assert quarrel.call("GET", ONE_UNIT).status == 200


def test_throttling_can_be_switched_off(graph: Graph) -> None:
    throttle(graph.sandbox, tenant_unit_limit=1, throttling=False)

    replies = [graph.call("GET", f"/groups/{MAC_ADMINS.object_id}") for _ in range(5)]

    assert {reply.status for reply in replies} == {200}
    assert not any("x-ms-throttle-limit-percentage" in r.headers for r in replies)


def test_a_refused_token_costs_nothing(sandbox: Sandbox, graph: Graph) -> None:
    throttle(sandbox, tenant_unit_limit=1)
    for _ in range(3):
        assert Graph(sandbox, "nonsense").call("GET", ONE_UNIT).status == 401

    assert graph.call("GET", ONE_UNIT).status == 200
