"""What the tags and components promise to the pages that use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.conf import settings as live_settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.template.loader import render_to_string
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils import timezone
from django_htmx.middleware import HtmxDetails

from jamfidp import assets
from jamfidp.access import SiteAccess
from jamfidp.components import (
    Amount,
    Branch,
    Check,
    Chip,
    Crumb,
    Entry,
    Node,
    Step,
    Tab,
)
from jamfidp.htmx import page_or_fragment
from jamfidp.templatetags.components import icon_paths, relative
from jamfidp.templatetags.navigation import NAVIGATION, Group, Item, sections_for

NOW = datetime(2026, 11, 3, 14, 2, tzinfo=UTC)
VOID = {"input", "meta", "link", "br", "hr", "img", "path"}


class Reader(HTMLParser):
    """Keeps the elements of a fragment, and whether its tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def one(self, tag: str) -> dict[str, str | None]:
        (found,) = self.all(tag)
        return found


def read(source: str) -> Reader:
    reader = Reader(source)
    assert reader.open == []
    return reader


def draw(source: str, **context: Any) -> str:
    return Template(source).render(Context(context))


def include(name: str, **context: Any) -> str:
    return render_to_string(f"components/{name}.html", context)


# Icons


def test_icon_without_label_is_hidden_from_screen_readers() -> None:
    svg = read(draw('{% icon "check" %}')).one("svg")
    assert svg["aria-hidden"] == "true"
    assert "role" not in svg


def test_icon_with_label_is_an_image_with_that_name() -> None:
    svg = read(draw("{% icon 'check' label %}", label='done "now"')).one("svg")
    assert svg["aria-label"] == 'done "now"'
    assert svg["role"] == "img"


@pytest.mark.parametrize("name", ["no-such-icon", "../filled/check", "", "CHECK"])
def test_unknown_icon_is_an_error_and_not_a_gap(name: str) -> None:
    with pytest.raises(LookupError, match="no outline icon"):
        icon_paths(name)


def test_every_icon_of_the_navigation_exists() -> None:
    for group in NAVIGATION:
        for item in group.items:
            assert "<path" in icon_paths(item.icon), item.icon


# Times and numbers


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(seconds=-30), "in less than a minute"),
        (timedelta(hours=-2), "in 2 hours"),
    ],
)
def test_relative_time_uses_the_largest_whole_unit(ago: timedelta, words: str) -> None:
    assert relative(NOW - ago, NOW) == words


def test_time_carries_the_exact_moment_for_hover_and_keyboard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    time = read(draw("{% when at %}", at=NOW - timedelta(hours=3))).one("time")
    assert time["data-exact"] == "3 Nov 2026, 11:02:00 UTC"
    assert time["datetime"] == "2026-11-03T11:02:00+00:00"
    assert time["tabindex"] == "0"
    assert "data-relative" in time


def test_time_of_long_ago_is_a_date_that_does_not_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    drawn = draw("{% when at %}", at=NOW - timedelta(days=31))
    assert "3 Oct 2026" in drawn
    assert "data-relative" not in read(drawn).one("time")


def test_time_that_never_was_is_said_in_words() -> None:
    assert "never" in draw("{% when None %}")
    assert "not yet" in draw('{% when None never="not yet" %}')


@pytest.mark.parametrize(
    ("shown", "total", "words"),
    [
        (1, 1, "1 policy"),
        (0, 0, "0 policies"),
        (1, None, "1 policy"),
        (1, 3, "1 of 3 policies"),
    ],
)
def test_count_agrees_with_its_noun(shown: int, total: int | None, words: str) -> None:
    page = include("paging", shown=shown, total=total, noun="policies")
    assert words in " ".join(page.split())
    assert "1 account<" in include("paging", shown=1, total=1, noun="accounts")


def test_unknown_number_is_not_a_nought() -> None:
    assert draw("{{ a|number }} {{ b|number }}", a=1204, b=0) == "1,204 0"
    assert "0" not in draw("{{ a|number }}", a=None)


# Blocks


