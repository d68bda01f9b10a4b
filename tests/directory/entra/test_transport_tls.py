"""The transport against real sockets: TLS, broken answers, slow answers."""

import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from directory.entra import PUBLIC, Cloud, TransferStats, errors, sandbox_cloud
from directory.entra.transport import EntraSession, tls_context

Answer = Callable[[ssl.SSLSocket], None]

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + b'{"value":[]}'


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@contextmanager
def serve(
    authority: trustme.CA,
    *answers: Answer,
    configure: Callable[[ssl.SSLContext], None] = lambda context: None,
    name: str = "127.0.0.1",
) -> Iterator[str]:
    """Answer one connection after the other, each in its own way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
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
        listener.close()
        thread.join(timeout=5)


def say(raw: bytes) -> Answer:
    return lambda connection: connection.sendall(raw)


def session_for(url: str, ca_file: str, **options: float) -> EntraSession:
    return EntraSession(
        sandbox_cloud(url, ca_file),
        sleep=lambda seconds: None,
        total_seconds=options.get("total_seconds", 20.0),
    )


def read(url: str, ca_file: str, **options: float) -> bytes:
    with session_for(url, ca_file, **options) as session:
        return session.get(f"{url}/v1.0/users").content


def test_the_newest_version_of_tls_is_spoken(
    authority: trustme.CA, ca_file: str
) -> None:
    seen: list[tuple[str | None, str]] = []

    def answer(connection: ssl.SSLSocket) -> None:
        cipher = connection.cipher()
        seen.append((connection.version(), cipher[0] if cipher else ""))
        connection.sendall(GOOD)

    with serve(authority, answer) as url:
        assert read(url, ca_file) == b'{"value":[]}'

    assert seen[0][0] == "TLSv1.3"


def test_tls_1_2_is_spoken_with_forward_secrecy(
    authority: trustme.CA, ca_file: str
) -> None:
    seen: list[tuple[str | None, str]] = []

    def answer(connection: ssl.SSLSocket) -> None:
        cipher = connection.cipher()
        seen.append((connection.version(), cipher[0] if cipher else ""))
        connection.sendall(GOOD)

    def configure(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    with serve(authority, answer, configure=configure) as url:
        read(url, ca_file)

    version, cipher = seen[0]
    assert version == "TLSv1.2"
    assert cipher.startswith("ECDHE-")


def test_a_server_without_forward_secrecy_is_refused(ca_file: str) -> None:
    # An RSA certificate: the suite below needs one.
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    Path(ca_file).write_bytes(authority.cert_pem.bytes())

    def configure(context: ssl.SSLContext) -> None:
        authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(
            context
        )
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-GCM-SHA256")

    with (
        serve(authority, say(GOOD), configure=configure) as url,
        pytest.raises(errors.TlsRefused),
    ):
        read(url, ca_file)


def test_no_suite_without_forward_secrecy_is_offered() -> None:
    context = tls_context()

    names = [suite["name"] for suite in context.get_ciphers()]
    assert names
    assert all(name.startswith(("ECDHE-", "TLS_")) for name in names)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_another_authority_is_refused_at_once(
    authority: trustme.CA, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    stats = TransferStats()

    with serve(authority, say(GOOD)) as url:
        session = session_for(url, str(other))
        session.observer = stats
        with session, pytest.raises(errors.TlsRefused):
            session.get(f"{url}/v1.0/users")

    assert stats.requests == 1


def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, ca_file: str
) -> None:
    with (
        serve(authority, say(GOOD), name="fernhill.example") as url,
        pytest.raises(errors.TlsRefused),
    ):
        read(url, ca_file)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_clouds_own_authority_wins_over_the_environment(
    authority: trustme.CA,
    ca_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    monkeypatch.setenv(variable, str(other))

    with serve(authority, say(GOOD)) as url:
        assert read(url, ca_file) == b'{"value":[]}'


def test_verification_cannot_be_switched_off(
    authority: trustme.CA, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)

    with serve(authority, say(GOOD)) as url, session_for(url, str(other)) as session:
        session.verify = False
        with pytest.raises(errors.TlsRefused):
            session.get(f"{url}/v1.0/users", verify=False)


def test_an_authority_file_that_is_missing_is_named_so(
    authority: trustme.CA, tmp_path: Path
) -> None:
    with (
        serve(authority) as url,
        pytest.raises(errors.TlsRefused, match="certificate authorities"),
    ):
        read(url, str(tmp_path / "missing.pem"))


def test_a_loopback_cloud_ignores_proxies(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    with serve(authority, say(GOOD)) as url:
        assert read(url, ca_file) == b'{"value":[]}'


@contextmanager
def proxy(
    authority: trustme.CA, *, suites: str = "", deny: bool = False
) -> Iterator[str]:
    """A proxy that plays the far end as well, under the name it is asked for."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        plain, _address = listener.accept()
        with plain:
            asked = plain.recv(65536)
            if deny:
                plain.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return
            plain.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            name = asked.split()[1].decode().partition(":")[0]
            authority.issue_cert(name, key_type=trustme.KeyType.RSA).configure_cert(
                context
            )
            if suites:
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.set_ciphers(suites)
            with (
                suppress(OSError),
                context.wrap_socket(plain, server_side=True) as connection,
            ):
                connection.recv(65536)
                connection.sendall(GOOD)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    thread.join(timeout=5)


