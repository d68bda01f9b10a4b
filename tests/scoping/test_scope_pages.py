"""The pages of scopes, objects and groups, as a browser without JavaScript sees them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from directory.models import DirectoryGroup, DirectoryUser
from directory.sync.bitmaps import unpack
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.record import entries_for
from scoping.drafts import draft_of
from scoping.models import (
    Building,
    Device,
    Policy,
    Scope,
    Site,
    SmartGroup,
    StaticGroup,
)
from scoping.objects import IOS_PROFILE, KINDS
from scoping.recompute import ScopedObject
from scoping.smart_groups import save_smart_group
from scoping.uses import uses_of_group
from tests import factories
from tests.scoping.inventory_rows import (
    NOBODY,
    again,
    device,
    except_for,
    in_directory_group,
    limited_to,
    ref_of,
    scoped,
    static_group,
    target,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana() -> DirectoryUser:
    return factories.directory_user("Ana Ruiz", factories.cloud_idp())


@pytest.fixture
def design(ana: DirectoryUser) -> DirectoryGroup:
    return factories.directory_group(
        "Design", ana.cloud_idp, ana, mail="design@fernhill.example"
    )


@pytest.fixture
def policy(design: DirectoryGroup, ana: DirectoryUser) -> ScopedObject:
    device("Ana's Mac", logged_in=ana, user=ana)
    device("Lab Mac", logged_in=NOBODY)
    device("Silent Mac")
    return scoped("FileVault", limited_to(design), everything=True)


def text(response: Any) -> str:
    return str(response.content.decode())


def page(name: str, *args: Any) -> str:
    return reverse(f"scoping:{name}", args=args)


def posted(obj: ScopedObject, **changes: Any) -> dict[str, Any]:
    """What the editor's form holds, with changes."""
    obj.scope.refresh_from_db()
    draft = draft_of(obj.scope)
    data: dict[str, Any] = {
        "version": obj.scope.version,
        "principal": draft.principal,
        "entry": [each.key for each in draft.entries],
        "nested": [each.key for each in draft.entries if each.nested],
    }
    if draft.all_devices:
        data["all_devices"] = "1"
    return data | changes


