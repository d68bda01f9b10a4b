import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses

from directory.entra import GraphClient, MemberType, Removed, errors
from directory.entra.ahead import next_link_of
from directory.entra.graph_errors import claims_challenge
from tests.directory.entra.fakes import (
    GRAPH,
    LOGIN,
    OTHER_TENANT,
    PERSON,
    TENANT,
    TOKEN,
    FixedTokens,
    graph_client,
    graph_failure,
    session_for,
)

ADA = PERSON
BEN = "11111111-2222-4333-8444-555555555555"
DESIGN = "22222222-3333-4444-8555-666666666666"
STUDIO = "33333333-4444-4555-8666-777777777777"
USERS = f"{GRAPH}/users"
GROUPS = f"{GRAPH}/groups"
USERS_DELTA = f"{GRAPH}/users/delta"
GROUPS_DELTA = f"{GRAPH}/groups/delta"
HTML, JSON = "text/html; charset=utf-8", "application/json;odata.metadata=minimal"


def user(object_id: str = ADA, **properties: Any) -> dict[str, Any]:
    return {
        "id": object_id,
        "displayName": "Ada O'Brien",
        "userPrincipalName": "ada@fernhill.example",
        "mail": None,
        "accountEnabled": True,
        "userType": "Member",
        **properties,
    }


def group(object_id: str = DESIGN, **properties: Any) -> dict[str, Any]:
    return {
        "id": object_id,
        "displayName": "Design",
        "groupTypes": [],
        "mailEnabled": False,
        "securityEnabled": True,
        **properties,
    }


def member(object_id: str, kind: str = "user", /, **more: Any) -> dict[str, Any]:
    return {"@odata.type": f"#microsoft.graph.{kind}", "id": object_id, **more}


def page(*rows: Any, next_link: str = "", delta_link: str = "") -> dict[str, Any]:
    body: dict[str, Any] = {"@odata.context": f"{GRAPH}/$metadata#x", "value": [*rows]}
    if next_link:
        body["@odata.nextLink"] = next_link
    if delta_link:
        body["@odata.deltaLink"] = delta_link
    return body


def sent(number: int = -1) -> dict[str, str]:
    query = urlsplit(str(responses.calls[number].request.url)).query
    return {name: value[0] for name, value in parse_qs(query).items()}


def path(number: int = -1) -> str:
    return urlsplit(str(responses.calls[number].request.url)).path


def next_users(token: str) -> str:
    return f"{USERS_DELTA}?$skiptoken={token}"


# The tenant


@responses.activate
def test_the_organization_names_the_tenant_and_its_domains() -> None:
    responses.get(
        f"{GRAPH}/organization",
        json=page(
            {
                "id": TENANT.upper(),
                "displayName": "Fernhill Studio",
                "verifiedDomains": [
                    {"name": "fernhill.example", "isDefault": True, "isInitial": False},
                    {"name": "fernhill.onmicrosoft.example", "isInitial": True},
                ],
            }
        ),
    )

    found = graph_client().organization()

    assert found.id == TENANT
    assert found.display_name == "Fernhill Studio"
    assert [d.name for d in found.verified_domains if d.is_default] == [
        "fernhill.example"
    ]
    assert [d.name for d in found.verified_domains if d.is_initial] == [
        "fernhill.onmicrosoft.example"
    ]
    assert sent() == {"$select": "id,displayName,verifiedDomains"}


@responses.activate
@pytest.mark.parametrize(
    "body",
    [
        page(),
        page(*({"id": i, "verifiedDomains": []} for i in (TENANT, OTHER_TENANT))),
        page({"id": "fernhill.example", "verifiedDomains": []}),
        page({"id": TENANT}),
        page({"id": TENANT, "verifiedDomains": [{"isDefault": True}]}),
        page({"id": TENANT, "verifiedDomains": ["fernhill.example"]}),
    ],
    ids=["none", "two", "no id", "no domains", "no name", "no object"],
)
def test_an_organization_that_is_not_one_tenant_is_refused(
    body: dict[str, Any],
) -> None:
    responses.get(f"{GRAPH}/organization", json=body)

    with pytest.raises(errors.GraphResponseError):
        graph_client().organization()


@responses.activate
def test_permissions_are_probed_by_small_reads() -> None:
    responses.get(USERS, json=page(user()))
    responses.get(GROUPS, json=page(group()))
    responses.get(GROUPS_DELTA, json=page(delta_link=f"{GROUPS_DELTA}?$deltatoken=a"))

    probes = graph_client().probe_permissions()

    assert all(probe.granted for probe in probes)
    assert {probe.permission for probe in probes} == {
        "User.Read.All",
        "GroupMember.Read.All",
    }
    assert sent(0) == {"$select": "id", "$top": "1"}


@responses.activate
def test_a_missing_permission_is_named_and_the_others_are_still_probed() -> None:
    responses.get(USERS, json=page(user()))
    denied = graph_failure("Authorization_RequestDenied")
    responses.get(GROUPS, status=403, json=denied)
    responses.get(GROUPS_DELTA, status=403, json=denied)

    probes = graph_client().probe_permissions()

    assert [probe.granted for probe in probes] == [True, False, False]
    assert probes[1].error is not None
    assert probes[1].error.permission == "GroupMember.Read.All"
    assert "GroupMember.Read.All" in probes[1].error.sentences()


