"""azure-identity's credentials and the generated client of Microsoft Graph."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
)
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.groups.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.generated.models.device import Device
from msgraph.generated.models.group import Group
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.user import User
from msgraph.generated.users.item.get_member_groups.get_member_groups_post_request_body import (
    GetMemberGroupsPostRequestBody,
)
from msgraph.generated.users.users_request_builder import UsersRequestBuilder
from msgraph_core import GraphClientFactory

from tests.witness.checks import (
    CLIENT_ID,
    FACTS,
    GRAPH_SCOPE,
    SECRET,
    TENANT,
    check,
    control,
    leave,
)

# A refusal that is expected needs no line of its own in the log.
logging.getLogger("azure").setLevel(logging.CRITICAL)
OPTIONS = {
    "authority": FACTS["url"],
    "disable_instance_discovery": True,
    "connection_verify": FACTS["ca_file"],
}


def secret(value: str = SECRET) -> ClientSecretCredential:
    return ClientSecretCredential(TENANT["id"], CLIENT_ID, value, **OPTIONS)


def refused() -> bool:
    try:
        secret("wrong").get_token(GRAPH_SCOPE)
    except ClientAuthenticationError as error:
        return "AADSTS7000215" in str(error)
    return False


def credentials() -> None:
    pem = (FACTS["private_key"] + FACTS["certificate"]).encode()
    certificate = CertificateCredential(
        TENANT["id"], CLIENT_ID, certificate_data=pem, **OPTIONS
    )
    assertion = ClientAssertionCredential(
        TENANT["id"], CLIENT_ID, lambda: str(FACTS["assertion"]), **OPTIONS
    )
    for title, credential in (
        ("secret", secret()),
        ("certificate", certificate),
        ("a foreign issuer's assertion", assertion),
    ):
        check(
            f"azure-identity: a token by {title}",
            lambda credential=credential: bool(credential.get_token(GRAPH_SCOPE).token),  # type: ignore[misc]
        )
    check("azure-identity: a wrong secret is refused", refused)


def client() -> GraphServiceClient:
    context = ssl.create_default_context(cafile=FACTS["ca_file"])
    adapter = GraphRequestAdapter(
        AzureIdentityAuthenticationProvider(
            secret(), scopes=[GRAPH_SCOPE], allowed_hosts=["127.0.0.1"]
        ),
        client=GraphClientFactory.create_with_default_middleware(
            client=httpx.AsyncClient(verify=context, trust_env=False, timeout=30)
        ),
    )
    adapter.base_url = f"{FACTS['url']}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


async def all_people(graph: GraphServiceClient) -> bool:
    page = await graph.users.get()
    found = list(page.value)
    while page.odata_next_link:
        page = await graph.users.with_url(page.odata_next_link).get()
        found += page.value
    ids = {user.id for user in found}
    return bool(len(found) == len(ids) == control("GET", "")["tenants"][0]["users"])


async def counted(graph: GraphServiceClient) -> bool:
    asked: RequestConfiguration[Any] = RequestConfiguration(
        query_parameters=UsersRequestBuilder.UsersRequestBuilderGetQueryParameters(
            select=["id", "displayName"], top=5, count=True, search='"displayName:Ana"'
        )
    )
    asked.headers.add("ConsistencyLevel", "eventual")
    page = await graph.users.get(request_configuration=asked)
    return bool(page.odata_count and page.odata_count >= len(page.value) > 0)


async def _round(
    first: Callable[[], Awaitable[Any]], builder: Any
) -> tuple[list[Any], str]:
    page = await first()
    found = list(page.value)
    while page.odata_next_link:
        page = await builder.with_url(page.odata_next_link).get()
        found += page.value
    return found, str(page.odata_delta_link)


async def delta_of_groups(graph: GraphServiceClient) -> bool:
    builder = graph.groups.delta
    asked: RequestConfiguration[Any] = RequestConfiguration(
        query_parameters=DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(
            select=["id", "displayName", "members"]
        )
    )
    found, link = await _round(
        lambda: builder.get(request_configuration=asked), builder
    )
    groups = {group.id for group in found}
    told = {
        str(member["id"])
        for group in found
        for member in group.additional_data.get("members@delta", ())
    }
    name = next(group.display_name for group in found if group.display_name == "Alumni")
    person = TENANT["people"][0]["upn"]
    control("PUT", f"tenants/{TENANT['id']}/groups/{name}/members/{person}")
    changed, _link = await _round(lambda: builder.with_url(link).get(), builder)
    members = [
        member
        for group in changed
        for member in group.additional_data.get("members@delta", ())
    ]
    return (
        len(groups) == control("GET", "")["tenants"][0]["groups"]
        and len(told) > 500
        and [group.display_name for group in changed] == ["Alumni"]
        and len(members) == 1
    )


async def delta_of_users(graph: GraphServiceClient) -> bool:
    builder = graph.users.delta
    found, link = await _round(builder.get, builder)
    person = TENANT["people"][1]["upn"]
    control("DELETE", f"tenants/{TENANT['id']}/users/{person}")
    changed, _link = await _round(lambda: builder.with_url(link).get(), builder)
    control("POST", f"tenants/{TENANT['id']}/users/{person}/restore")
    (gone,) = changed
    removed = gone.additional_data["@removed"]
    return len(found) > 900 and removed == {"reason": "changed"}


async def members(graph: GraphServiceClient) -> bool:
    listed = control("GET", f"tenants/{TENANT['id']}/groups")["value"]
    ids = {group["displayName"]: group["id"] for group in listed}
    people = await graph.groups.by_group_id(ids["Frontend"]).members.get()
    devices = await graph.groups.by_group_id(ids["Studio Macs"]).members.get()
    nested = await graph.groups.by_group_id(ids["Studio"]).transitive_members.get()
    person = next(each for each in people.value if isinstance(each, User))
    held = await graph.users.by_user_id(person.id).get_member_groups.post(
        GetMemberGroupsPostRequestBody(security_enabled_only=False)
    )
    return bool(
        any(isinstance(each, Group) for each in people.value)
        and any(isinstance(each, Device) for each in devices.value)
        and len(nested.value) == 100
        and ids["Studio"] in held.value
    )


async def _error(call: Awaitable[Any]) -> tuple[int, str]:
    try:
        await call
    except ODataError as error:
        return error.response_status_code, error.error.code
    return 200, ""


async def errors(graph: GraphServiceClient) -> bool:
    missing = await _error(graph.users.by_user_id("nobody@fernhill.example").get())
    denied = await _error(graph.devices.get())
    write = await _error(graph.users.by_user_id("nobody").delete())
    return (
        missing == (404, "Request_ResourceNotFound")
        and denied[0] == 400
        and write == (403, "Authorization_RequestDenied")
    )


async def throttled(graph: GraphServiceClient) -> bool:
    control(
        "POST",
        "faults",
        {"path": "/v1.0/organization", "status": 429, "headers": {"Retry-After": "1"}},
    )
    page = await graph.organization.get()
    asked = control("GET", "journal?plane=graph")["entries"][-2:]
    return page.value[0].id == TENANT["id"] and [e["status"] for e in asked] == [
        429,
        200,
    ]


async def graph_checks() -> None:
    graph = client()
    for title, claim in (
        ("pages through everybody", all_people),
        ("searches, selects and counts", counted),
        ("reads groups' delta to the end, then one change", delta_of_groups),
        ("reads users' delta to the end, then a deletion", delta_of_users),
        ("reads members of every kind, and a person's groups", members),
        ("understands errors", errors),
        ("waits as long as 429 says", throttled),
    ):
        try:
            outcome: Any = await claim(graph)
        except Exception as error:  # noqa: BLE001 the check below tells it
            outcome = error

        def told(outcome: Any = outcome) -> bool:
            if isinstance(outcome, Exception):
                raise outcome
            return bool(outcome)

        check(f"msgraph-sdk: {title}", told)


if __name__ == "__main__":
    credentials()
    asyncio.run(graph_checks())
    leave()
