"""Everything the running sandbox knows, in one object.

Changes to the directory and to consents are operations (``changes``): applied here
and, with ``keep``, appended to a file that is replayed at the next start.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from directory.sandbox import generate, tls
from directory.sandbox.applications import Application, Secret, ServicePrincipal
from directory.sandbox.behavior import Behavior
from directory.sandbox.clock import Clock
from directory.sandbox.company import COMPANIES, CONSUMERS, Company
from directory.sandbox.faults import Faults
from directory.sandbox.federation import ForeignIssuer
from directory.sandbox.forgery import Forgery
from directory.sandbox.journal import Journal
from directory.sandbox.keyring import KeyRing
from directory.sandbox.policies import TenantPolicy
from directory.sandbox.rendered_pages import RenderedPages
from directory.sandbox.replication import Replication
from directory.sandbox.seed_files import open_seed
from directory.sandbox.sizes import Sizes, sizes_of
from directory.sandbox.tenant import Tenant
from directory.sandbox.throttle import Throttle, TokenRequests

APPLICATION_ID = "0a6d5c1e-93f4-4c2b-8e57-1d2f9b7c3a40"
APPLICATION_NAME = "JamfIDP Console (sandbox)"
ALIASES = ("organizations", "common", "consumers")
# From so many objects on, rendered pages are kept in files.
_LARGE = 5_000


@dataclass(slots=True)
class Account:
    """Somebody signed in at this browser."""

    tenant_id: str
    user_id: str
    signed_in_at: float
    session_id: str
    multifactor: bool = False


@dataclass(slots=True)
class Grant:
    """An authorization code or a refresh token, and what it stands for."""

    tenant_id: str
    authority: str
    user_id: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str
    challenge: str
    session_id: str
    issued_at: float
    authenticated_at: float
    multifactor: bool = False
    redeemed: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same for a state folder, whatever else is reset."""

    client_secret: str
    control_key: str
    page_key: str

    @classmethod
    def load(cls, state_dir: Path) -> "Identity":
        path = state_dir / "identity.json"
        if path.exists():
            return cls(**json.loads(path.read_text()))
        made = cls(
            client_secret=f"sandbox~{secrets.token_urlsafe(30)}",
            control_key=secrets.token_urlsafe(24),
            page_key=secrets.token_hex(32),
        )
        values = {entry.name: getattr(made, entry.name) for entry in fields(made)}
        tls.write_private(path, json.dumps(values, indent=2).encode())
        return made


@dataclass(slots=True)
class Sandbox:
    """The state behind every plane. Only the event loop's thread touches it.

    ``switches`` are those it was started with, which a reset puts back.
    """

    state_dir: Path
    identity: Identity
    keys: KeyRing
    tenants: dict[str, Tenant]
    consumers: Tenant
    redirect_uris: tuple[str, ...] = ()
    switches: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    pages_url: str = ""
    clock: Clock = field(default_factory=Clock)
    behavior: Behavior = field(default_factory=Behavior)
    journal: Journal = field(default_factory=Journal)
    faults: Faults = field(default_factory=Faults)
    throttle: Throttle = field(default_factory=Throttle)
    replication: Replication = field(default_factory=Replication)
    applications: dict[str, Application] = field(default_factory=dict)
    principals: dict[str, dict[str, ServicePrincipal]] = field(default_factory=dict)
    browsers: dict[str, list[Account]] = field(default_factory=dict)
    codes: dict[str, Grant] = field(default_factory=dict)
    refresh_tokens: dict[str, Grant] = field(default_factory=dict)
    flows: dict[str, Any] = field(default_factory=dict)
    forged: list[Forgery] = field(default_factory=list)
    policies: dict[str, TenantPolicy] = field(default_factory=dict)
    issuers: dict[str, ForeignIssuer] = field(default_factory=dict)
    token_requests: TokenRequests = field(default_factory=TokenRequests)
    delta_valid_from: float = 0.0

    def reset(self) -> None:
        """Go back to the seed: directory, consents, applications, sessions, faults."""
        for tenant in self.tenants.values():
            tenant.reset()
        self.clock.reset()
        self.behavior = Behavior()
        self.behavior.update(self.switches)
        self.journal.clear()
        self.faults.clear()
        self.throttle.clear()
        self.replication.clear()
        self.applications = {APPLICATION_ID: self._console_application()}
        self.principals = {key: {} for key in (*self.tenants, self.consumers.id)}
        self.policies = {key: TenantPolicy() for key in self.principals}
        self.issuers.clear()
        self.token_requests.clear()
        self.browsers.clear()
        self.codes.clear()
        self.refresh_tokens.clear()
        self.flows.clear()
        self.forged.clear()
        self.delta_valid_from = 0.0

    def _console_application(self) -> Application:
        return Application(
            client_id=APPLICATION_ID,
            display_name=APPLICATION_NAME,
            publisher="JamfIDP",
            delegated=("User.Read",),
            application=("User.Read.All", "GroupMember.Read.All"),
            redirect_uris=list(self.redirect_uris),
            secrets=[
                Secret("sandbox", self.identity.client_secret, "sandbox", None),
            ],
        )

    def tenant(self, tenant_id: str) -> Tenant:
        """Return a tenant by id, also the one of personal accounts."""
        if tenant_id == self.consumers.id:
            return self.consumers
        return self.tenants[tenant_id]

    def tenant_named(self, name: str) -> Tenant | None:
        """Find a tenant by GUID or verified domain."""
        lowered = name.lower()
        if lowered in (*self.tenants, self.consumers.id):
            return self.tenant(lowered)
        return next(
            (each for each in self.tenants.values() if lowered in each.domains), None
        )

    def tenant_of_upn(self, upn: str) -> Tenant | None:
        domain = upn.rpartition("@")[2].lower()
        if domain == self.consumers.domain:
            return self.consumers
        return self.tenant_named(domain) if "." in domain else None

    def principal(self, tenant_id: str, client_id: str) -> ServicePrincipal | None:
        return self.principals[tenant_id].get(client_id)


def open_tenants(folder: Path, sizes: Sizes | None) -> dict[str, Tenant]:
    """Open the tenants' seeds; ``sizes`` replaces those of the first company."""
    tenants = {}
    for position, company in enumerate(COMPANIES):
        chosen = sizes if sizes and position == 0 else sizes_of(company)
        seed, place = open_seed(folder, company, chosen)
        pages = RenderedPages(place / "pages") if seed.count >= _LARGE else None
        tenants[company.tenant_id] = Tenant(seed, pages=pages)
    return tenants


def company_of(tenant_id: str) -> Company:
    return next(each for each in COMPANIES if each.tenant_id == tenant_id)


def open_sandbox(
    state_dir: Path,
    *,
    sizes: Sizes | None,
    redirect_uris: tuple[str, ...],
    switches: Mapping[str, Any],
) -> Sandbox:
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    sandbox = Sandbox(
        state_dir=state_dir,
        identity=Identity.load(state_dir),
        keys=KeyRing(state_dir),
        tenants=open_tenants(state_dir / "seeds", sizes),
        consumers=Tenant(generate.seed(CONSUMERS, sizes_of(CONSUMERS))),
        redirect_uris=redirect_uris,
        switches=switches,
    )
    sandbox.reset()
    return sandbox
