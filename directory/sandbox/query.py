"""$select, $top and $orderby, and how an object is shown."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from directory.sandbox.directory_object import DirectoryObject, Kind
from directory.sandbox.errors import GraphError, bad_request, unsupported
from directory.sandbox.filters import text_of, value_of
from directory.sandbox.schema import EXTENSION, declared, empty, outside


def selected(text: str | None, kind: Kind, *, single: bool = False) -> tuple[str, ...]:
    """Return the property names of $select, or () when it is absent.

    ``single`` is for one object, of which more can be asked than of a list.

    Raises: GraphError when a name does not exist on the type, 501 when it is kept
    outside the directory.
    """
    if not text:
        return ()
    found = []
    for name in (part.strip() for part in text.split(",")):
        if name == "*":
            return ()
        known = declared(kind).get(name.lower())
        if known is None and EXTENSION.fullmatch(name):
            known = name
        if known is None and name.lower() in outside(kind):
            if not single:
                raise GraphError(
                    501,
                    "NotImplemented",
                    "This operation target is not yet supported.",
                )
            known = outside(kind)[name.lower()]
        if known is None:
            raise GraphError(
                400,
                "BadRequest",
                "Parsing OData Select and Expand failed: Could not find a property "
                f"named '{name}' on type 'microsoft.graph.{kind}'.",
            )
        found.append(known)
    return tuple(dict.fromkeys(found))


def page_size(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isdigit() or not 1 <= int(text) <= 999:
        raise unsupported(
            "Invalid page size specified: "
            f"'{text}'. Must be between 1 and 999 inclusive."
        )
    return int(text)


class Order(NamedTuple):
    """How to sort: by which key, and whether downwards."""

    key: Callable[[DirectoryObject], tuple[str, str]]
    down: bool


def order(text: str, kind: Kind) -> Order:
    """Compile an $orderby. Raises GraphError where Graph answers 400."""
    name, _, direction = text.strip().partition(" ")
    known = declared(kind).get(name.lower())
    if known is None or direction.strip().lower() not in ("", "asc", "desc"):
        raise bad_request("Invalid orderby clause")
    return Order(
        lambda entry: (text_of(value_of(entry, known)), entry.id),
        direction.strip().lower() == "desc",
    )


def view(
    entry: DirectoryObject,
    names: Iterable[str],
    *,
    typed: bool,
    only: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Show an object as Graph does; unset properties are null, collections empty.

    Unset directory extensions are left out.

    ``only`` are the properties that may be seen, where that is not all: an object of
    a type the application may not read comes with its id and nulls.
    """
    properties: Mapping[str, Any] = entry.properties
    shown: dict[str, Any] = {}
    if typed:
        shown["@odata.type"] = f"#microsoft.graph.{entry.kind}"
    shown["id"] = entry.id
    for name in names:
        if name == "id":
            continue
        value = entry.deleted_at if name == "deletedDateTime" else properties.get(name)
        if only is not None and name not in only:
            value = None
        if value is None:
            if name.startswith("extension_"):
                continue
            value = empty(entry.kind, name)
        shown[name] = value
    return shown
