"""$filter and $search, as far as Graph itself answers them.

The rest is its 400. https://learn.microsoft.com/graph/aad-advanced-queries
"""

import re
from collections.abc import Callable
from typing import Any

from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import bad_request, unsupported
from directory.sandbox.schema import declared

Predicate = Callable[[DirectoryObject], bool]

# Of people: not found by their value without the parameters of advanced queries.
_ADVANCED = frozenset(
    {
        "companyName",
        "employeeHireDate",
        "employeeOrgData",
        "employeeType",
        "faxNumber",
        "mobilePhone",
        "officeLocation",
        "onPremisesExtensionAttributes",
        "onPremisesSamAccountName",
        "postalCode",
        "preferredLanguage",
        "showInAddressList",
        "streetAddress",
    }
)


_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<word>[\w./@-]+)|(?P<mark>[(),:]))"
)


class _Filter:
    """A recursive-descent reader of the $filter grammar."""

    def __init__(self, text: str, kind: Kind, *, advanced: bool) -> None:
        self.kind = kind
        self.advanced = advanced
        self.tokens: list[str] = []
        position = 0
        text = text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise bad_request("Invalid filter clause")
            self.tokens.append(match[0].strip())
            position = match.end()
        self.at = 0

    def parse(self) -> Predicate:
        predicate = self._any_of()
        if self.at != len(self.tokens):
            raise bad_request("Invalid filter clause")
        return predicate

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise bad_request("Invalid filter clause")
        self.at += 1
        return token

    def _expect(self, mark: str) -> None:
        if self._next() != mark:
            raise bad_request("Invalid filter clause")

    def _any_of(self) -> Predicate:
        parts = [self._all_of()]
        while self._peek().lower() == "or":
            self._next()
            parts.append(self._all_of())
        return lambda entry: any(part(entry) for part in parts)

    def _all_of(self) -> Predicate:
        parts = [self._one()]
        while self._peek().lower() == "and":
            self._next()
            parts.append(self._one())
        return lambda entry: all(part(entry) for part in parts)

    def _one(self) -> Predicate:
        token = self._next()
        lowered = token.lower()
        if token == "(":  # noqa: S105 a parenthesis
            inside = self._any_of()
            self._expect(")")
            return inside
        if lowered == "not":
            self._need_advanced("not")
            negated = self._one()
            return lambda entry: not negated(entry)
        if lowered in ("startswith", "endswith", "contains"):
            return self._call(lowered)
        if lowered.endswith("/any"):
            return self._any(token[: -len("/any")])
        return self._compare(self._name(token))

    def _call(self, function: str) -> Predicate:
        if function == "contains":
            raise unsupported("Unsupported Query: 'contains' is not supported.")
        if function == "endswith":
            self._need_advanced("endsWith")
        self._expect("(")
        name = self._name(self._next())
        self._expect(",")
        value = str(self._literal(self._next())).casefold()
        self._expect(")")
        if function == "startswith":
            return lambda entry: text_of(value_of(entry, name)).startswith(value)
        return lambda entry: text_of(value_of(entry, name)).endswith(value)

    def _any(self, path: str) -> Predicate:
        name = self._name(path)
        self._expect("(")
        self._next()
        self._expect(":")
        self._next()
        if self._next().lower() != "eq":
            raise unsupported("Unsupported Query.")
        value = self._literal(self._next())
        self._expect(")")
        return lambda entry: value in (value_of(entry, name) or ())

    def _compare(self, name: str) -> Predicate:
        operator = self._next().lower()
        if (
            self.kind is Kind.USER
            and not self.advanced
            and name.partition("/")[0] in _ADVANCED
        ):
            raise unsupported(
                "Unsupported or invalid query filter clause specified for property "
                f"'{name.rpartition('/')[2]}' of resource 'User'."
            )
        if operator == "in":
            self._expect("(")
            values = [self._literal(self._next())]
            while self._peek() == ",":
                self._next()
                values.append(self._literal(self._next()))
            self._expect(")")
            return lambda entry: any(
                _same(value_of(entry, name), value) for value in values
            )
        value = self._literal(self._next())
        match operator:
            case "eq":
                return lambda entry: _same(value_of(entry, name), value)
            case "ne":
                self._need_advanced("ne")
                return lambda entry: not _same(value_of(entry, name), value)
            case "ge":
                return lambda entry: text_of(value_of(entry, name)) >= str(value)
            case "le":
                return lambda entry: text_of(value_of(entry, name)) <= str(value)
            case _:
                raise bad_request("Invalid filter clause")

    def _name(self, token: str) -> str:
        outer, slash, inner = token.partition("/")
        known = declared(self.kind).get(outer.lower())
        if known is None:
            raise bad_request(
                f"Invalid filter clause: Could not find a property named '{token}' on "
                f"type 'microsoft.graph.{self.kind}'."
            )
        return f"{known}{slash}{inner}"

    def _literal(self, token: str) -> Any:
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        known = {"true": True, "false": False, "null": None}
        return known.get(token.lower(), token)

    def _need_advanced(self, operator: str) -> None:
        if not self.advanced:
            raise unsupported(
                f"Operator '{operator}' is not supported because the required "
                "parameters might be missing. Try adding $count=true query parameter "
                "and ConsistencyLevel:eventual header. Refer to "
                "https://aka.ms/graph-docs/advanced-queries for more information"
            )


def value_of(entry: DirectoryObject, name: str) -> Any:
    outer, _, inner = name.partition("/")
    value = entry.id if outer == "id" else entry.properties.get(outer)
    if inner:
        return value.get(inner) if isinstance(value, dict) else None
    return value


def text_of(value: Any) -> str:
    return str(value).casefold() if value is not None else ""


def _same(actual: Any, expected: Any) -> bool:
    if isinstance(actual, str) and isinstance(expected, str):
        return actual.casefold() == expected.casefold()
    return bool(actual == expected)


def filtered(text: str, kind: Kind, *, advanced: bool) -> Predicate:
    """Compile a $filter. Raises GraphError where Graph answers 400."""
    return _Filter(text, kind, advanced=advanced).parse()


_SEARCH = re.compile(r'"(?P<name>\w+):(?P<value>[^"]*)"', re.UNICODE)


def searched(text: str, kind: Kind) -> Predicate:
    """Compile a $search of quoted "property:words", joined by AND or OR.

    A word of the value must begin a word of the property, as Graph tokenizes.
    """
    parts = re.split(r"\s+(AND|OR)\s+", text.strip())
    predicates = []
    for part in parts[::2]:
        match = _SEARCH.fullmatch(part)
        if match is None:
            raise bad_request(
                f"Syntax error: character ':' is not valid at position 0 in '{part}'."
            )
        name = declared(kind).get(match["name"].lower())
        if name is None:
            raise unsupported(f"The property '{match['name']}' cannot be searched.")
        predicates.append(_begins_words(name, match["value"]))
    if "OR" in parts[1::2]:
        return lambda entry: any(each(entry) for each in predicates)
    return lambda entry: all(each(entry) for each in predicates)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text.casefold()) if word]


def _begins_words(name: str, value: str) -> Predicate:
    wanted = _words(value)

    def begins(entry: DirectoryObject) -> bool:
        actual = _words(str(value_of(entry, name) or ""))
        return all(any(word.startswith(want) for word in actual) for want in wanted)

    return begins
