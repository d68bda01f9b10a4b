"""What a round does to the rows, for rounds that a tenant rarely gives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from directory import picking
from directory.dependents import ObjectRef
from directory.memberships import hidden_below
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    State,
    SyncRun,
)
from directory.sync import attributes, stage
from directory.sync.attributes import GroupRow, UserRow
from directory.sync.run import work
from directory.sync.selection import selection_of
from tests import factories
from tests.conftest import Sandbox
from tests.directory.rounds import group, guid, left, member, removed, take, user
from tests.directory.syncing import connected, held, truth
from tests.directory.test_sync_faults import Killed, abandon, kill_after, page_by_page

ANA, FRONTEND, ENGINEERING = (guid(n) for n in ("ana", "fe", "eng"))
MILO = guid("milo")
FULL = SyncRun.Kind.FULL


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


def members(object_id: str) -> int:
    return DirectoryGroup.objects.get(object_id=object_id).transitive_users


def test_a_member_named_before_the_person_was_read_counts_once_read(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, groups=[group(FRONTEND, member(ANA))])
    ana = DirectoryUser.objects.get()
    assert ana.state == DirectoryUser.State.MENTIONED
    assert members(FRONTEND) == 0

    take(fernhill, users=[user(ANA)])

    after = DirectoryUser.objects.get()
    assert after.pk == ana.pk
    assert after.is_active
    assert members(FRONTEND) == 1


def test_a_group_named_before_it_was_read_counts_once_read(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        users=[user(ANA)],
        groups=[group(ENGINEERING, member(FRONTEND, "group"))],
    )
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    assert frontend.state == DirectoryGroup.State.MENTIONED
    assert frontend.kind == DirectoryGroup.Kind.UNKNOWN

    plan = take(fernhill, groups=[group(FRONTEND, member(ANA))])

    assert plan.counts["groups_added"] == 1
    assert members(ENGINEERING) == 1


def test_a_replayed_round_changes_nothing(fernhill: CloudIdentityProvider) -> None:
    items = [
        group(FRONTEND, member(ANA)),
        group(ENGINEERING, member(FRONTEND, "group")),
    ]
    take(fernhill, users=[user(ANA)], groups=items)

    again = take(fernhill, users=[user(ANA), user(ANA)], groups=[*items, *items])

    assert set(again.counts.values()) == {0}
    assert members(ENGINEERING) == 1


def test_a_removal_of_somebody_unknown_is_ignored(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        users=[removed(ANA, "deleted")],
        groups=[
            group(FRONTEND, left(ANA), left(ENGINEERING, "group")),
            removed(guid("never seen")),
            removed(ENGINEERING, "deleted"),
        ],
    )

    assert not DirectoryUser.objects.exists()
    assert DirectoryGroup.objects.get().object_id == FRONTEND


def test_f17_a_member_who_is_gone_for_good_is_not_brought_back_by_a_late_mention(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, users=[user(ANA)], groups=[group(FRONTEND, member(ANA))])

    take(
        fernhill,
        users=[removed(ANA, "deleted")],
        # The group they were in, and one they would have joined.
        groups=[group(FRONTEND, member(ANA)), group(ENGINEERING, member(ANA))],
    )

    assert DirectoryUser.objects.get().state == State.GONE
    assert not DirectoryMembership.objects.exists()
    assert members(FRONTEND) == members(ENGINEERING) == 0


def test_somebody_no_longer_listed_who_is_still_named_as_a_member_is_not_readable(
    fernhill: CloudIdentityProvider,
) -> None:
    frontend = group(FRONTEND, member(ANA))
    take(fernhill, full=True, users=[user(ANA), user(MILO)], groups=[frontend])

    take(fernhill, full=True, users=[user(MILO)], groups=[frontend])

    ana = DirectoryUser.objects.get(object_id=ANA)
    assert (ana.state, ana.state_told) == (State.UNREADABLE, False)
    assert members(FRONTEND) == 0

    take(fernhill, users=[user(ANA)])
    assert members(FRONTEND) == 1


def test_a_group_no_longer_listed_that_is_still_nested_is_not_readable(
    fernhill: CloudIdentityProvider,
) -> None:
    outer = group(ENGINEERING, member(FRONTEND, "group"))
    inner = group(FRONTEND, member(ANA))
    take(fernhill, full=True, users=[user(ANA)], groups=[outer, inner])

    take(fernhill, full=True, users=[user(ANA)], groups=[outer])

    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    assert (frontend.state, frontend.state_told) == (State.UNREADABLE, False)
    assert members(ENGINEERING) == 0
    assert hidden_below(DirectoryGroup.objects.get(object_id=ENGINEERING)) == [frontend]


@pytest.mark.parametrize(
    ("properties", "state"),
    [
        pytest.param({}, State.GONE, id="a security group is gone at once"),
        pytest.param(
            {"groupTypes": ["Unified"], "mailEnabled": True, "securityEnabled": False},
            State.DELETED,
            id="a Microsoft 365 group may be restored",
        ),
    ],
)
def test_a_group_that_a_full_read_leaves_out(
    fernhill: CloudIdentityProvider, properties: dict[str, Any], state: State
) -> None:
    take(
        fernhill,
        full=True,
        users=[user(ANA)],
        groups=[group(FRONTEND, member(ANA), **properties), group(ENGINEERING)],
    )

    take(fernhill, full=True, users=[user(ANA)], groups=[group(ENGINEERING)])

    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    assert (frontend.state, frontend.state_told) == (state, False)
    assert members(FRONTEND) == 0


def test_a_deleted_person_is_gone_when_they_can_no_longer_be_restored(
    fernhill: CloudIdentityProvider,
) -> None:
    frontend = group(FRONTEND, member(ANA))
    take(fernhill, full=True, users=[user(ANA), user(MILO)], groups=[frontend])
    take(fernhill, users=[removed(ANA)])
    take(fernhill, full=True, users=[user(MILO)], groups=[group(FRONTEND)])
    ana = DirectoryUser.objects.get(object_id=ANA)
    assert ana.state == State.DELETED
    assert ana.memberships.exists(), "a restore would not bring it along"

    DirectoryUser.objects.filter(pk=ana.pk).update(
        state_since=timezone.now() - timedelta(days=31)
    )
    take(fernhill, full=True, users=[user(MILO)], groups=[group(FRONTEND)])

    ana.refresh_from_db()
    assert (ana.state, ana.state_told) == (State.GONE, False)
    assert not ana.memberships.exists()


@pytest.mark.parametrize("full", [False, True])
def test_whoever_is_deleted_comes_back_to_what_changes_said_meanwhile(
    fernhill: CloudIdentityProvider, full: bool
) -> None:
    """Ana is deleted, leaves Frontend, and keeps Engineering."""
    take(
        fernhill,
        full=True,
        users=[user(ANA)],
        groups=[group(FRONTEND, member(ANA)), group(ENGINEERING, member(ANA))],
    )
    take(fernhill, users=[removed(ANA, "changed")])
    take(fernhill, groups=[group(FRONTEND, left(ANA))])
    if full:
        # It names no deleted member of Engineering.
        groups = [group(FRONTEND), group(ENGINEERING)]
        take(fernhill, full=True, users=[user(MILO)], groups=groups)

    take(fernhill, users=[user(ANA)])

    assert (members(FRONTEND), members(ENGINEERING)) == (0, 1)


def test_somebody_merely_named_is_forgotten_when_nobody_names_them(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, full=True, users=[user(MILO)], groups=[group(FRONTEND, member(ANA))])

    take(fernhill, full=True, users=[user(MILO)], groups=[group(FRONTEND)])

    assert not DirectoryUser.objects.filter(object_id=ANA).exists()
    assert not DirectoryMembership.objects.exists()


@pytest.mark.parametrize("per_page", [1, 1000])
def test_of_a_first_read_the_last_word_on_a_person_counts(
    fernhill: CloudIdentityProvider, per_page: int
) -> None:
    """They are renamed, or deleted, while the read goes on."""
    users = [user(ANA), user(MILO), user(MILO, displayName="Renamed"), removed(ANA)]

    plan = take(fernhill, full=True, users=users, per_page=per_page)

    people = DirectoryUser.objects.values_list("object_id", "display_name")
    assert list(people) == [(MILO, "Renamed")]
    assert plan.counts["users_added"] == 1


ODD = [
    "a\tb",
    "a\nb\r",
    "a\\b",
    "\\N",
    "\\.",
    "\x01",
    "\x1f\x02",
    "Åsa 🦊",
    "\\t\t",
    "",
]


@pytest.mark.parametrize("per_page", [1, 4, 1000])
def test_a_first_read_writes_the_rows_that_it_would_write_one_by_one(
    fernhill: CloudIdentityProvider, per_page: int
) -> None:
    """They are written in bulk, as no other read writes them."""
    teams = [group(guid(f"g{at:03}"), displayName=name) for at, name in enumerate(ODD)]
    names = dict(zip((guid(f"{n:04}") for n in range(len(ODD))), ODD, strict=True))
    listed = [
        user(
            object_id,
            displayName=name,
            jobTitle=name,
            accountEnabled=at % 3 == 0 or None,
        )
        for at, (object_id, name) in enumerate(names.items())
    ]
    now = timezone.now()

    take(
        fernhill,
        full=True,
        users=listed,
        groups=[group(ENGINEERING, member(MILO)), *teams],
        per_page=per_page,
        now=now,
    )

    values = attributes.values_reader(selection_of(fernhill).mapped)
    people = DirectoryUser.objects.filter(object_id__in=names)
    stored = {
        row[0]: UserRow._make(row[1:])
        for row in people.values_list("object_id", *UserRow._fields)
    }
    assert stored == {
        item["id"]: attributes.whole_user_row(
            attributes.NEW_USER, values(item), now=now
        )
        for item in listed
    }
    assert set(people.values_list("cloud_idp_id", "first_seen_at", "changed_at")) == {
        (fernhill.pk, now, now)
    }
    mentioned = DirectoryUser.objects.exclude(object_id__in=names)
    assert list(mentioned.values_list("object_id", "state")) == [(MILO, "MENTIONED")]
    groups = DirectoryGroup.objects.exclude(object_id=ENGINEERING)
    assert {
        row[0]: GroupRow._make(row[1:])
        for row in groups.values_list("object_id", *GroupRow._fields)
    } == {
        item["id"]: attributes.group_row(
            attributes.NEW_GROUP, item, "displayName", now=now
        )
        for item in teams
    }
    assert set(groups.values_list("cloud_idp_id", "first_seen_at", "changed_at")) == {
        (fernhill.pk, now, now)
    }


@pytest.mark.parametrize("room", [0, 4_000, 40_000])
def test_a_first_read_with_little_room_reads_its_pages_back(
    db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    page_by_page(monkeypatch)
    monkeypatch.setattr(stage, "KEPT_BYTES", room)
    story = connected(sandbox)

    story.read(FULL)

    assert held(story) == truth(story)


@pytest.mark.parametrize("room", [4_000, stage.KEPT_BYTES])
def test_a_first_read_goes_on_with_what_is_at_hand_and_what_is_not(
    db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(stage, "KEPT_BYTES", room)
    story = connected(sandbox)
    run = story.request(FULL)
    with monkeypatch.context() as patched:
        kill_after(5, patched)
        with pytest.raises(Killed):
            work(run.pk)
    abandon(run)

    page_by_page(monkeypatch)
    work(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.SUCCEEDED, run.error
    assert held(story) == truth(story)


def test_people_deleted_before_the_first_read_return_with_their_groups(
    db: None, sandbox: Sandbox
) -> None:
    story = connected(sandbox)
    story.behave(deleted_in_full_round=True)
    story.control("DELETE", "users/ana.ruiz@fernhill.example")
    story.control("DELETE", "groups/Fernhill News")
    # By name the control plane finds a deleted person as well.
    ana = story.control("GET", "users/ana.ruiz@fernhill.example")["id"]

    story.read(SyncRun.Kind.FULL)
    assert held(story) == truth(story)
    story.control("POST", f"users/{ana}/restore")
    story.read()

    assert "ana.ruiz@fernhill.example" in story.members("Engineering")
    assert held(story) == truth(story)


def test_a_deleted_group_that_can_be_restored_survives_a_full_read(
    db: None, sandbox: Sandbox
) -> None:
    story = connected(sandbox)
    story.read(SyncRun.Kind.FULL)
    news = story.group("Fernhill News")
    story.control("DELETE", "groups/Fernhill News")
    story.read()

    story.read(SyncRun.Kind.FULL)
    news.refresh_from_db()
    assert news.state == DirectoryGroup.State.DELETED

    story.control("POST", f"groups/{news.object_id}/restore")
    story.read()
    story.read()
    assert "tomas.ibarra@fernhill.example" in story.members("Fernhill News")


def test_a_database_that_takes_nothing_fails_the_run_in_words(
    db: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from directory.sync import apply

    story = connected(sandbox)
    run = story.request(SyncRun.Kind.FULL)

    def full(*_args: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(apply, "_write_people", full)
    work(run.pk)

    run.refresh_from_db()
    assert run.state == SyncRun.State.FAILED
    assert run.error.startswith("The console's database did not take the changes.")
    assert not DirectoryUser.objects.exists()


def test_a_lost_encryption_key_fails_the_run_in_words(
    db: None, sandbox: Sandbox, settings: Any
) -> None:
    story = connected(sandbox)
    settings.ENCRYPTION_KEYS = []

    run = story.sync(SyncRun.Kind.FULL)

    assert run.state == SyncRun.State.FAILED
    assert "cannot be read" in run.error
    assert story.cloud_idp.status == "KEY_UNAVAILABLE"


def test_memberships_are_not_derived_again_during_a_read(
    fernhill: CloudIdentityProvider,
) -> None:
    SyncRun.objects.create(
        cloud_idp=fernhill,
        kind=SyncRun.Kind.FULL,
        trigger=SyncRun.Trigger.SCHEDULE,
        state=SyncRun.State.READING,
        created_at=timezone.now(),
    )

    with pytest.raises(CommandError, match="is being read"):
        call_command("rebuild_memberships")


def test_a_choice_of_a_picker_is_read_back() -> None:
    text = picking.choice(factories.TENANT, ANA)

    assert picking.parse(text.upper()) == ObjectRef(factories.TENANT, ANA)
    with pytest.raises(picking.NotAChoice):
        picking.parse("Ana Ruiz")
