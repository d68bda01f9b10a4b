"""Who was in a group on a day, and what people and groups were before."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directory import past, tasks
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    DirectoryUser,
    SyncRun,
)
from jamfidp.history.models import ObjectHistory
from tests import factories
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

ANA, MILO, NOOR = map(guid, ("ana", "milo", "noor"))
ENGINEERING, FRONTEND, PLATFORM = map(guid, ("engineering", "frontend", "platform"))


def at(days: int, hour: int = 12) -> datetime:
    """An hour of the day so many days ago."""
    day = timezone.localdate() - timedelta(days=days)
    return datetime.combine(day, time(hour), tzinfo=timezone.get_default_timezone())


def the_day(days: int) -> date:
    return at(days).date()


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Ana in Frontend, and Frontend in Engineering, since the first read 30 days ago."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[user(ANA), user(MILO)],
        groups=[
            group(FRONTEND, member(ANA), displayName="Frontend"),
            group(ENGINEERING, member(FRONTEND, "group"), displayName="Engineering"),
        ],
        now=at(30),
    )
    return idp


def entry(idp: CloudIdentityProvider, object_id: str) -> DirectoryGroup:
    return DirectoryGroup.objects.get(cloud_idp=idp, object_id=object_id)


def on(
    idp: CloudIdentityProvider, object_id: str, days: int, *, nested: bool = True
) -> dict[str, tuple[list[str], past.Cause, past.Cause]]:
    """Who was in it so many days ago: the way, and by which runs from and until."""
    day = past.day_of(the_day(days), now=timezone.now())
    found = past.members_on(entry(idp, object_id), day, nested=nested)
    ids = dict(DirectoryObject.objects.values_list("pk", "object_id"))
    shown = {}
    for number in found.numbers:
        way = found.way(number)
        assert way is not None
        steps = [ids[step] for step in way.path]
        shown[ids[number]] = (steps, way.period.since_by, way.period.until_by)
    return shown


def last_run() -> int:
    return SyncRun.objects.latest("pk").pk


def test_a_member_is_found_on_every_day_of_the_membership_and_on_no_other(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, groups=[group(FRONTEND, member(MILO))], now=at(20))
    joined = last_run()
    take(fernhill, groups=[group(FRONTEND, left(MILO), left(ANA))], now=at(10))
    ended = last_run()

    assert on(fernhill, FRONTEND, 25) == {ANA: ([FRONTEND], None, ended)}
    both = {
        ANA: ([FRONTEND], None, ended),
        MILO: ([FRONTEND], joined, ended),
    }
    assert on(fernhill, FRONTEND, 20) == both, "joined at noon of that day"
    assert on(fernhill, FRONTEND, 15) == both
    assert on(fernhill, FRONTEND, 10) == both, "left at noon of that day"
    assert on(fernhill, FRONTEND, 9) == {}
    assert on(fernhill, FRONTEND, 0) == {}


def test_somebody_is_in_a_group_through_the_groups_that_were_in_it_then(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        users=[user(NOOR)],
        groups=[
            group(PLATFORM, member(NOOR), displayName="Platform"),
            group(FRONTEND, member(PLATFORM, "group")),
        ],
        now=at(20),
    )
    nested = last_run()
    take(fernhill, groups=[group(ENGINEERING, left(FRONTEND, "group"))], now=at(10))
    unnested = last_run()

    assert on(fernhill, ENGINEERING, 15) == {
        ANA: ([FRONTEND, ENGINEERING], None, unnested),
        NOOR: ([PLATFORM, FRONTEND, ENGINEERING], nested, unnested),
    }
    assert on(fernhill, ENGINEERING, 15, nested=False) == {}
    assert on(fernhill, ENGINEERING, 21) == {
        ANA: ([FRONTEND, ENGINEERING], None, unnested)
    }
    assert on(fernhill, ENGINEERING, 9) == {}


def test_steps_that_were_never_there_at_the_same_time_are_no_way(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        groups=[group(ENGINEERING, left(FRONTEND, "group"))],
        now=at(20, hour=10),
    )
    take(fernhill, groups=[group(FRONTEND, member(MILO))], now=at(20, hour=14))

    assert set(on(fernhill, ENGINEERING, 20)) == {ANA}
    assert set(on(fernhill, FRONTEND, 20)) == {ANA, MILO}


def test_a_cycle_of_groups_ends(fernhill: CloudIdentityProvider) -> None:
    take(fernhill, groups=[group(FRONTEND, member(ENGINEERING, "group"))], now=at(20))

    assert set(on(fernhill, ENGINEERING, 15)) == {ANA}
    assert set(on(fernhill, FRONTEND, 15)) == {ANA}


def test_deleted_people_and_groups_count_for_nothing_while_they_are_deleted(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, users=[removed(ANA, "changed")], now=at(20))
    take(fernhill, users=[user(ANA)], now=at(10))
    take(fernhill, groups=[removed(FRONTEND, "changed")], now=at(5))

    assert set(on(fernhill, FRONTEND, 25)) == {ANA}
    assert on(fernhill, FRONTEND, 15) == {}
    assert set(on(fernhill, FRONTEND, 9)) == {ANA}
    assert set(on(fernhill, ENGINEERING, 9)) == {ANA}
    assert on(fernhill, ENGINEERING, 2) == {}


def test_whoever_was_erased_is_still_counted_by_number_and_days_of_deletion_are_not(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, groups=[group(FRONTEND, member(MILO))], now=at(29))
    take(fernhill, users=[removed(ANA, "changed")], now=at(20))
    take(fernhill, users=[removed(ANA, "deleted")], now=at(10))
    SyncRun.objects.update(state=SyncRun.State.SUCCEEDED)
    number = number_of(fernhill, ANA)
    before = [on(fernhill, FRONTEND, days) for days in (25, 15, 5)]
    DirectoryUser.objects.filter(pk=number).update(state_since=at(10) - timedelta(30))

    tasks.clear_past()

    assert not DirectoryUser.objects.filter(pk=number).exists()
    assert [on(fernhill, FRONTEND, days) for days in (25, 15, 5)] == before
    assert [ANA in found for found in before] == [True, False, False]


@pytest.mark.parametrize("day", [31, 40, 100])
def test_before_the_first_complete_read_nothing_is_known(
    console: Client, fernhill: CloudIdentityProvider, day: int
) -> None:
    page = page_of(console, fernhill, FRONTEND, day)

    assert "Who was in it on that day is not known" in page
    assert "Nobody was in" not in page


def test_beyond_what_is_kept_nothing_is_known(
    console: Client, fernhill: CloudIdentityProvider, settings: Any
) -> None:
    settings.DIRECTORY_INTERVAL_DAYS = 20

    assert "on that day is not known" in page_of(console, fernhill, FRONTEND, 21)
    assert "A part of this day is not known" in page_of(console, fernhill, FRONTEND, 20)
    assert "on that day is not known" not in page_of(console, fernhill, FRONTEND, 19)


def test_a_group_that_was_not_seen_yet_was_not_empty(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    take(fernhill, groups=[group(PLATFORM, member(ANA))], now=at(10))

    before, after = (page_of(console, fernhill, PLATFORM, days) for days in (11, 10))

    assert "is not known" in before
    assert "The console first saw this group on" in before
    assert number_of(fernhill, ANA) in linked_people(after)


def test_f34_hidden_membership_is_hidden_on_its_days_and_never_empty(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    take(fernhill, groups=[group(FRONTEND, visibility="HiddenMembership")], now=at(20))
    take(fernhill, groups=[group(FRONTEND, visibility="Public")], now=at(10))

    hidden = page_of(console, fernhill, FRONTEND, 15)
    part = page_of(console, fernhill, FRONTEND, 10)
    above = page_of(console, fernhill, ENGINEERING, 15)

    assert "Hidden membership" in hidden
    assert "Nobody was in" not in hidden
    assert "Until 12:00:00 its members were hidden." in part
    assert "The members are at least these." in above
    assert "at least these" not in page_of(console, fernhill, ENGINEERING, 9)


def test_a_day_without_a_read_says_so(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    take(fernhill, groups=[group(FRONTEND, member(MILO))], now=at(10))

    assert "The directory was not read on this day." in page_of(
        console, fernhill, FRONTEND, 11
    )
    assert f'href="/activity/sync-runs/{last_run()}/">the next read' in page_of(
        console, fernhill, FRONTEND, 11
    )
    assert "was not read on" not in page_of(console, fernhill, FRONTEND, 10)


def test_the_page_names_the_way_and_the_runs(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    take(fernhill, groups=[group(FRONTEND, member(MILO))], now=at(20))
    joined = last_run()
    take(fernhill, groups=[group(FRONTEND, left(MILO))], now=at(10))

    page = page_of(console, fernhill, ENGINEERING, 15)

    assert linked_people(page) == {number_of(fernhill, n) for n in (ANA, MILO)}
    assert f'href="/activity/sync-runs/{joined}/"' in page
    assert f'href="/activity/sync-runs/{last_run()}/"' in page
    assert f'href="/groups/{entry(fernhill, FRONTEND).pk}/"' in page
    direct = page_of(console, fernhill, ENGINEERING, 15, members="direct")
    assert "Nobody was in this group on that day" in direct


def test_members_of_a_day_are_paged_searched_and_exported_whole(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    many = [guid(f"person {n}") for n in range(120)]
    take(
        fernhill,
        users=[user(each, displayName=f"Quill-{n:03}") for n, each in enumerate(many)],
        groups=[group(FRONTEND, *map(member, many))],
        now=at(20),
    )
    take(fernhill, groups=[group(FRONTEND, *map(left, many))], now=at(10))
    address = f"/groups/{entry(fernhill, FRONTEND).pk}/on/"
    day = the_day(15).isoformat()

    first = console.get(address, {"day": day}).content.decode()
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = console.get(address + following[1].replace("&amp;", "&")).content.decode()

    assert "50 of 121 people" in first
    assert len(linked_people(first)) == len(linked_people(second)) == 50
    assert not linked_people(first) & linked_people(second)
    found = console.get(address, {"day": day, "q": "quill-007"}).content.decode()
    assert len(linked_people(found)) == 1

    answer = console.post(f"{address}export/?day={day}")
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert {row["Object ID"] for row in rows} == {ANA, *many}
    assert {row["Until"] for row in rows if row["Object ID"] == ANA} == {"still"}
    entry_ = ObjectHistory.objects.latest("pk")
    assert entry_.details["day"] == day


def test_of_a_large_group_only_those_are_looked_at_who_were_not_there_all_day(
    console: Client, fernhill: CloudIdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are numbers, however many they are."""
    many = [guid(f"person {n}") for n in range(1_500)]
    take(
        fernhill,
        users=[*map(user, many)],
        groups=[group(FRONTEND, *map(member, many[:1_000])), group(PLATFORM)],
        now=at(20),
    )
    take(fernhill, groups=[group(FRONTEND, *map(member, many[1_000:]))], now=at(18))
    few = many[:3]
    take(
        fernhill,
        users=[removed(few[0]), user(few[1], accountEnabled=False)],
        now=at(16),
    )
    take(fernhill, users=[removed(few[2])], now=at(2))
    looked_at: list[int] = []
    values_on = past.values_on

    def watching(model: Any, attribute: str, numbers: Any, day: Any) -> Any:
        if model is DirectoryUser:
            looked_at.append(len(numbers))
        return values_on(model, attribute, numbers, day)

    monkeypatch.setattr(past, "values_on", watching)
    day = past.day_of(the_day(10), now=timezone.now())
    group_ = entry(fernhill, ENGINEERING)

    with CaptureQueriesContext(connection) as asked:
        found = past.members_on(group_, day, nested=True)
        active = past.active_periods(found.numbers, day)

    everybody = {number_of(fernhill, each) for each in [ANA, *many[1:]]}
    assert set(found.numbers) == everybody
    assert set(found.not_in_effect) == {number_of(fernhill, few[0])}
    assert {n for n in everybody if not active[n]} == {number_of(fernhill, few[1])}
    assert max(looked_at) <= len(few)
    assert len(asked) <= 30

    def cost(of: DirectoryGroup) -> int:
        with CaptureQueriesContext(connection) as asked:
            answer = console.get(f"/groups/{of.pk}/on/", {"day": day.date.isoformat()})
        assert answer.status_code == 200
        return len(asked)

    assert cost(entry(fernhill, FRONTEND)) <= cost(entry(fernhill, PLATFORM)) + 12


