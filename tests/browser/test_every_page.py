"""Every page of the console: readable by everybody, on every screen, in both themes.

The pages are taken from the routes. A route that needs an object is in the table of
samples, one that shows no page is in the table of those, and one that is in neither
fails here: new pages are looked at from their first day.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.urls import URLPattern
from playwright.sync_api import Browser, Page

from jamfidp.demo.processes import Installation
from tests import cast
from tests.browser import walking
from tests.browser.conftest import WIDE, OpenPage, Watch, serious_findings

pytestmark = pytest.mark.browser

ROUTES = dict(walking.routes())
# Only people who are not signed in see these.
SIGNED_OUT = {"accounts:login", "connector:refused"}
# Pages that say what was refused, and how they answer.
REFUSALS = {
    "directory:consent-refused": 400,
    "directory:request-page": 404,
    "connector:refused": 400,
}
# Rules whose answer depends on the theme; the others are asked once. What stands
# around the pages is asked on the page of an error.
COLORS = ["color-contrast", "link-in-text-block"]
# How far the page has moved under the reader since it was opened, and what moved most.
SHIFT = """() => new Promise(resolve => {
    const shifts = [];
    new PerformanceObserver(list => shifts.push(
        ...list.getEntries().filter(entry => !entry.hadRecentInput)
    )).observe({type: "layout-shift", buffered: true});
    setTimeout(() => {
        const shift = shifts.reduce((sum, entry) => sum + entry.value, 0);
        const moved = shifts.sort((a, b) => b.value - a.value)[0]?.sources ?? [];
        const names = moved.map(({node}) => node?.nodeType === Node.ELEMENT_NODE
            ? `${node.tagName}.${node.getAttribute("class")}` : node?.nodeName);
        resolve([shift, names.join(", ")]);
    }, 30);
})"""
# A slow line: the document arrives in pieces, and the browser shows what it has.
SLOW = {
    "offline": False,
    "latency": 100,
    "downloadThroughput": 40_000,
    "uploadThroughput": 40_000,
}
# The document hides what overflows it: only tabs and tables scroll in their frame.
OUTSIDE = """() => {
    const scrolls = e => e && getComputedStyle(e).overflowX === "auto";
    const tables = [...document.querySelectorAll(".table-wrap")]
        .filter(e => !scrolls(e) && e.scrollWidth > e.clientWidth + 1);
    const all = [...document.querySelectorAll("main *, header *")]
    .filter(e => e.checkVisibility({visibilityProperty: true}))
    .filter(e => !e.parentElement.closest(".tabs, thead, svg"))
    .filter(e => !scrolls(e.closest(".table-wrap")))
    .filter(e => !e.closest("[data-menu]:not([open]) > .menu-panel"))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1);
    return [...tables, ...all].map(e => `${e.tagName}.${e.getAttribute("class")}`);
}"""


@pytest.fixture(scope="module")
def shared() -> Watch:
    return Watch()


def _open(browser: Browser, shared: Watch) -> Page:
    context = browser.new_context(
        viewport={"width": WIDE["width"], "height": WIDE["height"]},
        color_scheme="light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.on("console", shared.message)
    page.on("pageerror", shared.error)
    page.set_default_timeout(20_000)
    return page


@pytest.fixture(scope="module")
def administrator(
    browser: Browser, connected: Installation, shared: Watch
) -> Iterator[Page]:
    """One page, signed in, for all routes: opening a profile for each takes long."""
    page = _open(browser, shared)
    walking.sign_in_locally(page, connected)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def stranger(browser: Browser, shared: Watch) -> Iterator[Page]:
    page = _open(browser, shared)
    yield page
    page.context.close()


def jumps_of(page: Page) -> list[str]:
    shift, moved = page.evaluate(SHIFT)
    if shift < 0.1:
        return []
    return [f"the page jumps while it loads ({shift:.2f}: {moved})"]


def faults_of(page: Page, axe: str, watch: Watch) -> list[str]:
    """What is wrong with the page that is open; leaves it wide and light."""
    page.wait_for_function("() => !document.querySelector('.htmx-request')")
    faults = []
    faults += jumps_of(page)
    headings = page.locator("h1").count()
    if headings != 1:
        faults.append(f"{headings} headings of the first level")
    if not page.locator("h1").first.inner_text().strip():
        faults.append("the heading is empty")
    if len(page.title()) < 5:
        faults.append(f"the title is {page.title()!r}")
    faults += serious_findings(page, axe, watch)
    page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    found = serious_findings(page, axe, watch, only=COLORS, within="main")
    faults += [f"dark: {fault}" for fault in found]
    page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    for width in (WIDE["width"], 1280, 2560, 360):
        page.set_viewport_size({"width": width, "height": 800})
        outside = page.evaluate(OUTSIDE)
        if outside:
            faults.append(f"wider than {width} pixels: {outside[:5]}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"scrolls sideways at {width} pixels")
    page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})
    return faults


@pytest.mark.parametrize("name", [*filter(walking.is_page, ROUTES)])
def test_page_is_fit_for_everybody(
    administrator: Page,
    stranger: Page,
    shared: Watch,
    connected: Installation,
    axe: str,
    name: str,
) -> None:
    page = stranger if name in SIGNED_OUT else administrator
    shared.faults.clear()
    answer = page.goto(walking.address(connected, name, ROUTES[name]))
    assert answer
    expected = REFUSALS.get(name, 200)
    assert (answer.status, page.url) == (expected, answer.request.url)
    assert faults_of(page, axe, shared) == []
    assert shared.faults == []


@pytest.fixture
def slow_line(administrator: Page) -> Iterator[None]:
    debugger = administrator.context.new_cdp_session(administrator)
    debugger.send("Network.enable")
    debugger.send("Network.emulateNetworkConditions", SLOW)
    yield
    at_full_speed = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    debugger.send("Network.emulateNetworkConditions", SLOW | at_full_speed)
    debugger.detach()


@pytest.mark.parametrize(
    "name",
    [
        "directory:cloud-idp-detail",
        "directory:user-detail",
        "directory:group-detail",
        "directory:syncrun-detail",
        "scoping:computer-detail",
        "scoping:smartcomputergroup-detail",
        "notices:settings",
        "history:list",
    ],
)
def test_page_does_not_jump_while_it_arrives_in_pieces(
    administrator: Page, slow_line: None, connected: Installation, name: str
) -> None:
    """What stands beside the content comes last, and its room is kept from the start."""
    administrator.goto(walking.address(connected, name, ROUTES[name]))
    administrator.wait_for_function("() => !document.querySelector('.htmx-request')")
    assert jumps_of(administrator) == []


@pytest.mark.parametrize(
    "name",
    ["scoping:inventoryuser-list", "scoping:computer-list", "directory:user-list"],
)
def test_a_table_that_arrives_in_pieces_does_not_move(
    administrator: Page, slow_line: None, connected: Installation, name: str
) -> None:
    """Its columns take their widths from all of its rows: it is shown with the last."""
    administrator.goto(walking.address(connected, name, ROUTES[name]))
    shift, _moved = administrator.evaluate(SHIFT)
    assert shift < 0.01


def test_a_page_that_jumps_is_told(
    administrator: Page, connected: Installation
) -> None:
    administrator.goto(f"{connected.console_url}/users/")
    administrator.evaluate("""() => new Promise(shown => {
        requestAnimationFrame(() => requestAnimationFrame(() => {
            document.querySelector("main").prepend(
                document.querySelector("table").cloneNode(true)
            );
            requestAnimationFrame(shown);
        }));
    })""")
    (jump,) = jumps_of(administrator)
    assert "the page jumps" in jump


@pytest.mark.parametrize("name", [name for name in ROUTES if not walking.is_page(name)])
def test_route_that_is_called_no_page_shows_none(
    administrator: Page, connected: Installation, name: str
) -> None:
    address = walking.address(connected, name, ROUTES[name])
    answer = administrator.request.get(address, max_redirects=0)
    assert not answer.ok or "<!doctype" not in answer.text().lower()


@pytest.mark.parametrize("path", ["/nowhere/", "/computers/999999/"])
def test_page_of_an_error_is_fit_for_everybody(
    administrator: Page, shared: Watch, connected: Installation, axe: str, path: str
) -> None:
    shared.faults.clear()
    answer = administrator.goto(connected.console_url + path)
    assert answer
    assert answer.status == 404
    assert faults_of(administrator, axe, shared) == []
    administrator.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    assert serious_findings(administrator, axe, shared) == []
    assert shared.faults == []


def test_every_step_of_a_consent_is_fit_for_everybody(
    open_page: OpenPage, watch: Watch, connected: Installation, axe: str
) -> None:
    """From the wizard over Microsoft's pages to the question whether to save."""
    page = open_page()
    faults: list[str] = []

    def look() -> None:
        faults.extend(
            f"{page.url.split('?')[0]}: {f}" for f in faults_of(page, axe, watch)
        )

    walking.sign_in_locally(page, connected)
    page.goto(f"{connected.console_url}/settings/cloud-idps/new/entra/permissions/")
    page.get_by_role("button", name="Begin").click()
    look()
    page.get_by_role("link", name="Continue to Microsoft").click()
    look()
    page.get_by_label("Email or user name").fill(cast.QUARREL.global_administrator.upn)
    page.get_by_role("button", name="Next").click()
    look()
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    look()
    page.get_by_role("button", name="Accept").click()
    look()
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("heading", name="Connect Quarrel").wait_for(timeout=30_000)
    look()
    assert faults == []


