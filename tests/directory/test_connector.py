"""The Cloud Connector alone: whom it serves, what it refuses, what it never sees."""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from directory import checks, connect, registrations
from directory.connector import configuration, cookies, keys, messages
from directory.connector.messages import Answer, EndRequest, Refusal, StartRequest
from jamfidp.accounts.models import User
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, local, register

CONSOLE = "http://localhost:8000"
CONNECTOR = f"{CONSOLE}/connector"
RETURN = f"{CONSOLE}/settings/cloud-idps/consent/callback/"


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    return Journey(browser_for(administrator), sandbox)


def request_for(sandbox: Sandbox, **changes: str) -> StartRequest:
    return StartRequest(
        **(
            {
                "console_id": CONSOLE,
                "return_url": RETURN,
                "cloud": "SANDBOX",
                "client_id": sandbox.application["client_id"],
                "tenant": "",
                "state": "state",
                "nonce_hash": "nonce",
                "code_challenge": "c" * 43,
            }
            | changes
        )
    )


def signed(
    request: StartRequest,
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    audience: str = CONNECTOR,
    now: datetime | None = None,
) -> str:
    return messages.sign_start(
        request,
        audience=audience,
        key=key or keys.signing_key("console"),
        now=now or timezone.now(),
    )


def refused(client: Client, path: str, reason: str) -> None:
    """A refusal goes to a clean address of the connector, and nowhere else."""
    response = client.get(path)
    assert response.status_code == 303
    assert response["Location"] == f"/connector/refused/{reason}/"
    page = client.get(response["Location"])
    assert page.status_code == 400
    assert "did not pass this on" in page.content.decode()


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


# --- Whom it serves ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"console_id": "https://evil.example"}, "unknown-sender"),
        ({"return_url": "https://evil.example/"}, "return-address"),
        ({"return_url": f"{RETURN}../"}, "return-address"),
        ({"client_id": "11111111-1111-1111-1111-111111111111"}, "application"),
        ({"tenant": "not-a-guid"}, "unreadable"),
    ],
)
def test_a_request_that_is_not_in_its_configuration_goes_nowhere(
    journey: Journey, changes: dict[str, str], reason: str
) -> None:
    token = signed(request_for(journey.sandbox, **changes))

    refused(
        journey.console, f"/connector/start/?{urlencode({'request': token})}", reason
    )


def test_a_request_that_the_console_did_not_sign_goes_nowhere(
    journey: Journey,
) -> None:
    asked = request_for(journey.sandbox)
    header, payload, signature = signed(asked).split(".")
    other = signed(request_for(journey.sandbox, state="other")).split(".")[1]
    unsigned = jwt.encode({"iss": CONSOLE, "aud": CONNECTOR}, "", algorithm="none")
    hmac = jwt.encode({"iss": CONSOLE, "aud": CONNECTOR}, "k" * 32, algorithm="HS256")

    for token, reason in (
        (signed(asked, key=ec.generate_private_key(ec.SECP256R1())), "unknown-key"),
        (f"{header}.{other}.{signature}", "signature"),
        (unsigned, "unreadable"),
        (hmac, "unreadable"),
        ("", "unreadable"),
        (f"{header}.{payload}", "unreadable"),
        ("x" * 9000, "unreadable"),
        (signed(asked, audience="https://other.example/connector"), "audience"),
        (signed(asked, now=timezone.now() - timedelta(minutes=11)), "expired"),
    ):
        refused(
            journey.console,
            f"/connector/start/?{urlencode({'request': token})}",
            reason,
        )


def test_the_end_of_a_session_is_for_its_consoles_alone(journey: Journey) -> None:
    asked = {
        "console_id": CONSOLE,
        "return_url": RETURN,
        "cloud": "SANDBOX",
        "tenant": "",
        "login_hint": "",
        "reference": "1",
    }

    def end(key: ec.EllipticCurvePrivateKey | None = None, **changes: str) -> str:
        token = messages.sign_end(
            EndRequest(**(asked | changes)),
            audience=CONNECTOR,
            key=key or keys.signing_key("console"),
            now=timezone.now(),
        )
        return f"/connector/end/?{urlencode({'request': token})}"

    other = ec.generate_private_key(ec.SECP256R1())
    refused(journey.console, end(other), "unknown-key")
    refused(journey.console, end(return_url="https://evil.example/"), "return-address")
    # One kind of message is not taken for another.
    start = signed(request_for(journey.sandbox))
    refused(
        journey.console,
        f"/connector/end/?{urlencode({'request': start})}",
        "unreadable",
    )
    refused(journey.console, "/connector/signed-out/", "other-browser")


