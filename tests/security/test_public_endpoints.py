"""Whatever answers without a session, asked in thousands of ways that are wrong.

Each address gets sound requests that were damaged (tests/security/fuzzing.py): with
states, cookies, codes and signed messages that are good but for the damage. Nothing may
end in an error of the console, leave a stack trace in the log, or lead elsewhere.

A few requests each in `make check`. `make deep` sets FUZZ_REQUESTS and prints a line for
each. Every request is undone, so that the next one finds the same state.
"""

from __future__ import annotations

import json
import logging
import os
import re
import traceback
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from django.core import signing
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone

from directory import clouds, connect, credentials, registrations, sent_requests
from directory.connector import configuration, cookies, messages
from directory.connector.keys import signing_key
from directory.connector.messages import Answer, EndRequest, Problem, StartRequest
from directory.entra.sign_in import nonce_hash
from directory.models import ApplicationRegistration, CloudIdentityProvider, SentRequest
from directory.views import link_browser
from jamfidp.accounts import (
    authenticator_app,
    entra_sign_in,
    first_administrator,
    second_factor,
)
from jamfidp.accounts.models import User
from jamfidp.accounts.views import entering
from jamfidp.accounts.views import sign_in as sign_in_views
from jamfidp.boundary import Handler
from tests import cast, factories
from tests.accounts.passkey_device import PasskeyDevice
from tests.accounts.test_second_factor import with_app, with_passkey
from tests.canaries import watch
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Browser
from tests.security.fuzzing import (
    TEXTS,
    Outcome,
    Pairs,
    Random,
    Wire,
    ask,
    damaged,
    damaged_value,
    faults,
    latin,
    logged,
)
from tests.test_architecture import ROUTES, walk

pytestmark = [pytest.mark.django_db, pytest.mark.processes]

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "20"))
SEED = os.environ.get("FUZZ_SEED", "1")
CSRF = "c" * 32
ALL_OF_ALONE = "the connector served alone"
PROXY = "192.0.2.1"
ALONE = [one.name for one in walk(get_resolver("directory.connector.urls_alone"))]


