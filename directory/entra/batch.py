"""Several requests to Graph in one, and what came of each.

The envelope says 200 even if every request in it failed; each has a status of its
own. https://learn.microsoft.com/graph/json-batching
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import orjson
from requests.structures import CaseInsensitiveDict

from directory.entra import errors
from directory.entra.objects import unreadable

T_co = TypeVar("T_co", covariant=True)

# What a single request may answer otherwise: throttled, failed, held up by another
# item (424), or with a token that had just run out.
ASKED_AGAIN = frozenset({401, 408, 424, 429, 500, 502, 503, 504})

_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer(Generic[T_co]):
    """What Microsoft says now about one of several things asked for.

    Exactly one is set. An `error` other than `gone` means not known, and never that
    the thing is not there.
    """

    value: T_co | None = None
    error: errors.EntraError | None = None

    @property
    def gone(self) -> bool:
        """There is no such object in the tenant."""
        return isinstance(self.error, errors.DirectoryObjectNotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One request of a batch; `path` begins with a slash and carries the query."""

    method: Literal["GET", "POST"]
    path: str
    body: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)

    @property
    def request_id(self) -> str:
        value = self.headers.get("request-id", "")
        return value if _REQUEST_ID.fullmatch(value) else ""


def envelope(items: Sequence[BatchItem], *, headers: Mapping[str, str]) -> bytes:
    """Return the body of a batch; ids are the positions of the items from 1 on.

    `headers` go with every item: Graph does not hand those of the batch on.
    """
    rows: list[dict[str, object]] = []
    for number, item in enumerate(items, start=1):
        row: dict[str, object] = {
            "id": str(number),
            "method": item.method,
            "url": item.path,
            "headers": dict(headers),
        }
        if item.body is not None:
            row["headers"] = {**headers, "Content-Type": "application/json"}
            row["body"] = item.body
        rows.append(row)
    return orjson.dumps({"requests": rows})


def answers(body: Mapping[str, Any], *, count: int) -> list[BatchAnswer | None]:
    """Return the answers in the order of their items, None where one is missing.

    Raises:
        GraphResponseError: an answer to something that was not asked, a second one
            to the same, or one without a status.
    """
    found: list[BatchAnswer | None] = [None] * count
    rows = body.get("responses")
    if not isinstance(rows, list):
        raise unreadable("responses of a batch: they are missing or not a list")
    expected = {str(number + 1): number for number in range(count)}
    for row in rows:
        name = row.get("id") if isinstance(row, dict) else None
        position = expected.get(name) if isinstance(name, str) else None
        status = row.get("status") if isinstance(row, dict) else None
        if position is None or found[position] is not None:
            raise unreadable("a batch: an answer that belongs to no request")
        if isinstance(status, bool) or not isinstance(status, int):
            raise unreadable("a batch: an answer without a status")
        headers = row.get("headers")
        found[position] = BatchAnswer(
            status=status,
            headers=CaseInsensitiveDict(
                {
                    name: value
                    for name, value in headers.items()
                    if isinstance(value, str)
                }
                if isinstance(headers, dict)
                else {}
            ),
            body=row.get("body"),
        )
    return found
