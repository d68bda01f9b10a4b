"""Names of the inventory and the people of Entra they lead to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from directory import dependents as seam
from directory.dependents import AppliedChange, ObjectRef
from directory.models import CloudIdentityProvider, DirectoryUser
from jamfidp.access import SiteAccess
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.record import entries_for
from scoping import changes, matching_rows, who_is_who
from scoping.dependents import ScopingDependents, devices_of_person
from scoping.models import Device, InventoryUser, LastLogin
from scoping.principal import (
    Ambiguous,
    Nobody,
    NotInDirectory,
    Person,
    Unconfirmed,
    Unresolved,
)
from tests.factories import OTHER_TENANT, TENANT, cloud_idp, directory_user
from tests.scoping_factories import (
    make_device,
    make_inventory_user,
    make_login,
    make_site,
)

pytestmark = pytest.mark.django_db
Match = InventoryUser.Match
ANA = "ana.ruiz@fernhill.example"


def read_applied(idp: CloudIdentityProvider, *people: DirectoryUser) -> None:
    """As when a read of changes to these people was applied."""
    ScopingDependents().after_apply(
        AppliedChange(
            cloud_idp_id=idp.pk,
            full=not people,
            user_ids=frozenset(person.pk for person in people),
        ),
        now=timezone.now(),
    )


def verdict(name: str) -> str:
    return InventoryUser.objects.get(username=name).match


def somebody_else_gets_the_name(idp: CloudIdentityProvider) -> DirectoryUser:
    """Ana leaves for good, and a new person is given her user name."""
    make_device("MBP-ANA", username=ANA)
    DirectoryUser.objects.filter(user_name=ANA).delete()
    read_applied(idp)
    other = directory_user("Ana Ruiz the Second", idp, user_principal_name=ANA)
    read_applied(idp, other)
    return other


def test_scoping_hears_of_every_applied_read() -> None:
    assert any(isinstance(each, ScopingDependents) for each in seam.registered())


def test_a_name_is_matched_as_soon_as_a_device_brings_it() -> None:
    person = directory_user("Ana Ruiz", cloud_idp())

    user = make_inventory_user("  ANA.Ruiz@Fernhill.example ")

    assert user.match == Match.MATCHED
    assert (user.tenant_id, user.object_id) == (TENANT, person.object_id)
    principal = matching_rows.principal_for(user)
    assert isinstance(principal, Person)
    assert principal.ref == ObjectRef(TENANT, person.object_id)
    assert principal.name == "Ana Ruiz"


def test_one_name_in_two_spellings_is_one_user() -> None:
    cloud_idp()
    decomposed = "E\u0301lodie@fernhill.example"

    first = make_inventory_user("élodie@fernhill.example")
    second = make_inventory_user(decomposed)

    assert first.pk == second.pk


def test_nobody_of_that_name_is_known_only_after_a_complete_read() -> None:
    idp = cloud_idp(first_complete_read_at=None)
    user = make_inventory_user("guest-mac")
    assert user.match == Match.UNKNOWN
    assert "never read completely" in user.reason
    assert isinstance(matching_rows.principal_for(user), Unresolved)

    idp.first_complete_read_at = timezone.now()
    idp.save()
    read_applied(idp)

    user.refresh_from_db()
    assert user.match == Match.NONE
    assert isinstance(matching_rows.principal_for(user), NotInDirectory)


def test_several_people_of_one_name_are_unknown_and_named() -> None:
    directory_user("Ana Ruiz", cloud_idp())
    second = cloud_idp("Quarrel & Sons", tenant_id=OTHER_TENANT)
    directory_user("Ana Ruiz", second)

    user = make_inventory_user(ANA)

    assert user.match == Match.AMBIGUOUS
    principal = matching_rows.principal_for(user)
    assert isinstance(principal, Ambiguous)
    assert {each.ref.tenant_id for each in principal.candidates} == {
        TENANT,
        OTHER_TENANT,
    }

    second.enabled = False
    second.save()
    ScopingDependents().after_connection_change(OTHER_TENANT, now=timezone.now())
    assert verdict(ANA) == Match.MATCHED


def test_domains_limit_what_a_connection_answers_for() -> None:
    idp = cloud_idp(match_domains=["other.example"], match_names_without_domain=False)
    directory_user("Ana Ruiz", idp)
    directory_user("Short", idp, user_principal_name="short")

    assert make_inventory_user(ANA).match == Match.NONE
    assert make_inventory_user("short").match == Match.NONE

    idp.match_domains, idp.match_names_without_domain = ["fernhill.example"], True
    idp.save()
    ScopingDependents().after_connection_change(TENANT, now=timezone.now())
    assert verdict(ANA) == Match.MATCHED
    assert verdict("short") == Match.MATCHED


def test_a_renamed_person_stays_that_person() -> None:
    idp = cloud_idp()
    person = directory_user("Ana Ruiz", idp)
    make_inventory_user(ANA)
    DirectoryUser.objects.filter(pk=person.pk).update(
        user_name="ana.wolf@fernhill.example",
        user_name_key="ana.wolf@fernhill.example",
    )

    read_applied(idp, person)

    assert verdict(ANA) == Match.MATCHED


def test_a_name_given_to_somebody_else_is_unknown_until_confirmed(
    administrator: User,
) -> None:
    idp = cloud_idp()
    first = directory_user("Ana Ruiz", idp)
    other = somebody_else_gets_the_name(idp)

    user = InventoryUser.objects.get(username=ANA)
    assert user.match == Match.CHANGED
    principal = matching_rows.principal_for(user)
    assert isinstance(principal, Unconfirmed)
    assert principal.earlier.object_id == first.object_id
    assert principal.found.ref.object_id == other.object_id
    assert "another person" in entries_for(user).get().note

    who_is_who.confirm(
        user=user,
        ref=principal.found.ref,
        actor=administrator,
        now=timezone.now(),
    )

    user.refresh_from_db()
    assert (user.match, user.object_id) == (Match.MATCHED, other.object_id)
    assert entries_for(user).count() == 2
    read_applied(idp)
    assert verdict(ANA) == Match.MATCHED


def test_a_confirmation_of_somebody_else_than_shown_is_refused(
    administrator: User,
) -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    somebody_else_gets_the_name(idp)
    user = InventoryUser.objects.get(username=ANA)

    with pytest.raises(who_is_who.NothingToConfirm):
        who_is_who.confirm(
            user=user,
            ref=ObjectRef(TENANT, "somebody-else"),
            actor=administrator,
            now=timezone.now(),
        )

    user.refresh_from_db()
    assert user.match == Match.CHANGED


def test_a_candidate_who_leaves_the_name_ends_the_ambiguity() -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    twin = directory_user("Ana Twin", idp, user_principal_name=ANA)
    assert make_inventory_user(ANA).match == Match.AMBIGUOUS
    DirectoryUser.objects.filter(pk=twin.pk).update(
        user_name="twin@fernhill.example", user_name_key="twin@fernhill.example"
    )

    read_applied(idp, twin)

    assert verdict(ANA) == Match.MATCHED


def test_a_new_person_is_found_for_a_name_known_before() -> None:
    idp = cloud_idp()
    assert make_inventory_user(ANA).match == Match.NONE

    read_applied(idp, directory_user("Ana Ruiz", idp))

    assert verdict(ANA) == Match.MATCHED


def test_a_disabled_person_is_matched_and_said_to_be_disabled() -> None:
    directory_user("Ana Ruiz", cloud_idp(), account_enabled=False)

    principal = matching_rows.principal_for(make_inventory_user(ANA))

    assert isinstance(principal, Person)
    assert principal.disabled


def test_principals_of_many_names_take_as_many_queries_as_of_few(
    django_assert_num_queries: Any,
) -> None:
    idp = cloud_idp()
    for number in range(40):
        directory_user(f"Person {number}", idp)
    matching_rows.ensure_users(
        (f"person.{number}@fernhill.example" for number in range(60)),
        now=timezone.now(),
    )

    with django_assert_num_queries(3):
        found = matching_rows.principals(InventoryUser.objects.all())

    assert sum(isinstance(each, Person) for each in found.values()) == 40
    assert len(found) == 60


def test_matching_again_asks_as_often_for_many_as_for_few(
    django_assert_num_queries: Any,
) -> None:
    cloud_idp()
    matching_rows.ensure_users(
        (f"person.{number}@fernhill.example" for number in range(60)),
        now=timezone.now(),
    )

    with django_assert_num_queries(6):
        assert matching_rows.rematch(now=timezone.now()) == frozenset()


def test_nobody_is_a_principal_with_its_time() -> None:
    at = timezone.now()

    assert matching_rows.principal_for(None, reported_at=at) == Nobody(reported_at=at)


def test_devices_are_counted_by_the_match_of_their_user() -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    ana = make_device(username=ANA)
    make_device(username=ANA)
    make_device(username="nobody@fernhill.example")
    make_device()
    make_login(ana, "")

    assigned = matching_rows.match_counts(Device.objects.all())
    agent = matching_rows.match_counts(
        Device.objects.all(), channel=LastLogin.Channel.AGENT
    )

    assert (assigned.matched, assigned.unmatched, assigned.nobody) == (2, 1, 1)
    assert (agent.nobody, agent.never_reported) == (1, 3)


def test_an_applied_read_tells_which_devices_lead_to_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[changes.Change] = []

    def listen(change: changes.Change, now: datetime) -> None:
        heard.append(change)

    monkeypatch.setattr(changes, "_listeners", [listen])
    idp = cloud_idp()
    device = make_device(username=ANA)
    make_device()

    read_applied(idp, directory_user("Ana Ruiz", idp))

    assert heard[-1].devices == {device.pk}
    assert heard[-1].directory is not None


@pytest.fixture
def site_administrator(db: None) -> tuple[Client, Any, User]:
    site = make_site("Studio")
    user = User(
        username="studio-admin",
        access_level=AccessLevel.SITE,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        site=site,
        created_at=timezone.now(),
    )
    user.set_unusable_password()
    user.save()
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client, site, user


def test_who_is_who_counts_filters_and_searches(console: Client) -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    device = make_device(username=ANA)
    make_login(device, ANA)
    make_login(device, ANA, channel=LastLogin.Channel.MDM)
    make_device(username="nobody@fernhill.example")
    address = reverse("scoping:inventoryuser-list")

    everybody = console.get(address)
    unmatched = console.get(address, {"match": "NONE"})
    found = console.get(address, {"q": "ANA.R"})

    counts = {each.value: each.count for each in everybody.context["tallies"]}
    assert counts["MATCHED"] == 1
    assert counts["NONE"] == 1
    (row,) = found.context["rows"]
    assert (row.uses.assigned, row.uses.logged_in) == (1, 1)
    assert [person.name for person in row.people] == ["Ana Ruiz"]
    assert [each.user.username for each in unmatched.context["rows"]] == [
        "nobody@fernhill.example"
    ]


def test_who_is_who_asks_as_often_for_many_as_for_few(
    console: Client, django_assert_max_num_queries: Any
) -> None:
    idp = cloud_idp()
    for number in range(30):
        directory_user(f"Person {number}", idp)
        make_device(username=f"person.{number}@fernhill.example")

    with django_assert_max_num_queries(15):
        answer = console.get(reverse("scoping:inventoryuser-list"))

    assert len(answer.context["rows"]) == 30


class SiteViewer:
    """Somebody who may see the user names of one site."""

    pk = 1
    is_authenticated = True

    def __init__(self, site_id: int) -> None:
        self.site_id = site_id

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return True

    def sites_with(self, perm: str) -> SiteAccess:
        return SiteAccess(everywhere=False, site_ids=frozenset({self.site_id}))


def test_a_name_is_seen_with_the_devices_of_ones_sites_alone() -> None:
    site, elsewhere = make_site(), make_site("Elsewhere")
    make_device(username="own@fernhill.example", site=site)
    make_device(username="shared@fernhill.example", site=site)
    make_device(username="shared@fernhill.example", site=elsewhere)
    make_device(username="foreign@fernhill.example", site=elsewhere)
    make_login(make_device(site=site), "here@fernhill.example")
    make_login(make_device(site=elsewhere), "there@fernhill.example")
    viewer = SiteViewer(site.pk)

    seen = list(who_is_who.visible_users(viewer))
    uses = who_is_who.uses(seen, viewer)

    assert [user.username for user in seen] == [
        "here@fernhill.example",
        "own@fernhill.example",
        "shared@fernhill.example",
    ]
    assert [uses[user.pk].assigned for user in seen] == [0, 1, 1]
    assert sum(who_is_who.counts(viewer).values()) == 3


def test_pages_of_names_of_foreign_sites_are_not_open(
    site_administrator: tuple[Client, Any, User],
) -> None:
    client, _, _ = site_administrator
    foreign = make_device(username="foreign@fernhill.example", site=make_site("Other"))
    assert foreign.assigned_user is not None

    for view in ("detail", "confirm"):
        address = reverse(
            f"scoping:inventoryuser-{view}", args=[foreign.assigned_user.pk]
        )
        assert client.get(address).status_code in {403, 404}
        assert client.post(address).status_code in {403, 404, 405}


def test_confirming_on_the_page(console: Client) -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    other = somebody_else_gets_the_name(idp)
    user = InventoryUser.objects.get(username=ANA)
    address = reverse("scoping:inventoryuser-confirm", args=[user.pk])

    wrong = console.post(address, {"tenant_id": TENANT, "object_id": "x"})
    right = console.post(address, {"tenant_id": TENANT, "object_id": other.object_id})

    assert wrong.status_code == 422
    assert "no longer waits" in wrong.content.decode()
    assert right.status_code == 302
    assert verdict(ANA) == Match.MATCHED


def test_a_site_administrator_does_not_decide_for_other_sites(
    site_administrator: tuple[Client, Any, User],
) -> None:
    _, site, user_account = site_administrator
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    other = somebody_else_gets_the_name(idp)
    Device.objects.update(site=site)
    user = InventoryUser.objects.get(username=ANA)
    make_device(username=ANA, site=make_site("Elsewhere"))

    with pytest.raises(who_is_who.OtherSites):
        who_is_who.confirm(
            user=user,
            ref=ObjectRef(TENANT, other.object_id),
            actor=user_account,
            now=timezone.now(),
        )

    assert verdict(ANA) == Match.CHANGED


@pytest.mark.parametrize("state", list(Match))
def test_the_page_of_a_name_explains_each_verdict(
    console: Client, state: Match
) -> None:
    idp = cloud_idp()
    if state == Match.CHANGED:
        directory_user("Ana Ruiz", idp)
        somebody_else_gets_the_name(idp)
    elif state == Match.UNKNOWN:
        CloudIdentityProvider.objects.update(first_complete_read_at=None)
    elif state != Match.NONE:
        directory_user("Ana Ruiz", idp)
        if state == Match.AMBIGUOUS:
            directory_user("Ana Twin", idp, user_principal_name=ANA)
    user = make_inventory_user(ANA)

    answer = console.get(reverse("scoping:inventoryuser-detail", args=[user.pk]))

    assert answer.status_code == 200
    assert user.match == state
    says = {
        Match.MATCHED: "Ana Ruiz",
        Match.NONE: "No connection has a user of this name",
        Match.AMBIGUOUS: "Several people have this name",
        Match.UNKNOWN: "never read completely",
        Match.CHANGED: "Confirm Ana Ruiz the Second",
    }
    assert says[state] in answer.content.decode()


def test_the_devices_of_a_person_are_those_one_may_see(administrator: User) -> None:
    person = directory_user("Ana Ruiz", cloud_idp())
    site = make_site()
    make_device("MBP-ANA", username=ANA, site=site)
    make_login(make_device("MBP-SHARED", site=make_site("Elsewhere")), ANA)
    make_device("MBP-OTHER", username="nobody@fernhill.example")
    ref = ObjectRef(TENANT, person.object_id)

    everything = devices_of_person(ref, viewer=administrator)
    of_site = devices_of_person(ref, viewer=SiteViewer(site.pk))
    uses = ScopingDependents().uses_of_connection(TENANT, viewer=administrator)

    assert [(device.name, how) for device, how in everything] == [
        ("MBP-ANA", "assigned"),
        ("MBP-SHARED", "last logged in"),
    ]
    assert [device.name for device, _ in of_site] == ["MBP-ANA"]
    assert [use.name for use in uses] == ["2 computers"]


def test_the_mapping_page_can_show_how_many_devices_match(console: Client) -> None:
    directory_user("Ana Ruiz", cloud_idp())
    make_login(make_device(username=ANA), "")
    make_device()

    answer = console.get(reverse("scoping:match-counts-fragment"))

    counted = dict(answer.context["counted"])
    assert (counted["Assigned user"].matched, counted["Assigned user"].nobody) == (1, 1)
    assert counted["Last log-in, Agent (policies)"].nobody == 1
    assert counted["Last log-in, Agent (policies)"].never_reported == 1


def test_the_devices_of_a_person_stand_on_their_page(console: Client) -> None:
    person = directory_user("Ana Ruiz", cloud_idp())
    make_device("MBP-ANA", username=ANA)
    make_login(make_device("MBP-SHARED"), ANA)
    fragment, objects = ScopingDependents().user_fragments(
        ObjectRef(TENANT, person.object_id)
    )

    page = console.get(fragment.url).content.decode()

    assert "MBP-ANA" in page
    assert "MBP-SHARED" in page
    assert "last logged in" in page
    assert console.get(objects.url).status_code == 200
