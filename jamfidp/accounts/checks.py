"""What must not be so in production."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Error, register


@register()
def second_factor_is_required(**_: Any) -> list[Error]:
    is_local = urlsplit(settings.CONSOLE_URL).hostname == "localhost"
    if settings.SECOND_FACTOR_REQUIRED or is_local:
        return []
    return [
        Error(
            "SECOND_FACTOR_REQUIRED is off, and the console is not on localhost.",
            hint="Only the demo goes without a second factor. Take the setting out.",
            id="accounts.E001",
        )
    ]