def test_an_export_of_an_unknown_day_says_unknown_and_is_not_empty(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    address = f"/groups/{entry(fernhill, FRONTEND).pk}/on/export/"
    answer = console.post(f"{address}?day={the_day(60).isoformat()}")

    assert "is not known" in answer.getvalue().decode()


@pytest.mark.parametrize("typed", ["yesterday", "2026-13-40", "0001-01-01", "９９"])
def test_a_day_that_is_none_is_said_beside_the_field(
    console: Client, fernhill: CloudIdentityProvider, typed: str
) -> None:
    address = f"/groups/{entry(fernhill, FRONTEND).pk}/on/"
    page = console.get(address, {"day": typed}).content.decode()

    assert 'id="day-error"' in page
    assert "Enter a day as year, month and day" in page


def test_a_day_to_come_is_not_empty(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    assert "This day has not begun" in page_of(console, fernhill, FRONTEND, -2)


def test_earlier_names_and_values_stand_on_their_pages_with_the_runs(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    take(
        fernhill,
        users=[user(ANA, displayName="Ana Ruiz", accountEnabled=False)],
        groups=[group(FRONTEND, displayName="Web")],
        now=at(20),
    )
    first = last_run()
    take(fernhill, users=[user(ANA, displayName="Ana Díaz")], now=at(10))
    ana = number_of(fernhill, ANA)

    person = shown(console, f"/users/{ana}/")
    team = shown(console, f"/groups/{entry(fernhill, FRONTEND).pk}/")
    whole = shown(console, f"/users/{ana}/earlier/")

    assert "Earlier values" in person
    assert "Ana Ruiz" in person
    assert f'href="/activity/sync-runs/{first}/"' in person
    assert "Frontend" in team
    values = re.findall(r'<bdi class="earlier-value">([^<]*)</bdi>', whole)
    assert sorted(values) == sorted(["Ana Ruiz", "no", ANA[:8], "yes"])


def test_earlier_values_are_paged_and_exported(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    for number in range(60):
        name = f"Ana {number:02}"
        take(
            fernhill, users=[user(ANA, displayName=name)], now=at(20, hour=number % 24)
        )
    ana = number_of(fernhill, ANA)

    page = shown(console, f"/users/{ana}/earlier/")
    assert "50 of 60 values" in page
    answer = console.post(f"/users/{ana}/earlier/export/")
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert len(rows) == 60


def shown(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def page_of(
    client: Client,
    idp: CloudIdentityProvider,
    object_id: str,
    days: int,
    members: str = "effective",
) -> str:
    day = the_day(days).isoformat()
    pk = entry(idp, object_id).pk
    return shown(client, f"/groups/{pk}/on/?day={day}&members={members}")


def linked_people(page: str) -> set[int]:
    return set(map(int, re.findall(r'scope="row"><a href="/users/(\d+)/"', page)))