@responses.activate
def test_a_probe_that_fails_otherwise_does_not_count_as_missing() -> None:
    responses.get(USERS, status=503)

    with pytest.raises(errors.GraphUnavailable):
        graph_client().probe_permissions()


# Users


@responses.activate
def test_a_user_comes_with_the_properties_that_were_asked_for() -> None:
    extension = {"extensionAttribute1": "Loft 3", "extensionAttribute2": None}
    responses.get(
        f"{USERS}/{ADA}",
        json=user(onPremisesExtensionAttributes=extension, employeeId="42"),
    )

    found = graph_client().get_user(
        ADA,
        properties=[
            "onPremisesExtensionAttributes.extensionAttribute1",
            "employeeId",
            "mail",
        ],
    )

    assert found.id == ADA
    assert found.account_enabled is True
    assert found.is_guest is False
    assert found.value("onPremisesExtensionAttributes.extensionAttribute1") == "Loft 3"
    assert found.value("onPremisesExtensionAttributes.extensionAttribute2") is None
    assert found.value("employeeId") == "42"
    assert found.value("employeeId.x") is None
    assert sent()["$select"].split(",") == [
        "id",
        "displayName",
        "userPrincipalName",
        "mail",
        "accountEnabled",
        "userType",
        "onPremisesExtensionAttributes",
        "employeeId",
    ]


@responses.activate
def test_a_property_that_came_as_null_differs_from_one_that_did_not_come() -> None:
    responses.get(f"{USERS}/{ADA}", json={"id": ADA, "mail": None})

    found = graph_client().get_user(ADA)

    assert found.mail is None
    assert found.display_name is None
    assert found.is_guest is None
    assert "mail" in found.properties
    assert "displayName" not in found.properties
    assert found.removed is None


@responses.activate
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ada@fernhill.example", "/v1.0/users/ada@fernhill.example"),
        (
            "ada_quarrel.example#EXT#@fernhill.example",
            "/v1.0/users/ada_quarrel.example%23EXT%23@fernhill.example",
        ),
        ("o'brien@fernhill.example", "/v1.0/users/o%27brien@fernhill.example"),
        ("100%@fernhill.example", "/v1.0/users/100%25@fernhill.example"),
        ("zoë@fernhill.example", "/v1.0/users/zo%C3%AB@fernhill.example"),
        ("a?b&c@fernhill.example", "/v1.0/users/a%3Fb%26c@fernhill.example"),
    ],
)
def test_a_upn_is_quoted_as_one_path_segment(name: str, expected: str) -> None:
    responses.get(re.compile(f"{USERS}/.*"), json=user())

    graph_client().get_user(name)

    assert path() == expected


@pytest.mark.parametrize("name", ["", " ", "..", ".", "a/b", "a\\b", "a\nb", "\x00"])
def test_what_cannot_be_a_name_is_not_asked_for(name: str) -> None:
    with pytest.raises(errors.DirectoryObjectNotFound):
        graph_client().get_user(name)


@responses.activate
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("O'Brien", "displayName eq 'O''Brien'"),
        ("') or 1 eq 1 or (displayName eq '", None),
        ("*", "displayName eq '*'"),
        ("a&b=c#d", "displayName eq 'a&b=c#d'"),
        ("Zoë", "displayName eq 'Zoë'"),
    ],
)
def test_a_value_in_a_filter_stays_one_literal(
    value: str, expected: str | None
) -> None:
    responses.get(USERS, json=page(user()))

    graph_client().find_users("displayName", value)

    doubled = value.replace("'", "''")
    assert sent()["$filter"] == (expected or f"displayName eq '{doubled}'")


@responses.activate
def test_users_are_searched_by_the_beginning_of_their_names() -> None:
    responses.get(USERS, json=page(user()))

    found = graph_client().search_users("O'B", limit=5)

    assert [person.id for person in found] == [ADA]
    assert sent()["$filter"] == (
        "startswith(displayName,'O''B') or startswith(userPrincipalName,'O''B') "
        "or startswith(mail,'O''B')"
    )
    assert sent()["$top"] == "5"


@responses.activate
def test_a_search_goes_on_past_an_empty_page_and_stops_at_its_limit() -> None:
    responses.get(USERS, json=page(next_link=f"{USERS}?$skiptoken=1"))
    responses.get(
        USERS, json=page(user(ADA), user(BEN), next_link=f"{USERS}?$skiptoken=2")
    )

    found = graph_client().find_users("userType", "Member", limit=1)

    assert [person.id for person in found] == [ADA]
    assert len(responses.calls) == 2


@pytest.mark.parametrize("name", ["", "a b", "displayName eq 'x' or id", "a.b.c", "1a"])
def test_a_property_name_that_is_none_is_a_mistake_of_the_caller(name: str) -> None:
    with pytest.raises(ValueError, match="property"):
        graph_client().find_users(name, "x")
    with pytest.raises(ValueError, match="property"):
        graph_client().get_user(ADA, properties=[name])


@responses.activate
def test_a_nested_property_is_filtered_by_its_path() -> None:
    responses.get(USERS, json=page())

    graph_client().find_users(
        "onPremisesExtensionAttributes.extensionAttribute1", "Loft 3"
    )

    assert sent()["$filter"] == (
        "onPremisesExtensionAttributes/extensionAttribute1 eq 'Loft 3'"
    )


# Delta

ONE_BY_ONE_OR_AHEAD = pytest.mark.parametrize(
    "ahead", [lambda: False, lambda: True], ids=["one by one", "ahead"]
)


