"""Make a tenant's seed: the named cast and a deterministic crowd around it.

The same company, sizes and seed always give the same ids, names and memberships.
"""

import random

from directory.sandbox import crowd, filling, object_ids
from directory.sandbox.company import Company
from directory.sandbox.crowd import People, Projects
from directory.sandbox.directory_object import Kind
from directory.sandbox.layout import Layout
from directory.sandbox.links import Links
from directory.sandbox.object_ids import ObjectIds
from directory.sandbox.properties import CREATED_AT
from directory.sandbox.seed import Column, Columns, Seed
from directory.sandbox.sizes import Sizes


def _source(company: Company, sizes: Sizes, purpose: str) -> random.Random:
    """Return the chance for one purpose, so that the others do not shift with it."""
    return random.Random(f"{company.domain}/{sizes.seed}/{purpose}")  # noqa: S311 not a secret


def draw(company: Company, sizes: Sizes) -> Columns:
    """Let chance decide: what costs time grows with the tenant and is done once."""
    layout = Layout(company, sizes)
    people = crowd.draw_people(layout.people, _source(company, sizes, "people"))
    members = Links.of(
        filling.rows(
            company,
            sizes,
            layout,
            People(company, layout.people, memoryview(people)),
            _source(company, sizes, "memberships"),
        )
    )
    groups = members.reversed(layout.count, layout.numbers[Kind.GROUP].start)
    source = _source(company, sizes, "ids")
    return Columns(
        ids=object_ids.draw(layout.count, layout.ids, _key(company, sizes), source),
        people=people,
        projects=crowd.draw_projects(
            layout.projects, _source(company, sizes, "projects")
        ),
        member_offsets=members.offsets.tobytes(),
        members=members.targets.tobytes(),
        group_offsets=groups.offsets.tobytes(),
        groups=groups.targets.tobytes(),
    )


def _key(company: Company, sizes: Sizes) -> int:
    return _source(company, sizes, "key").getrandbits(32)


def seed(company: Company, sizes: Sizes, columns: Columns | None = None) -> Seed:
    """Build a tenant's seed around columns that were drawn, here or earlier."""
    columns = columns or draw(company, sizes)
    layout = Layout(company, sizes)
    return Seed(
        tenant_id=company.tenant_id,
        domain=company.domain,
        initial_domain=company.initial_domain,
        display_name=company.display_name,
        created_at=CREATED_AT,
        numbers=layout.numbers,
        crowd=layout.crowd,
        ids=ObjectIds(columns.ids, layout.ids, _key(company, sizes)),
        named=layout.named,
        people=People(company, layout.people, memoryview(columns.people)),
        projects=Projects(company, memoryview(columns.projects)),
        member_links=_links(columns.member_offsets, columns.members),
        group_links=_links(columns.group_offsets, columns.groups),
        upns={person.upn.casefold(): n for n, person in enumerate(company.people)},
        roles={
            person.object_id: role for person in company.people for role in person.roles
        },
        ruled={
            number: str(properties["membershipRule"])
            for number, properties in layout.named.items()
            if "membershipRule" in properties
        },
        hidden=frozenset(
            number
            for number, properties in layout.named.items()
            if properties.get("visibility") == "HiddenMembership"
        ),
    )


def _links(offsets: Column, targets: Column) -> Links:
    return Links(memoryview(offsets).cast("I"), memoryview(targets).cast("I"))
