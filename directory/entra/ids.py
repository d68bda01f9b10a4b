"""Microsoft's GUIDs, in the one form in which the console compares them."""

import re
from collections.abc import Collection
from typing import NewType

TenantId = NewType("TenantId", str)
"""A tenant's GUID in lower case."""
ObjectId = NewType("ObjectId", str)
"""The GUID of a user or group in lower case."""

_FORM = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_GUID = re.compile(_FORM)
_GUIDS = re.compile(rf"{_FORM}(?:\n{_FORM})*")
_LENGTH = 36


def is_guid(text: str) -> bool:
    """Tell whether a text is a GUID in Microsoft's usual form."""
    return _GUID.fullmatch(text) is not None


def are_guids(texts: Collection[str]) -> bool:
    """Tell whether all of these are GUIDs: thousands at once."""
    lines = "\n".join(texts)
    # Of any other length one of them has a line break of its own.
    if len(lines) != (_LENGTH + 1) * len(texts) - 1:
        return not texts
    return _GUIDS.fullmatch(lines) is not None


def tenant_id(text: str) -> TenantId:
    """Return a tenant id in lower case.

    Raises:
        ValueError: not a GUID.
    """
    if not is_guid(text):
        raise ValueError("not a tenant ID")
    return TenantId(text.lower())
