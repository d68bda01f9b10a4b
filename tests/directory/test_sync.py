"""Reading the sandbox tenant: what is held afterwards is what the tenant holds."""

from __future__ import annotations

import pytest

from directory.models import (
    DirectoryGroup,
    DirectoryUser,
    ObservedHash,
    StagedPage,
    State,
    SyncRun,
)
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected, held, truth

FULL = SyncRun.Kind.FULL


def test_a_full_read_holds_what_the_tenant_holds(story: Story) -> None:
    run = story.read(FULL)

    assert held(story) == truth(story)
    assert len(truth(story).people) > 900
    assert run.pages > 5
    assert run.changes["users_added"] == len(truth(story).people)
    assert story.cloud_idp.first_complete_read_at is not None
    assert story.cloud_idp.generation == 1
    assert not StagedPage.objects.exists()


def test_an_unchanged_directory_is_read_without_a_single_change(known: Story) -> None:
    before = held(known)
    again = known.read(FULL)

    assert held(known) == before
    assert set(again.changes.values()) == {0}


def test_no_changes_since_the_last_read_change_nothing(known: Story) -> None:
    links = known.cloud_idp.users_delta_link

    run = known.read()

    assert run.kind == SyncRun.Kind.DELTA
    assert set(run.changes.values()) == {0}
    assert known.cloud_idp.users_delta_link != links


def test_who_joins_and_leaves_a_group_is_followed(known: Story) -> None:
    known.control("PUT", "groups/Alumni/members/ana.ruiz@fernhill.example")
    known.control("DELETE", "groups/Helpdesk Night/members/noor.dewit@fernhill.example")

    run = known.read()

    assert known.members("Alumni") == {"ana.ruiz@fernhill.example"}
    assert known.members("Helpdesk") == set()
    assert run.changes["memberships_added"] == 1
    assert run.changes["memberships_removed"] == 1
    assert held(known) == truth(known)


def test_a_new_user_name_keeps_the_person_and_its_groups(known: Story) -> None:
    ana = known.user("ana.ruiz@fernhill.example")
    known.control(
        "PATCH",
        "users/ana.ruiz@fernhill.example",
        {"userPrincipalName": "ana.Díaz@fernhill.example", "displayName": "Ana Díaz"},
    )

    known.read()

    renamed = known.user("ana.Díaz@fernhill.example")
    assert renamed.pk == ana.pk
    assert renamed.first_seen_at == ana.first_seen_at
    assert renamed.user_name_key == "ana.díaz@fernhill.example"
    assert "ana diaz" in renamed.search
    assert "ana.Díaz@fernhill.example" in known.members("Engineering")


def test_a_disabled_person_stays_a_member_and_is_not_active(known: Story) -> None:
    known.control(
        "PATCH", "users/milo.brandt@fernhill.example", {"accountEnabled": False}
    )

    known.read()

    milo = known.user("milo.brandt@fernhill.example")
    assert not milo.is_active
    assert milo.state == DirectoryUser.State.PRESENT
    assert "milo.brandt@fernhill.example" in known.members("Mac Admins")


def test_a_deleted_person_leaves_every_group_and_returns_with_them(
    known: Story,
) -> None:
    ana = known.user("ana.ruiz@fernhill.example")
    groups = ana.memberships.count()
    known.control("DELETE", "users/ana.ruiz@fernhill.example")

    known.read()

    ana.refresh_from_db()
    assert ana.state == DirectoryUser.State.DELETED
    assert ana.state_since > ana.first_seen_at
    assert ana.memberships.count() == groups
    assert "ana.ruiz@fernhill.example" not in known.members("Engineering")
    assert held(known) == truth(known)

    known.control("POST", f"users/{ana.object_id}/restore")

    run = known.read()

    restored = known.user("ana.ruiz@fernhill.example")
    assert restored.pk == ana.pk
    assert restored.state == DirectoryUser.State.PRESENT
    assert restored.state_since > ana.state_since
    assert run.changes["users_restored"] == 1
    assert "ana.ruiz@fernhill.example" in known.members("Engineering")


def test_a_full_read_keeps_a_deleted_person_who_can_be_restored(known: Story) -> None:
    ana = known.user("ana.ruiz@fernhill.example")
    known.control("DELETE", "users/ana.ruiz@fernhill.example")
    known.read()

    known.read(FULL)
    ana.refresh_from_db()
    assert ana.state == DirectoryUser.State.DELETED

    known.control("POST", f"users/{ana.object_id}/restore")
    known.read()
    assert "ana.ruiz@fernhill.example" in known.members("Engineering")


