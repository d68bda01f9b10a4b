"""The Cloud Connector as a process of its own, without a database, for two consoles.

The connector is gunicorn over a socket. The consoles are this process: one after the
other takes the settings, as two deployments have their own.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.test import Client
from django.utils import timezone

from directory import connect, credentials, registrations
from directory.connector import messages
from directory.connector.messages import StartRequest
from directory.entra.sign_in import nonce_hash
from directory.models import (
    ApplicationRegistration,
    CloudIdentityProvider,
    ConsentRequest,
)
from jamfidp.accounts.models import User
from tests.conftest import ROOT, START_SECONDS, Sandbox, stop
from tests.directory.journey import Pages, answer_of, browser_for, register, saving

pytestmark = [pytest.mark.django_db, pytest.mark.processes]

Step = ConsentRequest.Step
CALLBACK = "/settings/cloud-idps/consent/callback/"
NEW = "/settings/cloud-idps/new/entra/start/"


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


# --- The connector -------------------------------------------------------------------


@dataclass
class Alone:
    """A connector that is served alone."""

    url: str
    folder: Path
    key: ec.EllipticCurvePrivateKey
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def serve(self, *consoles: Console) -> None:
        """Write the file of consoles; it is read anew for each request."""
        entries = [
            {
                "id": console.url,
                "return_url": console.return_url,
                "public_keys": [public_pem(console.key)],
                "client_ids": [console.client_id],
            }
            for console in consoles
        ]
        (self.folder / "consoles.json").write_text(json.dumps({"consoles": entries}))


@pytest.fixture(scope="module")
def connector_process(
    sandbox_process: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Alone]:
    folder = tmp_path_factory.mktemp("connector")
    key = ec.generate_private_key(ec.SECP256R1())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "consoles.json").write_text('{"consoles": []}')
    (folder / "key.pem").write_text(private_pem(key))
    url = f"http://localhost:{port}/connector"
    # Its settings and nothing of the console's: no database, no secret.
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PATH", "COVERAGE", "HOME", "LANG", "PYTHON"))
        },
        "DJANGO_SETTINGS_MODULE": "directory.connector.settings",
        "CONNECTOR_URL": url,
        "CONNECTOR_SIGNING_KEY_FILE": str(folder / "key.pem"),
        "CONNECTOR_CONSOLES_FILE": str(folder / "consoles.json"),
        "ENTRA_SANDBOX_URL": sandbox_process.url,
        "ENTRA_SANDBOX_CA_FILE": sandbox_process.ca_file,
        "VAR_DIR": str(folder),
        # The coverage of templates says with a traceback that it cannot count here.
        "PYTHONWARNINGS": "ignore:Disabling plug-in",
    }
    run(environment, "manage.py", "collectstatic", "--no-input", "--verbosity=0")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "directory.connector.wsgi:application",
                f"--bind=127.0.0.1:{port}",
                "--worker-class=gthread",
                "--threads=4",
                "--access-logfile=-",
                "--access-logformat=%(h)s %(m)s %(U)s %(s)s %(B)s %(M)sms",
            ],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    alone = Alone(url, folder, key, environment, process)
    deadline = time.monotonic() + START_SECONDS
    while not answers(f"http://localhost:{port}/health/"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"The connector did not start:\n{alone.log}")
        time.sleep(0.05)
    yield alone
    stop(process)


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def answers(address: str) -> bool:
    session = requests.Session()
    session.trust_env = False
    try:
        return session.get(address, timeout=5).ok
    except requests.RequestException:
        return False


# --- The consoles --------------------------------------------------------------------


@dataclass
class Console:
    """One console: its address, its key, its application, and a browser at it."""

    url: str
    key: ec.EllipticCurvePrivateKey
    registration: ApplicationRegistration
    browser: Client
    settings: Any

    @property
    def client_id(self) -> str:
        return self.registration.client_id

    @property
    def return_url(self) -> str:
        return f"{self.url}{CALLBACK}"

    def act(self) -> Console:
        """From now on this process is this console."""
        self.settings.CONSOLE_URL = self.url
        self.settings.CONSOLE_SIGNING_KEY = private_pem(self.key)
        self.settings.ALLOWED_HOSTS = [urlsplit(self.url).hostname]
        return self

    def sign(self, alone: Alone, **changes: Any) -> str:
        """A start request as this console would make it, changed."""
        now = changes.pop("now", timezone.now())
        key = changes.pop("key", self.key)
        asked = StartRequest(
            **(
                {
                    "console_id": self.url,
                    "return_url": self.return_url,
                    "cloud": "SANDBOX",
                    "client_id": self.client_id,
                    "tenant": "",
                    "state": "state",
                    "nonce_hash": "nonce",
                    "code_challenge": "c" * 43,
                }
                | changes
            )
        )
        signed = messages.sign_start(asked, audience=alone.url, key=key, now=now)
        return f"{alone.url}/start/?{urlencode({'request': signed})}"


@dataclass
class Flow:
    """One attempt, in one browser, from a console over the connector and back."""

    console: Console
    alone: Alone
    sandbox: Sandbox
    pages: Pages = field(default_factory=Pages)

    def begin(self) -> str:
        self.console.act()
        own = self.console.registration
        data = {"cloud": "SANDBOX"} | (
            {"registration": own.pk} if own.for_one_connection else {}
        )
        response = self.console.browser.post(NEW, data)
        assert response.status_code == 303, response.content.decode()
        return str(response["Location"])

    def renew(self, cloud_idp: CloudIdentityProvider) -> str:
        self.console.act()
        response = self.console.browser.post(
            f"/settings/cloud-idps/{cloud_idp.pk}/consent-again/"
        )
        assert response.status_code == 303, response.content.decode()
        return str(response["Location"])

    def start_link(self, page: str) -> str:
        text = self.console.browser.get(page).content.decode()
        match = re.search(r'href="([^"]*/start/\?request=[^"]*)"', text)
        assert match, text
        return match.group(1)

    def go(self, address: str) -> str:
        """Open an address of the connector or of Microsoft; where does it lead?"""
        response = self.pages.open(address)
        assert response.status_code in (302, 303), response.text
        return str(requests.compat.urljoin(address, response.headers["Location"]))

    def consent(self, page: str, tenant: int = 0) -> str:
        """Accept at Microsoft; returns the connector's address for the answer."""
        admin = self.sandbox.tenants[tenant]["global_admin"]
        microsoft = self.go(self.start_link(page))
        shown = self.pages.sign_in(microsoft, admin["upn"], admin["password"])
        back = self.pages.send(shown, step="consent", action="accept")
        return str(back.headers["Location"])

    def to_code(self, consent_answer: str) -> str:
        """From the consent answer to the connector's address with the code."""
        return self.go(self.go(consent_answer))

    def to_console(self, code_answer: str) -> str:
        """Through 'Continue'; returns the console's callback with the answer."""
        waiting = self.go(code_answer)
        shown = self.pages.open(waiting)
        assert self.console.url in shown.text
        match = re.search(r'href="([^"]*/go/)"', shown.text)
        assert match, shown.text
        return self.go(f"{waiting.partition('/connector/')[0]}{match.group(1)}")

    def answered(self, tenant: int = 0) -> tuple[str, str]:
        """Everything before the console; returns the attempt and the callback."""
        page = self.begin()
        return page, self.to_console(self.to_code(self.consent(page, tenant)))

    def take(self, callback: str) -> str:
        """Open the callback at the console it leads to."""
        assert callback.startswith(f"{self.console.url}/"), callback
        response = self.console.browser.get(callback.removeprefix(self.console.url))
        assert response.status_code == 303
        return str(response["Location"])

    def verify(self, page: str) -> ConsentRequest:
        self.console.browser.post(f"{page}verify/")
        return self.attempt(page)

    def attempt(self, page: str) -> ConsentRequest:
        return ConsentRequest.objects.get(pk=int(page.rstrip("/").rpartition("/")[2]))

    def end_session(self, page: str) -> None:
        """Through Microsoft's sign-out, by the connector, and back to the attempt."""
        ending = self.console.browser.get(page)["Location"]
        text = self.console.browser.get(ending).content.decode()
        match = re.search(r'href="([^"]*/end/\?request=[^"]*)"', text)
        assert match, text
        back = self.go(self.go(self.go(match.group(1))))
        assert self.take(back) == page

    def connect(self, name: str, tenant: int = 0) -> CloudIdentityProvider:
        page, callback = self.answered(tenant)
        assert self.take(callback) == page
        assert self.verify(page).step == Step.VERIFIED
        self.end_session(page)
        saved = self.console.browser.post(page, saving(display_name=name))
        assert saved.status_code == 303, saved.content.decode()
        return CloudIdentityProvider.objects.get(display_name=name)

    def refused(self, address: str) -> str:
        """The sentence of the connector's refusal, at an address without a query."""
        page = self.go(address)
        assert "?" not in page
        assert page.startswith(f"{self.alone.url}/refused/")
        answer = self.pages.open(page)
        assert answer.status_code == 400
        assert "did not pass this on" in answer.text
        return " ".join(answer.text.split())

    def turned_away(self, callback: str) -> str:
        """The sentence of the console's refusal, at an address without a query."""
        page = self.take(callback)
        assert "?" not in page
        answer = self.console.browser.get(page)
        assert answer.status_code == 400
        return " ".join(answer.content.decode().split())


