import dataclasses
import statistics

import pytest

from directory.sandbox import generate, object_ids, rules
from directory.sandbox.directory_object import Kind
from directory.sandbox.properties import security_identifier
from directory.sandbox.sizes import SCALES, Sizes, sizes_of
from directory.sandbox.tenant import Tenant
from tests.cast import (
    COMPANIES,
    CONTRACTORS_DESIGN,
    CONTRACTORS_IT,
    DAN,
    FERNHILL,
    FERNHILL_NEWS,
    PAT,
    QUARREL,
    WREN,
)


@pytest.mark.parametrize("company", COMPANIES, ids=lambda company: company.domain)
def test_a_company_has_the_size_it_says(company: object) -> None:
    assert company in COMPANIES
    for each in COMPANIES:
        tenant = Tenant(generate.seed(each, sizes_of(each)))

        assert tenant.count(Kind.USER) == each.users_in_all
        assert tenant.count(Kind.GROUP) == each.groups_in_all
        assert tenant.membership_count() == each.memberships_in_all


def test_the_same_seed_gives_the_same_tenant_and_another_one_another() -> None:
    sizes = Sizes(users=300, groups=50, memberships=2000, seed=7)
    one, same = generate.draw(FERNHILL, sizes), generate.draw(FERNHILL, sizes)
    other = generate.draw(
        FERNHILL, Sizes(users=300, groups=50, memberships=2000, seed=8)
    )

    assert one == same
    for field in dataclasses.fields(one):
        assert getattr(one, field.name) != getattr(other, field.name)
    assert DAN.object_id.encode() in other.ids


def test_ids_are_distinct_and_principal_names_unique() -> None:
    sizes = Sizes(users=20_000, groups=500, memberships=50_000)
    tenant = Tenant(generate.seed(FERNHILL, sizes))
    users = list(tenant.present(Kind.USER))

    assert len({user.id for user in users}) == 20_000
    assert len({user.properties["userPrincipalName"] for user in users}) == 20_000
    for user in users[::97]:
        assert tenant.find(user.id) == user
        assert tenant.find(user.properties["userPrincipalName"].upper()) == user
    assert tenant.count(Kind.GROUP) == 500
    assert tenant.membership_count() == 50_000


def test_an_object_id_tells_its_number_and_no_other() -> None:
    for number in (0, 1, 2, 65_535, 1_100_000, 2**32 - 1):
        for key in (0, 0x9E3779B1, 2**32 - 1):
            assert (
                object_ids.unscramble(object_ids.scramble(number, key), key) == number
            )
    tenant = Tenant(generate.seed(FERNHILL, sizes_of(FERNHILL)))
    user = list(tenant.present(Kind.USER))[500]

    assert tenant.find(user.id.upper()) == user
    assert tenant.find(user.id[:-1] + ("0" if user.id[-1] != "0" else "1")) is None
    for nonsense in (
        "",
        "x" * 36,
        "ffffffff" + user.id[8:],
        "anna.ito99@fernhill.example",
    ):
        assert tenant.find(nonsense) is None


def test_the_crowd_is_mixed() -> None:
    tenant = Tenant(generate.seed(FERNHILL, sizes_of(FERNHILL)))
    users = [user.properties for user in tenant.present(Kind.USER)]

    for name in ("department", "jobTitle", "mobilePhone", "officeLocation", "mail"):
        filled = sum(1 for user in users if user.get(name))
        assert 0.5 < filled / len(users) < 1
    assert sum(1 for user in users if user["userType"] == "Guest") > 10
    assert sum(1 for user in users if not user["accountEnabled"]) > 10
    names = "".join(user["displayName"] for user in users)
    for letter in "łØø'王יАéا":
        assert letter.casefold() in names.casefold()


def test_the_cast_stands_for_its_situations() -> None:
    assert CONTRACTORS_IT.display_name == CONTRACTORS_DESIGN.display_name
    assert CONTRACTORS_IT.mail != CONTRACTORS_DESIGN.mail
    assert "#EXT#" in PAT.upn
    assert WREN.mail is None
    assert len({person.object_id for person in FERNHILL.people}) == len(FERNHILL.people)
    assert FERNHILL.tenant_id != QUARREL.tenant_id
    assert FERNHILL_NEWS.mail == "fernhill-news@fernhill.example"


def test_the_security_identifier_is_entras() -> None:
    # From a recorded answer of Microsoft Graph.
    found = security_identifier("a3f6c606-38ec-42d7-8c0e-d4ecaf0d9d61")

    assert found == "S-1-12-1-2750858758-1121401068-3973320332-1637682607"


@pytest.mark.parametrize(
    ("rule", "properties", "holds"),
    [
        ('user.department -eq "IT"', {"department": "it"}, True),
        ('user.department -ne "IT"', {"department": "IT"}, False),
        ("(user.accountEnabled -eq true)", {"accountEnabled": True}, True),
        ("user.mail -eq null", {}, True),
        ('user.jobTitle -contains "mac"', {"jobTitle": "Lead Mac Admin"}, True),
        ('user.jobTitle -startsWith "Mac"', {"jobTitle": "Lead Mac Admin"}, False),
        ('user.jobTitle -startsWith "Lead"', {}, False),
        (
            '(user.department -eq "IT") and (user.userType -eq "Member")',
            {"department": "IT", "userType": "Guest"},
            False,
        ),
    ],
)
def test_membership_rules(
    rule: str, properties: dict[str, object], holds: bool
) -> None:
    assert rules.parse(rule)(properties) is holds


def test_a_rule_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(rules.RuleError, match=r"device\.x"):
        rules.parse('device.x -eq "1"')


def test_a_tenant_for_performance_work_has_the_shape_of_a_real_one() -> None:
    """Four groups with half of the people, most small, some nested, a few in circles."""
    tenant = Tenant(generate.seed(FERNHILL, SCALES["s"]))
    groups = tenant.positions(Kind.GROUP)[len(FERNHILL.groups) :]
    inside = {
        group: tenant.of_kind(Kind.GROUP, tenant.members(group)) for group in groups
    }
    people = sorted(len(tenant.members(group)) - len(inside[group]) for group in groups)

    assert tenant.membership_count() == SCALES["s"].memberships
    assert people[-4:] == [5_000] * 4
    assert people[-5] < 4_000
    assert 25 <= statistics.median(people) <= 40
    assert sum(map(len, inside.values())) == SCALES["s"].nestings
    in_a_circle = [group for group in groups if _depth(inside, group) is None]
    assert in_a_circle
    depths = [_depth(inside, group) or 0 for group in groups]
    assert max(depths) == 6


def _depth(
    inside: dict[int, list[int]], group: int, path: tuple[int, ...] = ()
) -> int | None:
    """Count the groups on the longest way down, or None where it leads in a circle."""
    if group in path:
        return None
    below = [_depth(inside, each, (*path, group)) for each in inside[group]]
    if None in below:
        return None
    return 1 + max((each for each in below if each), default=0)
