"""Who held which privilege on a day, and by which way."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime, time, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.utils import timezone

from directory import connections, past
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    SyncRun,
)
from jamfidp.accounts import account_groups, tasks, user_accounts, validity
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    BindingInterval,
    Block,
    PrivilegeSet,
    PrivilegesInterval,
    User,
)
from jamfidp.accounts.privileges_on import Held, held_on
from jamfidp.accounts.user_accounts import Privileges
from tests import factories
from tests.directory.rounds import group, guid, left, member, take, user

ANA, MILO = guid("ana"), guid("milo")
LEADS, ADMINS = guid("leads"), guid("admins")
FULL = Privileges(
    access_level=AccessLevel.FULL, privilege_set=PrivilegeSet.ADMINISTRATOR
)
AUDIT = Privileges(access_level=AccessLevel.FULL, privilege_set=PrivilegeSet.AUDITOR)


def at(days: int, hour: int = 12) -> datetime:
    day = timezone.localdate() - timedelta(days=days)
    return datetime.combine(day, time(hour), tzinfo=timezone.get_default_timezone())


def the_day(days: int) -> date:
    return at(days).date()


@pytest.fixture
def root(db: None) -> User:
    account = factories.administrator("root", full_name="Root")
    validity.follow(accounts=[account.pk], by="setup", now=at(50))
    return account


@pytest.fixture
def fernhill(root: User) -> CloudIdentityProvider:
    """Ana in Leads, Leads in Admins, since the first read 40 days ago."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[user(ANA, displayName="Ana"), user(MILO, displayName="Milo")],
        groups=[
            group(LEADS, member(ANA), displayName="Leads"),
            group(ADMINS, member(LEADS, "group"), displayName="Admins"),
        ],
        now=at(40),
    )
    read_daily(idp)
    return idp


def read_daily(idp: CloudIdentityProvider) -> None:
    """Reads without a change at midnight and at noon, for 40 days up to now."""
    moments = [at(days, hour) for days in range(40) for hour in (0, 12)]
    SyncRun.objects.bulk_create(
        SyncRun(
            cloud_idp=idp,
            kind=SyncRun.Kind.DELTA,
            trigger=SyncRun.Trigger.SCHEDULE,
            state=SyncRun.State.SUCCEEDED,
            created_at=moment,
            started_at=moment,
            finished_at=moment,
        )
        for moment in sorted(moments)
        if moment <= timezone.now()
    )


@pytest.fixture
def bound(fernhill: CloudIdentityProvider, root: User) -> AccountGroup:
    """Mac Admins, bound to Admins with nested groups, 30 days ago."""
    made = account_groups.create_group(
        display_name="Mac Admins", privileges=AUDIT, accounts=[], actor=root, now=at(30)
    )
    account_groups.bind(
        made,
        DirectoryGroup.objects.get(object_id=ADMINS),
        nested=True,
        confirmed=True,
        actor=root,
        now=at(30),
    )
    return made


def on(days: int, viewer: User, privilege: str = "") -> dict[str, Held]:
    day = past.day_of(the_day(days), now=timezone.now())
    found = held_on(day, viewer=viewer, now=timezone.now(), privilege=privilege)
    return {one.name: one for one in found.held if one.account_id != viewer.pk}


def test_a_binding_gives_from_the_person_who_made_it_to_the_one_who_removed_it(
    bound: AccountGroup, root: User
) -> None:
    account_groups.unbind(bound.bindings.get(), actor=root, now=at(10))

    assert "Ana" not in on(31, root)
    ana = on(20, root)["Ana"]
    assert (ana.period.since, ana.period.since_by) == (at(30), "Root")
    assert (ana.period.until, ana.period.until_by) == (at(10), "Root")
    names = {g.pk: g.display_name for g in DirectoryGroup.objects.all()}
    assert [names[step] for step in ana.path] == ["Leads", "Admins"]
    assert "Ana" in on(10, root), "unbound at noon of that day"
    assert "Ana" not in on(9, root)


def test_what_the_group_gave_on_that_day_counts_and_not_what_it_gives_now(
    bound: AccountGroup, root: User
) -> None:
    account_groups.change_group(
        bound,
        display_name="Mac Admins",
        privileges=FULL,
        accounts=[],
        actor=root,
        now=at(10),
        confirmed=True,
    )

    assert "Delete Policies" not in on(15, root)["Ana"].names
    assert "Delete Policies" in on(5, root)["Ana"].names
    assert "Ana" not in on(15, root, privilege="Delete Policies")
    assert "Ana" in on(5, root, privilege="Delete Policies")


