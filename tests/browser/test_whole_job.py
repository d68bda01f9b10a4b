"""The main job in a browser: from an empty console to privileges by membership."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from jamfidp.demo import story
from jamfidp.demo.processes import Installation
from tests import cast
from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.browser


def control(
    installation: Installation, method: str, path: str, json: Any = None
) -> Any:
    """Change the sandbox's directory, as its own administrators would."""
    from jamfidp.demo.check import Job

    return Job(installation).control(method, path, json)


def picture(page: Page, name: str) -> None:
    """Take a screenshot for the README, where it is asked for."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(settings.BASE_DIR) / folder / f"{name}.png")


def sign_in_locally(page: Page, installation: Installation) -> None:
    page.goto(f"{installation.console_url}/login/")
    page.get_by_label("User name").fill(story.ADMINISTRATOR)
    page.get_by_label("Password").fill(installation.administrator_password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Get started")


def sign_in_at_the_sandbox(page: Page, upn: str) -> None:
    page.get_by_label("Email or user name").fill(upn)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def connect(page: Page, installation: Installation) -> None:
    page.get_by_role("link", name="Cloud identity providers").first.click()
    page.get_by_role("link", name="New").first.click()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("GroupMember.Read.All").first).to_be_visible()
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("link", name="Continue to Microsoft").click()
    sign_in_at_the_sandbox(page, cast.GRACE.upn)
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text(installation.console_url).first).to_be_visible()
    page.get_by_role("link", name="Continue").click()
    # Verification goes on by itself; so does the end of the session at Microsoft.
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Connect Fernhill Studio?", timeout=30_000
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fernhill Studio")


def wait_for_the_read(page: Page) -> None:
    """The run's page follows by itself until it says how it ended."""
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=60_000)


def sync_now(page: Page, connection: str) -> None:
    page.goto(connection)
    page.get_by_role("main").get_by_role("link", name="Sync", exact=True).click()
    page.get_by_role("button", name="Sync now").click()
    # The tab lists earlier runs that succeeded; the page of this run is another one.
    expect(page).to_have_url(re.compile(r"/sync-runs/\d+/$"))
    wait_for_the_read(page)


def limit_to_engineering(page: Page) -> None:
    """The scope editor: a limitation by group, an exclusion by person."""
    page.get_by_role("link", name="Policies").first.click()
    page.get_by_role("link", name="VPN client").click()
    page.get_by_role("main").get_by_role("link", name=re.compile("^Scope")).click()
    page.get_by_role("link", name="Edit the scope").click()
    editor = page.locator("#scope-editor")
    editor.get_by_label("Kind to add to Limitations").select_option("DIRECTORY_GROUP")
    editor.get_by_role("searchbox", name="Search what to add to Limitations").fill(
        "engineering"
    )
    editor.get_by_role("button", name=re.compile("Engineering.*103 members")).click()
    expect(editor.get_by_text("Count members of nested groups")).to_be_visible()
    editor.get_by_label("Kind to add to Exclusions").select_option("DIRECTORY_USER")
    editor.get_by_role("searchbox", name="Search what to add to Exclusions").fill("ana")
    editor.get_by_role("button", name=re.compile(cast.ANA.upn)).click()
    expect(page.get_by_text("except Ana Ruiz").first).to_be_visible()
    expect(page.get_by_text("lost").first).to_be_visible()
    picture(page, "scope")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Who is in scope")


def bind_mac_admins(page: Page) -> None:
    page.get_by_role("link", name="User accounts and groups").first.click()
    page.get_by_role("link", name=re.compile("^Account groups")).click()
    page.get_by_role("link", name="Mac Admins").click()
    page.get_by_role("link", name="Bind a directory group").click()
    page.get_by_role(
        "searchbox", name=re.compile("directory group", re.IGNORECASE)
    ).fill("mac admins")
    page.get_by_role("table").get_by_role("link", name="Mac Admins").click()
    page.get_by_label("I have read the warnings").check()
    page.get_by_role("button", name="Bind the directory group").click()
    expect(page.get_by_text("Milo Brandt").first).to_be_visible()


def test_the_main_job_from_consent_to_privileges(
    open_page: OpenPage, installation: Installation
) -> None:
    page = open_page()
    sign_in_locally(page, installation)
    connect(page, installation)
    connection = page.url
    page.get_by_role("link", name="Sync runs").first.click()
    page.get_by_role("link", name="Run 1").click()
    wait_for_the_read(page)

    limit_to_engineering(page)
    page.goto(page.url + "?verdict=any&q=FHC-0005")
    page.get_by_role("link", name="Why").click()
    expect(page.get_by_text("Design Systems").first).to_be_visible()
    picture(page, "why")

    bind_mac_admins(page)
    milo = open_page()
    milo.goto(f"{installation.console_url}/login/")
    milo.get_by_role("link", name="Sign in with Entra: Fernhill Studio").click()
    sign_in_at_the_sandbox(milo, cast.MILO.upn)
    milo.get_by_role("link", name="Policies").first.click()
    expect(milo.get_by_role("link", name="VPN client")).to_be_visible()

    group = f"tenants/{cast.FERNHILL.tenant_id}/groups/{cast.MAC_ADMINS.object_id}"
    control(installation, "DELETE", f"{group}/members/{cast.MILO.object_id}")
    sync_now(page, connection)
    milo.goto(f"{installation.console_url}/computers/policies/")
    expect(milo.get_by_role("link", name="VPN client")).to_have_count(0)
    expect(milo.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(milo.get_by_text("You hold no privileges any more")).to_be_visible()