@pytest.mark.parametrize(
    "opening",
    [
        '{% panel "Title" %}|{% endpanel %}',
        '{% alert "info" "Title" %}|{% endalert %}',
        '{% data_table "Title" %}|{% enddata_table %}',
        '{% facts %}{% fact "Title" %}|{% endfact %}{% endfacts %}',
        '{% disclosure "Title" %}|{% enddisclosure %}',
        '{% menu "Title" %}|{% endmenu %}',
    ],
)
def test_block_escapes_values_once_and_keeps_markup(opening: str) -> None:
    drawn = draw(opening.replace("|", "<b>{{ name }}</b>"), name="<i>&")
    assert "<b>&lt;i&gt;&amp;</b>" in drawn
    read(drawn)


def test_panel_is_a_region_named_by_its_title() -> None:
    reader = read(draw('{% panel "Members of it" count=0 %}{% endpanel %}'))
    named_by = reader.one("section")["aria-labelledby"]
    assert reader.one("h2")["id"] == named_by
    assert reader.one("span")["class"] == "count"


@pytest.mark.parametrize(
    ("beside", "classes"),
    [
        ("<p>Age</p>", "page-columns page-columns-two"),
        ("{% if nothing %}<p>Age</p>{% endif %} ", "page-columns"),
    ],
)
def test_room_for_what_stands_beside_the_content_is_kept_before_the_content(
    beside: str, classes: str
) -> None:
    source = draw(f"{{% columns %}}<b>Words</b>{{% aside %}}{beside}{{% endcolumns %}}")
    elements = [name for name, _ in Reader(source).elements]
    assert source.index(f'"{classes}"') < source.index("<b>Words</b>")
    assert elements[:3] == ["div", "div", "b"]
    assert elements[3:] == (["aside", "p"] if "two" in classes else [])


def test_alert_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError):
        draw('{% alert "oops" "Title" %}{% endalert %}')


def test_only_danger_interrupts_a_screen_reader() -> None:
    danger = read(draw('{% alert "danger" "T" %}{% endalert %}'))
    warning = read(draw('{% alert "warning" "T" %}{% endalert %}'))
    assert danger.all("div")[0]["role"] == "alert"
    assert "role" not in warning.all("div")[0]


def test_fact_tells_its_source_and_its_age() -> None:
    drawn = draw(
        '{% fact "Department" source="from Entra" at=at %}Design{% endfact %}', at=NOW
    )
    assert "from Entra" in drawn
    assert "<time" in drawn
    assert "source" not in draw('{% fact "Department" %}Design{% endfact %}')


# Status


@pytest.mark.parametrize(
    ("verdict", "word"),
    [("in", "In scope"), ("out", "Not in scope"), ("unknown", "Unknown")],
)
def test_verdict_has_a_word_and_an_icon_of_its_own(verdict: str, word: str) -> None:
    drawn = include("verdict", verdict=verdict)
    assert word in drawn
    others = {"in", "out", "unknown"} - {verdict}
    drawings = {include("verdict", verdict=other).split("<svg")[1] for other in others}
    assert drawn.split("<svg")[1] not in drawings


def test_verdict_that_is_none_of_the_three_is_shown_as_unknown() -> None:
    assert "Unknown" in include("verdict", verdict="")


def test_each_state_of_a_badge_looks_different_without_its_color() -> None:
    states = ["good", "attention", "bad", "unknown", "neutral", "progress"]
    drawn = [
        include("badge", state=state, text="x").split("<svg")[1] for state in states
    ]
    assert len(set(drawn)) == len(states)


def test_check_links_its_evidence() -> None:
    drawn = include("checks", checks=[Check("Secret", "bad", "Expired", url="/s/")])
    assert '<a href="/s/">Expired</a>' in drawn


# Moving about


def test_current_tab_is_marked_and_a_count_of_nought_is_shown() -> None:
    tabs = [Tab("Overview", "/o/", current=True), Tab("History", "/h/", count=0)]
    reader = read(include("tabs", tabs=tabs))
    assert [link.get("aria-current") for link in reader.all("a")] == ["page", None]
    assert len(reader.all("span")) == 1


