"""Scripted faults: what a test makes go wrong, and when."""

import asyncio
import socket
import struct
import uuid
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from directory.sandbox import headers
from directory.sandbox.aadsts import TABLE, aadsts
from directory.sandbox.clock import Clock
from directory.sandbox.errors import GraphError, LoginError

LOGIN = "https://login.microsoftonline.com"
_ARRIVAL = 0.05


@dataclass(slots=True)
class Fault:
    """Applies to requests of this method and path prefix, from the nth on, n times.

    ``query`` must be part of the address's query, ``item`` is the id of a call in a
    batch ('*' for any), whose own method and path then count. ``times`` 0 goes on
    until the fault is taken back.

    ``status`` answers instead of the sandbox, with ``body`` or Microsoft's usual one;
    ``aadsts`` answers with the sign-in service's error of that number. Without them
     the real answer is sent, changed: ``headers`` replace its own, null
    takes one away; ``merge`` is put into its JSON (RFC 7386). ``truncate`` sends that
    many bytes and closes the connection, with ``reset`` breaks it; ``reset`` alone
    breaks it before any answer. ``drip`` sends that many bytes every ``drip_every``
    seconds. ``delay`` waits so many seconds first. An item of a batch takes status,
    headers, body and merge alone.
    """

    number: int
    path: str
    method: str = "*"
    query: str = ""
    item: str = ""
    nth: int = 1
    times: int = 1
    status: int | None = None
    aadsts: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    body: Any = None
    merge: Any = None
    delay: float = 0.0
    truncate: int | None = None
    reset: bool = False
    drip: int | None = None
    drip_every: float = 0.1
    seen: int = 0

    def takes(self, method: str, path: str, query: str, item: str | None) -> bool:
        if self.item not in ("*" if item is not None else "", item or ""):
            return False
        if self.method not in ("*", method) or not path.startswith(self.path):
            return False
        if self.query not in query:
            return False
        self.seen += 1
        return self.nth <= self.seen and (
            self.times == 0 or self.seen < self.nth + self.times
        )

    @property
    def spent(self) -> bool:
        return self.times > 0 and self.seen >= self.nth + self.times - 1


_TYPES: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "method": (str,),
    "query": (str,),
    "item": (str,),
    "nth": (int,),
    "times": (int,),
    "status": (int,),
    "aadsts": (int,),
    "headers": (dict,),
    "delay": (int, float),
    "truncate": (int,),
    "reset": (bool,),
    "drip": (int,),
    "drip_every": (int, float),
}


class Faults:
    """The faults that wait for their request."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._count = 0

    def clear(self) -> None:
        self._waiting.clear()

    def add(self, values: dict[str, Any]) -> Fault:
        """Add a fault. Raises TypeError on a name or a value that it cannot have."""
        known = {entry.name for entry in fields(Fault)} - {"number", "seen"}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"A fault has no '{name}'.")
            types = _TYPES.get(name)
            if types and (type(value) not in types):
                raise TypeError(f"'{name}' of a fault cannot be {value!r}.")
        if values.get("aadsts", 50034) not in TABLE:
            raise TypeError(f"AADSTS{values['aadsts']} is not known here.")
        if not 200 <= values.get("status", 200) <= 599:
            raise TypeError("'status' of a fault is between 200 and 599.")
        for name, value in values.get("headers", {}).items():
            if not (value is None or (isinstance(value, str) and value.isascii())):
                raise TypeError(f"The header '{name}' is a text, or null.")
        if values.get("drip") == 0:
            raise TypeError("'drip' of a fault is at least one byte.")
        self._count += 1
        fault = Fault(**{**values, "number": self._count})
        self._waiting.append(fault)
        return fault

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._waiting]

    def take(
        self, method: str, path: str, query: str = "", item: str | None = None
    ) -> Fault | None:
        """Return the first fault meant for this request; spent ones are dropped."""
        for fault in self._waiting:
            if fault.takes(method, path, unquote(query), item):
                if fault.spent:
                    self._waiting.remove(fault)
                return fault
        return None


_GRAPH_CODES = {
    400: ("BadRequest", "The request is malformed or incorrect."),
    401: (
        "InvalidAuthenticationToken",
        "Access token has expired or is not yet valid.",
    ),
    403: (
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    ),
    404: ("Request_ResourceNotFound", "The resource does not exist."),
    409: ("Directory_ConcurrencyViolation", "Another request changed the object."),
    410: ("syncStateNotFound", "The sync state generation is not found."),
    429: ("TooManyRequests", "Please retry again later."),
    500: ("InternalServerError", "Internal server error."),
    501: ("NotImplemented", "This operation target is not yet supported."),
    502: ("BadGateway", "Bad gateway."),
    503: ("ServiceUnavailable", "Service unavailable."),
    504: ("GatewayTimeout", "Gateway timeout."),
}


def graph_error(status: int) -> GraphError:
    """Return what Graph says with a status."""
    return GraphError(status, *_GRAPH_CODES.get(status, ("UnknownError", "")))


def _login_error(status: int) -> LoginError:
    """Return what the sign-in service says when it is throttled or out of order."""
    if status == 429:
        return aadsts(90055)
    return aadsts(
        90033, error="temporarily_unavailable" if status == 503 else "server_error"
    )


def scripted_body(
    fault: Fault, path: str, clock: Clock, request_id: str, client_request_id: str
) -> bytes:
    """Return the body of a fault with a status: its own or Microsoft's usual one."""
    status = fault.status or 0
    if isinstance(fault.body, str):
        return fault.body.encode()
    if fault.body is not None:
        return orjson.dumps(fault.body)
    if path.startswith("/v1.0"):
        error = graph_error(status)
        return orjson.dumps(error.body(clock, request_id, client_request_id))
    return orjson.dumps(_login_error(status).body(clock, client_request_id, LOGIN))


