"""Lines to Microsoft for one run: a session for each chain, tokens for both.

Chains run in threads, and threads touch no rows. What needs rows, such as finding the
credential that Microsoft accepts, is asked for at a desk, where the thread that works on
the run sees to it.
"""

import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from directory import clouds, tls, tokens
from directory.entra import (
    AccessToken,
    Cloud,
    EntraSession,
    GraphClient,
    KeptTokens,
    TlsInUse,
    TokenProvider,
)
from directory.entra.transport import Priority
from directory.models import CloudIdentityProvider
from directory.sync.traffic import Traffic

T = TypeVar("T")


class Stopped(Exception):
    """The run has ended; nobody is at the desk any more."""


@dataclass(slots=True)
class Task:
    """Something to do at the desk, and where its outcome goes."""

    do: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def carry_out(self) -> None:
        try:
            self.result = self.do()
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            self.error = error
        self.done.set()


class Desk:
    """Where threads have things done, and where they put what they read."""

    def __init__(self, size: int) -> None:
        self._events: queue.Queue[Any] = queue.Queue(maxsize=size)
        self._closed = threading.Event()

    def put(self, event: Any) -> None:
        """Put something on the desk, waiting for room. Raises Stopped."""
        while not self._closed.is_set():
            try:
                self._events.put(event, timeout=0.1)
            except queue.Full:
                continue
            return
        raise Stopped

    def mention(self, event: Any) -> None:
        """Put something down if there is room: it is worth less than what is there."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            return

    def ask(self, do: Callable[[], T]) -> T:
        """Have something done by the thread at the desk; raises what it raises."""
        task = Task(do)
        self.put(task)
        while not task.done.wait(timeout=0.1):
            if self._closed.is_set():
                raise Stopped
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def take(self, timeout: float) -> Any:
        """Return what comes next, or None when nothing came. At the desk alone."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def rest(self, seconds: float) -> None:
        """Wait, unless there is nobody at the desk any more. Raises Stopped."""
        if self._closed.wait(seconds):
            raise Stopped

    def close(self) -> None:
        self._closed.set()


class _DeskTokens:
    """Tokens for a thread, asked for at the desk.

    The first one is asked for as it is made, which is at the desk: no chain goes on
    without it.
    """

    def __init__(self, desk: Desk, source: TokenProvider) -> None:
        self._desk = desk
        self._source = source
        self._first: AccessToken | None = source.token()

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        first, self._first = self._first, None
        if first is not None and not fresh and claims is None:
            return first
        return self._desk.ask(lambda: self._source.token(fresh=fresh, claims=claims))


# Sessions that are not in use, by cloud and tenant: the next run of this process needs
# no new handshake.
_IDLE: dict[tuple[Cloud, str], list[EntraSession]] = defaultdict(list)
_IDLE_LOCK = threading.Lock()


def close_idle() -> None:
    """Close what no run uses."""
    with _IDLE_LOCK:
        for sessions in _IDLE.values():
            for session in sessions:
                session.close()
        _IDLE.clear()


class Lines:
    """The lines of one run. Sessions go back when it has ended well.

    `priority` is what Microsoft is told of every request.
    """

    def __init__(
        self,
        cloud_idp: CloudIdentityProvider,
        traffic: Traffic,
        desk: Desk,
        priority: Priority,
    ) -> None:
        self._priority = priority
        self._cloud_idp = cloud_idp
        self._cloud = clouds.cloud(cloud_idp.cloud)
        self._key = (self._cloud, cloud_idp.tenant_id)
        self._traffic = traffic
        self._desk = desk
        self._sessions: list[EntraSession] = []
        self._tokens: TokenProvider | None = None
        self._graphs: list[GraphClient] = []
        self._tls_seen: set[TlsInUse] = set()

    def open(self) -> GraphClient:
        """Open Microsoft Graph for a chain, with a token for it. At the desk alone.

        Raises:
            NoRegistration, clouds.CloudUnavailable, and what asking for a token does.
        """
        if self._tokens is None:
            # Used at the desk, which is where this runs.
            session = self._session(partial(tls.note, self._cloud_idp))
            self._tokens = tokens.for_connection(self._cloud_idp, session=session)
        session = self._session(self._tls_seen.add)
        graph = GraphClient(
            cloud=self._cloud,
            tokens=KeptTokens(_DeskTokens(self._desk, self._tokens)),
            session=session,
            priority=self._priority,
        )
        self._graphs.append(graph)
        return graph

    @property
    def used(self) -> Counter[str]:
        """How many answers each permission opened, on all lines."""
        return sum((graph.used for graph in self._graphs), Counter())

    def _session(self, tls_observer: Callable[[Any], None]) -> EntraSession:
        with _IDLE_LOCK:
            idle = _IDLE[self._key]
            session = idle.pop() if idle else EntraSession(self._cloud)
        session.observer, session.tls_observer = self._traffic, tls_observer
        self._sessions.append(session)
        return session

    def give_back(self) -> None:
        """Keep the sessions open for the next run of this process."""
        for session in self._sessions:
            session.observer = session.tls_observer = None
        with _IDLE_LOCK:
            _IDLE[self._key].extend(self._sessions)
        self._sessions = []

    def close(self) -> None:
        """Close what was not given back, and note which TLS was spoken."""
        for session in self._sessions:
            session.close()
        self._sessions = []
        # Chains shake hands with the same host, and touch no rows.
        seen, self._tls_seen = self._tls_seen, set()
        for each in seen:
            tls.note(self._cloud_idp, each)


OpenLines = Callable[[CloudIdentityProvider, Traffic, Desk, Priority], Lines]