def test_every_page_of_a_sent_request_is_fit_for_everybody(
    open_page: OpenPage, watch: Watch, connected: Installation, axe: str
) -> None:
    """The Global Administrator has another browser, and no account of the console."""
    sender, grace = open_page(), open_page()
    faults: list[str] = []

    def look(page: Page) -> None:
        faults.extend(
            f"{page.url.split('?')[0]}: {f}" for f in faults_of(page, axe, watch)
        )

    walking.sign_in_locally(sender, connected)
    sender.goto(f"{connected.console_url}/settings/cloud-idps/requests/new/")
    sender.get_by_role("button", name="Make the link").click()
    link = sender.locator("[data-copy*='token=']").get_attribute("data-copy")
    assert link
    grace.goto(link)
    assert "token" not in grace.url
    look(grace)
    grace.get_by_role("button", name="Continue").click()
    grace.get_by_label("Email or user name").fill(cast.QUARREL.global_administrator.upn)
    grace.get_by_role("button", name="Next").click()
    grace.get_by_label("Password").fill(cast.PASSWORD)
    grace.get_by_role("button", name="Sign in").click()
    grace.get_by_role("button", name="Accept").click()
    grace.get_by_role("link", name="Continue").click()
    grace.get_by_role("heading", name="Done. Close this page.").wait_for(timeout=30_000)
    look(grace)
    sender.reload()
    sender.get_by_role("heading", name="Connect Quarrel").wait_for()
    look(sender)
    # Somebody else with the same link is told, and the log of the server knows nothing.
    other = open_page()
    other.goto(link)
    other.get_by_role("heading", name="This link was opened already").wait_for()
    look(other)
    sender.get_by_role("button", name="Revoke").click()
    look(sender)
    assert faults == []
    token = link.partition("token=")[2]
    for name in ("console", "worker"):
        assert token not in connected.log(name).read_text()


def test_page_for_somebody_without_the_privilege_names_it_as_jamf_does(
    open_page: OpenPage, watch: Watch, connected: Installation, axe: str
) -> None:
    page = open_page()
    page.goto(f"{connected.console_url}/login/")
    page.get_by_role("link", name="Sign in with Entra: Fernhill Studio").click()
    walking.sign_in_at_the_sandbox(page, cast.MILO.upn)
    page.get_by_role("button", name="Navigation").wait_for()
    assert faults_of(page, axe, watch) == []
    page.goto(f"{connected.console_url}/settings/cloud-idps/")
    assert faults_of(page, axe, watch) == []


def test_a_new_route_needs_a_sample(connected: Installation) -> None:
    with pytest.raises(AssertionError, match="Name an object for directory:new"):
        walking.address(
            connected,
            "directory:new-detail",
            URLPattern(ROUTES["directory:user-detail"].pattern, lambda: None),
        )
