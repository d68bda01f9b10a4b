"""From Graph's pages to a merged round: what is kept, and in which order it counts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from directory.entra import errors
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
)
from directory.sync.attributes import UserRow
from directory.sync.stage import Resource
from directory.sync.stored import rows_of
from tests import factories
from tests.directory.rounds import (
    Json,
    group,
    guid,
    left,
    member,
    number_of,
    read,
    removed,
    take,
    user,
)

ANA, MILO, NOOR, LAB, FRONTEND = map(guid, ("ana", "milo", "noor", "lab", "fe"))


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


@pytest.mark.parametrize(
    ("slices", "joined", "gone"),
    [
        pytest.param([[member(ANA)]], {ANA}, set(), id="joined"),
        pytest.param(
            [[member(ANA)], [left(ANA)]], set(), {ANA}, id="joined and left again"
        ),
        pytest.param(
            [[left(ANA)], [member(ANA)]], {ANA}, set(), id="left and joined again"
        ),
        pytest.param([[member(ANA), left(ANA)]], set(), {ANA}, id="both in one slice"),
        pytest.param(
            [[left(ANA), member(ANA)]], {ANA}, set(), id="both, the other way round"
        ),
        pytest.param(
            [[member(ANA), member(ANA)], [member(ANA)]], {ANA}, set(), id="repeated"
        ),
        pytest.param(
            [[member(ANA)], [member(MILO)]], {ANA, MILO}, set(), id="in slices"
        ),
    ],
)
@pytest.mark.parametrize("per_page", [1, 100])
def test_f14_the_last_word_on_a_membership_counts(
    fernhill: CloudIdentityProvider,
    slices: list[list[Json]],
    joined: set[str],
    gone: set[str],
    per_page: int,
) -> None:
    round_, _register = read(
        fernhill,
        groups=[group(FRONTEND, *entries) for entries in slices],
        per_page=per_page,
    )

    at = number_of(fernhill, FRONTEND)
    sides = round_.members.users
    assert set(sides.joined.get(at, ())) == {number_of(fernhill, o) for o in joined}
    assert set(sides.left.get(at, ())) == {number_of(fernhill, o) for o in gone}


def test_members_of_each_kind_are_kept_apart(fernhill: CloudIdentityProvider) -> None:
    round_, _register = read(
        fernhill,
        groups=[
            group(
                FRONTEND,
                member(ANA),
                member(LAB, "group"),
                member(MILO, "device"),
                member(NOOR, "somethingNew"),
            )
        ],
    )

    at, members = number_of(fernhill, FRONTEND), round_.members
    assert set(members.users.joined[at]) == {number_of(fernhill, ANA)}
    assert set(members.groups.joined[at]) == {number_of(fernhill, LAB)}
    assert set(members.others.joined[at]) == {
        number_of(fernhill, MILO),
        number_of(fernhill, NOOR),
    }


def test_of_an_unchanged_directory_nothing_but_who_was_seen_is_kept(
    fernhill: CloudIdentityProvider,
) -> None:
    everything: dict[str, Any] = {
        "full": True,
        "users": [user(ANA), user(MILO)],
        "groups": [group(FRONTEND, member(ANA))],
    }
    take(fernhill, **everything)

    round_, _register = read(fernhill, **everything)

    assert list(round_.entries(Resource.USERS)) == []
    assert list(round_.entries(Resource.GROUPS)) == []
    assert len(round_.seen[Resource.USERS]) == 2


def test_other_mappings_make_every_hash_another_one(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, full=True, users=[user(ANA, department="Design")])
    AttributeMappings.objects.update(department="", room="department")
    fernhill = CloudIdentityProvider.objects.get()

    take(fernhill, full=True, users=[user(ANA, department="Design")])

    ana = DirectoryUser.objects.get()
    assert (ana.department, ana.room) == ("", "Design")


def test_f17_a_person_removed_and_restored_in_one_round_is_there(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, full=True, users=[user(ANA)])

    take(fernhill, users=[removed(ANA), user(ANA)])
    assert DirectoryUser.objects.get().is_active

    take(fernhill, users=[user(ANA, displayName="Ana"), removed(ANA)])
    assert DirectoryUser.objects.get().state == "DELETED"


def test_parts_of_a_person_add_up_in_the_order_in_which_they_came(
    fernhill: CloudIdentityProvider,
) -> None:
    take(
        fernhill,
        users=[
            user(ANA, displayName="Ana", department="Design"),
            user(ANA, whole=False, displayName="Ana Ruiz"),
            user(ANA, whole=False, accountEnabled=False),
        ],
        per_page=1,
    )

    ana = DirectoryUser.objects.get()
    assert (ana.display_name, ana.department) == ("Ana Ruiz", "Design")
    assert ana.account_enabled is False


def test_a_person_of_whom_a_part_came_is_compared_at_the_next_full_read(
    fernhill: CloudIdentityProvider,
) -> None:
    take(fernhill, full=True, users=[user(ANA, displayName="Ana")])
    take(fernhill, users=[user(ANA, whole=False, displayName="Ana Ruiz")])

    take(fernhill, full=True, users=[user(ANA, displayName="Ana")])

    assert DirectoryUser.objects.get().display_name == "Ana"


@pytest.mark.parametrize(
    ("users", "groups"),
    [
        pytest.param([{"displayName": "X"}], [], id="a person without id"),
        pytest.param([user("no-guid")], [], id="an id that is no GUID"),
        pytest.param([user(ANA, displayName=7)], [], id="a name that is a number"),
        pytest.param([user(ANA, accountEnabled="yes")], [], id="enabled as text"),
        pytest.param([removed(ANA, "moved")], [], id="an unknown reason"),
        pytest.param([], [group(FRONTEND, groupTypes="Unified")], id="types as text"),
        pytest.param([], [group(FRONTEND, {"id": ANA})], id="a member without type"),
        pytest.param([], [group(FRONTEND, member("x"))], id="a member without GUID"),
        pytest.param(
            [], [{"id": FRONTEND, "members@delta": {}}], id="members that are no list"
        ),
        pytest.param(
            [], [{"id": FRONTEND, "members@delta": ["x"]}], id="a member as text"
        ),
    ],
)
def test_what_is_not_graphs_is_refused_whole(
    fernhill: CloudIdentityProvider, users: list[Json], groups: list[Json]
) -> None:
    with pytest.raises(errors.GraphResponseError):
        read(fernhill, full=True, users=users, groups=groups)


def test_ids_in_capitals_are_the_same_ids(fernhill: CloudIdentityProvider) -> None:
    take(
        fernhill,
        full=True,
        users=[user(ANA.upper())],
        groups=[group(FRONTEND, member(ANA), member(ANA.upper()))],
    )

    assert DirectoryUser.objects.get().object_id == ANA
    assert DirectoryGroup.objects.get().direct_users == 1


def test_f13_f15_the_order_of_pages_makes_no_difference(
    fernhill: CloudIdentityProvider,
) -> None:
    """Groups before people, members before both, every object on a page of its own."""
    people = [guid(f"p{n}") for n in range(12)]
    groups = [guid(f"g{n}") for n in range(5)]
    rng = random.Random(11)  # noqa: S311 - a repeatable story, not a secret
    items = [
        group(
            each,
            *(member(person) for person in rng.sample(people, 4)),
            *(member(other, "group") for other in rng.sample(groups, 2)),
        )
        for each in groups
    ]
    # A large group comes in slices; everything may be said twice.
    items += [group(groups[0], member(person)) for person in people]
    states = set()
    for seed in range(4):
        order = random.Random(seed)  # noqa: S311
        users = [user(person) for person in people]
        said = [*items, items[0], items[3]]
        order.shuffle(users)
        order.shuffle(said)
        take(fernhill, full=True, users=[*users, users[0]], groups=said, per_page=1)
        states.add(
            tuple(
                (each.object_id, each.direct_users, each.transitive_users)
                for each in DirectoryGroup.objects.order_by("object_id")
            )
        )
    assert len(states) == 1


def test_f35_empty_long_and_odd_values_are_stored_and_nobody_is_merged(
    fernhill: CloudIdentityProvider,
) -> None:
    nothing = dict.fromkeys(("displayName", "userPrincipalName", "mail", "userType"))
    take(
        fernhill,
        full=True,
        users=[
            user(ANA, **nothing, accountEnabled=None),
            user(MILO, displayName="🦊" * 300, mail="same@fernhill.example"),
            user(NOOR, displayName="x" * 300, mail="same@fernhill.example"),
        ],
    )

    ana, milo, noor = (
        DirectoryUser.objects.get(object_id=object_id)
        for object_id in (ANA, MILO, NOOR)
    )
    assert str(ana) == ANA
    assert ana.account_enabled is None
    assert len(milo.display_name) == len(noor.display_name) == 256
    assert milo.email == noor.email
    stored = rows_of(DirectoryUser, UserRow, [milo.pk])
    assert stored[milo.pk].search.startswith("🦊")
