"""Privileges gained and lost as the directory's rows change."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from directory.models import DirectoryGroup, DirectoryUser
from jamfidp.access import SiteAccess
from jamfidp.accounts import standing
from jamfidp.accounts.backends import ConsoleBackend
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.models import User
from scoping.models import Device, DeviceKind
from tests import factories

pytestmark = pytest.mark.django_db


def fresh(user: User) -> User:
    """The account as the next request reads it."""
    return User.objects.get(pk=user.pk)


def of_a_session(account: User) -> User:
    """The account as each request of a session has it."""
    found = ConsoleBackend().get_user(account.pk)
    assert found
    return found


def reasons(user: User) -> list[Reason]:
    return [one.reason for one in standing.of(fresh(user)).withheld]


@pytest.fixture
def ana() -> DirectoryUser:
    return factories.directory_user("Ana Ruiz", factories.cloud_idp())


@pytest.fixture
def it(ana: DirectoryUser) -> DirectoryGroup:
    return factories.directory_group("IT", ana.cloud_idp, ana)


def test_who_enters_a_bound_group_gains_and_who_leaves_it_loses(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)
    assert fresh(account).has_perm("scoping.change_policy")

    factories.leave(ana, it)
    assert not fresh(account).has_perm("scoping.change_policy")
    assert reasons(account) == [Reason.NOT_MEMBER]

    factories.join(ana, it)
    assert fresh(account).has_perm("scoping.change_policy")


def test_a26_a_disabled_person_loses_everything(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)

    DirectoryUser.objects.update(account_enabled=False)

    assert not fresh(account).has_perm("scoping.view_computer")
    assert reasons(account) == [Reason.PERSON_DISABLED]


def test_a25_a_guest_in_a_bound_group_holds_nothing(it: DirectoryGroup) -> None:
    guest = factories.directory_user("Guest", it.cloud_idp, user_type="Guest")
    factories.join(guest, it)
    factories.bind(factories.account_group(), it)

    account = factories.entra_account(guest)

    assert not fresh(account).has_perm("scoping.view_computer")
    assert reasons(account) == [Reason.GUEST]


def test_a29_a_group_that_is_merely_named_like_the_bound_one_gives_nothing(
    ana: DirectoryUser,
) -> None:
    bound = factories.directory_group("IT", ana.cloud_idp)
    factories.bind(factories.account_group("IT"), bound)
    factories.directory_group("IT", ana.cloud_idp, ana)

    assert not factories.entra_account(ana).has_perm("scoping.view_computer")


def test_a30_a_group_renamed_to_the_bound_name_gives_nothing(
    ana: DirectoryUser,
) -> None:
    bound = factories.directory_group("IT", ana.cloud_idp)
    factories.bind(factories.account_group("IT"), bound)
    other = factories.directory_group("Yoga", ana.cloud_idp, ana)

    DirectoryGroup.objects.filter(pk=other.pk).update(display_name="IT")

    assert not factories.entra_account(ana).has_perm("scoping.view_computer")


@pytest.mark.parametrize(
    "vanish",
    [
        pytest.param(lambda group: group.delete(), id="gone"),
        pytest.param(
            lambda group: DirectoryGroup.objects.filter(pk=group.pk).update(
                state="DELETED"
            ),
            id="in the recycle bin",
        ),
    ],
)
def test_a31_a_group_made_again_under_the_old_name_gives_nothing(
    ana: DirectoryUser, it: DirectoryGroup, vanish: Callable[[Any], Any]
) -> None:
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)

    vanish(it)
    factories.directory_group("IT", ana.cloud_idp, ana)

    assert not fresh(account).has_perm("scoping.view_computer")
    assert reasons(account) == [Reason.GROUP_GONE]


def test_a32_a_group_nested_into_the_bound_one_counts_only_where_that_was_chosen(
    ana: DirectoryUser,
) -> None:
    inner = factories.directory_group("Frontend", ana.cloud_idp, ana)
    middle = factories.directory_group("Engineering", ana.cloud_idp, inner)
    outer = factories.directory_group("Everybody", ana.cloud_idp, middle)
    account = factories.entra_account(ana)
    group = factories.account_group()

    factories.bind(group, outer, nested=False)
    assert not fresh(account).has_perm("scoping.view_computer")

    group.bindings.update(nested=True)
    assert fresh(account).has_perm("scoping.view_computer")
    assert standing.of(fresh(account)).grants[0].path.through == "Frontend"


def test_a_deleted_group_between_does_not_carry_privileges(ana: DirectoryUser) -> None:
    inner = factories.directory_group("Frontend", ana.cloud_idp, ana)
    outer = factories.directory_group("Engineering", ana.cloud_idp, inner)
    factories.bind(factories.account_group(), outer, nested=True)

    DirectoryGroup.objects.filter(pk=inner.pk).update(state="DELETED")

    assert not factories.entra_account(ana).has_perm("scoping.view_computer")


def test_a_stale_directory_suspends_and_a_good_read_restores(
    ana: DirectoryUser, it: DirectoryGroup, settings: Any
) -> None:
    settings.DIRECTORY_FRESHNESS_HOURS = 3
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)
    now = timezone.now()
    ana.cloud_idp.last_good_read_at = now - timedelta(hours=3, minutes=1)
    ana.cloud_idp.save()
    assert not fresh(account).has_perm("scoping.view_computer")
    assert reasons(account) == [Reason.STALE]

    ana.cloud_idp.last_good_read_at = now - timedelta(hours=2)
    ana.cloud_idp.save()

    assert fresh(account).has_perm("scoping.view_computer")


def test_a_disabled_connection_grants_nothing(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)

    ana.cloud_idp.enabled = False
    ana.cloud_idp.save()

    assert not fresh(account).has_perm("scoping.view_computer")


def test_a_deleted_connection_grants_nothing(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)

    ana.cloud_idp.delete()

    assert not fresh(account).has_perm("scoping.view_computer")
    assert reasons(account) == [Reason.NO_CONNECTION]


def test_a23_the_same_object_id_in_another_tenant_is_another_person(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    factories.bind(factories.account_group(), it)
    other = factories.cloud_idp("Quarrel & Sons", tenant_id=factories.OTHER_TENANT)
    impostor = factories.directory_user(
        "Ana Ruiz",
        other,
        object_id=ana.object_id,
        user_principal_name=ana.user_principal_name,
        email=ana.email,
    )

    account = factories.entra_account(impostor, username="impostor")

    assert not account.has_perm("scoping.view_computer")


def test_a_person_of_another_tenant_does_not_speak_for_this_one(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    other = factories.cloud_idp("Quarrel & Sons", tenant_id=factories.OTHER_TENANT)
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)
    DirectoryUser.objects.update(account_enabled=False)
    ana.delete()
    factories.directory_user("Ana Ruiz", other, object_id=ana.object_id)

    assert reasons(account) == [Reason.NOT_SEEN]


def test_a_group_of_another_tenant_with_the_id_of_the_bound_one_is_not_it(
    ana: DirectoryUser, it: DirectoryGroup
) -> None:
    other = factories.cloud_idp("Quarrel & Sons", tenant_id=factories.OTHER_TENANT)
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)
    object_id = it.object_id
    it.delete()
    factories.directory_group("IT", other, object_id=object_id)

    assert reasons(account) == [Reason.GROUP_GONE]


def test_privileges_at_a_site_hold_for_its_objects_alone() -> None:
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    account = factories.local_account("lena")
    factories.account_group("Berlin", account, site=berlin)
    in_berlin = Device(kind=DeviceKind.COMPUTER, site=berlin)
    in_paris = Device(kind=DeviceKind.COMPUTER, site=paris)
    nowhere = Device(kind=DeviceKind.COMPUTER)

    assert account.has_perm("scoping.view_computer")
    assert account.has_perm("scoping.view_computer", in_berlin)
    assert not account.has_perm("scoping.view_computer", in_paris)
    assert not account.has_perm("scoping.view_computer", nowhere)
    assert account.sites_with("scoping.view_computer") == SiteAccess(
        everywhere=False, site_ids=frozenset({berlin.pk})
    )


def test_a_shared_object_needs_no_site() -> None:
    account = factories.local_account("lena")
    factories.account_group("Berlin", account, site=factories.site())

    assert account.has_perm(
        "directory.view_directorygroup", DirectoryGroup(display_name="IT")
    )
    assert account.sites_with("directory.view_directorygroup").everywhere


def test_the_cost_does_not_grow_with_groups_and_bindings(
    ana: DirectoryUser, it: DirectoryGroup, django_assert_num_queries: Any
) -> None:
    factories.bind(factories.account_group(), it)
    account = factories.entra_account(ana)
    for number in range(12):
        group = factories.directory_group(f"Team {number}", ana.cloud_idp, ana, it)
        factories.bind(
            factories.account_group(f"Team {number}"), group, nested=bool(number % 2)
        )
    account = of_a_session(account)

    with django_assert_num_queries(9):
        account.has_perm("scoping.view_computer")
        account.has_perm("scoping.change_policy")
        account.sites_with("scoping.view_policy")

    assert len(standing.of(account).grants) == 13


def test_a_local_account_with_privileges_of_its_own_costs_no_query(
    administrator: User, django_assert_num_queries: Any
) -> None:
    account = of_a_session(administrator)

    with django_assert_num_queries(0):
        assert account.has_perm("scoping.change_policy")
        assert account.has_module_perms("scoping")
        assert not account.has_module_perms("payroll")
