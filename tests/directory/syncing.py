"""A connection to the sandbox tenant, and what that tenant truly holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from directory import credentials
from directory.models import (
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    GroupBitmap,
    GroupNesting,
    State,
    SyncRun,
)
from directory.sync import request_sync
from directory.sync.run import work
from tests.conftest import Sandbox


@dataclass
class Story:
    """One connected tenant of the sandbox: change it there, read it here."""

    sandbox: Sandbox
    tenant: str
    cloud_idp: CloudIdentityProvider

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self.sandbox.control(method, f"tenants/{self.tenant}/{path}", body)

    def behave(self, **switches: Any) -> None:
        self.sandbox.control("PATCH", "behavior", switches)

    def fault(self, path: str, **values: Any) -> None:
        self.sandbox.control("POST", "faults", {"path": path, **values})

    def unavailable(self, path: str, **values: Any) -> None:
        """Have every try fail, and ask for each of the next ones at once."""
        at_once = {"Retry-After": "0"}
        self.fault(path, status=503, headers=at_once, times=0, **values)

    def request(
        self, kind: SyncRun.Kind = SyncRun.Kind.DELTA, now: datetime | None = None
    ) -> SyncRun:
        return request_sync(
            cloud_idp=self.cloud_idp,
            kind=kind,
            trigger=SyncRun.Trigger.PERSON,
            actor=None,
            now=now or timezone.now(),
        )

    def sync(self, kind: SyncRun.Kind = SyncRun.Kind.DELTA) -> SyncRun:
        """Read once; the run may have failed."""
        run = self.request(kind)
        work(run.pk)
        run.refresh_from_db()
        self.cloud_idp.refresh_from_db()
        return run

    def read(self, kind: SyncRun.Kind = SyncRun.Kind.DELTA) -> SyncRun:
        """Read once; a run that does not succeed fails the test."""
        run = self.sync(kind)
        assert run.state == SyncRun.State.SUCCEEDED, f"{run.error} {run.advice}"
        return run

    def dry_run(self) -> SyncRun:
        """Read everything and plan; it may have failed."""
        run = request_sync(
            cloud_idp=self.cloud_idp,
            kind=SyncRun.Kind.FULL,
            trigger=SyncRun.Trigger.PERSON,
            actor=None,
            now=timezone.now(),
            dry_run=True,
        )
        work(run.pk)
        run.refresh_from_db()
        return run

    def user(self, upn: str) -> DirectoryUser:
        """The person with this UPN; not one who was deleted for good and had it."""
        return DirectoryUser.objects.exclude(state=State.GONE).get(
            cloud_idp=self.cloud_idp, user_principal_name=upn
        )

    def group(self, name: str) -> DirectoryGroup:
        return DirectoryGroup.objects.exclude(state=State.GONE).get(
            cloud_idp=self.cloud_idp, display_name=name
        )

    def members(self, name: str) -> set[str]:
        """The UPNs of everybody present in a group, nested groups included."""
        return self._upns(GroupBitmap.objects.get(group=self.group(name)), nested=True)

    def direct_members(self, name: str) -> set[str]:
        return self._upns(GroupBitmap.objects.get(group=self.group(name)), nested=False)

    def _upns(self, bitmap: GroupBitmap, *, nested: bool) -> set[str]:
        ids = list(bitmap.users(nested=nested))
        return set(
            DirectoryUser.objects.filter(pk__in=ids).values_list(
                "user_principal_name", flat=True
            )
        )


def connected(sandbox: Sandbox, number: int = 0) -> Story:
    """Consent in the sandbox and a connection here, not read yet."""
    now = timezone.now()
    tenant = sandbox.tenants[number]
    client_id = sandbox.application["client_id"]
    sandbox.control("PUT", f"tenants/{tenant['id']}/consents/{client_id}")
    registration, made = ApplicationRegistration.objects.get_or_create(
        cloud="SANDBOX", defaults={"client_id": client_id, "changed_at": now}
    )
    if made:
        credentials.add_secret(
            registration,
            secret=sandbox.application["client_secret"],
            expires_at=None,
            actor=None,
            now=now,
        )
    cloud_idp = CloudIdentityProvider.objects.create(
        display_name=tenant["display_name"],
        cloud="SANDBOX",
        tenant_id=tenant["id"],
        tenant_name=tenant["display_name"],
        consented_by_name="Grace Okafor",
        consented_by_upn=tenant["global_admin"]["upn"],
        consented_by_object_id="",
        consented_at=now,
        status_since=now,
    )
    AttributeMappings.objects.create(cloud_idp=cloud_idp)
    return Story(sandbox, tenant["id"], cloud_idp)


@dataclass(frozen=True)
class Contents:
    """People, groups and memberships by object id, as a tenant or the console holds
    them. `transitive` is worked out here, in the simplest way, from the direct ones."""

    people: dict[str, tuple[str, bool]]
    groups: dict[str, str]
    direct: frozenset[tuple[str, str]]
    nesting: frozenset[tuple[str, str]]
    transitive: frozenset[tuple[str, str]]


def truth(story: Story) -> Contents:
    """What the tenant holds, from its control plane."""
    users = story.control("GET", "users")["value"]
    groups = story.control("GET", "groups")["value"]
    present = {group["id"]: group["displayName"] for group in groups}
    hidden = {
        group["id"] for group in groups if group.get("visibility") == "HiddenMembership"
    }
    direct = {
        (group, user["id"])
        for user in users
        for group in user["groups"]
        if group in present and group not in hidden
    }
    nesting = {
        (parent, group["id"])
        for group in groups
        for parent in group["groups"]
        if parent in present and parent not in hidden
    }
    return Contents(
        people={
            user["id"]: (user["userPrincipalName"], user["accountEnabled"])
            for user in users
        },
        groups=present,
        direct=frozenset(direct),
        nesting=frozenset(nesting),
        transitive=transitive(direct, nesting),
    )


def held(story: Story) -> Contents:
    """What the console holds of the tenant, in effect."""
    users = {
        user.pk: user
        for user in DirectoryUser.objects.filter(
            cloud_idp=story.cloud_idp, state=DirectoryUser.State.PRESENT
        )
    }
    groups = {
        group.pk: group
        for group in DirectoryGroup.objects.filter(
            cloud_idp=story.cloud_idp, state=DirectoryGroup.State.PRESENT
        )
    }
    direct, transitive = set(), set()
    for bitmap in GroupBitmap.objects.filter(group__cloud_idp=story.cloud_idp):
        straight, everybody = bitmap.users(nested=False), bitmap.users(nested=True)
        if bitmap.group_id not in groups:
            assert not everybody, "a group that is not there holds nobody"
            continue
        group = groups[bitmap.group_id]
        assert group.direct_users == len(straight), group.display_name
        assert group.transitive_users == len(everybody), group.display_name
        direct |= {(group.object_id, users[pk].object_id) for pk in straight}
        transitive |= {(group.object_id, users[pk].object_id) for pk in everybody}
    nesting = {
        (groups[edge.parent_id].object_id, groups[edge.child_id].object_id)
        for edge in GroupNesting.objects.filter(parent__cloud_idp=story.cloud_idp)
        if edge.parent_id in groups and edge.child_id in groups
    }
    return Contents(
        people={
            user.object_id: (user.user_principal_name, bool(user.account_enabled))
            for user in users.values()
        },
        groups={group.object_id: group.display_name for group in groups.values()},
        direct=frozenset(direct),
        nesting=frozenset(nesting),
        transitive=frozenset(transitive),
    )


def transitive(
    direct: set[tuple[str, str]], nesting: set[tuple[str, str]]
) -> frozenset[tuple[str, str]]:
    found = set(direct)
    while True:
        more = {
            (parent, user)
            for parent, child in nesting
            for group, user in found
            if group == child
        } - found
        if not more:
            return frozenset(found)
        found |= more
