"""Finding people and groups by what somebody types."""

from typing import TypeVar

from django.db.models import Model, Q, QuerySet

from directory.sync.attributes import fold

M = TypeVar("M", bound=Model)


def matching(rows: QuerySet[M], text: str) -> QuerySet[M]:
    """Keep the people or groups that hold every word typed, or have this object ID.

    Names, user names and mail are searched without marks and letter case, anywhere
    in the word, in every script.
    """
    words = fold(text).split()
    if not words:
        return rows
    found = Q()
    for word in words:
        found &= Q(search__contains=word)
    return rows.filter(found | Q(object_id=text.strip().lower()))
