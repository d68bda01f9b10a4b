"""The sandbox's process: two listeners on loopback, one state, one event loop."""

import asyncio
import contextlib
import gc
import json
import logging
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from directory.sandbox import control, tls
from directory.sandbox.changes import ChangeLog
from directory.sandbox.company import COMPANIES, PASSWORD
from directory.sandbox.graph import ROOT as GRAPH_ROOT
from directory.sandbox.graph import GraphPlane
from directory.sandbox.listener import Listener
from directory.sandbox.login import LoginPlane
from directory.sandbox.sizes import Sizes
from directory.sandbox.store import (
    APPLICATION_ID,
    APPLICATION_NAME,
    Sandbox,
    open_sandbox,
)

HOST = "127.0.0.1"
_log = logging.getLogger("directory.sandbox")
_LAST_ANSWERS = 1.0
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to start. Port 0 takes a free one; ``sizes`` replace the first tenant's.

    ``switches`` hold from the start and after each reset.
    """

    port: int
    pages_port: int
    state_dir: Path
    redirect_uris: tuple[str, ...] = ()
    sizes: Sizes | None = None
    switches: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False


class _Server(uvicorn.Server):
    """A server that leaves the signals to us, since two share the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A client that keeps its connection open never answers TLS's good-bye, and
        # closing politely would wait for it.
        limit = time.monotonic() + _LAST_ANSWERS
        while self.server_state.tasks and time.monotonic() < limit:
            await asyncio.sleep(0.02)
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await super().shutdown(sockets)


def bind(port: int) -> socket.socket:
    """Bind to loopback, and never to anything else."""
    # Naming the protocol matters: asyncio switches Nagle's algorithm off only then,
    # and with it every second answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.set_inheritable(False)
    return listener


def _server(app: ASGIApp, *, certificate: Path | None = None) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            host=HOST,
            http="httptools",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
            ssl_certfile=certificate,
            ssl_ciphers=tls.CIPHERS if certificate else None,
        )
    )


def write_description(sandbox: Sandbox, ca_file: Path) -> Path:
    """Write sandbox.json, whole: whoever finds it finds a listening sandbox."""
    path = sandbox.state_dir / "sandbox.json"
    description = {
        "url": sandbox.url,
        "pages_url": sandbox.pages_url,
        "ca_file": str(ca_file),
        "control_key": sandbox.identity.control_key,
        "tenants": [
            {
                "id": company.tenant_id,
                "domain": company.domain,
                "display_name": company.display_name,
                "global_admin": {
                    "upn": company.global_administrator.upn,
                    "password": PASSWORD,
                },
                "people": [
                    {
                        "upn": person.upn,
                        "display_name": person.display_name,
                        "password": PASSWORD,
                    }
                    for person in company.people
                ],
            }
            for company in COMPANIES
        ],
        "application": {
            "client_id": APPLICATION_ID,
            "client_secret": sandbox.identity.client_secret,
            "display_name": APPLICATION_NAME,
        },
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    tls.write_private(path, text.encode())
    return path


def machine_app(sandbox: Sandbox, log: ChangeLog) -> Listener:
    graph = GraphPlane(sandbox)
    others = Starlette(
        routes=[
            *LoginPlane(sandbox, log).machine_routes(),
            *control.routes(sandbox, log),
            Route("/{rest:path}", graph.elsewhere, methods=_METHODS),
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Graph is asked thousands of times in a row: it needs none of the routes.
        if scope["type"] == "http" and scope["path"].startswith(f"{GRAPH_ROOT}/"):
            if delay := sandbox.behavior.answer_delay:
                await asyncio.sleep(delay / 1000)
            answer = await graph.handle(Request(scope, receive))
            await answer(scope, receive, send)
        else:
            await others(scope, receive, send)

    return Listener(sandbox, app, "login")


def pages_app(sandbox: Sandbox, log: ChangeLog) -> Listener:
    app = Starlette(routes=LoginPlane(sandbox, log).page_routes())
    return Listener(sandbox, app, "pages")


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when a port is taken."""
    sandbox = open_sandbox(
        options.state_dir.resolve(),
        sizes=options.sizes,
        redirect_uris=options.redirect_uris,
        switches=options.switches,
    )
    sizes = options.sizes
    header = {"format": 2, "sizes": list(astuple(sizes)) if sizes else None}
    log = ChangeLog(sandbox, keep=options.keep, header=header)
    log.replay()
    ca_file, certificate = tls.prepare(sandbox.state_dir)
    tls_socket, pages_socket = bind(options.port), bind(options.pages_port)
    sandbox.url = f"https://{HOST}:{tls_socket.getsockname()[1]}"
    sandbox.pages_url = f"http://{HOST}:{pages_socket.getsockname()[1]}"
    asyncio.run(_serve(sandbox, log, ca_file, certificate, tls_socket, pages_socket))


async def _serve(
    sandbox: Sandbox,
    log: ChangeLog,
    ca_file: Path,
    certificate: Path,
    tls_socket: socket.socket,
    pages_socket: socket.socket,
) -> None:
    machine = _server(machine_app(sandbox, log), certificate=certificate)
    pages = _server(pages_app(sandbox, log))

    def stop() -> None:
        machine.should_exit = True
        pages.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    serving = asyncio.gather(
        machine.serve(sockets=[tls_socket]), pages.serve(sockets=[pages_socket])
    )
    while not (machine.started and pages.started) and not serving.done():
        await asyncio.sleep(0.01)
    if not serving.done():
        # What is there now stays: looking through it for garbage took a tenth of a
        # second out of an answer every now and then.
        gc.freeze()
        description = write_description(sandbox, ca_file)
        _log.info("Tenants at %s, pages at %s", sandbox.url, sandbox.pages_url)
        try:
            await serving
        finally:
            description.unlink(missing_ok=True)
    else:
        await serving
