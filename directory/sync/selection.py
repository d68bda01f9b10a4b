"""What a connection reads: which properties, by its mappings, and of whom.

The signature names all of it. Rows and delta links hold only what was selected, so
another selection needs another full read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from directory.entra.objects import LISTED_USER_PROPERTIES
from directory.models import CloudIdentityProvider
from directory.sync import attributes
from directory.sync.filters import ReadFilter

_FILTER = ";filter="


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Mapped properties and the filter, compiled for one run."""

    mapped: Mapping[str, str]
    group_name: str
    filter: ReadFilter = field(default_factory=ReadFilter)

    @property
    def properties(self) -> list[str]:
        """The Graph properties to ask for, beyond those the client always asks for."""
        return sorted(set(self.mapped.values()))

    @property
    def outer_properties(self) -> frozenset[str]:
        """The names an answer has to have to be a whole one."""
        names = (*LISTED_USER_PROPERTIES, *self.mapped.values())
        return frozenset(name.partition(".")[0] for name in names)

    @property
    def signature(self) -> str:
        """The whole selection as text; another one means another read."""
        named = {**self.mapped, "group_name": self.group_name}
        mapped = ";".join(f"{name}={graph}" for name, graph in sorted(named.items()))
        kept = self.filter.signature
        return f"{mapped}{_FILTER}{kept}" if kept else mapped

    @property
    def digest(self) -> bytes:
        """The signature in few bytes, which every observed hash begins with."""
        return hashlib.blake2b(self.signature.encode(), digest_size=16).digest()


def selection_of(cloud_idp: CloudIdentityProvider) -> Selection:
    return Selection(
        mapped=attributes.mapped_properties(cloud_idp.mappings),
        group_name=cloud_idp.mappings.group_name.strip(),
        filter=ReadFilter.from_json(cloud_idp.read_filter),
    )


def same_mappings(one: str, other: str) -> bool:
    """Whether two signatures differ in their filters at most."""
    return one.partition(_FILTER)[0] == other.partition(_FILTER)[0]
