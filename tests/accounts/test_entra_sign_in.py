"""Signing in with Entra against the sandbox: real pages, codes, tokens and keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone
from lxml import html

from directory import credentials, registrations
from directory.dependents import AppliedChange, ObjectRef, registered
from directory.models import CloudIdentityProvider, DirectoryUser
from jamfidp.accounts import entra_sign_in, standing, switches, throttle
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.models import (
    AccessLevel,
    DirectoryBinding,
    SignInConfirmation,
    SignInRequest,
    User,
)
from jamfidp.history.models import ObjectHistory
from tests import cast, factories
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Answer, Browser, Page

pytestmark = [pytest.mark.django_db, pytest.mark.processes]

START = "/login/entra/"
CALLBACK = "http://localhost:8000/login/entra/callback/"


@dataclass
class Console:
    """A console connected to Fernhill Studio, and a person's browser."""

    sandbox: Sandbox
    cloud_idp: CloudIdentityProvider
    client: Client

    def person(self, who: cast.Person, **values: Any) -> DirectoryUser:
        return factories.directory_user(
            who.display_name,
            self.cloud_idp,
            **{
                "object_id": who.object_id,
                "user_principal_name": who.upn,
                "account_enabled": who.enabled,
                "user_type": "Guest" if who.guest else "Member",
            }
            | values,
        )

    def bound_group(
        self, *members: DirectoryUser, nested: bool = False, **account_group: Any
    ) -> str:
        """Bind a group that the tenant has, and the last sync has read."""
        made = self.sandbox.control(
            "POST",
            f"tenants/{cast.FERNHILL.tenant_id}/groups",
            {
                "displayName": "Console admins",
                "members": [one.object_id for one in members],
            },
        )
        group = factories.directory_group(
            "Console admins", self.cloud_idp, *members, object_id=made["id"]
        )
        factories.bind(
            factories.account_group("Administrators", **account_group),
            group,
            nested=nested,
        )
        return group.object_id

    def in_entra(self, method: str, path: str, json: Any = None) -> Any:
        """Change the tenant, as its own administrators would."""
        return self.sandbox.control(
            method, f"tenants/{cast.FERNHILL.tenant_id}/{path}", json
        )

    def start(self, client: Client | None = None, **query: str) -> str:
        given: dict[str, str] = {"connection": str(self.cloud_idp.pk), **query}
        response = (client or self.client).get(START, given)
        assert response.status_code == 303, response.content.decode()
        return str(response["Location"])

    def at_microsoft(self, address: str, who: cast.Person = cast.ANA) -> dict[str, str]:
        """Sign in on the sandbox's pages; return what comes back to the console."""
        answer = Browser(self.sandbox.pages_url).sign_in(
            address, upn=who.upn, password=cast.PASSWORD
        )
        if isinstance(answer, Page) and "Permissions" in answer.heading:
            answer = Browser(self.sandbox.pages_url).submit(answer, press="Accept")
        assert isinstance(answer, Answer), f"{answer.heading}: {answer.text}"
        assert answer.address == CALLBACK
        return answer.values

    def answer(self, values: dict[str, str], client: Client | None = None) -> Any:
        return (client or self.client).get(urlsplit(CALLBACK).path, values)

    def sign_in(self, who: cast.Person = cast.ANA, **query: str) -> Any:
        return self.answer(self.at_microsoft(self.start(None, **query), who))

    def refusal(self, response: Any, client: Client | None = None) -> str:
        """Follow to the clean address and return what the person reads."""
        assert response.status_code == 303
        assert response["Location"] == "/login/entra/refused/"
        page = (client or self.client).get(response["Location"])
        assert page.status_code == 403
        assert not self.signed_in(client)
        return str(page.content.decode())

    def signed_in(self, client: Client | None = None) -> bool:
        return "_auth_user_id" in (client or self.client).session


@pytest.fixture
def console(sandbox: Sandbox) -> Console:
    now = timezone.now()
    application = registrations.save_client_id(
        cloud_key="SANDBOX",
        client_id=sandbox.application["client_id"],
        connections_confirmed=False,
        actor=None,
        now=now,
    )
    credentials.add_secret(
        application,
        secret=sandbox.application["client_secret"],
        expires_at=None,
        actor=None,
        now=now,
    )
    sandbox.control(
        "PUT",
        f"tenants/{cast.FERNHILL.tenant_id}/consents/{sandbox.application['client_id']}",
        {},
    )
    factories.administrator()
    return Console(
        sandbox,
        factories.cloud_idp(tenant_id=cast.FERNHILL.tenant_id),
        Client(SERVER_NAME="localhost"),
    )


