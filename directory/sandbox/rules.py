"""Membership rules of dynamic groups, as far as the cast uses them.

Understood: ``(user.property -eq value)`` terms joined by ``and``, with -eq, -ne,
-startsWith and -contains.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_TERM = re.compile(
    r"\(?\s*user\.(?P<name>\w+)\s+-(?P<operator>eq|ne|startsWith|contains)\s+"
    r"(?P<value>true|false|null|\"[^\"]*\")\s*\)?",
    re.IGNORECASE,
)

Rule = Callable[[Mapping[str, Any]], bool]


class RuleError(ValueError):
    """A membership rule that the sandbox does not understand."""


def parse(text: str) -> Rule:
    terms = []
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE):
        found = _TERM.fullmatch(part.strip())
        if found is None:
            raise RuleError(f"The sandbox does not understand the rule '{part}'.")
        terms.append(
            (found["name"], found["operator"].lower(), _literal(found["value"]))
        )
    return lambda properties: all(
        _holds(properties.get(name), operator, value) for name, operator, value in terms
    )


def _literal(text: str) -> Any:
    known = {"true": True, "false": False, "null": None}
    return known[text.lower()] if text.lower() in known else text[1:-1].casefold()


def _holds(actual: Any, operator: str, expected: Any) -> bool:
    if isinstance(actual, str):
        actual = actual.casefold()
    match operator:
        case "eq":
            return bool(actual == expected)
        case "ne":
            return bool(actual != expected)
        case "startswith":
            return isinstance(actual, str) and actual.startswith(str(expected))
        case _:
            return isinstance(actual, str) and str(expected) in actual
