"""The bell at the top of every page."""

from typing import Any

from django.http import HttpRequest

from jamfidp.notices import reading


def bell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: how many notices wait; counted only where it is shown."""
    user: Any = getattr(request, "user", None)

    def count() -> int:
        if user is None or not user.is_authenticated:
            return 0
        return reading.unread(user).count()

    return {"unread_notices": count}
