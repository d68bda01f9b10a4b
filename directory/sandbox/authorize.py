"""The authorization endpoint: validate, sign in, ask for consent, issue a code.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
"""

import re
from collections.abc import Mapping

from starlette.responses import Response

from directory.sandbox import discovery, pages, sign_in
from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import (
    OIDC_SCOPES,
    Application,
    Permission,
    PermissionKind,
    permission,
)
from directory.sandbox.changes import ChangeLog
from directory.sandbox.company import GLOBAL_ADMINISTRATOR
from directory.sandbox.directory_object import DirectoryObject
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
from directory.sandbox.minting import (
    graph_resources,
    is_assigned,
    not_assigned,
    short_scope,
)
from directory.sandbox.policies import MULTIFACTOR
from directory.sandbox.registrations import find_application
from directory.sandbox.store import Grant, Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import opaque, uuid_string

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


def application_for(
    sandbox: Sandbox, query: Mapping[str, str], where: str
) -> Application:
    """Find the asking application and check its redirect URI. Raises LoginError.

    These errors are shown and never redirected: nobody vouches for the address.
    """
    client_id = query.get("client_id")
    if not client_id:
        raise aadsts(900144, parameter="client_id")
    application = find_application(sandbox, client_id, where)
    redirect_uri = query.get("redirect_uri", "")
    if not application.allows_redirect(redirect_uri):
        raise aadsts(50011, uri=redirect_uri, app=application.client_id)
    return application


def start(
    sandbox: Sandbox,
    log: ChangeLog,
    *,
    name: str,
    query: Mapping[str, str],
    browser: str,
) -> Response:
    try:
        where = discovery.authority(sandbox, name)
        discovery.refuse_other_cloud(sandbox, where)
        application = application_for(sandbox, query, where)
    except LoginError as error:
        return error_page(sandbox, error)
    flow = Flow(
        kind="authorize",
        authority=where,
        application=application,
        redirect_uri=query["redirect_uri"],
        state=query.get("state"),
        browser=browser,
        response_mode=query.get("response_mode", "query"),
        scopes=tuple(query.get("scope", "").split()),
        nonce=query.get("nonce", ""),
        challenge=query.get("code_challenge", ""),
        prompt=query.get("prompt", ""),
        login_hint=query.get("login_hint", ""),
    )
    try:
        _check(sandbox, flow, query)
    except LoginError as error:
        return error_back(sandbox, flow, error)
    keep(sandbox, flow)
    flow.must_consent = flow.prompt == "consent"
    return _silently(sandbox, log, flow) or sign_in.begin(sandbox, flow)


def _check(sandbox: Sandbox, flow: Flow, query: Mapping[str, str]) -> None:
    if flow.response_mode not in ("query", "fragment", "form_post"):
        flow.response_mode = "query"
        raise aadsts(9002313, detail=" response_mode")
    if query.get("response_type") != "code":
        raise aadsts(700054, response_type=query.get("response_type", ""))
    if not flow.scopes:
        raise aadsts(900144, parameter="scope")
    method = query.get("code_challenge_method", "plain")
    if flow.challenge and (
        method != "S256" or not _CHALLENGE.fullmatch(flow.challenge)
    ):
        raise aadsts(
            9002313,
            detail=" code_challenge must be made with code_challenge_method S256.",
        )
    if not set(flow.prompt.split()) <= {"login", "none", "consent", "select_account"}:
        raise aadsts(90023, prompt=flow.prompt)
    for scope in flow.scopes:
        _check_scope(sandbox, scope)


def _check_scope(sandbox: Sandbox, scope: str) -> None:
    if scope in OIDC_SCOPES:
        return
    if "://" in scope:
        resource = scope.rpartition("/")[0].rstrip("/")
        if resource not in graph_resources(sandbox):
            raise aadsts(500011, resource=resource)
    short = short_scope(scope)
    if short != ".default" and permission(short, PermissionKind.DELEGATED) is None:
        raise aadsts(70011, scope=scope)


def _silently(sandbox: Sandbox, log: ChangeLog, flow: Flow) -> Response | None:
    """Answer without a page where Entra would: prompt=none, or a single session."""
    known = accounts(sandbox, flow)
    if flow.login_hint:
        hinted = [each for each in known if _is_hinted(sandbox, flow, each.user_id)]
        known = hinted if hinted or flow.prompt == "none" else []
    if flow.prompt == "none":
        if not known:
            return error_back(
                sandbox,
                flow,
                aadsts(50058),
            )
        if len(known) > 1:
            return error_back(
                sandbox,
                flow,
                aadsts(16000),
            )
    elif flow.prompt not in ("", "consent") or len(known) != 1:
        return None
    flow.account = known[0]
    return after_sign_in(sandbox, log, flow)


def _is_hinted(sandbox: Sandbox, flow: Flow, user_id: str) -> bool:
    return any(
        tenant.is_named(user_id, flow.login_hint) for tenant in sandbox.tenants.values()
    )


def missing_permissions(
    sandbox: Sandbox, flow: Flow, tenant: Tenant, user: DirectoryObject
) -> tuple[list[Permission], list[str]]:
    """Return (Graph permissions, OpenID scopes) that nobody has consented to yet."""
    principal = sandbox.principal(tenant.id, flow.application.client_id)
    given = principal.scopes_for(user.id) if principal else set()
    wanted: list[str] = []
    for scope in flow.scopes:
        if scope in OIDC_SCOPES:
            continue
        short = short_scope(scope)
        wanted += flow.application.delegated if short == ".default" else [short]
    # Consent to any Graph permission covers the OpenID scopes.
    openid = [] if given else [scope for scope in flow.scopes if scope in OIDC_SCOPES]
    found = [permission(value, PermissionKind.DELEGATED) for value in wanted]
    missing = [each for each in found if each and each.value not in given]
    return list(dict.fromkeys(missing)), openid


