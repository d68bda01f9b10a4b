"""Filters: what is left out is not deleted, and comes back whole."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pyroaring import BitMap

from directory.dependents import ObjectRef
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    EarlierValue,
    HeldChange,
    State,
    SyncRun,
)
from directory.sync.attributes import GroupRow, UserRow
from directory.sync.bitmaps import unpack
from directory.sync.differences import Plan
from directory.sync.filters import ReadFilter
from directory.sync.holds import Held
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from scoping.recompute import ScopedObject
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import browser_for
from tests.directory.rounds import (
    group,
    guid,
    left,
    member,
    number_of,
    removed,
    take,
    user,
)
from tests.directory.syncing import connected
from tests.scoping.inventory_rows import device, except_for, limited_to, scoped

FULL = SyncRun.Kind.FULL

ANA, GUEST, OFF = map(guid, ("ana", "guest", "off"))
MAC, MAC_TEAM, NEWS, ALL = map(guid, ("mac", "mac team", "news", "all"))


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        pytest.param({}, {MAC, MAC_TEAM, NEWS}, id="everything"),
        pytest.param({"name_patterns": ["mac *"]}, {MAC, MAC_TEAM}, id="by name"),
        pytest.param({"name_patterns": ["NÉWS"]}, {NEWS}, id="marks and case"),
        pytest.param({"name_patterns": ["[m]ac*"]}, set(), id="no sets"),
        pytest.param({"group_types": ["SECURITY"]}, {MAC}, id="by type"),
        pytest.param(
            {"group_types": ["DYNAMIC", "MAIL_ENABLED"]}, {MAC, NEWS}, id="or"
        ),
        pytest.param(
            {"name_patterns": ["mac *"], "group_types": ["MICROSOFT_365"]},
            {MAC_TEAM},
            id="name and type",
        ),
        pytest.param({"group_ids": [NEWS]}, {NEWS}, id="picked alone"),
        pytest.param(
            {"name_patterns": ["mac admins"], "group_ids": [NEWS]},
            {MAC, NEWS},
            id="picked besides",
        ),
    ],
)
def test_which_groups_a_filter_keeps(chosen: dict[str, Any], kept: set[str]) -> None:
    rows = {
        MAC: named("Mac Admins", kind="SECURITY", is_dynamic=True),
        MAC_TEAM: named("Mac Team", kind="MICROSOFT_365"),
        NEWS: named("News", kind="DISTRIBUTION"),
    }
    rule = ReadFilter.from_json(chosen)

    assert {pk for pk, row in rows.items() if rule.keeps_group(pk, row)} == kept


def named(name: str, **values: Any) -> GroupRow:
    return GroupRow("PRESENT", None, state_told=True, display_name=name, **values)


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({"guests": False}, {"member", "off", "unknown"}),
        ({"members": False}, {"guest", "unknown"}),
        ({"only_enabled": True}, {"member", "guest", "unknown"}),
    ],
)
def test_which_people_a_filter_keeps_and_unknown_is_not_left_out(
    chosen: dict[str, Any], kept: set[str]
) -> None:
    def person(kind: str, enabled: bool | None) -> UserRow:
        return UserRow(
            "PRESENT", None, state_told=True, account_enabled=enabled, user_type=kind
        )

    people = {
        "member": person("Member", enabled=True),
        "off": person("Member", enabled=False),
        "guest": person("Guest", enabled=True),
        "unknown": person("", enabled=None),
    }
    rule = ReadFilter.from_json(chosen)

    assert {name for name, row in people.items() if rule.keeps_person(row)} == kept


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


PEOPLE = [
    user(ANA, displayName="Ana"),
    user(GUEST, displayName="Gus", userType="Guest"),
    user(OFF, displayName="Off", accountEnabled=False),
]
GROUPS = [
    group(MAC, member(ANA), member(GUEST), displayName="Mac Admins"),
    group(NEWS, member(ANA), displayName="News"),
    group(ALL, member(NEWS, "group"), member(OFF), displayName="Mac All"),
]


def choose(idp: CloudIdentityProvider, **chosen: Any) -> None:
    idp.read_filter = ReadFilter(**chosen).to_json()
    idp.save(update_fields=["read_filter"])


def whole(idp: CloudIdentityProvider) -> None:
    take(idp, full=True, users=PEOPLE, groups=GROUPS)


def state(idp: CloudIdentityProvider, object_id: str) -> str:
    for model in (DirectoryUser, DirectoryGroup):
        row = model._default_manager.filter(cloud_idp=idp, object_id=object_id).first()
        if row is not None:
            return str(row.state)
    return "no row"


def members(object_id: str, *, nested: bool = True) -> set[str]:
    found = DirectoryGroup.objects.get(object_id=object_id).bitmap.users(nested=nested)
    return set(
        DirectoryUser.objects.filter(pk__in=list(found)).values_list(
            "object_id", flat=True
        )
    )


def test_what_is_left_out_keeps_its_row_and_comes_back_with_everything(
    fernhill: CloudIdentityProvider,
) -> None:
    whole(fernhill)
    numbers = {each: number_of(fernhill, each) for each in (GUEST, NEWS)}
    before = {each: members(each) for each in (MAC, ALL, NEWS)}
    assert before == {MAC: {ANA, GUEST}, ALL: {ANA, OFF}, NEWS: {ANA}}
    choose(fernhill, name_patterns=("mac *",), guests=False)

    whole(fernhill)

    assert state(fernhill, GUEST) == state(fernhill, NEWS) == State.FILTERED
    assert DirectoryUser.objects.get(object_id=GUEST).display_name == "Gus"
    news = DirectoryGroup.objects.get(object_id=NEWS)
    assert (news.display_name, news.direct_users) == ("News", 0)
    assert members(MAC) == {ANA}, "a guest who is left out is in nothing"
    assert members(ALL) == {OFF}
    choose(fernhill)
    whole(fernhill)
    assert {each: members(each) for each in (MAC, ALL, NEWS)} == before
    assert {each: number_of(fernhill, each) for each in (GUEST, NEWS)} == numbers


def test_a_first_read_keeps_nothing_of_people_whom_the_filter_leaves_out(
    fernhill: CloudIdentityProvider,
) -> None:
    choose(fernhill, guests=False, name_patterns=("mac *",))

    whole(fernhill)

    guest = DirectoryUser.objects.get(object_id=GUEST)
    assert guest.state == State.FILTERED
    assert (guest.display_name, guest.user_principal_name, guest.search) == ("",) * 3
    assert state(fernhill, ANA) == State.PRESENT
    assert state(fernhill, NEWS) == State.FILTERED
    assert members(MAC) == {ANA}


def test_a_filtered_group_that_gains_members_stays_without(
    fernhill: CloudIdentityProvider,
) -> None:
    choose(fernhill, name_patterns=("mac *",))
    whole(fernhill)

    take(fernhill, groups=[group(NEWS, member(OFF), displayName="News")])
    take(fernhill, groups=[group(NEWS, left(ANA), displayName="News")])

    assert state(fernhill, NEWS) == State.FILTERED
    news = DirectoryGroup.objects.get(object_id=NEWS)
    assert news.direct_users == 0
    assert not news.memberships.exists()


def test_a_group_that_comes_through_the_filter_waits_for_a_full_read(
    fernhill: CloudIdentityProvider,
) -> None:
    """What a read of changes says of its members is only what changed of them."""
    choose(fernhill, name_patterns=("mac *",))
    whole(fernhill)

    take(fernhill, groups=[group(NEWS, member(OFF), displayName="Mac News")])

    assert state(fernhill, NEWS) == State.FILTERED, "members unknown, not {OFF}"
    fernhill.refresh_from_db()
    assert "came back" in fernhill.full_read_reason
    renamed = [
        group(NEWS, member(ANA), member(OFF), displayName="Mac News"),
        *[each for each in GROUPS if each["id"] != NEWS],
    ]
    take(fernhill, full=True, users=PEOPLE, groups=renamed)
    assert members(NEWS) == {ANA, OFF}
    fernhill.refresh_from_db()
    assert fernhill.full_read_reason == ""


def test_a_guest_who_becomes_a_member_returns_with_the_groups(
    fernhill: CloudIdentityProvider,
) -> None:
    choose(fernhill, guests=False)
    whole(fernhill)
    assert members(MAC) == {ANA}

    take(fernhill, users=[user(GUEST, displayName="Gus", userType="Member")])

    assert state(fernhill, GUEST) == State.PRESENT
    assert members(MAC) == {ANA, GUEST}


def test_who_is_filtered_out_and_deleted_is_deleted(
    fernhill: CloudIdentityProvider,
) -> None:
    choose(fernhill, guests=False, only_enabled=True)
    whole(fernhill)

    take(fernhill, users=[removed(GUEST, "changed"), removed(OFF, "deleted")])

    assert state(fernhill, GUEST) == State.DELETED
    assert state(fernhill, OFF) == State.GONE


def test_a_full_read_that_does_not_list_the_filtered_concludes_as_of_others(
    fernhill: CloudIdentityProvider,
) -> None:
    choose(fernhill, only_enabled=True)
    whole(fernhill)
    take(fernhill, groups=[group(ALL, left(OFF), displayName="Mac All")])

    take(
        fernhill,
        full=True,
        users=[each for each in PEOPLE if each["id"] != OFF],
        groups=[group(ALL, member(NEWS, "group"), displayName="Mac All"), *GROUPS[:2]],
    )

    off = DirectoryUser.objects.get(object_id=OFF)
    assert (off.state, off.state_told) == (State.DELETED, False)


def test_every_state_is_another_word_on_the_pages(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    whole(fernhill)
    said = {}
    for each in (State.DELETED, State.GONE, State.FILTERED, State.UNREADABLE):
        DirectoryUser.objects.filter(object_id=GUEST).update(state=each)
        DirectoryGroup.objects.filter(object_id=NEWS).update(state=each)
        person = console.get(f"/users/{number_of(fernhill, GUEST)}/").content.decode()
        team = console.get(f"/groups/{number_of(fernhill, NEWS)}/").content.decode()
        said[each] = {
            words
            for words in ALERTS
            if f"This person {words}" in person and f"This group {words}" in team
        }
        listed = console.get(f"/users/?status={each.lower()}").content.decode()
        assert "Gus" in listed
    assert said == {
        State.DELETED: {"was deleted in Entra."},
        State.GONE: {"was deleted in Entra for good."},
        State.FILTERED: {"is filtered out."},
        State.UNREADABLE: {"is no longer readable."},
    }


ALERTS = (
    "was deleted in Entra.",
    "was deleted in Entra for good.",
    "is filtered out.",
    "is no longer readable.",
)


# --- The tab


def address(idp: CloudIdentityProvider) -> str:
    return f"/settings/cloud-idps/{idp.pk}/filters/"


SOME = {"which": "some", "name_patterns": "Mac *", "members": "on", "guests": "on"}


def test_a_preview_names_what_is_left_out_and_what_depends_on_it_and_saves_nothing(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    whole(fernhill)
    news = DirectoryGroup.objects.get(object_id=NEWS)
    factories.bind(factories.account_group("Newsroom"), news)

    page = console.post(address(fernhill), SOME).content.decode()

    assert "1 of 3" in page
    assert "0 of 3" in page
    assert "News" in page
    assert "Newsroom" in page
    fernhill.refresh_from_db()
    assert fernhill.read_filter == {}


def test_f37_a_filter_that_leaves_out_what_is_used_is_confirmed_by_typing(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    whole(fernhill)
    SyncRun.objects.update(state="SUCCEEDED")
    reviewed = SOME | {"reviewed": "1"}

    refused = console.post(address(fernhill), reviewed | {"confirm": "Fernhil"})
    fernhill.refresh_from_db()
    assert refused.status_code == 422
    assert fernhill.read_filter == {}

    saved = console.post(address(fernhill), reviewed | {"confirm": "Fernhill Studio"})
    fernhill.refresh_from_db()

    assert saved.status_code == 303
    assert fernhill.read_filter == {"name_patterns": ["Mac *"]}
    assert fernhill.sync_runs.get(state="QUEUED").kind == SyncRun.Kind.FULL
    entry = ObjectHistory.objects.get(note__startswith="Changed which people")
    assert entry.details["groups"] == ["every group", "groups named Mac *"]
    assert state(fernhill, NEWS) == State.PRESENT, "until it is read"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"which": "some", "members": "on"}, "Say which groups"),
        ({"which": "all"}, "Read members, guests, or both."),
        (
            {"which": "some", "group_ids": "Mac Admins", "members": "on"},
            "Not an object ID: mac admins.",
        ),
    ],
)
def test_a_filter_that_makes_no_sense_is_said_beside_its_field(
    console: Client, fernhill: CloudIdentityProvider, sent: dict[str, str], said: str
) -> None:
    answer = console.post(address(fernhill), sent)

    assert answer.status_code == 422
    assert said in answer.content.decode()


def picked(idp: CloudIdentityProvider, object_id: str) -> str:
    return f"{idp.tenant_id}/{object_id}"


def test_groups_are_picked_by_name_and_saved_by_object_id(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    whole(fernhill)
    SyncRun.objects.update(state="SUCCEEDED")
    page = console.get(address(fernhill)).content.decode()
    tick = f'name="group_ids" value="{picked(fernhill, NEWS)}"'
    assert tick in page
    assert f"{tick} checked" not in page

    sent = {
        "which": "some",
        "members": "on",
        "guests": "on",
        "group_ids": [picked(fernhill, NEWS), f"{guid('never-read')}\n"],
    }
    review = console.post(address(fernhill), sent).content.decode()
    assert f'name="group_ids" value="{picked(fernhill, NEWS)}"' in review
    assert "It reads 2 picked groups, and of the people" in review
    name = {"reviewed": "on", "confirm": fernhill.display_name}
    assert console.post(address(fernhill), sent | name).status_code == 303
    fernhill.refresh_from_db()
    assert fernhill.read_filter["group_ids"] == [NEWS, guid("never-read")]

    # What has a name is ticked, what has none stands as a line; neither stands twice.
    page = console.get(address(fernhill)).content.decode()
    assert f"{tick} checked" in page
    area = page.partition('id="id_group_ids"')[2].partition("</textarea>")[0]
    assert guid("never-read") in area
    assert NEWS not in area


def test_a_search_keeps_what_is_ticked_and_saves_nothing(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    whole(fernhill)
    other = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    factories.directory_group("Mac people", other)
    DirectoryGroup.objects.filter(object_id=MAC).update(state=State.FILTERED)
    sent = {"which": "some", "members": "on", "group_ids": picked(fernhill, NEWS)}

    without_scripts = console.post(
        address(fernhill), sent | {"search": "1", "q": "admins"}
    ).content.decode()
    fragment = console.post(
        f"/directory/picker/groups/?field=group_ids&several=1&connection={fernhill.pk}",
        sent | {"q": "admins"},
    ).content.decode()
    for page in (without_scripts, fragment):
        assert f'value="{picked(fernhill, NEWS)}" checked' in page
        # Known, though the filter leaves it out.
        assert f'value="{picked(fernhill, MAC)}" data-pick' in page
        assert "Mac people" not in page
    fernhill.refresh_from_db()
    assert fernhill.read_filter == {}


def test_whoever_may_not_see_groups_keeps_them_as_lines(
    fernhill: CloudIdentityProvider,
) -> None:
    whole(fernhill)
    fernhill.read_filter = {"group_ids": [NEWS]}
    fernhill.save()
    browser = browser_for(
        factories.custom_account("cid", "Read LDAP Servers", "Update LDAP Servers")
    )
    page = browser.get(address(fernhill)).content.decode()
    area = page.partition('id="id_group_ids"')[2].partition("</textarea>")[0]
    assert NEWS in area
    assert 'id="group-search"' not in page


# --- authentik's incident: a filter is edited, and everybody is gone


def test_incident_authentik_a_filter_that_leaves_everybody_out_harms_nobody(
    fernhill: CloudIdentityProvider,
) -> None:
    """Here nothing holds it back: the worst that a typing error in a filter does."""
    whole(fernhill)
    ana = DirectoryUser.objects.get(object_id=ANA)
    mac = device("Ana's Mac", logged_in=ana)
    admins = DirectoryGroup.objects.get(object_id=MAC)
    limited = scoped("FileVault", limited_to(admins), everything=True)
    excepted = scoped("Kiosk", except_for(admins), everything=True)
    before = decided(limited), decided(excepted)
    assert before == ({mac.pk}, set())
    account = factories.entra_account(ana)
    factories.bind(factories.account_group(), admins)
    rows = set(fernhill.users.values_list("pk", flat=True))
    choose(fernhill, name_patterns=("mac amdins",), members=False)

    whole(fernhill)

    assert state(fernhill, ANA) == state(fernhill, MAC) == State.FILTERED
    assert set(fernhill.users.values_list("pk", flat=True)) == rows
    assert (decided(limited), decided(excepted)) == before, (
        "devices keep what they have"
    )
    assert standing.read(account, now=timezone.now()).holds_nothing, "unknown is no"
    assert User.objects.filter(pk=account.pk).exists()

    choose(fernhill)
    whole(fernhill)
    assert members(MAC) == {ANA, GUEST}
    assert not standing.read(account, now=timezone.now()).holds_nothing
    assert (decided(limited), decided(excepted)) == before
    assert not EarlierValue.objects.exclude(attribute="state").exists()


def decided(obj: ScopedObject) -> set[int]:
    obj.scope.refresh_from_db()
    return set(unpack(obj.scope.decided or None))


def test_the_first_read_after_another_filter_is_whole_and_its_losses_are_held(
    db: None, sandbox: Sandbox
) -> None:
    story = connected(sandbox)
    story.read(FULL)
    admins = story.group("Mac Admins")
    factories.bind(factories.account_group(), admins, nested=True)
    (someone,) = admins.bitmap.users(nested=True)[:1]
    person = DirectoryUser.objects.get(pk=someone)
    ref = ObjectRef(story.tenant, person.object_id)
    assert not standing.of_person(ref, now=timezone.now()).holds_nothing
    choose(story.cloud_idp, name_patterns=("nothing is called so",))

    run = story.read()

    assert (run.kind, run.kind_reason) == (FULL, "The filter changed.")
    assert set(HeldChange.objects.values_list("kind", flat=True)) == {"G"}
    assert all("selection-changed" in each.guards for each in HeldChange.objects.all())
    assert story.group("Engineering").state == State.PRESENT
    now = timezone.now()
    assert not standing.of_person(ref, now=now).holds_nothing, "Entra took nothing"
    HeldChange.objects.update(opened_at=now - standing.freshness())
    assert standing.of_person(ref, now=now).holds_nothing, "and is not asked any more"
    assert story.read().kind == SyncRun.Kind.DELTA


def test_what_was_held_of_a_group_stays_held_when_a_filter_leaves_the_group_out(
    fernhill: CloudIdentityProvider,
) -> None:
    """Or whoever left would be in it again, with what it gives."""
    whole(fernhill)
    number, ana = number_of(fernhill, MAC), number_of(fernhill, ANA)

    def hold(plan: Plan) -> Held:
        held = Held()
        if number in plan.users:
            held.hold_users(number, "test", left=BitMap([ana]))
        if number in plan.groups.changes:
            held.hold_groups([number], "test")
        return held

    leaving = group(MAC, left(ANA), displayName="Mac Admins")
    take(fernhill, groups=[leaving], decide=hold)
    choose(fernhill, name_patterns=("news",))
    remaining = [group(MAC, member(GUEST), displayName="Mac Admins"), *GROUPS[1:]]

    take(fernhill, full=True, users=PEOPLE, groups=remaining, decide=hold)

    kept = HeldChange.objects.get(number=number, closed_at=None)
    assert kept.observed is not None
    assert kept.observed["state"] == State.FILTERED
    assert set(unpack(kept.users_left)) == {ana}
    assert members(MAC) == {ANA, GUEST}, "in effect, until somebody decides"
