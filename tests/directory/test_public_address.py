"""The console looks at its own address from outside, and says what it sees."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from django.core import signing
from django.test import Client
from django.utils import timezone

from directory import public_address, tasks
from directory.models import PublicAddressProbe
from jamfidp.components import Check
from jamfidp.notices.models import Notice
from tests.directory.entra.far_ends import Configure, speaking

TLS_1_0, TLS_1_2 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3
MODERN = "ECDHE+AESGCM:ECDHE+CHACHA20"

Answer = Callable[[str], tuple[int, bytes]]


def this_console(path: str) -> tuple[int, bytes]:
    """What the page behind /health/ answers; its own test is below."""
    (challenge,) = parse_qs(urlsplit(path).query)["challenge"]
    said = {"status": "ok", "answer": public_address.answer_to(challenge)}
    return 200, json.dumps(said).encode()


@dataclass
class Front:
    """What stands at the console's address and ends TLS."""

    authority: trustme.CA
    answer: Answer = this_console
    configure: Configure = field(default=speaking(TLS_1_2, TLS_1_3, MODERN))
    leaf: trustme.LeafCert | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @contextmanager
    def standing(self, settings: Any) -> Iterator[None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = self.leaf or self.authority.issue_cert(
            "localhost", key_type=trustme.KeyType.RSA
        )
        leaf.configure_cert(context)
        self.configure(context)
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(
            target=self._run, args=[listener, context], daemon=True
        )
        thread.start()
        settings.CONSOLE_URL = f"https://localhost:{listener.getsockname()[1]}"
        try:
            yield
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(timeout=5)

    def _run(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                plain, _address = listener.accept()
            except OSError:
                return
            self.connections += 1
            with (
                suppress(OSError),
                plain,
                context.wrap_socket(plain, server_side=True) as connection,
            ):
                request = connection.recv(65536)
                if request:
                    self.requests.append(request)
                    path = request.split()[1].decode()
                    status, body = self.answer(path)
                    connection.sendall(
                        f"HTTP/1.1 {status} So\r\nContent-Length: {len(body)}\r\n\r\n"
                        "".encode()
                        + body
                    )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.RSA)


@pytest.fixture(autouse=True)
def trusted(authority: trustme.CA, tmp_path: Path, settings: Any, db: None) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    settings.OUTGOING_CA_FILE = str(path)


def now() -> datetime:
    return timezone.now()


def looked(front: Front, settings: Any) -> dict[str, Check]:
    with front.standing(settings):
        row = public_address.look_and_keep(by="here", now=now())
        return by_label(row)


def by_label(row: PublicAddressProbe | None) -> dict[str, Check]:
    return {check.label: check for check in public_address.checks(row, now=now())}


def states(found: dict[str, Check]) -> dict[str, str]:
    return {label: check.state for label, check in found.items()}


# What is seen


def test_a_console_that_is_protected_is_told_so_with_evidence(
    authority: trustme.CA, settings: Any
) -> None:
    front = Front(authority)

    found = looked(front, settings)

    assert states(found) == {
        "Reached": "good",
        "TLS": "good",
        "Certificate": "good",
        "Who answers": "good",
        "Old versions": "good",
        "Forward secrecy": "good",
    }
    assert (
        f"{settings.CONSOLE_URL} at 127.0.0.1, from here." in found["Reached"].evidence
    )
    assert found["TLS"].evidence.startswith("TLS 1.3, TLS_")
    assert "Issued by trustme" in found["Certificate"].evidence
    assert found["Old versions"].evidence == "TLS 1.0 and TLS 1.1: refused."
    assert not Notice.objects.exists()


def test_nothing_is_sent_but_one_request_with_a_challenge(
    authority: trustme.CA, settings: Any
) -> None:
    front = Front(authority)

    looked(front, settings)

    (request,) = front.requests
    lines = request.decode().split("\r\n")
    assert re.fullmatch(r"GET /health/\?challenge=\S+ HTTP/1\.1", lines[0])
    assert {line.partition(":")[0] for line in lines[1:] if line} == {
        "Host",
        "Accept-Encoding",
    }
    # As a browser would, and three first flights.
    assert front.connections == 4


def test_old_versions_and_suites_without_secrecy_are_named_with_what_to_do(
    authority: trustme.CA, settings: Any
) -> None:
    front = Front(authority, configure=speaking(TLS_1_0, TLS_1_3))

    found = looked(front, settings)

    assert found["TLS"].state == "good"
    assert found["Old versions"].state == "bad"
    assert "TLS 1.0 and TLS 1.1: accepted" in found["Old versions"].evidence
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in found["Old versions"].evidence
    assert found["Forward secrecy"].state == "bad"
    assert "ECDHE" in found["Forward secrecy"].evidence


def test_a_console_that_offers_nothing_good_enough_is_bad(
    authority: trustme.CA, settings: Any
) -> None:
    old = speaking(TLS_1_0, TLS_1_0)

    found = looked(Front(authority, configure=old), settings)

    assert found["TLS"].state == "bad"
    assert "neither TLS 1.2 with forward secrecy nor TLS 1.3" in found["TLS"].evidence
    assert "TLS 1.0: accepted" in found["Old versions"].evidence
    assert "Who answers" not in found


def expired(authority: trustme.CA) -> trustme.LeafCert:
    past = datetime.now(UTC) - timedelta(days=1)
    return authority.issue_cert(
        "localhost", not_before=past - timedelta(days=9), not_after=past
    )


@pytest.mark.parametrize(
    ("leaf", "says"),
    [
        pytest.param(expired, "has expired", id="expired"),
        pytest.param(
            lambda ca: ca.issue_cert("other.example"), "another host", id="other host"
        ),
        pytest.param(
            lambda ca: trustme.CA().issue_cert("localhost"), "does not trust", id="CA"
        ),
    ],
)
def test_a_certificate_that_browsers_would_refuse_is_bad(
    authority: trustme.CA, settings: Any, leaf: Any, says: str
) -> None:
    found = looked(Front(authority, leaf=leaf(authority)), settings)

    assert found["TLS"].state == "bad"
    assert says in found["TLS"].evidence


def test_a_certificate_that_ends_soon_wants_attention(
    authority: trustme.CA, settings: Any
) -> None:
    soon = authority.issue_cert(
        "localhost",
        not_after=datetime.now(UTC) + timedelta(days=13),
        key_type=trustme.KeyType.RSA,
    )

    found = looked(Front(authority, leaf=soon), settings)

    assert found["Certificate"].state == "attention"
    assert "Renew it" in found["Certificate"].evidence


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(
            lambda path: (200, b'{"status":"ok"}'), "Something else", id="no answer"
        ),
        pytest.param(
            lambda path: (200, b'{"answer":"7"}'), "Something else", id="a wrong one"
        ),
        pytest.param(
            lambda path: (200, b'{"answer":7}'), "Something else", id="a number"
        ),
        pytest.param(lambda path: (200, b"[]"), "Something else", id="a list"),
        pytest.param(lambda path: (200, b"<html>"), "Something else", id="HTML"),
        pytest.param(lambda path: (502, b""), "Something else", id="502"),
        pytest.param(lambda path: (301, b""), "TRUSTED_PROXIES", id="a redirect"),
        pytest.param(lambda path: (400, b""), "ALLOWED_HOSTS", id="another host"),
        pytest.param(
            lambda path: (200, b" " * 10_000_000 + this_console(path)[1]),
            "Something else",
            id="the right one in a lot",
        ),
    ],
)
def test_somebody_else_at_the_address_is_not_taken_for_the_console(
    authority: trustme.CA, settings: Any, answer: Answer, says: str
) -> None:
    found = looked(Front(authority, answer=answer), settings)

    assert found["Who answers"].state == "bad"
    assert says in found["Who answers"].evidence
    # What was seen of TLS is true all the same.
    assert found["TLS"].state == "good"


