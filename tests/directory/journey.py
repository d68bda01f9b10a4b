"""Walking from the console to Microsoft's pages and back, as a browser does.

The console and the connector are Django's test client, which keeps their cookies; the
sandbox's pages are real requests over a socket, with cookies of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from django.test import Client
from django.utils import timezone

from directory import credentials, registrations
from directory.models import ApplicationRegistration, ConsentRequest
from jamfidp.accounts.models import User
from tests.conftest import Sandbox

CONSOLE = "http://localhost:8000"


def browser_for(user: User) -> Client:
    """A browser at the console's own address, signed in."""
    client = Client(HTTP_HOST="localhost:8000")
    client.force_login(user)
    return client


def register(
    sandbox: Sandbox, actor: User, *, secret: str | None = None
) -> ApplicationRegistration:
    """Enter the sandbox's application, as the demo does."""
    now = timezone.now()
    registration = registrations.save_client_id(
        cloud_key="SANDBOX",
        client_id=sandbox.application["client_id"],
        connections_confirmed=True,
        actor=actor,
        now=now,
    )
    credentials.add_secret(
        registration,
        secret=secret or sandbox.application["client_secret"],
        expires_at=None,
        actor=actor,
        now=now,
    )
    return registration


@dataclass
class Pages:
    """A browser's way through Microsoft's pages."""

    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False

    def open(self, address: str) -> requests.Response:
        return self.session.get(address, allow_redirects=False, timeout=30)

    def send(self, page: requests.Response, **values: str) -> requests.Response:
        """Send the page's form for `step`; the form's address is on the page."""
        match = re.search(r'action="(/flow/[^"]+)"', page.text)
        assert match, f"no form on this page: {page.text[:2000]}"
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(page.url))
        return self.session.post(
            origin + match.group(1), data=values, allow_redirects=False, timeout=30
        )

    def sign_in(self, address: str, upn: str, password: str) -> requests.Response:
        page = self.open(address)
        assert page.status_code == 200, page.text
        page = self.send(page, step="username", username=upn)
        return self.send(page, step="password", username=upn, password=password)


def local(address: str) -> str:
    """The path and query of an address of the console."""
    assert address.startswith(CONSOLE), address
    return address.removeprefix(CONSOLE)


def answer_of(address: str) -> dict[str, str]:
    query = parse_qs(urlsplit(address).query)
    return {name: values[0] for name, values in query.items()}


@dataclass
class Journey:
    """One attempt to connect a tenant."""

    console: Client
    sandbox: Sandbox
    pages: Pages = field(default_factory=Pages)

    def begin(self) -> str:
        """Press 'Begin'; returns the address of the attempt."""
        response = self.console.post(
            "/settings/cloud-idps/new/entra/start/", {"cloud": "SANDBOX"}
        )
        assert response.status_code == 303, response.content.decode()
        return response["Location"]

    def attempt(self, page: str) -> ConsentRequest:
        return ConsentRequest.objects.get(pk=int(page.rstrip("/").rpartition("/")[2]))

    def start_link(self, page: str) -> str:
        text = self.console.get(page).content.decode()
        match = re.search(r'href="([^"]*/connector/start/[^"]*)"', text)
        assert match, text
        return local(match.group(1).replace("&amp;", "&"))

    def go(self, path: str) -> str:
        """Open an address of console or connector that answers 303."""
        response = self.console.get(path)
        assert response.status_code == 303, response.content.decode()
        return response["Location"]

    def consent_page(self) -> tuple[str, str]:
        """Begin, and go to Microsoft; returns the attempt and Microsoft's address."""
        page = self.begin()
        return page, self.go(self.start_link(page))

    def consent(
        self,
        microsoft: str,
        *,
        tenant: int = 0,
        upn: str | None = None,
        action: str = "accept",
    ) -> str:
        """Sign in and answer; returns the address Microsoft sends the browser to."""
        admin = self.sandbox.tenants[tenant]["global_admin"]
        page = self.pages.sign_in(microsoft, upn or admin["upn"], admin["password"])
        assert page.status_code == 200, page.text
        back = self.pages.send(page, step="consent", action=action)
        assert back.status_code == 302, back.text
        return back.headers["Location"]

    def code(self, consent_answer: str) -> str:
        """From the consent answer to the address with the authorization code."""
        microsoft = self.go(local(consent_answer))
        back = self.pages.open(microsoft)
        assert back.status_code == 302, back.text
        return back.headers["Location"]

    def to_callback(self, code_answer: str) -> str:
        """Through 'Continue' to the console's callback with the connector's answer."""
        waiting = self.go(local(code_answer))
        text = self.console.get(waiting).content.decode()
        match = re.search(r'href="([^"]*/go/)"', text)
        assert match, text
        return local(self.go(match.group(1)))

    def answered(self, **options: Any) -> str:
        """Everything until the answer stands in the attempt, not yet verified."""
        page, microsoft = self.consent_page()
        callback = self.to_callback(self.code(self.consent(microsoft, **options)))
        assert self.go(callback) == page
        return page

    def verify(self, page: str) -> None:
        response = self.console.post(f"{page}verify/")
        assert response.status_code == 303, response.content.decode()

    def sign_out(self, page: str) -> None:
        """Through the page that ends the session with Microsoft, and back."""
        ending = self.go(page)
        text = self.console.get(ending).content.decode()
        match = re.search(r'href="([^"]*/connector/end/[^"]*)"', text)
        assert match, text
        microsoft = self.go(local(match.group(1).replace("&amp;", "&")))
        back = self.pages.open(microsoft)
        assert back.status_code == 302, back.text
        assert self.go(local(self.go(local(back.headers["Location"])))) == page

    def verified(self, **options: Any) -> str:
        page = self.answered(**options)
        self.verify(page)
        self.sign_out(page)
        return page

    def save(self, page: str, **values: str) -> Any:
        return self.console.post(page, saving(**values))

    def connect(self, **values: str) -> Any:
        response = self.save(self.verified(), **values)
        assert response.status_code == 303, response.content.decode()
        return response


def saving(**values: str) -> dict[str, str]:
    """What the Save page sends when nobody changed anything but `values`."""
    return {
        "display_name": "Fernhill Studio",
        "search_timeout": "30",
        "transitive_membership_enabled": "on",
        "transitive_directory_membership_enabled": "on",
        "user_name": "userPrincipalName",
        "real_name": "displayName",
        "email": "mail",
        "department": "department",
        "building": "",
        "room": "",
        "phone": "mobilePhone",
        "position": "jobTitle",
        "group_name": "displayName",
    } | values
