"""Forged ID tokens: what a test orders in place of the next honest one."""

from dataclasses import dataclass, field, fields
from typing import Any

from directory.sandbox.keyring import KeyRing

_MANGLES = ("", "truncated", "extra-part", "signature", "payload")


@dataclass(frozen=True, slots=True)
class Forgery:
    """An order for the next ID token.

    ``claims`` are put in, ``remove`` taken out, ``shift`` moves its times by seconds;
    ``header`` goes into its header, ``signed_by`` says with which key (KeyRing);
    ``version`` '1.0' makes it a v1.0 token with its issuer. ``mangle`` breaks the
    finished token; ``raw`` is sent as it is; ``access_token`` sends the access token
    in its place.
    """

    claims: dict[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    header: dict[str, Any] = field(default_factory=dict)
    signed_by: str = "published"
    shift: int = 0
    version: str = "2.0"
    mangle: str = ""
    raw: str = ""
    access_token: bool = False

    @classmethod
    def ordered(cls, values: dict[str, Any]) -> "Forgery":
        """Take an order. Raises ValueError on a name or value there is not."""
        known = {entry.name for entry in fields(cls)}
        for name in values:
            if name not in known:
                raise ValueError(f"A forgery has no '{name}'.")
        order = cls(**{**values, "remove": tuple(values.get("remove", ()))})
        if type(order.shift) is not int:
            raise ValueError("'shift' is a number of seconds.")
        if order.mangle not in _MANGLES:
            raise ValueError(f"'mangle' is one of {_MANGLES[1:]}.")
        if order.version not in ("1.0", "2.0"):
            raise ValueError("'version' is 1.0 or 2.0.")
        return order

    def token(
        self, claims: dict[str, Any], v1: dict[str, Any], keys: KeyRing, access: str
    ) -> str:
        """Make the token. ``v1`` are the claims that differ in version 1.0.

        Raises: KeyError when it is to be signed by a key that there is not.
        """
        if self.raw:
            return self.raw
        if self.access_token:
            return access
        if self.version == "1.0":
            claims = claims | v1
        claims = claims | self.claims
        for name in self.remove:
            claims.pop(name, None)
        if self.shift:
            for name in ("iat", "nbf", "exp"):
                claims[name] = claims[name] + self.shift
        return _mangled(
            keys.sign_forged(claims, self.header, self.signed_by), self.mangle
        )


def _mangled(token: str, how: str) -> str:
    head, payload, signature = token.split(".")
    match how:
        case "truncated":
            return token[: -len(signature) // 2]
        case "extra-part":
            return f"{token}.{signature}"
        case "signature":
            return f"{head}.{payload}.{_flipped(signature)}"
        case "payload":
            return f"{head}.{_flipped(payload)}.{signature}"
        case _:
            return token


def _flipped(part: str) -> str:
    middle = len(part) // 2
    other = "A" if part[middle] != "A" else "B"
    return part[:middle] + other + part[middle + 1 :]
