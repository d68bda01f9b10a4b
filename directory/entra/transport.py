"""The one way out of the console to Microsoft.

An `EntraSession` sends nothing that is not on the list of reads, to no other
address than those of its cloud, over TLS 1.2 or higher with forward secrecy. It
waits and tries again where Microsoft asks for it, within a limit of time, and
writes no query string, body, token or name of a person to any log.
"""

import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import requests
from isal import isal_zlib
from isal.igzip_lib import IsalError
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError as Urllib3Error

from directory.entra import errors
from directory.entra.clouds import SANDBOX_KEY, Cloud, origin
from directory.entra.tls import TlsInUse, in_use, refusal, tls_context

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
TOTAL_SECONDS = 120.0
ATTEMPTS = 5
MAX_BODY_BYTES = 128 * 1024 * 1024
LONGEST_RETRY_AFTER = 24 * 3600.0
BATCH_LIMIT = 20

_RETRIED = frozenset({429, 500, 502, 503, 504})
# A code is used up by the first request that arrives; after these answers alone
# it is certain that it did not.
_RETRIED_FOR_CODES = frozenset({429, 503})

Priority = Literal["low", "normal", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One entry of the allow-list: `{}` in the template is one path segment."""

    plane: Literal["login", "graph"]
    method: Literal["GET", "POST"]
    template: str

    def matches(self, method: str, segments: list[str]) -> bool:
        wanted = self.template.strip("/").split("/")
        return (
            method == self.method
            and len(wanted) == len(segments)
            and all(
                want == segment
                or (want == "{}" and not segment.startswith(("$", "%24")))
                for want, segment in zip(wanted, segments, strict=True)
            )
        )


ALLOWED: tuple[Read, ...] = (
    Read(
        plane="login",
        method="GET",
        template="/{}/v2.0/.well-known/openid-configuration",
    ),
    Read(plane="login", method="GET", template="/{}/discovery/v2.0/keys"),
    Read(plane="login", method="POST", template="/{}/oauth2/v2.0/token"),
    Read(plane="graph", method="GET", template="/v1.0/organization"),
    Read(plane="graph", method="GET", template="/v1.0/users"),
    Read(plane="graph", method="GET", template="/v1.0/users/delta"),
    Read(plane="graph", method="GET", template="/v1.0/users/{}"),
    Read(plane="graph", method="GET", template="/v1.0/users/{}/transitiveMemberOf"),
    Read(plane="graph", method="POST", template="/v1.0/users/{}/getMemberGroups"),
    Read(plane="graph", method="POST", template="/v1.0/users/{}/checkMemberGroups"),
    Read(plane="graph", method="GET", template="/v1.0/groups"),
    Read(plane="graph", method="GET", template="/v1.0/groups/delta"),
    Read(plane="graph", method="GET", template="/v1.0/groups/{}"),
    Read(plane="graph", method="GET", template="/v1.0/groups/{}/members"),
    Read(plane="graph", method="GET", template="/v1.0/groups/{}/transitiveMembers"),
    Read(plane="graph", method="POST", template="/v1.0/$batch"),
)

_BATCH = "/v1.0/$batch"
_GRAPH = frozenset({"graph"})


def allowed_read(
    cloud: Cloud, method: str, url: str, body: bytes | str | None = None
) -> Read:
    """Return the entry that admits a request.

    Raises:
        NotAllowed: the address is none of the cloud's, or the request is not a
            read the console makes. For `$batch` this holds for every item.
    """
    try:
        address = _origin(url)
    except ValueError:
        raise errors.NotAllowed(
            "A request to an unreadable address was stopped."
        ) from None
    planes = frozenset(
        plane
        for plane, root in (("login", cloud.login_root), ("graph", cloud.graph_root))
        if _origin(root) == address
    )
    if not planes or not address.startswith("https://"):
        raise errors.NotAllowed(
            f"A request to another address than those of {cloud.name} was stopped."
        )
    read = _match(planes, method, urlsplit(url).path)
    if read is None:
        raise errors.NotAllowed(
            f"A {_word(method)} request that is not on the list of reads was stopped."
        )
    if read.template == _BATCH:
        _check_batch(body)
    return read


# Of a page: its link is looked at when it comes, and when it is sent.
_origin = lru_cache(maxsize=16)(origin)


def _word(method: str) -> str:
    return method if re.fullmatch(r"[A-Z]{1,10}", method) else "malformed"


# All pages of a round have one path.
@lru_cache(maxsize=64)
def _match(planes: frozenset[str], method: str, path: str) -> Read | None:
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        decoded = unquote(segment)
        # What a server might take for another path: encoded separators, dots.
        if (
            not decoded
            or decoded in (".", "..")
            or re.search(r"[/\\\x00-\x1f]", decoded)
        ):
            return None
    return next(
        (
            read
            for read in ALLOWED
            if read.plane in planes and read.matches(method, segments)
        ),
        None,
    )


def _check_batch(body: bytes | str | None) -> None:
    try:
        items = orjson.loads(body or b"")["requests"]
        inner = [(item["method"], urlsplit(item["url"])) for item in items]
        paths = [f"/v1.0/{url.path.removeprefix('/')}" for _method, url in inner]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise errors.NotAllowed("A batch that cannot be read was stopped.") from None
    if not 1 <= len(inner) <= BATCH_LIMIT:
        raise errors.NotAllowed("A batch of the wrong size was stopped.")
    for (method, url), path in zip(inner, paths, strict=True):
        if (
            url.scheme
            or url.netloc
            or path == _BATCH
            or _match(_GRAPH, method, path) is None
        ):
            raise errors.NotAllowed(
                "A batch with an item that is not on the list of reads was stopped."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One attempt, as it is reported: no secret is in it, and `address` alone may name
    a person. It is for whoever asked, and is neither logged nor kept."""

    method: str
    template: str
    status: int | None
    """None when no complete answer arrived."""
    seconds: float
    bytes_received: int
    resource_units: int
    """Of a batch, those of its items together."""
    throttle_percentage: float | None
    request_id: str
    client_request_id: str
    address: str = field(default="", repr=False)
    """Path and query as sent, without the tokens of pages."""


class TransferObserver(Protocol):
    """What a caller passes to watch a session; both run in the caller's thread."""

    def exchanged(self, exchange: Exchange) -> None: ...

    def waiting(self, seconds: float, reason: str) -> None:
        """The session is about to wait; `reason` is a sentence for people."""
        ...


@dataclass(slots=True)
class TransferStats:
    """Adds up what a session did."""

    requests: int = 0
    failures: int = 0
    bytes_received: int = 0
    resource_units: int = 0
    throttled: int = 0
    waits: int = 0
    waited_seconds: float = 0.0
    throttle_percentage: float | None = None
    """How much of the limit is used (1.0 = all), where Microsoft last said so."""
    last_request_id: str = ""
    last_client_request_id: str = ""
    on_wait: Callable[[float, str], None] | None = field(default=None, repr=False)

    def exchanged(self, exchange: Exchange) -> None:
        self.requests += 1
        self.bytes_received += exchange.bytes_received
        self.resource_units += exchange.resource_units
        if exchange.status is None or exchange.status >= 400:
            self.failures += 1
        if exchange.status == 429:
            self.throttled += 1
        if exchange.throttle_percentage is not None:
            self.throttle_percentage = exchange.throttle_percentage
        self.last_request_id = exchange.request_id
        self.last_client_request_id = exchange.client_request_id

    def waiting(self, seconds: float, reason: str) -> None:
        self.waits += 1
        self.waited_seconds += seconds
        if self.on_wait is not None:
            self.on_wait(seconds, reason)


class _TlsAdapter(HTTPAdapter):
    """Connects over TLS as `tls_context` says, trusting more authorities if told."""

    def __init__(self, *, left: Callable[[], float], ca_file: str) -> None:
        self._left = left
        self._ca_file = ca_file
        # Found once for a host and what is trusted there, and not for each request.
        self._pools: dict[Hashable, Any] = {}
        self._trusting: set[Any] = set()
        super().__init__()

    @property
    def shaken(self) -> Mapping[str, TlsInUse]:
        return self._context.shaken

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        self._context = kwargs["ssl_context"] = tls_context(self._left)
        super().init_poolmanager(*args, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        kwargs["ssl_context"] = kwargs["proxy_ssl_context"] = self._context
        return super().proxy_manager_for(proxy, **kwargs)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,
        proxies: Any = None,
        cert: Any = None,
    ) -> Any:
        key = (_origin(request.url or ""), verify, str(proxies), cert)
        if key not in self._pools:
            self._pools[key] = super().get_connection_with_tls_context(
                request, verify, proxies, cert
            )
        return self._pools[key]

    def cert_verify(self, conn: Any, *args: Any, **kwargs: Any) -> None:
        if conn in self._trusting:
            return
        super().cert_verify(conn, *args, **kwargs)  # type: ignore[no-untyped-call]
        if self._ca_file:
            # Here and not before: a file that cannot be read fails a call by name.
            self._context.load_verify_locations(cafile=self._ca_file)
            self._ca_file = ""
        self._trusting.add(conn)

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        # Over TLS a proxy passes on what it cannot read.
        return request.path_url

    def close(self) -> None:
        self._pools.clear()
        self._trusting.clear()
        super().close()


class _WithoutNames(logging.Filter):
    """Shorten the paths in urllib3's lines: they hold names of people."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                "/".join(arg.partition("?")[0].split("/")[:3])
                if isinstance(arg, str) and arg.startswith("/")
                else arg
                for arg in record.args
            )
        return True


class _WithoutAnswers(logging.Filter):
    """Drop urllib3's warning of headers it cannot parse.

    It quotes the whole address and what the other side sent.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.exc_info


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutNames())
logging.getLogger("urllib3.connection").addFilter(_WithoutAnswers())


