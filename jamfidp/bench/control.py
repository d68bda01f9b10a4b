"""The sandbox's control plane, as far as the bench needs it."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from jamfidp.bench.floors import connect


class Control:
    """Changes the first tenant of a running sandbox."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._tenant = facts["tenants"][0]["id"]

    def change(self, count: int) -> None:
        """Make changes: a tenth of people's, of the rest half joined and half left."""
        people = max(1, count // 10)
        joined = (count - people) // 2
        self._bulk("change-users", people, properties={"jobTitle": "Moved {n}"})
        self._bulk("add-memberships", joined)
        self._bulk("remove-memberships", count - people - joined)

    @contextmanager
    def delay(self, milliseconds: int) -> Iterator[None]:
        """Have Graph take so long for each answer."""
        self._call("PATCH", "behavior", {"answer_delay": milliseconds})
        try:
            yield
        finally:
            self._call("PATCH", "behavior", {"answer_delay": 0})

    def _bulk(self, action: str, count: int, **more: Any) -> None:
        self._call(
            "POST", f"tenants/{self._tenant}/bulk/{action}", {"count": count, **more}
        )

    def _call(self, method: str, path: str, body: dict[str, Any]) -> None:
        connection: http.client.HTTPSConnection = connect(self._facts)
        headers = {"X-Sandbox-Key": self._facts["control_key"]}
        connection.request(method, f"/control/{path}", orjson.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