@pytest.fixture
def ana(console: Console) -> DirectoryUser:
    """Ana, whom the bound group holds."""
    person = console.person(cast.ANA)
    console.bound_group(person)
    return person


def test_a_member_of_a_bound_group_gets_an_account_and_lands_on_a_clean_address(
    console: Console, ana: DirectoryUser
) -> None:
    response = console.sign_in(next="/users/?q=x")

    assert (response.status_code, response["Location"]) == (303, "/users/?q=x")
    account = User.objects.get(object_id=cast.ANA.object_id)
    assert account.tenant_id == cast.FERNHILL.tenant_id
    assert account.access_level == AccessLevel.GROUP
    assert account.has_perm("scoping.change_policy")
    assert not account.has_usable_password()
    assert console.signed_in()
    notes = ObjectHistory.objects.filter(object_pk=str(account.pk))
    assert {entry.action for entry in notes} == {"created", "signed in"}


def test_a_second_sign_in_finds_the_same_account_and_follows_the_names(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()
    DirectoryUser.objects.update(
        display_name="Ana Ruiz-Vega", user_principal_name="ana.vega@fernhill.example"
    )

    console.sign_in()

    account = User.objects.get(object_id=cast.ANA.object_id)
    assert account.full_name == "Ana Ruiz-Vega"
    assert account.username == "ana.vega@fernhill.example"


def test_the_page_offers_every_enabled_connection_and_no_other(
    console: Console,
) -> None:
    factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT, enabled=False)

    page = console.client.get("/login/").content.decode()

    assert f"?connection={console.cloud_idp.pk}" in page
    assert "Quarrel" not in page


def test_what_goes_to_microsoft_is_pkce_s256_with_state_and_hashed_nonce(
    console: Console,
) -> None:
    query = {
        name: values[0]
        for name, values in parse_qs(urlsplit(console.start()).query).items()
    }

    assert query["code_challenge_method"] == "S256"
    assert query["redirect_uri"] == CALLBACK
    assert query["response_mode"] == "query"
    assert "offline_access" not in query["scope"]
    row = SignInRequest.objects.get()
    stored = f"{row.state_hash}{row.flow_sealed}{row.browser_hash}"
    assert query["state"] not in stored
    assert query["nonce"] not in stored


def test_a41_the_host_header_takes_no_part_in_the_redirect_uri(
    console: Console,
) -> None:
    client = Client(SERVER_NAME="localhost", HTTP_X_FORWARDED_HOST="evil.example")

    assert "evil.example" not in console.start(client)


# --- Who is refused, and what they read ------------------------------------------


def test_a_member_of_no_bound_group_is_told_so(
    console: Console, ana: DirectoryUser
) -> None:
    console.person(cast.INGRID)

    page = console.refusal(console.sign_in(cast.INGRID))

    assert "hold no privileges" in page
    assert "none of the directory groups that give privileges" in page
    assert "Console admins" not in page
    assert not User.objects.exclude(object_id="").exists()
    entry = ObjectHistory.objects.get(action="refused")
    assert "hold no privileges" in entry.note


def test_a25_a_guest_is_told_so(console: Console) -> None:
    console.bound_group(console.person(cast.PAT))

    page = console.refusal(console.sign_in(cast.PAT))

    assert "You are a guest" in page
    assert not User.objects.exclude(object_id="").exists()


@pytest.mark.parametrize("nested", [False, True])
def test_f44_a_person_whom_no_sync_has_seen_is_in_no_bound_group(
    console: Console, nested: bool
) -> None:
    console.bound_group(nested=nested, site=factories.site())

    assert "none of the directory groups" in console.refusal(console.sign_in())


def test_f44_a_person_whom_no_sync_has_seen_gets_in_when_graph_confirms_it(
    console: Console,
) -> None:
    group = console.bound_group(nested=True, site=factories.site())
    console.in_entra("PUT", f"groups/{group}/members/{cast.ANA.object_id}")

    assert console.sign_in()["Location"] == "/"

    account = User.objects.get(object_id=cast.ANA.object_id)
    (grant,) = standing.read(account, now=timezone.now()).grants
    assert "at the sign-in, Microsoft said" in grant.path.sentence


def test_f44_where_only_direct_members_count_the_next_sync_decides(
    console: Console,
) -> None:
    group = console.bound_group()
    console.in_entra("PUT", f"groups/{group}/members/{cast.ANA.object_id}")

    console.refusal(console.sign_in())

    ref = ObjectRef(cast.FERNHILL.tenant_id, cast.ANA.object_id)
    held = standing.of_person(ref, now=timezone.now())
    assert [one.reason for one in held.withheld] == [Reason.DIRECT_UNKNOWN]


