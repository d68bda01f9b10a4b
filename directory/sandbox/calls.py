"""A Graph call that has a valid token, and the paging all lists share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from directory.sandbox import graph_permissions, query
from directory.sandbox.directory_object import DirectoryObject
from directory.sandbox.errors import GraphError, bad_request
from directory.sandbox.page_tokens import TokenSealer
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import Tenant

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """A call that has a valid token and stands on the list of reads.

    ``user_id`` is who signed in, where the application acts for a person.
    """

    sandbox: Sandbox
    tenant: Tenant
    permissions: frozenset[str]
    user_id: str
    path: str
    keys: tuple[str, ...]
    counts_only: bool
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def eventual(self) -> bool:
        return self.headers.get("consistencylevel", "").lower() == "eventual"

    @property
    def counts(self) -> bool:
        return self.parameters.get("$count", "").lower() == "true"

    @property
    def advanced(self) -> bool:
        return self.eventual and self.counts

    def shown(self, entry: DirectoryObject) -> frozenset[str] | None:
        """Return the properties that may be seen of an object; None stands for all."""
        if entry.id == self.user_id:
            return None
        return graph_permissions.shown(entry.kind, self.permissions)

    def hidden(self) -> frozenset[int]:
        """Return the groups whose membership this application may not see."""
        if (
            self.sandbox.behavior.hidden_membership == "shown"
            or "Member.Read.Hidden" in self.permissions
        ):
            return frozenset()
        return self.tenant.hidden

    def context(self, fragment: str, names: tuple[str, ...] = ()) -> str:
        chosen = f"({','.join(names)})" if names else ""
        return f"{self.sandbox.url}/v1.0/$metadata#{fragment}{chosen}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read found: a JSON object, or its text where it is rendered already.

    ``gzipped`` is the same text compressed, for readers that take it so;
    ``media_type`` is named where it is not JSON.
    """

    body: Json | bytes
    gzipped: bytes | None = None
    media_type: str | None = None


def count(request: GraphRequest, number: int) -> Answer:
    """Answer ``/$count``, which is text. Raises GraphError without the header."""
    if not request.eventual:
        raise bad_request("$count is not currently supported.")
    return Answer(str(number).encode(), media_type="text/plain")


def sealer(request: GraphRequest) -> TokenSealer:
    return TokenSealer(request.sandbox.identity.page_key)


def paging(request: GraphRequest) -> tuple[int, int]:
    """Return (page size, where to start). Raises GraphError on a bad page token."""
    default = request.sandbox.behavior.page_size
    size = query.page_size(request.parameters.get("$top"), default)
    text = request.parameters.get("$skiptoken")
    if text is None:
        return size, 0
    token, now = sealer(request).open(text), request.sandbox.clock.now()
    if token is None or token["path"] != request.path:
        raise bad_request("The skip token is invalid.")
    if (
        token["tenant"] != request.tenant.id
        or token["generation"] != request.tenant.generation
        or (token["eventual"] and not request.eventual)
        or now - token["issued"] > request.sandbox.behavior.page_lifetime
    ):
        raise GraphError(
            400, "Directory_ExpiredPageToken", "The specified page token has expired."
        )
    return size, int(token["at"])


def next_link(request: GraphRequest, position: int) -> str:
    token = sealer(request).seal(
        {
            "path": request.path,
            "at": position,
            "tenant": request.tenant.id,
            "generation": request.tenant.generation,
            "eventual": request.eventual,
            "issued": request.sandbox.clock.now(),
        }
    )
    given = {
        name: value
        for name, value in request.parameters.items()
        if name != "$skiptoken"
    }
    return link(request, given | {"$skiptoken": token})


def link(request: GraphRequest, parameters: Mapping[str, str]) -> str:
    encoded = "&".join(
        f"{name}={quote(value, safe=',')}" for name, value in parameters.items()
    )
    return f"{request.sandbox.url}/v1.0{quote(request.path)}?{encoded}"
