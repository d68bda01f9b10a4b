"""Time that does not pass, a signing key of our own, and answers to give."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import requests
import urllib3
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import BaseAdapter

from directory.entra import (
    PUBLIC,
    AccessToken,
    Cloud,
    Discovery,
    EntraSession,
    GraphClient,
    TransferStats,
)
from directory.entra.sign_in import checked_discovery

TENANT = "7f3a1c52-0d44-4a5e-9b7e-2f6f0c1d8a10"
OTHER_TENANT = "b1f0e7aa-55d2-4c0e-8a3b-90d1c2e3f405"
CLIENT_ID = "c0ffee00-1111-4222-8333-444455556666"
PERSON = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
GRAPH = "https://graph.microsoft.com/v1.0"
LOGIN = "https://login.microsoftonline.com"
TOKEN_URL = f"{LOGIN}/{TENANT}/oauth2/v2.0/token"
CONFIGURATION_URL = f"{LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration"
KEYS_URL = f"{LOGIN}/{TENANT}/discovery/v2.0/keys"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

# Strings that must never be seen in a log or an exception.
SECRET = "canary-secret-8Q~aaaa"
CODE = "canary-code-0.AAAA"
TOKEN = "canary-token-eyJ0"


@dataclass
class FakeTime:
    """Seconds that pass by sleeping only."""

    elapsed: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += seconds

    def clock(self) -> float:
        return self.elapsed

    def wall_clock(self) -> float:
        return NOW.timestamp() + self.elapsed


def session_for(
    cloud: Cloud = PUBLIC,
    *,
    time: FakeTime | None = None,
    observer: TransferStats | None = None,
    total_seconds: float = 120.0,
    conversation_seconds: float = float("inf"),
    jitter: Callable[[float, float], float] = max,
) -> EntraSession:
    time = time or FakeTime()
    return EntraSession(
        cloud,
        observer=observer,
        total_seconds=total_seconds,
        conversation_seconds=conversation_seconds,
        sleep=time.sleep,
        clock=time.clock,
        wall_clock=time.wall_clock,
        jitter=jitter,
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as it comes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Answering(BaseAdapter):
    """Answers one request after the other without a network; the last one again."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self.replies = list(replies)
        self.asked: list[requests.PreparedRequest] = []

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        self.asked.append(request)
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        headers = {"Content-Type": "application/json", **reply.headers}
        response = requests.Response()
        response.status_code = reply.status
        response.headers.update(headers)
        response.request = request
        response.url = str(request.url)
        response.raw = urllib3.HTTPResponse(
            body=io.BytesIO(reply.body),
            headers=headers,
            status=reply.status,
            preload_content=False,
        )
        return response

    def close(self) -> None: ...


@dataclass
class FixedTokens:
    """A token provider that counts; the first token is number 1."""

    asked: list[tuple[bool, str | None]] = field(default_factory=list)
    number: int = 1

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        self.asked.append((fresh, claims))
        if fresh or claims:
            self.number += 1
        return AccessToken(f"{TOKEN}-{self.number}", 3599)


def graph_client(
    *,
    session: EntraSession | None = None,
    tokens: FixedTokens | None = None,
) -> GraphClient:
    return GraphClient(
        cloud=PUBLIC, tokens=tokens or FixedTokens(), session=session or session_for()
    )


def configuration(tenant: str = TENANT, root: str = LOGIN) -> dict[str, Any]:
    """An OpenID configuration in Microsoft's form."""
    path = "{tenantid}" if tenant == "organizations" else tenant
    return {
        "issuer": f"{root}/{path}/v2.0",
        "authorization_endpoint": f"{root}/{tenant}/oauth2/v2.0/authorize",
        "token_endpoint": f"{root}/{tenant}/oauth2/v2.0/token",
        "jwks_uri": f"{root}/{tenant}/discovery/v2.0/keys",
        "end_session_endpoint": f"{root}/{tenant}/oauth2/v2.0/logout",
        "cloud_instance_name": "microsoftonline.com",
        "tenant_region_scope": "EU",
    }


def discovery(tenant: str = TENANT) -> Discovery:
    return checked_discovery(PUBLIC, tenant, configuration(tenant))


class Signer:
    """A signing key as Microsoft publishes one."""

    def __init__(self, kid: str = "key-one") -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        public = json.loads(
            jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key())
        )
        jwk = {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "n": public["n"],
            "e": public["e"],
            "issuer": f"{LOGIN}/{{tenantid}}/v2.0",
        }
        return {key: value for key, value in {**jwk, **changes}.items() if value}

    def sign(
        self, claims: dict[str, Any], *, headers: dict[str, Any] | None = None
    ) -> str:
        return jwt.encode(
            claims,
            self.private,
            algorithm="RS256",
            headers={"kid": self.kid, **(headers or {})},
        )


def sign_in_failure(code: int, error: str, text: str = "Text.") -> dict[str, Any]:
    """An error body of the token endpoint in Microsoft's form."""
    trace = "1f7fb3e6-5b5f-4fb2-9d0a-3d3a6d0c7a00"
    return {
        "error": error,
        "error_description": f"AADSTS{code}: {text}\r\nTrace ID: {trace}\r\n"
        "Correlation ID: 5a1c6a0e-8f11-4f2c-9a89-1be2b7d5c001\r\n"
        "Timestamp: 2026-03-02 09:00:00Z",
        "error_codes": [code],
        "timestamp": "2026-03-02 09:00:00Z",
        "trace_id": trace,
        "correlation_id": "5a1c6a0e-8f11-4f2c-9a89-1be2b7d5c001",
        "error_uri": f"{LOGIN}/error?code={code}",
    }


def graph_failure(code: str, message: str = "Text.") -> dict[str, Any]:
    """An error body of Graph in Microsoft's form."""
    return {
        "error": {
            "code": code,
            "message": message,
            "innerError": {
                "date": "2026-03-02T09:00:00",
                "request-id": "9a6c1d2e-1111-4222-8333-444455556666",
                "client-request-id": "9a6c1d2e-1111-4222-8333-444455556667",
            },
        }
    }
