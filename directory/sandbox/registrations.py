"""Which application asks, and whether it may ask at this authority."""

from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import Application, Audience
from directory.sandbox.company import CONSUMERS
from directory.sandbox.store import ALIASES, Sandbox


def find_application(sandbox: Sandbox, client_id: str, where: str) -> Application:
    """Find the registration of a client id for a tenant or an alias.

    Raises: LoginError 700016 where it is not known, 7000112 when it is disabled,
    50194 when it serves one tenant and asks at an alias.
    """
    application = sandbox.applications.get(client_id.lower())
    tenant = sandbox.tenant_named(where)
    unknown = aadsts(
        700016, app=client_id, tenant=tenant.display_name if tenant else where
    )
    if application is None:
        raise unknown
    if not application.enabled:
        raise aadsts(7000112, app=client_id, app_name=application.display_name)
    if application.audience is Audience.MY_ORGANIZATION:
        if where in ALIASES:
            raise aadsts(50194, app=client_id, app_name=application.display_name)
        if where != application.home_tenant:
            raise unknown
    elif (
        where in ("consumers", CONSUMERS.tenant_id)
        and application.audience is not Audience.WITH_PERSONAL
    ):
        raise unknown
    return application


def admits(authority: str, tenant_id: str) -> bool:
    """Say whether accounts of a tenant sign in at an authority."""
    match authority:
        case "common":
            return True
        case "organizations":
            return tenant_id != CONSUMERS.tenant_id
        case "consumers":
            return tenant_id == CONSUMERS.tenant_id
        case _:
            return authority == tenant_id
