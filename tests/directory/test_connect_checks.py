"""System checks and preconditions: what must be right before a tenant is connected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone

from directory import checks, clouds, preconditions, registrations, tasks
from directory.entra import CLOUDS, PUBLIC, Cloud, Egress
from directory.models import WorkerHeartbeat
from jamfidp.accounts.models import User
from jamfidp.components import Check
from tests.conftest import Sandbox
from tests.directory.entra.far_ends import Proxy
from tests.directory.journey import browser_for, register

HERE = "http://localhost:8000"


def ids(found: Any) -> list[str]:
    return [message.id for message in found]


# --- Start-up and system checks -----------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com:8443",
        "http://127.0.0.1:8443",
        "https://127.0.0.1.evil.example",
        "https://user@127.0.0.1:8443",
        "https://127.0.0.1:8443/path",
    ],
)
def test_a22_a44_a_sandbox_that_is_not_on_loopback_stops_the_console(
    settings: Any, url: str
) -> None:
    settings.ENTRA_SANDBOX_URL, settings.ENTRA_SANDBOX_CA_FILE = url, "ca.pem"

    with pytest.raises(ImproperlyConfigured, match="ENTRA_SANDBOX_URL"):
        clouds.refuse_a_misplaced_sandbox()
    assert clouds.sandbox() is None
    assert [cloud.key for cloud in clouds.available()] == list(CLOUDS)


def test_a22_a_sandbox_is_no_cloud_of_a_console_in_production(settings: Any) -> None:
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:8443"
    settings.ENTRA_SANDBOX_CA_FILE = "ca.pem"
    clouds.refuse_a_misplaced_sandbox()
    assert clouds.available()[-1].key == "SANDBOX"

    settings.PRODUCTION = True

    with pytest.raises(ImproperlyConfigured, match="in production"):
        clouds.refuse_a_misplaced_sandbox()
    assert [cloud.key for cloud in clouds.available()] == list(CLOUDS)


def test_without_a_sandbox_there_is_no_sandbox_cloud(settings: Any) -> None:
    settings.ENTRA_SANDBOX_URL = ""

    clouds.refuse_a_misplaced_sandbox()
    with pytest.raises(clouds.CloudUnavailable, match="not switched on"):
        clouds.cloud("SANDBOX")
    with pytest.raises(clouds.CloudUnavailable, match="not known"):
        clouds.cloud("MOON")


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("", False),
        ("http://proxy.example:3128", False),
        ("https://operator:canary@proxy.example", False),
        ("proxy.example:3128", True),
        ("socks5://proxy.example:1080", True),
        ("http://", True),
        ("http://[::1", True),
        ("http://proxy.example:port", True),
        ("http://proxy.example/path", True),
    ],
)
def test_a_proxy_that_cannot_be_one_stops_the_console(
    settings: Any, proxy: str, problem: bool
) -> None:
    settings.OUTGOING_PROXY = proxy

    found = checks.the_way_out_is_usable(None)

    assert ids(found) == ["directory.E004"] * problem
    assert "canary" not in str(found)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_authorities_that_cannot_be_read_stop_the_console(
    settings: Any, tmp_path: Path, content: str | None
) -> None:
    authorities = tmp_path / "authorities.pem"
    if content is not None:
        authorities.write_text(content)
    settings.OUTGOING_CA_FILE = str(authorities)
    assert ids(checks.the_way_out_is_usable(None)) == ["directory.E005"]

    trustme.CA().cert_pem.write_to_path(authorities)
    assert ids(checks.the_way_out_is_usable(None)) == []


def test_the_way_out_is_for_microsofts_clouds_and_not_for_the_sandbox(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.OUTGOING_PROXY = "http://proxy.example:3128"
    settings.OUTGOING_NO_PROXY = "graph.microsoft.com"
    settings.OUTGOING_CA_FILE = "authorities.pem"

    public = clouds.cloud("PUBLIC").egress
    assert public.proxy_for("login.microsoftonline.com") == "http://proxy.example:3128"
    assert public.proxy_for("graph.microsoft.com") == ""
    assert public.ca_file == "authorities.pem"
    assert clouds.cloud("SANDBOX").egress == Egress()


def test_unreadable_signing_keys_stop_the_console(settings: Any) -> None:
    assert ids(checks.signing_keys_are_readable(None)) == []

    settings.CONSOLE_SIGNING_KEY = "rubbish"
    settings.CONNECTOR_PUBLIC_KEY = "rubbish"

    assert ids(checks.signing_keys_are_readable(None)) == ["directory.E003"] * 2


@pytest.mark.parametrize("keys", [[], ["broken"]])
def test_a_deployment_without_encryption_key_is_warned(
    settings: Any, keys: list[str]
) -> None:
    assert ids(checks.secrets_can_be_kept(None)) == []

    settings.ENCRYPTION_KEYS = keys

    assert ids(checks.secrets_can_be_kept(None)) == ["directory.W001"]


# --- Preconditions -----------------------------------------------------------------


@pytest.fixture
def cloud(sandbox: Sandbox, administrator: User) -> Cloud:
    register(sandbox, administrator)
    return clouds.cloud("SANDBOX")


def nobody(_: str) -> None:
    """A worker that is asked and does not answer."""


def checked(
    cloud: Cloud,
    *,
    here: str = HERE,
    later: int = 0,
    ask_worker: Callable[[str], None] = nobody,
) -> dict[str, Check]:
    found = preconditions.check(
        cloud,
        registration=registrations.find_registration(cloud.key),
        browser_address=here,
        ask_worker=ask_worker,
        now=timezone.now() + timedelta(seconds=later),
    )
    return {check.label: check for check in found.checks}


def test_everything_is_ready_and_each_check_says_why(cloud: Cloud) -> None:
    WorkerHeartbeat.objects.create(name="one", at=timezone.now())

    found = checked(cloud, ask_worker=answering("one"))

    assert {check.state for check in found.values()} == {"good"}
    assert set(found) == {
        "Hosting tier",
        "Address of the console",
        "Encryption key",
        "Entra ID application",
        "Microsoft's sign-in host",
        "Microsoft Graph",
        "Worker",
        "Clock",
    }
    assert (
        "because the cloud is the sandbox" in found["Address of the console"].evidence
    )


def test_a_console_on_premises_cannot_connect(cloud: Cloud, settings: Any) -> None:
    settings.HOSTING_TIER = "ON_PREMISES"
    assert checked(cloud)["Hosting tier"].state == "bad"

    settings.HOSTING_TIER = "PREMIUM_CLOUD"
    assert checked(cloud)["Hosting tier"].state == "good"


def test_another_address_in_the_browser_cannot_connect(cloud: Cloud) -> None:
    found = checked(cloud, here="http://127.0.0.1:8000")["Address of the console"]

    assert found.state == "bad"
    assert "http://127.0.0.1:8000" in found.evidence


def test_plain_http_is_no_more_than_tolerated_for_microsofts_clouds(
    db: None,
) -> None:
    found = {
        check.label: check
        for check in preconditions.local(
            PUBLIC, registration=None, browser_address=HERE, now=timezone.now()
        )
    }["Address of the console"]

    assert found.state == "attention"


def test_a_lost_key_and_an_unreadable_credential_cannot_connect(
    cloud: Cloud, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []

    found = checked(cloud)

    assert found["Encryption key"].state == "bad"
    assert found["Entra ID application"].state == "bad"
    assert "cannot be read" in found["Entra ID application"].evidence


def test_a_cloud_without_registration_cannot_connect(
    sandbox: Sandbox, db: None
) -> None:
    assert checked(clouds.cloud("SANDBOX"))["Entra ID application"].state == "bad"


def test_the_evidence_says_which_tls_was_spoken(cloud: Cloud) -> None:
    found = checked(cloud)

    for label in ("Microsoft's sign-in host", "Microsoft Graph"):
        assert "answers the console over TLS 1.3." in found[label].evidence


def test_a_web_page_in_place_of_a_host_cannot_connect(
    cloud: Cloud, sandbox: Sandbox
) -> None:
    sandbox.control(
        "POST",
        "faults",
        {
            "path": "/",
            "status": 200,
            "headers": {"content-type": "text/html"},
            "body": "<html>Accept the terms of this network.",
            "times": 2,
        },
    )

    found = checked(cloud)

    for label in ("Microsoft's sign-in host", "Microsoft Graph"):
        assert found[label].state == "bad"
        assert "Something else answered" in found[label].evidence
    assert found["Clock"].state == "unknown"


@pytest.mark.parametrize(
    ("proxy", "direct", "authorities", "words"),
    [
        ("", "", "", "Directly"),
        ("", "login.example", "", "Directly"),
        (
            "http://operator:canary@proxy.example:3128",
            "",
            "",
            "Through the proxy proxy.example:3128",
        ),
        (
            "https://proxy.example",
            "login.example",
            "/etc/ca.pem",
            "Through the proxy proxy.example, and directly to login.example; the "
            "authorities in /etc/ca.pem are trusted besides the public ones",
        ),
    ],
)
def test_the_system_page_says_how_microsoft_is_reached(
    settings: Any,
    console: Client,
    proxy: str,
    direct: str,
    authorities: str,
    words: str,
) -> None:
    settings.OUTGOING_PROXY, settings.OUTGOING_NO_PROXY = proxy, direct
    settings.OUTGOING_CA_FILE = authorities

    page = console.get("/settings/system/").content.decode()

    assert clouds.egress_in_words() == words
    assert words in page
    assert "canary" not in page


def test_the_evidence_names_the_proxy_without_its_password(
    administrator: User, settings: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    settings.OUTGOING_CA_FILE = str(path)
    with Proxy(authority).running() as proxy:
        settings.OUTGOING_PROXY = f"http://operator:canary@{proxy.address}"
        found = checked(clouds.cloud("PUBLIC"))

    login = found["Microsoft's sign-in host"]
    assert login.state == "good"
    assert f"over TLS 1.3, through the proxy {proxy.address}." in login.evidence
    assert "canary" not in str(found)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def test_a_host_that_does_not_answer_cannot_connect(
    cloud: Cloud, settings: Any
) -> None:
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"

    found = checked(clouds.cloud("SANDBOX"))

    assert found["Microsoft's sign-in host"].state == "bad"
    assert found["Microsoft Graph"].state == "bad"
    assert found["Clock"].state == "unknown"


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "good"), (100, "good"), (140, "bad"), (-140, "bad")]
)
def test_the_clock_may_differ_by_two_minutes(
    cloud: Cloud, seconds: int, state: str
) -> None:
    assert checked(cloud, later=seconds)["Clock"].state == state


def answering(worker: str) -> Callable[[str], None]:
    def ask(cloud_key: str) -> None:
        preconditions.record_hosts(
            worker=worker, cloud_key=cloud_key, now=timezone.now()
        )

    return ask


def test_a_worker_says_itself_whether_it_reaches_microsoft(
    cloud: Cloud, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preconditions, "WORKER_LOOK_SECONDS", 0.0)
    WorkerHeartbeat.objects.create(name="one", at=timezone.now())
    silent = checked(cloud)["Worker"]
    assert (silent.state, "has not answered yet" in silent.evidence) == (
        "unknown",
        True,
    )

    reachable = settings.ENTRA_SANDBOX_URL
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"
    answering("one")("SANDBOX")
    settings.ENTRA_SANDBOX_URL = reachable
    cut_off = checked(cloud)["Worker"]
    assert cut_off.state == "bad"
    assert "127.0.0.1:9" in cut_off.evidence

    # An answer counts for a minute, then the worker is asked again.
    row = WorkerHeartbeat.objects.get()
    row.hosts["SANDBOX"]["at"] = (timezone.now() - timedelta(minutes=2)).isoformat()
    row.save()
    assert checked(cloud, ask_worker=answering("one"))["Worker"].state == "good"


def test_the_wizard_asks_a_worker_and_survives_a_broker_that_is_gone(
    cloud: Cloud, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preconditions, "WORKER_LOOK_SECONDS", 0.0)
    WorkerHeartbeat.objects.create(name="one", at=timezone.now())
    asked: list[Any] = []

    def gone(**options: Any) -> None:
        asked.append(options)
        raise OSError

    monkeypatch.setattr(tasks.check_hosts, "apply_async", gone)
    address = "/settings/cloud-idps/new/entra/?cloud=SANDBOX"

    shown = browser_for(administrator).get(address).content.decode()

    assert asked == [{"args": ("SANDBOX",)}]
    assert "has not answered yet" in shown


def test_the_task_writes_what_the_worker_reached(cloud: Cloud) -> None:
    tasks.check_hosts("SANDBOX")

    row = WorkerHeartbeat.objects.get()
    assert row.hosts["SANDBOX"]["problem"] == ""


def test_without_a_worker_one_can_connect_and_is_told(cloud: Cloud) -> None:
    never = checked(cloud)["Worker"]
    WorkerHeartbeat.objects.create(name="one", at=timezone.now() - timedelta(minutes=5))
    silent = checked(cloud)["Worker"]

    assert (never.state, silent.state) == ("attention", "attention")
    assert "None was ever heard of" in never.evidence
    assert "went silent" in silent.evidence


def test_the_page_lets_nobody_on_while_a_check_is_red(
    cloud: Cloud, administrator: User, settings: Any
) -> None:
    browser = browser_for(administrator)
    address = "/settings/cloud-idps/new/entra/?cloud=SANDBOX"
    assert "/new/entra/permissions/" in browser.get(address).content.decode()

    settings.HOSTING_TIER = "ON_PREMISES"

    shown = browser.get(address).content.decode()
    assert "The console is not ready for this cloud" in shown
    assert "/new/entra/permissions/" not in shown
    started = browser.post(
        "/settings/cloud-idps/new/entra/start/", {"cloud": "SANDBOX"}
    )
    assert started.status_code == 422
    assert "On premises" in started.content.decode()


def test_a_poisoned_host_header_never_becomes_the_redirect_uri(
    cloud: Cloud, administrator: User
) -> None:
    """A41"""
    evil = Client(HTTP_HOST="evil.example")
    evil.force_login(administrator)

    assert evil.get("/settings/cloud-idps/new/entra/").status_code == 400
    forwarded = browser_for(administrator)
    shown = forwarded.get(
        "/settings/entra-application/SANDBOX/", HTTP_X_FORWARDED_HOST="evil.example"
    ).content.decode()
    assert "evil.example" not in shown
