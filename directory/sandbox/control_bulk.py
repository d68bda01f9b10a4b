"""Control of many people, groups and memberships in one call."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from directory.sandbox.changes import ChangeLog, tenant_of
from directory.sandbox.control_calls import BadControlRequest, guarded, read_object
from directory.sandbox.control_directory import find
from directory.sandbox.directory_object import Kind
from directory.sandbox.store import Sandbox


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        _are_texts(each) and len(each) == 2 for each in value
    )


_SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "keys": (_are_texts, "a list of ids or user principal names"),
    "memberships": (_are_pairs, "a list of pairs of a group and a member"),
    "properties": (lambda value: isinstance(value, dict), "an object"),
    "count": (lambda value: type(value) is int and value >= 0, "a number"),
    "seed": (lambda value: type(value) is int, "a number"),
    "group": (lambda value: isinstance(value, str), "a group"),
    "permanently": (lambda value: isinstance(value, bool), "true or false"),
}


class BulkControl:
    """Handlers of /control/tenants/…/bulk."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def routes(self) -> list[Route]:
        path = "/tenants/{tenant}/bulk/{action}"
        return [guarded(self.sandbox, path, {"POST": self.apply})]

    async def apply(self, request: Request) -> Any:
        """Make many changes; without a seed, chance differs from call to call."""
        tenant = tenant_of(self.sandbox, {"tenant": request.path_params["tenant"]})
        body = await read_object(request)
        for name, value in body.items():
            fits, shape = _SHAPES.get(name, (None, ""))
            if fits is None:
                raise BadControlRequest(f"'{name}' is not known here.")
            if not fits(value):
                raise BadControlRequest(f"'{name}' is {shape}.")
        if "group" in body:
            body["group"] = find(tenant, body["group"], Kind.GROUP).id
        context = {
            "tenant": tenant.id,
            "action": request.path_params["action"],
            "at": self.sandbox.clock.zulu(),
        }
        given = {"seed": tenant.sequence, **body, **context}
        changed = self.log.apply("bulk", given)
        return {"changed": changed, "sequence": tenant.sequence}