def merged(real: Any, patch: Any) -> Any:
    """Put a patch into a JSON value. https://www.rfc-editor.org/rfc/rfc7386"""
    if not isinstance(patch, dict):
        return patch
    result = dict(real) if isinstance(real, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


async def play(
    fault: Fault,
    app: ASGIApp,
    clock: Clock,
    scope: Scope,
    receive: Receive,
    send: Send,
    transport: asyncio.Transport,
) -> None:
    """Answer one request as the fault says; ``transport`` is the connection's own."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.reset and fault.truncate is None:
        _break(transport)
        return
    if fault.aadsts is not None:
        error = aadsts(fault.aadsts)
        correlation_id = _header(scope, b"client-request-id") or str(uuid.uuid4())
        fault.status = fault.status or error.status
        fault.body = error.body(clock, correlation_id, LOGIN)
    if fault.status is not None:
        app = _scripted(fault, clock)
    if fault.merge is not None:
        scope = _uncompressed(scope)
    whole: list[Message] = []

    async def collect(message: Message) -> None:
        whole.append(message)

    await app(scope, receive, collect)
    start = whole[0]
    body = b"".join(message.get("body", b"") for message in whole[1:])
    if fault.status is None:
        body = _changed(fault, start, body)
    await send(start)
    await _send_body(fault, body, send, transport)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode() for key, value in scope["headers"] if key == name), "")


def _uncompressed(scope: Scope) -> Scope:
    kept = [each for each in scope["headers"] if each[0] != b"accept-encoding"]
    return {**scope, "headers": kept}


def _scripted(fault: Fault, clock: Clock) -> ASGIApp:
    async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        given = {name.lower(): value for name, value in scope["headers"]}
        client_id = given.get(b"client-request-id", b"").decode() or request_id
        if scope["path"].startswith("/v1.0"):
            usual = {
                "content-type": "application/json",
                "request-id": request_id,
                "client-request-id": client_id,
            }
        else:
            usual = headers.of_tokens() | {"content-type": headers.JSON}
        changed = {name.lower(): value for name, value in fault.headers.items()}
        sent = {name.lower(): value for name, value in usual.items()} | changed
        content = scripted_body(fault, scope["path"], clock, request_id, client_id)
        await send(
            {
                "type": "http.response.start",
                "status": fault.status,
                "headers": [
                    (name.encode(), value.encode())
                    for name, value in sent.items()
                    if value is not None
                ],
            }
        )
        await send({"type": "http.response.body", "body": content})

    return answer


def _changed(fault: Fault, start: Message, body: bytes) -> bytes:
    """Change the headers of the real answer in place, and return its new body."""
    real = dict(start["headers"])
    if fault.merge is not None:
        body = orjson.dumps(merged(orjson.loads(body), fault.merge))
    for name, value in fault.headers.items():
        key = name.lower().encode()
        real.pop(key, None)
        if value is not None:
            real[key] = value.encode()
    if b"content-length" in real and b"content-length" not in {
        name.lower().encode() for name in fault.headers
    }:
        real[b"content-length"] = str(len(body)).encode()
    start["headers"] = list(real.items())
    return body


async def _send_body(
    fault: Fault, body: bytes, send: Send, transport: asyncio.Transport
) -> None:
    sent = body if fault.truncate is None else body[: fault.truncate]
    step = fault.drip or max(1, len(sent))
    for position in range(0, len(sent), step):
        if fault.drip and position:
            await asyncio.sleep(fault.drip_every)
        part = sent[position : position + step]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if fault.truncate is None:
        await send({"type": "http.response.body", "body": b""})
    elif fault.reset:
        # What was sent has to arrive before the connection breaks.
        await asyncio.sleep(_ARRIVAL)
        _break(transport)
    else:
        transport.close()


def _break(transport: asyncio.Transport) -> None:
    """Send a reset instead of closing: with no time to linger, TCP does that."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
