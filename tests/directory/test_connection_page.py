"""The page of a connection: status, options, mappings, on and off, delete, check."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import (
    checking,
    connections,
    credentials,
    dependents,
    registrations,
)
from directory.dependents import ObjectRef, Use
from directory.models import (
    ApplicationCredential,
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    MappingDraft,
    SyncRun,
)
from jamfidp.access import ConsoleUser
from jamfidp.accounts.models import PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import browser_for, register

Status = CloudIdentityProvider.Status
OTHER_KEY = "other:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


class Watching:
    """A feature that depends on one tenant, and remembers what it was told."""

    label = "Watching"
    subjects: Collection[Any] = ()

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.told: list[str] = []

    def uses_of_group(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]:
        return []

    def uses_of_user(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]:
        return []

    def uses_of_connection(
        self, tenant_id: str, *, viewer: ConsoleUser
    ) -> Sequence[Use]:
        if tenant_id != self.tenant_id:
            return []
        return [
            Use("Policy", "FileVault", "/policies/7/", "limited to Frontend"),
            Use("Account group", "Mac Admins", ""),
        ]

    def groups_in_use(self, tenant_id: str) -> Sequence[Any]:
        return []

    def people_named(self, tenant_id: str) -> list[str]:
        return []

    def questions(self, step: Any, moment: Any) -> list[Any]:
        return []

    def people_in_use(self, tenant_id: str) -> dict[str, Any]:
        return {}

    def shows_all_uses(self, *, viewer: ConsoleUser) -> bool:
        return True

    def user_fragments(self, ref: ObjectRef) -> Sequence[Any]:
        return []

    def group_fragments(self, ref: ObjectRef) -> Sequence[Any]:
        return []

    def sees_subjects(self, subject: Any, *, viewer: ConsoleUser) -> bool:
        return False

    def visible_subjects(self, subject: Any, numbers: Any, *, viewer: Any) -> Any:
        return numbers

    def subject_lines(self, subject: Any, numbers: Any) -> dict[int, Use]:
        return {}

    def consequences(self, planned: Any, *, now: datetime) -> Sequence[Any]:
        return []

    def after_apply(self, change: Any, *, now: datetime) -> None: ...

    def after_connection_change(self, tenant_id: str, *, now: datetime) -> None:
        self.told.append(tenant_id)


@pytest.fixture
def connection(administrator: User, settings: Any) -> CloudIdentityProvider:
    settings.ENTRA_SANDBOX_URL = ""
    cloud_idp = factories.cloud_idp(
        cloud="PUBLIC", verified_domains=["fernhill.example"]
    )
    AttributeMappings.objects.create(cloud_idp=cloud_idp)
    registration = registrations.save_client_id(
        cloud_key="PUBLIC",
        client_id="0a6d5c1e-93f4-4c2b-8e57-1d2f9b7c3a40",
        connections_confirmed=True,
        actor=administrator,
        now=timezone.now(),
    )
    credentials.add_secret(
        registration,
        secret="a-secret-of-no-consequence",
        expires_at=None,
        actor=administrator,
        now=timezone.now(),
    )
    return cloud_idp


@pytest.fixture
def watching(connection: CloudIdentityProvider) -> Iterator[Watching]:
    feature = Watching(connection.tenant_id)
    before = list(dependents._registered)
    dependents._registered.append(feature)
    yield feature
    dependents._registered[:] = before


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


def text_of(client: Client, path: str, code: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == code, response.content.decode()
    return " ".join(response.content.decode().split())


def notes(obj: Any) -> list[str]:
    return [
        entry.note
        for entry in ObjectHistory.objects.filter(
            object_label=obj._meta.label_lower, object_pk=str(obj.pk)
        )
    ]


GRANTED = [
    {
        "permission": name,
        "granted": True,
        "what": "x",
        "at": "2026-11-03T12:00:00+00:00",
    }
    for name in ("User.Read", "User.Read.All", "GroupMember.Read.All")
]
OPTIONS = {
    "display_name": "Fernhill Studio",
    "search_timeout": "30",
    "transitive_membership_enabled": "on",
    "transitive_directory_membership_enabled": "on",
    "match_names_without_domain": "on",
    "match_domains": "",
}
MAPPINGS = {
    "user_name": "userPrincipalName",
    "real_name": "displayName",
    "email": "mail",
    "department": "department",
    "building": "",
    "room": "",
    "phone": "mobilePhone",
    "position": "jobTitle",
    "group_name": "displayName",
}


# --- The page ----------------------------------------------------------------------


def test_the_status_sentence_says_who_consented_and_how_old_the_data_is(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    CloudIdentityProvider.objects.update(
        last_good_read_at=timezone.now() - timedelta(minutes=4, seconds=10)
    )

    page = text_of(browser, connection.get_absolute_url())

    assert "Consent given by Gloria Admin on" in page
    assert "Last good read 4 minutes ago." in page
    assert connection.tenant_id in page


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=30), "less than a minute ago"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=3, minutes=5), "3 hours ago"),
        (timedelta(days=2), "2 days ago"),
    ],
)
def test_the_age_of_the_data_is_said_in_the_largest_unit(
    connection: CloudIdentityProvider, browser: Client, age: timedelta, words: str
) -> None:
    CloudIdentityProvider.objects.update(last_good_read_at=timezone.now() - age)

    assert words in text_of(browser, connection.get_absolute_url())


def test_every_tab_opens_and_a_connection_that_is_gone_is_404(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    base = connection.get_absolute_url()
    tabs = ("", "edit/", "mappings/", "test/", "permissions/", "history/")

    for tab in (*tabs, "disable/", "delete/"):
        assert browser.get(f"{base}{tab}").status_code == 200
    connection.delete()
    for tab in (*tabs, "disable/", "delete/"):
        assert browser.get(f"{base}{tab}").status_code == 404
    for action in ("check", "enable", "disable", "delete", "consent-again"):
        assert browser.post(f"{base}{action}/").status_code == 404


def test_the_list_shows_status_and_age_and_says_what_to_do_when_empty(
    browser: Client, administrator: User, settings: Any
) -> None:
    settings.ENTRA_SANDBOX_URL = ""
    address = "/settings/cloud-idps/"
    assert "Enter the Entra ID application" in text_of(browser, address)
    ApplicationRegistration.objects.create(
        cloud="PUBLIC", client_id="x", changed_at=timezone.now()
    )
    assert "/settings/cloud-idps/new/" in text_of(browser, address)
    one = factories.cloud_idp(status=Status.CREDENTIALS, cloud="SANDBOX")
    factories.directory_user("Ana", one)
    factories.cloud_idp(
        "Quarrel",
        tenant_id=factories.OTHER_TENANT,
        enabled=False,
        first_complete_read_at=None,
        cloud="PUBLIC",
    )

    page = text_of(browser, address)

    assert "Credentials refused" in page
    assert "Disabled" in page
    # One person read; of the other tenant the number is not known, which is no 0.
    assert 'class="number">1</td>' in page
    assert 'class="number">–</td>' in page
    assert "SANDBOX (not available in this console)" in page


def test_a_lost_key_is_said_on_the_page_and_nothing_is_deleted(
    connection: CloudIdentityProvider, browser: Client, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = [OTHER_KEY]

    page = text_of(browser, connection.get_absolute_url())

    assert "credentials of the Entra ID application cannot be read" in page
    assert "signing in with a local account works" in page
    assert "/settings/entra-application/PUBLIC/" in page
    response = browser.post(f"{connection.get_absolute_url()}consent-again/")
    assert response.status_code == 422
    assert "cannot be read" in response.content.decode()


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        ({"status": Status.CREDENTIALS}, "Client secret refused by Microsoft"),
        ({"status": Status.CONSENT_WITHDRAWN}, "Consent was withdrawn in Entra"),
        ({"permissions_probed": []}, "Missing: User.Read, User.Read.All"),
        ({"enabled": False}, "Not read while disabled"),
        ({"last_good_read_at": None}, "Not read yet"),
        (
            {"status": Status.PERMISSIONS_MISSING, "permissions_probed": GRANTED},
            "refused a read",
        ),
        ({"permissions_probed": GRANTED}, "All three granted and tried"),
        (
            {
                "status": Status.UNREACHABLE,
                "status_detail": "Down.",
                "status_code": "c",
                "status_request_id": "r",
            },
            "Reference: <code>c, request r</code>",
        ),
        ({"cloud": "GCC_HIGH"}, "application registration of this cloud was removed"),
    ],
)
def test_each_check_has_its_evidence(
    connection: CloudIdentityProvider,
    browser: Client,
    change: dict[str, Any],
    evidence: str,
) -> None:
    CloudIdentityProvider.objects.update(**change)

    page = text_of(browser, connection.get_absolute_url())
    assert evidence in html.unescape(page)


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(minutes=59), "good"),
        (timedelta(minutes=61), "attention"),
        (timedelta(hours=25), "bad"),
    ],
)
def test_data_that_is_too_old_is_marked(
    connection: CloudIdentityProvider, browser: Client, age: timedelta, state: str
) -> None:
    CloudIdentityProvider.objects.update(last_good_read_at=timezone.now() - age)

    page = text_of(browser, connection.get_absolute_url())

    check = page.partition("Directory</span>")[0].rpartition("check-")[2]
    assert check.startswith(state)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (timedelta(days=40), "good"),
        (timedelta(days=9), "attention"),
        (-timedelta(1), "bad"),
    ],
)
def test_a_secret_warns_before_it_expires(
    connection: CloudIdentityProvider, browser: Client, left: timedelta, state: str
) -> None:
    ApplicationCredential.objects.update(expires_at=timezone.now() + left)

    page = text_of(browser, connection.get_absolute_url())

    assert f'check check-{state}"> <span class="status status-{state}">' in page
    check = page.partition("Credentials</span>")[0].rpartition("check-")[2]
    assert check.startswith(state)


# --- Options -----------------------------------------------------------------------


def test_options_are_saved_with_history(
    connection: CloudIdentityProvider, browser: Client, watching: Watching
) -> None:
    response = browser.post(
        f"{connection.get_absolute_url()}edit/",
        OPTIONS
        | {
            "display_name": "Fernhill renamed",
            "search_timeout": "600",
            "match_domains": "Fernhill.example\n@mac.fernhill.example, fernhill.example",
        },
    )

    assert response.status_code == 303
    connection.refresh_from_db()
    assert connection.display_name == "Fernhill renamed"
    assert connection.search_timeout == 600
    assert connection.match_domains == ["fernhill.example", "mac.fernhill.example"]
    assert "Changed options" in notes(connection)
    assert watching.told == [connection.tenant_id]
    page = text_of(browser, f"{connection.get_absolute_url()}history/")
    assert "Fernhill Studio" in page
    assert "Fernhill renamed" in page


def test_saving_unchanged_options_writes_nothing(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    browser.post(f"{connection.get_absolute_url()}edit/", OPTIONS)

    assert notes(connection) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"display_name": ""}, "This field is required"),
        ({"display_name": "QUARREL"}, "has this display name"),
        ({"search_timeout": "4"}, "greater than or equal to 5"),
        ({"search_timeout": "601"}, "less than or equal to 600"),
        ({"match_domains": "not a domain, -x.example"}, "Not a domain name"),
    ],
)
def test_wrong_options_are_refused_and_kept_on_the_page(
    connection: CloudIdentityProvider,
    browser: Client,
    change: dict[str, str],
    sentence: str,
) -> None:
    factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)

    response = browser.post(f"{connection.get_absolute_url()}edit/", OPTIONS | change)

    assert response.status_code == 422
    page = response.content.decode()
    assert sentence in page
    (value,) = change.values()
    assert value in page
    connection.refresh_from_db()
    assert connection.display_name == "Fernhill Studio"
    # The page's own head still names what is stored.
    assert "<h1>Fernhill Studio</h1>" in " ".join(page.split())


# --- Mappings ----------------------------------------------------------------------


def test_other_mappings_are_proposed_and_nothing_is_saved(
    connection: CloudIdentityProvider, browser: Client, watching: Watching
) -> None:
    response = browser.post(
        f"{connection.get_absolute_url()}mappings/",
        MAPPINGS
        | {
            "user_name": "mailNickname",
            "room": "onPremisesExtensionAttributes.extensionAttribute15",
        },
    )

    assert response.status_code == 303
    draft = MappingDraft.objects.get()
    assert response["Location"] == draft.get_absolute_url()
    assert draft.mappings["user_name"] == "mailNickname"
    assert (draft.mappings["user_id"], draft.mappings["group_id"]) == ("id", "id")
    assert AttributeMappings.objects.get().user_name == "userPrincipalName"
    assert not SyncRun.objects.exists()
    assert notes(connection) == []
    assert watching.told == []


def test_saved_mappings_are_in_the_history_and_everything_is_read_again(
    connection: CloudIdentityProvider, administrator: User, watching: Watching
) -> None:
    mappings = connection.mappings
    mappings.room = "onPremisesExtensionAttributes.extensionAttribute15"

    connections.save_mappings(mappings, actor=administrator, now=timezone.now())

    assert SyncRun.objects.get().kind == SyncRun.Kind.FULL
    assert "Changed attribute mappings" in notes(connection)
    assert watching.told == [connection.tenant_id]


def test_the_same_mappings_change_nothing(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    browser.post(f"{connection.get_absolute_url()}mappings/", MAPPINGS)

    assert not MappingDraft.objects.exists()
    assert notes(connection) == []


@pytest.mark.parametrize(
    "change",
    [
        {"user_name": ""},
        {"user_name": "businessPhones"},
        {"real_name": "passwordProfile"},
    ],
)
def test_a_mapping_that_cannot_be_is_refused(
    connection: CloudIdentityProvider, browser: Client, change: dict[str, str]
) -> None:
    response = browser.post(
        f"{connection.get_absolute_url()}mappings/", MAPPINGS | change
    )

    assert response.status_code == 422
    assert AttributeMappings.objects.get().user_name == "userPrincipalName"


def test_mappings_of_a_disabled_connection_are_saved_and_not_read(
    connection: CloudIdentityProvider, administrator: User
) -> None:
    CloudIdentityProvider.objects.update(enabled=False)
    mappings = AttributeMappings.objects.get()
    mappings.cloud_idp.refresh_from_db()
    mappings.room = "city"

    connections.save_mappings(mappings, actor=administrator, now=timezone.now())

    assert AttributeMappings.objects.get().room == "city"
    assert not SyncRun.objects.exists()


def test_a_mapping_set_by_other_means_stays_selectable(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    AttributeMappings.objects.update(room="customProperty")

    page = text_of(browser, f"{connection.get_absolute_url()}mappings/")

    assert '<option value="customProperty" selected>' in page


def test_ids_cannot_be_mapped(
    connection: CloudIdentityProvider, browser: Client
) -> None:
    browser.post(
        f"{connection.get_absolute_url()}mappings/",
        MAPPINGS | {"user_id": "mail", "group_id": "mail"},
    )

    assert AttributeMappings.objects.get().user_id == "id"


# --- On and off --------------------------------------------------------------------


def enabled() -> bool:
    return CloudIdentityProvider.objects.get().enabled


def test_disabling_says_what_depends_on_it_first(
    connection: CloudIdentityProvider, browser: Client, watching: Watching
) -> None:
    base = connection.get_absolute_url()

    page = text_of(browser, f"{base}disable/")
    assert "FileVault" in page
    assert "/policies/7/" in page
    assert "limited to Frontend" in page
    assert "Mac Admins" in page
    assert enabled()

    assert browser.post(f"{base}disable/").status_code == 303
    assert not enabled()
    assert notes(connection) == ["Disabled"]
    assert watching.told == [connection.tenant_id]
    assert "Somebody switched this connection off" in text_of(browser, base)
    browser.post(f"{base}check/")
    assert "Microsoft was not asked" in text_of(browser, base)

    page = text_of(browser, f"{base}enable/")
    assert "FileVault" in page
    assert "0 people and 0 groups were read from the tenant" in page
    assert not enabled()
    browser.post(f"{base}enable/")
    browser.post(f"{base}enable/")
    assert enabled()
    assert SyncRun.objects.count() == 1
    assert notes(connection).count("Enabled") == 1


# --- Check and status --------------------------------------------------------------


@pytest.fixture
def live(sandbox: Sandbox, administrator: User) -> CloudIdentityProvider:
    register(sandbox, administrator)
    tenant = sandbox.tenants[0]["id"]
    sandbox.control(
        "PUT", f"tenants/{tenant}/consents/{sandbox.application['client_id']}"
    )
    cloud_idp = factories.cloud_idp(
        tenant_id=tenant,
        permissions_probed=[
            {
                "permission": "User.Read",
                "granted": True,
                "what": "The administrator signed in",
                "at": timezone.now().isoformat(),
            }
        ],
    )
    AttributeMappings.objects.create(cloud_idp=cloud_idp)
    return cloud_idp


def test_checking_tries_each_permission(
    live: CloudIdentityProvider, browser: Client
) -> None:
    browser.post(f"{live.get_absolute_url()}check/")

    live.refresh_from_db()
    assert live.status == Status.ACTIVE
    assert [entry["permission"] for entry in live.permissions_probed] == [
        "User.Read",
        "User.Read.All",
        "GroupMember.Read.All",
    ]
    page = text_of(browser, f"{live.get_absolute_url()}permissions/")
    assert page.count("<span>Granted</span>") == 3
    assert "Read groups; follow groups and their members" in page


def test_a_permission_taken_away_becomes_the_status(
    live: CloudIdentityProvider, browser: Client, sandbox: Sandbox
) -> None:
    client_id = sandbox.application["client_id"]
    sandbox.control(
        "PATCH",
        f"tenants/{live.tenant_id}/consents/{client_id}",
        {"roles": ["GroupMember.Read.All"]},
    )

    browser.post(f"{live.get_absolute_url()}check/")

    live.refresh_from_db()
    assert live.status == Status.PERMISSIONS_MISSING
    assert "GroupMember.Read.All" in live.status_detail
    assert live.status_request_id
    page = text_of(browser, f"{live.get_absolute_url()}permissions/")
    assert "Missing" in page
    assert "Grant consent again" in page

    sandbox.control("PUT", f"tenants/{live.tenant_id}/consents/{client_id}")
    browser.post(f"{live.get_absolute_url()}check/")
    live.refresh_from_db()
    assert (live.status, live.status_detail) == (Status.ACTIVE, "")
    became = [note for note in notes(live) if note.startswith("Status became")]
    assert len(became) == 2


def test_graph_answering_for_another_tenant_is_no_success(
    live: CloudIdentityProvider, sandbox: Sandbox
) -> None:
    sandbox.control(
        "POST",
        "faults",
        {
            "path": "/v1.0/organization",
            "status": 200,
            "body": {
                "value": [
                    {
                        "id": factories.OTHER_TENANT,
                        "displayName": "Other",
                        "verifiedDomains": [],
                    }
                ]
            },
        },
    )

    assert not checking.check(live, now=timezone.now())
    live.refresh_from_db()
    assert live.status == Status.REFUSED


# --- Privileges --------------------------------------------------------------------


def test_an_auditor_reads_and_changes_nothing(
    connection: CloudIdentityProvider,
) -> None:
    auditor = factories.administrator("auditor", privilege_set=PrivilegeSet.AUDITOR)
    browser = browser_for(auditor)
    base = connection.get_absolute_url()

    page = text_of(browser, f"{base}mappings/")
    assert "<select" not in page
    assert "userPrincipalName" in page
    for action in ("edit", "mappings", "disable", "enable", "check", "delete"):
        assert browser.post(f"{base}{action}/", OPTIONS | MAPPINGS).status_code == 403
    assert browser.post(f"{base}consent-again/").status_code == 403
    assert browser.get("/settings/cloud-idps/new/").status_code == 403
    connection.refresh_from_db()
    assert connection.enabled
    assert notes(connection) == []
