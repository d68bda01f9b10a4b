"""A person at the sandbox's pages: follows redirects, fills in forms, presses."""

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests


@dataclass(slots=True)
class Form:
    action: str
    fields: dict[str, str]
    buttons: list[tuple[str, str, str]]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.heading = ""
        self.text = ""
        self._in_heading = False
        self._button: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given["action"], {}, []))
        elif tag == "input" and self.forms and given.get("type") != "checkbox":
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "button":
            self._button = given.get("name", ""), given.get("value", "")
            self.forms[-1].buttons.append((*self._button, ""))
        self._in_heading = tag == "h1"

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self._button = None
        self._in_heading = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_heading:
            self.heading += data.strip()
        if self._button is not None:
            name, value, label = self.forms[-1].buttons[-1]
            self.forms[-1].buttons[-1] = (name, value, label + data)


class Page:
    """What the browser shows."""

    def __init__(self, response: requests.Response) -> None:
        reader = _Reader()
        reader.feed(response.text)
        self.url = response.url
        self.status = response.status_code
        self.headers = response.headers
        self.heading = reader.heading
        self.text = " ".join(reader.text.split())
        self.forms = reader.forms


@dataclass(frozen=True, slots=True)
class Answer:
    """Where the pages sent the browser back to: the application's address."""

    url: str

    @property
    def address(self) -> str:
        return urlsplit(self.url)._replace(query="", fragment="").geturl()

    @property
    def values(self) -> dict[str, str]:
        parts = urlsplit(self.url)
        return dict(parse_qsl(parts.query or parts.fragment))


class Browser:
    """Keeps cookies; stops where a redirect leaves the sandbox's pages."""

    def __init__(self, pages_url: str) -> None:
        self.pages_url = pages_url
        self.session = requests.Session()
        self.session.trust_env = False

    def open(self, url: str) -> Page | Answer:
        return self._follow(self.session.get(url, allow_redirects=False, timeout=10))

    def submit(self, page: Page, *, press: str, **values: str) -> Page | Answer:
        """Fill in and press the button that carries this label."""
        for form in page.forms:
            for name, value, label in form.buttons:
                if label.strip().startswith(press):
                    data = {**form.fields, **values} | ({name: value} if name else {})
                    return self._follow(
                        self.session.post(
                            urljoin(page.url, form.action),
                            data=data,
                            allow_redirects=False,
                            timeout=10,
                        )
                    )
        raise AssertionError(f"No button '{press}' on '{page.heading}'.")

    def _follow(self, response: requests.Response) -> Page | Answer:
        while response.is_redirect:
            target = urljoin(response.url, response.headers["location"])
            if not target.startswith(self.pages_url):
                return Answer(target)
            response = self.session.get(target, allow_redirects=False, timeout=10)
        return Page(response)

    def sign_in(self, url: str, *, upn: str, password: str) -> Page | Answer:
        """Open an authorize or adminconsent address and sign in if asked to."""
        page = self.open(url)
        if isinstance(page, Answer):
            return page
        if page.heading == "Pick an account":
            page = self.submit(page, press="Use another account")
            assert isinstance(page, Page)
        if page.heading == "Sign in":
            page = self.submit(page, press="Next", username=upn)
            assert isinstance(page, Page)
        return self.submit(page, press="Sign in", password=password)