# --- Microsoft's answers -----------------------------------------------------------


@pytest.mark.parametrize("step", ["consent", "code"])
def test_an_answer_without_state_is_refused(journey: Journey, step: str) -> None:
    refused(journey.console, f"/connector/{step}/?code=x&tenant=y", "no-state")


@pytest.mark.parametrize("step", ["consent", "code"])
def test_an_answer_this_browser_did_not_begin_is_refused(
    journey: Journey, step: str
) -> None:
    refused(journey.console, f"/connector/{step}/?state=a.b&code=x", "other-browser")


def test_an_answer_in_another_browser_is_refused(
    journey: Journey, administrator: User
) -> None:
    _, microsoft = journey.consent_page()
    back = local(journey.consent(microsoft))

    refused(browser_for(administrator), back, "other-browser")
    assert "/oauth2/v2.0/authorize" in journey.go(back)


def test_each_step_takes_its_answer_once(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    consent_answer = journey.consent(microsoft)
    code_answer = journey.code(consent_answer)

    refused(journey.console, local(consent_answer), "replayed")
    waiting = journey.go(local(code_answer))
    refused(journey.console, local(code_answer), "replayed")
    journey.go(f"{waiting}go/")
    refused(journey.console, f"{waiting}go/", "other-browser")


def test_the_state_of_one_step_does_not_open_the_next(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    consent_answer = journey.consent(microsoft)
    code_answer = journey.code(consent_answer)
    first = consent_answer.rpartition("state=")[2]
    second = code_answer.rpartition("state=")[2]
    assert first != second

    refused(journey.console, local(code_answer.replace(second, first)), "other-browser")


def test_the_person_sees_which_console_the_answer_goes_to(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    code_answer = journey.code(journey.consent(microsoft))

    waiting = journey.go(local(code_answer))
    page = journey.console.get(waiting)

    assert "?" not in waiting
    assert CONSOLE in page.content.decode()
    assert journey.sandbox.tenants[0]["id"] in page.content.decode()
    assert page["Referrer-Policy"] == "no-referrer"
    assert "no-store" in page["Cache-Control"]


def test_the_code_reaches_no_page_and_no_readable_cookie(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    code_answer = journey.code(journey.consent(microsoft))
    code = code_answer.partition("code=")[2].partition("&")[0]

    waiting = journey.go(local(code_answer))
    page = journey.console.get(waiting).content.decode()

    assert len(code) > 20
    assert code not in page
    for cookie in journey.console.cookies.values():
        assert code not in cookie.value
        if cookie.key.startswith("connector_"):
            assert cookie["httponly"]
            assert cookie["samesite"] == "Lax"
            assert cookie["path"] == "/connector/"
            assert cookie["max-age"] == 600


def test_verifier_secret_and_nonce_never_reach_the_connector(
    journey: Journey,
) -> None:
    page = journey.begin()
    flow = connect._unseal(journey.attempt(page))
    link = journey.start_link(page)
    token = link.partition("request=")[2]
    claims = jwt.decode(token, options={"verify_signature": False})

    sent = json.dumps(claims) + link
    assert flow["state"] in sent
    for kept in (
        flow["nonce"],
        flow["code_verifier"],
        journey.sandbox.application["client_secret"],
    ):
        assert kept not in sent


def test_the_answer_names_state_tenant_and_code_by_hash(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    callback = journey.to_callback(journey.code(journey.consent(microsoft)))
    query = callback.partition("?")[2]
    token = query.partition("answer=")[2].partition("&")[0]
    code = query.partition("code=")[2]
    claims = jwt.decode(token, options={"verify_signature": False})

    assert jwt.get_unverified_header(token)["alg"] == "ES256"
    assert claims["aud"] == CONSOLE
    assert claims["iss"] == CONNECTOR
    assert claims["tenant"] == journey.sandbox.tenants[0]["id"]
    assert claims["exp"] - claims["iat"] == 60
    assert claims["code_hash"] == messages.code_hash(code)


def test_the_connector_needs_no_database(
    journey: Journey,
    django_assert_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Served alone, it has none: its configuration is data it was handed."""
    page = journey.begin()
    link = journey.start_link(page)
    consoles = list(connect.served_consoles())
    monkeypatch.setattr(configuration, "_provider", lambda: consoles)
    browser = Client(HTTP_HOST="localhost:8000")

    with django_assert_num_queries(0):
        microsoft = browser.get(link)["Location"]
        back = journey.consent(microsoft)
        code_answer = journey.pages.open(browser.get(local(back))["Location"])
        waiting = browser.get(local(code_answer.headers["Location"]))["Location"]
        browser.get(waiting)
        answered = browser.get(f"{waiting}go/")["Location"]

    assert answered.startswith(RETURN)
    assert "sessionid" not in browser.cookies


# --- Configuration and keys --------------------------------------------------------


def test_served_alone_it_reads_its_consoles_from_a_file(
    sandbox: Sandbox, settings: Any, tmp_path: Path, client: Client
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = "https://mdm.customer.example"
    file = tmp_path / "consoles.json"
    file.write_text(
        json.dumps(
            {
                "consoles": [
                    {
                        "id": other,
                        "return_url": f"{other}/back/",
                        "public_keys": [public_pem(key)],
                        "client_ids": [sandbox.application["client_id"].upper()],
                    }
                ]
            }
        )
    )
    settings.CONNECTOR_CONSOLES_FILE = str(file)
    asked = request_for(sandbox, console_id=other, return_url=f"{other}/back/")

    response = client.get(
        f"/connector/start/?{urlencode({'request': signed(asked, key=key)})}"
    )

    assert response["Location"].startswith(sandbox.pages_url)
    # The console of this deployment is not in the file, so it is not served.
    mine = signed(request_for(sandbox))
    refused(
        client, f"/connector/start/?{urlencode({'request': mine})}", "unknown-sender"
    )


ENTRY: dict[str, Any] = {
    "id": "https://mdm.customer.example",
    "return_url": "https://mdm.customer.example/back/",
    "public_keys": [public_pem(ec.generate_private_key(ec.SECP256R1()))],
    "client_ids": ["0A6D5C1E-93F4-4C2B-8E57-1D2F9B7C3A40"],
}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is not JSON"),
        ("{}", "has no list"),
        ("[1]", "has no list"),
        ({"consoles": 3}, "has no list"),
        ({"consoles": [3]}, "console 1: it is no object"),
        ({"consoles": [ENTRY, {"id": "x"}]}, "console 2: it has no return_url"),
        ({"consoles": [ENTRY, ENTRY]}, "https://mdm.customer.example twice"),
        ({"consoles": [ENTRY | {"id": ""}]}, "it has no id"),
        ({"consoles": [ENTRY | {"id": "http://mdm.example"}]}, "the https address"),
        ({"consoles": [ENTRY | {"id": f"{ENTRY['id']}/"}]}, "without a path"),
        (
            {"consoles": [ENTRY | {"return_url": "https://evil.example/"}]},
            "an address of the console",
        ),
        (
            {"consoles": [ENTRY | {"return_url": f"{ENTRY['id']}.evil.example/"}]},
            "an address of the console",
        ),
        ({"consoles": [ENTRY | {"client_ids": []}]}, "client_ids has to be a list"),
        ({"consoles": [ENTRY | {"client_ids": ["x"]}]}, "is not a GUID"),
        ({"consoles": [ENTRY | {"public_keys": "x"}]}, "public_keys has to be a list"),
        ({"consoles": [ENTRY | {"public_keys": ["x"]}]}, "is not a public EC key"),
    ],
)
def test_a_broken_file_of_consoles_is_named_with_its_entry(
    tmp_path: Path, content: Any, sentence: str
) -> None:
    file = tmp_path / "consoles.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(ImproperlyConfigured, match="CONNECTOR_CONSOLES_FILE") as caught:
        configuration.from_file(file)

    assert sentence in str(caught.value)


def test_a_missing_file_of_consoles_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="No such file"):
        configuration.from_file(tmp_path / "nowhere.json")


def test_a_file_that_breaks_while_it_is_served_is_said_and_logged(
    journey: Journey,
    settings: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "consoles.json"
    file.write_text("{")
    settings.CONNECTOR_CONSOLES_FILE = str(file)
    token = signed(request_for(journey.sandbox))
    asked = urlencode({"request": token})

    for address in (f"/connector/start/?{asked}", f"/connector/end/?{asked}"):
        refused(journey.console, address, "configuration")

    assert "is not JSON" in caplog.text
    assert token not in caplog.text


def test_a_console_prints_its_entry_for_a_connector_elsewhere(
    sandbox: Sandbox, administrator: User, tmp_path: Path
) -> None:
    register(sandbox, administrator)
    printed = StringIO()
    call_command("connector_entry", stdout=printed)
    file = tmp_path / "consoles.json"
    file.write_text(printed.getvalue())

    (console,) = configuration.from_file(file)

    assert console == connect.served_consoles()[0]
    assert "PRIVATE" not in printed.getvalue()


def test_two_keys_of_a_connector_stand_side_by_side_while_one_is_replaced(
    settings: Any,
) -> None:
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    settings.CONNECTOR_PUBLIC_KEY = public_pem(old) + public_pem(new)

    for key in (old, new):
        token = messages.sign_answer(
            Answer(state="s"),
            connector_id=CONNECTOR,
            console_id=CONSOLE,
            key=key,
            now=timezone.now(),
        )
        assert connect.read_answer(token, now=timezone.now()).state == "s"
    settings.CONNECTOR_PUBLIC_KEY = public_pem(new)
    token = messages.sign_answer(
        Answer(state="s"),
        connector_id=CONNECTOR,
        console_id=CONSOLE,
        key=old,
        now=timezone.now(),
    )
    with pytest.raises(connect.AnswerRefused) as caught:
        connect.read_answer(token, now=timezone.now())
    assert caught.value.refusal is connect.Refusal.UNKNOWN_KEY


def test_a_connector_elsewhere_without_its_key_is_no_start(settings: Any) -> None:
    assert checks.the_connector_elsewhere_is_known(None) == []
    settings.CONNECTOR_URL = "https://connect.example.com"
    (error,) = checks.the_connector_elsewhere_is_known(None)
    assert error.id == "directory.E004"
    settings.CONNECTOR_PUBLIC_KEY = ENTRY["public_keys"][0]
    assert checks.the_connector_elsewhere_is_known(None) == []


def test_keys_come_from_settings_or_are_the_same_in_every_process(
    settings: Any,
) -> None:
    derived = keys.signing_key("console").private_numbers().private_value
    assert keys.signing_key("console").private_numbers().private_value == derived
    assert keys.signing_key("connector").private_numbers().private_value != derived

    own = ec.generate_private_key(ec.SECP256R1())
    settings.CONSOLE_SIGNING_KEY = pem(own)
    assert (
        keys.signing_key("console").private_numbers().private_value
        == own.private_numbers().private_value
    )


def test_messages_of_the_last_secret_key_still_verify(settings: Any) -> None:
    before = keys.signing_key("connector")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" + "0123456789" * 5
    token = messages.sign_answer(
        Answer(state="s"),
        connector_id=CONNECTOR,
        console_id=CONSOLE,
        key=before,
        now=timezone.now(),
    )

    assert connect.read_answer(token, now=timezone.now()).state == "s"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(connect.AnswerRefused):
        connect.read_answer(token, now=timezone.now())


def test_a_connector_served_elsewhere_is_known_by_its_public_key(
    settings: Any,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    settings.CONNECTOR_URL = "https://connect.example.com"
    settings.CONNECTOR_PUBLIC_KEY = public_pem(key)
    token = messages.sign_answer(
        Answer(state="s"),
        connector_id="https://connect.example.com",
        console_id=CONSOLE,
        key=key,
        now=timezone.now(),
    )

    assert connect.read_answer(token, now=timezone.now()).state == "s"
    assert registrations.redirect_uris()[0].address.startswith(
        "https://connect.example.com/"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSOLE_SIGNING_KEY", "rubbish"),
        ("CONSOLE_SIGNING_KEY", pem(ec.generate_private_key(ec.SECP384R1()))),
        ("CONNECTOR_SIGNING_KEY", "rubbish"),
        ("CONNECTOR_PUBLIC_KEY", "rubbish"),
    ],
)
def test_a_signing_key_of_another_kind_is_named(
    settings: Any, name: str, value: str
) -> None:
    setattr(settings, name, value)

    with pytest.raises(ImproperlyConfigured, match=name):
        keys.verifying_keys("console" if name.startswith("CONSOLE") else "connector")


# --- Messages and cookies ----------------------------------------------------------


def test_a_message_lives_as_long_as_it_says() -> None:
    now = timezone.now().replace(microsecond=0)
    key = keys.signing_key("connector")
    token = messages.sign_answer(
        Answer(state="s"), connector_id="c", console_id="o", key=key, now=now
    )

    def read(at: datetime) -> Answer:
        return messages.read_answer(
            token, connector_id="c", console_id="o", keys=[key.public_key()], now=at
        )

    assert read(now + timedelta(seconds=89)).state == "s"
    assert read(now - timedelta(seconds=30)).state == "s"
    for wrong in (timedelta(seconds=90), timedelta(seconds=-31)):
        with pytest.raises(messages.MessageRefused) as caught:
            read(now + wrong)
        assert caught.value.refusal is Refusal.EXPIRED
    with pytest.raises(messages.MessageRefused) as caught:
        messages.read_answer(
            token, connector_id="d", console_id="o", keys=[key.public_key()], now=now
        )
    assert caught.value.refusal is Refusal.UNKNOWN_SENDER


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": "now"},
        {"exp": None},
        {"exp": True},
        {"exp": 10**18},
        {"state": 3},
        {"tenant": None},
        {"tenant": "a\x00b"},
        {"tenant": "\ud800"},
    ],
)
def test_a_signed_message_of_another_shape_is_unreadable(
    claims: dict[str, Any],
) -> None:
    now = timezone.now()
    key = keys.signing_key("connector")
    body = {
        "iss": "c",
        "aud": "o",
        "state": "s",
        "tenant": "",
        "code_hash": "",
        "reference": "",
        "jti": "j",
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 60,
    } | claims
    token = jwt.encode(
        body,
        key,
        algorithm="ES256",
        headers={"typ": messages.ANSWER, "kid": keys.key_id(key.public_key())},
    )

    with pytest.raises(messages.MessageRefused) as caught:
        messages.read_answer(
            token, connector_id="c", console_id="o", keys=[key.public_key()], now=now
        )
    assert caught.value.refusal is Refusal.UNREADABLE


def test_a_message_of_one_kind_is_not_taken_for_another() -> None:
    """Even when it carries everything that the other kind would."""
    now = timezone.now()
    key = keys.signing_key("console")
    body = {
        "iss": CONSOLE,
        "aud": CONNECTOR,
        "return_url": RETURN,
        "cloud": "SANDBOX",
        "client_id": "",
        "tenant": "",
        "state": "",
        "nonce_hash": "",
        "code_challenge": "",
        "login_hint": "",
        "reference": "1",
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 60,
    }

    def of(kind: str) -> str:
        headers = {"typ": kind, "kid": keys.key_id(key.public_key())}
        return jwt.encode(body, key, algorithm="ES256", headers=headers)

    readers = {messages.START: messages.read_start, messages.END: messages.read_end}
    for kind, read in readers.items():
        for sent in readers:
            if sent == kind:
                read(of(sent), audience=CONNECTOR, keys=[key.public_key()], now=now)
                continue
            with pytest.raises(messages.MessageRefused) as caught:
                read(of(sent), audience=CONNECTOR, keys=[key.public_key()], now=now)
            assert caught.value.refusal is Refusal.UNREADABLE


def test_an_answer_too_long_for_a_cookie_is_said(journey: Journey) -> None:
    _, microsoft = journey.consent_page()
    code_answer = journey.code(journey.consent(microsoft))
    state = code_answer.rpartition("state=")[2]
    long = secrets.token_urlsafe(4000)

    refused(journey.console, f"/connector/code/?code={long}&state={state}", "too-long")


def test_a_cookie_is_bound_to_its_name_and_time() -> None:
    now = timezone.now()
    response = HttpResponse()
    cookies.keep(response, "one", {"a": "b"}, now=now)
    request = RequestFactory().get("/")
    value = response.cookies["one"].value
    request.COOKIES = {
        "one": value,
        "two": value,
        "changed": value[:-2] + ("AA" if value[-2:] != "AA" else "BB"),
        "rubbish": "%%%",
    }

    found = cookies.read(request, "one", now=now)
    assert found is not None
    assert found["a"] == "b"
    assert cookies.read(request, "one", now=now + timedelta(minutes=10)) is None
    for name in ("two", "changed", "rubbish", "absent"):
        assert cookies.read(request, name, now=now) is None


def test_a_code_of_microsofts_usual_length_fits_into_the_cookie() -> None:
    kept = {
        "console_id": CONSOLE,
        "return_url": RETURN,
        "console_state": secrets.token_urlsafe(32),
        "tenant": "7d3f1c60-2a4e-4b71-9a55-f0e41c0a1e01",
        "code": secrets.token_urlsafe(1800),
    }

    cookies.keep(HttpResponse(), "connector_flow_x", kept, now=timezone.now())

    kept["code"] = secrets.token_urlsafe(4000)
    with pytest.raises(cookies.TooLarge):
        cookies.keep(HttpResponse(), "connector_flow_x", kept, now=timezone.now())


def test_a_connector_on_https_sends_its_cookies_there_alone(settings: Any) -> None:
    settings.CONNECTOR_URL = "https://connect.example.com"
    response = HttpResponse()

    cookies.keep(response, "one", {"a": "b"}, now=timezone.now())

    assert response.cookies["one"]["secure"]
    assert response.cookies["one"]["path"] == "/"
