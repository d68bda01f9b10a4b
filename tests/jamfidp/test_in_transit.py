"""The database and the broker of a console in production are reached safely, or not."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import environ
import psycopg
import pytest
import trustme
from amqp.transport import Transport
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.utils import load_backend
from kombu import Connection
from kombu.exceptions import KombuError

from directory.entra.tls import FORWARD_SECRET
from jamfidp import in_transit
from tests.conftest import stop

PASSWORD = "canary-password"
PORTABLE = "postgres://console:canary-password@"


def database(url: str) -> dict[str, Any]:
    return dict(environ.Env.db_url_config(url))


# The rules


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("sqlite:////var/console.sqlite3", {}),
        ("postgres:///console", {}),
        ("postgres:///console?host=/run/postgresql", {}),
        (f"{PORTABLE}localhost/console", {}),
        (f"{PORTABLE}127.0.0.1:5432/console", {}),
        (f"{PORTABLE}[::1]:5432/console", {}),
        (f"{PORTABLE}127.0.0.1,localhost/console", {}),
        (f"{PORTABLE}db.example.com/console?sslmode=verify-full", {}),
        (f"{PORTABLE}db.example.com/console", {"PGSSLMODE": "verify-full"}),
        (f"{PORTABLE}db.example.com/console?sslrootcert=system", {}),
        (f"{PORTABLE}a.example.com,b.example.com/console?sslmode=verify-full", {}),
        ("postgres:///console?service=console&sslmode=verify-full", {}),
        ("postgres:///console", {"PGHOST": "/run/postgresql"}),
    ],
)
def test_a_database_that_is_reached_safely(url: str, environ: dict[str, str]) -> None:
    assert in_transit.database_problem(database(url), environ) == ""


@pytest.mark.parametrize(
    ("url", "environ", "says"),
    [
        (f"{PORTABLE}db.example.com/console", {}, "checks who answers, so"),
        (f"{PORTABLE}db.example.com/console?sslmode=disable", {}, "sslmode=disable"),
        (f"{PORTABLE}db.example.com/console?sslmode=prefer", {}, "sslmode=prefer"),
        (f"{PORTABLE}db.example.com/console?sslmode=require", {}, "sslmode=require"),
        (f"{PORTABLE}db.example.com/console?sslmode=verify-ca", {}, "verify-ca"),
        (f"{PORTABLE}10.0.0.5/console", {}, "10.0.0.5"),
        (f"{PORTABLE}localhost,db.example.com/console", {}, "db.example.com"),
        (f"{PORTABLE}localhost.example.com/console", {}, "localhost.example.com"),
        (
            f"{PORTABLE}db.example.com/console?sslmode=require&sslrootcert=system",
            {},
            "",
        ),
        ("postgres:///console?host=db.example.com", {}, "db.example.com"),
        ("postgres:///console", {"PGHOST": "db.example.com"}, "db.example.com"),
        ("postgres://localhost/console?hostaddr=10.0.0.5", {}, "localhost"),
        ("postgres:///console?service=console", {}, "The database is reached"),
        ("postgres:///console", {"PGSERVICE": "console"}, "The database is reached"),
        (
            f"{PORTABLE}db.example.com/console?sslmode=require",
            {"PGSSLMODE": "verify-full"},
            "sslmode=require",
        ),
        (
            f"{PORTABLE}db.example.com/console?sslmode=verify-full"
            "&ssl_min_protocol_version=TLSv1",
            {},
            "below 1.2",
        ),
        ("mysql://db.example.com/console", {}, "db.example.com"),
    ],
)
def test_a_database_that_somebody_in_between_could_read(
    url: str, environ: dict[str, str], says: str
) -> None:
    problem = in_transit.database_problem(database(url), environ)

    assert problem
    assert says in problem
    assert PASSWORD not in problem


@pytest.mark.parametrize(
    "url",
    [
        "filesystem://",
        "memory://",
        "redis+socket:///run/redis.sock",
        "redis://localhost:6379/0",
        "redis://:secret@127.0.0.1",
        "amqp://guest@[::1]//",
        f"rediss://:{PASSWORD}@broker.example.com:6380/0",
        f"amqps://console:{PASSWORD}@broker.example.com//?heartbeat=30",
        "amqps://a.example.com;amqps://b.example.com",
    ],
)
def test_a_broker_that_is_reached_safely(url: str) -> None:
    assert in_transit.broker_problem(url) == ""


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"redis://:{PASSWORD}@broker.example.com", "rediss://"),
        (f"amqp://console:{PASSWORD}@broker.example.com//", "amqps://"),
        ("pyamqp://broker.example.com", "amqps://"),
        ("amqps://a.example.com;amqp://b.example.com", "b.example.com"),
        ("rediss://broker.example.com?ssl_cert_reqs=none", "BROKER_CA_FILE"),
        ("rediss://broker.example.com?ssl_check_hostname=false", "BROKER_CA_FILE"),
        ("amqps://broker.example.com?ssl=1", "BROKER_CA_FILE"),
        ("sentinel://a.example.com", "cannot tell"),
        ("sqs://", "cannot tell"),
        ("", "cannot tell"),
        ("redis://[::1", "cannot be read"),
    ],
)
def test_a_broker_that_somebody_in_between_could_use(url: str, says: str) -> None:
    problem = in_transit.broker_problem(url)

    assert says in problem
    assert PASSWORD not in problem


@pytest.mark.parametrize("production", [True, False])
@pytest.mark.parametrize("what", ["database", "broker"])
def test_a_console_in_production_alone_is_refused(
    settings: Any, monkeypatch: pytest.MonkeyPatch, production: bool, what: str
) -> None:
    settings.PRODUCTION = production
    if what == "broker":
        settings.CELERY_BROKER_URL = "redis://broker.example.com"
    else:
        monkeypatch.setattr(in_transit, "database_problem", lambda *args: "Plain.")

    if not production:
        in_transit.refuse_unprotected()
        return
    with pytest.raises(ImproperlyConfigured, match="in production"):
        in_transit.refuse_unprotected()


def test_a_console_in_production_with_everything_on_its_machine_starts(
    settings: Any,
) -> None:
    settings.PRODUCTION = True

    in_transit.refuse_unprotected()


# What the drivers make of it


class Server:
    """Speaks TLS as a far end does, and keeps the first bytes that come over it."""

    def __init__(self, authority: trustme.CA, name: str, opening: bytes = b"") -> None:
        self.heard = b""
        self._opening = opening
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            plain, _address = self._listener.accept()
            with plain:
                if self._opening:
                    plain.recv(8)
                    plain.sendall(self._opening)
                with self._context.wrap_socket(plain, server_side=True) as encrypted:
                    self.heard = encrypted.recv(4096)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "trusted", "reached"),
    [
        ("localhost", True, True),
        ("db.example.com", True, False),
        ("localhost", False, False),
    ],
)
def test_the_settings_of_the_database_reach_its_driver(
    authority: trustme.CA, ca_file: str, name: str, trusted: bool, reached: bool
) -> None:
    issuer = authority if trusted else trustme.CA()
    server = Server(issuer, name, opening=b"S")
    url = (
        f"postgres://console@localhost:{server.port}/console"
        f"?sslmode=verify-full&sslrootcert={ca_file}"
    )

    # As Django hands them on.
    driver = load_backend("django.db.backends.postgresql").DatabaseWrapper(
        {**database(url), "CONN_MAX_AGE": 0, "TIME_ZONE": None, "AUTOCOMMIT": True}
    )

    with pytest.raises(psycopg.OperationalError):
        driver.get_new_connection(driver.get_connection_params())

    server.close()
    # The start of the conversation: protocol 3.0 and the user.
    assert (struct.pack(">I", 196608) in server.heard) is reached
    assert (b"console" in server.heard) is reached


@pytest.mark.parametrize(
    ("name", "trusted", "reached"),
    [
        ("localhost", True, True),
        ("broker.example.com", True, False),
        ("localhost", False, False),
    ],
)
def test_rabbitmq_is_spoken_to_when_its_certificate_is_right(
    authority: trustme.CA, ca_file: str, name: str, trusted: bool, reached: bool
) -> None:
    server = Server(authority if trusted else trustme.CA(), name)
    address = f"localhost:{server.port}"
    options = in_transit.broker_tls(
        f"amqps://{address}", ca_file=ca_file, suites=FORWARD_SECRET
    )

    far_end = Transport(address, connect_timeout=5, ssl=options)
    with suppress(OSError), closing(far_end):
        far_end.connect()
    server.close()

    assert server.heard.startswith(b"AMQP") is reached


def test_where_no_tls_is_spoken_nothing_is_said_about_it() -> None:
    for url in ("filesystem://", "redis://localhost", "amqp://localhost"):
        assert in_transit.broker_tls(url, ca_file="", suites=FORWARD_SECRET) is False


@pytest.fixture
def redis_over_tls(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> Iterator[str]:
    path = shutil.which("redis-server")
    if path is None:
        reason = "No redis-server on this machine: TLS to Redis was not tried."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    leaf = authority.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "redis.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "redis.key")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            path,
            *("--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1"),
            *("--tls-cert-file", str(tmp_path / "redis.pem")),
            *("--tls-key-file", str(tmp_path / "redis.key")),
            *("--tls-ca-cert-file", ca_file, "--tls-auth-clients", "no"),
            *("--save", "", "--dir", str(tmp_path)),
        ],
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
    yield f"rediss://localhost:{port}/0"
    stop(process)


@pytest.mark.processes
def test_messages_go_through_redis_over_tls(redis_over_tls: str, ca_file: str) -> None:
    options = in_transit.broker_tls(
        redis_over_tls, ca_file=ca_file, suites=FORWARD_SECRET
    )

    with Connection(redis_over_tls, ssl=options) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0)
        queue = broker.SimpleQueue("people")
        queue.put("a hint")
        assert queue.get(timeout=5).payload == "a hint"
        queue.close()


@pytest.mark.processes
def test_redis_with_the_certificate_of_a_stranger_is_not_spoken_to(
    redis_over_tls: str, ca_file: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    right, wrong = (
        in_transit.broker_tls(redis_over_tls, ca_file=path, suites=FORWARD_SECRET)
        for path in (ca_file, str(other))
    )
    for address, options in (
        (redis_over_tls, wrong),
        # Right, and for another name.
        (redis_over_tls.replace("localhost", "127.0.0.1"), right),
    ):
        with (
            Connection(address, ssl=options) as broker,
            pytest.raises(KombuError, match="certificate"),
        ):
            broker.ensure_connection(max_retries=1, interval_start=0)


# In words


@pytest.mark.django_db
def test_the_system_page_says_how_the_database_is_reached() -> None:
    words = in_transit.database_in_words(connection)

    assert words.startswith(connection.display_name)
    assert words.endswith("on this machine.")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("filesystem://", "Files on this machine"),
        ("redis://127.0.0.1/0", "Redis on this machine"),
        ("redis+socket:///run/redis.sock", "Redis on this machine"),
        (f"rediss://:{PASSWORD}@b.example.com", "Redis at b.example.com, over TLS"),
        (f"amqps://u:{PASSWORD}@b.example.com", "RabbitMQ at b.example.com, over TLS"),
        ("amqp://b.example.com", "RabbitMQ at b.example.com, without TLS"),
    ],
)
def test_the_system_page_says_how_the_broker_is_reached(url: str, words: str) -> None:
    assert in_transit.broker_in_words(url) == words
