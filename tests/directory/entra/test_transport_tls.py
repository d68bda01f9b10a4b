"""The transport against real sockets: which TLS it speaks, and with whom.

The servers here are told to speak what OpenSSL has long switched off; the console's
side is never weakened for a test.
"""

import socket
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from directory.entra import (
    PUBLIC,
    Cloud,
    EntraSession,
    TlsInUse,
    TransferStats,
    errors,
    sandbox_cloud,
)
from directory.entra.tls import BoundedContext, tls_context
from directory.entra.transport import ATTEMPTS
from tests.directory.entra.certificates import certificate
from tests.directory.entra.far_ends import (
    BODY,
    GOOD,
    ClientHello,
    Configure,
    lowering,
    read,
    running,
    say,
    serve,
    session_for,
    slamming,
    speaking,
)

TLS_1_0, TLS_1_1 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@dataclass
class Spoken:
    """Remembers what a server was spoken to with."""

    protocol: str = ""
    cipher: str = ""

    def answer(self, connection: ssl.SSLSocket) -> None:
        cipher = connection.cipher()
        self.protocol = connection.version() or ""
        self.cipher = cipher[0] if cipher else ""
        connection.sendall(GOOD)


def refused(url: str, ca_file: str) -> errors.TlsRefused:
    with pytest.raises(errors.TlsRefused) as caught:
        read(url, ca_file)
    assert not caught.value.retryable
    return caught.value


