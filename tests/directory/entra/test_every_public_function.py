"""Nothing leaves the process but the reads on the list.

Every public function of the library that can reach a session is found by looking at
the library itself, driven against the sandbox, and held against what the sandbox saw.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

import directory.entra
from directory.entra import (
    ClientSecret,
    Cloud,
    Discovery,
    EntraSession,
    GraphClient,
    SigningKeys,
    SignInMetadata,
    SignInSecrets,
    TokenSource,
    app_only_token,
    authorization_url,
    discover,
    errors,
    new_sign_in_secrets,
    redeem_code,
    sandbox_cloud,
    validate_id_token,
)
from directory.entra.kept import Kept
from directory.entra.transport import ALLOWED, Read
from tests import cast
from tests.conftest import Sandbox
from tests.directory.sandbox.browser import Answer, Browser

TENANT = cast.FERNHILL.tenant_id
ANA, STUDIO = cast.ANA.object_id, cast.STUDIO.object_id
RETURN = "http://localhost:8000/login/entra/callback/"
# What a function takes that lets it reach Microsoft.
REACHES = {"session", "jwks", "fetch"}


# Finding them


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(directory.entra.__path__):
        yield importlib.import_module(f"directory.entra.{found.name}")


def public(names: Mapping[str, Any], owner: str) -> Iterator[tuple[str, Any]]:
    for name, thing in names.items():
        if not name.startswith("_") and getattr(thing, "__module__", "") == owner:
            yield name, thing


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def can_send() -> set[str]:
    """The public functions and methods that can reach a session."""
    found: set[str] = set()
    for module in modules():
        short = module.__name__.rpartition(".")[2]
        for name, thing in public(vars(module), module.__name__):
            if inspect.isfunction(thing) and parameters(thing) & REACHES:
                found.add(f"{short}.{name}")
            if not inspect.isclass(thing) or getattr(thing, "_is_protocol", False):
                continue
            holds = bool(parameters(thing.__init__) & REACHES)
            is_session = issubclass(thing, requests.Session)
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                ours = function.__module__ == module.__name__
                reaches = holds or bool(parameters(function) & REACHES)
                if not method.startswith("_") and (is_session or (ours and reaches)):
                    found.add(f"{short}.{name}.{method}")
    return found


# Driving them


@dataclass
class World:
    """A tenant that consented, a person who signed in, and clients of both."""

    session: EntraSession
    secret: ClientSecret
    client_id: str
    discovery: Discovery
    secrets: SignInSecrets
    code: str

    @property
    def cloud(self) -> Cloud:
        return self.session.cloud

    @property
    def tokens(self) -> TokenSource:
        return TokenSource(
            cloud=self.cloud,
            tenant=TENANT,
            client_id=self.client_id,
            credential=self.secret,
            session=self.session,
        )

    @property
    def graph(self) -> GraphClient:
        return GraphClient(cloud=self.cloud, tokens=self.tokens, session=self.session)

    @property
    def keys(self) -> SigningKeys:
        return SigningKeys(self.discovery, self.session)

    def redeem(self) -> str:
        return redeem_code(
            self.discovery,
            client_id=self.client_id,
            credential=self.secret,
            code=self.code,
            redirect_uri=RETURN,
            code_verifier=self.secrets.code_verifier,
            nonce=self.secrets.nonce,
            session=self.session,
        )

    def validate(self) -> None:
        # A token of nobody's: its key is looked for all the same.
        with suppress(errors.IdTokenRefused):
            validate_id_token(
                "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.AAAA",
                cloud=self.cloud,
                client_id=self.client_id,
                nonce=self.secrets.nonce,
                jwks=self.keys,
                now=datetime.now(UTC),
            )

    def users(self) -> str:
        return f"{self.cloud.graph_root}/v1.0/users"

    def stopped(self, call: Callable[[str], object]) -> None:
        with pytest.raises(errors.NotAllowed):
            call(self.users())

    def prepared(self, method: str) -> requests.PreparedRequest:
        return self.session.prepare_request(requests.Request(method, self.users()))


def now() -> datetime:
    return datetime.now(UTC)


Drive = Callable[[World], object]


def nothing(world: World) -> None:
    """Of requests' session: it sends nothing."""


