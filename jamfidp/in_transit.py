"""What goes between the console, its database and its broker, and who could read it.

People's names, memberships and sealed secrets go to the database; hints of work go
through the broker. In production neither leaves the machine without TLS that checks
who answers. Every process that loads Django asks `refuse_unprotected`.
"""

import ipaddress
import os
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper

# What stays on the machine, or never leaves the process.
_LOCAL_BROKERS = frozenset({"filesystem", "memory", "redis+socket"})
_TLS_BROKERS = frozenset({"rediss", "amqps"})
_PLAIN_BROKERS: Mapping[str, str] = {
    "redis": "rediss",
    "amqp": "amqps",
    "pyamqp": "amqps",
}
_OLD_TLS = frozenset({"TLSv1", "TLSv1.1"})


def refuse_unprotected() -> None:
    """Stop the start of a console in production whose data could be read on the way.

    Raises:
        ImproperlyConfigured
    """
    if not settings.PRODUCTION:
        return
    for problem in (
        database_problem(settings.DATABASES["default"], os.environ),
        broker_problem(settings.CELERY_BROKER_URL),
    ):
        if problem:
            raise ImproperlyConfigured(
                f"{problem} This console is in production: CONSOLE_URL or "
                "CONNECTOR_URL is not on this machine."
            )


def database_problem(database: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return why a PostgreSQL database is not reached safely, or an empty text.

    `environ` counts because libpq reads it: PGSSLMODE and its kind.
    https://www.postgresql.org/docs/current/libpq-ssl.html
    """
    if database["ENGINE"] == "django.db.backends.sqlite3":
        return ""
    options: Mapping[str, Any] = database.get("OPTIONS") or {}

    def given(option: str, variable: str) -> str:
        return str(options.get(option) or environ.get(variable) or "")

    host = str(database.get("HOST") or "") or given("host", "PGHOST")
    address = given("hostaddr", "PGHOSTADDR")
    service = given("service", "PGSERVICE")
    if not service and is_local(host) and (not address or is_local(address)):
        return ""
    where = f"The database at {host}" if host else "The database"
    advice = (
        "Add ?sslmode=verify-full&sslrootcert=/path/to/its-authority.pem to "
        "DATABASE_URL, or reach it on this machine."
    )
    mode = given("sslmode", "PGSSLMODE")
    # The system's authorities make libpq verify fully unless told otherwise.
    if mode != "verify-full" and not (
        not mode and given("sslrootcert", "PGSSLROOTCERT") == "system"
    ):
        seen = f" (sslmode={mode})" if mode.replace("-", "").isalpha() else ""
        return (
            f"{where} is reached without TLS that checks who answers{seen}, so "
            f"somebody in between could read and change everything. {advice}"
        )
    if given("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION") in _OLD_TLS:
        return (
            f"{where} may be reached with a TLS version below 1.2. Take "
            "ssl_min_protocol_version out of DATABASE_URL."
        )
    return ""


def broker_problem(urls: str) -> str:
    """Return why a message broker is not reached safely, or an empty text."""
    for url in urls.split(";"):
        try:
            parts = urlsplit(url)
            scheme, host = parts.scheme, parts.hostname or ""
            names = [name for name, _value in parse_qsl(parts.query)]
        except ValueError:
            return "BROKER_URL cannot be read as an address."
        if scheme in _LOCAL_BROKERS:
            continue
        if any(name.startswith("ssl") for name in names):
            return (
                "BROKER_URL says how TLS is checked. The console always checks it "
                "whole: take what begins with ssl out of BROKER_URL, and name a "
                "private authority in BROKER_CA_FILE."
            )
        if scheme in _TLS_BROKERS or (scheme in _PLAIN_BROKERS and is_local(host)):
            continue
        if scheme in _PLAIN_BROKERS:
            return (
                f"The message broker at {host} is reached without TLS, so somebody in "
                f"between could read and give orders. Write BROKER_URL with "
                f"{_PLAIN_BROKERS[scheme]}:// and have the broker offer TLS, or reach "
                "it on this machine."
            )
        return (
            "The console cannot tell whether this kind of message broker is reached "
            "safely. Use rediss:// or amqps://, or a broker on this machine."
        )
    return ""


def broker_tls(urls: str, *, ca_file: str, suites: str) -> dict[str, Any] | bool:
    """Return Celery's `broker_use_ssl`; False where no TLS is spoken.

    Without it kombu takes any certificate of a Redis server, and one for any host of
    a RabbitMQ server. `ca_file` holds the authority that the broker's comes from;
    without it the machine's are trusted.
    """
    url = urls.partition(";")[0]
    scheme = url.partition(":")[0]
    if scheme == "rediss":
        return {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            "ssl_ciphers": suites,
            **({"ssl_ca_certs": ca_file} if ca_file else {}),
        }
    if scheme == "amqps":
        return {
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": urlsplit(url).hostname,
            "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
            "ciphers": suites,
            **({"ca_certs": ca_file} if ca_file else {}),
        }
    return False


def is_local(hosts: str) -> bool:
    """Tell whether every one of libpq's hosts is a Unix socket or this machine."""
    return all(
        not host
        or host.startswith(("/", "@"))
        or host == "localhost"
        or _is_loopback(host)
        for host in hosts.split(",")
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def database_in_words(connection: BaseDatabaseWrapper) -> str:
    """Return how the database in use is reached, as the server itself says."""
    if connection.vendor != "postgresql":
        return f"{connection.display_name} answers, from a file on this machine."
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        version, cipher = cursor.fetchone() or (None, None)
    if version:
        spoken = str(version).replace("TLSv", "TLS ")
        return f"{connection.display_name} answers over {spoken}, {cipher}."
    where = (
        "on this machine"
        if is_local(connection.settings_dict["HOST"])
        else "without TLS"
    )
    return f"{connection.display_name} answers, {where}."


def broker_in_words(urls: str) -> str:
    """Return which broker is in use and how it is reached, without any password."""
    parts = urlsplit(urls.partition(";")[0])
    if parts.scheme == "filesystem":
        return "Files on this machine"
    name = "Redis" if parts.scheme.startswith("redis") else "RabbitMQ"
    if parts.scheme in _TLS_BROKERS:
        return f"{name} at {parts.hostname}, over TLS"
    if parts.scheme in _LOCAL_BROKERS or is_local(parts.hostname or ""):
        return f"{name} on this machine"
    return f"{name} at {parts.hostname}, without TLS"
