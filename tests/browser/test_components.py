"""What the console's look does in a browser, seen on the page of all components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, OpenPage, Watch, serious_findings

pytestmark = pytest.mark.browser


class SilentHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def gallery() -> Iterator[str]:
    """The address of the components; the page needs neither database nor sign-in."""
    application = StaticFilesHandler(get_wsgi_application())
    server = make_server("127.0.0.1", 0, application, handler_class=SilentHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/components/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(open_page: Callable[..., Page], gallery: str) -> Page:
    page = open_page()
    page.goto(gallery)
    return page


def root(page: Page, name: str) -> Any:
    return page.evaluate("name => document.documentElement.dataset[name]", name)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    "viewport", [{"width": 1440, "height": 900}, NARROW], ids=["wide", "narrow"]
)
def test_every_component_is_accessible(
    open_page: OpenPage,
    watch: Watch,
    gallery: str,
    axe: str,
    viewport: dict[str, int],
    dark: bool,
) -> None:
    page = open_page(viewport=viewport, dark=dark)
    page.goto(gallery)
    assert serious_findings(page, axe, watch) == []


@pytest.mark.parametrize("width", [360, 599, 600, 991, 992, 1200, 2560])
def test_page_never_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    overflow = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(overflow) <= 0
    # The page hides what overflows it; only tabs and tables scroll in their frame.
    outside = page.evaluate(
        """[...document.querySelectorAll("main *")]
        .filter(e => !e.parentElement.closest(".tabs, .table-wrap, thead"))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.tagName + "." + e.className)"""
    )
    assert outside == []


def test_theme_follows_the_system_until_one_is_chosen(
    open_page: Callable[..., Page], gallery: str
) -> None:
    page = open_page(dark=True)
    page.goto(gallery)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_label("Appearance").click()
    page.get_by_role("button", name="Light").click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    page.get_by_label("Appearance").click()
    page.get_by_role("button", name="As the system").click()
    assert page.evaluate(background) == dark


def test_density_is_remembered(page: Page) -> None:
    row = page.locator("tbody tr").last
    before = row.bounding_box()
    page.get_by_label("Appearance").click()
    page.get_by_role("button", name="Compact").click()
    page.reload()
    after = row.bounding_box()
    assert before
    assert after
    assert after["height"] < before["height"]


def test_narrow_navigation_is_remembered_from_the_first_paint(page: Page) -> None:
    toggle = page.get_by_role("button", name="Navigation")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    page.route("**/app*.js", lambda route: route.fulfill(body=""))
    # Without app.js nothing but the script in the head can have set it.
    page.evaluate("document.documentElement.dataset.nav = 'wide'")
    page.reload(wait_until="commit")
    page.wait_for_selector("main")
    assert root(page, "nav") == "narrow"


def test_navigation_of_a_small_screen_opens_and_closes(page: Page) -> None:
    page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    sidebar = page.locator("#navigation")
    expect(sidebar).not_to_be_in_viewport()
    page.get_by_role("button", name="Navigation").click()
    expect(sidebar).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(sidebar).not_to_be_in_viewport()


def test_arrow_keys_walk_the_rows_from_the_search_and_back(page: Page) -> None:
    search = page.get_by_label("Search computers")
    search.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="MBP-0412")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="MBP-0077")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(search).to_be_focused()


def test_typing_searches_and_puts_the_filter_into_the_address(page: Page) -> None:
    with page.expect_request(lambda asked: "q=mbp" in asked.url) as asked:
        page.get_by_label("Search computers").press_sequentially("mbp")
    assert asked.value.headers["hx-target"] == "list"
    page.wait_for_url("**/components/?q=mbp**")


def test_danger_waits_until_the_name_is_typed(page: Page) -> None:
    delete = page.get_by_role("button", name="Delete the connection")
    name = page.get_by_label("Type Fernhill Studio to confirm")
    expect(delete).to_be_disabled()
    name.fill("Fernhill studio")
    expect(delete).to_be_disabled()
    name.fill("Fernhill Studio")
    expect(delete).to_be_enabled()


def test_menu_closes_with_escape_and_gives_the_focus_back(page: Page) -> None:
    opener = page.locator("summary[aria-label='More actions']")
    opener.click()
    expect(page.get_by_role("link", name="Rename")).to_be_visible()
    page.get_by_role("link", name="Rename").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Rename")).to_be_hidden()
    expect(opener).to_be_focused()


def test_refused_form_takes_the_focus_to_what_is_wrong(page: Page) -> None:
    expect(page.locator("[data-focus]")).to_be_focused()


def test_exact_time_shows_on_focus(page: Page) -> None:
    time = page.locator("main time").first
    content = "e => getComputedStyle(e, '::after').content"
    assert time.evaluate(content) == "none"
    time.focus()
    exact = time.get_attribute("data-exact")
    assert exact
    assert exact in time.evaluate(content)


def test_table_reads_as_cards_on_a_small_screen(page: Page) -> None:
    cell = page.locator("td[data-label='System']").first
    label = "e => getComputedStyle(e, '::before').content"
    assert cell.evaluate(label) == "none"
    page.set_viewport_size({"width": 599, "height": 800})
    assert cell.evaluate(label) == '"System"'


def test_htmx_runs_with_what_the_policy_allows(page: Page) -> None:
    assert page.evaluate("htmx.config.allowEval") is False
    assert page.evaluate("htmx.config.includeIndicatorStyles") is False
    assert page.evaluate("htmx.config.historyCacheSize") == 0


def test_page_works_without_scripts(
    open_page: Callable[..., Page], gallery: str
) -> None:
    page = open_page(viewport=NARROW)
    page.route("**/*.js", lambda route: route.fulfill(body=""))
    page.goto(gallery)
    expect(page.locator("#navigation")).to_be_visible()
    expect(page.get_by_role("button", name="Search").last).to_be_visible()
    page.get_by_label("Search computers").fill("mbp")
    page.get_by_label("Search computers").press("Enter")
    page.wait_for_url("**/components/?q=mbp**")
