"""Which number of a seed is whose, and what is known of the named ones."""

from directory.sandbox.company import ROLE_TEMPLATES, Company, object_id
from directory.sandbox.directory_object import Kind, Properties
from directory.sandbox.properties import group_properties, person_properties
from directory.sandbox.sizes import Sizes


class Layout:
    """Users, groups, then the other kinds; the cast first among each."""

    def __init__(self, company: Company, sizes: Sizes) -> None:
        self.people = max(0, sizes.users - len(company.people))
        self.projects = max(0, sizes.groups - len(company.groups))
        self.ids: dict[int, str] = {}
        self.named: dict[int, Properties] = {}
        self.numbers: dict[Kind, range] = {}
        self.crowd: dict[Kind, range] = {}
        self._place(
            Kind.USER,
            [(each.object_id, person_properties(each)) for each in company.people],
            self.people,
        )
        self._place(
            Kind.GROUP,
            [(each.object_id, group_properties(each)) for each in company.groups],
            self.projects,
        )
        for kind in (Kind.DEVICE, Kind.SERVICE_PRINCIPAL, Kind.ORG_CONTACT):
            self._place(
                kind,
                [
                    (thing.object_id, {"displayName": thing.display_name})
                    for thing in company.things
                    if thing.kind == kind
                ],
            )
        self._place(
            Kind.DIRECTORY_ROLE,
            [
                (
                    object_id(company.domain, "roles", name),
                    {
                        "displayName": name,
                        "roleTemplateId": template,
                        "description": name,
                    },
                )
                for name, template in ROLE_TEMPLATES.items()
            ],
        )

    @property
    def count(self) -> int:
        return self.numbers[Kind.DIRECTORY_ROLE].stop

    def _place(
        self, kind: Kind, named: list[tuple[str, Properties]], more: int = 0
    ) -> None:
        start = max((each.stop for each in self.numbers.values()), default=0)
        for number, (key, properties) in enumerate(named, start):
            self.ids[number] = key
            self.named[number] = properties
        self.numbers[kind] = range(start, start + len(named) + more)
        self.crowd[kind] = self.numbers[kind][len(named) :]