def test_a_person_deleted_for_good_is_gone_after_changes(known: Story) -> None:
    known.control("DELETE", "users/ana.ruiz@fernhill.example?permanently=true")

    run = known.read()

    ana = DirectoryUser.objects.get(display_name="Ana Ruiz")
    assert (ana.state, ana.state_told) == (State.GONE, True)
    assert not ana.memberships.exists()
    assert run.changes["users_deleted"] == 1
    assert held(known) == truth(known)


def test_a_person_whom_a_full_read_leaves_out_is_deleted_as_far_as_one_can_tell(
    known: Story,
) -> None:
    known.control("DELETE", "users/ana.ruiz@fernhill.example?permanently=true")

    known.read(FULL)

    ana = DirectoryUser.objects.get(display_name="Ana Ruiz")
    assert (ana.state, ana.state_told) == (State.DELETED, False)
    assert "ana.ruiz@fernhill.example" not in known.members("Engineering")
    assert held(known) == truth(known)


def test_who_was_deleted_unseen_returns_with_the_groups_when_restored(
    known: Story,
) -> None:
    ana = known.user("ana.ruiz@fernhill.example")
    known.control("DELETE", "users/ana.ruiz@fernhill.example")
    known.sandbox.control("POST", "delta/expire", {"shape": "gone"})
    known.read()

    known.control("POST", f"users/{ana.object_id}/restore")
    known.read()

    assert "ana.ruiz@fernhill.example" in known.members("Engineering")
    assert held(known) == truth(known)


def test_a_security_group_that_is_deleted_is_gone_with_its_nesting(
    known: Story,
) -> None:
    assert "ana.ruiz@fernhill.example" in known.members("Studio")
    known.control("DELETE", "groups/Frontend")

    known.read()

    frontend = DirectoryGroup.objects.get(display_name="Frontend")
    assert frontend.state == State.GONE
    assert not frontend.memberships.exists()
    assert not frontend.nested_in.exists()
    assert "ana.ruiz@fernhill.example" not in known.members("Studio")
    assert held(known) == truth(known)


def test_a_microsoft_365_group_can_be_deleted_and_restored(known: Story) -> None:
    news = known.group("Fernhill News")
    known.control("DELETE", "groups/Fernhill News")

    known.read()

    news.refresh_from_db()
    assert news.state == DirectoryGroup.State.DELETED
    assert held(known) == truth(known)

    known.control("POST", f"groups/{news.object_id}/restore")
    known.read()
    # Who is in it now, a read of everything alone says for certain.
    assert held(known) != truth(known)
    assert known.read().kind == SyncRun.Kind.FULL

    assert "tomas.ibarra@fernhill.example" in known.members("Fernhill News")
    assert held(known) == truth(known)


def test_a_deleted_group_takes_changes_of_people_with_it(known: Story) -> None:
    news = known.group("Fernhill News")
    known.control("DELETE", "groups/Fernhill News")
    known.read()
    known.control("DELETE", "users/tomas.ibarra@fernhill.example")
    known.read()

    known.control("POST", f"groups/{news.object_id}/restore")
    known.read()
    # Who is in it now, a read of everything alone says for certain.
    assert held(known) != truth(known)
    assert known.read().kind == SyncRun.Kind.FULL

    assert "tomas.ibarra@fernhill.example" not in known.members("Fernhill News")
    assert held(known) == truth(known)


def test_a_renamed_group_stays_the_same_group(known: Story) -> None:
    frontend = known.group("Frontend")
    known.control("PATCH", "groups/Frontend", {"displayName": "Web"})

    known.read()

    assert known.group("Web").pk == frontend.pk
    assert known.group("Web").search == "web"


def test_groups_of_one_name_are_two_groups(known: Story) -> None:
    twins = DirectoryGroup.objects.filter(display_name="Contractors")

    assert len({group.object_id for group in twins}) == 2
    assert len({group.mail for group in twins}) == 2


def test_a_group_made_anew_with_the_name_of_a_deleted_one_is_another_group(
    known: Story,
) -> None:
    old = known.group("Alumni")
    known.control("DELETE", "groups/Alumni")
    known.control(
        "POST",
        "groups",
        {
            "displayName": "Alumni",
            "mailNickname": "alumni-2",
            "members": ["noor.dewit@fernhill.example"],
        },
    )

    known.read()

    new = known.group("Alumni")
    assert new.object_id != old.object_id
    assert new.pk != old.pk
    assert held(known) == truth(known)


