"""Control of registrations, credentials and consents."""

from typing import Any

from cryptography import x509
from starlette.requests import Request
from starlette.routing import Route

from directory.sandbox import federation
from directory.sandbox.changes import Arguments, ChangeLog, new_id, sha1, tenant_of
from directory.sandbox.control_calls import (
    BadControlRequest,
    Handler,
    guarded,
    need,
    read_object,
)
from directory.sandbox.control_directory import find
from directory.sandbox.directory_object import Kind, NotFoundError
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import short_hash


class ApplicationControl:
    """Handlers of /control/applications and of a tenant's consents."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def routes(self) -> list[Route]:
        table: dict[str, dict[str, Handler]] = {
            "/applications": {
                "GET": self.list_applications,
                "POST": self.register_application,
            },
            "/applications/{client_id}": {
                "GET": self.show_application,
                "PATCH": self.change_application,
                "DELETE": self.remove_application,
            },
            "/applications/{client_id}/redirect-uris": {"POST": self.add_redirect_uri},
            "/applications/{client_id}/secrets": {"POST": self.add_secret},
            "/applications/{client_id}/secrets/{key_id}": {
                "PATCH": self.change_secret,
                "DELETE": self.remove_secret,
            },
            "/applications/{client_id}/certificates": {
                "POST": self.add_certificate,
                "DELETE": self.remove_certificates,
            },
            "/applications/{client_id}/certificates/{thumbprint}": {
                "DELETE": self.remove_certificates,
            },
            "/applications/{client_id}/federated": {"POST": self.add_federated},
            "/applications/{client_id}/federated/{key_id}": {
                "DELETE": self.remove_federated,
            },
            "/tenants/{tenant}/consents/{client_id}": {
                "GET": self.show_consent,
                "PUT": self.grant,
                "PATCH": self.revoke,
                "DELETE": self.remove_principal,
            },
            "/tenants/{tenant}/consents/{client_id}/assignments": {
                "PUT": self.assign,
                "DELETE": self.unassign,
            },
        }
        return [
            guarded(self.sandbox, path, handlers) for path, handlers in table.items()
        ]

    def _tenant(self, request: Request) -> Tenant:
        return tenant_of(self.sandbox, {"tenant": request.path_params["tenant"]})

    async def list_applications(self, _request: Request) -> Any:
        return {
            "applications": [
                self._application(client_id) for client_id in self.sandbox.applications
            ]
        }

    async def register_application(self, request: Request) -> Any:
        body = await read_object(request)
        need(body, "display_name")
        body.setdefault("client_id", new_id())
        self.log.apply("register_application", body)
        return self._application(body["client_id"])

    async def show_application(self, request: Request) -> Any:
        return self._application(request.path_params["client_id"])

    async def change_application(self, request: Request) -> Any:
        client_id = request.path_params["client_id"]
        body = await read_object(request)
        self.log.apply("change_application", body | {"client_id": client_id})
        return self._application(client_id)

    async def remove_application(self, request: Request) -> Any:
        self.log.apply("remove_application", dict(request.path_params))

    async def add_redirect_uri(self, request: Request) -> Any:
        client_id = request.path_params["client_id"]
        uri = need(await read_object(request), "uri")
        self.log.apply("add_redirect_uri", {"client_id": client_id, "uri": uri})
        return self._application(client_id)

    async def add_secret(self, request: Request) -> Any:
        """Add a secret; the answer alone shows the value that was made."""
        body = await read_object(request)
        given: Arguments = {
            "client_id": request.path_params["client_id"],
            "key_id": new_id(),
            "value": str(body.get("value") or f"sandbox~{new_id()}"),
            "display_name": str(body.get("display_name", "")),
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
                "expires_at": self._expiry(await read_object(request)),
            },
        )

    async def remove_secret(self, request: Request) -> Any:
        self.log.apply("change_secret", {**request.path_params, "remove": True})

    def _expiry(self, body: Arguments) -> float | None:
        seconds = body.get("expires_in")
        return None if seconds is None else self.sandbox.clock.now() + float(seconds)

    async def add_certificate(self, request: Request) -> Any:
        pem = str(need(await read_object(request), "pem"))
        try:
            x509.load_pem_x509_certificate(pem.encode())
        except ValueError:
            raise BadControlRequest("'pem' is no certificate in PEM form.") from None
        self.log.apply("add_certificate", {**request.path_params, "pem": pem})

    async def remove_certificates(self, request: Request) -> Any:
        self.log.apply("remove_certificates", dict(request.path_params))

    async def add_federated(self, request: Request) -> Any:
        """Trust a foreign issuer; one that the sandbox plays brings its own keys."""
        body = await read_object(request)
        issuer, subject = str(need(body, "issuer")), str(need(body, "subject"))
        played = self.sandbox.issuers.get(issuer)
        jwks = body.get("jwks") or (played.jwks() if played else None)
        if not isinstance(jwks, dict):
            raise BadControlRequest(
                "'jwks' is missing: the sandbox fetches no keys from anybody."
            )
        given: Arguments = {
            "client_id": request.path_params["client_id"],
            "key_id": new_id(),
            "issuer": issuer,
            "subject": subject,
            "audiences": [
                str(each) for each in body.get("audiences", [federation.AUDIENCE])
            ],
            "jwks": jwks,
        }
        self.log.apply("add_federated", given)
        return {"key_id": given["key_id"]}

    async def remove_federated(self, request: Request) -> Any:
        self.log.apply("remove_federated", dict(request.path_params))

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
            "certificates": [
                {"thumbprint": sha1(pem)} for pem in application.certificates
            ],
            "federated": [
                {
                    "key_id": each.key_id,
                    "issuer": each.issuer,
                    "subject": each.subject,
                    "audiences": each.audiences,
                }
                for each in application.federated
            ],
            "audience": application.audience,
            "home_tenant": application.home_tenant,
            "group_claims": application.group_claims,
            "optional_claims": application.optional_claims,
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

    def _consent(self, tenant: Tenant, client_id: str) -> Arguments:
        found = self.sandbox.principal(tenant.id, client_id)
        if found is None:
            raise NotFoundError("The application has no service principal there.")
        return {
            "service_principal_id": found.object_id,
            "enabled": found.enabled,
            "assignment_required": found.assignment_required,
            "assigned": sorted(found.assigned),
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
        body = await read_object(request)
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
        body = await read_object(request)
        known = {"roles", "scopes", "enabled", "assignment_required", "end_tokens"}
        unknown = set(body) - known
        if unknown:
            raise BadControlRequest(f"Unknown: {', '.join(sorted(unknown))}.")
        where = {
            "tenant": tenant.id,
            "client_id": client_id,
            "at": self.sandbox.clock.now(),
        }
        self.log.apply("revoke", body | where)
        return self._consent(tenant, client_id)

    async def assign(self, request: Request) -> Any:
        return await self._assign(request, remove=False)

    async def unassign(self, request: Request) -> Any:
        return await self._assign(request, remove=True)

    async def _assign(self, request: Request, *, remove: bool) -> Any:
        tenant, client_id = self._tenant(request), request.path_params["client_id"]
        keys = need(await read_object(request), "principals")
        ids = [find(tenant, key, Kind.USER, Kind.GROUP).id for key in keys]
        self.log.apply(
            "assign",
            {"tenant": tenant.id, "client_id": client_id, "ids": ids, "remove": remove},
        )
        return self._consent(tenant, client_id)

    async def remove_principal(self, request: Request) -> Any:
        self.log.apply("remove_principal", dict(request.path_params))
