"""What every control call goes through: the key, JSON in, JSON or an error out."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from directory.sandbox.changes import Arguments
from directory.sandbox.directory_object import DirectoryError, NotFoundError
from directory.sandbox.rules import RuleError
from directory.sandbox.store import Sandbox

Handler = Callable[[Request], Awaitable[Any]]


class BadControlRequest(Exception):
    """The control call itself is wrong; the message says how."""


def guarded(sandbox: Sandbox, path: str, handlers: Mapping[str, Handler]) -> Route:
    """Make a route of handlers by method; each needs the header X-Sandbox-Key."""

    async def endpoint(request: Request) -> Response:
        given = request.headers.get("x-sandbox-key", "")
        key = sandbox.identity.control_key
        if not hmac.compare_digest(given.encode(), key.encode()):
            return JSONResponse(
                {"error": "The header X-Sandbox-Key is missing or wrong."}, 403
            )
        handler = handlers[request.method.replace("HEAD", "GET")]
        try:
            result = await handler(request)
        except NotFoundError as error:
            return JSONResponse({"error": str(error)}, 404)
        except (DirectoryError, BadControlRequest, RuleError) as error:
            return JSONResponse({"error": str(error)}, 400)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # A value of a kind that the call does not take.
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
        return JSONResponse(result if result is not None else {})

    return Route(f"/control{path}", endpoint, methods=list(handlers))


async def read_object(request: Request) -> Arguments:
    """Return the body's JSON object; no body is an empty one."""
    if not await request.body():
        return {}
    try:
        body = await request.json()
    except ValueError:
        raise BadControlRequest("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise BadControlRequest("The body must be a JSON object.")
    return body


def need(body: Arguments, name: str) -> Any:
    if name not in body:
        raise BadControlRequest(f"'{name}' is missing.")
    return body[name]
