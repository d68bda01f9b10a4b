"""Scopes over rows: who is in, who is out, and what nobody can know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from pyroaring import BitMap

from directory.models import CloudIdentityProvider, DirectoryGroup, DirectoryUser
from directory.sync.bitmaps import unpack
from jamfidp.history.record import entries_for
from scoping import scopes
from scoping.drafts import Draft, draft_of
from scoping.models import (
    Building,
    Device,
    InventoryUser,
    LastLogin,
    NetworkSegment,
    ScopeEntry,
)
from scoping.objects import (
    IOS_PROFILE,
    MACOS_PROFILE,
    NameTaken,
    ObjectGone,
    clone_object,
    create_object,
    delete_object,
    name_for_copy,
    update_object,
)
from scoping.recompute import ScopedObject
from tests import factories
from tests.scoping.inventory_rows import (
    NOBODY,
    again,
    device,
    draft,
    except_for,
    limited_to,
    log_in,
    named,
    scoped,
    static_group,
    target,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def fernhill() -> CloudIdentityProvider:
    return factories.cloud_idp()


@pytest.fixture
def ana(fernhill: CloudIdentityProvider) -> DirectoryUser:
    return factories.directory_user("Ana Ruiz", fernhill)


@pytest.fixture
def bo(fernhill: CloudIdentityProvider) -> DirectoryUser:
    return factories.directory_user("Bo Lind", fernhill)


@pytest.fixture
def design(fernhill: CloudIdentityProvider, ana: DirectoryUser) -> DirectoryGroup:
    return factories.directory_group("Design", fernhill, ana)


def verdicts(obj: ScopedObject) -> dict[str, str]:
    """The stored verdict of every device, by its name."""
    obj.scope.refresh_from_db()
    decided = unpack(obj.scope.decided or None)
    unknown = unpack(obj.scope.unknown or None)
    found = {}
    for row in Device.objects.filter(kind=obj.scope.kind):
        known = "in" if row.pk in decided else "out"
        held = "held" if row.pk in decided else "unknown"
        found[row.name] = held if row.pk in unknown else known
    return found


def test_a_limitation_reaches_members_of_a_nested_group(
    fernhill: CloudIdentityProvider, ana: DirectoryUser, bo: DirectoryUser
) -> None:
    frontend = factories.directory_group("Frontend", fernhill, ana)
    engineering = factories.directory_group("Engineering", fernhill, frontend)
    device("Ana's Mac", logged_in=ana)
    device("Bo's Mac", logged_in=bo)
    nested = scoped("Nested", limited_to(engineering), everything=True)
    direct = scoped("Direct", limited_to(engineering, nested=False), everything=True)
    assert verdicts(nested) == {"Ana's Mac": "in", "Bo's Mac": "out"}
    assert verdicts(direct) == {"Ana's Mac": "out", "Bo's Mac": "out"}


def test_a_connection_that_counts_no_transitive_groups_counts_direct_members_alone(
    fernhill: CloudIdentityProvider, ana: DirectoryUser
) -> None:
    frontend = factories.directory_group("Frontend", fernhill, ana)
    engineering = factories.directory_group("Engineering", fernhill, frontend)
    device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", limited_to(engineering), everything=True)
    assert verdicts(obj) == {"Ana's Mac": "in"}
    fernhill.transitive_directory_membership_enabled = False
    fernhill.save()
    again()
    assert verdicts(obj) == {"Ana's Mac": "out"}


def test_an_exclusion_wins_over_a_target_and_a_limitation(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    mac = device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", target(mac), limited_to(design), except_for(ana))
    assert verdicts(obj) == {"Ana's Mac": "out"}


def test_nobody_logged_in_matches_no_limitation_and_no_exclusion(
    design: DirectoryGroup,
) -> None:
    device("Lab", logged_in=NOBODY)
    limited = scoped("Limited", limited_to(design), everything=True)
    excluding = scoped("Excluding", except_for(design), everything=True)
    assert verdicts(limited) == {"Lab": "out"}
    assert verdicts(excluding) == {"Lab": "in"}


def test_a_device_that_never_reported_its_user_is_unknown(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    device("Silent", user=ana)
    limited = scoped("Limited", limited_to(design), everything=True)
    excluding = scoped("Excluding", except_for(design), everything=True)
    by_assignment = scoped(
        "Assigned", limited_to(design), everything=True, principal="ASSIGNED"
    )
    assert verdicts(limited) == {"Silent": "unknown"}
    assert verdicts(excluding) == {"Silent": "unknown"}
    assert verdicts(by_assignment) == {"Silent": "in"}


def test_each_object_looks_at_the_channel_that_delivers_it(
    design: DirectoryGroup, ana: DirectoryUser, bo: DirectoryUser
) -> None:
    mac = device("Shared", logged_in=ana)
    log_in(mac, bo, channel=LastLogin.Channel.MDM)
    policy = scoped("Policy", limited_to(design), everything=True)
    profile = scoped("Profile", limited_to(design), everything=True, kind=MACOS_PROFILE)
    assert verdicts(policy) == {"Shared": "in"}
    assert verdicts(profile) == {"Shared": "out"}


def test_mobile_devices_go_by_the_assigned_user(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    device("iPad", kind="MOBILE", user=ana)
    device("Kiosk", kind="MOBILE")
    obj = scoped("Mail", limited_to(design), everything=True, kind=IOS_PROFILE)
    assert verdicts(obj) == {"iPad": "in", "Kiosk": "out"}
    assert obj.scope.principal == "ASSIGNED"


def break_by_deleting(group: DirectoryGroup) -> None:
    group.state = DirectoryGroup.State.DELETED
    group.save()


def break_by_purging(group: DirectoryGroup) -> None:
    group.delete()


def break_by_hiding(group: DirectoryGroup) -> None:
    group.hidden_membership = True
    group.save()


def break_by_not_reading_it(group: DirectoryGroup) -> None:
    group.kind = DirectoryGroup.Kind.UNKNOWN
    group.save()


def break_by_disabling(group: DirectoryGroup) -> None:
    CloudIdentityProvider.objects.update(enabled=False)


def break_by_never_reading(group: DirectoryGroup) -> None:
    CloudIdentityProvider.objects.update(first_complete_read_at=None)


def break_by_disconnecting(group: DirectoryGroup) -> None:
    group.cloud_idp.delete()


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (break_by_deleting, "deleted in Entra"),
        (break_by_purging, "no longer in the directory"),
        (break_by_hiding, "hidden"),
        (break_by_not_reading_it, "does not let"),
        (break_by_disabling, "is disabled"),
        (break_by_never_reading, "never read completely"),
        (break_by_disconnecting, "connection was deleted"),
    ],
)
def test_a_broken_group_is_unknown_for_everybody_and_changes_nobody(
    break_it: Callable[[DirectoryGroup], None],
    why: str,
    design: DirectoryGroup,
    ana: DirectoryUser,
) -> None:
    device("Ana's Mac", logged_in=ana)
    device("Lab", logged_in=NOBODY)
    limited = scoped("Limited", limited_to(design), everything=True)
    excluding = scoped("Excluding", except_for(design), everything=True)
    break_it(design)
    again()
    assert verdicts(limited) == {"Ana's Mac": "held", "Lab": "unknown"}
    assert verdicts(excluding) == {"Ana's Mac": "unknown", "Lab": "held"}
    fleet = scopes.fleet_for(draft_of(limited.scope), "COMPUTER")
    (entry,) = draft_of(limited.scope).entries
    assert entry.ref is not None
    assert why in fleet.directory.describe(entry.ref).why_broken


def test_a_hidden_group_inside_leaves_those_not_found_unknown(
    fernhill: CloudIdentityProvider, ana: DirectoryUser, bo: DirectoryUser
) -> None:
    hidden = factories.directory_group("Hidden", fernhill, hidden_membership=True)
    outer = factories.directory_group("Outer", fernhill, ana, hidden)
    device("Ana's Mac", logged_in=ana)
    device("Bo's Mac", logged_in=bo)
    nested = scoped("Nested", limited_to(outer), everything=True)
    direct = scoped("Direct", limited_to(outer, nested=False), everything=True)
    assert verdicts(nested) == {"Ana's Mac": "in", "Bo's Mac": "unknown"}
    assert verdicts(direct) == {"Ana's Mac": "in", "Bo's Mac": "out"}


def test_an_ambiguous_user_name_is_unknown(
    fernhill: CloudIdentityProvider, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    factories.directory_user(
        "Ana Two", quarrel, user_principal_name=ana.user_principal_name
    )
    device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    assert named(ana.user_name).match == InventoryUser.Match.AMBIGUOUS
    assert verdicts(obj) == {"Ana's Mac": "unknown"}


def test_disabled_people_count_and_deleted_people_do_not(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    ana.account_enabled = False
    ana.save()
    again()
    assert verdicts(obj) == {"Ana's Mac": "in"}
    ana.state = DirectoryUser.State.DELETED
    ana.save()
    again()
    assert verdicts(obj) == {"Ana's Mac": "out"}


def test_unknown_stays_decided_until_it_is_known(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    mac = device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    design.hidden_membership = True
    design.save()
    again()
    assert verdicts(obj) == {"Ana's Mac": "held"}
    factories.leave(ana, design)
    design.hidden_membership = False
    design.save()
    again()
    assert verdicts(obj) == {"Ana's Mac": "out"}
    assert mac.pk not in unpack(obj.scope.unknown)


def test_renaming_a_group_changes_nothing_and_recreating_it_is_not_the_same_group(
    fernhill: CloudIdentityProvider, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    design.display_name = "Creative"
    design.save()
    again()
    assert verdicts(obj) == {"Ana's Mac": "in"}
    assert "Creative" in "".join(
        fact.label
        for fact in scopes.labelled(
            draft_of(obj.scope), "COMPUTER", draft_of(obj.scope)
        ).entries
    )
    design.delete()
    factories.directory_group("Creative", fernhill, ana)
    again()
    assert verdicts(obj) == {"Ana's Mac": "held"}


def test_removing_the_last_limitation_says_whom_it_lets_in(
    design: DirectoryGroup, ana: DirectoryUser, bo: DirectoryUser
) -> None:
    device("Ana's Mac", logged_in=ana)
    other = device("Bo's Mac", logged_in=bo)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    preview = scopes.preview(obj=obj, draft=draft(everything=True))
    assert preview.gained == BitMap([other.pk])
    assert preview.ended == (scopes.Ended("Directory Service", BitMap([other.pk])),)
    assert verdicts(obj)["Bo's Mac"] == "out", "a preview saves nothing"
    scopes.save(
        obj=obj,
        draft=draft(everything=True),
        version=2,
        actor=None,
        now=timezone.now(),
    )
    assert verdicts(obj)["Bo's Mac"] == "in"
    newest = entries_for(obj)[0]
    assert "no longer limited by Directory Service" in newest.note
    assert newest.details["changes"] == [
        [
            "Scope",
            "All computers, limited to members of Design (nested)",
            "All computers",
        ]
    ]


def test_a_limitation_whose_entries_are_all_broken_still_limits(
    design: DirectoryGroup, bo: DirectoryUser
) -> None:
    device("Bo's Mac", logged_in=bo)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    design.delete()
    again()
    assert verdicts(obj) == {"Bo's Mac": "unknown"}


def test_a_preview_says_gained_lost_unchanged_and_unknown(
    fernhill: CloudIdentityProvider, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    carla = factories.directory_user("Carla", fernhill)
    sales = factories.directory_group("Sales", fernhill, carla)
    both = factories.directory_user("Dan", fernhill)
    factories.join(both, design)
    factories.join(both, sales)
    mac = {
        name: device(name, logged_in=who).pk
        for name, who in (("ana", ana), ("carla", carla), ("dan", both))
    }
    silent = device("silent").pk
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    preview = scopes.preview(obj=obj, draft=draft(limited_to(sales), everything=True))
    assert preview.gained == BitMap([mac["carla"]])
    assert preview.lost == BitMap([mac["ana"]])
    assert preview.unchanged == BitMap([mac["dan"]])
    assert preview.unknown == BitMap([silent])
    assert preview.held == BitMap()


def test_a_draft_of_an_older_version_is_refused_and_nothing_is_saved(
    design: DirectoryGroup, administrator: Any
) -> None:
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    scopes.save(
        obj=obj, draft=draft(), version=2, actor=administrator, now=timezone.now()
    )
    with pytest.raises(scopes.ScopeChanged, match="Local Administrator"):
        scopes.save(
            obj=obj,
            draft=draft(everything=True),
            version=2,
            actor=None,
            now=timezone.now(),
        )
    obj.scope.refresh_from_db()
    assert (obj.scope.version, obj.scope.all_devices) == (3, False)


def test_a_group_that_does_not_exist_is_refused_by_name_and_nothing_is_saved(
    design: DirectoryGroup,
) -> None:
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    design.object_id = factories.guid("somebody else")
    wrong = limited_to(design)
    with pytest.raises(scopes.ScopeRefused) as refused:
        scopes.save(
            obj=obj,
            draft=draft(wrong, everything=True),
            version=2,
            actor=None,
            now=timezone.now(),
        )
    assert [problem.key for problem in refused.value.problems] == [wrong.key]
    assert draft_of(obj.scope).entries[0].ref != wrong.ref


def test_a_broken_entry_may_stay_when_something_else_is_saved(
    design: DirectoryGroup,
) -> None:
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    design.delete()
    mac = device("Lab", logged_in=NOBODY)
    saved = draft_of(obj.scope)
    scopes.save(
        obj=obj,
        draft=saved.with_entry(except_for(mac)),
        version=2,
        actor=None,
        now=timezone.now(),
    )
    assert [row.label for row in obj.scope.entries.order_by("pk")] == ["Design", "Lab"]


def test_saving_the_scope_of_a_deleted_object_says_so() -> None:
    obj = create_object(
        kind=MACOS_PROFILE, name="Wi-Fi", actor=None, now=timezone.now()
    )
    delete_object(obj=MACOS_PROFILE.rows().get(), actor=None, now=timezone.now())
    with pytest.raises(ObjectGone, match="Wi-Fi was deleted"):
        scopes.save(obj=obj, draft=Draft(), version=1, actor=None, now=timezone.now())


def test_an_object_with_a_site_reaches_devices_of_that_site_alone() -> None:
    berlin, madrid = factories.site("Berlin"), factories.site("Madrid")
    device("Berlin Mac", site=berlin)
    device("Madrid Mac", site=madrid)
    device("Any Mac")
    obj = scoped("Wi-Fi", everything=True, site=berlin)
    assert verdicts(obj) == {"Berlin Mac": "in", "Madrid Mac": "out", "Any Mac": "out"}
    update_object(obj=obj, changes={"site": madrid}, actor=None, now=timezone.now())
    assert verdicts(obj) == {"Berlin Mac": "out", "Madrid Mac": "in", "Any Mac": "out"}


def test_inventory_entries_and_network_segments_over_rows() -> None:
    hall = Building.objects.create(name="Hall")
    office = NetworkSegment.objects.create(
        name="Office", starting_address="10.0.0.1", ending_address="10.0.0.99"
    )
    listed = device("listed", last_reported_ip="10.0.0.5")
    device("in hall", building=hall, last_reported_ip="192.0.2.1")
    device("in hall, silent", building=hall)
    grouped = device("grouped", last_reported_ip="10.0.0.7")
    device("elsewhere", last_reported_ip="10.0.0.8")
    group = static_group("Loaners", grouped)
    obj = scoped(
        "Printers", target(listed), target(hall), target(group), limited_to(office)
    )
    assert verdicts(obj) == {
        "listed": "in",
        "in hall": "out",
        "in hall, silent": "unknown",
        "grouped": "in",
        "elsewhere": "out",
    }


def test_a_local_user_is_matched_by_a_name_that_the_directory_does_not_have(
    fernhill: CloudIdentityProvider, ana: DirectoryUser
) -> None:
    device("Lab 1", logged_in="labuser")
    device("Lab 2", logged_in="LabUser ")
    device("Ana's Mac", logged_in=ana)
    device("Silent")
    obj = scoped("Kiosk", limited_to("labuser"), everything=True)
    assert verdicts(obj) == {
        "Lab 1": "in",
        "Lab 2": "in",
        "Ana's Mac": "out",
        "Silent": "unknown",
    }


def test_a_deleted_building_is_broken_and_a_deleted_device_is_not() -> None:
    hall = Building.objects.create(name="Hall")
    gone, kept = device("gone"), device("kept", building=hall)
    by_building = scoped("Hall", target(hall))
    by_device = scoped("Listed", target(gone), target(kept))
    hall.delete()
    gone.delete()
    again()
    assert verdicts(by_building) == {"kept": "held"}
    assert verdicts(by_device) == {"kept": "in"}
    assert by_device.scope.decided_count == 1


def test_a_copy_is_switched_off_and_has_the_scope_of_the_original(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    device("Ana's Mac", logged_in=ana)
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    assert name_for_copy(obj) == "Wi-Fi copy"
    copy = clone_object(obj=obj, name="Wi-Fi copy", actor=None, now=timezone.now())
    assert not copy.enabled
    assert verdicts(copy) == {"Ana's Mac": "in"}
    assert name_for_copy(obj) == "Wi-Fi copy 2"
    with pytest.raises(NameTaken, match="Wi-Fi COPY"):
        clone_object(obj=obj, name="Wi-Fi COPY", actor=None, now=timezone.now())


def test_deleting_an_object_deletes_its_scope_and_keeps_its_history(
    administrator: Any,
) -> None:
    device("Mac")
    obj = scoped("Wi-Fi", everything=True)
    pk = obj.pk
    delete_object(obj=obj, actor=administrator, now=timezone.now())
    assert not ScopeEntry.objects.filter(scope=obj.scope_id).exists()
    obj.pk = pk
    assert entries_for(obj)[0].note == "Deleted the policy, which reached 1 device"
