"""Who hears of privileges that change, and of groups that look like bound ones."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from directory.dependents import AppliedChange, registered
from directory.models import CloudIdentityProvider, DirectoryGroup
from jamfidp.accounts.models import AccountGroup
from jamfidp.notices import mail
from jamfidp.notices.models import Notice, NoticeMail
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def fernhill() -> CloudIdentityProvider:
    return factories.cloud_idp()


@pytest.fixture
def bound(fernhill: CloudIdentityProvider) -> DirectoryGroup:
    group = factories.directory_group("Mac Admins", fernhill)
    factories.bind(factories.account_group("Administrators"), group)
    return group


def applied(idp: CloudIdentityProvider, *changed: DirectoryGroup) -> None:
    """As after a sync that changed these groups, or read everything."""
    for one in registered():
        one.after_apply(
            AppliedChange(
                cloud_idp_id=idp.pk,
                full=not changed,
                group_ids=frozenset(group.pk for group in changed),
            ),
            now=timezone.now(),
        )


@pytest.mark.parametrize("name", ["Mac Admins", "MAC ADMINS"])
def test_a29_a_group_made_with_the_name_of_a_bound_one_is_announced_once(
    fernhill: CloudIdentityProvider, bound: DirectoryGroup, name: str
) -> None:
    factories.administrator("ada", email="ada@fernhill.example")
    made = factories.directory_group(name, fernhill)

    applied(fernhill, made)
    applied(fernhill, made)
    applied(fernhill)

    notice = Notice.objects.get()
    assert notice.title == f"Another directory group is called {name}"
    assert made.object_id in notice.body
    mail.plan(now=timezone.now())
    assert [one.address for one in NoticeMail.objects.all()] == ["ada@fernhill.example"]


def test_a30_a_group_renamed_to_the_bound_name_is_announced_and_the_alarm_ends(
    fernhill: CloudIdentityProvider, bound: DirectoryGroup
) -> None:
    other = factories.directory_group("Interns", fernhill)
    applied(fernhill, other)
    assert not Notice.objects.exists()

    DirectoryGroup.objects.filter(pk=other.pk).update(display_name="Mac Admins")
    applied(fernhill, other)
    assert Notice.objects.get().resolved_at is None

    DirectoryGroup.objects.filter(pk=other.pk).update(display_name="Interns")
    applied(fernhill, other)
    assert Notice.objects.get().resolved_at is not None


def test_a30_the_name_it_was_bound_by_is_watched_after_a_rename(
    fernhill: CloudIdentityProvider, bound: DirectoryGroup
) -> None:
    DirectoryGroup.objects.filter(pk=bound.pk).update(display_name="Apple Admins")
    heir = factories.directory_group("Mac Admins", fernhill)

    applied(fernhill, heir)

    assert Notice.objects.get().title.endswith("called Mac Admins")


def test_the_bound_group_itself_and_other_tenants_are_no_alarm(
    fernhill: CloudIdentityProvider, bound: DirectoryGroup
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    factories.directory_group("Mac Admins", quarrel)

    applied(fernhill)
    applied(quarrel)

    assert not Notice.objects.exists()


def test_full_access_given_by_a_binding_is_announced(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    group = factories.account_group("Administrators")
    found = factories.directory_group("Mac Admins", fernhill)

    console.post(
        f"/settings/account-groups/{group.pk}/directory-groups/new/"
        f"?directory_group={found.pk}",
        {"directory_group": str(found.pk), "confirmed": "on"},
    )

    assert Notice.objects.get().title == (
        "The directory group Mac Admins was bound to Administrators"
    )


def test_a_new_account_is_announced_when_it_has_full_access(console: Client) -> None:
    fields = {
        "username": "lena",
        "password": factories.PASSWORD,
        "privilege_set": "AUDITOR",
    }
    console.post("/settings/accounts/new/", fields | {"access_level": "FULL"})
    console.post(
        "/settings/accounts/new/",
        fields | {"username": "milo", "access_level": "GROUP"},
    )

    notice = Notice.objects.get(kind="privileges")
    assert notice.title == "The account lena was created"


def test_a_group_that_is_raised_to_more_is_announced(console: Client) -> None:
    group = factories.account_group("Readers", privilege_set="AUDITOR")

    console.post(
        f"/settings/account-groups/{group.pk}/edit/",
        {
            "display_name": "Readers",
            "access_level": "FULL",
            "privilege_set": "ADMINISTRATOR",
            "reviewed": "1",
            "confirmed": "1",
        },
    )

    assert AccountGroup.objects.get().privilege_set == "ADMINISTRATOR"
    notice = Notice.objects.get()
    assert notice.title == "What the account group Readers gives was changed"