@dataclass
class World:
    """What sound requests are made of; each part is made when it is first asked for."""

    sandbox: Sandbox

    # --- Accounts

    @cached_property
    def administrator(self) -> User:
        return factories.administrator("admin")

    @cached_property
    def lena(self) -> User:
        """Signs in with a password alone."""
        account = factories.local_account("lena")
        factories.account_group("Readers", account, privilege_set="AUDITOR")
        return account

    @cached_property
    def app(self) -> tuple[User, pyotp.TOTP, list[str]]:
        account = factories.administrator("app")
        totp = with_app(account)
        return (
            account,
            totp,
            second_factor.new_recovery_codes(account, now=timezone.now()),
        )

    @cached_property
    def key(self) -> tuple[User, PasskeyDevice]:
        account = factories.administrator("key")
        return account, with_passkey(account)

    def half(self, account: User) -> Client:
        """A browser in which the password was right."""
        client = Client(SERVER_NAME="localhost")
        client.post(
            "/login/", {"username": account.username, "password": factories.PASSWORD}
        )
        assert entering.HALF in client.session
        return client

    @cached_property
    def half_app(self) -> Pairs:
        return kept_by(self.half(self.app[0]))

    @cached_property
    def half_new(self) -> Pairs:
        """Somebody who has to enroll a factor first; an app is begun."""
        client = self.half(self.administrator)
        authenticator_app.begin(self.administrator, now=timezone.now())
        return kept_by(client)

    @cached_property
    def half_proved(self) -> Pairs:
        client = self.half(self.administrator)
        session = client.session
        session[entering.HALF] |= {"proved": "passkey"}
        session.save()
        return kept_by(client)

    @cached_property
    def signing(self) -> tuple[Pairs, str]:
        """Asked to sign with a passkey; the right answer."""
        client = self.half(self.key[0])
        questions = client.post("/login/second-factor/questions/").json()
        return kept_by(client), self.key[1].sign(questions)

    @cached_property
    def creating(self) -> tuple[Pairs, str]:
        client = self.half(self.administrator)
        questions = client.post("/account/sign-in/add/passkey/questions/").json()
        return kept_by(client), PasskeyDevice().create(questions)

    @cached_property
    def known(self) -> str:
        return signing.dumps(
            {"id": "browser", "accounts": [self.lena.pk]}, salt=entering.KNOWN_BROWSER
        )

    # --- Microsoft

    @cached_property
    def registration(self) -> ApplicationRegistration:
        now = timezone.now()
        made = registrations.save_client_id(
            cloud_key="SANDBOX",
            client_id=self.sandbox.application["client_id"],
            connections_confirmed=True,
            actor=None,
            now=now,
        )
        credentials.add_secret(
            made,
            secret=self.sandbox.application["client_secret"],
            expires_at=None,
            actor=None,
            now=now,
        )
        self.sandbox.control(
            "PUT", f"tenants/{cast.FERNHILL.tenant_id}/consents/{made.client_id}", {}
        )
        return made

    @cached_property
    def cloud_idp(self) -> CloudIdentityProvider:
        _ = self.registration
        return factories.cloud_idp(tenant_id=cast.FERNHILL.tenant_id)

    @cached_property
    def sign_in(self) -> tuple[str, str]:
        """A sign-in that was begun in the browser "browser": address and state."""
        factories.directory_user(
            cast.ANA.display_name, self.cloud_idp, object_id=cast.ANA.object_id
        )
        address = entra_sign_in.begin(
            entra_sign_in.Door(self.cloud_idp.cloud, self.cloud_idp),
            browser="browser",
            address=None,
            next_path="/",
            now=timezone.now(),
        )
        return address, parse_qs(urlsplit(address).query)["state"][0]

    def code(self, address: str) -> dict[str, str]:
        """Sign in at Microsoft: an answer that works once."""
        answer: Any = Browser(self.sandbox.pages_url).sign_in(
            address, upn=cast.ANA.upn, password=cast.PASSWORD
        )
        return dict(answer.values)

    # --- Consent

    @cached_property
    def return_url(self) -> str:
        return connect.return_url()

    def start(self, **changed: Any) -> StartRequest:
        return StartRequest(
            **{
                "console_id": connect.console_id(),
                "return_url": self.return_url,
                "cloud": "SANDBOX",
                "client_id": self.registration.client_id,
                "tenant": "",
                "state": "s" * 43,
                "nonce_hash": nonce_hash("nonce"),
                "code_challenge": "c" * 43,
            }
            | changed
        )

    @cached_property
    def attempt(self) -> tuple[Pairs, str, str]:
        """An administrator's attempt to connect: cookies, state, reference."""
        client = Client(HTTP_HOST="localhost:8000")
        client.force_login(self.administrator)
        session = client.session
        session["consent_browser"] = "browser"
        session.save()
        made = connect.begin(
            registration=self.registration,
            cloud_idp=None,
            browser="browser",
            actor=self.administrator,
            now=timezone.now(),
        )
        return kept_by(client), connect._unseal(made)["state"], str(made.pk)

    @cached_property
    def sent(self) -> tuple[SentRequest, str]:
        made = sent_requests.send(
            registration=self.registration,
            cloud_idp=None,
            recipient="",
            actor=self.administrator,
            now=timezone.now(),
        )
        return made, parse_qs(urlsplit(sent_requests.link(made)).query)["token"][0]

    @cached_property
    def opened(self) -> str:
        """The state of a request whose link was opened in the browser "outsider"."""
        assert self.sent
        second = sent_requests.send(
            registration=self.registration,
            cloud_idp=None,
            recipient="",
            actor=self.administrator,
            now=timezone.now(),
        )
        token = parse_qs(urlsplit(sent_requests.link(second)).query)["token"][0]
        attempt = sent_requests.open_link(token, browser="outsider", now=timezone.now())
        return connect._unseal(attempt)["state"]


def kept_by(client: Client) -> Pairs:
    return [(name, one.value) for name, one in client.cookies.items()]


# --- Sound requests ------------------------------------------------------------------

Sound = Callable[[World, Random], Wire]
ENDPOINTS: dict[str, Sound] = {}
NEXT = ("/", "/users/?q=x", "//evil.example", "", "x" * 3000, "/\\evil.example")


def endpoint(name: str) -> Callable[[Sound], Sound]:
    def add(sound: Sound) -> Sound:
        ENDPOINTS[name] = sound
        return sound

    return add


def at(name: str, *arguments: str, **given: Any) -> Wire:
    return Wire(path=reverse(name, "jamfidp.urls", args=arguments), **given)


