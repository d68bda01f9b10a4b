"""Changes of a sandbox tenant by chance: a little of everything that happens."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Control = Callable[[str, str, Any], Any]


class Turmoil:
    """Changes one tenant; the same seed makes the same changes."""

    def __init__(self, control: Control, chance: random.Random) -> None:
        self._control = control
        self._chance = chance
        self._users = [each["id"] for each in self._list("users")]
        self._groups = [
            each["id"]
            for each in self._list("groups")
            if "DynamicMembership" not in each.get("groupTypes", [])
        ]
        # People alone can be restored: of groups only those of Microsoft 365.
        self._deleted: list[str] = []

    def _list(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._control("GET", what, None)["value"]
        return found

    def change(self) -> None:
        """Make some changes; now and then none."""
        for _ in range(self._chance.choice((0, 1, 3, 6))):
            self._chance.choice(
                (
                    self._rename,
                    self._members,
                    self._members,
                    self._nest,
                    self._delete,
                    self._restore,
                    self._create,
                )
            )()

    def _some(self, of: list[str], count: int) -> list[str]:
        return self._chance.sample(of, min(count, len(of)))

    def _rename(self) -> None:
        kind = self._chance.choice(("users", "groups"))
        keys = self._some(self._users if kind == "users" else self._groups, 5)
        properties: dict[str, Any] = {"displayName": f"Name {self._chance.random()}"}
        if kind == "users":
            properties["accountEnabled"] = self._chance.random() < 0.5
        body = {"keys": keys, "properties": properties}
        self._control("POST", f"bulk/change-{kind}", body)

    def _members(self) -> None:
        group = self._chance.choice(self._groups)
        members = self._some(self._users, self._chance.choice((1, 4, 40)))
        verb = self._chance.choice(("POST", "DELETE"))
        held = {
            each["id"]
            for each in self._control("GET", f"groups/{group}/members", None)["value"]
        }
        if verb == "DELETE":
            members = [each for each in held if self._chance.random() < 0.2]
        else:
            members = [each for each in members if each not in held]
        if members:
            self._control(verb, f"groups/{group}/members", {"members": sorted(members)})

    def _nest(self) -> None:
        parent, child = self._some(self._groups, 2)
        held = {
            each["id"]
            for each in self._control("GET", f"groups/{parent}/members", None)["value"]
        }
        verb = "DELETE" if child in held else "POST"
        self._control(verb, f"groups/{parent}/members", {"members": [child]})

    def _delete(self) -> None:
        kind = self._chance.choice(("users", "users", "groups"))
        known = self._users if kind == "users" else self._groups
        key = self._chance.choice(known)
        known.remove(key)
        permanently = self._chance.random() < 0.3
        self._control(
            "DELETE", f"{kind}/{key}?permanently={str(permanently).lower()}", None
        )
        if kind == "users" and not permanently:
            self._deleted.append(key)

    def _restore(self) -> None:
        if self._deleted:
            self._users.append(self._deleted.pop())
            self._control("POST", f"users/{self._users[-1]}/restore", None)

    def _create(self) -> None:
        name = f"new{self._chance.getrandbits(40)}"
        body = {"displayName": name, "userPrincipalName": f"{name}@fernhill.example"}
        made = self._control("POST", "users", body)
        self._users.append(made["id"])
