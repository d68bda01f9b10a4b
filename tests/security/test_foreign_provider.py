"""A provider of somebody else: a sound OpenID Connect server, and not Microsoft's.

Its codes and ID tokens are what an attacker has who runs a provider of his own. They
come to the console's callback in the place of Microsoft's.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
import requests
from django.test import Client
from werkzeug.serving import WSGIRequestHandler, make_server

from directory.models import CloudIdentityProvider
from jamfidp.accounts.models import User
from tests import cast
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, register
from tests.directory.sandbox.browser import Answer, Browser, Page

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.processes,
    # Its own dependencies speak of their future.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CALLBACK = "http://localhost:8000/login/entra/callback/"


class ForeignProvider:
    """The attacker's provider; it says of its people whatever the attacker likes."""

    def __init__(self, url: str) -> None:
        self.url = url

    def sign_in(self, microsoft: str) -> dict[str, str]:
        """Answer the console's request as if it had been meant for this provider."""
        answer = requests.Session().post(
            f"{self.url}/oauth2/authorize?{urlsplit(microsoft).query}",
            data={"sub": "attacker"},
            allow_redirects=False,
            timeout=10,
        )
        assert answer.is_redirect, answer.text
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    def id_token(self, code: str, client_id: str, verifier: str = "") -> str:
        answer = requests.Session().post(
            f"{self.url}/oauth2/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": CALLBACK,
                "client_id": client_id,
                "client_secret": "anything",
                "code_verifier": verifier,
            },
            timeout=10,
        )
        return str(answer.json()["id_token"])


class _Unlogged(WSGIRequestHandler):
    """What the attacker's provider logs is nothing of the console's."""

    def log(self, *_: Any) -> None:
        pass


@pytest.fixture
def foreign(sandbox: Sandbox) -> Iterator[ForeignProvider]:
    """A provider that gives its own person the ids and names of Ana of Fernhill."""
    with warnings.catch_warnings():
        # One of its dependencies insists on showing its deprecations at import.
        import authlib.deprecate  # noqa: F401

        warnings.simplefilter("ignore")
        import oidc_provider_mock
    ana = cast.ANA
    app = oidc_provider_mock.app(
        user_claims=[
            oidc_provider_mock.User(
                sub="attacker",
                claims={
                    "oid": ana.object_id,
                    "tid": cast.FERNHILL.tenant_id,
                    "ver": "2.0",
                    "name": ana.display_name,
                    "preferred_username": ana.upn,
                    "email": ana.mail,
                },
            )
        ]
    )
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Unlogged)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    yield ForeignProvider(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def journey(sandbox: Sandbox, administrator: User) -> Journey:
    register(sandbox, administrator)
    connected = Journey(browser_for(administrator), sandbox)
    connected.connect()
    return connected


def begin(client: Client) -> str:
    cloud_idp = CloudIdentityProvider.objects.get()
    response = client.get("/login/entra/", {"connection": cloud_idp.pk})
    return str(response["Location"])


def at_microsoft(journey: Journey, address: str) -> dict[str, str]:
    """Sign Ana in on Microsoft's pages and return what comes back."""
    pages = Browser(journey.sandbox.pages_url)
    answer = pages.sign_in(address, upn=cast.ANA.upn, password=cast.PASSWORD)
    if isinstance(answer, Page):
        answer = pages.submit(answer, press="Accept")
    assert isinstance(answer, Answer)
    return answer.values


def refusal(client: Client, values: dict[str, str]) -> str:
    response = client.get(urlsplit(CALLBACK).path, values)
    assert response["Location"] == "/login/entra/refused/"
    assert "_auth_user_id" not in client.session
    return str(client.get(response["Location"]).content.decode())


def test_a42_a_code_of_a_foreign_provider_signs_nobody_in(
    journey: Journey, foreign: ForeignProvider
) -> None:
    person = Client(SERVER_NAME="localhost")
    answer = foreign.sign_in(begin(person))

    told = refusal(person, answer)

    assert answer["code"]
    # It was taken to Microsoft, who does not know it, and to nobody else.
    assert "AADSTS9002313" in told


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"issuer": True}, id="in the name of the tenant"),
        pytest.param({"kid": True}, id="and of its key"),
    ],
)
def test_a15_a_sound_id_token_of_a_foreign_provider_signs_nobody_in(
    journey: Journey, foreign: ForeignProvider, changes: dict[str, Any]
) -> None:
    """Microsoft's answer to the right code, with the foreign token in it."""
    sandbox, person = journey.sandbox, Client(SERVER_NAME="localhost")
    microsoft = begin(person)
    query = parse_qs(urlsplit(microsoft).query)
    assert query["code_challenge_method"] == ["S256"]
    # The attacker asks his own provider with the nonce of this very sign-in.
    asked = f"{microsoft.partition('?')[0]}?" + "&".join(
        part
        for part in urlsplit(microsoft).query.split("&")
        if not part.startswith("code_challenge")
    )
    code = foreign.sign_in(asked)["code"]
    token = foreign.id_token(code, sandbox.application["client_id"])
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["nonce"] == query["nonce"][0]
    assert claims["oid"] == cast.ANA.object_id
    if changes:
        order: dict[str, Any] = {
            "claims": claims | {"iss": f"{sandbox.url}/{cast.FERNHILL.tenant_id}/v2.0"},
            "signed_by": "unknown",
        }
        if "kid" not in changes:
            order["header"] = {"kid": jwt.get_unverified_header(token).get("kid", "")}
        sandbox.control("POST", "forge", order)
    else:
        sandbox.control("POST", "forge", {"raw": token})

    told = refusal(person, at_microsoft(journey, microsoft))

    expected = "signature" if "kid" in changes else "unknown_key"
    assert f"id_token:{expected}" in told


def test_a28_groups_are_never_asked_for_where_a_token_says(journey: Journey) -> None:
    asked: list[str] = []

    class Source(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def do_POST(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    endpoint = f"http://127.0.0.1:{server.server_port}/getMemberObjects"
    person = Client(SERVER_NAME="localhost")
    microsoft = begin(person)
    sources = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": endpoint}},
    }
    journey.sandbox.control("POST", "forge", {"claims": sources})

    answer = at_microsoft(journey, microsoft)
    person.get(urlsplit(CALLBACK).path, answer)
    server.shutdown()
    serving.join()
    server.server_close()

    assert asked == []
