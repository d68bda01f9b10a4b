"""No template needs an unsafe content security policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.template.loader import get_template

from jamfidp.management.commands.check_templates import breaches_in, templates_in

ROOT = Path(settings.BASE_DIR) / "templates"
TEMPLATES = [str(path.relative_to(ROOT)) for path in templates_in(ROOT)]


@pytest.mark.parametrize(
    ("snippet", "word"),
    [
        ('<p style="color: red">', "style attribute"),
        ("<p\n  STYLE=x>", "style attribute"),
        ("<style>p { color: red }</style>", "style element"),
        ("<script>alert(1)</script>", "inline script"),
        ('<script type="module">go()</script>', "inline script"),
        ('<button onclick="go()">', "onclick"),
        ('<body {% if x %}onload="go()"{% endif %}>', "onload"),
        ('<a href="javascript:go()">', "script address"),
        ('<a href=" JavaScript:go()">', "script address"),
        ('<form action="javascript:go()">', "script address"),
        ('<div hx-on:click="go()">', "hx-on"),
        ('<div hx-on--load="go()">', "hx-on"),
        ('<div hx-trigger="keyup[key==1]">', "trigger filter"),
        ("<div hx-vals='js:{a: b()}'>", "hx-vals"),
        ('<div hx-vars="a: b()">', "hx-vars"),
    ],
)
def test_what_the_policy_blocks_is_refused(snippet: str, word: str) -> None:
    (breach,) = breaches_in(f"<p>\n</p>\n{snippet}")
    assert word in breach[1]
    assert breach[0] == 3


@pytest.mark.parametrize(
    "snippet",
    [
        '<script src="{% static "jamfidp/app.js" %}" defer></script>',
        '<a href="{% url "directory:user-list" %}">style="x" onclick="y"</a>',
        '<div hx-trigger="every 1s" hx-vals=\'{"a": 1}\' class="on">',
        "{# <p style=x> #}<p>javascript: is a word</p>",
        '<input name="onboarding" data-one="x">',
    ],
)
def test_what_the_policy_admits_is_admitted(snippet: str) -> None:
    assert breaches_in(snippet) == []


def test_a_breach_is_found_on_its_own_line_after_a_tag_of_several_lines() -> None:
    assert breaches_in('{# one\ntwo #}\n<p style="x">') == [
        (3, "a style attribute; use a class")
    ]


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_keeps_the_rules(name: str) -> None:
    assert breaches_in((ROOT / name).read_text()) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_can_be_parsed(name: str) -> None:
    get_template(name)


def test_the_command_names_file_and_line(tmp_path: Path, settings: object) -> None:
    folder = tmp_path / "templates" / "shop"
    folder.mkdir(parents=True)
    (folder / "page.html").write_text('<p>\n<b style="x">')
    settings.BASE_DIR = tmp_path  # type: ignore[attr-defined]
    with pytest.raises(CommandError, match=r"templates/shop/page\.html:2: a style"):
        call_command("check_templates")
    (folder / "page.html").write_text("<p>")
    call_command("check_templates")


def test_every_component_says_on_its_first_line_what_it_takes() -> None:
    for path in templates_in(ROOT / "components"):
        assert path.read_text().startswith("{# "), path.name
