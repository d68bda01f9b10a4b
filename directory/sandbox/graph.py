"""Microsoft Graph v1.0 over HTTP: who asks, may they, what it costs, what is answered."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from isal import igzip
from starlette.requests import Request
from starlette.responses import Response

from directory.sandbox import batch, faults
from directory.sandbox.callers import Caller, identify
from directory.sandbox.calls import Answer, GraphRequest, Json
from directory.sandbox.directory_object import Kind
from directory.sandbox.errors import GraphError, bad_request, denied, no_segment
from directory.sandbox.graph_permissions import is_own_only
from directory.sandbox.journal import BatchEntry, Entry
from directory.sandbox.reads import Read, find_read
from directory.sandbox.store import Sandbox

_JSON = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)
_ERROR = "application/json"
_WORTH_COMPRESSING = 1024
ROOT = "/v1.0"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of Graph, alone or in a batch; header names are in lower case."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes | Json | None


@dataclass(slots=True)
class Reply:
    """What goes back, and what the journal notes of it."""

    status: int
    answer: Answer
    headers: dict[str, str]
    template: str
    units: int = 0
    refused: bool = False
    caller: Caller | None = None
    code: str = ""


@dataclass(slots=True)
class _Progress:
    """How far a call has come: an error on the way leaves it behind."""

    template: str
    refused: bool = False
    units: int = 0
    caller: Caller | None = None
    headers: dict[str, str] = field(default_factory=dict)


class GraphPlane:
    """Answers everything under /v1.0."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def handle(self, request: Request) -> Response:
        entry: Entry = request.state.entry
        path = request.scope["path"].removeprefix(ROOT).rstrip("/")
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(
            request.method,
            path,
            _parameters(request.scope["query_string"].decode("latin-1")),
            headers,
            await request.body(),
        )
        request_id = entry.request_id = str(uuid.uuid4())
        client_request_id = headers.get("client-request-id") or request_id
        if call.method == "POST" and path.lower() == "/$batch":
            reply = self._batch(call, entry, request_id, client_request_id)
        else:
            reply = self.answer(call, request_id, client_request_id)
        entry.template = f"{ROOT}{reply.template}"
        entry.units, entry.code = reply.units, reply.code
        entry.refused = entry.refused or reply.refused
        if reply.caller is not None:
            entry.tenant_id = reply.caller.tenant.id
            entry.client_id = reply.caller.client_id
        reply.headers |= {
            "request-id": request_id,
            "client-request-id": client_request_id,
            "strict-transport-security": "max-age=31536000",
            "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Sandbox"}}',
        }
        if reply.status == 200 and call.method == "POST" and "$batch" not in path:
            reply.headers["location"] = self.sandbox.url
        return _response(reply, headers.get("accept-encoding", ""))

    async def elsewhere(self, request: Request) -> Response:
        """Refuse an address that no plane knows, such as another version's."""
        entry: Entry = request.state.entry
        entry.refused, entry.request_id = True, str(uuid.uuid4())
        version = request.scope["path"].split("/")[1]
        error = GraphError(400, "BadRequest", f"Invalid version: {version}")
        entry.code = error.code
        client_request_id = request.headers.get("client-request-id", entry.request_id)
        body = error.body(self.sandbox.clock, entry.request_id, client_request_id)
        ids = {"request-id": entry.request_id, "client-request-id": client_request_id}
        return Response(orjson.dumps(body), error.status, ids, media_type=_ERROR)

    def answer(self, call: Call, request_id: str, client_request_id: str) -> Reply:
        """Answer one call; every refusal is an answer too."""
        progress = _Progress(call.path)
        code = ""
        try:
            answer = self._read(call, progress)
            status, headers = 200, {"odata-version": "4.0", "vary": "Accept-Encoding"}
            headers["content-type"] = answer.media_type or _JSON
        except GraphError as error:
            status, code = error.status, error.code
            headers = error.headers | {"content-type": _ERROR}
            answer = Answer(
                error.body(self.sandbox.clock, request_id, client_request_id)
            )
        if progress.units:
            headers["x-ms-resource-unit"] = str(progress.units)
        headers |= progress.headers | {"cache-control": "no-cache"}
        return Reply(
            status,
            answer,
            headers,
            progress.template,
            progress.units,
            progress.refused,
            progress.caller,
            code,
        )

    def _read(self, call: Call, progress: _Progress) -> Answer:
        found = _find(call)
        progress.refused = found is None
        if found is not None:
            progress.template = found[0].template + ("/$count" if found[2] else "")
        caller = progress.caller = identify(
            self.sandbox, call.headers.get("authorization", "")
        )
        if call.path.lower() == "/$batch":
            raise bad_request("A batch cannot hold another batch.")
        if found is None:
            raise no_segment(call.path) if call.method == "GET" else denied()
        read, keys, counts = found
        if read.of_me:
            if not caller.is_delegated:
                raise bad_request(
                    "/me request is only valid with delegated authentication flow."
                )
            keys = (caller.user_id, *keys)
        progress.units = read.units(call.parameters)
        self._charge(call, caller, progress)
        _check_permission(read, caller, keys)
        return read.handler(
            GraphRequest(
                sandbox=self.sandbox,
                tenant=self.sandbox.replication.seen(
                    caller.tenant,
                    call.path,
                    self.sandbox.behavior,
                    self.sandbox.clock.now(),
                ),
                permissions=caller.permissions,
                user_id=caller.user_id,
                path=call.path,
                keys=keys,
                counts_only=counts,
                parameters=call.parameters,
                headers=call.headers,
                body=_body(call) if call.method == "POST" else None,
            )
        )

    def _charge(self, call: Call, caller: Caller, progress: _Progress) -> None:
        """Take the units of a call. Raises GraphError 429."""
        charge = self.sandbox.throttle.charge(
            self.sandbox.behavior,
            now=self.sandbox.clock.now(),
            client_id=caller.client_id,
            tenant_id=caller.tenant.id,
            users=caller.tenant.count(Kind.USER),
            units=progress.units,
            priority=call.headers.get("x-ms-throttle-priority", ""),
        )
        progress.headers = charge.headers
        if charge.refused is not None:
            raise charge.refused

    def _batch(
        self, call: Call, entry: Entry, request_id: str, client_request_id: str
    ) -> Reply:
        """Answer each item as if it came alone; a write inside is refused alone."""
        authorization = call.headers.get("authorization", "")
        headers = {"cache-control": "no-cache", "content-type": _ERROR}
        caller = None
        try:
            caller = identify(self.sandbox, authorization)
            content = call.content
            items = batch.read(content if isinstance(content, bytes) else b"")
        except GraphError as error:
            body = error.body(self.sandbox.clock, request_id, client_request_id)
            headers |= error.headers
            return Reply(
                error.status,
                Answer(body),
                headers,
                "/$batch",
                caller=caller,
                code=error.code,
            )

        def answer(item: batch.Item) -> Json:
            return self._item(item, authorization, entry)

        responses = batch.run(items, answer)
        if self.sandbox.behavior.batch_order == "reversed":
            responses.reverse()
        headers |= {"odata-version": "4.0", "vary": "Accept-Encoding"}
        units = sum(noted.units for noted in entry.items)
        return Reply(
            200,
            Answer({"responses": responses}),
            headers,
            "/$batch",
            units,
            any(noted.refused for noted in entry.items),
            caller,
        )

    def _item(self, item: batch.Item, authorization: str, entry: Entry) -> Json:
        request_id = str(uuid.uuid4())
        url = "/" + item.url.partition("#")[0].removeprefix("/")
        path, _, query = url.partition("?")
        path = unquote(path.rstrip("/"))
        noted = BatchEntry(item.id, item.method, path, path)
        noted.priority = item.headers.get("x-ms-throttle-priority", "")
        entry.items.append(noted)
        call = Call(
            item.method,
            path,
            _parameters(query),
            {**item.headers, "authorization": authorization},
            item.body,
        )
        client_request_id = item.headers.get("client-request-id") or request_id
        fault = self.sandbox.faults.take(
            item.method, f"{ROOT}{path}", query, item=item.id
        )
        noted.fault = fault is not None
        if fault is not None and fault.status is not None:
            content = faults.scripted_body(
                fault, ROOT, self.sandbox.clock, request_id, client_request_id
            )
            reply = Reply(
                fault.status, Answer(content), {"content-type": _ERROR}, call.path
            )
        else:
            reply = self.answer(call, request_id, client_request_id)
        if fault is not None:
            _alter(reply, fault)
        noted.template = f"{ROOT}{reply.template}"
        noted.status, noted.units = reply.status, reply.units
        noted.refused, noted.code = reply.refused, reply.code
        body: Any = reply.answer.body
        if isinstance(body, bytes):
            is_text = reply.answer.media_type is not None
            body = body.decode() if is_text else orjson.Fragment(body)
        return {
            "id": item.id,
            "status": reply.status,
            "headers": _titled(reply.headers),
            "body": body,
        }