class EntraSession(requests.Session):
    """The session that MSAL and the Graph client share.

    Args:
        tls_observer: called with what is spoken, once for each host and again when
            it changes. Another one that is set later is told anew, also of
            connections that are open already.
        total_seconds: limit for one call, all attempts and waits together.
        conversation_seconds: limit for all calls together, from now on.
        attempts: how often one request is sent at most.
        sleep, clock, wall_clock: for tests; `clock` is monotonic seconds,
            `wall_clock` seconds since 1970.
        jitter: takes (low, high) and returns a number between them.

    Raises, from every call:
        NotAllowed, Unreachable, TlsRefused, RedirectRefused, GraphUnavailable,
        SignInUnavailable. Every other status is returned to the caller.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        observer: TransferObserver | None = None,
        tls_observer: Callable[[TlsInUse], None] | None = None,
        total_seconds: float = TOTAL_SECONDS,
        conversation_seconds: float = float("inf"),
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__()
        self.cloud = cloud
        self.observer = observer
        self._tls_seen: dict[str, TlsInUse] = {}
        self.tls_observer = tls_observer
        self.total_seconds = total_seconds
        self.attempts = attempts
        self._sleep = sleep
        self._clock = clock
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._ends = clock() + conversation_seconds
        self._deadline = float("inf")
        self.adapters.clear()
        self._adapter = _TlsAdapter(
            left=lambda: self._deadline - self._clock(),
            ca_file="" if cloud.loopback else cloud.egress.ca_file,
        )
        self.mount("https://", self._adapter)
        # Else proxies, authorities and even credentials (~/.netrc) would come from
        # the environment.
        self.trust_env = False
        self.headers["Accept-Encoding"] = "gzip"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    @property
    def tls_observer(self) -> Callable[[TlsInUse], None] | None:
        return self._tls_observer

    @tls_observer.setter
    def tls_observer(self, observer: Callable[[TlsInUse], None] | None) -> None:
        self._tls_observer = observer
        self._tls_seen.clear()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Keep requests from even preparing to follow a redirect."""
        return None

    def send(
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        """Send a prepared request, trying again where that is right."""
        read = allowed_read(
            self.cloud,
            request.method or "",
            request.url or "",
            request.body,
        )
        retried = _RETRIED_FOR_CODES if _redeems_code(read, request) else _RETRIED
        left = self._left()
        if left <= 0:
            raise _too_late()
        deadline = self._deadline = self._clock() + left
        attempt = 0
        while True:
            attempt += 1
            sent = request.copy()
            sent.headers["client-request-id"] = client_id = str(uuid.uuid4())
            started = self._clock()
            failure: errors.Unreachable | None = None
            response: requests.Response | None = None
            try:
                response = self._attempt(read, sent, deadline)
            except errors.Unreachable as error:
                failure = error
            self._report(read, sent, response, client_id, self._clock() - started)

            if response is not None and response.status_code not in retried:
                if response.status_code in _RETRIED:
                    raise self._unavailable(read, response)
                if 300 <= response.status_code < 400:
                    raise errors.RedirectRefused(
                        f"{_party(read)} answered with a redirect.",
                        status=response.status_code,
                        request_id=request_id(response),
                    )
                return response

            if failure is not None and (
                not failure.retryable or retried is not _RETRIED
            ):
                raise failure
            wait = self._wait_before_next(attempt, response)
            over = attempt >= self.attempts or self._clock() + wait >= deadline
            if over and failure is not None:
                raise failure
            if over and response is not None:
                raise self._unavailable(read, response)
            # Microsoft asks for a new connection after 503 and 504.
            # https://learn.microsoft.com/graph/best-practices-concept
            self._adapter.close()
            self._wait(wait, _reason(read, response))

    def asked_to_wait(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds that the headers of an answer ask to wait for."""
        return retry_after(headers, self._wall_clock())

    def pause(self, seconds: float, reason: str) -> bool:
        """Wait between two calls; False at once when it is longer than a call may be."""
        if seconds >= self._left():
            return False
        self._wait(seconds, reason)
        return True

    def _left(self) -> float:
        """Return the seconds that a call may take which begins now."""
        return min(self.total_seconds, self._ends - self._clock())

    def _wait(self, seconds: float, reason: str) -> None:
        if self.observer is not None:
            self.observer.waiting(seconds, reason)
        self._sleep(seconds)

    def _attempt(
        self,
        read: Read,
        request: requests.PreparedRequest,
        deadline: float,
    ) -> requests.Response:
        left = max(0.1, deadline - self._clock())
        host = urlsplit(request.url or "").hostname or ""
        proxy = "" if self.cloud.loopback else self.cloud.egress.proxy_for(host)
        # The exceptions of requests quote the whole address with its query, so
        # they are not chained: a traceback in a log would show them.
        try:
            # By the adapter alone: what the session would add is cookies, hooks and
            # redirects, of which there are none.
            response = self.get_adapter(request.url or "").send(
                request,
                stream=True,
                timeout=(min(CONNECT_SECONDS, left), min(READ_SECONDS, left)),
                verify=self.cloud.ca_file or True,
                proxies={"https": proxy} if proxy else {},
            )
        except requests.exceptions.SSLError as failure:
            why = refusal(failure, host)
            if why is None:
                raise self._unreachable() from None
            raise errors.TlsRefused(
                why.sentence, advice=why.advice, code=why.code
            ) from None
        except requests.exceptions.Timeout:
            raise _too_late() from None
        except requests.exceptions.ProxyError as failure:
            raise _proxy_failure(failure) from None
        except (requests.exceptions.RequestException, Urllib3Error):
            raise self._unreachable() from None
        except OSError:
            raise errors.TlsRefused(
                "The file with the certificate authorities cannot be read.",
                advice="Check that the file exists, that it holds certificates in PEM "
                "form, and that the console may read it.",
                code="tls:authorities-unreadable",
            ) from None
        try:
            self._notice_tls(host, response)
            self._read_body(read, response, deadline)
        finally:
            response.close()
        return response

    def _notice_tls(self, host: str, response: requests.Response) -> None:
        connection = getattr(response.raw, "connection", None)
        seen = self._adapter.shaken.get(host) or in_use(
            host, getattr(connection, "sock", None)
        )
        if seen is None or self._tls_seen.get(host) == seen:
            return
        self._tls_seen[host] = seen
        if self.tls_observer is not None:
            self.tls_observer(seen)

    def _unreachable(self) -> errors.Unreachable:
        if self.cloud.key == SANDBOX_KEY:
            return errors.Unreachable(
                "The sandbox tenant cannot be reached: it does not run, or not at the "
                "address of the settings.",
                advice="Start it: 'make demo' does so together with the console, "
                "'manage.py entra_sandbox' alone. Nothing was changed.",
            )
        return errors.Unreachable("Microsoft cannot be reached.")

    def _read_body(
        self, read: Read, response: requests.Response, deadline: float
    ) -> None:
        """Read the whole body, however it is packed and however slowly it drips.

        The limit of size holds for what is unpacked: a few bytes can stand for
        gigabytes.
        """
        reference = errors.Reference(
            status=response.status_code, request_id=request_id(response)
        )
        packing = response.headers.get("Content-Encoding", "identity").strip().lower()
        if packing not in ("identity", "gzip", ""):
            raise _not_understood(read)(
                "An answer from Microsoft is packed in a way nobody asked for.",
                **reference,
            )
        unpacker = (
            isal_zlib.decompressobj(16 + isal_zlib.MAX_WBITS)
            if packing == "gzip"
            else None
        )
        chunks: list[bytes] = []
        left = MAX_BODY_BYTES
        try:
            # read1 returns what has arrived; read would wait for a full block.
            while chunk := response.raw.read1(65536, decode_content=False):
                if unpacker is not None:
                    chunk = unpacker.decompress(chunk, left + 1)
                left -= len(chunk)
                if left < 0:
                    raise _not_understood(read)(
                        "An answer from Microsoft is larger than any expected one.",
                        **reference,
                    )
                chunks.append(chunk)
                if self._clock() >= deadline:
                    raise TimeoutError
            if unpacker is not None and not unpacker.eof:
                raise EOFError
        except (  # type: ignore[misc]  # isal types its error as an instance
            Urllib3Error,
            OSError,
            EOFError,
            IsalError,
        ):
            late = self._clock() >= deadline
            raise errors.Unreachable(
                "Microsoft's answer took too long to arrive."
                if late
                else "The connection broke off in the middle of an answer.",
                **reference,
            ) from None
        response._content = b"".join(chunks)
        response._content_consumed = True  # type: ignore[attr-defined]

    def _wait_before_next(
        self, attempt: int, response: requests.Response | None
    ) -> float:
        if response is not None:
            named = self.asked_to_wait(response.headers)
            if named is not None:
                return named
        ceiling = min(30.0, 0.5 * 2**attempt)
        return self._jitter(ceiling / 2, ceiling)

    def _unavailable(
        self, read: Read, response: requests.Response
    ) -> errors.ServiceUnavailable:
        kind: type[errors.ServiceUnavailable] = (
            errors.SignInUnavailable
            if read.plane == "login"
            else errors.GraphUnavailable
        )
        what = (
            "is limiting the requests of the console"
            if response.status_code == 429
            else "is not available at the moment"
        )
        return kind(
            f"{_party(read)} {what}.",
            retry_after=self.asked_to_wait(response.headers),
            status=response.status_code,
            code=f"HTTP {response.status_code}",
            request_id=request_id(response),
        )

    def _report(
        self,
        read: Read,
        sent: requests.PreparedRequest,
        response: requests.Response | None,
        client_id: str,
        seconds: float,
    ) -> None:
        charged = _charged(read, response)
        exchange = Exchange(
            method=read.method,
            template=read.template,
            status=None if response is None else response.status_code,
            seconds=seconds,
            bytes_received=0 if response is None else len(response.content),
            resource_units=sum(
                int(_number(headers.get("x-ms-resource-unit")) or 0)
                for headers in charged
            ),
            throttle_percentage=max(
                (
                    used
                    for headers in charged
                    if (used := _number(headers.get("x-ms-throttle-limit-percentage")))
                    is not None
                ),
                default=None,
            ),
            request_id="" if response is None else request_id(response),
            client_request_id=client_id,
            address=_PAGE_TOKEN.sub(r"\1…", unquote(sent.path_url)),
        )
        logger.info(
            "%s %s %s in %.0f ms, request-id %s, client-request-id %s",
            exchange.method,
            exchange.template,
            exchange.status or "no answer",
            exchange.seconds * 1000,
            exchange.request_id or "none",
            client_id,
        )
        if self.observer is not None:
            self.observer.exchanged(exchange)


def _charged(read: Read, response: requests.Response | None) -> list[Mapping[str, str]]:
    """Return the headers that say what an answer cost.

    A batch is charged by its items, each of which says so in headers of its own; that
    they can be read is not seen to here.
    https://learn.microsoft.com/graph/throttling#throttling-and-batching
    """
    if response is None:
        return []
    if read.template != _BATCH:
        return [response.headers]
    try:
        items = orjson.loads(response.content)["responses"]
        return [
            CaseInsensitiveDict(
                (name, text)
                for name, text in item["headers"].items()
                if isinstance(text, str)
            )
            for item in items
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


_PAGE_TOKEN = re.compile(r"(\$(?:skip|delta)token=)[^&]*", re.IGNORECASE)
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")


def _too_late() -> errors.Unreachable:
    return errors.Unreachable("Microsoft did not answer in time.")


def _proxy_failure(failure: requests.exceptions.ProxyError) -> errors.Unreachable:
    """Tell a proxy that is not there from one that does not let us through."""
    found = _TUNNEL.search(str(failure))
    status = int(found.group(1)) if found else None
    if status == 407:
        return errors.Unreachable(
            "The proxy between the console and Microsoft asks for a user name and a "
            "password, or refuses the ones it got.",
            advice="Put them into HTTPS_PROXY, or have the proxy let the console "
            "through. Nothing was changed.",
            code="proxy:407",
        )
    if status is not None:
        return errors.Unreachable(
            "The proxy between the console and Microsoft does not let it through.",
            advice="Have the proxy admit Microsoft's hosts on port 443. Nothing was "
            "changed.",
            code=f"proxy:{status}",
        )
    return errors.Unreachable(
        "The proxy between the console and Microsoft cannot be used.",
        advice="Check HTTPS_PROXY and that the proxy runs. Nothing was changed.",
        code="proxy:unreachable",
    )


def _not_understood(
    read: Read,
) -> type[errors.SignInResponseError | errors.GraphResponseError]:
    return (
        errors.SignInResponseError
        if read.plane == "login"
        else errors.GraphResponseError
    )


def _party(read: Read) -> str:
    return "Microsoft's sign-in service" if read.plane == "login" else "Microsoft Graph"


def _reason(read: Read, response: requests.Response | None) -> str:
    if response is None:
        return "The connection to Microsoft broke."
    if response.status_code == 429:
        return f"{_party(read)} asked the console to slow down."
    return f"{_party(read)} answered {response.status_code}."


def _redeems_code(read: Read, request: requests.PreparedRequest) -> bool:
    if read.plane != "login" or read.method != "POST":
        return False
    body = request.body
    text = body.decode() if isinstance(body, bytes) else str(body or "")
    return parse_qs(text).get("grant_type") == ["authorization_code"]


_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def _number(text: str | None) -> float | None:
    # `float` would also read nan, inf and 1e400.
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


def request_id(response: requests.Response) -> str:
    """Return Microsoft's id of a request, or an empty text."""
    for header in ("request-id", "x-ms-request-id"):
        value = response.headers.get(header, "")
        if _REQUEST_ID.fullmatch(value):
            return value
    return ""


def retry_after(headers: Mapping[str, str], wall_clock: float) -> float | None:
    """Return the seconds that `Retry-After` asks for, in either of its forms.

    Graph's own example has a fraction. Nothing asks for more than a day: a wrong
    number must not put a connection to sleep for years.
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    https://learn.microsoft.com/graph/throttling#sample-response
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", value):
        return min(float(value), LONGEST_RETRY_AFTER)
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - wall_clock), LONGEST_RETRY_AFTER)
