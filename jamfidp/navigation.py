"""What every page shows around its content."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def console(request: HttpRequest) -> dict[str, Any]:
    """Context processor: the console's own facts."""
    return {
        "console_url": settings.CONSOLE_URL,
        "idle_minutes": settings.SESSION_IDLE_MINUTES,
    }
