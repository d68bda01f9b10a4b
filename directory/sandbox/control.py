"""The control plane: what tests and the demo do to the sandbox from outside."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from directory.sandbox.changes import ChangeLog
from directory.sandbox.control_applications import ApplicationControl
from directory.sandbox.control_bulk import BulkControl
from directory.sandbox.control_calls import (
    BadControlRequest,
    Handler,
    guarded,
    need,
    read_object,
)
from directory.sandbox.control_directory import DirectoryControl, summarize
from directory.sandbox.control_sign_in import SignInControl
from directory.sandbox.directory_object import NotFoundError
from directory.sandbox.store import Sandbox


def routes(sandbox: Sandbox, log: ChangeLog) -> list[Route]:
    return [
        *SwitchControl(sandbox, log).routes(),
        *ApplicationControl(sandbox, log).routes(),
        *SignInControl(sandbox, log).routes(),
        *BulkControl(sandbox, log).routes(),
        *DirectoryControl(sandbox, log).routes(),
    ]


class SwitchControl:
    """Handlers of the sandbox as a whole: reset, journal, faults, clock."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def routes(self) -> list[Route]:
        table: dict[str, dict[str, Handler]] = {
            "/": {"GET": self.summary},
            "/reset": {"POST": self.reset},
            "/snapshots": {"GET": self.list_snapshots},
            "/snapshots/{name}": {
                "PUT": self.take_snapshot,
                "DELETE": self.drop_snapshot,
            },
            "/snapshots/{name}/restore": {"POST": self.restore_snapshot},
            "/journal": {"GET": self.read_journal, "DELETE": self.clear_journal},
            "/behavior": {"GET": self.read_behavior, "PATCH": self.change_behavior},
            "/clock": {"GET": self.read_clock, "PUT": self.set_clock},
            "/faults": {
                "GET": self.list_faults,
                "POST": self.add_fault,
                "DELETE": self.clear_faults,
            },
            "/delta/expire": {"POST": self.expire_delta},
        }
        return [
            guarded(self.sandbox, path, handlers) for path, handlers in table.items()
        ]

    async def summary(self, _request: Request) -> Any:
        return {
            "tenants": [
                summarize(self.sandbox, each) for each in self.sandbox.tenants.values()
            ],
            "time": self.sandbox.clock.zulu(),
        }

    async def reset(self, _request: Request) -> Any:
        self.log.reset()

    async def list_snapshots(self, _request: Request) -> Any:
        kept = self.log.snapshots.items()
        return {"snapshots": [{"name": name, "at": each[0].at} for name, each in kept]}

    async def take_snapshot(self, request: Request) -> Any:
        self.log.take_snapshot(request.path_params["name"])

    async def restore_snapshot(self, request: Request) -> Any:
        self.log.restore_snapshot(request.path_params["name"])

    async def drop_snapshot(self, request: Request) -> Any:
        name = request.path_params["name"]
        if self.log.snapshots.pop(name, None) is None:
            raise NotFoundError(f"There is no snapshot '{name}'.")

    async def read_journal(self, request: Request) -> Any:
        query = request.query_params
        refused = query.get("refused")
        return {
            "entries": self.sandbox.journal.read(
                after=int(query.get("after", "0")),
                plane=query.get("plane", ""),
                refused=None if refused is None else refused == "true",
            )
        }

    async def clear_journal(self, _request: Request) -> Any:
        self.sandbox.journal.clear()

    async def read_behavior(self, _request: Request) -> Any:
        behavior = self.sandbox.behavior
        return {name: getattr(behavior, name) for name in behavior.__slots__}

    async def change_behavior(self, request: Request) -> Any:
        try:
            self.sandbox.behavior.update(await read_object(request))
        except ValueError as error:
            raise BadControlRequest(str(error)) from None
        return await self.read_behavior(request)

    async def read_clock(self, _request: Request) -> Any:
        clock = self.sandbox.clock
        return {
            "time": clock.zulu(),
            "offset_seconds": clock.offset,
            "stopped": clock.stopped_at is not None,
        }

    async def set_clock(self, request: Request) -> Any:
        """Move the clock by ``offset_seconds`` or to a ``time``, stop it, let it go."""
        body = await read_object(request)
        clock = self.sandbox.clock
        unknown = set(body) - {"offset_seconds", "time", "stopped"}
        if unknown or not body:
            raise BadControlRequest(
                "The clock takes 'offset_seconds', 'time' and 'stopped'."
            )
        try:
            if "stopped" in body:
                clock.stop() if body["stopped"] else clock.go()
            if "offset_seconds" in body:
                clock.offset = float(body["offset_seconds"])
            if "time" in body:
                moment = datetime.fromisoformat(str(body["time"]))
                clock.move_to(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
        except (TypeError, ValueError):
            raise BadControlRequest("This is no time.") from None
        return await self.read_clock(request)

    async def list_faults(self, _request: Request) -> Any:
        return {"faults": self.sandbox.faults.listed()}

    async def add_fault(self, request: Request) -> Any:
        body = await read_object(request)
        need(body, "path")
        try:
            return {"number": self.sandbox.faults.add(body).number}
        except TypeError as error:
            raise BadControlRequest(str(error)) from None

    async def clear_faults(self, _request: Request) -> Any:
        self.sandbox.faults.clear()

    async def expire_delta(self, request: Request) -> Any:
        """End every delta link issued until now, in the given shape."""
        body = await read_object(request)
        if shape := body.get("shape"):
            try:
                self.sandbox.behavior.update({"delta_expiry": shape})
            except ValueError as error:
                raise BadControlRequest(str(error)) from None
        self.sandbox.delta_valid_from = self.sandbox.clock.now()
