"""The people of a first read, packed for the database beside what else is written.

Nobody is compared and nobody is left out, so that what a page says of them is what
their rows will be. Packing them takes the console as long as indexing memberships takes
the database: a thread does it meanwhile. It touches no rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

from django.db import connection
from pyroaring import BitMap

from directory.models import CloudIdentityProvider, DirectoryUser, StagedPage, State
from directory.sync import rows
from directory.sync.attributes import USER_VALUES, UserRow, derived_of
from directory.sync.differences import NewObjects
from directory.sync.stage import Pages, Resource, entries_of

# So many are packed as one, and in memory at once.
PAGES_TOGETHER = 4
# Seconds, a tenth of Python's own.
GIVES_WAY_AFTER = 0.000_5

_COLUMNS = ("id", "object_id", *USER_VALUES, "user_name_key", "sort_key", "search")
Person = tuple[Any, ...]


@contextmanager
def packing(new: NewObjects[UserRow]) -> Iterator[Packing | None]:
    """Pack meanwhile whoever came on pages; nobody where a few of them are left out."""
    came = new.came
    if came is None or came.numbers != new.numbers - BitMap(new.kept):
        yield None
        return
    if connection.vendor != "postgresql":
        # SQLite works in this process: a thread beside it would be in its way.
        yield Packing(came.pages, None)
        return
    usual = sys.getswitchinterval()
    with ThreadPoolExecutor(1, thread_name_prefix="sync-people") as pool:
        try:
            # Else each answer of the database waits until the thread gives way.
            sys.setswitchinterval(GIVES_WAY_AFTER)
            yield Packing(came.pages, pool)
        finally:
            sys.setswitchinterval(usual)
            pool.shutdown(cancel_futures=True)


class Packing:
    """Pages of people that are being packed, as far as they are at hand; without a pool
    none is before it is inserted."""

    def __init__(self, pages: Pages, pool: ThreadPoolExecutor | None) -> None:
        self._pages = pages
        self._at_hand: set[int] = set()
        self._begun: list[tuple[Future[bytes], list[StagedPage]]] = []
        if pool is not None:
            at_hand = pages.at_hand(Resource.USERS)
            self._at_hand = {page.number for page in at_hand}
            self._begun = [
                (pool.submit(_packed, some), some)
                for some in rows.chunks(at_hand, PAGES_TOGETHER)
            ]

    def insert(self, cloud_idp: CloudIdentityProvider, now: datetime) -> int:
        """Insert everybody; returns how many. Call it in a transaction."""
        moment = rows.moment(now)
        same = {
            "cloud_idp_id": cloud_idp.pk,
            "state": State.PRESENT.value,
            "state_since": moment,
            "state_told": True,
            "first_seen_at": moment,
            "changed_at": moment,
        }
        pages = self._pages.of(Resource.USERS, columns=("objects_changed",))
        if connection.vendor != "postgresql":
            names, rest = (*_COLUMNS, *same), tuple(same.values())
            return sum(
                rows.insert(
                    DirectoryUser, names, [each + rest for each in _people([page])]
                )
                for page in pages
            )
        copy = partial(rows.copy_packed, DirectoryUser, _COLUMNS, same=same)
        written = copy(self._packed_at_hand())
        for page in pages:
            if page.number not in self._at_hand:
                written += copy([_packed([page])])
        return written

    def _packed_at_hand(self) -> Iterator[bytes]:
        for begun, pages in self._begun:
            yield _packed(pages) if begun.cancel() else begun.result()


def _people(pages: Iterable[StagedPage]) -> list[Person]:
    return [
        (number, object_id, *values, *derived_of(values))
        for page in pages
        for number, _hash, values, object_id in entries_of(page)
    ]


def _packed(pages: Iterable[StagedPage]) -> bytes:
    # Texts are indexed quicker that are near others like them.
    return rows.packed_for_copy(sorted(_people(pages), key=_SEARCH))


_SEARCH = itemgetter(-1)
