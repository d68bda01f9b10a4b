"""Consent seen through: granted, needed, used, missing, and more than is needed."""

from __future__ import annotations

import base64
import html
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import (
    checking,
    clouds,
    live_test,
    permission_use,
    permissions,
    tasks,
)
from directory.dependents import ObjectRef
from directory.entra import AccessToken, EntraSession
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryUser,
    PermissionUse,
    SyncRun,
)
from directory.permissions import Feature
from directory.sync.selection import selection_of
from jamfidp.accounts import confirmation
from jamfidp.accounts.models import User
from tests import cast, factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, register
from tests.directory.syncing import Story, connected
from tests.directory.test_connect import again
from tests.directory.test_connection_page import notes, text_of
from tests.scoping.inventory_rows import device, limited_to, scoped
from tests.scoping.test_scopes import verdicts

Status = CloudIdentityProvider.Status


@pytest.fixture
def story(sandbox: Sandbox, administrator: User) -> Story:
    return connected(sandbox)


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


def consent(story: Story, *roles: str) -> None:
    """What the tenant grants the application from now on."""
    client_id = story.sandbox.application["client_id"]
    granted = story.control("GET", f"consents/{client_id}")["roles"]
    taken = sorted(set(granted) - set(roles))
    story.control("PATCH", f"consents/{client_id}", {"roles": taken})
    story.control("PUT", f"consents/{client_id}", {"roles": list(roles)})


def page_of(browser: Client, idp: CloudIdentityProvider) -> str:
    return html.unescape(text_of(browser, f"{idp.get_absolute_url()}permissions/"))


def used(idp: CloudIdentityProvider, feature: Feature) -> dict[str, int]:
    found = permission_use.counts(idp, now=timezone.now())
    return {
        permission: times
        for (permission, each), times in found.items()
        if each == feature
    }


# --- Used --------------------------------------------------------------------------


def test_each_feature_counts_what_it_used_one_row_a_day(
    story: Story, browser: Client
) -> None:
    run = story.read(SyncRun.Kind.FULL)
    once = used(story.cloud_idp, Feature.SYNC)
    assert once["User.Read.All"] + once["GroupMember.Read.All"] == run.pages > 5
    story.read()
    live_test.of_user(story.cloud_idp, text=cast.ANA.upn)
    ana = story.user(cast.ANA.upn)
    with EntraSession(clouds.cloud("SANDBOX")) as session:
        confirmation.ask(
            story.cloud_idp,
            ObjectRef(story.tenant, ana.object_id),
            session=session,
            now=timezone.now(),
        )
    assert checking.check(story.cloud_idp, now=timezone.now())

    assert used(story.cloud_idp, Feature.SYNC) == {
        permission: times + 1 for permission, times in once.items()
    }
    assert used(story.cloud_idp, Feature.LOOK_UP)["User.Read.All"] >= 2
    assert used(story.cloud_idp, Feature.SIGN_IN) == {
        "User.Read": 1,
        "User.Read.All": 1,
    }
    assert used(story.cloud_idp, Feature.CHECK) == {
        "User.Read.All": 2,
        "GroupMember.Read.All": 2,
    }
    kinds = permission_use.counts(story.cloud_idp, now=timezone.now())
    assert PermissionUse.objects.count() == len(kinds), "a row a day, not a request"
    page = page_of(browser, story.cloud_idp)
    total = used(story.cloud_idp, Feature.SYNC)["GroupMember.Read.All"]
    assert f'Reading the directory</strong> <span class="count">{total}<' in page


def test_what_microsoft_refuses_counts_as_no_use(story: Story) -> None:
    consent(story, "GroupMember.Read.All")

    live_test.of_user(story.cloud_idp, text=cast.ANA.upn)

    assert used(story.cloud_idp, Feature.LOOK_UP) == {}


def test_thirty_days_are_looked_back_at_and_ninety_kept(
    db: None, administrator: User
) -> None:
    idp = factories.cloud_idp()
    now = timezone.now()
    for days in (0, 29, 30, 89, 91):
        permission_use.note(
            idp, Feature.SYNC, {"User.Read.All": 1}, now=now - timedelta(days=days)
        )

    tasks.clear_past()

    assert used(idp, Feature.SYNC) == {"User.Read.All": 2}
    assert PermissionUse.objects.count() == 4


def test_a_use_that_cannot_be_counted_fails_nothing(db: None) -> None:
    idp = factories.cloud_idp()
    refused: Any = {None: 1}

    permission_use.note(idp, Feature.SYNC, refused, now=timezone.now())
    permission_use.note(idp, Feature.SYNC, {"User.Read.All": 1}, now=timezone.now())

    assert used(idp, Feature.SYNC) == {"User.Read.All": 1}


# --- Granted -----------------------------------------------------------------------