def post(name: str, form: Pairs, cookies: Pairs | None = None) -> Wire:
    """A form of the console's own, with its token."""
    return at(
        name,
        method="POST",
        form=[("csrfmiddlewaretoken", CSRF), *form],
        cookies=[("csrftoken", CSRF), *(cookies or [])],
    )


@endpoint("health")
def _health(world: World, rng: Random) -> Wire:
    challenge = signing.TimestampSigner(salt="directory.public_address").sign("x")
    return at("health", query=[("challenge", challenge)] if rng.random() < 0.7 else [])


@endpoint("gallery")
def _gallery(world: World, rng: Random) -> Wire:
    return at("gallery", query=[("page", "2"), ("sort", "name"), ("q", "a")])


@endpoint("accounts:login")
def _login(world: World, rng: Random) -> Wire:
    if rng.random() < 0.3:
        words = signing.dumps("It ended.", salt="ended", compress=True)
        return at(
            "accounts:login", query=[("next", rng.choice(NEXT)), ("ended", words)]
        )
    username = rng.choice((world.lena.username, world.app[0].username, "nobody", ""))
    return post(
        "accounts:login",
        [
            ("username", username),
            ("password", rng.choice((factories.PASSWORD, "wrong"))),
            ("next", rng.choice(NEXT)),
        ],
        [(entering.KNOWN_BROWSER, world.known)],
    )


@endpoint("accounts:setup")
def _setup(world: World, rng: Random) -> Wire:
    """Of a console without accounts."""
    code = getattr(world, "set_up_code", "")
    if not code:
        code = first_administrator.new_code(now=timezone.now())
        world.set_up_code = code  # type: ignore[attr-defined]
    if rng.random() < 0.1:
        return at("accounts:setup")
    return post(
        "accounts:setup",
        [
            ("code", code),
            ("username", rng.choice(("first", "x" * 200, latin("Zoë")))),
            ("full_name", "First Administrator"),
            ("password", "long enough to be one"),
            ("password_again", "long enough to be one"),
        ],
    )


@endpoint("accounts:second-factor")
def _factor(world: World, rng: Random) -> Wire:
    _, totp, recovery = world.app
    match rng.randrange(4):
        case 0:
            return at("accounts:second-factor", cookies=world.half_app)
        case 1:
            form = [("code", rng.choice(recovery)), ("recovery", "1")]
        case 2:
            form = [("code", totp.now())]
        case _:
            form = [("code", rng.choice(("000000", "123 456", latin("١٢٣٤٥٦"))))]
    return post("accounts:second-factor", form, world.half_app)


@endpoint("accounts:second-factor-questions")
def _factor_questions(world: World, rng: Random) -> Wire:
    return post("accounts:second-factor-questions", [], world.signing[0])


def passkey_answer(rng: Random, answer: str) -> str:
    """The answer of a passkey, also damaged inside what it encodes."""
    content = json.loads(answer)
    if rng.random() < 0.6:
        response = content["response"]
        name = rng.choice(sorted(response))
        response[name] = damaged_bytes(rng, response[name])
    if rng.random() < 0.3:
        content = damaged_value(rng, content)
    return latin(json.dumps(content))


def damaged_bytes(rng: Random, text: str) -> str:
    raw = bytearray(decoded(text))
    match rng.randrange(5):
        case 0:
            for _ in range(rng.randrange(1, 6)):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
        case 1:
            del raw[rng.randrange(len(raw)) :]
        case 2:
            raw += rng.randbytes(rng.randrange(40))
        case 3:
            raw = bytearray(
                rng.choice((b"\x81" * 5000, b"[" * 5000, b"\xbf\xff", b"{"))
            )
        case _:
            at_ = rng.randrange(len(raw))
            raw[at_:at_] = rng.choice(
                (b"\x9f" * 900, b"\xc2\x5f", b"\xfb", b"\xa1\x60")
            )
    return encoded(bytes(raw))


@endpoint("accounts:second-factor-passkey")
def _factor_passkey(world: World, rng: Random) -> Wire:
    kept, answer = world.signing
    return post(
        "accounts:second-factor-passkey",
        [("answer", passkey_answer(rng, answer))],
        kept,
    )


@endpoint("accounts:enrolled")
def _enrolled(world: World, rng: Random) -> Wire:
    return post("accounts:enrolled", [], world.half_proved)


