"""The control plane: what tests and the demo do to the sandbox from outside."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography import x509
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from directory.sandbox import rules
from directory.sandbox.changes import Arguments, ChangeLog, new_id, tenant_of
from directory.sandbox.store import Sandbox, company_of
from directory.sandbox.tenant import (
    DirectoryError,
    DirectoryObject,
    Kind,
    NotFoundError,
    Tenant,
)
from directory.sandbox.tokens import short_hash

Handler = Callable[["ControlPlane", Request], Awaitable[Any]]
_KINDS = {"users": Kind.USER, "groups": Kind.GROUP}


class BadControlRequest(Exception):
    """The control call itself is wrong; the message says how."""


class ControlPlane:
    """Handlers of /control. Each needs the header X-Sandbox-Key."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def routes(self) -> list[Route]:
        tenant = "/control/tenants/{tenant}"
        things = tenant + "/{kind:str}"
        application = "/control/applications/{client_id}"
        return [
            self._route("/control/", {"GET": self.summary}),
            self._route("/control/reset", {"POST": self.reset}),
            self._route(
                "/control/journal",
                {"GET": self.read_journal, "DELETE": self.clear_journal},
            ),
            self._route(
                "/control/behavior",
                {"GET": self.read_behavior, "PATCH": self.change_behavior},
            ),
            self._route("/control/clock", {"PUT": self.move_clock}),
            self._route(
                "/control/faults",
                {
                    "GET": self.list_faults,
                    "POST": self.add_fault,
                    "DELETE": self.clear_faults,
                },
            ),
            self._route(
                "/control/forge", {"POST": self.forge, "DELETE": self.clear_forged}
            ),
            self._route("/control/delta/expire", {"POST": self.expire_delta}),
            self._route("/control/keys/rotate", {"POST": self.rotate_keys}),
            self._route("/control/sessions", {"DELETE": self.end_sessions}),
            self._route(
                "/control/applications",
                {"GET": self.list_applications, "POST": self.register_application},
            ),
            self._route(
                application,
                {"GET": self.show_application, "PATCH": self.change_application},
            ),
            self._route(
                application + "/redirect-uris", {"POST": self.add_redirect_uri}
            ),
            self._route(application + "/secrets", {"POST": self.add_secret}),
            self._route(
                application + "/secrets/{key_id}",
                {"PATCH": self.change_secret, "DELETE": self.remove_secret},
            ),
            self._route(
                application + "/certificates",
                {"POST": self.add_certificate, "DELETE": self.clear_certificates},
            ),
            self._route(tenant, {"GET": self.show_tenant, "PATCH": self.change_tenant}),
            self._route(
                tenant + "/consents/{client_id}",
                {
                    "GET": self.show_consent,
                    "PUT": self.grant,
                    "PATCH": self.revoke,
                    "DELETE": self.remove_principal,
                },
            ),
            self._route(
                tenant + "/groups/{key}/members",
                {
                    "GET": self.list_members,
                    "POST": self.add_members,
                    "DELETE": self.remove_members,
                },
            ),
            self._route(
                tenant + "/groups/{key}/members/{member}",
                {"PUT": self.add_member, "DELETE": self.remove_member},
            ),
            self._route(tenant + "/users/{key}/role", {"PUT": self.give_role}),
            self._route(things + "/{key}/restore", {"POST": self.restore}),
            self._route(things, {"GET": self.list_objects, "POST": self.create}),
            self._route(
                things + "/{key}",
                {"GET": self.show, "PATCH": self.change, "DELETE": self.delete},
            ),
        ]

    def _route(
        self, path: str, handlers: dict[str, Callable[[Request], Awaitable[Any]]]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            request.state.entry.plane = "control"
            given = request.headers.get("x-sandbox-key", "")
            key = self.sandbox.identity.control_key
            if not hmac.compare_digest(given.encode(), key.encode()):
                return JSONResponse(
                    {"error": "The header X-Sandbox-Key is missing or wrong."}, 403
                )
            try:
                result = await handlers[request.method](request)
            except NotFoundError as error:
                return JSONResponse({"error": str(error)}, 404)
            except (DirectoryError, BadControlRequest, rules.RuleError) as error:
                return JSONResponse({"error": str(error)}, 400)
            return JSONResponse(result if result is not None else {})

        return Route(path, endpoint, methods=list(handlers))

    async def summary(self, _request: Request) -> Any:
        return {
            "tenants": [
                self._tenant_summary(each) for each in self.sandbox.tenants.values()
            ],
            "time": self.sandbox.clock.zulu(),
        }

    async def reset(self, _request: Request) -> Any:
        self.log.reset()

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
            self.sandbox.behavior.update(await _object(request))
        except ValueError as error:
            raise BadControlRequest(str(error)) from None
        return await self.read_behavior(request)

    async def move_clock(self, request: Request) -> Any:
        body = await _object(request)
        self.sandbox.clock.offset = float(_need(body, "offset_seconds"))
        return {"time": self.sandbox.clock.zulu()}

    async def list_faults(self, _request: Request) -> Any:
        return {"faults": self.sandbox.faults.listed()}

    async def add_fault(self, request: Request) -> Any:
        body = await _object(request)
        _need(body, "path")
        try:
            return {"number": self.sandbox.faults.add(body).number}
        except TypeError as error:
            raise BadControlRequest(str(error)) from None

    async def clear_faults(self, _request: Request) -> Any:
        self.sandbox.faults.clear()

    async def forge(self, request: Request) -> Any:
        self.sandbox.forged.append(await _object(request))

    async def clear_forged(self, _request: Request) -> Any:
        self.sandbox.forged.clear()

    async def expire_delta(self, request: Request) -> Any:
        """End every delta link issued until now, in the given shape."""
        body = await _object(request)
        if shape := body.get("shape"):
            try:
                self.sandbox.behavior.update({"delta_expiry": shape})
            except ValueError as error:
                raise BadControlRequest(str(error)) from None
        self.sandbox.delta_valid_from = self.sandbox.clock.now()

    async def rotate_keys(self, request: Request) -> Any:
        body = await _object(request)
        self.sandbox.keys.rotate(keep_old=bool(body.get("keep_old", True)))
        return {"kids": [key.kid for key in self.sandbox.keys.keys]}

    async def end_sessions(self, _request: Request) -> Any:
        self.sandbox.browsers.clear()

    async def list_applications(self, _request: Request) -> Any:
        return {
            "applications": [
                self._application(client_id) for client_id in self.sandbox.applications
            ]
        }

    async def register_application(self, request: Request) -> Any:
        body = await _object(request)
        _need(body, "display_name")
        body.setdefault("client_id", new_id())
        self.log.apply("register_application", body)
        return self._application(body["client_id"])

    async def show_application(self, request: Request) -> Any:
        return self._application(request.path_params["client_id"])

    async def change_application(self, request: Request) -> Any:
        client_id = request.path_params["client_id"]
        body = await _object(request)
        self.log.apply("change_application", body | {"client_id": client_id})
        return self._application(client_id)

    async def add_redirect_uri(self, request: Request) -> Any:
        client_id = request.path_params["client_id"]
        uri = _need(await _object(request), "uri")
        self.log.apply("add_redirect_uri", {"client_id": client_id, "uri": uri})
        return self._application(client_id)

    async def add_secret(self, request: Request) -> Any:
        """Add a secret; the answer alone shows the value that was made."""
        body = await _object(request)
        given: Arguments = {
            "client_id": request.path_params["client_id"],
            "key_id": new_id(),
            "value": body.get("value") or f"sandbox~{new_id()}",
            "display_name": body.get("display_name", ""),
            "expires_at": self._expiry(body),
        }
        self.log.apply("add_secret", given)
        return {"key_id": given["key_id"], "value": given["value"]}

    async def change_secret(self, request: Request) -> Any:
        self.log.apply(
            "change_secret",
            {
                "client_id": request.path_params["client_id"],
                "key_id": request.path_params["key_id"],
                "expires_at": self._expiry(await _object(request)),
            },
        )

    async def remove_secret(self, request: Request) -> Any:
        self.log.apply("change_secret", {**request.path_params, "remove": True})

    def _expiry(self, body: Arguments) -> float | None:
        seconds = body.get("expires_in")
        return None if seconds is None else self.sandbox.clock.now() + float(seconds)

    async def add_certificate(self, request: Request) -> Any:
        pem = str(_need(await _object(request), "pem"))
        try:
            x509.load_pem_x509_certificate(pem.encode())
        except ValueError:
            raise BadControlRequest("'pem' is no certificate in PEM form.") from None
        self.log.apply("add_certificate", {**request.path_params, "pem": pem})

    async def clear_certificates(self, request: Request) -> Any:
        self.log.apply("clear_certificates", dict(request.path_params))

    def _application(self, client_id: str) -> Arguments:
        application = self.sandbox.applications.get(client_id)
        if application is None:
            raise NotFoundError(f"There is no application '{client_id}'.")
        return {
            "client_id": application.client_id,
            "display_name": application.display_name,
            "publisher": application.publisher,
            "enabled": application.enabled,
            "delegated": application.delegated,
            "application": application.application,
            "redirect_uris": application.redirect_uris,
            "certificates": len(application.certificates),
            "secrets": [
                {
                    "key_id": secret.key_id,
                    "display_name": secret.display_name,
                    "hash": short_hash(secret.value),
                    "expires_at": secret.expires_at,
                }
                for secret in application.secrets
            ],
        }

    def _tenant(self, request: Request) -> Tenant:
        return tenant_of(self.sandbox, {"tenant": request.path_params["tenant"]})

    def _tenant_summary(self, tenant: Tenant) -> Arguments:
        return {
            "id": tenant.id,
            "domain": tenant.domain,
            "initial_domain": tenant.initial_domain,
            "display_name": tenant.display_name,
            "users": len(tenant.present(Kind.USER)),
            "groups": len(tenant.present(Kind.GROUP)),
            "memberships": sum(map(len, tenant.members.values())),
            "sequence": tenant.sequence,
            "consents": sorted(self.sandbox.principals[tenant.id]),
            "global_admin": company_of(tenant.id).global_administrator.upn,
        }

    async def show_tenant(self, request: Request) -> Any:
        return self._tenant_summary(self._tenant(request))

    async def change_tenant(self, request: Request) -> Any:
        tenant = self._tenant(request)
        self.log.apply("change_tenant", await _object(request) | {"tenant": tenant.id})
        return self._tenant_summary(tenant)

    def _consent(self, tenant: Tenant, client_id: str) -> Arguments:
        found = self.sandbox.principal(tenant.id, client_id)
        if found is None:
            raise NotFoundError("The application has no service principal there.")
        return {
            "service_principal_id": found.object_id,
            "enabled": found.enabled,
            "roles": sorted(found.roles),
            "scopes": sorted(found.scopes),
            "user_scopes": {
                user: sorted(scopes) for user, scopes in found.user_scopes.items()
            },
        }

    async def show_consent(self, request: Request) -> Any:
        return self._consent(self._tenant(request), request.path_params["client_id"])

    async def grant(self, request: Request) -> Any:
        """Consent without pages; without a body to all the application registers."""
        tenant, client_id = self._tenant(request), request.path_params["client_id"]
        body = await _object(request)
        application = self.sandbox.applications.get(client_id)
        if application is None:
            raise NotFoundError(f"There is no application '{client_id}'.")
        self.log.apply(
            "grant",
            {
                "tenant": tenant.id,
                "client_id": client_id,
                "roles": body.get("roles", application.application),
                "scopes": body.get("scopes", application.delegated),
            },
        )
        return self._consent(tenant, client_id)

    async def revoke(self, request: Request) -> Any:
        tenant, client_id = self._tenant(request), request.path_params["client_id"]
        body = await _object(request)
        unknown = set(body) - {"roles", "scopes", "enabled", "end_tokens"}
        if unknown:
            raise BadControlRequest(f"Unknown: {', '.join(sorted(unknown))}.")
        where = {
            "tenant": tenant.id,
            "client_id": client_id,
            # Tokens carry whole seconds: one issued in this second is ended too.
            "at": int(self.sandbox.clock.now()) + 1,
        }
        self.log.apply("revoke", body | where)
        return self._consent(tenant, client_id)

    async def remove_principal(self, request: Request) -> Any:
        self.log.apply("remove_principal", dict(request.path_params))

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
        body = await _object(request)
        given: Arguments = {"tenant": tenant.id, "id": body.pop("id", new_id())}
        if kind is Kind.GROUP:
            given["members"] = [find(tenant, key).id for key in body.pop("members", [])]
        given["properties"] = {"createdDateTime": self.sandbox.clock.zulu()} | body
        self.log.apply(f"create_{kind}", given)
        return _shown(tenant, tenant.objects[given["id"]])

    async def show(self, request: Request) -> Any:
        return _shown(self._tenant(request), self._object(request))

    async def change(self, request: Request) -> Any:
        tenant, entry = self._tenant(request), self._object(request)
        body = await _object(request)
        self.log.apply(
            f"change_{entry.kind}",
            {"tenant": tenant.id, "key": entry.id, "properties": body},
        )
        return _shown(tenant, tenant.objects[entry.id])

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
        return _shown(tenant, tenant.objects[entry.id])

    async def give_role(self, request: Request) -> Any:
        tenant = self._tenant(request)
        user = find(tenant, request.path_params["key"], Kind.USER)
        role = (await _object(request)).get("role")
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
                for member in tenant.direct_members(group.id)
            ]
        }

    async def add_members(self, request: Request) -> Any:
        return self._apply_members(
            request, "add_members", _need(await _object(request), "members")
        )

    async def remove_members(self, request: Request) -> Any:
        return self._apply_members(
            request, "remove_members", _need(await _object(request), "members")
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
        return {"members": len(tenant.members[group.id])}


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
        "groups": list(tenant.member_of.get(entry.id, ())),
    }


async def _object(request: Request) -> Arguments:
    raw = await request.body()
    if not raw:
        return {}
    try:
        body = await request.json()
    except ValueError:
        raise BadControlRequest("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise BadControlRequest("The body must be a JSON object.")
    return body


def _need(body: Arguments, name: str) -> Any:
    if name not in body:
        raise BadControlRequest(f"'{name}' is missing.")
    return body[name]