def speaks(url: str, version: ssl.TLSVersion, suites: str) -> bool:
    """Tell whether a server talks to somebody who asks for nothing better."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(suites)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with (
        socket.create_connection(address, timeout=5) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return connection.recv(4) == b"HTTP"


# What is spoken


def test_the_highest_version_is_spoken(authority: trustme.CA, ca_file: str) -> None:
    spoken = Spoken()

    with serve(authority, spoken.answer) as url:
        assert read(url, ca_file) == BODY

    assert spoken.protocol == "TLSv1.3"


def test_tls_1_2_is_spoken_with_forward_secrecy(
    authority: trustme.CA, ca_file: str
) -> None:
    spoken = Spoken()

    with serve(authority, spoken.answer, configure=speaking(TLS_1_0, TLS_1_2)) as url:
        read(url, ca_file)

    assert spoken.protocol == "TLSv1.2"
    assert spoken.cipher.startswith("ECDHE-")


def test_the_highest_version_is_offered_first_and_never_less_after_a_failure(
    ca_file: str,
) -> None:
    hellos: list[ClientHello] = []

    with slamming(hellos) as url, pytest.raises(errors.Unreachable):
        read(url, ca_file)

    assert [hello.versions for hello in hellos] == [(0x0304, 0x0303)] * ATTEMPTS


def test_no_suite_without_forward_secrecy_is_offered() -> None:
    context = tls_context()

    names = [suite["name"] for suite in context.get_ciphers()]
    assert names
    assert all(name.startswith(("ECDHE-", "TLS_")) for name in names)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.security_level == 2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


# What is refused


@pytest.mark.parametrize(
    ("version", "suites"),
    [
        pytest.param(TLS_1_0, "ALL:@SECLEVEL=0", id="TLS 1.0"),
        pytest.param(TLS_1_1, "ALL:@SECLEVEL=0", id="TLS 1.1"),
        pytest.param(TLS_1_2, "AES128-GCM-SHA256", id="RSA key exchange"),
        pytest.param(TLS_1_2, "AES256-SHA", id="RSA key exchange and CBC"),
        pytest.param(TLS_1_2, "ECDHE-RSA-AES128-SHA256", id="CBC"),
        pytest.param(TLS_1_2, "aNULL:@SECLEVEL=0", id="no certificate at all"),
    ],
)
def test_a_server_that_offers_nothing_better_is_refused(
    rsa_authority: trustme.CA,
    rsa_ca_file: str,
    version: ssl.TLSVersion,
    suites: str,
) -> None:
    with serve(
        rsa_authority,
        say(GOOD),
        say(GOOD),
        configure=speaking(version, version, suites),
        key_type=trustme.KeyType.RSA,
    ) as url:
        # It works for whoever does not mind.
        assert speaks(url, version, suites if "SECLEVEL" in suites else "ALL")
        error = refused(url, rsa_ca_file)

    assert error.code == "tls:protocol"
    assert "127.0.0.1 came about" in error.message


def expired(authority: trustme.CA) -> trustme.LeafCert:
    now = datetime.now(UTC)
    return authority.issue_cert(
        "127.0.0.1",
        not_before=now - timedelta(days=30),
        not_after=now - timedelta(minutes=1),
    )


def premature(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert(
        "127.0.0.1", not_before=datetime.now(UTC) + timedelta(hours=1)
    )


def for_another_host(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("fernhill.example")


def for_another_address(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.2")


def of_a_stranger(authority: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1")


@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (expired, "tls:certificate-expired"),
        (premature, "tls:certificate-not-yet-valid"),
        (for_another_host, "tls:certificate-other-host"),
        (for_another_address, "tls:certificate-other-host"),
        (of_a_stranger, "tls:authority-unknown"),
    ],
)
def test_a_certificate_that_is_wrong_is_refused_and_named(
    authority: trustme.CA, ca_file: str, leaf: Any, code: str
) -> None:
    heard: list[bytes] = []

    def listen(connection: ssl.SSLSocket) -> None:
        heard.append(b"more than a handshake")

    with serve(authority, listen, configure=leaf(authority).configure_cert) as url:
        error = refused(url, ca_file)

    assert error.code == code
    assert "127.0.0.1" in error.message
    assert error.advice
    assert heard == []


def signed_by_itself(tmp_path: Path, key: rsa.RSAPrivateKey, pem: str) -> Configure:
    path = tmp_path / "itself.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + pem.encode()
    )
    return lambda context: context.load_cert_chain(path)


def test_a_certificate_signed_by_itself_is_refused(
    rsa_authority: trustme.CA, rsa_ca_file: str, tmp_path: Path
) -> None:
    with serve(
        rsa_authority,
        say(GOOD),
        configure=signed_by_itself(tmp_path, *certificate()),
        key_type=trustme.KeyType.RSA,
    ) as url:
        error = refused(url, rsa_ca_file)

    assert error.code == "tls:certificate-self-signed"
    assert "OUTGOING_CA_FILE" in error.advice


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    key, pem = certificate(bits=1024)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(pem)
    configured = signed_by_itself(tmp_path, key, pem)

    def configure(context: ssl.SSLContext) -> None:
        speaking(TLS_1_2, TLS_1_3)(context)
        configured(context)

    with serve(
        trustme.CA(), say(GOOD), configure=configure, key_type=trustme.KeyType.RSA
    ) as url:
        assert refused(url, str(ca_file)).code == "tls:certificate-weak"


def test_a_refusal_is_not_tried_again(authority: trustme.CA, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    stats = TransferStats()

    with serve(authority, say(GOOD)) as url, session_for(url, str(other)) as session:
        session.observer = stats
        with pytest.raises(errors.TlsRefused):
            session.get(f"{url}/v1.0/users")

    assert stats.requests == 1


# Somebody in between


def test_a_lowered_offer_is_noticed(authority: trustme.CA, ca_file: str) -> None:
    spoken = Spoken()

    with (
        serve(authority, spoken.answer, configure=speaking(TLS_1_0, TLS_1_3)) as url,
        lowering(url, 0x0303) as between,
    ):
        error = refused(between, ca_file)

    assert error.code == "tls:downgrade"
    assert spoken.protocol == ""


def test_an_offer_lowered_below_tls_1_2_comes_to_nothing(
    authority: trustme.CA, ca_file: str
) -> None:
    spoken = Spoken()

    with (
        serve(authority, spoken.answer, configure=speaking(TLS_1_0, TLS_1_3)) as url,
        lowering(url, 0x0302) as between,
    ):
        error = refused(between, ca_file)

    assert error.code == "tls:protocol"
    assert spoken.protocol == ""


def test_a44_a_name_that_leads_elsewhere_gets_no_token(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    look_up = socket.getaddrinfo

    def listen(connection: ssl.SSLSocket) -> None:
        heard.append(b"more than a handshake")

    with serve(authority, listen) as url:
        port = int(url.rpartition(":")[2])

        def rebound(host: str, _port: Any, *args: Any, **kwargs: Any) -> Any:
            assert host == "graph.microsoft.com"
            return look_up("127.0.0.1", port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", rebound)
        cloud = Cloud(
            key="X",
            name="Microsoft",
            login_root=PUBLIC.login_root,
            graph_root=PUBLIC.graph_root,
            scope=PUBLIC.scope,
            portal_root=PUBLIC.portal_root,
            ca_file=ca_file,
        )
        with EntraSession(cloud) as session, pytest.raises(errors.TlsRefused) as caught:
            session.get(
                "https://graph.microsoft.com/v1.0/users",
                headers={"Authorization": "Bearer canary"},
            )

    assert caught.value.code == "tls:certificate-other-host"
    assert heard == []


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


def test_a_server_that_answers_in_the_clear_is_refused(ca_file: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"

        def run() -> None:
            plain, _address = listener.accept()
            with plain:
                plain.recv(65536)
                plain.sendall(GOOD)

        with running(run):
            assert refused(url, ca_file).code == "tls:protocol"


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


# What was spoken is told


def test_what_a_handshake_came_to_is_told_once(
    authority: trustme.CA, ca_file: str
) -> None:
    seen: list[TlsInUse] = []

    with (
        serve(authority, say(GOOD), say(GOOD)) as url,
        session_for(url, ca_file, tls_observer=seen.append) as session,
    ):
        session.get(f"{url}/v1.0/users")
        session.get(f"{url}/v1.0/users")

    assert [(each.host, each.protocol) for each in seen] == [("127.0.0.1", "TLS 1.3")]
    assert seen[0].cipher.startswith("TLS_")
    assert seen[0].issuer.startswith("trustme")


def test_whoever_comes_later_is_told_of_a_connection_that_is_open(
    authority: trustme.CA, ca_file: str
) -> None:
    first: list[TlsInUse] = []
    second: list[TlsInUse] = []

    def twice(connection: ssl.SSLSocket) -> None:
        connection.sendall(GOOD)
        connection.recv(65536)
        connection.sendall(GOOD)

    with (
        serve(authority, twice) as url,
        session_for(url, ca_file, tls_observer=first.append) as session,
    ):
        session.get(f"{url}/v1.0/users")
        session.tls_observer = second.append
        session.get(f"{url}/v1.0/users")

    assert first == second
    assert len(second) == 1


def test_another_protocol_on_a_new_connection_is_told_again(
    authority: trustme.CA, ca_file: str
) -> None:
    seen: list[TlsInUse] = []
    contexts: list[ssl.SSLContext] = []

    def lower(connection: ssl.SSLSocket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        contexts[0].maximum_version = TLS_1_2

    with (
        serve(authority, lower, say(GOOD), configure=contexts.append) as url,
        session_for(url, ca_file, tls_observer=seen.append) as session,
    ):
        session.get(f"{url}/v1.0/users")
        session.get(f"{url}/v1.0/users")

    assert [each.protocol for each in seen] == ["TLS 1.3", "TLS 1.2"]


def test_a_context_alone_waits_as_long_as_its_socket() -> None:
    assert isinstance(tls_context(), BoundedContext)
    assert tls_context().left() == float("inf")
