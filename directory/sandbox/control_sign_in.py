"""Control of signing in: keys, forged tokens, foreign issuers, Conditional Access."""

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from directory.sandbox import federation
from directory.sandbox.changes import Arguments, ChangeLog, tenant_of
from directory.sandbox.control_calls import (
    BadControlRequest,
    Handler,
    guarded,
    need,
    read_object,
)
from directory.sandbox.control_directory import find
from directory.sandbox.directory_object import Kind, NotFoundError
from directory.sandbox.federation import ForeignIssuer
from directory.sandbox.forgery import Forgery
from directory.sandbox.policies import AccessPolicy, Control, new_policy_id
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import Tenant


class SignInControl:
    """Handlers of /control/keys, forge, sessions, issuers and conditional-access."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def routes(self) -> list[Route]:
        table: dict[str, dict[str, Handler]] = {
            "/forge": {"POST": self.forge, "DELETE": self.clear_forged},
            "/keys": {"GET": self.list_keys, "POST": self.add_key},
            "/keys/rotate": {"POST": self.rotate_keys},
            "/keys/{kid}": {"DELETE": self.retire_key},
            "/sessions": {"DELETE": self.end_sessions},
            "/issuers": {"POST": self.play_issuer},
            "/issuers/assertion": {"POST": self.sign_assertion},
            "/tenants/{tenant}/conditional-access": {
                "GET": self.list_policies,
                "POST": self.add_policy,
                "DELETE": self.remove_policies,
            },
            "/tenants/{tenant}/conditional-access/{id}": {
                "DELETE": self.remove_policies,
            },
        }
        return [
            guarded(self.sandbox, path, handlers) for path, handlers in table.items()
        ]

    async def forge(self, request: Request) -> Any:
        """Order the next ID token, or as many as ``times`` says."""
        body = await read_object(request)
        times = body.pop("times", 1)
        try:
            order = Forgery.ordered(body)
            if not self.sandbox.keys.can_sign_as(order.signed_by):
                raise ValueError(f"There is no key '{order.signed_by}' to sign with.")
            self.sandbox.forged += [order] * int(times)
        except (TypeError, ValueError) as error:
            raise BadControlRequest(str(error)) from None
        return {"waiting": len(self.sandbox.forged)}

    async def clear_forged(self, _request: Request) -> Any:
        self.sandbox.forged.clear()

    async def list_keys(self, _request: Request) -> Any:
        return {
            "keys": [
                {"kid": known.key.kid, "state": known.state, "issuer": known.issuer}
                for known in self.sandbox.keys.known
            ],
            "kids": [known.key.kid for known in self.sandbox.keys.published()],
        }

    async def add_key(self, request: Request) -> Any:
        """Publish a key before it signs, or one for another issuer."""
        body = await read_object(request)
        key = self.sandbox.keys.add(issuer=str(body.get("issuer", "")))
        return {"kid": key.kid}

    async def rotate_keys(self, request: Request) -> Any:
        body = await read_object(request)
        self.sandbox.keys.rotate(keep_old=bool(body.get("keep_old", True)))
        return await self.list_keys(request)

    async def retire_key(self, request: Request) -> Any:
        kid = request.path_params["kid"]
        try:
            self.sandbox.keys.retire(kid)
        except KeyError:
            raise NotFoundError(f"There is no key '{kid}'.") from None
        except ValueError as error:
            raise BadControlRequest(str(error)) from None
        return await self.list_keys(request)

    async def end_sessions(self, _request: Request) -> Any:
        self.sandbox.browsers.clear()

    async def play_issuer(self, request: Request) -> Any:
        """Be a foreign issuer from now on, and show the keys it publishes."""
        url = str(need(await read_object(request), "issuer"))
        issuers = self.sandbox.issuers
        if url not in issuers:
            issuers[url] = ForeignIssuer.new(url)
        return {"issuer": url, "jwks": issuers[url].jwks()}

    async def sign_assertion(self, request: Request) -> Any:
        """Sign as a foreign issuer, as a cluster does for a workload."""
        body = await read_object(request)
        issuer = self.sandbox.issuers.get(str(need(body, "issuer")))
        if issuer is None:
            raise NotFoundError("The sandbox does not play this issuer.")
        return {
            "assertion": issuer.assertion(
                subject=str(need(body, "subject")),
                audience=str(body.get("audience", federation.AUDIENCE)),
                now=self.sandbox.clock.now(),
                lifetime=float(body.get("lifetime", 600)),
            )
        }

    def _tenant(self, request: Request) -> Tenant:
        return tenant_of(self.sandbox, {"tenant": request.path_params["tenant"]})

    async def list_policies(self, request: Request) -> Any:
        policies = self.sandbox.policies[self._tenant(request).id].access
        return {"policies": [_shown(policy) for policy in policies]}

    async def add_policy(self, request: Request) -> Any:
        """Add a policy for ``applications`` or ``users``; without more, for all."""
        tenant, body = self._tenant(request), await read_object(request)
        unknown = set(body) - {"for", "control", "client_id", "users"}
        if unknown:
            raise BadControlRequest(f"Unknown: {', '.join(sorted(unknown))}.")
        whom, control = body.get("for", "applications"), body.get("control", "block")
        if whom not in ("applications", "users"):
            raise BadControlRequest("'for' is applications or users.")
        if whom == "applications" and control != Control.BLOCK:
            raise BadControlRequest("Applications can only be blocked.")
        given: Arguments = {
            "tenant": tenant.id,
            "id": new_policy_id(),
            "control": control,
            "for_applications": whom == "applications",
            "client_id": str(body.get("client_id", "")),
            "users": [find(tenant, key, Kind.USER).id for key in body.get("users", ())],
        }
        self.log.apply("add_access_policy", given)
        return _shown(self.sandbox.policies[tenant.id].access[-1])

    async def remove_policies(self, request: Request) -> Any:
        self.log.apply("remove_access_policies", dict(request.path_params))


def _shown(policy: AccessPolicy) -> Arguments:
    return {
        "id": policy.id,
        "for": "applications" if policy.for_applications else "users",
        "control": policy.control,
        "client_id": policy.client_id,
        "users": list(policy.users),
    }
