"""Groups that have another name in Entra: nothing hangs on it, and people are told."""

from __future__ import annotations

import pytest
from django.test import Client

from directory.models import DirectoryGroup, EarlierValue, SyncRun
from directory.sync import renames, stored_plans
from jamfidp.notices import reading
from jamfidp.notices.models import Notice
from scoping.recompute import ScopedObject
from tests import factories
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth
from tests.directory.test_sync_pages import text
from tests.scoping.inventory_rows import again, device, limited_to, scoped
from tests.scoping.test_scopes import verdicts

FULL = SyncRun.Kind.FULL
ANA = "ana.ruiz@fernhill.example"
MANY = 500


@pytest.fixture
def story(db: None, sandbox: Sandbox) -> Story:
    """A tenant with 500 groups more."""
    story = connected(sandbox)
    names = {"displayName": "Venture {n}"}
    story.control("POST", "bulk/create-groups", {"count": MANY, "properties": names})
    story.read(FULL)
    return story


def ventures() -> list[str]:
    found = DirectoryGroup.objects.filter(display_name__startswith="Venture ")
    return list(found.order_by("pk").values_list("object_id", flat=True))


def rename(story: Story, *keys: str, to: str) -> SyncRun:
    story.control(
        "POST",
        "bulk/change-groups",
        {"keys": list(keys), "properties": {"displayName": to}},
    )
    run = story.read()
    assert run.kind == SyncRun.Kind.DELTA
    return run


def profile(story: Story) -> ScopedObject:
    """A profile limited to Engineering, on Ana's Mac."""
    device("Ana's Mac", logged_in=story.user(ANA))
    device("Milo's Mac", logged_in=story.user("milo.brandt@fernhill.example"))
    return scoped("Wi-Fi", limited_to(story.group("Engineering")), everything=True)


def test_f38_500_groups_renamed_at_once_are_500_entries_and_one_notice(
    console: Client, story: Story
) -> None:
    wifi = profile(story)
    before, members = verdicts(wifi), held(story).direct
    engineering = story.group("Engineering").object_id
    groups = [engineering, *ventures()[1:]]
    assert len(groups) == MANY
    numbers = set(
        DirectoryGroup.objects.filter(object_id__in=groups).values_list("pk", flat=True)
    )

    run = rename(story, *groups, to="Renamed {n}")

    earlier = EarlierValue.objects.filter(attribute="display_name", to_run=run.pk)
    assert earlier.count() == MANY
    assert set(earlier.values_list("number", flat=True)) == numbers
    planned = list(stored_plans.differences(run, "GROUPS"))
    assert {each.number for each in planned} == numbers
    assert held(story) == truth(story)
    again()
    assert verdicts(wifi) == before == {"Ana's Mac": "in", "Milo's Mac": "out"}
    assert held(story).direct == members

    notice = Notice.objects.get()
    assert notice.title == f"500 groups were renamed in {story.cloud_idp}"
    assert notice.body.startswith("Scopes or privileges use 1 of them. ")
    assert "500 groups changed" in text(console, notice.link)


def test_f38_the_notice_is_for_who_may_read_of_syncs(story: Story) -> None:
    rename(story, *ventures()[:50], to="Renamed {n}")

    seen = [
        [each.title for each in reading.visible_to(account)]
        for account in (
            factories.custom_account("mara", "View Sync Runs"),
            factories.custom_account("nils", "Read Policies"),
        )
    ]

    assert seen == [[f"50 groups were renamed in {story.cloud_idp}"], []]


def test_f38_few_groups_that_nothing_uses_are_no_news(story: Story) -> None:
    rename(story, *ventures()[: renames.MANY - 1], to="Renamed {n}")

    assert not Notice.objects.exists()


def test_f38_another_mapping_of_names_renames_nothing(story: Story) -> None:
    story.control(
        "POST",
        "bulk/change-groups",
        {"keys": ventures(), "properties": {"description": "Described {n}"}},
    )
    story.read()
    mappings = story.cloud_idp.mappings
    mappings.group_name = "description"
    mappings.save()

    story.read()

    described = DirectoryGroup.objects.filter(display_name__startswith="Described ")
    assert described.count() == MANY, "all are called otherwise here"
    assert not Notice.objects.filter(kind="renamed-groups").exists()
