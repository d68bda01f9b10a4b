"""The people of a first read, packed for the database beside what else is written.

Nobody is compared and nobody is left out, so that what a page says of them is what
their rows will be. Packing them takes the console as long as indexing memberships takes
the database: a thread does it meanwhile. It touches no rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime

from pyroaring import BitMap

from directory.models import CloudIdentityProvider, DirectoryUser, StagedPage, State
from directory.sync import rows
from directory.sync.attributes import USER_VALUES, UserRow, derived_of
from directory.sync.differences import NewObjects
from directory.sync.stage import Pages, Resource, entries_of

_COLUMNS = ("id", "object_id", *USER_VALUES, "user_name_key", "sort_key", "search")


@contextmanager
def packing(new: NewObjects[UserRow]) -> Iterator[Packing | None]:
    """Pack meanwhile whoever came on pages; nobody where a few of them are left out."""
    came = new.came
    if came is None or came.numbers != new.numbers - BitMap(new.kept):
        yield None
        return
    with ThreadPoolExecutor(1, thread_name_prefix="sync-people") as pool:
        try:
            yield Packing(came.pages, pool)
        finally:
            pool.shutdown(cancel_futures=True)


class Packing:
    """Pages of people that are being packed, as far as they are at hand."""

    def __init__(self, pages: Pages, pool: ThreadPoolExecutor) -> None:
        self._pages = pages
        self._begun: dict[int, Future[bytes]] = {
            page.number: pool.submit(_packed, page)
            for page in pages.at_hand(Resource.USERS)
        }

    def insert(self, cloud_idp: CloudIdentityProvider, now: datetime) -> int:
        """Insert everybody; returns how many. Call it in a transaction."""
        moment = rows.moment(now)
        return rows.insert_packed(
            DirectoryUser,
            _COLUMNS,
            self._all(),
            {
                "cloud_idp_id": cloud_idp.pk,
                "state": State.PRESENT.value,
                "state_since": moment,
                "state_told": True,
                "first_seen_at": moment,
                "changed_at": moment,
            },
        )

    def _all(self) -> Iterator[bytes]:
        for page in self._pages.of(Resource.USERS, columns=("objects_changed",)):
            begun = self._begun.pop(page.number, None)
            if begun is None or begun.cancel():
                yield _packed(page)
            else:
                yield begun.result()


def _packed(page: StagedPage) -> bytes:
    return rows.pack(
        [
            (number, object_id, *values, *derived_of(values))
            for number, _hash, values, object_id in entries_of(page)
        ]
    )