def _alter(reply: Reply, fault: faults.Fault) -> None:
    """Change an item's reply as a fault says, in place."""
    for name, value in fault.headers.items():
        reply.headers.pop(name.lower(), None)
        if value is not None:
            reply.headers[name] = value
    if fault.merge is not None:
        body = reply.answer.body
        real = orjson.loads(body) if isinstance(body, bytes) else body
        reply.answer = Answer(faults.merged(real, fault.merge))


_NAMES = {"content-type": "Content-Type", "cache-control": "Cache-Control"}


def _titled(headers: dict[str, str]) -> dict[str, str]:
    hidden = ("vary",)
    return {
        _NAMES.get(name, name): value
        for name, value in headers.items()
        if name not in hidden
    }


def _parameters(query: str) -> dict[str, str]:
    """Read the query; names of options are taken in any case, as Graph does."""
    return {
        name.lower() if name.startswith("$") else name: value
        for name, value in parse_qsl(query, keep_blank_values=True)
    }


def _find(call: Call) -> tuple[Read, tuple[str, ...], bool] | None:
    path = call.path
    counts = path.lower().endswith("/$count")
    found = find_read(call.method, path[: -len("/$count")] if counts else path)
    if found is None or (counts and not found[0].countable):
        return None
    return *found, counts


