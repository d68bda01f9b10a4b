"""What was asked of the sandbox, without anything that could be used again."""

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from directory.sandbox.tokens import short_hash

_LIMIT = 50_000

# Everything else is replaced by a short hash.
_HARMLESS = frozenset(
    {
        "grant_type",
        "scope",
        "client_id",
        "redirect_uri",
        "response_type",
        "response_mode",
        "prompt",
        "code_challenge_method",
        "client_assertion_type",
        "client_info",
        "claims",
        "step",
        "action",
        "post_logout_redirect_uri",
        "$select",
        "$top",
        "$count",
        "$filter",
        "$search",
        "$orderby",
    }
)


@dataclass(slots=True)
class BatchEntry:
    """One item of a batch; ``units`` are those it was charged."""

    id: str
    method: str
    path: str
    template: str
    status: int = 0
    refused: bool = False
    fault: bool = False
    units: int = 0
    code: str = ""
    priority: str = ""


@dataclass(slots=True)
class Entry:
    """One request. ``refused`` marks what Graph's list of reads does not hold.

    A batch has ``items``; it is refused when one of them is. ``code`` is Graph's code
    of an error, or the AADSTS number of the sign-in service's. ``priority`` is what
    x-ms-throttle-priority said.
    """

    number: int
    at: str
    plane: str
    method: str
    path: str
    template: str
    query: list[str]
    status: int = 0
    milliseconds: float = 0.0
    request_id: str = ""
    client_request_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    refused: bool = False
    fault: bool = False
    units: int = 0
    code: str = ""
    priority: str = ""
    items: list[BatchEntry] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)


class Journal:
    """The last requests, oldest first; the eldest are dropped beyond a limit."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_LIMIT)
        self._count = 0

    def clear(self) -> None:
        self._entries.clear()

    def add(
        self, *, at: str, plane: str, method: str, path: str, query: list[str]
    ) -> Entry:
        self._count += 1
        entry = Entry(
            number=self._count,
            at=at,
            plane=plane,
            method=method,
            path=path,
            template=path,
            query=query,
        )
        self._entries.append(entry)
        return entry

    def read(
        self, *, after: int = 0, plane: str = "", refused: bool | None = None
    ) -> list[dict[str, Any]]:
        return [
            asdict(entry)
            for entry in self._entries
            if entry.number > after
            and (not plane or entry.plane == plane)
            and (refused is None or entry.refused is refused)
        ]


def redact(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {
        name: value if name in _HARMLESS else short_hash(value)
        for name, value in parameters
    }
