"""Microsoft Graph v1.0 over HTTP: who asks, may they, and the shape of answers."""

import gzip
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from directory.sandbox.applications import ServicePrincipal
from directory.sandbox.calls import Answer, GraphRequest, Json
from directory.sandbox.errors import GraphError, bad_request, denied
from directory.sandbox.journal import Entry
from directory.sandbox.minting import graph_resources
from directory.sandbox.reads import find_read
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import GRAPH_APP_ID

_CONTENT_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)


_MOST_IN_BATCH = 20
_WORTH_COMPRESSING = 1024


class GraphPlane:
    """Answers everything under /v1.0."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def handle(self, request: Request) -> Response:
        entry: Entry = request.state.entry
        entry.plane = "graph"
        path = request.scope["path"].removeprefix("/v1.0").rstrip("/")
        raw = await request.body()
        parameters = dict(parse_qsl(request.url.query, keep_blank_values=True))
        request_id = str(uuid.uuid4())
        client_request_id = request.headers.get("client-request-id") or request_id
        headers = {
            "request-id": request_id,
            "client-request-id": client_request_id,
            "strict-transport-security": "max-age=31536000",
            "cache-control": "no-cache",
            "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Sandbox"}}',
        }
        lowered = {name.lower(): value for name, value in request.headers.items()}
        try:
            if request.method == "POST" and path == "/$batch":
                entry.template = "/v1.0/$batch"
                answer, units = self._batch(raw, lowered, entry), 1
            else:
                answer, units = self._answer(
                    request.method, path, parameters, lowered, raw, entry
                )
        except GraphError as error:
            return Response(
                orjson.dumps(
                    error.body(self.sandbox.clock, request_id, client_request_id)
                ),
                status_code=error.status,
                media_type="application/json",
                headers=headers | error.headers,
            )
        headers |= {
            "odata-version": "4.0",
            "x-ms-resource-unit": str(units),
            "vary": "Accept-Encoding",
            "content-type": _CONTENT_TYPE,
        }
        if request.method == "POST" and path != "/$batch":
            headers["location"] = self.sandbox.url
        return _encoded(answer, headers, lowered.get("accept-encoding", ""))

    def _answer(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        raw: bytes,
        entry: Entry,
    ) -> tuple[Answer, int]:
        found = find_read(method, path)
        if found is None:
            entry.refused = True
            raise denied()
        read, keys = found
        entry.template = f"/v1.0{read.template}"
        tenant, principal, roles = self._who(headers.get("authorization", ""))
        entry.tenant_id, entry.client_id = tenant.id, principal.client_id
        if not roles & read.permissions:
            raise denied()
        answer = read.handler(
            GraphRequest(
                sandbox=self.sandbox,
                tenant=tenant,
                roles=roles,
                path=path,
                keys=keys,
                parameters=parameters,
                headers=headers,
                body=_json(raw) if method == "POST" else None,
            )
        )
        return answer, read.units(parameters)

    def _who(
        self, authorization: str
    ) -> tuple[Tenant, ServicePrincipal, frozenset[str]]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("Access token is empty.")
        try:
            claims = self.sandbox.keys.read(token)
        except jwt.InvalidTokenError:
            raise _unauthorized("IDX14100: JWT is not well formed.") from None
        now = self.sandbox.clock.now()
        if not claims["nbf"] - 300 <= now < claims["exp"]:
            raise _unauthorized("Lifetime validation failed, the token is expired.")
        if claims["aud"] not in graph_resources(self.sandbox):
            raise _unauthorized("Access token validation failure. Invalid audience.")
        tenant = self.sandbox.tenants[claims["tid"]]
        principal = self.sandbox.principal(tenant.id, claims["appid"])
        if principal is None or claims["issued_at"] < principal.tokens_not_before:
            raise _unauthorized("The identity of the calling application is unknown.")
        return tenant, principal, frozenset(claims.get("roles", ()))

    def _batch(self, raw: bytes, headers: Mapping[str, str], entry: Entry) -> Answer:
        """Answer each item as if it came alone; a write inside is refused alone."""
        body = _json(raw)
        items = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(items, list) or len(items) > _MOST_IN_BATCH:
            raise bad_request("A batch holds an array of at most 20 requests.")
        self._who(headers.get("authorization", ""))
        names = [str(item.get("id", "")).lower() for item in items]
        if "" in names or len(set(names)) != len(names):
            raise bad_request("The ids of a batch must be present and unique.")
        return Answer(
            {"responses": [self._batch_item(item, headers, entry) for item in items]}
        )

    def _batch_item(self, item: Json, headers: Mapping[str, str], entry: Entry) -> Json:
        url = urlsplit("/" + str(item.get("url", "")).lstrip("/"))
        inner = {
            "authorization": headers.get("authorization", ""),
            **{
                str(name).lower(): str(value)
                for name, value in (item.get("headers") or {}).items()
            },
        }
        request_id = str(uuid.uuid4())
        template = entry.template
        try:
            answer, _units = self._answer(
                str(item.get("method", "GET")).upper(),
                url.path,
                dict(parse_qsl(url.query, keep_blank_values=True)),
                inner,
                json.dumps(item.get("body")).encode(),
                entry,
            )
            status, body = 200, _embedded(answer)
            more = {"Content-Type": _CONTENT_TYPE}
        except GraphError as error:
            status = error.status
            body = error.body(self.sandbox.clock, request_id, request_id)
            more = {"Content-Type": "application/json"} | error.headers
        entry.template = template
        return {"id": str(item["id"]), "status": status, "headers": more, "body": body}


def _encoded(answer: Answer, headers: dict[str, str], accepted: str) -> Response:
    """Render the answer, compressed where the reader takes gzip and it is worth it."""
    content = answer.body
    if isinstance(content, dict):
        content = orjson.dumps(content)
    if "gzip" in accepted and len(content) > _WORTH_COMPRESSING:
        headers["content-encoding"] = "gzip"
        content = answer.gzipped or gzip.compress(content, compresslevel=1)
    return Response(content, headers=headers)


def _embedded(answer: Answer) -> Any:
    """Return the body as a part of another one."""
    if isinstance(answer.body, bytes):
        return orjson.Fragment(answer.body)
    return answer.body


def _unauthorized(message: str) -> GraphError:
    return GraphError(
        401,
        "InvalidAuthenticationToken",
        message,
        headers={
            "WWW-Authenticate": 'Bearer realm="", authorization_uri='
            '"https://login.microsoftonline.com/common/oauth2/authorize", '
            f'client_id="{GRAPH_APP_ID}"'
        },
    )


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw or b"null")
    except ValueError:
        raise bad_request("Unable to read JSON request payload.") from None
