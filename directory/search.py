"""Finding people and groups by what somebody types.

Names, user names and mail are searched without marks and letter case, anywhere in a
word, in every script; a trigram index finds three characters and more. Where nothing
but one or two Latin characters was typed, the name or user name has to begin with
them. In scripts where two characters are a whole name they are found anywhere.
"""

from typing import TypeVar

from django.db import connection
from django.db.models import Model, Q, QuerySet

from directory.entra.ids import is_guid
from directory.sync.attributes import fold

M = TypeVar("M", bound=Model)

TRIGRAM = 3
# More hits than these are no longer rare: a list then finds its first page sooner by
# looking at the rows in their order.
RARE = 900
# So many trigrams leave few rows, mostly; each is a list of rows to be read.
FEW = 3


def matching(rows: QuerySet[M], text: str) -> QuerySet[M]:
    """Keep the people or groups that hold every word typed, or have this object ID."""
    return rows.filter(holding(rows.model, text))


def holding(model: type[Model], text: str) -> Q:
    """Return what keeps those that hold every word, or have this object ID."""
    words = fold(text).split()
    if not words:
        return Q()
    hits = None
    begin = all(len(word) < TRIGRAM and word.isascii() for word in words)
    if connection.vendor == "sqlite" and not begin:
        hits = _indexed(model, words)
    if hits is None:
        found = Q(*(("search__contains", word) for word in words))
    else:
        found = Q(pk__in=hits)
    if begin:
        found &= _beginning(model, words)
    object_id = text.strip().lower()
    # An alternative that no index of texts answers: asked only where there can be one.
    return found | Q(object_id=object_id) if is_guid(object_id) else found


def _beginning(model: type[Model], words: list[str]) -> Q:
    """Prefixes as ranges, which the indexes of lists answer on both databases."""
    names = {field.name for field in model._meta.fields}
    found = Q()
    for column in {"sort_key", "user_name_key"} & names:
        for word in words:
            after = word[:-1] + chr(ord(word[-1]) + 1)
            found |= Q(**{f"{column}__gte": word, f"{column}__lt": after})
    return found


def _indexed(model: type[Model], words: list[str]) -> list[int] | None:
    """Return the rows that hold every word, or None where many have its trigrams.

    PostgreSQL's planner does this by itself; SQLite's index is a table of its own.
    """
    # Side by side, and the last one: those between would be read for little more.
    trigrams = list(
        dict.fromkeys(
            word[at : at + TRIGRAM]
            for word in words
            if len(word) >= TRIGRAM
            for at in (*range(0, len(word) - TRIGRAM, TRIGRAM), len(word) - TRIGRAM)
        )
    )
    if not trigrams:
        return None
    hits = _holding_all(model, trigrams[-FEW:], words)
    if len(hits) > RARE and len(trigrams) > FEW:
        hits = _holding_all(model, trigrams, words)
    return [pk for pk, holds in hits if holds] if len(hits) <= RARE else None


def _holding_all(
    model: type[Model], trigrams: list[str], words: list[str]
) -> list[tuple[int, bool]]:
    """Return the rows that have all of these, as far as that they are many.

    The trigrams say who may match, and not that they stand together: with each row
    goes whether it holds the words.
    """
    asked = " ".join('"' + trigram.replace('"', '""') + '"' for trigram in trigrams)
    table = model._meta.db_table
    index = f"{table}_trigrams"
    holds = " AND ".join(["instr(rows.search, %s)"] * len(words))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT found.rowid, {holds} FROM (SELECT rowid FROM {index}"  # noqa: S608
            f" WHERE {index} MATCH %s LIMIT %s) AS found"
            f" CROSS JOIN {table} AS rows ON rows.id = found.rowid",
            [*words, asked, RARE + 1],
        )
        return list(cursor.fetchall())
