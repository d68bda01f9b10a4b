"""TLS 1.2 or higher with forward secrecy: how it is asked for, seen and refused.

The highest version that both sides know is settled on, and a lower one is never
tried after a refusal.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# TLS 1.3 suites all have forward secrecy and cannot be listed here. Level 2 refuses
# RSA keys under 2048 bits and SHA-1, whatever the distribution's default is.
FORWARD_SECRET = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"  # noqa: S105 - suites, not a password


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsInUse:
    """What a handshake with one of Microsoft's hosts came to."""

    host: str
    protocol: str
    """As people write it: TLS 1.3."""
    cipher: str
    issuer: str
    """Who issued the certificate: an inspecting proxy shows here."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no TLS connection came about, for people and for the record."""

    sentence: str
    advice: str
    code: str


class BoundedContext(ssl.SSLContext):
    """A context whose sockets wait no longer than what is left of a call.

    A server that sends its headers byte by byte would start the timeout of a socket
    anew with each. `shaken` holds what the last handshake with each host came to.
    """

    left: Callable[[], float]
    shaken: dict[str, TlsInUse]


class _BoundedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        context, host = self.context, self.server_hostname
        if isinstance(context, BoundedContext) and host:
            seen = in_use(host, self)
            if seen is not None:
                context.shaken[host] = seen

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002
        context = self.context
        if isinstance(context, BoundedContext):
            left = context.left()
            if left <= 0:
                raise TimeoutError("no time is left for this call")
            usual = self.gettimeout()
            self.settimeout(left if usual is None else min(usual, left))
        return super().read(len, buffer)


def tls_context(left: Callable[[], float] = lambda: float("inf")) -> BoundedContext:
    """Return a context for TLS 1.2 and higher with forward secrecy only.

    `left` says how many seconds a read may still take. Certificate authorities are
    added per connection.
    """
    context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.left = left
    context.shaken = {}
    context.sslsocket_class = _BoundedSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    context.set_ciphers(FORWARD_SECRET)
    return context


def in_use(host: str, sock: Any) -> TlsInUse | None:
    """Return what an open socket speaks, if it is known."""
    # A TLS tunnel inside a TLS proxy is no SSLSocket, but answers the same calls.
    if not hasattr(sock, "cipher") or not hasattr(sock, "version"):
        return None
    cipher, protocol = sock.cipher(), sock.version()
    if not cipher or not protocol:
        return None
    return TlsInUse(
        host=host,
        protocol=str(protocol).replace("TLSv", "TLS "),
        cipher=str(cipher[0]),
        issuer=_issuer(sock.getpeercert() or {}),
    )


def _issuer(certificate: Mapping[str, Any]) -> str:
    names = {
        name: value
        for relative in certificate.get("issuer", ())
        for name, value in relative
    }
    organization = names.get("organizationName", "")
    common = names.get("commonName", "")
    return ", ".join(part for part in (organization, common) if part)[:255]


_AUTHORITY_ADVICE = (
    "If a proxy inspects TLS on the way, name its certificate authority in "
    "OUTGOING_CA_FILE, or have it pass Microsoft's hosts through untouched."
)
_CLOCK_ADVICE = (
    "Check the clock of the console's server, and which certificate this host shows."
)
_HOST_ADVICE = (
    "Check which address the host's name leads to from here, and whether a proxy "
    "answers in its place."
)
_PROTOCOL_ADVICE = (
    "Check whether a proxy or firewall on the way ends TLS. Microsoft's own hosts "
    "offer TLS 1.2 and 1.3 with forward secrecy."
)

# The numbers of OpenSSL's X509_V_ERR_…
# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_CERTIFICATE: Mapping[int, Refusal] = MappingProxyType(
    {
        9: Refusal(
            "The certificate shown for {host} is not valid yet.",
            _CLOCK_ADVICE,
            "tls:certificate-not-yet-valid",
        ),
        10: Refusal(
            "The certificate shown for {host} has expired.",
            _CLOCK_ADVICE,
            "tls:certificate-expired",
        ),
        18: Refusal(
            "The certificate shown for {host} is signed by itself alone.",
            _AUTHORITY_ADVICE,
            "tls:certificate-self-signed",
        ),
        62: Refusal(
            "The certificate shown for {host} belongs to another host.",
            _HOST_ADVICE,
            "tls:certificate-other-host",
        ),
    }
)
_CERTIFICATE_SAME: Mapping[int, int] = MappingProxyType({64: 62})
_UNKNOWN_AUTHORITY = Refusal(
    "The certificate shown for {host} comes from an authority that the console does "
    "not trust.",
    _AUTHORITY_ADVICE,
    "tls:authority-unknown",
)
_AUTHORITY_CODES = frozenset({2, 19, 20, 21})
_WEAK_CODES = frozenset({66, 67, 68})
_WEAK_CERTIFICATE = Refusal(
    "The certificate shown for {host} has a key or a signature that is too weak.",
    _HOST_ADVICE,
    "tls:certificate-weak",
)
_OTHER_CERTIFICATE = Refusal(
    "The certificate shown for {host} was refused.",
    _HOST_ADVICE,
    "tls:certificate-refused",
)
_DOWNGRADE = Refusal(
    "Somebody between the console and {host} lowered the version of TLS.",
    _PROTOCOL_ADVICE,
    "tls:downgrade",
)
_PROTOCOL = Refusal(
    "No TLS connection with {host} came about: the other side offers neither TLS 1.2 "
    "with forward secrecy nor TLS 1.3.",
    _PROTOCOL_ADVICE,
    "tls:protocol",
)


def refusal(failure: BaseException, host: str) -> Refusal | None:
    """Return what a failed handshake means; `host` is the one that was asked.

    None where the connection merely broke off.
    """
    cause = _ssl_cause(failure)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None
    chosen = _PROTOCOL
    if isinstance(cause, ssl.SSLCertVerificationError):
        code = cause.verify_code
        chosen = _CERTIFICATE.get(_CERTIFICATE_SAME.get(code, code), _OTHER_CERTIFICATE)
        if code in _AUTHORITY_CODES:
            chosen = _UNKNOWN_AUTHORITY
        elif code in _WEAK_CODES:
            chosen = _WEAK_CERTIFICATE
    elif cause is not None and "INAPPROPRIATE_FALLBACK" in (cause.reason or ""):
        chosen = _DOWNGRADE
    return Refusal(chosen.sentence.format(host=host), chosen.advice, chosen.code)


def _ssl_cause(failure: BaseException) -> ssl.SSLError | None:
    """Dig OpenSSL's error out of the wrappings of requests and urllib3."""
    todo: list[object] = [failure]
    for _ in range(20):
        if not todo:
            break
        found = todo.pop()
        if isinstance(found, ssl.SSLError):
            return found
        if isinstance(found, BaseException):
            todo += [*found.args, getattr(found, "reason", None)]
    return None
