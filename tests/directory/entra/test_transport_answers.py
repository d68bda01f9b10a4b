"""Answers over real sockets that are cut, slow, endless, packed or broken."""

import gzip
import logging
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import trustme

from directory.entra import errors
from tests.directory.entra.far_ends import (
    BODY,
    GOOD,
    Answer,
    read,
    say,
    serve,
    session_for,
)

CUT = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"val'


def packed(body: bytes, packing: str) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Encoding: {packing}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


# Cut off


def test_f6_a_body_that_is_cut_off_is_read_again_on_a_new_connection(
    authority: trustme.CA, ca_file: str
) -> None:
    with serve(authority, say(CUT), say(GOOD)) as url:
        assert read(url, ca_file) == BODY


def test_f6_a_chunked_body_that_is_cut_off_is_read_again(
    authority: trustme.CA, ca_file: str
) -> None:
    cut = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"val\r\n'
    whole = cut + b'7\r\nue":[]}\r\n0\r\n\r\n'

    with serve(authority, say(cut), say(whole)) as url:
        assert read(url, ca_file) == BODY


def test_f6_a_packed_body_that_is_cut_off_is_not_taken_for_whole(
    authority: trustme.CA, ca_file: str
) -> None:
    whole = gzip.compress(BODY)
    # Without a length the end of the connection is the end of the body.
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"

    with serve(authority, say(head + whole[:-12]), say(head + whole)) as url:
        assert read(url, ca_file) == BODY


def reset(connection: ssl.SSLSocket) -> None:
    connection.sendall(CUT)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_f6_a_connection_that_is_reset_in_mid_body_is_made_again(
    authority: trustme.CA, ca_file: str
) -> None:
    with serve(authority, reset, say(GOOD)) as url:
        assert read(url, ca_file) == BODY


def test_f6_a_body_that_is_always_cut_off_is_unreachable(
    authority: trustme.CA, ca_file: str
) -> None:
    with (
        serve(authority, *[say(CUT)] * 5) as url,
        pytest.raises(errors.Unreachable, match="middle of an answer"),
    ):
        read(url, ca_file)


def test_f5_after_a_503_a_new_connection_is_made(
    authority: trustme.CA, ca_file: str
) -> None:
    second_requests: list[bytes] = []

    def busy(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        connection.settimeout(5)
        second_requests.append(connection.recv(65536))

    with serve(authority, busy, say(GOOD)) as url:
        assert read(url, ca_file) == BODY

    assert second_requests == [b""]


# Slow


def drip(first: bytes, drop: bytes) -> Answer:
    def answer(connection: ssl.SSLSocket) -> None:
        connection.sendall(first)
        for _ in range(400):
            connection.sendall(drop)
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "), id="body"
        ),
        pytest.param(
            drip(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"
            ),
            id="chunks",
        ),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a"), id="one header"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"), id="headers"),
        pytest.param(drip(b"H", b"T"), id="status line"),
    ],
)
def test_f7_an_answer_that_drips_forever_ends_at_the_limit(
    authority: trustme.CA, ca_file: str, answer: Answer
) -> None:
    began = time.monotonic()
    with serve(authority, answer) as url, pytest.raises(errors.Unreachable):
        read(url, ca_file, total_seconds=0.5)

    # The far end would go on for eight seconds.
    assert time.monotonic() - began < 5


def test_f7_a_body_that_takes_too_long_is_named_so(
    authority: trustme.CA, ca_file: str
) -> None:
    answer = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" ")

    with (
        serve(authority, answer) as url,
        pytest.raises(errors.Unreachable, match="too long"),
    ):
        read(url, ca_file, total_seconds=0.3)


# Large


