"""A dry run and the sync of one person, as somebody at the console walks them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jamfidp.demo.check import Job
from jamfidp.demo.processes import Installation
from tests import cast
from tests.browser import walking
from tests.browser.conftest import OpenPage, Watch, serious_findings

pytestmark = pytest.mark.browser


def test_a_dry_run_is_read_to_its_last_difference_and_then_one_person_is_synced(
    open_page: OpenPage, watch: Watch, connected: Installation, axe: str
) -> None:
    wren = f"tenants/{cast.FERNHILL.tenant_id}/users/{cast.WREN.object_id}"
    Job(connected).control("PATCH", wren, {"jobTitle": "Head of Letters"})
    page = open_page()
    walking.sign_in_locally(page, connected)
    page.goto(f"{connected.console_url}/settings/cloud-idps/")
    page.get_by_role("link", name=cast.FERNHILL.display_name).first.click()
    page.get_by_role("link", name="Sync", exact=True).click()

    page.get_by_role("button", name="Dry run").click()
    expect(
        page.get_by_text("The dry run has ended. Nothing was applied.")
    ).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Open the plan").click()
    expect(page.get_by_text("Dry run: nothing of this was applied.")).to_be_visible()
    page.get_by_role("link", name="People", exact=True).click()
    page.get_by_role("link", name=cast.WREN.display_name, exact=True).click()
    expect(page.get_by_role("row", name="Position")).to_contain_text("Head of Letters")
    assert serious_findings(page, axe, watch) == []

    page.get_by_role("link", name=cast.WREN.display_name, exact=True).click()
    expect(page.locator("main")).not_to_contain_text("Head of Letters")
    page.get_by_role("button", name="Sync now").click()
    expect(page.get_by_text("Applied, in one transaction.")).to_be_visible(
        timeout=60_000
    )
    expect(page.get_by_text("GET /v1.0/users/{}", exact=True)).to_be_visible()
    assert serious_findings(page, axe, watch) == []
    page.go_back()
    page.reload()
    expect(page.locator("main")).to_contain_text("Head of Letters")