@endpoint("accounts:enroll")
def _enroll(world: World, rng: Random) -> Wire:
    return at("accounts:enroll", cookies=world.half_new)


@endpoint("accounts:enroll-app-begin")
def _enroll_app_begin(world: World, rng: Random) -> Wire:
    return post("accounts:enroll-app-begin", [], world.half_new)


@endpoint("accounts:enroll-app")
def _enroll_app(world: World, rng: Random) -> Wire:
    assert world.half_new
    app = authenticator_app.pending(world.administrator)
    assert app is not None
    code = pyotp.TOTP(authenticator_app.secret_of(app)).now()
    return post(
        "accounts:enroll-app",
        [("code", rng.choice((code, "000000", "x")))],
        world.half_new,
    )


@endpoint("accounts:enroll-passkey-questions")
def _enroll_questions(world: World, rng: Random) -> Wire:
    return post("accounts:enroll-passkey-questions", [], world.half_new)


@endpoint("accounts:enroll-passkey")
def _enroll_passkey(world: World, rng: Random) -> Wire:
    kept, answer = world.creating
    if rng.random() < 0.05:
        return at("accounts:enroll-passkey", cookies=kept)
    return post(
        "accounts:enroll-passkey",
        [
            ("name", rng.choice(("Key", latin("ключ")))),
            ("answer", passkey_answer(rng, answer)),
        ],
        kept,
    )


@endpoint("accounts:entra-start")
def _entra_start(world: World, rng: Random) -> Wire:
    wire = at("accounts:entra-start", query=[("next", rng.choice(NEXT))])
    if rng.random() < 0.5:
        wire.query.append(("connection", str(world.cloud_idp.pk)))
    else:
        chosen = {
            "address": rng.choice(
                (cast.ANA.upn, "x@nowhere.example", "@", "a@b@c", *TEXTS)
            )[:320],
            "cloud": rng.choice(("SANDBOX", "GLOBAL", "", *TEXTS))[:20],
        }
        wire.cookies.append(
            (sign_in_views.CHOSEN, signing.dumps(chosen, salt=sign_in_views.CHOSEN))
        )
    wire.cookies.append((sign_in_views.FLOW_BROWSER, "browser"))
    return wire


@endpoint("accounts:entra-choose")
def _entra_choose(world: World, rng: Random) -> Wire:
    _ = world.cloud_idp
    return post(
        "accounts:entra-choose",
        [
            (
                "address",
                rng.choice((cast.ANA.upn, latin("zoë@bücher.example"), *TEXTS)),
            ),
            ("cloud", rng.choice(("SANDBOX", *TEXTS))),
            ("next", rng.choice(NEXT)),
        ],
    )


@endpoint("accounts:entra-continue")
def _entra_continue(world: World, rng: Random) -> Wire:
    return at("accounts:entra-continue", query=[("next", rng.choice(NEXT))])


@endpoint("accounts:entra-sign-out")
def _entra_sign_out(world: World, rng: Random) -> Wire:
    tenant = rng.choice((world.cloud_idp.tenant_id, factories.OTHER_TENANT))
    name = sign_in_views.SIGNED_OUT_OF
    return at(
        "accounts:entra-sign-out", cookies=[(name, signing.dumps(tenant, salt=name))]
    )


@endpoint("accounts:entra-signed-out")
def _entra_signed_out(world: World, rng: Random) -> Wire:
    return at("accounts:entra-signed-out", query=[("state", "x")])


def microsoft_error(rng: Random) -> Pairs:
    """An answer of Microsoft's that says no."""
    return [
        (
            "error",
            rng.choice(("access_denied", "invalid_client", "server_error", *TEXTS)),
        ),
        (
            "error_description",
            rng.choice(
                (
                    "AADSTS65004: The user has declined to consent.\r\nTrace ID: x\r\n"
                    "Correlation ID: y\r\nTimestamp: 2026-01-01 00:00:00Z",
                    "AADSTS9999999999999: x",
                    "AADSTS",
                    *TEXTS,
                )
            ),
        ),
        ("error_subcode", rng.choice(("cancel", "", "x"))),
    ]


