"""What a sync holds, as people at the console read it, decide it and see it afterwards.

A real sandbox tenant changes, a real worker reads it. The pages are measured and,
where SCREENSHOTS names a folder, taken wide and narrow, light and dark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Locator, Page, expect

from jamfidp.demo import story
from jamfidp.demo.check import Job
from jamfidp.demo.processes import Installation
from tests import cast
from tests.browser import walking
from tests.browser.conftest import WIDE, OpenPage, Watch, serious_findings
from tests.browser.test_every_page import COLORS, faults_of
from tests.browser.test_keyboard import heading, in_navigation, press, tab_to

pytestmark = pytest.mark.browser

TENANT = f"tenants/{cast.FERNHILL.tenant_id}"
CONNECTION = cast.FERNHILL.display_name
NARROW = 360
SYNC = 60_000
Look = Callable[[Page, str], None]


# --- The directory, and who may decide


def members(job: Job, group: cast.Group) -> list[str]:
    answer = job.control("GET", f"{TENANT}/groups/{group.object_id}/members")
    return [each["id"] for each in answer["value"] if each["kind"] == "user"]


def leave(job: Job, group: cast.Group, people: list[str]) -> None:
    address = f"{TENANT}/groups/{group.object_id}/members"
    job.control("DELETE", address, {"members": people})


def join(job: Job, group: cast.Group, people: list[str]) -> None:
    address = f"{TENANT}/groups/{group.object_id}/members"
    job.control("POST", address, {"members": people})


def bind(job: Job, account_group: str, group: cast.Group, **fields: str) -> None:
    job.admin.open(job.at("/settings/account-groups/"))
    job.admin.follow(account_group)
    job.admin.follow("Bind a directory group")
    here = job.admin.open(f"{job.admin.here.url}?q={group.display_name}")
    job.admin.open(here.link(group.display_name, to="directory_group="))
    page = job.admin.submit("Bind the directory group", fields)
    if "I have read the warnings" in page.text:
        fields |= {"confirmed": "on"}
        page = job.admin.submit("Bind the directory group", fields)
    page.says("1 person")


@pytest.fixture(scope="module")
def job(connected: Installation) -> Iterator[Job]:
    """Siobhán may look at everything; Noor may decide, and little else.

    What a test left held by a person is released at the end.
    """
    job = Job(connected)
    job.admin.open(job.at("/login/"))
    password = connected.administrator_password
    job.admin.submit(
        "username", {"username": story.ADMINISTRATOR, "password": password}
    )
    bind(job, "Security Readers", cast.SECURITY_READERS, nested="on")
    job.admin.open(job.at("/settings/account-groups/new/"))
    job.admin.submit(
        "display_name",
        {
            "display_name": "Reviewers",
            "access_level": "FULL",
            "privilege_set": "CUSTOM",
            "privileges": [
                "Approve Held Changes",
                "View Sync Runs",
                "Read Directory Users",
                "Read Directory Groups",
            ],
        },
    )
    bind(job, "Reviewers", cast.HELPDESK_NIGHT)
    yield job
    page = job.admin.open(job.at("/activity/held-changes/"))
    while "is released" in page.text:
        page = job.admin.submit("reason", {"reason": "The test is over."})


@pytest.fixture
def look(watch: Watch, axe: str) -> Iterator[Look]:
    """Measure the page wide and narrow, light and dark; says all faults at the end."""
    faults: list[str] = []

    def take(page: Page, name: str) -> None:
        if "SCREENSHOTS" in os.environ:
            folder = Path(settings.BASE_DIR) / os.environ["SCREENSHOTS"]
            page.screenshot(path=folder / f"{name}.png", full_page=True)

    def one(page: Page, name: str) -> None:
        found = faults_of(page, axe, watch)
        for width in (WIDE["width"], NARROW):
            page.set_viewport_size({"width": width, "height": WIDE["height"]})
            take(page, f"{name}-{width}-light")
            page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
            take(page, f"{name}-{width}-dark")
            if width == NARROW:
                found += serious_findings(page, axe, watch, only=COLORS)
            page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
        found += serious_findings(page, axe, watch)
        page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})
        faults.extend(f"{name}: {fault}" for fault in found)

    yield one
    assert faults == []


@pytest.fixture
def page(open_page: OpenPage, connected: Installation) -> Page:
    page = open_page()
    walking.sign_in_locally(page, connected)
    return page


def sign_in_with_entra(page: Page, job: Job, person: cast.Person) -> Page:
    page.goto(job.at("/login/"))
    page.get_by_role("link", name=f"Sign in with Entra: {CONNECTION}").click()
    walking.sign_in_at_the_sandbox(page, person.upn)
    page.get_by_role("button", name="Navigation").wait_for()
    return page


def main(page: Page) -> Locator:
    return page.get_by_role("main")


def sync(page: Page, job: Job) -> None:
    page.goto(job.at("/settings/cloud-idps/"))
    main(page).get_by_role("link", name=CONNECTION).first.click()
    main(page).get_by_role("link", name="Sync", exact=True).click()
    page.get_by_role("button", name="Sync now").click()
    # The tab lists earlier runs that succeeded; the page of this run is another one.
    expect(page).to_have_url(re.compile(r"/sync-runs/\d+/$"))
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=SYNC)


def open_held(page: Page, job: Job, name: str, tab: str = "Waiting") -> None:
    page.goto(job.at("/activity/held-changes/"))
    if tab != "Waiting":
        main(page).get_by_role("link", name=re.compile(f"^{tab}")).click()
    main(page).get_by_role("link", name=name, exact=True).first.click()
    expect(heading(page)).to_contain_text(name)


def approve(page: Page) -> None:
    page.get_by_label("Reason").fill("Ingrid joins the Mac team.")
    typed = page.get_by_label("To approve, type")
    if typed.count():
        typed.fill(CONNECTION)
    page.get_by_role("button", name="Approve").click()


def reload_until(page: Page, words: str) -> None:
    """The worker needs a moment; the page of a held change does not follow by itself."""
    seen = page.get_by_text(words, exact=True).first
    for _ in range(120):
        if seen.is_visible():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(seen).to_be_visible()


def says(page: Page, words: str) -> None:
    expect(main(page)).to_contain_text(words, ignore_case=True)


# --- The walks


def test_a_shrinking_group_is_read_rejected_by_keyboard_and_said_everywhere(
    page: Page, open_page: OpenPage, job: Job, look: Look
) -> None:
    leavers = [
        each for each in members(job, cast.FRONTEND) if each != cast.ANA.object_id
    ][:12]
    leave(job, cast.FRONTEND, leavers)
    sync(page, job)

    page.get_by_role("link", name=re.compile("^Notices")).click()
    notice = main(page).get_by_role("link", name=f"Changes of {CONNECTION} are held")
    expect(notice.first).to_be_visible()
    look(page, "notices")
    notice.first.click()
    expect(heading(page)).to_contain_text("Held changes")
    row = page.get_by_role("row", name=re.compile("Frontend"))
    expect(row).to_contain_text("12 people leave")
    expect(row).to_contain_text("A group in use shrinks")
    expect(page.get_by_label("1 waiting")).to_be_visible()
    look(page, "held-list")

    siobhan = sign_in_with_entra(open_page(), job, cast.SIOBHAN)
    open_held(siobhan, job, "Frontend")
    expect(main(siobhan)).to_contain_text("needs the privilege Approve Held Changes")
    expect(
        siobhan.get_by_role("button", name=re.compile("Approve|Reject"))
    ).to_have_count(0)
    look(siobhan, "held-without-privilege")
    answer = siobhan.goto(job.at("/activity/held-changes/everything/"))
    assert answer
    assert answer.status == 403

    # From here to the rejection by keyboard alone.
    press(page, in_navigation(page, "Held changes"))
    press(page, main(page).get_by_role("link", name="Frontend", exact=True))
    expect(heading(page)).to_have_text("Frontend: 12 people leave")
    follows = page.get_by_role("table", name="What follows from approving")
    expect(
        follows.get_by_role("link", name=re.compile("VPN client")).first
    ).to_be_visible()
    look(page, "held-group")
    tab_to(page, page.get_by_label("Reason"))
    page.keyboard.type("Frontend moves next week; nobody loses the VPN before.")
    tab_to(page, page.get_by_label("Days until the rejection ends"))
    page.keyboard.press("Control+a")
    page.keyboard.type("5")
    press(page, page.get_by_role("button", name="Reject"))
    expect(page.get_by_text("Rejected for 5 days. It stays as it is.")).to_be_visible()
    look(page, "held-list-after-rejecting")

    press(page, main(page).get_by_role("link", name=re.compile("^Rejected")))
    press(page, main(page).get_by_role("link", name="Frontend", exact=True))
    by_decision = "by decision of Local Administrator since"
    says(page, f"differs from Entra {by_decision}")
    look(page, "held-group-rejected")
    main(page).get_by_role("link", name="Open the group").click()
    says(page, f"differs from Entra {by_decision}")
    look(page, "group-that-differs")
    who = page.get_by_role("row", name=re.compile(f"differs from Entra {by_decision}"))
    who.first.get_by_role("link").first.click()
    says(page, f"Membership of Frontend differs from Entra {by_decision}")
    look(page, "person-who-differs")
    page.goto(job.at("/computers/policies/?q=vpn"))
    main(page).get_by_role("link", name="VPN client").click()
    main(page).get_by_role("link", name=re.compile("^Scope")).click()
    says(page, f"Engineering differs from Entra {by_decision}")
    look(page, "scope-that-differs")
    join(job, cast.FRONTEND, leavers)


def test_nobody_approves_what_gives_privileges_to_themselves(
    open_page: OpenPage, page: Page, job: Job, look: Look
) -> None:
    noor = sign_in_with_entra(open_page(), job, cast.NOOR)
    join(job, cast.SECURITY_READERS, [cast.HELPDESK_NIGHT.object_id])
    sync(page, job)

    open_held(noor, job, "Security Readers")
    says(noor, "Gives privileges by nesting")
    says(noor, "so another administrator has to decide")
    expect(noor.get_by_role("button", name="Reject")).to_be_visible()
    expect(noor.get_by_role("button", name="Approve")).to_have_count(0)
    look(noor, "held-that-gives-to-oneself")
    open_held(page, job, "Security Readers")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    look(page, "held-nesting")
    leave(job, cast.SECURITY_READERS, [cast.HELPDESK_NIGHT.object_id])
    sync(page, job)


def test_an_approval_is_of_what_was_seen_and_is_applied(
    page: Page, open_page: OpenPage, job: Job, look: Look
) -> None:
    join(job, cast.MAC_ADMINS, [cast.INGRID.object_id])
    sync(page, job)
    open_held(page, job, "Mac Admins")
    held = page.url
    says(page, "It would give somebody Full Access to this console")
    look(page, "held-full-access")

    # Somebody else joins meanwhile, whom nobody has seen: the approval is void.
    join(job, cast.MAC_ADMINS, [cast.LAYLA.object_id])
    approve(page)
    expect(page.get_by_text("Approved. The next sync applies it")).to_be_visible()
    page.goto(held)
    reload_until(page, "The approval is void: something changed after it.")
    expect(heading(page)).to_have_text("Mac Admins: 2 people join")
    look(page, "held-approval-void")

    # It is of what the page showed, and not of what was read since.
    other = open_page()
    walking.sign_in_locally(other, job.installation)
    leave(job, cast.MAC_ADMINS, [cast.LAYLA.object_id])
    sync(other, job)
    approve(page)
    says(page, "has changed since you looked at it")
    look(page, "held-changed-while-looking")

    page.goto(held)
    expect(heading(page)).to_have_text("Mac Admins: 1 person joins")
    approve(page)
    expect(page.get_by_text("Approved. The next sync applies it")).to_be_visible()
    page.goto(held)
    reload_until(page, "Applied")
    expect(main(page)).to_contain_text("Closed")
    expect(page.get_by_label("Reason")).to_have_count(0)
    look(page, "held-applied")
    main(page).get_by_role("link", name="Open the group").click()
    member = main(page).get_by_role("link", name=cast.INGRID.display_name)
    expect(member.first).to_be_visible()
    ingrid = sign_in_with_entra(open_page(), job, cast.INGRID)
    ingrid.goto(job.at("/account/privileges/"))
    says(ingrid, "Mac Admins")
    leave(job, cast.MAC_ADMINS, [cast.INGRID.object_id])
    sync(page, job)


def test_what_entra_takes_back_closes_by_itself(
    page: Page, job: Job, look: Look
) -> None:
    leavers = members(job, cast.BACKEND)[:12]
    leave(job, cast.BACKEND, leavers)
    sync(page, job)
    open_held(page, job, "Backend")
    held = page.url

    join(job, cast.BACKEND, leavers)
    sync(page, job)
    page.goto(held)
    says(page, "Entra took it back")
    expect(page.get_by_role("button", name=re.compile("Approve|Reject"))).to_have_count(
        0
    )
    look(page, "held-healed")
    page.goto(job.at("/activity/held-changes/"))
    expect(main(page).get_by_role("link", name="Backend")).to_have_count(0)
    main(page).get_by_role("link", name="Closed").click()
    row = page.get_by_role("row", name=re.compile("Backend"))
    expect(row).to_contain_text("Entra took it back")
    look(page, "held-list-closed")


def test_everything_of_one_connection_is_held_until_it_is_released(
    page: Page, open_page: OpenPage, job: Job, look: Look
) -> None:
    page.goto(job.at("/activity/held-changes/"))
    page.get_by_role("link", name="Hold everything").click()
    look(page, "hold-everything")
    page.get_by_label("Whose changes").select_option(label=CONNECTION)
    page.get_by_label("Reason").fill("Somebody is at work in our tenant.")
    page.get_by_role("button", name="Hold everything").click()
    banner = main(page).locator(".hold-banner")
    expect(banner).to_contain_text(f"Everything of {CONNECTION} is held")
    look(page, "held-list-while-everything-is-held")

    job.control(
        "PATCH",
        f"{TENANT}/users/{cast.WREN.object_id}",
        {"jobTitle": "Keeper of Birds"},
    )
    sync(page, job)
    for path in ("/", "/users/", "/computers/policies/", "/settings/cloud-idps/"):
        page.goto(job.at(path))
        expect(banner).to_contain_text("Somebody is at work in our tenant.")
    look(page, "connections-while-everything-is-held")
    page.goto(job.at("/users/?q=wren"))
    main(page).get_by_role("link", name=cast.WREN.display_name, exact=True).click()
    says(page, "A change from Entra is held")
    expect(main(page)).not_to_contain_text("Keeper of Birds")
    look(page, "person-while-everything-is-held")
    person = page.url

    siobhan = sign_in_with_entra(open_page(), job, cast.SIOBHAN)
    siobhan.goto(job.at("/activity/held-changes/"))
    expect(main(siobhan).locator(".hold-banner")).to_be_visible()
    expect(siobhan.get_by_role("button", name="Release")).to_have_count(0)

    page.goto(job.at("/activity/held-changes/"))
    page.get_by_label("is released").fill("It was our own script.")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_text("Released. The next sync applies")).to_be_visible()
    expect(banner).to_have_count(0)
    sync(page, job)
    page.goto(person)
    says(page, "Keeper of Birds")


def test_everything_of_all_connections_is_held_until_it_is_released(
    page: Page, job: Job, look: Look
) -> None:
    page.goto(job.at("/activity/held-changes/everything/"))
    page.get_by_label("Reason").fill("Maintenance of the directory.")
    page.get_by_role("button", name="Hold everything").click()
    page.goto(job.at("/groups/"))
    banner = main(page).locator(".hold-banner")
    expect(banner).to_contain_text("Everything of all connections is held")
    look(page, "groups-while-everything-is-held")
    banner.get_by_role("link", name="Held changes").click()
    page.get_by_label("is released").fill("Done.")
    page.get_by_role("button", name="Release").click()
    expect(banner).to_have_count(0)
