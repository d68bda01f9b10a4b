"""Whether people reach this console at its address, over TLS that protects them.

The console asks itself from outside: at the one address of the settings, as a browser
would, past every proxy of its own. It has the other side prove that it is this
console, and sends nothing else.
"""

import http.client
import json
import secrets
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import certifi
from django.conf import settings
from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

from directory.entra.tls import BoundedContext, in_use, refusal, tls_context
from directory.models import PublicAddressProbe
from directory.tls_offers import (
    OLD_VERSIONS,
    WITHOUT_FORWARD_SECRECY,
    NoAnswer,
    Offer,
    is_accepted,
)
from jamfidp.components import Check
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import PUBLIC_ADDRESS

STEP_SECONDS = 4.0
"""For the connection as a browser makes it, and for each offer."""
LOOKED_AT_EVERY = timedelta(hours=24)
AGAIN_IF_LOST = timedelta(hours=1)
AT_MOST_EVERY = timedelta(seconds=10)
CERTIFICATE_ENDS_SOON = timedelta(days=14)
CHALLENGE_SECONDS = 60
MOST_BYTES = 4096

_SALT = "directory.public_address"
_NOTICE = "public-address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look came to. An empty `protocol` means that no TLS came about."""

    reached: bool
    problem: str = ""
    advice: str = ""
    at_address: str = ""
    protocol: str = ""
    cipher: str = ""
    issuer: str = ""
    certificate_ends: str = ""
    who: str = ""
    """A key of `_WHO`; empty when nobody could be asked."""
    accepted: Mapping[str, bool | None] = field(default_factory=dict)
    """By the name of an offer; None where it could not be told."""


# Asking


