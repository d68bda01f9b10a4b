"""Scripted faults: what a test makes go wrong, and when."""

import asyncio
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(slots=True)
class Fault:
    """Applies to requests of this method and path prefix, from the nth on, n times.

    ``status`` answers instead of the sandbox; ``truncate`` sends that many bytes of
    the real answer and cuts the connection; ``reset`` cuts it before any answer;
    ``delay`` waits that many seconds first and goes together with the others.
    """

    number: int
    path: str
    method: str = "*"
    nth: int = 1
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    delay: float = 0.0
    truncate: int | None = None
    reset: bool = False
    seen: int = 0

    def takes(self, method: str, path: str) -> bool:
        if self.method not in ("*", method) or not path.startswith(self.path):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    @property
    def spent(self) -> bool:
        return self.seen >= self.nth + self.times - 1


class Faults:
    """The faults that wait for their request."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._count = 0

    def clear(self) -> None:
        self._waiting.clear()

    def add(self, values: dict[str, Any]) -> Fault:
        """Add a fault. Raises TypeError on a name it does not have."""
        self._count += 1
        fault = Fault(**{**values, "number": self._count})
        self._waiting.append(fault)
        return fault

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._waiting]

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault meant for this request; spent ones are dropped."""
        for fault in self._waiting:
            if fault.takes(method, path):
                if fault.spent:
                    self._waiting.remove(fault)
                return fault
        return None


_CODES = {
    401: (
        "InvalidAuthenticationToken",
        "Access token has expired or is not yet valid.",
    ),
    403: (
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    ),
    410: ("syncStateNotFound", "The sync state generation is not found."),
    429: ("TooManyRequests", "Please retry again later."),
    500: ("InternalServerError", "Internal server error."),
    502: ("BadGateway", "Bad gateway."),
    503: ("ServiceUnavailable", "Service unavailable."),
    504: ("GatewayTimeout", "Gateway timeout."),
}


def _body(fault: Fault, status: int) -> bytes:
    if isinstance(fault.body, str):
        return fault.body.encode()
    body = fault.body
    if body is None:
        code, message = _CODES.get(status, ("UnknownError", ""))
        body = {"error": {"code": code, "message": message, "innerError": {}}}
    return json.dumps(body).encode()


async def play(
    fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer one request as the fault says. ``send`` must be the server's own."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    transport = _transport(send)
    if fault.reset:
        transport.abort()
        return
    if fault.status is not None:
        headers = {"content-type": "application/json"} | {
            name.lower(): value for name, value in fault.headers.items()
        }
        start: Message = {
            "type": "http.response.start",
            "status": fault.status,
            "headers": [(n.encode(), v.encode()) for n, v in headers.items()],
        }
        await send(start)
        await send({"type": "http.response.body", "body": _body(fault, fault.status)})
        return
    if fault.truncate is None:
        await app(scope, receive, send)
        return
    left = fault.truncate

    async def short(message: Message) -> None:
        nonlocal left
        if message["type"] != "http.response.body":
            await send(message)
        elif left > 0:
            part = message.get("body", b"")[:left]
            left -= len(part)
            await send({"type": "http.response.body", "body": part, "more_body": True})

    await app(scope, receive, short)
    transport.close()


def _transport(send: Send) -> asyncio.Transport:
    # uvicorn's `send` is a method of the request's cycle, which holds the transport.
    cycle: Any = getattr(send, "__self__", None)
    transport: asyncio.Transport = cycle.transport
    return transport
