"""Every status of a connection in the browser, as it was produced at the sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from directory import checking, clouds, connections, tokens
from directory.entra import TokenCache
from directory.status_table import DISABLED, MEANINGS
from jamfidp.accounts.models import User
from tests.browser.conftest import NARROW, WIDE, OpenPage, Watch, serious_findings
from tests.conftest import Sandbox
from tests.directory.statuses import CASES, Status, working
from tests.directory.syncing import Story

pytestmark = pytest.mark.browser

# A folder for pictures of each status, to be looked at.
PICTURES = os.environ.get("STATUS_PICTURES", "")
CUT_OFF = """() => [...document.querySelectorAll('.status-panel *, .checks *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"""


def look(page: Page, name: str) -> None:
    """Look at the page wide and narrow, light and dark."""
    for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
        page.set_viewport_size({"width": viewport["width"], "height": 900})
        assert page.evaluate(CUT_OFF) == [], (name, size)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        for theme in ("light", "dark") if PICTURES else ():
            page.evaluate(f"document.documentElement.dataset.bsTheme = '{theme}'")
            page.screenshot(
                path=Path(PICTURES) / f"{name.lower()}-{size}-{theme}.png",
                full_page=size == "narrow",
            )
    page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})


@pytest.fixture
def story(
    transactional_db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Story:
    # The browser's own loop runs in this thread; nothing here is asynchronous.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(tokens, "_TOKENS", TokenCache(clouds.METADATA))
    return working(sandbox)


def test_each_status_is_seen_with_what_to_do(
    story: Story,
    administrator: User,
    live_server: Any,
    open_page: OpenPage,
    watch: Watch,
    axe: str,
    settings: Any,
) -> None:
    signed_in = Client(SERVER_NAME="localhost")
    signed_in.force_login(administrator)
    page = open_page()
    page.context.add_cookies(
        [
            {
                "name": django_settings.SESSION_COOKIE_NAME,
                "value": signed_in.cookies[django_settings.SESSION_COOKIE_NAME].value,
                "url": live_server.url,
            }
        ]
    )
    address = f"{live_server.url}{story.cloud_idp.get_absolute_url()}"
    page.goto(address)
    look(page, Status.ACTIVE)
    assert page.locator(".status-panel").count() == 0
    checked = set()
    for name, case in CASES.items():
        case.happens(story)
        page.goto(address)
        page.get_by_role("button", name="Check now").first.click()
        panel = page.get_by_role("region", name="What this status means")
        assert MEANINGS[name].advice in panel.inner_text(), name
        look(page, name)
        if MEANINGS[name].look not in checked:
            checked.add(MEANINGS[name].look)
            assert serious_findings(page, axe, watch) == []
        case.heals(story)
        story.cloud_idp.refresh_from_db()
        assert checking.check(story.cloud_idp, now=timezone.now()), name
    keys = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = [f"other:{'QUFB' * 10}QUE="]
    checking.check(story.cloud_idp, now=timezone.now())
    page.goto(address)
    look(page, Status.KEY_UNAVAILABLE)
    settings.ENCRYPTION_KEYS = keys
    connections.set_enabled(
        story.cloud_idp, enabled=False, actor=administrator, now=timezone.now()
    )
    page.goto(address)
    look(page, DISABLED)
    page.locator(".status-panel").get_by_role("link", name="Enable").click()
    page.locator("main").get_by_role("button", name="Enable").click()
    page.wait_for_url(address)
    story.cloud_idp.refresh_from_db()
    assert story.cloud_idp.enabled
