"""What the Python witnesses share: the facts, a line for each check, a person.

The standard library alone: it runs beside the libraries that are the witnesses.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import traceback
from collections.abc import Callable
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from urllib.request import (
    HTTPCookieProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

FACTS: dict[str, Any] = json.loads(Path(os.environ["WITNESS"]).read_text())
TENANT: dict[str, Any] = FACTS["tenant"]
CLIENT_ID: str = FACTS["application"]["client_id"]
SECRET: str = FACTS["application"]["client_secret"]
GRAPH_SCOPE = "https://graph.microsoft.com/.default"
AUTHORITY = f"{FACTS['url']}/{TENANT['id']}"

_failed: list[str] = []


def check(title: str, claim: Callable[[], Any]) -> Any:
    """Print one line for a claim; a false or broken one is remembered."""
    try:
        result = claim()
        if result is False:
            raise AssertionError("not so")
    except Exception as error:  # noqa: BLE001 whatever a witness objects to is told
        print(f"FAILED  {title}: {type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
        _failed.append(title)
        return None
    print(f"ok      {title}", flush=True)
    return result


def leave() -> None:
    sys.exit(1 if _failed else 0)


def control(method: str, path: str, body: Any = None) -> Any:
    context = ssl.create_default_context(cafile=FACTS["ca_file"])
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    request = Request(  # noqa: S310 an address of our own
        f"{FACTS['url']}/control/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Sandbox-Key": FACTS["control_key"]},
    )
    with opener.open(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = given["action"]
        elif tag == "input" and self.action and given.get("name"):
            self.fields.setdefault(given["name"], given.get("value", ""))


class _Stay(HTTPRedirectHandler):
    """Hand the redirect over: the last one leads to a console that is not there."""

    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


class Person:
    """Somebody at the sandbox's pages, with cookies, as a browser would be."""

    def __init__(self, upn: str, password: str) -> None:
        self.upn, self.password = upn, password
        self._opener: OpenerDirector = build_opener(
            ProxyHandler({}), HTTPCookieProcessor(CookieJar()), _Stay()
        )

    def sign_in(self, url: str) -> dict[str, str]:
        """Go through the pages and return what is sent to the application."""
        page = self._read(url)
        while isinstance(page, tuple):
            where, form = page
            form.fields |= {"username": self.upn, "password": self.password}
            page = self._read(urljoin(where, form.action), form.fields)
        return page

    def _read(
        self, url: str, fields: dict[str, str] | None = None
    ) -> dict[str, str] | tuple[str, _Forms]:
        data = None if fields is None else urlencode(fields).encode()
        try:
            with self._opener.open(url, data, timeout=20) as answer:
                form = _Forms()
                form.feed(answer.read().decode())
                return answer.url, form
        except OSError as error:
            target = getattr(error, "headers", {}).get("location")
            if not target:
                raise
            if target.startswith(FACTS["pages_url"]):
                return self._read(target)
            return dict(parse_qsl(urlsplit(target).query))


def administrator() -> Person:
    who = TENANT["global_admin"]
    return Person(who["upn"], who["password"])
