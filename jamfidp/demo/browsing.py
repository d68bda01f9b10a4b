"""A browser without JavaScript: pages, links and forms, cookies by host.

For the check of the whole job. It follows links and forms that stand on a page, as a
person does, so that a page that lost its button fails the check.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from lxml import html
from lxml.html import FormElement, HtmlElement

MOST_REDIRECTS = 15


class NotOnPage(Exception):
    """A link, form or text that should be there is not; names the page."""


class Page:
    """One answer, parsed."""

    def __init__(self, answer: requests.Response) -> None:
        self.url = answer.url
        self.status = answer.status_code
        self.headers = answer.headers
        self.source = answer.text
        is_page = "html" in answer.headers.get("Content-Type", "")
        self.root: HtmlElement | None = (
            html.fromstring(answer.text, base_url=answer.url)
            if is_page and answer.text.strip()
            else None
        )

    @property
    def text(self) -> str:
        """The words of the page, with single spaces."""
        if self.root is None:
            return self.source
        return " ".join(self.root.text_content().split())

    def __str__(self) -> str:
        path = urlsplit(self.url).path
        return f"{path} ({self.status})"

    def says(self, *texts: str) -> "Page":
        """Raise NotOnPage unless the page says every text; returns itself."""
        for text in texts:
            if text not in self.text:
                raise NotOnPage(f"{self} does not say {text!r}: {self.text[:600]}")
        return self

    def link(self, text: str, *, to: str = "") -> str:
        """The address of the link with these words, or else the first that has them.

        `to` is a part of the address, where several links have the same words.
        """
        links = [
            (" ".join(element.text_content().split()), str(element.get("href")))
            for element in (self.root.iter("a") if self.root is not None else ())
            if element.get("href") and to in str(element.get("href"))
        ]
        for words, address in sorted(links, key=lambda link: link[0] != text):
            if text in words:
                return urljoin(self.url, address)
        raise NotOnPage(f"{self} has no link {text!r}: {self.text[:600]}")

    def form(self, marker: str) -> FormElement:
        """The form that has a field, a button or an address of this name."""
        forms = self.root.forms if self.root is not None else []
        for form in forms:
            names = {
                element.get("name") for element in form.iter() if element.get("name")
            }
            buttons = {
                " ".join(button.text_content().split())
                for button in form.iter("button")
            }
            action = str(form.get("action") or "")
            if marker in names or marker in buttons or action.endswith(marker):
                return form
        raise NotOnPage(f"{self} has no form with {marker!r}: {self.text[:600]}")


class Browser:
    """Cookies and the page that is open."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self.page: Page | None = None
        # Every address of the way, redirects included.
        self.visited: list[str] = []
        # Every cookie that was set, and every page that was shown.
        self.cookies: list[tuple[str, str]] = []
        self.shown: list[Page] = []

    def open(self, url: str) -> Page:
        return self._go("GET", url)

    def follow(self, text: str) -> Page:
        """Follow the link of the open page."""
        return self.open(self.here.link(text))

    def submit(
        self, marker: str, values: Mapping[str, Any] | None = None, *, button: str = ""
    ) -> Page:
        """Send the form that `marker` names, with its own values and these.

        `button` presses the button with these words, where a form has several. A
        value of None leaves a field out, a list sends it several times.
        """
        here = self.here
        form = here.form(marker)
        fields: list[tuple[str, str]] = [
            (str(name), str(value)) for name, value in form.form_values()
        ]
        for element in form.iter("button"):
            words = " ".join(element.text_content().split())
            if element.get("name") and button and button in words:
                fields.append(
                    (str(element.get("name")), str(element.get("value") or ""))
                )
        for name, value in (values or {}).items():
            fields = [field for field in fields if field[0] != name]
            several = value if isinstance(value, list) else [value]
            fields += [(name, str(one)) for one in several if one is not None]
        address = urljoin(here.url, str(form.get("action") or here.url))
        if (form.get("method") or "get").lower() == "get":
            return self._go("GET", address, params=fields)
        return self._go("POST", address, data=fields)

    def upload(self, marker: str, field: str, name: str, content: bytes) -> Page:
        """Send the form with one file."""
        here = self.here
        form = here.form(marker)
        fields = [
            (str(key), str(value)) for key, value in form.form_values() if key != field
        ]
        return self._go(
            "POST",
            urljoin(here.url, str(form.get("action") or here.url)),
            data=fields,
            files={field: (name, content, "text/csv")},
        )

    @property
    def here(self) -> Page:
        """The open page; raises NotOnPage when there is none."""
        if self.page is None:
            raise NotOnPage("No page is open.")
        return self.page

    def _go(self, method: str, url: str, **body: Any) -> Page:
        headers = {"Referer": self.page.url} if self.page and method == "POST" else {}
        answer = self._session.request(
            method, url, allow_redirects=False, timeout=60, headers=headers, **body
        )
        self._keep_cookies(answer)
        for _ in range(MOST_REDIRECTS):
            if not answer.is_redirect:
                break
            target = urljoin(answer.url, answer.headers["Location"])
            self.visited.append(target)
            answer = self._session.get(target, allow_redirects=False, timeout=60)
            self._keep_cookies(answer)
        self.page = Page(answer)
        self.shown.append(self.page)
        return self.page

    def _keep_cookies(self, answer: requests.Response) -> None:
        self.cookies += [(one.name, one.value or "") for one in answer.cookies]
