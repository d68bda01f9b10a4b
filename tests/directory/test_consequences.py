"""What a plan is said to do is what happens once it is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.utils import timezone
from pyroaring import BitMap

from directory.dependents import Consequence, ConsequenceKind
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
)
from directory.sync.bitmaps import unpack
from directory.sync.differences import Plan
from directory.sync.foresee import Foreseen, foresee
from directory.sync.holds import Held
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from scoping import user_location
from scoping.models import Device, InventoryUser, Policy, Scope, SmartGroup
from scoping.smart_groups import save_smart_group
from tests import factories
from tests.directory.rounds import group, guid, left, member, removed, take, user
from tests.scoping.inventory_rows import (
    in_directory_group,
    limited_to,
    scoped,
    target,
)
from tests.scoping_factories import make_department, make_device, make_login

ANA, MILO, NOOR, FRONTEND, STUDIO = map(guid, ("ana", "milo", "noor", "fe", "st"))
Kind = ConsequenceKind
Said = dict[Any, Any]


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Ana and Milo in Frontend, which is nested in Studio; read completely.

    Each has a computer; Frontend's are in a smart group, which a policy is for.
    """
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(idp, full=True, **everything())
    for name in ("ana", "milo", "noor"):
        following = {
            field: {"source": "DIRECTORY", "at": timezone.now().isoformat()}
            for field in ("real_name", "department")
        }
        make_device(f"{name}'s", username=upn(guid(name)), sources=following)
    user_location.follow(user_location.following(), now=timezone.now())
    everybody = DirectoryGroup.objects.get(object_id=STUDIO)
    smart = save_smart_group(
        kind="COMPUTER",
        name="Studio Macs",
        site=None,
        criteria=[in_directory_group(everybody)],
        actor=None,
        now=timezone.now(),
    )
    scoped("Wi-Fi", target(smart))
    return idp


def upn(object_id: str) -> str:
    return f"{object_id[:8]}@fernhill.example"


def everything(**other: Any) -> dict[str, Any]:
    return {
        "users": [user(ANA), user(MILO), user(NOOR)],
        "groups": [
            group(FRONTEND, member(ANA), member(MILO)),
            group(STUDIO, member(FRONTEND, "group")),
        ],
    } | other


def in_effect() -> Said:
    """All that a plan can have consequences for, as the rows say it."""
    found: Said = {}
    for smart in SmartGroup.objects.all():
        found["group", smart.name] = set(unpack(smart.members or None))
    for scope in Scope.objects.all():
        found["scope", scope.pk] = set(unpack(scope.decided or None))
    for device in Device.objects.select_related("department", "assigned_user"):
        found["Full name", device.pk] = device.real_name
        found["Department", device.pk] = str(device.department or "")
    for account in User.objects.all():
        held = standing.read(account, now=timezone.now())
        found["account", account.pk] = set(held.by_name)
    return found


def happened(before: Said, after: Said) -> Said:
    """The differences, in the words in which consequences are asserted."""
    found: Said = {}
    for key, now in after.items():
        was = before[key]
        if was == now:
            continue
        sort, which = key
        match sort:
            case "group" | "scope":
                entered, went = now - was, was - now
                found |= {(sort, "entered", which): entered} if entered else {}
                found |= {(sort, "left", which): went} if went else {}
            case "account":
                gained, lost = now - was, was - now
                found |= {("gained", which): gained} if gained else {}
                found |= {("lost", which): lost} if lost else {}
            case _:
                found[sort, which] = (was, now)
    return found


def said(consequences: Any) -> Said:
    by_name = dict(Policy.objects.values_list("name", "scope_id"))
    found: Said = {}
    for each in consequences:
        name = each.about.name if each.about else ""
        match each.kind:
            case Kind.GROUP_ENTERED:
                found["group", "entered", name] = set(each.numbers)
            case Kind.GROUP_LEFT:
                found["group", "left", name] = set(each.numbers)
            case Kind.SCOPE_ENTERED:
                found["scope", "entered", by_name[name]] = set(each.numbers)
            case Kind.SCOPE_LEFT:
                found["scope", "left", by_name[name]] = set(each.numbers)
            case Kind.DEVICE_CHANGES if each.what != ("User",):
                for device, values in each.differences.items():
                    found[each.what[0], device] = values
            case Kind.PRIVILEGES_GAINED if each.about.kind == "account":
                found["gained", each.about.pk] = set(each.what)
            case Kind.PRIVILEGES_LOST if each.about.kind == "account":
                found["lost", each.about.pk] = set(each.what)
    return found


