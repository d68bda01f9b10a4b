"""Admin consent, v2 and v1: a Global Administrator grants what the application asks.

https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from directory.sandbox import discovery, pages, sign_in
from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import (
    OIDC_SCOPES,
    Permission,
    PermissionKind,
    permission,
)
from directory.sandbox.authorize import (
    application_for,
    stopped_by_policy,
)
from directory.sandbox.changes import ChangeLog
from directory.sandbox.company import GLOBAL_ADMINISTRATOR
from directory.sandbox.errors import LoginError
from directory.sandbox.flow import (
    Flow,
    accounts,
    error_back,
    error_page,
    keep,
    send_back,
    signed_in,
)
from directory.sandbox.minting import short_scope
from directory.sandbox.store import Sandbox
from directory.sandbox.tokens import GRAPH_RESOURCE

V1, V2 = "admin consent v1", "admin consent v2"


def start(
    sandbox: Sandbox,
    *,
    version: str,
    name: str,
    query: Mapping[str, str],
    browser: str,
) -> Response:
    try:
        where = discovery.authority(sandbox, name)
        if version == V2 and where == "common":
            raise aadsts(9002313, detail=" 'common' cannot be used for admin consent.")
        discovery.refuse_other_cloud(sandbox, where)
        application = application_for(sandbox, query, where)
        if version == V2 and not query.get("scope"):
            raise aadsts(900144, parameter="scope")
    except LoginError as error:
        return error_page(sandbox, error)
    scopes = query["scope"].split() if version == V2 else [f"{GRAPH_RESOURCE}/.default"]
    flow = Flow(
        kind=version,
        authority=where,
        application=application,
        redirect_uri=query["redirect_uri"],
        state=query.get("state"),
        browser=browser,
        scopes=tuple(scopes),
        login_hint=query.get("login_hint", ""),
    )
    keep(sandbox, flow)
    if accounts(sandbox, flow):
        flow.login_hint = ""
    return sign_in.begin(sandbox, flow)


def requested(flow: Flow) -> list[Permission]:
    """Return what an Accept grants: `/.default` means all that is registered."""
    asks_default = any(scope.endswith("/.default") for scope in flow.scopes)
    delegated = [
        short_scope(scope)
        for scope in flow.scopes
        if scope not in OIDC_SCOPES and not scope.endswith("/.default")
    ]
    application: tuple[str, ...] = ()
    if asks_default:
        delegated += flow.application.delegated
        application = flow.application.application
    found = [permission(value, PermissionKind.DELEGATED) for value in delegated]
    found += [permission(value, PermissionKind.APPLICATION) for value in application]
    return list(dict.fromkeys(each for each in found if each is not None))


def after_sign_in(sandbox: Sandbox, flow: Flow) -> Response:
    """Show what is asked to a Global Administrator, and to nobody else."""
    tenant, user = signed_in(sandbox, flow)
    stopped = stopped_by_policy(sandbox, flow, tenant, user)
    if stopped is not None:
        return stopped
    context: dict[str, Any] = {
        "flow": flow,
        "application": flow.application,
        "tenant": tenant,
        "user": user.properties,
    }
    if tenant.role_of(user.id) != GLOBAL_ADMINISTRATOR:
        return pages.page("need_approval", context | {"title": "Need admin approval"})
    return pages.page(
        "permissions",
        context
        | {
            "title": "Permissions requested",
            "permissions": requested(flow),
            "openid": [],
            "may_grant_for_all": False,
            "for_all": True,
        },
    )


def take_consent(
    sandbox: Sandbox, log: ChangeLog, flow: Flow, form: Mapping[str, str]
) -> Response:
    tenant, user = signed_in(sandbox, flow)
    is_administrator = tenant.role_of(user.id) == GLOBAL_ADMINISTRATOR
    if form.get("action") != "accept":
        return _declined(sandbox, flow, by_administrator=is_administrator)
    if not is_administrator:
        return after_sign_in(sandbox, flow)
    permissions = requested(flow)
    log.apply(
        "grant",
        {
            "tenant": tenant.id,
            "client_id": flow.application.client_id,
            "roles": [
                each.value
                for each in permissions
                if each.kind is PermissionKind.APPLICATION
            ],
            "scopes": [
                each.value
                for each in permissions
                if each.kind is PermissionKind.DELEGATED
            ],
        },
    )
    answer = {"admin_consent": "True", "tenant": tenant.id}
    if flow.kind == V2:
        answer["scope"] = " ".join(
            f"{GRAPH_RESOURCE}/{each.value}" for each in permissions
        )
    return send_back(sandbox, flow, answer)


def _declined(sandbox: Sandbox, flow: Flow, *, by_administrator: bool) -> Response:
    if flow.kind == V1:
        return send_back(
            sandbox,
            flow,
            {
                "error": "permission_denied",
                "error_description": "The admin canceled the request",
            },
        )
    if not by_administrator:
        # The way back from 'Need admin approval' has a shape of its own.
        return error_back(
            sandbox,
            flow,
            aadsts(65004),
            admin_consent="True",
            error_subcode="cancel",
        )
    # `admin_consent=True` stands in the error answer too, and `tenant` does not.
    return error_back(
        sandbox,
        flow,
        aadsts(65004, error="consent_required"),
        admin_consent="True",
    )