@responses.activate
@ONE_BY_ONE_OR_AHEAD
def test_a_delta_round_is_followed_to_its_end_past_empty_pages(
    ahead: Callable[[], bool],
) -> None:
    end = f"{USERS_DELTA}?$deltatoken=end"
    responses.get(USERS_DELTA, json=page(user(ADA), next_link=next_users("1")))
    responses.get(next_users("1"), json=page(next_link=next_users("2")))
    responses.get(
        next_users("2"),
        json=page({"id": BEN, "@removed": {"reason": "changed"}}, delta_link=end),
    )

    pages = list(graph_client().users_delta(properties=["department"], ahead=ahead))

    assert [[person.id for person in p.users] for p in pages] == [[ADA], [], [BEN]]
    assert pages[2].users[0].removed is Removed.CHANGED
    assert [p.next_link for p in pages] == [next_users("1"), next_users("2"), None]
    assert [p.delta_link for p in pages] == [None, None, end]
    assert sent(0)["$select"].endswith(",department")
    assert sent(1) == {"$skiptoken": "1"}


@responses.activate
def test_a_link_is_followed_as_it_came() -> None:
    link = f"{USERS_DELTA}?$deltatoken=RFNw+A/Q==&x=%2B%2F%3D"
    responses.get(USERS_DELTA, json=page(delta_link=link))

    list(graph_client().users_delta(link))

    assert responses.calls[0].request.url == link


@responses.activate
def test_pages_are_asked_for_as_they_are_needed() -> None:
    responses.get(USERS_DELTA, json=page(user(), next_link=next_users("1")))

    first = next(graph_client().users_delta())

    assert [person.id for person in first.users] == [ADA]
    assert len(responses.calls) == 1


@responses.activate
def test_more_pages_than_anybody_expects_are_all_read() -> None:
    count = 300
    responses.get(USERS_DELTA, json=page(user(), next_link=next_users("1")))
    for number in range(1, count):
        responses.get(
            USERS_DELTA,
            match=[responses.matchers.query_param_matcher({"$skiptoken": str(number)})],
            json=page(user(), next_link=next_users(str(number + 1)))
            if number < count - 1
            else page(user(), delta_link=f"{USERS_DELTA}?$deltatoken=e"),
        )

    assert len(list(graph_client().users_delta())) == count


@responses.activate
@ONE_BY_ONE_OR_AHEAD
@pytest.mark.parametrize(
    "back_to", [USERS_DELTA, next_users("1"), next_users("2")], ids=["0", "1", "2"]
)
def test_a_page_that_comes_again_is_an_error_and_not_a_loop(
    back_to: str, ahead: Callable[[], bool]
) -> None:
    start = USERS_DELTA
    responses.get(start, json=page(next_link=next_users("1")))
    responses.get(next_users("1"), json=page(next_link=next_users("2")))
    responses.get(next_users("2"), json=page(next_link=back_to))

    with pytest.raises(errors.GraphResponseError, match="same page"):
        list(graph_client().users_delta(start, ahead=ahead))

    assert len(responses.calls) == 3


@pytest.mark.parametrize(
    ("content", "link"),
    [
        (
            b'{"@odata.nextLink":"https://g/a?$skiptoken=1","value":[]}',
            "https://g/a?$skiptoken=1",
        ),
        (b'{"value":[],"@odata.nextLink":"https://g/a"}', "https://g/a"),
        (b'{"value":[],"@odata.deltaLink":"https://g/a"}', None),
        (b'{"value":[{"members@odata.nextLink":"https://g/a"}]}', None),
        (rb'{"value":[{"displayName":"\"@odata.nextLink\":\"https://g/a\""}]}', None),
        (b'{"@odata.nextLink":7}', None),
        (b'{"@odata.nextLink":"https://g/a', None),
        (b"", None),
    ],
)
def test_what_looks_like_a_next_link_is_one(content: bytes, link: str | None) -> None:
    assert next_link_of(content) == link


@responses.activate
def test_a_link_inside_an_object_is_not_where_a_round_goes_on() -> None:
    end = f"{USERS_DELTA}?$deltatoken=end"
    misleading = user(ADA) | {"@odata.nextLink": next_users("elsewhere")}
    content = json.dumps(
        {"value": [misleading], "@odata.nextLink": next_users("1")},
        separators=(",", ":"),
    )
    responses.get(USERS_DELTA, body=content, content_type="application/json")
    responses.get(next_users("elsewhere"), json=page(user(STUDIO), delta_link=end))
    responses.get(next_users("1"), json=page(user(BEN), delta_link=end))

    pages = list(graph_client().users_delta(ahead=lambda: True))

    assert next_link_of(content.encode()) == next_users("elsewhere")
    assert [[person.id for person in p.users] for p in pages] == [[ADA], [BEN]]


@responses.activate
def test_a_page_that_fails_ahead_of_its_time_fails_in_its_turn() -> None:
    responses.get(USERS_DELTA, json=page(user(ADA), next_link=next_users("1")))
    responses.get(next_users("1"), status=403, json=graph_failure("Forbidden"))
    pages = graph_client().users_delta(ahead=lambda: True)

    first = next(pages)
    with pytest.raises(errors.PermissionMissing):
        next(pages)

    assert [person.id for person in first.users] == [ADA]


