"""The switches of a running sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(slots=True)
class Behavior:
    """Switches for what Microsoft leaves open or does only now and then.

    ``answer_delay`` is in milliseconds, for each answer of Graph. The replication
    delays are in seconds, that of users on top of the other.
    """

    answer_delay: int = 0
    page_size: int = 100
    page_lifetime: int = 24 * 3600
    delta_page_size: int = 200
    member_slice: int = 500
    empty_pages: bool = False
    repeat_in_delta: bool = False
    shuffle_delta: bool = False
    replication_delay: int = 0
    users_replication_delay: int = 0
    hidden_membership: str = "forbidden"
    deleted_in_full_round: bool = False
    delta_expiry: str = "sync-state-not-found"
    delta_lifetime: int = 7 * 24 * 3600
    throttling: bool = True
    tenant_unit_limit: int = 0
    application_unit_limit: int = 0
    retry_after: str = "seconds"
    batch_order: str = "asked"
    token_lifetime: int = 3599
    cae_token_lifetime: int = 86_399
    session_lifetime: int = 24 * 3600
    group_claim_limit: int = 200
    missing_principal: str = "7000229"
    token_limit: int = 0
    token_limit_answer: str = "too-many-requests"  # noqa: S105

    SIZES = ("page_size", "delta_page_size", "member_slice")
    CHOICES = {
        "retry_after": ("seconds", "date", "fraction", "none"),
        "batch_order": ("asked", "reversed"),
        "missing_principal": ("7000229", "700016"),
        "token_limit_answer": ("too-many-requests", "tenant", "loop"),
        "hidden_membership": ("forbidden", "empty", "shown"),
        "delta_expiry": (
            "gone",
            "sync-state-not-found",
            "older-than-30-days",
            "resync-required",
        ),
    }

    def update(self, values: Mapping[str, Any]) -> None:
        """Set switches by name. Raises ValueError and changes nothing on a bad one."""
        known = {entry.name for entry in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"There is no switch '{name}'.")
            if type(value) is not type(getattr(self, name)):
                raise ValueError(f"The switch '{name}' does not take {value!r}.")
            if value not in self.CHOICES.get(name, (value,)):
                raise ValueError(f"'{name}' is one of {self.CHOICES[name]}.")
            if name in self.SIZES and value < 1:
                raise ValueError(f"'{name}' is 1 or more.")
        for name, value in values.items():
            setattr(self, name, value)
