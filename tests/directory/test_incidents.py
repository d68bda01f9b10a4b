"""What went wrong at others, replayed: it harms nobody here.

Each incident is one that people reported of another product.
"""

from __future__ import annotations

import pytest
from django.utils import timezone

from directory.models import HeldChange, SyncRun
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from scoping.recompute import ScopedObject
from tests import factories
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth
from tests.scoping.inventory_rows import (
    again,
    device,
    except_for,
    limited_to,
    scoped,
)
from tests.scoping.test_scopes import verdicts

FULL = SyncRun.Kind.FULL
ANA = "ana.ruiz@fernhill.example"


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    story = connected(sandbox)
    story.read(FULL)
    return story


@pytest.fixture
def ana(story: Story) -> User:
    """An operator by the group Engineering, nested groups counted."""
    group = factories.account_group("Operators", site=factories.site())
    factories.bind(group, story.group("Engineering"), nested=True)
    return factories.entra_account(story.user(ANA))


@pytest.fixture
def profile(story: Story) -> ScopedObject:
    """A profile limited to Engineering, on Ana's Mac."""
    device("Ana's Mac", logged_in=story.user(ANA))
    profile = scoped("Wi-Fi", limited_to(story.group("Engineering")), everything=True)
    assert verdicts(profile) == {"Ana's Mac": "in"}
    return profile


def unharmed(story: Story, ana: User, profile: ScopedObject) -> bool:
    again()
    return (
        verdicts(profile) == {"Ana's Mac": "in"}
        and ANA in story.members("Engineering")
        and standing.read(ana, now=timezone.now()).holds("scoping.change_policy")
    )


@pytest.mark.parametrize("resource", ["users", "groups"])
def test_f10_firezone_an_answer_of_200_with_data_missing(
    story: Story, ana: User, profile: ScopedObject, resource: str
) -> None:
    """The circuit breaker came after everybody had been deleted."""
    before = held(story)
    story.fault(f"/v1.0/{resource}/delta", method="GET", merge={"value": []})

    story.read(FULL)

    assert HeldChange.objects.filter(closed_at=None).exists()
    assert held(story) == before
    assert unharmed(story, ana, profile)

    story.read(FULL)
    assert not HeldChange.objects.filter(closed_at=None).exists(), "it heals by itself"


def test_defguard_groups_that_come_without_their_members(
    story: Story, ana: User, profile: ScopedObject
) -> None:
    """Every group was there, and every group was empty."""
    before = held(story)
    link = f"{story.sandbox.url}/v1.0/groups/delta?$deltatoken=none"
    groups = [
        {
            "id": group["id"],
            "displayName": group["displayName"],
            "groupTypes": group.get("groupTypes", []),
            "securityEnabled": group.get("securityEnabled", True),
            "mailEnabled": group.get("mailEnabled", False),
            "visibility": group.get("visibility"),
        }
        for group in story.control("GET", "groups")["value"]
    ]
    story.fault(
        "/v1.0/groups/delta",
        method="GET",
        status=200,
        body={"value": groups, "@odata.deltaLink": link},
    )

    story.read(FULL)

    assert held(story).direct == before.direct
    assert unharmed(story, ana, profile)


def test_sssd_a_refresh_that_breaks_off_and_only_ever_adds(
    story: Story, ana: User, profile: ScopedObject
) -> None:
    """A revoked member stayed, since the refresh stopped before it removed anybody."""
    story.control("DELETE", f"groups/Frontend/members/{ANA}")
    story.fault("/v1.0/users/delta", method="GET", status=403, times=2)
    assert story.sync().state == SyncRun.State.FAILED

    story.behave()
    for _ in range(3):
        run = story.sync()
        if run.state == SyncRun.State.SUCCEEDED:
            break
    assert not standing.read(ana, now=timezone.now()).holds("scoping.change_policy")

    # The first read after an error waits for a second one.
    story.read()
    again()
    assert held(story).direct == truth(story).direct
    assert ANA not in story.members("Engineering")
    assert verdicts(profile) == {"Ana's Mac": "out"}
    assert not standing.read(ana, now=timezone.now()).holds("scoping.change_policy")


def test_fleet_an_exclusion_that_is_not_known_yet(story: Story) -> None:
    """New hosts got what they were excluded from, until somebody knew better."""
    engineering = story.group("Engineering")
    excluding = scoped("Installer", except_for(engineering), everything=True)

    device("New Mac")
    again()
    assert verdicts(excluding)["New Mac"] == "unknown", "nobody has been reported"

    type(engineering).objects.filter(pk=engineering.pk).update(hidden_membership=True)
    device("Milo's Mac", logged_in=story.user("milo.brandt@fernhill.example"))
    again()
    assert verdicts(excluding)["Milo's Mac"] == "unknown", "its members are not known"


def test_authentik_a_filter_that_is_edited(
    story: Story, ana: User, profile: ScopedObject
) -> None:
    """Whoever the new filter left out was deleted, with all that they had."""
    before = held(story)
    story.cloud_idp.read_filter = {"name_patterns": ["Alumni"]}
    story.cloud_idp.save()

    story.read()

    guards = {each for one in HeldChange.objects.all() for each in one.guards}
    assert "selection-changed" in guards
    assert held(story) == before
    assert unharmed(story, ana, profile)
