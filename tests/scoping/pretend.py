"""A directory in memory for the pure rules of scoping, and the people in it."""

from dataclasses import dataclass, field, replace

from directory.dependents import ObjectRef
from scoping.principal import Broken, Description, MembershipAnswer, PathStep, Person
from scoping.verdict import Link, Verdict

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"


def ref(name: str, tenant: str = TENANT) -> ObjectRef:
    return ObjectRef(tenant, f"object-{name}")


def person(name: str, *, disabled: bool = False, deleted: bool = False) -> Person:
    return Person(
        ref=ref(name),
        name=name,
        reported_user_name=f"{name.lower()}@fernhill.example",
        disabled=disabled,
        deleted=deleted,
    )


ANA = person("Ana")
BO = person("Bo")


@dataclass
class PretendDirectory:
    """Direct members by group name; groups inside groups; what is broken."""

    members: dict[str, set[str]] = field(default_factory=dict)
    inside: dict[str, set[str]] = field(default_factory=dict)
    broken: dict[str, Broken] = field(default_factory=dict)
    hidden_from_lookup: frozenset[str] = frozenset()

    def describe(self, ref: ObjectRef) -> Description:
        name = ref.object_id.removeprefix("object-")
        link = Link("directory-group", ref.object_id)
        return Description(name=name, broken=self.broken.get(name), link=link)

    def membership(
        self, ref: ObjectRef, principal: Person, nested: bool
    ) -> MembershipAnswer:
        name = ref.object_id.removeprefix("object-")
        if name in self.broken:
            raise AssertionError("a broken group is not asked for members")
        if name in self.hidden_from_lookup:
            return MembershipAnswer(verdict=Verdict.UNKNOWN, reason="Not read yet.")
        if principal.name in self.members.get(name, set()):
            return MembershipAnswer(verdict=Verdict.IN)
        for child in sorted(self.inside.get(name, set())) if nested else ():
            answer = self.membership(_ref(child), principal, nested)
            if answer.verdict is Verdict.IN:
                step = PathStep(child, _ref(child))
                return replace(answer, path=(*answer.path, step))
        return MembershipAnswer(verdict=Verdict.OUT)


_ref = ref