DRIVERS: dict[str, Drive] = {
    "graph.GraphClient.organization": lambda w: w.graph.organization(),
    "graph.GraphClient.probe_permissions": lambda w: w.graph.probe_permissions(),
    "graph.GraphClient.get_user": lambda w: [
        w.graph.get_user(cast.SIOBHAN.upn),
        w.graph.get_user(ANA, properties=["department"]),
    ],
    "graph.GraphClient.find_users": lambda w: w.graph.find_users("mail", "x'y"),
    "graph.GraphClient.search_users": lambda w: w.graph.search_users("An"),
    "graph.GraphClient.users_delta": lambda w: list(w.graph.users_delta()),
    "graph.GraphClient.get_group": lambda w: w.graph.get_group(STUDIO),
    "graph.GraphClient.find_groups": lambda w: w.graph.find_groups("Studio"),
    "graph.GraphClient.search_groups": lambda w: w.graph.search_groups("S"),
    "graph.GraphClient.group_names": lambda w: list(w.graph.group_names()),
    "graph.GraphClient.groups_delta": lambda w: list(w.graph.groups_delta()),
    "graph.GraphClient.members": lambda w: list(w.graph.members(STUDIO)),
    "graph.GraphClient.transitive_members": lambda w: list(
        w.graph.transitive_members(STUDIO)
    ),
    "graph.GraphClient.transitive_member_of": lambda w: list(
        w.graph.transitive_member_of(ANA)
    ),
    "graph.GraphClient.get_member_groups": lambda w: w.graph.get_member_groups(ANA),
    "graph.GraphClient.check_member_groups": lambda w: w.graph.check_member_groups(
        ANA, [STUDIO]
    ),
    "graph.GraphClient.look_up_users": lambda w: w.graph.look_up_users([ANA]),
    "graph.GraphClient.look_up_groups": lambda w: w.graph.look_up_groups([STUDIO]),
    "graph.GraphClient.groups_of_users": lambda w: w.graph.groups_of_users([ANA]),
    "graph.GraphClient.confirm_memberships": lambda w: w.graph.confirm_memberships(
        {ANA: [STUDIO]}
    ),
    "identity.TokenSource.token": lambda w: [
        w.tokens.token(),
        w.tokens.token(fresh=True),
        w.tokens.token(claims='{"access_token":{"nbf":{"essential":true}}}'),
    ],
    "identity.app_only_token": lambda w: app_only_token(
        w.cloud, TENANT, w.client_id, w.secret, session=w.session
    ),
    "identity.redeem_code": World.redeem,
    "id_token.SigningKeys.find": lambda w: w.keys.find("unknown", now=now()),
    "id_token.validate_id_token": World.validate,
    "kept.Kept.get": lambda w: Kept[Discovery]().get(
        lambda: discover(w.cloud, TENANT, w.session), now=now()
    ),
    "kept.Kept.again": lambda w: Kept[Discovery]().again(
        lambda: discover(w.cloud, TENANT, w.session), now=now()
    ),
    "metadata.SignInMetadata.discovery": lambda w: SignInMetadata().discovery(
        w.cloud, "organizations", w.session, now=now()
    ),
    "metadata.SignInMetadata.signing_keys": lambda w: (
        SignInMetadata().signing_keys(w.discovery, w.session).find("x", now=now())
    ),
    "sign_in.discover": lambda w: discover(w.cloud, cast.FERNHILL.domain, w.session),
    "transport.EntraSession.get": lambda w: w.stopped(
        lambda url: w.session.get(f"{url}/{ANA}/messages")
    ),
    "transport.EntraSession.post": lambda w: w.stopped(
        lambda url: w.session.post(url, json={})
    ),
    "transport.EntraSession.put": lambda w: w.stopped(w.session.put),
    "transport.EntraSession.patch": lambda w: w.stopped(w.session.patch),
    "transport.EntraSession.delete": lambda w: w.stopped(w.session.delete),
    "transport.EntraSession.head": lambda w: w.stopped(w.session.head),
    "transport.EntraSession.options": lambda w: w.stopped(w.session.options),
    "transport.EntraSession.request": lambda w: w.stopped(
        lambda url: w.session.request("MERGE", url)
    ),
    "transport.EntraSession.send": lambda w: w.stopped(
        lambda _url: w.session.send(w.prepared("DELETE"))
    ),
    "transport.EntraSession.resolve_redirects": lambda w: list(
        w.session.resolve_redirects(redirect(w), w.prepared("GET"))
    ),
    "transport.EntraSession.asked_to_wait": lambda w: w.session.asked_to_wait({}),
    "transport.EntraSession.pause": lambda w: w.session.pause(0, ""),
    **{
        f"transport.EntraSession.{name}": nothing
        for name in (
            "close",
            "get_adapter",
            "get_redirect_target",
            "merge_environment_settings",
            "mount",
            "prepare_request",
            "rebuild_auth",
            "rebuild_method",
            "rebuild_proxies",
            "should_strip_auth",
        )
    },
}