@responses.activate
def test_pages_are_asked_for_ahead_as_long_as_that_is_wanted() -> None:
    """Microsoft says that its limit is nearly used: from there on others come first."""
    for number in range(1, 6):
        here = USERS_DELTA if number == 1 else next_users(str(number))
        responses.get(here, json=page(user(), next_link=next_users(str(number + 1))))
    pages = graph_client().users_delta(ahead=lambda: len(responses.calls) < 2)

    taken = [next(pages), next(pages)]

    assert [each.next_link for each in taken] == [next_users("2"), next_users("3")]
    assert len(responses.calls) == 2
    assert next(pages).next_link == next_users("4")


@responses.activate
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(page(), id="no link at the end"),
        pytest.param(
            page(next_link=next_users("1"), delta_link=f"{USERS_DELTA}?$deltatoken=a"),
            id="both links",
        ),
    ],
)
def test_a_delta_page_goes_on_in_exactly_one_way(body: dict[str, Any]) -> None:
    responses.get(USERS_DELTA, json=body)

    with pytest.raises(errors.GraphResponseError, match="exactly one link"):
        list(graph_client().users_delta())


@responses.activate
@ONE_BY_ONE_OR_AHEAD
@pytest.mark.parametrize("name", ["@odata.nextLink", "@odata.deltaLink"])
@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1.0/users/delta?$skiptoken=1",
        "https://graph.microsoft.com.evil.example/v1.0/users/delta",
        "https://graph.microsoft.com@evil.example/v1.0/users/delta",
        "https://graph.microsoft.com:8443/v1.0/users/delta",
        "http://graph.microsoft.com/v1.0/users/delta",
        "https://graph.microsoft.us/v1.0/users/delta",
        "https://graph.microsoft.com/beta/users/delta",
        f"{LOGIN}/{TENANT}/discovery/v2.0/keys",
        "/v1.0/users/delta?$skiptoken=1",
        "https://[::1",
        "",
        7,
    ],
)
def test_a_link_elsewhere_is_refused_before_it_is_stored_or_followed(
    name: str, link: object, ahead: Callable[[], bool]
) -> None:
    body = json.dumps({"value": [], name: link}, separators=(",", ":"))
    responses.get(USERS_DELTA, body=body, content_type="application/json")
    pages = graph_client().users_delta(ahead=ahead)

    with pytest.raises(errors.GraphResponseError):
        next(pages)

    assert len(responses.calls) == 1


@responses.activate
def test_a_stored_link_that_leads_elsewhere_never_gets_the_token() -> None:
    responses.get("https://evil.example/v1.0/users/delta", json=page())

    with pytest.raises(errors.NotAllowed):
        list(graph_client().users_delta("https://evil.example/v1.0/users/delta"))

    assert len(responses.calls) == 0


DELTA_LINK = f"{USERS_DELTA}?$deltatoken=old"


@responses.activate
@pytest.mark.parametrize(
    ("start", "status", "body"),
    [
        pytest.param(
            DELTA_LINK,
            410,
            {"json": {}, "headers": {"Location": f"{USERS_DELTA}?$deltatoken="}},
            id="410 with Location",
        ),
        pytest.param(DELTA_LINK, 410, {"body": b""}, id="410 without a body"),
        pytest.param(
            DELTA_LINK, 400, {"json": graph_failure("SyncStateNotFound")}, id="400 Sync"
        ),
        pytest.param(
            DELTA_LINK, 404, {"json": graph_failure("syncStateNotFound")}, id="404 sync"
        ),
        pytest.param(
            DELTA_LINK, 400, {"json": graph_failure("resyncRequired")}, id="resync"
        ),
        pytest.param(
            DELTA_LINK,
            400,
            {
                "json": graph_failure(
                    "Request_UnsupportedQuery",
                    "DeltaLink older than 30 days is not supported.",
                )
            },
            id="older than 30 days",
        ),
        pytest.param(
            f"{USERS_DELTA}?%24deltatoken=old",
            400,
            {"json": graph_failure("Request_UnsupportedQuery")},
            id="with the dollar encoded",
        ),
        pytest.param(
            next_users("old"),
            400,
            {"json": graph_failure("Directory_ExpiredPageToken")},
            id="an expired page",
        ),
    ],
)
def test_an_expired_delta_is_told_from_a_failure_in_each_of_its_shapes(
    start: str, status: int, body: dict[str, Any]
) -> None:
    responses.get(USERS_DELTA, status=status, **body)

    with pytest.raises(errors.DeltaExpired):
        list(graph_client().users_delta(start))

    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("start", [None, next_users("1")])
def test_an_unsupported_query_without_delta_token_is_not_an_expired_delta(
    start: str | None,
) -> None:
    responses.get(
        USERS_DELTA, status=400, json=graph_failure("Request_UnsupportedQuery")
    )

    with pytest.raises(errors.QueryRefused):
        list(graph_client().users_delta(start))


@responses.activate
def test_a_web_page_in_place_of_an_answer_is_no_reason_to_read_everything_again() -> (
    None
):
    responses.get(USERS_DELTA, status=410, body=b"<html>", content_type=HTML)

    with pytest.raises(errors.ForeignAnswer) as caught:
        list(graph_client().users_delta(DELTA_LINK))

    assert isinstance(caught.value, errors.Unreachable)
    assert "text/html" in caught.value.message


