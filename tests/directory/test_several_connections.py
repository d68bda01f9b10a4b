"""Several tenants, in several clouds: nothing of one is taken for another's."""

from __future__ import annotations

import html
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from directory import clouds, deletion, registrations
from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider, SyncRun
from directory.sync import run as run_module
from directory.sync.apply import apply_plan
from directory.sync.run import work
from jamfidp import everything
from jamfidp.accounts.models import User
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import browser_for
from tests.directory.syncing import connected, held, truth
from tests.directory.test_connection_page import text_of
from tests.directory.test_deletion import delete, erase_all
from tests.scoping.inventory_rows import device, limited_to, scoped
from tests.scoping.test_scopes import verdicts

NAME = "Mac Admins"


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


@pytest.fixture
def both(db: None) -> tuple[CloudIdentityProvider, CloudIdentityProvider]:
    """Two tenants in two clouds, each with an Ana Ruiz in a group of the same name."""
    made = []
    for name, tenant_id, cloud in (
        ("Fernhill Studio", factories.TENANT, "PUBLIC"),
        ("Quarrel", factories.OTHER_TENANT, "GCC_HIGH"),
    ):
        idp = factories.cloud_idp(name, tenant_id=tenant_id, cloud=cloud)
        domain = name.split()[0].lower()
        ana = factories.directory_user(
            "Ana Ruiz", idp, user_principal_name=f"ana@{domain}.example"
        )
        factories.directory_group(NAME, idp, ana)
        made.append(idp)
    return made[0], made[1]


@pytest.mark.parametrize(
    "address",
    [
        "/users/",
        "/groups/",
        "/directory/picker/users/?q=ana",
        "/directory/picker/groups/?q=mac",
        "/search/?q=ana",
        "/search/?q=mac+admins",
    ],
)
def test_lists_pickers_and_search_say_which_tenant_each_is_of(
    both: tuple[CloudIdentityProvider, CloudIdentityProvider],
    browser: Client,
    address: str,
) -> None:
    page = text_of(browser, address)

    # The filter above a list names them as well.
    rows = page.partition("<tbody")[2] or page
    assert "Fernhill Studio" in rows
    assert "Quarrel" in rows


def test_with_one_connection_search_does_not_repeat_its_name(
    db: None, administrator: User
) -> None:
    idp = factories.cloud_idp()
    factories.directory_user("Ana Ruiz", idp)

    (people,) = everything.find("ana", administrator)

    assert people.hits[0].detail == "ana.ruiz@fernhill.example"


def test_a_list_is_narrowed_to_one_tenant(
    both: tuple[CloudIdentityProvider, CloudIdentityProvider], browser: Client
) -> None:
    quarrel = both[1]

    response = browser.get(f"/users/?connection={quarrel.pk}")

    assert [each.cloud_idp for each in response.context["users"]] == [quarrel]


def test_the_list_of_connections_names_each_cloud(
    both: tuple[CloudIdentityProvider, CloudIdentityProvider], browser: Client
) -> None:
    page = html.unescape(text_of(browser, "/settings/cloud-idps/"))

    assert clouds.cloud("PUBLIC").name in page
    assert clouds.cloud("GCC_HIGH").name in page


def test_each_cloud_has_an_application_of_its_own(
    both: tuple[CloudIdentityProvider, CloudIdentityProvider], administrator: User
) -> None:
    fernhill, quarrel = both
    found = registrations.save_client_id(
        cloud_key="GCC_HIGH",
        client_id=factories.guid("gcc"),
        connections_confirmed=True,
        actor=administrator,
        now=fernhill.consented_at,
    )

    assert registrations.registration_of(quarrel) == found
    with pytest.raises(registrations.NoRegistration):
        registrations.registration_of(fernhill)
    assert registrations.connections_of(found) == [quarrel]


def test_an_account_group_shows_of_which_tenant_its_groups_are(
    both: tuple[CloudIdentityProvider, CloudIdentityProvider], browser: Client
) -> None:
    admins = factories.account_group("Administrators")
    for idp in both:
        factories.bind(admins, idp.groups.get())

    page = text_of(browser, admins.get_absolute_url())

    assert '<bdi class="object-detail">Fernhill Studio</bdi>' in page
    assert '<bdi class="object-detail">Quarrel</bdi>' in page


def test_a_group_of_the_same_name_elsewhere_brings_nobody_into_scope(
    both: tuple[CloudIdentityProvider, CloudIdentityProvider], administrator: User
) -> None:
    fernhill, quarrel = both
    device("here", logged_in="ana@fernhill.example")
    device("there", logged_in="ana@quarrel.example")
    policy = scoped("VPN", limited_to(fernhill.groups.get()), everything=True)
    assert verdicts(policy) == {"here": "in", "there": "out"}

    delete(quarrel, administrator)

    assert verdicts(policy) == {"here": "in", "there": "out"}
    assert deletion.deleted() == [CloudIdentityProvider.with_deleted.get(pk=quarrel.pk)]


def test_two_tenants_are_read_beside_each_other_and_one_outlives_the_other(
    sandbox: Sandbox, administrator: User
) -> None:
    fernhill, quarrel = connected(sandbox), connected(sandbox, 1)
    for story in (fernhill, quarrel):
        story.read(SyncRun.Kind.FULL)

    assert held(fernhill) == truth(fernhill)
    assert held(quarrel) == truth(quarrel)
    assert fernhill.group(NAME).object_id != quarrel.group(NAME).object_id
    refs = {
        ObjectRef(each.tenant, each.group(NAME).object_id)
        for each in (fernhill, quarrel)
    }
    assert len(refs) == 2

    delete(fernhill.cloud_idp, administrator, at_once=True)
    erase_all()

    assert held(quarrel) == truth(quarrel)


def test_the_first_reads_of_two_tenants_are_applied_one_after_the_other(
    transactional_db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds the tables empty, and would index them when they are filled."""
    stories = [connected(sandbox), connected(sandbox, 1)]
    read = threading.Barrier(2, timeout=60)

    def applying(*args: Any, **named: Any) -> Any:
        read.wait()
        return apply_plan(*args, **named)

    def reading(run: SyncRun) -> None:
        try:
            work(run.pk)
        finally:
            connection.close()

    monkeypatch.setattr(run_module, "apply_plan", applying)
    runs = [story.request(SyncRun.Kind.FULL) for story in stories]
    threads = [threading.Thread(target=reading, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for story, run in zip(stories, runs, strict=True):
        run.refresh_from_db()
        assert run.state == SyncRun.State.SUCCEEDED, run.error
        assert held(story) == truth(story)