@pytest.fixture
def alone(
    connector_process: Alone,
    sandbox: Sandbox,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Alone:
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.0)
    settings.CONNECTOR_URL = connector_process.url
    settings.CONNECTOR_PUBLIC_KEY = public_pem(connector_process.key)
    return connector_process


@pytest.fixture
def first(
    alone: Alone, sandbox: Sandbox, administrator: User, settings: Any
) -> Console:
    return Console(
        "http://localhost:8000",
        ec.generate_private_key(ec.SECP256R1()),
        register(sandbox, administrator),
        browser_for(administrator),
        settings,
    )


@pytest.fixture
def second(
    alone: Alone, sandbox: Sandbox, administrator: User, settings: Any
) -> Console:
    """Another console, with an application of its own, at another address."""
    application = sandbox.control(
        "POST",
        "applications",
        {
            "display_name": "Second console",
            "redirect_uris": [
                f"{alone.url}/{end}/" for end in ("consent", "code", "signed-out")
            ],
            "delegated": ["User.Read"],
            "application": ["User.Read.All", "GroupMember.Read.All"],
        },
    )
    client_id = application["client_id"]
    secret = sandbox.control("POST", f"applications/{client_id}/secrets", {})
    now = timezone.now()
    own = registrations.create_own(
        cloud_key="SANDBOX", client_id=client_id, actor=administrator, now=now
    )
    credentials.add_secret(
        own, secret=secret["value"], expires_at=None, actor=None, now=now
    )
    browser = Client(HTTP_HOST="127.0.0.1:8001")
    browser.force_login(administrator)
    settings.CONSOLE_URL = "http://127.0.0.1:8001"
    return Console(
        "http://127.0.0.1:8001",
        ec.generate_private_key(ec.SECP256R1()),
        own,
        browser,
        settings,
    )