def test_an_answer_larger_than_any_expected_one_is_refused(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("directory.entra.transport.MAX_BODY_BYTES", 10)

    with (
        serve(authority, say(GOOD)) as url,
        pytest.raises(errors.GraphResponseError, match="larger"),
    ):
        read(url, ca_file)


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = bytes(1024 * 1024)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def test_a_small_answer_that_unpacks_to_a_huge_one_is_refused(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("directory.entra.transport.MAX_BODY_BYTES", 4 * 1024 * 1024)
    small = bomb(200)
    assert len(small) < 300_000

    with serve(authority, say(packed(small, "gzip"))) as url:
        tracemalloc.start()
        try:
            with pytest.raises(errors.GraphResponseError, match="larger"):
                read(url, ca_file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak < 20 * 1024 * 1024


def test_the_limit_of_the_sign_in_service_has_its_own_error(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("directory.entra.transport.MAX_BODY_BYTES", 10)

    with (
        serve(authority, say(GOOD)) as url,
        session_for(url, ca_file) as session,
        pytest.raises(errors.SignInResponseError, match="larger"),
    ):
        session.get(f"{url}/organizations/discovery/v2.0/keys")


# Packed


def test_a_packed_body_is_read(authority: trustme.CA, ca_file: str) -> None:
    with serve(authority, say(packed(gzip.compress(BODY), "gzip"))) as url:
        assert read(url, ca_file) == BODY


@pytest.mark.parametrize(
    ("pack", "packing"),
    [
        pytest.param(zlib.compress, "deflate", id="deflate"),
        pytest.param(bytes, "br", id="br"),
        pytest.param(bytes, "zstd", id="zstd"),
        pytest.param(
            lambda body: gzip.compress(gzip.compress(body)), "gzip, gzip", id="twice"
        ),
        pytest.param(bytes, "rubbish", id="rubbish"),
    ],
)
def test_a_packing_that_nobody_asked_for_is_refused(
    authority: trustme.CA, ca_file: str, pack: Callable[[bytes], bytes], packing: str
) -> None:
    with (
        serve(authority, say(packed(pack(BODY), packing))) as url,
        pytest.raises(errors.GraphResponseError, match="nobody asked for"),
    ):
        read(url, ca_file)


def test_a_body_that_is_not_packed_as_it_says_is_unreachable(
    authority: trustme.CA, ca_file: str
) -> None:
    with (
        serve(authority, *[say(packed(BODY, "gzip"))] * 5) as url,
        pytest.raises(errors.Unreachable),
    ):
        read(url, ca_file)


# Broken


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 twohundred OK\r\n\r\n", id="no status"),
        pytest.param(b"HTTP/9.9 200 OK\r\n\r\n", id="another version"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", id="200 headers"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", id="a long one"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            id="two lengths",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            id="no chunk size",
        ),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_answer_is_unreachable(
    authority: trustme.CA, ca_file: str, raw: bytes
) -> None:
    with (
        serve(authority, *[say(raw)] * 5) as url,
        pytest.raises(errors.Unreachable) as caught,
    ):
        read(url, ca_file)

    assert caught.value.retryable


def test_urllib3_logs_neither_queries_nor_names(
    authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="urllib3")

    with serve(authority, say(GOOD)) as url, session_for(url, ca_file) as session:
        session.get(f"{url}/v1.0/users/ada@fernhill.example?$select=mail")

    assert "GET /v1.0/users HTTP" in caplog.text
    assert "ada@" not in caplog.text
    assert "select" not in caplog.text


def test_urllib3_does_not_log_headers_that_it_cannot_parse(
    authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = GOOD.replace(b"\r\n\r\n", b"\r\nno header: at all\r\ncanary\r\n\r\n")

    with serve(authority, say(broken)) as url, session_for(url, ca_file) as session:
        session.get(f"{url}/v1.0/users/ada@fernhill.example?$select=mail")

    assert "canary" not in caplog.text
    assert "ada@" not in caplog.text
    assert "select" not in caplog.text


def test_a_sandbox_that_does_not_run_is_unreachable(ca_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(errors.Unreachable) as caught:
        read(f"https://127.0.0.1:{port}", ca_file)

    assert not isinstance(caught.value, errors.TlsRefused)
    assert caught.value.retryable
