"""What every page says of held changes: how many wait, and whether everything is held."""

from typing import Any

from django.http import HttpRequest

from directory import held_words


def held(request: HttpRequest) -> dict[str, Any]:
    """Context processor: both are counted only where they are shown."""
    user: Any = getattr(request, "user", None)

    def waiting() -> int:
        if user is None or not user.is_authenticated:
            return 0
        return held_words.waiting().count()

    def everything() -> list[Any]:
        if user is None or not user.is_authenticated:
            return []
        return held_words.everything_held()

    return {"held_changes_waiting": waiting, "everything_held": everything}
