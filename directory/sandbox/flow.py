"""A person's way through the pages, from the application's link back to it."""

import secrets
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.responses import RedirectResponse, Response

from directory.sandbox import pages
from directory.sandbox.applications import Application
from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import LoginError
from directory.sandbox.registrations import admits
from directory.sandbox.store import Account, Sandbox
from directory.sandbox.tenant import Tenant

BROWSER_COOKIE = "sandbox_browser"
_LIFETIME = 3600
_MANY = 5000


class LostFlowError(Exception):
    """The form belongs to a sign-in that this browser did not start, or that ended."""


@dataclass(slots=True)
class Flow:
    """What the application asked for, and how far the person has come."""

    kind: str
    authority: str
    application: Application
    redirect_uri: str
    state: str | None
    browser: str
    response_mode: str = "query"
    scopes: tuple[str, ...] = ()
    nonce: str = ""
    challenge: str = ""
    prompt: str = ""
    login_hint: str = ""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    correlation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: float = field(default_factory=time.monotonic)
    username: str = ""
    account: Account | None = None
    must_consent: bool = False


def keep(sandbox: Sandbox, flow: Flow) -> None:
    if len(sandbox.flows) > _MANY:
        limit = time.monotonic() - _LIFETIME
        for key, old in list(sandbox.flows.items()):
            if old.started_at < limit:
                del sandbox.flows[key]
    sandbox.flows[flow.id] = flow


def find(sandbox: Sandbox, flow_id: str, browser: str) -> Flow:
    flow: Flow | None = sandbox.flows.get(flow_id)
    if (
        flow is None
        or flow.browser != browser
        or flow.started_at < time.monotonic() - _LIFETIME
    ):
        raise LostFlowError
    return flow


def accounts(sandbox: Sandbox, flow: Flow) -> list[Account]:
    """Return who is signed in at this browser and may use this authority."""
    limit = sandbox.clock.now() - sandbox.behavior.session_lifetime
    return [
        account
        for account in sandbox.browsers.get(flow.browser, [])
        if account.signed_in_at >= limit
        and admits(flow.authority, account.tenant_id)
        and not sandbox.policies[account.tenant_id].gone
        and is_usable(user_of(sandbox, account))
    ]


def user_of(sandbox: Sandbox, account: Account) -> DirectoryObject | None:
    return sandbox.tenant(account.tenant_id).find(account.user_id, Kind.USER)


def is_usable(user: DirectoryObject | None) -> bool:
    return user is not None and bool(user.properties.get("accountEnabled"))


def signed_in(sandbox: Sandbox, flow: Flow) -> tuple[Tenant, DirectoryObject]:
    """Return who has signed in. Raises LostFlowError when that person is gone."""
    if flow.account is None:
        raise LostFlowError
    user = user_of(sandbox, flow.account)
    if user is None or not is_usable(user):
        raise LostFlowError
    return sandbox.tenant(flow.account.tenant_id), user


def send_back(sandbox: Sandbox, flow: Flow, values: dict[str, str]) -> Response:
    """End the flow: send the answer to the redirect URI in the asked mode."""
    sandbox.flows.pop(flow.id, None)
    if flow.state is not None:
        values = {**values, "state": flow.state}
    if flow.response_mode == "form_post":
        return pages.page(
            "form_post",
            {
                "title": "Back to the application",
                "action": flow.redirect_uri,
                "values": values,
            },
        )
    parts = urlsplit(flow.redirect_uri)
    encoded = urlencode(values)
    if flow.response_mode == "fragment":
        target = urlunsplit(parts._replace(fragment=encoded))
    else:
        query = f"{parts.query}&{encoded}" if parts.query else encoded
        target = urlunsplit(parts._replace(query=query, path=parts.path or "/"))
    return RedirectResponse(target, status_code=302, headers=pages.HEADERS)


def error_back(
    sandbox: Sandbox, flow: Flow, error: LoginError, **more: str
) -> Response:
    values = {
        **more,
        "error": error.error,
        "error_description": error.describe(sandbox.clock, flow.correlation_id),
    }
    if flow.kind == "authorize":
        values["error_uri"] = f"{sandbox.url}/error?code={error.code}"
    return send_back(sandbox, flow, values)


def error_page(
    sandbox: Sandbox, error: LoginError, *, correlation_id: str = ""
) -> Response:
    """Show an error that must not be redirected, such as AADSTS50011."""
    text = error.describe(sandbox.clock, correlation_id or str(uuid.uuid4()))
    lines = text.split("\r\n")
    return pages.page(
        "error",
        {
            "title": "We can't sign you in",
            "message": lines[0],
            "details": lines[1:],
        },
        status=error.status,
    )
