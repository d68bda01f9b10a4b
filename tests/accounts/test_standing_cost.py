"""What is held of a large directory costs a request nothing that is not its person's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    HeldChange,
)
from directory.sync.decide import hold_everything
from directory.sync.differences import Plan
from directory.sync.holds import Held
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from tests import factories
from tests.directory.rounds import group, guid, left, member, removed, take, user

PERMISSION = "scoping.change_policy"
ANA, BEA = guid("ana"), guid("bea")
TEAM, STUDIO, HOUSE = guid("team"), guid("studio"), guid("house")
OTHERS = [guid(f"other {n}") for n in range(300)]
GROUPS = [guid(f"group {n}") for n in range(200)]


def hold_all(plan: Plan) -> Held:
    held = Held()
    hold_everything(plan, held)
    return held


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Ana, Bea and 300 others in Team, within Studio, within House, among 200 groups
    that hold each other, and of which House holds the first."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    chain = [
        group(each, member(following, "group")) for each, following in pairwise(GROUPS)
    ]
    take(
        idp,
        full=True,
        users=[*map(user, [ANA, BEA, *OTHERS])],
        groups=[
            *chain,
            group(GROUPS[-1]),
            group(TEAM, *map(member, [ANA, BEA, *OTHERS])),
            group(STUDIO, member(TEAM, "group")),
            group(HOUSE, member(STUDIO, "group"), member(GROUPS[0], "group")),
        ],
    )
    factories.bind(
        factories.account_group("Operators", site=factories.site()),
        DirectoryGroup.objects.get(object_id=HOUSE),
        nested=True,
    )
    return idp


def account_of(object_id: str) -> User:
    return factories.entra_account(DirectoryUser.objects.get(object_id=object_id))


def cost(account: User) -> tuple[bool, int, int]:
    """Whether it may work, and how many queries and rows that took to find out."""
    with CaptureQueriesContext(connection) as asked:
        may = standing.read(account, now=timezone.now()).holds(PERMISSION)
    rows = 0
    with connection.cursor() as cursor:
        for each in asked.captured_queries:
            cursor.execute(each["sql"].replace("%", "%%"), ())
            rows += len(cursor.fetchall())
    return may, len(asked), rows


HOLDS: dict[str, dict[str, Any]] = {
    "members": {"groups": [group(TEAM, *map(left, OTHERS))]},
    "nesting": {"groups": [group(GROUPS[5], left(GROUPS[6], "group"))]},
    "groups": {"groups": [removed(each, "deleted") for each in GROUPS]},
    "people": {"users": [removed(each) for each in OTHERS]},
}


@pytest.mark.parametrize("what", HOLDS)
def test_what_is_held_of_others_costs_few_rows(
    fernhill: CloudIdentityProvider, what: str
) -> None:
    bea = account_of(BEA)
    take(fernhill, **HOLDS[what], decide=hold_all)
    assert HeldChange.objects.filter(closed_at=None).exists()

    may, queries, rows = cost(bea)

    assert may
    assert queries <= 16
    assert rows <= 25


LOSSES: dict[str, dict[str, Any]] = {
    "left": {"groups": [group(TEAM, *map(left, [ANA, *OTHERS]))]},
    "nesting": {"groups": [group(HOUSE, left(STUDIO, "group"))]},
    "between": {"groups": [group(STUDIO, left(TEAM, "group"))]},
    "group": {"groups": [removed(STUDIO, "deleted")]},
    "bound": {"groups": [removed(HOUSE, "deleted")]},
    "person": {"users": [removed(ANA)]},
}


@pytest.mark.parametrize("what", LOSSES)
def test_what_is_held_of_oneself_is_found_as_cheaply(
    fernhill: CloudIdentityProvider, what: str
) -> None:
    ana = account_of(ANA)
    assert cost(ana)[0]
    take(fernhill, **LOSSES[what], decide=hold_all)

    may, queries, rows = cost(ana)

    assert not may
    assert queries <= 16
    assert rows <= 25


def test_a_bound_group_that_is_gone_is_told_to_whoever_is_not_in_it(
    fernhill: CloudIdentityProvider,
) -> None:
    lone = guid("lone")
    take(fernhill, users=[user(lone)])
    account = account_of(lone)
    before = standing.read(account, now=timezone.now()).withheld
    take(fernhill, groups=[removed(HOUSE, "deleted")], decide=hold_all)

    assert standing.read(account, now=timezone.now()).withheld != before
