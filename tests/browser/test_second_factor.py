"""The second factor as a person meets it: a passkey of the browser, an app, codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from jamfidp.demo import processes
from jamfidp.demo.processes import Installation
from tests.browser.conftest import OpenPage, Watch
from tests.browser.test_every_page import faults_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def strict(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A console that asks for second factors, as in production, and nothing besides."""
    prepared = processes.prepare(
        tmp_path_factory.mktemp("strict"), processes.free_ports()
    )
    env = prepared.folder / "env"
    env.write_text(env.read_text().replace("FACTOR_REQUIRED=0", "FACTOR_REQUIRED=1"))
    with processes.stopped_at_the_end(prepared) as running:
        processes.manage(running, "migrate", "--no-input", "--verbosity=0")
        processes.manage(running, "collectstatic", "--no-input", "--verbosity=0")
        processes.start_console(running)
        yield running


def new_administrator(installation: Installation, username: str) -> str:
    """Return the password of a new local administrator."""
    printed = processes.manage(installation, "create_administrator", username)
    return printed.split("Password: ")[1].strip()


def give_security_key(page: Page) -> None:
    """Plug a key into this browser that says yes to everything."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "usb",
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )


def enter_password(
    page: Page, installation: Installation, username: str, password: str
) -> None:
    page.goto(f"{installation.console_url}/login/")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def test_a_passkey_is_made_and_used_with_the_keyboard_alone(
    open_page: OpenPage, watch: Watch, strict: Installation, axe: str
) -> None:
    password = new_administrator(strict, "ada")
    page = open_page()
    give_security_key(page)
    faults: list[str] = []

    def look() -> None:
        faults.extend(f"{page.url}: {f}" for f in faults_of(page, axe, watch))

    enter_password(page, strict, "ada", password)
    expect(page.get_by_role("heading", level=1)).to_have_text("Add a second factor")
    look()
    page.get_by_role("link", name="Passkey").press("Enter")
    look()
    page.get_by_label("Name").fill("Blue key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Keep these recovery codes"
    )
    look()
    page.get_by_role("button", name="I have kept them: sign in").press("Enter")
    expect(page.get_by_role("button", name="Navigation")).to_be_visible()

    page.locator("summary.account-button").press("Enter")
    page.get_by_role("button", name="Sign out").press("Enter")
    enter_password(page, strict, "ada", password)
    expect(page.get_by_role("heading", level=1)).to_have_text("Show that it is you")
    look()
    page.get_by_role("button", name="Use a passkey").press("Enter")
    expect(page.get_by_role("button", name="Navigation")).to_be_visible()

    page.goto(f"{strict.console_url}/account/sign-in/")
    expect(page.get_by_role("row", name="Blue key")).to_be_visible()
    look()
    assert faults == []


def test_an_app_is_added_by_its_secret_and_a_recovery_code_stands_in(
    open_page: OpenPage, watch: Watch, strict: Installation, axe: str
) -> None:
    password = new_administrator(strict, "ben")
    page = open_page()
    faults: list[str] = []

    def look() -> None:
        faults.extend(f"{page.url}: {f}" for f in faults_of(page, axe, watch))

    enter_password(page, strict, "ben", password)
    page.get_by_role("button", name="Authenticator app").press("Enter")
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    look()
    page.get_by_text("I cannot scan it").click()
    secret = page.locator(".secret-text").inner_text().replace(" ", "")
    page.get_by_label("Code", exact=True).fill(pyotp.TOTP(secret).now())
    page.keyboard.press("Enter")
    code = page.locator(".codes code").first.inner_text()
    page.get_by_role("button", name="I have kept them: sign in").click()
    expect(page.get_by_role("button", name="Navigation")).to_be_visible()

    page.context.clear_cookies()
    enter_password(page, strict, "ben", password)
    look()
    page.get_by_role("link", name="Use a recovery code").click()
    look()
    page.get_by_label("Recovery code").fill(code)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Navigation")).to_be_visible()
    assert faults == []


def test_a_browser_that_gives_no_passkey_says_so_on_the_page(
    open_page: OpenPage, watch: Watch, strict: Installation
) -> None:
    password = new_administrator(strict, "cy")
    page = open_page()
    # No key is plugged in, and nobody is there to say yes.
    page.add_init_script(
        "navigator.credentials.create = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    )
    enter_password(page, strict, "cy", password)
    page.get_by_role("link", name="Passkey").click()
    page.get_by_label("Name").fill("Key")

    page.get_by_role("button", name="Make the passkey").click()

    expect(page.get_by_role("alert")).to_contain_text("The browser gave no passkey")
    assert Path(page.url).name == "passkey"


def test_somebody_who_does_nothing_is_warned_and_can_stay(
    open_page: OpenPage, watch: Watch, strict: Installation
) -> None:
    password = new_administrator(strict, "dee")
    page = open_page()
    give_security_key(page)
    enter_password(page, strict, "dee", password)
    page.get_by_role("link", name="Passkey").click()
    page.get_by_label("Name").fill("Key")
    page.keyboard.press("Enter")
    page.clock.install()
    page.get_by_role("button", name="I have kept them: sign in").click()
    expect(page.get_by_role("button", name="Navigation")).to_be_visible()

    page.clock.fast_forward("58:02")
    expect(page.get_by_text("You are signed out in two minutes")).to_be_visible()
    page.get_by_role("button", name="Stay signed in").click()
    expect(page.get_by_text("You are signed out in two minutes")).to_have_count(0)

    page.clock.fast_forward("01:00:03")
    expect(page.get_by_text("You were signed out")).to_be_visible()
