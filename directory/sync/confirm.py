"""Asking Microsoft whether a loss of privileges is one, where only absence says so.

What a full read merely leaves out may be an answer with data missing. Before a privilege
is taken for that, the person or the membership is looked up.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from django.utils import timezone
from pyroaring import BitMap

from directory import clouds, permission_use, tokens
from directory.dependents import Gives
from directory.entra import EntraSession, GraphClient, errors
from directory.entra.ids import ObjectId
from directory.entra.transport import TransferObserver
from directory.models import CloudIdentityProvider, UnconfirmedLoss
from directory.permissions import Feature
from directory.sync.bitmaps import union
from directory.sync.differences import Plan
from directory.sync.guards import Used, losses
from directory.sync.numbers import object_ids

Answer = UnconfirmedLoss.Answer
Names: TypeAlias = Mapping[int, ObjectId]
# A person and the group whose members are given privileges; no group: the person.
Loss: TypeAlias = tuple[int, int | None]


@dataclass(slots=True)
class Question:
    """Losses that rest on absence, by number."""

    people: BitMap = field(default_factory=BitMap)
    # People by group, and whether nested groups count for it.
    members: dict[tuple[int, bool], BitMap] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.people or self.members)


# What is not confirmed, and why not.
Unconfirmed: TypeAlias = dict[Loss, Answer]
Ask = Callable[[CloudIdentityProvider, Question], Unconfirmed]


def question(plan: Plan, used: Iterable[Used], own: Collection[int]) -> Question:
    """Return what has to be asked; `own` are people with privileges of their own."""
    absent = losses(plan, {}, inferred=True)
    asked = Question()
    if not absent:
        return asked
    holders = BitMap(own)
    for one in used:
        if one.gives < Gives.PRIVILEGES:
            continue
        holders |= one.before
        at_risk = union(left for g, left in absent.users.items() if g in one.below)
        crossed = BitMap(absent.nesting) if one.nested else BitMap()
        if (crossed | absent.groups).intersect(one.below):
            at_risk |= one.lost
        at_risk = (at_risk & one.lost) - absent.people
        if at_risk:
            asked.members[one.group, one.nested] = at_risk
    asked.people = absent.people & holders
    return asked


def ask(
    cloud_idp: CloudIdentityProvider,
    asked: Question,
    *,
    observer: TransferObserver | None = None,
) -> Unconfirmed:
    """Look everything up, within the connection's search timeout for each kind.

    Nobody waits for it, but what it finds out takes privileges away: it is not pushed
    aside first, as the reading of pages is.
    """
    everybody = union([asked.people, *asked.members.values()])
    groups = BitMap(group for group, _nested in asked.members)
    names = {
        number: ObjectId(name)
        for number, name in object_ids(everybody | groups).items()
    }
    try:
        session = EntraSession(
            clouds.cloud(cloud_idp.cloud),
            observer=observer,
            total_seconds=cloud_idp.search_timeout,
        )
        with session:
            graph = tokens.graph_client(cloud_idp, session=session, priority="normal")
            try:
                return {
                    **_people(graph, asked.people, names),
                    **_members(graph, asked.members, names),
                }
            finally:
                permission_use.note(
                    cloud_idp, Feature.SYNC, graph.used, now=timezone.now()
                )
    except errors.EntraError:
        unanswered: Unconfirmed = dict.fromkeys(
            ((number, None) for number in asked.people), Answer.UNANSWERED
        )
        for (group, _nested), people in asked.members.items():
            unanswered |= {(number, group): Answer.UNANSWERED for number in people}
        return unanswered


def _people(graph: GraphClient, people: BitMap, names: Names) -> Unconfirmed:
    found: Unconfirmed = {}
    if not people:
        return found
    answers = graph.look_up_users(names[number] for number in people)
    for number in people:
        answer = answers[names[number]]
        if answer.value is not None:
            found[number, None] = Answer.CONTRADICTED
        elif not answer.gone:
            found[number, None] = Answer.UNANSWERED
    return found


def _members(
    graph: GraphClient,
    members: Mapping[tuple[int, bool], BitMap],
    names: Names,
) -> Unconfirmed:
    groups_of: dict[str, list[str]] = defaultdict(list)
    for (group, _nested), people in members.items():
        for number in people:
            groups_of[names[number]].append(names[group])
    found: Unconfirmed = {}
    answers = graph.confirm_memberships(groups_of) if groups_of else {}
    for (group, nested), people in members.items():
        for number in people:
            answer = answers[names[number]]
            if answer.gone:
                continue
            if answer.value is None:
                found[number, group] = Answer.UNANSWERED
            elif names[group] in answer.value:
                found[number, group] = Answer.CONTRADICTED
        if not nested:
            _leave_out_nested(graph, group, found, names)
    return found


def _leave_out_nested(
    graph: GraphClient, group: int, found: Unconfirmed, names: Names
) -> None:
    """Where direct members count alone, being in a nested group is no contradiction."""
    doubtful = [
        loss
        for loss, answer in found.items()
        if loss[1] == group and answer == Answer.CONTRADICTED
    ]
    if not doubtful:
        return
    try:
        direct = {
            member.id for page in graph.members(names[group]) for member in page.members
        }
    except errors.EntraError:
        found |= dict.fromkeys(doubtful, Answer.UNANSWERED)
        return
    for loss in doubtful:
        if names[loss[0]] not in direct:
            del found[loss]


def believe(
    plan: Plan, used: Iterable[Used], asked: Question, unconfirmed: Unconfirmed
) -> None:
    """Note in the plan what Microsoft confirmed: that is told, not inferred."""
    for number in asked.people:
        if (number, None) not in unconfirmed:
            plan.people.changes[number].told = True
    below = {(one.group, one.nested): one.below for one in used}
    for key, people in asked.members.items():
        confirmed = BitMap(n for n in people if (n, key[0]) not in unconfirmed)
        for group in below[key] & BitMap(plan.users):
            plan.users[group].inferred -= confirmed
