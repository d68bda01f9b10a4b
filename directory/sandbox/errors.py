"""Microsoft's two shapes of error: AADSTS from the login plane, OData from Graph."""

import uuid
from typing import Any

from directory.sandbox.clock import Clock


class LoginError(Exception):
    """An AADSTS error. ``error`` is OAuth's word for it, ``code`` Microsoft's number.

    ``claims`` are those a token would have to be asked for with.
    """

    def __init__(
        self,
        code: int,
        error: str,
        text: str,
        *,
        status: int = 400,
        suberror: str | None = None,
        claims: str = "",
    ) -> None:
        super().__init__(f"AADSTS{code}")
        self.code = code
        self.error = error
        self.text = text
        self.status = status
        self.suberror = suberror
        self.claims = claims

    def describe(self, clock: Clock, correlation_id: str) -> str:
        stamp = clock.zulu().replace("T", " ")
        return (
            f"AADSTS{self.code}: {self.text}\r\nTrace ID: {uuid.uuid4()}\r\n"
            f"Correlation ID: {correlation_id}\r\nTimestamp: {stamp}"
        )

    def body(self, clock: Clock, correlation_id: str, base_url: str) -> dict[str, Any]:
        description = self.describe(clock, correlation_id)
        trace_id = description.partition("Trace ID: ")[2][:36]
        body: dict[str, Any] = {
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": clock.zulu().replace("T", " "),
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{base_url}/error?code={self.code}",
        }
        if self.suberror:
            body["suberror"] = self.suberror
        if self.claims:
            body["claims"] = self.claims
        return body


class GraphError(Exception):
    """An OData error of Graph: the code is what clients act on."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: dict[str, str] | None = None,
        inner: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.inner = inner or {}

    def body(
        self, clock: Clock, request_id: str, client_request_id: str
    ) -> dict[str, Any]:
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "innerError": {
                    **self.inner,
                    "date": clock.zulu().removesuffix("Z"),
                    "request-id": request_id,
                    "client-request-id": client_request_id,
                },
            }
        }


def no_segment(path: str) -> GraphError:
    """Graph's answer to an address it does not know."""
    segment = path.strip("/").rpartition("/")[2]
    return GraphError(
        400, "BadRequest", f"Resource not found for the segment '{segment}'."
    )


def denied() -> GraphError:
    return GraphError(
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    )


def not_found(key: str) -> GraphError:
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{key}' does not exist or one of its queried reference-property "
        "objects are not present.",
    )


def bad_request(message: str) -> GraphError:
    return GraphError(400, "Request_BadRequest", message)


def unsupported(message: str) -> GraphError:
    return GraphError(400, "Request_UnsupportedQuery", message)
