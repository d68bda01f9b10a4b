"""What answers in Microsoft's form mean to the client, with bodies of our own.

The same assertions as for Microsoft's own recordings (test_conformance.py), so that
they hold in every run.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.directory.entra.fakes import (
    GRAPH,
    LOGIN,
    TENANT,
    TOKEN_URL,
    configuration,
    graph_failure,
    sign_in_failure,
)
from tests.directory.entra.recordings import (
    REFUSALS,
    NotReplayed,
    Recording,
    delta_sequences,
    made_guid,
    replay,
    replay_rounds,
)

ADA, BEN, CLEO, DAN = map(made_guid, ("Ada", "Ben", "Cleo", "Dan"))
DESIGN, STUDIO, CREW = map(made_guid, ("Design", "Studio", "Crew"))
REQUEST_ID = "9a6c1d2e-1111-4222-8333-444455556666"


def person(object_id: str, name: str, **more: Any) -> dict[str, Any]:
    return {"id": object_id, "displayName": name, **more}


def group(object_id: str, name: str, *members: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": object_id, "displayName": name, "description": None}
    return row | ({"members@delta": [*members]} if members else {})


def member(object_id: str, kind: str = "user", *, left: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {"@odata.type": f"#microsoft.graph.{kind}", "id": object_id}
    return row | ({"@removed": {"reason": "deleted"}} if left else {})


def gone(object_id: str, reason: str) -> dict[str, Any]:
    return {"id": object_id, "@removed": {"reason": reason}}


def asked(name: str, request: str, body: Any, **more: Any) -> Recording:
    method, url = request.split(" ")
    return Recording(name=name, method=method, url=url, body=body, **more)


def values(*rows: Any, **more: Any) -> dict[str, Any]:
    return {"@odata.context": f"{GRAPH}/$metadata#x", "value": [*rows], **more}


def challenge() -> str:
    claims = base64.b64encode(b'{"access_token":{"nbf":{"essential":true}}}').decode()
    return (
        'Bearer realm="", authorization_uri="https://login.example/authorize", '
        f'error="insufficient_claims", claims="{claims}"'
    )


SINGLE = [
    asked(
        "an old delta link",
        f"GET {GRAPH}/users/delta?$deltatoken=old",
        graph_failure("Request_UnsupportedQuery", "Too old."),
        status=400,
    ),
    asked(
        "a challenge",
        f"GET {GRAPH}/users",
        graph_failure("InvalidAuthenticationToken"),
        status=401,
        headers={"WWW-Authenticate": challenge()},
    ),
    asked(
        "no permission",
        f"GET {GRAPH}/users",
        graph_failure("Authorization_RequestDenied"),
        status=403,
    ),
    asked(
        "no such group",
        f"GET {GRAPH}/groups/{DESIGN}",
        graph_failure("Request_ResourceNotFound"),
        status=404,
        headers={"request-id": REQUEST_ID},
    ),
    asked(
        "a property that is kept elsewhere",
        f"GET {GRAPH}/users?$select=skills",
        graph_failure("NotImplemented"),
        status=501,
    ),
    Recording(
        name="throttled",
        status=429,
        headers={"Retry-After": "3.25"},
        body=graph_failure("TooManyRequests"),
    ),
    asked("nobody", f"GET {GRAPH}/users?$filter=x", values()),
    asked("one of that name", f"GET {GRAPH}/groups", values(group(DESIGN, "Design"))),
    asked(
        "a person",
        f"GET {GRAPH}/users/ada@fernhill.example",
        person(ADA, "Ada", mail=None, userPrincipalName="ada@fernhill.example"),
    ),
    asked(
        "a group",
        f"GET {GRAPH}/groups/{DESIGN.upper()}",
        {
            **group(DESIGN, "Design"),
            "isAssignableToRole": None,
            "securityEnabled": True,
        },
    ),
    asked(
        "members of three kinds",
        f"GET {GRAPH}/groups/{DESIGN}/members",
        values(member(ADA), member(STUDIO, "group"), member(CREW, "device")),
    ),
    asked(
        "members through groups",
        f"GET {GRAPH}/groups/{DESIGN}/transitiveMembers",
        values(member(ADA), member(BEN)),
    ),
    asked(
        "members without a kind",
        f"GET {GRAPH}/groups/{DESIGN}/members",
        values(person(ADA, "Ada")),
    ),
    asked(
        "groups and a role of a person",
        f"GET {GRAPH}/users/{ADA}/memberOf",
        values(
            {**group(DESIGN, "Design"), "@odata.type": "#microsoft.graph.group"},
            {"id": CREW, "@odata.type": "#microsoft.graph.directoryRole"},
        ),
    ),
    asked(
        "in one of two",
        f"POST {GRAPH}/directoryObjects/{ADA}/checkMemberGroups",
        values(DESIGN),
    ),
    asked(
        "in neither",
        f"POST {GRAPH}/directoryObjects/{ADA}/checkMemberGroups",
        values(),
    ),
    asked(
        "in all of these",
        f"POST {GRAPH}/users/{ADA}/getMemberGroups",
        values(DESIGN, STUDIO),
    ),
    asked(
        "the tenant",
        f"GET {GRAPH}/organization",
        values({"id": TENANT, "displayName": "Fernhill", "verifiedDomains": []}),
    ),
    asked(
        "a tenant without domains",
        f"GET {GRAPH}/organization",
        values({"id": TENANT, "displayName": "Fernhill"}),
    ),
    asked(
        "a batch out of order",
        f"POST {GRAPH}/$batch",
        {
            "responses": [
                {
                    "id": "1",
                    "status": 302,
                    "headers": {"location": "https://a.example/"},
                },
                {"id": "3", "status": 429, "body": graph_failure("TooManyRequests")},
                {"id": "2", "status": 200, "body": {"value": []}},
                {"id": "4", "status": 204, "body": None},
                {"id": "5", "status": 401, "body": graph_failure("Forbidden")},
            ]
        },
        status=None,
    ),
    asked(
        "a configuration",
        f"GET {LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration",
        {**configuration(), "msgraph_host": "graph.microsoft.com", "rbac_url": "x"},
    ),
    asked(
        "no such tenant",
        f"GET {LOGIN}/tenant/v2.0/.well-known/openid-configuration",
        sign_in_failure(90002, "invalid_tenant"),
        status=400,
    ),
    asked(
        "a token for a day",
        f"POST {TOKEN_URL}",
        {"token_type": "Bearer", "expires_in": 86399, "access_token": "opaque"},
    ),
    *(
        asked(
            f"AADSTS{number}",
            f"POST {TOKEN_URL}",
            sign_in_failure(number, "invalid_client"),
            status=401,
        )
        for number in REFUSALS
    ),
]


@pytest.mark.parametrize("recording", SINGLE, ids=lambda each: each.name)
def test_an_answer_means_to_the_client_what_microsoft_means_by_it(
    recording: Recording,
) -> None:
    assert replay(recording)


UNREPLAYED = [
    asked("a count", f"GET {GRAPH}/groups/{DESIGN}/members/$count", 893),
    asked("a cast", f"GET {GRAPH}/groups/{DESIGN}/members/microsoft.graph.user", {}),
    asked("a filter", f"GET {GRAPH}/groups/{DESIGN}/members?$count=true", values()),
    asked("mail", f"GET {GRAPH}/users/{ADA}/messages", values()),
    asked("hosts", f"GET {LOGIN}/common/discovery/instance?api-version=1.1", {}),
    asked("a page", f"GET {LOGIN}/{TENANT}/oauth2/v2.0/authorize", {}),
    asked(
        "an unknown number",
        f"POST {TOKEN_URL}",
        sign_in_failure(999999, "invalid_client"),
        status=400,
    ),
    Recording(name="no status", status=None, body={"error": {"code": "x"}}),
    Recording(name="no request", body=values(person(ADA, "Ada"))),
]


@pytest.mark.parametrize("recording", UNREPLAYED, ids=lambda each: each.name)
def test_what_cannot_be_replayed_says_why(recording: Recording) -> None:
    with pytest.raises(NotReplayed) as why:
        replay(recording)

    assert str(why.value)


# Delta rounds, end to end


def page(
    sequence: str, number: int, resource: str, came_by: str, to: str, *rows: Any
) -> Recording:
    """A page that one token led to, and that leads on to another; @ ends the round."""
    url = f"{GRAPH}/{resource}/delta"
    end = to.startswith("@")
    link = f"{url}?{'$deltatoken' if end else '$skiptoken'}={to.lstrip('@')}"
    query = came_by and f"?{came_by}"
    return asked(
        f"{sequence}/{number:02}",
        f"GET {url}{query}",
        values(*rows, **{f"@odata.{'deltaLink' if end else 'nextLink'}": link}),
    )


PEOPLE = [
    page("people", 1, "users", "", "a", person(ADA, "Ada"), person(BEN, "Ben")),
    page("people", 2, "users", "$skiptoken=a", "b"),
    page("people", 3, "users", "$skiptoken=b", "@c", person(CLEO, "Cleo")),
    page("people", 4, "users", "$deltatoken=c", "@d"),
    page(
        "people",
        5,
        "users",
        "$deltatoken=d",
        "@e",
        person(ADA, "Ada Lovelace"),
        gone(BEN, "changed"),
        gone(CLEO, "deleted"),
        person(DAN, "Dan"),
    ),
]
GROUPS = [
    page(
        "groups",
        1,
        "groups",
        "",
        "a",
        group(DESIGN, "Design", member(ADA), member(BEN)),
        group(STUDIO, "Studio"),
    ),
    # A large group comes in slices, and between other groups.
    page("groups", 2, "groups", "$skiptoken=a", "b", group(CREW, "Crew", member(ADA))),
    page(
        "groups",
        3,
        "groups",
        "$skiptoken=b",
        "@c",
        group(CREW, "Crew", member(BEN), member(STUDIO, "group")),
        group(DESIGN, "Design", member(CLEO)),
    ),
    page("groups", 4, "groups", "$deltatoken=c", "@c"),
    page(
        "groups",
        5,
        "groups",
        "$deltatoken=c",
        "@d",
        group(DESIGN, "Designers", member(ADA, left=True), member(DAN)),
        gone(STUDIO, "deleted"),
    ),
]


def test_rounds_of_people_leave_behind_who_is_there_and_who_is_gone() -> None:
    (rounds,) = delta_sequences(PEOPLE).values()

    seen, pages = replay_rounds(rounds)

    assert [len(each) for each in rounds] == [3, 1, 1]
    assert pages == 5
    assert seen.names == {
        ADA: "Ada Lovelace",
        BEN: "Ben",
        CLEO: "Cleo",
        DAN: "Dan",
    }
    assert seen.removed == {BEN: "changed", CLEO: "deleted"}


def test_rounds_of_groups_leave_behind_who_is_in_them() -> None:
    (rounds,) = delta_sequences(GROUPS).values()

    seen, pages = replay_rounds(rounds)

    assert pages == 5
    assert seen.names[DESIGN] == "Designers"
    assert seen.members == {
        DESIGN: {BEN, CLEO, DAN},
        STUDIO: set(),
        CREW: {ADA, BEN, STUDIO},
    }
    assert seen.removed == {STUDIO: "deleted"}


def test_a_round_whose_end_was_not_recorded_is_read_as_far_as_it_goes() -> None:
    (rounds,) = delta_sequences(GROUPS[:2]).values()

    seen, pages = replay_rounds(rounds)

    assert pages == 2
    assert seen.members[CREW] == {ADA}


def test_placeholders_of_ids_become_ids_and_stay_the_same_ones() -> None:
    recording = page(
        "placeholders",
        1,
        "groups",
        "",
        "@a",
        {"id": "group-one", "members@delta": [member("person-one")]},
        {"id": "group-two", "members@delta": [member("person-one")]},
    )

    seen, _pages = replay_rounds([[recording]])

    assert list(seen.members.values()) == [{made_guid("person-one")}] * 2


def test_a_recording_is_read_from_its_file() -> None:
    case = json.loads(
        json.dumps(
            {
                "id": "set/page/01",
                "request": None,
                "response": {"status": 200, "headers": None, "body": values()},
            }
        )
    )

    recording = Recording.from_json(case)

    assert recording == replace(
        Recording(name="set/page/01"), headers={}, body=values()
    )
    assert recording.sequence == "set/page"