def test_paging_links_only_where_there_is_more() -> None:
    reader = read(
        include("paging", older_url="?a=1", newer_url="", shown=50, noun="users")
    )
    assert [link["href"] for link in reader.all("a")] == ["?a=1"]
    assert reader.all("span")[0]["aria-disabled"] == "true"


def test_paging_says_the_whole_only_when_it_is_known() -> None:
    assert "50 of 1,251 users" in include("paging", shown=50, total=1251, noun="users")
    assert "of" not in include("paging", shown=50, total=None, noun="users")


def test_page_of_everything_has_no_paging_links() -> None:
    assert read(include("paging", shown=3, total=3, noun="users")).all("a") == []


def test_chip_says_which_filter_its_cross_removes() -> None:
    link = read(include("filter_chips", chips=[Chip("Status", "off", "?")])).one("a")
    assert link["aria-label"] == "Remove the filter Status off"


def test_no_filter_in_force_draws_nothing() -> None:
    assert include("filter_chips", chips=[], clear_url="?").strip() == ""


def test_step_can_be_gone_back_to_only_with_an_address() -> None:
    steps = [Step("One", "done", url="/1/"), Step("Two", "current"), Step("3", "todo")]
    reader = read(include("steps", steps=steps))
    assert [link["href"] for link in reader.all("a")] == ["/1/"]
    assert [item.get("aria-current") for item in reader.all("li")] == [
        None,
        "step",
        None,
    ]


def test_breadcrumbs_and_path_link_what_has_an_address() -> None:
    for name, argument in (("breadcrumbs", "crumbs"), ("membership_path", "path")):
        crumbs = [Crumb("Ana", "/a/"), Crumb("Hidden")]
        reader = read(include(name, **{argument: crumbs}))
        assert [link["href"] for link in reader.all("a")] == ["/a/"]


# Reasons


def test_derivation_draws_every_claim_and_marks_what_decides() -> None:
    leaf = Node("Ana is a member of Frontend", "unknown", fact="Never read", as_of=NOW)
    node = Node("Ana is in Engineering", "in", deciding=True, children=[leaf])
    drawn = include("derivation", node=node, change="Remove Ana.")
    reader = read(drawn)
    assert len(reader.all("ul")) == 2
    assert drawn.count("decides") == 1
    for text in (
        "Ana is in Engineering",
        "Never read",
        "Remove Ana.",
        "Unknown",
        "Yes",
    ):
        assert text in drawn


def test_tree_of_groups_says_why_it_ends() -> None:
    branches = [Branch("A", "/a/", 0, children=[Branch("A", cut="Already above")])]
    drawn = include("group_tree", branches=branches)
    read(drawn)
    assert "Already above" in drawn
    assert '<span class="count">0</span>' in drawn


def test_amounts_open_into_names() -> None:
    amounts = [Amount("gained", 1037, "/g/"), Amount("unknown", 0)]
    drawn = include("amounts", amounts=amounts, label="Devices", id="preview")
    assert '<a href="/g/">gained</a>' in drawn
    assert "1,037" in drawn
    assert drawn.count("amount-none") == 1


def test_history_shows_before_and_after() -> None:
    entry = Entry(NOW, "Ana", "Changed it", changes=[("Name", "", "<New>")])
    drawn = include("history_list", entries=[entry])
    assert "<del>nothing</del>" in drawn
    assert "<ins>&lt;New&gt;</ins>" in drawn
    assert "Nothing has been recorded." in include("history_list", entries=[])


def test_directory_never_read_is_said() -> None:
    assert "has not been read yet" in include("as_of", at=None)
    assert "full check" in include("as_of", at=NOW, full_at=NOW)


# Progress


def test_progress_polls_until_its_address_is_gone() -> None:
    running = read(include("progress", id="run", poll_url="/p/", phase="Reading"))
    ended = read(include("progress", id="run", poll_url="", phase="Read"))
    assert running.one("section")["hx-get"] == "/p/"
    assert running.one("section")["hx-trigger"] == "every 1s"
    assert not {"hx-get", "hx-trigger"} & ended.one("section").keys()


