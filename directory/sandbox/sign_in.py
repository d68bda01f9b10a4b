"""The steps every page flow begins with: who are you, and your password."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from directory.sandbox import pages
from directory.sandbox.aadsts import aadsts
from directory.sandbox.applications import Audience
from directory.sandbox.company import COMPANIES, PASSWORD
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import LoginError
from directory.sandbox.flow import Flow, accounts, user_of
from directory.sandbox.registrations import admits
from directory.sandbox.store import Account, Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tokens import uuid_string


def begin(sandbox: Sandbox, flow: Flow) -> Response:
    """Show the picker when somebody is signed in here, else ask for a user name."""
    if flow.login_hint:
        return _take_username(sandbox, flow, flow.login_hint)
    known = accounts(sandbox, flow)
    if known and flow.prompt != "login":
        return _picker(sandbox, flow, known)
    return _username(flow)


def take(sandbox: Sandbox, flow: Flow, form: Mapping[str, str]) -> Response | None:
    """Handle a step of signing in; None when somebody is signed in afterwards."""
    match form.get("step"):
        case "account":
            return _take_account(sandbox, flow, form.get("account", ""))
        case "username":
            return _take_username(sandbox, flow, form.get("username", "").strip())
        case "password":
            return _take_password(sandbox, flow, form)
        case "multifactor" if flow.account is not None:
            flow.account.multifactor = True
            return None
        case _:
            return begin(sandbox, flow)


def _picker(sandbox: Sandbox, flow: Flow, known: list[Account]) -> Response:
    choices = []
    for account in known:
        user = user_of(sandbox, account)
        assert user is not None  # noqa: S101 `accounts` returns usable ones only
        choices.append(
            {
                "session": account.session_id,
                "name": user.properties.get("displayName"),
                "upn": user.properties["userPrincipalName"],
            }
        )
    return pages.page(
        "accounts", {"title": "Pick an account", "flow": flow, "accounts": choices}
    )


def _username(flow: Flow, *, error: str = "", username: str = "") -> Response:
    context: dict[str, Any] = {
        "title": "Sign in",
        "flow": flow,
        "error": error,
        "username": username,
        "password": PASSWORD,
        "companies": [
            company
            for company in COMPANIES
            if admits(flow.authority, company.tenant_id)
        ],
    }
    return pages.page("username", context)


def _password(flow: Flow, *, error: str = "") -> Response:
    return pages.page(
        "password", {"title": "Enter password", "flow": flow, "error": error}
    )


def _take_account(sandbox: Sandbox, flow: Flow, session_id: str) -> Response | None:
    for account in accounts(sandbox, flow):
        if account.session_id == session_id:
            flow.account = account
            return None
    flow.login_hint = ""
    return _username(flow)


def _take_username(sandbox: Sandbox, flow: Flow, username: str) -> Response:
    if not username:
        return _username(flow, error="Enter a valid email address.")
    try:
        _who(sandbox, flow, username)
    except LoginError as error:
        return _username(
            flow, error=f"AADSTS{error.code}: {error.text}", username=username
        )
    flow.username = username
    return _password(flow)


def _take_password(
    sandbox: Sandbox, flow: Flow, form: Mapping[str, str]
) -> Response | None:
    try:
        tenant, user = _who(sandbox, flow, form.get("username") or flow.username)
    except LoginError as error:
        return _username(flow, error=f"AADSTS{error.code}: {error.text}")
    flow.username = form.get("username") or flow.username
    if form.get("password") != PASSWORD:
        return _password(
            flow,
            error="AADSTS50126: Your account or password is incorrect. If you don't "
            "remember your password, ask your administrator.",
        )
    if not user.properties.get("accountEnabled"):
        return _password(
            flow,
            error="AADSTS50057: The user account is disabled. Ask your administrator "
            "to enable it.",
        )
    flow.account = Account(
        tenant_id=tenant.id,
        user_id=user.id,
        signed_in_at=sandbox.clock.now(),
        session_id=uuid_string(),
    )
    others = [
        account
        for account in sandbox.browsers.get(flow.browser, [])
        if account.user_id != user.id
    ]
    sandbox.browsers[flow.browser] = [*others, flow.account]
    return None


def _who(sandbox: Sandbox, flow: Flow, username: str) -> tuple[Tenant, DirectoryObject]:
    """Find whom a user name means at this authority. Raises LoginError."""
    at = sandbox.tenants.get(flow.authority)
    home = sandbox.tenant_of_upn(username)
    if home is sandbox.consumers:
        return _personal(sandbox, flow, username)
    tenant = at or home
    if tenant is None:
        raise aadsts(50034, user=username, tenant="")
    user = tenant.find(username, Kind.USER) if "@" in username else None
    if user is None and at is not None:
        user = _guest_by_mail(at, username)
    if user is None and at is not None and home is not None and home.id != at.id:
        raise aadsts(
            50020,
            user=username,
            tenant=at.display_name,
            app=flow.application.client_id,
            app_name=flow.application.display_name,
        )
    if user is None:
        raise aadsts(50034, user=username, tenant=tenant.display_name)
    return tenant, user


def _personal(
    sandbox: Sandbox, flow: Flow, username: str
) -> tuple[Tenant, DirectoryObject]:
    """Find a personal account, or the guest it is in the tenant. Raises LoginError."""
    at = sandbox.tenants.get(flow.authority)
    guest = _guest_by_mail(at, username) if at is not None else None
    if at is not None and guest is not None:
        return at, guest
    account = sandbox.consumers.find(username, Kind.USER)
    if account is None:
        raise aadsts(50034, user=username, tenant="Microsoft account")
    admitted = admits(flow.authority, sandbox.consumers.id)
    if not admitted or flow.application.audience is not Audience.WITH_PERSONAL:
        raise aadsts(500200, user=username)
    return sandbox.consumers, account


def _guest_by_mail(tenant: Tenant, mail: str) -> DirectoryObject | None:
    lowered = mail.casefold()
    for user in tenant.present(Kind.USER):
        if (
            user.properties.get("userType") == "Guest"
            and (user.properties.get("mail") or "").casefold() == lowered
        ):
            return user
    return None
