"""The library over sockets against a sandbox tenant: the contract both must keep."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from directory.entra import (
    CertificateCredential,
    ClientSecret,
    Cloud,
    Credential,
    Discovery,
    EntraSession,
    GraphClient,
    IdTokenClaims,
    MemberType,
    Removed,
    SigningKeys,
    SignInSecrets,
    TokenSource,
    TransferStats,
    User,
    admin_consent_url,
    authorization_url,
    callback_error,
    discover,
    errors,
    new_sign_in_secrets,
    redeem_code,
    sandbox_cloud,
    validate_id_token,
)
from directory.entra.errors import IdTokenReason
from tests import cast
from tests.conftest import Sandbox
from tests.directory.entra.certificates import certificate
from tests.directory.sandbox.browser import Answer, Browser, Page

TENANT = cast.FERNHILL.tenant_id
CODE_CALLBACK = "http://localhost:8000/connector/code/"
CONSENT_CALLBACK = "http://localhost:8000/connector/consent/"


@pytest.fixture
def cloud(sandbox: Sandbox) -> Cloud:
    return sandbox_cloud(sandbox.url, sandbox.ca_file)


@pytest.fixture
def stats() -> TransferStats:
    return TransferStats()


@pytest.fixture
def session(cloud: Cloud, stats: TransferStats) -> Iterator[EntraSession]:
    with EntraSession(
        cloud, observer=stats, sleep=lambda seconds: None, total_seconds=60
    ) as session:
        yield session


def client_id(sandbox: Sandbox) -> str:
    return sandbox.application["client_id"]


def secret(sandbox: Sandbox) -> ClientSecret:
    return ClientSecret(sandbox.application["client_secret"])


def consent(sandbox: Sandbox, tenant: str = TENANT, **what: Any) -> None:
    sandbox.control("PUT", f"tenants/{tenant}/consents/{client_id(sandbox)}", what)


def tokens(
    sandbox: Sandbox,
    session: EntraSession,
    *,
    credential: Credential | None = None,
    tenant: str = TENANT,
) -> TokenSource:
    return TokenSource(
        cloud=session.cloud,
        tenant=tenant,
        client_id=client_id(sandbox),
        credential=credential or secret(sandbox),
        session=session,
    )


@pytest.fixture
def graph(sandbox: Sandbox, session: EntraSession) -> GraphClient:
    consent(sandbox)
    return GraphClient(
        cloud=session.cloud, tokens=tokens(sandbox, session), session=session
    )


# Tokens


def test_a_secret_gets_a_token_that_reads_the_tenant(graph: GraphClient) -> None:
    found = graph.organization()

    assert found.id == TENANT
    assert found.display_name == "Fernhill Studio"
    assert cast.FERNHILL.domain in {domain.name for domain in found.verified_domains}


def test_a_certificate_gets_a_token_that_reads_the_tenant(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox)
    key, pem = certificate()
    sandbox.control(
        "POST", f"applications/{client_id(sandbox)}/certificates", {"pem": pem}
    )
    credential = CertificateCredential(
        private_key_pem=key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        certificate_pem=pem,
    )

    graph = GraphClient(
        cloud=session.cloud,
        tokens=tokens(sandbox, session, credential=credential),
        session=session,
    )

    assert graph.organization().id == TENANT


def test_a_certificate_that_is_not_registered_is_refused(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox)
    key, pem = certificate()
    credential = CertificateCredential(
        private_key_pem=key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        certificate_pem=pem,
    )

    with pytest.raises(errors.CredentialsRefused) as caught:
        tokens(sandbox, session, credential=credential).token()

    assert caught.value.code == "AADSTS700027"


def test_a_wrong_secret_is_refused(sandbox: Sandbox, session: EntraSession) -> None:
    consent(sandbox)

    with pytest.raises(errors.CredentialsRefused) as caught:
        tokens(sandbox, session, credential=ClientSecret("wrong")).token()

    assert caught.value.code == "AADSTS7000215"
    assert not caught.value.expired
    assert caught.value.request_id


def test_an_expired_secret_is_told_from_a_wrong_one(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox)
    made = sandbox.control(
        "POST", f"applications/{client_id(sandbox)}/secrets", {"expires_in": -1}
    )

    with pytest.raises(errors.CredentialsRefused) as caught:
        tokens(sandbox, session, credential=ClientSecret(made["value"])).token()

    assert caught.value.expired


def test_without_consent_there_is_no_token(
    sandbox: Sandbox, session: EntraSession
) -> None:
    with pytest.raises(errors.ConsentMissing) as caught:
        tokens(sandbox, session).token()

    assert caught.value.code == "AADSTS7000229"


def test_an_unknown_application_is_named_so(
    sandbox: Sandbox, session: EntraSession
) -> None:
    source = TokenSource(
        cloud=session.cloud,
        tenant=TENANT,
        client_id="ffffffff-0000-4000-8000-000000000000",
        credential=secret(sandbox),
        session=session,
    )

    with pytest.raises(errors.ApplicationNotFound):
        source.token()


def test_an_unknown_tenant_is_named_so(session: EntraSession) -> None:
    with pytest.raises(errors.TenantNotFound):
        discover(session.cloud, "nowhere.example", session)


def test_a_disabled_application_is_named_so(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox)
    sandbox.control("PATCH", f"applications/{client_id(sandbox)}", {"enabled": False})

    with pytest.raises(errors.ApplicationDisabled):
        tokens(sandbox, session).token()


def test_a_token_from_before_consent_lacks_what_a_fresh_one_has(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox, roles=["User.Read.All"])
    source = tokens(sandbox, session)
    graph = GraphClient(cloud=session.cloud, tokens=source, session=session)
    granted = {p.permission: p.granted for p in graph.probe_permissions()}
    assert granted == {"User.Read.All": True, "GroupMember.Read.All": False}

    consent(sandbox)
    source.token(fresh=True)

    assert all(probe.granted for probe in graph.probe_permissions())


def test_revoked_permissions_are_noticed_in_the_middle(
    sandbox: Sandbox, session: EntraSession, graph: GraphClient
) -> None:
    graph.organization()
    sandbox.control(
        "PATCH",
        f"tenants/{TENANT}/consents/{client_id(sandbox)}",
        {"roles": ["User.Read.All"], "end_tokens": True},
    )

    with pytest.raises(errors.PermissionMissing) as caught:
        graph.get_user(cast.GRACE.object_id)

    assert caught.value.permission == "User.Read.All"


# People at Microsoft's pages


def sign_in(
    sandbox: Sandbox,
    where: Discovery,
    secrets: SignInSecrets,
    person: cast.Person = cast.GRACE,
) -> dict[str, str]:
    """Sign somebody in through the pages and return what comes back."""
    url = authorization_url(
        where,
        client_id=client_id(sandbox),
        redirect_uri=CODE_CALLBACK,
        state=secrets.state,
        nonce_hash=secrets.nonce_hash,
        code_challenge=secrets.code_challenge,
    )
    answer = Browser(sandbox.pages_url).sign_in(
        url, upn=person.upn, password=person.password
    )
    assert isinstance(answer, Answer), answer
    assert answer.address == CODE_CALLBACK
    assert answer.values["state"] == secrets.state
    return answer.values


def redeem(
    sandbox: Sandbox,
    session: EntraSession,
    where: Discovery,
    secrets: SignInSecrets,
    code: str,
) -> str:
    return redeem_code(
        where,
        client_id=client_id(sandbox),
        credential=secret(sandbox),
        code=code,
        redirect_uri=CODE_CALLBACK,
        code_verifier=secrets.code_verifier,
        nonce=secrets.nonce,
        session=session,
    )


def validated(
    sandbox: Sandbox,
    session: EntraSession,
    where: Discovery,
    secrets: SignInSecrets,
    raw: str,
    *,
    expected_tenant: str | None = TENANT,
) -> IdTokenClaims:
    return validate_id_token(
        raw,
        cloud=session.cloud,
        client_id=client_id(sandbox),
        nonce=secrets.nonce,
        jwks=SigningKeys(where, session),
        now=datetime.now(UTC),
        expected_tenant=expected_tenant,
    )


@pytest.mark.parametrize("tenant", [TENANT, cast.FERNHILL.domain, "organizations"])
def test_a_person_signs_in_and_is_known_by_tenant_and_object_id(
    sandbox: Sandbox, session: EntraSession, tenant: str
) -> None:
    consent(sandbox)
    where, secrets = discover(session.cloud, tenant, session), new_sign_in_secrets()

    code = sign_in(sandbox, where, secrets, cast.SIOBHAN)["code"]
    raw = redeem(sandbox, session, where, secrets, code)
    found = validated(sandbox, session, where, secrets, raw)

    assert (found.tenant_id, found.object_id) == (TENANT, cast.SIOBHAN.object_id)
    assert found.name == cast.SIOBHAN.display_name
    assert found.preferred_username == cast.SIOBHAN.upn
    assert not found.looks_like_guest


def test_somebody_of_another_tenant_is_refused_where_one_is_expected(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox, cast.QUARREL.tenant_id)
    where = discover(session.cloud, "organizations", session)
    secrets = new_sign_in_secrets()
    code = sign_in(sandbox, where, secrets, cast.ANA_IMPOSTOR)["code"]
    raw = redeem(sandbox, session, where, secrets, code)

    with pytest.raises(errors.IdTokenRefused) as caught:
        validated(sandbox, session, where, secrets, raw)

    assert caught.value.reason is IdTokenReason.OTHER_TENANT


def test_a_code_is_redeemed_once(sandbox: Sandbox, session: EntraSession) -> None:
    consent(sandbox)
    where, secrets = discover(session.cloud, TENANT, session), new_sign_in_secrets()
    code = sign_in(sandbox, where, secrets)["code"]
    redeem(sandbox, session, where, secrets, code)

    with pytest.raises(errors.CodeRefused) as caught:
        redeem(sandbox, session, where, secrets, code)

    assert caught.value.code == "AADSTS54005"


def test_a_code_of_another_flow_is_refused(
    sandbox: Sandbox, session: EntraSession
) -> None:
    consent(sandbox)
    where = discover(session.cloud, TENANT, session)
    attacker, victim = new_sign_in_secrets(), new_sign_in_secrets()
    code = sign_in(sandbox, where, attacker)["code"]

    with pytest.raises(errors.CodeRefused) as caught:
        redeem(sandbox, session, where, victim, code)

    assert caught.value.code == "AADSTS501481"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"signed_by": "none"}, IdTokenReason.ALGORITHM),
        ({"signed_by": "hmac"}, IdTokenReason.ALGORITHM),
        ({"signed_by": "unknown"}, IdTokenReason.SIGNATURE),
        ({"header": {"kid": "nobodys"}}, IdTokenReason.UNKNOWN_KEY),
        ({"claims": {"aud": cast.QUARREL.tenant_id}}, IdTokenReason.AUDIENCE),
        ({"claims": {"tid": cast.QUARREL.tenant_id}}, IdTokenReason.ISSUER),
        ({"claims": {"nonce": "another"}}, IdTokenReason.NONCE),
        ({"remove": ["nonce"]}, IdTokenReason.NONCE),
        ({"remove": ["tid"]}, IdTokenReason.TENANT_MISSING),
        ({"claims": {"ver": "1.0"}}, IdTokenReason.VERSION),
        ({"shift": -3600 - 180}, IdTokenReason.EXPIRED),
        ({"shift": 180}, IdTokenReason.NOT_YET_VALID),
    ],
    ids=lambda value: str(value),
)
def test_a_forged_id_token_is_refused(
    sandbox: Sandbox,
    session: EntraSession,
    order: dict[str, Any],
    reason: IdTokenReason,
) -> None:
    consent(sandbox)
    where, secrets = discover(session.cloud, TENANT, session), new_sign_in_secrets()
    sandbox.control("POST", "forge", order)
    code = sign_in(sandbox, where, secrets)["code"]

    with pytest.raises(errors.IdTokenRefused) as caught:
        validated(
            sandbox,
            session,
            where,
            secrets,
            redeem(sandbox, session, where, secrets, code),
        )

    assert caught.value.reason is reason


def test_new_signing_keys_are_found(sandbox: Sandbox, session: EntraSession) -> None:
    consent(sandbox)
    where = discover(session.cloud, TENANT, session)
    keys = SigningKeys(where, session)
    for _ in range(2):
        secrets = new_sign_in_secrets()
        code = sign_in(sandbox, where, secrets)["code"]
        raw = redeem(sandbox, session, where, secrets, code)
        found = validate_id_token(
            raw,
            cloud=session.cloud,
            client_id=client_id(sandbox),
            nonce=secrets.nonce,
            jwks=keys,
            now=datetime.now(UTC),
        )
        assert found.object_id == cast.GRACE.object_id
        sandbox.control("POST", "keys/rotate", {"keep_old": False})


def test_a_global_administrator_consents_and_the_application_can_read(
    sandbox: Sandbox, session: EntraSession
) -> None:
    where = discover(session.cloud, TENANT, session)
    browser = Browser(sandbox.pages_url)
    url = admin_consent_url(
        where,
        client_id=client_id(sandbox),
        redirect_uri=CONSENT_CALLBACK,
        state="the-state",
    )

    page = browser.sign_in(url, upn=cast.GRACE.upn, password=cast.GRACE.password)
    assert isinstance(page, Page)
    answer = browser.submit(page, press="Accept")

    assert isinstance(answer, Answer)
    assert callback_error(answer.values) is None
    assert answer.values["admin_consent"] == "True"
    assert answer.values["tenant"] == TENANT
    assert answer.values["state"] == "the-state"
    graph = GraphClient(
        cloud=session.cloud, tokens=tokens(sandbox, session), session=session
    )
    assert all(probe.granted for probe in graph.probe_permissions())


def test_declined_consent_is_an_error_although_it_says_admin_consent(
    sandbox: Sandbox, session: EntraSession
) -> None:
    where = discover(session.cloud, TENANT, session)
    browser = Browser(sandbox.pages_url)
    url = admin_consent_url(
        where, client_id=client_id(sandbox), redirect_uri=CONSENT_CALLBACK, state="s"
    )
    page = browser.sign_in(url, upn=cast.GRACE.upn, password=cast.GRACE.password)
    assert isinstance(page, Page)

    answer = browser.submit(page, press="Cancel")

    assert isinstance(answer, Answer)
    assert answer.values["admin_consent"] == "True"
    assert isinstance(callback_error(answer.values), errors.ConsentDeclined)


# The directory


def test_everybody_and_every_group_is_read_to_the_end(graph: GraphClient) -> None:
    people = [u for p in graph.users_delta(properties=["department"]) for u in p.users]
    groups = [g for p in graph.groups_delta() for g in p.groups]

    assert len({user.id for user in people}) == cast.FERNHILL.users_in_all
    assert len({group.id for group in groups}) == cast.FERNHILL.groups_in_all
    by_id = {str(user.id): user for user in people}
    grace = by_id[cast.GRACE.object_id]
    assert grace.value("department") == cast.GRACE.department
    assert by_id[cast.PAT.object_id].is_guest
    members = {
        member.id
        for group in groups
        if group.id == cast.MAC_ADMINS.object_id
        for member in group.members or ()
    }
    assert members == set(cast.MAC_ADMINS.members)


@pytest.mark.parametrize(
    "behavior",
    [
        {"empty_pages": True},
        {"repeat_in_delta": True},
        {"delta_page_size": 7},
        {"member_slice": 3},
    ],
    ids=lambda value: next(iter(value)),
)
def test_odd_pages_lead_to_the_same_directory(
    sandbox: Sandbox, graph: GraphClient, behavior: dict[str, Any]
) -> None:
    def everything() -> tuple[set[str], dict[str, set[str]]]:
        people = {u.id for p in graph.users_delta() for u in p.users}
        members: dict[str, set[str]] = {}
        for page in graph.groups_delta():
            for group in page.groups:
                found = members.setdefault(group.id, set())
                found.update(m.id for m in group.members or () if not m.removed)
        return {str(i) for i in people}, members

    plain = everything()
    sandbox.control("PATCH", "behavior", behavior)

    assert everything() == plain


def last_users_link(graph: GraphClient) -> str:
    *_, last = graph.users_delta()
    assert last.delta_link is not None
    return last.delta_link


def changed_users(graph: GraphClient, link: str) -> list[User]:
    return [user for page in graph.users_delta(link) for user in page.users]


def test_a_delta_link_brings_what_changed_and_nothing_else(
    sandbox: Sandbox, graph: GraphClient
) -> None:
    link = last_users_link(graph)
    assert changed_users(graph, link) == []

    sandbox.control(
        "PATCH",
        f"tenants/{TENANT}/users/{cast.MILO.object_id}",
        {"displayName": "Milo Brandt-Okafor"},
    )
    sandbox.control("DELETE", f"tenants/{TENANT}/users/{cast.ANA.object_id}")
    found = {str(user.id): user for user in changed_users(graph, link)}

    assert set(found) == {cast.MILO.object_id, cast.ANA.object_id}
    assert found[cast.MILO.object_id].display_name == "Milo Brandt-Okafor"
    assert found[cast.ANA.object_id].removed is Removed.CHANGED


def test_members_that_join_and_leave_come_with_the_delta(
    sandbox: Sandbox, graph: GraphClient
) -> None:
    *_, last = graph.groups_delta()
    admins = f"tenants/{TENANT}/groups/{cast.MAC_ADMINS.object_id}/members"
    sandbox.control("PUT", f"{admins}/{cast.GRACE.object_id}")
    sandbox.control("DELETE", f"{admins}/{cast.MILO.object_id}")

    changes = {
        member.id: member.removed
        for page in graph.groups_delta(last.delta_link)
        for group in page.groups
        for member in group.members or ()
    }

    assert changes == {cast.GRACE.object_id: False, cast.MILO.object_id: True}


@pytest.mark.parametrize(
    "shape",
    ["gone", "sync-state-not-found", "older-than-30-days", "resync-required"],
)
def test_an_expired_delta_link_is_told_from_a_failure_in_each_of_its_shapes(
    sandbox: Sandbox, graph: GraphClient, shape: str
) -> None:
    link = last_users_link(graph)
    sandbox.control("POST", "delta/expire", {"shape": shape})

    with pytest.raises(errors.DeltaExpired):
        changed_users(graph, link)

    assert last_users_link(graph)


@pytest.mark.parametrize(
    "person",
    [cast.GRACE, cast.SIOBHAN, cast.LAYLA, cast.PAT, cast.DAN],
    ids=lambda person: person.upn,
)
def test_a_person_is_found_by_upn_and_by_name(
    graph: GraphClient, person: cast.Person
) -> None:
    by_upn = graph.get_user(person.upn, properties=["department"])
    by_id = graph.get_user(person.object_id)
    by_name = graph.find_users("displayName", person.display_name)
    by_search = graph.search_users(person.display_name)

    assert by_upn.id == by_id.id == person.object_id
    assert by_upn.account_enabled is person.enabled
    assert by_upn.is_guest is person.guest
    assert person.object_id in {user.id for user in by_name}
    assert person.object_id in {user.id for user in by_search}


@pytest.mark.parametrize("value", ["') or 1 eq 1 or ('", "*", "%", "' or ''='"])
def test_a_look_up_cannot_be_talked_into_more(graph: GraphClient, value: str) -> None:
    assert graph.find_users("displayName", value) == ()
    assert graph.find_groups(value) == ()
    with pytest.raises(errors.DirectoryObjectNotFound):
        graph.get_user(value)


def test_who_is_gone_is_not_found(sandbox: Sandbox, graph: GraphClient) -> None:
    sandbox.control("DELETE", f"tenants/{TENANT}/users/{cast.ANA.object_id}")

    with pytest.raises(errors.DirectoryObjectNotFound):
        graph.get_user(cast.ANA.object_id)
    with pytest.raises(errors.DirectoryObjectNotFound):
        graph.get_group(cast.ANA.object_id)


def test_several_people_and_groups_are_looked_up_at_once(
    sandbox: Sandbox, graph: GraphClient, stats: TransferStats
) -> None:
    people = [each.id for page in graph.users_delta() for each in page.users][:45]
    gone = people[7]
    sandbox.control("DELETE", f"tenants/{TENANT}/users/{gone}")
    (group,) = graph.find_groups("Engineering")
    before = stats.requests

    found = graph.look_up_users(people)
    groups = graph.look_up_groups([group.id])

    assert [key for key, answer in found.items() if answer.gone] == [gone]
    assert {answer.value.id for answer in found.values() if answer.value} == (
        set(people) - {gone}
    )
    assert groups[group.id].value == graph.get_group(group.id)
    assert stats.requests == before + 3 + 1 + 1


def test_memberships_of_several_people_are_confirmed_at_once(
    graph: GraphClient,
) -> None:
    ana, milo = (graph.get_user(person.upn).id for person in (cast.ANA, cast.MILO))
    (studio,) = graph.find_groups("Studio")
    (admins,) = graph.find_groups("Mac Admins")

    found = graph.confirm_memberships(
        {ana: [studio.id, admins.id], milo: [studio.id, admins.id]}
    )

    for person in (ana, milo):
        live = graph.check_member_groups(person, [studio.id, admins.id])
        assert found[person].value == live
    assert studio.id in (found[ana].value or ())
    assert admins.id in (found[milo].value or ())


def test_the_groups_of_several_people_are_asked_for_at_once(
    sandbox: Sandbox, graph: GraphClient, stats: TransferStats
) -> None:
    people = [each.id for page in graph.users_delta() for each in page.users][:25]
    gone = people.pop()
    sandbox.control("DELETE", f"tenants/{TENANT}/users/{gone}")
    before = stats.requests

    found = graph.groups_of_users([*people, gone])

    assert stats.requests <= before + 2 + 1, "twenty at once, and the missing one again"
    assert found[gone].gone
    for person in people:
        live = graph.get_member_groups(person)
        assert found[person].value == live


def test_f4_items_of_a_batch_that_fail_are_asked_again_singly(
    sandbox: Sandbox, graph: GraphClient, stats: TransferStats
) -> None:
    people = [each.id for page in graph.users_delta() for each in page.users][:5]
    sandbox.control("DELETE", f"tenants/{TENANT}/users/{people[2]}")
    for item, fault in (
        ("1", {"status": 429, "headers": {"Retry-After": "1"}}),
        ("2", {"status": 503}),
        ("5", {"status": 424}),
    ):
        sandbox.control("POST", "faults", {"path": "/v1.0", "item": item, **fault})
    sandbox.control("DELETE", "journal")
    waits = stats.waits

    found = graph.look_up_users(people)

    assert [key for key, answer in found.items() if answer.gone] == [people[2]]
    assert [key for key, answer in found.items() if answer.value] == [
        each for each in people if each != people[2]
    ]
    asked = sandbox.control("GET", "journal?plane=graph")["entries"]
    assert [entry["template"] for entry in asked] == [
        "/v1.0/$batch",
        *["/v1.0/users/{id}"] * 3,
    ]
    assert stats.waits == waits + 1


def test_groups_with_one_name_are_all_found(graph: GraphClient) -> None:
    found = graph.find_groups(cast.CONTRACTORS_DESIGN.display_name)

    assert {group.id for group in found} == {
        cast.CONTRACTORS_DESIGN.object_id,
        cast.CONTRACTORS_IT.object_id,
    }
    assert graph.get_group(found[0].id).display_name == found[0].display_name


def test_nested_membership_is_seen_by_every_call(graph: GraphClient) -> None:
    ana, studio = cast.ANA.object_id, cast.STUDIO.object_id

    listed = {group.id for group in graph.transitive_member_of(ana)}
    everyone = {
        member.id
        for page in graph.transitive_members(studio)
        for member in page.members
    }

    assert studio in listed
    assert studio in graph.get_member_groups(ana)
    assert graph.check_member_groups(ana, [studio, cast.HELPDESK.object_id]) == {studio}
    assert ana in everyone
    direct = {m.id for page in graph.members(studio) for m in page.members}
    assert ana not in direct


def test_devices_among_the_members_are_told_from_people(graph: GraphClient) -> None:
    kinds = {
        member.type
        for page in graph.members(cast.STUDIO_MACS_GROUP.object_id)
        for member in page.members
    }

    assert kinds == {MemberType.DEVICE, MemberType.USER}


def test_hidden_members_are_a_missing_permission(graph: GraphClient) -> None:
    hidden = next(g for g in cast.FERNHILL.groups if g.hidden_membership)

    assert graph.get_group(hidden.object_id).has_hidden_membership
    with pytest.raises(errors.PermissionMissing, match=r"Member\.Read\.Hidden"):
        list(graph.members(hidden.object_id))


# Faults


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "2"}},
        {"status": 429},
        {"status": 503},
        {"status": 500, "times": 2},
        {"truncate": 40},
        {"reset": True},
    ],
    ids=lambda fault: str(fault),
)
def test_a_round_outlives_a_passing_fault(
    sandbox: Sandbox,
    graph: GraphClient,
    stats: TransferStats,
    fault: dict[str, Any],
) -> None:
    graph.organization()
    sandbox.control("POST", "faults", {"path": "/v1.0/users/delta", "nth": 2, **fault})

    people = {user.id for page in graph.users_delta() for user in page.users}

    assert len(people) == cast.FERNHILL.users_in_all
    assert stats.waits == fault.get("times", 1)


def test_a_lasting_fault_fails_the_round(sandbox: Sandbox, graph: GraphClient) -> None:
    graph.organization()
    sandbox.control(
        "POST",
        "faults",
        {"path": "/v1.0/users/delta", "nth": 3, "times": 99, "status": 503},
    )
    pages = graph.users_delta()
    next(pages)
    next(pages)

    with pytest.raises(errors.GraphUnavailable):
        next(pages)


def test_a_round_goes_on_from_the_last_page_that_was_kept(
    sandbox: Sandbox, graph: GraphClient
) -> None:
    sandbox.control("PATCH", "behavior", {"delta_page_size": 300})
    pages = graph.users_delta()
    kept = next(pages)
    pages.close()  # type: ignore[attr-defined]

    rest = list(graph.users_delta(kept.next_link))

    found = {user.id for page in (kept, *rest) for user in page.users}
    assert len(found) == cast.FERNHILL.users_in_all
    assert rest[-1].delta_link


def test_the_next_page_is_on_its_way_while_one_is_looked_at(
    sandbox: Sandbox, graph: GraphClient
) -> None:
    """What is done with a page then takes none of the time of the chain."""
    sandbox.control("PATCH", "behavior", {"delta_page_size": 100})
    sandbox.control("DELETE", "journal")
    pages = graph.users_delta(ahead=lambda: True)

    first = next(pages)
    deadline = time.monotonic() + 10
    while _asked(sandbox) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)

    assert _asked(sandbox) == 3, (
        "one is waited for and one waits to be parsed: no more than that"
    )
    found = {user.id for page in (first, *pages) for user in page.users}
    assert len(found) == cast.FERNHILL.users_in_all


def _asked(sandbox: Sandbox) -> int:
    entries = sandbox.control("GET", "journal?plane=graph")["entries"]
    return len(entries)


def test_f24_tokens_that_end_in_the_middle_are_replaced(
    sandbox: Sandbox, graph: GraphClient
) -> None:
    sandbox.control("PATCH", "behavior", {"delta_page_size": 300})
    pages = graph.users_delta()
    found = {user.id for user in next(pages).users}
    sandbox.control(
        "POST",
        "faults",
        {
            "path": "/v1.0/users/delta",
            "status": 401,
            "body": {"error": {"code": "InvalidAuthenticationToken", "message": "x"}},
        },
    )

    found |= {user.id for page in pages for user in page.users}

    assert len(found) == cast.FERNHILL.users_in_all


# What must never happen


def test_a_token_that_is_taken_back_in_the_middle_is_answered_with_its_claims(
    sandbox: Sandbox, session: EntraSession, graph: GraphClient
) -> None:
    """Continuous access evaluation: a token for a day, which Graph may end at once."""
    token = tokens(sandbox, session).token()
    assert token.expires_in > 20 * 3600
    pages = graph.users_delta()
    people = [user.id for user in next(pages).users]
    sandbox.control("DELETE", "journal")
    sandbox.control(
        "PATCH",
        f"tenants/{TENANT}/consents/{client_id(sandbox)}",
        {"end_tokens": True},
    )

    people += [user.id for page in pages for user in page.users]

    assert len(set(people)) == cast.FERNHILL.users_in_all
    entries = sandbox.control("GET", "journal")["entries"]
    refused = [each for each in entries if each["status"] == 401]
    asked = [each for each in entries if each["path"].endswith("/token")]
    assert len(refused) == len(asked) == 1
    assert "nbf" in asked[0]["parameters"]["claims"]


def test_no_secret_code_or_token_is_in_any_log(
    sandbox: Sandbox,
    session: EntraSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for logger in (None, "urllib3", "msal"):
        caplog.set_level(logging.DEBUG, logger=logger)
    consent(sandbox)
    where, secrets = discover(session.cloud, TENANT, session), new_sign_in_secrets()
    code = sign_in(sandbox, where, secrets, cast.SIOBHAN)["code"]
    # The browser is no part of the library, and its lines hold the whole address.
    caplog.clear()

    raw = redeem(sandbox, session, where, secrets, code)
    validated(sandbox, session, where, secrets, raw)
    source = tokens(sandbox, session)
    graph = GraphClient(cloud=session.cloud, tokens=source, session=session)
    graph.find_users("displayName", cast.SIOBHAN.display_name)
    graph.get_user(cast.SIOBHAN.upn)

    assert "/v1.0/users" in caplog.text
    for canary in (
        code,
        raw,
        source.token().reveal(),
        sandbox.application["client_secret"],
        secrets.nonce,
        secrets.code_verifier,
        "displayName",
        "Neill",
        "neill",
    ):
        assert canary not in caplog.text