def read_through_proxy(
    address: str, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setenv("NO_PROXY", "")
    cloud = replace(PUBLIC, ca_file=ca_file)
    with EntraSession(cloud, sleep=lambda seconds: None, attempts=1) as session:
        return session.get("https://graph.microsoft.com/v1.0/users").content


def test_microsoft_is_reached_through_a_proxy(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(authority) as address:
        body = read_through_proxy(address, ca_file, monkeypatch)

    assert body == b'{"value":[]}'


def test_forward_secrecy_is_demanded_through_a_proxy_too(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        proxy(authority, suites="AES128-GCM-SHA256") as address,
        pytest.raises(errors.TlsRefused),
    ):
        read_through_proxy(address, ca_file, monkeypatch)


def test_a_proxy_that_refuses_is_named(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        proxy(authority, deny=True) as address,
        pytest.raises(errors.Unreachable, match="proxy"),
    ):
        read_through_proxy(address, ca_file, monkeypatch)


def test_a_body_that_is_cut_off_is_read_again_on_a_new_connection(
    authority: trustme.CA, ca_file: str
) -> None:
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"val'

    with serve(authority, say(cut), say(GOOD)) as url:
        assert read(url, ca_file) == b'{"value":[]}'


def test_a_chunked_body_that_is_cut_off_is_read_again(
    authority: trustme.CA, ca_file: str
) -> None:
    cut = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"val\r\n'
    whole = cut + b'7\r\nue":[]}\r\n0\r\n\r\n'

    with serve(authority, say(cut), say(whole)) as url:
        assert read(url, ca_file) == b'{"value":[]}'


def test_a_body_that_is_always_cut_off_is_unreachable(
    authority: trustme.CA, ca_file: str
) -> None:
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"val'

    with (
        serve(authority, *[say(cut)] * 5) as url,
        pytest.raises(errors.Unreachable, match="middle of an answer"),
    ):
        read(url, ca_file)


def test_a_compressed_body_is_read(authority: trustme.CA, ca_file: str) -> None:
    body = gzip.compress(b'{"value":[]}')
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
    )

    with serve(authority, say(head + body)) as url:
        assert read(url, ca_file) == b'{"value":[]}'


def test_after_a_503_a_new_connection_is_made(
    authority: trustme.CA, ca_file: str
) -> None:
    second_requests: list[bytes] = []

    def busy(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        connection.settimeout(5)
        second_requests.append(connection.recv(65536))

    with serve(authority, busy, say(GOOD)) as url:
        assert read(url, ca_file) == b'{"value":[]}'

    assert second_requests == [b""]


def test_urllib3_logs_neither_queries_nor_names(
    authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="urllib3")

    with serve(authority, say(GOOD)) as url, session_for(url, ca_file) as session:
        session.get(f"{url}/v1.0/users/ada@fernhill.example?$select=mail")

    assert "GET /v1.0/users HTTP" in caplog.text
    assert "ada" not in caplog.text
    assert "select" not in caplog.text


def test_an_answer_that_drips_forever_ends_at_the_limit(
    authority: trustme.CA, ca_file: str
) -> None:
    def drip(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b" ")
            time.sleep(0.05)

    began = time.monotonic()
    with (
        serve(authority, drip) as url,
        pytest.raises(errors.Unreachable, match="too long"),
    ):
        read(url, ca_file, total_seconds=0.5)

    assert time.monotonic() - began < 5


def test_an_answer_larger_than_any_expected_one_is_refused(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("directory.entra.transport.MAX_BODY_BYTES", 10)

    with (
        serve(authority, say(GOOD)) as url,
        pytest.raises(errors.GraphResponseError, match="larger"),
    ):
        read(url, ca_file)


def test_a_sandbox_that_does_not_run_is_unreachable(ca_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(errors.Unreachable) as caught:
        read(f"https://127.0.0.1:{port}", ca_file)

    assert not isinstance(caught.value, errors.TlsRefused)
    assert caught.value.retryable


def test_plain_http_is_never_spoken(ca_file: str) -> None:
    cloud = sandbox_cloud("https://127.0.0.1:9", ca_file)
    plain = Cloud(
        key="X",
        name="Plain",
        login_root="http://127.0.0.1:9",
        graph_root="http://127.0.0.1:9",
        scope=cloud.scope,
        portal_root="http://127.0.0.1:9",
        ca_file=ca_file,
        loopback=True,
    )

    with EntraSession(plain) as session, pytest.raises(errors.NotAllowed):
        session.get("http://127.0.0.1:9/v1.0/users")