@responses.activate
def test_another_object_than_was_asked_for_is_refused() -> None:
    responses.get(f"{USERS}/{ADA}", json=user(BEN))
    responses.get(f"{GROUPS}/{DESIGN}", json=group(STUDIO))

    with pytest.raises(errors.GraphResponseError, match="another one"):
        graph_client().get_user(ADA)
    with pytest.raises(errors.GraphResponseError, match="another one"):
        graph_client().get_group(DESIGN)


@responses.activate
def test_a_group_that_nobody_asked_about_is_no_answer() -> None:
    responses.post(f"{USERS}/{ADA}/checkMemberGroups", json={"value": [DESIGN, STUDIO]})

    with pytest.raises(errors.GraphResponseError, match="not asked for"):
        graph_client().check_member_groups(ADA, [DESIGN])


@responses.activate
def test_a_delta_link_that_meets_a_server_error_is_not_expired() -> None:
    responses.get(USERS_DELTA, status=501, json=graph_failure("NotImplemented"))

    with pytest.raises(errors.QueryRefused):
        list(graph_client().users_delta(DELTA_LINK))


@responses.activate
def test_a_delta_that_is_not_found_is_never_a_deleted_object() -> None:
    responses.get(
        USERS_DELTA, status=404, json=graph_failure("Request_ResourceNotFound")
    )

    with pytest.raises(errors.GraphError) as caught:
        list(graph_client().users_delta())

    assert not isinstance(caught.value, errors.DirectoryObjectNotFound)
    assert not isinstance(caught.value, errors.DeltaExpired)


@responses.activate
def test_a_failed_page_fails_the_round() -> None:
    responses.get(USERS_DELTA, json=page(user(), next_link=next_users("1")))
    responses.get(next_users("1"), status=503)

    with pytest.raises(errors.GraphUnavailable):
        list(graph_client().users_delta())


@responses.activate
def test_groups_come_with_their_changed_members_in_order() -> None:
    responses.get(
        GROUPS_DELTA,
        json=page(
            group(
                DESIGN,
                **{
                    "members@delta": [
                        member(ADA),
                        member(STUDIO, "group"),
                        member(BEN, **{"@removed": {"reason": "deleted"}}),
                        member(OTHER_TENANT, "device"),
                    ]
                },
            ),
            group(STUDIO, groupTypes=["Unified", "DynamicMembership"]),
            {"id": BEN, "@removed": {"reason": "deleted"}},
            delta_link=f"{GROUPS_DELTA}?$deltatoken=a",
        ),
    )

    (found,) = graph_client().groups_delta()

    design, studio, gone = found.groups
    assert design.members is not None
    assert [(m.id, m.type, m.removed) for m in design.members] == [
        (ADA, MemberType.USER, False),
        (STUDIO, MemberType.GROUP, False),
        (BEN, MemberType.USER, True),
        (OTHER_TENANT, MemberType.DEVICE, False),
    ]
    assert studio.members is None
    assert studio.is_microsoft_365
    assert studio.is_dynamic
    assert gone.removed is Removed.DELETED
    assert gone.is_dynamic is None
    assert gone.is_microsoft_365 is None
    assert "members" in sent()["$select"].split(",")


@responses.activate
def test_null_group_properties_are_unknown() -> None:
    nothing = dict.fromkeys(
        ("displayName", "mail", "mailEnabled", "securityEnabled", "groupTypes")
    )
    responses.get(f"{GROUPS}/{DESIGN}", json={"id": DESIGN, **nothing})

    found = graph_client().get_group(DESIGN)

    assert found.display_name is None
    assert found.security_enabled is None
    assert found.group_types is None
    assert not found.has_hidden_membership


@responses.activate
@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"displayName": "x"}, "id of a group"),
        ({"id": 7}, "id of a group"),
        ({"id": "design"}, "id of a group"),
        ({"id": DESIGN, "displayName": 7}, "displayName of a group"),
        ({"id": DESIGN, "securityEnabled": "yes"}, "securityEnabled of a group"),
        ({"id": DESIGN, "groupTypes": "Unified"}, "groupTypes of a group"),
        ({"id": DESIGN, "groupTypes": [1]}, "groupTypes of a group"),
        ({"id": DESIGN, "members@delta": {}}, "members@delta"),
        ({"id": DESIGN, "members@delta": ["x"]}, "a member that is not an object"),
        ({"id": DESIGN, "members@delta": [{"id": ADA}]}, "@odata.type"),
        ({"id": DESIGN, "members@delta": [member("x")]}, "id of a member"),
        ({"id": DESIGN, "@removed": {"reason": "moved"}}, "@removed of a group"),
        ({"id": DESIGN, "@removed": True}, "@removed of a group"),
        ("text", "a row of value"),
    ],
)
def test_an_answer_of_another_shape_is_refused_and_names_the_field(
    item: object, field: str
) -> None:
    responses.get(
        GROUPS_DELTA, json=page(item, delta_link=f"{GROUPS_DELTA}?$deltatoken=a")
    )

    with pytest.raises(errors.GraphResponseError, match=field):
        [answer.groups for answer in graph_client().groups_delta()]


@responses.activate
@pytest.mark.parametrize("body", [{}, {"value": {}}, {"value": None}])
def test_a_page_without_rows_is_refused(body: dict[str, Any]) -> None:
    responses.get(f"{GROUPS}/{DESIGN}/members", json=body)

    with pytest.raises(errors.GraphResponseError, match="value"):
        list(graph_client().members(DESIGN))