def foreseen(idp: CloudIdentityProvider, **round_: Any) -> Foreseen:
    """Plan a round, look ahead, apply it, and see that it came as it was said."""
    seen: list[Foreseen] = []

    def look(plan: Plan) -> Held:
        seen.append(foresee(plan))
        return Held()

    before = in_effect()
    take(idp, decide=look, **round_)
    (found,) = seen
    assert said(found.consequences) == happened(before, in_effect())
    return found


def of(found: Foreseen, kind: ConsequenceKind) -> list[Consequence]:
    return [each for each in found.consequences if each.kind == kind]


def number(object_id: str) -> int:
    return DirectoryObject.objects.get(object_id=object_id).pk


def test_nothing_follows_from_nothing(fernhill: CloudIdentityProvider) -> None:
    assert foreseen(fernhill, full=True, **everything()).consequences == ()


def test_whoever_joins_through_nesting_brings_the_device_into_group_and_scope(
    fernhill: CloudIdentityProvider,
) -> None:
    found = foreseen(fernhill, groups=[group(FRONTEND, member(NOOR))])

    (entered,) = of(found, Kind.SCOPE_ENTERED)
    assert entered.about is not None
    assert entered.about.name == "Wi-Fi"
    assert list(entered.numbers) == [Device.objects.get(name="noor's").pk]
    assert of(found, Kind.GROUP_ENTERED)


def test_nesting_that_ends_takes_devices_out(fernhill: CloudIdentityProvider) -> None:
    found = foreseen(fernhill, groups=[group(STUDIO, left(FRONTEND, "group"))])

    (went,) = of(found, Kind.GROUP_LEFT)
    assert went.count == 2


def test_values_of_people_reach_the_devices_that_follow_them(
    fernhill: CloudIdentityProvider,
) -> None:
    make_department("Design")

    found = foreseen(
        fernhill, users=[user(ANA, displayName="Ana Ruiz", department="design")]
    )

    (department,) = [
        each for each in of(found, Kind.DEVICE_CHANGES) if each.what == ("Department",)
    ]
    device = Device.objects.get(name="ana's")
    assert department.differences == {device.pk: ("", "Design")}


@pytest.mark.parametrize(
    "change",
    [
        {"userPrincipalName": "somebody.else@fernhill.example"},
        {"userPrincipalName": upn(NOOR)},
    ],
    ids=["renamed away", "two of one name"],
)
def test_a_name_that_leads_elsewhere_is_said_of_the_devices(
    fernhill: CloudIdentityProvider, change: Mapping[str, str]
) -> None:
    found = foreseen(fernhill, users=[user(MILO, **change)])

    named = {
        device
        for each in of(found, Kind.DEVICE_CHANGES)
        if each.what == ("User",)
        for device in each.numbers
    }
    moved = InventoryUser.objects.exclude(match="MATCHED")
    assert named == set(
        Device.objects.filter(assigned_user__in=moved).values_list("pk", flat=True)
    )


def test_a_group_that_goes_breaks_what_names_it(
    fernhill: CloudIdentityProvider,
) -> None:
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    make_login(Device.objects.get(name="ana's"), upn(ANA))
    scoped("VPN", limited_to(frontend), everything=True)
    factories.bind(factories.account_group("Designers"), frontend)

    found = foreseen(fernhill, groups=[removed(FRONTEND, "deleted")])

    broken = {
        each.about.name for each in of(found, Kind.REFERENCE_BREAKS) if each.about
    }
    assert broken == {"VPN", "Designers"}
    returned = foreseen(fernhill, full=True, **everything())
    assert len(of(returned, Kind.REFERENCE_RETURNS)) == 2