def look(url: str) -> Findings:
    """Look at an https address from here; it takes some seconds at most.

    Nothing is raised: what cannot be done is what was found.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    deadline = time.monotonic() + STEP_SECONDS
    context = tls_context(lambda: deadline - time.monotonic())
    try:
        _trust(context)
        with closing(
            http.client.HTTPSConnection(
                host, port, timeout=STEP_SECONDS, context=context
            )
        ) as connection:
            connection.connect()
            found = replace(_seen(host, connection.sock), who=_who_answers(connection))
    except ssl.SSLError as failure:
        why = refusal(failure, host)
        if why is None:
            return _not_reached("The connection broke off before TLS came about.")
        found = Findings(reached=True, problem=why.sentence, advice=why.advice)
    except socket.gaierror:
        return _not_reached(f"The name {host} leads nowhere from here.")
    except TimeoutError:
        return _not_reached("Nothing answered in time.")
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or "no connection came about"
        return _not_reached(f"The connection failed: {reason}.")
    return replace(
        found,
        accepted={
            offer.name: _is_accepted(host, port, offer)
            for offer in (*OLD_VERSIONS, WITHOUT_FORWARD_SECRECY)
        },
    )


def _not_reached(problem: str) -> Findings:
    return Findings(reached=False, problem=problem)


def _trust(context: BoundedContext) -> None:
    context.load_verify_locations(cafile=certifi.where())
    if settings.OUTGOING_CA_FILE:
        context.load_verify_locations(cafile=settings.OUTGOING_CA_FILE)


def _seen(host: str, sock: ssl.SSLSocket) -> Findings:
    spoken = in_use(host, sock)
    ends = (sock.getpeercert() or {}).get("notAfter")
    return Findings(
        reached=True,
        at_address=str(sock.getpeername()[0]),
        protocol=spoken.protocol if spoken else "",
        cipher=spoken.cipher if spoken else "",
        issuer=spoken.issuer if spoken else "",
        certificate_ends=datetime.fromtimestamp(
            ssl.cert_time_to_seconds(ends), tz=UTC
        ).isoformat()
        if isinstance(ends, str)
        else "",
    )


def _who_answers(connection: http.client.HTTPSConnection) -> str:
    """Have the other side prove that it holds the key of this console."""
    challenge = signing.TimestampSigner(salt=_SALT).sign(secrets.token_urlsafe(16))
    try:
        connection.request("GET", f"{reverse('health')}?challenge={quote(challenge)}")
        response = connection.getresponse()
        body = response.read(MOST_BYTES)
        if 300 <= response.status < 400:
            return "redirect"
        if response.status == 400:
            return "host refused"
        said = json.loads(body)["answer"]
    except TimeoutError:
        return "silence"
    except (http.client.HTTPException, OSError, ValueError, KeyError, TypeError):
        return "stranger"
    if isinstance(said, str) and constant_time_compare(said, answer_to(challenge)):
        return "this console"
    return "stranger"


def answer_to(challenge: str) -> str:
    """Return what this console answers to a challenge of its own; empty to others.

    Nothing can be learned with it: only what this console signed within the last
    minute is answered.
    """
    try:
        signing.TimestampSigner(salt=_SALT).unsign(challenge, max_age=CHALLENGE_SECONDS)
    except signing.BadSignature:
        return ""
    return salted_hmac(_SALT, challenge, algorithm="sha256").hexdigest()


def _is_accepted(host: str, port: int, offer: Offer) -> bool | None:
    try:
        return is_accepted(host, port, offer, timeout=STEP_SECONDS)
    except NoAnswer:
        return None


# Keeping


def claim_due(*, now: datetime) -> bool:
    """Tell whether it is time to look; of several workers one is told so."""
    if not _is_https():
        return False
    row, _made = PublicAddressProbe.objects.get_or_create(
        url=settings.CONSOLE_URL, defaults={"next_at": now}
    )
    due = PublicAddressProbe.objects.filter(pk=row.pk, next_at__lte=now)
    return bool(due.update(next_at=now + AGAIN_IF_LOST))


def look_and_keep(*, by: str, now: datetime) -> PublicAddressProbe | None:
    """Look at the console's address, keep what was found and say so when it is bad.

    `by` names the machine that looks. None where there is no https address; a look
    ten seconds ago is not repeated.
    """
    if not _is_https():
        return None
    recent = PublicAddressProbe.objects.filter(
        url=settings.CONSOLE_URL, at__gt=now - AT_MOST_EVERY, at__lte=now
    ).first()
    if recent is not None:
        return recent
    findings = look(settings.CONSOLE_URL)
    with transaction.atomic():
        PublicAddressProbe.objects.exclude(url=settings.CONSOLE_URL).delete()
        row, _made = PublicAddressProbe.objects.update_or_create(
            url=settings.CONSOLE_URL,
            defaults={
                "at": now,
                "by": by,
                "next_at": now + LOOKED_AT_EVERY,
                "findings": asdict(findings),
            },
        )
        _announce(row, now=now)
    return row


def latest() -> PublicAddressProbe | None:
    """Return the last look at the present address, if there was one."""
    return PublicAddressProbe.objects.filter(url=settings.CONSOLE_URL).first()


def _kept(row: PublicAddressProbe) -> Findings:
    # A row of another release may hold other things.
    names = {each.name for each in fields(Findings)} & row.findings.keys()
    return Findings(**{name: row.findings[name] for name in names})


def _is_https() -> bool:
    return str(settings.CONSOLE_URL).startswith("https://")


def _announce(row: PublicAddressProbe, *, now: datetime) -> None:
    bad = [check for check in checks(row, now=now) if check.state == "bad"]
    if bad:
        announce(
            kind=PUBLIC_ADDRESS,
            title=f"Connections to {row.url} are not protected as they should be",
            body="\n\n".join(f"{check.label}: {check.evidence}" for check in bad),
            link=reverse("system"),
            key=_NOTICE,
            now=now,
        )
    elif row.findings.get("reached"):
        resolve(_NOTICE, now=now)


# Telling


def checks(row: PublicAddressProbe | None, *, now: datetime) -> Sequence[Check]:
    """Return what is known of the public address, with evidence and what to do."""
    url = settings.CONSOLE_URL
    if not _is_https():
        return [
            Check(
                "Reached",
                "good",
                f"{url} is on this machine alone: nothing goes over a network.",
            )
        ]
    if row is None or row.at is None:
        return [
            Check("Reached", "unknown", f"{url} was not looked at yet: check it now.")
        ]
    found = _kept(row)
    where = f" at {found.at_address}" if found.at_address else ""
    if not found.reached:
        return [
            Check(
                "Reached",
                "unknown",
                f"{url} is not reachable from {row.by}, so nothing could be checked. "
                f"{found.problem} Browsers may reach it all the same; to have it "
                "checked, let this machine reach it too.",
                as_of=row.at,
            )
        ]
    reached = Check("Reached", "good", f"{url}{where}, from {row.by}.", as_of=row.at)
    return [reached, *_certificate(found, now), *_answers(found), *_offers(found)]


def _certificate(found: Findings, now: datetime) -> Iterator[Check]:
    if not found.protocol:
        yield Check("TLS", "bad", f"{found.problem} {found.advice}")
        return
    yield Check(
        "TLS",
        "good",
        f"{found.protocol}, {found.cipher}: the highest that both sides know, with "
        "forward secrecy.",
    )
    if not found.certificate_ends:
        return
    ends = datetime.fromisoformat(found.certificate_ends)
    text = f"Issued by {found.issuer}, valid until {ends:%-d %B %Y}."
    if ends - now <= CERTIFICATE_ENDS_SOON:
        yield Check("Certificate", "attention", f"{text} Renew it before that.")
    else:
        yield Check("Certificate", "good", text)


_WHO: Mapping[str, tuple[Literal["good", "bad", "unknown"], str]] = {
    "this console": ("good", "This console answers there."),
    "redirect": (
        "bad",
        "A redirect answers there. If a proxy in front of the console ends TLS, name "
        "it in TRUSTED_PROXIES and have it send X-Forwarded-Proto.",
    ),
    "host refused": (
        "bad",
        "The host name is refused there. Have the proxy in front of the console pass "
        "the Host header on, and compare ALLOWED_HOSTS.",
    ),
    "silence": ("unknown", "TLS came about, and then nothing answered in time."),
    "stranger": (
        "bad",
        "Something else answers there. Check where the name leads, CONSOLE_URL, and "
        "that all servers of this console have the same SECRET_KEY.",
    ),
}


def _answers(found: Findings) -> Iterator[Check]:
    if found.who:
        state, text = _WHO[found.who]
        yield Check("Who answers", state, text)


def _offers(found: Findings) -> Iterator[Check]:
    old = [offer.name for offer in OLD_VERSIONS]
    yield _offer(
        "Old versions",
        {name: found.accepted.get(name) for name in old},
        "Allow TLS 1.2 and 1.3 alone where TLS ends; in nginx: "
        "ssl_protocols TLSv1.2 TLSv1.3;",
    )
    yield _offer(
        "Forward secrecy",
        {
            WITHOUT_FORWARD_SECRECY.name: found.accepted.get(
                WITHOUT_FORWARD_SECRECY.name
            )
        },
        "Allow suites with ECDHE alone where TLS ends; in nginx: "
        "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;",
    )


def _offer(label: str, accepted: Mapping[str, bool | None], advice: str) -> Check:
    yes = [name for name, taken in accepted.items() if taken]
    if yes:
        return Check(label, "bad", f"{' and '.join(yes)}: accepted. {advice}")
    names = " and ".join(accepted)
    if None in accepted.values():
        return Check(label, "unknown", f"{names}: it could not be told.")
    return Check(label, "good", f"{names}: refused.")


def as_shown(now: datetime) -> dict[str, Any]:
    """Return what the System page shows of the public address."""
    return {
        "address_checks": checks(latest(), now=now),
        "address_can_be_checked": _is_https(),
    }