@pytest.fixture
def flow(alone: Alone, first: Console, second: Console, sandbox: Sandbox) -> Flow:
    """An attempt of the first console; the connector serves both."""
    alone.serve(first, second)
    return Flow(first.act(), alone, sandbox)


# --- Several consoles ----------------------------------------------------------------


def test_two_consoles_connect_through_it_and_a_third_is_refused(
    flow: Flow, alone: Alone, first: Console, second: Console, sandbox: Sandbox
) -> None:
    one = flow.connect("Fernhill")
    other = Flow(second, alone, sandbox).connect("Quarrel", tenant=1)

    assert one.tenant_id == sandbox.tenants[0]["id"]
    assert one.own_registration is None
    assert other.tenant_id == sandbox.tenants[1]["id"]
    assert other.own_registration == second.registration
    third = Console(
        "https://third.example",
        ec.generate_private_key(ec.SECP256R1()),
        first.registration,
        Client(),
        first.settings,
    )
    assert "a console that this connector does not serve" in flow.refused(
        third.sign(alone)
    )


def test_it_has_no_database_and_looks_nothing_up(flow: Flow, alone: Alone) -> None:
    """With no DATABASES at all, any query is an error; nothing of rows is loaded."""
    flow.connect("Fernhill")
    program = """
import sys, django
django.setup()
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.urls import get_resolver
assert settings.DATABASES == {}
try:
    connection.cursor()
except ImproperlyConfigured:
    pass
else:
    sys.exit("a query is possible")
get_resolver().url_patterns
loaded = {"directory.models", "directory.credentials", "jamfidp.accounts.models",
          "jamfidp.settings", "directory.sandbox", "celery"} & set(sys.modules)
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""
    done = run(alone.environment, "-c", program)

    assert (done.returncode, done.stderr) == (0, "")
    assert "ImproperlyConfigured" not in alone.log
    assert "Traceback" not in alone.log
    assert " 500 " not in alone.log


def test_a46_its_log_holds_no_code_request_or_answer(flow: Flow, alone: Alone) -> None:
    page = flow.begin()
    link = flow.start_link(page)
    code_answer = flow.to_code(flow.consent(page))
    callback = flow.to_console(code_answer)

    carried = {
        value
        for address in (link, code_answer, callback)
        for value in answer_of(address).values()
        if len(value) > 20
    }
    assert len(carried) >= 4
    assert "/connector/code/" in alone.log
    for value in carried:
        assert value not in alone.log


def test_every_page_is_kept_by_nobody_and_tells_nobody_where_it_was(
    flow: Flow, alone: Alone
) -> None:
    root = alone.url.removesuffix("/connector")
    for address in (
        f"{alone.url}/refused/signature/",
        f"{alone.url}/start/?request=x",
        f"{alone.url}/code/?state=a.b&code=x",
        f"{root}/nowhere/",
        f"{root}/health/",
        f"{root}/settings/cloud-idps/",
    ):
        answer = flow.pages.open(address)
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in answer.headers
    nowhere = flow.pages.open(f"{root}/nowhere/")
    assert nowhere.status_code == 404
    assert "There is nothing at this address" in nowhere.text
    style = re.search(r'href="(/static/[^"]+\.css)"', nowhere.text)
    assert style
    assert flow.pages.open(f"{root}{style.group(1)}").status_code == 200


# --- Attacks: the rows of docs/security.md -------------------------------------------


def test_a1_an_answer_without_state_is_refused(flow: Flow, alone: Alone) -> None:
    for step in ("consent", "code"):
        said = flow.refused(f"{alone.url}/{step}/?code=x&tenant=y")
        assert "does not say which request it belongs to" in said
    assert "The answer is missing" in flow.turned_away(f"{flow.console.url}{CALLBACK}")


def test_a2_an_answer_in_another_browser_is_refused(
    flow: Flow, alone: Alone, sandbox: Sandbox, administrator: User
) -> None:
    page = flow.begin()
    answer = flow.consent(page)
    other = Flow(flow.console, alone, sandbox)
    assert "this browser did not begin" in other.refused(answer)

    callback = flow.to_console(flow.to_code(answer))
    stranger = Flow(
        Console(
            flow.console.url,
            flow.console.key,
            flow.console.registration,
            browser_for(administrator),
            flow.console.settings,
        ),
        alone,
        sandbox,
    )
    assert "belongs to another browser" in stranger.turned_away(callback)
    # It stays open for its own browser.
    assert flow.take(callback) == page


def test_a3_an_answer_is_taken_once_at_every_step(flow: Flow) -> None:
    page = flow.begin()
    consent_answer = flow.consent(page)
    code_answer = flow.to_code(consent_answer)
    assert "was already taken" in flow.refused(consent_answer)
    callback = flow.to_console(code_answer)
    # The browser's cookie went with the answer.
    assert "this browser did not begin" in flow.refused(code_answer)

    assert flow.take(callback) == page
    assert "The answer was already used" in flow.turned_away(callback)
    assert flow.verify(page).step == Step.VERIFIED


def test_a4_what_is_older_than_ten_minutes_is_refused(
    flow: Flow, alone: Alone, first: Console
) -> None:
    long_ago = timezone.now() - timedelta(minutes=11)
    assert "older than ten minutes" in flow.refused(first.sign(alone, now=long_ago))
    page, callback = flow.answered()
    ConsentRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "The attempt has expired" in flow.turned_away(callback)
    assert flow.attempt(page).step == Step.STARTED


def test_a5_the_nonce_of_another_attempt_connects_nothing(
    flow: Flow, sandbox: Sandbox
) -> None:
    other = flow.attempt(flow.begin())
    nonce = connect._unseal(other)["nonce"]
    page, callback = flow.answered()
    flow.take(callback)
    sandbox.control("POST", "forge", {"claims": {"nonce": nonce_hash(nonce)}})

    assert flow.verify(page).failure["code"] == "id_token:nonce"
    assert not CloudIdentityProvider.objects.exists()


def test_a37_another_tenant_in_the_answer_of_a_renewal_is_refused(
    flow: Flow, sandbox: Sandbox
) -> None:
    cloud_idp = flow.connect("Fernhill")
    ours, other = (tenant["id"] for tenant in sandbox.tenants[:2])
    flow.pages = Pages()
    page = flow.renew(cloud_idp)
    answer = flow.consent(page)

    assert flow.take(flow.go(answer.replace(ours, other))) == page

    failure = flow.attempt(page).failure
    assert failure["kind"] == "OtherTenant"
    assert other in failure["message"]
    assert "Nothing was changed" in failure["advice"]


def test_a37_a_swapped_tenant_is_proven_or_refused(
    flow: Flow, sandbox: Sandbox
) -> None:
    """The attacker is known in the other tenant and signs in there, without consent."""
    ours, other = (tenant["id"] for tenant in sandbox.tenants[:2])
    page = flow.begin()
    answer = flow.consent(page)
    microsoft = flow.go(answer.replace(ours, other))
    flow.pages.session.cookies.clear(domain="127.0.0.1")
    admin = sandbox.tenants[1]["global_admin"]
    shown = flow.pages.sign_in(microsoft, admin["upn"], admin["password"])
    back = flow.pages.send(shown, step="consent", action="accept")

    flow.take(flow.to_console(str(back.headers["Location"])))
    attempt = flow.verify(page)

    assert attempt.step == Step.FAILED
    assert attempt.failure["kind"] in {"ConsentMissing", "PermissionMissing"}
    assert not CloudIdentityProvider.objects.exists()


def test_a38_consent_that_says_true_beside_an_error_is_none(
    flow: Flow, sandbox: Sandbox
) -> None:
    page = flow.begin()
    admin = sandbox.tenants[0]["global_admin"]
    microsoft = flow.go(flow.start_link(page))
    shown = flow.pages.sign_in(microsoft, admin["upn"], admin["password"])
    back = str(
        flow.pages.send(shown, step="consent", action="cancel").headers["Location"]
    )
    assert "admin_consent=True" in back

    assert flow.take(flow.go(back)) == page

    assert flow.attempt(page).failure["kind"] == "ConsentDeclined"


def test_a39_an_answer_for_one_console_played_to_another_is_refused(
    flow: Flow, alone: Alone, second: Console, sandbox: Sandbox
) -> None:
    _, callback = flow.answered()
    second.act()

    played = callback.replace(flow.console.url, second.url)

    said = Flow(second, alone, sandbox).turned_away(played)
    assert "The answer was made for another console" in said
    assert not CloudIdentityProvider.objects.exists()


def test_a39_a_request_of_a_console_it_does_not_serve_leads_nowhere(
    flow: Flow, alone: Alone, first: Console
) -> None:
    stolen = ec.generate_private_key(ec.SECP256R1())
    for changes, sentence in (
        ({"console_id": "https://evil.example"}, "a console that this connector does"),
        ({"key": stolen}, "a key that this connector does not know"),
    ):
        assert sentence in flow.refused(first.sign(alone, **changes))
    link = first.sign(alone)
    damaged = link[:-8] + ("AAAAAAAA" if not link.endswith("AAAAAAAA") else "BBBBBBBB")
    assert "changed on its way" in flow.refused(damaged)


def test_a39_the_application_of_another_console_is_refused(
    flow: Flow, alone: Alone, first: Console, second: Console
) -> None:
    said = flow.refused(first.sign(alone, client_id=second.client_id))
    assert "an application that does not belong to the console" in said


def test_a39_a_connector_with_another_key_is_not_believed(
    flow: Flow, settings: Any
) -> None:
    page, callback = flow.answered()
    settings.CONNECTOR_PUBLIC_KEY = public_pem(ec.generate_private_key(ec.SECP256R1()))

    said = flow.turned_away(callback)

    assert "a key that this console does not know" in said
    assert "CONNECTOR_PUBLIC_KEY" in said
    assert flow.attempt(page).step == Step.STARTED


def test_a40_answers_go_to_the_exact_return_address_alone(
    flow: Flow, alone: Alone, first: Console
) -> None:
    for address in (
        "https://evil.example/",
        f"{first.return_url}?next=https://evil.example",
        f"{first.return_url}../",
        f"{first.url}@evil.example{CALLBACK}",
        "//evil.example/",
        "javascript:alert(1)",
    ):
        said = flow.refused(first.sign(alone, return_url=address))
        assert "a return address that does not belong to the console" in said


def test_a41_another_host_name_is_refused_and_never_repeated(
    flow: Flow, alone: Alone
) -> None:
    for headers in (
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example"},
    ):
        answer = requests.get(  # noqa: TID251 - a browser with forged headers
            f"{alone.url}/start/?request=x",
            headers=headers,
            allow_redirects=False,
            timeout=10,
        )
        assert "evil.example" not in answer.text + answer.headers.get("Location", "")
        assert answer.status_code == (400 if "Host" in headers else 303)


def test_a42_the_code_of_one_attempt_does_not_fit_the_answer_of_another(
    flow: Flow, alone: Alone, sandbox: Sandbox
) -> None:
    page, callback = flow.answered()
    _, foreign = Flow(flow.console, alone, sandbox).answered(tenant=1)
    query = answer_of(callback) | {"code": answer_of(foreign)["code"]}

    said = flow.turned_away(f"{flow.console.return_url}?{urlencode(query)}")

    assert "The answer was changed on its way" in said
    assert flow.attempt(page).step == Step.FAILED
    assert not CloudIdentityProvider.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example/v2.0"},
        {"token_endpoint": "https://evil.example/token"},
        {"authorization_endpoint": "https://evil.example/authorize"},
    ],
    ids=["issuer", "token endpoint", "sign-in page"],
)
def test_a43_a_forged_openid_configuration_sends_nobody_away(
    flow: Flow, alone: Alone, first: Console, sandbox: Sandbox, changes: dict[str, str]
) -> None:
    tenant = sandbox.tenants[1]["id"]
    # A tenant that the connector has not asked about yet.
    other = tenant[:-4] + f"{len(str(changes)):04d}"
    known = requests.Session()
    known.trust_env = False
    document = known.get(
        f"{sandbox.url}/{tenant}/v2.0/.well-known/openid-configuration",
        verify=sandbox.ca_file,
        timeout=10,
    ).json()
    text = json.dumps(document | changes).replace(tenant, other)
    sandbox.control(
        "POST",
        "faults",
        {"path": f"/{other}/v2.0/", "status": 200, "body": json.loads(text)},
    )

    callback = flow.go(first.sign(alone, tenant=other))

    assert callback.startswith(f"{first.return_url}?")
    answer = connect.read_answer(answer_of(callback)["answer"], now=timezone.now())
    assert answer.problem is not None
    assert answer.problem.kind == "DiscoveryRefused"
    assert "evil" not in callback


# --- Starting it ---------------------------------------------------------------------


def test_it_prints_what_consoles_and_registrations_have_to_know(
    flow: Flow, alone: Alone, first: Console
) -> None:
    done = run(alone.environment, "-m", "directory.connector")

    assert done.returncode == 0, done.stderr
    for part in (
        f"CONNECTOR_URL={alone.url}",
        public_pem(alone.key).strip(),
        f"{alone.url}/consent/",
        f"{alone.url}/code/",
        f"{alone.url}/signed-out/",
        f"{first.url}, for 1 application",
    ):
        assert part in done.stdout
    assert "PRIVATE" not in done.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"CONNECTOR_URL": ""}, "CONNECTOR_URL is not set"),
        ({"CONNECTOR_URL": "http://connect.example.com"}, "an https address"),
        ({"CONNECTOR_SIGNING_KEY_FILE": ""}, "CONNECTOR_SIGNING_KEY is not set"),
        ({"CONNECTOR_CONSOLES_FILE": ""}, "CONNECTOR_CONSOLES_FILE is not set"),
        ({"CONNECTOR_CONSOLES_FILE": "/nowhere"}, "cannot be read: No such file"),
        (
            {
                "CONNECTOR_SIGNING_KEY_FILE": "",
                "CONNECTOR_SIGNING_KEY": "rubbish",
            },
            "is not a private key in PEM",
        ),
        ({"CONNECTOR_URL": "https://connect.example.com"}, "ENTRA_SANDBOX_URL is set"),
    ],
    ids=[
        "no address",
        "no https",
        "no key",
        "no file",
        "file not there",
        "no such key",
        "a sandbox in production",
    ],
)
def test_it_does_not_start_with_a_setting_missing_or_wrong(
    alone: Alone, change: dict[str, str], sentence: str
) -> None:
    environment = {k: v for k, v in (alone.environment | change).items() if v}

    done = run(environment, "-m", "directory.connector")

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