def test_a_policy_is_created_scoped_and_explained_without_javascript(
    console: Client, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    mac = device("Ana's Mac", logged_in=ana)
    made = console.post(
        page("policy-new"), {"name": "FileVault", "category": "Security"}, follow=True
    )
    assert "Who should get FileVault" in text(made)
    policy = Policy.objects.get()
    assert not policy.enabled
    edit = page("policy-scope-edit", policy.pk)
    form: dict[str, Any] = {
        "version": "1",
        "principal": "LOGGED_IN",
        "all_devices": "1",
    }
    searched = console.post(
        edit,
        form | {"pick_kind_LIMITATION": "DIRECTORY_GROUP", "pick_q_LIMITATION": "desi"},
    )
    key = limited_to(design).key
    assert f'name="add" value="{key}"' in text(searched)
    assert "design@fernhill.example" in text(searched)
    added = console.post(edit, form | {"add": key})
    assert added.status_code == 200
    assert f'name="entry" value="{key}"' in text(added)
    assert "limited to members of <strong>Design</strong> (nested)." in text(added)
    assert not policy.scope.entries.exists(), "a draft is not saved"
    saved = console.post(
        edit, form | {"entry": key, "nested": key, "save": "1"}, follow=True
    )
    assert "The scope was saved: 1 computer gained" in text(saved)
    assert "Ana&#x27;s Mac" in text(saved)
    why = console.get(page("policy-derivation", policy.pk, mac.pk))
    assert "Ana Ruiz is in Design" in text(why)
    assert "What would change this:" in text(why)


def test_the_editor_says_what_the_draft_would_do_before_it_is_saved(
    console: Client, policy: ScopedObject
) -> None:
    edit = page("policy-scope-edit", policy.pk)
    (key,) = posted(policy)["entry"]
    shown = console.post(edit, posted(policy, drop=key))
    assert "No longer limited by Directory Service." in text(shown)
    assert "2 computers come into scope by that" in text(shown)
    assert "All computers." in text(shown)
    policy.scope.refresh_from_db()
    assert policy.scope.version == 2


def test_a_htmx_request_gets_the_editor_alone(
    console: Client, policy: ScopedObject
) -> None:
    headers = {"HX-Request": "true", "HX-Target": "scope-editor"}
    shown = console.post(
        page("policy-scope-edit", policy.pk), posted(policy), headers=headers
    )
    assert "<html" not in text(shown)
    assert '<form class="scope-editor" id="scope-editor"' in text(shown)
    found = console.post(
        page("policy-scope-picker", policy.pk) + "?role=EXCLUSION",
        {"pick_kind_EXCLUSION": "DEVICE", "pick_q_EXCLUSION": "lab"},
        headers={"HX-Request": "true", "HX-Target": "picker-EXCLUSION"},
    )
    assert '<div id="picker-EXCLUSION"' in text(found)
    assert "Lab Mac" in text(found)
    assert "Silent Mac" not in text(found)


def test_an_unknown_group_is_refused_next_to_its_entry_and_the_draft_is_kept(
    console: Client, policy: ScopedObject
) -> None:
    (kept,) = posted(policy)["entry"]
    wrong = f"EXCLUSION|DIRECTORY_GROUP|{factories.TENANT}/{factories.guid('nobody')}"
    refused = console.post(
        page("policy-scope-edit", policy.pk),
        posted(policy, entry=[kept, wrong], save="1"),
    )
    assert refused.status_code == 422
    assert "is in no directory that is connected and read" in text(refused)
    assert f'name="entry" value="{wrong}"' in text(refused)
    assert f'name="entry" value="{kept}"' in text(refused)
    policy.scope.refresh_from_db()
    assert policy.scope.version == 2


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("TARGET|DIRECTORY_GROUP|a/b", "cannot be a target"),
        ("LIMITATION|BUILDING|1", "Building cannot be a limitation"),
        ("NONSENSE", "is not an entry of a scope"),
        ("TARGET|BUILDING|x", "is not the number of an object"),
        ("EXCLUSION|IBEACON|1", "is not an entry of a scope"),
    ],
)
def test_an_entry_that_cannot_stand_there_is_refused(
    entry: str, sentence: str, console: Client, policy: ScopedObject
) -> None:
    data = posted(policy, save="1")
    data["entry"] = [*data["entry"], entry]
    refused = console.post(page("policy-scope-edit", policy.pk), data)
    assert refused.status_code == 422
    assert sentence in text(refused)
    policy.scope.refresh_from_db()
    assert policy.scope.version == 2


def test_a_scope_saved_in_another_tab_is_not_overwritten_unseen(
    console: Client, policy: ScopedObject
) -> None:
    edit = page("policy-scope-edit", policy.pk)
    mine = posted(policy, save="1")
    mine.pop("all_devices")
    theirs = console.post(edit, posted(policy, entry=[], nested=[], save="1"))
    assert theirs.status_code == 302
    refused = console.post(edit, mine)
    assert refused.status_code == 409
    assert "saved this scope while you were editing it" in text(refused)
    assert f'name="entry" value="{mine["entry"][0]}"' in text(refused)
    assert 'name="version" value="3"' in text(refused)
    policy.scope.refresh_from_db()
    assert (policy.scope.version, policy.scope.all_devices) == (3, True)


def test_a_draft_of_an_object_deleted_in_another_tab_is_shown_to_be_kept(
    console: Client, policy: ScopedObject
) -> None:
    edit, data = page("policy-scope-edit", policy.pk), posted(policy, save="1")
    console.post(page("policy-delete", policy.pk))
    answer = console.post(edit, data)
    assert answer.status_code == 404
    assert "Limitation, Directory Service User Group" in text(answer)
    assert "Design" in text(answer)
    answer = console.post(
        page("policy-edit", policy.pk), {"name": "FV", "payload": "Long explanation"}
    )
    assert answer.status_code == 404
    assert "Long explanation" in text(answer)


