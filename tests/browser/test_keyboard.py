"""The main job by keyboard alone; no test here touches the mouse."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from jamfidp.demo import story
from jamfidp.demo.processes import Installation
from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.browser

MOST_STOPS = 150
# What a person sees of the focus: an outline, also on the menus' openers.
RING = """element => {
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
}"""


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the focus is there, and see that it shows."""
    expect(wanted).to_have_count(1)
    element = wanted.element_handle()
    for _ in range(MOST_STOPS):
        if element.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(wanted).to_be_focused(timeout=1000)
    assert element.evaluate(RING), f"The focus on {wanted} cannot be seen."


def press(page: Page, wanted: Locator, key: str = "Enter") -> None:
    tab_to(page, wanted)
    page.keyboard.press(key)


def in_navigation(page: Page, name: str) -> Locator:
    console = page.get_by_role("navigation", name="Console")
    return console.get_by_role("link", name=name)


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


@pytest.fixture
def page(open_page: OpenPage, connected: Installation) -> Page:
    """Signed in, by typing."""
    page = open_page()
    page.goto(f"{connected.console_url}/login/")
    tab_to(page, page.get_by_label("User name"))
    page.keyboard.type(story.ADMINISTRATOR)
    page.keyboard.press("Tab")
    page.keyboard.type(connected.administrator_password)
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("What needs you now")
    return page


def test_skip_link_is_first_and_leads_past_the_navigation(page: Page) -> None:
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name=re.compile("^Skip"))
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_wizard_goes_to_microsoft(page: Page) -> None:
    press(page, in_navigation(page, "Cloud identity providers"))
    press(page, page.get_by_role("main").get_by_role("link", name="New", exact=True))
    press(page, page.get_by_role("button", name="Next"))
    expect(heading(page)).to_have_text("Is this console ready to connect?")
    press(page, page.get_by_role("link", name="Next"))
    press(page, page.get_by_role("button", name="Begin"), "Space")
    tab_to(page, page.get_by_role("link", name="Continue to Microsoft"))


def test_request_is_made_copied_and_revoked(page: Page) -> None:
    press(page, in_navigation(page, "Cloud identity providers"))
    press(page, page.get_by_role("main").get_by_role("link", name="Requests"))
    press(page, page.get_by_role("link", name="Send a request"))
    press(page, page.get_by_role("button", name="Make the link"))
    expect(heading(page)).to_have_text("Request for consent: a new tenant")
    tab_to(page, page.get_by_role("button", name="Copy the link"))
    press(page, page.get_by_role("button", name="Revoke"), "Space")
    expect(page.get_by_text("The request was revoked. Its link leads")).to_be_visible()


def test_group_is_found_added_to_a_scope_and_saved(page: Page) -> None:
    press(page, in_navigation(page, "Policies"))
    search = page.get_by_role("main").get_by_role("searchbox")
    tab_to(page, search)
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="Design fonts")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="VPN client")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(search).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("Design fonts")

    press(page, page.get_by_role("main").get_by_role("link", name=re.compile("^Scope")))
    press(page, page.get_by_role("link", name="Edit the scope"))
    kind = page.get_by_label("Kind to add to Exclusions")
    tab_to(page, kind)
    page.keyboard.type("Directory Service User G")
    expect(kind).to_have_value("DIRECTORY_GROUP")
    search = page.get_by_role("searchbox", name="Search what to add to Exclusions")
    tab_to(page, search)
    page.keyboard.type("interns")
    press(page, page.get_by_role("button", name=re.compile("^Group Interns|Interns")))
    expect(page.get_by_text("except Interns").first).to_be_visible()
    # Whoever adds one entry often adds the next.
    expect(search).to_be_focused()
    press(page, page.get_by_role("button", name="Save", exact=True))
    expect(heading(page)).to_contain_text("Who is in scope")
    expect(page.get_by_text("Interns").first).to_be_visible()


def test_search_of_everything_opens_closes_and_leads_on(page: Page) -> None:
    page.keyboard.press("Control+k")
    box = page.get_by_role("searchbox", name=re.compile("^Search people, groups"))
    expect(box).to_be_focused()
    page.keyboard.type("ana ruiz")
    results = page.locator("#search-results")
    found = results.get_by_role("link", name="Ana Ruiz").first
    expect(found).to_be_visible()
    # A part of a page: a whole one would bring its own navigation along.
    expect(results.locator("nav, h1, main")).to_have_count(0)
    # The browser empties the field, which is typing; nothing opens again by that.
    page.keyboard.press("Escape")
    page.wait_for_timeout(600)
    expect(results).to_be_empty()
    expect(box).to_be_focused()
    page.keyboard.type("ana ruiz")
    expect(found).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(found).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("Ana Ruiz")


def test_menu_opens_with_enter_and_closes_with_escape(page: Page) -> None:
    opener = page.locator("summary[aria-label^='Account of']")
    press(page, opener)
    out = page.get_by_role("button", name="Sign out")
    expect(out).to_be_visible()
    tab_to(page, out)
    page.keyboard.press("Escape")
    expect(out).to_be_hidden()
    expect(opener).to_be_focused()
