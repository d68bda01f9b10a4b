"""Rounds of Graph's answers, planned and applied without a network."""

from __future__ import annotations

from datetime import datetime
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.utils import timezone

from directory.models import CloudIdentityProvider, DirectoryObject, SyncRun
from directory.sync.apply import apply_plan
from directory.sync.differences import Plan
from directory.sync.fetch import DeltaLinks
from directory.sync.foresee import after_guards
from directory.sync.holds import Decide, hold_nothing
from directory.sync.lease import Lease
from directory.sync.numbers import Register
from directory.sync.plan import make_plan
from directory.sync.reduce import Reducer
from directory.sync.selection import selection_of
from directory.sync.stage import Pages, Resource, Round, staged
from directory.sync.stored_plans import prepare
from tests import factories

Json = dict[str, Any]


def user(object_id: str, **properties: Any) -> Json:
    """A person as Graph lists them: whole, unless `whole=False`."""
    whole = {
        "displayName": object_id[:8],
        "userPrincipalName": f"{object_id[:8]}@fernhill.example",
        "mail": None,
        "accountEnabled": True,
        "userType": "Member",
        "department": None,
        "jobTitle": None,
        "mobilePhone": None,
    }
    given = properties if properties.pop("whole", True) is False else whole | properties
    return {"id": object_id, **given}


def group(object_id: str, *members: Json, **properties: Any) -> Json:
    """A security group, or what `properties` make of it, with entries of members."""
    whole: Json = {
        "displayName": object_id[:8],
        "description": None,
        "mail": None,
        "membershipRule": None,
        "mailEnabled": False,
        "securityEnabled": True,
        "isAssignableToRole": None,
        "visibility": None,
        "groupTypes": [],
    }
    item = {"id": object_id, **whole, **properties}
    return item | ({"members@delta": list(members)} if members else {})


def member(object_id: str, kind: str = "user") -> Json:
    return {"@odata.type": f"#microsoft.graph.{kind}", "id": object_id}


def left(object_id: str, kind: str = "user") -> Json:
    return member(object_id, kind) | {"@removed": {"reason": "deleted"}}


def removed(object_id: str, reason: str = "changed") -> Json:
    return {"id": object_id, "@removed": {"reason": reason}}


def read(
    idp: CloudIdentityProvider,
    *,
    full: bool = False,
    users: list[Json] | None = None,
    groups: list[Json] | None = None,
    per_page: int = 1000,
    now: datetime | None = None,
) -> tuple[Round, Register]:
    """Reduce and merge a round, groups before people, so many items on a page."""
    now = now or timezone.now()
    run = SyncRun.objects.create(
        cloud_idp=idp,
        kind=SyncRun.Kind.FULL if full else SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.SCHEDULE,
        state=SyncRun.State.APPLYING,
        created_at=now,
    )
    register = Register(idp, whole=full)
    if full:
        register.load()
    reducer = Reducer(selection_of(idp), register, whole=full)
    pages = Pages(run)
    for resource, items, reduce in (
        (Resource.GROUPS, groups or [], reducer.groups),
        (Resource.USERS, users or [], reducer.users),
    ):
        for number, at in enumerate(range(0, len(items), per_page)):
            page = [dict(item) for item in items[at : at + per_page]]
            pages.unstored.append(
                staged(
                    run,
                    resource,
                    number,
                    reduce(page),
                    next_link="",
                    delta_link="",
                    now=now,
                )
            )
    register.store()
    round_ = Round(full=full, pages=pages, people=reducer.people)
    round_.merge()
    return round_, register


def take(
    idp: CloudIdentityProvider,
    *,
    full: bool = False,
    users: list[Json] | None = None,
    groups: list[Json] | None = None,
    per_page: int = 1000,
    decide: Decide = hold_nothing,
    now: datetime | None = None,
) -> Plan:
    """Plan and apply one round; the derived rows are verified."""
    idp.refresh_from_db()
    now = now or timezone.now()
    round_, register = read(
        idp, full=full, users=users, groups=groups, per_page=per_page, now=now
    )
    selection = selection_of(idp)
    plan = make_plan(
        cloud_idp=idp,
        round_=round_,
        register=register,
        selection=selection,
        now=now,
        decide=decide,
    )
    derived, consequences = after_guards(plan)
    apply_plan(
        plan,
        derived,
        lease=Lease(round_.pages.run.pk, 0),
        delta_links=DeltaLinks(users="u", groups="g"),
        selection=selection.signature,
        clock=lambda: now,
        columns={},
        prepared=prepare(plan, consequences),
    )
    call_command("rebuild_memberships", "--check", stdout=StringIO())
    return plan


def number_of(idp: CloudIdentityProvider, object_id: str) -> int:
    return DirectoryObject.objects.get(cloud_idp=idp, object_id=object_id).pk


def guid(name: str) -> str:
    return factories.guid(name)
