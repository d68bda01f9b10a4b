"""A reader of the sandbox's Graph, and a person at its pages."""

import itertools
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msal
import pytest
import requests

from tests.cast import FERNHILL, PASSWORD, Company, Person
from tests.conftest import Sandbox, start_sandbox, stop
from tests.directory.sandbox.browser import Answer, Browser, Page

GRAPH_SCOPE = "https://graph.microsoft.com/.default"
REDIRECT_URI = "http://localhost:8000/login/entra/callback/"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Any
    body: Any


def secure_session(sandbox: Sandbox) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = sandbox.ca_file
    return session


def save_answer(body: Any) -> None:
    """Keep Graph's answers where SANDBOX_SAVE_ANSWERS says, for outside checkers.

    The answer of `/$count` is a text and no body to check, also within a batch.
    """
    folder = os.environ.get("SANDBOX_SAVE_ANSWERS")
    if folder and isinstance(body, dict):
        items = body.get("responses", ())
        if any(isinstance(item["body"], str) for item in items):
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"answer-{os.getpid()}-{next(_numbers):05d}.json"
        (Path(folder) / name).write_text(json.dumps(body, indent=1))


class Graph:
    """Graph with one token, read over a socket."""

    def __init__(self, sandbox: Sandbox, token: str) -> None:
        self.sandbox = sandbox
        self.session = secure_session(sandbox)
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def call(
        self, method: str, path: str, *, body: Any = None, **headers: str
    ) -> Reply:
        url = path if path.startswith("https:") else f"{self.sandbox.url}/v1.0{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.session.request(
            method, url, json=body, headers=named, allow_redirects=False, timeout=20
        )
        content = answer.json() if answer.content else None
        save_answer(content)
        return Reply(answer.status_code, answer.headers, content)

    def get(self, path: str, **headers: str) -> Any:
        """Return the body of a successful read."""
        reply = self.call("GET", path, **headers)
        assert reply.status == 200, reply
        return reply.body

    def error(self, path: str, **headers: str) -> tuple[int, str]:
        reply = self.call("GET", path, **headers)
        return reply.status, reply.body["error"]["code"]

    def pages(self, path: str, **headers: str) -> Iterator[Any]:
        while path:
            page = self.get(path, **headers)
            yield page
            path = page.get("@odata.nextLink", "")

    def all(self, path: str, **headers: str) -> list[Any]:
        return [item for page in self.pages(path, **headers) for item in page["value"]]

    def round(self, path: str, **headers: str) -> tuple[list[Any], str]:
        """Walk one delta round: its entries and the link to the next."""
        items: list[Any] = []
        link = ""
        for page in self.pages(path, **headers):
            items += page["value"]
            link = page.get("@odata.deltaLink", "")
        assert link
        return items, link


def application(
    sandbox: Sandbox,
    company: Company = FERNHILL,
    *,
    credential: Any = None,
    authority: str = "",
) -> msal.ConfidentialClientApplication:
    return msal.ConfidentialClientApplication(
        sandbox.application["client_id"],
        authority=f"{sandbox.url}/{authority or company.tenant_id}",
        client_credential=credential or sandbox.application["client_secret"],
        instance_discovery=False,
        http_client=secure_session(sandbox),
    )


def app_token(sandbox: Sandbox, company: Company = FERNHILL) -> str:
    result = application(sandbox, company).acquire_token_for_client([GRAPH_SCOPE])
    return str(result["access_token"])


def consent(sandbox: Sandbox, company: Company = FERNHILL, **granted: Any) -> None:
    client_id = sandbox.application["client_id"]
    sandbox.control("PUT", f"tenants/{company.tenant_id}/consents/{client_id}", granted)


@pytest.fixture
def graph(sandbox: Sandbox) -> Graph:
    """Graph of Fernhill, with the three permissions consented to."""
    consent(sandbox)
    return Graph(sandbox, app_token(sandbox))


@pytest.fixture
def browser(sandbox: Sandbox) -> Browser:
    return Browser(sandbox.pages_url)


@contextmanager
def running(state_dir: Path, *options: str) -> Iterator[Sandbox]:
    """A sandbox of its own, with its own options."""
    sandbox = start_sandbox(state_dir, *options)
    try:
        yield sandbox
    finally:
        stop(sandbox.process)


def consent_url(
    sandbox: Sandbox, *, tenant: str = FERNHILL.tenant_id, **changes: str
) -> str:
    query = {
        "client_id": sandbox.application["client_id"],
        "scope": GRAPH_SCOPE,
        "redirect_uri": REDIRECT_URI,
        "state": "state-1",
    } | changes
    return f"{sandbox.pages_url}/{tenant}/v2.0/adminconsent?{urlencode(query)}"


def authorize_url(
    sandbox: Sandbox, *, tenant: str = FERNHILL.tenant_id, **changes: str
) -> str:
    query = {
        "client_id": sandbox.application["client_id"],
        "scope": "openid profile User.Read",
        "redirect_uri": REDIRECT_URI,
        "response_type": "code",
        "state": "state-1",
        "nonce": "nonce-1",
    } | changes
    return f"{sandbox.pages_url}/{tenant}/oauth2/v2.0/authorize?{urlencode(query)}"


def start_flow(
    app: msal.ConfidentialClientApplication,
    *,
    scopes: Sequence[str] = ("User.Read",),
    **more: Any,
) -> dict[str, Any]:
    with warnings.catch_warnings():
        # MSAL warns of response_mode=query, which the console uses on purpose.
        warnings.simplefilter("ignore")
        flow: dict[str, Any] = app.initiate_auth_code_flow(
            list(scopes), redirect_uri=REDIRECT_URI, response_mode="query", **more
        )
    return flow


def finish_flow(
    app: msal.ConfidentialClientApplication, flow: dict[str, Any], answer: Answer
) -> dict[str, Any]:
    result: dict[str, Any] = app.acquire_token_by_auth_code_flow(flow, answer.values)
    return result


def answered(result: Page | Answer) -> Answer:
    assert isinstance(result, Answer), f"{result.heading}: {result.text}"
    return result


def shown(result: Page | Answer) -> Page:
    assert isinstance(result, Page), result
    return result


def sign_in(browser: Browser, url: str, person: Person) -> Page | Answer:
    return browser.sign_in(url, upn=person.upn, password=PASSWORD)