def test_a26_who_left_the_group_since_the_last_sync_holds_nothing(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()
    account = User.objects.get(object_id=cast.ANA.object_id)
    assert account.has_perm("scoping.change_policy")
    binding = DirectoryBinding.objects.get()
    console.in_entra(
        "DELETE", f"groups/{binding.object_id}/members/{cast.ANA.object_id}"
    )
    console.sandbox.control("DELETE", "sessions")

    console.sign_in()

    account = User.objects.get(object_id=cast.ANA.object_id)
    assert not account.has_perm("scoping.change_policy")


@pytest.mark.parametrize(
    ("enabled", "said"),
    [
        (False, "Your account is disabled in Entra."),
        (None, "does not say whether your account is enabled"),
    ],
)
def test_a26_who_was_disabled_since_the_last_sync_is_told_so(
    console: Console, ana: DirectoryUser, enabled: bool | None, said: str
) -> None:
    # Microsoft's sign-in service hears of it later than Graph does.
    console.sandbox.control(
        "POST",
        "faults",
        {
            "path": f"/v1.0/users/{cast.ANA.object_id}",
            "method": "GET",
            "merge": {"accountEnabled": enabled},
        },
    )

    assert said in console.refusal(console.sign_in())


def test_who_was_deleted_since_the_last_sync_is_told_so(
    console: Console, ana: DirectoryUser
) -> None:
    console.sandbox.control(
        "POST",
        "faults",
        {"path": f"/v1.0/users/{cast.ANA.object_id}", "method": "GET", "status": 404},
    )

    assert "does not know you any more" in console.refusal(console.sign_in())


def test_who_was_enabled_again_since_the_last_sync_gets_in(console: Console) -> None:
    ana = console.person(cast.ANA, account_enabled=False)
    console.bound_group(ana, site=factories.site())

    assert console.sign_in()["Location"] == "/"


def test_full_access_is_not_given_by_what_microsoft_says_at_the_sign_in(
    console: Console,
) -> None:
    """Whoever is given it in Entra waits for the sync, and for somebody who agrees."""
    ana = console.person(cast.ANA, account_enabled=False)
    console.bound_group(ana)

    console.refusal(console.sign_in())

    ref = ObjectRef(cast.FERNHILL.tenant_id, cast.ANA.object_id)
    held = standing.of_person(ref, now=timezone.now())
    assert [one.reason for one in held.withheld] == [Reason.NOT_AGREED]


@pytest.mark.parametrize(
    "path", [f"/v1.0/users/{cast.ANA.object_id}", "/v1.0/users/{}/checkMemberGroups"]
)
def test_a27_without_an_answer_of_graph_there_are_no_privileges(
    console: Console, ana: DirectoryUser, path: str
) -> None:
    console.sandbox.control(
        "POST",
        "faults",
        {"path": path.format(cast.ANA.object_id), "status": 503, "times": 20},
    )

    page = console.refusal(console.sign_in())

    assert "could not ask whether your account is enabled" in page
    assert "local account" in page
    assert not User.objects.exclude(object_id="").exists()
    assert not SignInConfirmation.objects.exists()


def too_many_groups(console: Console) -> None:
    """Tokens say where the groups are to be asked for, in place of the groups."""
    client_id = console.sandbox.application["client_id"]
    console.sandbox.control(
        "PATCH", f"applications/{client_id}", {"group_claims": "SecurityGroup"}
    )
    console.sandbox.control("PATCH", "behavior", {"group_claim_limit": 0})


def test_a27_a_token_with_too_many_groups_leaves_the_question_to_graph(
    console: Console, ana: DirectoryUser
) -> None:
    too_many_groups(console)

    assert console.sign_in()["Location"] == "/"

    assert User.objects.get(object_id=cast.ANA.object_id).has_perm(
        "scoping.change_policy"
    )


def test_a27_a_token_with_too_many_groups_gives_nothing_while_graph_is_silent(
    console: Console, ana: DirectoryUser
) -> None:
    too_many_groups(console)
    console.sandbox.control(
        "POST",
        "faults",
        {"path": f"/v1.0/users/{cast.ANA.object_id}", "status": 503, "times": 20},
    )

    assert "could not ask" in console.refusal(console.sign_in())


def test_what_graph_said_counts_until_a_read_that_began_later(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()
    answered = SignInConfirmation.objects.get().at

    def applied(began_at: datetime) -> None:
        change = AppliedChange(
            cloud_idp_id=console.cloud_idp.pk, full=False, began_at=began_at
        )
        for one in registered():
            one.after_apply(change, now=timezone.now())

    applied(answered - timedelta(seconds=1))
    assert SignInConfirmation.objects.exists()
    applied(answered + timedelta(seconds=1))
    assert not SignInConfirmation.objects.exists()


def test_a_stale_directory_is_told(console: Console, ana: DirectoryUser) -> None:
    CloudIdentityProvider.objects.update(
        last_good_read_at=timezone.now() - timedelta(hours=30)
    )

    assert "longer than 24 hours ago" in console.refusal(console.sign_in())


def test_a_disabled_account_is_not_let_in(console: Console, ana: DirectoryUser) -> None:
    factories.entra_account(ana, is_active=False)

    page = console.refusal(console.sign_in())

    assert "Your account is disabled in this console" in page


def test_an_account_that_lost_its_group_signs_in_and_reads_why_it_may_nothing(
    console: Console,
) -> None:
    ana = console.person(cast.ANA)
    console.bound_group()
    factories.entra_account(ana)

    assert console.sign_in().status_code == 303

    page = console.client.get("/settings/")
    assert page.status_code == 403
    assert "Not a member of the directory group Console admins" in page.content.decode()


def test_a_connection_disabled_during_the_sign_in_refuses(
    console: Console, ana: DirectoryUser
) -> None:
    values = console.at_microsoft(console.start())
    CloudIdentityProvider.objects.update(enabled=False)

    assert "disabled or deleted meanwhile" in console.refusal(console.answer(values))


def test_a_disabled_connection_cannot_be_started(console: Console) -> None:
    CloudIdentityProvider.objects.update(enabled=False)

    response = console.client.get(START, {"connection": console.cloud_idp.pk})

    assert response.status_code == 404


def test_a_person_who_cancels_is_told_in_words(console: Console) -> None:
    state = parse_qs(urlsplit(console.start()).query)["state"][0]

    response = console.answer(
        {
            "error": "access_denied",
            "error_description": "AADSTS65004: <script>alert(1)</script>",
            "state": state,
        }
    )

    page = console.refusal(response)
    assert "declined" in page or "canceled" in page
    assert "<script>alert" not in page
    assert "AADSTS65004" in page


def test_an_assignment_that_is_missing_is_told_in_words(console: Console) -> None:
    state = parse_qs(urlsplit(console.start()).query)["state"][0]

    page = console.refusal(
        console.answer(
            {
                "error": "invalid_grant",
                "error_description": "AADSTS50105: Your administrator has configured",
                "state": state,
            }
        )
    )

    assert "AADSTS50105" in page
    assert "assign" in page


def test_a_wrong_secret_is_told_and_nothing_is_stored(
    console: Console, ana: DirectoryUser
) -> None:
    found = registrations.registration("SANDBOX")
    found.credentials.all().delete()
    credentials.add_secret(
        found,
        secret="wrong-secret",
        expires_at=None,
        actor=None,
        now=timezone.now(),
    )

    page = console.refusal(console.sign_in())

    assert "AADSTS7000215" in page
    assert "wrong-secret" not in page


def test_a_lost_encryption_key_is_told_before_anybody_goes_to_microsoft(
    console: Console, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []

    response = console.client.get(START, {"connection": console.cloud_idp.pk})

    assert "cannot be read" in console.refusal(response)


def test_a_sandbox_that_is_switched_off_is_told(
    console: Console, settings: Any
) -> None:
    settings.ENTRA_SANDBOX_URL = ""

    response = console.client.get(START, {"connection": console.cloud_idp.pk})

    assert "sandbox cloud is not switched on" in console.refusal(response)


def test_microsoft_out_of_reach_is_told(console: Console, settings: Any) -> None:
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"

    response = console.client.get(START, {"connection": console.cloud_idp.pk})

    assert "The sandbox tenant cannot be reached" in console.refusal(response)


def test_f30_new_signing_keys_are_found_at_the_first_sign_in_with_them(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()
    console.sandbox.control("POST", "keys/rotate", {"keep_old": False})
    console.client.logout()

    console.sign_in()

    assert console.signed_in()


def publish_nothing(sandbox: Sandbox) -> None:
    """Let discovery and keys fail, whoever asks; tokens are still given."""
    for path in ("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"):
        sandbox.control(
            "POST",
            "faults",
            {
                "path": f"/{cast.FERNHILL.tenant_id}/{path}",
                "status": 503,
                "headers": {"Retry-After": "3600"},
                "times": 1000,
            },
        )


def test_f31_people_sign_in_while_discovery_and_keys_are_down(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()
    console.client.logout()
    publish_nothing(console.sandbox)

    console.sign_in()

    assert console.signed_in()


@pytest.mark.usefixtures("without_second_factor")
def test_f31_what_was_never_had_is_told_and_the_local_door_stays_open(
    console: Console, ana: DirectoryUser
) -> None:
    publish_nothing(console.sandbox)

    response = console.client.get(START, {"connection": console.cloud_idp.pk})

    page = console.refusal(response)
    assert "sign-in service is not available at the moment" in page
    console.client.post(
        "/login/", {"username": "admin", "password": factories.PASSWORD}
    )
    assert console.signed_in()


# --- Attacks ---------------------------------------------------------------------


def test_a1_an_answer_without_state_is_refused_and_recorded(console: Console) -> None:
    response = console.answer({"code": "attackers-code"})

    assert response.status_code == 400
    assert not console.signed_in()
    entry = ObjectHistory.objects.get(action="refused")
    assert "attackers-code" not in f"{entry.note}{entry.details}"


def test_forged_answers_do_not_fill_the_history(console: Console) -> None:
    for _ in range(throttle.FREE_PER_ADDRESS + 5):
        assert console.answer({"code": "x", "state": "y"}).status_code == 400

    assert ObjectHistory.objects.filter(action="refused").count() == (
        throttle.FREE_PER_ADDRESS
    )


def test_a2_an_answer_in_another_browser_is_refused(
    console: Console, ana: DirectoryUser
) -> None:
    values = console.at_microsoft(console.start())
    victim = Client(SERVER_NAME="localhost")
    console.start(victim)

    page = console.refusal(console.answer(values, victim), victim)

    assert "begun in another browser" in page


def test_a3_an_answer_works_once(console: Console, ana: DirectoryUser) -> None:
    values = console.at_microsoft(console.start())
    assert console.answer(values).status_code == 303
    console.client.post("/logout/")

    page = console.refusal(console.answer(values))

    assert "used already" in page


def test_a4_an_answer_after_ten_minutes_is_refused_politely(
    console: Console, ana: DirectoryUser
) -> None:
    values = console.at_microsoft(console.start())
    SignInRequest.objects.update(expires_at=timezone.now())

    assert "longer than ten minutes" in console.refusal(console.answer(values))


def test_a6_a_code_of_another_sign_in_fails_at_microsoft(
    console: Console, ana: DirectoryUser
) -> None:
    attacker = Client(SERVER_NAME="localhost")
    stolen = console.at_microsoft(console.start(attacker))["code"]
    own = console.at_microsoft(console.start())

    page = console.refusal(console.answer(own | {"code": stolen}))

    assert "AADSTS501481" in page


def test_a_code_works_once(console: Console, ana: DirectoryUser) -> None:
    first = console.at_microsoft(console.start())
    console.answer(first)
    console.client.post("/logout/")
    second = console.at_microsoft(console.start())

    page = console.refusal(console.answer(second | {"code": first["code"]}))

    assert "AADSTS" in page


PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"


@pytest.mark.parametrize(
    "order",
    [
        pytest.param({"claims": {"nonce": "other"}}, id="A5 another nonce"),
        pytest.param({"remove": ["nonce"]}, id="A5 no nonce"),
        pytest.param({"signed_by": "none"}, id="A9 alg none"),
        pytest.param({"signed_by": "hmac"}, id="A10 HS256 with the public key"),
        pytest.param({"signed_by": "unknown"}, id="A13 wrong signature"),
        pytest.param({"claims": {"aud": "other-client"}}, id="A14 another audience"),
        pytest.param({"claims": {"azp": "other-client"}}, id="A14 another party"),
        pytest.param(
            {"claims": {"iss": "https://127.0.0.1/elsewhere/v2.0"}},
            id="A15 another issuer",
        ),
        pytest.param(
            {"claims": {"tid": cast.QUARREL.tenant_id}}, id="A16 another tenant"
        ),
        pytest.param({"remove": ["tid"]}, id="A16 no tenant"),
        pytest.param({"claims": {"tid": PERSONAL}}, id="A17 personal account"),
        pytest.param({"claims": {"ver": "1.0"}}, id="A19 version 1"),
        pytest.param({"shift": -7200}, id="A20 expired"),
        pytest.param({"shift": 7200}, id="A20 not yet valid"),
        pytest.param({"claims": {"scp": "User.Read"}}, id="A21 access token"),
        pytest.param({"remove": ["oid"]}, id="no object id"),
    ],
)
def test_a_forged_id_token_signs_nobody_in(
    console: Console, ana: DirectoryUser, order: dict[str, Any]
) -> None:
    values = console.at_microsoft(console.start())
    console.sandbox.control("POST", "forge", order)

    console.refusal(console.answer(values))

    assert not User.objects.exclude(object_id="").exists()
    assert ObjectHistory.objects.filter(action="refused").count() == 1


def test_a15_a_sound_token_of_another_connected_tenant_signs_nobody_in(
    console: Console, ana: DirectoryUser
) -> None:
    values = console.at_microsoft(console.start())
    quarrel = factories.cloud_idp("Quarrel", tenant_id=cast.QUARREL.tenant_id)
    twin = factories.directory_user("Twin", quarrel, object_id=cast.ANA.object_id)
    factories.entra_account(twin)
    console.sandbox.control(
        "POST",
        "forge",
        {
            "claims": {
                "tid": cast.QUARREL.tenant_id,
                "iss": f"{console.sandbox.url}/{cast.QUARREL.tenant_id}/v2.0",
            }
        },
    )

    page = console.refusal(console.answer(values))

    assert "another tenant" in page


def test_an_untouched_token_passes_the_forge(
    console: Console, ana: DirectoryUser
) -> None:
    values = console.at_microsoft(console.start())
    console.sandbox.control("POST", "forge", {})

    assert console.answer(values)["Location"] == "/"
    assert console.signed_in()


def test_a23_mail_and_name_of_a_local_account_join_nothing(
    console: Console, ana: DirectoryUser
) -> None:
    local = factories.administrator(cast.ANA.upn, email=cast.ANA.mail)

    console.sign_in()

    account = User.objects.get(object_id=cast.ANA.object_id)
    assert account.pk != local.pk
    assert account.username == f"{cast.ANA.upn} ({cast.ANA.object_id})"
    assert int(console.client.session["_auth_user_id"]) == account.pk


def test_a23_names_of_another_person_in_the_token_change_nothing(
    console: Console, ana: DirectoryUser
) -> None:
    milo = factories.entra_account(console.person(cast.MILO))
    values = console.at_microsoft(console.start())
    console.sandbox.control(
        "POST",
        "forge",
        {"claims": {"preferred_username": cast.MILO.upn, "email": cast.MILO.mail}},
    )

    console.answer(values)

    assert int(console.client.session["_auth_user_id"]) != milo.pk
    assert User.objects.get(object_id=cast.ANA.object_id).username == cast.ANA.upn


def test_a23_the_same_person_of_another_tenant_is_another_person(
    console: Console, ana: DirectoryUser
) -> None:
    factories.entra_account(
        ana, tenant_id=cast.QUARREL.tenant_id, username="ana of Quarrel"
    )

    console.sign_in()

    assert User.objects.filter(object_id=cast.ANA.object_id).count() == 2


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/x", "\\\\e"]
)
def test_a40_after_entra_only_a_local_path_is_gone_to(
    console: Console, ana: DirectoryUser, target: str
) -> None:
    assert console.sign_in(next=target)["Location"] == "/"


def test_a53_the_session_of_before_is_not_the_session_of_after(
    console: Console, ana: DirectoryUser
) -> None:
    session = console.client.session
    session["planted"] = True
    session.save()
    console.client.cookies["sessionid"] = session.session_key or ""

    console.sign_in()

    assert console.client.session.session_key != session.session_key


def test_a46_codes_and_tokens_stand_in_no_log_and_no_history(
    console: Console, ana: DirectoryUser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    values = console.at_microsoft(console.start())
    console.answer(values)
    again = console.at_microsoft(console.start())
    console.sandbox.control("POST", "forge", {"signed_by": "unknown"})
    console.answer(again)

    kept = caplog.text + str(list(ObjectHistory.objects.values()))
    for secret in (
        values["code"],
        again["code"],
        values["state"],
        console.sandbox.application["client_secret"],
        "eyJ",
    ):
        assert secret not in kept


def test_two_sign_ins_in_two_tabs_of_one_browser_both_work(
    console: Console, ana: DirectoryUser
) -> None:
    first = console.start()
    second = console.start()

    assert console.answer(console.at_microsoft(second)).status_code == 303
    assert console.signed_in()
    assert console.answer(console.at_microsoft(first))["Location"] == "/"
    assert User.objects.filter(object_id=cast.ANA.object_id).count() == 1


def test_an_answer_without_a_code_is_refused(console: Console) -> None:
    state = parse_qs(urlsplit(console.start()).query)["state"][0]

    assert "holds no code" in console.refusal(console.answer({"state": state}))


def test_a_key_changed_during_the_sign_in_is_told(
    console: Console, ana: DirectoryUser, settings: Any
) -> None:
    values = console.at_microsoft(console.start())
    settings.ENCRYPTION_KEYS = ["other:" + "A" * 43 + "="]

    page = console.refusal(console.answer(values))

    assert "encryption key of the console was changed" in page


def test_the_same_person_in_two_tabs_at_once_gets_one_account(
    console: Console, ana: DirectoryUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = console.at_microsoft(console.start())
    decide = standing.of_person

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        factories.entra_account(ana)
        return decide(*args, **kwargs)

    monkeypatch.setattr(standing, "of_person", meanwhile)

    assert console.answer(values)["Location"] == "/"
    assert User.objects.filter(object_id=cast.ANA.object_id).count() == 1


def test_beginning_again_and_again_does_not_ask_microsoft_each_time(
    console: Console,
) -> None:
    console.start()
    console.sandbox.control("DELETE", "journal")

    for _ in range(5):
        console.start()

    asked = console.sandbox.control("GET", "journal?plane=login")["entries"]
    assert asked == []


def test_old_requests_are_removed(console: Console) -> None:
    console.start()
    SignInRequest.objects.update(expires_at=timezone.now() - timedelta(hours=1))

    console.start()

    assert SignInRequest.objects.count() == 1


def test_a57_the_refusal_page_without_a_refusal_leads_to_the_sign_in(
    console: Console,
) -> None:
    assert console.client.get("/login/entra/refused/")["Location"] == "/login/"


def stop_all() -> None:
    switches.stop_entra(
        None, reason="x", end_sessions=False, actor=None, now=timezone.now()
    )


def test_a_stop_keeps_people_from_beginning(
    console: Console, ana: DirectoryUser
) -> None:
    stop_all()

    response = console.client.get(START, {"connection": str(console.cloud_idp.pk)})

    assert "has stopped sign-in with Entra" in console.refusal(response)


def test_a_stop_during_the_sign_in_refuses(
    console: Console, ana: DirectoryUser
) -> None:
    values = console.at_microsoft(console.start())
    stop_all()

    assert "has stopped sign-in" in console.refusal(console.answer(values))


def test_a_blocked_person_is_told_so_with_and_without_an_account(
    console: Console, ana: DirectoryUser
) -> None:
    ref = ObjectRef(cast.FERNHILL.tenant_id, cast.ANA.object_id)
    found = switches.block_person(
        ref, name="Ana", reason="secret reason", actor=None, now=timezone.now()
    )
    page = console.refusal(console.sign_in())
    assert "You are blocked in this console." in page
    assert "secret reason" not in page
    assert not User.objects.filter(object_id=cast.ANA.object_id).exists()

    switches.lift(found, reason="x", actor=None, now=timezone.now())
    console.sandbox.control("DELETE", "sessions")
    assert console.sign_in()["Location"] == "/"
    account = User.objects.get(object_id=cast.ANA.object_id)
    switches.block_account(account, reason="x", actor=None, now=timezone.now())
    console.sandbox.control("DELETE", "sessions")

    assert "You are blocked" in console.refusal(console.sign_in())


# --- Several connections ----------------------------------------------------------


@pytest.fixture
def several(console: Console) -> Console:
    """The console is connected to Quarrel as well."""
    factories.cloud_idp(
        "Quarrel",
        tenant_id=cast.QUARREL.tenant_id,
        verified_domains=["quarrel.example"],
    )
    return console


def chosen(
    console: Console, address: str, client: Client | None = None, **fields: str
) -> str:
    """Type a work address; return Microsoft's address that it leads to."""
    client = client or console.client
    sent = client.post(
        "/login/entra/choose/", {"address": address, "cloud": "SANDBOX"} | fields
    )
    assert sent["Location"].startswith("/login/entra/continue/")
    page = client.get(sent["Location"]).content.decode()
    (link,) = html.fromstring(page).cssselect("a.btn-primary")
    response = client.get(str(link.get("href")))
    assert response.status_code == 303, response.content
    return str(response["Location"])


def test_with_several_connections_the_page_names_none(several: Console) -> None:
    page = several.client.get("/login/").content.decode()

    assert "Work address" in page
    assert "Fernhill" not in page
    assert "Quarrel" not in page
    for cloud_idp in CloudIdentityProvider.objects.all():
        response = several.client.get(START, {"connection": str(cloud_idp.pk)})
        assert response.status_code == 404


def test_the_tenant_that_microsoft_finds_is_the_one_signed_in_by(
    several: Console, ana: DirectoryUser
) -> None:
    address = chosen(several, cast.ANA.upn, next="/users/")
    query = parse_qs(urlsplit(address).query)
    assert query["login_hint"] == [cast.ANA.upn]

    response = several.answer(several.at_microsoft(address))

    assert response["Location"] == "/users/"
    account = User.objects.get(object_id=cast.ANA.object_id)
    assert account.tenant_id == cast.FERNHILL.tenant_id


def test_a54_a_connected_domain_looks_like_any_other(several: Console) -> None:
    answers = [
        urlsplit(chosen(several, address))
        for address in ("a@quarrel.example", "a@nowhere.example", "")
    ]

    assert len({(one.netloc, one.path) for one in answers}) == 1
    clients = [parse_qs(one.query)["client_id"] for one in answers]
    assert clients[0] == clients[1] == clients[2]


def test_a42_somebody_of_a_tenant_that_is_not_connected_is_not_let_in(
    several: Console, ana: DirectoryUser
) -> None:
    address = chosen(several, cast.ANA.upn)
    values = several.at_microsoft(address)
    CloudIdentityProvider.objects.filter(tenant_id=cast.FERNHILL.tenant_id).update(
        enabled=False
    )

    page = several.refusal(several.answer(values))

    assert "is not connected to this console" in page
    assert not User.objects.exclude(object_id="").exists()


def test_a_connection_with_an_application_of_its_own_is_found_by_its_domain(
    several: Console,
) -> None:
    own = registrations.create_own(
        cloud_key="SANDBOX",
        client_id=factories.guid("own application"),
        actor=None,
        now=timezone.now(),
    )
    credentials.add_secret(
        own, secret="its own secret", expires_at=None, actor=None, now=timezone.now()
    )
    quarrel = CloudIdentityProvider.objects.get(tenant_id=cast.QUARREL.tenant_id)
    quarrel.own_registration = own
    quarrel.save()

    address = urlsplit(chosen(several, "Bo@Quarrel.Example"))

    assert cast.QUARREL.tenant_id in address.path
    assert parse_qs(address.query)["client_id"] == [own.client_id]


def test_nothing_typed_leads_back_to_the_sign_in_page(several: Console) -> None:
    assert several.client.get(START)["Location"] == "/login/"


def test_a_cloud_without_connections_is_told(several: Console) -> None:
    several.client.post("/login/entra/choose/", {"address": "a@b.c", "cloud": "PUBLIC"})

    page = several.refusal(several.client.get(START))

    assert "No sign-in with Entra is set up here" in page


def test_a40_the_way_over_our_own_page_leads_to_local_paths_alone(
    several: Console,
) -> None:
    sent = several.client.post("/login/entra/choose/", {"next": "//evil.example"})

    assert "evil" not in sent["Location"]
    page = several.client.get("/login/entra/continue/?next=//evil.example")
    assert "evil" not in page.content.decode()


# --- Beginning too often ------------------------------------------------------------


def test_beginning_again_and_again_from_one_address_is_refused_for_a_while(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entra_sign_in, "BEGUN_PER_ADDRESS", 3)
    asked = {"connection": str(console.cloud_idp.pk)}
    for _ in range(3):
        console.start()

    response = console.client.get(START, asked)

    assert response.status_code == 429
    assert "Too many sign-ins were begun" in response.content.decode()
    assert SignInRequest.objects.count() == 3
    elsewhere = Client(SERVER_NAME="localhost", REMOTE_ADDR="10.0.0.7")
    console.start(elsewhere)
    SignInRequest.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    console.start()


# --- Signing out -------------------------------------------------------------------


def test_signing_out_says_what_was_ended_and_leads_to_microsofts_end(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()

    left = console.client.post("/logout/")
    assert left["Location"] == "/login/?signed-out=entra"
    assert not console.signed_in()
    page = console.client.get(left["Location"]).content.decode()
    assert "Your session at Microsoft is still open in this browser" in page
    end = urlsplit(console.client.get("/login/entra/sign-out/")["Location"])

    assert end.path.endswith("/oauth2/v2.0/logout")
    assert cast.FERNHILL.tenant_id in end.path
    assert parse_qs(end.query) == {
        "post_logout_redirect_uri": ["http://localhost:8000/login/entra/signed-out/"]
    }
    ended = console.client.get("/login/entra/signed-out/").content.decode()
    assert "the one at Microsoft have ended" in ended


def test_without_having_signed_out_here_nobody_is_led_to_microsofts_end(
    console: Console,
) -> None:
    assert console.client.get("/login/entra/sign-out/")["Location"] == "/login/"


def test_the_end_at_microsoft_that_cannot_be_had_is_told(
    console: Console, ana: DirectoryUser
) -> None:
    console.sign_in()
    console.client.post("/logout/")
    CloudIdentityProvider.objects.all().delete()

    page = console.refusal(console.client.get("/login/entra/sign-out/"))

    assert "disabled or deleted meanwhile" in page