def test_progress_without_a_known_end_shows_no_share() -> None:
    reader = read(include("progress", id="run", poll_url="/p/", done=4, total=None))
    assert "value" not in reader.one("progress")
    known = read(include("progress", id="run", poll_url="/p/", done=4, total=9))
    assert known.one("progress") | {"value": "4", "max": "9"} == known.one("progress")


# Forms


class Sample(forms.Form):
    name = forms.CharField(help_text="As people know it.")
    cloud = forms.ChoiceField(choices=[("a", "A")], required=False)
    agreed = forms.BooleanField(required=True)
    way = forms.ChoiceField(choices=[("x", "X")], widget=forms.RadioSelect)
    secret = forms.CharField(widget=forms.HiddenInput, required=False)

    def clean(self) -> None:
        raise forms.ValidationError("The two do not agree.")


def test_field_ties_label_help_and_error_to_its_control() -> None:
    form = Sample({"name": ""})
    drawn = draw("{% field form.name %}", form=form)
    reader = read(drawn)
    control = reader.one("input")
    assert reader.one("label")["for"] == control["id"]
    assert control["aria-invalid"] == "true"
    described = (control["aria-describedby"] or "").split()
    ids = {attributes.get("id") for _, attributes in reader.elements}
    assert described == ["id_name_error", "id_name_help"]
    assert set(described) <= ids
    assert "This field is required." in drawn


def test_field_keeps_what_was_typed() -> None:
    drawn = draw("{% field form.name %}", form=Sample({"name": 'A "b"'}))
    assert read(drawn).one("input")["value"] == 'A "b"'


def test_field_that_may_stay_empty_says_so() -> None:
    assert "optional" in draw("{% field form.cloud %}", form=Sample())
    assert "optional" not in draw("{% field form.name %}", form=Sample())
    assert "optional" not in draw(
        "{% field form.cloud optional=False %}", form=Sample()
    )


def test_hint_replaces_the_help_text() -> None:
    drawn = draw('{% field form.name hint="Other." %}', form=Sample())
    assert "Other." in drawn
    assert "As people know it." not in drawn


@pytest.mark.parametrize("name", ["name", "cloud", "agreed", "way", "secret"])
def test_field_of_each_kind_is_whole_html(name: str) -> None:
    for form in (Sample(), Sample({"name": ""})):
        read(draw("{% field bound %}", bound=form[name]))


def test_radio_buttons_are_a_group_with_a_name() -> None:
    reader = read(draw("{% field form.way %}", form=Sample({})))
    assert len(reader.all("fieldset")) == 1
    assert len(reader.all("legend")) == 1


def test_hidden_field_has_no_label() -> None:
    assert read(draw("{% field form.secret %}", form=Sample())).all("label") == []


def test_summary_of_errors_links_each_field_and_names_the_whole() -> None:
    drawn = draw("{% form_errors form %}", form=Sample({"name": ""}))
    assert 'href="#id_name"' in drawn
    assert "The two do not agree." in drawn
    assert "Nothing was saved." in drawn


def test_form_without_errors_has_no_summary() -> None:
    assert draw("{% form_errors form %}", form=Sample()).strip() == ""


def test_danger_carries_the_token_and_what_to_type() -> None:
    reader = read(
        draw(
            '{% confirm_danger action="/d/" expected=name button="Delete" error="No." %}'
            "<p>Consequences</p>{% endconfirm_danger %}",
            name="Fernhill & Co",
            csrf_token="tok",
        )
    )
    token, typed = reader.all("input")
    assert token["value"] == "tok"
    assert typed["data-expected"] == "Fernhill & Co"
    assert typed["name"] == "confirm"
    assert "value" not in typed
    assert typed["aria-describedby"] == "confirm-error"


def request_for(path: str, **headers: str) -> HttpRequest:
    request = RequestFactory().get(path, headers=headers)
    request.htmx = HtmxDetails(request)  # type: ignore[attr-defined]
    return request


def test_filter_bar_is_a_plain_form_that_htmx_improves() -> None:
    drawn = draw(
        '{% filter_bar target="user-list" query=q placeholder="Search people" %}'
        "<select></select>{% endfilter_bar %}",
        request=request_for("/users/?q=x"),
        q='a"b',
    )
    reader = read(drawn)
    form = reader.one("form")
    assert (form["method"], form["action"], form["hx-get"]) == (
        "get",
        "/users/",
        "/users/",
    )
    assert form["hx-target"] == "#user-list"
    assert reader.one("input")["value"] == 'a"b'