# Groups and memberships


@responses.activate
def test_groups_are_found_by_name_and_may_be_several() -> None:
    responses.get(GROUPS, json=page(group(DESIGN), group(STUDIO)))

    found = graph_client().find_groups("Design")

    assert [g.id for g in found] == [DESIGN, STUDIO]
    assert sent()["$filter"] == "displayName eq 'Design'"


@responses.activate
def test_groups_are_searched_by_the_beginning_of_their_name() -> None:
    responses.get(GROUPS, json=page(group()))

    graph_client().search_groups("Des")

    assert sent()["$filter"] == "startswith(displayName,'Des')"


@responses.activate
@pytest.mark.parametrize("relation", ["members", "transitiveMembers"])
def test_members_are_read_page_by_page(relation: str) -> None:
    url = f"{GROUPS}/{DESIGN}/{relation}"
    responses.get(
        url, json=page(member(ADA, displayName="Ada"), next_link=f"{url}?$skiptoken=1")
    )
    responses.get(url, json=page(member(STUDIO, "group"), member(BEN, "somethingNew")))
    client = graph_client()
    read = client.members if relation == "members" else client.transitive_members

    pages = list(read(DESIGN))

    assert [[m.type for m in p.members] for p in pages] == [
        [MemberType.USER],
        [MemberType.GROUP, MemberType.OTHER],
    ]
    assert pages[0].members[0].display_name == "Ada"
    assert pages[1].members[1].odata_type == "#microsoft.graph.somethingNew"
    assert sent(0)["$top"] == "999"


@responses.activate
def test_members_of_a_kind_that_may_not_be_read_are_known_by_id_alone() -> None:
    responses.get(
        f"{GROUPS}/{DESIGN}/members",
        json=page(member(ADA, displayName=None, userPrincipalName=None)),
    )

    ((found,),) = [p.members for p in graph_client().members(DESIGN)]

    assert (found.id, found.display_name) == (ADA, None)


@responses.activate
def test_hidden_members_are_a_missing_permission_and_not_an_empty_group() -> None:
    responses.get(
        f"{GROUPS}/{DESIGN}/members",
        status=403,
        json=graph_failure("Authorization_RequestDenied"),
    )

    with pytest.raises(errors.PermissionMissing, match=r"Member\.Read\.Hidden"):
        list(graph_client().members(DESIGN))


@responses.activate
def test_roles_are_not_counted_among_the_groups_of_a_user() -> None:
    responses.get(
        f"{USERS}/{ADA}/transitiveMemberOf",
        json=page(
            {"@odata.type": "#microsoft.graph.group", **group(DESIGN)},
            member(BEN, "directoryRole"),
            member(OTHER_TENANT, "administrativeUnit"),
        ),
    )

    assert [g.id for g in graph_client().transitive_member_of(ADA)] == [DESIGN]


@responses.activate
def test_the_250th_group_of_a_user_is_found() -> None:
    url = f"{USERS}/{ADA}/transitiveMemberOf"

    def groups(start: int) -> list[dict[str, Any]]:
        return [
            {
                "@odata.type": "#microsoft.graph.group",
                **group(f"{n:08x}-0000-4000-8000-000000000000"),
            }
            for n in range(start, start + 100)
        ]

    responses.get(url, json=page(*groups(0), next_link=f"{url}?$skiptoken=1"))
    responses.get(url, json=page(*groups(100), next_link=f"{url}?$skiptoken=2"))
    responses.get(url, json=page(*groups(200)))

    found = {g.id for g in graph_client().transitive_member_of(ADA)}

    assert f"{249:08x}-0000-4000-8000-000000000000" in found
    assert len(found) == 300


@responses.activate
def test_a_membership_of_unknown_kind_is_refused() -> None:
    responses.get(f"{USERS}/{ADA}/transitiveMemberOf", json=page(group(DESIGN)))

    with pytest.raises(errors.GraphResponseError, match=r"@odata\.type"):
        list(graph_client().transitive_member_of(ADA))


@responses.activate
@pytest.mark.parametrize(
    "code", ["Directory_ExpiredPageToken", "DirectoryPageTokenNotFoundException"]
)
def test_a_page_of_a_list_that_expired_can_be_read_again(code: str) -> None:
    responses.get(f"{GROUPS}/{DESIGN}/members", status=400, json=graph_failure(code))

    with pytest.raises(errors.PageExpired) as caught:
        list(graph_client().members(DESIGN))

    assert caught.value.retryable


@responses.activate
def test_too_large_an_answer_elsewhere_is_named_so() -> None:
    responses.get(
        f"{GROUPS}/{DESIGN}/members",
        status=400,
        json=graph_failure("Directory_ResultSizeLimitExceeded"),
    )

    with pytest.raises(errors.ResultTooLarge):
        list(graph_client().members(DESIGN))


@responses.activate
def test_the_groups_of_a_user_are_read_in_one_request() -> None:
    responses.post(
        f"{USERS}/{ADA}/getMemberGroups", json={"value": [DESIGN, STUDIO.upper()]}
    )

    assert graph_client().get_member_groups(ADA) == {DESIGN, STUDIO}
    assert json.loads(responses.calls[0].request.body or b"") == {
        "securityEnabledOnly": False
    }


