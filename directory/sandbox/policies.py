"""What a tenant's administrators decided about signing in, and where the tenant is."""

import json
import uuid
from dataclasses import dataclass, field
from enum import StrEnum

from directory.sandbox.aadsts import aadsts
from directory.sandbox.errors import LoginError
from directory.sandbox.tokens import GRAPH_APP_ID


class Control(StrEnum):
    """What a Conditional Access policy asks for."""

    BLOCK = "block"
    COMPLIANT_DEVICE = "compliant-device"
    KNOWN_DEVICE = "known-device"
    MULTIFACTOR = "multifactor"


MULTIFACTOR = 50076
_NUMBERS = {
    Control.BLOCK: 53003,
    Control.COMPLIANT_DEVICE: 53000,
    Control.KNOWN_DEVICE: 53001,
    Control.MULTIFACTOR: MULTIFACTOR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """A Conditional Access policy for applications themselves, or for people.

    An empty ``client_id`` means every application, no ``users`` everybody.
    https://learn.microsoft.com/entra/identity/conditional-access/workload-identity
    """

    id: str
    control: Control
    for_applications: bool
    client_id: str = ""
    users: tuple[str, ...] = ()

    def meets(self, client_id: str, user_id: str) -> bool:
        if self.for_applications is bool(user_id):
            return False
        if self.client_id not in ("", client_id):
            return False
        return not user_id or not self.users or user_id in self.users

    @property
    def challenge(self) -> str:
        """The claims that a token would have to be asked for with."""
        wanted = {"capolids": {"essential": True, "values": [self.id]}}
        return json.dumps({"access_token": wanted}, separators=(",", ":"))


@dataclass(slots=True)
class TenantPolicy:
    """``cloud`` names another Microsoft cloud that the tenant turns out to be in."""

    user_consent: bool = True
    gone: bool = False
    cloud: str = ""
    access: list[AccessPolicy] = field(default_factory=list)

    def refusal(
        self, client_id: str, *, user_id: str = "", multifactor: bool = False
    ) -> LoginError | None:
        """Return why an application, or a person at it, gets no token."""
        for policy in self.access:
            if not policy.meets(client_id, user_id):
                continue
            if policy.control is Control.MULTIFACTOR and multifactor:
                continue
            return aadsts(
                _NUMBERS[policy.control],
                error="interaction_required" if user_id else "",
                claims=policy.challenge,
                resource=GRAPH_APP_ID,
            )
        return None


def new_policy_id() -> str:
    return str(uuid.uuid4())
