import pytest

from directory.sandbox import generate, rules
from directory.sandbox.generate import Sizes
from directory.sandbox.tenant import Kind, Tenant
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
        tenant = Tenant(generate.seed(each, generate.sizes_of(each)))
        memberships = sum(map(len, tenant.members.values()))

        assert len(tenant.present(Kind.USER)) == each.users_in_all
        assert len(tenant.present(Kind.GROUP)) == each.groups_in_all
        assert abs(memberships - each.memberships_in_all) < 20


def test_the_same_seed_gives_the_same_tenant_and_another_one_another() -> None:
    sizes = Sizes(users=300, groups=50, memberships=2000, seed=7)
    one, same = generate.seed(FERNHILL, sizes), generate.seed(FERNHILL, sizes)
    other = generate.seed(
        FERNHILL, Sizes(users=300, groups=50, memberships=2000, seed=8)
    )

    assert one.objects == same.objects
    assert one.members == same.members
    assert one.objects.keys() != other.objects.keys()
    assert DAN.object_id in other.objects


def test_ids_are_distinct_and_principal_names_unique() -> None:
    sizes = Sizes(users=20_000, groups=500, memberships=50_000)
    made = generate.seed(FERNHILL, sizes)
    users = [entry for entry in made.objects.values() if entry.kind is Kind.USER]
    names = {user.properties["userPrincipalName"].casefold() for user in users}

    assert len(users) == 20_000
    assert len(names) == 20_000
    assert len(made.members) == 500
    assert abs(sum(map(len, made.members.values())) - 50_000) < 600


def test_the_crowd_is_mixed() -> None:
    made = generate.seed(FERNHILL, generate.sizes_of(FERNHILL))
    users = [
        entry.properties for entry in made.objects.values() if entry.kind is Kind.USER
    ]

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
    found = generate.security_identifier("a3f6c606-38ec-42d7-8c0e-d4ecaf0d9d61")

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
