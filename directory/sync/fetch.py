"""Reading a round: two chains at once, and keeping what comes.

People are one chain of pages, groups with their members another; each page names the
next, so that only the two can be read at the same time. Each has a thread, which asks
and parses; it touches no rows. Everything else happens here, in one thread: pages are
reduced, and stored a few at a time, so that a run that is killed goes on where it
stopped.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from pyroaring import BitMap

from directory import schema
from directory.entra import GroupsPage, UsersPage
from directory.entra.errors import EntraError
from directory.entra.transport import Priority
from directory.models import StagedPage, SyncRun
from directory.sync.bitmaps import unpack
from directory.sync.lease import READ_LEASE, Lease
from directory.sync.lines import Desk, Lines, OpenLines, Stopped, Task
from directory.sync.numbers import Register
from directory.sync.reduce import Reducer
from directory.sync.selection import Selection
from directory.sync.stage import (
    Pages,
    Resource,
    Round,
    entries_of,
    staged,
    store_pages,
)
from directory.sync.traffic import Traffic
from jamfidp.compiled import Added
from jamfidp.durability import checkpointed_beside

Clock = Callable[[], datetime]
Page = UsersPage | GroupsPage

# Pages that were read and wait to be reduced: a page holds thousands of objects.
WAITING_PAGES = 4
# What a run that is killed reads again at most.
FLUSH_PAGES = 64
FLUSH_AFTER = timedelta(seconds=1)
# While no page comes the lease is renewed this often.
HEARTBEAT = 10.0
# A thread that is told to stop ends with its request; nobody waits longer for it.
STOP_SECONDS = 2.0


class DeadlinePassed(Exception):
    """The run took longer than it may; what was read is kept."""


def priority_of(run: SyncRun) -> Priority:
    """Return what Microsoft is told of a read: one that nobody waits for comes last.

    Below whoever signs in or looks somebody up, it is never more than normal.
    """
    return "low" if run.trigger == SyncRun.Trigger.SCHEDULE else "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaLinks:
    """Where the next reads of changes begin."""

    users: str
    groups: str


@dataclass(slots=True)
class _Event:
    """What a chain puts down: a page, its end, why it broke off, what it waits for."""

    resource: Resource = Resource.USERS
    page: Page | None = None
    error: BaseException | None = None
    mention: str = ""


def _follow_chain(
    resource: Resource,
    pages: Callable[[], Iterator[Page]],
    desk: Desk,
    pace: Callable[[], float],
) -> None:
    """Follow one chain of pages, in a thread. Knows neither rows nor runs.

    `pace` says how long to wait before the next page, so that others have room.
    """
    try:
        try:
            for page in pages():
                desk.put(_Event(resource, page=page))
                if page.next_link and (seconds := pace()):
                    desk.rest(seconds)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again at the desk
            desk.put(_Event(resource, error=error))
        else:
            desk.put(_Event(resource))
    except Stopped:
        return


@dataclass(slots=True)
class _Progress:
    """How far one chain was read."""

    number: int = 0
    next_link: str = ""
    delta_link: str = ""
    seen: BitMap = field(default_factory=BitMap)


class Fetch:
    """Reads what a run has not read yet, with `any_pages` from the stored ones on.

    `open_lines` opens the lines to Microsoft. `heard` is called whenever something was
    stored, so that the worker is seen to be alive.
    """

    def __init__(
        self,
        *,
        run: SyncRun,
        lease: Lease,
        selection: Selection,
        clock: Clock,
        open_lines: OpenLines = Lines,
        heard: Callable[[], None] = lambda: None,
        any_pages: bool = True,
    ) -> None:
        self.run = run
        self.pages = Pages(run)
        self.pages.any_stored = any_pages
        self.register = Register(run.cloud_idp, whole=run.kind == SyncRun.Kind.FULL)
        self._lease = lease
        self._selection = selection
        self.traffic = Traffic.of(run)
        self._desk = Desk(WAITING_PAGES)
        self._lines = open_lines(
            run.cloud_idp, self.traffic, self._desk, priority_of(run)
        )
        self._clock = clock
        self._heard = heard
        self._reducer = Reducer(selection, self.register, whole=self.register.whole)
        self._progress = {resource: _Progress() for resource in Resource}
        self._flushed_at = clock()
        self._pages_counted = self._members_counted = 0
        self._phase = "Reading"

    def read(self) -> Round:
        """Read both chains to their ends, from where the stored pages stop.

        Raises:
            EntraError: a page failed; DeltaExpired asks for a full read.
            LeaseLost, Canceled, DeadlinePassed, OtherVersion
        """
        if self.register.whole:
            self.register.load()
        self._take_up()
        self.traffic.waits = lambda sentence: self._desk.mention(
            _Event(mention=sentence)
        )
        chains: list[threading.Thread] = []
        ended_well = False
        try:
            for resource in Resource:
                if not self._progress[resource].delta_link:
                    self._begin(resource, chains)
            self._follow(len(chains))
            ended_well = True
        except (EntraError, DeadlinePassed):
            # What came before it is of use to the next run.
            self._store()
            raise
        else:
            self._lines.give_back()
        finally:
            self._desk.close()
            for chain in chains:
                chain.join(STOP_SECONDS)
            self._lines.close()
            if self.traffic.requests and not ended_well:
                # What was on its way when the other chain broke off.
                self._lease.write(**self.counted())
        if self.register.given or self.pages.any_stored:
            self._store()
        return Round(
            full=self.register.whole,
            pages=self.pages,
            again=self._reducer.repeated,
            people=self._reducer.people,
        )

    @property
    def delta_links(self) -> DeltaLinks:
        return DeltaLinks(
            users=self._progress[Resource.USERS].delta_link,
            groups=self._progress[Resource.GROUPS].delta_link,
        )

    @property
    def used(self) -> Mapping[str, int]:
        """How many answers each permission opened."""
        return self._lines.used

    def counted(self) -> dict[str, Any]:
        """Return what was read since the last call, as columns of the run's row."""
        columns = {
            "pages": Added(self._pages_counted),
            "memberships_read": Added(self._members_counted),
            "users_read": len(self._progress[Resource.USERS].seen),
            "groups_read": len(self._progress[Resource.GROUPS].seen),
            **self.traffic.take(),
        }
        self._pages_counted = self._members_counted = 0
        return columns

    def _take_up(self) -> None:
        """Go on where the stored pages of this run end."""
        stored = StagedPage.objects.filter(run=self.run)
        self.pages.any_stored = self.pages.any_stored and stored.exists()
        for page in self.pages.of(*Resource):
            progress = self._progress[Resource(page.resource)]
            progress.number = page.number
            progress.next_link, progress.delta_link = page.next_link, page.delta_link
            progress.seen |= unpack(page.seen)
            self._reducer.take_up(page.resource, entries_of(page))

    def _begin(self, resource: Resource, chains: list[threading.Thread]) -> None:
        chain = threading.Thread(
            target=_follow_chain,
            args=(resource, self._chain(resource), self._desk, self.traffic.pace),
            name=f"sync-{resource.lower()}",
            daemon=True,
        )
        chains.append(chain)
        chain.start()

    def _chain(self, resource: Resource) -> Callable[[], Iterator[Page]]:
        graph = self._lines.open()
        link: str | None = self._progress[resource].next_link or None
        if link is None and self.run.kind == SyncRun.Kind.DELTA:
            idp = self.run.cloud_idp
            users = resource == Resource.USERS
            link = idp.users_delta_link if users else idp.groups_delta_link
        if resource == Resource.USERS:
            properties = self._selection.properties
            return lambda: graph.users_delta(
                link, properties=properties, ahead=self.traffic.unpaced
            )
        return lambda: graph.groups_delta(link, ahead=self.traffic.unpaced)

    def _follow(self, open_chains: int) -> None:
        while open_chains:
            event = self._desk.take(HEARTBEAT)
            if event is None:
                self._check_deadline()
                self._renew()
            elif isinstance(event, Task):
                event.carry_out()
            elif event.mention:
                self._phase = event.mention
                self._renew()
            elif event.error is not None:
                raise event.error
            elif event.page is None:
                open_chains -= 1
            else:
                self._take(event.resource, event.page)

    def _take(self, resource: Resource, page: Page) -> None:
        now = self._clock()
        users = resource == Resource.USERS
        reduce = self._reducer.users if users else self._reducer.groups
        reduced = reduce(page.items)
        progress = self._progress[resource]
        progress.number += 1
        progress.delta_link = page.delta_link or ""
        progress.seen |= reduced.seen
        self._pages_counted += 1
        self._members_counted += reduced.members_joined
        self._phase = self._reading()
        self.pages.unstored.append(
            staged(
                self.run,
                resource,
                progress.number,
                reduced,
                next_link=page.next_link or "",
                delta_link=page.delta_link or "",
                now=now,
            )
        )
        if (
            len(self.pages.unstored) >= FLUSH_PAGES
            or now - self._flushed_at >= FLUSH_AFTER
        ):
            self._check_deadline()
            self._store()

    def _reading(self) -> str:
        """Say what is still read."""
        names = {Resource.USERS: "users", Resource.GROUPS: "groups and memberships"}
        left = [
            names[resource]
            for resource, progress in self._progress.items()
            if not progress.delta_link
        ]
        return f"Reading {', '.join(left)}" if left else "Reading"

    def _store(self) -> None:
        """Store the pages and numbers that are not stored yet, and renew the lease."""
        with checkpointed_beside(), transaction.atomic():
            self._renew()
            schema.check()
            self.register.store()
            store_pages(self.pages.unstored)
        self.pages.are_stored()
        self.register.given = []
        self._flushed_at = self._clock()
        self._heard()

    def _renew(self) -> None:
        """Renew the lease, with what was read so far. Raises LeaseLost, Canceled."""
        now = self._clock()
        self._lease.renew(
            phase=self._phase,
            heartbeat_at=now,
            lease_expires_at=now + READ_LEASE,
            **self.counted(),
        )

    def _check_deadline(self) -> None:
        deadline = self.run.deadline_at
        if deadline is not None and self._clock() > deadline:
            raise DeadlinePassed