def test_address_keeps_the_filter_and_changes_what_is_asked() -> None:
    request = request_for("/users/?q=a+b&site=2&after=9")
    drawn = draw("{% with_query after=3 site=None %}", request=request)
    assert drawn == "?q=a+b&amp;after=3"


# Navigation


class Person:
    """Holds the permissions named."""

    is_authenticated = True
    pk = 0

    def __init__(self, *permissions: str) -> None:
        self.permissions = permissions

    def sites_with(self, permission: str) -> SiteAccess:
        return SiteAccess(everywhere=permission in self.permissions)

    def has_perm(self, permission: str) -> bool:
        return permission in self.permissions


def _page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("", _page, name="dashboard"),
    path("users/", _page, name="users"),
    path("users/matching/", _page, name="matching"),
    path("groups/", _page, name="groups"),
]
GROUPS = (
    Group("", "", (Item("Dashboard", "home", "dashboard"),)),
    Group(
        "users",
        "Users",
        (
            Item("Users", "user", "users", ("see.users",), also=("groups",)),
            Item("Who is who", "user", "matching", ("see.matching", "see.all")),
            Item("Elsewhere", "user", "not-served", ()),
        ),
    ),
    Group("settings", "Settings", (Item("Keys", "key", "groups", ("see.keys",)),)),
)


@pytest.fixture
def few_pages(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def shown(person: Person, path: str = "/") -> dict[str, bool]:
    return {
        link.label: link.current
        for section in sections_for(person, path, GROUPS)
        for link in section.links
    }


@pytest.mark.usefixtures("few_pages")
def test_navigation_shows_what_one_may_see_and_what_is_served() -> None:
    assert list(shown(Person())) == ["Dashboard"]
    assert list(shown(Person("see.users"))) == ["Dashboard", "Users"]
    assert list(shown(Person("see.all"))) == ["Dashboard", "Who is who"]


@pytest.mark.usefixtures("few_pages")
def test_group_of_which_nothing_is_seen_has_no_heading() -> None:
    sections = sections_for(Person("see.users"), "/", GROUPS)
    assert [section.label for section in sections] == ["", "Users"]


@pytest.mark.usefixtures("few_pages")
@pytest.mark.parametrize(
    ("path", "current"),
    [
        ("/", "Dashboard"),
        ("/users/", "Users"),
        ("/users/7/", "Users"),
        ("/users/matching/", "Who is who"),
        ("/users/matching/7/", "Who is who"),
        ("/groups/7/", "Users"),
        ("/elsewhere/", None),
    ],
)
def test_longest_address_decides_what_is_current(
    path: str, current: str | None
) -> None:
    marked = shown(Person("see.users", "see.all"), path)
    assert [label for label, is_current in marked.items() if is_current] == (
        [current] if current else []
    )


def test_navigation_is_empty_before_sign_in() -> None:
    request = request_for("/")
    request.user = AnonymousUser()
    source = "{% load navigation %}{% navigation as it %}{{ it|length }}"
    assert draw(source, request=request) == "0"
    assert draw(source) == "0"


def test_page_that_is_not_served_has_no_address() -> None:
    assert draw('{% url_if_served "no:such-page" %}') == ""


# Pages and fragments


@pytest.fixture
def two_templates(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "page.html").write_text("whole {{ name }}")
    (tmp_path / "_part.html").write_text("part {{ name }}")
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [tmp_path],
        }
    ]


