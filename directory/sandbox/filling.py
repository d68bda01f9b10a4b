"""Fill the groups of a seed: who is in which, and which group in which other.

Departments and dynamic groups follow from the people. The rest follows chance as it
does in large tenants: a few groups hold half of the people, most hold a handful, some
are in others, and now and then in a circle.
"""

import math
import random
from array import array
from collections.abc import Iterator

from directory.sandbox import rules
from directory.sandbox.company import FERNHILL, Company, object_id
from directory.sandbox.crowd import People
from directory.sandbox.directory_object import Kind, Properties
from directory.sandbox.layout import Layout
from directory.sandbox.sizes import Sizes

# The k-th largest group has 1/k**0.7 of the largest: half of the groups are smaller
# than half the mean.
_ZIPF = 0.7
_LARGE_TENANT, _LARGE_GROUPS = 10_000, 4
_LEVELS = (1, 2, 4, 8, 16, 32)
_NESTINGS_PER_CIRCLE = 443
_OPEN = ("contractors-design", "equipe-montreal", "dubai-team")


def rows(
    company: Company,
    sizes: Sizes,
    layout: Layout,
    people: People,
    source: random.Random,
) -> Iterator[list[int]]:
    """Yield the members of each group, in the order of the groups, ascending."""
    filled = _by_purpose(company, layout, people)
    groups = layout.numbers[Kind.GROUP]
    named, projects = groups[: len(company.groups)], layout.crowd[Kind.GROUP]
    nested = _nestings(projects, sizes.nestings, source)
    used = sum(map(len, filled)) + sum(map(len, nested.values()))
    takers = [
        number
        for number, group in zip(named, company.groups, strict=True)
        if group.nickname in _OPEN
    ]
    takers += projects
    shares = dict(
        zip(
            takers,
            _shares(len(takers), sizes.memberships - used, sizes.users, source),
            strict=True,
        )
    )
    crowd = array("I", layout.crowd[Kind.USER])
    source.shuffle(crowd)
    strides = [each for each in (1, 3, 7, 11, 13) if math.gcd(each, len(crowd)) == 1]
    for position, number in enumerate(groups):
        row = _some(crowd, shares.get(number, 0), strides, source)
        if position < len(filled):
            row.extend(filled[position])
        row.extend(nested.get(number, ()))
        yield sorted(row)


def _by_purpose(company: Company, layout: Layout, people: People) -> list[list[int]]:
    """Fill the cast's groups: named members, departments, membership rules."""
    numbers = {key: number for number, key in layout.ids.items()}
    members = [{numbers[key] for key in group.members} for group in company.groups]
    by_department: dict[str, list[int]] = {}
    ruled = [
        (inside, rules.parse(group.rule))
        for inside, group in zip(members, company.groups, strict=True)
        if group.rule
    ]
    for number in layout.numbers[Kind.USER]:
        user = _properties(company, layout, people, number)
        for inside, rule in ruled:
            if rule(user):
                inside.add(number)
        department = user.get("department")
        if department and user.get("userType") == "Member":
            by_department.setdefault(department, []).append(number)
    engineers = by_department.get("Engineering", [])
    crafts = [
        object_id(FERNHILL.domain, "groups", nickname)
        for nickname in ("frontend", "backend", "design-systems")
    ]
    for inside, group in zip(members, company.groups, strict=True):
        if group.department and not group.rule:
            inside.update(by_department.get(group.department, ()))
        if group.object_id in crafts:
            inside.update(engineers[crafts.index(group.object_id) :: len(crafts)])
    return [list(inside) for inside in members]


def _properties(
    company: Company, layout: Layout, people: People, number: int
) -> Properties:
    cast = len(company.people)
    if number < cast:
        return layout.named[number]
    return people.stretch(number - cast, 1).properties(number - cast)


def _shares(count: int, left: int, people: int, source: random.Random) -> list[int]:
    """Share memberships out among groups, of which none has more than the people."""
    if not count or left <= 0:
        return [0] * count
    half = people // 2
    large = min(_LARGE_GROUPS, left // (2 * half)) if people >= _LARGE_TENANT else 0
    weights = [(rank + 1) ** -_ZIPF for rank in range(count - large)]
    scale = (left - large * half) / sum(weights)
    shares = [half] * large
    over = 0.0
    for weight in weights:
        exact = weight * scale + over
        shares.append(min(people, round(exact)))
        over = exact - shares[-1]
    source.shuffle(shares)
    return shares


def _some(
    crowd: "array[int]", wanted: int, strides: list[int], source: random.Random
) -> "array[int]":
    """Take so many of the crowd, each once, from a place and in steps of chance."""
    taken = array("I")
    wanted = min(wanted, len(crowd))
    if not wanted:
        return taken
    at, stride = source.randrange(len(crowd)), source.choice(strides)
    while len(taken) < wanted:
        part = crowd[at : at + stride * (wanted - len(taken)) : stride]
        taken.extend(part)
        at = (at + stride * len(part)) % len(crowd)
    return taken


def _nestings(
    projects: range, wanted: int, source: random.Random
) -> dict[int, set[int]]:
    """Put groups into groups, at most six deep but for a few that close a circle."""
    nested: dict[int, set[int]] = {}
    if not wanted:
        return nested
    levels: list[list[int]] = [[] for _ in _LEVELS]
    for number in projects:
        source.choices(levels, _LEVELS)[0].append(number)
    levels = [level for level in levels if level]
    circles = max(1, wanted // _NESTINGS_PER_CIRCLE)
    left = wanted - circles
    while left:
        upper = source.randrange(len(levels) - 1)
        parent = source.choice(levels[upper])
        child = source.choice(levels[source.randrange(upper + 1, len(levels))])
        inside = nested.setdefault(parent, set())
        left -= child not in inside
        inside.add(child)
    while circles:
        path = [source.choice(list(nested))]
        for _ in range(source.randint(1, len(levels) - 1)):
            if path[-1] in nested:
                path.append(source.choice(sorted(nested[path[-1]])))
        inside = nested.setdefault(path[-1], set())
        if path[0] != path[-1] and path[0] not in inside:
            inside.add(path[0])
            circles -= 1
    return nested
