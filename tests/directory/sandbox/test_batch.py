"""$batch: items by themselves, in order, charged, refused and retried singly."""

from typing import Any

import pytest

from tests.cast import ANA, MAC_ADMINS
from tests.directory.sandbox.conftest import Graph, Reply

PERSON = f"/users/{ANA.object_id}"


def get(name: str, url: str = "/organization", **more: Any) -> dict[str, Any]:
    return {"id": name, "method": "GET", "url": url, **more}


def send(graph: Graph, *items: dict[str, Any], **headers: str) -> Reply:
    return graph.call("POST", "/$batch", body={"requests": list(items)}, **headers)


def answers(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply
    return {item["id"]: item for item in reply.body["responses"]}


def statuses(reply: Reply) -> dict[str, int]:
    return {name: item["status"] for name, item in answers(reply).items()}


def test_f4_each_item_is_answered_by_itself(graph: Graph) -> None:
    reply = send(
        graph,
        get("1", "/organization?$select=id"),
        get("2", "users/ana.ruiz%40fernhill.example"),
        get("3", PERSON[:-4] + "0000"),
        {"id": "4", "method": "DELETE", "url": PERSON},
        {
            "id": "5",
            "method": "POST",
            "url": f"{PERSON}/getMemberGroups",
            "headers": {"Content-Type": "application/json"},
            "body": {"securityEnabledOnly": True},
        },
        get("6", "/nowhere"),
    )

    assert statuses(reply) == {
        "1": 200,
        "2": 200,
        "3": 404,
        "4": 403,
        "5": 200,
        "6": 400,
    }
    found = answers(reply)
    assert found["2"]["body"]["id"] == ANA.object_id
    assert found["2"]["headers"]["Content-Type"].startswith("application/json;odata")
    assert found["3"]["body"]["error"]["code"] == "Request_ResourceNotFound"
    assert found["3"]["body"]["error"]["innerError"]["request-id"]


def test_a_batch_of_twenty_is_the_largest_and_of_none_the_smallest(
    graph: Graph,
) -> None:
    most = send(graph, *(get(str(number)) for number in range(20)))
    too_many = send(graph, *(get(str(number)) for number in range(21)))

    assert set(statuses(most).values()) == {200}
    assert len(statuses(most)) == 20
    assert too_many.status == 400
    assert too_many.body["error"]["code"] == "BadRequest"
    assert answers(send(graph)) == {}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"requests": {}},
        {"requests": ["/users"]},
        {"requests": [get("1"), get("1")]},
        {"requests": [get("a"), get("A")]},
        {"requests": [get("")]},
        {"requests": [{"id": "1", "url": "/users"}]},
        {"requests": [{"id": "1", "method": "GET"}]},
        {
            "requests": [
                {"id": "1", "method": "POST", "url": f"{PERSON}/getMemberGroups"}
            ]
        },
        {
            "requests": [
                {
                    "id": "1",
                    "method": "POST",
                    "url": f"{PERSON}/getMemberGroups",
                    "body": {"securityEnabledOnly": True},
                }
            ]
        },
        {"requests": [get("1", dependsOn=["2"])]},
        {"requests": [get("1", dependsOn=["1"])]},
        {
            "requests": [
                get("1"),
                get("2", dependsOn=["1"]),
                get("3", dependsOn=["2"]),
                get("4", dependsOn=["1"]),
            ]
        },
    ],
    ids=str,
)
def test_a_batch_that_is_none_is_refused_whole(graph: Graph, body: Any) -> None:
    reply = graph.call("POST", "/$batch", body=body)

    assert (reply.status, reply.body["error"]["code"]) == (400, "BadRequest")
    (entry,) = graph.sandbox.control("GET", "journal?plane=graph")["entries"]
    assert entry["items"] == []


def test_what_depends_on_a_failed_item_fails_with_424(graph: Graph) -> None:
    serial = send(
        graph,
        get("1"),
        get("2", "/users/nobody@fernhill.example", dependsOn=["1"]),
        get("3", dependsOn=["2"]),
        get("4", dependsOn=["3"]),
    )
    shared = send(
        graph,
        get("b", dependsOn=["A"]),
        get("a", "/users/nobody@fernhill.example"),
        get("c", PERSON, dependsOn=["a"]),
        get("d"),
    )
    sound = send(graph, get("1"), get("2", PERSON, dependsOn=["1"]))

    assert statuses(serial) == {"1": 200, "2": 404, "3": 424, "4": 424}
    assert answers(serial)["3"]["body"]["error"]["code"]
    assert statuses(shared) == {"b": 424, "a": 404, "c": 424, "d": 200}
    assert statuses(sound) == {"1": 200, "2": 200}


