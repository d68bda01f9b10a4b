"""Requests that no browser sends: a sound one, damaged at random, through WSGI.

What is damaged is the bytes of the request: query strings, forms, bodies and their
declared types and lengths, cookies, headers, encodings, signed messages. Every choice
comes from a seeded generator, so a request that was found can be sent again.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_from_bytes, urlsplit

from django.core.signals import request_finished, request_started
from django.db import close_old_connections

Pairs = list[tuple[str, str]]
Random = random.Random

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
# Texts stand for bytes, one character a byte, as in WSGI.
TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "NaN",
    "9" * 30,
    "9" * 5000,
    "null",
    "[]",
    "{}",
    "true",
    "\x00",
    "a\x00b",
    "\xff\xfe\xfd",
    "\xed\xa0\x80",
    "\xc3\x28",
    "\xe2\x80\xaegpj.exe",
    "\xf0\x9f\x92\xa9" * 40,
    "\xc4\xb0stanbul \xc5\xbf",
    "%00",
    "%ff",
    "%u0000",
    "\r\nSet-Cookie: a=b",
    "\n",
    "../../etc/passwd",
    "//evil.example/x",
    "\\\\evil.example",
    "https://evil.example",
    "http://[::1",
    "http://[evil]/",
    "//[",
    "javascript:alert(1)",
    "<script>alert(1)</script>",
    "{{7*7}}{% csrf_token %}",
    "' OR 1=1 --",
    "a" * 300,
    "a" * 3000,
    "a.b.c",
    "e30.e30.e30",
    "eyJhbGciOiJub25lIn0.e30.",
    ":",
    "a:b:c",
    "..",
    "1:1rGAAA:" + "a" * 43,
    "__proto__",
    "admin",
    "00000000-0000-0000-0000-000000000000",
    "9188040d-6c67-4c5b-b112-36a304b66dad",
    "\u00b2",
    "localhost:8000",
)
# Deeper than any parser follows, in JSON and in CBOR.
DEEP = ("[" * 3000, '{"a":' * 3000, "[" * 100_000)
CHARSETS = (
    "utf-8", "utf-16", "latin-1", "base64", "rot13", "zlib", "idna", "punycode",
    "undefined", "unicode_escape", "utf-7", "nothing", "\x00", "a" * 200, "hex",
)  # fmt: skip
CONTENT_TYPES = (
    "",
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=" + "b" * 300,
    "multipart/form-data; boundary=\xff",
    "multipart/form-data; boundary*=utf-8''x",
    "multipart/mixed; boundary=x",
    "text/plain",
    "application/octet-stream",
    ";;;",
    "\xff\xff",
    "application/x-www-form-urlencoded; charset",
)
HEADERS = (
    "HTTP_HOST", "HTTP_REFERER", "HTTP_ORIGIN", "HTTP_ACCEPT", "HTTP_ACCEPT_LANGUAGE",
    "HTTP_ACCEPT_ENCODING", "HTTP_USER_AGENT", "HTTP_COOKIE", "HTTP_X_CSRFTOKEN",
    "HTTP_HX_REQUEST", "HTTP_HX_TARGET", "HTTP_HX_CURRENT_URL", "HTTP_HX_TRIGGER",
    "HTTP_HX_PROMPT", "HTTP_HX_TRIGGER_URI_AUTOENCODED", "HTTP_HX_CURRENT_URL_URI_AUTOENCODED",
    "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO",
    "HTTP_FORWARDED", "HTTP_RANGE", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH",
    "HTTP_AUTHORIZATION", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_X_REQUESTED_WITH",
    "HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_CONTENT_ENCODING", "CONTENT_LENGTH",
    "CONTENT_TYPE", "HTTP_SEC_FETCH_SITE",
)  # fmt: skip
HEADER_VALUES = (
    "localhost", "localhost:8000", "evil.example", "http://localhost:8000/login/",
    "http://localhost/login/?a=b", "http://localhost:99999999/", "https://localhost:x/",
    "true", "main", "null", "*", "gzip, br;q=x", "bytes=0-", "Mon, 99 Xyz 2026",
    "for=1.2.3.4;host=evil.example", "1.2.3.4, 5.6.7.8:99", "unknown", "::1", "[::1]:80",
    "chunked", "100-continue", "XMLHttpRequest", "-5", "1e3", "\u0663", "cross-site",
    "sessionid", "sessionid=", "sessionid=x; sessionid=y", "csrftoken=x", "=;=;,",
    "a=b" + "; c=d" * 200, 'x="\\777\\', "Basic e30=", "Bearer a.b.c",
)  # fmt: skip


NOT_IN_HEADERS = dict.fromkeys(map(ord, "\r\n\x00"))


def latin(text: str) -> str:
    """The bytes of a text, one character a byte."""
    return text.encode(errors="surrogatepass").decode("latin-1")


@dataclass
class Wire:
    """One request: values are what stands between the separators, not yet escaped."""

    path: str = "/"
    method: str = "GET"
    query: Pairs = field(default_factory=list)
    form: Pairs | None = None
    body: bytes = b""
    cookies: Pairs = field(default_factory=list)
    # CGI names. Those that are added replace what the rest would give.
    headers: dict[str, str] = field(default_factory=dict)
    address: str = "192.0.2.10"
    breaks_off: bool = False


Given = Callable[[Random], Wire]


class Body(io.BytesIO):
    """What the client sends; it may go away in the middle."""

    def __init__(self, content: bytes, *, breaks_off: bool) -> None:
        super().__init__(content)
        self.breaks_off = breaks_off

    def read(self, size: int | None = -1) -> bytes:
        if self.breaks_off:
            raise ConnectionResetError("Connection reset by peer")
        return super().read(size)

    def readline(self, size: int | None = -1) -> bytes:
        if self.breaks_off:
            raise ConnectionResetError("Connection reset by peer")
        return super().readline(size)


def escaped(pairs: Pairs) -> str:
    def one(text: str) -> str:
        return quote_from_bytes(text.encode("latin-1", errors="replace"), safe="-._~")

    return "&".join(f"{one(name)}={one(value)}" for name, value in pairs)


def environ_of(wire: Wire) -> dict[str, Any]:
    content = wire.body if wire.form is None else escaped(wire.form).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": wire.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": wire.path,
        "QUERY_STRING": escaped(wire.query),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": wire.address,
        "HTTP_HOST": "localhost:8000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": Body(content, breaks_off=wire.breaks_off),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if wire.form is not None:
        environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
    if content:
        environ["CONTENT_LENGTH"] = str(len(content))
    if wire.cookies:
        environ["HTTP_COOKIE"] = "; ".join(
            f"{name}={value}" for name, value in wire.cookies
        )
    raw = wire.headers.get("RAW_QUERY")
    if raw is not None:
        environ["QUERY_STRING"] = raw
    environ |= {k: v for k, v in wire.headers.items() if k != "RAW_QUERY"}
    # A server refuses lengths that are no numbers, and NUL and line breaks in headers.
    length = environ.get("CONTENT_LENGTH", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 18):
        del environ["CONTENT_LENGTH"]
    return {
        name: value.translate(NOT_IN_HEADERS)
        if name[:5] in {"HTTP_", "CONTE"}
        else value
        for name, value in environ.items()
    }


# --- Damage --------------------------------------------------------------------------


def damaged_text(rng: Random, text: str) -> str:
    """A value that is nearly right, or not at all."""
    if not text:
        return rng.choice(TEXTS)
    at = rng.randrange(len(text))
    match rng.randrange(11):
        case 0 | 1:
            return rng.choice(TEXTS)
        case 2:
            return text[:at]
        case 3:
            return text[at:]
        case 4:
            flipped = chr(ord(text[at]) % 256 ^ (1 << rng.randrange(8)))
            return text[:at] + flipped + text[at + 1 :]
        case 5:
            return text + rng.choice(TEXTS)
        case 6:
            return text[:at] + rng.choice(TEXTS)[:50] + text[at:]
        case 7:
            return text.swapcase()
        case 8:
            return text * rng.choice((2, 3, 40))
        case 9:
            return damaged_token(rng, text)
        case _:
            return damaged_json(rng, text)


def damaged_token(rng: Random, text: str) -> str:
    """One part of `a.b.c` or `a:b:c` is decoded, damaged, and encoded again."""
    separator = "." if "." in text else ":"
    parts = text.split(separator)
    at = rng.randrange(len(parts))
    match rng.randrange(4):
        case 0:
            content = rng.choice(DEEP[:2]).encode()
        case 1:
            content = rng.choice(TEXTS).encode("latin-1", errors="replace")
        case 2:
            content = json.dumps(damaged_value(rng, {"typ": "JWT", "a": [1]})).encode()
        case _:
            raw = parts[at].encode("latin-1", errors="replace")
            try:
                content = base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
                plain = json.loads(content)
                content = json.dumps(damaged_value(rng, plain)).encode()
            except (ValueError, RecursionError):
                content = raw[::-1]
    parts[at] = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
    return separator.join(parts)


def damaged_json(rng: Random, text: str) -> str:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        return rng.choice((*DEEP, '{"a": NaN}', '"\\ud800"', "[1e999]", "{"))
    return json.dumps(damaged_value(rng, plain))


def damaged_value(rng: Random, value: Any) -> Any:
    """Something somewhere in it has another type, is left out, or is nonsense."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != name}
        return value | {name: damaged_value(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], damaged_value(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and rng.random() < 0.5:
        return damaged_text(rng, value)
    return rng.choice(
        (None, True, 0, -1, 1.5, 10**30, 1e308, float("inf"), "", "\ud800", "\x00", [],
         {}, [[]], {"": {}}, "a" * 5000, "A", "AA", [None] * 50)
    )  # fmt: skip


def damaged_pairs(rng: Random, pairs: Pairs) -> Pairs:
    pairs = list(pairs)
    match rng.randrange(8) if pairs else 7:
        case 0:
            del pairs[rng.randrange(len(pairs))]
        case 1:
            name, value = rng.choice(pairs)
            pairs.append((name, damaged_text(rng, value)))
        case 2:
            at = rng.randrange(len(pairs))
            pairs[at] = (damaged_text(rng, pairs[at][0])[:200], pairs[at][1])
        case 3:
            rng.shuffle(pairs)
        case 4 | 5 | 6:
            at = rng.randrange(len(pairs))
            pairs[at] = (pairs[at][0], damaged_text(rng, pairs[at][1]))
        case _:
            name = rng.choice(("next", "state", "code", "error", "page", "q", "a[]"))
            pairs.append((name, rng.choice(TEXTS)))
    return pairs


def multipart(rng: Random, pairs: Pairs) -> tuple[bytes, str]:
    boundary = rng.choice(("x", "----b", "b" * 70))
    lines = []
    for name, value in pairs:
        extra = rng.choice(
            ("", "", '; filename="a"', '; filename="\x00"', "; filename*=utf-9''%ff",
             '; filename="../../a"', "; filename=")
        )  # fmt: skip
        kind = rng.choice(
            ("", "", "\r\nContent-Type: text/plain; charset=base64",
             "\r\nContent-Transfer-Encoding: base64", "\r\nContent-Type: \xff")
        )  # fmt: skip
        lines.append(
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{name}"{extra}{kind}\r\n\r\n{value}\r\n'
        )
    ending = rng.choice((f"--{boundary}--\r\n", f"--{boundary}\r\n", ""))
    content = ("".join(lines) + ending).encode("latin-1", errors="replace")
    if content and rng.random() < 0.2:
        content = content[: rng.randrange(len(content))]
    return content, f"multipart/form-data; boundary={boundary}"


def damaged_body(rng: Random, wire: Wire) -> Wire:
    pairs = wire.form or []
    match rng.randrange(6):
        case 0:
            body, kind = multipart(rng, pairs)
            headers = wire.headers | {"CONTENT_TYPE": kind}
        case 1:
            body = json.dumps(dict(pairs)).encode()
            headers = wire.headers | {"CONTENT_TYPE": "application/json"}
        case 2:
            body = rng.choice((*TEXTS, *DEEP)).encode("latin-1", errors="replace")
            headers = wire.headers | {"CONTENT_TYPE": rng.choice(CONTENT_TYPES)}
        case 3:
            body = escaped(pairs).encode()
            kind = rng.choice(CONTENT_TYPES)
            headers = wire.headers | {
                "CONTENT_TYPE": f"{kind}; charset={rng.choice(CHARSETS)}"
            }
        case 4:
            body = b"&".join(b"a%d=b" % one for one in range(1100))
            headers = wire.headers | {
                "CONTENT_TYPE": "application/x-www-form-urlencoded"
            }
        case _:
            body = escaped(pairs).encode() + rng.randbytes(rng.randrange(200))
            headers = wire.headers | {
                "CONTENT_TYPE": "application/x-www-form-urlencoded"
            }
    if rng.random() < 0.2:
        length = rng.choice(("0", "1", str(len(body) + 50), "-1", "x", "", "9" * 30))
        headers = headers | {"CONTENT_LENGTH": length}
    method = wire.method if rng.random() < 0.3 else "POST"
    return replace(wire, method=method, form=None, body=body, headers=headers)


def damaged_query(rng: Random, wire: Wire) -> Wire:
    if rng.random() < 0.8:
        return replace(wire, query=damaged_pairs(rng, wire.query))
    raw = rng.choice(
        ("%", "%%%", "&&&&", "=", "a=%ff%fe", "a=%00", "a;b;c", "a=b&a=b" * 300, "?",
         "\xff\xfe", "a=" + "%" * 999, "a=%ED%A0%80", "+" * 999, "a[b][c]=d", "\x7f")
    )  # fmt: skip
    return replace(wire, headers=wire.headers | {"RAW_QUERY": raw})


def damaged_path(rng: Random, wire: Wire) -> Wire:
    extra = rng.choice(
        ("/", "//", "x", "/..", "/../", "\x00", "\xff", "\xed\xa0\x80", ";a=b", "%2f",
         "\r\n", " ", "/./", "\\", "\xe2\x80\xae", "a" * 2000)
    )  # fmt: skip
    path = wire.path
    match rng.randrange(4):
        case 0:
            path = path.rstrip("/")
        case 1:
            path = path + extra
        case 2:
            at = rng.randrange(len(path) + 1)
            path = path[:at] + extra + path[at:]
        case _:
            path = path.replace("/", "//")
    return replace(wire, path=path or "/")


def damaged_headers(rng: Random, wire: Wire) -> Wire:
    name = rng.choice(HEADERS)
    value = rng.choice(HEADER_VALUES if rng.random() < 0.6 else TEXTS)
    value = value.encode("latin-1", errors="replace").decode("latin-1")
    return replace(wire, headers=wire.headers | {name: value})


def damaged_type(rng: Random, wire: Wire) -> Wire:
    kind = f"{rng.choice(CONTENT_TYPES)}; charset={rng.choice(CHARSETS)}"
    return replace(wire, headers=wire.headers | {"CONTENT_TYPE": kind})


def damaged(rng: Random, wire: Wire) -> Wire:
    """The request, damaged in one to four ways; now and then as it was."""
    if rng.random() < 0.04:
        return wire
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        match rng.randrange(16):
            case 0 | 1 | 2 | 3:
                wire = damaged_query(rng, wire)
            case 4 | 5 | 6:
                if wire.form is None:
                    wire = damaged_query(rng, wire)
                else:
                    wire = replace(wire, form=damaged_pairs(rng, wire.form))
            case 7 | 8:
                wire = replace(wire, cookies=damaged_pairs(rng, wire.cookies))
            case 9 | 10:
                wire = damaged_headers(rng, wire)
            case 11:
                wire = damaged_body(rng, wire)
            case 12:
                wire = damaged_path(rng, wire)
            case 13:
                wire = replace(wire, method=rng.choice(METHODS))
            case 14:
                wire = damaged_type(rng, wire)
            case _:
                wire = replace(wire, breaks_off=rng.random() < 0.3)
    return wire


# --- Asking and judging --------------------------------------------------------------


class Log(logging.Handler):
    """What a request leaves in the log that it must not, as it would be written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        # Django calls what it refuses by itself an error, too.
        ours = record.levelno >= logging.ERROR and "security" not in record.name
        if ours or "Traceback" in line:
            self.lines.append(line)


@contextmanager
def logged(console: logging.Handler) -> Iterator[Log]:
    """Hear what the console's own handler would write, with its filters."""
    log = Log(console.formatter or logging.Formatter())
    for one in console.filters:
        log.addFilter(one)
    root = logging.getLogger()
    root.addHandler(log)
    try:
        yield log
    finally:
        root.removeHandler(log)


@dataclass
class Outcome:
    statuses: Counter[int] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def line(self) -> str:
        statuses = ", ".join(f"{k}: {v}" for k, v in sorted(self.statuses.items()))
        return f"{self.statuses.total()} requests; {statuses}"


def faults(status: int, headers: Pairs, body: bytes, own: tuple[str, ...]) -> list[str]:
    found = []
    if status >= 500:
        found.append(f"status {status}")
    if b"Traceback (most recent call last)" in body:
        found.append("a stack trace on the page")
    for name, value in headers:
        if name == "Location" and not leads_home(value, own):
            found.append(f"leads to {value[:200]!r}")
    return found


def leads_home(address: str, own: tuple[str, ...]) -> bool:
    if address.startswith(("//", "/\\", "\\")):
        return False
    if address.startswith("/"):
        return True
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" in own


def ask(application: Any, wire: Wire) -> tuple[int, Pairs, bytes]:
    """Send the request through WSGI, as a server does, and read all of the answer."""
    said: list[Any] = []
    # Else each request would end the connection, and with it the caller's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    answer = application(environ_of(wire), lambda *given: said.append(given))
    try:
        content = b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    status, headers = said[0][:2]
    return int(status.split(" ", 1)[0]), headers, content
