"""Rendering of the sandbox's pages for people."""

import os
from pathlib import Path
from typing import Any

from django.template import Context, Engine
from starlette.responses import HTMLResponse, Response

_TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates"
_ENGINE = Engine(
    dirs=[str(_TEMPLATES)],
    autoescape=True,
    # Lines of templates are counted only while Django keeps track of them.
    debug="COVERAGE_RUN" in os.environ,
)

# No form-action: the browser applies it to the redirect that follows a form, and
# that redirect leads to the application.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store, no-cache",
}


def page(name: str, context: dict[str, Any], *, status: int = 200) -> HTMLResponse:
    template = _ENGINE.get_template(f"sandbox/{name}.html")
    text = template.render(Context(context))
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def asset(name: str) -> Response:
    kinds = {"sandbox.css": "text/css", "form_post.js": "text/javascript"}
    if name not in kinds:
        return Response(status_code=404, headers=HEADERS)
    content = (_TEMPLATES / "sandbox" / name).read_bytes()
    return Response(content, media_type=kinds[name], headers=HEADERS)
