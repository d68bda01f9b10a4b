"""Reading a plan: what follows first, each difference openable, foreign sites left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from directory import plans, tasks
from directory.dependents import ConsequenceKind
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    SyncRun,
)
from jamfidp.accounts.models import User
from scoping.models import Site
from tests import factories
from tests.directory.rounds import group, guid, member, take, user
from tests.directory.test_sync_pages import text
from tests.scoping.inventory_rows import limited_to, scoped
from tests.scoping_factories import make_device, make_login

ANA, NOOR, FRONTEND = map(guid, ("ana", "noor", "fe"))


def upn(object_id: str) -> str:
    return f"{object_id[:8]}@fernhill.example"


@pytest.fixture
def run(db: None) -> SyncRun:
    """Noor joins Frontend: she gains privileges, and two computers come into scope,
    one of them at a site."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    people = [user(ANA, displayName="Ana Ruiz"), user(NOOR, displayName="Noor Haddad")]
    groups = [group(FRONTEND, member(ANA), displayName="Frontend")]
    take(idp, full=True, users=people, groups=groups)
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    site = factories.site("Berlin")
    for device_site in (None, site):
        device = make_device(f"noor's at {device_site}", site=device_site)
        make_login(device, upn(NOOR))
    scoped("VPN", limited_to(frontend), everything=True)
    scoped("Berlin VPN", limited_to(frontend), everything=True, site=site)
    factories.bind(factories.account_group("Designers"), frontend)
    factories.entra_account(DirectoryUser.objects.get(object_id=NOOR))
    take(
        idp,
        users=[user(ANA, displayName="Ana Ruiz", department="=Design")],
        groups=[group(FRONTEND, member(NOOR), displayName="Frontend")],
    )
    found = SyncRun.objects.order_by("-pk").first()
    assert found
    # As the run's own end writes it.
    found.state = SyncRun.State.SUCCEEDED
    found.save()
    return found


def address(run: SyncRun, name: str = "", *args: Any) -> str:
    return reverse(f"directory:syncrun-plan{name}", args=[run.pk, *args])


def test_the_page_says_in_one_sentence_and_lists_privileges_first(
    console: Client, run: SyncRun
) -> None:
    page = text(console, address(run))

    assert "1 person changed; 1 membership begins; 1 gain of privileges" in page
    gains, scope = page.index("Noor Haddad gains"), page.index("into scope of VPN")
    assert gains < scope
    assert "Full Access" in page
    assert "Who made these changes in Entra is not known" in page


def test_a_consequence_opens_to_names_and_the_privileges(
    console: Client, run: SyncRun
) -> None:
    scope = run.consequences.get(kind=ConsequenceKind.SCOPE_ENTERED, about__3="VPN")
    page = text(console, address(run, "-consequence", scope.position))
    assert "noor&#x27;s at None" in page
    assert "noor&#x27;s at Berlin" in page

    gained = run.consequences.get(kind=ConsequenceKind.PRIVILEGES_GAINED)
    page = text(console, address(run, "-consequence", gained.position))
    assert "Create Policies" in page
    assert "in the account group Designers" in page.replace("In the", "in the")
    assert "Noor Haddad" in page


def test_differences_are_listed_filtered_and_opened(
    console: Client, run: SyncRun
) -> None:
    page = text(console, address(run, "-differences", "people"))
    assert "Ana Ruiz" in page
    assert "<ins>=Design</ins>" in page
    assert "Ana Ruiz" not in text(
        console, address(run, "-differences", "people") + "?q=noor"
    )
    ana = DirectoryUser.objects.get(object_id=ANA)
    opened = text(console, address(run, "-difference", "people", ana.pk))
    assert "Department" in opened
    noor = DirectoryUser.objects.get(object_id=NOOR)
    joined = text(console, address(run, "-difference", "people", noor.pk))
    assert "Joins" in joined
    assert "Frontend" in joined
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    members = text(console, address(run, "-difference", "members", frontend.pk))
    assert "People who join" in members
    assert "Noor Haddad" in members


def test_what_is_not_in_the_plan_is_not_found(console: Client, run: SyncRun) -> None:
    for where in (
        address(run, "-difference", "people", 999_999),
        address(run, "-consequence", 999),
        address(run, "-differences", "nothing"),
    ):
        assert console.get(where).status_code == 404


def test_somebody_of_a_site_sees_only_what_is_theirs_and_how_much_is_not(
    run: SyncRun,
) -> None:
    viewer = factories.local_account("bea")
    viewer.groups.add(factories.account_group("Berliners", site=Site.objects.get()))
    # Runs are read with Full Access alone; the rule itself is asked.
    rows, hidden = plans.visible_consequences(run, User.objects.get(pk=viewer.pk))

    names = {row.about[3] for row in rows if row.about}
    assert names == {"Berlin VPN"}
    assert hidden == run.consequences.count() - 1


def test_devices_of_another_site_are_counted_and_not_named(run: SyncRun) -> None:
    viewer = factories.local_account("bea")
    viewer.groups.add(factories.account_group("Berliners", site=Site.objects.get()))
    vpn = run.consequences.get(kind=ConsequenceKind.SCOPE_ENTERED, about__3="VPN")

    line = plans.line_of(vpn, User.objects.get(pk=viewer.pk))

    assert (len(line.visible), line.hidden) == (1, 1)


def test_an_export_holds_every_difference_and_no_formula(
    console: Client, run: SyncRun
) -> None:
    answer = console.post(address(run, "-export"), {"form": "csv"})
    content = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert f"People,Changed,Ana Ruiz,{ANA},Department,,'=Design" in content
    assert f"Memberships,Changed,Frontend,{FRONTEND},{NOOR},,member" in content

    answer = console.post(address(run, "-export"), {"form": "jsonl"})
    lines = b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    parsed = [json.loads(line) for line in lines]
    assert {"part": "People", "object_id": ANA, "after": "=Design"}.items() <= next(
        each for each in parsed if each["attribute"] == "Department"
    ).items()


def test_a_dry_run_says_so_on_every_page(console: Client, run: SyncRun) -> None:
    SyncRun.objects.filter(pk=run.pk).update(dry_run=True)
    ana = DirectoryUser.objects.get(object_id=ANA)
    for where in (
        address(run),
        address(run, "-consequence", 0),
        address(run, "-differences", "people"),
        address(run, "-difference", "people", ana.pk),
    ):
        assert "Dry run: nothing of this was applied." in text(console, where)
    assert "Nothing was applied." in text(console, run.get_absolute_url())


def test_a_dry_run_is_asked_for_and_canceled_on_the_sync_page(
    console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.run_sync, "apply_async", lambda args: None)
    idp: CloudIdentityProvider = factories.cloud_idp()
    AttributeMappings.objects.create(cloud_idp=idp)
    request = reverse("directory:cloud-idp-sync-request", args=[idp.pk])

    answer = console.post(request, {"kind": "dry-run"})

    run = SyncRun.objects.get()
    assert run.dry_run
    assert "Dry run" in text(console, answer["Location"])
    assert "Dry run: nothing is applied." in text(console, answer["Location"])
    # A read that is asked for meanwhile does not become one.
    console.post(request, {"kind": "full"})
    assert SyncRun.objects.count() == 1
    assert "A dry run is under way" in text(console, run.get_absolute_url())
    console.post(reverse("directory:syncrun-cancel", args=[run.pk]))
    run.refresh_from_db()
    assert run.state == SyncRun.State.CANCELED
