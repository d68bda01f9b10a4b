"""What a directory holds: objects of several kinds, and the errors of asking for them."""

from collections.abc import Mapping
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
