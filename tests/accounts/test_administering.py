"""Settings > User accounts and groups: what administrators may do, and what not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider, DirectoryGroup
from jamfidp.accounts import (
    account_groups,
    administrators,
    grants,
    presentation,
    standing,
    user_accounts,
)
from jamfidp.accounts.administrators import LastAdministrator
from jamfidp.accounts.models import AccountGroup, DirectoryBinding, User
from jamfidp.accounts.user_accounts import MoreThanYouHold, Privileges
from jamfidp.history.models import ObjectHistory
from tests import factories

pytestmark = pytest.mark.django_db

ACCOUNTS = "/settings/accounts/"
GROUPS = "/settings/account-groups/"


def client_of(user: User) -> Client:
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client


def account_form(**values: Any) -> dict[str, Any]:
    return {
        "username": "lena",
        "full_name": "Lena Fischer",
        "email": "lena@fernhill.example",
        "enabled": "on",
        "password": "a long first password",
        "access_level": "FULL",
        "privilege_set": "AUDITOR",
    } | values


def group_form(**values: Any) -> dict[str, Any]:
    return {
        "kind": "STANDARD",
        "display_name": "Helpdesk",
        "access_level": "FULL",
        "privilege_set": "CUSTOM",
        "privileges": ["Read Computers", "Read Policies"],
    } | values


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


# --- Accounts --------------------------------------------------------------------


def test_an_account_is_created_and_can_sign_in(
    console: Client, administrator: User
) -> None:
    response = console.post(f"{ACCOUNTS}new/", account_form())

    account = User.objects.get(username="lena")
    assert response["Location"] == f"{ACCOUNTS}{account.pk}/"
    assert account.has_perm("scoping.view_policy")
    assert not account.has_perm("scoping.change_policy")
    assert account.check_password("a long first password")
    entry = ObjectHistory.objects.get(action="created")
    assert entry.actor == administrator
    assert "a long first password" not in f"{entry.note}{entry.details}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"username": "ADMIN"}, "Another account has this username", id="taken"
        ),
        pytest.param({"password": "short"}, "too short", id="short password"),
        pytest.param(
            {"access_level": "FULL", "privilege_set": "CUSTOM"},
            "at least one privilege",
            id="custom without privileges",
        ),
        pytest.param({"username": ""}, "required", id="no user name"),
    ],
)
def test_a_refused_account_keeps_what_was_typed(
    console: Client, change: dict[str, Any], message: str
) -> None:
    response = console.post(f"{ACCOUNTS}new/", account_form() | change)

    assert response.status_code == 422
    assert message in text(response)
    assert "Lena Fischer" in text(response)
    assert User.objects.count() == 1


def test_site_access_needs_a_site(console: Client) -> None:
    factories.site()

    response = console.post(f"{ACCOUNTS}new/", account_form(access_level="SITE"))

    assert "Site Access needs a site" in text(response)


def test_a_change_of_privileges_is_shown_before_it_is_saved(console: Client) -> None:
    account = factories.custom_account("lena", "Read Policies")
    form = account_form(privilege_set="CUSTOM", privileges=["Update Policies"])

    response = console.post(f"{ACCOUNTS}{account.pk}/edit/", form)

    account.refresh_from_db()
    assert account.privileges == ["Read Policies"]
    page = text(response)
    assert "What saving lena will do" in page
    assert page.index("Update Policies") < page.index("Read Policies")
    assert "a long first password" not in page

    console.post(f"{ACCOUNTS}{account.pk}/edit/", form | {"reviewed": "1"})

    account.refresh_from_db()
    assert account.privileges == ["Update Policies"]
    details = ObjectHistory.objects.get(action="changed").details
    assert details["privileges"] == [
        "Full Access, Custom: Read Policies",
        "Full Access, Custom: Update Policies",
    ]


def test_a_change_of_the_name_alone_is_saved_at_once(console: Client) -> None:
    account = factories.custom_account("lena", "Read Policies")

    console.post(
        f"{ACCOUNTS}{account.pk}/edit/",
        account_form(
            privilege_set="CUSTOM", privileges=["Read Policies"], full_name="L. F."
        ),
    )

    account.refresh_from_db()
    assert account.full_name == "L. F."


def test_names_of_a_person_of_entra_cannot_be_typed_here(console: Client) -> None:
    person = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    account = factories.entra_account(person)

    console.post(
        f"{ACCOUNTS}{account.pk}/edit/",
        account_form(access_level="GROUP", username="admin2"),
    )

    account.refresh_from_db()
    assert account.username == person.user_principal_name


def test_a_new_password_counts_and_is_never_shown(console: Client) -> None:
    account = factories.local_account("lena")

    console.post(
        f"{ACCOUNTS}{account.pk}/password/",
        {
            "password": "another long password",
            "password_again": "another long password",
        },
    )

    account.refresh_from_db()
    assert account.check_password("another long password")
    assert "another long password" not in str(list(ObjectHistory.objects.values()))


def test_an_account_of_entra_gets_no_password(console: Client) -> None:
    account = factories.entra_account(
        factories.directory_user("Ana Ruiz", factories.cloud_idp())
    )

    response = console.post(
        f"{ACCOUNTS}{account.pk}/password/",
        {
            "password": "another long password",
            "password_again": "another long password",
        },
    )

    account.refresh_from_db()
    assert response.status_code == 422
    assert not account.has_usable_password()


def test_deleting_asks_for_the_name(console: Client) -> None:
    account = factories.local_account("lena")

    wrong = console.post(f"{ACCOUNTS}{account.pk}/delete/", {"confirm": "Lena"})
    assert wrong.status_code == 422
    assert User.objects.filter(pk=account.pk).exists()

    console.post(f"{ACCOUNTS}{account.pk}/delete/", {"confirm": "lena"})
    assert not User.objects.filter(pk=account.pk).exists()
    assert ObjectHistory.objects.get(action="deleted").object_name == "lena"


def test_the_list_finds_filters_and_pages(console: Client) -> None:
    for number in range(60):
        factories.local_account(f"user{number:02}", full_name=f"Person {number}")
    factories.entra_account(factories.directory_user("Ana Ruiz", factories.cloud_idp()))

    first = text(console.get(ACCOUNTS))
    assert "user10" in first
    assert "user59" not in first
    second = text(console.get(f"{ACCOUNTS}?after=user48"))
    assert "user59" in second
    found = text(console.get(f"{ACCOUNTS}?q=person+59"))
    assert "user59" in found
    assert "user10" not in found
    entra = text(console.get(f"{ACCOUNTS}?source=entra"))
    assert "ana.ruiz@" in entra
    assert "user10" not in entra
    assert "No account matches" in text(console.get(f"{ACCOUNTS}?q=nobody"))


def test_the_list_costs_the_same_for_many_accounts(
    console: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        factories.account_group(
            f"Group {number}", factories.local_account(f"user{number}")
        )

    with django_assert_max_num_queries(14):
        console.get(ACCOUNTS)
    with django_assert_max_num_queries(14):
        console.get(GROUPS)


# --- A36: one administrator remains ----------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"enabled": ""}, id="disabled"),
        pytest.param({"privilege_set": "AUDITOR"}, id="another privilege set"),
        pytest.param({"access_level": "GROUP"}, id="another access level"),
    ],
)
def test_a36_the_last_administrator_cannot_be_demoted_or_disabled(
    console: Client, administrator: User, change: dict[str, str]
) -> None:
    form = account_form(username="admin", privilege_set="ADMINISTRATOR", reviewed="1")
    form |= change
    if not form["enabled"]:
        del form["enabled"]

    response = console.post(f"{ACCOUNTS}{administrator.pk}/edit/", form)

    assert response.status_code == 422
    assert "last enabled local account" in text(response)
    administrator.refresh_from_db()
    assert administrator.is_active
    assert administrators.local_administrators().get() == administrator


def test_a36_the_last_administrator_cannot_be_deleted(
    console: Client, administrator: User
) -> None:
    response = console.post(
        f"{ACCOUNTS}{administrator.pk}/delete/", {"confirm": "admin"}
    )

    assert response.status_code == 422
    assert User.objects.filter(pk=administrator.pk).exists()
    assert not ObjectHistory.objects.filter(action="deleted").exists()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"is_active": False}, id="a disabled one"),
        pytest.param({"tenant_id": "t", "object_id": "o"}, id="one of Entra"),
        pytest.param({"privilege_set": "AUDITOR"}, id="one who only reads"),
        pytest.param({"password": None}, id="one without a password"),
    ],
)
def test_a36_another_account_is_no_second_administrator(
    administrator: User, other: dict[str, Any]
) -> None:
    second = factories.administrator("second")
    if "password" in other:
        second.set_unusable_password()
        second.save()
    else:
        User.objects.filter(pk=second.pk).update(**other)

    with pytest.raises(LastAdministrator):
        user_accounts.delete_account(
            administrator, actor=administrator, now=timezone.now()
        )

    assert User.objects.filter(username="admin").exists()


def test_a36_of_two_administrators_one_can_go(administrator: User) -> None:
    second = factories.administrator("second")

    user_accounts.delete_account(second, actor=administrator, now=timezone.now())

    assert administrators.local_administrators().get() == administrator


def test_a36_no_change_in_entra_counts(administrator: User) -> None:
    """The rule looks at local accounts alone, so no sync can trip it."""
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.directory_group("IT", ana.cloud_idp, ana)
    factories.bind(factories.account_group(), group)
    account = factories.entra_account(ana)
    assert account.has_perm("accounts.change_user")

    factories.leave(ana, group)

    assert not User.objects.get(pk=account.pk).has_perm("accounts.change_user")
    assert administrators.local_administrators().get() == administrator


# --- A35: nobody gives more than they hold ---------------------------------------


@pytest.fixture
def manager() -> User:
    """May manage accounts and read policies, and nothing else."""
    return factories.custom_account(
        "manager",
        "Create Accounts",
        "Read Accounts",
        "Update Accounts",
        "Delete Accounts",
        "Create Account Groups",
        "Read Account Groups",
        "Update Account Groups",
        "Delete Account Groups",
        "Read Policies",
        "Read Directory Groups",
        "Read Directory Users",
    )


def test_a35_an_account_gets_no_more_than_its_maker_holds(
    administrator: User, manager: User
) -> None:
    client = client_of(manager)

    more = client.post(f"{ACCOUNTS}new/", account_form(privilege_set="ADMINISTRATOR"))
    same = client.post(
        f"{ACCOUNTS}new/",
        account_form(privilege_set="CUSTOM", privileges=["Read Policies"]),
    )

    assert more.status_code == 422
    assert "privileges that you do not hold" in text(more)
    assert same.status_code == 302
    assert User.objects.filter(username="lena").count() == 1


def test_a35_a_password_of_an_account_that_holds_more_is_out_of_reach(
    administrator: User, manager: User
) -> None:
    response = client_of(manager).post(
        f"{ACCOUNTS}{administrator.pk}/password/",
        {"password": "taken over by me", "password_again": "taken over by me"},
    )

    administrator.refresh_from_db()
    assert response.status_code == 422
    assert administrator.check_password(factories.PASSWORD)


def test_a35_what_an_account_was_given_counts_while_it_is_disabled(
    administrator: User, manager: User
) -> None:
    sleeping = factories.administrator("sleeping", is_active=False)

    with pytest.raises(MoreThanYouHold):
        user_accounts.set_password(
            sleeping, password="taken over", actor=manager, now=timezone.now()
        )


def test_a35_an_account_in_a_group_that_gives_more_is_out_of_reach(
    administrator: User, manager: User
) -> None:
    lena = factories.local_account("lena")
    factories.account_group("Administrators", lena)

    with pytest.raises(MoreThanYouHold):
        user_accounts.set_password(
            lena, password="taken over", actor=manager, now=timezone.now()
        )


def test_a35_nobody_is_put_into_a_group_that_gives_more(
    administrator: User, manager: User
) -> None:
    group = factories.account_group("Administrators")
    client = client_of(manager)

    own = client.post(
        f"{ACCOUNTS}new/", account_form(access_level="GROUP", groups=[group.pk])
    )
    changed = client.post(
        f"{GROUPS}{group.pk}/edit/",
        group_form(
            display_name="Administrators",
            privilege_set="CUSTOM",
            privileges=["Read Policies"],
            reviewed="1",
        ),
    )

    assert own.status_code == 422
    assert changed.status_code == 422
    group.refresh_from_db()
    assert group.privilege_set == "ADMINISTRATOR"


def test_a35_a_group_gives_no_more_than_its_maker_holds(
    administrator: User, manager: User
) -> None:
    response = client_of(manager).post(f"{GROUPS}new/", group_form())

    assert response.status_code == 422
    assert "Read Computers" in text(response)
    assert not AccountGroup.objects.exists()


def test_a35_a_directory_group_is_not_bound_to_a_group_that_gives_more(
    administrator: User, manager: User
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    directory_group = factories.directory_group("IT", ana.cloud_idp, ana)
    group = factories.account_group("Administrators")

    response = client_of(manager).post(
        f"{GROUPS}{group.pk}/directory-groups/new/?directory_group={directory_group.pk}",
        {"confirmed": "on"},
    )

    assert response.status_code == 422
    assert not DirectoryBinding.objects.exists()


def test_a35_site_access_gives_nothing_elsewhere() -> None:
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    manager = factories.administrator("berlin", access_level="SITE", site=berlin)

    for given in (
        Privileges(
            access_level="SITE",
            privilege_set="CUSTOM",
            custom=["Read Policies"],
            site=paris,
        ),
        Privileges(
            access_level="FULL", privilege_set="CUSTOM", custom=["Read Policies"]
        ),
        Privileges(access_level="GROUP"),
    ):
        with pytest.raises(MoreThanYouHold):
            user_accounts.create_account(
                username="lena",
                full_name="",
                email="",
                password="a long password",
                privileges=given,
                groups=[],
                actor=manager,
                now=timezone.now(),
            )


def test_site_access_offers_its_own_sites_and_no_other_level() -> None:
    berlin = factories.site("Berlin")
    factories.site("Paris")
    manager = factories.administrator("berlin", access_level="SITE", site=berlin)

    page = text(client_of(manager).get(f"{ACCOUNTS}new/"))

    assert "Berlin" in page
    assert "Paris" not in page
    assert 'value="FULL"' not in page


def test_memberships_that_the_form_cannot_show_survive_a_save() -> None:
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    admin = factories.administrator()
    lena = factories.local_account("lena")
    in_paris = factories.account_group("Paris", lena, site=paris)
    in_berlin = factories.account_group(
        "Berlin",
        lena,
        site=berlin,
        privilege_set="CUSTOM",
        privileges=["Read Policies"],
    )
    manager = factories.administrator("berlin", access_level="SITE", site=berlin)

    response = client_of(manager).post(
        f"{GROUPS}{in_berlin.pk}/edit/",
        group_form(
            display_name="Berlin",
            access_level="SITE",
            site=berlin.pk,
            privileges=["Read Policies"],
        ),
    )

    assert response.status_code == 302
    assert set(lena.groups.all()) == {in_paris, in_berlin}
    assert admin.pk


def test_groups_that_the_form_of_an_account_cannot_show_survive_a_save(
    administrator: User,
) -> None:
    lena = factories.local_account("lena")
    group = factories.account_group(
        "Readers", lena, privilege_set="CUSTOM", privileges=["Read Policies"]
    )
    manager = factories.custom_account(
        "manager", "Read Accounts", "Update Accounts", "Read Policies"
    )

    client_of(manager).post(
        f"{ACCOUNTS}{lena.pk}/edit/", account_form(access_level="GROUP")
    )

    lena.refresh_from_db()
    assert lena.full_name == "Lena Fischer"
    assert lena.groups.get() == group


# --- Account groups and bindings -------------------------------------------------


def test_a_directory_group_proposes_its_name_and_is_bound_by_its_id(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT Helpdesk", ana.cloud_idp, ana)
    new = f"{GROUPS}new/?directory_group={source.pk}"

    assert 'value="IT Helpdesk"' in text(console.get(new))
    response = console.post(new, group_form(display_name="IT Helpdesk"))
    page = text(console.get(response["Location"]))
    assert "1 person gains these privileges" in page
    console.post(response["Location"], {})

    binding = DirectoryBinding.objects.get()
    assert (binding.tenant_id, binding.object_id, binding.nested) == (
        ana.cloud_idp.tenant_id,
        source.object_id,
        False,
    )
    assert factories.entra_account(ana).has_perm("scoping.view_policy")
    assert ObjectHistory.objects.filter(action="bound").exists()


def test_the_directory_type_is_refused_with_the_reason(console: Client) -> None:
    response = console.post(f"{GROUPS}new/", group_form(kind="DIRECTORY"))

    assert response.status_code == 422
    assert "account groups are of the standard type" in text(response)


def test_a_duplicate_name_is_refused_next_to_the_name(console: Client) -> None:
    factories.account_group("Helpdesk")

    response = console.post(f"{GROUPS}new/", group_form(display_name="HELPDESK"))

    assert response.status_code == 422
    assert "Another account group has this name" in text(response)


def test_a_change_of_a_group_names_the_people_it_happens_to(console: Client) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.account_group(
        "Helpdesk",
        factories.local_account("lena"),
        privilege_set="CUSTOM",
        privileges=["Read Policies"],
    )
    factories.bind(group, factories.directory_group("IT", ana.cloud_idp, ana))

    page = text(console.post(f"{GROUPS}{group.pk}/edit/", group_form()))

    assert "Read Computers" in page
    assert "Ana Ruiz" in page
    assert "lena" in page


@pytest.mark.parametrize(
    ("group_values", "binding", "warned"),
    [
        pytest.param({}, {}, False, id="role-assignable group"),
        pytest.param(
            {"is_assignable_to_role": False}, {}, True, id="A34 not role-assignable"
        ),
        pytest.param({"is_assignable_to_role": None}, {}, True, id="A34 not known"),
        pytest.param(
            {"kind": DirectoryGroup.Kind.MICROSOFT_365}, {}, True, id="A34 M365 group"
        ),
        pytest.param({"is_dynamic": True}, {}, True, id="A33 dynamic group"),
        pytest.param({}, {"nested": "on"}, True, id="A32 nested groups"),
    ],
)
def test_an_unsafe_source_of_full_access_needs_a_second_confirmation(
    console: Client, group_values: dict[str, Any], binding: dict[str, str], warned: bool
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT", ana.cloud_idp, ana, **group_values)
    group = factories.account_group()
    address = f"{GROUPS}{group.pk}/directory-groups/new/?directory_group={source.pk}"

    first = console.post(address, binding)

    assert (first.status_code == 422) is warned
    assert DirectoryBinding.objects.exists() is not warned
    if warned:
        assert "not a safe source of Full Access" in text(first)
        console.post(address, binding | {"confirmed": "on"})
        assert DirectoryBinding.objects.exists()
        entry = ObjectHistory.objects.get(action="bound")
        assert "Confirmed in spite of warnings" in entry.note


def test_site_access_needs_no_second_confirmation(console: Client) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT", ana.cloud_idp, ana, is_dynamic=True)
    group = factories.account_group("Berlin", site=factories.site())

    console.post(
        f"{GROUPS}{group.pk}/directory-groups/new/?directory_group={source.pk}", {}
    )

    assert DirectoryBinding.objects.get().object_id == source.object_id


def test_a_group_is_bound_once(console: Client) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT", ana.cloud_idp, ana)
    group = factories.account_group()
    factories.bind(group, source)

    response = console.post(
        f"{GROUPS}{group.pk}/directory-groups/new/?directory_group={source.pk}", {}
    )

    assert response.status_code == 422
    assert "is bound to Design administrators already" in text(response)


def test_the_people_counted_are_those_who_hold_the_privileges() -> None:
    cloud_idp = factories.cloud_idp()
    ana = factories.directory_user("Ana Ruiz", cloud_idp)
    inner = factories.directory_group(
        "Frontend", cloud_idp, factories.directory_user("Ingrid", cloud_idp)
    )
    source = factories.directory_group(
        "IT",
        cloud_idp,
        ana,
        inner,
        factories.directory_user("Guest", cloud_idp, user_type="Guest"),
        factories.directory_user("Unknown type", cloud_idp, user_type=""),
        factories.directory_user("Disabled", cloud_idp, account_enabled=False),
        factories.directory_user("Not known", cloud_idp, account_enabled=None),
        factories.directory_user("Deleted", cloud_idp, state="DELETED"),
    )

    def names(*, nested: bool) -> list[str]:
        return [str(one) for one in account_groups.people_in(source, nested=nested)]

    assert names(nested=False) == ["Ana Ruiz"]
    assert names(nested=True) == ["Ana Ruiz", "Ingrid"]
    cloud_idp.transitive_membership_enabled = False
    cloud_idp.save()
    source.refresh_from_db()
    assert names(nested=True) == ["Ana Ruiz"]


def test_a29_a_group_with_the_name_of_a_bound_one_raises_an_alarm(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.account_group()
    factories.bind(group, factories.directory_group("IT", ana.cloud_idp, ana))
    assert "has the name of a bound one" not in text(
        console.get(f"{GROUPS}{group.pk}/")
    )

    factories.directory_group("IT", ana.cloud_idp)

    assert "has the name of a bound one" in text(console.get(f"{GROUPS}{group.pk}/"))


def test_a30_a_renamed_group_stays_bound_and_the_drift_is_shown(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT", ana.cloud_idp, ana)
    group = factories.account_group()
    factories.bind(group, source)

    DirectoryGroup.objects.filter(pk=source.pk).update(display_name="Yoga")

    page = text(console.get(f"{GROUPS}{group.pk}/"))
    assert "Called IT when it was bound" in page
    assert "Ana Ruiz" in page


def test_a31_a_broken_binding_is_shown_and_can_be_replaced(console: Client) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    old = factories.directory_group("IT", ana.cloud_idp, ana)
    group = factories.account_group()
    broken = factories.bind(group, old)
    old.delete()
    new = factories.directory_group("IT", ana.cloud_idp, ana)

    page = text(console.get(f"{GROUPS}{group.pk}/"))
    assert "Gone: gives nothing" in page
    assert f"?replaces={broken.pk}" in page
    choose = text(
        console.get(
            f"{GROUPS}{group.pk}/directory-groups/new/?replaces={broken.pk}&q=IT"
        )
    )
    assert f"directory_group={new.pk}&amp;replaces={broken.pk}" in choose
    console.post(
        f"{GROUPS}{group.pk}/directory-groups/new/"
        f"?directory_group={new.pk}&replaces={broken.pk}",
        {},
    )

    assert DirectoryBinding.objects.get().object_id == new.object_id
    assert factories.entra_account(ana).has_perm("scoping.view_policy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"enabled": False}, "is disabled", id="disabled"),
        pytest.param(
            {"last_good_read_at": timezone.now() - timedelta(hours=30)},
            "longer than 24 hours ago",
            id="too old",
        ),
        pytest.param(
            {"first_complete_read_at": None}, "not been read completely", id="not read"
        ),
        pytest.param(None, "was deleted from this console", id="deleted"),
    ],
)
def test_a_suspended_binding_says_why_and_counts_nobody(
    console: Client, change: dict[str, Any] | None, words: str
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.account_group()
    factories.bind(group, factories.directory_group("IT", ana.cloud_idp, ana))
    if change is None:
        ana.cloud_idp.delete()
    else:
        CloudIdentityProvider.objects.update(**change)

    page = text(console.get(f"{GROUPS}{group.pk}/"))

    assert words in page
    assert "0 people through directory groups" in page


def test_the_list_of_groups_is_searched(console: Client) -> None:
    factories.account_group("Helpdesk")
    factories.account_group("Auditors")

    page = text(console.get(f"{GROUPS}?q=desk"))
    assert "Helpdesk" in page
    assert "Auditors" not in page
    assert "No account group matches" in text(console.get(f"{GROUPS}?q=nothing"))
    AccountGroup.objects.all().delete()
    assert "No account group yet" in text(console.get(GROUPS))


def test_the_choice_of_a_directory_group_is_searched(console: Client) -> None:
    cloud_idp = factories.cloud_idp()
    for number in range(30):
        factories.directory_group(f"Team {number:02}", cloud_idp)
    address = f"{GROUPS}from-directory/"

    assert "There are more" in text(console.get(address))
    found = text(console.get(f"{address}?q=team+29"))
    assert "Team 29" in found
    assert "Team 01" not in found
    assert "No directory group matches" in text(console.get(f"{address}?q=nobody"))


def test_a_group_that_is_not_there_cannot_be_proposed_or_bound(
    console: Client,
) -> None:
    group = factories.account_group()

    for address in (
        f"{GROUPS}new/?directory_group=999",
        f"{GROUPS}{group.pk}/directory-groups/new/?directory_group=999",
        f"{GROUPS}{group.pk}/directory-groups/999/delete/",
    ):
        assert console.get(address).status_code == 404


def test_a_directory_group_is_proposed_to_those_alone_who_may_read_them() -> None:
    source = factories.directory_group("IT", factories.cloud_idp())
    manager = factories.custom_account(
        "manager", "Read Account Groups", "Create Account Groups"
    )

    response = client_of(manager).get(f"{GROUPS}new/?directory_group={source.pk}")

    assert response.status_code == 404


def test_hidden_members_are_a_warning_and_are_told(console: Client) -> None:
    cloud_idp = factories.cloud_idp()
    source = factories.directory_group("Secret", cloud_idp, hidden_membership=True)
    group = factories.account_group()

    page = text(
        console.get(
            f"{GROUPS}{group.pk}/directory-groups/new/?directory_group={source.pk}"
        )
    )

    assert "Its members are hidden" in page


def test_a35_a_group_that_gives_more_is_neither_deleted_nor_unbound(
    administrator: User, manager: User
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.account_group("Administrators")
    binding = factories.bind(group, factories.directory_group("IT", ana.cloud_idp, ana))
    client = client_of(manager)

    deleted = client.post(f"{GROUPS}{group.pk}/delete/", {"confirm": "Administrators"})
    unbound = client.post(
        f"{GROUPS}{group.pk}/directory-groups/{binding.pk}/delete/", {"confirm": "IT"}
    )

    assert (deleted.status_code, unbound.status_code) == (422, 422)
    assert "do not hold" in text(deleted)
    assert DirectoryBinding.objects.get().account_group == group


def test_a_group_without_a_change_writes_no_history(console: Client) -> None:
    group = factories.account_group("Helpdesk", privilege_set="AUDITOR")

    console.post(
        f"{GROUPS}{group.pk}/edit/",
        {
            "display_name": "Helpdesk",
            "access_level": "FULL",
            "privilege_set": "AUDITOR",
        },
    )

    assert not ObjectHistory.objects.exists()


def test_an_account_without_a_privilege_set_is_refused(console: Client) -> None:
    response = console.post(f"{ACCOUNTS}new/", account_form(privilege_set=""))

    assert "Choose a privilege set" in text(response)


def test_a_binding_is_removed_by_typing_the_name(console: Client) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.account_group()
    binding = factories.bind(group, factories.directory_group("IT", ana.cloud_idp, ana))
    address = f"{GROUPS}{group.pk}/directory-groups/{binding.pk}/delete/"

    assert "1 person loses" in text(console.get(address))
    assert console.post(address, {"confirm": "it"}).status_code == 422
    console.post(address, {"confirm": "IT"})

    assert not DirectoryBinding.objects.exists()
    assert ObjectHistory.objects.filter(action="unbound").exists()


def test_a_binding_of_another_account_group_is_not_removed_through_this_one(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT", ana.cloud_idp, ana)
    binding = factories.bind(factories.account_group("One"), source)
    other = factories.account_group("Other")

    response = console.post(
        f"{GROUPS}{other.pk}/directory-groups/{binding.pk}/delete/", {"confirm": "IT"}
    )

    assert response.status_code == 404
    assert DirectoryBinding.objects.exists()


def test_deleting_a_group_says_who_loses_and_asks_for_the_name(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    group = factories.account_group("Helpdesk", factories.local_account("lena"))
    factories.bind(group, factories.directory_group("IT", ana.cloud_idp, ana))
    address = f"{GROUPS}{group.pk}/delete/"

    assert "1 person of Entra and 1 account lose" in text(console.get(address))
    assert console.post(address, {"confirm": "x"}).status_code == 422
    console.post(address, {"confirm": "Helpdesk"})

    assert not AccountGroup.objects.exists()
    assert not DirectoryBinding.objects.exists()


def test_a_deleted_directory_group_cannot_be_bound() -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    gone = factories.directory_group("IT", ana.cloud_idp, state="DELETED")

    with pytest.raises(ValidationError, match="no longer in the directory"):
        account_groups.bind(
            factories.account_group(),
            gone,
            nested=False,
            confirmed=True,
            actor=factories.administrator(),
            now=timezone.now(),
        )


def test_without_a_connection_the_page_says_what_to_do(console: Client) -> None:
    group = factories.account_group()

    page = text(console.get(f"{GROUPS}{group.pk}/directory-groups/new/"))

    assert "No directory to choose from" in page


# --- What may I do here; parts of directory pages --------------------------------


def test_my_privileges_tell_site_path_and_sentence() -> None:
    cloud_idp = factories.cloud_idp()
    ana = factories.directory_user("Ana Ruiz", cloud_idp)
    inner = factories.directory_group("Frontend", cloud_idp, ana)
    outer = factories.directory_group("Engineering", cloud_idp, inner)
    group = factories.account_group(
        "Berlin engineers", site=factories.site("Berlin"), privilege_set="AUDITOR"
    )
    factories.bind(group, outer, nested=True)
    factories.bind(
        factories.account_group("Administrators"),
        factories.directory_group("Console admins", cloud_idp),
    )

    page = text(client_of(factories.entra_account(ana)).get("/account/privileges/"))

    assert "Berlin" in page
    assert "Engineering belongs to it and contains Frontend" in page
    assert "Console admins" in page
    assert "Read Computers" not in page
    assert "Computers" in page


def test_two_tenants_with_the_same_object_id_do_not_mix_their_links() -> None:
    """Each of the two groups stands behind its own name, whichever is found first."""
    object_id = factories.guid("the same")
    groups = [
        factories.directory_group(name, cloud_idp, object_id=object_id)
        for name, cloud_idp in (
            ("Ours", factories.cloud_idp()),
            ("Theirs", factories.cloud_idp("Quarrel", tenant_id=factories.guid("q"))),
        )
    ]
    account_group = standing.group_facts(factories.account_group("Administrators"))
    held = presentation.held(
        grants.Standing(
            grants=[
                grants.Grant(
                    names=frozenset({"Read Computers"}),
                    site_id=None,
                    path=grants.Path(
                        account_group=account_group,
                        directory_group=group.display_name,
                        directory_ref=ObjectRef(group.cloud_idp.tenant_id, object_id),
                    ),
                    privilege_set="AUDITOR",
                )
                for group in groups
            ]
        ),
        factories.administrator(),
    )

    (everywhere,) = held.places
    links = {
        crumb.label: crumb.url
        for line in everywhere.grants
        for crumb in line.path
        if crumb.label in ("Ours", "Theirs")
    }
    assert links == {group.display_name: group.get_absolute_url() for group in groups}


def test_the_page_of_an_account_says_what_it_holds_and_by_which_path(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    factories.bind(
        factories.account_group("Administrators"),
        factories.directory_group("IT", ana.cloud_idp, ana),
    )
    account = factories.entra_account(ana)

    page = text(console.get(f"{ACCOUNTS}{account.pk}/"))

    assert "as a member of the directory group IT" in page


def test_the_part_of_a_person_tells_what_a_first_sign_in_would_give(
    console: Client,
) -> None:
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    factories.bind(
        factories.account_group("Administrators"),
        factories.directory_group("IT", ana.cloud_idp, ana),
    )
    address = f"{ACCOUNTS}of-person/{ana.cloud_idp.tenant_id}/{ana.object_id}/"

    assert "would hold at the first sign-in" in text(console.get(address))
    factories.entra_account(ana)
    assert "Signs in to this console with the account" in text(console.get(address))
    reader = client_of(factories.custom_account("reader", "Read Policies"))
    assert "Needs the privilege Read Accounts" in text(reader.get(address))


def test_the_part_of_a_directory_group_lists_account_groups_of_visible_sites(
    console: Client,
) -> None:
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    cloud_idp = factories.cloud_idp()
    source = factories.directory_group("IT", cloud_idp)
    factories.bind(factories.account_group("In Berlin", site=berlin), source)
    factories.bind(factories.account_group("In Paris", site=paris), source)
    address = f"{GROUPS}of-group/{cloud_idp.tenant_id}/{source.object_id}/"
    manager = factories.administrator("berlin", access_level="SITE", site=berlin)

    assert "In Paris" in text(console.get(address))
    page = text(client_of(manager).get(address))
    assert "In Berlin" in page
    assert "In Paris" not in page


def test_what_depends_on_a_group_a_person_and_a_connection_is_told_by_site() -> None:
    from directory.dependents import ObjectRef, registered

    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    ana = factories.directory_user("Ana Ruiz", factories.cloud_idp())
    source = factories.directory_group("IT", ana.cloud_idp, ana)
    factories.bind(factories.account_group("In Berlin", site=berlin), source)
    factories.bind(factories.account_group("In Paris", site=paris), source)
    factories.entra_account(ana)
    admin = factories.administrator()
    manager = factories.administrator("berlin", access_level="SITE", site=berlin)
    seam = next(one for one in registered() if getattr(one, "label", "") == "Accounts")
    tenant = ana.cloud_idp.tenant_id
    group_ref = ObjectRef(tenant, source.object_id)

    assert {one.name for one in seam.uses_of_group(group_ref, viewer=admin)} == {
        "In Berlin",
        "In Paris",
    }
    assert [one.name for one in seam.uses_of_group(group_ref, viewer=manager)] == [
        "In Berlin"
    ]
    assert [
        one.name
        for one in seam.uses_of_user(ObjectRef(tenant, ana.object_id), viewer=admin)
    ] == ["Ana Ruiz"]
    of_all = [one.name for one in seam.uses_of_connection(tenant, viewer=admin)]
    assert len(of_all) == 3
    assert of_all[-1] == "1 account of people who sign in with Entra"
    assert len(seam.uses_of_connection(tenant, viewer=manager)) == 1