def test_an_answer_that_never_comes_is_not_waited_for(
    authority: trustme.CA, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_address, "STEP_SECONDS", 0.5)
    released = threading.Event()

    def silent(path: str) -> tuple[int, bytes]:
        released.wait(5)
        return 200, b""

    front = Front(authority, answer=silent)
    with front.standing(settings):
        row = public_address.look_and_keep(by="here", now=now())
        released.set()

    assert by_label(row)["Who answers"].state == "unknown"


# What is not reached is not known


def test_an_address_that_is_not_reached_from_here_is_not_called_bad(
    settings: Any,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        settings.CONSOLE_URL = f"https://localhost:{unused.getsockname()[1]}"

    row = public_address.look_and_keep(by="worker-1", now=now())

    found = by_label(row)
    assert states(found) == {"Reached": "unknown"}
    assert "not reachable from worker-1" in found["Reached"].evidence
    assert "Browsers may reach it all the same" in found["Reached"].evidence
    assert not Notice.objects.exists()


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (socket.gaierror(-2, "Name or service not known"), "leads nowhere"),
        (TimeoutError(), "in time"),
        (OSError(113, "No route to host"), "No route to host"),
        (UnicodeError(), "no connection came about"),
    ],
)
def test_each_way_of_not_reaching_it_is_named(
    settings: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception, says: str
) -> None:
    settings.CONSOLE_URL = "https://console.example.com"

    def fail(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr(socket, "create_connection", fail)

    found = by_label(public_address.look_and_keep(by="here", now=now()))

    assert found["Reached"].state == "unknown"
    assert says in found["Reached"].evidence


def test_a_console_on_this_machine_alone_is_not_looked_at(settings: Any) -> None:
    settings.CONSOLE_URL = "http://localhost:8000"

    assert public_address.look_and_keep(by="here", now=now()) is None
    assert not public_address.claim_due(now=now())
    assert states(by_label(None)) == {"Reached": "good"}


# Kept, repeated, announced


def test_a_look_a_moment_ago_is_not_repeated(
    authority: trustme.CA, settings: Any
) -> None:
    front = Front(authority)
    first = now()
    with front.standing(settings):
        public_address.look_and_keep(by="here", now=first)
        public_address.look_and_keep(by="here", now=first + timedelta(seconds=9))
        assert front.connections == 4
        public_address.look_and_keep(by="here", now=first + timedelta(seconds=10))

    assert front.connections == 8


def test_one_worker_looks_once_a_day_and_again_when_it_got_lost(
    settings: Any,
) -> None:
    settings.CONSOLE_URL = "https://console.example.com"
    start = now()

    assert public_address.claim_due(now=start)
    assert not public_address.claim_due(now=start)
    assert not public_address.claim_due(now=start + timedelta(minutes=59))
    assert public_address.claim_due(now=start + timedelta(hours=1))

    PublicAddressProbe.objects.update(next_at=start + timedelta(hours=24))
    assert not public_address.claim_due(now=start + timedelta(hours=23))
    assert public_address.claim_due(now=start + timedelta(hours=24))


def test_a_worker_is_asked_when_it_is_time(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CONSOLE_URL = "https://console.example.com"
    asked: list[bool] = []
    monkeypatch.setattr(
        tasks.look_at_public_address, "apply_async", lambda: asked.append(True)
    )

    tasks.look_if_due(now=now())
    tasks.look_if_due(now=now())

    assert asked == [True]


def test_a_worker_looks_and_keeps_what_it_saw(
    authority: trustme.CA, settings: Any
) -> None:
    with Front(authority).standing(settings):
        tasks.look_at_public_address()

    row = PublicAddressProbe.objects.get()
    assert row.by == socket.gethostname()
    assert states(by_label(row))["TLS"] == "good"
    assert not public_address.claim_due(now=now())


def test_what_is_bad_is_announced_once_and_taken_back_when_it_is_mended(
    authority: trustme.CA, settings: Any
) -> None:
    bad = Front(authority, configure=speaking(TLS_1_0, TLS_1_3))
    looked(bad, settings)
    looked(bad, settings)
    (notice,) = Notice.objects.all()
    assert "not protected as they should be" in notice.title
    assert "Old versions: TLS 1.0 and TLS 1.1: accepted" in notice.body
    assert notice.link == "/settings/system/"

    # Not reached says nothing.
    settings.CONSOLE_URL = "https://localhost:9"
    public_address.look_and_keep(by="here", now=now())
    notice.refresh_from_db()
    assert notice.resolved_at is None

    looked(Front(authority), settings)
    notice.refresh_from_db()
    assert notice.resolved_at is not None


def test_the_look_at_another_address_is_forgotten(
    authority: trustme.CA, settings: Any
) -> None:
    looked(Front(authority), settings)
    looked(Front(authority), settings)

    assert PublicAddressProbe.objects.count() == 1
    settings.CONSOLE_URL = "https://elsewhere.example.com"
    assert states(by_label(public_address.latest())) == {"Reached": "unknown"}


def test_what_another_release_kept_is_read_as_far_as_it_is_known(
    settings: Any,
) -> None:
    settings.CONSOLE_URL = "https://console.example.com"
    row = PublicAddressProbe(
        url=settings.CONSOLE_URL,
        at=now(),
        by="here",
        findings={"reached": True, "protocol": "TLS 1.3", "mood": "fine"},
    )

    assert states(by_label(row))["TLS"] == "good"
    assert states(by_label(row))["Old versions"] == "unknown"


# The proof


def test_the_console_answers_its_own_challenges_alone(settings: Any) -> None:
    signer = signing.TimestampSigner(salt="directory.public_address")
    challenge = signer.sign("nonce")
    client = Client(SERVER_NAME="localhost")

    def said(text: str) -> dict[str, str]:
        found: dict[str, str] = client.get("/health/", {"challenge": text}).json()
        return found

    assert said(challenge) == {
        "status": "ok",
        "answer": public_address.answer_to(challenge),
    }
    for other in ("", "nonce", challenge + "x", signing.Signer().sign("nonce")):
        assert said(other) == {"status": "ok"}
    settings.SECRET_KEY = "another-console" * 4
    assert said(challenge) == {"status": "ok"}


def test_an_old_challenge_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    challenge = signing.TimestampSigner(salt="directory.public_address").sign("nonce")
    assert public_address.answer_to(challenge)

    later = now().timestamp() + 61
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)

    assert public_address.answer_to(challenge) == ""


# The page


def test_the_system_page_shows_what_was_seen_and_looks_again(
    authority: trustme.CA, settings: Any, console: Client
) -> None:
    page = console.get("/settings/system/").content.decode()
    assert "is on this machine alone" in page
    assert "Check the address now" not in page

    front = Front(authority, configure=speaking(TLS_1_0, TLS_1_3))
    with front.standing(settings):
        page = console.get("/settings/system/").content.decode()
        assert "was not looked at yet" in page
        assert front.connections == 0

        response = console.post("/settings/system/address-check/")

        assert (response.status_code, response["Location"]) == (
            303,
            "/settings/system/",
        )
        assert front.connections == 4
        page = console.get("/settings/system/").content.decode()
    assert "TLS 1.0 and TLS 1.1: accepted" in page
    assert "This console answers there." in page
    assert console.get("/settings/system/address-check/").status_code == 405
