"""Which groups hold the people who are back: asked of Microsoft, since no read says it.

Restoring somebody brings their memberships back in Entra and no entry of a member in
any answer; a full read that came while they were deleted listed them nowhere, and what
became of their memberships meanwhile is not said again. So it may be with whoever is new,
or is not listed where they were: a full read lists nobody who is deleted just then.
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
from jamfidp.compiled import ask_anew

Sets: TypeAlias = Mapping[int, BitMap]

# Of more people, or of more groups, nobody is asked: the next read brings all of them.
PEOPLE = 400
GROUPS = 50
SECONDS = 60.0
REASON = "People were restored, and which groups hold them is not certain."
KEPT = "Microsoft named people as members of groups that did not list them."


@dataclass(slots=True)
class Question:
    """People who are back, and what is known of their memberships: by group those who
    are in it as far as was read, and which groups are nested in it that were not.

    `read` are the groups that were read with them, `held` those of which it is held
    that they are there: either may have no row as a group that is present.
    """

    cloud_idp: CloudIdentityProvider
    people: BitMap = field(default_factory=BitMap)
    # Those who were not known: all was told of them, unless they had been deleted.
    new: BitMap = field(default_factory=BitMap)
    members: Sets = field(default_factory=dict)
    nesting: Sets = field(default_factory=dict)
    read: BitMap = field(default_factory=BitMap)
    held: BitMap = field(default_factory=BitMap)
    # Groups that were not known, with all whom they hold, unless they had been deleted.
    groups: Sets = field(default_factory=dict)
    # Groups that a read of everything left out.
    absent: BitMap = field(default_factory=BitMap)


@dataclass(slots=True)
class Returned:
    """What Microsoft said. Whoever is neither certain nor gone may be in any group.

    Of groups that were left out, those that are gone, too.
    """

    certain: BitMap = field(default_factory=BitMap)
    gone: BitMap = field(default_factory=BitMap)
    # Whether all of the groups that were not known hold nobody but whom was told.
    whole: bool = False
    # By group, of those of whom it is certain.
    joined: dict[int, BitMap] = field(default_factory=dict)
    left: dict[int, BitMap] = field(default_factory=dict)

    def add(self, other: "Returned") -> None:
        """Take what was said of other people."""
        self.certain |= other.certain
        self.gone |= other.gone
        for mine, theirs in ((self.joined, other.joined), (self.left, other.left)):
            for group, people in theirs.items():
                mine[group] = mine.get(group, _NOBODY) | people


Ask: TypeAlias = Callable[[Question], Returned]

_NOBODY = BitMap()
_LARGE = 1 << 32


def ask(question: Question, *, observer: TransferObserver | None = None) -> Returned:
    """Look up in which groups the people are now, and where it matters how.

    Of nobody it is certain where Microsoft cannot be asked, or not within a minute.
    """
    try:
        session = EntraSession(
            clouds.cloud(question.cloud_idp.cloud),
            observer=observer,
            conversation_seconds=SECONDS,
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
    finally:
        # What gives privileges may be another by now.
        ask_anew()


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
    groups = _known(question, said.values())
    shown = _shown(question, groups.values())
    holding: dict[int, BitMap] = defaultdict(BitMap)
    for number, held_by in said.items():
        for name in held_by & groups.keys():
            holding[groups[name]].add(number)
    found.certain.update(said)
    members = {g: each & found.certain for g, each in question.members.items()}
    lost = {
        group: left
        for group in shown & BitMap(members)
        if (left := members[group] - holding.get(group, _NOBODY))
    }
    _look_up_groups(graph, lost, found)
    doubtful = _doubtful(question, shown, holding, members)
    _ask_groups(graph, doubtful, members, found)
    for sides in (found.joined, found.left):
        for group in list(sides):
            sides[group] &= found.certain
    names = object_ids(question.absent)
    left_out = graph.look_up_groups(names.values())
    found.gone.update(n for n, name in names.items() if left_out[ObjectId(name)].gone)
    new = object_ids(question.groups)
    found.whole = len(new) <= GROUPS and not any(
        _holds_others(graph, name, question.groups[group])
        for group, name in new.items()
    )
    return found


def _holds_others(graph: GraphClient, group: str, told: BitMap) -> bool:
    names = set(object_ids(told).values())
    try:
        return any(
            member.id.lower() not in names
            for page in graph.members(group)
            for member in page.members
        )
    except (errors.PermissionMissing, errors.DirectoryObjectNotFound):
        return False


def _known(
    question: Question, said: Iterable[frozenset[ObjectId]]
) -> dict[ObjectId, int]:
    """The groups that are spoken of, as far as they are known here, by object id."""
    names: set[str] = set(object_ids(question.members).values())
    names.update(*said)
    idp = question.cloud_idp.pk
    columns = ("object_id", "id")
    found = read(DirectoryObject, columns, "object_id", names, cloud_idp_id=idp)
    return {ObjectId(name): number for name, number in found}


def _shown(question: Question, groups: Iterable[int]) -> BitMap:
    """Those of the groups that are here and show their members.

    Of one that is new, or back, that has not taken effect yet.
    """
    numbers = BitMap(groups)
    here, elsewhere, hidden = BitMap(), BitMap(), BitMap()
    columns = ("id", "state", "hidden_membership")
    for number, state, hides in read(DirectoryGroup, columns, "id", numbers):
        if hides:
            hidden.add(number)
        elif state == State.PRESENT:
            here.add(number)
        elif state == State.FILTERED:
            elsewhere.add(number)
    return (here | (question.read - elsewhere) | question.held) & numbers - hidden


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


def _doubtful(
    question: Question, shown: BitMap, holding: Sets, members: Sets
) -> dict[int, BitMap]:
    """Who is in which group, perhaps directly and perhaps through others alone.

    Certain is who was a direct member and is in no group that is nested in it, as far
    as one can see into these.
    """
    groups = shown & BitMap(holding)
    below = {group: BitMap(question.nesting.get(group, _NOBODY)) for group in groups}
    for some in chunks(groups):
        for ancestor, descendant in GroupClosure.objects.filter(
            ancestor_id__in=some
        ).values_list("ancestor_id", "descendant_id"):
            below[ancestor].add(descendant)
    nested = union(below.values()) - BitMap(holding)
    columns = ("id", "hidden_membership")
    closed = nested - BitMap(
        number
        for number, hides in read(DirectoryGroup, columns, "id", nested)
        if not hides
    )
    found, unexplained = {}, BitMap()
    for group in groups:
        people, direct = holding[group], members.get(group, _NOBODY)
        through = union(holding.get(each, _NOBODY) for each in below[group])
        unexplained |= people - direct - through
        if below[group].intersect(closed):
            through = people
        found[group] = (people - direct) | (people & through)
    told = question.new - unexplained
    return {group: left for group, some in found.items() if (left := some - told)}


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
    # One that is new is as large as it may be.
    order = sorted(doubtful, key=lambda group: (sizes.get(group, _LARGE), group))
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
