"""The way out of the machine: proxies, and authorities that are trusted besides."""

import logging
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from directory.entra import (
    PUBLIC,
    Egress,
    EntraSession,
    TlsInUse,
    errors,
    sandbox_cloud,
)
from tests.directory.entra.far_ends import (
    BODY,
    GOOD,
    Proxy,
    read,
    read_through,
    say,
    serve,
    speaking,
    tunneling,
)

PASSWORD = "canary-proxy-password"
CREDENTIALS = f"operator:{PASSWORD}"


def test_microsoft_is_reached_through_a_proxy_that_inspects_tls(
    authority: trustme.CA, ca_file: str
) -> None:
    with Proxy(authority).running() as proxy:
        body = read_through(
            Egress(proxy_url=f"http://{proxy.address}", ca_file=ca_file)
        )

    assert body == BODY
    assert proxy.asked[0].startswith(b"CONNECT graph.microsoft.com:443 ")
    assert b"Proxy-Authorization" not in proxy.asked[0]


def test_a_proxy_that_inspects_tls_is_refused_until_its_authority_is_named(
    authority: trustme.CA,
) -> None:
    with Proxy(authority).running() as proxy, pytest.raises(errors.TlsRefused) as no:
        read_through(Egress(proxy_url=f"http://{proxy.address}"))

    assert no.value.code == "tls:authority-unknown"
    assert "graph.microsoft.com" in no.value.message
    assert "OUTGOING_CA_FILE" in no.value.advice


def test_an_inspecting_proxy_shows_as_the_issuer(
    authority: trustme.CA, ca_file: str
) -> None:
    seen: list[TlsInUse] = []
    with Proxy(authority).running() as proxy:
        egress = Egress(proxy_url=f"http://{proxy.address}", ca_file=ca_file)
        with EntraSession(
            replace(PUBLIC, egress=egress), tls_observer=seen.append, attempts=1
        ) as session:
            session.get("https://graph.microsoft.com/v1.0/users")

    assert [each.host for each in seen] == ["graph.microsoft.com"]
    assert "trustme" in seen[0].issuer


def test_forward_secrecy_is_demanded_through_a_proxy_too(
    authority: trustme.CA, ca_file: str
) -> None:
    far_end = Proxy(
        authority,
        configure=speaking(
            ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"
        ),
    )

    with far_end.running() as proxy, pytest.raises(errors.TlsRefused) as no:
        read_through(Egress(proxy_url=f"http://{proxy.address}", ca_file=ca_file))

    assert no.value.code == "tls:protocol"


def test_a_proxy_is_spoken_to_over_tls_where_it_is_one_of_https(
    authority: trustme.CA, ca_file: str
) -> None:
    seen: list[TlsInUse] = []
    with (
        serve(authority, say(GOOD), name="graph.microsoft.com") as far_end,
        tunneling(authority, far_end) as proxy,
    ):
        egress = Egress(proxy_url=proxy, ca_file=ca_file)
        with EntraSession(
            replace(PUBLIC, egress=egress), tls_observer=seen.append, attempts=1
        ) as session:
            body = session.get("https://graph.microsoft.com/v1.0/users").content

    assert body == BODY
    assert [(each.host, each.protocol) for each in seen] == [
        ("graph.microsoft.com", "TLS 1.3")
    ]


def test_the_proxys_password_goes_to_the_proxy_and_into_no_log(
    authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)

    with Proxy(authority).running() as proxy:
        egress = Egress(
            proxy_url=f"http://{CREDENTIALS}@{proxy.address}", ca_file=ca_file
        )
        assert read_through(egress) == BODY

    assert b"Proxy-Authorization: Basic " in proxy.asked[0]
    assert PASSWORD not in repr(egress)
    assert PASSWORD not in repr(replace(PUBLIC, egress=egress))
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (b"HTTP/1.1 407 Who are you", "proxy:407", "user name and a password"),
        (b"HTTP/1.1 403 Not there", "proxy:403", "does not let it through"),
        (b"HTTP/1.1 502 Not found", "proxy:502", "does not let it through"),
    ],
)
def test_a_proxy_that_refuses_is_named(
    authority: trustme.CA, answer: bytes, code: str, says: str
) -> None:
    far_end = Proxy(authority, answer=answer + b"\r\nContent-Length: 0\r\n\r\n")

    with far_end.running() as proxy, pytest.raises(errors.Unreachable) as no:
        read_through(Egress(proxy_url=f"http://{CREDENTIALS}@{proxy.address}"))

    assert no.value.code == code
    assert says in no.value.message
    assert PASSWORD not in no.value.sentences()
    assert no.value.__suppress_context__


def test_a_proxy_that_is_not_there_is_named() -> None:
    with pytest.raises(errors.Unreachable) as no:
        read_through(Egress(proxy_url=f"http://{CREDENTIALS}@127.0.0.1:9"))

    assert no.value.code == "proxy:unreachable"
    assert "HTTPS_PROXY" in no.value.advice
    assert PASSWORD not in no.value.sentences()


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:9", "http://[::1", "nonsense"])
def test_a_proxy_address_that_cannot_be_used_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(errors.Unreachable):
        read_through(Egress(proxy_url=url))


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_library_takes_no_proxy_from_the_environment(
    authority: trustme.CA,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")

    with Proxy(authority).running() as proxy:
        egress = Egress(proxy_url=f"http://{proxy.address}", ca_file=ca_file)
        assert read_through(egress) == BODY


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_library_takes_no_authority_from_the_environment(
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
        assert read(url, ca_file) == BODY

    monkeypatch.setenv(variable, ca_file)
    with Proxy(authority).running() as proxy, pytest.raises(errors.TlsRefused):
        read_through(Egress(proxy_url=f"http://{proxy.address}"))


def test_a_loopback_cloud_uses_neither_the_proxy_nor_its_authority(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with serve(authority, say(GOOD), say(GOOD)) as url:
        egress = Egress(proxy_url="http://127.0.0.1:9", ca_file=ca_file)
        right = replace(sandbox_cloud(url, ca_file), egress=egress)
        wrong = replace(sandbox_cloud(url, str(other)), egress=egress)

        with EntraSession(right) as session:
            assert session.get(f"{url}/v1.0/users").content == BODY
        with EntraSession(wrong) as session, pytest.raises(errors.TlsRefused):
            session.get(f"{url}/v1.0/users")


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_an_authority_file_that_cannot_be_used_is_named(
    authority: trustme.CA, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(errors.TlsRefused) as no:
        read_through(Egress(ca_file=str(path)))

    assert no.value.code == "tls:authorities-unreadable"


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("", "graph.microsoft.com", False),
        ("*", "graph.microsoft.com", True),
        ("graph.microsoft.com", "graph.microsoft.com", True),
        ("GRAPH.microsoft.com", "graph.Microsoft.com", True),
        (".microsoft.com", "graph.microsoft.com", True),
        ("example.com, microsoft.com", "graph.microsoft.com", True),
        ("soft.com", "graph.microsoft.com", False),
        ("microsoft.com.example", "graph.microsoft.com", False),
        (" , ,", "graph.microsoft.com", False),
    ],
)
def test_hosts_that_are_reached_without_the_proxy(
    no_proxy: str, host: str, direct: bool
) -> None:
    egress = Egress(proxy_url="http://proxy.example:3128", no_proxy=no_proxy)

    assert (egress.proxy_for(host) == "") is direct
