"""How large a tenant is to be made."""

from dataclasses import dataclass

from directory.sandbox.company import FERNHILL, Company

_MOST_NAMED_GROUPS = len(FERNHILL.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large a tenant is in all, and its seed.

    ``memberships`` count everything that is in a group; ``nestings`` of them are
    generated groups in one another, besides those of the cast.
    """

    users: int
    groups: int
    memberships: int
    nestings: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.nestings and self.nestings * 2 > self.groups - _MOST_NAMED_GROUPS:
            raise ValueError("A tenant has at most half as many nestings as groups.")


SCALES = {
    "s": Sizes(users=10_000, groups=1_000, memberships=99_265, nestings=443),
    "m": Sizes(users=100_000, groups=10_000, memberships=992_647, nestings=4_432),
    "l": Sizes(users=1_000_000, groups=100_000, memberships=9_926_470, nestings=44_320),
}


# Large tenants are for measuring readers, so their pages are large as well.
SCALE_SWITCHES = {"delta_page_size": 999, "member_slice": 2_000}


def sizes_of(company: Company) -> Sizes:
    return Sizes(
        users=company.users_in_all,
        groups=company.groups_in_all,
        memberships=company.memberships_in_all,
    )