@pytest.mark.usefixtures("two_templates")
@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, b"whole Ana"),
        ({"HX-Target": "part"}, b"whole Ana"),
        ({"HX-Request": "true", "HX-Target": "part"}, b"part Ana"),
        ({"HX-Request": "true", "HX-Target": "other"}, b"whole Ana"),
        ({"HX-Request": "true"}, b"whole Ana"),
        (
            {
                "HX-Request": "true",
                "HX-Target": "part",
                "HX-History-Restore-Request": "true",
            },
            b"whole Ana",
        ),
    ],
)
def test_fragment_answers_only_the_target_it_fills(
    headers: dict[str, str], answer: bytes
) -> None:
    response = page_or_fragment(
        request_for("/", **headers),
        page="page.html",
        fragments={"part": "_part.html"},
        context={"name": "Ana"},
        status=422,
    )
    assert response.content == answer
    assert response.status_code == 422
    assert {"HX-Request", "HX-Target"} <= set(response["Vary"].split(", "))


@pytest.mark.usefixtures("two_templates")
def test_request_that_htmx_never_saw_gets_the_page() -> None:
    response = page_or_fragment(
        RequestFactory().get("/"),
        page="page.html",
        fragments={},
        context={"name": "Ana"},
    )
    assert response.content == b"whole Ana"


# Whole pages


def test_gallery_is_whole_and_needs_no_sign_in(client: Client) -> None:
    response = client.get("/components/", headers={"host": "localhost"})
    assert response.status_code == 200
    reader = read(response.content.decode())
    ids = [a["id"] for _, a in reader.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    assert reader.all("a")[0]["href"] == "#main"


def test_gallery_shows_every_component() -> None:
    folder = live_settings.BASE_DIR / "templates/components"
    source = (folder / "gallery.html").read_text()
    # The last stands on every page, and on the gallery's own.
    indirect = {"gallery", "source", "columns"}
    missing = [
        name
        for name in sorted(file.stem for file in folder.glob("[!_]*.html"))
        if name not in indirect
        and f"components/{name}.html" not in source
        and f"{{% {name} " not in source
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "500"])
def test_error_page_can_be_drawn_without_a_request(name: str) -> None:
    drawn = render_to_string(f"{name}.html")
    read(drawn)
    assert 'href="/"' in drawn


def test_refusal_names_the_privilege() -> None:
    drawn = render_to_string("403.html", {"privileges": ["scoping.view_computer"]})
    assert "scoping.view_computer" in drawn


@pytest.mark.django_db
def test_frame_sets_no_name_that_a_page_could_use(
    tmp_path: Path, settings: Any
) -> None:
    (tmp_path / "probe.html").write_text(
        '{% extends "base.html" %}{% block content %}'
        "<p>{{ sections }}{{ links }}{{ search_url }}{{ url }}|</p>{% endblock %}"
    )
    settings.TEMPLATES = [
        {**settings.TEMPLATES[0], "DIRS": [tmp_path, *settings.TEMPLATES[0]["DIRS"]]}
    ]
    request = request_for("/")
    request.user = Person()  # type: ignore[assignment]
    assert "<p>|</p>" in render_to_string("probe.html", {"user": Person()}, request)


# Assets


def test_only_the_named_files_of_npm_are_served() -> None:
    assert finders.find("tabler/tabler.min.css")
    assert finders.find("uplot/uPlot.iife.min.js", find_all=True)
    assert not finders.find("tabler/tabler.css")
    assert assets.NpmFinder().find("../package.json", find_all=True) == []


def test_missing_package_is_said_before_the_first_page(
    tmp_path: Path, settings: Any
) -> None:
    assert assets.NpmFinder().check() == []
    settings.BASE_DIR = tmp_path
    errors = assets.NpmFinder().check()
    assert len(errors) == len(assets.FILES)
    assert errors[0].hint == "Run `npm ci`."
    assert assets.NpmFinder().find("tabler/tabler.min.css") == []


def test_every_reference_between_collected_files_resolves(tmp_path: Path) -> None:
    storages = live_settings.STORAGES | {
        "staticfiles": {
            "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        }
    }
    with override_settings(STORAGES=storages, STATIC_ROOT=str(tmp_path)):
        call_command("collectstatic", interactive=False, verbosity=0)
    collected = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert "staticfiles.json" in collected
    assert "htmx-2.min.js" in collected
    style = next((tmp_path / "jamfidp").glob("app.*.css")).read_text()
    assert "../tabler/tabler.min.css" not in style


def test_lock_file_pins_contents_and_names_no_registry() -> None:
    lock = (live_settings.BASE_DIR / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
