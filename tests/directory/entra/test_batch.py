"""Several look-ups in one request, and what each comes to."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import responses

from directory.entra import GraphClient, TransferStats, errors
from tests.directory.entra.fakes import (
    GRAPH,
    NOW,
    TOKEN,
    FakeTime,
    FixedTokens,
    graph_client,
    graph_failure,
    session_for,
)

BATCH = f"{GRAPH}/$batch"


def person(number: int) -> str:
    return f"aaaaaaaa-0000-4000-8000-{number:012d}"


def group(number: int) -> str:
    return f"bbbbbbbb-0000-4000-8000-{number:012d}"


Reply = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def ok(body: Any, **more: Any) -> Reply:
    return lambda item: {"id": item["id"], "status": 200, "body": body, **more}


def failed(
    status: int, code: str = "Whatever", headers: Mapping[str, str] | None = None
) -> Reply:
    return lambda item: {
        "id": item["id"],
        "status": status,
        "headers": headers or {},
        "body": graph_failure(code),
    }


def user_of(item: Mapping[str, Any]) -> str:
    return str(item["url"]).split("/")[2].partition("?")[0]


def everybody(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"id": item["id"], "status": 200, "body": {"id": user_of(item)}}


@dataclass
class FakeGraph:
    """Answers batches item by item; what is not named is found."""

    replies: dict[str, Reply] = field(default_factory=dict)
    order: Callable[[Sequence[Any]], Sequence[Any]] = list
    batches: list[list[dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        responses.add_callback(
            responses.POST, BATCH, self._answer, content_type="application/json"
        )

    def _answer(
        self, request: requests.PreparedRequest
    ) -> tuple[int, dict[str, str], str]:
        items = json.loads(request.body or b"")["requests"]
        self.batches.append(items)
        replies = [self.replies.get(user_of(item), everybody)(item) for item in items]
        found = [reply for reply in replies if reply is not None]
        return 200, {}, json.dumps({"responses": self.order(found)})


def singly(object_id: str, **answer: Any) -> None:
    responses.get(f"{GRAPH}/users/{object_id}", **answer)


def single_calls() -> list[str]:
    return [
        str(call.request.url).partition("?")[0].rpartition("/")[2]
        for call in responses.calls
        if call.request.url != BATCH
    ]


@responses.activate
def test_people_are_looked_up_twenty_at_a_time_and_each_once() -> None:
    graph = FakeGraph(order=lambda found: found[::-1])
    wanted = [person(n) for n in range(45)]

    found = graph_client().look_up_users(
        [*wanted, wanted[0].upper()], properties=["department"]
    )

    assert [len(items) for items in graph.batches] == [20, 20, 5]
    assert [answer.value.id for answer in found.values() if answer.value] == wanted
    first = graph.batches[0][0]
    assert first["method"] == "GET"
    assert first["url"].startswith(f"/users/{wanted[0]}?$select=id,")
    assert first["url"].endswith(",department")
    assert first["headers"] == {"x-ms-throttle-priority": "normal"}


@responses.activate
def test_groups_are_looked_up_the_same_way() -> None:
    graph = FakeGraph()

    found = graph_client().look_up_groups([group(1), group(2)])

    assert [answer.value.id for answer in found.values() if answer.value] == [
        group(1),
        group(2),
    ]
    assert graph.batches[0][1]["url"].startswith(f"/groups/{group(2)}?$select=id,")


@responses.activate
def test_nobody_needs_no_request() -> None:
    assert graph_client().look_up_users([]) == {}
    assert graph_client().confirm_memberships({}) == {}


@pytest.mark.parametrize(
    "call",
    [
        lambda graph: graph.look_up_users(["ada@fernhill.example"]),
        lambda graph: graph.look_up_groups(["Design"]),
        lambda graph: graph.groups_of_users(["ada@fernhill.example"]),
        lambda graph: graph.confirm_memberships({person(1): ["Design"]}),
        lambda graph: graph.confirm_memberships({"ada": [group(1)]}),
    ],
)
def test_what_is_no_object_id_is_a_mistake_of_the_caller(
    call: Callable[[GraphClient], object],
) -> None:
    with pytest.raises(ValueError, match="GUID"):
        call(graph_client())


# F4


@responses.activate
def test_f4_throttled_and_failed_items_are_asked_again_singly() -> None:
    time, stats = FakeTime(), TransferStats()
    date = format_datetime(NOW + timedelta(seconds=9), usegmt=True)
    FakeGraph(
        {
            person(1): failed(429, headers={"Retry-After": "4"}),
            person(2): failed(404, "Request_ResourceNotFound"),
            person(3): failed(503),
            person(4): failed(429, headers={"Retry-After": date}),
        }
    )
    for number in (1, 3, 4):
        singly(person(number), json={"id": person(number)})

    found = graph_client(session=session_for(time=time, observer=stats)).look_up_users(
        person(n) for n in range(6)
    )

    gone = [key for key, answer in found.items() if answer.gone]
    there = [key for key, answer in found.items() if answer.value is not None]
    assert gone == [person(2)]
    assert there == [person(n) for n in (0, 1, 3, 4, 5)]
    assert single_calls() == [person(1), person(3), person(4)]
    # Once, as long as the most patient of them asks for.
    assert time.slept == [9.0]
    assert stats.waits == 1


@responses.activate
def test_f4_gone_is_what_404_says_and_nothing_else() -> None:
    FakeGraph(
        {
            person(1): failed(404, "Request_ResourceNotFound"),
            person(2): failed(403, "Authorization_RequestDenied"),
            person(3): failed(400, "Request_BadRequest"),
            person(4): ok(None),
            person(5): ok({"id": person(6)}),
            person(6): lambda item: {
                "id": item["id"],
                "status": 302,
                "headers": {"location": "https://evil.example/"},
            },
            person(7): lambda item: {"id": item["id"], "status": 404, "body": "gone"},
        }
    )

    found = graph_client().look_up_users(person(n) for n in range(1, 8))

    assert [answer.gone for answer in found.values()] == [True, *[False] * 6]
    assert [answer.value for answer in found.values()] == [None] * 7
    assert [type(answer.error) for answer in found.values()] == [
        errors.DirectoryObjectNotFound,
        errors.PermissionMissing,
        errors.QueryRefused,
        errors.GraphResponseError,
        errors.GraphResponseError,
        errors.GraphResponseError,
        errors.GraphResponseError,
    ]
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("status", [401, 424, 429, 500, 502, 503, 504])
def test_f4_an_item_that_may_come_out_otherwise_is_asked_again(status: int) -> None:
    FakeGraph({person(1): failed(status)})
    singly(person(1), json={"id": person(1)})

    found = graph_client().look_up_users([person(1)])

    assert found[person(1)].value is not None  # type: ignore[index]
    assert single_calls() == [person(1)]


@responses.activate
def test_f4_an_item_without_an_answer_is_asked_again() -> None:
    FakeGraph({person(1): lambda item: None})
    singly(person(1), status=404, json=graph_failure("Request_ResourceNotFound"))

    found = graph_client().look_up_users([person(0), person(1)])

    assert [answer.gone for answer in found.values()] == [False, True]


@responses.activate
def test_f4_a_wait_longer_than_a_call_may_take_is_not_begun() -> None:
    time = FakeTime()
    FakeGraph({person(1): failed(429, headers={"Retry-After": "600"})})

    found = graph_client(session=session_for(time=time)).look_up_users(
        person(n) for n in range(45)
    )

    unknown = [key for key, answer in found.items() if answer.error is not None]
    assert unknown == [person(1), *(person(n) for n in range(20, 45))]
    error = found[person(44)].error  # type: ignore[index]
    assert isinstance(error, errors.GraphUnavailable)
    assert error.retry_after == 600
    assert time.slept == []
    assert len(responses.calls) == 1


@responses.activate
def test_f4_a_service_that_is_down_is_not_asked_for_each_of_them() -> None:
    FakeGraph({person(n): failed(503) for n in range(20)})
    singly(person(0), status=503)

    found = graph_client().look_up_users(person(n) for n in range(30))

    assert set(single_calls()) == {person(0)}
    assert all(
        isinstance(answer.error, errors.GraphUnavailable) for answer in found.values()
    )


@responses.activate
def test_a_batch_that_fails_as_a_whole_leaves_what_was_answered_before() -> None:
    graph = FakeGraph()
    answer = graph._answer
    responses.reset()

    def once(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if graph.batches:
            return 403, {}, json.dumps(graph_failure("Authorization_RequestDenied"))
        return answer(request)

    responses.add_callback(responses.POST, BATCH, once, content_type="application/json")

    found = graph_client().look_up_users(person(n) for n in range(45))

    assert [answer.value is not None for answer in found.values()] == [
        *[True] * 20,
        *[False] * 25,
    ]
    assert isinstance(found[person(44)].error, errors.PermissionMissing)  # type: ignore[index]


@responses.activate
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no responses"),
        pytest.param({"responses": {}}, id="no list"),
        pytest.param({"responses": [7]}, id="no object"),
        pytest.param({"responses": [{"id": 1, "status": 200}]}, id="a number as id"),
        pytest.param({"responses": [{"id": "7", "status": 200}]}, id="a stranger"),
        pytest.param({"responses": [{"id": "1"}]}, id="no status"),
        pytest.param({"responses": [{"id": "1", "status": True}]}, id="true"),
        pytest.param(
            {"responses": [{"id": "1", "status": 404}, {"id": "1", "status": 200}]},
            id="two answers",
        ),
    ],
)
def test_a_batch_of_another_shape_answers_nobody(body: dict[str, Any]) -> None:
    responses.post(BATCH, json=body)

    found = graph_client().look_up_users([person(1), person(2)])

    assert {type(answer.error) for answer in found.values()} == {
        errors.GraphResponseError
    }
    assert len(responses.calls) == 1


@responses.activate
def test_a_token_that_ran_out_is_replaced_once_for_all_items() -> None:
    tokens = FixedTokens()
    FakeGraph({person(n): failed(401) for n in range(3)})
    for number in range(3):
        singly(person(number), json={"id": person(number)})

    found = graph_client(tokens=tokens).look_up_users(person(n) for n in range(3))

    assert all(answer.value is not None for answer in found.values())
    assert single_calls() == [person(0), person(1), person(2)]
    assert TOKEN not in repr(found)


# Memberships


def member_of(*groups: str) -> Reply:
    return lambda item: {
        "id": item["id"],
        "status": 200,
        "body": {"value": [one for one in item["body"]["groupIds"] if one in groups]},
    }


@responses.activate
def test_memberships_of_many_people_are_confirmed_in_few_requests() -> None:
    groups = [group(n) for n in range(45)]
    graph = FakeGraph(
        {
            person(1): member_of(group(0), group(44)),
            person(2): member_of(),
        }
    )

    found = graph_client().confirm_memberships(
        {person(1): groups, person(2): [group(3).upper()], person(3): []}
    )

    assert list(found) == [person(1), person(2), person(3)]
    assert [set(answer.value or ()) for answer in found.values()] == [
        {group(0), group(44)},
        set(),
        set(),
    ]
    assert all(answer.error is None for answer in found.values())
    assert len(graph.batches) == 1
    assert [len(item["body"]["groupIds"]) for item in graph.batches[0]] == [
        20,
        20,
        5,
        1,
    ]
    assert graph.batches[0][0]["headers"]["Content-Type"] == "application/json"


@responses.activate
def test_a_person_of_whom_one_answer_is_missing_is_unknown() -> None:
    answered = iter([member_of(group(0)), failed(400, "Request_BadRequest")])
    FakeGraph(
        {
            person(1): lambda item: next(answered)(item),
            person(2): failed(404, "Request_ResourceNotFound"),
            person(3): ok({"value": [group(9)]}),
        }
    )

    found = graph_client().confirm_memberships(
        {
            person(1): [group(n) for n in range(21)],
            person(2): [group(0)],
            person(3): [group(0)],
        }
    )

    one, two, three = found.values()
    assert one.value is None
    assert isinstance(one.error, errors.QueryRefused)
    assert not one.gone
    assert two.gone
    assert isinstance(three.error, errors.GraphResponseError)