def test_nesting_is_followed_through_several_levels(known: Story) -> None:
    assert "layla.haddad@fernhill.example" in known.members("Studio")
    known.control("DELETE", "groups/Frontend/members/Design Systems")

    known.read()

    assert "layla.haddad@fernhill.example" not in known.members("Engineering")
    assert held(known) == truth(known)

    known.control("PUT", "groups/Backend/members/Design Systems")
    known.read()

    assert "layla.haddad@fernhill.example" in known.members("Engineering")
    assert held(known) == truth(known)


def test_a_cycle_gives_each_of_its_groups_the_members_of_the_other(
    known: Story,
) -> None:
    both = {"milo.brandt@fernhill.example", "noor.dewit@fernhill.example"}
    assert known.members("Platform") == both
    assert known.members("On Call") == both

    known.control("DELETE", "groups/Platform/members/On Call")
    known.read()

    assert known.members("Platform") == {"milo.brandt@fernhill.example"}
    assert known.members("On Call") == both
    assert held(known) == truth(known)


def test_kinds_of_groups_are_told_apart(known: Story) -> None:
    kinds = {
        name: known.group(name).kind
        for name in ("Engineering", "Fernhill News", "Finance Approvers", "Suppliers")
    }

    assert kinds == {
        "Engineering": "SECURITY",
        "Fernhill News": "MICROSOFT_365",
        "Finance Approvers": "MAIL_ENABLED_SECURITY",
        "Suppliers": "DISTRIBUTION",
    }
    assert known.group("All Staff").is_dynamic
    assert "accountEnabled" in known.group("All Staff").membership_rule
    assert known.group("Console Administrators").is_assignable_to_role is True


def test_members_that_are_neither_people_nor_groups_are_counted_once(
    known: Story,
) -> None:
    assert known.group("Studio Macs").other_members == 3
    known.behave(repeat_in_delta=True)
    known.read(FULL)
    assert known.group("Studio Macs").other_members == 3


def test_hidden_membership_is_marked_and_never_read_as_empty(known: Story) -> None:
    hidden = known.group("Reorganization")

    assert hidden.hidden_membership
    assert hidden.direct_users == 0


def test_a_person_with_nothing_but_a_name_is_kept_with_empty_attributes(
    known: Story,
) -> None:
    wren = known.user("wren@fernhill.example")

    assert (wren.email, wren.department, wren.phone) == ("", "", "")


def test_attributes_follow_the_mappings(known: Story) -> None:
    mappings = known.cloud_idp.mappings
    mappings.room = "officeLocation"
    mappings.save()

    run = known.read()

    assert run.kind == FULL
    assert run.kind_reason == "The attribute mappings changed."
    assert known.user("ana.ruiz@fernhill.example").room == "Bristol 2.14"


def test_an_attribute_that_is_emptied_in_entra_is_emptied_here(known: Story) -> None:
    known.control("PATCH", "users/ana.ruiz@fernhill.example", {"department": None})

    known.read()

    assert known.user("ana.ruiz@fernhill.example").department == ""


def test_repeated_and_empty_pages_change_nothing(story: Story) -> None:
    story.behave(
        repeat_in_delta=True, empty_pages=True, member_slice=7, delta_page_size=90
    )

    story.read(FULL)

    assert held(story) == truth(story)


def test_two_tenants_are_kept_apart(known: Story, sandbox: Sandbox) -> None:
    other = connected(sandbox, 1)
    other.read(FULL)

    assert held(other) == truth(other)
    assert held(known) == truth(known)


def test_a_group_that_comes_on_several_pages_is_counted_once(story: Story) -> None:
    story.behave(member_slice=50, repeat_in_delta=True)

    run = story.read(FULL)

    assert run.groups_read == DirectoryGroup.objects.present().count() == 120
    assert run.users_read == DirectoryUser.objects.present().count() == 1000


@pytest.mark.parametrize("repeated", [False, True])
def test_after_a_first_read_nothing_of_a_second_one_is_new(
    story: Story, repeated: bool
) -> None:
    """Its answers are taken as they are, also of whoever came more than once."""
    story.behave(repeat_in_delta=repeated, delta_page_size=90)

    story.read(FULL)
    hashed = set(ObservedHash.objects.values_list("number", "value"))
    again = story.read(FULL)

    assert held(story) == truth(story)
    assert not any(again.rows_written.values())
    assert hashed == set(ObservedHash.objects.values_list("number", "value"))
    people = DirectoryUser.objects.present().values_list("pk", flat=True)
    assert {number for number, _value in hashed} >= set(people)
