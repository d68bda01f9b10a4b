"""Reading a round page by page, and keeping each page before the next is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from directory.entra import GraphClient, GroupsPage, UsersPage
from directory.entra.transport import Exchange
from directory.models import StagedPage, SyncRun
from directory.sync import attributes
from directory.sync.apply import DeltaLinks
from directory.sync.lease import READ_LEASE, Lease, LeaseLost
from directory.sync.stage import Item, Snapshot, group_item, members_in, user_item

Clock = Callable[[], datetime]


class Canceled(Exception):
    """Somebody canceled the run."""


@dataclass(slots=True)
class Traffic:
    """Watches the session: what a page cost, and waits that people should see."""

    lease: Lease
    clock: Clock
    requests: int = 0
    bytes_received: int = 0
    resource_units: int = 0

    def exchanged(self, exchange: Exchange) -> None:
        self.requests += 1
        self.bytes_received += exchange.bytes_received
        self.resource_units += exchange.resource_units

    def waiting(self, seconds: float, reason: str) -> None:
        self.lease.write(
            phase=f"Waiting {seconds:.0f} s. {reason}"[:100],
            heartbeat_at=self.clock(),
            lease_expires_at=self.clock() + READ_LEASE,
        )

    def take(self) -> dict[str, Any]:
        """Return what came since the last call, as additions to the run's row."""
        added = {
            "requests": F("requests") + self.requests,
            "bytes_read": F("bytes_read") + self.bytes_received,
            "resource_units": F("resource_units") + self.resource_units,
        }
        self.requests = self.bytes_received = self.resource_units = 0
        return added


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    items: list[Item]
    members: int
    next_link: str
    delta_link: str


@dataclass(slots=True)
class Fetch:
    """Reads what a run has not read yet.

    `heard` is called with every page, so that the worker is seen to be alive.
    """

    run: SyncRun
    lease: Lease
    graph: GraphClient
    traffic: Traffic
    clock: Clock
    heard: Callable[[], None] = field(default=lambda: None)

    def read(self) -> DeltaLinks:
        """Read people, then groups, from where the staged pages end.

        Raises:
            EntraError: a page failed; DeltaExpired asks for a full read.
            LeaseLost, Canceled
        """
        return DeltaLinks(users=self._users(), groups=self._groups())

    def _users(self) -> str:
        mapped = attributes.mapped_properties(self.run.cloud_idp.mappings)
        properties = sorted(set(mapped.values()))
        return self._resource(
            StagedPage.Resource.USERS,
            "Reading users",
            self.run.cloud_idp.users_delta_link,
            lambda link: (
                _users_page(page)
                for page in self.graph.users_delta(link, properties=properties)
            ),
        )

    def _groups(self) -> str:
        return self._resource(
            StagedPage.Resource.GROUPS,
            "Reading groups and memberships",
            self.run.cloud_idp.groups_delta_link,
            lambda link: (_groups_page(p) for p in self.graph.groups_delta(link)),
        )

    def _resource(
        self,
        resource: StagedPage.Resource,
        phase: str,
        delta_link: str,
        pages: Callable[[str | None], Iterator[_Page]],
    ) -> str:
        last = (
            StagedPage.objects.filter(run=self.run, resource=resource)
            .order_by("-number")
            .first()
        )
        if last is not None and last.delta_link:
            return last.delta_link
        if last is not None:
            link: str | None = last.next_link
        elif self.run.kind == SyncRun.Kind.DELTA:
            link = delta_link
        else:
            link = None
        number = last.number if last is not None else 0
        # A large group comes in slices over several pages; it is counted once.
        named = last.items[-1]["id"] if last is not None and last.items else ""
        self._check(phase=phase)
        end = ""
        for page in pages(link):
            number += 1
            continued = bool(page.items) and page.items[0]["id"] == named
            self._keep(resource, phase, number, page, continued=continued)
            named = page.items[-1]["id"] if page.items else named
            end = page.delta_link
        return end

    def _keep(
        self,
        resource: StagedPage.Resource,
        phase: str,
        number: int,
        page: _Page,
        *,
        continued: bool,
    ) -> None:
        objects = len(page.items) - continued
        counted = (
            {"users_read": F("users_read") + objects}
            if resource == StagedPage.Resource.USERS
            else {
                "groups_read": F("groups_read") + objects,
                "memberships_read": F("memberships_read") + page.members,
            }
        )
        with transaction.atomic():
            self._check(
                phase=phase, pages=F("pages") + 1, **counted, **self.traffic.take()
            )
            StagedPage.objects.create(
                run=self.run,
                resource=resource,
                number=number,
                items=page.items,
                next_link=page.next_link,
                delta_link=page.delta_link,
            )
        self.heard()

    def _check(self, **columns: Any) -> None:
        """Renew the lease; stop when it is lost or somebody canceled."""
        now = self.clock()
        held = self.lease.write(
            heartbeat_at=now, lease_expires_at=now + READ_LEASE, **columns
        )
        if not held:
            raise LeaseLost
        if SyncRun.objects.filter(pk=self.run.pk, cancel_requested=True).exists():
            raise Canceled


def _users_page(page: UsersPage) -> _Page:
    return _Page(
        items=[user_item(user) for user in page.users],
        members=0,
        next_link=page.next_link or "",
        delta_link=page.delta_link or "",
    )


def _groups_page(page: GroupsPage) -> _Page:
    items = [group_item(group) for group in page.groups]
    return _Page(
        items=items,
        members=sum(members_in(item) for item in items),
        next_link=page.next_link or "",
        delta_link=page.delta_link or "",
    )


def merge(run: SyncRun) -> Snapshot:
    """Merge the staged pages of a run, one in memory at a time."""
    snapshot = Snapshot(full=run.kind == SyncRun.Kind.FULL)
    pages = StagedPage.objects.filter(run=run)
    for resource, take in (
        (StagedPage.Resource.USERS, snapshot.take_users),
        (StagedPage.Resource.GROUPS, snapshot.take_groups),
    ):
        for page in pages.filter(resource=resource).order_by("number").iterator(1):
            take(page.items)
    return snapshot
