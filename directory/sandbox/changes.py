"""Operations: every change that outlives a request, by name.

They are plain data, so that a file of them can be replayed at the next start and
gives the same sequence numbers, which keeps delta links valid.
"""

import copy
import json
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from directory.sandbox import bulk_changes, dynamic_groups, rules, snapshots
from directory.sandbox.applications import (
    Application,
    Audience,
    FederatedCredential,
    GroupClaims,
    Secret,
    ServicePrincipal,
    service_principal_id,
)
from directory.sandbox.clouds import OTHER_CLOUDS
from directory.sandbox.directory_object import DirectoryError, Kind, NotFoundError
from directory.sandbox.id_tokens import OPTIONAL
from directory.sandbox.policies import AccessPolicy, Control
from directory.sandbox.properties import security_identifier
from directory.sandbox.snapshots import Snapshot
from directory.sandbox.store import Sandbox
from directory.sandbox.tenant import Tenant
from directory.sandbox.tls import write_private

Arguments = dict[str, Any]
Chosen = TypeVar("Chosen", bound=StrEnum)
_OPERATIONS: dict[str, Callable[[Sandbox, Arguments], Any]] = {}
# What readers of Graph see after the replication delay.
_REPLICATED = frozenset(
    {
        "create_user",
        "create_group",
        "change_user",
        "change_group",
        "delete_object",
        "restore_object",
        "add_members",
        "remove_members",
        "bulk",
        "give_role",
        "leave_gap",
    }
)
_GROUP_DEFAULTS: Arguments = {
    "mailEnabled": False,
    "securityEnabled": True,
    "groupTypes": [],
}


class Operation(Protocol):
    def __call__(self, sandbox: Sandbox, given: Arguments) -> Any: ...


def _operation(function: Operation) -> Operation:
    _OPERATIONS[function.__name__] = function  # type: ignore[attr-defined]
    return function


class ChangeLog:
    """Applies operations and, with ``keep``, remembers them over a restart."""

    def __init__(self, sandbox: Sandbox, *, keep: bool, header: Arguments) -> None:
        self.sandbox = sandbox
        self._file: Path | None = sandbox.state_dir / "changes.jsonl" if keep else None
        self._header = header
        self._generation = ""
        self.snapshots: dict[str, tuple[Snapshot, str, bytes]] = {}

    def replay(self) -> int:
        """Apply what the file holds; a file made for other sizes is started anew."""
        if self._file is None:
            self._begin()
            return 0
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        first = json.loads(lines[0]) if lines else {}
        generation = str(first.pop("generation", ""))
        if first != self._header:
            self._begin()
            return 0
        self._set_generation(generation)
        for line in lines[1:]:
            entry = json.loads(line)
            _OPERATIONS[entry["operation"]](self.sandbox, entry["given"])
        return len(lines) - 1

    def apply(self, operation: str, given: Arguments) -> Any:
        """Apply and remember. Raises DirectoryError, and remembers nothing then."""
        sandbox = self.sandbox
        sandbox.replication.begin(sandbox.tenants, sandbox.behavior)
        result = _OPERATIONS[operation](sandbox, given)
        if operation in _REPLICATED:
            sandbox.replication.expect(
                lambda tenants: _repeat(sandbox, tenants, operation, given),
                sandbox.behavior,
                sandbox.clock.now(),
            )
        self._remember(operation, given)
        return result

    def _remember(self, operation: str, given: Arguments) -> None:
        if self._file is not None:
            entry = {"operation": operation, "given": given}
            with self._file.open("a") as stream:
                stream.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def reset(self) -> None:
        self.sandbox.reset()
        self.sandbox.keys.reset()
        self._begin()

    def take_snapshot(self, name: str) -> None:
        """Keep the whole state under a name, in memory."""
        content = self._file.read_bytes() if self._file is not None else b""
        kept = snapshots.take(self.sandbox)
        self.snapshots[name] = (kept, self._generation, content)

    def restore_snapshot(self, name: str) -> None:
        """Go back to a snapshot. Raises NotFoundError."""
        if name not in self.snapshots:
            raise NotFoundError(f"There is no snapshot '{name}'.")
        kept, generation, content = self.snapshots[name]
        reached = {key: each.sequence for key, each in self.sandbox.tenants.items()}
        snapshots.restore(self.sandbox, kept)
        if generation != self._generation:
            # A reset lies between: no number of its log means what it meant then.
            self._begin(content.partition(b"\n")[2])
        elif self._file is not None:
            write_private(self._file, content)
        for tenant, sequence in reached.items():
            # Going back left a gap; whoever replays the file is to leave it too.
            self._remember("leave_gap", {"tenant": tenant, "sequence": sequence})

    def _begin(self, rest: bytes = b"") -> None:
        """Start an empty log, which ends every page and delta token made before."""
        generation = uuid.uuid4().hex[:12]
        self._set_generation(generation)
        if self._file is not None:
            first = json.dumps(self._header | {"generation": generation}) + "\n"
            write_private(self._file, first.encode() + rest)

    def _set_generation(self, generation: str) -> None:
        self._generation = generation
        for tenant in self.sandbox.tenants.values():
            tenant.generation = generation


