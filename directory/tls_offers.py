"""Whether a server still speaks a TLS that nobody should, asked without speaking it.

A first flight is written by hand and the answer to it is read: the TLS library of
this machine may refuse old versions itself, and then could not show that a server
does not. Nothing is sent after that; the connection is closed.
"""

import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TLS_1_0, TLS_1_1, TLS_1_2 = 0x0301, 0x0302, 0x0303

_HANDSHAKE, _ALERT = 22, 21
_SERVER_HELLO = 2
_MOST_BYTES = 64 * 1024

# https://www.iana.org/assignments/tls-parameters
_STATIC_RSA = (0x009C, 0x009D, 0x003C, 0x003D, 0x002F, 0x0035, 0x000A)
_OLD = (0xC013, 0xC014, 0xC009, 0xC00A, 0x0033, 0x0039, *_STATIC_RSA[4:])


class NoAnswer(Exception):
    """The server said nothing that tells: no answer in time, or no TLS."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client would ask for, and nothing better."""

    name: str
    version: int
    suites: Sequence[int]


OLD_VERSIONS = (Offer("TLS 1.0", TLS_1_0, _OLD), Offer("TLS 1.1", TLS_1_1, _OLD))
WITHOUT_FORWARD_SECRECY = Offer("TLS 1.2 without forward secrecy", TLS_1_2, _STATIC_RSA)


def is_accepted(host: str, port: int, offer: Offer, *, timeout: float) -> bool:
    """Tell whether a server goes on with an offer. `timeout` is in seconds.

    Raises:
        NoAnswer: it cannot be told.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(client_hello(host, offer))
            return _goes_on(connection, offer)
    except ConnectionResetError:
        # Some servers hang up instead of saying no.
        return False
    except OSError:
        raise NoAnswer from None


def _goes_on(connection: socket.socket, offer: Offer) -> bool:
    try:
        kind, content = _first_record(connection)
    except EOFError:
        return False
    if kind == _ALERT:
        return False
    if kind != _HANDSHAKE or content[:1] != bytes([_SERVER_HELLO]):
        raise NoAnswer
    (version,) = struct.unpack_from(">H", content, 4)
    return bool(version == offer.version)


def _first_record(connection: socket.socket) -> tuple[int, bytes]:
    kind, _version, size = struct.unpack(">BHH", _exactly(connection, 5))
    if kind not in (_HANDSHAKE, _ALERT) or size > _MOST_BYTES:
        raise NoAnswer
    # Enough to see what it is, and which version.
    return kind, _exactly(connection, min(size, 6))


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def client_hello(host: str, offer: Offer) -> bytes:
    """Return the first flight of a client that knows this offer alone.

    https://www.rfc-editor.org/rfc/rfc5246#section-7.4.1.2
    """
    suites = struct.pack(f">{len(offer.suites)}H", *offer.suites)
    extensions = b"".join(_extensions(host))
    hello = (
        struct.pack(">H", offer.version)
        + secrets.token_bytes(32)
        + b"\x00"  # no session to go on with
        + _sized(suites)
        + b"\x01\x00"  # no compression
        + _sized(extensions)
    )
    handshake = b"\x01" + len(hello).to_bytes(3) + hello
    return struct.pack(">BHH", _HANDSHAKE, TLS_1_0, len(handshake)) + handshake


def _extensions(host: str) -> Iterator[bytes]:
    if not _is_address(host):
        name = host.encode("idna")
        yield _extension(0, _sized(b"\x00" + _sized(name)))
    yield _extension(10, _sized(struct.pack(">3H", 29, 23, 24)))  # groups
    yield _extension(11, b"\x01\x00")  # points are not compressed
    yield _extension(13, _sized(struct.pack(">4H", 0x0804, 0x0401, 0x0403, 0x0201)))
    yield _extension(0xFF01, b"\x00")  # renegotiation is the safe one


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">H", kind) + _sized(content)


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
