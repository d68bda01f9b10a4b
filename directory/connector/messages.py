"""What console and connector say to each other: signed, short-lived, of one kind.

Both sides use this module, so that there is one description of the protocol. Every
message is a JWT with ES256; its `typ` keeps one kind from being taken for another.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from directory.connector.keys import key_id

REQUEST_LIFETIME = timedelta(minutes=10)
ANSWER_LIFETIME = timedelta(seconds=60)
# Console and connector may run on two machines.
CLOCK_SKEW = timedelta(seconds=30)
NUL, HALF = "\x00", re.compile("[\ud800-\udfff]")

START, END, ANSWER = "consent-start+jwt", "consent-end+jwt", "consent-answer+jwt"


class Refusal(StrEnum):
    """Why a message is not acted on."""

    UNREADABLE = "unreadable"
    UNKNOWN_SENDER = "unknown-sender"
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    EXPIRED = "expired"


class MessageRefused(Exception):
    """A message is forged, damaged, too old, or not for its reader."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


def code_hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What a console asks for. `tenant` is empty unless a certain one is expected."""

    console_id: str
    return_url: str
    cloud: str
    client_id: str
    tenant: str
    state: str = field(repr=False)
    nonce_hash: str = field(repr=False)
    code_challenge: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRequest:
    """Ask to end the browser's session with Microsoft; `reference` comes back."""

    console_id: str
    return_url: str
    cloud: str
    tenant: str
    login_hint: str = field(repr=False)
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why there is no code: the name of an error, our words, Microsoft's reference."""

    kind: str
    message: str
    advice: str = ""
    code: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the connector tells a console.

    `code_hash` binds the authorization code, which travels beside the message.
    `reference` is set for the end of a session alone, `problem` for a failure.
    """

    state: str = field(default="", repr=False)
    tenant: str = ""
    code_hash: str = field(default="", repr=False)
    problem: Problem | None = None
    reference: str = ""
    id: str = ""

    def carries(self, code: str) -> bool:
        return hmac.compare_digest(self.code_hash, code_hash(code))


def sign_start(
    request: StartRequest,
    *,
    audience: str,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> str:
    return _sign(
        START,
        {
            "return_url": request.return_url,
            "cloud": request.cloud,
            "client_id": request.client_id,
            "tenant": request.tenant,
            "state": request.state,
            "nonce_hash": request.nonce_hash,
            "code_challenge": request.code_challenge,
        },
        issuer=request.console_id,
        audience=audience,
        lifetime=REQUEST_LIFETIME,
        key=key,
        now=now,
    )


def read_start(
    token: str,
    *,
    audience: str,
    keys: Sequence[ec.EllipticCurvePublicKey],
    now: datetime,
) -> StartRequest:
    """Return a console's request. Raises MessageRefused."""
    claims = _read(START, token, audience=audience, keys=keys, now=now)
    return StartRequest(
        console_id=_text(claims, "iss"),
        return_url=_text(claims, "return_url"),
        cloud=_text(claims, "cloud"),
        client_id=_text(claims, "client_id"),
        tenant=_text(claims, "tenant"),
        state=_text(claims, "state"),
        nonce_hash=_text(claims, "nonce_hash"),
        code_challenge=_text(claims, "code_challenge"),
    )


