"""Control of registrations, credentials and consents."""

from typing import Any

from cryptography import x509
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
from directory.sandbox.directory_object import NotFoundError
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
            },
            "/applications/{client_id}/redirect-uris": {"POST": self.add_redirect_uri},
            "/applications/{client_id}/secrets": {"POST": self.add_secret},
            "/applications/{client_id}/secrets/{key_id}": {
                "PATCH": self.change_secret,
                "DELETE": self.remove_secret,
            },
            "/applications/{client_id}/certificates": {
                "POST": self.add_certificate,
                "DELETE": self.clear_certificates,
            },
            "/tenants/{tenant}/consents/{client_id}": {
                "GET": self.show_consent,
                "PUT": self.grant,
                "PATCH": self.revoke,
                "DELETE": self.remove_principal,
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
        unknown = set(body) - {"roles", "scopes", "enabled", "end_tokens"}
        if unknown:
            raise BadControlRequest(f"Unknown: {', '.join(sorted(unknown))}.")
        where = {
            "tenant": tenant.id,
            "client_id": client_id,
            "at": self.sandbox.clock.now(),
        }
        self.log.apply("revoke", body | where)
        return self._consent(tenant, client_id)

    async def remove_principal(self, request: Request) -> Any:
        self.log.apply("remove_principal", dict(request.path_params))