@responses.activate
def test_too_many_groups_for_one_answer_are_listed_page_by_page() -> None:
    responses.post(
        f"{USERS}/{ADA}/getMemberGroups",
        status=400,
        json=graph_failure("Directory_ResultSizeLimitExceeded"),
    )
    responses.get(
        f"{USERS}/{ADA}/transitiveMemberOf",
        json=page({"@odata.type": "#microsoft.graph.group", **group(DESIGN)}),
    )

    assert graph_client().get_member_groups(ADA) == {DESIGN}


@responses.activate
def test_groups_are_checked_twenty_at_a_time_and_each_once() -> None:
    wanted = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(45)]
    asked: list[list[str]] = []

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        ids = json.loads(request.body or b"")["groupIds"]
        asked.append(ids)
        return 200, {}, json.dumps({"value": ids[:1]})

    responses.add_callback(
        responses.POST,
        f"{USERS}/{ADA}/checkMemberGroups",
        answer,
        content_type="application/json",
    )

    found = graph_client().check_member_groups(
        ADA, [*wanted, wanted[0], wanted[1].upper()]
    )

    assert [len(ids) for ids in asked] == [20, 20, 5]
    assert found == {wanted[0], wanted[20], wanted[40]}


@responses.activate
def test_no_groups_need_no_request() -> None:
    assert graph_client().check_member_groups(ADA, []) == frozenset()
    assert len(responses.calls) == 0


def test_a_group_id_that_is_none_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="GUID"):
        graph_client().check_member_groups(ADA, [DESIGN, "Design"])


@responses.activate
@pytest.mark.parametrize("body", [{}, {"value": [1]}, {"value": ["Design"]}])
def test_an_answer_that_is_no_list_of_ids_is_refused(body: dict[str, Any]) -> None:
    responses.post(f"{USERS}/{ADA}/getMemberGroups", json=body)

    with pytest.raises(errors.GraphResponseError):
        graph_client().get_member_groups(ADA)


# Tokens


@responses.activate
def test_the_token_and_the_priority_go_with_every_request() -> None:
    responses.get(f"{USERS}/{ADA}", json=user())
    tokens, session = FixedTokens(), session_for()

    GraphClient(
        cloud=session.cloud, tokens=tokens, session=session, priority="low"
    ).get_user(ADA)

    headers = responses.calls[0].request.headers
    assert headers["Authorization"] == f"Bearer {TOKEN}-1"
    assert headers["x-ms-throttle-priority"] == "low"


@responses.activate
def test_f24_a_token_that_ran_out_is_replaced_once() -> None:
    tokens = FixedTokens()
    responses.get(
        f"{USERS}/{ADA}",
        status=401,
        json=graph_failure("InvalidAuthenticationToken"),
    )
    responses.get(f"{USERS}/{ADA}", json=user())

    assert graph_client(tokens=tokens).get_user(ADA).id == ADA
    assert tokens.asked == [(False, None), (True, None)]
    assert responses.calls[1].request.headers["Authorization"] == f"Bearer {TOKEN}-2"


@responses.activate
def test_a_token_that_is_refused_again_is_an_error() -> None:
    responses.get(
        f"{USERS}/{ADA}",
        status=401,
        json=graph_failure("InvalidAuthenticationToken"),
    )

    with pytest.raises(errors.TokenRefused) as caught:
        graph_client().get_user(ADA)

    assert len(responses.calls) == 2
    assert TOKEN not in caught.value.sentences()


CHALLENGE = {"access_token": {"nbf": {"essential": True, "value": "1635527790"}}}


def challenge_header(claims: object = CHALLENGE) -> str:
    encoded = base64.b64encode(json.dumps(claims).encode()).decode()
    return (
        'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/'
        'oauth2/authorize", error="insufficient_claims", '
        f'claims="{encoded}"'
    )


@responses.activate
def test_a_claims_challenge_is_answered_once_with_its_claims() -> None:
    tokens = FixedTokens()
    header = {"WWW-Authenticate": challenge_header()}
    for _ in range(3):
        responses.get(f"{USERS}/{ADA}", status=401, json={}, headers=header)

    with pytest.raises(errors.TokenRefused):
        graph_client(tokens=tokens).get_user(ADA)

    assert tokens.asked == [(False, None), (False, json.dumps(CHALLENGE))]
    assert len(responses.calls) == 2


@responses.activate
def test_a_round_goes_on_after_a_claims_challenge_in_its_middle() -> None:
    tokens = FixedTokens()
    responses.get(USERS_DELTA, json=page(user(), next_link=next_users("1")))
    responses.get(
        next_users("1"),
        status=401,
        json=graph_failure("InvalidAuthenticationToken"),
        headers={"WWW-Authenticate": challenge_header()},
    )
    responses.get(
        next_users("1"),
        json=page(user(BEN), delta_link=f"{USERS_DELTA}?$deltatoken=a"),
    )

    pages = list(graph_client(tokens=tokens).users_delta())

    assert [each.id for one in pages for each in one.users] == [ADA, BEN]
    assert [claims for _fresh, claims in tokens.asked if claims] == [
        json.dumps(CHALLENGE)
    ]


@pytest.mark.parametrize(
    "header",
    [
        "",
        'Bearer realm=""',
        'Bearer error="insufficient_claims"',
        challenge_header().replace("insufficient_claims", "invalid_token"),
        'Bearer error="insufficient_claims", claims="A"',
        'Bearer error="insufficient_claims", claims="bm90IGpzb24="',
        'Bearer error="insufficient_claims", claims="/////w=="',
        'Bearer error="insufficient_claims", claims="eyJh IjoxfQ=="',
        challenge_header([1]),
    ],
)
def test_what_is_no_claims_challenge_is_none(header: str) -> None:
    assert claims_challenge(header) is None