def redirect(world: World) -> requests.Response:
    response = requests.Response()
    response.status_code = 307
    response.headers["Location"] = f"{world.users()}/{ANA}/messages"
    response.request = world.prepared("GET")
    return response


@pytest.fixture
def world(sandbox: Sandbox) -> Iterator[World]:
    client_id = sandbox.application["client_id"]
    sandbox.control("PUT", f"tenants/{TENANT}/consents/{client_id}", {})
    cloud = sandbox_cloud(sandbox.url, sandbox.ca_file)
    secrets = new_sign_in_secrets()
    with EntraSession(cloud, total_seconds=60) as session:
        found = discover(cloud, TENANT, session)
    address = authorization_url(
        found,
        client_id=client_id,
        redirect_uri=RETURN,
        state=secrets.state,
        nonce_hash=secrets.nonce_hash,
        code_challenge=secrets.code_challenge,
    )
    answer = Browser(sandbox.pages_url).sign_in(
        address, upn=cast.ANA.upn, password=cast.PASSWORD
    )
    assert isinstance(answer, Answer)
    with EntraSession(cloud, total_seconds=60) as session:
        yield World(
            session=session,
            secret=ClientSecret(sandbox.application["client_secret"]),
            client_id=client_id,
            discovery=found,
            secrets=secrets,
            code=answer.values["code"],
        )


def test_every_function_that_can_reach_microsoft_is_driven_here() -> None:
    assert can_send() == DRIVERS.keys(), "Give a new function a driver in this file."


def admitting(entry: Mapping[str, Any]) -> Read | None:
    segments = entry["path"].strip("/").split("/")
    return next(
        (
            read
            for read in ALLOWED
            if read.plane == entry["plane"] and read.matches(entry["method"], segments)
        ),
        None,
    )


def test_nothing_but_the_reads_on_the_list_leaves_the_process(
    sandbox: Sandbox, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.control("DELETE", "journal")
    sandbox_at = urlsplit(sandbox.url)
    reached: set[Any] = set()
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        reached.add(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    for drive in DRIVERS.values():
        drive(world)
    monkeypatch.undo()

    entries = [
        entry
        for entry in sandbox.control("GET", "journal")["entries"]
        if entry["plane"] != "control"
    ]
    strangers = [e for e in entries if admitting(e) is None or e["refused"]]
    assert [(e["plane"], e["method"], e["path"]) for e in strangers] == []
    assert reached == {(sandbox_at.hostname, sandbox_at.port)}
    # And the list holds nothing that no function needs.
    assert {admitting(entry) for entry in entries} == set(ALLOWED)


# What only the transport can


SENDERS = ("socket", "http", "urllib.request", "urllib3", "httpx", "aiohttp", "asyncio")
# An answer, and a mapping: neither can send.
HARMLESS = {"Response", "PreparedRequest", "structures"}


def senders_in(path: Path) -> set[str]:
    """What a module uses that could open a connection."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            used |= {name.name for name in node.names if name.name in SENDERS}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.startswith((*SENDERS, "requests")):
                used.add(module)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("requests", "msal")
        ):
            used.add(f"{node.value.id}.{node.attr}")
    return {name for name in used if name.rpartition(".")[2] not in HARMLESS}


def test_only_the_transport_opens_connections() -> None:
    folder = Path(directory.entra.__path__[0])
    able = {path.stem: senders_in(path) for path in folder.glob("*.py")}

    assert able.pop("transport") >= {"requests.Session", "requests.adapters"}
    # MSAL speaks through the session it is given.
    assert {module: names for module, names in able.items() if names} == {
        "identity": {"msal.ConfidentialClientApplication", "msal.TokenCache"}
    }
