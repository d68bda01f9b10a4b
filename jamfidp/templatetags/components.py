"""Tags for what every page is made of; the settings load them into all templates.

A component that only shows values is an include of templates/components/; a tag
stands here where a component wraps content, reads a file, or needs the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django import template
from django.conf import settings
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect
from django.forms.widgets import ClearableFileInput, Select
from django.template.base import Parser, Token
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify

register = template.Library()

# The icon beside every status, so that no status is told by its color alone.
ALERT_ICONS = {
    "info": "info-circle",
    "success": "circle-check",
    "warning": "alert-triangle",
    "danger": "alert-octagon",
}
MINUTE, HOUR, DAY = 60, 3600, 86400


@cache
def icon_paths(name: str) -> str:
    """The drawing inside an icon's file of @tabler/icons.

    Raises:
        LookupError: the package has no icon of that name.
    """
    source = Path(settings.ICONS_DIR) / f"{name}.svg"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not source.exists():
        raise LookupError(f"@tabler/icons has no outline icon {name!r}.")
    drawing = re.search(r"<svg[^>]*>(.*)</svg>", source.read_text(), re.DOTALL)
    if drawing is None:
        raise LookupError(f"The icon {name!r} is not an SVG file.")
    return " ".join(drawing[1].split())


@register.simple_tag
def icon(name: str, label: str = "", css_class: str = "") -> SafeString:
    """Draw an icon; without a label it is decoration and hidden from readers."""
    if label:
        return format_html(
            '<svg class="icon {}" viewBox="0 0 24 24" role="img" aria-label="{}">{}</svg>',
            css_class,
            label,
            mark_safe(icon_paths(name)),  # noqa: S308 - from the pinned package
        )
    return format_html(
        '<svg class="icon {}" viewBox="0 0 24 24" aria-hidden="true">{}</svg>',
        css_class,
        mark_safe(icon_paths(name)),  # noqa: S308 - from the pinned package
    )


def relative(moment: datetime, now: datetime) -> str:
    """Say how long ago, or in how long, in the largest whole unit."""
    seconds = (now - moment).total_seconds()
    distance = abs(seconds)
    if distance < MINUTE:
        return "just now" if seconds >= 0 else "in less than a minute"
    for size, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if distance >= size:
            count = int(distance // size)
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"{words} ago" if seconds >= 0 else f"in {words}"
    raise AssertionError("unreachable: a minute is the smallest unit")


@register.simple_tag
def when(moment: datetime | None, never: str = "never") -> SafeString:
    """Show a time relative to now, with the exact time on hover and focus."""
    if moment is None:
        return format_html('<span class="text-secondary">{}</span>', never)
    local = timezone.localtime(moment)
    now = timezone.now()
    # After a month 'days ago' is arithmetic left to the reader.
    near = abs(now - moment) < timedelta(days=30)
    shown = relative(moment, now) if near else f"{local:%-d %b %Y}"
    return format_html(
        '<time datetime="{}" tabindex="0" data-exact="{}"{}>{}</time>',
        local.isoformat(timespec="seconds"),
        f"{local:%-d %b %Y, %H:%M:%S} {local.tzname()}",
        mark_safe(" data-relative") if near else "",
        shown,
    )


@register.filter
def number(value: float | None) -> str:
    """Group the thousands; what is not known is a dash, never a nought."""
    return "–" if value is None else f"{value:,}"


@register.filter
def noun_for(plural: str, count: int | None) -> str:
    """The noun as it stands after the count; `plural` is an English plural in s."""
    if count != 1:
        return plural
    return f"{plural[:-3]}y" if plural.endswith("ies") else plural.removesuffix("s")


@register.simple_tag
def item_of(mapping: Mapping[Any, Any], key: object) -> Any:
    """What stands under the key; None where nothing does."""
    return mapping.get(key)


@register.simple_tag
def url_if_served(url_name: str) -> str:
    """The address of a page, or "" where this console does not serve it."""
    try:
        return reverse(url_name)
    except NoReverseMatch:
        return ""


def _block(name: str, content: SafeString, /, **arguments: Any) -> SafeString:
    return render_to_string(
        f"components/{name}.html", {"content": content, **arguments}
    )


@register.simple_block_tag
def panel(
    content: SafeString,
    title: str,
    *,
    icon: str = "",
    subtitle: str = "",
    count: int | None = None,
    flush: bool = False,
    id: str = "",  # noqa: A002 - the attribute's name
) -> SafeString:
    """A titled region; `flush` lets a table or list reach its edges."""
    return _block(
        "panel",
        content,
        title=title,
        icon=icon,
        subtitle=subtitle,
        count=count,
        flush=flush,
        id=id or f"panel-{slugify(title)}",
    )


@register.simple_block_tag
def alert(content: SafeString, kind: str, title: str) -> SafeString:
    """What happened (title); what it means and what to do (content).

    Raises:
        KeyError: `kind` is not info, success, warning or danger.
    """
    return _block("alert", content, kind=kind, title=title, icon_name=ALERT_ICONS[kind])


@register.simple_block_tag
def data_table(
    content: SafeString,
    caption: str,
    *,
    id: str = "",  # noqa: A002 - the attribute's name
) -> SafeString:
    """A table whose rows the arrow keys walk and that narrow screens read as cards."""
    return _block("data_table", content, caption=caption, id=id or slugify(caption))


@register.simple_block_tag
def facts(content: SafeString) -> SafeString:
    """A list of facts about the object of the page."""
    return format_html('<dl class="facts">{}</dl>', content)


@register.simple_block_tag
def fact(
    content: SafeString, label: str, *, source: str = "", at: datetime | None = None
) -> SafeString:
    """One fact and where it comes from: 'from Entra', 'typed by Ana'."""
    return _block("fact", content, label=label, source=source, at=at)


@register.simple_block_tag
def disclosure(content: SafeString, summary: str, *, open: bool = False) -> SafeString:  # noqa: A002
    """Content that most readers do not need, one key away."""
    return _block("disclosure", content, summary=summary, open=open)


@register.simple_block_tag
def menu(content: SafeString, label: str, *, icon: str = "dots") -> SafeString:
    """Further actions, as links and buttons of the class menu-item."""
    return _block("menu", content, label=label, icon=icon)


class Columns(template.Node):
    """What stands beside the content is made first, and comes last in the document."""

    child_nodelists = ("content", "aside")

    def __init__(self, content: template.NodeList, aside: template.NodeList) -> None:
        self.content = content
        self.aside = aside

    def render(self, context: template.Context) -> SafeString:
        aside = self.aside.render(context)
        content = self.content.render(context)
        return render_to_string(
            "components/columns.html",
            {"aside": aside if aside.strip() else "", "content": content},
        )


@register.tag
def columns(parser: Parser, token: Token) -> Columns:
    """The content of a page and, after {% aside %}, what stands beside it.

    The width of the content is said before it: a browser shows a page while it
    arrives, and the content would jump aside when the end of the document comes.
    """
    content = parser.parse(("aside",))
    parser.delete_first_token()
    aside = parser.parse(("endcolumns",))
    parser.delete_first_token()
    return Columns(content, aside)


@register.simple_block_tag(takes_context=True)
def filter_bar(
    context: template.Context,
    content: SafeString,
    *,
    target: str,
    query: str = "",
    placeholder: str = "Search",
    name: str = "q",
) -> SafeString:
    """A search that narrows the list as one types; its state stands in the address.

    `target` is the id of the element that the list's fragment fills.
    """
    return _block(
        "filter_bar",
        content,
        action=context["request"].path,
        target=target,
        query=query,
        placeholder=placeholder,
        name=name,
    )


@register.simple_block_tag(takes_context=True)
def confirm_danger(
    context: template.Context,
    content: SafeString,
    *,
    action: str,
    expected: str,
    button: str,
    name: str = "confirm",
    error: str = "",
) -> SafeString:
    """A deed that is typed, not clicked: its consequences, the name, the button.

    The view compares the field `name` with the expected name again; the browser's
    own check is a convenience.
    """
    return _block(
        "confirm_danger",
        content,
        action=action,
        expected=expected,
        button=button,
        name=name,
        error=error,
        csrf_token=context.get("csrf_token"),
    )


def _looks_like_choice(bound: BoundField) -> bool:
    return isinstance(bound.field.widget, RadioSelect | CheckboxSelectMultiple)


@register.simple_tag
def field(bound: BoundField, *, hint: str = "", optional: bool = True) -> SafeString:
    """A form field with its label, its help and its errors, tied together for readers.

    `hint` replaces the field's own help text; `optional` marks a field that need
    not be filled in.
    """
    widget = bound.field.widget
    help_text = hint or bound.help_text
    css_class = "form-control"
    if isinstance(widget, CheckboxInput):
        css_class = "form-check-input"
    elif isinstance(widget, Select) and not _looks_like_choice(bound):
        css_class = "form-select"
    elif isinstance(widget, ClearableFileInput):
        css_class = "form-control"
    described_by = " ".join(
        f"{bound.auto_id}_{part}"
        for part, present in (("error", bound.errors), ("help", help_text))
        if present
    )
    attributes: dict[str, Any] = {}
    if not _looks_like_choice(bound):
        own = widget.attrs.get("class", "")
        attributes["class"] = f"{css_class} {own}".strip()
        if bound.errors:
            attributes["class"] += " is-invalid"
    if described_by:
        attributes["aria-describedby"] = described_by
    if bound.errors:
        attributes["aria-invalid"] = "true"
    return render_to_string(
        "components/field.html",
        {
            "bound": bound,
            "control": bound.as_widget(attrs=attributes),
            "help_text": help_text,
            "is_checkbox": isinstance(widget, CheckboxInput),
            "is_choice": _looks_like_choice(bound),
            "marked_optional": optional
            and not bound.field.required
            and not isinstance(widget, CheckboxInput),
        },
    )


@register.simple_tag
def form_errors(form: Any) -> SafeString:
    """What stands in the way of a form, each linked to its field."""
    fields = [(bound, bound.errors) for bound in form if bound.errors]
    return render_to_string(
        "components/form_errors.html",
        {"fields": fields, "general": form.non_field_errors()},
    )


@register.simple_tag(takes_context=True)
def with_query(context: template.Context, **changes: Any) -> str:
    """The page's own address with some of its parameters changed; None removes."""
    query = context["request"].GET.copy()
    for name, value in changes.items():
        if value is None or value == "":
            query.pop(name, None)
        else:
            query[name] = localize(value, use_l10n=False)
    return f"?{query.urlencode()}"