def test_a_claims_challenge_is_read_in_the_other_alphabet_and_with_spaces() -> None:
    claims = {"a": "???>>>~~~"}
    url_safe = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    assert {"-", "_"} & set(url_safe)

    header = f'Bearer error = "insufficient_claims", claims = "{url_safe}"'

    assert json.loads(claims_challenge(header) or "") == claims


def test_a_claims_challenge_is_read_with_and_without_padding() -> None:
    padded = challenge_header({"a": "b"})
    assert '=="' in padded

    for header in (padded, padded.replace('=="', '"')):
        assert json.loads(claims_challenge(header) or "") == {"a": "b"}


# Errors


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"json": graph_failure("Request_BadRequest")}, errors.QueryRefused),
        (400, {"json": graph_failure("Request_UnsupportedQuery")}, errors.QueryRefused),
        (
            401,
            {"json": graph_failure("InvalidAuthenticationToken")},
            errors.TokenRefused,
        ),
        (
            401,
            {"json": graph_failure("Authorization_IdentityNotFound")},
            errors.ApplicationRemoved,
        ),
        (
            403,
            {"json": graph_failure("Authorization_RequestDenied")},
            errors.PermissionMissing,
        ),
        (401, {"body": b"<html>", "content_type": HTML}, errors.ForeignAnswer),
        (403, {"body": b"<html>", "content_type": HTML}, errors.ForeignAnswer),
        (403, {"json": {"error": "blocked"}}, errors.GraphResponseError),
        (
            404,
            {"json": graph_failure("Request_ResourceNotFound")},
            errors.DirectoryObjectNotFound,
        ),
        (404, {"body": b"not found"}, errors.ForeignAnswer),
        (404, {"body": b"<html>", "content_type": JSON}, errors.GraphResponseError),
        (404, {"json": {"error": "not found"}}, errors.GraphResponseError),
        (
            409,
            {"json": graph_failure("Directory_ConcurrencyViolation")},
            errors.GraphError,
        ),
        (410, {"json": graph_failure("Gone")}, errors.GraphError),
        (429, {"json": graph_failure("TooManyRequests")}, errors.GraphUnavailable),
        (500, {"json": graph_failure("InternalServerError")}, errors.GraphUnavailable),
        (501, {"json": graph_failure("NotImplemented")}, errors.QueryRefused),
        (503, {"json": graph_failure("ServiceUnavailable")}, errors.GraphUnavailable),
        (200, {"body": b"<html>", "content_type": HTML}, errors.ForeignAnswer),
        (200, {"json": user(), "content_type": HTML}, errors.ForeignAnswer),
        (200, {"json": user(), "content_type": "<script>"}, errors.ForeignAnswer),
        (200, {"body": b"<html>", "content_type": JSON}, errors.GraphResponseError),
        (200, {"body": b'{"id": "', "content_type": JSON}, errors.GraphResponseError),
        (200, {"body": b"", "content_type": JSON}, errors.GraphResponseError),
        (200, {"json": []}, errors.GraphResponseError),
        (200, {"json": {"displayName": "nobody"}}, errors.GraphResponseError),
        (204, {"body": b""}, errors.ForeignAnswer),
        (302, {"headers": {"Location": USERS}}, errors.RedirectRefused),
        (418, {"json": graph_failure("Teapot<script>")}, errors.GraphResponseError),
    ],
)
def test_each_status_has_its_error(
    status: int, body: dict[str, Any], expected: type[errors.EntraError]
) -> None:
    headers = {"request-id": "9a6c1d2e-1111", **body.pop("headers", {})}
    responses.get(f"{USERS}/{ADA}", status=status, headers=headers, **body)

    with pytest.raises(expected) as caught:
        graph_client().get_user(ADA)

    assert type(caught.value) is expected
    assert caught.value.advice
    if status != 200 or expected is errors.ForeignAnswer:
        assert caught.value.status == status
        assert caught.value.request_id == "9a6c1d2e-1111"
    assert "<" not in caught.value.sentences()


@responses.activate
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda c: c.organization(), id="organization"),
        pytest.param(lambda c: c.find_users("mail", "x"), id="users"),
        pytest.param(lambda c: c.find_groups("x"), id="groups"),
    ],
)
def test_a_list_that_is_not_found_is_never_a_deleted_object(
    call: Callable[[GraphClient], object],
) -> None:
    for name in ("organization", "users", "groups"):
        responses.get(
            f"{GRAPH}/{name}",
            status=404,
            json=graph_failure("Request_ResourceNotFound"),
        )

    with pytest.raises(errors.GraphError) as caught:
        call(graph_client())

    assert not isinstance(caught.value, errors.DirectoryObjectNotFound)


@responses.activate
def test_microsofts_own_words_are_not_shown() -> None:
    responses.get(
        f"{USERS}/{ADA}",
        status=400,
        json=graph_failure("Request_BadRequest", "Ada's secret nickname"),
    )

    with pytest.raises(errors.QueryRefused) as caught:
        graph_client().get_user(ADA)

    assert "nickname" not in caught.value.sentences()
    assert "Request_BadRequest" in caught.value.sentences()
