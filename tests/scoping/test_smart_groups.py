"""Smart and static groups over rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from directory.dependents import AppliedChange
from directory.sync.bitmaps import unpack
from jamfidp.history.record import entries_for
from scoping import changes
from scoping.criteria import CriteriaError, Criterion
from scoping.models import Device, Site, SmartGroup, StaticGroup
from scoping.objects import NameTaken
from scoping.smart_groups import (
    check,
    delete_smart_group,
    preview,
    save_smart_group,
    stored_criteria,
)
from scoping.static_groups import (
    GroupInUse,
    by_serial_number,
    delete_static_group,
    save_static_group,
)
from tests import factories
from tests.scoping.inventory_rows import (
    again,
    device,
    in_directory_group,
    like,
    limited_to,
    scoped,
    static_group,
    target,
)

pytestmark = pytest.mark.django_db


def smart(
    name: str,
    *criteria: Criterion,
    group: SmartGroup | None = None,
    kind: str = "COMPUTER",
    site: Site | None = None,
    actor: Any = None,
) -> SmartGroup:
    return save_smart_group(
        kind=kind,
        name=name,
        site=site,
        criteria=criteria,
        group=group,
        actor=actor,
        now=timezone.now(),
    )


def member_of(group: SmartGroup | StaticGroup, **more: Any) -> Criterion:
    sort = "smart" if isinstance(group, SmartGroup) else "static"
    return Criterion(
        name="Computer Group",
        search_type="member of",
        value=group.name,
        device_group=f"{sort}:{group.pk}",
        **more,
    )


def members(group: SmartGroup) -> set[str]:
    group.refresh_from_db()
    ids = unpack(group.members or None)
    return set(Device.objects.filter(pk__in=list(ids)).values_list("name", flat=True))


def test_a_directory_group_criterion_looks_at_the_assigned_user() -> None:
    idp = factories.cloud_idp()
    ana, bo = (factories.directory_user(name, idp) for name in ("Ana", "Bo"))
    design = factories.directory_group("Design", idp, ana)
    device("Assigned", user=ana, logged_in=bo)
    device("Logged in", user=bo, logged_in=ana)
    device("Nobody's")
    assert members(smart("Design Macs", in_directory_group(design))) == {"Assigned"}


def test_without_criteria_a_group_holds_all_managed_devices() -> None:
    device("managed")
    device("unmanaged", managed=False)
    device("iPad", kind="MOBILE")
    assert members(smart("Everything")) == {"managed"}


def test_a_change_of_criteria_reaches_groups_and_scopes_that_rely_on_it() -> None:
    device("Air", model="MacBook Air")
    device("Pro", model="MacBook Pro")
    base = smart("Base", like("Model", "Air", search_type="like"))
    second = smart("Second", member_of(base))
    third = smart("Third", member_of(second))
    obj = scoped("Wi-Fi", target(third))
    assert members(third) == {"Air"}
    smart("Base", like("Model", "Pro", search_type="like"), group=base)
    assert members(third) == {"Pro"}
    obj.scope.refresh_from_db()
    (only,) = unpack(obj.scope.decided)
    assert Device.objects.get(pk=only).name == "Pro"
    assert (
        entries_for(obj)[0].note
        == "1 computer came into scope and 1 computer left the scope"
        " after a change of the smart group Base"
    )


def test_groups_that_would_rely_on_one_another_are_refused() -> None:
    first = smart("First")
    second = smart("Second", member_of(first))
    with pytest.raises(CriteriaError, match="rely on one another") as refused:
        smart("First", like("Model", "Air"), member_of(second), group=first)
    assert [(p.position, p.part) for p in refused.value.problems] == [
        (1, "device_group")
    ]
    with pytest.raises(CriteriaError, match="rely on one another"):
        smart("First", member_of(first), group=first)
    assert stored_criteria(first) == []


def test_every_problem_is_told_with_its_place() -> None:
    with pytest.raises(CriteriaError) as refused:
        smart(
            "Wrong",
            like("Shoe size", "44"),
            like("Operating System Version", "new", search_type="less than"),
            Criterion(name="Directory group", search_type="member of"),
            Criterion(
                name="Computer Group", search_type="member of", device_group="smart:999"
            ),
        )
    assert [(p.position, p.part) for p in refused.value.problems] == [
        (0, "name"),
        (1, "value"),
        (2, "value"),
        (3, "device_group"),
    ]
    assert not SmartGroup.objects.exists()


def test_a_directory_group_that_does_not_exist_is_refused_and_a_broken_one_may_stay() -> (
    None
):
    idp = factories.cloud_idp()
    ana = factories.directory_user("Ana", idp)
    design = factories.directory_group("Design", idp, ana)
    device("Mac", user=ana)
    group = smart("Design Macs", in_directory_group(design))
    criterion = in_directory_group(design)
    design.delete()
    again()
    group.refresh_from_db()
    assert (group.member_count, group.unknown_count) == (1, 1), "it stays as it was"
    smart("Renamed", *stored_criteria(group), group=group)
    with pytest.raises(CriteriaError, match="in no directory"):
        smart("Another", criterion)


def test_a_scope_over_an_unknown_group_is_unknown_and_changes_nobody() -> None:
    idp = factories.cloud_idp()
    ana = factories.directory_user("Ana", idp)
    design = factories.directory_group("Design", idp, ana)
    mac = device("Mac", user=ana)
    obj = scoped("Wi-Fi", target(smart("Design Macs", in_directory_group(design))))
    design.hidden_membership = True
    design.save()
    again()
    obj.scope.refresh_from_db()
    assert list(unpack(obj.scope.decided)) == [mac.pk]
    assert list(unpack(obj.scope.unknown)) == [mac.pk]


def test_a_preview_tells_members_gained_and_lost_before_saving() -> None:
    air, pro = device("Air", model="Air"), device("Pro", model="Pro")
    group = smart("Airs", like("Model", "Air"))
    criteria, _ = check([like("Model", "Pro")], kind="COMPUTER", group=group)
    shown = preview(
        kind="COMPUTER",
        site_id=None,
        criteria=criteria,
        group=group,
        now=timezone.now(),
    )
    assert (list(shown.gained), list(shown.lost)) == ([pro.pk], [air.pk])
    assert members(group) == {"Air"}


def test_a_group_with_a_site_holds_devices_of_that_site_alone() -> None:
    berlin = factories.site("Berlin")
    device("Berlin Mac", site=berlin)
    device("Other Mac")
    assert members(smart("All", site=berlin)) == {"Berlin Mac"}


def test_a_group_in_use_is_not_deleted_and_says_what_uses_it() -> None:
    listed = static_group("Loaners", device("Mac"))
    group = smart("Wrapped", member_of(listed))
    obj = scoped("Wi-Fi", target(group))
    with pytest.raises(GroupInUse, match="policy Wi-Fi"):
        delete_smart_group(group=group, actor=None, now=timezone.now())
    with pytest.raises(GroupInUse, match="smart group Wrapped"):
        delete_static_group(group=listed, actor=None, now=timezone.now())
    obj.scope.entries.all().delete()
    delete_smart_group(group=group, actor=None, now=timezone.now())
    delete_static_group(group=listed, actor=None, now=timezone.now())
    assert not SmartGroup.objects.exists()
    assert not StaticGroup.objects.exists()


def test_a_name_is_taken_once_a_kind_and_without_case() -> None:
    smart("Macs")
    smart("Macs", kind="MOBILE")
    with pytest.raises(NameTaken, match="MACS"):
        smart("MACS")


def test_a_static_group_reaches_scopes_and_groups_at_once(administrator: Any) -> None:
    first, second = device("first"), device("second")
    listed = static_group("Loaners", first)
    wrapped = smart("Wrapped", member_of(listed))
    obj = scoped("Wi-Fi", target(listed))
    save_static_group(
        kind="COMPUTER",
        name="Loaners",
        site=None,
        device_ids=[second.pk],
        group=listed,
        actor=administrator,
        now=timezone.now(),
    )
    assert members(wrapped) == {"second"}
    obj.scope.refresh_from_db()
    assert list(unpack(obj.scope.decided)) == [second.pk]
    entry = entries_for(listed)[0]
    assert entry.details["changes"] == [
        ["Added", "", "second"],
        ["Removed", "first", ""],
    ]
    assert entry.actor == administrator


def test_a_static_group_takes_no_device_of_another_kind_or_site() -> None:
    berlin = factories.site("Berlin")
    mine = device("mine", site=berlin)
    others = [device("other"), device("iPad", kind="MOBILE", site=berlin)]
    group = save_static_group(
        kind="COMPUTER",
        name="Berlin",
        site=berlin,
        device_ids=[mine.pk, *(row.pk for row in others)],
        actor=None,
        now=timezone.now(),
    )
    assert [row.name for row in group.devices.all()] == ["mine"]


def test_pasted_serial_numbers_are_found_without_case_and_the_missing_are_named() -> (
    None
):
    mac = device("Mac", serial_number="C02ABC123")
    pasted = by_serial_number(
        " c02abc123,\nNOPE-1; C02ABC123 ", Device.objects.filter(kind="COMPUTER")
    )
    assert [row.pk for row in pasted.devices] == [mac.pk]
    assert pasted.missing == ("NOPE-1",)


def test_a_change_of_one_device_judges_that_device_alone() -> None:
    berlin = factories.site("Berlin")
    moved, other = device("moved", site=berlin), device("other", site=berlin)
    group = smart("Airs", like("Model", "MacBook Air"))
    obj = scoped("Wi-Fi", target(group), site=berlin)
    Device.objects.update(model="MacBook Air")
    changes.announce(changes.Change(devices=frozenset({moved.pk})), now=timezone.now())
    obj.scope.refresh_from_db()
    assert list(unpack(obj.scope.decided)) == [moved.pk]
    assert members(group) == {"moved"}
    again()
    assert members(group) == {"moved", "other"}
    gone = frozenset({other.pk})
    other.delete()
    changes.announce(changes.Change(deleted_devices=gone), now=timezone.now())
    obj.scope.refresh_from_db()
    assert obj.scope.decided_count == 1


def test_an_applied_read_reaches_scopes_and_groups() -> None:
    idp = factories.cloud_idp()
    ana = factories.directory_user("Ana", idp)
    design = factories.directory_group("Design", idp)
    mac = device("Mac", user=ana, logged_in=ana)
    group = smart("Design Macs", in_directory_group(design))
    obj = scoped("Wi-Fi", limited_to(design), everything=True)
    factories.join(ana, design)
    change = AppliedChange(
        cloud_idp_id=idp.pk,
        full=False,
        user_ids=frozenset(),
        group_ids=frozenset({design.pk}),
    )
    changes.announce(changes.Change(directory=change), now=timezone.now())
    obj.scope.refresh_from_db()
    assert list(unpack(obj.scope.decided)) == [mac.pk]
    assert members(group) == {"Mac"}
    assert "after a read of Fernhill Studio" in entries_for(obj)[0].note
