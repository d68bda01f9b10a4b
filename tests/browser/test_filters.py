"""The groups of a filter are picked by name, and stay ticked while one searches on."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jamfidp.demo.processes import Installation
from tests import cast
from tests.browser import walking
from tests.browser.conftest import OpenPage, Watch, serious_findings

pytestmark = pytest.mark.browser


def test_groups_are_found_ticked_and_previewed(
    open_page: OpenPage, watch: Watch, connected: Installation, axe: str
) -> None:
    page = open_page()
    walking.sign_in_locally(page, connected)
    page.goto(f"{connected.console_url}/settings/cloud-idps/")
    main = page.get_by_role("main")
    main.get_by_role("link", name=cast.FERNHILL.display_name).first.click()
    main.get_by_role("link", name="Filters", exact=True).click()

    page.get_by_label("Only these groups").check()
    search = page.get_by_label("Besides, these groups")
    search.fill("mac adm")
    expect(page.get_by_role("checkbox", name="Frontend")).to_have_count(0)
    page.get_by_role("checkbox", name="Mac Admins").check()
    search.fill("frontend")
    page.get_by_role("checkbox", name="Frontend").check()
    search.fill("nothing is called so")
    expect(page.get_by_text("No directory group matches")).to_be_visible()
    expect(page.get_by_role("checkbox", name="Mac Admins")).to_be_checked()
    assert serious_findings(page, axe, watch) == []

    # Enter searches; it does not send the filter.
    search.fill("interns")
    search.press("Enter")
    expect(page.get_by_role("checkbox", name="Interns")).not_to_be_checked()
    expect(page.get_by_role("checkbox", name="Frontend")).to_be_checked()
    page.get_by_role("button", name="Preview").click()
    expect(main).to_contain_text("It reads 2 picked groups")
    page.get_by_role("button", name="Change the filter").click()
    expect(page.get_by_role("checkbox", name="Mac Admins")).to_be_checked()