def test_a_membership_gives_from_run_to_run(
    bound: AccountGroup, fernhill: CloudIdentityProvider, root: User
) -> None:
    take(fernhill, groups=[group(LEADS, member(MILO))], now=at(20))
    joined = fernhill.sync_runs.latest("pk").pk
    take(fernhill, groups=[group(LEADS, left(MILO))], now=at(15))

    milo = on(18, root)["Milo"]
    assert (milo.period.since, milo.period.since_by) == (at(20), joined)
    assert "Milo" not in on(21, root)
    assert "Milo" not in on(14, root)


@pytest.mark.parametrize(
    "change",
    [{"accountEnabled": False}, {"userType": "Guest"}, {"accountEnabled": None}],
    ids=["disabled", "guest", "not known whether enabled"],
)
def test_whoever_was_not_active_in_entra_held_nothing(
    bound: AccountGroup,
    fernhill: CloudIdentityProvider,
    root: User,
    change: dict[str, Any],
) -> None:
    take(fernhill, users=[user(ANA, displayName="Ana", **change)], now=at(20))
    take(fernhill, users=[user(ANA, displayName="Ana")], now=at(10))

    assert ["Ana" in on(days, root) for days in (25, 15, 5)] == [True, False, True]


def test_while_a_connection_was_disabled_nothing_was_held_through_it(
    bound: AccountGroup, fernhill: CloudIdentityProvider, root: User
) -> None:
    milo = factories.entra_account(
        DirectoryUser.objects.get(object_id=MILO),
        full_name="Milo",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.AUDITOR,
    )
    validity.follow(accounts=[milo.pk], by="Root", now=at(30))
    connections.set_enabled(fernhill, enabled=False, actor=root, now=at(20))
    connections.set_enabled(fernhill, enabled=True, actor=root, now=at(10))

    assert [set(on(days, root)) for days in (25, 15, 5)] == [
        {"Ana", "Milo"},
        set(),
        {"Ana", "Milo"},
    ]
    ana = on(10, root)["Ana"]
    assert (ana.period.since, ana.period.since_by) == (at(10), str(root))
    assert on(20, root)["Ana"].period.until == at(20)


def test_nested_groups_gave_as_long_as_they_counted_for_the_connection(
    bound: AccountGroup, fernhill: CloudIdentityProvider, root: User
) -> None:
    """Ana is in Admins through Leads, Milo directly."""
    take(fernhill, groups=[group(ADMINS, member(MILO))], now=at(39))

    def count_nested(counted: bool, days: int) -> None:
        fernhill.refresh_from_db()
        fernhill.transitive_membership_enabled = counted
        connections.save_options(fernhill, actor=root, now=at(days))

    count_nested(False, 20)
    count_nested(True, 10)
    assert [set(on(days, root)) for days in (25, 15, 5)] == [
        {"Ana", "Milo"},
        {"Milo"},
        {"Ana", "Milo"},
    ]
    assert on(20, root)["Ana"].period.until == at(20)

    count_nested(False, 3)
    assert set(on(25, root)) == {"Ana", "Milo"}, "it is not what the switch says today"
    assert set(on(2, root)) == {"Milo"}


def test_the_page_says_what_it_leaves_out(bound: AccountGroup, console: Client) -> None:
    page = console.get(
        "/settings/accounts/privileges-on/", {"day": the_day(15).isoformat()}
    )
    said = " ".join(page.content.decode().split())
    assert "Left out are times in which a connection was disabled" in said
    assert "There may have been less" not in said