def _repeat(
    sandbox: Sandbox, tenants: Mapping[str, Tenant], operation: str, given: Arguments
) -> None:
    """Make a change once more, to the copies that readers see."""
    seen = copy.copy(sandbox)
    seen.tenants = dict(tenants)
    _OPERATIONS[operation](seen, given)


def tenant_of(sandbox: Sandbox, given: Arguments) -> Tenant:
    tenant = sandbox.tenant_named(str(given["tenant"]))
    if tenant is None:
        raise NotFoundError(f"There is no tenant '{given['tenant']}'.")
    return tenant


def application_of(sandbox: Sandbox, given: Arguments) -> Application:
    application = sandbox.applications.get(str(given["client_id"]))
    if application is None:
        raise NotFoundError(f"There is no application '{given['client_id']}'.")
    return application


@_operation
def create_user(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    values = given["properties"]
    if not values.get("userPrincipalName") or not values.get("displayName"):
        raise DirectoryError("A user needs displayName and userPrincipalName.")
    defaults: Arguments = {"accountEnabled": True, "userType": "Member"}
    user = tenant.create(Kind.USER, given["id"], defaults | values)
    dynamic_groups.refresh(tenant, [user])


@_operation
def create_group(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    values = given["properties"]
    if not values.get("displayName"):
        raise DirectoryError("A group needs a displayName.")
    sid = {"securityIdentifier": security_identifier(given["id"])}
    if values.get("membershipRule"):
        rules.parse(values["membershipRule"])
    tenant.create(Kind.GROUP, given["id"], _GROUP_DEFAULTS | sid | values)
    for member in given.get("members", ()):
        tenant.add_member(given["id"], member)
    if values.get("membershipRule"):
        dynamic_groups.refresh(tenant, tenant.positions(Kind.USER))


@_operation
def change_user(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    user = tenant.need(given["key"], Kind.USER)
    tenant.change(user.id, Kind.USER, given["properties"])
    dynamic_groups.refresh(tenant, [user.number])


@_operation
def change_group(sandbox: Sandbox, given: Arguments) -> Any:
    tenant_of(sandbox, given).change(given["key"], Kind.GROUP, given["properties"])


@_operation
def delete_object(sandbox: Sandbox, given: Arguments) -> Any:
    tenant_of(sandbox, given).delete(
        given["key"],
        Kind(given["kind"]),
        at=given["at"],
        permanently=given["permanently"],
    )


@_operation
def restore_object(sandbox: Sandbox, given: Arguments) -> Any:
    tenant_of(sandbox, given).restore(given["key"], Kind(given["kind"]))


@_operation
def add_members(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    for member in given["members"]:
        tenant.add_member(given["key"], member)


@_operation
def remove_members(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    for member in given["members"]:
        tenant.remove_member(given["key"], member)


@_operation
def bulk(sandbox: Sandbox, given: Arguments) -> int:
    """Make many changes; returns how many."""
    return bulk_changes.apply(tenant_of(sandbox, given), given)


@_operation
def give_role(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    user = tenant.need(given["key"], Kind.USER)
    tenant.give_role(user.id, given["role"])


@_operation
def leave_gap(sandbox: Sandbox, given: Arguments) -> Any:
    """Number the next changes after this one, as going back to a snapshot does."""
    tenant_of(sandbox, given).log.go_on_from(given["sequence"])


@_operation
def change_tenant(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    cloud = given.get("cloud", "")
    if cloud and cloud not in OTHER_CLOUDS:
        raise DirectoryError(f"'cloud' is one of {', '.join(OTHER_CLOUDS)}.")
    tenant.rename(
        display_name=given.get("display_name", tenant.display_name),
        domain=given.get("domain", tenant.domain),
    )
    policy = sandbox.policies[tenant.id]
    policy.cloud = given.get("cloud", policy.cloud) or ""
    policy.gone = bool(given.get("gone", policy.gone))
    policy.user_consent = bool(given.get("user_consent", policy.user_consent))


@_operation
def add_access_policy(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    sandbox.policies[tenant.id].access.append(
        AccessPolicy(
            id=given["id"],
            control=_choice(Control, given["control"]),
            for_applications=bool(given["for_applications"]),
            client_id=given.get("client_id", ""),
            users=tuple(given.get("users", ())),
        )
    )


@_operation
def remove_access_policies(sandbox: Sandbox, given: Arguments) -> Any:
    """Remove one policy, or all without an id."""
    policy = sandbox.policies[tenant_of(sandbox, given).id]
    policy.access = [
        each for each in policy.access if given.get("id") not in (None, each.id)
    ]


@_operation
def grant(sandbox: Sandbox, given: Arguments) -> Any:
    """Consent for everybody in the tenant, as an administrator's Accept does."""
    tenant = tenant_of(sandbox, given)
    application = application_of(sandbox, given)
    found = _principal(sandbox, tenant, application)
    found.roles |= set(given["roles"])
    found.scopes |= set(given["scopes"])


@_operation
def grant_for_user(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    found = _principal(sandbox, tenant, application_of(sandbox, given))
    found.user_scopes.setdefault(given["user"], set()).update(given["scopes"])


@_operation
def revoke(sandbox: Sandbox, given: Arguments) -> Any:
    """Take permissions away; ``end_tokens`` also ends the tokens issued before."""
    tenant = tenant_of(sandbox, given)
    found = sandbox.principal(tenant.id, given["client_id"])
    if found is None:
        raise NotFoundError("The application has no service principal there.")
    found.roles -= set(given.get("roles", ()))
    found.scopes -= set(given.get("scopes", ()))
    if "enabled" in given:
        found.enabled = bool(given["enabled"])
    if "assignment_required" in given:
        found.assignment_required = bool(given["assignment_required"])
    if given.get("end_tokens"):
        found.tokens_not_before = float(given["at"])


@_operation
def assign(sandbox: Sandbox, given: Arguments) -> Any:
    """Assign the enterprise application to users and groups, or to them no more."""
    tenant = tenant_of(sandbox, given)
    found = sandbox.principal(tenant.id, given["client_id"])
    if found is None:
        raise NotFoundError("The application has no service principal there.")
    if given.get("remove"):
        found.assigned -= set(given["ids"])
    else:
        found.assigned |= set(given["ids"])


@_operation
def remove_principal(sandbox: Sandbox, given: Arguments) -> Any:
    tenant = tenant_of(sandbox, given)
    if sandbox.principals[tenant.id].pop(given["client_id"], None) is None:
        raise NotFoundError("The application has no service principal there.")


@_operation
def register_application(sandbox: Sandbox, given: Arguments) -> Any:
    client_id = given["client_id"]
    if client_id in sandbox.applications:
        raise DirectoryError(f"The client id '{client_id}' is taken.")
    sandbox.applications[client_id] = Application(
        client_id=client_id,
        display_name=given["display_name"],
        publisher=str(given.get("publisher") or given["display_name"]),
        delegated=tuple(given.get("delegated", ("User.Read",))),
        application=tuple(
            given.get("application", ("User.Read.All", "GroupMember.Read.All"))
        ),
        redirect_uris=list(given.get("redirect_uris", ())),
    )
    _change_registration(sandbox, sandbox.applications[client_id], given)


@_operation
def remove_application(sandbox: Sandbox, given: Arguments) -> Any:
    """Delete the registration; enterprise applications stay behind, as they do."""
    del sandbox.applications[application_of(sandbox, given).client_id]


def _change_registration(
    sandbox: Sandbox, application: Application, given: Arguments
) -> None:
    audience = _choice(Audience, given.get("audience", application.audience))
    home = given.get("home_tenant", application.home_tenant)
    if home:
        home = tenant_of(sandbox, {"tenant": home}).id
    if audience is Audience.MY_ORGANIZATION and not home:
        raise DirectoryError("An application of one organization has a home_tenant.")
    claims = tuple(given.get("optional_claims", application.optional_claims))
    unknown = set(claims) - OPTIONAL.keys()
    if unknown:
        raise DirectoryError(f"Optional claims are {', '.join(OPTIONAL)}.")
    application.group_claims = _choice(
        GroupClaims, given.get("group_claims", application.group_claims)
    )
    application.audience, application.home_tenant = audience, home
    application.optional_claims = claims


def _choice(kind: type[Chosen], value: Any) -> Chosen:
    try:
        return kind(value)
    except ValueError:
        raise DirectoryError(f"'{value}' is none of {', '.join(kind)}.") from None


@_operation
def change_application(sandbox: Sandbox, given: Arguments) -> Any:
    application = application_of(sandbox, given)
    _change_registration(sandbox, application, given)
    if "enabled" in given:
        application.enabled = bool(given["enabled"])
    if "display_name" in given:
        application.display_name = str(given["display_name"])
    if "publisher" in given:
        application.publisher = str(given["publisher"])
    if "redirect_uris" in given:
        application.redirect_uris = [str(uri) for uri in given["redirect_uris"]]
    if "delegated" in given:
        application.delegated = tuple(given["delegated"])
    if "application" in given:
        application.application = tuple(given["application"])


@_operation
def add_redirect_uri(sandbox: Sandbox, given: Arguments) -> Any:
    application = application_of(sandbox, given)
    if given["uri"] not in application.redirect_uris:
        application.redirect_uris.append(given["uri"])


@_operation
def add_secret(sandbox: Sandbox, given: Arguments) -> Any:
    application_of(sandbox, given).secrets.append(
        Secret(
            given["key_id"],
            given["value"],
            given.get("display_name", ""),
            given.get("expires_at"),
        )
    )


@_operation
def change_secret(sandbox: Sandbox, given: Arguments) -> Any:
    application = application_of(sandbox, given)
    for secret in application.secrets:
        if secret.key_id == given["key_id"]:
            if given.get("remove"):
                application.secrets.remove(secret)
            else:
                secret.expires_at = given["expires_at"]
            return
    raise NotFoundError(f"There is no secret '{given['key_id']}'.")


@_operation
def add_certificate(sandbox: Sandbox, given: Arguments) -> Any:
    application_of(sandbox, given).certificates.append(given["pem"])


@_operation
def remove_certificates(sandbox: Sandbox, given: Arguments) -> Any:
    """Forget one certificate by its SHA-1 thumbprint, or all without one."""
    application = application_of(sandbox, given)
    wanted = str(given.get("thumbprint", "")).upper()
    left = [pem for pem in application.certificates if wanted and sha1(pem) != wanted]
    if wanted and len(left) == len(application.certificates):
        raise NotFoundError(f"There is no certificate '{wanted}'.")
    application.certificates = left


def sha1(pem: str) -> str:
    """Return the thumbprint by which Entra names a certificate."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303


@_operation
def add_federated(sandbox: Sandbox, given: Arguments) -> Any:
    application_of(sandbox, given).federated.append(
        FederatedCredential(
            given["key_id"],
            given["issuer"],
            given["subject"],
            tuple(given["audiences"]),
            given["jwks"],
        )
    )


@_operation
def remove_federated(sandbox: Sandbox, given: Arguments) -> Any:
    application = application_of(sandbox, given)
    left = [each for each in application.federated if each.key_id != given["key_id"]]
    if len(left) == len(application.federated):
        raise NotFoundError(f"There is no federated credential '{given['key_id']}'.")
    application.federated = left


def _principal(
    sandbox: Sandbox, tenant: Tenant, application: Application
) -> ServicePrincipal:
    return sandbox.principals[tenant.id].setdefault(
        application.client_id,
        ServicePrincipal(
            object_id=service_principal_id(tenant.id, application.client_id),
            client_id=application.client_id,
        ),
    )


def new_id() -> str:
    return str(uuid.uuid4())