def _check_permission(read: Read, caller: Caller, keys: tuple[str, ...]) -> None:
    """Raises GraphError 403 unless the caller holds what Microsoft's table asks for."""
    needs = read.needs
    held = caller.permissions & (
        needs.delegated if caller.is_delegated else needs.application
    )
    if not held:
        raise denied()
    if caller.is_delegated and is_own_only(held) and read.template != "/organization":
        entry = caller.tenant.find(keys[0])
        if entry is None or entry.id != caller.user_id:
            raise denied()


def _body(call: Call) -> Any:
    if not isinstance(call.content, bytes):
        return call.content
    try:
        return orjson.loads(call.content or b"null")
    except orjson.JSONDecodeError:
        raise bad_request("Unable to read JSON request payload.") from None


def _response(reply: Reply, accepted: str) -> Response:
    """Render a reply, compressed where the reader takes gzip and it is worth it."""
    content = reply.answer.body
    if not isinstance(content, bytes):
        content = orjson.dumps(content)
    if "gzip" in accepted and reply.status == 200 and len(content) > _WORTH_COMPRESSING:
        reply.headers["content-encoding"] = "gzip"
        content = reply.answer.gzipped or igzip.compress(content, 1)
    return Response(content, status_code=reply.status, headers=reply.headers)
