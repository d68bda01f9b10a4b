"""Requests that no page of the console can have sent, through the real WSGI entry."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jamfidp import serving
from jamfidp.boundary import Handler
from tests.conftest import ROOT
from tests.security.fuzzing import Wire, ask

pytestmark = pytest.mark.django_db

# A request over http, one over https, and what the settings say of cookies.
ASK = """
import json
from django.conf import settings
from jamfidp.wsgi import application
from tests.security.fuzzing import Wire, environ_of

def ask(path, scheme, port):
    said = {}
    def begin(status, headers):
        said.update(dict(headers), status=int(status[:3]))
    wire = Wire(path=path, headers={"HTTP_HOST": "console.example.com"})
    environ = environ_of(wire) | {"wsgi.url_scheme": scheme, "SERVER_PORT": port}
    b"".join(application(environ, begin))
    print(json.dumps(said))

ask("/login/", "http", "80")
ask("/health/", "https", "443")
names = ("SESSION_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "SESSION_COOKIE_SAMESITE",
         "CSRF_COOKIE_SECURE")
print(json.dumps({name: getattr(settings, name) for name in names}))
"""


def status_of(**given: Any) -> int:
    return ask(Handler(), Wire(**given))[0]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; charset=zlib",
        "text/plain; charset=undefined",
        "text/plain; charset*=zlib''x",
        "text/plain; charset=latin-1",
    ],
    ids=["no text", "fails always", "names a codec twice", "another one"],
)
def test_an_encoding_that_is_not_utf_8_is_refused(content_type: str) -> None:
    """Django would read the address with it, before any page can answer."""
    assert (
        status_of(
            path="/login/",
            query=[("next", "/")],
            headers={"CONTENT_TYPE": content_type},
        )
        == 400
    )


def test_more_fields_than_django_takes_are_refused() -> None:
    fields = [(f"a{number}", "x") for number in range(1001)]

    assert status_of(path="/login/", query=fields) == 400
    assert (
        status_of(
            path="/login/",
            query=fields,
            headers={"CONTENT_TYPE": "text/plain; charset=utf-8"},
        )
        == 400
    )


@pytest.mark.parametrize("path", ["/login/", "/nowhere/", "/settings/"])
def test_a_form_that_breaks_off_is_no_error_of_the_console(path: str) -> None:
    form = [("username", "lena")]

    assert status_of(path=path, method="POST", form=form, breaks_off=True) < 500


def test_a_form_that_cannot_be_read_at_no_page_is_no_error_of_the_console() -> None:
    kind = {"CONTENT_TYPE": "multipart/form-data; boundary="}

    assert status_of(path="/nowhere/", method="POST", body=b"x", headers=kind) == 404


@pytest.mark.parametrize("header", ["HTTP_REFERER", "HTTP_HX_CURRENT_URL"])
def test_a_form_from_an_address_that_is_none_is_no_error_of_the_console(
    header: str,
) -> None:
    headers = {header: "http://[::1"}

    for path in ("/login/", "/settings/"):
        form = [("username", "lena")]
        assert status_of(path=path, method="POST", form=form, headers=headers) == 403


def test_a53_a_deployed_console_is_spoken_to_over_https_alone(tmp_path: Path) -> None:
    """What CONSOLE_URL makes of the settings, in a process of its own."""
    said = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env=os.environ
        | {
            "CONSOLE_URL": "https://console.example.com",
            "ALLOWED_HOSTS": "console.example.com",
            "DATABASE_URL": f"sqlite:///{tmp_path}/console.sqlite3",
            "DJANGO_SETTINGS_MODULE": "jamfidp.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    plain, protected, cookies = map(json.loads, said.stdout.splitlines())

    assert plain["status"] == 301
    assert plain["Location"] == "https://console.example.com/login/"
    assert protected["status"] == 200
    assert "max-age=31536000" in protected["Strict-Transport-Security"]
    assert cookies == {
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SECURE": True,
    }


def test_a_request_that_is_refused_leaves_a_line_and_no_stack_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    status_of(path="/login/", headers={"HTTP_HOST": "evil.example"})
    status_of(path="/login/", query=[("next", "\x00")])
    lines = [serving.Line().format(one) for one in caplog.records]

    assert len(lines) > 1
    assert not [one for one in lines if "Traceback" in one]


def test_a_failure_of_the_console_leaves_its_stack_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise RuntimeError("ours")
    except RuntimeError:
        logging.getLogger("django.request").exception(
            "Internal Server Error", extra={"status_code": 500}
        )

    assert "RuntimeError: ours" in serving.Line().format(caplog.records[-1])
