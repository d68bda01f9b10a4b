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
    # Verification goes on by itself; then the Microsoft session is ended.
    page.get_by_role("link", name="End the session").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Connect Fernhill Studio?"
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fernhill Studio")


def test_the_main_job_from_consent_to_privileges(
    open_page: OpenPage, installation: Installation
) -> None:
    page = open_page()
    sign_in_locally(page, installation)

    connect(page, installation)

    page.get_by_role("link", name="Sync runs").click()
    page.get_by_role("link", name=re.compile("Run 1")).click()
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=60_000)
    picture(page, "sync")