def test_while_a_directory_was_not_read_for_too_long_nothing_was_held(
    bound: AccountGroup, fernhill: CloudIdentityProvider, root: User
) -> None:
    SyncRun.objects.filter(finished_at__gt=at(20), finished_at__lt=at(10)).delete()
    for kind, days in ((SyncRun.Kind.OBJECT, 15), (SyncRun.Kind.FULL, 13)):
        SyncRun.objects.create(
            cloud_idp=fernhill,
            kind=kind,
            dry_run=kind == SyncRun.Kind.FULL,
            trigger=SyncRun.Trigger.PERSON,
            state=SyncRun.State.SUCCEEDED,
            created_at=at(days),
            finished_at=at(days),
        )

    found = {days: on(days, root).get("Ana") for days in (25, 19, 15, 12, 10, 5)}
    assert [days for days, ana in found.items() if ana] == [25, 19, 10, 5]
    until, since = found[19], found[10]
    assert until is not None
    assert (until.period.until, until.period.until_by) == (at(19), past.NOT_READ)
    read = SyncRun.objects.get(finished_at=at(10))
    assert since is not None
    assert (since.period.since, since.period.since_by) == (at(10), read.pk)


def test_after_a_restore_nothing_was_held_until_the_next_read(
    bound: AccountGroup, fernhill: CloudIdentityProvider, root: User
) -> None:
    CloudIdentityProvider.objects.filter(pk=fernhill.pk).update(restored_at=at(15, 13))

    assert on(15, root)["Ana"].period.until == at(15, 13)
    assert on(14, root)["Ana"].period.since == at(14, 0)


def test_beyond_the_runs_that_are_kept_there_may_have_been_less(
    bound: AccountGroup, console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "RUNS_KEPT", timedelta(days=10))
    page = console.get(
        "/settings/accounts/privileges-on/", {"day": the_day(15).isoformat()}
    ).content.decode()

    assert "There may have been less" in page
    assert "Ana" in page


def test_whoever_was_blocked_held_nothing_meanwhile(
    bound: AccountGroup, root: User
) -> None:
    Block.objects.create(
        tenant_id=factories.TENANT,
        object_id=ANA,
        name="Ana",
        reason="left",
        blocked_at=at(20),
        blocked_by_name="Root",
        lifted_at=at(10),
    )

    assert ["Ana" in on(days, root) for days in (25, 15, 5)] == [True, False, True]
    assert on(25, root)["Ana"].period.until_by == "Root"


def test_accounts_hold_what_they_were_given_and_assigned(
    bound: AccountGroup, root: User
) -> None:
    lena = user_accounts.create_account(
        username="lena",
        full_name="Lena",
        email="",
        password=factories.PASSWORD,
        privileges=Privileges(access_level=AccessLevel.GROUP),
        groups=[bound],
        actor=root,
        now=at(25),
    )
    given: Any = {"username": "lena", "full_name": "Lena", "email": "", "actor": root}
    user_accounts.change_account(
        lena, **given, enabled=True, privileges=FULL, groups=[bound], now=at(15)
    )
    user_accounts.change_account(
        lena, **given, enabled=False, privileges=FULL, groups=[], now=at(10)
    )
    user_accounts.delete_account(lena, actor=root, now=at(5))

    assert "Lena" not in on(26, root)
    first = on(20, root)["Lena"]
    assert (first.assigned, first.account_group) == (True, "Mac Admins")
    own = on(12, root)["Lena"]
    assert (own.assigned, own.words) == (False, "Full Access, Administrator")
    assert "Lena" not in on(8, root), "disabled"
    assert "Lena" not in on(3, root), "deleted"
    assert on(20, root)["Lena"].name == "Lena", "remembered though deleted"


def test_an_account_with_own_privileges_inherits_nothing_from_directory_groups(
    bound: AccountGroup, fernhill: CloudIdentityProvider, root: User
) -> None:
    person = fernhill.users.get(object_id=ANA)
    account = factories.entra_account(person)
    validity.follow(accounts=[account.pk], by="sign-in", now=at(20))
    User.objects.filter(pk=account.pk).update(
        access_level=AccessLevel.FULL, privilege_set=PrivilegeSet.ENROLLMENT
    )
    validity.follow(accounts=[account.pk], by="Root", now=at(10))

    before, after = on(15, root)["Ana"], on(5, root)["Ana"]
    assert (before.account_group, before.account_id) == ("Mac Admins", account.pk)
    assert (after.account_group, after.words) == ("", "Full Access, Enrollment Only")