def test_consistency_level_belongs_to_the_item(graph: Graph) -> None:
    url = "/users/$count?$filter=endsWith(mail,'partner.example')"
    eventual = {"headers": {"consistencylevel": "eventual"}}

    reply = send(
        graph,
        get("without", url),
        get("with", "/users?$count=true&$top=1&$select=id", **eventual),
        get("alone", "/users/$count", **eventual),
        ConsistencyLevel="eventual",
    )

    assert statuses(reply) == {"without": 400, "with": 200, "alone": 200}
    assert answers(reply)["with"]["body"]["@odata.count"] == 1000
    assert answers(reply)["alone"]["body"] == "1000"
    assert answers(reply)["alone"]["headers"]["Content-Type"] == "text/plain"


@pytest.mark.parametrize(
    "item",
    [
        {
            "id": "1",
            "method": "POST",
            "url": "/$batch",
            "headers": {"Content-Type": "application/json"},
            "body": {"requests": []},
        },
        get("1", "https://graph.microsoft.com/v1.0/users"),
        get("1", "//evil.example/users"),
    ],
    ids=["a batch", "an absolute address", "another host"],
)
def test_a_batch_holds_no_batch_and_no_address_elsewhere(
    graph: Graph, item: dict[str, Any]
) -> None:
    reply = send(graph, item)

    assert statuses(reply) == {"1": 400}
    assert len(graph.sandbox.control("GET", "journal?refused=true")["entries"]) == 1


def test_items_are_charged_one_by_one_and_throttled_one_by_one(graph: Graph) -> None:
    graph.sandbox.control("PATCH", "behavior", {"tenant_unit_limit": 8})
    members = f"/groups/{MAC_ADMINS.object_id}/members"

    reply = send(graph, get("1", members), get("2", members), get("3", members))

    assert statuses(reply) == {"1": 200, "2": 200, "3": 429}
    found = answers(reply)
    assert {item["headers"]["x-ms-resource-unit"] for item in found.values()} == {"3"}
    assert int(found["3"]["headers"]["Retry-After"]) >= 1
    assert found["3"]["body"]["error"]["code"] == "TooManyRequests"
    assert "Retry-After" not in reply.headers
    (entry,) = graph.sandbox.control("GET", "journal?plane=graph")["entries"]
    assert entry["units"] == 9
    assert [item["units"] for item in entry["items"]] == [3, 3, 3]
    assert entry["items"][0]["template"] == "/v1.0/groups/{id}/members"


def test_answers_can_come_in_another_order(graph: Graph) -> None:
    graph.sandbox.control("PATCH", "behavior", {"batch_order": "reversed"})

    reply = send(graph, get("1"), get("2", PERSON), get("3"))

    assert [item["id"] for item in reply.body["responses"]] == ["3", "2", "1"]
    assert answers(reply)["2"]["body"]["id"] == ANA.object_id


def test_a_batch_needs_a_token_of_its_own(graph: Graph) -> None:
    stranger = Graph(graph.sandbox, "")
    smuggled = {"Authorization": graph.session.headers["Authorization"]}

    reply = send(stranger, get("1", headers=smuggled))

    assert reply.status == 401
    assert send(graph, get("1", headers={"Authorization": "Bearer x"})).status == 200


def test_an_item_is_asked_in_the_name_of_the_batch(graph: Graph) -> None:
    item = get("1") | {"headers": {"Authorization": "Bearer nobody"}}

    assert statuses(send(graph, item)) == {"1": 200}


def test_each_item_has_its_own_request_id(graph: Graph) -> None:
    nobody = "/users/nobody@fernhill.example"
    mine = {"headers": {"client-request-id": "mine-1"}}

    reply = send(graph, get("1", nobody, **mine), get("2", nobody))

    first, second = (
        answers(reply)[name]["body"]["error"]["innerError"] for name in ("1", "2")
    )
    assert first["client-request-id"] == "mine-1"
    assert first["request-id"] != second["request-id"]
    assert reply.headers["request-id"]
