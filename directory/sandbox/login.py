"""Routes of the login plane: machine endpoints on TLS, pages for people on http."""

import secrets
import uuid
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from directory.sandbox import (
    authorize,
    consent,
    discovery,
    flow,
    headers,
    pages,
    sign_in,
    token_endpoint,
)
from directory.sandbox.aadsts import TABLE, aadsts
from directory.sandbox.changes import ChangeLog
from directory.sandbox.company import COMPANIES, PASSWORD
from directory.sandbox.errors import LoginError
from directory.sandbox.journal import Entry
from directory.sandbox.store import Sandbox


class LoginPlane:
    """Holds the handlers; each reads and writes the one Sandbox."""

    def __init__(self, sandbox: Sandbox, log: ChangeLog) -> None:
        self.sandbox = sandbox
        self.log = log

    def machine_routes(self) -> list[Route]:
        return [
            Route("/{name}/v2.0/.well-known/openid-configuration", self.configuration),
            Route("/{name}/.well-known/openid-configuration", self.configuration_v1),
            Route("/{name}/discovery/v2.0/keys", self.keys),
            Route("/{name}/discovery/keys", self.keys),
            Route("/common/discovery/instance", self.instance),
            Route("/{name}/oauth2/v2.0/token", self.token, methods=["GET", "POST"]),
            Route("/error", self.explain),
        ]

    def page_routes(self) -> list[Route]:
        return [
            Route("/", self.front),
            Route("/assets/{name}", self.asset),
            Route("/favicon.ico", self.no_icon),
            Route("/flow/{flow_id}", self.step, methods=["POST"]),
            Route("/{name}/oauth2/v2.0/authorize", self.authorize),
            Route("/{name}/v2.0/adminconsent", self.adminconsent_v2),
            Route("/{name}/adminconsent", self.adminconsent_v1),
            Route("/{name}/oauth2/v2.0/logout", self.logout, methods=["GET", "POST"]),
        ]

    async def configuration(self, request: Request) -> Response:
        return self._metadata(request, discovery.configuration)

    async def configuration_v1(self, request: Request) -> Response:
        return self._metadata(request, discovery.configuration_v1)

    async def keys(self, request: Request) -> Response:
        return self._metadata(request, discovery.keys)

    async def instance(self, _request: Request) -> Response:
        return _json(discovery.instance(self.sandbox), headers.of_metadata())

    def _metadata(self, request: Request, make: "discovery.Document") -> Response:
        try:
            document = make(self.sandbox, request.path_params["name"])
        except LoginError as error:
            given = headers.of_metadata(found=False)
            return self._error(request, error, given)
        return _json(document, headers.of_metadata())

    def _error(
        self,
        request: Request,
        error: LoginError,
        given: dict[str, str] | None = None,
    ) -> Response:
        entry: Entry = request.state.entry
        entry.code = f"AADSTS{error.code}"
        correlation_id = request.headers.get("client-request-id") or str(uuid.uuid4())
        return _json(
            error.body(self.sandbox.clock, correlation_id, self.sandbox.url),
            given or headers.of_tokens(),
            error.status,
        )

    async def explain(self, request: Request) -> Response:
        """What `error_uri` leads to: the number in words."""
        number = request.query_params.get("code", "")
        entry = TABLE.get(int(number)) if number.isdigit() else None
        text = entry.text if entry else "This number is not known here."
        return PlainTextResponse(f"AADSTS{number}: {text}" if entry else text)

    async def token(self, request: Request) -> Response:
        if request.method != "POST":
            return self._error(request, aadsts(900561, method=request.method))
        raw = await request.form()
        form = {name: value for name, value in raw.items() if isinstance(value, str)}
        refused = self._too_many_tokens(request, form)
        if refused is not None:
            return refused
        try:
            body = token_endpoint.answer(
                self.sandbox,
                request.path_params["name"],
                form,
                request.headers.get("authorization", ""),
            )
        except LoginError as error:
            return self._error(request, error)
        return _json(body, headers.of_tokens())

    def _too_many_tokens(
        self, request: Request, form: dict[str, str]
    ) -> Response | None:
        """Refuse who asks for tokens too often, in the form that is switched on."""
        behavior = self.sandbox.behavior
        asked = self.sandbox.token_requests.count(
            form.get("client_id", ""),
            request.path_params["name"],
            self.sandbox.clock.now(),
        )
        if not behavior.token_limit or asked <= behavior.token_limit:
            return None
        match behavior.token_limit_answer:
            case "loop":
                return self._error(request, aadsts(50196))
            case "tenant":
                answer = self._error(request, aadsts(90055))
            case _:
                # As it is seen: a text, where everything else is JSON.
                answer = PlainTextResponse("Too Many Requests", 429)
        answer.headers["Retry-After"] = "60"
        return answer

    async def front(self, _request: Request) -> Response:
        return pages.page(
            "front",
            {
                "title": "Sandbox tenants",
                "companies": COMPANIES,
                "password": PASSWORD,
            },
        )

    async def no_icon(self, _request: Request) -> Response:
        return Response(status_code=204)

    async def asset(self, request: Request) -> Response:
        return pages.asset(request.path_params["name"])

    async def authorize(self, request: Request) -> Response:
        browser, is_new = _browser(request)
        response = authorize.start(
            self.sandbox,
            self.log,
            name=request.path_params["name"],
            query=request.query_params,
            browser=browser,
        )
        return _remember(response, browser, is_new)

    async def adminconsent_v2(self, request: Request) -> Response:
        return self._adminconsent(request, consent.V2)

    async def adminconsent_v1(self, request: Request) -> Response:
        return self._adminconsent(request, consent.V1)

    def _adminconsent(self, request: Request, version: str) -> Response:
        browser, is_new = _browser(request)
        response = consent.start(
            self.sandbox,
            version=version,
            name=request.path_params["name"],
            query=request.query_params,
            browser=browser,
        )
        return _remember(response, browser, is_new)

    async def step(self, request: Request) -> Response:
        raw = await request.form()
        form = {name: value for name, value in raw.items() if isinstance(value, str)}
        try:
            current = flow.find(
                self.sandbox, request.path_params["flow_id"], _browser(request)[0]
            )
            return self._step(current, form)
        except flow.LostFlowError:
            return flow.error_page(
                self.sandbox,
                aadsts(165000),
            )

    def _step(self, current: flow.Flow, form: dict[str, str]) -> Response:
        is_authorize = current.kind == "authorize"
        if form.get("step") == "consent":
            take = authorize.take_consent if is_authorize else consent.take_consent
            return take(self.sandbox, self.log, current, form)
        response = sign_in.take(self.sandbox, current, form)
        if response is not None:
            return response
        if is_authorize:
            return authorize.after_sign_in(self.sandbox, self.log, current)
        return consent.after_sign_in(self.sandbox, current)

    async def logout(self, request: Request) -> Response:
        """End the sessions of this browser; go only to a registered address."""
        browser, _ = _browser(request)
        self.sandbox.browsers.pop(browser, None)
        given = dict(request.query_params)
        if request.method == "POST":
            given |= {
                name: value
                for name, value in (await request.form()).items()
                if isinstance(value, str)
            }
        target = given.get("post_logout_redirect_uri", "")
        registered = target and any(
            application.allows_redirect(target)
            for application in self.sandbox.applications.values()
        )
        if not registered:
            return pages.page("signed_out", {"title": "You signed out"})
        if "state" in given:
            parts = urlsplit(target)
            query = "&".join(
                filter(None, [parts.query, urlencode({"state": given["state"]})])
            )
            target = urlunsplit(parts._replace(query=query))
        return RedirectResponse(target, status_code=302, headers=pages.HEADERS)


def _json(body: dict[str, Any], given: dict[str, str], status: int = 200) -> Response:
    return JSONResponse(body, status, given, media_type=headers.JSON)


def _browser(request: Request) -> tuple[str, bool]:
    known = request.cookies.get(flow.BROWSER_COOKIE)
    return (known, False) if known else (secrets.token_urlsafe(24), True)


def _remember(response: Response, browser: str, is_new: bool) -> Response:
    if is_new:
        response.set_cookie(
            flow.BROWSER_COOKIE, browser, httponly=True, samesite="lax", path="/"
        )
    return response
