"""What a server still accepts of TLS is told from its answer to a first flight."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import trustme

from directory import tls_offers
from directory.tls_offers import (
    OLD_VERSIONS,
    WITHOUT_FORWARD_SECRECY,
    NoAnswer,
    Offer,
    client_hello,
)
from tests.directory.entra.far_ends import (
    GOOD,
    ClientHello,
    Configure,
    say,
    serve,
    speaking,
)

OLDEST, OLD = OLD_VERSIONS
TLS_1_0, TLS_1_1 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
EVERYTHING = "ALL:@SECLEVEL=0"
MODERN = "ECDHE+AESGCM:ECDHE+CHACHA20"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.RSA)


def accepts(authority: trustme.CA, offer: Offer, configure: Configure) -> bool:
    with serve(
        authority,
        say(GOOD),
        configure=configure,
        name="localhost",
        key_type=trustme.KeyType.RSA,
    ) as url:
        port = int(url.rpartition(":")[2])
        return tls_offers.is_accepted("localhost", port, offer, timeout=5)


@pytest.mark.parametrize(
    ("offer", "configure", "accepted"),
    [
        pytest.param(OLDEST, speaking(TLS_1_0, TLS_1_3), True, id="1.0 of all"),
        pytest.param(OLDEST, speaking(TLS_1_0, TLS_1_0), True, id="1.0 of 1.0"),
        pytest.param(OLDEST, speaking(TLS_1_1, TLS_1_3), False, id="1.0 of 1.1 on"),
        pytest.param(OLD, speaking(TLS_1_0, TLS_1_3), True, id="1.1 of all"),
        pytest.param(OLD, speaking(TLS_1_0, TLS_1_0), False, id="1.1 of 1.0"),
        pytest.param(OLD, speaking(TLS_1_2, TLS_1_3), False, id="1.1 of 1.2 on"),
        pytest.param(
            WITHOUT_FORWARD_SECRECY,
            speaking(TLS_1_2, TLS_1_3, EVERYTHING),
            True,
            id="no secrecy of all",
        ),
        pytest.param(
            WITHOUT_FORWARD_SECRECY,
            speaking(TLS_1_2, TLS_1_2, "AES256-GCM-SHA384"),
            True,
            id="no secrecy of nothing better",
        ),
        pytest.param(
            WITHOUT_FORWARD_SECRECY,
            speaking(TLS_1_2, TLS_1_3, MODERN),
            False,
            id="no secrecy of modern suites",
        ),
        pytest.param(
            WITHOUT_FORWARD_SECRECY,
            speaking(TLS_1_3, TLS_1_3),
            False,
            id="no secrecy of 1.3",
        ),
    ],
)
def test_what_a_server_accepts_is_told(
    authority: trustme.CA, offer: Offer, configure: Configure, accepted: bool
) -> None:
    assert accepts(authority, offer, configure) is accepted


@contextmanager
def saying(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            connection, _address = listener.accept()
            with connection:
                connection.recv(4096)
                answer(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    thread.join(timeout=5)


def reset(connection: socket.socket) -> None:
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda c: None, id="it hangs up"),
        pytest.param(reset, id="it resets"),
        pytest.param(lambda c: c.sendall(b"\x15\x03\x01\x00\x02\x02\x46"), id="alert"),
        pytest.param(lambda c: c.sendall(b"\x15\x03"), id="half an alert"),
    ],
)
def test_whoever_does_not_go_on_refuses(
    answer: Callable[[socket.socket], None],
) -> None:
    with saying(answer) as port:
        assert not tls_offers.is_accepted("127.0.0.1", port, OLDEST, timeout=5)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda c: c.sendall(GOOD), id="plain HTTP"),
        pytest.param(lambda c: c.recv(10), id="nothing at all"),
        pytest.param(
            lambda c: c.sendall(b"\x16\x03\x01\x00\x08\x0b" + bytes(8)), id="no hello"
        ),
        pytest.param(lambda c: c.sendall(b"\x16\x03\x01\xff\xff"), id="half a record"),
    ],
)
def test_what_tells_nothing_is_not_taken_for_an_answer(
    answer: Callable[[socket.socket], None],
) -> None:
    def and_wait(connection: socket.socket) -> None:
        answer(connection)
        connection.recv(10)

    with saying(and_wait) as port, pytest.raises(NoAnswer):
        tls_offers.is_accepted("127.0.0.1", port, OLDEST, timeout=0.3)


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(NoAnswer):
        tls_offers.is_accepted("127.0.0.1", port, OLDEST, timeout=1)


@pytest.mark.parametrize("offer", [*OLD_VERSIONS, WITHOUT_FORWARD_SECRECY])
def test_a_first_flight_offers_one_version_and_names_the_host(offer: Offer) -> None:
    raw = client_hello("console.example.com", offer)

    hello = ClientHello.parse(raw)
    assert hello.legacy_version == offer.version
    assert hello.versions == ()
    assert b"console.example.com" in raw
    assert raw != client_hello("console.example.com", offer)
    assert b"127.0.0.1" not in client_hello("127.0.0.1", offer)
