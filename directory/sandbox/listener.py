"""What every request passes first: the journal, the log, the scripted faults."""

import asyncio
import logging
import time
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from directory.sandbox import faults
from directory.sandbox.journal import Entry, redact
from directory.sandbox.store import Sandbox
from directory.sandbox.tokens import short_hash

_log = logging.getLogger("directory.sandbox")
_LARGEST_FORM = 64 * 1024


class Listener:
    """Wraps a plane's application: journal, log line without query, faults."""

    def __init__(self, sandbox: Sandbox, app: ASGIApp, plane: str) -> None:
        self.sandbox = sandbox
        self.app = app
        self.plane = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        path = scope["path"]
        query = parse_qsl(scope["query_string"].decode("latin-1"), True)
        entry = self.sandbox.journal.add(
            at=self.sandbox.clock.zulu(),
            plane=_plane(path) or self.plane,
            method=scope["method"],
            path=path,
            query=[name for name, _value in query],
        )
        entry.parameters = redact(query)
        _read_headers(scope, entry)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                entry.milliseconds = round((time.perf_counter() - started) * 1000, 2)
                _log.info("%s %s %s", entry.method, entry.path, entry.status)
            await send(message)

        # Starlette makes request.state of this.
        scope["state"] = {"entry": entry}
        fault = None
        if entry.plane != "control":
            query_string = scope["query_string"].decode("latin-1")
            fault = self.sandbox.faults.take(entry.method, path, query_string)
        listening = _noting_form(receive, scope, entry)
        if fault is None:
            await self.app(scope, listening, noting)
        else:
            entry.fault = True
            await faults.play(
                fault,
                self.app,
                self.sandbox.clock,
                scope,
                listening,
                noting,
                _transport(send),
            )


def _plane(path: str) -> str:
    if path.startswith("/v1.0/"):
        return "graph"
    return "control" if path.startswith("/control/") else ""


def _transport(send: Send) -> asyncio.Transport:
    # uvicorn's `send` is a method of the request's cycle, which holds the transport.
    cycle: Any = getattr(send, "__self__", None)
    transport: asyncio.Transport = cycle.transport
    return transport


def _read_headers(scope: Scope, entry: Entry) -> None:
    for name, value in scope["headers"]:
        if name == b"client-request-id":
            entry.client_request_id = value.decode("latin-1")
        elif name == b"x-ms-throttle-priority":
            entry.priority = value.decode("latin-1")
        elif name == b"authorization":
            entry.parameters["authorization"] = short_hash(value.decode("latin-1"))


def _noting_form(receive: Receive, scope: Scope, entry: Entry) -> Receive:
    """Note the names of a posted form on its way, values hashed."""
    is_form = any(
        name == b"content-type" and value.startswith(b"application/x-www-form")
        for name, value in scope["headers"]
    )
    if not is_form:
        return receive
    seen = bytearray()

    async def noting() -> Message:
        message = await receive()
        if message["type"] == "http.request" and len(seen) < _LARGEST_FORM:
            seen.extend(message.get("body", b""))
            if not message.get("more_body"):
                entry.parameters |= redact(parse_qsl(seen.decode("utf-8", "replace")))
        return message

    return noting