def test_a_broken_group_is_marked_and_can_be_rebound_to_one_of_its_name(
    console: Client, policy: ScopedObject, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    old = limited_to(design).key
    idp = design.cloud_idp
    design.delete()
    again()
    recreated = factories.directory_group("Design", idp, ana)
    edit = page("policy-scope-edit", policy.pk)
    shown = console.get(edit)
    assert "It is no longer in the directory." in text(shown)
    new = limited_to(recreated).key
    assert f"{old}&gt;{new}" in text(shown)
    rebound = console.post(edit, posted(policy, rebind=f"{old}>{new}"))
    assert f'name="entry" value="{new}"' in text(rebound)
    assert f'name="entry" value="{old}"' not in text(rebound)
    detail = console.get(page("policy-detail", policy.pk))
    assert "A part of this cannot be evaluated" in text(detail)


def test_a_local_user_can_be_added_from_the_search(
    console: Client, policy: ScopedObject
) -> None:
    edit = page("policy-scope-edit", policy.pk)
    shown = console.post(
        edit,
        posted(
            policy, pick_kind_EXCLUSION="DIRECTORY_USER", pick_q_EXCLUSION="labuser"
        ),
    )
    key = "EXCLUSION|DIRECTORY_USER|=labuser"
    assert f'name="add" value="{key}"' in text(shown)
    data = posted(policy, save="1")
    data["entry"] = [*data["entry"], key]
    assert console.post(edit, data).status_code == 302
    assert policy.scope.entries.get(role="EXCLUSION").label == "labuser"


def test_mobile_scopes_say_why_they_look_at_the_assigned_user(
    console: Client, design: DirectoryGroup
) -> None:
    obj = scoped("Mail", limited_to(design), everything=True, kind=IOS_PROFILE)
    shown = console.get(page("iosconfigurationprofile-scope-edit", obj.pk))
    assert "Nobody logs in to a mobile device" in text(shown)
    assert 'name="principal"' not in text(shown)


def test_who_is_in_scope_is_listed_by_verdict_and_exported(
    console: Client, policy: ScopedObject
) -> None:
    device("=cmd()", logged_in="somebody-else", serial_number="+1")
    again()
    scope = page("policy-scope", policy.pk)
    assert "Ana&#x27;s Mac" in text(console.get(scope))
    assert "Lab Mac" not in text(console.get(scope))
    assert "Silent Mac" in text(console.get(scope, {"verdict": "unknown"}))
    assert "Lab Mac" in text(console.get(scope, {"verdict": "out"}))
    exported = console.get(page("policy-export", policy.pk), {"verdict": "any"})
    lines = b"".join(exported.streaming_content).decode()  # type: ignore[attr-defined]
    assert "Ana's Mac" in lines
    assert "'=cmd()" in lines
    assert "'+1" in lines
    assert "Exported 4 computers" in entries_for(policy)[0].note


def test_devices_in_scope_are_paged_by_position(console: Client) -> None:
    for number in range(60):
        device(f"Mac {number:02}")
    policy = scoped("All", everything=True)
    first = console.get(page("policy-scope", policy.pk))
    assert "Mac 49" in text(first)
    assert "Mac 50" not in text(first)
    after = Device.objects.get(name="Mac 49").pk
    second = console.get(page("policy-scope", policy.pk), {"after": after})
    assert "Mac 50" in text(second)
    assert "Mac 49" not in text(second)
    assert f"before={Device.objects.get(name='Mac 50').pk}" in text(second)


# Objects -------------------------------------------------------------------------


def test_an_object_is_edited_cloned_and_deleted(
    console: Client, policy: ScopedObject
) -> None:
    edited = console.post(
        page("policy-edit", policy.pk), {"name": "FileVault 2", "enabled": "on"}
    )
    assert edited.status_code == 302
    assert "with the same description and scope" in text(
        console.get(page("policy-clone", policy.pk))
    )
    console.post(page("policy-clone", policy.pk))
    copy = Policy.objects.get(name="FileVault 2 copy")
    assert not copy.enabled
    asked = console.get(page("policy-delete", copy.pk))
    assert "<strong>1 computer</strong>" in text(asked)
    console.post(page("policy-delete", copy.pk))
    assert [row.name for row in Policy.objects.all()] == ["FileVault 2"]
    assert Scope.objects.count() == 1
    shown = console.get(page("policy-history", policy.pk))
    assert "FileVault 2" in text(shown)


def test_a_form_that_is_refused_keeps_what_was_typed(
    console: Client, policy: ScopedObject
) -> None:
    refused = console.post(
        page("policy-new"), {"name": "filevault", "payload": "Encrypts the disk"}
    )
    assert refused.status_code == 422
    assert "Another policy is named filevault." in text(refused)
    assert "Encrypts the disk" in text(refused)
    assert Policy.objects.count() == 1


def test_a_new_site_says_first_which_devices_leave(
    console: Client, policy: ScopedObject
) -> None:
    berlin = factories.site("Berlin")
    data = {"name": "FileVault", "site": str(berlin.pk)}
    asked = console.post(page("policy-edit", policy.pk), data)
    assert asked.status_code == 200
    assert "1 computer lost, 0 computers gained" in text(asked)
    assert Policy.objects.get().site is None
    console.post(
        page("policy-edit", policy.pk), data | {"confirmed_site": str(berlin.pk)}
    )
    assert Policy.objects.get().site == berlin


def test_lists_are_searched_filtered_and_sorted(
    console: Client, policy: ScopedObject
) -> None:
    scoped("Printers", category="Office")
    found = console.get(page("policy-list"), {"q": "print"})
    assert "Printers" in text(found)
    assert "FileVault" not in text(found)
    found = console.get(page("policy-list"), {"category": "Office"})
    assert "FileVault" not in text(found)
    found = console.get(page("policy-list"), {"sort": "-in"})
    assert text(found).index("FileVault") < text(found).index("Printers")
    nothing = console.get(page("policy-list"), {"q": "nothing like it"})
    assert "Nothing matches" in text(nothing)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_every_kind_of_object_has_every_page(
    kind: Any, console: Client, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    mine = device("Mine", kind=kind.device_kind, user=ana, logged_in=ana)
    obj = scoped("Object", limited_to(design), everything=True, kind=kind)
    for name in (
        "detail",
        "edit",
        "clone",
        "delete",
        "history",
        "scope",
        "scope-edit",
    ):
        shown = console.get(page(f"{kind.key}-{name}", obj.pk))
        assert shown.status_code == 200, name
        assert "Object" in text(shown)
    assert console.get(page(f"{kind.key}-list")).status_code == 200
    assert console.get(page(f"{kind.key}-new")).status_code == 200
    why = console.get(page(f"{kind.key}-derivation", obj.pk, mine.pk))
    assert "Mine" in text(why)


# Groups --------------------------------------------------------------------------


def criterion(index: int, **values: str) -> dict[str, str]:
    return {f"criteria-{index}-{name}": value for name, value in values.items()}


def test_a_smart_group_over_a_directory_group_is_made_without_javascript(
    console: Client, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    mac = device("Ana's Mac", user=ana)
    device("Other Mac")
    new = page("smartcomputergroup-new")
    added = console.post(
        new, {"name": "Design Macs", "add": "1", "new_criterion": "Directory group"}
    )
    assert "Looks at the assigned user, not at the user who is logged in." in text(
        added
    )
    row = criterion(0, name="Directory group", search_type="member of", nested="1")
    form = {"name": "Design Macs", "criteria-count": "1"} | row
    found = console.post(new, form | {"criteria-0-q": "design"})
    value = f"{factories.TENANT}/{design.object_id}"
    assert f'name="pick" value="0:{value}"' in text(found)
    picked = console.post(new, form | {"pick": f"0:{value}"})
    assert f'name="criteria-0-directory_group" value="{value}"' in text(picked)
    assert "<strong>1</strong> become members" in text(picked)
    assert not SmartGroup.objects.exists()
    saved = console.post(
        new, form | {"criteria-0-directory_group": value, "save": "1"}, follow=True
    )
    group = SmartGroup.objects.get()
    assert "Design Macs was saved with 1 computer." in text(saved)
    assert list(unpack(group.members)) == [mac.pk]
    why = console.get(page("smartcomputergroup-derivation", group.pk, mac.pk))
    assert "Ana Ruiz is in Design" in text(why)


def test_errors_of_criteria_stand_at_their_row_and_keep_what_was_typed(
    console: Client,
) -> None:
    refused = console.post(
        page("smartcomputergroup-new"),
        {"name": "Old", "criteria-count": "2", "save": "1"}
        | criterion(
            0,
            name="Operating System Version",
            search_type="less than",
            value="yesterday",
        )
        | criterion(1, name="Model", search_type="is", value="Air", closing_paren="1"),
    )
    assert refused.status_code == 422
    assert "&#x27;yesterday&#x27; is not a version" in text(refused)
    assert "closes a parenthesis that was not opened" in text(refused)
    assert 'value="yesterday"' in text(refused)
    assert 'value="Air"' in text(refused)
    assert not SmartGroup.objects.exists()


def test_rows_of_criteria_are_moved_and_removed(console: Client) -> None:
    new = page("smartcomputergroup-new")
    form = (
        {"name": "Rows", "criteria-count": "2"}
        | criterion(0, name="Model", search_type="is", value="first")
        | criterion(1, name="Model", search_type="is", value="second", and_or="or")
    )
    moved = text(console.post(new, form | {"up": "1"}))
    assert moved.index('value="second"') < moved.index('value="first"')
    removed = text(console.post(new, form | {"drop": "0"}))
    assert 'value="first"' not in removed
    assert 'name="criteria-count" value="1"' in removed


def test_a_smart_group_in_use_is_not_deleted(console: Client) -> None:
    group = save_smart_group(
        kind="COMPUTER",
        name="All Macs",
        site=None,
        criteria=[],
        actor=None,
        now=timezone.now(),
    )
    scoped("Wi-Fi", target(group))
    delete = page("smartcomputergroup-delete", group.pk)
    assert "Wi-Fi" in text(console.get(delete))
    assert console.post(delete).status_code == 422
    assert SmartGroup.objects.exists()
    assert "Wi-Fi" in text(console.get(page("smartcomputergroup-uses", group.pk)))


@pytest.mark.parametrize("sort", ["smart", "static"])
def test_a_group_saved_in_another_tab_is_not_overwritten_unseen(
    sort: str, console: Client
) -> None:
    group: SmartGroup | StaticGroup = static_group("Macs", device("Mac"))
    if sort == "smart":
        group = save_smart_group(
            kind="COMPUTER",
            name="Macs",
            site=None,
            criteria=[],
            actor=None,
            now=timezone.now(),
        )
    edit = page(f"{sort}computergroup-edit", group.pk)
    seen = str(console.get(edit).context["seen"])
    theirs = console.post(edit, {"name": "Theirs", "seen": seen, "save": "1"})
    assert theirs.status_code == 302
    mine = console.post(edit, {"name": "Mine", "seen": seen, "save": "1"})
    assert mine.status_code == 409
    assert "Somebody saved Theirs while you were editing it" in text(mine)
    assert 'value="Mine"' in text(mine)
    group.refresh_from_db()
    assert group.name == "Theirs"
    again_seen = str(mine.context["seen"])
    assert again_seen != seen
    knowingly = console.post(edit, {"name": "Mine", "seen": again_seen, "save": "1"})
    assert knowingly.status_code == 302


def test_a_static_group_is_filled_by_serial_number_and_by_name(console: Client) -> None:
    first = device("First", serial_number="C02AAA")
    second = device("Second", serial_number="C02BBB")
    new = page("staticcomputergroup-new")
    refused = console.post(
        new, {"name": "Loaners", "serial_numbers": "c02aaa NOPE", "save": "1"}
    )
    assert refused.status_code == 422
    assert "No device here has: NOPE." in text(refused)
    assert f'name="member" value="{first.pk}"' in text(refused)
    found = console.post(new, {"name": "Loaners", "q": "second", "member": first.pk})
    assert f'name="add" value="{second.pk}"' in text(found)
    console.post(new, {"name": "Loaners", "member": [first.pk, second.pk], "save": "1"})
    group = StaticGroup.objects.get()
    assert {row.name for row in group.devices.all()} == {"First", "Second"}
    console.post(
        page("staticcomputergroup-edit", group.pk),
        {"name": "Loaners", "member": [second.pk], "save": "1"},
    )
    assert {row.name for row in group.devices.all()} == {"Second"}
    assert "Second" in text(console.get(page("staticcomputergroup-detail", group.pk)))
    history = console.get(page("staticcomputergroup-history", group.pk))
    assert "Removed" in text(history)


@pytest.mark.parametrize("word", ["computer", "mobiledevice"])
def test_every_kind_of_group_has_every_page(word: str, console: Client) -> None:
    kind = "COMPUTER" if word == "computer" else "MOBILE"
    mine = device("Mine", kind=kind)
    smart = save_smart_group(
        kind=kind, name="Smart", site=None, criteria=[], actor=None, now=timezone.now()
    )
    static = static_group("Static", mine)
    for sort, group in (("smart", smart), ("static", static)):
        for name in ("detail", "edit", "uses", "history", "delete"):
            shown = console.get(page(f"{sort}{word}group-{name}", group.pk))
            assert shown.status_code == 200, (sort, name)
        assert group.name in text(console.get(page(f"{sort}{word}group-list")))
    why = console.get(page(f"smart{word}group-derivation", smart.pk, mine.pk))
    assert "Mine is managed" in text(why)


# Fragments -----------------------------------------------------------------------


def test_a_device_and_a_person_show_their_objects(
    console: Client, policy: ScopedObject, ana: DirectoryUser
) -> None:
    mac = Device.objects.get(name="Ana's Mac")
    shown = text(console.get(page("device-scopes-fragment", mac.pk)))
    assert "FileVault" in shown
    assert page("policy-derivation", policy.pk, mac.pk) in shown
    fragment = console.get(
        page("directoryuser-objects-fragment"),
        {"tenant_id": factories.TENANT, "object_id": ana.object_id},
    )
    assert "FileVault" in text(fragment)
    assert "Ana&#x27;s Mac" in text(fragment)


# Sites and privileges ------------------------------------------------------------


def site_administrator(site: Site) -> Client:
    account = factories.local_account(f"admin-{site.name}")
    factories.account_group(
        f"Administrators of {site.name}",
        account,
        access_level=AccessLevel.SITE,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        site=site,
    )
    client = Client(SERVER_NAME="localhost")
    client.force_login(account)
    return client


def test_objects_and_devices_of_a_foreign_site_are_not_there(
    policy: ScopedObject,
) -> None:
    berlin, madrid = factories.site("Berlin"), factories.site("Madrid")
    mine, foreign = device("Mine", site=berlin), device("Foreign", site=madrid)
    own = scoped("Own", everything=True, site=berlin)
    other = scoped("Other", everything=True, site=madrid)
    lena = site_administrator(berlin)
    listed = text(lena.get(page("policy-list")))
    assert "Own" in listed
    assert "Other" not in listed
    assert "FileVault" not in listed
    for name in (
        "detail",
        "edit",
        "clone",
        "delete",
        "history",
        "scope",
        "scope-edit",
        "scope-picker",
        "export",
    ):
        for obj in (other, policy):
            assert lena.get(page(f"policy-{name}", obj.pk)).status_code == 404, name
        assert lena.get(page(f"policy-{name}", own.pk)).status_code == 200, name
    assert lena.get(page("policy-derivation", own.pk, mine.pk)).status_code == 200
    assert lena.get(page("policy-derivation", own.pk, foreign.pk)).status_code == 404
    assert lena.get(page("device-scopes-fragment", foreign.pk)).status_code == 404
    assert lena.post(page("policy-delete", other.pk)).status_code == 404
    probe = lena.post(
        page("policy-scope-edit", other.pk),
        {"version": "2", "entry": target(foreign).key, "save": "1"},
    )
    assert probe.status_code == 404
    assert "Foreign" not in text(probe)
    assert Policy.objects.filter(pk=other.pk).exists()


def test_a_site_administrator_picks_and_targets_only_what_his_site_has() -> None:
    berlin, madrid = factories.site("Berlin"), factories.site("Madrid")
    device("Berlin Mac", site=berlin)
    foreign = device("Madrid Mac", site=madrid)
    own = scoped("Own", site=berlin)
    lena = site_administrator(berlin)
    edit = page("policy-scope-edit", own.pk)
    found = lena.post(edit, posted(own, pick_kind_TARGET="DEVICE", pick_q_TARGET="mac"))
    assert "Berlin Mac" in text(found)
    assert "Madrid Mac" not in text(found)
    refused = lena.post(edit, posted(own, entry=[target(foreign).key], save="1"))
    assert refused.status_code == 422
    assert "does not exist here" in text(refused)
    assert "Madrid Mac" not in text(refused)
    made = lena.post(page("policy-new"), {"name": "No site"})
    assert made.status_code == 422, "an object of no site is not his to make"


def test_groups_of_a_foreign_site_are_not_there_and_keep_their_foreign_members() -> (
    None
):
    berlin, madrid = factories.site("Berlin"), factories.site("Madrid")
    mine = device("Mine", site=berlin)
    foreign = device("Foreign", site=madrid)
    other = static_group("Other", foreign, site=madrid)
    smart = save_smart_group(
        kind="COMPUTER",
        name="Other smart",
        site=madrid,
        criteria=[],
        actor=None,
        now=timezone.now(),
    )
    lena = site_administrator(berlin)
    for name in ("detail", "edit", "uses", "history", "delete"):
        shown = lena.get(page(f"staticcomputergroup-{name}", other.pk))
        assert shown.status_code == 404, name
        shown = lena.get(page(f"smartcomputergroup-{name}", smart.pk))
        assert shown.status_code == 404, name
    made = lena.post(
        page("staticcomputergroup-new"),
        {
            "name": "Mine",
            "site": berlin.pk,
            "member": [mine.pk, foreign.pk],
            "save": "1",
        },
    )
    assert made.status_code == 302
    group = StaticGroup.objects.get(name="Mine")
    assert [row.name for row in group.devices.all()] == ["Mine"]


def test_what_uses_a_group_and_what_a_device_has_leave_foreign_sites_out(
    design: DirectoryGroup, ana: DirectoryUser
) -> None:
    berlin, madrid = factories.site("Berlin"), factories.site("Madrid")
    mine = device("Mine", site=berlin, logged_in=ana, user=ana)
    foreign = device("Foreign", site=madrid, serial_number="C02FOREIGN", user=ana)
    scoped("Own", limited_to(design), everything=True, site=berlin)
    scoped("Other", limited_to(design), everything=True, site=madrid)
    scoped("Of no site", limited_to(design), everything=True)
    lena = site_administrator(berlin)
    account = User.objects.get(username="admin-Berlin")
    uses = uses_of_group(ref_of(design), viewer=account)
    assert [(use.name, use.detail) for use in uses] == [("Own", "limitation (nested)")]
    fragment = text(lena.get(page("device-scopes-fragment", mine.pk)))
    assert "Own" in fragment
    assert "Other" not in fragment
    assert "Of no site" not in fragment
    pasted = lena.post(
        page("staticcomputergroup-new"),
        {
            "name": "Mine",
            "site": berlin.pk,
            "serial_numbers": foreign.serial_number,
            "save": "1",
        },
    )
    assert pasted.status_code == 422
    assert "No device here has: C02FOREIGN." in text(pasted)


def test_why_a_device_of_another_site_is_out_names_the_sites(console: Client) -> None:
    berlin, madrid = factories.site("Berlin"), factories.site("Madrid")
    mac = device("Mac", site=madrid)
    obj = scoped("Own", everything=True, site=berlin)
    why = text(console.get(page("policy-derivation", obj.pk, mac.pk)))
    assert "The scope is for devices of the site Berlin" in why
    assert "Mac belongs to Madrid" in why
    assert "Move Mac to the site Berlin" in why


@pytest.mark.parametrize(
    ("name", "privilege"),
    [
        ("policy-list", "Read Policies"),
        ("policy-new", "Create Policies"),
        ("macosconfigurationprofile-list", "Read macOS Configuration Profiles"),
        ("iosconfigurationprofile-list", "Read iOS Configuration Profiles"),
        ("smartcomputergroup-new", "Create Smart Computer Groups"),
        ("staticmobiledevicegroup-list", "Read Static Mobile Device Groups"),
    ],
)
def test_without_the_privilege_a_page_names_it(name: str, privilege: str) -> None:
    nobody: User = factories.custom_account("reader", "Read Sites")
    client = Client(SERVER_NAME="localhost")
    client.force_login(nobody)
    refused = client.get(page(name))
    assert refused.status_code == 403
    assert privilege in text(refused)


# Cost ----------------------------------------------------------------------------


def test_pages_cost_no_more_queries_for_more_rows(
    console: Client, design: DirectoryGroup, ana: DirectoryUser
) -> None:
    hall = Building.objects.create(name="Hall")

    def grow(tag: str, number: int) -> None:
        for n in range(number):
            mac = device(f"{tag} Mac {n}", user=ana, logged_in=ana, building=hall)
            scoped(f"{tag} policy {n}", target(mac), limited_to(design))
            static_group(f"{tag} static {n}", mac)
            save_smart_group(
                kind="COMPUTER",
                name=f"{tag} smart {n}",
                site=None,
                criteria=[in_directory_group(design)],
                actor=None,
                now=timezone.now(),
            )

    def cost(*path: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert console.get(page(*path)).status_code == 200
        return len(captured)

    grow("few", 2)
    wide = scoped("Wide", target(hall), except_for(ana), everything=True)
    paths: list[tuple[Any, ...]] = [
        ("policy-list",),
        ("smartcomputergroup-list",),
        ("staticcomputergroup-list",),
        ("policy-scope", wide.pk),
        ("policy-scope-edit", wide.pk),
        ("policy-derivation", wide.pk, Device.objects.all()[0].pk),
        ("device-scopes-fragment", Device.objects.all()[0].pk),
    ]
    few = [cost(*path) for path in paths]
    grow("many", 6)
    assert [cost(*path) for path in paths] == few