@endpoint("accounts:entra-callback")
def _entra_callback(world: World, rng: Random) -> Wire:
    address, state = world.sign_in
    wire = at("accounts:entra-callback", query=[("state", state)])
    chance = rng.random()
    if chance < 0.01:
        wire.query = list(world.code(address).items())
    elif chance < 0.15:
        wire.query += [("code", rng.choice(("1.AXoA", *TEXTS))), ("session_state", "x")]
    elif chance < 0.6:
        wire.query += microsoft_error(rng)
    else:
        wire.query = [("state", rng.choice(TEXTS)), ("code", "x")]
    wire.cookies.append((sign_in_views.FLOW_BROWSER, "browser"))
    return wire


@endpoint("accounts:entra-refused")
def _entra_refused(world: World, rng: Random) -> Wire:
    words = {
        "what": rng.choice(TEXTS),
        "advice": [rng.choice(TEXTS)],
        "reference": rng.choice(TEXTS),
    }
    name = sign_in_views.REFUSAL
    return at(
        "accounts:entra-refused", cookies=[(name, signing.dumps(words, salt=name))]
    )


# --- The connector and the pages of consent


def signed(message: Any, kind: str, rng: Random) -> str:
    """The console's message, at times with claims that it would never make."""
    sign = messages.sign_start if kind == messages.START else messages.sign_end
    token = sign(
        message,
        audience=configuration.connector_id(),
        key=signing_key("console"),
        now=timezone.now(),
    )
    if rng.random() < 0.5:
        return str(token)
    return resigned(rng, str(token), "console")


def resigned(rng: Random, token: str, role: Any) -> str:
    """The message with other claims or another header, under a signature that fits."""
    head, claims = (json.loads(decoded(part)) for part in token.split(".")[:2])
    if rng.random() < 0.9:
        claims = damaged_value(rng, claims)
    else:
        head = damaged_value(rng, head)
    text = ".".join(encoded(json.dumps(one).encode()) for one in (head, claims))
    der = signing_key(role).sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    numbers = b"".join(one.to_bytes(32, "big") for one in decode_dss_signature(der))
    return f"{text}.{encoded(numbers)}"


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@endpoint("connector:start")
def _start(world: World, rng: Random) -> Wire:
    asked = world.start(
        cloud=rng.choice(("SANDBOX", "SANDBOX", "SANDBOX", "GLOBAL", *TEXTS)),
        tenant=rng.choice(("", "", cast.FERNHILL.tenant_id, *TEXTS)),
    )
    return at(
        "connector:start", query=[("request", signed(asked, messages.START, rng))]
    )


def flow(world: World, step: str, **more: Any) -> tuple[str, Pairs]:
    """The state of an attempt at this step, and the cookie that keeps it."""
    flow_id = "0123456789abcdef"
    state = f"{flow_id}.{'m' * 32}"
    response = HttpResponse()
    name = f"connector_flow_{flow_id}"
    asked = world.start()
    cookies.keep(
        response,
        name,
        {
            **{
                one: getattr(asked, one)
                for one in (
                    "console_id",
                    "return_url",
                    "cloud",
                    "client_id",
                    "tenant",
                    "nonce_hash",
                    "code_challenge",
                )
            },
            "console_state": asked.state,
            "step": step,
            "microsoft_state": state,
            **more,
        },
        now=timezone.now(),
    )
    return state, [(name, response.cookies[name].value)]


@endpoint("connector:consent")
def _consent(world: World, rng: Random) -> Wire:
    state, kept = flow(world, "consent")
    query: Pairs = [("state", state)]
    if rng.random() < 0.6:
        tenant = rng.choice((cast.FERNHILL.tenant_id, cast.FERNHILL.tenant_id, *TEXTS))
        query += [("tenant", tenant), ("admin_consent", rng.choice(("True", *TEXTS)))]
    else:
        query += microsoft_error(rng)
    return at("connector:consent", query=query, cookies=kept)


@endpoint("connector:code")
def _code(world: World, rng: Random) -> Wire:
    state, kept = flow(world, "code")
    code = rng.choice(("1.AXoA", "x" * 3500, *TEXTS))
    query = [("code", code)] if rng.random() < 0.6 else microsoft_error(rng)
    return at("connector:code", query=[("state", state), *query], cookies=kept)


@endpoint("connector:continue")
def _continue(world: World, rng: Random) -> Wire:
    state, kept = flow(world, "answered", code="1.AXoA")
    return at("connector:continue", state.partition(".")[0], cookies=kept)


@endpoint("connector:go")
def _go(world: World, rng: Random) -> Wire:
    state, kept = flow(world, "answered", code=rng.choice(("1.AXoA", *TEXTS)))
    return at("connector:go", state.partition(".")[0], cookies=kept)


