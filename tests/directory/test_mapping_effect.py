"""What other mappings would do: counted before anything is saved, and saved as counted."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from directory import attributes, mapping_drafts
from directory.mapping_effect import VALUES_KEPT, Tally
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryUser,
    MappingDraft,
    SyncRun,
)
from directory.sync.attributes import USER_ATTRIBUTES
from directory.sync.selection import selection_of
from directory.tasks import announce_drafts
from jamfidp.accounts.models import User
from scoping import matching_rows
from scoping.models import Building, Department, InventoryUser
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import browser_for
from tests.directory.syncing import Story, connected
from tests.scoping_factories import make_department, make_device

pytestmark = pytest.mark.django_db

State = MappingDraft.State
EXTENSION = "onPremisesExtensionAttributes.extensionAttribute1"


@pytest.fixture
def fernhill() -> CloudIdentityProvider:
    """Read completely, by the mappings that stand."""
    idp = factories.cloud_idp(cloud="SANDBOX", generation=7)
    AttributeMappings.objects.create(cloud_idp=idp)
    idp.delta_selection = selection_of(idp).signature
    idp.save()
    return idp


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


@pytest.fixture
def story(sandbox: Sandbox) -> Story:
    return connected(sandbox)


def propose(idp: CloudIdentityProvider, **mapped: str) -> MappingDraft:
    """Propose other mappings and work out what they would do."""
    mappings = AttributeMappings.objects.get(cloud_idp=idp)
    for name, graph_property in mapped.items():
        setattr(mappings, name, graph_property)
    draft = mapping_drafts.propose(mappings, actor=None, now=timezone.now())
    mapping_drafts.work(draft.pk)
    return MappingDraft.objects.select_related("cloud_idp__mappings").get(pk=draft.pk)


def save(draft: MappingDraft, *, without_effect: bool = False) -> SyncRun | None:
    return mapping_drafts.save(
        draft.pk, without_effect=without_effect, actor=None, now=timezone.now()
    )


def person(name: str, idp: CloudIdentityProvider, **values: Any) -> DirectoryUser:
    return factories.directory_user(name, idp, **values)


def text_of(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200, response.content.decode()
    return " ".join(response.content.decode().split())


# --- Counting ----------------------------------------------------------------------


def values(**attributes: str) -> list[Any]:
    return [
        True,
        "Member",
        "Ana",
        "ana",
        *(attributes.get(name, "") for name in USER_ATTRIBUTES),
    ]


def test_everybody_is_counted_once_however_often_a_directory_repeats_them() -> None:
    tally = Tally(before={}, after={})
    ana, milo = factories.guid("ana"), factories.guid("milo")

    for _ in range(2):
        tally.take(ana, values(user_name="Same"), values(user_name="SAME", room="1"))
    tally.take(milo, values(user_name="milo", room="2"), values(user_name="same"))

    found = tally.findings()
    assert (found["people"], found["concerned"]) == (2, 2)
    assert found["changes"]["room"] == {"filled": 1, "emptied": 1}
    assert found["collisions"]["names"] == 1
    assert found["collisions"]["people"] == 2
    (shown,) = found["collisions"]["shown"]
    assert sorted(shown["ids"]) == sorted([ana, milo])


def test_more_departments_than_there_can_be_are_said_to_be_none() -> None:
    tally = Tally(before={}, after={})
    for number in range(VALUES_KEPT + 5):
        tally.take(
            factories.guid(str(number)), values(), values(department=str(number))
        )

    assert tally.findings()["places"]["department"] == {"too_many": True, "values": {}}


# --- By the console's own rows -------------------------------------------------------


def test_what_the_rows_hold_is_counted_without_asking_microsoft(
    fernhill: CloudIdentityProvider, settings: Any
) -> None:
    settings.ENTRA_SANDBOX_URL = ""
    person("Ana", fernhill, email="ana@fernhill.example", department="Design")
    person("Milo", fernhill, email="", department="")
    person("Noor", fernhill, state=DirectoryUser.State.DELETED, email="gone@x.example")

    draft = propose(fernhill, user_name="mail", building="department")

    assert (draft.state, draft.live) == (State.READY, False)
    effect = draft.effect
    assert (effect["people"], effect["concerned"], effect["nameless"]) == (2, 2, 1)
    # Ana's user name is her mail address already; Milo has none.
    assert effect["changes"]["user_name"] == {"emptied": 1}
    assert effect["changes"]["building"] == {"filled": 1}
    assert effect["places"]["building"]["values"] == {"Design": 1}


@pytest.mark.parametrize(
    "change",
    [{"delta_selection": "of other mappings"}, {"first_complete_read_at": None}],
)
def test_rows_read_by_other_mappings_are_not_believed(
    fernhill: CloudIdentityProvider, change: dict[str, Any], settings: Any
) -> None:
    settings.ENTRA_SANDBOX_URL = ""
    CloudIdentityProvider.objects.update(**change)

    draft = propose(fernhill, building="department")

    assert (draft.live, draft.state) == (True, State.FAILED)


def test_names_that_another_connection_has_too_are_said(
    fernhill: CloudIdentityProvider,
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    person("Ana", fernhill, email="shared@fernhill.example")
    person("Zoe", quarrel, user_name_key="shared@fernhill.example")

    assert propose(fernhill, user_name="mail").effect["shared"] == 1


def test_groups_that_get_another_name_are_counted(
    fernhill: CloudIdentityProvider,
) -> None:
    factories.directory_group("Frontend", fernhill, mail="fe@fernhill.example")
    factories.directory_group("Backend", fernhill)

    assert propose(fernhill, group_name="mail").effect["groups"] == 1


# --- Devices, departments and buildings ----------------------------------------------


def test_devices_that_would_lead_elsewhere_are_named(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    """Each by what it is: lost, kept by the earlier match, or found at last."""
    people = {
        "Ana": "twin@fernhill.example",
        "Ben": "twin@fernhill.example",
        "Cleo": "dora@fernhill.example",
        "Dora": "cleo@fernhill.example",
        "Eve": "new@fernhill.example",
        "Finn": "moved@fernhill.example",
    }
    for name, mail in people.items():
        person(name, fernhill, email=mail)
    for name in ("dora", "eve", "finn", "new", "ana"):
        make_device(f"MBP-{name}", username=f"{name}@fernhill.example")
    twin = make_device("MBP-twin", username="ben@fernhill.example")
    matching_rows.rematch(now=timezone.now())
    assert twin.assigned_user is not None
    InventoryUser.objects.filter(pk=twin.assigned_user.pk).update(
        username="twin@fernhill.example", key="twin@fernhill.example"
    )

    draft = propose(fernhill, user_name="mail")

    (watched,) = draft.effect["watched"]
    named = dict(InventoryUser.objects.values_list("pk", "username"))
    assert {
        kind: sorted(named[pk].partition("@")[0] for pk in pks)
        for kind, pks in watched.items()
    } == {
        "nobody": [],
        "several": ["twin"],
        "another": ["dora"],
        "kept": ["ana", "eve", "finn"],
        "gained": ["new"],
    }
    page = text_of(browser, draft.get_absolute_url())
    assert "<strong>1</strong> computer whose user name would lead to several" in page
    assert "<strong>3</strong> computers whose user names keep the user" in page

    # And so it comes to be.
    save(draft)
    for name, mail in people.items():
        DirectoryUser.objects.filter(display_name=name).update(
            user_name=mail, user_name_key=mail
        )
    matching_rows.rematch(now=timezone.now())
    matches = dict(InventoryUser.objects.values_list("username", "match"))
    assert matches["twin@fernhill.example"] == InventoryUser.Match.AMBIGUOUS
    assert matches["dora@fernhill.example"] == InventoryUser.Match.CHANGED
    for kept in ("ana", "eve", "finn", "new"):
        assert matches[f"{kept}@fernhill.example"] == InventoryUser.Match.MATCHED


def test_departments_that_are_missing_are_created_where_chosen(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    make_department("Design")
    for name, title in (("Ana", "design"), ("Milo", "Ops"), ("Noor", "Sales")):
        person(name, fernhill, position=title)
    draft = propose(fernhill, department="jobTitle", building="jobTitle")
    page = text_of(browser, draft.get_absolute_url())
    assert "<strong>2</strong> of the 3 that people would have are not" in page

    address = f"{draft.get_absolute_url()}create/"
    browser.post(
        address, {"draft": draft.pk, "field": "department", "value": ["Ops", "Forged"]}
    )
    browser.post(address, {"draft": draft.pk, "field": "building", "value": ["Sales"]})

    assert set(Department.objects.values_list("name", flat=True)) == {"Design", "Ops"}
    assert set(Building.objects.values_list("name", flat=True)) == {"Sales"}
    assert MappingDraft.objects.filter(pk=draft.pk).exists()
    assert AttributeMappings.objects.get().department == "department"


def test_devices_whose_value_would_be_erased_are_counted(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    person("Ana", fernhill, position="Designer")
    device = make_device(
        username="ana@fernhill.example",
        position="Designer",
        sources={"position": {"source": "DIRECTORY", "at": "2026-11-03T12:00:00Z"}},
    )
    matching_rows.rematch(now=timezone.now())
    draft = propose(fernhill, position="")

    page = text_of(browser, draft.get_absolute_url())
    assert "<strong>1</strong> computer whose Position follows the directory" in page

    save(draft)
    device.refresh_from_db()
    assert device.position == ""


def test_of_devices_nobody_hears_who_may_not_see_them(
    fernhill: CloudIdentityProvider,
) -> None:
    person("Ana", fernhill, email="other@fernhill.example", department="Ops")
    make_device(username="ana@fernhill.example")
    matching_rows.rematch(now=timezone.now())
    viewer = factories.custom_account(
        "settings", "Read LDAP Servers", "Update LDAP Servers"
    )
    draft = propose(fernhill, user_name="mail")

    page = text_of(browser_for(viewer), draft.get_absolute_url())

    assert "No device that you may see" in page
    refused = browser_for(viewer).post(
        f"{draft.get_absolute_url()}create/",
        {"draft": draft.pk, "field": "department", "value": ["Ops"]},
    )
    assert refused.status_code == 403
    assert not Department.objects.exists()


# --- From Microsoft -------------------------------------------------------------------


def test_what_is_not_stored_is_read_and_only_counted(story: Story) -> None:
    story.read(SyncRun.Kind.FULL)
    for upn in ("ana.ruiz", "milo.brandt"):
        story.control(
            "PATCH",
            f"users/{upn}@fernhill.example",
            {"onPremisesExtensionAttributes": {"extensionAttribute1": "Aarhus-77"}},
        )
    story.behave(repeat_in_delta=True, delta_page_size=90)

    draft = propose(story.cloud_idp, building=EXTENSION, group_name="mail")

    assert (draft.state, draft.live) == (State.READY, True), draft.error
    effect = draft.effect
    people = DirectoryUser.objects.present().filter(cloud_idp=story.cloud_idp)
    assert effect["people"] == people.count() == draft.people_read
    assert effect["concerned"] == 2
    assert effect["places"]["building"]["values"] == {"Aarhus-77": 2}
    assert not people.filter(building="Aarhus-77").exists()
    with_mail = story.control("GET", "groups")["value"]
    assert effect["groups"] == sum(bool(group.get("mail")) for group in with_mail)


def test_whom_the_connections_filter_leaves_out_is_not_counted(story: Story) -> None:
    story.cloud_idp.read_filter = {"guests": False}
    story.cloud_idp.save()
    story.read(SyncRun.Kind.FULL)

    draft = propose(story.cloud_idp, building="officeLocation")

    people = DirectoryUser.objects.present().filter(cloud_idp=story.cloud_idp)
    assert draft.effect["people"] == people.count()


def test_saved_numbers_come_true(story: Story) -> None:
    story.read(SyncRun.Kind.FULL)
    before = {
        p.object_id: p.user_name
        for p in DirectoryUser.objects.present().filter(cloud_idp=story.cloud_idp)
    }
    draft = propose(story.cloud_idp, user_name="mailNickname")

    save(draft)
    story.read()

    people = DirectoryUser.objects.present().filter(cloud_idp=story.cloud_idp)
    changed = [p for p in people if p.user_name != before[p.object_id]]
    assert len(changed) == draft.effect["concerned"] > 0
    assert not MappingDraft.objects.exists()


def test_without_microsoft_the_effect_is_not_known_and_saving_says_so(
    story: Story, browser: Client
) -> None:
    story.fault("/v1.0/users/delta", method="GET", status=403)

    draft = propose(story.cloud_idp, building=EXTENSION)

    assert draft.state == State.FAILED
    page = text_of(browser, draft.get_absolute_url())
    assert "not known" in page
    assert "User.Read.All" in page
    address = f"{draft.get_absolute_url()}save/"
    assert browser.post(address, {"draft": draft.pk}).status_code == 422
    assert AttributeMappings.objects.get().building == ""
    agreed = browser.post(address, {"draft": draft.pk, "without_effect": "on"})
    assert agreed.status_code == 303
    assert AttributeMappings.objects.get().building == EXTENSION


def test_a_disabled_connection_is_not_asked(fernhill: CloudIdentityProvider) -> None:
    CloudIdentityProvider.objects.update(enabled=False)

    draft = propose(fernhill, building=EXTENSION)

    assert draft.state == State.FAILED
    assert "disabled" in draft.error


# --- What happens meanwhile -----------------------------------------------------------


def run_with(idp: CloudIdentityProvider, **changes: int) -> None:
    now = timezone.now()
    SyncRun.objects.create(
        cloud_idp=idp,
        kind=SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.SCHEDULE,
        state=SyncRun.State.SUCCEEDED,
        created_at=now,
        finished_at=now,
        generation=idp.generation,
        changes=changes,
    )


def test_f40_numbers_that_no_longer_hold_cannot_be_saved(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    """F40: others are read meanwhile; nobody saves by numbers of before."""
    draft = propose(fernhill, building="department")
    run_with(fernhill, users_changed=1, groups_added=2)

    answer = browser.post(f"{draft.get_absolute_url()}save/", {"draft": draft.pk})

    assert answer.status_code == 409
    assert "1 person is not as before" in answer.content.decode()
    assert AttributeMappings.objects.get().building == ""
    again = browser.post(f"{draft.get_absolute_url()}again/", {"draft": draft.pk})
    assert again.status_code == 303
    (renewed,) = MappingDraft.objects.all()
    assert (renewed.state, renewed.mappings["building"]) == (
        State.WAITING,
        "department",
    )


def test_a_read_that_changes_nobody_leaves_the_numbers_as_they_are(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    draft = propose(fernhill, building="department")
    run_with(fernhill, users_changed=0, groups_changed=3)

    answer = browser.post(f"{draft.get_absolute_url()}save/", {"draft": draft.pk})

    assert answer.status_code == 303
    assert AttributeMappings.objects.get().building == "department"


def test_other_options_make_the_numbers_void(fernhill: CloudIdentityProvider) -> None:
    draft = propose(fernhill, building="department")
    CloudIdentityProvider.objects.update(match_domains=["fernhill.example"])

    with pytest.raises(mapping_drafts.Outdated):
        save(draft)


def test_what_somebody_else_proposed_is_not_saved_in_its_place(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    mine = propose(fernhill, building="department")
    propose(fernhill, room="department")

    browser.post(f"{mine.get_absolute_url()}save/", {"draft": mine.pk})

    mappings = AttributeMappings.objects.get()
    assert (mappings.building, mappings.room) == ("", "")


def test_dropped_while_it_is_read_nothing_is_written(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    mappings = story.cloud_idp.mappings
    mappings.building = EXTENSION
    draft = mapping_drafts.propose(mappings, actor=None, now=timezone.now())
    take = Tally.take

    def dropping(self: Tally, *args: Any) -> None:
        MappingDraft.objects.all().delete()
        take(self, *args)

    monkeypatch.setattr(Tally, "take", dropping)

    mapping_drafts.work(draft.pk)

    assert not MappingDraft.objects.exists()


def test_f19_another_worker_begins_again_where_one_fell_silent(
    fernhill: CloudIdentityProvider,
) -> None:
    """F19: and the one that was thought dead writes nothing any more."""
    draft = propose(fernhill, building="department")
    MappingDraft.objects.update(state=State.WAITING, effect={})
    now = timezone.now()
    dead = mapping_drafts.claim(draft.pk, now=now)
    assert dead is not None
    assert mapping_drafts.claim(draft.pk, now=now) is None

    later = now + mapping_drafts.LEASE + timedelta(seconds=1)
    mapping_drafts.give_up_silent(now=later)
    assert mapping_drafts.claim(draft.pk, now=later) is not None
    mapping_drafts._Worker(dead, timezone.now, lambda: None).fail("late", "too late")

    draft.refresh_from_db()
    assert (draft.state, draft.error) == (State.READING, "")
    mapping_drafts.give_up_silent(now=later + mapping_drafts.LEASE + timedelta(1))
    announce_drafts(now=later)
    mapping_drafts.work(draft.pk)
    draft.refresh_from_db()
    assert draft.state == State.READY


def test_drafts_are_forgotten_after_a_day(fernhill: CloudIdentityProvider) -> None:
    propose(fernhill, building="department")

    mapping_drafts.forget_old(now=timezone.now() + timedelta(hours=23))
    assert MappingDraft.objects.exists()
    mapping_drafts.forget_old(now=timezone.now() + timedelta(hours=25))
    assert not MappingDraft.objects.exists()


# --- The preview on a person ----------------------------------------------------------


def preview(
    browser: Client, idp: CloudIdentityProvider, who: str, **mapped: str
) -> str:
    response = browser.post(
        f"{idp.get_absolute_url()}mappings/",
        {
            "user_name": "userPrincipalName",
            "group_name": "displayName",
            "building": "",
            **mapped,
            "person": who,
            "preview": "1",
        },
        headers={"HX-Request": "true", "HX-Target": "mapping-preview"},
    )
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_every_property_is_listed_and_what_is_not_offered_says_why(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    page = browser.get(f"{fernhill.get_absolute_url()}mappings/properties/")
    shown = " ".join(page.content.decode().split())
    for each in attributes.REFUSED:
        assert each.reason in html.unescape(shown)
        for name in each.names:
            assert f'<code class="long-code">{name}</code>' in shown
    for _, properties in attributes.by_heading():
        for offered in properties:
            assert f'<code class="long-code">{offered.short}</code>' in shown
    assert "nobody is found by it" in shown


def test_the_preview_shows_what_microsoft_says_now(
    story: Story, browser: Client
) -> None:
    story.read(SyncRun.Kind.FULL)
    story.control(
        "PATCH",
        "users/ana.ruiz@fernhill.example",
        {"onPremisesExtensionAttributes": {"extensionAttribute1": "Aarhus-77"}},
    )

    page = preview(
        browser, story.cloud_idp, "ana.ruiz@fernhill.example", building=EXTENSION
    )

    assert "as Microsoft Graph answers now" in page
    assert "<strong><bdi>Aarhus-77</bdi></strong>" in page
    assert AttributeMappings.objects.get().building == ""


def test_the_preview_says_when_its_values_are_those_of_the_last_read(
    story: Story, browser: Client
) -> None:
    story.read(SyncRun.Kind.FULL)
    CloudIdentityProvider.objects.update(enabled=False)

    page = preview(
        browser,
        story.cloud_idp,
        "ana.ruiz@fernhill.example",
        building=EXTENSION,
        room="jobTitle",
    )

    assert "as of the last read" in page
    assert "The connection is disabled" in page
    assert "not known: the console does not hold it" in page
    assert "<strong><bdi>Frontend Engineer</bdi></strong>" in page


def test_a_preview_without_a_person_asks_for_one(
    fernhill: CloudIdentityProvider, browser: Client
) -> None:
    response = browser.post(
        f"{fernhill.get_absolute_url()}mappings/",
        {
            "user_name": "mail",
            "group_name": "displayName",
            "person": "",
            "preview": "1",
        },
    )

    assert response.status_code == 422
    assert "This field is required" in response.content.decode()
    assert not MappingDraft.objects.exists()
