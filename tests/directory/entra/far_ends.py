"""Far ends on loopback that answer as Microsoft's never should."""

import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import trustme

from directory.entra import PUBLIC, Egress, EntraSession, TlsInUse, sandbox_cloud

Answer = Callable[[ssl.SSLSocket], None]
Configure = Callable[[ssl.SSLContext], None]

BODY = b'{"value":[]}'
GOOD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Content-Length: 12\r\n\r\n" + BODY
)


@contextmanager
def running(far_end: Callable[[], None]) -> Iterator[None]:
    """Run a far end beside the test; it has to end by itself."""
    thread = threading.Thread(target=far_end, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=5)


def _hang_up(listener: socket.socket) -> None:
    """Close it, and wake up the far end that waits at it."""
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@contextmanager
def serve(
    authority: trustme.CA,
    *answers: Answer,
    configure: Configure = lambda context: None,
    name: str = "127.0.0.1",
    key_type: trustme.KeyType = trustme.KeyType.ECDSA,
) -> Iterator[str]:
    """Answer one connection after the other, each in its own way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, key_type=key_type).configure_cert(context)
    configure(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        for answer in answers:
            try:
                plain, _address = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(65536)
                    answer(connection)
            except OSError:
                plain.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        _hang_up(listener)
        thread.join(timeout=5)


def say(raw: bytes) -> Answer:
    return lambda connection: connection.sendall(raw)


def speaking(
    lowest: ssl.TLSVersion, highest: ssl.TLSVersion, suites: str = "ALL:@SECLEVEL=0"
) -> Configure:
    """Configure a server for versions and suites that OpenSSL calls too weak."""

    def configure(context: ssl.SSLContext) -> None:
        with warnings.catch_warnings():
            # The old versions are what is meant.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.set_ciphers(suites)
            context.minimum_version = lowest
            context.maximum_version = highest

    return configure


def session_for(
    url: str,
    ca_file: str,
    *,
    total_seconds: float = 20.0,
    tls_observer: Callable[[TlsInUse], None] | None = None,
) -> EntraSession:
    return EntraSession(
        sandbox_cloud(url, ca_file),
        sleep=lambda seconds: None,
        total_seconds=total_seconds,
        tls_observer=tls_observer,
    )


def read(url: str, ca_file: str, *, total_seconds: float = 20.0) -> bytes:
    with session_for(url, ca_file, total_seconds=total_seconds) as session:
        return session.get(f"{url}/v1.0/users").content


@dataclass
class Proxy:
    """A proxy that plays the far end as well, under the name it is asked for."""

    authority: trustme.CA
    answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n"
    configure: Configure = field(default=lambda context: None)
    asked: list[bytes] = field(default_factory=list)
    address: str = ""

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=self._run, args=[listener], daemon=True)
        thread.start()
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield self
        finally:
            _hang_up(listener)
            thread.join(timeout=5)

    def _run(self, listener: socket.socket) -> None:
        with suppress(OSError):
            plain, _address = listener.accept()
            with plain:
                asked = plain.recv(65536)
                self.asked.append(asked)
                plain.sendall(self.answer)
                if b" 200 " not in self.answer:
                    return
                name = asked.split()[1].decode().partition(":")[0]
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self.authority.issue_cert(
                    name, key_type=trustme.KeyType.RSA
                ).configure_cert(context)
                self.configure(context)
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(GOOD)


def read_through(egress: Egress) -> bytes:
    """Ask Microsoft's own host for something, by this way out of the machine."""
    cloud = replace(PUBLIC, egress=egress)
    with EntraSession(cloud, sleep=lambda seconds: None, attempts=1) as session:
        return session.get("https://graph.microsoft.com/v1.0/users").content


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _join(client: socket.socket, server: socket.socket) -> None:
    """Pass everything on between two connections until both have ended."""
    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
    back.start()
    _pump(client, server)
    back.join(timeout=5)


@contextmanager
def tunneling(authority: trustme.CA, url: str) -> Iterator[str]:
    """A proxy that speaks TLS itself and leads every tunnel to one far end."""
    port = int(url.rpartition(":")[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            plain, _address = listener.accept()
            with (
                context.wrap_socket(plain, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port)) as server,
            ):
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                _join(client, server)

    with running(run):
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            _hang_up(listener)


SUPPORTED_VERSIONS = 0x002B


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The parts of a first flight that say which versions are offered.

    https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2
    """

    raw: bytes
    legacy_version: int
    versions: tuple[int, ...]
    _versions_at: int

    @classmethod
    def parse(cls, raw: bytes) -> "ClientHello":
        at = 5 + 4  # record header, handshake header
        (legacy_version,) = struct.unpack_from(">H", raw, at)
        at += 2 + 32
        at += 1 + raw[at]
        at += 2 + struct.unpack_from(">H", raw, at)[0]
        at += 1 + raw[at]
        end = at + 2 + struct.unpack_from(">H", raw, at)[0]
        at += 2
        versions: tuple[int, ...] = ()
        found = 0
        while at < end:
            kind, size = struct.unpack_from(">HH", raw, at)
            if kind == SUPPORTED_VERSIONS:
                found = at
                count = raw[at + 4] // 2
                versions = struct.unpack_from(f">{count}H", raw, at + 5)
            at += 4 + size
        return cls(raw, legacy_version, versions, found)

    def lowered(self, version: int) -> bytes:
        """Return it as if the client knew this version at most."""
        raw = bytearray(self.raw)
        struct.pack_into(">H", raw, 5 + 4, version)
        # An extension that nobody knows in place of the one that names versions.
        struct.pack_into(">H", raw, self._versions_at, 0xFAFA)
        return bytes(raw)


@contextmanager
def lowering(url: str, version: int) -> Iterator[str]:
    """Stand between client and server, and lower what the client offers."""
    port = int(url.rpartition(":")[2])
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            client, _address = listener.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                hello = ClientHello.parse(client.recv(65536))
                server.sendall(hello.lowered(version))
                _join(client, server)

    with running(run):
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            _hang_up(listener)


@contextmanager
def slamming(hellos: list[ClientHello]) -> Iterator[str]:
    """Note what each connection offers first, and close it without a word."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            while True:
                client, _address = listener.accept()
                with client:
                    hellos.append(ClientHello.parse(client.recv(65536)))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        _hang_up(listener)
        thread.join(timeout=5)