def after_sign_in(sandbox: Sandbox, log: ChangeLog, flow: Flow) -> Response:
    """Ask for consent where it is missing, else go back with a code."""
    tenant, user = signed_in(sandbox, flow)
    principal = sandbox.principal(tenant.id, flow.application.client_id)
    if principal is not None and not principal.enabled:
        return error_page(
            sandbox,
            aadsts(
                7000112,
                app=flow.application.client_id,
                app_name=flow.application.display_name,
            ),
            correlation_id=flow.correlation_id,
        )
    stopped = stopped_by_policy(sandbox, flow, tenant, user)
    if stopped is not None:
        return stopped
    if principal is not None and not is_assigned(tenant, principal, user):
        return refuse(sandbox, flow, not_assigned(flow.application, user))
    missing, openid = missing_permissions(sandbox, flow, tenant, user)
    if not missing and not openid and not flow.must_consent:
        return issue_code(sandbox, flow)
    if flow.prompt == "none":
        return error_back(
            sandbox,
            flow,
            aadsts(
                65001,
                error="interaction_required",
                app=flow.application.client_id,
                app_name=flow.application.display_name,
            ),
        )
    is_administrator = tenant.role_of(user.id) == GLOBAL_ADMINISTRATOR
    needs_administrator = (
        any(each.admin_only for each in missing)
        or not sandbox.policies[tenant.id].user_consent
    )
    if needs_administrator and not is_administrator:
        return pages.page(
            "need_approval",
            {
                "title": "Need admin approval",
                "flow": flow,
                "application": flow.application,
                "tenant": tenant,
                "user": user.properties,
            },
        )
    return pages.page(
        "permissions",
        {
            "title": "Permissions requested",
            "flow": flow,
            "application": flow.application,
            "tenant": tenant,
            "user": user.properties,
            "permissions": missing,
            "openid": [OIDC_SCOPES[scope] for scope in openid],
            "may_grant_for_all": is_administrator,
            "for_all": False,
        },
    )


def refuse(sandbox: Sandbox, flow: Flow, error: LoginError) -> Response:
    """Show a refusal on Microsoft's page; without a page to show, send it back."""
    if flow.prompt == "none":
        error.error = "interaction_required"
        return error_back(sandbox, flow, error)
    return error_page(sandbox, error, correlation_id=flow.correlation_id)


def stopped_by_policy(
    sandbox: Sandbox, flow: Flow, tenant: Tenant, user: DirectoryObject
) -> Response | None:
    """Return what Conditional Access shows instead of going on, or None."""
    assert flow.account is not None  # noqa: S101 somebody has signed in
    refusal = sandbox.policies[tenant.id].refusal(
        flow.application.client_id,
        user_id=user.id,
        multifactor=flow.account.multifactor,
    )
    if refusal is None:
        return None
    if refusal.code == MULTIFACTOR and flow.prompt != "none":
        return pages.page(
            "multifactor",
            {
                "title": "Approve sign in request",
                "flow": flow,
                "user": user.properties,
            },
        )
    return refuse(sandbox, flow, refusal)


def take_consent(
    sandbox: Sandbox, log: ChangeLog, flow: Flow, form: Mapping[str, str]
) -> Response:
    tenant, user = signed_in(sandbox, flow)
    if form.get("action") != "accept":
        return error_back(
            sandbox,
            flow,
            aadsts(65004),
            error_subcode="cancel",
        )
    missing, openid = missing_permissions(sandbox, flow, tenant, user)
    is_administrator = tenant.role_of(user.id) == GLOBAL_ADMINISTRATOR
    needs_administrator = (
        any(each.admin_only for each in missing)
        or not sandbox.policies[tenant.id].user_consent
    )
    if needs_administrator and not is_administrator:
        return after_sign_in(sandbox, log, flow)
    scopes = [*(each.value for each in missing), *openid]
    where = {"tenant": tenant.id, "client_id": flow.application.client_id}
    if form.get("for_all") and is_administrator:
        log.apply("grant", where | {"roles": [], "scopes": scopes})
    else:
        log.apply("grant_for_user", where | {"user": user.id, "scopes": scopes})
    flow.must_consent = False
    return issue_code(sandbox, flow)


def issue_code(sandbox: Sandbox, flow: Flow) -> Response:
    assert flow.account is not None  # noqa: S101 both callers have signed somebody in
    code = opaque()
    sandbox.codes[code] = Grant(
        tenant_id=flow.account.tenant_id,
        authority=flow.authority,
        user_id=flow.account.user_id,
        client_id=flow.application.client_id,
        redirect_uri=flow.redirect_uri,
        scopes=flow.scopes,
        nonce=flow.nonce,
        challenge=flow.challenge,
        session_id=flow.account.session_id,
        issued_at=sandbox.clock.now(),
        authenticated_at=flow.account.signed_in_at,
        multifactor=flow.account.multifactor,
    )
    return send_back(sandbox, flow, {"code": code, "session_state": uuid_string()})