def test_what_is_changed_past_the_functions_is_found_and_says_so(
    bound: AccountGroup,
) -> None:
    AccountGroup.objects.filter(pk=bound.pk).update(privilege_set="ADMINISTRATOR")
    bound.bindings.all().delete()

    tasks.tick()

    given = PrivilegesInterval.objects.filter(account_group_id=bound.pk)
    assert list(given.order_by("pk").values_list("privilege_set", "from_by_name")) == [
        ("AUDITOR", "Root"),
        ("ADMINISTRATOR", "not recorded"),
    ]
    assert BindingInterval.objects.get().to_by_name == "not recorded"
    tasks.tick()
    assert given.count() == 2, "nothing changed, nothing is written"


def test_intervals_are_forgotten_after_the_retention(
    bound: AccountGroup, root: User, settings: Any
) -> None:
    account_groups.unbind(bound.bindings.get(), actor=root, now=at(10))
    settings.DIRECTORY_INTERVAL_DAYS = 11
    tasks.tick()
    assert BindingInterval.objects.exists()
    settings.DIRECTORY_INTERVAL_DAYS = 9
    tasks.tick()
    assert not BindingInterval.objects.exists()
    assert PrivilegesInterval.objects.filter(account_group_id=bound.pk).exists()


def test_what_was_given_before_it_was_remembered_is_not_known(
    console: Client, bound: AccountGroup
) -> None:
    for model in (PrivilegesInterval, BindingInterval):
        model._default_manager.all().delete()
    migration = import_module("jamfidp.accounts.migrations.0009_begin_to_remember")
    migration.open_intervals(apps, None)

    today = console.get("/settings/accounts/privileges-on/").content.decode()
    earlier = console.get(
        "/settings/accounts/privileges-on/", {"day": the_day(1).isoformat()}
    ).content.decode()

    assert "A part of this day is not known" in today
    assert "Ana" in today
    assert "before it was remembered" in today
    assert "Who held what on that day is not known." in earlier
    assert "Nobody held" not in earlier


def test_hidden_members_are_a_reason_why_there_may_have_been_more(
    console: Client, bound: AccountGroup, fernhill: CloudIdentityProvider
) -> None:
    take(
        fernhill,
        groups=[group(ADMINS, displayName="Admins", visibility="HiddenMembership")],
        now=at(10),
    )

    page = console.get(
        "/settings/accounts/privileges-on/", {"day": the_day(5).isoformat()}
    ).content.decode()

    assert "There may have been more." in page
    assert "Who was in the directory group Admins is not known" in page


def test_site_access_sees_what_its_site_was_given_alone(
    bound: AccountGroup, root: User
) -> None:
    berlin = factories.site("Berlin")
    account_groups.create_group(
        display_name="Berlin helpdesk",
        privileges=Privileges(
            access_level=AccessLevel.SITE,
            privilege_set=PrivilegeSet.AUDITOR,
            site=berlin,
        ),
        accounts=[factories.local_account("bea", full_name="Bea")],
        actor=root,
        now=at(20),
    )
    validity.follow_all(now=at(20))
    viewer = factories.local_account(
        "viewer",
        access_level=AccessLevel.SITE,
        privilege_set=PrivilegeSet.AUDITOR,
        site=berlin,
    )

    assert {"Ana", "Bea"} <= set(on(10, root))
    assert set(on(10, viewer)) == {"Bea"}


def test_the_page_is_paged_filtered_and_exported_whole(
    console: Client, bound: AccountGroup, fernhill: CloudIdentityProvider
) -> None:
    many = [guid(f"person {n}") for n in range(60)]
    take(
        fernhill,
        users=[user(each, displayName=f"Quill {n:02}") for n, each in enumerate(many)],
        groups=[group(LEADS, *map(member, many))],
        now=at(20),
    )
    address, day = "/settings/accounts/privileges-on/", the_day(5).isoformat()

    first = console.get(address, {"day": day})
    second = console.get(address + first.context["older_url"])
    back = console.get(address + second.context["newer_url"])

    def names(answer: Any) -> list[str]:
        return [line["held"].name for line in answer.context["lines"]]

    assert len(names(first)) == 50
    assert not set(names(first)) & set(names(second))
    assert names(back) == names(first)
    assert names(console.get(address, {"day": day, "q": "quill 07"})) == ["Quill 07"]
    everything = console.post(f"{address}export/?day={day}")
    text = everything.getvalue().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == first.context["total"] == len({r["Name"] for r in rows})
    only = console.post(f"{address}export/?day={day}&privilege=Delete%20Policies")
    assert "Quill" not in only.getvalue().decode()
