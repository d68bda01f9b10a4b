"""Which groups hold the people who are back: asked of Microsoft, since no read says it.

Restoring somebody brings their memberships back in Entra and no entry of a member in
any answer; a full read that came while they were deleted listed them nowhere, and what
became of their memberships meanwhile is not said again.
https://learn.microsoft.com/graph/delta-query-groups

Whatever is not certain of somebody leaves them as they were, deleted, until the next
read: nobody is given a privilege by a membership that may have ended.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from django.utils import timezone
from pyroaring import BitMap

from directory import clouds, permission_use, tokens
from directory.entra import EntraSession, GraphClient, errors
from directory.entra.ids import ObjectId
from directory.entra.transport import TransferObserver
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryObject,
    GroupClosure,
    State,
)
from directory.permissions import Feature
from directory.sync.bitmaps import union
from directory.sync.numbers import object_ids
from directory.sync.rows import chunks, read

Sets: TypeAlias = Mapping[int, BitMap]

# Of more people, or of more groups, nobody is asked: the next read brings all of them.
PEOPLE = 400
GROUPS = 50
SECONDS = 60.0
REASON = "People were restored, and which groups hold them is not certain."


@dataclass(slots=True)
class Question:
    """People who are back, and what is known of their memberships: by group those who
    are in it as far as was read, and which groups were newly nested in it."""

    cloud_idp: CloudIdentityProvider
    people: BitMap
    members: Sets
    nesting: Sets


@dataclass(slots=True)
class Returned:
    """What Microsoft said. Whoever is neither certain nor gone may be in any group."""

    certain: BitMap = field(default_factory=BitMap)
    gone: BitMap = field(default_factory=BitMap)
    # By group, of those of whom it is certain.
    joined: dict[int, BitMap] = field(default_factory=dict)
    left: dict[int, BitMap] = field(default_factory=dict)


Ask: TypeAlias = Callable[[Question], Returned]

_NOBODY = BitMap()


def ask(question: Question, *, observer: TransferObserver | None = None) -> Returned:
    """Look up in which groups the people are now, and where it matters how.

    Of nobody it is certain where Microsoft cannot be asked, or not within a minute.
    """
    if len(question.people) > PEOPLE:
        return Returned()
    try:
        session = EntraSession(
            clouds.cloud(question.cloud_idp.cloud),
            observer=observer,
            total_seconds=SECONDS,
        )
        with session:
            graph = tokens.graph_client(
                question.cloud_idp, session=session, priority="normal"
            )
            try:
                return _answered(graph, question)
            finally:
                permission_use.note(
                    question.cloud_idp, Feature.SYNC, graph.used, now=timezone.now()
                )
    except errors.EntraError:
        return Returned()


def _answered(graph: GraphClient, question: Question) -> Returned:
    found, people = Returned(), object_ids(question.people)
    answers = graph.groups_of_users(people.values())
    said: dict[int, frozenset[ObjectId]] = {}
    for number, name in people.items():
        answer = answers[ObjectId(name)]
        if answer.gone:
            found.gone.add(number)
        elif answer.value is not None:
            said[number] = answer.value
    groups = _readable(question, said.values())
    holding: dict[int, BitMap] = defaultdict(BitMap)
    for number, held_by in said.items():
        for name in held_by & groups.keys():
            holding[groups[name]].add(number)
    found.certain.update(said)
    known = BitMap(groups.values())
    members = {g: each & found.certain for g, each in question.members.items()}
    lost = {
        group: left
        for group in known & BitMap(members)
        if (left := members[group] - holding.get(group, _NOBODY))
    }
    _look_up_groups(graph, lost, found)
    _ask_groups(graph, _doubtful(question, holding, members), members, found)
    for sides in (found.joined, found.left):
        for group in list(sides):
            sides[group] &= found.certain
    return found


def _readable(
    question: Question, said: Iterable[frozenset[ObjectId]]
) -> dict[ObjectId, int]:
    """The groups that are spoken of, as far as they are here and show their members."""
    names: set[str] = set(object_ids(question.members).values())
    names.update(*said)
    idp = question.cloud_idp.pk
    columns = ("object_id", "id")
    numbers = dict(read(DirectoryObject, columns, "object_id", names, cloud_idp_id=idp))
    shown: set[int] = set()
    for some in chunks(numbers.values()):
        shown.update(
            DirectoryGroup.objects.filter(
                pk__in=some, state=State.PRESENT, hidden_membership=False
            ).values_list("pk", flat=True)
        )
    return {ObjectId(name): n for name, n in numbers.items() if n in shown}


def _look_up_groups(
    graph: GraphClient, lost: dict[int, BitMap], found: Returned
) -> None:
    """Note who left: a group that is deleted holds nobody, and nobody left it."""
    names = object_ids(lost)
    answers = graph.look_up_groups(names.values())
    for group, people in lost.items():
        answer = answers[ObjectId(names[group])]
        if answer.value is not None:
            found.left[group] = people
        elif not answer.gone:
            found.certain -= people


def _doubtful(question: Question, holding: Sets, members: Sets) -> dict[int, BitMap]:
    """Who is in which group, perhaps directly and perhaps through others alone.

    Certain is who was a direct member and is in no group that is nested in it.
    """
    below: dict[int, BitMap] = defaultdict(BitMap)
    for some in chunks(holding):
        for ancestor, descendant in GroupClosure.objects.filter(
            ancestor_id__in=some
        ).values_list("ancestor_id", "descendant_id"):
            if descendant in holding:
                below[ancestor].add(descendant)
    found = {}
    for group, people in holding.items():
        nested = below[group] | question.nesting.get(group, _NOBODY)
        through = union(holding.get(each, _NOBODY) for each in nested)
        doubtful = (people - members.get(group, _NOBODY)) | (people & through)
        if doubtful:
            found[group] = doubtful
    return found


def _ask_groups(
    graph: GraphClient,
    doubtful: Mapping[int, BitMap],
    members: Sets,
    found: Returned,
) -> None:
    """List the direct members of the groups: the smallest first, and so many at most."""
    sizes = {
        number: size
        for some in chunks(doubtful)
        for number, size in DirectoryGroup.objects.filter(pk__in=some).values_list(
            "pk", "direct_users"
        )
    }
    names = object_ids(doubtful)
    order = sorted(doubtful, key=lambda group: (sizes[group], group))
    for group in order[GROUPS:]:
        found.certain -= doubtful[group]
    for group in order[:GROUPS]:
        asked = doubtful[group] & found.certain
        if not asked:
            continue
        try:
            listed = {
                member.id.lower()
                for page in graph.members(names[group])
                for member in page.members
            }
        except (errors.PermissionMissing, errors.DirectoryObjectNotFound):
            found.certain -= asked
            continue
        people = object_ids(asked)
        inside = BitMap(number for number in asked if people[number] in listed)
        before = members.get(group, _NOBODY)
        if joined := inside - before:
            found.joined[group] = joined
        if left := (asked & before) - inside:
            found.left[group] = found.left.get(group, _NOBODY) | left