def test_what_is_more_than_needed_is_named_with_the_way_to_take_it_away(
    story: Story, browser: Client
) -> None:
    checking.check(story.cloud_idp, now=timezone.now())
    page = page_of(browser, story.cloud_idp)
    assert "Nothing more than the console needs" in page
    assert "<code>GroupMember.Read.All</code>, <code>User.Read.All</code>" in page

    consent(story, "User.Read.All", "GroupMember.Read.All", "Directory.Read.All")
    checking.check(story.cloud_idp, now=timezone.now())

    page = page_of(browser, story.cloud_idp)
    assert "More is granted than the console needs" in page
    assert "<code>Directory.Read.All</code> is never used" in page
    assert "Enterprise applications" in page
    assert story.sandbox.application["client_id"] in page
    assert notes(story.cloud_idp)[0] == "In Entra somebody granted Directory.Read.All"
    consent(story, "User.Read.All", "GroupMember.Read.All")
    checking.check(story.cloud_idp, now=timezone.now())
    assert "Nothing more than" in page_of(browser, story.cloud_idp)
    assert notes(story.cloud_idp)[0] == (
        "In Entra somebody took away Directory.Read.All"
    )


def test_a_permission_that_a_wider_one_covers_is_not_called_granted(
    story: Story, browser: Client
) -> None:
    consent(story, "Directory.Read.All")

    assert checking.check(story.cloud_idp, now=timezone.now())

    page = page_of(browser, story.cloud_idp)
    assert page.count("Covered by a wider one") == 2
    assert "<code>Directory.Read.All</code> is never used" in page


def test_f26_what_is_missing_is_named_with_what_does_not_work_without_it(
    story: Story, browser: Client
) -> None:
    consent(story, "GroupMember.Read.All")

    assert not checking.check(story.cloud_idp, now=timezone.now())

    page = page_of(browser, story.cloud_idp)
    assert "A permission is missing" in page
    assert "<code>User.Read.All</code>: without it 'Reading the directory'" in page
    assert "Grant consent again" in page


def token(claims: Any) -> AccessToken:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return AccessToken(f"e30.{payload.rstrip('=')}.x", 3600)


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        (token({"roles": ["User.Read.All"]}), {"User.Read.All"}),
        (token({}), set()),
        (token({"roles": ["<script>", 1, None, "a" * 101]}), set()),
        (token({"roles": "User.Read.All"}), None),
        (token([]), None),
        (AccessToken("opaque", 3600), None),
        (AccessToken("a.%%%.c", 3600), None),
    ],
)
def test_roles_of_a_token_are_names_or_unknown(
    given: AccessToken, roles: set[str] | None
) -> None:
    assert given.roles() == roles


def test_roles_never_decide_and_an_unread_token_is_no_missing_permission() -> None:
    probe = {"granted": True, "what": "Read users", "at": "2026-11-03T12:00:00+00:00"}

    seen = permissions.seen_through(
        probes={"User.Read.All": probe}, roles=None, counts={}
    )

    assert [(each.permission.name, each.state) for each in seen] == [
        ("User.Read", "unknown"),
        ("User.Read.All", "good"),
        ("GroupMember.Read.All", "unknown"),
    ]
    assert permissions.not_needed(None) == []


# --- Consent again -----------------------------------------------------------------


def test_f26_consent_renewed_in_place_keeps_mappings_scopes_and_history(
    sandbox: Sandbox, administrator: User
) -> None:
    register(sandbox, administrator)
    journey = Journey(browser_for(administrator), sandbox)
    journey.connect(room="city", search_timeout="45")
    idp = CloudIdentityProvider.objects.get()
    story = Story(sandbox, idp.tenant_id, idp)
    story.read(SyncRun.Kind.FULL)
    frontend = story.group("Frontend")
    upn = sorted(story.direct_members("Frontend"))[0]
    computer = device("mac", user=upn, logged_in=upn)
    policy = scoped("FileVault", limited_to(frontend), everything=True)
    people = set(DirectoryUser.objects.values_list("pk", "object_id"))
    before, selection = notes(idp), selection_of(idp).signature
    client_id = sandbox.application["client_id"]
    sandbox.control("DELETE", f"tenants/{idp.tenant_id}/consents/{client_id}")
    assert story.sync().state == SyncRun.State.FAILED
    assert verdicts(policy)[computer.name] == "in", "a failure takes nothing away"

    page = again(journey, idp)
    microsoft = journey.go(journey.start_link(page))
    journey.go(journey.to_callback(journey.code(journey.consent(microsoft))))
    journey.verify(page)
    journey.sign_out(page)
    assert journey.console.post(page)["Location"] == idp.get_absolute_url()

    renewed = CloudIdentityProvider.objects.get()
    assert (renewed.pk, renewed.status) == (idp.pk, Status.ACTIVE)
    assert (renewed.mappings.room, renewed.search_timeout) == ("city", 45)
    assert AttributeMappings.objects.count() == 1
    assert selection_of(renewed).signature == selection
    assert notes(renewed)[0] == "Renewed consent"
    assert notes(renewed)[-len(before) :] == before
    assert used(renewed, Feature.CONSENT)["User.Read"] == 2
    run = story.read()
    assert run.kind == SyncRun.Kind.DELTA, "nothing is read anew"
    assert set(DirectoryUser.objects.values_list("pk", "object_id")) == people
    assert verdicts(policy)[computer.name] == "in"