def sign_end(
    request: EndRequest,
    *,
    audience: str,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> str:
    return _sign(
        END,
        {
            "return_url": request.return_url,
            "cloud": request.cloud,
            "tenant": request.tenant,
            "login_hint": request.login_hint,
            "reference": request.reference,
        },
        issuer=request.console_id,
        audience=audience,
        lifetime=REQUEST_LIFETIME,
        key=key,
        now=now,
    )


def read_end(
    token: str,
    *,
    audience: str,
    keys: Sequence[ec.EllipticCurvePublicKey],
    now: datetime,
) -> EndRequest:
    """Return a console's request. Raises MessageRefused."""
    claims = _read(END, token, audience=audience, keys=keys, now=now)
    return EndRequest(
        console_id=_text(claims, "iss"),
        return_url=_text(claims, "return_url"),
        cloud=_text(claims, "cloud"),
        tenant=_text(claims, "tenant"),
        login_hint=_text(claims, "login_hint"),
        reference=_text(claims, "reference"),
    )


def sign_answer(
    answer: Answer,
    *,
    connector_id: str,
    console_id: str,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> str:
    claims: dict[str, Any] = {
        "state": answer.state,
        "tenant": answer.tenant,
        "code_hash": answer.code_hash,
        "reference": answer.reference,
    }
    if answer.problem is not None:
        claims["problem"] = {
            "kind": answer.problem.kind,
            "message": answer.problem.message,
            "advice": answer.problem.advice,
            "code": answer.problem.code,
            "request_id": answer.problem.request_id,
        }
    return _sign(
        ANSWER,
        claims,
        issuer=connector_id,
        audience=console_id,
        lifetime=ANSWER_LIFETIME,
        key=key,
        now=now,
    )


def read_answer(
    token: str,
    *,
    connector_id: str,
    console_id: str,
    keys: Sequence[ec.EllipticCurvePublicKey],
    now: datetime,
) -> Answer:
    """Return the connector's answer. Raises MessageRefused.

    That it is taken once is the caller's to see to: `id` is unique.
    """
    claims = _read(ANSWER, token, audience=console_id, keys=keys, now=now)
    if claims.get("iss") != connector_id:
        raise MessageRefused(Refusal.UNKNOWN_SENDER)
    problem = claims.get("problem")
    return Answer(
        state=_text(claims, "state"),
        tenant=_text(claims, "tenant"),
        code_hash=_text(claims, "code_hash"),
        reference=_text(claims, "reference"),
        problem=None
        if not isinstance(problem, dict)
        else Problem(
            kind=_text(problem, "kind"),
            message=_text(problem, "message"),
            advice=_text(problem, "advice"),
            code=_text(problem, "code"),
            request_id=_text(problem, "request_id"),
        ),
        id=_text(claims, "jti"),
    )


def sender(token: str) -> str:
    """Return who claims to have sent a message, to look up the keys that verify it.

    Raises MessageRefused.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError):
        raise MessageRefused(Refusal.UNREADABLE) from None
    return _text(claims, "iss")


def _sign(
    kind: str,
    claims: Mapping[str, Any],
    *,
    issuer: str,
    audience: str,
    lifetime: timedelta,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> str:
    return jwt.encode(
        {
            **claims,
            "iss": issuer,
            "aud": audience,
            "jti": secrets.token_urlsafe(24),
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        },
        key,
        algorithm="ES256",
        headers={"typ": kind, "kid": key_id(key.public_key())},
    )


def _read(
    kind: str,
    token: str,
    *,
    audience: str,
    keys: Sequence[ec.EllipticCurvePublicKey],
    now: datetime,
) -> dict[str, Any]:
    if len(token) > 8192:
        raise MessageRefused(Refusal.UNREADABLE)
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError):
        raise MessageRefused(Refusal.UNREADABLE) from None
    if header.get("alg") != "ES256" or header.get("typ") != kind or "crit" in header:
        raise MessageRefused(Refusal.UNREADABLE)
    key = next((key for key in keys if key_id(key) == header.get("kid")), None)
    if key is None:
        raise MessageRefused(Refusal.UNKNOWN_KEY)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            options={
                "verify_aud": False,
                "verify_iss": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except jwt.InvalidSignatureError:
        raise MessageRefused(Refusal.SIGNATURE) from None
    except (jwt.PyJWTError, ValueError):
        raise MessageRefused(Refusal.UNREADABLE) from None
    if claims.get("aud") != audience:
        raise MessageRefused(Refusal.AUDIENCE)
    issued, expires = _moment(claims.get("iat")), _moment(claims.get("exp"))
    if now >= expires + CLOCK_SKEW or now < issued - CLOCK_SKEW:
        raise MessageRefused(Refusal.EXPIRED)
    return claims


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    # JSON can hold what no text of ours can: NUL, and halves of characters.
    if not isinstance(value, str) or NUL in value or HALF.search(value):
        raise MessageRefused(Refusal.UNREADABLE)
    return value


def _moment(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MessageRefused(Refusal.UNREADABLE)
    try:
        return datetime.fromtimestamp(value, tz=UTC)
    except (OverflowError, OSError, ValueError):
        raise MessageRefused(Refusal.UNREADABLE) from None
