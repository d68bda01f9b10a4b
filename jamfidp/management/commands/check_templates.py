"""Refuse what the content security policy would block, before a browser does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

# Attributes whose value the browser takes for an address.
ADDRESSES = {"href", "src", "action", "formaction", "srcset", "data", "xlink:href"}
TEMPLATE_TAG = re.compile(r"{%.*?%}|{#.*?#}|{{.*?}}", re.DOTALL)


class RuleReader(HTMLParser):
    """Reads a template as HTML and keeps what the rules forbid."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.breaches: list[tuple[int, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line = self.getpos()[0]
        names = {name for name, _ in attrs}
        if tag == "style":
            self.breaches.append((line, "a style element; use app.css"))
        if tag == "script" and "src" not in names:
            self.breaches.append((line, "an inline script; use a file in static/"))
        for name, value in attrs:
            self._check_attribute(line, name, value or "")

    def _check_attribute(self, line: int, name: str, value: str) -> None:
        if name == "style":
            self.breaches.append((line, "a style attribute; use a class"))
        elif name.startswith(("hx-on", "data-hx-on")):
            self.breaches.append((line, f"{name}; htmx would evaluate it"))
        elif re.fullmatch(r"on[a-z]+", name):
            self.breaches.append((line, f"the event attribute {name}; use app.js"))
        elif name in ADDRESSES and re.match(
            r"\s*(javascript|vbscript)\s*:", value, re.IGNORECASE
        ):
            self.breaches.append((line, f"a script address in {name}"))
        elif name in {"hx-trigger", "data-hx-trigger"} and "[" in value:
            self.breaches.append((line, "a trigger filter; htmx would evaluate it"))
        elif name in {"hx-vals", "hx-headers", "hx-vars"} and (
            name == "hx-vars" or re.match(r"\s*(js|javascript):", value)
        ):
            self.breaches.append((line, f"{name} with script; htmx would evaluate it"))


def _without_template_tags(source: str) -> str:
    """Blank Django's tags, keeping every line where it was.

    Quotes inside a tag (`href="{% url "home" %}"`) would end the attribute.
    """

    def blank(tag: re.Match[str]) -> str:
        return " " + "\n" * tag[0].count("\n")

    return TEMPLATE_TAG.sub(blank, source)


def breaches_in(source: str) -> list[tuple[int, str]]:
    """The line and the sentence for each breach in a template."""
    reader = RuleReader()
    reader.feed(_without_template_tags(source))
    reader.close()
    return reader.breaches


def templates_in(folder: Path) -> Iterator[Path]:
    """Every template of a page, in a stable order."""
    yield from sorted(folder.rglob("*.html"))


class Command(BaseCommand):
    """Fails when a template holds something that a strict policy blocks."""

    help = "Check that no template needs an unsafe content security policy."
    requires_system_checks: list[str] = []  # it reads files alone

    def handle(self, *args: Any, **options: Any) -> None:
        root = Path(settings.BASE_DIR) / "templates"
        found = [
            f"{path.relative_to(root.parent)}:{line}: {sentence}"
            for path in templates_in(root)
            for line, sentence in breaches_in(path.read_text())
        ]
        if found:
            raise CommandError("\n".join(found))
