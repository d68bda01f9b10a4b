"""The catalogue of properties, held against the sandbox's reading of Graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from directory import attributes, clouds, tokens
from directory.attributes import PROPERTIES, REFUSED, USER_FIELDS
from directory.entra import EntraSession, GraphClient, errors
from directory.sandbox.directory_object import Kind
from directory.sandbox.schema import declared, outside
from directory.sync.attributes import USER_ATTRIBUTES
from tests.directory.syncing import Story

OUTERS = sorted({each.outer for each in PROPERTIES})


@pytest.fixture
def graph(story: Story) -> Iterator[GraphClient]:
    with EntraSession(clouds.cloud("SANDBOX")) as session:
        yield tokens.graph_client(story.cloud_idp, session=session)


def test_every_property_of_a_user_is_offered_or_refused_with_a_reason() -> None:
    refused = {name for each in REFUSED for name in each.names}
    known = {*declared(Kind.USER).values(), *outside(Kind.USER).values()}

    assert known <= refused | set(OUTERS)
    assert not refused & set(OUTERS)
    assert all(each.reason for each in REFUSED)


def test_a_read_of_everybody_can_name_all_that_is_offered(graph: GraphClient) -> None:
    """With the console's permissions alone, as the next sync will ask."""
    page = next(iter(graph.users_delta(properties=[p.name for p in PROPERTIES])))

    assert set(OUTERS) <= page.items[0].keys()


def test_what_stands_outside_the_directory_cannot_be_read_of_everybody(
    graph: GraphClient,
) -> None:
    for name in REFUSED[0].names:
        with pytest.raises(errors.GraphError):
            next(iter(graph.users_delta(properties=[name])))


def test_people_are_found_by_whatever_can_be_their_user_name(
    story: Story, graph: GraphClient
) -> None:
    """Of many properties only when Graph is told that it may answer eventually."""
    value = "nobody.else@fernhill.example"
    body: dict[str, Any] = {}
    for name in attributes.USER_NAME_PROPERTIES:
        outer, _, inner = name.partition(".")
        body[outer] = {**body.get(outer, {}), inner: value} if inner else value
    story.control("PATCH", "users/wren@fernhill.example", body)

    for name in attributes.USER_NAME_PROPERTIES:
        (found,) = graph.find_users(name, value, properties=[name])
        assert found.value(name) == value, name


def test_every_value_comes_from_where_it_stands(story: Story) -> None:
    story.control(
        "PATCH",
        "users/ana.ruiz@fernhill.example",
        {
            "onPremisesSamAccountName": "aruiz",
            "onPremisesDistinguishedName": "CN=Ana,OU=People",
            "employeeOrgData": {"division": "Products", "costCenter": "4711"},
            "onPremisesExtensionAttributes": {"extensionAttribute15": "Building 4"},
            "otherMails": ["ana@ruiz.example", "ruiz@ana.example"],
            "onPremisesSyncEnabled": True,
        },
    )
    mapped = {
        "user_name": "onPremisesSamAccountName",
        "real_name": "onPremisesDistinguishedName",
        "email": "otherMails",
        "department": "employeeOrgData.division",
        "building": "onPremisesExtensionAttributes.extensionAttribute15",
        "room": "employeeOrgData.costCenter",
        "phone": "mailNickname",
        "position": "onPremisesSyncEnabled",
    }
    assert {*mapped} == {*USER_ATTRIBUTES} == {*USER_FIELDS} - {"user_id"}
    for name, graph_property in mapped.items():
        setattr(story.cloud_idp.mappings, name, graph_property)
    story.cloud_idp.mappings.save()

    story.read()

    ana = story.user("ana.ruiz@fernhill.example")
    assert {name: getattr(ana, name) for name in mapped} == {
        "user_name": "aruiz",
        "real_name": "CN=Ana,OU=People",
        "email": "ana@ruiz.example, ruiz@ana.example",
        "department": "Products",
        "building": "Building 4",
        "room": "4711",
        "phone": "ana.ruiz",
        "position": "true",
    }


def test_only_what_is_mapped_or_needed_is_asked_for(story: Story) -> None:
    for name in ("real_name", "email", "department", "phone", "position"):
        setattr(story.cloud_idp.mappings, name, "")
    story.cloud_idp.mappings.save()

    story.read()

    asked = [
        entry
        for entry in story.sandbox.control("GET", "journal?plane=graph")["entries"]
        if entry["path"].startswith("/v1.0/users/delta")
    ]
    assert "mail" not in str(asked[0])
    assert "mobilePhone" not in str(asked[0])
    assert "userPrincipalName" in str(asked[0])
