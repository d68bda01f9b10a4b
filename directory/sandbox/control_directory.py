"""Control of a tenant's people, groups and memberships."""

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from directory.sandbox.changes import Arguments, ChangeLog, new_id, tenant_of
from directory.sandbox.control_calls import (
    BadControlRequest,
    Handler,
    guarded,
    need,
    read_object,
)
from directory.sandbox.directory_object import DirectoryObject, Kind, NotFoundError
from directory.sandbox.store import Sandbox, company_of
from directory.sandbox.tenant import Tenant

_KINDS = {"users": Kind.USER, "groups": Kind.GROUP}


class DirectoryControl:
    """Handlers of /control/tenants."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def routes(self) -> list[Route]:
        table: dict[str, dict[str, Handler]] = {
            "/tenants/{tenant}": {"GET": self.show_tenant, "PATCH": self.change_tenant},
            "/tenants/{tenant}/groups/{key}/members": {
                "GET": self.list_members,
                "POST": self.add_members,
                "DELETE": self.remove_members,
            },
            "/tenants/{tenant}/groups/{key}/members/{member}": {
                "PUT": self.add_member,
                "DELETE": self.remove_member,
            },
            "/tenants/{tenant}/users/{key}/role": {"PUT": self.give_role},
            "/tenants/{tenant}/{kind}/{key}/restore": {"POST": self.restore},
            "/tenants/{tenant}/{kind}": {"GET": self.list_objects, "POST": self.create},
            "/tenants/{tenant}/{kind}/{key}": {
                "GET": self.show,
                "PATCH": self.change,
                "DELETE": self.delete,
            },
        }
        return [
            guarded(self.sandbox, path, handlers) for path, handlers in table.items()
        ]

    async def show_tenant(self, request: Request) -> Any:
        return summarize(self.sandbox, self._tenant(request))

    async def change_tenant(self, request: Request) -> Any:
        tenant = self._tenant(request)
        self.log.apply(
            "change_tenant", await read_object(request) | {"tenant": tenant.id}
        )
        return summarize(self.sandbox, tenant)

    def _tenant(self, request: Request) -> Tenant:
        return tenant_of(self.sandbox, {"tenant": request.path_params["tenant"]})

    def _kind(self, request: Request) -> Kind:
        kind = _KINDS.get(request.path_params["kind"])
        if kind is None:
            raise NotFoundError("Only users and groups can be changed.")
        return kind

    def _object(self, request: Request) -> DirectoryObject:
        return find(
            self._tenant(request), request.path_params["key"], self._kind(request)
        )

    async def list_objects(self, request: Request) -> Any:
        tenant = self._tenant(request)
        return {
            "value": [
                _shown(tenant, entry) for entry in tenant.present(self._kind(request))
            ]
        }

    async def create(self, request: Request) -> Any:
        tenant, kind = self._tenant(request), self._kind(request)
        body = await read_object(request)
        given: Arguments = {"tenant": tenant.id, "id": body.pop("id", new_id())}
        if kind is Kind.GROUP:
            given["members"] = [find(tenant, key).id for key in body.pop("members", [])]
        given["properties"] = {"createdDateTime": self.sandbox.clock.zulu()} | body
        self.log.apply(f"create_{kind}", given)
        return _shown(tenant, tenant.need(given["id"]))

    async def show(self, request: Request) -> Any:
        return _shown(self._tenant(request), self._object(request))

    async def change(self, request: Request) -> Any:
        tenant, entry = self._tenant(request), self._object(request)
        body = await read_object(request)
        self.log.apply(
            f"change_{entry.kind}",
            {"tenant": tenant.id, "key": entry.id, "properties": body},
        )
        return _shown(tenant, tenant.need(entry.id))

    async def delete(self, request: Request) -> Any:
        tenant, entry = self._tenant(request), self._object(request)
        self.log.apply(
            "delete_object",
            {
                "tenant": tenant.id,
                "key": entry.id,
                "kind": entry.kind.value,
                "at": self.sandbox.clock.zulu(),
                "permanently": request.query_params.get("permanently") == "true",
            },
        )

    async def restore(self, request: Request) -> Any:
        tenant, entry = self._tenant(request), self._object(request)
        self.log.apply(
            "restore_object",
            {"tenant": tenant.id, "key": entry.id, "kind": entry.kind.value},
        )
        return _shown(tenant, tenant.need(entry.id))

    async def give_role(self, request: Request) -> Any:
        tenant = self._tenant(request)
        user = find(tenant, request.path_params["key"], Kind.USER)
        role = (await read_object(request)).get("role")
        self.log.apply("give_role", {"tenant": tenant.id, "key": user.id, "role": role})

    async def list_members(self, request: Request) -> Any:
        tenant = self._tenant(request)
        group = find(tenant, request.path_params["key"], Kind.GROUP)
        return {
            "value": [
                {
                    "id": member.id,
                    "kind": member.kind,
                    "displayName": member.properties.get("displayName"),
                }
                for member in tenant.listed(tenant.members(group.number))
            ]
        }

    async def add_members(self, request: Request) -> Any:
        return self._apply_members(
            request, "add_members", need(await read_object(request), "members")
        )

    async def remove_members(self, request: Request) -> Any:
        return self._apply_members(
            request, "remove_members", need(await read_object(request), "members")
        )

    async def add_member(self, request: Request) -> Any:
        member = request.path_params["member"]
        return self._apply_members(request, "add_members", [member])

    async def remove_member(self, request: Request) -> Any:
        member = request.path_params["member"]
        return self._apply_members(request, "remove_members", [member])

    def _apply_members(
        self, request: Request, operation: str, members: list[str]
    ) -> Any:
        tenant = self._tenant(request)
        group = find(tenant, request.path_params["key"], Kind.GROUP)
        ids = [find(tenant, member).id for member in members]
        self.log.apply(
            operation, {"tenant": tenant.id, "key": group.id, "members": ids}
        )
        return {"members": tenant.member_count(group.number)}


def summarize(sandbox: Sandbox, tenant: Tenant) -> Arguments:
    return {
        "id": tenant.id,
        "domain": tenant.domain,
        "initial_domain": tenant.initial_domain,
        "display_name": tenant.display_name,
        "users": tenant.count(Kind.USER),
        "groups": tenant.count(Kind.GROUP),
        "memberships": tenant.membership_count(),
        "sequence": tenant.sequence,
        "consents": sorted(sandbox.principals[tenant.id]),
        "global_admin": company_of(tenant.id).global_administrator.upn,
        "gone": sandbox.policies[tenant.id].gone,
        "cloud": sandbox.policies[tenant.id].cloud,
        "user_consent": sandbox.policies[tenant.id].user_consent,
    }


def find(tenant: Tenant, key: str, *kinds: Kind) -> DirectoryObject:
    """Find by id, by UPN, or a group by a display name that only one group has.

    Raises: NotFoundError, BadControlRequest when a name is ambiguous.
    """
    entry = tenant.find_even_deleted(key, *kinds)
    if entry is not None:
        return entry
    named = [
        group
        for group in tenant.present(Kind.GROUP)
        if group.properties["displayName"] == key
    ]
    if len(named) > 1:
        raise BadControlRequest(f"{len(named)} groups are named '{key}': use the id.")
    if not named or (kinds and Kind.GROUP not in kinds):
        raise NotFoundError(f"There is no object '{key}'.")
    return named[0]


def _shown(tenant: Tenant, entry: DirectoryObject) -> Arguments:
    return {
        "id": entry.id,
        **entry.properties,
        "deletedDateTime": entry.deleted_at,
        "groups": [
            tenant.id_of(group) for group in tenant.groups_holding(entry.number)
        ],
    }