@endpoint("connector:end")
def _end(world: World, rng: Random) -> Wire:
    asked = EndRequest(
        console_id=connect.console_id(),
        return_url=world.return_url,
        cloud="SANDBOX",
        tenant=rng.choice((cast.FERNHILL.tenant_id, "", *TEXTS)),
        login_hint=rng.choice(("hint", *TEXTS)),
        reference=rng.choice(("1", *TEXTS)),
    )
    _ = world.registration
    return at("connector:end", query=[("request", signed(asked, messages.END, rng))])


@endpoint("connector:signed-out")
def _signed_out(world: World, rng: Random) -> Wire:
    response = HttpResponse()
    cookies.keep(
        response,
        "connector_end",
        {
            "console_id": connect.console_id(),
            "return_url": world.return_url,
            "reference": rng.choice(TEXTS),
        },
        now=timezone.now(),
    )
    kept = [("connector_end", response.cookies["connector_end"].value)]
    return at("connector:signed-out", query=[("state", "x")], cookies=kept)


@endpoint("connector:refused")
def _connector_refused(world: World, rng: Random) -> Wire:
    return at("connector:refused", rng.choice(("signature", "expired", "x" * 300)))


@endpoint("directory:consent-callback")
def _callback(world: World, rng: Random) -> Wire:
    if rng.random() < 0.6:
        kept, state, reference = world.attempt
    else:
        kept, state, reference = [(link_browser.BROWSER, "outsider")], world.opened, "1"
    chance = rng.random()
    if chance < 0.6:
        answer = Answer(
            state=state,
            tenant=cast.FERNHILL.tenant_id,
            code_hash=messages.code_hash("1.AXoA"),
        )
    elif chance < 0.8:
        problem = Problem(
            kind=rng.choice(("ConsentDeclined", *TEXTS)),
            message=rng.choice(TEXTS),
            advice=rng.choice(TEXTS),
            code=rng.choice(TEXTS),
            request_id=rng.choice(TEXTS),
        )
        answer = Answer(state=state, problem=problem)
    else:
        answer = Answer(reference=rng.choice((reference, *TEXTS)))
    token = messages.sign_answer(
        answer,
        connector_id=configuration.connector_id(),
        console_id=connect.console_id(),
        key=signing_key("connector"),
        now=timezone.now(),
    )
    if rng.random() < 0.4:
        token = resigned(rng, token, "connector")
    return at(
        "directory:consent-callback",
        query=[("answer", token), ("code", rng.choice(("1.AXoA", "1.AXoA", *TEXTS)))],
        cookies=kept if rng.random() < 0.9 else [],
    )


@endpoint("directory:consent-refused")
def _consent_refused(world: World, rng: Random) -> Wire:
    return at("directory:consent-refused", rng.choice(("forged", "not-signed-in", "x")))


@endpoint("directory:request-page")
def _request_page(world: World, rng: Random) -> Wire:
    _, token = world.sent
    page = "directory:request-page"
    match rng.randrange(5):
        case 0:
            return at(page, query=[("token", token)])
        case 1:
            return at(page, cookies=[(link_browser.LINK, token)])
        case 2:
            assert world.opened
            return at(
                page,
                query=[("stay", "1")],
                cookies=[(link_browser.BROWSER, "outsider")],
            )
        case _:
            return post(page, [], [(link_browser.LINK, token)])


@endpoint("directory:request-verify")
def _request_verify(world: World, rng: Random) -> Wire:
    assert world.opened
    wire = post("directory:request-verify", [], [(link_browser.BROWSER, "outsider")])
    if rng.random() < 0.5:
        wire.headers |= {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "verification"}
    return wire


# --- Not routes of their own

BEHIND = [one for one in ROUTES if not hasattr(one.view, "public")]


@endpoint("every page behind the sign-in")
def _behind(world: World, rng: Random) -> Wire:
    """Where whoever is not signed in is led to the sign-in, or gets a form back."""
    path = rng.choice(BEHIND).address()
    if rng.random() < 0.5:
        return Wire(path=path, query=[("q", rng.choice(TEXTS)), ("page", "2")])
    form = [("csrfmiddlewaretoken", CSRF), ("name", rng.choice(TEXTS)), ("secret", "x")]
    return Wire(
        path=path,
        method="POST",
        form=form,
        cookies=[("csrftoken", CSRF), ("sessionid", "x" * 32)],
    )


