"""What a directory holds: objects of several kinds, and the errors of asking for them."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

Properties = Mapping[str, Any]


class Kind(StrEnum):
    USER = "user"
    GROUP = "group"
    DEVICE = "device"
    SERVICE_PRINCIPAL = "servicePrincipal"
    ORG_CONTACT = "orgContact"
    DIRECTORY_ROLE = "directoryRole"


class DirectoryObject(NamedTuple):
    """An object and its properties; a property that is not set is null in Graph.

    ``number`` is the sandbox's own short name for it, within its tenant.
    """

    number: int
    id: str
    kind: Kind
    properties: Properties
    deleted_at: str | None = None


class DirectoryError(Exception):
    """A change that the directory refuses; the message says why."""


class NotFoundError(DirectoryError):
    """No such object in this tenant."""


class Computed(Mapping[str, Any]):
    """Properties that are worked out when they are asked for.

    ``makers`` compute a property from its owner and a position there; None is unset.
    """

    __slots__ = ("_makers", "_owner", "_position")

    def __init__(
        self, makers: Mapping[str, Callable[[Any, int], Any]], owner: Any, position: int
    ) -> None:
        self._makers = makers
        self._owner = owner
        self._position = position

    def get(self, name: str, default: Any = None) -> Any:
        # Mapping.get would raise and catch a KeyError for each unset property.
        maker = self._makers.get(name)
        value = None if maker is None else maker(self._owner, self._position)
        return default if value is None else value

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._makers if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _name in self)
