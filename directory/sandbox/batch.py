"""``$batch``: up to 20 calls in one, each answered, charged and refused by itself.

https://learn.microsoft.com/graph/json-batching
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from directory.sandbox.calls import Json
from directory.sandbox.errors import GraphError

MOST = 20
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Item:
    """One call of a batch; ``url`` is relative to /v1.0."""

    id: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    depends_on: tuple[str, ...]


def _bad(message: str) -> GraphError:
    return GraphError(400, "BadRequest", message)


def read(raw: bytes) -> list[Item]:
    """Read the items of a batch. Raises GraphError 400: then none of them is done."""
    try:
        given = orjson.loads(raw)["requests"]
        if not isinstance(given, list):
            raise TypeError
        items = [_item(each) for each in given]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _bad("Invalid batch payload format.") from None
    if len(items) > MOST:
        raise _bad("Number of requests inside batch exceed the limit.")
    seen: set[str] = set()
    for item in items:
        if not item.id or not item.method or not item.url:
            raise _bad("A request of a batch needs an id, a method and a url.")
        if item.id.lower() in seen:
            raise _bad(f"Request Id {item.id} has to be unique in a batch.")
        seen.add(item.id.lower())
        if item.method in _WITH_BODY and (
            item.body is None or "content-type" not in item.headers
        ):
            raise _bad(
                f"Write request id : {item.id} does not contain Content-Type header "
                "or body."
            )
    _check_order(items)
    return items


def _item(given: dict[str, Any]) -> Item:
    headers = given.get("headers") or {}
    return Item(
        id=str(given.get("id", "")),
        method=str(given.get("method", "")).upper(),
        url=str(given.get("url", "")),
        headers={str(name).lower(): str(value) for name, value in headers.items()},
        body=given.get("body"),
        depends_on=tuple(str(each) for each in given.get("dependsOn") or ()),
    )


def _check_order(items: list[Item]) -> None:
    """Admit the three forms Microsoft admits: parallel, serial, all on the same one."""
    ids = {item.id.lower() for item in items}
    for item in items:
        for name in item.depends_on:
            if name.lower() not in ids or name.lower() == item.id.lower():
                raise _bad(f"Request Id {item.id} depends on an unknown request.")
    waiting = [item for item in items if item.depends_on]
    if not waiting:
        return
    serial = all(
        tuple(name.lower() for name in item.depends_on) == (before.id.lower(),)
        for before, item in pairwise(items)
    )
    first = items[0]
    same = {tuple(name.lower() for name in item.depends_on) for item in waiting}
    shared = len(same) == 1 and not {name for each in same for name in each} & {
        item.id.lower() for item in waiting
    }
    if not (serial and not first.depends_on) and not shared:
        raise _bad("Batch should be either fully sequential or fully parallel.")


def run(items: list[Item], answer: Callable[[Item], Json]) -> list[Json]:
    """Answer every item, a dependent one only after what it depends on succeeded.

    ``answer`` returns an entry of the array of responses.
    """
    done: dict[str, Json] = {}
    for item in sorted(items, key=lambda item: bool(item.depends_on)):
        failed = [
            name for name in item.depends_on if done[name.lower()]["status"] >= 400
        ]
        done[item.id.lower()] = _failed_dependency(item) if failed else answer(item)
    return [done[item.id.lower()] for item in items]


def _failed_dependency(item: Item) -> Json:
    return {
        "id": item.id,
        "status": 424,
        "headers": {"Content-Type": "application/json"},
        "body": {
            "error": {
                "code": "FailedDependency",
                "message": "Request failed because a request it depends on failed.",
            }
        },
    }