@endpoint("no such page")
def _nowhere(world: World, rng: Random) -> Wire:
    path = rng.choice(("/nowhere/", "/static/nothing.css", "/static/../x", "/admin/"))
    return Wire(path=path, method=rng.choice(("GET", "POST")), form=[("name", "x")])


@endpoint(ALL_OF_ALONE)
def _alone(world: World, rng: Random) -> Wire:
    name = rng.choice(ALONE)
    if name == "health":
        return Wire(path="/health/")
    return ENDPOINTS[name](world, rng)


# --- The claims ----------------------------------------------------------------------


def test_every_address_that_answers_without_a_session_is_asked() -> None:
    public = {one.name for one in ROUTES if hasattr(one.view, "public")}

    assert public - ENDPOINTS.keys() == set()
    assert set(ALONE) - {"health"} <= ENDPOINTS.keys()


@pytest.fixture
def no_secret_is_left_anywhere() -> None:
    """Not looked for here: what stands in every log is tried as a password, too."""


@pytest.fixture
def world(sandbox: Sandbox, settings: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    settings.TRUSTED_PROXIES = [PROXY]
    settings.ALLOWED_HOSTS = ["localhost"]
    monkeypatch.setattr(connect, "RETRY_SECONDS", 0.0)
    return World(sandbox)


def served(name: str, world: World, settings: Any, folder: Path) -> Handler:
    if name == ALL_OF_ALONE:
        _ = world.registration
        assert world.return_url
        consoles = folder / "consoles.json"
        entries = [one.entry() for one in connect.served_consoles()]
        consoles.write_text(json.dumps({"consoles": entries}))
        settings.CONNECTOR_CONSOLES_FILE = str(consoles)
        settings.ROOT_URLCONF = "directory.connector.urls_alone"
        settings.MIDDLEWARE = [
            one
            for one in settings.MIDDLEWARE
            if not re.search(
                "Session|Csrf|Auth|Activity|SignIn|Message|Htmx|Site|NoPriv", one
            )
        ]
    return Handler()


def from_somewhere(rng: Random, wire: Wire) -> Wire:
    """From an address of its own: guessing from one address is slowed."""
    one = rng.randrange(2**16)
    match rng.randrange(12):
        case 0:
            wire.address = ""
        case 1:
            wire.address = f"2001:db8::{one:x}"
        case 2:
            wire.address = PROXY
            wire.headers.setdefault("HTTP_X_FORWARDED_FOR", f"198.51.100.{one % 256}")
        case _:
            wire.address = f"10.{rng.randrange(256)}.{one // 256}.{one % 256}"
    return wire


@pytest.mark.parametrize("name", ENDPOINTS)
def test_no_request_without_a_session_is_an_error_of_the_console(
    name: str,
    world: World,
    settings: Any,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    sound, outcome = ENDPOINTS[name], Outcome()
    own = (
        "http://localhost:8000",
        "http://localhost",
        world.sandbox.url,
        world.sandbox.pages_url,
        *(cloud.login_root for cloud in clouds.available()),
    )
    sound(world, Random(SEED))
    application = served(name, world, settings, tmp_path)
    console = next(
        one
        for one in logging.getLogger().handlers
        if type(one) is logging.StreamHandler
    )

    with logged(console) as log:
        for number in range(REQUESTS):
            rng = Random(f"{SEED} {name} {number}")
            wire = from_somewhere(rng, damaged(rng, sound(world, rng)))
            log.lines.clear()
            watch.forget()
            with transaction.atomic():
                try:
                    status, headers, body = ask(application, wire)
                except Exception as error:  # noqa: BLE001 nothing may get out
                    told = "".join(traceback.format_exception(error))[-1500:]
                    outcome.found.append(f"{number}: {told}: {wire}")
                    status, headers, body = 599, [], b""
                transaction.set_rollback(True)
            outcome.statuses[status] += 1
            wrong = faults(status, headers, body, own)
            wrong += [f"in the log: {line[-1500:]}" for line in log.lines]
            outcome.found += [f"{number}: {one}: {wire}" for one in wrong]

    record_property("fuzzed", f"{name}: {outcome.line()}")
    assert not outcome.found, "\n".join(one[:3000] for one in outcome.found[:10])
