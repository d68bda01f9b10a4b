"""Microsoft's GUIDs, in the one form in which the console compares them."""

import re
from typing import NewType

TenantId = NewType("TenantId", str)
"""A tenant's GUID in lower case."""
ObjectId = NewType("ObjectId", str)
"""The GUID of a user or group in lower case."""

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def is_guid(text: str) -> bool:
    """Tell whether a text is a GUID in Microsoft's usual form."""
    return _GUID.fullmatch(text) is not None


def tenant_id(text: str) -> TenantId:
    """Return a tenant id in lower case.

    Raises:
        ValueError: not a GUID.
    """
    if not is_guid(text):
        raise ValueError("not a tenant ID")
    return TenantId(text.lower())