def test_hidden_membership_breaks_and_its_end_returns(
    fernhill: CloudIdentityProvider,
) -> None:
    studio = DirectoryGroup.objects.get(object_id=STUDIO)
    factories.bind(factories.account_group("Designers"), studio)
    hidden = group(STUDIO, visibility="HiddenMembership")

    broken = of(foreseen(fernhill, groups=[hidden]), Kind.REFERENCE_BREAKS)
    assert {each.about.name for each in broken if each.about} == {
        "Studio Macs",
        "Designers",
    }

    shown = foreseen(fernhill, groups=[group(STUDIO, visibility="Private")])
    assert len(of(shown, Kind.REFERENCE_RETURNS)) == 2


# Privileges ----------------------------------------------------------------------


@pytest.fixture
def bound(fernhill: CloudIdentityProvider) -> CloudIdentityProvider:
    """Studio, with all that is nested in it, gives Full Access; Ana signed in once."""
    studio = DirectoryGroup.objects.get(object_id=STUDIO)
    factories.bind(factories.account_group("Designers"), studio, nested=True)
    for one in (ANA, NOOR):
        factories.entra_account(DirectoryUser.objects.get(object_id=one))
    return fernhill


def test_who_joins_gains_and_it_says_full_access_and_by_which_path(
    bound: CloudIdentityProvider,
) -> None:
    found = foreseen(bound, groups=[group(FRONTEND, member(NOOR))])

    (gained,) = of(found, Kind.PRIVILEGES_GAINED)
    assert gained.full_access
    assert gained.numbers == BitMap([number(NOOR)])
    assert gained.groups == BitMap([number(STUDIO)])
    assert "account group Designers" in gained.detail
    # The gravest first.
    assert found.consequences[0] is gained


def test_people_without_an_account_gain_together(
    bound: CloudIdentityProvider,
) -> None:
    others = [guid(f"other {n}") for n in range(5)]

    found = foreseen(
        bound,
        users=[user(each) for each in others],
        groups=[group(FRONTEND, *map(member, others))],
    )

    (gained,) = of(found, Kind.PRIVILEGES_GAINED)
    assert gained.count == 5
    assert gained.full_access
    assert gained.about is not None
    assert gained.about.name == "Designers"


@pytest.mark.parametrize(
    "round_",
    [
        {"users": [user(ANA, accountEnabled=False)]},
        {"users": [removed(ANA)]},
        {"users": [removed(ANA, "deleted")]},
        {"users": [user(ANA, userType="Guest")]},
        {"groups": [group(FRONTEND, left(ANA))]},
        {"groups": [group(STUDIO, left(FRONTEND, "group"))]},
        {"groups": [removed(STUDIO, "deleted")]},
    ],
    ids=["disabled", "deleted", "gone", "guest", "left", "nesting", "group gone"],
)
def test_every_way_to_lose_is_foreseen(
    bound: CloudIdentityProvider, round_: dict[str, Any]
) -> None:
    found = foreseen(bound, **round_)

    lost = of(found, Kind.PRIVILEGES_LOST)
    assert number(ANA) in BitMap.union(BitMap(), *(each.numbers for each in lost))


def test_of_a_first_read_everybody_gains(db: None) -> None:
    idp = factories.cloud_idp(first_complete_read_at=None, last_good_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    studio = DirectoryGroup(cloud_idp=idp, object_id=STUDIO, display_name="Studio")
    factories.bind(factories.account_group("Designers"), studio, nested=True)

    found = foreseen(idp, full=True, **everything())

    (gained,) = of(found, Kind.PRIVILEGES_GAINED)
    assert gained.numbers == BitMap([number(ANA), number(MILO)])


def test_a_site_is_no_full_access(fernhill: CloudIdentityProvider) -> None:
    frontend = DirectoryGroup.objects.get(object_id=FRONTEND)
    site = factories.site()
    factories.bind(factories.account_group("Berliners", site=site), frontend)

    found = foreseen(fernhill, groups=[group(FRONTEND, member(NOOR))])

    (gained,) = of(found, Kind.PRIVILEGES_GAINED)
    assert not gained.full_access
