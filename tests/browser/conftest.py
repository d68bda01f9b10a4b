"""A real browser against the console's own processes.

The system's Chromium by path. Neither the content security policy nor certificate
errors are bypassed; a violation or a script error on any page fails the test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

from jamfidp.demo import processes
from jamfidp.demo.processes import Installation
from tests.browser import walking

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Chromium refuses to start its own sandbox for root, as in containers.
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}


def chromium() -> str | None:
    """The system's Chromium, or the one that CHROMIUM names; None when not there."""
    named = os.environ.get("CHROMIUM")
    return (
        shutil.which(named)
        if named
        else next(filter(None, map(shutil.which, NAMES)), None)
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("Chromium is not installed, and REQUIRE_BROWSER is set.")
        pytest.skip("Chromium is not installed")
    # Playwright leaves an event loop running in this thread, in which the tests of the
    # same worker that come later use the database as before.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """What went wrong on the pages of one test, told by the browser itself."""

    faults: list[str] = field(default_factory=list)

    def message(self, message: ConsoleMessage) -> None:
        text = message.text
        # Reported as errors, and none: a page that answers 403 or 422 on purpose, and
        # a search that htmx took back because more was typed.
        expected = "the server responded with a status of 4" in text or text.startswith(
            ("htmx:sendAbort", "htmx:afterRequest")
        )
        if "Content Security Policy" in text or (
            message.type == "error" and not expected
        ):
            self.faults.append(f"{message.type}: {text} ({message.location})")

    @contextmanager
    def paused(self, page: Page) -> Iterator[None]:
        """Forgive what happens meanwhile: a tool's doing, and not the page's."""
        before = list(self.faults)
        yield
        # What the browser still has to say about it comes with the next frame.
        page.evaluate("() => new Promise(requestAnimationFrame)")
        self.faults[:] = before

    def error(self, error: Error) -> None:
        self.faults.append(f"script error: {error}")


OpenPage = Callable[..., Page]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test for what the browser tells of its pages."""
    watch = Watch()
    yield watch
    assert not watch.faults, "\n".join(watch.faults)


@pytest.fixture
def open_page(browser: Browser, watch: Watch) -> Iterator[OpenPage]:
    """Open a page in a browser profile of its own; wide unless told otherwise."""
    contexts = []

    def open_one(*, viewport: dict[str, int] | None = None, dark: bool = False) -> Page:
        size = viewport or WIDE
        context = browser.new_context(
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", watch.message)
        page.on("pageerror", watch.error)
        page.set_default_timeout(20_000)
        return page

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def connected(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Another demo whose tenant is connected, read, scoped by and bound."""
    prepared = processes.prepare(
        tmp_path_factory.mktemp("connected"), processes.free_ports()
    )
    with processes.stopped_at_the_end(prepared) as running:
        processes.start_everything(running)
        walking.everything_at_once(running)
        yield running


@pytest.fixture(scope="session")
def installation(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The demo with its sandbox, worker and console, on free ports."""
    prepared = processes.prepare(
        tmp_path_factory.mktemp("installation"), processes.free_ports()
    )
    with processes.stopped_at_the_end(prepared) as running:
        processes.start_everything(running)
        yield running


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's source; run through the debugger, not a script tag."""
    source = Path(settings.BASE_DIR) / "node_modules" / "axe-core" / "axe.min.js"
    return source.read_text()


def serious_findings(
    page: Page,
    axe: str,
    watch: Watch,
    *,
    only: Sequence[str] = (),
    within: str = "html",
) -> list[str]:
    """What axe calls serious or critical on the page as it stands.

    `only` names rules, where not all are asked for; `within` the part to look at.
    """
    # The policy blocks styles that the checker itself tries to set.
    with watch.paused(page):
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(f"() => {{ {axe} }}")
        options = {"resultTypes": ["violations"]} | (
            {"runOnly": list(only)} if only else {}
        )
        found = page.evaluate(
            "([within, options]) => axe.run(within, options)", [within, options]
        )
    return [
        f"{page.url}: {fault['id']} ({fault['impact']}): "
        + "; ".join(" ".join(node["target"]) for node in fault["nodes"][:5])
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
